"""SVI's loop against a naive one over autograd's gradients, clipping against its Jacobian, the starts, the settings."""

from types import SimpleNamespace

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import MLP, SAVAE, SVI, VAE, VAESVI, InputError, LatentGaussianModel, MLPDecoder, VariationalEM, reference
from savi.inference.optimizers import SGD, Adam, Momentum, RMSProp
from savi.inference.svi import ascend, clipped, clipped_vjp
from savi.models.gaussian import AnalyticKL, SampledKL
from savi.models.likelihoods import Bernoulli
from savi.testing import arrays, assert_close, check_gradient, problems, seeds, sizes

CLIPS = [None, 0.3, 3.0, 1e6]
STEP = 1e-3


def with_smaller_theta(problem):
    problem.theta = 0.4 * problem.theta
    return problem


gentle = problems().map(with_smaller_theta)
"""Problems on which unclipped steps of size STEP do not run away."""


def noises(problem, steps, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, *problem.noise.shape))


def clipped_row(g, clip):
    """One row, clipped as the textbook says, in autograd.numpy."""
    norm = anp.sqrt(anp.sum(g * g))
    return g * (clip / norm) if clip is not None and norm > clip else g


def naive_ascent(problem, lam, noise, step_size, momentum, clip):
    """The inner loop of [SA], an example at a time, on autograd's gradient of the reference loss."""
    loss = lambda lam, x, e: reference.loss(problem.model, lam, problem.theta, x, e, problem.beta)  # noqa: E731
    d_loss, rows = autograd.elementwise_grad(loss), []
    for b, row in enumerate(lam):
        x, v = problem.x[b : b + 1], np.zeros_like(row)
        for noise_k in noise:
            v = momentum * v - clipped_row(d_loss(row[None], x, noise_k[:, b : b + 1])[0], clip)
            row = row + step_size * v
        rows.append(row)
    return np.array(rows)


class Slope:
    """An objective whose gradient is the same everywhere."""

    def __init__(self, d_lam):
        self.d_lam = d_lam

    def gradient(self, lam, noise):
        return SimpleNamespace(lam=lam, d_lam=self.d_lam)


# --- the loop -------------------------------------------------------------------------------------------------------


@given(gentle, st.integers(0, 4), st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from(CLIPS), seeds)
@settings(max_examples=40)
def test_ascend_is_the_naive_loop_over_autograds_gradients(problem, steps, momentum, clip, seed):
    noise = noises(problem, steps, seed)
    lam = ascend(problem.objective(), problem.lam, noise, STEP, momentum, clip)
    expected = naive_ascent(problem, problem.lam, noise, STEP, momentum, clip)
    assert_close(lam - problem.lam, expected - problem.lam, 1e-8, 1e-13)


@given(gentle, seeds)
@settings(max_examples=15)
def test_each_entry_of_lam_may_have_a_step_size_of_its_own(problem, seed):
    noise = noises(problem, 3, seed)
    step_size = STEP * np.random.default_rng(seed).random(problem.lam.shape[1])
    step_size[::2] = 0
    lam = ascend(problem.objective(), problem.lam, noise, step_size, 0.5, 1.0)
    assert_close(
        lam - problem.lam, naive_ascent(problem, problem.lam, noise, step_size, 0.5, 1.0) - problem.lam, 1e-8, 1e-13
    )
    np.testing.assert_array_equal(lam[:, ::2], problem.lam[:, ::2])


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_on_a_constant_slope_momentum_sums_a_geometric_series(momentum):
    g, steps = np.array([[1.0, -2.0], [0.5, 0.0]]), 7
    lam = ascend(Slope(g), np.zeros((2, 2)), [None] * steps, 0.1, momentum)
    weights = [sum(momentum**j for j in range(k)) for k in range(1, steps + 1)]
    assert_close(lam, -0.1 * sum(weights) * g, 1e-14)


@pytest.mark.parametrize("clip", [0.5, 1.0])
def test_a_clipped_step_is_as_long_as_the_clip_allows(clip):
    lam = ascend(Slope(np.array([[30.0, 40.0], [0.3, 0.4]])), np.zeros((2, 2)), [None], 2.0, clip=clip)
    assert_close(lam, -2 * np.array([[0.6 * clip, 0.8 * clip], [0.3, 0.4]]), 1e-15)


@given(gentle, seeds, st.data())
@settings(max_examples=25)
def test_examples_take_their_steps_alone(problem, seed, data):
    """Examples that are permuted, dropped or repeated leave the steps of all others as they are."""
    B = len(problem.x)
    rows = data.draw(st.lists(st.integers(0, B - 1), min_size=1, max_size=2 * B))
    noise = noises(problem, 3, seed)
    part = problem.model.objective(problem.theta, problem.x[rows], problem.beta)
    lam = ascend(problem.objective(), problem.lam, noise, STEP, 0.5, 1.0)
    of_part = ascend(part, problem.lam[rows], noise[:, :, rows], STEP, 0.5, 1.0)
    assert_close(of_part - problem.lam[rows], (lam - problem.lam)[rows], 1e-9, 1e-13)


