"""A student's file in a process of its own, asked one call at a time.

The judge (check.py) does not run a student's code in its own process and believes nothing that the code says of itself:
it sends the name of a function with arguments, gets a value back, and holds the value to a property. So a file may print,
exit, or replace hypothesis as it likes; it cannot pass but by right values. One message is one line of JSON:

    judge    {"id": 7, "call": "kl", "arguments": [...]}
    file     {"id": 7, "value": ...}, or "todo", or "error" with the "line" that raised
    file     {"id": 7, "function": 0, "arguments": [...]} asks for a function that was an argument;
    judge    {"value": ...} or {"error": ...} answers that

An array is its dtype, shape and bytes; nothing is unpickled. `python -m savi.student FILE` is the side that answers.
"""

import base64
import contextlib
import json
import linecache
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types

import numpy as np

# --- messages ------------------------------------------------------------------------------------------------------------


def encode(value, functions=None):
    """What JSON can hold of numbers, arrays, tuples of them, and functions, which join the list `functions`."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if callable(value) and functions is not None:
        functions.append(value)
        return {"function": len(functions) - 1}
    if isinstance(value, tuple):
        return {"tuple": [encode(part, functions) for part in value]}
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{type(value).__name__} is no array of numbers")
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": array.shape, "bytes": data}


def decode(value, function=None):
    """The value again; function(i) makes a function of the i-th one. Arrays are read-only."""
    if not isinstance(value, dict):
        return value
    if "function" in value:
        return function(value["function"])
    if "tuple" in value:
        return tuple(decode(part, function) for part in value["tuple"])
    dtype = np.dtype(value["dtype"])
    if dtype.kind not in "biufc":
        raise TypeError(f"{dtype} is no type of number")
    data = base64.b64decode(value["bytes"])
    array = np.frombuffer(data, dtype).reshape(value["shape"]) if data else np.zeros(value["shape"], dtype)
    array.flags.writeable = False
    return array


# --- the side that answers -----------------------------------------------------------------------------------------------


def load(path):
    """(the file's names, None), or (None, what went wrong) if the file does not run to its end."""
    module = types.ModuleType("exercise")
    module.__file__ = path
    sys.modules["exercise"] = module
    sys.path.append(os.path.dirname(path))
    try:
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec"), module.__dict__)
    except BaseException as error:  # SystemExit is one, too
        return None, told(error, path)
    return module.__dict__, None


def told(error, path):
    """{"error": what was raised, "line": the last of the file's own lines on the way there}."""
    lines, step = [], error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == path:
            lines.append(step.tb_lineno)
        step = step.tb_next
    if isinstance(error, SyntaxError) and error.filename == path:
        lines.append(error.lineno)
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return {"error": text, "line": f"{lines[-1]}: {linecache.getline(path, lines[-1]).strip()}" if lines else None}


def answer(names, path, question, function):
    """The reply to one question."""
    called = names.get(question["call"])
    if not callable(called):
        return {"error": f"the file has no function {question['call']}", "line": None}
    try:
        value = called(*(decode(argument, function) for argument in question["arguments"]))
    except NotImplementedError as error:
        return {"todo": True} | told(error, path)
    except BaseException as error:
        return told(error, path)
    try:
        return {"value": encode(value)}
    except (TypeError, ValueError) as error:
        return {"error": f"its result is not an array or a tuple of arrays ({error})", "line": None}


def serve(path):
    """Answer questions until there are no more. Standard input and output become the channel, out of the file's way."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def say(message):
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    def function(index):
        def asked(*arguments):
            say({"id": number, "function": index, "arguments": [encode(a) for a in arguments]})
            reply = json.loads(questions.readline())
            if "error" in reply:
                raise ValueError(reply["error"])
            return decode(reply["value"])

        return asked

    say({"id": "start"})
    names, problem = load(path)
    say({"id": "load"} | (problem or {}))
    for line in questions:
        question = json.loads(line)
        number = question["id"]
        say({"id": number} | answer(names, path, question, function))


# --- the side that asks --------------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """The file's process is gone: it took too long, or ended itself. Not an Exception, so that nothing tries again."""


class Process:
    """The student's file, loaded and waiting in a process of its own. seconds: how long a turn (`begin`) may take."""

    def __init__(self, path, seconds):
        self.path, self.seconds = os.path.abspath(path), seconds
        self.child, self.problem, self.number = None, None, 0
        self.output = tempfile.TemporaryFile()

    def begin(self):
        """A new turn, and a new process if the last one is gone. Returns what is wrong with the file, or None."""
        if self.child is None and self.problem is None:
            self._start()
            self.deadline = time.monotonic() + 60  # Python and NumPy may take their time
            self._receive("start")
            self.deadline = time.monotonic() + self.seconds
            try:
                reply = self._receive("load")
                self.problem = reply if "error" in reply else None
            except Stopped as stop:
                self.problem = {"error": str(stop), "line": None}
        self.deadline = time.monotonic() + self.seconds
        return self.problem

    def _start(self):
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.child = subprocess.Popen(
            [sys.executable, "-B", "-m", "savi.student", self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.output,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
        )
        self.lines = queue.Queue(maxsize=100)
        threading.Thread(target=_read, args=(self.child.stdout, self.lines), daemon=True).start()

    def ask(self, name, arguments):
        """The reply, a dict, to one call of the file's function `name`."""
        functions = []
        self.number += 1
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
            raise Stopped(f"took longer than {self.seconds:g} seconds: is there a loop that does not end?") from None
        if line is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(1)
            code = self.child.returncode
            self.close()
            raise Stopped(f"the file ended its own process (exit code {code})")
        try:
            message = json.loads(line)
            if message["id"] == number:
                return message
        except (ValueError, KeyError, TypeError):
            pass
        self.close()
        raise Stopped("something else than an answer came from the file's process")

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

    def printed(self):
        """What the file has written to its standard output and standard error."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")


def _read(stream, lines):
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def call(functions, request):
    """The reply to a file that asks for one of the functions it was given."""
    try:
        value = functions[request["function"]](*(decode(a) for a in request["arguments"]))
        return {"value": encode(value)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    serve(sys.argv[1])
