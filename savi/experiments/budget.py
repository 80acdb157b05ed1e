"""What a comparison gives each method: as many epochs, or as many processor seconds of its own training steps.

Seconds are turned into epochs once, by what a step of each method costs here and now: then a run is the same for the same
seed, however busy the machine is while it lasts. What the steps did cost stands in the results.
"""

import numpy as np

from ..data.dataset import Dataset
from .training import fit

STEPS, ROUNDS = 6, 3  # steps of a measurement, and how often all methods are measured in turns
ROWS = 5  # how often a run is judged, about


def epochs_of(seconds, examples, settings):
    """{name: epochs} that a budget in seconds gives; seconds {name: processor seconds of a training step}."""
    per_epoch = -(-len(examples.train) // settings.batch)
    return {name: max(round(settings.budget[1] / cost), 1) / per_epoch for name, cost in seconds.items()}


def costs(methods, examples, settings):
    """{name: processor seconds of a training step}: the median of ROUNDS measurements, the methods taking turns.

    methods: {name: (model, method)}.
    """
    few = Dataset("to be timed", examples.train[: STEPS * settings.batch], prepare=examples.prepare)
    epochs = max(STEPS * settings.batch / len(few.train), 1)
    found = {name: [] for name in methods}
    for _ in range(ROUNDS):
        for name, (model, method) in methods.items():
            result = fit(
                model, method, few, epochs, progress=False, batch=settings.batch, dtype=settings.dtype,
                learning_rate=settings.learning_rate,
            )  # fmt: skip
            steps = round(epochs * -(-len(few.train) // settings.batch))
            found[name].append(result.history[-1]["cpu"] / steps)
    return {name: float(np.median(seconds)) for name, seconds in found.items()}


def judged_at(epochs):
    """{name: the epochs after which it is judged}: about ROWS for each, and one that all of them share where there is one."""
    shared = int(min(epochs.values()))
    return {
        name: sorted({*(int(e) for e in np.linspace(0, number, ROWS + 1)[1:]), *([shared] if shared else [])})
        for name, number in epochs.items()
    }
