"""Decoders of token sequences x (B, T) on an LSTM.  [SA] 5.1, 5.2

    LSTMDecoder(z_at="output")   p(x_t | x_<t, z) = softmax(MLP([h_t, z])), the oracle of the synthetic experiment
    LSTMDecoder(z_at="input")    z beside the embedding at every step, and h_0 an affine map of it: the model of text

What differs between the two is in z_at.py. With latent size 0 either is a language model. A negative token is padding
behind a sequence's end and says nothing.
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..nets.lstm import LSTM
from ..nets.mlp import MLP
from ..nets.tokens import check_tokens
from .base import Decoder
from .discrete import Categorical
from .z_at import PLACES


class LSTMDecoder(Decoder):
    """p(x | z; theta) = prod_t p(x_t | x_<t, z).

    vocabulary V, embedding E, hidden H units; latent D; layers: hidden layers of the output MLP, () for an affine one.
    theta: the LSTM's parameters; then with z at the output W_h (H, first layer) and the MLP from z, which has the first
    layer's bias; or with z at the input h_0's [W; b] (D + 1, H) and the MLP from h.
    """

    likelihood, has_tangent = Categorical(), True

    def __init__(self, vocabulary, embedding, hidden, latent, layers=(), activation="tanh", z_at="output"):
        self.z_at, self.latent_dim = given.one_of("z_at", z_at, PLACES), given.whole("latent", latent)
        self.place = PLACES[z_at]
        self.lstm = LSTM(vocabulary, embedding, hidden, self.place.extra(self.latent_dim))
        self.net = MLP([self.place.net_inputs(self.latent_dim, hidden), *layers, vocabulary], activation)
        self.join_shape = self.place.join_shape(self.latent_dim, self.lstm.hidden, self.net.sizes[1])
        rows, columns = self.join_shape
        self.offsets = self.lstm.size, self.lstm.size + rows * columns
        self.size = self.offsets[1] + self.net.size
        self.turns = 5  # of a sequence of some five tokens
        self.work = self.turns * (self.size - self.lstm.words)

    def __repr__(self):
        lstm = f"{self.lstm.vocabulary}, {self.lstm.embedding}, {self.lstm.hidden}, {self.latent_dim}"
        return f"LSTMDecoder({lstm}, {list(self.net.sizes[1:-1])}, {self.net.activation.name!r}, {self.z_at!r})"

    def init(self, rng, dtype=np.float64, x=None):
        """theta (P,): as the LSTM and the MLP draw theirs; what joins them uniform with variance 1 / inputs."""
        theta = np.zeros(self.size, dtype)
        lstm, join, net = self.split(theta)
        lstm[...], net[...] = self.lstm.init(rng, dtype), self.net.init(rng, dtype)
        weights = self.place.join_weights(join)
        weights[...] = rng.uniform(-1, 1, weights.shape) * np.sqrt(3 / max(1, len(weights)))
        return theta

    def split(self, theta):
        """(the LSTM's parameters, what joins it and z and the MLP (a matrix), the MLP's parameters), views."""
        a, b = self.offsets
        return theta[:a], theta[a:b].reshape(self.join_shape), theta[b:]

    def check_data(self, x):
        self.likelihood.check(x)

    def check(self, theta, x):
        """Raises InputError unless theta is (P,) and x (B, T) are tokens, padding only behind them."""
        if theta.shape != (self.size,):
            raise InputError(f"theta has shape {theta.shape}; {self!r} needs ({self.size},)")
        check_tokens(x, self.lstm.vocabulary)

    def given(self, theta, x):
        return self.place(self, theta, x)

    def tokens(self, x):
        """(the words (T, B), what the LSTM reads before each of them (T, B)) of x (B, T)."""
        words = np.asarray(x).T.astype(int)
        return words, self.inputs(words)

    def inputs(self, tokens):
        """What the LSTM reads before each of tokens (T, B): the start token, then the token before; padding is any."""
        V = self.lstm.vocabulary
        return np.concatenate([np.full_like(tokens[:1], V), tokens[:-1]])

    def sample(self, theta, z, rng, length):
        """Tokens x (B, length), one after the other, given z (B, D)."""
        x = np.zeros((len(z), length), int)
        for t in range(length):
            p = self.given(theta, x[:, : t + 1])
            logits = p.logits(p.forward(z[None]))[-1, 0].astype(float)
            x[:, t] = self.likelihood.sample(logits, None, rng)
        return x

    def baseline(self, train, x):
        out, _ = self.likelihood.marginal(np.asarray(train), self.lstm.vocabulary)
        x = np.asarray(x).astype(int)  # marginal's outputs are log probabilities
        return self.likelihood.without_latents, np.where(x >= 0, out[np.maximum(x, 0)], 0).sum(axis=1)

    def reference(self, theta, z, x):
        tokens, inputs = self.tokens(x)
        inputs = np.where(inputs < 0, self.lstm.vocabulary, inputs)
        outputs = self.place.reference(self, *self.split(theta), z, inputs)
        return sum(self.likelihood.reference(out, x_t, None) for out, x_t in zip(outputs, tokens))
