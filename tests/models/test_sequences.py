"""LSTM decoders and encoders against autograd, complex steps and each other; padding, start token, language models."""

import gc
import inspect
import textwrap
import weakref

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import savi
from savi import (
    SAVAE,
    SVI,
    VAE,
    VAESVI,
    Categorical,
    FixedDecoder,
    HighwayMLP,
    InputError,
    Iterative,
    LatentGaussianModel,
    LSTMDecoder,
    LSTMEncoder,
    hvp,
    iterative,
    reference,
)
from savi.models import z_at as sequences
from savi.nets import lstm, lstm_cell
from savi.nets.lstm import LSTM
from savi.nets.mlp import MLP
from savi.nets.tokens import check_tokens
from savi.testing import assert_close, seeds

KINDS = [("output", ()), ("output", (3,)), ("output", (3, 4)), ("input", ()), ("input", (3,))]
V, E, H = 5, 2, 3


class Point:
    """A model of sequences of different lengths and a point to evaluate it at."""

    def __init__(self, z_at, layers, seed=0, D=2, S=2, B=3, T=4, dtype=float, H=H):
        rng = np.random.default_rng(seed)
        self.decoder = LSTMDecoder(V, E, H, D, layers, "tanh", z_at)
        self.model = LatentGaussianModel(self.decoder)
        self.theta = rng.uniform(-1, 1, self.decoder.size).astype(dtype)
        self.lam = rng.uniform(-1, 1, (B, 2 * D)).astype(dtype)
        self.noise = rng.standard_normal((S, B, D)).astype(dtype)
        self.x = padded(rng.integers(0, V, (B, T)), rng.integers(1, T + 1, B))
        self.v = rng.uniform(-1, 1, self.lam.shape).astype(dtype)
        self.beta = 0.7

    def objective(self):
        return self.model.objective(self.theta, self.x, self.beta)

    def loss(self, lam, theta):
        return reference.loss(self.model, lam, theta, self.x, self.noise, self.beta)


def padded(x, lengths):
    return np.where(np.arange(x.shape[1]) < lengths[:, None], x, -1)


points = st.builds(
    lambda kind, seed, D, S, B, T, H: Point(*kind, seed, D, S, B, T, H=H),
    st.sampled_from(KINDS), seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5),
    st.integers(1, 4),
)  # fmt: skip


@given(points)
def test_loss_and_gradients_are_autograds(p):
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    total = lambda lam, theta: anp.sum(p.loss(lam, theta))  # noqa: E731
    d_lam, d_theta = autograd.grad(total, (0, 1))(p.lam, p.theta)
    assert_close(e.loss, p.loss(p.lam, p.theta), 1e-10, 0, "loss")
    assert_close(e.d_lam, d_lam, 1e-9, 1e-12, "d lam")
    assert_close(f.theta_sum().add(e).value(), d_theta, 1e-9, 1e-12, "d theta")


@pytest.mark.parametrize("z_at, layers", KINDS)
def test_sums_of_the_same_objective_do_not_touch_each_other(z_at, layers):
    p = Point(z_at, layers)
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    first = f.theta_sum().add(e).value().copy()
    f.theta_sum().add(f.evaluate(p.lam + 1, p.noise)).value()
    assert_close(f.theta_sum().add(e).value(), first, 1e-14, 0, "the second sum")


@given(points, seeds)
def test_a_sum_weighs_each_examples_gradient(p, seed):
    f, weights = p.objective(), np.random.default_rng(seed).uniform(-1, 1, (2, len(p.x)))
    total = f.theta_sum()
    for w, shift in zip(weights, (0.0, 0.5)):
        total.add(f.evaluate(p.lam + shift, p.noise), w)
    judge = autograd.grad(
        lambda theta: anp.sum(weights[0] * p.loss(p.lam, theta)) + anp.sum(weights[1] * p.loss(p.lam + 0.5, theta))
    )(p.theta)
    assert_close(total.value(), judge, 1e-9, 1e-12, "weighted d theta")


@pytest.mark.parametrize("z_at, layers", KINDS)
@pytest.mark.parametrize("method", ["exact", "complex", "central", "autograd"])
def test_hessian_products_are_autograds(z_at, layers, method):
    p = Point(z_at, layers)
    h, h_theta = reference.hessian_products(p.loss, p.lam, p.theta, p.v)
    f = p.objective()
    product = hvp.product(f, f.evaluate(p.lam, p.noise), p.v, method)
    rtol = 1e-6 if method == "central" else 1e-9
    assert_close(product.lam, h, rtol, 1e-12, "H_ll v")
    assert_close(f.theta_sum().add(product).value(), h_theta, rtol, 1e-12, "H_tl v")


