"""Table 1 of [SA]: sequences from an oracle; what each inference method loses, with the oracle's generator and a learned one.

    python figures/sa_table1.py           eight oracles of each kind (about 42 minutes on two cores)
    python figures/sa_table1.py --full    the same with four times the seconds
    python figures/sa_table1.py --draw    draws the picture again from the JSON
    python -m savi sweep figures/sa_table1.toml     the runs again with the JSON's epochs and inner steps, for more oracles
    python -m savi report runs/sa_table1            or on a cluster (--on); their tables, paired by oracle

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
from savi.experiments import tables
from savi.experiments.tables import CERTAIN, verdict
from savi.studies.figures import Claim, beside, script
from savi.studies.oracle_runs import (
    ABLATION,
    MANY,
    READINGS,
    TEST_STEPS,
    TRAINED,
    UNREFINED,
    VIEWS,
    plan,
    rows,
    run,
    tune,
)  # fmt: skip
from savi.studies.trial_tables import over_seeds, verdict_of, worst
from savi.sweeps.parallel import cores, run_all

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


def again(part, method, seed):
    """A run of sa_table1.toml: that of the table with the epochs and inner steps of the JSON, as rows at both costs."""
    found = beside(__file__)
    tuned = found["tuned"].get(f"{part}/{'SA-VAE' if method in ABLATION else method}")
    return {"rows": rows(part, seed, method, found["plans"][part], tuned)}


# --- the table, the claims and the picture -------------------------------------------------------------------------------------

ROWS = {
    **dict.fromkeys(("tanh", "affine"), ("VAE", "SVI", "VAE, then SVI", "VAE+SVI+KL", "SA-VAE", "iterative")),
    "learned": ("collapsed", "VAE", "SVI", "VAE, then SVI", "VAE+SVI", "VAE+SVI+KL", "SA-VAE"),
}
TITLES = {
    "tanh": "tanh oracle, its generator known", "affine": "affine oracle, its generator known",
    "learned": "affine oracle, a learned generator",
}  # fmt: skip
THROUGH = "learning through the steps brings more than the steps alone (the table has no such row)"
CLAIMS = [  # the claim, the part, a reading and the others that it is below
    *((f"{claim}{where}", part, *below) for part, where in (("tanh", ""), ("affine", ": affine oracle")) for claim, *below in (
        ("SA-VAE 20.13 is below VAE 21.77 and SVI 22.33 (true NLL 19.63)", "SA-VAE", ("VAE", "SVI")),
        ("VAE 21.77 is below SVI 22.33", "VAE", ("SVI",)), (THROUGH, "SA-VAE", ("VAE, then SVI",)),
    )),
    ("SA-VAE 25.21 is below SVI 25.82 and VAE 27.06: learned generator", "learned", "SA-VAE", ("SVI", "VAE")),
    ("SVI 25.82 is below VAE 27.06: learned generator", "learned", "SVI", ("VAE",)),
    (f"{THROUGH}: learned generator", "learned", "SA-VAE", ("VAE, then SVI", "VAE+SVI")),
]  # fmt: skip


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
    """(mean, standard error, n, in how many of n it is below zero) of reading minus other, paired by oracle."""
    a, b = (values(results, part, each, key, view) for each in (reading, other))
    n = min(len(a), len(b))  # an ablation has the first oracles alone
    return tables.difference(a[:n], b[:n])


def told(mean, error, n, below):
    return f"{mean:+.3f} ± {error:.3f} ({below} of {n} lower) {verdict(mean, error)}"


def report(results):
    lines = [line for part in ROWS for line in _part(results, part)]
    lines.append("SA-VAE minus SA-VAE with another Hessian product, tanh oracle, -ELBO")
    for name in ABLATION:
        cells = [told(*difference(results, "tanh", "SA-VAE", name, view=view)) for view in VIEWS]
        lines.append(f"  {name:<22}{cells[0]:<48}{cells[1]}")
    lines.append("inner steps (step size of mu, of log_var, momentum, clip): in training; for 20 test steps; for 100")
    for item, found in results["tuned"].items():
        part, name = item.split("/")
        for reading in READINGS.get(name, (name,)):
            steps = [found["training"] if found["curve"] else None]
            steps += [found[reading].get(view, {}).get("choice", {}).get("point") for view in ("seconds", "many")]
            if any(steps):
                lines.append(f"  {part:<8}{reading:<14}" + "".join(f"{_step(step):<30}" for step in steps))
    return "\n".join(line.rstrip() for line in lines)


def _part(results, part):
    """Lines: each reading's numbers, then SA-VAE minus each of the others."""
    known, nll = part != "learned", truths(results, part, "nll")
    shared, seconds = results["plans"][part]["shared"], results["seconds"][part]
    least = truths(results, part, "best" if known else "unigram") - (nll if known else 0)
    yield (
        f"{TITLES[part]}: {len(nll)} oracles, {seconds:g} processor seconds; the oracle's NLL {over_seeds(nll)}, "
        f"{'approximation gap' if known else 'unigram'} {over_seeds(least)}"
    )
    yield (
        f"{'':<14}{f'-ELBO, {shared} epochs':>18}{'-ELBO':>15}{'gap' if known else 'NLL':>15}{'KL':>14}{'100 steps':>15}"
        f"{'epochs':>7}{'seconds':>8}{'   amortization' * known}"
    )
    for name in ROWS[part]:
        loss, own = values(results, part, name), values(results, part, name, "gap" if known else "nll")
        kl, many = values(results, part, name, "kl"), values(results, part, name, "many")
        epochs, cpu = (values(results, part, name, key).mean() for key in ("epochs", "cpu"))
        refined = "" if np.isnan(many).any() else over_seeds(many)
        yield (
            f"{name:<14}{over_seeds(values(results, part, name, view='epochs')):>18}{over_seeds(loss):>15}"
            f"{over_seeds(own):>15}{over_seeds(kl):>14}{refined:>15}{epochs:7.1f}{cpu:8.1f}"
            + known
            * f"{over_seeds(own - least):>15}"
        )
    yield f"  SA-VAE minus, -ELBO:  {f'{shared} epochs':<48}{'equal seconds':<48}100 test steps"
    for name in [name for name in ROWS[part] if name not in ("SA-VAE", "collapsed")]:
        ways = [{"view": "epochs"}, {}, *([{"key": "many"}] if name not in UNREFINED else [])]
        yield f"  {name:<20}" + "".join(
            f"{told(*difference(results, part, 'SA-VAE', name, **way)):<48}" for way in ways
        )
    for name in [name for name in ROWS[part] if name != "SA-VAE" and not known]:
        cells = [told(*difference(results, part, "SA-VAE", name, "nll", view)) for view in VIEWS]
        yield f"  {f'NLL: {name}':<20}{cells[0]:<48}{cells[1]}"


