"""The main job: the methods side by side on the same task, with the same decoder, data order and budget.

`compare` trains each method for each seed (checkpoints in OUT/METHOD-seedN/), measures it on the test examples, and
writes OUT/results.json, results.csv, compare.png and the picture of the task, where it has one. A finished run is kept in
its folder, so a job that was stopped goes on where it was. All that depends on the kind of data is the task's (tasks.py).
"""

import glob
import json
import os

import numpy as np

from ..engine.files import InputError, expect, replacing, running
from ..inference.amortized import VAE
from ..inference.iterative import ENCODINGS, Gated, Iterative, Residual, network
from ..inference.optimizers import OPTIMIZERS
from ..inference.semi_amortized import SAVAE, VAESVI
from ..inference.svi import SVI, VariationalEM
from .catalogue import TASKS, find
from .evaluation import along, evaluate, infer
from .settings import settings_of
from .tables import csv, table
from .training import fit

METHODS = {  # name: a function of the model, the task, the settings and the words behind a colon
    "vae": lambda model, task, s, words: VAE(_encoder(model, task, s, words), 0, *_inner(s)),
    "svi": lambda model, task, s, words: SVI(s.steps, *_inner(s)),
    "vae+svi": lambda model, task, s, words: VAESVI(_encoder(model, task, s, words), s.steps, *_inner(s)),
    "vae+svi+kl": lambda model, task, s, words: VAESVI(_encoder(model, task, s, words), s.steps, *_inner(s), kl=True),
    "sa-vae": lambda model, task, s, words: SAVAE(_encoder(model, task, s, words), s.steps, *_inner(s)),
    "iterative": lambda model, task, s, words: _iterative(model, task, s, words),
    "em": lambda model, task, s, words: _em(s, words),
}


def _encoder_words(task):
    default, *others = task.encoders
    return (*others, default)


WORDS = {  # what may stand behind a colon with a task, joined by "+"
    **dict.fromkeys(("vae", "vae+svi", "vae+svi+kl", "sa-vae"), _encoder_words),
    "svi": lambda task: (),
    "iterative": lambda task: (*ENCODINGS, "residual", "learned"),
    "em": lambda task: tuple(OPTIMIZERS),
}

REFINEMENT = (0, 1, 2, 5, 10, 20, 40)  # numbers of test-time steps in the right-hand picture
SHOWN = 8  # examples in the task's own picture


def _inner(s):
    return s.step_size, s.momentum, s.inner_clip, s.samples


def _encoder(model, task, s, words):
    expect("the encoder of a method", "+".join(words), len(words) <= 1, "one behind the colon")
    return task.encoder(s, model.lam_size, *words)


def _iterative(model, task, s, words):
    encoded = [word for word in words if word in ENCODINGS] or task.default_encodings
    encodings = [ENCODINGS[word]() for word in encoded]
    update = Residual() if "residual" in words else Gated()
    net = network(model, encodings, s.hidden, update, s.activation)
    for word in encoded:
        fits = ", ".join(task.encodings)
        expect(f"the {word!r} of an iterative model", f"not for {task.about}", word in task.encodings, fits)
    start = "learned" if "learned" in words else "prior"
    return Iterative(net, encodings, s.iterations, s.samples, update, start)


def _em(s, words):
    expect("method", f"em:{'+'.join(words)}", len(words) <= 1, "one optimizer behind the colon")
    return VariationalEM(OPTIMIZERS[words[0] if words else "adam"](s.step_size), s.steps, s.samples)


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


