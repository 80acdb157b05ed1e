"""How wrong is a Hessian-vector product? Forward and central differences, complex step and autograd against the exact one.

    python figures/hvp_accuracy.py            computes (about a minute), writes hvp_accuracy.json and hvp_accuracy.png
    python figures/hvp_accuracy.py --draw     draws the picture again from the JSON

Left and middle: the relative error of (H_{lam,lam} v, H_{theta,lam} v) at one inner step, against the difference step r,
in float64 and float32. Right: the relative error of the whole SA-VAE gradient, (d theta, d phi) after K = 20 steps.
Model: decoder 32-200-200-784 (tanh, Bernoulli), trained as a VAE for one epoch on glyphs; batch 50, 5 noise seeds.
The truth is the exact product in float64. r = 1e-5 is what the paper's authors used, in float32.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import hvp, plots
from savi.studies.figures import script

STEPS = [10.0**e for e in np.arange(-8, 0.1, 0.5)]
SOURCE_R = 1e-5
K, BATCH, SEEDS = 20, 50, 5
METHODS = {
    "forward": hvp.forward_difference,
    "central": hvp.central_difference,
    "complex": hvp.complex_step,
    "autograd": hvp.autograd,
}
FREE_OF_R = ("complex", "autograd")


def problem():
    """(model, encoder, theta, phi, x): a VAE after one epoch on glyphs, in float64, and a batch of test images."""
    model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([32, 200, 200, 784]), savi.Bernoulli()))
    encoder = savi.MLP([784, 200, 200, 64])
    glyphs = savi.data.load("glyphs")
    trained = savi.fit(model, savi.VAE(encoder), glyphs, epochs=1, seed=0, dtype=np.float64)
    x = savi.data.binarize(glyphs.test[:BATCH].astype(float), np.random.default_rng(0))
    return model, encoder, trained.theta, trained.phi, x


def relative_error(actual, truth):
    return float(np.linalg.norm(actual - truth) / np.linalg.norm(truth))


def one_product(model, encoder, theta, phi, x, noise, product):
    """[H_{lam,lam} v, H_{theta,lam} v] at the encoder's lam, flat; v is the first v_bar of Algorithm 1, the gradient."""
    f = model.objective(theta, x)
    e = f.gradient(encoder(phi, x), noise)
    h = product(f, e, e.d_lam)
    return np.concatenate([h.lam.ravel(), f.theta_sum().add(h).value()])


def whole_gradient(model, encoder, theta, phi, x, noise, product):
    """[d theta, d phi] of an SA-VAE step, flat."""
    method = savi.SAVAE(encoder, steps=K, step_size=0.01, momentum=0.5, hvp=product)
    return np.concatenate(method.gradient(model, theta, phi, x, noise=noise)[1:])


def compute():
    model, encoder, *at = problem()
    results = {"r": STEPS, "K": K, "batch": BATCH, "seeds": SEEDS, "product": {}, "gradient": {}}
    for seed in range(SEEDS):
        noise = np.random.default_rng([1, seed]).standard_normal((K + 1, 1, BATCH, 32))
        for quantity, measure, e in (("product", one_product, noise[0]), ("gradient", whole_gradient, noise)):
            truth = measure(model, encoder, *at, e, hvp.exact)
            for dtype in ("float64", "float32"):
                inputs = [a.astype(dtype) for a in (*at, e)]
                lines = {"exact": [relative_error(measure(model, encoder, *inputs, hvp.exact), truth)]}
                for name in METHODS:
                    if quantity == "gradient" and name in FREE_OF_R:
                        continue  # as good as exact, and slow
                    lines[name] = _line(
                        name, lambda p, m=measure, i=inputs, t=truth: relative_error(m(model, encoder, *i, p), t)
                    )
                for name, line in lines.items():
                    results[quantity].setdefault(dtype, {}).setdefault(name, []).append(line)
    return results | {"at_source_r": at_source_r(results)}


def _line(name, error):
    """The error at each r, or once where the product has no r to choose."""
    method = METHODS[name]
    if name in FREE_OF_R:
        return [error(method)]
    return [error(lambda f, e, v, r=r: method(f, e, v, r=r)) for r in STEPS]


def at_source_r(results):
    """Median relative error at the sources' r = 1e-5: {quantity: {dtype: {method: error}}}."""
    i = int(np.argmin(np.abs(np.log(np.array(results["r"]) / SOURCE_R))))
    return {
        quantity: {
            dtype: {
                name: float(np.median([line[i] if len(line) > 1 else line[0] for line in lines]))
                for name, lines in names.items()
            }
            for dtype, names in results[quantity].items()
        }
        for quantity in ("product", "gradient")
    }


def draw(results):
    fig, axes = plots.figure(columns=3, width=4.2, height=3.9)
    r = results["r"]
    looks = {"forward": "sa-vae", "central": "vae+svi", "complex": "svi", "autograd": "vae+svi+kl", "exact": "vae"}
    labels = {"forward": "forward difference", "central": "central difference", "complex": "complex step"}
    labels["exact"] = "exact (float64: the reference, 0)"
    for ax, dtype in zip(axes, ("float64", "float32")):
        for name, lines in results["product"][dtype].items():
            _curve(ax, r, lines, plots.style(looks[name]) | {"label": labels.get(name, name), "markersize": 4})
        ax.set(title=f"one product, {dtype}", ylabel="relative error" if dtype == "float64" else "")
    for dtype, dash, shift in (("float64", "-", 0), ("float32", "--", 1)):
        for name in ("forward", "central"):
            look = plots.style(looks[name]) | {
                "label": f"{labels[name].split()[0]}, {dtype}",
                "linestyle": dash,
                "markersize": 4,
            }
            look |= {"markerfacecolor": "white"} if shift else {}
            _curve(axes[2], r, results["gradient"][dtype][name], look)
    axes[2].set(title=f"the whole SA-VAE gradient, K = {results['K']}")
    for ax in axes:
        ax.set(xscale="log", yscale="log", xlabel="difference step r", ylim=(1e-17, 1e3))
        ax.axvline(SOURCE_R, color="0.5", linewidth=1)
        ax.text(
            SOURCE_R * 0.8, 3e-17, "r of the sources", rotation=90, fontsize=7, color="0.35", ha="right", va="bottom"
        )
    axes[0].legend(frameon=False, fontsize=7.5, loc="lower right", bbox_to_anchor=(1, 0.11))
    axes[2].legend(frameon=False, fontsize=7.5, loc="lower right")
    return fig


def _curve(ax, r, lines, look):
    """Median over the seeds, with the range as a band; a flat line where there is no r."""
    lines = np.maximum(np.array(lines), 1e-17)  # zeros, which a logarithm does not have, are on the lower edge
    if lines.shape[1] == 1:
        lines = np.tile(lines, (1, len(r)))
        look = look | {"markevery": 4}
    ax.plot(r, np.median(lines, axis=0), **look)
    ax.fill_between(r, lines.min(axis=0), lines.max(axis=0), color=look["color"], alpha=0.15, linewidth=0)


if __name__ == "__main__":
    script(__file__, compute, draw, lambda results: json.dumps(results["at_source_r"], indent=1))
