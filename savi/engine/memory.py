"""Large arrays that are handed out again once nobody refers to them, and formulas worked out block by block.

An allocation above 128 KiB is fresh pages from the system, and touching each costs a page fault, every time. `empty`
keeps the memory of large arrays and gives it out again when the last array, view or slice of it is gone - which CPython's
reference counts tell exactly, so that nobody can see the difference but in time. At most LIMIT bytes are kept.

A Python without the lock (3.13t) counts as well: what another thread lets go of may be told late, so that a buffer waits
longer, but never early, so that none is given out twice; and `empty` looks and takes under a lock of its own.
"""

import math
import sys
import threading

import numpy as np

from . import forks

SMALL = 1 << 17  # below this an allocation is cheap
LIMIT = 1 << 29
ALIGNMENT = 64
BLOCK = 1 << 15  # so many numbers, and the temporaries of a formula over them, stay in a core's cache

_buffers = {}  # size in bytes: buffers of that size, in use or not; an array made of one refers to it and to nothing else
_total = 0
_lock = threading.Lock()


def _counted(buffers):
    """(how many references there are to it, those of this loop among them; the buffer) for each of a list of buffers."""
    for buffer in buffers:
        yield sys.getrefcount(buffer), buffer


_ALONE, _ = next(_counted([np.empty(1)]))  # to a buffer that only the list refers to


def empty(shape, dtype):
    """An uninitialised array, C-contiguous, like np.empty(shape, dtype); large ones may be memory used before."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize * math.prod(shape)
    if size < SMALL:
        return np.empty(shape, dtype)
    with _lock:
        return np.ndarray(shape, dtype, _take(size))


def joined(vectors):
    """Vectors (n,) end to end, as np.concatenate gives them; the same memory as `empty` has."""
    return np.concatenate(vectors, out=empty((sum(map(len, vectors)),), np.result_type(*vectors)))


def _take(size):
    global _total
    for references, buffer in _counted(_buffers.get(size, ())):
        if references == _ALONE:
            return buffer
    if _total + size > LIMIT:
        _forget()
    buffer = _aligned(size)
    _buffers.setdefault(size, []).append(buffer)
    _total += size
    return buffer


def _aligned(size):
    """So many new bytes, from an address that is a multiple of ALIGNMENT."""
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return np.frombuffer(memoryview(room)[start : start + size], np.uint8)


def _forget():
    """Let go of all buffers that nobody uses."""
    global _total
    for size, same in list(_buffers.items()):
        _buffers[size] = [buffer for references, buffer in _counted(same) if references > _ALONE]
        _total -= size * (len(same) - len(_buffers[size]))
        if not _buffers[size]:
            del _buffers[size]


def clear():
    """Forget all unused buffers."""
    with _lock:
        _forget()


@forks.in_child
def _begin():
    """A child knows no buffers: what its parent's other threads held would never be free again, nor would the lock."""
    global _lock, _total
    _lock, _total = threading.Lock(), 0
    _buffers.clear()


def blockwise(formula, *arrays):
    """formula(*arrays), a tuple of new arrays of the same shape: elementwise, and so worked out block by block."""
    flat = [a.reshape(-1) for a in arrays]
    results = None
    for i in range(0, max(1, len(flat[0])), BLOCK):
        rows = slice(i, i + BLOCK)
        parts = formula(*(a[rows] for a in flat))
        results = results or [empty(flat[0].shape, part.dtype) for part in parts]
        for result, part in zip(results, parts):
            result[rows] = part
    return tuple(result.reshape(arrays[0].shape) for result in results)
