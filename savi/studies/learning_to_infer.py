"""The methods of [LI] beside their opponents: how each is built, tuned, trained and measured, on images of 784 pixels.

METHODS are built from a point, {axis: value} of GRID. `tuned` searches the point by the validation -ELBO of runs with a seed
of their own and TUNING times the seconds; `trial` trains with it once for a seed and measures the run at equal epochs and at
equal processor seconds. Runs are kept in the folder that is given; one that is there is not done again.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from .. import data
from ..experiments import tuning
from ..experiments.evaluation import elbo_parts, importance_weighted, infer, level_kls, neg_elbo
from ..experiments.tables import CERTAIN
from ..inference.amortized import VAE
from ..inference.iterative import Data, Error, Gradient, Iterative, network
from ..inference.semi_amortized import VAESVI
from ..inference.svi import ascend
from ..nets.highway import HighwayMLP
from ..nets.mlp import MLP
from .figures import image_model
from .trials import at_both, best_valid, kept, searched, spend, surviving, trainer

GRID = {"learning_rate": (5e-4, 1e-3, 2e-3, 4e-3), "samples": (1, 5), "layers": (0, 2), "step_size": (0.02, 0.05, 0.1)}
TUNING, TUNING_SEED = 0.4, 100
TRAINING_STEPS, TEST_STEPS = 10, 20  # of SVI; at test time an iterative model takes up to TEST_STEPS iterations
BATCH, VALID, TEST, IW_TEST, SAMPLES = 50, 200, 500, 200, 20
WALKED, RISE = 500, 10.0  # validation images for the number of iterations, and by how many nats none of them may rise


class Recipe(NamedTuple):
    """A method: its label; build(model, hidden, point) -> method; start, where the search of its point begins.

    svi: whether tuned SVI follows at test time, False and True where both are measured. iterates: whether it has iterations
    of its own at test time, whose number is chosen; otherwise its inference is its encoder's guess.
    """

    label: str
    build: Callable
    start: dict
    svi: tuple = (True,)
    iterates: bool = False


def encoder(model, hidden, layers):
    """From x to lam: `layers` hidden layers as wide as the decoder's, with highways; an affine map for none."""
    sizes = [784, *[hidden[0]] * layers, model.lam_size]
    return HighwayMLP(sizes, "elu") if layers else MLP(sizes)


def _vae(steps):
    return lambda model, hidden, p: VAE(encoder(model, hidden, p["layers"]), steps, 0.05, 0.5, 5.0, p["samples"])


def _vae_svi(model, hidden, p):
    return VAESVI(encoder(model, hidden, p["layers"]), TRAINING_STEPS, p["step_size"], 0.5, 5.0, p["samples"])


def _error_data(model, hidden, p):
    encodings, layers = [Error(), Data()], p["layers"]
    net = network(model, encodings, [hidden[0]] * max(layers, 1))
    net = net if layers else MLP([net.inputs, net.outputs])
    return Iterative(net, encodings, 5, p["samples"])


def _from_encoder(iterations, theta_at):
    def build(model, hidden, p):
        net = network(model, [Gradient()], list(hidden))
        start = encoder(model, hidden, p["layers"])
        return Iterative(net, [Gradient()], iterations, p["samples"], start=start, theta_at=theta_at)

    return build


FIRST, BOTH = {"learning_rate": 4e-3, "samples": 1, "layers": 2}, (False, True)
METHODS = {
    "vae": Recipe("VAE", _vae(0), FIRST, (False,)),
    "vae-then-svi": Recipe("VAE, then SVI", _vae(TEST_STEPS), FIRST),
    "vae-both": Recipe("VAE", _vae(0), FIRST, BOTH),
    "vae+svi": Recipe("VAE+SVI", _vae_svi, FIRST | {"step_size": 0.02}),
    "iterative": Recipe("iterative from the prior, T = 5", _error_data, FIRST | {"samples": 5}, BOTH, True),
    "encoder-1": Recipe("iterative from an encoder, T = 1", _from_encoder(1, "last"), FIRST, BOTH, True),
    "encoder-2": Recipe("iterative from an encoder, T = 2", _from_encoder(2, "last"), FIRST, BOTH, True),
    "encoder-2-every": Recipe(
        "iterative from an encoder, T = 2, theta at each", _from_encoder(2, "every"), FIRST, BOTH, True
    ),
}


