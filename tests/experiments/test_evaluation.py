"""Evaluation against a linear-Gaussian model, in which log p(x), the posterior, its best diagonal approximation and both
gaps are known exactly; Monte Carlo claims hold within ERRORS standard errors."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savi import MLP, SVI, VAE, AutogradModel, Bernoulli, Gaussian, LatentGaussianModel, MLPDecoder, SampledKL
from savi.experiments import evaluation as room
from savi.experiments.evaluation import (
    along,
    bits_per_dim,
    elbo_parts,
    evaluate,
    gaps,
    importance_weighted,
    infer,
    neg_elbo,
    optimum,
)
from savi.experiments.tasks import Measure
from savi.models.base import Model
from savi.testing import assert_close

ERRORS = 5  # standard errors that a mean may be off: by chance once in two million comparisons


class Linear:
    """x = z W + b + noise, z ~ the prior: N rows x, and what is exactly true of them, from numpy.linalg alone.

    mean (N, D) and precision (D, D) of p(z|x); log_px (N,). correlated=False makes the posterior a diagonal Gaussian.
    """

    def __init__(self, D=2, M=4, N=3, correlated=True, variance="per_dimension", **model):
        rng = np.random.default_rng([D, M, N])
        log_var = rng.uniform(-1, 0.5, M if variance == "per_dimension" else 1)
        W = 1.5 * rng.standard_normal((D, M)) if correlated else np.eye(D, M) * rng.uniform(0.5, 2, (D, 1))
        b, prior = rng.standard_normal(M), rng.uniform(-0.5, 0.5, 2 * D)
        self.D, self.theta = D, np.concatenate([W.ravel(), b, log_var])
        self.model = LatentGaussianModel(MLPDecoder(MLP([D, M]), Gaussian(variance)), prior=prior, **model)
        mu_p, P = prior[:D], np.diag(np.exp(prior[D:]))
        s2_x = np.broadcast_to(np.exp(log_var), M)
        covariance = W.T @ P @ W + np.diag(s2_x)
        self.x = rng.multivariate_normal(mu_p @ W + b, covariance, N)
        d = self.x - mu_p @ W - b
        quadratic = (d * np.linalg.solve(covariance, d.T).T).sum(axis=1)
        self.log_px = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])
        self.precision = np.linalg.inv(P) + W / s2_x @ W.T
        self.mean = mu_p + np.linalg.solve(self.precision, W / s2_x @ d.T).T

    def best(self):
        """lam* (N, 2D): the posterior's mean, and its conditional variances 1 / precision_dd."""
        return np.hstack([self.mean, np.tile(-np.log(np.diag(self.precision)), (len(self.x), 1))])

    def kl(self, lam):
        """KL(q || p(z|x)) (N,), the exact total gap."""
        mu, s2 = lam[:, : self.D], np.exp(lam[:, self.D :])
        d = mu - self.mean
        quadratic = (d @ self.precision * d).sum(axis=1)
        trace = s2 @ np.diag(self.precision)
        log_dets = np.log(s2).sum(axis=1) + np.linalg.slogdet(self.precision)[1]
        return 0.5 * (trace + quadratic - self.D - log_dets)

    def off(self, seed=0, size=0.8):
        """Some lam (N, 2D) that is not the best."""
        return self.best() + size * np.random.default_rng(seed).standard_normal((len(self.x), 2 * self.D))

    def copies(self, lam, n):
        """(lam, x) of the first example, n times over."""
        return np.tile(lam[:1], (n, 1)), np.tile(self.x[:1], (n, 1))


def rng(seed=0):
    return np.random.default_rng(seed)


def assert_mean(values, expected, errors=ERRORS):
    """The mean of independent values is `expected`, within so many standard errors."""
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected) <= errors * error + 1e-12, f"{values.mean()} +- {error}, expected {expected}"


