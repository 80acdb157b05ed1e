"""Trials side by side: rows that tables.paired takes, a table at both costs, and what paired differences say of a claim.

A seed whose inference diverged on a test image has no value, NaN: a table has the mean of the others and says how many they
are, a difference is of the seeds at which neither diverged, and its verdict is that one did.
"""

import numpy as np

from ..experiments import tables
from .figures import VERDICTS

STOPS = ("seconds", "epochs")
DIVERGED = 1e4  # nats: beyond it, or not finite, a mean -ELBO says that an example has diverged


def key(measure, stop):
    """The key of a row: a measure at equal "seconds" or "epochs"."""
    return f"{measure} at equal {stop}"


def rows(trials, recipes):
    """[{"method": label, "seed", "neg_elbo at equal seconds", ...}, ...] of learning_to_infer.trial's results.

    A method that is measured with and without SVI at test time gives two rows, the second one with ", then SVI" in its label.
    "kl_1 at equal seconds", ... are the levels' KLs, where a trial has them.
    """
    found = []
    for trial in trials:
        recipe = recipes[trial["method"]]
        for svi in recipe.svi:
            label = recipe.label + (", then SVI" if len(recipe.svi) > 1 and svi else "")
            row = {"method": label, "seed": trial["seed"]}
            for stop in STOPS:
                at = trial[stop]
                own = at["svi" if svi else "own"]
                has = own["neg_elbo"] < DIVERGED
                values = {name: own[name] for name in ("neg_elbo", "nll")}
                values |= {f"kl_{l}": value for l, value in enumerate(own.get("kls", ()), 1)}
                row |= {key(name, stop): value if has else np.nan for name, value in values.items()}
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
    labels, rows = list(dict.fromkeys(row["method"] for row in results["rows"])), results["rows"]
    diverged = any(np.isnan(row[key("neg_elbo", stop)]) for row in rows for stop in STOPS)
    width, wide = max(map(len, labels)) + 2, 25 if diverged else 16
    lines = [
        " " * width + f"{'at equal processor seconds':^{2 * wide + 12}}{'at equal epochs':^{2 * wide + 12}}",
        " " * width + "".join(f"{'-ELBO':>{wide}}{'-log p(x)':>{wide}}{other:>12}" for other in ("epochs", "seconds")),
    ]
    if baseline:
        lines.append(f"{baseline['label']:{width}}" + 2 * (2 * f"{baseline['nll']:{wide}.2f}" + " " * 12))
    for label in labels:
        cells = ""
        for stop, other in (("seconds", "epochs"), ("epochs", "cpu")):
            for measure in ("neg_elbo", "nll"):
                cells += f"{over_seeds(tables.values(results, label, key(measure, stop))):>{wide}}"
            cells += f"{tables.values(results, label, key(other, stop)).mean():12.1f}"
        lines.append(f"{label:{width}}{cells}")
    if diverged:
        lines.append("[n of m]: the others of m seeds diverged on a test image")
    return [line.rstrip() for line in lines]


def said(found):
    """A paired difference (mean, standard error, n, how many below zero) in words, with its verdict."""
    mean, error, n, below = found
    if np.isnan(mean):
        return tables.verdict(mean, error)
    return f"{mean:+.2f} ± {error:.2f} (lower in {below} of {n}): {tables.verdict(mean, error)}"


def between(a, b):
    """`said` of a - b, values (n,); where some diverged, what is left and that they did."""
    d = np.asarray(a) - np.asarray(b)
    left = finite(d)
    if len(left) == len(d):
        return said(tables.difference(a, b))
    words = f", in the others {'+' if left.mean() > 0 else ''}{over_seeds(left)}" if len(left) else ""
    return f"diverged in {len(d) - len(left)} of {len(d)} seeds{words}"


def differences(results, name, others, measure="neg_elbo"):
    """Lines: `name` minus each of the others, paired by seed, at both costs."""
    lines = []
    for other in others:
        words = "; ".join(f"equal {stop} {between(*_values(results, name, other, measure, stop))}" for stop in STOPS)
        lines.append(f"{name} minus {other}: {words}")
    return lines


def claim_cells(results, name, other, measure="neg_elbo"):
    """{"epochs", "seconds", "verdict"}: what a Claim that `name` is better than `other` says of its numbers, and whether it is.

    It holds where it is better at both costs, and is weaker where at one of them, and not worse at equal seconds; "not at
    this scale" is worse at equal seconds, as more training might reverse it.
    """
    cells, verdicts = {}, {}
    for stop in STOPS:
        found = _values(results, name, other, measure, stop)
        numbers = ", ".join(f"{label} {over_seeds(v)}" for label, v in zip((name, other), found))
        cells[stop] = f"{numbers}; difference {between(*found)}"
        verdicts[stop] = tables.verdict(*tables.difference(*found)[:2])
    return cells | {"verdict": verdict_of(**verdicts)}


def _values(results, name, other, measure, stop):
    return tuple(tables.values(results, label, key(measure, stop)) for label in (name, other))


def verdict_of(seconds, epochs):
    """One of figures.VERDICTS for a claim of "better", from tables.verdict at equal seconds and at equal epochs."""
    if seconds not in ("better", "not told apart"):
        return "not at this scale"
    if seconds == "better":
        return "holds" if epochs == "better" else "weaker"
    return "weaker" if epochs == "better" else "not told apart"


def worst(verdicts):
    """Of several of figures.VERDICTS the one that says least for a claim."""
    return max(verdicts, key=VERDICTS.index)


def summed_up(verdicts):
    """One of figures.VERDICTS for "better" in several cells: in all of them, in some, in none."""
    verdicts = list(verdicts)
    better, worse = verdicts.count("better"), verdicts.count("worse")
    if better:
        return "holds" if better == len(verdicts) else "weaker"
    return "not at this scale" if worse else "not told apart"


def finite(values):
    """Those of the seeds that did not diverge."""
    return np.asarray(values)[np.isfinite(values)]


def mean_and_spread(values):
    """(mean, standard deviation) of the seeds that did not diverge; NaN for none, spread 0 for one."""
    left = finite(values)
    return (left.mean() if len(left) else np.nan), (left.std(ddof=1) if len(left) > 1 else 0.0)


def over_seeds(values):
    """Mean and standard deviation of values over seeds, in words; where some diverged, of the others and how many they are."""
    mean, spread = mean_and_spread(values)
    left, words = len(finite(values)), f"{mean:.2f} ± {spread:.2f}"
    words = words if left > 1 else f"{mean:.2f}" if left else "diverged"
    return words if left == len(values) else f"{words} [{left} of {len(values)}]"
