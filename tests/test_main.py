"""python -m savi as a program in the world: its output unread, its start interrupted, its folders shared."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

TINY = (
    "compare --methods vae --seeds 0 1 --epochs 1 --train-examples 40 --test-examples 10 --latent 2 --hidden 4 --steps 1 "
    "--iw-samples 5 --gap-examples 2 --quiet"
).split()
TASK = """
import numpy as np
import savi

x = (np.random.default_rng(0).random((100, 6)) < 0.4).astype(float)
task = savi.Task(
    "bits", "six bits", load=lambda: savi.data.Dataset("bits", x[:60], x[60:80], x[80:]),
    decoder=lambda s: savi.MLPDecoder(savi.MLP([s.latent, *s.hidden, 6]), savi.Bernoulli()),
    encoders={"mlp": lambda s, outputs: savi.MLP([6, *s.hidden, outputs])},
)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, beside a small task.py; TINY runs there on --data ../task.py:task."""
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(__file__)))
    return tmp_path / "here"


SMALL = [*TINY, "--data", "../task.py:task"]


def savi(*arguments, **how):
    """A finished `python -m savi`."""
    how = {"stdout": subprocess.PIPE} | how
    return subprocess.run(
        [sys.executable, "-m", "savi", *arguments], stderr=subprocess.PIPE, text=True, check=False, **how
    )


# --- output that nobody reads -----------------------------------------------------------------------------------------------


def unread(*arguments):
    """`python -m savi` whose standard output is a pipe that is closed."""
    read, write = os.pipe()
    os.close(read)
    try:
        return savi(*arguments, stdout=write)
    finally:
        os.close(write)


def full(*arguments):
    """`python -m savi` whose standard output is on a disk that is full."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as file:
        return savi(*arguments, stdout=file)


@pytest.mark.parametrize("how", [unread, full])
@pytest.mark.parametrize("arguments", ["data list", "lesson", "--help", "compare --help"])
def test_output_that_nobody_reads_is_told_by_the_exit_code_alone(here, how, arguments):
    done = how(*arguments.split())
    assert (done.returncode, done.stderr) == (74, "")


def test_a_verdict_stands_where_nobody_reads_it(here):
    done = unread("check", "03")
    assert (done.returncode, done.stderr) == (1, "")


def test_a_comparison_whose_words_nobody_reads_is_worked_out_all_the_same(here):
    done = unread(*SMALL)
    assert (done.returncode, done.stderr) == (74, "")
    assert {"results.json", "results.csv", "compare.png"} <= set(os.listdir("runs/compare"))


def test_the_exit_codes_are_in_the_help(here):
    printed = savi("--help").stdout
    assert all(f"\n  {code} " in printed for code in (0, 1, 2, 74, 130))


# --- Ctrl-C while Python still imports ----------------------------------------------------------------------------------------

INTERRUPT = """
import atexit, os, signal, sys

names = []


def hook(event, arguments):
    if event == "import":
        if names or arguments[0] == "savi":
            names.append(arguments[0])
        if len(names) == int(os.environ["INTERRUPT_AT"]):
            names.append("-")
            os.kill(os.getpid(), signal.SIGINT)


sys.addaudithook(hook)
atexit.register(lambda: print(len(names), file=open("imports", "w")))
"""


def interrupted(tmp_path, at, *arguments):
    """A finished `python -m savi` that was interrupted at its import number `at`."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    return savi(*arguments, env=os.environ | {"PYTHONPATH": path, "INTERRUPT_AT": str(at)})


@pytest.mark.parametrize(
    "arguments, moments", [(["lesson"], 8), ([*SMALL, "--jobs", "1"], 8)], ids=["lesson", "compare"]
)
def test_ctrl_c_while_python_imports_leaves_no_traceback(here, arguments, moments):
    interrupted(here, -1, *arguments)
    imports = int((here / "imports").read_text())
    assert imports > 100
    for i in range(moments):
        at = 2 + (imports - 2) * i // moments  # the first import is that of savi itself, which imports nothing
        done = interrupted(here, at, *arguments)
        assert done.returncode == 130, at
        assert done.stderr == "" or (done.stderr.startswith("\nstopped; ") and done.stderr.count("\n") == 2), at


# --- steps that are far too large ---------------------------------------------------------------------------------------------


def test_a_comparison_that_diverges_at_test_time_ends_with_its_table_and_its_picture(here):
    done = savi(*SMALL, "--methods", "vae", "vae-then-svi", "--step-size", "1e30", "--tune", "none", "--seeds", "0")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "nan" in done.stdout and {"compare.png", "results.csv"} <= set(os.listdir("runs/compare"))


# --- folders ------------------------------------------------------------------------------------------------------------------

SLOW = (
    TASK
    + """
