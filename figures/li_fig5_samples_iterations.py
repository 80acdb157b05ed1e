"""More samples and more iterations in training: [LI] Figure 5.

    python figures/li_fig5_samples_iterations.py           72 small models (about six minutes on two cores)
    python figures/li_fig5_samples_iterations.py --full    the source's architecture on all of MNIST's images, for days
    python figures/li_fig5_samples_iterations.py --draw    draws the picture again from the JSON

(a) 1, 5, 10 and 20 noise samples, for a VAE and an iterative inference model (gradient and data, 5 iterations); (b) 2, 5, 10
and 16 iterations for each encoding, one sample. Test -ELBO in nats with 100 samples. Every run is measured after as many
epochs as all others and after as many processor seconds of its own training steps (trials.py), with the parameters that
served the validation images best until then. The learning rate of the VAE and of each encoding is chosen on validation images
at one sample and 5 iterations, with a seed of its own, and serves for the other numbers; nothing else is tuned. At CPU scale:
decoder 16-64-64-784, 2000 training images of MNIST; the source has 64-512-512-784, all images and 1500 epochs.
"""

import functools
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments import tables
from savi.experiments.evaluation import infer, neg_elbo
from savi.experiments.figures import Claim, highway_vae, image_model, iterative, script
from savi.experiments.parallel import cores, run_all
from savi.experiments.trial_tables import STOPS, difference, over_seeds, said, verdict_of, worst
from savi.experiments.trials import JUDGED_AT, at_both, best_valid, kept, searched, spend, surviving
from savi.inference.iterative import Data, Error, Gradient

SAMPLES, ITERATIONS, SEEDS, TUNING_SEED = (1, 5, 10, 20), (2, 5, 10, 16), (0, 1, 2), 100
ENCODINGS = {
    "gradient": [Gradient()],
    "error": [Error()],
    "gradient+data": [Gradient(), Data()],
    "error+data": [Error(), Data()],
}
VAE, BOTH = "VAE", "gradient+data"
RATES, TUNING = {"learning_rate": (1e-3, 2e-3, 4e-3)}, 0.5  # of the seconds
SCALES = {
    False: {"latent": 16, "hidden": [64, 64], "train": 2000, "epochs": 12, "seconds": 5, "batch": 50},
    True: {"latent": 64, "hidden": [512, 512], "train": None, "epochs": 1500, "seconds": 20_000, "batch": 64},
}
RUNS = pathlib.Path("runs") / "li_fig5_samples_iterations"


def cells():
    """(name, samples, iterations) of every model."""
    found = [(name, S, 5) for name in (VAE, BOTH) for S in SAMPLES]
    return found + [(name, 1, T) for name in ENCODINGS for T in ITERATIONS if (name, T) != (BOTH, 5)]


def compute(full):
    names = [VAE, *ENCODINGS]
    rates = dict(zip(names, run_all(tuned, [(full, name) for name in names], cores())))
    items = [(full, *cell, seed, rates[cell[0]]["point"]["learning_rate"]) for seed in SEEDS for cell in cells()]
    rows = []
    for row in run_all(run, items, cores()):
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        rows.append(row)
    return {"data": _images(full).name, "seeds": SEEDS, "scale": SCALES[full], "tuned": rates, "rows": rows}


@functools.lru_cache(maxsize=1)
def _images(full):
    images = savi.data.load("mnist")
    return images._replace(train=images.train[: SCALES[full]["train"]])


def _trainer(full, name, samples, iterations, seed, rate):
    """(model, method, train(epochs, out))."""
    scale, images = SCALES[full], _images(full)
    model = image_model(scale["latent"], scale["hidden"])
    if name == VAE:
        method = highway_vae(model, scale["hidden"], samples)
    else:
        method = iterative(model, ENCODINGS[name], scale["hidden"], iterations, samples)

    def train(epochs, out):
        return savi.fit(
            model, method, images, epochs, seed, out=out, resume=True, progress=False, batch=scale["batch"],
            learning_rate=rate, judge_at=JUDGED_AT,
        )  # fmt: skip

    return model, method, train


def _folder(full, *names):
    return str(RUNS.joinpath("full" if full else "small", *map(str, names)))


