"""Likelihoods against enumeration and quadrature, then against autograd, then against the complex step.  [E7]-[E9]"""

import itertools
import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi.engine.files import InputError
from savi.models.discrete import Categorical, Multinomial, Poisson, log_factorial
from savi.models.likelihoods import Bernoulli, Gaussian, sum_softplus
from savi.nets.activations import softplus
from savi.testing import arrays, assert_close, check_density, check_gradient, observations, sizes

ALL = [Bernoulli(), Multinomial(), Gaussian("global"), Gaussian("per_dimension"), Gaussian("from_z"), Poisson()]
EVERY_LIKELIHOOD = pytest.mark.parametrize("likelihood", ALL, ids=repr)
EVERY_GAUSSIAN = pytest.mark.parametrize("likelihood", ALL[2:5], ids=repr)
DISCRETE = [Bernoulli(), Multinomial(), Poisson()]
EXTREMES = {"Gaussian": (-12.0, 12.0), "Poisson": (-1e4, 12.0)}  # of the outputs; elsewhere logits of +-1e4
COUNTS = 4  # n of the multinomials that are enumerated


@st.composite
def cases(draw, likelihood, extreme=False):
    """(out (S, B, O), x (B, M), eta (E,), out_dot (S, B, O))."""
    S, B, M = draw(sizes), draw(sizes), draw(sizes)
    shape = (S, B, likelihood.outputs(M))
    extremes = EXTREMES.get(type(likelihood).__name__, (-1e4, 1e4)) if extreme else ()
    out, out_dot = draw(arrays(shape, extremes=extremes)), draw(arrays(shape))
    return out, draw(observations(likelihood, B, M)), draw(arrays((likelihood.size(M),))), out_dot


def support(likelihood, data_dim):
    """Every x of a discrete likelihood: all binary vectors, all vectors of COUNTS counts; of Poissons, all likely ones."""
    if isinstance(likelihood, Bernoulli):
        return np.array(list(itertools.product([0.0, 1.0], repeat=data_dim)))
    if isinstance(likelihood, Poisson):  # rates below 2.8: what lies above has a probability below 1e-16
        return np.array(list(itertools.product(np.arange(28.0), repeat=data_dim)))
    counts = itertools.product(range(COUNTS + 1), repeat=data_dim)
    return np.array([c for c in counts if sum(c) == COUNTS], dtype=float)


def log_mass(likelihood, out, x):
    """log p(x | out) of each row of x, the count coefficient of a Multinomial added back."""
    coefficient = 0.0
    if isinstance(likelihood, Multinomial):
        coefficient = [math.lgamma(sum(row) + 1) - sum(math.lgamma(c + 1) for c in row) for row in x]
    return likelihood.log_prob(out, x) + np.array(coefficient)


def error_of(likelihood, out, x, eta=None):
    """The error alone; `error` writes over its argument."""
    return likelihood.error(out.copy(), x, eta)[0]


def tangent_of(likelihood, out, x, eta, out_dot):
    """The error's tangent alone."""
    error, kept = likelihood.error(out.copy(), x, eta)
    return likelihood.tangent(error, kept, x, eta, out_dot.copy())


# --- by enumeration and quadrature --------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", DISCRETE, ids=repr)
@given(data=st.data())
def test_probabilities_sum_to_one_over_the_support(likelihood, data):
    M, poisson = data.draw(sizes), isinstance(likelihood, Poisson)
    M = min(M, 2) if poisson else M
    out = data.draw(arrays((M,), high=1 if poisson else 3, extremes=(-1e4,) if poisson else (-1e4, 1e4)))
    rtol = 1e-12 + np.finfo(float).eps * np.abs(out).sum()  # x a and softplus(a) nearly cancel where a is 1e4
    check_density(lambda x: log_mass(likelihood, out, x), support=support(likelihood, M), rtol=rtol)


@EVERY_GAUSSIAN
@pytest.mark.parametrize("data_dim", [1, 2])
def test_the_gaussian_integrates_to_one(likelihood, data_dim):
    mu, log_var = np.array([0.7, -1.0])[:data_dim], np.array([0.4, -0.9])[:data_dim]
    out = np.concatenate([mu, log_var]) if likelihood.variance == "from_z" else mu
    grid = [np.linspace(m - 15, m + 15, 601) for m in mu]
    check_density(lambda x: likelihood.log_prob(out, x, log_var[: likelihood.size(data_dim)]), grid=grid, rtol=1e-9)


