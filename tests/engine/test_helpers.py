"""Helper processes: the bits of threads with the same cut; whatever ends, nothing is lost, left behind or waited for."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from unittest import mock

import numpy as np
import pytest

from savi import (
    MLP,
    SAVAE,
    SVI,
    VAE,
    VAESVI,
    Bernoulli,
    InputError,
    LatentGaussianModel,
    MLPDecoder,
    PixelCNNDecoder,
    fit,
)
from savi.data import Dataset
from savi.engine import blas, helpers, threads

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not blas.holds() or not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="helpers need Linux, NumPy's OpenBLAS and a Python with a lock",
)
ENCODER = MLP([30, 40, 8])
METHODS = [VAE(ENCODER), SVI(3), SAVAE(ENCODER, 3), VAESVI(ENCODER, 3), VAESVI(ENCODER, 3, kl=True)]
MODEL = LatentGaussianModel(MLPDecoder(MLP([4, 40, 30]), Bernoulli()))
SECONDS = 30  # until when something must have happened that happens at once


@pytest.fixture(autouse=True)
def parts_of_any_size(monkeypatch):
    """Two threads, or as many as a test asks for, each with a part of even a small batch; no child is left in the end.

    Threads that other tests have left are no reason to have no helpers.
    """
    parts, cut, others, before = helpers.parts, threads.slices, helpers._others, helpers._others()
    monkeypatch.setattr(helpers, "_others", lambda: [thread for thread in others() if thread not in before])
    monkeypatch.delenv("SAVI_HELPERS", raising=False)
    monkeypatch.setattr(helpers, "parts", lambda n, *step: parts(n, 1, 1e12, 4))
    monkeypatch.setattr(threads, "slices", lambda n, work, most=None: cut(n, 1e12, most))
    threads.use(2)
    yield
    threads.use(None)
    with pytest.raises(ChildProcessError):  # none at all, not even one that has ended and waits to be asked
        os.waitpid(-1, os.WNOHANG)


def setting(method, dtype=np.float64, batch=7):
    rng = np.random.default_rng(0)
    theta, phi = MODEL.init(rng, dtype), method.init(rng, dtype)
    return theta, phi, (rng.random((batch, 30)) < 0.5).astype(dtype)


def bits(arrays):
    return [(a.dtype, a.shape, a.tobytes()) for a in arrays]


def processes(team=None):
    return [member.pid for member in (team or helpers._kept.get()).members]


def open_files():
    return sorted(os.listdir("/proc/self/fd"))


# --- the same numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_gradient_with_helpers_has_the_bits_of_threads(method, count, dtype):
    threads.use(count)
    theta, phi, x = setting(method, dtype)

    def three():
        rng, found = np.random.default_rng(1), []
        for b, rows in ((1.0, slice(None)), (0.5, slice(2, 5)), (0.1, slice(0, 1))):
            found += bits(method.gradient(MODEL, theta * (1 + b), phi * b, x[rows], rng, b))
        return found, rng.random()

    here = three()
    with helpers.kept():
        assert three() == here
        assert len(processes()) == count - 1 and helpers._kept.get().owners == (method, MODEL)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("z_at", ["late", "input"])
def test_a_helper_works_on_chunks_of_its_part_and_has_the_bits_of_threads(z_at, count):
    threads.use(count)
    model, rng = LatentGaussianModel(PixelCNNDecoder((4, 3), 2, 2, 2, z_at=z_at)), np.random.default_rng(0)
    encoder, model.chunk = MLP([12, 4]), 1
    theta, phi, x = model.init(rng), encoder.init(rng), (rng.random((7, 12)) < 0.5).astype(float)
    for method in (VAE(encoder), SAVAE(encoder, 2)):
        here = bits(method.gradient(model, theta, phi, x, np.random.default_rng(1)))
        with helpers.kept():
            assert bits(method.gradient(model, theta, phi, x, np.random.default_rng(1))) == here
            assert len(processes()) == count - 1


@pytest.mark.parametrize("method", METHODS[1:], ids=lambda m: m.name)
def test_inference_with_helpers_has_the_bits_of_threads_between_gradients_and_of_any_length(method, monkeypatch):
    theta, phi, x = setting(method)

    def found():
        rng = np.random.default_rng(1)
        return [
            bits(arrays) for arrays in (
                [method.infer(MODEL, theta, phi, x, rng)], method.gradient(MODEL, theta, phi, x, rng),
                [method.infer(MODEL, theta, phi, x[:5], rng, 0)], [method.infer(MODEL, theta, phi, x, rng, 9)], [rng.random(1)],
            )
        ]  # fmt: skip

    here = found()
    with helpers.kept():
        assert found() == here and len(processes()) == 1
    monkeypatch.setattr("savi.inference.base.HELD", 1000)  # the noise of one step, and not of three
    with helpers.kept():
        assert found() == here
    with helpers.kept():
        other = method.with_inner(step_size=0.1)
        other.infer(MODEL, theta, phi, x, np.random.default_rng(1), 3)
        assert processes() == []  # which would be another's, and not there for the training
        method.gradient(MODEL, theta, phi, x, np.random.default_rng(1))
        assert len(processes()) == 1 and not helpers.there(other, MODEL) and helpers.there(method, MODEL)


def by_threads(function, items, arguments, owners):
    return threads.side_by_side(lambda item: function(item, *arguments), items)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", METHODS[:3], ids=lambda m: m.name)
def test_a_fit_with_helpers_is_a_fit_with_threads(method, dtype, monkeypatch):
    with_helpers = trained(method, dtype=dtype)
    monkeypatch.setattr(helpers, "side_by_side", by_threads)
    assert bits(with_helpers.last) == bits(trained(method, dtype=dtype).last)
    monkeypatch.undo()
    monkeypatch.setattr(helpers, "_others", list)


X = (np.random.default_rng(3).random((40, 30)) < 0.5).astype(float)
DATA = Dataset("few", X[:30], X[30:])


def trained(method, epochs=2, **settings):
    return fit(MODEL, method, DATA, epochs, progress=False, **{"batch": 8, "learning_rate": 0.01, **settings})


def test_an_interrupted_and_resumed_fit_gives_the_bits_of_one_that_was_not(tmp_path):
    method, steps = SAVAE(ENCODER, 2), []
    whole = trained(method)

    class Stopped(SAVAE):
        def gradient(self, *arguments):
            steps.append(processes())
            if len(steps) == 6:
                raise KeyboardInterrupt
            return super().gradient(*arguments)

        def __repr__(self):
            return repr(method)

    with pytest.raises(KeyboardInterrupt):
        trained(Stopped(ENCODER, 2), out=tmp_path)
    assert steps[0] == [] and len(steps[-1]) == 1
    again = trained(method, out=tmp_path, resume=True)
    assert bits(again.last) == bits(whole.last)


@pytest.mark.parametrize("wrong", ["scaled", "dropped"])
def test_a_part_that_is_wrong_is_told_apart(wrong, monkeypatch):
    method, answer = SAVAE(ENCODER, 2), helpers.Helper.answer
    theta, phi, x = setting(method)
    here = bits(method.gradient(MODEL, theta, phi, x, np.random.default_rng(1)))
    factor = {"scaled": 1.001, "dropped": 0.0}[wrong]
    monkeypatch.setattr(helpers.Helper, "answer", lambda self: [a * factor for a in answer(self)])
    with helpers.kept():
        there = bits(method.gradient(MODEL, theta, phi, x, np.random.default_rng(1)))
    assert all(one != other for one, other in zip(here, there))


# --- what is given and what comes back --------------------------------------------------------------------------------------


def ask(function, *arguments, items=(0, 1)):
    return helpers.side_by_side(function, list(items), arguments, (function, None))


def test_arrays_of_any_kind_arrive_as_they_were_and_so_do_those_that_find_no_room():
    kinds = [
        np.arange(6.0).reshape(2, 3).T, np.arange(10)[::3], np.zeros((0, 3)), np.array(2.0), np.array([True]),
        [np.float32(1), "word"], np.arange(5, dtype=complex),
    ]  # fmt: skip

    def shown(a):
        return (a.shape, a.dtype, a.tobytes()) if isinstance(a, np.ndarray) else repr(a)

    def part(item, *arguments):
        return item, os.getpid(), [shown(a) for a in arguments], arguments

    with helpers.kept():
        for given in (kinds, [np.arange(1e6), *kinds], kinds):  # a megabyte is there in any case; eight are not
            (_, here, one, _), (item, there, other, back) = ask(part, *given)
            assert one == other == [shown(a) for a in back] and item == 1 and here == os.getpid() != there


def test_a_part_runs_with_one_thread_and_its_own_parts_run_where_they_are():
    def part(item):
        return helpers.parts(9, 1, 1e12, 4), threads.side_by_side(lambda _: threading.get_ident(), [0, 1])

    with helpers.kept():
        assert helpers.parts(9, 1, 1e12, 4) == 2
        for parts, (one, other) in ask(part):
            assert parts == 1 and one == other


def test_only_the_first_owners_have_helpers_and_fewer_items_than_helpers_are_fine():
    def part(item):
        return os.getpid()

    def other(item):
        return os.getpid()

    with helpers.kept():
        assert len(set(ask(part, items=range(4)))) == 4
        assert len(set(ask(part, items=range(2)))) == 2 and set(ask(part, items=[0])) == {os.getpid()}
        assert set(ask(other)) == {os.getpid()} and len(processes()) == 3


def test_a_helpers_processor_seconds_count_also_when_it_has_ended():
    def part(item):
        until = time.process_time() + item
        while time.process_time() < until:
            pass

    with helpers.kept():
        before = helpers.processor_seconds() - time.process_time()
        ask(part, items=(0.0, 0.3))
        used = helpers.processor_seconds() - time.process_time()
        helpers._kept.get().close()
        assert abs(before) < 0.1 and 0.2 < used and abs(helpers.processor_seconds() - time.process_time() - used) < 0.1
    assert abs(helpers.processor_seconds() - time.process_time()) < 0.1


def test_a_fit_tells_the_processor_seconds_of_helpers_too(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(helpers, "processor_seconds", lambda: next(clock))
    assert trained(VAE(ENCODER), 1).history[-1]["cpu"] == 4.0  # a second a step


# --- errors and ends --------------------------------------------------------------------------------------------------------


class Odd(Exception):
    """One that does not survive a pipe."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize(
    "error, kind, says",
    [
        (InputError("x is 3; expected 4"), InputError, "^x is 3; expected 4$"),
        (ZeroDivisionError("by zero"), ZeroDivisionError, "^by zero$"),
        (Odd("one", "two"), Exception, "one and two"),
    ],
)
def test_an_error_in_a_part_is_raised_here_and_helpers_end(error, kind, says, bad):
    def part(item):
        if item == bad:
            raise error
        return item

    threads.use(3)
    with helpers.kept():
        with pytest.raises(kind, match=says):
            ask(part, items=range(3))
        assert processes() == []
        assert ask(part, items=range(3, 6)) == [3, 4, 5]  # by threads


