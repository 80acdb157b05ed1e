"""A class is graded side by side: right, wrong, hostile and empty files, each a row, and none that stops the rest."""

import csv
import json
import os

import pytest

from savi.__main__ import main
from savi.course import check, grade, judges, lessons
from savi.course.weights import points, read
from savi.engine.files import InputError

PROPERTIES = """
import numpy as np
from savi.course.properties import holds

@holds("f: twice x", x="B")
def twice(student, x):
    assert np.array_equal(student.f(x), 2 * x), "it is not"

@holds("g: one number", x="B")
def one(student, x):
    assert np.shape(student.g(x)) == (), "g has another shape"
"""
RIGHT = "def f(x):\n    return 2 * x\n\n\ndef g(x):\n    return x.sum()\n"
WRONG = RIGHT.replace("2 * x", "3 * x")
HOSTILE = {
    "exits": "import os\nos._exit(0)\n",
    "raises": "raise ValueError('\\x1b[2J=cmd()')\n",
    "loops": "while True: pass\n",
    "does_not_parse": "def f(:\n",
    "no_text": b"\xff\x00\xfe" * 50,
    "empty": "",
    "prints": "while True: print('PASS ' * 1000)\n",
    "kills_its_parent": "import os\nos.kill(os.getppid(), 9)\n",
    "kills_its_group": "import os\nos.killpg(0, 9)\n",
    "overwrites_the_grader": RIGHT
    + """
import pathlib, savi
for path in pathlib.Path(savi.__file__).parent.rglob("*.py"):
    path.write_text("raise SystemExit(0)")
""",
    "overwrites_the_properties": WRONG
    + """
import pathlib, savi
for path in pathlib.Path(savi.__file__).parents[1].rglob("77_twice.py"):
    path.write_text("")
""",
    "removes_its_folder": "import os, shutil\nshutil.rmtree(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))\n",
    "large": RIGHT + "#" * judges.LARGEST,
}


@pytest.fixture
def exercise(tmp_path, monkeypatch):
    """An exercise 77 of two properties; the working folder is a new one."""
    path = tmp_path / "lessons" / "exercises" / "properties" / "77_twice.py"
    path.parent.mkdir(parents=True)
    path.write_text(PROPERTIES)
    stub = path.parents[1] / path.name
    stub.write_text('"""Twice."""\n\n\ndef f(x):\n    raise NotImplementedError\n')
    monkeypatch.setattr(lessons, "FOLDER", tmp_path / "lessons")
    monkeypatch.chdir(tmp_path)
    return stub


@pytest.fixture
def judged(monkeypatch):
    """Files are read, not run: RIGHT passes, all else has one FAIL. Collects the names of what was judged."""
    seen = []

    def one(self, path):
        seen.append(path.stem)
        status = "PASS" if path.read_text() == RIGHT else "FAIL"
        verdicts = {s: {"status": status if s[0] == "f" else "PASS", "why": "=off", "line": None} for s in self.says}
        return {"verdicts": verdicts, "passed": 1 + (status == "PASS"), "problem": ""}

    monkeypatch.setattr(judges.Judges, "judged", one)
    return seen


