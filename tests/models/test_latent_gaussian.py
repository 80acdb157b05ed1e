"""The loss and its gradients: exact linear-Gaussian models, quadrature, then autograd, then the complex step.  [E1]-[E5]

Of a linear-Gaussian model -ELBO is quadratic in the noise, so the mean over all noise vectors of +-1 is its exact
expectation: no sampling error, and ELBO <= log p(x) holds to rounding.
"""

import itertools
import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from savi import reference
from savi.engine.files import InputError
from savi.experiments.evaluation import importance_weighted
from savi.models.decoders import MLPDecoder
from savi.models.discrete import Multinomial, Poisson
from savi.models.gaussian import AnalyticKL, PointMass, SampledKL, join, split
from savi.models.latent_gaussian import LatentGaussianModel
from savi.models.likelihoods import Bernoulli, Gaussian
from savi.nets.mlp import MLP
from savi.testing import Problem, assert_close, check_gradient, lams, problems, seeds, sizes

ALL = [Bernoulli(), Multinomial(), Gaussian("global"), Gaussian("per_dimension"), Gaussian("from_z"), Poisson()]
BOTH_KLS = pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
EVERY_LIKELIHOOD = pytest.mark.parametrize("likelihood", ALL, ids=repr)


def some_problem(likelihood, rng, B=3, S=2, D=2, kl=AnalyticKL):
    """(model, lam, theta, x, noise) with a tanh layer of 5 units, for tests that need one of each kind."""
    model = LatentGaussianModel(MLPDecoder(MLP([D, 5, 4]), likelihood), rng.normal(0, 0.3, 2 * D), kl)
    x = rng.integers(0, 2, (B, likelihood.data_dim(4))).astype(float)
    return model, rng.normal(0, 1, (B, 2 * D)), rng.normal(0, 0.7, model.size), x, rng.normal(size=(S, B, D))


def reference_gradients(p):
    """(loss (B,), d_lam (B, 2D), d_theta (P,)) of a Problem by autograd."""

    def loss(lam, theta):
        return reference.loss(p.model, lam, theta, p.x, p.noise, p.beta)

    with np.errstate(over="ignore"):  # autograd's tanh' is 1 / cosh^2, and 1 / inf is right
        return loss(p.lam, p.theta), *autograd.grad(lambda *point: anp.sum(loss(*point)), (0, 1))(p.lam, p.theta)


def largest_log_variance(p):
    """The largest |log s2_x| that the net of a Gaussian("from_z") gives at a Problem; 0 for every other likelihood."""
    decoder, (mu, log_var) = p.model.decoder, split(p.lam)
    if getattr(decoder.likelihood, "variance", "") != "from_z":
        return 0
    out = decoder.net.reference(p.theta, mu + np.exp(log_var / 2) * p.noise)
    return np.abs(split(out)[1]).max()


def assert_matches_reference(p, rtol=1e-9):
    """loss, d_lam and d_theta of a Problem. Where units saturate, 1 - h^2 is right to eps absolutely, hence the atol."""
    loss, d_lam, d_theta = reference_gradients(p)
    atol = rtol * (1 + np.abs(loss).max())
    evaluation = p.model.evaluate(p.lam, p.theta, p.x, p.noise, p.beta)
    assert_close(p.model.loss(p.lam, p.theta, p.x, p.noise, p.beta), loss, rtol, name="loss")
    assert_close(evaluation.loss, loss, rtol, name="the evaluation's loss")
    assert_close(evaluation.d_lam, d_lam, rtol, atol, name="d_lam")
    assert_close(p.model.theta_gradient(p.lam, p.theta, p.x, p.noise, p.beta), d_theta, rtol, atol, name="d_theta")


# --- linear-Gaussian models: everything is known ------------------------------------------------------------------------


