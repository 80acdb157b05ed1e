"""Sequences from an oracle, two latent dimensions: every number by quadrature, every inner step from one grid.  [SA] 5.1

`train` gives a run at several numbers of epochs with what its steps had cost until then, so that one run is read at equal
epochs and at equal seconds. `best_inner` chooses the inner step of a method, in training or at test time.
"""

import shutil
from typing import NamedTuple

import numpy as np

from ..data import synthetic
from ..experiments import quadrature
from ..experiments.evaluation import infer
from ..experiments.training import fit
from ..experiments.tuning import GRID, search
from ..inference.amortized import VAE
from ..inference.svi import SVI
from ..models.decoders import FixedDecoder
from ..models.latent_gaussian import LatentGaussianModel
from ..nets.encoders import LSTMEncoder

K, NODES, VALID = 20, 12, 100  # SVI steps, of quadrature, validation sequences
INNER_GRID = GRID | {"ratio": (1, 2, 2.5, 4, 5, 10, 20)}  # of log_var's step size to mu's
STARTS = (  # of a search: SA-VAE's in training until it was tuned, and a large one that is clipped
    {"step_size": 0.002, "momentum": 0.5, "clip": None, "ratio": 1},
    {"step_size": 0.02, "momentum": 0.5, "clip": 2.0, "ratio": 2.5},
)
FIT = {"batch": 50, "learning_rate": 1e-3, "clip": 5.0, "progress": False}


def known_model(data):
    """(model, theta): the oracle of `synthetic.load`, whose parameters are known; theta is empty."""
    return LatentGaussianModel(FixedDecoder(data.decoder, data.theta.astype(np.float32))), np.zeros(0, np.float32)


def sequence_encoder(data):
    """From the oracle's sequences to lam, as wide as the oracle itself."""
    return LSTMEncoder(data.vocabulary, synthetic.UNITS, synthetic.UNITS, 2 * synthetic.LATENT)


def bound(model, theta, lam, x):
    """-ELBO (N,) and KL (N,), nats, E_q by quadrature."""
    reconstruction, kl = quadrature.elbo_parts(model, theta, lam, x, NODES)
    return reconstruction + kl, kl


def inner(point):
    """The inner step of a point of INNER_GRID, as keyword arguments of a method."""
    sizes = np.float32([point["step_size"], point["step_size"] * point["ratio"]])
    return {"step_size": np.repeat(sizes, synthetic.LATENT), "momentum": point["momentum"], "clip": point["clip"]}


def refined(encoder, point, steps=K):
    """What the encoder proposes, or the prior where it is None, followed at test time by SVI with this inner step."""
    return VAE(encoder, steps, **inner(point)) if encoder else SVI(steps, **inner(point))


def best_inner(loss, axes=tuple(INNER_GRID), starts=STARTS):
    """(the inner step with the lowest loss(point), the curve), searched along these axes from each of the starts.

    The curve: [step_size, momentum, clip, ratio, loss] in order of trial; a loss that is not finite stands as None.
    """
    grid = {axis: INNER_GRID[axis] for axis in axes}
    found = []
    for start in starts:
        best, curve = search(lambda changes, start=start: loss(start | changes), start, grid)
        found.append((min(row["loss"] for row in curve), start | best, [start | row for row in curve]))
    rows = [row | {"loss": row["loss"] if np.isfinite(row["loss"]) else None} for *_, curve in found for row in curve]
    return min(found, key=lambda each: each[0])[1], [[row[key] for key in (*INNER_GRID, "loss")] for row in rows]


class Snapshot(NamedTuple):
    """A run after so many epochs: what its training steps cost until then, theta (P,) and phi (Q,)."""

    epochs: float
    cpu: float
    passes: int
    theta: np.ndarray
    phi: np.ndarray


def train(model, method, data, seed, points, folder):
    """A run's Snapshots after each of `points`, numbers of epochs that ascend; the folder is for the run's own use."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped: its first points are lost
    snapshots = []
    for epochs in points:
        result = fit(
            model, method, data, epochs, seed, out=str(folder), resume=True, judge_at=(), valid_examples=1, **FIT
        )
        cost = (result.history[-1][key] for key in ("epoch", "cpu", "passes"))
        snapshots.append(Snapshot(*cost, *result.last))
    shutil.rmtree(folder)
    return snapshots


def estimate(model, method, snapshot, x, steps=None, point=None):
    """-ELBO and KL (N,) of x at a snapshot: `method` infers, or where `point` is given SVI from the method's encoder."""
    if point is not None:
        method, steps = refined(getattr(method, "encoder", None), point), K if steps is None else steps
    lam = infer(model, method, snapshot.theta, snapshot.phi, x, np.random.default_rng(1), steps)
    return bound(model, snapshot.theta, lam, x)