def tuned(full, name):
    """The search of a learning rate, at one sample and five iterations."""

    def loss(point, out):
        *_, train = _trainer(full, name, 1, 5, TUNING_SEED, point["learning_rate"])
        return best_valid(spend(lambda epochs: train(epochs, out), TUNING * SCALES[full]["seconds"]))

    folder = _folder(full, name, "tuning")
    return kept(f"{folder}.json", searched, folder, loss, {"learning_rate": 2e-3}, RATES)


def run(full, name, samples, iterations, seed, rate):
    """A row: the model and its test -ELBO at both stops."""
    model, method, train = _trainer(full, name, samples, iterations, seed, rate)
    x = savi.data.binarize(_images(full).test, np.random.default_rng(0))

    def measure(result):
        rng = np.random.default_rng(1)
        lam = infer(model, method, *result[:2], x, rng)
        return {"neg_elbo": float(neg_elbo(model, result.theta, lam, x, rng, samples=100).mean())}

    folder = _folder(full, name, f"S{samples}-T{iterations}-seed{seed}")
    found = at_both(folder, surviving(train), SCALES[full]["epochs"], SCALES[full]["seconds"], measure)
    row = {"name": name, "samples": samples, "iterations": iterations, "seed": seed}
    return row | {
        f"{key} at equal {stop}": at[key] for stop, at in found.items() for key in ("neg_elbo", "epochs", "cpu")
    }


def values(results, name, samples, iterations, stop):
    """The test -ELBO of each seed (n,)."""
    rows = [r for r in results["rows"] if (r["name"], r["samples"], r["iterations"]) == (name, samples, iterations)]
    return np.array([row[f"neg_elbo at equal {stop}"] for row in sorted(rows, key=lambda row: row["seed"])])


def sample_gain(results, name, stop):
    """By how much the -ELBO falls from the fewest to the most samples, for each seed."""
    return values(results, name, SAMPLES[0], 5, stop) - values(results, name, SAMPLES[-1], 5, stop)


def iteration_gain(results, name, stop):
    """By how much the -ELBO falls from the fewest to the most iterations, for each seed."""
    return values(results, name, 1, ITERATIONS[0], stop) - values(results, name, 1, ITERATIONS[-1], stop)


def claims(results):
    """What [LI] 5.2 says of samples, iterations and encodings."""
    scale = results["scale"]
    nets = "-".join(map(str, (scale["latent"], *scale["hidden"], 784)))
    ours = (
        f"{scale['train']} images, {nets}, {scale['epochs']} epochs or {scale['seconds']} processor seconds, "
        f"{len(results['seeds'])} seeds, learning rate tuned (60,000 images, 64-512-512-784, 1500 epochs)"
    )

    def claim(source, text, pairs, first=lambda stop: ""):
        """A claim that each of pairs {words: stop -> (a, b)} has a below b; first(stop): what its numbers begin with."""
        cells, verdicts = {}, []
        for stop in STOPS:
            cells[stop] = first(stop) + "; ".join(
                f"{words} {said(difference(*pair(stop)))}" for words, pair in pairs.items()
            )
        for pair in pairs.values():
            found = {stop: tables.verdict(*difference(*pair(stop))[:2]) for stop in STOPS}
            verdicts.append(verdict_of(**found))
        return Claim(source, text, ours, cells["epochs"], cells["seconds"], worst(verdicts))

    def at(name, iterations):
        return lambda stop: values(results, name, 1, iterations, stop)

    def pair(a, b):
        return lambda stop: (a(stop), b(stop))

    def gained(stop):
        vae, own = (over_seeds(sample_gain(results, name, stop)) for name in (VAE, BOTH))
        return f"gains: VAE {vae}, iterative {own}; "

    vae, last = at(VAE, 5), ITERATIONS[-1]
    gains = {"difference": lambda stop: tuple(sample_gain(results, name, stop) for name in (VAE, BOTH))}
    ahead = {f"{name}, T = {last}, minus VAE": pair(at(name, last), vae) for name in ENCODINGS}
    more = {f"{name}, T = {last} minus T = 2": pair(at(name, last), at(name, 2)) for name in ENCODINGS}
    data = {f"{a}+data minus {a}, T = {last}": pair(at(f"{a}+data", last), at(a, last)) for a in ("gradient", "error")}
    errors = {
        "error+data minus gradient+data, T = 2": pair(at("error+data", 2), at(BOTH, 2)),
        f"gradient+data minus error+data, T = {last}": pair(at(BOTH, last), at("error+data", last)),
    }
    return [
        claim(
            "[LI] Figure 5a",
            "from 1 to 20 samples the VAE gains about 0.5 nats, the iterative model over 1",
            gains,
            gained,
        ),
        claim("[LI] Figure 5b", "more iterations in training improve every encoding", more),
        claim("[LI] section 5.2", "every encoding is better than the VAE with one sample", ahead),
        claim("[LI] section 5.2", "encoding the data as well is better than without", data),
        claim("[LI] section 5.2", "errors help with few iterations, and less than gradients with many", errors),
    ]


