"""The model of text against autograd, complex steps and simpler models; masks, hidden words, tied embeddings."""

import inspect
import textwrap

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import savi
from savi import SAVAE, SVI, VAE, VAESVI, InputError, LanguageDecoder, LatentGaussianModel, LSTMEncoder, hvp, reference
from savi.models import language, z_at
from savi.nets import lstm
from savi.nets.tokens import END, Noise, by_length, masks, read, trimmed
from savi.testing import assert_close, seeds

V, E, H = 6, 3, 3
KINDS = [(drop, tied) for drop in (0.0, 0.4) for tied in (False, True)]


class Point:
    """A model of text and a point to evaluate it at; some words are hidden, and masks have seeds."""

    def __init__(self, drop, tied, seed=0, D=2, S=2, B=3, T=4, dtype=float, L=1):
        rng = np.random.default_rng(seed)
        self.decoder = LanguageDecoder(V, E, H, D, drop, tied, lstm_layers=L)
        self.model = LatentGaussianModel(self.decoder)
        self.theta = rng.uniform(-1, 1, self.decoder.size).astype(dtype)
        self.lam = rng.uniform(-1, 1, (B, 2 * D)).astype(dtype)
        self.noise = rng.standard_normal((S, B, D)).astype(dtype)
        self.plain = padded(rng.integers(0, V, (B, T)), rng.integers(1, T + 1, B))
        self.x = Noise(V, 0.5 if drop else 0.0, drop)(self.plain, rng)
        self.v = rng.uniform(-1, 1, self.lam.shape).astype(dtype)

    def objective(self):
        return self.model.objective(self.theta, self.x, 0.7)

    def loss(self, lam, theta):
        return reference.loss(self.model, lam, theta, self.x, self.noise, 0.7)


def padded(x, lengths):
    return np.where(np.arange(x.shape[1]) < lengths[:, None], x, -1)


points = st.builds(
    lambda kind, seed, D, S, B, T, L: Point(*kind, seed, D, S, B, T, L=L),
    st.sampled_from(KINDS), seeds, st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 3),
)  # fmt: skip


@given(points)
@settings(max_examples=60)
def test_loss_and_gradients_are_autograds(p):
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    d_lam, d_theta = autograd.grad(lambda lam, theta: anp.sum(p.loss(lam, theta)), (0, 1))(p.lam, p.theta)
    assert_close(e.loss, p.loss(p.lam, p.theta), 1e-10, 0, "loss")
    assert_close(e.d_lam, d_lam, 1e-9, 1e-12, "d lam")
    assert_close(f.theta_sum().add(e).value(), d_theta, 1e-9, 1e-12, "d theta")


@given(points, seeds)
@settings(max_examples=40)
def test_exact_products_are_autograds_and_the_complex_steps(p, seed):
    f, weights = p.objective(), np.random.default_rng(seed).uniform(-2, 2, len(p.x))
    e = f.evaluate(p.lam, p.noise)
    exact = hvp.product(f, e, p.v)
    for method, rtol in (("autograd", 1e-8), ("complex", 1e-10)):
        judge = hvp.product(f, e, p.v, method)
        assert_close(exact.lam, judge.lam, rtol, 1e-12, "H_ll v")
        actual, expected = (f.theta_sum().add(product, weights).value() for product in (exact, judge))
        assert_close(actual, expected, rtol, 1e-12, "H_tl v")


def encode(encoder, phi, x):
    """The encoder in autograd: an affine map of the last state, or of the mean of the states."""
    words = read(x, V).words
    states = encoder.lstm.reference(phi[: encoder.lstm.size], np.where(words < 0, V, words))
    n = (words >= 0).sum(axis=0)
    of = [(t == n - 1) if encoder.state == "last" else (t < n) / n for t in range(len(words))]
    return encoder.net.reference(phi[encoder.lstm.size :], sum(w[:, None] * h for w, h in zip(of, states)))


