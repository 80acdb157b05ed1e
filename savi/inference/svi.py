"""Stochastic variational inference: gradient ascent on the ELBO, one lam per example.  [SA] sections 2, 3

    lam_0 = the prior, zero or random
    for k = 0 .. K-1:
        v_{k+1} = gamma v_k - grad_lam f(lam_k; noise_k)
        lam_{k+1} = lam_k + alpha v_{k+1}
    theta follows grad_theta f(lam_K)

`ascent` is this loop. Other methods start it elsewhere (amortized.py), differentiate it (semi_amortized.py), or put an
optimizer in its place (VariationalEM, the opponent of iterative inference).
"""

import copy

import numpy as np

from ..engine import given
from ..engine.files import InputError
from .base import InferenceMethod, last


def clipped(g, clip):
    """g (B, n), each row scaled down to norm `clip` where it is longer; None leaves g as it is."""
    return g if clip is None else g * _shrink(g, clip)[0]


def clipped_vjp(g, clip, u):
    """J^T u for the Jacobian J of `clipped` at g (B, n): rows that were scaled lose their part along g, too."""
    if clip is None:
        return u
    shrink, norm = _shrink(g, clip)
    direction = g / norm
    along = np.where(shrink < 1, (direction * u).sum(axis=1, keepdims=True), 0)
    return shrink * (u - along * direction)


def _shrink(g, clip):
    norm = np.sqrt((g * g).sum(axis=1, keepdims=True))
    norm = np.where(norm > 0, norm, clip)  # a zero row is below every clip
    return np.minimum(1, clip / norm), norm


def ascent(f, lam, noise, step_size, momentum=0.0, clip=None, trace=None):
    """Yields lam_1, lam_2, ..., after one step of SVI for each entry of `noise`; f is an objective.

    lam (B, n); noise: K arrays (S, B, D), an array (K, S, B, D) or a generator of such. step_size alpha: per example, a
    number or one per entry of lam (n,). momentum gamma. clip: largest norm of an example's gradient.
    trace: a list that receives each step's evaluation, for those who differentiate the loop. In plain NumPy: savi.plain.svi.
    """
    v = np.zeros_like(lam)
    for noise_k in noise:
        step = f.gradient(lam, noise_k)
        v = momentum * v - clipped(step.d_lam, clip)
        lam = lam + step_size * v
        if trace is not None:
            trace.append(step)
        yield lam


def ascend(f, lam, noise, step_size, momentum=0.0, clip=None, trace=None):
    """lam_K, the end of the `ascent`."""
    return last(ascent(f, lam, noise, step_size, momentum, clip, trace), lam)


class AscentMethod(InferenceMethod):
    """A method whose steps are SVI's.

    steps K >= 0; step_size alpha, per example (the sources average their loss over a batch, so their step size 1 is
    1 / batch here); momentum gamma in [0, 1); clip: None or the largest norm of an example's inner gradient;
    samples S: noise samples in each evaluation of the loss.
    """

    def __init__(self, steps, step_size, momentum, clip, samples):
        super().__init__(steps, samples)
        self.step_size = _step_size(step_size)
        self.momentum = given.number("momentum", momentum, "[0, 1)")
        self.clip = None if clip is None else given.number("clip", clip, "(0, inf)")

    def settings(self):
        return super().settings() | {"step_size": self.step_size, "momentum": self.momentum, "clip": self.clip}

    @property
    def inner_settings(self):
        return {"step_size": self.step_size, "momentum": self.momentum, "clip": self.clip} if self.steps else {}

    def with_inner(self, **inner):
        other, settings = copy.copy(self), {"step_size": self.step_size, "momentum": self.momentum, "clip": self.clip}
        AscentMethod.__init__(other, self.steps, **settings | inner, samples=self.samples)
        return other

    def walk(self, f, phi, lam, noise):
        return ascent(f, lam, noise, *self.inner(lam))

    def inner(self, lam):
        """(step_size, momentum, clip) of the inner steps, in the precision of lam."""
        if np.isscalar(self.step_size):
            return self.step_size, self.momentum, self.clip
        if self.step_size.shape != lam.shape[1:]:
            raise InputError(f"step_size has shape {self.step_size.shape}; lam needs a number or {lam.shape[1:]}")
        return self.step_size.astype(lam.dtype), self.momentum, self.clip


def _step_size(step_size):
    """The step size as a number, or as an array (n,) with one for each entry of lam."""
    if not isinstance(step_size, list | tuple | np.ndarray) or not np.ndim(step_size):
        return given.number("step_size", step_size, "[0, inf)")
    sizes = given.finite("step_size", step_size, (len(step_size),))
    if not (sizes >= 0).all():
        raise InputError(f"step_size is {sizes.tolist()}; expected numbers >= 0")
    return sizes


class SVI(AscentMethod):
    """SVI: K steps from the prior, from zero or from a random point; there is no phi.

    start: "prior" (the prior's lam), "zero", or "random" (0.1 * standard normal, as the sources' code draws it).
    In plain NumPy: savi.plain.svi.
    """

    name = "svi"

    def __init__(self, steps=20, step_size=0.05, momentum=0.5, clip=None, samples=1, start="prior"):
        super().__init__(steps, step_size, momentum, clip, samples)
        self.start_at = given.one_of("start", start, ("prior", "zero", "random"))
        self.divisible = start != "random"  # one stream of random numbers draws all starts

    def settings(self):
        return super().settings() | {"start": self.start_at}

    def start(self, model, theta, phi, x, rng):
        lam = model.prior_lam(len(x), theta.dtype, theta)
        if self.start_at == "zero":
            lam[...] = 0
        if self.start_at == "random":
            lam = 0.1 * given.generator("rng", rng).standard_normal(lam.shape, dtype=theta.dtype)
        return lam

    def _gradient(self, model, theta, phi, x, noise, beta, rng):
        f = model.objective(theta, x, beta)
        lam_0 = self.start(model, theta, phi, x, rng)
        lam_K = last(self.walk(f, phi, lam_0, noise[:-1]), lam_0)
        final = f.evaluate(lam_K, noise[-1])  # lam_K is held fixed
        return final.loss, f.theta_sum().add(final).value(), np.zeros(0, theta.dtype)


class VariationalEM(SVI):
    """Variational EM: SVI whose expectation step is an optimizer of one's choice (optimizers.py).  [LI] 2.2, C.6

    optimizer: SGD, Momentum, RMSProp or Adam with its step size, per example; STEP_SIZES is the grid that [LI] tries.
    """

    name = "em"

    def __init__(self, optimizer, steps=20, samples=1, start="prior"):
        given.thing("optimizer", optimizer)
        super().__init__(steps, optimizer.step_size, 0.0, None, samples, start)
        self.optimizer = optimizer

    def settings(self):
        return {"optimizer": self.optimizer, "steps": self.steps, "samples": self.samples, "start": self.start_at}

    @property
    def inner_settings(self):
        return {"step_size": self.step_size}

    def with_inner(self, **inner):
        other = super().with_inner(**inner)
        other.optimizer = self.optimizer._replace(step_size=other.step_size)
        return other

    def walk(self, f, phi, lam, noise):
        state = self.optimizer.init(lam)
        for noise_k in noise:
            state, step = self.optimizer.update(state, f.gradient(lam, noise_k).d_lam)
            lam = lam + step
            yield lam


STEP_SIZES = (0.5, 0.4, 0.3, 0.2, 0.1, 0.01, 0.001)
