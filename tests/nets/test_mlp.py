"""MLPs against plain loops, then against autograd, then against the complex step; sums of parameter gradients."""

import itertools
import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi.engine import blas as engine_blas
from savi.engine.files import InputError
from savi.engine.records import Block, ParamSum, Records
from savi.nets.activations import ACTIVATIONS, Activation
from savi.nets.mlp import MLP
from savi.testing import arrays, assert_close, check_gradient, mlps, seeds, sizes

TEXTBOOK = {
    "tanh": math.tanh,
    "elu": lambda a: a if a > 0 else math.expm1(a),
    "softplus": lambda a: math.log1p(math.exp(a)),
    "identity": lambda a: a,
}
EVERY_ACTIVATION = pytest.mark.parametrize("activation", ACTIVATIONS)


@st.composite
def passes(draw):
    """(net, params (size,), x (rows, in))."""
    net = draw(mlps())
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


# --- what a net is ------------------------------------------------------------------------------------------------------


@EVERY_ACTIVATION
def test_parameters_lie_layer_by_layer_W_in_C_order_then_b(activation):
    params, x = np.random.default_rng(0).normal(size=17), [0.3, -0.8]
    flat = iter(params)
    W_1 = [[next(flat) for _ in range(3)] for _ in range(2)]
    b_1 = [next(flat) for _ in range(3)]
    W_2 = [[next(flat) for _ in range(2)] for _ in range(3)]
    b_2 = [next(flat) for _ in range(2)]
    hidden = [TEXTBOOK[activation](sum(x[i] * W_1[i][j] for i in range(2)) + b_1[j]) for j in range(3)]
    expected = [sum(hidden[i] * W_2[i][j] for i in range(3)) + b_2[j] for j in range(2)]
    net = MLP([2, 3, 2], activation)
    assert net.size == 17
    assert_close(net(params, np.array(x)), expected, rtol=1e-14)


def test_layers_are_views_of_the_flat_vector():
    net = MLP([2, 3, 1])
    params = np.zeros(net.size)
    for layer, value in zip(net.layers(params), (1, 2)):
        layer[...] = value
    np.testing.assert_array_equal(params, [1] * 9 + [2] * 4)


def test_init_is_the_stated_draw_to_the_last_bit():
    rng = np.random.default_rng(3)
    first, second = (rng.uniform(-1, 1, (n, m)) * np.sqrt(6 / (n + m)) for n, m in ((4, 3), (3, 2)))
    expected = np.concatenate([first.ravel(), np.zeros(3), second.ravel(), np.zeros(2)])
    np.testing.assert_array_equal(MLP([4, 3, 2]).init(np.random.default_rng(3)), expected)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_net_is_the_same_however_products_read_their_factors(in_place, monkeypatch):
    monkeypatch.setattr(engine_blas, "reads_in_place", lambda: in_place)
    rng, net = np.random.default_rng(0), MLP([3, 5, 4, 2])
    params, x = rng.normal(size=net.size), rng.normal(size=(7, 3))
    layers = net.layers(params)
    transposed, records = net.transposed(layers), Records(net.shapes, held=3)
    for _ in range(3):  # views, then copies
        record = records.next(7, float)
        record.x[...] = x
        d_x, d_params = backward(net, params, x)
        record.output[...] = np.sin(net.forward(layers, record))
        assert_close(net.backward(transposed(), record), d_x, 1e-13, name="d x")
        assert_close(ParamSum(net, float).add(record).value(), d_params, 1e-13, name="d params")


def test_init_draws_glorot_weights_and_zero_biases():
    net = MLP([300, 200, 100])
    params = net.init(np.random.default_rng(0))
    for layer, (n, m) in zip(net.layers(params), [(300, 200), (200, 100)]):
        W, variance = layer[:-1], 2 / (n + m)
        assert np.all(layer[-1] == 0)
        assert abs(W.mean()) <= 6 * math.sqrt(variance / W.size)
        assert abs(W.var() - variance) <= 6 * variance * math.sqrt(0.8 / W.size)  # the kurtosis of a uniform is 9/5
    np.testing.assert_array_equal(params, net.init(np.random.default_rng(0)))


