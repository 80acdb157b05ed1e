"""Hierarchies: a level's terms by savi's (models/levels.py)."""

from savi.models.gaussian import SampledKL, sample_backward, scaled_noise
from savi.models.levels import LevelTerm


def level_error(z, prior):
    return LevelTerm(SampledKL, prior[0], z, prior).e


def prior_variance_gradient(z, prior):
    return -LevelTerm(SampledKL, prior[0], z, prior).d_log_var_p


def upper_gradient(lam, noise, e, W, prior):
    d_z = e @ W.T
    return sample_backward(scaled_noise(lam, noise), d_z) / len(noise) - SampledKL.gradient(lam, prior, noise)