@pytest.mark.parametrize("z_at, layers", KINDS)
@pytest.mark.parametrize("method", ["exact", "complex", "forward"])
def test_a_weighted_product_weighs_each_example(z_at, layers, method):
    p, w = Point(z_at, layers), np.array([0.5, -2.0, 1.5])
    h_theta = reference.hessian_products(p.loss, p.lam, p.theta, w[:, None] * p.v)[1]
    f = p.objective()
    product = hvp.product(f, f.evaluate(p.lam, p.noise), p.v, method)
    rtol = {"exact": 1e-9, "complex": 1e-9, "forward": 1e-3}[method]
    assert_close(f.theta_sum().add(product, w).value(), h_theta, rtol, 1e-12, "weighted H_tl v")


@given(points, seeds)
@settings(max_examples=60)
def test_exact_products_are_autograds_and_the_complex_steps(p, seed):
    f, weights = p.objective(), np.random.default_rng(seed).uniform(-2, 2, len(p.x))
    e = f.evaluate(p.lam, p.noise)
    exact = hvp.product(f, e, p.v)
    for method, rtol in (("autograd", 1e-8), ("complex", 1e-10)):
        judge = hvp.product(f, e, p.v, method)
        assert_close(exact.lam, judge.lam, rtol, 1e-12, "H_ll v")
        for w in (1.0, weights):
            actual, expected = (f.theta_sum().add(product, w).value() for product in (exact, judge))
            assert_close(actual, expected, rtol, 1e-12, "H_tl v")


@pytest.mark.parametrize("z_at, layers", KINDS)
def test_exact_products_in_single_precision(z_at, layers):
    results, weights = [], np.array([0.5, -2.0, 1.5])
    for dtype in (np.float32, np.float64):
        p = Point(z_at, layers, dtype=dtype, T=6)
        f = p.objective()
        product = hvp.product(f, f.evaluate(p.lam, p.noise), p.v)
        results.append((product.lam, f.theta_sum().add(product, weights).value()))
        assert all(a.dtype == dtype for a in results[-1])
    for single, double in zip(*results):
        assert_close(single, double, 1e-4)


@pytest.mark.parametrize("z_at", ["output", "input"])
@pytest.mark.parametrize("method", ["exact", "complex"])
def test_several_products_of_several_evaluations_are_summed_right(z_at, method):
    p = Point(z_at, (3,))
    f = p.model.objective(p.theta, p.x, p.beta)
    f.reserve(2)
    evaluations, total, expected = [f.evaluate(p.lam + shift, p.noise) for shift in (0.0, 0.5)], f.theta_sum(), 0.0
    products = [(hvp.product(f, e, s * p.v, method), w) for e in evaluations for s, w in ((1.0, 0.5), (-3.0, 2.0))]
    for product, w in products:
        total.add(product, w)
    for shift in (0.0, 0.5):
        expected = expected + (0.5 - 3 * 2.0) * reference.hessian_products(p.loss, p.lam + shift, p.theta, p.v)[1]
    assert_close(total.value(), expected, 1e-9, 1e-12, "a sum of products")


@pytest.mark.parametrize("z_at", ["output", "input"])
def test_the_output_net_may_be_a_highway(z_at):
    p = Point(z_at, (4, 4))
    p.decoder.net = HighwayMLP(p.decoder.net.sizes, "tanh")
    p.decoder.size = p.decoder.offsets[1] + p.decoder.net.size
    p.theta = np.random.default_rng(1).uniform(-1, 1, p.decoder.size)
    f, weights = p.objective(), np.array([0.5, -2.0, 1.5])
    e = f.evaluate(p.lam, p.noise)
    exact = hvp.product(f, e, p.v)
    for method in ("complex", "autograd"):
        judge = hvp.product(f, e, p.v, method)
        assert_close(exact.lam, judge.lam, 1e-10, 1e-13, "H_ll v")
        actual, expected = (f.theta_sum().add(product, weights).value() for product in (exact, judge))
        assert_close(actual, expected, 1e-10, 1e-13, "H_tl v")


