"""Odd arguments for everything that savi offers: each is answered by one sentence, or by the right result.

    python tests/campaign/odd_calls.py         every call with every odd value, and what did not hold

A call is a function with arguments that suit it; each argument has a kind, and each kind has values that must be refused
(by an InputError, never by an exception from deep inside) and others that must give the very result of the usual one.
"""

import sys
import warnings

import numpy as np

import savi
from savi import data
from savi.data import dataset, synthetic
from savi.engine import threads
from savi.experiments import evaluation, quadrature
from savi.inference import hvp, optimizers

NAN, INF = float("nan"), float("inf")
NOTHINGS = {"None": None, "text": "x", "object": object()}


def masked(a):
    """`a` as a masked array that hides one entry."""
    hidden = np.ma.array(a)
    hidden[(0,) * np.ndim(a)] = np.ma.masked
    return hidden


class Kind:
    """refused(good) and same(good): {what it is: value} of odd values in place of a good one."""

    def __init__(self, refused, same=lambda good: {}):
        self.refused, self.same = refused, same


def but(kind, *allowed):
    """The kind, with some of its values allowed after all: then nothing is asked of them."""
    return Kind(lambda good: {n: v for n, v in kind.refused(good).items() if n not in allowed}, kind.same)


def whole(least, *allowed):
    """A whole number >= least."""
    numbers = {"one below": least - 1, "half": least + 0.5, "NaN": NAN, "infinite": INF, "list": [3], "complex": 3j}
    return but(
        Kind(
            lambda good: NOTHINGS | numbers | {"digits": "3"},
            lambda good: {"float": float(good), "int8": np.int8(good)},
        ),
        *allowed,
    )


def number(*outside, allowed=()):
    """A real number; `outside` are some that are not in its range."""
    numbers = {"NaN": NAN, "infinite": INF, "list": [0.5], "complex": 0.5j, "digits": "0.5"}
    out = {f"{value}": value for value in outside}
    same = lambda good: {"0-d array": np.array(good), "float64": np.float64(good)}  # noqa: E731
    return but(Kind(lambda good: NOTHINGS | numbers | out, same), *allowed)


def _wrong_arrays(good):
    return {
        "scalar": 0.5, "0-d": np.array(0.5), "empty": good[:0], "masked": masked(good), "objects": good.astype(object),
        "texts": good.astype(str), "one axis more": good[..., None], "one column less": good[..., :-1],
    }  # fmt: skip


floats = Kind(
    lambda good: NOTHINGS | _wrong_arrays(good) | {
        "list": good.tolist(), "whole numbers": good.astype(int), "float16": good.astype(np.float16), "number": 3,
    },
    lambda good: {"reversed twice": good[::-1][::-1], "Fortran": np.asfortranarray(good), "read-only": _read_only(good)},
)  # fmt: skip
real_floats = Kind(lambda good: floats.refused(good) | {"complex": good + 0j}, floats.same)
real_noise = but(real_floats, "list", "whole numbers", "float16")


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _with_first(a, value):
    a = np.array(a, dtype=float)
    a.flat[0] = value
    return a


