"""What the scripts of figures/ and lessons/ share: their main program, claims, the models of [LI]."""

import argparse
import inspect
import itertools
import json
import os
import pathlib
import sys
import tempfile
from typing import NamedTuple

from ..engine.files import replacing
from ..experiments.catalogue import source
from ..inference.amortized import VAE
from ..inference.iterative import Iterative, network
from ..models.decoders import MLPDecoder
from ..models.gaussian import AnalyticKL
from ..models.hierarchical import HierarchicalModel
from ..models.latent_gaussian import LatentGaussianModel
from ..models.levels import Level
from ..models.likelihoods import Bernoulli
from ..nets.highway import HighwayMLP
from ..nets.mlp import MLP


def script(path, compute, draw, report=None):
    """The main program of a figure's script at `path`: compute() -> results, saved as JSON; draw(results) -> figure.

    python SCRIPT computes and draws; --draw draws again from the JSON; --full, where compute takes an argument `full`,
    computes at the sizes of the source. report(results) is printed.
    """
    from ..experiments import plots

    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    sizes = "full" in inspect.signature(compute).parameters
    if sizes:
        parser.add_argument("--full", action="store_true", help="compute at the sizes of the source, for hours")
    parser.add_argument("--draw", action="store_true", help="draw again from the JSON")
    parser.add_argument("--out", default=os.path.splitext(path)[0], help="writes OUT.json and OUT.png")
    options = parser.parse_args()
    if not options.draw:
        results = compute(options.full) if sizes else compute()
        with replacing(options.out + ".json") as file:
            file.write(json.dumps(results).encode())
    with open(options.out + ".json") as file:
        results = json.load(file)
    plots.save(draw(results), options.out + ".png")
    if report:
        print(report(results))


def beside(path):
    """What the JSON beside a script at `path` holds, which a plan's `reads` brings to workers that have no such file."""
    return json.loads(source(os.path.splitext(os.path.abspath(path))[0] + ".json"))


def rounded(value, digits=5):
    """A JSON value whose numbers have so many digits."""
    if isinstance(value, dict):
        return {key: rounded(v, digits) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v, digits) for v in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


class Claim(NamedTuple):
    """One claim of a source and what was measured of it: a row of lessons/book/claims.md, as text in Markdown.

    source: the table or figure; claim: what it says, with its numbers; scale: ours beside the source's; epochs, seconds: our
    numbers with seeds and spread at equal epochs and at equal seconds ("" where there is no such comparison); verdict: one of
    VERDICTS, computed from the numbers. A figure's script has them as claims(results) -> [Claim, ...].
    """

    source: str
    claim: str
    scale: str
    epochs: str
    seconds: str
    verdict: str


VERDICTS = ("holds", "weaker", "not told apart", "not at this scale", "refuted")


def lesson():
    """(whether to be quick, the folder for pictures) of a lesson: SAVI_QUICK=1 makes it small.

    The checkout's pictures are a script's alone, at full size; others, and those of an installed savi, are temporary files.
    """
    from ..experiments import plots

    quick = bool(os.environ.get("SAVI_QUICK"))
    folder = pathlib.Path(__file__).resolve().parents[2] / "figures" / "lessons"
    if quick or plots.notebook() or not folder.is_dir():
        folder = pathlib.Path(tempfile.gettempdir()) / "savi-lessons"
    folder.mkdir(parents=True, exist_ok=True)
    return quick, folder


# --- [LI]: images of 784 pixels, ELU, symmetric inference networks with highways ---------------------------------------------


def image_model(latent, hidden, kl=AnalyticKL, levels=()):
    """The model of [LI] on images: decoder latent-hidden-784, Bernoulli.

    levels: the latent dimensions of z^2, z^3, ... of a hierarchy; the nets of each have half the units of those below, C.5.
    """
    decoder = MLPDecoder(MLP([latent, *hidden, 784], "elu"), Bernoulli())
    if not levels:
        return LatentGaussianModel(decoder, kl=kl)
    above = [
        Level(MLP([D, *units_at(hidden, l), 2 * below], "elu"))
        for l, (below, D) in enumerate(itertools.pairwise((latent, *levels)), 2)
    ]
    return HierarchicalModel(decoder, above, kl=kl)


def units_at(hidden, l):
    """The units of the hidden layers of level l's nets, l = 1 .. L: half as many in each further level."""
    return [max(n // 2 ** (l - 1), 1) for n in hidden]


def highway_vae(model, hidden, samples=1):
    """The VAE of [LI]: an encoder with the decoder's `hidden` layers in reverse, and highways."""
    return VAE(HighwayMLP([784, *reversed(hidden), model.lam_size], "elu"), samples=samples)


def iterative(model, encodings, hidden, iterations, samples=1):
    """The iterative inference model of [LI] with these encodings and the decoder's `hidden` layers in reverse."""
    return Iterative(network(model, encodings, [*reversed(hidden)]), encodings, iterations, samples)


def scale_in_words(results):
    """The scale of a Claim: what results["scale"] and the seeds say of small runs tuned alike, beside the source's."""
    scale = results["scale"]
    nets = "-".join(map(str, (scale["latent"], *scale["hidden"], 784)))
    return (
        f"{scale['train']} images, {nets}, {scale['epochs']} epochs or {scale['seconds']} processor seconds, "
        f"{len(results['seeds'])} seeds, learning rate tuned (60,000 images, 64-512-512-784, 1500 epochs)"
    )