@given(points, st.sampled_from(["last", "mean"]))
@settings(max_examples=40)
def test_an_encoder_reads_all_words_and_its_gradient_is_autograds(p, state):
    encoder, rng = LSTMEncoder(V, E, H, 4, state), np.random.default_rng(0)
    phi, d = rng.uniform(-1, 1, encoder.size), rng.uniform(-1, 1, (len(p.x), 4))
    record = encoder.evaluate(phi, p.x)
    assert_close(record.output, encode(encoder, phi, p.plain), 1e-12, 1e-13, "output")
    judge = autograd.grad(lambda phi: anp.sum(d * encode(encoder, phi, p.plain)))(phi)
    assert_close(encoder.gradient(phi, record, d), judge, 1e-9, 1e-12, "d phi")


@pytest.mark.parametrize("drop, tied", KINDS)
@pytest.mark.parametrize("K", [0, 1, 3])
def test_sa_vae_on_text_is_autograd_through_the_loop(drop, tied, K):
    p, encoder, rng = Point(drop, tied), LSTMEncoder(V, E, H, 4, "mean"), np.random.default_rng(1)
    phi, noise = rng.uniform(-1, 1, encoder.size), rng.standard_normal((K + 1, 2, 3, 2))
    found = SAVAE(encoder, K, 0.05, 0.5).gradient(p.model, p.theta, phi, p.x, noise=noise)

    def through(theta, phi):
        lam, v = encode(encoder, phi, p.x), 0.0
        f = lambda lam, e: reference.loss(p.model, lam, theta, p.x, e)  # noqa: E731
        for e in noise[:-1]:
            v = 0.5 * v - autograd.grad(lambda lam: anp.sum(f(lam, e)))(lam)  # noqa: B023
            lam = lam + 0.05 * v
        return anp.sum(f(lam, noise[-1]))

    d_theta, d_phi = autograd.grad(through, (0, 1))(p.theta, phi)
    assert_close(found[1], d_theta, 1e-8, 1e-12, "d theta")
    assert_close(found[2], d_phi, 1e-8, 1e-12, "d phi")


# --- what x carries ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_a_hidden_word_is_predicted_and_read_as_unknown(tied):
    """Its own prediction stands; from the next word on it is as if <unk> had been there."""
    p = Point(0.0, tied, B=1)
    log_p = lambda x: p.decoder.reference(p.theta, p.lam[None, :, :2], np.array([x]))[0, 0]  # noqa: E731
    shown = log_p([3, 4, 2]) - log_p([3, 4]) - (log_p([3, 1, 2]) - log_p([3, 1]))
    assert abs(shown) > 1e-3
    hidden = log_p([3, 4 + V, 2]) - log_p([3, 4]) - (log_p([3, 1, 2]) - log_p([3, 1]))
    assert abs(hidden) < 1e-12


def test_a_seed_without_dropout_changes_nothing_and_a_mask_is_its_own_sequences():
    p = Point(0.4, False)
    plain = Point(0.0, False)
    f, g = plain.model.objective(p.theta, p.x), plain.model.objective(p.theta, p.x[:, 1:])
    assert np.array_equal(f.loss(p.lam, p.noise), g.loss(p.lam, p.noise))
    whole = p.model.objective(p.theta, p.x).loss(p.lam, p.noise)
    for b in range(3):
        alone = p.model.objective(p.theta, p.x[b : b + 1]).loss(p.lam[b : b + 1], p.noise[:, b : b + 1])
        assert_close(alone, whole[b : b + 1], 1e-12, 0, "a row by itself")
    assert not np.allclose(whole, p.model.objective(p.theta, p.x[:, 1:]).loss(p.lam, p.noise))


def test_masks_have_mean_one_and_drop_so_many():
    found = masks(np.arange(50), 40, 30, 0.25, np.float32)
    assert found.dtype == np.float32 and set(np.unique(found)) == {0, np.float32(1 / 0.75)}
    assert abs(found.mean() - 1) < 0.01
    np.testing.assert_array_equal(masks(np.arange(50), 50, 30, 0.25, np.float32)[:40], found)


