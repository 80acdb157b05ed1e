"""Hessian-vector products five ways, held against the reference differentiated twice, and against what a Hessian is."""

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import SAVAE, hvp, reference
from savi.engine.files import InputError
from savi.models.autograd_model import AutogradModel
from savi.models.base import Decoder, Given
from savi.models.decoders import MLPDecoder
from savi.models.discrete import Multinomial, Poisson
from savi.models.gaussian import AnalyticKL, SampledKL
from savi.models.latent_gaussian import LatentGaussianModel
from savi.models.likelihoods import Bernoulli, Gaussian
from savi.nets.mlp import MLP
from savi.testing import arrays, assert_close, check_hvp, problems

SMOOTH = ("tanh", "softplus", "identity")  # a difference across ELU's bend is no derivative
ALL = [Bernoulli(), Multinomial(), Gaussian("global"), Gaussian("per_dimension"), Gaussian("from_z"), Poisson()]
EVERY_LIKELIHOOD = pytest.mark.parametrize("likelihood", ALL, ids=repr)
TO_ROUNDING = pytest.mark.parametrize("method", ["exact", "complex"])
DIFFERENCES = pytest.mark.parametrize(
    "method, r, rtol", [("forward", 1e-6, 1e-3), ("central", 1e-4, 1e-5)], ids=["forward", "central"]
)


@st.composite
def cases(draw, **kinds):
    """(problem, v (B, 2D))."""
    problem = draw(problems(**kinds))
    return problem, draw(arrays(problem.lam.shape))


def products(p, v, method="exact", **options):
    """(H_{lam,lam} v (B, 2D), H_{theta,lam} v (P,)) of a Problem."""
    f = p.objective()
    product = hvp.product(f, f.evaluate(p.lam, p.noise), v, method, **options)
    return product.lam, f.theta_sum().add(product).value()


def reference_products(p, v):
    """The same by differentiating the reference loss twice, and the size that rounding is measured against."""

    def loss(lam, theta):
        return reference.loss(p.model, lam, theta, p.x, p.noise, p.beta)

    with np.errstate(over="ignore"):  # autograd's tanh' is 1 / cosh^2, and 1 / inf is right
        expected = reference.hessian_products(loss, p.lam, p.theta, v)
    return *expected, 1 + np.abs(loss(p.lam, p.theta)).max()


def smooth_problem(likelihood, kl=AnalyticKL, seed=0, dtype=np.float64):
    """(f, lam, noise, v) of a model with one tanh layer: B = 3, S = 2, D = 2."""
    rng = np.random.default_rng(seed)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 5, 4]), likelihood), rng.normal(0, 0.3, 4), kl)
    x = rng.integers(0, 2, (3, likelihood.data_dim(4)))
    theta = rng.normal(0, 0.7, model.size).astype(dtype)
    lam, noise, v = (rng.normal(size=shape).astype(dtype) for shape in ((3, 4), (2, 3, 2), (3, 4)))
    return model.objective(theta, x), lam, noise, v


# --- against the reference ----------------------------------------------------------------------------------------------


@TO_ROUNDING
@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=15)
def test_methods_without_a_step_are_the_references_to_rounding(likelihood, method, data):
    problem, v = data.draw(cases(likelihood=likelihood))
    h, h_theta, size = reference_products(problem, v)
    actual, actual_theta = products(problem, v, method)
    assert_close(actual, h, rtol=1e-9, atol=1e-10 * size, name="H_lam v")
    assert_close(actual_theta, h_theta, rtol=1e-9, atol=1e-10 * size, name="H_theta v")


@pytest.mark.parametrize("likelihood", ALL[:4], ids=repr)  # a variance or a rate from such z leaves the floats
@given(data=st.data())
@settings(max_examples=25)
def test_the_exact_product_is_the_references_where_units_saturate(likelihood, data):
    problem, v = data.draw(cases(likelihood=likelihood, extreme=True))
    h, h_theta, size = reference_products(problem, v)
    actual, actual_theta = products(problem, v)
    assert_close(actual, h, rtol=1e-9, atol=1e-9 * size, name="H_lam v")
    assert_close(actual_theta, h_theta, rtol=1e-9, atol=1e-9 * size, name="H_theta v")


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=20)
def test_the_exact_product_is_the_complex_step(likelihood, data):
    problem, v = data.draw(cases(likelihood=likelihood))
    for actual, expected in zip(products(problem, v), products(problem, v, "complex")):
        assert_close(actual, expected, rtol=1e-12, atol=1e-10)


