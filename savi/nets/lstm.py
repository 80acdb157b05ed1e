"""An LSTM over token sequences in closed form: forward, backward through time, summed parameter gradients.

    a_t = W^T [embedding of token t, extra, h_{t-1}, 1];   i, f, o = sigmoids of its parts,  g = tanh of the last
    c_t = f c_{t-1} + i g;   h_t = o tanh(c_t)              Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000

Tokens are whole numbers below the vocabulary's size V; V itself is the start token, and a negative number is padding
behind a sequence's end. Arrays are time-major, (T, S, B, ...): a step's rows lie together, and the only loop is over time.
Parameters are one flat vector: embeddings (V + 1, E) in C order, then W (E + X + H + 1, 4H), the bias its last row.

A pass is recorded as a net's is: a cell is one layer, its input u = [embedding, extra, h, 1] and, after the
backward pass, its delta lie in blocks, so that W's gradient is one product for all steps of time and all passes of an
inner loop. The embeddings' gradient is each token's sum of deltas, times W's rows for the embedding.

A step is linear in the tangents, with p = [g i (1 - i), c_{t-1} f (1 - f), tanh c_t o (1 - o), i (1 - g^2)] = d (c, c, h, c) / d a
and q = o (1 - tanh^2 c_t) = d h / d c; the way back is its transpose, with d_h and d_c the gradients of h_t and c_t:

    a_dot_t = W^T [0, extra_dot, h_dot_{t-1}, 0]
    c_dot_t = f c_dot_{t-1} + p_i a_dot_i + p_f a_dot_f + p_g a_dot_g;   h_dot_t = p_o a_dot_o + q c_dot_t
    d_c = f_{t+1} d_c_{t+1} + q d_h;   delta = p [d_c, d_c, d_h, d_c];   d_h_{t-1} gets W_h delta

R{.} of the way back is the way back of the dotted gradients plus p_dot [d_c, d_c, d_h, d_c], q_dot d_h and f_dot d_c, which
no recursion enters: they are computed for all steps at once (Pearlmutter 1994).
"""

import numpy as np

from ..engine import given
from ..engine.blas import matmul
from ..engine.memory import empty, joined
from ..engine.records import ParamSum, Records
from .lstm_cell import bends, forget_gate, halved_gates, slopes, split_gates, times
from .mlp import MLP
from .tokens import sums_by_token


class LSTM:
    """vocabulary: V tokens and the start token. embedding: E. hidden: H units. extra: X further inputs at each step."""

    narrowest = 1  # E

    def __init__(self, vocabulary, embedding, hidden, extra=0):
        self.vocabulary, self.embedding = (
            given.whole("vocabulary", vocabulary, 1),
            given.whole("embedding", embedding, self.narrowest),
        )
        self.hidden, self.extra = given.whole("hidden", hidden, 1), given.whole("extra", extra)
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
        embeddings = params[: self.words].reshape(self.vocabulary + 1, self.embedding)
        return embeddings, params[self.words :].reshape(self.cell.shapes[0])

    def over(self, params, tokens):
        """The LSTM at fixed parameters on fixed tokens (T, B): an OverTokens."""
        return OverTokens(self, params, tokens)

    def reference(self, params, tokens, extra=None, start=None):
        """The states h_1, h_2, ... (a list of (..., B, H)) over tokens (T, B) in autograd.numpy; start as `forward`, extra
        (S, B, X), or a list of them, one for each step."""
        import autograd.numpy as anp

        E, H = self.embedding, self.hidden
        embeddings = anp.reshape(params[: self.words], (self.vocabulary + 1, E))
        W = anp.reshape(params[self.words :], (-1, 4 * H))
        h, c, states = None, 0.0, []
        if start is not None:
            h, c = start[..., :H], start[..., H:] if start.shape[-1] > H else 0.0
        for t in range(len(tokens)):
            a = anp.dot(embeddings[tokens[t]], W[:E]) + W[-1]
            if extra is not None:
                a = a + anp.dot(extra[t] if isinstance(extra, list) else extra, W[E : E + self.extra])
            if h is not None:
                a = a + anp.dot(h, W[E + self.extra : -1])
            i, f, o = (0.5 * (1 + anp.tanh(0.5 * a[..., k * H : (k + 1) * H])) for k in range(3))
            c = f * c + i * anp.tanh(a[..., 3 * H :])
            h = o * anp.tanh(c)
            states.append(h)
        return states


