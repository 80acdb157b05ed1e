"""Sweeps: the same numbers wherever they are worked out and however often the job was stopped; nothing is lost."""

import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import savi
from savi.__main__ import main
from savi.engine.files import InputError, kept, owned
from savi.experiments import catalogue
from savi.sweeps import conduct, runs, sweep
from savi.sweeps.conduct import Clock, duration
from savi.sweeps.executors import Refused
from savi.sweeps.plan import read

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
PLAN = """
[settings]
data = "beans.py:task"
budget = ["epochs", 2]
tune = "none"

[grid]
method = ["vae", "sa-vae"]
seed = [0, 1]
"""
FUNCTIONS = """
import os, pathlib, signal, time
import numpy as np

def square(x, folder, name="", bad=()):
    here = pathlib.Path(folder)
    trial = len(list(here.glob(f"{x}-*")))
    (here / f"{x}-{trial}").touch()
    if x in bad and not (here / "mended").exists():
        raise ValueError(f"{x} is bad")
    return {"y": np.float64(x) * x, "xs": np.arange(x), "word": name}

def words(x):
    return "a word"

def odd(x):
    return {"y": object()}

def leaves(x):
    raise SystemExit("enough")
"""
HOME = pathlib.Path(savi.__file__).parents[1]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture
def beans(tmp_path):
    """The path of a plan of four runs, beside its task."""
    (tmp_path / "beans.py").write_text(FILE)
    (tmp_path / "beans.toml").write_text(PLAN)
    return str(tmp_path / "beans.toml")


@pytest.fixture
def squares(tmp_path):
    """A plan of the squares of six numbers; every trial of a run leaves a mark in `marks`."""
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "marks").mkdir()

    def plan(xs=range(6), **shared):
        shared = {"folder": str(tmp_path / "marks"), "name": "word"} | shared
        lines = [f"{key} = {json.dumps(value)}" for key, value in shared.items()]
        text = "\n".join(['function = "functions.py:square"', "[settings]", *lines, "[grid]", f"x = {list(xs)}"])
        (tmp_path / "squares.toml").write_text(text)
        return read(tmp_path / "squares.toml")

    return plan


def swept(plan, out, **options):
    return sweep.sweep(plan, str(out), **({"say": lambda text: None, "jobs": 1} | options))


def trials(folder):
    return sorted(path.name for path in (folder / "marks").iterdir() if "-" in path.name)


TIMES = ("ms_per_step", "train_seconds", "cpu", "seconds")


def numbers(value):
    """A result without the times that were measured."""
    if isinstance(value, dict):
        return {key: numbers(part) for key, part in value.items() if key not in TIMES}
    return [numbers(part) for part in value] if isinstance(value, list) else value


# --- the same numbers -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What the beans' plan gives in this process, one run after the other."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "beans.py").write_text(FILE)
    (folder / "beans.toml").write_text(PLAN)
    return swept(str(folder / "beans.toml"), folder / "out")


def test_two_processes_give_the_same_bits(beans, tmp_path, alone):
    assert numbers(swept(beans, tmp_path / "out", jobs=2)) == numbers(alone)


def test_threads_of_a_given_executor_give_the_same_bits(beans, tmp_path, alone):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert numbers(swept(beans, tmp_path / "out", executor=pool)) == numbers(alone)


def test_processes_of_a_given_executor_give_the_same_bits(beans, tmp_path, alone):
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert numbers(swept(beans, tmp_path / "out", executor=pool)) == numbers(alone)
    assert not list((tmp_path / "out").rglob("last.npz"))  # checkpoints stay where the work is


def test_that_two_results_are_the_same_is_no_empty_word(alone):
    same = numbers(alone)
    text = json.dumps(same)

    def leaves(value, path=()):
        if isinstance(value, dict | list):
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                yield from leaves(part, (*path, key))
        elif isinstance(value, float):
            yield path

    paths = list(leaves(same))
    assert len(paths) > 100
    for path in paths[::7]:
        other = json.loads(text)
        part = other
        for key in path[:-1]:
            part = part[key]
        if part[path[-1]]:
            part[path[-1]] *= 1.001
            assert other != same, path


