"""The PyTorch side of the benchmark: eager, in three forms of the SA-VAE step.

The mathematics is the project's own ([E2], [E3], [E8], [E11], Algorithm 1 of [SA]); the arrays are CPU tensors.
Decoder D-H-H-M and encoder M-H-H-2D, both tanh; theta and phi flat, layer by layer: W (in, out) in C order, then b.
theta (P,), phi (Q,), lam (B, 2D) = [mu, log_var], x (B, M) in {0, 1}, noise (K+1, S, B, D) unless said otherwise.
Gradients with respect to theta and phi are sums over the batch.
"""

import itertools
import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, softplus

NAME = "PyTorch"
CHUNK_ROWS = 250  # decoder rows of one chunk of importance samples: few enough to stay in the cache


def set_threads(n):
    """Use n threads; works at any time."""
    torch.set_num_threads(n)


def to_device(array):
    return torch.tensor(array)


def to_numpy(tensor):
    return tensor.numpy()


def setup(H, K, dtype, alpha, gamma, beta=1.0, D=32, M=784):
    """The operations for one setting; the dtype is that of the tensors given to them."""
    return Peer(H, K, alpha, gamma, beta, D, M)


def split(flat, sizes, leaves=False):
    """[W, b, W, b, …], views of the flat vector; leaves: to be differentiated (each, rather than the vector: faster)."""
    parts, start = [], 0
    for rows, columns in itertools.pairwise(sizes):
        middle = start + rows * columns
        parts += [flat[start:middle].view(rows, columns), flat[middle : middle + columns]]
        start = middle + columns
    return [part.detach().requires_grad_() for part in parts] if leaves else parts


def join(parts):
    return torch.cat([part.reshape(-1) for part in parts])


def mlp(parts, h):
    for W, b in zip(parts[:-2:2], parts[1:-2:2]):
        h = torch.tanh(torch.addmm(b, h, W))
    return torch.addmm(parts[-1], h, parts[-2])


