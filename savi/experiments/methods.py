"""The methods of a comparison by their names: "sa-vae", or with words behind a colon that choose their parts."""

from ..engine.files import InputError, expect
from ..inference.amortized import VAE
from ..inference.iterative import ENCODINGS, Gated, Iterative, Residual, level_networks, network
from ..inference.optimizers import OPTIMIZERS
from ..inference.recurrent import recurrent_network
from ..inference.semi_amortized import SAVAE, VAESVI
from ..inference.svi import SVI, VariationalEM
from ..nets.cells import GRU, LSTMCell
from .catalogue import TASKS

STEP_SIZES = {  # of the SVI steps: what `compare --tune all` chose for the default job, in figures/compare_tuning.json
    "vae": 0.05,
    "vae-then-svi": 0.05,
    "svi": 0.2,
    "vae+svi": 0.2,
    "vae+svi+kl": 0.1,
    "sa-vae": 0.02,
    "em": 0.05,
}
READS = {"vae-then-svi": "vae"}  # a method that differs at test time alone: that whose training it reads
METHODS = {  # name: a function of the model, the task, the settings and the words behind a colon
    "vae": lambda model, task, s, words: VAE(_encoder(model, task, s, words), 0, *_inner(s, "vae")),
    "vae-then-svi": lambda model, task, s, words: VAE(
        _encoder(model, task, s, words), s.steps, *_inner(s, "vae-then-svi")
    ),
    "svi": lambda model, task, s, words: SVI(s.steps, *_inner(s, "svi")),
    "vae+svi": lambda model, task, s, words: VAESVI(_encoder(model, task, s, words), s.steps, *_inner(s, "vae+svi")),
    "vae+svi+kl": lambda model, task, s, words: VAESVI(
        _encoder(model, task, s, words), s.steps, *_inner(s, "vae+svi+kl"), kl=True
    ),
    "sa-vae": lambda model, task, s, words: SAVAE(_encoder(model, task, s, words), s.steps, *_inner(s, "sa-vae")),
    "iterative": lambda model, task, s, words: _iterative(model, task, s, words),
    "em": lambda model, task, s, words: _em(s, words),
}


def _encoder_words(task):
    default, *others = task.encoders
    return (*others, default)


CELLS = {"gru": GRU, "lstm": LSTMCell}
WORDS = {  # what may stand behind a colon with a task, joined by "+"
    **dict.fromkeys(("vae", "vae-then-svi", "vae+svi", "vae+svi+kl", "sa-vae"), _encoder_words),
    "svi": lambda task: (),
    "iterative": lambda task: (*ENCODINGS, "residual", "learned", "encoder", "every", "levels", *CELLS, "through-time"),
    "em": lambda task: tuple(OPTIMIZERS),
}


def _step_size(s, name):
    return STEP_SIZES[name] if s.step_size is None else s.step_size


def _inner(s, name):
    return _step_size(s, name), s.momentum, s.inner_clip, s.samples


def _encoder(model, task, s, words):
    expect("the encoder of a method", "+".join(words), len(words) <= 1, "one behind the colon")
    return task.encoder(s, model.lam_size, *words)


def _iterative(model, task, s, words):
    encoded = [word for word in words if word in ENCODINGS] or task.default_encodings
    encodings = [ENCODINGS[word]() for word in encoded]
    update = Residual() if "residual" in words else Gated()
    net = _trunk(model, encodings, update, s, words)
    for word in encoded:
        fits = ", ".join(task.encodings)
        expect(f"the {word!r} of an iterative model", f"not for {task.about}", word in task.encodings, fits)
    starts = [word for word in words if word in ("learned", "encoder")]
    expect("the start of an iterative model", " and ".join(starts), len(starts) <= 1, "one")
    start = _encoder(model, task, s, ()) if "encoder" in starts else "".join(starts) or "prior"
    theta_at = "every" if "every" in words else "last"
    return Iterative(net, encodings, s.iterations, s.samples, update, start, theta_at)


def _trunk(model, encodings, update, s, words):
    """The network of an iterative model: feed-forward, one for each level, or with a state."""
    kinds = [word for word in words if word in ("levels", *CELLS)]
    expect("the network of an iterative model", " and ".join(kinds), len(kinds) <= 1, "one")
    if "levels" in kinds:
        return level_networks(model, encodings, s.hidden, update, s.activation)
    if kinds:
        *below, units = s.hidden
        below, through = below or [units], "through-time" in words
        return recurrent_network(model, encodings, below, units, update, s.activation, CELLS[kinds[0]], through)
    expect(
        "the network of an iterative model", "feed-forward", "through-time" not in words, "gru or lstm for through-time"
    )
    return network(model, encodings, s.hidden, update, s.activation)


def _em(s, words):
    expect("method", f"em:{'+'.join(words)}", len(words) <= 1, "one optimizer behind the colon")
    return VariationalEM(OPTIMIZERS[words[0] if words else "adam"](_step_size(s, "em")), s.steps, s.samples)


def training(name):
    """The method whose training `name` reads, with its words: "vae" for "vae-then-svi"; most read their own."""
    base, colon, words = name.partition(":")
    return READS.get(base, base) + colon + words


def trainings(names):
    """[(name, ...), ...]: methods that read the same training together, that whose training it is first."""
    found = {}
    for name in names:
        found.setdefault(training(name), []).append(name)
    return [tuple(sorted(group, key=lambda name: (name != own, name))) for own, group in found.items()]


def build(name, task, settings):
    """(model, method) for a name in METHODS, by the task and the settings; behind a colon, words: "iterative:error+data".

    Raises InputError on a name, a word or a size that it does not know.
    """
    base, colon, options = name.partition(":")
    words = options.split("+") if colon else []
    if base not in METHODS:
        raise InputError(f"method is {name!r}; expected one of {', '.join(METHODS)}")
    allowed = WORDS[base](task)
    for word in words:
        elsewhere = any(word in WORDS[base](other) for other in TASKS.values())
        why = f"not for {task.about}" if elsewhere else "unknown"
        expect(f"the {word!r} of method {name}", why, word in allowed, ", ".join(allowed) or "no colon")
    model = task.model(settings)
    return model, METHODS[base](model, task, settings, words)
