"""The JAX side of the benchmark: every operation compiled as a whole, one scan over the K inner steps.

The mathematics is the project's own ([E2], [E3], [E8], [E11], Algorithm 1 of [SA]); the arrays are JAX arrays.
Decoder D-H-H-M and encoder M-H-H-2D, both tanh; theta and phi flat, layer by layer: W (in, out) in C order, then b.
theta (P,), phi (Q,), lam (B, 2D) = [mu, log_var], x (B, M) in {0, 1}, noise (K+1, S, B, D) unless said otherwise.
Gradients with respect to theta and phi are sums over the batch. The first call of an operation compiles it.
"""

import functools
import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

NAME = "JAX"
CHUNK_ROWS = 1000  # decoder rows of one chunk of importance samples


def set_threads(n):
    """Use n threads: read once, when the first array is made, so call it before; a process that has made one keeps its
    own. (OMP_NUM_THREADS and --xla_cpu_multi_thread_eigen change nothing in 0.10; taskset works, as it is read likewise.)
    """
    os.environ["PJRT_NPROC"] = str(n)


def to_device(array):
    return jnp.asarray(array)


def to_numpy(array):
    return np.asarray(array)


def setup(H, K, dtype, alpha, gamma, beta=1.0, D=32, M=784):
    """The operations for one setting. float64 is switched on for the process, so one dtype per process."""
    jax.config.update("jax_enable_x64", np.dtype(dtype) == np.float64)
    return Peer(H, K, alpha, gamma, beta, D, M)


@jax.custom_jvp
def softplus(a):
    return jnp.maximum(a, 0) + jnp.log1p(jnp.exp(-jnp.abs(a)))


# A third faster than jnp.logaddexp(a, 0), whose derivative is not the sigmoid itself.
softplus.defjvp(lambda primals, tangents: (softplus(*primals), sigmoid(*primals) * tangents[0]))


def sigmoid(a):
    return 0.5 * jnp.tanh(0.5 * a) + 0.5  # in float64 faster than 1 / (1 + exp(-a)), in float32 the same


def weight_gradient(inputs, deltas):
    """inputs^T deltas. In float64 a product with a transposed left side is 2 to 3 times slower than one with its copy."""
    return lax.optimization_barrier(inputs.T) @ deltas


@jax.custom_vjp
def dense(h, W):
    return h @ W


dense.defvjp(lambda h, W: (h @ W, (h, W)), lambda saved, d: (d @ saved[1].T, weight_gradient(saved[0], d)))


def mlp(layers, h, product=jnp.matmul):
    for W, b in layers[:-1]:
        h = jnp.tanh(product(h, W) + b)
    W, b = layers[-1]
    return product(h, W) + b


def split(flat, sizes):
    """[(W, b), …] from the flat vector. (Gradients are taken with respect to these: a tenth faster than of the vector.)"""
    layers, start = [], 0
    for rows, columns in itertools.pairwise(sizes):
        middle = start + rows * columns
        layers.append((flat[start:middle].reshape(rows, columns), flat[middle : middle + columns]))
        start = middle + columns
    return layers


def join(layers):
    return jnp.concatenate([part.ravel() for part in jax.tree.leaves(layers)])


def compiled(function, **options):
    """The jitted function, waiting for its result."""
    fast = jax.jit(function, **options)
    return lambda *arguments: jax.block_until_ready(fast(*arguments))


