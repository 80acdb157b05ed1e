"""Many runs that are kept: a finished one is on the disk before the next is submitted, and is not worked out again.

OUT/NAME/result.json is what run NAME gave, with a digest; OUT/NAME/ may hold its checkpoints, too. A run that raises is told
and does not end the others. OUT belongs to one process at a time (engine/files.py, `owned`).
"""

import glob
import json
import os
import time
from typing import NamedTuple

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


def conduct(function, runs, out, engine=None, resume=False, say=print, retries=2):
    """Yields a Conducted for function(*item) of each of runs {name: item}, as they end.

    function gives JSON as bytes, wherever it is worked out (engine: of executors.py); this process alone writes. With resume
    what OUT holds already is given first. Raises Refused when a worker cannot give the numbers that are asked for.
    """
    missing = []
    for name in runs:
        value = finished(out, name, say) if resume else None
        if value is None:
            missing.append(name)
        else:
            yield Conducted(name, value, None, new=False)
    for ended in as_they_end(function, [runs[name] for name in missing], engine, retries):
        name = missing[ended.index]
        if isinstance(ended.error, Refused):
            raise ended.error
        if ended.error is None:
            value = json.loads(ended.value)
            keep(os.path.join(out, name, RESULT), value)
            yield Conducted(name, value, None)
        else:
            yield Conducted(name, None, ended.error)


def finished(out, name, say=print):
    """What OUT/NAME/result.json holds, or None: where it is not there, or is damaged, which is said."""
    path = os.path.join(out, name, RESULT)
    if not os.path.exists(path):
        return None
    try:
        return kept(path)
    except Damaged as error:
        say(f"{error}; that run is worked out again")
        return None


def tidy(out):
    """Remove the parts of files that a killed process left in OUT and its folders; OUT is this process's own."""
    for part in glob.glob(os.path.join(glob.escape(out), "**", "*.part"), recursive=True):
        os.unlink(part)


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
    """How far a job is: tells a line for each run that ends, with the rough time left."""

    def __init__(self, total, say=print):
        self.total, self.say, self.ended, self.worked, self.began = total, say, 0, 0, time.monotonic()

    def tell(self, line, new=True):
        """One more run has ended; new: it was worked out just now."""
        self.ended, self.worked = self.ended + 1, self.worked + bool(new)
        left = (self.total - self.ended) * (time.monotonic() - self.began) / self.worked if self.worked else 0
        rest = f"   about {duration(left)} left" if left else ""
        self.say(f"  [{self.ended:>{len(str(self.total))}}/{self.total}] {line}{rest}")


def duration(seconds):
    """Seconds as words: 50 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
