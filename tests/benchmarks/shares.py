"""Where does a step's time go? Its matrix products, its exponentials and tanh, and all else, on one thread.

    python tests/benchmarks/shares.py           a minute; writes figures/benchmark_shares.json and the table on the page
                                                lessons/book/speed.md
    python tests/benchmarks/shares.py --quick   one case; writes nothing

The operations of steps.py in float32. An operation is timed as it is, the median of turns, and then under Python's profiler, which
says what the functions take that do nothing but products, or nothing but exponentials; all else is what is left of the first
time: other passes over arrays, and calls. Beside them: how many calls of functions of Python and NumPy an operation makes.
"""

import argparse
import cProfile
import json
import os
import pstats
import sys

import numpy as np
from steps import ROOT, TITLES, Side, machine, timed, write_page

sys.path.insert(0, ROOT)

from savi.engine.files import replacing

OUT = os.path.join(ROOT, "figures", "benchmark_shares.json")
SIZES = [(64, 50), (200, 50), (512, 50)]
OPERATIONS = {
    "loss_gradient": 200,
    "vae_step": 100,
    "svi_run": 20,
    "savae_step": 10,
    "importance": 2,
}  # calls under the profiler
KINDS = {
    "products": ("matmul", "matmul_by_columns"),
    "exponentials": ("_one_plus_exp", "_log_product", "_tanh"),
}  # by the functions that do nothing else


def shares(side, operation, calls, turns):
    """{"ms", "calls" of functions, and the share of each kind} of an operation."""
    ms = 1e3 * float(np.median([timed(lambda: side.call(operation)) for _ in range(turns)]))
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(calls):
        side.call(operation)
    profile.disable()
    found = pstats.Stats(profile)
    own = dict.fromkeys(KINDS, 0.0)
    for (_, _, name), (_, _, seconds, _, _) in found.stats.items():
        for kind, functions in KINDS.items():
            own[kind] += 1e3 * seconds / calls if name in functions else 0.0
    return {"ms": ms, "calls": round(found.total_calls / calls), **{kind: each / ms for kind, each in own.items()}}


def measure(sizes, turns=7):
    """[{H, B, operation, ...}, ...]."""
    rows = []
    for H, B in sizes:
        side = Side("savi", 1)
        side.setup(H, B, "float32")
        for operation, calls in OPERATIONS.items():
            row = {"H": H, "B": B, "operation": operation, **shares(side, operation, calls, turns)}
            rows.append(row)
            print(row, flush=True)
    return rows


def markdown(results):
    """The page's table."""
    lines = [
        "| one thread, float32 | ms | calls | matrix products | exponentials, tanh | all else |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(results["rows"], key=lambda row: (list(OPERATIONS).index(row["operation"]), row["H"])):
        rest = 1 - sum(row[kind] for kind in KINDS)
        cells = [
            f"{row['ms']:.3g}",
            str(row["calls"]),
            *(f"{100 * each:.0f} %" for each in (*(row[kind] for kind in KINDS), rest)),
        ]
        lines.append(f"| {TITLES[row['operation']]}, H = {row['H']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description="Say where a step's time goes.")
    parser.add_argument("--quick", action="store_true", help="one case; nothing is written")
    options = parser.parse_args()
    rows = measure(SIZES[:1] if options.quick else SIZES, 1 if options.quick else 7)
    if options.quick:
        return
    results = {"machine": machine(["savi"], 1), "rows": rows}
    with replacing(OUT) as file:
        file.write(json.dumps(results, indent=1).encode())
    write_page("shares", markdown(results))


if __name__ == "__main__":
    main()
