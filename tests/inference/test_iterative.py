"""Iterative inference against autograd's truncated gradients; encodings against the formulas; the special cases that are
theorems: the VAE, SVI, a closed gate; memory that does not grow; stability; and mutations that these checks must catch."""

import functools
import inspect
import textwrap
import tracemalloc
from types import SimpleNamespace

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import savi
from savi import MLP, SVI, VAE, HighwayMLP, InputError, Iterative, LatentGaussianModel, MLPDecoder, iterative, reference
from savi.engine import memory, threads
from savi.experiments.evaluation import optimum
from savi.inference import encodings
from savi.inference.iterative import Data, Error, Gated, Gradient, Residual, Trunk, network
from savi.models.discrete import Multinomial
from savi.models.gaussian import AnalyticKL, SampledKL
from savi.models.latent_gaussian import LatentGaussianObjective
from savi.models.likelihoods import Bernoulli, Gaussian
from savi.testing import arrays, assert_close, lams, problems, seeds

LIKELIHOODS = [Bernoulli(), Multinomial(), Gaussian("global"), Gaussian("per_dimension"), Gaussian("from_z")]
ENCODINGS = {
    "gradient": [Gradient()], "error": [Error()], "data": [Data()], "gradient+data": [Gradient(), Data()],
    "error+data": [Error(), Data()], "all": [Gradient(), Error(), Data()], "none": [],
}  # fmt: skip
UPDATES = {"gated": Gated(), "residual": Residual()}


def small(
    encodings="all",
    update="gated",
    start="prior",
    theta_at="last",
    likelihood=LIKELIHOODS[0],
    kl=AnalyticKL,
    samples=2,
    steps=3,
    dtype=float,
):
    """A model, an iterative method and a point: four examples, two latent dimensions, five data dimensions."""
    rng = np.random.default_rng([steps, samples])
    outputs = 10 if getattr(likelihood, "variance", "") == "from_z" else 5
    model = LatentGaussianModel(MLPDecoder(MLP([2, 4, outputs]), likelihood), prior=[0.3, -0.3, 0.2, 0.1], kl=kl)
    net = network(model, ENCODINGS[encodings], (6, 6), UPDATES[update])
    start = MLP([5, 3, 4]) if start == "encoder" else start
    method = Iterative(net, ENCODINGS[encodings], steps, samples, UPDATES[update], start, theta_at)
    x = rng.integers(0, 2, (4, 5)) if isinstance(likelihood, Bernoulli) else rng.integers(0, 4, (4, 5))
    values = {
        "theta": rng.uniform(-1, 1, model.size), "phi": rng.uniform(-0.5, 0.5, method.size), "x": x,
        "noise": rng.standard_normal((steps + 1, samples, 4, 2)),
    }  # fmt: skip
    return SimpleNamespace(model=model, method=method, beta=0.7, **{k: a.astype(dtype) for k, a in values.items()})


def gradient(p):
    return p.method.gradient(p.model, p.theta, p.phi, p.x, beta=p.beta, noise=p.noise)


# --- the judge: everything in autograd, the inputs of each update held fixed ---------------------------------------------


def encoded(p, lam, noise):
    """The encodings at lam, written out."""
    D, model = p.model.latent_dim, p.model
    g = -autograd.elementwise_grad(lambda lam: reference.loss(model, lam, p.theta, p.x, noise, p.beta))(lam)
    z = lam[:, :D] + np.exp(lam[:, D:] / 2) * noise
    size = model.decoder.net.size
    out = model.decoder.net.reference(p.theta[:size], z)
    e_x = (p.x - mean(model.decoder.likelihood, out, p.x)).mean(axis=0)
    contents = {
        "Gradient": np.concatenate([0.1 * np.log(np.abs(g) + 1e-5), np.sign(g)], axis=1),
        "Error": np.concatenate([e_x, (z - model.prior[:D]).mean(axis=0)], axis=1),
        "Data": p.x,
    }
    return np.concatenate([contents[type(e).__name__] for e in p.method.encodings] + [lam], axis=1)


def mean(likelihood, out, x):
    """E[x | out], with n counts for a Multinomial."""
    if isinstance(likelihood, Bernoulli):
        return 1 / (1 + np.exp(-out))
    if isinstance(likelihood, Multinomial):
        e = np.exp(out)
        return x.sum(axis=1, keepdims=True) * e / e.sum(axis=-1, keepdims=True)
    return out[..., : x.shape[1]]


