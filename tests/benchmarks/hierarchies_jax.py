"""JAX's side of hierarchies.py."""

import jax
import jax.numpy as jnp
from hierarchies import MOMENTUM, STEP_SIZE, K, shapes
from jax import lax
from jax.nn import elu
from loops_jax import Loop, join, kl_from_standard, parts, perceptron, use
from peers_jax import compiled, dense, sigmoid, softplus


def setup(sizes, dtype):
    use(dtype)
    return Hierarchy(sizes)


class Hierarchy(Loop):
    def __init__(self, s):
        nets, phi, self.trunk = shapes(s)
        super().__init__(([shape for net in nets for shape in net], phi), K, STEP_SIZE, MOMENTUM)
        self.ends = [sum(s["dims"][: l + 1]) for l in range(len(s["dims"]) - 1)]
        self.top = s["dims"][-1]
        self.iterative_step = compiled(self._iterative_step)

    def given(self, decoder, x):
        return decoder, x

    def encode(self, encoder, x):
        return perceptron(encoder, x, elu)

    def _levels(self, halves):
        return jnp.split(halves, self.ends, axis=1)

    def loss(self, given, lam, noise, product=jnp.matmul):
        """-ELBO (B,), a KL term for each level, the top one's from N(0, I). One sample."""
        (decoder, *levels), x = _nets(given[0]), given[1]
        mus, log_vars = (self._levels(half) for half in jnp.split(lam, 2, axis=1))
        zs = [m + jnp.exp(s / 2) * e for m, s, e in zip(mus, log_vars, self._levels(noise[0]))]
        logits = perceptron(decoder, zs[0], elu, product)
        loss = jnp.sum(softplus(logits) - x * logits, axis=1)
        for net, above, mu, log_var in zip(levels, zs[1:], mus, log_vars):
            mu_p, log_var_p = jnp.split(perceptron(net, above, elu, product), 2, axis=1)
            squares = (mu - mu_p) ** 2 * jnp.exp(-log_var_p)
            loss += 0.5 * jnp.sum(jnp.exp(log_var - log_var_p) + squares - 1 + log_var_p - log_var, axis=1)
        return loss + kl_from_standard(jnp.concatenate([mus[-1], log_vars[-1]], axis=1))

    def _prior(self, decoder, like):
        """lam (B, 2D): each level's prior at the mean of the one above."""
        lams = [jnp.zeros((1, 2 * self.top), like.dtype)]
        for net in reversed(_nets(decoder)[1:]):
            lams.insert(0, perceptron(net, jnp.split(lams[0], 2, axis=1)[0], elu))
        halves = [jnp.split(lam, 2, axis=1)[i] for i in (0, 1) for lam in lams]
        return jnp.tile(jnp.concatenate(halves, axis=1), (len(like), 1))

    @staticmethod
    def _update(trunk, lam, d_lam, x):
        """lam_{t+1}: two layers, the second with a highway, and a gate for each entry of lam."""
        W, b, W_2, b_2, heads, bias = trunk
        inputs = jnp.concatenate([0.1 * jnp.log(jnp.abs(d_lam) + 1e-5), -jnp.sign(d_lam), x, lam], axis=1)
        h = elu(dense(inputs, W) + b)
        c, gate = jnp.split(dense(h, W_2) + b_2, 2, axis=1)
        gate = sigmoid(gate)
        h = gate * elu(c) + (1 - gate) * h
        c, gate = jnp.split(dense(h, heads) + bias, 2, axis=1)
        gate = sigmoid(gate)
        return gate * lam + (1 - gate) * c

    def _iterative_step(self, theta, trunk, x, noise):
        """Loss (B,), d theta, d phi: each update learns from the gradient at its own result, its inputs held fixed."""
        decoder, trunk = parts(theta, self.shapes[0]), parts(trunk, self.trunk)

        def d_lam_at(lam, noise):
            return jax.grad(lambda lam: self.loss((decoder, x), lam, noise).sum())(lam)

        def iteration(carry, noise_t):
            lam, d_lam, d_trunk = carry
            lam, vjp = jax.vjp(lambda trunk: self._update(trunk, lam, d_lam, x), trunk)
            d_lam = d_lam_at(lam, noise_t)
            return (lam, d_lam, jax.tree.map(jnp.add, d_trunk, vjp(d_lam)[0])), None

        def last(decoder, lam):
            loss = self.loss((decoder, x), lam, noise[-1], dense)
            return loss.sum(), loss

        lam = self._prior(decoder, x)
        start = lam, d_lam_at(lam, noise[0]), jax.tree.map(jnp.zeros_like, trunk)
        (lam, d_lam, d_trunk), _ = lax.scan(iteration, start, noise[1:-1])
        lam, vjp = jax.vjp(lambda trunk: self._update(trunk, lam, d_lam, x), trunk)
        (_, loss), (d_theta, d_lam) = jax.value_and_grad(last, (0, 1), has_aux=True)(decoder, lam)
        d_trunk = jax.tree.map(jnp.add, d_trunk, vjp(d_lam)[0])
        return loss, join(d_theta), join(d_trunk) / (len(noise) - 1)


def _nets(decoder):
    """The parameters of each net, the decoder's first."""
    return [decoder[i : i + 6] for i in range(0, len(decoder), 6)]
