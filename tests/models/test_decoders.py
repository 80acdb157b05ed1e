"""Decoders: log p(x | z; theta) and its derivatives in z and theta, against loops, autograd and the complex step."""

import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi.engine.files import InputError
from savi.models.decoders import MLPDecoder
from savi.models.discrete import Multinomial
from savi.models.likelihoods import Bernoulli, Gaussian
from savi.nets.mlp import MLP
from savi.testing import arrays, assert_close, check_gradient, problems, sizes

ALL = [Bernoulli(), Multinomial(), Gaussian("global"), Gaussian("per_dimension"), Gaussian("from_z")]


EVERY_LIKELIHOOD = pytest.mark.parametrize("likelihood", ALL, ids=repr)


@st.composite
def cases(draw, likelihood):
    """(decoder, theta (P,), x (B, M), z (S, B, D), z_dot (S, B, D))."""
    p = draw(problems(likelihood))
    return p.model.decoder, p.theta, p.x, draw(arrays(p.noise.shape)), draw(arrays(p.noise.shape))


def log_px(decoder, theta, x, z):
    """log p(x | z), (S, B)."""
    p = decoder.given(theta, x)
    return p.log_px(p.forward(z))


def derivatives(decoder, theta, x, z, weight=1.0):
    """(d_z (S, B, D), d_theta (P,)) of sum_rows weight * log p(x | z)."""
    p = decoder.given(theta, x)
    record, total = p.forward(z), p.param_sum()
    d_z = p.backward(record)
    total.add(record, weight)
    return d_z, total.value()


def tangents(decoder, theta, x, z, z_dot, weight=1.0):
    """The derivative of `derivatives` along z_dot, by the tangent passes."""
    p = decoder.given(theta, x)
    record, total = p.forward(z), p.param_sum()
    p.backward(record)
    d_z_dot, dot = p.tangent(record, z_dot)
    total.add_tangent(record, dot, weight)
    return d_z_dot, total.value()


def reference_log_px(decoder, theta, x, z):
    size = decoder.net.size
    return decoder.likelihood.reference(decoder.net.reference(theta[:size], z), x, theta[size:])


# --- by hand ------------------------------------------------------------------------------------------------------------


def test_theta_is_the_nets_parameters_then_the_log_variance_and_log_px_the_textbooks():
    theta = np.array([0.5, -1.0, 0.2, 0.3, 0.1, 0.7, np.log(4.0)])  # W (2, 2), b (2,), log variance
    z, x = np.array([[[1.0, -2.0]], [[0.5, 0.25]]]), np.array([[0.4, -0.6]])
    for s, (z_1, z_2) in enumerate(z[:, 0]):
        mu = (0.5 * z_1 + 0.2 * z_2 + 0.1, -1.0 * z_1 + 0.3 * z_2 + 0.7)
        expected = sum(-math.log(2 * math.pi * 4) / 2 - (a - m) ** 2 / 8 for a, m in zip(x[0], mu))
        actual = log_px(MLPDecoder(MLP([2, 2]), Gaussian()), theta, x, z)
        assert actual.shape == (2, 1)
        assert_close(actual[s, 0], expected, rtol=1e-14)


@EVERY_LIKELIHOOD
def test_init_has_one_entry_per_parameter_and_zero_log_variances(likelihood):
    decoder = MLPDecoder(MLP([2, 3, 4]), likelihood)
    theta = decoder.init(np.random.default_rng(0), np.float32)
    own = likelihood.size(decoder.data_dim)
    assert theta.dtype == np.float32 and theta.shape == (decoder.size,) == (decoder.net.size + own,)
    np.testing.assert_array_equal(theta[decoder.net.size :], np.zeros(own))


@EVERY_LIKELIHOOD
def test_mean_is_the_likelihoods_mean_of_the_nets_output_at_any_shape_of_z(likelihood):
    rng = np.random.default_rng(0)
    decoder = MLPDecoder(MLP([2, 3, 4]), likelihood)
    theta, z = decoder.init(rng), rng.normal(size=(5, 3, 2))
    mean = decoder.mean(theta, z)
    assert mean.shape == (5, 3, decoder.data_dim)
    out = decoder.net.reference(theta[: decoder.net.size], z[4, 1])
    assert_close(mean[4, 1], likelihood.mean(out, theta[decoder.net.size :]), rtol=1e-12)
    assert_close(mean[4, 1], decoder.mean(theta, z[4, 1]), rtol=1e-12)