def _step(point):
    if point is None:
        return "-"
    clip = "no clip" if point["clip"] is None else f"clip {point['clip']:g}"
    return f"{point['step_size']:g}, {point['step_size'] * point['ratio']:g}, {point['momentum']:g}, {clip}"


def claims(results):
    """[SA] Table 1 as rows of the claims page."""
    return [_claim(results, *claim) for claim in CLAIMS]


def _claim(results, claim, part, name, others):
    found = {view: {other: difference(results, part, name, other, view=view) for other in others} for view in VIEWS}
    cells = {view: "; ".join(f"{name} minus {o} {told(*d)}" for o, d in of.items()) for view, of in found.items()}
    judged = [verdict_of(*(verdict(*found[view][o][:2]) for view in ("seconds", "epochs"))) for o in others]
    shared, seconds = results["plans"][part]["shared"], results["seconds"][part]
    scale = (
        f"{len(results['seeds'])} oracles of the source's size; {seconds:g} processor seconds each, or {shared} epochs; inner "
        "steps tuned for every method"
    )
    return Claim("[SA] Table 1", claim, scale, cells["epochs"], cells["seconds"], worst(judged))


def draw(results):
    fig, axes = plots.figure(columns=3, rows=2, width=4.7, height=3.9)
    for ax, part in zip(axes[0], ROWS):
        _draw_methods(ax, results, part)
    _draw_training(axes[1, 0], results, "tanh")
    _draw_refinement(axes[1, 1], results, "tanh")
    _draw_differences(axes[1, 2], results)
    return fig


def _look(name):
    return plots.style({"VAE, then SVI": "vae-then-svi"}.get(name, name.lower()))


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
        at = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        ax.annotate(f"{above.mean():.2f}", (i + 0.17, above.max()), **at)
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
    for name in ROWS[part][1:]:
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
            end = (values(results, part, name, "many") - nll).mean()
            ax.plot(MANY, end, look["marker"], color=look["color"], markersize=9, fillstyle="none")
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
    shown = [(part, label, way) for part in ("tanh", "affine") for label, way in ways.items()]
    for i, (part, label, way) in enumerate(shown):
        ticks.append(f"{part},\n{label}")
        for j, name in enumerate(opponents):
            if "key" in way and name in UNREFINED:
                continue
            mean, error, *_ = difference(results, part, "SA-VAE", name, **way)
            look = _look(name) | {"linestyle": "", "label": None if i else f"minus {name}"}
            ax.errorbar(i + 0.22 * (j - 1), mean, CERTAIN * error, capsize=2, **look)
    ax.axhline(0, color="0.4", linewidth=1)
    ax.set_xticks(range(len(ticks)), ticks, fontsize=7, rotation=30)
    ax.set(ylabel="SA-VAE minus the other (nats)", title="paired by oracle, two standard errors")
    ax.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    script(__file__, compute, draw, report)
