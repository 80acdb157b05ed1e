"""Iterative models of hierarchies: one network for all levels, and one for each, which hears its own level's errors alone."""

import itertools

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from savi import (
    MLP,
    Bernoulli,
    HierarchicalModel,
    InputError,
    Iterative,
    LatentGaussianModel,
    Level,
    MLPDecoder,
    reference,
)
from savi.inference.encodings import Data, Error, Estimate, Gated, Gradient, Residual
from savi.inference.iterative import level_networks, network
from savi.nets.trunks import SideBySide
from savi.testing import assert_close


def problem(update=Gated(), encodings=(Gradient(), Error(), Data()), steps=2):  # noqa: B008
    """(method, model, theta, phi, x, noise) of two levels with 2 and 1 dimensions, four data dimensions."""
    rng = np.random.default_rng(0)
    model = HierarchicalModel(MLPDecoder(MLP([2, 3, 4]), Bernoulli()), [Level(MLP([1, 3, 4]))])
    method = Iterative(level_networks(model, encodings, (4, 4), update), encodings, steps, 2, update)
    x, noise = rng.integers(0, 2, (3, 4)).astype(float), rng.normal(size=(steps + 1, 2, 3, 3))
    return method, model, rng.normal(0, 0.5, model.size), rng.normal(0, 0.5, method.size), x, noise


def outputs(nets, phi, inputs):
    """The outputs of SideBySide, by each net's reference, in autograd."""
    parts, start = [], 0
    for net, taken in zip(nets.nets, nets.ins):
        parts.append(net.reference(phi[start : start + net.size], inputs[:, taken]))
        start += net.size
    order = np.argsort(np.concatenate(nets.outs))
    return anp.concatenate(parts, axis=1)[:, order]


@pytest.mark.parametrize("update", [Gated(), Residual()])
def test_the_gradient_is_autograds_through_one_update_at_a_time(update):
    method, model, theta, phi, x, noise = problem(update)
    f, lam, d_phi = model.objective(theta, x, 0.7), model.prior_lam(3, theta=theta), 0.0
    for now, after in itertools.pairwise(noise):
        inputs = method.encode(f, f.gradient(lam, now))

        def step(phi, lam=lam, inputs=inputs):
            out = outputs(method.net, phi, inputs)
            if update.heads == 1:
                return lam + out
            g = 0.5 * (1 + anp.tanh(0.5 * out[:, 6:]))
            return g * lam + (1 - g) * out[:, :6]

        def loss(phi, after=after):
            return anp.sum(reference.hierarchical_loss(model, step(phi), theta, x, after, 0.7))

        d_phi, lam = d_phi + autograd.grad(loss)(phi) / 2, step(phi)
    found, d_theta, actual = method.gradient(model, theta, phi, x, beta=0.7, noise=noise)
    final = f.evaluate(lam, noise[-1])
    assert_close(found, final.loss, rtol=1e-10)
    assert_close(actual, d_phi, rtol=1e-9, name="d phi")
    assert_close(d_theta, f.theta_sum().add(final).value(), rtol=1e-10)


def test_a_level_sees_its_own_gradient_its_own_error_and_the_error_below():
    model = HierarchicalModel(
        MLPDecoder(MLP([2, 4]), Bernoulli()), [Level(MLP([3, 2]), 1.0), Level(MLP([1, 3]), 1.0)]
    )  # z^1, z^2, z^3 are z_0 z_1 | z_2 z_3 z_4 | z_5
    assert Estimate().columns(model, 2).tolist() == [2, 3, 4, 8, 9, 10]
    assert Gradient().columns(model, 3).tolist() == [5, 11, 17, 23]
    assert [Error().columns(model, l).tolist() for l in (1, 2, 3)] == [
        [0, 1, 2, 3, 4, 5],
        [4, 5, 6, 7, 8],
        [6, 7, 8, 9],
    ]
    assert Data().columns(model, 3).tolist() == [0, 1, 2, 3]


def test_the_upper_levels_network_hears_of_x_through_the_error_below_it_alone():
    method, model, theta, phi, x, noise = problem(encodings=(Error(),))
    f = model.objective(theta, x)
    inputs = method.encode(f, f.forward(model.prior_lam(3, theta=theta), noise[0]))
    moved = inputs + np.pad(np.ones((3, 4)), ((0, 0), (0, inputs.shape[1] - 4)))  # e_x
    before, after = (model.lam_of(method.net.begin(phi).output(a)[:, :6], 2) for a in (inputs, moved))
    assert np.array_equal(before, after)


def test_one_net_side_by_side_with_none_is_that_net():
    _, model, theta, _, x, noise = problem()
    net = network(model, [Gradient()], (4, 4))
    alone = SideBySide([net], [np.arange(net.inputs)], [np.arange(net.outputs)])
    phi = np.random.default_rng(1).normal(0, 0.5, net.size)
    found = [Iterative(n, [Gradient()], 2, 2).gradient(model, theta, phi, x, noise=noise) for n in (net, alone)]
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_fit_gets_its_sentence():
    with pytest.raises(InputError, match="a network for each level needs it"):
        level_networks(LatentGaussianModel(MLPDecoder(MLP([2, 4]), Bernoulli())), [Gradient()])
    with pytest.raises(InputError, match="expected each once"):
        SideBySide([MLP([1, 2])], [[0]], [[0, 0]])
    with pytest.raises(InputError, match="stands between 1 inputs and 2 outputs"):
        SideBySide([MLP([2, 2])], [[0]], [[0, 1]])
