"""Figure 1 of [SA]: the ELBO of one sequence over the two posterior means, and how each method climbs it.

    python figures/sa_fig1_surface.py           trains a VAE and an SA-VAE on the tanh oracle (about two minutes on two cores)
    python figures/sa_fig1_surface.py --draw    draws the picture again from the JSON

The two are trained for equal processor seconds; epochs and inner steps, in training and at test time, are those that
figures/sa_table1.json has for that oracle, chosen on validation sequences of another one. "VAE, then SVI" is the VAE refined
by as many steps as SA-VAE. The test sequence is one whose posterior has two modes; the variances are held at the best
Gaussian's. Beside it, the gap -ELBO - (-log p(x)) of every test sequence per method, both sides by quadrature.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots, quadrature
from savi.experiments.tables import difference, verdict
from savi.studies.figures import Claim, script
from savi.studies.oracle_runs import TEST, built, load
from savi.studies.sequences import K, estimate, known_model, refined, train
from savi.sweeps.parallel import cores, run_all

SEED, SPACING = 0, 0.2
MEANS = np.round(np.arange(-3.5, 3.501, 0.05), 2)
TABLE, FOLDER = pathlib.Path(__file__).with_name("sa_table1.json"), pathlib.Path("runs") / "sa_fig1_surface"
METHODS = {
    "vae": ("VAE", "VAE"),
    "svi": ("SVI", "SVI"),
    "vae-then-svi": ("VAE", "VAE, then SVI"),
    "sa-vae": ("SA-VAE", "SA-VAE"),
}
# by looks: (what is trained, how it is read)


def compute():
    table = json.loads(TABLE.read_text())
    tuned, epochs = table["tuned"], table["plans"]["tanh"]["epochs"]
    names = sorted({name for name, _ in METHODS.values()})
    items = [(name, tuned[f"tanh/{name}"]["training"], epochs.get(name, 0)) for name in names]
    snapshots = dict(zip(names, run_all(trained, items, cores())))
    data = load(SEED, "tanh")
    (model, theta), x = known_model(data), data.test[:TEST]
    axis, u = quadrature.grid(model, SPACING)
    tables = quadrature.log_likelihoods(model, theta, x, u).reshape(len(x), len(axis), len(axis))
    modes = [quadrature.modes(table, axis) for table in tables]
    best, best_loss = quadrature.best_gaussian(model, theta, x, SPACING)
    log_px, chosen = quadrature.log_marginal(model, theta, x), _chosen(modes)
    gaps, paths = {}, {}
    for look, (name, reading) in METHODS.items():
        method, end = built("tanh", name, data)[1], snapshots[name]
        choice = tuned[f"tanh/{name}"][reading]["seconds"]["choice"]
        gaps[look] = estimate(model, method, end, x, **choice)[0] + log_px
        method = refined(getattr(method, "encoder", None), choice["point"]) if choice else method
        rng, steps = np.random.default_rng(2), K if choice else 0
        paths[look] = method.path(model, theta, end.phi, x[[chosen]], rng, steps)[:, 0, :2]
    heights = quadrature.surface(tables[chosen], axis, MEANS, best[chosen, 2:])
    return {
        "example": int(chosen),
        "seconds": table["seconds"]["tanh"],
        "epochs": {name: end.epochs for name, end in snapshots.items()},
        "modes": [len(m) for m in modes],
        "mode_points": [[round(float(v), 3) for v in m] for m in modes[chosen]],
        "log_var": best[chosen, 2:].round(3).tolist(),
        "surface": heights.round(3).tolist(),
        "best": best[chosen, :2].round(3).tolist(),
        "paths": {look: path.astype(float).round(3).tolist() for look, path in paths.items()},
        "gaps": {look: gap.round(3).tolist() for look, gap in gaps.items()},
        "approximation": (best_loss + log_px).round(3).tolist(),
    }


def trained(name, point, epochs):
    """The Snapshot of a method after its epochs, in a process of its own."""
    data = load(SEED, "tanh")
    (end,) = train(*built("tanh", name, data, point), data, SEED, [epochs], FOLDER / name)
    return end


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
    for name in ("svi", "vae-then-svi", "sa-vae"):
        path, look = np.array(results["paths"][name]), plots.style(name)
        left.plot(*path.T, color=look["color"], linestyle=look["linestyle"], linewidth=1.4)
        left.plot(*path[0], look["marker"], color=look["color"], markersize=6, fillstyle="none", markeredgewidth=1.5)
        left.plot(
            *path[-1], look["marker"], color=look["color"], markersize=7, markeredgecolor="w", label=look["label"]
        )
    look = plots.style("vae")
    left.plot(*results["paths"]["vae"][0], "o", color="k", markersize=7, markeredgecolor="w", label="VAE")
    left.plot(
        *results["best"], "*", color="#F0E442", markersize=18, markeredgecolor="k", zorder=1.5, label="best Gaussian"
    )
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
    right.set_yticks((0, 0.2, 0.5, 1, 2, 5, 10), ("0", "0.2", "0.5", "1", "2", "5", "10"))
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    return fig


OTHERS = ("vae", "svi", "vae-then-svi")


def against(results, other):
    """SA-VAE's gap minus another method's, a difference that is paired by test sequence."""
    return difference(results["gaps"]["sa-vae"], results["gaps"][other])


def distance(results, look):
    """From where a method ends to the best Gaussian's mean, in the plane of the picture."""
    return float(np.linalg.norm(np.subtract(results["paths"][look][-1], results["best"])))


