"""Early stopping: the stages, what each judge likes best, when it ends, and that a run in stages is the run itself."""

import itertools

import numpy as np
import pytest

from savi import MLP, VAE, Bernoulli, InputError, LatentGaussianModel, MLPDecoder
from savi.data import Dataset
from savi.experiments.stopping import fit_stopped, seconds_ends, stage_ends
from savi.experiments.training import fit

RNG = np.random.default_rng(0)
DATA = Dataset("pixels", *((RNG.random((n, 5)) < 0.5).astype(float) for n in (30, 10)))
MODEL, METHOD = LatentGaussianModel(MLPDecoder(MLP([2, 4, 5]), Bernoulli())), VAE(MLP([5, 4, 4]))
SETTINGS = {"batch": 10, "learning_rate": 0.01, "dtype": np.float64}


def stopped(losses, ends=(1, 2, 4, 8), **settings):
    """A run whose judges say `losses` {name: what they say, stage by stage}."""
    said = {name: iter(values) for name, values in losses.items()}
    judges = {name: lambda theta, phi, values=values: next(values) for name, values in said.items()}
    return fit_stopped(MODEL, METHOD, DATA, ends, 3, judges=judges, **SETTINGS | settings)


@pytest.mark.parametrize(
    "arguments, ends",
    [
        ((8, 3, 4, 1 / 8), [1, 2, 4, 8]),
        ((8, 3, 1, 1 / 8), [8]),
        ((0.1, 3, 4, 0.5), [1 / 3]),
        ((2, 1, 20, 0.04), [1, 2]),
        ((2.5, 2, 3, 0.2), [0.5, 1, 2.5]),
    ],
)
def test_stages_end_at_equal_ratios_after_whole_steps(arguments, ends):
    assert stage_ends(*arguments) == pytest.approx(ends)


def test_stages_of_a_long_run_have_equal_ratios():
    ends = np.array(stage_ends(500, 10, 20, 0.04))
    np.testing.assert_allclose(ends[1:] / ends[:-1], (1 / 0.04) ** (1 / 19), rtol=0.01)
    assert (ends[0], ends[-1], len(ends)) == (20, 500, 20)


@pytest.mark.parametrize("cost", [0.005, 0.01, 0.04])
def test_stages_of_seconds_end_where_the_run_itself_has_spent_them(cost):
    """A step costs 0.01 s whatever was thought before: all stages but the first are where they should be."""
    ends, history = seconds_ends(8, cost, 10, 4, 1 / 8), []
    while (epoch := ends(history)) is not None:
        history.append({"epoch": epoch, "cpu": epoch * 10 * 0.01})
    spent = [row["cpu"] for row in history]
    assert spent[0] == pytest.approx(0.01 / cost) and spent[1:] == pytest.approx([1, 2, 4, 8][-len(spent[1:]) :])
    assert spent == sorted(set(spent)) and spent[-1] == pytest.approx(8)


def test_stages_of_seconds_go_on_by_whole_steps_at_least_one():
    ends = seconds_ends(1, 10.0, 4, 3, 0.5)
    assert ends([]) == 1 / 4
    assert ends([{"epoch": 0.25, "cpu": 0.95}]) == 0.5  # one step more, though the last goal is nearly spent
    assert ends([{"epoch": 0.25, "cpu": 0.96}]) is None


def test_ends_may_be_a_function_of_the_history():
    asked = []

    def ends(history):
        asked.append([row["epoch"] for row in history])
        return (1, 3, None)[len(history)]

    found = stopped({"a": itertools.count(0, -1)}, ends)
    assert [row["epoch"] for row in found.history] == [1, 3] and asked == [[], [1], [1, 3]]


def test_a_run_in_stages_is_the_run_itself():
    found = stopped({"a": itertools.count(0, -1)}, stage_ends(4, 3, 3, 0.2))
    theta, phi = fit(MODEL, METHOD, DATA.train, 4, 3, progress=False, **SETTINGS).last
    assert found.best["a"].theta.tobytes() == theta.tobytes() and found.best["a"].phi.tobytes() == phi.tobytes()
    assert [row["epoch"] for row in found.history] == pytest.approx([2 / 3, 5 / 3, 4])
    assert [row["passes"] for row in found.history] == [20, 50, 120]
    cpu = [row["cpu"] for row in found.history]
    assert cpu == sorted(cpu) and cpu[0] > 0


def test_each_judge_has_the_parameters_that_it_liked_best():
    found = stopped({"early": [1, 2, 3, 4], "late": [5, 6, 4, 7]}, patience=np.inf)
    assert [(b.loss, b.epoch) for b in found.best.values()] == [(1, 1), (4, 4)]
    for best in found.best.values():
        theta, phi = fit(MODEL, METHOD, DATA.train, best.epoch, 3, progress=False, **SETTINGS).last
        assert best.theta.tobytes() == theta.tobytes() and best.phi.tobytes() == phi.tobytes()
    assert [(row["early"], row["late"]) for row in found.history] == [(1, 5), (2, 6), (3, 4), (4, 7)]


@pytest.mark.parametrize(
    "losses, patience, last, converged",
    [
        ({"a": [3, 2, 1, 0]}, 2.0, 8, False),
        ({"a": [3, 2, 3, 0]}, 2.0, 4, True),  # nothing better since 4 / 2
        ({"a": [3, 2, 3, 0]}, 4.0, 8, False),
        ({"a": [0, 1, 2, 3]}, 2.0, 2, True),
        ({"a": [0, 1, 2, 3]}, np.inf, 8, True),
        ({"a": [0, 1, 2, 3], "b": [3, 2, 1, 2]}, 2.0, 8, True),  # as long as one of them goes on
        ({"a": [0, 1, 2, 3], "b": [3, 2, 1, 0]}, 2.0, 8, False),
    ],
)
def test_it_ends_where_as_much_training_again_has_not_helped(losses, patience, last, converged):
    found = stopped(losses, patience=patience)
    assert (found.history[-1]["epoch"], found.converged) == (last, converged)


def test_what_is_watched_stands_in_the_history_and_changes_nothing():
    seen = []

    def watch(theta, phi):
        seen.append(theta.sum())
        return {"sum": float(theta.sum())}

    found, alone = stopped({"a": [4, 3, 2, 1]}, watch=watch), stopped({"a": [4, 3, 2, 1]})
    assert [row["sum"] for row in found.history] == seen and len(set(seen)) == 4
    assert found.best["a"].theta.tobytes() == alone.best["a"].theta.tobytes()


@pytest.mark.parametrize("wrong", [{"stages": 0}, {"stages": 1.5}, {"first": 0}, {"first": 2}], ids=str)
def test_what_makes_no_stages_is_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} is .*; expected"):
        stage_ends(8, 3, **wrong)


def test_patience_is_longer_than_the_best_run():
    with pytest.raises(InputError, match=r"patience is 1.0; expected > 1"):
        stopped({"a": itertools.count()}, patience=1.0)
