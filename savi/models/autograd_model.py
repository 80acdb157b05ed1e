"""AutogradModel: any loss a user writes in autograd.numpy, with the interface of base.py; every method runs on it."""

import autograd
import autograd.numpy as np
import numpy

from ..engine import given
from ..engine.files import InputError
from .base import Model, Objective, VectorTerm
from .reference import product_by


class AutogradModel(Model):
    """A model given by its per-example loss in autograd.numpy; every inference method of savi runs on it.

    loss(lam, theta, x, noise, beta) -> (B,), minimised, nats; row b may depend on row b of lam, x and noise only.
    lam (B, lam_size) are posterior parameters of any kind; theta (theta_size,); x (B, ...); noise (S, B, noise_size)
    is standard normal. beta is the KL weight [E4]; a loss without one may ignore it.
    prior: lam of the prior (lam_size,), where SVI starts; zeros when None.
    init(rng) -> theta; 0.1 * standard normal when None.
    parts(lam, theta, x, noise) -> (reconstruction (B,), kl (B,)); posterior_kl(lam, target) -> (B,), which VAE+SVI+KL
    needs; log_weights(lam, theta, x, noise) -> (S, B), which the importance-weighted estimate needs: all optional,
    all in autograd.numpy; a method that needs a missing one says so with an InputError.
    """

    def __init__(
        self,
        loss,
        lam_size,
        theta_size,
        noise_size,
        prior=None,
        init=None,
        parts=None,
        posterior_kl=None,
        log_weights=None,
    ):
        self.user_loss = given.thing("loss", loss)
        self.lam_size, self.size = given.whole("lam_size", lam_size, 1), given.whole("theta_size", theta_size)
        self.noise_size = given.whole("noise_size", noise_size, 1)
        prior = numpy.zeros(self.lam_size) if prior is None else prior
        self.prior = given.finite("prior", prior, (self.lam_size,), f"lam_size {lam_size} needs")
        self._init, self.user_parts, self.user_kl, self.user_log_weights = init, parts, posterior_kl, log_weights
        optional = {"parts": parts, "posterior_kl": posterior_kl, "log_weights": log_weights}
        self.supports = frozenset({"tangent"} | {verb for verb, function in optional.items() if function})

    def __repr__(self):
        return f"AutogradModel({self.user_loss!r}, {self.lam_size}, {self.size}, {self.noise_size})"

    def init(self, rng, dtype=numpy.float64, x=None):
        theta = self._init(rng) if self._init else 0.1 * rng.standard_normal(self.size)
        return numpy.asarray(theta).astype(dtype)

    def prior_lam(self, batch, dtype=numpy.float64, theta=None):
        return numpy.tile(self.prior.astype(dtype), (batch, 1))

    def draw_noise(self, rng, samples, batch, dtype=numpy.float64):
        return rng.standard_normal((samples, batch, self.noise_size), dtype=dtype)

    def objective(self, theta, x, beta=1.0):
        if given.floats("theta", theta).shape != (self.size,):
            raise InputError(f"theta has shape {theta.shape}; this model needs ({self.size},)")
        return AutogradObjective(self, theta, given.examples("x", x), given.number("beta", beta))

    def posterior_kl(self, lam, target):
        if self.user_kl is None:
            raise self.missing("posterior_kl", "VAE+SVI+KL")
        return self.user_kl(lam, target), autograd.elementwise_grad(self.user_kl)(lam, target)

    def missing(self, verb, user):
        return InputError(f"this AutogradModel was made without {verb}; {user} needs it")


class AutogradEvaluation:
    """loss (B,) and d_lam (B, lam_size) of one evaluation; theta's gradient is taken when it is asked for."""

    def __init__(self, lam, noise, loss, d_lam, theta_gradient):
        self.lam, self.noise, self.loss, self.d_lam = lam, noise, loss, d_lam
        self.terms = [VectorTerm(theta_gradient)]


class AutogradObjective(Objective):
    """f for a user's loss, differentiated by autograd."""

    def reference(self, lam, theta, noise):
        if numpy.shape(lam) != (len(self.x), self.model.lam_size):
            raise InputError(f"lam has shape {numpy.shape(lam)}; expected ({len(self.x)}, {self.model.lam_size})")
        value = self.model.user_loss(lam, theta, self.x, noise, self.beta)
        if np.shape(value) != (len(self.x),):
            raise InputError(f"the loss has shape {np.shape(value)}; expected one value per example, ({len(self.x)},)")
        return value

    def loss(self, lam, noise):
        return self.reference(lam, self.theta, noise)

    def evaluate(self, lam, noise):
        vjp, value = autograd.make_vjp(lambda lam: self.reference(lam, self.theta, noise))(lam)

        def theta_gradient(weight):
            return autograd.grad(lambda theta: np.sum(weight * self.reference(lam, theta, noise)))(self.theta)

        return AutogradEvaluation(lam, noise, value, vjp(numpy.ones_like(value)), theta_gradient)

    def hvp(self, evaluation, v):
        """(H_{lam,lam} v, H_{theta,lam} v), exactly."""
        return product_by(
            lambda lam, theta: self.reference(lam, theta, evaluation.noise), evaluation.lam, self.theta, v
        )

    def theta_sum(self, dtype=None):
        return AutogradThetaSum(self.theta)

    def parts(self, lam, noise):
        """(reconstruction, KL), each (B,); where the model has no parts, the loss and NaN."""
        if self.model.user_parts is None:
            loss = self.loss(lam, noise)
            return loss, numpy.full_like(loss, numpy.nan)
        return self.model.user_parts(lam, self.theta, self.x, noise)

    def log_weights(self, lam, noise):
        if self.model.user_log_weights is None:
            raise self.model.missing("log_weights", "the importance-weighted estimate")
        return self.model.user_log_weights(lam, self.theta, self.x, noise)


class AutogradThetaSum:
    """The verbs of ThetaSum, by adding vectors (P,)."""

    def __init__(self, theta):
        self.total = numpy.zeros_like(theta)

    def add(self, item, weight=1.0):
        """+ weight * item, as latent_gaussian.ThetaSum."""
        for term in item.terms:
            term.add_to(self, weight)
        return self

    def add_vector(self, vector):
        """+ vector (P,)."""
        self.total += vector

    def value(self):
        """The sum (P,)."""
        return self.total