def test_a_batch_may_have_any_leading_dimensions():
    net, rng = MLP([2, 3, 4]), np.random.default_rng(0)
    params, x = net.init(rng), rng.normal(size=(5, 3, 2))
    assert_close(net(params, x)[4, 1], net(params, x[4, 1]), rtol=1e-14)
    assert net(params, x).shape == (5, 3, 4)


@pytest.mark.parametrize(
    "sizes, activation, message",
    [
        ([3], "tanh", "sizes is [3]; expected an input size and at least an output size"),
        ([], "tanh", "sizes is []"),
        ([3, 0, 2], "tanh", "size 1 of [3, 0, 2] is 0; expected a whole number >= 1"),
        ([3, -1], "tanh", "size 1 of [3, -1] is -1"),
        ([3, 2], "relu", "activation is 'relu'; expected one of tanh, elu, softplus, identity"),
    ],
)
def test_what_makes_no_net_is_refused(sizes, activation, message):
    with pytest.raises(InputError) as caught:
        MLP(sizes, activation)
    assert message in str(caught.value)


# --- activations --------------------------------------------------------------------------------------------------------

HEIGHTS = np.array([-300.0, -30.0, -2.0, -0.3, -1e-6, 1e-6, 0.3, 2.0, 30.0, 300.0])


@EVERY_ACTIVATION
def test_slope_and_bend_are_the_derivatives_of_the_activation(activation):
    activation = ACTIVATIONS[activation]
    h = HEIGHTS + 1e-20j
    activation.apply(h)
    slope = activation.slope(h)
    assert_close(activation.slope(h.real), h.imag / 1e-20, rtol=1e-12, name="phi'")
    phi_2 = activation.bend(h.real) * activation.slope(h.real)
    assert_close(phi_2, slope.imag / 1e-20, rtol=1e-12, name="phi''")


@EVERY_ACTIVATION
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_activation_is_the_textbooks_at_every_height(activation, dtype):
    h = HEIGHTS.astype(dtype)
    expected = [TEXTBOOK[activation](float(a)) for a in h]
    ACTIVATIONS[activation].apply(h)
    np.testing.assert_allclose(h, expected, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)  # entry by entry


@EVERY_ACTIVATION
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_of_ten_thousand_are_finite(activation, dtype):
    activation, h = ACTIVATIONS[activation], np.array([-1e4, 1e4], dtype)
    activation.apply(h)
    assert np.isfinite([h, activation.slope(h), activation.bend(h)]).all()


def test_an_activation_of_ones_own_is_differentiated_by_its_own_slope_and_bend():
    def square(a):
        np.multiply(a, a, out=a)

    activation = Activation("square", square, lambda h: 2 * np.sqrt(h), lambda h: 1 / np.sqrt(h))
    net = MLP([2, 3, 2], activation)
    params = np.abs(net.init(np.random.default_rng(0))) + 0.1
    x, x_dot = np.array([[0.3, 0.8]]), np.array([[1.0, -2.0]])
    check_gradient(lambda params: -np.cos(net(params, x)), params, lambda p: backward(net, p, x)[1], "complex")
    moved = backward(net, params.astype(complex), x + 1e-20j * x_dot)
    for actual, expected in zip(backward_tangent(net, params, x, x_dot), moved):
        assert_close(actual, expected.imag / 1e-20, rtol=1e-12)


# --- forward, backward, tangent -----------------------------------------------------------------------------------------


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


