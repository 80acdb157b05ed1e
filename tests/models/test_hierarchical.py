"""Hierarchies: linear-Gaussian ones against conjugate algebra, one level against LatentGaussianModel, all derivatives against
autograd and the complex step, and mutations of each term, which these checks must catch.  [E12]

Of a linear-Gaussian model -ELBO is quadratic in the noise, so the mean over all noise vectors of +-1 is its exact expectation.
"""

import itertools

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import savi
from savi import MLP, SAVAE, SVI, VAE, VAESVI, Bernoulli, Gaussian, MLPDecoder, PointMass, Poisson, hvp, reference
from savi.engine.files import InputError
from savi.experiments.evaluation import evaluate, importance_weighted
from savi.inference.encodings import Data, Error, Gradient
from savi.inference.iterative import Iterative, network
from savi.models import given_levels
from savi.models.gaussian import AnalyticKL, SampledKL, join, split
from savi.models.hierarchical import HierarchicalModel
from savi.models.latent_gaussian import LatentGaussianModel
from savi.models.levels import Level, LevelTerm
from savi.nets.highway import HighwayMLP
from savi.testing import (
    Problem,
    arrays,
    assert_close,
    check_gradient,
    lams,
    likelihoods,
    mlps,
    observations,
    seeds,
    sizes,
)

KLS = [AnalyticKL, SampledKL, PointMass]
VARIANCES = ["from_z", "per_dimension", "global", 0.5]


@st.composite
def hierarchies(draw, levels=(1, 2, 3), kls=KLS):
    """A HierarchicalModel of any depth, likelihood, nets, variances and KL form, and a point to evaluate it at."""
    L, B, S, M = draw(st.sampled_from(levels)), draw(sizes), draw(sizes), draw(sizes)
    dims, likelihood = [draw(sizes) for _ in range(L)], draw(likelihoods)
    decoder, made = MLPDecoder(draw(mlps(dims[0], likelihood.outputs(M))), likelihood), []
    for below, above in itertools.pairwise(dims):
        variance = draw(st.sampled_from(VARIANCES))
        made.append(Level(draw(mlps(above, below * (2 if variance == "from_z" else 1))), variance))
    model = HierarchicalModel(
        decoder, made, draw(st.none() | arrays((2 * dims[-1],), -1, 1)), draw(st.sampled_from(kls))
    )
    return Problem(
        model=model, lam=draw(lams(B, model.latent_dim)), theta=draw(arrays((model.size,), -1, 1)),
        x=draw(observations(likelihood, B, M)), noise=draw(arrays((S, B, model.latent_dim))),
        beta=draw(st.sampled_from([1.0, 0.0, 0.3])), v=draw(lams(B, model.latent_dim)),
    )  # fmt: skip


def some(kl=AnalyticKL, variances=("from_z", "global"), likelihood=Bernoulli(), B=3, S=2, net=MLP, seed=0):  # noqa: B008
    """A Problem of levels with 2, 3, 2, ... dimensions, and five data dimensions."""
    rng, dims = np.random.default_rng(seed), [2, 3, 2, 1][: len(variances) + 1]
    made = [
        Level(net([above, 4, 4, below * (2 if variance == "from_z" else 1)]), variance)
        for (below, above), variance in zip(itertools.pairwise(dims), variances)
    ]
    decoder = MLPDecoder(MLP([2, 5, likelihood.outputs(5)]), likelihood)
    model = HierarchicalModel(decoder, made, rng.normal(0, 0.3, 2 * dims[-1]), kl)
    lam, v = rng.normal(size=(2, B, model.lam_size))
    x, noise = (rng.random((B, 5)) < 0.5).astype(float), rng.normal(size=(S, B, model.latent_dim))
    return Problem(model=model, lam=lam, theta=rng.normal(0, 0.6, model.size), x=x, noise=noise, beta=0.7, v=v)


