"""Stochastic variational inference: savi's clipping, step and loop."""

from types import SimpleNamespace

from savi.inference.optimizers import Momentum
from savi.inference.svi import ascend, clipped
from savi.models import base


def svi_step(lam, v, d_lam, step_size, momentum, clip):
    (v,), step = Momentum(step_size, momentum).update((v,), clipped(d_lam, clip))
    return lam + step, v


class Objective(base.Objective):
    """What `ascend` needs of an objective, from a gradient of lam alone."""

    def __init__(self, gradient):
        self.of = gradient

    def gradient(self, lam, noise=None):
        return SimpleNamespace(lam=lam, noise=noise, d_lam=self.of(lam), terms=[])


def svi(gradient, lam, steps, step_size, momentum, clip):
    return ascend(Objective(gradient), lam, range(steps), step_size, momentum, clip)
