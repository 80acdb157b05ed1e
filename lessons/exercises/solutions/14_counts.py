"""Counts: the Multinomial by savi's (models/discrete.py), and the definition of perplexity."""

import numpy as np

from savi.experiments import evaluation
from savi.models.discrete import Multinomial


def log_prob(a, x):
    return Multinomial().log_prob(a, x)


def error(a, x):
    return Multinomial().error(a.copy(), x)[0]


def perplexity(nats, x):
    return np.float64(evaluation.perplexity(nats, x.sum(axis=1)))
