"""The main job: the methods side by side on the same task, with the same decoder, data order and budget.

`compare` gives each method the same budget (budget.py), trains it for each seed, measures it on the test examples, and writes
OUT/results.json, results.csv, compare.png and the picture of the task, where it has one. Methods that differ at test time alone
read one training (runs.py). Every training has one thread, and as many run at a time as there are cores. What a method gave
with a seed is kept in OUT/METHOD-seedN/, checkpoints of its training too (of one that several read in OUT/METHOD+METHOD-seedN/),
so a job that was stopped goes on where it was (conduct.py). What depends on the kind of data is the task's (tasks.py), what
depends on a method's name is in methods.py.
"""

import glob
import itertools
import json
import os

import numpy as np

from ..engine import given
from ..engine.files import InputError, digest, keep, kept, owned, replacing, running, tidy
from ..experiments.budget import epochs_of, judged_at
from ..experiments.catalogue import find
from ..experiments.methods import build, training, trainings
from ..experiments.settings import settings_of
from ..experiments.tables import csv, differences, table, tuned
from . import needs, runs
from .conduct import Clock, conduct, failures
from .executors import Local, cores
from .parallel import run_all
from .processes import Processes


def compare(task, out, resume=False, progress=None, say=print, jobs=None, **changes):
    """Run the whole comparison and return its results, {"settings": ..., "rows": [...], ...}, all values in nats an example.

    task: a Task, the name of one, or "FILE.py:NAME". out: a folder. changes: settings (settings.py) that differ from their
    defaults. resume: keep what `out` already holds of the same comparison. progress: as in `fit`. say(text) tells how it goes.
    jobs: how many runs at a time, each in a process of its own; None for as many as there are cores, or where `task` is a Task
    itself for this process alone, as a task goes to another process by its name.
    Raises InputError on bad settings, when `out` holds results and resume is not set, and after all else when a run failed.
    """
    named, task = task, find(task)
    settings = settings_of(task, changes)
    for name in settings.methods:
        build(name, task, settings)
    jobs = jobs if jobs is not None else cores() if isinstance(named, str) else 1
    jobs = given.whole("--jobs", jobs, 1)
    groups = trainings(settings.methods)
    jobs = min(jobs, len(groups) * len(settings.seeds))
    shared = named if jobs > 1 else task, settings
    with owned(out), Processes() as lasting:  # they measure costs, and have the data then
        examples, x_test = runs.load(shared[0], settings, fresh=True)
        found = {name: needs.needs(name, task, settings, examples, x_test) for name in settings.methods}
        needs.tell(settings, found, jobs, say)
        _begin(settings, examples, out, resume)
        results = {"settings": settings.describe(), "data": examples.name, "rows": [], "curves": []}
        results["epochs"] = epochs = _plan(shared, jobs, lasting, examples, out, resume)
        results["tuning"] = tuning = _tuning(shared, jobs, lasting, epochs, out, resume)
        results["baseline"], results["baselines"] = runs.baselines(*shared)
        amount = (
            f"{settings.budget[1]:g} {'processor seconds' if settings.budget[0] == 'seconds' else 'epochs'} a method"
        )
        say(f"{examples.name}: {len(examples.train)} for training, {len(x_test)} for testing, {amount}")
        at, inner = judged_at(epochs), {name: found["choice"] for name, found in tuning.items()}
        works, shown = {}, progress if jobs == 1 else False
        for names, seed in sorted(itertools.product(groups, settings.seeds), key=lambda each: _first(*each, epochs)):
            name, folder = names[0], os.path.join(out, folder_of("+".join(names), seed))
            item = names, seed, epochs[name], at[name], inner.get(name, {}), *shared, folder, resume, shown
            works[tuple(folder_of(name, seed) for name in names)] = item
        _collect(results, works, out, Local(jobs, lasting) if jobs > 1 else None, resume, say)
        _save(results, task, out)
    say("\n" + table(results, task.measures) + "\n\n" + differences(results) + "\n\n" + tuned(results))
    return results


def folder_of(name, seed):
    """The folder of a method and a seed below OUT."""
    return f"{name.replace(':', '-')}-seed{seed}"


def _first(names, seed, epochs):
    """A key by which the longest trainings come first: those that most methods read, then those with dear steps and few epochs."""
    return -len(names), epochs[names[0]], seed


