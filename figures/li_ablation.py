"""What [LI] B.2 and B.4 say of the update and of the KL: gated against residual, analytic against sampled.

    python figures/li_ablation.py           25 small models (about two minutes on two cores)
    python figures/li_ablation.py --full    64-512-512-784, all images, 200 epochs
    python figures/li_ablation.py --draw    draws the picture again from the JSON

An iterative inference model that encodes gradients and data, T = 5, one noise sample: with the gated update of [LI] eq. 62
and the KL in closed form; with the residual update of Andrychowicz et al. 2016 instead; with the KL from the noise sample
instead. And a VAE with either KL. All -ELBOs are measured with the KL in closed form, on MNIST's test images, after the
iterations of training and after 100. Each run is measured after as many epochs as the others and after as many processor
seconds (trials.py); the learning rate of each is chosen on validation images with a seed of its own. Decoder 16-64-64-784.
"""

import functools
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.evaluation import infer, neg_elbo
from savi.experiments.figures import highway_vae, image_model, script
from savi.experiments.parallel import cores, run_all
from savi.experiments.trials import JUDGED_AT, at_both, best_valid, kept, searched, spend, surviving
from savi.inference.iterative import Data, Gated, Gradient, Iterative, Residual, network

ITERATIVE = {  # name: (update, the KL in training)
    "iterative, gated, analytic KL": (Gated(), savi.AnalyticKL),
    "iterative, residual, analytic KL": (Residual(), savi.AnalyticKL),
    "iterative, gated, sampled KL": (Gated(), savi.SampledKL),
}
VAES = {"VAE, analytic KL": savi.AnalyticKL, "VAE, sampled KL": savi.SampledKL}
SEEDS, TUNING_SEED, LONG = (0, 1, 2, 3, 4), 100, 100
RATES, TUNING = {"learning_rate": (1e-3, 2e-3, 4e-3)}, 0.5  # of the seconds
SCALES = {
    False: {"latent": 16, "hidden": [64, 64], "train": 2000, "epochs": 15, "seconds": 5},
    True: {"latent": 64, "hidden": [512, 512], "train": None, "epochs": 200, "seconds": 5000},
}
RUNS = pathlib.Path("runs") / "li_ablation"


def compute(full):
    names = [*ITERATIVE, *VAES]
    rates = dict(zip(names, run_all(tuned, [(full, name) for name in names], cores())))
    items = [(full, name, seed, rates[name]["point"]["learning_rate"]) for seed in SEEDS for name in names]
    rows = []
    for row in run_all(run, items, cores()):
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        rows.append(row)
    return {"data": _images(full).name, "scale": SCALES[full], "seeds": SEEDS, "tuned": rates, "rows": rows}


@functools.lru_cache(maxsize=1)
def _images(full):
    images = savi.data.load("mnist")
    return images._replace(train=images.train[: SCALES[full]["train"]])


def _trainer(full, name, seed, rate):
    """(model, method, train(epochs, out))."""
    scale, seeing = SCALES[full], [Gradient(), Data()]
    if name in VAES:
        model = image_model(scale["latent"], scale["hidden"], VAES[name])
        method = highway_vae(model, scale["hidden"])
    else:
        update, kl = ITERATIVE[name]
        model = image_model(scale["latent"], scale["hidden"], kl)
        method = Iterative(network(model, seeing, scale["hidden"], update), seeing, 5, 1, update)

    def train(epochs, out):
        return savi.fit(
            model, method, _images(full), epochs, seed, out=out, resume=True, progress=False, batch=50,
            learning_rate=rate, judge_at=JUDGED_AT,
        )  # fmt: skip

    return model, method, train


def _folder(full, *names):
    return str(RUNS.joinpath("full" if full else "small", *names))


def tuned(full, name):
    """The search of a learning rate."""

    def loss(point, out):
        *_, train = _trainer(full, name, TUNING_SEED, point["learning_rate"])
        return best_valid(spend(lambda epochs: train(epochs, out), TUNING * SCALES[full]["seconds"]))

    folder = _folder(full, name, "tuning")
    return kept(f"{folder}.json", searched, folder, loss, {"learning_rate": 2e-3}, RATES)


def run(full, name, seed, rate):
    """A row for tables.paired: the -ELBO at both stops, after the iterations of training and after LONG."""
    model, method, train = _trainer(full, name, seed, rate)
    judge = image_model(SCALES[full]["latent"], SCALES[full]["hidden"])
    x = savi.data.binarize(_images(full).test, np.random.default_rng(0))

    def measure(result):
        found = {}
        for key, steps in (("neg_elbo", None), ("long", LONG)):
            if key == "neg_elbo" or name in ITERATIVE:
                with np.errstate(all="ignore"):  # it may diverge
                    lam = infer(model, method, *result[:2], x, np.random.default_rng(1), steps)
                    found[key] = float(neg_elbo(judge, result.theta, lam, x, np.random.default_rng(2), 50).mean())
        return found

    folder = _folder(full, name, f"seed{seed}")
    found = at_both(folder, surviving(train), SCALES[full]["epochs"], SCALES[full]["seconds"], measure)
    row = {f"{key} at equal {stop}": value for stop, at in found.items() for key, value in at.items()}
    return {"method": name, "seed": seed} | row


def draw(results):
    fig, _ = plots.figure()
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw)