examples = Kind(
    lambda good: NOTHINGS | _wrong_arrays(good) | {
        "complex": good + 0j, "NaN": _with_first(good, NAN), "infinite": _with_first(good, INF),
        "below 0": _with_first(good, -1), "grey values of a byte": 255 * good, "ragged": [[1.0], [0.0, 1.0]],
    },
    lambda good: {
        "list": good.tolist(), "whole numbers": good.astype(int), "booleans": good.astype(bool),
        "bytes": good.astype(np.uint8), "Fortran": np.asfortranarray(good), "big-endian": good.astype(">f8"),
        "a mask that hides nothing": np.ma.array(good), "read-only": _read_only(good), "float16": good.astype(np.float16),
    },
)  # fmt: skip
generator = Kind(
    lambda good: NOTHINGS | {"seed": 0, "module": np.random, "old kind": np.random.RandomState(0), "float": 0.5}
)
thing = Kind(lambda good: NOTHINGS | {"number": 3, "list": [1], "class": int})
precision = Kind(
    lambda good: {"text": "x", "float16": "float16", "int": int, "complex": complex, "list": [1], "object": object},
    lambda good: {"name": np.dtype(good).name, "dtype": np.dtype(good)},
)
finite_vector = Kind(
    lambda good: {n: v for n, v in _wrong_arrays(good).items() if n != "empty"} | {
        "text": "x", "NaN": _with_first(good, NAN), "infinite": _with_first(good, INF), "complex": good + 0j,
    },
    lambda good: {"list": good.tolist(), "float32": good.astype(np.float32)},
)  # fmt: skip
sizes = Kind(
    lambda good: NOTHINGS | {
        "number": 3, "one size": [3], "half": [3, 2.5], "negative": [3, -1], "NaN": [3, NAN], "texts": ["3", "2"],
        "infinite": [3, INF], "none": [], "nested": [[3], [2]],
    },
    lambda good: {"tuple": tuple(good), "array": np.array(good)},
)  # fmt: skip


# --- the calls ------------------------------------------------------------------------------------------------------------


def setting():
    """What the calls below are made of: a small model with its methods, and a point to evaluate it at."""
    rng = np.random.default_rng(0)
    decoder = savi.MLPDecoder(savi.MLP([2, 3, 4]), savi.Bernoulli())
    model = savi.LatentGaussianModel(decoder)
    x = (rng.random((5, 4)) < 0.5).astype(float)
    x[0, 0] = 1  # so that no odd value of x is its usual one
    lam, noise = rng.normal(0, 0.5, (5, 4)), rng.standard_normal((2, 5, 2))
    return model, model.init(rng), lam, x, noise


def calls():
    """{name: (function, {argument: (kind, good value)}, {other arguments})}."""
    model, theta, lam, x, noise = setting()
    rng = np.random.default_rng
    at = {"lam": (floats, lam), "theta": (floats, theta), "x": (examples, x)}
    real = {"lam": (real_floats, lam), "theta": (real_floats, theta), "x": (examples, x)}
    sampled = real | {"rng": (generator, rng), "samples": (whole(1), 3)}
    found = {
        "model.loss": (model.loss, at | {"noise": (real_noise, noise), "beta": (number(), 0.5)}, {}),
        "model.parts": (model.parts, at | {"noise": (real_noise, noise)}, {}),
        "model.evaluate": (lambda **a: model.evaluate(**a).d_lam, at | {"noise": (real_noise, noise)}, {}),
        "model.theta_gradient": (model.theta_gradient, at | {"noise": (real_noise, noise)}, {}),
        "model.log_weights": (model.log_weights, at | {"noise": (real_noise, noise)}, {}),
        "model.posterior_kl": (model.posterior_kl, {"lam": (floats, lam), "target": (floats, lam + 1)}, {}),
        "model.objective": (
            lambda **a: model.objective(**a).loss(lam, noise), {"theta": (floats, theta), "x": (examples, x)}, {},
        ),
        "hvp.product": (
            lambda v: hvp.product(model.objective(theta, x), model.evaluate(lam, theta, x, noise), v).lam,
            {"v": (real_floats, lam)}, {},
        ),
        "neg_elbo": (evaluation.neg_elbo, sampled, {}),
        "elbo_parts": (evaluation.elbo_parts, sampled, {}),
        "importance_weighted": (evaluation.importance_weighted, sampled, {}),
        "optimum": (
            evaluation.optimum,
            sampled | {"tolerance": (number(0, -1), 9.0), "steps": (whole(1), 2), "max_rounds": (whole(1), 2)}, {},
        ),
        "gaps": (
            evaluation.gaps, sampled | {"tolerance": (number(0, -1), 9.0), "iw_samples": (whole(1), 3)}, {},
        ),
        "log_marginal": (
            quadrature.log_marginal,
            {"theta": (floats, theta), "x": (examples, x), "nodes": (whole(2), 4), "tolerance": (number(0, -1), 9.0)},
            {"model": model},
        ),
        "quadrature.elbo_parts": (quadrature.elbo_parts, at | {"nodes": (whole(1), 3)}, {"model": model}),
        "binarize": (
            lambda **a: data.binarize(**a) + 0.0,
            {"images": (but(examples, "one axis more", "one column less", "scalar", "0-d", "empty"), x), "rng": (generator, rng)},
            {"precision": float},
        ),
        "as_dataset": (
            lambda a: dataset.as_dataset(a).train,
            {"a": (but(examples, "scalar", "0-d", "empty", "one axis more", "one column less", "NaN", "infinite", "below 0",
                       "grey values of a byte"), x)}, {},
        ),
        "threads.use": (threads.use, {"threads": (whole(1, "None"), 1)}, {}),
        "synthetic.load": (
            lambda **a: synthetic.load(vocabulary=3, units=2, **a).train,
            {"seed": (whole(0), 1), "length": (whole(1), 2), "z_range": (number(-1), 5.0), "oracle": (thing, "tanh"),
             "examples": (Kind(lambda good: NOTHINGS | {"number": 3, "half": (2, 2, 2.5), "two": (2, 2), "NaN": (2, 2, NAN)}),
                          (2, 2, 2))}, {},
        ),
        "data.load": (data.load, {"name": (Kind(lambda good: NOTHINGS | {"number": 3, "list": [1]}), "glyphs")}, {}),
    }  # fmt: skip
    for name in ("neg_elbo", "elbo_parts", "importance_weighted", "optimum", "gaps"):
        function, odd, others = found[name]
        found[name] = function, odd | {"model": (thing, model)}, others
    found |= methods(model, theta, x) | makers(model) | training(model, x)
    return found


