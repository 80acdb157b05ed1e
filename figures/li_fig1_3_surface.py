"""The surface that inference climbs: [LI] Figures 1 and 3, with a point-mass posterior in two dimensions.

    python figures/li_fig1_3_surface.py           trains two models (about three minutes), writes the JSON and the PNG
    python figures/li_fig1_3_surface.py --full    512 hidden units, 80 and 50 epochs, as the source
    python figures/li_fig1_3_surface.py --draw    draws the picture again from the JSON

A decoder 2-256-256-784 (ELU, Bernoulli; the source has 512 units) on MNIST, q a point mass at mu; the surface is log
p(x, z = mu) in nats on the source's grid, [-5, 5] in steps of 0.05. Left, the model trained as a VAE: the optimum,
the encoder's estimate, and gradient ascent from the prior's mean. Right, the model trained with an iterative
inference model that encodes x and the gradient: its path. Below, both enlarged around the optimum.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.inference.iterative import Data, Gradient
from savi.inference.optimizers import SGD
from savi.studies.figures import Claim, highway_vae, image_model, iterative, script

AXIS = np.round(np.arange(-5, 5.001, 0.05), 2)
TRAINING = {"batch": 64, "learning_rate": 1e-3, "seed": 0}
ITERATIONS, ASCENT_STEPS, ASCENT_STEP_SIZE = 16, 100, 0.002
NEAR = 1.0  # nats below the optimum that claims call near
STALLED = 5.0  # nats below the optimum, where a path's end is said to be no end


def compute(full):
    epochs = {"vae": 80, "iterative": 50} if full else {"vae": 20, "iterative": 8}
    images = savi.data.first_present("mnist", "glyphs")
    x = savi.data.binarize(images.test, np.random.default_rng(0))
    hidden = [512, 512] if full else [256, 256]
    model = image_model(2, hidden, kl=savi.PointMass)
    methods = {
        "vae": highway_vae(model, hidden),
        "iterative": iterative(model, [Gradient(), Data()], hidden, ITERATIONS),
    }
    results = {"data": images.name, "axis": AXIS.tolist(), "epochs": epochs, "panels": {}}
    for name, method in methods.items():
        trained = savi.fit(model, method, images, epochs[name], **TRAINING)
        if name == "vae":
            chosen = _example(model, method, trained, x[:200])
            results |= {"example": chosen, "image": x[chosen].astype(int).tolist()}
        results["panels"][name] = _panel(name, model, method, trained, x[[chosen]])
    return results


def _surface(model, theta, x):
    """log p(x, z) on the grid, (len(AXIS), len(AXIS)), row by row of z_2."""
    grid = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2).astype(theta.dtype)
    return np.concatenate([_height(model, theta, x, mu) for mu in np.array_split(grid, 100)]).reshape(len(AXIS), -1)


def _height(model, theta, x, mu):
    """log p(x, z = mu) of one image at points mu (n, 2)."""
    lam = np.concatenate([mu, np.zeros_like(mu)], axis=1).astype(theta.dtype)
    return -model.loss(lam, theta, np.repeat(x, len(mu), axis=0), np.zeros((1, *mu.shape), theta.dtype))


def _optimum(model, theta, x, surface):
    """The highest point: gradient ascent from the grid's."""
    i, j = np.unravel_index(np.argmax(surface), surface.shape)
    start = np.array([[AXIS[j], AXIS[i], 0, 0]], theta.dtype)
    f, lam = model.objective(theta, x), start
    for _ in range(500):
        lam = lam - 1e-4 * f.gradient(lam, np.zeros((1, 1, 2), theta.dtype)).d_lam
    better = _height(model, theta, x, lam[:, :2])[0] > surface.max()
    return (lam if better else start)[0, :2]


def _example(model, method, trained, x):
    """Of the images whose optimum is inside the grid, the one whose gap under the VAE is the upper quartile."""
    gaps = []
    for i in range(40):
        surface = _surface(model, trained.theta, x[[i]])
        mu = method.infer(model, trained.theta, trained.phi, x[[i]], np.random.default_rng(0))[:, :2]
        inside = np.abs(_optimum(model, trained.theta, x[[i]], surface)).max() < 4
        gaps.append(surface.max() - _height(model, trained.theta, x[[i]], mu)[0] if inside else -np.inf)
    order = np.argsort(gaps)
    order = order[np.isfinite(np.array(gaps)[order])]
    return int(order[int(0.75 * len(order))])


def _panel(name, model, method, trained, x):
    theta, rng = trained.theta, np.random.default_rng(1)
    surface = _surface(model, theta, x)
    best = _optimum(model, theta, x, surface)
    points = {"optimum": best[None]}
    if name == "vae":
        points["VAE"] = method.infer(model, theta, trained.phi, x, rng)[:, :2]
        ascent = savi.VariationalEM(SGD(ASCENT_STEP_SIZE))
        points["path"] = ascent.path(model, theta, None, x, rng, ASCENT_STEPS)[:, 0, :2]
    else:
        points["path"] = method.path(model, theta, trained.phi, x, rng, ITERATIONS)[:, 0, :2]
    heights = {key: np.round(_height(model, theta, x, mu), 3).tolist() for key, mu in points.items()}
    points = {key: np.round(mu.astype(float), 4).tolist() for key, mu in points.items()}
    return {"surface": np.round(surface.astype(float), 1).tolist(), "points": points, "heights": heights}


