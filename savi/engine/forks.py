"""What a forked child finds: none of its parent's threads, so nothing may wait for one.

os.fork, which multiprocessing uses on Linux up to Python 3.13, copies the memory of a process and of its threads only the
one that calls it. Whatever lives as long as the process (a pool of threads, a lock, a setting that is held) says here what
becomes of it. Where there is no os.fork these do nothing.
"""

import os


def in_child(function):
    """The function, which from now on each forked child calls before it does anything else."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function


def guarded(lock):
    """The lock (an RLock), which from now on no other thread holds while a process is forked."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
