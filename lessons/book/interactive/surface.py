"""The numbers of the page on the ELBO's surface, interactive/surface.json: one sequence whose ELBO has two hills.

    python lessons/book/interactive/surface.py    trains a VAE and an SA-VAE on lesson 10's kind of oracle (a minute) and writes it

The sequence is one of 600 that were looked at (test sequences of the oracles with seeds 0 to 3): its hills are the farthest
apart, 2.4, of those within half a nat of each other. log p(x | z) is tabled on the grid of `quadrature.grid`, in hundredths of
a nat; every other number of the page follows from the table as `quadrature.surface` says.
"""

import json
import pathlib
import sys

import autograd.numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

import savi
from savi import quadrature, synthetic
from savi.engine.files import replacing
from savi.experiments.evaluation import infer
from savi.studies.sequences import K, known_model

PATH = pathlib.Path(__file__).with_suffix(".json")
SEED, SEQUENCE, SPACING = 3, 139, 0.2
SIZES = {"vocabulary": 200, "units": 40, "examples": (2000, 100, 150)}  # as lesson 10 has them
TRAINING = {"epochs": 8, "seed": 0, "batch": 50, "learning_rate": 2e-3, "progress": False}
STARTS = ([1.3, -0.9, -2.0, -2.5], [1.3, 1.5, -2.0, -2.5])  # on either hill, where the search for its top begins


def loss(lam, table, axis):
    """-ELBO (B,) at lam (B, 4), nats: E_q[log p(x | z)] as a sum over the grid's values, the KL term in closed form, [E3]."""
    mu, log_var = lam[:, :2], lam[:, 2:]
    w = np.exp(-0.5 * (axis - mu[..., None]) ** 2 / np.exp(log_var)[..., None])  # (B, 2, G)
    w = w / np.sum(w, axis=2, keepdims=True)
    expected = np.sum(w[:, 0] * np.dot(w[:, 1], table.T), axis=1)
    return 0.5 * np.sum(np.exp(log_var) + mu**2 - 1 - log_var, axis=1) - expected


def model(table, axis):
    """The same as a model of savi, on which its methods run; without noise, as all of E_q is summed."""
    return savi.AutogradModel(
        lambda lam, theta, x, noise, beta: loss(lam, table, axis), lam_size=4, theta_size=0, noise_size=1
    )


def tops(table, axis, steps=400, step_size=0.03):
    """lam (2, 4) at the tops of both hills, the higher one, the best Gaussian, first: SVI from STARTS until it stands."""
    f = model(table, axis).objective(np.zeros(0), np.zeros((2, 1)))
    lam = savi.inference.svi.ascend(f, np.array(STARTS), np.zeros((steps, 1, 2, 1)), step_size, 0.5)
    return lam[np.argsort(loss(lam, table, axis))]


def read():
    """(the page's data, table (G, G) of log p(x | z), axis (G,)) as they are committed."""
    data = json.loads(PATH.read_text())
    table = np.array(data["hundredths"]) / 100
    return data, table, data["spacing"] * (np.arange(len(table)) - len(table) // 2)


def compute():
    """The page's data."""
    data = synthetic.load(SEED, "tanh", **SIZES)
    oracle, theta = known_model(data)
    x = data.test[[SEQUENCE]]
    axis, u = quadrature.grid(oracle, SPACING)
    hundredths = np.rint(100 * quadrature.log_likelihoods(oracle, theta, x, u).reshape(len(axis), -1)).astype(int)

    def guess(method):
        phi = savi.fit(oracle, method, data, **TRAINING).phi
        return infer(oracle, method, theta, phi, x, np.random.default_rng(1), 0)[0]

    def encoder():
        return savi.LSTMEncoder(SIZES["vocabulary"], SIZES["units"], SIZES["units"], 4)

    table = hundredths / 100
    lams = dict(zip(("best", "lower"), tops(table, axis)))
    lams |= {
        "vae": guess(savi.VAE(encoder())),
        "sa-vae": guess(savi.SAVAE(encoder(), K, step_size=0.002, momentum=0.5)),
    }
    return {
        "spacing": SPACING,
        "log_px": round(float(quadrature.log_marginal(oracle, theta, x)[0]), 3),
        "modes": [[round(float(v), 2) for v in mode[:2]] for mode in quadrature.modes(table, axis)],
        "lams": {name: lam.astype(float).round(3).tolist() for name, lam in lams.items()},
        "hundredths": hundredths.tolist(),
    }


if __name__ == "__main__":
    with replacing(PATH) as file:
        file.write(json.dumps(compute(), separators=(",", ":")).replace("],[", "],\n[").encode() + b"\n")
