"""Encoders that are more than one net: lam_0 = enc(x; phi) of token sequences, [SA] 5.1, and of counts."""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..engine.memory import joined
from .base import Encoder
from .lstm_stack import lstm_of
from .mlp import MLP
from .tokens import read


class LSTMEncoder(Encoder):
    """lam (B, n) = [h, 1] [W; b], h the LSTM's state after the last token of x (B, T), or the mean of its states.

    state: "last" or "mean". layers: L LSTMs on top of each other, whose last one has the states. bidirectional: whether a second
    LSTM, of as many layers, reads x from its last token to its first; h is then both LSTMs', side by side (B, 2H). phi: the LSTM's
    parameters; the second one's but for the embeddings, which they share; [W; b] (H + 1, outputs) or (2H + 1, outputs). It reads x
    as tokens.py has it, words that are hidden from the decoder among the others.
    """

    def __init__(self, vocabulary, embedding, hidden, outputs, state="last", layers=1, bidirectional=False):
        self.state = given.one_of("state", state, ("last", "mean"))
        self.layers, self.bidirectional = given.whole("layers", layers, 1), bool(bidirectional)
        self.lstm = lstm_of(vocabulary, embedding, hidden, layers=self.layers)
        self.net = MLP([self.lstm.hidden * (1 + self.bidirectional), outputs], "identity")
        self.second = self.bidirectional * (self.lstm.size - self.lstm.words)  # parameters of the way back
        self.size, self.outputs = self.lstm.size + self.second + self.net.size, self.net.outputs

    def __repr__(self):
        sizes = f"{self.lstm.vocabulary}, {self.lstm.embedding}, {self.lstm.hidden}, {self.outputs}"
        more = [repr(self.state), f"layers={self.layers}", f"bidirectional={self.bidirectional}"]
        usual = [repr("last"), "layers=1", "bidirectional=False"]
        return f"LSTMEncoder({', '.join([sizes, *(m for m, u in zip(more, usual) if m != u)])})"

    def with_vocabulary(self, vocabulary):
        """This encoder of sequences of other tokens."""
        sizes = vocabulary, self.lstm.embedding, self.lstm.hidden, self.outputs
        return LSTMEncoder(*sizes, self.state, self.layers, self.bidirectional)

    def init(self, rng, dtype=np.float64):
        """phi (Q,)."""
        lstms = [self.lstm.init(rng, dtype)]
        if self.bidirectional:
            lstms.append(self.lstm.init(rng, dtype)[self.lstm.words :])
        return np.concatenate([*lstms, self.net.init(rng, dtype)])

    def split(self, phi):
        """([the parameters of each LSTM], [W; b] as a vector)."""
        size, words, end = self.lstm.size, self.lstm.words, self.lstm.size + self.second
        lstms = [phi[:size]]
        if self.bidirectional:
            lstms.append(np.concatenate([phi[:words], phi[size:end]]))
        return lstms, phi[end:]

    def evaluate(self, phi, x):
        """The record of one pass over x; its output is record.output (B, outputs). Raises InputError unless x are tokens."""
        tokens = read(x, self.lstm.vocabulary).words
        (lstms, net), weights = self.split(phi), self._weights(tokens, phi.dtype)
        passes = []
        for params, words in zip(lstms, (tokens, backwards(tokens))):
            over = self.lstm.over(params, words)
            passes.append((over, over.forward()))
        h = [np.einsum("tb,tbh->bh", weights, states.h[:, 0]) for _, states in passes]
        record = self.net.evaluate(net, np.concatenate(h, axis=1))
        record.passes, record.weights = passes, weights
        return record

    def _weights(self, tokens, dtype):
        """What each state counts (T, B): 1 for the last one, or 1 / length."""
        lengths = (tokens >= 0).sum(axis=0)
        if self.state == "mean":
            return ((tokens >= 0) / lengths).astype(dtype)
        return (np.arange(len(tokens))[:, None] == lengths - 1).astype(dtype)

    def gradient(self, phi, record, d_output):
        """d phi (Q,) from d output (B, outputs)."""
        net = self.split(phi)[1]
        d_net = self.net.gradient(net, record, d_output)
        d_h, d_lstms = d_output @ self.net.layers(net)[0][:-1].T, []
        for (over, states), part in zip(record.passes, np.split(d_h, len(record.passes), axis=1)):
            by_step = record.weights[:, None, :, None] * part
            over.backward(states, by_step.astype(states.h.dtype, copy=False))
            d_lstms.append(over.param_sum().add(states).value())
        if self.bidirectional:
            words = self.lstm.words
            d_lstms[0][:words] += d_lstms[1][:words]
            d_lstms[1] = d_lstms[1][words:]
        return joined([*d_lstms, d_net])


def backwards(tokens):
    """Tokens (T, B), each sequence from its last one to its first, padding behind them as it was."""
    lengths, t = (tokens >= 0).sum(axis=0), np.arange(len(tokens))[:, None]
    return np.where(t < lengths, np.take_along_axis(tokens, np.maximum(lengths - 1 - t, 0), axis=0), tokens)


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