class OverTokens:
    """h_1 .. h_T as a function of the extra inputs and of the start: what depends on the tokens alone is done once, here.

    Extra inputs are (S, B, X), the same at every step, or (T, S, B, X). The start is h_0 (S, B, H), or [h_0, c_0] (S, B, 2H); what
    is left out is zero.
    """

    def __init__(self, lstm, params, tokens):
        self.lstm, self.dtype, self.records = lstm, params.dtype, Records(lstm.cell.shapes)
        # any token will do for padding: what follows it is never asked for
        self.tokens = np.where(tokens < 0, lstm.vocabulary, tokens)
        (T, B), E, X = tokens.shape, lstm.embedding, lstm.extra
        embeddings, W = lstm.split(params)
        self.W_words, self.W_extra, self.W_h = W[:E], W[E : E + X], W[E + X : -1]
        self.half = halved_gates(W)  # W of a / 2 for i, f and o, as sigmoid(a) = (1 + tanh(a / 2)) / 2
        self.words = embeddings[self.tokens].reshape(T, 1, B, E)
        self.a_words = (self.words.reshape(T * B, E) @ self.half[:E] + self.half[-1]).reshape(T, 1, B, -1)

    def reserve(self, held):
        """Room for so many records that are held at a time."""
        self.records.reserve(held)

    def forward(self, extra=None, start=None):
        """A record whose h is (T, S, B, H); extra (S, B, X) or (T, S, B, X) and start, zero when None."""
        given = [a for a in (extra, start) if a is not None]
        S, dtype = given[0].shape[-3] if given else 1, np.result_type(self.dtype, *given)
        (T, B), E, X, H = self.tokens.shape, self.lstm.embedding, self.lstm.extra, self.lstm.hidden
        record = self.records.next(T * S * B, dtype)
        u = record.units[0].reshape(T, S, B, -1)
        record.gates = a = np.empty((T, S, B, 4 * H), dtype)
        a[...] = self.a_words
        u[..., :E] = self.words
        if X:
            a += extra @ self.half[E : E + X]
            u[..., E : E + X] = extra
        record.h, record.c, record.tanh_c = (np.zeros((n, S * B, H), dtype) for n in (T + 1, T + 1, T))
        record.with_c, record.by_step = _begin(start, record.h, record.c), np.ndim(extra) == 4
        h, c, room = record.h, record.c, np.empty((S * B, 4 * H), dtype)
        for t, a_t in enumerate(a.reshape(T, S * B, 4 * H)):
            if t or start is not None:
                a_t += matmul(h[t], self.half[E + X : -1], out=room)
            gates = np.tanh(a_t, out=a_t)[:, : 3 * H]
            gates += 1
            gates *= 0.5
            i, f, o, g = split_gates(a_t)
            np.multiply(f, c[t], out=c[t + 1])
            c[t + 1] += i * g
            np.tanh(c[t + 1], out=record.tanh_c[t])
            np.multiply(o, record.tanh_c[t], out=h[t + 1])
        u[..., E + X :] = h[:-1].reshape(T, S, B, H)
        record.h = h[1:].reshape(T, S, B, H)
        return record

    def backward(self, record, d_h):
        """(d extra, as it was, d start, of h_0 alone where c_0 was left out) from d h (T, S, B, H); completes the record's
        deltas, and keeps d_h and d_c of each step (T, S * B, H) for the tangent."""
        T, S, B, H = record.h.shape
        deltas = record.deltas[0].reshape(T, S * B, -1)
        (p, q), forget = slopes(record, out=deltas), forget_gate(record)
        d_h, W_back = d_h.reshape(T, S * B, H), self.W_h.T
        d_c, back = np.zeros((S * B, H), d_h.dtype), np.zeros((S * B, H), d_h.dtype)
        record.d_h, record.d_c = (empty((T, S * B, H), d_h.dtype) for _ in range(2))
        for t in range(T - 1, -1, -1):
            d = np.add(d_h[t], back, out=record.d_h[t])  # from this step's output, and from the next step
            d_c += d * q[t]
            record.d_c[t] = d_c
            times(p[t], d, d_c, out=deltas[t])
            d_c *= forget[t]
            back = matmul(deltas[t], W_back, out=back)
        return self._to_extra(record, deltas), _ended(record, back, d_c)

    def tangent(self, record, extra_dot=None, start_dot=None):
        """A record for R{.} whose h is h_dot (T, S, B, H); extra_dot and start_dot as `forward` was given the two."""
        (T, S, B, H), E, X = record.h.shape, self.lstm.embedding, self.lstm.extra
        dot = record.block.tangent_record(record.slot)
        dtype = dot.output.dtype
        u_dot = dot.units[0].reshape(T, S, B, -1)
        dot.a = a_dot = empty((T, S * B, 4 * H), dtype)
        u_dot[..., :E], extra = 0, np.zeros(1, dtype)
        if X:
            extra = (extra_dot @ self.W_extra).reshape(-1, S * B, 4 * H)
            u_dot[..., E : E + X] = extra_dot
        h_dot, c_dot = (np.zeros((T + 1, S * B, H), dtype) for _ in range(2))
        _begin(start_dot, h_dot, c_dot)
        dot.p, dot.q = slopes(record)
        for t, (f, p, q) in enumerate(zip(forget_gate(record), dot.p, dot.q)):
            matmul(h_dot[t], self.W_h, out=a_dot[t])
            a_dot[t] += extra[t if record.by_step else 0]
            by_i, by_f, by_o, by_g = split_gates(p * a_dot[t])
            c_dot[t + 1] = f * c_dot[t] + by_i + by_f + by_g
            h_dot[t + 1] = by_o + q * c_dot[t + 1]
        u_dot[..., E + X :] = h_dot[:-1].reshape(T, S, B, H)
        dot.h, dot.c = h_dot[1:].reshape(T, S, B, H), c_dot
        return dot

    def tangent_backward(self, record, dot, d_h_dot):
        """R{backward}: (R{d extra}, R{d start}) from R{d h} (T, S, B, H); completes dot's deltas."""
        T, S, B, H = record.h.shape
        deltas_dot, W_back = dot.deltas[0].reshape(T, S * B, -1), self.W_h.T
        p_dot, q_dot, f_dot = bends(record, dot)
        times(p_dot, record.d_h, record.d_c, out=deltas_dot)
        d_h_dot, q_dot, f_dot = d_h_dot.reshape(T, S * B, H), q_dot * record.d_h, f_dot * record.d_c
        d_c_dot, back = np.zeros((S * B, H), deltas_dot.dtype), np.zeros((S * B, H), deltas_dot.dtype)
        forget, room = forget_gate(record), np.empty((S * B, 4 * H), deltas_dot.dtype)
        for t in range(T - 1, -1, -1):
            d_dot = d_h_dot[t] + back
            d_c_dot += d_dot * dot.q[t] + q_dot[t]
            deltas_dot[t] += times(dot.p[t], d_dot, d_c_dot, out=room)
            d_c_dot *= forget[t]
            d_c_dot += f_dot[t]
            back = matmul(deltas_dot[t], W_back, out=back)
        return self._to_extra(record, deltas_dot), _ended(record, back, d_c_dot)

    def end(self, record):
        """[h_T, c_T] (S * B, 2H), with which a pass over what follows starts."""
        return np.concatenate([record.h[-1].reshape(record.c[-1].shape), record.c[-1]], axis=1)

    def _to_extra(self, record, deltas):
        """W_extra deltas (T, S * B, 4H), of each step or summed over them, as the extra inputs are."""
        d_extra = (deltas if record.by_step else deltas.sum(axis=0)) @ self.W_extra.T
        return d_extra.reshape(*record.h.shape[0 if record.by_step else 1 : 3], -1)

    def param_sum(self, dtype=None):
        """A sum of parameter gradients (size,): add, add_tangent and value, as engine.records.ParamSum."""
        return _LSTMSum(self, self.dtype if dtype is None else dtype)


