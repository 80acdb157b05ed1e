"""What a batch of token sequences x (B, T) says beside its words, in numbers that no word has.

    0 <= x < V      a word
    V <= x < 2V     the word x - V, which is predicted but not shown to the step after it (word dropout, Bowman et al. 2016)
    x < 0           padding behind a sequence's end; in the first column, where there is none: -1 - the seed of a dropout mask

So a gradient stays a function of x, with whatever is drawn anew for a minibatch: x carries it. Whole numbers up to 2^24
are exact in single precision. Tokens 0 and 1 are a sequence's end and an unknown word.
"""

from typing import NamedTuple

import numpy as np

from ..engine import given
from ..engine.files import InputError

END, UNKNOWN = 0, 1
SEEDS = 1 << 23


class Tokens(NamedTuple):
    """words (T, B), negative where there is padding; hidden (T, B): those that are not shown; seeds (B,), or None."""

    words: np.ndarray
    hidden: np.ndarray
    seeds: np.ndarray | None


def read(x, vocabulary):
    """The Tokens of x (B, T), or (B, 1 + T) with seeds. Raises InputError unless x is what this room's first lines say."""
    seeds = None
    if x.ndim == 2 and x.size and x[0, 0] < 0:
        seeds, x = -1 - x[:, 0].astype(np.int64), x[:, 1:]
        if seeds.min() < 0:
            raise InputError("x has seeds of masks in some rows of its first column; expected them in all, or in none")
    check_tokens(x, vocabulary, 2)
    tokens = x.T.astype(np.int64)
    hidden = tokens >= vocabulary
    return Tokens(tokens - vocabulary * hidden, hidden, seeds)


def check_tokens(x, vocabulary, times=1):
    """Raises InputError unless x (B, T) are tokens below `times` the vocabulary's size, negative ones only behind them."""
    if x.ndim != 2 or not x.size:
        raise InputError(f"x has shape {x.shape}; token sequences need (B, T), both >= 1")
    if not np.all(x == np.floor(x)) or x.max() >= times * vocabulary:
        raise InputError(
            f"x has values from {x.min():g} to {x.max():g}; expected tokens, whole numbers below {vocabulary}"
        )
    padding = x < 0
    if padding[:, 0].any() or np.any(padding[:, :-1] & ~padding[:, 1:]):
        raise InputError("x has padding (negative tokens) before a token; expected it only behind a sequence's end")


def sums_by_token(tokens, rows):
    """(the tokens (n,) that occur in tokens (N,), each once; the sum of the rows of each, (n, .)) of rows (N, .).

    Equal tokens are brought to lie together. Most occur once, so that what remains is a sum for each of a few.
    """
    order = np.argsort(tokens, kind="stable")
    seen, first, count = np.unique(tokens[order], return_index=True, return_counts=True)
    rows = rows[order]
    sums = rows[first]
    for i in np.flatnonzero(count > 1):
        np.add.reduce(rows[first[i] : first[i] + count[i]], out=sums[i])
    return seen, sums


def trimmed(x, rng=None):
    """x (B, T) without the columns at its end that are padding in every row: the `prepare` of sequences."""
    return x[:, : max(int((x >= 0).any(axis=0).sum()), 1)]


BUCKET = 4  # lengths that count as one


def by_length(train, batch, rng):
    """The order (N,) of an epoch in which a minibatch's sequences are of about one length: the `order` of sequences.

    Minibatches are whole but for the last one, and come in any order.
    """
    order = rng.permutation(len(train))
    order = order[np.argsort((train[order] >= 0).sum(axis=1) // BUCKET, kind="stable")]
    whole = len(train) // batch * batch
    left = rng.choice(len(train), len(train) - whole, replace=False)  # of any length, for the last one
    rest = np.delete(order, left)
    return np.concatenate([rng.permutation(rest.reshape(-1, batch)).ravel(), order[left]])


class Noise:
    """What training alone does to a minibatch: the `disturb` of a data set of sequences.

    words: the probability that a word is not shown to the step after it; masks: whether each sequence gets the seed of a
    dropout mask; vocabulary: V.
    """

    def __init__(self, vocabulary, words=0.0, masks=False):
        self.vocabulary, self.masks = given.whole("vocabulary", vocabulary, 1), bool(masks)
        self.words = given.number("words", words, "[0, 1)")

    def __repr__(self):
        return f"Noise({self.vocabulary}, words={self.words}, masks={self.masks})"

    def __call__(self, x, rng):
        """x (B, T) -> (B, T), or (B, 1 + T) with seeds."""
        if self.words:
            x = x + self.vocabulary * ((x >= 0) & (rng.random(x.shape) < self.words))
        if self.masks:
            x = np.concatenate([-1 - rng.integers(0, SEEDS, (len(x), 1)), x], axis=1)
        return x


def masks(seeds, length, units, drop, dtype):
    """Dropout masks (length, B, units): 0 with probability `drop`, else 1 / (1 - drop); each sequence's from its own seed."""
    kept = np.empty((length, len(seeds), units), dtype)
    for b, seed in enumerate(seeds):
        kept[:, b] = np.random.Generator(np.random.PCG64(seed)).random((length, units), np.float32) >= drop
    return kept / np.dtype(dtype).type(1 - drop)
