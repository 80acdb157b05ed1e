"""Table 1 of [LI]: -log p(x) of a VAE and of an iterative inference model on MNIST; Figure 11's two curves beside it.

    python figures/li_table1.py           five seeds (about nine minutes on two cores)
    python figures/li_table1.py --full    the source's size: 64-512-512-784, 100 epochs and 2000 processor seconds
    python figures/li_table1.py --draw    draws the picture again from the JSON
    python -m savi sweep figures/li_table1.toml     the runs again with what the JSON says was tuned, for more seeds
    python -m savi report runs/li_table1            or on a cluster (--on); their tables, paired by seed

Decoder 32-128-128-784 (ELU, Bernoulli; the source has 64-512-512-784), all of MNIST's 10k test file split 8000/1000/1000 (or
60,000 images where they are). The iterative model encodes errors and data, 5 iterations. Its opponents: the VAE, the VAE
refined by SVI at test time, VAE+SVI, and an iterative model of gradients that starts from an encoder. Each run is measured
after as many epochs as all others and after as many processor seconds of its own training steps (trials.py). What is tuned
for each method on validation images stands in learning_to_infer.py: learning rate, noise samples, hidden layers between x and
lam, inner step size; and test-time steps for every trained model. Batch, optimizer, decoder and K are not tuned.
Right: the norm of the gradient of mu and the -ELBO relative to that after one iteration, over test-time iterations.
"""

import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments import tables
from savi.experiments.evaluation import along
from savi.experiments.tables import CERTAIN
from savi.studies import trial_tables
from savi.studies.figures import Claim, beside, script
from savi.studies.learning_to_infer import METHODS, Setup, baseline, trial, tuned
from savi.sweeps.parallel import cores, run_all

NAMES, SEEDS, TEST_ITERATIONS = ("vae", "vae-then-svi", "vae+svi", "iterative", "encoder-1"), (0, 1, 2, 3, 4), 16
RUNS = "runs/learning_to_infer"
SETUPS = {
    False: Setup("mnist", None, 32, (128, 128), 5, 16, RUNS),
    True: Setup("mnist", None, 64, (512, 512), 100, 2000, RUNS),
}
ITERATIVE, REFINED, ITERATIONS = METHODS["iterative"].label, METHODS["vae-then-svi"].label, 5


def compute(full):
    setup = SETUPS[full]
    found = dict(zip(NAMES, run_all(tuned, [(setup, name) for name in NAMES], cores())))
    trials = []
    for row in run_all(measured, [(setup, name, seed) for seed in SEEDS for name in NAMES], cores()):
        print({k: row[k] for k in ("method", "seed")}, row["seconds"], flush=True)
        trials.append(row)
    shared = {"data": setup.images().name, "setup": setup._asdict(), "baseline": baseline(setup), "seeds": SEEDS}
    return shared | {"tuned": found, "trials": trials}


def measured(setup, name, seed):
    """One method and seed, with Figure 11's curves of the iterative model."""
    return trial(setup, name, seed, curves if name == "iterative" else None)


def again(method, seed):
    """A run of li_table1.toml: that of the table, tuned as the JSON says, as rows at both costs."""
    found = beside(__file__)
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(**found["setup"] | {"runs": folder})
        row = trial(setup, method, seed, point=found["tuned"][method]["point"])
    return {"rows": trial_tables.long(trial_tables.rows([row], METHODS))}


def curves(model, method, result, x):
    """|grad_mu ELBO| and -ELBO of the iterates, means over 200 images."""
    x = x[:200]
    path = method.path(model, *result[:2], x, np.random.default_rng(0), TEST_ITERATIONS)
    f, norms = model.objective(result.theta, x), []
    for lam in path:
        noise = model.draw_noise(np.random.default_rng(1), 20, len(x), result.theta.dtype)
        d_mu = f.gradient(lam, noise).d_lam[:, : model.latent_dim]
        norms.append(float(np.linalg.norm(d_mu, axis=1).mean()))
    return {"gradient_norm": norms, "curve": along(model, result.theta, path, x, 2, samples=20)}


def table_rows(results):
    """{"rows": ...} for tables.paired."""
    return {"rows": trial_tables.rows(results["trials"], METHODS)}


def figure_11(results):
    """(norms, -ELBOs) of the iterative model at equal seconds, each (seeds, iterations + 1)."""
    found = [trial["seconds"] for trial in results["trials"] if trial["method"] == "iterative"]
    return tuple(np.array([at[name] for at in found]) for name in ("gradient_norm", "curve"))


def falls_until(values):
    """The last iteration up to which each one lowers values (seeds, iterations + 1) beyond two standard errors."""
    steps = np.diff(values, axis=1)
    certain = steps.mean(axis=0) < -CERTAIN * steps.std(axis=0, ddof=1) / np.sqrt(len(steps))
    return int(np.argmin(np.append(certain, False)))


def improvement(losses):
    """By how many percent the -ELBO is lower than after one iteration, (seeds, iterations)."""
    return 100 * (losses[:, 1:2] - losses[:, 1:]) / losses[:, 1:2]


