"""The nets of a hierarchy at fixed theta and x: one record for each net, and the sum of all their parameter gradients.  [E13]"""

import numpy as np

from ..engine.records import ParamSum, Records
from .base import Given
from .gaussian import join


class GivenLevel:
    """A Level at fixed theta, for a batch of B examples; rows of its net are (S, B)."""

    def __init__(self, level, theta, batch):
        self.level, self.net, self.batch, self.dtype = level, level.net, batch, theta.dtype
        self.layers, self.eta = self.net.layers(theta[: self.net.size]), theta[self.net.size :]
        self.transposed, self.records = self.net.transposed(self.layers), Records(self.net.shapes)

    def _by_example(self, array):
        return array.reshape(-1, self.batch, array.shape[-1])

    def forward(self, above):
        """A record of the pass at `above` (S, B, A)."""
        record = self.records.next(above.shape[0] * above.shape[1], np.result_type(self.dtype, above))
        record.x[...] = above.reshape(record.x.shape)
        self.net.forward(self.layers, record)
        return record

    def prior(self, record):
        """[mu_p, log s2_p] (S, B, 2D), to be asked before `backward`."""
        return self.level.joined(self._by_example(record.output), self.eta)

    def backward(self, record, d_mu, d_log_var):
        """d above (S, B, A) from the gradients of mu_p and log s2_p, (S, B, D) each; completes the record."""
        self._write(record, d_mu, d_log_var)
        return self._by_example(self.net.backward(self.transposed(), record))

    def tangent(self, record, above_dot):
        """(the tangent record, R{[mu_p, log s2_p]} (S, B, 2D)) along above_dot (S, B, A)."""
        dot = record.block.tangent_record(record.slot)
        self._by_example(dot.x)[...] = above_dot
        out_dot = self._by_example(self.net.tangent(self.layers, record, dot))
        return dot, out_dot.copy() if self.level.from_net else join(out_dot, np.zeros_like(out_dot))

    def tangent_backward(self, record, dot, d_mu_dot, d_log_var_dot):
        """R{backward} (S, B, A) from R{d mu_p} and R{d log s2_p}; completes the tangent record."""
        self._write(dot, d_mu_dot, d_log_var_dot)
        return self._by_example(self.net.tangent_backward(self.transposed(), record, dot))

    def _write(self, record, d_mu, d_log_var):
        out, D = self._by_example(record.output), self.level.below
        out[..., :D] = d_mu
        if self.level.from_net:
            out[..., D:] = d_log_var
        elif self.level.own:
            rows = d_log_var.reshape(-1, D)
            record.d_eta = rows if self.level.variance == "per_dimension" else rows.sum(axis=1, keepdims=True)

    def param_sum(self, dtype=None):
        """A sum of theta_l-gradients over records, as engine.records.ParamSum."""
        return _LevelSum(self, dtype or self.dtype)


class _LevelSum:
    """sum_r w_r d theta_l(record r), (P_l,)."""

    def __init__(self, p, dtype):
        self.net_sum, self.eta = ParamSum(p.net, dtype), np.zeros(p.level.own, dtype)

    def add(self, record, weight=1.0):
        self.net_sum.add(record, weight)
        self._add_eta(record, weight)

    def add_tangent(self, record, dot, weight=1.0):
        self.net_sum.add_tangent(record, dot, weight)
        self._add_eta(dot, weight)

    def _add_eta(self, record, weight):
        if len(self.eta):
            self.eta += (record.d_eta * np.reshape(weight, (-1, 1))).sum(axis=0)

    def value(self):
        return np.concatenate([self.net_sum.value(), self.eta])


class Passes:
    """One evaluation's record of each net: parts[0] the decoder's, parts[l] level l's; priors[l - 1] (S, B, 2 D_l); terms."""

    def __init__(self, parts, priors):
        self.parts, self.priors, self.terms = parts, priors, []


class GivenHierarchy(Given):
    """p(x | z^1) and all levels at fixed theta and x; its z (S, B, D) are all levels' samples."""

    def __init__(self, model, theta, x):
        self.model, (theta_x, *thetas) = model, model.thetas(theta)
        self.p = model.decoder.given(theta_x, x)
        self.levels = [GivenLevel(level, theta_l, len(x)) for level, theta_l in zip(model.levels, thetas)]
        self.dtype = theta.dtype

    def reserve(self, held):
        self.p.reserve(held)
        for level in self.levels:
            level.records.reserve(held)

    def forward(self, z):
        below = self.p.forward(self.model.of_level(z, 1))
        above = [level.forward(self.model.of_level(z, l)) for l, level in enumerate(self.levels, 2)]
        return Passes([below, *above], [level.prior(record) for level, record in zip(self.levels, above)])

    def samples(self, record):
        return self.p.samples(record.parts[0])

    def log_px(self, record):
        return self.p.log_px(record.parts[0])

    def log_px_and_error(self, record):
        return self.p.log_px_and_error(record.parts[0])

    def residual(self, record):
        return self.p.residual(record.parts[0])

    def param_sum(self, dtype=None):
        return _Sums([part.param_sum(dtype) for part in (self.p, *self.levels)])


class _Sums:
    """The sums of all parts of theta."""

    def __init__(self, sums):
        self.sums = sums

    def add(self, record, weight):
        for part, passed in zip(self.sums, record.parts):
            part.add(passed, weight)

    def add_tangent(self, record, dots, weight):
        for part, passed, dot in zip(self.sums, record.parts, dots):
            part.add_tangent(passed, dot, weight)

    def value(self):
        return np.concatenate([part.value() for part in self.sums])
