"""The short form of the campaign, and whether it would see what it is there for."""

import json
import os

import folders
import numpy as np
import outside
import pytest
import run
import small

from savi.engine import files
from savi.experiments import checkpoints, training


@pytest.mark.parametrize("part", [name for name in run.PARTS if run.PARTS[name][1]])
def test_what_is_tried_holds(part):
    if part in run.FORKING and not hasattr(os, "fork"):
        pytest.skip("this system has no os.fork")
    counts = run.campaign([part], 1, False, say=lambda text: None)[part]
    assert counts["failed"] == [] and counts["tried"] == counts["held"] > 0


def failed(part, count, seed=0):
    """What a part finds."""
    return [what for what, wrong in part(np.random.default_rng(seed), count) if wrong]


def test_numbers_that_nobody_checks_are_seen(monkeypatch):
    read = files._digest
    monkeypatch.setattr(files, "_digest", lambda value: read(0))
    monkeypatch.setattr(folders, "READ", ("vae-seed0/result.json",))
    monkeypatch.setattr(folders, "HURTS", {"a bit": folders.HURTS["a bit"]})
    assert failed(folders.damage, 10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no os.fork")
def test_a_resume_that_loses_a_bit_is_seen(monkeypatch):
    load = checkpoints.load

    def wrong(path, fresh, settings):
        state, cost = load(path, fresh, settings)
        return state._replace(theta=np.nextafter(state.theta, 9)), cost

    monkeypatch.setattr(training.checkpoints, "load", wrong)
    assert failed(folders.kills, 4)


def test_a_traceback_is_seen():
    def broken(*_):
        raise ZeroDivisionError

    assert small.answer(broken)[1].startswith("ZeroDivisionError")
    assert small.answer(files.expect, "a", 1, False, "two")[1] is None
    assert "no sentence" in small.answer(files.expect, "a", "two\nlines", False, "one")[1]


def test_an_exception_of_a_command_is_seen(monkeypatch):
    monkeypatch.setattr(outside, "main", lambda line: 1 / 0)
    assert outside.told(["data", "list"]).startswith("ZeroDivisionError")
    monkeypatch.setattr(outside, "main", lambda line: 3)
    assert outside.told([]).startswith("ended with 3")
    monkeypatch.setattr(outside, "main", lambda line: 2)
    assert outside.told([]).startswith("no sentence")


def test_a_student_that_passes_is_seen(monkeypatch):
    monkeypatch.setattr(outside.check, "check", lambda *_: print("PASS  all") or 0)
    assert len(failed(outside.students, 2)) == 2


def test_the_pages_table_is_made_of_its_numbers():
    found = json.loads((run.BOOK / "campaign.json").read_text())
    assert found["long"] and run.table(found) in (run.BOOK / "campaign.md").read_text()
    assert list(found["counts"]) == list(run.PARTS) and not any(c["failed"] for c in found["counts"].values())
