"""Table 3 of [SA]: images with a strong decoder, a Gated PixelCNN; what inference methods add where z is hardly needed.

    python figures/sa_table3.py           three seeds; OMNIGLOT's two small sets at 14 x 14 and at 28 x 28, there with K = 20 inner
                                          steps as well as 10, and glyphs at 28 x 28, twice (three hours of one core)
    python figures/sa_table3.py --full    ten minutes for each method
    python figures/sa_table3.py --draw    draws the picture again from the JSON

Not the source's size: the 5840 drawings in OMNIGLOT's two small background sets (their files in the folder that SAVI_DATA
names), 16 latents, 3 layers of 12 channels (14 x 14) or 16 (28 x 28), and z enters late (savi/models/autoregressive.py),
which is savi's own form.
Pixels are drawn anew for each minibatch in training, once for the images that judge.

Each seed has its own pretraining of the decoder without z, from which every method starts, and the baseline without z goes on.
Then each has the same processor seconds of its own training steps, and is read at their end and after one epoch, by the
parameters of the best judged epoch on validation images. Adam 2e-3, batch 50, beta from 0.1 over the first epoch, momentum 0.5,
no inner clip, outer clip 5. The inner step size is chosen on validation images: in training for each method by
short runs of a seed that no row shares, at test time for each run. The source's own, 1 / batch = 0.02, is a row of SVI.
The iterative model sees the gradient: five iterations of an MLP. Not tuned: the networks and Adam's step size.

What was done lies in runs/sa_table3, one file a run (savi/studies/pixel_runs.py), and a second call goes on from there.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments.tables import difference, verdict
from savi.studies.figures import Claim, script
from savi.studies.pixel_runs import BARE, PLAIN, REFINED, TUNING_SEED, Scale, pretrained, row, tuned
from savi.studies.trial_tables import over_seeds, verdict_of
from savi.sweeps.parallel import cores, run_all

TUNED = ("SVI", "VAE+SVI", "VAE+SVI+KL", "SA-VAE")
LARGE = Scale(side=28, channels=16, stages=(8, 16, 32), pretrain=75.0, seconds=50.0, tuning=15.0)
LONGER = "glyphs, 28 x 28, for longer"  # an epoch of SA-VAE, over which beta grows, and a little more
SCALES = {
    "14 x 14": Scale(), "28 x 28": LARGE, "28 x 28, K = 20": LARGE._replace(steps=20, rows=(BARE, "VAE", *TUNED)),
    "glyphs, 28 x 28": LARGE._replace(data="glyphs"),
    LONGER: LARGE._replace(data="glyphs", seconds=140.0, rows=("VAE", "SA-VAE")),
}  # fmt: skip
FULL = {
    name: scale._replace(pretrain=600.0, seconds=600.0, tuning=60.0) for name, scale in SCALES.items() if name != LONGER
}
METHODS = ("VAE", "SVI, step 0.02", *TUNED, "iterative")
ROWS = (BARE, PLAIN, "VAE", REFINED, *METHODS[1:])
SEEDS, RUNS = (0, 1, 2), pathlib.Path("runs") / "sa_table3"
PUBLISHED = {  # by K: -ELBO and KL (nats) of OMNIGLOT at 28 x 28
    10: {
        PLAIN: (90.59, 0.0), "VAE": (90.43, 0.98), "SVI, step 0.02": (90.65, 0.02), "VAE+SVI": (90.26, 1.69),
        "VAE+SVI+KL": (90.24, 2.42), "SA-VAE": (90.20, 1.83),
    },
    20: {
        PLAIN: (90.59, 0.0), "VAE": (90.43, 0.98), "SVI, step 0.02": (90.51, 0.06), "VAE+SVI": (90.19, 2.40),
        "VAE+SVI+KL": (90.21, 2.83), "SA-VAE": (90.05, 2.78),
    },
}  # fmt: skip
VIEWS = ("seconds", "epochs")


def compute(full):
    return {name: table(scale) for name, scale in (FULL if full else SCALES).items()}


def table(scale):
    """{"scale", "seeds", "tuned", "runs": one dict a seed} of one size: the pretraining, the tuning, then the rows."""
    folder = str(RUNS / f"{scale.data}-{scale.side}-{scale.pretrain:g}s")  # also of other K and seconds
    rows = scale.rows or (BARE, *METHODS)
    starts = [(seed, PLAIN) for seed in (TUNING_SEED, *SEEDS)] + [(seed, BARE) for seed in SEEDS if BARE in rows]
    list(run_all(pretrained, [(folder, scale, *start) for start in starts], cores()))
    tuning = [method for method in TUNED if method in rows]
    chosen = list(run_all(tuned, [(folder, scale, method) for method in tuning], cores()))
    items = [(seed, method) for seed in SEEDS for method in (PLAIN, *rows)]
    found = dict(zip(items, run_all(row, [(folder, scale, *item) for item in items], cores())))
    runs = [{key: value for (s, _), of in found.items() if s == seed for key, value in of.items()} for seed in SEEDS]
    return {"scale": scale._asdict(), "seeds": SEEDS, "tuned": dict(zip(tuning, chosen)), "runs": runs}


# --- the table, the claims and the picture -------------------------------------------------------------------------------------


def values(results, name, key="neg_elbo", view="seconds"):
    """(seeds,): a measure of a row; without z the bound is -log p(x) itself."""
    key = "neg_elbo" if key == "nll" and name in (BARE, PLAIN) else key
    return np.array([run[name][view][key] for run in results["runs"]], float)


def minus(results, name, other, key="neg_elbo", view="seconds"):
    """`name` minus `other`, paired by seed: (mean, standard error, n, in how many of n it is below zero)."""
    return difference(values(results, name, key, view), values(results, other, key, view))


def told(found):
    mean, error, n, below = found
    return f"{mean:+.3f} ± {error:.3f} (lower in {below} of {n}): {verdict(mean, error)}"


def report(results):
    """A table of each size at equal seconds and at equal epochs, then paired differences."""
    return "\n".join(line for name, table in results.items() for line in _table(name, table))


def _rows(results):
    return [name for name in ROWS if name in results["runs"][0]]


def _steps(results):
    return results["scale"]["steps"]


def _cost(results, view):
    return f"{results['scale'][view]:g} " + ("processor seconds" if view == "seconds" else "epoch")


def _table(size, results):
    lines = []
    for view in VIEWS:
        lines += [
            f"{size}: {_cost(results, view)} of training for each method, {len(results['seeds'])} seeds; nats an image"
        ]
        head = f"{'-ELBO':>15}{'KL':>14}{'IW NLL':>15}{'epochs':>8}{'seconds':>9}{'inner step':>12}{'test step':>18}"
        lines += [f"{'':27}{head}   minus the VAE's -ELBO"]
        lines += [_line(results, name, view) for name in _rows(results)]
    for name, others in (
        ("SA-VAE", (REFINED, "VAE+SVI", "VAE+SVI+KL", "iterative", PLAIN)), (PLAIN, (BARE,)), (REFINED, (PLAIN,)),
    ):  # fmt: skip
        for other in filter(set(_rows(results)).__contains__, others):
            for view in VIEWS:
                lines.append(f"{name} minus {other}, equal {view}: {told(minus(results, name, other, view=view))}")
    for name in (REFINED, "SA-VAE"):
        found = minus(results, name, PLAIN, "nll")
        lines.append(f"IW NLL of {name} minus that of {PLAIN}, equal seconds: {told(found)}")
    return lines


def _line(results, name, view):
    def spread(key):
        return over_seeds(values(results, name, key, view))

    z = name not in (BARE, PLAIN)
    inner, steps = "", ""
    if z and name not in ("VAE", "iterative"):
        steps = ", ".join(f"{step:g}" for step in values(results, name, "step", view))
        inner = "" if name == REFINED else f"{values(results, name, 'trained with', view)[0]:g}"
    against = "" if name == "VAE" else told(minus(results, name, "VAE", view=view))
    cells = f"{spread('neg_elbo'):>15}{spread('kl') if z else '':>14}{spread('nll'):>15}"
    cells += f"{values(results, name, 'epochs', view).mean():8.1f}{values(results, name, 'cpu', view).mean():9.1f}"
    return f"{name:27}{cells}{inner:>12}{steps:>18}   {against}".rstrip()


CLAIMS = (  # the source's -ELBO of the first is below that of the second, at K inner steps
    (10, "SA-VAE", "VAE"), (10, "SA-VAE", "VAE+SVI"), (10, "SA-VAE", PLAIN), (10, "VAE", "SVI, step 0.02"),
    (20, "SA-VAE", "VAE"), (20, "SA-VAE", "VAE+SVI"), (20, "SA-VAE", PLAIN),
)  # fmt: skip
THE = {"VAE": "the VAE", PLAIN: "the decoder without z", "SVI, step 0.02": "SVI at 1 / batch"}


def claims(results):
    """[SA] Table 3 as rows of the claims page."""
    return [
        _claim(size, table, *pair) for K, *pair in CLAIMS for size, table in results.items()
        if table["scale"]["data"] == Scale().data and _steps(table) == K
    ]  # fmt: skip


def _claim(size, results, name, other):
    published = PUBLISHED[_steps(results)]
    numbers = f"{published[name][0]:.2f} against {published[other][0]:.2f}"
    claim = f"{THE.get(name, name)} is below {THE.get(other, other)} at K = {_steps(results)}: {numbers}"
    found = {view: minus(results, name, other, view=view) for view in VIEWS}
    cells = {view: f"{name} minus {other} {told(of)}" for view, of in found.items()}
    judged = verdict_of(*(verdict(*found[view][:2]) for view in VIEWS))
    scale = (
        f"OMNIGLOT's small sets at {size}, z late, 3 layers of {results['scale']['channels']} channels; "
        f"{len(results['seeds'])} seeds, after the pretraining {_cost(results, 'seconds')} each, or {_cost(results, 'epochs')}"
    )
    return Claim("[SA] Table 3", claim, scale, cells["epochs"], cells["seconds"], judged)


def draw(results):
    """A row for each size. Left: -ELBO minus that of the VAE, a mark a seed. Right: the KL of those with z, and the source's."""
    fig, axes = plots.figure(rows=len(results), columns=2, width=6.0, height=4.2)
    for (left, right), (size, table) in zip(np.reshape(axes, (-1, 2)), results.items()):
        _draw(left, right, size, table)
    return fig


