"""One training run measured at two costs: after as many epochs as the others, and after as many processor seconds.

Where budget.py turns seconds into epochs beforehand, a trial goes on until its own training steps have spent them, so that
it has them whatever else the machine does. What is finished is kept as JSON: a script that was stopped goes on.
"""

import json
import os
import shutil

from ..experiments.checkpoints import write_json
from ..experiments.training import NonFiniteLoss, fit
from ..experiments.tuning import search

PILOT, NEAR = 0.1, 0.02  # epochs after which the cost is first known; the share of the seconds that may be left
RATES = (2e-3, 4e-3, 8e-3, 16e-3)
JUDGED_AT = sorted({round(1.08**k) for k in range(130)})  # epochs: each at first, then one in twelve


def kept(path, compute, *arguments):
    """The JSON value in the file at `path`; where there is none compute(*arguments), which is written there."""
    if not os.path.exists(path):
        write_json(path, compute(*arguments))
    with open(path) as file:
        return json.load(file)


def trainer(model, method, data, seed, valid, batch=50, judge_at=JUDGED_AT, **more):
    """train(rate, epochs, out) -> FitResult of a run that goes on from what is in `out`, judged by so many validation examples.

    judge_at and more: settings of fit.
    """

    def train(rate, epochs, out):
        return fit(
            model, method, data, epochs, seed, out=out, resume=True, progress=False, batch=batch, learning_rate=rate,
            judge_at=judge_at, valid_examples=valid, **more,
        )  # fmt: skip

    return train


def spend(train, seconds):
    """The result of train(epochs) -> FitResult once its steps have spent that many processor seconds, within NEAR.

    train goes on from where it was, as `fit` does with out and resume, and its cost is the one in the history.
    """
    result = train(PILOT)
    while 0 < (cost := _cost(result))[1] < (1 - NEAR) * seconds:
        done, cpu = cost
        ahead = done * seconds / cpu - done
        result = train(done + ahead * (0.8 if cpu < seconds / 2 else 1))
        if _cost(result)[0] == done:  # what is left is less than a step, or the run diverged
            break
    return result


def stops(train, epochs, seconds):
    """Yields ("epochs", result) after so many epochs and ("seconds", result) after so many processor seconds of one run.

    In the order in which the run comes to them; train as in `spend`.
    """
    done, cpu = _cost(train(PILOT))
    first = epochs * cpu <= done * seconds
    if first:
        yield "epochs", train(epochs)
    yield "seconds", spend(train, seconds)
    if not first:
        yield "epochs", train(epochs)


def at_both(folder, train, epochs, seconds, measure):
    """{"epochs": measure(result) at equal epochs, "seconds": measure(result) at equal seconds}, kept in the folder.

    train(epochs, out) -> FitResult, going on from what is in the folder `out`, which is removed in the end. To each
    measure, a dict, are added the epochs, processor seconds (cpu) and decoder passes of an example that it took.
    """
    paths = {name: os.path.join(folder, f"{name}.json") for name in ("epochs", "seconds")}
    if not all(map(os.path.exists, paths.values())):
        out = os.path.join(folder, "state")
        for name, result in stops(lambda e: train(e, out), epochs, seconds):
            kept(paths[name], lambda result=result: measure(result) | spent(result))
        shutil.rmtree(out)
    return {name: kept(path, None) for name, path in paths.items()}


def surviving(train):
    """train(epochs, out), where a run that diverges is worth what its best parameters until then are."""

    def attempt(epochs, out):
        try:
            return train(epochs, out)
        except NonFiniteLoss:
            return train(0, out)

    return attempt


def searched(folder, loss, start, grid):
    """{"point": {axis: value}, "curve": [{**point, "loss"}, ...]}: tuning.search, its runs kept in the folder.

    loss(point, out) -> number, of a run that may use the folder `out`; one that diverges is of no use, as are points whose
    loss is infinite, which the curve leaves out.
    """

    def run(point, out):
        try:
            return loss(point, out)
        except NonFiniteLoss:
            return float("inf")

    def once(point):
        name = os.path.join(folder, ",".join(f"{axis}={value:g}" for axis, value in point.items()))
        return kept(f"{name}.json", run, point, name)

    point, curve = search(once, start, grid)
    return {"point": point, "curve": [row for row in curve if row["loss"] < float("inf")]}


def tuned_rate(folder, train, seconds, rates=RATES):
    """`searched` for a learning rate by the validation -ELBO of runs of so many processor seconds, kept beside the folder.

    train(rate, epochs, out) -> FitResult. The search begins in the middle of `rates`, ascending.
    """

    def loss(point, out):
        return best_valid(spend(lambda epochs: train(point["learning_rate"], epochs, out), seconds))

    start = {"learning_rate": rates[len(rates) // 2]}
    return kept(f"{folder}.json", searched, folder, loss, start, {"learning_rate": rates})


def spent(result):
    """{"epochs", "cpu", "passes"}: what a FitResult has cost."""
    row = result.history[-1]
    return {"epochs": row["epoch"], "cpu": row["cpu"], "passes": row["passes"]}


def best_valid(result):
    """The lowest validation -ELBO of a FitResult, nats an example."""
    return min(row["valid_neg_elbo"] for row in result.history)


def _cost(result):
    return result.history[-1]["epoch"], result.history[-1]["cpu"]
