"""Learning to infer: savi's encoding and gate."""

from types import SimpleNamespace

from savi.inference.iterative import Gated, Gradient


def encode(g, alpha, eps):
    return Gradient(alpha, eps).contents(None, SimpleNamespace(d_lam=-g))


def gated_update(lam, output):
    return Gated().apply(lam, output)


def gated_backward(lam, output, d_lam):
    return Gated().backward(lam, output, d_lam)
