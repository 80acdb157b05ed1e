"""Quadrature against models whose integrals are known, and against each other where they are not."""

import numpy as np
import pytest

from savi import (
    MLP,
    Bernoulli,
    Gaussian,
    InputError,
    LatentGaussianModel,
    LSTMDecoder,
    MLPDecoder,
    SampledKL,
    quadrature,
)
from savi.experiments.evaluation import importance_weighted, neg_elbo, perplexity
from savi.models.gaussian import log_density
from savi.testing import assert_close


def linear(D, M=3, prior=None, seed=0):
    """x ~ N(z W + b, s^2): a model with a Gaussian posterior; and W, b, s^2."""
    rng = np.random.default_rng(seed)
    model = LatentGaussianModel(MLPDecoder(MLP([D, M]), Gaussian("global")), prior)
    theta = rng.uniform(-1, 1, model.size)
    layer = theta[:-1].reshape(D + 1, M)
    return model, theta, layer[:-1], layer[-1], np.exp(theta[-1]), rng.normal(0, 1.5, (7, M))


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("shifted", [False, True])
def test_log_p_of_a_linear_gaussian_model_is_exact(D, shifted):
    prior = np.array([0.5] * D + [0.4] * D) if shifted else None
    model, theta, W, b, s2, x = linear(D, prior=prior)
    mu_p, var_p = model.prior[:D], np.exp(model.prior[D:])
    mean, cov = mu_p @ W + b, W.T @ np.diag(var_p) @ W + s2 * np.eye(3)
    d = x - mean
    exact = -0.5 * (3 * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1] + (d @ np.linalg.inv(cov) * d).sum(axis=1))
    assert_close(quadrature.log_marginal(model, theta, x, tolerance=1e-6), exact, 1e-7, 0, "log p(x)")


def test_many_examples_are_each_integrated_over_their_own_box_and_optimized_on_their_own_table(monkeypatch):
    model, theta, *_, x = linear(2)
    x = np.random.default_rng(2).normal(0, 2, (23, 3))
    found = quadrature.log_marginal(model, theta, x, tolerance=1e-6)
    alone = np.concatenate([quadrature.log_marginal(model, theta, x[i : i + 1], tolerance=1e-6) for i in range(23)])
    assert_close(found, alone, 1e-7, 0, "log p(x)")
    monkeypatch.setattr(quadrature, "log_likelihoods", lambda model, theta, x, u: 0 * u[:, 0] + x[:, :1])
    monkeypatch.setattr(quadrature, "grid", lambda model, spacing: (np.zeros(1000), np.zeros((10**6, 2))))
    monkeypatch.setattr(quadrature, "_search", lambda table, axis, rounds: (np.zeros(4), table[0, 0]))
    assert np.array_equal(quadrature.best_gaussian(model, theta, x[:5])[1], x[:5, 0])


def test_integrals_on_every_other_point_are_integrals():
    """Where the grid is fine enough the two agree, so that no example is asked for again."""
    for D in (1, 2):
        model, theta, *_, x = linear(D)
        low, high = quadrature._boxes(model, theta, x)
        fine, coarse = quadrature._integrals(model, theta, x, low, high, 64)
        assert_close(fine, coarse, 1e-6, 0, "log p(x)")


def test_a_bound_under_a_shifted_prior_has_its_kl():
    model, theta, *_, x = linear(2, prior=np.array([0.5, -0.5, 0.4, 0.0]))
    _, kl = quadrature.elbo_parts(model, theta, model.prior_lam(len(x)), x)
    assert np.abs(kl).max() < 1e-12
    with pytest.raises(InputError, match="standard normal prior"):
        quadrature.best_gaussian(model, theta, x)


def test_a_lam_of_another_shape_is_an_input_error():
    model, theta, *_, x = linear(2)
    for shape in ((7, 2), (1, 4)):
        with pytest.raises(InputError, match=r"lam has shape .* expected \(7, 4\)"):
            quadrature.elbo_parts(model, theta, np.zeros(shape), x)


def test_networks_run_in_thetas_dtype(monkeypatch):
    model, theta, *_, x = linear(2)
    seen, forward = set(), MLP.forward
    monkeypatch.setattr(
        MLP, "forward", lambda self, layers, record: seen.add(record.output.dtype) or forward(self, layers, record)
    )
    theta = theta.astype(np.float32)
    best, _ = quadrature.best_gaussian(model, theta, x[:1])
    quadrature.elbo_parts(model, theta, best, x[:1])
    quadrature.log_marginal(model, theta, x[:1])
    assert seen == {np.dtype(np.float32)} == {best.dtype}


