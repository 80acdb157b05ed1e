"""Reading a table of results: mean and standard error of paired differences, as savi's tables have them."""

import numpy as np


def difference(a, b):
    d = a - b
    return np.array([d.mean(), d.std(ddof=1) / np.sqrt(len(d))])


def verdict(a, b):
    mean, error = difference(a, b)
    return np.sign(mean) * (abs(mean) > 2 * error)


def table(losses):
    return np.array([[verdict(a, b) for b in losses] for a in losses])


def seeds_needed(mean, spread):
    return np.maximum(2, np.floor((2 * spread / mean) ** 2) + 1)
