"""A decoder: net + likelihood = p(x | z; theta), at fixed theta and x a function of z.

    decoder.given(theta, x) -> p
    p.forward(z)             an evaluation at z (S, B, D); p.log_px(record) is log p(x | z), (S, B), before backward
    p.backward(record)       d log p(x | z) / dz = J^T e_x, (S, B, D); completes the record
    p.samples(record)        S
    p.residual(record)       x - E[x | z], (S, B, M): e_x in data space; instead of backward, or after it
    p.tangent(record, z_dot)   R{backward} (S, B, D) and the tangent record that theta's Hessian product needs
    p.param_sum()            a sum of gradients of log p(x | z) with respect to theta, over any number of records
`given` does once what does not depend on z, and owns the memory in which the records of an inner loop lie side by side.
theta is the net's parameters, then the likelihood's own (a Gaussian's log variance).
"""

import zlib

import numpy as np

from ..engine.files import InputError
from ..nets.mlp import ROWS_PER_BLOCK, ParamSum


class MLPDecoder:
    """p(x | z; theta) = likelihood(x; net(z)).

    net: an MLP from D latent dimensions to the likelihood's outputs. likelihood: Bernoulli(), Gaussian(...), Multinomial().
    """

    def __init__(self, net, likelihood):
        self.net, self.likelihood = net, likelihood
        self.latent_dim = net.sizes[0]
        self.data_dim = likelihood.data_dim(net.sizes[-1])
        self.size = self.work = net.size + likelihood.size(self.data_dim)  # work: multiplications of one pass

    def __repr__(self):
        return f"MLPDecoder({self.net!r}, {self.likelihood!r})"

    def init(self, rng, dtype=np.float64):
        """theta (P,): the net's initial parameters, then zeros (a log variance of 0)."""
        own = np.zeros(self.size - self.net.size, dtype)
        return np.concatenate([self.net.init(rng, dtype), own])

    def check(self, theta, x):
        """Raises InputError unless theta is (P,), x is (B, M) and x lies in the likelihood's support."""
        if theta.shape != (self.size,):
            raise InputError(f"theta has shape {theta.shape}; {self!r} needs ({self.size},)")
        if x.ndim != 2 or x.shape[1] != self.data_dim:
            raise InputError(f"x has shape {x.shape}; {self!r} needs (B, {self.data_dim})")
        self.likelihood.check(x)

    def given(self, theta, x, keep=1, once=False):
        """p(x | z; theta) as a function of z. keep: how many records the caller will hold at a time; once: it will be
        evaluated once only, so that nothing need be prepared for the next time."""
        return GivenX(self, theta, x, keep, once)

    def mean(self, theta, z):
        """E[x | z] (..., M), for pictures of reconstructions; z (..., D)."""
        return self.likelihood.mean(self.net(theta[: self.net.size], z), theta[self.net.size :])


