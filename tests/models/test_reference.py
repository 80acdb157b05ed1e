"""The reference itself against enumeration and differences, and AutogradModel: any loss, with the closed form's verbs."""

import itertools
import math

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import reference
from savi.engine.files import InputError
from savi.inference.svi import SVI
from savi.models.autograd_model import AutogradModel
from savi.models.base import Decoder
from savi.models.decoders import MLPDecoder
from savi.models.discrete import Multinomial
from savi.models.gaussian import AnalyticKL, SampledKL
from savi.models.latent_gaussian import LatentGaussianModel
from savi.models.likelihoods import Bernoulli, Gaussian
from savi.nets.activations import ACTIVATIONS
from savi.nets.mlp import MLP
from savi.testing import (
    arrays,
    assert_close,
    check_density,
    check_gradient,
    check_hvp,
    numeric_gradient,
    problems,
)

# --- the reference, by oracles that share no code -----------------------------------------------------------------------


def test_the_references_bernoulli_sums_to_one():
    x = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    check_density(lambda x: Bernoulli().reference(np.array([0.3, -2.0, 1e4]), x, None), support=x, rtol=1e-12)


def test_the_references_multinomial_sums_to_one():
    x = np.array([c for c in itertools.product(range(4), repeat=3) if sum(c) == 3], dtype=float)
    coefficient = [math.lgamma(4) - sum(math.lgamma(c + 1) for c in row) for row in x]
    out = np.array([0.3, -2.0, 1.0])
    check_density(lambda x: Multinomial().reference(out, x, None) + coefficient, support=x, rtol=1e-12)


@pytest.mark.parametrize(
    "likelihood, out, eta",
    [
        (Gaussian("global"), [0.5, -1.0], [0.4]),
        (Gaussian("per_dimension"), [0.5, -1.0], [0.4, -0.7]),
        (Gaussian("from_z"), [0.5, -1.0, 0.4, -0.7], []),
    ],
    ids=repr,
)
def test_the_references_gaussian_integrates_to_one_and_has_the_variance_it_says(likelihood, out, eta):
    axes = [np.linspace(m - 14, m + 14, 561) for m in out[:2]]
    check_density(lambda x: likelihood.reference(np.array(out), x, np.array(eta)), grid=axes, rtol=1e-9)
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    p = np.exp(likelihood.reference(np.array(out), x, np.array(eta))) * (axes[0][1] - axes[0][0]) ** 2
    log_var = np.broadcast_to((out + eta)[2:], 2)
    assert_close(p @ (x - out[:2]) ** 2, np.exp(log_var), rtol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_references_net_is_an_affine_map_an_activation_and_an_affine_map(activation):
    rng = np.random.default_rng(0)
    W_1, b_1, W_2, b_2 = rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=(3, 4)), rng.normal(size=4)
    params = np.concatenate([W_1.ravel(), b_1, W_2.ravel(), b_2])
    phi = {"tanh": math.tanh, "elu": lambda a: a if a > 0 else math.expm1(a), "identity": lambda a: a}
    phi["softplus"] = lambda a: math.log1p(math.exp(a))
    z = np.array([0.3, -0.8])
    hidden = np.array([phi[activation](a) for a in z @ W_1 + b_1])
    assert_close(MLP([2, 3, 4], activation).reference(params, z), hidden @ W_2 + b_2, rtol=1e-14)


