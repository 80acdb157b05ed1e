"""How wrong is SA-VAE's gradient on text, where Hessian-vector products are differences? Theta's and phi's part apart.

    python figures/hvp_accuracy_text.py            computes (about a minute), writes hvp_accuracy_text.json and .png
    python figures/hvp_accuracy_text.py --draw     draws the picture again from the JSON

The relative error of d theta and of d phi of a whole SA-VAE step, K = 20 inner steps through an LSTM, against the exact products in
float64. Model: documents of 24 to 40 words out of docstrings, 1000 words, 48 units, 8 latent dimensions, a VAE after one epoch of
1000 documents; batch 16; inner step .3, momentum .5, clip 5; 3 seeds of noise. The authors of [SA] used r = 1e-5, in float32.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import SAVAE, VAE, fit, hvp, plots
from savi.studies.figures import script
from savi.studies.text_runs import INNER, Scale, encoder_of, load, model_of

STEPS, SOURCE_R, K, BATCH, SEEDS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6), 1e-5, 20, 16, 3
SCALE = Scale(1000, (1000, 16, BATCH), 48)
METHODS = {"forward": hvp.forward_difference, "central": hvp.central_difference}
PARTS = ("theta", "phi")


def problem():
    """(the data's name, model, encoder, theta, phi, x): a VAE after one epoch on documents, in float64, and a batch."""
    data = load(SCALE)
    model, encoder = model_of(SCALE, data.vocabulary, SCALE.latent), encoder_of(SCALE, data.vocabulary)
    trained = fit(
        model, VAE(encoder), data, 1, 0, batch=BATCH, learning_rate=SCALE.learning_rate, warmup_epochs=1, beta_start=0.05,
        dtype=np.float64, valid_examples=0, progress=False,
    )  # fmt: skip
    return data.name, model, encoder, *trained.last, data.test


def gradients(model, encoder, theta, phi, x, noise, product):
    """(d theta, d phi) of an SA-VAE step."""
    return SAVAE(encoder, K, **INNER, hvp=product).gradient(model, theta, phi, x, noise=noise)[1:]


def errors(found, truth):
    """The relative error of each part."""
    return [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(found, truth)]


def compute():
    name, model, encoder, *at, x = problem()
    results = {
        "data": name,
        "r": STEPS,
        "K": K,
        "batch": BATCH,
        "seeds": SEEDS,
        "exact": {},
        "difference": {},
        "norms": [],
    }
    for seed in range(SEEDS):
        noise = np.random.default_rng([1, seed]).standard_normal((K + 1, 1, len(x), SCALE.latent))
        truth = gradients(model, encoder, *at, x, noise, hvp.exact)
        results["norms"].append([float(np.linalg.norm(part)) for part in truth])
        for dtype in ("float64", "float32"):
            *point, e = (a.astype(dtype) for a in (*at, noise))
            found = gradients(model, encoder, *point, x, e, hvp.exact)
            results["exact"].setdefault(dtype, []).append(errors(found, truth))
            for method, difference in METHODS.items():
                line = [
                    errors(gradients(model, encoder, *point, x, e, lambda f, s, v, r=r, by=difference: by(f, s, v, r=r)), truth)
                    for r in STEPS
                ]  # fmt: skip
                results["difference"].setdefault(dtype, {}).setdefault(method, []).append(line)
    return results


def at_source_r(results):
    """Medians over the seeds: {"float32 forward": {"theta", "phi"}, ..., "float32 exact": ...} at the sources' r."""
    i = int(np.argmin(np.abs(np.log(np.array(results["r"]) / SOURCE_R))))
    found = {f"{dtype} exact": np.median(lines, axis=0) for dtype, lines in results["exact"].items()}
    for dtype, methods in results["difference"].items():
        found |= {f"{dtype} {method}": np.median(np.array(lines)[:, i], axis=0) for method, lines in methods.items()}
    return {name: dict(zip(PARTS, map(float, medians))) for name, medians in found.items()}


def report(results):
    lines = [
        f"relative error of SA-VAE's gradient on text, K = {results['K']}, r = {SOURCE_R:g}, median of {results['seeds']}",
        f"{'':<18}{'d theta':>10}{'d phi':>10}",
    ]
    lines += [f"{name:<18}{found['theta']:10.2g}{found['phi']:10.2g}" for name, found in at_source_r(results).items()]
    theta, phi = np.median(results["norms"], axis=0)
    return "\n".join([*lines, f"length of d theta {theta:.3g}, of d phi {phi:.3g}"])


def draw(results):
    fig, axes = plots.figure(columns=2, width=4.6, height=3.9)
    looks = {"forward": "sa-vae", "central": "vae+svi"}
    for part, (ax, name) in enumerate(zip(axes, PARTS)):
        for dtype, dash, face in (("float64", "-", None), ("float32", "--", "white")):
            for method, lines in results["difference"][dtype].items():
                look = plots.style(looks[method]) | {"linestyle": dash, "markersize": 5, "label": f"{method}, {dtype}"}
                values = np.array(lines)[:, :, part]
                ax.plot(results["r"], np.median(values, axis=0), **look | ({"markerfacecolor": face} if face else {}))
                ax.fill_between(
                    results["r"], values.min(axis=0), values.max(axis=0), color=look["color"], alpha=0.15, linewidth=0
                )
        exact = np.median(results["exact"]["float32"], axis=0)[part]
        ax.axhline(exact, color="0.2", linewidth=1.2, linestyle=":", label="exact products, float32")
        ax.axvline(SOURCE_R, color="0.5", linewidth=1)
        ax.axhline(1, color="0.8", linewidth=1)
        ax.set(xscale="log", yscale="log", xlabel="difference step r", title=f"d {name}, K = {results['K']}")
        ax.text(
            SOURCE_R * 1.2,
            ax.get_ylim()[0] * 1.5,
            "r of the sources",
            rotation=90,
            fontsize=7,
            color="0.35",
            va="bottom",
        )
    axes[0].set_ylabel("relative error")
    axes[0].legend(frameon=False, fontsize=7.5)
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw, report)
