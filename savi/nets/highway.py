"""Nets with highway connections between hidden layers: the trunk of an iterative inference model.  [LI] B, C

    c = phi(h W + b);  T = sigmoid(h V + d);  h' = T c + (1 - T) h         Srivastava, Greff & Schmidhuber 2015

The first hidden layer is plain, as its input has another width; every further one has a highway; the last layer is
affine. Parameters lie as an MLP's do, layer by layer; a highway layer is one matrix [W, V; b, d] (H + 1, 2H), so that
the candidate c and the gate T come from one product. Recorded and summed like any net's (nets.py).
"""

import numpy as np

from ..engine.blas import product
from ..engine.files import InputError
from .activations import sigmoid
from .mlp import MLP

CARRY = -1.0  # the gates' initial biases: at first a layer mostly hands on what it gets


class HighwayMLP(MLP):
    """A multilayer perceptron with highways. sizes: [in, H, ..., H, out], hidden layers of one width; activation as MLP's.

    There is no tangent: as a decoder it gets central differences for Hessian-vector products.
    """

    tangent = None

    def __init__(self, sizes, activation="elu"):
        super().__init__(sizes, activation)
        hidden = self.sizes[1:-1]
        if len(set(hidden)) != 1:
            raise InputError(f"sizes is {list(sizes)}; expected one or more hidden layers, all of the same width")
        self.shapes = [self.shapes[0], *((H + 1, 2 * H) for H in hidden[1:]), self.shapes[-1]]
        self.size = sum(n * m for n, m in self.shapes)

    def __repr__(self):
        return f"HighwayMLP({list(self.sizes)}, {self.activation.name!r})"

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): weights uniform with variance 2 / (in + out), W and V each; biases zero, gates' -1."""
        params = np.zeros(self.size, dtype)
        for layer, n, m in zip(self.layers(params), self.sizes[:-1], self.sizes[1:]):
            layer[:-1] = rng.uniform(-1, 1, (n, layer.shape[1])) * np.sqrt(6 / (n + m))
            layer[-1, m:] = CARRY
        return params

    def forward(self, layers, record):
        """The output (rows, out), in record.output; needs record.x. Until `complete`, deltas[l] holds [c, T]."""
        h = product(record.inputs[0], layers[0], out=record.units[1])
        self.activation.apply(h)
        for l in range(1, len(layers) - 1):
            c, T = _halves(product(record.inputs[l], layers[l], out=record.deltas[l]))
            self.activation.apply(c)
            T[...] = sigmoid(T)
            h_next = np.subtract(c, record.units[l], out=record.units[l + 1])
            h_next *= T
            h_next += record.units[l]
        return product(record.inputs[-1], layers[-1], out=record.output)

    def complete(self, transposed, record):
        """The record's deltas from d output in record.output, without d input."""
        d = product(record.output, transposed[-1], out=np.empty(record.units[-1].shape, record.output.dtype))
        for l in range(len(transposed) - 2, 0, -1):  # d is the gradient of this layer's h'
            h, delta = record.units[l], record.deltas[l]
            c, T = _halves(delta)
            carried = (1 - T) * d
            d_T = carried * T * (c - h)
            np.multiply(T * self.activation.slope(c), d, out=c)
            T[...] = d_T
            d = product(delta, transposed[l], out=d)
            d += carried
        np.multiply(d, self.activation.slope(record.units[1]), out=record.deltas[0])


def _halves(a):
    """[c, T] (rows, 2H) as two views."""
    H = a.shape[1] // 2
    return a[:, :H], a[:, H:]