def test_a_sweep_of_methods_and_seeds_is_what_compare_gives(beans, tmp_path, alone):
    task, shared = str(tmp_path / "beans.py:task"), {"methods": ["vae", "sa-vae"], "seeds": [0, 1], "tune": "none"}
    found = savi.compare(task, str(tmp_path / "compared"), say=lambda text: None, jobs=1, epochs=2, **shared)
    rows = {(row["method"], row["seed"]): row for row in found["rows"]}
    assert len(rows) == 4
    for value in alone.values():
        row = value["row"]
        assert numbers(row) == numbers(rows[row["method"], row["seed"]])
        assert [r["epoch"] for r in value["curve"]["history"]] == [0, 1, 2]


# --- nothing twice, nothing lost --------------------------------------------------------------------------------------------


def test_what_has_ended_is_skipped_when_a_sweep_goes_on_with_more(squares, tmp_path):
    first = swept(squares(range(3)), tmp_path / "out")
    found = swept(squares(range(6)), tmp_path / "out", resume=True)
    assert list(found)[:3] == list(first) and {name: found[name] for name in first} == first
    assert found["x=5"] == {"y": 25.0, "xs": [0, 1, 2, 3, 4], "word": "word"}
    assert trials(tmp_path) == [f"{x}-0" for x in range(6)]


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: text.replace("16.0", "16.1"), lambda text: ""])
def test_a_damaged_result_is_worked_out_again_and_said(squares, tmp_path, damage):
    whole, said = swept(squares(), tmp_path / "out"), []
    path = tmp_path / "out" / "x=4" / "result.json"
    path.write_text(damage(path.read_text()))
    assert swept(squares(), tmp_path / "out", resume=True, say=said.append) == whole
    assert kept(path) == whole["x=4"] and trials(tmp_path) == sorted([*(f"{x}-0" for x in range(6)), "4-1"])
    assert [line for line in said if "cannot read" in line and "x=4" in line and "worked out again" in line]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_raises_is_told_and_the_others_end(squares, tmp_path, jobs):
    said, plan = [], squares(bad=[1, 4])
    with pytest.raises(InputError, match=r"2 of 6 runs failed, the first of them x=[14]: .*is bad") as caught:
        swept(plan, tmp_path / "out", jobs=jobs, say=said.append)
    assert "ValueError" in str(caught.value) and "functions.py, line" in str(caught.value)
    errors = kept(tmp_path / "out" / "errors.json")
    assert set(errors) == {"x=1", "x=4"} and "1 is bad" in errors["x=1"]
    assert sorted(path.parent.name for path in (tmp_path / "out").rglob("result.json")) == ["x=0", "x=2", "x=3", "x=5"]
    assert sum("failed: " in line for line in said) == 2
    (tmp_path / "marks" / "mended").touch()
    found = swept(plan, tmp_path / "out", resume=True)
    assert list(found) == [f"x={x}" for x in (0, 2, 3, 5, 1, 4)] and kept(tmp_path / "out" / "errors.json") == {}
    assert trials(tmp_path) == sorted([*(f"{x}-0" for x in range(6)), "1-1", "4-1"])


@pytest.mark.parametrize(
    "name, words",
    [
        ("words", "gives 'a word'; expected a dict"),
        ("odd", "expected a dict of numbers"),
        ("leaves", "SystemExit enough"),
    ],
)
def test_a_function_that_gives_no_result_is_told_in_a_sentence(squares, tmp_path, name, words):
    plan = squares()._replace(function=f"functions.py:{name}", runs={"x=1": {"x": 1}})
    with pytest.raises(InputError, match=words) as caught:
        swept(plan, tmp_path / "out")
    assert "\n" not in str(caught.value) and "functions.py" in str(caught.value) and name in str(caught.value)


