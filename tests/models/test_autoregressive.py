"""PixelCNN decoders, late and at the input, against autograd, complex steps and enumeration; samples; SA-VAE's whole gradient."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import (
    MLP,
    SAVAE,
    SVI,
    VAE,
    VAESVI,
    Bernoulli,
    Categorical,
    FixedDecoder,
    Gaussian,
    InputError,
    LatentGaussianModel,
    MLPDecoder,
    PixelCNNDecoder,
    ResNet,
    fit,
    hvp,
    reference,
)
from savi.engine import threads
from savi.testing import assert_close, seeds

PLACES = ["late", "input"]
KINDS = [(z_at, stacks, values) for z_at in PLACES for stacks in (1, 2) for values in (2, 3)]


class Point:
    """A model of images and a point to evaluate it at. values: how many a pixel has; 2 is Bernoulli's."""

    def __init__(
        self, z_at, stacks=2, values=2, seed=0, D=2, S=2, B=2, shape=(3, 2), C=2, layers=2, maps=1, position_map=True,
        dtype=float,
    ):  # fmt: skip
        rng, pixel = np.random.default_rng(seed), (Bernoulli(), 1) if values == 2 else (Categorical(), values)
        self.decoder = PixelCNNDecoder(shape, D, C, layers, 3, 3, maps, stacks, z_at, position_map, *pixel)
        self.model = LatentGaussianModel(self.decoder)
        self.theta = rng.uniform(-1, 1, self.decoder.size).astype(dtype)
        self.lam = rng.uniform(-1, 1, (B, 2 * D)).astype(dtype)
        self.noise = rng.standard_normal((S, B, D)).astype(dtype)
        self.x = rng.integers(0, values, (B, shape[0] * shape[1])).astype(dtype)
        self.v = rng.uniform(-1, 1, self.lam.shape).astype(dtype)
        self.weights = rng.uniform(-2, 2, B).astype(dtype)
        self.beta = 0.7

    def __repr__(self):
        return f"Point({self.decoder!r}, x {self.x.shape}, noise {self.noise.shape})"

    def objective(self):
        return self.model.objective(self.theta, self.x, self.beta)

    def loss(self, lam, theta):
        return reference.loss(self.model, lam, theta, self.x, self.noise, self.beta)


points = st.builds(
    lambda kind, seed, D, S, B, H, W, layers, maps, position: Point(
        *kind, seed, D, S, B, (H, W), 2, layers, maps, position
    ),
    st.sampled_from(KINDS), seeds, st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.integers(1, 3),
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.booleans(),
)  # fmt: skip


@given(points)
@settings(max_examples=50)
def test_loss_and_gradients_are_autograds(p):
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    total = lambda lam, theta: anp.sum(p.loss(lam, theta))  # noqa: E731
    d_lam, d_theta = autograd.grad(total, (0, 1))(p.lam, p.theta)
    assert_close(e.loss, p.loss(p.lam, p.theta), 1e-10, 0, "loss")
    assert_close(e.d_lam, d_lam, 1e-9, 1e-12, "d lam")
    assert_close(f.theta_sum().add(e).value(), d_theta, 1e-9, 1e-12, "d theta")


@given(points)
@settings(max_examples=30)
def test_a_sum_weighs_each_examples_gradient(p):
    f, total = p.objective(), None
    total = f.theta_sum()
    for w, shift in ((p.weights, 0.0), (-0.5, 0.5)):
        total.add(f.evaluate(p.lam + shift, p.noise), w)
    judge = autograd.grad(
        lambda theta: anp.sum(p.weights * p.loss(p.lam, theta)) - 0.5 * anp.sum(p.loss(p.lam + 0.5, theta))
    )(p.theta)
    assert_close(total.value(), judge, 1e-9, 1e-12, "weighted d theta")


