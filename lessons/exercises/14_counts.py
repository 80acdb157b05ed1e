"""Counts of words: the Multinomial's log-probability, its error, and perplexity.

x (B, M) are counts, n = sum of a row; a (B, M) are logits, the outputs of a decoder.
Fill in the functions, then:  python -m savi check 14
Everything is in nats. Arrays that you are given are read-only: return new ones.
"""

import numpy as np  # noqa: F401


def log_prob(a, x):
    """log p(x | a) = sum of x log softmax(a), one value per example, (B,); the count coefficient is left out.  [E9]"""
    raise NotImplementedError


def error(a, x):
    """The gradient of log_prob with respect to the logits, (B, M)."""
    raise NotImplementedError


def perplexity(nats, x):
    """exp of the nats per word, a number: nats (B,) = -log p(x) of documents with counts x (B, M), long ones weighing more.

    How many equally likely words a model is as uncertain about as it is about the next one.
    """
    raise NotImplementedError
