"""No odd argument ends in an exception from deep inside, or in a number that nobody should believe."""

import numpy as np
import odd_calls
import pytest

from savi.engine import given, threads

CALLS = odd_calls.calls()


@pytest.mark.parametrize("name", CALLS)
def test_odd_arguments_are_answered(name):
    before = threads._settings["count"]
    try:
        answers = list(odd_calls.tried(name, *CALLS[name]))
    finally:
        threads._settings["count"] = before
    assert [answer for answer in answers if answer[2]] == []
    assert answers


def wrong(function, kind, good):
    """What does not hold of function(a)."""
    return {what for _, what, says in odd_calls.tried("f", function, {"a": (kind, good)}, {}) if says}


def test_the_sweep_sees_what_is_taken_in_silence_and_what_breaks_deep_inside():
    assert wrong(lambda a: given.whole("a", a, 1), odd_calls.whole(1), 3) == set()
    assert {"one below", "half", "NaN", "None"} <= wrong(lambda a: a, odd_calls.whole(1), 3)
    assert {"one below"} == wrong(lambda a: given.whole("a", a), odd_calls.whole(1), 3)
    assert {"text"} <= wrong(lambda a: 1 / a, odd_calls.number(), 0.5)
    x = np.ones((3, 4))
    assert {"masked"} <= wrong(lambda a: np.asarray(a, float), odd_calls.examples, x)
    assert {"whole numbers", "list"} <= wrong(lambda a: given.floats("a", a) * 1.001, odd_calls.examples, x)


@pytest.mark.parametrize("interval, inside, outside", [
    ("[0, 1)", [0, 0.5], [-0.1, 1]), ("(0, 1]", [0.5, 1], [0, 1.1]), ("(0, inf)", [1e300], [0, np.inf]),
    ("(-inf, inf)", [-1e300, 0], [np.nan, np.inf, -np.inf, 10**400]),
])  # fmt: skip
def test_a_number_lies_in_its_interval(interval, inside, outside):
    for value in inside:
        assert given.number("a", value, interval) == value
    for value in outside:
        with pytest.raises(given.InputError, match=r"^a is .*; expected a finite number"):
            given.number("a", value, interval)


@pytest.mark.parametrize("call, says", [
    (lambda: given.number("a", 2, "[0, 1)"), "a is 2; expected a finite number in [0, 1)"),
    (lambda: given.number("a", -1, "[0, inf)"), "a is -1; expected a finite number >= 0"),
    (lambda: given.number("a", 0, "(0, inf)"), "a is 0; expected a finite number > 0"),
    (lambda: given.number("a", "1"), "a is '1'; expected a finite number"),
    (lambda: given.whole("a", 1.5, 1), "a is 1.5; expected a whole number >= 1"),
    (lambda: given.array("a", np.ma.array([1, 2, 3], mask=[1, 1, 0])),
     "a is a masked array that hides 2 entries; expected all of them"),
    (lambda: given.array("a", np.array([1j])), "a is an array of complex128; expected an array of real numbers"),
    (lambda: given.array("a", "x"), "a is a str; expected an array of real numbers"),
    (lambda: given.examples("a", []), "a has shape (0,); expected a row for each example, one at least"),
    (lambda: given.finite("a", [1, np.nan], (2,)), "a is array([ 1., nan]); expected finite numbers"),
    (lambda: given.finite("a", [1], (2,), "two need"), "a has shape (1,); two need (2,)"),
    (lambda: given.floats("a", [1.0]), "a is a list; expected an array of float32 or float64"),
    (lambda: given.floats("a", np.float16([1])), "a is an array of float16; expected an array of float32 or float64"),
    (lambda: given.precision("a", int), "a is <class 'int'>; expected float32 or float64"),
    (lambda: given.generator("rng", 0), "rng is 0; expected a numpy.random.Generator, as default_rng(0) makes"),
    (lambda: given.thing("encoder", None), "encoder is None; expected an encoder, as an MLP"),
    (lambda: given.one_of("a", "z", ("x", "y")), "a is 'z'; expected one of x, y"),
    (lambda: given.listed("a", "x" * 100, "a list"), "a is '" + "x" * 76 + "...; expected a list"),
])  # fmt: skip
def test_the_sentence_says_what_it_is_and_what_was_expected(call, says):
    with pytest.raises(given.InputError) as caught:
        call()
    assert str(caught.value) == says