def updated(p, phi, lam, inputs):
    out = p.method.net.reference(phi[: p.method.net.size], inputs)
    if isinstance(p.method.update, Residual):
        return lam + out
    n = lam.shape[1]
    g = 1 / (1 + anp.exp(-out[:, n:]))
    return g * lam + (1 - g) * out[:, :n]


def judge(p):
    """(loss at lam_T (B,), d_theta, d_phi): the mean over t of the gradients through one update each."""
    B, T, own = len(p.x), len(p.noise) - 1, p.method.net.size
    loss = lambda lam, theta, noise: reference.loss(p.model, lam, theta, p.x, noise, p.beta)  # noqa: E731

    def start(phi):
        if p.method.start_at == "prior":
            return np.tile(p.model.prior, (B, 1))
        if p.method.start_at == "learned":
            return anp.tile(phi[own:], (B, 1))
        return p.method.start_at.reference(phi[own:], p.x)

    lam, d_theta = start(p.phi), np.zeros(p.model.size)
    d_phi = np.zeros(p.method.size)
    if p.method.start_at != "prior":
        d_phi = autograd.grad(lambda phi: anp.sum(loss(start(phi), p.theta, p.noise[0])))(p.phi)
    for t in range(T):
        inputs = encoded(p, lam, p.noise[t])
        through = lambda phi: anp.sum(loss(updated(p, phi, lam, inputs), p.theta, p.noise[t + 1]))  # noqa: B023, E731
        d_phi = d_phi + autograd.grad(through)(p.phi) / T
        lam = updated(p, p.phi, lam, inputs)
        weight = 1 / T if p.method.theta_at == "every" else float(t == T - 1)
        d_theta += weight * autograd.grad(lambda theta: anp.sum(loss(lam, theta, p.noise[t + 1])))(p.theta)  # noqa: B023
    return loss(lam, p.theta, p.noise[-1]), d_theta, d_phi


def check(p, rtol=1e-8):
    for name, a, b in zip(("loss", "d_theta", "d_phi"), gradient(p), judge(p)):
        assert_close(a, b, rtol, 1e-12, name)


@pytest.mark.parametrize("start", ["prior", "learned", "encoder"])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("encodings", ENCODINGS)
def test_the_gradient_is_autograds_through_one_update_at_a_time(encodings, update, start):
    check(small(encodings, update, start))


