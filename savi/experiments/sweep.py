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
a dict of JSON's kinds. Every value is checked before the first run begins. OUT/RUN/result.json is what a run gave, and
OUT/sweep.json the plan; `report` makes tables and pictures of them (report.py).
"""

import inspect
import itertools
import json
import os
import re
import tomllib
from typing import NamedTuple

import numpy as np

from ..engine.files import InputError, expect, keep, kept, owned
from . import catalogue, runs
from .budget import epochs_of, judged_at
from .conduct import Clock, conduct, duration, failures, tidy
from .executors import Given, cores, find, versions
from .methods import build
from .settings import NAMES, settings_of

LIMIT = 1000
OVERHEAD = 8.0  # seconds that a run takes beside its training: measuring, and its share of a worker's start
KEYS = ("data", "method", "seed")
OTHER = tuple(name for name in NAMES if name not in ("data", "methods", "seeds", "epochs", "tune")) + ("epochs", "tune")


class Plan(NamedTuple):
    """Runs to be worked out. function: "FILE.py:NAME", or None for those of `compare`. runs: {name: {key: value}}, each with
    all that it is called with; varied: the keys in which runs differ, in the plan's order."""

    function: str | None
    runs: dict
    varied: tuple


def read(path, limit=LIMIT):
    """The Plan of a TOML file. Raises InputError, with file and key, on whatever cannot be run, and beyond `limit` runs."""
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; expected a plan in TOML") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    for key in found:
        expect(
            f"{path}: {key}", "no part of a plan", key in ("function", "settings", "grid"), "function, settings or grid"
        )
    function = found.get("function")
    if function is not None:
        expect(f"{path}: function", repr(function), isinstance(function, str), '"FILE.py:NAME"')
        function = os.path.join(os.path.dirname(os.path.abspath(path)), function)
    shared, grids = found.get("settings", {}), found.get("grid", [])
    grids = grids if isinstance(grids, list) else [grids]
    if not isinstance(shared, dict) or not grids or not all(isinstance(grid, dict) and grid for grid in grids):
        raise InputError(
            f"{path} has no runs; expected a table [grid] with lists of values, and [settings] for what is shared"
        )
    return _plan(path, function, shared, grids, limit)


def _plan(path, function, shared, grids, limit):
    for grid in grids:
        for key, values in grid.items():
            expect(f"{path}: [grid] {key}", repr(values), isinstance(values, list) and values, "a list of values")
            expect(f"{path}: {key}", "in [settings] and in [grid]", key not in shared, "it in one of them")
    total = sum(int(np.prod([len(values) for values in grid.values()], dtype=float)) for grid in grids)
    expect(f"{path}: the number of runs", total, total <= limit, f"at most {limit}; --limit allows more")
    points = [dict(zip(grid, point)) for grid in grids for point in itertools.product(*grid.values())]
    keys = list(dict.fromkeys(key for point in points for key in point))
    varied = tuple(k for k in keys if len({json.dumps(point.get(k)) for point in points}) > 1) or tuple(keys[:1])
    named = {_name(varied, point): shared | point for point in points}
    expect(f"{path}: two of its runs", "the same", len(named) == len(points), "each combination once")
    plan = Plan(function, named, varied)
    (_check_calls if function else _check_settings)(path, plan)
    return plan


def _name(varied, point):
    """The folder of a run: what sets it apart, in letters that any file system takes."""
    words = (f"{key}={_word(point[key])}" for key in varied if key in point)
    return re.sub(r"[^\w.+=,-]", "-", ",".join(words))[:200]


def _word(value):
    return "-".join(map(_word, value)) if isinstance(value, list) else str(value)


