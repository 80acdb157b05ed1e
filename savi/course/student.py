"""A student's file in a process of its own, asked one call at a time.

The judge (check.py, process.py) does not run a student's code in its own process and believes nothing that the code says of itself:
it sends the name of a function with arguments, gets a value back, and holds the value to a property. So a file may print,
exit, or replace hypothesis as it likes; it cannot pass but by right values. One message is one line of JSON:

    judge    {"id": "5f0c", "call": "kl", "arguments": [...]}
    file     {"id": "5f0c", "value": ...}, or "todo", or "error" with the "line" that raised
    file     {"id": "5f0c", "function": 0, "arguments": [...]} asks for a function that was an argument;
    judge    {"value": ...} or {"error": ...} answers that

An array is its dtype, shape and bytes; nothing is unpickled. `python -m savi.course.student FILE` is the side that answers.
"""

import base64
import json
import linecache
import os
import sys
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
    return np.frombuffer(base64.b64decode(value["bytes"]), dtype).reshape(value["shape"])


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
    """{"error": "raised ...", "line": the last of the file's own lines on the way there}."""
    lines, step = [], error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == path:
            lines.append(step.tb_lineno)
        step = step.tb_next
    if isinstance(error, SyntaxError) and error.filename == path and error.lineno:
        lines.append(error.lineno)
    text = f"raised {type(error).__name__}: {error}".rstrip(": ")
    return {"error": text, "line": f"{lines[-1]}: {linecache.getline(path, lines[-1]).strip()}" if lines else None}


def answer(names, path, question, function):
    """The reply to one question."""
    called = names.get(question["call"])
    if not callable(called):
        return {"error": "is not among the file's functions", "line": None}
    try:
        value = called(*(decode(argument, function) for argument in question["arguments"]))
    except NotImplementedError as error:
        return {"todo": True} | told(error, path)
    except BaseException as error:
        return told(error, path)
    try:
        return {"value": encode(value)}
    except (TypeError, ValueError) as error:
        return {"error": f"did not return an array, or a tuple of arrays ({error})", "line": None}


def serve(path):
    """Answer questions until there are no more. Standard input and output become the channel, out of the file's way."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # what the file prints is not lost when the process is killed

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

    say({"id": "start", "pid": os.getpid()})
    names, problem = load(path)
    say({"id": "load"} | (problem or {}))
    for line in questions:
        question = json.loads(line)
        number = question["id"]
        say({"id": number} | answer(names, path, question, function))


# --- for the side that asks --------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """The file's process is gone: it took too long, or ended itself. Not an Exception, so that nothing tries again."""


def call(functions, request):
    """The reply to a file that asks for one of the functions it was given."""
    try:
        value = functions[request["function"]](*(decode(a) for a in request["arguments"]))
        return {"value": encode(value)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    serve(sys.argv[1])