@pytest.mark.parametrize("likelihood", DISCRETE, ids=repr)
@given(data=st.data())
@settings(max_examples=50)
def test_mean_error_and_tangent_are_the_moments_of_the_enumerated_distribution(likelihood, data):
    M, poisson = data.draw(sizes), isinstance(likelihood, Poisson)
    M = min(M, 2) if poisson else M
    out, v = data.draw(arrays((M,), high=1 if poisson else 3)), data.draw(arrays((M,)))
    x = support(likelihood, M)
    p = np.exp(log_mass(likelihood, out, x))[:, None]
    n = COUNTS if isinstance(likelihood, Multinomial) else 1
    outs = np.tile(out, (len(x), 1))
    error = error_of(likelihood, outs, x)
    tangent = tangent_of(likelihood, outs, x, np.zeros(0), np.tile(v, (len(x), 1)))
    assert_close((p * x).sum(axis=0), n * likelihood.mean(out), rtol=1e-12, name="the mean")
    assert_close((p * error).sum(axis=0), np.zeros(M), atol=1e-12, name="the mean of the score")
    fisher = (p * error * (error @ v)[:, None]).sum(axis=0)  # E[score score^T] v = -E[Hessian] v
    assert_close((p * tangent).sum(axis=0), -fisher, rtol=1e-12, atol=1e-12, name="the Fisher information")


@EVERY_GAUSSIAN
@given(data=st.data())
@settings(max_examples=30)
def test_the_gaussian_is_the_textbook_product_over_dimensions(likelihood, data):
    M = data.draw(sizes)
    x, mu, log_var = data.draw(arrays((3, M)))
    out = np.concatenate([mu, log_var]) if likelihood.variance == "from_z" else mu
    eta = log_var[: likelihood.size(M)]
    if likelihood.variance == "global":
        log_var = np.full(M, eta[0])
    expected = sum(
        -math.log(2 * math.pi * math.exp(v)) / 2 - (a - m) ** 2 / (2 * math.exp(v)) for a, m, v in zip(x, mu, log_var)
    )
    assert_close(likelihood.log_prob(out, x, eta), expected, rtol=1e-12, atol=1e-12)
    assert_close(likelihood.mean(out, eta), mu)


# --- against autograd ---------------------------------------------------------------------------------------------------


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=25)
def test_log_prob_and_error_are_the_references(likelihood, data):
    out, x, eta, _ = data.draw(cases(likelihood, extreme=True))
    expected = likelihood.reference(out, x, eta)
    atol = 1e-12 * (1 + np.abs(expected).max())
    assert_close(likelihood.log_prob(out, x, eta), expected, rtol=1e-9, atol=atol)
    d_out, d_eta = autograd.grad(lambda out, eta: anp.sum(likelihood.reference(out, x, eta)), (0, 1))(out, eta)
    error = error_of(likelihood, out, x, eta)
    assert_close(error, d_out, rtol=1e-9, atol=atol, name="error")
    assert_close(likelihood.eta_error(error, eta).sum(axis=(0, 1)), d_eta, rtol=1e-9, atol=atol, name="eta_error")


def check_both(likelihood, out, x, eta):
    """log_prob_and_error is log_prob and error: to rounding, of the largest term that they are sums of."""
    log_p, kept_apart = likelihood.log_prob(out, x, eta), likelihood.error(out.copy(), x, eta)
    both, error, kept = likelihood.log_prob_and_error(written := out.copy(), x, eta)
    assert error is written and error.dtype == both.dtype == out.dtype and both.shape == log_p.shape
    eps = np.finfo(out.dtype).eps
    largest = 1 + np.abs(out).max() * (1 + np.abs(x).max())
    assert_close(both, log_p, rtol=1e4 * eps, atol=1e3 * eps * largest, name="log_prob")
    assert_close(error, kept_apart[0], rtol=1e4 * eps, atol=100 * eps * (1 + np.abs(x).max()), name="error")
    for one, other in zip(np.atleast_1d(kept), np.atleast_1d(kept_apart[1])):
        assert one is other is None or np.array_equal(one, other)


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=25)
def test_log_prob_and_error_at_once_are_the_two(likelihood, data):
    out, x, eta, _ = data.draw(cases(likelihood, extreme=data.draw(st.booleans())))
    check_both(likelihood, out, x, eta)
    check_both(likelihood, out.clip(-100, 12).astype(complex), x, eta)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, complex])
