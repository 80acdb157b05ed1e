"""Many runs that are kept: a finished one is on the disk before the next is submitted, and is not worked out again.

OUT/NAME/result.json is what run NAME gave, with a digest; OUT/NAME/ may hold its checkpoints, too. A run that raises is told
and does not end the others. OUT belongs to one process at a time (engine/files.py, `owned`).
"""

import json
import os
import time
from typing import NamedTuple

from ..engine import files
from ..engine.files import Damaged, InputError, keep, kept
from .executors import Refused
from .parallel import as_they_end

RESULT = "result.json"


class Conducted(NamedTuple):
    """A run that ended: its name; what it gave, or the exception that ended it; whether it was worked out just now."""

    name: str
    value: object
    error: Exception | None
    new: bool = True


def conduct(function, works, out, engine=None, resume=False, say=print, retries=2):
    """Yields a Conducted for each run of works {(name of a run, ...): item}, as they end.

    function(*item) works out all runs of a work, wherever that is (engine: of executors.py), and gives a list of their values
    as JSON in bytes; this process alone writes. With resume what OUT holds already is given first, and a work is done again
    for those of its runs that are missing. Raises Refused when a worker cannot give the numbers that are asked for.
    """
    missing = {}
    for names in works:
        for name in names:
            value = finished(out, name, say) if resume else None
            if value is None:
                missing.setdefault(names, []).append(name)
            else:
                yield Conducted(name, value, None, new=False)
    asked = list(missing)
    for ended in as_they_end(function, [works[names] for names in asked], engine, retries):
        names = asked[ended.index]
        if isinstance(ended.error, Refused):
            raise ended.error
        values = dict(zip(names, json.loads(ended.value))) if ended.error is None else {}
        for name in missing[names]:
            if ended.error is None:
                keep(os.path.join(out, name, RESULT), values[name], name)
            yield Conducted(name, values.get(name), ended.error)


def finished(out, name, say=print):
    """What OUT/NAME/result.json holds, or None: where it is not there, or is damaged, which is said."""
    path = os.path.join(out, name, RESULT)
    if not os.path.exists(path):
        return None
    try:
        return kept(path, name)
    except Damaged as error:
        say(f"{error}; that run is worked out again")
        return None


tidy = files.tidy  # OUT is this process's own


def failures(errors, total, out):
    """The InputError for runs {name: exception} of `total` that raised, or None."""
    if not errors:
        return None
    name, first = next(iter(errors.items()))
    words = str(first) if isinstance(first, InputError) else f"{type(first).__name__}: {' '.join(str(first).split())}"
    if total == 1:
        return InputError(words)
    return InputError(
        f"{len(errors)} of {total} runs failed, the first of them {name}: {words}; the others are in {out}"
    )


class Clock:
    """How far a job is, with the rough time left: a line for each run that ends or, of many, for each hundredth of them."""

    def __init__(self, total, say=print):
        self.total, self.say, self.ended, self.before, self.failed = total, say, 0, 0, 0
        self.every, self.began = max(total // 100, 1), time.monotonic()

    def tell(self, line, new=True, error=None):
        """One more run has ended; new: it was worked out just now; error: the exception that ended it. Failures are all told."""
        self.ended, self.failed = self.ended + 1, self.failed + bool(error)
        if not new:
            self.before, self.began = self.before + 1, time.monotonic()
        worked = self.ended - self.before
        if self.before and (worked == 1 or self.before == self.total):
            self.say(f"  {self.before} of {self.total} had ended before")
        if new and (error or worked % self.every == 0 or self.ended == self.total):
            left = (self.total - self.ended) * (time.monotonic() - self.began) / worked
            more = f"   failed: {error}" if error else f"   {self.failed} failed" if self.failed else ""
            more += f"   about {duration(left)} left" if left else ""
            self.say(f"  [{self.ended:>{len(str(self.total))}}/{self.total}] {line}{more}")


def duration(seconds):
    """Seconds as words: 50 s, 12 min, 3.5 h, 12 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 1.8e5 else f"{seconds / 86400:.3g} days"
