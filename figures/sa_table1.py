"""Table 1 of [SA]: sequences from an oracle; what each inference method loses, with the oracle's generator and a learned one.

    python figures/sa_table1.py           eight oracles of each kind (about 42 minutes on two cores)
    python figures/sa_table1.py --full    the same with four times the seconds
    python figures/sa_table1.py --draw    draws the picture again from the JSON

z in two dimensions, 1000 tokens, five a sequence; 5000 training sequences (savi/data/synthetic.py). Bounds are exact: E_q by
Gauss and Hermite's rule, log p(x) on a grid, the approximation gap from the best diagonal Gaussian of each example.

Equal cost: each method has the processor seconds of its part (SECONDS; one thread), turned into whole epochs by the measured
cost of a step; it is read at the end of these and, from the same run, after as many epochs as SA-VAE had ("epochs"). In
both views the parameters are those of the judged epoch with the lowest validation -ELBO.

Equal tuning: on validation sequences of an oracle that is none of the eight. Inner steps of training: step size and clip, by
runs of a fifth of the epochs, each with its own best step at test time, for every method that has them. Inner steps at test
time: step size, its ratio of log_var's to mu's, momentum and clip, for every method that is refined, for 20 steps and for
100. Iterative models: how many iterations at test time. Not tuned: the networks, Adam's step size, K and momentum in
training, the iterative models' iterations and samples in training.

What was done lies in runs/sa_table1, one file a run, and a second call goes on from there.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments.figures import Claim, script
from savi.experiments.oracle_runs import (
    ABLATION,
    MANY,
    READINGS,
    TEST_STEPS,
    TRAINED,
    UNREFINED,
    VIEWS,
    plan,
    run,
    tune,
)  # fmt: skip
from savi.experiments.parallel import cores, run_all
from savi.experiments.tables import CERTAIN, spread, verdict

SECONDS = {"tanh": 40.0, "affine": 20.0, "learned": 16.0}  # of training, for each method and seed
RUNS, SEEDS, ABLATION_SEEDS = pathlib.Path("runs") / "sa_table1", tuple(range(8)), (0, 1, 2)
PUBLISHED = {
    "oracle": {"VAE": 21.77, "SVI": 22.33, "SA-VAE": 20.13, "true NLL": 19.63},
    "learned": {"VAE": 27.06, "SVI": 25.82, "SA-VAE": 25.21},
}


def compute(full):
    seconds = {part: (4 if full else 1) * s for part, s in SECONDS.items()}
    folder = RUNS / "-".join(f"{s:g}" for s in seconds.values())

    def done(function, items):
        """{names: the value} of function for each of items, tuples of names that begin with the part."""
        found = run_all(function, [(folder, seconds[item[0]], *item) for item in items], cores())
        return {"/".join(map(str, item)): value for item, value in zip(items, found)}

    runs = [
        (part, seed, name) for parts in (("tanh", "affine"), ("learned",))
        for seed in SEEDS for part in parts for name in ("truth", *TRAINED[part])
    ] + [("tanh", seed, name) for seed in ABLATION_SEEDS for name in ABLATION]  # fmt: skip
    results = {
        "seconds": seconds, "seeds": SEEDS, "plans": done(plan, [(part,) for part in TRAINED]),
        "tuned": done(tune, [(part, name) for part in TRAINED for name in reversed(TRAINED[part])]),
        "runs": done(run, runs),
    }  # fmt: skip
    return json.loads(json.dumps(results), parse_float=lambda text: round(float(text), 5))


# --- the table, the claims and the picture -------------------------------------------------------------------------------------

ROWS = {
    **dict.fromkeys(("tanh", "affine"), ("VAE", "SVI", "VAE, then SVI", "VAE+SVI+KL", "SA-VAE", "iterative")),
    "learned": ("collapsed", "VAE", "SVI", "VAE, then SVI", "VAE+SVI", "VAE+SVI+KL", "SA-VAE"),
}
AGAINST = {"VAE, then SVI": "vae-then-svi"}  # names of looks


def values(results, part, reading, key="neg_elbo", view="seconds"):
    """A reading's values, one for each oracle (n,); key "gap": its -ELBO above the exact -log p(x); NaN where it has none."""
    if key == "gap":
        return values(results, part, reading, view=view) - truths(results, part, "nll")
    name = next((name for name, readings in READINGS.items() if reading in readings), reading)
    seeds = [seed for seed in results["seeds"] if f"{part}/{seed}/{name}" in results["runs"]]
    return np.array([results["runs"][f"{part}/{s}/{name}"][reading][view].get(key, np.nan) for s in seeds])