@given(seeds, st.integers(0, 2), st.booleans(), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=40)
def test_an_lstms_tangents_are_the_complex_steps(seed, X, with_h_0, S, T):
    """Whatever it is given: extra inputs or none, h_0 or none."""
    rng, net, B, r = np.random.default_rng(seed), LSTM(V, E, H, X), 2, 1e-20
    params, tokens = rng.uniform(-1, 1, net.size), rng.integers(-1, V, (T, B))
    S = S if X or with_h_0 else 1
    given_x = [rng.normal(size=(2, S, B, X)) if X else (None, None), rng.normal(size=(2, S, B, H))]
    if not with_h_0:
        given_x[1] = None, None
    d_h, d_h_dot = rng.normal(size=(2, T, S, B, H))
    over = net.over(params, tokens)
    record = over.forward(*(a for a, _ in given_x))
    over.backward(record, d_h)
    dot = over.tangent(record, *(a_dot for _, a_dot in given_x))
    backs = over.tangent_backward(record, dot, d_h_dot)
    step = over if X or with_h_0 else net.over(params.astype(complex), tokens)
    moved = step.forward(*(None if a is None else a + 1j * r * a_dot for a, a_dot in given_x))
    assert_close(dot.h, moved.h.imag / r, 1e-11, 1e-13, "h_dot")
    for actual, expected in zip(backs, step.backward(moved, d_h + 1j * r * d_h_dot)):
        assert_close(actual, expected.imag / r, 1e-11, 1e-13, "R{d extra}, R{d h_0}")
    actual, expected = over.param_sum().add_tangent(record, dot), step.param_sum(complex).add(moved)
    assert_close(actual.value(), expected.value().imag / r, 1e-11, 1e-13, "R{d params}")


@pytest.mark.parametrize("z_at, layers", KINDS)
def test_padding_says_nothing_and_lengths_may_differ(z_at, layers):
    p = Point(z_at, layers)
    p.x = padded(np.abs(p.x), np.array([4, 1, 2]))
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    total = 0.0
    for b, n in enumerate((4, 1, 2)):
        g = p.model.objective(p.theta, p.x[b : b + 1, :n], p.beta)
        alone = g.evaluate(p.lam[b : b + 1], p.noise[:, b : b + 1])
        assert_close(e.loss[b], alone.loss[0], 1e-12, 0, "loss")
        assert_close(e.d_lam[b], alone.d_lam[0], 1e-12, 1e-14, "d lam")
        total = total + g.theta_sum().add(alone).value()
    assert_close(f.theta_sum().add(e).value(), total, 1e-12, 1e-14, "d theta")


@pytest.mark.parametrize("z_at, layers", KINDS)
def test_a_token_is_predicted_from_those_before_it_and_the_probabilities_sum_to_one(z_at, layers):
    p = Point(z_at, layers, S=1, B=1)
    theta, z = p.theta, p.lam[:1, :2][None]
    every = np.array(np.meshgrid(range(V), range(V), range(V))).reshape(3, -1).T
    log_p = p.decoder.given(theta, every)
    log_p = log_p.log_px(log_p.forward(np.repeat(z, len(every), axis=1)))
    assert abs(np.exp(log_p).sum() - 1) < 1e-12


@pytest.mark.parametrize("z_at", ["output", "input"])
def test_samples_come_from_the_model(z_at):
    decoder, rng = LSTMDecoder(3, 2, 3, 1, (4,), "tanh", z_at), np.random.default_rng(0)
    theta, z = rng.uniform(-1, 1, decoder.size), np.full((20_000, 1), 0.7)
    x = decoder.sample(theta, z, rng, 2)
    every = np.array([[a, b] for a in range(3) for b in range(3)])
    given_x = decoder.given(theta, every)
    p = np.exp(given_x.log_px(given_x.forward(np.full((1, 9, 1), 0.7))))[0]
    counts = np.bincount(3 * x[:, 0] + x[:, 1], minlength=9)
    assert np.all(np.abs(counts - 20_000 * p) < 5 * np.sqrt(20_000 * p * (1 - p)))


@pytest.mark.parametrize("z_at", ["output", "input"])
def test_latent_size_zero_is_a_language_model(z_at):
    decoder = LSTMDecoder(V, E, H, 0, (3,), "tanh", z_at)
    model, x = LatentGaussianModel(decoder), padded(np.arange(12).reshape(3, 4) % V, np.array([4, 2, 3]))
    theta = model.init(np.random.default_rng(0))
    loss, d_theta, d_phi = SVI(steps=0).gradient(model, theta, np.zeros(0), x, np.random.default_rng(0))
    judge = lambda theta: -decoder.reference(theta, np.zeros((1, 3, 0)), x)[0]  # noqa: E731
    assert_close(loss, judge(theta), 1e-12, 0, "NLL")
    assert_close(d_theta, autograd.grad(lambda theta: anp.sum(judge(theta)))(theta), 1e-9, 1e-12, "d theta")
    assert d_phi.shape == (0,)
    f = model.objective(theta, x)
    for method in ("exact", "complex"):
        product = hvp.product(f, f.evaluate(np.zeros((3, 0)), np.zeros((1, 3, 0))), np.zeros((3, 0)), method)
        assert_close(product.lam, np.zeros((3, 0)))
        assert_close(f.theta_sum().add(product).value(), np.zeros(model.size))


