"""Algorithm 1 against autograd through the whole unrolled loop and against differences of its loss; its special cases;
steps that are recomputed; VAE+SVI and VAE+SVI+KL; and mutations of each, which these checks must catch."""

import functools
import inspect
from types import SimpleNamespace

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import savi
from savi import MLP, SAVAE, SVI, VAE, VAESVI, LatentGaussianModel, MLPDecoder, hvp, reference
from savi.inference import semi_amortized
from savi.inference.svi import ascend
from savi.models.discrete import Multinomial
from savi.models.gaussian import AnalyticKL, SampledKL
from savi.models.likelihoods import Bernoulli, Gaussian
from savi.testing import arrays, assert_close, mlps, problems, seeds

LIKELIHOODS = [Bernoulli(), Multinomial(), Gaussian("global"), Gaussian("per_dimension"), Gaussian("from_z")]
CLIPS = {"none": None, "acting": 0.5, "idle": 100.0}


def small(likelihood=Bernoulli(), kl=AnalyticKL, samples=1, steps=5, dtype=np.float64):  # noqa: B008
    """A problem of three examples, two latent dimensions and five data dimensions, with noise for K = steps."""
    rng = np.random.default_rng([steps, samples])
    outputs = 10 if getattr(likelihood, "variance", "") == "from_z" else 5
    model = LatentGaussianModel(MLPDecoder(MLP([2, 4, outputs]), likelihood), prior=[0.3, -0.3, 0.2, 0.1], kl=kl)
    encoder = MLP([5, 3, 4])
    x = rng.integers(0, 2, (3, 5)) if isinstance(likelihood, Bernoulli) else rng.integers(0, 4, (3, 5))
    problem = {
        "theta": rng.uniform(-1, 1, model.size), "phi": rng.uniform(-1, 1, encoder.size), "x": x,
        "noise": rng.standard_normal((steps + 1, samples, 3, 2)),
    }  # fmt: skip
    return SimpleNamespace(model=model, encoder=encoder, beta=0.7, **{k: a.astype(dtype) for k, a in problem.items()})


def gradient(method, p):
    """(loss (B,), d_theta, d_phi) of a method at a problem."""
    return method.gradient(p.model, p.theta, p.phi, p.x, beta=p.beta, noise=p.noise)


# --- the judge ------------------------------------------------------------------------------------------------------


def clipped(g, clip):
    """Clipping of each row, in autograd.numpy."""
    if clip is None:
        return g
    square = anp.sum(g * g, axis=1, keepdims=True)
    return anp.where(square > clip**2, g * clip / anp.sqrt(anp.where(square > 0, square, 1)), g)


def unrolled(p, theta, phi, step_size, momentum, clip):
    """The loss (B,) of Algorithm 1's forward loop, written once more for autograd."""
    loss = lambda lam, noise: reference.loss(p.model, lam, theta, p.x, noise, p.beta)  # noqa: E731
    lam, v = p.encoder.reference(phi, p.x), 0.0
    for noise_k in p.noise[:-1]:
        v = momentum * v - clipped(autograd.elementwise_grad(loss)(lam, noise_k), clip)
        lam = lam + step_size * v
    return loss(lam, p.noise[-1])


def judge(p, *inner):
    """(loss (B,), d_theta, d_phi) by autograd through all of it."""
    total = lambda theta, phi: anp.sum(unrolled(p, theta, phi, *inner))  # noqa: E731
    return unrolled(p, p.theta, p.phi, *inner), *autograd.grad(total, (0, 1))(p.theta, p.phi)


def assert_gradients(actual, expected, rtol, atol=1e-12):
    for name, a, b in zip(("loss", "d_theta", "d_phi"), actual, expected):
        assert_close(a, b, rtol, atol, name)


def check_sa_vae(p, step_size=0.1, momentum=0.5, clip=None, rtol=1e-8, hvp="exact", recompute=False):
    """AssertionError unless SA-VAE's gradients are autograd's through the unrolled loop."""
    method = SAVAE(p.encoder, len(p.noise) - 1, step_size, momentum, clip, hvp=hvp, recompute=recompute)
    assert_gradients(gradient(method, p), judge(p, step_size, momentum, clip), rtol)


