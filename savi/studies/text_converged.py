"""The runs of [SA] Table 2 at convergence: one method on documents, trained until validation documents say that more does not help.

    tuned      the inner step of a method that has one in training, by short runs with a seed of their own
    run        one method and seed: trained, measured on test documents with the parameters of its best epoch
    trained    the learning rate stays until so many epochs in a row (PATIENCE) have not lowered the validation -ELBO; then
               training goes on from the best parameters at the next of FALLS times that rate

Methods need very different numbers of epochs, and Adam at a rate that does not fall never settles. So each method's own
validation bound says when its rate falls and when it ends, by one rule for all.
"""

import numpy as np

from ..experiments.evaluation import elbo_parts, infer
from ..experiments.stopping import fit_stopped
from ..experiments.training import NonFiniteLoss, fit
from ..experiments.tuning import search
from ..inference.svi import SVI
from ..nets.tokens import Noise
from . import text_runs
from .text_runs import METHODS, encoder_of, load, model_of

FALLS, PATIENCE, MOST = (1.0, 0.25, 0.0625), (5, 2, 2), 120  # MOST: epochs at one rate
GRID = {"step_size": (0.03, 0.1, 0.3, 1.0, 3.0)}  # in training and at test time, for every method
IN_TRAINING = ("SVI", "VAE+SVI", "VAE+SVI+KL", "SA-VAE")  # those that have an inner step there
SEED = 100  # of the runs that choose it


def tuned(scale, name, epochs):
    """{"step_size", "curve": [{"step_size", "loss"}, ...]}: by the validation -ELBO after so many epochs at the first rate."""
    data = load(scale)
    model, method = _built(scale, data, name)

    def loss(point):
        stepped = method.with_inner(**point)
        try:
            found = fit(
                model, stepped, data, epochs, SEED, **_settings(scale), warmup_epochs=scale.warmup, beta_start=0.05
            )
        except NonFiniteLoss:
            return np.inf
        return judge(model, stepped, data)(*found.last)

    best, curve = search(loss, {"step_size": method.step_size}, GRID)
    return best | {"curve": [row for row in curve if row["loss"] < np.inf]}


def run(scale, name, seed, step_size=None):
    """What a method by its name is worth: text_runs.measured ("own", "first") of its best epoch, and how it came there.

    step_size: of the inner steps in training. "at_test": that of the test time, which validation documents choose; "valid":
    their -ELBO at the best epoch, and "valid_first" at that of the first learning rate; "epochs", "cpu": of all training,
    a pretrained language model's too; "best": epochs that led to the parameters; "curve": the validation -ELBO of each epoch.
    """
    data = load(scale)
    model, method = _built(scale, data, name)
    if step_size is not None:
        method = method.with_inner(step_size=step_size)
    if name == "VAE, words hidden":
        data = data._replace(disturb=Noise(data.vocabulary, scale.words, True))
    start, found = None, {"cpu": 0.0, "epochs": 0}
    if name == "VAE+INIT":
        lm = trained(scale, model_of(scale, data.vocabulary, 0), SVI(0), data, seed)
        start = None, text_runs.beginning(method, lm["theta"], seed)
        found = {key: lm[key] for key in found}
    ended = trained(scale, model, method, data, seed, start)
    theta, phi = ended.pop("theta"), ended.pop("phi")
    found = ended | {key: value + ended[key] for key, value in found.items()}
    if method.steps:
        method = method.with_inner(**_at_test(model, method, theta, phi, data.valid))
        found["at_test"] = method.step_size
    return found | text_runs.measured(scale, model, method, theta, phi, data.test)


def trained(scale, model, method, data, seed, start=None):
    """{"theta", "phi"} of the best epoch, and "valid", "valid_first", "best", "epochs", "cpu", "curve" as `run` says."""
    at, found = start, {"valid": np.inf, "best": 0, "epochs": 0, "cpu": 0.0, "curve": []}
    for i, (fall, patience) in enumerate(zip(FALLS, PATIENCE)):
        warm = {"warmup_epochs": 0 if i else scale.warmup, "beta_start": 0.05}
        stage = fit_stopped(
            model, method, data, _until(patience, warm["warmup_epochs"]), 1000 * i + seed, patience=np.inf, start_from=at,
            judges={"valid": judge(model, method, data)}, **_settings(scale, fall), **warm,
        )  # fmt: skip
        best, last = stage.best["valid"], stage.history[-1]
        if best.loss < found["valid"]:
            at = best.theta, best.phi
            found |= {"valid": best.loss, "best": found["best"] + best.epoch, "theta": best.theta, "phi": best.phi}
        found.setdefault("valid_first", best.loss)
        found |= {key: found[key] + last[name] for key, name in (("epochs", "epoch"), ("cpu", "cpu"))}
        found["curve"].append([row["valid"] for row in stage.history])
    return found


def judge(model, method, data):
    """The validation -ELBO of (theta, phi), nats a document: at lam_0, or after the steps that a method has in training."""

    def loss(theta, phi):
        return _bound(model, method, theta, phi, data.valid, method.training_steps)

    return loss


def _built(scale, data, name):
    model = model_of(scale, data.vocabulary, 0 if name == "LM" else scale.latent)
    return model, METHODS[name](scale, encoder_of(scale, data.vocabulary))


def _settings(scale, fall=1.0):
    """fit's, at that share of the learning rate."""
    return {"batch": scale.batch, "learning_rate": fall * scale.learning_rate, "judge_at": ()}


def _until(patience, warmup):
    """fit_stopped's ends: epoch after epoch, until `patience` of them have not been better; none counts before the warm-up ends."""

    def following(history):
        losses = [row["valid"] for row in history]
        waited = len(losses) - max(np.argmin(losses) + 1, warmup) if losses else 0
        return None if waited >= patience or len(losses) == MOST else len(losses) + 1

    return following


def _at_test(model, method, theta, phi, x):
    """{"step_size"} of the steps at test time, whose -ELBO of documents x is lowest."""

    def loss(point):
        with np.errstate(all="ignore"):  # a step that diverges loses
            return _bound(model, method.with_inner(**point), theta, phi, x, method.steps)

    return search(loss, {"step_size": method.step_size}, GRID)[0]


def _bound(model, method, theta, phi, x, steps, samples=3):
    lam = infer(model, method, theta, phi, x, np.random.default_rng(1), steps)
    parts = elbo_parts(model, theta, lam, x, np.random.default_rng(2), samples if model.latent_dim else 1)
    return round(float(sum(part.mean(dtype=float) for part in parts)), 3)  # a search follows nothing smaller
