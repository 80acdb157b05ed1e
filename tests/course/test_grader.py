"""A grader that is not fooled: by files that overwrite its own, flood it, forge its messages, outlive it, or paint over it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_exercises import SOLUTION, counts, run

from savi.course import check, keeper, lessons, own_files, process
from savi.course.process import Process, clock, processor_seconds, understood
from savi.course.student import Stopped
from savi.engine.files import InputError

SECONDS = 120  # after which what should have ended is said to go on

# --- its own files ----------------------------------------------------------------------------------------------------

PROPERTIES = """
import numpy as np
from savi.course.properties import holds

@holds("f: twice x", x="B")
def twice(student, x):
    assert np.array_equal(student.f(x), 2 * x), "it is not"
"""


@pytest.fixture
def exercise(tmp_path, monkeypatch):
    """The properties' file of an exercise 77 that is published."""
    path = tmp_path / "lessons" / "exercises" / "properties" / "77_twice.py"
    path.parent.mkdir(parents=True)
    path.write_text(PROPERTIES)
    (path.parents[1] / path.name).write_text('"""Twice."""\n\ndef f(x):\n    raise NotImplementedError\n')
    monkeypatch.setattr(lessons, "FOLDER", tmp_path / "lessons")
    monkeypatch.setattr(own_files, "DIGESTS", tmp_path / "digests.json")
    own_files.write_digests()
    return path


def test_a_file_that_overwrites_the_properties_fails_then_and_cannot_pass_later(exercise, capsys, tmp_path):
    forged = PROPERTIES.replace("assert", "pass #")
    source = f"open({str(exercise)!r}, 'w').write({forged!r})\ndef f(x):\n    return 2 * x\n"
    code, lines = run(capsys, tmp_path, source, number="77")
    assert code == 1 and counts(lines) == [1, 1, 0]
    assert f"FAIL  {exercise} changed while your file ran; expected the grader's files as they were" in lines
    with pytest.raises(InputError, match=r"is not as published .* git checkout"):
        check.properties(lessons.find("exercise", "77"))
    own_files.write_digests()  # a change that one keeps
    assert len(check.properties(lessons.find("exercise", "77"))) == 1


def test_the_lines_of_a_checkout_may_end_as_its_system_likes(exercise):
    exercise.write_bytes(PROPERTIES.replace("\n", "\r\n").encode())
    assert own_files.verified(exercise) == exercise.read_bytes()


def test_an_exercise_of_ones_own_has_no_digest(exercise):
    own = exercise.with_name("78_own.py")
    own.write_text(PROPERTIES)
    assert own_files.verified(own) == PROPERTIES.encode()


def test_the_published_properties_are_those_that_are_here():
    here = {path.name: own_files._digest(path.read_bytes()) for path in own_files.folder().glob("*.py")}
    assert json.loads(own_files.DIGESTS.read_text()) == here, "python -m savi.course.own_files writes them anew"


def test_whatever_grades_is_looked_at_again(exercise, tmp_path):
    before = own_files.snapshot()
    assert {exercise, own_files.DIGESTS, pathlib.Path(check.__file__), pathlib.Path(keeper.__file__)} <= set(before)
    assert own_files.changed(before) == []
    own_files.DIGESTS.unlink()
    exercise.write_text("")
    assert own_files.changed(before) == sorted([str(own_files.DIGESTS), str(exercise)])


# --- questions and answers --------------------------------------------------------------------------------------------

