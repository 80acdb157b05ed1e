"""Convolutions whose kernel is as wide as their stride, channels last: what makes an encoder's images smaller."""

from ..engine import given
from ..engine.files import expect


class Strided:
    """A convolution whose kernel is as wide as its stride: patches (s, s, C) side by side, each one row of a product.

    Images (N, H, W, C) become (N, H // s, W // s, outputs); what is left over at their ends is not read.
    shape: of its parameters [W; b], (s * s * inputs + 1, outputs).
    """

    def __init__(self, height, width, stride, inputs, outputs):
        self.stride, self.inputs, self.outputs = given.whole("stride", stride, 1), inputs, outputs
        self.height, self.width = height // stride, width // stride
        expect(
            "an image", f"{height} x {width}", self.height and self.width, f"at least {stride} x {stride}, the stride"
        )
        self.shape = stride * stride * inputs + 1, outputs

    def patches(self, x):
        """(N * H // s * W // s, s * s * C) of images x."""
        s, H, W = self.stride, self.height, self.width
        cut = x[:, : H * s, : W * s].reshape(len(x), H, s, W, s, self.inputs)
        return cut.transpose(0, 1, 3, 2, 4, 5).reshape(-1, s * s * self.inputs)

    def forward(self, layer, patches):
        """(N, H // s, W // s, outputs)."""
        return (patches @ layer[:-1] + layer[-1]).reshape(-1, self.height, self.width, self.outputs)

    def backward(self, layer, delta, out):
        """d x, written to `out`, images of zeros."""
        s, H, W = self.stride, self.height, self.width
        d = (delta.reshape(-1, self.outputs) @ layer[:-1].T).reshape(-1, H, W, s, s, self.inputs)
        out[:, : H * s, : W * s] = d.transpose(0, 1, 3, 2, 4, 5).reshape(-1, H * s, W * s, self.inputs)
        return out

    def gradient(self, patches, delta, out):
        """out += d [W; b]."""
        delta = delta.reshape(-1, self.outputs)
        out[:-1] += patches.T @ delta
        out[-1] += delta.sum(axis=0)
        return out
