"""Several batches of examples at a time: threads over examples, and one thread inside each matrix product.

Examples never mix in variational inference, so a batch can be cut in parts that run side by side. That beats a matrix
library's own threads on products of this size: these wait for each other in a busy loop after each product, and on a
machine that does something else as well they can take twenty times as long. It is also what keeps numbers the same: how
a product is cut depends on the settings below alone, never on what else the machine does.

SAVI_THREADS in the environment, or `use(count)`, sets how many parts run at a time (default: the cores, at most 4).
While savi computes, NumPy's OpenBLAS is held at one thread and then set back; SAVI_BLAS_THREADS=0 leaves it alone.
"""

import contextlib
import contextvars
import ctypes
import functools
import glob
import itertools
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .files import expect

_settings = {"count": None}
_local = threading.local()
_lock = threading.Lock()
_held = {"depth": 0, "before": 1}


def count():
    """How many threads work at a time."""
    if _settings["count"] is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        text = os.environ.get("SAVI_THREADS") or str(min(cores, 4))
        expect("SAVI_THREADS", repr(text), text.isdigit() and int(text) >= 1, "a whole number >= 1")
        _settings["count"] = int(text)
    return _settings["count"]


def use(threads):
    """Let `threads` threads work at a time; None: ask the environment again."""
    expect("threads", threads, threads is None or threads >= 1, "None or a whole number >= 1")
    _settings["count"] = threads


def run(function, items, parallel=True):
    """Yields function(item) for each of items, in their order, several worked out at a time where `parallel`.

    The function must not touch what another call touches. A call from inside a part runs where it is.
    """
    with one_blas_thread():
        if not parallel or count() == 1 or getattr(_local, "inside", False):
            yield from map(function, items)
            return
        waiting = deque()
        for item in items:
            waiting.append(_pool(count()).submit(contextvars.copy_context().run, _inside, function, item))
            if len(waiting) > count():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def parts(n, work):
    """0..n cut in slices for `run`: as many as there are threads, but none with less than some ten milliseconds of work.

    work: multiplications per example.
    """
    pieces = max(1, min(count(), n, int(n * work // 4e8)))
    edges = np.linspace(0, n, pieces + 1).astype(int)
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _inside(function, item):
    _local.inside = True
    return function(item)


@functools.cache
def _pool(size):
    return ThreadPoolExecutor(size, thread_name_prefix="savi")


@contextlib.contextmanager
def one_blas_thread():
    """Hold OpenBLAS at one thread; where NumPy has another library, or SAVI_BLAS_THREADS is 0, do nothing."""
    blas = _openblas()
    if blas is None:
        yield
        return
    get, put = blas
    with _lock:
        if _held["depth"] == 0:
            _held["before"] = get()
            put(1)
        _held["depth"] += 1
    try:
        yield
    finally:
        with _lock:
            _held["depth"] -= 1
            if _held["depth"] == 0:
                put(_held["before"])


@functools.cache
def _openblas():
    """(get, set) of OpenBLAS's number of threads in the library that NumPy brings, or None."""
    if os.environ.get("SAVI_BLAS_THREADS") == "0":
        return None
    home = os.path.dirname(np.__file__)
    for folder in (os.path.join(home, "..", "numpy.libs"), os.path.join(home, ".dylibs")):
        for path in glob.glob(os.path.join(glob.escape(folder), "*openblas*")):
            with contextlib.suppress(OSError):
                library = ctypes.CDLL(path)
                for name in (
                    "scipy_openblas_{}_num_threads64_",
                    "scipy_openblas_{}_num_threads",
                    "openblas_{}_num_threads64_",
                ):
                    if hasattr(library, name.format("set")):
                        return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None
