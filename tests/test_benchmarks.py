"""What the benchmarks time runs, and savi's side and autograd's compute the same."""

import importlib
import pathlib
import sys

import numpy as np
import pytest

from savi.engine import threads
from savi.testing import assert_close

sys.path[:0] = [str(pathlib.Path(__file__).parent / "benchmarks")]
H, K, B, D, M = 4, 2, 3, 5, 7


@pytest.fixture(scope="module")
def sides():
    names = ("peers_savi", "peers_autograd")
    return [importlib.import_module(name).setup(H, K, "float64", 0.02, 0.5, D=D, M=M) for name in names]


def arrays(sides):
    rng = np.random.default_rng(0)
    model, encoder = sides[0].model, sides[0].encoder
    theta, phi, trunk = (net.init(rng) for net in (model, encoder, sides[0].trunk))
    x, lam = (rng.random((B, M)) < 0.5).astype(float), 0.1 * rng.standard_normal((B, 2 * D))
    return theta, phi, trunk, x, lam, rng.standard_normal((K + 1, 1, B, D))


@pytest.mark.parametrize(
    "operation", ["loss_gradient", "svi_run", "vae_step", "savae_step", "savae_step_complex", "iterative_step"]
)
def test_savis_side_computes_what_autograds_does(sides, operation):
    theta, phi, trunk, x, lam, noise = arrays(sides)
    given = {"loss_gradient": (theta, lam, x, noise[0]), "svi_run": (theta, lam, x, noise)}
    given["iterative_step"] = theta, trunk, x, noise
    actual, expected = (
        getattr(side, name)(*given.get(operation, (theta, phi, x, noise)))
        for side, name in zip(sides, (operation, operation.removesuffix("_complex")))
    )
    for one, other in zip(*(r if isinstance(r, tuple) else (r,) for r in (actual, expected))):
        assert_close(one, other, 1e-9, 0, operation)


@pytest.mark.parametrize("operation", ["loss_gradient", "svi_run", "vae_step", "savae_step", "iterative_step"])
def test_the_floor_is_made_of_products_alone(sides, operation):
    for floor in sides[0].floors(operation, B):
        floor()


def test_the_importance_weighted_estimate_takes_noise_that_is_given(sides):
    theta, _, _, x, lam, _ = arrays(sides)
    noise = np.random.default_rng(1).standard_normal((200, B, D))
    log_w = sides[0].model.log_weights(lam, theta, x, noise)
    expected = np.log(np.mean(np.exp(log_w - log_w.max(axis=0)), axis=0)) + log_w.max(axis=0)
    count = threads.count()
    assert_close(sides[0].importance(theta, lam, x, 200, noise), expected, 1e-12)
    assert threads.count() == count


# --- the driver of a sweep --------------------------------------------------------------------------------------------------


def test_simulated_workers_lose_nothing_and_take_no_less_than_the_ideal():
    driver = importlib.import_module("driver")
    found = driver.simulate(200, 8, driver.typical(), deaths=0.05)
    assert found["kept"] == found["results"] == 200 and found["lost"] == 0 and found["deaths"] > 0
    assert found["submitted"] == 200 + found["deaths"]  # each death is tried again
    slack = 2 * found["wasted by deaths"] + found["deaths"] * driver.AWAY / 8 + found["driver's processor seconds"]
    assert found["ideal"] <= found["makespan"] <= found["ideal"] + slack + 10 * driver.SECONDS
    assert 8 - found["deaths"] <= found["fewest workers"] < 8


def test_a_run_whose_worker_always_dies_is_lost_and_the_simulation_ends():
    driver = importlib.import_module("driver")
    found = driver.simulate(5, 2, driver.typical(), deaths=1.0)
    assert found["lost"] == 5 and found["kept"] == 0 and found["deaths"] == found["submitted"] == 15


def test_a_driver_that_cannot_keep_up_makes_its_workers_wait(monkeypatch):
    driver, now = importlib.import_module("driver"), [0.0]

    def process_time():  # each look at the clock has cost the driver ten minutes
        now[0] += 600.0
        return now[0]

    monkeypatch.setattr(driver.time, "process_time", process_time)
    found = driver.simulate(20, 4, driver.typical(), deaths=0.0)
    assert found["makespan"] > 20 * 600 > 5 * found["ideal"]


# --- growth -----------------------------------------------------------------------------------------------------------------


def test_the_slope_is_the_exponent_of_growth_between_the_last_three_points():
    scaling = importlib.import_module("scaling")
    values = (1, 2, 4, 8, 16)
    assert scaling.slope(values, [100.0, 90.0, *(3.0 * n**1.5 for n in values[2:])]) == pytest.approx(1.5)


def test_each_axis_changes_one_size_and_has_its_row_in_the_table():
    scaling = importlib.import_module("scaling")
    rows = [
        {"axis": axis.letter, "value": value, "side": side, "ms": factor * value**2, "mb": 10.0}
        for axis in scaling.AXES for value in axis.values for side, factor in (("savi", 1.0), ("torch", 2.0))
    ]  # fmt: skip
    lines = scaling.markdown({"rows": rows}).splitlines()
    assert lines[0].count("|") == 7 and len(lines) == 2 + len(scaling.AXES)
    assert [line.split(" | ")[2:] for line in lines[2:]] == [["2.00", "2.00", "0.00", "0.00 |"]] * 5
    assert [axis.letter for axis in scaling.AXES] == ["K", "B", "T", "S", "D"]
