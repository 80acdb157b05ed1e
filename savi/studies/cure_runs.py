"""Methods and encoders of cures.py: their learning rates and inner steps chosen, trained until more has not helped, measured.

    settled    learning rate and inner step, by the validation -ELBO of runs with a seed of their own
    trial      what one run is worth to each of its readings: a way of inference at test time with its own best stage
    split      where the test loss comes from, over time, on training and on test images

Each reading is measured at its best stage on validation examples within the whole budget, "end", and within a quarter of it,
"quarter". What is finished is kept in a folder of JSON.
"""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from ..experiments import budget
from ..experiments.evaluation import importance_weighted, infer, neg_elbo
from ..experiments.stopping import NEAR, fit_stopped, seconds_ends
from ..experiments.tuning import search
from ..inference.svi import ascend
from .cures import MOMENTUM, built, decay
from .trials import kept, searched

STAGES, FIRST, QUARTER = 10, 1 / 8, 1 / 4  # of a run: stages at ratios of a third of an octave
BATCH, PATIENCE, STEPS = 25, 3.0, 10  # STEPS of SVI at test time
GRID = {"learning_rate": (1e-3, 2e-3, 4e-3, 8e-3), "step_size": (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)}
AT_TEST = {"step_size": GRID["step_size"], "ratio": (1, 2.5, 5, 10, 20, 40)}
LEARNING_RATE = 4e-3  # at which the search begins
TUNING, TUNING_SEED = 0.4, 100  # the part of a budget that a run of the search has; no trial's seed
IW_TEST, IW_SAMPLES, SAMPLES = 100, 200, 5
ITERATIONS = (1, 2, 5, 10)  # of an iterative model at test time, from which validation examples choose
READINGS = {  # of one training run; the others have one, by their own names
    "vae": ("vae", "vae-then-svi"),
    "iterative": ("iterative", "iterative-then-svi"),
    "error+data": ("error+data", "error+data-then-svi"),
}
UNREFINED = ("vae", "iterative", "error+data")
LEARNING = ("vae+svi", "sa-vae")  # those that have an inner step in training


def readings(name):
    """The ways of inference at test time of a method's training run."""
    return READINGS.get(name, (name,))


def cost(setup, name, cure):
    """Processor seconds of a training step, measured once on this machine for all numbers of examples."""

    def measure():
        problem = setup._replace(train=None).problem(TUNING_SEED)
        method = {"": (problem.model, built(setup, problem, name, cure, 0.01))}
        settings = SimpleNamespace(batch=BATCH, learning_rate=1e-3, dtype=np.float32)
        return budget.costs(method, problem.dataset, settings)[""]

    return kept(setup._replace(train=None, seconds=0).folder(f"cost-{name}-{cure}.json"), measure)


class Run(NamedTuple):
    """A training run after its stages: the method, its learning rate and step, fit_stopped's history, and theta (P,) and phi (Q,)
    after each stage."""

    method: object
    point: dict
    history: list
    snapshots: list

    def best(self, reading, seconds=np.inf):
        """The stage with the lowest validation loss of a reading, among those that end within so many processor seconds."""
        losses = [row[reading] if row["cpu"] <= seconds else np.inf for row in self.history]
        return int(np.argmin(losses))


