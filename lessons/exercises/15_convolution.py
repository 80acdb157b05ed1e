"""A masked convolution of one image with one channel, and its way back.

a[i, j] = sum over taps (d, e), |d|, |e| <= p, of x[i + d, j + e] W[p + d, p + e], where x is zero outside the image. The kernel W
(K, K), K = 2 p + 1, is used only where its mask is 1: at taps that come before the middle one in reading order (line by
line, left to right), and at the middle one itself where center is 1.
Fill in the functions, then:  python -m savi check 15
Arrays that you are given are read-only.
"""

import numpy as np  # noqa: F401


def mask(kernel, center):
    """The mask (K, K), K = kernel an odd number: 1 for the taps that are used, else 0; center: 1 or 0."""
    raise NotImplementedError


def forward(x, W, center):
    """a (H, M) of an image x (H, M); W (K, K), of which only the taps of the mask are used."""
    raise NotImplementedError


def backward_x(W, d_a, center):
    """d x (H, M) from d a (H, M): the adjoint of `forward` as a map of x."""
    raise NotImplementedError


def backward_W(x, d_a, kernel, center):
    """d W (K, K) from d a (H, M), zero at the taps that the mask leaves out."""
    raise NotImplementedError