class Linear:
    """x = z W + b + N(0, s2), z ~ N(mu_p, s2_p): log p(x) by linear algebra; the posterior is diagonal, as W W^T is."""

    def __init__(self, seed, D=2, M=3, B=2, kl=AnalyticKL, variance="global"):
        rng = np.random.default_rng(seed)
        rotation = np.linalg.qr(rng.normal(size=(M, M)))[0]
        self.W, self.b = rng.uniform(0.3, 2, (D, 1)) * rotation[:D], rng.normal(size=M)
        self.mu_p, self.s2_p, self.s2 = rng.normal(size=D), np.exp(rng.uniform(-1, 1, D)), math.exp(rng.uniform(-1, 1))
        self.x = rng.normal(0, 2, (B, M))
        self.model = LatentGaussianModel(
            MLPDecoder(MLP([D, M], "identity"), Gaussian()), join(self.mu_p, np.log(self.s2_p)), kl
        )
        self.theta = np.concatenate([self.W.ravel(), self.b, [math.log(self.s2)]])
        signs = np.array(list(itertools.product([-1.0, 1.0], repeat=D)))
        self.noise = np.tile(signs[:, None, :], (1, B, 1))

    def log_px(self):
        """log N(x; mu_p W + b, W^T diag(s2_p) W + s2 I), (B,)."""
        cov = self.W.T @ np.diag(self.s2_p) @ self.W + self.s2 * np.eye(len(self.b))
        residual = self.x - self.mu_p @ self.W - self.b
        quadratic = np.einsum("bi,ij,bj->b", residual, np.linalg.inv(cov), residual)
        return -0.5 * (len(self.b) * math.log(2 * math.pi) + np.linalg.slogdet(cov)[1] + quadratic)

    def posterior(self):
        """lam (B, 2D) of p(z | x)."""
        precision = 1 / self.s2_p + (self.W**2).sum(axis=1) / self.s2
        mu = (self.mu_p / self.s2_p + (self.x - self.b) @ self.W.T / self.s2) / precision
        return join(mu, np.tile(-np.log(precision), (len(self.x), 1)))


def random_linear(draw_seed, kl=AnalyticKL):
    rng = np.random.default_rng(draw_seed)
    D = int(rng.integers(1, 4))
    return Linear(draw_seed, D=D, M=int(rng.integers(D, 5)), B=int(rng.integers(1, 4)), kl=kl)


@BOTH_KLS
@given(seed=seeds, data=st.data())
@settings(max_examples=50)
def test_the_elbo_never_exceeds_log_px(kl, seed, data):
    case = random_linear(seed, kl)
    D = case.model.latent_dim
    lam = data.draw(lams(len(case.x), D))
    elbo = -case.model.loss(lam, case.theta, case.x, case.noise)
    assert np.all(elbo <= case.log_px() + 1e-12 * np.abs(elbo))


@BOTH_KLS
@given(seed=seeds)
@settings(max_examples=50)
def test_at_the_exact_posterior_the_elbo_is_log_px_and_its_gradient_zero(kl, seed):
    case = random_linear(seed, kl)
    e = case.model.evaluate(case.posterior(), case.theta, case.x, case.noise)
    assert_close(e.loss, -case.log_px(), rtol=1e-11)
    assert_close(e.d_lam, np.zeros_like(e.d_lam), atol=1e-10)


@given(seed=seeds, data=st.data())
@settings(max_examples=50)
def test_the_gap_of_the_bound_is_the_kl_from_the_posterior(seed, data):
    """[E1]: log p(x) = ELBO + KL(q || p(z|x)), and so `posterior_kl` from the exact posterior is the gap."""
    case = random_linear(seed)
    lam = data.draw(lams(len(case.x), case.model.latent_dim))
    e = case.model.evaluate(lam, case.theta, case.x, case.noise)
    value, grad = case.model.posterior_kl(lam, case.posterior())
    scale = 1 + np.abs(e.loss).max()
    assert_close(value, case.log_px() + e.loss, rtol=1e-10, atol=1e-10 * scale)
    assert_close(grad, e.d_lam, rtol=1e-10, atol=1e-10 * scale)


@given(seed=seeds, samples=sizes)
@settings(max_examples=50)
def test_at_the_exact_posterior_every_importance_weight_is_log_px(seed, samples):
    case = random_linear(seed)
    shape = (samples, len(case.x), case.model.latent_dim)
    noise = np.random.default_rng(seed).standard_normal(shape)
    weights = case.model.log_weights(case.posterior(), case.theta, case.x, noise)
    assert_close(weights, np.tile(case.log_px(), (samples, 1)), rtol=1e-10)


def test_the_gradient_of_log_px_is_theta_s_gradient_at_the_exact_posterior():
    case = Linear(3)

    def log_px(theta):
        case.W, case.b, case.s2 = theta[:6].reshape(2, 3), theta[6:9], math.exp(theta[9])
        return case.log_px()

    lam = case.posterior()
    check_gradient(log_px, case.theta, -case.model.theta_gradient(lam, case.theta, case.x, case.noise))


