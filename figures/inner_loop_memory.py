"""The inner loop of SA-VAE kept, or recomputed on the way back: memory and time of a training step against K.

    python figures/inner_loop_memory.py           about two minutes on one core
    python figures/inner_loop_memory.py --draw    draws the picture again from the JSON

One training step, float32, one thread: the most memory that is allocated at a time (tracemalloc), and processor seconds, the
least of several steps, kept and recomputed in turn. Text: documents of 40 words, 16 at a time, an LSTM decoder and encoder of 48
units, 1000 words. Images: 784 pixels, 50 at a time, two hidden layers.
"""

import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.engine import threads
from savi.engine.machine import peak
from savi.studies.figures import rounded, script

STEPS, REPEATS, TWO = (5, 10, 20, 40, 80), 5, {"kept": False, "recomputed": True}
INNER = {"step_size": 0.1, "momentum": 0.5, "clip": 5.0}


def text(rng):
    """(model, encoder, x) of documents."""
    model = savi.LatentGaussianModel(savi.LanguageDecoder(1000, 48, 48, 8))
    return model, savi.LSTMEncoder(1000, 48, 48, 16), rng.integers(0, 1000, (16, 40))


def images(H):
    """The same of images, with hidden layers of H units."""

    def made(rng):
        model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([16, H, H, 784]), savi.Bernoulli()))
        return model, savi.MLP([784, H, 32]), rng.random((50, 784)) < 0.5

    return made


CASES = {"text, 48 units": text, "images, 64 units": images(64), "images, 500 units": images(500)}


def compute():
    with threads.using(1):
        return rounded({case: [row(made, K) for K in STEPS] for case, made in CASES.items()})


def row(made, K):
    """{"K", "kept": {"MB", "ms"}, "recomputed": ..., "difference": the relative one of the two gradients}."""
    rng = np.random.default_rng(0)
    model, encoder, x = made(rng)
    theta, phi, x = model.init(rng, np.float32), encoder.init(rng, np.float32), x.astype(np.float32)

    def step(recompute):
        method = savi.SAVAE(encoder, K, **INNER, recompute=recompute)
        return np.concatenate(method.gradient(model, theta, phi, x, np.random.default_rng(1))[1:])

    g = {name: step(recompute) for name, recompute in TWO.items()}
    seconds = {name: [] for name in TWO}
    for _ in range(REPEATS):
        for name, recompute in TWO.items():
            start = time.process_time()
            step(recompute)
            seconds[name].append(time.process_time() - start)
    found = {"K": K, "difference": float(np.linalg.norm(g["recomputed"] - g["kept"]) / np.linalg.norm(g["kept"]))}
    for name, recompute in TWO.items():
        found[name] = {"MB": peak(lambda r=recompute: step(r)) / 1e6, "ms": 1e3 * min(seconds[name])}
    return found


def report(results):
    lines = [f"{'':<20}{'K':>4}{'MB, kept':>10}{'recomputed':>12}{'ms, kept':>10}{'recomputed':>12}{'times':>7}"]
    for case, rows in results.items():
        for of in rows:
            kept, anew = of["kept"], of["recomputed"]
            numbers = f"{kept['MB']:10.1f}{anew['MB']:12.1f}{kept['ms']:10.0f}{anew['ms']:12.0f}"
            lines.append(f"{case:<20}{of['K']:>4}{numbers}{anew['ms'] / kept['ms']:7.2f}")
    return "\n".join(lines)


def draw(results):
    fig, axes = plots.figure(columns=2, width=4.6, height=3.8)
    for i, (case, rows) in enumerate(results.items()):
        for name, dash in (("kept", "--"), ("recomputed", "-")):
            for ax, unit in zip(axes, ("MB", "ms")):
                look = {"marker": "os^"[i], "color": f"C{i}", "linestyle": dash}
                ax.plot(STEPS, [of[name][unit] for of in rows], **look, label=f"{case}, {name}")
    for ax, label in zip(axes, ("memory at the peak (MB)", "processor time of a training step (ms)")):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(STEPS, [str(K) for K in STEPS])
        ax.minorticks_off()
        ax.set(xlabel="inner steps K", ylabel=label)
    axes[0].set_ylim(top=5000)
    axes[0].legend(frameon=False, fontsize=7.5, loc="upper left")
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw, report)
