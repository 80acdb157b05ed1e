"""What there is of memory, and what is taken of it: `expect_room` refuses what cannot fit, before anything is begun.

machine   how many bytes this process may use
peak      how many a call takes
"""

import contextlib
import math
import os
import tracemalloc

from . import memory
from .files import InputError

UNITS = ("kB", "MB", "GB", "TB", "PB")


def machine():
    """The bytes of memory that this process may use: the machine's, or fewer where its container or the user says so.

    None where the system does not tell.
    """
    found = []
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max") as file:
        found.append(int(file.read()))  # "max" is no number
    with contextlib.suppress(ImportError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        found += [limit] if limit != resource.RLIM_INFINITY else []
    return min((size for size in found if size > 0), default=None)


def expect_room(what, size):
    """InputError unless so many bytes fit into this machine's memory."""
    room = machine()
    if room is not None and size > room:
        raise InputError(
            f"{what} needs about {words(size)} of memory; expected at most the {words(room)} of this machine"
        )


def words(size):
    """Bytes as words: 640 kB, 7.3 GB."""
    size = min(size, 10**30)
    power = min(max(int(math.log10(max(size, 1))) // 3, 1), len(UNITS))
    number = size / 1000**power
    text = f"{number:.1f}" if number < 10 else f"{number:.0f}" if number < 1e6 else f"{number:.0e}"
    return f"{text} {UNITS[power - 1]}"


def peak(function, *arguments):
    """The bytes that function(*arguments) holds when it holds most, beside those that are held before."""
    memory.clear()
    others = tracemalloc.is_tracing()
    if not others:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        function(*arguments)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not others:
            tracemalloc.stop()
