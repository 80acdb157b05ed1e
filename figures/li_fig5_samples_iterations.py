"""More samples and more iterations in training: [LI] Figure 5.

    python figures/li_fig5_samples_iterations.py           42 small models (about ten minutes of one core)
    python figures/li_fig5_samples_iterations.py --full    the source's architecture on all of MNIST's images, for days
    python figures/li_fig5_samples_iterations.py --draw    draws the picture again from the JSON

(a) 1, 5 and 20 noise samples, for a VAE and an iterative inference model (gradient and data, 5 iterations); (b) 2, 5 and 16
iterations for each encoding, one sample. The opponents are the VAE and the same VAE refined by 20 steps of SVI at test time,
their step size, momentum and clip chosen on 200 validation images. Test -ELBO in nats with 20 samples. Every run is measured
after as many epochs as all others and after as many processor seconds of its own training steps (trials.py), with the
parameters that served 200 validation images best until then. The learning rate of every model, for each number of samples
and of iterations its own, is chosen on those images by runs of half the seconds with a seed of their own; nothing else is
tuned. At CPU scale: decoder 16-64-64-784, 2000 training images of MNIST; the source has 64-512-512-784, all images and 1500
epochs, 10 samples and 10 iterations beside these, and errors without the data.
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
from savi.experiments.tables import difference
from savi.inference.iterative import Data, Error, Gradient
from savi.studies.figures import Claim, highway_vae, image_model, iterative, scale_in_words, script
from savi.studies.learning_to_infer import svi_from, tuned_svi
from savi.studies.trial_tables import STOPS, over_seeds, said, verdict_of, worst
from savi.studies.trials import at_both, surviving, trainer, tuned_rate
from savi.sweeps.parallel import cores, run_all

SAMPLES, ITERATIONS, SEEDS, TUNING_SEED, VALID, TEST = (1, 5, 20), (2, 5, 16), (0, 1, 2), 100, 200, 500
ENCODINGS = {
    "gradient": [Gradient()],
    "gradient+data": [Gradient(), Data()],
    "error+data": [Error(), Data()],
}
VAE, REFINED, BOTH = "VAE", "VAE, then SVI", "gradient+data"
TUNING = 0.5  # of the seconds
SCALES = {
    False: {"latent": 16, "hidden": [64, 64], "train": 2000, "epochs": 6, "seconds": 4, "batch": 50},
    True: {"latent": 64, "hidden": [512, 512], "train": None, "epochs": 1500, "seconds": 20_000, "batch": 64},
}
RUNS = pathlib.Path("runs") / "li_fig5_samples_iterations"


def cells():
    """(name, samples, iterations) of every model."""
    found = [(name, S, 5) for name in (VAE, BOTH) for S in SAMPLES]
    return found + [(name, 1, T) for name in ENCODINGS for T in ITERATIONS if (name, T) != (BOTH, 5)]


def compute(full):
    found = dict(zip(cells(), run_all(tuned, [(full, *cell) for cell in cells()], cores())))
    rates = {cell: search["point"]["learning_rate"] for cell, search in found.items()}
    items = [(full, *cell, seed, rates[cell]) for seed in SEEDS for cell in cells()]
    rows = []
    for row in run_all(run, items, cores()):
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        rows.append(row)
    searches = [{"name": n, "samples": S, "iterations": T} | found[n, S, T] for n, S, T in cells()]
    return {"data": _images(full).name, "seeds": SEEDS, "scale": SCALES[full], "tuned": searches, "rows": rows}


@functools.lru_cache(maxsize=1)
def _images(full):
    images = savi.data.load("mnist")
    return images._replace(train=images.train[: SCALES[full]["train"]])


def _trainer(full, name, samples, iterations, seed):
    """(model, method, train(rate, epochs, out))."""
    scale, images = SCALES[full], _images(full)
    model = image_model(scale["latent"], scale["hidden"])
    if name == VAE:
        method = highway_vae(model, scale["hidden"], samples)
    else:
        method = iterative(model, ENCODINGS[name], scale["hidden"], iterations, samples)
    return model, method, trainer(model, method, images, seed, VALID, scale["batch"])


def _folder(full, name, samples, iterations, last):
    return str(RUNS.joinpath("full" if full else "small", name, f"S{samples}-T{iterations}-{last}"))


def tuned(full, name, samples, iterations):
    """The search of a model's learning rate."""
    *_, train = _trainer(full, name, samples, iterations, TUNING_SEED)
    return tuned_rate(_folder(full, name, samples, iterations, "tuning"), train, TUNING * SCALES[full]["seconds"])


def run(full, name, samples, iterations, seed, rate):
    """A row: the model and its test -ELBO at both stops; of a VAE also after SVI."""
    model, method, train = _trainer(full, name, samples, iterations, seed)
    parts = _images(full).valid[:VALID], _images(full).test[:TEST]
    valid, x = (savi.data.binarize(part, np.random.default_rng(0)) for part in parts)

    def loss(theta, lam):
        return float(neg_elbo(model, theta, lam, x, np.random.default_rng(1), samples=20).mean())

    def measure(result):
        lams = [infer(model, method, *result[:2], part, np.random.default_rng(2)) for part in (valid, x)]
        found = {"neg_elbo": loss(result.theta, lams[1])}
        if name == VAE:
            chosen = tuned_svi(model, result.theta, lams[0], valid, seed)
            refined = svi_from(model, result.theta, lams[1], x, seed, chosen)
            found |= {"refined": loss(result.theta, refined), "chosen": chosen}
        return found

    train = surviving(functools.partial(train, rate))
    folder = _folder(full, name, samples, iterations, f"seed{seed}")
    stops = at_both(folder, train, SCALES[full]["epochs"], SCALES[full]["seconds"], measure)
    row = {"name": name, "samples": samples, "iterations": iterations, "seed": seed}
    return row | {f"{key} at equal {stop}": value for stop, at in stops.items() for key, value in at.items()}


