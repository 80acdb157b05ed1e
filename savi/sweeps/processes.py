"""The processes of this machine in which runs are worked out: one that dies is replaced, and none outlives the job.

Processes   an Executor of them
work        a run in one of them, which Ctrl-C interrupts, so that it saves its checkpoint
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from multiprocessing import connection

from ..engine import threads


class Processes(Executor):
    """A process for each run that is under way at a time: pools of one, so that a process that dies takes no other along."""

    def __init__(self):
        self._latest = {}  # pool: the future of what it was given last

    def submit(self, function, /, *args):
        """The future of function(*args), in a process that is free, or in a new one."""
        with _held_back():  # a process that begins is not interrupted in its imports
            for pool in [pool for pool, future in self._latest.items() if future.done()]:
                try:
                    self._latest[pool] = pool.submit(function, *args)
                    return self._latest[pool]
                except BrokenExecutor:
                    del self._latest[pool]
            pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)
            self._latest[pool] = pool.submit(function, *args)
            return self._latest[pool]

    def shutdown(self, wait=True, *, cancel_futures=False):
        """End all processes; with cancel_futures those that work are interrupted, and waited for while they save."""
        processes = [process for pool in self._latest for process in (pool._processes or {}).values()]
        for pool in self._latest:
            pool.shutdown(wait=False, cancel_futures=cancel_futures)
        while cancel_futures and (alive := [process for process in processes if process.is_alive()]):
            for process in alive:  # again and again, as one that has not begun yet does not hear it
                with contextlib.suppress(OSError):
                    os.kill(process.pid, signal.SIGINT)
            connection.wait([process.sentinel for process in alive], 0.2)
        for process in processes if wait else ():
            process.join()


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
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()


def _end_with(parent):
    """End this process when the one that began it ends, however."""
    connection.wait([parent])
    os._exit(1)


def work(function, item):
    """function(*item), in a process of `Processes`; an exception that would not survive the way back goes as one that does."""
    signal.signal(signal.SIGINT, _stop)
    try:
        return function(*item)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop(*_):
    """Ctrl-C, once: a terminal sends it to every process, the first one sends it again, and what saves is not stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
