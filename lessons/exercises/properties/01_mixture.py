"""What should hold of a mixture: integrals over a grid, and sums over all components."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds, readable
from savi.testing import assert_close

GRID = np.linspace(-40, 40, 1601)
STEP = GRID[1] - GRID[0]
MIXTURE = {"logits": "K", "mu": "K", "log_var": "K"}


def joint(x, logits, mu, log_var):
    """p(x, k) (B, K), without logarithms."""
    weight = np.exp(logits) / np.exp(logits).sum()
    return weight * np.exp(-((x[:, None] - mu) ** 2) / (2 * np.exp(log_var))) / np.sqrt(2 * np.pi * np.exp(log_var))


@holds("log_joint: exp of it, integrated over x, is the weight of each component", **MIXTURE)
def joint_integrates_to_the_weights(student, logits, mu, log_var):
    mass = np.exp(_on_grid(student, logits, mu, log_var)).sum(axis=0) * STEP
    assert_close(mass, np.exp(logits) / np.exp(logits).sum(), 1e-9, name="the integral of exp(log_joint)")


@holds("log_joint: within component k, x has the mean mu[k] and the variance exp(log_var[k])", **MIXTURE)
def joint_has_the_moments(student, logits, mu, log_var):
    p = np.exp(_on_grid(student, logits, mu, log_var))
    p = p / p.sum(axis=0)
    assert_close(GRID @ p, mu, 1e-9, 1e-9, name="the mean of x in each component")
    assert_close(((GRID[:, None] - mu) ** 2 * p).sum(axis=0), np.exp(log_var), 1e-9, name="the variance of x in each")


def _on_grid(student, logits, mu, log_var):
    values = student.log_joint(GRID, logits, mu, log_var)
    shape = (len(GRID), len(mu))
    assert np.shape(values) == shape, f"log_joint has shape {np.shape(values)}, expected (B, K) = {shape}"
    return values


@holds("log_likelihood: exp of it is the sum of p(x, k) over all components", x="B", **MIXTURE)
def likelihood_is_a_sum(student, x, logits, mu, log_var):
    expected = np.log(joint(x, logits, mu, log_var).sum(axis=1))
    assert_close(student.log_likelihood(x, logits, mu, log_var), expected, 1e-9, 1e-9, name="log_likelihood")


FAR = {"x": st.permutations([-1000.0, 0.0, 1000.0]).map(np.array)}


@holds("log_likelihood: K equal components are one Gaussian, for x = -1000, 0 and 1000 in one batch", logits="K", **FAR)
def likelihood_is_stable(student, x, logits):
    value = student.log_likelihood(x, logits, np.zeros(len(logits)), np.zeros(len(logits)))
    assert_close(value, -0.5 * (np.log(2 * np.pi) + x**2), 1e-12, name="log_likelihood")


@holds("responsibilities: p(x, k) over its sum", x="B", **MIXTURE)
def responsibilities_are_bayes_rule(student, x, logits, mu, log_var):
    p = joint(x, logits, mu, log_var)
    value = student.responsibilities(x, logits, mu, log_var)
    assert_close(value, p / p.sum(axis=1, keepdims=True), 1e-9, name="responsibilities")


@holds(
    "responsibilities: one over the sum of all p(x, j) / p(x, k), for x = -1000, 0 and 1000 in one batch",
    **FAR,
    **MIXTURE,
)
def responsibilities_are_stable(student, x, logits, mu, log_var):
    terms = logits - log_var / 2 - (x[:, None] - mu) ** 2 / (2 * np.exp(log_var))  # log p(x, k) + const
    ratios = np.exp(terms[:, None, :] - terms[:, :, None])  # (B, k, j), infinite where k has no share at all
    value = student.responsibilities(x, logits, mu, log_var)
    assert_close(value, 1 / ratios.sum(axis=2), 1e-9, 1e-12, name="responsibilities")


@holds(
    "elbo: log p(x) - KL(q || p(k | x)), whatever q is",
    x="2",
    q=readable([2, 3], 1, 5).map(lambda q: q / q.sum(axis=1, keepdims=True)),
    logits="3",
    mu="3",
    log_var="3",
)
def elbo_is_a_bound(student, x, q, logits, mu, log_var):
    p = joint(x, logits, mu, log_var)
    evidence = p.sum(axis=1)
    kl = (q * np.log(q * evidence[:, None] / p)).sum(axis=1)
    assert_close(student.elbo(q, x, logits, mu, log_var), np.log(evidence) - kl, 1e-9, 1e-9, name="elbo")


@holds(
    "elbo: for a q that is sure of component k it is log p(x, k), as 0 log 0 = 0",
    k=st.integers(0, 2),
    x="1",
    logits="3",
    mu="3",
    log_var="3",
)
def elbo_of_a_sure_q(student, k, x, logits, mu, log_var):
    value = student.elbo(np.eye(3)[[k]], x, logits, mu, log_var)
    assert_close(value, np.log(joint(x, logits, mu, log_var)[:, k]), 1e-9, 1e-9, name="elbo")