# --- the encoder, and methods on sequences --------------------------------------------------------------------------------


def encode(encoder, phi, x):
    """The encoder in autograd: an affine map of the state after the last token."""
    tokens = np.where(x.T < 0, encoder.lstm.vocabulary, x.T)
    states = encoder.lstm.reference(phi[: encoder.lstm.size], tokens)
    last = (x >= 0).sum(axis=1) - 1
    h = sum((last == t)[:, None] * h for t, h in enumerate(states))
    return encoder.net.reference(phi[encoder.lstm.size :], h)


@given(seeds, st.integers(1, 4), st.integers(1, 5))
def test_the_encoder_and_its_gradient_are_autograds(seed, B, T):
    rng, encoder = np.random.default_rng(seed), LSTMEncoder(V, E, H, 4)
    x, phi = padded(rng.integers(0, V, (B, T)), rng.integers(1, T + 1, B)), rng.uniform(-1, 1, encoder.size)
    d = rng.uniform(-1, 1, (B, 4))
    record = encoder.evaluate(phi, x)
    assert_close(record.output, encode(encoder, phi, x), 1e-12, 1e-13, "output")
    judge = autograd.grad(lambda phi: anp.sum(d * encode(encoder, phi, x)))(phi)
    assert_close(encoder.gradient(phi, record, d), judge, 1e-9, 1e-12, "d phi")


@pytest.mark.parametrize("z_at, layers", [("output", (3,)), ("output", ()), ("input", ()), ("input", (3,))])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("K", [0, 1, 3])
def test_sa_vae_on_sequences_is_autograd_through_the_loop(z_at, layers, fixed, K):
    p, step_size, momentum = Point(z_at, layers), 0.05, 0.5
    encoder = LSTMEncoder(V, E, H, 4)
    rng = np.random.default_rng(1)
    phi, noise = rng.uniform(-1, 1, encoder.size), rng.standard_normal((K + 1, 2, 3, 2))
    model, theta = p.model, p.theta
    if fixed:
        model, theta = LatentGaussianModel(FixedDecoder(p.decoder, p.theta)), np.zeros(0)
    method = SAVAE(encoder, K, step_size, momentum)
    found = method.gradient(model, theta, phi, p.x, noise=noise)

    def through(theta, phi):
        lam, v = encode(encoder, phi, p.x), 0.0
        f = lambda lam, e: reference.loss(p.model, lam, theta, p.x, e)  # noqa: E731
        for e in noise[:-1]:
            v = momentum * v - autograd.grad(lambda lam: anp.sum(f(lam, e)))(lam)  # noqa: B023
            lam = lam + step_size * v
        return anp.sum(f(lam, noise[-1]))

    d_theta, d_phi = autograd.grad(through, (0, 1))(p.theta, phi)
    assert_close(found[2], d_phi, 1e-8, 1e-12, "d phi")
    if fixed:
        assert found[1].shape == (0,)
    else:
        assert_close(found[1], d_theta, 1e-8, 1e-12, "d theta")


@pytest.mark.parametrize("z_at", ["output", "input"])
def test_every_method_trains_on_sequences(z_at):
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(LSTMDecoder(V, E, H, 2, (4,), "tanh", z_at))
    x = padded(rng.integers(0, V, (30, 4)), rng.integers(1, 5, 30))
    encoder = LSTMEncoder(V, E, H, 4)
    net = iterative.network(model, [iterative.Gradient()], (6, 6))
    methods = [
        VAE(encoder), SVI(3), VAESVI(encoder, 3), VAESVI(encoder, 3, kl=True), SAVAE(encoder, 3),
        Iterative(net, [iterative.Gradient()], 2, 2),
    ]  # fmt: skip
    for method in methods:
        result = savi.fit(model, method, x, epochs=1, batch=10, progress=False)
        summary = savi.evaluate(model, method, result.theta, result.phi, x, rng, iw_samples=20, gap_examples=2)
        assert all(np.isfinite(v) for v in summary.values()), method


