"""Diagonal Gaussians: sampling, log density, KL divergence, and their closed-form derivatives.  [E3], [E11]

A Gaussian is one array `lam` (..., 2D) = [mu, log_var], mu first: the variational parameters of the papers.
A prior is such an array too, (2D,) or (B, 2D); zeros are the standard normal N(0, I).
`noise` (S, B, D) is standard-normal noise; S samples, B examples, D latent dimensions. Everything is in nats.
"""

import numpy as np

LOG_2PI = float(np.log(2 * np.pi))


def split(lam):
    """(mu, log_var), two views (..., D) of lam (..., 2D)."""
    D = lam.shape[-1] // 2
    return lam[..., :D], lam[..., D:]


def join(mu, log_var):
    """lam (..., 2D) = [mu, log_var]."""
    return np.concatenate([mu, log_var], axis=-1)


def scaled_noise(lam, noise):
    """sigma * e (S, B, D) with sigma = exp(log_var / 2): the random part of a sample."""
    return np.exp(split(lam)[1] / 2) * noise


def sample(lam, noise):
    """z = mu + sigma * e, (S, B, D): the reparameterized sample."""
    return split(lam)[0] + scaled_noise(lam, noise)


def sample_tangent(lam, sigma_e, v):
    """z_dot = mu_dot + (sigma e) log_var_dot / 2, (S, B, D): how samples move when lam moves along v (B, 2D)."""
    mu_dot, log_var_dot = split(v)
    return mu_dot + sigma_e * (log_var_dot / 2)


def sample_backward(sigma_e, d_z):
    """d_lam (B, 2D) from d_z (S, B, D), summed over samples: [sum d_z, sum d_z sigma e / 2].  [E11]"""
    return join(_sum(d_z), _sum(d_z * sigma_e) / 2)


def _sum(a):
    """The sum over samples, which costs nothing where there is only one."""
    return a[0] if len(a) == 1 else np.add.reduce(a)


def log_density(z, lam):
    """log N(z; mu, diag exp(log_var)), summed over the last axis; z (..., D), lam (..., 2D) broadcast.  Returns (...,)."""
    mu, log_var = split(lam)
    return -0.5 * (LOG_2PI + log_var + (z - mu) ** 2 * np.exp(-log_var)).sum(axis=-1)


class AnalyticKL:
    """KL(q || p) between diagonal Gaussians in closed form, (B,), the default.  [E3]

    `value`, `grad` and `hvp` are the divergence, its gradient and its Hessian times v (B, 2D) with respect to lam.
    The noise is not used; it is an argument so that both forms of the KL term are called alike.
    """

    @staticmethod
    def value(lam, prior, noise=None):
        mu, log_var = split(lam)
        mu_p, log_var_p = split(prior)
        d = log_var - log_var_p
        return 0.5 * (np.expm1(d) - d + (mu - mu_p) ** 2 * np.exp(-log_var_p)).sum(axis=-1)

    @staticmethod
    def grad(lam, prior, noise=None):
        d_lam = lam - prior
        d_mu, d_log_var = split(d_lam)
        d_mu *= np.exp(-split(prior)[1])
        np.expm1(d_log_var, out=d_log_var)
        d_log_var /= 2
        return d_lam

    @staticmethod
    def hvp(lam, prior, noise, v):
        mu_dot, log_var_dot = split(v)
        log_var, log_var_p = split(lam)[1], split(prior)[1]
        ratio = np.exp(log_var - log_var_p)
        return join(mu_dot * np.exp(-log_var_p), ratio * (log_var_dot / 2))


class SampledKL:
    """The Monte Carlo form of the KL term: mean over samples of log q(z) - log p(z), (B,).  [E3], [LI] B.4

    Its expectation over the noise is AnalyticKL; at one noise array the two differ, and so do their gradients.
    """

    @staticmethod
    def value(lam, prior, noise):
        z = sample(lam, noise)
        log_q = -0.5 * (LOG_2PI + split(lam)[1] + noise**2).sum(axis=-1)  # (z - mu) / sigma is the noise itself
        return (log_q - log_density(z, prior)).mean(axis=0)

    @staticmethod
    def grad(lam, prior, noise):
        sigma_e = scaled_noise(lam, noise)
        d_lam = sample_backward(sigma_e, _top_down_error(lam, prior, sigma_e)) / len(noise)
        split(d_lam)[1][...] -= 0.5  # from log q: the entropy term, whose sign [LI] prints wrongly
        return d_lam

    @staticmethod
    def hvp(lam, prior, noise, v):
        sigma_e = scaled_noise(lam, noise)
        e_z_dot = sample_tangent(lam, sigma_e, v) * np.exp(-split(prior)[1])
        e_z = _top_down_error(lam, prior, sigma_e)
        return reparameterized_hvp(sigma_e, e_z, e_z_dot, v) / len(noise)


class PointMass:
    """-log p(mu), the KL term of a posterior that is a point mass at mu, but for a constant: log_var plays no part.

    With it z = mu whatever the noise, and the loss is -log p(x, z = mu): maximum a posteriori.  [LI] C.1
    """

    @staticmethod
    def value(lam, prior, noise=None):
        return -log_density(split(lam)[0], prior)

    @staticmethod
    def grad(lam, prior, noise=None):
        mu, log_var = split(lam)
        mu_p, log_var_p = split(prior)
        return join((mu - mu_p) * np.exp(-log_var_p), np.zeros_like(log_var))

    @staticmethod
    def hvp(lam, prior, noise, v):
        mu_dot, log_var_dot = split(v)
        return join(mu_dot * np.exp(-split(prior)[1]), np.zeros_like(log_var_dot))


def _top_down_error(lam, prior, sigma_e):
    """e_z = (z - mu_p) / s2_p (S, B, D), the top-down error of section 2."""
    mu_p, log_var_p = split(prior)
    return (split(lam)[0] + sigma_e - mu_p) * np.exp(-log_var_p)


def reparameterized_hvp(sigma_e, d_z, d_z_dot, v):
    """The tangent of `sample_backward` along v (B, 2D): (B, 2D), summed over samples.

    d/d log_var of (d_z sigma e / 2) has two terms: d_z moves, and so does sigma.
    """
    moved = d_z * (split(v)[1] / 2)
    moved += d_z_dot
    return join(_sum(d_z_dot), _sum(moved * sigma_e) / 2)
