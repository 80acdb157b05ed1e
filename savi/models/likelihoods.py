"""What a decoder's outputs say about x: Bernoulli, Gaussian, Multinomial, Categorical.  [E7]-[E10]

`out` (..., O) are the outputs of the decoder's network; x (B, M) broadcasts against them; `eta` (E,) are the
likelihood's own parameters (a Gaussian's log variance), the last entries of theta. Every likelihood says
    log_prob(out, x, eta)              log p(x | out), (...,), nats, summed over the M dimensions of x
    error(out, x, eta)                 d log_prob / d out, (..., O), written over `out`; also returns what tangent needs
    residual(error, kept, eta)         x - E[x | out], (..., M): the error in data space, precisions left out
    tangent(error, kept, x, eta, out_dot)      R{error}: how the error moves when out moves; written over `out_dot`
    eta_error(error, eta), eta_tangent(error, error_dot, eta)    d log_prob / d eta of each row, (..., E), and its R{}
Nothing is clamped: logits of +-1e4 and log-variances of +-30 give finite values. Complex values pass through.
"""

import numpy as np

from ..engine.files import InputError
from ..engine.memory import empty
from ..nets.activations import sigmoid, softplus
from .gaussian import LOG_2PI


def sum_softplus(a):
    """sum_m log(1 + exp(a_m)) over the last axis, (...,).

    A logarithm costs as much as ten products: several factors 1 + exp(a) are multiplied first, as many as stay finite.
    """
    most = np.log(np.finfo(a.dtype).max) // (a.real.max(initial=0) + 1)  # 1 + exp(a) < exp(max(a, 0) + 1)
    if most < 1:
        return softplus(a).sum(axis=-1)
    factors, width = np.exp(a, out=empty(a.shape, a.dtype)), a.shape[-1]
    factors += 1
    while most >= 2 and width % 2 == 0:
        most, width = most // 2, width // 2
        factors = np.multiply(factors[..., :width], factors[..., width:], out=factors[..., :width])
    return np.add.reduce(np.log(factors), axis=-1)


class _Likelihood:
    """Without parameters of its own: eta is empty."""

    takes_probabilities = False  # whether values between 0 and 1 are probabilities to draw x from

    def size(self, data_dim):
        return 0

    def data_dim(self, outputs):
        return outputs

    def residual(self, error, kept, eta):
        return error

    def eta_error(self, error, eta):
        return np.zeros(error.shape[:-1] + (0,), error.dtype)

    def eta_tangent(self, error, error_dot, eta):
        return np.zeros(error.shape[:-1] + (0,), error.dtype)

    def __repr__(self):
        return f"{type(self).__name__}()"


class Bernoulli(_Likelihood):
    """x_m in {0, 1} (grey values in [0, 1] are taken as probabilities); out (..., M) are logits a.  [E8]"""

    takes_probabilities = True

    def check(self, x):
        _require(x, "Bernoulli", "values in [0, 1]", lambda: x.min() >= 0 and x.max() <= 1)

    def log_prob(self, out, x, eta=None):
        return np.einsum("...m,...m->...", x, out) - sum_softplus(out)

    def mean(self, out, eta=None):
        """E[x] = sigmoid(a), (..., M)."""
        return sigmoid(out)

    def error(self, out, x, eta=None):
        out *= 0.5
        np.tanh(out, out=out)
        out += 1
        out *= -0.5  # -sigmoid(a), as sigmoid(a) = (1 + tanh(a / 2)) / 2
        out += x
        return out, None

    def tangent(self, error, kept, x, eta, out_dot):
        p = np.subtract(x, error, out=empty(error.shape, error.dtype))  # sigmoid(a)
        out_dot *= p
        p -= 1
        out_dot *= p
        return out_dot


