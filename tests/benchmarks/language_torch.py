"""PyTorch's side of language.py."""

import torch
from language import MOMENTUM, STEP_SIZE, shapes
from loops_torch import Loop, kl_from_standard
from torch.nn.functional import cross_entropy, embedding


def setup(sizes, dtype):
    return Language(sizes)


def lstm(inputs, W_h, h, c):
    """The states (T, B, H): inputs (T, B, 4H) are what does not come from the state before."""
    H, states = h.shape[1], []
    for a in inputs:
        a = torch.addmm(a, h, W_h)
        i, f, o = torch.sigmoid(a[:, : 3 * H]).chunk(3, 1)
        c = f * c + i * torch.tanh(a[:, 3 * H :])
        h = o * torch.tanh(c)
        states.append(h)
    return torch.stack(states)


class Language(Loop):
    def __init__(self, s):
        super().__init__(shapes(s), s["K"], STEP_SIZE, MOMENTUM)
        self.V, self.H = s["V"], s["H"]

    def given(self, decoder, x):
        """What does not depend on z: the words' share of the cells' inputs among it."""
        words, W, b, *others = decoder
        H, tokens = self.H, x.T
        inputs = torch.cat([torch.full_like(tokens[:1], self.V), tokens[:-1]])
        a = torch.addmm(b, embedding(inputs, words).flatten(0, 1), W[:H]).view(*inputs.shape, -1)
        return a, W[H:-H], W[-H:], *others, tokens

    def loss(self, given, lam, noise):
        """-ELBO (B,); one sample."""
        a, W_z, W_h, start, start_b, W, b, tokens = given
        mu, log_var = lam.chunk(2, 1)
        z = mu + torch.exp(log_var / 2) * noise[0]
        h, c = torch.addmm(start_b, z, start).chunk(2, 1)
        states = lstm(a + z @ W_z, W_h, h, c)
        logits = torch.addmm(b, states.flatten(0, 1), W)
        costs = cross_entropy(logits, tokens.flatten(), reduction="none").view(tokens.shape)
        return costs.sum(0) + kl_from_standard(lam)

    def encode(self, encoder, x):
        words, W, b, out, out_b = encoder
        H, tokens = self.H, x.T
        a = torch.addmm(b, embedding(tokens, words).flatten(0, 1), W[:H]).view(*tokens.shape, -1)
        zero = a.new_zeros((len(x), H))
        return torch.addmm(out_b, lstm(a, W[H:], zero, zero)[-1], out)
