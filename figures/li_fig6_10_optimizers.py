"""Iterative inference against the optimizers of variational EM: [LI] Figures 6 and 10.

    python figures/li_fig6_10_optimizers.py           three models for each of two encodings (about five minutes on two cores)
    python figures/li_fig6_10_optimizers.py --full    64-512-512-784, 200 epochs, all images
    python figures/li_fig6_10_optimizers.py --draw    draws the picture again from the JSON

Models on MNIST, decoder 32-64-64-784 (ELU, Bernoulli; the source has 64-512-512-784), trained with an iterative inference
model that encodes gradients, or gradients and data, 16 iterations; its learning rate is chosen on validation images. On the
same test images: the mean -ELBO over iterations of the iterative model and of SGD, momentum, RMSProp and Adam from the prior,
and of momentum and Adam from the guess of an encoder that was trained on the finished decoder (a model that is trained by
iterative inference has none of its own). Each optimizer's step size is chosen on validation images three times, for 16, 100
and 300 iterations, from the source's grid and two values between; where its end is best it goes on. Everybody's gradients
have the same number of noise samples. Seconds are processor seconds of inference alone, batch of 100 images, the methods
taking turns; medians.
"""

import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.evaluation import along
from savi.experiments.figures import highway_vae, image_model, iterative, script
from savi.experiments.parallel import cores, run_all
from savi.experiments.trials import best_valid, kept, searched
from savi.experiments.tuning import search
from savi.inference.iterative import Data, Gradient
from savi.inference.optimizers import OPTIMIZERS, Adam, clip_norm
from savi.inference.svi import STEP_SIZES

ITERATIONS, HORIZONS, LONG, TURNS = 16, (16, 100, 300), 1000, 15
ENCODINGS = {"gradient": [Gradient()], "gradient+data": [Gradient(), Data()]}
SEEDS, TUNING_SEED, RATES = (0, 1, 2), 100, {"learning_rate": (1e-3, 2e-3, 4e-3)}
GRID, FIRST = {"step_size": tuple(sorted({*STEP_SIZES, 0.003, 0.03}))}, {"step_size": 0.03}
GUESSED = ("momentum", "adam")  # optimizers that start from an encoder's guess as well
SCALES = {
    False: {"latent": 32, "hidden": [64, 64], "samples": 5, "epochs": 6, "valid": 50, "test": 100},
    True: {"latent": 64, "hidden": [512, 512], "samples": 5, "epochs": 200, "valid": 100, "test": 500},
}
SHOWN = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 40, 60, 80, 100, 150, 200, 250, 300]
RUNS = pathlib.Path("runs") / "li_fig6_10_optimizers"


def compute(full):
    rates = dict(zip(ENCODINGS, run_all(tuned, [(full, name) for name in ENCODINGS], cores())))
    items = [(full, name, seed, rates[name]["point"]["learning_rate"]) for seed in SEEDS for name in ENCODINGS]
    found = []
    for row in run_all(panel, items, cores()):
        print(row["name"], row["seed"], row["after"], {k: c["step_size"] for k, c in row["chosen"].items()}, flush=True)
        found.append(row)
    data = savi.data.load("mnist").name
    return {"data": data, "scale": SCALES[full], "seeds": SEEDS, "iterations": SHOWN, "tuned": rates, "panels": found}


def _folder(full, *names):
    return str(RUNS.joinpath("full" if full else "small", *map(str, names)))


def _trained(full, name, seed, rate, out, epochs):
    scale = SCALES[full]
    model = image_model(scale["latent"], scale["hidden"])
    method = iterative(model, ENCODINGS[name], scale["hidden"], ITERATIONS, scale["samples"])
    settings = {"batch": 50, "learning_rate": rate, "progress": False, "out": out, "resume": True}
    return model, method, savi.fit(model, method, savi.data.load("mnist"), epochs, seed, **settings)


def tuned(full, name):
    """The search of the iterative model's learning rate, with half the epochs."""

    def loss(point, out):
        return best_valid(_trained(full, name, TUNING_SEED, point["learning_rate"], out, SCALES[full]["epochs"] / 2)[2])

    folder = _folder(full, name, "tuning")
    return kept(f"{folder}.json", searched, folder, loss, {"learning_rate": 2e-3}, RATES)


def panel(full, name, seed, rate):
    """One model: all curves on its test images, kept."""
    folder = _folder(full, name, f"seed{seed}")
    return kept(f"{folder}.json", _panel, full, name, seed, rate, folder)