class Peer:
    def __init__(self, H, K, alpha, gamma, beta, D, M):
        self.K, self.alpha, self.gamma, self.beta = K, alpha, gamma, beta
        self.decoder, self.encoder = (D, H, H, M), (M, H, H, 2 * D)

    def _kl(self, lam):
        mu, log_var = lam.chunk(2, 1)
        return 0.5 * (torch.exp(log_var) + mu * mu - 1 - log_var).sum(1)

    def _loss(self, parts, lam, x, noise):
        """f [E2] with [E3], [E8]: (B,). (softplus(a) - x a is as fast here as the fused cross-entropy.)"""
        mu, log_var = lam.chunk(2, 1)
        logits = mlp(parts, (mu + torch.exp(log_var / 2) * noise).flatten(0, 1)).view(*noise.shape[:2], -1)
        errors = binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return errors.sum(2).mean(0) + self.beta * self._kl(lam)

    def savae_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi: Algorithm 1 unrolled with create_graph, differentiated by autograd.

        (grad_lam f as plain tensor operations, differentiated once, comes halfway to savae_step_byhand; torch.func's jvp
        of grad per backward step is several times slower than this.)
        """
        decoder, encoder = split(theta, self.decoder, leaves=True), split(phi, self.encoder, leaves=True)
        lam = mlp(encoder, x)
        v = torch.zeros_like(lam)
        for k in range(self.K):
            (d_lam,) = torch.autograd.grad(self._loss(decoder, lam, x, noise[k]).sum(), lam, create_graph=True)
            v = self.gamma * v - d_lam
            lam = lam + self.alpha * v
        loss = self._loss(decoder, lam, x, noise[-1])
        gradients = torch.autograd.grad(loss.sum(), decoder + encoder)
        return loss.detach(), join(gradients[: len(decoder)]), join(gradients[len(decoder) :])

    @torch.no_grad()
    def _gradient(self, parts, lam, x, noise):
        """grad_lam f [E11], and the record of the pass: inputs h and deltas d of the layers, and what else is used again."""
        W1, b1, W2, b2, W3, b3 = parts
        mu, log_var = lam.chunk(2, 1)
        variance, spread = torch.exp(log_var), torch.exp(log_var / 2) * noise
        z = (mu + spread).flatten(0, 1)
        h1 = torch.addmm(b1, z, W1).tanh_()
        h2 = torch.addmm(b2, h1, W2).tanh_()
        p = torch.addmm(b3, h2, W3).sigmoid_()
        d3 = (p.view(len(noise), -1, p.shape[1]) - x).flatten(0, 1)
        if len(noise) > 1:
            d3 /= len(noise)
        s1, s2 = (torch.mul(h, h).neg_().add_(1) for h in (h1, h2))
        d2 = torch.mm(d3, W3.t()).mul_(s2)
        d1 = torch.mm(d2, W2.t()).mul_(s1)
        dz = torch.mm(d1, W1.t()).view(noise.shape)
        d_log_var = (dz * spread).sum(0).add_(variance - 1, alpha=self.beta).mul_(0.5)
        d_lam = torch.cat([torch.add(dz.sum(0), mu, alpha=self.beta), d_log_var], 1)
        return d_lam, ((z, h1, h2), (d1, d2, d3), p, s1, s2, dz, spread, variance)

    @torch.no_grad()
    def _tangent(self, parts, record, v):
        """H_{lam,lam} v, and the tangents of h and d (R-operator)."""
        W1, _, W2, _, W3, _ = parts
        (_, h1, h2), (d1, d2, _), p, s1, s2, dz, spread, variance = record
        v_mu, v_log_var = v.chunk(2, 1)
        spread_dot = 0.5 * v_log_var * spread
        z_dot = (v_mu + spread_dot).flatten(0, 1)
        a1_dot = z_dot @ W1
        h1_dot = a1_dot * s1
        a2_dot = h1_dot @ W2
        h2_dot = a2_dot * s2
        d3_dot = torch.mm(h2_dot, W3).mul_(torch.addcmul(p, p, p, value=-1))
        if len(spread) > 1:
            d3_dot /= len(spread)
        d2_dot = torch.mm(d3_dot, W3.t()).mul_(s2).addcmul_(d2 * h2, a2_dot, value=-2)
        d1_dot = torch.mm(d2_dot, W2.t()).mul_(s1).addcmul_(d1 * h1, a1_dot, value=-2)
        dz_dot = torch.mm(d1_dot, W1.t()).view(spread.shape)
        h_mu = torch.add(dz_dot.sum(0), v_mu, alpha=self.beta)
        h_log_var = (dz_dot * spread).addcmul_(dz, spread_dot).sum(0).addcmul_(variance, v_log_var, value=self.beta)
        return torch.cat([h_mu, h_log_var.mul_(0.5)], 1), (z_dot, h1_dot, h2_dot), (d1_dot, d2_dot, d3_dot)

    @torch.no_grad()
    def _value(self, parts, lam, x, noise):
        """Loss (B,), grad_lam f and grad_theta f [E13], one tensor per part."""
        d_lam, (h, d, *_) = self._gradient(parts, lam, x, noise)
        logits = torch.addmm(parts[-1], h[-1], parts[-2]).view(*noise.shape[:2], -1)
        loss = (softplus(logits) - x * logits).sum(2).mean(0) + self.beta * self._kl(lam)
        return loss, d_lam, [part for h_l, d_l in zip(h, d) for part in (h_l.t() @ d_l, d_l.sum(0))]

    def loss_gradient(self, theta, lam, x, noise):
        """Loss (B,), d_lam (B, 2D), d_theta (P,); noise (S, B, D)."""
        loss, d_lam, d_parts = self._value(split(theta, self.decoder), lam, x, noise)
        return loss, d_lam, join(d_parts)

    @torch.no_grad()
    def _forward(self, parts, lam, x, noise):
        """The steps of Algorithm 1, one for each noise (S, B, D): lam_K, and each step's lam, gradient and record."""
        v, steps = torch.zeros_like(lam), []
        for noise_k in noise:
            d_lam, record = self._gradient(parts, lam, x, noise_k)
            steps.append((lam, d_lam, record))
            v = self.gamma * v - d_lam
            lam = torch.add(lam, v, alpha=self.alpha)
        return lam, steps

    def svi_run(self, theta, lam0, x, noise):
        """lam_K."""
        return self._forward(split(theta, self.decoder), lam0, x, noise[: self.K])[0]

    def _byhand(self, steps, theta, phi, x, noise, product):
        """Algorithm 1, forward and backward; product(parts, step, x, noise_k, v, theta_bar) gives H_{lam,lam} v and subtracts
        H_{theta,lam} v from theta_bar, in place."""
        decoder, encoder = split(theta, self.decoder), split(phi, self.encoder, leaves=True)
        lam0 = mlp(encoder, x)
        lam, records = self._forward(decoder, lam0.detach(), x, noise[:steps])
        loss, lam_bar, theta_bar = self._value(decoder, lam, x, noise[-1])
        v_bar = torch.zeros_like(lam_bar)
        for k in reversed(range(steps)):
            v_bar = torch.add(v_bar, lam_bar, alpha=self.alpha)
            lam_bar = lam_bar - product(decoder, records[k], x, noise[k], v_bar, theta_bar)
            v_bar = self.gamma * v_bar
        return loss, join(theta_bar), join(torch.autograd.grad(lam0, encoder, lam_bar))

    def vae_step(self, theta, phi, x, noise):
        """The same results for K = 0, with the last noise. (By autograd alone: a tenth slower.)"""
        return self._byhand(0, theta, phi, x, noise, None)

    def savae_step_byhand(self, theta, phi, x, noise):
        """The same as savae_step, Algorithm 1 backward written out. (One product for all steps stacked: a tenth slower.)"""

        def product(parts, step, x, noise_k, v, theta_bar):
            hs, ds = step[2][:2]
            h_lam, h_dots, d_dots = self._tangent(parts, step[2], v)
            for W, b, h, d, h_dot, d_dot in zip(theta_bar[::2], theta_bar[1::2], hs, ds, h_dots, d_dots):
                W.addmm_(h.t(), d_dot, alpha=-1).addmm_(h_dot.t(), d, alpha=-1)
                b.sub_(d_dot.sum(0))
            return h_lam

        return self._byhand(self.K, theta, phi, x, noise, product)

    def savae_step_finite(self, theta, phi, x, noise, r=1e-5):
        """The same with forward differences of step r instead of exact products, as [SA] does."""

        def product(parts, step, x, noise_k, v, theta_bar):
            lam, d_lam, record = step
            d_moved, moved = self._gradient(parts, lam + r * v, x, noise_k)
            for sign, (hs, ds, *_) in ((-1, moved), (1, record)):
                for W, b, h, d in zip(theta_bar[::2], theta_bar[1::2], hs, ds):
                    W.addmm_(h.t(), d, alpha=sign / r)
                    b.add_(d.sum(0), alpha=sign / r)
            return (d_moved - d_lam) / r

        return self._byhand(self.K, theta, phi, x, noise, product)

    @torch.no_grad()
    def importance(self, theta, lam, x, samples, noise=None, seed=0):
        """log (1/S) sum_s p(x, z_s) / q(z_s) [E5]: (B,), streamed in chunks; noise (samples, B, D) or drawn from seed.

        (The logarithm of a product of 1 + exp(-|a|) instead of a sum of softplus gains nothing.)
        """
        parts = split(theta, self.decoder)
        mu, log_var = lam.chunk(2, 1)
        x_weight, x_bias = x @ parts[-2].t(), x @ parts[-1]  # x . (W^T h + b) without a pass over the logits
        generator = torch.Generator().manual_seed(seed)
        chunk = max(1, CHUNK_ROWS // len(x))
        total = torch.full_like(lam[:, 0], -torch.inf)
        for start in range(0, samples, chunk):
            size = min(chunk, samples - start)
            if noise is None:
                e = torch.randn((size, *mu.shape), dtype=lam.dtype, generator=generator)
            else:
                e = noise[start : start + size]
            z = mu + torch.exp(log_var / 2) * e
            h = torch.tanh(mlp(parts[:-2], z.flatten(0, 1)))
            logits = torch.addmm(parts[-1], h, parts[-2])
            log_px = (h.view(size, len(x), -1) * x_weight).sum(2) + x_bias - softplus(logits).sum(1).view(size, -1)
            log_w = log_px + 0.5 * (e * e - z * z + log_var).sum(2)
            total = torch.logaddexp(total, log_w.logsumexp(0))
        return total - math.log(samples)


def setup_sequences(shapes, K, dtype, alpha, gamma):
    """The steps of the synthetic experiment; shapes: of theta's and phi's matrices, [W; b] each, embeddings first."""
    return SequencePeer(shapes, K, alpha, gamma)


class SequencePeer:
    """An LSTM encoder and an LSTM decoder whose output network takes z; tokens (B, T); the states are computed once."""

    def __init__(self, shapes, K, alpha, gamma):
        self.shapes, self.K, self.alpha, self.gamma = shapes, K, alpha, gamma

    def _leaves(self, flat, shapes):
        parts = torch.split(flat, [n * m for n, m in shapes])
        return [part.view(shape).detach().requires_grad_() for part, shape in zip(parts, shapes)]

    def _states(self, embeddings, W, tokens):
        E, H = embeddings.shape[1], W.shape[1] // 4
        a_words = embeddings[tokens] @ W[:E] + W[-1]
        h = c = torch.zeros(tokens.shape[1], H, dtype=W.dtype)
        states = []
        for a in a_words:
            a = torch.addmm(a, h, W[E:-1])
            i, f, o = torch.sigmoid(a[:, : 3 * H]).chunk(3, 1)
            c = f * c + i * torch.tanh(a[:, 3 * H :])
            h = o * torch.tanh(c)
            states.append(h)
        return torch.stack(states)

    def _loss(self, head, from_h, lam, tokens, noise):
        first, last = head
        mu, log_var = lam.chunk(2, 1)
        z = mu + torch.exp(log_var / 2) * noise
        a = from_h + (z @ first[:-1] + first[-1])[:, None]
        logits = torch.tanh(a) @ last[:-1] + last[-1]
        target = tokens.expand(len(noise), -1, -1)
        costs = cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none").view(target.shape)
        return 0.5 * (torch.exp(log_var) + mu * mu - 1 - log_var).sum(1) + costs.sum(1).mean(0)

    def _step(self, steps, theta, phi, x, noise):
        tokens = x.T
        inputs = torch.cat([torch.full_like(tokens[:1], self.shapes[0][0][0] - 1), tokens[:-1]])
        decoder, encoder = self._leaves(theta, self.shapes[0]), self._leaves(phi, self.shapes[1])
        lam = self._states(*encoder[:2], tokens)[-1] @ encoder[2][:-1] + encoder[2][-1]
        from_h = self._states(*decoder[:2], inputs) @ decoder[2]
        v = torch.zeros_like(lam)
        for k in range(steps):
            loss = self._loss(decoder[3:], from_h, lam, tokens, noise[k])
            (d_lam,) = torch.autograd.grad(loss.sum(), lam, create_graph=True)
            v = self.gamma * v - d_lam
            lam = lam + self.alpha * v
        loss = self._loss(decoder[3:], from_h, lam, tokens, noise[-1])
        gradients = torch.autograd.grad(loss.sum(), decoder + encoder)
        return loss.detach(), join(gradients[: len(decoder)]), join(gradients[len(decoder) :])

    def sequence_vae_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi with K = 0 and the last noise."""
        return self._step(0, theta, phi, x, noise)

    def sequence_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi: Algorithm 1 unrolled with create_graph, differentiated by autograd."""
        return self._step(self.K, theta, phi, x, noise)
