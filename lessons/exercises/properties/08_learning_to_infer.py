"""What should hold of encodings and gates: inverses, symmetries, fixed points, and differences."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds
from savi.testing import assert_close, check_gradient

SIZES = {"alpha": st.sampled_from([0.1, 0.5]), "eps": st.sampled_from([1e-5, 1e-3, 1e-8])}
LOGITS = st.sampled_from([1000.0, -1000.0])


def split(both):
    return np.split(both, 2, axis=1)


def encoded(student, g, alpha, eps):
    value = student.encode(g, alpha, eps)
    shape = (len(g), 2 * g.shape[1])
    assert np.shape(value) == shape, f"encode has shape {np.shape(value)}, expected (B, 2n) = {shape}"
    return split(value)


@holds("encode: the gradient can be read off again, g = sign (exp(size / alpha) - eps)", g="B N", **SIZES)
def encoding_has_an_inverse(student, g, alpha, eps):
    size, sign = encoded(student, g, alpha, eps)
    assert_close(sign * (np.exp(size / alpha) - eps), g, 1e-9, 1e-12, name="the gradient that was encoded")


@holds("encode: -g has the same sizes and the opposite signs", g="B N", **SIZES)
def encoding_is_symmetric(student, g, alpha, eps):
    (size, sign), (other_size, other_sign) = encoded(student, g, alpha, eps), encoded(student, -g, alpha, eps)
    assert_close(other_size, size, 1e-12, name="the sizes of -g")
    assert_close(other_sign, -sign, name="the signs of -g")


@holds("encode: a gradient of zero has the sign 0 and the finite size alpha log(eps)", **SIZES)
def encoding_of_zero(student, alpha, eps):
    size, sign = encoded(student, np.zeros((1, 2)), alpha, eps)
    assert_close(size, np.full((1, 2), alpha * np.log(eps)), 1e-9, name="the sizes")
    assert_close(sign, np.zeros((1, 2)), name="the signs")


@holds("gated_update: where the proposal is lam itself, lam stays, whatever the gate", lam="B N", a="B N")
def update_has_a_fixed_point(student, lam, a):
    value = student.gated_update(lam, np.concatenate([lam, a], axis=1))
    assert_close(value, lam, 1e-9, 1e-12, name="gated_update")


@holds("gated_update: from c = 0 to lam = 1, the logit of where it lands is a", a="B N")
def update_lands_at_the_gate(student, a):
    value = student.gated_update(np.ones_like(a), np.concatenate([np.zeros_like(a), a], axis=1))
    assert np.shape(value) == a.shape, f"gated_update has shape {np.shape(value)}, expected (B, n) = {a.shape}"
    assert np.all((value > 0) & (value < 1)), "it should land between c = 0 and lam = 1"
    assert_close(np.log(value / (1 - value)), a, 1e-9, 1e-9, name="the logit of where it lands")


@holds("gated_update: a logit of 1000 keeps lam, one of -1000 takes c", lam="B N", c="B N", logit=LOGITS)
def update_at_extreme_logits(student, lam, c, logit):
    value = student.gated_update(lam, np.concatenate([c, np.full_like(c, logit)], axis=1))
    assert_close(value, lam if logit > 0 else c, 1e-9, 1e-12, name="gated_update")


def update(lam, output):
    """gate = (1 + tanh(a / 2)) / 2 is the sigmoid again."""
    c, a = split(output)
    gate = (1 + np.tanh(a / 2)) / 2
    return gate * lam + (1 - gate) * c


@holds(
    "gated_backward: the derivative of sum(d_lam * lam_{t+1}) with respect to c and a",
    lam="B N",
    output="B 2N",
    d_lam="B N",
)
def backward_is_the_derivative(student, lam, output, d_lam):
    value = student.gated_backward(lam, output, d_lam)
    check_gradient(lambda output: (d_lam * update(lam, output)).sum(axis=1), output, value, "complex", 1e-9, 1e-9)


@holds(
    "gated_backward: at logits of +-1000 the gate does not move, and all is finite",
    lam="B N",
    c="B N",
    d_lam="B N",
    logit=LOGITS,
)
def backward_at_extreme_logits(student, lam, c, d_lam, logit):
    value = student.gated_backward(lam, np.concatenate([c, np.full_like(c, logit)], axis=1), d_lam)
    expected = np.concatenate([np.zeros_like(c) if logit > 0 else d_lam, np.zeros_like(c)], axis=1)
    assert_close(value, expected, 1e-9, 1e-12, name="gated_backward")
