"""Each optimizer against five lines of plain Python per entry, and the purity of states."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi.engine import memory
from savi.inference.optimizers import SGD, Adam, Momentum, RMSProp, clip_norm
from savi.testing import arrays, assert_close

ALL = [SGD(0.3), Momentum(0.1, 0.7), RMSProp(0.05, 0.8, 1e-6), Adam(0.02, 0.8, 0.95, 1e-6)]
EVERY_OPTIMIZER = pytest.mark.parametrize("optimizer", ALL, ids=lambda o: type(o).__name__)


def steps_of(optimizer, gradients):
    """The steps (T, n) that a sequence of gradients (T, n) gives."""
    state, steps = optimizer.init(gradients[0]), []
    for g in gradients:
        state, step = optimizer.update(state, g)
        steps.append(step)
    return np.array(steps)


def sgd(gradients):
    return [-0.3 * g for g in gradients]


def momentum(gradients):
    steps, v = [], 0.0
    for g in gradients:
        v = 0.7 * v - g
        steps.append(0.1 * v)
    return steps


def rmsprop(gradients):
    steps, s = [], 0.0
    for g in gradients:
        s = 0.8 * s + 0.2 * g**2
        steps.append(-0.05 * g / (math.sqrt(s) + 1e-6))
    return steps


def adam(gradients):
    steps, m, s = [], 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        m, s = 0.8 * m + 0.2 * g, 0.95 * s + 0.05 * g**2
        m_hat, s_hat = m / (1 - 0.8**t), s / (1 - 0.95**t)
        steps.append(-0.02 * m_hat / (math.sqrt(s_hat) + 1e-6))
    return steps


@pytest.mark.parametrize("optimizer, by_hand", list(zip(ALL, [sgd, momentum, rmsprop, adam])))
@given(gradients=arrays((6, 3), extremes=(1e-8, 1e8)))
@settings(max_examples=50)
def test_steps_are_the_papers(optimizer, by_hand, gradients):
    expected = np.array([by_hand([float(g) for g in column]) for column in gradients.T]).T
    assert_close(steps_of(optimizer, gradients), expected, rtol=1e-12, atol=1e-15)


def test_adams_first_step_is_the_step_size_against_the_gradients_sign():
    step = steps_of(Adam(0.1), np.array([[2.0, -1e-3, 1e5]]))
    assert_close(step, [[-0.1, 0.1, -0.1]], rtol=1e-4)


def test_default_settings_are_the_papers():
    assert Adam() == (0.001, 0.9, 0.999, 1e-8)
    assert RMSProp() == (0.001, 0.9, 1e-8)
    assert Momentum().momentum == 0.9


@EVERY_OPTIMIZER
def test_a_quadratic_is_minimised(optimizer):
    params, target = np.zeros(3), np.array([0.5, -0.3, 0.2])
    state = optimizer.init(params)
    for _ in range(300):
        state, step = optimizer.update(state, params - target)
        params = params + step
    assert_close(params, target, atol=0.1)


@EVERY_OPTIMIZER
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4,), (3, 2)])
def test_steps_and_states_have_the_shape_and_the_precision_of_the_parameters(optimizer, dtype, shape):
    g = np.ones(shape, dtype)
    state = optimizer.init(g)
    for _ in range(3):
        state, step = optimizer.update(state, g)
        arrays = [step, *(part for part in state if isinstance(part, np.ndarray))]
        assert all(a.dtype == dtype and a.shape == shape for a in arrays)


@EVERY_OPTIMIZER
def test_states_and_gradients_are_left_as_they_were_and_a_state_can_be_used_again(optimizer):
    rng = np.random.default_rng(0)
    params, g, h = rng.normal(size=(3, 4))
    kept = params.copy()
    state, _ = optimizer.update(optimizer.init(params), g)
    before = [np.array(part) for part in state]
    first_state, first = optimizer.update(state, h)
    second_state, second = optimizer.update(state, h)
    np.testing.assert_array_equal(first, second)
    for a, b in zip(first_state, second_state):
        np.testing.assert_array_equal(a, b)
    for part, copy in zip(state, before):
        np.testing.assert_array_equal(part, copy)
    np.testing.assert_array_equal(params, kept)
    np.testing.assert_array_equal([g, h], np.random.default_rng(0).normal(size=(3, 4))[1:])


@EVERY_OPTIMIZER
def test_a_state_that_went_through_arrays_continues_exactly(optimizer):
    gradients = np.random.default_rng(0).normal(size=(6, 3))
    state, whole = optimizer.init(gradients[0]), steps_of(optimizer, gradients)
    for t, g in enumerate(gradients):
        state = tuple(np.asarray(part) for part in state)  # as a saved and restored state is
        state, step = optimizer.update(state, g)
        np.testing.assert_array_equal(step, whole[t])


# --- clipping -----------------------------------------------------------------------------------------------------------


@given(g=arrays((5,), extremes=(1e6, 1e-6)), norm=st.floats(1e-3, 1e3))
def test_clipping_shortens_to_the_norm_and_keeps_the_direction(g, norm):
    clipped, length = clip_norm(g, norm), math.sqrt(sum(a * a for a in g))
    if length <= norm:
        np.testing.assert_array_equal(clipped, g)
    else:
        assert_close(clipped, g * norm / length, rtol=1e-12)
        assert math.isclose(np.linalg.norm(clipped), norm, rel_tol=1e-12)


def test_clipping_by_none_does_nothing_and_a_zero_gradient_stays_zero():
    g = np.array([3.0, 4.0])
    assert clip_norm(g, None) is g
    np.testing.assert_array_equal(clip_norm(np.zeros(2), 1.0), np.zeros(2))
    np.testing.assert_array_equal(g, [3.0, 4.0])


def test_clipping_keeps_the_precision():
    assert clip_norm(np.ones(4, np.float32), 0.5).dtype == np.float32


@pytest.mark.parametrize("size", [1, memory.BLOCK - 1, memory.BLOCK, 2 * memory.BLOCK + 5])
@pytest.mark.parametrize("optimizer", [RMSProp(), Adam()])
def test_blocks_are_invisible(optimizer, size, monkeypatch):
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((3, size)).astype(np.float32)
    in_blocks = steps_of(optimizer, gradients)
    monkeypatch.setattr(memory, "BLOCK", 10 * size)
    np.testing.assert_array_equal(in_blocks, steps_of(optimizer, gradients))
    assert in_blocks.dtype == np.float32