@given(gentle)
@settings(max_examples=5)
def test_the_trace_holds_every_steps_evaluation_at_its_own_lam(problem):
    noise, trace, path = noises(problem, 3), [], [problem.lam]
    for k in range(3):
        path.append(ascend(problem.objective(), problem.lam, noise[: k + 1], STEP, 0.5))
    ascend(problem.objective(), problem.lam, noise, STEP, 0.5, trace=trace)
    assert len(trace) == 3
    for k, step in enumerate(trace):
        np.testing.assert_array_equal(step.lam, path[k])
        np.testing.assert_array_equal(step.noise, noise[k])
        assert_close(step.d_lam, problem.objective().gradient(path[k], noise[k]).d_lam, 1e-12)


# --- clipping -------------------------------------------------------------------------------------------------------

rows_of_gradients = sizes.flatmap(lambda n: sizes.flatmap(lambda B: arrays((B, n), extremes=(1e-6, 1e3))))


@given(rows_of_gradients, st.sampled_from([0.3, 3.0, 30.0]))
def test_clipping_shortens_long_rows_and_leaves_the_others_untouched(g, clip):
    result, norm = clipped(g, clip), np.linalg.norm(g, axis=1)
    np.testing.assert_array_equal(result[norm < clip], g[norm < clip])
    assert_close(np.linalg.norm(result, axis=1)[norm > clip], np.full((norm > clip).sum(), clip), 1e-12)
    assert_close(result * norm[:, None], g * np.linalg.norm(result, axis=1)[:, None], 1e-12)  # the same direction


@given(rows_of_gradients, st.sampled_from([0.3, 3.0, 30.0]), seeds)
def test_clipped_vjp_is_the_transposed_jacobian(g, clip, seed):
    u = np.random.default_rng(seed).standard_normal(g.shape)
    jacobians = [autograd.jacobian(lambda row: clipped_row(row, clip))(row) for row in g]
    assert_close(clipped_vjp(g, clip, u), np.array([J.T @ row for J, row in zip(jacobians, u)]), 1e-12, 1e-14)
    below = np.linalg.norm(g, axis=1) < clip
    np.testing.assert_array_equal(clipped_vjp(g, clip, u)[below], u[below])


@given(rows_of_gradients, st.sampled_from([0.3, 3.0, 30.0]), seeds)
def test_clipped_vjp_is_adjoint_to_the_complex_step_through_clipping(g, clip, seed):
    u, w = np.random.default_rng(seed).standard_normal((2, *g.shape))
    g = g + 1e-3 * w  # no row is zero, where a square root has no complex step
    moved = clipped(g + 1e-20j * w, clip).imag / 1e-20
    assert_close(np.sum(u * moved), np.sum(clipped_vjp(g, clip, u) * w), 1e-11, 1e-12)


@pytest.mark.parametrize("clip", [0.2, 5.0])
def test_clipped_vjp_agrees_with_central_differences(clip):
    g, u = np.random.default_rng(0).standard_normal((2, 4, 3))
    check_gradient(lambda g: (clipped(g, clip) * u).sum(axis=1), g, clipped_vjp(g, clip, u))


@pytest.mark.parametrize("clip", [0.01, 1.0, 100.0])
def test_a_zero_gradient_passes_the_clip_as_it_is_and_so_does_its_jacobian(clip):
    zero, u = np.zeros((2, 3)), np.ones((2, 3))
    np.testing.assert_array_equal(clipped(zero, clip), zero)
    np.testing.assert_array_equal(clipped_vjp(zero, clip, u), u)


def test_without_a_clip_nothing_happens():
    g, u = np.random.default_rng(0).standard_normal((2, 4, 3))
    np.testing.assert_array_equal(clipped(1e9 * g, None), 1e9 * g)
    np.testing.assert_array_equal(clipped_vjp(g, None, u), u)


# --- the method -----------------------------------------------------------------------------------------------------

NO_PHI = np.zeros(0)


