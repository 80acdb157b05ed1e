"""autograd's side of the benchmark: the reference's formulas, differentiated; for SA-VAE, through the unrolled loop.

Decoder D-H-H-M and encoder M-H-H-2D, both tanh; theta and phi flat, layer by layer: W (in, out) in C order, then b.
theta (P,), phi (Q,), lam (B, 2D) = [mu, log_var], x (B, M) in {0, 1}, noise (K+1, S, B, D) unless said otherwise.
Gradients with respect to theta and phi are sums over the batch.
"""

import itertools
import os

import autograd
import autograd.numpy as np

import savi
from savi import reference
from savi.inference.iterative import Data, Gradient, network

NAME = "autograd"


def set_threads(n):
    """autograd is NumPy, whose matrix library has as many threads as OPENBLAS_NUM_THREADS said at the start."""
    assert os.environ.get("OPENBLAS_NUM_THREADS") == str(n)


def to_device(array):
    return array


def to_numpy(array):
    return array


def setup(H, K, dtype, alpha, gamma, beta=1.0, D=32, M=784):
    """The operations for one setting; the dtype is that of the arrays given to them."""
    return Peer(H, K, alpha, gamma, beta, D, M)


def _with_gradients(loss, *points):
    """loss(*points) (B,), and the gradients of its sum."""
    back, value = autograd.make_vjp(lambda points: loss(*points))(autograd.builtins.tuple(points))
    return value, *back(np.ones_like(value))


class Peer:
    def __init__(self, H, K, alpha, gamma, beta, D, M):
        self.K, self.alpha, self.gamma, self.beta = K, alpha, gamma, beta
        self.encoder = savi.MLP([M, H, H, 2 * D])
        self.model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([D, H, H, M]), savi.Bernoulli()))
        self.trunk = network(self.model, [Gradient(), Data()], (H, H))

    def _loss(self, lam, theta, x, noise):
        return reference.loss(self.model, lam, theta, x, noise, self.beta)

    def _d_lam(self, lam, theta, x, noise):
        return autograd.grad(lambda lam: np.sum(self._loss(lam, theta, x, noise)))(lam)

    def _svi(self, theta, lam, x, noise):
        v = 0.0
        for noise_k in noise:
            v = self.gamma * v - self._d_lam(lam, theta, x, noise_k)
            lam = lam + self.alpha * v
        return lam

    def loss_gradient(self, theta, lam, x, noise):
        """Loss (B,), d_lam (B, 2D), d_theta (P,); noise (S, B, D)."""
        return _with_gradients(lambda lam, theta: self._loss(lam, theta, x, noise), lam, theta)

    def svi_run(self, theta, lam0, x, noise):
        """lam_K."""
        return self._svi(theta, lam0, x, noise[: self.K])

    def _step(self, steps, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi."""

        def final(theta, phi):
            lam = self._svi(theta, self.encoder.reference(phi, x), x, noise[:steps])
            return self._loss(lam, theta, x, noise[-1])

        return _with_gradients(final, theta, phi)

    def vae_step(self, theta, phi, x, noise):
        """The same results for K = 0, with the last noise."""
        return self._step(0, theta, phi, x, noise)

    def savae_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi: through the unrolled loop; the last noise is the final loss's."""
        return self._step(self.K, theta, phi, x, noise)

    def iterative_step(self, theta, trunk, x, noise):
        """Loss (B,), d theta, d phi of an iterative inference model's step: gradient and data encoded, gated updates."""
        lam, d_phi = np.tile(self.model.prior.astype(theta.dtype), (len(x), 1)), 0.0
        for noise_t, noise_next in itertools.pairwise(noise):
            g = -self._d_lam(lam, theta, x, noise_t)
            inputs = np.concatenate([0.1 * np.log(np.abs(g) + 1e-5), np.sign(g), x, lam], axis=1)

            def update(trunk, lam=lam, inputs=inputs):
                c, g = np.array_split(self.trunk.reference(trunk, inputs), 2, axis=1)
                g = 1 / (1 + np.exp(-g))
                return g * lam + (1 - g) * c

            back, lam_next = autograd.make_vjp(update)(trunk)
            d_phi = d_phi + back(self._d_lam(lam_next, theta, x, noise_next))
            lam = lam_next
        loss, d_theta = _with_gradients(lambda theta: self._loss(lam, theta, x, noise[-1]), theta)
        return loss, d_theta, d_phi / (len(noise) - 1)
