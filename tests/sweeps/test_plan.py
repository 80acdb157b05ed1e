"""Plans: the runs that a file describes, and one sentence with file, key and what was expected for all that cannot be run."""

import json
import pathlib

import pytest

import savi
from savi.engine.files import InputError
from savi.experiments.settings import NAMES
from savi.sweeps import plan as plans
from savi.sweeps.plan import Plan, read
from savi.sweeps.sweep import OVERHEAD, estimate, show

SETTINGS = """
[settings]
data = "synthetic"
latent = 2
budget = ["epochs", 2]
"""
GRID = """
[grid]
method = ["vae", "sa-vae"]
seed = [0, 1, 2]
steps = [5, 10]
"""
FUNCTION = """
def line(slope, x=0.0, *, name="none"):
    return {"y": slope * x}

def anything(**values):
    return values

number = 3
"""


@pytest.fixture
def write(tmp_path):
    """Writes a plan beside functions.py, and gives its path."""
    (tmp_path / "functions.py").write_text(FUNCTION)

    def written(text, name="plan.toml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return written


# --- the runs ---------------------------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_with_what_is_shared(write):
    plan = read(write(SETTINGS + GRID))
    assert len(plan.runs) == 12 and plan.function is None and plan.varied == ("method", "seed", "steps")
    assert list(plan.runs)[:2] == ["method=vae,seed=0,steps=5", "method=vae,seed=0,steps=10"]
    shared = {"data": "synthetic", "latent": 2, "budget": ["epochs", 2]}
    assert plan.runs["method=sa-vae,seed=2,steps=10"] == shared | {"method": "sa-vae", "seed": 2, "steps": 10}


def test_files_that_a_function_reads_go_with_it_and_its_seconds_are_the_estimate(write, tmp_path):
    (tmp_path / "table.json").write_text('{"slope": 2}')
    text = 'function = "functions.py:line"\nreads = ["table.json"]\nseconds = 30\n[grid]\nslope = [1, 2, 3]\n'
    plan = read(write(text))
    files = {str(tmp_path / name): (tmp_path / name).read_bytes() for name in ("functions.py", "table.json")}
    assert plan.files() == files and plan.seconds == 30
    assert estimate(plan, 2) == (90, 45) and estimate(plan, 9) == (90, 30)
    assert show(plan, 2).endswith("about 90 s of work, 45 s with 2 at a time") or "2 min" in show(plan, 2)
    assert estimate(read(write(text.replace("seconds = 30", ""))), 2) is None


@pytest.mark.parametrize(
    "line, words",
    [
        ('reads = "table.json"', ["plan.toml: reads is 'table.json'", "a list of files"]),
        ('reads = ["none.json"]', ["plan.toml: function: cannot read", "none.json"]),
        ("seconds = 0", ["plan.toml: seconds is 0", "> 0"]),
        ("seconds = true", ["plan.toml: seconds is True", "> 0"]),
        ("seconds = inf", ["plan.toml: seconds is inf", "> 0"]),
    ],
)
def test_what_a_function_reads_and_takes_is_checked(write, line, words):
    with pytest.raises(InputError) as caught:
        read(write(f'function = "functions.py:line"\n{line}\n[grid]\nslope = [1]\n'))
    assert all(word in str(caught.value) for word in words), caught.value
    with pytest.raises(InputError, match="without a function"):
        read(write(f"{line}\n{SETTINGS}{GRID}"))


@pytest.mark.parametrize("name", ["sa_table1", "li_table1"])
def test_the_tables_of_the_sources_are_plans_of_the_runs_that_they_have(name):
    figures = pathlib.Path(savi.__file__).parents[1] / "figures"
    plan, results = read(str(figures / f"{name}.toml")), json.loads((figures / f"{name}.json").read_text())
    runs = [tuple(run.values()) for run in plan.runs.values()]
    if name == "sa_table1":
        assert {f"{part}/{seed}/{method}" for part, method, seed in runs} == set(results["runs"])
    else:
        assert {(method, seed) for method, seed in runs} == {(t["method"], t["seed"]) for t in results["trials"]}


def test_several_grids_follow_each_other(write):
    plan = read(
        write(
            SETTINGS
            + '[[grid]]\nmethod = ["vae"]\nseed = [0, 1]\n[[grid]]\nmethod = ["svi"]\nseed = [0]\nsteps = [3]\n'
        )
    )
    assert list(plan.runs) == ["method=vae,seed=0", "method=vae,seed=1", "method=svi,seed=0,steps=3"]
    assert plan.varied == ("method", "seed", "steps")


def test_what_is_one_value_in_the_grid_is_in_the_name_and_not_in_the_question(write):
    plan = read(write(SETTINGS + '[grid]\nmethod = ["vae"]\nseed = [0, 1]\n'))
    assert list(plan.runs) == ["method=vae,seed=0", "method=vae,seed=1"] and plan.varied == ("seed",)
    more = read(write(SETTINGS + '[grid]\nmethod = ["vae", "svi"]\nseed = [0, 1, 2]\n'))
    assert set(plan.runs) < set(more.runs)  # so that a sweep can go on with more


def test_a_run_of_compare_has_its_settings(write):
    plan = read(write(SETTINGS.replace("latent = 2", 'latent = 2\ntrain_examples = "all"') + GRID))
    task, method, seed, settings = plan.of_compare("method=sa-vae,seed=2,steps=10")
    assert (task, method, seed) == ("synthetic", "sa-vae", 2)
    assert (settings.methods, settings.seeds, settings.steps, settings.budget) == (("sa-vae",), (2,), 10, ("epochs", 2))
    assert settings.train_examples is None and settings.latent == 2


def test_every_setting_of_compare_may_stand_in_a_plan():
    assert set(plans.KINDS) == {*NAMES, "method", "seed"} - {"methods", "seeds"}


def test_a_function_takes_the_values_by_name(write):
    plan = read(write('function = "functions.py:line"\n[settings]\nname = "a"\n[grid]\nslope = [1, 2.5]\nx = [0, 1]\n'))
    assert len(plan.runs) == 4 and plan.runs["slope=2.5,x=1"] == {"name": "a", "slope": 2.5, "x": 1}
    assert plan.place(plan.function).endswith("functions.py:line")
    assert list(plan.files().values()) == [FUNCTION.encode()]
    assert set(read(write('function = "functions.py:anything"\n[grid]\na = [[1, 2], [3]]\n')).runs) == {"a=1-2", "a=3"}


def test_a_plan_may_be_a_dict(write):
    found = read({"settings": {"data": "synthetic", "latent": 2}, "grid": {"method": ["vae"], "seed": [0, 1]}})
    assert isinstance(found, Plan) and list(found.runs) == ["method=vae,seed=0", "method=vae,seed=1"]


def test_names_that_differ_only_in_letters_a_file_system_lacks_are_told_apart(write):
    text = 'function = "functions.py:anything"\n[grid]\na = ["x/y", "x:y", "x y"]\n'
    names = list(read(write(text)).runs)
    assert len(set(names)) == 3 and names[0] == "a=x-y" and all("/" not in name for name in names)
    long = read(write(f'function = "functions.py:anything"\n[grid]\na = ["{"x" * 300}1", "{"x" * 300}2"]\n'))
    assert len(long.runs) == 2 and all(len(name) < 200 for name in long.runs)


def test_the_task_of_a_file_lies_beside_the_plan(write, tmp_path, monkeypatch):
    (tmp_path / "my_task.py").write_text("import savi\ntask = savi.experiments.catalogue.SYNTHETIC\n")
    text = SETTINGS.replace('"synthetic"', '"my_task.py:task"') + GRID
    monkeypatch.chdir("/")
    plan = read(write(text))
    assert plan.of_compare("method=vae,seed=0,steps=5")[0] == str(tmp_path / "my_task.py:task")
    assert list(plan.files()) == [str(tmp_path / "my_task.py")]
    assert plan.runs["method=vae,seed=0,steps=5"]["data"] == "my_task.py:task"


# --- what cannot be run -----------------------------------------------------------------------------------------------------

BAD = {
    "no TOML": ("[grid\nseed = [0]\n", ["is not TOML", "line 1"]),
    "another table": (SETTINGS + GRID + "[extra]\n", ["extra", "expected one of function, reads, seconds, settings, grid"]),
    "no grid": (SETTINGS, ["has no runs", "[grid]"]),
    "an empty grid": ("[grid]\n", ["has no runs"]),
    "a grid that is no table": ("grid = 3\n", ["has no runs"]),
    "settings that are no table": ("settings = 3\n" + GRID, ["has no runs"]),
    "a value without a list": (SETTINGS + GRID.replace("[5, 10]", "5"), ["[grid] steps is 5", "a list of values"]),
    "an empty list": (SETTINGS + GRID.replace("[5, 10]", "[]"), ["[grid] steps is []", "a list of values"]),
    "a key twice": (SETTINGS + "steps = 3\n" + GRID, ["steps", "in [settings] and in [grid]", "one of them"]),
    "a run twice": (SETTINGS + GRID.replace("[0, 1, 2]", "[0, 0]"), ["two of its runs", "each combination once"]),
    "an unknown setting": (SETTINGS + "stepz = 3\n" + GRID, ["stepz", "no setting", "step_size", "seed"]),
    "compare's own lists": (SETTINGS + "seeds = [0]\n" + GRID, ["seeds", "no setting"]),
    "an unknown method": (SETTINGS + GRID.replace("sa-vae", "sb-vae"), ["sb-vae", "run method=sb-vae,seed=0,steps=5"]),
    "an unknown task": (SETTINGS.replace("synthetic", "cifar") + GRID, ["cifar", "glyphs"]),
    "a task's file that is not there": (SETTINGS.replace("synthetic", "no.py:task") + GRID, ["no.py", "cannot read"]),
    "no method": (SETTINGS + "[grid]\nseed = [0]\n", ["method", "missing"]),
    "no seed": (SETTINGS + '[grid]\nmethod = ["vae"]\n', ["seed", "missing"]),
    "no data": (GRID, ["data", "missing"]),
    "a word for a number": (SETTINGS + GRID.replace("[5, 10]", '["5"]'), ["steps is '5'", "a whole number"]),
    "a list for a number": (SETTINGS + "batch = [10, 20]\n" + GRID, ["batch is [10, 20]", "lists of values stand in [grid]"]),
    "a part of a number": (SETTINGS + GRID.replace("[5, 10]", "[5.5]"), ["steps is 5.5", "a whole number"]),
    "true for a number": (SETTINGS + "batch = true\n" + GRID, ["batch is True", "a whole number"]),
    "a number for a word": (SETTINGS + "dtype = 32\n" + GRID, ["dtype is 32", "a word"]),
    "a word for a seed": (SETTINGS + GRID.replace("[0, 1, 2]", '["a"]'), ["seed is 'a'", "a whole number"]),
    "a seed below zero": (SETTINGS + GRID.replace("[0, 1, 2]", "[-1]"), ["seed", "-1", ">= 0"]),
    "words for layers": (SETTINGS + 'hidden = ["a"]\n' + GRID, ["hidden", "a list of whole numbers"]),
    "a number for layers": (SETTINGS + "hidden = 20\n" + GRID, ["hidden is 20", "a list of whole numbers"]),
    "another budget": (SETTINGS.replace("epochs", "hours") + GRID, ["budget", "hours", "seconds N or epochs N"]),
    "a budget of nothing": (SETTINGS.replace('["epochs", 2]', '["epochs", 0]') + GRID, ["budget", "> 0"]),
    "a value out of range": (SETTINGS + "momentum = 1.5\n" + GRID, ["momentum", "1.5", "run method=vae"]),
    "another dtype": (SETTINGS + 'dtype = "float16"\n' + GRID, ["dtype", "float16", "float64"]),
    "tuning for all": (SETTINGS + 'tune = "all"\n' + GRID, ["tune is all", "test or none"]),
    "a date": (SETTINGS + "latent_day = 2020-01-01\n" + GRID, ["latent_day is 2020-01-01", "expected numbers, words"]),
    "no number": (SETTINGS + "step_size = nan\n" + GRID, ["step_size is nan", "expected numbers, words"]),
    "too many runs": (SETTINGS + f"[grid]\nmethod = ['vae']\nseed = {list(range(1001))}\n", ["1001", "1000", "--limit"]),
    "a number for a function": ("function = 3\n" + GRID, ["function is 3", '"FILE.py:NAME"']),
    "a function without a file": ('function = "line"\n' + GRID, ["function is 'line'", '"FILE.py:NAME"']),
    "a function's file that is not there": ('function = "no.py:line"\n' + GRID, ["no.py", "cannot read"]),
    "a function that is not there": ('function = "functions.py:curve"\n[grid]\nx = [1]\n', ["no function 'curve'"]),
    "a function that is none": ('function = "functions.py:number"\n[grid]\nx = [1]\n', ["no function 'number'"]),
    "what a function does not take": (
        'function = "functions.py:line"\n[grid]\nslope = [1]\nz = [1]\n', ["z is nothing that", "name, slope, x"],
    ),
    "what a function needs": ('function = "functions.py:line"\n[grid]\nx = [1]\n', ["slope is missing"]),
}  # fmt: skip


@pytest.mark.parametrize("text, words", BAD.values(), ids=BAD)
def test_bad_input_names_the_file_the_key_and_what_was_expected(text, words, write):
    path = write(text)
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert path in message and all(word in message for word in words) and "\n" not in message, message
    assert "expected" in message or "is there" in message


def test_a_plan_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*nowhere.toml.*expected a plan in TOML"):
        read(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b'a = "\xff"')
    with pytest.raises(InputError, match="not TOML"):
        read(tmp_path / "latin.toml")


def test_the_limit_counts_before_anything_is_made(write):
    many = list(range(1000))
    text = f'function = "functions.py:anything"\n[grid]\na = {many}\nb = {many}\nc = {many}\n'
    with pytest.raises(InputError, match="1000000000; expected at most 1000"):
        read(write(text))
    assert (
        len(read(write(f'function = "functions.py:anything"\n[grid]\na = {[*many, 1000]}\n'), limit=1001).runs) == 1001
    )


@pytest.mark.parametrize("key", sorted(plans.KINDS))
@pytest.mark.parametrize("value", ["word", -1, 0, 1e30, True, [], [-1], ["a", 1], {}])
def test_whatever_stands_for_a_setting_it_is_a_plan_or_one_sentence(key, value):
    shared = {"data": "synthetic", "method": "vae", "seed": 0, "latent": 2} | {key: value}
    try:
        found = read({"settings": shared, "grid": {"iterations" if key != "iterations" else "samples": [3]}})
        assert len(found.runs) == 1
    except InputError as error:
        assert "\n" not in str(error) and "the plan" in str(error)


# --- the plan in words ------------------------------------------------------------------------------------------------------


def test_the_plan_is_shown_with_its_count_and_the_hours_of_a_budget_in_seconds(write):
    plan = read(write(SETTINGS.replace('["epochs", 2]', '["seconds", 600]') + GRID))
    total, end = estimate(plan, 4)
    assert total == pytest.approx(12 * (600 + OVERHEAD)) and end == pytest.approx(total / 4)
    assert estimate(plan, 100)[1] == 600 + OVERHEAD  # a run is as long as it is
    lines = show(plan, 4).splitlines()
    assert lines[0] == "12 runs" and "  seed: 0, 1, 2" in lines and "  method: vae, sa-vae" in lines
    assert lines[-1] == "about 2.0 h of work, 30 min with 4 at a time"


def test_the_hours_of_a_budget_in_epochs_are_those_of_measured_steps(write, monkeypatch):
    monkeypatch.setattr(savi.sweeps.sweep, "_seconds_of_an_epoch", lambda plan, name: 30.0 + 30 * ("sa-vae" in name))
    plan = read(write(SETTINGS + GRID))
    assert estimate(plan, 1)[0] == pytest.approx(6 * 2 * 30 + 6 * 2 * 60 + 12 * OVERHEAD)
    assert estimate(plan, 1, measure=False) is None and "of work" not in show(plan, 1, measure=False)


def test_an_estimate_of_many_settings_measures_a_few(write, monkeypatch):
    measured = []
    monkeypatch.setattr(savi.sweeps.sweep, "_seconds_of_an_epoch", lambda plan, name: measured.append(name) or 10.0)
    plan = read(write(SETTINGS + GRID.replace("[5, 10]", json.dumps(list(range(1, 41))))))
    assert estimate(plan, 1)[0] == pytest.approx(240 * (2 * 10 + OVERHEAD)) and len(set(measured)) == len(measured) == 8


def test_a_functions_own_plan_is_shown_without_hours(write):
    text = show(read(write(f'function = "functions.py:line"\n[grid]\nslope = {list(range(30))}\n')), 2)
    assert text.startswith("30 runs of functions.py:line") and text.endswith("10, 11 ...")
