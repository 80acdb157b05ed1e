"""LSTMs on top of each other and read both ways, against loops over single words in autograd, complex steps and one LSTM."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import SAVAE, InputError, LanguageDecoder, LatentGaussianModel, LSTMEncoder, hvp, reference
from savi.nets import encoders, lstm_stack
from savi.nets.encoders import backwards
from savi.nets.lstm import LSTM
from savi.nets.lstm_stack import LSTMStack, lstm_of
from savi.testing import assert_close, seeds

V, E, H = 5, 2, 3
KINDS = [(state, layers, ways) for state in ("last", "mean") for layers in (1, 2, 3) for ways in (False, True)]


def padded(rng, B, T):
    """Tokens (B, T) of different lengths."""
    return np.where(np.arange(T) < rng.integers(1, T + 1, (B, 1)), rng.integers(0, V, (B, T)), -1)


# --- an encoder, one word after the other ---------------------------------------------------------------------------------------


def states(params, first, L, words):
    """h^L_1, h^L_2, ... of one sequence by a stack with embeddings `first` (V + 1, E): the formulas, for one word at a time."""
    inputs = [first[word] for word in words]
    for layer in range(L):
        X = E if layer == 0 else H
        W, params = anp.reshape(params[: (X + H + 1) * 4 * H], (X + H + 1, 4 * H)), params[(X + H + 1) * 4 * H :]
        h, c, outputs = np.zeros(H), np.zeros(H), []
        for u in inputs:
            a = anp.dot(anp.concatenate([u, h]), W[:-1]) + W[-1]
            i, f, o = (1 / (1 + anp.exp(-a[k * H : (k + 1) * H])) for k in range(3))
            c = f * c + i * anp.tanh(a[3 * H :])
            h = o * anp.tanh(c)
            outputs.append(h)
        inputs = outputs
    return inputs


def encode(encoder, phi, x):
    """The encoder's output (B, outputs), a sequence at a time."""
    first = anp.reshape(phi[: (V + 1) * E], (V + 1, E))
    size = sum((X + H + 1) * 4 * H for X in [E] + [H] * (encoder.layers - 1))
    ways = 1 + encoder.bidirectional
    parts = [phi[(V + 1) * E + k * size : (V + 1) * E + (k + 1) * size] for k in range(ways)]
    W = anp.reshape(phi[(V + 1) * E + ways * size :], (ways * H + 1, -1))
    rows = []
    for row in x:
        words, h = row[row >= 0], []
        for part, read in zip(parts, (words, words[::-1])):
            each = states(part, first, encoder.layers, read)
            h.append(each[-1] if encoder.state == "last" else sum(each) / len(each))
        rows.append(anp.dot(anp.concatenate(h), W[:-1]) + W[-1])
    return anp.stack(rows)


