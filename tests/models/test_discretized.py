"""The discretised logistic: a sum over all levels, closed forms against autograd and the complex step, samples' moments."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import MLP, DiscretizedLogistic, InputError, LatentGaussianModel, MLPDecoder, hvp, reference
from savi.testing import arrays, assert_close, check_density, check_gradient, sizes

LIKELIHOOD = DiscretizedLogistic()
LEVELS = np.arange(256) / 255


@st.composite
def cases(draw, extreme=False):
    """(out (S, B, 2M), x (B, M), out_dot): locations around [0, 1], scales from a hundredth of a level to some hundred."""
    S, B, M = draw(sizes), draw(sizes), draw(sizes)
    mu = draw(arrays((S, B, M), -0.3, 1.3, extremes=(-20.0, 20.0) if extreme else ()))
    log_s = draw(arrays((S, B, M), -6, 0, extremes=(-9.0, 8.0) if extreme else ()))
    x = draw(arrays((B, M), 0, 255, extremes=(255.0,))).round() / 255
    return np.concatenate([mu, log_s], axis=-1), x, draw(arrays((S, B, 2 * M)))


def check(out, x, out_dot, rtol=1e-9):
    """AssertionError unless log p, its error and the error's tangent are autograd's."""
    judge = lambda out: LIKELIHOOD.reference(out, x, None)  # noqa: E731
    assert_close(LIKELIHOOD.log_prob(out, x), judge(out), rtol, name="log p")
    error = lambda out: autograd.grad(lambda out: anp.sum(judge(out)))(out)  # noqa: E731
    found, kept = LIKELIHOOD.error(out.copy(), x)
    scale = 1e-9 * (1 + np.abs(found).max())
    assert_close(found, error(out), rtol, scale, name="the error")
    expected = autograd.grad(lambda out: anp.sum(error(out) * out_dot))(out)
    assert_close(
        LIKELIHOOD.tangent(found, kept, x, None, out_dot.copy()), expected, 1e-7, 100 * scale, name="the tangent"
    )


@given(case=cases())
@settings(max_examples=60)
def test_log_p_error_and_tangent_are_autograds(case):
    check(*case)


@given(case=cases())
@settings(max_examples=30)
def test_errors_and_tangents_agree_by_complex_step(case):
    out, x, out_dot = case
    found, kept = LIKELIHOOD.error(out.copy(), x)
    check_gradient(
        lambda out: LIKELIHOOD.log_prob(out, x), out, found, "complex", atol=1e-11 * (1 + np.abs(found).max())
    )
    moved = LIKELIHOOD.error(out + 1e-20j * out_dot, x)[0].imag / 1e-20
    assert_close(LIKELIHOOD.tangent(found, kept, x, None, out_dot.copy()), moved, 1e-11, 1e-12, name="the tangent")


@given(case=cases(extreme=True))
@settings(max_examples=60)
def test_everything_stays_finite_far_out(case):
    out, x, out_dot = case
    for dtype in (np.float32, np.float64):
        o = out.astype(dtype)
        log_p = LIKELIHOOD.log_prob(o, x.astype(dtype))
        error, kept = LIKELIHOOD.error(o.copy(), x.astype(dtype))
        tangent = LIKELIHOOD.tangent(error, kept, x.astype(dtype), None, out_dot.astype(dtype))
        assert log_p.dtype == error.dtype == tangent.dtype == dtype
        assert np.isfinite(log_p).all() and np.isfinite(error).all() and np.isfinite(tangent).all()
        assert (log_p <= 0).all()


@pytest.mark.parametrize("mu, log_s", [(0.5, -3.0), (0.0, -6.0), (1.2, -1.0), (-0.4, 1.0), (0.3, -8.0)])
def test_the_probabilities_of_all_levels_sum_to_one(mu, log_s):
    out = np.array([mu, log_s])
    check_density(lambda x: LIKELIHOOD.log_prob(out, x), support=LEVELS[:, None], rtol=1e-12)


def test_a_probability_is_the_difference_of_the_logistics_distribution_function():
    mu, s, k = 0.4, 0.05, 100
    cdf = lambda x: 1 / (1 + np.exp(-(x - mu) / s))  # noqa: E731
    expected = np.log(cdf((k + 0.5) / 255) - cdf((k - 0.5) / 255))
    assert_close(LIKELIHOOD.log_prob(np.array([mu, np.log(s)]), np.array([k / 255])), expected, rtol=1e-11)


def test_samples_are_levels_with_the_moments_of_the_distribution():
    out = np.tile(np.array([0.5, -4.0]), (50_000, 1))
    x = LIKELIHOOD.sample(out, None, np.random.default_rng(0))
    LIKELIHOOD.check(x)
    p = np.exp(LIKELIHOOD.log_prob(out[:1], LEVELS[:, None]))
    mean = p @ LEVELS
    std = np.sqrt(p @ (LEVELS - mean) ** 2)
    assert abs(x.mean() - mean) < 5 * std / np.sqrt(50_000) and abs(x.std() - std) < 0.02 * std


def test_the_start_has_the_datas_mean_and_variance():
    x = np.random.default_rng(0).integers(0, 256, (500, 3)) / 255
    x[:, 2] = 0.2
    (mu, log_s), eta = np.split(LIKELIHOOD.start(x)[0], 2), LIKELIHOOD.start(x)[1]
    assert_close(mu, x.mean(axis=0), rtol=1e-12)
    assert_close(np.exp(2 * log_s[:2]) * np.pi**2 / 3, x.var(axis=0)[:2], rtol=1e-12)
    assert np.isfinite(log_s).all() and eta.shape == (0,)
    decoder = MLPDecoder(MLP([1, 6]), LIKELIHOOD)
    assert decoder.baseline(x, x)[0] == "independent logistic"


def test_a_whole_model_and_its_hessian_products_are_the_references():
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 4, 6]), LIKELIHOOD))
    theta, x = model.init(rng, x=rng.integers(0, 256, (20, 3)) / 255), rng.integers(0, 256, (4, 3)) / 255
    f, lam, noise, v = (
        model.objective(theta, x),
        rng.normal(size=(4, 4)),
        rng.normal(size=(2, 4, 2)),
        rng.normal(size=(4, 4)),
    )
    judge = lambda lam, theta: reference.loss(model, lam, theta, x, noise)  # noqa: E731
    e, (h, h_theta) = f.evaluate(lam, noise), reference.hessian_products(judge, lam, theta, v)
    assert_close(e.loss, judge(lam, theta), rtol=1e-10)
    product = hvp.product(f, e, v)
    assert_close(product.lam, h, rtol=1e-8)
    assert_close(f.theta_sum().add(product).value(), h_theta, rtol=1e-8)
    e_x, _ = f.errors(e)
    z = lam[:, :2] + np.exp(lam[:, 2:] / 2) * noise
    assert_close(e_x, x - model.mean(theta, z).mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("name, wrong", [("_inverse", 1.001), ("_slope", 1.001), ("sigmoid", 1.001)])
def test_the_check_catches_a_changed_term(name, wrong, monkeypatch):
    from savi.models import discretized

    made = getattr(discretized, name)
    monkeypatch.setattr(discretized, name, lambda a: wrong * made(a))
    rng = np.random.default_rng(0)
    out = np.concatenate([rng.uniform(0, 1, (2, 3, 4)), rng.uniform(-6, -4, (2, 3, 4))], axis=-1)
    with pytest.raises(AssertionError, match="is off by"):
        check(out, rng.integers(50, 200, (3, 4)) / 255, rng.normal(size=(2, 3, 8)))


@pytest.mark.parametrize("bad", [-0.1, 1.1, 0.5, np.nan])
def test_values_that_are_no_levels_get_their_sentence(bad):
    with pytest.raises(InputError, match=r"levels k / 255"):
        LIKELIHOOD.check(np.array([[0.2, bad]]))
    with pytest.raises(InputError, match="5 outputs; DiscretizedLogistic"):
        MLPDecoder(MLP([1, 5]), LIKELIHOOD)
