"""A step of the LSTM as a linear map of its tangents: the formulas of lstm.py's two tangent passes, for all steps at once.

p = [g i (1 - i), c_{t-1} f (1 - f), tanh c_t o (1 - o), i (1 - g^2)] = d (c, c, h, c) / d a;   q = o (1 - tanh^2 c_t) = d h / d c
"""

import numpy as np

from ..engine.memory import empty


def split_gates(a):
    """[i, f, o, g] of (..., 4H), views."""
    H = a.shape[-1] // 4
    return a[..., :H], a[..., H : 2 * H], a[..., 2 * H : 3 * H], a[..., 3 * H :]


def _by_step(record):
    """The gates (T, S * B, 4H), c_0 .. c_{T-1} and tanh c_1 .. tanh c_T (T, S * B, H) of a pass."""
    return record.gates.reshape(*record.tanh_c.shape[:2], -1), record.c[:-1], record.tanh_c


def forget_gate(record):
    """f of all steps, (T, S * B, H)."""
    return split_gates(_by_step(record)[0])[1]


def halved_gates(W):
    """W (n, 4H) with the columns of i, f and o halved."""
    half = W.copy()
    half[:, : 3 * W.shape[1] // 4] *= 0.5
    return half


def slopes(record, out=None):
    """p (T, S * B, 4H), written to `out` where it is given, and q (T, S * B, H) of all steps."""
    gates, c, tanh_c = _by_step(record)
    (i, _, o, g), p = split_gates(gates), empty(gates.shape, gates.dtype) if out is None else out
    (p_i, p_f, p_o, p_g), sigmoids = split_gates(p), slice(3 * i.shape[-1])
    np.subtract(1, gates[..., sigmoids], out=p[..., sigmoids])
    p[..., sigmoids] *= gates[..., sigmoids]
    p_i *= g
    p_f *= c
    p_o *= tanh_c
    np.multiply(g, g, out=p_g)
    np.subtract(1, p_g, out=p_g)
    p_g *= i
    return p, o * (1 - tanh_c * tanh_c)


def bends(record, dot):
    """p_dot (T, S * B, 4H), q_dot and f_dot (T, S * B, H) of all steps."""
    gates, c, tanh_c = _by_step(record)
    (i, f, o, g), (a_i, a_f, a_o, a_g) = split_gates(gates), split_gates(dot.a)
    i_slope, f_slope, o_slope, g_slope, tanh_slope = i * (1 - i), f * (1 - f), o * (1 - o), 1 - g**2, 1 - tanh_c**2
    f_dot, o_dot, tanh_dot = f_slope * a_f, o_slope * a_o, tanh_slope * dot.c[1:]
    p_dot = empty(gates.shape, gates.dtype)
    p_i, p_f, p_o, p_g = split_gates(p_dot)
    p_i[...] = i_slope * (g_slope * a_g + g * (1 - 2 * i) * a_i)
    p_f[...] = f_slope * dot.c[:-1] + c * (1 - 2 * f) * f_dot
    p_o[...] = o_slope * tanh_dot + tanh_c * (1 - 2 * o) * o_dot
    p_g[...] = g_slope * (i_slope * a_i - 2 * i * g * a_g)
    return p_dot, o_dot * tanh_slope - 2 * o * tanh_c * tanh_dot, f_dot


def times(p, d_h, d_c, out):
    """p [d_c, d_c, d_h, d_c], (..., 4H)."""
    for part, gate, d in zip(split_gates(out), split_gates(p), (d_c, d_c, d_h, d_c)):
        np.multiply(gate, d, out=part)
    return out
