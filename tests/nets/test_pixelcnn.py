"""Gated PixelCNNs: against autograd and the complex step; causality to the bit; both forms where they must agree."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import InputError
from savi.nets import gated
from savi.nets.gated_head import GatedHead
from savi.nets.pixelcnn import PixelCNN
from savi.testing import arrays, assert_close, check_gradient, seeds, sizes

# --- gates --------------------------------------------------------------------------------------------------------------


@given(arrays((3, 4)), arrays((3, 4)), arrays((3, 2)))
def test_gates_slopes_and_bends_are_the_complex_steps(a, a_dot, d):
    """With values up to +-3, and the product of the gate with d as the function."""
    g, ts = gated.gate(a)
    assert_close(g, np.tanh(a[:, :2]) / (1 + np.exp(-a[:, 2:])), 1e-13, 1e-14)
    p = gated.slopes(ts)
    back, a_dot_halves = gated.gate_back(p, d, np.empty_like(a)), gated.halves(a_dot)
    check_gradient(lambda a: d * gated.gate(a)[0], a, back, "complex", atol=1e-13)
    moved = a + 1e-20j * a_dot
    assert_close(gated.moved(p, a_dot_halves), gated.gate(moved)[0].imag / 1e-20, 1e-12, 1e-13, "g_dot")
    p_dot = np.imag(gated.slopes(gated.gate(moved)[1])) / 1e-20
    assert_close(np.array(gated.bends(ts, a_dot_halves)), p_dot, 1e-12, 1e-13, "p_dot")


def test_a_gate_far_out_is_finite():
    a = np.array([[-1e4, 1e4, -1e4, 1e4]])
    g, ts = gated.gate(a)
    assert np.array_equal(g, [[-0.0, 1.0]])
    assert np.isfinite(gated.bends(ts, gated.halves(np.ones((1, 4))))).all() and not np.any(gated.slopes(ts))


@given(sizes, sizes, sizes, sizes, sizes, seeds, st.booleans())
@settings(max_examples=40)
def test_a_head_and_its_tangents_are_autograds_and_the_complex_steps(
    N, pixels, inputs, units, outputs, seed, everywhere
):
    """a_dot at each pixel, or the same one at all of them; sin stands for what is behind the output."""
    head, rng, r = GatedHead(inputs, units, outputs), np.random.default_rng(seed), 1e-20
    params, x, weights = rng.normal(size=head.size), rng.normal(size=(N, pixels, inputs)), rng.normal(size=N)
    over = head.over(params)
    a, a_dot = (over.W.T @ x.transpose(0, 2, 1)) + over.b[:, None], rng.normal(size=(N, 2 * units, pixels))
    a_dot = a_dot[..., :1] if everywhere else a_dot

    def passed(a):
        record = over.forward(a.copy())
        output = record.output.copy()
        record.output[...] = np.sin(output)
        return record, output, over.backward(record), over.delta(record)

    record, output, d_a, delta = passed(a)
    assert_close(output, head.reference(params, x).transpose(0, 2, 1), 1e-12, 1e-13)
    assert_close(over.at(a[:, :, 0]), output[:, :, 0], 1e-13, 1e-14)
    assert_close(d_a, delta.sum(axis=2), 1e-11, 1e-12, "d a, summed")
    total = over.sums(float)
    total.add(record.u, record.output, weights, 1)
    delta_w = weights[:, None, None] * delta
    found = head.gradient(np.einsum("npi,nap->ia", x, delta_w), delta_w.sum(axis=(0, 2)), total.V, total.c)
    judge = autograd.grad(lambda params: anp.sum(-weights[:, None, None] * anp.cos(head.reference(params, x))))(params)
    assert_close(found, judge, 1e-10, 1e-12, "d params")
    dot = over.tangent(record, a_dot)
    moved, moved_output, _, moved_delta = passed(a + 1j * r * a_dot)
    assert_close(dot.u, moved.u.imag / r, 1e-11, 1e-13, "R{u}")
    assert_close(dot.output, moved_output.imag / r, 1e-11, 1e-13, "R{out}")
    dot.output *= np.cos(output)
    assert_close(over.tangent_backward(record, dot), moved_delta.imag / r, 1e-10, 1e-12, "R{delta}")


# --- the net --------------------------------------------------------------------------------------------------------------


class Case:
    """A net of some size, images, maps and their tangents, and a gradient of the features."""

    def __init__(self, net, N, S, seed, dtype=float):
        rng, (H, W) = np.random.default_rng(seed), net.shape
        self.net, self.x = net, (rng.random((N, H * W)) < 0.5).astype(dtype)
        self.params = rng.uniform(-1, 1, net.size).astype(dtype)
        self.maps, self.maps_dot = rng.normal(size=(2, S * N, H, W, net.maps)).astype(dtype)
        self.d, self.d_dot = rng.normal(size=(2, S * N, H * W, net.channels)).astype(dtype)
        self.weights = rng.uniform(-2, 2, S * N).astype(dtype)
        self.S = S

    def __repr__(self):
        return f"Case({self.net!r}, x {self.x.shape}, maps {self.maps.shape})"

    def reference(self, params, maps):
        features = self.net.reference(params, np.tile(self.x, (self.S, 1)), maps)
        return anp.reshape(features, self.d.shape)

    def passed(self, params, maps, d):
        over = self.net.over(params, self.x)
        record = over.forward(maps)
        return over, record, over.backward(record, d)


nets = st.builds(
    lambda H, W, C, layers, kernel, first, maps, stacks: PixelCNN((H, W), C, layers, kernel, first, maps, stacks),
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 3, 5]), st.integers(0, 2), st.sampled_from([1, 2]),
)  # fmt: skip
cases = st.builds(Case, nets, st.integers(1, 2), st.integers(1, 2), seeds)


@given(cases)
@settings(max_examples=60)
def test_features_and_gradients_are_autograds(case):
    over, record, d_maps = case.passed(case.params, case.maps, case.d)
    assert_close(record.features, case.reference(case.params, case.maps), 1e-11, 1e-12, "features")
    f = lambda params, maps: anp.sum(case.d * case.reference(params, maps))  # noqa: E731
    judge = autograd.grad(f, (0, 1))(case.params, case.maps)
    assert_close(over.param_sum().add(record).value(), judge[0], 1e-10, 1e-12, "d params")
    assert_close(d_maps, judge[1], 1e-10, 1e-12, "d maps")


@given(cases)
@settings(max_examples=30)
def test_sums_weigh_each_image(case):
    over, record, _ = case.passed(case.params, case.maps, case.d)
    weighted = case.weights[:, None, None] * case.d
    judge = case.passed(case.params, case.maps, weighted)
    expected = judge[0].param_sum().add(judge[1]).value()
    assert_close(over.param_sum().add(record, case.weights).value(), expected, 1e-11, 1e-12)
    twice = over.param_sum().add(record, 0.5).add(record, -3.0).value()
    assert_close(twice, -2.5 * over.param_sum().add(record).value(), 1e-11, 1e-12)


@given(cases)
@settings(max_examples=60)
def test_the_tangents_are_the_complex_steps(case):
    r = 1e-20
    over, record, _ = case.passed(case.params, case.maps, case.d)
    dot = over.tangent(record, case.maps_dot)
    back = over.tangent_backward(record, dot, case.d_dot)
    step, moved, d_moved = case.passed(case.params, case.maps + 1j * r * case.maps_dot, case.d + 1j * r * case.d_dot)
    assert_close(dot.features, moved.features.imag / r, 1e-11, 1e-13, "features_dot")
    assert_close(back, d_moved.imag / r, 1e-10, 1e-12, "R{d maps}")
    for weight in (1.0, case.weights):
        expected = step.param_sum(complex).add(moved, weight).value().imag / r
        assert_close(over.param_sum().add_tangent(record, dot, weight).value(), expected, 1e-10, 1e-12, "R{d params}")
        stepped = over.param_sum().add_tangent(record, over.imaginary(record, moved, r), weight).value()
        assert_close(stepped, expected, 1e-10, 1e-12, "by imaginary parts")


@given(cases)
@settings(max_examples=15)
def test_the_parameters_gradient_is_the_complex_steps(case):
    over, record, _ = case.passed(case.params, case.maps, case.d)
    f = lambda params: np.sum(case.d * case.net.over(params, case.x).forward(case.maps).features)  # noqa: E731
    if case.net.size < 400:
        found = over.param_sum().add(record).value()
        check_gradient(f, case.params, found, "complex", rtol=1e-10, atol=1e-12)


@given(cases, st.data())
def test_features_do_not_see_their_pixel_and_what_comes_after_it_to_the_bit(case, data):
    i = data.draw(st.integers(0, case.net.pixels - 1))
    before = case.net.over(case.params, case.x).forward(case.maps).features[:, i]
    other = case.x.copy()
    other[:, i:] = 1 - other[:, i:]
    later = case.net.over(case.params, other).forward(case.maps).features[:, i]
    assert np.array_equal(before, later)


@pytest.mark.parametrize("stacks, blind", [(2, False), (1, True)])
def test_two_stacks_see_every_pixel_before_a_pixel_and_one_is_blind_to_the_right(stacks, blind):
    net = PixelCNN((7, 7), 2, 6, 3, 3, stacks=stacks)
    params, x = np.random.default_rng(0).uniform(-1, 1, net.size), np.zeros((1, 49))
    place = 3 * 7 + 2  # line 3, column 2
    base, sees = net.over(params, x).forward().features[0, place], np.zeros(49, bool)
    for i in range(place):
        x[0, i] = 1
        sees[i] = np.any(net.over(params, x).forward().features[0, place] != base)
        x[0, i] = 0
    assert sees[: 3 * 7].all() != blind and sees[place - 1]
    if blind:
        assert not sees[2 * 7 + 4] and not sees[2 * 7 + 5]  # right of the corner above: behind the kernels' edge


def test_one_layer_with_two_stacks_is_the_one_stack_form_where_u_is_the_identity():
    """A single layer's causal kernel is the kernel above and the kernel to the left."""
    two, one = (PixelCNN((5, 4), 3, 1, first=5, maps=1, stacks=stacks) for stacks in (2, 1))
    case = Case(two, 2, 1, 0)
    (views,) = two.views(case.params)
    views["U"][...] = np.eye(6)
    single = np.zeros(one.size)
    (same,) = one.views(single)
    same["W"][...] = np.concatenate([views["V"][:-1], views["W"][:-1], views["W"][-1:] + views["V"][-1:]])
    same["out"][...] = views["out"]
    assert_close(one.over(single, case.x).forward(case.maps).features,
                 two.over(case.params, case.x).forward(case.maps).features, 1e-13)  # fmt: skip