def truths(results, part, key):
    return np.array([results["runs"][f"{part}/{seed}/truth"][key] for seed in results["seeds"]])


def difference(results, part, reading, other, key="neg_elbo", view="seconds"):
    """`spread` of reading minus other, paired by oracle."""
    a, b = (values(results, part, each, key, view) for each in (reading, other))
    n = min(len(a), len(b))  # an ablation has the first oracles alone
    return spread(a[:n] - b[:n])


def told(mean, error, n, below):
    return f"{mean:+.3f} ± {error:.3f} ({below} of {n} lower) {verdict(mean, error)}"


def report(results):
    lines = []
    for part, names in ROWS.items():
        shared, seconds = results["plans"][part]["shared"], results["seconds"][part]
        nll, known = truths(results, part, "nll"), part != "learned"
        least = values(results, part, "collapsed", "nll") if not known else truths(results, part, "best") - nll
        extra = f"approximation gap {_words(least)}" if known else f"unigram {_words(truths(results, part, 'unigram'))}"
        lines += [
            f"{part}{' oracle, its generator known' if known else ' generator, affine oracle'}: {len(nll)} oracles, "
            f"{seconds:g} processor seconds; the oracle's NLL {_words(nll)}, {extra}",
            f"{'':<14}{f'-ELBO, {shared} epochs':>18}{'-ELBO':>15}{'gap' if known else 'NLL':>15}"
            f"{'amortization' if known else '':>15}{'KL':>14}{'100 steps':>15}{'epochs':>7}{'seconds':>8}",
        ]
        for name in names:
            loss, kl, many, epochs, cpu = (
                values(results, part, name, key) for key in ("neg_elbo", "kl", "many", "epochs", "cpu")
            )
            own = loss - nll if known else values(results, part, name, "nll")
            cells = (values(results, part, name, view="epochs"), loss, own, own - least if known else None, kl, many)
            words = [f"{'' if cell is None or np.isnan(cell).any() else _words(cell):>15}" for cell in cells]
            words[0], words[4] = words[0].rjust(18), words[4][1:]
            lines.append(f"{name:<14}{''.join(words)}{epochs.mean():7.1f}{cpu.mean():8.1f}")
        lines.append(f"  SA-VAE minus, -ELBO:  {f'{shared} epochs':<44}{'equal seconds':<44}100 test steps")
        for name in [name for name in names if name not in ("SA-VAE", "collapsed")]:
            ways = [{"view": "epochs"}, {}, *([{"key": "many"}] if name not in UNREFINED else [])]
            cells = [told(*difference(results, part, "SA-VAE", name, **way)) for way in ways]
            lines.append(f"  {name:<20}" + "".join(f"{cell:<44}" for cell in cells).rstrip())
    for name in ("collapsed", "VAE", "SVI", "VAE, then SVI", "VAE+SVI", "VAE+SVI+KL"):
        cells = [told(*difference(results, "learned", "SA-VAE", name, "nll", view)) for view in VIEWS]
        lines.append(f"  NLL, minus {name:<14} {cells[0]:<44}{cells[1]}")
    lines.append("SA-VAE minus SA-VAE with another Hessian product, tanh oracle, -ELBO (equal epochs; equal seconds)")
    for name in ABLATION:
        cells = [told(*difference(results, "tanh", "SA-VAE", name, view=view)) for view in VIEWS]
        lines.append(f"  {name:<22}{cells[0]:<44}{cells[1]}")
    lines.append(
        "chosen inner steps (step size of mu, of log_var, momentum, clip): in training; 20 test steps; 100 test steps"
    )
    for name, found in results["tuned"].items():
        part, method = name.split("/")
        for reading in READINGS.get(method, (method,)):
            steps = [found["training"] if found["curve"] else None]
            steps += [found[reading].get(view, {}).get("choice", {}).get("point") for view in ("seconds", "many")]
            if any(steps):
                lines.append(f"  {part:<8}{reading:<14}" + "".join(f"{_step(step):<28}" for step in steps).rstrip())
    return "\n".join(lines)


