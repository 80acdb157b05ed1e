"""Runs side by side: every run is worked out once and told once, whatever dies, raises or is interrupted meanwhile.

What must happen before something else is waited for by a file that says it has happened, not by the clock.
"""

import concurrent.futures
import multiprocessing
import os
import pathlib
import signal
import sys
import threading
import time

import pytest

from savi.engine import threads
from savi.engine.files import InputError
from savi.sweeps import executors, processes
from savi.sweeps.executors import MPI, Dask, Engine, Given, Gone, Local, Refused, find
from savi.sweeps.parallel import Ended, Lost, as_they_end, run_all

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def square(x):
    return x * x


def sorted_values(ended):
    return [value for _, value, error in sorted(ended, key=lambda e: e.index) if error is None]


def marked(folder, name):
    """Whether this is not the first time that `name` comes here."""
    path = pathlib.Path(folder) / name
    there = path.exists()
    path.touch()
    return there


def wait_for(path):
    while not pathlib.Path(path).exists():
        time.sleep(0.01)


# --- every run once ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [None, Local(2)], ids=["here", "two processes"])
def test_every_run_is_worked_out_once_and_has_its_own_value(engine):
    ended = list(as_they_end(square, [(n,) for n in range(7)], engine))
    assert sorted(ended) == [Ended(n, n * n) for n in range(7)]
    assert list(as_they_end(square, [], engine)) == []


def test_a_pool_of_threads_that_the_caller_made_is_used_and_left_open():
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert sorted_values(as_they_end(square, [(n,) for n in range(9)], Given(pool))) == [n * n for n in range(9)]
        assert pool.submit(square, 3).result() == 9


def test_no_more_is_under_way_than_there_are_workers_and_the_next_begins_when_the_caller_comes_back():
    lock, now, most, begun = threading.Lock(), [0], [0], []

    def work(n):
        with lock:
            begun.append(n)
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.005)
        with lock:
            now[0] -= 1
        return n

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ended = as_they_end(work, [(n,) for n in range(12)], Given(pool, 3))
        for count, _ in enumerate(ended):
            time.sleep(0.02)  # all that may begin has begun
            assert len(begun) <= 3 + count
    assert most[0] <= 3 and sorted(begun) == list(range(12))


def test_results_come_as_they_end_and_run_all_puts_them_in_order(tmp_path):
    items = [(str(tmp_path), n) for n in range(2)]
    assert [e.index for e in as_they_end(first_waits_for_second, items, Local(2))] == [1, 0]
    for mark in tmp_path.iterdir():
        mark.unlink()
    assert list(run_all(first_waits_for_second, items, 2)) == [0, 1]


def first_waits_for_second(folder, n):
    if n == 0:
        wait_for(pathlib.Path(folder) / "1")
    marked(folder, str(n))
    return n


def thread_count(_):
    return threads.count()


def test_every_run_has_one_thread_and_the_callers_number_comes_back():
    with threads.using(3):
        for engine in (None, Local(2)):
            assert sorted_values(as_they_end(thread_count, [(0,), (1,)], engine)) == [1, 1]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            assert sorted_values(as_they_end(thread_count, [(0,), (1,)], Given(pool))) == [1, 1]
        assert threads.count() == 3


# --- runs that raise --------------------------------------------------------------------------------------------------------


class Awkward(Exception):
    """An exception that cannot be made again from what it is pickled as."""

    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def raises(n):
    if n == 1:
        raise ValueError("one is not allowed")
    if n == 2:
        raise Awkward("two parts", "are needed")
    return n


@pytest.mark.parametrize("engine", [None, Local(2)], ids=["here", "two processes"])
def test_a_run_that_raises_is_told_and_the_others_end(engine):
    found = {e.index: e for e in as_they_end(raises, [(n,) for n in range(5)], engine)}
    assert [found[n].value for n in (0, 3, 4)] == [0, 3, 4]
    assert isinstance(found[1].error, ValueError) and str(found[1].error) == "one is not allowed"
    assert "two parts" in str(found[2].error) and not isinstance(found[2].error, Lost)


def test_run_all_raises_what_a_run_raised():
    with pytest.raises(ValueError, match="one is not allowed"):
        list(run_all(raises, [(0,), (1,)], 2))