def report(results):
    modes = np.array(results["modes"])
    lines = [
        f"posteriors by number of modes: {np.bincount(modes).tolist()}; sequence {results['example']}: {results['mode_points']}",
        f"{'mean gap':<14}{'all':>7}{'one mode':>10}{'more':>7}{'sequence':>10}{'its distance':>14}",
    ]
    for look, gap in results["gaps"].items():
        gap = np.array(gap)
        cells = [f"{part.mean():.3f}" if len(part) else "" for part in (gap, gap[modes == 1], gap[modes > 1])]
        here = f"{gap[results['example']]:10.3f}{distance(results, look):14.3f}"
        lines.append(f"{look:<14}{cells[0]:>7}{cells[1]:>10}{cells[2]:>7}{here}")
    for other in OTHERS:
        mean, error, n, below = against(results, other)
        words = f"{mean:+.3f} ± {error:.3f} (lower in {below} of {n} sequences): {verdict(mean, error)}"
        lines.append(f"sa-vae minus {other}: {words}")
    return "\n".join(lines)


def claims(results):
    """[SA] Figure 1 as a row of the claims page."""
    found = {other: against(results, other) for other in OTHERS}
    said = {other: verdict(*d[:2]) for other, d in found.items()}
    words = "; ".join(
        f"SA-VAE minus {plots.STYLES[other][3]} {mean:+.2f} ± {error:.2f} ({below} of {n} lower) {said[other]}"
        for other, (mean, error, n, below) in found.items()
    )
    ends = ", ".join(f"{plots.STYLES[look][3]} {distance(results, look):.2f}" for look in results["gaps"])
    source = said["vae"], said["svi"]
    if source == ("better", "better"):
        judged = (
            "holds" if said["vae-then-svi"] == "better" else "weaker"
        )  # where SVI from the VAE's guess does the same
    else:
        judged = "refuted" if "worse" in source else "not told apart"
    return [
        Claim(
            "[SA] Figure 1",
            "20 steps of SA-VAE end at a sequence's optimum, VAE and SVI away from it",
            f"gaps of {len(results['modes'])} sequences of one tanh oracle, one trained model of each kind; one sequence's path",
            "",
            f"{results['seconds']:g} processor seconds each, spread over sequences: {words}. "
            f"Distance from the optimum in the picture: {ends}",
            judged,
        )
    ]


if __name__ == "__main__":
    script(__file__, compute, draw, report)
