"""Mutants: savi with one small error at a time. Do the tests see it?

    python tests/campaign/mutants.py                          every mutant of every room, by hand: hours
    python tests/campaign/mutants.py nets models/gaussian     every mutant of these wings and rooms
    python tests/campaign/mutants.py --sample 40 --seed 1 --seconds 170     as .ci/run does
    python tests/campaign/mutants.py --list                   how many there are, room by room
    ... --out FILE.jsonl                                      keeps each verdict, and goes on from those that are there

A mutant is killed when a test fails, or runs for ever. What lives and is no known equivalent (equivalent.py, each with its
reason) is printed, and the exit code is 1. Each job works in a copy of the checkout; it imports what takes long once, and
forks a child for each mutant, so this needs os.fork. The tests of a mutant: those of its room's name, those that mention
the room, then those of its wing; one that lives is tried on all of them.
"""

import argparse
import ast
import contextlib
import copy
import hashlib
import json
import multiprocessing
import os
import pathlib
import resource
import shutil
import signal
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
MATHEMATICAL = (
    "nets", "models", "inference", "plain", "testing", "engine/records", "engine/memory", "engine/blas", "engine/given",
    "data/synthetic", "data/dataset", "experiments/evaluation", "experiments/quadrature", "experiments/training",
)  # fmt: skip
NOT_HERE = (
    "test_architecture.py",
    "test_readme.py",
    "test_forks.py",
    "campaign",
    "benchmarks",
    "course/test_grader.py",
)
PROCESSOR_SECONDS, BYTES = 60, 6 << 30  # more than that in one test, and a mutant is killed
HEAVY = ("numpy", "autograd.numpy", "hypothesis.extra.numpy", "pytest", "tqdm", "matplotlib")


# --- what is mutated ------------------------------------------------------------------------------------------------------


class Mutant(NamedTuple):
    """One error: `room` under savi/; name says it for good; the source's characters start..end become `text`."""

    room: str
    name: str
    line: int
    start: int
    end: int
    text: str


OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
             ast.MatMult: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.BitOr: ast.BitAnd,
             ast.BitAnd: ast.BitOr}  # fmt: skip
COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
               ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}  # fmt: skip
SCALED = "(lambda v: v * 1.001 if getattr(getattr(v, 'dtype', None), 'kind', '') == 'f' or type(v) is float else v)"


def changes(node):
    """Yields what may stand in a node's place: a node or a text."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPERATORS:
        yield _with(node, op=OPERATORS[type(node.op)]())
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            yield _with(node, ops=[*node.ops[:i], COMPARISONS[type(op)](), *node.ops[i + 1 :]])
    if isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    if isinstance(node, ast.UnaryOp):
        yield node.operand
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1 if type(node.value) is int else node.value * 1.001 or 0.001)
    if isinstance(node, ast.If | ast.IfExp):
        for value in (True, False):
            yield _with(node, test=ast.Constant(value))
    if isinstance(node, ast.Return) and node.value is not None:
        yield from (f"return {text}" for text in _scaled(node.value))
    if isinstance(node, ast.Raise | ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield "pass"


def _scaled(value):
    """Yields the texts of a value that is returned, times 1.001, part by part; what is no number is not scaled."""
    if isinstance(value, ast.Tuple):
        for i, part in enumerate(value.elts):
            before, after = (
                [ast.unparse(other) for other in others] for others in (value.elts[:i], value.elts[i + 1 :])
            )
            yield from (f"({', '.join([*before, text, *after])},)" for text in _scaled(part))
    elif not (isinstance(value, ast.Constant | ast.JoinedStr) or (isinstance(value, ast.Name) and value.id == "self")):
        yield f"{SCALED}({ast.unparse(value)})"


def _with(node, **parts):
    node = copy.copy(node)
    node.__dict__.update(parts)
    return node


def mutants(room, source):
    """Every Mutant of a room's source, in the order of the lines; a name that comes twice is counted."""
    tree, found, seen = ast.parse(source), [], {}
    offsets = [0]
    for line in source.encode().splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    for place, node in _nodes(tree, ()):
        start, end = (
            offsets[n - 1] + c for n, c in ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
        )
        for new in changes(node):
            text = new if isinstance(new, str) else ast.unparse(new)
            what = f"{'.'.join(place) or '-'}: {_short(ast.unparse(node))} -> {_short(text)}"
            seen[what] = seen.get(what, 0) + 1
            name = what if seen[what] == 1 else f"{what} #{seen[what]}"
            whole = f"({text})" if isinstance(node, ast.expr) else _indented(text, node.col_offset)
            whole = f"el{whole}" if source.encode()[start:].startswith(b"elif") else whole
            found.append(Mutant(room, name, node.lineno, start, end, whole))
    return found


