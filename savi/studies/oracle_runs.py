"""The runs of [SA] Table 1, each a pure function of its settings to a file: costs, tuning, and one method on one oracle.

    plan    seconds become whole epochs, once for each method, by the measured cost of a step
    tune    inner steps of a method, on validation sequences of an oracle that is no other run's
    run     one method trained on one oracle and measured on its test sequences, at equal epochs and at equal seconds
    rows    the same of an earlier plan and tuning, as rows for a report

Parts: the "tanh" and the "affine" oracle with their generators known, and a "learned" generator on the affine one's sequences.
What is finished is kept in a folder and not done again.
"""

import functools
import pathlib
import tempfile
from types import SimpleNamespace

import numpy as np

from ..data import synthetic
from ..experiments import budget, quadrature
from ..experiments.training import NonFiniteLoss
from ..inference.amortized import VAE
from ..inference.iterative import Gradient, Iterative, network
from ..inference.semi_amortized import SAVAE, VAESVI
from ..inference.svi import SVI
from ..models.latent_gaussian import LatentGaussianModel, Product
from ..models.sequence_decoders import LSTMDecoder
from .sequences import FIT, STARTS, VALID, K, best_inner, bound, estimate, inner, known_model, sequence_encoder, train
from .trials import kept

TUNING_SEED, TRIAL = 100, 0.2  # of the oracle for tuning; the part of a run's epochs that a trial of training has
POINTS, TEST, MANY = 8, 200, 100  # judged epochs of a run, test sequences, many test steps
TEST_STEPS, ITERATIONS = (0, 5, 10, 20, 40, 100), (1, 2, 5, 10, 20)
KNOWN = ("SVI", "VAE", "VAE+SVI+KL", "SA-VAE", "iterative")
TRAINED = {"tanh": KNOWN, "affine": KNOWN, "learned": ("SVI", "VAE", "VAE+SVI", "VAE+SVI+KL", "SA-VAE", "collapsed")}
ABLATION = ("no second derivatives", "forward difference")  # SA-VAE with other Hessian products, tanh oracle
READINGS = {"VAE": ("VAE", "VAE, then SVI")}  # of one training run; the others have one, by their own names
UNREFINED = ("VAE", "collapsed", "iterative")
VIEWS = ("epochs", "seconds")


def place(folder, *names):
    """Where in the folder a run of these names is kept, without a suffix."""
    return folder / "-".join(map(str, names)).replace(" ", "_")


class Started(LSTMDecoder):
    """An LSTMDecoder whose weights from z start uniform on (-3, 3)."""

    def init(self, rng, dtype=np.float64, x=None):
        theta = super().init(rng, dtype, x)
        first = self.net.layers(self.split(theta)[2])[0]
        first[:-1] = rng.uniform(-3, 3, first[:-1].shape)
        return theta


@functools.lru_cache(2)
def load(seed, part):
    """The oracle of that seed which a part has, and its sequences."""
    return synthetic.load(seed, "tanh" if part == "tanh" else "affine")


def no_second_derivatives(f, evaluation, v):
    """The product of Algorithm 1 with H = 0."""
    return Product(np.zeros_like(v), [])


def built(part, name, data, point=STARTS[0]):
    """(model, method), with the inner step `point` in training where the method has one."""
    model = known_model(data)[0]
    if part == "learned":
        kind = LSTMDecoder if name == "collapsed" else Started
        model = LatentGaussianModel(kind(data.vocabulary, synthetic.UNITS, synthetic.UNITS, synthetic.LATENT))
    encoder, steps, net = sequence_encoder(data), inner(point), network(model, [Gradient()], (128, 128))
    return model, {
        "SVI": lambda: SVI(K, **steps),
        "VAE": lambda: VAE(encoder),
        "collapsed": lambda: VAE(encoder),
        "VAE+SVI": lambda: VAESVI(encoder, K, **steps),
        "VAE+SVI+KL": lambda: VAESVI(encoder, K, **steps, kl=True),
        "SA-VAE": lambda: SAVAE(encoder, K, **steps),
        "no second derivatives": lambda: SAVAE(encoder, K, **steps, hvp=no_second_derivatives),
        "forward difference": lambda: SAVAE(encoder, K, **steps, hvp="forward"),
        "iterative": lambda: Iterative(net, [Gradient()], steps=5, samples=3),
    }[name]()  # fmt: skip


