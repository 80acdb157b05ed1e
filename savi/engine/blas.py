"""Three things asked of NumPy's matrix library: one thread at a time, products of few rows without repacking, and
transposed weights as products are quickest with them.

Both concern OpenBLAS, which NumPy's own wheels bring; with another library, `matmul` is np.matmul and nothing is held.
"""

import contextlib
import ctypes
import functools
import glob
import os
import threading

import numpy as np

from . import forks

UNPACKED_CORES = (b"SkylakeX", b"Cooperlake", b"SapphireRapids")  # x86 with AVX-512
UNPACKED = 1_000_000  # up to so many multiplications these kernels read both factors where they lie,
UNPACKED_OUTPUTS = 1200  # and where b is a transposed view, up to so many results


def matmul(a, b, out):
    """a b, written to `out` (rows, columns), which is returned; b may be a transposed view.

    OpenBLAS copies b into another order before it multiplies, which takes a fifth of the time when a has few rows, and
    half of it when b is transposed; its AVX-512 kernels leave that out of small products. So b is taken in blocks of
    columns that are small enough: still one call of NumPy, for 25 rows a quarter to a half faster.
    """
    if b.dtype.kind == "f" and reads_in_place():
        turned = b.strides[1] != b.itemsize
        width = _width(*a.shape, b.shape[1], turned)
        if width:
            blocks = _blocks(b.T, width, 0).transpose(0, 2, 1) if turned else _blocks(b, width, 1)
            np.matmul(a, blocks, out=_blocks(out, width, 1))
            return out
    return np.matmul(a, b, out=out)


class Transposed:
    """W^T (out, in) of each matrix W (in, out), for backward passes: called for each pass, it gives their list.

    The first pass gets views; from the second pass on they are copies where products read their factors in order.
    """

    def __init__(self, matrices):
        self.matrices, self.passes = [W.T for W in matrices], 0

    def __call__(self):
        self.passes += 1
        if self.passes == 2 and not reads_in_place():
            self.matrices = [np.ascontiguousarray(W) for W in self.matrices]
        return self.matrices


def _blocks(m, width, axis):
    """m (rows, columns) as a view of its blocks of `width` along an axis, which are counted by the first index."""
    if axis == 0:
        return m.reshape(-1, width, m.shape[1])
    return m.reshape(len(m), -1, width).transpose(1, 0, 2)


@functools.cache
def _width(rows, inner, columns, turned):
    """Columns in a block: the most that divide `columns` and leave a product small enough; 0: do not cut."""
    if rows * inner == 0:
        return 0
    most = UNPACKED // (rows * inner)
    if turned:
        most, least = min(most, UNPACKED_OUTPUTS // rows), 8
    else:
        least = 32
    if columns <= most:
        return 0
    return max((w for w in range(least, most + 1) if columns % w == 0), default=0)


@functools.cache
def reads_in_place():
    """Whether this is an OpenBLAS whose kernels multiply small matrices where they lie, transposed or not."""
    corename = _function("get_corename")
    if corename is None:
        return False
    corename.restype = ctypes.c_char_p
    return corename() in UNPACKED_CORES


class Held:
    """A setting of the whole process that has another value as long as any thread is inside a `with` block of this.

    Made once for a process; a child that is forked has it back unless the thread that forks is inside.
    """

    def __init__(self, get, put, value):
        self.get, self.put, self.value = get, put, value
        self.inside, self.mine = 0, _Mine()  # threads that are inside, and blocks of this one
        self.lock = forks.guarded(threading.RLock())
        forks.in_child(self._alone)

    def __enter__(self):
        if self.mine.depth == 0:
            self._first()
        self.mine.depth += 1

    def __exit__(self, *error):
        self.mine.depth -= 1
        if self.mine.depth == 0:
            self._last()

    def _first(self):
        with self.lock:
            if self.inside == 0:
                self.before = self.get()
                self.put(self.value)
            self.inside += 1

    def _last(self):
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.put(self.before)

    def _alone(self):
        here = min(self.mine.depth, 1)
        others, self.inside = self.inside - here, here
        if others and not here:
            self.put(self.before)


class _Mine(threading.local):
    """How many blocks this thread is inside."""

    depth = 0


@functools.cache
def one_thread():
    """A block in which OpenBLAS has one thread; with another library, or where SAVI_BLAS_THREADS is 0, it does nothing."""
    get, put = _function("get_num_threads"), _function("set_num_threads")
    if get is None or os.environ.get("SAVI_BLAS_THREADS") == "0":
        return contextlib.nullcontext()
    return Held(get, put, 1)


def holds():
    """Whether `one_thread` does something."""
    return isinstance(one_thread(), Held)


@functools.cache
def _function(name):
    """openblas_NAME of the library that NumPy brings, under whatever name it goes there, or None."""
    home = os.path.dirname(np.__file__)
    for folder in (os.path.join(home, "..", "numpy.libs"), os.path.join(home, ".dylibs")):
        for path in glob.glob(os.path.join(glob.escape(folder), "*openblas*")):
            with contextlib.suppress(OSError):
                library = ctypes.CDLL(path)
                for pattern in ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_"):
                    if hasattr(library, pattern.format(name)):
                        return getattr(library, pattern.format(name))
    return None
