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

from savi import (
    MLP,
    SAVAE,
    Bernoulli,
    Gaussian,
    HighwayMLP,
    InputError,
    LatentGaussianModel,
    MLPDecoder,
    hvp,
    reference,
)
from savi.engine.records import Block, ParamSum
from savi.nets import highway
from savi.nets.activations import ACTIVATIONS
from savi.testing import arrays, assert_close, check_gradient, seeds, sizes


@st.composite
def passes(draw):
    """(net, params (size,), x (rows, in)) with one to three hidden layers."""
    H = draw(sizes)
    net = HighwayMLP([draw(sizes), *[H] * draw(st.integers(1, 3)), draw(sizes)], draw(st.sampled_from([*ACTIVATIONS])))
    return net, draw(arrays((net.size,), -1.5, 1.5)), draw(arrays((draw(sizes), net.sizes[0])))


def backward(net, params, x):
    """(d x, d params) of sum(-cos(net(x))), whose d output is sin(output); x or params may be complex."""
    record = net.evaluate(params, x)
    d_params = net.gradient(params, record, np.sin(record.output))
    return record.deltas[0] @ net.layers(params)[0][:-1].T, d_params


def backward_tangent(net, params, x, x_dot):
    """The derivative of `backward` along x_dot, by the tangent passes."""
    layers, record = net.layers(params), net.evaluate(params, x)
    output = record.output.copy()
    record.output[...] = np.sin(output)
    net.backward(net.transposed(layers)(), record)
    dot = record.block.tangent_record(record.slot)
    dot.x[...] = x_dot
    out_dot = net.tangent(layers, record, dot)
    out_dot *= np.cos(output)
    x_back = net.tangent_backward(net.transposed(layers)(), record, dot)
    return x_back, ParamSum(net, params.dtype).add_tangent(record, dot).value()


def moved_backward(net, params, x, x_dot):
    """The same by the complex step."""
    return [part.imag / 1e-20 for part in backward(net, params.astype(complex), x + 1e-20j * x_dot)]


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
        return anp.sum(-anp.cos(net.reference(params, x)))

    assert_close(net(params, x), net.reference(params, x), rtol=1e-9, atol=1e-12, name="the output")
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


@given(case=passes(), data=st.data())
@settings(max_examples=60)
def test_the_tangents_of_both_gradients_are_autograds_and_the_complex_steps(case, data):
    net, params, x = case
    x_dot = data.draw(arrays(x.shape))

    def along(params, x):
        d_x = autograd.grad(lambda x: anp.sum(-anp.cos(net.reference(params, x))))(x)
        return anp.sum(d_x * x_dot)

    h_params, h_x = autograd.grad(along, (0, 1))(params, x)
    tangents, moved = backward_tangent(net, params, x, x_dot), moved_backward(net, params, x, x_dot)
    for actual, judge, stepped, name in zip(tangents, (h_x, h_params), moved, ("R{d input}", "R{d params}")):
        assert_close(actual, judge, rtol=1e-9, atol=1e-11, name=name)
        assert_close(actual, stepped, rtol=1e-12, atol=1e-11, name=name)