def plan(folder, seconds, part):
    """{"costs": processor seconds of a step, "epochs": how many each method gets, "shared": as many as SA-VAE gets}."""

    def measure():
        data, names = load(TUNING_SEED, part), TRAINED[part] + (ABLATION if part == "tanh" else ())
        learns = [name for name in names if name != "SVI" or part == "learned"]
        settings = SimpleNamespace(batch=FIT["batch"], learning_rate=FIT["learning_rate"], dtype=np.float32)
        costs = budget.costs({name: built(part, name, data) for name in learns}, data, settings)
        steps = len(data.train) / FIT["batch"]
        epochs = {name: max(round(seconds / (cost * steps)), 1) for name, cost in costs.items()}
        return {"costs": costs, "shared": epochs["SA-VAE"], "epochs": epochs}

    return kept(place(folder, part, "plan.json"), measure)


def points(of, name):
    """The epochs of a plan after which a run is judged; one that trains nothing has 0 alone."""
    last = of["epochs"].get(name, 0)
    last = max(last, of["shared"]) if name in ABLATION else last
    return sorted({*np.linspace(0, last, POINTS + 1)[1:].astype(int).tolist(), min(of["shared"], last)} - {0}) or [0]


def tune(folder, seconds, part, name):
    """{"training": inner step, "curve"; reading: {view: {"choice": keyword arguments of `estimate`, "curve"}}}."""
    path, of = place(folder, part, name), plan(folder, seconds, part)
    with np.errstate(all="ignore"):  # a step that diverges loses
        return kept(path.with_suffix(".json"), lambda: tuned(part, name, of, path.with_suffix(".fit")))


def tuned(part, name, of, folder):
    """`tune`, on the validation sequences of an oracle that is no other run's."""
    data, found = load(TUNING_SEED, part), {"training": STARTS[0], "curve": []}
    x = data.valid[:VALID]

    def trial(point):
        model, method = built(part, name, data, point)
        try:
            (end,) = train(model, method, data, TUNING_SEED, [TRIAL * of["epochs"][name]], folder)
        except NonFiniteLoss:
            return np.inf
        _, curve = best_inner(
            lambda p: mean(estimate(model, method, end, x, point=p)), ("step_size", "ratio"), (point,)
        )
        return min((loss for *_, loss in curve if loss is not None), default=np.inf)  # at its best step at test time

    if name not in UNREFINED and name in of["epochs"]:
        found["training"], found["curve"] = best_inner(trial, ("step_size", "clip"))
    last = points(of, name)[-1]
    model, method = built(part, name, data, found["training"])
    ends = train(model, method, data, TUNING_SEED, sorted({last, min(of["shared"], last)}), folder)

    def best(reading, end, **steps):
        if reading not in UNREFINED:
            point, curve = best_inner(lambda p: mean(estimate(model, method, end, x, point=p, **steps)))
            return {"choice": {"point": point} | steps, "curve": curve}
        if name != "iterative":
            return {"choice": {}, "curve": []}
        curve = [[n, mean(estimate(model, method, end, x, n))] for n in ITERATIONS]
        return {"choice": {"steps": min(curve, key=lambda row: row[1])[0]}, "curve": curve}

    for reading in READINGS.get(name, (name,)):
        found[reading] = {"seconds": best(reading, ends[-1])}
        found[reading]["epochs"] = best(reading, ends[0]) if len(ends) > 1 else found[reading]["seconds"]
        if reading not in UNREFINED:
            found[reading]["many"] = best(reading, ends[-1], steps=MANY)
    return found


