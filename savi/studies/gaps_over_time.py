"""Where a loss comes from while a model is trained, on training and on test images:  [E6]

    -ELBO of a method = -log p(x) + approximation gap + amortization gap

The model's part is -log p(x); the approximation gap is what the best Gaussian lam* of each image costs, and the amortization
gap what the encoder's guess costs beside it, before and after SVI. An encoder that overfits shows in the last one alone: it
grows on test images while that on training images falls.
"""

import numpy as np

from ..experiments.evaluation import importance_weighted, optimum
from .cure_runs import LEARNING, guess, losses, refined, settled, trained
from .trials import kept

EXAMPLES, STAGES, FIRST = 60, 6, 1 / 32  # images of each part; stages that double
OPTIMUM = {"tolerance": 0.2, "samples": 3, "max_rounds": 6}
IW_SAMPLES = 300


def split(setup, name, cure, seed):
    """{"method", "cure", "seed", "stages": [{"epochs", "cpu", "train": parts, "test": parts}, ...]} of one training run.

    Parts, in nats an image: "guess" and "refined", -ELBO of the encoder's guess and after SVI with training's inner step (a
    VAE's is the setup's at test time); "best", that of lam*; "nll", -log p(x) by importance weights with lam* as proposal.
    """
    return kept(setup.folder(name, cure, f"split{seed}.json"), _split, setup, name, cure, seed)


def _split(setup, name, cure, seed):
    problem = setup.problem(seed)
    point = settled(setup, name, problem.usual(cure))["point"]
    run = trained(setup, problem, name, cure, seed, point, 1.0, np.inf, FIRST, STAGES)
    seen = problem.dataset.prepare(problem.dataset.train[:EXAMPLES], np.random.default_rng(5))
    examples = {"train": seen.astype(problem.test.dtype), "test": problem.test[:EXAMPLES]}
    step = problem.step(point["step_size"], problem.ratio) if name in LEARNING else problem.step(**problem.at_test)
    stages = [
        {key: row[key] for key in ("epoch", "cpu")}
        | {part: parts(problem, run.method, *parameters, x, step) for part, x in examples.items()}
        for row, parameters in zip(run.history, run.snapshots)
    ]
    return {"method": name, "cure": cure, "seed": seed, "stages": stages}


def parts(problem, method, theta, phi, x, step):
    """{"guess", "refined", "best", "nll"} of examples x (N, ...) at theta and phi, SVI with that step; means in nats."""
    guessed = guess(problem, method, theta, phi, x)
    after = refined(problem, theta, guessed, x, step)
    best, _ = optimum(problem.model, theta, after, x, np.random.default_rng(6), **OPTIMUM)
    log_px = importance_weighted(problem.model, theta, best, x, np.random.default_rng(7), IW_SAMPLES)
    found = {
        name: losses(problem, theta, lam, x, 20)
        for name, lam in (("guess", guessed), ("refined", after), ("best", best))
    }
    return {name: float(loss.mean(dtype=float)) for name, loss in found.items()} | {"nll": -float(log_px.mean())}