def test_a_helper_that_is_killed_costs_one_sentence_and_no_bit(tmp_path):
    method, killed = SAVAE(ENCODER, 2), []
    whole = trained(method, out=tmp_path / "whole")

    class Killed(SAVAE):
        def gradient(self, *arguments):
            if processes() and not killed:
                killed.extend(processes())
                os.kill(killed[0], signal.SIGKILL)
            return super().gradient(*arguments)

        def __repr__(self):
            return repr(method)

    with pytest.warns(RuntimeWarning, match="^a helper process was ended by signal 9; threads go on without$") as said:
        result = trained(Killed(ENCODER, 2), out=tmp_path / "killed")
    assert len(said) == 1 and len(killed) == 1
    assert bits(result.last) == bits(whole.last)
    again = trained(method, 3, out=tmp_path / "killed", resume=True)
    assert bits(again.last) == bits(trained(method, 3).last)


@pytest.mark.filterwarnings("error")
def test_a_helper_ends_by_a_signal_that_its_parent_hears_and_there_is_no_other():
    here, before = os.getpid(), signal.signal(signal.SIGTERM, lambda *_: None)

    def part(item):
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGTERM)
        return item

    try:
        with helpers.kept():
            with pytest.warns(RuntimeWarning, match="ended by signal 15"):
                assert ask(part) == [0, 1]
            assert ask(part) == [0, 1] and processes() == []
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interrupt_ends_helpers_at_once_and_does_not_reach_them():
    here = os.getpid()

    def part(item):
        if item == "quick":
            return signal.getsignal(signal.SIGINT) is signal.SIG_IGN or here == os.getpid()
        if os.getpid() == here:
            os.kill(processes()[0], signal.SIGINT)
            raise KeyboardInterrupt
        time.sleep(1000)

    with helpers.kept():
        assert ask(part, items=("quick", "quick")) == [True, True]
        [helper] = processes()
        with pytest.raises(KeyboardInterrupt):
            ask(part)
    with pytest.raises(ProcessLookupError):
        os.kill(helper, 0)


