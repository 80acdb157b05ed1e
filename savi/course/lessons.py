"""The lessons and exercises beside the package: which there are, and a lesson as a notebook.

A lesson is a script lessons/NN_name.py in percent format: a line `# %% [markdown]` opens a cell of text, each line of it
behind "# "; a line `# %%` opens a cell of code. An exercise is a stub lessons/exercises/NN_name.py, and its properties are
in lessons/exercises/properties/NN_name.py.
"""

import ast
import json
import os
import pathlib
import re
import tomllib

from ..engine.files import InputError, replacing

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "lessons"
MARKER = re.compile(r"# ?%%(.*)")


def find(what, number=None):
    """The files NN_name.py of what ("lesson" or "exercise"), by number; or the one with this number ("3", "03", "03_svi").

    Raises InputError where the folder or the number is not there.
    """
    folder = FOLDER / "exercises" if what == "exercise" else FOLDER
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {folder}; lessons and exercises come with a checkout of savi, run it there"
        )
    paths = {int(path.stem[:2]): path for path in sorted(folder.glob("[0-9][0-9]_*.py"))}
    if number is None:
        return paths
    digits = re.match(r"\d+", number)
    if not digits or int(digits[0]) not in paths:
        there = ", ".join(f"{n:02}" for n in sorted(paths)) or "none"
        raise InputError(f"there is no {what} {number} in {folder}; expected one of {there}")
    return paths[int(digits[0])]


def hints(exercise):
    """{function: its hints, the first says least} of an exercise (a path of `find`): a table of hints.toml beside it."""
    path = exercise.with_name("hints.toml")
    return tomllib.loads(path.read_text(encoding="utf-8")).get(exercise.stem[:2], {}) if path.is_file() else {}


def write_solution(number, out=None, force=False):
    """Write savi's own solution of an exercise to `out` (default: NN_name_solution.py, here); its path."""
    exercise = find("exercise", number)
    source = exercise.parent / "solutions" / exercise.name
    if not source.is_file():
        raise InputError(f"there is no solution {source}; expected one for exercise {exercise.stem}")
    path = os.fspath(out or f"{exercise.stem}_solution.py")
    if os.path.lexists(path) and not force:
        raise InputError(f"{path} exists; --force replaces it, --out PATH writes elsewhere")
    with replacing(path) as file:
        file.write(source.read_bytes())
    return path


def title(path):
    """One line on a lesson or stub: the first heading of its first text, or the first line of its docstring."""
    source = path.read_text(encoding="utf-8")
    texts = [text for kind, text in cells(source) if kind == "markdown" and text]
    try:
        text = texts[0] if texts else ast.get_docstring(ast.parse(source)) or ""
    except SyntaxError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    heading = next((line for line in lines if line.startswith("#")), lines[0] if lines else "")
    return re.sub(r"^[# ]*(\d+\. )?", "", heading) or path.stem


def table():
    """Lines that list all lessons and exercises."""
    lessons, exercises = find("lesson"), find("exercise")
    lines = []
    for n in sorted({*lessons, *exercises}):
        lines += [f"{n:02}  lesson    {title(lessons[n])}"] if n in lessons else []
        lines += [f"{n:02}  exercise  {title(exercises[n])}"] if n in exercises else []
    return lines


def describe(number):
    """Lines on one lesson: its title, and the commands that belong to it."""
    path = find("lesson", number)
    n = int(path.stem[:2])
    lines = [title(path), f"  run it:            python {_short(path)}"]
    lines += [f"  as a notebook:     python -m savi lesson {n:02} --notebook"]
    exercise = find("exercise").get(n)
    if exercise:
        lines += [f"  its exercise:      {_short(exercise)}", f"  check your work:   python -m savi check {n:02}"]
    return lines


def _short(path):
    """The path as one types it from here, if it lies below."""
    here = pathlib.Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


# --- notebooks -----------------------------------------------------------------------------------------------------------


def cells(source):
    """[("markdown" | "code", text)] of a script in percent format. What stands before the first marker is code."""
    kind, lines, found = "code", [], []

    def close():
        text = "\n".join(_uncommented(lines) if kind == "markdown" else lines).strip("\n")
        if text.strip():
            found.append((kind, text))

    for line in source.splitlines():
        marker = MARKER.fullmatch(line.rstrip())
        if marker:
            close()
            kind, lines = "markdown" if re.search(r"\[(markdown|md)\]", marker[1]) else "code", []
        else:
            lines.append(line)
    close()
    return found


def _uncommented(lines):
    return [re.sub(r"^# ?", "", line) for line in lines]


NEEDS_SAVI = """
*A notebook of savi. It runs in any folder, where savi is installed for its kernel: `pip install .` in the folder of a
checkout does that. `SAVI_QUICK=1` in the environment makes it small and fast; pictures are shown here.*
"""
FIND_SAVI = """import pathlib
import sys

if pathlib.Path("../savi/__init__.py").is_file():  # the notebook lies in the folder lessons of a checkout
    sys.path.insert(0, str(pathlib.Path.cwd().parent))
try:
    import savi
except ModuleNotFoundError:
    raise ModuleNotFoundError("savi is not installed here: pip install . in the folder of a checkout, and restart") from None
"""
FINDS_ITSELF = re.compile(r"^sys\.path\.insert\(.*\n+", re.M)  # a script's line, from where it lies


def notebook(path):
    """The .ipynb (nbformat 4.5) of a lesson, as a dict for json: its cells, and how to get savi in the first of each kind."""
    found = [(kind, FINDS_ITSELF.sub("", text)) for kind, text in cells(path.read_text(encoding="utf-8"))]
    first = next((i for i, (kind, _) in enumerate(found) if kind == "code"), len(found))
    title = [(kind, text + "\n" + NEEDS_SAVI.rstrip()) for kind, text in found[:1] if kind == "markdown"]
    found = [*title, *found[len(title) : first], ("code", FIND_SAVI.rstrip()), *found[first:]]

    def cell(number, kind, text):
        common = {
            "cell_type": kind,
            "id": f"cell-{number:03}",
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        return common | ({"execution_count": None, "outputs": []} if kind == "code" else {})

    return {
        "cells": [cell(number, kind, text) for number, (kind, text) in enumerate(found, 1)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def write_notebook(number, out=None, force=False):
    """Write a lesson's notebook to `out` (default: beside the lesson); its path. Raises InputError if a file is there."""
    lesson = find("lesson", number)
    path = os.fspath(out or lesson.with_suffix(".ipynb"))
    if os.path.lexists(path) and not force:
        raise InputError(f"{path} exists, perhaps with work of yours; --force replaces it, --out PATH writes elsewhere")
    text = json.dumps(notebook(lesson), indent=1, ensure_ascii=False)
    with replacing(path) as file:
        file.write(text.encode() + b"\n")
    return path
