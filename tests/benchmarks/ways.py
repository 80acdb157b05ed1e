"""One part, threads or helper processes? A training gradient each way, from which the rule in savi/engine/helpers.py has its
constants.

    python tests/benchmarks/ways.py                 all cases (two minutes); writes figures/benchmark_ways.json and the table on
                                                    the page lessons/book/speed.md
    python tests/benchmarks/ways.py --only 64,50 200,50     these again; keeps the JSON's others
    python tests/benchmarks/ways.py --families      text and images instead, the cases of language.py and pixels.py (two minutes)
    python tests/benchmarks/ways.py --training      whole steps of savi.fit instead, gradient, Adam and all (a minute)
    python tests/benchmarks/ways.py --quick         one case, two rounds; writes nothing

Nets as in steps.py, K = 10 inner steps; the batch is cut in as many parts as there are threads. The ways take turns of 15 ms
or one call, after a call that is not counted, for three seconds; a way's times are the median and the lower quartile of its
turns. A row during which other processes worked is left out, to be measured again. All give the same gradient to rounding,
threads and helpers the same bits.

A step of training is the median of a fit's steps, and then of ROUNDS fits, the ways taking turns.

A row also has what the rule knows of the step: the multiplications of one pass of the batch, and the number of passes; of text
and images also the turns of a pass, and how many examples go through it at a time (Decoder.turns and .chunk).
"""

import argparse
import contextlib
import importlib
import itertools
import json
import os
import resource
import sys
import time
from unittest import mock

import numpy as np
from steps import ROOT, TITLES, D, M, cores, inputs, machine, write_page

sys.path.insert(0, ROOT)

import savi
from savi.engine import helpers, threads
from savi.engine.files import replacing
from savi.inference.base import BYTES

OUT = os.path.join(ROOT, "figures", "benchmark_ways.json")
SIZES = [(64, 50), (128, 50), (200, 50), (200, 200), (512, 50), (512, 128)]
DTYPES = ("float32", "float64")
METHODS = ("vae", "svi", "sa-vae")
K, STEP_SIZE, MOMENTUM, SECONDS, TURN = 10, 0.02, 0.5, 3.0, 0.015
DISTURBED = 0.1  # of a core: what other processes may have while a row is measured; one with more is left out
WAYS = ("one", "threads", "helpers")
FAMILIES, FAMILY_METHODS = ("language", "pixels"), ("vae_step", "savae_step")
TRAINED, STEPS, ROUNDS = [(64, 50), (200, 50)], 30, 5


class Step:
    """A method's gradient on one batch."""

    def __init__(self, name, H, B, dtype):
        a = {what: array.astype(dtype) for what, array in inputs(H, B, dtype).items()}
        encoder, sizes = savi.MLP([M, H, H, 2 * D]), (K, STEP_SIZE, MOMENTUM)
        self.method = {
            "vae": lambda: savi.VAE(encoder), "svi": lambda: savi.SVI(*sizes), "sa-vae": lambda: savi.SAVAE(encoder, *sizes),
        }[name]()  # fmt: skip
        self.model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([D, H, H, M]), savi.Bernoulli()))
        self.noise = a["noise"][: self.method.training_steps + 1]
        self.theta, self.phi, self.x = a["theta"], a["phi"], a["x"]
        self.size = {"pass": B * self.model.work, "passes": self.method.passes}

    def __call__(self):
        return self.method.gradient(self.model, self.theta, self.phi, self.x, noise=self.noise)


class FamilyStep:
    """A step of a family's case, float32."""

    def __init__(self, family, label, operation):
        script, side = importlib.import_module(family), importlib.import_module(f"{family}_savi")
        sizes = {**script.FAMILY.cases, **script.FAMILY.quick}[label].sizes
        a = {
            what: array.astype("float32") if array.dtype.kind == "f" else array
            for what, array in script.inputs(sizes).items()
        }
        loop = side.setup(sizes, "float32")
        step, model = getattr(loop, operation), loop.model
        self.gradient, self.given = step.function, [a[name] for name in ("theta", "phi", "x", "noise")]
        self.size = {"pass": len(a["x"]) * model.work, "passes": step.passes, "turns": model.turns, "most": model.chunk}

    def __call__(self):
        return self.gradient(*self.given)