def test_what_a_part_warns_of_is_warned_of_here_and_nothing_is_printed(capfd):
    here = os.getpid()

    def part(item):
        if os.getpid() != here:
            warnings.warn("odd", UserWarning, stacklevel=1)

    with helpers.kept(), pytest.warns(UserWarning, match="odd"):
        ask(part)
    assert capfd.readouterr() == ("", "")


def test_no_file_of_the_parent_stays_open_in_a_helper_and_none_is_left_open_here(tmp_path):
    def part(item):
        return open_files()

    before = open_files()
    with open(tmp_path / "file", "w") as file, helpers.kept():
        file.write("once")
        assert len(ask(part)[1]) <= 3 + 2  # the standard ones, the pipe, and the folder that is being read
    assert open_files() == before and (tmp_path / "file").read_text() == "once"


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
PARENT = """if True:
    import os, sys, time
    from savi.engine import helpers, threads
    threads.use(3)
    print("these", end=" ")
    with helpers.kept():
        print(*helpers.side_by_side(lambda item: os.getpid(), range(3), (), (1, 2)), flush=True)
        time.sleep(1000)
"""


FIT = """if True:
    import sys
    import numpy as np
    import savi
    from savi.engine import helpers, threads

    threads.use(2)
    helpers.PART = 1.0

    class Told(savi.SAVAE):
        def gradient(self, *arguments):
            print(*(helper.pid for helper in helpers._kept.get().members), flush=True)
            return super().gradient(*arguments)

    model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([4, 40, 30]), savi.Bernoulli()))
    method = Told(savi.MLP([30, 40, 8]), 5)
    savi.fit(model, method, np.eye(30), epochs=10**6, batch=10, out=sys.argv[1], progress=False)
"""


