"""Where z enters a PixelCNN decoder, and p(x | z; theta) of images as a function of z.  [SA] 5.3

    Late    z in the head alone: the features f are computed once, when x is given, and what they add to the head is a
            constant of every evaluation. All of theta's gradient that goes through f is linear in the head's deltas:
            these are added up, and go once through W_f and back through the net
    Input   maps of z beside x: an evaluation is a pass through the net and one through the head

Rows of the head are the pixels of (S, B, H W).
"""

import numpy as np

from ..engine.records import ParamSum
from .decoders import GivenX


class _Pixels(GivenX):
    """What both kinds share."""

    @staticmethod
    def map_inputs(D):
        """How many inputs of the maps beside the position map."""
        raise NotImplementedError

    @staticmethod
    def head_inputs(D, C):
        """How many inputs the head has."""
        raise NotImplementedError

    @staticmethod
    def join_shape(C):
        """The shape of W_f."""
        raise NotImplementedError

    @staticmethod
    def work(trunk, net):
        """Multiplications in an evaluation of one example."""
        raise NotImplementedError

    @staticmethod
    def head_at(z, features, join):
        """(the head's input, its shift) at a pixel with features (B, C)."""
        raise NotImplementedError

    @staticmethod
    def reference(decoder, weights, trunk, join, net, z, images):
        """The logits (S, B, H W, O) in autograd.numpy; weights, trunk, join, net: the parts of theta."""
        raise NotImplementedError

    def __init__(self, decoder, theta, x):
        self.weights, trunk, self.join, net = decoder.split(theta)
        images, pixels = decoder.seen(x)
        super().__init__(decoder, net, pixels)
        self.decoder, (self.batch, self.pixels) = decoder, x.shape
        self.over, self.shape = decoder.trunk.over(trunk, images), (*decoder.trunk.shape, decoder.trunk.maps)

    def _by_example(self, array):
        samples = len(array) // (self.batch * self.pixels)
        return array.reshape(samples, self.batch, self.pixels, array.shape[-1])

    def samples(self, record):
        return len(record.output) // (self.batch * self.pixels)

    def _whole(self, log_p):
        return log_p.sum(axis=-1)

    def repeated(self, weight):
        """A weight of each example and sample (S * B,) as one of each row; a number as it is."""
        return weight if np.isscalar(weight) else np.repeat(weight, self.pixels)


class Late(_Pixels):
    """z in the head, beside the features of each pixel."""

    @staticmethod
    def map_inputs(D):
        return 0

    @staticmethod
    def head_inputs(D, C):
        return D

    @staticmethod
    def join_shape(C):
        return C, 2 * C

    @staticmethod
    def work(trunk, net):
        return trunk.pixels * net.size

    @staticmethod
    def head_at(z, features, join):
        return z, features @ join

    @staticmethod
    def reference(decoder, weights, trunk, join, net, z, images):
        import autograd.numpy as anp

        maps = decoder.maps(weights, anp.zeros((1, len(images), 0)))[0]
        features = anp.reshape(decoder.trunk.reference(trunk, images, maps), (len(images), decoder.trunk.pixels, -1))
        return decoder.net.reference(net, z[:, :, None], anp.dot(features, join))

    def __init__(self, decoder, theta, x):
        super().__init__(decoder, theta, x)
        maps = decoder.maps(self.weights, np.zeros((1, self.batch, 0), self.dtype))[0]
        self.states = self.over.forward(maps)
        self.f = self.states.features.reshape(self.batch * self.pixels, -1)
        self.from_f, self._shifts = self.f @ self.join, {}

    def _shift(self, S):
        """What the features add to the head, for each row (S * B * H W, .)."""
        if S not in self._shifts:
            self._shifts[S] = np.broadcast_to(self.from_f, (S, *self.from_f.shape)).reshape(-1, self.from_f.shape[1])
        return self._shifts[S]

    def forward(self, z):
        record = self._new_record(len(z) * len(self.f), z)
        self._by_example(record.x)[...] = z[:, :, None]
        self.net.forward(self.layers, record, self._shift(len(z)))
        return record

    def backward(self, record):
        return super().backward(record).sum(axis=2)

    def tangent(self, record, z_dot):
        d_z_dot, dot = super().tangent(record, z_dot[:, :, None])
        return d_z_dot.sum(axis=2), dot

    def param_sum(self, dtype=None):
        return _LateSum(self, dtype or self.dtype)


