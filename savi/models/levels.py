"""One level of a hierarchy: p(z | above) = N(mu_p(above), diag s2_p), and the term KL(q(z) || p(z | above)) of the loss.  [E12]

    e = (a - mu_p) / s2_p,   a = mu where the KL term is in closed form, else the sample z;   u = (a - mu_p) e (+ s2 / s2_p)
    d KL / d a = e,   d KL / d mu_p = -e,   d KL / d log s2_p = (1 - u) / 2

s2 / s2_p belongs to the closed form, whose share of d KL / d log s2 is (s2 / s2_p - 1) / 2; of a sampled one it is -1/2. Where
the net gives s2_p as well, its two terms go back through the net beside those of mu_p. With R{.} written as a dot,

    e_dot = (a_dot - mu_p_dot) / s2_p - e log_s2_p_dot;   u_dot = (a_dot - mu_p_dot) e + (a - mu_p) e_dot (+ ratio_dot)
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from .gaussian import join, split


class Level:
    """p(z | above; theta) = N(mu_p(above), diag s2_p): z (..., D) below, `above` (..., A).

    net: from A to D outputs mu_p; with variance="from_z" to 2D, [mu_p, log s2_p]. variance: "from_z"; "per_dimension" or
    "global", learned and the same for all z; or a number > 0, which stays. theta: the net's, then the learned log s2_p.
    """

    def __init__(self, net, variance="from_z"):
        self.net, self.above, self.variance = given.thing("net", net), net.inputs, variance
        learned = variance in ("from_z", "per_dimension", "global") if isinstance(variance, str) else False
        self.fixed = 0.0 if learned else np.log(given.number("variance of a level", variance, "(0, inf)"))
        if variance == "from_z" and net.outputs % 2:
            raise InputError(
                f"the net has {net.outputs} outputs; Level(net, 'from_z') needs an even number, [mu, log_var]"
            )
        self.from_net = learned and variance == "from_z"
        self.below = net.outputs // 2 if self.from_net else net.outputs
        self.own = {"per_dimension": self.below, "global": 1}[variance] if learned and not self.from_net else 0
        self.size, self.has_tangent = net.size + self.own, net.has_tangent

    def __repr__(self):
        return f"Level({self.net!r}, {self.variance!r})"

    def init(self, rng, dtype=np.float64):
        """theta (P_l,): the net's initial parameters, then zeros (a log variance of 0)."""
        return np.concatenate([self.net.init(rng, dtype), np.zeros(self.own, dtype)])

    def prior(self, theta, above):
        """[mu_p, log s2_p] (..., 2D) at `above` (..., A)."""
        return self.joined(self.net(theta[: self.net.size], above), theta[self.net.size :])

    def joined(self, out, eta):
        """[mu_p, log s2_p] (..., 2D), a new array, from the net's outputs and the learned log variances."""
        if self.from_net:
            return out.copy()
        log_var = eta if self.own else np.asarray(self.fixed, out.dtype)
        return join(out, np.broadcast_to(log_var.astype(out.dtype, copy=False), out.shape))

    def sample(self, theta, above, rng):
        """z (..., D) drawn from p(z | above)."""
        mu, log_var = split(self.prior(theta, above))
        return mu + np.exp(log_var / 2) * rng.standard_normal(mu.shape, dtype=mu.dtype)

    def reference(self, theta, above):
        """[mu_p, log s2_p] once more in autograd.numpy: the judge."""
        import autograd.numpy as anp

        out = self.net.reference(theta[: self.net.size], above)
        if self.from_net:
            return out
        log_var = theta[self.net.size :] if self.own else self.fixed
        return anp.concatenate([out, log_var + 0 * out], axis=-1)


class LevelTerm:
    """KL(q(z) || p(z | above)) of one evaluation and its derivatives, per sample (S, B, D): the formulas above.

    kl: the family of q with its form of the KL term; lam (B, 2D); z (S, B, D); prior (S, B, 2D) = [mu_p, log s2_p].
    """

    def __init__(self, kl, lam, z, prior):
        (mu, log_var), (mu_p, log_var_p) = split(lam), split(prior)
        self.closed, self.precision = kl.closed_form, np.exp(-log_var_p)
        self.r = (mu if self.closed else z) - mu_p
        self.e = self.r * self.precision
        self.ratio = np.exp(log_var - log_var_p) if self.closed else np.zeros_like(self.r)
        self.d_log_var_p = (1 - self.r * self.e - self.ratio) / 2

    def tangent(self, v, z_dot, prior_dot):
        """(e_dot, ratio_dot, R{d KL / d log s2_p}) along v (B, 2D), with z_dot (S, B, D) and prior_dot (S, B, 2D)."""
        (mu_dot, log_var_dot), (mu_p_dot, log_var_p_dot) = split(v), split(prior_dot)
        r_dot = (mu_dot if self.closed else z_dot) - mu_p_dot
        e_dot = r_dot * self.precision - self.e * log_var_p_dot
        ratio_dot = self.ratio * (log_var_dot - log_var_p_dot)
        return e_dot, ratio_dot, -(r_dot * self.e + self.r * e_dot + ratio_dot) / 2