@pytest.mark.parametrize("start", ["prior", "encoder"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_theta_follows_the_mean_over_every_iteration_where_that_is_asked_for(start, steps):
    check(small(start=start, theta_at="every", steps=steps))


def test_a_model_that_keeps_its_start_learns_what_the_vae_of_that_encoder_learns():
    """With a closed gate lam_1 is lam_0: one iteration from an encoder is the VAE, and its d_phi the encoder's."""
    p = small("data", start="encoder", steps=1)
    H = p.method.net.layers(p.phi[: p.method.net.size])[-1]
    H[:-1], H[-1, 4:] = 0, 60.0  # the gate's logits: sigmoid(60) is 1 to the bit
    loss, d_theta, d_phi = gradient(p)
    vae = VAE(p.method.start_at, samples=2)
    for t, part in ((1, (loss, d_theta)), (0, (None, None, d_phi[p.method.net.size :]))):
        expected = vae.gradient(p.model, p.theta, p.phi[p.method.net.size :], p.x, beta=p.beta, noise=p.noise[[t]])
        for a, b in zip(part, expected):
            if a is not None:
                assert_close(a, b, 1e-12)


def test_where_nothing_looks_at_the_first_gradient_it_is_not_taken(monkeypatch):
    taken, evaluate = [], LatentGaussianObjective._evaluate
    monkeypatch.setattr(
        LatentGaussianObjective, "_evaluate", lambda self, *a, **k: taken.append(1) or evaluate(self, *a, **k)
    )
    for seen, start, passes in (
        ("error+data", "prior", 3),
        ("error+data", "learned", 4),
        ("gradient", "prior", 4),
    ):
        taken.clear()
        gradient(small(seen, start=start))
        assert len(taken) == passes


def test_an_encoder_of_another_width_is_refused():
    p = small()
    with pytest.raises(InputError, match="gives 6 outputs; the update moves 4"):
        Iterative(p.method.net, p.method.encodings, start=MLP([5, 6]))
    with pytest.raises(InputError, match="theta_at is 'first'; expected one of last, every"):
        Iterative(p.method.net, p.method.encodings, theta_at="first")


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_the_gradient_is_autograds_for_every_likelihood_and_kl_term(likelihood, kl, samples):
    check(small(likelihood=likelihood, kl=kl, samples=samples))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_gradient_is_autograds_for_any_number_of_iterations(steps):
    check(small(steps=steps))


@given(
    problems(),
    st.sampled_from(["gradient", "error+data", "all"]),
    st.sampled_from(["gated", "residual"]),
    st.integers(1, 3),
    seeds,
)
@settings(max_examples=25)
def test_the_gradient_is_autograds_for_any_shapes(p, encodings, update, steps, seed):
    rng = np.random.default_rng(seed)
    p.theta = 0.4 * p.theta
    net = network(p.model, ENCODINGS[encodings], (3, 3), UPDATES[update])
    p.method = Iterative(net, ENCODINGS[encodings], steps, p.noise.shape[0], UPDATES[update])
    p.phi, p.noise = rng.uniform(-0.3, 0.3, p.method.size), rng.standard_normal((steps + 1, *p.noise.shape))
    check(p, rtol=1e-7)


def test_a_gradient_in_parts_is_the_gradient(monkeypatch):
    p, results = small(), []
    cut = threads.slices
    monkeypatch.setattr(threads, "slices", lambda n, work, most=None: cut(n, 1e12))
    for count in (1, 2, 3):
        threads.use(count)
        results.append(gradient(p))
    threads.use(None)
    for other in results[1:]:
        for a, b in zip(other, results[0]):
            assert_close(a, b, rtol=1e-12, atol=1e-14)


# --- theorems ---------------------------------------------------------------------------------------------------------


@given(lams(3, 2, extreme=True), arrays((3, 8)))
def test_a_gate_at_one_leaves_lam_and_a_gate_at_zero_takes_the_candidate(lam, output):
    output[:, 4:] = 1e4
    np.testing.assert_array_equal(Gated().apply(lam, output), lam)
    output[:, 4:] = -1e4
    np.testing.assert_array_equal(Gated().apply(lam, output), output[:, :4])


def test_with_closed_gates_any_number_of_iterations_leaves_the_start():
    p = small()
    p.method.net.layers(p.phi[: p.method.net.size])[-1][-1, 4:] = 1e6
    lam = p.method.infer(p.model, p.theta, p.phi, p.x, np.random.default_rng(0), steps=20)
    assert_close(lam, np.tile(p.model.prior, (4, 1)), rtol=1e-15)


class RawGradient:
    """grad_lam ELBO itself, as an encoding of one's own."""

    needs_gradient = True

    def size(self, model):
        return model.lam_size

    def contents(self, f, evaluation):
        return -evaluation.d_lam


@given(problems(), st.integers(0, 5), seeds)
@settings(max_examples=20)
def test_a_trunk_that_puts_out_the_gradient_step_is_svi(p, steps, seed):
    n, step_size = p.model.lam_size, 0.01
    p.theta = 0.4 * p.theta
    net = MLP([2 * n, n])  # [g, lam] -> step_size * g
    method = Iterative(net, [RawGradient()], 1, p.noise.shape[0], Residual())
    phi = np.zeros(net.size)
    net.layers(phi)[0][:n] = step_size * np.eye(n)
    a, b = (
        m.infer(p.model, p.theta, phi, p.x, np.random.default_rng(seed), steps)
        for m in (method, SVI(1, step_size, 0.0, samples=p.noise.shape[0]))
    )
    assert_close(a, b, rtol=1e-12, atol=1e-14)


def error_net_of(encoder, encoder_phi, expected_x, lam_0, e_z):
    """phi of a gated one-step error model that is the VAE with this encoder: the first layer takes the constants out, and
    the gates are shut to lam_0.  [LI] 4.2"""
    M, n = len(expected_x), len(lam_0)
    net = HighwayMLP([M + len(e_z) + n, *encoder.sizes[1:-1], 2 * n], encoder.activation.name)
    phi = np.zeros(net.size)
    own, given = net.layers(phi), encoder.layers(encoder_phi)
    own[0][:M] = given[0][:-1]
    own[0][-1] = given[0][-1] + expected_x @ given[0][:-1]  # W x + b = W e_x + (b + W E[x])
    for mine, theirs in zip(own[1:-1], given[1:-1]):
        mine[...] = theirs
    own[-1][:, :n] = given[-1]
    own[-1][-1, n:] = -1e4
    return net, phi


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), seeds)
@settings(max_examples=25)
def test_one_iteration_on_errors_from_a_constant_start_is_the_vae(B, D, M, seed):
    """Exactly so where all examples share the noise, so that E[x | z_0] is one constant."""
    rng = np.random.default_rng(seed)
    model = LatentGaussianModel(MLPDecoder(MLP([D, 3, M]), Bernoulli()))
    encoder = HighwayMLP([M, 4, 4, 2 * D])
    theta, encoder_phi = model.init(rng), rng.uniform(-1, 1, encoder.size)
    x = (rng.random((B, M)) < 0.5).astype(float)
    noise = np.repeat(rng.standard_normal((1, 3, 1, D)), B, axis=2)
    lam_0 = model.prior_lam(1)[0]
    expected_x = model.decoder.mean(theta, noise[0, :, 0]).mean(axis=0)
    net, phi = error_net_of(encoder, encoder_phi, expected_x, lam_0, noise[0, :, 0].mean(axis=0))
    method = Iterative(net, [Error()], 1, 3)
    lam = next(method.walk(model.objective(theta, x), phi, np.tile(lam_0, (B, 1)), noise))
    assert_close(lam, encoder(encoder_phi, x), rtol=1e-10, atol=1e-12)
    final = rng.standard_normal((1, 3, B, D))
    vae = VAE(encoder, samples=3).gradient(model, theta, encoder_phi, x, noise=final)
    ours = method.gradient(model, theta, phi, x, noise=np.concatenate([noise, final]))
    assert_close(ours[0], vae[0], rtol=1e-10)
    assert_close(ours[1], vae[1], rtol=1e-9, atol=1e-12)


