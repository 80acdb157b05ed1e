"""Table 3 of [SA]: images with a strong decoder, a Gated PixelCNN; what inference methods add where z is hardly needed.

    python figures/sa_table3.py           three seeds, OMNIGLOT's two small sets at 14 x 14 (about 15 minutes of one core)
    python figures/sa_table3.py --draw    draws the picture again from the JSON

Not the source's size: 14 x 14 pixels of the 5840 drawings in OMNIGLOT's two small background sets (their files in the folder
that SAVI_DATA names), 16 latents, 3 layers of 12 channels, and z enters late (savi/models/autoregressive.py), which is savi's
own form. Pixels are drawn anew for each minibatch in training, once for the images that judge.

Each seed has its own pretraining of the decoder without z (PRETRAIN processor seconds), from which every method starts, and the
baseline without z goes on. Then each has SECONDS of its own training steps, and is read at their end and after EPOCHS, by the
parameters of the best judged epoch on validation images. Adam 2e-3, batch 50, K = 10, beta from 0.1 over the first epoch,
momentum 0.5, no inner clip, outer clip 5. The inner step in training is 0.1 for every method, and 0.02, the source's
1 / batch, in a row of its own for SVI: it is not tuned. That of the test time is, on validation images, for every method.

What was done lies in runs/sa_table3, one file a run, and a second call goes on from there.
"""

import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.data import binarize, images
from savi.engine import threads
from savi.experiments.catalogue import scaled
from savi.experiments.evaluation import neg_elbo
from savi.experiments.tables import difference, verdict
from savi.experiments.tuning import search
from savi.studies.figures import Claim, script
from savi.studies.trial_tables import over_seeds, verdict_of
from savi.studies.trials import at_both, kept, spend, surviving
from savi.sweeps.parallel import cores, run_all

SIDE, LATENT, STEPS, MOMENTUM = 14, 16, 10, 0.5
DECODER = {"channels": 12, "layers": 3, "kernel": 3, "first": 5, "maps": 4}
STAGES, BATCH, RATE = (8, 16), 50, 2e-3
PRETRAIN, SECONDS, EPOCHS = 45.0, 20.0, 1
TEST_IMAGES, VALID_IMAGES, IW, SAMPLES = 400, 200, 100, 20
TEST_GRID = {"step_size": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)}
SEEDS, RUNS = (0, 1, 2), pathlib.Path("runs") / "sa_table3"
BARE, PLAIN, REFINED = "without z, no position map", "without z", "VAE, then SVI"
METHODS = ("VAE", "SVI, step 0.02", "SVI, step 0.1", "VAE+SVI", "VAE+SVI+KL", "SA-VAE")
ROWS = (BARE, PLAIN, "VAE", REFINED, *METHODS[1:])
PUBLISHED = {  # -ELBO and KL (nats) at 28 x 28, K = 10
    PLAIN: (90.59, 0.0), "VAE": (90.43, 0.98), "SVI, step 0.02": (90.65, 0.02), "VAE+SVI": (90.26, 1.69),
    "VAE+SVI+KL": (90.24, 2.42), "SA-VAE": (90.20, 1.83),
}  # fmt: skip
VIEWS = ("seconds", "epochs")


def compute():
    bare = [(seed, name) for seed in SEEDS for name in (PLAIN, BARE)]
    list(run_all(row, bare, cores()))  # the pretraining comes first
    items = bare + [(seed, name) for name in METHODS for seed in SEEDS]
    found = dict(zip(items, run_all(row, items, cores())))
    runs = [
        {name: view for name in (PLAIN, BARE, *METHODS) for name, view in found[seed, name].items()} for seed in SEEDS
    ]
    return {"seeds": SEEDS, "seconds": SECONDS, "pretrain": PRETRAIN, "epochs": EPOCHS, "runs": runs}


def model(latent, position_map=True):
    """The decoder of this table with so many latents."""
    return savi.LatentGaussianModel(savi.PixelCNNDecoder((SIDE, SIDE), latent, position_map=position_map, **DECODER))


def method(name):
    """A method of the table by its name."""
    encoder = savi.ResNet((SIDE, SIDE), STAGES, 2 * LATENT)
    inner = {"steps": STEPS, "step_size": 0.02 if "0.02" in name else 0.1, "momentum": MOMENTUM}
    made = {"VAE": savi.VAE(encoder), "VAE+SVI": savi.VAESVI(encoder, **inner), "SA-VAE": savi.SAVAE(encoder, **inner)}
    made["VAE+SVI+KL"] = savi.VAESVI(encoder, kl=True, **inner)
    return made.get(name) or savi.SVI(**inner)


def data():
    """OMNIGLOT at 14 x 14."""
    return scaled(images.load("omniglot"), SIDE)._replace(prepare=binarize)


