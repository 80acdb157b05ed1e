"""Work in parts: the same results in the same order, whatever the number of threads; and BLAS is given back as it was."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from savi import MLP, SAVAE, SVI, VAE, VAESVI, Bernoulli, InputError, LatentGaussianModel, MLPDecoder
from savi.engine import threads
from savi.engine.files import expect
from savi.testing import assert_close

ENCODER = MLP([30, 40, 8])


@pytest.fixture(autouse=True)
def as_before():
    yield
    threads.use(None)


@pytest.fixture
def parts_of_any_size(monkeypatch):
    """Cut even small batches."""
    cut = threads.slices
    monkeypatch.setattr(threads, "slices", lambda n, work, most=None: cut(n, 1e12))


@pytest.mark.parametrize(
    "method", [VAE(ENCODER), SVI(3), SAVAE(ENCODER, 3), VAESVI(ENCODER, 3), VAESVI(ENCODER, 3, kl=True)]
)
def test_a_gradient_in_parts_is_the_gradient(method, parts_of_any_size):
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([4, 40, 30]), Bernoulli()))
    theta, phi = model.init(rng), method.init(rng)
    x = (rng.random((7, 30)) < 0.5).astype(float)
    noise = rng.standard_normal((method.training_steps + 1, 2, 7, 4))
    results = []
    for count in (1, 2, 3):
        threads.use(count)
        results.append(method.gradient(model, theta, phi, x, noise=noise))
    for other in results[1:]:
        for name, one, two in zip(("loss", "d_theta", "d_phi"), results[0], other):
            assert_close(two, one, rtol=1e-12, atol=1e-14, name=name)


def test_the_number_of_parts_follows_the_work_and_covers_every_example_once():
    threads.use(4)
    for n in (1, 2, 3, 7, 100):
        for work in (1, 1e6, 1e9):
            rows = threads.slices(n, work)
            assert np.array_equal(np.concatenate([np.arange(n)[r] for r in rows]), np.arange(n))
            assert len(rows) <= min(4, n) and (len(rows) == 1 or n * work >= 4e6 * len(rows))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_slices_are_no_larger_than_asked_and_as_many_for_each_thread(count):
    threads.use(count)
    for n in (1, 2, 7, 50):
        for most in (1, 3, 10, 100):
            rows = threads.slices(n, 1, most)
            assert np.array_equal(np.concatenate([np.arange(n)[r] for r in rows]), np.arange(n))
            assert max(len(np.arange(n)[r]) for r in rows) <= most
            assert len(rows) == 1 or len(rows) == n or len(rows) % count == 0
    assert len(threads.slices(7, 1, 7)) == 1


def test_more_parts_than_threads_are_shared_by_all_threads():
    threads.use(2)
    both, seen = threading.Barrier(2), []

    def part(i):
        both.wait(5)
        seen.append(threading.get_ident())
        return i

    assert threads.side_by_side(part, list(range(6))) == list(range(6))
    assert sorted(map(seen.count, set(seen))) == [3, 3]


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_the_order_of_the_items(count):
    threads.use(count)
    waits = [0.02, 0.0, 0.01, 0.0, 0.0, 0.01]
    assert list(threads.run(lambda i: (time.sleep(waits[i]), i)[1], range(6))) == list(range(6))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_parts_side_by_side_give_a_list_in_their_order(n, count):
    threads.use(count)
    waits = [0.02, 0.0, 0.01, 0.0, 0.0]
    assert threads.side_by_side(lambda i: (time.sleep(waits[i]), i)[1], list(range(n))) == list(range(n))


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_error_in_one_part_comes_after_all_the_others_have_ended(bad):
    threads.use(3)
    ended = []

    def part(i):
        if i == bad:
            raise ZeroDivisionError
        time.sleep(0.02)
        ended.append(i)

    with pytest.raises(ZeroDivisionError):
        threads.side_by_side(part, [0, 1, 2])
    assert sorted(ended) == sorted({0, 1, 2} - {bad})


@pytest.mark.parametrize("n", [1, 2, 3])
def test_each_part_draws_the_same_items_and_each_is_drawn_once(n):
    threads.use(n)
    drawn = []
    items = (drawn.append(i) or i for i in range(200))
    assert threads.side_by_side(list, threads.tee(items, n)) == [list(range(200))] * n
    assert drawn == list(range(200))


def test_a_refinement_in_parts_sees_the_noise_of_a_refinement_in_one(parts_of_any_size):
    rng = np.random.default_rng(0)
    model = LatentGaussianModel(MLPDecoder(MLP([4, 40, 30]), Bernoulli()))
    theta, x = model.init(rng), (rng.random((7, 30)) < 0.5).astype(float)
    results = []
    for count in (1, 2, 3):
        threads.use(count)
        draws = np.random.default_rng(1)
        results.append((SVI(5, samples=2).infer(model, theta, None, x, draws), draws.random()))
    for lam, after in results[1:]:
        assert_close(lam, results[0][0], rtol=1e-12)
        assert after == results[0][1]


def test_pythons_turns_are_short_while_parts_run_and_as_before_afterwards():
    threads.use(2)
    before, seen = sys.getswitchinterval(), []
    list(threads.run(lambda i: seen.append(sys.getswitchinterval()), range(3)))
    threads.side_by_side(lambda i: seen.append(sys.getswitchinterval()), [0, 1])
    assert max(seen) <= 2e-4 < before == sys.getswitchinterval()


def test_items_are_drawn_only_as_they_are_needed():
    threads.use(2)
    drawn = []
    results = threads.run(lambda i: i, (drawn.append(i) or i for i in range(100)))
    next(results)
    assert len(drawn) <= 4
    results.close()


def test_an_error_in_a_part_reaches_the_caller_and_a_part_may_call_run_itself():
    threads.use(2)
    assert list(threads.run(lambda i: sum(threads.run(lambda j: j, range(i))), range(4))) == [0, 0, 1, 3]
    with pytest.raises(InputError, match="no"):
        list(threads.run(lambda i: expect("i", i, i < 2, "no more"), range(4)))


def test_errstate_holds_inside_the_parts():
    threads.use(2)
    with np.errstate(all="ignore"):
        assert list(threads.run(lambda i: np.exp(np.float64(1000.0 * i)), range(3)))[2] == np.inf


def test_without_parallel_everything_runs_in_the_callers_thread():
    threads.use(4)
    here = threading.get_ident()
    assert set(threads.run(lambda _: threading.get_ident(), range(5), parallel=False)) == {here}


@pytest.mark.parametrize("value, good", [("1", True), ("3", True), ("0", False), ("many", False)])
def test_the_environment_sets_the_count(value, good):
    code = "import savi.engine.threads as t; print(t.count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"SAVI_THREADS": value})
    assert done.stdout.strip() == (value if good else "")
    assert good or "SAVI_THREADS" in done.stderr


@pytest.mark.parametrize("text", ["²", "१", "0", "1.5", "-1", " 1", "9" * 5000])
def test_a_number_of_threads_in_the_environment_is_in_plain_digits(monkeypatch, text):
    monkeypatch.setenv("SAVI_THREADS", text)
    monkeypatch.setitem(threads._settings, "count", None)
    with pytest.raises(InputError, match=r"SAVI_THREADS is .*; expected a whole number >= 1$"):
        threads.count()
