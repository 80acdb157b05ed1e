"""The settings of a comparison: each with its default, what it means, what it may be, and what its flag takes.

A value is looked at here, whether the methods that are compared use it or not.
"""

import argparse
import dataclasses
import types
from dataclasses import dataclass, field

from ..engine import given
from ..engine.files import InputError, expect
from ..nets.activations import ACTIVATIONS

DTYPES, TUNED = ("float32", "float64"), ("test", "all", "none")


def _setting(default, help, check=None, *limits, **flag):
    """A field: its default, its help text, check(its flag, value, *limits) -> the value, and how the flag is read (the
    options of argparse's add_argument). The check raises InputError."""
    metadata = {"help": help, "flag": types.MappingProxyType(flag), "check": check and (check, limits)}
    return field(default=default, metadata=metadata)


def _each(name, values, check, *limits):
    return tuple(check(name, value, *limits) for value in values)


MAY_BE_NONE = ("epochs", "step_size", "inner_clip", "train_examples")


def _number_or_all(text):
    return None if text == "all" else int(text)


@dataclass(frozen=True)
class Settings:
    """What a comparison is run with; field `step_size` is the flag --step-size, lists become tuples.

    Raises InputError on a value that is out of its range.
    """

    data: str = _setting(
        "glyphs", "data set: {tasks}; text:PATH, a text of your own; or FILE.py:NAME, a savi.Task of your own"
    )
    methods: tuple = _setting(
        ("vae", "vae-then-svi", "svi", "vae+svi", "vae+svi+kl", "sa-vae"),
        "which methods: {methods}; words behind a colon choose their parts, any of {words}",
        nargs="+",
        metavar="METHOD",
    )
    budget: tuple = _setting(
        ("seconds", 3.0),
        "what each method may use: processor seconds of its own training steps (seconds N), or passes over the training "
        "examples (epochs N)",
        nargs=2,
        metavar=("KIND", "N"),
    )
    epochs: float | None = _setting(None, "short for --budget epochs EPOCHS", given.number, "[1, inf)", type=float)
    steps: int = _setting(10, "K, SVI steps per example in training and testing", given.whole, type=int)
    iterations: int = _setting(
        5, "T, iterations of an iterative inference model in training and testing", given.whole, 1, type=int
    )
    step_size: float | None = _setting(
        None,
        "alpha, step size of the SVI steps, per example (default: the method's own: {steps})",
        given.number,
        "[0, inf)",
        type=float,
    )
    momentum: float = _setting(0.5, "gamma, momentum of the SVI steps", given.number, "[0, 1)", type=float)
    inner_clip: float | None = _setting(
        5.0,
        "largest norm of an example's gradient inside the SVI steps; 0 for none",
        given.number,
        "[0, inf)",
        type=float,
    )
    tune: str = _setting(
        "test",
        "whose inner step (step size, momentum, clip) is chosen for each method on validation examples: that of its test "
        "time (test), that of its training too (all), or none",
        given.one_of,
        TUNED,
        choices=TUNED,
    )
    decoder: str | None = _setting(
        None, "which family of decoders of the data set: {decoders} (default: the first)", metavar="FAMILY"
    )
    start_from: str | None = _setting(
        None,
        "a checkpoint (last.npz or best.npz) from which every training run starts; of a decoder without latents, too, where "
        "the family can be trained without them first",
        metavar="FILE.npz",
    )
    samples: int = _setting(1, "S, noise samples in each evaluation of the loss", given.whole, 1, type=int)
    latent: int = _setting(
        32, "D, latent dimensions; of a hierarchy those of z^1, next to the data", given.whole, type=int
    )
    levels: tuple = _setting(
        (),
        "latent dimensions of the levels above: z^2, z^3, ...; none for one level",
        _each,
        given.whole,
        1,
        type=int,
        nargs="*",
        metavar="D",
    )
    hidden: tuple = _setting(
        (200, 200),
        "units of the decoder's hidden layers; the encoder has them in reverse",
        _each,
        given.whole,
        1,
        type=int,
        nargs="*",
    )
    activation: str = _setting("tanh", "tanh, elu, softplus or identity", given.one_of, tuple(ACTIVATIONS))
    batch: int = _setting(100, "examples per training step", given.whole, 1, type=int)
    learning_rate: float = _setting(2e-3, "Adam's step size for theta and phi", given.number, "(0, inf)", type=float)
    phi_decay: float = _setting(
        0.0, "weight decay of phi, decoupled from Adam as in AdamW", given.number, "[0, inf)", type=float
    )
    warmup_epochs: float = _setting(
        0, "epochs over which the weight of the KL term rises from 0.1 to 1", given.number, "[0, inf)", type=float
    )
    dtype: str = _setting("float32", "precision of all numbers", given.one_of, DTYPES, choices=DTYPES)
    seeds: tuple = _setting(
        (0, 1, 2), "one training run per method and seed", _each, given.whole, type=int, nargs="+", metavar="SEED"
    )
    train_examples: int | None = _setting(
        1000, "use only so many training examples, or all", given.whole, 1, type=_number_or_all
    )
    test_examples: int = _setting(300, "how many test examples to measure on", given.whole, 1, type=int)
    iw_samples: int = _setting(
        100, "samples of the importance-weighted estimate of -log p(x)", given.whole, 1, type=int
    )
    gap_examples: int = _setting(
        30, "how many test examples the amortization gap is measured on", given.whole, 1, type=int
    )

    def __post_init__(self):
        for name in ("methods", "hidden", "levels", "seeds", "budget"):
            value = getattr(self, name)
            expect(flag(name), repr(value), isinstance(value, list | tuple), "a list")
            object.__setattr__(self, name, tuple(value))
        for setting in dataclasses.fields(self):
            value, check = getattr(self, setting.name), setting.metadata["check"]
            if check and not (value is None and setting.name in MAY_BE_NONE):
                object.__setattr__(self, setting.name, check[0](flag(setting.name), value, *check[1]))
        decayed = self.phi_decay * self.learning_rate
        expect("--phi-decay", self.phi_decay, decayed < 1, f"below 1 / {flag('learning_rate')} of {self.learning_rate}")
        object.__setattr__(self, "inner_clip", self.inner_clip or None)
        object.__setattr__(self, "budget", _budget(*self.budget) if self.epochs is None else ("epochs", self.epochs))
        object.__setattr__(self, "epochs", None)
        if not self.methods or not self.seeds:
            raise InputError("there is nothing to compare; expected at least one method and one seed")
        if len(set(self.methods)) < len(self.methods) or len(set(self.seeds)) < len(self.seeds):
            raise InputError("a method or a seed is named twice; expected each once")

    def hidden_at(self, l):
        """The units of the hidden layers of level l's nets, l = 1 .. L: half as many in each further level, as in [LI] C.5."""
        return tuple(max(n // 2 ** (l - 1), 1) for n in self.hidden)

    def describe(self):
        """{name: JSON value}, tuples as lists: what is written beside the results."""
        values = ((name, getattr(self, name)) for name in NAMES)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


def _budget(kind=None, number=None, *more):
    """(kind, number), checked."""
    expect("--budget", repr(kind), kind in ("seconds", "epochs") and not more, "seconds N or epochs N")
    try:
        number = float(number)
    except (TypeError, ValueError):
        number = float("nan")
    return kind, given.number(f"--budget {kind}", number, "(0, inf)")


NAMES = tuple(setting.name for setting in dataclasses.fields(Settings))


def settings_of(task, changes):
    """The Settings of a task: its own defaults where it has some, changed by `changes` {name: value}.

    Raises InputError on a name that is no setting, and on a value that is out of its range.
    """
    defaults = {name: value for name, value in task.defaults.items() if name != "epochs" or "budget" not in changes}
    changes = {**defaults, **changes}
    for name in changes:
        if name not in NAMES[1:]:  # `data` is the task's name
            raise InputError(f"there is no setting {name!r}; expected one of {', '.join(NAMES[1:])}")
    return Settings(task.name, **changes)


def flag(name):
    """The flag of a setting on the command line."""
    return "--" + name.replace("_", "-")


def add_flags(parser, **words):
    """Give an argparse parser the flag of every setting; words fill the {braces} of the help texts.

    Only flags that are given become attributes of what is parsed, so that a task's own defaults stand where none is.
    """
    for setting in dataclasses.fields(Settings):
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        text = setting.metadata["help"].format(**words) + ("" if default is None else f" (default: {default})")
        parser.add_argument(flag(setting.name), help=text, default=argparse.SUPPRESS, **setting.metadata["flag"])
