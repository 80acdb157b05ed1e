"""Equal cost: epochs or seconds for each method, runs side by side with the same numbers, and what a difference is worth."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import savi
from savi.experiments import budget, tables
from savi.experiments.settings import Settings, settings_of
from savi.experiments.tasks import Task
from savi.sweeps import parallel, runs

FILE = """
import numpy as np
import savi

x = np.random.default_rng(0).poisson(1.0, (60, 9))
task = savi.Task(
    "beans", "beans", lambda: savi.data.Dataset("beans", x[:40], x[40:50], x[50:]),
    decoder=lambda s: savi.MLPDecoder(savi.MLP([s.latent, *s.hidden, 9]), savi.Multinomial()),
    encoders={"mlp": lambda s, outputs: savi.MLP([9, *s.hidden, outputs])},
    defaults={"latent": 2, "hidden": [6], "iw_samples": 20, "gap_examples": 3, "steps": 2, "batch": 10, "train_examples": None},
)
"""
METHODS = ["vae", "vae-then-svi", "svi", "sa-vae"]


@pytest.fixture
def beans(tmp_path):
    path = tmp_path / "beans.py"
    path.write_text(FILE)
    return f"{path}:task"


def compared(task, out, **changes):
    changes = {"methods": METHODS, "seeds": [0, 1], "epochs": 2, "jobs": 1} | changes
    return savi.compare(task, str(out), progress=False, say=lambda text: None, **changes)


TIMES = ("ms_per_step", "train_seconds", "cpu")


def without_times(results):
    rows = [{key: value for key, value in row.items() if key not in TIMES} for row in results["rows"]]
    curves = json.loads(json.dumps(results["curves"]))
    for curve in curves:
        for row in curve["history"]:
            del row["seconds"], row["cpu"]
    return rows, curves


# --- budgets --------------------------------------------------------------------------------------------------------------


def test_seconds_buy_more_of_a_cheaper_method_and_at_least_a_step():
    cost = {"vae": 0.5, "sa-vae": 2.0}
    task = savi.Task("x", "", lambda: None, lambda s: None, {"mlp": lambda s, n: None})
    examples = savi.data.Dataset("x", np.zeros((40, 3)))
    for seconds, steps in ((12, {"vae": 24, "sa-vae": 6}), (0.1, {"vae": 1, "sa-vae": 1})):
        settings = settings_of(task, {"budget": ("seconds", seconds), "batch": 10})
        assert budget.epochs_of(cost, examples, settings) == {name: n / 4 for name, n in steps.items()}


def test_a_step_costs_what_a_method_uses(beans, monkeypatch):
    """The clock is replaced: each gradient of a method takes as many seconds as the method has passes."""
    now, gradient = [0.0], savi.inference.base.InferenceMethod.gradient

    def slow(self, *arguments, **options):
        now[0] += self.passes
        return gradient(self, *arguments, **options)

    monkeypatch.setattr(savi.inference.base.InferenceMethod, "gradient", slow)
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    results = compared(beans, pathlib.Path(beans).parent / "out", epochs=None, budget=("seconds", 120))
    steps = {row["method"]: round(4 * row["epochs"]) for row in results["rows"]}
    assert steps == {"vae": 120, "vae-then-svi": 120, "svi": 40, "sa-vae": 24}
    assert {row["cpu"] for row in results["rows"]} == {120}
    assert {row["passes"] for row in results["rows"]} == {1200}  # ten examples a step


def test_every_run_is_judged_at_the_epochs_that_all_of_them_reach():
    at = budget.judged_at({"vae": 123.1, "sa-vae": 17.7})
    assert 17 in at["vae"] and 17 in at["sa-vae"] and all(len(epochs) <= budget.ROWS + 1 for epochs in at.values())
    assert all(epochs == sorted(set(epochs)) and epochs[-1] <= n for epochs, n in zip(at.values(), (123.1, 17.7)))
    assert budget.judged_at({"vae": 0.4})["vae"] == [0]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"budget": ("hours", 3)}, "--budget is 'hours'; expected seconds N or epochs N"),
        ({"budget": ("seconds", "many")}, "--budget seconds is nan; expected a finite number > 0"),
        ({"budget": ("epochs", 0)}, "--budget epochs is 0.0; expected a finite number > 0"),
        ({"budget": ("seconds",)}, "--budget seconds is nan"),
        ({"budget": "seconds"}, "--budget is 'seconds'; expected a list"),
        ({"epochs": 0.5}, "--epochs is 0.5; expected a finite number >= 1"),
    ],
)
def test_a_budget_that_is_none_is_refused(change, words):
    with pytest.raises(savi.InputError) as caught:
        Settings(**change)
    assert words in str(caught.value)


def test_epochs_are_short_for_a_budget_and_a_tasks_own_give_way_to_one():
    assert Settings(epochs=3).budget == ("epochs", 3) and Settings().budget[0] == "seconds"
    task = Task("x", "", lambda: None, lambda s: None, {"mlp": lambda s, n: None}, defaults={"epochs": 5})
    assert settings_of(task, {}).budget == ("epochs", 5)
    assert settings_of(task, {"budget": ("seconds", 2)}).budget == ("seconds", 2)


def test_a_comparison_that_goes_on_keeps_its_plan(beans, tmp_path, monkeypatch):
    first = compared(beans, tmp_path / "out", epochs=None, budget=("seconds", 0.01), methods=["vae", "svi"])
    monkeypatch.setattr(runs, "costs", lambda methods, examples, settings: dict.fromkeys(methods, 1e-3))
    more = compared(beans, tmp_path / "out", epochs=None, budget=("seconds", 0.01), resume=True)
    assert {name: more["epochs"][name] for name in ("vae", "svi")} == first["epochs"]
    assert more["epochs"]["sa-vae"] == 10 / 4
    (tmp_path / "out" / "plan.json").write_text("{")
    with pytest.raises(savi.InputError, match=r"plan\.json"):
        compared(beans, tmp_path / "out", epochs=None, budget=("seconds", 0.01), resume=True)


# --- side by side ---------------------------------------------------------------------------------------------------------


def test_the_longest_runs_begin_first_and_the_rows_stay_in_their_order(beans, tmp_path, monkeypatch):
    cost, begun = {"vae": 1e-3, "sa-vae": 4e-3, "svi": 2e-3}, []
    monkeypatch.setattr(runs, "costs", lambda methods, examples, settings: {name: cost[name] for name in methods})
    work = runs.run
    monkeypatch.setattr(runs, "run", lambda names, seed, *more: begun.append((names, seed)) or work(names, seed, *more))
    methods = ["vae", "sa-vae", "vae-then-svi", "svi"]
    options = {"methods": methods, "seeds": [0, 1], "budget": ["seconds", 0.02], "tune": "none", "steps": 1}
    found = savi.compare(beans, str(tmp_path / "out"), jobs=1, say=lambda text: None, **options)
    trainings = (("vae", "vae-then-svi"), ("sa-vae",), ("svi",))
    assert begun == [(names, seed) for names in trainings for seed in (0, 1)]
    assert [(row["method"], row["seed"]) for row in found["rows"]] == [(name, s) for s in (0, 1) for name in methods]


def test_the_numbers_are_the_same_whatever_the_number_of_jobs(beans, tmp_path):
    one, two = (compared(beans, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert without_times(one) == without_times(two)
    assert [(row["seed"], row["method"]) for row in two["rows"]] == [(s, m) for s in (0, 1) for m in METHODS]


def test_a_run_that_fails_in_another_process_is_told_in_a_sentence(beans, tmp_path):
    with pytest.raises(savi.InputError, match="svi: the loss or its gradient is not finite"), np.errstate(all="ignore"):
        compared(beans, tmp_path / "out", jobs=2, methods=["vae", "svi"], step_size=1e30, inner_clip=0, dtype="float64")


@pytest.mark.parametrize("jobs", [0, -1, 1.5])
def test_a_number_of_jobs_that_is_none_is_refused(jobs):
    with pytest.raises(savi.InputError, match="--jobs is"):
        list(parallel.run_all(print, [(1,), (2,)], jobs))


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_checkpoints_from_which_the_same_numbers_come(beans, tmp_path, jobs):
    command = [
        sys.executable,
        "-m",
        "savi",
        "compare",
        "--data",
        beans,
        "--methods",
        "vae",
        "svi",
        "--seeds",
        "0",
        "--epochs",
    ]
    command += ["4000", "--jobs", str(jobs), "--quiet", "--out", str(tmp_path / "out")]
    home = pathlib.Path(savi.__file__).parents[1]
    child = subprocess.Popen(
        command,
        cwd=home,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    started = tmp_path / "out" / "vae-seed0" / "last.npz"
    while not started.exists() and child.poll() is None:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    error = child.communicate(timeout=120)[1].decode()
    assert child.returncode == 130 and "stopped; checkpoints are in" in error and "Traceback" not in error
    assert started.exists() and not list((tmp_path / "out").rglob("*.part"))


def interrupted_twice(_):
    """What a run returns that is interrupted, and again while it saves."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return "saved"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_run_that_saves_is_not_interrupted_again():
    assert list(parallel.run_all(interrupted_twice, [(0,), (1,)], 2)) == ["saved", "saved"]


