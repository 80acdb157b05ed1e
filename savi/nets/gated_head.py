"""A layer of gated units and an affine one over the pixels of images, channels first: the head of a PixelCNN.

    a = x W + b, or whatever the caller adds up;   g = tanh(a_1) sigmoid(a_2);   out = g V + c

sigmoid(a_2) = (1 + tanh(a_2 / 2)) / 2. Both halves go into the parameters, once: W, b and a stand for those of [a_1, a_2 / 2]
below, and V for V / 2. So with t = tanh(a_1) and s = tanh(a_2):

    u = t + t s = 2 g;   q_1 = d u / d a_1 = 1 + s - t u;   q_2 = d u / d a_2 = u - u s
    d q_1 / d a_1 = -2 t q_1;   d q_1 / d a_2 = d q_2 / d a_1 = q_1 - q_1 s;   d q_2 / d a_2 = -2 s q_2

An image is (channels, H W). So a's halves lie without gaps, which every formula of two halves needs to be quick, and what is
the same at all pixels is one column, (channels, 1).
"""

import types

import numpy as np

from ..engine import given
from ..engine.memory import empty
from .gated import reference


def halved(W):
    """W (..., 2C), its second half times 1/2: a new array."""
    W = W.copy()
    W[..., W.shape[-1] // 2 :] *= 0.5
    return W


def parts(a):
    """a_1, a_2 (N, C, .) of a (N, 2C, .), views."""
    C = a.shape[1] // 2
    return a[:, :C], a[:, C:]


def times(a, b):
    """a b, a of the greater shape."""
    return np.multiply(a, b, out=empty(a.shape, np.result_type(a, b)))


class GatedHead:
    """[x, 1] [W; b] gated, then affine. inputs; units C; outputs O. shapes of its layers: (inputs + 1, 2C), (C + 1, O)."""

    def __init__(self, inputs, units, outputs):
        self.inputs, self.units = given.whole("inputs", inputs), given.whole("units", units, 1)
        self.outputs = given.whole("outputs", outputs, 1)
        self.shapes = [(self.inputs + 1, 2 * self.units), (self.units + 1, self.outputs)]
        self.size = sum(n * m for n, m in self.shapes)

    def __repr__(self):
        return f"GatedHead({self.inputs}, {self.units}, {self.outputs})"

    def layers(self, params):
        """[W; b] and [V; c], views of params (size,)."""
        split = self.shapes[0][0] * self.shapes[0][1]
        return params[:split].reshape(self.shapes[0]), params[split:].reshape(self.shapes[1])

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): weights uniform with variance 1 / inputs of a unit, biases zero."""
        params = np.zeros(self.size, dtype)
        for layer in self.layers(params):
            layer[:-1] = rng.uniform(-1, 1, layer[:-1].shape) * np.sqrt(3 / max(1, len(layer) - 1))
        return params

    def over(self, params):
        """The head at fixed parameters: an OverPixels."""
        return OverPixels(self, params)

    def gradient(self, W, b, V, c):
        """d params (size,) from the gradients of an OverPixels' W, b, V and c."""
        V = V * V.dtype.type(0.5)
        return np.concatenate([halved(W).ravel(), halved(b), V.ravel(), c])

    def reference(self, params, h, shift=0.0):
        """out (..., O) at h (..., inputs) in autograd.numpy: the judge. shift (..., 2C): what else adds to a."""
        import autograd.numpy as anp

        W, V = self.layers(params)
        return anp.dot(reference(anp.dot(h, W[:-1]) + W[-1] + shift), V[:-1]) + V[-1]


