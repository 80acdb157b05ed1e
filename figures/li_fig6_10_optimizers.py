"""Iterative inference against the optimizers of variational EM: [LI] Figures 6 and 10.

    python figures/li_fig6_10_optimizers.py           trains two models and runs all optimizers (about eight minutes)
    python figures/li_fig6_10_optimizers.py --full    512 hidden units, five samples, 200 epochs, all images
    python figures/li_fig6_10_optimizers.py --draw    draws the picture again from the JSON

Two models, decoder 64-256-256-784 (ELU, Bernoulli; the source has 512) on MNIST, trained with an iterative inference
model that encodes gradients, or gradients and data, 16 iterations. On the same test images, all from the prior: the
mean -ELBO against iterations and against seconds for the iterative model and for SGD, momentum, RMSProp and Adam,
each at the step size of the source's grid whose -ELBO after 300 iterations is lowest on validation images:
for fewer iterations another one may be better. One seed. No optimizer starts from a VAE's guess.
Everybody's gradients have the same number of noise samples. Seconds are those of inference alone, batch of 100
images, the methods taking turns; medians.
"""

import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.evaluation import along, neg_elbo
from savi.experiments.figures import image_model, iterative, script
from savi.inference.iterative import Data, Gradient
from savi.inference.optimizers import OPTIMIZERS
from savi.inference.svi import STEP_SIZES

ITERATIONS, LAST, TIMED_BATCH, TURNS = 16, 300, 100, 25
SCALES = {
    False: {"hidden": [256, 256], "samples": 5, "train": None, "epochs": 10},
    True: {"hidden": [512, 512], "samples": 5, "train": None, "epochs": 200},
}
SHOWN = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 40, 60, 80, 100, 150, 200, 250, 300]


def compute(full):
    scale, images = SCALES[full], savi.data.first_present("mnist", "glyphs")
    images = images._replace(train=images.train[: scale["train"]])
    encodings = {"gradient": [Gradient()], "gradient+data": [Gradient(), Data()]}
    panels = {name: _panel(encodings[name], images, scale) for name in encodings}
    return {"data": images.name, "iterations": SHOWN, "panels": panels}


def _panel(encodings, images, scale):
    """{"curves", "grid", "after": {iterations: -ELBO of the iterative model}}."""
    model = image_model(64, scale["hidden"])
    method = iterative(model, encodings, scale["hidden"], ITERATIONS, scale["samples"])
    trained = savi.fit(model, method, images, scale["epochs"], batch=64, learning_rate=5e-4)
    at = model, trained.theta, trained.phi
    valid, test = (
        savi.data.binarize(part, np.random.default_rng(i))
        for i, part in enumerate((images.valid[:100], images.test[:300]))
    )
    results, methods = {"curves": {}, "grid": {}}, {"iterative": method}
    for name, optimizer in OPTIMIZERS.items():
        grid = {a: _ends(savi.VariationalEM(optimizer(a), samples=method.samples), *at, valid) for a in STEP_SIZES}
        best = min(grid, key=grid.get)
        results["grid"][name] = grid
        methods[name] = savi.VariationalEM(optimizer(best), samples=method.samples)
        print(f"{name:<10} {best}", grid, flush=True)
    seconds = _seconds(methods, *at, test[:TIMED_BATCH])
    for name, m in methods.items():
        results["curves"][name] = {"neg_elbo": _curve(m, *at, test), "seconds": [t * seconds[name] for t in SHOWN]}
        if name != "iterative":
            results["curves"][name]["step_size"] = m.step_size
    results["after"] = {t: _ends(method, *at, valid, t) for t in (16, 100, 300, 1000)}
    return results


def _ends(method, model, theta, phi, x, iterations=LAST):
    """-ELBO after so many iterations; infinite where it is not a number."""
    with np.errstate(all="ignore"):
        lam = method.infer(model, theta, phi, x, np.random.default_rng(0), iterations)
        loss = neg_elbo(model, theta, lam, x, np.random.default_rng(1)).mean()
    return round(float(loss), 2) if np.isfinite(loss) else float("inf")


def _curve(method, model, theta, phi, x):
    """The mean -ELBO at the SHOWN iterations."""
    path = method.path(model, theta, phi, x, np.random.default_rng(0), LAST)
    return [round(loss, 3) for loss in along(model, theta, path[SHOWN], x, 1)]


def _seconds(methods, model, theta, phi, x, steps=20):
    """{name: seconds per iteration}: the methods take turns; medians."""
    times = {name: [] for name in methods}
    for _ in range(TURNS):
        for name, method in methods.items():
            start = time.perf_counter()
            method.infer(model, theta, phi, x, np.random.default_rng(0), steps)
            times[name].append((time.perf_counter() - start) / steps)
    return {name: float(np.median(t)) for name, t in times.items()}


LOOKS = {
    "iterative": ("#009E73", "P", "-"),
    "sgd": ("#000000", "o", ":"),
    "momentum": ("#E69F00", "s", "--"),
    "rmsprop": ("#0072B2", "^", "-."),
    "adam": ("#D55E00", "D", "--"),
}


def draw(results):
    fig, axes = plots.figure(columns=2, rows=2, width=4.8, height=3.6)
    for row, (encodings, panel) in zip(axes, results["panels"].items()):
        _draw_row(row, results["iterations"], panel)
        row[0].set_title(f"the model encodes {encodings.replace('+', ' and ')}", fontsize=10)
    axes[0, 0].legend(frameon=False, fontsize=8)
    return fig


def _draw_row(axes, iterations, panel):
    for name, curve in panel["curves"].items():
        colour, marker, dash = LOOKS[name]
        label = "iterative inference model" if name == "iterative" else f"{name}, step size {curve['step_size']}"
        for ax, x, first in zip(axes, (iterations, curve["seconds"]), (0, 1)):
            ax.plot(
                x[first:],
                curve["neg_elbo"][first:],
                color=colour,
                marker=marker,
                linestyle=dash,
                label=label,
                markersize=4,
                linewidth=1.5,
            )
    best = min(min(curve["neg_elbo"]) for curve in panel["curves"].values())
    start = panel["curves"]["iterative"]["neg_elbo"][0]
    for ax in axes:
        ax.set_ylim(best - 0.03 * (start - best), start + 0.03 * (start - best))
    axes[0].set(xlabel="iterations", ylabel="test −ELBO (nats per image)")
    axes[0].set_xscale("symlog", linthresh=1)
    axes[0].set_xticks([0, 1, 3, 10, 30, 100, 300], ["0", "1", "3", "10", "30", "100", "300"])
    axes[0].set_xlim(-0.1, 400)
    axes[0].axvline(16, color="0.6", linewidth=1)
    axes[0].text(16.5, best + 0.6 * (start - best), "trained on 16", fontsize=7.5, color="0.35")
    axes[1].set(xlabel="seconds for 100 images", xscale="log")


def report(results):
    at = {t: results["iterations"].index(t) for t in (1, 5, 16, 100, 300)}
    lines = []
    for encodings, panel in results["panels"].items():
        lines.append(f"model and inference by {encodings}: test -ELBO after iterations, and ms an iteration")
        for name, curve in panel["curves"].items():
            losses = "".join(f"{t:7}: {curve['neg_elbo'][i]:.1f}" for t, i in at.items())
            lines.append(f"  {name:<10}{losses}{1000 * curve['seconds'][at[1]]:8.1f} ms")
        after = ", ".join(f"{t}: {loss:.1f}" for t, loss in panel["after"].items())
        lines.append(f"  iterative, 100 validation images, after {after}")
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
