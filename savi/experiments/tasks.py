"""Tasks: data, the decoders and encoders that suit them, what is measured and what is shown, in one object each.

`compare`, training, tables and plots know of a kind of data nothing but its Task. catalogue.TASKS are the ones that are
here; one of your own is a Task in a file, for `python -m savi compare --data FILE.py:NAME`, or any Task for `savi.compare`.
"""

import contextlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..data.dataset import Dataset
from ..engine.files import InputError, expect, running
from ..engine.machine import expect_room
from ..inference.iterative import ENCODINGS
from ..models.hierarchical import HierarchicalModel
from ..models.latent_gaussian import LatentGaussianModel
from ..models.levels import Level
from ..nets.dropout import DropoutMLP
from ..nets.highway import HighwayMLP
from ..nets.level_encoders import BottomUpEncoder, LadderEncoder, TopDownEncoder
from ..nets.mlp import MLP
from .evaluation import bits_per_dim, perplexity
from .settings import settings_of


class Family(NamedTuple):
    """A kind of decoder that a task offers: decoder(settings) -> p(x | z), and the word of the encoder that suits it, or None
    for the task's first."""

    decoder: Callable
    encoder: str | None = None


class Measure(NamedTuple):
    """A number made of the estimates of -log p(x): a column of the table.

    name: its key in a row of results. heading, decimals: of the column. function(nats (N,), x (N, ...)) -> a number.
    """

    name: str
    heading: str
    decimals: int
    function: Callable

    def value(self, nats, x):
        """What the function gives, a number. Raises InputError where it gives none."""
        with running(f"the measure {self.name!r}"):
            return float(self.function(nats, x))


def _per_token(nats, x):
    return perplexity(nats, (x >= 0).sum(axis=1))  # a negative token is padding


def _per_word(nats, x):
    return perplexity(nats, x.sum(axis=1))


def _per_dimension(nats, x):
    return bits_per_dim(nats.mean(), x[0].size)


ROW = (
    "method", "seed", "reconstruction", "kl", "neg_elbo", "nll_iw", "amortization_gap", "gap_converged", "ms_per_step",
    "train_seconds", "epochs", "cpu", "passes",
)  # fmt: skip
CURVE = ("compare", "method", "seed", "history", "refinement")  # names that results have for themselves
PERPLEXITY = Measure("perplexity", "perplexity", 2, _per_token)
PERPLEXITY_OF_COUNTS = Measure("perplexity", "perplexity", 1, _per_word)
BITS_PER_DIM = Measure("bits_per_dim", "bits/dim", 3, _per_dimension)
BITS_PER_DIM_OF_LEVELS = Measure(
    "bits_per_dim", "bits/dim", 3, lambda nats, x: _per_dimension(nats, x) + 8
)  # data.colour