def mean(estimated):
    """The mean -ELBO of what `estimate` gives."""
    return float(estimated[0].mean())


def run(folder, seconds, part, seed, name):
    """What one trained method is worth on one oracle: {reading: {view: its row}}; "truth" is what no method does."""
    path = place(folder, part, seed, name)
    if name == "truth":
        found = kept(path.with_suffix(".json"), lambda: truth(part, seed))
    else:
        of, chosen = plan(folder, seconds, part), tune(folder, seconds, part, "SA-VAE" if name in ABLATION else name)
        found = kept(path.with_suffix(".json"), lambda: judged(part, seed, name, of, chosen, path.with_suffix(".fit")))
    print(part, seed, name, flush=True)
    return found


def rows(part, seed, name, of, chosen):
    """`run` with the epochs of a plan and the inner steps chosen before, as a list of rows {"method": reading, "at": view, ...}.

    "truth" gives the best diagonal Gaussian and the exact -log p(x) or, of a learned generator, no latent at all.
    """
    if name == "truth":
        labels = {"nll": "exact", "best": "best Gaussian", "unigram": "unigram"}
        values = {labels[key]: {"neg_elbo": value} for key, value in truth(part, seed).items()}
        found = {reading: dict.fromkeys(VIEWS, row) for reading, row in values.items()}
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = judged(part, seed, name, of, chosen, pathlib.Path(folder) / "fit")
    return [{"method": r, "at": f"equal {v}"} | row for r, views in found.items() for v, row in views.items()]


def truth(part, seed):
    """The exact mean -log p(x), the best diagonal Gaussian's -ELBO; of a learned generator the unigram's, with no latent."""
    data = load(seed, part)
    (model, theta), x = known_model(data), data.test[:TEST]
    found = {"nll": -float(quadrature.log_marginal(model, theta, x).mean())}
    if part == "learned":
        return found | {"unigram": -float(built(part, "VAE", data)[0].baseline(data.train, x)[1].mean())}
    best, loss = quadrature.best_gaussian(model, theta, x)
    return found | {"best": float(np.minimum(loss, bound(model, theta, best, x)[0]).mean())}


def judged(part, seed, name, of, chosen, folder):
    """{reading: {view: row}} of a run: the Snapshot with the lowest validation -ELBO, measured on test sequences."""
    data = load(seed, part)
    x, valid = data.test[:TEST], data.valid[:VALID]
    model, method = built(part, name, data, chosen["training"])
    snapshots = train(model, method, data, seed, points(of, name), folder)
    nll = functools.cache(lambda i: -float(quadrature.log_marginal(model, snapshots[i].theta, x).mean()))

    def row(reading, view, choices):
        choice = choices[view]["choice"]
        seen = [s for s in snapshots if view == "seconds" or s.epochs <= of["shared"]]
        losses = [mean(estimate(model, method, s, valid, **choice)) for s in seen]
        best = snapshots[i := int(np.argmin(losses))]
        loss, kl = estimate(model, method, best, x, **choice)
        found = {"neg_elbo": float(loss.mean()), "kl": float(kl.mean())}
        found |= {"epochs": best.epochs, "cpu": best.cpu, "passes": best.passes}
        found["curve"] = [[s.epochs, s.cpu, s.passes, loss] for s, loss in zip(seen, losses)]
        if part == "learned":
            found["nll"] = nll(i)
        if view == "seconds" and choice:
            found["by_steps"] = [mean(estimate(model, method, best, x, **choice | {"steps": n})) for n in TEST_STEPS]
        if view == "seconds" and "many" in choices:
            found["many"] = mean(estimate(model, method, best, x, **choices["many"]["choice"]))
        return found

    return {
        reading: {view: row(reading, view, chosen["SA-VAE" if name in ABLATION else reading]) for view in VIEWS}
        for reading in READINGS.get(name, (name,))
    }
