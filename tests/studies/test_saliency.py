"""Saliency of words: Algorithm 1's backward loop for another loss, gradients of single places, what they go with."""

import autograd
import numpy as np
import pytest

from savi.inference.svi import ascend
from savi.models.language import LanguageDecoder
from savi.models.latent_gaussian import LatentGaussianModel
from savi.nets.encoders import LSTMEncoder
from savi.studies import saliency

V, D, STEP = 7, 2, (0.2, 0.5, 1.0)
X = np.array([[2, 3, 4, 5, 0], [6, 3, 0, -1, -1]])


@pytest.fixture
def model():
    return LatentGaussianModel(LanguageDecoder(V, 3, 4, D))


def drawn(size, seed=0):
    return 0.5 * np.random.default_rng(seed).standard_normal(size)


def test_the_mean_is_pulled_back_through_the_steps(model):
    theta, lam_0 = drawn(model.size), drawn((2, 2 * D), 1)
    rng = np.random.default_rng(2)
    noise = [model.draw_noise(rng, 1, 2, theta.dtype) for _ in range(4)]

    def size(lam):
        lam_K = ascend(model.objective(theta, X), lam, noise, *STEP)
        return np.linalg.norm(lam_K[:, :D], axis=1).sum()

    f = model.objective(theta, X)
    f.reserve(4)
    lam_K, lam_bar = saliency.pulled_back(f, lam_0, noise, saliency.size_of_mean, *STEP)
    np.testing.assert_allclose(np.linalg.norm(lam_K[:, :D], axis=1).sum(), size(lam_0), rtol=1e-12)
    for i in np.ndindex(lam_0.shape):
        moved = np.zeros_like(lam_0)
        moved[i] = 1e-5
        slope = (size(lam_0 + moved) - size(lam_0 - moved)) / 2e-5
        np.testing.assert_allclose(lam_bar[i], slope, rtol=2e-6, atol=1e-8)


def test_a_mean_of_zero_has_no_direction():
    assert not saliency.size_of_mean(np.zeros((1, 2 * D))).any()


@pytest.mark.parametrize("layers, bidirectional", [(1, False), (2, True)])
@pytest.mark.parametrize("state", ["last", "mean"])
def test_the_input_side_is_the_encoders_gradient_where_no_word_stands_twice(state, layers, bidirectional):
    encoder, bar = LSTMEncoder(V, 3, 4, 2 * D, state, layers, bidirectional), drawn((2, 2 * D), 3)
    phi = drawn(encoder.size, 4)
    found = saliency.of_inputs(encoder, phi, X, bar)
    for row, bar_b, one in zip(X, bar, found):
        words = row[row >= 0]
        d_phi = encoder.gradient(phi, encoder.evaluate(phi, words[None]), bar_b[None])
        rows = d_phi[: encoder.lstm.words].reshape(-1, 3)[words]
        np.testing.assert_allclose(one, np.linalg.norm(rows, axis=1), rtol=1e-10)


def test_a_word_that_stands_twice_has_two_places():
    encoder, bar, twice = LSTMEncoder(V, 3, 4, 2 * D), drawn((1, 2 * D), 3), np.array([[3, 3]])
    phi = drawn(encoder.size, 4)
    one, two = saliency.of_inputs(encoder, phi, twice, bar)[0]
    assert one > 0 and two > 0 and abs(one - two) > 1e-4


def test_the_output_side_is_each_words_own_gradient(model):
    decoder, theta, z = model.decoder, drawn(model.size), drawn((2, D), 5)
    found = saliency.of_outputs(decoder, theta, X, z)
    assert [len(one) for one in found] == [5, 3]
    for row, z_b, one in zip(X, z, found):
        for t in range(len(one)):

            def log_p(at, t=t, row=row):
                up_to = decoder.reference(theta, at[None, None], row[None, : t + 1])
                return (up_to - (decoder.reference(theta, at[None, None], row[None, :t]) if t else 0)).sum()

            np.testing.assert_allclose(one[t], np.linalg.norm(autograd.grad(log_p)(z_b)), rtol=1e-8)


@pytest.mark.parametrize("from_the_end", [True, False])
def test_effects_are_told_apart_at_the_same_place(from_the_end):
    rng = np.random.default_rng(6)
    spelled, counts = ("</s>", "the", "array", "shape"), np.array([50, 90, 5, 9])
    x = [rng.integers(0, 4, 20 + n % 5) for n in range(200)]
    described = [saliency.features(row, counts, spelled) for row in x]
    assert described[0].shape == (20, 2) and (described[0][:, 0] == (x[0] >= 2)).all()
    np.testing.assert_allclose(described[0][:, 1], np.log(1 + counts[x[0]]))
    places = [np.arange(len(row))[:: -1 if from_the_end else 1] for row in x]
    made = [each @ [0.5, -0.1] + 1 + 9 * np.exp(-place) for each, place in zip(described, places)]
    y, X = np.concatenate([y / y.mean() for y in made]), np.concatenate(described)
    for place in np.unique(np.concatenate(places)):  # partialled out, as Frisch and Waugh 1933 have it
        there = np.concatenate(places) == place
        y[there], X[there] = y[there] - y[there].mean(), X[there] - X[there].mean(axis=0)
    found = saliency.effects(made, described, from_the_end)
    np.testing.assert_allclose(found, np.linalg.solve(X.T @ X, X.T @ y), rtol=1e-8)
    assert found[0] > 0.2 and found[1] < 0


def test_the_share_of_the_last_words():
    assert saliency.share_of_last([np.ones(10), np.array([0.0, 0, 0, 1, 3])], 1) == pytest.approx((0.1 + 0.75) / 2)