def test_one_iteration_on_errors_is_nearly_the_vae_when_every_example_has_many_samples_of_its_own():
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 3, 4]), Bernoulli()))
    encoder = HighwayMLP([4, 5, 5, 4])
    theta, encoder_phi = model.init(rng), rng.uniform(-1, 1, encoder.size)
    x, noise = (rng.random((3, 4)) < 0.5).astype(float), rng.standard_normal((1, 40_000, 3, 2))
    expected_x = model.decoder.mean(theta, rng.standard_normal((400_000, 2))).mean(axis=0)
    net, phi = error_net_of(encoder, encoder_phi, expected_x, np.zeros(4), np.zeros(2))
    lam = next(Iterative(net, [Error()], 1, 1).walk(model.objective(theta, x), phi, np.zeros((3, 4)), noise))
    assert np.abs(lam - encoder(encoder_phi, x)).max() < 0.02


def test_several_error_iterations_are_not_the_vae():
    p = small("error", steps=2)
    one, two = (p.method.infer(p.model, p.theta, p.phi, p.x, np.random.default_rng(0), steps=k) for k in (1, 2))
    assert np.abs(one - two).max() > 1e-3


# --- encodings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_encodings_hold_what_the_formulas_say_in_the_size_they_say(likelihood):
    p = small(likelihood=likelihood, samples=3)
    lam = np.random.default_rng(1).normal(0, 0.5, (4, 4))
    f = p.model.objective(p.theta, p.x, p.beta)
    inputs = p.method.encode(f, f.evaluate(lam, p.noise[0]))
    assert_close(inputs, encoded(p, lam, p.noise[0]), rtol=1e-9)
    assert [e.size(p.model) for e in p.method.encodings] == [8, 7, 5]


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_a_forward_pass_is_enough_for_errors_and_data_and_no_gradient_is_looked_at(likelihood, monkeypatch):
    p = small("error+data", likelihood=likelihood)
    f = p.model.objective(p.theta, p.x)
    lam = np.random.default_rng(1).normal(0, 0.5, (4, 4))
    both = (f.evaluate(lam, p.noise[0]), f.forward(lam, p.noise[0]))
    assert_close(p.method.encode(f, both[1]), p.method.encode(f, both[0]), rtol=1e-12)
    monkeypatch.setattr(MLP, "backward", None)
    assert np.isfinite(p.method.infer(p.model, p.theta, p.phi, p.x, np.random.default_rng(0))).all()


