"""Figure 1 of [SA]: the ELBO of one sequence over the two posterior means, and how each method climbs it.

    python figures/sa_fig1_surface.py           trains a VAE and an SA-VAE on the tanh oracle (about five minutes)
    python figures/sa_fig1_surface.py --draw    draws the picture again from the JSON

The test sequence is one whose posterior has two modes (nine of the 200 have
two or more; the VAE's gap is the larger on the others). The variances are held at the best Gaussian's. Beside it, the gap
-ELBO - (-log p(x)) of every test sequence per method, both sides by quadrature.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots, quadrature, synthetic
from savi.experiments.evaluation import infer
from savi.experiments.figures import (
    FIT,
    INNER,
    VALID,
    K,
    best_step_sizes,
    bound,
    known_model,
    refined,
    script,
    sequence_encoder,
)  # fmt: skip

EXAMPLES, EPOCHS, SPACING = 200, 10, 0.2
MEANS = np.round(np.arange(-3.5, 3.501, 0.05), 2)


def compute():
    data = synthetic.load(0, "tanh")
    (model, theta), x = known_model(data), data.test[:EXAMPLES]
    axis, u = quadrature.grid(model, SPACING)
    tables = quadrature.log_likelihoods(model, theta, x, u).reshape(len(x), len(axis), len(axis))
    modes = [quadrature.modes(table, axis) for table in tables]
    best, best_loss = quadrature.best_gaussian(model, theta, x, SPACING)
    log_px = quadrature.log_marginal(model, theta, x)

    vae, sa = savi.VAE(sequence_encoder(data)), savi.SAVAE(sequence_encoder(data), **INNER)
    phi = {m.name: savi.fit(model, m, data, EPOCHS, 0, **FIT).phi for m in (vae, sa)}
    sizes = {
        "svi": best_step_sizes(model, theta, None, None, data.valid[:VALID]),
        "vae": best_step_sizes(model, theta, phi["vae"], vae, data.valid[:VALID]),
    }
    runs = {
        "vae": (vae, phi["vae"], 0),
        "svi": (refined(None, sizes["svi"]), None, K),
        "vae+svi": (refined(vae, sizes["vae"]), phi["vae"], K),
        "sa-vae": (sa, phi["sa-vae"], K),
    }
    gaps, lams = {}, {}
    for name, (method, p, steps) in runs.items():
        lams[name] = infer(model, method, theta, p, x, np.random.default_rng(1), steps)
        gaps[name] = bound(model, theta, lams[name], x)[0] + log_px
    chosen = _chosen(modes)
    paths = {
        name: method.path(model, theta, p, x[[chosen]], np.random.default_rng(2), steps)[:, 0, :2]
        for name, (method, p, steps) in runs.items()
    }
    heights = quadrature.surface(tables[chosen], axis, MEANS, best[chosen, 2:])
    return {
        "example": int(chosen),
        "modes": [len(m) for m in modes],
        "mode_points": [[round(float(v), 3) for v in m] for m in modes[chosen]],
        "log_var": best[chosen, 2:].round(3).tolist(),
        "surface": heights.round(3).tolist(),
        "best": best[chosen, :2].round(3).tolist(),
        "paths": {name: path.astype(float).round(3).tolist() for name, path in paths.items()},
        "gaps": {name: gap.round(3).tolist() for name, gap in gaps.items()},
        "approximation": (best_loss + log_px).round(3).tolist(),
    }


def _chosen(modes):
    """The sequence that has a mode at a distance of 1 or more from the first, the nearest to it in height."""
    heights = [[h for *point, h in m[1:] if np.linalg.norm(np.subtract(point, m[0][:2])) >= 1] for m in modes]
    return int(np.argmax([max(h, default=-np.inf) for h in heights]))


def draw(results):
    fig, (left, right) = plots.figure(columns=2, width=5.4, height=4.8)
    surface = np.array(results["surface"])
    levels = surface.max() - np.geomspace(0.05, 30, 16)[::-1]
    filled = left.contourf(
        MEANS, MEANS, surface.T, levels=[*levels, surface.max() + 1e-6], cmap="Greys_r", extend="min"
    )
    left.contour(MEANS, MEANS, surface.T, levels=levels, colors="0.5", linewidths=0.4)
    fig.colorbar(filled, ax=left, label="ELBO (nats)", format="%.1f")
    for name in ("svi", "vae+svi", "sa-vae"):
        path, look = np.array(results["paths"][name]), plots.style(name)
        left.plot(*path.T, color=look["color"], linestyle=look["linestyle"], linewidth=1.4)
        left.plot(*path[0], look["marker"], color=look["color"], markersize=6, fillstyle="none", markeredgewidth=1.5)
        left.plot(
            *path[-1], look["marker"], color=look["color"], markersize=7, markeredgecolor="w", label=look["label"]
        )
    look = plots.style("vae")
    left.plot(*results["paths"]["vae"][0], "o", color="k", markersize=7, markeredgecolor="w", label="VAE")
    left.plot(*results["best"], "*", color="#F0E442", markersize=14, markeredgecolor="k", label="best Gaussian")
    for k, (*point, _) in enumerate(results["mode_points"]):
        left.plot(
            *point, "x", color="#009E73", markersize=9, markeredgewidth=2.5, label=None if k else "posterior's modes"
        )
    shown = np.concatenate([[p[:2] for p in results["mode_points"]], *results["paths"].values()])
    middle, side = (shown.min(axis=0) + shown.max(axis=0)) / 2, np.ptp(shown, axis=0).max() / 2 + 0.4
    left.set(xlim=(middle[0] - side, middle[0] + side), ylim=(middle[1] - side, middle[1] + side))
    left.set(xlabel="$\\mu_1$", ylabel="$\\mu_2$", aspect="equal", title=f"test sequence {results['example']}")
    left.legend(fontsize=8, loc="upper right", framealpha=0.9)
    left.grid(False)
    rng, names = np.random.default_rng(0), [*results["gaps"]]
    for i, name in enumerate(names):
        gaps, look = np.array(results["gaps"][name]), plots.style(name)
        right.plot(
            i + rng.uniform(-0.28, 0.28, len(gaps)),
            gaps,
            look["marker"],
            color=look["color"],
            markersize=2.5,
            alpha=0.5,
        )
        right.plot([i - 0.35, i + 0.35], [gaps.mean()] * 2, color="k", linewidth=2)
        right.text(i + 0.37, gaps.mean(), f"{gaps.mean():.2f}", va="center", fontsize=8)
    mean = np.mean(results["approximation"])
    right.axhline(mean, color="0.4", linestyle="--", linewidth=1, label=f"best Gaussian, mean {mean:.2f}")
    right.set_xticks(range(len(names)), [plots.style(name)["label"] for name in names])
    right.set(ylabel="−ELBO − exact NLL (nats)", yscale="symlog", title=f"{len(gaps)} test sequences, tanh oracle")
    right.set_ylim(0, None)
    right.legend(frameon=False, fontsize=8)
    return fig


def report(results):
    modes = np.bincount(results["modes"])
    return "\n".join(
        [f"posteriors by number of modes: {modes.tolist()}; sequence {results['example']}: {results['mode_points']}"]
        + [f"{name:<10}mean gap {np.mean(gap):.3f}" for name, gap in results["gaps"].items()]
    )


if __name__ == "__main__":
    script(__file__, compute, draw, report)
