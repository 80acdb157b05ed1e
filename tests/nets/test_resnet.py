"""Residual encoders against autograd and the complex step; examples that do not mix, depth that does not matter at first."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import InputError
from savi.nets.resnet import ResNet
from savi.testing import assert_close, check_gradient, seeds


class Case:
    """A residual net of some size, images, and a gradient of its output."""

    def __init__(self, net, N, seed, dtype=float):
        rng = np.random.default_rng(seed)
        self.net, self.x = net, rng.random((N, net.inputs)).astype(dtype)
        self.phi = rng.uniform(-1, 1, net.size).astype(dtype)
        self.d = rng.normal(size=(N, net.outputs)).astype(dtype)

    def __repr__(self):
        return f"Case({self.net!r}, x {self.x.shape})"


nets = st.builds(
    lambda H, W, channels, outputs, blocks, kernel, activation: ResNet(
        (H * 2 ** len(channels) + H % 2, W * 2 ** len(channels)), channels, outputs, blocks, kernel, activation
    ),
    st.integers(1, 3), st.integers(1, 2), st.lists(st.integers(1, 3), min_size=1, max_size=2), st.integers(1, 3),
    st.integers(0, 2), st.sampled_from([1, 3]), st.sampled_from(["elu", "tanh", "softplus"]),
)  # fmt: skip
cases = st.builds(Case, nets, st.integers(1, 3), seeds)


@given(cases)
@settings(max_examples=60)
def test_the_output_and_the_gradient_are_autograds(case):
    record = case.net.evaluate(case.phi, case.x)
    assert_close(record.output, case.net.reference(case.phi, case.x), 1e-11, 1e-12, "lam")
    judge = autograd.grad(lambda phi: anp.sum(case.d * case.net.reference(phi, case.x)))(case.phi)
    assert_close(case.net.gradient(case.phi, record, case.d), judge, 1e-10, 1e-12, "d phi")


@given(cases)
@settings(max_examples=15)
def test_the_gradient_is_the_complex_steps(case):
    found = case.net.gradient(case.phi, case.net.evaluate(case.phi, case.x), case.d)
    f = lambda phi: np.sum(case.d * case.net.evaluate(phi, case.x).output)  # noqa: E731
    check_gradient(f, case.phi, found, "complex", rtol=1e-10, atol=1e-12)


NET = ResNet((14, 14), (4, 6), 8, blocks=2)


def test_examples_do_not_mix():
    case = Case(NET, 5, 0)
    together = NET.evaluate(case.phi, case.x).output
    for i in range(5):
        assert_close(NET.evaluate(case.phi, case.x[i : i + 1]).output[0], together[i], 1e-12)


def test_at_first_a_net_of_any_depth_is_an_affine_map_of_patches():
    """Up to the activation before the last layer: blocks hand on what they get, since their second convolutions are zero."""
    shallow, phi = ResNet((14, 14), (4, 6), 8, blocks=0), NET.init(np.random.default_rng(0))
    layers, x = NET.layers(phi), np.random.default_rng(1).random((3, 196))
    own = np.concatenate([layers[l].ravel() for l in (0, 5, 10)])
    assert_close(NET.evaluate(phi, x).output, shallow.evaluate(own, x).output, 1e-13)
    assert all(layers[l].any() for l in (1, 3, 6, 8)) and not any(layers[l].any() for l in (2, 4, 7, 9))


def test_init_draws_weights_of_variance_one_over_inputs_and_no_biases():
    net = ResNet((28, 28), (32, 64), 64)
    layers = net.layers(net.init(np.random.default_rng(0)))
    for l in (0, 1, 3, 4, 6):
        assert abs(layers[l][:-1].var() * (len(layers[l]) - 1) - 1) < (0.2 if l == 0 else 0.05)
    assert not any(layer[-1].any() for layer in layers)


def test_single_precision_stays_single_and_near():
    found = []
    for dtype in (np.float32, float):
        case = Case(NET, 3, 0, dtype)
        case.phi *= dtype(0.3)
        record = NET.evaluate(case.phi, case.x)
        found.append((record.output, NET.gradient(case.phi, record, case.d)))
        assert {a.dtype for a in found[-1]} == {np.dtype(dtype)}
    for single, double in zip(*found):
        assert_close(single, double, 1e-5)


def test_what_does_not_fit_is_told():
    with pytest.raises(InputError, match="an image is 1 x 1; expected at least 2 x 2, the stride"):
        ResNet((7, 7), (2, 2, 2), 4)
    with pytest.raises(InputError, match="kernel is 2"):
        ResNet((8, 8), (2,), 4, kernel=2)
    with pytest.raises(InputError, match=r"channels is \[\]; expected at least one stage"):
        ResNet((8, 8), (), 4)
    with pytest.raises(InputError, match=r"takes \(rows, 196\); got \(2, 100\)"):
        NET.evaluate(np.zeros(NET.size), np.zeros((2, 100)))