def _step(point):
    if point is None:
        return "-"
    clip = "no clip" if point["clip"] is None else f"clip {point['clip']:g}"
    return f"{point['step_size']:g}, {point['step_size'] * point['ratio']:g}, {point['momentum']:g}, {clip}"


def _words(values):
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" if len(values) > 1 else f"{values.mean():.2f}"


CLAIMS = {  # of the source or on what its table leaves open: (part, reading, the others that it is below, a refutation's name)
    "SA-VAE 20.13 is below VAE 21.77 and SVI 22.33; the true NLL is 19.63": ("tanh", "SA-VAE", ("VAE", "SVI"), "refuted"),
    "VAE 21.77 is below SVI 22.33": ("tanh", "VAE", ("SVI",), "refuted"),
    "learning through the steps brings more than the steps alone (the table has no such row)": (
        "tanh", "SA-VAE", ("VAE, then SVI",), "refuted",
    ),
    "learned generator: SA-VAE 25.21 is below SVI 25.82 and VAE 27.06": (
        "learned", "SA-VAE", ("SVI", "VAE"), "not at this scale",
    ),
    "learned generator: SVI 25.82 is below VAE 27.06": ("learned", "SVI", ("VAE",), "not at this scale"),
    "learned generator: learning through the steps brings more than the steps alone (the table has no such rows)": (
        "learned", "SA-VAE", ("VAE, then SVI", "VAE+SVI"), "not at this scale",
    ),
}  # fmt: skip


def claims(results):
    """[SA] Table 1 as rows of the claims page."""
    rows = []
    for claim, (part, name, others, otherwise) in CLAIMS.items():
        found = {view: {o: difference(results, part, name, o, view=view) for o in others} for view in VIEWS}
        shared, seconds = results["plans"][part]["shared"], results["seconds"][part]
        scale = (
            f"{len(results['seeds'])} {'affine' if part == 'learned' else part} oracles of the source's size; {seconds:g} "
            f"processor seconds each, or {shared} epochs; inner steps tuned for every method"
        )
        words = {
            view: "; ".join(f"{name} minus {o} {told(*d)}" for o, d in cells.items()) for view, cells in found.items()
        }
        verdicts = {view: {verdict(*d[:2]) for d in cells.values()} for view, cells in found.items()}
        rows.append(Claim("[SA] Table 1", claim, scale, words["epochs"], words["seconds"], judge(verdicts, otherwise)))
    return rows


def judge(verdicts, otherwise):
    """One of VERDICTS, from the verdicts at equal epochs and at equal seconds; `otherwise` where the others are better."""
    if "worse" in verdicts["seconds"]:
        return otherwise
    clear = [found == {"better"} for found in verdicts.values()]
    return "holds" if all(clear) else "weaker" if any(clear) else "not told apart"


def draw(results):
    fig, axes = plots.figure(columns=3, rows=2, width=4.7, height=3.9)
    for ax, part in zip(axes[0], ROWS):
        _draw_methods(ax, results, part)
    _draw_training(axes[1, 0], results, "tanh")
    _draw_refinement(axes[1, 1], results, "tanh")
    _draw_differences(axes[1, 2], results)
    return fig


def _look(name):
    return plots.style(AGAINST.get(name, name.lower()))