# --- the variance gradient of [LI], whose printed sign is wrong ---------------------------------------------------------


def variance_gradients(case, lam):
    """d ELBO / d s2 of a 1-D case as [E11] derives it and as [LI] prints it: +1/(2 s2) against -1/(2 s2)."""
    (mu, log_var), (w, b) = lam[0], case.theta[:2]
    s2 = math.exp(log_var)
    terms = []
    for e in (-1.0, 1.0):
        z = mu + math.sqrt(s2) * e
        bottom_up, top_down = w * (case.x[0, 0] - w * z - b) / case.s2, (z - case.mu_p[0]) / case.s2_p[0]
        terms.append((bottom_up - top_down) * e / (2 * math.sqrt(s2)))
    return np.mean(terms) + 1 / (2 * s2), np.mean(terms) - 1 / (2 * s2)


def elbo_by_quadrature(case, mu, s2):
    """E_q[log p(x, z) - log q(z)] of a 1-D case on a grid, from the textbook density."""

    def log_normal(a, m, v):
        return -0.5 * np.log(2 * np.pi * v) - (a - m) ** 2 / (2 * v)

    z = np.linspace(mu - 12 * math.sqrt(s2), mu + 12 * math.sqrt(s2), 2001)
    log_q = log_normal(z, mu, s2)
    log_p = log_normal(case.x[0, 0], z * case.W[0, 0] + case.b[0], case.s2) + log_normal(z, case.mu_p[0], case.s2_p[0])
    return np.sum(np.exp(log_q) * (log_p - log_q)) * (z[1] - z[0])


@BOTH_KLS
@pytest.mark.parametrize("lam", [(0.3, 0.0), (-1.0, -2.0), (2.0, 1.5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_entropy_term_of_the_variance_gradient_is_plus_one_over_two_s2_not_minus_as_printed(seed, lam, kl):
    case, lam = Linear(seed, D=1, M=1, B=1, kl=kl), np.array([lam])
    s2 = np.exp(lam[:, 1])
    right, printed = variance_gradients(case, lam)
    truth = autograd.grad(
        lambda s2: (
            -reference.loss(case.model, anp.array([[lam[0, 0], anp.log(s2[0])]]), case.theta, case.x, case.noise)[0]
        )
    )(s2)

    def elbo(s2):
        return elbo_by_quadrature(case, lam[0, 0], s2[0])

    ours = -case.model.evaluate(lam, case.theta, case.x, case.noise).d_lam[:, 1] / s2  # ours is of the loss, in log s2
    for gradient in (np.array([right]), truth, ours):
        check_gradient(elbo, s2, gradient)
    assert_close(ours, truth, rtol=1e-12)
    assert_close(right - printed, 1 / s2[0], rtol=1e-12)
    with pytest.raises(AssertionError, match="the gradient is off"):
        check_gradient(elbo, s2, np.array([printed]))


# --- against autograd ---------------------------------------------------------------------------------------------------


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=30)
def test_loss_and_gradients_are_the_references(likelihood, data):
    assert_matches_reference(data.draw(problems(likelihood)))


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=30)
def test_loss_and_gradients_are_the_references_where_units_saturate(likelihood, data):
    problem = data.draw(problems(likelihood, extreme=True))
    assume(largest_log_variance(problem) <= 30)
    assert_matches_reference(problem)


@BOTH_KLS
@EVERY_LIKELIHOOD
@pytest.mark.parametrize("mu, log_var", [(10.0, 10.0), (-10.0, -10.0), (10.0, -30.0)])
def test_loss_and_gradients_are_the_references_at_the_corners(likelihood, kl, mu, log_var):
    model, lam, theta, x, noise = some_problem(likelihood, np.random.default_rng(0), kl=kl)
    split(lam)[0][...], split(lam)[1][...] = mu, log_var
    assert_matches_reference(Problem(model=model, lam=lam, theta=theta, x=x, noise=noise, beta=0.3))


# --- against the complex step -------------------------------------------------------------------------------------------


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=20)
def test_gradients_agree_by_complex_step(likelihood, data):
    p = data.draw(problems(likelihood))
    atol = 1e-12 * (1 + np.abs(p.model.loss(p.lam, p.theta, p.x, p.noise)).max())
    d_lam = p.model.evaluate(p.lam, p.theta, p.x, p.noise, p.beta).d_lam
    check_gradient(lambda lam: p.model.loss(lam, p.theta, p.x, p.noise, p.beta), p.lam, d_lam, "complex", atol=atol)
    d_theta = p.model.theta_gradient(p.lam, p.theta, p.x, p.noise, p.beta)
    check_gradient(
        lambda theta: p.model.loss(p.lam, theta, p.x, p.noise, p.beta), p.theta, d_theta, "complex", atol=atol
    )