@given(gentle, st.integers(0, 3), st.sampled_from(["prior", "zero"]), seeds)
@settings(max_examples=25)
def test_svi_gives_the_loss_and_autograds_theta_gradient_at_lam_K_held_fixed(problem, steps, start, seed):
    model, theta, x, beta = problem.model, problem.theta, problem.x, problem.beta
    noise = noises(problem, steps + 1, seed)
    svi = SVI(steps, STEP, 0.5, clip=1.0, start=start)
    loss, d_theta, d_phi = svi.gradient(model, theta, NO_PHI, x, beta=beta, noise=noise)
    lam_0 = np.tile(model.prior if start == "prior" else 0 * model.prior, (len(x), 1))
    lam_K = naive_ascent(problem, lam_0, noise[:-1], STEP, 0.5, 1.0)

    def final(theta):
        return reference.loss(model, lam_K, theta, x, noise[-1], beta)

    assert_close(loss, final(theta), 1e-8, 1e-12)
    assert_close(d_theta, autograd.grad(lambda theta: anp.sum(final(theta)))(theta), 1e-8, 1e-12)
    assert d_phi.shape == (0,)


@pytest.fixture
def bernoulli():
    """A small Bernoulli model: (model, theta, x), three examples of six pixels, two latent dimensions."""
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 5, 6]), Bernoulli()), prior=[0.5, -0.5, 0.2, -0.2])
    return model, model.init(rng), (rng.random((3, 6)) < 0.5).astype(float)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "start, expected",
    [
        ("prior", lambda model, rng, dtype: np.tile(model.prior, (3, 1))),
        ("zero", lambda model, rng, dtype: np.zeros((3, 4))),
        ("random", lambda model, rng, dtype: 0.1 * rng.standard_normal((3, 4), dtype)),
    ],
)
def test_svi_starts_where_it_is_told(bernoulli, start, expected, dtype):
    model, theta, x = bernoulli
    lam = SVI(start=start).start(model, theta.astype(dtype), NO_PHI, x, np.random.default_rng(1))
    assert lam.dtype == dtype
    assert_close(lam, expected(model, np.random.default_rng(1), dtype), 1e-6)


def test_starting_at_the_prior_does_not_hand_out_the_priors_own_memory(bernoulli):
    model, theta, x = bernoulli
    SVI().start(model, theta, NO_PHI, x, None)[...] = 99
    assert_close(model.prior, np.array([0.5, -0.5, 0.2, -0.2]))


@pytest.mark.parametrize("steps", [0, 1, 6])
def test_infer_draws_fresh_noise_for_each_step_from_its_rng(bernoulli, steps):
    model, theta, x = bernoulli
    svi, rng = SVI(3, 0.05, 0.5, clip=0.2, samples=2), np.random.default_rng(7)
    noise = [model.draw_noise(rng, 2, 3) for _ in range(steps)]
    expected = ascend(model.objective(theta, x), model.prior_lam(3), noise, 0.05, 0.5, 0.2)
    np.testing.assert_array_equal(svi.infer(model, theta, NO_PHI, x, np.random.default_rng(7), steps), expected)


def test_infer_takes_the_methods_own_number_of_steps_unless_told_otherwise(bernoulli):
    model, theta, x = bernoulli
    own, four, three = (
        SVI(4).infer(model, theta, NO_PHI, x, np.random.default_rng(7), steps) for steps in (None, 4, 3)
    )
    np.testing.assert_array_equal(own, four)
    assert np.all(own != three)


@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
def test_svi_lowers_the_loss(bernoulli, kl):
    model, theta, x = bernoulli
    model, theta = LatentGaussianModel(model.decoder, kl=kl), 3 * theta
    noise = model.draw_noise(np.random.default_rng(0), 500, 3)
    svi, losses = SVI(start="random", samples=5), []
    for steps in (0, 10, 50):
        lam = svi.infer(model, theta, NO_PHI, x, np.random.default_rng(1), steps)
        losses.append(model.loss(lam, theta, x, noise).mean())
    assert losses[0] > losses[1] > losses[2]


# --- what cannot be used --------------------------------------------------------------------------------------------

BAD_SETTINGS = [
    *[("steps", value) for value in (-1, 1.5, np.nan, np.inf)],
    *[("step_size", value) for value in (-0.1, np.nan, [0.1, -0.1, 0.1, 0.1])],
    *[("momentum", value) for value in (-0.1, 1.0, np.nan)],
    *[("clip", value) for value in (0, -1.0, np.nan)],
    *[("samples", value) for value in (0, 1.5, np.nan, np.inf)],
]


@pytest.mark.parametrize("name, value", BAD_SETTINGS)
@pytest.mark.parametrize("make", [SVI, *[lambda m=m, **s: m(MLP([6, 4]), **s) for m in (VAE, SAVAE, VAESVI)]])
def test_a_bad_setting_is_an_input_error_that_names_it(make, name, value):
    with pytest.raises(InputError, match=f"^{name} is "):
        make(**{name: value})


def test_an_unknown_start_is_an_input_error():
    with pytest.raises(InputError, match="start is 'posterior'"):
        SVI(start="posterior")


