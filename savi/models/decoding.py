"""Words out of a LanguageDecoder, one after the other, given z: sampled, the likeliest at each step, or the best that a beam finds.

A sequence ends with END, or after `length` tokens; what lies behind its end is -1. A step costs one step of the LSTM.
"""

import numpy as np

from ..engine import given
from ..nets.tokens import END


class Steps:
    """p(x_t | x_<t, z) of sequences that grow; z (B, D). state: [h, c] (B, 2H) before the next word, of each layer."""

    def __init__(self, decoder, theta, z):
        self.decoder, self.z = decoder, z
        self.lstm, join, self.output = decoder.split(theta)
        self.state = z @ join[:-1] + join[-1]

    def log_prob(self, tokens):
        """log p(next word) (B, V), nats, after tokens (B,) have been read; the first ones are the start token V."""
        over = self.decoder.lstm.over(self.lstm, tokens[None])
        record = over.forward(self.z[None] if self.z.size else None, self.state[None])
        self.state = over.end(record)
        out = self.decoder.net(self.output, record.h[0, 0])
        out = out - out.max(axis=1, keepdims=True)
        return out - np.log(np.exp(out).sum(axis=1, keepdims=True))

    def select(self, rows):
        """Go on with these rows alone, (n,), each as often as it is named."""
        self.state, self.z = self.state[rows], self.z[rows]


def sample(decoder, theta, z, rng, length, temperature=1.0):
    """Tokens x (B, length) given z (B, D), drawn from softmax(log p / temperature); at temperature 0 the likeliest at each step."""
    length, temperature = given.whole("length", length, 1), given.number("temperature", temperature, "[0, inf)")
    steps, x = Steps(decoder, theta, z), np.full((len(z), length), -1)
    before, going = np.full(len(z), decoder.lstm.vocabulary), np.ones(len(z), bool)
    for t in range(length):
        scores = steps.log_prob(before).astype(float)
        if temperature:
            scores = scores / temperature + rng.gumbel(size=scores.shape)
        before = scores.argmax(axis=1)
        x[going, t] = before[going]
        going &= before != END
    return x


def beam(decoder, theta, z, length, width=5):
    """Tokens x (B, length) given z (B, D): of each the likeliest sequence that a beam of so many finds, and log p(x | z) (B,)."""
    length, width = given.whole("length", length, 1), given.whole("width", width, 1)
    found = [_beam(decoder, theta, row, length, width) for row in z]
    x = np.full((len(z), length), -1)
    for row, (_, words) in zip(x, found):
        row[: len(words)] = words
    return x, np.array([score for score, _ in found])


def _beam(decoder, theta, z, length, width):
    """(log p, words) of one z (D,). What has ended is kept while what goes on may still become likelier."""
    steps, words, scores, best = Steps(decoder, theta, z[None]), np.zeros((1, 0), int), np.zeros(1), (-np.inf, ())
    for t in range(length):
        before = words[:, -1] if t else np.array([decoder.lstm.vocabulary])
        every = scores[:, None] + steps.log_prob(before)
        chosen = np.argsort(-every, axis=None, kind="stable")[:width]
        rows, tokens = np.unravel_index(chosen, every.shape)
        words, scores = np.concatenate([words[rows], tokens[:, None]], axis=1), every[rows, tokens]
        ended = (tokens == END) | (t == length - 1)
        if ended.any() and scores[ended].max() > best[0]:
            i = np.flatnonzero(ended)[scores[ended].argmax()]
            best = float(scores[i]), tuple(words[i])
        if ended.all() or scores[~ended].max() <= best[0]:
            break
        words, scores = words[~ended], scores[~ended]
        steps.select(rows[~ended])
    return best
