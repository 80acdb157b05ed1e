"""What should hold of a hierarchy's gradients: derivatives of the log densities by the complex step."""

import numpy as np

from savi.course.properties import holds
from savi.testing import assert_close, check_gradient


def log_density(z, lam):
    """log N(z; mu, exp(log_var)), entry by entry."""
    mu, log_var = np.split(lam, 2, axis=-1)
    return -0.5 * (np.log(2 * np.pi) + log_var + (z - mu) ** 2 / np.exp(log_var))


@holds("level_error: the derivative of log p(z^1 | z^2) with respect to mu_p", z="S B D", prior="S B 2D")
def level_error_is_the_derivative(student, z, prior):
    mu_p, log_var_p = np.split(prior, 2, axis=-1)

    def log_p(mu_p):
        return log_density(z, np.concatenate([mu_p, log_var_p + 0 * mu_p], axis=-1))

    check_gradient(log_p, mu_p, student.level_error(z, prior), "complex", 1e-9, 1e-9)


@holds("level_error: zero where the sample is what the level above expects", prior="S B 2D")
def level_error_is_zero_at_the_mean(student, prior):
    mu_p, _ = np.split(prior, 2, axis=-1)
    assert_close(student.level_error(mu_p, prior), np.zeros_like(mu_p), 0, 1e-9, name="level_error")


@holds("prior_variance_gradient: the derivative with respect to log s2_p", z="S B D", prior="S B 2D")
def prior_variance_gradient_is_the_derivative(student, z, prior):
    mu_p, log_var_p = np.split(prior, 2, axis=-1)

    def log_p(log_var_p):
        return log_density(z, np.concatenate([mu_p + 0 * log_var_p, log_var_p], axis=-1))

    check_gradient(log_p, log_var_p, student.prior_variance_gradient(z, prior), "complex", 1e-9, 1e-9)


@holds(
    "upper_gradient: the derivative of the mean of e . (z^2 W) + log p(z^2) - log q(z^2), e held fixed",
    lam="B 2A",
    noise="S B A",
    e="S B D",
    W="A D",
    prior="B 2A",
)
def upper_gradient_is_the_derivative(student, lam, noise, e, W, prior):
    def elbo(lam):
        mu, log_var = np.split(lam, 2, axis=-1)
        z = mu + np.exp(log_var / 2) * noise
        log_q = -0.5 * (np.log(2 * np.pi) + log_var + noise**2)
        return (np.sum(e * (z @ W), axis=-1) + np.sum(log_density(z, prior) - log_q, axis=-1)).mean(axis=0)

    check_gradient(elbo, lam, student.upper_gradient(lam, noise, e, W, prior), "complex", 1e-9, 1e-9)


@holds(
    "upper_gradient: a mean over samples, so that each sample taken twice changes nothing",
    lam="B 2A",
    noise="S B A",
    e="S B D",
    W="A D",
    prior="B 2A",
)
def upper_gradient_is_a_mean(student, lam, noise, e, W, prior):
    once = student.upper_gradient(lam, noise, e, W, prior)
    twice = student.upper_gradient(lam, np.repeat(noise, 2, axis=0), np.repeat(e, 2, axis=0), W, prior)
    assert_close(twice, once, 1e-9, 1e-9, name="the result with each sample taken twice")
