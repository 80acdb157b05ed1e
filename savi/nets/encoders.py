"""Encoders that are more than one net: lam_0 = enc(x; phi) of token sequences, [SA] 5.1, and of counts."""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..engine.memory import joined
from .base import Encoder
from .lstm import LSTM
from .mlp import MLP
from .tokens import read


class LSTMEncoder(Encoder):
    """lam (B, n) = [h, 1] [W; b], h the LSTM's state after the last token of x (B, T), or the mean of its states.

    phi: the LSTM's parameters, then [W; b] (H + 1, outputs). state: "last" or "mean". It reads x as tokens.py has it, words that
    are hidden from the decoder among the others.
    """

    def __init__(self, vocabulary, embedding, hidden, outputs, state="last"):
        self.state = given.one_of("state", state, ("last", "mean"))
        self.lstm, self.net = LSTM(vocabulary, embedding, hidden), MLP([hidden, outputs], "identity")
        self.size, self.outputs = self.lstm.size + self.net.size, self.net.outputs

    def __repr__(self):
        sizes = f"{self.lstm.vocabulary}, {self.lstm.embedding}, {self.lstm.hidden}, {self.outputs}"
        return f"LSTMEncoder({sizes}" + (")" if self.state == "last" else f", {self.state!r})")

    def init(self, rng, dtype=np.float64):
        """phi (Q,)."""
        return np.concatenate([self.lstm.init(rng, dtype), self.net.init(rng, dtype)])

    def evaluate(self, phi, x):
        """The record of one pass over x; its output is record.output (B, outputs). Raises InputError unless x are tokens."""
        tokens = read(x, self.lstm.vocabulary).words
        over = self.lstm.over(phi[: self.lstm.size], tokens)
        states, weights = over.forward(), self._weights(tokens, phi.dtype)
        record = self.net.evaluate(phi[self.lstm.size :], np.einsum("tb,tbh->bh", weights, states.h[:, 0]))
        record.over, record.states, record.weights = over, states, weights
        return record

    def _weights(self, tokens, dtype):
        """What each state counts (T, B): 1 for the last one, or 1 / length."""
        lengths = (tokens >= 0).sum(axis=0)
        if self.state == "mean":
            return ((tokens >= 0) / lengths).astype(dtype)
        return (np.arange(len(tokens))[:, None] == lengths - 1).astype(dtype)

    def gradient(self, phi, record, d_output):
        """d phi (Q,) from d output (B, outputs)."""
        net = phi[self.lstm.size :]
        d_net = self.net.gradient(net, record, d_output)
        d_h = record.weights[:, :, None] * (d_output @ self.net.layers(net)[0][:-1].T)
        record.over.backward(record.states, d_h[:, None].astype(record.states.h.dtype, copy=False))
        return joined([record.over.param_sum().add(record.states).value(), d_net])


class LogEncoder(Encoder):
    """enc(log(1 + x)) of counts x (B, V), which may be large; encoder: a net, or any encoder of vectors."""

    def __init__(self, encoder):
        self.encoder = given.thing("encoder", encoder)
        self.size, self.outputs, self.random = encoder.size, encoder.outputs, encoder.random
        self.init, self.gradient = encoder.init, encoder.gradient
        if self.random:
            self.masks = encoder.masks

    def __repr__(self):
        return f"LogEncoder({self.encoder!r})"

    def evaluate(self, phi, x, *masks):
        """The encoder's record of one pass over log(1 + x). Raises InputError where a count is negative."""
        if x.size and not x.min() >= 0:
            raise InputError(f"x has values from {x.min():g}; expected counts >= 0")
        return self.encoder.evaluate(phi, np.log1p(x), *masks)
