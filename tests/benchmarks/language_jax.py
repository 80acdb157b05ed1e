"""JAX's side of language.py."""

import jax
import jax.numpy as jnp
from jax import lax
from language import MOMENTUM, STEP_SIZE, shapes
from loops_jax import Loop, kl_from_standard, use
from peers_jax import sigmoid


def setup(sizes, dtype):
    use(dtype)
    return Language(sizes)


def lstm(inputs, W_h, h, c):
    """The states (T, B, H): inputs (T, B, 4H) are what does not come from the state before. (Several steps of time in a turn
    of the scan are no faster, and compile twice as long.)"""
    H = h.shape[1]

    def step(state, a):
        h, c = state
        a = a + h @ W_h
        i, f, o = jnp.split(sigmoid(a[:, : 3 * H]), 3, axis=1)
        c = f * c + i * jnp.tanh(a[:, 3 * H :])
        h = o * jnp.tanh(c)
        return (h, c), h

    return lax.scan(step, (h, c), inputs)[1]


class Language(Loop):
    def __init__(self, s):
        super().__init__(shapes(s), s["K"], STEP_SIZE, MOMENTUM)
        self.V, self.H = s["V"], s["H"]

    def given(self, decoder, x):
        """What does not depend on z: the words' share of the cells' inputs among it."""
        words, W, b, *others = decoder
        H, tokens = self.H, x.T
        inputs = jnp.concatenate([jnp.full_like(tokens[:1], self.V), tokens[:-1]])
        return words[inputs] @ W[:H] + b, W[H:-H], W[-H:], *others, tokens

    def loss(self, given, lam, noise):
        """-ELBO (B,); one sample."""
        a, W_z, W_h, start, start_b, W, b, tokens = given
        mu, log_var = jnp.split(lam, 2, axis=1)
        z = mu + jnp.exp(log_var / 2) * noise[0]
        h, c = jnp.split(z @ start + start_b, 2, axis=1)
        logits = lstm(a + z @ W_z, W_h, h, c) @ W + b
        own = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
        return jnp.sum(jax.nn.logsumexp(logits, axis=-1) - own, axis=0) + kl_from_standard(lam)

    def encode(self, encoder, x):
        words, W, b, out, out_b = encoder
        zero = jnp.zeros((len(x), self.H), W.dtype)
        return lstm(words[x.T] @ W[: self.H] + b, W[self.H :], zero, zero)[-1] @ out + out_b
