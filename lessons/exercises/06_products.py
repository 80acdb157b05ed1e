"""Second derivatives without a Hessian: forward difference, central difference, complex step.

H v is how the gradient of f moves when lam (B, n) moves along v (B, n): row by row, or all rows at once, as f has it.
All there is of f is gradient(lam) -> grad f (B, n). r and h are numbers, the sizes of steps.
Fill in the functions, then:  python -m savi check 06
Arrays that you are given are read-only.
"""

import numpy as np  # noqa: F401


def forward_product(gradient, lam, v, r):
    """H v (B, n) by two gradients, at lam and at lam + r v; its error is proportional to r."""
    raise NotImplementedError


def central_product(gradient, lam, v, r):
    """H v (B, n) by two gradients, at lam + r v and at lam - r v; its error is proportional to r^2."""
    raise NotImplementedError


def complex_product(gradient, lam, v, h):
    """H v (B, n), real, by one gradient, at lam + i h v: nothing is subtracted, so that h can be 1e-20."""
    raise NotImplementedError


def scaled_step(lam, v, r):
    """A step for each example, (B,), that moves its lam by r (1 + |lam|) in length along v: |step v| = r (1 + |lam|).

    lam, v (B, n); lengths are Euclidean, row by row. Where v is zero, the step is r (1 + |lam|), never infinite.
    """
    raise NotImplementedError
