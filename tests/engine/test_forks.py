"""A forked child computes what its parent does: nothing in it waits for a thread that stayed behind."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from savi.engine import blas, memory

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no os.fork")
SECONDS = 60  # after which what hangs is ended, and the test fails

SETTING = f"""
import multiprocessing, os, signal, sys, threading, warnings
import numpy as np
from savi import MLP, SAVAE, Bernoulli, LatentGaussianModel, MLPDecoder
from savi.engine import blas, threads

signal.alarm({SECONDS})
os.register_at_fork(after_in_child=lambda: signal.alarm({SECONDS} // 2))
warnings.simplefilter("ignore")  # Python 3.12 warns of any fork beside threads
threads.use(int(sys.argv[1]))
rng = np.random.default_rng(0)
model, method = LatentGaussianModel(MLPDecoder(MLP([4, 300, 784]), Bernoulli())), SAVAE(MLP([784, 8]), 2)
theta, phi, x = model.init(rng), method.init(rng), (rng.random((64, 784)) < 0.5).astype(float)
assert len(threads.slices(len(x), model.work)) > 1

def gradient(seed):
    return [a.tobytes() for a in method.gradient(model, theta, phi, x, np.random.default_rng(seed))]

def child(work):
    pid = os.fork()
    if pid == 0:
        sys.exit(0 if work() else 3)  # an interpreter that ends as usual, and joins what it has to
    return os.waitpid(pid, 0)[1]

here = gradient(1)
"""

ONE_FORK = "assert child(lambda: gradient(1) == here) == 0"
A_FORK_OF_A_FORK = "assert child(lambda: child(lambda: gradient(1) == here) == 0 and gradient(1) == here) == 0"
A_POOL = """
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(gradient, [1, 2, 1]).get(20) == [here, gradient(2), here]
"""


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize(
    "code",
    [ONE_FORK, A_FORK_OF_A_FORK, A_POOL],
    ids=["fork", "fork of a fork", "Pool"],
)
def test_a_gradient_in_a_forked_child_is_that_of_its_parent(code, count):
    run = subprocess.run([sys.executable, "-c", SETTING + code, str(count)], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def in_child(work):
    """Whether work() holds in a forked child."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS)
        try:
            os._exit(0 if work() else 3)
        finally:
            os._exit(4)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_has_back_what_other_threads_hold_and_keeps_what_its_own_thread_holds():
    value, inside, leave = [5], threading.Barrier(2), threading.Event()
    held = blas.Held(lambda: value[0], lambda v: value.__setitem__(0, v), 1)

    def other():
        with held:
            inside.wait()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    try:
        assert in_child(lambda: value == [5] and held.inside == 0)
        with held:
            assert in_child(lambda: value == [1] and (held.__exit__(), value)[1] == [5])
        assert value == [1]  # nothing of it reaches the parent
    finally:
        leave.set()
        thread.join()
    assert value == [5]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_waits_for_a_setting_that_is_being_changed():
    value, changing, forking = [5], threading.Event(), threading.Event()

    def put(v):
        value[0] = v
        changing.set()
        forking.wait(0.2)  # a fork in here would copy a setting that is changed and not yet counted

    held = blas.Held(lambda: value[0], put, 1)
    thread = threading.Thread(target=lambda: (held.__enter__(), held.__exit__()))
    thread.start()
    changing.wait()
    assert in_child(lambda: value == [5] and held.inside == 0)
    thread.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_starts_with_no_buffers_and_a_lock_that_nobody_holds():
    kept = memory.empty((memory.SMALL,), float)
    assert memory._total >= kept.nbytes
    with memory._lock:
        assert in_child(lambda: memory._total == 0 and memory.empty((memory.SMALL,), float).base is not kept.base)