@BOTH_KLS
@EVERY_LIKELIHOOD
def test_gradients_agree_by_central_differences(likelihood, kl):
    model, lam, theta, x, noise = some_problem(likelihood, np.random.default_rng(1), kl=kl)
    check_gradient(lambda lam: model.loss(lam, theta, x, noise), lam, model.evaluate(lam, theta, x, noise).d_lam)
    check_gradient(lambda theta: model.loss(lam, theta, x, noise), theta, model.theta_gradient(lam, theta, x, noise))


# --- the parts ----------------------------------------------------------------------------------------------------------


@given(problem=problems())
@settings(max_examples=50)
def test_the_loss_is_the_reconstruction_plus_beta_times_the_kl(problem):
    p = problem
    reconstruction, kl = p.model.parts(p.lam, p.theta, p.x, p.noise)
    atol = 1e-12 * (1 + np.abs(reconstruction).max() + np.abs(kl).max())
    assert_close(p.model.loss(p.lam, p.theta, p.x, p.noise, p.beta), reconstruction + p.beta * kl, atol=atol)
    assert_close(p.model.loss(p.lam, p.theta, p.x, p.noise, 0.0), reconstruction, atol=atol)
    assert_close(p.model.loss(p.lam, p.theta, p.x, p.noise), reconstruction + kl, atol=atol)


@given(problem=problems())
@settings(max_examples=50)
def test_a_gradient_alone_is_the_evaluations_gradient(problem):
    alone = problem.objective().gradient(problem.lam, problem.noise)
    whole = problem.objective().evaluate(problem.lam, problem.noise)
    np.testing.assert_array_equal(alone.d_lam, whole.d_lam)
    assert alone.loss is None


@given(lam=lams(2, 2), target=lams(2, 2))
@settings(max_examples=50)
def test_posterior_kl_is_the_divergence_with_its_gradient_in_the_first_argument(lam, target):
    model = LatentGaussianModel(MLPDecoder(MLP([2, 3]), Bernoulli()))
    (mu, s2), (mu_t, s2_t) = ((split(l)[0], np.exp(split(l)[1])) for l in (lam, target))
    value, grad = model.posterior_kl(lam, target)
    assert_close(
        value, 0.5 * (np.log(s2_t / s2) + (s2 + (mu - mu_t) ** 2) / s2_t - 1).sum(axis=1), rtol=1e-9, atol=1e-12
    )
    check_gradient(lambda lam: model.posterior_kl(lam, target)[0], lam, grad, "complex", atol=1e-11)
    assert_close(model.posterior_kl(target, target)[1], np.zeros_like(lam))


@EVERY_LIKELIHOOD
def test_log_weights_are_log_px_plus_log_prior_minus_log_q_of_every_sample(likelihood):
    model, lam, theta, x, noise = some_problem(likelihood, np.random.default_rng(2))
    weights = model.log_weights(lam, theta, x, noise)
    assert weights.shape == (2, 3)
    for s, b in itertools.product(range(2), range(3)):
        expected, z = 0.0, []
        for d in range(2):
            mu, log_var, mu_p, log_var_p = lam[b, d], lam[b, 2 + d], model.prior[d], model.prior[2 + d]
            z.append(mu + math.exp(log_var / 2) * noise[s, b, d])
            expected += -log_var_p / 2 - (z[d] - mu_p) ** 2 / (2 * math.exp(log_var_p))  # log p(z), up to log 2 pi / 2
            expected -= -log_var / 2 - noise[s, b, d] ** 2 / 2
        expected += likelihood.reference(
            model.decoder.net.reference(theta, np.array(z)), x[b], theta[model.decoder.net.size :]
        )
        assert_close(weights[s, b], expected, rtol=1e-12)


# --- what the batch, the objective and the precision do not change ------------------------------------------------------