@DIFFERENCES
@given(case=cases(activations=SMOOTH))
@settings(max_examples=30)
def test_differences_approach_the_references_products(method, r, rtol, case):
    problem, v = case
    v = v / max(np.linalg.norm(v), 1)
    h, h_theta, size = reference_products(problem, v)
    actual, actual_theta = products(problem, v, method, r=r)
    assert_close(actual, h, rtol, atol=rtol * size, name="H_lam v")
    assert_close(actual_theta, h_theta, rtol, atol=rtol * size, name="H_theta v")


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
def test_autograds_product_is_the_exact_one(likelihood, kl):
    f, lam, noise, v = smooth_problem(likelihood, kl)
    e = f.evaluate(lam, noise)
    exact, automatic = hvp.product(f, e, v), hvp.product(f, e, v, "autograd")
    assert_close(automatic.lam, exact.lam, rtol=1e-11)
    assert_close(f.theta_sum().add(automatic).value(), f.theta_sum().add(exact).value(), rtol=1e-11)


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
def test_central_differences_are_good_to_a_millionth_and_forward_ones_to_a_thousandth(likelihood, kl):
    f, lam, noise, v = smooth_problem(likelihood, kl)
    e = f.evaluate(lam, noise)
    exact = hvp.product(f, e, v)
    for method, r, rtol in (("central", 1e-5, 1e-6), ("forward", 1e-5, 1e-3), ("forward", 1e-7, 1e-5)):
        product = hvp.product(f, e, v, method, r=r)
        assert_close(product.lam, exact.lam, rtol)
        assert_close(f.theta_sum().add(product).value(), f.theta_sum().add(exact).value(), rtol)


@EVERY_LIKELIHOOD
def test_the_error_of_a_difference_shrinks_with_its_step_by_its_order(likelihood):
    f, lam, noise, v = smooth_problem(likelihood)
    e = f.evaluate(lam, noise)
    exact = hvp.product(f, e, v).lam
    for method, order in (("forward", 1), ("central", 2)):
        coarse, fine = (np.linalg.norm(hvp.product(f, e, v, method, r=r).lam - exact) for r in (1e-3, 1e-4))
        assert 0.9 * 10**order <= coarse / fine <= 1.1 * 10**order


# --- the step -----------------------------------------------------------------------------------------------------------


@DIFFERENCES
@EVERY_LIKELIHOOD
def test_a_step_per_example_gives_every_example_its_own_difference(likelihood, method, r, rtol):
    f, lam, noise, v = smooth_problem(likelihood)
    steps = r * np.array([1.0, 100.0, 10.0])
    e = f.evaluate(lam, noise)
    together = hvp.product(f, e, v, method, r=steps)
    theta_sum = np.zeros_like(f.theta)
    for b, step in enumerate(steps):
        only = np.zeros_like(v)
        only[b] = v[b]
        single = hvp.product(f, e, only, method, r=step)
        assert_close(together.lam[b], single.lam[b], rtol=1e-6)
        theta_sum += f.theta_sum().add(single).value()
    assert_close(f.theta_sum().add(together).value(), theta_sum, rtol=1e-6)


@DIFFERENCES
@given(case=cases(activations=SMOOTH))
@settings(max_examples=30)
def test_a_scaled_step_serves_any_length_of_v(method, r, rtol, case):
    problem, v = case
    h, _, size = reference_products(problem, v)
    for length in (1e-6, 1e6):
        actual, _ = products(problem, length * v, method, r=hvp.scaled_step(r / 10))
        assert_close(actual / length, h, 10 * rtol, atol=10 * rtol * size)


def test_a_scaled_step_is_r_times_one_plus_the_length_of_lam_over_the_length_of_v():
    lam, v = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 5.0]]), np.array([[0.0, 2.0], [6.0, 8.0], [0.0, 0.0]])
    assert_close(hvp.scaled_step(0.1)(lam, v), [0.1 * 6 / 2, 0.1 * 1 / 10, 0.1 * 6], rtol=1e-14)


@EVERY_LIKELIHOOD
def test_the_complex_step_s_length_does_not_matter(likelihood):
    f, lam, noise, v = smooth_problem(likelihood)
    e = f.evaluate(lam, noise)
    exact = hvp.product(f, e, v).lam
    for r in (1e-8, 1e-30, 1e-100):
        assert_close(hvp.product(f, e, v, "complex", r=r).lam, exact, rtol=1e-12)