def judge(p):
    """The loss (B,) as a function of lam and theta, in autograd."""
    return lambda lam, theta: reference.hierarchical_loss(p.model, lam, theta, p.x, p.noise, p.beta)


def check(p, rtol=1e-8):
    """AssertionError unless loss, gradients and exact Hessian products of a Problem are autograd's."""
    f, loss = p.objective(), judge(p)
    with np.errstate(over="ignore"):  # autograd's tanh' is 1 / cosh^2, and 1 / inf is right
        value, (d_lam, d_theta) = (
            loss(p.lam, p.theta),
            autograd.grad(lambda *a: anp.sum(loss(*a)), (0, 1))(p.lam, p.theta),
        )
        h_lam, h_theta = reference.hessian_products(loss, p.lam, p.theta, p.v)
    e = f.evaluate(p.lam, p.noise)
    atol = rtol * (1 + np.abs(value).max())
    assert_close(e.loss, value, rtol, name="loss")
    assert_close(f.loss(p.lam, p.noise), value, rtol, name="the parts' loss")
    assert_close(e.d_lam, d_lam, rtol, atol, name="d_lam")
    assert_close(f.gradient(p.lam, p.noise).d_lam, d_lam, rtol, atol, name="the gradient alone")
    assert_close(f.theta_sum().add(e).value(), d_theta, rtol, atol, name="d_theta")
    product = f.hvp(e, p.v)
    assert_close(product.lam, h_lam, rtol, atol, name="H_ll v")
    assert_close(f.theta_sum().add(product).value(), h_theta, rtol, atol, name="H_tl v")


# --- linear-Gaussian hierarchies: everything is known --------------------------------------------------------------------------


class Linear:
    """z^L ~ N(mu_p, s2_p), z^l = z^{l+1} W + b + N(0, s2), x likewise: the joint of (x, z) is one Gaussian."""

    def __init__(self, seed, kl=AnalyticKL, levels=2):
        rng = np.random.default_rng(seed)
        dims = [3, *rng.integers(1, 3, levels)]  # of x, z^1, ..., z^L
        prior = rng.normal(0, 0.5, 2 * dims[-1])
        decoder = MLPDecoder(MLP([dims[1], 3], "identity"), Gaussian())
        made = [
            Level(MLP([above, below], "identity"), "per_dimension") for below, above in itertools.pairwise(dims[1:])
        ]
        self.model = HierarchicalModel(decoder, made, prior, kl)
        self.theta, self.x = rng.normal(0, 0.7, self.model.size), rng.normal(0, 1.5, (2, 3))
        self.lam = rng.normal(0, 0.5, (2, self.model.lam_size))
        signs = np.array(list(itertools.product([-1.0, 1.0], repeat=self.model.latent_dim)))
        self.noise = np.tile(signs[:, None], (1, 2, 1))
        self.mean, self.cov = self._joint(dims, prior)

    def _joint(self, dims, prior):
        """Mean and covariance of [x, z^1, ..., z^L], from the top down."""
        mean, cov = split(prior)[0], np.diag(np.exp(split(prior)[1]))
        for below, above, theta in reversed(list(zip(dims[:-1], dims[1:], self.model.thetas(self.theta)))):
            n = (above + 1) * below
            (*W, b), s2 = theta[:n].reshape(above + 1, below), np.exp(theta[n:])
            A = np.zeros((len(mean), below))
            A[:above] = W
            noise = np.diag(np.broadcast_to(s2, below))
            cov = np.block([[A.T @ cov @ A + noise, A.T @ cov], [cov @ A, cov]])
            mean = np.concatenate([mean @ A + b, mean])
        return mean, cov

    def log_joint(self, xz):
        """log p(x, z) of rows (..., 3 + D), or of x alone (..., 3)."""
        n, d = xz.shape[-1], xz - self.mean[: xz.shape[-1]]
        cov = self.cov[:n, :n]
        return -0.5 * (n * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1] + np.sum(d @ np.linalg.inv(cov) * d, axis=-1))

    def posterior(self):
        """Means (B, D) and the covariance (D, D) of p(z | x)."""
        gain = np.linalg.solve(self.cov[:3, :3], self.cov[:3, 3:])
        return self.mean[3:] + (self.x - self.mean[:3]) @ gain, self.cov[3:, 3:] - self.cov[3:, :3] @ gain


