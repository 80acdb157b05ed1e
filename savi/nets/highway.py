"""Nets with highway connections between hidden layers: the trunk of an iterative inference model.  [LI] B, C

    c = phi(h W + b);  T = sigmoid(h V + d);  h' = T c + (1 - T) h         Srivastava, Greff & Schmidhuber 2015

The first hidden layer is plain, as its input has another width; every further one has a highway; the last layer is
affine. Parameters lie as an MLP's do, layer by layer; a highway layer is one matrix [W, V; b, d] (H + 1, 2H), so that
the candidate c and the gate T come from one product. Recorded and summed like any net's.

With [a, s] = h [W, V] + [b, d] and d' the gradient of h', the way back is

    delta = [T phi'(a) d', T (1 - T) (c - h) d'];   d = delta [W, V]^T + (1 - T) d'

and with R{.} written as a dot (W, V, b, d stand still), the tangents of both ways are

    [a_dot, s_dot] = h_dot [W, V];   h'_dot = T phi'(a) a_dot + T (1 - T) (c - h) s_dot + (1 - T) h_dot
    delta_a_dot = T phi'(a) d'_dot + (phi''/phi' a_dot + (1 - T) s_dot) delta_a
    delta_s_dot = T (1 - T) (c - h) d'_dot + (1 - 2 T) s_dot delta_s + T (1 - T) d' (phi'(a) a_dot - h_dot)
    d_dot = delta_dot [W, V]^T + (1 - T) d'_dot - T (1 - T) d' s_dot                                     Pearlmutter 1994
"""

import numpy as np

from ..engine.blas import matmul
from ..engine.files import InputError
from ..engine.memory import empty
from .activations import sigmoid
from .mlp import MLP

CARRY = -1.0  # the gates' initial biases: at first a layer mostly hands on what it gets


