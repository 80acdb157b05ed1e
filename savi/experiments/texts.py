"""Tasks on text: "docs", "ptb" and "text:PATH", with their settings behind a question mark, as in "docs?vocabulary=500&longest=30".

`hidden` has the units of each layer of the LSTMs, all as many, which is the width of the embeddings too. Words that are hidden and
units that are dropped belong to training alone (`Dataset.disturb`).
"""

import functools

import numpy as np

from ..data import text
from ..engine.files import InputError, expect
from ..models.language import LanguageDecoder
from ..nets.encoders import LSTMEncoder
from ..nets.tokens import Noise
from .tasks import PERPLEXITY, Task

OPTIONS = ("vocabulary", "min_count", "shortest", "longest")  # of text.load
ABOUT = {"docs": "English documents out of docstrings", "ptb": "English sentences of the Penn Treebank"}
DROP = 0.2
DEFAULTS = {
    "latent": 8, "hidden": (48,), "batch": 16, "learning_rate": 3e-3, "warmup_epochs": 10, "steps": 5, "train_examples": 2500,
    "budget": ("seconds", 30.0),
}  # fmt: skip


def is_text(name):
    """Whether a task of that name is on text."""
    return name.partition("?")[0] in ABOUT or name.startswith("text:")


def text_task(name):
    """The Task of a text, by its name. Raises InputError on a setting that is none; what is wrong with the text shows in load."""
    corpus, _, options = name.partition("?")
    chosen = dict(_option(name, item) for item in options.split("&") if item)

    @functools.cache
    def load():
        data = text.load(corpus, **chosen)
        return data._replace(disturb=Noise(data.vocabulary, masks=True))

    def decoder(s):
        units, layers = _layers(s.hidden)
        return LanguageDecoder(load().vocabulary, units, units, s.latent, drop=DROP, lstm_layers=layers)

    def encoder(state, bidirectional=False):
        def made(s, outputs):
            units, layers = _layers(s.hidden)
            return LSTMEncoder(load().vocabulary, units, units, outputs, state, layers, bidirectional)

        return made

    def show(model, theta, lam, x):
        return read_back(model, theta, lam, x, load().spelled)

    encoders = {state: encoder(state) for state in ("last", "mean")} | {"bidirectional": encoder("mean", True)}
    return Task(
        name, ABOUT.get(corpus, "text"), load, decoder, encoders, measures=(PERPLEXITY,), defaults=DEFAULTS,
        show=show, draw=draw_texts, picture="texts",
    )  # fmt: skip


def _layers(hidden):
    """(units, layers) of `hidden`. Raises InputError where its layers differ."""
    expect("hidden", list(hidden), len(set(hidden)) == 1, "layers of as many units each, for text")
    return hidden[0], len(hidden)


def read_back(model, theta, lam, x, spelled):
    """{"documents", "reconstructions", "samples"}: x as text, the likeliest words given z = mu, and words from the prior."""
    rng, length, D = np.random.default_rng(0), x.shape[1], model.latent_dim
    z = rng.standard_normal((len(x), D)).astype(theta.dtype)
    made = {
        "documents": x.astype(int),
        "reconstructions": model.decoder.sample(theta, lam[:, :D], rng, length, temperature=0),
        "samples": model.decoder.sample(theta, z, rng, length),
    }
    return {kind: [spelled(row) for row in rows] for kind, rows in made.items()}


def draw_texts(results, few=3):
    """The first test documents, and what each method reads back and writes (first seed)."""
    import textwrap

    from . import plots

    seed = results["settings"]["seeds"][0]
    shown = {c["method"]: c["texts"] for c in results["curves"] if c["seed"] == seed}
    lines = [f"document: {line}" for line in next(iter(shown.values()))["documents"][:few]]
    for method, texts in shown.items():
        lines += [f"{method}, read back: {line}" for line in texts["reconstructions"][:few]]
        lines += [f"{method}, written: {line}" for line in texts["samples"][:few]]
    fig, (ax,) = plots.figure(width=11, height=0.32 * len(lines) + 0.3)
    ax.set_axis_off()
    for i, line in enumerate(lines):
        short = textwrap.shorten(line, 150, placeholder=" ...")
        ax.text(0, 1 - (i + 0.5) / len(lines), short, fontsize=8, va="center", transform=ax.transAxes, parse_math=False)
    return fig


def _option(name, item):
    key, _, value = item.partition("=")
    if key not in OPTIONS or not value.isdecimal():
        raise InputError(
            f"--data is {name!r}, with {item!r}; expected {', '.join(OPTIONS)}, each with a whole number, as vocabulary=500"
        )
    return key, int(value)
