"""What there is of memory, and what a call takes of it."""

import resource
import tracemalloc

import numpy as np
import pytest

from savi.engine import machine, memory
from savi.engine.files import InputError


def test_a_call_takes_what_it_holds_at_a_time():
    def call(n):
        first = np.empty(n, np.uint8)
        second = memory.empty((2 * n,), np.uint8)
        del first, second
        return np.empty(n // 2, np.uint8)

    held = np.empty(10_000_000, np.uint8)  # is there before
    assert machine.peak(call, 1_000_000) == pytest.approx(3_000_000, rel=0.01)
    assert machine.peak(call, 1_000_000) == pytest.approx(3_000_000, rel=0.01)  # what is kept for use again counts, too
    assert not tracemalloc.is_tracing() and len(held)


def test_a_call_is_measured_where_memory_is_traced_already():
    tracemalloc.start()
    try:
        held = np.empty(5_000_000, np.uint8)
        assert machine.peak(np.empty, 1_000_000, np.uint8) == pytest.approx(1_000_000, rel=0.01)
        assert tracemalloc.is_tracing() and len(held)
    finally:
        tracemalloc.stop()


def test_what_cannot_fit_is_refused_with_both_numbers(monkeypatch):
    monkeypatch.setattr(machine, "machine", lambda: 8e9)
    machine.expect_room("a job", 8e9)
    with pytest.raises(InputError) as caught:
        machine.expect_room("a job", 9.44e9)
    assert str(caught.value) == "a job needs about 9.4 GB of memory; expected at most the 8.0 GB of this machine"
    monkeypatch.setattr(machine, "machine", lambda: None)
    machine.expect_room("a job", 10**40)


def test_the_machine_has_no_more_than_this_process_may_use(monkeypatch):
    there = machine.machine()
    assert there is None or there > 1e8
    monkeypatch.setattr(resource, "getrlimit", lambda which: (12345678, 12345678))
    assert machine.machine() == 12345678
    monkeypatch.setattr(machine.os, "sysconf", lambda name: -1, raising=False)  # a system that does not know
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert machine.machine() is None or machine.machine() > 0


@pytest.mark.parametrize(
    "size, words",
    [(0, "0.0 kB"), (640_000, "640 kB"), (7.3e9, "7.3 GB"), (999e9, "999 GB"), (3.27e12, "3.3 TB"), (2e24, "2e+09 PB"),
     (10**400, "1e+15 PB")],
)  # fmt: skip
def test_bytes_in_words(size, words):
    assert machine.words(size) == words
