"""Bugs in the wild, mended: savi's own functions."""

import numpy as np

from savi.inference.svi import clipped_vjp
from savi.models.gaussian import log_density, sample

__all__ = ["clipped_vjp", "close", "importance_bound", "log_density", "sample"]


def close(a, b, rtol, atol):
    return np.linalg.norm(a - b) <= rtol * np.linalg.norm(b) + atol


def importance_bound(log_weights):
    return np.logaddexp.reduce(log_weights, axis=0) - np.log(len(log_weights))
