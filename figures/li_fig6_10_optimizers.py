"""Iterative inference against the optimizers of variational EM: [LI] Figures 6 and 10.

    python figures/li_fig6_10_optimizers.py           three models for each of two encodings (about eight minutes of one core)
    python figures/li_fig6_10_optimizers.py --full    64-512-512-784, 200 epochs, all images
    python figures/li_fig6_10_optimizers.py --draw    draws the picture again from the JSON

Models of 2000 images of MNIST, decoder 16-64-64-784 (ELU, Bernoulli; the source has 64-512-512-784 and all images), trained
with an iterative inference model that encodes gradients, or gradients and data, 16 iterations; its learning rate is chosen on
validation images. On the same test images: the mean -ELBO over iterations of the iterative model and of SGD, momentum, RMSProp
and Adam from the prior, and of momentum and Adam from the guess of a VAE's encoder that was trained on the finished decoder
(a model that is trained by iterative inference has none of its own). At each number of iterations shown every walk may stop
earlier, and every optimizer has a step size of its own: both are those with the lowest -ELBO on validation images, out of the
source's grid and some values between; where the grid's end is best it goes on. Decay rates of the optimizers are not tuned.
Everybody's gradients have the same number of noise samples. Seconds are processor seconds of inference alone, batch of 100
images, the methods taking turns; medians.
"""

import functools
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments import tables
from savi.experiments.evaluation import along
from savi.experiments.tables import difference
from savi.experiments.tuning import search
from savi.inference.iterative import Data, Gradient
from savi.inference.optimizers import OPTIMIZERS, Adam, clip_norm
from savi.inference.svi import STEP_SIZES
from savi.studies.figures import Claim, highway_vae, image_model, iterative, script
from savi.studies.trial_tables import over_seeds, said
from savi.studies.trials import RATES, best_valid, kept, searched
from savi.sweeps.parallel import cores, run_all

TRAINED, LONG, TURNS = 16, 1000, 5
ENCODINGS = {"gradient": [Gradient()], "gradient+data": [Gradient(), Data()]}
SEEDS, TUNING_SEED = (0, 1, 2), 100
GRID = tuple(sorted({*STEP_SIZES, 0.002, 0.005, 0.02, 0.05}))
GUESSED = ("momentum", "adam")  # optimizers that start from an encoder's guess as well
SCALES = {
    False: {
        "latent": 16, "hidden": [64, 64], "samples": 3, "train": 2000, "epochs": 8, "encoder_epochs": 20, "valid": 50,
        "test": 100,
    },
    True: {
        "latent": 64, "hidden": [512, 512], "samples": 5, "train": None, "epochs": 200, "encoder_epochs": 50, "valid": 100,
        "test": 500,
    },
}  # fmt: skip
SHOWN = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 40, 60, 80, 100, 150, 200, 250, 300]
COMPARED = (1, 5, 16, 100, 300)
RUNS = pathlib.Path("runs") / "li_fig6_10_optimizers"
ITERATIVE = "iterative"


def compute(full):
    rates = dict(zip(ENCODINGS, run_all(tuned, [(full, name) for name in ENCODINGS], cores())))
    items = [(full, name, seed, rates[name]["point"]["learning_rate"]) for seed in SEEDS for name in ENCODINGS]
    found = []
    for row in run_all(panel, items, cores()):
        print(row["name"], row["seed"], row["long"], row["seconds"], flush=True)
        found.append(row)
    data = savi.data.load("mnist").name
    return {"data": data, "scale": SCALES[full], "seeds": SEEDS, "iterations": SHOWN, "tuned": rates, "panels": found}


def _folder(full, *names):
    return str(RUNS.joinpath("full" if full else "small", *map(str, names)))


@functools.lru_cache(maxsize=1)
def _images(full):
    images = savi.data.load("mnist")
    return images._replace(train=images.train[: SCALES[full]["train"]])


def _trained(full, name, seed, rate, out, epochs):
    scale = SCALES[full]
    model = image_model(scale["latent"], scale["hidden"])
    method = iterative(model, ENCODINGS[name], scale["hidden"], TRAINED, scale["samples"])
    settings = {
        "batch": 50,
        "learning_rate": rate,
        "progress": False,
        "out": out,
        "resume": True,
        "valid_examples": 200,
    }
    return model, method, savi.fit(model, method, _images(full), epochs, seed, **settings)


