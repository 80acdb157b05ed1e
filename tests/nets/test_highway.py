"""Highway nets against plain loops, then against autograd, then against the complex step; and what a highway is for."""

import inspect
import math
import textwrap

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import MLP, SAVAE, Bernoulli, HighwayMLP, InputError, LatentGaussianModel, MLPDecoder, reference
from savi.nets import highway
from savi.nets.activations import ACTIVATIONS
from savi.nets.mlp import ParamSum
from savi.testing import arrays, assert_close, check_gradient, sizes


@st.composite
def passes(draw):
    """(net, params (size,), x (rows, in)) with one to three hidden layers."""
    H = draw(sizes)
    net = HighwayMLP([draw(sizes), *[H] * draw(st.integers(1, 3)), draw(sizes)], draw(st.sampled_from([*ACTIVATIONS])))
    return net, draw(arrays((net.size,), -1.5, 1.5)), draw(arrays((draw(sizes), net.sizes[0])))


def backward(net, params, x):
    """(d x, d params) of sum(-cos(net(x))), whose d output is sin(output); x or params may be complex."""
    record = net.record(params, x)
    d_params = net.grad(params, record, np.sin(record.output))
    return record.deltas[0] @ net.layers(params)[0][:-1].T, d_params


def test_a_net_is_the_textbooks_loops():
    net, rng = HighwayMLP([2, 3, 3, 1]), np.random.default_rng(0)
    params, x = rng.normal(size=net.size), [0.3, -0.8]
    elu = lambda a: a if a > 0 else math.expm1(a)  # noqa: E731
    first, second, third = net.layers(params)
    assert [first.shape, second.shape, third.shape] == [(3, 3), (4, 6), (4, 1)]
    h = [elu(sum(x[i] * first[i, j] for i in range(2)) + first[2, j]) for j in range(3)]
    a = [sum(h[i] * second[i, j] for i in range(3)) + second[3, j] for j in range(6)]
    T = [1 / (1 + math.exp(-a[3 + j])) for j in range(3)]
    h = [T[j] * elu(a[j]) + (1 - T[j]) * h[j] for j in range(3)]
    assert_close(net(params, np.array(x)), [sum(h[i] * third[i, 0] for i in range(3)) + third[3, 0]], rtol=1e-14)


@given(case=passes())
@settings(max_examples=60)
def test_forward_backward_and_gradient_are_autograds(case):
    net, params, x = case

    def f(params, x):
        return anp.sum(-anp.cos(reference.mlp(net, params, x)))

    assert_close(net(params, x), reference.mlp(net, params, x), rtol=1e-9, atol=1e-12, name="the output")
    d_params, d_x = autograd.grad(f, (0, 1))(params, x)
    back = backward(net, params, x)
    assert_close(back[0], d_x, rtol=1e-9, atol=1e-12, name="d input")
    assert_close(back[1], d_params, rtol=1e-9, atol=1e-12, name="d params")


@given(case=passes())
@settings(max_examples=30)
def test_gradients_agree_by_complex_step(case):
    net, params, x = case
    d_x, d_params = backward(net, params, x)
    check_gradient(lambda x: -np.cos(net(params, x)), x, d_x, "complex", atol=1e-12)
    check_gradient(lambda params: -np.cos(net(params, x)), params, d_params, "complex", atol=1e-12)


@pytest.mark.parametrize("gate, same_as", [(-1e4, "the input"), (1e4, "the candidate")])
def test_a_closed_gate_hands_on_its_input_and_an_open_one_the_candidate(gate, same_as):
    net, rng = HighwayMLP([2, 3, 3, 3]), np.random.default_rng(0)
    params = rng.normal(size=net.size)
    layers, x = net.layers(params), rng.normal(size=(4, 2))
    layers[1][:, 3:] = 0
    layers[1][-1, 3:] = gate
    layers[2][...] = np.eye(4, 3)
    h, candidate = x @ layers[0][:-1] + layers[0][-1], None
    ACTIVATIONS["elu"].apply(h)
    candidate = h @ layers[1][:-1, :3] + layers[1][-1, :3]
    ACTIVATIONS["elu"].apply(candidate)
    assert_close(net(params, x), h if same_as == "the input" else candidate, rtol=1e-12)


def test_init_draws_each_half_like_a_layer_of_its_own_and_gates_that_carry():
    net = HighwayMLP([300, 200, 200, 100])
    layers = net.layers(net.init(np.random.default_rng(0)))
    for W, variance in [
        (layers[0], 2 / 500),
        (layers[1][:, :200], 1 / 200),
        (layers[1][:, 200:], 1 / 200),
        (layers[2], 2 / 300),
    ]:
        assert abs(W[:-1].var() - variance) <= 6 * variance * math.sqrt(0.8 / W[:-1].size)
    assert np.all(layers[1][-1, 200:] == highway.CARRY) and highway.CARRY < 0
    assert not layers[0][-1].any() and not layers[1][-1, :200].any() and not layers[2][-1].any()


