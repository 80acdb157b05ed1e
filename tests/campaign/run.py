"""The campaign: what could go wrong is tried, many times over, and what did not hold is printed.

    python tests/campaign/run.py                short, as in the suite: some seconds
    python tests/campaign/run.py --long         by hand: some thousand attempts, about 5 minutes of one core
    ... --seed 3 --parts kills damage           other draws; some parts of it
    ... --out lessons/book/campaign.json        counts as JSON: tried, held, failed; those of other parts there stay
    ... --page                                  writes that table anew, and tries nothing

Kills and forks need os.fork; where there is none they are left out. What each part tries is said by its function.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time
import warnings

import numpy as np

HERE = pathlib.Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(ROOT)]
import folders  # noqa: E402
import forked  # noqa: E402
import odd_calls  # noqa: E402
import outside  # noqa: E402

BOOK = ROOT / "lessons" / "book"
START, END = "<!-- table -->\n", "<!-- /table -->\n"


def calls(rng, count):
    """Odd arguments for everything that savi offers: one sentence, or the result of the usual ones."""
    found = odd_calls.calls()
    for name in rng.permutation(list(found))[:count]:
        for argument, what, wrong in odd_calls.tried(name, *found[name]):
            yield f"{name}({argument}={what})", wrong


PARTS = {  # name: (function of a generator and a number, that number in the short form, and in the long one)
    "kills": (folders.kills, 4, 80),
    "damage": (folders.damage, 6, 120),
    "commands": (outside.commands, 20, 500),
    "plans": (outside.plans, 50, 400),
    "data": (outside.data, 50, 600),
    "calls": (calls, 4, 1000),
    "students": (outside.students, 0, 20),
    "forks": (forked.forks, 4, 60),
}
FORKING = ("kills", "forks")


def campaign(names, seed, long, say=print):
    """{part: {"tried", "held", "failed": [what did not hold]}}, by the attempts that the seed draws."""
    counts = {}
    for name in names:
        part, *numbers = PARTS[name]
        start, tried, failed = time.process_time(), 0, []
        rng = np.random.default_rng([seed, list(PARTS).index(name)])
        with warnings.catch_warnings(), np.errstate(all="ignore"), tempfile.TemporaryDirectory() as cache:
            warnings.simplefilter("ignore")
            before = os.environ.get("SAVI_CACHE")
            os.environ["SAVI_CACHE"] = before or cache
            for what, wrong in part(rng, numbers[long]):
                tried += 1
                if wrong:
                    failed.append(f"{what}: {wrong}")
                    say(f"{name}: {failed[-1]}")
            os.environ.pop("SAVI_CACHE") if before is None else None
        counts[name] = {"tried": tried, "held": tried - len(failed), "failed": failed}
        say(
            f"{name}: {tried} tried, {tried - len(failed)} held, {len(failed)} failed, {time.process_time() - start:.0f} s"
        )
    return counts


def table(found):
    """The counts as lines of Markdown."""
    lines = [
        "| part | what is tried, and what has to hold | tried | held | failed |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name, counts in found["counts"].items():
        says = PARTS[name][0].__doc__.splitlines()[0]
        lines.append(f"| {name} | {says} | {counts['tried']} | {counts['held']} | {len(counts['failed'])} |")
    total = [sum(c[key] for c in found["counts"].values()) for key in ("tried", "held")]
    return "\n".join([*lines, f"| all | | {total[0]} | {total[1]} | {total[0] - total[1]} |"]) + "\n"


def write_page():
    """Put the table of campaign.json into campaign.md."""
    page, found = BOOK / "campaign.md", json.loads((BOOK / "campaign.json").read_text())
    before, _, rest = page.read_text().partition(START)
    page.write_text(before + START + table(found) + END + rest.partition(END)[2])


def main(arguments=None):
    """Exit code 1 if something did not hold."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--long", action="store_true")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    p.add_argument("--out", type=pathlib.Path)
    p.add_argument("--page", action="store_true")
    o = p.parse_args(arguments)
    if o.page:
        return write_page()
    names = [name for name in o.parts if hasattr(os, "fork") or name not in FORKING]
    counts = campaign(names, o.seed, o.long)
    if o.out:
        kept = json.loads(o.out.read_text())["counts"] if o.out.exists() else {}
        both = {name: (kept | counts)[name] for name in PARTS if name in kept | counts}
        o.out.write_text(json.dumps({"seed": o.seed, "long": o.long, "counts": both}, indent=1) + "\n")
    failed = sum(len(c["failed"]) for c in counts.values())
    print(f"{sum(c['tried'] for c in counts.values())} tried, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
