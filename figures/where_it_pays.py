"""Where semi-amortization pays: few training images, two encoders, equal processor seconds.

    python figures/where_it_pays.py           300 and 1000 glyphs, five seeds (about twenty minutes on two cores)
    python figures/where_it_pays.py --full    100 to all of them, ten times the seconds
    python figures/where_it_pays.py --draw    draws the picture again from the JSON

SA-VAE stands against its two strongest simple opponents: the VAE that is refined by SVI at test time alone, and VAE+SVI,
which trains at the refined lam and differentiates no step. Each has a deep and a linear encoder, and the same processor
seconds of its own training steps; the parameters are those of the best judged epoch by 500 validation images. The inner
step size is chosen for each method, encoder and size by the validation -ELBO of a run of half the seconds with a seed of
its own, from GRID; a choice at its edge widens it. Momentum (0.5), clip (5), the decoder and its learning rate are not
tuned. What was done lies in runs/where_it_pays, and a second call goes on from there.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.figures import script
from savi.experiments.parallel import cores, run_all
from savi.experiments.tables import CERTAIN, verdict

SECONDS = {
    False: {300: 20, 1000: 30},
    True: {100: 200, 300: 200, 1000: 300, 3000: 600, 19217: 900},
}  # by training images
METHODS, ENCODERS = ("vae-then-svi", "vae+svi", "sa-vae"), ("mlp", "linear")
GRID, WIDEN, TUNING_SEED, SEEDS = (0.02, 0.05, 0.1), 2.0, 100, (0, 1, 2, 3, 4)
RUNS = pathlib.Path("runs") / "where_it_pays"


def compute(full):
    sizes = SECONDS[full]
    items = [(n, seconds, e, m) for n, seconds in sizes.items() for e in ENCODERS for m in METHODS]
    return {"seconds": sizes, "seeds": SEEDS, "cells": list(run_all(cell, items, cores()))}


def cell(n, seconds, encoder, method):
    """Everything about one method and encoder on n images, in one process with one thread."""
    step, curve = tuned(method, encoder, n, seconds)
    found = compared(method, encoder, n, seconds, step, SEEDS)
    keys = ("seed", "neg_elbo", "nll_iw", "kl", "epochs", "cpu")
    return {
        "n": n, "encoder": encoder, "method": method, "step_size": step, "tuning": curve, "baseline": found["baseline"],
        "rows": [{key: row[key] for key in keys} for row in found["rows"]],
        "valid": [min(row["valid_neg_elbo"] for row in c["history"]) for c in found["curves"]],
    }  # fmt: skip


def compared(method, encoder, n, seconds, step, seeds):
    """The results of one method and encoder on n images."""
    name = f"{method}:{encoder}"
    out = RUNS / f"{n}-{name.replace(':', '-')}-{step:g}-{seconds:g}s-{len(seeds)}"
    return savi.compare(
        "glyphs", str(out), resume=True, progress=False, methods=[name], seeds=list(seeds), train_examples=n,
        budget=("seconds", seconds), step_size=step, iw_samples=500, gap_examples=1, say=lambda text: None, jobs=1,
    )  # fmt: skip


def tuned(method, encoder, n, seconds):
    """(the step size with the lowest validation -ELBO, [[step size, that], ...])."""

    def loss(step):
        curve = compared(method, encoder, n, seconds / 2, step, (TUNING_SEED,))["curves"][0]
        return min(row["valid_neg_elbo"] for row in curve["history"])

    curve = {step: loss(step) for step in GRID}
    while (best := min(curve, key=curve.get)) in (min(curve), max(curve)):
        wider = best / WIDEN if best == min(curve) else best * WIDEN
        curve[wider] = loss(wider)
    return best, sorted(curve.items())


def values(results, n, encoder, method, key="neg_elbo"):
    (cell,) = (c for c in results["cells"] if (c["n"], c["encoder"], c["method"]) == (n, encoder, method))
    return np.array([row[key] for row in cell["rows"]])


def sizes(results):
    return sorted({cell["n"] for cell in results["cells"]})


def best_encoder(results, n, method):
    """The encoder that the validation images prefer."""
    cells = [c for c in results["cells"] if (c["n"], c["method"]) == (n, method)]
    return min(cells, key=lambda cell: np.mean(cell["valid"]))["encoder"]


def difference(results, n, method, encoders, key="neg_elbo"):
    """SA-VAE minus `method`, paired by seed: (mean, standard error, n, in how many of n it is below zero)."""
    d = values(results, n, encoders[0], "sa-vae", key) - values(results, n, encoders[1], method, key)
    return d.mean(), d.std(ddof=1) / np.sqrt(len(d)), len(d), int((d < 0).sum())


def report(results):
    """A line for each number of images, encoder and method, and SA-VAE's differences to the others."""
    lines = []
    for n in sizes(results):
        lines.append(
            f"{n} training images, {results['seconds'][str(n)]} processor seconds, {len(results['seeds'])} seeds"
        )
        for encoder in ENCODERS:
            for method in METHODS:
                loss, nll = (values(results, n, encoder, method, key) for key in ("neg_elbo", "nll_iw"))
                epochs = values(results, n, encoder, method, "epochs").mean()
                lines.append(
                    f"  {encoder:7} {method:13} -ELBO {loss.mean():7.2f} ± {loss.std(ddof=1):4.2f}   "
                    f"IW NLL {nll.mean():7.2f} ± {nll.std(ddof=1):4.2f}   {epochs:5.0f} epochs"
                )
            for method in METHODS[:2]:
                lines.append(
                    _said(f"  {encoder:7} sa-vae minus {method}", difference(results, n, method, (encoder, encoder)))
                )
        for method in METHODS[:2]:
            encoders = best_encoder(results, n, "sa-vae"), best_encoder(results, n, method)
            label = f"  each with its best encoder: sa-vae ({encoders[0]}) minus {method} ({encoders[1]})"
            lines.append(_said(label, difference(results, n, method, encoders)))
    return "\n".join(lines)


