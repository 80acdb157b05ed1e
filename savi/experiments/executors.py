"""Where runs are worked out: processes of this machine, or an engine that is there already. savi schedules nothing itself.

    Local(jobs)       processes of this machine, one thread each
    Dask(address)     workers of a Dask scheduler, on any number of machines     (extra "cluster")
    MPI()             the ranks of an MPI job, by mpi4py.futures
    Given(executor)   any other concurrent.futures.Executor

Each opens an Executor, says how many runs may be under way at a time, and closes it, at once after Ctrl-C. A worker far away
has savi installed and shares nothing: it is asked for its versions, and what it answers comes back as bytes.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
from concurrent.futures import BrokenExecutor, CancelledError, ProcessPoolExecutor

import numpy as np

from ..engine import threads
from ..engine.files import InputError

SECONDS = 10  # to wait for a scheduler


def cores():
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Engine:
    """Where runs are worked out: opens an Executor, hands runs to it, and closes it."""

    here = False  # whether its workers write to the folders of this process

    def open(self):
        """A new Executor. Raises InputError where there is none to be had."""
        raise NotImplementedError

    def workers(self, executor):
        """How many runs may be under way at a time."""
        raise NotImplementedError

    def submit(self, executor, function, item):
        """The future of function(*item)."""
        return executor.submit(_far, versions(), function, item)

    def close(self, executor, at_once=False):
        """End the Executor; at once: begin nothing more, and interrupt what is under way where that can be done."""
        executor.shutdown(wait=not at_once, cancel_futures=at_once)


class Local(Engine):
    """`jobs` processes of this machine. A process that dies takes the others along, and all are begun again."""

    here = True

    def __init__(self, jobs):
        self.jobs = jobs

    def open(self):
        return ProcessPoolExecutor(self.jobs, multiprocessing.get_context("spawn"), _begin)

    def workers(self, executor):
        return self.jobs

    def submit(self, executor, function, item):
        with _held_back():  # a process that begins is not interrupted in its imports
            return executor.submit(_run, function, item)

    def close(self, executor, at_once=False):
        if at_once:  # what is under way saves its checkpoint, and is waited for
            executor.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                with contextlib.suppress(OSError):
                    os.kill(child.pid, signal.SIGINT)
        executor.shutdown()


class Given(Engine):
    """An Executor that the caller made, and ends; its workers run with the versions of this process, or are refused."""

    def __init__(self, executor, most=None):
        self.executor, self.most = executor, most or getattr(executor, "_max_workers", None) or cores()

    def open(self):
        return self.executor

    def workers(self, executor):
        return self.most

    def close(self, executor, at_once=False):
        pass  # it is the caller's


class MPI(Engine):
    """The ranks of an MPI job: mpiexec -n N python -m mpi4py.futures -m savi sweep PLAN --on mpi."""

    def __init__(self):
        try:
            from mpi4py.futures import MPIPoolExecutor
        except ImportError as error:
            raise InputError(f"--on mpi needs mpi4py and an MPI library ({error}); expected both installed") from error
        self.executor = MPIPoolExecutor()

    def open(self):
        return self.executor

    def workers(self, executor):
        return max(getattr(executor, "num_workers", 1), 1)


class Dask(Engine):
    """The workers of the Dask scheduler at HOST:PORT, as many as there are at the time; Dask runs again what a worker lost."""

    def __init__(self, address):
        self.address = address

    def open(self):
        try:
            from distributed import Client
        except ImportError as error:
            raise InputError("--on dask needs Dask; expected savi[cluster] or distributed to be installed") from error
        try:
            self.client = Client(f"tcp://{self.address}", timeout=SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(f"no Dask scheduler answers at {self.address} within {SECONDS} s; expected one") from error
        return self.client.get_executor(pure=False, retries=2)

    def workers(self, executor):
        return max(sum(self.client.nthreads().values()), 1)

    def close(self, executor, at_once=False):
        super().close(executor, at_once)
        self.client.close(timeout=SECONDS)


LOST = (BrokenExecutor, CancelledError)  # what a run ends with when its executor, not itself, came to an end


def find(on, jobs):
    """The engine of the words local, mpi or dask://HOST:PORT; None where `jobs` is 1: in this process."""
    if on == "local":
        return Local(jobs) if jobs > 1 else None
    if on == "mpi":
        return MPI()
    kind, _, address = on.partition("://")
    host, _, port = address.rpartition(":")
    if kind != "dask" or not host or not port.isdigit():
        raise InputError(f"--on is {on}; expected local, mpi or dask://HOST:PORT")
    return Dask(address)


def versions():
    """What two processes must share for the same numbers: {name: version}."""
    from .. import __version__

    return {"savi": __version__, "NumPy": np.__version__}


def _far(expected, function, item):
    """function(*item) in a process that may be on another machine; it says which, if anything is wrong there."""
    where = f"worker {socket.gethostname()}, process {os.getpid()}"
    for name, version in versions().items():
        if version != expected[name]:
            raise Refused(f"{where} has {name} {version}; expected {expected[name]}, as in the process that began")
    try:
        with threads.using(1):
            return function(*item)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


class Refused(InputError):
    """A worker that cannot give the numbers that are asked for."""


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