def test_a_folder_that_holds_a_sweep_needs_resume_and_the_same_runs(squares, tmp_path, monkeypatch):
    swept(squares(), tmp_path / "out")
    with pytest.raises(InputError, match="already holds a sweep; add --resume"):
        swept(squares(), tmp_path / "out")
    with pytest.raises(InputError, match=r"run x=0 of .*sweep\.json is another one"):
        swept(squares(name="other"), tmp_path / "out", resume=True)
    with pytest.raises(InputError, match=r"the function of .* is functions\.py:square; expected functions\.py:words"):
        swept(squares()._replace(function="functions.py:words"), tmp_path / "out", resume=True)
    monkeypatch.setattr(savi, "__version__", "9.9")
    with pytest.raises(InputError, match=r"the versions of .*expected .*9\.9"):
        swept(squares(), tmp_path / "out", resume=True)
    assert trials(tmp_path) == [f"{x}-0" for x in range(6)]


def test_a_file_that_has_changed_meanwhile_is_said(squares, tmp_path):
    swept(squares(range(2)), tmp_path / "out")
    (tmp_path / "functions.py").write_text(FUNCTIONS + "\n# another line\n")
    said = []
    swept(squares(range(3)), tmp_path / "out", resume=True, say=said.append)
    assert any("functions.py has changed" in line for line in said)


def test_two_drivers_on_one_folder_are_refused(squares, tmp_path):
    with owned(str(tmp_path / "out")):
        with pytest.raises(InputError, match="another process works in"):
            swept(squares(), tmp_path / "out")
    assert trials(tmp_path) == []
    assert len(swept(squares(), tmp_path / "out")) == 6  # it is free again


