"""A hierarchy's gradients: a level's error, what goes to its prior's variance, the upper level's own.  z^2 -> z^1 -> x

p(z^1 | z^2) = N(mu_p, s2_p); lam (B, 2A) = [mu, log_var] is q(z^2), the means first; z^2 = mu + exp(log_var / 2) * noise.
Fill in the functions, then:  python -m savi check 13
Arrays that you are given are read-only: return new ones.
"""

import numpy as np  # noqa: F401


def level_error(z, prior):
    """e = (z - mu_p) / s2_p, (S, B, D), of samples z (S, B, D); prior (S, B, 2D) is [mu_p, log s2_p].  [E12]"""
    raise NotImplementedError


def prior_variance_gradient(z, prior):
    """d log N(z; mu_p, s2_p) / d log s2_p, (S, B, D): what a net that gives s2_p gets, beside e for mu_p."""
    raise NotImplementedError


def upper_gradient(lam, noise, e, W, prior):
    """The gradient of the ELBO with respect to lam (B, 2A) of z^2, mu_p = z^2 W, W (A, D): bottom-up minus top-down.  [E12]

    noise (S, B, A); e (S, B, D) is the error of the level below; prior (B, 2A) = [mu, log_var] of z^2. The ELBO is a mean over
    the samples; its KL term at z^2 is sampled, log q - log p.
    """
    raise NotImplementedError
