"""An encoder that overfits less: units are dropped, and noise is added to its input, in training only.

    h_0 = x + s e;   h_{l+1} = m_l * phi(h_l W_l + b_l);   the last layer is affine          Srivastava et al. 2014

e ~ N(0, I), and each unit of the mask m_l is 0 with probability p, else 1 / (1 - p): a unit's mean is what it is without a
mask, so that at test time the net is the plain MLP. Backward, delta_{l-1} = m_{l-1} phi'(a_{l-1}) (delta_l W_l^T). The masks
are drawn first and then held fixed: a gradient is a pure function of phi, x and the masks.
"""

import numpy as np

from ..engine.blas import matmul
from ..engine.files import expect
from ..engine.records import ParamSum
from .base import Encoder
from .mlp import MLP


class DropoutMLP(Encoder):
    """An MLP as an encoder, with masks in training.

    sizes, activation: as MLP's. drop: p in [0, 1), the probability that a hidden unit is dropped. noise: s >= 0, the standard
    deviation of what is added to x, in units of x. Raises InputError on others.
    """

    random = True

    def __init__(self, sizes, activation="tanh", drop=0.0, noise=0.0):
        expect("drop", drop, 0 <= drop < 1, "in [0, 1)")
        expect("noise", noise, 0 <= noise < np.inf, "a number >= 0")
        self.net, self.drop, self.noise = MLP(sizes, activation), float(drop), float(noise)
        self.size, self.outputs = self.net.size, self.net.outputs

    def __repr__(self):
        return f"DropoutMLP({list(self.net.sizes)}, {self.net.activation.name!r}, drop={self.drop}, noise={self.noise})"

    def init(self, rng, dtype=np.float64):
        return self.net.init(rng, dtype)

    def masks(self, rng, rows, dtype):
        """What one pass in training takes: [s e (rows, inputs), m_0 (rows, H_1), m_1 (rows, H_2), ...]; without noise the
        first is 0, and where nothing is dropped there are no more."""
        inputs, *hidden, _ = self.net.sizes
        noise = self.noise * rng.standard_normal((rows, inputs), dtype) if self.noise else 0.0
        kept = (rng.random((rows, n), dtype) >= self.drop for n in hidden if self.drop)
        return [noise, *(mask / np.dtype(dtype).type(1 - self.drop) for mask in kept)]

    def evaluate(self, phi, x, masks=None):
        """The record of one pass over x (B, inputs), with those masks; None is the plain MLP."""
        noise, *masks = masks or [0.0]
        if not masks:
            return self.net.evaluate(phi, x + noise)
        record = self.net.started(phi, x + noise)
        record.own = []  # of each hidden layer m phi', its factor on the way back
        outputs = [*record.units[1:], record.output]
        for layer, h, a, mask in zip(self.net.layers(phi), record.inputs, outputs, [*masks, None]):
            matmul(h, layer, out=a)
            if mask is not None:
                self.net.activation.apply(a)
                record.own.append(mask * self.net.activation.slope(a))
                a *= mask
        return record

    def gradient(self, phi, record, d_output):
        if record.own is None:
            return self.net.gradient(phi, record, d_output)
        record.output[...] = d_output
        transposed = self.net.transposed(self.net.layers(phi))()
        for l in range(len(transposed) - 1, 0, -1):
            delta = matmul(record.deltas[l], transposed[l], out=record.deltas[l - 1])
            delta *= record.own[l - 1]
        return ParamSum(self.net, phi.dtype).add(record).value()
