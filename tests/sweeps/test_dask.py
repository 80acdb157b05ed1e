"""Sweeps on a Dask cluster, for real: a scheduler and two workers, each a process of its own, some of which die.

What must happen before something else is waited for by a file, not by the clock.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from test_sweep import FILE, HOME, KILLS, PLAN, WAITS, numbers, swept

from savi.engine.files import InputError
from savi.sweeps import executors
from savi.sweeps.executors import Dask, Refused
from savi.sweeps.plan import read

distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster': pip install distributed")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

FUNCTIONS = """
import os, pathlib, signal, time
import numpy as np

def square(x):
    return {"y": x * x}

def deadly(x, folder):
    if x == 1:
        (pathlib.Path(folder) / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"y": x}

def hungry(x):
    if x == 1:
        eaten = [np.ones(1_000_000) for _ in range(60)]  # 480 MB, then it waits to be stopped
        time.sleep(600)
    return {"y": x}

def waits(x, folder):
    here = pathlib.Path(folder)
    (here / f"began-{x}").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
    return {"y": x}
"""
PATIENCE = 600  # seconds after which what is waited for will not happen
FAILURES = 1  # that the scheduler allows a run before it gives it up


class Cluster:
    """A scheduler and two workers with a thread each, as a user starts them."""

    def __init__(self, folder, port):
        self.folder, self.port, self.on = folder, port, f"dask://127.0.0.1:{port}"
        self.processes = []
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", str(port))
        self.start("worker", f"tcp://127.0.0.1:{port}", "--nworkers", "2", "--nthreads", "1", "--memory-limit", "400MB")

    def start(self, what, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments, "--no-dashboard"]
        home = os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")])
        failures = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(FAILURES)}
        with open(self.folder / f"{what}-{len(self.processes)}.log", "wb") as log:
            more = {"stdout": log, "stderr": log, "start_new_session": True, "cwd": self.folder}
            process = subprocess.Popen(command, env=os.environ | failures | {"PYTHONPATH": home}, **more)
        self.processes.append(process)
        return process

    def stop(self):
        """End every process of the cluster, those that its processes began included."""
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clusters = [Cluster(tmp_path_factory.mktemp("cluster"), port)]
    yield clusters
    for one in clusters:
        one.stop()


@pytest.fixture
def on(cluster, monkeypatch):
    """Where the cluster is, with all the patience that a busy machine needs."""
    monkeypatch.setattr(executors, "SECONDS", 120)
    return cluster[-1].on


@pytest.fixture
def plan(tmp_path):
    """A plan of a function of FUNCTIONS for some x."""
    (tmp_path / "functions.py").write_text(FUNCTIONS)

    def made(name, xs, **shared):
        lines = [f"{key} = {json.dumps(value)}" for key, value in shared.items()]
        text = [f'function = "functions.py:{name}"', "[settings]", *lines, "[grid]", f"x = {list(xs)}"]
        (tmp_path / "plan.toml").write_text("\n".join(text))
        return read(tmp_path / "plan.toml")

    return made


def beans(folder, epochs=2, more=""):
    folder.mkdir(exist_ok=True)
    (folder / "beans.py").write_text(FILE + more)
    (folder / "beans.toml").write_text(PLAN.replace('["epochs", 2]', f'["epochs", {epochs}]'))
    return str(folder / "beans.toml")


def wait_for_workers(on):
    """Both workers are there, or there again."""
    with distributed.Client(on.replace("dask", "tcp"), set_as_default=False) as client:
        client.wait_for_workers(2)


def wait_for(found):
    """What `found()` gives, when it is something. Raises TimeoutError where a job that hangs never gives it."""
    until = time.monotonic() + PATIENCE
    while not (value := found()):
        if time.monotonic() > until:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.02)
    return value


def meanwhile(what):
    """A thread that does `what`; one that hangs keeps no process alive."""
    thread = threading.Thread(target=what, daemon=True)
    thread.start()
    return thread


def test_two_workers_give_the_same_bits_as_this_process(on, tmp_path):
    alone = swept(beans(tmp_path / "a"), tmp_path / "alone")
    assert numbers(swept(beans(tmp_path / "b"), tmp_path / "out", on=on)) == numbers(alone)
    assert sorted(path.name for path in (tmp_path / "out" / "method=vae,seed=0").iterdir()) == ["result.json"]


def test_a_worker_that_is_killed_in_the_middle_is_replaced_and_the_numbers_are_the_same(on, tmp_path):
    alone = swept(beans(tmp_path / "a", epochs=10), tmp_path / "alone")
    found = swept(beans(tmp_path / "b", epochs=10, more=KILLS), tmp_path / "out", on=on)
    assert (tmp_path / "b" / "killed").exists() and numbers(found) == numbers(alone)


def test_a_run_that_always_kills_its_worker_is_given_up_and_the_others_end(on, plan, tmp_path):
    (tmp_path / "dead").mkdir()
    with pytest.raises(
        InputError, match=rf"1 of 5 runs failed, .* x=1: its worker died {FAILURES + 1} times, .*tcp://"
    ):
        swept(plan("deadly", range(5), folder=str(tmp_path / "dead")), tmp_path / "out", on=on)
    assert len(list((tmp_path / "dead").iterdir())) == FAILURES + 1
    ended = sorted(path.parent.name for path in (tmp_path / "out").rglob("result.json"))
    assert ended == ["x=0", "x=2", "x=3", "x=4"]


def test_a_worker_over_its_memory_limit_is_told_and_the_others_end(on, plan, tmp_path):
    with pytest.raises(InputError, match=r"1 of 4 runs failed, .* x=1: its worker died .* its log may say of what"):
        swept(plan("hungry", range(4)), tmp_path / "out", on=on)
    ended = sorted(path.parent.name for path in (tmp_path / "out").rglob("result.json"))
    assert ended == ["x=0", "x=2", "x=3"]


@pytest.mark.parametrize("name", ["savi", "NumPy"])
def test_a_worker_of_another_version_is_refused_by_name_before_anything_begins(on, plan, tmp_path, monkeypatch, name):
    wait_for_workers(on)
    here = executors.versions() | {name: "99.0"}
    original = executors.versions
    monkeypatch.setattr(executors, "versions", lambda: here)
    words = (
        rf"worker tcp://127\.0\.0\.1:\d+ has {name} {original()[name]}; expected 99\.0, as in the process that began"
    )
    with pytest.raises(Refused, match=words):
        swept(plan("square", range(3)), tmp_path / "out", on=on)
    assert not list((tmp_path / "out").rglob("result.json"))


def test_a_file_that_a_worker_cannot_import_is_told_with_the_workers_name(on, plan, tmp_path):
    found = plan("square", range(1))
    (tmp_path / "functions.py").write_text("import a_package_of_another_machine\n")
    words = (
        rf"worker {socket.gethostname()}, process \d+: .*functions\.py raises ModuleNotFoundError: .*another_machine"
    )
    with pytest.raises(InputError, match=words) as caught:
        swept(found, tmp_path / "out", on=on)
    assert f"process {os.getpid()}:" not in str(caught.value)


def test_a_scheduler_that_does_not_answer_is_a_sentence(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "SECONDS", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InputError) as caught:
            swept(plan("square", range(1)), tmp_path / "out", on=f"dask://{address}")
    assert str(caught.value) == f"no Dask scheduler answers at {address} within 0.2 s; expected one"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_driver_that_is_stopped_and_resumed_gives_the_same_numbers(on, tmp_path, how):
    path, out = beans(tmp_path, more=WAITS), tmp_path / "out"
    command = [sys.executable, "-m", "savi", "sweep", path, "--out", str(out), "--on", on]
    try:
        with subprocess.Popen(command, cwd=HOME, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as driver:
            wait_for(lambda: list(out.rglob("result.json")) or driver.poll() is not None)
            driver.send_signal(how)
            error = driver.communicate()[1].decode()
        before = {found.parent.name: found.read_bytes() for found in out.rglob("result.json")}
    finally:
        (tmp_path / "go").touch()  # no worker waits any longer
    assert driver.returncode == (130 if how == signal.SIGINT else -how), error
    assert "Traceback" not in error, error
    told = "\nstopped; what has ended is in" in error  # perhaps after a word of Dask's on a machine that is slow
    assert told == (how == signal.SIGINT), error
    assert 0 < len(before) < 4
    (tmp_path / "beans.py").write_text(FILE)
    found = swept(path, out, on=on, resume=True)
    assert {name: (out / name / "result.json").read_bytes() for name in before} == before
    assert numbers(found) == numbers(swept(path, tmp_path / "alone"))


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the client has given up"])
def test_a_scheduler_that_is_restarted_in_the_middle_loses_nothing(cluster, on, plan, tmp_path, monkeypatch, late):
    folder, again = tmp_path / "marks", Dask.again
    folder.mkdir()
    monkeypatch.setattr(executors, "SECONDS", 5 if late else 120)
    monkeypatch.setattr(Dask, "again", lambda *arguments: (folder / "gone").touch() or again(*arguments))
    found = plan("waits", range(5), folder=str(folder))

    def restart():
        wait_for(lambda: len(list(folder.iterdir())) == 2)
        cluster[-1].stop()
        wait_for((folder / "gone").exists if late else lambda: True)
        cluster.append(Cluster(cluster[-1].folder, cluster[-1].port))
        (folder / "go").touch()

    mischief = meanwhile(restart)
    assert swept(found, tmp_path / "out", on=on) == {f"x={x}": {"y": x} for x in range(5)}
    mischief.join()
    assert (folder / "go").exists() and ((folder / "gone").exists() or not late)


def test_a_scheduler_that_goes_away_and_stays_away_ends_the_job_in_a_sentence(cluster, plan, tmp_path, monkeypatch):
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setattr(executors, "SECONDS", 2)
    monkeypatch.setattr(executors, "RESTART", 0)

    def stop():
        wait_for(lambda: list(folder.iterdir()))
        cluster[-1].stop()

    mischief = meanwhile(stop)
    with pytest.raises(InputError, match="no Dask scheduler answers at 127"):
        swept(plan("waits", range(3), folder=str(folder)), tmp_path / "out", on=cluster[-1].on)
    mischief.join()
