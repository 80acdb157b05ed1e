"""Where z enters a PixelCNN decoder, and p(x | z; theta) of images as a function of z.  [SA] 5.3

    Late    z in the head alone: the features f are computed once, when x is given, and what they add to the head is a
            constant of every evaluation. All of theta's gradient that goes through f is linear in the head's deltas:
            these are added up, and go once through W_f and back through the net
    Input   maps of z beside x: an evaluation is a pass through the net and one through the head

The head works on images channels first, (S * B, channels, H W), with halves in its parameters (nets/gated_head.py). An image
is worked out with few others: one with z late leaves 5 C numbers a pixel in each inner step, one with z at the input the
records of a whole net, so that a batch of fifty takes hundreds of megabytes, and products are at full speed with 2000 rows.
"""

import numpy as np

from ..engine.memory import empty
from ..nets.gated_head import halved
from .given_pixels import GivenPixels


class Late(GivenPixels):
    """z in the head, beside the features of each pixel."""

    rows = 10_000

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
    def work(trunk, head):
        return trunk.work + trunk.pixels * head.size  # the net comes first, and is by far the most

    @staticmethod
    def at_pixel(head, z, features, join):
        return z @ head.W + head.b + features @ halved(join)

    @staticmethod
    def reference(decoder, weights, trunk, join, head, z, images):
        import autograd.numpy as anp

        maps = decoder.maps(weights, anp.zeros((1, len(images), 0)))[0]
        features = anp.reshape(decoder.trunk.reference(trunk, images, maps), (len(images), decoder.trunk.pixels, -1))
        return decoder.head.reference(head, z[:, :, None], anp.dot(features, join))

    def __init__(self, decoder, theta, x):
        super().__init__(decoder, theta, x)
        maps = decoder.maps(self.weights, np.zeros((1, self.batch, 0), self.dtype))[0]
        self.states = self.over.forward(maps)
        self.from_f = halved(self.join).T @ self.states.features.transpose(0, 2, 1)
        self.from_f += self.head.b[:, None]

    def forward(self, z):
        from_z = (z @ self.head.W)[..., None]
        a = np.add(self.from_f, from_z, out=empty((len(z), *self.from_f.shape), from_z.dtype))
        return self._record(a.reshape(-1, *self.from_f.shape[1:]), z)

    def backward(self, record):
        self._error(record)
        record.d_a = self.head.backward(record)
        return (record.d_a @ self.head.W.T).reshape(record.z.shape)

    def tangent(self, record, z_dot):
        a_dot = z_dot.reshape(len(record.d_a), -1) @ self.head.W
        dot = self._tangent(record, a_dot[:, :, None])
        dot.z, dot.d_a = z_dot, dot.delta.sum(axis=2)
        return (dot.d_a @ self.head.W.T).reshape(z_dot.shape), dot

    def imaginary(self, record, moved, r):
        dot = super().imaginary(record, moved, r)
        dot.d_a = moved.d_a.imag / r
        return dot

    def param_sum(self, dtype=None):
        return _LateSum(self, dtype or self.dtype)


class _LateSum:
    """sum_r w_r d log p(x | z_r) / d theta, (P,); a weight is a number or one per example and sample (S * B,)."""

    def __init__(self, p, dtype):
        self.p, self.out = p, p.head.sums(dtype)
        self.W, self.delta = np.zeros(p.head.W.shape, dtype), np.zeros(p.from_f.shape, dtype)

    def add(self, record, weight=1.0):
        self._add_z(record.z, record.d_a, weight)
        self.out.add(record.u, record.output, weight, 1)
        self._add_delta(self.p.head.delta(record), weight)

    def add_tangent(self, record, dot, weight=1.0):
        self._add_z(dot.z, record.d_a, weight)
        self._add_z(record.z, dot.d_a, weight)
        self.out.add(dot.u, record.output, weight, 0)
        self.out.add(record.u, dot.output, weight, 1)
        self._add_delta(dot.delta, weight)

    def _add_z(self, z, d_a, weight):
        self.W += (z.reshape(len(d_a), -1) * np.reshape(weight, (-1, 1)).astype(z.dtype, copy=False)).T @ d_a

    def _add_delta(self, delta, weight):
        """W_f, b and all that is behind the features are linear in the deltas, one per pixel: these are added up."""
        if not np.isscalar(weight):
            weight = np.reshape(weight, (-1, 1, 1)).astype(delta.dtype, copy=False)
        weighted = delta if np.isscalar(weight) and weight == 1 else weight * delta
        for one in weighted.reshape(-1, *self.delta.shape):
            self.delta += one

    def value(self):
        p, delta = self.p, self.delta  # (B, 2C, H W)
        f = p.states.features
        d_maps = p.over.backward(p.states, delta.transpose(0, 2, 1) @ halved(p.join).T, shared=True)
        net = p.over.param_sum(delta.dtype).add(p.states).value()
        maps = d_maps.ravel()[: p.weights.size]
        join = halved((delta @ f).sum(axis=0).T)
        head = p.decoder.head.gradient(self.W, delta.sum(axis=(0, 2)), self.out.V, self.out.c)
        return np.concatenate([maps, net, join.ravel(), head])


