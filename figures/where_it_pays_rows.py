"""Where semi-amortization pays, continued: against the encoder's size, the steps in training, the decoder; iterative; sequences.

    python figures/where_it_pays_rows.py           300 glyphs, and sequences of known oracles (an hour on one idle core)
    python figures/where_it_pays_rows.py --full    1000 glyphs, ten times the seconds; not measured
    python figures/where_it_pays_rows.py --draw    draws the picture again from the JSON

All as in where_it_pays.py, whose learning rates these runs have: as many processor seconds of its own training steps for each
method, the best of ten stages by 200 validation examples, the inner step in training searched anew for each row, that of the
test time for each run, ten steps at test time. One thing is changed at a time, beside an encoder 784-64-64-32, ten steps in
training and a decoder 16-64-64-784. Sequences come from a tanh oracle that is known, one for each seed, and have a learning
rate of their own. What was done lies in runs/where_it_pays_rows, and a second call goes on from there.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi.engine import threads
from savi.experiments import plots
from savi.experiments.tables import CERTAIN, verdict
from savi.studies import cure_tables as tables
from savi.studies.cure_runs import settled, trial
from savi.studies.cures import Setup
from savi.studies.figures import Claim, rounded, script
from savi.studies.trial_tables import said, summed_up
from savi.studies.trials import kept

RUNS = str(pathlib.Path("runs") / "where_it_pays_rows")
SEEDS, TRAINED = (0, 1, 2, 3, 4), ("vae", "vae+svi", "sa-vae")
REFERENCE = 1000, 12  # where_it_pays.py chose its learning rates on so many glyphs in runs of so many seconds
GLYPHS = {False: (300, 6), True: (1000, 60)}  # training examples, processor seconds of a run
SEQUENCES = {False: ({100: 8, 300: 8, 1000: 8}, 8), True: ({100: 60, 300: 60, 1000: 60}, 60)}  # and of the search
ROWS = {  # what is changed: {as it is named: how the Setup differs}
    "units of the encoder": {"16": {"encoder": (16, 16)}, "64": {}, "256": {"encoder": (256, 256)}},
    "steps in training": {"2": {"steps": 2}, "5": {"steps": 5}, "10": {}, "20": {"steps": 20}},
    "units of the decoder": {"none": {"hidden": ()}, "64": {}, "256": {"hidden": (256, 256)}},
}
ITERATIVE, ROW, SEQUENCE = ("iterative", "error+data"), "iterative models", "training sequences"
OPPONENTS = ("vae-then-svi", "vae+svi")


def glyphs(full, changes):
    """The Setup of 300 glyphs with so many changes."""
    n, seconds = GLYPHS[full]
    return Setup("glyphs", n, seconds, RUNS, encoder=(64, 64), settled_at=REFERENCE)._replace(**changes)


def plan(full):
    """[(row, name, setup, method, encoder), ...]: what is trained, in this order; a VAE takes no step in training."""
    cells = [
        (row, name, glyphs(full, changes if m != "vae" else {k: v for k, v in changes.items() if k != "steps"}), m, "mlp")
        for row, values in ROWS.items() for name, changes in values.items() for m in TRAINED
    ]  # fmt: skip
    cells += [(ROW, "64", glyphs(full, {}), method, "mlp") for method in (*TRAINED, *ITERATIVE)]
    sizes, searched = SEQUENCES[full]
    for n, seconds in sizes.items():
        at = Setup("sequences", n, seconds, RUNS, settled_at=(1000, searched))
        cells += [(SEQUENCE, str(n), at, method, "lstm") for method in TRAINED]
    return cells


def known():
    """{method: its learning rate and inner step of where_it_pays.json}, kept where `settled` looks for those of the reference."""
    results = json.loads((pathlib.Path(__file__).parent / "where_it_pays.json").read_text())
    for method in TRAINED:
        at = f"glyphs {REFERENCE[0]} {method} mlp"
        found = {"point": results["points"][at], "curve": results["searches"][at]}
        kept(
            Setup("glyphs", *REFERENCE, RUNS, settled_at=REFERENCE).folder(method, "mlp", "tuned.json"),
            lambda f=found: f,
        )


def compute(full):
    known()
    rows, points, cells = [], {}, plan(full)
    with threads.using(1):
        for row, name, at, method, encoder in cells:
            for seed in SEEDS:
                found = trial(at, method, encoder, seed)
                rows += tables.flat(row, name, found)
            points[f"{row} {name} {method}"] = settled(at, method, encoder)
            print(row, name, method, f"{tables.mean(tables.of(rows, row, name, method), 'neg_elbo'):.2f}", flush=True)
    seconds = {row: at.seconds for row, _, at, _, _ in cells}
    return rounded({"glyphs": GLYPHS[full][0], "seconds": seconds, "rows": rows, "points": points})


def named(results):
    """{row: [names of its values]}, in the order of the rows."""
    found = {}
    for row in results["rows"]:
        found.setdefault(row["data"], {})[row["n"]] = None
    return {row: list(names) for row, names in found.items()}


def methods_of(results, row, name):
    return list(dict.fromkeys(r["method"] for r in tables.of(results["rows"], row, name)))


def against(results, row, name, other, key="neg_elbo", stop="end", one="sa-vae"):
    """The paired difference of a method, SA-VAE where none is named, to another."""
    encoder = tables.cures(results["rows"], row, name, other)[0]
    return tables.paired(results["rows"], row, name, (one, encoder), (other, encoder), key, stop)


def report(results):
    """For each value of each row: every method, and SA-VAE's differences to the others."""
    lines = []
    for row, names in named(results).items():
        for name in names:
            what = "sequences, oracle known" if row == SEQUENCE else f"{results['glyphs']} glyphs"
            lines.append(f"{row}: {name} ({what}, {results['seconds'][row]:g} processor seconds)")
            methods = methods_of(results, row, name)
            lines += tables.table(results["rows"], row, name, methods)
            lines += [f"  sa-vae minus {m}: {said(against(results, row, name, m))}" for m in methods if m != "sa-vae"]
            for m in [m for m in ITERATIVE if m in methods]:
                lines.append(f"  {m} minus {m}-then-svi: {said(against(results, row, name, f'{m}-then-svi', one=m))}")
    return "\n".join(lines)


