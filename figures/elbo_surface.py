"""The ELBO over (mu_1, mu_2) for one image, with the optimum, the VAE's estimate, SVI's path and SA-VAE's path.

    python figures/elbo_surface.py            trains two small models (about four minutes), writes elbo_surface.json and .png
    python figures/elbo_surface.py --draw     draws the picture again from the JSON

As [LI] Figure 1 and [SA] Figure 1, on images: a model with two latent dimensions on glyphs. Each point of the surface is
the ELBO at [mu_1, mu_2, log_var*], the log-variances fixed at the optimum's, with the same 200 noise samples everywhere.
Left: the VAE's model, its estimate, and SVI from the prior. Right: the SA-VAE's own model, its start and its path.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.evaluation import optimum
from savi.inference.svi import ascend
from savi.studies.figures import script

EPOCHS, STEPS, STEP_SIZE, CLIP, MOMENTUM = 6, 20, 0.02, 5.0, 0.5
GRID = np.arange(-3.5, 3.51, 0.1)
NOISE_SAMPLES, PATH_SAMPLES = 200, 20


def compute():
    model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([2, 200, 200, 784]), savi.Bernoulli()))
    encoder = savi.MLP([784, 200, 200, 4])
    inner = {"step_size": STEP_SIZE, "momentum": MOMENTUM, "clip": CLIP}
    methods = {"vae": savi.VAE(encoder, **inner), "sa-vae": savi.SAVAE(encoder, STEPS, **inner)}
    glyphs = savi.data.load("glyphs")
    x = savi.data.binarize(glyphs.test, np.random.default_rng(0))
    trained = {name: savi.fit(model, method, glyphs, EPOCHS, seed=0) for name, method in methods.items()}
    chosen = _example(model, methods["vae"], trained["vae"], x[:200])
    results = {"example": chosen, "image": x[chosen].astype(int).tolist(), "grid": GRID.tolist(), "panels": {}}
    for name, method in methods.items():
        results["panels"][name] = _panel(model, method, trained[name], x[chosen : chosen + 1])
    return results


def _example(model, method, result, x):
    """The image whose amortization gap under the VAE is the upper quartile of the first 200: a visible one, not the worst."""
    rng = np.random.default_rng(1)
    lam = method.infer(model, result.theta, result.phi, x, rng)
    best, _ = optimum(model, result.theta, lam, x, rng)
    noise = model.draw_noise(rng, 100, len(x), np.float32)
    gap = model.loss(lam, result.theta, x, noise) - model.loss(best, result.theta, x, noise)
    return int(np.argsort(gap)[int(0.75 * len(gap))])


def _panel(model, method, result, x):
    theta, rng = result.theta, np.random.default_rng(2)
    start = method.infer(model, theta, result.phi, x, rng, steps=0)
    noise = model.draw_noise(rng, NOISE_SAMPLES, 1, theta.dtype)
    best = _grid_optimum(model, theta, x, start, noise)
    surface = _elbo(model, theta, x, _with_mu(best, *np.meshgrid(GRID, GRID)), noise)
    paths = {"svi": _path(model, theta, x, model.prior_lam(1, theta.dtype), method)}
    if method.name == "sa-vae":
        paths = {"sa-vae": _path(model, theta, x, start, method)}
    points = {"start": start[0], "optimum": best[0]}
    elbo = {name: float(_elbo(model, theta, x, lam[None], noise)[0]) for name, lam in points.items()}
    elbo |= {
        f"{name} end": float(_elbo(model, theta, x, np.array(path[-1:], theta.dtype), noise)[0])
        for name, path in paths.items()
    }
    return {
        "surface": surface.reshape(len(GRID), len(GRID)).tolist(),
        "points": {name: lam.tolist() for name, lam in points.items()},
        "paths": paths,
        "elbo": elbo,
    }


def _grid_optimum(model, theta, x, start, noise):
    """The best of lam*'s found from the encoder and from the four best separated points of a coarse grid."""
    mu = np.meshgrid(np.arange(-3, 3.1, 0.5), np.arange(-3, 3.1, 0.5))
    coarse = _with_mu(start, *mu)
    coarse = coarse[np.argsort(-_elbo(model, theta, x, coarse, noise))[:8]]
    starts = np.concatenate([start, coarse])
    found, _ = optimum(model, theta, starts, np.repeat(x, len(starts), axis=0), np.random.default_rng(3))
    return found[[np.argmax(_elbo(model, theta, x, found, noise))]]


