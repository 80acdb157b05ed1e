"""A work of several runs: what is missing of it alone is worked out, written and told."""

import json

import pytest

from savi.engine.files import kept
from savi.sweeps.conduct import RESULT, conduct
from savi.sweeps.executors import Local

WORKS = {("a", "b"): (1, 2), ("c",): (3,)}


def squares(*numbers):
    """A work whose runs are squares; a negative number is none."""
    if min(numbers) < 0:
        raise ValueError("negative")
    return json.dumps([{"y": n * n} for n in numbers]).encode()


@pytest.mark.parametrize("engine", [None, Local(2)], ids=["here", "two processes"])
def test_every_run_of_a_work_has_its_own_value_on_the_disk_when_it_is_told(tmp_path, engine):
    told = {}
    for ended in conduct(squares, WORKS, str(tmp_path), engine):
        assert kept(tmp_path / ended.name / RESULT, ended.name) == ended.value and ended.new and ended.error is None
        told[ended.name] = ended.value["y"]
    assert told == {"a": 1, "b": 4, "c": 9}


def test_what_is_there_is_told_first_and_stays_as_it_was_where_another_run_of_its_work_is_missing(tmp_path):
    list(conduct(squares, WORKS, str(tmp_path)))
    before, said, worked = (tmp_path / "a" / RESULT).read_bytes(), [], []
    (tmp_path / "b" / RESULT).write_text("{")

    def work(*numbers):
        worked.append(numbers)
        return squares(*(10 * n for n in numbers))

    ended = list(conduct(work, WORKS, str(tmp_path), resume=True, say=said.append))
    assert [(e.name, e.value["y"], e.new) for e in ended] == [("a", 1, False), ("c", 9, False), ("b", 400, True)]
    assert worked == [(1, 2)] and (tmp_path / "a" / RESULT).read_bytes() == before and "worked out again" in said[0]


def test_a_work_that_raises_is_told_for_each_of_its_runs_that_is_missing(tmp_path):
    ended = list(conduct(squares, {("a", "b"): (1, -2), ("c",): (3,)}, str(tmp_path)))
    assert [(e.name, e.value, type(e.error)) for e in ended[:2]] == [("a", None, ValueError), ("b", None, ValueError)]
    assert ended[2].value == {"y": 9} and sorted(path.name for path in tmp_path.iterdir()) == ["c"]
