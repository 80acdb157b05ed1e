"""Words out of a language model against every sequence there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import InputError, LanguageDecoder
from savi.models.decoding import beam, sample
from savi.nets.tokens import END
from savi.testing import assert_close, seeds

V, LENGTH = 4, 4


def point(seed, D=2, B=2, tied=False, scale=2.0, L=1):
    rng = np.random.default_rng(seed)
    decoder = LanguageDecoder(V, 3, 3, D, tied=tied, lstm_layers=L)
    return decoder, rng.uniform(-scale, scale, decoder.size), rng.standard_normal((B, D))


def every_sequence():
    """All that end with END or have LENGTH tokens, (n, LENGTH), -1 behind."""
    found = set()
    for words in itertools.product(range(V), repeat=LENGTH):
        end = words.index(END) + 1 if END in words else LENGTH
        found.add(words[:end] + (-1,) * (LENGTH - end))
    return np.array(sorted(found))


EVERY = every_sequence()


def log_p(decoder, theta, z, x):
    """log p(x | z) (n,) of one z (D,) by the decoder as it is trained."""
    return decoder.reference(theta, np.tile(z, (1, len(x), 1)), x)[0]


@given(seeds, st.integers(0, 2), st.booleans(), st.integers(1, 2))
@settings(max_examples=15, deadline=None)
def test_a_wide_beam_finds_the_likeliest_of_all(seed, D, tied, L):
    decoder, theta, z = point(seed, D, tied=tied, L=L)
    x, found = beam(decoder, theta, z, LENGTH, V**LENGTH)
    for row, score, z_b in zip(x, found, z):
        every = log_p(decoder, theta, z_b, EVERY)
        assert_close(np.exp(every).sum(), 1.0, 1e-12)
        assert_close(score, every.max(), 1e-10, 0, "log p")
        assert_close(log_p(decoder, theta, z_b, row[None])[0], every.max(), 1e-10, 0, "log p of the words")


@given(seeds, st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_a_beams_score_is_its_words_and_a_beam_of_one_is_greedy(seed, width):
    decoder, theta, z = point(seed)
    x, found = beam(decoder, theta, z, LENGTH, width)
    greedy = sample(decoder, theta, z, None, LENGTH, 0)
    for b in range(len(z)):
        assert_close(found[b], log_p(decoder, theta, z[b], x[b : b + 1])[0], 1e-10)
    np.testing.assert_array_equal(beam(decoder, theta, z, LENGTH, 1)[0], greedy)


def test_greedy_takes_the_likeliest_word_at_each_step():
    decoder, theta, z = point(3)
    for row, z_b in zip(sample(decoder, theta, z, None, LENGTH, 0), z):
        for t in range((row >= 0).sum()):
            tries = np.array([[*row[:t], w] for w in range(V)])
            assert log_p(decoder, theta, z_b, tries).argmax() == row[t]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_have_the_models_frequencies(temperature):
    decoder, theta, z = point(1, B=1, scale=1.0)
    n = 20_000
    x = decoder.sample(theta, np.repeat(z, n, axis=0), np.random.default_rng(0), 2, temperature)
    tries = np.array([[a, b] for a in range(V) for b in range(V)])
    steps = [log_p(decoder, theta, z[0], np.arange(V)[:, None]) / temperature]
    steps.append(log_p(decoder, theta, z[0], tries).reshape(V, V) / temperature - steps[0][:, None])
    first = np.exp(steps[0]) / np.exp(steps[0]).sum()
    second = np.exp(steps[1]) / np.exp(steps[1]).sum(axis=1, keepdims=True)
    for a in range(1, V):
        for b in range(V):
            p = first[a] * second[a, b]
            assert abs(((x == [a, b]).all(axis=1)).sum() - n * p) < 5 * np.sqrt(n * p * (1 - p))
    assert abs((x[:, 0] == END).sum() - n * first[END]) < 5 * np.sqrt(n * first[END])
    assert (x[x[:, 0] == END, 1] == -1).all()


@pytest.mark.parametrize(
    "call", [lambda *a: sample(*a, None, 0), lambda *a: beam(*a, 3, 0), lambda *a: sample(*a, None, 3, -1)]
)
def test_bad_lengths_are_input_errors(call):
    with pytest.raises(InputError):
        call(*point(0))
