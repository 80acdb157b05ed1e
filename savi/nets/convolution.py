"""2-D convolutions in closed form, channels last. The batch lies as one tall matrix, in which a tap is a shift of rows.

    a[n, i, j] = b + sum_(dy, dx) x[n, i + dy, j + dx] W[dy, dx]        x is zero outside its image

A Grid lays images (N, H, W, C) out as rows of C channels: behind each row of pixels p rows of zeros, behind each image
p lines of them. So x[n, i + dy, j + dx] lies dy (W + p) + dx rows from x[n, i, j], in whatever image and wherever in it.
m neighbouring taps read m rows that follow one another, and those are one row of m C numbers, where they lie: the rows
that begin at q, q + m, q + 2m, ... are a matrix without a copy, whose product gives every m-th row of a. A line of m
taps is m such products, one for each q < m. Taps that a mask forbids are not there at all, and nothing is multiplied by zero.

The way back is a convolution too, with the taps turned around the middle and W transposed; W's gradient is a sum of
products x^T delta. All is linear in x, so that tangents are the same functions of x_dot, without b.
"""

import numpy as np

from ..engine import given
from ..engine.files import expect
from ..engine.memory import empty


def same(kernel):
    """The taps of a kernel (k, k) around its pixel: lines (dy, dx of the first tap, how many). InputError on an even k."""
    p = half(kernel)
    return tuple((dy, -p, kernel) for dy in range(-p, p + 1))


def causal(kernel, mask):
    """The taps that see the pixels before this one, row by row: mask "A"; and with it: mask "B".  van den Oord et al. 2016"""
    return above(kernel, "A") + left(kernel, mask)


def above(kernel, mask):
    """The taps of a vertical stack: lines above this one; mask "B": with this one."""
    p = half(kernel)
    return tuple((dy, -p, kernel) for dy in range(-p, _past(mask)))


def left(kernel, mask):
    """The taps of a horizontal stack: pixels to the left in this line; mask "B": with this one."""
    p = half(kernel)
    return ((0, -p, p + _past(mask)),) if p + _past(mask) else ()


def half(kernel):
    """p of a kernel of 2 p + 1 pixels. Raises InputError unless it is odd."""
    expect("kernel", kernel, given.whole("kernel", kernel, 1) % 2 == 1, "an odd number, so that it has a middle")
    return kernel // 2


def image_shape(shape):
    """(H, W) of an image, whole numbers. Raises InputError on anything else."""
    shape = given.listed("shape", shape, "(height, width)")
    expect("shape", tuple(shape), len(shape) == 2, "(height, width)")
    return tuple(given.whole(name, n, 1) for name, n in zip(("height", "width"), shape))


def column_sums(a):
    """The sum of the rows of a (rows, columns), by a product, which is quicker where the columns are few."""
    return np.ones(len(a), a.dtype) @ a


def _past(mask):
    return {"A": 0, "B": 1}[given.one_of("mask", mask, ("A", "B"))]


