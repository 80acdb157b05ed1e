"""Gated units: g = tanh(a_1) sigmoid(a_2), [a_1, a_2] = a.  van den Oord et al. 2016

With t = tanh(a_1) and s = tanh(a_2 / 2), sigmoid(a_2) = (1 + s) / 2. The slopes p = d g / d a and how they move with a:

    p_1 = (1 - t^2) (1 + s) / 2;   p_2 = t (1 - s^2) / 4
    t_dot = (1 - t^2) a_1_dot;     s_dot = (1 - s^2) / 2 a_2_dot
    p_1_dot = -t (1 + s) t_dot + (1 - t^2) / 2 s_dot;   p_2_dot = (1 - s^2) / 4 t_dot - t s / 2 s_dot

a is (rows, 2C), as a product gives it; t and s, p_1 and p_2 are arrays of their own (rows, C), without gaps: a formula over
runs of C numbers with gaps takes five times as long.
"""

import numpy as np

from ..engine.memory import blockwise, empty


def halves(a):
    """a_1, a_2 of a (rows, 2C): [2, rows, C], a copy, of C numbers at a time."""
    out, run = empty((2, len(a), a.shape[1] // 2), a.dtype), f"V{a.shape[1] // 2 * a.itemsize}"
    out.view(run)[..., 0] = a.view(run).T
    return out


def gate(a):
    """(g (rows, C), [t, s] (2, rows, C)) of a (rows, 2C)."""
    ts = halves(a)
    ts[1] *= 0.5
    t, s = np.tanh(ts, out=ts)
    g = np.multiply(t, s, out=empty(t.shape, t.dtype))
    g += t
    g *= 0.5
    return g, ts


def slopes(ts):
    """p_1 = d g / d a_1 and p_2 = d g / d a_2, each (rows, C)."""
    return blockwise(lambda t, s: ((1 - t * t) * (1 + s) * 0.5, t * (1 - s * s) * 0.25), *ts)


def bends(ts, a_dot):
    """p_1_dot and p_2_dot: how the slopes move when a moves along [a_1_dot, a_2_dot]."""

    def formula(t, s, a_1, a_2):
        t_slope, s_slope = 1 - t * t, (1 - s * s) * 0.5
        t_dot, s_dot = t_slope * a_1, s_slope * a_2
        return t_slope * s_dot * 0.5 - t * (1 + s) * t_dot, s_slope * t_dot * 0.5 - t * s * s_dot * 0.5

    return blockwise(formula, *ts, *a_dot)


def moved(p, a_dot):
    """g_dot (rows, C) = p_1 a_1_dot + p_2 a_2_dot."""
    (g_dot,) = blockwise(lambda p_1, p_2, a_1, a_2: (p_1 * a_1 + p_2 * a_2,), *p, *a_dot)
    return g_dot


def gate_back(p, d, out):
    """delta = [p_1 d, p_2 d] (rows, 2C), written to `out`; d (rows, C)."""
    both, run = empty((2, *d.shape), out.dtype), f"V{d.shape[1] * out.itemsize}"
    for p_i, delta in zip(p, both):
        np.multiply(p_i, d, out=delta)
    out.view(run)[...] = both.view(run)[..., 0].T
    return out


def reference(a):
    """g (..., C) of a (..., 2C) in autograd.numpy: the judge."""
    import autograd.numpy as anp

    C = a.shape[-1] // 2
    return anp.tanh(a[..., :C]) * 0.5 * (1 + anp.tanh(0.5 * a[..., C:]))
