"""Sequences: one LSTM step by savi's formulas (nets/lstm.py), and the error of its categorical outputs."""

import numpy as np

from savi.models.discrete import Categorical
from savi.nets.activations import sigmoid


def gates(x, h, c, W, b):
    a_i, a_f, a_o, a_g = np.split(np.concatenate([x, h], axis=1) @ W + b, 4, axis=1)
    return sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), np.tanh(a_g)


def lstm_step(x, h, c, W, b):
    i, f, o, g = gates(x, h, c, W, b)
    c = f * c + i * g
    return o * np.tanh(c), c


def lstm_backward(x, h, c, W, b, d_h, d_c):
    i, f, o, g = gates(x, h, c, W, b)
    tanh_c = np.tanh(f * c + i * g)
    d_c = d_c + o * (1 - tanh_c**2) * d_h
    delta = [g * i * (1 - i) * d_c, c * f * (1 - f) * d_c, tanh_c * o * (1 - o) * d_h, i * (1 - g**2) * d_c]
    delta = np.concatenate(delta, axis=1)
    d_u, width = delta @ W.T, x.shape[1]
    return d_u[:, :width], d_u[:, width:], f * d_c, np.concatenate([x, h], axis=1).T @ delta, delta.sum(axis=0)


def token_error(logits, token):
    return Categorical().error(logits.copy(), token)[0]