@given(points)
@settings(max_examples=25)
def test_exact_products_are_autograds_and_the_complex_steps(p):
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    exact = hvp.product(f, e, p.v)
    for method, rtol in (("autograd", 1e-8), ("complex", 1e-10)):
        judge = hvp.product(f, e, p.v, method)
        assert_close(exact.lam, judge.lam, rtol, 1e-12, "H_ll v")
        for w in (1.0, p.weights):
            actual, expected = (f.theta_sum().add(product, w).value() for product in (exact, judge))
            assert_close(actual, expected, rtol, 1e-12, "H_tl v")


@pytest.mark.parametrize("z_at", PLACES)
def test_several_products_of_several_evaluations_are_summed_right(z_at):
    p = Point(z_at)
    f = p.objective()
    f.reserve(2)
    evaluations, total, expected = [f.evaluate(p.lam + shift, p.noise) for shift in (0.0, 0.5)], f.theta_sum(), 0.0
    for e in evaluations:
        total.add(hvp.product(f, e, p.v), 0.5).add(hvp.product(f, e, -3.0 * p.v), 2.0)
    for shift in (0.0, 0.5):
        expected = expected - 5.5 * reference.hessian_products(p.loss, p.lam + shift, p.theta, p.v)[1]
    assert_close(total.value(), expected, 1e-9, 1e-12, "a sum of products")
    assert_close(f.theta_sum().add(evaluations[0]).value(),
                 f.theta_sum().add(evaluations[0]).value(), 0, 0, "two sums of one evaluation")  # fmt: skip


@pytest.mark.parametrize("z_at", PLACES)
@pytest.mark.parametrize("stacks", [1, 2])
@pytest.mark.parametrize("K", [0, 1, 3])
def test_sa_vae_is_autograd_through_the_loop(z_at, stacks, K):
    p, step_size, momentum = Point(z_at, stacks, shape=(4, 4)), 0.05, 0.5
    encoder, rng = ResNet((4, 4), (2,), 4), np.random.default_rng(1)
    phi, noise = rng.uniform(-1, 1, encoder.size), rng.standard_normal((K + 1, 2, 2, 2))
    _, d_theta, d_phi = SAVAE(encoder, K, step_size, momentum).gradient(p.model, p.theta, phi, p.x, noise=noise)

    def through(theta, phi):
        lam, v = encoder.reference(phi, p.x), 0.0
        f = lambda lam, e: reference.loss(p.model, lam, theta, p.x, e)  # noqa: E731
        for e in noise[:-1]:
            v = momentum * v - autograd.grad(lambda lam: anp.sum(f(lam, e)))(lam)  # noqa: B023
            lam = lam + step_size * v
        return anp.sum(f(lam, noise[-1]))

    judge = autograd.grad(through, (0, 1))(p.theta, phi)
    assert_close(d_theta, judge[0], 1e-8, 1e-12, "d theta")
    assert_close(d_phi, judge[1], 1e-8, 1e-12, "d phi")


@pytest.mark.parametrize("z_at, stacks, values", KINDS)
def test_the_probabilities_of_all_images_sum_to_one(z_at, stacks, values):
    p = Point(z_at, stacks, values, B=1, S=1, shape=(2, 2) if values == 3 else (2, 3))
    n = p.x.shape[1]
    every = np.array(np.meshgrid(*[range(values)] * n)).reshape(n, -1).T.astype(float)
    given_x = p.decoder.given(p.theta, every)
    log_p = given_x.log_px(given_x.forward(np.repeat(p.lam[:1, :2][None], len(every), axis=1)))
    assert abs(np.exp(log_p).sum() - 1) < 1e-12


@pytest.mark.parametrize("z_at", PLACES)
@pytest.mark.parametrize("stacks", [1, 2])
def test_a_pixels_probability_does_not_see_it_and_what_comes_after_it_to_the_bit(z_at, stacks):
    p = Point(z_at, stacks, shape=(4, 5), layers=3, C=3)
    z = p.lam[None, :, :2]
    for i in range(20):
        other = p.x.copy()
        other[:, i:] = 1 - other[:, i:]
        outs = [g.outputs(g.forward(z))[:, :, i] for g in (p.decoder.given(p.theta, x) for x in (p.x, other))]
        assert np.array_equal(*outs)