def test_parts_of_files_that_a_killed_process_left_are_removed(squares, tmp_path):
    (tmp_path / "out" / "x=1").mkdir(parents=True)
    (tmp_path / "out" / "x=1" / "result.json.0123abcd.part").write_text("half")
    swept(squares(), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_finished_run_is_on_the_disk_before_the_next_begins(squares, tmp_path, monkeypatch):
    there, call = [], runs.call
    monkeypatch.setattr(
        runs, "call", lambda *item: there.append(len(list((tmp_path / "out").rglob("result.json")))) or call(*item)
    )
    swept(squares(), tmp_path / "out")
    assert there == [0, 1, 2, 3, 4, 5]


def test_data_that_differ_between_workers_are_refused(beans, tmp_path):
    (tmp_path / "beans.py").write_text(FILE.replace("default_rng(0)", "default_rng()"))
    with pytest.raises(Refused, match=r"the data 'beans.py:task' are not the same on all workers"):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            swept(beans, tmp_path / "out", executor=Forgetful(pool))


class Forgetful(concurrent.futures.Executor):
    """Runs that have nothing loaded, as each were the first of a process."""

    _max_workers = 1

    def __init__(self, pool):
        self.pool = pool

    def submit(self, *call):
        runs._latest.clear()
        return self.pool.submit(*call)


# --- stopped and gone on with -----------------------------------------------------------------------------------------------


WAITS = """
import multiprocessing, pathlib, time

def waits(s, outputs):
    go = pathlib.Path(__file__).parent / "go"
    while s.seeds == (1,) and multiprocessing.parent_process() and not go.exists():  # the job is stopped before it ends
        time.sleep(0.01)
    return savi.MLP([9, *s.hidden, outputs])

task = savi.Task(**{**vars(task), "encoders": {"mlp": waits}})
"""


@posix
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_a_driver_that_is_stopped_and_resumed_gives_the_numbers_of_one_that_was_not(beans, tmp_path, how):
    pathlib.Path(beans).write_text(PLAN.replace('["epochs", 2]', '["epochs", 15]'))
    (tmp_path / "beans.py").write_text(FILE + WAITS)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "savi", "sweep", beans, "--out", str(out), "--jobs", "2"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": HOME, "start_new_session": True}
    child = subprocess.Popen(command, **pipes)
    started = out / "method=vae,seed=0" / "last.npz"
    while not started.exists() and child.poll() is None:
        time.sleep(0.01)
    if how == signal.SIGINT:
        os.killpg(child.pid, how)  # as a terminal sends it
    else:
        os.kill(child.pid, how)
    error = child.communicate()[1].decode()
    assert child.returncode == (130 if how == signal.SIGINT else -how), error
    if how == signal.SIGINT:
        assert error.startswith("\nstopped; what has ended is in") and "Traceback" not in error
        assert not list(out.rglob("*.part"))
    assert started.exists() and not (out / "method=vae,seed=1" / "result.json").exists()
    found = swept(beans, out, resume=True)
    assert numbers(found) == numbers(swept(beans, tmp_path / "whole"))


@posix
def test_a_run_whose_process_is_killed_in_the_middle_has_the_same_numbers(beans, tmp_path):
    pathlib.Path(beans).write_text(
        PLAN.replace('["epochs", 2]', '["epochs", 20]').replace("seed = [0, 1]", "seed = [0]")
    )
    whole = swept(beans, tmp_path / "whole")
    (tmp_path / "beans.py").write_text(FILE + KILLS)
    found = swept(beans, tmp_path / "out", jobs=2)
    assert (tmp_path / "killed").exists() and numbers(found) == numbers(whole)


KILLS = """
import multiprocessing, os, pathlib, signal

mark, gradient, calls = pathlib.Path(__file__).parent / "killed", savi.SAVAE.gradient, [0]

def once_killed(self, *arguments, **options):
    calls[0] += 1
    if calls[0] == 30 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return gradient(self, *arguments, **options)

if multiprocessing.parent_process() and not hasattr(savi.SAVAE.gradient, "kills"):
    once_killed.kills = True
    savi.SAVAE.gradient = once_killed
"""


# --- seconds ----------------------------------------------------------------------------------------------------------------


def test_seconds_become_epochs_once_for_all_seeds_and_stay_when_the_sweep_goes_on(beans, tmp_path, monkeypatch):
    text = PLAN.replace('["epochs", 2]', '["seconds", 0.02]')
    pathlib.Path(beans).write_text(text)
    cost = {"vae": 0.001, "sa-vae": 0.004}
    measured = []
    monkeypatch.setattr(
        runs, "costs", lambda methods, *_: measured.append(list(methods)) or {name: cost[name] for name in methods}
    )
    found = swept(beans, tmp_path / "out")
    epochs = {name: value["row"]["epochs"] for name, value in found.items()}
    assert epochs == {f"method={m},seed={s}": n for m, n in (("vae", 5.0), ("sa-vae", 1.25)) for s in (0, 1)}
    assert sorted(measured) == [["sa-vae"], ["vae"]]
    assert all(1 in [row["epoch"] for row in value["curve"]["history"]] for value in found.values())  # judged together
    cost["vae"] = 1.0
    pathlib.Path(beans).write_text(text.replace("[0, 1]", "[0, 1, 2]"))
    more = swept(beans, tmp_path / "out", resume=True)
    assert more["method=vae,seed=2"]["row"]["epochs"] == 5.0 and len(measured) == 2


# --- files of the plan far away ---------------------------------------------------------------------------------------------


def test_a_worker_needs_none_of_the_plans_files(tmp_path):
    path = str(tmp_path / "far.py")
    text = b"def twice(x):\n    return {'y': 2 * x}\n"
    found = catalogue.with_files({path: text}, runs.call, f"{path}:twice", {"x": 4})
    assert json.loads(found) == [{"y": 8}]
    with pytest.raises(InputError, match=r"cannot read .*far\.py"):  # it is known for that call alone
        runs.call(f"{path}:twice", {"x": 4})


def test_what_a_function_reads_beside_itself_need_not_be_there(tmp_path):
    path = str(tmp_path / "far.py")
    text = b"from savi.studies.figures import beside\ndef line(x):\n    return {'y': beside(__file__)['slope'] * x}\n"
    files = {path: text, str(tmp_path / "far.json"): b'{"slope": 3}'}
    assert json.loads(catalogue.with_files(files, runs.call, f"{path}:line", {"x": 4})) == [{"y": 12}]
    with pytest.raises(InputError, match=r"cannot read .*far\.json"):
        catalogue.with_files({path: text}, runs.call, f"{path}:line", {"x": 4})


def test_a_file_that_cannot_be_imported_far_away_is_told_with_the_worker(squares, tmp_path):
    plan = squares(range(1))
    (tmp_path / "functions.py").write_text("import a_package_of_this_machine\n")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with pytest.raises(InputError, match=rf"worker .*process {os.getpid()}: .*functions\.py raises ModuleNotFound"):
            swept(plan, tmp_path / "out", executor=pool)


# --- the command line -------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_plan_and_begins_nothing(beans, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", beans, "--dry-run", "--jobs", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("4 runs\n  method: vae, sa-vae\n  seed: 0, 1\nabout ") and "with 2 at a time" in printed
    assert not (tmp_path / "runs").exists()


def test_the_command_writes_to_a_folder_of_the_plans_name(beans, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", beans, "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "[4/4] method=sa-vae,seed=1" in printed and printed.endswith("written to runs/beans\n")
    assert main(["sweep", beans, "--jobs", "1"]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main(["sweep", beans, "--jobs", "1", "--resume"]) == 0
    assert "4 of 4 had ended before" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--limit", "3"], ["the number of runs is 4", "at most 3"]),
        (["--on", "slurm"], ["--on is slurm", "local, mpi or dask://HOST:PORT"]),
        (["--jobs", "0"], ["--jobs is 0", "a whole number >= 1"]),
        (["--retries", "-1"], ["--retries is -1", "a whole number >= 0"]),
    ],
)
def test_a_wrong_flag_gets_one_sentence_and_exit_code_2(beans, tmp_path, capsys, arguments, words):
    assert main(["sweep", beans, "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("savi: ") and error.count("\n") == 1 and all(word in error for word in words), error


# --- how far it is ----------------------------------------------------------------------------------------------------------


def clocked(monkeypatch, total, tell):
    now, said = [100.0], []
    monkeypatch.setattr(conduct.time, "monotonic", lambda: now[0])
    clock = Clock(total, said.append)
    for run in range(total):
        now[0] += 10
        tell(clock, run)
    return said


def test_of_a_few_runs_each_has_its_line_and_the_time_left(monkeypatch):
    said = clocked(
        monkeypatch, 12, lambda clock, run: clock.tell(f"run {run}", error=ValueError("no") if run == 1 else None)
    )
    assert said[0] == "  [ 1/12] run 0   about 2 min left"
    assert said[1] == "  [ 2/12] run 1   failed: no   about 2 min left"
    assert said[-1] == "  [12/12] run 11   1 failed" and len(said) == 12


def test_of_many_runs_each_hundredth_has_a_line_and_every_failure(monkeypatch):
    said = clocked(monkeypatch, 1000, lambda clock, run: clock.tell("x", error="no" if run in (3, 500) else None))
    assert len(said) == 102 and sum("failed: no" in line for line in said) == 2 and said[-1].startswith("  [1000/1000]")


def test_what_had_ended_before_counts_neither_as_work_nor_as_a_line(monkeypatch):
    said = clocked(monkeypatch, 8, lambda clock, run: clock.tell(f"run {run}", new=run >= 6))
    assert said == ["  6 of 8 had ended before", "  [7/8] run 6   about 10 s left", "  [8/8] run 7"]


@pytest.mark.parametrize(
    "seconds, words", [(3.2, "3 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (72000, "20.0 h")]
)
def test_a_duration_in_words(seconds, words):
    assert duration(seconds) == words
