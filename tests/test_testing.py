"""The tests are tested: each check passes on what is right and fails on what is nearly right.

First the public checks on gradients of known functions, then the identity checks of this package on mutants of its own
rooms: a gradient times 1.001, a dropped term, a wrong sign.
"""

import itertools
import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import savi.models.gaussian
import savi.models.latent_gaussian
from savi import reference
from savi.engine.records import ParamSum
from savi.models.decoders import MLPDecoder
from savi.models.discrete import Multinomial
from savi.models.gaussian import AnalyticKL, SampledKL, sample, split
from savi.models.latent_gaussian import LatentGaussianModel
from savi.models.likelihoods import Bernoulli, Gaussian
from savi.nets.mlp import MLP
from savi.testing import (
    Problem,
    arrays,
    assert_close,
    check_density,
    check_gradient,
    check_hvp,
    lams,
    likelihoods,
    mlps,
    numeric_gradient,
    observations,
    problems,
)

# --- a function whose derivatives are known -----------------------------------------------------------------------------

POINT = np.array([[0.3, -1.2, 2.0], [1.0, 0.5, -0.7]])
V = np.array([[1.0, 0.4, -2.0], [0.1, -0.6, 0.8]])
METHODS = pytest.mark.parametrize("method", ["central", "complex"])
SCALES = pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])


def f(point):
    """One value per row: sum_j sin(p_j) p_j^2, times the row's product."""
    return np.sin(point).sum(axis=1) * point.prod(axis=1)


def gradient(point):
    others = np.stack([np.delete(point, j, axis=1).prod(axis=1) for j in range(3)], axis=1)
    return np.cos(point) * point.prod(axis=1, keepdims=True) + np.sin(point).sum(axis=1, keepdims=True) * others


def hessian_product(point, v):
    return gradient(point + 1e-20j * v).imag / 1e-20


WRONG = {
    "times 1.001": lambda g: 1.001 * g,
    "a dropped entry": lambda g: np.where(np.arange(6).reshape(2, 3) == 4, 0, g),
    "a wrong sign": lambda g: -g,
    "one entry off by 1 %": lambda g: g * np.where(np.arange(6).reshape(2, 3) == 2, 1.01, 1),
    "zero": lambda g: 0 * g,
    "2.5 times": lambda g: 2.5 * g,
    "NaN": lambda g: np.where(np.arange(6).reshape(2, 3) == 5, np.nan, g),
    "infinite": lambda g: np.where(np.arange(6).reshape(2, 3) == 5, np.inf, g),
    "transposed": lambda g: g.T,
    "flat": lambda g: g.ravel(),
    "a row, which would broadcast": lambda g: g[:1],
    "a number, which would broadcast": lambda g: g[0, 0],
}
EVERY_WRONG = pytest.mark.parametrize("mutate", WRONG.values(), ids=WRONG)


# --- check_gradient -----------------------------------------------------------------------------------------------------


@METHODS
def test_a_right_gradient_passes_as_an_array_and_as_a_function(method):
    check_gradient(f, POINT, gradient(POINT), method)
    check_gradient(f, POINT, gradient, method)


@METHODS
@EVERY_WRONG
def test_a_wrong_gradient_fails(mutate, method):
    with pytest.raises(AssertionError, match="the gradient"):
        check_gradient(f, POINT, mutate(gradient(POINT)), method)


@EVERY_WRONG
def test_by_complex_step_a_wrong_gradient_of_size_1e_8_fails(mutate):
    check_gradient(lambda p: 1e-8 * f(p), POINT, 1e-8 * gradient(POINT), "complex")
    with pytest.raises(AssertionError):
        check_gradient(lambda p: 1e-8 * f(p), POINT, mutate(1e-8 * gradient(POINT)), "complex")


def test_by_differences_a_gradient_of_size_1e_8_that_is_wrong_by_2_5_times_fails():
    check_gradient(lambda p: 1e-8 * f(p), POINT, 1e-8 * gradient(POINT))
    with pytest.raises(AssertionError):
        check_gradient(lambda p: 1e-8 * f(p), POINT, 2.5e-8 * gradient(POINT))


@METHODS
@SCALES
def test_right_gradients_pass_at_every_scale_of_the_function(scale, method):
    check_gradient(lambda p: scale * f(p), POINT, scale * gradient(POINT), method)


