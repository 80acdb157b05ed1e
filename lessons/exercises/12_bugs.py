"""Bugs in the wild: five functions, each with a planted bug. Find it and mend it.

Each runs, and looks right; four of the mistakes are those of lesson 12. Which of them would a gradient check see?
Mend the functions, then:  python -m savi check 12
Shapes: lam (B, 2D) = [mu, log_var]; everything is in nats. Arrays that you are given are read-only.
"""

import numpy as np


def sample(lam, noise):
    """z ~ N(mu, exp(log_var)), (S, B, D), from standard-normal noise (S, B, D)."""
    mu, log_var = np.split(lam, 2, axis=1)
    return mu + np.exp(log_var) * noise


def clipped_vjp(g, clip, u):
    """J^T u, (B, n), where J is the derivative of clipping: g (B, n) -> g min(1, clip / |g|), row by row."""
    norm = np.linalg.norm(u, axis=1, keepdims=True)
    return u * np.minimum(1, clip / np.where(norm > 0, norm, clip))


def close(a, b, rtol, atol):
    """Whether |a - b| <= rtol |b| + atol, Euclidean norms of the whole arrays (N,): a truth value, (). NaN is close to nothing."""
    error = np.linalg.norm(a - b)
    return error <= max(rtol, 1e-6) * np.linalg.norm(b) or error <= max(atol, 1e-6)


def log_density(z, lam):
    """log N(z; mu, exp(log_var)), (S, B), for z (S, B, D)."""
    mu, log_var = np.split(lam, 2, axis=1)
    squares = (z - mu) ** 2 / (np.exp(log_var) + 1e-5)
    return -0.5 * (np.log(2 * np.pi) + log_var + squares).sum(axis=-1)


def importance_bound(log_weights):
    """log (1/S) sum_s w_s for each example, (B,), from log w (S, B); finite for log weights around +-1000.  [E5]"""
    return log_weights.mean(axis=0)
