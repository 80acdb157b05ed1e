"""Hierarchies z^L -> ... -> z^1 -> x: the loss, its gradient and its exact Hessian-vector product.  [E12]; [LI] 4.3, A.6

    p(x, z) = p(z^L) p(z^{L-1} | z^L) ... p(z^1 | z^2) p(x | z^1),   q(z) = N(mu, diag exp(log_var)),   z = [z^1, ..., z^L]
    f = -E_q[log p(x | z^1)] + beta sum_l E_q[KL(q(z^l) || p(z^l | z^{l+1}))]

lam = [mu^1, ..., mu^L, log_var^1, ..., log_var^L] (B, 2D) with D = D_1 + ... + D_L: one diagonal Gaussian over all of z, so
that every method runs as it is. A level's gradient is bottom-up minus top-down: what comes back through the net of the level
below, J^T e^{l-1}, minus its own error e^l = (z^l - mu_p^l) / s2_p^l. theta is the decoder's, then each level's in turn.
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from .base import Product, RecordTerm
from .gaussian import (
    AnalyticKL,
    join,
    log_density,
    reparameterized_hvp,
    sample,
    sample_backward,
    sample_mean,
    sample_tangent,
    split,
)
from .given_levels import GivenHierarchy
from .latent_gaussian import Evaluation, LatentGaussianModel, LatentGaussianObjective
from .levels import LevelTerm


class HierarchicalModel(LatentGaussianModel):
    """p(x, z) of L levels. decoder: p(x | z^1). levels: [p(z^1 | z^2), ..., p(z^{L-1} | z^L)], each a Level (levels.py).

    prior: [mu_p, log_var_p] (2 D_L,) of z^L, standard normal when None. kl: the family of q with the form of its KL terms.
    Without levels this is LatentGaussianModel. Raises InputError where the sizes of two levels do not fit.
    """

    def __init__(self, decoder, levels, prior=None, kl=AnalyticKL):
        super().__init__(decoder, None, kl)
        self.levels = tuple(given.listed("levels", levels, "a list of Levels, the lowest first"))
        self.dims = (decoder.latent_dim, *(level.above for level in self.levels))
        for l, (level, D) in enumerate(zip(self.levels, self.dims), 1):
            if level.below != D:
                raise InputError(
                    f"level {l} has {D} dimensions; {level!r}, which is p(z^{l} | z^{l + 1}), gives {level.below}"
                )
        self.latent_dim, self.lam_size = sum(self.dims), 2 * sum(self.dims)
        self.size, self.work = (n + sum(level.size for level in self.levels) for n in (self.size, self.work))
        top = self.dims[-1]
        prior, needed = np.zeros(2 * top) if prior is None else prior, f"the top level's {top} dimensions need"
        self.prior = given.finite("prior", prior, (2 * top,), needed)
        lost = {"log_px"} if all(level.has_tangent for level in self.levels) else {"log_px", "tangent"}
        self.supports = self.supports - lost | {"levels"}

    def __repr__(self):
        return f"HierarchicalModel({self.decoder!r}, {list(self.levels)})"

    def of_level(self, a, l):
        """The part (..., D_l) of level l = 1 .. L of an array (..., D) that is shaped like z."""
        start = sum(self.dims[: l - 1])
        return a[..., start : start + self.dims[l - 1]]

    def lam_of(self, lam, l):
        """lam (B, 2 D_l) of level l = 1 .. L."""
        return join(*(self.of_level(half, l) for half in split(lam)))

    def thetas(self, theta):
        """[the decoder's theta, level 1's, ...], views."""
        ends = np.cumsum([self.decoder.size, *(level.size for level in self.levels)])
        return np.split(theta, ends[:-1])

    def init(self, rng, dtype=np.float64, x=None):
        return np.concatenate([self.decoder.init(rng, dtype, x), *(level.init(rng, dtype) for level in self.levels)])

    def prior_lam(self, batch, dtype=np.float64, theta=None):
        """lam (B, 2D): the top's prior and, with theta, each lower level's prior at the mean of the one above; else N(0, I)."""
        lams = [self.prior.astype(dtype)]
        for l, level in reversed(list(enumerate(self.levels, 1))):
            above, D = split(lams[0])[0], level.below
            lams.insert(0, np.zeros(2 * D, dtype) if theta is None else level.prior(self.thetas(theta)[l], above))
        halves = zip(*(split(lam) for lam in lams))
        return np.tile(np.concatenate([part for half in halves for part in half]), (batch, 1))

    def given(self, theta, x):
        return GivenHierarchy(self, theta, x)

    def objective(self, theta, x, beta=1.0):
        theta, x, beta = given.floats("theta", theta, "fc"), given.examples("x", x), given.number("beta", beta)
        if theta.shape != (self.size,):
            raise InputError(f"theta has shape {theta.shape}; {self!r} needs ({self.size},)")
        self.decoder.check(self.thetas(theta)[0], x)
        return HierarchicalObjective(self, theta, x.astype(theta.dtype, copy=False), beta)

    def level_kls(self, lam, theta, x, noise):
        """E_q[KL(q(z^l) || p(z^l | z^{l+1}))] of each level (L, B), nats: their sum is the KL part.  "levels" """
        return self.objective(theta, x).level_kls(given.floats("lam", lam, "fc"), given.array("noise", noise))

    def mean(self, theta, z):
        return self.decoder.mean(self.thetas(theta)[0], self.of_level(z, 1))

    def picture(self, theta, z, rng):
        return self.decoder.picture(self.thetas(theta)[0], self.of_level(z, 1), rng)

    def sample(self, theta, n, rng, dtype=np.float64):
        noise, thetas = rng.standard_normal((n, self.dims[-1]), dtype=dtype), self.thetas(theta)
        zs = [sample(self.prior.astype(dtype), noise)]
        for l, level in reversed(list(enumerate(self.levels, 1))):
            zs.insert(0, level.sample(thetas[l], zs[0], rng))
        return self.decoder.sample(thetas[0], zs[0], rng), np.concatenate(zs, axis=-1)

    def means_from(self, theta, z, l):
        """z (..., D) whose levels below l are the means of p(. | the level above): what level l says about them."""
        z, thetas = z.copy(), self.thetas(theta)
        for k in range(l - 1, 0, -1):
            self.of_level(z, k)[...] = split(self.levels[k - 1].prior(thetas[k], self.of_level(z, k + 1)))[0]
        return z


class HierarchicalObjective(LatentGaussianObjective):
    """f(lam; noise) in closed form; lam (B, 2D), noise (S, B, D)."""

    def __init__(self, model, theta, x, beta):
        super().__init__(model, theta, x, beta)
        self.top = len(model.dims)

    def _evaluate(self, lam, noise, with_loss):
        e = self.forward(lam, noise)
        record = e.record
        if with_loss:
            log_px = self.given_x.log_px_and_error(record)
            e.loss = self.beta * self._kls(lam, noise, record).sum(axis=0) - sample_mean(log_px)
        e.d_z = self._backward(record, e.sigma_e.shape)
        direct = [(term.e, term.ratio) for term in record.terms]
        kl = self._direct(self.kl.gradient(*self._at_top(lam, noise)), direct, len(noise), -0.5 * self.kl.has_density)
        e.d_lam = self._difference(kl, sample_backward(e.sigma_e, e.d_z), noise)
        return e

    def _at_top(self, lam, noise):
        """(lam^L, the prior of z^L, its noise)."""
        return self.model.lam_of(lam, self.top), self.prior, self.model.of_level(noise, self.top)

    def _direct(self, at_top, terms, samples, entropy):
        """(B, 2D): what the KL terms give lam directly. terms: (e, s2 / s2_p) (S, B, D_l) of each level, or their tangents;
        entropy: of log_var, -1/2 or, for a tangent, 0."""
        means, log_vars = [], []
        for e, ratio in terms:
            own = e.sum(axis=0) / samples if self.kl.closed_form else np.zeros_like(e[0])
            means.append(own)
            log_vars.append(ratio.sum(axis=0) / (2 * samples) + entropy)
        mu, log_var = split(at_top)
        return np.concatenate([*means, mu, *log_vars, log_var], axis=-1)

    def _backward(self, record, shape):
        """d z (S, B, D) of E[log p] - beta KL: bottom-up minus top-down.  [E12]"""
        of, d_x = self.model.of_level, self.given_x.p.backward(record.parts[0])
        d_z = np.empty(shape, d_x.dtype)
        of(d_z, 1)[...] = d_x
        for l, (level, term) in enumerate(zip(self.given_x.levels, record.terms), 1):
            if not self.kl.closed_form:
                of(d_z, l)[...] -= self.beta * term.e
            of(d_z, l + 1)[...] = level.backward(record.parts[l], self.beta * term.e, -self.beta * term.d_log_var_p)
        return d_z

    def hvp(self, evaluation, v):
        e, of = evaluation, self.model.of_level
        z_dot = sample_tangent(e.lam, e.sigma_e, v)
        d_z_dot, dots, direct = np.zeros_like(z_dot), [], []
        of(d_z_dot, 1)[...], dot = self.given_x.p.tangent(e.record.parts[0], of(z_dot, 1))
        dots.append(dot)
        for l, (level, term) in enumerate(zip(self.given_x.levels, e.record.terms), 1):
            dot, prior_dot = level.tangent(e.record.parts[l], of(z_dot, l + 1))
            e_dot, ratio_dot, d_log_var_p_dot = term.tangent(self.model.lam_of(v, l), of(z_dot, l), prior_dot)
            if not self.kl.closed_form:
                of(d_z_dot, l)[...] -= self.beta * e_dot
            of(d_z_dot, l + 1)[...] = level.tangent_backward(
                e.record.parts[l], dot, self.beta * e_dot, -self.beta * d_log_var_p_dot
            )
            dots.append(dot)
            direct.append((e_dot, ratio_dot))
        at_top = self.kl.hvp(*self._at_top(e.lam, e.noise), self.model.lam_of(v, self.top))
        h = reparameterized_hvp(e.sigma_e, e.d_z, d_z_dot, v)
        h = self._difference(self._direct(at_top, direct, len(e.noise), 0.0), h, e.noise)
        return Product(h, [RecordTerm(e.record, dots)])

    def forward(self, lam, noise):
        """An evaluation without derivatives, for `errors` alone."""
        sigma_e, z, record = self._forward(lam, noise)
        of = self.model.of_level
        record.terms = [
            LevelTerm(self.kl, self.model.lam_of(lam, l), of(z, l), prior) for l, prior in enumerate(record.priors, 1)
        ]
        return Evaluation(lam, noise, None, None, record, None, sigma_e)

    def errors(self, evaluation):
        """(e_x (B, M), e_z (B, D)): x - E[x | z^1] and z^l - mu_p^l of all levels, means over the samples.  [LI] 4.1

        Precisions are left out where they are constants, as [LI] B.1 encodes errors, and kept where a net gives them.
        """
        e, e_z = evaluation, []
        z = split(e.lam)[0] + e.sigma_e
        for l, (level, prior) in enumerate(zip(self.model.levels, e.record.priors), 1):
            mu_p, log_var_p = split(prior)
            error = self.model.of_level(z, l) - mu_p
            e_z.append((error * np.exp(-log_var_p) if level.from_net else error).mean(axis=0))
        e_z.append(self.model.of_level(z, self.top).mean(axis=0) - split(self.prior)[0])
        return self.given_x.residual(e.record).mean(axis=0), np.concatenate(e_z, axis=-1)

    def parts(self, lam, noise):
        *_, record = self._forward(lam, noise)
        return -sample_mean(self.given_x.log_px(record)), self._kls(lam, noise, record).sum(axis=0)

    def level_kls(self, lam, noise):
        """(L, B); see HierarchicalModel.level_kls."""
        return self._kls(lam, noise, self._forward(lam, noise)[2])

    def _kls(self, lam, noise, record):
        of, B = self.model.of_level, len(lam)
        kls = [
            self.kl.value(self.model.lam_of(lam, l), prior, of(noise, l)).reshape(-1, B).mean(axis=0)
            for l, prior in enumerate(record.priors, 1)
        ]
        return np.array([*kls, self.kl.value(*self._at_top(lam, noise))])

    def log_weights(self, lam, noise):
        if not self.kl.has_density:
            raise self.model.missing("log_weights", "the importance-weighted estimate")
        _, z, record = self._forward(lam, noise)
        log_p = self.given_x.log_px(record)
        for l, prior in enumerate((*record.priors, self.prior), 1):
            log_p = log_p + log_density(self.model.of_level(z, l), prior)
        return log_p - self.kl.log_q(lam, noise)

    def reference(self, lam, theta, noise):
        from . import reference

        return reference.hierarchical_loss(self.model, lam, theta, self.x, noise, self.beta)