def _panel(full, name, seed, rate, folder):
    scale, images = SCALES[full], savi.data.load("mnist")
    model, method, result = _trained(full, name, seed, rate, folder, scale["epochs"])
    guess = _encoder(model, result.theta, images, scale, seed)
    parts = {"valid": images.valid[: scale["valid"]], "test": images.test[: scale["test"]]}
    x = {part: savi.data.binarize(grey, np.random.default_rng(i)) for i, (part, grey) in enumerate(parts.items())}
    walks = {"iterative": (method, model.prior_lam)}
    for optimizer in OPTIMIZERS:
        walks[optimizer] = (optimizer, model.prior_lam)
    for optimizer in GUESSED:
        walks[f"encoder, {optimizer}"] = (optimizer, None)

    def path(key, part, step_size=None, iterations=HORIZONS[-1]):
        """lam_0, lam_1, ... of a walk over images."""
        walker, start = walks[key]
        if key != "iterative":
            walker = savi.VariationalEM(OPTIMIZERS[walker](step_size), samples=scale["samples"])
        images, rng = x[part], np.random.default_rng(0)
        lam = start(len(images), result.theta.dtype) if start else guess(images)
        noise = (model.draw_noise(rng, scale["samples"], len(images), lam.dtype) for _ in range(iterations))
        yield lam
        yield from walker.walk(model.objective(result.theta, images), result.phi, lam, noise)

    def curve(key, part, at, step_size=None, iterations=HORIZONS[-1]):
        with np.errstate(all="ignore"):  # a step size that diverges loses
            lams = [lam for t, lam in enumerate(path(key, part, step_size, iterations)) if t in at]
            return [round(loss, 3) for loss in along(model, result.theta, lams, x[part], 1)]

    after = dict(zip((*HORIZONS, LONG), curve("iterative", "valid", (*HORIZONS, LONG), iterations=LONG)))
    found = {"name": name, "seed": seed, "after": after, "chosen": {}}
    found["curves"] = {"iterative": {"any": curve("iterative", "test", SHOWN)}}
    for key in list(walks)[1:]:
        found["chosen"][key], found["curves"][key] = _chosen(key, curve)
    steps = {key: chosen["step_size"][HORIZONS[0]] for key, chosen in found["chosen"].items()}
    found["seconds"] = _seconds({key: lambda n, key=key: list(path(key, "test", steps.get(key), n)) for key in walks})
    return found


def _encoder(model, theta, images, scale, seed, epochs=10, batch=50):
    """x -> lam of an encoder that is trained with theta fixed, as a VAE's."""
    vae, rng, adam = highway_vae(model, scale["hidden"]), np.random.default_rng([seed, 1]), Adam(2e-3)
    phi = vae.init(rng, np.float32)
    state = adam.init(phi)
    for _ in range(epochs):
        order = rng.permutation(len(images.train))
        for rows in np.array_split(order, len(order) // batch):
            x = savi.data.binarize(images.train[rows].astype(np.float32), rng)
            d_phi = vae.gradient(model, theta, phi, x, rng)[2] / len(x)
            state, step = adam.update(state, clip_norm(d_phi, 5.0))
            phi = phi + step
    return lambda x: vae.infer(model, theta, phi, x, rng)


def _chosen(key, curve):
    """({"step_size": {iterations: the best for so many}, "grid": {step size: -ELBO after each}}, test curves for each)."""
    ends = {}

    def end(step_size, horizon):
        if step_size not in ends:
            ends[step_size] = dict(zip(HORIZONS, np.nan_to_num(curve(key, "valid", HORIZONS, step_size), nan=1e9)))
        return ends[step_size][horizon]

    best = {t: search(lambda p, t=t: end(p["step_size"], t), FIRST, GRID)[0]["step_size"] for t in HORIZONS}
    curves = {step_size: curve(key, "test", SHOWN, step_size) for step_size in set(best.values())}
    return {"step_size": best, "grid": ends}, {t: curves[best[t]] for t in HORIZONS}


def _seconds(runs, steps=20):
    """{name: processor seconds per iteration}: run(steps) of each, taking turns; medians."""
    times = {name: [] for name in runs}
    for _ in range(TURNS):
        for name, run in runs.items():
            start = time.process_time()
            run(steps)
            times[name].append((time.process_time() - start) / steps)
    return {name: float(np.median(t)) for name, t in times.items()}


def draw(results):
    fig, _ = plots.figure()
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw)
