"""Choosing a method's inner step on validation examples: one grid for all methods, which goes on where its end is best.

GRID has, among others, the inner steps of every method as they stand in the sources and in savi's own scripts, so that none
of them is tuned more finely than its opponents. `search` walks it from a point to a better neighbour, until each neighbour
of the point where it stands is worse; a method with other settings gives a grid of its own.

    at_test        the inner step of a trained method at test time
    in_training    the inner step that a method is trained with: one short training run for each point
"""

import numpy as np

from .evaluation import infer, neg_elbo
from .training import NonFiniteLoss, fit

GRID = {  # ascending; None, no clipping, is the largest clip
    "step_size": (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
    "momentum": (0.0, 0.5, 0.9),
    "clip": (1.0, 2.0, 5.0, None),
}
SEED, JUDGED = 1000, 4  # of the training runs, which no comparison shares; how often each is judged


def search(loss, start, grid=GRID):
    """(the point with the lowest loss that was found, the curve: a list of {**point, "loss": number} in order of trial).

    loss(point): a number, NaN or infinite where the point is of no use. start: {axis: value} with a value for every axis of
    the grid {axis: values}, among those or not. Along one axis after the other it moves to the better neighbour while there is
    one, until no axis has one: so a smallest or largest value is chosen only where the next beyond it is worse, or cannot be.
    """
    found = {}

    def tried(point):
        key = tuple(point.values())
        if key not in found:
            value = float(loss(dict(point)))
            found[key] = value if np.isfinite(value) else np.inf
        return found[key]

    best, moved = {axis: start[axis] for axis in grid}, True
    while moved:
        before = tried(best)
        for axis, values in grid.items():
            best = _descend(tried, best, axis, values)
        moved = tried(best) < before
    return best, [dict(zip(grid, key)) | {"loss": value} for key, value in found.items()]


def at_test(model, method, theta, phi, x, samples=10):
    """(the trained method with the inner step whose mean -ELBO on examples x (N, M) is lowest, the curve of the search).

    Everything but the inner step is the same at every point, the noise of the steps and of the -ELBO too.
    """

    def loss(point):
        with np.errstate(all="ignore"):  # steps that are too large end in nonsense, which is not chosen
            lam = infer(model, method.with_inner(**point), theta, phi, x, np.random.default_rng(0))
            return neg_elbo(model, theta, lam, x, np.random.default_rng(1), samples).mean()

    return _tuned(method, loss)


def in_training(model, method, data, epochs, **settings):
    """(the method with the inner step whose training reaches the lowest -ELBO on data.valid, the curve of the search).

    Each point is a run of `fit` of so many epochs, with the other `settings` of fit, counted at its best judged epoch.
    """
    whole = max(int(epochs), 1)
    judge_at = sorted({-(-whole * i // JUDGED) for i in range(1, JUDGED + 1)})

    def loss(point):
        try:
            with np.errstate(all="ignore"):
                run = fit(model, method.with_inner(**point), data, epochs, SEED, judge_at=judge_at, **settings)
        except NonFiniteLoss:
            return np.inf
        return min(row["valid_neg_elbo"] for row in run.history)

    return _tuned(method, loss)


def _tuned(method, loss):
    """(the method, curve) after a search over those axes of GRID that its inner steps have."""
    start = method.inner_settings
    if not start:
        return method, []
    best, curve = search(loss, start, {axis: GRID[axis] for axis in start})
    return method.with_inner(**best), curve


def _descend(tried, point, axis, values):
    """The point with the lowest loss that neighbours lead to along one axis."""
    for up in (False, True):
        while True:
            value = neighbour(axis, point[axis], values, up)
            if value == point[axis] or not tried(point | {axis: value}) < tried(point):
                break
            point = point | {axis: value}
    return point


def neighbour(axis, value, values, up):
    """The next value along an axis, beyond its ends half or twice the last; the value itself where there is none.

    Momentum lies in [0, 1): beyond its largest value it goes half the way to 1.
    """
    if value is None and up:
        return value
    others = [v for v in values if _above(v, value) == up and v != value]
    if others:
        return others[0] if up else others[-1]
    if axis == "momentum":
        return (1 + value) / 2 if up else value
    return value * 2 if up else value / 2


def _above(a, b):
    """Whether a > b on an axis, where None is infinite."""
    return (np.inf if a is None else a) > (np.inf if b is None else b)
