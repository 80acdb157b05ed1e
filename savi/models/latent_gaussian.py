"""The model: z ~ p(z) Gaussian, x ~ p(x | z; theta); its loss f(lam, theta, x; noise) = -ELBO and f's derivatives.  [E2]

Every algorithm of the house needs four things of a model, and asks for them through an objective, which is f at fixed
theta, x and beta:
    f = model.objective(theta, x, beta)
    f.evaluate(lam, noise)      an Evaluation: loss (B,) and d_lam (B, 2D); f.gradient(lam, noise) leaves the loss out
    f.hvp(evaluation, v)        a Product: H_{lam,lam} v (B, 2D), and what H_{theta,lam} v needs
    f.theta_sum()               sums d f / d theta over evaluations and H_{theta,lam} v over products, each with a weight
lam-quantities are per example: the batch never mixes. theta-quantities are sums over the batch.
"""

import numpy as np

from ..engine.files import InputError
from .base import Model
from .gaussian import (
    LOG_2PI,
    AnalyticKL,
    PointMass,
    log_density,
    reparameterized_hvp,
    sample,
    sample_backward,
    sample_tangent,
    scaled_noise,
    split,
)


class Evaluation:
    """f at one lam and noise: loss (B,) or None, d_lam (B, 2D), and the records that further derivatives need."""

    __slots__ = ("d_lam", "d_z", "lam", "loss", "noise", "record", "sigma_e")

    def __init__(self, lam, noise, loss, d_lam, record, d_z, sigma_e):
        self.lam, self.noise, self.loss, self.d_lam = lam, noise, loss, d_lam
        self.record, self.d_z, self.sigma_e = record, d_z, sigma_e

    @property
    def terms(self):
        return [(self.record, None, 1.0)]


class Product:
    """A Hessian-vector product: lam = H_{lam,lam} v (B, 2D); H_{theta,lam} v lies in its terms until it is summed.

    terms: (record, tangent record or None, weight), a weight being a number or one per example (B,).
    """

    __slots__ = ("lam", "terms")

    def __init__(self, lam, terms):
        self.lam, self.terms = lam, terms