def test_the_stacked_gradient_of_several_records_is_the_sum_of_theirs():
    net, rng = HighwayMLP([3, 4, 4, 2]), np.random.default_rng(0)
    params = rng.normal(size=net.size)
    layers, block, total = net.layers(params), net.block(5, float, slots=3), ParamSum(net, float)
    expected = 0
    for weight in (1.0, -2.0, 0.5):
        x, d = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
        record = block.next_record()
        record.x[...] = x
        net.forward(layers, record)
        record.output[...] = d
        net.complete(net.transposed(layers), record)
        total.add(record, weight)
        expected = expected + weight * net.grad(params, net.record(params, x), d)
    assert_close(total.value(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_in_is_dtype_out(dtype):
    net = HighwayMLP([3, 4, 4, 2])
    params = net.init(np.random.default_rng(0), dtype)
    record = net.record(params, np.ones((2, 3), dtype))
    assert record.output.dtype == net.grad(params, record, np.ones((2, 2), dtype)).dtype == dtype


def test_the_repr_tells_sizes_and_activation():
    assert repr(HighwayMLP([3, 4, 4, 2], "tanh")) == "HighwayMLP([3, 4, 4, 2], 'tanh')"


@pytest.mark.parametrize("sizes", [[3, 2], [3, 4, 5, 2]])
def test_hidden_layers_of_several_widths_or_none_are_refused(sizes):
    with pytest.raises(InputError, match="one or more hidden layers, all of the same width"):
        HighwayMLP(sizes)


def test_a_highway_decoder_trains_by_central_differences():
    """There is no tangent; "exact" falls back, and Algorithm 1 is right to the differences' accuracy."""
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(HighwayMLP([2, 4, 4, 5], "tanh"), Bernoulli()))
    theta, x = rng.uniform(-1, 1, model.size), (rng.random((3, 5)) < 0.5).astype(float)
    encoder = MLP([5, 3, 4])
    phi, noise = rng.uniform(-1, 1, encoder.size), rng.standard_normal((4, 1, 3, 2))

    def unrolled(theta, phi):
        lam = reference.mlp(encoder, phi, x)
        loss = lambda lam, e: reference.loss(model, lam, theta, x, e)  # noqa: E731
        for e in noise[:-1]:
            lam = lam - 0.1 * autograd.elementwise_grad(loss)(lam, e)
        return anp.sum(loss(lam, noise[-1]))

    _, d_theta, d_phi = SAVAE(encoder, 3, 0.1, 0.0).gradient(model, theta, phi, x, noise=noise)
    for actual, expected in zip((d_theta, d_phi), autograd.grad(unrolled, (0, 1))(theta, phi)):
        assert_close(actual, expected, rtol=1e-7)


# --- mutations: the check above must fail ---------------------------------------------------------------------------

LINES = {
    "the carried part is dropped": ("d += carried", "pass"),
    "the gate's gradient is dropped": ("T[...] = d_T", "T[...] = 0"),
    "the gate's slope is dropped": ("carried * T * (c - h)", "d * T * (c - h)"),
    "h is left out of the gate's gradient": ("carried * T * (c - h)", "carried * T * c"),
    "the candidate's slope is dropped": ("T * self.activation.slope(c), d, out=c", "T, d, out=c"),
    "x 1.001": ("d_T = carried * T", "d_T = 1.001 * carried * T"),
}


@pytest.mark.parametrize("name", LINES)
def test_autograd_catches_a_changed_line(name, monkeypatch):
    old, new = LINES[name]
    source = textwrap.dedent(inspect.getsource(HighwayMLP.complete))
    assert source.count(old) == 1
    namespace = dict(vars(highway))
    exec(source.replace(old, new), namespace)
    monkeypatch.setattr(HighwayMLP, "complete", namespace["complete"])
    net, rng = HighwayMLP([3, 4, 4, 4, 2], "tanh"), np.random.default_rng(0)
    params, x = rng.normal(size=net.size), rng.normal(size=(3, 3))
    f = lambda params: anp.sum(-anp.cos(reference.mlp(net, params, x)))  # noqa: E731
    with pytest.raises(AssertionError, match="is off by"):
        assert_close(backward(net, params, x)[1], autograd.grad(f)(params), rtol=1e-9)
