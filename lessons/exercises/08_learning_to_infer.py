"""Learning to infer: the encoding of a gradient, the gated update, and its backward pass.

An iterative inference model reads the gradient of the ELBO at lam_t and moves lam. [LI] eq. 62 and B.1.
lam (B, n), one row per example. A network's output (B, 2n) = [c, a] holds a proposal c and the logits a of a gate.
Fill in the functions, then:  python -m savi check 08
Arrays that you are given are read-only.
"""

import numpy as np  # noqa: F401


def encode(g, alpha, eps):
    """[alpha log(|g| + eps), sign(g)], (B, 2n), for gradients g (B, n): sizes of all scales in one range, and directions."""
    raise NotImplementedError


def gated_update(lam, output):
    """lam_{t+1} = gate lam + (1 - gate) c, (B, n), gate = sigmoid(a); finite for logits of +-1000."""
    raise NotImplementedError


def gated_backward(lam, output, d_lam):
    """The gradient with respect to output, (B, 2n), from the gradient d_lam (B, n) with respect to lam_{t+1}; lam is fixed."""
    raise NotImplementedError
