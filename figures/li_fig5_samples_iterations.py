"""More samples and more iterations in training: [LI] Figure 5.

    python figures/li_fig5_samples_iterations.py           72 small models (about ten minutes)
    python figures/li_fig5_samples_iterations.py --full    the source's architecture on all of MNIST's images, for days
    python figures/li_fig5_samples_iterations.py --draw    draws the picture again from the JSON

(a) 1, 5, 10 and 20 noise samples, for a VAE and an iterative inference model (data and gradients, 5 iterations);
(b) 2, 5, 10 and 16 iterations for each encoding, one sample. Mean and range of three seeds; test -ELBO in nats with 100
samples, on the images that the models did not choose their best epoch by. At CPU scale: decoder 16-64-64-784, 2000
training images of MNIST, 15 epochs: the source has 64-512-512-784, all images and 1500 epochs.
Everybody trains for equal epochs, not equal seconds, with one learning rate, untuned.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.evaluation import infer, neg_elbo
from savi.experiments.figures import highway_vae, image_model, iterative, script
from savi.inference.iterative import Data, Error, Gradient

SAMPLES, ITERATIONS, SEEDS = (1, 5, 10, 20), (2, 5, 10, 16), (0, 1, 2)
ENCODINGS = {
    "iterative:gradient": [Gradient()],
    "iterative:error": [Error()],
    "iterative:gradient+data": [Gradient(), Data()],
    "iterative:error+data": [Error(), Data()],
}
VAE = "vae:highway"
SCALES = {
    False: {"latent": 16, "hidden": [64, 64], "train": 2000, "epochs": 15, "batch": 50, "learning_rate": 2e-3},
    True: {"latent": 64, "hidden": [512, 512], "train": None, "epochs": 1500, "batch": 64, "learning_rate": 2e-4},
}


def compute(full):
    scale = SCALES[full]
    images = savi.data.first_present("mnist", "glyphs")
    images = images._replace(train=images.train[: scale["train"]])
    results = {"data": images.name, "scale": scale, "samples": {}, "iterations": {}}
    for name in (VAE, "iterative:gradient+data"):
        results["samples"][name] = {S: _runs(name, images, scale, samples=S, iterations=5) for S in SAMPLES}
    results["iterations"][VAE] = {5: results["samples"][VAE][1]}
    for name in ENCODINGS:
        results["iterations"][name] = {T: _runs(name, images, scale, samples=1, iterations=T) for T in ITERATIONS}
    return results


def _runs(name, images, scale, **options):
    losses = [_run(name, images, scale, seed, options) for seed in SEEDS]
    print(f"{name:<26} {options}  {np.mean(losses):.2f}", flush=True)
    return losses


def _run(name, images, scale, seed, options):
    """The test -ELBO of one model."""
    model = image_model(scale["latent"], scale["hidden"])
    if name == VAE:
        method = highway_vae(model, scale["hidden"], options["samples"])
    else:
        method = iterative(model, ENCODINGS[name], scale["hidden"], **options)
    settings = {k: scale[k] for k in ("batch", "learning_rate")}
    trained = savi.fit(model, method, images, scale["epochs"], seed, progress=False, **settings)
    x, rng = savi.data.binarize(images.test, np.random.default_rng(0)), np.random.default_rng(1)
    lam = infer(model, method, trained.theta, trained.phi, x, rng)
    return round(float(neg_elbo(model, trained.theta, lam, x, rng, samples=100).mean()), 3)


LOOKS = {
    "vae:highway": ("#000000", "o", "-", "VAE"),
    "iterative:gradient": ("#D55E00", "D", "--", "gradient"),
    "iterative:error": ("#0072B2", "^", "--", "errors"),
    "iterative:gradient+data": ("#E69F00", "s", "-", "gradient and data"),
    "iterative:error+data": ("#009E73", "P", "-", "errors and data"),
}


def draw(results):
    fig, (left, right) = plots.figure(columns=2, width=4.8, height=3.9)
    for name, runs in results["samples"].items():
        label = "VAE" if name.startswith("vae") else "iterative (gradient and data)"
        _curve(left, runs, name, label)
    for name, runs in results["iterations"].items():
        if name.startswith("vae"):
            values = next(iter(runs.values()))
            right.axhspan(min(values), max(values), color="0.85")
            right.axhline(np.mean(values), color="black", linewidth=1.4, label="VAE")
        else:
            _curve(right, runs, name, LOOKS[name][3])
    left.set(
        title="(a) noise samples in training", xlabel="samples", ylabel="test −ELBO (nats per image)", xticks=SAMPLES
    )
    right.set(title="(b) iterations in training, one sample", xlabel="iterations", xticks=ITERATIONS)
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return fig


def _curve(ax, runs, name, label):
    colour, marker, dash, _ = LOOKS[name]
    x = [int(key) for key in runs]
    values = np.array(list(runs.values()))
    ax.plot(
        x, values.mean(axis=1), color=colour, marker=marker, linestyle=dash, label=label, markersize=5, linewidth=1.6
    )
    ax.fill_between(x, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, linewidth=0)


def report(results):
    lines = []
    for part in ("samples", "iterations"):
        for name, runs in results[part].items():
            cells = ", ".join(f"{key}: {np.mean(v):.2f} ({min(v):.2f} to {max(v):.2f})" for key, v in runs.items())
            lines.append(f"{part:<11}{name:<26}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
