"""Convolutions against a plain loop and SciPy, then autograd, the complex step and the adjoint identity; causality to the bit."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import InputError
from savi.nets.convolution import Convolution, Grid, above, causal, left, same
from savi.nets.strided import Strided
from savi.testing import assert_close, check_gradient, seeds

TAPS = {
    "same": same, "causal A": lambda k: causal(k, "A"), "causal B": lambda k: causal(k, "B"),
    "above A": lambda k: above(k, "A"), "above B": lambda k: above(k, "B"), "left A": lambda k: left(k, "A"),
    "left B": lambda k: left(k, "B"),
}  # fmt: skip


class Case:
    """A convolution of some size with images to apply it to."""

    def __init__(self, kind, kernel, N, H, W, C, outputs, slack, seed, dtype=float):
        rng = np.random.default_rng(seed)
        self.grid = Grid(H, W, kernel // 2 + slack)
        self.net = Convolution(self.grid, TAPS[kind](kernel), C, outputs)
        self.x, self.x_dot = rng.normal(size=(2, N, H, W, C)).astype(dtype)
        self.layer = rng.normal(size=self.net.shape).astype(dtype)
        self.delta = rng.normal(size=(N, H, W, outputs)).astype(dtype)
        self.kind, self.kernel = kind, kernel

    def __repr__(self):
        return (
            f"Case({self.kind}, k={self.kernel}, x {self.x.shape}, {self.net.outputs} outputs, reach {self.grid.reach})"
        )

    def forward(self, layer, x):
        out = self.grid.empty(len(x), self.net.outputs, np.result_type(layer, x))
        return self.grid.pixels(self.net.forward(layer, self.grid.put(x), out))

    def backward(self, layer, x, delta):
        """(d x, d layer)."""
        dtype = np.result_type(layer, x, delta)
        x, delta = self.grid.put(x), self.grid.put(delta)
        d_x = self.net.backward(self.net.turned(layer), delta, self.grid.empty(len(self.x), self.net.inputs, dtype))
        return self.grid.pixels(d_x), self.net.gradient(x, delta, np.zeros(self.net.shape, dtype))


cases = st.builds(
    Case, st.sampled_from(list(TAPS)), st.sampled_from([1, 3, 5]), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5),
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), seeds,
)  # fmt: skip


def kernel_of(case):
    """(k, k, C, O): the taps of a convolution in their square, zero where there is none."""
    p, C = case.kernel // 2, case.net.inputs
    kernel, start = np.zeros((case.kernel, case.kernel, C, case.net.outputs)), 0
    for dy, dx, m in case.net.taps:
        for i in range(m):
            kernel[p + dy, p + dx + i] = case.layer[start : start + C]
            start += C
    return kernel


def looped(case):
    """The textbook's loops."""
    N, H, W, _ = case.x.shape
    kernel, p = kernel_of(case), case.kernel // 2
    a = np.zeros((N, H, W, case.net.outputs)) + case.layer[-1]
    for n, i, j in np.ndindex(N, H, W):
        for u, v in np.ndindex(case.kernel, case.kernel):
            if 0 <= i + u - p < H and 0 <= j + v - p < W:
                a[n, i, j] += case.x[n, i + u - p, j + v - p] @ kernel[u, v]
    return a


@given(cases)
def test_a_convolution_is_the_textbooks_loop(case):
    assert_close(case.forward(case.layer, case.x), looped(case), 1e-12, 1e-13)


@given(cases)
@settings(max_examples=30)
def test_some_rows_alone_are_those_of_the_whole(case):
    N, H, W, _ = case.x.shape
    x, grid = case.grid.put(case.x), case.grid
    n, i, j = (index.ravel() for index in np.indices((N, H, W)))
    rows = grid.margin + (n * grid.lines + i) * grid.pitch + j
    assert_close(case.net.at(case.layer, x, rows), looped(case).reshape(-1, case.net.outputs), 1e-12, 1e-13)


