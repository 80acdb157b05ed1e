"""Choosing a method's inner step on validation examples: one grid for all methods, which goes on where its end is best.

GRID has, among others, the inner steps of every method as they stand in the sources and in savi's own scripts, so that none
of them is tuned more finely than its opponents. `search` walks it from a point to a better neighbour, until each neighbour
of the point where it stands is worse; a method with other settings gives a grid of its own.
"""

import numpy as np

GRID = {  # ascending; None, no clipping, is the largest clip
    "step_size": (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
    "momentum": (0.0, 0.5, 0.9),
    "clip": (1.0, 2.0, 5.0, None),
}


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