def test_the_logarithm_of_a_gradient_keeps_its_sign_and_survives_zero_and_large_entries():
    e = SimpleNamespace(d_lam=np.array([[0.0, -1e30, 1e-30, 2.0]]))
    contents = Gradient(alpha=0.5, eps=1e-3).contents(None, e)
    expected = [0.5 * np.log(np.array([1e-3, 1e30, 1e-3, 2.001])), [0.0, 1.0, -1.0, -1.0]]
    assert_close(contents, np.concatenate(expected)[None], rtol=1e-12)


def test_an_autograd_model_is_inferred_by_its_gradients():
    """A Gaussian mean with a known posterior: z ~ N(0, 1), x ~ N(z, 1): the posterior is N(x / 2, 1/2)."""

    def loss(lam, theta, x, noise, beta):
        mu, log_var = lam[:, 0], lam[:, 1]
        z = mu + anp.exp(log_var / 2) * noise[..., 0]
        kl = 0.5 * (anp.exp(log_var) + mu**2 - 1 - log_var)
        return beta * kl + anp.mean(0.5 * (x[:, 0] - z) ** 2, axis=0)

    model = savi.AutogradModel(loss, 2, 1, 1, init=lambda rng: np.zeros(1))
    method = Iterative(network(model, [Gradient()], (16, 16)), [Gradient()], 4, samples=8)
    x = np.random.default_rng(0).normal(0, 1.5, (400, 1))
    result = savi.fit(model, method, x, epochs=30, learning_rate=5e-3, dtype=float, progress=False)
    lam = method.infer(model, result.theta, result.phi, x, np.random.default_rng(1), steps=12)
    assert np.abs(lam[:, 0] - x[:, 0] / 2).mean() < 0.15
    assert np.abs(np.exp(lam[:, 1]) - 0.5).mean() < 0.15


def test_an_autograd_model_has_no_errors_to_encode():
    model = savi.AutogradModel(lambda lam, theta, x, noise, beta: lam[:, 0] ** 2, 2, 1, 1)
    with pytest.raises(InputError, match=r"the encoding Error\(\) needs a decoder of vectors"):
        network(model, [Error()])


# --- inference --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encodings", ["gradient", "error", "all"])
def test_the_path_is_what_infer_walks_and_training_walks_the_same(encodings):
    p = small(encodings)
    path = p.method.path(p.model, p.theta, p.phi, p.x, np.random.default_rng(0), steps=6)
    assert path.shape == (7, 4, 4)
    for k in (0, 1, 6):
        lam = p.method.infer(p.model, p.theta, p.phi, p.x, np.random.default_rng(0), steps=k)
        assert_close(path[k], lam, rtol=1e-12)
    f = p.model.objective(p.theta, p.x, p.beta)
    *_, lam_T = p.method.walk(f, p.phi, np.tile(p.model.prior, (4, 1)), p.noise[:-1])
    assert_close(gradient(p)[0], p.model.loss(lam_T, p.theta, p.x, p.noise[-1], p.beta), rtol=1e-12)


def test_infer_takes_the_methods_own_number_of_iterations_unless_told_otherwise():
    p = small()
    own, three = (p.method.infer(p.model, p.theta, p.phi, p.x, np.random.default_rng(0), k) for k in (None, 3))
    np.testing.assert_array_equal(own, three)


