"""Table 1 of [LI] with two levels: z^2 -> z^1 -> x beside one level, on MNIST and on glyphs, at two costs.

    python figures/li_two_levels.py           two data sets, three seeds (about twelve minutes of one core)
    python figures/li_two_levels.py --full    the source's size, 64 and 32 latents, nets of 512 and 256 units: not yet run
    python figures/li_two_levels.py --draw    draws the picture again from the JSON

Decoder 16-128-128-784 (ELU, Bernoulli); with two levels p(z^1 | z^2) above it, 8-64-64-32, its means and variances given by the
net. Methods: the VAE, one encoder for all levels; the iterative model of errors and data from the prior, T = 5, one network for
all levels; one of gradients that starts from an encoder, T = 1. Each is measured without and with SVI at test time, after as
many epochs as all others and after as many processor seconds of its own training steps (trials.py), on 500 test images, log p(x)
by 200 importance samples on 200 of them. The learning rate of each method is chosen on validation images by runs with a seed of
their own, for each number of levels; noise samples (1) and hidden layers between x and lam (2) are the same for all. How SVI and
iterations at test time are chosen stands in learning_to_infer.py.
KL of each level: E_q[KL(q(z^l) || p(z^l | z^{l+1}))]; a level of less than 0.5 nats an image is said to have collapsed.
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

SEEDS, RUNS, COLLAPSED = (0, 1, 2), "runs/li_two_levels", 0.5
NAMES = ("vae-both", "iterative", "encoder-1")
DATA = {"8000 of MNIST": ("mnist", None), "8000 glyphs": ("glyphs", 8000)}
FIXED = {"samples": 1, "layers": 2}
SIZES = {  # latents of z^1 and of z^2, units of the decoder's layers; epochs and processor seconds of a run; importance samples
    False: (16, 8, (128, 128), 2, 8, 200),
    True: (64, 32, (512, 512), 100, 2000, 5000),
}


def setups(full):
    """{(data, "one" or "two"): Setup}."""
    latent, above, hidden, epochs, seconds, samples = SIZES[full]
    return {
        (words, depth): Setup(*data, latent, hidden, epochs, seconds, RUNS, samples, levels, FIXED)
        for words, data in DATA.items()
        for depth, levels in (("one", ()), ("two", (above,)))
    }


def compute(full):
    results = {}
    for (data, depth), setup in setups(full).items():
        panel = {"setup": setup._asdict(), "baseline": baseline(setup), "trials": []}
        panel["tuned"] = dict(zip(NAMES, run_all(tuned, [(setup, name) for name in NAMES], cores())))
        for row in run_all(trial, [(setup, name, seed) for seed in SEEDS for name in NAMES], cores()):
            panel["trials"].append(row)
            print(data, depth, row, flush=True)
        results.setdefault(data, {})[depth] = panel
    return results


VAE, ITERATIVE, STARTED = (METHODS[name].label for name in ("vae-both", "iterative", "encoder-1"))
DEPTHS = {"one": "one level", "two": "two levels"}


def table_rows(panel):
    """{"rows": ...} for tables.paired of one data set and depth."""
    return {"rows": trial_tables.rows(panel["trials"], METHODS)}


def side_by_side(panels):
    """{"rows": ...} of both depths of a data set, "LABEL, one level" beside "LABEL, two levels"."""
    return {
        "rows": [
            row | {"method": f"{row['method']}, {words}"}
            for depth, words in DEPTHS.items()
            for row in table_rows(panels[depth])["rows"]
        ]
    }


def two_minus_one(panels, label):
    """What the second level brings a method in -log p(x), at both costs."""
    both = side_by_side(panels)
    found = {
        stop: [tables.values(both, f"{label}, {words}", trial_tables.key("nll", stop)) for words in DEPTHS.values()]
        for stop in trial_tables.STOPS
    }
    return "; ".join(f"equal {stop} {trial_tables.between(two, one)}" for stop, (one, two) in found.items())


def labels(found):
    """The methods of {"rows": ...}, in order."""
    return list(dict.fromkeys(row["method"] for row in found["rows"]))


def kls(found, label, stop="seconds"):
    """Each level's KL (levels, seeds), the lowest first."""
    keys = [trial_tables.key(f"kl_{l}", stop) for l in (1, 2)]
    return np.array([tables.values(found, label, key) for key in keys])


def use(found, label, stop="seconds"):
    """What there is to say of the use that a method makes of its two levels."""
    below, above = kls(found, label, stop)
    left = trial_tables.finite(above)
    words = f"KL of z^1 {trial_tables.over_seeds(below)}, of z^2 {trial_tables.over_seeds(above)}"
    asleep = int((left < COLLAPSED).sum())
    return words + (f", z^2 collapsed in {asleep} of {len(left)} seeds" if asleep else "")


def less(found, label, stop="seconds"):
    """The KL of z^2 minus the VAE's, paired by seed, in words; nothing for the VAE itself."""
    mean, error, n, below = tables.difference(kls(found, label, stop)[1], kls(found, VAE, stop)[1])
    return "" if label == VAE else f"; z^2 minus the VAE's {mean:+.2f} ± {error:.2f} (lower in {below} of {n})"