def row(seed, name):
    """{row: {"seconds": measures, "epochs": measures}} of a training run, in one process with one thread."""
    with threads.using(1):
        drawings = data()
        if name in (BARE, PLAIN):
            return {name: without_z(seed, name, name == PLAIN, drawings)}
        both = with_z(seed, name, drawings)
        found = {name: {view: both[view]["own"] for view in VIEWS}}
        return found | ({REFINED: {view: both[view]["svi"] for view in VIEWS}} if name == "VAE" else {})


def fitted(made, how, drawings, seed, epochs, out, **more):
    return savi.fit(
        made, how, drawings, epochs, seed, out=str(out), resume=True, progress=False, batch=BATCH, learning_rate=RATE,
        valid_examples=VALID_IMAGES, **more,
    )  # fmt: skip


def checkpoint(seed):
    """Where the pretrained decoder without z lies."""
    return RUNS / f"{seed}" / PLAIN.replace(" ", "-") / "pretraining"


def without_z(seed, name, position_map, drawings):
    """A row without z: pretrained, then trained on for as long as the others."""
    folder, made = RUNS / f"{seed}" / name.replace(" ", "-").replace(",", ""), model(0, position_map)
    alone = savi.SVI(steps=0)
    out = folder / "pretraining"
    kept(
        _made(folder) / "pretrained.json",
        lambda: spend(lambda e: fitted(made, alone, drawings, seed, e, out), PRETRAIN).history,
    )
    more = {"start_from": str(out / "best.npz")}
    train = surviving(lambda e, out: fitted(made, alone, drawings, seed + 100, e, out, **more))

    def measure(result):
        return savi.evaluate(made, alone, result.theta, result.phi, test(drawings), rng(seed), samples=1) | {
            "nll": None
        }

    return at_both(str(folder), train, EPOCHS, SECONDS, measure)


def with_z(seed, name, drawings):
    """A row with z: trained from the pretrained decoder, measured with its own inference, and with SVI behind it."""
    folder, made, how = _made(RUNS / f"{seed}" / name.replace(" ", "-").replace(",", "")), model(LATENT), method(name)
    more = {"start_from": str(checkpoint(seed) / "best.npz"), "warmup_epochs": 1}
    train = surviving(lambda e, out: fitted(made, how, drawings, seed + 100, e, out, **more))

    def measure(result):
        trained, found = (result.theta, result.phi), {}
        ways = {"own": how, "svi": savi.VAE(how.encoder, STEPS, 0.1, MOMENTUM)} if name == "VAE" else {"own": how}
        for way, inference in ways.items():
            if inference.inner_settings:
                inference = tuned(made, inference, trained, drawings)
            found[way] = savi.evaluate(
                made, inference, *trained, test(drawings), rng(seed), samples=SAMPLES, iw_samples=IW
            )  # fmt: skip
            found[way] |= {"nll": found[way].pop("nll_iw"), "step": inference.inner_settings.get("step_size")}
        return found

    both = at_both(str(folder), train, EPOCHS, SECONDS, measure)
    for view in both.values():
        for way in ("own", "svi"):
            if way in view:
                view[way] |= {key: view[key] for key in ("epochs", "cpu")}
    return both


def tuned(made, how, trained, drawings):
    """The method with the inner step size whose lam_K has the lowest -ELBO on validation images."""
    x = binarize(drawings.valid[:VALID_IMAGES], np.random.default_rng(0))

    def loss(point):
        lam = how.with_inner(**point).infer(made, *trained, x, np.random.default_rng(1))
        return judged(made, trained[0], lam, x)

    best, _ = search(loss, {"step_size": 0.1}, TEST_GRID)
    return how.with_inner(**best)


def judged(made, theta, lam, x):
    """-ELBO (nats) of lam on validation images, the same noise for all."""
    return float(neg_elbo(made, theta, lam, x, np.random.default_rng(2), 5).mean())


def test(drawings):
    """The test images that all rows share."""
    return binarize(drawings.test[:TEST_IMAGES], np.random.default_rng(0))


def rng(seed):
    return np.random.default_rng([seed, 1])


