"""Iterative inference models: a network that learns to infer.  [LI] 3-4, Algorithm 1 and B

    lam_0 = the prior, or a learned constant
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

from ..engine.files import InputError
from ..engine.records import ParamSum, Records
from ..nets.highway import HighwayMLP
from .base import InferenceMethod
from .encodings import ENCODINGS, Data, Error, Estimate, Gated, Gradient, Residual

__all__ = ["ENCODINGS", "Data", "Error", "Estimate", "Gated", "Gradient", "Iterative", "Residual", "Trunk", "network"]


def network(model, encodings, hidden=(512, 512), update=Gated(), activation="elu"):  # noqa: B008
    """The trunk and its heads: a HighwayMLP from the encodings and the current estimate to the update's outputs."""
    inputs = sum(encoding.size(model) for encoding in (*encodings, Estimate()))
    return HighwayMLP([inputs, *hidden, update.heads * model.lam_size], activation)


class Trunk:
    """A network at fixed parameters, asked step by step, and the sum of its parameter gradients.

    A feed-forward network remembers nothing from one step to the next; a recurrent one would have the same verbs, keep a
    state per example here, and go back through time in `gradient`.
    """

    def __init__(self, net, params):
        self.net, self.layers = net, net.layers(params)
        self.transposed = net.transposed(self.layers)
        self.sum, self.records = ParamSum(net, params.dtype), Records(net.shapes, held=None)

    def output(self, inputs):
        """The output (B, outputs) for inputs (B, inputs)."""
        self._record = self.records.next(len(inputs), inputs.dtype)
        self._record.x[...] = inputs
        return self.net.forward(self.layers, self._record)

    def learn(self, d_output):
        """Add the gradient of the latest output's step."""
        self._record.output[...] = d_output
        self.net.complete(self.transposed(), self._record)
        self.sum.add(self._record)

    def gradient(self):
        """The sum (size,) of all that was learned."""
        return self.sum.value()


class Iterative(InferenceMethod):
    """An iterative inference model.

    net: a network from the encodings to the update's outputs, for example `network(model, encodings)`. encodings: any of
    Gradient(), Error(), Data(), or objects like them. steps: T iterations in training. samples: S noise samples in each;
    with one, log and sign amplify the noise of a gradient, ten do much better. update: Gated() or Residual().
    start: "prior" or "learned", a constant that is part of phi. In plain NumPy: savi.plain.iterative.
    """

    name = "iterative"

    def __init__(self, net, encodings, steps=5, samples=10, update=Gated(), start="prior"):  # noqa: B008
        super().__init__(steps, samples)
        if steps < 1:
            raise InputError(f"steps is {steps}; an iterative inference model needs at least 1")
        if start not in ("prior", "learned"):
            raise InputError(f"start is {start!r}; expected 'prior' or 'learned'")
        self.net, self.encodings, self.update, self.start_at = net, tuple(encodings), update, start
        self.lam_size = net.outputs // update.heads
        self.size = net.size + (self.lam_size if start == "learned" else 0)

    def settings(self):
        return super().settings() | {
            "net": self.net, "encodings": self.encodings, "update": self.update, "start": self.start_at,
        }  # fmt: skip

    def init(self, rng, dtype=np.float64):
        """Initial phi (Q,): the net's parameters, then a learned lam_0, zeros at first."""
        return np.concatenate([self.net.init(rng, dtype), np.zeros(self.size - self.net.size, dtype)])

    def start(self, model, theta, phi, x, rng):
        if phi.shape != (self.size,) or self.lam_size != model.lam_size:
            raise InputError(
                f"phi has shape {phi.shape} and lam width {model.lam_size}; {self!r} needs ({self.size},) and {self.lam_size}"
            )
        if self.start_at == "prior":
            return model.prior_lam(len(x), theta.dtype)
        return np.tile(phi[self.net.size :], (len(x), 1))

    def encode(self, f, evaluation):
        """The network's inputs at an evaluation, (B, inputs): each encoding, then the current estimate."""
        inputs = np.concatenate([e.contents(f, evaluation) for e in (*self.encodings, Estimate())], axis=1)
        if inputs.shape[1] != self.net.inputs:
            raise InputError(
                f"the encodings {self.encodings} give {inputs.shape[1]} inputs; {self.net!r} takes {self.net.inputs}"
            )
        return inputs

    def walk(self, f, phi, lam, noise):
        trunk = Trunk(self.net, phi[: self.net.size])
        look = f.gradient if any(e.needs_gradient for e in self.encodings) else f.forward
        for noise_t in noise:
            lam = self.update.apply(lam, trunk.output(self.encode(f, look(lam, noise_t))))
            yield lam

    def _gradient(self, model, theta, phi, x, noise, beta, rng):
        f, trunk = model.objective(theta, x, beta), Trunk(self.net, phi[: self.net.size])
        lam = self.start(model, theta, phi, x, rng)
        e = first = f.evaluate(lam, noise[0])
        for noise_t in noise[1:]:
            output = trunk.output(self.encode(f, e))
            lam_t, lam = lam, self.update.apply(lam, output)
            e = f.evaluate(lam, noise_t)
            trunk.learn(self.update.backward(lam_t, output, e.d_lam))
        d_phi = trunk.gradient() / self.steps
        if self.start_at == "learned":
            d_phi = np.concatenate([d_phi, first.d_lam.sum(axis=0)])
        return e.loss, f.theta_sum().add(e).value(), d_phi