def draw(results):
    fig, axes = plots.figure(columns=2, rows=2, width=6.0, height=4.4)
    titles = {"vae": "a VAE's model", "iterative": "an iterative model's"}
    for column, (name, panel) in enumerate(results["panels"].items()):
        for row in (0, 1):
            _surface_panel(axes[row, column], results, panel, name, zoom=row == 1)
        axes[0, column].set_title(titles[name])
        axes[1, column].set_title("enlarged")
    inset = axes[0, 0].inset_axes([0.8, 0.8, 0.18, 0.18])
    inset.imshow(np.reshape(results["image"], (28, 28)), cmap="gray_r")
    inset.set(xticks=[], yticks=[])
    return fig


def _finer(axis, values, parts=8):
    """(axis, values) at `parts` times as many points, by Catmull-Rom's cubic: contours without corners."""
    fine = np.linspace(axis[0], axis[-1], parts * (len(axis) - 1) + 1)
    place = (fine - axis[0]) / (axis[1] - axis[0])
    cell = np.minimum(place.astype(int), len(axis) - 2)
    t = place - cell
    weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
    matrix = np.zeros((len(fine), len(axis)))
    for shift, weight in zip((-1, 0, 1, 2), weights):
        np.add.at(matrix, (np.arange(len(fine)), np.clip(cell + shift, 0, len(axis) - 1)), weight / 2)
    return fine, matrix @ values @ matrix.T


def _surface_panel(ax, results, panel, name, zoom):
    axis, surface = np.array(results["axis"]), np.array(panel["surface"])
    points = {key: np.array(mu) for key, mu in panel["points"].items()}
    shown = np.concatenate(
        [points["optimum"], points["path"][len(points["path"]) // 2 :], *([points["VAE"]] if "VAE" in points else [])]
    )
    if zoom:
        low, high = shown.min(axis=0), shown.max(axis=0)
        side = max(1.6 * (high - low).max(), 0.3)
        limits = [((low + high) / 2 - side / 2), ((low + high) / 2 + side / 2)]
        inside = [np.flatnonzero((axis >= limits[0][i] - 0.1) & (axis <= limits[1][i] + 0.1)) for i in (0, 1)]
        visible = surface[np.ix_(inside[1], inside[0])]
        depth = surface.max() - visible.min()
        axis, surface = _finer(axis, surface)
    else:
        depth = surface.max() - np.quantile(surface, 0.1)
    levels = surface.max() - depth * np.linspace(1, 0, 14) ** 2
    filled = ax.contourf(
        axis,
        axis,
        surface,
        levels=np.unique(np.append(levels, surface.max() + 1e-6)),
        cmap="Greys_r",
        extend="min",
        alpha=0.85,
    )
    ax.contour(axis, axis, surface, levels=levels[:-1], colors="0.45", linewidths=0.4)
    bar = ax.inset_axes([1.03, 0, 0.05, 1])
    ax.figure.colorbar(filled, cax=bar, label="log p(x, z) (nats)", format="%.1f" if zoom else "%.0f")
    steps = len(points["path"]) - 1
    look = {"color": "#E69F00", "marker": "s"} if name == "vae" else {"color": "#009E73", "marker": "P"}
    below = panel["heights"]["optimum"][0] - panel["heights"]["path"][-1]
    stalls = f"\nstalls {below:.1f} nats below the optimum" if below > STALLED else ""
    label = (f"gradient ascent, {steps} steps" if name == "vae" else f"iterative, {steps} iterations") + stalls
    ax.plot(
        *points["path"].T, **look, markersize=4, linewidth=1.3, markeredgecolor="k", markeredgewidth=0.4, label=label
    )
    if "VAE" in points:
        ax.plot(*points["VAE"].T, "o", color="#0072B2", markersize=8, markeredgecolor="w", label="VAE's estimate")
    ax.plot(*points["optimum"].T, "*", color="#D55E00", markersize=12, markeredgecolor="k", label="optimum")
    ax.set(xlabel="$\\mu_1$", ylabel="$\\mu_2$", aspect="equal")
    if zoom:
        ax.set(xlim=(limits[0][0], limits[1][0]), ylim=(limits[0][1], limits[1][1]))
    else:
        ax.legend(fontsize=8, loc="lower left", framealpha=0.9)
    ax.grid(False)


def claims(results):
    """Figures 1 and 3 of [LI], each on one image and one model."""
    best, heights = {}, {name: panel["heights"] for name, panel in results["panels"].items()}
    for name, found in heights.items():
        best[name] = {key: found["optimum"][0] - np.array(h) for key, h in found.items()}
    scale = "8000 images, 2-256-256-784, one seed, one image (60,000 images, 2-512-512-784), nothing tuned"
    vae, ascent = best["vae"]["VAE"][0], best["vae"]["path"]
    ahead = int(np.argmax(ascent < vae)) if (ascent < vae).any() else None
    path = best["iterative"]["path"]
    late = path[len(path) // 2 :].max()
    words = f"needs {ahead} steps to pass it" if ahead else f"is {ascent[-1]:.1f} below after {len(ascent) - 1} steps"
    return [
        Claim(
            "[LI] Figure 1", "gradient ascent ends above the VAE's estimate, which has a gap, after many steps", scale,
            f"VAE {vae:.1f} nats below the optimum; ascent from the prior {words}", "",
            "holds" if ahead and vae > 0 else "weaker" if vae > 0 else "not at this scale",
        ),
        Claim(
            "[LI] Figure 3", "the iterative model arrives and stays at a near-optimal estimate", scale,
            f"{path[-1]:.2f} nats below the optimum after {len(path) - 1} iterations, at most {late:.2f} in the second half", "",
            "holds" if late < NEAR else "not at this scale",
        ),
    ]  # fmt: skip


def report(results):
    heights = {name: panel["heights"] for name, panel in results["panels"].items()}
    return json.dumps({name: {key: h[-1] for key, h in panel.items()} for name, panel in heights.items()}, indent=1)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
