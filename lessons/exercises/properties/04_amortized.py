"""What should hold of the gap: expectations by quadrature over z, the encoder's derivatives by the complex step."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds, parts
from savi.testing import assert_close, check_gradient

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(8)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
GRID = np.linspace(-15, 15, 3001)
MODEL = {"x": "B M", "w": "M", "log_s2": st.sampled_from([0.0, -1.0, 1.0])}


def log_normal(value, mean, log_var):
    return -0.5 * (np.log(2 * np.pi) + log_var + (value - mean) ** 2 / np.exp(log_var))


def log_joint(z, x, w, log_s2):
    """log p(x, z), (nodes, B), for z (nodes, B)."""
    return log_normal(z, 0, 0) + log_normal(x, z[:, :, None] * w, log_s2).sum(axis=2)


def loss(lam, x, w, log_s2):
    """E_q[log q(z) - log p(x, z)] (B,), over the nodes."""
    mu, log_var = lam.T
    z = mu + np.exp(log_var / 2) * NODES[:, None]
    return WEIGHTS @ (log_normal(z, mu, log_var) - log_joint(z, x, w, log_s2))


def evidence(x, w, log_s2):
    """log p(x) (B,), an integral over a grid of z."""
    values = log_joint(GRID[:, None] + np.zeros(len(x)), x, w, log_s2)
    top = values.max(axis=0)
    return np.log(np.exp(values - top).sum(axis=0) * (GRID[1] - GRID[0])) + top


@holds("negative_elbo: the expectation of log q(z) - log p(x, z) under q", lam="B 2", **MODEL)
def loss_is_an_expectation(student, lam, x, w, log_s2):
    value = student.negative_elbo(lam, x, w, log_s2)
    assert_close(value, loss(lam, x, w, log_s2), 1e-9, 1e-9, name="negative_elbo")


@holds("best_lam: there -ELBO is -log p(x), the least that it can be", **MODEL)
def best_lam_reaches_the_evidence(student, x, w, log_s2):
    lam = student.best_lam(x, w, log_s2)
    assert np.shape(lam) == (len(x), 2), f"best_lam has shape {np.shape(lam)}, expected {(len(x), 2)}"
    assert_close(loss(lam, x, w, log_s2), -evidence(x, w, log_s2), 1e-8, 1e-8, name="-ELBO at best_lam")


@holds("amortization_gap: the KL from q to the exact posterior", lam="B 2", **MODEL)
def gap_is_a_divergence(student, lam, x, w, log_s2):
    expected = loss(lam, x, w, log_s2) + evidence(x, w, log_s2)
    assert_close(student.amortization_gap(lam, x, w, log_s2), expected, 1e-8, 1e-8, name="amortization_gap")


@holds(
    "encoder_gradient: the derivative of sum(d_lam * lam) with respect to each parameter",
    x="B M",
    W1="M H",
    b1="H",
    W2="H 2",
    b2="2",
    d_lam="B 2",
)
def encoder_gradient_is_the_derivative(student, x, W1, b1, W2, b2, d_lam):
    phi = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    gradients = parts(student.encoder_gradient(x, W1, b1, W2, b2, d_lam), 4, "encoder_gradient")
    for (name, value), gradient in zip(phi.items(), gradients):

        def f(moved, name=name):
            p = phi | {name: moved}
            return (d_lam * (np.tanh(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])).sum()

        try:
            check_gradient(f, value, gradient, "complex", 1e-9, 1e-9)
        except AssertionError as error:
            raise AssertionError(f"d_{name}: {error}") from None
