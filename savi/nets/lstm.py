"""An LSTM over token sequences in closed form: forward, backward through time, summed parameter gradients.

    a_t = W^T [embedding of token t, extra, h_{t-1}, 1];   i, f, o = sigmoids of its parts,  g = tanh of the last
    c_t = f c_{t-1} + i g;   h_t = o tanh(c_t)              Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000

Tokens are whole numbers below the vocabulary's size V; V itself is the start token, and a negative number is padding
behind a sequence's end. Arrays are time-major, (T, S, B, ...): a step's rows lie together, and the only loop is over time.
Parameters are one flat vector: embeddings (V + 1, E) in C order, then W (E + X + H + 1, 4H), the bias its last row.

A pass is recorded as a net's is (nets.py): a cell is one layer, its input u = [embedding, extra, h, 1] and, after the
backward pass, its delta lie in blocks, so that W's gradient is one product for all steps of time and all passes of an
inner loop. The embeddings' gradient is each token's sum of deltas, times W's rows for the embedding.
"""

import numpy as np

from ..engine.blas import product
from ..engine.files import InputError
from .activations import sigmoid
from .mlp import MLP, ROWS_PER_BLOCK, ParamSum


class LSTM:
    """vocabulary: V tokens and the start token. embedding: E. hidden: H units. extra: X further inputs at each step."""

    def __init__(self, vocabulary, embedding, hidden, extra=0):
        sizes = vocabulary, embedding, hidden, extra
        if min(sizes[:3]) < 1 or extra < 0 or any(n % 1 for n in sizes):
            raise InputError(
                f"the LSTM has vocabulary, embedding, hidden and extra {sizes}; expected whole numbers >= 1, extra >= 0"
            )
        self.vocabulary, self.embedding, self.hidden, self.extra = map(int, sizes)
        self.cell = MLP([self.embedding + self.extra + self.hidden, 4 * self.hidden], "identity")
        self.words = (self.vocabulary + 1) * self.embedding  # parameters of the embeddings
        self.size = self.words + self.cell.size

    def __repr__(self):
        return f"LSTM({self.vocabulary}, {self.embedding}, {self.hidden}, {self.extra})"

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): embeddings of variance 1, W uniform with variance 1 / inputs, biases 0, the forget gate's 1."""
        params = np.zeros(self.size, dtype)
        embeddings, W = self.split(params)
        embeddings[...] = rng.standard_normal(embeddings.shape)
        W[:-1] = rng.uniform(-1, 1, W[:-1].shape) * np.sqrt(3 / (len(W) - 1))
        W[-1, self.hidden : 2 * self.hidden] = 1
        return params

    def split(self, params):
        """(embeddings (V + 1, E), W (E + X + H + 1, 4H)), views."""
        return params[: self.words].reshape(-1, self.embedding), params[self.words :].reshape(self.cell.shapes[0])

    def over(self, params, tokens, keep=1):
        """The LSTM at fixed parameters on fixed tokens (T, B); keep: passes that the caller will hold at a time."""
        return _Over(self, params, tokens, keep)