def test_an_error_encoding_of_tokens_is_an_input_error():
    model = LatentGaussianModel(LSTMDecoder(V, E, H, 2))
    with pytest.raises(InputError, match="sequences have Gradient"):
        iterative.network(model, [iterative.Error()])


# --- memory, parts, dtypes, errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("z_at", ["output", "input"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_in_is_dtype_out(z_at, dtype):
    p, encoder = Point(z_at, (3,), dtype=dtype), LSTMEncoder(V, E, H, 4)
    phi = encoder.init(np.random.default_rng(0), dtype)
    for method in ("exact", "complex"):
        arrays = SAVAE(encoder, 2, hvp=method).gradient(p.model, p.theta, phi, p.x, np.random.default_rng(0))
        assert [a.dtype for a in arrays] == [dtype] * 3
    assert p.model.init(np.random.default_rng(0), dtype).dtype == dtype


def test_the_states_are_computed_once_for_an_inner_loop(monkeypatch):
    p, calls = Point("output", (3,)), []
    from savi.nets.lstm import OverTokens

    forward = OverTokens.forward
    monkeypatch.setattr(OverTokens, "forward", lambda self, *a: calls.append(1) or forward(self, *a))
    f = p.objective()
    for _ in range(5):
        f.gradient(p.lam, p.noise)
    assert len(calls) == 1


def test_a_batch_in_parts_is_the_batch(monkeypatch):
    from savi.engine import threads

    p, encoder = Point("output", (3,), B=7), LSTMEncoder(V, E, H, 4)
    phi, noise = encoder.init(np.random.default_rng(0)), np.random.default_rng(1).standard_normal((3, 1, 7, 2))
    whole = SAVAE(encoder, 2).gradient(p.model, p.theta, phi, p.x, noise=noise)
    monkeypatch.setattr(threads, "slices", lambda n, *work: [slice(0, 2), slice(2, n)])
    for a, b in zip(SAVAE(encoder, 2).gradient(p.model, p.theta, phi, p.x, noise=noise), whole):
        assert_close(a, b, 1e-12, 1e-13, "a gradient in parts")


@pytest.mark.parametrize(
    "x, message",
    [
        (np.zeros(3), r"x has shape \(3,\)"),
        (np.full((2, 2), 5), "values from 5 to 5; expected tokens, whole numbers below 5"),
        (np.full((2, 2), 0.5), "expected tokens"),
        (np.array([[-1, 2]]), "padding"),
        (np.array([[1, -1, 2]]), "padding"),
        (np.array([[-1], [2]]), "padding"),
        (np.zeros((2, 0)), r"x has shape \(2, 0\)"),
    ],
)
def test_what_is_no_sequence_of_tokens_is_an_input_error(x, message):
    with pytest.raises(InputError, match=message):
        check_tokens(x, V)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LSTM(0, 1, 1),
        lambda: LSTM(2, 1, 1.5),
        lambda: LSTMDecoder(3, 1, 1, 1, z_at="end"),
        lambda: LatentGaussianModel(LSTMDecoder(3, 1, 1, 1)).objective(np.zeros(3), np.zeros((1, 1))),
        lambda: LatentGaussianModel(FixedDecoder(LSTMDecoder(3, 1, 1, 1), np.zeros(9))).objective(
            np.zeros(3), np.zeros((1, 1))
        ),
        lambda: LatentGaussianModel(FixedDecoder(LSTMDecoder(3, 1, 1, 1), np.zeros(9))).objective(
            np.zeros(0), np.zeros((1, 1))
        ),
    ],
)
def test_bad_sizes_are_input_errors(make):
    with pytest.raises(InputError):
        make()


@pytest.mark.parametrize("z_at", ["output", "input"])
def test_any_negative_number_is_padding(z_at):
    p, losses = Point(z_at, (3,)), []
    for padding in (-1, -V - 1, -100):
        p.x[p.x < 0] = padding
        losses.append(p.objective().evaluate(p.lam, p.noise).loss)
    assert np.array_equal(losses[0], losses[1]) and np.array_equal(losses[0], losses[2])


@pytest.mark.parametrize("z_at", ["output", "input"])
def test_sums_and_products_have_thetas_dtype_whatever_the_weights_have(z_at):
    p = Point(z_at, (3,), dtype=np.float32)
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    for term in (e, *(hvp.product(f, e, p.v, method) for method in ("exact", "complex"))):
        for weight in (0.5, np.ones(3)):
            assert f.theta_sum().add(term, weight).value().dtype == np.float32


