"""A Gaussian mixture: its likelihood, its responsibilities, and the bound below.

A latent k says which of K components a number x comes from: p(k) = softmax(logits)[k], p(x | k) = N(mu[k], exp(log_var[k])).
Fill in the functions, then:  python -m savi check 01
Shapes: x (B,), logits (K,), mu (K,), log_var (K,). Everything is in nats. Arrays that you are given are read-only.
"""

import numpy as np  # noqa: F401


def log_joint(x, logits, mu, log_var):
    """log p(x, k) = log p(k) + log N(x; mu[k], exp(log_var[k])) for each number and each component, (B, K)."""
    raise NotImplementedError


def log_likelihood(x, logits, mu, log_var):
    """log p(x) = log sum_k p(x, k), (B,). It should be right for |x| = 1000, where every p(x, k) is 0 in floats."""
    raise NotImplementedError


def responsibilities(x, logits, mu, log_var):
    """The posterior p(k | x), (B, K), by Bayes' rule; right for |x| = 1000."""
    raise NotImplementedError


def elbo(q, x, logits, mu, log_var):
    """ELBO(q) = sum_k q[k] (log p(x, k) - log q[k]), (B,), for any distributions q (B, K), where 0 log 0 = 0.  [E1]"""
    raise NotImplementedError
