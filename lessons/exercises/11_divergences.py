"""Which divergence to amortize: the inclusive and the exclusive loss of a Gaussian family, and their gradients.

The model [KL] 1: x ~ N(mu_0, s_0^2), y ~ N(x, s^2), and y is observed; model (3,) = [mu_0, log s_0, log s].
The family: q(x | y) = N(a y + b, c^2), one q for all y; phi (3,) = [a, b, log c]. Losses are in nats, lower is better.
Fill in the functions, then:  python -m savi check 11
Shapes: x (N,), y (N,). Arrays that you are given are read-only.
"""

import numpy as np  # noqa: F401


def inclusive_loss(phi, x, y):
    """-log q(x | y) for each pair, (N,). Its mean over samples (x, y) of the joint is E KL(p(x | y) || q(x | y)) + const."""
    raise NotImplementedError


def inclusive_gradient(phi, x, y):
    """The gradient of the mean of inclusive_loss over the pairs with respect to phi = [a, b, log c], (3,)."""
    raise NotImplementedError


def exclusive_loss(phi, y, model):
    """-ELBO = E_q[log q(x | y) - log p(x, y)] for each y, (N,), in closed form: KL(q(x | y) || p(x | y)) - log p(y)."""
    raise NotImplementedError


def exclusive_gradient(phi, y, model):
    """The gradient of the mean of exclusive_loss over y with respect to phi = [a, b, log c], (3,)."""
    raise NotImplementedError
