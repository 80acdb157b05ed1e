"""How long does the main job take, on how many cores? `python -m savi compare` measured on one and on two, and simulated on more.

    python tests/benchmarks/job.py            four minutes; writes figures/benchmark_job.json and the table on the page
                                              lessons/book/speed.md
    python tests/benchmarks/job.py --quick    with little training, half a minute; writes nothing

On one core, one run after the other with one thread, each run is timed; what is left of the whole is serial: imports, data,
measuring what an epoch costs, pictures. On n cores a process takes the next run, in the order in which `compare` has them, as
soon as it is free. What n processes cost beside that is left out: their start, and that they share the machine's memory. The
ideal is all of the time on one core over n.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from steps import ROOT, cores, machine, write_page

sys.path.insert(0, ROOT)

from savi.engine.files import replacing

OUT = os.path.join(ROOT, "figures", "benchmark_job.json")
CORES = (1, 2, 4, 8, 16, 32, 64)
JOB = """
import importlib, json, sys, time
compare, runs = (importlib.import_module(f"savi.sweeps.{name}") for name in ("compare", "runs"))
run, spent = runs.run, []

def timed(*item):
    began = time.perf_counter()
    value = run(*item)
    spent.append(time.perf_counter() - began)
    return value

jobs, changes = int(sys.argv[2]), json.loads(sys.argv[3])
runs.run = timed if jobs == 1 else run
compare.compare("glyphs", sys.argv[1], jobs=jobs, progress=False, say=lambda text: None, **changes)
print(json.dumps(spent))
"""


def measured(jobs, changes):
    """(wall seconds of the main job, those of each of its runs where they come one after the other)."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-c", JOB, os.path.join(out, "job"), str(jobs), json.dumps(changes)]
        began = time.perf_counter()
        found = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"SAVI_THREADS": "1"}, check=True, capture_output=True, text=True
        )
        return time.perf_counter() - began, json.loads(found.stdout.splitlines()[-1])


def simulated(serial, spent, n):
    """Wall seconds on n cores."""
    free = [0.0] * n
    for seconds in spent:
        free[free.index(min(free))] += seconds
    return serial + max(free)


def markdown(results):
    """The page's table."""
    whole, spent = results["wall"]["1"], results["runs"]
    lines = ["| cores | measured, s | simulated, s | ideal, s |", "|---:|---:|---:|---:|"]
    for n in CORES:
        cell = f"{results['wall'][str(n)]:.0f}" if str(n) in results["wall"] else ""
        lines.append(f"| {n} | {cell} | {simulated(whole - sum(spent), spent, n):.0f} | {whole / n:.1f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description="Time the main job on one core and on two.")
    parser.add_argument("--quick", action="store_true", help="little training; nothing is written")
    options = parser.parse_args()
    changes = {"budget": ["seconds", 0.2], "gap_examples": 2, "iw_samples": 5} if options.quick else {}
    results = {"machine": machine(["savi"], 1), "wall": {}}
    for jobs in range(1, min(2, cores()) + 1):
        results["wall"][str(jobs)], spent = measured(jobs, changes)
        results.setdefault("runs", spent)
    print(markdown(results))
    if not options.quick:
        with replacing(OUT) as file:
            file.write(json.dumps(results, indent=1).encode())
        write_page("job", markdown(results))


if __name__ == "__main__":
    main()
