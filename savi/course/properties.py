"""Properties that the functions of an exercise should have, and the verdict on each.

A property is a sentence, the inputs that hypothesis draws, and a check that raises AssertionError where the sentence is
wrong. It judges by an independent oracle (quadrature, differences, brute force, an invariance), never by a hidden solution:

    @holds("kl is the expectation of log q - log p under q", q="B 2D", p="B 2D")
    def kl_is_an_expectation(student, q, p):
        assert_close(student.kl(q, p), by_quadrature(q, p), 1e-9, name="kl")

`student.kl` asks a student's file for a value (student.py). Verdicts are PASS, TODO (NotImplementedError) or FAIL.
"""

import re
from typing import NamedTuple

import numpy as np

from . import student
from .student import Stopped

LARGEST = 3  # of every dimension that is drawn: errors show in small arrays, and small arrays can be read


class Property(NamedTuple):
    """What should hold, what it should hold for (a hypothesis strategy of a dict), and the check(student, **inputs)."""

    says: str
    inputs: object
    check: object


class Verdict(NamedTuple):
    """status: "PASS", "TODO" or "FAIL"; of a FAIL: why, the file's line that raised, and the smallest failing inputs."""

    status: str
    why: str = ""
    line: str | None = None
    inputs: dict | None = None


def holds(says, **inputs):
    """A decorator: the function checks the property `says`. inputs: a strategy each, or the shape of an array.

    A shape is written in the papers' letters, "B 2D" or "S B D" or "3"; a letter has one value (1 to 3) in all inputs.
    """
    return lambda check: Property(says, arrays_and_others(inputs), check)


def arrays_and_others(inputs):
    """The strategy of a dict with an array for each shape, and a draw for each strategy."""
    from hypothesis import strategies as st

    shapes = {name: value.split() for name, value in inputs.items() if isinstance(value, str)}
    letters = sorted(set(re.findall("[A-Z]", str(list(shapes.values())))))

    def draws(sizes):
        def size(word):
            digits = re.sub("[A-Z]", "", word)
            return int(digits or 1) * (sizes[word[-1]] if word[-1].isalpha() else 1)

        parts = {name: readable([size(word) for word in shape]) for name, shape in shapes.items()}
        others = {name: value for name, value in inputs.items() if name not in shapes}
        return st.fixed_dictionaries({name: (parts | others)[name] for name in inputs})

    return st.fixed_dictionaries({letter: st.integers(1, LARGEST) for letter in letters}).flatmap(draws)


def readable(shape, low=-3, high=3):
    """Arrays of quarters in [low, high]: a failing input shrinks to numbers that a person can calculate with."""
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as extra

    quarters = st.integers(4 * low, 4 * high).map(lambda n: n / 4)
    return extra.arrays(float, tuple(shape), elements=quarters, fill=st.nothing())


def parts(value, count, name):
    """The `count` parts of a result that should be a tuple. Raises AssertionError."""
    assert isinstance(value, tuple) and len(value) == count, f"{name} should return a tuple of {count} arrays"
    return value


# --- the student's functions ---------------------------------------------------------------------------------------------


class Todo(BaseException):
    """A function that is not written yet."""


class Raised(Exception):
    """The student's function raised, or gave nothing that can be sent; line is where."""

    def __init__(self, text, line):
        super().__init__(text)
        self.line = line


class Functions:
    """`functions.kl(q, p)` asks for the value of the file's function kl. asker: a student.Process, or Here."""

    def __init__(self, asker):
        self._asker = asker

    def __getattr__(self, name):
        def asked(*arguments):
            reply = self._asker.ask(name, arguments)
            if "todo" in reply:
                raise Todo(name)
            if "error" in reply:
                raise Raised(f"{name} {reply['error']}", reply["line"])
            value = student.decode(reply["value"])
            assert value is not None and not isinstance(value, str), f"{name} returned {value!r}; expected an array"
            return value

        return asked


class Here:
    """Functions of this process, asked by the same messages: for solutions that one trusts. names: {name: function}."""

    def __init__(self, names, path=""):
        self.names, self.path = names, path

    def begin(self):
        """A new turn: nothing can be wrong with functions of this process, so None."""
        return None

    def ask(self, name, arguments):
        """The reply, a dict, to one call of the function `name`."""
        functions = []
        question = {"call": name, "arguments": [student.encode(a, functions) for a in arguments]}

        def function(index):
            def asked(*arguments):
                request = {"function": index, "arguments": [student.encode(a) for a in arguments]}
                reply = student.call(functions, request)
                if "error" in reply:
                    raise ValueError(reply["error"])
                return student.decode(reply["value"])

            return asked

        return student.answer(self.names, self.path, question, function)


# --- verdicts ------------------------------------------------------------------------------------------------------------


def judge(asker, properties, examples=50, shrink=True):
    """Yields a Verdict for each property, all of which are tried. examples: how many inputs each is tried on."""
    for p in properties:
        problem = asker.begin()
        if problem:
            yield Verdict("FAIL", f"the file cannot be loaded: it {problem['error']}", problem["line"])
        else:
            yield verdict(p, Functions(asker), examples, shrink)


def verdict(p, functions, examples, shrink):
    """The verdict on one property: always the same for the same functions."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Flaky

    inputs, count = {}, 0

    @settings(
        max_examples=examples,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
    )
    @given(p.inputs)
    def run(drawn):
        nonlocal count
        inputs.clear()
        inputs.update(drawn)
        with np.errstate(all="ignore"):  # an overflow shows in the result
            p.check(functions, **drawn)
        count += 1

    try:
        run()
    except Todo as todo:
        return Verdict("TODO", f"{todo} is not written yet")
    except Raised as error:
        return Verdict("FAIL", str(error), error.line, inputs)
    except Stopped as stop:
        return Verdict("FAIL", str(stop), None, inputs)
    except Flaky:
        return Verdict("FAIL", "gives different results for the same inputs", None, inputs)
    except AssertionError as error:
        return Verdict("FAIL", str(error), None, inputs)
    except Exception as error:  # a result that the check can do nothing with
        return Verdict("FAIL", f"the result cannot be used ({type(error).__name__}: {error})", None, inputs)
    return Verdict("PASS") if count else Verdict("FAIL", "no input was tried")


def shown(inputs):
    """Lines like `lam = [[0., 0.25]]`."""
    texts = []
    for name, value in inputs.items():
        text = np.array2string(value, separator=", ", threshold=60) if isinstance(value, np.ndarray) else repr(value)
        texts.append(f"{name} = " + text.replace("\n", "\n" + " " * (len(name) + 3)))
    return "\n".join(texts).splitlines()