@pytest.mark.parametrize("method", hvp.METHODS)
@EVERY_LIKELIHOOD
def test_a_zero_v_gives_zero(likelihood, method):
    f, lam, noise, v = smooth_problem(likelihood)
    options = {"r": hvp.scaled_step(1e-6)} if method in ("forward", "central") else {}
    product = hvp.product(f, f.evaluate(lam, noise), 0 * v, method, **options)
    assert_close(product.lam, 0 * v)
    assert_close(f.theta_sum().add(product).value(), np.zeros_like(f.theta), atol=1e-9)


# --- what a Hessian is --------------------------------------------------------------------------------------------------


@TO_ROUNDING
@given(case=cases(), data=st.data())
@settings(max_examples=30)
def test_products_are_linear_in_v(method, case, data):
    (problem, v), u = case, data.draw(arrays(case[0].lam.shape))
    whole, parts = (
        products(problem, 2 * u - 3 * v, method),
        (products(problem, u, method), products(problem, v, method)),
    )
    for actual, of_u, of_v in zip(whole, *parts):
        size = 1 + np.abs(of_u).max(initial=0) + np.abs(of_v).max(initial=0)
        assert_close(actual, 2 * of_u - 3 * of_v, rtol=1e-11, atol=1e-11 * size)


@TO_ROUNDING
@given(case=cases(), data=st.data())
@settings(max_examples=30)
def test_the_hessian_is_symmetric(method, case, data):
    (problem, v), u = case, data.draw(arrays(case[0].lam.shape))
    h_u, h_v = products(problem, u, method)[0], products(problem, v, method)[0]
    size = 1 + np.abs(u * h_v).sum() + np.abs(v * h_u).sum()
    assert_close(np.sum(u * h_v), np.sum(v * h_u), rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("method", hvp.METHODS)
@EVERY_LIKELIHOOD
def test_a_v_in_one_example_moves_that_example_alone(likelihood, method):
    f, lam, noise, v = smooth_problem(likelihood)
    e = f.evaluate(lam, noise)
    whole = hvp.product(f, e, v, method).lam
    for b in range(len(v)):
        only = np.zeros_like(v)
        only[b] = v[b]
        h = hvp.product(f, e, only, method).lam
        assert_close(h[b], whole[b], rtol=1e-6)
        assert_close(np.delete(h, b, axis=0), np.zeros((len(v) - 1, v.shape[1])))


@given(case=cases(), data=st.data())
@settings(max_examples=50)
def test_the_mixed_product_is_the_transpose_of_d_lam_s_derivative_in_theta(case, data):
    """<H_{theta,lam} v, w> = <v, d/dt grad_lam f(theta + t w)>, the right side by the complex step."""
    problem, v = case
    w = data.draw(arrays(problem.theta.shape))
    moved = problem.model.evaluate(problem.lam, problem.theta + 1e-20j * w, problem.x, problem.noise, problem.beta)
    right, left = v * moved.d_lam.imag / 1e-20, products(problem, v)[1] * w
    size = 1 + np.abs(left).sum() + np.abs(right).sum()
    assert_close(left.sum(), right.sum(), rtol=0, atol=1e-12 * size)


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
@pytest.mark.parametrize("method", ["complex", "central"])
def test_the_public_checks_pass_on_the_exact_product(likelihood, kl, method):
    f, lam, noise, v = smooth_problem(likelihood, kl)
    check_hvp(
        lambda lam: f.gradient(lam, noise).d_lam,
        lam,
        v,
        lambda lam, v: f.hvp(f.evaluate(lam, noise), v).lam,
        method,
        atol=1e-12 if method == "complex" else None,
    )


# --- sums of products ---------------------------------------------------------------------------------------------------


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("methods", [("exact",), ("complex",), ("exact", "complex", "autograd", "central", "forward")])
def test_repeated_products_on_one_evaluation_are_summed_right(likelihood, methods):
    f, lam, noise, v = smooth_problem(likelihood)
    e, rng = f.evaluate(lam, noise), np.random.default_rng(1)
    vs = rng.normal(size=(2 * len(methods) + 1, *v.shape))
    made = [(hvp.product(f, e, u, method), w) for u, method, w in zip(vs, 3 * methods, np.linspace(-1, 2, len(vs)))]
    total, expected = f.theta_sum().add(e, 3.0), 3 * f.theta_sum().add(e).value()
    for (product, weight), u in zip(made, vs):
        total.add(product, weight)
        expected += weight * f.theta_sum().add(hvp.product(f, e, u)).value()
    rtol = 1e-11 if len(methods) == 1 else 1e-4
    assert_close(total.value(), expected, rtol)


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("method, rtol", [("exact", 1e-11), ("complex", 1e-11), ("central", 1e-5), ("forward", 1e-4)])
def test_a_weight_per_example_weighs_each_examples_mixed_product(likelihood, method, rtol):
    f, lam, noise, v = smooth_problem(likelihood)
    e, weight = f.evaluate(lam, noise), np.array([1.0, -0.5, 2.0])
    weighted = f.theta_sum().add(hvp.product(f, e, v, method), weight).value()
    assert_close(weighted, f.theta_sum().add(hvp.product(f, e, weight[:, None] * v)).value(), rtol)


@EVERY_LIKELIHOOD
def test_a_product_leaves_its_evaluation_as_it_was(likelihood):
    f, lam, noise, v = smooth_problem(likelihood)
    e = f.evaluate(lam, noise)
    d_lam, d_theta = e.d_lam.copy(), f.theta_sum().add(e).value()
    for method in hvp.METHODS:
        hvp.product(f, e, v, method)
    np.testing.assert_array_equal(e.d_lam, d_lam)
    np.testing.assert_array_equal(f.theta_sum().add(e).value(), d_theta)


# --- precision, names, any loss -----------------------------------------------------------------------------------------


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["forward", "central", "complex", "exact"])
def test_products_have_the_precision_of_lam(likelihood, method, dtype):
    f, lam, noise, v = smooth_problem(likelihood, dtype=dtype)
    options = {} if method == "exact" else {"r": 1e-2} if method != "complex" else {}
    product = hvp.product(f, f.evaluate(lam, noise), v, method, **options)
    assert product.lam.dtype == f.theta_sum().add(product).value().dtype == dtype


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("method", ["complex", "exact"])
def test_in_single_precision_products_without_a_step_are_good_to_a_ten_thousandth(likelihood, method):
    results = []
    for dtype in (np.float32, np.float64):
        f, lam, noise, v = smooth_problem(likelihood, dtype=dtype)
        product = hvp.product(f, f.evaluate(lam, noise), v, method)
        results.append((product.lam, f.theta_sum().add(product).value()))
    for single, double in zip(*results):
        assert_close(single, double, rtol=1e-4)