def test_ctrl_c_leaves_a_checkpoint_one_traceback_and_no_helper(tmp_path):
    run = subprocess.Popen([sys.executable, "-c", FIT, tmp_path], text=True, start_new_session=True, **PIPES)
    helper = next(filter(None, map(str.strip, run.stdout)))
    os.killpg(run.pid, signal.SIGINT)
    told = run.communicate()[1]
    assert run.returncode == -signal.SIGINT and told.count("Traceback") == 1 and "KeyboardInterrupt" in told
    assert (tmp_path / "last.npz").exists() and not alive(helper)


def test_helpers_end_with_their_parent_however_it_ends():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], text=True, **PIPES)
    pid, *others = map(int, parent.stdout.readline().removeprefix("these").split())
    assert pid == parent.pid and len(set(others)) == 2
    parent.kill()
    assert parent.communicate() == ("", "")  # nobody has its output open any more, or wrote to it
    until = time.monotonic() + SECONDS
    while any(alive(other) for other in others):
        assert time.monotonic() < until
        time.sleep(0.01)


def alive(pid):
    """Whether the process is there and not a zombie that waits for an init that does not ask."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] not in "ZX"
    return False


# --- when there are none ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def another_thread():
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join()


@pytest.mark.parametrize(
    "without",
    [
        lambda: threads.using(1),
        another_thread,
        lambda: mock.patch.dict(os.environ, SAVI_HELPERS="0"),
        lambda: mock.patch.object(sys, "platform", "darwin"),
        lambda: mock.patch.object(sys, "_is_gil_enabled", lambda: False, create=True),
        lambda: mock.patch.object(blas, "holds", lambda: False),
    ],
    ids=["one thread", "another thread", "SAVI_HELPERS=0", "macOS", "no lock", "another matrix library"],
)
def test_threads_work_where_helpers_may_not(without):
    def part(item):
        return os.getpid()

    with without(), helpers.kept():
        assert helpers.parts(9, 1, 1e12, 4) == 1 and set(ask(part)) == {os.getpid()}


def test_helpers_are_there_beside_idle_threads_of_savi():
    threads.side_by_side(lambda item: item, [0, 1])
    with helpers.kept():
        assert len(set(ask(lambda item: os.getpid()))) == 2


def test_threads_work_where_the_system_has_no_process_left():
    with helpers.kept(), mock.patch.object(os, "fork", side_effect=BlockingIOError("no process left")):
        assert set(ask(lambda item: os.getpid())) == {os.getpid()}


@pytest.mark.parametrize("text", ["no", "-1", "0.5"])
def test_the_setting_is_a_whole_number(monkeypatch, text):
    monkeypatch.setenv("SAVI_HELPERS", text)
    with pytest.raises(InputError, match="SAVI_HELPERS is"), helpers.kept():
        pass


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_batch_is_cut_in_as_many_parts_as_its_step_is_worth_and_not_where_a_pass_is_long(monkeypatch, count):
    monkeypatch.undo()
    monkeypatch.setattr(helpers, "_others", list)
    monkeypatch.delenv("SAVI_HELPERS", raising=False)
    threads.use(count)
    assert helpers.parts(100, 1e5, 1000, 4) == 1  # outside of a block
    with helpers.kept():
        assert [helpers.parts(100, 1e5, passes, 4) for passes in (1, 4.9, 5, 7.5, 1000)] == [
            1, 1, min(count, 2), min(count, 3), count
        ]  # fmt: skip
        assert helpers.parts(100, 1e5, 2.5, 8) == min(count, 2) and helpers.parts(1, 1e5, 1e9, 4) == 1
        assert [helpers.parts(100, work, 1000, 4) for work in (5e5, 5.1e5)] == [count, 1]
        assert [helpers.parts(100, 1e5, passes, 4, 20) for passes in (2.4, 2.5)] == [1, min(count, 2)]
        assert [helpers.parts(100, work, 1000, 4, 20) for work in (1e7, 1.02e7)] == [count, 1]
        assert [helpers.parts(100, 1e8 / count, 1000, 4, 20, most) for most in (None, 10, 11)] == [1, count, 1]