def log_mean_exp(log_w):
    """log of the mean over samples, (S, N) -> (N,), all at once."""
    top = log_w.max(axis=0)
    return top + np.log(np.exp(log_w - top).mean(axis=0))


# --- -ELBO ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kl", [{}, {"kl": SampledKL}], ids=["analytic", "sampled"])
def test_neg_elbo_is_log_px_and_the_divergence_from_the_posterior_in_expectation(kl):
    p = Linear(**kl)
    lam, x = p.copies(p.off(), 4_000)
    exact = p.kl(p.off())[0] - p.log_px[0]
    assert exact > -p.log_px[0] + 0.1
    assert_mean(neg_elbo(p.model, p.theta, lam, x, rng(), samples=5), exact)


def test_at_the_exact_posterior_neg_elbo_is_log_px_in_expectation():
    p = Linear(correlated=False)
    lam, x = p.copies(p.best(), 4_000)
    assert_mean(neg_elbo(p.model, p.theta, lam, x, rng(), samples=5), -p.log_px[0])


def test_the_two_parts_sum_to_neg_elbo_and_the_second_is_the_divergence_from_the_prior():
    p = Linear()
    lam = p.off()
    reconstruction, kl = elbo_parts(p.model, p.theta, lam, p.x, rng(), samples=7)
    assert_close(reconstruction + kl, neg_elbo(p.model, p.theta, lam, p.x, rng(), samples=7), 1e-13)
    mu_p, log_var_p = np.split(p.model.prior, 2)
    mu, log_var = np.split(lam, 2, axis=1)
    ratio = (np.exp(log_var) + (mu - mu_p) ** 2) / np.exp(log_var_p)
    assert_close(kl, 0.5 * (ratio - 1 + log_var_p - log_var).sum(axis=1), 1e-13)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.integers(1, 60))
def test_each_examples_value_is_its_own_whatever_the_batches(rows, examples_at_a_time):
    """With one sample whose noise is zero nothing is random: any rows in any batches give the same values."""
    p = Linear(N=7)
    p.model.draw_noise = lambda rng, samples, batch, dtype: np.zeros((samples, batch, p.D), dtype)
    whole = neg_elbo(p.model, p.theta, p.off(), p.x, rng(), samples=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "ROWS", examples_at_a_time)
        part = neg_elbo(p.model, p.theta, p.off()[rows], p.x[rows], rng(), samples=1)
    assert_close(part, whole[rows], 1e-12)


def test_along_an_inference_is_neg_elbo_at_each_of_its_estimates():
    p = Linear()
    lams = np.array([p.off(size=size) for size in (2.0, 1.0, 0.0)])
    losses = along(p.model, p.theta, lams, p.x, 3, samples=6)
    expected = [neg_elbo(p.model, p.theta, lam, p.x, rng(3), samples=6).mean() for lam in lams]
    assert losses == expected and all(type(loss) is float for loss in losses)
    assert len(set(along(p.model, p.theta, [lams[0], lams[0]], p.x, 3))) == 1  # a seed: the same noise for all
    assert len(set(along(p.model, p.theta, [lams[0], lams[0]], p.x, rng(3)))) == 2  # a Generator: it goes on


# --- importance weighting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 2, 137])
@pytest.mark.parametrize("D, M", [(1, 1), (1, 5), (3, 4)])
@pytest.mark.parametrize("variance", ["global", "per_dimension"])
def test_with_the_exact_posterior_as_proposal_one_sample_gives_log_px(D, M, variance, samples):
    p = Linear(D, M, correlated=D == 1, variance=variance)
    assert_close(importance_weighted(p.model, p.theta, p.best(), p.x, rng(), samples), p.log_px, 1e-12)


def test_with_another_proposal_it_converges_to_log_px():
    p = Linear(D=3)
    wide = p.best() + [0.1, -0.1, 0.1, 1, 1, 1]
    assert_close(importance_weighted(p.model, p.theta, wide, p.x, rng(), 100_000), p.log_px, 0, 0.05)


