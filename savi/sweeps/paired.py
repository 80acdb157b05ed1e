"""Groups of runs side by side: means, differences paired by seed, and what each has at equal processor seconds.

A context is what groups share beside the setting that is compared and the seed; differences are taken within one.
"""

import json
import math

import numpy as np

from ..experiments import tables
from .plan import word

EQUAL, SECONDS = "test -ELBO at equal seconds", "equal seconds"


def contexts(chosen, by):
    """{settings but for `by`, as text: the groups that differ in it alone}."""
    found = {}
    for group in chosen:
        rest = json.dumps({key: value for key, value in group.settings.items() if key != by})
        found.setdefault(rest, []).append(group)
    return found


def read_at_equal_seconds(chosen, by):
    """Give the rows whose training has a curve EQUAL and SECONDS, where there is more than one method in a context."""
    for together in contexts(chosen, by).values():
        rows = [row for group in together for row in group.seeds.values() if len(row.curve) > 1]
        if rows and len(together) > 1:
            last = min(row.curve[-1][0] for row in rows)
            for row in rows:
                row.numbers.update({EQUAL: float(np.interp(last, *zip(*row.curve))), SECONDS: last})


def mean_of(values):
    """(mean, standard error) of numbers; NaN where there are too few."""
    values = np.array(list(values))
    mean = float(values.mean()) if len(values) else math.nan
    return mean, float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else math.nan


def differences(chosen, by, name, against, higher):
    """Yields (group, the other's value of `by`, mean, standard error, n, lower in how many of n, verdict)."""
    for together in contexts(chosen, by).values():
        values = [group.values(name) for group in together]
        means = [np.nan_to_num(mean_of(v.values())[0], nan=-math.inf if higher else math.inf) for v in values]
        order = sorted((i for i, v in enumerate(values) if v), key=lambda i: means[i], reverse=higher)
        for i, group in enumerate(together):
            others = [j for j in order if j != i and against in (None, word(together[j].settings.get(by)))]
            if not others or (against is not None and word(group.settings.get(by)) == against):
                continue
            seeds = [seed for seed in values[i] if seed in values[others[0]]]
            if seeds:
                a, b = (np.array([values[k][seed] for seed in seeds]) for k in (i, others[0]))
                mean, error, n, below = tables.difference(a, b)
                verdict = tables.verdict(-mean if higher else mean, error)
                yield group, word(together[others[0]].settings.get(by)), mean, error, n, below, verdict
