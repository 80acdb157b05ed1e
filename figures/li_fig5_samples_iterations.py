"""More samples and more iterations in training: [LI] Figure 5.

    python figures/li_fig5_samples_iterations.py           72 small models (about six minutes on two cores)
    python figures/li_fig5_samples_iterations.py --full    the source's architecture on all of MNIST's images, for days
    python figures/li_fig5_samples_iterations.py --draw    draws the picture again from the JSON

(a) 1, 5, 10 and 20 noise samples, for a VAE and an iterative inference model (gradient and data, 5 iterations); (b) 2, 5, 10
and 16 iterations for each encoding, one sample. Test -ELBO in nats with 100 samples. Every run is measured after as many
epochs as all others and after as many processor seconds of its own training steps (trials.py), with the parameters that
served the validation images best until then. The learning rate of the VAE and of each encoding is chosen on validation images
at one sample and 5 iterations, with a seed of its own, and serves for the other numbers; nothing else is tuned. At CPU scale:
decoder 16-64-64-784, 2000 training images of MNIST; the source has 64-512-512-784, all images and 1500 epochs.
"""

import functools
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.evaluation import infer, neg_elbo
from savi.experiments.figures import highway_vae, image_model, iterative, script
from savi.experiments.parallel import cores, run_all
from savi.experiments.trials import JUDGED_AT, at_both, best_valid, kept, searched, spend, surviving
from savi.inference.iterative import Data, Error, Gradient

SAMPLES, ITERATIONS, SEEDS, TUNING_SEED = (1, 5, 10, 20), (2, 5, 10, 16), (0, 1, 2), 100
ENCODINGS = {
    "gradient": [Gradient()],
    "error": [Error()],
    "gradient+data": [Gradient(), Data()],
    "error+data": [Error(), Data()],
}
VAE, BOTH = "VAE", "gradient+data"
RATES, TUNING = {"learning_rate": (1e-3, 2e-3, 4e-3)}, 0.5  # of the seconds
SCALES = {
    False: {"latent": 16, "hidden": [64, 64], "train": 2000, "epochs": 12, "seconds": 5, "batch": 50},
    True: {"latent": 64, "hidden": [512, 512], "train": None, "epochs": 1500, "seconds": 20_000, "batch": 64},
}
RUNS = pathlib.Path("runs") / "li_fig5_samples_iterations"


def cells():
    """(name, samples, iterations) of every model."""
    found = [(name, S, 5) for name in (VAE, BOTH) for S in SAMPLES]
    return found + [(name, 1, T) for name in ENCODINGS for T in ITERATIONS if (name, T) != (BOTH, 5)]


def compute(full):
    names = [VAE, *ENCODINGS]
    rates = dict(zip(names, run_all(tuned, [(full, name) for name in names], cores())))
    items = [(full, *cell, seed, rates[cell[0]]["point"]["learning_rate"]) for seed in SEEDS for cell in cells()]
    rows = []
    for row in run_all(run, items, cores()):
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        rows.append(row)
    return {"data": _images(full).name, "seeds": SEEDS, "scale": SCALES[full], "tuned": rates, "rows": rows}


@functools.lru_cache(maxsize=1)
def _images(full):
    images = savi.data.load("mnist")
    return images._replace(train=images.train[: SCALES[full]["train"]])


def _trainer(full, name, samples, iterations, seed, rate):
    """(model, method, train(epochs, out))."""
    scale, images = SCALES[full], _images(full)
    model = image_model(scale["latent"], scale["hidden"])
    if name == VAE:
        method = highway_vae(model, scale["hidden"], samples)
    else:
        method = iterative(model, ENCODINGS[name], scale["hidden"], iterations, samples)

    def train(epochs, out):
        return savi.fit(
            model, method, images, epochs, seed, out=out, resume=True, progress=False, batch=scale["batch"],
            learning_rate=rate, judge_at=JUDGED_AT,
        )  # fmt: skip

    return model, method, train


def _folder(full, *names):
    return str(RUNS.joinpath("full" if full else "small", *map(str, names)))


def tuned(full, name):
    """The search of a learning rate, at one sample and five iterations."""

    def loss(point, out):
        *_, train = _trainer(full, name, 1, 5, TUNING_SEED, point["learning_rate"])
        return best_valid(spend(lambda epochs: train(epochs, out), TUNING * SCALES[full]["seconds"]))

    folder = _folder(full, name, "tuning")
    return kept(f"{folder}.json", searched, folder, loss, {"learning_rate": 2e-3}, RATES)


def run(full, name, samples, iterations, seed, rate):
    """A row: the model and its test -ELBO at both stops."""
    model, method, train = _trainer(full, name, samples, iterations, seed, rate)
    x = savi.data.binarize(_images(full).test, np.random.default_rng(0))

    def measure(result):
        rng = np.random.default_rng(1)
        lam = infer(model, method, *result[:2], x, rng)
        return {"neg_elbo": float(neg_elbo(model, result.theta, lam, x, rng, samples=100).mean())}

    folder = _folder(full, name, f"S{samples}-T{iterations}-seed{seed}")
    found = at_both(folder, surviving(train), SCALES[full]["epochs"], SCALES[full]["seconds"], measure)
    row = {"name": name, "samples": samples, "iterations": iterations, "seed": seed}
    return row | {
        f"{key} at equal {stop}": at[key] for stop, at in found.items() for key in ("neg_elbo", "epochs", "cpu")
    }


def draw(results):
    fig, _ = plots.figure()
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw)
