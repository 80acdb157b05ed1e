"""The PyTorch side of any model: eager, Algorithm 1 of [SA] as a user of PyTorch writes it.

A family says `given` (what all inner steps share), `loss` [E2] and `encode`; theta and phi are flat, and are differentiated
matrix by matrix (leaves). Gradients with respect to theta and phi are sums over the batch; noise (K + 1, S, B, D).
"""

import math

import torch
from peers_torch import join


def leaves(flat, shapes):
    """Parameters by their shapes, each to be differentiated."""
    parts = torch.split(flat, [math.prod(shape) for shape in shapes])
    return [part.view(shape).detach().requires_grad_() for part, shape in zip(parts, shapes)]


def perceptron(parts, h, activation):
    """Of parts W, b, W, b, ..."""
    for W, b in zip(parts[:-2:2], parts[1:-2:2]):
        h = activation(torch.addmm(b, h, W))
    return torch.addmm(parts[-1], h, parts[-2])


def kl_from_standard(lam):
    """KL(q || N(0, I)) (B,)."""
    mu, log_var = lam.chunk(2, 1)
    return 0.5 * (torch.exp(log_var) + mu * mu - 1 - log_var).sum(1)


def gradients(outputs, inputs, weights=None):
    """Gradients, zeros where an output does not depend on an input."""
    return torch.autograd.grad(outputs, inputs, weights, allow_unused=True, materialize_grads=True)


class Loop:
    """shapes: (theta's, phi's)."""

    def __init__(self, shapes, K, alpha, gamma):
        self.shapes, self.K, self.alpha, self.gamma = shapes, K, alpha, gamma

    def given(self, decoder, x):
        """A tuple of tensors."""
        raise NotImplementedError

    def loss(self, given, lam, noise):
        """f (B,); lam (B, 2D), noise (S, B, D)."""
        raise NotImplementedError

    def encode(self, encoder, x):
        """lam_0 (B, 2D)."""
        raise NotImplementedError

    def _inner(self, given, lam, noise, **options):
        """lam_K, and the gradient at lam_0."""
        v, first = torch.zeros_like(lam), None
        for noise_k in noise:
            (d_lam,) = torch.autograd.grad(self.loss(given, lam, noise_k).sum(), lam, **options)
            first = d_lam if first is None else first
            v = self.gamma * v - d_lam
            lam = lam + self.alpha * v
            if not options:  # nothing flows through the steps
                lam = lam.detach().requires_grad_()
        return lam, first

    def svi_run(self, theta, lam, x, noise):
        """lam_K."""
        with torch.no_grad():
            given = self.given(leaves(theta, self.shapes[0]), x)
        given = [t.detach() for t in given]
        return self._inner(given, lam.detach().requires_grad_(), noise[: self.K])[0].detach()

    def _step(self, steps, theta, phi, x, noise):
        decoder, encoder = leaves(theta, self.shapes[0]), leaves(phi, self.shapes[1])
        given = self.given(decoder, x)
        lam, _ = self._inner(given, self.encode(encoder, x), noise[:steps], create_graph=True)
        loss = self.loss(given, lam, noise[-1])
        found = gradients(loss.sum(), decoder + encoder)
        return loss.detach(), join(found[: len(decoder)]), join(found[len(decoder) :])

    def vae_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi with K = 0 and the last noise."""
        return self._step(0, theta, phi, x, noise)

    def savae_step(self, theta, phi, x, noise):
        """The same for Algorithm 1, unrolled with create_graph and differentiated by autograd."""
        return self._step(self.K, theta, phi, x, noise)

    def savae_step_recomputed(self, theta, phi, x, noise):
        """The same with no step's graph kept: backward, each step is computed again for its Hessian product."""
        decoder, encoder = leaves(theta, self.shapes[0]), leaves(phi, self.shapes[1])
        given, lam_0 = self.given(decoder, x), self.encode(encoder, x)
        cut = [t.detach().requires_grad_(t.requires_grad) for t in given]
        learned = [t for t in cut if t.requires_grad]
        lams, v = [lam_0.detach().requires_grad_()], torch.zeros_like(lam_0)
        for noise_k in noise[: self.K]:
            (d_lam,) = torch.autograd.grad(self.loss(cut, lams[-1], noise_k).sum(), lams[-1])
            v = self.gamma * v - d_lam
            lams.append((lams[-1] + self.alpha * v).detach().requires_grad_())
        loss = self.loss(cut, lams[-1], noise[-1])
        lam_bar, *bars = gradients(loss.sum(), [lams.pop(), *learned])
        v_bar = torch.zeros_like(lam_bar)
        for k in reversed(range(self.K)):
            lam = lams.pop()
            v_bar = v_bar + self.alpha * lam_bar
            (d_lam,) = torch.autograd.grad(self.loss(cut, lam, noise[k]).sum(), lam, create_graph=True)
            h_lam, *h_theta = gradients(d_lam, [lam, *learned], v_bar)
            lam_bar = lam_bar - h_lam
            bars = [bar - h for bar, h in zip(bars, h_theta)]
            v_bar = self.gamma * v_bar
        d_theta = gradients([t for t in given if t.requires_grad], decoder, bars)
        return loss.detach(), join(d_theta), join(torch.autograd.grad(lam_0, encoder, lam_bar))

    def vae_svi_step(self, theta, phi, x, noise):
        """Loss (B,) and dL/dtheta at lam_K, dL/dphi at lam_0: nothing flows through the steps."""
        decoder, encoder = leaves(theta, self.shapes[0]), leaves(phi, self.shapes[1])
        given, lam_0 = self.given(decoder, x), self.encode(encoder, x)
        lam, first = self._inner([t.detach() for t in given], lam_0.detach().requires_grad_(), noise[: self.K])
        loss = self.loss(given, lam.detach(), noise[-1])
        d_theta = gradients(loss.sum(), decoder)
        return loss.detach(), join(d_theta), join(torch.autograd.grad(lam_0, encoder, first))

    def model_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta of a model without latents."""
        decoder = leaves(theta, self.shapes[0])
        loss = self.loss(self.given(decoder, x), noise.new_zeros((len(x), 0)), noise[-1])
        return loss.detach(), join(gradients(loss.sum(), decoder))