@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
@pytest.mark.parametrize("levels", [1, 2, 3])
@given(seed=seeds)
@settings(max_examples=15)
def test_the_gap_of_the_bound_is_the_kl_from_the_exact_posterior(levels, kl, seed):
    """[E1] with a posterior that no diagonal Gaussian is: ELBO = log p(x) - KL(q || p(z | x))."""
    case = Linear(seed, kl, levels)
    (mu, log_var), (mean, cov), D = split(case.lam), case.posterior(), case.model.latent_dim
    precision, d = np.linalg.inv(cov), mu - mean
    gap = 0.5 * (np.exp(log_var) @ np.diag(precision) + np.sum(d @ precision * d, axis=1) - D)
    gap += 0.5 * (np.linalg.slogdet(cov)[1] - log_var.sum(axis=1))
    loss = case.model.loss(case.lam, case.theta, case.x, case.noise)
    assert np.all(gap >= 0)
    assert_close(loss, gap - case.log_joint(case.x), rtol=1e-9, name="-ELBO")


@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
@given(seed=seeds)
@settings(max_examples=15)
def test_the_gradient_is_zero_at_the_best_diagonal_gaussian(kl, seed):
    """KL(q || N(m, C)) is smallest at mu = m, s2 = 1 / diag(C^-1)."""
    case = Linear(seed, kl)
    mean, cov = case.posterior()
    best = join(mean, np.tile(-np.log(np.diag(np.linalg.inv(cov))), (2, 1)))
    e = case.model.evaluate(best, case.theta, case.x, case.noise)
    assert_close(e.d_lam, np.zeros_like(e.d_lam), atol=1e-9)


@given(seed=seeds)
@settings(max_examples=15)
def test_log_weights_are_the_exact_log_joint_minus_log_q(seed):
    case = Linear(seed, levels=3)
    noise = np.random.default_rng(seed).standard_normal((4, 2, case.model.latent_dim))
    mu, log_var = split(case.lam)
    z = mu + np.exp(log_var / 2) * noise
    log_q = -0.5 * (np.log(2 * np.pi) + log_var + noise**2).sum(axis=-1)
    xz = np.concatenate([np.broadcast_to(case.x, (4, 2, 3)), z], axis=-1)
    weights = case.model.log_weights(case.lam, case.theta, case.x, noise)
    assert_close(weights, case.log_joint(xz) - log_q, rtol=1e-10)


def test_the_importance_weighted_estimate_is_log_px():
    case = Linear(3)
    mean, cov = case.posterior()
    lam = join(mean, np.tile(np.log(np.diag(cov)), (2, 1)))
    estimate = importance_weighted(case.model, case.theta, lam, case.x, np.random.default_rng(0), 20_000)
    assert_close(estimate, case.log_joint(case.x), rtol=0, atol=0.05)


def test_the_gradient_of_log_px_is_theta_s_gradient_where_q_is_the_posterior():
    """A second level of variance nearly zero leaves the first level's posterior, which is diagonal in one dimension."""
    rng = np.random.default_rng(0)
    model = HierarchicalModel(
        MLPDecoder(MLP([1, 1], "identity"), Gaussian()), [Level(MLP([1, 1], "identity"), 0.7)], [0.2, -60.0]
    )
    theta, x = rng.normal(0, 0.7, model.size), rng.normal(size=(2, 1))

    def moments(theta):
        (w, b, log_s2), (v, c) = model.thetas(theta)
        return w, b, np.exp(log_s2), 0.2 * v + c

    def log_px(theta):
        w, b, s2, m = moments(theta)
        cov = w * w * 0.7 + s2
        return -0.5 * (np.log(2 * np.pi * cov) + (x[:, 0] - w * m - b) ** 2 / cov)

    w, b, s2, m = moments(theta)
    precision = 1 / 0.7 + w * w / s2
    mu = (m / 0.7 + w * (x - b) / s2) / precision
    lam = np.concatenate([mu, 0 * mu + 0.2, 0 * mu - np.log(precision), 0 * mu - 60.0], axis=1)
    noise = np.array(list(itertools.product([-1.0, 1.0], repeat=2)))[:, None] * np.ones((1, 2, 1))
    assert_close(model.loss(lam, theta, x, noise), -log_px(theta), rtol=1e-10)
    check_gradient(log_px, theta, -model.theta_gradient(lam, theta, x, noise))


