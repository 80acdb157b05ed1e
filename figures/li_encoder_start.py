"""An iterative model that starts from an encoder, beside its opponents at equal processor seconds.

    python figures/li_encoder_start.py           two data sets (about fifteen minutes of one core)
    python figures/li_encoder_start.py --full    ten times the seconds
    python figures/li_encoder_start.py --draw    draws the picture again from the JSON

An encoder proposes lam_0 and an iterative model that sees gradients refines it, T = 1 or 2 iterations in training; both learn
together. Opponent: the VAE that SVI refines at test time. After each iterative model SVI is measured as well. Decoder
16-64-64-784 (ELU, Bernoulli) on 8000 images of MNIST and on 8000 glyphs; -log p(x) by 100 importance samples. What is tuned for
each method on validation images, by runs with a seed of their own, stands in learning_to_infer.py. The number of iterations at
test time is the smallest that no larger one betters for certain on 500 validation images, of those up to which none of them
rises by 10 nats: it can be 0, and then the guess of the encoder is what counts.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments import tables
from savi.studies import trial_tables
from savi.studies.figures import Claim, script
from savi.studies.learning_to_infer import METHODS, Setup, baseline, trial, tuned
from savi.sweeps.parallel import cores, run_all

SEEDS, RUNS = (0, 1, 2), "runs/learning_to_infer"
NAMES = ("vae-then-svi", "encoder-1", "encoder-2")
SMALL = {  # epochs and processor seconds of a run
    "8000 of MNIST": Setup("mnist", None, 16, (64, 64), 4, 6, RUNS, 100),
    "8000 glyphs": Setup("glyphs", 8000, 16, (64, 64), 4, 6, RUNS, 100),
}


def compute(full):
    results = {}
    for key, setup in SMALL.items():
        setup = setup._replace(seconds=10 * setup.seconds) if full else setup
        found = dict(zip(NAMES, run_all(tuned, [(setup, name) for name in NAMES], cores())))
        results[key] = {"setup": setup._asdict(), "tuned": found, "baseline": baseline(setup), "trials": []}
        for row in run_all(trial, [(setup, name, seed) for seed in SEEDS for name in NAMES], cores()):
            results[key]["trials"].append(row)
            print(key, row, flush=True)
    return results


REFINED = METHODS["vae-then-svi"].label


def table_rows(panel):
    """{"rows": ...} for tables.paired of one data set."""
    return {"rows": trial_tables.rows(panel["trials"], METHODS)}


def ranking(found, measure, stop="seconds"):
    """The methods of {"rows": ...}, the lowest mean first."""
    labels = dict.fromkeys(row["method"] for row in found["rows"])
    means = {label: tables.values(found, label, trial_tables.key(measure, stop)).mean() for label in labels}
    return sorted(labels, key=lambda label: np.nan_to_num(means[label], nan=np.inf))


def preferred(panel):
    """The label of the model that starts from an encoder and has the lowest validation -ELBO in its search."""
    names = [name for name in panel["tuned"] if name.startswith("encoder")]
    return METHODS[min(names, key=lambda name: min(row["loss"] for row in panel["tuned"][name]["curve"]))].label


def seeds(panel):
    """How many seeds there are."""
    return len({row["seed"] for row in panel["trials"]})


def claims(results):
    """Section 5.3 of [LI] on each data set, of a model that starts from an encoder: against the VAE that SVI refines."""
    rows = []
    for data, panel in results.items():
        found, setup = table_rows(panel), panel["setup"]
        nets = "-".join(map(str, (setup["latent"], *setup["hidden"], 784)))
        scale = (
            f"{data}, {nets}, {setup['epochs']:g} epochs or {setup['seconds']:g} processor seconds, {seeds(panel)} seeds, "
            "learning rate, samples and hidden layers tuned for each method (60,000 images of MNIST, 1500 epochs)"
        )
        text = "iterative inference models are better than a VAE; here one that SVI refines"
        started = preferred(panel)
        for source, name, other in (
            ("from an encoder", started, REFINED),
            ("from an encoder, SVI after both", f"{started}, then SVI", REFINED),
        ):
            cells = trial_tables.claim_cells(found, name, other)
            rows.append(Claim(f"[LI] section 5.3, {data}, {source}", text, scale, **cells))
    return rows


def draw(results):
    """-ELBO and -log p(x) at equal seconds, a column for each data set."""
    fig, axes = plots.figure(columns=len(results), width=4.6, height=4.6)
    for ax, (data, panel) in zip(axes, results.items()):
        found = table_rows(panel)
        labels = list(dict.fromkeys(row["method"] for row in found["rows"]))
        for measure, marker, colour, words in (
            ("neg_elbo", "o", "#0072B2", "−ELBO"),
            ("nll", "D", "#D55E00", "−log p(x)"),
        ):
            key = trial_tables.key(measure, "seconds")
            means, spreads = zip(*(trial_tables.mean_and_spread(tables.values(found, name, key)) for name in labels))
            ax.errorbar(
                means, range(len(labels)), xerr=spreads, fmt=marker, color=colour, capsize=2, markersize=6, label=words,
                fillstyle="full" if measure == "neg_elbo" else "none",
            )  # fmt: skip
        first = ax is axes[0]
        ax.set_yticks(range(len(labels)), labels if first else [""] * len(labels), fontsize=8)
        ax.invert_yaxis()
        seconds = panel["setup"]["seconds"]
        ax.set(xlabel="nats per test image", title=f"{data}, {seconds:g} processor seconds")
    axes[0].legend(frameon=False, fontsize=8)
    return fig


def report(results):
    lines = []
    for data, panel in results.items():
        found = table_rows(panel)
        lines += [
            f"{data}, {panel['setup']['seconds']:g} processor seconds or {panel['setup']['epochs']:g} epochs, {seeds(panel)} seeds"
        ]
        lines += [f"  {line}" for line in trial_tables.table(found, panel["baseline"])]
        for measure, words in (("neg_elbo", "-ELBO"), ("nll", "-log p(x)")):
            first, second = ranking(found, measure)[:2]
            lines.append(f"  lowest {words} at equal seconds, and the next:")
            lines += [f"    {line}" for line in trial_tables.differences(found, first, [second], measure)]
        started = preferred(panel)
        lines.append("  started from an encoder, the one that validation images prefer, -ELBO:")
        for name, others in (
            (started, [REFINED]),
            (f"{started}, then SVI", [REFINED]),
        ):
            lines += [f"    {line}" for line in trial_tables.differences(found, name, others)]
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
