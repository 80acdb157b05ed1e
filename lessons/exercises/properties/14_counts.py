"""What should hold of counts: probabilities word by word, derivatives by the complex step, perplexity of known models."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds
from savi.testing import assert_close, check_gradient


def log_softmax(a):
    """By the definition, with the largest real part taken out; complex numbers pass."""
    a = a - a.real.max(axis=-1, keepdims=True)
    return a - np.log(np.exp(a).sum(axis=-1, keepdims=True))


def counts(seed, B=3, M=4):
    """(B, M) whole numbers, no row empty."""
    x = np.random.default_rng(seed).poisson(1.5, (B, M)).astype(float)
    x[:, 0] += 1
    return x


SEEDS = st.integers(0, 1000)


@holds("log_prob: the sum over all words of the log-probability of each", a="3 4", seed=SEEDS)
def log_prob_is_a_sum_over_words(student, a, seed):
    x, log_p = counts(seed), log_softmax(a)
    words = [[m for m in range(4) for _ in range(int(row[m]))] for row in x]
    expected = np.array([sum(log_p[b, m] for m in words[b]) for b in range(3)])
    assert_close(student.log_prob(a, x), expected, 1e-9, 1e-9, name="log_prob")


@holds("log_prob: finite where logits are large, and the same when all are moved alike", a="3 4", seed=SEEDS)
def log_prob_does_not_overflow(student, a, seed):
    x = counts(seed)
    assert_close(student.log_prob(a + 1e4, x), student.log_prob(a, x), 1e-6, 1e-6, name="log_prob with logits of 1e4")


@holds("error: the derivative of log_prob with respect to the logits", a="3 4", seed=SEEDS)
def error_is_the_derivative(student, a, seed):
    x = counts(seed)
    check_gradient(lambda a: (x * log_softmax(a)).sum(axis=-1), a, student.error(a, x), "complex", 1e-9, 1e-9)


@holds("perplexity: of a model that finds all M words equally likely, M", seed=SEEDS)
def perplexity_of_the_uniform_model(student, seed):
    x = counts(seed)
    nats = x.sum(axis=1) * np.log(4)
    assert_close(student.perplexity(nats, x), 4.0, 1e-9, name="perplexity")


@holds("perplexity: exp of all nats over all words, not a mean of documents", seed=SEEDS, nats="3")
def perplexity_is_per_word(student, seed, nats):
    x, nats = counts(seed), np.abs(nats)
    assert_close(student.perplexity(nats, x), np.exp(nats.sum() / x.sum()), 1e-9, name="perplexity")