def test_ancestral_samples_have_the_moments_of_the_joint():
    case = Linear(5, levels=3)
    x, z = case.model.sample(case.theta, 40_000, np.random.default_rng(0))
    drawn = np.concatenate([x, z], axis=1)
    scale = np.sqrt(np.diag(case.cov))
    assert np.all(np.abs(drawn.mean(axis=0) - case.mean) <= 5 * scale / 200)
    assert_close(np.cov(drawn.T) / np.outer(scale, scale), case.cov / np.outer(scale, scale), rtol=0.02)


# --- theorems -------------------------------------------------------------------------------------------------------------


@given(p=hierarchies(levels=(1,)))
@settings(max_examples=40)
def test_one_level_is_the_latent_gaussian_model(p):
    one = LatentGaussianModel(p.model.decoder, p.model.prior, p.model.kl)
    f, g = p.objective(), one.objective(p.theta, p.x, p.beta)
    e, d = f.evaluate(p.lam, p.noise), g.evaluate(p.lam, p.noise)
    pairs = [(e.loss, d.loss), (e.d_lam, d.d_lam), (f.theta_sum().add(e).value(), g.theta_sum().add(d).value())]
    h, k = f.hvp(e, p.v), g.hvp(d, p.v)
    pairs += [(h.lam, k.lam), (f.theta_sum().add(h).value(), g.theta_sum().add(k).value())]
    pairs += [(f.loss(p.lam, p.noise), g.loss(p.lam, p.noise)), *zip(f.parts(p.lam, p.noise), g.parts(p.lam, p.noise))]
    if p.model.kl.has_density:
        pairs.append((f.log_weights(p.lam, p.noise), g.log_weights(p.lam, p.noise)))
    for ours, theirs in pairs:
        assert_close(ours, theirs, rtol=1e-13)
    assert_close(p.model.prior_lam(3), one.prior_lam(3), rtol=0)


@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_level_whose_prior_ignores_the_one_above_separates(kl, variance):
    """With W = 0 in the last layer p(z^1 | z^2) is a constant: f is the one-level loss and the upper level's KL, apart."""
    p = some(kl, (variance,))
    theta_x, theta_1 = p.model.thetas(p.theta)
    level = p.model.levels[0]
    level.net.layers(theta_1[: level.net.size])[-1][:-1] = 0
    prior_1 = level.prior(theta_1, np.zeros(3))
    below = LatentGaussianModel(p.model.decoder, prior_1, kl)
    lam_1, lam_2 = p.model.lam_of(p.lam, 1), p.model.lam_of(p.lam, 2)
    e = p.objective().evaluate(p.lam, p.noise)
    alone = below.objective(theta_x, p.x, p.beta).evaluate(lam_1, p.noise[..., :2])
    above = kl.value(lam_2, p.model.prior, p.noise[..., 2:])
    assert_close(e.loss, alone.loss + p.beta * above, rtol=1e-12)
    assert_close(p.model.lam_of(e.d_lam, 1), alone.d_lam, rtol=1e-12)
    assert_close(p.model.lam_of(e.d_lam, 2), p.beta * kl.gradient(lam_2, p.model.prior, p.noise[..., 2:]), rtol=1e-12)
    v = p.v.copy()
    for half in split(v):
        p.model.of_level(half, 2)[...] = 0
    assert not p.model.lam_of(p.objective().hvp(e, v).lam, 2).any()


