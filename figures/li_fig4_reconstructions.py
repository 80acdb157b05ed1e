"""Reconstructions over the iterations of inference: [LI] Figure 4, on grey images and on images in colour.

    python figures/li_fig4_reconstructions.py           trains a model per data set (about six minutes)
    python figures/li_fig4_reconstructions.py --full    512 hidden units, five samples, 100 epochs on all images
    python figures/li_fig4_reconstructions.py --draw    draws the picture again from the JSON

Decoder 64-256-256-784 (ELU, Bernoulli; the source has 512 units); an iterative inference model that encodes
gradients, trained on 16 iterations. Images in colour have 256 levels and a discretised logistic likelihood (the source: a
Gaussian): glyphs of 14 x 14 pixels, 64-256-256-1176, and SVHN and CIFAR-10 where they are, with one noise sample
instead of three and four times the learning rate, as a step of theirs costs most; nothing is tuned. Each row is a test image:
E[x | z = mu_t] for t = 0 (the prior) to 16, in colour the location of the logistic, and the image itself at the right.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.evaluation import along, bits_per_dim
from savi.inference.iterative import Gradient
from savi.models.discretized import DiscretizedLogistic
from savi.studies.figures import Claim, image_model, iterative, script

GREY, COLOUR = ("mnist", "omniglot", "glyphs"), ("colour-glyphs", "svhn", "cifar10")
ITERATIONS, SHOWN = 16, 5
STAYS = 0.5  # nats above the lowest that claims call staying
SIZES = {False: ([256, 256], 3, 1), True: ([512, 512], 5, 5)}  # hidden layers, noise samples in grey and in colour
RATE, COLOUR_RATE = 5e-4, 2e-3


def compute(full):
    results = {"iterations": ITERATIONS, "panels": {}}
    for name in (*GREY, *COLOUR):
        try:
            images = savi.data.load(name)
        except savi.InputError as error:
            print(f"left out: {error}")
            continue
        results["panels"][name] = panel(images, name in COLOUR, full)
    return results


def panel(images, colour, full):
    """What the picture has of one data set: test images, what is reconstructed of them, and the -ELBO of the iterations."""
    hidden, grey_samples, colour_samples = SIZES[full]
    samples, rate = (colour_samples, COLOUR_RATE) if colour else (grey_samples, RATE)
    images = images if full else images._replace(train=images.train[:5000])
    model = colour_model(images.train.shape[1], hidden) if colour else image_model(64, hidden)
    method = iterative(model, [Gradient()], hidden, ITERATIONS, samples)
    trained = savi.fit(model, method, images, 100 if full else 8, batch=64, learning_rate=rate)
    x = images.test[:200] if colour else savi.data.binarize(images.test[:200], np.random.default_rng(0))
    path = method.path(model, trained.theta, trained.phi, x, np.random.default_rng(1))
    means = model.decoder.mean(trained.theta, path[:, :SHOWN, : model.latent_dim])
    losses = along(model, trained.theta, path, x, 2)
    return {
        "data": images.name,
        "shape": list(images.shape),
        "images": np.rint(100 * x[:SHOWN]).astype(int).tolist(),
        "means": np.rint(100 * means).astype(int).tolist(),
        "neg_elbo": np.round(np.array(losses, float), 2).tolist(),
    }


def colour_model(pixels, hidden):
    """The model of images in colour, of so many `pixels` times three channels: 256 levels, discretised logistic."""
    likelihood = DiscretizedLogistic()
    net = savi.MLP([64, *hidden, likelihood.outputs(pixels)], "elu")
    return savi.LatentGaussianModel(savi.MLPDecoder(net, likelihood))


def draw(results):
    panels, columns = results["panels"], results["iterations"] + 2
    rows = sum(len(panel["images"]) for panel in panels.values())
    fig = plots.plt.figure(figsize=(0.62 * columns + 1.1, 0.62 * rows + 0.9 * len(panels)))
    heights = [len(panel["images"]) + 1.0 for panel in panels.values()]
    for sub, (name, panel) in zip(np.atleast_1d(fig.subfigures(len(panels), 1, height_ratios=heights)), panels.items()):
        axes = sub.subplots(len(panel["images"]), columns)
        sub.subplots_adjust(left=0.02, right=0.98, top=0.84, bottom=0.02, wspace=0.06, hspace=0.06)
        for i, image in enumerate(panel["images"]):
            for t in range(columns):
                ax, last = axes[i, t], t == columns - 1
                pixels = np.clip(image if last else panel["means"][t][i], 0, 100) / 100
                ax.imshow(pixels.reshape(panel["shape"]), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_color("#D55E00" if last else "0.8")
                if i == 0:
                    ax.set_title("data" if last else f"t = {t}\n{panel['neg_elbo'][t]:.0f}", fontsize=8)
        sub.suptitle(f"{name}: reconstructions after t iterations; below t, the mean test −ELBO (nats)", fontsize=10)
    return fig


def explained(panel):
    """How much of the variance within the images shown is reconstructed after each iteration, at most 1: none by their mean
    colours alone."""
    channels = panel["shape"][2] if len(panel["shape"]) > 2 else 1
    x, means = (np.asarray(panel[name], float) for name in ("images", "means"))
    x, means = x.reshape(len(x), -1, channels), means.reshape(len(means), len(x), -1, channels)
    flat = x - x.mean(axis=1, keepdims=True)
    return 1 - ((x - means) ** 2).sum(axis=(1, 2, 3)) / (flat**2).sum()


def claims(results):
    """Figure 4 of [LI], by the -ELBO of the reconstructions' lam, and by what is seen in those that are shown."""
    found = []
    for name, panel in results["panels"].items():
        losses, seen = np.array(panel["neg_elbo"]), explained(panel)
        falls = int(np.argmin(np.append(np.diff(losses) < 0, False)))
        worse = losses[-1] - losses.min()
        words = (
            f"{losses[0]:.1f} at first, {losses[5]:.1f} after 5, {losses[-1]:.1f} after {len(losses) - 1} iterations; "
        )
        words += f"each lowers it up to {falls}, and the last is {worse:.2f} above the lowest"
        words += f"; of the variance within {len(panel['images'])} images {seen[1]:.2f} is seen after 1, {seen[-1]:.2f} in the end"
        sharper = seen[-1] > max(seen[1], 0)
        outputs, source = 784, "64-512-512-784, all images"
        if name in COLOUR:
            outputs, source = 2 * np.prod(panel["shape"]), "SVHN and CIFAR-10, a Gaussian likelihood"
            bits = bits_per_dim(losses[[0, 5, -1]], np.prod(panel["shape"]))
            words += "; bits/dim {:.2f}, {:.2f}, {:.2f}".format(*bits)
        found.append(Claim(
            f"[LI] Figure 4, {name}", "reconstructions become sharper over the iterations and stay so",
            f"64-256-256-{outputs}, 8 epochs on 5000 images at most, one seed, nothing tuned ({source})",
            f"test -ELBO {words}", "", "holds" if sharper and falls > 1 and worse < STAYS else "not at this scale",
        ))  # fmt: skip
    return found


def report(results):
    return "\n".join(f"{name}: {panel['neg_elbo']}" for name, panel in results["panels"].items())


if __name__ == "__main__":
    script(__file__, compute, draw, report)
