"""What trials of cure_runs.py say side by side: each method with its best encoder, its spread over encoders, differences.

Rows are flat: one for each reading, encoder and seed, {"data", "n", "method", "cure", "seed", "converged", "end", "quarter"}, the
last two what was measured at the best stage within the whole budget and within a quarter of it.
"""

import numpy as np

from ..experiments.tables import difference
from .trial_tables import said

STOPS = ("end", "quarter")


def flat(data, n, trial):
    """The rows of one trial on n examples of that name."""
    shared = {"data": data, "n": n, "cure": trial["cure"], "seed": trial["seed"]}
    return [
        {**shared, "method": reading, **{key: found[key] for key in ("converged", *STOPS)}}
        for reading, found in trial["readings"].items()
    ]


def of(rows, data, n, method=None, cure=None):
    """The rows of a data set and number of examples; of one method or one encoder where they are given; in order of seeds."""
    wanted = {"data": data, "n": n} | {k: v for k, v in (("method", method), ("cure", cure)) if v is not None}
    return sorted(
        (row for row in rows if all(row[key] == value for key, value in wanted.items())), key=lambda row: row["seed"]
    )


def found(rows, key, stop="end"):
    """{seed: value} of what was measured at a stop; NaN where it was not."""
    return {row["seed"]: row[stop].get(key, np.nan) for row in rows}


def mean(rows, key, stop="end"):
    """The mean over seeds."""
    return float(np.mean(list(found(rows, key, stop).values())))


def spread(rows, key, stop="end"):
    """The standard deviation over seeds."""
    return float(np.std(list(found(rows, key, stop).values()), ddof=1))


def cures(rows, data, n, method):
    """The encoders that a method has there, in the order of the rows."""
    return list(dict.fromkeys(row["cure"] for row in of(rows, data, n, method)))


def best_cure(rows, data, n, method, stop="end"):
    """The encoder with the lowest mean loss of validation examples."""
    return min(cures(rows, data, n, method), key=lambda cure: mean(of(rows, data, n, method, cure), "valid", stop))


def over_encoders(rows, data, n, method, stop="end"):
    """(lowest, highest) mean -ELBO of a method over its encoders."""
    means = [mean(of(rows, data, n, method, cure), "neg_elbo", stop) for cure in cures(rows, data, n, method)]
    return min(means), max(means)


def paired(rows, data, n, one, other, key="neg_elbo", stop="end"):
    """(mean, standard error, n, how many below zero) of one minus other, (method, cure) each, over the seeds that both have."""
    a, b = (found(of(rows, data, n, *who), key, stop) for who in (one, other))
    shared = [seed for seed in a if seed in b]
    return difference([a[seed] for seed in shared], [b[seed] for seed in shared])


def with_best(rows, data, n, method, stop="end"):
    """(method, its best encoder)."""
    return method, best_cure(rows, data, n, method, stop)


def best_opponent(rows, data, n, methods, stop="end"):
    """(method, encoder) with the lowest mean loss of validation examples among these methods."""
    each = [with_best(rows, data, n, method, stop) for method in methods]
    return min(each, key=lambda who: mean(of(rows, data, n, *who), "valid", stop))


def table(rows, data, n, methods):
    """Lines: every method with every encoder at the end and at a quarter; `peaked` is how many runs a later stage was worse in."""
    lines = [
        f"  {'':13} {'encoder':8} {'-ELBO':>15} {'-log p(x)':>15} {'a quarter':>15} {'epochs':>6} {'s':>5}  peaked"
    ]
    for method in methods:
        best = best_cure(rows, data, n, method)
        for cure in cures(rows, data, n, method):
            own = of(rows, data, n, method, cure)
            cells = [
                _cell(own, key, stop) for key, stop in (("neg_elbo", "end"), ("nll", "end"), ("neg_elbo", "quarter"))
            ]
            lines.append(
                f"  {method:13} {cure + '*' * (cure == best):8} {' '.join(f'{cell:>15}' for cell in cells)} "
                f"{mean(own, 'epochs'):6.0f} {mean(own, 'cpu'):5.1f}  {sum(r['converged'] for r in own)} of {len(own)}"
            )
    return lines


def _cell(rows, key, stop):
    value = mean(rows, key, stop)
    return "" if np.isnan(value) else f"{value:.2f} ± {spread(rows, key, stop):.2f}"


def differences(rows, data, n, method, others):
    """Lines: the method minus each of the others, each with its best encoder, at the end and at a quarter."""
    lines = []
    for other in others:
        cells = []
        for stop in STOPS:
            one, two = (with_best(rows, data, n, name, stop) for name in (method, other))
            text = said(paired(rows, data, n, one, two, stop=stop))
            cells.append(f"{'whole' if stop == 'end' else 'quarter'} ({one[1]}, {two[1]}) {text}")
        lines.append(f"  {method} minus {other}: {'; '.join(cells)}")
    return lines


def alike(rows, data, n, method, others):
    """Lines: the method minus each of the others where all have the same encoder, at the end."""
    return [
        f"  with the same encoder, {cure}: "
        + "; ".join(f"minus {other} {said(paired(rows, data, n, (method, cure), (other, cure)))}" for other in others)
        for cure in cures(rows, data, n, method)
    ]


def robustness(rows, data, n, methods):
    """A line: how far apart the mean -ELBO of a method's best and worst encoder are."""
    ranges = {method: np.ptp(over_encoders(rows, data, n, method)) for method in methods}
    return "  from the best to the worst encoder: " + ", ".join(f"{name} {gap:.1f}" for name, gap in ranges.items())


def against_best(rows, data, n, method, others):
    """A line: the method minus the best of the others, each with its best encoder, all chosen on validation examples."""
    one, other = with_best(rows, data, n, method), best_opponent(rows, data, n, others)
    text = said(paired(rows, data, n, one, other))
    return f"  {method} ({one[1]}) minus the best opponent, {other[0]} ({other[1]}): {text}"