def test_a_run_far_away_says_where_it_raised():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        found = list(as_they_end(raises, [(1,)], Given(pool)))
    assert f"process {os.getpid()}: ValueError: one is not allowed" in str(found[0].error)


def exits(n):
    sys.exit(f"{n} gives up")


def test_a_run_that_exits_ends_neither_its_process_nor_the_others():
    (ended,) = as_they_end(exits, [(1,)], Local(1))
    assert isinstance(ended.error, SystemExit)


# --- workers that die -------------------------------------------------------------------------------------------------------


def dies(folder, n, bad):
    """The run `bad` kills its process whenever it is tried; each trial leaves a mark."""
    trial = len(list(pathlib.Path(folder).glob(f"{n}-*")))
    (pathlib.Path(folder) / f"{n}-{trial}").touch()
    if n == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    if n == bad + 1 and trial == 0:
        wait_for(pathlib.Path(folder) / f"{bad}-0")  # under way while the other process dies
    return n


@posix
def test_a_run_that_always_kills_its_process_is_given_up_after_its_retries_and_takes_no_other_along(tmp_path):
    found = {e.index: e for e in as_they_end(dies, [(str(tmp_path), n, 1) for n in range(5)], Local(2), retries=2)}
    assert [found[n].value for n in (0, 2, 3, 4)] == [0, 2, 3, 4]
    assert isinstance(found[1].error, Lost) and "its worker died 3 times" in str(found[1].error)
    trials = sorted(path.name for path in tmp_path.iterdir())
    assert trials == ["0-0", "1-0", "1-1", "1-2", "2-0", "3-0", "4-0"]  # the innocent were begun once