@given(case=passes(), data=st.data())
@settings(max_examples=60)
def test_the_tangents_of_both_gradients_are_autograds(case, data):
    net, params, x = case
    x_dot = data.draw(arrays(x.shape))

    def along(params, x):
        d_x = autograd.grad(lambda x: anp.sum(-anp.cos(net.reference(params, x))))(x)
        return anp.sum(d_x * x_dot)

    h_params, h_x = autograd.grad(along, (0, 1))(params, x)
    x_back, params_dot = backward_tangent(net, params, x, x_dot)
    assert_close(x_back, h_x, rtol=1e-9, atol=1e-11, name="R{d input}")
    assert_close(params_dot, h_params, rtol=1e-9, atol=1e-11, name="R{d params}")


@given(case=passes())
@settings(max_examples=30)
def test_gradients_agree_by_complex_step(case):
    net, params, x = case
    d_x, d_params = backward(net, params, x)
    check_gradient(lambda x: -np.cos(net(params, x)), x, d_x, "complex", atol=1e-12)
    check_gradient(lambda params: -np.cos(net(params, x)), params, d_params, "complex", atol=1e-12)


@given(case=passes(), data=st.data())
@settings(max_examples=60)
def test_tangents_agree_by_complex_step(case, data):
    net, params, x = case
    x_dot = data.draw(arrays(x.shape))
    moved = backward(net, params.astype(complex), x + 1e-20j * x_dot)
    for actual, expected in zip(backward_tangent(net, params, x, x_dot), moved):
        assert_close(actual, expected.imag / 1e-20, rtol=1e-12, atol=1e-11)


@EVERY_ACTIVATION
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_every_verb_keeps_the_precision_it_is_given(activation, dtype):
    net = MLP([2, 3, 2], activation)
    params = net.init(np.random.default_rng(0), dtype)
    x = np.ones((4, 2), dtype)
    results = [params, net(params, x), *backward(net, params, x), *backward_tangent(net, params, x, x)]
    assert [r.dtype for r in results] == [np.dtype(dtype)] * len(results)


@EVERY_ACTIVATION
def test_single_precision_agrees_with_double(activation):
    net, rng = MLP([5, 20, 20, 3], activation), np.random.default_rng(0)
    params, x, x_dot = net.init(rng), rng.normal(size=(6, 5)), rng.normal(size=(6, 5))
    single = [a.astype(np.float32) for a in (params, x, x_dot)]
    for low, high in zip(
        backward(net, *single[:2]) + backward_tangent(net, *single),
        backward(net, params, x) + backward_tangent(net, params, x, x_dot),
    ):
        assert_close(low, high, rtol=1e-5)


def test_a_gradient_may_be_taken_again_from_the_same_record():
    net, rng = MLP([2, 3, 2]), np.random.default_rng(0)
    params, x, d_output = net.init(rng), rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    record = net.evaluate(params, x)
    first = net.gradient(params, record, d_output)
    net.gradient(params, record, 5 * d_output)
    np.testing.assert_array_equal(net.gradient(params, record, d_output), first)


# --- the stacked parameter gradient -------------------------------------------------------------------------------------


def written_record(block, rng):
    """The block's next record, filled with random inputs and deltas."""
    return fill(block.next_record(), rng)


def fill(record, rng):
    for h in record.inputs:
        h[:, :-1] = rng.normal(size=h[:, :-1].shape)
    for delta in record.deltas:
        delta[...] = rng.normal(size=delta.shape)
    return record


def outer_sum(net, hs, deltas, weight, last):
    """sum over rows of w [h, last]^T delta, layer by layer: the definition, row by row."""
    parts = []
    for h, delta, (n, _) in zip(hs, deltas, net.shapes):
        w = np.broadcast_to(weight, len(h))
        W = sum(w[i] * np.outer(h[i, : n - 1], delta[i]) for i in range(len(h)))
        b = sum(last * w[i] * delta[i] for i in range(len(h)))
        parts += [W.ravel(), b]
    return np.concatenate(parts)