def test_the_gradient_at_an_upper_level_is_bottom_up_minus_top_down_as_printed():
    """[LI] eq. 60 with its own symbols, for a linear net: W e^1 - (z^2 - mu_p^2) / s2_p^2, means over the noise."""
    p = some(SampledKL, (0.5,))
    p.model.levels[0].net, p.beta = MLP([3, 2], "identity"), 1.0
    p.model = HierarchicalModel(p.model.decoder, [Level(MLP([3, 2], "identity"), 0.5)], p.model.prior, SampledKL)
    p.theta = p.theta[: p.model.size]
    W, b = p.model.thetas(p.theta)[1][:6].reshape(3, 2), p.model.thetas(p.theta)[1][6:]
    (mu, log_var), (mu_p, log_var_p) = split(p.lam), split(p.model.prior)
    z = mu + np.exp(log_var / 2) * p.noise
    bottom_up = (z[..., :2] - z[..., 2:] @ W - b) / 0.5 @ W.T
    top_down = (z[..., 2:] - mu_p) / np.exp(log_var_p)
    d_mu = -split(p.objective().evaluate(p.lam, p.noise).d_lam)[0]
    assert_close(d_mu[:, 2:], (bottom_up - top_down).mean(axis=0), rtol=1e-12)


# --- against autograd and the complex step ---------------------------------------------------------------------------------


@given(p=hierarchies())
@settings(max_examples=80)
def test_loss_gradients_and_products_are_autograds(p):
    check(p)


@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("net", [MLP, HighwayMLP])
def test_loss_gradients_and_products_are_autograds_for_every_kind_of_level(net, variance, kl):
    check(some(kl, (variance, variance), net=net))


@given(p=hierarchies())
@settings(max_examples=15)
def test_gradients_agree_by_complex_step(p):
    atol = 1e-12 * (1 + np.abs(p.model.loss(p.lam, p.theta, p.x, p.noise)).max())
    d_lam = p.model.evaluate(p.lam, p.theta, p.x, p.noise, p.beta).d_lam
    check_gradient(lambda lam: p.model.loss(lam, p.theta, p.x, p.noise, p.beta), p.lam, d_lam, "complex", atol=atol)
    d_theta = p.model.theta_gradient(p.lam, p.theta, p.x, p.noise, p.beta)
    check_gradient(
        lambda theta: p.model.loss(p.lam, theta, p.x, p.noise, p.beta), p.theta, d_theta, "complex", atol=atol
    )


@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("method", ["complex", "central", "autograd"])
def test_other_products_are_the_exact_one(method, kl):
    p = some(kl)
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    exact, other = hvp.product(f, e, p.v), hvp.product(f, e, p.v, method)
    rtol = 1e-6 if method == "central" else 1e-11
    assert_close(other.lam, exact.lam, rtol)
    assert_close(f.theta_sum().add(other, 0.3).value(), f.theta_sum().add(exact, 0.3).value(), rtol)


def unrolled(p, encoder, theta, phi, noise, step_size, momentum):
    """The loss (B,) of Algorithm 1's forward loop, for autograd."""
    loss = lambda lam, e: reference.hierarchical_loss(p.model, lam, theta, p.x, e, p.beta)  # noqa: E731
    lam, v = encoder.reference(phi, p.x), 0.0
    for e in noise[:-1]:
        v = momentum * v - autograd.elementwise_grad(loss)(lam, e)
        lam = lam + step_size * v
    return loss(lam, noise[-1])


