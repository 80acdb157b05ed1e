"""What the benchmarks time runs, and savi's side and autograd's compute the same."""

import importlib
import pathlib
import sys

import autograd
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
    "operation",
    "loss_gradient svi_run vae_step savae_step vae_step_threads savae_step_threads savae_step_complex iterative_step".split(),
)
def test_savis_side_computes_what_autograds_does(sides, operation):
    theta, phi, trunk, x, lam, noise = arrays(sides)
    given = {"loss_gradient": (theta, lam, x, noise[0]), "svi_run": (theta, lam, x, noise)}
    given["iterative_step"] = theta, trunk, x, np.random.default_rng(1).standard_normal((6, 1, B, D))
    actual, expected = (
        getattr(side, name)(*given.get(operation, (theta, phi, x, noise)))
        for side, name in zip(sides, (operation, operation.removesuffix("_complex").removesuffix("_threads")))
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


def test_all_ways_of_a_step_give_the_same_and_have_a_row_in_the_table():
    import ways

    rows = []
    for name in ways.METHODS:
        step = ways.Step(name, H, B, "float64")
        with threads.using(2):
            ms = ways.measured(step, 0, 2)
        assert [len(ms[way]) for way in ways.WAYS] == [2, 2, 2]
        rows.append({"H": H, "B": B, "dtype": "float64", "method": name, **step.size, "ms": ms})
    assert rows[-1]["passes"] == 2 * ways.K + 1
    assert len(ways.markdown({"rows": rows}).splitlines()) == 2 + len(rows)
    training = {"ms": ways.trained(step, 2, steps=1, rounds=1), **{k: rows[-1][k] for k in ("H", "B", "dtype")}}
    assert len(ways.markdown({"rows": rows, "training": [training]}).splitlines()) == 5 + len(rows) + 1
    step = ways.FamilyStep("pixels", "z input, tiny", "savae_step")
    with threads.using(2):
        ms = ways.measured(step, 0, 2)
    row = {"case": "z input, tiny", "B": 3, "dtype": "float32", "method": "savae_step", **step.size, "ms": ms}
    assert row["turns"] == (5 + 3) * 2 and row["most"] >= 1 and row["passes"] == 2 * 10 + 1
    assert len(ways.markdown({"rows": rows, "families": [row]}).splitlines()) == 2 + len(rows) + 1


def test_a_steps_shares_are_parts_of_it_and_its_calls_are_counted():
    import shares

    with threads.using(1):
        side = shares.Side("savi", 1)
        side.setup(H, B, "float32")
        row = {"H": H, "B": B, "operation": "vae_step", **shares.shares(side, "vae_step", 2, 1)}
    assert row["calls"] > 100 and all(0 < row[kind] < 1 for kind in shares.KINDS)
    assert f"| VAE step, H = {H} |" in shares.markdown({"rows": [row]})


def test_the_main_job_on_many_cores_is_what_cannot_be_shared_and_its_longest_core():
    import job

    assert [job.simulated(2.0, [5.0, 3.0, 3.0, 1.0], n) for n in (1, 2, 3, 64)] == [14.0, 8.0, 7.0, 7.0]
    table = job.markdown({"wall": {"1": 14.0, "2": 9.0}, "runs": [5.0, 3.0, 3.0, 1.0]}).splitlines()
    assert table[2:4] == ["| 1 | 14 | 14 | 14.0 |", "| 2 | 9 | 8 | 7.0 |"] and len(table) == 2 + len(job.CORES)


# --- further families -------------------------------------------------------------------------------------------------------

FAMILIES = ("hierarchies", "language", "pixels")


def tiny(family):
    """Yields (case, its arrays, savi's side) for the cases of --quick."""
    script, side = importlib.import_module(family), importlib.import_module(f"{family}_savi")
    for case in script.FAMILY.quick.values():
        yield case, script.inputs(case.sizes), side.setup(case.sizes, "float64")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_steps_are_autograds_gradients_of_the_judge(family):
    for case, a, side in tiny(family):
        theta, phi, x, noise = (a[name] for name in ("theta", "phi", "x", "noise"))
        assert theta.size == side.model.size
        lam = side.vae.start(side.model, theta, phi, x, None) if len(phi) else np.zeros((len(x), 0))
        judge, d_theta = autograd.make_vjp(lambda t: side.model.objective(theta, x).reference(lam, t, noise[-1]))(theta)  # noqa: B023
        loss, found, *_ = (side.vae_step if len(phi) else side.model_step)(theta, phi, x, noise)
        assert_close(loss, d_theta, 1e-10)
        assert_close(found, judge(np.ones(len(x))), 1e-9)
        for operation in set(case.operations) - {"iterative_step", "svi_run"}:
            assert [np.shape(r) for r in getattr(side, operation)(theta, phi, x, noise)][:2] == [(len(x),), theta.shape]
        if "svi_run" in case.operations:
            assert side.svi_run(theta, a["lam"], x, noise).shape == a["lam"].shape


def test_the_floor_of_a_hierarchy_is_made_of_products_alone():
    for case, a, side in tiny("hierarchies"):
        loss, d_theta, d_trunk = side.iterative_step(a["theta"], a["trunk"], a["x"], a["noise"][:6])
        assert loss.shape == (len(a["x"]),) and d_theta.shape == a["theta"].shape and d_trunk.shape == a["trunk"].shape
        for operation in case.operations:
            for floor in side.floors(operation, len(a["x"])):
                floor()


def test_the_page_of_a_family_has_its_times_ratios_and_memory(tmp_path):
    import cases
    import steps

    family = cases.Family("few", {"small": cases.Case({}, ("step",))}, {"step": "a step"}, {}, {})
    rows = [{"case": "small", "dtype": "float32", "operation": "step", "variant": "step", "first_s": 3.0}]
    rows = [rows[0] | {"side": side, "ms": ms} for side, ms in (("savi", 8.0), ("torch", 20.0), ("jax", 10.0))]
    held = [
        {"case": "small", "side": side, "variant": "step", "mb": 5.0, "planned_mb": None} for side in ("savi", "torch")
    ]
    results, page = {"rows": rows, "memory": held}, tmp_path / "page.md"
    assert "| small, a step | 8.0 | 20.0 | 10.0 | 1.25 | 3 |" in cases.markdown(family, results)
    assert "| small, a step | 5.0 | 5.0 |  |  |" in cases.markdown(family, results)
    page.write_text("before\n<!-- few -->\nold\n<!-- /few -->\nafter\n")
    steps.write_page("few", cases.markdown(family, results), page)
    text = page.read_text()
    assert text.startswith(f"before\n<!-- few -->\n{cases.markdown(family, results)}\n<!-- /few -->")
    assert "a step 1.25, ahead in 1 of 1" in text and "least memory in 1 of 1 cases" in text
    assert "old" not in text and text.endswith("\n<!-- /few -->\nafter\n")


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
