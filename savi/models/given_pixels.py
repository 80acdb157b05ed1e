"""What all PixelCNN decoders share of p(x | z; theta) as a function of z: a head over pixels, and what the likelihood says of it.

Where z enters is next door (pixels_at.py). The head works on images channels first, (S * B, channels, H W), with halves in its
parameters (nets/gated_head.py).
"""

import types

from .base import Given


class GivenPixels(Given):
    """p(x | z; theta) as a function of z. rows: pixels times images at a time, which says how large a chunk is (Decoder.chunk)."""

    rows = 0

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
    def work(trunk, head):
        """Multiplications in an evaluation of one example, and in what goes before it."""
        raise NotImplementedError

    @staticmethod
    def at_pixel(head, z, features, join):
        """The head's a (B, 2C) at a pixel with features (B, C)."""
        raise NotImplementedError

    @staticmethod
    def reference(decoder, weights, trunk, join, head, z, images):
        """The logits (S, B, H W, O) in autograd.numpy; weights, trunk, join, head: the parts of theta."""
        raise NotImplementedError

    def __init__(self, decoder, theta, x):
        self.decoder, self.likelihood, self.dtype = decoder, decoder.likelihood, theta.dtype
        self.batch, self.pixels = x.shape
        self.weights, trunk, self.join, head = decoder.split(theta)
        images, self.x = decoder.seen(x)
        self.over, self.shape = decoder.trunk.over(trunk, images), (*decoder.trunk.shape, decoder.trunk.maps)
        self.head = decoder.head.over(head)

    def _record(self, a, z):
        """The head's record of a (S * B, 2C, H W) and of what else belongs to it."""
        record = self.head.forward(a)
        record.z, record.error = z, False
        record.output = self.decoder.laid(record.output)
        return record

    def samples(self, record):
        return len(record.output) // self.batch

    def outputs(self, record):
        """(S, B, H W, O) of the head's output, a view."""
        return record.output.transpose(0, 2, 1).reshape(-1, self.batch, self.pixels, record.output.shape[1])

    def log_px(self, record):
        return self.decoder.whole(self.likelihood.log_prob(self._seen(record), self.x))

    def log_px_and_error(self, record):
        log_p, _, record.kept = self.likelihood.log_prob_and_error(self._seen(record), self.x)
        record.error = True
        return self.decoder.whole(log_p)

    def _seen(self, record):
        return self.decoder.seen_outputs(record.output, self.batch)

    def _error(self, record):
        """The error with respect to the head's outputs, written over them."""
        if not record.error:
            _, record.kept = self.likelihood.error(self._seen(record), self.x)
            record.error = True

    def _tangent(self, record, a_dot):
        """The head's tangent record of a_dot, complete; its delta is R{delta}."""
        dot = self.head.tangent(record, a_dot)
        dot.output = self.decoder.laid(dot.output)
        self.likelihood.tangent(self._seen(record), record.kept, self.x, None, self._seen(dot))
        dot.delta = self.head.tangent_backward(record, dot)
        return dot

    def imaginary(self, record, moved, r):
        found = {name: getattr(moved, name).imag / r for name in ("z", "u", "output")}
        return types.SimpleNamespace(delta=self.head.delta(moved).imag / r, **found)
