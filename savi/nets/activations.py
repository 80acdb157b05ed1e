"""Activations of hidden units with their first two derivatives, and the stable sigmoid and softplus.

Nothing overflows for |a| up to 1e4, and complex numbers pass through.
"""

from typing import NamedTuple

import numpy as np


def softplus(a):
    """log(1 + exp(a)) without overflow, for real or complex a."""
    positive = np.where(a.real > 0, a, 0)
    return positive + np.log1p(np.exp(a - 2 * positive))  # a - 2 max(a, 0) = -|a|


def sigmoid(a):
    """1 / (1 + exp(-a)) without overflow, for real or complex a."""
    return 0.5 * (1 + np.tanh(0.5 * a))


class Activation(NamedTuple):
    """h = phi(a) with its derivatives as functions of h: apply(a) in place, slope = phi', bend = phi'' / phi'.

    formula(np, a) says phi once more, for any module `np` that has NumPy's functions: autograd's, for the judge.
    """

    name: str
    apply: object
    slope: object
    bend: object
    formula: object = None

    def reference(self, a):
        """phi(a) in autograd.numpy."""
        import autograd.numpy

        return self.formula(autograd.numpy, a)


def _tanh(a):
    np.tanh(a, out=a)


def _tanh_slope(h):
    slope = h * h
    return np.subtract(1, slope, out=slope)


def _elu(a):
    negative = _negative_part(a)
    a -= negative
    a += np.expm1(negative, out=negative)


def _elu_slope(h):
    slope = _negative_part(h)
    slope += 1
    return slope


def _negative_part(a):
    """min(a, 0), a new array."""
    return np.minimum(a, 0) if a.dtype.kind == "f" else np.where(a.real > 0, 0, a)


def _softplus(a):
    a[...] = softplus(a)


# autograd's tanh' is 1 / cosh^2, whose own derivative is 0 inf where cosh overflows: beyond 300 tanh is +-1 to the last bit
TANH = Activation("tanh", _tanh, _tanh_slope, lambda h: -2 * h, lambda np, a: np.tanh(np.clip(a, -300, 300)))
ELU = Activation(
    "elu", _elu, _elu_slope, lambda h: (h.real <= 0).astype(h.dtype),
    lambda np, a: np.where(a > 0, a, np.exp(np.where(a > 0, 0.0, a)) - 1),
)  # fmt: skip
SOFTPLUS = Activation(
    "softplus", _softplus, lambda h: -np.expm1(-h), lambda h: np.exp(-h), lambda np, a: np.logaddexp(0.0, a)
)
IDENTITY = Activation(
    "identity", lambda a: None, lambda h: np.ones_like(h), lambda h: np.zeros_like(h), lambda np, a: a
)
ACTIVATIONS = {a.name: a for a in (TANH, ELU, SOFTPLUS, IDENTITY)}
