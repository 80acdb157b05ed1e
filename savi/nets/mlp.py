"""Multilayer perceptrons: forward, backward, tangent, and the stacked parameter gradient.

A net's parameters are one flat vector: layer by layer W (in, out) in C order, then b (out). So a layer is one matrix
[W; b] (in + 1, out), its input carries a last column of ones, and the layer is one product: [h, 1] [W; b].

An evaluation is recorded: each layer's input h_l and, after the backward pass, the gradient delta_l of its output.
A parameter gradient is sum over rows of h_l^T delta_l; its tangent is h_dot^T delta + h^T delta_dot (here the last
column of h_dot is zero). Records lie side by side in blocks, so that a sum over many evaluations - the K steps of an
inner loop, a finite difference - is one matrix product per layer and block: `ParamSum`.
"""

import numpy as np

from ..engine import blas, threads
from ..engine.blas import product
from ..engine.files import InputError
from ..engine.memory import empty
from .activations import ACTIVATIONS

ROWS_PER_BLOCK = 768  # enough rows for a matrix product to run at full speed, few enough to bound the memory


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
    column, and deltas[l] (rows, out_l)."""

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


class MLP:
    """A multilayer perceptron: affine, activation, ..., affine.

    sizes: units of each layer, input first, for example [784, 200, 200, 64]. activation: "tanh", "elu", "softplus",
    "identity" or an Activation, after every layer but the last. Raises InputError on fewer than two sizes.
    """

    def __init__(self, sizes, activation="tanh"):
        self.sizes = tuple(int(n) for n in sizes)
        if len(self.sizes) < 2 or self.sizes[0] < 0 or min(self.sizes[1:]) < 1 or self.sizes != tuple(sizes):
            raise InputError(
                f"sizes is {list(sizes)}; expected an input size >= 0 and at least an output size, whole numbers >= 1"
            )
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise InputError(f"activation is {activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        self.shapes = [(n + 1, m) for n, m in zip(self.sizes[:-1], self.sizes[1:])]
        self.size, self.outputs = sum(n * m for n, m in self.shapes), self.sizes[-1]

    def __repr__(self):
        return f"MLP({list(self.sizes)}, {self.activation.name!r})"

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): weights uniform with variance 2 / (in + out) (Glorot & Bengio 2010), biases zero."""
        params = np.zeros(self.size, dtype)
        for layer, n, m in zip(self.layers(params), self.sizes[:-1], self.sizes[1:]):
            layer[:-1] = rng.uniform(-1, 1, (n, m)) * np.sqrt(6 / (n + m))
        return params

    def layers(self, params):
        """Views [W; b] (in + 1, out) of the flat vector, one per layer."""
        views, start = [], 0
        for n, m in self.shapes:
            views.append(params[start : start + n * m].reshape(n, m))
            start += n * m
        return views

    @staticmethod
    def transposed(layers, once=False):
        """W^T (out, in) of each layer: views, or for many passes what products are quickest with."""
        copy = not (once or blas.reads_in_place())
        return [np.ascontiguousarray(layer[:-1].T) if copy else layer[:-1].T for layer in layers]

    def block(self, rows, dtype, slots=1):
        return Block(self.shapes, slots, rows, dtype)

    def forward(self, layers, record, shift=None):
        """The output (rows, out), in record.output; needs record.x. shift (rows, .): a constant added to the first layer."""
        for layer, h, a in zip(layers, record.inputs, [*record.units[1:], record.output]):
            product(h, layer, out=a)
            if shift is not None:
                a += shift
                shift = None
            if a is not record.output:
                self.activation.apply(a)
        return record.output

    def backward(self, transposed, record):
        """d input (rows, in); needs d output in record.output, completes the record's deltas."""
        self.complete(transposed, record)
        return record.deltas[0] @ transposed[0]

    def complete(self, transposed, record):
        """The record's deltas from d output in record.output, without d input."""
        for l in range(len(transposed) - 1, 0, -1):
            delta = product(record.deltas[l], transposed[l], out=record.deltas[l - 1])
            delta *= self.activation.slope(record.units[l])

    def tangent(self, layers, record, dot):
        """R{forward}: the output's tangent (rows, out), in dot.output; needs dot.x and a completed record."""
        dot.kept = [None]  # phi' of each layer's input, for the way back
        for l, layer in enumerate(layers[:-1]):
            a_dot = product(dot.units[l], layer[:-1], out=dot.units[l + 1])
            h = record.units[l + 1]
            np.multiply(self.activation.bend(h), a_dot, out=dot.deltas[l])
            dot.deltas[l] *= record.deltas[l]  # the part of R{delta} that comes from phi''
            dot.kept.append(self.activation.slope(h))
            a_dot *= dot.kept[-1]
        return product(dot.units[-1], layers[-1][:-1], out=dot.output)

    def tangent_backward(self, transposed, record, dot):
        """R{backward}: R{d input} (rows, in); needs R{d output} in dot.output, completes dot's deltas."""
        for l in range(len(transposed) - 1, 0, -1):
            back = product(dot.deltas[l], transposed[l], out=np.empty_like(dot.deltas[l - 1]))
            back *= dot.kept[l]
            dot.deltas[l - 1] += back
        return dot.deltas[0] @ transposed[0]

    def __call__(self, params, x):
        """The output (..., out) for x (..., in)."""
        return self.record(params, x.reshape(-1, self.sizes[0])).output.reshape(*x.shape[:-1], self.sizes[-1])

    def record(self, params, x):
        """The record of one forward pass on x (rows, in); its output is record.output. Raises InputError on another width."""
        if np.ndim(x) != 2 or np.shape(x)[1] != self.sizes[0]:
            raise InputError(f"{self!r} takes (rows, {self.sizes[0]}); got {np.shape(x)}")
        record = self.block(len(x), np.result_type(params, x)).next_record()
        record.x[...] = x
        self.forward(self.layers(params), record)
        return record

    def grad(self, params, record, d_output):
        """d params (size,) from d output (rows, out) and the record of the forward pass that ran."""
        record.output[...] = d_output
        self.complete(self.transposed(self.layers(params), once=True), record)
        return ParamSum(self, params.dtype).add(record).value()


