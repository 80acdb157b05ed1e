"""The runs of [SA] Table 2, each a function of its settings to a file: one method trained on documents, read at two costs.

counts   what a unigram and an n-gram know (data/ngrams.py)
run      one method and seed: trained until its own steps have had their processor seconds, judged on validation documents
         along the way, measured on test documents with the best parameters after the shared epochs and after the seconds
"""

import os
import shutil
from typing import NamedTuple

import numpy as np

from ..data import text
from ..data.ngrams import KneserNey
from ..experiments.evaluation import active_units, elbo_parts, importance_weighted, infer, perplexity
from ..experiments.training import fit
from ..inference.amortized import VAE
from ..inference.semi_amortized import SAVAE, VAESVI
from ..inference.svi import SVI
from ..models.language import LanguageDecoder
from ..models.latent_gaussian import LatentGaussianModel
from ..nets.encoders import LSTMEncoder
from ..nets.tokens import Noise

INNER = {"step_size": 0.3, "momentum": 0.5, "clip": 5.0}  # of an example's own steps
ENDS, PILOT, INIT_SHARE = (0.2, 0.4, 0.6, 0.8, 1.0), 0.1, 0.25
STEPS = (0, 1, 2, 5, 10, 20)


class Scale(NamedTuple):
    """The size of an experiment. documents: for training, validation and testing; seconds: of each run's training steps; shared:
    epochs at which all are read; warmup: epochs of the KL weight from 0.05 to 1; words: the probability that a word is hidden."""

    vocabulary: int = 300
    documents: tuple = (500, 150, 150)
    units: int = 32
    latent: int = 8
    drop: float = 0.2
    words: float = 0.25
    batch: int = 16
    learning_rate: float = 3e-3
    warmup: float = 2.0
    steps: int = 5
    seconds: float = 8.0
    shared: float = 4.0
    iw_samples: int = 20


def load(scale):
    """The Text of `scale`: the first documents of each part of docs."""
    data = text.load("docs", vocabulary=scale.vocabulary)
    few = dict(zip(text.PARTS, (getattr(data, part)[:n] for part, n in zip(text.PARTS, scale.documents))))
    return data._replace(disturb=Noise(data.vocabulary, masks=True), **few)


def counts(scale, name):
    """{"neg_elbo": nats a test document, "perplexity"} of a "unigram" or "KN-3"."""
    data = load(scale)
    nll = -KneserNey(data.train, data.vocabulary, {"unigram": 1, "KN-3": 3}[name]).log_prob(data.test)
    return {"neg_elbo": float(nll.mean()), "perplexity": perplexity(nll, tokens(data.test))}


def tokens(x):
    """How many tokens are predicted in each document, its end among them (N,)."""
    return (x >= 0).sum(axis=1)


def model_of(scale, vocabulary, latent):
    """The model with so many latent dimensions; 0 is the language model."""
    return LatentGaussianModel(LanguageDecoder(vocabulary, scale.units, scale.units, latent, scale.drop))


def encoder_of(scale, vocabulary):
    """The LSTM encoder, as wide as the model."""
    return LSTMEncoder(vocabulary, scale.units, scale.units, 2 * scale.latent)


METHODS = {
    "LM": lambda s, encoder: SVI(0),
    "VAE": lambda s, encoder: VAE(encoder, s.steps, **INNER),
    "VAE+INIT": lambda s, encoder: VAE(encoder, s.steps, **INNER),
    "VAE, words hidden": lambda s, encoder: VAE(encoder, s.steps, **INNER),
    "SVI": lambda s, encoder: SVI(2 * s.steps, **INNER),
    "VAE+SVI": lambda s, encoder: VAESVI(encoder, s.steps, **INNER),
    "VAE+SVI+KL": lambda s, encoder: VAESVI(encoder, s.steps, **INNER, kl=True),
    "SA-VAE": lambda s, encoder: SAVAE(encoder, s.steps, **INNER),
}
CURVES = ("VAE", "VAE+SVI", "SA-VAE")  # whose bound is followed over more steps at test time


def run(scale, name, seed, folder):
    """{"epochs": reading, "seconds": reading}; a reading is what `measured` gives, with epochs, cpu, best (the epoch)."""
    data = load(scale)
    model = model_of(scale, data.vocabulary, 0 if name == "LM" else scale.latent)
    method = METHODS[name](scale, encoder_of(scale, data.vocabulary))
    if name == "VAE, words hidden":
        data = data._replace(disturb=Noise(data.vocabulary, scale.words, True))
    start, spent = _initial(scale, data, method, seed, folder) if name == "VAE+INIT" else (None, 0.0)
    readings = _train(scale, model, method, data, seed, start, spent, folder)
    return {view: reading | measured(scale, model, method, *at, data.test, view == "seconds" and name in CURVES)
            for view, (reading, at) in readings.items()}  # fmt: skip