LOOKS = {
    VAE: ("#000000", "o", "-"),
    "gradient": ("#D55E00", "D", "--"),
    "error": ("#0072B2", "^", "--"),
    "gradient+data": ("#E69F00", "s", "-"),
    "error+data": ("#009E73", "P", "-"),
}


def draw(results):
    fig, rows = plots.figure(columns=2, rows=2, width=4.8, height=3.7)
    scale = results["scale"]
    words = {"epochs": f"{scale['epochs']} epochs each", "seconds": f"{scale['seconds']} processor seconds each"}
    for (left, right), stop in zip(rows, ("epochs", "seconds")):
        for name, label in ((VAE, VAE), (BOTH, "iterative (gradient and data)")):
            _curve(left, SAMPLES, [values(results, name, S, 5, stop) for S in SAMPLES], name, label)
        vae = values(results, VAE, 1, 5, stop)
        right.axhspan(vae.min(), vae.max(), color="0.85")
        right.axhline(vae.mean(), color="black", linewidth=1.4, label=VAE)
        for name in ENCODINGS:
            found = [values(results, name, 1, T, stop) for T in ITERATIONS]
            _curve(right, ITERATIONS, found, name, name.replace("+", " and "))
        left.set(title=f"(a) samples; {words[stop]}", ylabel="test −ELBO (nats per image)", xticks=SAMPLES)
        right.set(title=f"(b) iterations, one sample; {words[stop]}", xticks=ITERATIONS)
        left.set(xlabel="noise samples in training")
        right.set(xlabel="iterations in training")
    rows[0][0].legend(frameon=False, fontsize=8)
    rows[0][1].legend(frameon=False, fontsize=8)
    return fig


def _curve(ax, x, found, name, label):
    colour, marker, dash = LOOKS[name]
    found = np.array(found)
    ax.plot(
        x, found.mean(axis=1), color=colour, marker=marker, linestyle=dash, label=label, markersize=5, linewidth=1.6
    )
    ax.fill_between(x, found.min(axis=1), found.max(axis=1), color=colour, alpha=0.15, linewidth=0)


def report(results):
    lines = [f"{results['scale']['epochs']} epochs, {results['scale']['seconds']} processor seconds; test -ELBO"]
    lines.append(
        "learning rates: " + ", ".join(f"{n} {t['point']['learning_rate']:g}" for n, t in results["tuned"].items())
    )
    for stop in STOPS:
        lines.append(f"at equal {stop}, samples 1, 5, 10, 20")
        for name in (VAE, BOTH):
            cells = "".join(f"{over_seeds(values(results, name, S, 5, stop)):>17}" for S in SAMPLES)
            lines.append(f"  {name:<14}{cells}   gain {over_seeds(sample_gain(results, name, stop))}")
        lines.append(f"at equal {stop}, iterations 2, 5, 10, 16; the last one minus the VAE of one sample")
        for name in ENCODINGS:
            found = [values(results, name, 1, T, stop) for T in ITERATIONS]
            cells = "".join(f"{over_seeds(v):>17}" for v in found)
            gain = over_seeds(iteration_gain(results, name, stop))
            behind = said(difference(found[-1], values(results, VAE, 1, 5, stop)))
            lines.append(f"  {name:<14}{cells}   gain {gain}   {behind}")
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