def _draw(left, right, size, results):
    published = PUBLISHED[_steps(results)]
    shown = [name for name in _rows(results) if name not in (BARE, "VAE")]
    for i, name in enumerate(shown):
        for view, shift, fill in (("epochs", -0.15, "none"), ("seconds", 0.15, "full")):
            found = values(results, name, view=view) - values(results, "VAE", view=view)
            left.plot([i + shift] * len(found), found, linestyle="", fillstyle=fill, **_look(name))
    left.axhline(0, color="0.4", linewidth=1)
    left.set_ylabel("test −ELBO minus the VAE's (nats per image)")
    left.set_title(f"{size}; full: {_cost(results, 'seconds')}, hollow: {_cost(results, 'epochs')}", fontsize=10)
    kinds = [name for name in _rows(results) if name not in (BARE, PLAIN)]
    for i, name in enumerate(kinds):
        found = values(results, name, "kl")
        right.plot([i] * len(found), found, linestyle="", **_look(name))
        if name in published:
            right.plot(i + 0.25, published[name][1], "_", color="0.3", markersize=12)
    right.plot([], [], "_", color="0.3", markersize=12, label=f"[SA], OMNIGLOT at 28 x 28, K = {_steps(results)}")
    right.legend(frameon=False, fontsize=8)
    right.set_ylabel("KL (nats per image)")
    right.set_title(f"{size}; how much of z is used, at equal seconds", fontsize=10)
    for ax, names in ((left, shown), (right, kinds)):
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)


def _look(name):
    key = {REFINED: "vae-then-svi"}.get(name, name.lower())
    more = {PLAIN: {"color": "0.4", "marker": "*"}, "SVI, step 0.02": {"marker": "x"}}.get(name, {})
    look = plots.style(key if key in plots.STYLES else "svi") | more
    return {part: look[part] for part in ("color", "marker", "markersize")}


if __name__ == "__main__":
    script(__file__, compute, draw, report)