def methods(model, theta, x):
    """The verbs of each method."""
    rng, found = np.random.default_rng, {}
    encoder = savi.MLP([4, 3, 4])
    net = savi.iterative.network(model, [savi.iterative.Gradient()], (3,))
    for method in (
        savi.VAE(encoder, 2), savi.SVI(2), savi.SAVAE(encoder, 2), savi.VAESVI(encoder, 2), savi.VAESVI(encoder, 2, kl=True),
        savi.Iterative(net, [savi.iterative.Gradient()], 2, 1), savi.VariationalEM(optimizers.Adam(), 2),
        savi.SVI(2, start="random"),
    ):  # fmt: skip
        phi = method.init(rng(1))
        usual = {"model": (thing, model), "theta": (real_floats, theta), "x": (examples, x)}
        usual |= {"phi": (real_floats, phi)} if method.size else {}
        others = {} if method.size else {"phi": phi}
        noise = rng(2).standard_normal((method.training_steps + 1, 1, 5, 2))
        drawn = usual | {"rng": (generator, rng)}
        name = f"{method.name}{'.random' if getattr(method, 'start_at', '') == 'random' else ''}"
        found[f"{name}.infer"] = method.infer, drawn | {"steps": (whole(0, "None"), 2)}, others
        found[f"{name}.path"] = method.path, drawn | {"steps": (whole(0, "None"), 2)}, others
        found[f"{name}.gradient"] = method.gradient, drawn, others
        given = usual | {"noise": (but(real_noise, "None"), noise), "beta": (number(), 0.5)}
        if not name.endswith("random"):
            found[f"{name}.gradient with noise"] = method.gradient, given, others
        summary = usual | {"method": (thing, method), "rng": (generator, rng), "steps": (whole(0, "None"), 2)}
        summary |= {"samples": (whole(1), 2), "iw_samples": (whole(0), 2), "gap_examples": (whole(0), 0)}
        found[f"evaluate {name}"] = lambda **a: list(savi.evaluate(**a).values()), summary, others
    return found


