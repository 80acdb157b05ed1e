"""What a decoder's outputs say about x: Bernoulli and Gaussian; the discrete ones are next door.  [E7], [E8]

Each says `log_prob`, its `error` with respect to the outputs and the error's `tangent` in closed form, and `reference`,
the same density in autograd (base.py). Nothing is clamped: logits of +-1e4 and log-variances of +-30 give finite values.
Complex values pass through.
"""

import functools

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..engine.memory import empty
from ..nets.activations import sigmoid, softplus
from .base import Likelihood
from .gaussian import LOG_2PI, normal_log_density


def sum_softplus(a):
    """sum_m log(1 + exp(a_m)) over the last axis, (...,).

    A logarithm costs as much as ten products: several factors 1 + exp(a) are multiplied first, as many as stay finite.
    """
    most = _finite_factors(a)
    return softplus(a).sum(axis=-1) if most < 1 else _log_product(_one_plus_exp(a, empty(a.shape, a.dtype)), most)


def _finite_factors(a):
    """How many factors 1 + exp(a_m) have a finite product, whichever they are: each is below exp(max(a, 0) + 1)."""
    return _log_largest(a.dtype) // (a.real.max(initial=0) + 1)


@functools.cache
def _log_largest(dtype):
    return np.log(np.finfo(dtype).max)


def _one_plus_exp(a, out):
    """F = 1 + e^a, written to `out`."""
    np.exp(a, out=out)
    out += 1
    return out


def _error_of_factors(factors, x, out):
    """x - sigmoid(a) = x - 1 + 1 / F, written to `out`."""
    np.divide(1, factors, out=out)
    out -= 1
    out += x
    return out


def _log_product(factors, most):
    """sum_m log(factors_m), over them; up to `most` are multiplied first."""
    width = factors.shape[-1]
    while most >= 2 and width % 2 == 0:
        most, width = most // 2, width // 2
        factors = np.multiply(factors[..., :width], factors[..., width:], out=factors[..., :width])
    return np.add.reduce(np.log(factors), axis=-1)


FLOOR = 1e-3  # of a Gaussian's variance at the start, in shares of the mean variance


class Bernoulli(Likelihood):
    """x_m in {0, 1} (grey values in [0, 1] are taken as probabilities); out (..., M) are logits a.  [E8]"""

    takes_probabilities, without_latents = True, "independent Bernoulli"

    def marginal(self, x, outputs):
        p = (x.sum(axis=0) + 0.5) / (len(x) + 1)
        return np.log(p) - np.log1p(-p), np.zeros(0)

    def check(self, x):
        require(x, "Bernoulli", "values in [0, 1]", lambda: x.min() >= 0 and x.max() <= 1)

    def log_prob(self, out, x, eta=None):
        return np.einsum("...m,...m->...", x, out) - sum_softplus(out)

    def log_prob_and_error(self, out, x, eta=None):
        """With F = 1 + e^a: sum( x a - log F ) and x - sigmoid(a) = x - 1 + 1 / F."""
        most = _finite_factors(out)
        if most < 1:
            return super().log_prob_and_error(out, x, eta)
        of_x, factors = np.einsum("...m,...m->...", x, out), _one_plus_exp(out, empty(out.shape, out.dtype))
        _error_of_factors(factors, x, out)
        return of_x - _log_product(factors, most), out, None

    def mean(self, out, eta=None):
        return sigmoid(out)

    def error(self, out, x, eta=None):
        if _finite_factors(out) < 1:
            return np.subtract(x, sigmoid(out), out=out), None
        return _error_of_factors(_one_plus_exp(out, out), x, out), None

    def tangent(self, error, kept, x, eta, out_dot):
        p = np.subtract(x, error, out=empty(error.shape, error.dtype))  # sigmoid(a)
        out_dot *= p
        p -= 1
        out_dot *= p
        return out_dot

    def sample(self, out, eta, rng):
        return (rng.random(out.shape) < sigmoid(out)).astype(out.dtype)

    def reference(self, out, x, eta):
        import autograd.numpy as anp

        return anp.sum(x * out - anp.logaddexp(0.0, out), axis=-1)