@pytest.mark.parametrize("z_at, stacks, values", KINDS)
def test_samples_pixel_by_pixel_have_the_probabilities_of_the_whole(z_at, stacks, values):
    p = Point(z_at, stacks, values, B=1, shape=(2, 2), layers=3)
    n, z = 4000, np.repeat(p.lam[:1, :2], 4000, axis=0)
    x = p.decoder.sample(p.theta, z, np.random.default_rng(0))
    assert x.shape == (n, 4) and x.dtype == p.theta.dtype
    every = np.array(np.meshgrid(*[range(values)] * 4)).reshape(4, -1).T.astype(float)
    given_x = p.decoder.given(p.theta, every)
    probability = np.exp(given_x.log_px(given_x.forward(np.repeat(z[None, :1], len(every), axis=1))))[0]
    counts = np.array([(x == row).all(axis=1).sum() for row in every])
    assert counts.sum() == n
    assert np.all(np.abs(counts - n * probability) < 5 * np.sqrt(n * probability * (1 - probability)) + 1)


class _Told:
    """A likelihood whose samples are those of an image that is known; it keeps the outputs it was shown."""

    takes_probabilities, has_residual, vector = True, True, True

    def __init__(self, x):
        self.x, self.outputs = x, []

    def size(self, data_dim):
        return 0

    def sample(self, out, eta, rng):
        self.outputs.append(out.copy())
        return self.x[:, len(self.outputs) - 1 : len(self.outputs)]


@pytest.mark.parametrize("z_at", PLACES)
@pytest.mark.parametrize("stacks", [1, 2])
def test_pixel_by_pixel_the_outputs_are_those_of_the_whole_image(z_at, stacks):
    p = Point(z_at, stacks, shape=(4, 3), layers=3, maps=2)
    z = p.lam[:, :2]
    given_x = p.decoder.given(p.theta, p.x)
    whole = given_x.outputs(given_x.forward(z[None]))[0]
    p.decoder.likelihood = told = _Told(p.x)
    assert np.array_equal(p.decoder.sample(p.theta, z, None), p.x)
    assert_close(np.stack(told.outputs, axis=1), whole, 1e-12, 1e-13)


@pytest.mark.parametrize("z_at", PLACES)
@pytest.mark.parametrize("position_map", [True, False])
def test_latent_size_zero_is_the_decoder_without_z(z_at, position_map):
    p = Point(z_at, D=0, position_map=position_map)
    loss, d_theta, d_phi = SVI(steps=0).gradient(p.model, p.theta, np.zeros(0), p.x, np.random.default_rng(0))
    judge = lambda theta: -p.decoder.reference(theta, np.zeros((1, 2, 0)), p.x)[0]  # noqa: E731
    assert_close(loss, judge(p.theta), 1e-12, 0, "NLL")
    assert_close(d_theta, autograd.grad(lambda theta: anp.sum(judge(theta)))(p.theta), 1e-9, 1e-12, "d theta")
    assert d_phi.shape == (0,)
    f = p.objective()
    product = hvp.product(f, f.evaluate(p.lam, p.noise), p.v)
    assert_close(f.theta_sum().add(product).value(), np.zeros(p.model.size))


@pytest.mark.parametrize("z_at", PLACES)
def test_pixels_may_be_real_numbers_with_a_variance_from_the_net(z_at):
    p, rng = Point(z_at), np.random.default_rng(0)
    p.decoder = PixelCNNDecoder((3, 2), 2, 2, 2, 3, 3, z_at=z_at, likelihood=Gaussian("from_z"), outputs=2)
    p.model, p.x = LatentGaussianModel(p.decoder), rng.normal(size=(2, 6))
    p.theta = rng.uniform(-1, 1, p.decoder.size)
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    d_theta = autograd.grad(lambda theta: anp.sum(p.loss(p.lam, theta)))(p.theta)
    assert_close(f.theta_sum().add(e).value(), d_theta, 1e-9, 1e-12, "d theta")
    product, (h, h_theta) = hvp.product(f, e, p.v), reference.hessian_products(p.loss, p.lam, p.theta, p.v)
    assert_close(product.lam, h, 1e-9, 1e-12, "H_ll v")
    assert_close(f.theta_sum().add(product).value(), h_theta, 1e-9, 1e-12, "H_tl v")
    assert p.decoder.sample(p.theta, p.lam[:, :2], rng).shape == (2, 6)