@pytest.mark.parametrize("z_at", ["output", "input"])
def test_sizes_may_be_whole_floats(z_at):
    decoder = LSTMDecoder(3.0, 2.0, 4.0, 1.0, z_at=z_at)
    assert decoder.init(np.random.default_rng(0)).shape == (LSTMDecoder(3, 2, 4, 1, z_at=z_at).size,)


def test_an_objective_takes_different_numbers_of_samples():
    p = Point("output", (3,), S=3)
    f = p.objective()
    f.evaluate(p.lam, p.noise[:1])
    assert_close(f.evaluate(p.lam, p.noise).loss, p.loss(p.lam, p.theta), 1e-10, 0, "loss")


def test_initial_parameters_have_the_stated_variances():
    lstm = LSTM(300, 50, 60, 10)
    embeddings, W = lstm.split(lstm.init(np.random.default_rng(0)))
    assert abs(embeddings.var() - 1) < 0.05 and abs(W[:-1].var() * 120 - 1) < 0.05
    assert np.all(W[-1] == np.repeat([0, 1, 0, 0], 60))
    for z_at, inputs in (("output", 80), ("input", 40)):
        decoder = LSTMDecoder(9, 3, 80, 40, (20,), z_at=z_at)
        join = decoder.split(decoder.init(np.random.default_rng(0)))[1]
        assert abs(join[:inputs].var() * inputs - 1) < 0.1 and not join[inputs:].any()


def test_initial_parameters_are_the_stated_draws_to_the_last_bit():
    rng = np.random.default_rng(3)
    embeddings, W = rng.standard_normal((4, 2)), rng.uniform(-1, 1, (7, 20)) * np.sqrt(3 / 7)
    expected = np.concatenate([embeddings.ravel(), W.ravel(), np.repeat([0, 1, 0, 0], 5)])
    np.testing.assert_array_equal(LSTM(3, 2, 5).init(np.random.default_rng(3)), expected)
    net = MLP([5, 6], "identity").init(rng)
    np.testing.assert_array_equal(
        LSTMEncoder(3, 2, 5, 6).init(np.random.default_rng(3)), np.concatenate([expected, net])
    )
    for z_at, rows in (("output", 5), ("input", 3)):
        decoder, rng = LSTMDecoder(3, 2, 5, 3, (4,), z_at=z_at), np.random.default_rng(3)
        drawn = decoder.init(np.random.default_rng(3))
        lstm, join, net = decoder.split(drawn)
        np.testing.assert_array_equal(lstm, decoder.lstm.init(rng))
        np.testing.assert_array_equal(net, decoder.net.init(rng))
        np.testing.assert_array_equal(join[:rows], rng.uniform(-1, 1, join[:rows].shape) * np.sqrt(3 / rows))


def test_a_fixed_decoder_is_freed_is_of_thetas_dtype_and_tells_its_parameters():
    p = Point("output", (3,))
    fixed = FixedDecoder(p.decoder, p.theta)
    model = LatentGaussianModel(fixed)
    assert model.work == p.model.work > 0 and repr(fixed) != repr(FixedDecoder(p.decoder, 2 * p.theta))
    f = model.objective(np.zeros(0, np.float32), p.x)
    e = f.evaluate(p.lam.astype(np.float32), p.noise.astype(np.float32))
    assert e.d_lam.dtype == e.loss.dtype == f.theta_sum().add(e).value().dtype == np.float32
    given_x = weakref.ref(f.given_x)
    gc.disable()
    try:
        del f, e
        assert given_x() is None
    finally:
        gc.enable()


# --- the likelihood ----------------------------------------------------------------------------------------------------


@given(seeds)
def test_the_categorical_error_and_its_tangent_are_derivatives(seed):
    rng, likelihood = np.random.default_rng(seed), Categorical()
    x = np.where(rng.random((4, 1, 3)) < 0.3, -1, rng.integers(0, V, (4, 1, 3)))
    out, dot = rng.normal(0, 3, (2, 4, 2, 3, V))
    step = 1e-20
    value = lambda out: likelihood.log_prob(out, x).sum()  # noqa: E731
    error, kept = likelihood.error(out.copy(), x)
    moved, _ = likelihood.error(out + 1j * step * dot, x)
    along = likelihood.log_prob(out + 1j * step * dot, x).imag.sum() / step
    assert_close((error * dot).sum(), along, 1e-10, 1e-12, "the error")
    tangent = likelihood.tangent(error.copy(), kept, x, None, dot.copy())
    assert_close(tangent, moved.imag / step, 1e-10, 1e-12, "its tangent")
    assert np.isfinite(value(1e4 * out)) and np.isfinite(likelihood.error(1e4 * out, x)[0]).all()


