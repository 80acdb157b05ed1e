"""What [LI] B.2 and B.4 say of the update and of the KL: gated against residual, analytic against sampled.

    python figures/li_ablation.py           25 small models (about five minutes of one core)
    python figures/li_ablation.py --full    64-512-512-784, all images, 200 epochs
    python figures/li_ablation.py --draw    draws the picture again from the JSON

An iterative inference model that encodes gradients and data, T = 5, one noise sample: with the gated update of [LI] eq. 62
and the KL in closed form; with the residual update of Andrychowicz et al. 2016 instead; with the KL from the noise sample
instead. And a VAE with either KL. All -ELBOs are measured with the KL in closed form, on MNIST's test images, after the
iterations of training and after 100. Each run is measured after as many epochs as the others and after as many processor
seconds (trials.py); the learning rate of each is chosen on 200 validation images with a seed of its own. 2000 training images,
decoder 16-64-64-784.
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
from savi.inference.iterative import Data, Gated, Gradient, Iterative, Residual, network
from savi.studies import trial_tables
from savi.studies.figures import Claim, highway_vae, image_model, scale_in_words, script
from savi.studies.trials import at_both, surviving, trainer, tuned_rate
from savi.sweeps.parallel import cores, run_all

ITERATIVE = {  # name: (update, the KL in training)
    "iterative, gated, analytic KL": (Gated(), savi.AnalyticKL),
    "iterative, residual, analytic KL": (Residual(), savi.AnalyticKL),
    "iterative, gated, sampled KL": (Gated(), savi.SampledKL),
}
VAES = {"VAE, analytic KL": savi.AnalyticKL, "VAE, sampled KL": savi.SampledKL}
SEEDS, TUNING_SEED, TUNING = (0, 1, 2, 3, 4), 100, 0.5  # of the seconds
VALID, TEST, FEW, LONG = 200, 500, 100, 100  # images, FEW of them for the iterations after those of training
CEILING = 1000  # nats: a walk that diverges counts as so much worse
SCALES = {
    False: {"latent": 16, "hidden": [64, 64], "train": 2000, "epochs": 6, "seconds": 4},
    True: {"latent": 64, "hidden": [512, 512], "train": None, "epochs": 200, "seconds": 5000},
}
RUNS = pathlib.Path("runs") / "li_ablation"


def compute(full):
    names = [*ITERATIVE, *VAES]
    rates = dict(zip(names, run_all(tuned, [(full, name) for name in names], cores())))
    items = [(full, name, seed, rates[name]["point"]["learning_rate"]) for seed in SEEDS for name in names]
    rows = []
    for row in run_all(run, items, cores()):
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        rows.append(row)
    return {"data": _images(full).name, "scale": SCALES[full], "seeds": SEEDS, "tuned": rates, "rows": rows}


@functools.lru_cache(maxsize=1)
def _images(full):
    images = savi.data.load("mnist")
    return images._replace(train=images.train[: SCALES[full]["train"]])


def _trainer(full, name, seed):
    """(model, method, train(rate, epochs, out))."""
    scale, seeing = SCALES[full], [Gradient(), Data()]
    if name in VAES:
        model = image_model(scale["latent"], scale["hidden"], VAES[name])
        method = highway_vae(model, scale["hidden"])
    else:
        update, kl = ITERATIVE[name]
        model = image_model(scale["latent"], scale["hidden"], kl)
        method = Iterative(network(model, seeing, scale["hidden"], update), seeing, 5, 1, update)
    return model, method, trainer(model, method, _images(full), seed, VALID)


def _folder(full, *names):
    return str(RUNS.joinpath("full" if full else "small", *names))


def tuned(full, name):
    """The search of a learning rate."""
    *_, train = _trainer(full, name, TUNING_SEED)
    return tuned_rate(_folder(full, name, "tuning"), train, TUNING * SCALES[full]["seconds"])


def run(full, name, seed, rate):
    """A row for tables.paired: the -ELBO at both stops after the iterations of training; of FEW images before and after more."""
    model, method, train = _trainer(full, name, seed)
    judge = image_model(SCALES[full]["latent"], SCALES[full]["hidden"])
    x = savi.data.binarize(_images(full).test[:TEST], np.random.default_rng(0))

    def measure(result):
        def loss(images, steps=None):
            with np.errstate(all="ignore"):  # it may diverge
                lam = infer(model, method, *result[:2], images, np.random.default_rng(1), steps)
                return float(neg_elbo(judge, result.theta, lam, images, np.random.default_rng(2), 20).mean())

        found = {"neg_elbo": loss(x)}
        return found | ({"short": loss(x[:FEW]), "long": loss(x[:FEW], LONG)} if name in ITERATIVE else {})

    folder = _folder(full, name, f"seed{seed}")
    train = surviving(functools.partial(train, rate))
    found = at_both(folder, train, SCALES[full]["epochs"], SCALES[full]["seconds"], measure)
    row = {f"{key} at equal {stop}": value for stop, at in found.items() for key, value in at.items()}
    return {"method": name, "seed": seed} | row


BASE, RESIDUAL, SAMPLED = ITERATIVE


def lost(results, name, stop):
    """By how much the -ELBO is higher after LONG iterations than after those of training, up to CEILING, for each seed."""
    after, before = (tables.values(results, name, trial_tables.key(m, stop)) for m in ("long", "short"))
    return np.minimum(np.nan_to_num(after, nan=np.inf) - before, CEILING)


def pairs():
    """{words: (a, b)}: what is told apart, a minus b."""
    return {
        "gated minus residual": (BASE, RESIDUAL),
        "analytic minus sampled KL, iterative": (BASE, SAMPLED),
        "analytic minus sampled KL, VAE": tuple(VAES),
    }


def claims(results):
    """B.2 and B.4 of [LI]."""
    ours = scale_in_words(results)
    stable, more = {}, {}
    for stop in trial_tables.STOPS:
        gated, residual = (lost(results, name, stop) for name in (BASE, RESIDUAL))
        found = tables.difference(gated, residual)
        stable[stop] = (
            f"-ELBO after {LONG} iterations minus after 5, at most {CEILING}: gated {trial_tables.over_seeds(gated)}, "
            f"residual {trial_tables.over_seeds(residual)}; difference {trial_tables.said(found)}"
        )
        more[stop] = tables.verdict(*found[:2])
    stable["verdict"] = trial_tables.verdict_of(**more)
    analytic, vae = (trial_tables.claim_cells(results, *pair) for pair in list(pairs().values())[1:])
    cells = {stop: f"iterative: {analytic[stop]}; VAE: {vae[stop]}" for stop in trial_tables.STOPS}
    for stop in trial_tables.STOPS:
        key = trial_tables.key("neg_elbo", stop)
        (a, b), (c, d) = ([tables.values(results, name, key) for name in pair] for pair in list(pairs().values())[1:])
        found = tables.difference(a - b, c - d)
        cells[stop] += f"; the first difference minus the second {trial_tables.said(found)}"
        more[stop] = tables.verdict(*found[:2])
    both = trial_tables.worst([analytic["verdict"], trial_tables.verdict_of(**more)])
    gated = trial_tables.claim_cells(results, BASE, RESIDUAL)
    return [
        Claim("[LI] B.2", "the gated update performs better than the residual one", ours, **gated),
        Claim("[LI] B.2", f"and is more stable: here over {LONG} iterations", ours, **stable),
        Claim(
            "[LI] B.4", "the KL in closed form helps an iterative model more than a VAE", ours, **cells, verdict=both
        ),
    ]


def draw(results):
    """Each variant's -ELBO at both stops, after the iterations of training and after many; an arrow where it is off the axis."""
    fig, axes = plots.figure(columns=2, width=5.4, height=3.6)
    labels = [*ITERATIVE, *VAES]
    for ax, stop in zip(axes, ("epochs", "seconds")):
        own = {name: tables.values(results, name, trial_tables.key("neg_elbo", stop)) for name in labels}
        long = {name: own[name] + lost(results, name, stop) for name in ITERATIVE}
        low, high = (end(v.mean() for v in own.values()) for end in (min, max))
        left, right = low - 8, high + 12
        for marker, colour, words, values in (
            ("o", "#0072B2", "after 5 iterations; the VAE's guess", own),
            ("D", "#D55E00", f"after {LONG} iterations", {n: v for n, v in long.items() if v.mean() < right}),
        ):
            names, found = zip(*values.items())
            ax.errorbar(
                [v.mean() for v in found], [labels.index(name) + 0.12 * (marker == "D") for name in names],
                xerr=[v.std(ddof=1) for v in found], fmt=marker, color=colour, capsize=2, label=words,
                fillstyle="full" if marker == "o" else "none",
            )  # fmt: skip
        for name, v in long.items():
            if v.mean() >= right:
                y = labels.index(name) + 0.12
                ax.annotate("", (right, y), (right - 6, y), arrowprops={"arrowstyle": "->", "color": "#D55E00"})
                words = f"after {LONG} iterations {CEILING} nats higher or more"
                ax.text(right - 0.5, y + 0.25, words, color="#D55E00", fontsize=8, ha="right")
        ax.set_yticks(range(len(labels)), labels if ax is axes[0] else [""] * len(labels), fontsize=8)
        ax.invert_yaxis()
        amount = {"epochs": "epochs", "seconds": "processor seconds"}[stop]
        ax.set(
            xlabel="test −ELBO (nats per image)", title=f"{results['scale'][stop]} {amount} each", xlim=(left, right)
        )
    axes[1].legend(frameon=False, fontsize=8, loc="lower right")
    return fig


def report(results):
    lines = []
    for stop in trial_tables.STOPS:
        lines.append(
            f"at equal {stop} ({results['scale'][stop]}): test -ELBO after 5 iterations, after {LONG}; learning rate"
        )
        for name in (*ITERATIVE, *VAES):
            own = trial_tables.over_seeds(tables.values(results, name, trial_tables.key("neg_elbo", stop)))
            more = f"{trial_tables.over_seeds(lost(results, name, stop))}" if name in ITERATIVE else ""
            lines.append(f"  {name:<34}{own:>18}{more:>18}{results['tuned'][name]['point']['learning_rate']:9g}")
        for words, (a, b) in pairs().items():
            found = tables.paired(results, a, b, trial_tables.key("neg_elbo", stop))
            lines.append(f"  {words}: {trial_tables.said(found)}")
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
