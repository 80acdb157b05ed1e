"""A residual network from images to lam.  He et al. 2016; the encoder of [SA] 5.3

    each stage:  h = patches of 2 x 2 pixels, affine to the stage's channels;  h' = h + conv2(phi(conv1(phi(h)))), blocks times
    at the end:  lam = [phi(h) of all places side by side, 1] [W; b]

There is no normalization. Batch normalization would make an example's lam depend on the others in its batch, and nothing
here mixes a batch; group normalization would not, but these nets are a few blocks deep, and with each block's second
convolution at zero a net begins as an affine map from patch to patch, whatever its depth (Zhang, Dauphin & Ma 2019).
"""

import types

import numpy as np

from ..engine import given
from ..engine.files import InputError, expect
from .activations import ACTIVATIONS
from .base import Encoder
from .convolution import Convolution, Grid, image_shape, same
from .strided import Strided


class ResNet(Encoder):
    """lam (B, outputs) of images x (B, H W). shape: (H, W); channels: of each stage, which halves H and W (rounded down).

    blocks: residual blocks of a stage. phi: layer by layer [W; b] in C order: stage by stage its patches' and its blocks' two
    convolutions each; then the affine layer. Raises InputError where the image is too small for so many stages.
    """

    def __init__(self, shape, channels, outputs, blocks=1, kernel=3, activation="elu"):
        self.shape = image_shape(shape)
        self.channels = tuple(given.listed("channels", channels, "a list of whole numbers"))
        self.blocks, self.kernel, self.outputs = given.whole("blocks", blocks), kernel, given.whole("outputs", outputs)
        self.activation = ACTIVATIONS[given.one_of("activation", activation, ACTIVATIONS)]
        expect("channels", list(self.channels), len(self.channels), "at least one stage")
        (height, width), inputs, self.stages = self.shape, 1, []
        for n in self.channels:
            strided = Strided(height, width, 2, inputs, given.whole("channels", n, 1))
            height, width, inputs = strided.height, strided.width, n
            conv = Convolution(Grid(height, width, kernel // 2), same(kernel), n, n)
            self.stages.append((strided, conv))
        self.inputs, self.places = self.shape[0] * self.shape[1], height * width * inputs
        self.shapes = [s for strided, conv in self.stages for s in (strided.shape, *[conv.shape] * 2 * self.blocks)]
        self.shapes.append((self.places + 1, self.outputs))
        self.size = sum(n * m for n, m in self.shapes)

    def __repr__(self):
        more = f"{self.blocks}, {self.kernel}, {self.activation.name!r}"
        return f"ResNet({list(self.shape)}, {list(self.channels)}, {self.outputs}, {more})"

    def layers(self, phi):
        """Views [W; b] of phi (Q,), one per layer."""
        ends = np.cumsum([n * m for n, m in self.shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(phi, ends[:-1]), self.shapes)]

    def init(self, rng, dtype=np.float64):
        """phi (Q,): weights uniform with variance 1 / inputs, those of each block's second convolution and all biases zero."""
        phi = np.zeros(self.size, dtype)
        for l, layer in enumerate(self.layers(phi)[:-1]):
            place = l % (2 * self.blocks + 1)  # in its stage: the patches, then each block's two
            if place == 0 or place % 2:
                self._draw(layer, rng)
        self._draw(self.layers(phi)[-1], rng)
        return phi

    @staticmethod
    def _draw(layer, rng):
        layer[:-1] = rng.uniform(-1, 1, layer[:-1].shape) * np.sqrt(3 / (len(layer) - 1))

    def evaluate(self, phi, x):
        """The record of one pass over x (B, H W); its output is record.output (B, outputs). InputError on another width."""
        if np.ndim(x) != 2 or np.shape(x)[1] != self.inputs:
            raise InputError(f"{self!r} takes (rows, {self.inputs}); got {np.shape(x)}")
        layers, record = iter(self.layers(phi)), types.SimpleNamespace(patches=[], units=[])
        h = np.asarray(x, np.result_type(phi, x)).reshape(-1, *self.shape, 1)
        for strided, conv in self.stages:
            record.patches.append(strided.patches(h))
            h = conv.grid.put(strided.forward(next(layers), record.patches[-1]))
            for _ in range(self.blocks):
                first = self._active(h, conv)
                second = self._active(conv.forward(next(layers), first, _like(h)), conv)
                record.units.append((first, second))
                h = h + conv.grid.clear(conv.forward(next(layers), second, _like(h)))
            h = conv.grid.pixels(h)
        record.flat = h.reshape(-1, self.places).copy()
        self.activation.apply(record.flat)
        layer = next(layers)
        record.output = record.flat @ layer[:-1] + layer[-1]
        return record

    def _active(self, h, conv):
        """phi(h) of an array of a grid, with gaps of zeros: a new one."""
        h = h.copy()
        self.activation.apply(conv.grid.rows(h))
        return conv.grid.clear(h)

    def gradient(self, phi, record, d_output):
        """d phi (Q,) from d output (B, outputs) and the record of the pass that ran."""
        total = np.zeros(self.size, np.result_type(phi, d_output))
        layers, sums = self.layers(phi), self.layers(total)
        sums[-1][:-1], sums[-1][-1] = record.flat.T @ d_output, d_output.sum(axis=0)
        d = (d_output @ layers[-1][:-1].T) * self.activation.slope(record.flat)
        l, units = len(layers) - 1, list(record.units)
        for i, (strided, conv) in reversed(list(enumerate(self.stages))):
            d = conv.grid.put(d.reshape(-1, strided.height, strided.width, strided.outputs))
            for _ in range(self.blocks):
                l -= 2
                d = d + self._block_back(conv, layers[l : l + 2], units.pop(), d, sums[l : l + 2])
            l, d = l - 1, conv.grid.pixels(d)
            strided.gradient(record.patches[i], d, sums[l])
            if i:
                before = self.stages[i - 1][0]
                out = np.zeros((len(d), before.height, before.width, before.outputs), d.dtype)
                d = strided.backward(layers[l], d, out)
        return total

    def _block_back(self, conv, layers, units, d, sums):
        """d of a block's input by way of its two convolutions; their gradients are added to `sums`."""
        for layer, h, total in zip(layers[::-1], units[::-1], sums[::-1]):
            conv.gradient(h, d, total)
            d = conv.backward(conv.turned(layer), d, _like(d))
            conv.grid.rows(d)[...] *= self.activation.slope(conv.grid.rows(h))
            conv.grid.clear(d)
        return d

    def reference(self, phi, x):
        """lam (B, outputs) in autograd.numpy: the judge."""
        import autograd.numpy as anp

        layers, start = [], 0
        for n, m in self.shapes:
            layers.append(anp.reshape(phi[start : start + n * m], (n, m)))
            start += n * m
        layers, h, phi_of = iter(layers), anp.reshape(x, (-1, *self.shape, 1)), self.activation.reference
        for strided, conv in self.stages:
            H, W, layer = strided.height, strided.width, next(layers)
            quarters = [h[:, i : 2 * H : 2, j : 2 * W : 2] for i in (0, 1) for j in (0, 1)]
            h = anp.dot(anp.concatenate(quarters, axis=3), layer[:-1]) + layer[-1]
            for _ in range(self.blocks):
                first = phi_of(conv.reference(next(layers), phi_of(h)))
                h = h + conv.reference(next(layers), first)
        layer = next(layers)
        return anp.dot(phi_of(anp.reshape(h, (len(h), -1))), layer[:-1]) + layer[-1]


def _like(a):
    """An array like a with a's margins, zeros all of it."""
    return np.zeros_like(a)
