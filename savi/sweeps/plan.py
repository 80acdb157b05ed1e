"""What a sweep is to work out: read from TOML, crossed, and checked to the last value before anything begins.

read     a Plan from a file, or from a dict of the same form
Plan     its runs by name; `task` and `of_compare` say what one of `compare` is run with, `call` how a function's own goes
"""

import dataclasses
import datetime
import hashlib
import inspect
import itertools
import json
import math
import os
import re
import tomllib
import typing
from typing import NamedTuple

from ..engine.files import InputError, expect
from ..experiments import catalogue
from ..experiments.methods import build
from ..experiments.settings import Settings, settings_of

LIMIT, LONGEST = 1000, 150  # runs that a plan may have unless it is told otherwise; letters in a run's name
FIELDS = {field.name: (typing.get_args(field.type) or (field.type,))[0] for field in dataclasses.fields(Settings)}
KINDS = {"data": str, "method": str, "seed": int} | {k: v for k, v in FIELDS.items() if k not in ("methods", "seeds")}
WORDS = {str: "a word", int: "a whole number", float: "a number", tuple: "a list"}


class Plan(NamedTuple):
    """Runs to be worked out. function: "FILE.py:NAME", or None for those of `compare`. runs: {name: {key: value}}, each with
    all that it is called with; varied: the keys in which runs differ, in the plan's order; folder: from which its files are
    named; reads: files that the function reads by catalogue.source; seconds: about how long a run of the function takes."""

    function: str | None
    runs: dict
    varied: tuple
    folder: str = "."
    reads: tuple = ()
    seconds: float | None = None

    def place(self, named):
        """FILE.py:NAME of the plan, from this process's folder; other words are themselves."""
        return os.path.abspath(os.path.join(self.folder, named)) if ".py:" in named else named

    def of_compare(self, name):
        """(task, method, seed, Settings) of a run of `compare`."""
        values = self.runs[name]
        task = self.place(values["data"])
        changes = {key: value for key, value in values.items() if key not in ("data", "method", "seed")}
        if changes.get("train_examples") == "all":
            changes["train_examples"] = None
        changes |= {"methods": (values["method"],), "seeds": (values["seed"],)}
        return task, values["method"], values["seed"], settings_of(catalogue.find(task), changes)

    def files(self):
        """{path: text} of the files that the plan names, for workers that do not have them."""
        named = [self.function] if self.function else {values["data"] for values in self.runs.values()}
        paths = [self.place(name).rpartition(":")[0] for name in named if ".py:" in name]
        paths += [os.path.abspath(os.path.join(self.folder, name)) for name in self.reads]
        return {path: catalogue.source(path) for path in paths}


def read(plan, limit=LIMIT):
    """The Plan of a TOML file, or of a dict of the same form, whose files are named from this process's folder.

    Raises InputError, with file and key, on whatever cannot be run, and on more than `limit` runs.
    """
    path, found = ("the plan", plan) if isinstance(plan, dict) else (plan, _toml(plan))
    for key in found:
        known = ("function", "reads", "seconds", "settings", "grid")
        expect(f"{path}: {key}", "no part of a plan", key in known, f"one of {', '.join(known)}")
    function, shared, grids = found.get("function"), found.get("settings", {}), found.get("grid", [])
    grids = grids if isinstance(grids, list) else [grids]
    if not isinstance(shared, dict) or not grids or not all(isinstance(grid, dict) and grid for grid in grids):
        raise InputError(
            f"{path} has no runs; expected a table [grid] with lists of values, and [settings] for what is shared"
        )
    if function is not None:
        expect(f"{path}: function", repr(function), isinstance(function, str) and ".py:" in function, '"FILE.py:NAME"')
    reads, seconds = _of_function(path, found)
    for grid in grids:
        for key, values in grid.items():
            expect(f"{path}: [grid] {key}", repr(values), isinstance(values, list) and values, "a list of values")
            expect(f"{path}: {key}", "in [settings] and in [grid]", key not in shared, "it in one of them")
    total = sum(math.prod(len(values) for values in grid.values()) for grid in grids)
    expect(f"{path}: the number of runs", total, total <= limit, f"at most {limit}; --limit allows more")
    for table in (shared, *grids):
        for key, value in table.items():
            expect(f"{path}: {key}", _shown(value), _plain(value), "numbers, words, true, false, or lists of them")
    points = [dict(zip(grid, point)) for grid in grids for point in itertools.product(*grid.values())]
    named = _names(path, points)
    keys = list(dict.fromkeys(key for point in points for key in point))
    varied = tuple(k for k in keys if len({json.dumps(point.get(k)) for point in points}) > 1) or tuple(keys[:1])
    folder = "." if isinstance(plan, dict) else os.path.dirname(os.path.abspath(path))
    checked = Plan(function, {name: shared | point for name, point in named.items()}, varied, folder, reads, seconds)
    (_check_calls if function else _check_settings)(path, checked)
    return checked


