"""A plan of many runs, worked out on the cores of this machine or on an engine that is there: a grid of settings as TOML.

    [settings]                     what all runs share, by the names that compare knows (settings.py)
    train_examples = 1000
    budget = ["epochs", 10]

    [grid]                         each combination is a run; [[grid]] several times: one grid after the other
    data = ["glyphs"]
    method = ["vae-then-svi", "sa-vae"]
    seed = [0, 1, 2]
    steps = [5, 10, 20]

With `function = "FILE.py:NAME"` on top a run is NAME(**its values) instead, a function of the file beside the plan that gives
a dict of JSON's kinds. `reads = ["FILE", ...]` are files that it reads by catalogue.source, which go with it to workers that
have none; `seconds = N` is about how long a run takes, where that is known. Every value is checked before the first run begins
(plan.py). OUT/RUN/result.json is what a run gave, and OUT/sweep.json the plan; `report` makes tables and pictures of them
(report.py).
"""

import contextlib
import hashlib
import json
import os
from collections import defaultdict

import numpy as np

from ..engine import given, threads
from ..engine.files import InputError, expect, keep, kept, owned
from ..experiments.budget import judged_at
from ..experiments.catalogue import with_files
from . import runs
from .conduct import Clock, conduct, duration, failures, tidy
from .executors import Given, Refused, cores, find, versions
from .parallel import as_they_end
from .plan import LIMIT, Plan, read, word

__all__ = ["LIMIT", "Plan", "estimate", "read", "show", "sweep"]
OVERHEAD = 4.0  # seconds that a run takes beside its training: measuring, and its share of a worker's start
MEASURED = 8  # settings whose steps are timed for an estimate


def sweep(plan, out, on="local", jobs=None, resume=False, retries=2, executor=None, say=print):
    """Work out all runs of a plan, and return {run: what it gave}, as OUT/RUN/result.json keeps it.

    plan: a Plan, or what `read` takes: the path of one in TOML, a dict. on: "local", "dask://HOST:PORT" or "mpi"; jobs:
    processes of this machine, None for one a core; executor: any other concurrent.futures.Executor, instead. A run whose
    worker dies begins again, `retries` times. Raises InputError on a bad plan, where OUT holds another plan or this one
    without resume, where a worker has other versions or data than the rest, and after all else when a run failed.
    """
    retries = given.whole("--retries", retries)
    plan = plan if isinstance(plan, Plan) else read(plan)
    engine = Given(executor) if executor else find(on, cores() if jobs is None else jobs)
    found, errors, data = {}, {}, {}
    with owned(out):
        _begin(plan, out, resume, say)
        work, items = _work(plan, out, engine, resume, say)
        clock = Clock(len(items), say)
        with contextlib.closing(conduct(work, items, out, engine, resume, say, retries)) as ended:
            try:
                for name, value, error, new in ended:
                    if error is None:
                        _expect_same_data(plan.runs[name], value, data)
                        found[name] = value
                    else:
                        errors[name] = error
                    clock.tell(name, new, error)
            finally:
                keep(os.path.join(out, "errors.json"), {name: str(error) for name, error in errors.items()})
    if error := failures(errors, len(items), out):
        raise error
    return found


def _begin(plan, out, resume, say):
    """Write OUT/sweep.json; a sweep may go on with more runs, not with other ones of the same name or on other versions."""
    path = os.path.join(out, "sweep.json")
    described = {"function": plan.function, "runs": plan.runs, "varied": plan.varied, "versions": versions()}
    described["files"] = {os.path.basename(path): _digest(text) for path, text in plan.files().items()}
    described = json.loads(json.dumps(described))
    if os.path.exists(path):
        if not resume:
            raise InputError(f"{out} already holds a sweep; add --resume to go on with it, or name another --out")
        old = kept(path)
        for key in ("function", "versions"):
            expect(f"cannot resume: the {key} of {path}", old[key], old[key] == described[key], described[key])
        for name, values in described["runs"].items():
            same = old["runs"].get(name, values) == values
            expect(f"cannot resume: run {name} of {path}", "another one", same, "the plan that began it")
        for file in described["files"]:
            if old["files"].get(file) != described["files"][file]:
                say(f"{file} has changed since {path} was written; what had ended is kept")
    tidy(out)
    keep(path, described)


def _digest(text):
    return hashlib.sha256(text).hexdigest()


def _expect_same_data(values, value, seen):
    """Refused where a run had other data than one before on the same task."""
    if "data" in values and "data" in value:
        key = values["data"], values.get("train_examples")
        same = seen.setdefault(key, value["data"]) == value["data"]
        if not same:
            raise Refused(
                f"the data {values['data']!r} are not the same on all workers; expected the same files on each"
            )


