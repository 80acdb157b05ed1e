"""What should hold of the products: functions on which a difference's error is known by algebra."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds
from savi.testing import assert_close

STEPS = st.sampled_from([0.5, 0.25, 0.125])
POINT = {"lam": "B N", "v": "B N"}


def square(lam):
    """The gradient of sum lam^3 / 3, whose H v is 2 lam v; a forward difference is off by r v^2, a central one is exact."""
    return lam**2


def cube(lam):
    """The gradient of sum lam^4 / 4, whose H v is 3 lam^2 v; a central difference is off by r^2 v^3."""
    return lam**3


class Coupled:
    """The gradient of f = (sum exp(lam / 4))^2 / 2, whose Hessian is full, and how often it was asked for."""

    def __init__(self):
        self.calls = 0

    def __call__(self, lam):
        self.calls += 1
        e = np.exp(lam / 4)
        return e.sum() * e / 4

    @staticmethod
    def product(lam, v):
        e = np.exp(lam / 4)
        return (e.sum() * e * v + (e * v).sum() * e) / 16


@holds("forward_product: on grad f = lam^2 it is 2 lam v + r v^2, as forward differences are", r=STEPS, **POINT)
def forward_is_off_by_r(student, lam, v, r):
    assert_close(student.forward_product(square, lam, v, r), 2 * lam * v + r * v**2, 1e-9, 1e-9, name="forward_product")


@holds("forward_product: close to H v for r = 1e-6, of a full Hessian, by 2 gradients", **POINT)
def forward_is_close(student, lam, v):
    gradient = Coupled()
    value = student.forward_product(gradient, lam, v, 1e-6)
    assert_close(value, Coupled.product(lam, v), 1e-4, 1e-4, name="forward_product")
    assert gradient.calls == 2, f"forward_product asked for {gradient.calls} gradients; expected 2"


@holds("central_product: on grad f = lam^3 it is 3 lam^2 v + r^2 v^3, as central differences are", r=STEPS, **POINT)
def central_is_off_by_r_squared(student, lam, v, r):
    expected = 3 * lam**2 * v + r**2 * v**3
    assert_close(student.central_product(cube, lam, v, r), expected, 1e-9, 1e-9, name="central_product")


@holds("central_product: close to H v for r = 1e-4, of a full Hessian, by 2 gradients", **POINT)
def central_is_close(student, lam, v):
    gradient = Coupled()
    value = student.central_product(gradient, lam, v, 1e-4)
    assert_close(value, Coupled.product(lam, v), 1e-6, 1e-6, name="central_product")
    assert gradient.calls == 2, f"central_product asked for {gradient.calls} gradients; expected 2"


@holds(
    "complex_product: H v to rounding, for h = 1e-20 and for h = 1e-150, by 1 gradient",
    h=st.sampled_from([1e-20, 1e-150]),
    **POINT,
)
def complex_is_exact(student, lam, v, h):
    gradient = Coupled()
    value = student.complex_product(gradient, lam, v, h)
    assert not np.iscomplexobj(value), "complex_product is complex; expected real numbers"
    assert_close(value, Coupled.product(lam, v), 1e-12, 1e-14, name="complex_product")
    assert gradient.calls == 1, f"complex_product asked for {gradient.calls} gradients; expected 1"


@holds("scaled_step: |step v| = r (1 + |lam|) for each example", r=STEPS, **POINT)
def scaled_step_has_the_length(student, lam, v, r):
    step = student.scaled_step(lam, v, r)
    assert np.shape(step) == (len(lam),), f"scaled_step has shape {np.shape(step)}, expected (B,) = {(len(lam),)}"
    length = r * (1 + np.sqrt((lam**2).sum(axis=1)))
    moves = (v != 0).any(axis=1)
    assert_close(np.sqrt(((step[:, None] * v) ** 2).sum(axis=1)), np.where(moves, length, 0), 1e-9, name="|step v|")
    assert_close(step[~moves], length[~moves], 1e-9, name="the step where v is zero")
    assert np.all(step > 0), "every step should be > 0"
