"""What the folder of a job holds: every run with its settings and its numbers, or why it has none.

collect    the rows of a folder of `compare` or `sweep`
groups     those that differ in nothing but the seed, together
"""

import glob
import json
import os
from typing import NamedTuple

from ..engine.files import InputError, expect, kept
from .conduct import RESULT
from .plan import word

SEED = "seed"  # the setting by which runs are paired
UNENDED = "it has not ended"


class Row(NamedTuple):
    """A row of a run. kind: its settings but for the seed, as text; settings: {key: value} of all in which rows differ;
    numbers: {name: float}, none where there is an error; curve: [processor seconds, test -ELBO], ..., of its training, where
    that is known; error: why there are no numbers, or ""."""

    run: str
    kind: str
    settings: dict
    numbers: dict
    curve: list
    error: str = ""


class Collected(NamedTuple):
    """rows: of all runs that were planned; keys: the settings in which they differ, in their order; planned: {the settings of
    a run but for its seed, as text: how many runs have them}."""

    rows: list
    keys: tuple
    planned: dict


class Group(NamedTuple):
    """Rows that differ in nothing but the seed. seeds: {seed: row} of those that have numbers; planned: how many should."""

    settings: dict
    seeds: dict
    planned: int

    def values(self, name):
        """{seed: the number of that name}, NaN where a row has none."""
        return {seed: row.numbers.get(name, float("nan")) for seed, row in self.seeds.items()}


def collect(folder):
    """The Collected of a job's folder.

    A run of `compare` gives a row; one of a plan's function gives what it returned or, where that has "rows", a list of dicts,
    each of these: words in them are settings, too. Raises InputError where there is no such folder or a file of it is damaged.
    """
    expect(folder, "no folder", os.path.isdir(folder), "one that `compare` or `sweep` has written")
    if os.path.exists(path := os.path.join(folder, "sweep.json")):
        described = kept(path)
        shared = {name: {key: run.get(key) for key in described["varied"]} for name, run in described["runs"].items()}
    elif os.path.exists(path := os.path.join(folder, "settings.json")):
        shared = _of_compare(folder, kept(path))
    else:
        raise InputError(
            f"{folder} has neither sweep.json nor settings.json; expected the folder of a sweep or compare"
        )
    path = os.path.join(folder, "errors.json")
    errors = kept(path) if os.path.exists(path) else {}
    planned = {}
    for settings in shared.values():
        planned[like(settings)] = planned.get(like(settings), 0) + 1
    rows = [row for run, settings in shared.items() for row in _rows(folder, run, settings, errors)]
    if not any(row.numbers for row in rows):
        raise InputError(
            f"no run in {folder} has numbers; expected one that has ended ({rows[0].run}: {rows[0].error})"
        )
    return Collected(rows, tuple(dict.fromkeys(key for row in rows for key in row.settings)), planned)


def like(settings):
    """Text that runs share which differ in nothing but the seed."""
    return json.dumps({key: value for key, value in settings.items() if key != SEED})


def _of_compare(folder, settings):
    """{run: {"method", "seed"}} of all that were asked for, and of those that an earlier call has left."""
    asked = [(name, seed) for name in settings["methods"] for seed in settings["seeds"]]
    found = {f"{name.replace(':', '-')}-seed{seed}": {"method": name, SEED: seed} for name, seed in asked}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*-seed*", RESULT))):
        run = os.path.basename(os.path.dirname(path))
        if run not in found:
            row = kept(path)["row"]
            found[run] = {"method": row["method"], SEED: row[SEED]}
    return found


def _rows(folder, run, settings, errors):
    path, kind = os.path.join(folder, run, RESULT), like(settings)
    if not os.path.exists(path):
        return [Row(run, kind, settings, {}, [], errors.get(run, UNENDED))]
    found = kept(path)
    if "curve" in found and "row" in found:
        curve = [[row["cpu"], row["test_neg_elbo"]] for row in found["curve"]["history"] if "test_neg_elbo" in row]
        return [Row(run, kind, settings, _numbers(found["row"], settings), curve)]
    if isinstance(parts := found.get("rows"), list) and parts and all(isinstance(part, dict) for part in parts):
        words = [{key: value for key, value in part.items() if isinstance(value, str)} for part in parts]
        return [Row(run, kind, settings | more, _numbers(part, settings), []) for part, more in zip(parts, words)]
    return [Row(run, kind, settings, _numbers(found, settings), [])]


def _numbers(found, settings, before=""):
    """{name: float} of the numbers in a dict; of a dict in it with a dot in the name. What is a setting is no number."""
    numbers = {}
    for key, value in found.items():
        if isinstance(value, dict):
            numbers |= _numbers(value, (), f"{before}{key}.")
        elif isinstance(value, int | float) and key not in settings:
            numbers[before + key] = float(value)
    return numbers


def groups(found, where=None):
    """The Groups of what was collected, in the order of its rows; where {key: word of the value}: those alone.

    A run without numbers has a group of its own only where none of those like it has numbers.
    """
    rows = [row for row in found.rows if all(word(row.settings.get(key)) == at for key, at in (where or {}).items())]
    known, together = {row.kind for row in rows if row.numbers}, {}
    for row in rows:
        if row.numbers or row.kind not in known:
            settings = {key: row.settings.get(key) for key in found.keys if key != SEED}
            group = together.setdefault(like(settings), Group(settings, {}, found.planned[row.kind]))
        if row.numbers:
            seed = row.settings.get(SEED)
            if seed in group.seeds:
                raise InputError(f"two rows of run {row.run} differ in no word; expected one that tells them apart")
            group.seeds[seed] = row
    return list(together.values())
