"""What the benchmarks of further families share (hierarchies.py, language.py, pixels.py); their rules are those of steps.py.

A family is a script NAME.py with its FAMILY, `inputs` of a case, and a side each in NAME_savi.py, NAME_torch.py and
NAME_jax.py: setup(sizes, dtype) gives an object with the operations. Parameters are flat vectors, matrix W (in, out) in
C order, then b, in the order that `shapes` says. Sides are checked in float64 (1e-8) and in each precision that is timed.

JAX compiles in the first call of an operation: its seconds stand apart (first_s), and so does the memory that the compiled
program says it needs (planned_mb): the peak of its process has the compiler's own memory in it.
"""

import argparse
import importlib
import importlib.util
import json
import os
import sys
import time
from typing import NamedTuple

from steps import ROOT, SIDES, Asked, Side, agreement, cores, line, machine, mean, measure_operation, write_page

PEERS = ("torch", "jax")
RECOMPUTED = {  # variants: each step kept, or computed again on the way back
    "savae_step": {name: ["savae_step", "savae_step_recomputed"] for name in ("savi", *PEERS)}
}
SLOW = "", 0.3  # what takes more seconds has 5 rounds


class Case(NamedTuple):
    """sizes: what `inputs` and the sides need. operations: names. memory: those whose memory is measured."""

    sizes: dict
    operations: tuple
    memory: tuple = ()


class Family(NamedTuple):
    """cases: {label: Case}; quick: those of --quick. titles: {operation: its name on the page}. variants: {operation: {side:
    names}} where a side has several forms of it, that of a usual user first. dtypes: those that are timed. checked: what the
    labels of cases that are checked in float64 have in common. floors: whether savi's side has `floors`. repeats: rounds.
    """

    name: str
    cases: dict
    titles: dict
    variants: dict
    quick: dict
    dtypes: tuple = ("float32",)
    checked: str = ""
    floors: bool = False
    repeats: int = 7

    @property
    def out(self):
        return os.path.join(ROOT, "figures", f"benchmark_{self.name}.json")

    def keys(self, operation, names):
        """[(side, variant), ...] of an operation."""
        several = self.variants.get(operation, {})
        return [(name, variant) for name in names for variant in several.get(name, [operation])]


# --- parameters -----------------------------------------------------------------------------------------------------------


def dense(*widths):
    """The shapes of a perceptron's parameters: W, b, W, b, ..."""
    return [shape for n, m in zip(widths, widths[1:]) for shape in ((n, m), (m,))]  # noqa: RUF007


def drawn(shapes, rng):
    """One flat vector: matrices uniform with variance 1 / rows, vectors on (-.1, .1)."""
    import numpy as np

    scales = [np.sqrt(3 / max(1, shape[0])) if len(shape) > 1 else 0.1 for shape in shapes]
    return np.concatenate([scale * rng.uniform(-1, 1, shape).ravel() for scale, shape in zip(scales, shapes)])


# --- a side ---------------------------------------------------------------------------------------------------------------


class CaseSide(Side):
    """The verbs of steps.Side for one case of a family."""

    def setup(self, family, sizes, dtype):
        arrays = importlib.import_module(family).inputs(sizes)
        arrays = {name: a.astype(dtype) if a.dtype.kind == "f" else a for name, a in arrays.items()}
        self.B = len(arrays["x"])
        self.peer = importlib.import_module(f"{family}_{self.name}").setup(sizes, dtype)
        self.on_device = {name: self.peers.to_device(array) for name, array in arrays.items()}
        self.first = {}

    def check(self, operation):
        began = time.perf_counter()
        results = super().check(operation)
        self.first.setdefault(operation, time.perf_counter() - began)
        return results

    def first_call(self, operation):
        """Seconds of the first call."""
        return self.first[operation]

    def planned(self, operation):
        """Bytes that the compiled program of an operation says it needs for what lies between its inputs and its results."""
        return getattr(self.peer, operation).planned(*self.operands(operation))


# --- the benchmark --------------------------------------------------------------------------------------------------------