def claims(results):
    """Table 1 (MNIST, one level) and Figure 11 of [LI]."""
    found, (norms, losses), setup = table_rows(results), figure_11(results), results["setup"]
    nets = "-".join(map(str, (setup["latent"], *setup["hidden"], 784)))
    scale = (
        f"8000 images, {nets}, {setup['epochs']:g} epochs or {setup['seconds']:g} processor seconds, "
        f"{len(results['seeds'])} seeds, learning rate, samples and hidden layers tuned for each method (60,000 images, "
        "64-512-512-784, 1500 epochs)"
    )
    cells = trial_tables.claim_cells(found, ITERATIVE, "VAE", "nll")
    for stop in trial_tables.STOPS:
        other = trial_tables.said(tables.paired(found, ITERATIVE, REFINED, trial_tables.key("nll", stop)))
        cells[stop] += f"; minus {REFINED}: {other}"
    gain, last = improvement(losses), falls_until(norms)
    shown = ", ".join(f"{trial_tables.over_seeds(norms[:, t])} at {t}" for t in (0, 1, 5, TEST_ITERATIONS))
    shrinks = "holds" if last >= ITERATIONS else "weaker" if last else "not at this scale"
    best = gain[:, -1]
    error = best.std(ddof=1) / np.sqrt(len(best))
    grows = "holds" if best.mean() >= 20 else "weaker" if best.mean() > CERTAIN * error else "not told apart"
    text = f"norm {shown} iterations; each lowers it up to {last}"
    relative = f"{trial_tables.over_seeds(gain[:, ITERATIONS - 1])} % after {ITERATIONS}, "
    relative += f"{trial_tables.over_seeds(best)} % after {TEST_ITERATIONS}"
    return [
        Claim(
            "[LI] Table 1, MNIST, one level",
            "-log p(x): VAE 84.14 ± 0.02, iterative (errors and data, T = 5) 83.84 ± 0.05", scale, **cells,
        ),
        Claim("[LI] Figure 11a", "the gradient's norm shrinks over the iterations (counts)", scale, "", text, shrinks),
        Claim(
            "[LI] Figure 11b", "the ELBO improves by about 25 % over its first estimate (counts)", scale, "",
            relative, grows,
        ),
    ]  # fmt: skip


def draw(results):
    fig, (left, middle, right) = plots.figure(columns=3, width=4.5, height=3.8)
    found = table_rows(results)
    labels = list(dict.fromkeys(row["method"] for row in found["rows"]))
    for measure, marker, colour in (("neg_elbo", "o", "#0072B2"), ("nll", "D", "#D55E00")):
        for stop, fill in (("seconds", "full"), ("epochs", "none")):
            found_at = trial_tables.key(measure, stop)
            means, spreads = zip(
                *(trial_tables.mean_and_spread(tables.values(found, name, found_at)) for name in labels)
            )
            words = {"neg_elbo": "−ELBO", "nll": "−log p(x)"}[measure]
            left.errorbar(
                means, range(len(labels)), xerr=spreads, fmt=marker, color=colour, fillstyle=fill, capsize=2, markersize=6,
                label=f"{words}, equal {stop}",
            )  # fmt: skip
    left.set_yticks(
        range(len(labels)), [label.replace(", ", ",\n", 1) + _left(found, label) for label in labels], fontsize=8
    )
    left.invert_yaxis()
    left.set(xlabel="nats per test image", title="mean and standard deviation over seeds")
    left.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.18), ncol=2)
    norms, losses = figure_11(results)
    gain, t = improvement(losses), np.arange(TEST_ITERATIONS + 1)
    for ax, times, values in ((middle, t, norms), (right, t[1:], gain)):
        ax.plot(times, values.mean(axis=0), color="#009E73", marker="P", markersize=5)
        ax.fill_between(times, values.min(axis=0), values.max(axis=0), color="#009E73", alpha=0.2, linewidth=0)
        ax.axvline(ITERATIONS, color="0.6", linewidth=1)
        ax.set(xlabel="iterations at test time (trained on 5)", xticks=[0, 5, 10, 15])
    middle.set(yscale="log", ylabel="norm of the gradient of μ (nats)")
    middle.set_yticks([20, 30, 50, 100], ["20", "30", "50", "100"])
    middle.minorticks_off()
    middle.set_title(f"each iteration lowers the norm up to {falls_until(norms)}", fontsize=11)
    right.set(ylabel="lower −ELBO than after one iteration (%)")
    right.set_title(f"each iteration improves the ELBO up to {falls_until(losses)}", fontsize=11)
    return fig


def _left(found, label):
    """How many seeds are left of a method at equal seconds, where some diverged."""
    values = tables.values(found, label, trial_tables.key("neg_elbo", "seconds"))
    left = len(trial_tables.finite(values))
    return "" if left == len(values) else f" ({left} of {len(values)})"


def report(results):
    found = table_rows(results)
    lines = trial_tables.table(found, results["baseline"])
    others = ["VAE", REFINED, "VAE+SVI"]
    names = (ITERATIVE, METHODS["encoder-1"].label, METHODS["encoder-1"].label + ", then SVI")
    lines += ["", "differences of -log p(x), paired, with their standard error"]
    return "\n".join(lines + [line for name in names for line in trial_tables.differences(found, name, others, "nll")])


if __name__ == "__main__":
    script(__file__, compute, draw, report)