def test_late_and_input_are_one_decoder_where_there_is_no_z_but_for_what_joins_them():
    """The head's first layer at the input is W_f, then b."""
    late, there = (Point(z_at, D=0, shape=(3, 3)) for z_at in PLACES)
    assert late.theta.shape == there.theta.shape
    assert_close(late.objective().loss(late.lam, late.noise), there.objective().loss(late.lam, late.noise), 1e-13)


@pytest.mark.parametrize("z_at", PLACES)
def test_single_precision_stays_single_and_near(z_at):
    results = []
    for dtype in (np.float32, float):
        p = Point(z_at, dtype=dtype, shape=(5, 4), C=4, layers=3)
        f = p.objective()
        e = f.evaluate(p.lam, p.noise)
        product = hvp.product(f, e, p.v)
        results.append((e.d_lam, product.lam, *(f.theta_sum().add(a, p.weights).value() for a in (e, product))))
        assert {a.dtype for a in results[-1]} == {np.dtype(dtype)}
    for single, double in zip(*results):
        assert_close(single, double, 1e-4)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("z_at", PLACES)
def test_a_batch_in_chunks_has_the_gradients_of_the_whole_and_each_image_its_lam(z_at, samples):
    """Seven images, two at a time or all, on one thread or two; the numbers drawn are the same."""
    p, encoder, results = Point(z_at, B=7, shape=(4, 3)), ResNet((4, 3), (2,), 4), []
    phi = np.random.default_rng(1).uniform(-1, 1, encoder.size)
    for chunk, count in ((None, 1), (2 * samples, 1), (2 * samples, 2), (1, 2)):
        p.model.chunk = chunk
        with threads.using(count):
            assert len(SVI(2, samples=samples)._slices(p.model, p.theta, p.x)) == {None: 1, 1: 7}.get(chunk, 4)
            method, rng = SAVAE(encoder, 2, samples=samples), np.random.default_rng(2)
            found = method.gradient(p.model, p.theta, phi, p.x, rng)
            results.append((*found, method.infer(p.model, p.theta, phi, p.x, rng), rng.random()))
    for other in results[1:]:
        for name, one, two in zip(("loss", "d theta", "d phi", "lam", "what is drawn next"), results[0], other):
            assert_close(two, one, 1e-11, 1e-13, name)


@pytest.mark.parametrize("z_at, side, most", [("late", 28, 12), ("late", 14, 51), ("input", 28, 3), ("input", 60, 1)])
def test_as_many_images_are_worked_out_at_a_time_as_have_rows_enough(z_at, side, most):
    decoder = PixelCNNDecoder((side, side), 2, 2, 2, z_at=z_at)
    model = LatentGaussianModel(FixedDecoder(decoder, np.zeros(decoder.size)))
    assert (
        model.chunk == decoder.chunk == most and LatentGaussianModel(MLPDecoder(MLP([2, 3]), Bernoulli())).chunk is None
    )


@pytest.mark.parametrize("z_at", PLACES)
def test_every_method_trains_on_images(z_at):
    rng = np.random.default_rng(0)
    decoder = PixelCNNDecoder((4, 4), 2, 3, 2, z_at=z_at)
    model, x = LatentGaussianModel(decoder), (rng.random((40, 16)) < 0.3).astype(np.float32)
    encoder = ResNet((4, 4), (3,), 4)
    for method in (VAE(encoder), SVI(2), VAESVI(encoder, 2), VAESVI(encoder, 2, kl=True), SAVAE(encoder, 2)):
        history = fit(model, method, x, epochs=6, batch=20, learning_rate=0.02, progress=False).history
        assert history[-1]["train_loss"] < history[1]["train_loss"]