class GivenX:
    """p(x | z; theta) at fixed theta and x; the verbs are in the module's docstring."""

    def __init__(self, decoder, theta, x, keep, once):
        self.net, self.likelihood = decoder.net, decoder.likelihood
        self.x, self.keep, self.dtype = x, keep, theta.dtype
        self.layers = self.net.layers(theta[: self.net.size])
        self.transposed = self.net.transposed(self.layers, once)
        self.eta = theta[self.net.size :]
        self._blocks = {}
        if self.net.tangent is None:
            self.tangent = None

    def _new_record(self, rows, dtype):
        """The next free record; a block holds as many as make its stacked product fast, spread evenly over `keep`."""
        block = self._blocks.get((rows, dtype))
        if block is None or block.used == block.slots:
            n = -(-self.keep * rows // ROWS_PER_BLOCK)  # blocks needed, rounded up
            block = self._blocks[rows, dtype] = self.net.block(rows, dtype, slots=-(-self.keep // n))
        return block.next_record()

    def samples(self, record):
        return len(record.output) // len(self.x)

    def _by_example(self, array):
        """(S * B, n) as (S, B, n)."""
        return array.reshape(-1, len(self.x), array.shape[-1])

    def forward(self, z):
        dtype = z.dtype if z.dtype == self.dtype else np.result_type(z, self.dtype)
        record = self._new_record(z.shape[0] * z.shape[1], dtype)
        record.x[...] = z.reshape(record.x.shape)
        self.net.forward(self.layers, record)
        return record

    def log_px(self, record):
        return self.likelihood.log_prob(self._by_example(record.output), self.x, self.eta)

    def backward(self, record):
        self._error(record)
        return self._by_example(self.net.backward(self.transposed, record))

    def residual(self, record):
        return self.likelihood.residual(self._error(record), record.kept, self.eta)

    def _error(self, record):
        """e_x with respect to the net's outputs, (S, B, O), written over them by whoever asks first."""
        output = self._by_example(record.output)
        if not hasattr(record, "kept"):
            _, record.kept = self.likelihood.error(output, self.x, self.eta)
        return output

    def tangent(self, record, z_dot):
        dot = record.block.tangent_record(record.slot)
        self._by_example(dot.x)[...] = z_dot
        out_dot = self._by_example(self.net.tangent(self.layers, record, dot))
        self.likelihood.tangent(self._by_example(record.output), record.kept, self.x, self.eta, out_dot)
        return self._by_example(self.net.tangent_backward(self.transposed, record, dot)), dot

    def param_sum(self, dtype=None):
        """The sum; of another dtype for records of complex numbers."""
        return _DecoderSum(self, dtype or self.dtype)


class _DecoderSum:
    """sum_r w_r d log p(x | z_r) / d theta, (P,); a weight is a number or one per row (S * B,)."""

    def __init__(self, p, dtype):
        self.likelihood, self.eta = p.likelihood, p.eta
        self.net_sum = ParamSum(p.net, dtype)
        self.eta_total = np.zeros(p.eta.shape, dtype)

    def add(self, record, weight=1.0):
        self.net_sum.add(record, weight)
        if len(self.eta):
            self._add_eta(self.likelihood.eta_error(record.output, self.eta), weight)

    def add_tangent(self, record, dot, weight=1.0):
        self.net_sum.add_tangent(record, dot, weight)
        if len(self.eta):
            self._add_eta(self.likelihood.eta_tangent(record.output, dot.output, self.eta), weight)

    def _add_eta(self, rows, weight):
        self.eta_total += (rows * np.reshape(weight, (-1, 1))).sum(axis=0)

    def value(self):
        net = self.net_sum.value()
        return np.concatenate([net, self.eta_total]) if len(self.eta) else net


class FixedDecoder:
    """p(x | z) with parameters that are known, a simulator's for example: nothing is learned, theta is empty.

    decoder: any; theta (P,): its parameters.
    """

    size = 0

    def __init__(self, decoder, theta):
        self.decoder, self.theta = decoder, theta
        self.likelihood, self.latent_dim, self.data_dim = decoder.likelihood, decoder.latent_dim, decoder.data_dim
        self.work = decoder.work

    def __repr__(self):
        return f"FixedDecoder({self.decoder!r}, theta {zlib.crc32(np.asarray(self.theta, np.float32).tobytes()):08x})"

    def init(self, rng, dtype=np.float64):
        return np.zeros(0, dtype)

    def check(self, theta, x):
        if theta.shape != (0,):
            raise InputError(f"theta has shape {theta.shape}; {self!r} needs (0,)")
        self.decoder.check(self.theta, x)

    def given(self, theta, x, keep=1, once=False):
        p = self.decoder.given(self.theta.astype(theta.dtype, copy=False), x, keep, once)
        p.param_sum = lambda dtype=None, own=p.dtype: _NoSum(dtype or own)  # p itself in here would never be freed
        return p

    def mean(self, theta, z):
        return self.decoder.mean(self.theta.astype(theta.dtype, copy=False), z)


class _NoSum:
    """The sum of empty vectors."""

    def __init__(self, dtype):
        self.dtype = dtype

    def add(self, *record):
        pass

    add_tangent = add

    def value(self):
        return np.zeros(0, self.dtype)
