"""Gradients by hand: savi's own."""

from savi.models.gaussian import AnalyticKL, sample, sample_backward, scaled_noise

__all__ = ["kl", "kl_gradient", "reparameterized_gradient", "sample"]


def kl(lam, prior):
    return AnalyticKL.value(lam, prior)


def kl_gradient(lam, prior):
    return AnalyticKL.gradient(lam, prior)


def reparameterized_gradient(lam, noise, d_z):
    return sample_backward(scaled_noise(lam, noise), d_z) / len(noise)