def compare(task, out, resume=False, progress=None, say=print, **changes):
    """Run the whole comparison and return its results, {"settings": ..., "rows": [...], ...}, all values in nats an example.

    task: a Task, the name of one, or "FILE.py:NAME". out: a folder. changes: settings (settings.py) that differ from their
    defaults. resume: keep what `out` already holds of the same comparison. progress: as in `fit`. say(text) tells how it goes.
    Raises InputError on bad settings, and when `out` holds results and resume is not set.
    """
    task = find(task)
    settings = settings_of(task, changes)
    _check(task, settings, out, resume)
    examples = task.dataset()
    if settings.train_examples is not None:
        examples = examples._replace(train=examples.train[: settings.train_examples])
    x_test = _test_set(examples, settings)
    results = {"settings": settings.describe(), "data": examples.name, "rows": [], "curves": []}
    _write(os.path.join(out, "settings.json"), json.dumps(results["settings"], indent=2))
    say(f"{examples.name}: {len(examples.train)} for training, {len(x_test)} for testing, {settings.epochs} epochs")
    width = max(12, *map(len, settings.methods))
    for seed in settings.seeds:
        for name in settings.methods:
            row, curve = _run(name, seed, task, examples, x_test, settings, out, resume, progress)
            results["rows"].append(row)
            results["curves"].append(curve)
            loss, seconds = row["neg_elbo"], row["train_seconds"]
            say(f"  {name:<{width}} seed {seed}   -ELBO {loss:8.2f}   {seconds:6.1f} s of training")
            _write(os.path.join(out, "results.json"), json.dumps(results))
    _save(results, task, out)
    say("\n" + table(results, task.measures))
    return results


def _check(task, settings, out, resume):
    """InputError where a method cannot be built, or `out` does not fit."""
    for name in settings.methods:
        build(name, task, settings)
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
    for name, value in settings.describe().items():
        if name not in ("methods", "seeds") and old.get(name) != value:  # more methods or seeds may be added
            raise InputError(f"cannot resume: {path} has {name} = {old.get(name)}, this run {value}")


def _test_set(examples, settings):
    """The first test examples in a fixed random order, prepared once: the same for every method and seed."""
    rng = np.random.default_rng(0)
    test = np.asarray(examples.test)
    x = test[rng.permutation(len(test))[: settings.test_examples]]
    with running(f"prepare(x, rng) of the data {examples.name!r}"):
        prepared = examples.prepare(x, rng).astype(settings.dtype)
    expect(
        "what prepare(x, rng) gives", f"{len(prepared)} examples", len(prepared) == len(x), f"{len(x)}, as many as x"
    )
    return prepared


def _run(name, seed, task, examples, x_test, settings, out, resume, progress):
    """One method and seed: (row of the table, curves of the picture), taken from the run's folder when it is there."""
    folder = os.path.join(out, f"{name.replace(':', '-')}-seed{seed}")
    finished = os.path.join(folder, "result.json")
    if resume and os.path.exists(finished):
        with open(finished) as file:
            return json.load(file).values()
    model, method = build(name, task, settings)
    result = fit(
        model, method, examples, settings.epochs, seed, out=folder, resume=resume, progress=progress,
        batch=settings.batch, learning_rate=settings.learning_rate, warmup_epochs=settings.warmup_epochs,
        dtype=settings.dtype, monitor={"test": examples.test[: len(x_test)]},
    )  # fmt: skip
    trained = model, method, result.theta, result.phi
    samples = {"iw_samples": settings.iw_samples, "gap_examples": settings.gap_examples}
    summary = evaluate(*trained, x_test, _rng(seed, 1), **samples, measures=task.measures)
    row = {"method": name, "seed": seed, **summary, "ms_per_step": result.ms_per_step}
    row["train_seconds"] = result.history[-1]["seconds"]
    curve = {"method": name, "seed": seed, "history": result.history}
    curve["refinement"] = _refinement(*trained, x_test[:200], _rng(seed, 2))
    if task.show:
        x = x_test[:SHOWN]
        curve[task.picture] = task.shown(model, result.theta, infer(*trained, x, _rng(seed, 3)), x)
    _write(finished, json.dumps({"row": row, "curve": curve}))
    return row, curve


def _rng(seed, stream):
    return np.random.default_rng([seed, stream])


def _refinement(model, method, theta, phi, x, rng):
    """[steps, -ELBO] for each number of test-time steps, SVI's or the method's own."""
    lams = (infer(model, method, theta, phi, x, rng, steps) for steps in REFINEMENT)
    return [[steps, loss] for steps, loss in zip(REFINEMENT, along(model, theta, lams, x, rng))]


def _save(results, task, out):
    """results.csv and the pictures."""
    from . import plots

    _write(os.path.join(out, "results.csv"), csv(results))
    plots.save(plots.comparison(results), os.path.join(out, "compare.png"))
    if task.show:
        with running(f"draw(results) of task {task.name!r}"):
            plots.save(task.draw(results), os.path.join(out, f"{task.picture}.png"))


def _write(path, text):
    with replacing(path) as file:
        file.write(text.encode())
