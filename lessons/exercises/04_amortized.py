"""Amortized inference: the gap of an encoder where the best answer is known, and the encoder's gradient.

The model has one latent number and M observed ones: z ~ N(0, 1), x[m] ~ N(w[m] z, s2) with s2 = exp(log_s2).
lam (B, 2) = [mu, log_var] are B posteriors N(mu, exp(log_var)) of z. Loss = -ELBO, in nats, lower is better.
Fill in the functions, then:  python -m savi check 04
Shapes: x (B, M), w (M,), log_s2 a number. Arrays that you are given are read-only.
"""

import numpy as np  # noqa: F401


def negative_elbo(lam, x, w, log_s2):
    """-ELBO = KL(q(z) || N(0, 1)) - E_q[log p(x | z)], (B,), in closed form: E_q[(x - w z)^2] = (x - w mu)^2 + w^2 var."""
    raise NotImplementedError


def best_lam(x, w, log_s2):
    """The lam (B, 2) of the exact posterior p(z | x): of precision 1 + sum_m w[m]^2 / s2."""
    raise NotImplementedError


def amortization_gap(lam, x, w, log_s2):
    """-ELBO at lam minus -ELBO at the best lam, (B,), never negative.  [E6]"""
    raise NotImplementedError


def encoder_gradient(x, W1, b1, W2, b2, d_lam):
    """The gradients of f, summed over the batch, with respect to the encoder's parameters: the tuple (d_W1, d_b1, d_W2, d_b2).

    The encoder is lam = tanh(x W1 + b1) W2 + b2; W1 (M, H), b1 (H,), W2 (H, 2), b2 (2,); d_lam (B, 2) is the gradient of f
    with respect to each example's lam. Each result has the shape of its parameter.
    """
    raise NotImplementedError