@given(cases)
@settings(max_examples=30)
def test_a_convolution_is_scipys(case):
    signal = pytest.importorskip("scipy.signal", reason="SciPy is not here")
    kernel = kernel_of(case)
    a = np.zeros(case.delta.shape) + case.layer[-1]
    for n, c, o in np.ndindex(len(case.x), case.net.inputs, case.net.outputs):
        whole = signal.correlate(case.x[n, :, :, c], kernel[:, :, c, o], "full", "direct")
        p, (H, W) = case.kernel // 2, case.x.shape[1:3]
        a[n, :, :, o] += whole[p : p + H, p : p + W]
    assert_close(case.forward(case.layer, case.x), a, 1e-12, 1e-13)


@given(cases)
def test_the_way_back_is_the_adjoint(case):
    """<A x, delta> = <x, A* delta>, and the same of W, which enters linearly too."""
    plain = case.layer.copy()
    plain[-1] = 0
    d_x, d_layer = case.backward(plain, case.x, case.delta)
    forward = np.sum(case.forward(plain, case.x) * case.delta)
    scale = np.linalg.norm(case.x) * np.linalg.norm(plain) * np.linalg.norm(case.delta)
    assert abs(forward - np.sum(case.x * d_x)) <= 1e-13 * scale
    assert abs(forward - np.sum(plain * d_layer)) <= 1e-13 * scale


@given(cases)
def test_gradients_are_autograds(case):
    def f(layer, x):
        return anp.sum(case.delta * case.net.reference(layer, x))

    assert_close(case.forward(case.layer, case.x), case.net.reference(case.layer, case.x), 1e-12, 1e-13)
    d_layer, d_x = autograd.grad(f, (0, 1))(case.layer, case.x)
    found = case.backward(case.layer, case.x, case.delta)
    assert_close(found[0], d_x, 1e-12, 1e-13, "d x")
    assert_close(found[1], d_layer, 1e-12, 1e-13, "d layer")


@given(cases)
@settings(max_examples=20)
def test_gradients_are_the_complex_steps(case):
    d_x, d_layer = case.backward(case.layer, case.x, case.delta)
    check_gradient(lambda x: np.sum(case.delta * case.forward(case.layer, x)), case.x, d_x, "complex", atol=1e-12)
    check_gradient(lambda w: np.sum(case.delta * case.forward(w, case.x)), case.layer, d_layer, "complex", atol=1e-12)


@given(cases)
def test_the_tangent_of_all_ways_is_the_complex_steps(case):
    """R{a} is `linear` of x_dot; R{d layer} is x_dot^T delta + x^T delta_dot, with delta_dot whatever it is."""
    grid, net, delta_dot = case.grid, case.net, np.sin(case.delta)
    a_dot = net.linear(case.layer, grid.put(case.x_dot), grid.empty(len(case.x), net.outputs, float))
    moved = case.x + 1e-20j * case.x_dot
    assert_close(grid.pixels(a_dot), case.forward(case.layer, moved).imag / 1e-20, 1e-12, 1e-13, "R{a}")
    d_x, d_layer = case.backward(case.layer, moved, case.delta + 1e-20j * delta_dot)
    total = net.gradient(grid.put(case.x_dot), grid.put(case.delta), np.zeros(net.shape), last=0)
    net.gradient(grid.put(case.x), grid.put(delta_dot), total)
    assert_close(total, d_layer.imag / 1e-20, 1e-12, 1e-13, "R{d layer}")
    assert_close(case.backward(case.layer, case.x, delta_dot)[0], d_x.imag / 1e-20, 1e-12, 1e-13, "R{d x}")


@given(cases)
def test_a_gradient_is_added_to_what_is_there(case):
    x, delta = case.grid.put(case.x), case.grid.put(case.delta)
    once = case.net.gradient(x, delta, np.zeros(case.net.shape))
    assert_close(case.net.gradient(x, delta, once.copy()), 2 * once, 1e-13, 1e-13)


@given(cases, st.data())
def test_a_causal_convolution_does_not_see_what_comes_later_to_the_bit(case, data):
    """Pixels >= i (mask A; > i for mask B) of all images are another drawing; the output at pixel i is not."""
    N, H, W, C = case.x.shape
    i, j = data.draw(st.integers(0, H - 1)), data.draw(st.integers(0, W - 1))
    later = i * W + j + (1 if case.kind.endswith("B") else 0)
    if case.kind == "same":
        return
    if case.kind == "above B":
        later = (i + 1) * W  # a vertical stack sees its whole line
    if case.kind == "above A":
        later = i * W
    other = case.x.copy().reshape(N, H * W, C)
    other[:, later:] = 17.3 - other[:, later:]
    before, after = (case.forward(case.layer, x)[:, i, j] for x in (case.x, other.reshape(case.x.shape)))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("kind, sees", [("causal A", 0), ("causal B", 1), ("left A", 0), ("left B", 1), ("above B", 1)])