# --- what a difference is worth -------------------------------------------------------------------------------------------


def some_results(losses, seeds=3, budget=("epochs", 2)):
    """Results with these test losses {method: (one for each seed)}."""
    rows = [
        {"method": name, "seed": seed, "neg_elbo": value, "gap_converged": name != "b"}
        for name, found in losses.items()
        for seed, value in enumerate(found)
    ]
    history = [{"epoch": 0, "test_neg_elbo": 9.0}, {"epoch": 2, "test_neg_elbo": 5.0}]
    curves = [{"method": row["method"], "seed": row["seed"], "history": history} for row in rows]
    settings = {"seeds": list(range(seeds)), "budget": budget, "methods": list(losses)}
    return {"rows": rows, "curves": curves, "settings": settings, "epochs": {"a": 2.5, "b": 7.0}, "baseline": None}


def test_a_difference_is_paired_by_seed_and_counts_beyond_two_standard_errors():
    results = some_results({"a": (100.0, 110.0, 120.0), "b": (101.0, 111.2, 120.8)})
    mean, error, n, below = tables.paired(results, "a", "b")
    assert (mean, n, below) == (pytest.approx(-1.0), 3, 3) and error == pytest.approx(0.2 / np.sqrt(3))
    assert tables.verdict(mean, error) == "better" and tables.verdict(-mean, error) == "worse"
    assert tables.verdict(-1.0, 0.5) == tables.verdict(-1.0, float("nan")) == "not told apart"
    lines = tables.differences(results).splitlines()
    assert lines[0] == "a minus b: -1.00 ± 0.12 (standard error; lower in 3 of 3): better"
    assert lines[1] == "b minus a: +1.00 ± 0.12 (standard error; lower in 0 of 3): worse"
    assert tables.differences(results, against="b").count("\n") == 0
    one = some_results({"a": (100.0,), "b": (101.0,)}, seeds=1)
    assert "a minus b: -1.00 (one seed): not told apart" in tables.differences(one)


