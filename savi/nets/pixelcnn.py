"""A Gated PixelCNN: features of each pixel that depend on the pixels before it alone.  van den Oord et al. 2016

Layer by layer, v and h the vertical and the horizontal stack, * a convolution, gate(a) = tanh(a_1) sigmoid(a_2):

    a_v = v * V + b_v;   v' = gate(a_v)                      lines above a pixel's own
    a_h = h * W + b_h + a_v U;   g = gate(a_h)               and the pixels to its left
    h' = h + g W_r + b_r;   features = sum over layers of g W_s + b_s

The first layer reads [x, maps], through taps that leave the pixel itself out (mask A), and has no h to add; the last
one has no h' and no v'. Two stacks see all pixels before a pixel. One stack (`stacks=1`) has a_h = h * W + b_h, a causal
kernel in place of all that, is quicker, and is blind to what lies to the right behind the edge of its kernels.
"""

import numpy as np

from ..engine import given
from ..engine.files import expect
from .convolution import Convolution, Grid, above, causal, image_shape, left
from .gated import reference as gate
from .pixelcnn_passes import OverImages


class Layer:
    """One layer: `across` [W; b] of the stack h, `down` [V; b_v] or None, their units C, whether it is the `first` or `last`."""

    def __init__(self, grid, kernel, inputs, channels, stacks, first, last):
        mask = "A" if first else "B"
        taps = left(kernel, mask) if stacks == 2 else causal(kernel, mask)
        self.grid, self.first, self.last, self.channels = grid, first, last, channels
        self.across = Convolution(grid, taps, inputs, 2 * channels)
        self.down = Convolution(grid, above(kernel, mask), inputs, 2 * channels) if stacks == 2 else None
        self.shapes = {"W": self.across.shape, "out": (channels + 1, channels if last else 2 * channels)}
        if self.down:
            self.shapes |= {"V": self.down.shape, "U": (2 * channels, 2 * channels)}

    def views(self, params):
        """{name: its part of params, a view}: W, out = [W_s, W_r; b_s, b_r], and of two stacks V and U."""
        views, start = {}, 0
        for name, (n, m) in self.shapes.items():
            views[name] = params[start : start + n * m].reshape(n, m)
            start += n * m
        return views

    @property
    def size(self):
        return sum(n * m for n, m in self.shapes.values())


class PixelCNN:
    """shape: (H, W) of the images. channels: C of each layer; layers: how many. kernel, first: odd widths of the kernels and
    of the first layer's. maps: further inputs beside x, of each pixel. stacks: 2, or 1 for the quick form with a blind spot."""

    def __init__(self, shape, channels=16, layers=4, kernel=3, first=7, maps=0, stacks=2):
        self.shape = image_shape(shape)
        self.channels = given.whole("channels", channels, 1)
        self.maps, self.stacks = given.whole("maps", maps), given.whole("stacks", stacks, 1)
        expect("stacks", stacks, self.stacks <= 2, "1 or 2")
        self.kernels = (first, *[kernel] * (given.whole("layers", layers, 1) - 1))
        height, width = self.shape
        grids = {k // 2: Grid(height, width, k // 2) for k in self.kernels}  # none reaches further than its layer needs
        ends = [i == 0 for i in range(layers)], [i == layers - 1 for i in range(layers)]
        self.layers = [
            Layer(
                grids[k // 2], k, self.channels if i else 1 + self.maps, self.channels, stacks, ends[0][i], ends[1][i]
            )
            for i, k in enumerate(self.kernels)
        ]
        self.size = sum(layer.size for layer in self.layers)
        self.pixels = height * width
        self.work = self.pixels * self.size  # multiplications in a pass of one image

    def __repr__(self):
        return (
            f"PixelCNN({list(self.shape)}, {self.channels}, kernels {list(self.kernels)}, {self.maps}, {self.stacks})"
        )

    def views(self, params):
        """A dict of views of params (size,) for each layer."""
        ends = np.cumsum([layer.size for layer in self.layers])[:-1]
        return [layer.views(part) for layer, part in zip(self.layers, np.split(params, ends))]

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): weights uniform with variance 1 / inputs of a unit, U's half of that; biases zero."""
        params = np.zeros(self.size, dtype)
        for views in self.views(params):
            for name, view in views.items():
                weights = view if name == "U" else view[:-1]
                weights[...] = rng.uniform(-1, 1, weights.shape) * np.sqrt(3 / max(1, len(weights)))
        return params

    def over(self, params, x):
        """The net at fixed parameters on fixed images x (N, H W): an OverImages."""
        return OverImages(self, params, x)

    def reference(self, params, x, maps=None):
        """The features (N, H, W, C) of images x (N, H W) and maps (N, H, W, maps) in autograd.numpy: the judge."""
        import autograd.numpy as anp

        u = anp.reshape(x, (-1, *self.shape, 1))
        h = v = u if maps is None else anp.concatenate([u, maps], axis=3)
        C, start, features = self.channels, 0, 0.0
        for layer in self.layers:
            parts = {}
            for name, (n, m) in layer.shapes.items():
                parts[name] = anp.reshape(params[start : start + n * m], (n, m))
                start += n * m
            a = layer.across.reference(parts["W"], h)
            if layer.down:
                a_v = layer.down.reference(parts["V"], v)
                a, v = a + anp.dot(a_v, parts["U"]), gate(a_v)
            out = anp.dot(gate(a), parts["out"][:-1]) + parts["out"][-1]
            features = features + out[..., :C]
            if not layer.last:
                h = out[..., C:] if layer.first else h + out[..., C:]
        return features