class ParamSum:
    """sum_r w_r d params(record r), (size,): one stacked product per layer for all records of a block.

    A weight is a number or one number per row (rows,). Nothing parameter-sized is held but the sum itself and one product.
    """

    def __init__(self, net, dtype):
        self.net, self.total = net, empty((net.size,), np.dtype(dtype))
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
        self._flush()
        if not self._written:
            self.total[...] = 0
        return self.total

    def _flush(self):
        for (left, right), terms in self._pending.items():
            terms.sort(key=lambda term: term[0])
            slots, weights = [slot for slot, _ in terms], [weight for _, weight in terms]
            rows = _rows(slots)
            same = all(np.isscalar(w) and w == weights[0] for w in weights)
            for layer, h, delta in zip(self.net.layers(self.total), left.inputs, right.deltas):
                h, delta = h[rows], delta[rows]
                if not same:
                    delta = delta * np.array([np.broadcast_to(w, left.rows) for w in weights], delta.dtype)[..., None]
                out = empty(layer.shape, layer.dtype) if self._written else layer
                threads.product(h.reshape(-1, h.shape[-1]).T, delta.reshape(-1, delta.shape[-1]), out)
                if same and weights[0] != 1:
                    out *= weights[0]
                if self._written:
                    layer += out
            self._written = True
        if self._pending:
            self._home.forget_tangents()
        self._pending = {}


def _rows(slots):
    """The slots (in order) as an index: a slice, which copies nothing, where they follow one another."""
    run = range(slots[0], slots[0] + len(slots))
    return slice(run.start, run.stop) if slots == list(run) else slots