def _of_function(path, found):
    """(reads, seconds) of a plan of a function; a plan of compare's runs has neither."""
    for key in ("reads", "seconds"):
        expect(f"{path}: {key}", "without a function", "function" in found or key not in found, "it beside a function")
    reads, seconds = found.get("reads", []), found.get("seconds")
    texts = isinstance(reads, list) and all(isinstance(name, str) for name in reads)
    expect(f"{path}: reads", repr(reads), texts, "a list of files")
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < math.inf
    expect(f"{path}: seconds", repr(seconds), seconds is None or number, "about how many a run takes, > 0")
    return tuple(reads), seconds


def _toml(path):
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; expected a plan in TOML") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}; expected a plan in TOML") from error


def _plain(value):
    """Whether a value is JSON's and equal to itself."""
    if isinstance(value, list | dict):
        return all(map(_plain, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _shown(value):
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else repr(value)


def _names(path, points):
    """{name: point}: the folder of each run, by the values of its grid, in letters that any file system takes."""
    texts = [json.dumps(point, sort_keys=True) for point in points]
    expect(f"{path}: two of its runs", "the same", len(set(texts)) == len(texts), "each combination once")
    found = {}
    for point, text in zip(points, texts):
        name = re.sub(r"[^\w.+=,-]", "-", ",".join(f"{key}={word(value)}" for key, value in point.items()))
        if len(name) > LONGEST or name in found:
            name = f"{name[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        found[name] = point
    return found


def word(value):
    """A value in a name, or in a table: lists with dashes."""
    return "-".join(map(word, value)) if isinstance(value, list) else str(value)


def _check_calls(path, plan):
    """InputError where the function cannot be found or does not take what the plan has."""
    try:
        taken = inspect.signature(catalogue.function(plan.place(plan.function))).parameters
        plan.files()
    except InputError as error:
        raise InputError(f"{path}: function: {error}") from error
    named = {key for key, p in taken.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    needed = {key for key in named if taken[key].default is inspect.Parameter.empty}
    every = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    known = ", ".join(sorted(named))
    for values in plan.runs.values():
        for key in values:
            expect(f"{path}: {key}", f"nothing that {plan.function} takes", every or key in named, known)
        for key in needed:
            expect(f"{path}: {key}", "missing", key in values, f"a value, as {plan.function} needs it")


def _check_settings(path, plan):
    """InputError where a run of `compare` cannot be."""
    for name, values in plan.runs.items():
        for key, value in values.items():
            expect(f"{path}: {key}", "no setting", key in KINDS, f"one of {', '.join(KINDS)}")
            expect(f"{path}: {key}", repr(value), _of_kind(key, value), _expected(key))
        for key in ("data", "method", "seed"):
            expect(f"{path}: {key}", "missing", key in values, "a value in [grid] or [settings]")
        whole = "test or none: what `compare --tune all` chose can be set"
        expect(f"{path}: tune", "all", values.get("tune") != "all", whole)
        try:
            task, method, _, settings = plan.of_compare(name)
            build(method, catalogue.find(task), settings)
        except InputError as error:
            raise InputError(f"{path}: run {name}: {error}") from error


def _of_kind(key, value):
    """Whether a value is one of those that a key takes: of its type, and a list of whole numbers for `hidden`."""
    if key == "hidden":
        return isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
    kind = {float: (int, float), tuple: list}.get(KINDS[key], KINDS[key])
    return (isinstance(value, kind) and not isinstance(value, bool)) or (key == "train_examples" and value == "all")


def _expected(key):
    more = {"hidden": " of whole numbers", "train_examples": ', or "all"', "budget": ': "epochs" or "seconds", N'}
    return WORDS[KINDS[key]] + more.get(key, "") + "; lists of values stand in [grid]"