def test_phi_is_at_first_what_its_net_and_its_start_draw():
    p, encoder = small(), MLP([5, 4])
    for start, rest in (("prior", np.zeros(0)), ("learned", np.zeros(4)), (encoder, None)):
        method, rng = Iterative(p.method.net, p.method.encodings, start=start), np.random.default_rng(3)
        expected = [p.method.net.init(rng), encoder.init(rng) if rest is None else rest]
        np.testing.assert_array_equal(method.init(np.random.default_rng(3)), np.concatenate(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_in_is_dtype_out(dtype):
    p = small(start="learned", dtype=dtype)
    assert p.method.init(np.random.default_rng(0), dtype).dtype == dtype
    assert {a.dtype for a in gradient(p)} == {np.dtype(dtype)}
    assert p.method.infer(p.model, p.theta, p.phi, p.x, np.random.default_rng(0)).dtype == dtype


def peak(run):
    run()
    memory.clear()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encodings", ["gradient", "error+data"])
def test_memory_does_not_grow_with_the_number_of_iterations(encodings):
    threads.use(1)
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([8, 64, 200]), Bernoulli()))
    net = network(model, ENCODINGS[encodings], (64, 64))
    theta, x = model.init(rng), (rng.random((64, 200)) < 0.5).astype(float)
    phi = Iterative(net, ENCODINGS[encodings]).init(rng)

    def step(T):
        noise = np.broadcast_to(rng.standard_normal((1, 1, 64, 8)), (T + 1, 1, 64, 8))
        method = Iterative(net, ENCODINGS[encodings], T, 1)
        return peak(lambda: method.gradient(model, theta, phi, x, noise=noise))

    def inference(T):
        method = Iterative(net, ENCODINGS[encodings], T, 1)
        return peak(lambda: method.infer(model, theta, phi, x, np.random.default_rng(0)))

    assert step(160) < step(40) + 50_000  # views of the noise alone; one array of a step has 100 kB
    assert step(40) < 30e6  # a few steps' room in the trunk, not all steps'
    assert inference(160) < inference(40) + 20_000
    threads.use(None)


@functools.cache
def trained():
    """A small model trained with 16 iterations on gradients: (model, method, result, test data)."""
    rng = np.random.default_rng(0)
    truth = MLP([2, 20, 40])
    params = 3 * truth.init(rng)
    x = (rng.random((1200, 40)) < 1 / (1 + np.exp(-truth(params, rng.standard_normal((1200, 2)))))).astype(float)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 20, 40]), Bernoulli()))
    encodings = [Gradient(), Data()]
    method = Iterative(network(model, encodings, (32, 32)), encodings, 16, samples=5)
    result = savi.fit(model, method, x[:1000], epochs=12, learning_rate=3e-3, batch=50, progress=False)
    return model, method, result, x[1000:].astype(np.float32)


def test_a_model_trained_on_16_iterations_is_stable_for_1000_and_stays_near_its_best():
    model, method, result, x = trained()
    path = method.path(model, result.theta, result.phi, x, np.random.default_rng(1), steps=1000)
    noise = np.random.default_rng(2).standard_normal((100, len(x), 2)).astype(np.float32)
    losses = [
        float(model.loss(path[k], result.theta, x, noise).mean()) for k in (0, 1, 2, 4, 8, 16, 30, 100, 300, 1000)
    ]
    assert np.isfinite(path).all()
    assert losses[5] < losses[0] - 1  # it has learned to infer
    assert losses[-1] < min(losses) + 0.5


def test_more_iterations_come_nearer_to_the_optimum_of_the_family():
    model, method, result, x = trained()
    rng = np.random.default_rng(1)
    lams = [method.infer(model, result.theta, result.phi, x, rng, steps=k) for k in (1, 3, 16)]
    noise = np.random.default_rng(2).standard_normal((200, len(x), 2)).astype(np.float32)
    losses = [model.loss(lam, result.theta, x, noise).mean() for lam in lams]
    best, _ = optimum(model, result.theta, lams[-1], x, np.random.default_rng(3))
    assert losses[0] > losses[1] > losses[2] > model.loss(best, result.theta, x, noise).mean() - 0.05
    assert losses[2] < model.loss(best, result.theta, x, noise).mean() + 0.5


# --- mutations --------------------------------------------------------------------------------------------------------

