"""Table 2 and Figure 11 of [LI] on counts: perplexity of iterative models and their opponents; gradients over iterations.

    python figures/li_counts.py           three seeds (about two minutes on one core)
    python figures/li_counts.py --full    longer, 512 units and 100 latents
    python figures/li_counts.py --draw    draws the picture again from the JSON

The documents are docstrings of the installed Python library as counts of 2000 words, split by module (savi/data/counts.py); the
source has RCV1 with 10,000 words, 1024 latents and a convergence we do not reach. Decoder 20-100-2000, Multinomial, which
starts at the unigram. Perplexity is exp(sum -log p(x) / sum of counts) over the test documents, [LI] eq. 63, log p(x) by
importance weights of each method's own posterior. Every method has the same processor seconds of its own training steps, one
noise sample, and the same learning rate; SVI's inner step at test time is chosen on validation documents. Figure 11: the norm
of the gradient of mu and the -ELBO relative to the first iteration's, of the iterative model of gradients.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.data import counts
from savi.experiments import tables
from savi.experiments.catalogue import TASKS
from savi.experiments.evaluation import along
from savi.experiments.methods import build
from savi.experiments.settings import settings_of
from savi.studies.figures import Claim, script
from savi.sweeps import runs

RUNS, SEEDS, ITERATIONS = "runs/li_counts", (0, 1, 2), 16
NAMES = ("vae", "vae-then-svi", "svi", "iterative:gradient")
ITERATIVE, REFINED = "iterative:gradient", "vae-then-svi"
KEYS = ("method", "seed", "neg_elbo", "kl", "nll_iw", "perplexity", "epochs", "cpu")
SIZES = {
    False: {"latent": 20, "hidden": (100,), "budget": ("seconds", 2)},
    True: {"latent": 100, "hidden": (512,), "budget": ("seconds", 1000), "iw_samples": 5000},
}


def compute(full):
    sizes = {"iw_samples": 50} | SIZES[full]
    shared = dict(train_examples=None, test_examples=150, gap_examples=1, activation="elu", seeds=SEEDS, **sizes)
    found = savi.compare(
        "counts", f"{RUNS}/{'full' if full else 'small'}", resume=True, jobs=1, methods=NAMES, progress=False, **shared
    )
    rows = [{key: row[key] for key in KEYS} for row in found["rows"]]
    for name in NAMES:
        for row, value in zip(
            (row for row in rows if row["method"] == name), tables.values(found, name, "at_equal_epochs")
        ):
            row["at_equal_epochs"] = float(value)
    _, x = runs.load(TASKS["counts"], settings_of(TASKS["counts"], shared))
    curves = [figure_11(seed, found["epochs"][ITERATIVE], shared) for seed in SEEDS]
    return {
        "rows": rows, "baseline": found["baseline"], "settings": found["settings"], "data": found["data"],
        "words": float(x.sum(axis=1).mean()), "equal_epochs": tables.equal_epochs(found), "curves": curves,
    }  # fmt: skip


def figure_11(seed, epochs, settings):
    """{"norms": |grad_mu ELBO|, "losses": -ELBO}, means over 100 test documents, over the iterations of one trained model."""
    task, documents = TASKS["counts"], counts.load("counts")
    model, method = build(ITERATIVE, task, settings_of(task, settings))
    result = savi.fit(model, method, documents, epochs, seed, progress=False, learning_rate=2e-3, dtype="float32")
    x = documents.test[:100].astype(np.float32)
    path = method.path(model, result.theta, result.phi, x, np.random.default_rng(seed), ITERATIONS)
    f, norms = model.objective(result.theta, x), []
    for lam in path:
        noise = model.draw_noise(np.random.default_rng(1), 20, len(x), result.theta.dtype)
        d_mu = f.gradient(lam, noise).d_lam[:, : model.latent_dim]
        norms.append(float(np.linalg.norm(d_mu, axis=1).mean()))
    return {"norms": norms, "losses": along(model, result.theta, path, x, 2, samples=20)}


def values(results, name, key):
    """A method's values of a column, one for each seed."""
    return np.array([row[key] for row in results["rows"] if row["method"] == name])


def over_seeds(v, decimals=1):
    return f"{v.mean():.{decimals}f} ± {v.std(ddof=1):.{decimals}f}"


def unigram(results):
    """The perplexity of the unigram."""
    return float(np.exp(results["baseline"]["nll"] / results["words"]))