def _initial(scale, data, method, seed, folder):
    """((None, phi), processor seconds): an encoder that begins as a language model, trained for a share of the seconds."""
    lm, lm_scale = model_of(scale, data.vocabulary, 0), scale._replace(seconds=INIT_SHARE * scale.seconds)
    (reading, (theta, _)) = _train(lm_scale, lm, SVI(0), data, seed, None, 0.0, folder)["seconds"]
    return (None, beginning(method, theta, seed)), reading["cpu"]


def beginning(method, theta, seed):
    """phi (Q,) whose LSTM is that of a language model's theta."""
    phi, size = method.init(np.random.default_rng([seed, 7]), np.float32), method.encoder.lstm.size
    phi[:size] = theta[:size]
    return phi


def _train(scale, model, method, data, seed, start, spent, folder):
    """{view: (reading, (theta, phi))}: the best parameters so far at the shared epochs and when the seconds are spent."""
    out, best, found = os.path.join(folder, "state"), (np.inf, 0, None), {}
    shutil.rmtree(out, ignore_errors=True)  # of a run that was stopped: what it was judged at is lost

    def on(epochs):
        nonlocal best
        result = fit(
            model, method, data, epochs, seed, out=out, resume=True, progress=False, valid_examples=0, batch=scale.batch,
            learning_rate=scale.learning_rate, warmup_epochs=scale.warmup, beta_start=0.05, judge_at=(), start_from=start,
        )  # fmt: skip
        row, at = result.history[-1], result.last
        lam = infer(model, method, *at, data.valid, np.random.default_rng(1), method.training_steps)
        loss = sum(part.mean() for part in elbo_parts(model, at[0], lam, data.valid, np.random.default_rng(2), 5))
        if loss < best[0]:
            best = float(loss), row["epoch"], at
        return row["epoch"], row["cpu"] + spent

    def read(view, epochs, cpu):
        found[view] = {"epochs": float(epochs), "cpu": cpu, "best": float(best[1]), "valid": best[0]}, best[2]

    done, cpu = on(max(PILOT, scale.batch / len(data.train)))
    if done >= scale.shared:
        read("epochs", done, cpu)
    for target in (*(end * scale.seconds for end in ENDS), np.inf):
        goal = scale.shared if target == np.inf else done + max(0.0, target - cpu) * done / max(cpu - spent, 1e-9)
        if done < scale.shared <= goal:
            read("epochs", *on(scale.shared))
        if target < np.inf and goal > done:
            done, cpu = on(goal)
        if target == scale.seconds:
            read("seconds", done, cpu)
    shutil.rmtree(out)
    return found


def measured(scale, model, method, theta, phi, x, curve=False):
    """{"own": `worth` after the method's own steps, "first": that at lam_0, "curve": ...} of documents x."""
    steps = {"own": method.steps, "first": 0} if method.steps else {"own": 0}
    lams = {name: infer(model, method, theta, phi, x, np.random.default_rng(3), n) for name, n in steps.items()}
    found = {name: worth(model, theta, lam, x, scale.iw_samples) for name, lam in lams.items()}
    if curve:
        starts = {"encoder": method, "random": SVI(start="random", **INNER)}
        found["curve"] = {name: _curve(model, start, theta, phi, x) for name, start in starts.items()}
    return found


def worth(model, theta, lam, x, iw_samples):
    """{"neg_elbo", "kl", "iw": nats a document, their "perplexity" and "iw_perplexity", "active": units} at lam."""
    parts = elbo_parts(model, theta, lam, x, np.random.default_rng(4))
    loss = iw = sum(parts)
    if model.latent_dim:  # or else the bound is exact
        iw = -importance_weighted(model, theta, lam, x, np.random.default_rng(6), iw_samples)
    return {
        "neg_elbo": float(loss.mean()), "iw": float(iw.mean()),
        "kl": float(parts[1].mean()), "active": active_units(lam[:, : model.latent_dim]),
        "perplexity": perplexity(loss, tokens(x)), "iw_perplexity": perplexity(iw, tokens(x)),
    }  # fmt: skip


def _curve(model, method, theta, phi, x):
    """[[perplexity by the bound, KL], ...] after each of STEPS."""
    path = method.path(model, theta, phi, x, np.random.default_rng(5), max(STEPS))
    parts = [elbo_parts(model, theta, path[k], x, np.random.default_rng(4)) for k in STEPS]
    return [[perplexity(sum(each), tokens(x)), float(each[1].mean())] for each in parts]