def test_categorical_probabilities_sum_to_one():
    out = np.random.default_rng(0).normal(0, 3, (V,))
    log_p = Categorical().log_prob(np.tile(out, (V, 1)), np.arange(V))
    assert abs(np.exp(log_p).sum() - 1) < 1e-12
    assert_close(np.exp(log_p), Categorical().mean(out), 1e-12, 0, "softmax")


def test_inference_in_parts_is_inference_of_the_batch(monkeypatch):
    from savi.engine import threads

    p, encoder = Point("output", (3,), B=7), LSTMEncoder(V, E, H, 4)
    phi = encoder.init(np.random.default_rng(0))
    for method, parameters in ((SAVAE(encoder, 2), phi), (SVI(2, start="prior"), None)):
        with monkeypatch.context() as patch:
            whole = method.infer(p.model, p.theta, parameters, p.x, np.random.default_rng(1))
            patch.setattr(threads, "slices", lambda n, *work: [slice(0, 2), slice(2, n)])
            found = method.infer(p.model, p.theta, parameters, p.x, np.random.default_rng(1))
        assert_close(found, whole, 1e-12, 1e-13, "lam in parts")


def test_a_fixed_decoders_mean_is_its_decoders_mean():
    decoder = savi.MLPDecoder(savi.MLP([2, 3, 5]), savi.Bernoulli())
    rng = np.random.default_rng(0)
    theta, z = rng.uniform(-1, 1, decoder.size), rng.standard_normal((4, 2))
    found = FixedDecoder(decoder, theta).mean(np.zeros(0), z)
    assert_close(found, decoder.mean(theta, z), 1e-14, 0, "E[x | z]")


# --- mutations: the checks of the products must fail ------------------------------------------------------------------

OVER, LSTM_SUM, INPUT, INPUT_SUM = lstm.OverTokens, lstm._LSTMSum, sequences.AtInput, sequences._InputSum
LINES = {
    "f c_dot is dropped": (OVER, "tangent", "f * c_dot[t] + ", ""),
    "p_g a_dot_g x 1.001": (OVER, "tangent", "+ by_g", "+ 1.001 * by_g"),
    "p_o a_dot_o is dropped": (OVER, "tangent", "by_o + q", "q"),
    "q c_dot x 1.001": (OVER, "tangent", "by_o + q", "by_o + 1.001 * q"),
    "extra_dot is dropped": (OVER, "tangent", "a_dot[t] += extra[t if record.by_step else 0]", "pass"),
    "h_0_dot is dropped": (OVER, "tangent", "_begin(start_dot,", "_begin(0 * start_dot,"),
    "extra_dot in u_dot is dropped": (OVER, "tangent", "E + X] = extra_dot", "E + X] = 0"),
    "h_dot in u_dot x 1.001": (OVER, "tangent", "= h_dot[:-1]", "= 1.001 * h_dot[:-1]"),
    "d_h_dot of the next step is dropped": (OVER, "tangent_backward", "d_h_dot[t] + back", "d_h_dot[t]"),
    "q d_h_dot x 1.001": (OVER, "tangent_backward", "d_dot * dot.q[t]", "1.001 * d_dot * dot.q[t]"),
    "q_dot d_h is dropped": (OVER, "tangent_backward", " + q_dot[t]", ""),
    "f d_c_dot is dropped": (OVER, "tangent_backward", "d_c_dot *= forget[t]", "pass"),
    "f_dot d_c is dropped": (OVER, "tangent_backward", "d_c_dot += f_dot[t]", "pass"),
    "p_dot is dropped": (OVER, "tangent_backward", "deltas_dot[t] += times", "deltas_dot[t] = times"),
    "p is dropped": (OVER, "tangent_backward", "deltas_dot[t] += times", "deltas_dot[t] += 0 * times"),
    "R{d extra} x 1.001": (OVER, "tangent_backward", "self._to_extra(", "1.001 * self._to_extra("),
    "p_i: g's part is dropped": (lstm_cell, "bends", "g_slope * a_g + g * (1", "g * (1"),
    "p_i: i's part x 1.001": (lstm_cell, "bends", "+ g * (1 - 2 * i)", "+ 1.001 * g * (1 - 2 * i)"),
    "p_f: c_dot's part is dropped": (lstm_cell, "bends", "f_slope * dot.c[:-1] + ", ""),
    "p_f: f's part x 1.001": (lstm_cell, "bends", "c * (1 - 2 * f)", "1.001 * c * (1 - 2 * f)"),
    "p_o: tanh c's part is dropped": (lstm_cell, "bends", "o_slope * tanh_dot + ", ""),
    "p_o: o's part x 1.001": (lstm_cell, "bends", "tanh_c * (1 - 2 * o)", "1.001 * tanh_c * (1 - 2 * o)"),
    "p_g: i's part x 1.001": (lstm_cell, "bends", "(i_slope * a_i", "(1.001 * i_slope * a_i"),
    "p_g: g's part is dropped": (lstm_cell, "bends", " - 2 * i * g * a_g", ""),
    "q: o's part x 1.001": (lstm_cell, "bends", "o_dot * tanh_slope -", "1.001 * o_dot * tanh_slope -"),
    "q: tanh c's part is dropped": (lstm_cell, "bends", " - 2 * o * tanh_c * tanh_dot", ""),
    "p_f x 1.001": (lstm_cell, "slopes", "p_f *= c", "p_f *= 1.001 * c"),
    "p_g's square is dropped": (lstm_cell, "slopes", "np.subtract(1, p_g, out=p_g)", "p_g[...] = 1"),
    "the words' gradient stands still": (LSTM_SUM, "add_tangent", "dot.deltas[0]", "(0 * dot.deltas[0])"),
    "h_0's part of R{d z} is dropped": (INPUT, "tangent", "d_z_dot + dot.d_h_0", "d_z_dot + 0 * dot.d_h_0"),
    "h_0 does not move": (INPUT, "tangent", "z_dot, z_dot @", "z_dot, 0 * z_dot @"),
    "z_dot^T d_h_0 is dropped": (INPUT_SUM, "add_tangent", "self._add_join(dot.z, 0,", "self._add_join(0 * dot.z, 0,"),
    "z^T R{d_h_0} is dropped": (INPUT_SUM, "add_tangent", "record.z, 1, dot.d_h_0", "record.z, 1, 0 * dot.d_h_0"),
    "b gets d_h_0": (INPUT_SUM, "add_tangent", "self._add_join(dot.z, 0,", "self._add_join(dot.z, 1,"),
    "b gets no R{d_h_0}": (INPUT_SUM, "add_tangent", "record.z, 1,", "record.z, 0,"),
}