def _collect(results, works, out, engine, resume, say):
    """The rows and curves of all methods and seeds, in their order, into `results` and results.json as they end.

    Raises InputError when all others have ended, where one failed.
    """
    methods, seeds = results["settings"]["methods"], results["settings"]["seeds"]
    asked = {folder_of(name, seed): (name, seed) for seed in seeds for name in methods}
    found, errors, clock, width = {}, {}, Clock(len(asked), say), max(12, *map(len, methods))
    try:
        for run, value, error, new in conduct(runs.run, works, out, engine, resume, say):
            name, seed = asked[run]
            if error is not None:
                errors[run] = error
                clock.tell(f"{name:<{width}} seed {seed}   failed: {error}")
                continue
            found[run], row = value, value["row"]
            clock.tell(
                f"{name:<{width}} seed {seed}   -ELBO {row['neg_elbo']:8.2f}   {row['epochs']:6.1f} epochs, {row['cpu']:5.1f} s",
                new,
            )
            for part in ("row", "curve"):
                results[part + "s"] = [found[other][part] for other in asked if other in found]
            _write(os.path.join(out, "results.json"), json.dumps(results))
    finally:
        keep(os.path.join(out, "errors.json"), {run: str(error) for run, error in errors.items()})
    if error := failures(errors, len(asked), out):
        raise error


def _begin(settings, examples, out, resume):
    """Write OUT/settings.json. InputError where `out` holds another comparison, one of other data, or something else."""
    tidy(out)
    path = os.path.join(out, "settings.json")
    described = settings.describe() | {"digest of the data": digest(examples.train, examples.valid, examples.test)}
    there = os.path.exists(path) or glob.glob(os.path.join(glob.escape(out), "*-seed*"))
    if there and not resume:
        raise InputError(f"{out} already holds a comparison; add --resume to go on with it, or name another --out")
    if there or (resume and os.listdir(out)):
        old = kept(path)
        for name, value in described.items():
            if name not in ("methods", "seeds") and old.get(name) != value:  # more methods or seeds may be added
                raise InputError(f"cannot resume: {path} has {name} = {old.get(name)}, this run {value}")
    keep(path, described)


def _kept(path, resume):
    """{method: what was kept for it} in a file of a comparison that goes on; there more methods may be added."""
    return kept(path) if resume and os.path.exists(path) else {}


def _plan(shared, jobs, lasting, examples, out, resume):
    """{method: epochs}, from OUT/plan.json, {training: epochs}, where a comparison goes on."""
    _, settings = shared
    path = os.path.join(out, "plan.json")
    plan = _kept(path, resume)
    missing = [name for name in dict.fromkeys(map(training, settings.methods)) if name not in plan]
    if settings.budget[0] == "epochs":
        plan |= dict.fromkeys(missing, settings.budget[1])
    elif missing:  # as many measure at a time as will run: they share the machine's memory
        found = list(run_all(runs.seconds, [(missing, *shared)] * jobs, jobs, lasting))
        plan |= epochs_of({name: np.mean([cost[name] for cost in found]) for name in missing}, examples, settings)
    keep(path, plan)
    return {name: plan[training(name)] for name in settings.methods}


def _tuning(shared, jobs, lasting, epochs, out, resume):
    """{method: {"choice": its inner step in training, "curve": the search}} of those that are tuned, from OUT/tuning.json."""
    _, settings = shared
    path = os.path.join(out, "tuning.json")
    if settings.tune != "all":
        return {}
    found = _kept(path, resume)
    items = [(name, epochs[name] / 2, *shared) for name in settings.methods if name not in found]
    for (name, *_), tuning in zip(items, run_all(runs.tune, items, jobs, lasting)):
        if tuning:
            found[name] = tuning
            keep(path, found)
    return found


def _save(results, task, out):
    """results.csv and the pictures."""
    from ..experiments import plots

    _write(os.path.join(out, "results.csv"), csv(results))
    plots.save(plots.comparison(results), os.path.join(out, "compare.png"))
    if task.show:
        with running(f"draw(results) of task {task.name!r}"):
            plots.save(task.draw(results), os.path.join(out, f"{task.picture}.png"))


def _write(path, text):
    with replacing(path) as file:
        file.write(text.encode())