class Peer:
    def __init__(self, H, K, alpha, gamma, beta, D, M):
        self.K, self.alpha, self.gamma, self.beta, self.D = K, alpha, gamma, beta, D
        self.decoder, self.encoder = (D, H, H, M), (M, H, H, 2 * D)
        self.loss_gradient = compiled(self._loss_gradient)  # (theta, lam, x, noise (S, B, D)) -> loss, d_lam, d_theta
        self.svi_run = compiled(self._svi_run)  # (theta, lam0, x, noise) -> lam_K
        self.vae_step = compiled(functools.partial(self._byhand, 0))  # as savae_step, K = 0; the last noise is used
        self.savae_step = compiled(functools.partial(self._savae, K))  # (theta, phi, x, noise) -> loss, d_theta, d_phi
        self.savae_step_byhand = compiled(functools.partial(self._byhand, K))  # the same, Algorithm 1 written out
        self._importance = compiled(self._importance, static_argnums=3)

    def _loss(self, layers, lam, x, noise):
        """f [E2] with [E3], [E8]: (B,)."""
        mu, log_var = jnp.split(lam, 2, axis=1)
        z = mu + jnp.exp(log_var / 2) * noise
        logits = mlp(layers, z.reshape(-1, self.D)).reshape(*noise.shape[:2], -1)
        kl = 0.5 * jnp.sum(jnp.exp(log_var) + mu * mu - 1 - log_var, axis=1)
        return jnp.mean(jnp.sum(softplus(logits) - x * logits, axis=2), axis=0) + self.beta * kl

    def _svi(self, layers, lam, x, noise):
        """Inner loop of Algorithm 1. (unroll=1: 2 and 5 are no faster, a full unroll is up to twice slower.)"""

        def step(carry, noise_k):
            lam, v = carry
            v = self.gamma * v - jax.grad(lambda lam: self._loss(layers, lam, x, noise_k).sum())(lam)
            return (lam + self.alpha * v, v), None

        return lax.scan(step, (lam, jnp.zeros_like(lam)), noise)[0][0]

    def _svi_run(self, theta, lam, x, noise):
        return self._svi(split(theta, self.decoder), lam, x, noise[: self.K])

    def _savae(self, steps, theta, phi, x, noise):
        """Algorithm 1, differentiated by JAX through the scan."""

        def total(decoder, encoder):
            lam = self._svi(decoder, mlp(encoder, x), x, noise[:steps])
            loss = self._loss(decoder, lam, x, noise[-1])
            return loss.sum(), loss

        value_and_grad = jax.value_and_grad(total, (0, 1), has_aux=True)
        (_, loss), (d_theta, d_phi) = value_and_grad(split(theta, self.decoder), split(phi, self.encoder))
        return loss, join(d_theta), join(d_phi)

    def _gradient(self, layers, lam, x, noise):
        """grad_lam f [E11] and the record of the pass."""
        (W1, b1), (W2, b2), (W3, b3) = layers
        mu, log_var = jnp.split(lam, 2, axis=1)
        spread = jnp.exp(log_var / 2) * noise
        z = (mu + spread).reshape(-1, self.D)
        h1 = jnp.tanh(z @ W1 + b1)
        h2 = jnp.tanh(h1 @ W2 + b2)
        logits = h2 @ W3 + b3
        p = sigmoid(logits)
        d3 = (p - jnp.tile(x, (len(noise), 1))) / len(noise)
        d2 = (d3 @ W3.T) * (1 - h2 * h2)
        d1 = (d2 @ W2.T) * (1 - h1 * h1)
        dz = (d1 @ W1.T).reshape(noise.shape)
        d_log_var = 0.5 * (jnp.sum(dz * spread, axis=0) + self.beta * (jnp.exp(log_var) - 1))
        record = (z, h1, h2, d1, d2, d3, p, dz, spread, jnp.exp(log_var))
        return jnp.concatenate([dz.sum(axis=0) + self.beta * mu, d_log_var], axis=1), record, logits

    def _tangent(self, layers, record, v):
        """H_{lam,lam} v and the tangents of the record (R-operator)."""
        (W1, _), (W2, _), (W3, _) = layers
        _, h1, h2, d1, d2, _, p, dz, spread, variance = record
        v_mu, v_log_var = jnp.split(v, 2, axis=1)
        spread_dot = 0.5 * spread * v_log_var
        z_dot = (v_mu + spread_dot).reshape(-1, self.D)
        a1_dot = z_dot @ W1
        h1_dot = a1_dot * (1 - h1 * h1)
        a2_dot = h1_dot @ W2
        h2_dot = a2_dot * (1 - h2 * h2)
        d3_dot = (h2_dot @ W3) * p * (1 - p) / len(spread)
        d2_dot = (d3_dot @ W3.T) * (1 - h2 * h2) - 2 * d2 * h2 * a2_dot
        d1_dot = (d2_dot @ W2.T) * (1 - h1 * h1) - 2 * d1 * h1 * a1_dot
        dz_dot = (d1_dot @ W1.T).reshape(spread.shape)
        h_log_var = 0.5 * (jnp.sum(dz_dot * spread + dz * spread_dot, axis=0) + self.beta * variance * v_log_var)
        tangents = (z_dot, h1_dot, h2_dot, d1_dot, d2_dot, d3_dot)
        return jnp.concatenate([dz_dot.sum(axis=0) + self.beta * v_mu, h_log_var], axis=1), tangents

    def _value(self, layers, lam, x, noise):
        """Loss (B,), grad_lam f and grad_theta f [E13] of one pass."""
        d_lam, record, logits = self._gradient(layers, lam, x, noise)
        mu, log_var = jnp.split(lam, 2, axis=1)
        kl = 0.5 * jnp.sum(jnp.exp(log_var) + mu * mu - 1 - log_var, axis=1)
        logits = logits.reshape(*noise.shape[:2], -1)
        loss = jnp.mean(jnp.sum(softplus(logits) - x * logits, axis=2), axis=0) + self.beta * kl
        return loss, d_lam, [(weight_gradient(h, d), d.sum(axis=0)) for h, d in zip(record[:3], record[3:6])]

    def _loss_gradient(self, theta, lam, x, noise):
        loss, d_lam, d_theta = self._value(split(theta, self.decoder), lam, x, noise)
        return loss, d_lam, join(d_theta)

    def _byhand(self, steps, theta, phi, x, noise):
        """Algorithm 1, forward and backward. (One stacked product over the steps instead of their sum: no faster.)"""
        layers = split(theta, self.decoder)
        lam, encoder_vjp = jax.vjp(lambda phi: mlp(split(phi, self.encoder), x, dense), phi)

        def forward(carry, noise_k):
            lam, v = carry
            d_lam, record, _ = self._gradient(layers, lam, x, noise_k)
            v = self.gamma * v - d_lam
            return (lam + self.alpha * v, v), record

        def backward(carry, record):
            lam_bar, v_bar, theta_bar = carry
            v_bar = v_bar + self.alpha * lam_bar
            h_lam, tangents = self._tangent(layers, record, v_bar)
            pairs = zip(theta_bar, record[:3], record[3:6], tangents[:3], tangents[3:])
            theta_bar = [
                (W - weight_gradient(jnp.concatenate([h, h_dot]), jnp.concatenate([d_dot, d])), b - d_dot.sum(axis=0))
                for (W, b), h, d, h_dot, d_dot in pairs
            ]
            return (lam_bar - h_lam, self.gamma * v_bar, theta_bar), None

        zero = jnp.zeros_like(lam)
        (lam, _), records = lax.scan(forward, (lam, zero), noise[:steps])
        loss, lam_bar, theta_bar = self._value(layers, lam, x, noise[-1])
        lam_bar, _, theta_bar = lax.scan(backward, (lam_bar, zero, theta_bar), records, reverse=True)[0]
        return loss, join(theta_bar), encoder_vjp(lam_bar)[0]

    def importance(self, theta, lam, x, samples, noise=None, seed=0):
        """log (1/S) sum_s p(x, z_s) / q(z_s) [E5]: (B,), streamed in chunks; noise (samples, B, D) or drawn from seed."""
        return self._importance(theta, lam, x, samples, noise, seed)

    def _importance(self, theta, lam, x, samples, noise, seed):
        layers, chunk = split(theta, self.decoder), min(samples, max(1, CHUNK_ROWS // len(x)))
        mu, log_var = jnp.split(lam, 2, axis=1)
        key = jax.random.key(seed, impl="unsafe_rbg")

        def add(carry, index, size=chunk):
            top, total = carry
            if noise is None:
                e = jax.random.normal(jax.random.fold_in(key, index), (size, *mu.shape), lam.dtype)
            else:
                e = lax.dynamic_slice_in_dim(noise, index * chunk, size)
            z = mu + jnp.exp(log_var / 2) * e
            logits = mlp(layers, z.reshape(-1, self.D)).reshape(size, *x.shape)
            log_px = jnp.sum(x * logits - softplus(logits), axis=2)
            log_w = log_px + 0.5 * jnp.sum(e * e - z * z + log_var, axis=2)
            new_top = jnp.maximum(top, log_w.max(axis=0))
            total = total * jnp.exp(top - new_top) + jnp.exp(log_w - new_top).sum(axis=0)
            return (new_top, total), None

        start = (jnp.full(len(x), -jnp.inf, lam.dtype), jnp.zeros(len(x), lam.dtype))
        carry, _ = lax.scan(add, start, jnp.arange(samples // chunk))
        if samples % chunk:
            carry, _ = add(carry, samples // chunk, samples % chunk)
        return carry[0] + jnp.log(carry[1] / samples)