def _draw_methods(ax, results, part):
    """A mark for each oracle: full at equal seconds, hollow at equal epochs."""
    known = part != "learned"
    zero = truths(results, part, "nll") if known else values(results, part, "collapsed", "nll")
    names = ROWS[part][not known :]
    for i, name in enumerate(names):
        look = _look(name)
        for view, shift, fill in (("epochs", -0.17, "none"), ("seconds", 0.17, "full")):
            above = values(results, part, name, view=view) - zero
            ax.plot(
                [i + shift] * len(above), above, look["marker"], color=look["color"], markersize=5, fillstyle=fill,
                alpha=0.8,
            )  # fmt: skip
        ax.annotate(
            f"{above.mean():.2f}",
            (i + 0.17, above.max()),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    shared, seconds = results["plans"][part]["shared"], results["seconds"][part]
    title = f"{part} oracle" if known else "learned generator"
    ax.set(title=f"{title}: {seconds:g} s (full), {shared} epochs (hollow)")
    ax.set_ylabel("−ELBO − exact NLL (nats)" if known else "−ELBO − the collapsed model's NLL (nats)")
    if known:
        least = (truths(results, part, "best") - zero).mean()
        ax.axhline(least, color="0.4", linewidth=1, linestyle="--")
        ax.text(len(names) - 0.5, least, "best Gaussian", ha="right", va="bottom", fontsize=8, color="0.3")
        ax.set_yscale("log")
        ticks = (0.05, 0.1, 0.2, 0.5, 1, 2, 4)
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_ylim(0.8 * least, None)
        ax.minorticks_off()


def _draw_training(ax, results, part):
    for name in ROWS[part]:
        curves = np.array([curve for curve in values(results, part, name, "curve")], float)
        if curves.shape[1] > 1:
            ax.plot(curves[:, :, 1].mean(axis=0), curves[:, :, 3].mean(axis=0), **_look(name))
    ax.set(xlabel="processor seconds of training", ylabel="validation −ELBO (nats)", title=f"{part} oracle: training")
    ax.legend(frameon=False, fontsize=8)


def _draw_refinement(ax, results, part):
    nll = truths(results, part, "nll")
    for name in ("SVI", "VAE, then SVI", "VAE+SVI+KL", "SA-VAE", "iterative"):
        look, steps = _look(name), np.stack(values(results, part, name, "by_steps"))
        ax.plot(TEST_STEPS, (steps - nll[:, None]).mean(axis=0), **look)
        if name != "iterative":
            ax.plot(
                MANY,
                (values(results, part, name, "many") - nll).mean(),
                look["marker"],
                color=look["color"],
                markersize=9,
                fillstyle="none",
            )
    ax.set_xscale("symlog", linthresh=5)
    ax.set_xticks(TEST_STEPS, [str(k) for k in TEST_STEPS])
    ax.set_yscale("log")
    ax.set_ylim(None, 5)
    ax.set_yticks((0.3, 0.5, 1, 2, 4), ("0.3", "0.5", "1", "2", "4"))
    ax.minorticks_off()
    ax.set(
        xlabel="test-time steps, tuned for 20 (ring: tuned for 100)",
        ylabel="−ELBO − exact NLL (nats)",
        title=f"{part} oracle: refinement",
    )


def _draw_differences(ax, results):
    opponents = ("VAE, then SVI", "VAE+SVI+KL", "iterative")
    ways = {"equal epochs": {"view": "epochs"}, "equal seconds": {}, "100 test steps": {"key": "many"}}
    ticks = []
    for i, (part, label, way) in enumerate(
        (part, label, way) for part in ("tanh", "affine") for label, way in ways.items()
    ):
        ticks.append(f"{part},\n{label}")
        for j, name in enumerate(opponents):
            if "key" in way and name in UNREFINED:
                continue
            mean, error, *_ = difference(results, part, "SA-VAE", name, **way)
            ax.errorbar(
                i + 0.22 * (j - 1),
                mean,
                CERTAIN * error,
                capsize=2,
                **_look(name) | {"linestyle": "", "label": None if i else f"minus {name}"},
            )
    ax.axhline(0, color="0.4", linewidth=1)
    ax.set_xticks(range(len(ticks)), ticks, fontsize=7, rotation=30)
    ax.set(ylabel="SA-VAE minus the other (nats)", title="paired by oracle, two standard errors")
    ax.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
