"""The encoder and the VAE against autograd; and what every method shares: refinement, batches, precision, any loss."""

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
    AnalyticKL,
    AutogradModel,
    Bernoulli,
    Gaussian,
    InputError,
    LatentGaussianModel,
    MLPDecoder,
    Multinomial,
    SampledKL,
    reference,
)
from savi.inference.svi import ascend
from savi.testing import arrays, assert_close, check_gradient, mlps, problems

STEP = 1e-3

METHODS = {  # every method, given an encoder (which SVI leaves aside)
    "vae": lambda encoder, **settings: VAE(encoder, **settings),
    "svi": lambda encoder, **settings: SVI(**settings),
    "vae+svi": lambda encoder, **settings: VAESVI(encoder, **settings),
    "vae+svi+kl": lambda encoder, **settings: VAESVI(encoder, kl=True, **settings),
    "sa-vae": lambda encoder, **settings: SAVAE(encoder, **settings),
}
each_method = pytest.mark.parametrize("name", METHODS)


@st.composite
def encoded_problems(draw):
    """A problem with an encoder and its phi."""
    problem = draw(problems())
    problem.encoder = draw(mlps(problem.x.shape[1], problem.model.lam_size))
    problem.phi = draw(arrays((problem.encoder.size,), -0.7, 0.7))
    return problem


def setting(name, dtype=np.float64, B=4, **settings):
    """(model, method, theta, phi, x): a small Bernoulli model, method `name`, and six pixels of B examples."""
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 5, 6]), Bernoulli()))
    method = METHODS[name](MLP([6, 3, 4]), **settings)
    x = (rng.random((B, 6)) < 0.5).astype(dtype)
    return model, method, model.init(rng, dtype), method.init(rng, dtype), x


def inner_steps(method):
    """How many noise arrays `gradient` takes before the final one."""
    return 0 if isinstance(method, VAE) else method.steps


# --- the encoder and the VAE ----------------------------------------------------------------------------------------


@given(encoded_problems())
@settings(max_examples=40)
def test_the_vaes_gradient_is_autograds_through_the_encoder(p):
    loss, d_theta, d_phi = VAE(p.encoder).gradient(p.model, p.theta, p.phi, p.x, beta=p.beta, noise=p.noise[None])

    def losses(theta, phi):
        return reference.loss(p.model, p.encoder.reference(phi, p.x), theta, p.x, p.noise, p.beta)

    expected = autograd.grad(lambda theta, phi: anp.sum(losses(theta, phi)), (0, 1))(p.theta, p.phi)
    assert_close(loss, losses(p.theta, p.phi), 1e-9, 1e-12)
    for actual, judge in zip((d_theta, d_phi), expected):
        assert_close(actual, judge, 1e-9, 1e-12)


def test_the_vaes_gradient_agrees_with_central_differences_of_its_loss():
    model, vae, theta, phi, x = setting("vae")
    noise = model.draw_noise(np.random.default_rng(1), 2, 4)[None]
    _, d_theta, d_phi = vae.gradient(model, theta, phi, x, noise=noise)
    check_gradient(lambda phi: vae.gradient(model, theta, phi, x, noise=noise)[0], phi, d_phi)
    check_gradient(lambda theta: vae.gradient(model, theta, phi, x, noise=noise)[0], theta, d_theta)


@given(encoded_problems())
@settings(max_examples=10)
def test_encode_is_the_encoders_network_and_lam_has_memory_of_its_own(p):
    lam, record = VAE(p.encoder).encode(p.model, p.phi, p.x)
    assert_close(lam, p.encoder.reference(p.phi, p.x), 1e-12, 1e-14)
    assert not np.shares_memory(lam, record.output)


@pytest.mark.parametrize(
    "wrong",
    [
        {"phi": np.zeros(3)},
        {"x": np.zeros((4, 5))},
        {"x": np.zeros(6)},
        {"encoder": MLP([6, 3, 2])},
        {"encoder": MLP([5, 3, 4])},
    ],
)
def test_an_encoder_that_does_not_fit_is_an_input_error_that_gives_the_shapes(wrong):
    model, vae, theta, phi, x = setting("vae")
    vae = VAE(wrong["encoder"]) if "encoder" in wrong else vae
    with pytest.raises(InputError, match=r"MLP\(.*\) (has \d+ parameters and . outputs|takes \(rows, .\)); got .*\("):
        vae.infer(model, theta, wrong.get("phi", phi), wrong.get("x", x), np.random.default_rng(0))


