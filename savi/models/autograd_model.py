"""AutogradModel: any loss a user writes in autograd.numpy, with the interface of model.py; every method runs on it."""

import autograd
import autograd.numpy as np
import numpy

from ..engine.files import InputError
from .base import Model
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
        self.user_loss, self.lam_size, self.size, self.noise_size = loss, lam_size, theta_size, noise_size
        self.prior = numpy.zeros(lam_size) if prior is None else numpy.asarray(prior, dtype=float)
        if self.prior.shape != (lam_size,):
            raise InputError(f"prior has shape {self.prior.shape}; lam_size {lam_size} needs ({lam_size},)")
        self._init, self._parts, self._posterior_kl, self._log_weights = init, parts, posterior_kl, log_weights

    def init(self, rng, dtype=numpy.float64):
        theta = self._init(rng) if self._init else 0.1 * rng.standard_normal(self.size)
        return numpy.asarray(theta).astype(dtype)

    def prior_lam(self, batch, dtype=numpy.float64):
        return numpy.tile(self.prior.astype(dtype), (batch, 1))

    def draw_noise(self, rng, samples, batch, dtype=numpy.float64):
        return rng.standard_normal((samples, batch, self.noise_size), dtype=dtype)

    def objective(self, theta, x, beta=1.0, keep=1, once=False):
        if theta.shape != (self.size,):
            raise InputError(f"theta has shape {theta.shape}; this model needs ({self.size},)")
        return AutogradObjective(lambda lam, theta, noise: self.user_loss(lam, theta, x, noise, beta), theta, x, self)

    def loss(self, lam, theta, x, noise, beta=1.0):
        return self.objective(theta, x, beta).loss(lam, theta, noise)

    def evaluate(self, lam, theta, x, noise, beta=1.0):
        return self.objective(theta, x, beta).evaluate(lam, noise)

    def theta_grad(self, lam, theta, x, noise, beta=1.0):
        f = self.objective(theta, x, beta)
        return f.theta_sum().add(f.gradient(lam, noise)).value()

    def parts(self, lam, theta, x, noise):
        if self._parts is None:  # nothing is known but the sum
            loss = self.loss(lam, theta, x, noise)
            return loss, numpy.full_like(loss, numpy.nan)
        return self._parts(lam, theta, x, noise)

    def posterior_kl(self, lam, target):
        kl = self._required(self._posterior_kl, "posterior_kl", "VAE+SVI+KL")
        return kl(lam, target), autograd.elementwise_grad(kl)(lam, target)

    def log_weights(self, lam, theta, x, noise):
        return self._required(self._log_weights, "log_weights", "the importance-weighted estimate")(
            lam, theta, x, noise
        )

    @staticmethod
    def _required(function, name, user):
        if function is None:
            raise InputError(f"this AutogradModel was made without {name}; {user} needs it")
        return function


class AutogradEvaluation:
    """loss (B,) and d_lam (B, lam_size) of one evaluation; theta's gradient is taken when it is asked for."""

    def __init__(self, lam, noise, loss, d_lam, theta_grad):
        self.lam, self.noise, self.loss, self.d_lam, self.theta_grad = lam, noise, loss, d_lam, theta_grad

    @property
    def terms(self):
        return [(self.theta_grad, None, 1.0)]


class AutogradObjective:
    """The verbs of model.Objective for a loss (lam, theta, noise) -> (B,) in autograd.numpy."""

    def __init__(self, loss, theta, x, model):
        self.user_loss, self.theta, self.x, self.batch, self.model = loss, theta, x, len(x), model

    def loss(self, lam, theta, noise):
        if numpy.shape(lam) != (self.batch, self.model.lam_size):
            raise InputError(f"lam has shape {numpy.shape(lam)}; expected ({self.batch}, {self.model.lam_size})")
        value = self.user_loss(lam, theta, noise)
        if np.shape(value) != (self.batch,):
            raise InputError(f"the loss has shape {np.shape(value)}; expected one value per example, ({self.batch},)")
        return value

    def evaluate(self, lam, noise):
        vjp, value = autograd.make_vjp(lambda lam: self.loss(lam, self.theta, noise))(lam)

        def theta_grad(weight):
            return autograd.grad(lambda theta: np.sum(weight * self.loss(lam, theta, noise)))(self.theta)

        return AutogradEvaluation(lam, noise, value, vjp(numpy.ones_like(value)), theta_grad)

    gradient = evaluate

    def hvp(self, evaluation, v):
        """(H_{lam,lam} v, H_{theta,lam} v), exactly."""
        loss = lambda lam, theta: self.loss(lam, theta, evaluation.noise)  # noqa: E731
        return product_by(loss, evaluation.lam, self.theta, v)

    def theta_sum(self):
        return AutogradThetaSum(self.theta)


class AutogradThetaSum:
    """The verbs of model.ThetaSum, by adding vectors (P,)."""

    def __init__(self, theta):
        self.total = numpy.zeros_like(theta)

    def add(self, term, weight=1.0):
        for theta_grad, _, w in term.terms:  # a function of the weights
            self.total += theta_grad(w * weight)
        return self

    def value(self):
        return self.total
