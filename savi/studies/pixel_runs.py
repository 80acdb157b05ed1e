"""The runs of [SA] Table 3: images with a Gated PixelCNN as decoder, each run a function of its settings to a file.

pretrained   a seed's decoder without z, from which every run with z starts, and the baseline goes on
tuned        a method's inner step size in training, by runs of a seed that no row shares
row          a training run, measured at both costs (trials.at_both) with the parameters of the best judged epoch
"""

import functools
import os
from typing import NamedTuple

import numpy as np

from ..data import binarize, images
from ..engine import threads
from ..experiments import tuning
from ..experiments.catalogue import scaled
from ..experiments.evaluation import evaluate, infer, neg_elbo
from ..inference.amortized import VAE
from ..inference.iterative import Gradient, Iterative, network
from ..inference.semi_amortized import SAVAE, VAESVI
from ..inference.svi import SVI
from ..models.autoregressive import PixelCNNDecoder
from ..models.latent_gaussian import LatentGaussianModel
from ..nets.resnet import ResNet
from .trials import at_both, kept, searched, spend, surviving, trainer

BARE, PLAIN, REFINED = "without z, no position map", "without z", "VAE, then SVI"
MOMENTUM, SAMPLES, SOURCE_STEP = 0.5, 20, 0.02  # the source's inner step is 1 / batch
TEST_GRID, TRAINING_GRID = (
    {"step_size": sizes} for sizes in ((0.01, 0.02, 0.05, 0.1, 0.2, 0.5), (0.02, 0.05, 0.1, 0.2))
)
TUNING_SEED, FIRST, RATE = 100, {"step_size": 0.1}, 2e-3  # RATE: of Adam, whose batches are 50


class Scale(NamedTuple):
    """The size of an experiment: data set and its side in pixels; latents; the decoder's channels and the encoder's stages;
    processor seconds of pretraining, of each run's training and of each run that tunes; epochs at which all are read; how many
    test images, and how many samples estimate log p(x); the units of the iterative network; K inner steps; a table's rows
    beside the decoder without z, none for all."""

    data: str = "omniglot"
    side: int = 14
    latent: int = 16
    channels: int = 12
    stages: tuple = (8, 16)
    pretrain: float = 45.0
    seconds: float = 20.0
    tuning: float = 10.0
    epochs: float = 1
    test: int = 400
    valid: int = 200
    iw_samples: int = 100
    units: int = 128
    steps: int = 10
    rows: tuple = ()

    @property
    def shape(self):
        return self.side, self.side

    def load(self):
        """The Dataset."""
        return scaled(images.load(self.data), self.side)._replace(prepare=binarize)

    def model(self, latent, position_map=True):
        """The decoder with so many latents, z late: three layers, a first kernel of 5 and then 3."""
        decoder = PixelCNNDecoder(self.shape, latent, self.channels, 3, 3, 5, 4, position_map=position_map)
        return LatentGaussianModel(decoder)

    def method(self, name):
        """A method of the table by its name."""
        encoder, inner = ResNet(self.shape, self.stages, 2 * self.latent), (self.steps, FIRST["step_size"], MOMENTUM)
        if name == "iterative":
            net = network(self.model(self.latent), [Gradient()], [self.units] * 2)
            return Iterative(net, [Gradient()], 5, 1)
        return {
            "VAE": lambda: VAE(encoder), "SVI": lambda: SVI(*inner), "SVI, step 0.02": lambda: SVI(*inner),
            "VAE+SVI": lambda: VAESVI(encoder, *inner), "VAE+SVI+KL": lambda: VAESVI(encoder, *inner, kl=True),
            "SA-VAE": lambda: SAVAE(encoder, *inner),
        }[name]()  # fmt: skip


def pretrained(folder, scale, seed, name=PLAIN):
    """The path of the best parameters of a seed's decoder without z."""
    out = _made(folder, str(seed), _file(name), "pretraining")

    def history():
        train = _training(scale, scale.model(0, name == PLAIN), SVI(0), scale.load(), seed)
        return spend(lambda epochs: train(epochs, out), scale.pretrain).history

    kept(f"{out}.json", history)
    return os.path.join(out, "best.npz")


def tuned(folder, scale, name):
    """`trials.searched` for the inner step size of training: the -ELBO on validation images, with the best step at test time."""
    data, made = scale.load(), scale.model(scale.latent)
    start = pretrained(folder, scale, TUNING_SEED)

    def loss(point, out):
        how = scale.method(name).with_inner(**point)
        train = surviving(_training(scale, made, how, data, TUNING_SEED, start_from=start, warmup_epochs=1))
        run = spend(lambda epochs: train(epochs, out), scale.tuning)
        return min(each["loss"] for each in _at_test(scale, made, how, run, data)[1])

    place = _made(folder, "tuning", _file(name, scale.steps))
    return kept(f"{place}.json", searched, place, loss, FIRST, TRAINING_GRID)