def _said(label, found):
    mean, error, n, below = found
    return f"{label}: {mean:+.2f} ± {error:.2f} (standard error; lower in {below} of {n}): {verdict(mean, error)}"


def draw(results):
    """Left: each method with each encoder. Right: SA-VAE minus its opponents, with two standard errors."""
    fig, (left, right) = plots.figure(columns=2, width=5.6, height=4.2)
    shown = sizes(results)
    places = np.arange(len(shown))
    for i, method in enumerate(METHODS):
        for j, encoder in enumerate(ENCODERS):
            look = plots.style(method) | {
                "linestyle": ("-", "--")[j],
                "label": f"{plots.STYLES[method][3]}, {encoder} encoder",
            }
            found = [values(results, n, encoder, method) for n in shown]
            left.errorbar(
                places + 0.05 * (2 * i + j - 2.5), [v.mean() for v in found], [v.std(ddof=1) for v in found],
                capsize=2, markerfacecolor=(look["color"], "white")[j], **look,
            )  # fmt: skip
    left.set(ylabel="test −ELBO (nats per image)", title="mean and standard deviation over seeds")
    left.legend(frameon=False, fontsize=8)
    for i, method in enumerate(METHODS[:2]):
        for j, encoder in enumerate(ENCODERS):
            found = [difference(results, n, method, (encoder, encoder)) for n in shown]
            look = plots.style(method) | {
                "linestyle": ("-", "--")[j],
                "label": f"minus {plots.STYLES[method][3]}, {encoder}",
            }
            right.errorbar(
                places + 0.05 * (2 * i + j - 1.5), [d[0] for d in found], [CERTAIN * d[1] for d in found],
                capsize=2, markerfacecolor=(look["color"], "white")[j], **look,
            )  # fmt: skip
    right.axhline(0, color="0.4", linewidth=1)
    right.set(ylabel="SA-VAE minus the other (nats per image)", title="paired, bars of two standard errors")
    right.legend(frameon=False, fontsize=8)
    for ax in (left, right):
        ax.set_xticks(places, [str(n) for n in shown])
        ax.set(xlabel="training images")
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw, report)