def tuned(full, name):
    """The search of the iterative model's learning rate, with half the epochs."""

    def loss(point, out):
        return best_valid(_trained(full, name, TUNING_SEED, point["learning_rate"], out, SCALES[full]["epochs"] / 2)[2])

    folder = _folder(full, name, "tuning")
    return kept(
        f"{folder}.json", searched, folder, loss, {"learning_rate": RATES[len(RATES) // 2]}, {"learning_rate": RATES}
    )


def panel(full, name, seed, rate):
    """{"name", "seed", "walks", "long", "seconds"} of one model, kept; "walks": {key: {step size: {part: curve}}}."""
    folder = _folder(full, name, f"seed{seed}")
    return kept(f"{folder}.json", _panel, full, name, seed, rate, folder)


def _panel(full, name, seed, rate, folder):
    scale, images = SCALES[full], _images(full)
    model, method, result = _trained(full, name, seed, rate, folder, scale["epochs"])
    guess = _encoder(model, result.theta, images, scale, seed)
    parts = {"valid": images.valid[: scale["valid"]], "test": images.test[: scale["test"]]}
    x = {part: savi.data.binarize(grey, np.random.default_rng(i)) for i, (part, grey) in enumerate(parts.items())}
    starts = {part: (model.prior_lam(len(x[part]), result.theta.dtype), guess(x[part])) for part in parts}

    def path(key, part, step_size, iterations):
        """lam_0, lam_1, ... of a walk over images."""
        lam, walker, rng = starts[part][key.startswith("encoder")], method, np.random.default_rng(0)
        if key != ITERATIVE:
            walker = savi.VariationalEM(OPTIMIZERS[key.split()[-1]](step_size), samples=scale["samples"])
        noise = (model.draw_noise(rng, scale["samples"], len(lam), lam.dtype) for _ in range(iterations))
        yield lam
        yield from walker.walk(model.objective(result.theta, x[part]), result.phi, lam, noise)

    def curve(key, part, step_size=None, at=SHOWN):
        with np.errstate(all="ignore"):  # a step size that diverges loses
            lams = (lam for t, lam in enumerate(path(key, part, step_size, at[-1])) if t in at)
            return [
                round(loss, 3) if np.isfinite(loss) else None for loss in along(model, result.theta, lams, x[part], 1)
            ]

    walks = {ITERATIVE: {"-": {part: curve(ITERATIVE, part) for part in parts}}}
    for key in opponents():
        walks[key] = _searched(functools.partial(curve, key))
    times = _seconds({key: lambda n, key=key: list(path(key, "test", GRID[0], n)) for key in walks})
    long = dict(zip((TRAINED, 100, 300, LONG), curve(ITERATIVE, "valid", None, (TRAINED, 100, 300, LONG))))
    return {"name": name, "seed": seed, "walks": walks, "long": long, "seconds": times}


def opponents():
    """The optimizers from the prior, then those from an encoder's guess."""
    return [*OPTIMIZERS, *(f"encoder, {name}" for name in GUESSED)]


def _encoder(model, theta, images, scale, seed, batch=50):
    """x -> lam of an encoder that is trained with theta fixed, as a VAE's."""
    vae, rng, adam = highway_vae(model, scale["hidden"]), np.random.default_rng([seed, 1]), Adam(2e-3)
    phi = vae.init(rng, np.float32)
    state = adam.init(phi)
    for _ in range(scale["encoder_epochs"]):
        order = rng.permutation(len(images.train))
        for rows in np.array_split(order, len(order) // batch):
            x = savi.data.binarize(images.train[rows].astype(np.float32), rng)
            d_phi = vae.gradient(model, theta, phi, x, rng)[2] / len(x)
            state, step = adam.update(state, clip_norm(d_phi, 5.0))
            phi = phi + step
    return lambda x: vae.infer(model, theta, phi, x, rng)


def _searched(curve):
    """{step size: {"valid": curve, "test": curve}}: all that were tried for some number of iterations, "test" of those chosen.

    Each search begins at the smallest step of the grid: steps that are too large all stop where they start.
    """
    found = {}

    def loss(point, stop):
        step_size = point["step_size"]
        if step_size not in found:
            found[step_size] = {"valid": curve("valid", step_size)}
        return np.min(_numbers(found[step_size]["valid"])[:stop])

    for stop in range(2, len(SHOWN) + 1):
        search(functools.partial(loss, stop=stop), {"step_size": GRID[0]}, {"step_size": GRID})
    walk = {f"{step_size:g}": found[step_size] for step_size in sorted(found)}
    for step_size in {chosen(walk, stop)[0] for stop in range(1, len(SHOWN) + 1)}:
        walk[step_size]["test"] = curve("test", float(step_size))
    return walk


def _numbers(curve):
    """A curve as numbers, infinite where it diverged."""
    return np.array([np.inf if loss is None else loss for loss in curve])


def chosen(walk, stop):
    """(step size, index) of the lowest validation -ELBO among the first `stop` of SHOWN; the first of several."""
    found = {step_size: _numbers(curves["valid"])[:stop] for step_size, curves in walk.items()}
    best = min(found, key=lambda step_size: found[step_size].min())
    return best, int(found[best].argmin())


def _seconds(runs, steps=10):
    """{name: processor seconds per iteration}: run(steps) of each, taking turns; medians."""
    times = {name: [] for name in runs}
    for _ in range(TURNS):
        for name, run in runs.items():
            start = time.process_time()
            run(steps)
            times[name].append((time.process_time() - start) / steps)
    return {name: float(np.median(t)) for name, t in times.items()}


LOOKS = {
    ITERATIVE: ("#009E73", "P", "-"),
    "sgd": ("#000000", "o", ":"),
    "momentum": ("#E69F00", "s", "--"),
    "rmsprop": ("#0072B2", "^", "-."),
    "adam": ("#D55E00", "D", "--"),
    "encoder, momentum": ("#56B4E9", "v", "-"),
    "encoder, adam": ("#CC79A7", "X", "-"),
}


def panels(results, encoding):
    """The panels of an encoding, in the order of their seeds."""
    return sorted((p for p in results["panels"] if p["name"] == encoding), key=lambda p: p["seed"])


def envelope(panel, key):
    """Test -ELBO (SHOWN,): at each number of iterations the step size and the stop that validation images prefer."""
    walk = panel["walks"][key]
    choices = [chosen(walk, stop) for stop in range(1, len(SHOWN) + 1)]
    return np.array([_numbers(walk[step_size]["test"])[index] for step_size, index in choices])


def envelopes(results, encoding, key):
    """Test -ELBO (seeds, SHOWN)."""
    return np.array([envelope(p, key) for p in panels(results, encoding)])


def seconds(results, encoding, key):
    """Processor seconds of an iteration on a batch of images, (seeds,)."""
    return np.array([p["seconds"][key] for p in panels(results, encoding)])


def at(results, encoding, key, iterations):
    """Test -ELBO after at most so many iterations, (seeds,)."""
    return envelopes(results, encoding, key)[:, SHOWN.index(iterations)]


def at_equal_seconds(results, encoding, key, iterations):
    """Test -ELBO after at most as many processor seconds as the iterative model needs for so many iterations, (seeds,).

    Between the iterations that were measured on a line; after the last of them as there.
    """
    times = iterations * seconds(results, encoding, ITERATIVE) / seconds(results, encoding, key)
    return np.array([np.interp(t, SHOWN, curve) for t, curve in zip(times, envelopes(results, encoding, key))])


def leads_from(results, encoding, key):
    """For each seed the iteration from which on a walk stays below the iterative model; infinite where there is none."""
    below = envelopes(results, encoding, key) < envelopes(results, encoding, ITERATIVE)
    stays = np.flip(np.logical_and.accumulate(np.flip(below, axis=1), axis=1), axis=1)
    return np.array([SHOWN[int(np.argmax(s))] if s.any() else np.inf for s in stays])


def drift(results, encoding):
    """-ELBO after 300 iterations minus that after the iterations of training, test images, (seeds,)."""
    found = np.array([_numbers(p["walks"][ITERATIVE]["-"]["test"]) for p in panels(results, encoding)])
    return found[:, -1], found[:, SHOWN.index(TRAINED)]


def against(results, encoding, keys, measured):
    """(words, verdicts): the iterative model minus the best of the keys at each of COMPARED.

    measured: `at` or `at_equal_seconds`.
    """
    words, verdicts = [], []
    for t in COMPARED:
        losses = {key: measured(results, encoding, key, t) for key in keys}
        best = min(losses, key=lambda key: losses[key].mean())
        found = difference(at(results, encoding, ITERATIVE, t), losses[best])
        words.append(f"{t}: minus {best} {said(found)}")
        verdicts.append(tables.verdict(*found[:2]))
    return "; ".join(words), verdicts


def claims(results):
    """Figures 6 and 10 of [LI] for each encoding."""
    scale, found = results["scale"], []
    nets = "-".join(map(str, (scale["latent"], *scale["hidden"], 784)))
    ours = (
        f"{scale['train']} images, {nets}, {scale['epochs']} epochs, {len(results['seeds'])} seeds, each step size tuned for "
        "each number of iterations (60,000 images, 64-512-512-784, one grid)"
    )
    text = "the iterative model is below every optimizer of variational EM, also in seconds"
    for encoding in ENCODINGS:
        for start, keys in (("the prior", list(OPTIMIZERS)), ("an encoder's guess", opponents()[len(OPTIMIZERS) :])):
            words, verdicts = against(results, encoding, keys, at)
            timed, timed_verdicts = against(results, encoding, keys, at_equal_seconds)
            source = f"[LI] Figures 6 and 10, encoding {encoding}, optimizers from {start}"
            cells = f"after iterations {words}", f"after the seconds of iterations {timed}"
            found.append(Claim(source, text, ours, *cells, _verdict(verdicts, timed_verdicts)))
        change = difference(*drift(results, encoding))
        stable = _stays(*change[:2])
        words = f"after {SHOWN[-1]} iterations minus after {TRAINED}: {said(change)}"
        source = f"[LI] Figure 6, encoding {encoding}"
        found.append(
            Claim(
                source, f"trained on {TRAINED} iterations, it stays where it is for hundreds", ours, words, "", stable
            )
        )
    return found


def _stays(mean, error):
    """One of VERDICTS for a change that should be none: within a nat, two standard errors and all."""
    if abs(mean) + tables.CERTAIN * error < 1:
        return "holds"
    return "not at this scale" if tables.verdict(mean, error) == "worse" else "not told apart"


def _verdict(*groups):
    """One of VERDICTS from tables.verdict's words at COMPARED, for each way to compare."""
    words = [word for group in groups for word in group]
    if all(word == "better" for word in words):
        return "holds"
    upto = COMPARED.index(TRAINED) + 1
    if all(word == "better" for group in groups for word in group[:upto]):
        return "weaker"
    return "not at this scale" if "worse" in words else "not told apart"


def draw(results):
    """A row for each encoding: the envelopes against iterations and against processor time."""
    fig, axes = plots.figure(columns=2, rows=len(ENCODINGS), width=5.2, height=3.6)
    keys = [ITERATIVE, *opponents()]
    for row, encoding in zip(axes, ENCODINGS):
        everything = [envelopes(results, encoding, key).mean(axis=0) for key in keys]
        low, high = min(curve.min() for curve in everything), max(curve[0] for curve in everything)
        for key in keys:
            _line(row[0], results, encoding, key, np.array(SHOWN))
            _line(row[1], results, encoding, key, 1000 * seconds(results, encoding, key).mean() * np.array(SHOWN), 1)
        row[0].set_xscale("symlog", linthresh=1)
        row[0].set_xticks([0, 1, 3, 10, 30, 100, 300], ["0", "1", "3", "10", "30", "100", "300"])
        row[0].axvline(TRAINED, color="0.6", linewidth=1, linestyle=":")
        row[0].set(xlabel=f"iterations at most (trained on {TRAINED})", xlim=(-0.1, 400))
        row[0].set(ylabel="test −ELBO (nats per image)")
        row[1].set(xlabel="processor milliseconds for 100 images", xscale="log")
        for ax in row:
            ax.set_ylim(low - 0.03 * (high - low), low + 0.35 * (high - low))
            ax.set_title(f"the model encodes {encoding.replace('+', ' and ')}", fontsize=10)
    axes[0][0].legend(frameon=False, fontsize=7.5)
    return fig


def _line(ax, results, encoding, key, x, first=0):
    colour, marker, dash = LOOKS[key]
    found = envelopes(results, encoding, key)[:, first:]
    look = {"color": colour, "marker": marker, "linestyle": dash, "markersize": 4, "linewidth": 1.4}
    ax.plot(x[first:], found.mean(axis=0), label=key, **look)
    ax.fill_between(x[first:], found.min(axis=0), found.max(axis=0), color=colour, alpha=0.12, linewidth=0)


def report(results):
    lines = [
        f"{len(results['seeds'])} models an encoding; test -ELBO, step size and stop the best for as many iterations"
    ]
    for encoding in ENCODINGS:
        lines.append(
            f"{encoding}; on the right the iteration from which on it stays ahead of the iterative one, each model"
        )
        lines.append(f"  {'iterations':<18}" + "".join(f"{t:>17}" for t in COMPARED) + f"{'ms':>7}")
        for key in (ITERATIVE, *opponents()):
            cells = "".join(f"{over_seeds(at(results, encoding, key, t)):>17}" for t in COMPARED)
            from_on = "" if key == ITERATIVE else ", ".join(f"{t:g}" for t in leads_from(results, encoding, key))
            cost = 1000 * seconds(results, encoding, key).mean()
            lines.append(f"  {key:<18}{cells}{cost:7.1f}   {from_on}".rstrip())
        lines.append("  step sizes after " + ", ".join(map(str, COMPARED)) + " iterations, first model")
        first = panels(results, encoding)[0]
        for key in opponents():
            steps = (chosen(first["walks"][key], SHOWN.index(t) + 1)[0] for t in COMPARED)
            lines.append(f"    {key:<18}{', '.join(steps)}")
        long = [p["long"] for p in panels(results, encoding)]
        words = ", ".join(f"{t}: {over_seeds(_numbers([a[t] for a in long]))}" for t in long[0])
        lines.append(f"  iterative, validation images, after {words}")
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
