"""The tasks that are here, and where those of a user are found.

images      grey values are probabilities, from which x is drawn anew for each minibatch; MLPs or PixelCNNs, Bernoulli;
            of 28 x 28 pixels, and those of 14 x 14 are their means over 2 x 2
colour      256 levels with a discretised logistic likelihood, or dequantized with a Gaussian one
counts      of words in documents; MLPs, Multinomial or Poisson
text        documents of words (texts.py)
sequences   of an oracle; LSTMs, and `hidden` are the layers between the decoder's states and its outputs
"""

import contextvars
import functools
import math
import os
import sys
import types

import numpy as np

from .. import data
from ..data import counts, synthetic
from ..data.colour import dequantized
from ..data.dataset import binarize, unchanged
from ..engine.files import InputError
from ..models.autoregressive import PixelCNNDecoder
from ..models.decoders import MLPDecoder
from ..models.discrete import Multinomial, Poisson
from ..models.discretized import DiscretizedLogistic
from ..models.likelihoods import Bernoulli, Gaussian
from ..models.sequence_decoders import LSTMDecoder
from ..nets.encoders import LogEncoder, LSTMEncoder
from ..nets.mlp import MLP
from ..nets.resnet import ResNet
from .tasks import (
    BITS_PER_DIM,
    BITS_PER_DIM_OF_LEVELS,
    PERPLEXITY,
    PERPLEXITY_OF_COUNTS,
    Family,
    Task,
    mlp_encoders,
)
from .texts import is_text, text_task

SIDE, STAGES = 28, (16, 32)  # of an image; channels of a residual encoder's stages


def images(name, about, side=SIDE):
    """The task of a data set of savi.data.load, at 28 x 28 pixels or, as NAME14, at 14 x 14."""
    small = side != SIDE
    encoders = mlp_encoders(side * side) | {"resnet": lambda s, outputs: ResNet((side, side), STAGES, outputs)}
    return Task(
        f"{name}{side}" if small else name, f"{about}, {side}x{side}" if small else about,
        lambda: scaled(data.load(name), side)._replace(prepare=binarize), image_decoders(side), encoders,
        encodings=("gradient", "error", "data"), default_encodings=("gradient", "data"),
        show=reconstructions, draw=draw_reconstructions, picture="reconstructions",
    )  # fmt: skip


def image_decoders(side):
    """{word: family} of images side x side: an MLP, and a Gated PixelCNN with z late or at the input."""

    def pixelcnn(z_at):
        return Family(lambda s: PixelCNNDecoder((side, side), s.latent, z_at=z_at), "resnet")

    def mlp(s):
        return MLPDecoder(MLP([s.latent, *s.hidden, side * side], s.activation), Bernoulli())

    return {"mlp": mlp, "pixelcnn": pixelcnn("late"), "pixelcnn-input": pixelcnn("input")}


def scaled(images, side):
    """A Dataset of images of side x side pixels, each the mean of a square of a larger square image's own."""
    factor = math.isqrt(images.train.shape[1]) // side

    def part(x):
        x = np.asarray(x, np.float32).reshape(-1, side, factor, side, factor)
        return x.mean(axis=(2, 4)).reshape(len(x), side * side)

    if factor == 1:
        return images
    train, valid, test = (part(x) if len(x) else x for x in (images.train, images.valid, images.test))
    return images._replace(train=train, valid=valid, test=test, shape=(side, side))


def reconstructions(model, theta, lam, x):
    """{"images", "means"}: x and what a picture shows of p(x | z = mu), as whole percents, each a list of lists; 0 for NaN."""
    means = model.picture(theta, lam[:, : model.latent_dim], np.random.default_rng(0))
    return {name: np.rint(100 * np.nan_to_num(a)).astype(int).tolist() for name, a in (("images", x), ("means", means))}


def draw_reconstructions(results, shape=None):
    """Test images, and below them each method's E[x | z = mu], or a sample where there is no mean (first seed).

    shape: of an image; None: it is square, with one channel.
    """
    from . import plots

    seed = results["settings"]["seeds"][0]
    shown = {c["method"]: c["reconstructions"] for c in results["curves"] if c["seed"] == seed}
    rows = {"images": next(iter(shown.values()))["images"]} | {name: r["means"] for name, r in shown.items()}
    side = math.isqrt(len(rows["images"][0]))
    shape = shape or (side, side)
    return plots.gallery({name: np.reshape(row, (-1, *shape)) for name, row in rows.items()}, most=100)


def colour_images(name, data_name, side, density=False):
    """The Task of a data set of colour images: the levels' probabilities, or with `density` a Gaussian with learned variances
    of what is dequantized, whose bits/dim bound those of the levels."""
    shape = side, side, 3
    inputs, prepare = side * side * 3, dequantized if density else unchanged
    likelihood = Gaussian("per_dimension") if density else DiscretizedLogistic()
    about = f"{data_name} in colour, " + ("dequantized, Gaussian" if density else "256 levels, discretised logistic")
    return Task(
        name, about, lambda: data.load(data_name)._replace(prepare=prepare),
        lambda s: MLPDecoder(MLP([s.latent, *s.hidden, likelihood.outputs(inputs)], s.activation), likelihood),
        mlp_encoders(inputs), encodings=("gradient", "error", "data"), default_encodings=("gradient", "data"),
        measures=(BITS_PER_DIM_OF_LEVELS if density else BITS_PER_DIM,),
        show=reconstructions, draw=functools.partial(draw_reconstructions, shape=shape), picture="reconstructions",
    )  # fmt: skip


