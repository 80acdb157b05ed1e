"""Products in blocks are products; settings of the process are given back; any matrix library will do."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import MLP
from savi.engine import blas
from savi.testing import assert_close, seeds

SHAPES = [  # rows, inner, columns: cut or not, with and without a divisor that suits
    (25, 201, 784), (25, 784, 200), (50, 513, 784), (64, 784, 512), (25, 513, 512), (7, 1000, 997), (1, 5, 3), (300, 64, 784),
]  # fmt: skip


@pytest.fixture(params=[False, True], ids=["as np.matmul", "in blocks"])
def in_blocks(request, monkeypatch):
    """With and without blocks, whatever this machine's library is."""
    blas._width.cache_clear()
    monkeypatch.setattr(blas, "reads_in_place", lambda: request.param)
    yield request.param
    blas._width.cache_clear()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("rows, inner, columns", SHAPES)
def test_a_product_is_the_matrix_product(rows, inner, columns, dtype, turned, in_blocks):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, inner + 1)).astype(dtype)[:, :-1]  # rows apart, as a record's are
    b = (
        rng.standard_normal((columns, inner)).astype(dtype).T
        if turned
        else rng.standard_normal((inner, columns)).astype(dtype)
    )
    out = np.full((rows, columns + 1), np.nan, dtype)
    assert blas.matmul(a, b, out[:, :-1]).base is out
    assert_close(out[:, :-1], a.astype(complex) @ b.astype(complex), rtol=50 * np.finfo(dtype).eps)
    assert np.isnan(out[:, -1]).all()


@given(st.integers(1, 60), st.integers(1, 700), st.integers(1, 800), st.booleans())
@settings(max_examples=200)
def test_a_block_divides_the_columns_and_is_small_enough(rows, inner, columns, turned):
    width = blas._width(rows, inner, columns, turned)
    if width:
        assert columns % width == 0 and rows * inner * width <= blas.UNPACKED
        assert not turned or rows * width <= blas.UNPACKED_OUTPUTS


@given(seeds)
@settings(max_examples=5)
def test_a_net_computes_the_same_with_blocks_and_without(seed):
    rng, net = np.random.default_rng(seed), MLP([32, 200, 784])
    params, x, d = net.init(rng), rng.standard_normal((25, 32)), rng.standard_normal((25, 784))
    results = []
    for answer in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blas, "reads_in_place", lambda answer=answer: answer)
            record = net.evaluate(params, x)
            results.append((record.output.copy(), net.gradient(params, record, d)))
    for one, other in zip(*results):
        assert_close(one, other, rtol=1e-13)


@pytest.mark.parametrize("turned", [False, True])
def test_products_without_rows_or_without_terms_are_not_cut(turned, in_blocks):
    assert blas._width(0, 5, 800, turned) == blas._width(5, 0, 800, turned) == 0
    for rows, inner in ((0, 5), (5, 0)):
        b = np.ones((800, inner)).T if turned else np.ones((inner, 800))
        np.testing.assert_array_equal(
            blas.matmul(np.ones((rows, inner)), b, np.full((rows, 800), np.nan)), np.zeros((rows, 800))
        )


def test_transposed_weights_are_copied_from_the_second_pass_on_where_products_read_in_order(in_blocks):
    matrices = [np.arange(6.0).reshape(2, 3), np.arange(3.0).reshape(3, 1)]
    turned = blas.Transposed(matrices)
    passes = [turned() for _ in range(3)]
    for views in passes:
        for W, W_T in zip(matrices, views, strict=True):
            np.testing.assert_array_equal(W_T, W.T)
    assert all(np.shares_memory(W, W_T) for W, W_T in zip(matrices, passes[0]))
    assert passes[2] is passes[1]
    assert np.shares_memory(matrices[0], passes[1][0]) == in_blocks
    assert passes[1][0].flags.c_contiguous != in_blocks


def openblas():
    """Whether NumPy says that it was built with OpenBLAS."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return "openblas" in built["name"].lower() and os.path.isdir(
        os.path.join(os.path.dirname(np.__file__), "..", "numpy.libs")
    )


@pytest.mark.skipif(not openblas(), reason="NumPy brings no OpenBLAS here")
def test_the_openblas_that_numpy_brings_is_found():
    assert blas._function("get_num_threads")() >= 1
    assert blas._function("get_corename") is not None
    assert isinstance(blas.one_thread(), blas.Held)
    assert blas._function("no_such_thing") is None


def test_a_setting_is_held_by_the_first_and_given_back_by_the_last_even_after_an_error():
    value = [5]
    held = blas.Held(lambda: value[0], lambda v: value.__setitem__(0, v), 1)
    with pytest.raises(ZeroDivisionError), held:
        with held:
            assert value == [1]
        assert value == [1]
        raise ZeroDivisionError
    assert value == [5]


def test_a_setting_is_held_as_long_as_any_thread_needs_it():
    value, inside, leave = [5], threading.Barrier(2), threading.Event()
    held = blas.Held(lambda: value[0], lambda v: value.__setitem__(0, v), 1)

    def other():
        with held:
            inside.wait()
            leave.wait()

    thread = threading.Thread(target=other)
    with held:
        thread.start()
        inside.wait()
    assert value == [1]
    leave.set()
    thread.join()
    assert value == [5]


@pytest.mark.skipif(blas._function("get_num_threads") is None, reason="NumPy has no OpenBLAS here")
def test_openblas_is_held_at_one_thread_and_given_back():
    get, put = blas._function("get_num_threads"), blas._function("set_num_threads")
    before = get()
    try:
        put(2)
        with blas.one_thread():
            assert get() == 1
        assert get() == 2
    finally:
        put(before)


def test_another_matrix_library_is_left_alone(monkeypatch):
    blas.one_thread.cache_clear()
    blas.reads_in_place.cache_clear()
    monkeypatch.setattr(blas, "_function", lambda name: None)
    with blas.one_thread():
        assert not blas.reads_in_place()
    blas.one_thread.cache_clear()
    blas.reads_in_place.cache_clear()