def test_the_mean_importance_weight_is_px_without_bias():
    p = Linear()
    lam, x = p.copies(p.best() + [0.2, -0.2, 0.5, 0.5], 5_000)
    estimates = importance_weighted(p.model, p.theta, lam, x, rng(), 3)
    assert_mean(np.exp(estimates - p.log_px[0]), 1)


def test_the_bound_rises_with_the_number_of_samples_and_stays_below_log_px():
    """In expectation, [E5]: from -ELBO at one sample up to log p(x); differences of means within ERRORS errors."""
    p = Linear()
    lam, x = p.copies(p.off(), 3_000)
    bounds = [importance_weighted(p.model, p.theta, lam, x, rng(S), S) for S in (1, 3, 10, 30, 100)]
    assert_mean(bounds[0], p.log_px[0] - p.kl(p.off())[0])
    for fewer, more in itertools.pairwise(bounds):
        error = np.std(more - fewer) / np.sqrt(len(x))
        assert np.mean(more - fewer) > -ERRORS * error
    for bound in bounds:
        assert bound.mean() < p.log_px[0] + ERRORS * bound.std() / np.sqrt(len(x))
    assert bounds[-1].mean() > bounds[0].mean() + ERRORS * bounds[0].std() / np.sqrt(len(x))


@pytest.mark.parametrize("samples", [1, 7, 64, 1001])
@pytest.mark.parametrize("rows", [1, 25, 60, 500, 2_000, 100_000])
def test_the_streamed_sum_is_the_log_mean_exp_of_all_weights_whatever_the_chunk(monkeypatch, rows, samples):
    p = Linear(N=1)
    monkeypatch.setattr(room, "ROWS", rows)
    noise = p.model.draw_noise(rng(), samples, 1)  # the same numbers whether they are drawn at once or in chunks
    expected = log_mean_exp(p.model.log_weights(p.off(), p.theta, p.x, noise))
    assert_close(importance_weighted(p.model, p.theta, p.off(), p.x, rng(), samples), expected, 1e-12)


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=40), st.integers(1, 7))
def test_the_streamed_sum_neither_overflows_nor_loses_the_smaller_weights(log_weights, chunk):
    """Weights of any size, here given instead of computed; chunks of any length."""
    log_w, left = np.array(log_weights)[:, None], list(log_weights)

    class Given(Model):
        def draw_noise(self, rng, samples, batch, dtype):
            return np.zeros((samples, batch, 1))

        def log_weights(self, lam, theta, x, noise):
            return np.array([[left.pop(0)] for _ in noise])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "ROWS", chunk)
        streamed = importance_weighted(
            Given(), np.zeros(1), np.zeros((1, 2)), np.zeros((1, 1)), rng(), len(log_weights)
        )
    assert not left
    assert_close(streamed, log_mean_exp(log_w), 1e-12, 1e-12)


def test_many_examples_go_through_in_batches_in_their_own_order():
    p = Linear(D=1, N=450)
    assert_close(importance_weighted(p.model, p.theta, p.best(), p.x, rng(), 150), p.log_px, 1e-12)


def test_importance_weights_of_float32_parameters_are_summed_in_float64():
    p = Linear(D=1)
    theta = p.theta.astype(np.float32)
    estimate = importance_weighted(p.model, theta, p.best().astype(np.float32), p.x, rng(), 5_000)
    assert estimate.dtype == np.float64
    assert_close(estimate, p.log_px, 0, 1e-4)


# --- the best member of the family, and the gaps --------------------------------------------------------------------


def test_the_best_diagonal_gaussian_has_the_conditional_variances():
    """The formula that the tests below rely on: no small move of lam* lowers the exact divergence."""
    p = Linear(D=3)
    for seed in range(20):
        assert np.all(p.kl(p.off(seed, size=1e-3)) > p.kl(p.best()))


