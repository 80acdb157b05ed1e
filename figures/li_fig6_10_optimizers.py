"""Iterative inference against the optimizers of variational EM: [LI] Figures 6 and 10.

    python figures/li_fig6_10_optimizers.py           three models for each of two encodings (about five minutes on two cores)
    python figures/li_fig6_10_optimizers.py --full    64-512-512-784, 200 epochs, all images
    python figures/li_fig6_10_optimizers.py --draw    draws the picture again from the JSON

Models on MNIST, decoder 32-64-64-784 (ELU, Bernoulli; the source has 64-512-512-784), trained with an iterative inference
model that encodes gradients, or gradients and data, 16 iterations; its learning rate is chosen on validation images. On the
same test images: the mean -ELBO over iterations of the iterative model and of SGD, momentum, RMSProp and Adam from the prior,
and of momentum and Adam from the guess of an encoder that was trained on the finished decoder (a model that is trained by
iterative inference has none of its own). Each optimizer's step size is chosen on validation images three times, for 16, 100
and 300 iterations, from the source's grid and two values between; where its end is best it goes on. Everybody's gradients
have the same number of noise samples. Seconds are processor seconds of inference alone, batch of 100 images, the methods
taking turns; medians.
"""

import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments import tables
from savi.experiments.evaluation import along
from savi.experiments.figures import Claim, highway_vae, image_model, iterative, script
from savi.experiments.parallel import cores, run_all
from savi.experiments.trial_tables import difference, over_seeds, said
from savi.experiments.trials import best_valid, kept, searched
from savi.experiments.tuning import search
from savi.inference.iterative import Data, Gradient
from savi.inference.optimizers import OPTIMIZERS, Adam, clip_norm
from savi.inference.svi import STEP_SIZES

ITERATIONS, HORIZONS, LONG, TURNS = 16, (16, 100, 300), 1000, 15
ENCODINGS = {"gradient": [Gradient()], "gradient+data": [Gradient(), Data()]}
SEEDS, TUNING_SEED, RATES = (0, 1, 2), 100, {"learning_rate": (1e-3, 2e-3, 4e-3)}
GRID, FIRST = {"step_size": tuple(sorted({*STEP_SIZES, 0.003, 0.03}))}, {"step_size": 0.03}
GUESSED = ("momentum", "adam")  # optimizers that start from an encoder's guess as well
SCALES = {
    False: {"latent": 32, "hidden": [64, 64], "samples": 5, "epochs": 6, "valid": 50, "test": 100},
    True: {"latent": 64, "hidden": [512, 512], "samples": 5, "epochs": 200, "valid": 100, "test": 500},
}
SHOWN = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 40, 60, 80, 100, 150, 200, 250, 300]
RUNS = pathlib.Path("runs") / "li_fig6_10_optimizers"


def compute(full):
    rates = dict(zip(ENCODINGS, run_all(tuned, [(full, name) for name in ENCODINGS], cores())))
    items = [(full, name, seed, rates[name]["point"]["learning_rate"]) for seed in SEEDS for name in ENCODINGS]
    found = []
    for row in run_all(panel, items, cores()):
        print(row["name"], row["seed"], row["after"], {k: c["step_size"] for k, c in row["chosen"].items()}, flush=True)
        found.append(row)
    data = savi.data.load("mnist").name
    return {"data": data, "scale": SCALES[full], "seeds": SEEDS, "iterations": SHOWN, "tuned": rates, "panels": found}


def _folder(full, *names):
    return str(RUNS.joinpath("full" if full else "small", *map(str, names)))


def _trained(full, name, seed, rate, out, epochs):
    scale = SCALES[full]
    model = image_model(scale["latent"], scale["hidden"])
    method = iterative(model, ENCODINGS[name], scale["hidden"], ITERATIONS, scale["samples"])
    settings = {"batch": 50, "learning_rate": rate, "progress": False, "out": out, "resume": True}
    return model, method, savi.fit(model, method, savi.data.load("mnist"), epochs, seed, **settings)


def tuned(full, name):
    """The search of the iterative model's learning rate, with half the epochs."""

    def loss(point, out):
        return best_valid(_trained(full, name, TUNING_SEED, point["learning_rate"], out, SCALES[full]["epochs"] / 2)[2])

    folder = _folder(full, name, "tuning")
    return kept(f"{folder}.json", searched, folder, loss, {"learning_rate": 2e-3}, RATES)


