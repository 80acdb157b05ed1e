"""Where semi-amortization pays: against the number of training examples, with encoders that overfit less.

    python figures/where_it_pays.py           glyphs and MNIST (an hour on one idle core)
    python figures/where_it_pays.py --full    more sizes and encoders, iterative models, sequences of known oracles; not measured
    python figures/where_it_pays.py --draw    draws the picture again from the JSON

SA-VAE stands against a VAE, the VAE that SVI refines at test time alone (the same training run), and VAE+SVI, which trains at
the refined lam and differentiates no step; each with a deep encoder and the usual cures of one that overfits. Each run has
the same processor seconds of its own training steps, and is judged on 200 validation examples at ten stages: its best stage
counts, within the whole budget and within a quarter of it, from the same run. Learning rate and inner step are chosen for each
method on validation examples of runs with a seed of their own; SVI's step at test time for each run. Ten inner steps,
momentum, clip and the decoder 16-64-64-784 are not tuned. Where the loss comes from is split over time for one size. What was
done lies in runs/where_it_pays, and a second call goes on from there.
"""

import functools
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi.engine import threads
from savi.experiments import plots
from savi.experiments.tables import CERTAIN, verdict
from savi.studies import cure_tables as tables
from savi.studies.cure_runs import settled, trial
from savi.studies.cures import SETTLED, Setup
from savi.studies.figures import Claim, rounded, script
from savi.studies.gaps_over_time import split
from savi.studies.trial_tables import summed_up

RUNS = str(pathlib.Path("runs") / "where_it_pays")
SIZES = {  # data: {training examples, None for all: processor seconds of a run}
    False: {"glyphs": {100: 5, 300: 5, 1000: 12, None: 8}, "mnist": {100: 5, 300: 5, 1000: 6, 8000: 6}},
    True: {
        "glyphs": {100: 20, 300: 30, 1000: 60, 3000: 60, None: 120},
        "mnist": {100: 20, 300: 30, 1000: 60, 3000: 60, 8000: 60},
        "sequences": {100: 60, 300: 60, 1000: 60},
    },
}
REFERENCE = {False: 12, True: 60}  # seconds of the runs on 1000 examples in which learning rates are chosen
CURES = {"glyphs": ("mlp", "linear"), "mnist": ("mlp", "linear"), "sequences": ("lstm", "small", "decay")}
MORE_CURES = ("dropout", "noise", "small", "decay")  # of images
MORE = {
    False: {("glyphs", 300): MORE_CURES},
    True: {(d, n): MORE_CURES for d in ("glyphs", "mnist") for n in (100, 300, 1000)},
}
TRAINED, SEEDS = ("vae", "vae+svi", "sa-vae"), (0, 1, 2, 3, 4)
ITERATIVE = {("glyphs", 300): ("iterative", "error+data"), ("glyphs", 1000): ("iterative", "error+data")}  # of --full
METHODS, OPPONENTS = ("vae", "vae-then-svi", "vae+svi", "sa-vae"), ("vae", "vae-then-svi", "vae+svi")
SPLIT = ("glyphs", 1000)  # data, training examples of what is split over time
SPLITS = (("vae", "mlp"), ("vae+svi", "mlp"), ("sa-vae", "mlp"), ("vae", "linear"))
TITLES = {"glyphs": "glyphs", "mnist": "MNIST (10k file)", "sequences": "sequences, oracle known"}


def setup(data, n, full):
    """The Setup of a data set and number of training examples."""
    return Setup(data, n, SIZES[full][data][n], RUNS, settled_at=(1000, REFERENCE[full]))


def plan(full):
    """[(setup, method, cure, seed), ...], the trials, in the order in which they are done."""
    cells = []
    for data, sizes in SIZES[full].items():
        for n in sizes:
            at = setup(data, n, full)
            cells += [(at, m, c) for c in (*CURES[data], *MORE[full].get((data, n), ())) for m in TRAINED]
            cells += [(at, m, "mlp") for m in ITERATIVE.get((data, n), ()) if full]
    return [(*cell, seed) for cell in cells for seed in SEEDS]


def splits(full):
    """[(setup, method, cure, seed), ...] of what is split over time."""
    data, n = SPLIT
    return [(setup(data, n, full), method, cure, seed) for method, cure in SPLITS for seed in SEEDS]


def compute(full):
    trials = plan(full)
    print(f"{len(trials)} runs, {sum(at.seconds for at, *_ in trials)} processor seconds of training", flush=True)
    with threads.using(1):
        rows, points, seconds = [], {}, {}
        for at, method, cure, seed in trials:
            found = trial(at, method, cure, seed)
            rows += tables.flat(at.data, examples(at), found)
            points[f"{at.data} {examples(at)} {method} {cure}"] = found["point"]
            seconds[f"{at.data} {examples(at)}"] = at.seconds
        searched = dict.fromkeys((at, m, c) for at, m, c, _ in trials if c in SETTLED)
        curves = {f"{at.data} {examples(at)} {m} {c}": settled(at, m, c)["curve"] for at, m, c in searched}
        parts = [split(*item) for item in splits(full)]
    return rounded({"seconds": seconds, "rows": rows, "points": points, "searches": curves, "splits": parts})