@pytest.mark.parametrize("D, M", [(1, 3), (2, 4), (4, 6)])
@pytest.mark.parametrize("start", [0.5, 2.0])
def test_optimum_finds_the_best_member_within_its_tolerance(D, M, start):
    p = Linear(D, M, N=20)
    lam, converged = optimum(p.model, p.theta, p.off(size=start), p.x, rng(), tolerance=0.05)
    assert converged is True
    gap = p.kl(lam) - p.kl(p.best())
    assert 0 <= gap.mean() < 0.05


def test_a_smaller_tolerance_comes_closer():
    p = Linear(N=20)
    gap = {}
    for tolerance in (1.0, 0.005):
        lam, _ = optimum(p.model, p.theta, p.off(size=2.0), p.x, rng(), tolerance, samples=20, max_rounds=20)
        gap[tolerance] = (p.kl(lam) - p.kl(p.best())).mean()
    assert gap[0.005] < 0.005
    assert gap[0.005] < gap[1.0]


def test_optimum_says_so_when_it_has_not_converged():
    p = Linear()
    far = p.best() + [300, 300, 0, 0]
    lam, converged = optimum(p.model, p.theta, far, p.x, rng())
    assert converged is False
    assert np.all(p.kl(lam) < p.kl(far))


def test_an_example_that_its_lam_served_better_keeps_it():
    """One round of steps of size 0.1 from lam* only makes things worse."""
    p = Linear(N=20)
    lam, converged = optimum(p.model, p.theta, p.best(), p.x, rng(), samples=1, steps=3, max_rounds=1)
    assert converged is False
    kept = np.all(lam == p.best(), axis=1)
    assert kept.mean() > 0.5
    assert np.all(p.kl(lam) - p.kl(p.best()) < 0.5)


def test_the_optimum_of_many_examples_is_found_in_batches():
    p = Linear(D=1, N=450)
    lam, converged = optimum(p.model, p.theta, p.off(), p.x, rng())
    assert converged is True
    assert lam.shape == (450, 2)
    assert (p.kl(lam) - p.kl(p.best())).mean() < 0.05


def test_gaps_are_the_exact_split():
    p = Linear(D=4, M=6, N=40)
    lam = p.off()
    split = gaps(p.model, p.theta, lam, p.x, rng(), tolerance=0.02, samples=400, iw_samples=20_000)
    exact = {
        "log_px": p.log_px,
        "approximation_gap": p.kl(p.best()),
        "amortization_gap": p.kl(lam) - p.kl(p.best()),
    }
    assert split.pop("converged") is True
    assert set(split) == set(exact)
    for name, values in split.items():
        assert values.shape == (40,)
        error = (values - exact[name]).std() / np.sqrt(40)
        assert abs((values - exact[name]).mean()) < 0.02 + ERRORS * error, name
    assert exact["approximation_gap"].mean() > 0.2 and exact["amortization_gap"].mean() > 0.2


def test_the_gaps_of_the_exact_posterior_are_zero():
    p = Linear(D=2, correlated=False, N=20)
    split = gaps(p.model, p.theta, p.best(), p.x, rng(), samples=1000, iw_samples=10)
    assert abs(split["approximation_gap"].mean()) < 0.05
    assert abs(split["amortization_gap"].mean()) < 0.05


# --- bits, batches, summaries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nats, dim, bits", [(np.log(2), 1, 1.0), (784 * np.log(2), 784, 1.0), (0.0, 5, 0.0), (7.0, 2, 5.0494)]
)
def test_bits_per_dim_of_a_fair_coin_is_one(nats, dim, bits):
    assert_close(bits_per_dim(nats, dim), bits, 1e-4)


@pytest.fixture
def vae():
    """A VAE on 23 examples: (model, method, theta, phi, x)."""
    r = rng()
    model, method = LatentGaussianModel(MLPDecoder(MLP([2, 5, 6]), Bernoulli())), VAE(MLP([6, 3, 4]))
    return model, method, model.init(r), method.init(r), (r.random((23, 6)) < 0.5).astype(float)