@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
def test_the_references_loss_is_minus_elbo_by_quadrature(kl):
    """E_e[beta (log q(z) - log p(z)) - log p(x|z)], z = mu + sigma e, in one dimension on a fine grid of e."""
    prior, lam, theta, x = [0.4, -0.3], np.array([[0.7, -0.8]]), np.array([1.3, -0.5]), np.array([[1.0]])
    model = LatentGaussianModel(MLPDecoder(MLP([1, 1]), Bernoulli()), prior, kl)
    noise = np.linspace(-9, 9, 1801)
    weight = np.exp(-(noise**2) / 2) / math.sqrt(2 * math.pi) * 0.01
    z = 0.7 + math.exp(-0.4) * noise
    log_q = -(noise**2) / 2 + 0.4
    log_p = -((z - 0.4) ** 2) / (2 * math.exp(-0.3)) + 0.15
    log_px = -np.log1p(np.exp(-(1.3 * z - 0.5)))
    expected = weight @ (0.7 * (log_q - log_p) - log_px)
    losses = [reference.loss(model, lam, theta, x, np.array([[[e]]]), beta=0.7)[0] for e in noise]
    assert_close(weight @ losses, expected, rtol=1e-9)


def test_hessian_products_are_differences_of_the_gradients():
    rng = np.random.default_rng(0)
    lam, theta, v = rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=(2, 3))

    def loss(lam, theta):
        return anp.sum(anp.sin(lam * theta) * lam**2, axis=1)

    def along(point):
        return np.sum(numeric_gradient(lambda lam: loss(lam, point), lam, "complex") * v)

    h, h_theta = reference.hessian_products(loss, lam, theta, v)
    check_hvp(lambda lam: numeric_gradient(lambda lam: loss(lam, theta), lam, "complex"), lam, v, h)
    check_gradient(along, theta, h_theta)


def test_a_decoder_without_a_reference_says_so():
    with pytest.raises(InputError, match="has no reference in autograd; a product by autograd needs it"):
        Decoder().reference(np.zeros(2), np.zeros((1, 2, 2)), np.zeros((2, 2)))


# --- AutogradModel beside the closed form -------------------------------------------------------------------------------


def as_autograd_model(model, **optional):
    """The same model, given to AutogradModel as nothing but its loss."""

    def loss(lam, theta, x, noise, beta):
        return reference.loss(model, lam, theta, x, noise, beta)

    return AutogradModel(loss, model.lam_size, model.size, model.latent_dim, prior=model.prior, **optional)


@given(problem=problems(), data=st.data())
@settings(max_examples=50)
def test_an_autograd_model_of_the_same_loss_is_the_closed_form_model(problem, data):
    p, v = problem, data.draw(arrays(problem.lam.shape))
    weight = np.linspace(-1, 2, len(p.x))
    results = []
    for model in (p.model, as_autograd_model(p.model)):
        f = model.objective(p.theta, p.x, p.beta)
        e = f.evaluate(p.lam, p.noise)
        product = f.hvp(e, v)
        results.append(
            {
                "loss": model.loss(p.lam, p.theta, p.x, p.noise, p.beta),
                "the evaluation's loss": e.loss,
                "d_lam": e.d_lam,
                "the gradient's d_lam": f.gradient(p.lam, p.noise).d_lam,
                "theta_gradient": model.theta_gradient(p.lam, p.theta, p.x, p.noise, p.beta),
                "H_lam v": product.lam,
                "a weighted sum": f.theta_sum().add(product).add(e, weight).add(e, -0.5).add(product, 2.0).value(),
                "prior_lam": model.prior_lam(3),
            }
        )
    closed, automatic = results
    atol = 1e-9 * (1 + np.abs(closed["loss"]).max())
    for name in closed:
        assert_close(closed[name], automatic[name], rtol=1e-9, atol=atol, name=name)


def test_what_is_drawn_has_the_shape_and_the_precision_asked_for():
    model = AutogradModel(np.sum, lam_size=4, theta_size=5, noise_size=3, prior=[1, 2, 3, 4])
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        noise, theta, lam = model.draw_noise(rng, 2, 6, dtype), model.init(rng, dtype), model.prior_lam(6, dtype)
        assert (noise.shape, theta.shape, lam.shape) == ((2, 6, 3), (5,), (6, 4))
        assert {noise.dtype, theta.dtype, lam.dtype} == {np.dtype(dtype)}
        np.testing.assert_array_equal(lam, np.tile([1, 2, 3, 4], (6, 1)))
    own = AutogradModel(np.sum, 4, 5, 3, init=lambda rng: np.arange(5))
    np.testing.assert_array_equal(own.init(rng), np.arange(5.0))
    np.testing.assert_array_equal(own.prior_lam(1), np.zeros((1, 4)))