@functools.cache
def examples(at):
    """How many training examples a setup has."""
    return len(at.problem(0).dataset.train)


def sizes_of(results, data):
    """Numbers of training examples of a data set, ascending."""
    return sorted({row["n"] for row in results["rows"] if row["data"] == data})


def datasets(results):
    """The data sets, in the order of the rows."""
    return list(dict.fromkeys(row["data"] for row in results["rows"]))


def report(results):
    """For each data set and size: every method with every encoder, and SA-VAE's differences to the others."""
    rows, lines = results["rows"], []
    for data in datasets(results):
        for n in sizes_of(results, data):
            methods = list(dict.fromkeys(row["method"] for row in tables.of(rows, data, n)))
            seconds = results["seconds"][f"{data} {n}"]
            lines.append(
                f"{TITLES[data]}: {n} training examples, {seconds} processor seconds, a quarter of them {seconds / 4:g}"
            )
            lines += tables.table(rows, data, n, methods)
            others = [name for name in methods if name != "sa-vae"]
            lines += tables.differences(rows, data, n, "sa-vae", others)
            lines.append(tables.against_best(rows, data, n, "sa-vae", others))
            lines += tables.alike(rows, data, n, "sa-vae", OPPONENTS[1:])
            if len(tables.cures(rows, data, n, "sa-vae")) > 1:
                lines.append(tables.robustness(rows, data, n, METHODS))
    return "\n".join(lines + split_lines(results))


def split_lines(results):
    """Where the loss comes from at the last stage: on training and on test images."""
    lines = [
        f"where the loss comes from after all seconds, {' '.join(map(str, SPLIT[::-1]))}, {len(SEEDS)} seeds, mean ± standard "
        "deviation: -log p(x) +",
        "approximation gap + gap of the encoder's guess (left by 10 SVI steps)",
    ]
    for method, cure in SPLITS:
        for part in ("train", "test"):
            ends = [[values[-1] for _, values in parted(results, method, cure, part, name)] for name in PARTS]
            cells = [np.array(end) for end in ends]
            said = [f"{cell.mean():6.2f} ± {cell.std(ddof=1):.2f}" for cell in cells]
            lines.append(f"  {method:8} {cure:7} {part:5} {said[0]} + {said[1]} + {said[2]} ({said[3].strip()})")
    return lines


PARTS = {  # of a loss, from the -ELBO of three lam and -log p(x)
    "-log p(x)": lambda p: p["nll"],
    "approximation gap": lambda p: p["best"] - p["nll"],
    "gap of the guess": lambda p: p["guess"] - p["best"],
    "gap left": lambda p: p["refined"] - p["best"],
}


def parted(results, method, cure, part, name):
    """A part of the loss on "train" or "test" images for each seed: [(processor seconds of its stages, values), ...]."""
    runs = [one["stages"] for one in results["splits"] if (one["method"], one["cure"]) == (method, cure)]
    return [np.array([[stage["cpu"], PARTS[name](stage[part])] for stage in stages]).T for stages in runs]


def claims(results):
    """What [SA] claims of learning through the steps, where few examples are trained on."""
    found = []
    for data in datasets(results):
        for other, name in (("vae-then-svi", "a VAE that SVI refines at test time alone"), ("vae+svi", "VAE+SVI")):
            cells, said = {"end": [], "quarter": []}, []
            for n in sizes_of(results, data):
                for stop, cell in cells.items():
                    one, two = (tables.with_best(results["rows"], data, n, m, stop) for m in ("sa-vae", other))
                    d = tables.paired(results["rows"], data, n, one, two, stop=stop)
                    cell.append(f"{n} examples {d[0]:+.2f} ± {d[1]:.2f} ({d[3]} of {d[2]} lower)")
                    said += [verdict(*d[:2])] * (stop == "end")
            text = f"SA-VAE minus {other}, each with its best encoder: {'; '.join(cells['end'])}; at a quarter of the seconds: "
            scale = f"{TITLES[data]}; {len(SEEDS)} seeds; encoder, learning rate and inner steps chosen on validation examples"
            found.append(Claim(
                "[SA] 3, few examples", f"learning through the steps: SA-VAE is below {name}", scale, "",
                text + "; ".join(cells["quarter"]), summed_up(said),
            ))  # fmt: skip
    return found