def measure(family, cases, names, threads, dtype, repeats, say):
    """[{case, dtype, operation, side, variant, error, first_s, ms, spread}, ...]; with no repeats nothing is timed: all sides have
    computed the same."""
    rows = []
    for label, case in cases.items():
        if not case.operations:
            continue
        sides = {name: Asked(name, threads, CaseSide) for name in names}
        for side in sides.values():
            side.setup(family.name, case.sizes, dtype)
        for operation in case.operations:
            keys = family.keys(operation, names)
            if repeats:
                found = measure_operation(sides, keys, dtype, repeats, operation if family.floors else None, SLOW)
            else:
                found = [{"side": s, "variant": v, "error": e} for (s, v), e in agreement(sides, keys, dtype).items()]
            for row in found:
                row["first_s"] = sides[row["side"]].first_call(row["variant"]) if row["side"] in sides else None
            rows += [{"case": label, "dtype": dtype, "operation": operation, **row} for row in found]
            say(f"{dtype} {label:<28} {operation:<14}" + (line(found) if repeats else "  all the same"))
        for side in sides.values():
            side.close()
    return rows


def memory(family, cases, names, threads, say):
    """[{case, operation, side, variant, mb, planned_mb}, ...]: the peak beyond the size after import, float32, a process each."""
    rows = []
    for label, case in cases.items():
        for name, variant in (key for operation in case.memory for key in family.keys(operation, names)):
            side = Asked(name, threads, CaseSide)
            side.setup(family.name, case.sizes, "float32")
            row = {"case": label, "side": name, "variant": variant}
            row["planned_mb"] = side.planned(variant) / 1e6 if name == "jax" else None  # first: it compiles
            row["mb"] = side.memory(variant) / 1e6
            side.close()
            rows.append(row)
            say(f"memory  {label:<28} {SIDES[name]:<8} {variant:<24} {row['mb']:8.1f} MB")
    return rows


def run(family, options):
    names = ["savi", *(name for name in PEERS if importlib.util.find_spec(name))]
    say = lambda text: print(text, flush=True)  # noqa: E731
    say(f"{', '.join(SIDES[name] for name in names)}; {options.threads} threads each")
    cases, repeats = (family.quick, 2) if options.quick else (family.cases, options.repeats)
    cases = {label: case for label, case in cases.items() if options.only in label}
    found = memory(family, cases, names, options.threads, say)  # first: a process' peak begins at that of this one
    rows = []
    if "float64" not in family.dtypes:
        checked = cases if options.quick else {label: case for label, case in cases.items() if family.checked in label}
        rows += measure(family, checked, names, options.threads, "float64", 0, say)
    for dtype in family.dtypes:
        rows += measure(family, cases, names, options.threads, dtype, repeats, say)
    return {"machine": machine(names, options.threads), "repeats": repeats, "rows": rows, "memory": found}


def renewed(out, results):
    """The results of the JSON `out`, with the rows of measured cases in place of theirs."""
    with open(out) as file:
        old = json.load(file)
    new = {row["case"] for name in ("rows", "memory") for row in results[name]}
    return old | {
        name: [row for row in old[name] if row["case"] not in new] + results[name] for name in ("rows", "memory")
    }


# --- the page -------------------------------------------------------------------------------------------------------------


def best(rows, side, variant=None):
    """The least time (ms) of a side's variants, or of one of them; None where there is none."""
    times = [row["ms"] for row in rows if row["side"] == side and variant in (None, row["variant"]) and row["ms"]]
    return min(times, default=None)


def cells(family, results):
    """[(case, dtype, operation, {side: ms} of the usual variants, the least of savi's and of theirs, products' ms, JAX's rows)]."""
    found = []
    for label, case in {**family.cases, **family.quick}.items():
        for dtype in family.dtypes:
            for operation in case.operations:
                rows = [
                    row for row in results["rows"]
                    if (row["case"], row["dtype"], row["operation"]) == (label, dtype, operation)
                ]  # fmt: skip
                if rows:
                    usual = {name: best(rows, name, family.keys(operation, [name])[0][1]) for name in ("savi", *PEERS)}
                    least = [best(rows, "savi"), min(filter(None, (best(rows, name) for name in PEERS)), default=None)]
                    jax = [row for row in rows if row["side"] == "jax"]
                    found.append((label, dtype, operation, usual, least, best(rows, "products"), jax))
    return found


