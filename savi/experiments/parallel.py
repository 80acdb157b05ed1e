"""Runs side by side: submitted as there is room, collected as they end, begun again where their worker died.

The numbers are the same wherever they are worked out (executors.py). Ctrl-C reaches every process of this machine, so that
a run that trains leaves its checkpoint.
"""

from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, wait
from typing import NamedTuple

from ..engine import threads
from ..engine.files import InputError, expect
from .executors import LOST, Local, cores

__all__ = ["Ended", "Lost", "as_they_end", "cores", "run_all"]
RETRIES = 2  # of a run whose worker died


class Lost(InputError):
    """A run whose worker died whenever it was tried."""


class Ended(NamedTuple):
    """A run that ended: its place among the items, and what it gave, or the exception that ended it."""

    index: int
    value: object = None
    error: Exception | None = None


def as_they_end(function, items, engine=None, retries=RETRIES):
    """Yields an Ended for function(*item) of each of items, in the order in which they end.

    engine: of executors.py, None for this process, one after the other. As many runs are under way as it has workers, and the
    next is submitted when the caller comes back for more: what he has written by then is written. Where a worker dies, the runs
    that may have killed it are tried again one at a time, `retries` times each, then given up as Lost.
    """
    if engine is None:
        with threads.using(1):
            for index, item in enumerate(items):
                yield _tried(function, index, item)
        return
    waiting, suspects, deaths = deque(range(len(items))), deque(), Counter()
    executor, running, at_once = engine.open(), {}, True
    try:
        while waiting or suspects or running:
            queue, most = (suspects, 1) if suspects else (waiting, engine.workers(executor))
            lost, why = [], None
            try:
                while queue and len(running) < most:
                    future = engine.submit(executor, function, items[queue[0]])
                    running[future] = queue.popleft()
                done = wait(running, return_when=FIRST_COMPLETED).done
            except BrokenExecutor as error:
                done, why = [], error
            for future in done:
                index, error = running.pop(future), _error(future)
                if isinstance(error, LOST):
                    lost, why = [*lost, index], error
                else:
                    yield Ended(index, None, error) if error else Ended(index, future.result())
            if why is None:
                continue
            engine.close(executor, at_once=True)
            for index in sorted([*lost, *running.values()]):
                deaths[index] += 1
                if deaths[index] > retries:
                    yield Ended(index, None, Lost(f"its worker died {deaths[index]} times ({why})"))
                else:
                    suspects.append(index)
            executor, running = engine.open(), {}
        at_once = False
    finally:
        engine.close(executor, at_once)


def _error(future):
    """What a future that is done ended with, or None."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _tried(function, index, item):
    try:
        return Ended(index, function(*item))
    except Exception as error:
        return Ended(index, None, error)


def run_all(function, items, jobs):
    """Yields function(*item) for each of items, in their order, `jobs` at a time; one at a time in this process.

    With jobs > 1 the function and the items are pickled. Raises InputError unless jobs is a whole number >= 1, and whatever a
    run raises.
    """
    expect("--jobs", jobs, jobs >= 1 and jobs % 1 == 0, "a whole number >= 1")
    jobs, found, following = min(jobs, len(items)), {}, 0
    for index, value, error in as_they_end(function, items, Local(jobs) if jobs > 1 else None):
        if error is not None:
            raise error
        found[index] = value
        while following in found:
            yield found.pop(following)
            following += 1