@given(problem=problems(), seed=seeds)
@settings(max_examples=50)
def test_an_example_does_not_see_the_others(problem, seed):
    p, rng = problem, np.random.default_rng(seed)
    chosen = rng.permutation(len(p.x))[: rng.integers(1, len(p.x) + 1)]
    whole = p.model.evaluate(p.lam, p.theta, p.x, p.noise, p.beta)
    part = p.model.evaluate(p.lam[chosen], p.theta, p.x[chosen], p.noise[:, chosen], p.beta)
    scale = 1e-12 * (1 + np.abs(whole.loss).max() + np.abs(whole.d_lam).max())
    assert_close(part.loss, whole.loss[chosen], atol=scale)
    assert_close(part.d_lam, whole.d_lam[chosen], atol=scale)
    weights = p.model.log_weights(p.lam, p.theta, p.x, p.noise)
    some = p.model.log_weights(p.lam[chosen], p.theta, p.x[chosen], p.noise[:, chosen])
    assert_close(some, weights[:, chosen], atol=1e-12 * (1 + np.abs(weights).max()))


@given(problem=problems())
@settings(max_examples=50)
def test_theta_s_gradient_is_the_sum_of_the_examples_and_a_weight_per_example_weighs_them(problem):
    p = problem
    weight = np.linspace(-1, 2, len(p.x))
    single = [
        p.model.theta_gradient(p.lam[b : b + 1], p.theta, p.x[b : b + 1], p.noise[:, b : b + 1], p.beta)
        for b in range(len(p.x))
    ]
    f = p.objective()
    weighted = f.theta_sum().add(f.gradient(p.lam, p.noise), weight).value()
    atol = 1e-11 * (1 + np.abs(single).max())
    assert_close(p.model.theta_gradient(p.lam, p.theta, p.x, p.noise, p.beta), np.sum(single, axis=0), atol=atol)
    assert_close(weighted, np.tensordot(weight, single, 1), atol=atol)


@given(problem=problems())
@settings(max_examples=50)
def test_the_loss_is_the_mean_over_its_samples(problem):
    p = problem
    single = [p.model.evaluate(p.lam, p.theta, p.x, noise[None], p.beta) for noise in p.noise]
    whole = p.model.evaluate(p.lam, p.theta, p.x, p.noise, p.beta)
    atol = 1e-12 * (1 + np.abs([e.d_lam for e in single]).max())
    assert_close(whole.loss, np.mean([e.loss for e in single], axis=0), rtol=1e-12, atol=atol)
    assert_close(whole.d_lam, np.mean([e.d_lam for e in single], axis=0), rtol=1e-12, atol=atol)


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("keep", [1, 3, 5])
def test_evaluations_of_one_objective_stay_valid_while_others_are_made(likelihood, keep):
    rng = np.random.default_rng(0)
    model, lam, theta, x, noise = some_problem(likelihood, rng)
    f, moved = model.objective(theta, x), [lam + 0.1 * i for i in range(5)]
    f.reserve(keep)
    evaluations = [f.evaluate(l, noise) for l in moved]
    for l, e in zip(moved, evaluations):
        alone = model.evaluate(l, theta, x, noise)
        assert_close(e.loss, alone.loss, rtol=1e-14)
        assert_close(e.d_lam, alone.d_lam, rtol=1e-13)
        assert_close(f.theta_sum().add(e).value(), model.theta_gradient(l, theta, x, noise), rtol=1e-12)


@EVERY_LIKELIHOOD
def test_the_same_call_gives_the_same_bits_and_leaves_its_arguments_alone(likelihood):
    model, *point = some_problem(likelihood, np.random.default_rng(0))
    before = [a.copy() for a in point]

    def everything():
        e = model.evaluate(*point)
        return [
            e.loss,
            e.d_lam,
            model.loss(*point),
            model.theta_gradient(*point),
            model.log_weights(*point),
            *model.parts(*point),
        ]

    for first, second in zip(everything(), everything()):
        np.testing.assert_array_equal(first, second)
    for a, b in zip(point, before):
        np.testing.assert_array_equal(a, b)