@contextlib.contextmanager
def forced(way, parts):
    """A block in which a gradient takes that way."""
    helped, cut = {"parts": lambda *size: parts if way == "helpers" else 1}, threads.slices
    threaded = {"slices": lambda n, work, most=None: cut(n, 1e12, most)}
    count = threads.using(1 if way == "one" else parts)
    with count, mock.patch.multiple(helpers, **helped), mock.patch.multiple(threads, **threaded):
        yield


def turn(step, seconds):
    """Milliseconds a call, after one that is not counted."""
    step()
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < seconds:
        step()
        calls += 1
    return 1e3 * (time.perf_counter() - start) / calls


def processor_seconds():
    """(of all processes, of this one and its children that have ended); the first where the system has /proc."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    everything = sum(ticks) - ticks[3] - ticks[4]  # without those that were idle, or waited for a disk
    return np.array([everything / os.sysconf("SC_CLK_TCK"), sum(u.ru_utime + u.ru_stime for u in used)])


def measured(step, seconds, parts):
    """{way: (median, lower quartile) in ms} of turns that go round for so many seconds; five rounds at least."""
    times, results = {way: [] for way in WAYS}, {}
    with helpers.kept():
        for way in WAYS:
            with forced(way, parts):
                results[way] = [a.copy() for a in step()]
        end, i = time.perf_counter() + seconds, 0
        while i < 5 or time.perf_counter() < end:
            for way in np.roll(WAYS, i):
                with forced(way, parts):
                    times[way].append(turn(step, TURN))
            i += 1
    for a, b, c in zip(*(results[way] for way in WAYS)):
        assert b.tobytes() == c.tobytes() and np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a)
    return {way: [round(float(q), 4) for q in np.quantile(t, (0.5, 0.25))] for way, t in times.items()}


def trained(step, parts, steps=STEPS, rounds=ROUNDS):
    """{way: (median, lowest) in ms} of a step of training, in so many fits each way."""
    times, x = {way: [] for way in WAYS}, np.tile(step.x, (steps, 1))
    for i in range(rounds):
        for way in np.roll(WAYS, i):
            with forced(way, parts):
                found = savi.fit(
                    step.model, step.method, x, epochs=1, batch=len(step.x), dtype=step.theta.dtype, progress=False,
                    binarize=False,
                )  # fmt: skip
            times[way].append(found.ms_per_step)
    return {way: [round(float(q), 4) for q in (np.median(t), min(t))] for way, t in times.items()}


def training_table(rows):
    """The page's second table."""
    lines = ["| a step of training | one part, ms | threads, ms | helpers, ms |", "|---|---:|---:|---:|"]
    for row in rows:
        cells = [f"{row['ms'][way][0]:.3g}" for way in WAYS]
        lines.append(f"| sa-vae, H = {row['H']}, B = {row['B']}, {row['dtype']} | " + " | ".join(cells) + " |")
    return lines


def markdown(results):
    """The page's table: medians, and what the rule takes."""
    lines = ["| | one part, ms | threads, ms | helpers, ms | the rule takes |", "|---|---:|---:|---:|---|"]
    for row in results["rows"]:
        what = f"{row['method']}, H = {row['H']}, B = {row['B']}, {row['dtype']}"
        lines.append(_line(what, row))
    lines += [
        _line(f"{row['case']}, {TITLES[row['method']].partition(',')[0]}", row) for row in results.get("families", [])
    ]
    return "\n".join(lines + ["", *training_table(results["training"])] if "training" in results else lines)


