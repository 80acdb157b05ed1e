"""Cells: one step of a recurrent network with a state per example, forward and backward.  [LI] B.3

    GRU    [r, u] = sigmoid([x, h] W + b);  n = tanh([x, r h] V + c);  h' = u h + (1 - u) n             Cho et al. 2014
    LSTM   [i, f, o] = sigmoid(.), g = tanh(.) of [x, h] W + b;  c' = f c + i g;  h' = o tanh(c')     Hochreiter & Schmidhuber 1997

The LSTM's state is [h, c] (B, 2H), the GRU's is h (B, H). Parameters lie matrix by matrix, [W; b] (in + H + 1, out) each.
"""

import numpy as np

from ..engine import given
from .activations import sigmoid


class Cell:
    """h' (B, hidden) and a new state from x (B, inputs) and a state (B, state_size), which is zero at first.

    shapes: of its matrices; size: of its parameters.
    """

    shapes, state_size = (), 0

    def __init__(self, inputs, hidden):
        self.inputs, self.hidden = (
            given.whole("inputs of a cell", inputs, 1),
            given.whole("hidden of a cell", hidden, 1),
        )

    @property
    def size(self):
        return sum(n * m for n, m in self.shapes)

    def __repr__(self):
        return f"{type(self).__name__}({self.inputs}, {self.hidden})"

    def matrices(self, params):
        """Views [W; b] of the flat vector."""
        ends = np.cumsum([n * m for n, m in self.shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(params, ends[:-1]), self.shapes)]

    def init(self, rng, dtype=np.float64):
        """Parameters (size,): weights uniform with variance 2 / (in + out), Glorot & Bengio 2010; biases zero."""
        params = np.zeros(self.size, dtype)
        for W in self.matrices(params):
            n, m = len(W) - 1, self.hidden
            W[:-1] = rng.uniform(-1, 1, (n, W.shape[1])) * np.sqrt(6 / (n + m))
        return params

    def step(self, params, x, state):
        """(h' (B, hidden), the new state, what `backward` needs)."""
        raise NotImplementedError

    def backward(self, params, kept, d_h, d_state, total):
        """(d x, d state) from d h' and d new state; adds the parameters' gradient to `total` (size,)."""
        raise NotImplementedError

    def reference(self, params, x, state):
        """(h', the new state) once more in autograd.numpy: the judge."""
        raise NotImplementedError


class GRU(Cell):
    """The gated recurrent unit. Its update gate starts at sigmoid(1): at first it mostly remembers."""

    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden)
        n = inputs + hidden + 1
        self.shapes, self.state_size = [(n, 2 * hidden), (n, hidden)], hidden

    def init(self, rng, dtype=np.float64):
        params = super().init(rng, dtype)
        self.matrices(params)[0][-1, self.hidden :] = 1
        return params

    def step(self, params, x, state):
        W, V = self.matrices(params)
        a = np.concatenate([x, state], axis=1)
        r, u = np.split(sigmoid(a @ W[:-1] + W[-1]), 2, axis=1)
        b = np.concatenate([x, r * state], axis=1)
        n = np.tanh(b @ V[:-1] + V[-1])
        h = u * state + (1 - u) * n
        return h, h, (a, b, r, u, n, state)

    def backward(self, params, kept, d_h, d_state, total):
        (a, b, r, u, n, state), (W, V) = kept, self.matrices(params)
        d = d_h + d_state
        delta_n = d * (1 - u) * (1 - n * n)
        d_b = delta_n @ V[:-1].T
        d_rh = d_b[:, self.inputs :]
        delta = np.concatenate([d_rh * state * r * (1 - r), d * (state - n) * u * (1 - u)], axis=1)
        d_a = delta @ W[:-1].T
        for matrix, h, rows in zip(self.matrices(total), (a, b), (delta, delta_n)):
            _add(matrix, h, rows)
        return d_a[:, : self.inputs] + d_b[:, : self.inputs], d * u + d_rh * r + d_a[:, self.inputs :]

    def reference(self, params, x, state):
        import autograd.numpy as anp

        H, n = self.hidden, self.shapes[0][0]
        W, V = anp.reshape(params[: 2 * n * H], (n, 2 * H)), anp.reshape(params[2 * n * H :], (n, H))
        gates = 0.5 * (1 + anp.tanh(0.5 * (anp.dot(anp.concatenate([x, state], axis=1), W[:-1]) + W[-1])))
        r, u = gates[:, :H], gates[:, H:]
        n = anp.tanh(anp.dot(anp.concatenate([x, r * state], axis=1), V[:-1]) + V[-1])
        h = u * state + (1 - u) * n
        return h, h


class LSTMCell(Cell):
    """The long short-term memory. Its forget gate starts at sigmoid(1)."""

    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden)
        self.shapes, self.state_size = [(inputs + hidden + 1, 4 * hidden)], 2 * hidden

    def init(self, rng, dtype=np.float64):
        params = super().init(rng, dtype)
        self.matrices(params)[0][-1, self.hidden : 2 * self.hidden] = 1
        return params

    def step(self, params, x, state):
        (W,), (h, c) = self.matrices(params), np.split(state, 2, axis=1)
        a = np.concatenate([x, h], axis=1)
        out, H = a @ W[:-1] + W[-1], self.hidden
        (i, f, o), g = np.split(sigmoid(out[:, : 3 * H]), 3, axis=1), np.tanh(out[:, 3 * H :])
        c_next = f * c + i * g
        tanh_c = np.tanh(c_next)
        h = o * tanh_c
        return h, np.concatenate([h, c_next], axis=1), (a, i, f, o, g, c, tanh_c)

    def backward(self, params, kept, d_h, d_state, total):
        (a, i, f, o, g, c, tanh_c), (W,) = kept, self.matrices(params)
        d_h_state, d_c = np.split(d_state, 2, axis=1)
        d_h = d_h + d_h_state
        d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)
        delta = np.concatenate(
            [d_c * g * i * (1 - i), d_c * c * f * (1 - f), d_h * tanh_c * o * (1 - o), d_c * i * (1 - g * g)], axis=1
        )
        _add(self.matrices(total)[0], a, delta)
        d_a = delta @ W[:-1].T
        return d_a[:, : self.inputs], np.concatenate([d_a[:, self.inputs :], d_c * f], axis=1)

    def reference(self, params, x, state):
        import autograd.numpy as anp

        H = self.hidden
        W = anp.reshape(params, self.shapes[0])
        out = anp.dot(anp.concatenate([x, state[:, :H]], axis=1), W[:-1]) + W[-1]
        gates = 0.5 * (1 + anp.tanh(0.5 * out[:, : 3 * H]))
        i, f, o, g = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H :], anp.tanh(out[:, 3 * H :])
        c = f * state[:, H:] + i * g
        h = o * anp.tanh(c)
        return h, anp.concatenate([h, c], axis=1)


class Still(Cell):
    """No state: h' = x. A recurrent network with this cell is feed-forward."""

    def __init__(self, inputs):
        super().__init__(inputs, inputs)

    def __repr__(self):
        return f"Still({self.inputs})"

    def matrices(self, params):
        return []

    def step(self, params, x, state):
        return x, state, None

    def backward(self, params, kept, d_h, d_state, total):
        return d_h, d_state

    def reference(self, params, x, state):
        return x, state


def _add(matrix, h, delta):
    """[W; b] += [h, 1]^T delta."""
    matrix[:-1] += h.T @ delta
    matrix[-1] += delta.sum(axis=0)
