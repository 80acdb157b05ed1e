"""[SA] Table 2 with every method trained to convergence: does a latent variable, refined, beat the language model?

    python figures/sa_table2_converged.py           500 documents, 300 words, 32 units, every method (about 30 minutes of one core)
    python figures/sa_table2_converged.py --full    2500 documents, 1000 words, 48 units, four methods (about 50 minutes)
    python figures/sa_table2_converged.py --draw    draws the picture again from the JSON

Documents as in sa_table2.py. Every method has the learning rate RATE until five epochs in a row have not lowered its bound on
validation documents, then a quarter of it from its best parameters on, then a sixteenth (savi/studies/text_converged.py); its best
epoch counts. The rate, momentum .5, clip 5 and the networks are not tuned. Inner steps are, by one grid for all: in training on
500 documents, by short runs with a seed of their own; at test time anew for each run, on its validation documents. Costs are
processor seconds of the training steps.

What was done lies in runs/sa_table2_converged, one file a run, and a second call goes on from there, with as many runs side by
side as it may use cores. The JSON has every seed of either size whose runs are all there.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments.tables import difference, verdict
from savi.studies import text_converged, text_runs
from savi.studies.figures import Claim, rounded, script
from savi.studies.text_runs import Scale
from savi.studies.trial_tables import over_seeds, said, summed_up
from savi.studies.trials import kept
from savi.sweeps.parallel import cores, run_all

RUNS, SEEDS, RATE, PILOT = pathlib.Path("runs") / "sa_table2_converged", (0, 1, 2), 8e-3, 10
SIZES = {
    "small": Scale(learning_rate=RATE),
    "full": Scale(1000, (2500, 500, 500), 48, learning_rate=RATE, warmup=10.0, iw_samples=50),
}  # fmt: skip
METHODS = {  # the longest first
    "small": ("SA-VAE", "SVI", "VAE+SVI", "VAE+SVI+KL", "VAE+INIT", "VAE", "LM"),
    "full": ("SA-VAE", "VAE+SVI", "VAE", "LM"),
}
COUNTS = ("unigram", "KN-3")
ROWS = {  # a row: the run, and at its own steps or at lam_0
    "LM": ("LM", "own"), "VAE": ("VAE", "first"), "VAE, then SVI": ("VAE", "own"), "VAE+INIT": ("VAE+INIT", "first"),
    "SVI": ("SVI", "own"), "VAE+SVI": ("VAE+SVI", "own"), "VAE+SVI+KL": ("VAE+SVI+KL", "own"), "SA-VAE": ("SA-VAE", "own"),
    "SA-VAE at lam_0": ("SA-VAE", "first"),
}  # fmt: skip
CLAIMS = (  # the claim at convergence, the row, and those that it is below
    ("SA-VAE 327.5 (KL 7.19) is below the language model 329.1", "SA-VAE", ("LM",)),
    ("SA-VAE 327.5 is below VAE 330.2 and VAE+SVI 330.5", "SA-VAE", ("VAE", "VAE, then SVI", "VAE+SVI")),
    ("the VAE is not below the language model: 330.2 against 329.1", "LM", ("VAE",)),
)


def tuning(name):
    """The inner step of a method in training, chosen at the small size for both."""
    return kept(RUNS / f"step-{name}.json", text_converged.tuned, SIZES["small"], name, PILOT)


def path(size, name, seed):
    """The file of one run."""
    return RUNS / size / f"{name}-{seed}.json"


def item(size, name, seed):
    """The JSON of one run, or of counts where the seed is None."""
    if name in COUNTS:
        return kept(path(size, name, seed), text_runs.counts, SIZES[size], name)
    step_size = tuning(name)["step_size"] if name in text_converged.IN_TRAINING else None
    return kept(path(size, name, seed), text_converged.run, SIZES[size], name, seed, step_size)


def compute(full):
    size = "full" if full else "small"
    (RUNS / size).mkdir(parents=True, exist_ok=True)
    list(run_all(tuning, [(name,) for name in METHODS[size] if name in text_converged.IN_TRAINING], cores()))
    list(run_all(item, _items(size, SEEDS), cores()))
    seeds = {
        size: [seed for seed in SEEDS if all(path(*each).exists() for each in _items(size, [seed]))] for size in SIZES
    }
    return rounded({"sizes": {size: _collected(size, whole) for size, whole in seeds.items() if whole}}, 6)


def _items(size, seeds):
    return [(size, name, None) for name in COUNTS] + [(size, name, seed) for seed in seeds for name in METHODS[size]]


def _collected(size, seeds):
    """All that is kept of these seeds of a size."""
    data, found = text_runs.load(SIZES[size]), {each[1:]: item(*each) for each in _items(size, seeds)}
    return {
        "data": data.name, "scale": SIZES[size]._asdict(), "tokens": float(text_runs.tokens(data.test).mean()), "seeds": seeds,
        "steps": {name: tuning(name) for name in METHODS[size] if name in text_converged.IN_TRAINING},
        "counts": {name: found[name, None] for name in COUNTS},
        "runs": {f"{name}/{seed}": value for (name, seed), value in found.items() if seed is not None},
    }  # fmt: skip


# --- the table, the claims and the picture --------------------------------------------------------------------------------------


def rows(results, size):
    """The rows whose runs a size has."""
    return [row for row, (name, _) in ROWS.items() if name in METHODS[size]]


def values(results, size, row, key="neg_elbo"):
    """A number of each seed (n,): of the reading, or else of the run."""
    name, at = ROWS[row]
    found = results["sizes"][size]
    runs = (found["runs"][f"{name}/{seed}"] for seed in found["seeds"])
    return np.array([run[at].get(key, run.get(key)) for run in runs], float)


def _difference(results, size, row, other, key="neg_elbo"):
    return difference(values(results, size, row, key), values(results, size, other, key))


def report(results):
    return "\n\n".join("\n".join(_table(results, size)) for size in results["sizes"])


def _table(results, size):
    found, scale = results["sizes"][size], results["sizes"][size]["scale"]
    steps = ", ".join(f"{name} {tuned['step_size']:g}" for name, tuned in found["steps"].items())
    lines = [
        f"{found['data']}; {scale['documents'][0]} documents for training, {scale['units']} units, {found['tokens']:.1f} tokens "
        f"each in test; {len(found['seeds'])} seeds,",
        f"mean ± standard deviation, nats a document; inner steps in training: {steps}",
        f"{'':<20}{'-ELBO':>17}{'KL':>13}{'PPL':>8}{'IW NLL':>17}{'IW PPL':>8}{'active':>8}{'epochs':>8}{'s':>8}{'falls':>8}",
    ]
    for name in COUNTS:
        nll = found["counts"][name]
        lines.append(f"{name:<20}{nll['neg_elbo']:17.2f}{'':13}{nll['perplexity']:8.1f}")
    for row in rows(results, size):
        mean = {
            key: values(results, size, row, key).mean()
            for key in ("perplexity", "iw_perplexity", "active", "epochs", "cpu", "valid", "valid_first")
        }
        lines.append(
            f"{row:<20}{over_seeds(values(results, size, row)):>17}{over_seeds(values(results, size, row, 'kl')):>13}"
            f"{mean['perplexity']:8.1f}{over_seeds(values(results, size, row, 'iw')):>17}{mean['iw_perplexity']:8.1f}"
            f"{mean['active']:8.1f}{mean['epochs']:8.1f}{mean['cpu']:8.0f}{mean['valid'] - mean['valid_first']:8.2f}"
        )
    lines.append("falls: what the two lower learning rates took off the validation bound")
    lines.append(f"minus the language model, paired by seed: {'-ELBO':<48}IW")
    for row in rows(results, size)[1:]:
        cells = (said(_difference(results, size, row, "LM", key)) for key in ("neg_elbo", "iw"))
        lines.append(f"  {row:<40}" + "".join(f"{cell:<48}" for cell in cells).rstrip())
    lines.append("SA-VAE minus the others")
    for row in rows(results, size):
        if not row.startswith(("SA-VAE", "LM")):
            lines.append(f"  {row:<40}{said(_difference(results, size, 'SA-VAE', row))}")
    return lines


def claims(results):
    """[SA] Table 2 as rows of the claims page."""
    sizes = " and ".join(
        f"{of['scale']['documents'][0]} ({of['scale']['vocabulary']} words, {of['scale']['units']} units, {len(of['seeds'])} seeds)"
        for of in results["sizes"].values()
    )
    where = f"documents of 24 to 40 words, {sizes} for training; inner steps tuned for every method"
    found = []
    for claim, row, others in CLAIMS:
        cells, verdicts = [], []
        for size, of in results["sizes"].items():
            differences = [(other, _difference(results, size, row, other)) for other in others]
            said_of = "; ".join(f"{row} minus {other} {said(d)}" for other, d in differences)
            cells.append(f"{of['scale']['documents'][0]} documents, each method to convergence: {said_of}")
            verdicts += [verdict(*d[:2]) for _, d in differences]
        found.append(
            Claim("[SA] Table 2", f"at convergence: {claim}", where, ". ".join(cells), "", summed_up(verdicts))
        )
    return found


def draw(results):
    fig, axes = plots.figure(columns=len(results["sizes"]), width=5.2, height=4.2)
    for ax, (size, found) in zip(axes, results["sizes"].items()):
        zero = {key: values(results, size, "LM", key) for key in ("neg_elbo", "iw")}
        shown = rows(results, size)[1:]
        for i, row in enumerate(shown):
            look = plots.style({"VAE, then SVI": "vae-then-svi"}.get(row, row.lower()))
            for key, shift, fill in (("neg_elbo", -0.12, "full"), ("iw", 0.12, "none")):
                above = values(results, size, row, key) - zero[key]
                ax.plot(
                    above, [i + shift] * len(above), look["marker"], color=look["color"], fillstyle=fill, markersize=6
                )
        ax.axvline(0, color="0.2", linewidth=1)
        ax.set_yticks(range(len(shown)), [f"{row}\nKL {values(results, size, row, 'kl').mean():.2f}" for row in shown])
        ax.invert_yaxis()
        ax.set(xlabel="test loss minus the language model's (nats a document)")
        ax.set_title(f"{found['scale']['documents'][0]} documents: −ELBO (full), importance-weighted (hollow)")
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw, report)