class Multinomial(_Likelihood):
    """x are counts, n = sum x; out (..., M) are logits a: sum x log softmax(a), without the count coefficient.  [E9]"""

    def check(self, x):
        _require(
            x, "Multinomial", "whole counts >= 0", lambda: 0 <= x.min() <= x.max() < np.inf and np.all(x == np.floor(x))
        )

    def log_prob(self, out, x, eta=None):
        shifted = out - out.real.max(axis=-1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=-1))
        return (x * shifted).sum(axis=-1) - x.sum(axis=-1) * log_sum

    def mean(self, out, eta=None):
        """softmax(a), the expected share of each entry, (..., M)."""
        e = np.exp(out - out.real.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def error(self, out, x, eta=None):
        out[...] = x - x.sum(axis=-1, keepdims=True) * self.mean(out)
        return out, None

    def tangent(self, error, kept, x, eta, out_dot):
        expected = x - error  # n softmax(a)
        n = np.maximum(x.sum(axis=-1, keepdims=True), 1)  # a row without counts has no error to move
        out_dot -= (expected * out_dot).sum(axis=-1, keepdims=True) / n
        out_dot *= -expected
        return out_dot


class Categorical(_Likelihood):
    """x one of V tokens at each place, negative where there is none; out (..., V) are logits a: log softmax(a)_x.  [E10]

    x (...,) broadcasts against out's leading axes, which log_prob keeps: (...,). A place without a token has log_prob 0.
    """

    def check(self, x):
        _require(x, "Categorical", "whole numbers", lambda: np.all(x == np.floor(x)))

    def log_prob(self, out, x, eta=None):
        top = out.real.max(axis=-1, keepdims=True)
        log_sum = np.log(np.exp(out - top).sum(axis=-1))
        return np.where(x >= 0, _chosen(out, x) - top[..., 0] - log_sum, 0)

    def mean(self, out, eta=None):
        """softmax(a), (..., V)."""
        return Multinomial().mean(out)

    def error(self, out, x, eta=None):
        out -= out.real.max(axis=-1, keepdims=True)
        np.exp(out, out=out)
        out *= np.where(x >= 0, -1 / out.sum(axis=-1), 0)[..., None]  # -softmax(a)
        _add_chosen(out, x, x >= 0)
        return out, None

    def tangent(self, error, kept, x, eta, out_dot):
        """-p (out_dot - p . out_dot) with p = softmax(a); error is -p, plus 1 at the token."""
        chosen = np.where(x >= 0, _chosen(out_dot, x), 0)
        expected = chosen - np.einsum("...v,...v->...", error, out_dot)  # softmax(a) . out_dot
        out_dot -= expected[..., None]
        chosen = np.where(x >= 0, _chosen(out_dot, x), 0)
        out_dot *= error
        _add_chosen(out_dot, x, -chosen)  # where error is 1 - softmax(a), not -softmax(a)
        return out_dot


def _chosen(a, x):
    """a[..., x] (...,)."""
    return a.reshape(-1, a.shape[-1])[_places(a, x)].reshape(a.shape[:-1])


def _add_chosen(a, x, values):
    """a[..., x] += values."""
    a.reshape(-1, a.shape[-1])[_places(a, x)] += np.broadcast_to(values, a.shape[:-1]).ravel()


def _places(a, x):
    """Indices of a[..., x] in a's rows; where there is no token, its first entry stands in."""
    return np.arange(a.size // a.shape[-1]), np.broadcast_to(np.maximum(x, 0), a.shape[:-1]).ravel()


class Gaussian(_Likelihood):
    """x real; N(x; mu_x, s2_x), mu_x from the network.  [E7]

    variance="global": one learned log variance; "per_dimension": one for each of the M dimensions;
    "from_z": the network gives [mu_x, log s2_x], 2M outputs, and eta is empty.
    """

    def __init__(self, variance="global"):
        if variance not in ("global", "per_dimension", "from_z"):
            raise InputError(f"variance is {variance!r}; expected 'global', 'per_dimension' or 'from_z'")
        self.variance = variance

    def __repr__(self):
        return f"Gaussian({self.variance!r})"

    def size(self, data_dim):
        return {"global": 1, "per_dimension": data_dim, "from_z": 0}[self.variance]

    def data_dim(self, outputs):
        if self.variance == "from_z" and outputs % 2:
            raise InputError(
                f"the network has {outputs} outputs; Gaussian('from_z') needs an even number, [mu, log_var]"
            )
        return outputs // 2 if self.variance == "from_z" else outputs

    def check(self, x):
        _require(x, "Gaussian", "finite values", lambda: np.isfinite(x).all())

    def _split(self, out, eta):
        if self.variance == "from_z":
            M = out.shape[-1] // 2
            return out[..., :M], out[..., M:]
        return out, eta

    def mean(self, out, eta=None):
        return self._split(out, eta)[0]

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


def _require(x, name, expected, holds):
    """One clear sentence when x leaves the support; NaN fails every comparison and so is found too."""
    if x.size and not holds():
        bad = "NaN" if np.isnan(x).any() else f"values from {x.min():g} to {x.max():g}"
        raise InputError(f"x has {bad}; a {name} likelihood needs {expected}")