# --- sequences ---------------------------------------------------------------------------------------------------------------


def _sequence_decoder(s):
    sizes = synthetic.VOCABULARY, synthetic.UNITS, synthetic.UNITS, s.latent
    return LSTMDecoder(*sizes, s.hidden, s.activation)


def _sequence_encoder(s, outputs):
    return LSTMEncoder(synthetic.VOCABULARY, synthetic.UNITS, synthetic.UNITS, outputs)


SYNTHETIC = Task(
    "synthetic", "token sequences from an oracle", lambda: synthetic.load(), _sequence_decoder,
    {"lstm": _sequence_encoder}, measures=(PERPLEXITY,),
)  # fmt: skip

# --- counts ------------------------------------------------------------------------------------------------------------------


def documents(name, about, data_name, likelihood, measures=()):
    """The Task of counts.load(data_name): an MLP decoder, encoders of log(1 + x); the sizes are read from the data."""
    load = functools.partial(counts.load, data_name)

    def encoders(word):
        return lambda s, outputs: LogEncoder(mlp_encoders(load().vocabulary)[word](s, outputs))

    return Task(
        name, about, load,
        lambda s: MLPDecoder(MLP([s.latent, *s.hidden, load().vocabulary], s.activation), likelihood),
        {word: encoders(word) for word in mlp_encoders(1)},
        encodings=("gradient", "error", "data"), measures=measures, defaults={"latent": 20, "hidden": (100,)},
    )  # fmt: skip


TASKS = {
    task.name: task
    for task in (
        images("glyphs", "letters of many alphabets"),
        images("mnist", "handwritten digits"),
        images("omniglot", "handwritten characters of 50 alphabets"),
        *(
            colour_images(name + "-gaussian" * density, name, side, density)
            for name, side in (("colour-glyphs", 14), ("cifar10", 32), ("svhn", 32))
            for density in (False, True)
        ),
        SYNTHETIC,
        text_task("docs"),
        text_task("ptb"),
        documents("counts", "word counts of documentation", "counts", Multinomial(), (PERPLEXITY_OF_COUNTS,)),
        documents("counts-poisson", "the same, each word's number by itself", "counts", Poisson()),
        documents("rcv1", "word counts of news (RCV1)", "rcv1", Multinomial(), (PERPLEXITY_OF_COUNTS,)),
        images("glyphs", "letters of many alphabets", 14),
        images("omniglot", "handwritten characters of 50 alphabets", 14),
    )
}


def find(task):
    """The Task itself, the one of that name, or the one that a Python file defines: "FILE.py:NAME".

    Raises InputError where there is none, or the file cannot be run.
    """
    if isinstance(task, Task):
        return task
    if str(task) in TASKS:
        return TASKS[str(task)]
    if is_text(str(task)):
        return text_task(str(task))
    path, _, name = str(task).rpartition(":")
    if not path.endswith(".py"):
        names = ", ".join(TASKS)
        raise InputError(
            f"--data is {task!r}; expected one of {names}, text:PATH, or FILE.py:NAME, a savi.Task of your own"
        )
    found = vars(module(path)).get(name)
    if found is None:
        raise InputError(f"{path} defines no {name!r}; expected a savi.Task of that name")
    if not isinstance(found, Task):
        raise InputError(f"{name} in {path} is of type {type(found).__name__}; expected a savi.Task")
    return found


def function(named):
    """The function NAME of "FILE.py:NAME". Raises InputError where there is none."""
    path, _, name = named.rpartition(":")
    found = vars(module(path)).get(name)
    if not callable(found):
        raise InputError(f"{path} defines no function {name!r}; expected one of that name")
    return found


_sent = contextvars.ContextVar(
    "sent", default=types.MappingProxyType({})
)  # {path: text} of files that another process has


def with_files(files, work, *item):
    """work(*item), where the Python files {path: text} need not be on this machine."""
    before = _sent.set(files)
    try:
        return work(*item)
    finally:
        _sent.reset(before)


def source(path):
    """The text of the Python file at `path`, as bytes. Raises InputError where it cannot be read."""
    if path in _sent.get():
        return _sent.get()[path]
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; expected a file that can be run") from error


def module(path):
    """The module that the Python file at `path` makes; what lies beside the file can be imported."""
    made = types.ModuleType(os.path.splitext(os.path.basename(path))[0])
    made.__file__ = os.path.abspath(path)
    text, folder = source(path), os.path.dirname(made.__file__)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        exec(compile(text, path, "exec"), vars(made))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        words = " ".join(str(error).split())
        raise InputError(f"{path} raises {type(error).__name__}: {words}; expected a file that can be run") from error
    return made
