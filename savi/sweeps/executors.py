"""Where runs are worked out: processes of this machine, or an engine that is there already. savi schedules nothing itself.

    Local(jobs)       processes of this machine, one thread each
    Dask(address)     workers of a Dask scheduler, on any number of machines     (extra "cluster")
    MPI()             the ranks of an MPI job, by mpi4py.futures
    Given(executor)   any other concurrent.futures.Executor

Each opens an Executor, says how many runs may be under way at a time, and closes it, at once after Ctrl-C. A worker far away
has savi installed and shares nothing: it is asked for its versions, and what it answers comes back as bytes.
"""

import logging
import os
import socket
import time
from concurrent.futures import FIRST_COMPLETED, wait

import numpy as np

from ..engine import given, threads
from ..engine.files import InputError
from . import processes

SECONDS = 10  # to wait for a scheduler
RESTART = 300  # to wait for one that went away in the middle


def cores():
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Gone(Exception):
    """An executor that takes no more runs: broken, ended by others, or out of reach."""


class Lost(InputError):
    """A run whose worker died whenever it was tried."""


class Engine:
    """Where runs are worked out: opens an Executor, hands runs to it, and closes it."""

    here = False  # whether its workers write to the folders of this process
    seconds = None  # after which it is asked for its workers again; None where their number does not change

    def open(self):
        """A new Executor. Raises InputError where there is none to be had."""
        raise NotImplementedError

    def workers(self, executor):
        """How many runs may be under way at a time. Raises Gone."""
        raise NotImplementedError

    def submit(self, executor, function, item):
        """The future of function(*item). Raises Gone."""
        try:
            return executor.submit(_far, versions(), function, item)
        except RuntimeError as error:  # it is broken, or was shut down
            raise Gone(error) from error

    def done(self, running):
        """Those of the futures that are done: one at least, or none after `seconds`."""
        return wait(running, self.seconds, FIRST_COMPLETED).done

    def told(self, error):
        """The exception to be told of a run that ended with this one, or None."""
        return error

    def again(self, executor, why):
        """Another Executor, as this one is gone. Raises InputError where there is none to be had."""
        raise InputError(f"the executor takes no more runs ({why}); expected one that does")

    def close(self, executor, at_once=False):
        """End the Executor; at once: begin nothing more, and interrupt what is under way where that can be done."""
        executor.shutdown(wait=not at_once, cancel_futures=at_once)


class Local(Engine):
    """`jobs` processes of this machine, each replaced when it dies; those of `lasting` Processes, which the caller ends."""

    here = True

    def __init__(self, jobs, lasting=None):
        self.jobs, self.lasting = jobs, lasting

    def open(self):
        return self.lasting or processes.Processes()

    def workers(self, executor):
        return self.jobs

    def submit(self, executor, function, item):
        return executor.submit(processes.work, function, item)

    def close(self, executor, at_once=False):
        if at_once or not self.lasting:
            super().close(executor, at_once)


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

    def open(self):
        try:
            from mpi4py.futures import MPIPoolExecutor
        except ImportError as error:
            raise InputError(f"--on mpi needs mpi4py and an MPI library ({error}); expected both installed") from error
        return MPIPoolExecutor()

    def workers(self, executor):
        return max(executor.num_workers, 1)


class Dask(Engine):
    """The workers of the Dask scheduler at HOST:PORT, as many as there are at the time; Dask runs again what a worker lost."""

    seconds = 2.0

    def __init__(self, address):
        self.address, self.client = address, None

    def open(self):
        try:
            from distributed import Client
        except ImportError as error:
            raise InputError("--on dask needs Dask; expected savi[cluster] or distributed to be installed") from error
        logging.getLogger("distributed").setLevel(logging.WARNING)  # not that a machine is slow
        try:
            self.client = Client(f"tcp://{self.address}", timeout=SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(f"no Dask scheduler answers at {self.address} within {SECONDS} s; expected one") from error
        try:
            for worker, found in self.client.run(_there, on_error="return").items():
                _refuse_others(f"worker {worker}", versions(), found)
        except BaseException:
            self.client.close(SECONDS)
            raise
        return self.client.get_executor(pure=False)

    def workers(self, executor):
        try:
            return max(sum(self.client.nthreads().values()), 1)
        except Exception as error:  # Dask has many for a connection that is lost
            raise Gone(error) from error

    def submit(self, executor, function, item):
        try:
            return super().submit(executor, function, item)
        except Exception as error:
            raise Gone(error) from error

    def told(self, error):
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            where = f"the last of them {error.last_worker.address}"
            return Lost(f"its worker died {error.allowed_failures + 1} times, {where}; its log may say of what")
        return error

    def again(self, executor, why):
        self.close(executor)
        until = time.monotonic() + RESTART
        while True:
            try:
                return self.open()
            except InputError as error:
                if isinstance(error, Refused) or time.monotonic() > until:
                    raise

    def close(self, executor, at_once=False):
        for name in ("distributed", "distributed.client"):  # what a connection says that is cut is nobody's concern
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.client.close(SECONDS)  # which lets go of all that is under way


def find(on, jobs):
    """The engine of the words local, mpi or dask://HOST:PORT; None where `jobs` is 1: in this process."""
    jobs = given.whole("--jobs", jobs, 1)
    if on == "local":
        return Local(jobs) if jobs > 1 else None
    if on == "mpi":
        return MPI()
    kind, _, address = on.partition("://")
    host, _, port = address.rpartition(":")
    if kind != "dask" or not host or not (port.isascii() and port.isdigit()):
        raise InputError(f"--on is {on}; expected local, mpi or dask://HOST:PORT")
    return Dask(address)


def versions():
    """What two processes must share for the same numbers: {name: version}."""
    from .. import __version__

    return {"savi": __version__, "NumPy": np.__version__}


def _there():
    return versions()  # of the worker that is asked


class Refused(InputError):
    """A worker that cannot give the numbers that are asked for."""


def _refuse_others(where, expected, found):
    """Refused unless a worker has the versions expected; found: its versions, or the exception it had instead."""
    if isinstance(found, BaseException):
        raise Refused(f"{where} has no savi ({type(found).__name__}: {found}); expected {expected['savi']}")
    for name, version in found.items():
        if version != expected[name]:
            raise Refused(f"{where} has {name} {version}; expected {expected[name]}, as in the process that began")


def _far(expected, function, item):
    """function(*item) in a process that may be on another machine; it says which, if anything is wrong there."""
    where = f"worker {socket.gethostname()}, process {os.getpid()}"
    _refuse_others(where, expected, versions())
    threads.use(1)  # for good: other runs may work in other threads of this process
    try:
        return function(*item)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except Exception as error:
        raise RuntimeError(f"{where}: {type(error).__name__}: {error}") from error
