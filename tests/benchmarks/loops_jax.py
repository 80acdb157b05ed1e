"""The JAX side of any model: each step compiled as a whole, one scan over the K inner steps of Algorithm 1 of [SA].

A family says `given` (what all inner steps share), `loss` [E2] and `encode`; theta and phi are flat, and are differentiated
matrix by matrix. Gradients with respect to theta and phi are sums over the batch; noise (K + 1, S, B, D).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from peers_jax import compiled, join


def use(dtype):
    """float64 is switched on for the process, so one dtype per process."""
    jax.config.update("jax_enable_x64", np.dtype(dtype) == np.float64)


def parts(flat, shapes):
    """Parameters by their shapes."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(jnp.split(flat, ends), shapes)]


def perceptron(layers, h, activation, product=jnp.matmul):
    """Of layers W, b, W, b, ..."""
    for W, b in zip(layers[:-2:2], layers[1:-2:2]):
        h = activation(product(h, W) + b)
    return product(h, layers[-2]) + layers[-1]


def kl_from_standard(lam):
    """KL(q || N(0, I)) (B,)."""
    mu, log_var = jnp.split(lam, 2, axis=1)
    return 0.5 * jnp.sum(jnp.exp(log_var) + mu * mu - 1 - log_var, axis=1)


class Loop:
    """shapes: (theta's, phi's)."""

    def __init__(self, shapes, K, alpha, gamma):
        self.shapes, self.K, self.alpha, self.gamma = shapes, K, alpha, gamma
        self.vae_step = compiled(functools.partial(self._step, 0, lambda step: step))
        self.savae_step = compiled(functools.partial(self._step, K, lambda step: step))
        self.savae_step_recomputed = compiled(functools.partial(self._step, K, jax.checkpoint))
        self.vae_svi_step = compiled(self._vae_svi_step)
        self.svi_run = compiled(self._svi_run)
        self.model_step = compiled(self._model_step)

    def given(self, decoder, x):
        """A pytree."""
        raise NotImplementedError

    def loss(self, given, lam, noise):
        """f (B,); lam (B, 2D), noise (S, B, D)."""
        raise NotImplementedError

    def encode(self, encoder, x):
        """lam_0 (B, 2D)."""
        raise NotImplementedError

    def _inner(self, given, lam, noise, kept=lambda step: step):
        """lam_K, and the gradients at lam_0 .. lam_{K-1}."""

        def step(carry, noise_k):
            lam, v = carry
            d_lam = jax.grad(lambda lam: self.loss(given, lam, noise_k).sum())(lam)
            v = self.gamma * v - d_lam
            return (lam + self.alpha * v, v), d_lam

        (lam, _), d_lams = lax.scan(kept(step), (lam, jnp.zeros_like(lam)), noise)
        return lam, d_lams

    def _svi_run(self, theta, lam, x, noise):
        """lam_K."""
        return self._inner(self.given(parts(theta, self.shapes[0]), x), lam, noise[: self.K])[0]

    def _step(self, steps, kept, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi: Algorithm 1 differentiated through the scan; the last noise is the loss's.

        kept: what becomes of a step, which jax.checkpoint computes again on the way back.
        """

        def total(decoder, encoder):
            given = self.given(decoder, x)
            lam, _ = self._inner(given, self.encode(encoder, x), noise[:steps], kept)
            loss = self.loss(given, lam, noise[-1])
            return loss.sum(), loss

        decoder, encoder = (parts(flat, shapes) for flat, shapes in zip((theta, phi), self.shapes))
        (_, loss), (d_theta, d_phi) = jax.value_and_grad(total, (0, 1), has_aux=True)(decoder, encoder)
        return loss, join(d_theta), join(d_phi)

    def _vae_svi_step(self, theta, phi, x, noise):
        """Loss (B,) and dL/dtheta at lam_K, dL/dphi at lam_0: nothing flows through the steps."""
        decoder, encoder = (parts(flat, shapes) for flat, shapes in zip((theta, phi), self.shapes))
        lam_0, encoder_vjp = jax.vjp(lambda encoder: self.encode(encoder, x), encoder)

        def total(decoder):
            given = self.given(decoder, x)
            lam, d_lams = self._inner(lax.stop_gradient(given), lam_0, noise[: self.K])
            loss = self.loss(given, lax.stop_gradient(lam), noise[-1])
            return loss.sum(), (loss, d_lams[0])

        (_, (loss, first)), d_theta = jax.value_and_grad(total, has_aux=True)(decoder)
        return loss, join(d_theta), join(encoder_vjp(first)[0])

    def _model_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta of a model without latents."""

        def total(decoder):
            loss = self.loss(self.given(decoder, x), jnp.zeros((len(x), 0), theta.dtype), noise[-1])
            return loss.sum(), loss

        (_, loss), d_theta = jax.value_and_grad(total, has_aux=True)(parts(theta, self.shapes[0]))
        return loss, join(d_theta)
