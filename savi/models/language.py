"""A language model with a latent variable, an LSTM that z starts and accompanies: the model of text.  [SA] 5.2

    [h_0, c_0] = [z, 1] [W; b];   h_t, c_t = LSTM(h_{t-1}, c_{t-1}, [embedding of x_{t-1}, z])
    p(x_t | x_<t, z) = softmax(m_t h_t W_out + b_out)

With latent size 0 it is the language model itself. m_t is a dropout mask, drawn from the seed that x carries (nets/tokens.py),
one without any in evaluation; a word that x hides is read as <unk>. Tied, W_out is the transpose of the embeddings of the V words.
Of several LSTMs on top of each other (nets/lstm_stack.py) the first reads the words and z, z starts all, and h_t is the last one's.
"""

import numpy as np

from ..engine import given
from ..engine.files import expect
from ..nets.lstm_stack import lstm_of
from ..nets.tokens import UNKNOWN, masks, read
from . import decoding
from .sequence_decoders import LSTMDecoder
from .z_at import AtInput, _InputSum


class LanguageDecoder(LSTMDecoder):
    """p(x | z; theta) of words x (B, T) as nets/tokens.py has them.

    vocabulary V, embedding E, hidden H units; latent D. drop: the probability that a unit of h_t is dropped, for sequences with a
    seed. tied: whether the output's weights are the embeddings', which needs E = H. scale, z_scale: initial parameters are uniform
    on (-scale, scale), z's weights on (-z_scale, z_scale). lstm_layers: L LSTMs on top of each other. theta: their parameters,
    [W; b] (D + 1, L * 2H), and [W_out; b_out], or b_out alone where they are tied.
    """

    def __init__(
        self, vocabulary, embedding, hidden, latent, drop=0.0, tied=False, scale=0.1, z_scale=0.5, lstm_layers=1
    ):
        super().__init__(vocabulary, embedding, hidden, latent, z_at="input")
        self.drop, self.tied, self.place = given.number("drop", drop, "[0, 1)"), bool(tied), WithStart
        self.scale, self.z_scale = (
            given.number("scale", scale, "[0, inf)"),
            given.number("z_scale", z_scale, "[0, inf)"),
        )
        expect(
            "embedding", f"{embedding} of {hidden} hidden units", not tied or embedding == hidden, "as many, to be tied"
        )
        self.lstm = lstm_of(vocabulary, embedding, hidden, self.latent_dim, lstm_layers)
        self.lstm_layers = int(lstm_layers)
        self.join_shape = self.latent_dim + 1, self.lstm_layers * 2 * self.lstm.hidden
        self.offsets = self.lstm.size, self.lstm.size + self.join_shape[0] * self.join_shape[1]
        self.size = self.offsets[1] + (self.lstm.vocabulary if tied else self.net.size)
        self.turns = 20  # of a sequence of some twenty words
        self.work = self.turns * (self.size - self.lstm.words)

    def __repr__(self):
        sizes = f"{self.lstm.vocabulary}, {self.lstm.embedding}, {self.lstm.hidden}, {self.latent_dim}"
        stack = f", lstm_layers={self.lstm_layers}" if self.lstm_layers > 1 else ""
        return f"LanguageDecoder({sizes}, {self.drop}, {self.tied}, {self.scale}, {self.z_scale}{stack})"

    def init(self, rng, dtype=np.float64, x=None):
        """theta (P,), uniform on (-scale, scale); z's weights, in the LSTM and in its start, on (-z_scale, z_scale)."""
        theta = rng.uniform(-self.scale, self.scale, self.size)
        E, D = self.lstm.embedding, self.latent_dim
        lstm, join, _ = super().split(theta)
        for weights in (self.lstm.split(lstm)[1][E : E + D], join[:-1]):
            weights[...] = rng.uniform(-self.z_scale, self.z_scale, weights.shape)
        return theta.astype(dtype)

    def split(self, theta):
        """(the LSTM's parameters, [W; b] of its start, [W_out; b_out] as one vector): views, but for the last where it is tied."""
        lstm, join, output = super().split(theta)
        if self.tied:
            output = np.concatenate([self._words(lstm).T.ravel(), output])
        return lstm, join, output

    def _words(self, lstm):
        """The embeddings (V, E) of the words, without that of the start token."""
        return self.lstm.split(lstm)[0][:-1]

    def check(self, theta, x):
        if theta.shape == (self.size,):
            read(x, self.lstm.vocabulary)
        else:
            super().check(theta, x)

    def tokens(self, x):
        """(the words (T, B), what the LSTM reads before each of them): the start token, then words, <unk> where hidden."""
        words, hidden, _ = read(np.asarray(x), self.lstm.vocabulary)
        return words, self.inputs(np.where(hidden, UNKNOWN, words))

    def mask(self, x, dtype):
        """m (T, B, H) of x, or None where nothing is dropped."""
        words, _, seeds = read(np.asarray(x), self.lstm.vocabulary)
        if seeds is None or not self.drop:
            return None
        return masks(seeds, len(words), self.lstm.hidden, self.drop, dtype)

    def sample(self, theta, z, rng, length, temperature=1.0):
        """Tokens x (B, length), given z (B, D), -1 behind their END; decoding.py has more ways."""
        return decoding.sample(self, theta, z, rng, length, temperature)

    def reference(self, theta, z, x):
        import autograd.numpy as anp

        a, b = self.offsets
        words, inputs = self.tokens(x)
        lstm, join, output = theta[:a], anp.reshape(theta[a:b], self.join_shape), theta[b:]
        if self.tied:
            embeddings = anp.reshape(lstm[: self.lstm.words - self.lstm.embedding], (-1, self.lstm.embedding))
            output = anp.concatenate([anp.ravel(anp.transpose(embeddings)), output])
        mask, total = self.mask(x, np.float64), 0.0
        inputs = np.where(inputs < 0, self.lstm.vocabulary, inputs)
        start = anp.dot(z, join[:-1]) + join[-1]
        states = self.lstm.reference(lstm, inputs, z if self.latent_dim else None, start)
        for t, h in enumerate(states):
            out = self.net.reference(output, h if mask is None else h * mask[t])
            total = total + self.likelihood.reference(out, words[t], None)
        return total


class WithStart(AtInput):
    """z at every input, and in h_0 and c_0; units of the states are dropped before they reach the output."""

    def __init__(self, decoder, theta, x):
        super().__init__(decoder, theta, x)
        mask = decoder.mask(x, theta.dtype)
        self.tied, self.mask = decoder.tied, 1 if mask is None else mask[:, None]

    def _read(self, h):
        return h * self.mask

    def param_sum(self, dtype=None):
        return (_TiedSum if self.tied else _InputSum)(self, dtype or self.dtype)


class _TiedSum(_InputSum):
    """The same where the output's weights (H, V) are the transpose of the embeddings, which have both gradients."""

    def value(self):
        lstm, net = self.lstm_sum.value(), self.net_sum.value()
        H, V = self.p.net.sizes
        lstm[: V * H] += net[: H * V].reshape(H, V).T.ravel()
        return np.concatenate([lstm, self.join.ravel(), net[H * V :]])