def test_an_unknown_method_is_refused_with_the_known_ones():
    f, lam, noise, v = smooth_problem(Bernoulli())
    with pytest.raises(InputError, match="'newton'; expected one of forward, central, complex, exact, auto, autograd"):
        hvp.product(f, f.evaluate(lam, noise), v, "newton")


def test_a_method_is_a_name_or_a_function():
    f, lam, noise, v = smooth_problem(Bernoulli())
    e = f.evaluate(lam, noise)
    np.testing.assert_array_equal(hvp.product(f, e, v, hvp.exact).lam, hvp.product(f, e, v, "exact").lam)
    assert hvp.find(hvp.exact) is hvp.find("exact") is hvp.exact


def any_loss():
    """(f, evaluation, v, loss): an AutogradModel whose loss has all of lam, theta and noise in it."""
    rng = np.random.default_rng(0)
    x, theta, lam, v = rng.normal(size=(3, 1)), rng.normal(size=2), rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    noise = rng.normal(size=(4, 3, 1))

    def loss(lam, theta, x, noise, beta):
        z = lam[:, :1] + anp.exp(lam[:, 1:]) * noise
        return anp.mean(anp.sum(anp.sin(theta[0] * z) * x + theta[1] * z**2, axis=-1), axis=0)

    f = AutogradModel(loss, lam_size=2, theta_size=2, noise_size=1).objective(theta, x)
    return f, f.evaluate(lam, noise), v, lambda lam, theta: loss(lam, theta, x, noise, 1.0)


@pytest.mark.parametrize(
    "method, rtol, options",
    [("exact", 1e-12, {}), ("autograd", 1e-12, {}), ("central", 1e-6, {}), ("forward", 1e-4, {"r": 1e-6})],
)
def test_an_autograd_model_has_its_products_too(method, rtol, options):
    f, e, v, loss = any_loss()
    h, h_theta = reference.hessian_products(loss, e.lam, f.theta, v)
    product = hvp.product(f, e, v, method, **options)
    assert_close(product.lam, h, rtol)
    assert_close(f.theta_sum().add(product).value(), h_theta, rtol)


def test_an_autograd_model_has_a_difference_step_per_example_too():
    f, e, v, loss = any_loss()
    _, h_theta = reference.hessian_products(loss, e.lam, f.theta, v)
    product = hvp.product(f, e, v, "central", r=hvp.scaled_step(1e-5))
    assert_close(f.theta_sum().add(product).value(), h_theta, rtol=1e-6)


def test_an_autograd_model_has_no_complex_step_and_says_so():
    f, e, v, _ = any_loss()
    with pytest.raises(InputError, match="an AutogradModel has none"):
        hvp.product(f, e, v, "complex")


