"""The interfaces of this wing: what a net is, and what an encoder is.

A net's parameters are one flat vector (size,), layer by layer [W; b] (in + 1, out) in C order. A pass is recorded
(engine/records.py): `forward` writes each layer's input, `backward` the gradients of its output; the parameter gradient
of one record, or of many, is a sum afterwards. An encoder is what gives lam_0 = enc(x; phi): a net, or several.
"""

import functools

import numpy as np

from ..engine.blas import Transposed
from ..engine.files import InputError
from ..engine.records import ParamSum, Records


class Net:
    """A function of (rows, inputs) with parameters (size,).

    inputs, outputs: widths. shapes: (in_l + 1, out_l) of each layer's [W; b]; size: how many parameters they have.
    has_tangent: whether `tangent` and `tangent_backward` are there, which exact Hessian products need.
    A subclass sets shapes, inputs and outputs and writes init, forward, complete, and, if it has them, the tangents.
    """

    shapes, inputs, outputs, has_tangent = (), 0, 0, False
    random = False  # as an encoder

    @functools.cached_property
    def size(self):
        """How many parameters there are."""
        return sum(n * m for n, m in self.shapes)

    def layers(self, params):
        """Views [W; b] (in_l + 1, out_l) of the flat vector, one per layer."""
        views, start = [], 0
        for n, m in self.shapes:
            views.append(params[start : start + n * m].reshape(n, m))
            start += n * m
        return views

    @staticmethod
    def transposed(layers):
        """W^T (out, in) of each layer, for `backward`: a Transposed, to be called for each pass."""
        return Transposed([layer[:-1] for layer in layers])

    def init(self, rng, dtype=np.float64):
        """Initial parameters (size,)."""
        raise NotImplementedError

    def forward(self, layers, record, shift=None):
        """The output (rows, outputs), in record.output; needs record.x (rows, inputs).

        shift (rows, out_1): a constant that is added to the first layer's affine map, or None.
        """
        raise NotImplementedError

    def complete(self, transposed, record):
        """The record's deltas from d output in record.output; transposed: W^T of each layer."""
        raise NotImplementedError

    def backward(self, transposed, record):
        """d input (rows, inputs) from d output in record.output; completes the record's deltas."""
        self.complete(transposed, record)
        return record.deltas[0] @ transposed[0]

    def tangent(self, layers, record, dot):
        """R{forward}: the output's tangent (rows, outputs), in dot.output; needs dot.x and a completed record."""
        raise NotImplementedError

    def tangent_backward(self, transposed, record, dot):
        """R{backward}: R{d input} (rows, inputs) from R{d output} in dot.output; completes dot's deltas."""
        raise NotImplementedError

    def reference(self, params, h, shift=0.0):
        """The output (..., outputs) at h (..., inputs) in autograd.numpy, one formula a line: the judge of all the above."""
        raise NotImplementedError

    def begin(self, params):
        """This net at fixed parameters, to be asked step by step: a Trunk (trunks.py)."""
        from .trunks import Trunk

        return Trunk(self, params)

    def evaluate(self, params, x):
        """The record of one forward pass on x (rows, inputs); its output is record.output. InputError on another width."""
        record = self.started(params, x)
        self.forward(self.layers(params), record)
        return record

    def started(self, params, x):
        """A record with x (rows, inputs) in it, from which a pass begins. InputError on another width."""
        if np.ndim(x) != 2 or np.shape(x)[1] != self.inputs:
            raise InputError(f"{self!r} takes (rows, {self.inputs}); got {np.shape(x)}")
        record = Records(self.shapes).next(len(x), np.result_type(params, x))
        record.x[...] = x
        return record

    def gradient(self, params, record, d_output):
        """d params (size,) from d output (rows, outputs) and the record of the forward pass that ran."""
        record.output[...] = d_output
        self.complete(self.transposed(self.layers(params))(), record)
        return ParamSum(self, params.dtype).add(record).value()

    def __call__(self, params, x):
        """The output (..., outputs) for x (..., inputs)."""
        return self.evaluate(params, x.reshape(-1, self.inputs)).output.reshape(*x.shape[:-1], self.outputs)


class Encoder:
    """lam_0 = enc(x; phi): any Net is one, and so is whatever has these verbs. size: Q, of phi; outputs: the width of lam.

    random: whether a pass in training takes masks, drawn by masks(rng, rows, dtype) and given to evaluate(phi, x, masks).
    """

    size = outputs = 0
    random = False

    def init(self, rng, dtype=np.float64):
        """Initial phi (Q,)."""
        raise NotImplementedError

    def evaluate(self, phi, x):
        """The record of one pass over x (B, ...); its output is record.output (B, outputs). Raises InputError on a misfit."""
        raise NotImplementedError

    def gradient(self, phi, record, d_output):
        """d phi (Q,) from d output (B, outputs) and the record of the pass that ran."""
        raise NotImplementedError