def _line(what, row):
    cells = [f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}" for ms in (row["ms"][way][0] for way in WAYS)]
    return f"| {what} | " + " | ".join(cells) + f" | {taken(row)} |"


def taken(row):
    """Which way the rules take on two threads."""
    n, itemsize = row["B"], np.dtype(row["dtype"]).itemsize
    work, turns, most = row["pass"] / n, row.get("turns", 1), row.get("most")
    with threads.using(2), mock.patch.object(helpers, "_possible", lambda: True), helpers.kept():
        if helpers.parts(n, work, row["passes"], itemsize, turns, most) > 1:
            return "helpers"
        return "threads" if len(threads.slices(n, work / turns * itemsize / BYTES, most)) > 1 else "one part"


def main():
    parser = argparse.ArgumentParser(description="Time training gradients in one part, in threads, with helpers.")
    parser.add_argument("--only", nargs="+", metavar="H,B", help="measure these again; keep the JSON's others")
    parser.add_argument("--quick", action="store_true", help="one case, two rounds; nothing is written")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--families", action="store_true", help="text and images; keep all other rows")
    parser.add_argument("--training", action="store_true", help="whole steps of training; keep all other rows")
    options = parser.parse_args()
    sizes = [size for size in SIZES if not options.only or ",".join(map(str, size)) in options.only]
    sizes, seconds = ([(64, 50)], 0.1) if options.quick else (sizes, SECONDS)
    measure = lambda step: measured(step, seconds, threads.count())  # noqa: E731
    if options.training:
        rows = undisturbed(steps_of(TRAINED, options.dtypes, ("sa-vae",)), lambda step: trained(step, threads.count()))
    else:
        rows = undisturbed(family_steps() if options.families else steps_of(sizes, options.dtypes, METHODS), measure)
    if options.quick:
        return
    before = {"rows": []}
    if os.path.exists(OUT):
        with open(OUT) as file:
            before = json.load(file)
    key = lambda row: (row.get("H", 0), row.get("case", ""), row["B"], row["dtype"], row["method"])  # noqa: E731
    kind, new = "training" if options.training else "families" if options.families else "rows", set(map(key, rows))
    rows = sorted([row for row in before.get(kind, []) if key(row) not in new] + rows, key=key)
    results = before | {"machine": machine(["savi"], cores()), "K": K, kind: rows}
    with replacing(OUT) as file:
        file.write(json.dumps(results, indent=1).encode())
    write_page("ways", markdown(results))


def steps_of(sizes, dtypes, names):
    """Yields (what a row says of it, the step) of steps.py's nets."""
    for (H, B), dtype, name in itertools.product(sizes, dtypes, names):
        yield {"H": H, "B": B, "dtype": dtype, "method": name}, Step(name, H, B, dtype)


def family_steps():
    """The same of text and images."""
    for family in FAMILIES:
        for label, case in importlib.import_module(family).FAMILY.cases.items():
            for name in filter(set(FAMILY_METHODS).__contains__, case.operations):
                yield (
                    {"case": label, "B": case.sizes["B"], "dtype": "float32", "method": name},
                    FamilyStep(family, label, name),
                )


def undisturbed(steps, measure):
    """A row for each step, but where other processes worked meanwhile."""
    rows = []
    for row, step in steps:
        before, start = processor_seconds(), time.perf_counter()
        ms = measure(step)
        everything, own = processor_seconds() - before
        others, told = (everything - own) / (time.perf_counter() - start), " ".join(map(str, row.values()))
        if others > DISTURBED:
            print(f"{told}  disturbed: others had {others:.2f} of a core", flush=True)
            continue
        rows.append({**row, **step.size, "ms": ms})
        print(told, *(f" {way} {t[0]:8.2f} {t[1]:8.2f}" for way, t in ms.items()), flush=True)
    return rows


if __name__ == "__main__":
    main()
