"""savi's side of the benchmark, and the floor: the time of a step's own matrix products, alone.

Decoder D-H-H-M and encoder M-H-H-2D, both tanh; theta and phi flat, layer by layer: W (in, out) in C order, then b.
theta (P,), phi (Q,), lam (B, 2D) = [mu, log_var], x (B, M) in {0, 1}, noise (K+1, S, B, D) unless said otherwise.
Gradients with respect to theta and phi are sums over the batch.
"""

import contextvars
import functools
import itertools

import numpy as np

import savi
from savi import hvp
from savi.engine import blas, helpers, threads
from savi.experiments.evaluation import importance_weighted
from savi.inference.iterative import Data, Gradient, Iterative, network

NAME = "savi"
CHUNK_ROWS = 400  # of importance samples, as in savi.experiments.evaluation
ITERATIONS = 5  # of an iterative inference model


def set_threads(n):
    """Use n threads; works at any time."""
    threads.use(n)


def to_device(array):
    return array


def to_numpy(array):
    return array


def setup(H, K, dtype, alpha, gamma, beta=1.0, D=32, M=784):
    """The operations for one setting."""
    end_all()
    return Peer(H, K, np.dtype(dtype), alpha, gamma, beta, D, M)


HELPED = []  # all that there are


class Helped:
    """function(...) as in savi.fit, in a block of helper processes of its own, which lasts until `end_all`."""

    def __init__(self, function):
        self.function, self.context, self.block = function, contextvars.copy_context(), helpers.kept()
        self.context.run(self.block.__enter__)
        HELPED.append(self)

    def __call__(self, *arguments):
        return self.context.run(self.function, *arguments)


def end_all():
    """No helper processes any more."""
    while HELPED:
        helped = HELPED.pop()
        helped.context.run(helped.block.__exit__, None, None, None)


