"""Where z enters an LSTM decoder, and p(x | z; theta) of tokens as a function of z.  [SA] 5.1, 5.2

    AtOutput   softmax(MLP([h_t, z])): the states h_t do not depend on z and are computed once for all steps of an inner loop
    AtInput    z beside each embedding, and h_0 = [z, 1] [W; b]: an evaluation goes through the LSTM and back through time

Tangents at the input, R{.} written as a dot, d_h_0 and d_extra what comes back through time:

    h_0_dot = z_dot W;   R{d_z} = R{d_extra} + R{d_h_0} W^T;   R{d W} = z_dot^T d_h_0 + z^T R{d_h_0};   R{d b} = R{d_h_0}
"""

import numpy as np

from ..engine.memory import joined
from ..engine.records import ParamSum
from .decoders import GivenX


class _Tokens(GivenX):
    """What both kinds share: rows of the output MLP are (T, S, B)."""

    @staticmethod
    def extra(D):
        """How many inputs the LSTM has at each step beside the embedding."""
        raise NotImplementedError

    @staticmethod
    def net_inputs(D, H):
        """How many inputs the output MLP has."""
        raise NotImplementedError

    @staticmethod
    def join_shape(D, H, first):
        """The shape of the matrix that joins z, the LSTM and the MLP, whose first layer has `first` units."""
        raise NotImplementedError

    @staticmethod
    def join_weights(join):
        """The part of that matrix that is drawn at first; the rest is biases."""
        raise NotImplementedError

    @staticmethod
    def reference(decoder, lstm, join, net, z, inputs):
        """Yields the logits (S, B, V) of each step, in autograd.numpy; lstm, join, net: the parts of theta."""
        raise NotImplementedError

    def __init__(self, decoder, theta, x):
        lstm, self.join, net = decoder.split(theta)
        super().__init__(decoder, net, x)
        tokens, inputs = decoder.tokens(x)
        self.length, self.x, self.batch = len(tokens), tokens[:, None], len(x)
        self.lstm = decoder.lstm.over(lstm, inputs)

    def _by_example(self, array):
        return array.reshape(self.length, len(array) // (self.length * self.batch), self.batch, array.shape[-1])

    def logits(self, record):
        """(T, S, B, V), before `backward`."""
        return self._by_example(record.output)

    def _whole(self, log_p):
        return log_p.sum(axis=0)

    def samples(self, record):
        return len(record.output) // (self.length * self.batch)


class AtOutput(_Tokens):
    """softmax(MLP([h_t, z])): the states are computed once; what h_t adds to the first layer is a constant of every evaluation."""

    @staticmethod
    def extra(D):
        return 0

    @staticmethod
    def net_inputs(D, H):
        return D

    @staticmethod
    def join_shape(D, H, first):
        return H, first

    @staticmethod
    def join_weights(join):
        return join

    @staticmethod
    def reference(decoder, lstm, join, net, z, inputs):
        import autograd.numpy as anp

        for h in decoder.lstm.reference(lstm, inputs):
            yield decoder.net.reference(net, z, anp.dot(h, join))

    def __init__(self, decoder, theta, x):
        super().__init__(decoder, theta, x)
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
        record = self._new_record(self.length * len(z) * self.batch, z)
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
        return joined([lstm, (p.h.T @ delta).ravel(), net])


class AtInput(_Tokens):
    """z beside each embedding and in h_0: an evaluation is a pass through the LSTM and one through the MLP."""

    @staticmethod
    def extra(D):
        return D

    @staticmethod
    def net_inputs(D, H):
        return H

    @staticmethod
    def join_shape(D, H, first):
        return int(D) + 1, H

    @staticmethod
    def join_weights(join):
        return join[:-1]

    @staticmethod
    def reference(decoder, lstm, join, net, z, inputs):
        import autograd.numpy as anp

        h_0 = anp.dot(z, join[:-1]) + join[-1]
        for h in decoder.lstm.reference(lstm, inputs, z if decoder.latent_dim else None, h_0):
            yield decoder.net.reference(net, h)

    def _read(self, h):
        """What the output MLP sees of the states, a linear map that is its own transpose: here all of them."""
        return h

    def reserve(self, held):
        super().reserve(held)
        self.lstm.reserve(held)

    def forward(self, z):
        h_0 = z @ self.join[:-1] + self.join[-1]
        states = self.lstm.forward(z if z.shape[-1] else None, h_0)
        record = self._new_record(self.length * len(z) * self.batch, states.h)
        record.x[...] = self._read(states.h).reshape(record.x.shape)
        self.net.forward(self.layers, record)
        record.states, record.z = states, z
        return record

    def backward(self, record):
        """z acts twice: at every step, and through h_0."""
        d_h = self._read(super().backward(record))
        d_z, record.d_h_0 = self.lstm.backward(record.states, d_h)
        return d_z + record.d_h_0 @ self.join[:-1].T

    def tangent(self, record, z_dot):
        states_dot = self.lstm.tangent(record.states, z_dot, z_dot @ self.join[:-1])
        d_h_dot, dot = super().tangent(record, self._read(states_dot.h))
        d_z_dot, dot.d_h_0 = self.lstm.tangent_backward(record.states, states_dot, self._read(d_h_dot))
        dot.states, dot.z = states_dot, z_dot
        return d_z_dot + dot.d_h_0 @ self.join[:-1].T, dot

    def imaginary(self, record, moved, r):
        dot = super().imaginary(record, moved, r)
        dot.states = record.states.imaginary(moved.states, r)
        dot.z, dot.d_h_0 = moved.z.imag / r, moved.d_h_0.imag / r
        return dot

    def param_sum(self, dtype=None):
        return _InputSum(self, dtype or self.dtype)


class _InputSum:
    """sum_r w_r d log p(x | z_r) / d theta."""

    def __init__(self, p, dtype):
        self.p, self.dtype = p, dtype
        self.lstm_sum, self.net_sum = p.lstm.param_sum(dtype), ParamSum(p.net, dtype)
        self.join = np.zeros(p.join.shape, dtype)

    def add(self, record, weight=1.0):
        self.net_sum.add(record, self._rows(weight))
        self.lstm_sum.add(record.states, weight)
        self._add_join(record.z, 1, record.d_h_0, weight)

    def add_tangent(self, record, dot, weight=1.0):
        self.net_sum.add_tangent(record, dot, self._rows(weight))
        self.lstm_sum.add_tangent(record.states, dot.states, weight)
        self._add_join(dot.z, 0, record.d_h_0, weight)
        self._add_join(record.z, 1, dot.d_h_0, weight)

    def _rows(self, weight):
        return weight if np.isscalar(weight) else np.tile(weight, self.p.length)

    def _add_join(self, z, last, d_h_0, weight):
        """+ [z, last]^T d_h_0, weighted."""
        d_h_0 = d_h_0.reshape(-1, d_h_0.shape[-1]) * (weight if np.isscalar(weight) else weight[:, None])
        self.join[:-1] += z.reshape(len(d_h_0), -1).T @ d_h_0
        self.join[-1] += last * d_h_0.sum(axis=0)

    def value(self):
        return joined([self.lstm_sum.value(), self.join.ravel(), self.net_sum.value()])


PLACES = {"output": AtOutput, "input": AtInput}  # by the name of z_at
