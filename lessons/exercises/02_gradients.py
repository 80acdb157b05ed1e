"""Gradients by hand: a sample, a KL divergence and its gradient, and the gradient through the sample.

lam (B, 2D) = [mu, log_var] are B diagonal Gaussians, the means first; sigma = exp(log_var / 2).
Fill in the functions, then:  python -m savi check 02
Everything is in nats. Arrays that you are given are read-only: return new ones.
"""

import numpy as np  # noqa: F401


def sample(lam, noise):
    """z = mu + sigma * noise, (S, B, D), for standard-normal noise (S, B, D)."""
    raise NotImplementedError


def kl(lam, prior):
    """KL(N(lam) || N(prior)), one value per example, (B,); prior (B, 2D) is [mu_p, log_var_p].  [E3]"""
    raise NotImplementedError


def kl_gradient(lam, prior):
    """The gradient of kl with respect to lam = [mu, log_var], (B, 2D): the log-variance, not the variance."""
    raise NotImplementedError


def reparameterized_gradient(lam, noise, d_z):
    """The gradient of (1/S) sum_s h(z_s) with respect to lam, (B, 2D), where z = sample(lam, noise).  [E11]

    d_z (S, B, D) is the gradient of h at each z_s: h itself is not needed.
    """
    raise NotImplementedError
