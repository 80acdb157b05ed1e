"""What a decoder's outputs say about counts and tokens: Multinomial, Poisson and Categorical.  [E9], [E10]"""

import functools

import numpy as np

from .base import Likelihood
from .likelihoods import require


class Multinomial(Likelihood):
    """x are counts, n = sum x; out (..., M) are logits a: sum x log softmax(a), without the count coefficient.  [E9]"""

    without_latents = "unigram"

    def marginal(self, x, outputs):
        counts = x.sum(axis=0) + 0.5
        return np.log(counts / counts.sum()), np.zeros(0)

    def start(self, x):
        """The unigram: without it, training spends its first epochs on how frequent each word is."""
        return self.marginal(x, x.shape[-1])

    def check(self, x):
        require(
            x, "Multinomial", "whole counts >= 0", lambda: 0 <= x.min() <= x.max() < np.inf and np.all(x == np.floor(x))
        )

    def log_prob(self, out, x, eta=None):
        shifted = out - out.real.max(axis=-1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=-1))
        return (x * shifted).sum(axis=-1) - x.sum(axis=-1) * log_sum

    def log_prob_and_error(self, out, x, eta=None):
        """sum( x (a - c) ) - n log s and x - n e^(a - c) / s, with c = max a and s = sum e^(a - c)."""
        n = x.sum(axis=-1)
        out -= out.real.max(axis=-1, keepdims=True)
        of_x = np.einsum("...m,...m->...", x, out)
        s = np.exp(out, out=out).sum(axis=-1)
        out *= (-n / s)[..., None]
        out += x
        return of_x - n * np.log(s), out, None

    def mean(self, out, eta=None):
        """softmax(a), the expected share of each entry, (..., M): n is not modelled."""
        e = np.exp(out - out.real.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def error(self, out, x, eta=None):
        return self.log_prob_and_error(out, x)[1:]

    def tangent(self, error, kept, x, eta, out_dot):
        expected = x - error  # n softmax(a)
        n = np.maximum(x.sum(axis=-1, keepdims=True), 1)  # a row without counts has no error to move
        out_dot -= (expected * out_dot).sum(axis=-1, keepdims=True) / n
        out_dot *= -expected
        return out_dot

    def sample(self, out, eta, rng, n=None):
        """Counts (..., M); n (...,) or a number: how many in all, drawn from Poisson(M) when None."""
        n = rng.poisson(out.shape[-1], out.shape[:-1]) if n is None else n
        return rng.multinomial(n, self.mean(out.astype(float))).astype(out.dtype)

    def reference(self, out, x, eta):
        import autograd.numpy as anp

        out = out - anp.max(out, axis=-1, keepdims=True)
        return anp.sum(x * (out - anp.log(anp.sum(anp.exp(out), axis=-1, keepdims=True))), axis=-1)


class Poisson(Likelihood):
    """x_m are counts, each by itself; out (..., M) are log rates a: sum( x a - e^a - log x! ).

    A rate overflows, and the loss with it, at a = 88 in float32 and 709 in float64.
    """

    without_latents = "independent Poisson"

    def marginal(self, x, outputs):
        return np.log((x.sum(axis=0) + 0.5) / len(x)), np.zeros(0)

    def start(self, x):
        """The mean rates."""
        return self.marginal(x, x.shape[-1])

    def check(self, x):
        require(
            x, "Poisson", "whole counts >= 0", lambda: 0 <= x.min() <= x.max() < np.inf and np.all(x == np.floor(x))
        )

    def log_prob(self, out, x, eta=None):
        return (x * out - np.exp(out) - log_factorial(x).astype(out.dtype)).sum(axis=-1)

    def mean(self, out, eta=None):
        return np.exp(out)

    def sample(self, out, eta, rng):
        return rng.poisson(np.exp(out.astype(float))).astype(out.dtype)

    def log_prob_and_error(self, out, x, eta=None):
        of_x = np.einsum("...m,...m->...", x, out)
        constant = log_factorial(x).sum(axis=-1).astype(out.dtype)
        rates = np.exp(out, out=out)
        log_p = of_x - rates.sum(axis=-1) - constant
        return log_p, np.subtract(x, rates, out=out), None

    def error(self, out, x, eta=None):
        np.exp(out, out=out)
        np.subtract(x, out, out=out)
        return out, None

    def tangent(self, error, kept, x, eta, out_dot):
        out_dot *= error - x  # -e^a
        return out_dot

    def reference(self, out, x, eta):
        import autograd.numpy as anp

        return anp.sum(x * out - anp.exp(out) - log_factorial(x), axis=-1)


def log_factorial(x):
    """log x! of whole numbers x >= 0, of any shape, in float64: from a table, and far out by Stirling's series."""
    counts = x.real.astype(float)
    top = counts.max(initial=0)
    table = _log_factorials(min(int(top).bit_length(), TABLE_BITS))
    found = table[np.minimum(counts, len(table) - 1).astype(int)]
    if top < 2**TABLE_BITS:
        return found
    n = np.maximum(counts, 2**TABLE_BITS)
    return np.where(counts < n, found, (n + 0.5) * np.log(n) - n + 0.5 * np.log(2 * np.pi) + 1 / (12 * n))


TABLE_BITS = 16  # the series is exact to rounding from 2**16 on; a table up to 1e9 would fill the memory


@functools.cache
def _log_factorials(bits):
    """log 0!, log 1!, ... below 2**bits."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 2**bits)))])


class Categorical(Likelihood):
    """x one of V tokens at each place, negative where there is none; out (..., V) are logits a: log softmax(a)_x.  [E10]

    x (...,) broadcasts against out's leading axes, which log_prob keeps: (...,). A place without a token has log_prob 0.
    """

    has_residual, vector, without_latents = False, False, "unigram"

    def marginal(self, x, outputs):
        counts = np.bincount(x[x >= 0].astype(int), minlength=outputs) + 0.5
        return np.log(counts / counts.sum()), np.zeros(0)

    def check(self, x):
        require(x, "Categorical", "whole numbers", lambda: np.all(x == np.floor(x)))

    def log_prob(self, out, x, eta=None):
        top = out.real.max(axis=-1, keepdims=True)
        log_sum = np.log(np.exp(out - top).sum(axis=-1))
        return np.where(x >= 0, _chosen(out, x) - top[..., 0] - log_sum, 0)

    def mean(self, out, eta=None):
        """softmax(a), (..., V)."""
        return Multinomial().mean(out)

    def log_prob_and_error(self, out, x, eta=None):
        """(a - c)_x - log s and -e^(a - c) / s, plus 1 at the token, with c = max a and s = sum e^(a - c)."""
        out -= out.real.max(axis=-1, keepdims=True)
        chosen = _chosen(out, x)
        s = np.exp(out, out=out).sum(axis=-1)
        out *= np.where(x >= 0, -1 / s, 0)[..., None]
        _add_chosen(out, x, x >= 0)
        return np.where(x >= 0, chosen - np.log(s), 0), out, None

    def error(self, out, x, eta=None):
        return self.log_prob_and_error(out, x)[1:]

    def tangent(self, error, kept, x, eta, out_dot):
        """-p (out_dot - p . out_dot) with p = softmax(a); error is -p, plus 1 at the token."""
        chosen = np.where(x >= 0, _chosen(out_dot, x), 0)
        expected = chosen - np.einsum("...v,...v->...", error, out_dot)  # softmax(a) . out_dot
        out_dot -= expected[..., None]
        chosen = np.where(x >= 0, _chosen(out_dot, x), 0)
        out_dot *= error
        _add_chosen(out_dot, x, -chosen)  # where error is 1 - softmax(a), not -softmax(a)
        return out_dot

    def sample(self, out, eta, rng):
        """Tokens (...,), by Gumbel's trick."""
        return np.argmax(out + rng.gumbel(size=out.shape), axis=-1)

    def reference(self, out, x, eta):
        import autograd.numpy as anp

        out = out - anp.max(out, axis=-1, keepdims=True)
        chosen = anp.sum(out * np.eye(out.shape[-1])[x], axis=-1)
        return (chosen - anp.log(anp.sum(anp.exp(out), axis=-1))) * (x >= 0)


def _chosen(a, x):
    """a[..., x] (...,)."""
    return a.reshape(-1, a.shape[-1])[_places(a, x)].reshape(a.shape[:-1])


def _add_chosen(a, x, values):
    """a[..., x] += values."""
    a.reshape(-1, a.shape[-1])[_places(a, x)] += np.broadcast_to(values, a.shape[:-1]).ravel()


def _places(a, x):
    """Indices of a[..., x] in a's rows; where there is no token, its first entry stands in."""
    return np.arange(a.size // a.shape[-1]), np.broadcast_to(np.maximum(x, 0), a.shape[:-1]).ravel()