class _LateSum:
    """sum_r w_r d log p(x | z_r) / d theta, (P,); a weight is a number or one per example and sample (S * B,)."""

    def __init__(self, p, dtype):
        self.p, self.head_sum, self.delta = p, ParamSum(p.net, dtype), 0.0

    def add(self, record, weight=1.0):
        self.head_sum.add(record, self.p.repeated(weight))
        self._add_delta(record, weight)

    def add_tangent(self, record, dot, weight=1.0):
        self.head_sum.add_tangent(record, dot, self.p.repeated(weight))
        self._add_delta(dot, weight)

    def _add_delta(self, record, weight):
        deltas = self.p._by_example(record.deltas[0])
        if not np.isscalar(weight):
            weight = weight.reshape(-1, self.p.batch, 1, 1).astype(deltas.dtype, copy=False)
        self.delta = self.delta + (weight * deltas).sum(axis=0)

    def value(self):
        p, head = self.p, self.head_sum.value()
        if not np.ndim(self.delta):
            return np.zeros(p.decoder.size, head.dtype)
        delta = self.delta.reshape(len(p.f), -1)  # (B * H W, 2C)
        d_maps = p.over.backward(p.states, (delta @ p.join.T).reshape(p.states.features.shape))
        net = p.over.param_sum(head.dtype).add(p.states).value()
        maps = d_maps.sum(axis=0).ravel()[: p.weights.size]
        return np.concatenate([maps, net, (p.f.T @ delta).ravel(), head])


class Input(_Pixels):
    """z in the first layer of the net, as maps beside x."""

    @staticmethod
    def map_inputs(D):
        return D

    @staticmethod
    def head_inputs(D, C):
        return C

    @staticmethod
    def join_shape(C):
        return 0, 2 * C

    @staticmethod
    def work(trunk, net):
        return trunk.work

    @staticmethod
    def head_at(z, features, join):
        return features, None

    @staticmethod
    def reference(decoder, weights, trunk, join, net, z, images):
        import autograd.numpy as anp

        (S, B), (H, W) = z.shape[:2], decoder.trunk.shape
        maps = anp.reshape(decoder.maps(weights, z), (S * B, H, W, decoder.trunk.maps))
        features = decoder.trunk.reference(trunk, np.tile(images, (S, 1)), maps)
        return decoder.net.reference(net, anp.reshape(features, (S, B, H * W, -1)))

    def forward(self, z):
        states = self.over.forward(self.decoder.maps(self.weights, z).reshape(len(z) * self.batch, *self.shape))
        record = self._new_record(len(z) * self.batch * self.pixels, states.features)
        record.x[...] = states.features.reshape(record.x.shape)
        self.net.forward(self.layers, record)
        record.states, record.z = states, z
        return record

    def _d_maps(self, d_maps, z):
        """Gradients of maps (S B, H, W, maps) as rows, and of z (S, B, D)."""
        rows = d_maps.reshape(len(d_maps), self.weights.shape[1])
        M = self.weights[: self.decoder.latent_dim]
        return rows, (rows @ M.T).reshape(z.shape)

    def backward(self, record):
        d_f = super().backward(record)
        d_maps = self.over.backward(record.states, d_f.reshape(record.states.features.shape))
        record.d_maps, d_z = self._d_maps(d_maps, record.z)
        return d_z

    def tangent(self, record, z_dot):
        maps_dot = z_dot @ self.weights[: self.decoder.latent_dim]
        states = self.over.tangent(record.states, maps_dot.reshape(len(z_dot) * self.batch, *self.shape))
        features = self._by_example(states.features.reshape(-1, self.net.inputs))
        d_f_dot, dot = super().tangent(record, features)
        d_maps = self.over.tangent_backward(record.states, states, d_f_dot.reshape(states.features.shape))
        dot.states, dot.z = states, z_dot
        dot.d_maps, d_z_dot = self._d_maps(d_maps, z_dot)
        return d_z_dot, dot

    def imaginary(self, record, moved, r):
        dot = super().imaginary(record, moved, r)
        dot.states = self.over.imaginary(record.states, moved.states, r)
        dot.z, dot.d_maps = moved.z.imag / r, moved.d_maps.imag / r
        return dot

    def param_sum(self, dtype=None):
        return _InputSum(self, dtype or self.dtype)


class _InputSum:
    """sum_r w_r d log p(x | z_r) / d theta, (P,)."""

    def __init__(self, p, dtype):
        self.p, self.head_sum, self.net_sum = p, ParamSum(p.net, dtype), p.over.param_sum(dtype)
        self.maps = np.zeros(p.weights.shape, dtype)

    def add(self, record, weight=1.0):
        self.head_sum.add(record, self.p.repeated(weight))
        self.net_sum.add(record.states, weight)
        self._add_maps(record.z, 1, record.d_maps, weight)

    def add_tangent(self, record, dot, weight=1.0):
        self.head_sum.add_tangent(record, dot, self.p.repeated(weight))
        self.net_sum.add_tangent(record.states, dot.states, weight)
        self._add_maps(dot.z, 0, record.d_maps, weight)
        self._add_maps(record.z, 1, dot.d_maps, weight)

    def _add_maps(self, z, last, d_maps, weight):
        """+ [z, last]^T d_maps, weighted."""
        D, d_maps = self.p.decoder.latent_dim, d_maps * (weight if np.isscalar(weight) else weight[:, None])
        self.maps[:D] += z.reshape(len(d_maps), -1).T @ d_maps
        self.maps[D:] += last * d_maps.sum(axis=0)

    def value(self):
        return np.concatenate([self.maps.ravel(), self.net_sum.value(), self.head_sum.value()])


PLACES = {"late": Late, "input": Input}  # by the name of z_at