def test_noise_hides_words_and_gives_seeds_that_single_precision_holds():
    x, rng = padded(np.tile(np.arange(5), (2000, 1)), np.full(2000, 4)), np.random.default_rng(0)
    made = Noise(V, 0.3, True)(x, rng).astype(np.float32)
    words, hidden, drawn = read(made, V)
    np.testing.assert_array_equal(words.T, x)
    assert abs(hidden[:4].mean() - 0.3) < 0.02 and not hidden[4].any()
    assert len(np.unique(drawn)) > 1990 and drawn.min() >= 0
    assert Noise(V)(x, rng) is x


@given(seeds, st.integers(1, 40), st.integers(1, 9))
def test_minibatches_are_of_one_length_and_each_sequence_comes_once(seed, n, batch):
    rng = np.random.default_rng(seed)
    train = padded(np.zeros((n, 30), int), rng.integers(1, 31, n))
    order = by_length(train, batch, rng)
    assert sorted(order) == list(range(n))
    lengths = (train[order[: n // batch * batch]] >= 0).sum(axis=1).reshape(-1, batch)
    spread = (lengths.max(axis=1) - lengths.min(axis=1)).sum()
    assert spread <= 30 + 4 * len(lengths)


def test_columns_of_padding_alone_are_cut():
    x = np.array([[1, 2, -1, -1], [1, -1, -1, -1]])
    np.testing.assert_array_equal(trimmed(x), x[:, :2])
    np.testing.assert_array_equal(trimmed(x[:, 2:]), [[-1], [-1]])


@pytest.mark.parametrize(
    "x, message",
    [
        ([[2 * V]], f"whole numbers below {V}"),
        ([[-3, 1, -1, 2]], "padding"),
        ([[-3, 1], [2, 2]], "seeds"),
        ([[0.5]], "tokens"),
        ([[-3]], r"shape \(1, 0\)"),
    ],
)
def test_what_is_no_text_is_an_input_error(x, message):
    with pytest.raises(InputError, match=message):
        LatentGaussianModel(LanguageDecoder(V, E, H, 1)).objective(
            np.zeros(LanguageDecoder(V, E, H, 1).size), np.array(x)
        )


@pytest.mark.parametrize(
    "options", [{"drop": 1.0}, {"tied": True, "hidden": 4}, {"scale": -1}, {"z_scale": float("nan")}, {"latent": 1.5}]
)
def test_bad_settings_are_input_errors(options):
    with pytest.raises(InputError):
        LanguageDecoder(**{"vocabulary": V, "embedding": E, "hidden": H, "latent": 2} | options)


# --- the model ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_probabilities_of_all_sequences_sum_to_one(tied):
    p = Point(0.0, tied, S=1, B=1)
    every = np.array(np.meshgrid(range(V), range(V))).reshape(2, -1).T
    g = p.decoder.given(p.theta, every)
    log_p = g.log_px(g.forward(np.repeat(p.lam[None, :1, :2], len(every), axis=1)))
    assert abs(np.exp(log_p).sum() - 1) < 1e-12


def test_without_a_latent_variable_it_is_a_language_model():
    decoder = LanguageDecoder(V, E, H, 0)
    model, x = LatentGaussianModel(decoder), padded(np.arange(12).reshape(3, 4) % V, np.array([4, 2, 3]))
    theta = model.init(np.random.default_rng(0))
    loss, d_theta, _ = SVI(steps=0).gradient(model, theta, np.zeros(0), x, np.random.default_rng(0))
    judge = lambda theta: -decoder.reference(theta, np.zeros((1, 3, 0)), x)[0]  # noqa: E731
    assert_close(loss, judge(theta), 1e-12, 0, "NLL")
    assert_close(d_theta, autograd.grad(lambda theta: anp.sum(judge(theta)))(theta), 1e-9, 1e-12, "d theta")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("drop, tied", KINDS)
def test_dtype_in_is_dtype_out(drop, tied, dtype):
    p, encoder = Point(drop, tied, dtype=dtype), LSTMEncoder(V, E, H, 4)
    phi = encoder.init(np.random.default_rng(0), dtype)
    for method in ("exact", "complex"):
        arrays = SAVAE(encoder, 2, hvp=method).gradient(p.model, p.theta, phi, p.x, np.random.default_rng(0))
        assert [a.dtype for a in arrays] == [dtype] * 3
    assert p.model.init(np.random.default_rng(0), dtype).dtype == dtype


def test_initial_parameters_lie_in_the_stated_ranges():
    decoder = LanguageDecoder(40, 20, 30, 5, scale=0.1, z_scale=0.5)
    theta = decoder.init(np.random.default_rng(0))
    params, join, net = decoder.split(theta)
    embeddings, W = decoder.lstm.split(params)
    for narrow in (embeddings, W[:20], W[25:], join[-1], net):
        assert 0.09 < np.abs(narrow).max() <= 0.1
    for wide in (W[20:25], join[:-1]):
        assert 0.45 < np.abs(wide).max() <= 0.5


def test_every_method_trains_on_text_with_masks_and_hidden_words_and_judges_without():
    rng = np.random.default_rng(0)
    x = padded(rng.integers(0, V, (30, 6)), rng.integers(2, 7, 30))
    seen = []

    class Watched(LanguageDecoder):
        def check(self, theta, x):
            seen.append(x.shape[1] if x[0, 0] >= 0 else -1)
            super().check(theta, x)

    model, encoder = LatentGaussianModel(Watched(V, E, H, 2, drop=0.2)), LSTMEncoder(V, E, H, 4, "mean")
    data = savi.data.Dataset("text", x[:20], x[20:], x[20:], None, V, trimmed, None, Noise(V, 0.25, True), by_length)
    for method in (VAE(encoder), SVI(3), VAESVI(encoder, 3), VAESVI(encoder, 3, kl=True), SAVAE(encoder, 3)):
        seen.clear()
        result = savi.fit(model, method, data, epochs=1, batch=10, progress=False)
        training = [i for i, width in enumerate(seen) if width < 0]
        assert len(training) == 2 and training != [0, 1] and len(seen) > 4
        assert np.isfinite(result.history[-1]["valid_neg_elbo"])


# --- mutations: the checks of the products must fail ---------------------------------------------------------------------------

LINES = {
    "the mask is not in the output": (z_at.AtInput, "forward", "self._read(states.h)", "states.h"),
    "the mask is not in d h": (
        z_at.AtInput,
        "backward",
        "self._read(super(AtInput, self).backward(record))",
        "super(AtInput, self).backward(record)",
    ),
    "the mask is not in h_dot": (z_at.AtInput, "tangent", "self._read(states_dot.h)", "states_dot.h"),
    "the mask is not in R{d h}": (z_at.AtInput, "tangent", "self._read(d_h_dot)", "d_h_dot"),
    "c_0 does not move": (lstm, "_begin", "c[0] = start[:, H:]", "c[0] = 0 * start[:, H:]"),
    "c_0 moves x 1.001": (lstm, "_begin", "c[0] = start[:, H:]", "c[0] = 1.001 * start[:, H:]"),
    "d c_0 x 1.001": (lstm, "_ended", "[d_h, d_c]", "[d_h, 1.001 * d_c]"),
    "the words have one gradient": (language._TiedSum, "value", "+= net", "+= 0 * net"),
}


@pytest.mark.parametrize("name", LINES)
def test_autograd_catches_a_changed_line(name, monkeypatch):
    home, verb, old, new = LINES[name]
    source = textwrap.dedent(inspect.getsource(getattr(home, verb))).replace("super()", "super(AtInput, self)")
    assert source.count(old) == 1
    rooms = {z_at.AtInput: z_at, language._TiedSum: language}
    namespace = dict(vars(rooms.get(home, home)))
    exec(source.replace(old, new), namespace)
    monkeypatch.setattr(home, verb, namespace[verb])
    p = Point(0.4, True)
    h, h_theta = reference.hessian_products(p.loss, p.lam, p.theta, p.v)
    f = p.objective()
    e = f.evaluate(p.lam, p.noise)
    product = hvp.product(f, e, p.v)
    with pytest.raises(AssertionError, match="is off by"):
        assert_close(product.lam, h, 1e-8)
        assert_close(f.theta_sum().add(product).value(), h_theta, 1e-8)


def test_the_end_is_token_zero():
    assert END == 0
