"""Evaluations of a net that lie side by side in memory, so that a sum over many of them is one product a layer.

A layer is one matrix [W; b] (in + 1, out) and its input h carries a last column of ones: the layer is the product
[h, 1] [W; b]. A pass leaves a Record: each layer's input h_l and, after the backward pass, the gradient delta_l of its
output. A parameter gradient is the sum over rows of h_l^T delta_l; its tangent is h_dot^T delta + h^T delta_dot (the last
column of h_dot is zero). Records share blocks, and `ParamSum` takes one matrix product per layer and block: the K steps
of an inner loop, a finite difference and a minibatch are all such sums.
"""

import numpy as np

from . import blas, threads
from .memory import empty

ROWS_PER_BLOCK = 768  # enough rows for a matrix product to run at full speed, few enough to bound the memory


class Records:
    """Gives out a record for each evaluation of a net with layers of these shapes, (in_l + 1, out_l).

    `reserve` says how many records the caller will hold at a time; None: nobody knows, as many as come. A block holds as
    many as make its stacked product fast, spread evenly over those that are reserved.
    """

    def __init__(self, shapes, held=1):
        self.shapes, self.held, self._blocks = shapes, held, {}

    def reserve(self, held):
        """Make room for so many records at a time (a number >= 1)."""
        self.held = held

    def next(self, rows, dtype):
        """A new Record of `rows` rows."""
        block = self._blocks.get((rows, dtype))
        if block is None or block.used == block.slots:
            block = self._blocks[rows, dtype] = Block(self.shapes, self._slots(rows), rows, dtype)
        return block.next_record()

    def _slots(self, rows):
        if self.held is None:
            return max(1, ROWS_PER_BLOCK // rows)
        blocks = -(-self.held * rows // ROWS_PER_BLOCK)  # rounded up
        return -(-self.held // blocks)


class Block:
    """Room for `slots` evaluations of one net on `rows` rows each; shapes: (in_l + 1, out_l) of each layer.

    inputs[l] (slots, rows, in_l + 1) with the last column set to `last` (1; 0 for tangents); deltas[l] (slots, rows, out_l).
    """

    def __init__(self, shapes, slots, rows, dtype, last=1):
        self.shapes, self.slots, self.rows, self.dtype = shapes, slots, rows, dtype
        self.inputs = [empty((slots, rows, n), dtype) for n, _ in shapes]
        self.deltas = [empty((slots, rows, m), dtype) for _, m in shapes]
        for h in self.inputs:
            h[..., -1] = last
        self.used = 0
        self._tangents, self._taken = None, set()

    def next_record(self):
        """A Record in the next free slot."""
        self.used += 1
        return Record(self, self.used - 1)

    def tangent_record(self, slot):
        """A record for R{.} of the record in `slot`, in the same slot of a block of tangents."""
        if self._tangents is None or slot in self._taken:
            self._tangents, self._taken = Block(self.shapes, self.slots, self.rows, self.dtype, last=0), set()
        self._taken.add(slot)
        return Record(self._tangents, slot)

    def forget_tangents(self):
        """The next tangent is in a new block; this one's memory is free as soon as nobody else refers to it."""
        self._tangents = None


class Record:
    """One evaluation, views into its block: inputs[l] (rows, in_l + 1), units[l] (rows, in_l), the same without the last
    column, and deltas[l] (rows, out_l). own: what a net keeps of each layer beside these, until its tangent.
    error, kept: whether the output already holds a likelihood's error, and what the error's tangent needs."""

    own, error, kept = None, False, None

    def __init__(self, block, slot):
        self.block, self.slot = block, slot
        self.inputs = [h[slot] for h in block.inputs]
        self.units = [h[:, :-1] for h in self.inputs]
        self.deltas = [d[slot] for d in block.deltas]

    @property
    def x(self):
        """The net's input (rows, in), to be written before `forward`."""
        return self.units[0]

    @property
    def output(self):
        """The net's output after `forward`; the caller turns it, in place, into d output before `backward`."""
        return self.deltas[-1]

    def imaginary(self, moved, r):
        """The tangent record along x_dot from `moved`, the record at x + i r x_dot: the imaginary parts over r."""
        dot = self.block.tangent_record(self.slot)
        for part, moved_part in zip(dot.inputs + dot.deltas, moved.inputs + moved.deltas):
            np.divide(moved_part.imag, r, out=part)
        return dot


class ParamSum:
    """sum_r w_r d params(record r), (size,): one stacked product per layer for all records of a block.

    A weight is a number or one number per row (rows,). Nothing parameter-sized is held but the sum itself and one product.
    """

    def __init__(self, net, dtype):
        self.total = empty((net.size,), np.dtype(dtype))
        self.layers = net.layers(self.total)
        self._written, self._pending = False, {}

    def add(self, record, weight=1.0):
        """+ weight * sum_l h_l^T delta_l."""
        return self._add(record.block, record.block, record.slot, weight, record.block)

    def add_tangent(self, record, dot, weight=1.0):
        """+ weight * sum_l (h_dot_l^T delta_l + h_l^T delta_dot_l): the tangent of `add`."""
        self._add(dot.block, record.block, record.slot, weight, record.block)
        return self._add(record.block, dot.block, record.slot, weight, record.block)

    def _add(self, left, right, slot, weight, home):
        if self._pending and home is not self._home:
            self._flush()
        self._home = home
        self._pending.setdefault((left, right), []).append((slot, weight))
        return self

    def value(self):
        """The sum (size,); zeros where nothing was added."""
        self._flush()
        if not self._written:
            self.total[...] = 0
        return self.total

    def _flush(self):
        with blas.one_thread():
            for (left, right), terms in self._pending.items():
                terms.sort(key=_slot)
                slots, weights = zip(*terms)
                self._add_product(left, right, _rows(list(slots)), weights)
        if self._pending:
            self._home.forget_tangents()
        self._pending = {}

    def _add_product(self, left, right, rows, weights):
        same = all(np.isscalar(w) and w == weights[0] for w in weights)
        for layer, h, delta in zip(self.layers, left.inputs, right.deltas):
            h, delta = h[rows], delta[rows]
            if not same:
                delta = delta * np.array([np.broadcast_to(w, left.rows) for w in weights], delta.dtype)[..., None]
            out = empty(layer.shape, layer.dtype) if self._written else layer
            threads.matmul_by_columns(h.reshape(-1, h.shape[-1]).T, delta.reshape(-1, delta.shape[-1]), out)
            if same and weights[0] != 1:
                out *= weights[0]
            if self._written:
                layer += out
        self._written = True


def _slot(term):
    return term[0]


def _rows(slots):
    """The slots (in order) as an index: a slice, which copies nothing, where they follow one another."""
    run = range(slots[0], slots[0] + len(slots))
    return slice(run.start, run.stop) if slots == list(run) else slots