def row(folder, scale, seed, name):
    """{row: {"seconds": measures, "epochs": measures}} of a training run, in one process with one thread."""
    with threads.using(1):
        if name in (BARE, PLAIN):
            return {name: _without_z(folder, scale, seed, name)}
        both = _with_z(folder, scale, seed, name)
        return {
            row: {view: found[way] for view, found in both.items()}
            for way, row in (("own", name), ("svi", REFINED)) if way in both["seconds"]
        }  # fmt: skip


def _without_z(folder, scale, seed, name):
    """Pretrained, then trained on for as long as the others."""
    data, made, start = scale.load(), scale.model(0, name == PLAIN), pretrained(folder, scale, seed, name)
    x = _test(scale, data)

    def measure(result):
        return evaluate(made, SVI(0), result.theta, result.phi, x, _rng(seed), samples=1) | {"nll": None}

    train = surviving(_training(scale, made, SVI(0), data, seed + 1000, start_from=start))
    return at_both(_row(folder, scale, seed, _file(name)), train, scale.epochs, scale.seconds, measure)


def _with_z(folder, scale, seed, name):
    """Trained from the pretrained decoder; measured with its own inference, a VAE also with SVI behind it."""
    data, made, how = scale.load(), scale.model(scale.latent), scale.method(name)
    x, start, step = _test(scale, data), pretrained(folder, scale, seed), None
    if how.inner_settings:
        step = SOURCE_STEP if name.endswith("0.02") else tuned(folder, scale, name)["point"]["step_size"]
        how = how.with_inner(step_size=step)

    def measure(result):
        found = {"trained with": step}
        ways = {"own": how} | ({"svi": VAE(how.encoder, scale.steps, 0.1, MOMENTUM)} if name == "VAE" else {})
        for way, inference in ways.items():
            if inference.inner_settings:
                inference = _at_test(scale, made, inference, result, data)[0]
            measures = evaluate(
                made, inference, result.theta, result.phi, x, _rng(seed), samples=SAMPLES, iw_samples=scale.iw_samples
            )
            found[way] = measures | {"nll": measures.pop("nll_iw"), "step": inference.inner_settings.get("step_size")}
        return found

    train = surviving(_training(scale, made, how, data, seed + 1000, start_from=start, warmup_epochs=1))
    both = at_both(_row(folder, scale, seed, _file(name, scale.steps)), train, scale.epochs, scale.seconds, measure)
    for view in both.values():
        for way in {"own", "svi"} & set(view):
            view[way] |= {key: view[key] for key in ("epochs", "cpu", "trained with")}
    return both


def _training(scale, made, how, data, seed, **more):
    """train(epochs, out) -> FitResult, which goes on from what is in `out`, judged after each epoch."""
    return functools.partial(trainer(made, how, data, seed, scale.valid, judge_at=None, **more), RATE)


def _at_test(scale, made, how, result, data):
    """(the method with the inner step size whose lam_K has the lowest -ELBO on validation images, the curve of the search)."""
    x = binarize(data.valid[: scale.valid], np.random.default_rng(0))

    def loss(point):
        with np.errstate(all="ignore"):  # steps that are too large end in nonsense, which is not chosen
            lam = infer(made, how.with_inner(**point), result.theta, result.phi, x, np.random.default_rng(1))
            return float(neg_elbo(made, result.theta, lam, x, np.random.default_rng(2), 5).mean())

    best, curve = tuning.search(loss, FIRST, TEST_GRID)
    return how.with_inner(**best), curve


def _test(scale, data):
    """The test images that all rows share."""
    return binarize(data.test[: scale.test], np.random.default_rng(0))


def _rng(seed):
    return np.random.default_rng([seed, 1])


def _file(name, steps=None):
    """The name of a row's folder; K is in it where z is."""
    return name.replace(",", "").replace(" ", "-") + (f"-K{steps}" if steps else "")


def _row(folder, scale, seed, file):
    """Where a row is kept; rows of other seconds lie beside it and share the pretraining and the tuning."""
    return _made(folder, str(seed), file, f"{scale.seconds:g}s")


def _made(*parts):
    place = os.path.join(*parts)
    os.makedirs(place, exist_ok=True)
    return place
