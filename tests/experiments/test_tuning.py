"""The search for an inner step: it ends where every neighbour is worse, also beyond the grid that it was given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import savi
from savi.experiments.tuning import GRID, neighbour, search

OWN = {"step_size": 0.05, "momentum": 0.5, "clip": 5.0}


def bowl(step_size, momentum, clip):
    """A loss with its minimum at this point."""

    def loss(point):
        clips = 100.0 if point["clip"] is None else point["clip"]
        return (
            np.log(point["step_size"] / step_size) ** 2
            + (point["momentum"] - momentum) ** 2
            + np.log(clips / clip) ** 2 / 10
        )

    return loss


@given(st.sampled_from(GRID["step_size"]), st.sampled_from(GRID["momentum"]), st.sampled_from((1.0, 2.0, 5.0, 100.0)))
def test_the_lowest_point_of_a_bowl_is_found(step_size, momentum, clip):
    best, curve = search(bowl(step_size, momentum, clip), OWN)
    assert best == {"step_size": step_size, "momentum": momentum, "clip": None if clip == 100.0 else clip}
    assert min(row["loss"] for row in curve) < 1e-20 and curve[0] == {
        **OWN,
        "loss": pytest.approx(bowl(step_size, momentum, clip)(OWN)),
    }


@pytest.mark.parametrize("least", [2e-4, 0.002 / 4, 0.002, 0.2, 1.6, 20.0])
def test_a_best_value_at_the_edge_widens_the_grid(least):
    best, curve = search(bowl(least, 0.5, 5.0), OWN)
    tried = sorted({row["step_size"] for row in curve})
    assert tried[0] < best["step_size"] < tried[-1]
    assert abs(np.log(best["step_size"] / least)) <= np.log(2) / 2 + 1e-9


def test_momentum_stays_below_one_and_no_clip_is_the_largest():
    assert neighbour("momentum", 0.9, GRID["momentum"], True) == pytest.approx(0.95)
    assert neighbour("momentum", 0.0, GRID["momentum"], False) == 0.0
    assert neighbour("clip", None, GRID["clip"], True) is None and neighbour("clip", 5.0, GRID["clip"], True) is None
    assert neighbour("clip", None, GRID["clip"], False) == 5.0 and neighbour("clip", 1.0, GRID["clip"], False) == 0.5
    assert neighbour("step_size", 0.03, GRID["step_size"], True) == 0.05  # a start that is none of the grid's


def test_what_is_not_finite_is_never_chosen_and_nothing_is_tried_twice():
    seen = []

    def loss(point):
        seen.append(tuple(point.values()))
        return np.nan if point["step_size"] > 0.05 else -point["step_size"]

    best, _ = search(loss, OWN)
    assert best["step_size"] == 0.05 and len(seen) == len(set(seen))


def test_a_method_with_another_inner_step_is_otherwise_itself():
    method = savi.SAVAE(savi.MLP([3, 4]), steps=7, step_size=0.1, momentum=0.2, clip=3.0, samples=2, hvp="central")
    other = method.with_inner(step_size=0.3, clip=None)
    assert (other.step_size, other.momentum, other.clip) == (0.3, 0.2, None)
    assert repr(other) == repr(savi.SAVAE(method.encoder, 7, 0.3, 0.2, None, 2, "central"))
    assert method.step_size == 0.1 and method.clip == 3.0  # which stays
    with pytest.raises(savi.InputError):
        method.with_inner(momentum=1.0)