import os, time

quick = task.load


def load():
    open(f"loading-{os.getpid()}", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
    return quick()


object.__setattr__(task, "load", load)
"""
)


@pytest.fixture
def slow(here):
    """The folder `here` with a task.py that loads its data no earlier than there is a file `go`."""
    (here.parent / "task.py").write_text(SLOW)
    return here


def begun(*arguments):
    """A `python -m savi` that has begun to load its data."""
    process = subprocess.Popen(
        [sys.executable, "-m", "savi", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not os.path.exists(f"loading-{process.pid}"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def rows(folder):
    """What a comparison found, without times."""
    found = json.loads((folder / "results.json").read_text())["rows"]
    return [{k: v for k, v in row.items() if k not in ("ms_per_step", "train_seconds", "cpu")} for row in found]


def test_two_comparisons_at_a_time_take_two_folders_before_they_load_anything(slow):
    both = [begun(*SMALL, "--jobs", "1") for _ in range(2)]
    assert sorted(os.listdir("runs")) == ["compare", "compare-2"]
    (slow / "go").touch()
    for process in both:
        err = process.communicate()[1]
        assert (process.returncode, err) == (0, "")
    assert rows(slow / "runs" / "compare") == rows(slow / "runs" / "compare-2")


def test_a_folder_belongs_to_one_comparison_at_a_time_and_is_free_after_a_kill(slow):
    first = begun(*SMALL, "--jobs", "1", "--out", "out")
    for more in ([], ["--resume"]):
        second = savi(*SMALL, "--out", "out", *more)
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr == "savi: another process works in out; expected a folder that is free\n"
    first.kill()
    assert first.wait() == -signal.SIGKILL
    first.communicate()
    (slow / "go").touch()
    assert savi(*SMALL, "--jobs", "1", "--out", "out", "--resume").returncode == 0


@pytest.mark.parametrize("end", [2, 130])
def test_a_new_folder_into_which_nothing_came_is_gone_again(slow, end):
    if end == 130:
        process = begun(*SMALL, "--jobs", "1")
        process.send_signal(signal.SIGINT)
        assert "nothing was saved yet" in process.communicate()[1] and process.returncode == end
    else:
        assert savi(*SMALL, "--methods", "vea").returncode == end
    assert os.listdir("runs") == []


@pytest.mark.parametrize("command", ["compare", "sweep"])
def test_a_folder_to_go_on_with_has_to_be_there(here, command):
    (here / "plan.toml").write_text('[settings]\ndata = "glyphs"\nmethod = "vae"\n[grid]\nseed = [0]\n')
    arguments = SMALL if command == "compare" else ["sweep", "plan.toml"]
    for more in (["--out", "typo"], []):
        done = savi(*arguments, "--resume", *more)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert done.stderr.startswith("savi: there is no folder ") and "to go on with" in done.stderr
    assert not os.path.exists("typo") and not os.path.exists("runs")


def test_a_folder_to_go_on_with_holds_a_comparison_or_nothing(here):
    (here / "letters").mkdir()
    assert savi(*SMALL, "--jobs", "1", "--resume", "--out", "letters").returncode == 0  # stopped before it was begun
    (here / "photographs").mkdir()
    (here / "photographs" / "cat.png").touch()
    done = savi(*SMALL, "--resume", "--out", "photographs")
    assert done.returncode == 2 and "cannot read photographs/settings.json" in done.stderr
    assert os.listdir("photographs") == ["cat.png"]


@pytest.mark.parametrize(
    "arguments", [SMALL, ["sweep", "plan.toml"], ["lesson", "03", "--notebook"]], ids=lambda a: a[0]
)
def test_an_empty_name_is_no_folder(here, arguments):
    done = savi(*arguments, "--out", "")
    assert done.returncode == 2 and done.stderr.startswith("savi: --out is ''; expected a f")