def memory_of_others():
    """[bytes at the peak, ...] of all helper processes that there are; what they share with this one is counted again."""
    found = []
    for helped in HELPED:
        for helper in helped.context.run(helpers.members):
            with open(f"/proc/{helper}/status") as file:
                found += [1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM")]
    return found


class GivenSVI(savi.SVI):
    """SVI from a lam_0 and with noise that are given, where a training has begun."""

    given = None

    def run(self, model, theta, lam, x, noise):
        """lam_K after `steps` steps."""
        if self.given is None:
            self.gradient(model, theta, theta[:0], x, noise=noise)  # the first forks helpers, if there will be some
        self.given = x, lam, iter(noise[: self.steps])
        return self.infer(model, theta, theta[:0], x, None)

    def _begun(self, *_):
        return self.given


class Peer:
    def __init__(self, H, K, dtype, alpha, gamma, beta, D, M):
        self.K, self.dtype, self.beta = K, dtype, beta
        self.encoder = savi.MLP([M, H, H, 2 * D])
        self.model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([D, H, H, M]), savi.Bernoulli()))
        self.svi, self.vae = GivenSVI(K, alpha, gamma), savi.VAE(self.encoder)
        self.svi_run = Helped(functools.partial(self.svi.run, self.model))  # theta, lam_0, x, noise -> lam_K
        for product in hvp.METHODS:
            method = savi.SAVAE(self.encoder, K, alpha, gamma, hvp=product)
            setattr(self, f"savae_step_{'threads' if product == 'exact' else product}", self._gradient(method))
        self.savae_step = Helped(self.savae_step_threads)
        self.vae_step_threads = self._gradient(self.vae, slice(-1, None))
        self.vae_step = Helped(self.vae_step_threads)
        self.trunk = network(self.model, [Gradient(), Data()], (H, H))
        self.iterative_step = Helped(self._gradient(Iterative(self.trunk, [Gradient(), Data()], ITERATIONS, 1)))

    def _gradient(self, method, rows=slice(None)):
        return lambda theta, phi, x, noise: method.gradient(
            self.model, theta, phi, x, beta=self.beta, noise=noise[rows]
        )

    def loss_gradient(self, theta, lam, x, noise):
        """Loss (B,), d_lam (B, 2D), d_theta (P,); noise (S, B, D)."""

        def part(rows):
            f = self.model.objective(theta, x[rows], self.beta)
            e = f.evaluate(lam[rows], noise[:, rows])
            return e.loss, e.d_lam, f.theta_sum().add(e).value()

        loss, d_lam, d_theta = zip(*threads.side_by_side(part, self.svi._slices(self.model, theta, x)))
        return np.concatenate(loss), np.concatenate(d_lam), sum(d_theta[1:], d_theta[0])

    def importance(self, theta, lam, x, samples, noise=None, seed=0):
        """log (1/S) sum_s p(x, z_s) / q(z_s) [E5]: (B,), streamed in chunks; noise (samples, B, D) or drawn from seed."""
        if noise is None:
            return importance_weighted(self.model, theta, lam, x, np.random.default_rng(seed), samples)
        chunks = iter(noise)
        model = savi.LatentGaussianModel(self.model.decoder)
        model.draw_noise = lambda rng, size, batch, dtype: np.array(list(itertools.islice(chunks, size)))
        return importance_weighted(model, theta, lam, x, np.random.default_rng(0), samples)

    def floors(self, operation, batch, samples=1):
        """Two functions that do nothing but the matrix products of one such operation, with everything prepared: cut in
        parts as savi cuts it, and whole, with the matrix library's own threads."""
        K, decoder, T = self.K, self.model.decoder.net, ITERATIONS
        if operation == "importance":
            passes = -(-batch * samples // CHUNK_ROWS)
            part = Products(decoder, CHUNK_ROWS, -(-passes // threads.count()), 0, 0, self.dtype)
            parts, whole = [part] * threads.count(), Products(decoder, CHUNK_ROWS, passes, 0, 0, self.dtype)
        else:
            forward, backward, stacked = {
                "loss_gradient": (1, 1, 1),
                "svi_run": (K, K, 0),
                "vae_step": (1, 1, 1),
                "savae_step": (2 * K + 1, 2 * K + 1, 2 * K + 1),
                "iterative_step": (T + 1, T + 1, 1),
            }[operation]
            inference = {
                "vae_step": (self.encoder, 1),
                "savae_step": (self.encoder, 1),
                "iterative_step": (self.trunk, T),
            }

            def products(rows):
                nets = [Products(decoder, rows, forward, backward, stacked, self.dtype)]
                if operation in inference:
                    net, passes = inference[operation]
                    nets.append(Products(net, rows, passes, passes, passes, self.dtype, inputs=False))
                return lambda: [net() for net in nets]

            parts = [products(rows.stop - rows.start) for rows in threads.slices(batch, self.model.work)]
            whole = products(batch)
        return lambda: threads.side_by_side(lambda part: part(), parts), whole


def setup_sequences(shapes, K, dtype, alpha, gamma):
    """The steps of the synthetic experiment; shapes: of theta's and phi's matrices, [W; b] each, embeddings first."""
    end_all()
    return SequencePeer(shapes, K, alpha, gamma)


class SequencePeer:
    """An LSTM encoder and an LSTM decoder whose output network takes z; tokens (B, T)."""

    def __init__(self, shapes, K, alpha, gamma):
        (words, E), (_, H4), _, (D, h), _ = shapes[0]
        decoder = savi.LSTMDecoder(words - 1, E, H4 // 4, D - 1, (h,))
        encoder = savi.LSTMEncoder(words - 1, E, H4 // 4, 2 * (D - 1))
        self.model, self.method = savi.LatentGaussianModel(decoder), savi.SAVAE(encoder, K, alpha, gamma)
        self.vae = savi.VAE(encoder)
        self.sequence_vae_step, self.sequence_step = Helped(self._vae_step), Helped(self._savae_step)

    def _vae_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi with K = 0 and the last noise."""
        return self.vae.gradient(self.model, theta, phi, x, noise=noise[-1:])

    def _savae_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi: Algorithm 1."""
        return self.method.gradient(self.model, theta, phi, x, noise=noise)


class Products:
    """The products of one net for `rows` rows: so many passes forward and backward, and the parameter gradient of so many
    passes' rows stacked. inputs: whether a backward pass goes down to the input."""

    def __init__(self, net, rows, forward, backward, stacked, dtype, inputs=True):
        def array(*shape):
            return np.ones(shape, dtype)

        layers = [(n - 1, m) for n, m in net.shapes]
        self.forward = forward, [(array(rows, n + 1), array(n + 1, m), array(rows, m)) for n, m in layers]
        turned = layers if inputs else layers[1:]
        self.backward = backward, [(array(rows, m), array(n, m).T, array(rows, n)) for n, m in turned]
        rows *= stacked
        self.stacked = min(stacked, 1), [(array(rows, n + 1).T, array(rows, m), array(n + 1, m)) for n, m in layers]

    def __call__(self):
        for passes, products in (self.forward, self.backward):
            for _ in range(passes):
                for a, b, out in products:
                    blas.matmul(a, b, out)
        for _ in range(self.stacked[0]):
            for a, b, out in self.stacked[1]:
                np.matmul(a, b, out=out)
