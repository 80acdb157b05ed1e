"""python -m savi: compare inference methods, look after the data, follow the lessons and check exercises.

Nothing is imported before `program` runs, so that Ctrl-C never meets an import that nobody watches.
"""

import os
import sys

UNREAD = 74  # the exit code of sysexits.h for trouble with output
EPILOG = """examples:
  python -m savi compare                             the main job: six methods on images of letters, about a minute
  python -m savi compare --methods vae sa-vae --epochs 20 --seeds 0 1 2
  python -m savi compare --resume                    go on after Ctrl-C
  python -m savi compare --data my_task.py:task      on data of your own: task is a savi.Task
  python -m savi sweep plan.toml                     many runs from a plan, on all cores or on a cluster
  python -m savi report runs/plan                    tables and pictures of a sweep or a comparison
  python -m savi data list                           which data sets there are, and where their files lie
  python -m savi data fetch mnist                    fetch a data set from its publisher
  python -m savi lesson                              the lessons and their exercises
  python -m savi check 03                            grade your functions in lessons/exercises/03_*.py
  python -m savi grade FOLDER --exercise 03          grade the files of a class
  python -m savi book                                a book of all this, to read in a browser

exit codes:
  0    all went well
  1    not all properties of an exercise hold
  2    bad input: one sentence on standard error says what was expected
  74   all went well, but what was printed could not be written (a closed pipe, a full disk); files are as ever
  130  Ctrl-C: what was done is saved
"""


def _defaults():
    """A formatter of help texts that names each default, where there is one."""
    import argparse

    class Defaults(argparse.ArgumentDefaultsHelpFormatter):
        def _get_help_string(self, action):
            no_default = action.default is None or action.default is False
            return action.help if no_default else super()._get_help_string(action)

    return Defaults