@pytest.mark.parametrize("z_at", PLACES)
def test_a_decoder_takes_the_parameters_of_the_one_without_z(z_at):
    """Where z's weights are zero both say the same; the others of z are those that were drawn."""
    without, there = Point(z_at, D=0), Point(z_at, D=2)
    fresh = np.full(there.model.size, np.nan)
    theta = there.model.adopt(without.theta, fresh)
    assert np.isnan(theta).sum() == there.model.size - without.model.size
    theta = np.nan_to_num(theta)
    there.theta, same = theta, there.decoder.given(theta, there.x)
    log_p = without.decoder.given(without.theta, there.x)
    assert_close(same.log_px(same.forward(there.noise)), log_p.log_px(log_p.forward(there.noise[..., :0])), 1e-13)
    assert there.model.adopt(theta, fresh) is theta
    with pytest.raises(InputError, match="theta to start from has shape"):
        there.model.adopt(theta[1:], fresh)


def test_a_known_decoder_shows_samples_and_has_no_mean():
    p = Point("late")
    known, z = FixedDecoder(p.decoder, p.theta), p.lam[:, :2]
    shown = known.picture(np.zeros(0), z, np.random.default_rng(0))
    assert np.array_equal(shown, p.decoder.sample(p.theta, z, np.random.default_rng(0)))
    with pytest.raises(InputError, match="has no mean"):
        p.decoder.mean(p.theta, z)


def test_the_baseline_without_latents_is_the_pixels_frequencies():
    x = np.array([[0, 1, 1, 1], [0, 0, 1, 1]], float)
    name, log_p = PixelCNNDecoder((2, 2), 1).baseline(x, x)
    p = np.array([0.5, 1.5, 2.5, 2.5]) / 3
    assert name == "independent Bernoulli"
    assert_close(log_p, (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1), 1e-12)
    name, log_p = PixelCNNDecoder((2, 2), 1, likelihood=Categorical(), outputs=3).baseline(x, x)
    assert name == "unigram"
    assert_close(log_p, np.log(np.array([3.5, 5.5])[x.astype(int)] / 9.5).sum(axis=1), 1e-12)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda p: p.objective().model.objective(p.theta[1:], p.x), r"theta has shape \(\d+,\); PixelCNNDecoder"),
        (lambda p: p.model.objective(p.theta, p.x[:, 1:]), r"x has shape \(2, 5\); images of \(3, 2\) need \(B, 6\)"),
        (lambda p: p.model.objective(p.theta, p.x + 1), "Bernoulli likelihood needs"),
        (lambda p: PixelCNNDecoder((3, 2), 1, z_at="middle"), "z_at is 'middle'"),
        (lambda p: PixelCNNDecoder((3, 2), 1, kernel=4), "kernel is 4"),
        (lambda p: PixelCNNDecoder((3, 2, 1), 1), r"shape is \(3, 2, 1\); expected \(height, width\)"),
        (lambda p: PixelCNNDecoder(784, 1), "shape is 784"),
        (lambda p: PixelCNNDecoder((3, 2), 1, outputs=2), r"outputs is 2; expected as many as Bernoulli\(\) needs"),
        (lambda p: PixelCNNDecoder((3, 2), 1, likelihood=Gaussian()), "without parameters of its own"),
        (lambda p: PixelCNNDecoder((3, 2), 1, maps=0, z_at="input"), "maps is 0; expected one at least"),
        (lambda p: PixelCNNDecoder((3, 2), 1, likelihood=Categorical(), outputs=3).check_data(p.x + 2),
         "values of 0 to 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(call, words):
    p = Point("late")
    p.x[0, 0] = 1
    with pytest.raises(InputError, match=words):
        call(p)
