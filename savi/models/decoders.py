"""Decoders of vectors x (B, M): net + likelihood = p(x | z; theta).  [E11], [E13]

theta is the net's parameters, then the likelihood's own (a Gaussian's log variance). `given` does once what does not
depend on z, and owns the memory in which the records of an inner loop lie side by side.
"""

import zlib

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..engine.records import ParamSum, Records
from .base import Decoder, Given


class MLPDecoder(Decoder):
    """p(x | z; theta) = likelihood(x; net(z)).

    net: a Net from D latent dimensions to the likelihood's outputs. likelihood: Bernoulli(), Gaussian(...), Multinomial().
    """

    def __init__(self, net, likelihood):
        self.net, self.likelihood = given.thing("net", net), given.thing("likelihood", likelihood)
        self.latent_dim = net.inputs
        self.data_dim = likelihood.data_dim(net.outputs)
        self.size = self.work = net.size + likelihood.size(self.data_dim)
        self.has_tangent, self.has_residual = net.has_tangent, likelihood.has_residual
        self.takes_probabilities = likelihood.takes_probabilities

    def __repr__(self):
        return f"MLPDecoder({self.net!r}, {self.likelihood!r})"

    def init(self, rng, dtype=np.float64, x=None):
        """theta (P,): the net's initial parameters, then zeros (a log variance of 0).

        With training data x (N, M) the last bias and the likelihood's own parameters start where the data say: a
        Gaussian's at their mean and variance.
        """
        theta = np.concatenate([self.net.init(rng, dtype), np.zeros(self.size - self.net.size, dtype)])
        if x is not None:
            self._check_shape(np.asarray(x))
            bias, theta[self.net.size :] = self.likelihood.start(np.asarray(x))
            if bias is not None:
                self.net.layers(theta)[-1][-1] = bias
        return theta

    def check_data(self, x):
        self.likelihood.check(x)

    def check(self, theta, x):
        """Raises InputError unless theta is (P,), x is (B, M) and x lies in the likelihood's support."""
        if theta.shape != (self.size,):
            raise InputError(f"theta has shape {theta.shape}; {self!r} needs ({self.size},)")
        self._check_shape(x)
        self.check_data(x)

    def _check_shape(self, x):
        if x.ndim != 2 or x.shape[1] != self.data_dim:
            raise InputError(f"x has shape {x.shape}; {self!r} needs (B, {self.data_dim})")

    def given(self, theta, x):
        return GivenX(self, theta, x)

    def _outputs(self, theta, z):
        return self.net(theta[: self.net.size], z)

    def mean(self, theta, z):
        """E[x | z] (..., M), for pictures of reconstructions; z (..., D)."""
        return self.likelihood.mean(self._outputs(theta, z), theta[self.net.size :])

    def sample(self, theta, z, rng):
        """x (..., M) drawn from p(x | z); z (..., D)."""
        return self.likelihood.sample(self._outputs(theta, z), theta[self.net.size :], rng)

    def baseline(self, train, x):
        out, eta = self.likelihood.marginal(np.asarray(train, float), self.net.outputs)
        return self.likelihood.without_latents, self.likelihood.log_prob(out, np.asarray(x, float), eta)

    def reference(self, theta, z, x):
        out = self.net.reference(theta[: self.net.size], z)
        return self.likelihood.reference(out, x, theta[self.net.size :])


