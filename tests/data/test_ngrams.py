"""Kneser-Ney against a count by hand with dictionaries; probabilities sum to one."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi.data.ngrams import KneserNey
from savi.engine.files import InputError
from savi.testing import assert_close, seeds

V = 4


def corpus(seed, n=6, length=7, vocabulary=V):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, vocabulary, (n, length)) * rng.integers(0, 2, (n, length))  # 0 is common
    return np.where(np.arange(length) < rng.integers(1, length + 1, n)[:, None], x, -1)


def by_hand(train, order):
    """p(w | context) by the definition, with sets and dictionaries."""
    tops = Counter()
    for row in train:
        words = [V] * (order - 1) + [int(w) for w in row if w >= 0]
        tops.update(tuple(words[i - order + 1 : i + 1]) for i in range(order - 1, len(words)))
    counts = {order: tops}
    for n in range(order - 1, 0, -1):
        counts[n] = Counter(
            {g: len({h[0] for h in counts[n + 1] if h[1:] == g}) for g in {h[1:] for h in counts[n + 1]}}
        )

    def p(n, context, w):
        if n == 0:
            return 1 / V
        c = counts[n]
        of_context = [k for g, k in c.items() if g[:-1] == context]
        below = p(n - 1, context[1:], w)
        if not of_context:
            return below
        once, twice = (sum(k == i for k in c.values()) for i in (1, 2))
        discount = once / (once + 2 * twice) if once else 0.5
        return (max(c[(*context, w)] - discount, 0) + discount * len(of_context) * below) / sum(of_context)

    return lambda context, w: p(order, context, w)


@given(seeds, st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_it_is_the_definition(seed, order):
    train, x = corpus(seed), corpus(seed + 1, 3)
    p, model = by_hand(train, order), KneserNey(train, V, order)
    expected = []
    for row in x:
        words = [V] * (order - 1) + [int(w) for w in row if w >= 0]
        expected.append(sum(np.log(p(tuple(words[i - order + 1 : i]), words[i])) for i in range(order - 1, len(words))))
    assert_close(model.log_prob(x), expected, 1e-12, 0, "log p(x)")


@given(seeds, st.integers(1, 4))
@settings(max_examples=25)
def test_probabilities_sum_to_one_after_every_context(seed, order):
    model = KneserNey(corpus(seed), V, order)
    for length in range(1, 4):
        every = np.array(list(itertools.product(range(V), repeat=length)))
        assert abs(np.exp(model.log_prob(every)).sum() - 1) < 1e-12


def test_what_was_never_seen_has_a_probability_and_padding_none():
    model = KneserNey(np.array([[0, 1, 1, -1]]), 9, 3)
    assert np.isfinite(model.log_prob(np.array([[8, 8, 8]]))).all()
    assert model.log_prob(np.array([[0, 1, -1, -1]])) == model.log_prob(np.array([[0, 1]]))


def test_more_context_helps_where_there_is_some():
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.integers(1, 3, (300, 20)), axis=1) % 10
    losses = [-KneserNey(x[:200], 10, order).log_prob(x[200:]).mean() / 20 for order in (1, 2, 3)]
    assert losses[0] > 2.2 and losses[1] < 0.8 and losses[2] < 0.85


@pytest.mark.parametrize("train, options", [([[5]], {}), ([[-1, 2]], {}), ([[1]], {"order": 0}), ([[0.5]], {})])
def test_what_it_cannot_count_is_an_input_error(train, options):
    with pytest.raises(InputError):
        KneserNey(np.array(train), V, **options)