# --- every method: inference ----------------------------------------------------------------------------------------


@each_method
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_refinement_at_test_time_takes_any_number_of_steps_from_the_methods_start(name, steps):
    model, method, theta, phi, x = setting(name, step_size=0.1, momentum=0.3, clip=0.5, samples=2)
    rng = np.random.default_rng(5)
    start = method.start(model, theta, phi, x, None)
    noise = [model.draw_noise(rng, 2, 4) for _ in range(steps)]
    expected = ascend(model.objective(theta, x), start, noise, 0.1, 0.3, 0.5)
    np.testing.assert_array_equal(method.infer(model, theta, phi, x, np.random.default_rng(5), steps), expected)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "svi"])
def test_inference_without_steps_is_the_encoder(name):
    model, method, theta, phi, x = setting(name)
    lam = method.infer(model, theta, phi, x, np.random.default_rng(0), steps=0)
    assert_close(lam, method.encoder.reference(phi, x), 1e-13)


@pytest.mark.parametrize("name", ["vae", "vae+svi", "vae+svi+kl"])
def test_methods_with_an_encoder_infer_alike_however_they_were_trained(name):
    model, method, theta, phi, x = setting(name, steps=3)
    sa_vae = setting("sa-vae", steps=3)[1]
    of_both = [m.infer(model, theta, phi, x, np.random.default_rng(0)) for m in (method, sa_vae)]
    np.testing.assert_array_equal(*of_both)


def test_a_vae_is_not_refined_unless_it_is_asked_to():
    model, vae, theta, phi, x = setting("vae")
    np.testing.assert_array_equal(vae.infer(model, theta, phi, x, None), vae.encode(model, phi, x)[0])


@each_method
def test_refinement_lowers_the_loss(name):
    model, method, theta, phi, x = setting(name, step_size=0.1, samples=5)
    noise = model.draw_noise(np.random.default_rng(1), 500, 4)
    first, last = (
        model.loss(method.infer(model, 3 * theta, 5 * phi, x, np.random.default_rng(0), steps), 3 * theta, x, noise)
        for steps in (0, 40)
    )
    assert last.mean() < first.mean() - 0.05


# --- every method: batches, precision, randomness -------------------------------------------------------------------


@each_method
@given(data=st.data())
@settings(max_examples=8)
def test_gradients_of_a_batch_are_sums_over_its_examples_which_never_mix(name, data):
    model, method, theta, phi, x = setting(name, B=5, **({} if name == "vae" else {"steps": 3}), clip=0.5)
    rows = np.array(data.draw(st.permutations(range(5))))
    cut = data.draw(st.integers(1, 4))
    noise = np.random.default_rng(1).standard_normal((inner_steps(method) + 1, 2, 5, 2))
    whole = method.gradient(model, theta, phi, x, noise=noise)
    parts = [method.gradient(model, theta, phi, x[r], noise=noise[:, :, r]) for r in (rows[:cut], rows[cut:])]
    assert_close(np.concatenate([part[0] for part in parts]), whole[0][rows], 1e-12)
    for i in (1, 2):
        assert_close(parts[0][i] + parts[1][i], whole[i], 1e-11)


@each_method
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_result_has_the_precision_of_the_parameters(name, dtype):
    model, method, theta, phi, x = setting(name, dtype, steps=2, clip=0.5, step_size=np.float64(0.1))
    results = method.gradient(model, theta, phi, x, np.random.default_rng(0))
    lam = method.infer(model, theta, phi, x, np.random.default_rng(0), steps=2)
    assert {a.dtype for a in (*results, lam)} == {np.dtype(dtype)}