@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_sa_vaes_gradient_is_autograds_through_all_steps(steps, kl):
    p, rng = some(kl), np.random.default_rng(1)
    encoder = MLP([5, 4, p.model.lam_size])
    phi, noise = rng.normal(0, 0.5, encoder.size), rng.normal(size=(steps + 1, *p.noise.shape))
    method = SAVAE(encoder, steps, 0.1, 0.5)
    found = method.gradient(p.model, p.theta, phi, p.x, beta=p.beta, noise=noise)
    total = lambda theta, phi: anp.sum(unrolled(p, encoder, theta, phi, noise, 0.1, 0.5))  # noqa: E731
    assert_close(found[0], unrolled(p, encoder, p.theta, phi, noise, 0.1, 0.5), rtol=1e-10)
    for ours, theirs in zip(found[1:], autograd.grad(total, (0, 1))(p.theta, phi)):
        assert_close(ours, theirs, rtol=1e-8)


# --- mutations, which the checks must catch --------------------------------------------------------------------------------

MUTANTS = {  # of a level's term: what its derivatives become
    "e times 1.001": lambda t: setattr(t, "e", 1.001 * t.e),
    "the closed form's variance times 1.001": lambda t: setattr(t, "ratio", 1.001 * t.ratio),
    "no gradient of log s2_p": lambda t: setattr(t, "d_log_var_p", 0 * t.d_log_var_p),
    "log s2_p without its quadratic term": lambda t: setattr(t, "d_log_var_p", 0.5 - t.ratio / 2),
    "log s2_p without its constant": lambda t: setattr(t, "d_log_var_p", t.d_log_var_p - 0.5),
}
TANGENTS = {
    "e_dot": lambda e, ratio, log_var: (1.001 * e, ratio, log_var),
    "ratio_dot": lambda e, ratio, log_var: (e, 1.001 * ratio, log_var),
    "log_var_p_dot": lambda e, ratio, log_var: (e, ratio, 1.001 * log_var),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_checks_catch_a_changed_term(name, monkeypatch):
    made = LevelTerm.__init__

    def changed(self, *arguments):
        made(self, *arguments)
        MUTANTS[name](self)

    monkeypatch.setattr(LevelTerm, "__init__", changed)
    with pytest.raises(AssertionError, match="is off by"):
        check(some())


@pytest.mark.parametrize("name", TANGENTS)
def test_the_checks_catch_a_changed_tangent(name, monkeypatch):
    made = LevelTerm.tangent
    monkeypatch.setattr(LevelTerm, "tangent", lambda self, *arguments: TANGENTS[name](*made(self, *arguments)))
    with pytest.raises(AssertionError, match=r"H_.l v is off by"):
        check(some())


@pytest.mark.parametrize("verb, name", [("backward", "d_lam"), ("tangent_backward", "H_ll v")])
def test_the_checks_catch_a_lost_bottom_up_term(verb, name, monkeypatch):
    made = getattr(given_levels.GivenLevel, verb)
    monkeypatch.setattr(given_levels.GivenLevel, verb, lambda self, *arguments: 0 * made(self, *arguments))
    with pytest.raises(AssertionError, match=f"{name} is off by"):
        check(some())


def test_the_checks_catch_a_lost_variance_of_its_own(monkeypatch):
    monkeypatch.setattr(given_levels._LevelSum, "_add_eta", lambda self, record, weight: None)
    with pytest.raises(AssertionError, match="d_theta is off by"):
        check(some())


# --- the methods and the rest ----------------------------------------------------------------------------------------------


def all_methods(model):
    """Every method of the house on a hierarchy with five data dimensions."""
    encoder, encodings = MLP([5, 4, model.lam_size]), [Gradient(), Error(), Data()]
    inner = {"steps": 2, "step_size": 0.05}
    per_entry = np.linspace(0.01, 0.1, model.lam_size)
    return [
        VAE(encoder), SVI(**inner), SVI(2, start="random"), SVI(2, step_size=per_entry), SAVAE(encoder, **inner),
        SAVAE(encoder, 2, per_entry, clip=1.0), VAESVI(encoder, **inner), VAESVI(encoder, kl=True, **inner),
        savi.VariationalEM(savi.optimizers.Adam(0.05), 2), Iterative(network(model, encodings, (4, 4)), encodings, 2, 3),
        Iterative(network(model, encodings[:1], (4, 4)), encodings[:1], 2, 3, start=encoder),
    ]  # fmt: skip


def test_every_method_of_the_house_lowers_the_loss_of_a_hierarchy():
    p = some(S=1, B=20)
    for method in all_methods(p.model):
        result = savi.fit(
            p.model, method, p.x, epochs=60, seed=0, batch=10, dtype=float, progress=False, learning_rate=0.01
        )
        losses = [row["train_loss"] for row in result.history[1:]]
        assert losses[-1] < losses[0] - 0.1, method


def test_an_evaluation_has_all_gaps_and_the_kl_of_each_level():
    p = some(variances=("from_z",), B=4)
    method, rng = VAE(MLP([5, 4, p.model.lam_size])), np.random.default_rng(0)
    found = evaluate(p.model, method, p.theta, method.init(rng), p.x, rng, iw_samples=50, gap_examples=2)
    assert set(found) >= {"nll_iw", "amortization_gap", "kl_1", "kl_2"}
    assert found["nll_iw"] < found["neg_elbo"]
    assert found["kl_1"] + found["kl_2"] == pytest.approx(found["kl"], abs=0.5)  # other noise


def test_the_levels_kls_sum_to_the_kl():
    p = some(S=5)
    kls = p.model.level_kls(p.lam, p.theta, p.x, p.noise)
    assert kls.shape == (3, 3)
    assert_close(kls.sum(axis=0), p.model.parts(p.lam, p.theta, p.x, p.noise)[1], rtol=1e-13)


def test_errors_are_those_of_each_level_with_precisions_only_where_a_net_gives_them():
    p = some(S=4)
    (theta_x, theta_1, theta_2), f = p.model.thetas(p.theta), p.objective()
    z = split(p.lam)[0] + np.exp(split(p.lam)[1] / 2) * p.noise
    mu_1, log_var_1 = split(p.model.levels[0].reference(theta_1, z[..., 2:5]))
    mu_2 = split(p.model.levels[1].reference(theta_2, z[..., 5:]))[0]
    e_z = [(z[..., :2] - mu_1) / np.exp(log_var_1), z[..., 2:5] - mu_2, z[..., 5:] - split(p.model.prior)[0]]
    for look in (f.forward, f.evaluate):
        e_x, found = f.errors(look(p.lam, p.noise))
        assert_close(e_x, (p.x - p.model.decoder.mean(theta_x, z[..., :2])).mean(axis=0), rtol=1e-12)
        assert_close(found, np.concatenate(e_z, axis=-1).mean(axis=0), rtol=1e-12)


def test_the_prior_s_lam_goes_down_along_the_means():
    p = some()
    theta = p.model.thetas(p.theta)
    lam_2 = p.model.levels[1].prior(theta[2], p.model.prior[:2])
    lam_1 = p.model.levels[0].prior(theta[1], lam_2[:3])
    found = p.model.prior_lam(2, theta=p.theta)
    for l, expected in enumerate([lam_1, lam_2, p.model.prior], 1):
        assert_close(p.model.lam_of(found, l), np.tile(expected, (2, 1)), rtol=1e-14)
    assert not p.model.lam_of(p.model.prior_lam(2), 1).any()


def test_means_from_a_level_replace_what_is_below_it():
    p = some()
    z, theta = split(p.lam)[0], p.model.thetas(p.theta)
    assert_close(p.model.means_from(p.theta, z, 1), z, rtol=0)
    found = p.model.means_from(p.theta, z, 3)
    z_2 = split(p.model.levels[1].prior(theta[2], z[:, 5:]))[0]
    z_1 = split(p.model.levels[0].prior(theta[1], z_2))[0]
    assert_close(found, np.concatenate([z_1, z_2, z[:, 5:]], axis=1), rtol=1e-14)
    assert_close(p.model.mean(p.theta, found), p.model.decoder.mean(theta[0], z_1), rtol=1e-14)


@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("dtype, rtol", [(np.float32, 1e-4), (np.complex128, 1e-12)])
def test_results_have_the_precision_of_the_arguments(dtype, rtol, kl):
    p = some(kl, B=5)

    def everything(dtype):
        real = np.zeros(0, dtype).real.dtype
        f = p.model.objective(p.theta.astype(dtype), p.x.astype(real), 0.3)
        e = f.evaluate(p.lam.astype(dtype), p.noise.astype(real))
        product = f.hvp(e, p.v.astype(dtype))
        sums = [f.theta_sum().add(item, 0.5).value() for item in (e, product)]
        return [e.loss, e.d_lam, product.lam, *sums, *f.parts(p.lam.astype(dtype), p.noise.astype(real))]

    found = everything(dtype)
    assert [a.dtype for a in found] == [np.dtype(dtype)] * len(found)
    for ours, exact in zip(found, everything(np.float64)):
        assert_close(ours, exact, rtol)


@given(p=hierarchies(), seed=seeds)
@settings(max_examples=20)
def test_an_example_does_not_see_the_others(p, seed):
    chosen = np.random.default_rng(seed).permutation(len(p.x))[:1]
    whole = p.model.evaluate(p.lam, p.theta, p.x, p.noise, p.beta)
    part = p.model.evaluate(p.lam[chosen], p.theta, p.x[chosen], p.noise[:, chosen], p.beta)
    scale = 1e-12 * (1 + np.abs(whole.loss).max() + np.abs(whole.d_lam).max())
    assert_close(part.loss, whole.loss[chosen], atol=scale)
    assert_close(part.d_lam, whole.d_lam[chosen], atol=scale)


def test_evaluations_stay_valid_while_others_are_made_and_summed_with_weights():
    p, weight = some(likelihood=Poisson()), np.array([0.5, -1.0, 2.0])
    f, moved = p.objective(), [p.lam + 0.1 * i for i in range(4)]
    f.reserve(4)
    evaluations = [f.evaluate(lam, p.noise) for lam in moved]
    total, expected = f.theta_sum(), 0.0
    for lam, e in zip(moved, evaluations):
        total.add(e, weight).add(f.hvp(e, p.v), -weight)
        g = p.objective()
        alone = g.evaluate(lam, p.noise)
        expected += g.theta_sum().add(alone, weight).value() - g.theta_sum().add(g.hvp(alone, p.v), weight).value()
    assert_close(total.value(), expected, rtol=1e-11)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: HierarchicalModel(DECODER, [Level(MLP([3, 8]))]), r"level 1 has 2 dimensions; .* p\(z\^1 \| z\^2\), gives 4"),
        (lambda: HierarchicalModel(DECODER, [Level(MLP([3, 2]), 1.0), Level(MLP([1, 2]), 1.0)]), "level 2 has 3 dimensions"),
        (lambda: HierarchicalModel(DECODER, [Level(MLP([3, 4]))], prior=np.zeros(4)), r"the top level's 3 dimensions need \(6,\)"),
        (lambda: HierarchicalModel(DECODER, Level(MLP([3, 4]))), "a list of Levels"),
        (lambda: Level(MLP([3, 5])), "the net has 5 outputs"),
        (lambda: Level(MLP([3, 5]), 0), "variance of a level is 0; expected a finite number > 0"),
        (lambda: Level(MLP([3, 5]), "none"), "variance of a level"),
        (lambda: HierarchicalModel(DECODER, [Level(MLP([3, 4]))]).objective(np.zeros(3), np.zeros((1, 5))), "theta has shape"),
    ],
)  # fmt: skip
def test_what_does_not_fit_gets_its_sentence(make, message):
    with pytest.raises(InputError, match=message):
        make()


DECODER = MLPDecoder(MLP([2, 5]), Bernoulli())
