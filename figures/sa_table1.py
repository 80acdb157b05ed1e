"""Table 1 of [SA]: sequences from an oracle; what each inference method loses, with the oracle's generator and a learned one.

    python figures/sa_table1.py           eight oracles of each kind (about 42 minutes on two cores)
    python figures/sa_table1.py --full    the same with four times the seconds
    python figures/sa_table1.py --draw    draws the picture again from the JSON

z in two dimensions, 1000 tokens, five a sequence; 5000 training sequences (savi/data/synthetic.py). Bounds are exact: E_q by
Gauss and Hermite's rule, log p(x) on a grid, the approximation gap from the best diagonal Gaussian of each example.

Equal cost: each method has the processor seconds of its part (SECONDS; one thread), turned into whole epochs by the measured
cost of a step; it is read at the end of these and, from the same run, after as many epochs as SA-VAE had ("epochs"). In
both views the parameters are those of the judged epoch with the lowest validation -ELBO. Equal tuning: on validation sequences of
an oracle that is none of the eight. Inner steps of training: step size and clip, by short runs, for every method that has
them. Inner steps at test time: step size, its ratio of log_var's to mu's, momentum, clip, for every method that is refined,
for 20 steps and for 100. Iterative models: how many iterations at test time. Not tuned: the networks, Adam's step size, K in
training, momentum in training, the iterative models' iterations and samples in training.

What was done lies in runs/sa_table1, one file a run, and a second call goes on from there.
"""

import functools
import json
import pathlib
import sys
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots, quadrature, synthetic
from savi.experiments import budget
from savi.experiments.figures import kept, script
from savi.experiments.parallel import cores, run_all
from savi.experiments.sequences import (
    FIT,
    STARTS,
    VALID,
    K,
    best_inner,
    bound,
    estimate,
    inner,
    known_model,
    sequence_encoder,
    train,
)  # fmt: skip
from savi.experiments.training import NonFiniteLoss
from savi.inference.iterative import Gradient, Iterative, network
from savi.models.latent_gaussian import Product

SECONDS = {"tanh": 40.0, "affine": 20.0, "learned": 16.0}  # of training, for each method and seed
RUNS, SEEDS, TUNING_SEED, ABLATION_SEEDS = pathlib.Path("runs") / "sa_table1", tuple(range(8)), 100, (0, 1, 2)
TRIAL, POINTS, TEST, MANY = 0.2, 8, 200, 100  # of the seconds; judged epochs; test sequences; many test steps
TEST_STEPS, ITERATIONS = (0, 5, 10, 20, 40, 100), (1, 2, 5, 10, 20)
KNOWN = ("SVI", "VAE", "VAE+SVI+KL", "SA-VAE", "iterative")
TRAINED = {"tanh": KNOWN, "affine": KNOWN, "learned": ("SVI", "VAE", "VAE+SVI", "VAE+SVI+KL", "SA-VAE", "collapsed")}
ABLATION = ("no second derivatives", "forward difference")  # SA-VAE with other Hessian products, tanh oracle
READINGS = {"VAE": ("VAE", "VAE, then SVI")}  # of one training run; the others have one, by their own names
UNREFINED = ("VAE", "collapsed", "iterative")
VIEWS = ("epochs", "seconds")
PUBLISHED = {
    "oracle": {"VAE": 21.77, "SVI": 22.33, "SA-VAE": 20.13, "true NLL": 19.63},
    "learned": {"VAE": 27.06, "SVI": 25.82, "SA-VAE": 25.21},
}


def compute(full):
    seconds = {part: (4 if full else 1) * s for part, s in SECONDS.items()}
    wanted = [(seconds, part) for part in TRAINED]
    plans = dict(zip(TRAINED, run_all(plan, wanted, cores())))
    tuned = [(seconds, part, name) for part in TRAINED for name in reversed(TRAINED[part])]
    runs = [
        (seconds, part, seed, name) for parts in (("tanh", "affine"), ("learned",))
        for seed in SEEDS for part in parts for name in ("truth", *TRAINED[part])
    ] + [(seconds, "tanh", seed, name) for seed in ABLATION_SEEDS for name in ABLATION]  # fmt: skip
    results = {
        "seconds": seconds, "seeds": SEEDS, "plans": plans,
        "tuned": {"/".join(item[1:]): found for item, found in zip(tuned, run_all(tune, tuned, cores()))},
        "runs": {"/".join(map(str, item[1:])): found for item, found in zip(runs, run_all(run, runs, cores()))},
    }  # fmt: skip
    return json.loads(json.dumps(results), parse_float=lambda text: round(float(text), 5))


