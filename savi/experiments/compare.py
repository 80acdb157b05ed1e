"""The main job: the methods side by side on the same data, with the same decoder, data order and budget.

`compare` trains each method for each seed (checkpoints in OUT/METHOD-seedN/), measures it on the test images, and
writes OUT/results.json, results.csv, compare.png and, for images, reconstructions.png. A finished run is kept in its
folder, so a job that was stopped goes on where it was. Data "synthetic" are token sequences (synthetic.py): decoder and
encoder are LSTMs then, and `hidden` are the layers between the decoder's states and its outputs.
"""

import csv
import glob
import io
import json
import os

import numpy as np

from .. import data
from ..data import synthetic
from ..data.sources import SOURCES
from ..engine.files import InputError, expect, replacing
from ..inference.amortized import VAE
from ..inference.iterative import ENCODINGS, Data, Gated, Gradient, Iterative, Residual, network
from ..inference.optimizers import OPTIMIZERS
from ..inference.semi_amortized import SAVAE, VAESVI
from ..inference.svi import SVI, VariationalEM
from ..models.decoders import MLPDecoder
from ..models.latent_gaussian import LatentGaussianModel
from ..models.likelihoods import Bernoulli
from ..models.sequence_decoders import LSTMDecoder
from ..nets.encoders import LSTMEncoder
from ..nets.highway import HighwayMLP
from ..nets.mlp import MLP
from .evaluation import evaluate, infer, neg_elbo
from .training import fit

DEFAULTS = {
    "data": "glyphs", "methods": ["vae", "svi", "vae+svi", "vae+svi+kl", "sa-vae"], "epochs": 3, "steps": 10,
    "iterations": 5, "step_size": 0.05, "momentum": 0.5, "inner_clip": 5.0, "samples": 1, "latent": 32, "hidden": [200, 200],
    "activation": "tanh", "batch": 100, "learning_rate": 2e-3, "warmup_epochs": 0, "dtype": "float32", "seeds": [0],
    "train_examples": None, "test_examples": 500, "iw_samples": 500, "gap_examples": 100,
}  # fmt: skip

METHODS = {  # name: a function of the model, the settings and the words behind a colon
    "vae": lambda model, s, words: VAE(_encoder(s, words), 0, *_inner(s)),
    "svi": lambda model, s, words: SVI(s["steps"], *_inner(s)),
    "vae+svi": lambda model, s, words: VAESVI(_encoder(s, words), s["steps"], *_inner(s)),
    "vae+svi+kl": lambda model, s, words: VAESVI(_encoder(s, words), s["steps"], *_inner(s), kl=True),
    "sa-vae": lambda model, s, words: SAVAE(_encoder(s, words), s["steps"], *_inner(s)),
    "iterative": lambda model, s, words: _iterative(model, s, words),
    "em": lambda model, s, words: _em(s, words),
}
WORDS = {  # what may stand behind a colon, joined by "+"
    **{name: ("highway",) for name in ("vae", "vae+svi", "vae+svi+kl", "sa-vae")},
    "iterative": (*ENCODINGS, "residual", "learned"),
    "em": tuple(OPTIMIZERS),
}

COLUMNS = {  # of the table: key of a row, heading, decimals
    "neg_elbo": ("-ELBO", 2),
    "reconstruction": ("reconstr.", 2),
    "kl": ("KL", 2),
    "nll_iw": ("IW NLL", 2),
    "amortization_gap": ("amort. gap", 2),
    "ms_per_step": ("ms/step", 1),
    "train_seconds": ("training s", 1),
}

PIXELS, SEQUENCES = 784, "synthetic"
REFINEMENT = (0, 1, 2, 5, 10, 20, 40)  # numbers of test-time steps in the right-hand picture
SHOWN = 8  # reconstructed images


def _inner(s):
    return s["step_size"], s["momentum"], s["inner_clip"], s["samples"]


def _encoder(s, words):
    if s["data"] == SEQUENCES:
        expect("the 'highway' of a method", "not for sequences", not words, "no colon, as their encoder is an LSTM")
        return LSTMEncoder(synthetic.VOCABULARY, synthetic.UNITS, synthetic.UNITS, 2 * s["latent"])
    net = HighwayMLP if "highway" in words else MLP
    return net([PIXELS, *reversed(s["hidden"]), 2 * s["latent"]], s["activation"])


def _iterative(model, s, words):
    default = [Gradient()] if s["data"] == SEQUENCES else [Gradient(), Data()]
    encodings = [ENCODINGS[word]() for word in words if word in ENCODINGS] or default
    update = Residual() if "residual" in words else Gated()
    net = network(model, encodings, list(reversed(s["hidden"])), update, s["activation"])
    start = "learned" if "learned" in words else "prior"
    return Iterative(net, encodings, s["iterations"], s["samples"], update, start)


