"""What should hold of five functions that were mended: moments, differences, sums and integrals that no copy of a bug has."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds, readable
from savi.testing import assert_close, check_gradient

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(8)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@holds("sample: over the noise its mean is mu and its variance is exp(log_var)", lam="B 2D")
def sample_has_the_moments(student, lam):
    mu, log_var = np.split(lam, 2, axis=1)
    z = student.sample(lam, NODES[:, None, None] * np.ones_like(mu))
    assert np.shape(z) == (8, *mu.shape), f"sample has shape {np.shape(z)}, expected (S, B, D) = {(8, *mu.shape)}"
    mean = np.tensordot(WEIGHTS, z, 1)
    assert_close(mean, mu, 1e-9, 1e-9, name="the mean of the samples")
    assert_close(np.tensordot(WEIGHTS, (z - mean) ** 2, 1), np.exp(log_var), 1e-9, name="the variance of the samples")


@holds("clipped_vjp: the derivative of sum(u * clipped g)", g="B N", u="B N", clip=st.sampled_from([1.1, 0.3, 4.1]))
def clipped_vjp_is_the_derivative(student, g, u, clip):
    def clipped(g):
        norm = np.sqrt((g * g).sum(axis=1, keepdims=True))
        longer = norm.real > clip
        return np.where(longer, g * clip / np.where(longer, norm, 1), g)

    check_gradient(lambda g: (u * clipped(g)).sum(axis=1), g, student.clipped_vjp(g, clip, u), "complex", 1e-9, 1e-9)


def is_close(student, expected, *arguments):
    value = student.close(*arguments)
    assert np.shape(value) == (), f"close has shape {np.shape(value)}, expected ()"
    assert value == expected, f"close is {value}; it should be {expected}"


@holds(
    "close: without atol the scale does not matter: a factor of 1 + error is close where error <= rtol",
    b=readable([3], 1, 3),
    scale=st.sampled_from([1e-8, 1.0, 1e8]),
    error=st.sampled_from([0.0, 1e-9, 1e-5, 1e-3, 1.5]),
    rtol=st.sampled_from([1e-8, 1e-4]),
)
def close_is_relative(student, b, scale, error, rtol):
    is_close(student, error <= rtol, scale * b * (1 + error), scale * b, rtol, 0.0)


@holds(
    "close: rtol |b| and atol are added up, and NaN is close to nothing",
    size=st.sampled_from([0.0, 1.0]),
    error=st.sampled_from([0.5, 1.5, 2.5, float("nan")]),
)
def close_adds_both(student, size, error):
    b = np.array([size, 0.0])
    is_close(student, error <= 1 + size, b + np.array([0.0, 1e-3 * error]), b, 1e-3, 1e-3)


@holds("log_density: exp of it integrates to one over z, be it as narrow as it may", log_var=st.sampled_from([-14.0, -8.0, 2.0]),
       mu=st.sampled_from([0.0, 1.0]))  # fmt: skip
def density_integrates_to_one(student, log_var, mu):
    grid = np.exp(log_var / 2) * np.linspace(-12, 12, 2001)
    value = student.log_density(mu + grid[:, None, None], np.array([[mu, log_var]]))
    assert np.shape(value) == (2001, 1), f"log_density has shape {np.shape(value)}, expected (S, B) = (2001, 1)"
    assert_close(
        np.exp(value).sum(axis=0) * (grid[1] - grid[0]), np.ones(1), 1e-9, name="the integral of exp(log_density)"
    )


@holds(
    "log_density: its difference from the density at mu is -sum((z - mu)^2 / exp(log_var)) / 2", z="S B D", lam="B 2D"
)
def density_is_gaussian(student, z, lam):
    mu, log_var = np.split(lam, 2, axis=1)
    value = student.log_density(z, lam) - student.log_density(mu[None], lam)
    assert_close(
        value, -((z - mu) ** 2 / np.exp(log_var)).sum(axis=2) / 2, 1e-9, 1e-9, name="log_density(z) - log_density(mu)"
    )


@holds("importance_bound: exp of it is the mean of the weights, also around +-1000", log_weights="S B",
       far=st.sampled_from([0.0, 1000.0, -1000.0]))  # fmt: skip
def bound_is_a_mean_of_weights(student, log_weights, far):
    value = student.importance_bound(log_weights + far)
    expected = far + np.log(np.exp(log_weights).mean(axis=0))
    assert_close(value, expected, 1e-9, 1e-9, name="importance_bound")
