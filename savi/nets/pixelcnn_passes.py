"""The passes of a Gated PixelCNN over fixed images: forward, backward, both tangents, summed gradients.

All that is done in these passes is linear but the gates: a pass of tangents is the pass itself with another gate. A
record has each layer's arrays, those of the grid with gaps of zeros: h and v, what a layer reads; a_v; g; and after the
backward pass d_h and d_s, the gradients of h' and of the features, delta_h and delta_v, those of a_h and a_v. A layer's
arrays lie on its own grid; between layers of kernels of different widths they are moved from one to the other.
"""

import types

import numpy as np

from ..engine.memory import empty
from .convolution import column_sums
from .gated import bends, gate, gate_back, halves, moved, slopes

ARRAYS = ("h", "v", "a_v", "g", "d_h", "d_s", "delta_h", "delta_v")


def product(a, b):
    """a b, in memory that may have been used before."""
    return np.matmul(a, b, out=empty((len(a), b.shape[1]), np.result_type(a, b)))


def empty_like(a):
    """An array like a, whose memory may have been used before."""
    return empty(a.shape, a.dtype)


class OverImages:
    """Features of images x (N, H W) as a function of maps; what depends on the parameters alone is done once, here."""

    def __init__(self, net, params, x):
        self.net, self.first, self.dtype = net, net.layers[0].grid, params.dtype
        self.x, self.views = x.reshape(len(x), *net.shape, 1), net.views(params)
        self.turned = [self._turned(layer, views) for layer, views in zip(net.layers, self.views)]

    @staticmethod
    def _turned(layer, views):
        """W and V for the way back; to the maps alone in the first layer, as nobody asks for d x."""
        turned = layer.across.turned(views["W"]), layer.down and layer.down.turned(views["V"])
        return [None if W is None else np.ascontiguousarray(W[:, 1:]) for W in turned] if layer.first else turned

    # --- forward ------------------------------------------------------------------------------------------------------

    def forward(self, maps=None):
        """A record; its features are (S N, H W, C). maps: (S N, H, W, maps), or None where the net has none."""

        def gated(step, name, a):
            g, step.gates[name] = gate(a)
            return g

        images, steps = len(self.x) if maps is None else len(maps), []
        x = np.broadcast_to(self.x, (images // len(self.x), *self.x.shape)).reshape(images, *self.x.shape[1:])
        u = x if maps is None else np.concatenate([x, maps], axis=3)
        u = self.first.put(u.astype(np.result_type(self.dtype, u), copy=False))
        features = self._through(u, steps, gated, 1)
        return types.SimpleNamespace(steps=steps, features=features)

    def tangent(self, record, maps_dot):
        """A record for R{.}, its features those of maps_dot (S N, H, W, maps)."""

        def gated(step, name, a_dot):
            ts = record.steps[len(steps) - 1].gates[name]
            a_dot = halves(a_dot)
            step.gates[name], step.bends[name] = slopes(ts), bends(ts, a_dot)
            return moved(step.gates[name], a_dot)

        steps = []
        still = np.zeros((*maps_dot.shape[:-1], 1), maps_dot.dtype)  # x does not move
        u = self.first.put(np.concatenate([still, maps_dot], axis=3))
        features = self._through(u, steps, gated, 0)
        return types.SimpleNamespace(steps=steps, features=features)

    def _through(self, u, steps, gated, last):
        """The features (N, H W, C) of u through all layers; `gated` is the gate, `last` what biases are multiplied with."""
        grid, C, images, dtype = self.first, self.net.channels, len(self.first.pixels(u)), u.dtype
        features = np.zeros((images, *self.net.shape, C), dtype)
        features += last * sum(views["out"][-1, :C] for views in self.views)
        h = v = u
        for layer, views in zip(self.net.layers, self.views):
            h, v, grid = layer.grid.take(h, grid), layer.grid.take(v, grid), layer.grid
            step = types.SimpleNamespace(h=h, v=v, a_v=None, gates={}, bends={})
            steps.append(step)
            a = self._affine(layer.across, views["W"], h, last)
            if layer.down:
                step.a_v = self._affine(layer.down, views["V"], v, last)
                grid.rows(a)[...] += product(grid.rows(step.a_v), views["U"])
                if not layer.last:
                    v = grid.empty(images, C, dtype)
                    grid.rows(v)[...] = gated(step, "v", grid.rows(step.a_v))
                    grid.clear(v)
            step.g = gated(step, "h", grid.rows(a))
            seen = grid.empty(images, C, dtype)
            np.matmul(step.g, views["out"][:-1, :C], out=grid.rows(seen))
            features += grid.pixels(seen)
            if not layer.last:
                h_next = grid.empty(images, C, dtype)
                np.matmul(step.g, views["out"][:-1, C:], out=grid.rows(h_next))
                grid.rows(h_next)[...] += last * views["out"][-1, C:]
                if not layer.first:
                    grid.rows(h_next)[...] += grid.rows(h)
                h = grid.clear(h_next)
        return features.reshape(images, -1, C)

    @staticmethod
    def _affine(conv, layer, x, last):
        a = conv.grid.empty(len(conv.grid.pixels(x)), conv.outputs, x.dtype)
        return conv.forward(layer, x, a) if last else conv.linear(layer, x, a)

    # --- backward -----------------------------------------------------------------------------------------------------

    def backward(self, record, d_features, shared=False):
        """d maps (S N, H, W, maps) from d features (S N, H W, C); completes the record.

        shared: whether the maps are those of all images, whose sum is returned, (1, H, W, maps): all that is behind them is linear.
        """

        def gate_back_(step, name, d, out):
            step.bends[name] = d  # kept for the tangent
            return gate_back(slopes(step.gates[name]), d, out)

        return self._back(record.steps, d_features, gate_back_, shared)

    def tangent_backward(self, record, dot, d_features_dot):
        """R{backward}: R{d maps} from R{d features}; completes dot."""
        steps = {id(step_dot): step for step, step_dot in zip(record.steps, dot.steps)}

        def gate_back_(step_dot, name, d_dot, out):
            gate_back(step_dot.bends[name], steps[id(step_dot)].bends[name], out)
            out += gate_back(step_dot.gates[name], d_dot, empty_like(out))
            return out

        return self._back(dot.steps, d_features_dot, gate_back_)

    def _back(self, steps, d_features, gate_back_, shared=False):
        C, images = self.net.channels, len(d_features)
        d_features = d_features.reshape(images, *self.net.shape, C)
        d_s, d_h, d_v, grid = None, None, None, None
        for layer, views, turned, step in reversed([*zip(self.net.layers, self.views, self.turned, steps)]):
            rows, out = layer.grid.rows, views["out"][:-1]
            if layer.grid is not grid:
                d_s = layer.grid.put(d_features)
                d_h, d_v = (None if d is None else layer.grid.take(d, grid) for d in (d_h, d_v))
                grid = layer.grid
            step.d_s, step.d_h = d_s, d_h
            d_g = product(rows(d_s), out[:, :C].T)
            if not layer.last:
                d_g += product(rows(d_h), out[:, C:].T)
            step.delta_h, step.delta_v = grid.empty(images, 2 * C, d_s.dtype), None
            gate_back_(step, "h", d_g, rows(step.delta_h))
            if layer.down:
                step.delta_v = grid.empty(images, 2 * C, d_s.dtype)
                np.matmul(rows(step.delta_h), views["U"].T, out=rows(step.delta_v))
                if not layer.last:
                    rows(step.delta_v)[...] += gate_back_(step, "v", rows(d_v), empty_like(rows(step.delta_v)))
            if layer.first:
                return self._d_maps(layer, turned, step, shared)
            back = self._input(layer.across, turned[0], step.delta_h, C)
            if not layer.last:
                rows(back)[...] += rows(d_h)
            d_h, d_v = back, layer.down and self._input(layer.down, turned[1], step.delta_v, C)

    @staticmethod
    def _input(conv, turned, delta, channels):
        """The gradient of what a convolution reads, of so many channels."""
        d = conv.grid.empty(len(conv.grid.pixels(delta)), channels, delta.dtype)
        return conv.grid.clear(conv.backward(turned, delta, d))

    def _d_maps(self, layer, turned, step, shared):
        both = [(layer.across, turned[0], step.delta_h), (layer.down, turned[1], step.delta_v)]
        d_maps = 0.0
        for conv, W, delta in both[: self.net.stacks]:
            if shared:
                delta = conv.grid.put(conv.grid.pixels(delta).sum(axis=0, keepdims=True))
            d_maps = d_maps + conv.grid.pixels(self._input(conv, W, delta, self.net.maps))
        return d_maps

    # --- sums -----------------------------------------------------------------------------------------------------------

    def imaginary(self, record, moved, r):
        """The tangent record from `moved`, the record at maps + i r maps_dot: the imaginary parts over r."""
        steps = []
        for step in moved.steps:
            arrays = {name: getattr(step, name) for name in ARRAYS}
            steps.append(types.SimpleNamespace(**{n: None if a is None else a.imag / r for n, a in arrays.items()}))
        return types.SimpleNamespace(steps=steps, features=moved.features.imag / r)

    def param_sum(self, dtype=None):
        """A sum of parameter gradients (size,): add, add_tangent and value, as engine.records.ParamSum."""
        return _Sum(self, self.dtype if dtype is None else dtype)


class _Sum:
    """sum_r w_r d params(record r), (size,); a weight is a number or one per image (S N,). A record has rows enough for
    products of its own: nothing is stacked."""

    def __init__(self, over, dtype):
        self.over, self.total = over, np.zeros(over.net.size, dtype)

    def add(self, record, weight=1.0):
        return self._add(record, record, weight, 1)

    def add_tangent(self, record, dot, weight=1.0):
        self._add(dot, record, weight, 0)
        return self._add(record, dot, weight, 1)

    def _add(self, left, right, weight, last):
        """+ weight * what `left` read, times the deltas of `right`; last: what biases read."""
        net, C = self.over.net, self.over.net.channels
        total = np.zeros_like(self.total)
        for layer, views, a, b in zip(net.layers, net.views(total), left.steps, right.steps):
            rows = layer.grid.rows
            delta_h, delta_v, d_s, d_h = (weighted(layer.grid, d, weight) for d in (b.delta_h, b.delta_v, b.d_s, b.d_h))
            layer.across.gradient(a.h, delta_h, views["W"], last)
            for d, columns in ((d_s, slice(None, C)), (d_h, slice(C, None))):
                if d is not None:
                    views["out"][:-1, columns] += a.g.T @ rows(d)
                    if last:
                        views["out"][-1, columns] += column_sums(rows(d))
            if layer.down:
                layer.down.gradient(a.v, delta_v, views["V"], last)
                views["U"] += rows(a.a_v).T @ rows(delta_h)
        self.total += total * weight if np.isscalar(weight) else total
        return self

    def value(self):
        """The sum (size,)."""
        return self.total


def weighted(grid, d, weight):
    """An array of a grid, each image times its weight; itself where all have the same."""
    if d is None or np.isscalar(weight):
        return d
    d = d.copy()
    grid.rows(d).reshape(len(weight), -1)[...] *= np.reshape(weight, (-1, 1))
    return d
