"""What should hold of an LSTM's step: gates that are open or shut, and derivatives by the complex step."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds, parts, readable
from savi.testing import assert_close, check_gradient

STEP = {"x": "B X", "h": "B H", "c": "B H"}
PASS = STEP | {"W": "P 4H", "b": "4H"}


def step(x, h, c, W, b):
    """By tanh alone: sigmoid(a) = (1 + tanh(a / 2)) / 2."""
    a_i, a_f, a_o, a_g = np.split(np.concatenate([x, h], axis=1) @ W + b, 4, axis=1)
    c = (1 + np.tanh(a_f / 2)) / 2 * c + (1 + np.tanh(a_i / 2)) / 2 * np.tanh(a_g)
    return (1 + np.tanh(a_o / 2)) / 2 * np.tanh(c), c


def sized(x, h, W):
    """Weights of the right number of rows, (X + H, 4H), from those that were drawn."""
    return np.resize(W, (x.shape[1] + h.shape[1], W.shape[1]))


@holds(
    "lstm_step: without weights, a gate of +-1000 is open or shut, and c' = f c + i tanh(a_g)",
    opened=st.integers(0, 7),
    **STEP,
)
def gates_open_and_shut(student, opened, x, h, c):
    i, f, o = (opened >> k & 1 for k in range(3))
    ones, W = np.ones(h.shape[1]), np.zeros((x.shape[1] + h.shape[1], 4 * h.shape[1]))
    b = np.concatenate([(2000.0 * gate - 1000) * ones for gate in (i, f, o)] + [ones])
    h_new, c_new = parts(student.lstm_step(x, h, c, W, b), 2, "lstm_step")
    expected = f * c + i * np.tanh(1.0)
    assert_close(c_new, expected, 1e-9, 1e-12, name="c'")
    assert_close(h_new, o * np.tanh(expected), 1e-9, 1e-12, name="h'")


@holds("lstm_step: the logits of where c' and h' land are the gates' a", x="B X", h="B H", W="P 4H", b="4H")
def step_is_the_formula(student, x, h, W, b):
    W, c = sized(x, h, W), np.ones_like(h)
    found = parts(student.lstm_step(x, h, c, W, b), 2, "lstm_step")
    for name, value, expected in zip(("h'", "c'"), found, step(x, h, c, W, b)):
        assert_close(value, expected, 1e-9, 1e-12, name=name)


@holds(
    "lstm_backward: the derivative of sum(d_h h' + d_c c') with respect to each argument", d_h="B H", d_c="B H", **PASS
)
def backward_is_the_derivative(student, x, h, c, W, b, d_h, d_c):
    given = {"x": x, "h": h, "c": c, "W": sized(x, h, W), "b": b}
    found = parts(student.lstm_backward(*given.values(), d_h, d_c), 5, "lstm_backward")
    for (name, value), gradient in zip(given.items(), found):

        def f(moved, name=name):
            h_new, c_new = step(**given | {name: moved})
            return (d_h * h_new + d_c * c_new).sum()

        try:
            check_gradient(f, value, gradient, "complex", 1e-9, 1e-9)
        except AssertionError as error:
            raise AssertionError(f"d_{name}: {error}") from None


@holds(
    "token_error: the derivative of log softmax, also for logits around 1000",
    logits=readable([2, 3]),
    token=st.lists(st.integers(0, 2), min_size=2, max_size=2).map(np.array),
    far=st.sampled_from([0.0, 1000.0]),
)
def token_error_is_the_derivative(student, logits, token, far):
    def log_p(logits):
        return logits[[0, 1], token] - np.log(np.exp(logits).sum(axis=1))

    check_gradient(log_p, logits, student.token_error(logits + far, token), "complex", 1e-9, 1e-9)