def _with_mu(lam, mu_1, mu_2):
    """lam (1, 4) repeated with other means."""
    grid = np.repeat(lam, mu_1.size, axis=0)
    grid[:, 0], grid[:, 1] = mu_1.ravel(), mu_2.ravel()
    return grid


def _elbo(model, theta, x, lam, noise, at_a_time=20):
    """ELBO of one image at many lam (n, 4), the same noise for all."""
    values = []
    for rows in np.array_split(lam.astype(theta.dtype), max(1, len(lam) // at_a_time)):
        n = len(rows)
        values.append(-model.loss(rows, theta, np.repeat(x, n, axis=0), np.repeat(noise, n, axis=1)))
    return np.concatenate(values)


def _path(model, theta, x, lam, method):
    """lam_0 .. lam_K of the method's inner steps."""
    rng, trace = np.random.default_rng(4), []
    noise = [model.draw_noise(rng, PATH_SAMPLES, 1, theta.dtype) for _ in range(STEPS)]
    end = ascend(model.objective(theta, x), lam, noise, *method.inner(lam), trace)
    return [step.lam[0].tolist() for step in trace] + [end[0].tolist()]


def draw(results):
    fig, axes = plots.figure(columns=2, width=5.4, height=4.6)
    titles = {"vae": "the VAE's model", "sa-vae": "the SA-VAE's model"}
    for ax, (name, panel) in zip(axes, results["panels"].items()):
        grid, surface = np.array(results["grid"]), np.array(panel["surface"])
        levels = surface.max() - np.array([200, 120, 80, 55, 40, 28, 20, 14, 9, 5, 2.5, 1, 0])
        filled = ax.contourf(grid, grid, surface, levels=levels, cmap="Greys_r", extend="min", alpha=0.8)
        ax.contour(grid, grid, surface, levels=levels, colors="0.45", linewidths=0.4)
        fig.colorbar(filled, cax=ax.inset_axes([1.03, 0, 0.05, 1]), label="ELBO (nats)", format="%.0f")
        for method, path in panel["paths"].items():
            look = plots.style(method) | {
                "label": f"{plots.STYLES[method][3]}, {len(path) - 1} steps",
                "markersize": 3,
                "linestyle": "-",
            }
            ax.plot(*np.array(path)[:, :2].T, **look)
        start = {"vae": "VAE's estimate", "sa-vae": "SA-VAE's start"}[name]
        ax.plot(*panel["points"]["start"][:2], "o", color="#0072B2", markersize=7, markeredgecolor="w", label=start)
        ax.plot(
            *panel["points"]["optimum"][:2], "*", color="#009E73", markersize=10, markeredgecolor="k", label="optimum"
        )
        ax.set(title=titles[name], xlabel="$\\mu_1$", ylabel="$\\mu_2$", aspect="equal")
        ax.grid(False)
        ax.legend(fontsize=8, loc="lower left", framealpha=0.9)
    fig.suptitle("one image under two models, each trained by its own method: heights and places differ", fontsize=10)
    inset = axes[0].inset_axes([0.78, 0.78, 0.2, 0.2])
    inset.imshow(np.reshape(results["image"], (28, 28)), cmap="gray_r")
    inset.set(xticks=[], yticks=[])
    return fig


def report(results):
    return json.dumps({name: panel["elbo"] for name, panel in results["panels"].items()}, indent=1)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
