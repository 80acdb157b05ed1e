"""Whether a state helps an iterative model beyond the iterations it was trained on: [LI] B.3.

    python figures/li_recurrent.py           15 small models (about three minutes of one core)
    python figures/li_recurrent.py --full    64-512-512-784, all images, 200 epochs: not yet run
    python figures/li_recurrent.py --draw    draws the picture again from the JSON

Three iterative models that encode gradients alone, with one noise sample, trained on T = 4 iterations and tested on 1 to 32:
feed-forward; with a GRU's state whose gradient stays within an iteration (truncated); and with one whose gradient goes back
through all iterations, as in the source. Their two hidden layers have the same width; the second one is a highway layer or
the GRU, with which there are twice as many parameters. MNIST, 2000 training images, decoder 16-64-64-784, 500 test images.
Each run is measured after as many epochs as the others and after as many processor seconds (trials.py); the learning rate of
each is chosen on 200 validation images after 4 iterations with a seed of its own. Drift: the -ELBO after 32 iterations above
the lowest on the way there.
"""

import functools
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments import tables
from savi.experiments.evaluation import neg_elbo, path
from savi.inference.iterative import Gradient, Iterative, network
from savi.inference.recurrent import recurrent_network
from savi.studies import trial_tables
from savi.studies.figures import Claim, image_model, scale_in_words, script
from savi.studies.trials import at_both, surviving, trainer, tuned_rate
from savi.sweeps.parallel import cores, run_all

FORWARD, TRUNCATED, THROUGH = "feed-forward", "GRU, truncated", "GRU, through time"
NAMES, ITERATIONS, SHOWN = (FORWARD, TRUNCATED, THROUGH), 4, (0, 1, 2, 4, 8, 16, 32)
SEEDS, TUNING_SEED, TUNING, VALID, TEST = (0, 1, 2, 3, 4), 100, 0.5, 200, 500  # TUNING: of the seconds
CEILING = 1000  # nats: an -ELBO that is higher, or that is none, counts as so much
SCALES = {
    False: {"latent": 16, "hidden": [64, 64], "train": 2000, "epochs": 10, "seconds": 6},
    True: {"latent": 64, "hidden": [512, 512], "train": None, "epochs": 200, "seconds": 5000},
}
RUNS = pathlib.Path("runs") / "li_recurrent"


def compute(full):
    rates = dict(zip(NAMES, run_all(tuned, [(full, name) for name in NAMES], cores())))
    items = [(full, name, seed, rates[name]["point"]["learning_rate"]) for seed in SEEDS for name in NAMES]
    rows = []
    for row in run_all(run, items, cores()):
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        rows.append(row)
    return {"data": _images(full).name, "scale": SCALES[full], "seeds": SEEDS, "tuned": rates, "rows": rows}


@functools.lru_cache(maxsize=1)
def _images(full):
    images = savi.data.load("mnist")
    return images._replace(train=images.train[: SCALES[full]["train"]])


def method_of(name, model, hidden):
    """The iterative model of that name, its two hidden layers of the same width."""
    if name == FORWARD:
        net = network(model, [Gradient()], hidden)
    else:
        net = recurrent_network(model, [Gradient()], hidden[:1], hidden[1], through_time=name == THROUGH)
    return Iterative(net, [Gradient()], ITERATIONS, 1)


def _trainer(full, name, seed):
    """(model, method, train(rate, epochs, out))."""
    scale = SCALES[full]
    model = image_model(scale["latent"], scale["hidden"])
    method = method_of(name, model, scale["hidden"])
    return model, method, trainer(model, method, _images(full), seed, VALID)


def _folder(full, *names):
    return str(RUNS.joinpath("full" if full else "small", *names))


def tuned(full, name):
    """The search of a learning rate."""
    *_, train = _trainer(full, name, TUNING_SEED)
    return tuned_rate(_folder(full, name, "tuning"), train, TUNING * SCALES[full]["seconds"])


def run(full, name, seed, rate):
    """A row for tables.paired: the test -ELBO at both stops after each of SHOWN iterations."""
    model, method, train = _trainer(full, name, seed)
    x = savi.data.binarize(_images(full).test[:TEST], np.random.default_rng(0))

    def measure(result):
        with np.errstate(all="ignore"):  # it may diverge
            lams = path(model, method, *result[:2], x, np.random.default_rng(1), SHOWN[-1])
            losses = [
                neg_elbo(model, result.theta, lams[t], x, np.random.default_rng(2), 20).mean(dtype=float) for t in SHOWN
            ]
        return {after(t): bounded(loss) for t, loss in zip(SHOWN, losses)}

    folder = _folder(full, name, f"seed{seed}")
    found = at_both(folder, surviving(functools.partial(train, rate)), *_costs(full), measure)
    row = {trial_tables.key(key, stop): value for stop, at in found.items() for key, value in at.items()}
    return {"method": name, "seed": seed} | row