def test_a_gap_whose_optimum_was_not_found_is_marked_and_equal_epochs_are_read_off_the_curves():
    results = some_results({"a": (1.0, 2.0, 3.0), "b": (1.0, 2.0, 3.0)}, budget=("seconds", 3.0))
    heading, a, b = tables.cells(results)
    gap, shared = heading.index("amort. gap"), heading.index("-ELBO at 2 epochs")
    assert not a[gap].endswith("*") and b[gap].endswith(" *") and a[shared] == "5.00 ± 0.00"
    assert "-ELBO at 2 epochs" not in tables.cells(some_results({"a": (1.0, 2.0, 3.0)}))[0]


def test_the_model_without_latents_stands_in_the_table(beans, tmp_path):
    results = compared(beans, tmp_path / "out", methods=["vae"], seeds=[0], epochs=1)
    scope = {}
    exec(FILE, scope)
    x, train = scope["x"][50:], scope["x"][:40]
    p = (train.sum(axis=0) + 0.5) / (train + 0.5 / 40).sum()
    assert results["baseline"]["nll"] == pytest.approx(-(x * np.log(p)).sum(axis=1).mean())
    heading, baseline, _ = tables.cells(results)
    assert baseline[0] == "unigram" and baseline[heading.index("KL")] == ""
    assert float(baseline[heading.index("IW NLL")]) == pytest.approx(results["baseline"]["nll"], abs=0.005)
