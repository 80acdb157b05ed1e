"""An iterative model that starts from an encoder, beside its opponents at equal processor seconds.

    python figures/li_encoder_start.py           three data sets, five seeds (about half an hour on two cores)
    python figures/li_encoder_start.py --full    ten times the seconds
    python figures/li_encoder_start.py --draw    draws the picture again from the JSON

An encoder proposes lam_0 and an iterative model that sees gradients refines it, T = 1 or 2 iterations in training, theta at
the last or at every iteration; both learn together. Opponents: the VAE alone and refined by SVI at test time, VAE+SVI, and
the iterative model of [LI] Table 1, which starts from the prior. After each iterative model SVI is measured as well. Decoder
32-128-128-784 (ELU, Bernoulli) on 8000 images of MNIST and on 1000 and 8000 glyphs. What is tuned for each method on
validation images stands in learning_to_infer.py. The runs on MNIST are those of li_table1.py where they are there.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from savi import plots
from savi.experiments.figures import script
from savi.experiments.learning_to_infer import METHODS, Setup, baseline, trial, tuned
from savi.experiments.parallel import cores, run_all

SEEDS, NAMES, RUNS = (0, 1, 2, 3, 4), tuple(METHODS), "runs/learning_to_infer"
SMALL = {  # epochs and processor seconds of a run
    "8000 of MNIST": Setup("mnist", None, 32, (128, 128), 5, 16, RUNS),
    "1000 glyphs": Setup("glyphs", 1000, 32, (128, 128), 20, 6, RUNS),
    "8000 glyphs": Setup("glyphs", 8000, 32, (128, 128), 4, 10, RUNS),
}


def compute(full):
    setups = {key: s._replace(seconds=10 * s.seconds) for key, s in SMALL.items()} if full else SMALL
    searches = [(setup, name) for setup in setups.values() for name in NAMES]
    found = iter(run_all(tuned, searches, cores()))
    results = {key: {"setup": setup._asdict()} for key, setup in setups.items()}
    for panel in results.values():
        panel["tuned"] = {name: next(found) for name in NAMES}
    items = [(setup, name, seed) for setup in setups.values() for seed in SEEDS for name in NAMES]
    done = iter(run_all(trial, items, cores()))
    for key, setup in setups.items():
        results[key] |= {"baseline": baseline(setup), "trials": []}
        for _ in range(len(SEEDS) * len(NAMES)):
            results[key]["trials"].append(next(done))
            print(key, results[key]["trials"][-1], flush=True)
    return results


def draw(results):
    fig, _ = plots.figure()
    return fig


if __name__ == "__main__":
    script(__file__, compute, draw)
