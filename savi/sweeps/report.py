"""What the runs of a folder say: `python -m savi report FOLDER` makes tables and pictures of any sweep or comparison.

FOLDER/report/ (or --out) gets
    rows.csv                 every run: its settings, its numbers or its error
    report.md, .tex, .json   each setting's mean and standard error over seeds; differences, paired by seed
    against-KEY.png          the first measure against each setting, with two standard errors; a line for each method
    seconds.png              runs of compare: test -ELBO while training, against processor seconds

A measure is a loss, lower is better, unless it is said that higher is. Runs of compare are read at equal processor seconds,
too: at the last one that all runs that differ in method and seed alone came to, on the line between two judged epochs.
"""

import json
import math
import os
import re

from ..engine.files import InputError, expect, replacing
from ..experiments import tables
from .collected import SEED, collect, groups
from .paired import EQUAL, SECONDS, differences, mean_of, read_at_equal_seconds
from .plan import word

FIRST, LAST = ("neg_elbo",), ("epochs", "cpu")  # measures of compare's runs, in a table's order
COST = ("ms_per_step", "train_seconds", "passes", "gap_converged")  # in a table where they are asked for
MOST, SHOWN = 8, 40  # measures of a table that nobody chose; lines of one on a screen


def report(folder, out=None, measures=None, by=None, against=None, where=None, higher=False):
    """Write tables and pictures of a job's folder to `out` (None: FOLDER/report), and return the tables as text.

    measures: names of numbers, the first one is compared and drawn; None for all there are. by: the setting whose values are
    compared (None: the method, or the first in which runs differ), each with that of its own seed under the value `against`,
    None for the best of the others. where: {key: word of a value}, these runs alone. higher: larger values of the first
    measure are better. Raises InputError on a folder without runs and on names that its runs do not have.
    """
    found = collect(folder)
    settings = [key for key in found.keys if key != SEED]
    _expect_known("--by", [by] if by else [], settings, "a setting in which runs differ")
    _expect_known("--where", where or (), found.keys, "a setting in which runs differ")
    by = by or ("method" if "method" in settings else next(iter(settings), None))
    chosen = groups(found, where)
    if not any(group.seeds for group in chosen):
        raise InputError(f"no run in {folder} with {where} has numbers; expected one at least")
    if against is not None:
        _expect_known("--against", [against], sorted({_cell(g.settings.get(by)) for g in chosen}), f"a value of {by}")
    read_at_equal_seconds(chosen, by)
    known = list(dict.fromkeys(name for group in chosen for row in group.seeds.values() for name in row.numbers))
    _expect_known("--measure", measures or (), known, "a number that its runs have")
    measures = measures or _measures(known)
    compared = [measures[0]] + [EQUAL] * (EQUAL in known and measures[0] == FIRST[0])
    pairs = {name: list(differences(chosen, by, name, against, higher and name == measures[0])) for name in compared}
    shown = {"runs": _means(chosen, settings, measures)}
    for name in compared:
        if pairs[name]:
            shown[f"{heading(name)}: differences paired by seed"] = _said(pairs[name], settings)
    out = out or os.path.join(folder, "report")
    _write(out, shown, found, chosen, measures, pairs)
    _draw(out, chosen, by, measures[0])
    return "\n\n".join([_on_screen(title, *table) for title, table in shown.items()] + _failures(found.rows))


def _expect_known(flag, names, known, what):
    for name in names:
        expect(flag, name, name in known, f"{what}: {', '.join(known)}")


def heading(name):
    """What a measure is called in a table."""
    return tables.COLUMNS.get(name, (name,))[0]


def _measures(known):
    """The measures of a table that nobody chose: all numbers but costs, or the first MOST of them."""
    names = [name for name in known if name not in COST]
    order = [name for name in FIRST if name in names] + [n for n in names if n not in FIRST + LAST + (EQUAL, SECONDS)]
    return (order + [n for n in (EQUAL, SECONDS, *LAST) if n in names])[: MOST + 2 * (EQUAL in names)]


# --- in words and in files --------------------------------------------------------------------------------------------------


def number(mean, error=math.nan, sign=""):
    """A mean with its standard error, to two digits of the error."""
    if not error > 1e-9 * abs(mean):  # rounding is no spread
        return f"{mean:{sign}.6g}" + " ± 0" * math.isfinite(error)
    decimals = min(max(1 - math.floor(math.log10(error)), 0), 8)
    return f"{mean:{sign}.{decimals}f} ± {error:.{decimals}f}" if math.isfinite(error) else f"{mean:{sign}.6g}"