def _nodes(node, place):
    """(names of the functions and classes around it, node) of what can be mutated; no docstring, no annotation, no f-string."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.JoinedStr) or (isinstance(node, ast.AnnAssign | ast.arg) and child is node.annotation):
            continue
        if isinstance(child, ast.stmt | ast.expr) and not isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield place, child
        yield from _nodes(child, (*place, child.name) if isinstance(child, ast.FunctionDef | ast.ClassDef) else place)


def _short(text):
    text = " ".join(text.replace(SCALED, "1.001 *").split())
    return text if len(text) <= 90 else text[:60] + "..." + text[-27:]


def _indented(text, column):
    return text.replace("\n", "\n" + " " * column)


def mutated(source, mutant):
    """The source with the error."""
    data = source.encode()
    return (data[: mutant.start] + mutant.text.encode() + data[mutant.end :]).decode()


# --- which, and by which tests --------------------------------------------------------------------------------------------


def rooms(chosen=()):
    """{room: path} of the rooms that are mutated: all, or those of the wings and rooms chosen."""
    paths = {p.relative_to(ROOT / "savi").with_suffix("").as_posix(): p for p in sorted((ROOT / "savi").rglob("*.py"))}
    paths = {room: path for room, path in paths.items() if path.stem != "__init__"}
    return {r: p for r, p in paths.items() if not chosen or any(r == c or r.startswith(c + "/") for c in chosen)}


def tests_of(room):
    """Paths of test files, the most telling first: of the room's name, those that mention it, those of its wing."""
    stem, wing = room.rpartition("/")[2], room.partition("/")[0]
    files = sorted(p for p in (ROOT / "tests").rglob("test_*.py") if not any(name in p.as_posix() for name in NOT_HERE))

    def rank(path):
        own = path.stem == f"test_{stem}"
        return not own, stem not in path.read_text(), path.parent.name != wing, path.stat().st_size

    files.sort(key=rank)
    return [p.relative_to(ROOT).as_posix() for p in files if rank(p)[:2] != (True, True) or p.parent.name == wing]


# --- a job: a copy of the checkout, and a child for each mutant -----------------------------------------------------------


class Limits:
    """For pytest: a test that computes or waits too long ends its process."""

    def pytest_runtest_setup(self, item):
        """Start the clocks of one test."""
        signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, 20 * PROCESSOR_SECONDS)


class Job:
    """Tries mutants in a copy of the checkout, in which everything runs."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        for name in ("savi", "tests", "lessons"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
        shutil.copy(ROOT / "pyproject.toml", self.folder)
        os.environ.update(OPENBLAS_NUM_THREADS="1", SAVI_CACHE=str(self.folder / "cache"), PYTHONPATH=str(self.folder))
        for name in HEAVY:
            with contextlib.suppress(ImportError):
                __import__(name)

    def verdict(self, mutant, tests):
        """ "killed", "lives" or "killed (time)" of one mutant by those tests."""
        path = self.folder / "savi" / f"{mutant.room}.py"
        source = path.read_text()
        try:
            path.write_text(mutated(source, mutant))
            return self.run(tests)
        finally:
            path.write_text(source)
            os.utime(path, (0, 0))

    def run(self, tests):
        """The verdict on what lies in the copy now."""
        child = os.fork()
        if child == 0:
            self._in_child(tests)
        status = os.waitpid(child, 0)[1]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if os.WIFSIGNALED(status):
            return "killed (time)"
        return "lives" if os.waitstatus_to_exitcode(status) == 0 else "killed"

    def _in_child(self, tests):
        try:
            os.setsid()
            os.chdir(self.folder)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
            sys.path[:] = [str(self.folder), *(p for p in sys.path if not p.startswith(str(ROOT)))]
            sys.dont_write_bytecode = True
            import pytest

            os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests], [Limits()])))
        finally:
            os._exit(9)


def work(todo, done, seconds):
    """A job's life: verdicts on what comes, until None comes, or the time is up."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        job = Job(folder)
        for mutant in iter(todo.get, None):
            if time.monotonic() < end:
                done.put((mutant, job.verdict(mutant, tests_of(mutant.room))))
    done.put(None)