# --- a posterior that is no Gaussian ------------------------------------------------------------------------------------


def log_normal(a, mu):
    return -0.5 * anp.log(2 * anp.pi) - 0.5 * (a - mu) ** 2


def skewed_log_weights(lam, theta, x, noise):
    """log p(x, z) - log q(z), (S, B): z = mu + exp(log_scale) sinh(e + skew), x ~ N(softplus(theta_0 z), 1), z ~ N(0, 1)."""
    mu, log_scale, skew, e = lam[:, 0], lam[:, 1], lam[:, 2], noise[..., 0]
    z = mu + anp.exp(log_scale) * anp.sinh(e + skew)
    log_q = log_normal(e, 0) - log_scale - anp.log(anp.cosh(e + skew))
    return log_normal(x[:, 0], anp.logaddexp(0.0, theta[0] * z)) + log_normal(z, 0) - log_q


def skewed_model(**optional):
    """Three parameters per example: location, scale and skew of a sinh-Gaussian."""

    def loss(lam, theta, x, noise, beta):
        return -anp.mean(skewed_log_weights(lam, theta, x, noise), axis=0)

    return AutogradModel(loss, 3, 1, 1, prior=[0.0, -1.0, 0.0], **optional)


def test_a_three_parameter_posterior_has_right_gradients_and_hessian_products():
    model, rng = skewed_model(), np.random.default_rng(0)
    lam, theta, x, noise = (
        rng.normal(0, 0.5, (4, 3)),
        np.array([0.7]),
        rng.normal(2, 1, (4, 1)),
        rng.normal(size=(3, 4, 1)),
    )
    f = model.objective(theta, x)
    e = f.evaluate(lam, noise)
    check_gradient(lambda lam: model.loss(lam, theta, x, noise), lam, e.d_lam)
    check_gradient(lambda theta: model.loss(lam, theta, x, noise), theta, model.theta_gradient(lam, theta, x, noise))
    check_hvp(
        lambda lam: f.gradient(lam, noise).d_lam,
        lam,
        rng.normal(size=(4, 3)),
        lambda lam, v: f.hvp(f.evaluate(lam, noise), v).lam,
    )


def test_svi_raises_the_elbo_of_a_three_parameter_posterior_towards_log_px_and_never_beyond():
    model, theta, x = skewed_model(log_weights=skewed_log_weights), np.array([2.0]), np.array([[0.5], [3.0]])
    z = np.linspace(-10, 10, 4001)
    log_px = np.log(np.exp(log_normal(x, np.logaddexp(0, 2 * z)) + log_normal(z, 0)).sum(axis=1) * (z[1] - z[0]))
    lam = SVI(steps=200, step_size=0.02, momentum=0.5, samples=8).infer(model, theta, None, x, np.random.default_rng(0))
    noise = np.random.default_rng(1).standard_normal((4000, 2, 1))
    log_w = model.log_weights(lam, theta, x, noise)
    elbo, error = log_w.mean(axis=0), log_w.std(axis=0) / math.sqrt(4000)
    start = -model.loss(model.prior_lam(2), theta, x, noise)
    assert np.all(start < elbo - 0.1)
    assert np.all(elbo <= log_px + 6 * error)


# --- the public edge ----------------------------------------------------------------------------------------------------


def simple_loss(lam, theta, x, noise, beta):
    return anp.sum(lam**2, axis=1) * theta[0]


