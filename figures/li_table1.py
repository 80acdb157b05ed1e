"""Table 1 of [LI]: -log p(x) of a VAE and of an iterative inference model on MNIST; Figure 11's two curves beside it.

    python figures/li_table1.py           three seeds, 8 epochs (about eight minutes)
    python figures/li_table1.py --full    the source's size and training: 512 hidden units, 1500 epochs, Adam 2e-4, decay 0.999
    python figures/li_table1.py --draw    draws the picture again from the JSON

Decoder 64-256-256-784 (the source: 512) and symmetric inference networks with highways (ELU); the iterative model
encodes errors and data, 5 iterations. All train with 5 noise samples. -log p(x) by 5000 importance samples from each
method's own posterior, on test images; mean and standard deviation over the seeds, nats. Where only MNIST's 10k test
file is present, it is split 8000/1000/1000. The VAE has a second row with as many seconds of training as the
iterative model. Nothing is
tuned per method. Right: the norm of the gradient of mu and the -ELBO relative to that after one iteration, over test-
time iterations.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.evaluation import along, importance_weighted, infer, neg_elbo
from savi.experiments.figures import highway_vae, image_model, iterative, script
from savi.inference.iterative import Data, Error

SEEDS, SAMPLES, ITERATIONS, TEST_ITERATIONS, IW_SAMPLES = (0, 1, 2), 5, 5, 16, 5000
SCALES = {
    False: {"epochs": 8, "learning_rate": 5e-4, "decay": 1.0, "batch": 64, "test": 200, "hidden": [256, 256]},
    True: {"epochs": 1500, "learning_rate": 2e-4, "decay": 0.999, "batch": 64, "test": 10_000, "hidden": [512, 512]},
}
PUBLISHED = {"VAE": 84.14, "iterative": 83.84}  # [LI] Table 1: 60,000 images, 1500 epochs


def compute(full):
    scale = SCALES[full]
    images = savi.data.first_present("mnist", "glyphs")
    results = {"data": images.name, "scale": scale, "rows": [], "curves": []}
    model = image_model(64, scale["hidden"])
    learned = iterative(model, [Error(), Data()], scale["hidden"], ITERATIONS, SAMPLES)
    amortized = highway_vae(model, scale["hidden"], SAMPLES)
    for seed in SEEDS:
        ours = _row("iterative", model, learned, images, scale, scale["epochs"], seed, results["curves"])
        vae = _row("VAE, same epochs", model, amortized, images, scale, scale["epochs"], seed)
        epochs = round(scale["epochs"] * ours["seconds"] / vae["seconds"])
        longer = _row("VAE, same seconds", model, amortized, images, scale, epochs, seed)
        results["rows"] += [vae, longer, ours]
    return results


def _row(label, model, method, images, scale, epochs, seed, curves=None):
    settings = {k: scale[k] for k in ("learning_rate", "decay", "batch")}
    trained = savi.fit(model, method, images, epochs, seed, progress=False, **settings)
    at = model, trained.theta
    x, rng = savi.data.binarize(images.test[: scale["test"]], np.random.default_rng(0)), np.random.default_rng(seed)
    lam = infer(model, method, trained.theta, trained.phi, x, rng)
    row = {
        "label": label, "seed": seed, "epochs": epochs, "seconds": trained.history[-1]["seconds"],
        "neg_elbo": float(neg_elbo(*at, lam, x, rng, 100).mean()),
        "nll": -float(importance_weighted(*at, lam, x, rng, IW_SAMPLES).mean()),
    }  # fmt: skip
    print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    if curves is not None:
        curves.append(_curve(*at, method, trained.phi, x))
    return row


def _curve(model, theta, method, phi, x):
    """|grad_mu ELBO| and -ELBO of the iterates, means over the images."""
    path = method.path(model, theta, phi, x, np.random.default_rng(0), TEST_ITERATIONS)
    f, norms = model.objective(theta, x), []
    for lam in path:
        noise = model.draw_noise(np.random.default_rng(1), 20, len(x), theta.dtype)
        d_mu = f.gradient(lam, noise).d_lam[:, : model.latent_dim]
        norms.append(round(float(np.linalg.norm(d_mu, axis=1).mean()), 3))
    losses = [round(loss, 3) for loss in along(model, theta, path, x, 2, samples=20)]
    return {"gradient_norm": norms, "neg_elbo": losses}


def summary(results):
    """{label: {column: (mean, standard deviation)}}."""
    table = {}
    for label in dict.fromkeys(row["label"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["label"] == label]
        columns = {key: [row[key] for row in rows] for key in ("nll", "neg_elbo", "epochs", "seconds")}
        table[label] = {key: (float(np.mean(v)), float(np.std(v, ddof=1))) for key, v in columns.items()}
    return table


def draw(results):
    fig, (left, middle, right) = plots.figure(columns=3, width=3.9, height=3.7)
    table = summary(results)
    for i, (label, columns) in enumerate(table.items()):
        seeds = [row for row in results["rows"] if row["label"] == label]
        colour = "#009E73" if label == "iterative" else "#000000"
        for key, marker in (("neg_elbo", "o"), ("nll", "D")):
            left.plot(
                [i] * len(seeds),
                [row[key] for row in seeds],
                marker,
                color=colour,
                markersize=5,
                alpha=0.6,
                fillstyle="none" if key == "neg_elbo" else "full",
            )
        left.annotate(
            f"{columns['nll'][0]:.1f}", (i, columns["nll"][0]), xytext=(9, -3), textcoords="offset points", fontsize=9
        )
        left.annotate(
            f"{columns['neg_elbo'][0]:.1f}",
            (i, columns["neg_elbo"][0]),
            xytext=(9, -3),
            textcoords="offset points",
            fontsize=9,
        )
    left.set_xticks(range(len(table)), [label.replace(", ", ",\n") for label in table])
    left.set(xlim=(-0.5, len(table) - 0.3), ylabel="nats per test image", title="−ELBO (hollow) and −log p(x) (full)")
    norms, losses = (np.array([curve[key] for curve in results["curves"]]) for key in ("gradient_norm", "neg_elbo"))
    relative = 100 * (losses[:, 1:2] - losses) / losses[:, 1:2]
    t = np.arange(norms.shape[1])
    for ax, values, first in ((middle, norms, 0), (right, relative, 1)):
        ax.plot(t[first:], values.mean(axis=0)[first:], color="#009E73", marker="P", markersize=5)
        ax.fill_between(
            t[first:], values.min(axis=0)[first:], values.max(axis=0)[first:], color="#009E73", alpha=0.2, linewidth=0
        )
        ax.axvline(ITERATIONS, color="0.6", linewidth=1)
        ax.set(xlabel="iterations at test time", xticks=[0, 5, 10, 15])
    middle.set(yscale="log", ylabel="norm of the gradient of μ (nats)", title="gradients shrink")
    right.set(ylabel="lower −ELBO than after one iteration (%)", title="the ELBO improves")
    return fig


def report(results):
    lines = [f"{'':<20}{'-log p(x)':>16}{'-ELBO':>16}{'epochs':>8}{'seconds':>9}"]
    for label, c in summary(results).items():
        nll, elbo = (f"{c[key][0]:.2f} ± {c[key][1]:.2f}" for key in ("nll", "neg_elbo"))
        lines.append(f"{label:<20}{nll:>16}{elbo:>16}{c['epochs'][0]:8.0f}{c['seconds'][0]:9.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
