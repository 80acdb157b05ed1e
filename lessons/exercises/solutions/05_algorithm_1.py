"""Learning through the optimizer: savi's Algorithm 1, asked for its loops."""

from types import SimpleNamespace

import numpy as np

from savi.inference.semi_amortized import algorithm_1
from savi.inference.svi import ascent, clipped_vjp
from savi.models import base

__all__ = ["backward", "clipped_vjp", "forward"]


class Objective(base.Objective):
    """What `ascent` needs of an objective, from a gradient of lam alone."""

    def __init__(self, gradient):
        self.of = gradient

    def gradient(self, lam, noise=None):
        return SimpleNamespace(lam=lam, noise=noise, d_lam=self.of(lam), terms=[])


def forward(gradient, lam_0, steps, step_size, momentum):
    return np.array([lam_0, *ascent(Objective(gradient), lam_0, range(steps), step_size, momentum)])


class Recorded(base.Objective):
    """An objective that knows its gradients along one path, for algorithm_1: those that led from each lam to the next."""

    def __init__(self, lams, d_lam, d_theta, step_size, momentum):
        v = np.diff(lams, axis=0) / step_size
        before = np.concatenate([np.zeros_like(lams[:1]), v])[: len(v)]
        self.d_lams, self.d_lam, self.d_theta = iter(momentum * before - v), d_lam, d_theta

    def gradient(self, lam, noise):
        return SimpleNamespace(lam=lam, d_lam=next(self.d_lams))

    def evaluate(self, lam, noise):
        return SimpleNamespace(loss=None, d_lam=self.d_lam, theta=self.d_theta)

    def theta_sum(self):
        return Sum(0.0)


class Sum:
    def __init__(self, total):
        self.total = total

    def add(self, term, weight=1.0):
        self.total = self.total + weight * term.theta
        return self

    def value(self):
        return self.total


def backward(lams, d_lam, d_theta, lam_product, theta_product, step_size, momentum):
    def product(f, step, v):
        return SimpleNamespace(lam=lam_product(step.lam, v), theta=theta_product(step.lam, v))

    f = Recorded(lams, d_lam, d_theta, step_size, momentum)
    _, theta_bar, lam_bar = algorithm_1(f, lams[0], range(len(lams)), step_size, momentum, None, product)
    return lam_bar, theta_bar