class Grid:
    """Images of H lines and W columns as rows of a tall matrix, for taps that reach `reach` = p pixels far.

    An array of a grid has N (H + p) (W + p) rows and, before and behind them, margins of zeros. What is in its gaps (the
    zeros within) after a convolution is of no use; `clear` makes them zeros again.
    """

    def __init__(self, height, width, reach):
        self.height, self.width = given.whole("height", height, 1), given.whole("width", width, 1)
        self.reach = given.whole("reach", reach)
        self.pitch, self.lines = self.width + self.reach, self.height + self.reach
        self.margin = self.reach * (self.pitch + 1)

    def empty(self, n, channels, dtype):
        """An array for n images: its margins are zeros, all else is anything."""
        a = empty((n * self.lines * self.pitch + 2 * self.margin, channels), dtype)
        a[: self.margin] = 0
        a[len(a) - self.margin :] = 0
        return a

    def rows(self, a):
        """The rows between the margins, a view."""
        return a[self.margin : len(a) - self.margin]

    def pixels(self, a):
        """The images (N, H, W, C), a view."""
        return self._lines(a)[:, : self.height, : self.width]

    def clear(self, a):
        """a itself, its gaps set to zero."""
        lines = self._lines(a)
        lines[:, :, self.width :] = 0
        lines[:, self.height :] = 0
        return a

    def _lines(self, a):
        rows = self.rows(a)
        return rows.reshape(len(rows) // (self.lines * self.pitch), self.lines, self.pitch, a.shape[1])

    def put(self, images):
        """An array that holds images (N, H, W, C)."""
        a = self.empty(len(images), images.shape[-1], images.dtype)
        self.pixels(a)[...] = images
        return self.clear(a)

    def take(self, a, grid):
        """The array a of another grid of such images as one of this grid; a itself where they are the same."""
        return a if grid is self else self.put(grid.pixels(a))


class Convolution:
    """A convolution over arrays of a grid. taps: lines (dy, dx, m), as `same` and `causal` give them.

    shape: of its parameters [W; b], (taps * inputs + 1, outputs); W has a tap's channels side by side, taps in their order.
    """

    def __init__(self, grid, taps, inputs, outputs):
        reach = max((abs(d) for dy, dx, m in taps for d in (dy, dx, dx + m - 1)), default=0)
        expect("the reach of the taps", reach, reach <= grid.reach, f"at most the grid's, {grid.reach}")
        self.grid, self.taps, self.inputs, self.outputs = grid, taps, inputs, outputs
        self.shape = sum(m for _, _, m in taps) * inputs + 1, outputs

    def init(self, rng):
        """[W; b]: W uniform with variance 1 / inputs of a unit, b zero."""
        layer = np.zeros(self.shape)
        layer[:-1] = rng.uniform(-1, 1, layer[:-1].shape) * np.sqrt(3 / max(1, len(layer) - 1))
        return layer

    def forward(self, layer, x, out):
        """a (rows, outputs), written to `out`, an array of the grid, whose gaps are not cleared."""
        self.linear(layer, x, out)
        lines = self.grid.rows(out).reshape(-1, self.grid.pitch * self.outputs)
        lines += np.tile(layer[-1], self.grid.pitch)  # a short row is added slowly
        return out

    def linear(self, layer, x, out):
        """`forward` without b: the tangent of a for that of x."""
        return self._sum(self.taps, layer, x, out)

    def turned(self, layer):
        """W for the way back (taps * outputs, inputs): each line of taps turned around, each tap transposed."""
        blocks = [W.reshape(-1, self.inputs, self.outputs)[::-1] for W in self._lines_of(layer)]
        return np.concatenate([b.transpose(0, 2, 1).reshape(-1, self.inputs) for b in blocks] or [layer[:0].T])

    def backward(self, turned, delta, out):
        """d x (rows, inputs), written to `out`; delta's gaps must be zeros, those of d x are not cleared."""
        return self._sum([(-dy, -(dx + m - 1), m) for dy, dx, m in self.taps], turned, delta, out)

    def gradient(self, x, delta, out, last=1):
        """out += d [W; b], the sum over all rows; the gaps of x and delta must be zeros. last: b's input, 0 for tangents."""
        rows = self.grid.rows(delta)
        for (dy, dx, m), W in zip(self.taps, self._lines_of(out)):
            for q, inputs in self._phases(x, dy, dx, m):
                W += inputs.T @ rows[q::m]
        if last:
            out[-1] += column_sums(rows)
        return out

    def at(self, layer, x, rows):
        """a (n, outputs) at n rows of x alone, counted from its start with the margin."""
        offsets = [dy * self.grid.pitch + dx + i for dy, dx, m in self.taps for i in range(m)]
        return x[rows[:, None] + np.array(offsets, int)].reshape(len(rows), -1) @ layer[:-1] + layer[-1]

    def _lines_of(self, layer):
        """The part of W (m * inputs, outputs) of each line of taps, views."""
        start = 0
        for _, _, m in self.taps:
            yield layer[start : start + m * self.inputs]
            start += m * self.inputs

    def _sum(self, taps, W, x, out):
        """sum_lines sum_taps x[shifted] W, one strided product for each tap."""
        total, start = self.grid.rows(out), 0
        room = empty(total.shape, total.dtype) if len(taps) > 1 else None
        for i, (dy, dx, m) in enumerate(taps):
            W_line, target = W[start : start + m * x.shape[1]], room if i else total
            for q, inputs in self._phases(x, dy, dx, m):
                np.matmul(inputs, W_line, out=target[q::m])
            if i:
                total += room
            start += m * x.shape[1]
        if not taps:
            total[...] = 0
        return out

    def _phases(self, x, dy, dx, m):
        """(q, the rows of x side by side that a line of m taps reads for rows q, q + m, q + 2m, ...), views."""
        C, rows = x.shape[1], len(x) - 2 * self.grid.margin
        first = self.grid.margin + dy * self.grid.pitch + dx
        for q in range(min(m, rows)):
            n = -(-(rows - q) // m)
            yield q, x.reshape(-1)[(first + q) * C : (first + q + n * m) * C].reshape(n, m * C)

    def reference(self, layer, x):
        """a (N, H, W, outputs) of images x (N, H, W, inputs) in autograd.numpy, a tap a line: the judge."""
        import autograd.numpy as anp

        p, (H, W) = self.grid.reach, (self.grid.height, self.grid.width)
        padded = anp.pad(x, ((0, 0), (p, p), (p, p), (0, 0)), "constant")
        taps = [(p + dy, p + dx + i) for dy, dx, m in self.taps for i in range(m)]
        a = anp.zeros((len(x), H, W, self.outputs)) + layer[-1]
        for n, (i, j) in enumerate(taps):
            a = a + anp.dot(padded[:, i : i + H, j : j + W], layer[n * self.inputs : (n + 1) * self.inputs])
        return a