# --- against autograd and the complex step ------------------------------------------------------------------------------


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=20)
def test_log_px_and_its_derivatives_are_autograds(likelihood, data):
    decoder, theta, x, z, _ = data.draw(cases(likelihood))
    assert_close(log_px(decoder, theta, x, z), reference_log_px(decoder, theta, x, z), rtol=1e-9, atol=1e-12)
    gradient = autograd.grad(lambda z, theta: anp.sum(reference_log_px(decoder, theta, x, z)), (0, 1))
    for actual, expected, name in zip(derivatives(decoder, theta, x, z), gradient(z, theta), ("d_z", "d_theta")):
        assert_close(actual, expected, rtol=1e-9, atol=1e-11, name=name)


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=20)
def test_tangents_are_autograds(likelihood, data):
    decoder, theta, x, z, z_dot = data.draw(cases(likelihood))

    def along(z, theta):
        d_z = autograd.grad(lambda z: anp.sum(reference_log_px(decoder, theta, x, z)))(z)
        return anp.sum(d_z * z_dot)

    expected = autograd.grad(along, (0, 1))(z, theta)
    for actual, value, name in zip(tangents(decoder, theta, x, z, z_dot), expected, ("R{d_z}", "R{d_theta}")):
        assert_close(actual, value, rtol=1e-9, atol=1e-11, name=name)


@EVERY_LIKELIHOOD
@given(data=st.data())
@settings(max_examples=20)
def test_derivatives_agree_by_complex_step_with_any_weight_per_row(likelihood, data):
    decoder, theta, x, z, z_dot = data.draw(cases(likelihood))
    weight = data.draw(arrays((z.shape[0] * z.shape[1],)))
    rows = weight.reshape(z.shape[:2])
    d_z, d_theta = derivatives(decoder, theta, x, z, weight)
    check_gradient(lambda z: log_px(decoder, theta, x, z), z, d_z, "complex", atol=1e-11)
    check_gradient(lambda theta: rows * log_px(decoder, theta, x, z), theta, d_theta, "complex", atol=1e-11)
    moved = derivatives(decoder, theta.astype(complex), x, z + 1e-20j * z_dot, weight)
    for actual, value in zip(tangents(decoder, theta, x, z, z_dot, weight), moved):
        assert_close(actual, value.imag / 1e-20, rtol=1e-12, atol=1e-10)


# --- records ------------------------------------------------------------------------------------------------------------


@given(keep=st.integers(1, 5), points=sizes, batch=st.sampled_from([1, 3, 300]))
@settings(max_examples=25)
def test_the_sum_over_many_records_is_the_sum_of_single_ones_whatever_is_kept(keep, points, batch):
    rng = np.random.default_rng(0)
    decoder = MLPDecoder(MLP([2, 3, 4]), Gaussian("per_dimension"))
    theta, x = rng.normal(size=decoder.size), rng.normal(size=(batch, 4))
    p = decoder.given(theta, x)
    p.reserve(keep)
    total, expected = p.param_sum(), np.zeros(decoder.size)
    records = []
    for i in range(points):
        z, weight = rng.normal(size=(2, batch, 2)), [1.0, -0.5, rng.normal(size=2 * batch), 2.0][i]
        records.append((p.forward(z), weight))
        p.backward(records[-1][0])
        expected += derivatives(decoder, theta, x, z, weight)[1]
    for record, weight in records:
        total.add(record, weight)
    assert_close(total.value(), expected, rtol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@EVERY_LIKELIHOOD
def test_every_verb_keeps_the_precision_it_is_given(likelihood, dtype):
    decoder, rng = MLPDecoder(MLP([2, 3, 4]), likelihood), np.random.default_rng(0)
    theta, x = decoder.init(rng, dtype), np.ones((3, decoder.data_dim), dtype)
    z = rng.normal(size=(2, 3, 2)).astype(dtype)
    results = [log_px(decoder, theta, x, z), decoder.mean(theta, z)]
    results += [*derivatives(decoder, theta, x, z), *tangents(decoder, theta, x, z, z)]
    assert [r.dtype for r in results] == [np.dtype(dtype)] * len(results)


# --- the public edge ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "theta, x, message",
    [
        (np.zeros(20), np.zeros((3, 4)), "theta has shape (20,); MLPDecoder(MLP([2, 3, 4], 'tanh'), Bernoulli()) needs (25,)"),
        (np.zeros((1, 25)), np.zeros((3, 4)), "theta has shape (1, 25)"),
        (np.zeros(25), np.zeros((3, 5)), "x has shape (3, 5); MLPDecoder(MLP([2, 3, 4], 'tanh'), Bernoulli()) needs (B, 4)"),
        (np.zeros(25), np.zeros(4), "x has shape (4,)"),
        (np.zeros(25), np.full((3, 4), 2.0), "x has values from 2 to 2"),
    ],
)  # fmt: skip
def test_a_wrong_theta_or_x_is_refused_with_its_numbers(theta, x, message):
    with pytest.raises(InputError) as caught:
        MLPDecoder(MLP([2, 3, 4]), Bernoulli()).check(theta, x)
    assert message in str(caught.value)


def test_a_net_with_an_odd_number_of_outputs_gives_no_mean_and_variance():
    with pytest.raises(InputError, match="the network has 3 outputs"):
        MLPDecoder(MLP([2, 3]), Gaussian("from_z"))
