"""A Gaussian mixture, in savi's words."""

import numpy as np

from savi.models.gaussian import join, log_density


def log_joint(x, logits, mu, log_var):
    lam = join(mu[:, None], log_var[:, None])
    return logits - np.logaddexp.reduce(logits) + log_density(x[:, None, None], lam)


def log_likelihood(*mixture):
    return np.logaddexp.reduce(log_joint(*mixture), axis=1)


def responsibilities(*mixture):
    return np.exp(log_joint(*mixture) - log_likelihood(*mixture)[:, None])


def elbo(q, *mixture):
    return (q * (log_joint(*mixture) - np.log(np.where(q > 0, q, 1)))).sum(axis=1)
