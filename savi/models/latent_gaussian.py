"""The model: z ~ p(z) Gaussian, x ~ p(x | z; theta); its loss f(lam, theta, x; noise) = -ELBO and f's derivatives.  [E2]

Every algorithm of the house asks a model through an objective, which is f at fixed theta, x and beta (base.py):
    f = model.objective(theta, x, beta)
    f.evaluate(lam, noise)      an Evaluation: loss (B,) and d_lam (B, 2D); f.gradient(lam, noise) leaves the loss out
    f.hvp(evaluation, v)        a Product: H_{lam,lam} v (B, 2D), and what H_{theta,lam} v needs
    f.theta_sum()               sums d f / d theta over evaluations and H_{theta,lam} v over products, each with a weight
lam-quantities are per example: the batch never mixes. theta-quantities are sums over the batch.
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from .base import Model, Objective, Product, RecordTerm, VectorTerm
from .gaussian import (
    AnalyticKL,
    log_density,
    reparameterized_hvp,
    sample,
    sample_backward,
    sample_mean,
    sample_tangent,
    split,
)


class LatentGaussianModel(Model):
    """p(x, z) = p(z) p(x | z; theta), q(z) = N(mu, diag exp(log_var)), lam = [mu, log_var] (B, 2D).

    decoder: p(x | z; theta), for example an MLPDecoder. prior: [mu_p, log_var_p] (2D,), standard normal when None.
    kl: the family of q with the form of its KL term, AnalyticKL (default), SampledKL or PointMass (gaussian.py).
    """

    divisible = True  # threads may work on parts of a batch

    def __init__(self, decoder, prior=None, kl=AnalyticKL):
        if not hasattr(kl, "has_density"):
            raise InputError(f"kl is {kl!r}; expected AnalyticKL, SampledKL or PointMass")
        self.decoder, self.kl = given.thing("decoder", decoder), kl
        self.latent_dim, self.size, self.lam_size = decoder.latent_dim, decoder.size, 2 * decoder.latent_dim
        self.work, self.data_dim, self.takes_probabilities = decoder.work, decoder.data_dim, decoder.takes_probabilities
        self.turns, self.chunk = decoder.turns, decoder.chunk
        prior, needed = np.zeros(self.lam_size) if prior is None else prior, f"latent_dim {self.latent_dim} needs"
        self.prior = given.finite("prior", prior, (self.lam_size,), needed)
        optional = {"errors": decoder.has_residual, "tangent": decoder.has_tangent}
        optional |= dict.fromkeys(("log_weights", "posterior_kl"), kl.has_density)
        always = {"parts", "log_px", "complex"}
        self.supports = frozenset(always | {verb for verb, there in optional.items() if there})

    def __repr__(self):
        return f"LatentGaussianModel({self.decoder!r})"

    def missing(self, verb, user):
        if verb in ("log_weights", "posterior_kl"):
            return InputError(f"q is a {self.kl.__name__}, which has no density; {user} needs one")
        return super().missing(verb, user)

    def baseline(self, train, x):
        return self.decoder.baseline(train, x)

    def describe(self):
        prior = self.prior.tolist() if self.prior.any() else None
        return {"model": repr(self), "kl": self.kl.__name__, "prior": prior}

    def init(self, rng, dtype=np.float64, x=None):
        return self.decoder.init(rng, dtype, x)

    def adopt(self, theta, fresh):
        return self.decoder.adopt(theta, fresh)

    def prior_lam(self, batch, dtype=np.float64, theta=None):
        """lam of the prior, (B, 2D)."""
        return np.tile(self.prior.astype(dtype), (batch, 1))

    def draw_noise(self, rng, samples, batch, dtype=np.float64):
        """Standard-normal noise (S, B, D); zeros for a point mass."""
        return self.kl.draw_noise(rng, samples, batch, self.latent_dim, dtype)

    def check(self, x):
        self.decoder.check_data(x)

    def mean(self, theta, z):
        return self.decoder.mean(theta, z)

    def picture(self, theta, z, rng):
        return self.decoder.picture(theta, z, rng)

    def sample(self, theta, n, rng, dtype=np.float64):
        z = sample(self.prior.astype(dtype), rng.standard_normal((n, self.latent_dim), dtype=dtype))
        return self.decoder.sample(theta, z, rng), z

    def given(self, theta, x):
        """p(x | z; theta) as a function of z (S, B, D): a Given, on which the objective works."""
        return self.decoder.given(theta, x)

    def objective(self, theta, x, beta=1.0):
        theta, x, beta = given.floats("theta", theta, "fc"), given.examples("x", x), given.number("beta", beta)
        self.decoder.check(theta, x)
        return LatentGaussianObjective(self, theta, x.astype(theta.dtype, copy=False), beta)

    def posterior_kl(self, lam, target):
        if not self.kl.has_density:
            raise self.missing("posterior_kl", "VAE+SVI+KL")
        if given.floats("lam", lam, "fc").shape != given.floats("target", target, "fc").shape:
            raise InputError(f"lam has shape {lam.shape} and its target {target.shape}; expected the same")
        return self.kl.between(lam, target)


class Evaluation:
    """f at one lam and noise: loss (B,) or None, d_lam (B, 2D), and the records that further derivatives need."""

    __slots__ = ("d_lam", "d_z", "lam", "loss", "noise", "record", "sigma_e")

    def __init__(self, lam, noise, loss, d_lam, record, d_z, sigma_e):
        self.lam, self.noise, self.loss, self.d_lam = lam, noise, loss, d_lam
        self.record, self.d_z, self.sigma_e = record, d_z, sigma_e

    @property
    def terms(self):
        """What `theta_sum` adds for d f / d theta."""
        return [RecordTerm(self.record)]


class LatentGaussianObjective(Objective):
    """f(lam; noise) in closed form; lam (B, 2D), noise (S, B, D)."""

    def __init__(self, model, theta, x, beta):
        super().__init__(model, theta, x, beta)
        self.kl, self.prior = model.kl, model.prior.astype(theta.dtype)
        self.given_x = model.given(theta, x)

    def reserve(self, held):
        self.given_x.reserve(held)

    def _check(self, lam, noise):
        B, D = len(self.x), self.model.latent_dim
        if lam.shape != (B, 2 * D):
            raise InputError(f"lam has shape {lam.shape}; x of {B} examples and latent_dim {D} need ({B}, {2 * D})")
        if noise.ndim != 3 or noise.shape[1:] != (B, D) or not len(noise):
            raise InputError(f"noise has shape {noise.shape}; expected (S, {B}, {D}) with S >= 1")

    def _forward(self, lam, noise):
        """(sigma e, z = mu + sigma e, the record there)."""
        self._check(lam, noise)
        sigma_e = self.kl.scaled_noise(lam, noise)
        z = split(lam)[0] + sigma_e
        return sigma_e, z, self.given_x.forward(z)

    def evaluate(self, lam, noise):
        return self._evaluate(lam, noise, with_loss=True)

    def gradient(self, lam, noise):
        """`evaluate` for inner steps that never look at the loss: it is None."""
        return self._evaluate(lam, noise, with_loss=False)

    def _evaluate(self, lam, noise, with_loss):
        sigma_e, _, record = self._forward(lam, noise)
        loss = None
        if with_loss:
            log_px = self.given_x.log_px_and_error(record)
            loss = self.beta * self.kl.value(lam, self.prior, noise) - sample_mean(log_px)
        d_z = self.given_x.backward(record)  # J^T e_x, (S, B, D)
        d_lam = self._difference(
            self.kl.gradient(lam, self.prior, noise), sample_backward(sigma_e, d_z), noise
        )  # [E11]
        return Evaluation(lam, noise, loss, d_lam, record, d_z, sigma_e)

    def _difference(self, kl, expected, noise):
        """beta kl - expected / S, over `kl`: derivatives of the two terms of f, the second one summed over the samples."""
        if self.beta != 1:
            kl *= self.beta
        if len(noise) > 1:
            expected /= len(noise)
        kl -= expected
        return kl

    def hvp(self, evaluation, v):
        """(H_{lam,lam} v, H_{theta,lam} v) exactly, v (B, 2D): Pearlmutter's R-operator through the closed forms."""
        e = evaluation
        d_z_dot, dot = self.given_x.tangent(e.record, sample_tangent(e.lam, e.sigma_e, v))
        h = reparameterized_hvp(e.sigma_e, e.d_z, d_z_dot, v)
        h = self._difference(self.kl.hvp(e.lam, self.prior, e.noise, v), h, e.noise)
        return Product(h, [RecordTerm(e.record, dot)])

    def imaginary(self, evaluation, moved, r):
        dot = self.given_x.imaginary(evaluation.record, moved.record, r)
        if dot is not None:
            return Product(moved.d_lam.imag / r, [RecordTerm(evaluation.record, dot)])

        def theta(weight):  # the sum is taken when its weights are known
            total = self.theta_sum(moved.d_lam.dtype).add(moved, weight).value()
            return (total.imag / r).astype(self.theta.dtype)

        return Product(moved.d_lam.imag / r, [VectorTerm(theta)])

    def theta_sum(self, dtype=None):
        return ThetaSum(self.given_x, dtype)

    def loss(self, lam, noise):
        reconstruction, kl = self.parts(lam, noise)
        return reconstruction + self.beta * kl

    def parts(self, lam, noise):
        *_, record = self._forward(lam, noise)
        return -sample_mean(self.given_x.log_px(record)), self.kl.value(lam, self.prior, noise)

    def log_px(self, z):
        return self.given_x.log_px(self.given_x.forward(z))

    def log_weights(self, lam, noise):
        if not self.kl.has_density:
            raise self.model.missing("log_weights", "the importance-weighted estimate")
        _, z, record = self._forward(lam, noise)
        return self.given_x.log_px(record) + log_density(z, self.prior) - self.kl.log_q(lam, noise)

    def forward(self, lam, noise):
        """An evaluation without derivatives, for `errors` alone."""
        sigma_e, _, record = self._forward(lam, noise)
        return Evaluation(lam, noise, None, None, record, None, sigma_e)

    def errors(self, evaluation):
        """(e_x (B, M), e_z (B, D)): x - E[x | z] and z - mu_p, means over the samples.  [LI] 4.1

        The errors of the two levels, bottom-up and top-down, without their precisions, as [LI] B.1 encodes them.
        """
        e_x = self.given_x.residual(evaluation.record).mean(axis=0)
        return e_x, split(evaluation.lam)[0] + evaluation.sigma_e.mean(axis=0) - split(self.prior)[0]

    def reference(self, lam, theta, noise):
        from . import reference

        return reference.loss(self.model, lam, theta, self.x, noise, self.beta)


class ThetaSum:
    """sum_i w_i (d f / d theta of evaluation i, or H_{theta,lam} v of product i), (P,); see engine.records.ParamSum."""

    def __init__(self, given_x, dtype=None):
        self.given_x, self.sum, self.vectors = given_x, given_x.param_sum(dtype), []

    def add(self, item, weight=1.0):
        """+ weight * item; weight is a number or one per example (B,). Returns the sum itself."""
        for term in item.terms:
            term.add_to(self, weight)
        return self

    def add_vector(self, vector):
        """+ vector (P,)."""
        self.vectors.append(vector)

    def add_record(self, record, dot, weight):
        """+ weight * d f / d theta of a record, or its tangent; f is minus the mean over samples of log p(x | z)."""
        samples = self.given_x.samples(record)
        rows = -weight / samples
        if not np.isscalar(rows):
            rows = np.tile(rows, samples)
        if dot is None:
            self.sum.add(record, rows)
        else:
            self.sum.add_tangent(record, dot, rows)

    def value(self):
        """The sum (P,)."""
        return sum(self.vectors, self.sum.value())
