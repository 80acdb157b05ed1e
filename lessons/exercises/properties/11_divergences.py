"""What should hold of both losses: integrals by quadrature, and a posterior that is known."""

import numpy as np

from savi.course.properties import holds, readable
from savi.testing import assert_close, check_gradient

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(8)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
GRID = np.linspace(-40, 40, 1601)
PHI, MODEL = readable([3], -1, 1), readable([3], -1, 1)


def log_normal(value, mean, log_sd):
    return -0.5 * np.log(2 * np.pi) - log_sd - (value - mean) ** 2 / (2 * np.exp(2 * log_sd))


def negative_elbo(phi, y, model):
    """E_q[log q(x | y) - log p(x, y)] (N,), over the nodes."""
    a, b, log_c = phi
    mu_0, log_s_0, log_s = model
    x = a * y + b + np.exp(log_c) * NODES[:, None]
    return WEIGHTS @ (log_normal(x, a * y + b, log_c) - log_normal(x, mu_0, log_s_0) - log_normal(y, x, log_s))


def posterior(model):
    """The phi of p(x | y)."""
    mu_0, v_0, v = model[0], np.exp(2 * model[1]), np.exp(2 * model[2])
    return np.array([v_0 / (v_0 + v), mu_0 * v / (v_0 + v), 0.5 * np.log(v_0 * v / (v_0 + v))])


@holds(
    "inclusive_loss: for each y, exp(-loss) is a density over x, of mean a y + b and standard deviation c",
    phi=PHI,
    y="2",
)
def inclusive_loss_is_a_density(student, phi, y):
    x, mean = np.tile(GRID, 2), phi[0] * y + phi[1]
    value = student.inclusive_loss(phi, x, np.repeat(y, len(GRID)))
    assert np.shape(value) == x.shape, f"inclusive_loss has shape {np.shape(value)}, expected (N,) = {x.shape}"
    p = np.exp(-value).reshape(2, -1) * (GRID[1] - GRID[0])
    assert_close(p.sum(axis=1), np.ones(2), 1e-9, name="the integral of exp(-loss)")
    assert_close(p @ GRID, mean, 1e-9, 1e-9, name="the mean of x")
    variance = (p * (GRID - mean[:, None]) ** 2).sum(axis=1)
    assert_close(np.sqrt(variance), np.exp(phi[[2, 2]]), 1e-9, name="the standard deviation of x")


@holds("inclusive_gradient: the derivative of the mean loss", phi=PHI, x="N", y="N")
def inclusive_gradient_is_the_derivative(student, phi, x, y):
    def mean_loss(phi):
        return -log_normal(x, phi[0] * y + phi[1], phi[2]).mean()

    check_gradient(mean_loss, phi, student.inclusive_gradient(phi, x, y), "complex", 1e-9, 1e-9)


@holds("inclusive_gradient: zero at the exact posterior, over pairs with the moments of the joint", model=MODEL)
def inclusive_gradient_is_zero_at_the_posterior(student, model):
    e, e_y = np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])
    x = model[0] + np.exp(model[1]) * e
    y = x + np.exp(model[2]) * e_y
    assert_close(student.inclusive_gradient(posterior(model), x, y), np.zeros(3), 0, 1e-9, name="inclusive_gradient")


@holds("exclusive_loss: the expectation of log q(x | y) - log p(x, y) under q", phi=PHI, y="N", model=MODEL)
def exclusive_loss_is_an_expectation(student, phi, y, model):
    value = student.exclusive_loss(phi, y, model)
    assert_close(value, negative_elbo(phi, y, model), 1e-9, 1e-9, name="exclusive_loss")


@holds("exclusive_loss: at the exact posterior it is -log p(y), y ~ N(mu_0, s_0^2 + s^2)", y="N", model=MODEL)
def exclusive_loss_reaches_the_evidence(student, y, model):
    log_sd = 0.5 * np.log(np.exp(2 * model[1]) + np.exp(2 * model[2]))
    value = student.exclusive_loss(posterior(model), y, model)
    assert_close(value, -log_normal(y, model[0], log_sd), 1e-9, 1e-9, name="exclusive_loss")


@holds("exclusive_gradient: the derivative of the mean loss", phi=PHI, y="N", model=MODEL)
def exclusive_gradient_is_the_derivative(student, phi, y, model):
    def mean_loss(phi):
        return negative_elbo(phi, y, model).mean()

    check_gradient(mean_loss, phi, student.exclusive_gradient(phi, y, model), "complex", 1e-9, 1e-9)


@holds("exclusive_gradient: zero at the exact posterior, for any y at all", y="N", model=MODEL)
def exclusive_gradient_is_zero_at_the_posterior(student, y, model):
    value = student.exclusive_gradient(posterior(model), y, model)
    assert_close(value, np.zeros(3), 0, 1e-9, name="exclusive_gradient")