def claims(results):
    """What [SA] and [LI] claim of learning to refine, against each thing that was changed."""
    found = []
    for row, names in named(results).items():
        n = "a known oracle" if row == SEQUENCE else f"{results['glyphs']} glyphs, encoder 784-64-64-32 where not said"
        scale = f"{n}; {results['seconds'][row]:g} processor seconds, {len(SEEDS)} seeds, all tuned"
        for other in OPPONENTS:
            ours = {name: against(results, row, name, other)[:4] for name in names}
            text = "; ".join(f"{name} {d[0]:+.2f} ± {d[1]:.2f} ({d[3]} of {d[2]} lower)" for name, d in ours.items())
            what = f"learning through the steps pays: SA-VAE is below {other}, against {row}"
            found.append(Claim("[SA] 3", what, scale, "", text, summed_up(verdict(*d[:2]) for d in ours.values())))
        if row == ROW:
            for method in ITERATIVE:
                d = against(results, row, names[0], "vae-then-svi", one=method)
                what = f"{method}: a model that learned to refine is below a VAE that SVI refines"
                text = f"{d[0]:+.2f} ± {d[1]:.2f} ({d[3]} of {d[2]} lower)"
                found.append(Claim("[LI] 5", what, scale, "", text, summed_up([verdict(*d[:2])])))
    return found


def draw(results):
    """A panel for each thing that was changed: SA-VAE minus the refined opponents, with two standard errors."""
    shown = {row: names for row, names in named(results).items() if row != ROW}
    fig, axes = plots.figure(columns=2, rows=2)
    for ax, (row, names) in zip(axes.flat, shown.items()):
        for i, other in enumerate(OPPONENTS):
            pairs = [against(results, row, name, other) for name in names]
            look = plots.style(other)
            look["label"] = f"minus {look['label']}"
            places = np.arange(len(names)) + 0.12 * (2 * i - 1)
            ax.errorbar(places, [p[0] for p in pairs], [CERTAIN * p[1] for p in pairs], capsize=3, **look)
        ax.axhline(0, color="0.4", linewidth=1)
        ax.set_xticks(range(len(names)), names)
        what = "sequences, oracle known" if row == SEQUENCE else f"{results['glyphs']} glyphs"
        ax.set(xlabel=row, ylabel="SA-VAE minus the other, −ELBO (nats)", title=f"{what}: {row}")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw, report)