@dataclass(frozen=True)
class Task:
    """What methods are compared on. A wrong part raises InputError.

    name: by which results go. about: a line for people.
    load() -> Dataset.
    decoder(settings) -> p(x | z) with settings.latent dimensions, for example an MLPDecoder; or {word: such a function, or a
    Family}: the first is the default, the others are chosen by the setting `decoder`.
    encoders: {word: function(settings, outputs) -> encoder from x to that many outputs}; the first, or that of the decoder's
    Family, is the default, the others are chosen by their word, as in "vae:highway".
    encodings: words of ENCODINGS (savi.inference.iterative) that an iterative model may encode; default_encodings: those
    it does encode unless it is told otherwise.
    measures: Measures, columns of the table.
    baselines: {name: function(train, x) -> log p(x) (N,)}: models without a latent variable that the table has beside that of
    the decoder (Decoder.baseline).
    show(model, theta, lam, x) -> what a picture of a few examples x needs, as JSON values; draw(results) -> a matplotlib
    figure of all methods' (results["curves"][i][picture]), which becomes PICTURE.png. Both, or neither.
    defaults: {setting: value} where Settings' own defaults do not suit.
    """

    name: str
    about: str
    load: Callable
    decoder: Callable | Mapping
    encoders: Mapping
    encodings: tuple = ("gradient",)
    default_encodings: tuple = ("gradient",)
    measures: tuple = ()
    baselines: Mapping = field(default_factory=dict)
    show: Callable | None = None
    draw: Callable | None = None
    picture: str = "examples"
    defaults: Mapping = field(default_factory=dict)

    def __post_init__(self):
        self._expect("name", isinstance(self.name, str) and self.name.strip(), "a name")
        self._expect("about", isinstance(self.about, str), "a line of text")
        self._expect("load", callable(self.load), "a function load()")
        families = self.families.values()
        made = families and all(callable(family.decoder) for family in families)
        self._expect("decoder", made, "a function decoder(settings), or {word: such a function}, at least one")
        encoders = self.encoders.values() if isinstance(self.encoders, Mapping) else ()
        made = encoders and all(map(callable, encoders))
        self._expect("encoders", made, "{word: function(settings, outputs)}, at least one")
        known = all(family.encoder in (None, *self.encoders) for family in families)
        self._expect("decoder", known, f"families with an encoder out of {', '.join(self.encoders)}")
        for part, allowed in (("encodings", tuple(ENCODINGS)), ("default_encodings", self.encodings)):
            words = _listed(getattr(self, part))
            self._expect(
                part, words and all(word in allowed for word in words), f"a tuple of words out of {', '.join(allowed)}"
            )
        measures = _listed(self.measures)
        self._expect(
            "measures", measures is not None and all(type(m) is Measure for m in measures), "a tuple of Measures"
        )
        names = [measure.name for measure in measures]
        self._expect("measures", len({*ROW, *names}) == len(ROW) + len(names), f"other names than {', '.join(ROW)}")
        known = isinstance(self.baselines, Mapping) and all(map(callable, self.baselines.values()))
        self._expect("baselines", known, "{name: function(train, x)}")
        shown = callable(self.show) and callable(self.draw) if self.show or self.draw else True
        self._expect("show", shown, "a function, with another one as draw, or None for both")
        self._expect(
            "picture", str(self.picture).isidentifier() and self.picture not in CURVE, "a word for a file's name"
        )
        self._expect("defaults", isinstance(self.defaults, Mapping), "{setting: value}")
        settings_of(self, {})

    def _expect(self, part, holds, expected):
        value = " ".join(repr(getattr(self, part)).split())
        expect(f"the {part} of task {self.name!r}", value if len(value) < 80 else value[:77] + "...", holds, expected)

    @property
    def families(self):
        """{word: Family}, the default first; a decoder alone is "decoder"."""
        named = self.decoder if isinstance(self.decoder, Mapping) else {"decoder": self.decoder}
        return {word: f if isinstance(f, Family) else Family(f) for word, f in named.items()}

    def family(self, settings):
        """The Family that the settings choose. Raises InputError where there is none of that word."""
        word = next(iter(self.families)) if settings.decoder is None else settings.decoder
        expect(f"--decoder of task {self.name!r}", repr(word), word in self.families, ", ".join(self.families))
        return self.families[word]

    def model(self, settings):
        """The model whose decoder this task makes. Raises InputError where it is none."""
        family = self.family(settings)
        with running(f"decoder(settings) of task {self.name!r}"):
            decoder = family.decoder(settings)
        with contextlib.suppress(AttributeError, TypeError):  # what it is instead is said below
            expect_room(f"theta, {decoder.size} numbers,", decoder.size * np.dtype(settings.dtype).itemsize)
        try:
            model = HierarchicalModel(decoder, _levels(settings)) if settings.levels else LatentGaussianModel(decoder)
        except (AttributeError, TypeError, InputError) as error:
            raise InputError(self._made("decoder(settings)", decoder, "p(x | z), as an MLPDecoder")) from error
        D = settings.latent
        expect(f"latent_dim of what task {self.name!r} decodes with", decoder.latent_dim, decoder.latent_dim == D, D)
        return model

    def encoder(self, settings, outputs, word=None):
        """The encoder that goes by the word, the default when None. Raises InputError where it is none."""
        word = word or self.family(settings).encoder or next(iter(self.encoders))
        with running(f"the encoder {word!r} of task {self.name!r}"):
            encoder = self.encoders[word](settings, outputs)
        try:
            found, _, _ = encoder.outputs, encoder.size, encoder.random
        except AttributeError as error:
            raise InputError(self._made(f"the encoder {word!r}", encoder, "enc(x), as an MLP")) from error
        expect(f"the encoder {word!r} of task {self.name!r}", f"{encoder!r}", found == outputs, f"{outputs} outputs")
        return encoder

    def shown(self, model, theta, lam, x):
        """What `show` gives. Raises InputError where that is no JSON value."""
        with running(f"show(model, theta, lam, x) of task {self.name!r}"):
            value = self.show(model, theta, lam, x)
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise InputError(self._made("show(model, theta, lam, x)", value, f"JSON values ({error})")) from error
        return value

    def _made(self, part, value, expected):
        return f"what {part} of task {self.name!r} gives is a {type(value).__name__}; expected {expected}"

    def dataset(self):
        """What load() returns. Raises InputError unless it is a Dataset with examples to train and to test on."""
        with running(f"load() of task {self.name!r}"):
            examples = self.load()
        if not isinstance(examples, Dataset):
            raise InputError(self._made("load()", examples, "a savi.data.Dataset"))
        for part in ("train", "test"):
            n = len(getattr(examples, part))
            expect(f"the {part} part of task {self.name!r}", f"{n} examples", n, "at least one")
        return examples


def _listed(value):
    return value if isinstance(value, list | tuple) else None


def _levels(s):
    """p(z^l | z^{l+1}) of the levels that the settings ask for, the lowest first."""
    dims = s.latent, *s.levels
    return [
        Level(MLP([above, *s.hidden_at(l), 2 * below], s.activation))
        for l, (below, above) in enumerate(itertools.pairwise(dims), 2)
    ]


DROP, NOISE = 0.2, 0.3  # of the encoders "dropout" and "noise"


def mlp_encoders(inputs):
    """{word: encoder} of examples that are vectors: an MLP with the decoder's layers in reverse, or one with highways; and
    those that overfit few examples less: one affine layer, one hidden layer of a quarter of the units, dropped units, noise
    on x; and those of hierarchies (nets/level_encoders.py)."""

    def by_level(kind):
        def build(s, outputs):
            dims = s.latent, *s.levels
            hidden = [s.hidden_at(l)[::-1] for l in range(1, len(dims) + 1)]
            return kind(inputs, hidden, dims, s.activation)

        return build

    def deep(net, **more):
        return lambda s, outputs: net([inputs, *reversed(s.hidden), outputs], s.activation, **more)

    return {
        "mlp": deep(MLP),
        "highway": deep(HighwayMLP),
        "linear": lambda s, outputs: MLP([inputs, outputs]),
        "small": lambda s, outputs: MLP([inputs, *(max(n // 4, 1) for n in s.hidden[-1:]), outputs], s.activation),
        "dropout": deep(DropoutMLP, drop=DROP),
        "noise": deep(DropoutMLP, noise=NOISE),
        "bottom-up": by_level(BottomUpEncoder),
        "top-down": by_level(TopDownEncoder),
        "ladder": by_level(LadderEncoder),
    }
