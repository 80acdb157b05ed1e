"""Runs side by side: submitted as there is room, collected as they end, begun again where their worker died.

The numbers are the same wherever they are worked out (executors.py). Ctrl-C reaches every process of this machine, so that
a run that trains leaves its checkpoint.
"""

from collections import Counter, deque
from concurrent.futures import BrokenExecutor, CancelledError
from typing import NamedTuple

from ..engine import given, threads
from .executors import Gone, Local, Lost, cores

__all__ = ["Ended", "Lost", "as_they_end", "cores", "run_all"]
RETRIES = 2  # of a run whose worker died


class Ended(NamedTuple):
    """A run that ended: its place among the items, and what it gave, or the exception that ended it."""

    index: int
    value: object = None
    error: BaseException | None = None


def as_they_end(function, items, engine=None, retries=RETRIES):
    """Yields an Ended for function(*item) of each of items, in the order in which they end.

    engine: of executors.py, None for this process, one after the other. As many runs are under way as it has workers, and the
    next is submitted when the caller comes back for more: what he has written by then is written. A run whose worker dies
    begins again when the others have begun, `retries` times, and then is given up as Lost; one that an executor lets go of
    because it came to an end itself begins again as soon as there is another. Raises InputError where there is none.
    """
    with threads.using(1):
        if engine is None:
            for index, item in enumerate(items):
                yield _tried(function, index, item)
        else:
            yield from _handed_out(function, items, engine, retries)


def _handed_out(function, items, engine, retries):
    waiting, running, deaths = deque(range(len(items))), {}, Counter()
    executor, at_once = engine.open(), True
    try:
        while waiting or running:
            try:
                room = engine.workers(executor) - len(running) if waiting else 0
                for _ in range(min(room, len(waiting))):
                    future = engine.submit(executor, function, items[waiting[0]])
                    running[future] = waiting.popleft()
            except Gone as error:
                executor = engine.again(executor, error)
            for future in engine.done(running):
                index, error = running.pop(future), engine.told(_error(future))
                if isinstance(error, CancelledError):
                    waiting.appendleft(index)
                elif isinstance(error, KeyboardInterrupt):
                    raise error
                elif not isinstance(error, BrokenExecutor):
                    yield Ended(index, None, error) if error else Ended(index, future.result())
                elif deaths[index] < retries:
                    deaths[index] += 1
                    waiting.append(index)
                else:
                    yield Ended(index, None, Lost(f"its worker died {retries + 1} times ({error})"))
        at_once = False
    finally:
        for future in running:
            future.cancel()
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


def run_all(function, items, jobs, lasting=None):
    """Yields function(*item) for each of items, in their order, `jobs` at a time; one at a time in this process.

    lasting: Processes that are there already. With jobs > 1 the function and the items are pickled. Raises InputError unless
    jobs is a whole number >= 1, and whatever a run raises.
    """
    jobs, found, following = min(given.whole("--jobs", jobs, 1), len(items)), {}, 0
    for index, value, error in as_they_end(function, items, Local(jobs, lasting) if jobs > 1 else None):
        if error is not None:
            raise error
        found[index] = value
        while following in found:
            yield found.pop(following)
            following += 1
