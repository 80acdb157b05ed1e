"""Gaussians against sample moments and quadrature, then against autograd, then against the complex step.  [E3], [E11]"""

import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi.models import gaussian
from savi.models.gaussian import AnalyticKL, PointMass, SampledKL
from savi.testing import arrays, assert_close, check_density, check_gradient, check_hvp, lams, sizes

KINDS = [AnalyticKL, SampledKL]
ROWS = 20_000  # rows of a Monte Carlo estimate
ERRORS = 6  # standard errors that an estimate may be off: by chance once in 5e8 comparisons


def normal(z, mu, var):
    """The density of a normal distribution, from the textbook."""
    return np.exp(-((z - mu) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var)


def assert_mean(rows, expected):
    """The mean of independent rows (n, ...) is `expected` within ERRORS standard errors, entry by entry."""
    allowed = ERRORS * rows.std(axis=0) / np.sqrt(len(rows)) + 1e-12
    worst = np.max(np.abs(rows.mean(axis=0) - expected) / allowed)
    assert worst <= 1, f"a mean is {ERRORS * worst:.1f} standard errors from what it estimates"


@st.composite
def points(draw, extreme=False):
    """(lam (B, 2D), prior (2D,), noise (S, B, D))."""
    B, S, D = (draw(sizes) for _ in range(3))
    return draw(lams(B, D, extreme)), draw(arrays((2 * D,), -1, 1)), draw(arrays((S, B, D)))


def kl_for_autograd(kind, lam, prior, noise):
    """Both forms of the KL term (B,) in autograd.numpy."""
    D = len(prior) // 2
    mu, log_var, mu_p, log_var_p = lam[:, :D], lam[:, D:], prior[:D], prior[D:]
    if kind is AnalyticKL:
        ratio = (anp.exp(log_var) + (mu - mu_p) ** 2) / anp.exp(log_var_p)
        return 0.5 * anp.sum(log_var_p - log_var + ratio - 1, axis=-1)
    z = mu + anp.exp(log_var / 2) * noise
    density = gaussian.normal_log_density
    return anp.mean(density(z, mu, log_var) - density(z, mu_p, log_var_p), axis=0)


# --- samples and densities ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mu, log_var", [(0.0, 0.0), (1.5, -2.0), (-3.0, 2.5)])
def test_samples_have_the_mean_and_the_variance_that_lam_says(mu, log_var):
    noise = np.random.default_rng(0).standard_normal((ROWS, 1, 1))
    z = gaussian.sample(np.array([[mu, log_var]]), noise)[:, 0, 0]
    assert_mean(z, mu)
    assert_mean((z - mu) ** 2, math.exp(log_var))


@pytest.mark.parametrize("lam", [(0.0, 0.0), (2.0, -1.5), (-1.0, 1.2), (0.5, -0.7, 0.4, -1.0)])
def test_the_density_integrates_to_one(lam):
    lam = np.array(lam)
    mu, sigma = lam[: len(lam) // 2], np.exp(lam[len(lam) // 2 :] / 2)
    grid = [np.linspace(m - 9 * s, m + 9 * s, 301) for m, s in zip(mu, sigma)]
    check_density(lambda z: gaussian.log_density(z, lam), grid=grid, rtol=1e-9)


@given(z=arrays((3,), -4, 4), lam=lams(1, 3))
def test_the_log_density_is_the_textbook_product_over_dimensions(z, lam):
    expected = sum(math.log(normal(z[d], lam[0, d], math.exp(lam[0, 3 + d]))) for d in range(3))
    assert_close(gaussian.log_density(z, lam[0]), expected, rtol=1e-12, atol=1e-12)


def test_the_log_density_broadcasts_samples_over_examples():
    rng = np.random.default_rng(0)
    z, lam = rng.normal(size=(5, 4, 2)), rng.normal(size=(4, 4))
    expected = [[gaussian.log_density(z[s, b], lam[b]) for b in range(4)] for s in range(5)]
    assert_close(gaussian.log_density(z, lam), expected, rtol=1e-15)


def test_split_gives_views_and_join_is_its_inverse():
    lam = np.arange(12.0).reshape(2, 6)
    mu, log_var = gaussian.split(lam)
    np.testing.assert_array_equal(gaussian.join(mu, log_var), lam)
    mu[0, 0], log_var[1, 2] = 100, 200
    assert lam[0, 0] == 100 and lam[1, 5] == 200


# --- the derivatives of a sample ----------------------------------------------------------------------------------------


@given(point=points(), data=st.data())
@settings(max_examples=50)
def test_sample_tangent_is_the_derivative_of_sample(point, data):
    lam, _, noise = point
    v = data.draw(arrays(lam.shape))
    expected = gaussian.sample(lam + 1e-20j * v, noise).imag / 1e-20
    assert_close(gaussian.sample_tangent(lam, gaussian.scaled_noise(lam, noise), v), expected, rtol=1e-12)


@given(point=points(extreme=True), data=st.data())
@settings(max_examples=50)
def test_sample_backward_is_the_adjoint_of_sample_tangent(point, data):
    lam, _, noise = point
    v, d_z = data.draw(arrays(lam.shape)), data.draw(arrays(noise.shape))
    sigma_e = gaussian.scaled_noise(lam, noise)
    forward, backward = gaussian.sample_tangent(lam, sigma_e, v) * d_z, v * gaussian.sample_backward(sigma_e, d_z)
    assert_close(forward.sum(), backward.sum(), rtol=0, atol=1e-12 * (1 + np.abs(forward).sum()))


@given(point=points())
@settings(max_examples=50)
def test_sample_backward_is_autograds_gradient(point):
    lam, _, noise = point
    D = noise.shape[-1]

    def f(lam):
        return anp.sum(anp.sin(lam[:, :D] + anp.exp(lam[:, D:] / 2) * noise))

    d_lam = gaussian.sample_backward(gaussian.scaled_noise(lam, noise), np.cos(gaussian.sample(lam, noise)))
    assert_close(d_lam, autograd.grad(f)(lam), rtol=1e-9, atol=1e-12)


@given(point=points(), data=st.data())
@settings(max_examples=50)
def test_reparameterized_hvp_is_the_derivative_of_sample_backward(point, data):
    lam, _, noise = point
    v = data.draw(arrays(lam.shape))

    def gradient(lam):
        return gaussian.sample_backward(gaussian.scaled_noise(lam, noise), np.cos(gaussian.sample(lam, noise)))

    def product(lam, v):
        z, sigma_e = gaussian.sample(lam, noise), gaussian.scaled_noise(lam, noise)
        d_z_dot = -np.sin(z) * gaussian.sample_tangent(lam, sigma_e, v)
        return gaussian.reparameterized_hvp(sigma_e, np.cos(z), d_z_dot, v)

    check_hvp(gradient, lam, v, product, method="complex", atol=1e-12)


# --- the KL term, by oracles that share no code -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lam, prior",
    [
        ((0.0, 0.0), (0.0, 0.0)),
        ((1.3, -1.0), (0.0, 0.0)),
        ((-0.7, 0.8), (0.4, -0.5)),
        ((0.5, -0.6, -1.2, 0.4), (0.1, 0.3, 0.5, -0.4)),
    ],
)
def test_the_analytic_kl_is_the_integral_of_q_times_log_q_over_p(lam, prior):
    lam, prior = np.array(lam), np.array(prior)
    D = len(lam) // 2
    mu, var, mu_p, var_p = lam[:D], np.exp(lam[D:]), prior[:D], np.exp(prior[D:])
    axes = [np.linspace(m - 10 * v**0.5, m + 10 * v**0.5, 401) for m, v in zip(mu, var)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    q, p = normal(grid, mu, var).prod(axis=-1), normal(grid, mu_p, var_p).prod(axis=-1)
    values = q * np.log(q / p)
    for axis in reversed(axes):
        values = np.sum((values[..., 1:] + values[..., :-1]) / 2 * np.diff(axis), axis=-1)
    assert_close(AnalyticKL.value(lam[None], prior), [values], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("prior", [(0.0, 0.0, 0.0, 0.0), (0.5, -1.0, 0.6, -0.4)])
def test_the_sampled_kl_and_its_derivatives_have_the_analytic_ones_as_their_means(prior):
    lam, v, prior = np.array([[0.8, -0.5, -0.7, 0.3]]), np.array([[1.0, -2.0, 0.5, 1.5]]), np.array(prior)
    rows, noise = np.repeat(lam, ROWS, axis=0), np.random.default_rng(1).standard_normal((1, ROWS, 2))
    assert_mean(SampledKL.value(rows, prior, noise), AnalyticKL.value(lam, prior)[0])
    assert_mean(SampledKL.gradient(rows, prior, noise), AnalyticKL.gradient(lam, prior)[0])
    v_rows = np.repeat(v, ROWS, axis=0)
    assert_mean(SampledKL.hvp(rows, prior, noise, v_rows), AnalyticKL.hvp(lam, prior, None, v)[0])


def test_the_sampled_kl_of_many_samples_is_the_mean_of_those_of_one():
    rng = np.random.default_rng(0)
    lam, prior, noise, v = (
        rng.normal(size=(3, 4)),
        rng.normal(size=4),
        rng.normal(size=(5, 3, 2)),
        rng.normal(size=(3, 4)),
    )
    for function, arguments in ((SampledKL.value, ()), (SampledKL.gradient, ()), (SampledKL.hvp, (v,))):
        single = [function(lam, prior, noise[s : s + 1], *arguments) for s in range(5)]
        assert_close(function(lam, prior, noise, *arguments), np.mean(single, axis=0), rtol=1e-12)


@given(lam=lams(3, 2, extreme=True), prior=lams(1, 2))
def test_the_analytic_kl_is_never_negative(lam, prior):
    assert np.all(AnalyticKL.value(lam, prior[0]) >= 0)


@given(lam=lams(3, 2, extreme=True))
def test_the_analytic_kl_of_a_gaussian_from_itself_and_its_gradient_are_zero(lam):
    assert_close(AnalyticKL.value(lam, lam), np.zeros(3))
    assert_close(AnalyticKL.gradient(lam, lam), np.zeros((3, 4)))


def test_the_analytic_kl_keeps_its_digits_where_q_is_almost_p():
    d = 1e-4
    series = d**2 / 4 + d**3 / 12 + d**4 / 48  # (exp(d) - 1 - d) / 2
    assert_close(AnalyticKL.value(np.array([[0.0, d]]), np.zeros(2)), [series], rtol=1e-9)


# --- the KL term against autograd and the complex step ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(point=points(extreme=True), data=st.data())
@settings(max_examples=50)
def test_the_kl_and_its_derivatives_are_autograds(kind, point, data):
    lam, prior, noise = point
    v = data.draw(arrays(lam.shape))

    def value(lam):
        return kl_for_autograd(kind, lam, prior, noise)

    expected = value(lam)
    atol = 1e-12 * (1 + np.abs(expected).max())
    assert_close(kind.value(lam, prior, noise), expected, rtol=1e-9, atol=atol)
    assert_close(kind.gradient(lam, prior, noise), autograd.elementwise_grad(value)(lam), rtol=1e-9, atol=atol)
    directional = autograd.grad(lambda lam: anp.sum(autograd.elementwise_grad(value)(lam) * v))
    assert_close(kind.hvp(lam, prior, noise, v), directional(lam), rtol=1e-9, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
@given(point=points(), data=st.data())
@settings(max_examples=50)
def test_the_kl_and_its_derivatives_agree_by_complex_step(kind, point, data):
    lam, prior, noise = point
    v = data.draw(arrays(lam.shape))
    check_gradient(
        lambda lam: kind.value(lam, prior, noise), lam, kind.gradient(lam, prior, noise), "complex", atol=1e-12
    )
    check_hvp(
        lambda lam: kind.gradient(lam, prior, noise),
        lam,
        v,
        lambda lam, v: kind.hvp(lam, prior, noise, v),
        method="complex",
        atol=1e-12,
    )


# --- precision ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, rtol", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("log_var", [-30.0, 30.0])
def test_at_extreme_variances_the_analytic_kl_is_finite_and_right(log_var, dtype, rtol):
    lam, prior, v = (np.array(a, dtype) for a in ([[2.0, log_var]], [0.0, 0.0], [[1.0, 1.0]]))
    var = math.exp(log_var)
    assert_close(AnalyticKL.value(lam, prior), [0.5 * (var + 4 - 1 - log_var)], rtol)
    assert_close(AnalyticKL.gradient(lam, prior), [[2.0, (var - 1) / 2]], rtol)
    assert_close(AnalyticKL.hvp(lam, prior, None, v), [[1.0, var / 2]], rtol)


@pytest.mark.parametrize("dtype, rtol", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("log_var", [-30.0, 30.0])
def test_at_extreme_variances_the_sampled_kl_is_finite_and_right(log_var, dtype, rtol):
    lam, prior, v = (np.array(a, dtype) for a in ([[2.0, log_var]], [0.0, 0.0], [[1.0, 1.0]]))
    noise = np.full((1, 1, 1), 1.5, dtype)
    sigma_e = 1.5 * math.exp(log_var / 2)
    z = 2 + sigma_e
    assert_close(SampledKL.value(lam, prior, noise), [z**2 / 2 - (1.5**2 + log_var) / 2], rtol)
    assert_close(SampledKL.gradient(lam, prior, noise), [[z, z * sigma_e / 2 - 0.5]], rtol)
    expected = [[1 + sigma_e / 2, sigma_e * (1 + sigma_e / 2) / 2 + z * sigma_e / 4]]
    assert_close(SampledKL.hvp(lam, prior, noise, v), expected, rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_every_function_keeps_the_precision_it_is_given(dtype):
    rng = np.random.default_rng(0)
    real = np.zeros(0, dtype).real.dtype
    lam, v = rng.normal(size=(3, 4)).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
    prior, noise = rng.normal(size=4).astype(real), rng.normal(size=(2, 3, 2)).astype(real)
    sigma_e, z = gaussian.scaled_noise(lam, noise), gaussian.sample(lam, noise)
    results = [sigma_e, z, gaussian.sample_tangent(lam, sigma_e, v), gaussian.sample_backward(sigma_e, z)]
    results += [gaussian.log_density(z, lam), gaussian.reparameterized_hvp(sigma_e, z, z, v)]
    for kind in KINDS:
        results += [kind.value(lam, prior, noise), kind.gradient(lam, prior, noise), kind.hvp(lam, prior, noise, v)]
    assert [r.dtype for r in results] == [np.dtype(dtype)] * len(results)


@given(point=points(), data=st.data())
@settings(max_examples=30)
def test_a_point_mass_has_the_gradient_and_the_product_of_minus_log_prior(point, data):
    lam, prior, noise = point
    v = data.draw(arrays(lam.shape))
    assert_close(PointMass.value(lam, prior), -gaussian.log_density(gaussian.split(lam)[0], prior), rtol=1e-14)
    check_gradient(lambda lam: PointMass.value(lam, prior), lam, PointMass.gradient(lam, prior), "complex")
    moved = PointMass.gradient(lam + 1e-20j * v, prior).imag / 1e-20
    assert_close(PointMass.hvp(lam, prior, noise, v), moved, rtol=1e-12, atol=1e-14)