def panel(full, name, seed, rate):
    """One model: all curves on its test images, kept."""
    folder = _folder(full, name, f"seed{seed}")
    return kept(f"{folder}.json", _panel, full, name, seed, rate, folder)


def _panel(full, name, seed, rate, folder):
    scale, images = SCALES[full], savi.data.load("mnist")
    model, method, result = _trained(full, name, seed, rate, folder, scale["epochs"])
    guess = _encoder(model, result.theta, images, scale, seed)
    parts = {"valid": images.valid[: scale["valid"]], "test": images.test[: scale["test"]]}
    x = {part: savi.data.binarize(grey, np.random.default_rng(i)) for i, (part, grey) in enumerate(parts.items())}
    walks = {"iterative": (method, model.prior_lam)}
    for optimizer in OPTIMIZERS:
        walks[optimizer] = (optimizer, model.prior_lam)
    for optimizer in GUESSED:
        walks[f"encoder, {optimizer}"] = (optimizer, None)

    def path(key, part, step_size=None, iterations=HORIZONS[-1]):
        """lam_0, lam_1, ... of a walk over images."""
        walker, start = walks[key]
        if key != "iterative":
            walker = savi.VariationalEM(OPTIMIZERS[walker](step_size), samples=scale["samples"])
        images, rng = x[part], np.random.default_rng(0)
        lam = start(len(images), result.theta.dtype) if start else guess(images)
        noise = (model.draw_noise(rng, scale["samples"], len(images), lam.dtype) for _ in range(iterations))
        yield lam
        yield from walker.walk(model.objective(result.theta, images), result.phi, lam, noise)

    def curve(key, part, at, step_size=None, iterations=HORIZONS[-1]):
        with np.errstate(all="ignore"):  # a step size that diverges loses
            lams = [lam for t, lam in enumerate(path(key, part, step_size, iterations)) if t in at]
            return [round(loss, 3) for loss in along(model, result.theta, lams, x[part], 1)]

    after = dict(zip((*HORIZONS, LONG), curve("iterative", "valid", (*HORIZONS, LONG), iterations=LONG)))
    found = {"name": name, "seed": seed, "after": after, "chosen": {}}
    found["curves"] = {"iterative": {"any": curve("iterative", "test", SHOWN)}}
    for key in list(walks)[1:]:
        found["chosen"][key], found["curves"][key] = _chosen(key, curve)
    steps = {key: chosen["step_size"][HORIZONS[0]] for key, chosen in found["chosen"].items()}
    found["seconds"] = _seconds({key: lambda n, key=key: list(path(key, "test", steps.get(key), n)) for key in walks})
    return found


