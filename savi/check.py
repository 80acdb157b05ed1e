"""python -m savi check NN: the properties of an exercise, tried on a student's file.

The properties are read and judged in this process, the file runs in one of its own (student.py), and the sentence PASS
is said here alone: a property that could not be tried has failed.
"""

import os
import runpy

from . import lessons
from .files import InputError
from .properties import Property, judge, shown
from .student import Process

OUTPUT_LINES = 12  # so many lines of what the file printed are shown


def properties(exercise):
    """The properties of an exercise (a path of lessons.find), in the order in which they are written."""
    path = exercise.parent / "properties" / exercise.name
    if not path.is_file():
        raise InputError(f"there is no file {path}; expected the properties of exercise {exercise.stem}")
    found = [value for value in runpy.run_path(str(path)).values() if isinstance(value, Property)]
    if not found:
        raise InputError(f"{path} has no properties; expected at least one function under @holds")
    return found


def check(number, file=None, seconds=10.0, examples=50):
    """Grade `file` (default: the stub itself) by exercise `number`, and print the verdicts. 0 if every property passed, else 1.

    seconds: a time limit for each property; examples: how many inputs each is tried on.
    """
    exercise = lessons.find("exercise", number)
    path = os.fspath(file or exercise)
    if not os.path.isfile(path):
        raise InputError(f"there is no file {path}; expected your solution of exercise {exercise.stem}")
    expected = properties(exercise)
    print(f"{lessons.title(exercise)}\n{path}\n")
    process, verdicts = Process(path, seconds), []
    try:
        for p, verdict in zip(expected, judge(process, expected, examples), strict=True):
            verdicts.append(verdict)
            print("\n".join(report(p, verdict)), flush=True)
    finally:
        process.close()
    printed = process.printed().splitlines()
    if printed:
        rest = [f"... {len(printed) - OUTPUT_LINES} lines more"] if len(printed) > OUTPUT_LINES else []
        print("\nyour file printed:", *printed[:OUTPUT_LINES], *rest, sep="\n  | ")
    passed, failed, todo = ([v.status for v in verdicts].count(status) for status in ("PASS", "FAIL", "TODO"))
    print(f"\n{passed} of {len(expected)} properties hold" + (f", {failed} FAIL" if failed else "") + (f", {todo} TODO" * bool(todo)))
    return 0 if passed == len(expected) else 1


def report(p, verdict):
    """The lines on one property."""
    lines = [f"{verdict.status}  {p.says}"]
    lines += [f"      {line}" for line in verdict.why.splitlines()]
    lines += [f"      your line {verdict.line}"] if verdict.line else []
    if verdict.inputs:
        first, *rest = "\n".join(shown(verdict.inputs)).splitlines()
        lines += [f"      smallest failing input: {first}", *(f"          {line}" for line in rest)]
    return lines
