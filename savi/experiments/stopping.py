"""Early stopping: training in stages that grow, judged after each, until as much training again has not helped.

Methods overfit few examples at very different times. With stages at equal ratios (`stage_ends`) the best epoch is found to
the same relative accuracy whenever it comes. What a method's budget buys it is then its best judged
epoch, and a run whose best epoch lies before its last one was trained to convergence.
"""

import tempfile
from typing import NamedTuple

import numpy as np

from ..data.dataset import as_dataset
from ..engine import given
from ..engine.files import expect
from .training import fit


class Best(NamedTuple):
    """The parameters that a judge liked best: its loss, the epoch, theta (P,) and phi (Q,)."""

    loss: float
    epoch: float
    theta: np.ndarray
    phi: np.ndarray


class Stopped(NamedTuple):
    """best {judge: Best}; history: a dict per stage: epoch, cpu (processor seconds of the training steps so far), passes, the
    loss of each judge by its name, and what `watch` gave. `converged`: whether every judge's best stage came before the last.
    """

    best: dict
    history: list

    @property
    def converged(self):
        """Whether every judge's best stage came before the last one."""
        return all(best.epoch < self.history[-1]["epoch"] for best in self.best.values())


def fit_stopped(model, method, data, ends, seed=0, *, judges, patience=2.0, watch=None, **settings):
    """Train as `fit` does, in stages that end after those epochs, at most to the last of them; returns a Stopped.

    ends: rising, for example `stage_ends(...)`. judges: {name: function(theta, phi) -> a loss of the validation data}; each has
    best parameters of its own, so that one training run serves several ways of inference at test time. It stops where no judge
    has found better parameters since the epoch / patience (2: as much training again has not helped); patience np.inf never
    stops. watch: None or function(theta, phi) -> a dict, called after each stage. settings: fit's.
    Raises InputError where patience is not above 1, and NonFiniteLoss as `fit` does.
    """
    expect("patience", patience, patience > 1, "> 1")
    data = as_dataset(data)._replace(valid=())
    best, history = {}, []
    with tempfile.TemporaryDirectory() as out:
        for epoch in ends:
            result = fit(model, method, data, epoch, seed, out=out, resume=bool(history), progress=False, **settings)
            theta, phi = result.last
            row = {"epoch": epoch, **{key: result.history[-1][key] for key in ("cpu", "passes")}}
            row |= {name: float(judge(theta, phi)) for name, judge in judges.items()}
            history.append(row | (watch(theta, phi) if watch else {}))
            for name in judges:
                if name not in best or row[name] < best[name].loss:
                    best[name] = Best(row[name], epoch, theta, phi)
            if epoch >= patience * max(b.epoch for b in best.values()):
                break
    return Stopped(best, history)


def stage_ends(epochs, steps, stages=16, first=0.05):
    """Epochs at equal ratios, `stages` of them from first * epochs to epochs, each a whole number of an epoch's `steps`
    minibatches; those that fall together are one."""
    stages, first = given.whole("stages", stages, 1), given.number("first", first, "(0, 1]")
    last = max(round(epochs * steps), 1)
    ends = np.geomspace(first * last, last, stages) if stages > 1 else [last]
    return [int(end) / steps for end in np.unique(np.maximum(np.rint(ends), 1))]