def _em(s, words):
    expect("method", f"em:{'+'.join(words)}", len(words) <= 1, "one optimizer behind the colon")
    return VariationalEM(OPTIMIZERS[words[0] if words else "adam"](s["step_size"]), s["steps"], s["samples"])


def build(name, settings):
    """(model, method) for a name in METHODS, by the settings; behind a colon, words of its WORDS: "iterative:error+data".

    Raises InputError on a name or size it does not know.
    """
    base, colon, options = name.partition(":")
    words = options.split("+") if colon else []
    if base not in METHODS:
        raise InputError(f"method is {name!r}; expected one of {', '.join(METHODS)}")
    for word in words:
        expect(
            f"the {word!r} of method {name}",
            "unknown",
            word in WORDS.get(base, ()),
            ", ".join(WORDS.get(base, ())) or "no colon",
        )
    model = LatentGaussianModel(_decoder(settings))
    return model, METHODS[base](model, settings, words)


def _decoder(s):
    if s["data"] == SEQUENCES:
        sizes = synthetic.VOCABULARY, synthetic.UNITS, synthetic.UNITS, s["latent"]
        return LSTMDecoder(*sizes, s["hidden"], s["activation"])
    return MLPDecoder(MLP([s["latent"], *s["hidden"], PIXELS], s["activation"]), Bernoulli())


def compare(out, resume=False, progress=None, say=print, **changes):
    """Run the whole comparison and return its results, {"settings": ..., "rows": [...], ...}, all values in nats an example.

    out: a folder. changes: what differs from DEFAULTS. resume: keep what `out` already holds of the same comparison.
    Raises InputError on bad settings, and when `out` holds results and resume is not set.
    """
    settings = DEFAULTS | changes
    _check(settings, out, resume)
    examples = synthetic.load() if settings["data"] == SEQUENCES else data.load(settings["data"])
    if settings["train_examples"] is not None:
        examples = examples._replace(train=examples.train[: settings["train_examples"]])
    x_test = _test_set(examples, settings)
    _write(os.path.join(out, "settings.json"), json.dumps(settings, indent=2))
    say(f"{examples.name}: {len(examples.train)} for training, {len(x_test)} for testing, {settings['epochs']} epochs")
    results = {"settings": settings, "data": examples.name, "rows": [], "curves": []}
    width = max(12, *map(len, settings["methods"]))
    for seed in settings["seeds"]:
        for name in settings["methods"]:
            row, curve = _run(name, seed, examples, x_test, settings, out, resume, progress)
            results["rows"].append(row)
            results["curves"].append(curve)
            say(
                f"  {name:<{width}} seed {seed}   -ELBO {row['neg_elbo']:8.2f}   {row['train_seconds']:6.1f} s of training"
            )
            _write(os.path.join(out, "results.json"), json.dumps(results))
    _save(results, out)
    say("\n" + table(results))
    return results


def _check(settings, out, resume):
    names = (*SOURCES, SEQUENCES)
    expect("--data", repr(settings["data"]), settings["data"] in names, f"one of {', '.join(names)}")
    for name in settings["methods"]:
        build(name, settings)
    if not settings["methods"] or not settings["seeds"]:
        raise InputError("there is nothing to compare; expected at least one method and one seed")
    if len(set(settings["methods"])) < len(settings["methods"]) or len(set(settings["seeds"])) < len(settings["seeds"]):
        raise InputError("a method or a seed is named twice; expected each once")
    for name in ("epochs", "iterations", "batch", "test_examples", "iw_samples", "gap_examples", "samples"):
        expect(f"--{name.replace('_', '-')}", settings[name], settings[name] >= 1, "a whole number >= 1")
    few = settings["train_examples"]
    expect("--train-examples", few, few is None or few >= 1, "a whole number >= 1")
    expect("--seeds", settings["seeds"], min(settings["seeds"]) >= 0, "whole numbers >= 0")
    path = os.path.join(out, "settings.json")
    if not (os.path.exists(path) and glob.glob(os.path.join(glob.escape(out), "*-seed*"))):
        return  # nothing has been trained here
    if not resume:
        raise InputError(f"{out} already holds a comparison; add --resume to go on with it, or name another --out")
    with open(path) as file:
        try:
            old = json.load(file)
        except ValueError as error:
            raise InputError(f"cannot resume from {path}: it is not JSON ({error})") from error
    fixed = [name for name in settings if name not in ("methods", "seeds")]  # more methods or seeds may be added
    changed = [name for name in fixed if old.get(name) != settings[name]]
    if changed:
        name = changed[0]
        raise InputError(f"cannot resume: {path} has {name} = {old.get(name)}, this run {settings[name]}")


