"""The main job: the methods side by side on the same task, with the same decoder, data order and budget.

`compare` gives each method the same budget (budget.py), trains it for each seed (checkpoints in OUT/METHOD-seedN/), measures
it on the test examples, and writes OUT/results.json, results.csv, compare.png and the picture of the task, where it has
one. Every run has one thread, and as many run at a time as there are cores. A finished run is kept in its folder, so a job
that was stopped goes on where it was. What depends on the kind of data is the task's (tasks.py), what depends on a method's
name is in methods.py.
"""

import functools
import glob
import json
import os

import numpy as np

from ..engine.files import InputError, expect, reading, replacing, running
from .budget import costs, epochs_of, judged_at
from .catalogue import find
from .evaluation import along, evaluate, infer
from .methods import build
from .parallel import cores, run_all
from .settings import settings_of
from .tables import csv, differences, table
from .training import fit

REFINEMENT = (0, 1, 2, 5, 10, 20, 40)  # numbers of test-time steps in the right-hand picture
SHOWN = 8  # examples in the task's own picture


def compare(task, out, resume=False, progress=None, say=print, jobs=None, **changes):
    """Run the whole comparison and return its results, {"settings": ..., "rows": [...], ...}, all values in nats an example.

    task: a Task, the name of one, or "FILE.py:NAME". out: a folder. changes: settings (settings.py) that differ from their
    defaults. resume: keep what `out` already holds of the same comparison. progress: as in `fit`. say(text) tells how it goes.
    jobs: how many runs at a time, each in a process of its own; None for as many as there are cores, or where `task` is a Task
    itself for this process alone, as a task goes to another process by its name.
    Raises InputError on bad settings, and when `out` holds results and resume is not set.
    """
    named, task = task, find(task)
    settings = settings_of(task, changes)
    _check(task, settings, out, resume)
    loaded = examples, x_test = _examples(task, settings)
    results = {"settings": settings.describe(), "data": examples.name, "rows": [], "curves": []}
    _write(os.path.join(out, "settings.json"), json.dumps(results["settings"], indent=2))
    runs = [(seed, name) for seed in settings.seeds for name in settings.methods]
    jobs = jobs if jobs is not None else cores() if isinstance(named, str) else 1
    here = jobs == 1 or len(runs) == 1
    shared = (task, loaded) if here else (named, None)
    results["epochs"] = epochs = _plan(shared, 1 if here else jobs, examples, settings, out, resume)
    results["baseline"] = _baseline(task, examples, x_test, settings)
    amount = f"{settings.budget[1]:g} {'processor seconds' if settings.budget[0] == 'seconds' else 'epochs'} a method"
    say(f"{examples.name}: {len(examples.train)} for training, {len(x_test)} for testing, {amount}")
    width, at = max(12, *map(len, settings.methods)), judged_at(epochs)
    shared = *shared, progress if here else False, settings, out, resume
    items = [(name, seed, epochs[name], at[name], *shared) for seed, name in runs]
    for (seed, name), (row, curve) in zip(runs, run_all(_run, items, jobs)):
        results["rows"].append(row)
        results["curves"].append(curve)
        say(
            f"  {name:<{width}} seed {seed}   -ELBO {row['neg_elbo']:8.2f}   {row['epochs']:6.1f} epochs, {row['cpu']:5.1f} s"
        )
        _write(os.path.join(out, "results.json"), json.dumps(results))
    _save(results, task, out)
    say("\n" + table(results, task.measures) + "\n\n" + differences(results))
    return results


def _examples(task, settings):
    """(the Dataset, test examples): those that the settings ask for."""
    examples = task.dataset()
    if settings.train_examples is not None:
        examples = examples._replace(train=examples.train[: settings.train_examples])
    return examples, _test_set(examples, settings)


def _plan(shared, jobs, examples, settings, out, resume):
    """{method: epochs}, from OUT/plan.json where a comparison goes on; there more methods may be added."""
    path, plan = os.path.join(out, "plan.json"), {}
    if resume and os.path.exists(path):
        with reading(path, "the plan that this comparison began with"), open(path) as file:
            plan = {name: float(number) for name, number in json.load(file).items()}
    missing = [name for name in settings.methods if name not in plan]
    if settings.budget[0] == "epochs":
        plan |= dict.fromkeys(missing, settings.budget[1])
    elif missing:  # as many measure at a time as will run: they share the machine's memory
        found = list(run_all(_costs, [(missing, *shared, settings)] * jobs, jobs))
        plan |= epochs_of({name: np.mean([cost[name] for cost in found]) for name in missing}, examples, settings)
    _write(path, json.dumps(plan, indent=2))
    return {name: plan[name] for name in settings.methods}


def _costs(names, task, loaded, settings):
    """{method: processor seconds of a training step} in this process."""
    examples, _ = loaded or _examples_of(task, settings)
    return costs({name: build(name, find(task), settings) for name in names}, examples, settings)


def _baseline(task, examples, x_test, settings):
    """{"method": what it is called, "nll": its -log p(x)} of the best model without latents, or None."""
    found = task.model(settings).baseline(examples.train, x_test)
    return found and {"method": found[0], "nll": -float(found[1].mean())}


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


@functools.lru_cache(maxsize=1)
def _examples_of(named, settings):
    """`_examples`, once in each process that works on several runs."""
    return _examples(find(named), settings)


def _run(name, seed, epochs, judge_at, task, loaded, progress, settings, out, resume):
    """One method and seed: (row of the table, curves of the picture), taken from the run's folder when it is there."""
    folder = os.path.join(out, f"{name.replace(':', '-')}-seed{seed}")
    finished = os.path.join(folder, "result.json")
    if resume and os.path.exists(finished):
        with open(finished) as file:
            return tuple(json.load(file).values())
    examples, x_test = loaded or _examples_of(task, settings)
    task = find(task)
    model, method = build(name, task, settings)
    result = fit(
        model, method, examples, epochs, seed, out=folder, resume=resume, progress=progress, batch=settings.batch,
        learning_rate=settings.learning_rate, phi_decay=settings.phi_decay, warmup_epochs=settings.warmup_epochs,
        dtype=settings.dtype, monitor={"test": examples.test[: len(x_test)]}, judge_at=judge_at,
    )  # fmt: skip
    trained = model, method, result.theta, result.phi
    samples = {"iw_samples": settings.iw_samples, "gap_examples": settings.gap_examples}
    summary = evaluate(*trained, x_test, _rng(seed, 1), **samples, measures=task.measures)
    row = {"method": name, "seed": seed, **summary, "ms_per_step": result.ms_per_step}
    cost = {key: result.history[-1][key] for key in ("seconds", "cpu", "passes")}
    row |= {"epochs": epochs, "train_seconds": cost.pop("seconds"), **cost}
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
