"""LSTMs on top of each other: each layer above the first reads the states of the one below it, word by word.

    h^1 = LSTM_1(tokens, extra);   h^l = LSTM_l(h^{l-1});   the output is h^L

A stack offers what an LSTM does (lstm.py), so that whoever has one may have the other. A layer above the first is an LSTM whose
tokens say nothing: their embeddings have no width, and the states of the layer below are its extra inputs at each step. Each
pass goes up through the layers, each way back down, and what is closed is the form of one layer.

Parameters are the first layer's, embeddings and all, then W (H + H + 1, 4H) of each further one.
"""

import numpy as np

from ..engine import given
from .lstm import LSTM


def lstm_of(vocabulary, embedding, hidden, extra=0, layers=1):
    """An LSTM, or a stack of several."""
    if given.whole("layers", layers, 1) == 1:
        return LSTM(vocabulary, embedding, hidden, extra)
    return LSTMStack(vocabulary, embedding, hidden, extra, layers)


class _Above(LSTM):
    """A layer whose tokens have embeddings of no width."""

    narrowest = 0


class LSTMStack:
    """vocabulary V, embedding E, hidden H units of each layer, extra X inputs of the first one, as of an LSTM; layers L."""

    def __init__(self, vocabulary, embedding, hidden, extra=0, layers=2):
        self.layers = [LSTM(vocabulary, embedding, hidden, extra)]
        self.layers += [_Above(vocabulary, 0, hidden, hidden) for _ in range(given.whole("layers", layers, 1) - 1)]
        first = self.layers[0]
        self.vocabulary, self.embedding, self.words = first.vocabulary, first.embedding, first.words
        self.hidden, self.extra = first.hidden, first.extra
        self.ends = np.cumsum([layer.size for layer in self.layers])
        self.size = int(self.ends[-1])

    def __repr__(self):
        return f"LSTMStack({self.vocabulary}, {self.embedding}, {self.hidden}, {self.extra}, {len(self.layers)})"

    def init(self, rng, dtype=np.float64):
        """Parameters (size,), each layer's as an LSTM draws them."""
        return np.concatenate([layer.init(rng, dtype) for layer in self.layers])

    def split(self, params):
        """(embeddings (V + 1, E), W of the first layer, W of the second, ...), views."""
        first, *upper = (layer.split(part) for layer, part in zip(self.layers, self._parts(params)))
        return *first, *(W for _, W in upper)

    def _parts(self, params):
        return [params[end - layer.size : end] for layer, end in zip(self.layers, self.ends)]

    def over(self, params, tokens):
        """The stack at fixed parameters on fixed tokens (T, B): an OverStack."""
        return OverStack([layer.over(part, tokens) for layer, part in zip(self.layers, self._parts(params))])

    def reference(self, params, tokens, extra=None, start=None):
        """The states h^L_1, h^L_2, ... in autograd.numpy; extra (S, B, X), the same at every step."""
        starts = [None] * len(self.layers)
        if start is not None:
            width = start.shape[-1] // len(self.layers)
            starts = [start[..., i * width : (i + 1) * width] for i in range(len(self.layers))]
        for layer, part, begin in zip(self.layers, self._parts(params), starts):
            extra = layer.reference(part, tokens, extra, begin)
        return extra


class OverStack:
    """h^L_1 .. h^L_T as a function of the extra inputs and of the start: of all layers, one after the other."""

    def __init__(self, overs):
        self.overs = overs

    def reserve(self, held):
        """Room for so many records that are held at a time."""
        for over in self.overs:
            over.reserve(held)

    def forward(self, extra=None, start=None):
        """A StackRecord whose h is (T, S, B, H); extra as of an LSTM; start (S, B, L * H) or (S, B, L * 2H), layer after layer."""
        records = []
        for over, begin in zip(self.overs, self._starts(start)):
            records.append(over.forward(extra, begin))
            extra = records[-1].h
        return StackRecord(records)

    def backward(self, record, d_h):
        """(d extra, d start) from d h (T, S, B, H); completes the record's deltas."""
        return self._down(lambda over, one, d: over.backward(one, d), record.layers, d_h)

    def tangent(self, record, extra_dot=None, start_dot=None):
        """A StackRecord for R{.}; extra_dot and start_dot as `forward` was given the two."""
        dots = []
        for over, one, begin in zip(self.overs, record.layers, self._starts(start_dot)):
            dots.append(over.tangent(one, extra_dot, begin))
            extra_dot = dots[-1].h
        return StackRecord(dots)

    def tangent_backward(self, record, dot, d_h_dot):
        """R{backward}: (R{d extra}, R{d start}) from R{d h} (T, S, B, H); completes dot's deltas."""
        pairs = zip(record.layers, dot.layers)
        return self._down(lambda over, pair, d: over.tangent_backward(*pair, d), list(pairs), d_h_dot)

    def end(self, record):
        """[h_T, c_T] of each layer, (S * B, L * 2H), with which a pass over what follows starts."""
        return np.concatenate([over.end(one) for over, one in zip(self.overs, record.layers)], axis=1)

    def param_sum(self, dtype=None):
        """A sum of parameter gradients (size,): add, add_tangent and value."""
        return _StackSum([over.param_sum(dtype) for over in self.overs])

    def _starts(self, start):
        return [None] * len(self.overs) if start is None else np.split(start, len(self.overs), axis=-1)

    def _down(self, back, records, d):
        """(what the first layer's inputs get, the starts' gradients side by side) of a way back through all layers."""
        d_starts = []
        for over, record in zip(reversed(self.overs), reversed(records)):
            d, d_start = back(over, record, d)
            d_starts.append(d_start)
        return d, np.concatenate(d_starts[::-1], axis=-1)


class StackRecord:
    """A pass: the record of each layer."""

    def __init__(self, layers):
        self.layers = layers

    @property
    def h(self):
        """The states of the last layer (T, S, B, H)."""
        return self.layers[-1].h

    def imaginary(self, moved, r):
        """The tangent record from `moved`, the pass at inputs with an imaginary part: it over r."""
        return StackRecord([one.imaginary(there, r) for one, there in zip(self.layers, moved.layers)])


class _StackSum:
    """sum_r w_r d params(record r), (size,), of all layers."""

    def __init__(self, sums):
        self.sums = sums

    def add(self, record, weight=1.0):
        for total, one in zip(self.sums, record.layers):
            total.add(one, weight)
        return self

    def add_tangent(self, record, dot, weight=1.0):
        for total, one, one_dot in zip(self.sums, record.layers, dot.layers):
            total.add_tangent(one, one_dot, weight)
        return self

    def value(self):
        return np.concatenate([total.value() for total in self.sums])
