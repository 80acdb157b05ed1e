"""What the runs of a comparison will need, said before they begin: bytes of memory, and roughly how long they take.

No net, decoder or method declares what it holds. A training step and an inference are measured with few examples, samples
and inner steps, and both bytes and seconds are lines in each of these. What cannot fit into this machine's memory is refused.
"""

import dataclasses
import time
from typing import NamedTuple

import numpy as np

from ..engine import machine, threads
from ..experiments.evaluation import at_a_time
from ..experiments.methods import build, trainings
from .conduct import duration
from .runs import prepared

ROWS = 768  # examples times samples of the smaller batch, at most; the larger has twice as many
INNER = 2, 4  # inner steps
PROCESS, VECTORS = 150e6, 10  # bytes of Python and its libraries; vectors like theta and phi that training holds
GAP = 2500  # passes that the amortization gap of an example takes
FORWARD = 0.4  # what a pass forward alone costs of a whole one
TUNED, SEARCHED = 8, 3000  # trainings that `--tune all` amounts to; inferences of an example that end in an inner step


class Needs(NamedTuple):
    """Of a method: bytes of memory, processor seconds of its training, which others may read too, and of all that follows it."""

    bytes: float
    training: float
    reading: float = 0.0


def needs(name, task, settings, examples, x_test):
    """The Needs of the method `name` for one seed, about; None where a step fails, as the run itself will say.

    Raises InputError where theta and phi alone do not fit into the memory of this machine.
    """
    model, method = build(name, task, settings)
    data = sum(np.asarray(part).nbytes for part in (examples.train, examples.valid, examples.test))
    vectors = VECTORS * (model.size + method.size) * np.dtype(settings.dtype).itemsize
    machine.expect_room(f"{name} with {_sizes(settings)}", PROCESS + vectors)
    try:
        train, infer = _lines(name, task, settings, examples, method.steps)
    except Exception:  # of the user's own decoder, too
        return None
    batch = min(settings.batch, len(examples.train))
    most = max(train[0] + train[1] * batch, infer[0] + infer[1] * at_a_time(method))
    kind, training = settings.budget
    training *= len(examples.train) * train[2] if kind == "epochs" else 1
    training *= TUNED if settings.tune == "all" else 1
    reading = (len(x_test) + SEARCHED * (settings.tune != "none")) * infer[2]
    passes = settings.iw_samples * len(x_test) + GAP * min(settings.gap_examples, len(x_test))
    reading += passes * FORWARD * train[2] / method.passes
    return Needs(PROCESS + 3 * data + vectors + most, training, reading)


def tell(settings, found, jobs, say):
    """Say what {method: Needs} come to, so many runs at a time. Raises InputError where that does not fit into the memory."""
    found = {name: need for name, need in found.items() if need}
    if not found:
        return
    name = max(found, key=lambda name: found[name].bytes)
    at_once = f", {jobs} runs at a time" if jobs > 1 else ""
    machine.expect_room(f"{name} with {_sizes(settings)}{at_once}", jobs * found[name].bytes)
    seconds = [found[names[0]].training + sum(found[name].reading for name in names) for names in trainings(found)]
    total = max(len(settings.seeds) * sum(seconds) / jobs, *seconds)
    say(f"about {machine.words(jobs * found[name].bytes)} of memory, {duration(total)}{at_once}")


def _sizes(settings):
    names = ("batch", "samples", "steps", "iterations", "latent", "hidden")
    return ", ".join(f"{name} {' '.join(map(str, np.ravel(getattr(settings, name))))}" for name in names)


def _lines(name, task, settings, examples, steps):
    """Of a training step and of an inference, each with so many inner steps: [bytes, and bytes and seconds for each example],
    (2, 3), from two numbers of inner steps."""
    rows = min(max(min(settings.batch, len(examples.train)) * settings.samples // 2, 1), ROWS)
    samples, at = min(settings.samples, rows), []
    for few in INNER:
        fewer = {"samples": samples, "steps": min(settings.steps, few), "iterations": min(settings.iterations, few)}
        model, method = build(name, task, dataclasses.replace(settings, **fewer))
        at.append((method.steps, _measured(model, method, examples, settings, rows // samples)))
    (few, one), (more, two) = at
    lines = two + (two - one) * ((steps - more) / (more - few) if more > few else 0)
    return np.maximum(lines * [1, settings.samples / samples, settings.samples / samples], 0)


def _measured(model, method, examples, settings, b):
    """The same from batches of b and of 2 b examples, (2, 3)."""
    rng, dtype = np.random.default_rng(0), np.dtype(settings.dtype)
    x = prepared(examples, np.asarray(examples.train)[: 2 * b], rng, settings)
    x = np.resize(x, (2 * b, *x.shape[1:]))
    theta, phi = model.init(rng, dtype, examples.train), method.init(rng, dtype)
    found = []
    with threads.using(1), np.errstate(all="ignore"):
        for verb in (method.gradient, method.infer):
            few, all_ = (machine.peak(verb, model, theta, phi, x[:n], rng) for n in (b, 2 * b))
            start = time.process_time()
            verb(model, theta, phi, x, rng)
            slope = max(all_ - few, 0) / b
            found.append([max(few - slope * b, 0), slope, (time.process_time() - start) / len(x)])
    return np.array(found)
