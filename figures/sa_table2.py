"""[SA] Table 2: text, an LSTM with and without a latent variable; and Figure 2, perplexity against steps at test time.

    python figures/sa_table2.py           500 documents, 8 processor seconds a method, 3 seeds (about 6 minutes on one core)
    python figures/sa_table2.py --full    2500 documents, 1000 words, 48 units, ten minutes for each method
    python figures/sa_table2.py --draw    draws the picture again from the JSON

Documents of 24 to 40 words out of docstrings (savi/data/text.py), split by source file. Each method trains until its own steps
have had their processor seconds; a language model that begins an encoder (VAE+INIT) is paid for out of them. Read at the end, and
after as many epochs as all have had, each time with the best parameters on validation documents. Inner step .3, momentum .5, clip
5 for every method that has one, in training and at test time: not tuned, nor are the networks and Adam's step size.

What was done lies in runs/sa_table2, one file a run, and a second call goes on from there.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments.tables import difference, verdict
from savi.studies import text_runs
from savi.studies.figures import Claim, script
from savi.studies.text_runs import CURVES, METHODS, STEPS, Scale
from savi.studies.trial_tables import over_seeds, verdict_of, worst
from savi.studies.trials import kept
from savi.sweeps.parallel import cores, run_all

RUNS, SEEDS = pathlib.Path("runs") / "sa_table2", (0, 1, 2)
FULL = Scale(1000, (2500, 500, 500), 48, warmup=10.0, seconds=600.0, shared=12.0, iw_samples=200)
COUNTS, VIEWS = ("unigram", "KN-3"), ("seconds", "epochs")
ROWS = {  # a row: the run, and at its own steps or at lam_0
    "LM": ("LM", "own"), "VAE": ("VAE", "first"), "VAE, then SVI": ("VAE", "own"), "VAE+INIT": ("VAE+INIT", "first"),
    "VAE, words hidden": ("VAE, words hidden", "first"), "SVI": ("SVI", "own"), "VAE+SVI": ("VAE+SVI", "own"),
    "VAE+SVI+KL": ("VAE+SVI+KL", "own"), "SA-VAE": ("SA-VAE", "own"), "SA-VAE at lam_0": ("SA-VAE", "first"),
}  # fmt: skip
CLAIMS = (  # the claim, the row, and those that it is below
    ("SA-VAE 327.5 (KL 7.19) is below the language model 329.1", "SA-VAE", ("LM",)),
    ("SA-VAE 327.5 is below VAE 330.2 and VAE+SVI+KL 330.1", "SA-VAE", ("VAE", "VAE+SVI+KL")),
    ("no other method is below the language model: VAE 330.2, SVI 329.8, VAE+SVI 330.5", "LM", ("VAE", "SVI", "VAE+SVI")),
)  # fmt: skip


def item(folder, scale, name, seed):
    """The JSON of one run, or of counts where there is no seed."""
    path = folder / f"{name}-{seed}.json"
    if name in COUNTS:
        return kept(path, text_runs.counts, scale, name)
    return kept(path, text_runs.run, scale, name, seed, str(folder / f"{name}-{seed}"))


def compute(full):
    scale = FULL if full else Scale()
    folder = RUNS / ("full" if full else "small")
    items = [(name, None) for name in COUNTS] + [(name, seed) for seed in SEEDS for name in METHODS]
    found = list(run_all(item, [(folder, scale, *each) for each in items], cores()))
    data = text_runs.load(scale)
    results = {
        "data": data.name, "scale": scale._asdict(), "seeds": SEEDS, "tokens": float(text_runs.tokens(data.test).mean()),
        "counts": {name: value for (name, seed), value in zip(items, found) if seed is None},
        "runs": {f"{name}/{seed}": value for (name, seed), value in zip(items, found) if seed is not None},
    }  # fmt: skip
    return json.loads(json.dumps(results), parse_float=lambda digits: round(float(digits), 4))


# --- the table, the claims and the picture --------------------------------------------------------------------------------------


def readings(results, row, view="seconds"):
    """The reading of each seed: text_runs.worth, and what training had cost."""
    name, at = ROWS[row]
    found = (results["runs"][f"{name}/{seed}"][view] for seed in results["seeds"])
    return [reading[at] | {key: reading[key] for key in ("epochs", "cpu", "best")} for reading in found]


def values(results, row, key="neg_elbo", view="seconds"):
    """A number for each seed (n,)."""
    return np.array([reading[key] for reading in readings(results, row, view)])


def told(found):
    mean, error, n, below = found
    return f"{mean:+.2f} ± {error:.2f} ({below} of {n} lower) {verdict(mean, error)}"


def report(results):
    scale, seconds, shared = results["scale"], results["scale"]["seconds"], results["scale"]["shared"]
    lines = [
        f"{results['data']}; {scale['documents'][0]} documents for training, {results['tokens']:.1f} tokens each in test; "
        f"{len(results['seeds'])} seeds, mean ± standard deviation, nats a document",
        f"{'':<20}{f'-ELBO, {seconds:g} s':>17}{'KL':>13}{'PPL':>8}{'IW NLL':>17}{'IW PPL':>8}{'active':>8}{'epochs':>8}{'best':>7}"
        f"{f'-ELBO, {shared:g} epochs':>20}{'KL':>13}",
    ]
    for name in COUNTS:
        nll = results["counts"][name]
        lines.append(f"{name:<20}{nll['neg_elbo']:17.2f}{'':13}{nll['perplexity']:8.1f}")
    for row in ROWS:
        mean = {
            key: values(results, row, key).mean() for key in ("perplexity", "iw_perplexity", "active", "epochs", "best")
        }
        early = [over_seeds(values(results, row, key, "epochs")) for key in ("neg_elbo", "kl")]
        lines.append(
            f"{row:<20}{over_seeds(values(results, row)):>17}{over_seeds(values(results, row, 'kl')):>13}{mean['perplexity']:8.1f}"
            f"{over_seeds(values(results, row, 'iw')):>17}{mean['iw_perplexity']:8.1f}{mean['active']:8.1f}{mean['epochs']:8.1f}"
            f"{mean['best']:7.1f}{early[0]:>20}{early[1]:>13}"
        )
    lines.append(
        f"minus the language model, paired by seed: {'equal seconds':<46}{'equal epochs':<46}IW, equal seconds"
    )
    for row in [row for row in ROWS if row != "LM"]:
        cells = [
            told(_difference(results, row, "LM", *way)) for way in (("neg_elbo",), ("neg_elbo", "epochs"), ("iw",))
        ]
        lines.append(f"  {row:<40}" + "".join(f"{cell:<46}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def _difference(results, row, other, key="neg_elbo", view="seconds"):
    return difference(values(results, row, key, view), values(results, other, key, view))


def claims(results):
    """[SA] Table 2 as rows of the claims page."""
    scale, found = results["scale"], []
    size = (
        f"{len(results['seeds'])} seeds; documents of 24 to 40 words, {scale['documents'][0]} for training, "
        f"{scale['vocabulary']} words, "
        f"{scale['units']} units; {scale['seconds']:g} processor seconds each, or {scale['shared']:g} epochs; inner steps not tuned"
    )
    for claim, row, others in CLAIMS:
        by_view = {view: {other: _difference(results, row, other, view=view) for other in others} for view in VIEWS}
        cells = {
            view: "; ".join(f"{row} minus {other} {told(d)}" for other, d in of.items()) for view, of in by_view.items()
        }
        judged = [verdict_of(*(verdict(*by_view[view][other][:2]) for view in VIEWS)) for other in others]
        found.append(Claim("[SA] Table 2", claim, size, cells["epochs"], cells["seconds"], worst(judged)))
    more = {start: curves(results, "SA-VAE", start) for start in ("encoder", "random")}
    k = STEPS.index(scale["steps"])
    for claim, words, pair in (
        (
            "SVI steps at test time lower SA-VAE's perplexity",
            f"perplexity at {STEPS[k]} steps minus at none",
            (more["encoder"][:, k], more["encoder"][:, 0]),
        ),
        (
            "a random start ends above the encoder's",
            f"perplexity at {STEPS[-1]} steps, from the encoder minus from random starts",
            (more["encoder"][:, -1], more["random"][:, -1]),
        ),
    ):
        below = difference(*pair)
        judged = {"better": "holds", "worse": "refuted"}.get(verdict(*below[:2]), "not told apart")
        found.append(Claim("[SA] Figure 2", claim, size, "", f"{words} {told(below)}", judged))
    return found


def curves(results, name, start):
    """Perplexity by the bound after STEPS steps at test time, (seeds, steps), from the "encoder" or from "random" starts."""
    every = [results["runs"][f"{name}/{seed}"]["seconds"]["curve"][start] for seed in results["seeds"]]
    return np.array(every)[:, :, 0]


def draw(results):
    fig, (left, right) = plots.figure(columns=2, width=6.4, height=4.4)
    zero, rows = values(results, "LM"), [row for row in ROWS if row != "LM"]
    for i, row in enumerate(rows):
        look = plots.style({"VAE, then SVI": "vae-then-svi"}.get(row, row.lower()))
        for view, shift, fill in (("seconds", -0.12, "full"), ("epochs", 0.12, "none")):
            above = values(results, row, view=view) - (zero if view == "seconds" else values(results, "LM", view=view))
            left.plot(
                above, [i + shift] * len(above), look["marker"], color=look["color"], fillstyle=fill, markersize=6
            )
    counted = results["counts"]["KN-3"]["neg_elbo"] - zero.mean()
    left.axvline(counted, color="0.4", linestyle=":", linewidth=1.2, label="KN-3")
    left.axvline(0, color="0.2", linewidth=1)
    left.set_yticks(range(len(rows)), rows)
    left.invert_yaxis()
    left.set_xscale("symlog", linthresh=2)
    left.set_xticks([0, 1, 2, 5, 10, 20, 50], ["0", "1", "2", "5", "10", "20", "50"])
    left.set(xlabel="test −ELBO minus the language model's (nats a document)")
    left.set_title(
        f"each seed: {results['scale']['seconds']:g} s (full), {results['scale']['shared']:g} epochs (hollow)"
    )
    left.legend(frameon=False, fontsize=8)
    for name in CURVES:
        look = plots.style(name.lower())
        for start, dash, fill in (("encoder", "-", "full"), ("random", "--", "none")):
            look |= {"linestyle": dash, "fillstyle": fill, "markersize": 5, "label": f"{name}, {start} start"}
            above = curves(results, name, start) - curves(results, name, "encoder")[:, -1:]
            right.plot(STEPS, above.mean(axis=0), **look)
    right.set_xscale("symlog", linthresh=2)
    right.set_xticks(STEPS, [str(k) for k in STEPS])
    right.set(xlabel="SVI steps at test time", ylabel=f"perplexity above that after {STEPS[-1]} steps")
    right.set_title("[SA] Figure 2, mean over seeds")
    right.legend(frameon=False, fontsize=7.5)
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw, report)
