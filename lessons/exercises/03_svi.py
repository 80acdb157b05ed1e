"""Stochastic variational inference: clipping, a step with momentum, and the loop.

lam (B, n) are the variational parameters of B examples, f = -ELBO is minimised for each of them alone, d_lam (B, n) is its
gradient. [SA] section 2:   v <- gamma v - d_lam;   lam <- lam + alpha v.
Fill in the functions, then:  python -m savi check 03
Arrays that you are given are read-only: return new ones.
"""

import numpy as np  # noqa: F401


def clipped(g, clip):
    """g (B, n) with every row (an example's gradient) that is longer than `clip` scaled down to that length, (B, n).

    Lengths are Euclidean. clip None leaves g as it is; a row of zeros stays a row of zeros.
    """
    raise NotImplementedError


def svi_step(lam, v, d_lam, step_size, momentum, clip):
    """One step, as a tuple (lam, v), both (B, n): d_lam is clipped, v takes it up, lam moves along the new v."""
    raise NotImplementedError


def svi(gradient, lam, steps, step_size, momentum, clip):
    """lam (B, n) after that many steps from lam and v = 0; gradient(lam) -> d_lam (B, n), called once per step."""
    raise NotImplementedError
