"""What should hold of a masked convolution: the textbook's loop, causality to the bit, the adjoint identity."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds
from savi.testing import assert_close

CENTER, KERNEL = st.sampled_from([0, 1]), st.sampled_from([1, 3, 5])
IMAGES = {"x": "H M", "W": "3 3", "center": CENTER}


def taps(kernel, center):
    """(d, e) of the taps that the mask keeps, in reading order."""
    p = kernel // 2
    every = [(d, e) for d in range(-p, p + 1) for e in range(-p, p + 1)]
    return every[: len(every) // 2 + center]


def looped(x, W, center):
    """a, by the definition."""
    a, (H, M), p = np.zeros(x.shape), x.shape, len(W) // 2
    for i, j in np.ndindex(H, M):
        for d, e in taps(len(W), center):
            if 0 <= i + d < H and 0 <= j + e < M:
                a[i, j] += x[i + d, j + e] * W[p + d, p + e]
    return a


def other(x):
    """Another image of that shape: no pixel is the same."""
    return np.cos(np.arange(x.size)).reshape(x.shape) + 5 - x


@holds(
    "mask: ones at the taps before the middle one in reading order, and at it where center is 1",
    kernel=KERNEL,
    center=CENTER,
)
def mask_is_causal(student, kernel, center):
    expected = np.zeros((kernel, kernel))
    for d, e in taps(kernel, center):
        expected[kernel // 2 + d, kernel // 2 + e] = 1
    assert_close(student.mask(kernel, center), expected, 1e-12, 1e-12, name="mask")


@holds("forward: the sum over taps of the definition", **IMAGES)
def forward_is_the_sum(student, x, W, center):
    assert_close(student.forward(x, W, center), looped(x, W, center), 1e-9, 1e-12, name="forward")


@holds(
    "forward: the output at a pixel does not change, to the bit, when pixels behind it do",
    n=st.integers(0, 8),
    **IMAGES,
)
def forward_is_causal(student, x, W, center, n):
    n = min(n, x.size - 1)
    changed = x.ravel().copy()
    changed[n + center :] = other(x).ravel()[n + center :]
    a, b = (np.ravel(student.forward(image, W, center)) for image in (x, changed.reshape(x.shape)))
    assert a.size > n and np.array_equal(a[n], b[n]), f"forward at pixel {n} should not see the pixels behind it"


@holds("backward_x: <A x, d_a> = <x, A* d_a>, entry by entry", d_a="H M", **IMAGES)
def backward_x_is_the_adjoint(student, x, W, d_a, center):
    d_x = student.backward_x(W, d_a, center)
    units = np.eye(x.size).reshape(-1, *x.shape)
    expected = np.array([(looped(unit, W, center) * d_a).sum() for unit in units]).reshape(x.shape)
    assert_close(d_x, expected, 1e-9, 1e-12, name="backward_x")


@holds(
    "backward_W: <A_W x, d_a> = <W, d_W>, entry by entry, zero where masked",
    d_a="H M",
    kernel=KERNEL,
    x="H M",
    center=CENTER,
)
def backward_w_is_the_adjoint(student, x, d_a, kernel, center):
    d_W = student.backward_W(x, d_a, kernel, center)
    units = np.eye(kernel * kernel).reshape(-1, kernel, kernel)
    expected = np.array([(looped(x, unit, center) * d_a).sum() for unit in units]).reshape(kernel, kernel)
    assert_close(d_W, expected, 1e-9, 1e-12, name="backward_W")