def fill(folder, files):
    """Files by their names."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_thirty_files_right_wrong_hostile_and_empty_are_graded_in_one_run(exercise, tmp_path, capsys):
    files = {f"right_{i}.py": RIGHT for i in range(6)} | {f"wrong_{i}.py": WRONG for i in range(4)}
    files |= {"todo.py": exercise.read_text(), "=sum(1).py": RIGHT, "folder/77_mine.py": "from helper import *\n"}
    files |= {
        "folder/helper.py": RIGHT,
        "two/77_a.py": RIGHT,
        "two/77_b.py": RIGHT,
        "none/note.txt": "",
        ".hidden.py": "",
    }
    files |= {"both.py": RIGHT, "both/77_twice.py": RIGHT, "notes.md": ""} | {
        f"{n}.py": text for n, text in HOSTILE.items()
    }
    fill(tmp_path / "class", files)
    (tmp_path / "class" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "class" / "lost.py").symlink_to(tmp_path / "nowhere.py")
    before = {path: path.read_bytes() for path in (tmp_path / "class").rglob("*.py") if path.exists()}
    assert main(["grade", "class", "--exercise", "77", "--seconds", "1", "--out", "class.csv"]) == 0
    rows = {row["student"]: row for row in csv.DictReader(open("class.csv", encoding="utf-8"))}
    assert len(rows) == 30
    right = {f"right_{i}" for i in range(6)} | {"'=sum(1)", "folder"}
    assert {name for name, row in rows.items() if row["passed"] == "2"} == right
    assert {row["f: twice x"] for name, row in rows.items() if name in right} == {"PASS"}
    assert all(rows[f"wrong_{i}"]["f: twice x"] == "FAIL: it is not" for i in range(4))
    assert rows["todo"]["f: twice x"] == "TODO" and rows["wrong_0"]["points"] == "1"
    assert "took longer" in rows["loops"]["f: twice x"] or "computed for more" in rows["loops"]["f: twice x"]
    assert "changed the grader" in rows["overwrites_the_properties"]["problem"]
    assert "no file that can be read" in rows["lost"]["problem"]
    assert "2 files 77_*.py" in rows["two"]["problem"] and "0 files" in rows["none"]["problem"]
    assert "expected at most" in rows["large"]["problem"] and "expected one" in rows["both"]["problem"]
    assert "\x1b" not in open("class.csv", encoding="utf-8").read()
    assert set(json.load(open("class.json"))["rows"]) == {name.removeprefix("'") for name in rows}
    out = capsys.readouterr().out
    assert "30 files, 8 with every property" in out and "FAIL" in out
    assert before == {path: path.read_bytes() for path in before}, "no file was touched"


def test_the_same_command_goes_on_and_grades_again_what_changed(exercise, tmp_path, judged):
    fill(tmp_path / "class", {"a.py": RIGHT, "b.py": WRONG, "c.py": RIGHT})
    first = grade.grade("class", "77", told=lambda line: None)
    assert sorted(judged) == ["a", "b", "c"] and [row["points"] for row in first] == [2, 1, 2]
    assert grade.grade("class", "77") == first and len(judged) == 3
    fill(tmp_path / "class", {"b.py": RIGHT})
    assert [row["points"] for row in grade.grade("class", "77")] == [2, 2, 2] and judged[3:] == ["b"]
    grade.grade("class", "77", seconds=3.0)
    assert len(judged) == 7, "another limit is another grader"
    exercise.with_name("properties").joinpath("77_twice.py").write_text(PROPERTIES + "#")
    grade.grade("class", "77", seconds=3.0)
    assert len(judged) == 10


def test_what_is_graded_is_kept_when_it_is_interrupted(exercise, tmp_path, judged):
    fill(tmp_path / "class", {f"{i}.py": RIGHT for i in range(9)})

    def interrupt(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade.grade("class", "77", jobs=1, told=interrupt)
    kept = set(json.load(open("grades.json"))["rows"])
    assert 1 <= len(kept) < 9 and not os.path.exists("grades.csv")
    judged.clear()  # of those that were begun and not kept, one may have been judged: it is judged again
    grade.grade("class", "77", told=lambda line: None)
    assert set(judged) == {str(i) for i in range(9)} - kept and len(judged) == len(set(judged))
    assert len(list(csv.reader(open("grades.csv")))) == 10


def test_a_judge_that_is_ended_gives_no_grade(exercise, tmp_path, monkeypatch):
    fill(tmp_path / "class", {"a.py": "import time\ntime.sleep(1e6)\n"})
    these = judges.Judges(exercise, 1.0, ["f: twice x"])
    these.end()
    row = these.judged(tmp_path / "class" / "a.py")
    assert "its judge ended with code" in row["problem"] and row["passed"] == 0


SAYS = ["f: one", "f: two", "g: three"]


@pytest.mark.parametrize("text, worth", [
    ("f = 3\ng = 1", [1.5, 1.5, 1]), ("f = 3\n'f: two' = 1", [3, 1, 0]), ("g = 0", [0, 0, 0]), (None, [1, 1, 1]),
])  # fmt: skip
def test_points_are_a_functions_or_a_propertys(text, worth, tmp_path):
    path = None
    if text is not None:
        path = tmp_path / "weights.toml"
        path.write_text(text)
    found = read(path, SAYS)
    assert [found[s] for s in SAYS] == worth
    verdicts = {s: {"status": status} for s, status in zip(SAYS, ("PASS", "FAIL", "PASS"))}
    assert points(verdicts, found) == worth[0] + worth[2]


@pytest.mark.parametrize("text", ["h = 1", "f = -1", "f = nan", "f = true", "f = '1'", "f = [1]", "f ="])
def test_weights_that_are_none_are_one_sentence(text, tmp_path):
    (tmp_path / "weights.toml").write_text(text)
    with pytest.raises(InputError, match="expected"):
        read(tmp_path / "weights.toml", SAYS)


@pytest.mark.parametrize("arguments, sentence", [
    (["nowhere"], "there is no folder nowhere"), (["bare"], "there is no student's file in bare"),
    (["class", "--jobs", "0"], "jobs is 0"), (["class", "--out", "grades.txt"], "out is 'grades.txt'"),
    (["class", "--weights", "none.toml"], "the weights none.toml cannot be read"), (["class", "--seconds", "0"], "seconds is 0.0"),
    (["class", "--out", "other.csv"], "other.json is not what grade has written"),
])  # fmt: skip
def test_bad_usage_is_one_sentence(arguments, sentence, exercise, tmp_path, capsys):
    fill(tmp_path, {"class/a.py": RIGHT, "other.json": "[]", "bare/notes.md": ""})
    assert main(["grade", *arguments, "--exercise", "77"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"savi: {sentence}") and error.count("\n") == 1


def test_check_says_the_same_in_json(exercise, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(WRONG)
    assert main(["check", "77", "--file", "mine.py", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["of"], found["all"], found["changed"]) == (1, 2, False, [])
    first, second = found["verdicts"]
    assert first["says"] == "f: twice x" and first["status"] == "FAIL" and first["why"].startswith("it is not")
    assert first["inputs"][0].startswith("x = [") and second["status"] == "PASS"


def test_hints_are_for_the_first_function_that_does_not_pass_and_come_one_by_one(exercise, tmp_path, capsys):
    exercise.with_name("hints.toml").write_text("[77]\nf = ['Think of two.', 'Multiply.']\n")
    (tmp_path / "mine.py").write_text(WRONG)
    said = []
    for stage in ([], ["2"], ["3"]):
        assert main(["check", "77", "--file", "mine.py", "--hint", *stage]) == 1
        said.append(capsys.readouterr().out.splitlines())
    assert said[0] == ["f: twice x", "", "1. Think of two.", "", "the next one: --hint 2"]
    assert said[1][2:4] == ["1. Think of two.", "2. Multiply."] and said[1] == said[2]
    (tmp_path / "mine.py").write_text(RIGHT)
    assert main(["check", "77", "--file", "mine.py", "--hint"]) == 0
    assert "there is nothing to hint at" in capsys.readouterr().out
    assert main(["check", "77", "--hint", "0"]) == 2


def test_a_solution_is_written_once_and_passes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["solution", "08"]) == 0
    assert capsys.readouterr().out == "written to 08_learning_to_infer_solution.py\n"
    found = check.grade("08_learning_to_infer_solution.py", lessons.find("exercise", "08"), 10.0, examples=5)
    assert found.passed()
    assert main(["solution", "08"]) == 2 and "--force" in capsys.readouterr().err
    assert main(["solution", "08", "--force"]) == 0 == main(["solution", "08", "--out", "other.py"])
    assert main(["solution", "16"]) == 2
