"""Table 1 of [SA]: sequences from an oracle; what each inference method loses, with the oracle's generator and a learned one.

    python figures/sa_table1.py           two oracles, three seeds each, and the ablation (about an hour on two cores)
    python figures/sa_table1.py --full    all test examples, 14 epochs, 30 in the learned part
    python figures/sa_table1.py --draw    draws the picture again from the JSON

z in two dimensions, 1000 tokens, five a sequence; 5000 training sequences (savi/data/synthetic.py). Bounds are exact: E_q by
Gauss and Hermite's rule, log p(x) on a grid, the approximation gap from the best diagonal Gaussian of each example. Step
sizes of test-time SVI are chosen on validation sequences, from a grid whose smallest wins for VAE+SVI and which lacks
SA-VAE's own; SA-VAE's are not tuned. Methods have equal epochs, not equal seconds. A run that was stopped goes on from its JSON.
"""

import json
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots, quadrature, synthetic
from savi.engine.files import replacing
from savi.experiments.evaluation import infer
from savi.experiments.figures import (
    CLIP,
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
from savi.inference.iterative import Gradient, Iterative, network
from savi.models.latent_gaussian import Product

PATH = os.path.splitext(os.path.abspath(__file__))[0] + ".json"
SEEDS, ORACLES = (0, 1, 2), ("tanh", "affine")
SCALES = {
    False: {"test": 200, "epochs": 10, "ablation_epochs": 6, "learned_epochs": 8},
    True: {"test": 1000, "epochs": 14, "ablation_epochs": 14, "learned_epochs": 30},
}
TEST_STEPS = (0, 5, 10, 20, 40, 100)
PUBLISHED = {
    "oracle": {"VAE": 21.77, "SVI": 22.33, "SA-VAE": 20.13, "true NLL": 19.63},
    "learned": {"VAE": 27.06, "SVI": 25.82, "SA-VAE": 25.21},
}


def no_second_derivatives(f, evaluation, v):
    """The product of Algorithm 1 with H = 0."""
    return Product(np.zeros_like(v), [])


def forward_difference(r):
    return lambda f, evaluation, v: savi.hvp.forward_difference(f, evaluation, v, r=r)


ABLATION = {  # what is changed in SA-VAE's training (tanh oracle, first seed, fewer epochs)
    "as above": {},
    "no second derivatives": {"hvp": no_second_derivatives},
    "forward difference, r = 1e-5": {"hvp": forward_difference(1e-5)},
    "forward difference, r = 1e-3": {"hvp": forward_difference(1e-3)},
    "step size 0.004": {"step_size": 0.004},
    "K = 10": {"steps": 10},
    "momentum 0.9": {"momentum": 0.9},
    "large steps, clipped at 2": {"step_size": np.float32([0.02, 0.02, 0.05, 0.05]), "clip": CLIP},
    "5 noise samples": {"samples": 5},
}


def compute(full):
    scale = SCALES[full]
    store = Store({"scale": scale})
    for oracle in ORACLES:
        for seed in SEEDS:
            _oracle_part(store, oracle, seed, scale)
    _ablation(store, scale)
    for z_range in (None, 3.0):
        for seed in SEEDS:
            _learned_part(store, z_range, seed, scale)
    return store.results


class Store:
    """Finished runs by their names, in the JSON file: what is there is not run again."""

    def __init__(self, results):
        self.results = results | {"runs": {}}
        if os.path.exists(PATH):
            with open(PATH) as file:
                saved = json.load(file)
            if saved["scale"] == results["scale"]:
                self.results = saved

    def __call__(self, name, run):
        if name not in self.results["runs"]:
            self.results["runs"][name] = run()
            print(name, self.results["runs"][name], flush=True)
            with replacing(PATH) as file:
                file.write(json.dumps(self.results).encode())
        return self.results["runs"][name]


# --- with the oracle's generator ---------------------------------------------------------------------------------------------


def train(model, method, data, epochs, seed, **settings):
    trained = savi.fit(model, method, data, epochs, seed, **FIT | settings)
    return trained.theta, trained.phi, trained.history[-1]["seconds"]


def methods(data, model):
    """{name: method} of those that are trained by gradients of their own."""
    net = network(model, [Gradient()], (128, 128))
    return {
        "VAE": savi.VAE(sequence_encoder(data)),
        "VAE+SVI+KL": savi.VAESVI(sequence_encoder(data), kl=True, **INNER),
        "SA-VAE": savi.SAVAE(sequence_encoder(data), **INNER),
        "iterative": Iterative(net, [Gradient()], steps=5, samples=3),
    }


def _oracle_part(store, oracle, seed, scale):
    data = synthetic.load(seed, oracle)
    (model, theta), x, valid = known_model(data), data.test[: scale["test"]], data.valid[:VALID]
    at = f"{oracle}/{seed}/"

    def truth():
        best, loss = quadrature.best_gaussian(model, theta, x)
        loss = np.minimum(loss, bound(model, theta, best, x)[0])
        log_px = quadrature.log_marginal(model, theta, x)
        return {"nll": -float(log_px.mean()), "best": float(loss.mean())}

    store(at + "truth", truth)

    def row(method, phi, seconds, steps=None, **more):
        loss, kl = bound(model, theta, infer(model, method, theta, phi, x, np.random.default_rng(1), steps), x)
        return {"neg_elbo": float(loss.mean()), "kl": float(kl.mean()), "seconds": seconds} | more

    def by_steps(method, phi):
        return {k: row(method, phi, 0.0, k)["neg_elbo"] for k in TEST_STEPS}

    def untrained():
        sizes = best_step_sizes(model, theta, None, None, valid)
        method = refined(None, sizes)
        return row(method, None, 0.0, step_sizes=sizes, by_steps=by_steps(method, None))

    store(at + "SVI", untrained)
    names = methods(data, model)

    def trained(name):
        method = names[name]
        _, phi, seconds = train(model, method, data, scale["epochs"], seed)
        found = {name: row(method, phi, seconds)}
        if name == "VAE":
            sizes = best_step_sizes(model, theta, phi, method, valid)
            after = refined(method, sizes)
            found["VAE+SVI"] = row(after, phi, seconds, K, step_sizes=sizes, by_steps=by_steps(after, phi))
        if name == "SA-VAE":
            found[name]["by_steps"] = by_steps(method, phi)
        return found

    for name in names:
        store(at + name, lambda name=name: trained(name))


def _ablation(store, scale):
    data = synthetic.load(SEEDS[0], "tanh")
    (model, theta), x = known_model(data), data.test[: scale["test"]]

    def run(changes):
        method = savi.SAVAE(sequence_encoder(data), **INNER | changes)
        _, phi, seconds = train(model, method, data, scale["ablation_epochs"], SEEDS[0])
        lam = infer(model, method, theta, phi, x, np.random.default_rng(1))
        return {"neg_elbo": float(bound(model, theta, lam, x)[0].mean()), "seconds": seconds}

    for name, changes in ABLATION.items():
        store(f"ablation/{name}", lambda changes=changes: run(changes))


# --- with a learned generator ------------------------------------------------------------------------------------------------


class Started(savi.LSTMDecoder):
    """An LSTMDecoder whose weights from z start uniform on (-z_range, z_range)."""

    z_range = 3.0

    def init(self, rng, dtype=np.float64):
        theta = super().init(rng, dtype)
        first = self.net.layers(self.split(theta)[2])[0]
        first[:-1] = rng.uniform(-self.z_range, self.z_range, first[:-1].shape)
        return theta


def _learned_part(store, z_range, seed, scale):
    data = synthetic.load(seed, "affine")
    kind = savi.LSTMDecoder if z_range is None else Started
    model = savi.LatentGaussianModel(kind(data.vocabulary, synthetic.UNITS, synthetic.UNITS, synthetic.LATENT))
    x = data.test[: scale["test"]]
    svi = {"step_size": 0.05, "momentum": 0.5, "clip": CLIP}
    runs = {
        "VAE": savi.VAE(sequence_encoder(data)),
        "SVI": savi.SVI(K, **svi),
        "VAE+SVI": savi.VAESVI(sequence_encoder(data), K, **svi),
        "VAE+SVI+KL": savi.VAESVI(sequence_encoder(data), K, kl=True, **svi),
        "SA-VAE": savi.SAVAE(sequence_encoder(data), K, **svi),
    }

    def run(method):
        theta, phi, seconds = train(model, method, data, scale["learned_epochs"], seed)
        lam = infer(model, method, theta, phi, x, np.random.default_rng(1))
        loss, kl = bound(model, theta, lam, x)
        log_px = quadrature.log_marginal(model, theta, x)
        return {
            "neg_elbo": float(loss.mean()),
            "kl": float(kl.mean()),
            "nll": -float(log_px.mean()),
            "seconds": seconds,
        }

    for name, method in runs.items():
        if z_range is None and name not in ("VAE", "SA-VAE"):
            continue  # they end alike, with a latent that is not used
        store(f"learned {z_range}/{seed}/{name}", lambda method=method: run(method))


# --- the table and the picture -------------------------------------------------------------------------------------------


ROWS = ("VAE", "SVI", "VAE+SVI", "VAE+SVI+KL", "SA-VAE", "iterative")


def rows(results, part, name):
    """The rows of a method in a part, one per seed."""
    found = []
    for seed in SEEDS:
        runs = results["runs"]
        source = "VAE" if name == "VAE+SVI" and part in ORACLES else name
        row = runs.get(f"{part}/{seed}/{source}")
        if row is not None:
            found.append(row[name] if part in ORACLES and name != "SVI" else row)
    return found


def truths(results, part):
    return [results["runs"][f"{part}/{seed}/truth"] for seed in SEEDS if f"{part}/{seed}/truth" in results["runs"]]


def report(results):
    lines = []
    for oracle in ORACLES:
        truth = truths(results, oracle)
        nll, best = (np.array([t[key] for t in truth]) for key in ("nll", "best"))
        lines += [
            f"oracle generator, {oracle}: true NLL {_words(nll)}, approximation gap {_words(best - nll)}",
            f"{'':<12}{'-ELBO':>16}{'gap':>16}{'amortization':>16}{'KL':>14}{'seconds':>9}",
        ]
        for name in ROWS:
            loss, kl, seconds = (
                np.array([row[key] for row in rows(results, oracle, name)]) for key in ("neg_elbo", "kl", "seconds")
            )
            lines.append(
                f"{name:<12}{_words(loss):>16}{_words(loss - nll):>16}{_words(loss - best):>16}{_words(kl):>14}"
                f"{seconds.mean():9.0f}"
            )
    for z_range in (None, 3.0):
        start = "as the LSTM draws them" if z_range is None else f"uniform on (-{z_range:g}, {z_range:g})"
        lines += [
            f"learned generator, affine, z-weights at first {start}",
            f"{'':<12}{'-ELBO':>16}{'KL':>14}{'NLL':>16}",
        ]
        for name in ROWS[:-1]:
            found = rows(results, f"learned {z_range}", name)
            if found:
                loss, kl, nll = (np.array([row[key] for row in found]) for key in ("neg_elbo", "kl", "nll"))
                lines.append(f"{name:<12}{_words(loss):>16}{_words(kl):>14}{_words(nll):>16}")
    lines.append("SA-VAE's training, one change at a time (tanh oracle, first seed): -ELBO")
    lines += [
        f"  {name[9:]:<30}{row['neg_elbo']:8.2f}"
        for name, row in results["runs"].items()
        if name.startswith("ablation")
    ]
    return "\n".join(lines)


def _words(values):
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" if len(values) > 1 else f"{values.mean():.2f}"


def draw(results):
    fig, axes = plots.figure(columns=3, width=4.5, height=4.0)
    for ax, oracle in zip(axes, ORACLES):
        truth = truths(results, oracle)
        approximation = np.mean([t["best"] - t["nll"] for t in truth])
        for i, name in enumerate(ROWS):
            found = rows(results, oracle, name)
            gaps = [row["neg_elbo"] - t["nll"] for row, t in zip(found, truth)]
            look = plots.style(name.lower(), i)
            ax.plot([i] * len(gaps), gaps, look["marker"], color=look["color"], markersize=6, alpha=0.8)
            ax.annotate(
                f"{np.mean(gaps):.2f}", (i, np.max(gaps)), xytext=(0, 7), textcoords="offset points", ha="center"
            )
        ax.axhline(approximation, color="0.4", linewidth=1, linestyle="--")
        ax.text(len(ROWS) - 0.5, approximation, "best Gaussian", ha="right", va="bottom", fontsize=8, color="0.3")
        nll = np.mean([t["nll"] for t in truth])
        ax.set_xticks(range(len(ROWS)), ROWS, rotation=30, ha="right")
        ax.set(ylabel="−ELBO − exact NLL (nats)", title=f"{oracle} oracle, NLL {nll:.2f}")
        ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
    ax = axes[2]
    for name in ("SVI", "VAE+SVI", "SA-VAE"):
        found, truth = rows(results, "tanh", name), truths(results, "tanh")
        gaps = np.array([[row["by_steps"][str(k)] - t["nll"] for k in TEST_STEPS] for row, t in zip(found, truth)])
        ax.plot(TEST_STEPS, gaps.mean(axis=0), **plots.style(name.lower()))
    ax.set_xscale("symlog", linthresh=5)
    ax.set_xticks(TEST_STEPS, [str(k) for k in TEST_STEPS])
    ax.set_ylim(0, 4)
    ax.minorticks_off()
    ax.set(xlabel="SVI steps at test time", ylabel="−ELBO − exact NLL (nats)", title="tanh oracle: refinement")
    ax.legend(frameon=False)
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw, report)