# --- all of it ------------------------------------------------------------------------------------------------------------


def known_equivalents():
    """{(room, name): reason}."""
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from equivalent import EQUIVALENT

    return {(room, name): reason for room, names in EQUIVALENT.items() for name, reason in names.items()}


def all_mutants(chosen):
    """The mutants of the rooms chosen, without those that are known to change nothing."""
    found = [m for room, path in rooms(chosen).items() for m in mutants(room, path.read_text())]
    equivalent = known_equivalents()
    gone = {key for key in equivalent if key[0] in rooms(chosen)} - {(m.room, m.name) for m in found}
    for room, name in sorted(gone):
        print(f"equivalent.py names what is not there any more: {room}: {name}")
    return [m for m in found if (m.room, m.name) not in equivalent]


def drawn(found, seed):
    """The mutants in an order that the seed draws, and in which a change of the source moves no others."""
    return sorted(found, key=lambda m: hashlib.sha256(f"{seed} {m.room} {m.name}".encode()).digest())


def verdicts(chosen, jobs, seconds):
    """Yields (mutant, verdict), as they come."""
    context = multiprocessing.get_context("spawn")
    todo, done = context.Queue(), context.Queue()
    for mutant in [*chosen, *[None] * jobs]:
        todo.put(mutant)
    processes = [context.Process(target=work, args=(todo, done, seconds), daemon=True) for _ in range(jobs)]
    for process in processes:
        process.start()
    for _ in processes:
        yield from iter(done.get, None)


def main(arguments=None):
    """Exit code 1 if a mutant lives."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rooms", nargs="*", help="wings or rooms; default: all; 'mathematical': " + " ".join(MATHEMATICAL))
    p.add_argument("--sample", type=int, help="so many of them, drawn at random")
    p.add_argument("--seed", type=int, default=0, help="of the draw")
    p.add_argument("--seconds", type=float, default=1e9, help="no mutant is begun after that")
    p.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time")
    p.add_argument("--list", action="store_true", help="count them only")
    p.add_argument("--out", type=pathlib.Path, help="a file of verdicts, to which is added")
    o = p.parse_args(arguments)
    found = all_mutants([r for name in o.rooms for r in (MATHEMATICAL if name == "mathematical" else [name])])
    if o.list:
        for room in sorted({m.room for m in found}):
            print(f"{sum(m.room == room for m in found):5} {room}")
        print(f"{len(found):5} in all")
        return 0
    chosen = drawn(found, o.seed)[: o.sample]
    kept = [json.loads(line) for line in o.out.read_text().splitlines()] if o.out and o.out.exists() else []
    known = {(k["room"], k["name"], k["text"]): k["verdict"] for k in kept}
    results = {m: known[m.room, m.name, m.text] for m in chosen if (m.room, m.name, m.text) in known}
    for mutant, verdict in verdicts([m for m in chosen if m not in results], o.jobs, o.seconds):
        results[mutant] = verdict
        if o.out:
            with open(o.out, "a") as file:
                file.write(json.dumps({**mutant._asdict(), "verdict": verdict}) + "\n")
    alive = [m for m, verdict in results.items() if verdict == "lives"]
    for m in sorted(alive):
        print(f"lives: savi/{m.room}.py:{m.line}  {m.name}")
    print(
        f"{len(results)} of {len(chosen)} mutants tried (seed {o.seed}), {len(results) - len(alive)} killed, {len(alive)} live"
    )
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