def _work(plan, out, engine, resume, say):
    """(the function that works out a run, {(run,): its arguments}); far away it has the plan's Python files with it."""
    here = engine is None or engine.here
    first = () if here else (plan.files(), runs.call if plan.function else runs.run)
    work = with_files if first else runs.call if plan.function else runs.run
    if plan.function:
        return work, {(name,): (*first, plan.place(plan.function), values) for name, values in plan.runs.items()}
    epochs = _epochs(plan, os.path.join(out, "epochs.json"), engine, resume, say)
    together = defaultdict(
        dict
    )  # the methods that differ in nothing else are judged at an epoch that all of them reach
    for name, values in plan.runs.items():
        together[_without(values, "seed", "method")][values["method"]] = epochs[name]
    items = {}
    for name, values in plan.runs.items():
        task, method, seed, settings = plan.of_compare(name)
        at = judged_at(together[_without(values, "seed", "method")])[method]
        folder = os.path.join(out, name) if here else None  # checkpoints stay where the work is
        items[name,] = (*first, (method,), seed, epochs[name], at, {}, task, settings, folder, True, False, False)
    return work, items


def _without(values, *keys):
    """What is equal for runs that differ in these keys alone."""
    return json.dumps({k: v for k, v in values.items() if k not in keys}, sort_keys=True)


def _epochs(plan, path, engine, resume, say):
    """{run: epochs}; of a budget in seconds by what a step costs where the runs are worked out, once for all seeds, from the
    file at `path` if it can be."""
    known, missing = kept(path) if resume and os.path.exists(path) else {}, {}
    for name, values in plan.runs.items():
        task, method, _, settings = plan.of_compare(name)
        key = _without(values, "seed")
        if settings.budget[0] == "epochs":
            known[key] = settings.budget[1]
        elif key not in known:
            missing[key] = method, task, settings
    if missing:
        say(f"how long a step takes: {len(missing)} measurements")
        items = [(plan.files(), runs.epochs, *item) for item in missing.values()]
        for index, found, error in as_they_end(with_files, items, engine):
            if error is not None:
                raise error
            known[list(missing)[index]] = found
    keep(path, known)
    return {name: known[_without(values, "seed")] for name, values in plan.runs.items()}


def estimate(plan, workers, measure=True):
    """(seconds of all work, seconds until the end with so many workers), roughly; None where they cannot be known.

    What a step costs is measured here, for at most MEASURED of the settings; not at all without `measure`.
    """
    if plan.function:
        total = len(plan.runs) * (plan.seconds or 0.0)
        return (total, max(total / workers, plan.seconds)) if total else None
    budgets, kinds = {}, {}
    for name, values in plan.runs.items():
        *_, settings = plan.of_compare(name)
        budgets[name] = settings.budget
        if settings.budget[0] == "epochs":
            kinds.setdefault(_without(values, "seed", "budget", "epochs"), name)
    if kinds and not measure:
        return None
    costs = {key: _seconds_of_an_epoch(plan, kinds[key]) for key in list(kinds)[:: -(-len(kinds) // MEASURED) or 1]}
    typical = np.mean(list(costs.values())) if costs else 0.0
    total = longest = 0.0
    for name, (kind, number) in budgets.items():
        if kind == "epochs":
            number *= costs.get(_without(plan.runs[name], "seed", "budget", "epochs"), typical)
        total, longest = total + number + OVERHEAD, max(longest, number + OVERHEAD)
    return total, max(total / workers, longest)


def _seconds_of_an_epoch(plan, name):
    task, method, _, settings = plan.of_compare(name)
    with threads.using(1):
        examples, _ = runs.load(task, settings)
        return runs.seconds((method,), task, settings)[method] * -(-len(examples.train) // settings.batch)


def show(plan, workers, measure=True):
    """The plan in words: how many runs, in what they differ, and about how long they take."""
    values = {key: list(dict.fromkeys(word(run.get(key, "")) for run in plan.runs.values())) for key in plan.varied}
    lines = [f"{len(plan.runs)} runs" + (f" of {plan.function}" if plan.function else "")]
    lines += [f"  {key}: {', '.join(found[:12])}{' ...' if len(found) > 12 else ''}" for key, found in values.items()]
    if about := estimate(plan, workers, measure):
        lines.append(f"about {duration(about[0])} of work, {duration(about[1])} with {workers} at a time")
    return "\n".join(lines)
