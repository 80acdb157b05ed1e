"""What should hold of Algorithm 1: the loop itself, differentiated by the complex step.

f(lam) = sum_j exp(theta_j) sin(lam A_j) + |lam|^2 / 2 for each example: no step's second derivatives are another's.
"""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds, parts, readable
from savi.testing import assert_close, check_gradient

A = np.array([[1.0, 0.5, -1.0], [-0.5, 1.0, 0.75]])  # (n, P)
STEPS, MOMENTA = st.integers(0, 4), st.sampled_from([0.0, 0.5, 0.75])
START = {"lam_0": "B 2", "theta": readable([3], -1, 1), "steps": STEPS, "momentum": MOMENTA}
ALPHA = 0.25


def f(lam, theta):
    return (np.exp(theta) * np.sin(lam @ A)).sum(axis=1) + (lam**2).sum(axis=1) / 2


def gradient(lam, theta):
    return (np.exp(theta) * np.cos(lam @ A)) @ A.T + lam


def walk(lam, theta, steps, momentum):
    lams, v = [lam], 0
    for _ in range(steps):
        v = momentum * v - gradient(lams[-1], theta)
        lams.append(lams[-1] + ALPHA * v)
    return lams


class Products:
    """H v of f at theta, and how often it was asked for."""

    def __init__(self, theta):
        self.theta, self.calls = theta, {"lam_product": 0, "theta_product": 0}

    def lam_product(self, lam, v):
        self.calls["lam_product"] += 1
        return (-np.exp(self.theta) * np.sin(lam @ A) * (v @ A)) @ A.T + v

    def theta_product(self, lam, v):
        self.calls["theta_product"] += 1
        return (np.exp(self.theta) * np.cos(lam @ A) * (v @ A)).sum(axis=0)


def backward(student, lam_0, theta, steps, momentum, alpha=ALPHA):
    """((lam_bar, theta_bar), calls) of the student's loop along the true path."""
    lams, h = np.array(walk(lam_0, theta, steps, momentum)), Products(theta)
    last = lams[-1]
    d_theta = (np.exp(theta) * np.sin(last @ A)).sum(axis=0)
    value = student.backward(lams, gradient(last, theta), d_theta, h.lam_product, h.theta_product, alpha, momentum)
    return parts(value, 2, "backward"), h.calls


@holds("forward: lam_{k+1} - lam_k = gamma (lam_k - lam_{k-1}) - alpha grad f(lam_k), from lam_0 on", **START)
def forward_obeys_the_recursion(student, lam_0, theta, steps, momentum):
    lams = student.forward(lambda lam: gradient(lam, theta), lam_0, steps, ALPHA, momentum)
    shape = (steps + 1, *lam_0.shape)
    assert np.shape(lams) == shape, f"forward has shape {np.shape(lams)}, expected (K + 1, B, n) = {shape}"
    assert_close(lams[0], lam_0, name="lam_0")
    before = np.concatenate([lam_0[None], lams[:-1]])  # there is no way before lam_0
    for k in range(steps):
        way = momentum * (lams[k] - before[k]) - ALPHA * gradient(lams[k], theta)
        assert_close(lams[k + 1] - lams[k], way, 1e-9, 1e-9, name=f"the way from lam_{k} to lam_{k + 1}")


@holds("backward: lam_bar is the derivative of f(lam_K) with respect to lam_0", **START)
def lam_bar_is_the_derivative(student, lam_0, theta, steps, momentum):
    (lam_bar, _), _ = backward(student, lam_0, theta, steps, momentum)
    check_gradient(lambda lam: f(walk(lam, theta, steps, momentum)[-1], theta), lam_0, lam_bar, "complex", 1e-9, 1e-9)


@holds("backward: theta_bar is the derivative of the sum of f(lam_K) over the batch with respect to theta", **START)
def theta_bar_is_the_derivative(student, lam_0, theta, steps, momentum):
    (_, theta_bar), _ = backward(student, lam_0, theta, steps, momentum)
    check_gradient(lambda t: f(walk(lam_0, t, steps, momentum)[-1], t), theta, theta_bar, "complex", 1e-9, 1e-9)


@holds("backward: with K = 0 steps, the gradients are those of f itself", lam_0="B 2", theta=readable([3], -1, 1))
def backward_without_steps(student, lam_0, theta):
    (lam_bar, theta_bar), _ = backward(student, lam_0, theta, 0, 0.5)
    assert_close(lam_bar, gradient(lam_0, theta), 1e-9, name="lam_bar")
    assert_close(theta_bar, (np.exp(theta) * np.sin(lam_0 @ A)).sum(axis=0), 1e-9, 1e-12, name="theta_bar")


@holds("backward: it asks for one product of each kind per step", **START)
def backward_asks_once_per_step(student, lam_0, theta, steps, momentum):
    _, calls = backward(student, lam_0, theta, steps, momentum)
    for name, count in calls.items():
        assert count == steps, f"{name} was called {count} times for {steps} steps"


@holds("clipped_vjp: the derivative of sum(u * clipped g)", g="B N", u="B N", clip=st.sampled_from([1.1, 0.3, 4.1]))
def clipped_vjp_is_the_derivative(student, g, u, clip):
    def clipped(g):
        norm = np.sqrt((g * g).sum(axis=1, keepdims=True))
        longer = norm.real > clip
        return np.where(longer, g * clip / np.where(longer, norm, 1), g)

    check_gradient(lambda g: (u * clipped(g)).sum(axis=1), g, student.clipped_vjp(g, clip, u), "complex", 1e-9, 1e-9)