def _begin(start, h, c):
    """Write a start (S, B, H) or (S, B, 2H) to h[0] and c[0]; whether it has a c_0."""
    if start is None:
        return False
    H = h.shape[-1]
    start = start.reshape(-1, start.shape[-1])
    h[0] = start[:, :H]
    if start.shape[-1] > H:
        c[0] = start[:, H:]
    return start.shape[-1] > H


def _ended(record, d_h, d_c):
    """The gradients of h_0 and c_0 (S * B, H) as the start was, (S, B, H) or (S, B, 2H)."""
    d_start = np.concatenate([d_h, d_c], axis=1) if record.with_c else d_h
    return d_start.reshape(*record.h.shape[1:3], -1)


class _LSTMSum:
    """sum_r w_r d params(record r), (size,); a weight is a number or one per row of a step (S * B,)."""

    def __init__(self, over, dtype):
        self.over, self.cell_sum, self.by_place = over, ParamSum(over.lstm.cell, dtype), 0.0

    def add(self, record, weight=1.0):
        T, S, B, _ = record.h.shape
        self.cell_sum.add(record, weight if np.isscalar(weight) else np.tile(weight, T))
        return self._add_places(record.deltas[0].reshape(T, S, B, -1), weight)

    def add_tangent(self, record, dot, weight=1.0):
        """+ weight * (u_dot^T delta + u^T delta_dot) for W; the words of u do not move, so theirs is delta_dot alone."""
        T, S, B, _ = record.h.shape
        self.cell_sum.add_tangent(record, dot, weight if np.isscalar(weight) else np.tile(weight, T))
        return self._add_places(dot.deltas[0].reshape(T, S, B, -1), weight)

    def _add_places(self, deltas, weight):
        if not np.isscalar(weight):
            deltas = deltas * weight.reshape(*deltas.shape[1:3], 1)
        elif weight != 1:
            deltas = deltas * weight
        self.by_place = self.by_place + np.add.reduce(deltas, axis=1)
        return self

    def value(self):
        """Deltas were added per place; now the places of a token are, so that W_words multiplies each token once."""
        lstm, W_words = self.over.lstm, self.over.W_words
        cell = self.cell_sum.value()
        words = empty((lstm.vocabulary + 1, lstm.embedding), cell.dtype)
        words[...] = 0
        if np.ndim(self.by_place):
            tokens = self.over.tokens.ravel()
            seen, sums = sums_by_token(tokens, self.by_place.reshape(len(tokens), -1))
            words[seen] = sums @ W_words.T
        return joined([words.ravel(), cell])