@BOTH_KLS
@EVERY_LIKELIHOOD
@pytest.mark.parametrize("dtype, rtol", [(np.float32, 1e-4), (np.float64, 0), (np.complex128, 1e-12)])
def test_results_have_the_precision_of_the_arguments_and_agree_across_precisions(likelihood, kl, dtype, rtol):
    model, lam, theta, x, noise = some_problem(likelihood, np.random.default_rng(0), B=5, S=3, kl=kl)

    def everything(dtype):
        real = np.zeros(0, dtype).real.dtype
        point = lam.astype(dtype), theta.astype(dtype), x.astype(np.uint8), noise.astype(real)
        e = model.evaluate(*point, beta=0.3)
        results = [e.loss, e.d_lam, model.loss(*point, beta=0.3), model.theta_gradient(*point), *model.parts(*point)]
        results += [*model.posterior_kl(point[0], 2 * point[0]), model.log_weights(*point)]
        f = model.objective(*point[1:3])
        product = f.hvp(f.evaluate(point[0], point[3]), point[0])
        return [*results, product.lam, f.theta_sum().add(product).value()]

    results = everything(dtype)
    assert [r.dtype for r in results] == [np.dtype(dtype)] * len(results)
    for result, expected in zip(results, everything(np.float64)):
        assert_close(result, expected, rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_drawn_arrays_have_the_shape_the_precision_and_the_moments_they_should(dtype):
    prior = np.array([0.5, -1.0, 0.2, 0.3])
    model, rng = LatentGaussianModel(MLPDecoder(MLP([2, 3]), Bernoulli()), prior), np.random.default_rng(0)
    noise = model.draw_noise(rng, 200, 100, dtype)
    assert noise.shape == (200, 100, 2) and noise.dtype == dtype
    assert abs(noise.mean()) <= 6 / math.sqrt(noise.size)
    assert abs(noise.var() - 1) <= 6 * math.sqrt(2 / noise.size)
    lam = model.prior_lam(3, dtype)
    assert lam.dtype == dtype
    np.testing.assert_array_equal(lam, np.tile(prior.astype(dtype), (3, 1)))
    assert model.init(rng, dtype).dtype == dtype and model.init(rng).shape == (model.size,)


# --- the public edge ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes, message",
    [
        ({"lam": (64, 30)}, "lam has shape (64, 30); x of 64 examples and latent_dim 16 need (64, 32)"),
        ({"lam": (32,)}, "lam has shape (32,)"),
        ({"lam": (63, 32)}, "lam has shape (63, 32); x of 64 examples"),
        ({"noise": (64, 16)}, "noise has shape (64, 16); expected (S, 64, 16)"),
        ({"noise": (2, 64, 15)}, "noise has shape (2, 64, 15)"),
        ({"noise": (2, 1, 16)}, "noise has shape (2, 1, 16)"),
        ({"theta": (50,)}, "theta has shape (50,)"),
        ({"x": (64, 4)}, "x has shape (64, 4)"),
    ],
)
def test_a_wrong_shape_is_refused_with_its_numbers_by_every_verb(shapes, message):
    model = LatentGaussianModel(MLPDecoder(MLP([16, 3]), Bernoulli()))
    shapes = {"lam": (64, 32), "theta": (51,), "x": (64, 3), "noise": (2, 64, 16)} | shapes
    point = [np.zeros(shapes[name]) for name in ("lam", "theta", "x", "noise")]
    for verb in (model.loss, model.parts, model.evaluate, model.theta_gradient, model.log_weights):
        with pytest.raises(InputError) as caught:
            verb(*point)
        assert message in str(caught.value)


def test_an_x_outside_the_support_is_refused():
    model = LatentGaussianModel(MLPDecoder(MLP([1, 2]), Bernoulli()))
    with pytest.raises(InputError, match="x has values from 0 to 3"):
        model.loss(np.zeros((1, 2)), np.zeros(4), np.array([[0, 3]]), np.zeros((1, 1, 1)))


def test_a_wrong_prior_is_refused_with_its_numbers():
    with pytest.raises(InputError, match=r"prior has shape \(3,\); latent_dim 2 needs \(4,\)"):
        LatentGaussianModel(MLPDecoder(MLP([2, 3]), Bernoulli()), prior=np.zeros(3))


@pytest.mark.parametrize("log_var", [-20.0, -30.0])
def test_log_weights_in_float32_hold_at_small_variances(log_var):
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 3]), Bernoulli()))
    theta, x, noise = model.init(rng), np.ones((1, 3)), rng.standard_normal((4, 1, 2))
    lam = np.array([[3.0, 3.0, log_var, log_var]])
    arrays = lam, theta, x, noise
    exact, rounded = (model.log_weights(*(a.astype(t) for a in arrays)) for t in (np.float64, np.float32))
    assert_close(rounded, exact, rtol=0, atol=1e-4)


