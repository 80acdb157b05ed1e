"""Runs side by side: each in a process of its own, with one thread, or one after the other in this one.

The numbers are the same either way. Ctrl-C reaches every process, so that a run that trains leaves its checkpoint.
"""

import contextlib
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

from ..engine import threads
from ..engine.files import expect


def cores():
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(function, items, jobs):
    """Yields function(*item) for each of items, in their order, `jobs` at a time; one at a time in this process.

    With jobs > 1 the function and the items are pickled. Raises InputError unless jobs is a whole number >= 1.
    """
    expect("--jobs", jobs, jobs >= 1 and jobs % 1 == 0, "a whole number >= 1")
    if min(jobs, len(items)) <= 1:
        with threads.using(1):
            yield from (function(*item) for item in items)
        return
    with ProcessPoolExecutor(min(jobs, len(items)), multiprocessing.get_context("spawn"), _begin) as pool:
        with _held_back():  # a process that begins is not interrupted in its imports
            futures = [pool.submit(_run, function, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                with contextlib.suppress(OSError):
                    os.kill(child.pid, signal.SIGINT)
            raise  # leaving the block waits for what still saves


@contextlib.contextmanager
def _held_back():
    """A block that Ctrl-C does not interrupt, nor the processes that begin in it: it comes when the block ends."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _begin():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one that waits for work has nothing to save
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threads.use(1)


def _run(function, item):
    signal.signal(signal.SIGINT, _stop)
    try:
        return function(*item)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop(*_):
    """Ctrl-C, once: a terminal sends it to every process, the first one sends it again, and what saves is not stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