@pytest.mark.parametrize("step_size", [[0.1], [0.1, 0.1, 0.1], np.full((3, 4), 0.1)])
def test_step_sizes_that_do_not_fit_lam_are_an_input_error(bernoulli, step_size):
    model, theta, x = bernoulli
    with pytest.raises(InputError, match="step_size has shape"):
        SVI(step_size=step_size).infer(model, theta, NO_PHI, x, np.random.default_rng(0))


@pytest.mark.parametrize("shape", [(2, 1, 3, 2), (4, 1, 3, 2), (3, 1, 2, 2), (3, 1, 3, 1), (3, 3, 2)])
def test_noise_of_the_wrong_shape_is_an_input_error(bernoulli, shape):
    model, theta, x = bernoulli
    with pytest.raises(InputError, match="noise has"):
        SVI(steps=2).gradient(model, theta, NO_PHI, x, noise=np.zeros(shape))


@pytest.mark.parametrize("steps", [3.0, np.int64(3)])
def test_whole_numbers_of_any_type_are_settings(bernoulli, steps):
    model, theta, x = bernoulli
    pair = SVI(steps, samples=steps), SVI(3, samples=3)
    np.testing.assert_array_equal(*(svi.infer(model, theta, NO_PHI, x, np.random.default_rng(0)) for svi in pair))


@pytest.mark.parametrize("step_size", [0.05, np.float64(0.05), np.array(0.05), [0.05] * 4])
def test_float32_stays_float32_whatever_the_settings_types(bernoulli, step_size):
    model, theta, x = bernoulli
    svi = SVI(2, step_size, np.float64(0.5), np.float64(1.0))
    assert svi.infer(model, theta.astype(np.float32), NO_PHI, x, np.random.default_rng(0)).dtype == np.float32


CHANGES = {"steps": 3, "step_size": 0.5, "momentum": 0.0, "clip": 1.0, "samples": 2, "start": "zero"}


@pytest.mark.parametrize("name", CHANGES)
def test_the_repr_tells_every_setting(name):
    """Checkpoints rely on it: a run resumes only what was trained by an equal method."""
    assert repr(SVI()) == repr(SVI())
    assert repr(SVI(**{name: CHANGES[name]})) != repr(SVI())


# --- variational EM: an optimizer in place of the ascent ------------------------------------------------------------


@given(gentle, st.integers(0, 5), st.sampled_from([SGD(STEP), Momentum(STEP, 0.5), RMSProp(STEP), Adam(STEP)]), seeds)
@settings(max_examples=40)
def test_variational_em_is_its_optimizer_on_autograds_gradients(problem, steps, optimizer, seed):
    noise, lam = noises(problem, steps, seed), np.array(problem.lam)
    loss = lambda lam, e: reference.loss(problem.model, lam, problem.theta, problem.x, e, problem.beta)  # noqa: E731
    method = VariationalEM(optimizer, steps, problem.noise.shape[0])
    state, expected = optimizer.init(lam), []
    for e in noise:
        state, step = optimizer.update(state, autograd.elementwise_grad(loss)(lam, e))
        lam = lam + step
        expected.append(lam)
    walked = list(method.walk(problem.objective(), None, problem.lam, noise))
    assert len(walked) == steps
    for actual, lam in zip(walked, expected):
        assert_close(actual, lam, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("optimizer, svi", [(SGD(0.05), (0.05, 0.0)), (Momentum(0.05, 0.5), (0.05, 0.5))])
def test_variational_em_with_sgd_and_momentum_is_svi(bernoulli, optimizer, svi):
    model, theta, x = bernoulli
    methods = VariationalEM(optimizer, 4, samples=2), SVI(4, *svi, samples=2)
    for verb in ("infer", "gradient"):
        one, two = (getattr(m, verb)(model, theta, NO_PHI, x, np.random.default_rng(3)) for m in methods)
        for a, b in zip(np.atleast_2d(one) if verb == "infer" else one, np.atleast_2d(two) if verb == "infer" else two):
            assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_the_repr_of_variational_em_tells_its_optimizer_and_settings():
    one = VariationalEM(Adam(0.1), 3)
    assert repr(one) == repr(VariationalEM(Adam(0.1), 3))
    others = VariationalEM(Adam(0.2), 3), VariationalEM(RMSProp(0.1), 3), VariationalEM(Adam(0.1), 4), SVI(3)
    assert len({repr(m) for m in (one, *others)}) == 5


def test_the_path_of_svi_is_what_infer_walks(bernoulli):
    model, theta, x = bernoulli
    svi = SVI(3, samples=2)
    path = svi.path(model, theta, NO_PHI, x, np.random.default_rng(0), steps=4)
    for k in range(5):
        lam = svi.infer(model, theta, NO_PHI, x, np.random.default_rng(0), k)
        assert_close(path[k], lam, rtol=1e-12, atol=1e-14)