def _made(folder):
    os.makedirs(folder, exist_ok=True)
    return folder


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
    """The table at equal seconds and at equal epochs, then paired differences."""
    lines = []
    for view in VIEWS:
        cost = f"{results['seconds']:g} processor seconds" if view == "seconds" else f"{results['epochs']} epoch"
        lines += [f"{cost} of training for each method, {len(results['seeds'])} seeds; nats an image"]
        head = (
            f"{'-ELBO':>15}{'KL':>14}{'IW NLL':>15}{'epochs':>8}{'seconds':>9}{'test step':>18}   minus the VAE's -ELBO"
        )
        lines += [f"{'':27}{head}"]
        for name in ROWS:
            lines.append(_line(results, name, view))
    for name, others in (("SA-VAE", (REFINED, "VAE+SVI", "VAE+SVI+KL", PLAIN)), (PLAIN, (BARE,)), (REFINED, (PLAIN,))):
        for other in others:
            for view in VIEWS:
                lines.append(f"{name} minus {other}, equal {view}: {told(minus(results, name, other, view=view))}")
    for name in (REFINED, "SA-VAE"):
        found = minus(results, name, PLAIN, "nll")
        lines.append(f"IW NLL of {name} minus that of {PLAIN}, equal seconds: {told(found)}")
    return "\n".join(lines)


def _line(results, name, view):
    def spread(key):
        return over_seeds(values(results, name, key, view))

    z = name not in (BARE, PLAIN)
    steps = ", ".join(f"{step:g}" for step in values(results, name, "step", view)) if z and name != "VAE" else ""
    against = "" if name == "VAE" else told(minus(results, name, "VAE", view=view))
    cells = f"{spread('neg_elbo'):>15}{spread('kl') if z else '':>14}{spread('nll'):>15}"
    cells += f"{values(results, name, 'epochs', view).mean():8.1f}{values(results, name, 'cpu', view).mean():9.1f}"
    return f"{name:27}{cells}{steps:>18}   {against}".rstrip()


CLAIMS = (
    ("SA-VAE (K = 10) is below the VAE: 90.20 against 90.43", "SA-VAE", "VAE"),
    ("SA-VAE (K = 10) is below VAE+SVI: 90.20 against 90.26", "SA-VAE", "VAE+SVI"),
    ("SA-VAE (K = 10) is below the decoder without z: 90.20 against 90.59", "SA-VAE", PLAIN),
    ("SVI at 1 / batch (K = 10) is above the VAE: 90.65 against 90.43", "VAE", "SVI, step 0.02"),
)


def claims(results):
    """[SA] Table 3 as rows of the claims page."""
    return [_claim(results, *claim) for claim in CLAIMS]


def _claim(results, claim, name, other):
    found = {view: minus(results, name, other, view=view) for view in VIEWS}
    cells = {view: f"{name} minus {other} {told(of)}" for view, of in found.items()}
    judged = verdict_of(*(verdict(*found[view][:2]) for view in VIEWS))
    scale = (
        f"OMNIGLOT's small sets at {SIDE} x {SIDE}, z late, {DECODER['layers']} layers of {DECODER['channels']} channels; "
        f"{len(results['seeds'])} seeds, after the pretraining {results['seconds']:g} processor seconds each, or "
        f"{results['epochs']} epoch"
    )
    return Claim("[SA] Table 3", claim, scale, cells["epochs"], cells["seconds"], judged)


def draw(results):
    """Left: each row's -ELBO minus that of the VAE, a mark a seed. Right: the KL of those with z, and the source's."""
    fig, (left, right) = plots.figure(columns=2, width=6.0, height=4.2)
    shown = [name for name in ROWS if name not in (BARE, "VAE")]
    for i, name in enumerate(shown):
        for view, shift, fill in (("epochs", -0.15, "none"), ("seconds", 0.15, "full")):
            found = values(results, name, view=view) - values(results, "VAE", view=view)
            left.plot([i + shift] * len(found), found, linestyle="", fillstyle=fill, **_look(name))
    left.axhline(0, color="0.4", linewidth=1)
    left.set_ylabel("test −ELBO minus the VAE's (nats per image)")
    left.set_title(f"full: {results['seconds']:g} processor seconds, hollow: {results['epochs']} epoch", fontsize=10)
    kinds = [name for name in ROWS if name not in (BARE, PLAIN)]
    for i, name in enumerate(kinds):
        found = values(results, name, "kl")
        right.plot([i] * len(found), found, linestyle="", **_look(name))
        if name in PUBLISHED:
            right.plot(i + 0.25, PUBLISHED[name][1], "_", color="0.3", markersize=12)
    right.plot([], [], "_", color="0.3", markersize=12, label="[SA], 28 x 28, K = 10")
    right.legend(frameon=False, fontsize=8)
    right.set_ylabel("KL (nats per image)")
    right.set_title("how much of z is used, at equal seconds", fontsize=10)
    for ax, names in ((left, shown), (right, kinds)):
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    return fig


def _look(name):
    key = {REFINED: "vae-then-svi", "SVI, step 0.1": "svi", PLAIN: "iterative"}.get(name, name.lower())
    look = plots.style(key) if key in plots.STYLES else plots.style("svi") | {"marker": "x"}
    return {part: look[part] for part in ("color", "marker", "markersize")}


if __name__ == "__main__":
    script(__file__, compute, draw, report)
