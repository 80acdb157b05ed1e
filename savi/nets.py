"""Multilayer perceptrons: forward, backward, tangent, and the stacked parameter gradient.

A net's parameters are one flat vector: layer by layer W (in, out) in C order, then b (out). So a layer is one matrix
[W; b] (in + 1, out), its input carries a last column of ones, and the layer is one product: [h, 1] [W; b].

An evaluation is recorded: each layer's input h_l and, after the backward pass, the gradient delta_l of its output.
A parameter gradient is sum over rows of h_l^T delta_l; its tangent is h_dot^T delta + h^T delta_dot (here the last
column of h_dot is zero). Records lie side by side in blocks, so that a sum over many evaluations - the K steps of an
inner loop, a finite difference - is one matrix product per layer and block: `ParamSum`.
"""

from typing import NamedTuple

import numpy as np

from .files import InputError
from .likelihoods import softplus
from .memory import empty

ROWS_PER_BLOCK = 512  # enough rows for a matrix product to run at full speed, few enough to bound the memory


class Activation(NamedTuple):
    """h = phi(a) with its derivatives as functions of h: apply(a) in place, slope = phi', bend = phi'' / phi'."""

    name: str
    apply: object
    slope: object
    bend: object


def _tanh(a):
    np.tanh(a, out=a)


def _elu(a):
    np.copyto(a, np.expm1(np.where(a.real > 0, 0, a)), where=a.real <= 0)


def _softplus(a):
    a[...] = softplus(a)


TANH = Activation("tanh", _tanh, lambda h: 1 - h * h, lambda h: -2 * h)
ELU = Activation("elu", _elu, lambda h: 1 + np.where(h.real > 0, 0, h), lambda h: (h.real <= 0).astype(h.dtype))
SOFTPLUS = Activation("softplus", _softplus, lambda h: -np.expm1(-h), lambda h: np.exp(-h))
IDENTITY = Activation("identity", lambda a: None, lambda h: np.ones_like(h), lambda h: np.zeros_like(h))
ACTIVATIONS = {a.name: a for a in (TANH, ELU, SOFTPLUS, IDENTITY)}


class Block:
    """Room for `slots` evaluations of one net on `rows` rows each.

    inputs[l] (slots, rows, in_l + 1) with the last column set to `last` (1; 0 for tangents); deltas[l] (slots, rows, out_l).
    """

    def __init__(self, sizes, slots, rows, dtype, last=1):
        self.sizes, self.slots, self.rows, self.dtype = sizes, slots, rows, dtype
        self.inputs = [empty((slots, rows, n + 1), dtype) for n in sizes[:-1]]
        self.deltas = [empty((slots, rows, n), dtype) for n in sizes[1:]]
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
            self._tangents, self._taken = Block(self.sizes, self.slots, self.rows, self.dtype, last=0), set()
        self._taken.add(slot)
        return Record(self._tangents, slot)


