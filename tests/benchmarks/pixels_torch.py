"""PyTorch's side of pixels.py: images in PyTorch's layout (channels first), stored channels last, as its convolutions like it."""

import torch
from loops_torch import Loop, kl_from_standard
from pixels import MOMENTUM, STEP_SIZE, K, layers, shapes
from torch.nn.functional import binary_cross_entropy_with_logits, conv2d, elu, pad


def setup(sizes, dtype):
    return Pixels(sizes)


def kernel(W, height, width):
    """Taps (height * width * inputs, outputs) as PyTorch's weights (outputs, inputs, height, width)."""
    return W.view(height, width, -1, W.shape[1]).permute(3, 2, 0, 1)


def gate(a):
    one, other = a.chunk(2, 1)
    return torch.tanh(one) * torch.sigmoid(other)


class Pixels(Loop):
    def __init__(self, s):
        super().__init__(shapes(s), K, STEP_SIZE, MOMENTUM)
        self.s, self.side, self.late = s, s["side"], s["z_at"] == "late"

    def _net(self, weights, x, maps):
        """The features (B, C, H, W) of images x (B, 1, H, W) with their maps: two stacks, v sees the lines above, h those left."""
        h = v = torch.cat([x, maps.expand(len(x), -1, -1, -1)], 1).contiguous(memory_format=torch.channels_last)
        C, features, first = self.s["C"], 0.0, True
        for l, (p, own, _, last) in enumerate(layers(self.s)):
            W, b, out, out_b, V, c, U = weights[7 * l : 7 * l + 7]
            a_v = conv2d(pad(v, (p, p, p, own - 1)), kernel(V, p + own, 2 * p + 1), c)
            a = conv2d(pad(h, (p, own - 1, 0, 0)), kernel(W, 1, p + own), b)
            a = a + conv2d(a_v, kernel(U, 1, 1))
            left = conv2d(gate(a), kernel(out, 1, 1), out_b)
            features = features + left[:, :C]
            if not last:
                v, h, first = gate(a_v), left[:, C:] if first else h + left[:, C:], False
        return features

    def _maps(self, rows):
        return rows.view(len(rows), self.side, self.side, -1).permute(0, 3, 1, 2)

    def given(self, decoder, x):
        """With z late, what the features add to the head is computed here, once."""
        M, m, *weights = decoder
        images, weights, (join, *head) = x.view(-1, 1, self.side, self.side), weights[:-5], weights[-5:]
        if not self.late:
            return M, m, *weights, *head, x
        features = self._net(weights, images, self._maps(m[None]))
        rows = features.permute(0, 2, 3, 1).reshape(-1, self.s["C"])
        return torch.addmm(head[1], rows, join).view(*x.shape, -1), head[0], *head[2:], x

    def loss(self, given, lam, noise):
        """-ELBO (B,); one sample."""
        mu, log_var = lam.chunk(2, 1)
        z, x = mu + torch.exp(log_var / 2) * noise[0], given[-1]
        if self.late:
            a, W, out, out_b, _ = given
            a = (a + (z @ W)[:, None]).flatten(0, 1)
        else:
            M, m, *weights, W, b, out, out_b, _ = given
            maps = self._maps(torch.addmm(m, z, M))
            features = self._net(weights, x.view(-1, 1, self.side, self.side), maps)
            a = torch.addmm(b, features.permute(0, 2, 3, 1).reshape(-1, self.s["C"]), W)
        logits = torch.addmm(out_b, gate(a), out).view(x.shape)
        return binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1) + kl_from_standard(lam)

    def encode(self, encoder, x):
        h, out, out_b = x.view(-1, 1, self.side, self.side), *encoder[-2:]
        h = h.contiguous(memory_format=torch.channels_last)
        for stage in range(len(self.s["stages"])):
            patches, b, W, c, V, d = encoder[6 * stage : 6 * stage + 6]
            h = conv2d(h, kernel(patches, 2, 2), b, stride=2)
            h = h + conv2d(elu(conv2d(elu(h), kernel(W, 3, 3), c, padding=1)), kernel(V, 3, 3), d, padding=1)
        return torch.addmm(out_b, elu(h).permute(0, 2, 3, 1).reshape(len(x), -1), out)