def makers(model):
    """What makes methods, nets and models."""
    encoder, decoder = savi.MLP([4, 3, 4]), model.decoder
    inner = {
        "steps": (whole(0), 2), "samples": (whole(1), 1), "momentum": (number(-0.1, 1), 0.5),
        "step_size": (but(number(-1), "list"), 0.1), "clip": (number(0, -1, allowed=("None",)), 1.0),
    }  # fmt: skip
    net = savi.iterative.network(model, [savi.iterative.Gradient()], (3,))
    own = lambda lam, theta, x, noise, beta: 0  # noqa: E731
    lstm = {"vocabulary": (whole(1), 3), "embedding": (whole(1), 2), "hidden": (whole(1), 2)}
    return {
        "SVI": (lambda **a: repr(savi.SVI(**a)), inner | {"start": (thing, "prior")}, {}),
        "VAE": (lambda **a: repr(savi.VAE(**a)), inner | {"encoder": (thing, encoder)}, {}),
        "SAVAE": (
            lambda **a: repr(savi.SAVAE(**a)),
            inner | {"encoder": (thing, encoder), "hvp": (but(thing, "class"), "exact")}, {},
        ),
        "VAESVI": (lambda **a: repr(savi.VAESVI(**a)), inner | {"encoder": (thing, encoder)}, {}),
        "VariationalEM": (
            lambda **a: repr(savi.VariationalEM(**a)),
            {"optimizer": (thing, optimizers.Adam()), "steps": (whole(0), 2), "samples": (whole(1), 1)}, {},
        ),
        "Iterative": (
            lambda **a: repr(savi.Iterative(**a)),
            {"net": (thing, net), "encodings": (but(thing, "list"), [savi.iterative.Gradient()]), "steps": (whole(1), 2),
             "samples": (whole(1), 2), "start": (thing, "prior"), "theta_at": (thing, "last"),
             "update": (thing, savi.iterative.Gated())}, {},
        ),
        "MLP": (
            lambda **a: repr(savi.MLP(**a)), {"sizes": (sizes, [3, 2]), "activation": (thing, "tanh")}, {},
        ),
        "HighwayMLP": (
            lambda **a: repr(savi.HighwayMLP(**a)), {"sizes": (sizes, [3, 2, 2]), "activation": (thing, "elu")}, {},
        ),
        "DropoutMLP": (
            lambda **a: repr(savi.DropoutMLP(**a)),
            {"sizes": (sizes, [3, 2]), "drop": (number(-0.1, 1), 0.5), "noise": (number(-1), 0.5)}, {},
        ),
        "LSTMEncoder": (
            lambda **a: repr(savi.LSTMEncoder(**a)),
            lstm | {"outputs": (whole(1), 4), "state": (thing, "mean"), "layers": (whole(1), 2)}, {"bidirectional": True},
        ),
        "LanguageDecoder": (
            lambda **a: repr(savi.LanguageDecoder(**a)),
            lstm | {"latent": (whole(0), 2), "drop": (number(-0.1, 1), 0.1), "scale": (number(-1), 0.1),
                    "z_scale": (number(-1), 0.5), "lstm_layers": (whole(1), 2)}, {},
        ),
        "LSTMDecoder": (
            lambda **a: repr(savi.LSTMDecoder(**a)),
            lstm | {"latent": (whole(0), 2), "z_at": (thing, "output"), "activation": (thing, "tanh")}, {},
        ),
        "Gaussian": (lambda **a: repr(savi.Gaussian(**a)), {"variance": (thing, "global")}, {}),
        "MLPDecoder": (
            lambda **a: repr(savi.MLPDecoder(**a)), {"net": (thing, decoder.net), "likelihood": (thing, savi.Bernoulli())}, {},
        ),
        "FixedDecoder": (
            lambda **a: repr(savi.FixedDecoder(**a)),
            {"decoder": (thing, decoder), "theta": (but(real_floats, "one column less"), np.zeros(decoder.size))}, {},
        ),
        "LatentGaussianModel": (
            lambda **a: savi.LatentGaussianModel(**a).prior,
            {"decoder": (thing, decoder), "prior": (finite_vector, np.array([0.5, 0.0, 0.0, 1.0])),
             "kl": (thing, savi.AnalyticKL)}, {},
        ),
        "AutogradModel": (
            lambda **a: savi.AutogradModel(**a).prior,
            {"loss": (but(thing, "class"), own), "lam_size": (whole(1), 4), "theta_size": (whole(0), 2),
             "noise_size": (whole(1), 2), "prior": (finite_vector, np.array([0.5, 0.0, 0.0, 1.0]))}, {},
        ),
    }  # fmt: skip


