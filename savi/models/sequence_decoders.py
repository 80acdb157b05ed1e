"""Decoders and an encoder for token sequences x (B, T), on an LSTM.  [SA] 5.1, 5.2

    LSTMDecoder(z_at="output")   p(x_t | x_<t, z) = softmax(MLP([h_t, z])), the oracle of the synthetic experiment
    LSTMDecoder(z_at="input")    z beside the embedding at every step, and h_0 an affine map of it: the model of text
    LSTMEncoder                  lam = affine(h_T), h_T the state after the last token
    FixedDecoder(decoder, theta) p(x | z) with parameters that are known: nothing of it is learned

With z at the output the states h_t do not depend on z: they are computed once for all steps of an inner loop, and
Hessian products are exact. With z at the input they do; second derivatives are differences or complex steps there.
With latent size 0 either is a language model. A negative token is padding behind a sequence's end and says nothing.
"""

import numpy as np

from ..engine.files import InputError
from ..nets.lstm import LSTM
from ..nets.mlp import MLP, ParamSum
from .decoders import GivenX
from .likelihoods import Categorical


class LSTMDecoder:
    """p(x | z; theta) = prod_t p(x_t | x_<t, z).

    vocabulary V, embedding E, hidden H units; latent D; layers: hidden layers of the output MLP, () for an affine one.
    theta: the LSTM's parameters; then with z at the output W_h (H, first layer) and the MLP from z, which has the first
    layer's bias; or with z at the input h_0's [W; b] (D + 1, H) and the MLP from h.
    """

    likelihood, data_dim = Categorical(), None

    def __init__(self, vocabulary, embedding, hidden, latent, layers=(), activation="tanh", z_at="output"):
        if z_at not in ("output", "input"):
            raise InputError(f"z_at is {z_at!r}; expected 'output' or 'input'")
        self.z_at, self.latent_dim = z_at, int(latent)
        self.lstm = LSTM(vocabulary, embedding, hidden, latent if z_at == "input" else 0)
        self.net = MLP([latent if z_at == "output" else hidden, *layers, vocabulary], activation)
        H = self.lstm.hidden
        join = (H, self.net.sizes[1]) if z_at == "output" else (self.latent_dim + 1, H)
        self.parts = self.lstm.size, self.lstm.size + join[0] * join[1]
        self.join_shape, self.size = join, self.parts[1] + self.net.size
        self.work = 5 * (self.size - self.lstm.words)  # multiplications for a sequence of some five tokens

    def __repr__(self):
        lstm = f"{self.lstm.vocabulary}, {self.lstm.embedding}, {self.lstm.hidden}, {self.latent_dim}"
        return f"LSTMDecoder({lstm}, {list(self.net.sizes[1:-1])}, {self.net.activation.name!r}, {self.z_at!r})"

    def init(self, rng, dtype=np.float64):
        """theta (P,): as the LSTM and the MLP draw theirs; what joins them uniform with variance 1 / inputs."""
        theta = np.zeros(self.size, dtype)
        lstm, join, net = self.split(theta)
        lstm[...], net[...] = self.lstm.init(rng, dtype), self.net.init(rng, dtype)
        weights = join if self.z_at == "output" else join[:-1]
        weights[...] = rng.uniform(-1, 1, weights.shape) * np.sqrt(3 / max(1, len(weights)))
        return theta

    def split(self, theta):
        """(the LSTM's parameters, what joins it and z and the MLP (a matrix), the MLP's parameters), views."""
        a, b = self.parts
        return theta[:a], theta[a:b].reshape(self.join_shape), theta[b:]

    def check(self, theta, x):
        """Raises InputError unless theta is (P,) and x (B, T) are tokens, padding only behind them."""
        if theta.shape != (self.size,):
            raise InputError(f"theta has shape {theta.shape}; {self!r} needs ({self.size},)")
        check_tokens(x, self.lstm.vocabulary)

    def given(self, theta, x, keep=1, once=False):
        """p(x | z; theta) as a function of z; as in decoders.py."""
        return (_ZAtOutput if self.z_at == "output" else _ZAtInput)(self, theta, x, keep, once)

    def sample(self, theta, z, length, rng):
        """Tokens x (B, length), one after the other, given z (B, D)."""
        x = np.zeros((len(z), length), int)
        for t in range(length):
            p = self.given(theta, x[:, : t + 1])
            logits = p.logits(p.forward(z[None]))[-1, 0].astype(float)
            x[:, t] = np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)
        return x


