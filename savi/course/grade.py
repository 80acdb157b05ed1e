"""python -m savi grade FOLDER --exercise NN: a class's files side by side, each judged by a process and a copy of its own.

A file that crashes, loops or overwrites the grader harms its own grade alone (judges.py), and none can stop the rest. Rows
are kept as they come, so that the same command goes on where it was stopped; a file that changed since is graded again.
"""

import concurrent.futures
import csv
import hashlib
import io
import json
import os
import pathlib
import threading

from ..engine.files import InputError, expect, replacing
from . import check, lessons, own_files
from .judges import LARGEST, Judges
from .weights import points, read


def grade(folder, number, out="grades.csv", weights=None, seconds=10.0, jobs=None, told=print):
    """Grade every student's file in `folder` by exercise `number`; [row, ...], by name. Writes `out` and its .json.

    weights: a TOML file of points (weights.py); jobs: judges at a time (default: the cores); told(line) hears of each row.
    """
    expect("seconds", seconds, 0 < seconds <= 3600, "between 0 and 3600")
    expect("jobs", jobs, jobs is None or jobs >= 1, "at least 1")
    expect("out", repr(out), os.fspath(out).endswith(".csv"), "a name that ends in .csv")
    exercise = lessons.find("exercise", number)
    says = [p.says for p in check.properties(exercise)]
    worth = read(weights, says)
    files = submissions(folder, exercise)
    grader = _grader(seconds)
    before = kept(out, grader)
    rows = {name: before[name] for name, path in files.items() if before.get(name, {}).get("sha256") == _digest(path)}
    said, snapshot, judges = threading.Lock(), own_files.snapshot(), Judges(exercise, seconds, says)

    def one(name):
        row = {"student": name, "sha256": _digest(files[name]), **judges.judged(files[name])}
        with said:
            if judges.ended:  # by Ctrl-C: this is no grade
                return
            rows[name] = row
            _write_json(out, exercise, grader, rows)
            told(f"{name}: {row['passed']} of {len(says)}" + (f" ({row['problem']})" if row["problem"] else ""))

    missing = [name for name in files if name not in rows]
    with check.ended_by_signals(), concurrent.futures.ThreadPoolExecutor(jobs or _cores()) as pool:
        waiting = [pool.submit(one, name) for name in missing]
        try:
            for done in concurrent.futures.as_completed(waiting):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            judges.end()
            raise
    for row in rows.values():
        row["points"] = points(row["verdicts"], worth)
    ordered = [rows[name] for name in files]
    _write_json(out, exercise, grader, rows)
    _write_csv(out, ordered, says)
    for path in own_files.changed(snapshot):
        told(f"{path} changed meanwhile; expected the grader's files as they were: grade again")
    return ordered


def submissions(folder, exercise):
    """{student: path} of FOLDER/NAME.py and FOLDER/NAME/NN_*.py, by name; the path is a sentence where there is no one file."""
    if not os.path.isdir(folder):
        raise InputError(f"there is no folder {folder}; expected one with a file, or a folder, for each student")
    found = {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            there = sorted(path.glob(f"{exercise.stem[:2]}_*.py"))
            named = there[0] if len(there) == 1 else f"{len(there)} files {exercise.stem[:2]}_*.py; expected one"
        elif path.suffix == ".py":
            named = path
        else:
            continue
        named = named if isinstance(named, str) or named.is_file() else "no file that can be read"
        found[path.stem] = "both a file and a folder of that name; expected one" if path.stem in found else named
    if not found:
        raise InputError(f"there is no student's file in {folder}; expected NAME.py or NAME/{exercise.stem[:2]}_*.py")
    return found


# --- what is kept -----------------------------------------------------------------------------------------------------


def kept(out, grader):
    """{student: row} that an earlier run has left beside `out`, by the same grader; {} where there is none."""
    path = os.path.splitext(out)[0] + ".json"
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return found["rows"] if found["grader"] == grader else {}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not what grade has written; expected its rows, or no such file") from None


def _write_json(out, exercise, grader, rows):
    with replacing(os.path.splitext(out)[0] + ".json") as file:
        kept = {"exercise": exercise.stem, "grader": grader, "rows": dict(sorted(rows.items()))}
        file.write(json.dumps(kept, indent=1).encode() + b"\n")


def _write_csv(out, rows, says):
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["student", "points", "passed", "of", "problem", *says])
    for row in rows:
        cells = [_cell(row["verdicts"][sentence]) for sentence in says]
        name = "'" + row["student"] if row["student"].startswith(("=", "+", "-", "@")) else row["student"]
        table.writerow([check.visible(name), f"{row['points']:g}", row["passed"], len(says), row["problem"], *cells])
    with replacing(out) as file:
        file.write(text.getvalue().encode(errors="backslashreplace"))


def _cell(verdict):
    """A status that a spreadsheet takes for text, and the reason of a FAIL."""
    why = f"{verdict['why']} (line {verdict['line']})" if verdict["line"] else verdict["why"]
    return verdict["status"] if verdict["status"] != "FAIL" else check.visible(f"FAIL: {why}")


def summary(rows):
    """Lines on what most failed, for the rows of `grade`."""
    says = list(rows[0]["verdicts"])
    lines = [f"{len(rows)} files, {sum(row['passed'] == len(says) for row in rows)} with every property"]
    lines += [f"mean {sum(row['points'] for row in rows) / len(rows):.2f} points"]
    counts = [(_count([row["verdicts"][s] for row in rows], "FAIL"), _count([r["verdicts"][s] for r in rows], "TODO"), s)
              for s in says]  # fmt: skip
    lines += [
        f"{failed:4} FAIL {todo:4} TODO  {s}" for failed, todo, s in sorted(counts, reverse=True) if failed + todo
    ]
    return lines


def _count(verdicts, status):
    return [verdict["status"] for verdict in verdicts].count(status)


def _grader(seconds):
    """A digest of all that a row depends on, but for the student's file."""
    return hashlib.sha256(repr([*sorted(own_files.snapshot().values()), seconds]).encode()).hexdigest()


def _digest(path):
    """Of a file, or of the sentence that says why there is none."""
    if isinstance(path, str):
        return hashlib.sha256(path.encode()).hexdigest()
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(LARGEST + 1)).hexdigest()
    except OSError as error:  # its judge will say so
        return str(error)


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