def parser():
    """The argparse parser of all commands."""
    import argparse

    p = argparse.ArgumentParser(
        prog="python -m savi",
        description="Semi-amortized variational inference: train and compare VAE, SVI, VAE+SVI, VAE+SVI+KL and SA-VAE.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(dest="command", metavar="COMMAND")
    _add_compare(commands)
    _add_sweep(commands)
    _add_report(commands)
    data = commands.add_parser("data", help="list the data sets, or fetch one")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the data sets: what they are and whether their files are here")
    fetch = actions.add_parser("fetch", help="fetch a data set from its public source and verify it")
    fetch.add_argument("name", help="mnist, omniglot or ptb (glyphs and docs need no download)")
    _add_lesson(commands)
    _add_check(commands)
    _add_teaching(commands)
    return p


def _add_lesson(commands):
    lesson = commands.add_parser(
        "lesson",
        help="list the lessons and exercises, or make a notebook of a lesson",
        description="Without a number: all lessons and exercises. With one: what there is to that lesson.",
    )
    lesson.add_argument("number", nargs="?", help="a lesson, for example 03")
    lesson.add_argument("--notebook", action="store_true", help="write the lesson as a Jupyter notebook (.ipynb)")
    lesson.add_argument("--out", help="where the notebook goes (default: beside the lesson)")
    lesson.add_argument("--force", action="store_true", help="replace a notebook that is there")


def _add_check(commands):
    check = commands.add_parser(
        "check",
        help="grade an exercise: which properties do your functions have?",
        description="Try the properties of an exercise on your file. For each property PASS, TODO (not written yet) or FAIL, with "
        "the smallest input that fails. Exit code 0 if all properties hold, 1 if not, 2 for bad usage.",
        formatter_class=_defaults(),
    )
    check.add_argument("number", help="an exercise, for example 03")
    check.add_argument("--file", help="your file (default: the stub in lessons/exercises)")
    check.add_argument("--seconds", help="time limit for each property", type=float, default=10.0)
    check.add_argument("--json", action="store_true", help="print one JSON object, for programs that grade")
    check.add_argument("--hint", help="hints for the first property that does not pass, the first N of them", metavar="N",
                       nargs="?", type=int, const=1)  # fmt: skip


def _add_teaching(commands):
    g = commands.add_parser(
        "grade",
        help="grade the files of a class side by side",
        description="Grade FOLDER/NAME.py, or FOLDER/NAME/NN_*.py, of every student: a row in a CSV and a JSON file each. What is "
        "graded is kept: the same command goes on after Ctrl-C, and grades again what has changed.",
        formatter_class=_defaults(),
    )
    g.add_argument("folder", metavar="FOLDER", help="the students' files")
    g.add_argument("--exercise", required=True, help="an exercise, for example 03")
    g.add_argument("--out", help="the table, with the same in JSON beside it", default="grades.csv")
    g.add_argument("--weights", help="a TOML file of points: FUNCTION = points (default: one for each property)")
    g.add_argument("--seconds", help="time limit for each property", type=float, default=10.0)
    g.add_argument("--jobs", help="files at a time (default: the cores)", type=int)
    b = commands.add_parser(
        "book",
        help="lessons, pages and API as a book to read in a browser, without a network",
        description="Build the book with Sphinx (the extra: pip install .[book]) and print where its index.html is. Lessons "
        "are run once; a second book of the same sources is quick.",
        formatter_class=_defaults(),
    )
    b.add_argument("--out", help="folder of the book", default=os.path.join("runs", "book"))
    b.add_argument("--quick", action="store_true", help="run the lessons in their quick setting")
    b.add_argument("--draft", action="store_true", help="do not run the lessons: their text and code alone")
    s = commands.add_parser("solution", help="write savi's own solution of an exercise, for teachers")
    s.add_argument("number", help="an exercise, for example 03")
    s.add_argument("--out", help="where it goes (default: NN_name_solution.py, here)")
    s.add_argument("--force", action="store_true", help="replace a file that is there")


def _add_compare(commands):
    from .experiments.catalogue import TASKS
    from .experiments.methods import METHODS, STEP_SIZES, WORDS
    from .experiments.settings import add_flags

    c = commands.add_parser(
        "compare",
        help="train methods side by side on the same data, and show them in a table and a picture",
        description="Train inference methods with the same decoder, data order and budget; print a table, and "
        "write results.json, results.csv, compare.png and the task's own picture, where it has one. All values are nats per "
        "example; lower -ELBO is better. Ctrl-C leaves checkpoints; --resume goes on.",
        formatter_class=_defaults(),
    )
    first = next(iter(TASKS.values()))
    words = (f"{name}:{'+'.join(WORDS[name](first))}" for name in ("vae", "iterative", "em"))
    steps = ", ".join(f"{name} {size:g}" for name, size in STEP_SIZES.items())
    tasks = (f"{task.name} ({task.about})" for task in TASKS.values())
    decoders = "; ".join(f"{task.name}: {', '.join(task.families)}" for task in TASKS.values())
    add_flags(
        c, tasks=", ".join(tasks), decoders=decoders, methods=", ".join(METHODS), words="; ".join(words), steps=steps
    )
    c.add_argument("--out", help="folder for the results (default: runs/compare, or the next free runs/compare-N)")
    c.add_argument("--resume", action="store_true", help="go on with the comparison in --out (default: the latest)")
    c.add_argument("--jobs", help="runs at a time, each in a process of its own (default: the cores)", type=int)
    c.add_argument("--quiet", action="store_true", help="no progress bars")


def _add_sweep(commands):
    from .sweeps.sweep import LIMIT

    s = commands.add_parser(
        "sweep",
        help="work out a plan of many runs, here or on a cluster",
        description="Work out a grid of settings that a TOML file describes: every value is checked and the plan shown before "
        "the first run begins. A finished run is kept; Ctrl-C stops, --resume goes on.",
        formatter_class=_defaults(),
    )
    s.add_argument(
        "plan", metavar="FILE.toml", help="the plan: [settings] that all runs share, [grid] lists to be crossed"
    )
    s.add_argument("--on", metavar="WHERE", default="local", help="local, dask://HOST:PORT, or mpi")
    s.add_argument("--out", help="folder for the results (default: runs/ and the plan's name)")
    s.add_argument("--resume", action="store_true", help="go on with the sweep in --out")
    s.add_argument("--jobs", help="runs at a time on this machine (default: the cores)", type=int)
    s.add_argument("--dry-run", action="store_true", help="check and show the plan, and begin nothing")
    s.add_argument("--limit", help="the largest number of runs", type=int, default=LIMIT)
    s.add_argument("--retries", help="how often a run begins again whose worker died", type=int, default=2)


def _add_report(commands):
    r = commands.add_parser(
        "report",
        help="tables and pictures of the runs of a sweep or a comparison",
        description="Read the runs of a folder that `sweep` or `compare` has written, whether all have ended or not; print a "
        "table of means and standard errors and one of differences paired by seed, and write both as Markdown, LaTeX and JSON, "
        "all runs as CSV, and a picture for each setting in which runs differ.",
        formatter_class=_defaults(),
    )
    r.add_argument("folder", metavar="FOLDER", help="the folder of a sweep or a comparison")
    r.add_argument("--out", help="folder for the report (default: FOLDER/report)")
    r.add_argument("--measure", nargs="+", metavar="NAME", help="what is shown; the first is compared (default: all)")
    r.add_argument("--by", metavar="KEY", help="the setting whose values are compared (default: the method)")
    r.add_argument("--against", metavar="VALUE", help="the value of --by to compare with (default: the best other)")
    r.add_argument("--where", nargs="+", metavar="KEY=VALUE", help="only the runs with these settings")
    r.add_argument("--higher", action="store_true", help="higher values of the first measure are better")


def run_report(options):
    """Print the tables of a folder's runs, and write them and the pictures; exit code 0."""
    from .engine.files import expect
    from .sweeps.report import report

    expect("--out", repr(options.out), options.out is None or options.out.strip(), "a folder")
    for text in options.where or ():
        expect("--where", repr(text), "=" in text, "KEY=VALUE")
    where = dict(text.split("=", 1) for text in options.where or ())
    out = options.out or os.path.join(options.folder, "report")
    print(report(options.folder, out, options.measure, options.by, options.against, where, options.higher))
    print(f"\nwritten to {out}: report.md, report.tex, report.json, rows.csv and pictures")
    return 0


def run_sweep(options):
    """Exit code: 0, or 130 after Ctrl-C, when what is done has been saved."""
    from .engine.files import expect
    from .engine.folders import existing
    from .sweeps.executors import cores
    from .sweeps.sweep import read, show, sweep

    expect("--out", repr(options.out), options.out is None or options.out.strip(), "a folder")
    out = options.out or os.path.join("runs", os.path.splitext(os.path.basename(options.plan))[0])
    if options.resume:
        existing(out)
    plan = read(options.plan, options.limit)
    print(show(plan, cores() if options.jobs is None else options.jobs, measure=options.dry_run))
    if options.dry_run:
        return 0
    try:
        sweep(plan, out, options.on, options.jobs, options.resume, options.retries)
    except KeyboardInterrupt:
        print(f"\nstopped; what has ended is in {out}. The same command with --resume goes on.", file=sys.stderr)
        return 130
    print(f"\nwritten to {out}")
    return 0


def run_compare(options):
    """Exit code: 0, or 130 after Ctrl-C, when what is done has been saved."""
    from .engine.folders import for_results
    from .experiments.catalogue import find
    from .experiments.settings import NAMES, Settings
    from .sweeps.compare import compare

    changes = {name: value for name, value in vars(options).items() if name in NAMES}
    named = changes.pop("data", Settings.data)
    task = find(named)
    with for_results(options.out, os.path.join("runs", "compare"), options.resume) as out:
        try:
            compare(named, out, options.resume, progress=False if options.quiet else None, jobs=options.jobs, **changes)
        except KeyboardInterrupt:
            begun = os.path.exists(os.path.join(out, "settings.json"))
            saved = f"checkpoints are in {out}. The same command with --resume --out {out} goes on."
            print(f"\nstopped; {saved if begun else 'nothing was saved yet.'}", file=sys.stderr)
            return 130
    names = ("results.json", "results.csv", "compare.png", f"{task.picture}.png")
    print(f"\nwritten to {out}: {', '.join(name for name in names if os.path.exists(os.path.join(out, name)))}")
    return 0


def run_data(options):
    """Print what data sets there are, or fetch one and print what happened; exit code 0."""
    from . import data

    if options.action == "list":
        for name, what, images, where in data.describe():
            print(f"{name}\n    {what}\n    examples: {images}\n    files:    {where}")
    else:
        for name, path, outcome in data.fetch(options.name):
            print(f"{name}: {outcome}" + (f" ({path})" if path else ""))
    return 0


def run_lesson(options):
    """Print the lessons, or what there is to one, or write its notebook; exit code 0."""
    from .course import lessons
    from .engine.files import InputError, expect

    if options.notebook:
        if options.number is None:
            raise InputError("--notebook needs to know which lesson; expected a number, for example 03")
        expect("--out", repr(options.out), options.out is None or options.out.strip(), "a file")
        print(f"written to {lessons.write_notebook(options.number, options.out, options.force)}")
    else:
        print("\n".join(lessons.table() if options.number is None else lessons.describe(options.number)))
    return 0


def run_check(options):
    """Print which properties an exercise's functions have; exit code 0 if all, 1 if not."""
    from .course.check import check, check_json, hint
    from .engine.files import expect

    if options.hint is not None:
        expect("--hint", options.hint, options.hint >= 1, "at least 1")
        return hint(options.number, options.hint, options.file, options.seconds)
    return (check_json if options.json else check)(options.number, options.file, options.seconds)


def run_grade(options):
    """Grade a class; exit code 0, or 130 after Ctrl-C, when what is done has been saved."""
    from .course import grade

    o = options
    rows = grade.grade(o.folder, o.exercise, o.out, o.weights, o.seconds, o.jobs)
    print("", *grade.summary(rows), f"written to {o.out}", sep="\n")
    return 0


def run_book(options):
    """Build the book and print where it is; exit code 0."""
    from .course import book
    from .engine.files import expect

    expect("--out", repr(options.out), options.out.strip(), "a folder")
    print(book.build(options.out, options.quick, run=not options.draft))
    return 0


def run_solution(options):
    """Write a solution; exit code 0."""
    from .course import lessons
    from .engine.files import expect

    expect("--out", repr(options.out), options.out is None or options.out.strip(), "a file")
    print(f"written to {lessons.write_solution(options.number, options.out, options.force)}")
    return 0


def main(arguments=None):
    """Exit code: 0, 1 if a checked exercise does not pass, 2 for bad input (one sentence on standard error), 130 after Ctrl-C."""
    from .engine.files import InputError

    options = parser().parse_args(arguments)
    if options.command is None:
        parser().print_help(sys.stderr)
        sys.exit(2)
    try:
        commands = {
            "compare": run_compare,
            "sweep": run_sweep,
            "report": run_report,
            "data": run_data,
            "lesson": run_lesson,
            "check": run_check,
            "grade": run_grade,
            "solution": run_solution,
            "book": run_book,
        }
        return commands[options.command](options)
    except InputError as error:
        print(f"savi: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def program():
    """`main` as a program: its exit code, or UNREAD where that is 0 and something that was printed could not be written."""
    import signal

    from .engine.output import outlasting

    try:
        with outlasting() as lost:
            try:
                code = main()
            except SystemExit as stop:  # argparse has answered
                code = stop.code
        code = code or (UNREAD if lost() else 0)
    except KeyboardInterrupt:
        code = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left to stop
    return code


if __name__ == "__main__":
    try:
        code = program()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
