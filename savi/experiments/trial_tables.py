"""Trials side by side: rows that tables.paired takes, a table at both costs, and what paired differences say of a claim."""

import numpy as np

from . import tables
from .figures import VERDICTS

STOPS = ("seconds", "epochs")


def key(measure, stop):
    """The key of a row: a measure at equal "seconds" or "epochs"."""
    return f"{measure} at equal {stop}"


def rows(trials, recipes):
    """[{"method": label, "seed", "neg_elbo at equal seconds", ...}, ...] of learning_to_infer.trial's results.

    A method that is measured with and without SVI at test time gives two rows, the second one with ", then SVI" in its label.
    """
    found = []
    for trial in trials:
        recipe = recipes[trial["method"]]
        for svi in recipe.svi:
            label = recipe.label + (", then SVI" if len(recipe.svi) > 1 and svi else "")
            row = {"method": label, "seed": trial["seed"]}
            for stop in STOPS:
                at = trial[stop]
                row |= {key(name, stop): at["svi" if svi else "own"][name] for name in ("neg_elbo", "nll")}
                row |= {key(name, stop): at[name] for name in ("epochs", "cpu")}
            found.append(row)
    return found


def long(rows):
    """The same rows with one for each stop: [{"method", "seed", "at": "equal seconds", "neg_elbo", ...}, ...]."""
    return [
        {name: row[name] for name in ("method", "seed")}
        | {"at": f"equal {stop}"}
        | {name: row[key(name, stop)] for name in ("neg_elbo", "nll", "epochs", "cpu")}
        for row in rows
        for stop in STOPS
    ]


def table(results, baseline=None):
    """Lines: each method's mean and standard deviation over seeds at equal processor seconds, then at equal epochs.

    results: {"rows": ...}. baseline: {"label", "nll"} of the best model without latents.
    """
    labels = list(dict.fromkeys(row["method"] for row in results["rows"]))
    width = max(map(len, labels)) + 2
    lines = [
        f"{'':{width}}{'at equal processor seconds':^44}{'at equal epochs':^44}".rstrip(),
        " " * width
        + f"{'-ELBO':>16}{'-log p(x)':>16}{'epochs':>12}"
        + f"{'-ELBO':>16}{'-log p(x)':>16}{'seconds':>12}",
    ]
    if baseline:
        lines.append(f"{baseline['label']:{width}}" + 2 * f"{baseline['nll']:16.2f}{baseline['nll']:16.2f}{'':12}")
    for label in labels:
        cells = ""
        for stop, other in (("seconds", "epochs"), ("epochs", "cpu")):
            for measure in ("neg_elbo", "nll"):
                values = tables.values(results, label, key(measure, stop))
                cells += f"{f'{values.mean():.2f} ± {values.std(ddof=1):.2f}':>16}"
            cells += f"{tables.values(results, label, key(other, stop)).mean():12.1f}"
        lines.append(f"{label:{width}}{cells}")
    return [line.rstrip() for line in lines]


def said(found):
    """A paired difference (mean, standard error, n, how many below zero) in words, with its verdict."""
    mean, error, n, below = found
    return f"{mean:+.2f} ± {error:.2f} (lower in {below} of {n}): {tables.verdict(mean, error)}"


def differences(results, name, others, measure="neg_elbo"):
    """Lines: `name` minus each of the others, paired by seed, at both costs."""
    lines = []
    for other in others:
        words = "; ".join(
            f"equal {stop} {said(tables.paired(results, name, other, key(measure, stop)))}" for stop in STOPS
        )
        lines.append(f"{name} minus {other}: {words}")
    return lines


def claim_cells(results, name, other, measure="neg_elbo"):
    """{"epochs", "seconds", "verdict"}: what a Claim that `name` is better than `other` says of its numbers, and whether it is.

    It holds where it is better at both costs, and is weaker where at one of them, and not worse at equal seconds; "not at
    this scale" is worse at equal seconds, as more training might reverse it.
    """
    cells, verdicts = {}, {}
    for stop in STOPS:
        found = tables.paired(results, name, other, key(measure, stop))
        means = [tables.values(results, label, key(measure, stop)) for label in (name, other)]
        numbers = ", ".join(f"{label} {v.mean():.2f} ± {v.std(ddof=1):.2f}" for label, v in zip((name, other), means))
        cells[stop], verdicts[stop] = f"{numbers}; difference {said(found)}", tables.verdict(*found[:2])
    return cells | {"verdict": verdict_of(**verdicts)}


def verdict_of(seconds, epochs):
    """One of figures.VERDICTS for a claim of "better", from tables.verdict at equal seconds and at equal epochs."""
    if seconds == "worse":
        return "not at this scale"
    if seconds == "better":
        return "holds" if epochs == "better" else "weaker"
    return "weaker" if epochs == "better" else "not told apart"


def worst(verdicts):
    """Of several of figures.VERDICTS the one that says least for a claim."""
    return max(verdicts, key=VERDICTS.index)


def over_seeds(values):
    """Mean and standard deviation of values over seeds, in words."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
