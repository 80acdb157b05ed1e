"""What is compared where few examples are trained on: methods, each with encoders that overfit less, on images and sequences.

A Setup says on what: data, training examples, nets, seconds. A Problem is that with its numbers: model, examples, encoders by
their words, the inner steps. `built` makes a method of its name. cure_runs.py trains and measures.
"""

import functools
import os
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from .. import data
from ..data import synthetic
from ..data.dataset import binarize
from ..experiments.tasks import mlp_encoders
from ..inference.amortized import VAE
from ..inference.iterative import Data, Error, Gradient, Iterative, network
from ..inference.semi_amortized import SAVAE, VAESVI
from ..models.decoders import MLPDecoder
from ..models.latent_gaussian import LatentGaussianModel
from ..models.likelihoods import Bernoulli
from ..nets.encoders import LSTMEncoder
from ..nets.mlp import MLP
from .sequences import known_model

VALID, TEST, MOMENTUM = 200, 500, 0.5  # examples that judge; momentum of all inner steps
DECAY = 0.3  # phi's weight decay in the cure "decay"
ONE_LEVEL = ("mlp", "highway", "linear", "small", "dropout", "noise")  # encoders of images, the usual one first
SETTLED = ("mlp", "linear", "lstm")  # the encoders that have a learning rate and a step of their own


class Setup(NamedTuple):
    """What a comparison is made on: a data set by name ("glyphs", "mnist", or "sequences" of a tanh oracle that is known),
    the training examples (None: all), the nets' sizes, the SVI steps, a run's processor seconds, the folder of finished runs.

    hidden: of the decoder; encoder: of the encoder, None for the same in reverse. settled_at: the training examples and
    seconds at which learning rates are chosen, with the nets and steps that are given to none here.
    """

    data: str
    train: int | None
    seconds: float
    runs: str
    latent: int = 16
    hidden: tuple = (64, 64)
    encoder: tuple | None = None
    steps: int = 10
    settled_at: tuple = (1000, 12)

    def folder(self, *names):
        """Where runs of this setup lie."""
        nets = "-".join(map(str, (self.latent, *self.hidden, "enc", *(self.encoder or ()), f"k{self.steps}")))
        return os.path.join(self.runs, f"{self.data}-{nets}", f"{self.train or 'all'}-{self.seconds:g}s", *names)

    def reference(self):
        """The Setup whose learning rates this one has."""
        train, seconds = self.settled_at
        kind = "sequences" if self.data == "sequences" else "glyphs"
        return Setup(kind, train, seconds, self.runs, settled_at=self.settled_at)

    def problem(self, seed):
        """The Problem of a seed: images are the same for each, sequences have an oracle of their own."""
        return _sequences(self, seed) if self.data == "sequences" else _images(self)


class Problem(NamedTuple):
    """model, dataset; valid and test examples as they are judged; encoders {word: function() -> encoder}, the first one the usual.

    Of SVI: ratio, log_var's step size to mu's in training; clip; at_test, {axis: value} from which its step at test time is
    searched. exact: whether the model is the data's own and stays as it is, so that -ELBO alone is of interest.
    """

    model: object
    dataset: object
    valid: np.ndarray
    test: np.ndarray
    encoders: dict
    ratio: float = 1.0
    clip: float | None = 5.0
    at_test: dict = {"step_size": 0.05}  # noqa: RUF012 - never written to
    exact: bool = False

    def step(self, step_size, ratio=1.0):
        """What the methods take as step size: a number, or where the ratio is not 1 one for each entry of lam (2D,)."""
        if ratio == 1:
            return step_size
        return np.repeat(np.float32([step_size, step_size * ratio]), self.model.latent_dim)

    def usual(self, cure):
        """The encoder whose learning rate and step a cure's runs have: its own, or the usual one's where it is that but for
        one thing."""
        return cure if cure in SETTLED else next(iter(self.encoders))


@functools.lru_cache(maxsize=1)
def _loaded(name):
    images = data.load(name)
    valid, test = (x[np.random.default_rng(0).permutation(len(x))] for x in (images.valid, images.test))
    return images._replace(valid=valid, test=test, prepare=binarize)


def _images(setup):
    images, rng = _loaded(setup.data), np.random.default_rng(0)
    valid, test = (binarize(x, rng).astype(np.float32) for x in (images.valid[:VALID], images.test[:TEST]))
    model = LatentGaussianModel(MLPDecoder(MLP([setup.latent, *setup.hidden, 784], "tanh"), Bernoulli()))
    hidden = tuple(reversed(setup.encoder)) if setup.encoder else setup.hidden
    sizes = SimpleNamespace(hidden=hidden, activation="tanh")
    known = mlp_encoders(784)
    encoders = {word: functools.partial(known[word], sizes, model.lam_size) for word in ONE_LEVEL}
    encoders["decay"] = encoders["mlp"]
    return Problem(model, images._replace(train=images.train[: setup.train], valid=()), valid, test, encoders)


@functools.lru_cache(maxsize=8)
def _oracle(seed):
    return synthetic.load(seed, "tanh", (1000, VALID, TEST))


def _sequences(setup, seed):
    oracle = _oracle(seed)
    width, units = (
        2 * synthetic.LATENT,
        {"lstm": synthetic.UNITS, "small": synthetic.UNITS // 4, "decay": synthetic.UNITS},
    )
    encoders = {word: functools.partial(LSTMEncoder, oracle.vocabulary, n, n, width) for word, n in units.items()}
    dataset = oracle._replace(train=oracle.train[: setup.train], valid=())
    return Problem(
        known_model(oracle)[0], dataset, oracle.valid, oracle.test, encoders, 2.5, None,
        {"step_size": 0.005, "ratio": 5}, True,
    )  # fmt: skip


def built(setup, problem, name, cure, step_size):
    """The method of that name with the encoder of that cure."""
    encoder = problem.encoders[cure]()
    inner = setup.steps, problem.step(step_size, problem.ratio), MOMENTUM, problem.clip
    if name == "vae":
        return VAE(encoder, *inner)
    if name in ("vae+svi", "sa-vae"):
        return (VAESVI if name == "vae+svi" else SAVAE)(encoder, *inner)
    if name == "iterative":
        encodings, more = [Gradient()], {"steps": 1, "samples": 1, "start": encoder}
    else:
        encodings, more = [Error(), Data()], {"steps": 2, "samples": 1}
    return Iterative(network(problem.model, encodings, setup.hidden), encodings, **more)


def decay(cure):
    """phi's weight decay in training with a cure."""
    return DECAY if cure == "decay" else 0.0
