"""A logistic density summed over each of 256 levels: the honest likelihood of images of bytes, a probability.

Salimans, Karpathy, Chen & Kingma 2017 (PixelCNN++), one component. With h half a level, a = (x + h - mu) / s, b = (x - h - mu) / s,

    p(x) = sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(-2 h / s));   the first and the last level are open

    U = sigmoid(-a), 0 at the last level;   V = sigmoid(b), 0 at the first;   d = 2 h / s
    d log p / d mu = (V - U) / s;   d log p / d log s = V b - U a - d / (e^d - 1), the last term between the open levels only
"""

import numpy as np

from ..engine.files import InputError
from ..nets.activations import sigmoid, softplus
from .base import Likelihood
from .gaussian import join, split
from .likelihoods import require

LEVELS = 256


class DiscretizedLogistic(Likelihood):
    """x_m one of 256 levels 0, 1/255, ..., 1; out (..., 2M) = [mu, log s], location and log scale in the same units."""

    without_latents = "independent logistic"

    def outputs(self, data_dim):
        return 2 * data_dim

    def data_dim(self, outputs):
        if outputs % 2:
            raise InputError(
                f"the network has {outputs} outputs; DiscretizedLogistic() needs an even number, [mu, log s]"
            )
        return outputs // 2

    def start(self, x):
        """Each dimension's mean, and the scale that has its variance, which is taken to be a level's at least."""
        s2 = 3 / np.pi**2 * np.maximum(x.var(axis=0, dtype=float), 1 / (LEVELS - 1) ** 2)
        return join(x.mean(axis=0, dtype=float), np.log(s2) / 2), np.zeros(0)

    def marginal(self, x, outputs):
        return self.start(x)

    def check(self, x):
        levels = x * (LEVELS - 1)
        require(
            x, "DiscretizedLogistic", "levels k / 255 with k = 0, ..., 255",
            lambda: x.min() >= 0 and x.max() <= 1 and np.abs(levels - np.rint(levels)).max() < 1e-3,
        )  # fmt: skip

    def _at(self, out, x):
        """(a, b, U, V, d, 1 / s, and where x lies: between the open levels, at the first, at the last)."""
        mu, log_s = split(out)
        first, last, half = x < 0.5 / (LEVELS - 1), x > 1 - 0.5 / (LEVELS - 1), 0.5 / (LEVELS - 1)
        precision = np.exp(-log_s)
        a, b = (x + half - mu) * precision, (x - half - mu) * precision
        U, V = np.where(last, 0, sigmoid(-a)), np.where(first, 0, sigmoid(b))
        return a, b, U, V, 2 * half * precision, precision, ~(first | last), first, last

    def log_prob(self, out, x, eta=None):
        a, b, _, _, d, _, between, first, last = self._at(out, x)
        closed = np.where(between, np.log(-np.expm1(-d)), 0)
        return (closed - np.where(last, 0, softplus(-a)) - np.where(first, 0, softplus(b))).sum(axis=-1)

    def mean(self, out, eta=None):
        """The location mu, which is nearly E[x]."""
        return split(out)[0]

    def sample(self, out, eta, rng):
        mu, log_s = split(out)
        u = rng.uniform(1e-9, 1 - 1e-9, mu.shape)
        x = mu + np.exp(log_s) * (np.log(u) - np.log1p(-u))
        return (np.rint(np.clip(x, 0, 1) * (LEVELS - 1)) / (LEVELS - 1)).astype(out.dtype)

    def error(self, out, x, eta=None):
        a, b, U, V, d, precision, between, *_ = self._at(out, x)
        kept = a, b, U, V, d, precision, between, x - split(out)[0]
        e_mu, e_log_s = split(out)
        e_mu[...] = (V - U) * precision
        e_log_s[...] = V * b - U * a - np.where(between, d * _inverse(d), 0)
        return out, kept

    def tangent(self, error, kept, x, eta, out_dot):
        a, b, U, V, d, precision, between, _ = kept
        mu_dot, log_s_dot = split(out_dot)
        a_dot, b_dot = (-mu_dot * precision - edge * log_s_dot for edge in (a, b))
        U_dot, V_dot = -U * (1 - U) * a_dot, V * (1 - V) * b_dot
        bend = np.where(between, d * (_inverse(d) + d * _slope(d)), 0)
        e_log_s_dot = V_dot * b + V * b_dot - U_dot * a - U * a_dot + bend * log_s_dot
        mu_dot[...] = (V_dot - U_dot) * precision - split(error)[0] * log_s_dot
        log_s_dot[...] = e_log_s_dot
        return out_dot

    def residual(self, error, kept, eta):
        return kept[-1]

    def reference(self, out, x, eta):
        import autograd.numpy as anp

        M = out.shape[-1] // 2
        mu, log_s = out[..., :M], out[..., M:]
        half = 0.5 / (LEVELS - 1)
        s, first, last = anp.exp(log_s), x < half, x > 1 - half
        a, b = (x + half - mu) / s, (x - half - mu) / s
        low, high = -anp.logaddexp(0.0, -a), -anp.logaddexp(0.0, b)  # log sigmoid(a), log sigmoid(-b)
        between = low + high + anp.log(1 - anp.exp(-2 * half / s))
        return anp.sum(anp.where(first, low, anp.where(last, high, between)), axis=-1)


def _inverse(d):
    """1 / (e^d - 1) without overflow, d > 0."""
    return np.exp(-d) / -np.expm1(-d)


def _slope(d):
    """The derivative of `_inverse`: -e^d / (e^d - 1)^2."""
    return -np.exp(-d) / np.expm1(-d) ** 2
