"""The family of q: diagonal Gaussians and point masses, their samples, KL terms and closed-form derivatives.  [E3], [E11]

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


def sample_mean(a):
    """The mean of a (S, ...) over samples; where there is only one, that is a view of it."""
    return a[0] if len(a) == 1 else np.add.reduce(a) / len(a)


def log_density(z, lam):
    """log N(z; mu, diag exp(log_var)), summed over the last axis; z (..., D), lam (..., 2D) broadcast.  Returns (...,)."""
    mu, log_var = split(lam)
    return -0.5 * (LOG_2PI + log_var + (z - mu) ** 2 * np.exp(-log_var)).sum(axis=-1)


class DiagonalGaussian:
    """The family q(z; lam) = N(mu, diag exp(log_var)): it owns its noise and its sample; a subclass owns the KL term.

    `value`, `gradient` and `hvp` are KL(q || p) (B,), its gradient and its Hessian times v (B, 2D) with respect to lam;
    lam (B, 2D), prior (2D,) or (B, 2D), noise (S, B, D). Every form takes the noise, so that all are called alike.
    """

    has_density = True  # q(z) as a number, which importance weights and the KL between two posteriors need
    closed_form = False  # whether the KL term's expectation is taken in closed form, not at the samples

    @staticmethod
    def draw_noise(rng, samples, batch, latent_dim, dtype):
        """Standard-normal noise (S, B, D)."""
        return rng.standard_normal((samples, batch, latent_dim), dtype=dtype)

    @staticmethod
    def scaled_noise(lam, noise):
        """sigma * e (S, B, D): the sample is z = mu + sigma e."""
        return scaled_noise(lam, noise)

    @staticmethod
    def log_q(lam, noise):
        """log q(z) (S, B) at the sample: (z - mu) / sigma is the noise itself."""
        return -0.5 * (LOG_2PI + split(lam)[1] + noise**2).sum(axis=-1)

    @staticmethod
    def between(lam, target):
        """KL(q(z; lam) || q(z; target)) (B,) and its gradient with respect to lam (B, 2D), target held fixed.  [E3]"""
        return AnalyticKL.value(lam, target), AnalyticKL.gradient(lam, target)

    @staticmethod
    def reference_sample(lam, noise):
        """z (S, B, D) in autograd.numpy."""
        import autograd.numpy as anp

        mu, log_var = split(lam)
        return mu + anp.exp(log_var / 2) * noise


class AnalyticKL(DiagonalGaussian):
    """A diagonal Gaussian q with KL(q || p) in closed form, the default; the noise is not used.  [E3]

    In plain NumPy: savi.plain.kl.
    """

    closed_form = True

    @staticmethod
    def value(lam, prior, noise=None):
        """KL(q || p) (B,) = 1/2 sum( log(s2_p/s2) + (s2 + (mu - mu_p)^2)/s2_p - 1 )."""
        mu, log_var = split(lam)
        mu_p, log_var_p = split(prior)
        d = log_var - log_var_p
        return 0.5 * np.add.reduce(np.expm1(d) - d + (mu - mu_p) ** 2 * np.exp(-log_var_p), axis=-1)

    @staticmethod
    def gradient(lam, prior, noise=None):
        """[(mu - mu_p) / s2_p, (s2 / s2_p - 1) / 2], (B, 2D)."""
        d_lam = lam - prior
        d_mu, d_log_var = split(d_lam)
        d_mu *= np.exp(-split(prior)[1])
        np.expm1(d_log_var, out=d_log_var)
        d_log_var /= 2
        return d_lam

    @staticmethod
    def hvp(lam, prior, noise, v):
        """[mu_dot / s2_p, s2 / s2_p log_var_dot / 2], (B, 2D), for v = [mu_dot, log_var_dot]."""
        mu_dot, log_var_dot = split(v)
        log_var, log_var_p = split(lam)[1], split(prior)[1]
        ratio = np.exp(log_var - log_var_p)
        return join(mu_dot * np.exp(-log_var_p), ratio * (log_var_dot / 2))

    @staticmethod
    def reference(lam, prior, noise):
        """(z (S, B, D), KL (B,)) in autograd.numpy."""
        import autograd.numpy as anp

        (mu, log_var), (mu_p, log_var_p) = split(lam), split(prior)
        ratio = (anp.exp(log_var) + (mu - mu_p) ** 2) / anp.exp(log_var_p)
        kl = 0.5 * anp.sum(log_var_p - log_var + ratio - 1, axis=-1)
        return DiagonalGaussian.reference_sample(lam, noise), kl


class SampledKL(DiagonalGaussian):
    """A diagonal Gaussian q with the Monte Carlo form of the KL term: the mean of log q(z) - log p(z).  [E3], [LI] B.4

    Its expectation over the noise is AnalyticKL; at one noise array the two differ, and so do their gradients.
    """

    @staticmethod
    def value(lam, prior, noise):
        """mean_s log q(z_s) - log p(z_s), (B,)."""
        log_q = DiagonalGaussian.log_q(lam, noise)
        return (log_q - log_density(sample(lam, noise), prior)).mean(axis=0)

    @staticmethod
    def gradient(lam, prior, noise):
        """[mean e_z, mean e_z sigma e / 2 - 1/2], (B, 2D): -1/2 is the entropy term, whose sign [LI] prints wrongly."""
        sigma_e = scaled_noise(lam, noise)
        d_lam = sample_backward(sigma_e, _top_down_error(lam, prior, sigma_e)) / len(noise)
        split(d_lam)[1][...] -= 0.5
        return d_lam

    @staticmethod
    def hvp(lam, prior, noise, v):
        """R{gradient} along v, (B, 2D)."""
        sigma_e = scaled_noise(lam, noise)
        e_z_dot = sample_tangent(lam, sigma_e, v) * np.exp(-split(prior)[1])
        e_z = _top_down_error(lam, prior, sigma_e)
        return reparameterized_hvp(sigma_e, e_z, e_z_dot, v) / len(noise)

    @staticmethod
    def reference(lam, prior, noise):
        """(z (S, B, D), KL (B,)) in autograd.numpy."""
        import autograd.numpy as anp

        z = DiagonalGaussian.reference_sample(lam, noise)
        log_q, log_p = (normal_log_density(z, *split(side)) for side in (lam, prior))
        return z, anp.mean(log_q - log_p, axis=0)


class PointMass:
    """q is a point mass at mu: z = mu whatever the noise, and log_var plays no part.  [LI] C.1

    The KL term is -log p(mu), but for a constant, so that the loss is -log p(x, z = mu): maximum a posteriori.
    """

    has_density = closed_form = False

    @staticmethod
    def draw_noise(rng, samples, batch, latent_dim, dtype):
        """Zeros (S, B, D): nothing is drawn."""
        return np.zeros((samples, batch, latent_dim), dtype)

    @staticmethod
    def scaled_noise(lam, noise):
        """Zeros (S, B, D), whatever the noise."""
        return np.zeros(noise.shape, np.result_type(lam, noise))

    @staticmethod
    def value(lam, prior, noise=None):
        """-log p(mu) (B,)."""
        return -log_density(split(lam)[0], prior)

    @staticmethod
    def gradient(lam, prior, noise=None):
        """[(mu - mu_p) / s2_p, 0], (B, 2D)."""
        mu, log_var = split(lam)
        mu_p, log_var_p = split(prior)
        return join((mu - mu_p) * np.exp(-log_var_p), np.zeros_like(log_var))

    @staticmethod
    def hvp(lam, prior, noise, v):
        """[mu_dot / s2_p, 0], (B, 2D)."""
        mu_dot, log_var_dot = split(v)
        return join(mu_dot * np.exp(-split(prior)[1]), np.zeros_like(log_var_dot))

    @staticmethod
    def reference(lam, prior, noise):
        """(z (S, B, D), -log p(mu) (B,)) in autograd.numpy."""
        mu = split(lam)[0]
        return mu + np.zeros(np.shape(noise)), -normal_log_density(mu, *split(prior))


def normal_log_density(x, mu, log_var):
    """log N(x; mu, exp(log_var)) in autograd.numpy, summed over the last axis."""
    import autograd.numpy as anp

    return anp.sum(-0.5 * anp.log(2 * np.pi) - 0.5 * log_var - 0.5 * (x - mu) ** 2 / anp.exp(log_var), axis=-1)


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