@pytest.mark.parametrize("verb", ["loss", "evaluate", "theta_gradient"])
@pytest.mark.parametrize(
    "loss, message",
    [
        (lambda *point: anp.sum(point[0] ** 2), "the loss has shape (); expected one value per example, (3,)"),
        (lambda *point: point[0] ** 2, "the loss has shape (3, 2); expected one value per example, (3,)"),
        (lambda *point: anp.sum(point[0] ** 2, axis=0), "the loss has shape (2,)"),
    ],
)
def test_a_loss_that_is_not_one_value_per_example_is_refused(loss, message, verb):
    model = AutogradModel(loss, lam_size=2, theta_size=1, noise_size=2)
    with pytest.raises(InputError) as caught:
        getattr(model, verb)(np.ones((3, 2)), np.ones(1), np.ones((3, 1)), np.ones((1, 3, 2)))
    assert message in str(caught.value)


@pytest.mark.parametrize("verb", ["loss", "evaluate", "theta_gradient"])
@pytest.mark.parametrize(
    "lam, theta, message",
    [
        ((3, 4), (1,), "lam has shape (3, 4); expected (3, 2)"),
        ((2, 2), (1,), "lam has shape (2, 2); expected (3, 2)"),
        ((3, 2), (2,), "theta has shape (2,); this model needs (1,)"),
    ],
)
def test_a_wrong_shape_is_refused_with_its_numbers(lam, theta, message, verb):
    model = AutogradModel(simple_loss, lam_size=2, theta_size=1, noise_size=2)
    with pytest.raises(InputError) as caught:
        getattr(model, verb)(np.ones(lam), np.ones(theta), np.ones((3, 1)), np.ones((1, 3, 2)))
    assert message in str(caught.value)


def test_a_wrong_prior_is_refused_with_its_numbers():
    with pytest.raises(InputError, match=r"prior has shape \(3,\); lam_size 2 needs \(2,\)"):
        AutogradModel(simple_loss, 2, 1, 2, prior=np.zeros(3))


@pytest.mark.parametrize(
    "verb, points, message",
    [
        ("posterior_kl", 2, "this AutogradModel was made without posterior_kl; VAE+SVI+KL needs it"),
        ("log_weights", 4, "made without log_weights; the importance-weighted estimate needs it"),
    ],
)
def test_a_missing_optional_function_is_named_with_the_method_that_needs_it(verb, points, message):
    with pytest.raises(InputError) as caught:
        getattr(AutogradModel(simple_loss, 2, 1, 2), verb)(*[np.ones((3, 2))] * points)
    assert message in str(caught.value)


def test_without_parts_the_loss_is_the_only_part():
    model, point = (
        AutogradModel(simple_loss, 2, 1, 2),
        (np.ones((3, 2)), np.ones(1), np.ones((3, 1)), np.ones((1, 3, 2))),
    )
    loss, kl = model.parts(*point)
    assert_close(loss, model.loss(*point))
    assert np.isnan(kl).all() and kl.shape == (3,)


def test_optional_functions_are_called_and_the_divergence_is_differentiated():
    model = AutogradModel(
        simple_loss,
        lam_size=2,
        theta_size=1,
        noise_size=2,
        parts=lambda lam, theta, x, noise: (lam[:, 0], lam[:, 1]),
        posterior_kl=lambda lam, target: anp.sum((lam - target) ** 2, axis=1),
        log_weights=lambda lam, theta, x, noise: noise.sum(axis=-1),
    )
    lam, target, noise = np.arange(6.0).reshape(3, 2), np.ones((3, 2)), np.ones((4, 3, 2))
    np.testing.assert_array_equal(model.parts(lam, np.ones(1), np.zeros((3, 1)), noise), lam.T)
    value, grad = model.posterior_kl(lam, target)
    assert_close(value, ((lam - 1) ** 2).sum(axis=1))
    assert_close(grad, 2 * (lam - 1))
    np.testing.assert_array_equal(model.log_weights(lam, np.ones(1), np.zeros((3, 1)), noise), np.full((4, 3), 2.0))
