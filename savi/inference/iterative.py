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
from ..models.gaussian import join
from ..nets.activations import sigmoid
from ..nets.highway import HighwayMLP
from ..nets.mlp import ROWS_PER_BLOCK, ParamSum
from .base import InferenceMethod

# --- encodings: each knows its size and its contents ---------------------------------------------------------------------


class Gradient:
    """[alpha log(|g| + eps), sign(g)] for every entry g of grad_lam ELBO, (B, 4D).  [LI] B.1"""

    needs_gradient = True

    def __init__(self, alpha=0.1, eps=1e-5):
        self.alpha, self.eps = float(alpha), float(eps)

    def __repr__(self):
        return f"Gradient({self.alpha}, {self.eps})"

    def size(self, model):
        return 2 * model.lam_size

    def contents(self, f, evaluation):
        g = -evaluation.d_lam
        return np.concatenate([self.alpha * np.log(np.abs(g) + self.eps), np.sign(g)], axis=1)


class Error:
    """[e_x, e_z] = [x - E[x|z], z - mu_p], means over the noise samples, (B, M + D); no decoder Jacobian.  [LI] 4.1, B.1"""

    needs_gradient = False

    def __repr__(self):
        return "Error()"

    def size(self, model):
        return _decoder(model, self).data_dim + model.latent_dim

    def contents(self, f, evaluation):
        return np.concatenate(f.errors(evaluation), axis=1)


class Data:
    """x (B, M)."""

    needs_gradient = False

    def __repr__(self):
        return "Data()"

    def size(self, model):
        return _decoder(model, self).data_dim

    def contents(self, f, evaluation):
        return f.x


class Estimate:
    """The current lam (B, 2D): always encoded, after the others."""

    needs_gradient = False

    def size(self, model):
        return model.lam_size

    def contents(self, f, evaluation):
        return evaluation.lam


ENCODINGS = {"gradient": Gradient, "error": Error, "data": Data}


def _decoder(model, encoding):
    if getattr(getattr(model, "decoder", None), "data_dim", None) is None:
        raise InputError(
            f"the encoding {encoding!r} needs a decoder of vectors x (B, M); an AutogradModel or sequences have Gradient() alone"
        )
    return model.decoder


# --- updates: lam_{t+1} from lam_t and the network's output ---------------------------------------------------------------


class Gated:
    """lam_{t+1} = g lam_t + (1 - g) c, output = [c, logits of g] (B, 4D): two heads for mu and log_var each.  [LI] eq. 62"""

    heads = 2

    def __repr__(self):
        return "Gated()"

    def apply(self, lam, output):
        c, g = _heads(output)
        g = sigmoid(g)
        return g * lam + (1 - g) * c

    def backward(self, lam, output, d_lam):
        """d output (B, 4D) from the gradient with respect to lam_{t+1} (B, 2D), lam_t held fixed."""
        c, g = _heads(output)
        g = sigmoid(g)
        d_c = (1 - g) * d_lam
        return join(d_c, d_c * g * (lam - c))


class Residual:
    """lam_{t+1} = lam_t + c, output = c (B, 2D): the update of Andrychowicz et al. 2016, the alternative of [LI] B.2."""

    heads = 1

    def __repr__(self):
        return "Residual()"

    def apply(self, lam, output):
        return lam + output

    def backward(self, lam, output, d_lam):
        return d_lam


def _heads(output):
    n = output.shape[1] // 2
    return output[:, :n], output[:, n:]


# --- the method ----------------------------------------------------------------------------------------------------------


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
        self.sum, self._block = ParamSum(net, params.dtype), None

    def output(self, inputs):
        """The output (B, outputs) for inputs (B, inputs)."""
        if self._block is None or self._block.used == self._block.slots:  # a few steps' room, however many there are
            slots = max(1, ROWS_PER_BLOCK // len(inputs))
            self._block = self.net.block(len(inputs), inputs.dtype, slots)
        self._record = self._block.next_record()
        self._record.x[...] = inputs
        return self.net.forward(self.layers, self._record)

    def learn(self, d_output):
        """Add the gradient of the latest output's step."""
        self._record.output[...] = d_output
        self.net.complete(self.transposed, self._record)
        self.sum.add(self._record)

    def gradient(self):
        return self.sum.value()


class Iterative(InferenceMethod):
    """An iterative inference model.

    net: a network from the encodings to the update's outputs, for example `network(model, encodings)`. encodings: any of
    Gradient(), Error(), Data(), or objects like them. steps: T iterations in training. samples: S noise samples in each;
    with one, log and sign amplify the noise of a gradient, ten do much better. update: Gated() or Residual().
    start: "prior" or "learned", a constant that is part of phi.
    """

    name = "iterative"

    def __init__(self, net, encodings, steps=5, samples=10, update=Gated(), start="prior"):  # noqa: B008
        super().__init__(steps, samples)
        if steps < 1:
            raise InputError(f"steps is {steps}; an iterative inference model needs at least 1")
        if start not in ("prior", "learned"):
            raise InputError(f"start is {start!r}; expected 'prior' or 'learned'")
        self.net, self.encodings, self.update, self.start_at = net, tuple(encodings), update, start
        self.lam_size = net.sizes[-1] // update.heads
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
        if inputs.shape[1] != self.net.sizes[0]:
            raise InputError(
                f"the encodings {self.encodings} give {inputs.shape[1]} inputs; {self.net!r} takes {self.net.sizes[0]}"
            )
        return inputs

    def walk(self, f, phi, lam, noise):
        trunk = Trunk(self.net, phi[: self.net.size])
        look = f.gradient if any(e.needs_gradient for e in self.encodings) else f.glance
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
