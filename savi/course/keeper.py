"""Keeps a student's process, where there is prctl: when it ends, or the judge does, all that it started ends with it.

    python keeper.py JUDGE COMMAND ...       JUDGE: the process id of whom the command works for

A script of its own, which imports nothing of savi, so that it is there at once. What leaves its process group by setsid
comes to the keeper when its parent ends (PR_SET_CHILD_SUBREAPER), and a keeper whose judge dies is told so by SIGTERM
(PR_SET_PDEATHSIG): it ends its children until there are none.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def available():
    """Whether this system has what a keeper needs."""
    return sys.platform == "linux" and hasattr(_library(), "prctl") and os.path.isdir("/proc/self")


def keep(judge, command):
    """Run the command to its end, and end as it did."""
    prctl = _library().prctl
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        if os.getppid() != judge:
            sys.exit("the judge is gone")
        child = os.fork()
        if child == 0:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.execv(command[0], command)
        for fd in (0, 1):  # the channel is between the judge and the child
            os.close(fd)
        status = os.waitpid(child, 0)[1]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_children()
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL cannot be handled, and need not be
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def end_children():
    """Kill the children of this process until there are none: those of a child that is gone are its own."""
    while children := [pid for pid, parent in parents() if parent == os.getpid()]:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def parents():
    """(process, its parent) of all processes that there are."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            yield int(name), int(file.read().rpartition(")")[2].split()[1])


def _library():
    return ctypes.CDLL(None)


if __name__ == "__main__":
    keep(int(sys.argv[1]), sys.argv[2:])