@given(case=passes(), seed=seeds)
@settings(max_examples=30)
def test_a_shift_is_a_bias_of_each_row(case, seed):
    net, params, x = case
    shift = np.random.default_rng(seed).normal(size=(len(x), net.sizes[1]))
    record = net.evaluate(params, x)
    shifted = net.forward(net.layers(params), record, shift).copy()
    for row, (x_row, shift_row) in enumerate(zip(x, shift)):
        own = params.copy()
        net.layers(own)[0][-1] += shift_row
        assert_close(shifted[row], net(own, x_row), rtol=1e-12, atol=1e-12)


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
    layers, block, total = net.layers(params), Block(net.shapes, 3, 5, float), ParamSum(net, float)
    expected = 0
    for weight in (1.0, -2.0, 0.5):
        x, d = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
        record = block.next_record()
        record.x[...] = x
        net.forward(layers, record)
        record.output[...] = d
        net.complete(net.transposed(layers)(), record)
        total.add(record, weight)
        expected = expected + weight * net.gradient(params, net.evaluate(params, x), d)
    assert_close(total.value(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_dtype_in_is_dtype_out(dtype):
    net = HighwayMLP([3, 4, 4, 2])
    params = net.init(np.random.default_rng(0), dtype)
    record = net.evaluate(params, np.ones((2, 3), dtype))
    assert record.output.dtype == net.gradient(params, record, np.ones((2, 2), dtype)).dtype == dtype
    assert all(a.dtype == dtype for a in backward_tangent(net, params, np.ones((2, 3), dtype), np.ones((2, 3), dtype)))


def test_the_repr_tells_sizes_and_activation():
    assert repr(HighwayMLP([3, 4, 4, 2], "tanh")) == "HighwayMLP([3, 4, 4, 2], 'tanh')"


@pytest.mark.parametrize("sizes", [[3, 2], [3, 4, 5, 2]])
def test_hidden_layers_of_several_widths_or_none_are_refused(sizes):
    with pytest.raises(InputError, match="one or more hidden layers, all of the same width"):
        HighwayMLP(sizes)


# --- as a decoder's net -------------------------------------------------------------------------------------------------


def decoder_case(sizes=(2, 4, 4, 5), activation="tanh", likelihood=None, S=2, B=3, seed=0, dtype=float):
    """(f, evaluation, v, weights (B,)) of a model whose decoder is a HighwayMLP."""
    rng = np.random.default_rng(seed)
    model = LatentGaussianModel(MLPDecoder(HighwayMLP(sizes, activation), likelihood or Bernoulli()))
    theta, x = rng.uniform(-1, 1, model.size), (rng.random((B, model.decoder.data_dim)) < 0.5).astype(float)
    lam, v = rng.uniform(-1, 1, (2, B, model.lam_size))
    noise, weights = rng.standard_normal((S, B, model.latent_dim)), rng.uniform(-2, 2, B)
    f = model.objective(theta.astype(dtype), x, 0.7)
    return f, f.evaluate(lam.astype(dtype), noise.astype(dtype)), v.astype(dtype), weights.astype(dtype)


decoder_cases = st.builds(
    lambda D, H, layers, M, *rest: decoder_case([D, *[H] * layers, 2 * M], *rest),
    sizes, sizes, st.integers(1, 3), sizes, st.sampled_from([*ACTIVATIONS]),
    st.sampled_from([Bernoulli(), Gaussian("global"), Gaussian("from_z")]), sizes, sizes, seeds,
)  # fmt: skip


@given(decoder_cases)
@settings(max_examples=40)
def test_a_decoders_exact_products_are_autograds_and_the_complex_steps(case):
    f, e, v, weights = case
    exact = hvp.product(f, e, v)
    for method, rtol in (("autograd", 1e-8), ("complex", 1e-10)):
        judge = hvp.product(f, e, v, method)
        assert_close(exact.lam, judge.lam, rtol, 1e-12, "H_ll v")
        for w in (1.0, weights):
            actual, expected = (f.theta_sum().add(product, w).value() for product in (exact, judge))
            assert_close(actual, expected, rtol, 1e-11, "H_tl v")


def test_a_decoders_exact_products_in_single_precision():
    results = []
    for dtype in (np.float32, np.float64):
        f, e, v, weights = decoder_case([3, 6, 6, 6, 8], dtype=dtype)
        product = hvp.product(f, e, v)
        results.append((product.lam, f.theta_sum().add(product, weights).value()))
        assert all(a.dtype == dtype for a in results[-1])
    for single, double in zip(*results):
        assert_close(single, double, rtol=1e-4)


def test_with_latent_size_zero_products_are_zero():
    f, e, v, weights = decoder_case([0, 4, 4, 5])
    for method in ("exact", "complex"):
        product = hvp.product(f, e, v, method)
        assert_close(product.lam, np.zeros((3, 0)))
        assert_close(f.theta_sum().add(product, weights).value(), np.zeros_like(f.theta))


@pytest.mark.parametrize("K", [0, 1, 3])
@pytest.mark.parametrize("activation", ["tanh", "elu"])
def test_a_highway_decoders_sa_vae_gradient_is_autograds_through_the_loop(K, activation):
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(HighwayMLP([2, 4, 4, 4, 5], activation), Bernoulli()))
    theta, x = rng.uniform(-1, 1, model.size), (rng.random((3, 5)) < 0.5).astype(float)
    encoder = MLP([5, 3, 4])
    phi, noise = rng.uniform(-1, 1, encoder.size), rng.standard_normal((K + 1, 2, 3, 2))

    def unrolled(theta, phi):
        lam = encoder.reference(phi, x)
        loss = lambda lam, e: reference.loss(model, lam, theta, x, e)  # noqa: E731
        for e in noise[:-1]:
            lam = lam - 0.1 * autograd.elementwise_grad(loss)(lam, e)
        return anp.sum(loss(lam, noise[-1]))

    _, d_theta, d_phi = SAVAE(encoder, K, 0.1, 0.0).gradient(model, theta, phi, x, noise=noise)
    for actual, expected in zip((d_theta, d_phi), autograd.grad(unrolled, (0, 1))(theta, phi)):
        assert_close(actual, expected, rtol=1e-9)


# --- mutations: the checks above must fail --------------------------------------------------------------------------

LINES = {
    "the carried part is dropped": ("complete", "d += carried", "pass"),
    "the gate's gradient is dropped": ("complete", "out=delta_s)", "out=delta_s)[...] = 0"),
    "the gate's slope is dropped": ("complete", "multiply(both, c", "multiply(d, c"),
    "h is left out of the gate's gradient": ("complete", "c - record.units[l]", "c"),
    "the candidate's slope is dropped": ("complete", "T * self.activation.slope(c), d", "T, d"),
    "x 1.001": ("complete", "both = carried * T", "both = 1.001 * carried * T"),
    "tangent: the first layer's bend is dropped": ("tangent", "dot.deltas[0] *=", "dot.deltas[0] *= 0 *"),
    "tangent: the first layer's slope x 1.001": ("tangent", "a_dot *= dot", "a_dot *= 1.001 * dot"),
    "tangent: the candidate's bend is dropped": ("_highway_tangent", "self.activation.bend(c) * a_dot", "0"),
    "tangent: the gate in delta_a_dot x 1.001": ("_highway_tangent", "+ carry * s_dot", "+ 1.001 * carry * s_dot"),
    "tangent: the gate's bend x 1.001": ("_highway_tangent", "(carry - T) * s_dot", "1.001 * (carry - T) * s_dot"),
    "tangent: half of the gate's bend is dropped": ("_highway_tangent", "(carry - T)", "carry"),
    "tangent: the candidate in delta_s_dot is dropped": ("_highway_tangent", "(slope * a_dot - h_dot)", "-h_dot"),
    "tangent: h_dot in delta_s_dot is dropped": ("_highway_tangent", "(slope * a_dot - h_dot)", "(slope * a_dot)"),
    "tangent: the carried part of h'_dot is dropped": ("_highway_tangent", "carry * h_dot + ", ""),
    "tangent: the candidate's part of h'_dot x 1.001": (
        "_highway_tangent",
        "= carry * h_dot + ",
        "= carry * h_dot + 1.001 * ",
    ),
    "tangent: the gate's part of h'_dot is dropped": ("_highway_tangent", " + _halves(ways)[1] * s_dot", ""),
    "tangent: the way through the gate x 1.001": ("_highway_tangent", "T * carry, c", "1.001 * T * carry, c"),
    "tangent: the gate's turn of d is dropped": ("_highway_tangent", "carry, both * s_dot", "carry, 0"),
    "tangent back: the ways are dropped": ("tangent_backward", "delta_dot += way", "delta_dot += 0 * way"),
    "tangent back: the carried part x 1.001": ("tangent_backward", "carry * d_dot", "1.001 * carry * d_dot"),
    "tangent back: the carried part is dropped": ("tangent_backward", "d_dot += carried", "pass"),
    "tangent back: the first layer's slope is dropped": ("tangent_backward", "d_dot *= dot.kept[0]", "pass"),
    "tangent back: the first layer's d_dot is dropped": ("tangent_backward", "dot.deltas[0] += d_dot", "pass"),
}


@pytest.mark.parametrize("name", LINES)
def test_the_checks_catch_a_changed_line(name, monkeypatch):
    method, old, new = LINES[name]
    source = textwrap.dedent(inspect.getsource(getattr(HighwayMLP, method)))
    assert source.count(old) == 1
    namespace = dict(vars(highway))
    exec(source.replace(old, new), namespace)
    net, rng = HighwayMLP([3, 4, 4, 4, 2], "tanh"), np.random.default_rng(0)
    params, x, x_dot = rng.normal(size=net.size), *rng.normal(size=(2, 3, 3))
    d_params = autograd.grad(lambda params: anp.sum(-anp.cos(net.reference(params, x))))(params)
    moved = moved_backward(net, params, x, x_dot)
    monkeypatch.setattr(HighwayMLP, method, namespace[method])
    with pytest.raises(AssertionError, match="is off by"):
        assert_close(backward(net, params, x)[1], d_params, rtol=1e-9)
        assert_close(backward_tangent(net, params, x, x_dot)[1], moved[1], rtol=1e-9)
