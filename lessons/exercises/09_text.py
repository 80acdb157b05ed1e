"""Text: what a document costs in nats, perplexity with padding in the arrays, and an LSTM cell's backward step.

log_p (B, T) are log p(x_t | x_<t, z) of B documents; document b has lengths[b] tokens, its end among them, and what stands
in its row behind them is padding and means nothing. Sums are sums and not means: -ELBO is of a whole document.
Fill in the functions, then:  python -m savi check 09
Arrays that you are given are read-only: return new ones.
"""

import numpy as np  # noqa: F401


def neg_elbo(log_p, lengths, kl):
    """-ELBO of each document (B,): log_p (B, T) at one sample of z, lengths (B,) whole numbers from 1 to T, kl (B,)."""
    raise NotImplementedError


def perplexity(nats, lengths):
    """The perplexity of all documents together, one number: nats (B,) for documents of lengths (B,)."""
    raise NotImplementedError


def cell_backward(a, c_before, d_h, d_c):
    """One LSTM step backward, as a tuple (d_a (B, 4H), d_c_before (B, H)).

    Forward, a (B, 4H) = [a_i, a_f, a_o, a_g]:  i, f, o = sigmoids of the first three, g = tanh(a_g);
    c = f c_before + i g;  h = o tanh(c), all (B, H). d_h and d_c (B, H) are the gradients of h, and of c from the step after.
    """
    raise NotImplementedError
