"""JAX's side of pixels.py: images with their channels last."""

import jax.numpy as jnp
from jax import lax
from jax.nn import elu
from loops_jax import Loop, kl_from_standard, use
from peers_jax import sigmoid, softplus
from pixels import MOMENTUM, STEP_SIZE, K, layers, shapes


def setup(sizes, dtype):
    use(dtype)
    return Pixels(sizes)


def conv(x, W, kernel, around=((0, 0), (0, 0)), stride=1):
    """x (B, H, W, inputs) with taps W (height * width * inputs, outputs); around: zeros above and below, left and right."""
    W = W.reshape(*kernel, x.shape[-1], -1)
    return lax.conv_general_dilated(x, W, (stride, stride), around, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv_by_product(x, W, kernel, around):
    """The same as one product of all taps' shifted images side by side: within a scan four times as fast."""
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((a, b, 0) for a, b in around), (0, 0, 0)))
    height, width = (x.shape[1 + i] - kernel[i] + 1 for i in (0, 1))
    taps = [x[:, i : i + height, j : j + width] for i in range(kernel[0]) for j in range(kernel[1])]
    return jnp.concatenate(taps, axis=3) @ W


def gate(a):
    one, other = jnp.split(a, 2, axis=-1)
    return jnp.tanh(one) * sigmoid(other)


class Pixels(Loop):
    def __init__(self, s):
        super().__init__(shapes(s), K, STEP_SIZE, MOMENTUM)
        self.s, self.side, self.late = s, s["side"], s["z_at"] == "late"
        self.conv = conv if self.late else conv_by_product

    def _net(self, weights, x, maps):
        """The features (B, H, W, C) of images x (B, H, W, 1) with their maps: two stacks, v sees the lines above, h those left."""
        h = v = jnp.concatenate([x, jnp.broadcast_to(maps, (*x.shape[:3], maps.shape[-1]))], axis=3)
        C, features, first, conv = self.s["C"], 0.0, True, self.conv
        for l, (p, own, _, last) in enumerate(layers(self.s)):
            W, b, out, out_b, V, c, U = weights[7 * l : 7 * l + 7]
            a_v = conv(v, V, (p + own, 2 * p + 1), ((p, own - 1), (p, p))) + c
            a = conv(h, W, (1, p + own), ((0, 0), (p, own - 1))) + b + a_v @ U
            left = gate(a) @ out + out_b
            features += left[..., :C]
            if not last:
                v, h, first = gate(a_v), left[..., C:] if first else h + left[..., C:], False
        return features

    def _images(self, rows):
        return rows.reshape(len(rows), self.side, self.side, -1)

    def given(self, decoder, x):
        """With z late, what the features add to the head is computed here, once."""
        M, m, *weights = decoder
        weights, (join, *head) = weights[:-5], weights[-5:]
        if not self.late:
            return M, m, weights, *head, x
        features = self._net(weights, self._images(x), self._images(m[None]))
        return (features @ join + head[1]).reshape(*x.shape, -1), head[0], *head[2:], x

    def loss(self, given, lam, noise):
        """-ELBO (B,); one sample."""
        mu, log_var = jnp.split(lam, 2, axis=1)
        z, x = mu + jnp.exp(log_var / 2) * noise[0], given[-1]
        if self.late:
            a, W, out, out_b, _ = given
            a = a + (z @ W)[:, None]
        else:
            M, m, weights, W, b, out, out_b, _ = given
            a = self._net(weights, self._images(x), self._images(z @ M + m)) @ W + b
        logits = (gate(a) @ out + out_b).reshape(x.shape)
        return jnp.sum(softplus(logits) - x * logits, axis=1) + kl_from_standard(lam)

    def encode(self, encoder, x):
        h, (out, out_b), around = self._images(x), encoder[-2:], ((1, 1), (1, 1))
        for stage in range(len(self.s["stages"])):
            patches, b, W, c, V, d = encoder[6 * stage : 6 * stage + 6]
            h = conv(h, patches, (2, 2), stride=2) + b
            h = h + conv(elu(conv(elu(h), W, (3, 3), around) + c), V, (3, 3), around) + d
        return elu(h).reshape(len(x), -1) @ out + out_b
