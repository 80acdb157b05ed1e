"""Sequences: one step of an LSTM, its backward pass, and the error of a token.

    a = [x, h] W + b = [a_i, a_f, a_o, a_g];   i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o);   g = tanh(a_g)
    c' = f c + i g;   h' = o tanh(c')

Fill in the functions, then:  python -m savi check 10
Shapes: x (B, X), h, c (B, H), W (X + H, 4H), b (4H,), logits (B, V). Arrays that you are given are read-only.
"""

import numpy as np  # noqa: F401


def lstm_step(x, h, c, W, b):
    """The tuple (h', c'), both (B, H); right for huge a, too."""
    raise NotImplementedError


def lstm_backward(x, h, c, W, b, d_h, d_c):
    """The tuple (d_x, d_h, d_c, d_W, d_b), each of its argument's shape: d_W and d_b are sums over the batch.

    d_h, d_c (B, H): the gradients of the loss with respect to h' and c', where c' is used beside its use in h'.
    """
    raise NotImplementedError


def token_error(logits, token):
    """The gradient of log softmax(logits)[token] with respect to the logits, (B, V); token (B,) whole numbers.  [E10]"""
    raise NotImplementedError
