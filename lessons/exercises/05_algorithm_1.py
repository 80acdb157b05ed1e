"""Learning through the optimizer: the backward loop of Algorithm 1.

K steps lead from lam_0 to lam_K:   v_{k+1} = gamma v_k - grad_lam f(lam_k);   lam_{k+1} = lam_k + alpha v_{k+1};   v_0 = 0.
The loss is L = f(lam_K), and its gradient is taken with respect to where the steps began, lam_0, and to theta, on which
every step depends. [SA] Algorithm 1, where step_size is alpha and momentum gamma.
Fill in the functions, then:  python -m savi check 05
Shapes: lam (B, n), one row per example, theta (P,). Arrays that you are given are read-only.
"""

import numpy as np  # noqa: F401


def forward(gradient, lam_0, steps, step_size, momentum):
    """All of lam_0 .. lam_K, (K + 1, B, n), for K = steps; gradient(lam) -> grad_lam f (B, n)."""
    raise NotImplementedError


def backward(lams, d_lam, d_theta, lam_product, theta_product, step_size, momentum):
    """The tuple (lam_bar, theta_bar): the gradients of L with respect to lam_0 (B, n) and to theta (P,).

    lams (K + 1, B, n): what `forward` gave. d_lam (B, n), d_theta (P,): the gradients of f at lam_K.
    lam_product(lam, v) -> H_{lam,lam} v (B, n) and theta_product(lam, v) -> H_{theta,lam} v (P,): the second derivatives of
    f at lam (B, n), times v (B, n); the latter is a sum over the batch. One call of each per step is enough.
    """
    raise NotImplementedError


def clipped_vjp(g, clip, u):
    """J^T u, (B, n), where J is the derivative of clipping: g (B, n) -> g min(1, clip / |g|), row by row.

    A row that is not clipped passes u on; one that is loses the part of u along g, and is scaled by clip / |g|.
    """
    raise NotImplementedError