@METHODS
def test_a_large_constant_that_rounds_the_difference_away_is_allowed_for(method):
    check_gradient(lambda p: f(p) + 1e6, POINT, gradient(POINT), method)


def test_a_failure_names_the_worst_entry_and_both_its_values():
    wrong = gradient(POINT).copy()
    wrong[1, 2] += 7
    with pytest.raises(AssertionError) as caught:
        check_gradient(f, POINT, wrong, "complex")
    worst = f"worst entry [1, 2]: {wrong[1, 2]:.12g}, expected {gradient(POINT)[1, 2]:.12g}"
    assert worst in str(caught.value)
    assert "the gradient is off by 7 in norm" in str(caught.value)


def test_a_failure_names_a_nan_as_the_worst_entry():
    wrong = gradient(POINT).copy()
    wrong[0, 1], wrong[1, 2] = np.nan, 1e9
    with pytest.raises(AssertionError, match=r"worst entry \[0, 1\]: nan"):
        check_gradient(f, POINT, wrong)


def test_a_failure_of_shape_names_both_shapes():
    with pytest.raises(AssertionError, match=r"the gradient has shape \(3, 2\), expected \(2, 3\)"):
        check_gradient(f, POINT, gradient(POINT).T)


@pytest.mark.parametrize("point", [np.array(0.7), np.array([0.7]), np.zeros((2, 0)), np.full((1, 2, 1, 2), 0.3)])
@METHODS
def test_points_of_any_shape_are_checked(point, method):
    check_gradient(np.sin, point, np.cos, method)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'forward'; expected 'central' or 'complex'"):
        numeric_gradient(f, POINT, "forward")


# --- check_hvp ----------------------------------------------------------------------------------------------------------


@METHODS
def test_a_right_product_passes_as_an_array_and_as_a_function(method):
    check_hvp(gradient, POINT, V, hessian_product(POINT, V), method)
    check_hvp(gradient, POINT, V, hessian_product, method)


@METHODS
@EVERY_WRONG
def test_a_wrong_product_fails(mutate, method):
    with pytest.raises(AssertionError, match="the Hessian-vector product"):
        check_hvp(gradient, POINT, V, mutate(hessian_product(POINT, V)), method)


@METHODS
@pytest.mark.parametrize("length", [1e-8, 1e8])
def test_products_are_checked_at_every_length_of_v(length, method):
    check_hvp(gradient, POINT, length * V, length * hessian_product(POINT, V), method)
    for wrong in (1.001, 2.5):
        with pytest.raises(AssertionError):
            check_hvp(gradient, POINT, length * V, wrong * length * hessian_product(POINT, V), method)


def test_a_product_that_is_right_along_v_and_not_symmetric_fails():
    across = np.cross(V, np.ones(3))  # orthogonal to V, row by row

    def lopsided(point, v):
        return hessian_product(point, v) + V * np.sum(across * v)  # nothing is added along V itself

    check_hvp(gradient, POINT, V, lopsided(POINT, V), "complex")
    with pytest.raises(AssertionError, match=r"u \. H v against v \. H u"):
        check_hvp(gradient, POINT, V, lopsided, "complex")


@METHODS
def test_along_a_zero_v_only_zero_passes(method):
    check_hvp(gradient, POINT, 0 * V, 0 * V, method)
    with pytest.raises(AssertionError):
        check_hvp(gradient, POINT, 0 * V, V, method)


# --- check_density ------------------------------------------------------------------------------------------------------

GRID = [np.linspace(-9, 9, 361)] * 2


def log_normal(z):
    return -0.5 * (z**2).sum(axis=1) - math.log(2 * math.pi) * z.shape[1] / 2


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_normalised_density_passes_and_one_that_is_not_fails(dimensions):
    grid = GRID[:dimensions]
    check_density(log_normal, grid=grid)
    for offset in (1e-5, -1e-5, 0.1, -100.0, np.nan):
        with pytest.raises(AssertionError, match=r"the density integrates to .*; expected 1"):
            check_density(lambda z, offset=offset: log_normal(z) + offset, grid=grid)


def test_a_density_with_a_variance_for_a_deviation_fails():
    with pytest.raises(AssertionError, match="integrates to 2; expected 1"):
        check_density(lambda z: log_normal(z / 2), grid=[2 * GRID[0]])


