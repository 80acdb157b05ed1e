"""Amortized inference: savi's model with one latent number, and its net."""

import numpy as np

from savi.models.decoders import MLPDecoder
from savi.models.gaussian import join
from savi.models.latent_gaussian import LatentGaussianModel
from savi.models.likelihoods import Gaussian
from savi.nets.mlp import MLP

ANTITHETIC = np.array([1.0, -1.0])[:, None, None]  # two noise samples with the moments of N(0, 1)


def linear_model(w, log_s2):
    """z one number, x ~ N(w z, s2): the model and its theta."""
    model = LatentGaussianModel(MLPDecoder(MLP([1, len(w)]), Gaussian("global")))
    return model, np.concatenate([w, np.zeros(len(w)), [log_s2]])


def negative_elbo(lam, x, w, log_s2):
    model, theta = linear_model(w, log_s2)
    return model.loss(lam, theta, x, np.tile(ANTITHETIC, (1, len(x), 1)))


def best_lam(x, w, log_s2):
    precision = 1 + w @ w / np.exp(log_s2)
    return join((x @ w / np.exp(log_s2) / precision)[:, None], np.full((len(x), 1), -np.log(precision)))


def amortization_gap(lam, x, w, log_s2):
    return negative_elbo(lam, x, w, log_s2) - negative_elbo(best_lam(x, w, log_s2), x, w, log_s2)


def encoder_gradient(x, W1, b1, W2, b2, d_lam):
    net, phi = MLP([*W1.shape, 2], "tanh"), np.concatenate([p.ravel() for p in (W1, b1, W2, b2)])
    d_phi = net.gradient(phi, net.evaluate(phi, x), d_lam)
    cuts = np.cumsum([W1.size, b1.size, W2.size])
    return tuple(d.reshape(p.shape) for d, p in zip(np.split(d_phi, cuts), (W1, b1, W2, b2)))
