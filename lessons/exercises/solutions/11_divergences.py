"""Which divergence to amortize: both losses, with savi's Gaussians."""

import numpy as np

from savi.models.decoders import MLPDecoder
from savi.models.gaussian import join, log_density
from savi.models.latent_gaussian import LatentGaussianModel
from savi.models.likelihoods import Gaussian
from savi.nets.mlp import MLP

ANTITHETIC = np.array([1.0, -1.0])[:, None, None]  # two noise samples with the moments of N(0, 1)


def family(phi, y):
    """lam (N, 2) of q(x | y), x one number."""
    return join((phi[0] * y + phi[1])[:, None], np.full((len(y), 1), 2 * phi[2]))


def inclusive_loss(phi, x, y):
    return -log_density(x[:, None], family(phi, y))


def inclusive_gradient(phi, x, y):
    e = (x - phi[0] * y - phi[1]) * np.exp(-2 * phi[2])
    return np.array([-(e * y).mean(), -e.mean(), (1 - e**2 * np.exp(2 * phi[2])).mean()])


def exclusive(phi, y, model):
    prior = np.array([model[0], 2 * model[1]])
    m = LatentGaussianModel(MLPDecoder(MLP([1, 1]), Gaussian("global")), prior)
    theta = np.array([1.0, 0.0, 2 * model[2]])  # y ~ N(x, s^2): weight, bias, log-variance
    return m.evaluate(family(phi, y), theta, y[:, None], np.tile(ANTITHETIC, (1, len(y), 1)))


def exclusive_loss(phi, y, model):
    return exclusive(phi, y, model).loss


def exclusive_gradient(phi, y, model):
    d_mu, d_log_var = exclusive(phi, y, model).d_lam.T
    return np.array([(d_mu * y).mean(), d_mu.mean(), 2 * d_log_var.mean()])