class Gaussian(Likelihood):
    """x real; N(x; mu_x, s2_x), mu_x from the network.  [E7]

    variance="global": one learned log variance; "per_dimension": one for each of the M dimensions;
    "from_z": the network gives [mu_x, log s2_x], 2M outputs, and eta is empty.
    """

    def __init__(self, variance="global"):
        self.variance = given.one_of("variance", variance, ("global", "per_dimension", "from_z"))

    def __repr__(self):
        return f"Gaussian({self.variance!r})"

    @property
    def without_latents(self):
        return "Gaussian, one variance" if self.variance == "global" else "diagonal Gaussian"

    def marginal(self, x, outputs):
        return self.start(x)

    def size(self, data_dim):
        return {"global": 1, "per_dimension": data_dim, "from_z": 0}[self.variance]

    def start(self, x):
        """The best Gaussian without latents: the data's mean, and their log variance, for each dimension or for all.

        A dimension's variance is taken to be at least FLOOR of their mean, as some never change in the training data, and
        that mean at least FLOOR**2 of the mean square.
        """
        mean, variance = x.mean(axis=0, dtype=float), x.var(axis=0, dtype=float)
        overall = max(variance.mean(), FLOOR**2 * np.mean(x * x, dtype=float)) or 1.0
        log_var = np.log(np.maximum(variance, FLOOR * overall))
        if self.variance == "from_z":
            return np.concatenate([mean, log_var]), np.zeros(0)
        return mean, np.log([overall]) if self.variance == "global" else log_var

    def outputs(self, data_dim):
        return 2 * data_dim if self.variance == "from_z" else data_dim

    def data_dim(self, outputs):
        if self.variance == "from_z" and outputs % 2:
            raise InputError(
                f"the network has {outputs} outputs; Gaussian('from_z') needs an even number, [mu, log_var]"
            )
        return outputs // 2 if self.variance == "from_z" else outputs

    def check(self, x):
        require(x, "Gaussian", "finite values", lambda: np.isfinite(x).all())

    def _split(self, out, eta):
        if self.variance == "from_z":
            M = out.shape[-1] // 2
            return out[..., :M], out[..., M:]
        return out, eta

    def mean(self, out, eta=None):
        return self._split(out, eta)[0]

    def sample(self, out, eta, rng):
        mu, log_var = self._split(out, eta)
        return (mu + np.exp(log_var / 2) * rng.standard_normal(mu.shape)).astype(out.dtype)

    def reference(self, out, x, eta):
        mu, log_var = self._split(out, eta)
        return normal_log_density(x, mu, log_var)

    def log_prob(self, out, x, eta=None):
        mu, log_var = self._split(out, eta)
        return -0.5 * (LOG_2PI + log_var + (x - mu) ** 2 * np.exp(-log_var)).sum(axis=-1)

    def error(self, out, x, eta=None):
        mu, log_var = self._split(out, eta)
        precision = np.exp(-log_var)
        residual = x - mu
        np.multiply(residual, precision, out=mu)
        if self.variance == "from_z":
            log_var[...] = (residual * mu - 1) / 2
        return out, precision

    def tangent(self, error, kept, x, eta, out_dot):
        if self.variance != "from_z":
            out_dot *= -kept
            return out_dot
        e_mu, e_log_var = self._split(error, eta)
        mu_dot, log_var_dot = self._split(out_dot, eta)
        e_log_var_dot = -e_mu * mu_dot - (e_log_var + 0.5) * log_var_dot
        mu_dot *= -kept
        mu_dot -= e_mu * log_var_dot
        log_var_dot[...] = e_log_var_dot
        return out_dot

    def residual(self, error, kept, eta):
        return self._split(error, eta)[0] / kept

    def eta_error(self, error, eta):
        return self._reduce((error**2 * np.exp(eta) - 1) / 2) if len(eta) else super().eta_error(error, eta)

    def eta_tangent(self, error, error_dot, eta):
        return self._reduce(error * error_dot * np.exp(eta)) if len(eta) else super().eta_tangent(error, error_dot, eta)

    def _reduce(self, rows):
        return rows.sum(axis=-1, keepdims=True) if self.variance == "global" else rows


def require(x, name, expected, holds):
    """One clear sentence when x leaves the support; NaN fails every comparison and so is found too."""
    if x.size and not holds():
        bad = "NaN" if np.isnan(x).any() else f"values from {x.min():g} to {x.max():g}"
        raise InputError(f"x has {bad}; a {name} likelihood needs {expected}")
