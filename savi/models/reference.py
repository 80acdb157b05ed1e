"""The judge: the same losses in plain autograd.numpy, to which every closed form is held.

Each formula is written once, one a line, beside the closed form that it judges: `reference` of an activation, a net, a
likelihood, a family of q and a decoder. This room puts them together and differentiates. Nothing here is fast and
nothing here is derived by hand.
"""

import autograd.numpy as np
import numpy
from autograd import elementwise_grad, grad

from .base import Product, VectorTerm


def loss(model, lam, theta, x, noise, beta=1.0):
    """-ELBO (B,) of a LatentGaussianModel, [E2]-[E4]; lam (B, 2D), theta (P,), x (B, ...), noise (S, B, D)."""
    z, kl = model.kl.reference(lam, model.prior, noise)
    log_px = model.decoder.reference(theta, z, x)
    return beta * kl - np.mean(log_px, axis=0)


def hierarchical_loss(model, lam, theta, x, noise, beta=1.0):
    """-ELBO (B,) of a HierarchicalModel, [E12]; lam (B, 2D), theta (P,), x (B, ...), noise (S, B, D)."""
    sizes = [model.decoder.size, *(level.size for level in model.levels)]
    starts, ends = numpy.cumsum([0, *sizes]), numpy.cumsum([0, *model.dims])
    thetas = [theta[i : i + n] for i, n in zip(starts, sizes)]
    D, prior, total = model.latent_dim, model.prior, 0.0
    for l in range(len(model.dims), 0, -1):
        i, j = ends[l - 1], ends[l]
        lam_l = np.concatenate([lam[:, i:j], lam[:, D + i : D + j]], axis=1)
        z, kl = model.kl.reference(lam_l, prior, noise[..., i:j])
        total = total + np.mean(np.reshape(kl, (-1, len(x))), axis=0)
        prior = model.levels[l - 2].reference(thetas[l - 1], z) if l > 1 else None
    return beta * total - np.mean(model.decoder.reference(thetas[0], z, x), axis=0)


def hessian_products(loss, lam, theta, v):
    """(H_{lam,lam} v, H_{theta,lam} v) of sum_b loss(lam, theta)_b, by differentiating twice."""

    def directional(lam, theta):
        return np.sum(elementwise_grad(loss)(lam, theta) * v)

    return grad(directional, (0, 1))(lam, theta)


def product_by(loss, lam, theta, v):
    """The Product by differentiating twice; weighting an example's H_{theta,lam} v is weighting its row of v."""
    h, h_theta = hessian_products(loss, lam, theta, v)

    def weighted(weight):
        if numpy.ndim(weight) == 0:
            return weight * h_theta
        return hessian_products(loss, lam, theta, v * numpy.reshape(weight, (-1, 1)))[1]

    return Product(h, [VectorTerm(weighted)])
