"""An n-gram model with interpolated Kneser-Ney smoothing: what counting knows about text, without a latent variable.

    p_n(w | context) = max(c_n(context w) - D_n, 0) / c_n(context) + D_n t_n(context) / c_n(context) p_{n-1}(w | shorter context)

c_n of the longest grams are their counts, those of shorter ones the number of distinct words in front of them; c_n(context) is
the sum over w, t_n(context) the number of w with c_n > 0; D_n = n_1 / (n_1 + 2 n_2), n_k the grams with c_n = k. Where a context
is new, p_n is p_{n-1}; p_0 = 1 / V.   Kneser & Ney 1995; Chen & Goodman 1998
"""

import numpy as np

from ..engine import given
from ..nets.tokens import check_tokens


class KneserNey:
    """p(x_t | x_{t-order+1} .. x_{t-1}) from token sequences x (N, T), padding negative; what stands before a sequence is V.

    vocabulary: V. order: words in the longest gram, the predicted one among them; 1 is a smoothed unigram.
    """

    def __init__(self, train, vocabulary, order=3):
        self.vocabulary, self.order = given.whole("vocabulary", vocabulary, 1), given.whole("order", order, 1)
        check_tokens(np.asarray(train), vocabulary)
        grams, counts = np.unique(self._grams(train)[np.asarray(train) >= 0], return_counts=True)
        self.levels = []
        for n in range(self.order, 0, -1):
            self.levels.insert(0, _Level(grams, counts, self.vocabulary + 1))
            grams, counts = np.unique(grams % (self.vocabulary + 1) ** (n - 1), return_counts=True)

    def _grams(self, x):
        """The gram that ends with each token, (N, T): its words as the digits of a number in base V + 1."""
        x = np.asarray(x).astype(np.int64)
        base, codes = self.vocabulary + 1, np.zeros_like(x)
        before = np.pad(x, ((0, 0), (self.order - 1, 0)), constant_values=self.vocabulary)
        for k in range(self.order):
            codes = codes * base + before[:, k : k + x.shape[1]]
        return codes

    def log_prob(self, x):
        """log p(x) (N,), nats: the sum over a sequence's tokens."""
        x = np.asarray(x)
        check_tokens(x, self.vocabulary)
        codes, p = self._grams(x), np.full(x.shape, 1 / self.vocabulary)
        for n, level in enumerate(self.levels, 1):
            p = level.interpolated(codes % (self.vocabulary + 1) ** n, p)
        return np.where(x >= 0, np.log(p), 0).sum(axis=1)


class _Level:
    """Grams of one length with c_n, and of each context its sum and the number of its words."""

    def __init__(self, grams, counts, base):
        self.grams, self.counts, self.base = grams, counts, base
        self.contexts, first = np.unique(grams // base, return_index=True)
        self.totals, self.types = np.add.reduceat(counts, first), np.diff([*first, len(grams)])
        once, twice = ((counts == k).sum() for k in (1, 2))
        self.discount = once / (once + 2 * twice) if once else 0.5

    def interpolated(self, codes, below):
        """p_n of grams (...,), from p_{n-1} of the same words."""
        c, total, types = (
            _found(keys, values, at)
            for keys, values, at in (
                (self.grams, self.counts, codes),
                (self.contexts, self.totals, codes // self.base),
                (self.contexts, self.types, codes // self.base),
            )
        )
        share = (np.maximum(c - self.discount, 0) + self.discount * types * below) / np.maximum(total, 1)
        return np.where(total > 0, share, below)


def _found(keys, values, at):
    """The values of sorted keys at `at` (...,), 0 where there is no such key."""
    i = np.minimum(np.searchsorted(keys, at), len(keys) - 1)
    return np.where(keys[i] == at, values[i], 0)