class HighwayMLP(MLP):
    """A multilayer perceptron with highways. sizes: [in, H, ..., H, out], hidden layers of one width; activation as MLP's."""

    def __init__(self, sizes, activation="elu"):
        super().__init__(sizes, activation)
        hidden = self.sizes[1:-1]
        if len(set(hidden)) != 1:
            raise InputError(f"sizes is {list(sizes)}; expected one or more hidden layers, all of the same width")
        self.shapes = [self.shapes[0], *((H + 1, 2 * H) for H in hidden[1:]), self.shapes[-1]]

    def __repr__(self):
        return f"HighwayMLP({list(self.sizes)}, {self.activation.name!r})"

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): weights uniform with variance 2 / (in + out), W and V each; biases zero, gates' -1."""
        params = np.zeros(self.size, dtype)
        for layer, n, m in zip(self.layers(params), self.sizes[:-1], self.sizes[1:]):
            layer[:-1] = rng.uniform(-1, 1, (n, layer.shape[1])) * np.sqrt(6 / (n + m))
            layer[-1, m:] = CARRY
        return params

    def forward(self, layers, record, shift=None):
        h = matmul(record.inputs[0], layers[0], out=record.units[1])
        if shift is not None:
            h += shift
        self.activation.apply(h)
        record.own = [None]  # of each layer: [c, T], and T (1 - T) d' after `complete`
        for l, layer in enumerate(layers[1:-1], 1):
            h, h_next = record.units[l], record.units[l + 1]
            gates = matmul(record.inputs[l], layer, out=_like(record.deltas[l]))
            c, T = _halves(gates)
            self.activation.apply(c)
            T[...] = sigmoid(T)
            np.subtract(c, h, out=h_next)
            h_next *= T
            h_next += h
            record.own.append((gates, None))
        return matmul(record.inputs[-1], layers[-1], out=record.output)

    def complete(self, transposed, record):
        d = matmul(record.output, transposed[-1], out=np.empty(record.units[-1].shape, record.output.dtype))
        for l in range(len(transposed) - 2, 0, -1):  # d is the gradient of this layer's h'
            gates, (delta_a, delta_s) = record.own[l][0], _halves(record.deltas[l])
            c, T = _halves(gates)
            carried = (1 - T) * d
            both = carried * T
            np.multiply(T * self.activation.slope(c), d, out=delta_a)
            np.multiply(both, c - record.units[l], out=delta_s)
            record.own[l] = gates, both
            d = matmul(record.deltas[l], transposed[l], out=d)
            d += carried
        np.multiply(d, self.activation.slope(record.units[1]), out=record.deltas[0])

    def tangent(self, layers, record, dot):
        a_dot, h = matmul(dot.units[0], layers[0][:-1], out=dot.units[1]), record.units[1]
        np.multiply(self.activation.bend(h), a_dot, out=dot.deltas[0])
        dot.deltas[0] *= record.deltas[0]  # the part of R{delta} that comes from phi''
        dot.kept = [self.activation.slope(h)]  # what the way back needs of each layer
        a_dot *= dot.kept[0]
        for l, layer in enumerate(layers[1:-1], 1):
            dot.kept.append(self._highway_tangent(layer, record, dot, l))
        return matmul(dot.units[-1], layers[-1][:-1], out=dot.output)

    def _highway_tangent(self, layer, record, dot, l):
        """h'_dot of layer l, and the part of delta_dot that d'_dot has no share in; returns d h' / d [a, s] (rows, 2H),
        1 - T (rows, H) and T (1 - T) d' s_dot (rows, H)."""
        gates, both = record.own[l]
        (c, T), h, h_dot = _halves(gates), record.units[l], dot.units[l]
        (delta_a, delta_s), (delta_a_dot, delta_s_dot) = _halves(record.deltas[l]), _halves(dot.deltas[l])
        a_dot, s_dot = _halves(matmul(h_dot, layer[:-1], out=_like(gates)))
        carry, slope, ways = 1 - T, self.activation.slope(c), _like(gates)
        np.multiply(T, slope, out=_halves(ways)[0])
        np.multiply(T * carry, c - h, out=_halves(ways)[1])
        np.multiply(self.activation.bend(c) * a_dot + carry * s_dot, delta_a, out=delta_a_dot)
        np.multiply((carry - T) * s_dot, delta_s, out=delta_s_dot)
        delta_s_dot += both * (slope * a_dot - h_dot)
        dot.units[l + 1][...] = carry * h_dot + _halves(ways)[0] * a_dot + _halves(ways)[1] * s_dot
        return ways, carry, both * s_dot

    def tangent_backward(self, transposed, record, dot):
        d_dot = matmul(dot.output, transposed[-1], out=np.empty(dot.units[-1].shape, dot.output.dtype))
        for l in range(len(transposed) - 2, 0, -1):  # d_dot is R{} of the gradient of this layer's h'
            ways, carry, turned = dot.kept[l]
            for delta_dot, way in zip(_halves(dot.deltas[l]), _halves(ways)):
                delta_dot += way * d_dot
            carried = carry * d_dot - turned
            d_dot = matmul(dot.deltas[l], transposed[l], out=d_dot)
            d_dot += carried
        d_dot *= dot.kept[0]
        dot.deltas[0] += d_dot
        return dot.deltas[0] @ transposed[0]

    def reference(self, params, h, shift=0.0):
        import autograd.numpy as anp

        start = 0
        for l, (n, m) in enumerate(self.shapes):
            layer = anp.reshape(params[start : start + n * m], (n, m))
            start += n * m
            a, H = anp.dot(h, layer[:-1]) + layer[-1], m // 2
            if l == 0:
                h = self.activation.reference(a + shift)
            elif l < len(self.shapes) - 1:
                T = 0.5 * (1 + anp.tanh(0.5 * a[..., H:]))
                h = T * self.activation.reference(a[..., :H]) + (1 - T) * h
        return a


def _like(a):
    return empty(a.shape, a.dtype)


def _halves(a):
    """[c, T] (rows, 2H) as two views."""
    H = a.shape[1] // 2
    return a[:, :H], a[:, H:]
