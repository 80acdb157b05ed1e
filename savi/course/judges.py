"""A judge for each file of a class: `check --json` in a process of its own, on a copy of the grader in a folder of its own.

So a file that overwrites the grader overwrites its own copy, and a judge that goes on too long is ended. This keeps the
grades of others honest; it is no sandbox against a file that looks for theirs.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from ..engine.files import InputError
from . import check, own_files, process

LARGEST = 1 << 20  # bytes of a student's file
SPARE = 120  # seconds beyond all limits of a file, after which its judge is ended


class Judges:
    """The judges of one exercise. says: its properties' sentences; running: the processes; ended: whether `end` was called."""

    def __init__(self, exercise, seconds, says):
        self.exercise, self.seconds, self.says = exercise, seconds, says
        self.running, self.ended = set(), False

    def judged(self, path):
        """{"verdicts": {sentence: ...}, "passed", "problem"} of one file, whatever is in it. A path may be a sentence: why none."""
        try:
            if isinstance(path, str):
                raise InputError(path)
            if path.stat().st_size > LARGEST:
                raise InputError(f"{path.stat().st_size} bytes; expected at most {LARGEST}")
            with tempfile.TemporaryDirectory(prefix="savi-grade-", ignore_cleanup_errors=True) as own:
                found = self._ask(self._copies(path, pathlib.Path(own)), own)
            problem = "it changed the grader's files" if found["changed"] else ""
            verdicts = {v["says"]: {name: v[name] for name in ("status", "why", "line")} for v in found["verdicts"]}
        except (InputError, OSError, ValueError, KeyError, TypeError) as error:
            problem, verdicts = check.visible(str(error)), {}
        failed = {"status": "FAIL", "why": problem, "line": None}
        whole = {sentence: failed if problem else verdicts.get(sentence, failed) for sentence in self.says}
        passed = [verdict["status"] for verdict in whole.values()].count("PASS")
        return {"verdicts": whole, "passed": passed, "problem": problem}

    def _copies(self, path, own):
        """What judges, and what is judged (of a folder NAME/ all Python files), in the folder `own`; where the file is there."""
        unused = shutil.ignore_patterns("__pycache__", "solutions")
        shutil.copytree(own_files.PACKAGE, own / "savi", ignore=unused)
        shutil.copytree(self.exercise.parent, own / "lessons" / "exercises", ignore=unused)
        (own / "file").mkdir()
        beside = path.parent.glob("*.py") if path.name.startswith(self.exercise.stem[:2] + "_") else []
        for each in {path, *beside}:
            if each.is_file() and each.stat().st_size <= LARGEST:
                shutil.copyfile(each, own / "file" / each.name)
        return own / "file" / path.name

    def _ask(self, path, own):
        """What `check --json` says of the file. Raises InputError where it says nothing."""
        command = [sys.executable, "-B", "-m", "savi", "check", self.exercise.stem[:2], "--file", str(path), "--json"]
        limit = (len(self.says) + 2) * process.PATIENCE * self.seconds + process.START + SPARE
        judge = subprocess.Popen(
            [*command, "--seconds", repr(self.seconds)], cwd=own, env=os.environ | {"PYTHONPATH": own},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.running.add(judge)
        try:
            if self.ended:
                judge.terminate()
            out, error = judge.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise InputError(f"its judge was ended after {limit:g} seconds") from None
        finally:
            if judge.poll() is None:
                judge.terminate()
                judge.communicate()
            self.running.discard(judge)
        if judge.returncode not in (0, 1) or not out:
            last = error.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
            raise InputError(f"its judge ended with code {judge.returncode}: {last[0][:200]}")
        return json.loads(out)

    def end(self):
        """End all judges, and what their files started; none begins any more."""
        self.ended = True
        for judge in list(self.running):
            judge.terminate()