WEIGHTS = {
    "one": lambda rng, rows: 1.0,
    "integer": lambda rng, rows: -2,
    "number": lambda rng, rows: float(rng.normal()),
    "array number": lambda rng, rows: np.array(rng.normal()),
    "per row": lambda rng, rows: rng.normal(size=rows),
}


@given(
    sizes=st.lists(sizes, min_size=2, max_size=4),
    rows=sizes,
    slots=sizes,
    kinds=st.lists(st.tuples(st.sampled_from(sorted(WEIGHTS)), st.integers(0, 2)), min_size=1, max_size=7),
    shuffled=st.booleans(),
    seed=seeds,
)
def test_a_sum_over_records_and_tangents_is_the_sum_of_outer_products(sizes, rows, slots, kinds, shuffled, seed):
    net, rng = MLP(sizes), np.random.default_rng(seed)
    block, terms, expected = Block(net.shapes, slots, rows, np.float64), [], np.zeros(net.size)
    for kind, tangents in kinds:
        if block.used == slots:
            block = Block(net.shapes, slots, rows, np.float64)
        record, weight = written_record(block, rng), WEIGHTS[kind](rng, rows)
        terms.append((record, None, weight))
        expected += outer_sum(net, record.inputs, record.deltas, weight, last=1)
        for _ in range(tangents):
            dot, weight = fill(record.block.tangent_record(record.slot), rng), WEIGHTS[kind](rng, rows)
            terms.append((record, dot, weight))
            expected += outer_sum(net, dot.inputs, record.deltas, weight, last=0)
            expected += outer_sum(net, record.inputs, dot.deltas, weight, last=1)
    if shuffled:
        rng.shuffle(terms)
    total = ParamSum(net, np.float64)
    for record, dot, weight in terms:
        total.add(record, weight) if dot is None else total.add_tangent(record, dot, weight)
    assert_close(total.value(), expected, rtol=1e-12, atol=1e-12)


def test_a_sum_does_not_depend_on_the_order_of_adding():
    net, rng = MLP([2, 3]), np.random.default_rng(0)
    blocks = [Block(net.shapes, 2, 4, np.float64) for _ in range(2)]
    terms = [(written_record(block, rng), w) for block, w in zip(blocks * 2, [1.0, rng.normal(size=4), -0.5, 2.0])]
    totals = []
    for order in itertools.permutations(terms):
        total = ParamSum(net, np.float64)
        for record, weight in order:
            total.add(record, weight)
        totals.append(total.value())
    for total in totals[1:]:
        assert_close(total, totals[0], rtol=1e-13)


def test_a_record_added_twice_counts_twice_and_a_value_read_in_between_changes_nothing():
    net, rng = MLP([2, 3]), np.random.default_rng(0)
    block = Block(net.shapes, 3, 4, np.float64)
    first, second = written_record(block, rng), written_record(block, rng)
    once = ParamSum(net, np.float64).add(first).add(second).value()
    total = ParamSum(net, np.float64).add(first).add(second)
    total.value()
    total.add(second).add(first)
    assert_close(total.value(), 2 * once, rtol=1e-13)
    assert_close(ParamSum(net, np.float64).add(first, 2.0).add(first, -2.0).value(), np.zeros(net.size), atol=1e-14)


def test_an_empty_sum_is_zero():
    np.testing.assert_array_equal(ParamSum(MLP([2, 3]), np.float32).value(), np.zeros(9, np.float32))


def test_the_sum_over_a_batch_is_the_sum_of_its_rows_gradients():
    net, rng = MLP([3, 4, 2]), np.random.default_rng(0)
    params, x, d_output, w = net.init(rng), rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), rng.normal(size=5)
    record = net.evaluate(params, x)
    net.gradient(params, record, d_output)
    single = [net.gradient(params, net.evaluate(params, x[i : i + 1]), d_output[i : i + 1]) for i in range(5)]
    assert_close(ParamSum(net, np.float64).add(record, w).value(), np.tensordot(w, single, 1), rtol=1e-12)