def scale_in_words(panels):
    """The scale of a Claim, beside the source's."""
    setup = panels["two"]["setup"]
    (above,), seeds = setup["levels"], len({row["seed"] for row in panels["two"]["trials"]})
    units = setup["hidden"][0]
    return (
        f"8000 images, {setup['latent']} and {above} latents, nets of {units} and {units // 2} units, {setup['epochs']:g} "
        f"epochs or {setup['seconds']:g} processor seconds, {seeds} seeds, learning rate tuned (60,000 images, 64 and 32 "
        "latents, 512 and 256 units, 1500 epochs)"
    )


def claims(results):
    """Table 1 of [LI] with two levels: iterative against VAE, two levels against one, and what they are used for."""
    rows = []
    for data, panels in results.items():
        scale, found, both = scale_in_words(panels), table_rows(panels["two"]), side_by_side(panels)
        refined = f"{VAE}, then SVI"
        for name, words in ((ITERATIVE, "from the prior"), (STARTED, "from an encoder")):
            cells = trial_tables.claim_cells(found, name, VAE, "nll")
            for stop in trial_tables.STOPS:
                other = trial_tables.said(tables.paired(found, name, refined, trial_tables.key("nll", stop)))
                cells[stop] += f"; minus {refined}: {other}"
            text = "-log p(x): VAE 82.63 ± 0.01, iterative (errors and data, T = 5) 82.457 ± 0.001 (MNIST)"
            rows.append(Claim(f"[LI] Table 1, two levels, {data}, {words}", text, scale, **cells))
        for name, text in ((VAE, "VAE 84.14 to 82.63"), (ITERATIVE, "iterative 83.84 to 82.457")):
            two, one = (f"{name}, {DEPTHS[depth]}" for depth in ("two", "one"))
            cells = trial_tables.claim_cells(both, two, one, "nll")
            for stop in trial_tables.STOPS:
                cells[stop] += f"; {use(found, name, stop)}"
            source = f"[LI] Table 1, two levels against one, {data}"
            rows.append(Claim(source, f"two levels are better than one (-log p(x)): {text} (MNIST)", scale, **cells))
    return rows


def draw(results):
    """-log p(x) at equal seconds with one level and with two; the KL of each level. A line for each data set."""
    fig, axes = plots.figure(columns=2, rows=len(results), width=5.6, height=3.4)
    for line, (data, panels) in zip(np.reshape(axes, (-1, 2)), results.items()):
        found = {depth: table_rows(panel) for depth, panel in panels.items()}
        names = labels(found["two"])
        seconds = panels["two"]["setup"]["seconds"]
        for depth, marker, colour, shift in (("one", "o", "#0072B2", -0.13), ("two", "D", "#D55E00", 0.13)):
            shown = [name for name in names if name in labels(found[depth])]
            at = trial_tables.key("nll", "seconds")
            means, spreads = zip(
                *(trial_tables.mean_and_spread(tables.values(found[depth], name, at)) for name in shown)
            )
            line[0].errorbar(
                means, [names.index(name) + shift for name in shown], xerr=spreads, fmt=marker, color=colour, capsize=2,
                markersize=6, label=DEPTHS[depth], fillstyle="full" if depth == "one" else "none",
            )  # fmt: skip
        below, above = np.array([[trial_tables.mean_and_spread(v)[0] for v in kls(found["two"], n)] for n in names]).T
        line[1].barh(range(len(names)), below, height=0.6, color="0.8", edgecolor="0.4", label="$z^1$")
        line[1].barh(
            range(len(names)), above, left=below, height=0.6, color="#D55E00", edgecolor="0.2", hatch="//",
            label="$z^2$",
        )  # fmt: skip
        for ax, words in zip(line, ("-log p(x), nats per test image", "KL of each of two levels, nats per test image")):
            ax.set_yticks(range(len(names)), names if ax is line[0] else [""] * len(names), fontsize=8)
            ax.set_ylim(len(names) - 0.5, -0.5)
            ax.set(xlabel=words, title=f"{data}, {seconds:g} processor seconds")
            ax.legend(frameon=False, fontsize=8)
    return fig


def report(results):
    lines = []
    for data, panels in results.items():
        for depth, panel in panels.items():
            found, setup = table_rows(panel), panel["setup"]
            lines.append(
                f"{data}, {DEPTHS[depth]}, {setup['seconds']:g} processor seconds or {setup['epochs']:g} epochs, "
                f"{len({row['seed'] for row in panel['trials']})} seeds"
            )
            lines += [f"  {line}" for line in trial_tables.table(found, panel["baseline"])]
            rates = [f"{METHODS[name].label} {t['point']['learning_rate']:g}" for name, t in panel["tuned"].items()]
            lines.append(f"  learning rates: {'; '.join(rates)}")
        lines += [f"  {label}: {use(found, label)}{less(found, label)}" for label in labels(found)]
        lines.append("  -log p(x), differences paired by seed, with their standard error")
        others = [VAE, f"{VAE}, then SVI"]
        names = labels(found)[2:]
        lines += [f"    {line}" for name in names for line in trial_tables.differences(found, name, others, "nll")]
        lines.append("  two levels minus one, -log p(x)")
        lines += [f"    {name}: {two_minus_one(panels, name)}" for name in labels(table_rows(panels["one"]))]
    return "\n".join(lines)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