def _costs(full):
    return SCALES[full]["epochs"], SCALES[full]["seconds"]


def after(t):
    """The name of the -ELBO after t iterations."""
    return f"neg_elbo after {t}"


def bounded(loss):
    """An -ELBO up to CEILING, which stands for one that is none."""
    return float(np.minimum(np.nan_to_num(loss, nan=np.inf), CEILING))


def curve(results, name, stop):
    """-ELBO (iterations shown, seeds)."""
    return np.array([tables.values(results, name, trial_tables.key(after(t), stop)) for t in SHOWN])


def drift(results, name, stop):
    """By how much the -ELBO after the last of SHOWN is above the lowest on the way there, for each seed."""
    found = curve(results, name, stop)
    return found[-1] - found.min(axis=0)


def claims(results):
    """B.3 of [LI]: with the iterations of training, beyond them, and how far each model leaves what it had."""
    scale, rows = scale_in_words(results), []
    text = "a state sees beyond the local curvature, a feed-forward model does not: "
    for t, words in ((ITERATIONS, "with the iterations of training"), (SHOWN[-1], "beyond them")):
        cells = trial_tables.claim_cells(results, THROUGH, FORWARD, after(t))
        other = trial_tables.claim_cells(results, TRUNCATED, FORWARD, after(t))
        for stop in trial_tables.STOPS:
            cells[stop] = f"after {t} iterations {cells[stop]}; {other[stop]}"
        rows.append(Claim(f"[LI] B.3, {t} iterations", text + words, scale, **cells))
    cells, verdicts = {}, {}
    for stop in trial_tables.STOPS:
        found = {name: drift(results, name, stop) for name in NAMES}
        d = tables.difference(found[THROUGH], found[FORWARD])
        shown = ", ".join(f"{name} {trial_tables.over_seeds(values)}" for name, values in found.items())
        cells[stop] = f"{shown}; through time minus feed-forward {trial_tables.said(d)}"
        verdicts[stop] = tables.verdict(*d[:2])
    source = f"[LI] B.3, {SHOWN[-1]} iterations"
    text = f"and stays better where it arrived: -ELBO after {SHOWN[-1]} iterations above the lowest on the way"
    return [*rows, Claim(source, text, scale, **cells, verdict=trial_tables.verdict_of(**verdicts))]


def draw(results):
    """-ELBO over test-time iterations at both stops, each seed a thin line."""
    fig, axes = plots.figure(columns=2, width=4.8, height=3.8)
    looks = dict(zip(NAMES, (("#0072B2", "o", "-"), ("#E69F00", "s", "--"), ("#000000", "D", ":"))))
    for ax, stop in zip(axes, ("epochs", "seconds")):
        for name, (colour, marker, style) in looks.items():
            found = curve(results, name, stop)[1:]
            ax.plot(SHOWN[1:], found, color=colour, linewidth=0.6, alpha=0.4, linestyle=style)
            ax.plot(
                SHOWN[1:], found.mean(axis=1), color=colour, marker=marker, linestyle=style, markersize=5, label=name,
                fillstyle="none" if marker == "s" else "full",
            )  # fmt: skip
        ax.axvline(ITERATIONS, color="0.6", linewidth=1)
        amount = {"epochs": "epochs", "seconds": "processor seconds"}[stop]
        ax.set_xscale("log", base=2)
        ax.set_xticks(SHOWN[1:], SHOWN[1:])
        ax.set(
            xlabel=f"iterations at test time (trained on {ITERATIONS})", ylabel="test −ELBO (nats per image)",
            title=f"{results['scale'][stop]} {amount} each",
        )  # fmt: skip
    axes[1].legend(frameon=False, fontsize=8)
    return fig


def report(results):
    lines = []
    for stop in trial_tables.STOPS:
        lines.append(f"at equal {stop} ({results['scale'][stop]}): test -ELBO after so many iterations; drift; rate")
        shown = (1, ITERATIONS, *SHOWN[SHOWN.index(ITERATIONS) + 1 :])
        lines.append(" " * 20 + "".join(f"{t:>18}" for t in shown))
        for name in NAMES:
            found = dict(zip(SHOWN, curve(results, name, stop)))
            values = [*(found[t] for t in shown), drift(results, name, stop)]
            cells = "".join(f"{trial_tables.over_seeds(v):>18}" for v in values)
            lines.append(f"  {name:<18}{cells}{results['tuned'][name]['point']['learning_rate']:9g}")
        for name in (TRUNCATED, THROUGH):
            for t in (ITERATIONS, SHOWN[-1]):
                found = tables.paired(results, name, FORWARD, trial_tables.key(after(t), stop))
                lines.append(f"  {name} minus {FORWARD} after {t}: {trial_tables.said(found)}")
            d = tables.difference(drift(results, name, stop), drift(results, FORWARD, stop))
            lines.append(f"  drift, {name} minus {FORWARD}: {trial_tables.said(d)}")
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