def test_on_images_of_one_line_both_forms_agree_where_u_is_zero():
    two, one = (PixelCNN((1, 6), 2, 3, 3, 5, stacks=stacks) for stacks in (2, 1))
    case, single = Case(two, 3, 1, 0), np.zeros(one.size)
    for views, same, layer in zip(two.views(case.params), one.views(single), two.layers):
        views["U"][...], same["out"][...] = 0, views["out"]
        taps = views["W"].shape[0]
        same["W"][-taps:] = views["W"]  # what is before are the taps of the lines above, which see zeros
        assert len(same["W"]) - taps == layer.down.shape[0] - 1 - (0 if layer.first else 2 * 3)
    assert_close(one.over(single, case.x).forward().features, two.over(case.params, case.x).forward().features, 1e-13)


def test_single_precision_stays_single_and_near():
    found, net = [], PixelCNN((9, 8), 4, 3, 3, 5, 2)
    for dtype in (np.float32, float):
        case = Case(net, 2, 2, 0, dtype)
        case.params *= dtype(0.5)
        over, record, d_maps = case.passed(case.params, case.maps, case.d)
        dot = over.tangent(record, case.maps_dot)
        back = over.tangent_backward(record, dot, case.d_dot)
        total = over.param_sum().add(record).value(), over.param_sum().add_tangent(record, dot, case.weights).value()
        found.append((record.features, d_maps, back, *total))
        assert {a.dtype for a in found[-1]} == {np.dtype(dtype)}
    for single, double in zip(*found):
        assert_close(single, double, 1e-4)


def test_init_draws_weights_of_variance_one_over_inputs_and_no_biases():
    net = PixelCNN((28, 28), 32, 2, 5, 7, 4)
    for views in net.views(net.init(np.random.default_rng(0))):
        for name, view in views.items():
            weights = view if name == "U" else view[:-1]
            assert abs(weights.var() * len(weights) - 1) < 0.1, name
            assert name == "U" or not view[-1].any()


@pytest.mark.parametrize(
    "sizes, words",
    [
        ({"kernel": 4}, "kernel is 4; expected an odd number"), ({"first": 2}, "kernel is 2"), ({"stacks": 3}, "stacks is 3"),
        ({"layers": 0}, "layers is 0"), ({"shape": (0, 4)}, "height is 0"), ({"channels": 0}, "channels is 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(sizes, words):
    with pytest.raises(InputError, match=words):
        PixelCNN(**{"shape": (4, 4), **sizes})