# --- SA-VAE ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("steps", [0, 1, 5, 20])
def test_sa_vaes_gradient_is_autograds_through_all_steps(steps, momentum, clip):
    check_sa_vae(small(steps=steps), momentum=momentum, clip=CLIPS[clip])


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_sa_vaes_gradient_is_autograds_for_every_likelihood_and_kl_term(likelihood, kl, samples):
    check_sa_vae(small(likelihood, kl, samples, steps=4), step_size=0.05, clip=3.0)


@given(problems(), st.integers(0, 3), st.sampled_from([0.0, 0.9]), st.sampled_from([None, 0.3, 10.0]), st.data())
@settings(max_examples=30)
def test_sa_vaes_gradient_is_autograds_for_any_shapes_and_nets(p, steps, momentum, clip, data):
    p.theta = 0.4 * p.theta  # so that unclipped steps do not run away
    p.encoder = data.draw(mlps(p.x.shape[1], p.model.lam_size))
    p.phi = data.draw(arrays((p.encoder.size,), -0.5, 0.5))
    p.noise = np.random.default_rng(data.draw(seeds)).standard_normal((steps + 1, *p.noise.shape))
    check_sa_vae(p, step_size=1e-3, momentum=momentum, clip=clip)


def test_sa_vaes_gradient_is_autograds_with_a_step_size_for_each_entry():
    check_sa_vae(small(), step_size=np.array([0.1, 0.0, 0.3, 0.02]), clip=0.5)


@pytest.mark.parametrize("clip, low, high", [("acting", 15, 15), ("idle", 0, 0), ("mixed", 1, 14)])
def test_the_clips_of_these_tests_act_when_they_say_so(clip, low, high):
    p, trace, clip = small(), [], {**CLIPS, "mixed": 1.5}[clip]
    lam_0 = VAE(p.encoder).encode(p.model, p.phi, p.x)[0]
    ascend(p.model.objective(p.theta, p.x, p.beta), lam_0, p.noise[:-1], 0.1, 0.5, clip, trace)
    acting = sum(int((np.linalg.norm(step.d_lam, axis=1) > clip).sum()) for step in trace)
    assert low <= acting <= high


def test_sa_vaes_gradient_is_autograds_where_some_examples_are_clipped_and_others_not():
    check_sa_vae(small(), clip=1.5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("steps, clip", [(1, None), (5, None), (5, 0.5), (20, 0.5)])
def test_sa_vaes_gradient_agrees_with_differences_of_its_own_loss(likelihood, steps, clip):
    """Independent of autograd and of the reference: the derivative in random directions of (theta, phi)."""
    p, rng = small(likelihood, samples=2, steps=steps), np.random.default_rng(0)
    method = SAVAE(p.encoder, steps, 0.05, 0.5, clip)
    _, d_theta, d_phi = gradient(method, p)
    for _ in range(3):
        u_theta, u_phi, r = rng.standard_normal(p.theta.shape), rng.standard_normal(p.phi.shape), 1e-5
        ends = [
            gradient(method, SimpleNamespace(**{**vars(p), "theta": p.theta + s * u_theta, "phi": p.phi + s * u_phi}))
            for s in (r, -r)
        ]
        difference = (ends[0][0] - ends[1][0]).sum() / (2 * r)
        size = np.linalg.norm(d_theta) * np.linalg.norm(u_theta) + np.linalg.norm(d_phi) * np.linalg.norm(u_phi)
        assert_close(d_theta @ u_theta + d_phi @ u_phi, difference, 0, 1e-7 * size)


PRODUCTS = {"exact": 1e-8, "complex": 1e-8, "autograd": 1e-8, "central": 1e-6, "forward": 1e-4}


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("method", PRODUCTS)
def test_every_hessian_vector_product_gives_the_unrolled_gradient(method, clip, samples):
    check_sa_vae(small(Gaussian("from_z"), samples=samples), 0.05, clip=clip, hvp=method, rtol=PRODUCTS[method])


@pytest.mark.parametrize("method", ["forward", "central"])
def test_a_difference_step_may_be_scaled_for_each_example(method):
    product = functools.partial(hvp.METHODS[method], r=hvp.scaled_step(1e-6))
    check_sa_vae(small(samples=2), hvp=product, rtol=1e-4)


def test_exact_products_keep_the_gradient_in_float32_where_the_sources_difference_loses_it():
    expected = gradient(SAVAE(small().encoder, 5, 0.1), small())
    p = small(dtype=np.float32)
    error = {}
    for method in ("exact", "forward"):
        actual = gradient(SAVAE(p.encoder, 5, 0.1, hvp=method), p)
        error[method] = max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(actual[1:], expected[1:]))
    assert error["exact"] < 1e-5
    assert error["forward"] > 100 * error["exact"]


