"""Records lie side by side in blocks, and a sum over them is one product a layer and block."""

import numpy as np
import pytest

from savi import MLP
from savi.engine import records
from savi.engine.records import ParamSum, Records
from savi.testing import assert_close

SHAPES = [(3, 4), (5, 2)]  # of a net with sizes 2, 4, 2


@pytest.mark.parametrize(
    "held, rows, slots",
    [
        (1, 1, 1),
        (1, 5000, 1),
        (21, 50, 11),  # 1050 rows: two blocks of 11 and 10, not one of 15 and one of 6
        (15, 50, 15),  # 750 rows: one block
        (16, 48, 16),  # 768 rows: exactly one block
        (17, 48, 9),
        (21, 800, 1),
        (None, 100, 7),
        (None, 768, 1),
        (None, 5000, 1),
    ],
)
def test_a_block_holds_what_is_reserved_spread_evenly(held, rows, slots):
    made = Records(SHAPES)
    made.reserve(held)
    assert made.next(rows, np.float64).block.slots == slots


def test_records_of_equal_rows_and_dtype_share_blocks_until_they_are_full():
    made = Records(SHAPES, held=4)
    found = [made.next(300, np.float64) for _ in range(4)]  # two blocks of two
    assert [r.slot for r in found] == [0, 1, 0, 1]
    assert found[0].block is found[1].block is not found[2].block is found[3].block
    assert made.next(7, np.float64).block is not found[3].block
    assert made.next(300, np.complex128).block.dtype == np.complex128


def test_the_last_column_is_one_and_of_tangents_zero():
    record = Records(SHAPES).next(6, np.float64)
    dot = record.block.tangent_record(record.slot)
    for h, units, h_dot in zip(record.inputs, record.units, dot.inputs):
        assert np.all(h[:, -1] == 1) and np.all(h_dot[:, -1] == 0)
        assert units.shape == (6, h.shape[1] - 1) and np.shares_memory(units, h)
    assert record.x is record.units[0] and record.output is record.deltas[-1]


def test_a_second_tangent_of_a_record_leaves_the_first_alone():
    made = Records(SHAPES, held=2)
    a, b = made.next(6, np.float64), made.next(6, np.float64)
    first, beside, second = (r.block.tangent_record(r.slot) for r in (a, b, a))
    assert first.block is beside.block is not second.block
    second.x[...], first.x[...] = 2, 1
    assert np.all(second.x == 2) and np.all(first.x == 1)


def filled(net, made, rows, rng):
    record = made.next(rows, np.float64)
    for part in record.units + record.deltas:
        part[...] = rng.standard_normal(part.shape)
    return record


def by_hand(record, weight):
    """sum_l h_l^T delta_l, flat."""
    rows = np.broadcast_to(weight, len(record.x))[:, None]
    return np.concatenate([(h.T @ (rows * d)).ravel() for h, d in zip(record.inputs, record.deltas)])


@pytest.mark.parametrize("weights", [[1.0] * 5, [0.5] * 5, [-2.0, 1.0, 0.0, 3.0, 1.0], "rows", "mixed"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, 2, 4], [3]])
def test_a_sum_is_the_sum_of_outer_products_in_whatever_order_they_come(weights, order, monkeypatch):
    net, rng = MLP([2, 4, 2]), np.random.default_rng(0)
    made = Records(net.shapes, held=5)
    found = [filled(net, made, 300, rng) for _ in range(5)]  # in blocks of 2, 2 and 1
    if weights == "rows":
        weights = list(rng.standard_normal((5, 300)))
    if weights == "mixed":
        weights = [1.0, rng.standard_normal(300), 1.0, 2.0, 0.5]
    seen, rows_of = [], records._rows
    monkeypatch.setattr(records, "_rows", lambda slots: seen.append(list(slots)) or rows_of(slots))
    total = ParamSum(net, np.float64)
    for i in order:
        assert total.add(found[i], weights[i]) is total
    assert_close(total.value(), sum(by_hand(found[i], weights[i]) for i in order), 1e-12)
    assert all(slots == sorted(slots) for slots in seen)  # so that neighbours are a slice, which copies nothing
    assert_close(total.value(), sum(by_hand(found[i], weights[i]) for i in order), 1e-12, name="asked again")


def test_a_sum_of_nothing_is_zero():
    assert_close(ParamSum(MLP([2, 4, 2]), np.float32).value(), np.zeros(22, np.float32))


def test_slots_that_follow_one_another_are_a_slice():
    assert records._rows([2, 3, 4]) == slice(2, 5) and records._rows([2, 4]) == [2, 4]


def test_imaginary_parts_over_r_are_a_tangent_record():
    rng = np.random.default_rng(0)
    record, moved = Records(SHAPES).next(4, np.float64), Records(SHAPES).next(4, np.complex128)
    for part in moved.units + moved.deltas:
        part[...] = rng.standard_normal(part.shape) + 1j * rng.standard_normal(part.shape)
    dot = record.imaginary(moved, 1e-3)
    for one, other in zip(dot.inputs + dot.deltas, moved.inputs + moved.deltas):
        assert one.dtype == np.float64
        assert_close(one, other.imag / 1e-3, 1e-15)
    assert all(np.all(h[:, -1] == 0) for h in dot.inputs)