def test_a_narrow_posterior_gets_a_finer_grid():
    model, theta, W, b, _, x = linear(2)
    theta[-1] = np.log(1e-3)  # posterior deviations of about 0.03
    cov = W.T @ W + 1e-3 * np.eye(3)
    x = np.random.default_rng(1).standard_normal((5, 2)) @ W + b
    d = x - b
    exact = -0.5 * (3 * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1] + (d @ np.linalg.inv(cov) * d).sum(axis=1))
    assert np.abs(quadrature.log_marginal(model, theta, x, nodes=8, most=8) - exact).max() > 0.01
    assert_close(quadrature.log_marginal(model, theta, x, nodes=8, tolerance=1e-6), exact, 1e-6, 0, "log p(x)")


def test_log_p_is_what_importance_sampling_finds():
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(LSTMDecoder(8, 3, 4, 2, (5,), "tanh"))
    theta, x = rng.uniform(-1, 1, model.size), rng.integers(0, 8, (4, 3))
    exact = quadrature.log_marginal(model, theta, x)
    estimate = importance_weighted(model, theta, model.prior_lam(4), x, rng, 40_000)
    assert np.abs(estimate - exact).max() < 0.03


@pytest.mark.parametrize("D", [1, 2])
def test_the_bound_by_quadrature_is_the_closed_form(D):
    model, theta, W, b, s2, x = linear(D)
    rng = np.random.default_rng(1)
    lam = rng.uniform(-1, 1, (len(x), 2 * D))
    mu, var = lam[:, :D], np.exp(lam[:, D:])
    second = ((x - mu @ W - b) ** 2).sum(axis=1) + (var @ W**2).sum(axis=1)
    expected = 0.5 * (3 * np.log(2 * np.pi * s2) + second / s2)
    reconstruction, kl = quadrature.elbo_parts(model, theta, lam, x, nodes=3)
    assert_close(reconstruction, expected, 1e-12, 0, "E_q[-log p(x|z)]")
    assert_close(kl, 0.5 * (var + mu**2 - 1 - np.log(var)).sum(axis=1), 1e-12, 0, "KL")


def test_the_bound_by_quadrature_is_what_samples_find():
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 6, 20]), Bernoulli()))
    theta, x = rng.uniform(-1, 1, model.size), (rng.random((5, 20)) < 0.5).astype(float)
    lam = rng.uniform(-1, 1, (5, 4))
    exact = sum(quadrature.elbo_parts(model, theta, lam, x))
    samples = neg_elbo(model, theta, lam, x, rng, 20_000)
    assert np.abs(samples - exact).max() < 0.1
    assert_close(sum(quadrature.elbo_parts(model, theta, lam, x, 30)), exact, 1e-4, 0, "20 against 30 nodes")


def test_the_best_gaussian_of_a_linear_model_is_its_mean_field_posterior():
    model, theta, W, b, s2, x = linear(2, seed=3)
    precision = np.eye(2) + W @ W.T / s2
    mean = (x - b) @ W.T / s2 @ np.linalg.inv(precision)
    best, loss = quadrature.best_gaussian(model, theta, x)
    assert np.abs(best[:, :2] - mean).max() < 0.01
    assert np.abs(best[:, 2:] + np.log(np.diag(precision))).max() < 0.03
    exact = sum(
        quadrature.elbo_parts(model, theta, np.concatenate([mean, np.tile(-np.log(np.diag(precision)), (7, 1))], 1), x)
    )
    assert np.all(np.abs(loss - exact) < 1e-3)


def test_the_best_gaussian_of_two_modes_is_the_better_one():
    """x = z^2-like: with tanh units two modes, of which the prior prefers neither; both are as good, and it finds one."""
    model = LatentGaussianModel(MLPDecoder(MLP([2, 2, 1]), Gaussian("global")))
    theta = np.array(
        [4.0, -4.0, 0.0, 0.0, -4.0, -4.0, 1.0, 1.0, 1.9, np.log(0.05)]
    )  # a well at z_1 = 0, humps beside it
    x = np.array([[2.0]])
    _, loss = quadrature.best_gaussian(model, theta, x)
    for start in ([1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]):
        for log_var in (-1.0, -3.0, -5.0):
            lam = np.array([[*start, log_var, 0.0]])
            assert sum(quadrature.elbo_parts(model, theta, lam, x, 40))[0] > loss[0] - 0.01