class GivenX(Given):
    """p(x | z; theta) of a net and a likelihood at fixed theta and x; rows of the net are (S, B)."""

    def __init__(self, decoder, theta, x):
        self.net, self.likelihood, self.x, self.dtype = decoder.net, decoder.likelihood, x, theta.dtype
        self.layers, self.eta = self.net.layers(theta[: self.net.size]), theta[self.net.size :]
        self.transposed, self.records = self.net.transposed(self.layers), Records(self.net.shapes)

    def reserve(self, held):
        self.records.reserve(held)

    def samples(self, record):
        return len(record.output) // len(self.x)

    def _by_example(self, array):
        """(S * B, n) as (S, B, n)."""
        return array.reshape(len(array) // len(self.x), len(self.x), array.shape[-1])

    def _new_record(self, rows, inputs):
        """A record of so many rows, in the precision of theta and the inputs."""
        dtype = self.dtype if inputs.dtype == self.dtype else np.result_type(self.dtype, inputs)
        return self.records.next(rows, dtype)

    def forward(self, z):
        record = self._new_record(z.shape[0] * z.shape[1], z)
        record.x[...] = z.reshape(record.x.shape)
        self.net.forward(self.layers, record)
        return record

    def _whole(self, log_p):
        """log p of whole examples (S, B) from what the likelihood gives."""
        return log_p

    def log_px(self, record):
        return self._whole(self.likelihood.log_prob(self._by_example(record.output), self.x, self.eta))

    def log_px_and_error(self, record):
        log_p, _, record.kept = self.likelihood.log_prob_and_error(self._by_example(record.output), self.x, self.eta)
        record.error = True
        return self._whole(log_p)

    def backward(self, record):
        self._error(record)
        return self._by_example(self.net.backward(self.transposed(), record))

    def residual(self, record):
        if not self.likelihood.has_residual:
            return super().residual(record)
        return self.likelihood.residual(self._error(record), record.kept, self.eta)

    def _error(self, record):
        """e_x with respect to the net's outputs, (S, B, O), written over them by whoever asks first."""
        output = self._by_example(record.output)
        if not record.error:
            _, record.kept = self.likelihood.error(output, self.x, self.eta)
            record.error = True
        return output

    def tangent(self, record, z_dot):
        if not self.net.has_tangent:
            return super().tangent(record, z_dot)
        dot = record.block.tangent_record(record.slot)
        self._by_example(dot.x)[...] = z_dot
        out_dot = self._by_example(self.net.tangent(self.layers, record, dot))
        self.likelihood.tangent(self._by_example(record.output), record.kept, self.x, self.eta, out_dot)
        return self._by_example(self.net.tangent_backward(self.transposed(), record, dot)), dot

    def imaginary(self, record, moved, r):
        return record.imaginary(moved, r)

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


class FixedDecoder(Decoder):
    """p(x | z) with parameters that are known, a simulator's for example: nothing is learned, theta is empty.

    decoder: any; theta (P,): its parameters.
    """

    def __init__(self, decoder, theta):
        self.decoder, self.theta = given.thing("decoder", decoder), given.floats("theta", theta)
        if theta.shape != (decoder.size,):
            raise InputError(f"theta has shape {theta.shape}; {decoder!r} needs ({decoder.size},)")
        self.latent_dim, self.data_dim = decoder.latent_dim, decoder.data_dim
        self.work, self.turns, self.chunk = decoder.work, decoder.turns, decoder.chunk
        self.has_tangent, self.has_residual = decoder.has_tangent, decoder.has_residual
        self.takes_probabilities = decoder.takes_probabilities

    def __repr__(self):
        return f"FixedDecoder({self.decoder!r}, theta {zlib.crc32(np.asarray(self.theta, np.float32).tobytes()):08x})"

    def init(self, rng, dtype=np.float64, x=None):
        """theta (0,)."""
        return np.zeros(0, dtype)

    def check_data(self, x):
        self.decoder.check_data(x)

    def check(self, theta, x):
        """Raises InputError unless theta is (0,) and x is what the decoder takes."""
        if theta.shape != (0,):
            raise InputError(f"theta has shape {theta.shape}; {self!r} needs (0,)")
        self.decoder.check(self.theta, x)

    def _known(self, theta):
        return self.theta.astype(theta.dtype, copy=False)

    def given(self, theta, x):
        return _GivenKnown(self.decoder.given(self._known(theta), x), theta.dtype)

    def mean(self, theta, z):
        return self.decoder.mean(self._known(theta), z)

    def picture(self, theta, z, rng):
        return self.decoder.picture(self._known(theta), z, rng)

    def sample(self, theta, z, rng, *length):
        return self.decoder.sample(self._known(theta), z, rng, *length)

    def baseline(self, train, x):
        return self.decoder.baseline(train, x)

    def reference(self, theta, z, x):
        return self.decoder.reference(self.theta, z, x)


class _GivenKnown(Given):
    """The decoder's own p(x | z), but for the sum, which is of empty vectors."""

    def __init__(self, p, dtype):
        self.p, self.dtype = p, dtype
        self.reserve, self.forward, self.samples = p.reserve, p.forward, p.samples
        self.log_px, self.log_px_and_error = p.log_px, p.log_px_and_error
        self.backward, self.residual, self.tangent, self.imaginary = p.backward, p.residual, p.tangent, p.imaginary

    def param_sum(self, dtype=None):
        return _NoSum(dtype or self.dtype)


class _NoSum:
    """The sum of empty vectors."""

    def __init__(self, dtype):
        self.dtype = dtype

    def add(self, *record):
        pass

    add_tangent = add

    def value(self):
        return np.zeros(0, self.dtype)