def test_a_mask_sees_all_that_it_may(kind, sees):
    case = Case(kind, 5, 1, 5, 5, 1, 1, 0, 0)
    d_x = case.backward(np.ones_like(case.layer), case.x, np.eye(25)[12].reshape(1, 5, 5, 1))[0][0, :, :, 0]
    expected = np.zeros((5, 5))
    if kind != "left A" and kind != "left B":
        expected[:2] = 1
    expected[2, : 5 if kind == "above B" else 2 + sees] = 1
    assert np.array_equal(d_x, expected)


def test_taps_that_are_masked_have_no_parameters():
    sizes = {kind: Convolution(Grid(4, 4, 2), taps(5), 1, 1).shape[0] - 1 for kind, taps in TAPS.items()}
    assert sizes == {
        "same": 25, "causal A": 12, "causal B": 13, "above A": 10, "above B": 15, "left A": 2, "left B": 3,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_dtype_in_is_dtype_out(dtype):
    case = Case("causal B", 3, 2, 4, 3, 2, 3, 0, 0, dtype)
    assert case.forward(case.layer, case.x).dtype == dtype
    assert {a.dtype for a in case.backward(case.layer, case.x, case.delta)} == {np.dtype(dtype)}


def test_single_precision_is_double_precision_rounded():
    results = []
    for dtype in (np.float32, float):
        case = Case("same", 3, 3, 9, 8, 4, 5, 0, 1, dtype)
        results.append([case.forward(case.layer, case.x), *case.backward(case.layer, case.x, case.delta)])
    for single, double in zip(*results):
        assert_close(single, double, 1e-5)


@pytest.mark.parametrize("kernel", [0, 2, 4, 2.5, "3"])
def test_a_kernel_needs_a_middle(kernel):
    with pytest.raises(InputError, match="kernel is"):
        same(kernel)


def test_a_mask_has_a_name():
    with pytest.raises(InputError, match="mask is 'C'"):
        causal(3, "C")


def test_taps_reach_no_further_than_the_grid():
    with pytest.raises(InputError, match="the reach of the taps is 2; expected at most the grid's, 1"):
        Convolution(Grid(4, 4, 1), same(5), 1, 1)


# --- strides ----------------------------------------------------------------------------------------------------------------

strided = st.builds(
    lambda s, N, H, W, C, outputs, seed: (Strided(s * H + seed % s, s * W, s, C, outputs), N, s * H + seed % s, s * W, seed),
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), seeds,
)  # fmt: skip


@given(strided)
def test_a_strided_convolution_is_a_loop_and_its_gradients_the_complex_steps(case):
    net, N, H, W, seed = case
    rng, s = np.random.default_rng(seed), net.stride
    x, layer = rng.normal(size=(N, H, W, net.inputs)), rng.normal(size=net.shape)
    a = net.forward(layer, net.patches(x))
    for n, i, j in np.ndindex(N, H // s, W // s):
        patch = x[n, i * s : (i + 1) * s, j * s : (j + 1) * s].ravel()
        assert_close(a[n, i, j], patch @ layer[:-1] + layer[-1], 1e-12, 1e-13)
    delta = rng.normal(size=a.shape)
    d_x = net.backward(layer, delta, np.zeros_like(x))
    d_layer = net.gradient(net.patches(x), delta, np.zeros_like(layer))
    check_gradient(lambda x: delta * net.forward(layer, net.patches(x)), x, d_x, "complex", atol=1e-12)
    check_gradient(lambda w: delta * net.forward(w, net.patches(x)), layer, d_layer, "complex", atol=1e-12)


def test_an_image_smaller_than_the_stride_is_told():
    with pytest.raises(InputError, match="an image is 2 x 5; expected at least 3 x 3, the stride"):
        Strided(2, 5, 3, 1, 1)