# --- steps that are recomputed --------------------------------------------------------------------------------------


def words(rng):
    """Token sequences of six words with padding, (3, 4)."""
    x = rng.integers(0, 6, (3, 4))
    x[0, 2:] = -1
    return x


OWN = savi.AutogradModel(
    lambda lam, theta, x, e, beta: anp.sum((x - theta - lam * e[0]) ** 2 * anp.exp(lam), axis=1), 2, 2, 2
)
MODELS = {  # a model, an encoder, and the data of three examples
    "images": (small().model, MLP([5, 4]), lambda rng: rng.integers(0, 2, (3, 5))),
    "a hierarchy": (
        savi.HierarchicalModel(MLPDecoder(MLP([2, 4, 5]), Bernoulli()), [savi.Level(MLP([3, 2]), "global")]),
        MLP([5, 10]), lambda rng: rng.integers(0, 2, (3, 5)),
    ),
    "text": (LatentGaussianModel(savi.LanguageDecoder(6, 3, 3, 2, tied=True)), savi.LSTMEncoder(6, 3, 3, 4), words),
    "z at the output": (LatentGaussianModel(savi.LSTMDecoder(6, 3, 3, 2, [4])), savi.LSTMEncoder(6, 3, 3, 4), words),
    "a PixelCNN": (
        LatentGaussianModel(savi.PixelCNNDecoder((3, 3), 2, 2, 2, 3, 3)), MLP([9, 4]), lambda rng: rng.integers(0, 2, (3, 9))
    ),
    "a loss of one's own": (OWN, MLP([2, 2]), lambda rng: rng.normal(size=(3, 2))),
}  # fmt: skip


@pytest.mark.parametrize("K", [0, 1, 4])
@pytest.mark.parametrize("name", MODELS)
def test_recomputed_steps_have_the_gradient_of_those_that_are_kept(name, K):
    (model, encoder, data), rng = MODELS[name], np.random.default_rng(K)
    theta, phi = rng.uniform(-1, 1, model.size), rng.uniform(-1, 1, encoder.size)
    x, noise = data(rng).astype(float), [model.draw_noise(rng, 2, 3, float) for _ in range(K + 1)]
    kept, anew = (
        SAVAE(encoder, K, 0.05, 0.5, 1.0, 2, "auto", recompute).gradient(model, theta, phi, x, noise=noise)
        for recompute in (False, True)
    )
    assert np.array_equal(anew[0], kept[0]) and np.abs(kept[2]).max() > 0
    assert_gradients(anew, kept, 1e-12)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("method", ["exact", "complex", "autograd"])
def test_with_recomputed_steps_the_gradient_is_autograds_through_all_steps(method, clip):
    check_sa_vae(small(samples=2), 0.05, clip=clip, hvp=method, recompute=True)


