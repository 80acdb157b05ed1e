"""Iterative inference models: a network that learns to infer.  [LI] 3-4, Algorithm 1 and B

    lam_0 = the prior, a learned constant, or what an encoder proposes
    for t = 0 .. T-1:
        encode    grad_lam ELBO at lam_t, or the errors e_x and e_z, or x; and lam_t itself
        c, g    = two linear heads on a trunk network of the encoding (phi), g through a sigmoid
        lam_{t+1} = g lam_t + (1 - g) c                            [LI] eq. 62, where c is called f
        phi_bar += the gradient of f(lam_{t+1}) through this one update, the encoding and lam_t held fixed
    phi follows phi_bar / T;  theta follows grad_theta f(lam_T)

f = -ELBO as everywhere. The inputs of an update are constants to phi, so that training needs no more memory for more
iterations, and any number of iterations can be taken at test time. With an "error" encoding, a constant lam_0 and one
iteration this is the VAE ([LI] 4.2).
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..nets.highway import HighwayMLP
from ..nets.trunks import SideBySide, Trunk
from . import starts
from .base import InferenceMethod
from .encodings import ENCODINGS, Data, Error, Estimate, Gated, Gradient, Residual

__all__ = [
    "ENCODINGS",
    "Data",
    "Error",
    "Estimate",
    "Gated",
    "Gradient",
    "Iterative",
    "Residual",
    "Trunk",
    "level_networks",
    "network",
]


def network(model, encodings, hidden=(512, 512), update=Gated(), activation="elu"):  # noqa: B008
    """The trunk and its heads: a HighwayMLP from the encodings and the current estimate to the update's outputs."""
    inputs = sum(encoding.size(model) for encoding in (*encodings, Estimate()))
    return HighwayMLP([inputs, *hidden, update.heads * model.lam_size], activation)


def level_networks(model, encodings, hidden=(512, 512), update=Gated(), activation="elu"):  # noqa: B008
    """A trunk with heads for each level of a hierarchy, which sees that level's part of each encoding: SideBySide.

    hidden: the same for every level, or a list of such. All together cost the sum of theirs: with two levels and the same
    `hidden` about twice `network`'s, as a level's own inputs are few beside x. [LI] Figure 2 and A.6
    """
    if "levels" not in model.supports:
        raise model.missing("levels", "a network for each level")
    hidden = hidden if np.ndim(hidden[0]) else [hidden] * len(model.dims)
    nets, ins, outs = [], [], []
    for l, widths in enumerate(hidden, 1):
        seen, start = [], 0
        for encoding in (*encodings, Estimate()):
            seen.append(start + encoding.columns(model, l))
            start += encoding.size(model)
        own = Estimate().columns(model, l)
        ins.append(np.concatenate(seen))
        outs.append(np.concatenate([head * model.lam_size + own for head in range(update.heads)]))
        nets.append(HighwayMLP([len(ins[-1]), *widths, len(outs[-1])], activation))
    return SideBySide(nets, ins, outs)


class Iterative(InferenceMethod):
    """An iterative inference model.

    net: a network from the encodings to the update's outputs, for example `network(model, encodings)`. encodings: any of
    Gradient(), Error(), Data(), or objects like them. steps: T iterations in training. samples: S noise samples in each;
    with one, log and sign amplify the noise of a gradient, ten do much better. update: Gated() or Residual().
    start: "prior", "learned", a constant that is part of phi, or an encoder, which is trained beside the model.
    theta_at: theta follows f at the "last" iteration, or the mean of f over "every" iteration. In plain NumPy:
    savi.plain.iterative.
    """

    name = "iterative"

    def __init__(self, net, encodings, steps=5, samples=10, update=Gated(), start="prior", theta_at="last"):  # noqa: B008
        super().__init__(given.whole("steps", steps, 1), samples)
        self.net, self.update = given.thing("trunk", net), given.thing("update", update)
        encodings = given.listed("encodings", encodings, "a list of encodings, as [Gradient()]")
        self.encodings = tuple(given.thing("encoding", e) for e in encodings)
        self.theta_at = given.one_of("theta_at", theta_at, ("last", "every"))
        self.lam_size = net.outputs // update.heads
        self.from_start = starts.find(start, self.lam_size)
        self.start_at, self.size = self.from_start.name, net.size + self.from_start.size
        self.needs_gradient = any(e.needs_gradient for e in self.encodings)

    def settings(self):
        return super().settings() | {
            "net": self.net, "encodings": self.encodings, "update": self.update, "start": self.start_at,
            "theta_at": self.theta_at,
        }  # fmt: skip

    def init(self, rng, dtype=np.float64):
        """Initial phi (Q,): the net's parameters, then what the start owns."""
        return np.concatenate([self.net.init(rng, dtype), self.from_start.init(rng, dtype)])

    def _lam_0(self, model, theta, phi, x):
        if phi.shape != (self.size,) or self.lam_size != model.lam_size:
            raise InputError(
                f"phi has shape {phi.shape} and lam width {model.lam_size}; {self!r} needs ({self.size},) and {self.lam_size}"
            )
        return self.from_start.lam(model, theta, phi[self.net.size :], x)

    def start(self, model, theta, phi, x, rng):
        return self._lam_0(model, theta, phi, x)[0]

    def encode(self, f, evaluation):
        """The network's inputs at an evaluation, (B, inputs): each encoding, then the current estimate."""
        inputs = np.concatenate([e.contents(f, evaluation) for e in (*self.encodings, Estimate())], axis=1)
        if inputs.shape[1] != self.net.inputs:
            raise InputError(
                f"the encodings {self.encodings} give {inputs.shape[1]} inputs; {self.net!r} takes {self.net.inputs}"
            )
        return inputs

    def walk(self, f, phi, lam, noise):
        trunk = self.net.begin(phi[: self.net.size])
        look = f.gradient if self.needs_gradient else f.forward
        for noise_t in noise:
            lam = self.update.apply(lam, trunk.output(self.encode(f, look(lam, noise_t))))
            yield lam

    def _gradient(self, model, theta, phi, x, noise, beta, rng):
        lam, record = self._lam_0(model, theta, phi, x)
        f, trunk = model.objective(theta, x, beta), self.net.begin(phi[: self.net.size])
        look = f.gradient if self.needs_gradient or self.from_start.size else f.forward
        e = first = look(lam, noise[0])
        theta_bar = f.theta_sum()
        for noise_t in noise[1:]:
            output = trunk.output(self.encode(f, e))
            lam_t, lam = lam, self.update.apply(lam, output)
            e = f.evaluate(lam, noise_t)
            trunk.learn(self.update.backward(lam_t, output, e.d_lam))
            if self.theta_at == "every":
                theta_bar.add(e, 1 / self.steps)
        if self.theta_at == "last":
            theta_bar.add(e)
        d_phi = trunk.gradient() / self.steps
        d_start = self.from_start.gradient(phi[self.net.size :], record, first.d_lam)
        return e.loss, theta_bar.value(), np.concatenate([d_phi, d_start])