@pytest.mark.parametrize("name", LINES)
def test_autograd_catches_a_changed_line_of_a_product(name, monkeypatch):
    home, verb, old, new = LINES[name]
    source = textwrap.dedent(inspect.getsource(getattr(home, verb))).replace("super()", "super(AtInput, self)")
    assert source.count(old) == 1
    namespace = dict(vars(lstm_cell if home is lstm_cell else lstm if home in (OVER, LSTM_SUM) else sequences))
    exec(source.replace(old, new), namespace)
    p = Point("input", (3,))
    h, h_theta = reference.hessian_products(p.loss, p.lam, p.theta, p.v)
    monkeypatch.setattr(lstm if home is lstm_cell else home, verb, namespace[verb])
    f = p.objective()
    product = hvp.product(f, f.evaluate(p.lam, p.noise), p.v)
    with pytest.raises(AssertionError, match="is off by"):
        assert_close(product.lam, h, 1e-8)
        assert_close(f.theta_sum().add(product).value(), h_theta, 1e-8)


def test_without_latents_tokens_are_a_unigram_and_padding_says_nothing():
    decoder = LSTMDecoder(4, E, H, 2)
    train, x = np.array([[0, 1, -1], [1, 1, 1]]), np.array([[1, 0, -1], [3, 3, 3]])
    for home in (decoder, FixedDecoder(decoder, np.zeros(decoder.size))):
        name, log_p = home.baseline(train, x)
        assert name == "unigram"
        assert_close(log_p, [np.log(4.5 / 7 * 1.5 / 7), 3 * np.log(0.5 / 7)], rtol=1e-12)


@pytest.mark.parametrize("z_at, layers", KINDS)
def test_evaluations_that_are_held_together_lie_side_by_side(z_at, layers):
    p = Point(z_at, layers)
    f = p.model.objective(p.theta, p.x)
    f.reserve(2)
    a, b = (f.evaluate(p.lam, p.noise).record for _ in range(2))
    assert a.block is b.block
    if z_at == "input":
        assert a.states.block is b.states.block
