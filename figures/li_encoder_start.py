"""An iterative model that starts from an encoder, beside its opponents at equal processor seconds.

    python figures/li_encoder_start.py           three data sets, five seeds (about half an hour on two cores)
    python figures/li_encoder_start.py --full    ten times the seconds
    python figures/li_encoder_start.py --draw    draws the picture again from the JSON

An encoder proposes lam_0 and an iterative model that sees gradients refines it, T = 1 or 2 iterations in training, theta at
the last or at every iteration; both learn together. Opponents: the VAE alone and refined by SVI at test time, VAE+SVI, and
the iterative model of [LI] Table 1, which starts from the prior. After each iterative model SVI is measured as well. Decoder
32-128-128-784 (ELU, Bernoulli) on 8000 images of MNIST and on 1000 and 8000 glyphs. What is tuned for each method on
validation images stands in learning_to_infer.py. The runs on MNIST are those of li_table1.py where they are there.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments import tables, trial_tables
from savi.experiments.figures import Claim, script
from savi.experiments.learning_to_infer import METHODS, Setup, baseline, trial, tuned
from savi.experiments.parallel import cores, run_all

SEEDS, NAMES, RUNS = (0, 1, 2, 3, 4), tuple(METHODS), "runs/learning_to_infer"
SMALL = {  # epochs and processor seconds of a run
    "8000 of MNIST": Setup("mnist", None, 32, (128, 128), 5, 16, RUNS),
    "1000 glyphs": Setup("glyphs", 1000, 32, (128, 128), 20, 6, RUNS),
    "8000 glyphs": Setup("glyphs", 8000, 32, (128, 128), 4, 10, RUNS),
}


def compute(full):
    setups = {key: s._replace(seconds=10 * s.seconds) for key, s in SMALL.items()} if full else SMALL
    searches = [(setup, name) for setup in setups.values() for name in NAMES]
    found = iter(run_all(tuned, searches, cores()))
    results = {key: {"setup": setup._asdict()} for key, setup in setups.items()}
    for panel in results.values():
        panel["tuned"] = {name: next(found) for name in NAMES}
    items = [(setup, name, seed) for setup in setups.values() for seed in SEEDS for name in NAMES]
    done = iter(run_all(trial, items, cores()))
    for key, setup in setups.items():
        results[key] |= {"baseline": baseline(setup), "trials": []}
        for _ in range(len(SEEDS) * len(NAMES)):
            results[key]["trials"].append(next(done))
            print(key, results[key]["trials"][-1], flush=True)
    return results


PRIOR, REFINED = METHODS["iterative"].label, METHODS["vae-then-svi"].label


def table_rows(panel):
    """{"rows": ...} for tables.paired of one data set."""
    return {"rows": trial_tables.rows(panel["trials"], METHODS)}


def ranking(found, measure, stop="seconds"):
    """The methods of {"rows": ...}, the lowest mean first."""
    labels = dict.fromkeys(row["method"] for row in found["rows"])
    return sorted(labels, key=lambda label: tables.values(found, label, trial_tables.key(measure, stop)).mean())


def preferred(panel):
    """The label of the model that starts from an encoder and has the lowest validation -ELBO in its search."""
    names = [name for name in NAMES if name.startswith("encoder")]
    return METHODS[min(names, key=lambda name: min(row["loss"] for row in panel["tuned"][name]["curve"]))].label


def claims(results):
    """Section 5.3 of [LI] on each data set: from the prior, and started from an encoder against the best opponent."""
    rows = []
    for data, panel in results.items():
        found, setup = table_rows(panel), panel["setup"]
        nets = "-".join(map(str, (setup["latent"], *setup["hidden"], 784)))
        scale = (
            f"{data}, {nets}, {setup['epochs']:g} epochs or {setup['seconds']:g} processor seconds, five seeds, learning rate, "
            "samples and hidden layers tuned for each method (60,000 images of MNIST, 1500 epochs)"
        )
        text = "iterative inference models are better than a VAE"
        started = preferred(panel)
        for source, name, other in (
            ("from the prior", PRIOR, "VAE"),
            ("from an encoder", started, "VAE"),
            ("from an encoder, and SVI after both", f"{started}, then SVI", REFINED),
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
            values = [tables.values(found, label, trial_tables.key(measure, "seconds")) for label in labels]
            ax.errorbar(
                [v.mean() for v in values], range(len(labels)), xerr=[v.std(ddof=1) for v in values], fmt=marker,
                color=colour, fillstyle="full" if measure == "neg_elbo" else "none", capsize=2, markersize=6, label=words,
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
            f"{data}, {panel['setup']['seconds']:g} processor seconds or {panel['setup']['epochs']:g} epochs, five seeds"
        ]
        lines += [f"  {line}" for line in trial_tables.table(found, panel["baseline"])]
        for measure, words in (("neg_elbo", "-ELBO"), ("nll", "-log p(x)")):
            first, second = ranking(found, measure)[:2]
            lines.append(f"  lowest {words} at equal seconds, and the next:")
            lines += [f"    {line}" for line in trial_tables.differences(found, first, [second], measure)]
        started = preferred(panel)
        lines.append("  started from an encoder, the one that validation images prefer, -ELBO:")
        for name, others in (
            (started, ["VAE", REFINED, "VAE+SVI", PRIOR]),
            (f"{started}, then SVI", [REFINED, "VAE+SVI"]),
        ):
            lines += [f"    {line}" for line in trial_tables.differences(found, name, others)]
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