def report(results):
    """The table in Markdown."""
    at = f"-ELBO at equal epochs ({results['equal_epochs']})"
    lines = [["method", "perplexity", "-log p(x)", "-ELBO", "KL", at, "epochs"], ["---", *["---:"] * 6]]
    lines.append(["unigram", f"{unigram(results):.1f}", f"{results['baseline']['nll']:.2f}", "", "", "", ""])
    for name in results["settings"]["methods"]:
        keys = ("perplexity", 1), ("nll_iw", 2), ("neg_elbo", 2), ("kl", 2), ("at_equal_epochs", 2), ("epochs", 0)
        lines.append([name, *(over_seeds(values(results, name, key), decimals) for key, decimals in keys)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def difference(ours, theirs):
    """(text, verdict) of a paired difference, one value for each seed."""
    d = ours - theirs
    mean, error = d.mean(), d.std(ddof=1) / np.sqrt(len(d))
    verdict = tables.verdict(mean, error)
    return f"{mean:+.2f} ± {error:.2f} (lower in {(d < 0).sum()} of {len(d)}) {verdict}", verdict


def claims(results):
    """Table 2 and Figure 11 of [LI]."""
    s = results["settings"]
    scale = (
        f"{results['data']}, 2000 words, {s['latent']}-{s['hidden'][0]}-2000, {s['budget'][1]:g} processor seconds, "
        f"{len(s['seeds'])} seeds, nothing tuned (RCV1, 10,000 words, 1024 latents)"
    )
    seconds, verdict = difference(*(values(results, name, "perplexity") for name in (ITERATIVE, "vae")))
    refined, _ = difference(*(values(results, name, "perplexity") for name in (ITERATIVE, REFINED)))
    epochs, _ = difference(*(values(results, name, "at_equal_epochs") for name in (ITERATIVE, "vae")))
    norms, losses = (np.array([curve[name] for curve in results["curves"]]) for name in ("norms", "losses"))
    gain = 100 * (losses[:, 1] - losses[:, ITERATIONS]) / losses[:, 1]
    best = 100 * (losses[:, 0] - losses[:, ITERATIONS]) / losses[:, 0]
    fall, fell = difference(norms[:, ITERATIONS], norms[:, 1])
    grows = (
        "holds"
        if gain.mean() >= 20
        else "weaker"
        if gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(3)
        else "not at this scale"
    )
    said = {"better": "holds", "worse": "not at this scale"}.get(verdict, "not told apart")
    return [
        Claim(
            "[LI] Table 2, counts", "perplexity: VAE 385, iterative 382", scale,
            f"-ELBO at equal epochs ({results['equal_epochs']}), iterative minus VAE: {epochs}" if results["equal_epochs"] else "",
            f"perplexity, iterative minus VAE: {seconds}; minus VAE, then SVI: {refined}; unigram {unigram(results):.1f}", said,
        ),
        Claim(
            "[LI] Figure 11a, counts", "the gradient's norm shrinks over the iterations", scale, "",
            f"norm {', '.join(f'{over_seeds(norms[:, t], 2)} at {t}' for t in (0, 1, 5, ITERATIONS))} iterations; "
            f"last minus first: {fall}", {"better": "holds", "worse": "not at this scale"}.get(fell, "not told apart"),
        ),
        Claim(
            "[LI] Figure 11b, counts", "the ELBO improves by about 25 % over its first estimate", scale, "",
            f"{over_seeds(gain, 2)} % after {ITERATIONS} iterations against the first; against the prior {over_seeds(best, 2)} %",
            grows,
        ),
    ]  # fmt: skip


def draw(results):
    """Perplexities of each seed; and Figure 11's two curves."""
    fig, axes = plots.figure(3, 1, 4.2, 3.4)
    names = results["settings"]["methods"]
    for i, name in enumerate(names):
        v = values(results, name, "perplexity")
        axes[0].plot(v, [i] * len(v), "o", color="C0", ms=5)
    axes[0].axvline(unigram(results), color="0.5", ls=":", label="unigram")
    axes[0].set(yticks=range(len(names)), yticklabels=names, xlabel="perplexity of test documents")
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    axes[0].legend(fontsize=8)
    for curve in results["curves"]:
        losses = np.array(curve["losses"])
        axes[1].plot(range(len(curve["norms"])), curve["norms"], color="C0")
        axes[2].plot(range(1, len(losses)), 100 * (losses[1] - losses[1:]) / losses[1], color="C0")
    axes[1].set(xlabel="test-time iterations", ylabel="norm of the gradient of mu, nats", ylim=(0, None))
    axes[2].set(xlabel="test-time iterations", ylabel="-ELBO below the first estimate's, %")
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw, report)
