"""Second derivatives without a Hessian: savi's ways."""

from types import SimpleNamespace

import numpy as np

from savi import hvp
from savi.models import base


class Objective(base.Objective):
    """What `hvp` needs of an objective, from a gradient of lam alone."""

    supports = frozenset({"complex"})

    def __init__(self, gradient):
        self.of = gradient

    def gradient(self, lam, noise=None):
        return SimpleNamespace(lam=lam, noise=noise, d_lam=self.of(lam), terms=[])

    def imaginary(self, evaluation, moved, r):
        return base.Product(moved.d_lam.imag / r, [])


def forward_product(gradient, lam, v, r):
    f = Objective(gradient)
    return hvp.forward_difference(f, f.gradient(lam), v, r).lam


def central_product(gradient, lam, v, r):
    return hvp.central_difference(Objective(gradient), SimpleNamespace(lam=lam, noise=None), v, r).lam


def complex_product(gradient, lam, v, h):
    return hvp.complex_step(Objective(gradient), Objective(np.zeros_like).gradient(lam), v, h).lam


def scaled_step(lam, v, r):
    return hvp.scaled_step(r)(lam, v)
