"""Several batches of examples at a time: threads over examples, and one thread inside each matrix product.

Examples never mix in variational inference, so a batch can be cut in parts that run side by side. That beats a matrix
library's own threads on products of this size: these wait for each other in a busy loop after each product, and on a
machine that does something else as well they can take twenty times as long. It is also what keeps numbers the same: how
a product is cut depends on the settings below alone, never on what else the machine does.

SAVI_THREADS in the environment, or `use(count)`, sets how many parts run at a time (default: the cores, at most 4).
In training processes may take the threads' place (helpers.py); SAVI_HELPERS=0 leaves them out.
While savi computes, NumPy's OpenBLAS is held at one thread and then set back; SAVI_BLAS_THREADS=0 leaves it alone.
"""

import contextlib
import contextvars
import functools
import itertools
import os
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from . import blas, forks, given

_settings = {"count": None}
_local = threading.local()
_short_turns = blas.Held(
    sys.getswitchinterval, sys.setswitchinterval, 1e-4
)  # Python's 5 ms last longer than most parts


def count():
    """How many threads work at a time."""
    if _settings["count"] is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        text = os.environ.get("SAVI_THREADS") or str(min(cores, 4))
        _settings["count"] = given.digits("SAVI_THREADS", text, 1)
    return _settings["count"]


def use(threads):
    """Let `threads` threads work at a time; None: ask the environment again."""
    _settings["count"] = None if threads is None else given.whole("threads", threads, 1)


@contextlib.contextmanager
def using(threads):
    """A block in which `threads` threads work at a time."""
    before = _settings["count"]
    use(threads)
    try:
        yield
    finally:
        _settings["count"] = before


def run(function, items, parallel=True):
    """Yields function(item) for each of items, in their order, several worked out at a time where `parallel`.

    The function must not touch what another call touches. A call from inside a part runs where it is.
    """
    helpers = _helpers() if parallel else 0
    with blas.one_thread(), _short_turns if helpers else contextlib.nullcontext():
        waiting = deque()
        for item in items:
            if sum(not part.done() for part in waiting) < 2 * helpers:  # what they do, and what they do next
                waiting.append(_submit(helpers, function, item))
            else:
                waiting.append(_done(_inside(function, item)))  # the caller works as well
            while waiting and (waiting[0].done() or len(waiting) > 3 * helpers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def side_by_side(function, items):
    """[function(item) for each of items], as many at the same time as there are threads. For a batch cut in `slices`."""
    pool = _helpers() if len(items) > 1 else 0
    results, left = [None] * len(items), deque(enumerate(items))

    def work(_):
        for i, item in _taken(left):
            results[i] = function(item)

    with blas.one_thread(), _short_turns if pool else contextlib.nullcontext():
        others = [_submit(pool, work, None) for _ in items[1 : pool + 1]]
        try:
            _inside(work, None) if pool else work(None)
        finally:
            wait(others)  # whatever happens, nobody works on when this returns
        for part in others:
            part.result()
    return results


def _taken(left):
    """Yields what is left in a deque, from which several threads take."""
    while True:
        try:
            item = left.popleft()
        except IndexError:
            return
        yield item


def matmul_by_columns(a, b, out):
    """np.matmul(a, b, out=out), its columns side by side where there are threads to spare; for large products.

    The caller holds the matrix library at one thread.
    """
    columns = slices(b.shape[1], a.size) if _helpers() else ()
    if len(columns) > 1:
        side_by_side(lambda c: np.matmul(a, b[:, c], out=out[:, c]), columns)
    else:
        np.matmul(a, b, out=out)
    return out


def inside():
    """Whether this is a part."""
    return getattr(_local, "inside", False)


def alone(function, item, *arguments):
    """function(item, *arguments) as a part, whose own parts run where they are."""
    with blas.one_thread():
        return _inside(function, item, *arguments)


def _helpers():
    """How many threads may help this one."""
    return 0 if inside() else count() - 1


def _submit(helpers, function, item):
    return _pool(helpers).submit(contextvars.copy_context().run, _inside, function, item)


def _done(result):
    part = Future()
    part.set_result(result)
    return part


def slices(n, work, most=None):
    """0..n cut in slices for `side_by_side`: as many as there are threads, but none so small that threads gain nothing.

    work: multiplications per example between two turns of a thread at Python's lock, which is those of one pass through
    a net; a tenth of a millisecond of products is worth a turn. most: how many may be in a slice, None for any number;
    then there are more slices, and as many for each thread.
    """
    pieces = max(1, min(count(), n, int(n * work // 4e6)))
    if most is not None and n > pieces * most:
        pieces = min(n, -(-n // (most * count())) * count())
    return cut(n, pieces)


def cut(n, parts):
    """0..n cut in that many slices, as equal as can be."""
    return [slice(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


def tee(items, n):
    """n iterators over the same items, for n parts: each item is drawn once, by whichever part comes to it first."""
    if n == 1:
        return [items]
    lock = threading.Lock()

    def one(copy):
        while True:
            with lock:
                item = next(copy, lock)
            if item is lock:
                return
            yield item

    return [one(copy) for copy in itertools.tee(items, n)]


def _inside(function, item, *arguments):
    before, _local.inside = inside(), True
    try:
        return function(item, *arguments)
    finally:
        _local.inside = before


@functools.cache
def _pool(size):
    return ThreadPoolExecutor(size, thread_name_prefix="savi")


forks.in_child(_pool.cache_clear)  # a child starts threads of its own
