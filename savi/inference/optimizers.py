"""First-order optimizers as pure functions: (state, gradient) -> (state, step); parameters then move by `step`.

An optimizer is a small tuple of settings with two verbs: init(params) -> state, and update(state, gradient) ->
(state, step). A state is a tuple of arrays shaped like the parameters (and a count), so it saves and restores exactly.
Gradients are of a loss that is minimised; steps already carry the minus sign.
"""

from typing import NamedTuple

import numpy as np

from ..engine.memory import blockwise


class SGD(NamedTuple):
    """step = -alpha g."""

    step_size: float = 0.01

    def init(self, params):
        """The state before the first step, for parameters of that shape."""
        return ()

    def update(self, state, g):
        """(state, step) after the gradient g, shaped like the parameters."""
        return state, -self.step_size * g


class Momentum(NamedTuple):
    """v = gamma v - g; step = alpha v: the momentum of [SA] Algorithm 1."""

    step_size: float = 0.01
    momentum: float = 0.9

    def init(self, params):
        """The state before the first step, for parameters of that shape."""
        return (np.zeros_like(params),)

    def update(self, state, g):
        """(state, step) after the gradient g, shaped like the parameters."""
        v = self.momentum * state[0] - g
        return (v,), self.step_size * v


class RMSProp(NamedTuple):
    """s = rho s + (1 - rho) g^2; step = -alpha g / (sqrt(s) + eps).  Tieleman & Hinton 2012"""

    step_size: float = 0.001
    rho: float = 0.9
    eps: float = 1e-8

    def init(self, params):
        """The state before the first step, for parameters of that shape."""
        return (np.zeros_like(params),)

    def update(self, state, g):
        """(state, step) after the gradient g, shaped like the parameters."""

        def formula(s, g):
            s = self.rho * s + (1 - self.rho) * g * g
            return s, -self.step_size * g / (np.sqrt(s) + self.eps)

        s, step = blockwise(formula, *state, g)
        return (s,), step


class Adam(NamedTuple):
    """m, s: running means of g and g^2, bias-corrected; step = -alpha m / (sqrt(s) + eps).  Kingma & Ba 2015"""

    step_size: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8

    def init(self, params):
        """The state before the first step, for parameters of that shape."""
        return np.zeros_like(params), np.zeros_like(params), 0

    def update(self, state, g):
        """(state, step) after the gradient g, shaped like the parameters."""
        t = int(state[2]) + 1
        rate, unbias = self.step_size / (1 - self.beta_1**t), 1 / (1 - self.beta_2**t)

        def formula(m, s, g):
            m = self.beta_1 * m + (1 - self.beta_1) * g
            s = self.beta_2 * s + (1 - self.beta_2) * g * g
            return m, s, -rate * m / (np.sqrt(s * unbias) + self.eps)

        m, s, step = blockwise(formula, *state[:2], g)
        return (m, s, t), step


OPTIMIZERS = {"sgd": SGD, "momentum": Momentum, "rmsprop": RMSProp, "adam": Adam}


def clip_norm(g, norm):
    """g scaled down to the given Euclidean norm where it is longer; None leaves it as it is."""
    if norm is None:
        return g
    length = float(np.linalg.norm(g))
    return g * (norm / length) if length > norm else g