def _encoder(model, theta, images, scale, seed, epochs=10, batch=50):
    """x -> lam of an encoder that is trained with theta fixed, as a VAE's."""
    vae, rng, adam = highway_vae(model, scale["hidden"]), np.random.default_rng([seed, 1]), Adam(2e-3)
    phi = vae.init(rng, np.float32)
    state = adam.init(phi)
    for _ in range(epochs):
        order = rng.permutation(len(images.train))
        for rows in np.array_split(order, len(order) // batch):
            x = savi.data.binarize(images.train[rows].astype(np.float32), rng)
            d_phi = vae.gradient(model, theta, phi, x, rng)[2] / len(x)
            state, step = adam.update(state, clip_norm(d_phi, 5.0))
            phi = phi + step
    return lambda x: vae.infer(model, theta, phi, x, rng)


def _chosen(key, curve):
    """({"step_size": {iterations: the best for so many}, "grid": {step size: -ELBO after each}}, test curves for each)."""
    ends = {}

    def end(step_size, horizon):
        if step_size not in ends:
            ends[step_size] = dict(zip(HORIZONS, np.nan_to_num(curve(key, "valid", HORIZONS, step_size), nan=1e9)))
        return ends[step_size][horizon]

    best = {t: search(lambda p, t=t: end(p["step_size"], t), FIRST, GRID)[0]["step_size"] for t in HORIZONS}
    curves = {step_size: curve(key, "test", SHOWN, step_size) for step_size in set(best.values())}
    return {"step_size": best, "grid": ends}, {t: curves[best[t]] for t in HORIZONS}


def _seconds(runs, steps=20):
    """{name: processor seconds per iteration}: run(steps) of each, taking turns; medians."""
    times = {name: [] for name in runs}
    for _ in range(TURNS):
        for name, run in runs.items():
            start = time.process_time()
            run(steps)
            times[name].append((time.process_time() - start) / steps)
    return {name: float(np.median(t)) for name, t in times.items()}


ITERATIVE = "iterative"
LOOKS = {
    ITERATIVE: ("#009E73", "P", "-"),
    "sgd": ("#000000", "o", ":"),
    "momentum": ("#E69F00", "s", "--"),
    "rmsprop": ("#0072B2", "^", "-."),
    "adam": ("#D55E00", "D", "--"),
    "encoder, momentum": ("#56B4E9", "v", "-"),
    "encoder, adam": ("#CC79A7", "X", "-"),
}


def curves(results, encoding, key, horizon):
    """Test -ELBO (seeds, SHOWN): a walk with the step size that is best for `horizon` iterations."""
    found = [p["curves"][key] for p in results["panels"] if p["name"] == encoding]
    return np.array([c["any" if key == ITERATIVE else str(horizon)] for c in found])


def seconds(results, encoding, key):
    """Processor seconds of an iteration on 100 images, (seeds,)."""
    return np.array([p["seconds"][key] for p in results["panels"] if p["name"] == encoding])


def at(results, encoding, key, iterations):
    """Test -ELBO after so many iterations with the step size that is best for as many, (seeds,)."""
    horizon = min(h for h in HORIZONS if h >= iterations)
    return curves(results, encoding, key, horizon)[:, SHOWN.index(iterations)]


def leads_from(results, encoding, key):
    """For each seed: the iteration from which on, up to the horizon, a walk stays below what the iterative model has reached
    until then, with the best of its three step sizes; infinite where with none."""
    reached = np.minimum.accumulate(curves(results, encoding, ITERATIVE, None), axis=1)
    firsts = []
    for horizon in HORIZONS:
        last = SHOWN.index(horizon) + 1
        below = curves(results, encoding, key, horizon)[:, :last] < reached[:, :last]
        stays = np.flip(np.logical_and.accumulate(np.flip(below, axis=1), axis=1), axis=1)
        firsts.append([SHOWN[int(np.argmax(s))] if s.any() else np.inf for s in stays])
    return np.min(firsts, axis=0)


def at_equal_seconds(results, encoding, key, iterations):
    """Test -ELBO after as many processor seconds as the iterative model needs for so many iterations, (seeds,).

    Between the iterations that were measured on a line; after the last of the horizon as there.
    """
    horizon = min(h for h in HORIZONS if h >= iterations)
    times = iterations * seconds(results, encoding, ITERATIVE) / seconds(results, encoding, key)
    last = SHOWN.index(horizon) + 1
    found = curves(results, encoding, key, horizon)[:, :last]
    return np.array([np.interp(t, SHOWN[:last], curve) for t, curve in zip(times, found)])


def walks(results):
    """The opponents: those from the prior, and those from an encoder's guess."""
    keys = list(results["panels"][0]["chosen"])
    return [key for key in keys if not key.startswith("encoder")], [key for key in keys if key.startswith("encoder")]


def against(results, encoding, keys, measured):
    """(words, verdicts): the iterative model minus the best of the keys after each of HORIZONS.

    measured: `at` or `at_equal_seconds`.
    """
    words, verdicts = [], []
    for t in HORIZONS:
        losses = {key: measured(results, encoding, key, t) for key in keys}
        best = min(losses, key=lambda key: losses[key].mean())
        found = difference(at(results, encoding, ITERATIVE, t), losses[best])
        words.append(f"{t}: minus {best} {said(found)}")
        verdicts.append(tables.verdict(*found[:2]))
    return "; ".join(words), verdicts


def claims(results):
    """Figures 6 and 10 of [LI] for each encoding."""
    scale, (prior, guessed), found = results["scale"], walks(results), []
    nets = "-".join(map(str, (scale["latent"], *scale["hidden"], 784)))
    ours = (
        f"8000 images, {nets}, {scale['epochs']} epochs, {len(results['seeds'])} seeds, each step size tuned for 16, 100 and "
        "300 iterations (60,000 images, 64-512-512-784, one grid)"
    )
    text = "the iterative model is below every optimizer of variational EM, also in seconds"
    for encoding in ENCODINGS:
        for start, keys in (("the prior", prior), ("an encoder's guess", guessed)):
            words, verdicts = against(results, encoding, keys, at)
            timed, timed_verdicts = against(results, encoding, keys, at_equal_seconds)
            source = f"[LI] Figures 6 and 10, encoding {encoding}, optimizers from {start}"
            cells = f"after iterations {words}", f"after the seconds of iterations {timed}"
            found.append(Claim(source, text, ours, *cells, _verdict(verdicts, timed_verdicts)))
        drift = difference(*(at(results, encoding, ITERATIVE, t) for t in (HORIZONS[-1], HORIZONS[0])))
        stable = "not at this scale" if tables.verdict(*drift[:2]) == "worse" else "holds"
        words = f"after {HORIZONS[-1]} iterations minus after {HORIZONS[0]}: {said(drift)}"
        source = f"[LI] Figure 6, encoding {encoding}"
        found.append(
            Claim(source, "trained on 16 iterations, it stays where it is for hundreds", ours, words, "", stable)
        )
    return found


def _verdict(*groups):
    """One of VERDICTS from tables.verdict's words after 16, 100 and 300 iterations, for each way to compare."""
    if all(word == "better" for words in groups for word in words):
        return "holds"
    if all(words[0] == "better" for words in groups):
        return "weaker"
    return "not told apart" if all(words[0] != "worse" for words in groups) else "not at this scale"


def draw(results):
    fig, axes = plots.figure(columns=4, rows=2, width=3.9, height=3.4)
    prior, guessed = walks(results)
    keys = [ITERATIVE, *prior, *guessed]
    for row, encoding in zip(axes, ENCODINGS):
        everything = [curves(results, encoding, key, h).mean(axis=0) for key in keys for h in HORIZONS]
        low, start = min(np.nanmin(c) for c in everything), curves(results, encoding, ITERATIVE, None)[:, 0].mean()
        for ax, horizon in zip(row, HORIZONS):
            for key in keys:
                _line(ax, results, encoding, key, horizon, np.array(SHOWN))
            ax.set_xscale("symlog", linthresh=1)
            ax.set_xticks([0, 1, 3, 10, 30, 100, 300], ["0", "1", "3", "10", "30", "100", "300"])
            ax.axvline(horizon, color="0.6", linewidth=1, linestyle=":")
            ax.set(xlabel="iterations", xlim=(-0.1, 400))
            ax.set_title(f"{encoding.replace('+', ' and ')}; steps for {horizon} iterations", fontsize=10)
        for key in keys:
            times = 1000 * seconds(results, encoding, key).mean() * np.array(SHOWN)
            _line(row[3], results, encoding, key, 100, times, first=1)
        row[3].set(xlabel="processor milliseconds for 100 images", xscale="log")
        row[3].set_title("steps for 100 iterations", fontsize=10)
        for ax in row:
            ax.set_ylim(low - 0.03 * (start - low), low + 0.4 * (start - low))
        row[0].set_ylabel("test −ELBO (nats per image)")
    axes[0][0].legend(frameon=False, fontsize=7.5)
    return fig


def _line(ax, results, encoding, key, horizon, x, first=0):
    colour, marker, dash = LOOKS[key]
    found = curves(results, encoding, key, horizon)[:, first:]
    look = {"color": colour, "marker": marker, "linestyle": dash, "markersize": 4, "linewidth": 1.4}
    ax.plot(x[first:], found.mean(axis=0), label=key, **look)
    ax.fill_between(x[first:], found.min(axis=0), found.max(axis=0), color=colour, alpha=0.12, linewidth=0)


def report(results):
    prior, guessed = walks(results)
    lines = [f"{len(results['seeds'])} models an encoding; test -ELBO, each step size the best for as many iterations"]
    for encoding in ENCODINGS:
        lines.append(
            f"{encoding}; on the right, for each model, from which iteration on it is ahead of the iterative one"
        )
        lines.append(f"  {'iterations':<18}" + "".join(f"{t:>17}" for t in (1, *HORIZONS)) + f"{'ms':>7}")
        for key in (ITERATIVE, *prior, *guessed):
            cells = "".join(f"{over_seeds(at(results, encoding, key, t)):>17}" for t in (1, *HORIZONS))
            from_on = "" if key == ITERATIVE else ", ".join(f"{t:g}" for t in leads_from(results, encoding, key))
            cost = 1000 * seconds(results, encoding, key).mean()
            lines.append(f"  {key:<18}{cells}{cost:7.1f}   {from_on}".rstrip())
        after = [p["after"] for p in results["panels"] if p["name"] == encoding]
        words = ", ".join(f"{t}: {over_seeds([a[t] for a in after])}" for t in after[0])
        lines.append(f"  iterative, validation images, after {words}")
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