@pytest.mark.parametrize("batch", [1, 5, 23, 500])
def test_the_batches_of_infer_do_not_change_what_needs_no_noise(vae, batch):
    model, method, theta, phi, x = vae
    lam = infer(model, method, theta, phi, x, rng(), batch=batch)
    assert_close(lam, method.encode(model, phi, x)[0], 1e-13)


def test_infer_passes_the_number_of_steps_on(vae):
    model, method, theta, phi, x = vae
    expected = method.infer(model, theta, phi, x, rng(), steps=3)
    np.testing.assert_array_equal(infer(model, method, theta, phi, x, rng(), steps=3), expected)


def test_evaluate_sums_up_what_the_other_functions_say(vae):
    model, method, theta, phi, x = vae
    summary = evaluate(model, method, theta, phi, x, rng(), steps=2, samples=4, iw_samples=50)
    r = rng()
    lam = infer(model, method, theta, phi, x, r, steps=2)
    reconstruction, kl = elbo_parts(model, theta, lam, x, r, 4)
    nll = -importance_weighted(model, theta, lam, x, r, 50)
    expected = {"reconstruction": reconstruction, "kl": kl, "neg_elbo": reconstruction + kl, "nll_iw": nll}
    assert set(summary) == set(expected)
    for name, values in expected.items():
        assert type(summary[name]) is float
        assert_close(summary[name], values.mean(), 1e-13)


def test_evaluate_takes_the_amortization_gap_of_as_many_examples_as_asked_for():
    p = Linear(N=60)
    method = SVI(steps=0)
    summary = evaluate(p.model, method, p.theta, np.zeros(0), p.x, rng(), gap_examples=40)
    lam = method.start(p.model, p.theta, None, p.x, None)
    exact = (p.kl(lam) - p.kl(p.best()))[:40].mean()
    assert summary["gap_converged"] is True
    assert_close(summary["amortization_gap"], exact, 0.05, 0.05)
    assert "nll_iw" not in summary


def test_evaluate_seeks_the_optimum_to_the_tolerance_that_is_asked_for(monkeypatch):
    p, steps = Linear(N=20), []
    adam_round = room._adam_round
    monkeypatch.setattr(room, "_adam_round", lambda *a: steps.append(a[-1]) or adam_round(*a))
    taken = {}
    for tolerance in (0.05, 0.0001):
        steps.clear()
        arguments = p.model, SVI(steps=0), p.theta, np.zeros(0), p.x, rng()
        evaluate(*arguments, gap_examples=20, **{} if tolerance == 0.05 else {"tolerance": tolerance})
        taken[tolerance] = len(steps)
    assert taken[0.05] < taken[0.0001]


def test_measures_are_made_of_the_importance_weighted_estimate(vae):
    model, method, theta, phi, x = vae
    seen = []
    measure = Measure("double", "double", 2, lambda nats, x: seen.append((nats, x)) or 2 * nats.mean())
    summary = evaluate(model, method, theta, phi, x, rng(), iw_samples=20, measures=(measure,))
    assert summary["double"] == 2 * summary["nll_iw"] and list(summary)[-2:] == ["nll_iw", "double"]
    assert seen[0][0].shape == (23,) and seen[0][1] is x


def test_evaluate_of_a_loss_without_parts_gives_the_loss():
    model = AutogradModel(lambda lam, theta, x, noise, beta: lam[:, 0] ** 2 + theta[0] + x[:, 0], 2, 1, 1)
    x = np.arange(4.0)[:, None]
    summary = evaluate(model, SVI(steps=0), np.array([3.0]), np.zeros(0), x, rng())
    assert summary["neg_elbo"] == 3 + x.mean()
    assert np.isnan(summary["kl"])