def dies_once(folder, n):
    if n == 1 and not marked(folder, "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    return n


@posix
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_process_that_dies_in_the_middle_is_replaced_and_its_run_begins_again(tmp_path, jobs):
    ended = list(as_they_end(dies_once, [(str(tmp_path), n) for n in range(4)], Local(jobs)))
    assert sorted_values(ended) == [0, 1, 2, 3] and (tmp_path / "died").exists()


@posix
def test_a_given_pool_that_breaks_ends_the_job_in_a_sentence(tmp_path):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(InputError, match="the executor takes no more runs"):
            list(as_they_end(dies_once, [(str(tmp_path), n) for n in range(4)], Given(pool)))


def test_a_given_pool_that_was_shut_down_is_told():
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(InputError, match=r"no more runs \(cannot schedule new futures"):
        list(as_they_end(square, [(1,)], Given(pool)))


class Fickle(Engine):
    """An executor that goes away once it has been given three runs, with all that is under way, and comes again."""

    def __init__(self, times):
        self.times, self.opened, self.log = times, 0, []

    def open(self):
        self.opened += 1
        self.given = 0
        return []

    def workers(self, executor):
        return 2

    def submit(self, executor, function, item):
        if self.given == 3 and self.opened <= self.times:
            raise Gone("it went away")
        self.given += 1
        future = concurrent.futures.Future()
        executor.append((future, function, item))
        return future

    def done(self, running):
        executor = self.executor
        for future, function, item in executor[:1]:
            future.set_result(function(*item))
        del executor[:1]
        return super().done(running)

    def again(self, executor, why):
        for future, *_ in executor:
            future.cancel()
            future.set_running_or_notify_cancel()
        self.executor = self.open()
        return self.executor

    def close(self, executor, at_once=False):
        self.log.append(at_once)


@pytest.mark.parametrize("times", [0, 1, 4])
def test_what_an_executor_lets_go_of_begins_again_in_the_next_one(times):
    engine = Fickle(times)
    original = engine.open
    engine.open = lambda: setattr(engine, "executor", original()) or engine.executor
    ended = list(as_they_end(square, [(n,) for n in range(20)], engine, retries=0))  # it is no death of a worker
    assert sorted(ended) == [Ended(n, n * n) for n in range(20)]
    assert engine.opened == times + 1 and engine.log == [False]


# --- Ctrl-C and the end of the driver ---------------------------------------------------------------------------------------


def saves(folder, n):
    """Works until it is interrupted, saves, and would go on for ever without."""
    try:
        marked(folder, f"began-{n}")
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        marked(folder, f"saved-{n}")
        raise


@posix
def test_an_interrupt_reaches_every_process_and_what_saves_is_waited_for(tmp_path):
    ended = as_they_end(saves, [(str(tmp_path), n) for n in range(4)], Local(2))
    timer = threading.Thread(target=interrupt_when_begun, args=(tmp_path,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(ended)
    timer.join()
    assert {path.name for path in tmp_path.iterdir()} == {"began-0", "began-1", "saved-0", "saved-1"}


def interrupt_when_begun(folder):
    for n in range(2):
        wait_for(folder / f"began-{n}")
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@posix
def test_a_caller_who_leaves_before_the_processes_have_begun_does_not_wait_for_whole_runs(tmp_path):
    executor = processes.Processes()
    futures = [executor.submit(processes.work, saves, (str(tmp_path), n)) for n in range(2)]
    executor.shutdown(cancel_futures=True)  # the processes import still
    assert all(f.cancelled() or isinstance(f.exception(), KeyboardInterrupt) for f in futures)


@posix
def test_an_interrupted_run_interrupts_the_job(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        list(as_they_end(interrupts_itself, [(0,), (1,)], Local(2)))


def interrupts_itself(_):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


def test_a_caller_who_leaves_cancels_what_a_given_pool_has_not_begun():
    gate, begun = threading.Event(), []

    def work(n):
        begun.append(n)
        if n:
            gate.wait()
        return n

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ended = as_they_end(work, [(n,) for n in range(6)], Given(pool, 3))
        assert next(ended).value == 0
        ended.close()
        gate.set()
    assert set(begun) <= {0, 1}


def test_processes_that_last_are_used_again_and_end_with_their_owner():
    with processes.Processes() as lasting:
        (first,), (second,) = (list(as_they_end(own_number, [()], Local(2, lasting))) for _ in range(2))
        assert first.value == second.value != os.getpid()
        assert list(run_all(square, [(2,), (3,)], 2, lasting)) == [4, 9]
    assert sys.platform == "win32" or not alive(first.value)


def own_number():
    return os.getpid()


@posix
def test_no_process_outlives_a_driver_that_is_killed(tmp_path):
    context = multiprocessing.get_context("spawn")
    driver = context.Process(target=drive, args=(str(tmp_path),))
    driver.start()
    wait_for(tmp_path / "pid")
    pid = int((tmp_path / "pid").read_text())
    os.kill(driver.pid, signal.SIGKILL)
    driver.join()
    while alive(pid):
        time.sleep(0.01)


def drive(folder):
    list(as_they_end(tells_its_number, [(folder,)], Local(2)))


def tells_its_number(folder):
    part = pathlib.Path(folder) / "part"
    part.write_text(str(os.getpid()))
    part.rename(pathlib.Path(folder) / "pid")
    while True:
        time.sleep(0.01)


def alive(pid):
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        if not os.path.exists("/proc/self"):
            try:
                os.kill(pid, 0)
                return True
            except ProcessLookupError:
                return False
        return False


# --- engines by their words -------------------------------------------------------------------------------------------------


def test_the_words_of_on():
    assert find("local", 1) is None and find("local", 3).jobs == 3
    assert isinstance(find("mpi", 1), MPI) and find("dask://some.host:8786", 1).address == "some.host:8786"
    assert isinstance(find("dask://h:1", 4), Dask)


@pytest.mark.parametrize("on", ["slurm", "dask://", "dask://host", "dask://host:many", "dask://:8786", "tcp://host:1"])
def test_an_unknown_place_is_refused(on):
    with pytest.raises(InputError, match=r"--on is .*; expected local, mpi or dask://HOST:PORT"):
        find(on, 2)


@pytest.mark.parametrize("name, module", [("mpi", "mpi4py.futures"), ("dask://localhost:1", "distributed")])
def test_an_engine_that_is_not_installed_is_told_in_a_sentence(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"expected .*installed"):
        find(name, 2).open()


@pytest.mark.parametrize("name", ["savi", "NumPy"])
def test_a_worker_of_another_version_is_refused_by_name(name, monkeypatch):
    expected = executors.versions() | {name: "0.0.1"}
    monkeypatch.setattr(executors, "versions", lambda versions=executors.versions: versions())
    with pytest.raises(Refused, match=rf"worker .*process {os.getpid()} has {name} .*; expected 0.0.1"):
        executors._far(expected, square, (3,))
    assert executors._far(executors.versions(), square, (3,)) == 9
