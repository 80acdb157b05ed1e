"""PyTorch's side of hierarchies.py."""

import torch
from hierarchies import MOMENTUM, STEP_SIZE, K, shapes
from loops_torch import Loop, join, kl_from_standard, leaves, perceptron
from torch.nn.functional import binary_cross_entropy_with_logits, elu


def setup(sizes, dtype):
    return Hierarchy(sizes)


class Hierarchy(Loop):
    def __init__(self, s):
        nets, phi, self.trunk = shapes(s)
        super().__init__(([shape for net in nets for shape in net], phi), K, STEP_SIZE, MOMENTUM)
        self.dims = s["dims"]

    def given(self, decoder, x):
        return *decoder, x

    def encode(self, encoder, x):
        return perceptron(encoder, x, elu)

    def _nets(self, given):
        return [given[i : i + 6] for i in range(0, len(given) - 1, 6)]

    def loss(self, given, lam, noise):
        """-ELBO (B,), a KL term for each level, the top one's from N(0, I). One sample."""
        (decoder, *levels), x = self._nets(given), given[-1]
        mus, log_vars = (half.split(self.dims, 1) for half in lam.chunk(2, 1))
        zs = [m + torch.exp(s / 2) * e for m, s, e in zip(mus, log_vars, noise[0].split(self.dims, 1))]
        logits = perceptron(decoder, zs[0], elu)
        loss = binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        for net, above, mu, log_var in zip(levels, zs[1:], mus, log_vars):
            mu_p, log_var_p = perceptron(net, above, elu).chunk(2, 1)
            squares = (mu - mu_p) ** 2 * torch.exp(-log_var_p)
            loss = loss + 0.5 * (torch.exp(log_var - log_var_p) + squares - 1 + log_var_p - log_var).sum(1)
        return loss + kl_from_standard(torch.cat([mus[-1], log_vars[-1]], 1))

    @torch.no_grad()
    def _prior(self, given, like):
        """lam (B, 2D): each level's prior at the mean of the one above."""
        lams = [like.new_zeros((len(like), 2 * self.dims[-1]))]
        for net in reversed(self._nets(given)[1:]):
            lams.insert(0, perceptron(net, lams[0].chunk(2, 1)[0], elu))
        return torch.cat([half for i in (0, 1) for half in (lam.chunk(2, 1)[i] for lam in lams)], 1)

    @staticmethod
    def _update(trunk, lam, d_lam, x):
        """lam_{t+1}: two layers, the second with a highway, and a gate for each entry of lam."""
        W, b, W_2, b_2, heads, bias = trunk
        inputs = torch.cat([0.1 * torch.log(torch.abs(d_lam) + 1e-5), -torch.sign(d_lam), x, lam], 1)
        h = elu(torch.addmm(b, inputs, W))
        c, gate = torch.addmm(b_2, h, W_2).chunk(2, 1)
        gate = torch.sigmoid(gate)
        h = gate * elu(c) + (1 - gate) * h
        c, gate = torch.addmm(bias, h, heads).chunk(2, 1)
        gate = torch.sigmoid(gate)
        return gate * lam + (1 - gate) * c

    def iterative_step(self, theta, trunk, x, noise):
        """Loss (B,), d theta, d phi: each update learns from the gradient at its own result, its inputs held fixed."""
        decoder, trunk = leaves(theta, self.shapes[0]), leaves(trunk, self.trunk)
        fixed = [part.detach() for part in self.given(decoder, x)]
        lam = self._prior(fixed, x).requires_grad_()
        (d_lam,) = torch.autograd.grad(self.loss(fixed, lam, noise[0]).sum(), lam)
        for t, noise_t in enumerate(noise[1:], 1):
            proposed = self._update(trunk, lam.detach(), d_lam, x)
            lam = proposed.detach().requires_grad_()
            last = t == len(noise) - 1
            loss = self.loss(self.given(decoder, x) if last else fixed, lam, noise_t)
            d_lam, *d_theta = torch.autograd.grad(loss.sum(), [lam, *decoder] if last else [lam])
            proposed.backward(d_lam)
        return loss.detach(), join(d_theta), join([part.grad for part in trunk]) / (len(noise) - 1)