class Setup(NamedTuple):
    """What a comparison is made on: a data set by name, its training images, the decoder latent-hidden-784, the epochs and
    processor seconds of a run, the folder of finished ones, and how many samples estimate log p(x); the latent dimensions of
    the levels above, where it is a hierarchy, and {axis: value} of GRID's axes that are not searched."""

    data: str
    train: int | None
    latent: int
    hidden: tuple
    epochs: float
    seconds: float
    runs: str
    iw_samples: int = 500
    levels: tuple = ()
    fixed: Mapping | None = None

    def images(self):
        """The Dataset."""
        return _images(self.data, self.train)

    def model(self):
        """The decoder's model."""
        return image_model(self.latent, list(self.hidden), levels=self.levels)

    def folder(self, *names):
        """Where runs of this setup lie."""
        sizes = "-".join(map(str, (self.data, self.train, self.latent, *self.hidden, f"{self.seconds:g}s")))
        above = "".join(f"-above{D}" for D in self.levels)
        return os.path.join(self.runs, sizes + above, *names)


@functools.lru_cache(maxsize=1)
def _images(name, train):
    """A Dataset, once in each process: test images in a random order that is always the same."""
    images = data.load(name)
    order = np.random.default_rng(0).permutation(len(images.test))
    return images._replace(train=images.train[:train], test=images.test[order])


def tuned(setup, name):
    """{"point": {axis: value}, "curve": [{**point, "loss"}, ...]}: the search of a method's point."""
    return kept(setup.folder(name, "tuned.json"), _search, setup, name)


def _search(setup, name):
    recipe, images, model = METHODS[name], setup.images(), setup.model()
    first = recipe.start | dict(setup.fixed or {})

    def loss(point, out):
        point = first | point
        if any(point[axis] % 1 for axis in ("samples", "layers")) or point["layers"] not in GRID["layers"]:
            return np.inf
        train = _trainer(model, recipe.build(model, setup.hidden, point), images, TUNING_SEED, point["learning_rate"])
        return best_valid(spend(lambda epochs: train(epochs, out), TUNING * setup.seconds))

    grid = {axis: GRID[axis] for axis in recipe.start if axis not in (setup.fixed or {})}
    found = searched(setup.folder(name, "tuning"), loss, first, grid)
    return found | {"point": first | found["point"]}


def _trainer(model, method, images, seed, learning_rate):
    """train(epochs, out) -> FitResult of a run that goes on from what is in `out`."""
    train = trainer(model, method, images, seed, VALID, BATCH)
    return lambda epochs, out: train(learning_rate, epochs, out)


def baseline(setup):
    """{"label", "nll"}: -log p(x) of the best model without latents, on the test images that all methods see."""
    label, log_px = setup.model().baseline(setup.images().train, _seen(setup.images().test[:TEST]))
    return {"label": label, "nll": -float(log_px.mean())}


def _seen(images):
    """Grey images as they are judged, in {0, 1}."""
    return data.binarize(images, np.random.default_rng(0))


def trial(setup, name, seed, also=None, point=None):
    """{"method", "seed", "epochs": {...}, "seconds": {...}}: what one run is worth at both stops.

    point: the method's, None for the one that `tuned` finds. also(model, method, result, x) -> dict: more that is measured, on
    the test images x.
    """
    point, images, model = point or tuned(setup, name)["point"], setup.images(), setup.model()
    method = METHODS[name].build(model, setup.hidden, point)
    valid, x = _seen(images.valid[:WALKED]), _seen(images.test[:TEST])

    def measure(result):
        steps, found = _iterations(model, method, result, valid, seed) if METHODS[name].iterates else 0, {}
        for svi in METHODS[name].svi:
            found["svi" if svi else "own"] = _measured(
                model, method, result, steps, valid, x, seed, svi, setup.iw_samples
            )
        return found | (also(model, method, result, x) if also else {})

    train = surviving(_trainer(model, method, images, seed, point["learning_rate"]))
    stops = at_both(setup.folder(name, f"seed{seed}"), train, setup.epochs, setup.seconds, measure)
    return {"method": name, "seed": seed, **stops}


