"""The tasks that are here, and where those of a user are found.

images      grey values are probabilities, from which x is drawn anew for each minibatch; MLPs, Bernoulli
text        documents of words (texts.py)
sequences   of an oracle; LSTMs, and `hidden` are the layers between the decoder's states and its outputs
"""

import contextvars
import os
import sys
import types

import numpy as np

from .. import data
from ..data import synthetic
from ..data.dataset import binarize
from ..engine.files import InputError
from ..models.decoders import MLPDecoder
from ..models.likelihoods import Bernoulli
from ..models.sequence_decoders import LSTMDecoder
from ..nets.encoders import LSTMEncoder
from ..nets.mlp import MLP
from .tasks import PERPLEXITY, Task, mlp_encoders
from .texts import is_text, text_task

PIXELS = 28 * 28


def images(name, about):
    """The task of a data set of savi.data.load."""
    return Task(
        name, about, lambda: data.load(name)._replace(prepare=binarize), _image_decoder, mlp_encoders(PIXELS),
        encodings=("gradient", "error", "data"), default_encodings=("gradient", "data"),
        show=reconstructions, draw=draw_reconstructions, picture="reconstructions",
    )  # fmt: skip


def _image_decoder(s):
    return MLPDecoder(MLP([s.latent, *s.hidden, PIXELS], s.activation), Bernoulli())


def reconstructions(model, theta, lam, x):
    """{"images", "means"}: x and E[x | z = mu], as whole percents, each a list of lists; 0 for NaN."""
    means = model.decoder.mean(theta, lam[:, : model.latent_dim])
    return {name: np.rint(100 * np.nan_to_num(a)).astype(int).tolist() for name, a in (("images", x), ("means", means))}


def draw_reconstructions(results):
    """Test images, and below them each method's reconstruction E[x | z = mu] (first seed)."""
    from . import plots

    seed = results["settings"]["seeds"][0]
    shown = {c["method"]: c["reconstructions"] for c in results["curves"] if c["seed"] == seed}
    rows = {"images": next(iter(shown.values()))["images"]} | {name: r["means"] for name, r in shown.items()}
    return plots.gallery({name: np.reshape(row, (-1, 28, 28)) for name, row in rows.items()}, most=100)


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

TASKS = {
    task.name: task
    for task in (
        images("glyphs", "letters of many alphabets"),
        images("mnist", "handwritten digits"),
        images("omniglot", "handwritten characters of 50 alphabets"),
        SYNTHETIC,
        text_task("docs"),
        text_task("ptb"),
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