class Record:
    """One evaluation: inputs[l] (rows, in_l + 1), deltas[l] (rows, out_l), views into its block."""

    __slots__ = ("block", "deltas", "inputs", "kept", "slot")

    def __init__(self, block, slot):
        self.block, self.slot = block, slot
        self.inputs = [h[slot] for h in block.inputs]
        self.deltas = [d[slot] for d in block.deltas]

    @property
    def x(self):
        """The net's input (rows, in), to be written before `forward`."""
        return self.inputs[0][:, :-1]

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
        if len(self.sizes) < 2 or min(self.sizes) < 1 or self.sizes != tuple(sizes):
            raise InputError(
                f"sizes is {list(sizes)}; expected at least an input and an output size, whole numbers >= 1"
            )
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise InputError(f"activation is {activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        self.shapes = [(n + 1, m) for n, m in zip(self.sizes[:-1], self.sizes[1:])]
        self.size = sum(n * m for n, m in self.shapes)

    def __repr__(self):
        return f"MLP({list(self.sizes)}, {self.activation.name!r})"

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): weights uniform with variance 2 / (in + out) (Glorot & Bengio 2010), biases zero."""
        params = np.zeros(self.size, dtype)
        for layer in self.layers(params):
            n, m = layer.shape[0] - 1, layer.shape[1]
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
    def transposed(layers):
        """W^T (out, in) of each layer, copied: the products of a backward pass are quicker by more than the copy costs."""
        return [np.ascontiguousarray(layer[:-1].T) for layer in layers]

    def block(self, rows, dtype, slots=1):
        return Block(self.sizes, slots, rows, dtype)

    def forward(self, layers, record):
        """The output (rows, out), in record.output; needs record.x."""
        for l, layer in enumerate(layers[:-1]):
            a = record.inputs[l + 1][:, :-1]
            np.matmul(record.inputs[l], layer, out=a)
            self.activation.apply(a)
        return np.matmul(record.inputs[-1], layers[-1], out=record.output)

    def backward(self, transposed, record):
        """d input (rows, in); needs d output in record.output, completes the record's deltas."""
        for l in range(len(transposed) - 1, 0, -1):
            delta = np.matmul(record.deltas[l], transposed[l], out=record.deltas[l - 1])
            delta *= self.activation.slope(record.inputs[l][:, :-1])
        return record.deltas[0] @ transposed[0]

    def tangent(self, layers, record, dot):
        """R{forward}: the output's tangent (rows, out), in dot.output; needs dot.x and a completed record."""
        for l, layer in enumerate(layers[:-1]):
            a_dot = np.matmul(dot.inputs[l][:, :-1], layer[:-1], out=dot.inputs[l + 1][:, :-1])
            h = record.inputs[l + 1][:, :-1]
            np.multiply(self.activation.bend(h), a_dot, out=dot.deltas[l])
            dot.deltas[l] *= record.deltas[l]  # the part of R{delta} that comes from phi''
            a_dot *= self.activation.slope(h)
        return np.matmul(dot.inputs[-1][:, :-1], layers[-1][:-1], out=dot.output)

    def tangent_backward(self, transposed, record, dot):
        """R{backward}: R{d input} (rows, in); needs R{d output} in dot.output, completes dot's deltas."""
        for l in range(len(transposed) - 1, 0, -1):
            back = dot.deltas[l] @ transposed[l]
            back *= self.activation.slope(record.inputs[l][:, :-1])
            dot.deltas[l - 1] += back
        return dot.deltas[0] @ transposed[0]

    def __call__(self, params, x):
        """The output (..., out) for x (..., in)."""
        return self.record(params, x.reshape(-1, self.sizes[0])).output.reshape(*x.shape[:-1], self.sizes[-1])

    def record(self, params, x):
        """The record of one forward pass on x (rows, in); its output is record.output."""
        record = self.block(len(x), np.result_type(params, x)).next_record()
        record.x[...] = x
        self.forward(self.layers(params), record)
        return record

    def grad(self, params, record, d_output):
        """d params (size,) from d output (rows, out) and the record of the forward pass that ran."""
        record.output[...] = d_output
        self.backward(self.transposed(self.layers(params)), record)
        return ParamSum(self, params.dtype).add(record).value()


class ParamSum:
    """sum_r w_r d params(record r), (size,): one stacked product per layer for all records of a block.

    A weight is a number or one number per row (rows,). Nothing parameter-sized is held but the sum itself and one product.
    """

    def __init__(self, net, dtype):
        self.net = net
        self.total = np.zeros(net.size, dtype)
        self._pending = {}

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
        return self.total

    def _flush(self):
        for (left, right), terms in self._pending.items():
            slots = sorted(slot for slot, _ in terms)
            weights = [weight for _, weight in sorted(terms, key=lambda term: term[0])]
            contiguous = slots == list(range(slots[0], slots[0] + len(slots)))
            index = slice(slots[0], slots[0] + len(slots)) if contiguous else slots
            same = all(np.isscalar(w) and w == weights[0] for w in weights)
            for layer, h, delta in zip(self.net.layers(self.total), left.inputs, right.deltas):
                h, delta = h[index], delta[index]
                if not same:
                    rows = np.array([np.broadcast_to(w, left.rows) for w in weights], self.total.dtype)
                    delta = delta * rows[..., None]
                product = np.matmul(
                    h.reshape(-1, h.shape[-1]).T,
                    delta.reshape(-1, delta.shape[-1]),
                    out=empty(layer.shape, layer.dtype),
                )
                if same and weights[0] != 1:
                    product *= weights[0]
                layer += product
        self._pending = {}