def training(model, x):
    """`fit`."""
    numbers = {
        "epochs": (number(-1), 1.0), "seed": (whole(0), 1), "batch": (whole(1), 3), "learning_rate": (number(0, -1), 1e-3),
        "decay": (number(0, 1.5), 0.5), "warmup_epochs": (number(-1), 1.0), "beta_start": (number(-1), 0.5),
        "clip": (number(0, -1, allowed=("None",)), 1.0),
        "phi_decay": (number(-1, 2000), 0.1), "valid_examples": (whole(0), 2), "dtype": (precision, float),
    }  # fmt: skip
    parts = {"model": (thing, model), "method": (thing, savi.SVI(1)), "data": (examples, x)}
    odd = Kind(lambda good: {"text": "x", "number": 3, "list": [1], "names": {"a": "x"}, "masked": {"a": masked(x)}})
    rest = {"monitor": (odd, None), "judge_at": (Kind(lambda good: {"number": 3, "text": "x", "half": [1.5]}), None)}
    return {"fit": (lambda **a: savi.fit(progress=False, **a).theta, parts | numbers | rest, {})}


# --- what is asked --------------------------------------------------------------------------------------------------------


def fresh(value):
    """A good value, anew for each call: a generator where it is made by its seed."""
    return value(7) if value is np.random.default_rng else value


def tried(name, function, odd, others):
    """Yields (argument, what it was, None or what did not hold) of every odd value of every argument of one call."""

    def call(**changed):
        arguments = {argument: fresh(good) for argument, (_, good) in odd.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(**(others | arguments | changed))

    usual = call()
    for argument, (kind, good) in odd.items():
        for what, value in kind.refused(good).items():
            yield argument, what, _refused(lambda: call(**{argument: value}))  # noqa: B023
        for what, value in kind.same(good).items():
            yield argument, what, _same(lambda: call(**{argument: value}), usual)  # noqa: B023


def _refused(call):
    try:
        result = call()
    except savi.InputError as error:
        return None if str(error).isprintable() else f"more than one line: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"gave {result!r:.80}"


def _same(call, usual):
    try:
        result = call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    alike = result == usual if isinstance(usual, str) else _close(result, usual)
    return None if alike else f"gave {result!r:.80}, not {usual!r:.80}"


def _close(one, other):
    if isinstance(other, tuple | list):
        return all(map(_close, one, other))
    if isinstance(other, dict):
        return all(_close(one[name], other[name]) for name in other)
    return one is other is None or np.allclose(
        np.asarray(one, float), np.asarray(other, float), rtol=1e-6, equal_nan=True
    )


def main():
    """Every call, every value; exit code 1 if something did not hold."""
    count, failed = 0, []
    for name, (function, odd, others) in calls().items():
        for argument, what, wrong in tried(name, function, odd, others):
            count += 1
            failed += [f"{name}({argument}={what}): {wrong}"] if wrong else []
    print("\n".join(failed))
    print(f"{count} odd calls, {count - len(failed)} held, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