# --- a decoder of one's own -------------------------------------------------------------------------------------------


class WithoutTangent(Decoder):
    """A decoder as a user might write it: what MLPDecoder gives, less its tangent."""

    def __init__(self, decoder):
        self.decoder, self.latent_dim, self.size = decoder, decoder.latent_dim, decoder.size

    def check(self, theta, x):
        self.decoder.check(theta, x)

    def given(self, theta, x):
        return GivenWithoutTangent(self.decoder.given(theta, x))


class GivenWithoutTangent(Given):
    def __init__(self, p):
        self.forward, self.backward, self.log_px = p.forward, p.backward, p.log_px
        self.param_sum, self.samples = p.param_sum, p.samples


def without_tangent(f):
    """The same objective of a model whose decoder has no tangent."""
    model = LatentGaussianModel(WithoutTangent(f.model.decoder), f.model.prior, f.model.kl)
    return model.objective(f.theta, f.x, f.beta)


def test_exact_raises_and_auto_takes_central_differences_where_a_decoder_has_no_tangent():
    f, lam, noise, v = smooth_problem(Bernoulli())
    expected = hvp.exact(f, f.evaluate(lam, noise), v)
    expected_theta = f.theta_sum().add(expected).value()
    f = without_tangent(f)
    with pytest.raises(InputError, match='no tangent, which hvp="exact" needs; expected "auto"'):
        hvp.exact(f, f.evaluate(lam, noise), v)
    product = hvp.auto(f, f.evaluate(lam, noise), v)
    assert_close(product.lam, expected.lam, rtol=1e-7)
    assert_close(f.theta_sum().add(product).value(), expected_theta, rtol=1e-7)


def test_auto_is_exact_to_the_bit_where_a_decoder_has_a_tangent():
    f, lam, noise, v = smooth_problem(Bernoulli())
    exact, auto = (hvp.product(f, f.evaluate(lam, noise), v, method) for method in ("exact", "auto"))
    assert np.array_equal(exact.lam, auto.lam)
    assert np.array_equal(f.theta_sum().add(exact).value(), f.theta_sum().add(auto).value())


def test_a_semi_amortized_vae_says_which_product_to_choose_where_a_decoder_has_no_tangent():
    f, lam, noise, _ = smooth_problem(Bernoulli())
    model, x = without_tangent(f).model, f.x
    encoder = MLP([x.shape[1], lam.shape[1]])
    phi, gradients = encoder.init(np.random.default_rng(0)), {}
    for method in ("auto", "exact"):
        on = model if method == "auto" else f.model
        sa = SAVAE(encoder, 2, 0.05, hvp=method)
        gradients[method] = sa.gradient(on, f.theta, phi, x, noise=np.stack([noise] * 3))
    for name, auto, exact in zip(("loss", "d_theta", "d_phi"), gradients["auto"], gradients["exact"]):
        assert_close(auto, exact, rtol=1e-6, name=name)
    with pytest.raises(InputError, match="no tangent"):
        SAVAE(encoder, 2, 0.05).gradient(model, f.theta, phi, x, noise=np.stack([noise] * 3))


def test_the_complex_step_needs_no_tangent_record_of_a_decoder():
    f, lam, noise, v = smooth_problem(Bernoulli())
    expected, weights = hvp.exact(f, f.evaluate(lam, noise), v), np.array([1.0, -2.0, 0.5])
    expected_theta = [f.theta_sum().add(expected, w).value() for w in (1.0, weights)]
    f = without_tangent(f)
    product = hvp.complex_step(f, f.evaluate(lam, noise), v)
    assert_close(product.lam, expected.lam, rtol=1e-12)
    for w, theta in zip((1.0, weights), expected_theta):
        assert_close(f.theta_sum().add(product, w).value(), theta, rtol=1e-12)


@pytest.mark.parametrize("method", ["exact", "autograd"])
def test_a_sum_weighted_by_example_weights_each_examples_product(method):
    f, lam, noise, v = smooth_problem(Bernoulli())
    weights = np.array([1.0, -2.0, 0.5])
    e = f.evaluate(lam, noise)
    single = [v * np.eye(3)[:, [b]] for b in range(3)]  # H_{theta,lam} v of one example: the others' rows of v are zero
    expected = sum(w * f.theta_sum().add(hvp.exact(f, e, u)).value() for w, u in zip(weights, single))
    product = hvp.product(f, e, v, method)
    assert_close(f.theta_sum().add(product, weight=weights).value(), expected, rtol=1e-10)