class LatentGaussianModel(Model):
    """p(x, z) = p(z) p(x | z; theta), q(z) = N(mu, diag exp(log_var)), lam = [mu, log_var] (B, 2D).

    decoder: p(x | z; theta), for example an MLPDecoder. prior: [mu_p, log_var_p] (2D,), standard normal when None.
    kl: the form of the KL term, AnalyticKL (default) or SampledKL; or PointMass: q is a point mass at mu, all noise is 0.
    """

    divisible = True  # threads may work on parts of a batch

    def __init__(self, decoder, prior=None, kl=AnalyticKL):
        self.decoder, self.kl = decoder, kl
        self.latent_dim, self.size, self.lam_size = decoder.latent_dim, decoder.size, 2 * decoder.latent_dim
        self.work = getattr(decoder, "work", decoder.size)  # multiplications in a pass of one example
        self.prior = np.zeros(self.lam_size) if prior is None else np.asarray(prior, dtype=float)
        if self.prior.shape != (self.lam_size,):
            raise InputError(
                f"prior has shape {self.prior.shape}; latent_dim {self.latent_dim} needs ({self.lam_size},)"
            )

    def __repr__(self):
        return f"LatentGaussianModel({self.decoder!r})"

    @property
    def takes_probabilities(self):
        return self.decoder.likelihood.takes_probabilities

    def check(self, x):
        self.decoder.likelihood.check(x)

    def describe(self):
        prior = self.prior.tolist() if self.prior.any() else None
        return {"model": repr(self), "kl": self.kl.__name__, "prior": prior}

    def init(self, rng, dtype=np.float64):
        """Initial theta (P,)."""
        return self.decoder.init(rng, dtype)

    def prior_lam(self, batch, dtype=np.float64):
        """lam of the prior, (B, 2D)."""
        return np.tile(self.prior.astype(dtype), (batch, 1))

    def draw_noise(self, rng, samples, batch, dtype=np.float64):
        """Standard-normal noise (S, B, D); zeros for a point mass."""
        if self.kl is PointMass:
            return np.zeros((samples, batch, self.latent_dim), dtype)
        return rng.standard_normal((samples, batch, self.latent_dim), dtype=dtype)

    def objective(self, theta, x, beta=1.0, keep=1, once=False):
        """f at fixed theta (P,), x (B, M) and KL weight beta [E4]. keep: evaluations the caller will hold at a time;
        once: f will be evaluated once only.

        Raises InputError on a shape mismatch or an x outside the likelihood's support.
        """
        x = np.asarray(x)
        self.decoder.check(theta, x)
        return Objective(self, theta, x.astype(theta.dtype, copy=False), float(beta), keep, once)

    def loss(self, lam, theta, x, noise, beta=1.0):
        """-ELBO of each example (nats, lower is better), [E2]; [LI] eq. 3; the KL term times beta.

        lam (B, 2D) = [mu, log_var]; theta (P,); x (B, M); noise (S, B, D). Returns (B,). Raises InputError as above.
        """
        reconstruction, kl = self.parts(lam, theta, x, noise)
        return reconstruction + beta * kl

    def parts(self, lam, theta, x, noise):
        """(-E_q[log p(x|z)], KL), each (B,), nats: the loss is their sum."""
        return self.objective(theta, x, once=True).parts(lam, noise)

    def evaluate(self, lam, theta, x, noise, beta=1.0):
        """The Evaluation of f: .loss (B,), .d_lam (B, 2D). Raises InputError as `loss` does."""
        return self.objective(theta, x, beta, once=True).evaluate(lam, noise)

    def theta_grad(self, lam, theta, x, noise, beta=1.0):
        """d f / d theta (P,), summed over the batch.  [E13]"""
        f = self.objective(theta, x, beta, once=True)
        return f.theta_sum().add(f.gradient(lam, noise)).value()

    def posterior_kl(self, lam, target):
        """KL(q(z; lam) || q(z; target)) (B,) and its gradient with respect to lam (B, 2D), target held fixed.  [E3]"""
        if lam.shape != target.shape:
            raise InputError(f"lam has shape {lam.shape} and its target {target.shape}; expected the same")
        return AnalyticKL.value(lam, target), AnalyticKL.grad(lam, target)

    def log_weights(self, lam, theta, x, noise):
        """log p(x, z_s) - log q(z_s) of each sample, (S, B), nats: the terms of the importance-weighted bound.  [E5]"""
        return self.objective(theta, x, once=True).log_weights(lam, noise)


