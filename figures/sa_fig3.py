"""[SA] Figure 3: which words the latent variable of a text model is about, by saliency, on the input and on the output side.

    python figures/sa_fig3.py           1000 documents, 300 words, three seeds (about eight minutes on one core)
    python figures/sa_fig3.py --full    2500 documents, 1000 words, 48 units, 32 epochs
    python figures/sa_fig3.py --draw    draws the picture again from the JSON

SA-VAE and, beside it, a VAE that as many SVI steps refine at test time, trained for as many epochs on the documents of
sa_table2.py. The saliency of a word (savi/studies/saliency.py) is what |mu_K| would feel of its embedding, through the steps and
the encoder, or what its log p feels of z. Both fall or rise with a word's place and with how rare it is, so what is said of words
of content is said at the same place (from the end on the input side, from the beginning on the output side) and equal frequency,
by least squares, for each seed.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments.evaluation import elbo_parts
from savi.experiments.tables import difference, verdict
from savi.experiments.training import fit
from savi.studies import saliency
from savi.studies.figures import Claim, script
from savi.studies.text_runs import METHODS, Scale, encoder_of, load, model_of
from savi.studies.trials import kept

RUNS, SEEDS, NAMES = pathlib.Path("runs") / "sa_fig3", (0, 1, 2), ("VAE", "SA-VAE")
SMALL = Scale(documents=(1000, 150, 150)), 10
FULL = Scale(1000, (2500, 500, 500), 48, warmup=10.0), 32
SIDES = {"input": "input side: | d |E z| / d embedding |", "output": "output side: | d log p / d z |"}
EFFECTS = ("words of content", "e times as frequent")
SHOWN, LAST = 3, 5  # documents in the picture; words that are a document's last


def run(scale, epochs, name, seed):
    """{"kl", "every": {side: the saliency of each document's words}} of test documents."""
    data = load(scale)
    model, encoder = model_of(scale, data.vocabulary, scale.latent), encoder_of(scale, data.vocabulary)
    method = METHODS[name](scale, encoder)
    found = fit(
        model, method, data, epochs, seed, progress=False, batch=scale.batch, learning_rate=scale.learning_rate,
        warmup_epochs=scale.warmup, beta_start=0.05, valid_examples=len(data.valid),
    )  # fmt: skip
    theta, phi, x = found.theta, found.phi, data.test
    f, rng = model.objective(theta, x), np.random.default_rng(3)
    f.reserve(scale.steps)
    noise = [model.draw_noise(rng, 1, len(x), theta.dtype) for _ in range(scale.steps)]
    lam_0 = encoder.evaluate(phi, x).output
    lam_K, lam_bar = saliency.pulled_back(f, lam_0, noise, saliency.size_of_mean, *method.inner(lam_0))
    kl = elbo_parts(model, theta, lam_K, x, np.random.default_rng(4))[1].mean()
    each = {
        "input": saliency.of_inputs(encoder, phi, x, lam_bar),
        "output": saliency.of_outputs(model.decoder, theta, x, lam_K[:, : scale.latent]),
    }
    return {"kl": float(kl), "every": {side: [s.tolist() for s in values] for side, values in each.items()}}


def summary(data, found):
    """{"kl", "input" and "output": {"effects" (2,), "last": share of the last words, "shown": the first documents}} of a run."""
    x = [row[row >= 0] for row in data.test]
    counts = np.bincount(data.train[data.train >= 0].astype(int), minlength=data.vocabulary)
    described = [saliency.features(row, counts, data.words) for row in x]
    kept = {"kl": found["kl"]}
    for side, every in found["every"].items():
        every = [np.array(s) for s in every]
        effects = saliency.effects(every, described, side == "input").tolist()
        kept[side] = {"effects": effects, "last": saliency.share_of_last(every, LAST)}
        kept[side]["shown"] = [s.tolist() for s in every[:SHOWN]]
    return kept


def compute(full):
    scale, epochs = FULL if full else SMALL
    folder, data = RUNS / ("full" if full else "small"), load(scale)
    runs = {
        f"{n}/{s}": summary(data, kept(folder / f"{n}-{s}.json", run, scale, epochs, n, s))
        for s in SEEDS
        for n in NAMES
    }
    even = saliency.share_of_last([np.ones((row >= 0).sum()) for row in data.test], LAST)
    words = [[data.words[int(word)] for word in row if word >= 0] for row in data.test[:SHOWN]]
    results = {
        "data": data.name,
        "scale": scale._asdict(),
        "epochs": epochs,
        "seeds": SEEDS,
        "words": words,
        "even": even,
        "runs": runs,
    }
    return json.loads(json.dumps(results), parse_float=lambda digits: float(f"{float(digits):.4g}"))


def values(results, name, side, effect):
    """An effect for each seed (n,)."""
    at = EFFECTS.index(effect)
    return np.array([results["runs"][f"{name}/{seed}"][side]["effects"][at] for seed in results["seeds"]])


def last(results, name, side):
    """The share of the last words for each seed (n,)."""
    return np.array([results["runs"][f"{name}/{seed}"][side]["last"] for seed in results["seeds"]])


def told(found):
    mean, error, n, below = found
    return f"{mean:+.2f} ± {error:.2f} ({n - below} of {n} above 0)"


def against_none(results, name, side, effect):
    found = values(results, name, side, effect)
    return difference(found, np.zeros(len(found)))


def report(results):
    scale = results["scale"]
    lines = [
        f"{results['data']}; {scale['documents'][0]} documents, {scale['vocabulary']} words, {results['epochs']} epochs, "
        f"{len(results['seeds'])} seeds; effects at the same place, in units of a document's mean "
        f"saliency; the last {LAST} words would have {results['even']:.2f} of it if all had the same"
    ]
    for name in NAMES:
        kl = np.array([results["runs"][f"{name}/{seed}"]["kl"] for seed in results["seeds"]])
        lines.append(f"{name}: KL {kl.mean():.2f} ± {kl.std(ddof=1):.2f}")
        for side in SIDES:
            cells = (f"{effect} {told(against_none(results, name, side, effect))}" for effect in EFFECTS)
            share = last(results, name, side)
            cells = [*cells, f"share of the last {LAST} words {share.mean():.2f} ± {share.std(ddof=1):.2f}"]
            lines.append(f"  {side:6} {'; '.join(cells)}")
    return "\n".join(lines)


def claims(results):
    """[SA] Figure 3 as rows of the claims page."""
    scale, found = results["scale"], []
    size = (
        f"{len(results['seeds'])} seeds; {scale['documents'][0]} documents, {scale['vocabulary']} words, "
        f"{results['epochs']} epochs; place and frequency held equal"
    )
    for side, words in (("input", "words of content move q's mean"), ("output", "z moves log p of words of content")):
        cells = {name: against_none(results, name, side, EFFECTS[0]) for name in NAMES}
        text = "; ".join(f"{name} {told(cell)}" for name, cell in cells.items())
        judged = {"worse": "holds", "better": "refuted"}.get(verdict(*cells["SA-VAE"][:2]), "not told apart")
        found.append(Claim("[SA] Figure 3", f"{words} more than other words do", size, text, "", judged))
    return found


def draw(results):
    """Left: the effects of each seed; right: documents of the first seed, the darker a word the larger its saliency in SA-VAE."""
    fig, axes = plots.figure(columns=2, rows=2, width=6.4, height=3.2)
    for (left, right), (side, title) in zip(axes, SIDES.items()):
        for i, name in enumerate(NAMES):
            look = plots.style(name.lower()) | {"linestyle": "none"}
            for j, effect in enumerate(EFFECTS):
                found = values(results, name, side, effect)
                left.plot([j + 0.2 * (i - 0.5)] * len(found), found, **look | {"label": None if j else look["label"]})
        left.axhline(0, color="0.3", linewidth=1)
        left.set_xticks(range(len(EFFECTS)), EFFECTS, fontsize=8)
        left.set_xlim(-0.5, len(EFFECTS) - 0.5)
        left.set(ylabel="effect (of the mean saliency)", title=title)
        _documents(right, results, side)
    axes[0, 0].legend(frameon=False, fontsize=8)
    return fig


def _documents(ax, results, side):
    """Words on a grey ground, lines of at most 62 characters."""
    ax.set_axis_off()
    ax.set(xlim=(0, 64), ylim=(0, 1), title=f"{side} side, SA-VAE, seed {results['seeds'][0]}: dark is salient")
    x, y = 0, 0.95
    for words, strength in zip(results["words"], results["runs"][f"SA-VAE/{results['seeds'][0]}"][side]["shown"]):
        top = max(strength)
        for word, value in zip(words, strength):
            if x + len(word) > 62:
                x, y = 0, y - 0.075
            grey = 1 - 0.75 * value / top
            ax.text(
                x, y, word, fontsize=6.5, family="monospace", va="top", parse_math=False, color="white" if grey < 0.5 else "black",
                bbox={"facecolor": str(grey), "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
            x += len(word) + 1
        x, y = 0, y - 0.11


if __name__ == "__main__":
    script(__file__, compute, draw, report)
