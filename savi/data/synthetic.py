"""The synthetic experiment's data: sequences from an oracle, an LSTM decoder with random parameters.  [SA] 5.1

    z ~ N(0, I), z in R^2;  h_t = LSTM(h_{t-1}, x_t), 100 units;  x_{t+1} ~ softmax(MLP([h_t, z])), 1000 tokens
    embeddings N(0, 1);  the LSTM's weights and biases uniform on (-1, 1);  a start token
    tanh oracle: a hidden layer of 100, weights from h (-1, 1), from z (-5, 5), to the outputs (-0.6, 0.6), biases (-1, 1)
    affine oracle: logits affine in [h, z], weights from h (-1, 1), from z (-5, 5), biases (-1, 1)

With the affine one log p(x | z) is concave in z, so that every posterior has one mode.
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..models.sequence_decoders import LSTMDecoder
from .dataset import Dataset

VOCABULARY, LENGTH, UNITS, LATENT = 1000, 5, 100, 2
EXAMPLES = (5000, 1000, 1000)
ORACLES = ("tanh", "affine")


class Sequences(Dataset):
    """Token sequences, (N, T) whole numbers below `vocabulary` in each part; truth: (decoder, theta), their oracle."""

    __slots__ = ()

    @property
    def decoder(self):
        """The oracle, an LSTMDecoder."""
        return self.truth[0]

    @property
    def theta(self):
        """The oracle's parameters (P,)."""
        return self.truth[1]


def load(seed=0, oracle="tanh", examples=EXAMPLES, length=LENGTH, z_range=5.0, vocabulary=VOCABULARY, units=UNITS):
    """Sequences drawn from the oracle of that seed; the same arguments give the same numbers.

    oracle: "tanh" or "affine". examples: numbers for training, validation and testing. z_range: the weights from z are
    uniform on (-z_range, z_range). Raises InputError on an unknown oracle or sizes below 1.
    """
    given.one_of("oracle", oracle, ORACLES)
    seed, z_range = given.whole("seed", seed), given.number("z_range", z_range, "[0, inf)")
    sizes = {"length": length, "vocabulary": vocabulary, "units": units}
    length, vocabulary, units = (given.whole(name, value, 1) for name, value in sizes.items())
    examples = [given.whole("examples", n, 1) for n in given.listed("examples", examples, "three numbers")]
    if len(examples) != 3:
        raise InputError(f"examples is {examples}; expected three numbers, for training, validation and testing")
    layers = (units,) if oracle == "tanh" else ()
    decoder = LSTMDecoder(vocabulary, units, units, LATENT, layers, "tanh", "output")
    theta = draw(decoder, np.random.default_rng([seed, 0]), z_range)
    rng, sequences = np.random.default_rng([seed, 1]), []
    for n in examples:
        z = rng.standard_normal((n, LATENT))
        drawn = [decoder.sample(theta, z[i : i + 500], rng, length) for i in range(0, n, 500)]
        sequences.append(np.concatenate(drawn))
    name = f"synthetic-{oracle}-{seed}"
    return Sequences(name, *sequences, vocabulary=vocabulary, truth=(decoder, theta))


def draw(decoder, rng, z_range=5.0):
    """The parameters (P,) of an oracle, drawn in the ranges above; z_range as in `load`."""
    theta = np.zeros(decoder.size)
    lstm, from_h, net = decoder.split(theta)
    embeddings, W = decoder.lstm.split(lstm)
    embeddings[...] = rng.standard_normal(embeddings.shape)
    W[...] = rng.uniform(-1, 1, W.shape)
    from_h[...] = rng.uniform(-1, 1, from_h.shape)
    first, *others = decoder.net.layers(net)
    first[:-1] = rng.uniform(-z_range, z_range, first[:-1].shape)
    first[-1] = rng.uniform(-1, 1, first[-1].shape)
    for layer in others:
        layer[:-1] = rng.uniform(-0.6, 0.6, layer[:-1].shape)
        layer[-1] = rng.uniform(-1, 1, layer[-1].shape)
    return theta
