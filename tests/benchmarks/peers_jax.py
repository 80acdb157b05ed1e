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
UNROLLED = 5  # steps of an LSTM that are compiled as one; whole sequences of 80 take minutes to compile
CHUNK_ROWS = 2000  # decoder rows of one chunk of importance samples; 500 to 4000 differ by less than a tenth


def set_threads(n):
    """Use n threads: call it before the process makes its first array, which is when the pool of threads is made.

    Without it there are as many threads as cores that the process may use then, so taskset limits them too.
    (In JAX 0.10, OMP_NUM_THREADS and --xla_cpu_multi_thread_eigen=false leave the pool as it is.)
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


def sigmoid(a):
    return 0.5 * jnp.tanh(0.5 * a) + 0.5  # in float64 faster than jax.nn.sigmoid, in float32 the same


@jax.custom_jvp
def softplus(a):
    """log(1 + exp(a)) with the sigmoid as its derivative: the step is a quarter faster than with jnp.logaddexp(a, 0)."""
    return jnp.maximum(a, 0) + jnp.log1p(jnp.exp(-jnp.abs(a)))


softplus.defjvp(lambda primals, tangents: (softplus(*primals), sigmoid(*primals) * tangents[0]))


def weight_gradient(inputs, deltas):
    """inputs^T deltas with the transpose copied first: in float64 2 to 3 times faster than without, in float32 the same."""
    return lax.optimization_barrier(inputs.T) @ deltas


@jax.custom_vjp
def dense(h, W):
    """h W, to be differentiated once, with the faster weight gradient."""
    return h @ W


dense.defvjp(lambda h, W: (h @ W, (h, W)), lambda saved, d: (d @ saved[1].T, weight_gradient(saved[0], d)))


def mlp(layers, h, product=jnp.matmul):
    for W, b in layers[:-1]:
        h = jnp.tanh(product(h, W) + b)
    W, b = layers[-1]
    return product(h, W) + b


def split(flat, sizes):
    """[(W, b), …] from the flat vector."""
    layers, start = [], 0
    for rows, columns in itertools.pairwise(sizes):
        middle = start + rows * columns
        layers.append((flat[start:middle].reshape(rows, columns), flat[middle : middle + columns]))
        start = middle + columns
    return layers


def join(layers):
    return jnp.concatenate([part.ravel() for part in jax.tree.leaves(layers)])


class compiled:
    """The jitted function, waiting for its result."""

    def __init__(self, function, **options):
        self.fast = jax.jit(function, **options)

    def __call__(self, *arguments, **named):
        return jax.block_until_ready(self.fast(*arguments, **named))

    def planned(self, *arguments):
        """Bytes that the program says it needs beside its arguments and results."""
        return self.fast.lower(*arguments).compile().memory_analysis().temp_size_in_bytes


class Peer:
    def __init__(self, H, K, alpha, gamma, beta, D, M):
        self.K, self.alpha, self.gamma, self.beta, self.D = K, alpha, gamma, beta, D
        self.decoder, self.encoder = (D, H, H, M), (M, H, H, 2 * D)
        self.loss_gradient = compiled(self._loss_gradient)
        self.svi_run = compiled(self._svi_run)
        self.vae_step = compiled(functools.partial(self._savae_step, 0, dense))
        self.savae_step = compiled(functools.partial(self._savae_step, K, jnp.matmul))
        self.savae_step_byhand = compiled(self._savae_step_byhand)
        self.importance = compiled(self._importance, static_argnames="samples")

    def _loss(self, layers, lam, x, noise, product=jnp.matmul):
        """f [E2] with [E3], [E8]: (B,)."""
        mu, log_var = jnp.split(lam, 2, axis=1)
        z = mu + jnp.exp(log_var / 2) * noise
        logits = mlp(layers, z.reshape(-1, self.D), product).reshape(*noise.shape[:2], -1)
        kl = 0.5 * jnp.sum(jnp.exp(log_var) + mu * mu - 1 - log_var, axis=1)
        return jnp.mean(jnp.sum(softplus(logits) - x * logits, axis=2), axis=0) + self.beta * kl

    def _value(self, layers, lam, x, noise):
        """Loss (B,), its gradients with respect to the layers [E13] and lam [E11]."""
        loss, vjp = jax.vjp(lambda layers, lam: self._loss(layers, lam, x, noise, dense), layers, lam)
        return loss, *vjp(jnp.ones_like(loss))

    def _loss_gradient(self, theta, lam, x, noise):
        """Loss (B,), d_lam (B, 2D), d_theta (P,); noise (S, B, D)."""
        loss, d_layers, d_lam = self._value(split(theta, self.decoder), lam, x, noise)
        return loss, d_lam, join(d_layers)

    def _svi(self, layers, lam, x, noise):
        """Inner loop of Algorithm 1. (unroll=1: 2 and 5 are no faster, a full unroll is up to twice slower.)"""

        def step(carry, noise_k):
            lam, v = carry
            v = self.gamma * v - jax.grad(lambda lam: self._loss(layers, lam, x, noise_k).sum())(lam)
            return (lam + self.alpha * v, v), None

        return lax.scan(step, (lam, jnp.zeros_like(lam)), noise)[0][0]

    def _svi_run(self, theta, lam0, x, noise):
        """lam_K. (The closed form of the gradient is no faster: the compiler finds it.)"""
        return self._svi(split(theta, self.decoder), lam0, x, noise[: self.K])

    def _savae_step(self, steps, product, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi: Algorithm 1 differentiated by JAX through the scan; the last noise is the loss's.

        (Parameters as one vector inside are as fast in float32, slower in float64; a jvp of the gradient per backward
        step is up to a quarter slower; the batch split over two host devices is no faster.)
        """

        def total(decoder, encoder):
            lam = self._svi(decoder, mlp(encoder, x, product), x, noise[:steps])
            loss = self._loss(decoder, lam, x, noise[-1], product)
            return loss.sum(), loss

        value_and_grad = jax.value_and_grad(total, (0, 1), has_aux=True)
        (_, loss), (d_theta, d_phi) = value_and_grad(split(theta, self.decoder), split(phi, self.encoder))
        return loss, join(d_theta), join(d_phi)

    def _gradient(self, layers, lam, x, noise):
        """grad_lam f [E11], and the record of the pass: inputs h and deltas d of the layers, and what else is used again."""
        mu, log_var = jnp.split(lam, 2, axis=1)
        variance, spread = jnp.exp(log_var), jnp.exp(log_var / 2) * noise
        h = [(mu + spread).reshape(-1, self.D)]
        for W, b in layers[:-1]:
            h.append(jnp.tanh(h[-1] @ W + b))
        p = sigmoid(h[-1] @ layers[-1][0] + layers[-1][1])
        d = [(p - jnp.tile(x, (len(noise), 1))) / len(noise)]
        for (W, _), h_l in zip(layers[:0:-1], h[:0:-1]):
            d.insert(0, (d[0] @ W.T) * (1 - h_l * h_l))
        dz = (d[0] @ layers[0][0].T).reshape(noise.shape)
        d_log_var = 0.5 * (jnp.sum(dz * spread, axis=0) + self.beta * (variance - 1))
        return jnp.concatenate([dz.sum(axis=0) + self.beta * mu, d_log_var], axis=1), (h, d, p, dz, spread, variance)

    def _tangent(self, layers, record, v):
        """H_{lam,lam} v, and the tangents of h and d (R-operator)."""
        h, d, p, dz, spread, variance = record
        v_mu, v_log_var = jnp.split(v, 2, axis=1)
        spread_dot = 0.5 * spread * v_log_var
        h_dot, a_dot = [(v_mu + spread_dot).reshape(-1, self.D)], []
        for (W, _), h_l in zip(layers[:-1], h[1:]):
            a_dot.append(h_dot[-1] @ W)
            h_dot.append(a_dot[-1] * (1 - h_l * h_l))
        d_dot = [(h_dot[-1] @ layers[-1][0]) * p * (1 - p) / len(spread)]
        for (W, _), h_l, d_l, a_l in zip(layers[:0:-1], h[:0:-1], d[-2::-1], a_dot[::-1]):
            d_dot.insert(0, (d_dot[0] @ W.T) * (1 - h_l * h_l) - 2 * d_l * h_l * a_l)
        dz_dot = (d_dot[0] @ layers[0][0].T).reshape(spread.shape)
        h_log_var = 0.5 * (jnp.sum(dz_dot * spread + dz * spread_dot, axis=0) + self.beta * variance * v_log_var)
        return jnp.concatenate([dz_dot.sum(axis=0) + self.beta * v_mu, h_log_var], axis=1), h_dot, d_dot

    def _savae_step_byhand(self, theta, phi, x, noise):
        """The same as savae_step, Algorithm 1 backward written out. (One product for all steps stacked is no faster.)"""
        layers = split(theta, self.decoder)
        lam0, encoder_vjp = jax.vjp(lambda phi: mlp(split(phi, self.encoder), x, dense), phi)

        def forward(carry, noise_k):
            lam, v = carry
            d_lam, record = self._gradient(layers, lam, x, noise_k)
            v = self.gamma * v - d_lam
            return (lam + self.alpha * v, v), record

        def backward(carry, record):
            lam_bar, v_bar, theta_bar = carry
            v_bar = v_bar + self.alpha * lam_bar
            h_lam, h_dots, d_dots = self._tangent(layers, record, v_bar)
            updated = []
            for (W, b), h, d, h_dot, d_dot in zip(theta_bar, *record[:2], h_dots, d_dots):
                d_weight = weight_gradient(jnp.concatenate([h, h_dot]), jnp.concatenate([d_dot, d]))
                updated.append((W - d_weight, b - d_dot.sum(axis=0)))
            return (lam_bar - h_lam, self.gamma * v_bar, updated), None

        zero = jnp.zeros_like(lam0)
        (lam, _), records = lax.scan(forward, (lam0, zero), noise[: self.K])
        loss, theta_bar, lam_bar = self._value(layers, lam, x, noise[-1])
        lam_bar, _, theta_bar = lax.scan(backward, (lam_bar, zero, theta_bar), records, reverse=True)[0]
        return loss, join(theta_bar), encoder_vjp(lam_bar)[0]

    def _importance(self, theta, lam, x, samples, noise=None, seed=0):
        """log (1/S) sum_s p(x, z_s) / q(z_s) [E5]: (B,), streamed in chunks; noise (samples, B, D) or drawn from seed.

        (A faster generator, or the logarithm of a product of 1 + exp(-|a|), gains nothing.)
        """
        layers, chunk = split(theta, self.decoder), min(samples, max(1, CHUNK_ROWS // len(x)))
        mu, log_var = jnp.split(lam, 2, axis=1)
        W, b = layers[-1]
        x_weight, x_bias = x @ W.T, x @ b  # x . (W^T h + b) without a pass over the logits

        def add(carry, index, size=chunk):
            top, total = carry
            if noise is None:
                e = jax.random.normal(jax.random.fold_in(jax.random.key(seed), index), (size, *mu.shape), lam.dtype)
            else:
                e = lax.dynamic_slice_in_dim(noise, index * chunk, size)
            z = mu + jnp.exp(log_var / 2) * e
            h = jnp.tanh(mlp(layers[:-1], z.reshape(-1, self.D)))
            costs = jnp.sum(softplus(h @ W + b), axis=1).reshape(size, -1)
            log_px = jnp.sum(h.reshape(size, len(x), -1) * x_weight, axis=2) + x_bias - costs
            log_w = log_px + 0.5 * jnp.sum(e * e - z * z + log_var, axis=2)
            new_top = jnp.maximum(top, log_w.max(axis=0))
            total = total * jnp.exp(top - new_top) + jnp.exp(log_w - new_top).sum(axis=0)
            return (new_top, total), None

        start = (jnp.full(len(x), -jnp.inf, lam.dtype), jnp.zeros(len(x), lam.dtype))
        carry, _ = lax.scan(add, start, jnp.arange(samples // chunk))
        if samples % chunk:
            carry, _ = add(carry, samples // chunk, samples % chunk)
        return carry[0] + jnp.log(carry[1] / samples)


def setup_sequences(shapes, K, dtype, alpha, gamma):
    """The steps of the synthetic experiment; shapes: of theta's and phi's matrices, [W; b] each, embeddings first."""
    jax.config.update("jax_enable_x64", np.dtype(dtype) == np.float64)
    return SequencePeer(shapes, K, alpha, gamma)


class SequencePeer:
    """An LSTM encoder and an LSTM decoder whose output network takes z; tokens (B, T); the states are computed once."""

    def __init__(self, shapes, K, alpha, gamma):
        self.shapes, self.K, self.alpha, self.gamma = shapes, K, alpha, gamma
        self.sequence_vae_step = compiled(functools.partial(self._step, 0))
        self.sequence_step = compiled(functools.partial(self._step, K))

    def _split(self, flat, shapes):
        sizes = np.cumsum([n * m for n, m in shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(jnp.split(flat, sizes), shapes)]

    def _states(self, embeddings, W, tokens):
        E, H = embeddings.shape[1], W.shape[1] // 4
        a_words = embeddings[tokens] @ W[:E] + W[-1]

        def step(state, a):
            h, c = state
            a = a + h @ W[E:-1]
            i, f, o = jnp.split(sigmoid(a[:, : 3 * H]), 3, axis=1)
            c = f * c + i * jnp.tanh(a[:, 3 * H :])
            h = o * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((tokens.shape[1], H), W.dtype)
        return lax.scan(step, (zero, zero), a_words, unroll=min(UNROLLED, len(tokens)))[1]

    def _loss(self, head, from_h, lam, tokens, noise):
        first, last = head
        mu, log_var = jnp.split(lam, 2, axis=1)
        z = mu + jnp.exp(log_var / 2) * noise
        a = from_h + (z @ first[:-1] + first[-1])[:, None]
        log_p = jax.nn.log_softmax(jnp.tanh(a) @ last[:-1] + last[-1])
        log_px = jnp.take_along_axis(log_p, tokens[None, :, :, None], axis=-1)[..., 0].sum(axis=1)
        return 0.5 * jnp.sum(jnp.exp(log_var) + mu * mu - 1 - log_var, axis=1) - log_px.mean(axis=0)

    def _step(self, steps, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi."""
        tokens = x.T
        inputs = jnp.concatenate([jnp.full_like(tokens[:1], self.shapes[0][0][0] - 1), tokens[:-1]])

        def total(theta, phi):
            embeddings, W, join, *head = self._split(theta, self.shapes[0])
            words, V, out = self._split(phi, self.shapes[1])
            lam = self._states(words, V, tokens)[-1] @ out[:-1] + out[-1]
            from_h = self._states(embeddings, W, inputs) @ join

            def step(carry, noise_k):
                lam, v = carry
                v = self.gamma * v - jax.grad(lambda lam: self._loss(head, from_h, lam, tokens, noise_k).sum())(lam)
                return (lam + self.alpha * v, v), None

            lam = lax.scan(step, (lam, jnp.zeros_like(lam)), noise[:steps])[0][0]
            loss = self._loss(head, from_h, lam, tokens, noise[-1])
            return loss.sum(), loss

        (_, loss), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(theta, phi)
        return loss, *gradients