def trained(setup, problem, name, cure, seed, point, part=1.0, patience=PATIENCE, first=FIRST, stages=STAGES):
    """The Run of a method for that part of its seconds; it ends before where more has not helped."""
    method, snapshots = built(setup, problem, name, cure, point.get("step_size", 0)), []
    steps = -(-len(problem.dataset.train) // BATCH)
    ends = seconds_ends(part * setup.seconds, cost(setup, name, cure), steps, stages, first)

    def judge(reading):
        return lambda theta, phi: _finite(_validated(problem, method, theta, phi, reading))

    def watch(theta, phi):
        snapshots.append((theta.copy(), phi.copy()))
        return {}

    stopped = fit_stopped(
        problem.model, method, problem.dataset, ends, seed, patience=patience,
        judges={reading: judge(reading) for reading in readings(name)}, watch=watch, batch=BATCH,
        learning_rate=point["learning_rate"], judge_at=(), phi_decay=decay(cure),
    )  # fmt: skip
    return Run(method, point, stopped.history, snapshots)


def _finite(loss):
    return loss if np.isfinite(loss) else np.inf


def _validated(problem, method, theta, phi, reading):
    """The mean -ELBO on validation examples, at the inner steps of training."""
    steps = method.steps if _iterates(method) else 0
    lam = guess(problem, method, theta, phi, problem.valid, steps)
    if reading not in UNREFINED:
        learned = method.name in LEARNING
        step = method.step_size if learned else problem.step(**problem.at_test)
        lam = refined(problem, theta, lam, problem.valid, step)
    return _loss(problem, theta, lam, problem.valid)


def _iterates(method):
    return method.name == "iterative"


def guess(problem, method, theta, phi, x, steps=0):
    """lam (N, n) before SVI: what the encoder says, or where so many iterations end."""
    return infer(problem.model, method, theta, phi, x, np.random.default_rng(1), steps)


def refined(problem, theta, lam, x, step_size, steps=STEPS):
    """lam after SVI with one noise sample in each step."""
    rng = np.random.default_rng(2)
    noise = (problem.model.draw_noise(rng, 1, len(x), lam.dtype) for _ in range(steps))
    with np.errstate(all="ignore"):  # a step size that diverges loses
        return ascend(problem.model.objective(theta, x), lam, noise, step_size, MOMENTUM, problem.clip)


def losses(problem, theta, lam, x, samples=SAMPLES):
    """-ELBO (N,), the same noise for everybody."""
    with np.errstate(all="ignore"):
        return neg_elbo(problem.model, theta, lam, x, np.random.default_rng(3), samples)


def _loss(problem, theta, lam, x):
    return float(losses(problem, theta, lam, x).mean(dtype=float))


def settled(setup, name, cure):
    """{"point": {axis: value}, "curve": [{**point, "loss"}, ...]}: learning rate and inner step, chosen on validation examples.

    The inner step is searched at each setup, in runs of TUNING of the seconds; then, at the setup's reference alone, the learning
    rate, in runs as long as a trial's: the best rate depends on how long a run is. Data of another name than the reference's
    take both over from there.
    """
    return kept(setup.folder(name, cure, "tuned.json"), _search, setup, name, cure)


def _search(setup, name, cure):
    known, problem = setup == setup.reference(), setup.problem(TUNING_SEED)
    first = {"learning_rate": LEARNING_RATE, "step_size": problem.at_test["step_size"]}
    point = first if known else settled(setup.reference(), name, cure)["point"]
    found, curves = {axis: point[axis] for axis in first if name in LEARNING or axis != "step_size"}, []
    searches = {"step_size": TUNING, "learning_rate": 1.0} if known else {"step_size": TUNING}
    for axis, part in searches.items() if setup.data == setup.reference().data else ():
        if axis not in found:
            continue

        def loss(point, out, part=part, others=found):
            run = trained(setup, problem, name, cure, TUNING_SEED, others | point, part)
            return min(row[readings(name)[-1]] for row in run.history)

        best = searched(setup.folder(name, cure, "tuning", axis), loss, found, {axis: GRID[axis]})
        found = found | best["point"]
        curves += [found | row for row in best["curve"]]
    return {"point": found, "curve": curves}


def trial(setup, name, cure, seed):
    """What one run is worth: {"method", "cure", "seed", "point", "history", "readings"}, of which each reading is
    {"converged", "end", "quarter"}.

    converged: whether a later stage was judged and was worse than the best one.
    """
    return kept(setup.folder(name, cure, f"seed{seed}.json"), _trial, setup, name, cure, seed)


def _trial(setup, name, cure, seed):
    problem = setup.problem(seed)
    point = settled(setup, name, problem.usual(cure))["point"]
    run = trained(setup, problem, name, cure, seed, point)
    found = {"method": name, "cure": cure, "seed": seed, "point": point, "history": run.history, "readings": {}}
    for reading in readings(name):
        end, quarter = run.best(reading), run.best(reading, QUARTER * NEAR * setup.seconds)
        at_end = _measured(problem, run, reading, end)
        at_quarter = at_end if quarter == end else _measured(problem, run, reading, quarter, at_end)
        found["readings"][reading] = {
            "converged": end < len(run.history) - 1, "end": at_end, "quarter": at_quarter
        }  # fmt: skip
    return found


def _measured(problem, run, reading, stage, chosen=None):
    """What the test examples say of a stage: -ELBO, KL, -log p(x); and what validation examples chose for it, unless given."""
    theta, phi = run.snapshots[stage]
    row = {
        "epochs": run.history[stage]["epoch"],
        "cpu": run.history[stage]["cpu"],
        "valid": run.history[stage][reading],
    }
    valid, x, few = problem.valid, problem.test, slice(IW_TEST)
    if _iterates(run.method):
        row["iterations"] = chosen["iterations"] if chosen else _iterations(problem, run.method, theta, phi)
    lam = guess(problem, run.method, theta, phi, x, row.get("iterations", 0))
    if reading not in UNREFINED:
        start = guess(problem, run.method, theta, phi, valid, row.get("iterations", 0))
        row |= {axis: chosen[axis] for axis in problem.at_test} if chosen else _step_at_test(problem, run, theta, start)
        lam = refined(problem, theta, lam, x, problem.step(*(row[axis] for axis in problem.at_test)))
    row["neg_elbo"] = _loss(problem, theta, lam, x)
    row["kl"] = float(problem.model.posterior_kl(lam, problem.model.prior_lam(len(x), lam.dtype))[0].mean())
    if not problem.exact and not chosen:
        rng = np.random.default_rng(4)
        row["nll"] = -float(importance_weighted(problem.model, theta, lam[few], x[few], rng, IW_SAMPLES).mean())
    return row


def _step_at_test(problem, run, theta, lam):
    """{axis: value} of SVI's step from lam (N, n) whose -ELBO of the validation examples is lowest, searched from training's."""

    def loss(point):
        return _loss(problem, theta, refined(problem, theta, lam, problem.valid, problem.step(**point)), problem.valid)

    first = {axis: run.point.get(axis, value) for axis, value in problem.at_test.items()}
    return search(loss, first, {axis: AT_TEST[axis] for axis in first})[0]


def _iterations(problem, method, theta, phi):
    """How many iterations of an iterative model have the lowest -ELBO on validation examples."""
    losses = [
        _loss(problem, theta, guess(problem, method, theta, phi, problem.valid, n), problem.valid) for n in ITERATIONS
    ]
    return ITERATIONS[int(np.nanargmin(losses))]