def place(seconds, *names):
    return RUNS / "-".join(f"{s:g}" for s in seconds.values()) / "-".join(map(str, names)).replace(" ", "_")


# --- methods, and how they train and infer ------------------------------------------------------------------------------------


class Started(savi.LSTMDecoder):
    """An LSTMDecoder whose weights from z start uniform on (-3, 3)."""

    def init(self, rng, dtype=np.float64, x=None):
        theta = super().init(rng, dtype, x)
        first = self.net.layers(self.split(theta)[2])[0]
        first[:-1] = rng.uniform(-3, 3, first[:-1].shape)
        return theta


load = functools.lru_cache(2)(lambda seed, part: synthetic.load(seed, "tanh" if part == "tanh" else "affine"))


def no_second_derivatives(f, evaluation, v):
    """The product of Algorithm 1 with H = 0."""
    return Product(np.zeros_like(v), [])


def built(part, name, data, point=STARTS[0]):
    """(model, method), with the inner step `point` in training where the method has one."""
    model = known_model(data)[0]
    if part == "learned":
        kind = savi.LSTMDecoder if name == "collapsed" else Started
        model = savi.LatentGaussianModel(kind(data.vocabulary, synthetic.UNITS, synthetic.UNITS, synthetic.LATENT))
    encoder, steps, net = sequence_encoder(data), inner(point), network(model, [Gradient()], (128, 128))
    return model, {
        "SVI": lambda: savi.SVI(K, **steps),
        "VAE": lambda: savi.VAE(encoder),
        "collapsed": lambda: savi.VAE(encoder),
        "VAE+SVI": lambda: savi.VAESVI(encoder, K, **steps),
        "VAE+SVI+KL": lambda: savi.VAESVI(encoder, K, **steps, kl=True),
        "SA-VAE": lambda: savi.SAVAE(encoder, K, **steps),
        "no second derivatives": lambda: savi.SAVAE(encoder, K, **steps, hvp=no_second_derivatives),
        "forward difference": lambda: savi.SAVAE(encoder, K, **steps, hvp="forward"),
        "iterative": lambda: Iterative(net, [Gradient()], steps=5, samples=3),
    }[name]()  # fmt: skip


# --- cost, tuning, runs: each finished one is kept ------------------------------------------------------------------------------


def plan(seconds, part):
    """{"costs": processor seconds of a step, "epochs": how many each method gets, "shared": as many as SA-VAE gets}."""

    def measure():
        data, names = load(TUNING_SEED, part), TRAINED[part] + (ABLATION if part == "tanh" else ())
        learns = [name for name in names if name != "SVI" or part == "learned"]
        settings = SimpleNamespace(batch=FIT["batch"], learning_rate=FIT["learning_rate"], dtype=np.float32)
        costs = budget.costs({name: built(part, name, data) for name in learns}, data, settings)
        steps = len(data.train) / FIT["batch"]
        epochs = {name: max(round(seconds[part] / (cost * steps)), 1) for name, cost in costs.items()}
        return {"costs": costs, "shared": epochs["SA-VAE"], "epochs": epochs}

    return kept(place(seconds, part, "plan.json"), measure)


def points(of, name):
    """The epochs of a plan after which a run is judged; one that trains nothing has 0 alone."""
    last = of["epochs"].get(name, 0)
    last = max(last, of["shared"]) if name in ABLATION else last
    return sorted({*np.linspace(0, last, POINTS + 1)[1:].astype(int).tolist(), min(of["shared"], last)} - {0}) or [0]


def tune(seconds, part, name):
    """{"training": inner step, "curve"; reading: {view: {"choice": keyword arguments of `estimate`, "curve"}}}."""
    path = place(seconds, part, name)
    with np.errstate(all="ignore"):  # a step that diverges loses
        return kept(path.with_suffix(".json"), lambda: tuned(part, name, plan(seconds, part), path.with_suffix(".fit")))


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
        return mean(estimate(model, method, end, x, point=point))

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


def run(seconds, part, seed, name):
    """What one trained method is worth on one oracle: {reading: {view: its row}}; "truth" is what no method does."""
    path = place(seconds, part, seed, name)
    if name == "truth":
        found = kept(path.with_suffix(".json"), lambda: truth(part, seed))
    else:
        of, chosen = plan(seconds, part), tune(seconds, part, "SA-VAE" if name in ABLATION else name)
        folder = path.with_suffix(".fit")
        found = kept(path.with_suffix(".json"), lambda: judged(part, seed, name, of, chosen, folder))
    print(part, seed, name, flush=True)
    return found


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


def report(results):
    return ""


def draw(results):
    return plots.figure()[0]


if __name__ == "__main__":
    script(__file__, compute, draw, report)
