"""Text: a document's cost and perplexity with padding, and an LSTM cell's backward step by savi's (nets/lstm_cell.py)."""

from types import SimpleNamespace

import numpy as np

from savi.experiments import evaluation
from savi.nets import lstm_cell
from savi.nets.activations import sigmoid


def neg_elbo(log_p, lengths, kl):
    return np.where(np.arange(log_p.shape[1]) < lengths[:, None], -log_p, 0).sum(axis=1) + kl


def perplexity(nats, lengths):
    return np.float64(evaluation.perplexity(nats, lengths))


def cell_backward(a, c_before, d_h, d_c):
    H = c_before.shape[1]
    gates = np.concatenate([sigmoid(a[:, : 3 * H].copy()), np.tanh(a[:, 3 * H :])], axis=1)
    i, f, _, g = np.split(gates, 4, axis=1)
    tanh_c = np.tanh(f * c_before + i * g)
    record = SimpleNamespace(gates=gates[None], c=np.array([c_before, c_before]), tanh_c=tanh_c[None])
    p, q = lstm_cell.slopes(record)
    d = d_c + q[0] * d_h
    return lstm_cell.times(p[0], d_h, d, np.empty_like(a)), f * d
