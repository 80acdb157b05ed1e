"""What should hold of the gradients: expectations by Gauss-Hermite quadrature, derivatives by the complex step."""

import numpy as np

from savi.course.properties import holds
from savi.testing import assert_close, check_gradient

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(8)  # exact for polynomials of the noise up to degree 15
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def halves(lam):
    return np.split(lam, 2, axis=-1)


def log_density(z, lam):
    mu, log_var = halves(lam)
    return -0.5 * (np.log(2 * np.pi) + log_var + (z - mu) ** 2 / np.exp(log_var)).sum(axis=-1)


def at_nodes(lam):
    """z (8, B, D) at the nodes, in all dimensions at once."""
    mu, log_var = halves(lam)
    return mu + np.exp(log_var / 2) * NODES[:, None, None]


def expected_kl(lam, prior):
    """E_q[log q(z) - log p(z)] (B,): both are sums over dimensions of quadratics, so the same nodes serve all of them."""
    z = at_nodes(lam)
    return WEIGHTS @ (log_density(z, lam) - log_density(z, prior))


@holds("sample: its mean is mu, its variance is exp(log_var), and it grows with the noise", lam="B 2D")
def sample_has_the_moments(student, lam):
    mu, log_var = halves(lam)
    z = student.sample(lam, NODES[:, None, None] * np.ones_like(mu))
    assert np.shape(z) == (8, *mu.shape), f"sample has shape {np.shape(z)}, expected (S, B, D) = {(8, *mu.shape)}"
    mean = np.tensordot(WEIGHTS, z, 1)
    assert_close(mean, mu, 1e-9, 1e-9, name="the mean of the samples")
    assert_close(np.tensordot(WEIGHTS, (z - mean) ** 2, 1), np.exp(log_var), 1e-9, name="the variance of the samples")
    assert np.all(z[-1] > z[0]), "larger noise should give a larger z"


@holds("kl: the expectation of log q(z) - log p(z) under q, for each example", lam="B 2D", prior="B 2D")
def kl_is_an_expectation(student, lam, prior):
    assert_close(student.kl(lam, prior), expected_kl(lam, prior), 1e-9, 1e-9, name="kl")


@holds("kl: zero from a Gaussian to itself", lam="B 2D")
def kl_to_itself_is_zero(student, lam):
    assert_close(student.kl(lam, lam), np.zeros(len(lam)), 0, 1e-9, name="kl")


@holds("kl_gradient: the derivative of the KL with respect to mu and log_var", lam="B 2D", prior="B 2D")
def kl_gradient_is_the_derivative(student, lam, prior):
    check_gradient(lambda lam: expected_kl(lam, prior), lam, student.kl_gradient(lam, prior), "complex", 1e-9, 1e-9)


@holds("kl_gradient: zero where q is the prior", lam="B 2D")
def kl_gradient_is_zero_at_the_prior(student, lam):
    assert_close(student.kl_gradient(lam, lam), np.zeros_like(lam), 0, 1e-9, name="kl_gradient")


@holds(
    "reparameterized_gradient: the derivative of the mean over the samples, for h(z) = sum(sin(w z))",
    lam="B 2D",
    noise="S B D",
    w="B D",
)
def reparameterized_gradient_is_the_derivative(student, lam, noise, w):
    def mean_of_h(lam):
        mu, log_var = halves(lam)
        return np.sin(w * (mu + np.exp(log_var / 2) * noise)).mean(axis=0).sum(axis=-1)

    mu, log_var = halves(lam)
    d_z = w * np.cos(w * (mu + np.exp(log_var / 2) * noise))
    check_gradient(mean_of_h, lam, student.reparameterized_gradient(lam, noise, d_z), "complex", 1e-9, 1e-9)


@holds(
    "reparameterized_gradient: a mean over samples, so that each sample taken twice changes nothing",
    lam="B 2D",
    noise="S B D",
    d_z="S B D",
)
def reparameterized_gradient_is_a_mean(student, lam, noise, d_z):
    once = student.reparameterized_gradient(lam, noise, d_z)
    twice = student.reparameterized_gradient(lam, np.repeat(noise, 2, axis=0), np.repeat(d_z, 2, axis=0))
    assert_close(twice, once, 1e-9, 1e-9, name="the result with each sample taken twice")
