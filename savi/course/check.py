"""python -m savi check NN: the properties of an exercise, tried on a student's file.

The properties are read and judged in this process, the file runs in one of its own (process.py), and the sentence PASS
is said here alone: a property that could not be tried has failed. What comes from the file is shown with its control
characters made visible.
"""

import contextlib
import json
import os
import signal
import sys
from typing import NamedTuple

from ..engine.files import InputError, expect
from . import lessons, own_files
from .process import Process
from .properties import Property, judge, shown

OUTPUT_LINES = 12  # so many lines of what the file printed are shown


def properties(exercise):
    """The properties of an exercise (a path of lessons.find), in the order in which they are written."""
    path = own_files.folder() / exercise.name
    if not path.is_file():
        raise InputError(f"there is no file {path}; expected the properties of exercise {exercise.stem}")
    names = {"__name__": f"properties of {exercise.stem}", "__file__": str(path)}
    exec(compile(own_files.verified(path), str(path), "exec"), names)
    found = [value for value in names.values() if isinstance(value, Property)]
    if not found:
        raise InputError(f"{path} has no properties; expected at least one function under @holds")
    return found


class Grade(NamedTuple):
    """verdicts: [(Property, Verdict)], in order; printed: what the file printed; changed: the grader's files that it changed."""

    verdicts: list
    printed: str
    changed: list

    def count(self, status):
        """How many verdicts have that status."""
        return [verdict.status for _, verdict in self.verdicts].count(status)

    def passed(self):
        """Whether every property passed, and the grader's files are as they were."""
        return self.count("PASS") == len(self.verdicts) and not self.changed


def grade(path, exercise, seconds, examples=50, told=lambda p, verdict: None):
    """The Grade of the file `path` by an exercise (a path of lessons.find); told(Property, Verdict) hears each at once.

    seconds: how long the file may compute for each property; examples: how many inputs each is tried on.
    """
    expect("seconds", seconds, 0 < seconds <= 3600, "between 0 and 3600")
    if not os.path.isfile(path):
        raise InputError(f"there is no file {path}; expected your solution of exercise {exercise.stem}")
    expected = properties(exercise)
    process, verdicts, before = Process(path, seconds), [], own_files.snapshot()
    with ended_by_signals():
        try:
            for p, verdict in zip(expected, judge(process, expected, examples), strict=True):
                verdicts.append((p, verdict))
                told(p, verdict)
        finally:
            process.close()
    return Grade(verdicts, process.printed(), own_files.changed(before))


def check(number, file=None, seconds=10.0, examples=50):
    """Grade `file` (default: the stub itself) by exercise `number`, and print the verdicts. 0 if every property passed, else 1."""
    exercise = lessons.find("exercise", number)
    path = os.fspath(file or exercise)
    say(f"Exercise {exercise.stem[:2]}. {lessons.title(exercise)}", path, "")
    found = grade(path, exercise, seconds, examples, lambda p, verdict: say(*report(p, verdict)))
    printed = found.printed.splitlines()
    if printed:
        rest = [f"... {len(printed) - OUTPUT_LINES} lines more"] if len(printed) > OUTPUT_LINES else []
        say("", "your file printed:", *(f"  | {line}" for line in [*printed[:OUTPUT_LINES], *rest]))
    names = (
        f"FAIL  {name} changed while your file ran; expected the grader's files as they were" for name in found.changed
    )
    say(*names)
    passed, failed, todo = (found.count(status) for status in ("PASS", "FAIL", "TODO"))
    say("", f"{passed} of {len(found.verdicts)} properties hold, {failed} FAIL, {todo} TODO")
    return 0 if found.passed() else 1


def check_json(number, file=None, seconds=10.0, examples=50):
    """The same for programs: one JSON object is printed, with all verdicts; the same exit code."""
    exercise = lessons.find("exercise", number)
    path = os.fspath(file or exercise)
    found = grade(path, exercise, seconds, examples)
    print(json.dumps({
        "exercise": exercise.stem, "file": path, "passed": found.count("PASS"), "of": len(found.verdicts),
        "all": found.passed(), "changed": found.changed, "printed": found.printed,
        "verdicts": [
            {"says": p.says, "status": v.status, "why": v.why, "line": v.line, "inputs": shown(v.inputs or {})}
            for p, v in found.verdicts
        ],
    }, indent=1))  # fmt: skip
    return 0 if found.passed() else 1


def hint(number, stage=1, file=None, seconds=10.0, examples=50):
    """Print the first `stage` hints for the first property that does not pass. 0 if every property passed, else 1."""
    exercise = lessons.find("exercise", number)
    found = grade(os.fspath(file or exercise), exercise, seconds, examples)
    missing = next((p for p, verdict in found.verdicts if verdict.status != "PASS"), None)
    if missing is None:
        say("every property holds: there is nothing to hint at")
        return 0 if found.passed() else 1
    name = missing.says.split(":")[0]
    there = lessons.hints(exercise).get(name, [])
    say(missing.says, "", *(f"{n}. {text}" for n, text in enumerate(there[:stage], 1)))
    more = f"the next one: --hint {stage + 1}" if stage < len(there) else "these are all hints that there are"
    say("", more if there else f"there is no hint for {name}")
    return 1


def report(p, verdict):
    """The lines on one property."""
    lines = [f"{verdict.status}  {p.says}"]
    lines += [f"      {line}" for line in verdict.why.splitlines()]
    lines += [f"      your line {verdict.line}"] if verdict.line else []
    if verdict.inputs:
        lines += ["      smallest failing input:", *(f"          {line}" for line in shown(verdict.inputs))]
    return lines


def say(*lines):
    """Print lines, whatever is in them."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in lines:
        print(visible(line).encode(encoding, "backslashreplace").decode(encoding), flush=True)


def visible(text):
    """The text with a backslash and a number for every character that a terminal would obey or could not show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.expandtabs(4))


@contextlib.contextmanager
def ended_by_signals():
    """A block that SIGTERM and SIGHUP end as an exception does, so that what it started ends, too."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    old = {}
    with contextlib.suppress(ValueError):  # another thread than the main one is not told
        old = {number: signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