def check_tokens(x, vocabulary):
    """Raises InputError unless x (B, T) are tokens below the vocabulary's size, negative ones only behind them."""
    if x.ndim != 2 or not x.size:
        raise InputError(f"x has shape {x.shape}; token sequences need (B, T), both >= 1")
    if not np.all(x == np.floor(x)) or x.max() >= vocabulary:
        raise InputError(
            f"x has values from {x.min():g} to {x.max():g}; expected tokens, whole numbers below {vocabulary}"
        )
    padding = x < 0
    if padding[:, 0].any() or np.any(padding[:, :-1] & ~padding[:, 1:]):
        raise InputError("x has padding (negative tokens) before a token; expected it only behind a sequence's end")


class _Given(GivenX):
    """What both kinds share: rows of the output MLP are (T, S, B)."""

    def __init__(self, decoder, theta, x, keep, once):
        lstm, self.join, net = decoder.split(theta)
        super().__init__(decoder, net, x, keep, once)
        tokens = x.T.astype(int)
        self.length, self.x = len(tokens), tokens[:, None]
        start = np.full_like(tokens[:1], decoder.lstm.vocabulary)
        self.lstm = decoder.lstm.over(lstm, np.concatenate([start, tokens[:-1]]), keep)
        self.batch = len(x)

    def _by_example(self, array):
        return array.reshape(self.length, len(array) // (self.length * self.batch), self.batch, array.shape[-1])

    def logits(self, record):
        """(T, S, B, V), before `backward`."""
        return self._by_example(record.output)

    def log_px(self, record):
        return self.likelihood.log_prob(self._by_example(record.output), self.x).sum(axis=0)

    def samples(self, record):
        return len(record.output) // (self.length * self.batch)

    def residual(self, record):
        raise InputError("tokens have no error in data space; an iterative model of sequences encodes Gradient() alone")


class _ZAtOutput(_Given):
    """The states are computed once; what h_t adds to the first layer is a constant of every evaluation."""

    def __init__(self, decoder, theta, x, keep, once):
        super().__init__(decoder, theta, x, keep, once)
        self.states = self.lstm.forward()
        self.h = self.states.h.reshape(self.length * self.batch, -1)
        self.from_h, self._shifts = (self.h @ self.join).reshape(self.length, 1, self.batch, -1), {}

    def _shift(self, S):
        """What h_t adds to the first layer, for each row (T * S * B, .)."""
        if S not in self._shifts:
            shape = (self.length, S, self.batch, self.from_h.shape[-1])
            self._shifts[S] = np.broadcast_to(self.from_h, shape).reshape(-1, shape[-1])
        return self._shifts[S]

    def forward(self, z):
        dtype = z.dtype if z.dtype == self.dtype else np.result_type(z, self.dtype)
        record = self._new_record(self.length * len(z) * self.batch, dtype)
        self._by_example(record.x)[...] = z
        self.net.forward(self.layers, record, self._shift(len(z)))
        return record

    def backward(self, record):
        return super().backward(record).sum(axis=0)

    def tangent(self, record, z_dot):
        d_z_dot, dot = super().tangent(record, np.broadcast_to(z_dot, (self.length, *z_dot.shape)))
        return d_z_dot.sum(axis=0), dot

    def param_sum(self, dtype=None):
        return _OutputSum(self, dtype or self.dtype)


class _OutputSum:
    """sum_r w_r d log p(x | z_r) / d theta. All of it that goes through h is linear in the first layer's deltas: these are
    added up, and go once through W_h and back through time."""

    def __init__(self, p, dtype):
        self.p, self.net_sum, self.delta = p, ParamSum(p.net, dtype), 0.0

    def add(self, record, weight=1.0):
        self.net_sum.add(record, self._rows(weight))
        self._add_delta(record, weight)

    def add_tangent(self, record, dot, weight=1.0):
        self.net_sum.add_tangent(record, dot, self._rows(weight))
        self._add_delta(dot, weight)

    def _rows(self, weight):
        return weight if np.isscalar(weight) else np.tile(weight, self.p.length)

    def _add_delta(self, record, weight):
        deltas = self.p._by_example(record.deltas[0])
        if not np.isscalar(weight):
            weight = weight.reshape(1, -1, self.p.batch, 1).astype(deltas.dtype, copy=False)
        self.delta = self.delta + (weight * deltas).sum(axis=1)

    def value(self):
        p, net = self.p, self.net_sum.value()
        if not np.ndim(self.delta):
            return np.zeros(p.lstm.lstm.size + p.join.size + p.net.size, net.dtype)
        delta = self.delta.reshape(len(p.h), -1)  # (T * B, first layer)
        p.lstm.backward(p.states, (delta @ p.join.T).reshape(p.states.h.shape))
        lstm = p.lstm.param_sum(net.dtype).add(p.states).value()
        return np.concatenate([lstm, (p.h.T @ delta).ravel(), net])


class _ZAtInput(_Given):
    """The states depend on z: an evaluation is a pass through the LSTM and one through the MLP."""

    tangent = None

    def forward(self, z):
        h_0 = z @ self.join[:-1] + self.join[-1]
        states = self.lstm.forward(z if z.shape[-1] else None, h_0)
        record = self._new_record(self.length * len(z) * self.batch, states.h.dtype)
        record.x[...] = states.h.reshape(record.x.shape)
        self.net.forward(self.layers, record)
        record.states, record.z = states, z
        return record

    def backward(self, record):
        """z acts twice: at every step, and through h_0."""
        d_h = super().backward(record)
        d_z, record.d_h_0 = self.lstm.backward(record.states, d_h)
        return d_z + record.d_h_0 @ self.join[:-1].T

    def param_sum(self, dtype=None):
        return _InputSum(self, dtype or self.dtype)


class _InputSum:
    """sum_r w_r d log p(x | z_r) / d theta."""

    def __init__(self, p, dtype):
        self.p, self.dtype = p, dtype
        self.lstm_sum, self.net_sum = p.lstm.param_sum(dtype), ParamSum(p.net, dtype)
        self.join = np.zeros(p.join.shape, dtype)

    def add(self, record, weight=1.0):
        rows = weight if np.isscalar(weight) else np.tile(weight, self.p.length)
        self.net_sum.add(record, rows)
        self.lstm_sum.add(record.states, weight)
        d_h_0, z = (a.reshape(np.prod(a.shape[:-1]), a.shape[-1]) for a in (record.d_h_0, record.z))
        d_h_0 = d_h_0 * (weight if np.isscalar(weight) else weight[:, None])
        self.join[:-1] += z.T @ d_h_0
        self.join[-1] += d_h_0.sum(axis=0)

    def value(self):
        return np.concatenate([self.lstm_sum.value(), self.join.ravel(), self.net_sum.value()])


class LSTMEncoder:
    """lam (B, n) = [h, 1] [W; b], h the LSTM's state after the last token of x (B, T).

    phi: the LSTM's parameters, then [W; b] (H + 1, outputs).
    """

    def __init__(self, vocabulary, embedding, hidden, outputs):
        self.lstm, self.net = LSTM(vocabulary, embedding, hidden), MLP([hidden, outputs], "identity")
        self.size, self.outputs = self.lstm.size + self.net.size, self.net.outputs

    def __repr__(self):
        return f"LSTMEncoder({self.lstm.vocabulary}, {self.lstm.embedding}, {self.lstm.hidden}, {self.outputs})"

    def init(self, rng, dtype=np.float64):
        """phi (Q,)."""
        return np.concatenate([self.lstm.init(rng, dtype), self.net.init(rng, dtype)])

    def record(self, phi, x):
        """The record of one pass over x; its output is record.output (B, outputs). Raises InputError unless x are tokens."""
        check_tokens(x, self.lstm.vocabulary)
        tokens = x.T.astype(int)
        over = self.lstm.over(phi[: self.lstm.size], tokens)
        states = over.forward()
        last = (tokens >= 0).sum(axis=0) - 1, np.arange(len(x))
        record = self.net.record(phi[self.lstm.size :], states.h[:, 0][last])
        record.over, record.states, record.last = over, states, last
        return record

    def grad(self, phi, record, d_output):
        """d phi (Q,) from d output (B, outputs)."""
        net = phi[self.lstm.size :]
        d_net = self.net.grad(net, record, d_output)
        d_h = np.zeros_like(record.states.h)
        d_h[:, 0][record.last] = d_output @ self.net.layers(net)[0][:-1].T
        record.over.backward(record.states, d_h)
        return np.concatenate([record.over.param_sum().add(record.states).value(), d_net])