FORGE = """
import gc, io, json
def say(*messages):
    for writer in gc.get_objects():
        if isinstance(writer, io.BufferedWriter):
            for message in messages:
                writer.write(json.dumps(message).encode() + b"\\n")
            writer.flush()
"""
IN_ADVANCE = f"""{FORGE}
def inclusive_loss(*arguments):
    import time
    say(*({{"id": n, "value": True}} for n in range(1, 100_000)))
    time.sleep(1e6)
"""
FORGED = {
    "an error without its line": FORGE + "say({'id': 'load', 'error': 'x'})",
    "an error that is no text": FORGE + "say({'id': 'load', 'error': {}, 'line': []})",
    "no object": FORGE + "say(3)",
    "no answer": FORGE + "say({'id': 'load'}, {'id': 1})",
    "a deep nest": FORGE + "say.__globals__['json'].dumps = lambda m: '[' * 100_000\nsay(0)",
    "bytes that are no text": FORGE + "json.dumps = lambda m: '\\udcff' * 9\nsay(0)",
    "a line without an end": FORGE + "json.dumps = lambda m: 'x' * (1 << 25)\nsay(0)",
    "a value of no type": FORGE + "say({'id': 'load'}, {'id': 1, 'value': {'dtype': 'O', 'shape': [1], 'bytes': ''}})",
    "a surrogate in an exception": "raise ValueError('\\ud800')",
    "answers in advance, and then it reads no more": IN_ADVANCE,
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_message_fails_and_breaks_nothing(how, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 2)
    code, lines = run(capsys, tmp_path, FORGED[how], number="11", seconds="1")
    assert code == 1 and counts(lines)[0] == 0 and sum(counts(lines)) == 7


@pytest.mark.parametrize("line, number, fits", [
    (b'{"id": "a", "value": 1}', "a", True), (b'{"id": "a", "value": 1}', "b", False), (b'{"id": "a"}', "a", False),
    (b'{"id": "load"}', "load", True), (b'{"id": "load", "error": 3}', "load", False), (b"[]", "a", False),
    (b'{"id": "load", "error": "x", "line": 3}', "load", False), (b"", "a", False), (b"[" * 100_000, "a", False),
    (b'"a"', "a", False), (b'{"id": "a", "todo": true, "error": "x", "line": "3: x"}', "a", True),
])  # fmt: skip
def test_a_message_is_understood_or_it_is_none(line, number, fits):
    message = understood(line, number)
    assert (message is not None) == fits
    assert not fits or "line" in message


def test_the_id_of_a_question_cannot_be_known_before(monkeypatch):
    sent, p = [], Process("x.py", 1)
    monkeypatch.setattr(Process, "_send", lambda self, message: sent.append(message["id"]))
    monkeypatch.setattr(Process, "_receive", lambda self, number: {})
    for _ in range(20):
        p.ask("f", ())
    assert len(set(sent)) == 20 and all(len(number) == 16 for number in sent)


def test_a_file_that_does_not_read_ends_with_its_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 1)
    path = tmp_path / "mine.py"
    path.write_text("import time, threading\ndef f(x):\n    time.sleep(1e6)\n")
    p = Process(path, 1)
    try:
        assert p.begin() is None
        p._send({"id": "1", "call": "f", "arguments": [3]})
        with pytest.raises(Stopped, match="took longer than 1 seconds by the clock"):
            p.ask("f", [np.zeros(100_000)])  # more than a pipe holds
    finally:
        p.close()


def test_a_file_that_asks_for_ever_ends_with_its_turn(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def f(g):\n    while True:\n        g(1)\n")
    p = Process(path, 0.5)
    try:
        assert p.begin() is None
        with pytest.raises(Stopped, match=r"f .* is there a loop that does not end"):
            p.ask("f", [lambda x: x])
    finally:
        p.close()


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(processor_seconds(os.getpid()) is None, reason="nobody can tell a process's time here")
def test_what_counts_is_the_time_that_the_file_computes(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 1000)
    waits = "import time\ncalls = []\n\ndef kl(lam, prior):\n    calls.append(0)\n    time.sleep(0.5 if len(calls) < 6 else 0)"
    code, lines = run(capsys, tmp_path, SOLUTION.replace("def kl(lam, prior):", waits), seconds="2")
    assert code == 0, lines


@pytest.mark.parametrize("source, why", [
    ("while True: pass", "it computed for more than 0.3 seconds: is there a loop that does not end?"),
    ("import time; time.sleep(1e6)", "seconds of computing): does it wait for something, or is there a loop"),
    ("input()", "raised EOFError"),
], ids=["computes", "waits", "asks"])  # fmt: skip
@pytest.mark.skipif(processor_seconds(os.getpid()) is None, reason="nobody can tell a process's time here")
def test_the_sentence_says_which_limit_ended_it(source, why, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 3 if "sleep" in source else 1000)
    path = tmp_path / "mine.py"
    path.write_text(source)
    p = Process(path, 0.3)
    try:
        assert why in "it " + p.begin()["error"]
    finally:
        p.close()


@pytest.mark.parametrize("text, seconds", [
    ("0:00.05", 0.05), (" 1:02.50\n", 62.5), ("00:01:02", 62), ("2-03:04:05", 183845), ("", None), ("x", None),
])  # fmt: skip
def test_the_time_that_ps_tells(text, seconds):
    assert clock(text) == seconds


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="no processor time of other processes here")
def test_processor_seconds_are_those_of_the_process():
    before, mine = processor_seconds(os.getpid()), time.process_time()
    while time.process_time() - mine < 0.5:
        pass
    assert 0.4 <= processor_seconds(os.getpid()) - before <= 5
    assert processor_seconds(2**22 + 1) is None