@each_method
def test_data_may_be_whole_numbers(name):
    model, method, theta, phi, x = setting(name, steps=2)
    results = [method.gradient(model, theta, phi, data, np.random.default_rng(0)) for data in (x, x.astype(np.uint8))]
    for of_floats, of_bytes in zip(*results):
        np.testing.assert_array_equal(of_bytes, of_floats)


@each_method
def test_noise_that_is_not_given_is_drawn_from_the_rng_one_array_a_step(name):
    model, method, theta, phi, x = setting(name, steps=2, samples=3)
    rng = np.random.default_rng(3)
    noise = [model.draw_noise(rng, 3, 4) for _ in range(inner_steps(method) + 1)]
    drawn = method.gradient(model, theta, phi, x, np.random.default_rng(3))
    for a, b in zip(drawn, method.gradient(model, theta, phi, x, noise=noise)):
        np.testing.assert_array_equal(a, b)


@each_method
def test_nothing_that_is_given_is_written_to(name):
    model, method, theta, phi, x = setting(name, steps=2, clip=0.5)
    noise = np.random.default_rng(0).standard_normal((inner_steps(method) + 1, 1, 4, 2))
    for array in (theta, phi, x, noise):
        array.flags.writeable = False
    method.gradient(model, theta, phi, x, noise=noise)
    method.infer(model, theta, phi, x, np.random.default_rng(0))


# --- every method: any loss, by autograd ----------------------------------------------------------------------------


def written_by_hand(closed):
    """The closed-form model once more, as a user would write it: an AutogradModel of its loss."""

    def kl(lam, target):
        D = closed.latent_dim
        mu, log_var, mu_t, log_var_t = lam[:, :D], lam[:, D:], target[:, :D], target[:, D:]
        return 0.5 * anp.sum(
            log_var_t - log_var + (anp.exp(log_var) + (mu - mu_t) ** 2) / anp.exp(log_var_t) - 1, axis=1
        )

    return AutogradModel(
        lambda lam, theta, x, noise, beta: reference.loss(closed, lam, theta, x, noise, beta),
        closed.lam_size,
        closed.size,
        closed.latent_dim,
        prior=closed.prior,
        posterior_kl=kl,
    )


@each_method
@pytest.mark.parametrize("kl", [AnalyticKL, SampledKL])
@pytest.mark.parametrize("likelihood", [Bernoulli(), Multinomial(), Gaussian("global"), Gaussian("from_z")], ids=repr)
def test_an_autograd_model_gives_the_closed_forms_gradients(name, likelihood, kl):
    rng = np.random.default_rng(0)
    outputs = 8 if repr(likelihood) == "Gaussian('from_z')" else 4
    closed = LatentGaussianModel(MLPDecoder(MLP([2, 3, outputs]), likelihood), prior=[0.3, 0, 0.1, -0.2], kl=kl)
    method = METHODS[name](MLP([4, 4]), steps=3, step_size=0.05, momentum=0.5, clip=2.0)
    x = rng.integers(0, 2, (3, 4)).astype(float)
    theta, phi = closed.init(rng), method.init(rng)
    noise = rng.standard_normal((inner_steps(method) + 1, 2, 3, 2))
    pair = [method.gradient(model, theta, phi, x, beta=0.4, noise=noise) for model in (written_by_hand(closed), closed)]
    for by_autograd, closed_form in zip(*pair):
        assert_close(by_autograd, closed_form, 1e-9, 1e-13)


@pytest.mark.parametrize("name", METHODS)
def test_phi_is_at_first_what_its_encoder_draws(name):
    method = METHODS[name](MLP([4, 4]), steps=1)
    size = method.size
    drawn, encoder = (m.init(np.random.default_rng(3)) for m in (method, MLP([4, 4])))
    np.testing.assert_array_equal(drawn, encoder if size else np.zeros(0))


def test_vae_svi_kl_says_what_an_autograd_model_lacks():
    _, method, theta, phi, x = setting("vae+svi+kl")
    bare = AutogradModel(lambda lam, theta, x, noise, beta: anp.sum(lam**2, axis=1), 4, len(theta), 2)
    with pytest.raises(InputError, match="without posterior_kl"):
        method.gradient(bare, theta, phi, x, np.random.default_rng(0))