def markdown(family, results):
    """The page's two tables, times and memory, and what they come to in a sentence each."""
    head = ["", *(SIDES[name] + ", ms" for name in ("savi", *PEERS)), "times faster than the faster of the two"]
    head += ["best of its variants against best of theirs"] if family.variants else []
    head += ["its time, in times of its matrix products"] if family.floors else []
    head.append("JAX compiles, s")
    lines = [_row(head), "|---|" + "---:|" * (len(head) - 1)]
    several = len(family.dtypes) > 1
    for label, dtype, operation, usual, least, floor, jax in cells(family, results):
        faster = min(filter(None, (usual[name] for name in PEERS)), default=None)
        own = usual["savi"]
        row = [f"{label}, {family.titles[operation]}" + (f", {dtype}" if several else "")]
        row += [_number(usual[name]) for name in ("savi", *PEERS)] + [_ratio(faster, own)]
        row += [_ratio(*reversed(least))] if family.variants else []
        row += [_ratio(own, floor)] if family.floors else []
        row.append("–".join(dict.fromkeys(f"{f(r['first_s'] for r in jax):.0f}" for f in (min, max))) if jax else "")
        lines.append(_row(row))
    lines += ["", _means(family, results), "", *_memory_lines(family, results["memory"])]
    return "\n".join([*lines, "", _least_memory(results["memory"])])


def _means(family, results):
    """The geometric means of the ratios, operation by operation."""
    found = {}
    for _, _, operation, usual, least, _, _ in cells(family, results):
        faster = min(filter(None, (usual[name] for name in PEERS)), default=None)
        if faster:
            found.setdefault(operation, []).append((faster / usual["savi"], least[1] / least[0]))
    said = []
    for operation, ratios in found.items():
        usual, best_of_all = (mean(column) for column in zip(*ratios))
        of_all = f" ({best_of_all:.2f} for the best of all variants)" if operation in family.variants else ""
        ahead = sum(one > 1 for one, _ in ratios)
        said.append(f"{family.titles[operation]} {usual:.2f}{of_all}, ahead in {ahead} of {len(ratios)}")
    return f"Times faster than the faster of the two, geometric means: {'; '.join(said)}."


def _least_memory(rows):
    """In how many cases savi's step takes the least memory of all sides and variants."""
    least = []
    for label in dict.fromkeys(row["case"] for row in rows):
        here = [row for row in rows if row["case"] == label]
        least.append(min(here, key=lambda row: row["mb"])["side"] == "savi")
    return f"savi's step takes the least memory in {sum(least)} of {len(least)} cases."


def _memory_lines(family, rows):
    lines = [
        "| memory of a step, float32, MB | savi | PyTorch | JAX | of it the program's own |",
        "|---|---:|---:|---:|---:|",
    ]
    for label in dict.fromkeys(row["case"] for row in rows):
        titles = {v: t for o, t in family.titles.items() for _, v in family.keys(o, SIDES)}
        for variant in dict.fromkeys(row["variant"] for row in rows if row["case"] == label):
            here = {r["side"]: r for r in rows if (r["case"], r["variant"]) == (label, variant)}
            planned = here["jax"]["planned_mb"] if "jax" in here else None
            row = [here[name]["mb"] if name in here else None for name in ("savi", *PEERS)] + [planned]
            recomputed = ", steps recomputed" if variant.endswith("recomputed") else ""
            lines.append(_row([f"{label}, {titles[variant]}{recomputed}", *map(_number, row)]))
    return lines


def _row(row):
    return "| " + " | ".join(row) + " |"


def _number(value):
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _ratio(a, b):
    return f"{a / b:.2f}" if a and b else ""


def main(family, about):
    p = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--quick", action="store_true", help="small sizes, two rounds; writes nothing but what --out names")
    p.add_argument("--page", action="store_true", help="write the page's tables from the JSON, and measure nothing")
    p.add_argument("--threads", type=int, default=cores(), help="threads of each side (default: %(default)s)")
    p.add_argument("--repeats", type=int, default=family.repeats, help="rounds (default: %(default)s)")
    p.add_argument(
        "--only", default="", metavar="TEXT", help="the cases with that in their name; keeps the JSON's others"
    )
    p.add_argument("--out", help=f"the JSON (default: {os.path.relpath(family.out, ROOT)})")
    options = p.parse_args()
    sys.path.insert(0, ROOT)
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    out = options.out or (None if options.quick else family.out)
    if not options.page:
        results = run(family, options)
        print(markdown(family, results))
        if options.only and out and os.path.exists(out):
            results = renewed(out, results)
        if out:
            from savi.engine.files import replacing

            with replacing(out) as file:
                file.write(json.dumps(results, indent=1).encode())
    else:
        with open(options.out or family.out) as file:
            write_page(family.name, markdown(family, json.load(file)))
