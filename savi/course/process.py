"""A student's file in a process of its own, from the judge's side: questions and answers, two limits, and its end.

A question is sent and its answer read under the same limits: so many seconds of the process's own processor time, which
a busy machine does not use up, and more of the clock, for a file that waits. An answer carries the id of its question,
which nobody can know before. Where there is prctl, a keeper (keeper.py) ends whatever the file starts, with the judge at
the latest.
"""

import contextlib
import json
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import threading
import time

from . import keeper
from .student import Stopped, call, encode

PATIENCE = 6  # seconds of the clock for each second that a file may compute
START = 60  # seconds that Python and NumPy may take
LONGEST = 1 << 24  # bytes of an answer
GLANCE = 0.05  # seconds between two looks at the clocks
ANSWERS = ("value", "todo", "error", "function")


class Process:
    """The student's file, loaded and waiting. seconds: how long a turn (`begin`) may compute."""

    def __init__(self, path, seconds):
        self.path, self.seconds = os.path.abspath(path), seconds
        self.child, self.problem, self.output = None, None, []

    def begin(self):
        """A new turn, and a new process if the last one is gone. Returns what is wrong with the file, or None."""
        if self.child is None and self.problem is None:
            self._start()
            try:
                self._turn("it", START)
                self.pid = self._receive("start")["pid"]
                self._turn("it", self.seconds)
                reply = self._receive("load")
                self.problem = reply if "error" in reply else None
            except Stopped as stop:
                self.problem = {"error": str(stop).removeprefix("it "), "line": None}
        if self.problem is None:
            self._turn("it", self.seconds)
        return self.problem

    def _start(self):
        folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        kept = [sys.executable, "-I", "-S", keeper.__file__, str(os.getpid())] if keeper.available() else []
        self.kept, pipe = bool(kept), subprocess.PIPE
        self.child = subprocess.Popen(
            [*kept, sys.executable, "-B", "-m", "savi.course.student", self.path], stdin=pipe, stdout=pipe, stderr=pipe,
            env=os.environ | {"PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
        self.pid, self.wanted, self.answers, self.questions = None, threading.Semaphore(0), queue.Queue(), queue.Queue()
        self.collector = threading.Thread(target=_keep, args=(self.child.stderr, self.output), daemon=True)
        self.collector.start()
        threading.Thread(target=_read, args=(self.child.stdout, self.wanted, self.answers), daemon=True).start()
        threading.Thread(target=_write, args=(self.child.stdin, self.questions), daemon=True).start()

    def ask(self, name, arguments):
        """The reply, a dict, to one call of the file's function `name`."""
        functions, self.who, number = [], name, secrets.token_hex(8)
        self._send({"id": number, "call": name, "arguments": [encode(a, functions) for a in arguments]})
        while True:
            reply = self._receive(number)
            if "function" not in reply:
                return reply
            self._send(call(functions, reply))

    def _send(self, message):
        sent = threading.Event()
        self.questions.put((json.dumps(message).encode() + b"\n", sent))
        while not sent.wait(GLANCE):
            self._look_at_the_clocks()

    def _receive(self, number):
        self.wanted.release()
        line = None
        while line is None:
            self._look_at_the_clocks()
            with contextlib.suppress(queue.Empty):
                line = self.answers.get(timeout=GLANCE)
        if not line:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(5)
            self._stop(f"ended the process (exit code {self.child.returncode})")
        return understood(line, number) or self._stop("sent something else than an answer")

    # --- limits -------------------------------------------------------------------------------------------------------

    def _turn(self, who, seconds):
        computed = self._computed()
        self.who, self.limit, self.before = who, seconds, computed or 0.0
        self.clock = seconds if computed is None else PATIENCE * seconds
        self.deadline = time.monotonic() + self.clock

    def _computed(self):
        """Processor seconds of the file's process and of those that it has waited for; None where nobody can tell."""
        return None if self.pid is None else processor_seconds(self.pid)

    def _look_at_the_clocks(self):
        computed = (self._computed() or 0.0) - self.before
        if computed > self.limit:
            self._stop(f"computed for more than {self.limit:g} seconds: is there a loop that does not end?")
        if time.monotonic() > self.deadline:
            wait = f" ({computed:.1f} seconds of computing): does it wait for something, or"
            says = ":" if self.clock == self.limit else wait
            self._stop(f"took longer than {self.clock:g} seconds by the clock{says} is there a loop that does not end?")

    def _stop(self, why):
        self.close()
        raise Stopped(f"{self.who} {why}")

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self):
        """End the process and whatever it started."""
        if self.child is None:
            return
        if self.kept:
            self.child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(5)
        else:
            with contextlib.suppress(OSError, AttributeError):  # no process groups on Windows
                os.killpg(self.child.pid, signal.SIGKILL)
        self.child.kill()
        self.child.wait()
        self.child = None
        self.questions.put(None)
        self.wanted.release()
        self.collector.join(1)

    def printed(self):
        """The beginning of what the file has written to its standard output and standard error."""
        return b"".join(self.output).decode(errors="replace")


def understood(line, number):
    """The message of that id, a dict, or None where the line is none: the file may have written it itself."""
    try:
        message = json.loads(line)
        fits = message["id"] == number and (number in ("start", "load") or any(word in message for word in ANSWERS))
        message |= {"line": message.get("line")}
        texts = isinstance(message.get("error", ""), str) and isinstance(message["line"], str | None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return message if fits and texts else None


def processor_seconds(pid):
    """What a process has computed, and what those that it has waited for have; None where nobody can tell."""
    with contextlib.suppress(OSError, IndexError):
        with open(f"/proc/{pid}/stat") as file:
            times = file.read().rpartition(")")[2].split()[11:15]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    with contextlib.suppress(OSError):  # macOS
        told = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True).stdout
        return clock(told)
    return None


def clock(text):
    """Seconds of ps's [[days-]hours:]minutes:seconds; None where it is none."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+(?:\.\d+)?)", text.strip())
    return found and sum(float(part or 0) * unit for part, unit in zip(found.groups(), (86400, 3600, 60, 1)))


# --- threads that wait, so that the judge need not --------------------------------------------------------------------


def _read(stream, wanted, answers):
    """A line each time that one is wanted: what nobody asked for stays with its writer."""
    with contextlib.suppress(OSError), stream:
        line = b"first"
        while line:
            wanted.acquire()
            line = stream.readline(LONGEST)
            answers.put(line)


def _write(stream, questions):
    with contextlib.suppress(OSError), stream:
        for line, sent in iter(questions.get, None):
            with contextlib.suppress(OSError):  # the process is gone, and `_receive` will say so
                stream.write(line)
                stream.flush()
            sent.set()


def _keep(stream, chunks):
    """Take all that comes, so that a file may print for ever, and keep what fits in 10 kB."""
    with stream:
        while chunk := stream.read1(10_000):
            if sum(map(len, chunks)) < 10_000:
                chunks.append(chunk)