def test_the_same_evaluation_twice_gives_the_same_bits():
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 7, 5]), Bernoulli()))
    f = model.objective(model.init(rng), np.ones((3, 5)))
    lam, noise = rng.standard_normal((3, 4)), rng.standard_normal((2, 3, 2))
    assert np.array_equal(f.gradient(lam, noise).d_lam, f.gradient(lam, noise).d_lam)


def test_noise_without_samples_and_targets_of_another_shape_get_a_sentence():
    model = LatentGaussianModel(MLPDecoder(MLP([2, 5]), Bernoulli()))
    theta, x, lam = model.init(np.random.default_rng(0)), np.ones((3, 5)), np.zeros((3, 4))
    with pytest.raises(InputError, match=r"noise has shape \(0, 3, 2\)"):
        model.loss(lam, theta, x, np.zeros((0, 3, 2)))
    with pytest.raises(InputError, match=r"its target \(3, 2\)"):
        model.posterior_kl(lam, lam[:, :2])


def test_with_a_point_mass_the_loss_is_minus_the_log_joint_and_no_noise_is_drawn():
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 4, 5]), Bernoulli()), kl=PointMass)
    theta, x, mu = model.init(rng), (rng.random((3, 5)) < 0.5).astype(float), rng.normal(size=(3, 2))
    noise = model.draw_noise(rng, 2, 3)
    assert noise.shape == (2, 3, 2) and not noise.any()
    lam = np.concatenate([mu, rng.normal(size=(3, 2))], axis=1)
    logits = model.decoder.net.reference(theta, mu)
    log_px = (x * logits - np.logaddexp(0, logits)).sum(axis=1)
    log_pz = -0.5 * (np.log(2 * np.pi) + mu**2).sum(axis=1)
    assert_close(model.loss(lam, theta, x, noise), -log_px - log_pz, rtol=1e-12)
    assert not model.evaluate(lam, theta, x, noise).d_lam[:, 2:].any()


def test_a_point_mass_is_one_whatever_the_noise_and_its_judge_knows_it():
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 4, 5]), Bernoulli()), rng.normal(size=4), PointMass)
    theta, x, lam = model.init(rng), (rng.random((3, 5)) < 0.5).astype(float), rng.normal(size=(3, 4))
    noise, v = rng.standard_normal((2, 3, 2)), rng.normal(size=(3, 4))  # given by hand: not drawn by the model
    f, still = model.objective(theta, x, 0.7), model.draw_noise(rng, 2, 3)
    assert_close(f.loss(lam, noise), f.loss(lam, still), rtol=1e-14)
    assert_close(
        f.loss(lam, noise), reference.loss(model, lam, theta, x, noise, 0.7), rtol=1e-12, name="the judge's loss"
    )
    e, judge = f.evaluate(lam, noise), lambda lam, theta: reference.loss(model, lam, theta, x, noise, 0.7)
    d_lam, d_theta = autograd.grad(lambda lam, theta: anp.sum(judge(lam, theta)), (0, 1))(lam, theta)
    assert_close(e.d_lam, d_lam, rtol=1e-12, name="d_lam")
    assert_close(f.theta_sum().add(e).value(), d_theta, rtol=1e-12, name="d_theta")
    product, (h, h_theta) = f.hvp(e, v), reference.hessian_products(judge, lam, theta, v)
    assert_close(product.lam, h, rtol=1e-12, name="H_ll v")
    assert_close(f.theta_sum().add(product).value(), h_theta, rtol=1e-12, name="H_tl v")


def test_a_point_mass_has_no_importance_weights_and_says_so():
    model = LatentGaussianModel(MLPDecoder(MLP([2, 5]), Bernoulli()), kl=PointMass)
    theta, x, lam = model.init(np.random.default_rng(0)), np.ones((3, 5)), np.zeros((3, 4))
    assert "log_weights" not in model.supports
    for estimate in (model.log_weights, model.objective(theta, x).log_weights):
        arguments = (
            (lam, theta, x, np.zeros((1, 3, 2))) if estimate == model.log_weights else (lam, np.zeros((1, 3, 2)))
        )
        with pytest.raises(InputError, match="q is a PointMass, which has no density"):
            estimate(*arguments)
    with pytest.raises(InputError, match="q is a PointMass"):
        importance_weighted(model, theta, lam, x, np.random.default_rng(0), 10)