@given(st.sampled_from(KINDS), seeds, st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_an_encoders_output_and_gradient_are_those_of_one_word_after_the_other(kind, seed, B, T):
    encoder, rng = LSTMEncoder(V, E, H, 4, *kind), np.random.default_rng(seed)
    phi, d, x = rng.uniform(-1, 1, encoder.size), rng.uniform(-1, 1, (B, 4)), padded(rng, B, T)
    record = encoder.evaluate(phi, x)
    assert record.output.shape == (B, 4)
    assert_close(record.output, encode(encoder, phi, x), 1e-12, 1e-13, "output")
    judge = autograd.grad(lambda phi: anp.sum(d * encode(encoder, phi, x)))(phi)
    assert_close(encoder.gradient(phi, record, d), judge, 1e-9, 1e-12, "d phi")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_encoders_gradient_is_the_complex_steps(kind):
    encoder, rng = LSTMEncoder(V, E, H, 4, *kind), np.random.default_rng(0)
    phi, u, x = rng.uniform(-1, 1, encoder.size), rng.standard_normal(encoder.size), padded(rng, 3, 4)
    d = rng.uniform(-1, 1, (3, 4))
    moved = encoder.evaluate(phi + 1e-20j * u, x).output.imag / 1e-20
    assert_close(encoder.gradient(phi, encoder.evaluate(phi, x), d) @ u, (d * moved).sum(), 1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_encoders_parameters_are_drawn_as_each_lstms_and_keep_their_precision(dtype):
    encoder, x = LSTMEncoder(V, E, H, 4, "mean", 2, True), np.array([[1, 2, -1], [0, 3, 4]])
    phi = encoder.init(np.random.default_rng(0), dtype)
    assert phi.shape == (encoder.size,) and phi.dtype == dtype
    (there, back), _ = encoder.split(phi)
    words = encoder.lstm.words
    assert np.array_equal(there[:words], back[:words]) and not np.isin(back[words:][back[words:] % 1 != 0], there).any()
    for params in (there, back):
        assert all(np.array_equal(W[-1], [0] * H + [1] * H + [0] * 2 * H) for W in encoder.lstm.split(params)[1:])
    record = encoder.evaluate(phi, x)
    assert record.output.dtype == encoder.gradient(phi, record, record.output).dtype == dtype


def test_backwards_turns_each_sequence_and_leaves_its_padding():
    x = np.array([[1, 2, 3, -1], [4, -1, -1, -1], [0, 1, 2, 3]])
    assert backwards(x.T).T.tolist() == [[3, 2, 1, -1], [4, -1, -1, -1], [3, 2, 1, 0]]
    assert np.array_equal(backwards(backwards(x.T)), x.T)


def test_the_repr_tells_encoders_apart_and_makes_them():
    found = [repr(LSTMEncoder(V, E, H, 4, *kind)) for kind in KINDS]
    assert len(set(found)) == len(KINDS) and found[0] == "LSTMEncoder(5, 2, 3, 4)"
    for text, kind in zip(found, KINDS):
        assert eval(text).size == LSTMEncoder(V, E, H, 4, *kind).size and repr(eval(text)) == text
    assert repr(LSTMEncoder(9, E, H, 4, "mean", 2, True)) == repr(eval(found[-3]).with_vocabulary(9))


# --- a stack ------------------------------------------------------------------------------------------------------------------


def test_a_stack_of_one_is_the_lstm_bit_for_bit():
    stack, one, rng = LSTMStack(V, E, H, 2, 1), LSTM(V, E, H, 2), np.random.default_rng(0)
    assert type(lstm_of(V, E, H, 2)) is LSTM and stack.size == one.size
    params = stack.init(np.random.default_rng(1))
    assert np.array_equal(params, one.init(np.random.default_rng(1)))
    tokens, extra = rng.integers(0, V, (4, 3)), rng.standard_normal((2, 3, 2))
    start, d_h = rng.standard_normal((2, 3, 2 * H)), rng.standard_normal((4, 2, 3, H))
    found = []
    for lstm in (stack, one):
        over = lstm.over(params, tokens)
        record = over.forward(extra, start)
        back = over.backward(record, d_h)
        dot = over.tangent(record, extra, start)
        back_dot = over.tangent_backward(record, dot, d_h)
        total = over.param_sum().add(record).add_tangent(record, dot, 0.3).value()
        found.append([record.h, *back, dot.h, *back_dot, total, over.end(record)])
    for a, b in zip(*found):
        assert a.shape == b.shape and np.array_equal(a, b)


@given(seeds, st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_a_layer_whose_inputs_change_at_each_step_has_autograds_gradients(seed, X, S, B, T):
    lstm, rng = LSTM(V, E, H, X), np.random.default_rng(seed)
    params, extra = rng.uniform(-1, 1, lstm.size), rng.standard_normal((T, S, B, X))
    tokens, d_h, start = rng.integers(0, V, (T, B)), rng.standard_normal((T, S, B, H)), rng.standard_normal((S, B, H))
    total = lambda params, *extra: sum(  # noqa: E731
        anp.sum(d * h) for d, h in zip(d_h, lstm.reference(params, tokens, list(extra), start))
    )
    over = lstm.over(params, tokens)
    record = over.forward(extra, start)
    assert_close((d_h * record.h).sum(), total(params, *extra), 1e-11, 1e-12)
    d_extra = over.backward(record, d_h)[0]
    judged = autograd.grad(total, tuple(range(T + 1)))(params, *extra)
    assert_close(d_extra, np.array(judged[1:]), 1e-9, 1e-12, "d extra")
    assert_close(over.param_sum().add(record).value(), judged[0], 1e-9, 1e-12, "d params")
    moved = over.forward(extra + 1e-20j * d_extra, start)
    assert_close(over.tangent(record, d_extra, 0 * start).h, moved.h.imag / 1e-20, 1e-11, 1e-13, "h_dot")


def test_each_layer_of_a_decoder_starts_where_z_says():
    """Its states begin as those of z's affine map: h_0 and c_0 of the second layer move what it says."""
    rng, decoder = np.random.default_rng(0), LanguageDecoder(V, E, H, 2, lstm_layers=2)
    theta, z, x = rng.uniform(-1, 1, decoder.size), rng.standard_normal((1, 3, 2)), padded(rng, 3, 4)
    a, b = decoder.offsets
    before = decoder.reference(theta, z, x)
    for column in range(4 * H):
        moved = theta.copy()
        moved[a:b].reshape(decoder.join_shape)[:, column] += 1.0
        assert np.abs(decoder.reference(moved, z, x) - before).min() > 1e-8
        given_x = decoder.given(moved, x)
        assert_close(given_x.log_px(given_x.forward(z)), decoder.reference(moved, z, x), 1e-12)


@pytest.mark.parametrize("recompute", [False, True])
def test_sa_vae_with_stacks_that_read_both_ways_is_autograd_through_the_loop(recompute):
    model, encoder = (
        LatentGaussianModel(LanguageDecoder(V, H, H, 2, 0.3, True, lstm_layers=2)),
        LSTMEncoder(V, E, H, 4, "mean", 2, True),
    )
    rng, K = np.random.default_rng(0), 2
    theta, phi, x = rng.uniform(-1, 1, model.size), rng.uniform(-1, 1, encoder.size), padded(rng, 3, 4)
    noise = rng.standard_normal((K + 1, 1, 3, 2))
    found = SAVAE(encoder, K, 0.05, 0.5, recompute=recompute).gradient(model, theta, phi, x, noise=noise)

    def through(theta, phi):
        lam, v = encode(encoder, phi, x), 0.0
        for e in noise[:-1]:
            v = 0.5 * v - autograd.elementwise_grad(lambda lam: reference.loss(model, lam, theta, x, e))(lam)  # noqa: B023
            lam = lam + 0.05 * v
        return anp.sum(reference.loss(model, lam, theta, x, noise[-1]))

    for name, ours, theirs in zip(("d theta", "d phi"), found[1:], autograd.grad(through, (0, 1))(theta, phi)):
        assert_close(ours, theirs, 1e-8, 1e-12, name)


def test_z_has_weights_of_its_own_size_in_every_start_and_in_the_first_layer_alone():
    decoder = LanguageDecoder(V, E, H, 2, scale=0.1, z_scale=0.5, lstm_layers=3)
    lstm, join, _ = decoder.split(decoder.init(np.random.default_rng(0)))
    _, first, *upper = decoder.lstm.split(lstm)
    assert join.shape == (3, 3 * 2 * H) and 0.45 < np.abs(join[:-1]).max() <= 0.5 and np.abs(join[-1]).max() <= 0.1
    assert 0.4 < np.abs(first[E : E + 2]).max() <= 0.5 and all(np.abs(W).max() <= 0.1 for W in upper)


def test_what_is_no_stack_is_refused():
    for made in (
        lambda: LanguageDecoder(V, E, H, 2, lstm_layers=0), lambda: LSTMEncoder(V, E, H, 4, layers=1.5),
        lambda: LSTMStack(V, E, H, 0, 0),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"layers is .*; expected a whole number"):
            made()
    with pytest.raises(InputError, match="embedding is 0"):
        LSTMStack(V, 0, H)


# --- mutations: the checks must fail ---------------------------------------------------------------------------------------------


def _products():
    """Of two layers, the products by closed forms against the complex step's."""
    rng, model = np.random.default_rng(0), LatentGaussianModel(LanguageDecoder(V, E, H, 2, lstm_layers=2))
    theta, x, (lam, v) = rng.uniform(-1, 1, model.size), padded(rng, 3, 4), rng.uniform(-1, 1, (2, 3, 4))
    loss = lambda lam, theta: reference.loss(model, lam, theta, x, noise)  # noqa: E731
    noise = rng.standard_normal((2, 3, 2))
    f, judged = model.objective(theta, x), reference.hessian_products(loss, lam, theta, v)
    product = hvp.product(f, f.evaluate(lam, noise), v)
    assert_close(product.lam, judged[0], 1e-9)
    assert_close(f.theta_sum().add(product).value(), judged[1], 1e-9)


STACK, SUM = lstm_stack.OverStack, lstm_stack._StackSum


@pytest.mark.parametrize("home, verb", [(STACK, "backward"), (STACK, "tangent_backward"), (STACK, "_starts")])
def test_the_products_check_catches_a_changed_way(home, verb, monkeypatch):
    _products()
    made = getattr(home, verb)
    monkeypatch.setattr(home, verb, lambda self, *a: tuple(1.001 * each for each in made(self, *a)))
    with pytest.raises(AssertionError, match="is off by"):
        _products()


def test_the_products_check_catches_a_layer_that_is_not_summed(monkeypatch):
    monkeypatch.setattr(
        SUM,
        "add_tangent",
        lambda self, record, dot, weight: self.sums[0].add_tangent(record.layers[0], dot.layers[0], weight),
    )
    with pytest.raises(AssertionError, match="is off by"):
        _products()


def test_the_encoders_check_catches_words_that_have_one_ways_gradient(monkeypatch):
    encoder, rng = LSTMEncoder(V, E, H, 4, "last", 1, True), np.random.default_rng(0)
    phi, d, x = rng.uniform(-1, 1, encoder.size), rng.uniform(-1, 1, (3, 4)), padded(rng, 3, 4)
    judge = autograd.grad(lambda phi: anp.sum(d * encode(encoder, phi, x)))(phi)
    monkeypatch.setattr(encoders, "backwards", lambda tokens: tokens)
    with pytest.raises(AssertionError, match="is off by"):
        assert_close(encoder.gradient(phi, encoder.evaluate(phi, x), d), judge, 1e-9)
