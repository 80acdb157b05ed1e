"""Hessian-vector products five ways, one interface: (H_{lam,lam} v, H_{theta,lam} v) at the same noise.  [SA] 3

    product(f, evaluation, v, method="exact") -> Product

f is an objective, evaluation one of its evaluations at lam (it fixes the noise), v is (B, 2D); "auto" is exact where the
model has exact products and a central difference where it has none. The Hessian is block-diagonal over the examples, so
one call gives every example its own product, and each example may have its own difference step r. No method forms a
matrix, and none forms a theta-sized array per call but `autograd`.
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..models.base import Product

COMPLEX_STEP = 1e-20


def forward_difference(f, evaluation, v, r=1e-5):
    """(grad f(lam + r v) - grad f(lam)) / r, the difference of [SA] with its r = 1e-5; error O(r) + O(eps / r)."""
    r = _per_example(r, evaluation.lam, v)
    moved = f.gradient(evaluation.lam + r * v, evaluation.noise)
    weight = _weight(1 / r)
    return Product((moved.d_lam - evaluation.d_lam) / r, _difference(moved, evaluation, weight))


def central_difference(f, evaluation, v, r=1e-4):
    """(grad f(lam + r v) - grad f(lam - r v)) / 2r; error O(r^2) + O(eps / r)."""
    r = _per_example(r, evaluation.lam, v)
    plus = f.gradient(evaluation.lam + r * v, evaluation.noise)
    minus = f.gradient(evaluation.lam - r * v, evaluation.noise)
    weight = _weight(0.5 / r)
    return Product((plus.d_lam - minus.d_lam) / (2 * r), _difference(plus, minus, weight))


def complex_step(f, evaluation, v, r=COMPLEX_STEP):
    """Im grad f(lam + i r v) / r: exact to rounding, as nothing is subtracted. Needs closed forms in complex numbers."""
    if "complex" not in f.supports:
        raise InputError("the complex step needs closed forms that take complex numbers; an AutogradModel has none")
    return f.imaginary(evaluation, f.gradient(evaluation.lam + 1j * r * v, evaluation.noise), r)


def exact(f, evaluation, v):
    """The R-operator through the closed forms (a tangent forward and a tangent backward pass); Pearlmutter 1994.

    Raises InputError where a decoder of yours has no `tangent`.
    """
    if "tangent" not in f.supports:
        raise InputError(
            f'{f.model!r} has no tangent, which hvp="exact" needs; expected "auto", "central" or "forward"'
        )
    return f.hvp(evaluation, v)


def auto(f, evaluation, v):
    """`exact` where the model has it, else a central difference with r = 1e-5 scaled by the lengths of lam and v."""
    if "tangent" in f.supports:
        return f.hvp(evaluation, v)
    return central_difference(f, evaluation, v, r=scaled_step(1e-5))


def autograd(f, evaluation, v):
    """The reference loss, differentiated twice by autograd: the slow judge of the others."""
    from ..models.reference import product_by

    return product_by(lambda lam, theta: f.reference(lam, theta, evaluation.noise), evaluation.lam, f.theta, v)


METHODS = {
    "forward": forward_difference,
    "central": central_difference,
    "complex": complex_step,
    "exact": exact,
    "auto": auto,
    "autograd": autograd,
}


def find(method):
    """The function of that name, or the function itself. Raises InputError on an unknown name."""
    if callable(method):
        return method
    return METHODS[given.one_of("hvp method", method, METHODS)]


def product(f, evaluation, v, method="exact", **options):
    """H v at an evaluation of f: Product.lam is H_{lam,lam} v (B, 2D); f.theta_sum().add(product) sums H_{theta,lam} v.

    method: a name in METHODS or a function of (f, evaluation, v). options: r, the difference step: for "complex" a
    number, for "forward" and "central" also one per example (B,) or a function (lam, v) -> (B,) such as `scaled_step`.
    """
    if given.floats("v", v).shape != evaluation.lam.shape:
        raise InputError(f"v has shape {v.shape}; expected that of lam, {evaluation.lam.shape}")
    return find(method)(f, evaluation, v, **options)


def scaled_step(r):
    """A per-example step r (1 + |lam|) / |v|: a difference of relative size r whatever the length of v."""

    def step(lam, v):
        length = np.linalg.norm(v, axis=1)
        return r * (1 + np.linalg.norm(lam, axis=1)) / np.where(length > 0, length, 1)

    return step


def _per_example(r, lam, v):
    """r as a number or a column (B, 1), in the precision of lam."""
    r = r(lam, v) if callable(r) else r
    return float(r) if np.ndim(r) == 0 else np.asarray(r, lam.dtype).reshape(-1, 1)


def _weight(w):
    return w if np.isscalar(w) else w[:, 0]


def _difference(plus, minus, weight):
    """Terms of a weighted difference of two evaluations' theta-gradients."""
    return [term.times(sign * weight) for e, sign in ((plus, 1.0), (minus, -1.0)) for term in e.terms]