# --- the end ----------------------------------------------------------------------------------------------------------

LEAVES = """
import os, subprocess, sys, time
open({pids!r}, "a").write(f"{{os.getpid()}}\\n")
code = "import os, time; open(%r, 'a').write(f'{{os.getpid()}}\\\\n'); time.sleep(1e6)" % {pids!r}
for session in (True, False):
    subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=session, stdin=-1, stdout=-1, stderr=-1)
while len(open({pids!r}).read().splitlines()) < 3:
    time.sleep(0.01)
{then}
"""


def runs(pid):
    """Whether that process is there, and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(holds):
    """Wait until holds() does."""
    end = time.monotonic() + SECONDS
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    assert holds()


def written(pids):
    return pids.read_text().split() if pids.exists() else []


@pytest.mark.skipif(not keeper.available(), reason="there is no prctl here")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_what_the_file_started_ends_with_the_check(number, tmp_path):
    pids, path = tmp_path / "pids", tmp_path / "mine.py"
    path.write_text(LEAVES.format(pids=str(pids), then="time.sleep(1e6)"))
    judge = subprocess.Popen([sys.executable, "-m", "savi", "check", "02", "--file", str(path), "--seconds", "3600"])
    try:
        until(lambda: len(written(pids)) == 3 or judge.poll() is not None)
        judge.send_signal(number)
        assert judge.wait(SECONDS) in (-number, 128 + number)
        until(lambda: not any(map(runs, written(pids))))
        assert len(written(pids)) == 3
    finally:
        judge.kill()
        for pid in filter(runs, written(pids)):
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.skipif(not keeper.available(), reason="there is no prctl here")
@pytest.mark.parametrize("then", ["", "os._exit(0)", "os.kill(os.getpid(), 11)", "while True: pass"],
                         ids=["goes on", "exits", "crashes", "loops"])  # fmt: skip
def test_what_the_file_started_ends_with_the_file(then, capsys, tmp_path):
    pids = tmp_path / "pids"
    code, lines = run(capsys, tmp_path, LEAVES.format(pids=str(pids), then=then), number="11", seconds="1")
    assert code == 1 and len(written(pids)) == 3 and not any(map(runs, written(pids)))
    assert then != "os.kill(os.getpid(), 11)" or any("exit code -11" in line for line in lines)


def test_without_a_keeper_all_is_as_well_as_it_can_be(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "available", lambda: False)
    assert run(capsys, tmp_path, SOLUTION)[0] == 0
    code, lines = run(capsys, tmp_path, "while True: pass", seconds="0.3")
    assert code == 1 and any("is there a loop that does not end?" in line for line in lines)


def test_where_nobody_can_tell_the_processor_time_the_clock_ends_a_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "processor_seconds", lambda pid: None)
    path = tmp_path / "mine.py"
    path.write_text("while True: pass")
    p = Process(path, 0.3)
    assert p.begin()["error"] == "took longer than 0.3 seconds by the clock: is there a loop that does not end?"


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_what_comes_from_a_file_is_shown_and_not_obeyed(capsys, tmp_path):
    paint = "\x1b[2J\x1b[H\x1b[8m\a\b\r\x7f\x85\u202e\u2028"
    source = (
        f"print({paint!r} + 'PASS  all')\ndef kl(lam, prior):\n    raise ValueError({paint!r} + '\\ud800')  # \x1b[2J\n"
    )
    path = tmp_path / "mi\x1b[2Jne.py"
    path.write_text(source)
    assert check.check("02", path) == 1
    out = capsys.readouterr().out
    assert not [c for c in out if not c.isprintable() and c != "\n"]
    assert "mi\\x1b[2Jne.py" in out and "  | \\x1b[2J\\x1b[H\\x1b[8m\\x07\\x08" in out
    assert "raised ValueError: \\x1b[2J" in out and "# \\x1b[2J" in out and "\\ud800" in out


@pytest.mark.parametrize("text, shown", [
    ("plain (é, λ) ", "plain (é, λ) "), ("a\tb", "a   b"), ("\x1b[31m", "\\x1b[31m"), ("\u202eab", "\\u202eab"),
    ("\ud800", "\\ud800"), ("\U000e0001", "\\U000e0001"),
])  # fmt: skip
def test_control_characters_are_made_visible(text, shown):
    assert check.visible(text) == shown


def test_a_terminal_that_knows_few_characters_is_no_error(tmp_path):
    code = "from savi.course.check import say; say('λ = 1')"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert told.stdout.split() == [b"\\u03bb", b"=", b"1"] and told.returncode == 0