class Input(GivenPixels):
    """z in the first layer of the net, as maps beside x."""

    rows = 2_400  # a record of the whole net in each step

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
    def work(trunk, head):
        return trunk.work

    @staticmethod
    def at_pixel(head, z, features, join):
        return features @ head.W + head.b

    @staticmethod
    def reference(decoder, weights, trunk, join, head, z, images):
        import autograd.numpy as anp

        (S, B), (H, W) = z.shape[:2], decoder.trunk.shape
        maps = anp.reshape(decoder.maps(weights, z), (S * B, H, W, decoder.trunk.maps))
        features = decoder.trunk.reference(trunk, np.tile(images, (S, 1)), maps)
        return decoder.head.reference(head, anp.reshape(features, (S, B, H * W, -1)))

    def forward(self, z):
        states = self.over.forward(self.decoder.maps(self.weights, z).reshape(len(z) * self.batch, *self.shape))
        a = self.head.W.T @ states.features.transpose(0, 2, 1)
        a += self.head.b[:, None]
        record = self._record(a, z)
        record.states = states
        return record

    def _back(self, delta):
        """d features (S B, H W, C)."""
        return delta.transpose(0, 2, 1) @ self.head.W.T

    def _d_maps(self, d_maps, z):
        """Gradients of maps (S B, H, W, maps) as rows, and of z (S, B, D)."""
        rows = d_maps.reshape(len(d_maps), self.weights.shape[1])
        M = self.weights[: self.decoder.latent_dim]
        return rows, (rows @ M.T).reshape(z.shape)

    def backward(self, record):
        self._error(record)
        self.head.backward(record)
        record.delta = self.head.delta(record)
        record.d_maps, d_z = self._d_maps(self.over.backward(record.states, self._back(record.delta)), record.z)
        return d_z

    def tangent(self, record, z_dot):
        maps_dot = z_dot @ self.weights[: self.decoder.latent_dim]
        states = self.over.tangent(record.states, maps_dot.reshape(len(z_dot) * self.batch, *self.shape))
        dot = self._tangent(record, self.head.W.T @ states.features.transpose(0, 2, 1))
        d_maps = self.over.tangent_backward(record.states, states, self._back(dot.delta))
        dot.states, dot.z = states, z_dot
        dot.d_maps, d_z_dot = self._d_maps(d_maps, z_dot)
        return d_z_dot, dot

    def imaginary(self, record, moved, r):
        dot = super().imaginary(record, moved, r)
        dot.states = self.over.imaginary(record.states, moved.states, r)
        dot.d_maps = moved.d_maps.imag / r
        return dot

    def param_sum(self, dtype=None):
        return _InputSum(self, dtype or self.dtype)


class _InputSum:
    """sum_r w_r d log p(x | z_r) / d theta, (P,)."""

    def __init__(self, p, dtype):
        self.p, self.out, self.net_sum = p, p.head.sums(dtype), p.over.param_sum(dtype)
        self.W, self.b = np.zeros(p.head.W.shape, dtype), np.zeros(p.head.b.shape, dtype)
        self.maps = np.zeros(p.weights.shape, dtype)

    def add(self, record, weight=1.0):
        self.out.add(record.u, record.output, weight, 1)
        self._add_features(record.states, record.delta, weight, 1)
        self.net_sum.add(record.states, weight)
        self._add_maps(record.z, 1, record.d_maps, weight)

    def add_tangent(self, record, dot, weight=1.0):
        self.out.add(dot.u, record.output, weight, 0)
        self.out.add(record.u, dot.output, weight, 1)
        self._add_features(dot.states, record.delta, weight, 0)
        self._add_features(record.states, dot.delta, weight, 1)
        self.net_sum.add_tangent(record.states, dot.states, weight)
        self._add_maps(dot.z, 0, record.d_maps, weight)
        self._add_maps(record.z, 1, dot.d_maps, weight)

    def _add_features(self, states, delta, weight, last):
        """+ [f, last]^T delta, weighted."""
        weight = np.reshape(weight, (-1, 1, 1)).astype(delta.dtype, copy=False)
        self.W += ((delta @ states.features) * weight).sum(axis=0).T
        if last:
            self.b += (delta.sum(axis=2) * weight[:, 0]).sum(axis=0)

    def _add_maps(self, z, last, d_maps, weight):
        """+ [z, last]^T d_maps, weighted."""
        D, d_maps = self.p.decoder.latent_dim, d_maps * (weight if np.isscalar(weight) else weight[:, None])
        self.maps[:D] += z.reshape(len(d_maps), -1).T @ d_maps
        self.maps[D:] += last * d_maps.sum(axis=0)

    def value(self):
        head = self.p.decoder.head.gradient(self.W, self.b, self.out.V, self.out.c)
        return np.concatenate([self.maps.ravel(), self.net_sum.value(), head])


PLACES = {"late": Late, "input": Input}  # by the name of z_at