class Objective:
    """f(lam; noise) at fixed theta, x and beta; the verbs are in the module's docstring."""

    def __init__(self, model, theta, x, beta, keep, once):
        self.model, self.theta, self.x, self.beta, self.kl = model, theta, x, beta, model.kl
        self.prior = model.prior.astype(theta.dtype)
        self.given_x = model.decoder.given(theta, x, keep, once)

    def _check(self, lam, noise):
        B, D = len(self.x), self.model.latent_dim
        if lam.shape != (B, 2 * D):
            raise InputError(f"lam has shape {lam.shape}; x of {B} examples and latent_dim {D} need ({B}, {2 * D})")
        if noise.ndim != 3 or noise.shape[1:] != (B, D) or not len(noise):
            raise InputError(f"noise has shape {noise.shape}; expected (S, {B}, {D}) with S >= 1")

    def evaluate(self, lam, noise):
        """f and its gradient: an Evaluation."""
        return self._evaluate(lam, noise, with_loss=True)

    def gradient(self, lam, noise):
        """The gradient alone, for inner steps that never look at the loss: an Evaluation whose loss is None."""
        return self._evaluate(lam, noise, with_loss=False)

    def _evaluate(self, lam, noise, with_loss):
        self._check(lam, noise)
        sigma_e = scaled_noise(lam, noise)
        record = self.given_x.forward(split(lam)[0] + sigma_e)
        loss = self._loss(lam, noise, record) if with_loss else None
        d_z = self.given_x.backward(record)  # J^T e_x, (S, B, D)
        d_lam = self._difference(self.kl.grad(lam, self.prior, noise), sample_backward(sigma_e, d_z), noise)  # [E11]
        return Evaluation(lam, noise, loss, d_lam, record, d_z, sigma_e)

    def _difference(self, kl, expected, noise):
        """beta kl - expected / S, over `kl`: derivatives of the two terms of f, the second one summed over the samples."""
        if self.beta != 1:
            kl *= self.beta
        if len(noise) > 1:
            expected /= len(noise)
        kl -= expected
        return kl

    def _loss(self, lam, noise, record):
        return self.beta * self.kl.value(lam, self.prior, noise) - self.given_x.log_px(record).mean(axis=0)

    def glance(self, lam, noise):
        """An evaluation without derivatives, for `errors` alone."""
        self._check(lam, noise)
        sigma_e = scaled_noise(lam, noise)
        return Evaluation(lam, noise, None, None, self.given_x.forward(split(lam)[0] + sigma_e), None, sigma_e)

    def errors(self, evaluation):
        """(e_x (B, M), e_z (B, D)): x - E[x | z] and z - mu_p, means over the samples.  [LI] 4.1

        The errors of the two levels, bottom-up and top-down, without their precisions, as [LI] B.1 encodes them.
        """
        e_x = self.given_x.residual(evaluation.record).mean(axis=0)
        return e_x, split(evaluation.lam)[0] + evaluation.sigma_e.mean(axis=0) - split(self.prior)[0]

    def parts(self, lam, noise):
        self._check(lam, noise)
        record = self.given_x.forward(sample(lam, noise))
        return -self.given_x.log_px(record).mean(axis=0), self.kl.value(lam, self.prior, noise)

    def log_px(self, z):
        """log p(x | z) (S, B) at z (S, B, D)."""
        return self.given_x.log_px(self.given_x.forward(z))

    def log_weights(self, lam, noise):
        self._check(lam, noise)
        z = sample(lam, noise)
        log_px = self.given_x.log_px(self.given_x.forward(z))
        log_q = -0.5 * (LOG_2PI + split(lam)[1] + noise**2).sum(axis=-1)  # (z - mu) / sigma is the noise itself
        return log_px + log_density(z, self.prior) - log_q

    def hvp(self, evaluation, v):
        """(H_{lam,lam} v, H_{theta,lam} v) exactly, v (B, 2D): Pearlmutter's R-operator through the closed forms."""
        e = evaluation
        d_z_dot, dot = self.given_x.tangent(e.record, sample_tangent(e.lam, e.sigma_e, v))
        h = reparameterized_hvp(e.sigma_e, e.d_z, d_z_dot, v)
        h = self._difference(self.kl.hvp(e.lam, self.prior, e.noise, v), h, e.noise)
        return Product(h, [(e.record, dot, 1.0)])

    def theta_sum(self, dtype=None):
        return ThetaSum(self.given_x, dtype)


class ThetaSum:
    """sum_i w_i (d f / d theta of evaluation i, or H_{theta,lam} v of product i), (P,); see nets.ParamSum."""

    def __init__(self, given_x, dtype=None):
        self.given_x, self.sum = given_x, given_x.param_sum(dtype) if dtype else given_x.param_sum()
        self.vectors = []

    def add(self, term, weight=1.0):
        """+ weight * term; weight is a number or one per example (B,). Returns the sum itself."""
        for record, dot, w in term.terms:
            if callable(record):  # from autograd: a vector (P,) as a function of the weights
                self.vectors.append(record(w * weight))
                continue
            samples = self.given_x.samples(record)
            rows = -w * weight / samples  # f is minus the mean over samples of log p(x | z)
            if not np.isscalar(rows):
                rows = np.tile(rows, samples)
            if dot is None:
                self.sum.add(record, rows)
            else:
                self.sum.add_tangent(record, dot, rows)
        return self

    def value(self):
        return sum(self.vectors, self.sum.value())
