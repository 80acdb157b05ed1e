"""Multilayer perceptrons: forward, backward and tangent.

    h_0 = x;  a_l = h_l W_l + b_l;  h_{l+1} = phi(a_l);  the last layer is affine

[W; b] (in + 1, out) is one matrix and h carries a last column of ones, so that a layer is one product. Backward, delta_l
being the gradient of a_l: delta_{l-1} = phi'(a_{l-1}) (delta_l W_l^T); its tangent has a term from phi'' as well.
"""

import numpy as np

from ..engine import given
from ..engine.blas import matmul
from ..engine.files import InputError
from .activations import ACTIVATIONS, Activation
from .base import Net


class MLP(Net):
    """A multilayer perceptron: affine, activation, ..., affine.

    sizes: units of each layer, input first, for example [784, 200, 200, 64]. activation: "tanh", "elu", "softplus",
    "identity" or an Activation, after every layer but the last. Raises InputError on fewer than two sizes.
    """

    has_tangent = True

    def __init__(self, sizes, activation="tanh"):
        sizes = given.listed("sizes", sizes, "a list of whole numbers")
        if len(sizes) < 2:
            raise InputError(f"sizes is {sizes}; expected an input size and at least an output size")
        self.sizes = tuple(given.whole(f"size {i} of {sizes}", n, min(i, 1)) for i, n in enumerate(sizes))
        named = (
            activation if isinstance(activation, Activation) else given.one_of("activation", activation, ACTIVATIONS)
        )
        self.activation = ACTIVATIONS.get(named, named)
        self.shapes = [(n + 1, m) for n, m in zip(self.sizes[:-1], self.sizes[1:])]
        self.inputs, self.outputs = self.sizes[0], self.sizes[-1]

    def __repr__(self):
        return f"MLP({list(self.sizes)}, {self.activation.name!r})"

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): weights uniform with variance 2 / (in + out) (Glorot & Bengio 2010), biases zero."""
        params = np.zeros(self.size, dtype)
        for layer, n, m in zip(self.layers(params), self.sizes[:-1], self.sizes[1:]):
            layer[:-1] = rng.uniform(-1, 1, (n, m)) * np.sqrt(6 / (n + m))
        return params

    def forward(self, layers, record, shift=None):
        for layer, h, a in zip(layers, record.inputs, [*record.units[1:], record.output]):
            matmul(h, layer, out=a)
            if shift is not None:
                a += shift
                shift = None
            if a is not record.output:
                self.activation.apply(a)
        return record.output

    def complete(self, transposed, record):
        for l in range(len(transposed) - 1, 0, -1):
            delta = matmul(record.deltas[l], transposed[l], out=record.deltas[l - 1])
            delta *= self.activation.slope(record.units[l])

    def tangent(self, layers, record, dot):
        dot.kept = [None]  # phi' of each layer's input, for the way back
        for l, layer in enumerate(layers[:-1]):
            a_dot = matmul(dot.units[l], layer[:-1], out=dot.units[l + 1])
            h = record.units[l + 1]
            np.multiply(self.activation.bend(h), a_dot, out=dot.deltas[l])
            dot.deltas[l] *= record.deltas[l]  # the part of R{delta} that comes from phi''
            dot.kept.append(self.activation.slope(h))
            a_dot *= dot.kept[-1]
        return matmul(dot.units[-1], layers[-1][:-1], out=dot.output)

    def tangent_backward(self, transposed, record, dot):
        for l in range(len(transposed) - 1, 0, -1):
            back = matmul(dot.deltas[l], transposed[l], out=np.empty_like(dot.deltas[l - 1]))
            back *= dot.kept[l]
            dot.deltas[l - 1] += back
        return dot.deltas[0] @ transposed[0]

    def reference(self, params, h, shift=0.0):
        import autograd.numpy as anp

        start = 0
        for n, m in zip(self.sizes[:-1], self.sizes[1:]):
            W = anp.reshape(params[start : start + n * m], (n, m))
            b = params[start + n * m : start + (n + 1) * m]
            start += (n + 1) * m
            h, shift = anp.dot(h, W) + b + shift, 0.0
            if start < self.size:
                h = self.activation.reference(h)
        return h
