"""Gated units: g = tanh(a_1) sigmoid(a_2), [a_1, a_2] = a; and a net of one layer of them.  van den Oord et al. 2016

With t = tanh(a_1) and s = tanh(a_2 / 2), sigmoid(a_2) = (1 + s) / 2. The slopes p = d g / d a and how they move with a:

    p_1 = (1 - t^2) (1 + s) / 2;   p_2 = t (1 - s^2) / 4
    t_dot = (1 - t^2) a_1_dot;     s_dot = (1 - s^2) / 2 a_2_dot
    p_1_dot = -t (1 + s) t_dot + (1 - t^2) / 2 s_dot;   p_2_dot = (1 - s^2) / 4 t_dot - t s / 2 s_dot

a is (rows, 2C), as a product gives it; t and s, p_1 and p_2 are halves (2, rows, C), each without gaps.
"""

import numpy as np

from ..engine import given
from ..engine.blas import matmul
from ..engine.memory import blockwise, empty
from .base import Net


def halves(a):
    """a (rows, 2C) as (2, rows, C), a view."""
    return a.reshape(len(a), 2, -1).transpose(1, 0, 2)


def gate(a):
    """(g (rows, C), [t, s] (2, rows, C)) of a (rows, 2C)."""
    ts = empty((2, len(a), a.shape[1] // 2), a.dtype)
    ts[...] = halves(a)
    ts[1] *= 0.5
    np.tanh(ts, out=ts)
    (g,) = blockwise(lambda t, s: ((t + t * s) * 0.5,), *ts)
    return g, ts


def slopes(ts):
    """p = [d g / d a_1, d g / d a_2] (2, rows, C)."""
    return np.stack(blockwise(lambda t, s: ((1 - t * t) * (1 + s) * 0.5, t * (1 - s * s) * 0.25), *ts))


def bends(ts, a_dot):
    """p_dot (2, rows, C): how the slopes move when a moves along a_dot (rows, 2C)."""

    def formula(t, s, a_1, a_2):
        t_slope, s_slope = 1 - t * t, (1 - s * s) * 0.5
        t_dot, s_dot = t_slope * a_1, s_slope * a_2
        return t_slope * s_dot * 0.5 - t * (1 + s) * t_dot, s_slope * t_dot * 0.5 - t * s * s_dot * 0.5

    return np.stack(blockwise(formula, *ts, *np.ascontiguousarray(halves(a_dot))))


def moved(p, a_dot):
    """g_dot (rows, C) = p_1 a_1_dot + p_2 a_2_dot."""
    both = p * halves(a_dot)
    return np.add(both[0], both[1], out=both[0])


def gate_back(p, d, out):
    """delta = [p_1 d, p_2 d] (rows, 2C), written to `out`; d (rows, C)."""
    np.multiply(p, d, out=halves(out))
    return out


class GatedMLP(Net):
    """[x, 1] [W; b] gated, then affine. sizes: inputs, gated units C, outputs. shapes: (inputs + 1, 2C), (C + 1, outputs)."""

    has_tangent = True

    def __init__(self, inputs, units, outputs):
        self.inputs, self.units, self.outputs = given.whole("inputs", inputs), given.whole("units", units, 1), outputs
        self.shapes = [(self.inputs + 1, 2 * self.units), (self.units + 1, given.whole("outputs", outputs, 1))]

    def __repr__(self):
        return f"GatedMLP({self.inputs}, {self.units}, {self.outputs})"

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): weights uniform with variance 1 / inputs of a unit, biases zero."""
        params = np.zeros(self.size, dtype)
        for layer in self.layers(params):
            layer[:-1] = rng.uniform(-1, 1, layer[:-1].shape) * np.sqrt(3 / max(1, len(layer) - 1))
        return params

    def forward(self, layers, record, shift=None):
        a = matmul(record.inputs[0], layers[0], out=record.deltas[0])
        if shift is not None:
            a += shift
        record.units[1][...], record.own = gate(a)
        return matmul(record.inputs[1], layers[1], out=record.output)

    def complete(self, transposed, record):
        gate_back(slopes(record.own), record.output @ transposed[1], out=record.deltas[0])

    def tangent(self, layers, record, dot):
        a_dot = matmul(dot.units[0], layers[0][:-1], out=dot.deltas[0])
        dot.kept = slopes(record.own)
        dot.units[1][...] = moved(dot.kept, a_dot)
        gate_back(bends(record.own, a_dot), record.output @ layers[1][:-1].T, out=dot.deltas[0])
        return matmul(dot.units[1], layers[1][:-1], out=dot.output)

    def tangent_backward(self, transposed, record, dot):
        d_dot = dot.output @ transposed[1]
        dot.deltas[0] += gate_back(dot.kept, d_dot, out=empty(dot.deltas[0].shape, d_dot.dtype))
        return dot.deltas[0] @ transposed[0]

    def reference(self, params, h, shift=0.0):
        import autograd.numpy as anp

        split, C = self.shapes[0][0] * self.shapes[0][1], self.units
        W, V = anp.reshape(params[:split], self.shapes[0]), anp.reshape(params[split:], self.shapes[1])
        a = anp.dot(h, W[:-1]) + W[-1] + shift
        return anp.dot(anp.tanh(a[..., :C]) * 0.5 * (1 + anp.tanh(0.5 * a[..., C:])), V[:-1]) + V[-1]