def _means(chosen, settings, measures):
    """(lines of words, how many columns are words): a line for each group."""
    lines = [[*settings, "n", *map(heading, measures)]]
    for group in chosen:
        n = f"{len(group.seeds)}" + f" of {group.planned}" * (len(group.seeds) < group.planned)
        cells = [number(*mean_of(group.values(name).values())) if group.seeds else "" for name in measures]
        lines.append([*(_cell(group.settings[key]) for key in settings), n, *cells])
    return lines, len(settings)


def _said(pairs, settings):
    """The same for differences."""
    lines = [[*settings, "minus", "difference", "lower in", "verdict"]]
    for group, other, mean, error, n, below, verdict in pairs:
        words = [number(mean, error, "+"), f"{below} of {n}", verdict if n > 1 else "one seed"]
        lines.append([*(_cell(group.settings[key]) for key in settings), other, *words])
    return lines, len(settings) + 1


def _failures(rows):
    """A line for those that have no numbers, if any."""
    failed = [row for row in rows if row.error]
    return (
        [f"{len(failed)} runs without numbers, the first of them {failed[0].run}: {failed[0].error}"] if failed else []
    )


def _cell(value):
    return "" if value is None else word(value)


def _on_screen(title, lines, left):
    more = len(lines) - 1 - SHOWN
    text = "\n".join(line.rstrip() for line in tables.text(lines[: SHOWN + 1], left).splitlines())
    return f"{title}\n{text}" + (f"\n... and {more} lines in report.md" if more > 0 else "")


def _write(out, shown, found, chosen, measures, pairs):
    note = "Mean ± standard error over seeds; better and worse: beyond two standard errors."
    _save(out, "report.md", note, *(f"## {title}\n\n{tables.in_markdown(*table)}" for title, table in shown.items()))
    _save(out, "report.tex", f"% {note}", *(f"% {title}\n{tables.in_latex(*table)}" for title, table in shown.items()))
    rows = [{"run": row.run} | row.settings | row.numbers | {"error": row.error} for row in found.rows]
    names = list(dict.fromkeys(name for row in rows for name in row if name != "error"))
    _save(out, "rows.csv", tables.in_csv(rows, [*names, "error"]).rstrip("\n"))
    described = [
        {"settings": g.settings, "n": len(g.seeds), "planned": g.planned}
        | {"measures": {m: dict(zip(("mean", "error"), mean_of(g.values(m).values()))) for m in measures}}
        for g in chosen
    ]
    names = ("minus", "mean", "error", "n", "lower in", "verdict")
    told = {name: [{"settings": g.settings} | dict(zip(names, pair)) for g, *pair in of] for name, of in pairs.items()}
    failed = {row.run: row.error for row in found.rows if row.error}
    text = json.dumps(_without_nan({"groups": described, "differences": told, "errors": failed}), allow_nan=False)
    _save(out, "report.json", text)


def _without_nan(value):
    """A value with None for what JSON has no word for."""
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _save(out, name, *parts):
    with replacing(os.path.join(out, name)) as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def _draw(out, chosen, by, name):
    """The pictures: a panel for each combination of the settings that it does not show."""
    from ..experiments import plots

    varied = [key for key in chosen[0].settings if len({word(group.settings[key]) for group in chosen}) > 1]
    for key in [key for key in varied if key != by] or varied:
        panels = {}
        for group in chosen:
            if group.seeds:
                rest = {k: v for k, v in group.settings.items() if k not in (key, by)}
                line = panels.setdefault(_title(rest), {}).setdefault(
                    _cell(group.settings.get(by)) if key != by else "", []
                )
                line.append((group.settings[key], *mean_of(group.values(name).values())))
        plots.save(plots.against(panels, key, heading(name)), os.path.join(out, f"against-{_file(key)}.png"))
    panels = {}
    for group in chosen:
        curves = [row.curve for row in group.seeds.values() if len(row.curve) > 1]
        if curves:
            rest = {k: v for k, v in group.settings.items() if k != by}
            panels.setdefault(_title(rest), {})[_cell(group.settings.get(by))] = curves
    if panels:
        plots.save(plots.training(panels), os.path.join(out, "seconds.png"))


def _title(settings):
    return ", ".join(f"{key} {word(value)}" for key, value in settings.items() if value is not None)


def _file(key):
    return re.sub(r"[^\w.+=-]", "-", key)