def test_the_higher_hill_is_found_where_the_coarse_grid_has_the_lower_one():
    """A posterior of two Gaussians: the wide one on a point of the grid, the narrow and heavier one between its points."""
    axis = np.linspace(-4, 4, 201)
    one, two = np.meshgrid(axis, axis, indexing="ij")
    hills = [
        np.log(weight / s**2) - ((one - m) ** 2 + (two - m) ** 2) / (2 * s**2)
        for weight, m, s in ((0.45, 1.0, 0.3), (0.55, -1.125, 0.15))
    ]
    lam, loss = quadrature._search(np.logaddexp(*hills) + (one**2 + two**2) / 2, axis, 6)
    np.testing.assert_allclose(lam, [-1.125, -1.125, 2 * np.log(0.15), 2 * np.log(0.15)], atol=0.02)
    assert loss == pytest.approx(-np.log(0.55), abs=1e-3)


def test_the_surface_is_the_bound_at_each_mean():
    model, theta, *_, x = linear(2)
    axis, u = quadrature.grid(model, 0.1)
    table = quadrature.log_likelihoods(model, theta, x[:1], u).reshape(len(axis), -1)
    heights = quadrature.surface(table, axis, [-0.5, 1.0], [-1.0, -2.0])
    for i, j in ((0, 0), (0, 1), (1, 0)):
        lam = np.array([[[-0.5, 1.0][i], [-0.5, 1.0][j], -1.0, -2.0]])
        assert heights[i, j] == pytest.approx(-sum(quadrature.elbo_parts(model, theta, lam, x[:1]))[0], abs=1e-6)


def test_a_grid_integrates_densities_and_hermite_nodes_integrate_polynomials():
    model = linear(2)[0]
    axis, u = quadrature.grid(model, 0.2)
    assert abs(np.exp(log_density(u, np.zeros(4))).sum() * 0.04 - 1) < 1e-8 and axis[1] - axis[0] == pytest.approx(0.2)
    e, w = quadrature.hermite(2, 4)
    assert (w * e[:, 0] ** 6 * e[:, 1] ** 4).sum() == pytest.approx(15 * 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, t, x: quadrature.log_marginal(m, t, x),
        lambda m, t, x: quadrature.elbo_parts(m, t, np.zeros((7, 6)), x),
        lambda m, t, x: quadrature.best_gaussian(m, t, x),
    ],
)
def test_three_dimensions_are_an_input_error(call):
    model, theta, *_, x = linear(3)
    with pytest.raises(InputError, match="dimensions"):
        call(model, theta, x)


def test_bounds_by_quadrature_need_the_closed_form_kl():
    model = LatentGaussianModel(MLPDecoder(MLP([1, 3]), Bernoulli()), kl=SampledKL)
    with pytest.raises(InputError, match="AnalyticKL"):
        quadrature.elbo_parts(model, np.zeros(6), np.zeros((1, 2)), np.zeros((1, 3)))


def test_perplexity_is_per_token():
    assert perplexity(np.array([3 * np.log(7), 2 * np.log(7)]), np.array([3, 2])) == pytest.approx(7)
    assert perplexity(np.array([np.log(4), np.log(9)]), 1) == pytest.approx(6)


def test_nodes_are_doubled_where_the_two_rules_differ_and_only_up_to_the_most(monkeypatch):
    model, theta, *_, x = linear(1)
    calls, differences = [], np.where(np.arange(7) == 3, 0.06, 0.04)

    def integrals(model, theta, rows, low, high, nodes):
        calls.append((nodes, len(rows)))
        return np.zeros(len(rows)), differences[np.isin(x, rows).all(axis=1)]

    monkeypatch.setattr(quadrature, "_integrals", integrals)
    quadrature.log_marginal(model, theta, x, nodes=8, most=32)
    assert calls == [(8, 7), (16, 1), (32, 1)]


def test_modes_are_the_local_maxima_of_the_posterior_highest_first():
    """Of a mixture of two narrow Gaussians, as a likelihood: near their means, and no others; a concave one has one."""
    axis = np.arange(-30, 31) * 0.2
    a, b = np.meshgrid(axis, axis, indexing="ij")
    peaks = [-50 * ((a - m) ** 2 + (b - n) ** 2) + h for m, n, h in ((1.0, -1.0, 0.0), (-2.0, 0.4, 0.5))]
    table = np.logaddexp(*peaks)
    log_p = table - 0.5 * (a**2 + b**2)
    found = quadrature.modes(table, axis)
    assert [np.round(point[:2], 9).tolist() for point in found] == [[1.0, -1.0], [-2.0, 0.4]]
    assert found[0][2] == 0 and found[1][2] == pytest.approx(log_p[20, 32] - log_p.max())
    assert len(quadrature.modes(table, axis, depth=0.5)) == 1
    assert len(quadrature.modes(-((a - 0.4) ** 2) - b**2, axis)) == 1