def _check_calls(path, plan):
    """InputError where the function cannot be found or does not take what the plan has."""
    taken = inspect.signature(_function(plan.function)).parameters
    named = {key for key, p in taken.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    needed = {key for key in named if taken[key].default is inspect.Parameter.empty}
    every = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    for values in plan.runs.values():
        for key in values:
            expect(
                f"{path}: {key}", f"nothing that {plan.function} takes", every or key in named, ", ".join(sorted(named))
            )
        for key in needed:
            expect(f"{path}: {key}", "missing", key in values, f"a value, as {plan.function} needs it")


def _check_settings(path, plan):
    """InputError where a run of `compare` cannot be."""
    for name, values in plan.runs.items():
        for key in values:
            expect(f"{path}: {key}", "no setting", key in KEYS + OTHER, f"one of {', '.join(KEYS + OTHER)}")
        for key in KEYS:
            expect(f"{path}: {key}", "missing", key in values, "a value in [grid] or [settings]")
        try:
            task, method, _, settings = _of(values)
            expect(
                "tune", '"all"', settings.tune != "all", '"test" or "none"; what compare --tune all chose can be set'
            )
            build(method, catalogue.find(task), settings)
        except (InputError, TypeError) as error:
            raise InputError(f"{path}: run {name}: {error}") from error


def _of(values):
    """(task, method, seed, Settings) of the values of a run of `compare`."""
    changes = {key: value for key, value in values.items() if key not in KEYS}
    changes |= {"methods": (values["method"],), "seeds": (values["seed"],)}
    return values["data"], values["method"], values["seed"], settings_of(catalogue.find(values["data"]), changes)


def _function(named):
    """The function NAME of "FILE.py:NAME"."""
    path, _, name = named.rpartition(":")
    if not path.endswith(".py"):
        raise InputError(f'function is {named!r}; expected "FILE.py:NAME"')
    found = vars(catalogue.module(path)).get(name)
    if not callable(found):
        raise InputError(f"{path} defines no function {name!r}; expected one of that name")
    return found


def sweep(plan, out, on="local", jobs=None, resume=False, retries=2, executor=None, say=print):
    """Work out all runs of a Plan, and return {run: what it gave}, as OUT/RUN/result.json keeps it.

    plan: a Plan, or the path of one in TOML. on: "local", "dask://HOST:PORT" or "mpi"; jobs: processes of this machine, None
    for one a core; executor: any other concurrent.futures.Executor, instead. A run whose worker dies begins again, `retries`
    times. Raises InputError on a bad plan, where OUT holds another plan or this one without resume, and after all else when a
    run failed.
    """
    plan = plan if isinstance(plan, Plan) else read(plan)
    engine = Given(executor) if executor else find(on, cores() if jobs is None else jobs)
    with owned(out):
        _begin(plan, out, resume)
        items = _items(plan, out, engine, resume, say)
        found, errors, clock = {}, {}, Clock(len(items), say)
        work = call if plan.function else runs.run
        for name, value, error, new in conduct(work, items, out, engine, resume, say, retries):
            if error is None:
                found[name] = value
            else:
                errors[name] = error
            clock.tell(f"{name}{'' if error is None else f'   failed: {error}'}", new)
        keep(os.path.join(out, "errors.json"), {name: str(error) for name, error in errors.items()})
    if error := failures(errors, len(items), out):
        raise error
    return found


def call(named, values):
    """The function "FILE.py:NAME" of these values, what it gives as JSON in bytes."""
    return json.dumps(_function(named)(**values)).encode()


def _begin(plan, out, resume):
    """Write OUT/sweep.json; a sweep may go on with more runs, not with other ones of the same name."""
    path = os.path.join(out, "sweep.json")
    described = {"function": plan.function and os.path.basename(plan.function), "runs": plan.runs}
    if os.path.exists(path):
        if not resume:
            raise InputError(f"{out} already holds a sweep; add --resume to go on with it, or name another --out")
        old = kept(path)
        for name, values in described["runs"].items():
            if old["runs"].get(name, values) != values or old["function"] != described["function"]:
                raise InputError(f"cannot resume: {path} has another run {name}; expected the plan that began it")
    tidy(out)
    keep(path, described | {"varied": plan.varied, "versions": versions()})


def _items(plan, out, engine, resume, say):
    """{run: the arguments of its work}."""
    if plan.function:
        return {name: (plan.function, values) for name, values in plan.runs.items()}
    here = engine is None or engine.here
    epochs = _epochs(plan, os.path.join(out, "epochs.json"), resume, say)
    items = {}
    for name, values in plan.runs.items():
        task, method, seed, settings = _of(values)
        at = judged_at({method: epochs[name]})[method]
        folder = os.path.join(out, name) if here else None  # a checkpoint stays where the work is
        items[name] = method, seed, epochs[name], at, {}, task, settings, folder, resume, False, False
    return items


def _epochs(plan, path, resume, say):
    """{run: epochs}; of a budget in seconds by what a step costs here, once for all seeds, from the file at `path` if it can be."""
    known = kept(path) if resume and os.path.exists(path) else {}
    found = {}
    for name, values in plan.runs.items():
        task, method, _, settings = _of(values)
        key = json.dumps({k: v for k, v in values.items() if k != "seed"}, sort_keys=True)
        if key not in known:
            if settings.budget[0] == "epochs":
                known[key] = settings.budget[1]
            else:
                say(f"how long a step takes: {name}")
                cost = runs.seconds((method,), task, settings)
                known[key] = epochs_of(cost, runs.load(task, settings)[0], settings)[method]
        found[name] = known[key]
    keep(path, known)
    return found


def estimate(plan, workers):
    """(seconds of all work, seconds until the end with so many workers), roughly; None where the runs are a function's own."""
    if plan.function:
        return None
    costs, total, longest = {}, 0.0, 0.0
    for values in plan.runs.values():
        task, method, _, settings = _of(values)
        kind, number = settings.budget
        if kind == "epochs":
            key = json.dumps({k: v for k, v in values.items() if k not in ("seed", "budget", "epochs")}, sort_keys=True)
            if key not in costs:
                costs[key] = runs.seconds((method,), task, settings)[method]
            number *= costs[key] * -(-len(runs.load(task, settings)[0].train) // settings.batch)
        total, longest = total + number + OVERHEAD, max(longest, number + OVERHEAD)
    return total, max(total / workers, longest)


def show(plan, workers):
    """The plan in words: how many runs, in what they differ, and about how long they take."""
    values = {key: list(dict.fromkeys(_word(run.get(key, "")) for run in plan.runs.values())) for key in plan.varied}
    lines = [f"{len(plan.runs)} runs" + (f" of {plan.function}" if plan.function else "")]
    lines += [f"  {key}: {', '.join(found[:12])}{' ...' if len(found) > 12 else ''}" for key, found in values.items()]
    if about := estimate(plan, workers):
        lines.append(f"about {duration(about[0])} of work, {duration(about[1])} with {workers} workers")
    return "\n".join(lines)