class _Over:
    """h_1 .. h_T as a function of the extra inputs and of h_0: what depends on the tokens alone is done once, here."""

    def __init__(self, lstm, params, tokens, keep):
        self.lstm, self.keep, self.dtype = lstm, keep, params.dtype
        # any token will do for padding: what follows it is never asked for
        self.tokens = np.where(tokens < 0, lstm.vocabulary, tokens)
        (T, B), E, X = tokens.shape, lstm.embedding, lstm.extra
        embeddings, W = lstm.split(params)
        self.W_words, self.W_extra, self.W_h = W[:E], W[E : E + X], W[E + X : -1]
        self.words = embeddings[self.tokens].reshape(T, 1, B, E)
        self.a_words = (self.words.reshape(T * B, E) @ self.W_words + W[-1]).reshape(T, 1, B, -1)
        self._blocks = {}

    def _new_record(self, rows, dtype):
        block = self._blocks.get((rows, dtype))
        if block is None or block.used == block.slots:
            slots = max(1, min(self.keep, ROWS_PER_BLOCK // rows))
            block = self._blocks[rows, dtype] = self.lstm.cell.block(rows, dtype, slots)
        return block.next_record()

    def forward(self, extra=None, h_0=None):
        """A record whose h is (T, S, B, H); extra (S, B, X), h_0 (S, B, H), zero when None; c_0 = 0."""
        given = [a for a in (extra, h_0) if a is not None]
        S, dtype = len(given[0]) if given else 1, np.result_type(self.dtype, *given)
        (T, B), E, X, H = self.tokens.shape, self.lstm.embedding, self.lstm.extra, self.lstm.hidden
        record = self._new_record(T * S * B, dtype)
        u = record.units[0].reshape(T, S, B, -1)
        record.gates = a = np.empty((T, S, B, 4 * H), dtype)
        a[...] = self.a_words
        u[..., :E] = self.words
        if X:
            a += extra @ self.W_extra
            u[..., E : E + X] = extra
        record.h, record.c, record.tanh_c = (np.zeros((n, S * B, H), dtype) for n in (T + 1, T + 1, T))
        if h_0 is not None:
            record.h[0] = h_0.reshape(S * B, H)
        h, c, room = record.h, record.c, np.empty((S * B, 4 * H), dtype)
        for t, a_t in enumerate(a.reshape(T, S * B, 4 * H)):
            if t or h_0 is not None:
                a_t += product(h[t], self.W_h, out=room)
            a_t[:, : 3 * H] = sigmoid(a_t[:, : 3 * H])
            np.tanh(a_t[:, 3 * H :], out=a_t[:, 3 * H :])
            i, f, o, g = _gates(a_t)
            np.multiply(f, c[t], out=c[t + 1])
            c[t + 1] += i * g
            np.tanh(c[t + 1], out=record.tanh_c[t])
            np.multiply(o, record.tanh_c[t], out=h[t + 1])
        u[..., E + X :] = h[:-1].reshape(T, S, B, H)
        record.h = h[1:].reshape(T, S, B, H)
        return record

    def backward(self, record, d_h):
        """(d extra (S, B, X), d h_0 (S, B, H)) from d h (T, S, B, H); completes the record's deltas."""
        T, S, B, H = record.h.shape
        deltas, gates = record.deltas[0].reshape(T, S * B, -1), record.gates.reshape(T, S * B, -1)
        d_h, W_back = d_h.reshape(T, S * B, H), self.W_h.T
        d_c, back = np.zeros((S * B, H), d_h.dtype), np.zeros((S * B, H), d_h.dtype)
        for t in range(T - 1, -1, -1):
            (i, f, o, g), (d_i, d_f, d_o, d_g) = _gates(gates[t]), _gates(deltas[t])
            d = d_h[t] + back  # from this step's output, and from the next step
            d_c += d * o * (1 - record.tanh_c[t] ** 2)
            d_i[...] = d_c * g * i * (1 - i)
            d_f[...] = d_c * record.c[t] * f * (1 - f)
            d_o[...] = d * record.tanh_c[t] * o * (1 - o)
            d_g[...] = d_c * i * (1 - g**2)
            d_c *= f
            back = product(deltas[t], W_back, out=back)
        d_extra = deltas.sum(axis=0) @ self.W_extra.T
        return d_extra.reshape(S, B, -1), back.reshape(S, B, H)

    def param_sum(self, dtype=None):
        return _LSTMSum(self, self.dtype if dtype is None else dtype)


class _LSTMSum:
    """sum_r w_r d params(record r), (size,); a weight is a number or one per row of a step (S * B,)."""

    def __init__(self, over, dtype):
        self.over, self.cell_sum, self.by_place = over, ParamSum(over.lstm.cell, dtype), 0.0

    def add(self, record, weight=1.0):
        T, S, B, _ = record.h.shape
        deltas = record.deltas[0].reshape(T, S * B, -1)
        self.cell_sum.add(record, weight if np.isscalar(weight) else np.tile(weight, T))
        weighted = deltas * (weight if np.isscalar(weight) else weight[:, None])
        self.by_place = self.by_place + weighted.reshape(T, S, B, -1).sum(axis=1)
        return self

    def value(self):
        """Deltas were added per place; now the places of a token are, so that W_words multiplies each token once."""
        lstm, W_words = self.over.lstm, self.over.W_words
        cell = self.cell_sum.value()
        words = np.zeros((lstm.vocabulary + 1, lstm.embedding), cell.dtype)
        if np.ndim(self.by_place):
            tokens = self.over.tokens.ravel()
            order = np.argsort(tokens, kind="stable")
            seen, first = np.unique(tokens[order], return_index=True)  # equal tokens lie together: a sum for each
            words[seen] = np.add.reduceat(self.by_place.reshape(len(tokens), -1)[order], first) @ W_words.T
        return np.concatenate([words.ravel(), cell])


def _gates(a):
    """[i, f, o, g] of (rows, 4H), views."""
    H = a.shape[1] // 4
    return a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]