def draw(results):
    """A row for each data set: SA-VAE minus its opponents, best and first encoder; the spread over encoders. Below: the split."""
    shown = datasets(results)
    fig, axes = plots.figure(columns=3, rows=len(shown) + 1, width=4.6, height=3.9)
    for (left, middle, right), data in zip(axes, shown):
        first = tables.of(results["rows"], data, sizes_of(results, data)[0], "sa-vae")[0]["cure"]
        draw_differences(left, results, data, None)
        draw_differences(middle, results, data, first)
        draw_encoders(right, results, data)
    titles = "−log p(x)", "gap of the encoder's guess", "gap left by ten SVI steps"
    for ax, title, name in zip(axes[-1], titles, ("-log p(x)", "gap of the guess", "gap left")):
        draw_split(ax, results, title, name)
    axes[-1, 0].legend(frameon=False, fontsize=6.5, loc="lower left")
    ticked(axes[-1, 1].set_yscale, axes[-1, 1].yaxis, (5, 10, 20, 50, 100, 200))
    ticked(axes[-1, 2].set_yscale, axes[-1, 2].yaxis, (2, 5, 10, 20))
    return fig


def ticked(scale, axis, ticks):
    """A logarithmic axis with plain numbers at these ticks."""
    scale("log")
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def draw_differences(ax, results, data, cure):
    """SA-VAE minus the refined opponents, with two standard errors; hollow at a quarter of the seconds. cure: the encoder of
    all, or None for each one's best."""
    shown = sizes_of(results, data)
    for i, other in enumerate(OPPONENTS[1:]):
        look = plots.style(other)
        for stop, shift in (("end", 0.06), ("quarter", -0.06)):
            pairs = []
            for n in shown:
                best = [tables.with_best(results["rows"], data, n, name, stop) for name in ("sa-vae", other)]
                who = best if cure is None else [("sa-vae", cure), (other, cure)]
                pairs.append(tables.paired(results["rows"], data, n, *who, stop=stop))
            more = {"label": f"minus {look['label']}"} if stop == "end" else {
                "label": None, "markerfacecolor": "white", "linewidth": 0.8, "alpha": 0.7,
            }  # fmt: skip
            places = np.arange(len(shown)) + 0.24 * (i - 0.5) + shift
            ax.errorbar(places, [p[0] for p in pairs], [CERTAIN * p[1] for p in pairs], capsize=2, **look | more)
    ax.axhline(0, color="0.4", linewidth=1)
    ax.set_xticks(range(len(shown)), [str(n) for n in shown])
    title = "each with its best encoder" if cure is None else f"all with the encoder {cure}"
    ax.set(xlabel="training examples", ylabel="SA-VAE minus the other, −ELBO (nats)", title=f"{TITLES[data]}: {title}")
    ax.legend(framealpha=0.85, edgecolor="none", fontsize=7)


def draw_encoders(ax, results, data):
    """Each method's mean -ELBO from its best to its worst encoder, above the best of all."""
    shown = sizes_of(results, data)
    ranges = {m: np.array([tables.over_encoders(results["rows"], data, n, m) for n in shown]) for m in METHODS}
    best = np.min([r[:, 0] for r in ranges.values()], axis=0)
    for i, (method, found) in enumerate(ranges.items()):
        low, high = (found - best[:, None]).T
        look = plots.style(method)
        places = np.arange(len(shown)) + 0.17 * (i - 1.5)
        ax.vlines(places, low, high, color=look["color"], linewidth=3, alpha=0.5)
        ax.plot(places, low, **look | {"linestyle": "none"})
        ax.plot(places, high, **look | {"linestyle": "none", "label": None, "markerfacecolor": "white"})
    ax.set_xticks(range(len(shown)), [str(n) for n in shown])
    ax.set(
        xlabel="training examples", ylabel="−ELBO above the best (nats)", title=f"{TITLES[data]}: best to worst encoder"
    )
    ax.legend(framealpha=0.85, edgecolor="none", fontsize=7)


def draw_split(ax, results, title, name):
    """A part of the loss over the training's seconds, the mean over seeds: test images solid, training images dotted."""
    for method, cure in SPLITS:
        look = plots.style(method if cure == "mlp" else f"{plots.STYLES[method][3]}, {cure} encoder")
        for part, word, dash in (("test", "test", "-"), ("train", "training", ":")):
            found = parted(results, method, cure, part, name)
            first, last = max(cpu[0] for cpu, _ in found), min(cpu[-1] for cpu, _ in found)
            at = np.geomspace(first, last, 7)
            mean = np.mean([np.interp(np.log(at), np.log(cpu), values) for cpu, values in found], axis=0)
            ax.plot(at, mean, **look | {"linestyle": dash, "label": f"{look['label']}, {word} images"})
    ticked(ax.set_xscale, ax.xaxis, (0.5, 1, 2, 5, 10))
    ax.set(xlabel="processor seconds (1000 glyphs)", ylabel=f"{title} (nats)", title=title)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