def _test_set(examples, settings):
    """The first test examples in a fixed random order, images binarized once: the same for every method and seed."""
    rng = np.random.default_rng(0)
    x = examples.test[rng.permutation(len(examples.test))[: settings["test_examples"]]]
    return (x if settings["data"] == SEQUENCES else data.binarize(x, rng)).astype(settings["dtype"])


def _run(name, seed, examples, x_test, settings, out, resume, progress):
    """One method and seed: (row of the table, curves of the picture), taken from the run's folder when it is there."""
    folder = os.path.join(out, f"{name.replace(':', '-')}-seed{seed}")
    finished = os.path.join(folder, "result.json")
    if resume and os.path.exists(finished):
        with open(finished) as file:
            return json.load(file).values()
    model, method = build(name, settings)
    result = fit(
        model, method, examples, settings["epochs"], seed, out=folder, resume=resume, progress=progress,
        batch=settings["batch"], learning_rate=settings["learning_rate"], warmup_epochs=settings["warmup_epochs"],
        dtype=settings["dtype"], monitor={"test": examples.test[: len(x_test)]},
    )  # fmt: skip
    trained = model, method, result.theta, result.phi
    summary = evaluate(
        *trained,
        x_test,
        np.random.default_rng([seed, 1]),
        iw_samples=settings["iw_samples"],
        gap_examples=settings["gap_examples"],
    )
    row = {"method": name, "seed": seed, **summary, "ms_per_step": result.ms_per_step}
    row["train_seconds"] = result.history[-1]["seconds"]
    curve = {
        "method": name,
        "seed": seed,
        "history": result.history,
        "refinement": _refinement(*trained, x_test[:200], np.random.default_rng([seed, 2])),
    }
    if settings["data"] != SEQUENCES:
        curve["reconstructions"] = _reconstructions(*trained, x_test[:SHOWN], np.random.default_rng([seed, 3]))
    _write(finished, json.dumps({"row": row, "curve": curve}))
    return row, curve


def _refinement(model, method, theta, phi, x, rng):
    """[steps, -ELBO] for each number of test-time steps, SVI's or the method's own."""
    points = []
    for steps in REFINEMENT:
        lam = infer(model, method, theta, phi, x, rng, steps=steps)
        points.append([steps, float(neg_elbo(model, theta, lam, x, rng).mean())])
    return points


def _reconstructions(model, method, theta, phi, x, rng):
    """{"images", "means"}: x and E[x | z = mu], as whole percents, each a list of lists."""
    mu = infer(model, method, theta, phi, x, rng)[:, : model.latent_dim]
    percent = lambda a: np.rint(100 * a).astype(int).tolist()  # noqa: E731
    return {"images": percent(x), "means": percent(model.decoder.mean(theta, mu))}


def summarize(results):
    """{method: {column: (mean, spread)}}: the spread is the standard deviation over seeds (0 for one seed)."""
    summary = {}
    for name in results["settings"]["methods"]:
        rows = [row for row in results["rows"] if row["method"] == name]
        if rows:
            values = {key: np.array([row[key] for row in rows]) for key in COLUMNS}
            summary[name] = {key: (v.mean(), v.std(ddof=1) if len(v) > 1 else 0.0) for key, v in values.items()}
    return summary


def cells(results):
    """The table as lists of words: the headings, then a line per method; mean and, over several seeds, the spread."""
    several = len(results["settings"]["seeds"]) > 1
    lines = [["method", *(heading for heading, _ in COLUMNS.values())]]
    for name, values in summarize(results).items():
        line = [f"{values[key][0]:.{d}f}" + several * f" ± {values[key][1]:.{d}f}" for key, (_, d) in COLUMNS.items()]
        lines.append([name, *line])
    return lines


def table(results):
    """The table as text, in columns."""
    lines = cells(results)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines)


def _save(results, out):
    """results.csv and the two pictures."""
    from . import plots

    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(results["rows"][0]), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(results["rows"])
    _write(os.path.join(out, "results.csv"), text.getvalue())
    plots.save(plots.comparison(results), os.path.join(out, "compare.png"))
    if results["settings"]["data"] != SEQUENCES:
        plots.save(plots.reconstructions(results), os.path.join(out, "reconstructions.png"))


def _write(path, text):
    with replacing(path) as file:
        file.write(text.encode())