def test_recomputed_steps_are_evaluated_where_they_were_and_their_records_let_go():
    p, made = small(), []
    f = p.model.objective(p.theta, p.x)
    seen, real = semi_amortized.Recomputed(f), f.gradient
    f.gradient = lambda lam, noise: made.append((lam, noise)) or real(lam, noise)
    lam_0 = VAE(p.encoder).encode(p.model, p.phi, p.x)[0]
    ascend(f, lam_0, p.noise[:-1], 0.1, 0.5, None, seen)
    there, made[:] = list(made), []
    again = [seen.pop() for _ in range(len(seen))]
    assert len(there) == 5 and not seen and all(a is b for pair in zip(there, made[::-1]) for a, b in zip(*pair))
    assert again[0].lam is there[-1][0]


def test_passes_count_what_is_recomputed():
    encoder = MLP([5, 4])
    assert SAVAE(encoder, 3, samples=2, recompute=True).passes == SAVAE(encoder, 3, samples=2).passes + 3 * 2


# --- special cases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_without_steps_sa_vae_and_vae_svi_are_the_vae(likelihood):
    p = small(likelihood, samples=2, steps=0)
    vae = gradient(VAE(p.encoder), p)
    for method in (SAVAE(p.encoder, steps=0), VAESVI(p.encoder, steps=0)):
        for a, b in zip(gradient(method, p), vae):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_svi_without_steps_started_at_the_encoders_lam_is_the_vae(likelihood):
    p = small(likelihood, samples=2, steps=0)
    for a, b in zip(gradient(started_at_the_encoder(p, steps=0), p)[:2], gradient(VAE(p.encoder), p)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize("steps", [1, 5])
def test_sa_vae_with_steps_of_size_zero_is_the_vae_at_the_final_noise(steps, clip):
    p = small(steps=steps)
    sa_vae = gradient(SAVAE(p.encoder, steps, 0.0, 0.5, clip), p)
    p.noise = p.noise[-1:]
    assert_gradients(sa_vae, gradient(VAE(p.encoder), p), 1e-14, 0)


@pytest.mark.parametrize("kl", [False, True])
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_vae_svi_trains_theta_as_svi_does_from_the_encoders_lam(kl, clip):
    p = small()
    vae_svi = gradient(VAESVI(p.encoder, 5, 0.1, 0.5, clip, kl=kl), p)
    for a, b in zip(vae_svi[:2], gradient(started_at_the_encoder(p, 5, 0.1, 0.5, clip), p)):
        np.testing.assert_array_equal(a, b)


def started_at_the_encoder(p, *args, **options):
    svi = SVI(*args, **options)
    svi.start = lambda model, theta, phi, x, rng: p.encoder.reference(p.phi, x)
    return svi


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_all_semi_amortized_methods_see_the_same_loss(clip):
    p = small()
    losses = [
        gradient(method, p)[0]
        for method in (
            SAVAE(p.encoder, 5, 0.1, 0.5, clip),
            VAESVI(p.encoder, 5, 0.1, 0.5, clip),
            VAESVI(p.encoder, 5, 0.1, 0.5, clip, kl=True),
        )
    ]
    np.testing.assert_array_equal(losses[0], losses[1])
    np.testing.assert_array_equal(losses[0], losses[2])


# --- VAE+SVI and VAE+SVI+KL -----------------------------------------------------------------------------------------


def check_vae_svi(p, kl, step_size=0.1, momentum=0.5, clip=None, wrap=lambda result: result):
    """AssertionError unless VAE+SVI's gradients are autograd's, with nothing flowing through the steps."""
    D, steps = p.model.latent_dim, len(p.noise) - 1
    f = p.model.objective(p.theta, p.x, p.beta)
    lam_K = ascend(f, p.encoder.reference(p.phi, p.x), p.noise[:-1], step_size, momentum, clip)

    def theta_loss(theta):
        return reference.loss(p.model, lam_K, theta, p.x, p.noise[-1], p.beta)

    def phi_loss(phi):
        lam = p.encoder.reference(phi, p.x)
        if not kl:
            return anp.sum(reference.loss(p.model, lam, p.theta, p.x, p.noise[0], p.beta))
        mu, log_var, mu_K, log_var_K = lam[:, :D], lam[:, D:], lam_K[:, :D], lam_K[:, D:]
        ratio = (anp.exp(log_var) + (mu - mu_K) ** 2) / anp.exp(log_var_K)
        return 0.5 * anp.sum(log_var_K - log_var + ratio - 1)

    d_theta = autograd.grad(lambda theta: anp.sum(theta_loss(theta)))(p.theta)
    actual = wrap(gradient(VAESVI(p.encoder, steps, step_size, momentum, clip, kl=kl), p))
    assert_gradients(actual, (theta_loss(p.theta), d_theta, autograd.grad(phi_loss)(p.phi)), 1e-9)


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("kl", [False, True], ids=["vae+svi", "vae+svi+kl"])
def test_vae_svis_phi_follows_the_loss_at_lam_0_or_its_divergence_from_lam_K(kl, likelihood, clip):
    check_vae_svi(small(likelihood, samples=2), kl, step_size=0.05, clip=clip)


def test_vae_svi_kl_does_not_move_an_encoder_that_no_step_leaves():
    p = small(steps=0)
    assert not gradient(VAESVI(p.encoder, steps=0, kl=True), p)[2].any()


# --- mutations: each check above must fail --------------------------------------------------------------------------


def mutated(function, old, new):
    """The function with `old` replaced by `new` in its source text."""
    source = inspect.getsource(function)
    assert source.count(old) == 1, f"{old!r} is not in {function.__name__} once; the mutation needs to follow the code"
    namespace = dict(function.__globals__)
    exec(source.replace(old, new), namespace)
    return namespace[function.__name__]


LINES = {  # of algorithm_1's backward loop, with what is done to them
    "no momentum decay": ("v_bar = momentum * v_bar", "v_bar = v_bar"),
    "no momentum": ("v_bar = momentum * v_bar", "v_bar = 0 * v_bar"),
    "H_{theta,lam} dropped": ("theta_bar.add(h, weight=-1.0)", "pass"),
    "H_{theta,lam} with the other sign": ("theta_bar.add(h, weight=-1.0)", "theta_bar.add(h)"),
    "H_{theta,lam} x 1.001": ("theta_bar.add(h, weight=-1.0)", "theta_bar.add(h, weight=-1.001)"),
    "H_{lam,lam} dropped, first order": ("lam_bar = lam_bar - h.lam", "lam_bar = lam_bar"),
    "H_{lam,lam} x 1.001": ("lam_bar = lam_bar - h.lam", "lam_bar = lam_bar - 1.001 * h.lam"),
    "clipping ignored": ("clipped_vjp(step.d_lam, clip, v_bar)", "v_bar"),
    "clipping of the wrong vector": ("clipped_vjp(step.d_lam, clip, v_bar)", "clipped_vjp(v_bar, clip, v_bar)"),
    "steps from first to last": ("trace.pop()", "trace.pop(0)"),
    "v_bar forgets its past": ("v_bar = v_bar + step_size * lam_bar", "v_bar = step_size * lam_bar"),
    "step size left out": ("v_bar = v_bar + step_size * lam_bar", "v_bar = v_bar + lam_bar"),
    "theta_bar without the final loss": ("f.theta_sum().add(final)", "f.theta_sum()"),
    "other noise in the final loss": ("f.evaluate(lam_K, noise[-1])", "f.evaluate(lam_K, noise[0])"),
}


@pytest.mark.parametrize("name", LINES)
def test_the_unrolled_check_catches_a_changed_line_of_algorithm_1(name, monkeypatch):
    p = small()
    check_sa_vae(p, clip=1.5)
    monkeypatch.setattr(semi_amortized, "algorithm_1", mutated(semi_amortized.algorithm_1, *LINES[name]))
    with pytest.raises(AssertionError, match="is off by"):
        check_sa_vae(p, clip=1.5)


@pytest.mark.parametrize("entry", [0, 1, 2], ids=["loss", "d_theta", "d_phi"])
@pytest.mark.parametrize("check", [check_sa_vae, functools.partial(check_vae_svi, kl=False)], ids=["sa-vae", "vae+svi"])
def test_the_checks_catch_a_result_times_1001_thousandths(check, entry, monkeypatch):
    for method in (SAVAE, VAESVI):

        def wrong(self, *args, real=method.gradient, **options):
            return [r * (1.001 if i == entry else 1) for i, r in enumerate(real(self, *args, **options))]

        monkeypatch.setattr(method, "gradient", wrong)
    with pytest.raises(AssertionError, match="is off by"):
        check(small())


norms = functools.partial(np.linalg.norm, axis=1, keepdims=True)

PIECES = {  # pieces that Algorithm 1 is made of, with what is done to them
    "clipped rows only shortened": ("clipped_vjp", lambda _: lambda g, clip, u: u * norms(clipped(g, clip)) / norms(g)),
    "ascent without momentum": ("ascend", lambda real: lambda f, lam, e, a, m, c, t: real(f, lam, e, a, 0.0, c, t)),
    "ascent without clipping": ("ascend", lambda real: lambda f, lam, e, a, m, c, t: real(f, lam, e, a, m, None, t)),
    "last step left out": ("ascend", lambda real: lambda f, lam, e, a, m, c, t: real(f, lam, e[:-1], a, m, c, t)),
}


@pytest.mark.parametrize("name", PIECES)
def test_the_unrolled_check_catches_a_changed_piece(name, monkeypatch):
    piece, change = PIECES[name]
    monkeypatch.setattr(semi_amortized, piece, change(getattr(semi_amortized, piece)))
    with pytest.raises(AssertionError, match="is off by"):
        check_sa_vae(small(), clip=1.5)


METHOD_LINES = {
    "phi follows the loss at lam_K": (VAESVI, False, "f.gradient(lam_0, noise[0]).d_lam", "final.d_lam"),
    "phi sees the final noise": (VAESVI, False, "f.gradient(lam_0, noise[0])", "f.gradient(lam_0, noise[-1])"),
    "the divergence the other way": (VAESVI, True, "posterior_kl(lam_0, lam_K)", "posterior_kl(lam_K, lam_0)"),
    "theta follows lam_0": (VAESVI, True, "f.evaluate(lam_K, noise[-1])", "f.evaluate(lam_0, noise[-1])"),
}


@pytest.mark.parametrize("name", METHOD_LINES)
def test_the_vae_svi_check_catches_a_changed_line(name, monkeypatch):
    method, kl, old, new = METHOD_LINES[name]
    source = inspect.cleandoc("\n" + inspect.getsource(method._gradient))
    assert source.count(old) == 1
    namespace = dict(method._gradient.__globals__)
    exec(source.replace(old, new), namespace)
    monkeypatch.setattr(method, "_gradient", namespace["_gradient"])
    with pytest.raises(AssertionError, match="is off by"):
        check_vae_svi(small(), kl)


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one, other",
    [
        (SAVAE(MLP([5, 4])), SAVAE(MLP([5, 3, 4]))),
        (SAVAE(MLP([5, 4])), SAVAE(MLP([5, 4]), hvp="central")),
        (SAVAE(MLP([5, 4]), clip=5.0), SAVAE(MLP([5, 4]))),
        (SAVAE(MLP([5, 4]), recompute=True), SAVAE(MLP([5, 4]))),
        (VAESVI(MLP([5, 4])), VAESVI(MLP([5, 4]), kl=True)),
        (VAESVI(MLP([5, 4])), SAVAE(MLP([5, 4]))),
    ],
    ids=str,
)
def test_the_repr_tells_methods_apart(one, other):
    assert repr(one) != repr(other)
    assert repr(SAVAE(MLP([5, 4]), hvp="exact")) == repr(SAVAE(MLP([5, 4]), hvp=hvp.exact))


def test_an_unknown_hvp_is_refused_when_the_method_is_made():
    with pytest.raises(ValueError, match="hvp method is 'newton'"):
        SAVAE(MLP([5, 4]), hvp="newton")