def _measured(model, method, result, steps, valid, x, seed, svi, iw_samples):
    """-ELBO, importance-weighted NLL and each level's KL on x after so many steps, and what was chosen on `valid` for it."""
    at, chosen, valid = (model, result.theta), {"iterations": steps}, valid[:VALID]

    def start(images):
        rng = np.random.default_rng([seed, 1])
        return infer(model, method, *result[:2], images, rng, steps)

    lam = start(x)
    if svi:
        chosen |= tuned_svi(*at, start(valid), valid, seed)
        lam = svi_from(*at, lam, x, seed, chosen)
    rng, few = np.random.default_rng([seed, 2]), slice(IW_TEST)
    return {
        "neg_elbo": float(neg_elbo(*at, lam, x, rng, SAMPLES).mean()),
        "nll": -float(importance_weighted(*at, lam[few], x[few], rng, iw_samples).mean()),
        "kls": _kls(*at, lam, x, np.random.default_rng([seed, 6])),
        "chosen": chosen,
    }


def _kls(model, theta, lam, x, rng):
    """[the KL of each level, the lowest first], nats, means over the images."""
    if "levels" in model.supports:
        return level_kls(model, theta, lam, x, rng, SAMPLES).tolist()
    return [float(elbo_parts(model, theta, lam, x, rng, SAMPLES)[1].mean())]


def _iterations(model, method, result, valid, seed):
    """How many iterations of its own are enough on the images `valid`."""
    path = method.path(model, *result[:2], valid, np.random.default_rng([seed, 1]), TEST_STEPS)
    with np.errstate(all="ignore"):  # it may diverge
        losses = [neg_elbo(model, result.theta, lam, valid, np.random.default_rng(3), 3) for lam in path]
    return enough(np.array(losses))


def enough(losses):
    """The fewest iterations that no more of them better beyond two standard errors, paired over examples.

    losses: -ELBO (iterations + 1, N), nats. Only those count up to which every example's is finite and at most RISE above
    the lowest that it had: a walk that leaves one of some hundred examples leaves more of the next.
    """
    steady = (losses <= np.fmin.accumulate(losses) + RISE).all(axis=1)
    losses = losses[: max(1, np.argmin(np.append(steady, False)))]
    worse = losses - losses[losses.mean(axis=1).argmin()]
    return int(np.argmax(worse.mean(axis=1) <= CERTAIN * worse.std(axis=1) / np.sqrt(worse.shape[1])))


def tuned_svi(model, theta, lam, x, seed):
    """{"step_size", "momentum", "clip"} of TEST_STEPS steps of SVI from lam with the lowest -ELBO on images x."""

    def loss(point):
        with np.errstate(all="ignore"):  # a step size that diverges loses
            refined = svi_from(model, theta, lam, x, seed, point)
            return neg_elbo(model, theta, refined, x, np.random.default_rng(4)).mean()

    return tuning.search(loss, {"step_size": 0.05, "momentum": 0.5, "clip": 5.0})[0]


def svi_from(model, theta, lam, x, seed, point):
    """lam after TEST_STEPS steps of SVI with one noise sample."""
    rng = np.random.default_rng([seed, 5])
    noise = (model.draw_noise(rng, 1, len(x), theta.dtype) for _ in range(TEST_STEPS))
    inner = (point[name] for name in ("step_size", "momentum", "clip"))
    return ascend(model.objective(theta, x), lam, noise, *inner)