def test_they_are_where_a_place_has_no_token(dtype):
    rng = np.random.default_rng(0)
    out, x = rng.normal(0, 3, (3, 2, 4, 5)).astype(dtype), np.array([[0, 4, -1, -1], [2, -1, -1, -1]])
    check_both(Categorical(), out, x, None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("top", [5.0, 40.0, 87.0, 89.0, 700.0, 1e4])
def test_they_are_where_one_exponential_would_overflow(top, dtype):
    out = np.array([[top, -top, 0.0, 1.0], [-top, top, top, top]], dtype)
    check_both(Bernoulli(), out, np.array([[1, 0, 1, 0.25], [1, 1, 0, 0]], dtype), None)


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=25)
def test_tangents_are_the_references(likelihood, data):
    out, x, eta, out_dot = data.draw(cases(likelihood, extreme=True))

    def along(out, eta):
        d_out = autograd.grad(lambda out: anp.sum(likelihood.reference(out, x, eta)))(out)
        return anp.sum(d_out * out_dot)

    h_out, h_eta = autograd.grad(along, (0, 1))(out, eta)
    error, error_dot = error_of(likelihood, out, x, eta), tangent_of(likelihood, out, x, eta, out_dot)
    atol = 1e-12 * (1 + np.abs(error).max())
    assert_close(error_dot, h_out, rtol=1e-9, atol=atol, name="tangent")
    eta_dot = likelihood.eta_tangent(error, error_dot, eta).sum(axis=(0, 1))
    assert_close(eta_dot, h_eta, rtol=1e-9, atol=atol, name="eta_tangent")


@given(logits=arrays((2, 3), -4, 4), x=observations(Bernoulli(), 2, 3))
def test_the_error_of_logits_is_the_error_of_the_mean_through_the_sigmoid(logits, x):
    mu = 1 / (1 + np.exp(-logits))

    def log_px(mu):
        return anp.sum(x * anp.log(mu) + (1 - x) * anp.log(1 - mu))

    e_x = autograd.grad(log_px)(mu)
    assert_close(e_x, (x - mu) / (mu * (1 - mu)), rtol=1e-9, name="e_x with respect to mu_x")
    assert_close(error_of(Bernoulli(), logits, x), e_x * mu * (1 - mu), rtol=1e-9, name="e_x with respect to a")


# --- against the complex step -------------------------------------------------------------------------------------------


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=25)
def test_errors_agree_by_complex_step(likelihood, data):
    out, x, eta, _ = data.draw(cases(likelihood))
    error = error_of(likelihood, out, x, eta)
    check_gradient(lambda out: likelihood.log_prob(out, x, eta), out, error, "complex", atol=1e-12)
    d_eta = likelihood.eta_error(error, eta).sum(axis=(0, 1))
    check_gradient(lambda eta: likelihood.log_prob(out, x, eta), eta, d_eta, "complex", atol=1e-12)


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=25)
def test_tangents_agree_by_complex_step(likelihood, data):
    out, x, eta, out_dot = data.draw(cases(likelihood))
    error, error_dot = error_of(likelihood, out, x, eta), tangent_of(likelihood, out, x, eta, out_dot)
    moved = error_of(likelihood, out + 1e-20j * out_dot, x, eta)
    assert_close(error_dot, moved.imag / 1e-20, rtol=1e-12, atol=1e-12, name="tangent")
    eta_dot = likelihood.eta_error(moved, eta).imag / 1e-20
    assert_close(likelihood.eta_tangent(error, error_dot, eta), eta_dot, rtol=1e-12, atol=1e-12, name="eta_tangent")


# --- extremes -----------------------------------------------------------------------------------------------------------

PRECISIONS = pytest.mark.parametrize("dtype, rtol", [(np.float32, 1e-5), (np.float64, 1e-12)])