class OverPixels:
    """The head at fixed parameters: W (inputs, 2C), b (2C,), V (C, O), c (O,), with the halves in them.

    A record has t and s side by side, ts (N, 2C, H W), u, q after the way back, and output (N, O, H W).
    """

    def __init__(self, head, params):
        first, second = head.layers(params)
        self.W, self.b = halved(first[:-1]), halved(first[-1])
        self.V, self.c = second[:-1] * second.dtype.type(0.5), second[-1]

    def forward(self, a):
        """A record of a (N, 2C, H W), with the halves in it, which is written over."""
        t, s = parts(np.tanh(a, out=a))
        u = times(t, s)
        u += t
        output = self.V.T @ u
        output += self.c[:, None]
        return types.SimpleNamespace(ts=a, u=u, q=None, output=output)

    def at(self, a):
        """out (N, O) at one pixel of each of N images, a (N, 2C)."""
        return self.forward(a[:, :, None].copy()).output[:, :, 0]

    def backward(self, record):
        """d a summed over the pixels, (N, 2C), from d output in record.output: what z needs where it is the same at all pixels.

        It completes the record; sum_i q_i sum_o V_o e_oi is taken as sum_o V_o (q e^T)_o, and `delta` is not worked out.
        """
        record.q = self._slopes(record)
        q_e = record.q @ record.output.transpose(0, 2, 1)  # (N, 2C, O)
        return (q_e.reshape(len(q_e), 2, *self.V.shape) * self.V).sum(axis=-1).reshape(q_e.shape[:2])

    @staticmethod
    def _slopes(record):
        (t, s), u = parts(record.ts), record.u
        q = empty(record.ts.shape, u.dtype)
        for q_i, left, right, more in zip(parts(q), (t, u), (u, s), (s, u)):
            np.multiply(left, right, out=q_i)
            np.subtract(more, q_i, out=q_i)
        parts(q)[0][...] += 1
        return q

    def delta(self, record):
        """d a (N, 2C, H W) of a completed record."""
        d, delta = self.V @ record.output, empty(record.q.shape, record.q.dtype)
        for q_i, delta_i in zip(parts(record.q), parts(delta)):
            np.multiply(q_i, d, out=delta_i)
        return delta

    def tangent(self, record, a_dot):
        """R{forward} of a_dot (N, 2C, H W), or (N, 2C, 1) where it is the same at all pixels: its output is the output's."""
        (q_1, q_2), (a_1, a_2) = parts(record.q), parts(a_dot)
        u_dot = times(q_1, a_1)
        u_dot += times(q_2, a_2)
        return types.SimpleNamespace(a=a_dot, u=u_dot, output=self.V.T @ u_dot)

    def tangent_backward(self, record, dot):
        """R{delta} (N, 2C, H W) from R{d output} in dot.output."""
        (q_1, q_2), (a_1, a_2), d, d_dot = (
            parts(record.q), parts(dot.a), self.V @ record.output, self.V @ dot.output
        )  # fmt: skip
        mixed, delta_dot, room = (
            times(q_1, parts(record.ts)[1]),
            empty(record.q.shape, d_dot.dtype),
            empty(d.shape, d.dtype),
        )
        np.subtract(q_1, mixed, out=mixed)
        mixed *= d
        for t, q, own, other, out in zip(parts(record.ts), (q_1, q_2), (a_1, a_2), (a_2, a_1), parts(delta_dot)):
            np.multiply(t, d, out=room)
            room *= -2 * own
            room += d_dot
            np.multiply(q, room, out=out)
            np.multiply(mixed, other, out=room)
            out += room
        return delta_dot

    def sums(self, dtype):
        """Zeros for sums of gradients of V and c: an OutputSum."""
        return OutputSum(self, dtype)


class OutputSum:
    """sum_r w_r of d V and d c over records; a weight is a number or one per image (N,)."""

    def __init__(self, over, dtype):
        self.V, self.c = np.zeros(over.V.shape, dtype), np.zeros(over.c.shape, dtype)

    def add(self, u, d_output, weight, last):
        """+ weight u^T d_output, u (N, C, H W) and d_output (N, O, H W); last: c's input, 0 for tangents."""
        weight = np.reshape(weight, (-1, 1, 1)).astype(d_output.dtype, copy=False)
        self.V += ((u @ d_output.transpose(0, 2, 1)) * weight).sum(axis=0)
        if last:
            self.c += (d_output.sum(axis=2, keepdims=True) * weight).sum(axis=(0, 2))