def test_a_discrete_density_must_sum_to_one():
    support = [[0.0], [1.0], [2.0]]
    log_p = np.log([0.2, 0.5, 0.3])
    check_density(lambda x: log_p[x[:, 0].astype(int)], support=support)
    with pytest.raises(AssertionError, match="the density sums to"):
        check_density(lambda x: log_p[x[:, 0].astype(int)], support=support[::2])


@pytest.mark.parametrize("given_both", [{}, {"grid": GRID, "support": [[0.0]]}])
def test_a_density_is_continuous_or_discrete(given_both):
    with pytest.raises(ValueError, match="either a grid"):
        check_density(log_normal, **given_both)


# --- assert_close -------------------------------------------------------------------------------------------------------


def test_closeness_is_of_whole_arrays_in_norm():
    expected = np.array([1.0, 1e-12])
    assert_close(np.array([1.0, 2e-12]), expected, rtol=1e-9)
    with pytest.raises(AssertionError):
        assert_close(np.array([1.0 + 2e-9, 1e-12]), expected, rtol=1e-9)


@given(a=arrays((3,)), scale=st.sampled_from([1e-30, 1e-8, 1.0, 1e30]))
def test_closeness_does_not_depend_on_scale(a, scale):
    assert_close(scale * a, scale * a, rtol=0)
    assert_close(scale * a * (1 + 1e-10), scale * a)
    if np.linalg.norm(a) > 1e-3:
        with pytest.raises(AssertionError):
            assert_close(2.5 * scale * a, scale * a)


