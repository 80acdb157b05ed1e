"""python -m savi check NN: the properties of an exercise, tried on a student's file.

The properties are read and judged in this process, the file runs in one of its own (student.py), and the sentence PASS
is said here alone: a property that could not be tried has failed.
"""

import contextlib
import json
import os
import queue
import runpy
import signal
import subprocess
import sys
import threading
import time

from ..engine.files import InputError, expect
from . import lessons
from .properties import Property, judge, shown
from .student import Stopped, call, encode

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
    expect("seconds", seconds, 0 < seconds <= 3600, "between 0 and 3600")
    exercise = lessons.find("exercise", number)
    path = os.fspath(file or exercise)
    if not os.path.isfile(path):
        raise InputError(f"there is no file {path}; expected your solution of exercise {exercise.stem}")
    expected = properties(exercise)
    print(f"Exercise {exercise.stem[:2]}. {lessons.title(exercise)}\n{path}\n")
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
    print(f"\n{passed} of {len(expected)} properties hold, {failed} FAIL, {todo} TODO")
    return 0 if passed == len(expected) else 1


def report(p, verdict):
    """The lines on one property."""
    lines = [f"{verdict.status}  {p.says}"]
    lines += [f"      {line}" for line in verdict.why.splitlines()]
    lines += [f"      your line {verdict.line}"] if verdict.line else []
    if verdict.inputs:
        lines += ["      smallest failing input:", *(f"          {line}" for line in shown(verdict.inputs))]
    return lines


# --- the file's process -----------------------------------------------------------------------------------------------


class Process:
    """The student's file, loaded and waiting in a process of its own. seconds: how long a turn (`begin`) may take."""

    def __init__(self, path, seconds):
        self.path, self.seconds = os.path.abspath(path), seconds
        self.child, self.problem, self.number = None, None, 0
        self.output = []

    def begin(self):
        """A new turn, and a new process if the last one is gone. Returns what is wrong with the file, or None."""
        if self.child is None and self.problem is None:
            self._start()
            self.who = "it"
            try:
                self.deadline = time.monotonic() + 60  # Python and NumPy may take their time
                self._receive("start")
                self.deadline = time.monotonic() + self.seconds
                reply = self._receive("load")
                self.problem = reply if "error" in reply else None
            except Stopped as stop:
                self.problem = {"error": str(stop).removeprefix("it "), "line": None}
        self.deadline = time.monotonic() + self.seconds
        return self.problem

    def _start(self):
        folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.child = subprocess.Popen(
            [sys.executable, "-B", "-m", "savi.course.student", self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
        )
        self.lines = queue.Queue(maxsize=100)
        threading.Thread(target=_read, args=(self.child.stdout, self.lines), daemon=True).start()
        self.keeper = threading.Thread(target=_keep, args=(self.child.stderr, self.output), daemon=True)
        self.keeper.start()

    def ask(self, name, arguments):
        """The reply, a dict, to one call of the file's function `name`."""
        functions = []
        self.number, self.who = self.number + 1, name
        self._send({"id": self.number, "call": name, "arguments": [encode(a, functions) for a in arguments]})
        while True:
            reply = self._receive(self.number)
            if "function" not in reply:
                return reply
            self._send(call(functions, reply))

    def _send(self, message):
        try:
            self.child.stdin.write(json.dumps(message).encode() + b"\n")
            self.child.stdin.flush()
        except OSError:
            pass  # the process is gone, and `_receive` will say so

    def _receive(self, number):
        try:
            line = self.lines.get(timeout=max(0.0, self.deadline - time.monotonic()))
        except queue.Empty:
            self.close()
            raise Stopped(
                f"{self.who} took longer than {self.seconds:g} seconds: is there a loop that does not end?"
            ) from None
        if line is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(1)
            code = self.child.returncode
            self.close()
            raise Stopped(f"{self.who} ended the process (exit code {code})")
        try:
            message = json.loads(line)
            if message["id"] == number:
                return message
        except (ValueError, KeyError, TypeError):
            pass
        self.close()
        raise Stopped(f"{self.who} sent something else than an answer")

    def close(self):
        """End the process and whatever it started."""
        if self.child is not None:
            with contextlib.suppress(OSError, AttributeError):  # no process groups on Windows
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.kill()
            self.child.wait()
            with contextlib.suppress(OSError):
                self.child.stdin.close()
            self.child = None
            self.keeper.join(1)

    def printed(self):
        """The beginning of what the file has written to its standard output and standard error."""
        return b"".join(self.output).decode(errors="replace")


def _read(stream, lines):
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _keep(stream, chunks):
    """Take all that comes, so that a file may print for ever, and keep what fits in 10 kB."""
    with stream:
        while chunk := stream.read1(10_000):
            if sum(map(len, chunks)) < 10_000:
                chunks.append(chunk)