LINES = {
    "d_phi is the last step's alone": (
        Trunk.learn, "self.sum.add(", "self.sum = ParamSum(self.net, d_output.dtype).add("
    ),
    "d_phi is not averaged": (Iterative._gradient, "trunk.gradient() / self.steps", "trunk.gradient()"),
    "d_phi x 1.001": (Iterative._gradient, "trunk.gradient() / self.steps", "1.001 * trunk.gradient() / self.steps"),
    "the loss at lam_t instead of lam_{t+1}": (Iterative._gradient, "f.evaluate(lam, noise_t)", "f.evaluate(lam_t, noise_t)"),
    "the same noise everywhere": (Iterative._gradient, "e = f.evaluate(lam, noise_t)", "e = f.evaluate(lam, noise[0])"),
    "lam_{t+1} in the gate's gradient": (Iterative._gradient, "self.update.backward(lam_t,", "self.update.backward(lam,"),
    "theta at lam_0": (Iterative._gradient, "theta_bar.add(e)\n", "theta_bar.add(first)\n"),
    "the gate's gradient is dropped": (Gated.backward, "join(d_c, d_c * g * (lam - c))", "join(d_c, 0 * d_c)"),
    "the gate's slope is dropped": (Gated.backward, "join(d_c, d_c * g * (lam - c))", "join(d_c, d_lam * (lam - c))"),
    "the candidate is not gated": (Gated.backward, "d_c = (1 - g) * d_lam", "d_c = d_lam"),
    "the update the other way round": (Gated.apply, "g * lam + (1 - g) * c", "g * c + (1 - g) * lam"),
    "no current estimate in the loop": (Iterative.encode, "(*self.encodings, Estimate())", "(*self.encodings, _Still())"),
    "the gradient of the loss, not of the ELBO": (Gradient.contents, "g = -evaluation.d_lam", "g = evaluation.d_lam"),
    "the logarithm without its scale": (Gradient.contents, "self.alpha * np.log", "np.log"),
}  # fmt: skip


class _Still:
    def size(self, model):
        return model.lam_size

    def contents(self, f, evaluation):
        return np.zeros_like(evaluation.lam)


@pytest.mark.parametrize("name", LINES)
def test_autograd_catches_a_changed_line(name, monkeypatch):
    function, old, new = LINES[name]
    p = small()
    check(p)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, (
        f"{old!r} is not in {function.__qualname__} once; the mutation needs to follow the code"
    )
    namespace = vars(inspect.getmodule(function)) | vars(iterative) | vars(encodings) | {"_Still": _Still}
    exec(source.replace(old, new), namespace)
    owner, attribute = function.__qualname__.split(".")
    monkeypatch.setattr(getattr(iterative, owner), attribute, namespace[attribute])
    with pytest.raises(AssertionError, match="is off by"):
        check(p)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "steps is 0; expected a whole number >= 1"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"samples": 0}, "samples is 0"),
        ({"start": "zero"}, "start is 'zero'; expected one of prior, learned, an encoder"),
    ],
)
def test_bad_settings_are_input_errors(options, message):
    with pytest.raises(InputError) as caught:
        Iterative(HighwayMLP([4, 3, 8]), [], **options)
    assert message in str(caught.value)


def test_a_net_of_another_width_and_a_phi_of_another_size_are_input_errors():
    p = small("gradient")
    narrow = Iterative(p.method.net, [Data()])
    with pytest.raises(InputError, match=r"the encodings \(Data\(\),\) give 9 inputs"):
        narrow.gradient(p.model, p.theta, p.phi, p.x, np.random.default_rng(0))
    with pytest.raises(InputError, match="phi has shape"):
        p.method.infer(p.model, p.theta, p.phi[:-1], p.x, np.random.default_rng(0))
    wider = LatentGaussianModel(MLPDecoder(MLP([3, 5]), Bernoulli()))
    with pytest.raises(InputError, match="lam width 6"):
        p.method.start(wider, p.theta, p.phi, p.x, None)


@pytest.mark.parametrize("change", [{"steps": 4}, {"samples": 3}, {"update": Residual()}, {"start": "learned"}])
def test_the_repr_tells_every_setting(change):
    net = HighwayMLP([12, 3, 8])
    assert repr(Iterative(net, [Gradient()])) == repr(Iterative(net, [Gradient()]))
    assert repr(Iterative(net, [Gradient()], **change)) != repr(Iterative(net, [Gradient()]))
    assert repr(Iterative(net, [Gradient(0.2)])) != repr(Iterative(net, [Gradient()]))
    assert repr(Iterative(HighwayMLP([12, 4, 8]), [Gradient()])) != repr(Iterative(net, [Gradient()]))


def test_a_learned_start_is_part_of_phi_and_moves_as_its_loss_says():
    p = small(start="learned")
    assert p.method.size == p.method.net.size + 4
    assert not p.method.init(np.random.default_rng(0))[-4:].any()
    lam_0 = p.method.start(p.model, p.theta, p.phi, p.x, None)
    np.testing.assert_array_equal(lam_0, np.tile(p.phi[-4:], (4, 1)))