def test_infinity_and_nan_are_close_to_nothing_and_empty_arrays_to_each_other():
    for bad, expected in itertools.product([np.nan, np.inf], [1.0, np.nan]):
        with pytest.raises(AssertionError), np.errstate(invalid="ignore"):
            assert_close(bad, expected, rtol=1.0, atol=1.0)
    assert_close(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(AssertionError, match=r"shape \(0, 3\), expected \(3, 0\)"):
        assert_close(np.zeros((0, 3)), np.zeros((3, 0)))


# --- the strategies -----------------------------------------------------------------------------------------------------


@given(likelihood=likelihoods, data=st.data())
def test_observations_lie_in_the_support(likelihood, data):
    x = data.draw(observations(likelihood, 3, 4))
    assert x.shape == (3, 4)
    likelihood.check(x)


@given(problem=problems(extreme=True))
@settings(max_examples=50)
def test_problems_fit_together(problem):
    p = problem
    B, D = len(p.x), p.model.latent_dim
    assert p.lam.shape == (B, 2 * D) and p.noise.shape[1:] == (B, D)
    p.model.decoder.check(p.theta, p.x)
    assert all(np.isfinite(a).all() for a in (p.lam, p.theta, p.noise))
    assert repr(p.model) in repr(p)


FIND = settings(max_examples=1000, database=None, derandomize=True, phases=[Phase.generate])


@pytest.mark.parametrize(
    "strategy, holds",
    [
        (problems(), lambda p: p.noise.shape == (1, 1, 1) and p.x.shape == (1, 1)),
        (problems(), lambda p: p.model.kl is SampledKL and p.beta == 0.3 and p.model.prior.any()),
        (problems(), lambda p: not p.noise.any() and p.noise.size > 1),
        (problems(), lambda p: len(p.x) > 1 and (p.x == p.x[0]).all() and p.x.any()),
        (problems(likelihood=Multinomial()), lambda p: (p.x.sum(axis=1) == 0).any()),
        (problems(extreme=True), lambda p: np.abs(split(p.lam)[1]).max() == 10),
        (problems(extreme=True), lambda p: np.abs(sample(p.lam, p.noise)).max() > 100),
        (lams(2, 2, extreme=True), lambda lam: (lam == 10).any() and not (lam == 10).all()),
        (mlps(), lambda net: len(net.sizes) == 4 and net.activation.name == "softplus"),
        (mlps(inputs=2, outputs=3), lambda net: net.sizes == (2, 3)),
    ],
    ids=["ones", "kl", "no noise", "repeated rows", "no counts", "log_var", "far samples", "lams", "deep", "shallow"],
)
def test_strategies_do_draw_the_extremes(strategy, holds):
    find(strategy, lambda value: bool(holds(value)), settings=FIND)


# --- mutants ------------------------------------------------------------------------------------------------------------


def fixed_problem(likelihood, kl, seed=0):
    """A problem in which no term vanishes: two tanh layers, a prior of its own, beta = 0.7, B = 3, S = 2, D = 2."""
    rng = np.random.default_rng(seed)
    decoder = MLPDecoder(MLP([2, 4, 3, 4]), likelihood)
    model = LatentGaussianModel(decoder, rng.normal(0, 0.5, 4), kl)
    M = decoder.data_dim
    return Problem(
        model=model,
        lam=rng.normal(0, 0.7, (3, 4)),
        theta=rng.normal(0, 0.8, model.size),
        x=rng.integers(0, 2, (3, M)) if isinstance(likelihood, Bernoulli) else rng.integers(1, 4, (3, M)),
        noise=rng.normal(size=(2, 3, 2)),
        beta=0.7,
        v=rng.normal(size=(3, 4)),
    )


def check_against_reference(p):
    """Closed form against autograd: loss, d_lam, d_theta and both Hessian products, at 1e-9."""

    def loss(lam, theta):
        return reference.loss(p.model, lam, theta, p.x, p.noise, p.beta)

    d_lam, d_theta = autograd.grad(lambda *point: anp.sum(loss(*point)), (0, 1))(p.lam, p.theta)
    h, h_theta = reference.hessian_products(loss, p.lam, p.theta, p.v)
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    product = f.hvp(e, p.v)
    for actual, expected, name in (
        (e.loss, loss(p.lam, p.theta), "loss"),
        (e.d_lam, d_lam, "d_lam"),
        (f.theta_sum().add(e).value(), d_theta, "d_theta"),
        (product.lam, h, "H_lam v"),
        (f.theta_sum().add(product).value(), h_theta, "H_theta v"),
    ):
        assert_close(actual, expected, rtol=1e-9, name=name)


def check_by_complex_step(p):
    """The closed forms against each other: loss to gradients to Hessian products, by the public checks."""
    model = p.model

    def gradients(lam, theta):
        f = model.objective(theta, p.x, p.beta)
        e = f.gradient(lam, p.noise)
        return e.d_lam, f.theta_sum().add(e).value()

    d_lam, d_theta = gradients(p.lam, p.theta)
    check_gradient(lambda lam: model.loss(lam, p.theta, p.x, p.noise, p.beta), p.lam, d_lam, "complex")
    check_gradient(lambda theta: model.loss(p.lam, theta, p.x, p.noise, p.beta), p.theta, d_theta, "complex")
    f = p.objective()
    product = f.hvp(f.evaluate(p.lam, p.noise), p.v)
    check_hvp(lambda lam: gradients(lam, p.theta.astype(lam.dtype))[0], p.lam, p.v, product.lam, "complex", atol=1e-13)
    moved = gradients(p.lam + 1e-20j * p.v, p.theta.astype(complex))[1].imag / 1e-20
    assert_close(f.theta_sum().add(product).value(), moved, rtol=1e-12, name="H_theta v")


CHECKS = pytest.mark.parametrize("check", [check_against_reference, check_by_complex_step])
KINDS = [
    (likelihood, kl)
    for likelihood in (Bernoulli(), Multinomial(), Gaussian("global"), Gaussian("per_dimension"), Gaussian("from_z"))
    for kl in (AnalyticKL, SampledKL)
]


@CHECKS
@pytest.mark.parametrize("likelihood, kl", KINDS)
def test_the_identity_checks_pass_on_the_rooms_as_they_are(likelihood, kl, check):
    check(fixed_problem(likelihood, kl))


# A mutant is a function of (monkeypatch, problem) that changes one term of one room.


def result(function, change):
    """function, with its result changed."""
    return lambda *arguments: change(function(*arguments))


def slightly(a):
    return 1.001 * a


def dropped(a):
    return 0 * a


def log_var_part(change):
    """A change of the log-variance half of a (B, 2D) array."""
    return lambda h: savi.models.gaussian.join(split(h)[0], change(split(h)[1]))


def kl_term(kl, name, change):
    return lambda monkeypatch, problem: monkeypatch.setattr(kl, name, staticmethod(result(getattr(kl, name), change)))


def shared(name, change):
    """A function of gaussian.py, there and where latent_gaussian.py imported it."""

    def apply(monkeypatch, problem):
        mutant = change if name == "reparameterized_hvp" else result(getattr(savi.models.gaussian, name), change)
        for room in (savi.models.gaussian, savi.models.latent_gaussian):
            if hasattr(room, name):
                monkeypatch.setattr(room, name, mutant)

    return apply


def without_second_order(sigma_e, d_z, d_z_dot, v):
    """reparameterized_hvp as if sigma stood still."""
    return savi.models.gaussian.sample_backward(sigma_e, d_z_dot)


def activation(**changes):
    """Other derivatives of the net's activation; the reference reads its name only."""

    def apply(monkeypatch, problem):
        net = problem.model.decoder.net
        net.activation = net.activation._replace(**changes)

    return apply


def param_sum(name, mutant):
    return lambda monkeypatch, problem: monkeypatch.setattr(ParamSum, name, mutant)


def one_product_of(which):
    """ParamSum.add_tangent with h_dot^T delta alone (0) or with h^T delta_dot alone (1)."""

    def add_tangent(self, record, dot, weight=1.0):
        left, right = ((dot.block, record.block), (record.block, dot.block))[which]
        return self._add(left, right, record.slot, weight, record.block)

    return add_tangent


def written_over(likelihood, name, factor, place=None):
    """A verb of a likelihood times factor: what it returns, written over its argument, or that at `place` of a tuple."""
    function = getattr(likelihood, name)

    def mutant(self, *arguments):
        value = function(self, *arguments)
        array = value if place is None else value[place]
        array *= factor
        return value

    return mutant


def verb(likelihood, name, factor):
    """`error`, alone and beside log p, or `tangent` of a likelihood, times factor."""
    mutants = {name: written_over(likelihood, name, factor, 0 if name == "error" else None)}
    if name == "error":
        mutants["log_prob_and_error"] = written_over(likelihood, "log_prob_and_error", factor, 1)

    def apply(monkeypatch, problem):
        for each, mutant in mutants.items():
            monkeypatch.setattr(likelihood, each, mutant)

    return apply


def own(name, change):
    """`eta_error` or `eta_tangent` of the Gaussian."""
    return lambda monkeypatch, problem: monkeypatch.setattr(Gaussian, name, result(getattr(Gaussian, name), change))


def without_shared_part(monkeypatch, problem):
    """Multinomial.tangent without its p p^T."""

    def tangent(self, error, kept, x, eta, out_dot):
        out_dot *= error - x
        return out_dot

    monkeypatch.setattr(Multinomial, "tangent", tangent)


AKL, SKL = AnalyticKL, SampledKL
MUTANTS = {
    "analytic KL: gradient x 1.001": (Bernoulli(), AKL, kl_term(AKL, "gradient", slightly)),
    "analytic KL: gradient dropped": (Bernoulli(), AKL, kl_term(AKL, "gradient", dropped)),
    "analytic KL: entropy term dropped": (Bernoulli(), AKL, kl_term(AKL, "gradient", log_var_part(lambda d: d + 0.5))),
    "analytic KL: Hessian x 1.001": (Bernoulli(), AKL, kl_term(AKL, "hvp", slightly)),
    "analytic KL: Hessian dropped": (Bernoulli(), AKL, kl_term(AKL, "hvp", dropped)),
    "sampled KL: gradient x 1.001": (Bernoulli(), SKL, kl_term(SKL, "gradient", slightly)),
    "sampled KL: entropy term dropped": (Bernoulli(), SKL, kl_term(SKL, "gradient", log_var_part(lambda d: d + 0.5))),
    "sampled KL: the sign [LI] prints": (Bernoulli(), SKL, kl_term(SKL, "gradient", log_var_part(lambda d: d + 1.0))),
    "sampled KL: Hessian dropped": (Bernoulli(), SKL, kl_term(SKL, "hvp", dropped)),
    "sample: second-order term dropped": (Gaussian(), AKL, shared("reparameterized_hvp", without_second_order)),
    "sample: gradient of log sigma for log s2": (
        Bernoulli(), AKL, shared("sample_backward", log_var_part(lambda d: 2 * d))),
    "sample: tangent x 1.001": (Bernoulli(), AKL, shared("sample_tangent", slightly)),
    "net: slope x 1.001": (Bernoulli(), AKL, activation(slope=lambda h: 1.001 * (1 - h * h))),
    "net: slope dropped": (Bernoulli(), AKL, activation(slope=np.ones_like)),
    "net: phi'' x 1.001": (Bernoulli(), AKL, activation(bend=lambda h: -2.002 * h)),
    "net: phi'' dropped": (Bernoulli(), AKL, activation(bend=np.zeros_like)),
    "theta: gradient x 1.001": (Bernoulli(), AKL, param_sum("value", result(ParamSum.value, slightly))),
    "theta: h^T delta_dot dropped": (Bernoulli(), AKL, param_sum("add_tangent", one_product_of(0))),
    "theta: h_dot^T delta dropped": (Bernoulli(), AKL, param_sum("add_tangent", one_product_of(1))),
    "Bernoulli: error x 1.001": (Bernoulli(), AKL, verb(Bernoulli, "error", 1.001)),
    "Bernoulli: tangent x 1.001": (Bernoulli(), AKL, verb(Bernoulli, "tangent", 1.001)),
    "Bernoulli: tangent dropped": (Bernoulli(), AKL, verb(Bernoulli, "tangent", 0)),
    "Multinomial: error x 1.001": (Multinomial(), AKL, verb(Multinomial, "error", 1.001)),
    "Multinomial: p p^T dropped": (Multinomial(), AKL, without_shared_part),
    "Gaussian: error x 1.001": (Gaussian(), AKL, verb(Gaussian, "error", 1.001)),
    "Gaussian: tangent x 1.001": (Gaussian(), AKL, verb(Gaussian, "tangent", 1.001)),
    "Gaussian from z: tangent x 1.001": (Gaussian("from_z"), SKL, verb(Gaussian, "tangent", 1.001)),
    "Gaussian: the log variance's -1/2 dropped": (Gaussian(), AKL, own("eta_error", lambda rows: rows + 2.0)),  # M / 2
    "Gaussian: the log variances' gradient x 1.001": (Gaussian("per_dimension"), AKL, own("eta_error", slightly)),
    "Gaussian: the log variance's tangent dropped": (Gaussian(), AKL, own("eta_tangent", dropped)),
}  # fmt: skip


@CHECKS
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_identity_checks_fail_on_every_mutant(mutant, check, monkeypatch):
    likelihood, kl, apply = MUTANTS[mutant]
    problem = fixed_problem(likelihood, kl)
    check(problem)
    apply(monkeypatch, problem)
    with pytest.raises(AssertionError, match="off by"):
        check(problem)


def log_prob(monkeypatch, problem):
    monkeypatch.setattr(Bernoulli, "log_prob", result(Bernoulli.log_prob, slightly))
    monkeypatch.setattr(Bernoulli, "log_prob_and_error", written_over(Bernoulli, "log_prob_and_error", 1.001, place=0))


@pytest.mark.parametrize(
    "kl, apply",
    [(AKL, kl_term(AKL, "value", slightly)), (SKL, kl_term(SKL, "value", slightly)), (AKL, log_prob)],
    ids=["analytic KL", "sampled KL", "log p(x | z)"],
)
@CHECKS
def test_the_identity_checks_fail_on_a_term_of_the_loss_times_1_001(check, kl, apply, monkeypatch):
    problem = fixed_problem(Bernoulli(), kl)
    apply(monkeypatch, problem)
    with pytest.raises(AssertionError, match="off by"):
        check(problem)


def test_samples_scaled_wrongly_pass_the_complex_step_and_fail_beside_the_reference(monkeypatch):
    """Why identities need an oracle: a consistent error in what sigma means passes every check of a gradient."""
    problem = fixed_problem(Bernoulli(), AKL)
    shared("scaled_noise", slightly)(monkeypatch, problem)
    check_by_complex_step(problem)
    with pytest.raises(AssertionError, match="loss is off by"):
        check_against_reference(problem)


def test_a_gradient_of_a_tiny_function_is_not_excused_by_an_absolute_tolerance():
    with pytest.raises(AssertionError, match="the gradient is off"):
        check_gradient(lambda p: 1e-11 * np.sin(p), np.array([0.3, 1.0]), np.zeros(2))