@PRECISIONS
@pytest.mark.parametrize("a", [-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
def test_softplus_is_exact_at_every_size(a, dtype, rtol):
    expected = a + math.log1p(math.exp(-a)) if a > 0 else math.log1p(math.exp(a))
    real = softplus(np.array([a], dtype))
    assert_close(real, [expected], rtol, atol=np.finfo(dtype).tiny)
    assert_close(softplus(np.array([a], complex)).real, [expected], 1e-12, atol=1e-15)
    assert real.dtype == dtype


@PRECISIONS
@pytest.mark.parametrize("a", [-1e4, 1e4])
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_logits_of_ten_thousand_are_finite_and_right(a, x, dtype, rtol):
    out, x = np.array([[a]], dtype), np.array([[x]], dtype)
    p = float(a > 0)
    assert_close(Bernoulli().log_prob(out, x), [x[0, 0] * a - max(a, 0)], rtol)
    assert_close(Bernoulli().mean(out), [[p]], rtol)
    assert_close(error_of(Bernoulli(), out, x), x - p, rtol)
    assert_close(tangent_of(Bernoulli(), out, x, None, np.ones_like(out)), [[0.0]], rtol)


@PRECISIONS
def test_multinomial_logits_of_ten_thousand_are_finite_and_right(dtype, rtol):
    out, x = np.array([[1e4, -1e4, 1e4]], dtype), np.array([[1, 2, 3]], dtype)
    assert_close(Multinomial().log_prob(out, x), [-2 * 2e4 - 6 * math.log(2)], rtol)
    assert_close(Multinomial().mean(out), [[0.5, 0, 0.5]], rtol)
    assert_close(error_of(Multinomial(), out, x), [[-2, 2, 0]], rtol)
    expected = [[-1.5, 0, 1.5]]  # -n (diag(p) - p p^T) along [1, 0, 0]
    assert_close(tangent_of(Multinomial(), out, x, None, np.array([[1, 0, 0]], dtype)), expected, rtol)


@PRECISIONS
@EVERY_GAUSSIAN
@pytest.mark.parametrize("log_var", [-30.0, 30.0])
def test_gaussian_log_variances_of_thirty_are_finite_and_right(likelihood, log_var, dtype, rtol):
    x, eta = np.array([[3.0]], dtype), np.full(likelihood.size(1), log_var, dtype)
    out = np.array([[1.0] if len(eta) else [1.0, log_var]], dtype)
    precision = math.exp(-log_var)
    d_log_var = (4 * precision - 1) / 2
    expected = -0.5 * (math.log(2 * math.pi) + log_var + 4 * precision)
    assert_close(likelihood.log_prob(out, x, eta), [expected], rtol)
    error = error_of(likelihood, out, x, eta)
    error_dot = tangent_of(likelihood, out, x, eta, np.ones_like(out))
    if len(eta):
        assert_close(error, [[2 * precision]], rtol)
        assert_close(likelihood.eta_error(error, eta), [[d_log_var]], rtol)
        assert_close(error_dot, [[-precision]], rtol)
        assert_close(likelihood.eta_tangent(error, error_dot, eta), [[-2 * precision]], rtol)
    else:
        assert_close(error, [[2 * precision, d_log_var]], rtol)
        assert_close(error_dot, [[-3 * precision, -4 * precision]], rtol, atol=np.finfo(dtype).eps)


# --- the contract -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@EVERY_LIKELIHOOD
def test_every_verb_keeps_the_precision_it_is_given(likelihood, dtype):
    out = np.linspace(-1, 1, 24).reshape(2, 3, 4).astype(dtype)
    M = likelihood.data_dim(4)
    x, eta = np.ones((3, M), dtype), np.zeros(likelihood.size(M), dtype)
    log_px, mean = likelihood.log_prob(out, x, eta), likelihood.mean(out, eta)
    error, error_dot = error_of(likelihood, out, x, eta), tangent_of(likelihood, out, x, eta, out)
    results = [log_px, mean, error, error_dot, likelihood.eta_error(error, eta)]
    results.append(likelihood.eta_tangent(error, error_dot, eta))
    assert [r.dtype for r in results] == [np.dtype(dtype)] * len(results)
    assert [r.shape for r in results] == [(2, 3), (2, 3, M), (2, 3, 4), (2, 3, 4)] + [(2, 3, len(eta))] * 2


@EVERY_LIKELIHOOD
def test_error_and_tangent_are_written_over_their_argument(likelihood):
    out, out_dot = np.ones((2, 3, 4)), np.ones((2, 3, 4))
    M = likelihood.data_dim(4)
    x, eta = np.ones((3, M)), np.zeros(likelihood.size(M))
    error, kept = likelihood.error(out, x, eta)
    assert error is out and likelihood.tangent(error, kept, x, eta, out_dot) is out_dot


@pytest.mark.parametrize(
    "likelihood, outputs, data_dim, size",
    [
        (Bernoulli(), 4, 4, 0),
        (Multinomial(), 4, 4, 0),
        (Gaussian("global"), 4, 4, 1),
        (Gaussian("per_dimension"), 4, 4, 4),
        (Gaussian("from_z"), 4, 2, 0),
        (Poisson(), 4, 4, 0),
    ],
    ids=repr,
)
def test_data_dim_and_parameter_count(likelihood, outputs, data_dim, size):
    assert likelihood.data_dim(outputs) == data_dim and likelihood.outputs(data_dim) == outputs
    assert likelihood.size(data_dim) == size


@pytest.mark.parametrize(
    "likelihood, x, message",
    [
        (Bernoulli(), [[0.0, np.nan]], "x has NaN; a Bernoulli likelihood needs values in [0, 1]"),
        (Bernoulli(), [[0.0, 1.5]], "x has values from 0 to 1.5; a Bernoulli likelihood needs values in [0, 1]"),
        (Bernoulli(), [[-0.25, 1.0]], "x has values from -0.25 to 1"),
        (Bernoulli(), [[0, 255]], "x has values from 0 to 255"),
        (Multinomial(), [[1.0, np.nan]], "x has NaN; a Multinomial likelihood needs whole counts >= 0"),
        (Multinomial(), [[-1.0, 2.0]], "x has values from -1 to 2; a Multinomial likelihood needs whole counts >= 0"),
        (Multinomial(), [[0.5, 2.0]], "x has values from 0.5 to 2"),
        (Multinomial(), [[1.0, np.inf]], "x has values from 1 to inf"),
        (Poisson(), [[0.5, 2.0]], "x has values from 0.5 to 2; a Poisson likelihood needs whole counts >= 0"),
        (Gaussian(), [[1.0, np.nan]], "x has NaN; a Gaussian likelihood needs finite values"),
        (Gaussian(), [[-np.inf, 2.0]], "x has values from -inf to 2; a Gaussian likelihood needs finite values"),
    ],
)
def test_an_x_outside_the_support_is_refused_with_its_numbers(likelihood, x, message):
    with pytest.raises(InputError) as caught:
        likelihood.check(np.array(x))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "likelihood, x",
    [
        (Bernoulli(), [[0, 1], [1, 1]]),
        (Bernoulli(), [[True, False]]),
        (Bernoulli(), [[0.0, 0.3, 1.0]]),
        (Multinomial(), [[0, 0], [3, 7]]),
        (Gaussian(), [[-1e30, 1e30]]),
        *[(likelihood, np.zeros((0, 3))) for likelihood in ALL],
    ],
)
def test_an_x_inside_the_support_is_accepted(likelihood, x):
    likelihood.check(np.array(x))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Gaussian("learned"), "'learned'; expected one of global, per_dimension, from_z"),
        (lambda: Gaussian("from_z").data_dim(3), "3 outputs"),
    ],
)
def test_what_makes_no_gaussian_is_refused(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert message in str(caught.value)


@EVERY_LIKELIHOOD
def test_the_residual_is_what_the_mean_leaves_of_x(likelihood):
    rng = np.random.default_rng(0)
    out = rng.normal(size=(2, 3, likelihood.outputs(4)))
    x, eta = rng.integers(0, 2, (3, 4)).astype(float), rng.normal(size=likelihood.size(4))
    n = x.sum(axis=-1, keepdims=True) if isinstance(likelihood, Multinomial) else 1
    expected = x - n * likelihood.mean(out, eta)
    error, kept = likelihood.error(out.copy(), x, eta)
    assert_close(likelihood.residual(error, kept, eta), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("top", [0.0, 5.0, 40.0, 200.0, 1e4])
@pytest.mark.parametrize("width", [1, 7, 48])
def test_the_sum_of_softplus_is_the_sum_of_the_textbooks(width, top, dtype):
    """However many factors are multiplied before a logarithm is taken."""
    a = np.random.default_rng(0).uniform(-top - 1, top, (3, 2, width)).astype(dtype)
    a[0, 0] = top
    expected = np.logaddexp(0, a.astype(float)).sum(axis=-1)
    actual = sum_softplus(a)
    assert actual.dtype == dtype and actual.shape == (3, 2)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * width * np.finfo(dtype).eps * (1 + top))


DRAWS, ERRORS = 20_000, 6  # a mean of DRAWS may be off by so many standard errors: by chance once in 5e8 comparisons


@EVERY_LIKELIHOOD
def test_samples_have_the_mean_and_the_variance_of_the_likelihood(likelihood):
    """The score of its own samples has mean zero, and their mean is `mean`: two oracles that no formula here shares."""
    rng, M = np.random.default_rng(0), 3
    out, eta = rng.normal(0, 0.7, likelihood.outputs(M)), rng.normal(0, 0.5, likelihood.size(M))
    outs = np.tile(out, (DRAWS, 1))
    x = likelihood.sample(outs, eta, rng)
    likelihood.check(x)
    n = x.sum(axis=-1, keepdims=True) if isinstance(likelihood, Multinomial) else 1
    for draws in (x - n * likelihood.mean(outs, eta), error_of(likelihood, outs, x, eta)):
        assert np.all(np.abs(draws.mean(axis=0)) <= ERRORS * draws.std(axis=0) / np.sqrt(DRAWS) + 1e-12)


def test_the_logarithms_of_factorials_are_lgammas():
    x = np.array([[0, 1, 2, 3], [7, 100, 1023, 1024]])
    assert_close(log_factorial(x), [[math.lgamma(n + 1) for n in row] for row in x], rtol=1e-13)


@EVERY_GAUSSIAN
def test_a_gaussian_starts_as_the_best_one_without_latents(likelihood):
    """There the likelihood of the data has no gradient: with respect to the outputs in the mean, and to eta in the sum."""
    x = np.random.default_rng(0).normal([1.0, -2.0, 0.5], [0.3, 2.0, 1.0], (50, 3))
    bias, eta = likelihood.start(x)
    assert bias.shape == (likelihood.outputs(3),) and eta.shape == (likelihood.size(3),)
    error = error_of(likelihood, np.tile(bias, (50, 1)), x, eta)
    assert_close(error.mean(axis=0), np.zeros(len(bias)), atol=1e-12)
    assert_close(likelihood.eta_error(error, eta).sum(axis=0), np.zeros(len(eta)), atol=1e-10)


def test_a_dimension_that_never_changes_gets_a_share_of_the_others_variance():
    x = np.stack([np.linspace(0, 1, 20), np.full(20, 0.25)], axis=1)
    mean, log_var = Gaussian("per_dimension").start(x)
    assert mean[1] == 0.25 and np.exp(log_var[1]) == pytest.approx(1e-3 * x.var(axis=0).mean())
    _, log_var = Gaussian("global").start(np.full((5, 2), 0.5))
    assert np.isfinite(log_var).all()


def test_logits_of_bernoulli_start_where_the_network_starts():
    bias, eta = Bernoulli().start(np.ones((4, 3)))
    assert bias is None and eta.shape == (0,)


@EVERY_LIKELIHOOD
def test_no_other_outputs_explain_the_training_data_better_without_latents(likelihood):
    """With many examples the half observation does not count: the score of the data is nearly zero there."""
    rng, M, N = np.random.default_rng(0), 3, 20_000
    out, eta = rng.normal(0, 0.7, likelihood.outputs(M)), rng.normal(0, 0.5, likelihood.size(M))
    x = likelihood.sample(np.tile(out, (N, 1)), eta, rng)
    best, best_eta = likelihood.marginal(x, likelihood.outputs(M))
    error = error_of(likelihood, np.tile(best, (N, 1)), x, best_eta)
    assert np.abs(error.mean(axis=0)).max() < 1e-3
    assert likelihood.log_prob(best, x, best_eta).mean() >= likelihood.log_prob(out, x, eta).mean()
    assert likelihood.without_latents != "independent"


def test_what_was_never_seen_has_a_probability():
    for likelihood in DISCRETE:
        out, eta = likelihood.marginal(np.zeros((4, 3)), 3)
        assert np.isfinite(likelihood.log_prob(out, np.ones((1, 3)), eta)).all()
    out, _ = Categorical().marginal(np.array([[0, 1, -1], [1, 1, 1]]), 4)
    assert_close(np.exp(out), np.array([1.5, 4.5, 0.5, 0.5]) / 7, rtol=1e-12)


def test_large_counts_take_no_table_and_the_series_goes_on_where_the_table_ends():
    x = np.array([3.0, 2.0**16 - 1, 2.0**16, 2.0**16 + 1, 1e9, 1e15])
    assert_close(log_factorial(x), [math.lgamma(n + 1) for n in x], rtol=1e-13)
    for n in x[1:4]:  # one by one: the norm would hide a jump
        assert_close(log_factorial(np.array([n])), [math.lgamma(n + 1)], rtol=1e-13)
    assert Poisson().log_prob(np.log(x[:, None]), x[:, None]).max() < 0
