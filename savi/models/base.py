"""The interfaces of this wing: what a likelihood, a decoder, a model and its objective offer, and what of it is optional.

    Likelihood   p(x | out)                  what the outputs of a network say about x
    Decoder      p(x | z; theta)             given(theta, x) -> Given, the same as a function of z
    Model        p(x, z; theta), q(z; lam)   objective(theta, x, beta) -> Objective
    Objective    f(lam; noise) = -ELBO at fixed theta, x and beta; it leaves Evaluations and Products, and sums over theta

B examples, S noise samples, D latent dimensions, M data dimensions, P parameters theta; lam (B, n), n = 2D for Gaussians.
What is optional is declared: a Model's `supports` says which verbs its objectives have beyond `evaluate`, `gradient`,
`hvp` and `theta_sum`; a verb that is missing raises InputError when it is asked for. Everything is in nats.
"""

import numpy as np

from ..engine.files import InputError


class Model:
    """p(x, z; theta) with an approximate posterior q(z; lam).

    size: P, the length of theta. lam_size: n, the width of lam. latent_dim: D, or None where lam is no Gaussian's.
    data_dim: M, the width of the error e_x in data space, or None where there is none. work: multiplications in a pass of
    one example, by which threads cut a batch; divisible: whether they may. takes_probabilities: whether training data
    between 0 and 1 are probabilities, from which x is drawn anew for each minibatch.
    supports: which of "parts", "posterior_kl", "log_weights", "log_px", "errors", "tangent", "complex" there are.
    """

    size = lam_size = work = 0
    latent_dim = data_dim = None
    divisible = takes_probabilities = False
    supports = frozenset()

    def init(self, rng, dtype=np.float64):
        """Initial theta (P,)."""
        raise NotImplementedError

    def prior_lam(self, batch, dtype=np.float64):
        """lam of the prior, (B, n): where SVI starts."""
        raise NotImplementedError

    def draw_noise(self, rng, samples, batch, dtype=np.float64):
        """Noise (S, B, .) for one evaluation of f."""
        raise NotImplementedError

    def check(self, x):
        """Raises InputError where x lies outside the support; a model that knows no support takes everything."""

    def describe(self):
        """{name: JSON value} of what a checkpoint must share with the run that goes on from it."""
        return {"model": repr(self), "kl": "None", "prior": None}