def values(results, name, samples, iterations, stop):
    """The test -ELBO of each seed (n,)."""
    run, measure = (VAE, "refined") if name == REFINED else (name, "neg_elbo")
    rows = [r for r in results["rows"] if (r["name"], r["samples"], r["iterations"]) == (run, samples, iterations)]
    return np.array([row[f"{measure} at equal {stop}"] for row in sorted(rows, key=lambda row: row["seed"])])


def sample_gain(results, name, stop):
    """By how much the -ELBO falls from the fewest to the most samples, for each seed."""
    return values(results, name, SAMPLES[0], 5, stop) - values(results, name, SAMPLES[-1], 5, stop)


def iteration_gain(results, name, stop):
    """By how much the -ELBO falls from the fewest to the most iterations, for each seed."""
    return values(results, name, 1, ITERATIONS[0], stop) - values(results, name, 1, ITERATIONS[-1], stop)


def claims(results):
    """What [LI] 5.2 says of samples, iterations and encodings."""
    ours = scale_in_words(results)

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

    vae, refined, last = at(VAE, 5), at(REFINED, 5), ITERATIONS[-1]
    gains = {"difference": lambda stop: tuple(sample_gain(results, name, stop) for name in (VAE, BOTH))}
    ahead = {f"{name}, T = {last}, minus VAE": pair(at(name, last), vae) for name in ENCODINGS}
    beyond = {f"{name}, T = {last}, minus {REFINED}": pair(at(name, last), refined) for name in ENCODINGS}
    more = {f"{name}, T = {last} minus T = 2": pair(at(name, last), at(name, 2)) for name in ENCODINGS}
    data = {f"{BOTH} minus gradient, T = {T}": pair(at(BOTH, T), at("gradient", T)) for T in ITERATIONS}
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
        claim("[LI] section 5.2", f"the same against {REFINED}, which the source has not", beyond),
        claim("[LI] section 5.2", "encoding the data as well is better than without", data),
        claim("[LI] section 5.2", "errors help with few iterations, and less than gradients with many", errors),
    ]


LOOKS = {
    VAE: ("#000000", "o", "-"),
    REFINED: ("#CC79A7", "v", ":"),
    "gradient": ("#D55E00", "D", "--"),
    "gradient+data": ("#E69F00", "s", "-"),
    "error+data": ("#009E73", "P", "-"),
}


def draw(results):
    fig, rows = plots.figure(columns=2, rows=2, width=4.8, height=3.7)
    scale = results["scale"]
    words = {"epochs": f"{scale['epochs']} epochs each", "seconds": f"{scale['seconds']} processor seconds each"}
    for (left, right), stop in zip(rows, ("epochs", "seconds")):
        for name, label in ((VAE, VAE), (REFINED, REFINED), (BOTH, "iterative (gradient and data)")):
            _curve(left, SAMPLES, [values(results, name, S, 5, stop) for S in SAMPLES], name, label)
        for name in (VAE, REFINED):
            found = values(results, name, 1, 5, stop)
            right.axhspan(found.min(), found.max(), color="0.85")
            right.axhline(found.mean(), color=LOOKS[name][0], linestyle=LOOKS[name][2], linewidth=1.4, label=name)
        for name in ENCODINGS:
            found = [values(results, name, 1, T, stop) for T in ITERATIONS]
            _curve(right, ITERATIONS, found, name, name.replace("+", " and "))
        left.set(title=f"(a) samples; {words[stop]}", ylabel="test −ELBO (nats per image)", xticks=SAMPLES)
        right.set(title=f"(b) iterations; {words[stop]}", xticks=ITERATIONS)
        left.set(xlabel="noise samples in training")
        right.set(xlabel="iterations in training, one sample")
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
    scale = results["scale"]
    lines = [f"{len(results['seeds'])} seeds, test -ELBO; learning rates chosen for each number:"]
    for name in (VAE, *ENCODINGS):
        rates = ", ".join(
            f"S {t['samples']} T {t['iterations']}: {t['point']['learning_rate']:g}" if name != VAE
            else f"S {t['samples']}: {t['point']['learning_rate']:g}"
            for t in results["tuned"] if t["name"] == name
        )  # fmt: skip
        lines.append(f"  {name:<14}{rates}")
    for stop in STOPS:
        spent = {"epochs": "epochs", "seconds": "processor seconds"}[stop]
        lines.append(f"at equal {stop} ({scale[stop]} {spent}), samples {', '.join(map(str, SAMPLES))}")
        for name in (VAE, REFINED, BOTH):
            cells = "".join(f"{over_seeds(values(results, name, S, 5, stop)):>17}" for S in SAMPLES)
            lines.append(f"  {name:<14}{cells}   gain {over_seeds(sample_gain(results, name, stop))}")
        lines.append(
            f"at equal {stop}, iterations {', '.join(map(str, ITERATIONS))}; the last one minus the VAE, {REFINED}"
        )
        for name in ENCODINGS:
            found = [values(results, name, 1, T, stop) for T in ITERATIONS]
            cells = "".join(f"{over_seeds(v):>17}" for v in found)
            lines.append(f"  {name:<14}{cells}   gain {over_seeds(iteration_gain(results, name, stop))}")
            for other in (VAE, REFINED):
                lines.append(f"    minus {other}: {said(difference(found[-1], values(results, other, 1, 5, stop)))}")
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
