"""Where a sweep ends: the process that hands out 10,000 runs to 200 workers, and what a run costs beside its work.

    python tests/benchmarks/driver.py               all of it (a few minutes); writes figures/sweep_driver.json
    python tests/benchmarks/driver.py --overhead    the second half alone
    python tests/benchmarks/driver.py --runs 500    fewer runs, 10 workers; writes nothing

Simulated: the workers. They take as long as they say in a time of their own, one in a hundred of the tries ends with its
worker's death, and a dead worker is back after a minute. Real: the driver (conduct.py, parallel.py), its Futures, the results
(JSON as long as a run of `compare` gives) and their files on this disk. The processor seconds of the driver pass in the workers'
time, too: a driver that cannot keep up makes them wait. Ideal: all work, with nothing that died, over the number of workers.

Measured on this machine: what a worker takes before its first run (a process, imports, data), what a run costs beside training
and measuring, and how many runs that do nothing go through in an hour, in processor seconds.
"""

import argparse
import heapq
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import BrokenExecutor, Future

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from savi.engine.files import replacing
from savi.experiments import settings
from savi.studies.figures import rounded
from savi.sweeps.conduct import Clock, conduct
from savi.sweeps.executors import Engine, Local

ROOT = sys.path[0]
OUT = os.path.join(ROOT, "figures", "sweep_driver.json")
SECONDS, SPREAD = 120.0, 0.5  # of a run: the median, and the standard deviation of its logarithm
DEATHS, AWAY = 0.01, 60.0  # the part of tries that end with the worker's death; seconds until it is back
CPU, WALL = "driver's processor seconds", "driver's wall seconds"
SHARE = 0.05  # of a run's time, that its overhead should stay below


class Simulated(Engine):
    """Workers that pretend, in a time of their own that goes on from one event to the next."""

    def __init__(self, workers, result, deaths=DEATHS, seed=0):
        self.alive, self.result, self.deaths, self.rng = workers, result, deaths, random.Random(seed)
        self.now, self.last, self.events, self.counts = 0.0, None, [], {"submitted": 0, "results": 0, "deaths": 0}
        self.wasted, self.least = 0.0, workers

    def open(self):
        self.last = time.process_time()
        return self

    def close(self, executor, at_once=False):
        self._pass()

    def workers(self, executor):
        return max(self.alive, 1)

    def submit(self, executor, function, item):
        future, (seconds,) = Future(), item
        self.counts["submitted"] += 1
        dies = self.rng.random() < self.deaths
        end = self._pass() + seconds * (self.rng.random() if dies else 1.0)
        heapq.heappush(self.events, (end, self.counts["submitted"], "dies" if dies else "ends", future, self.now))
        return future

    def done(self, running):
        self._pass()
        while True:
            at, _, what, future, began = heapq.heappop(self.events)
            self.now = max(self.now, at)
            if what == "back":
                self.alive += 1
                return ()
            if what == "dies":
                self.alive, self.wasted = self.alive - 1, self.wasted + self.now - began
                self.counts["deaths"] += 1
                self.least = min(self.least, self.alive)
                heapq.heappush(self.events, (self.now + AWAY, -self.counts["deaths"], "back", None, 0.0))
                future.set_exception(BrokenExecutor("its worker died"))
            else:
                self.counts["results"] += 1
                future.set_result(self.result)
            return super().done(running)

    def _pass(self):
        """The time now, in which what the driver has computed since it was asked last has passed."""
        here = time.process_time()
        self.now, self.last = self.now + here - self.last, here
        return self.now


def simulate(runs, workers, result, deaths=DEATHS, keep_results=True):
    """What the driver does with so many runs on so many workers, as a dict of numbers; every result comes back as `result`."""
    rng = random.Random(1)
    items = {(f"run={i}",): (SECONDS * rng.lognormvariate(0.0, SPREAD),) for i in range(runs)}
    engine, found, lost = Simulated(workers, result, deaths), {}, 0
    before, cpu, wall, said = memory(), time.process_time(), time.monotonic(), []
    with tempfile.TemporaryDirectory() as out:
        clock = Clock(runs, said.append)
        for name, value, error, new in conduct(None, items, out, engine, say=said.append):
            lost += error is not None
            if error is None and keep_results:
                found[name] = value
            clock.tell(name, new, error)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        files = sum(os.path.exists(os.path.join(out, name, "result.json")) for (name,) in items)
    ideal = max(sum(seconds for (seconds,) in items.values()) / workers, max(items.values())[0])
    messages = engine.counts["submitted"] + engine.counts["results"] + engine.counts["deaths"]
    return engine.counts | {
        "runs": runs, "workers": workers, "kept": files, "lost": lost, "makespan": engine.now, "ideal": ideal,
        "wasted by deaths": engine.wasted / workers, "fewest workers": engine.least, CPU: cpu,
        WALL: wall, "megabytes": memory() - before, "messages a second": messages / engine.now,
        "runs a second at most": runs / cpu, "bytes of a result": len(result),
    }  # fmt: skip


def memory():
    """The largest memory of this process so far (MB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def typical(points=12):
    """A result as long as one of `compare` without pictures, judged at so many epochs."""
    rng = random.Random(0)
    numbers = (
        "epoch",
        "seconds",
        "cpu",
        "passes",
        "train_loss",
        "valid_neg_elbo",
        "valid_kl",
        "test_neg_elbo",
        "test_kl",
    )
    history = [{name: 100 * rng.random() for name in numbers} for _ in range(points)]
    row = {
        name: 100 * rng.random()
        for name in (*numbers, "neg_elbo", "kl", "nll_iw", "amortization_gap", "reconstruction")
    }
    curve = {
        "method": "sa-vae",
        "seed": 0,
        "history": history,
        "refinement": [[k, 100 * rng.random()] for k in range(7)],
    }
    curve["inner"] = {
        "test": {"step_size": 0.1},
        "curve": [{"step_size": 0.1, "loss": 100 * rng.random()} for _ in range(9)],
    }
    return json.dumps([{"row": row | {"method": "sa-vae", "seed": 0}, "curve": curve, "data": "0" * 32}]).encode()


# --- what a run costs beside its work ---------------------------------------------------------------------------------------

STARTS = {  # processor seconds of a process that does so much and ends
    "Python": "pass",
    "and imports": "import savi.sweeps.runs, savi.sweeps.processes",
    "and data": "from savi.experiments import settings; from savi.sweeps import runs; runs.load('glyphs', settings.Settings())",
}
RUN = """
import json, time
from savi.engine import threads
from savi.sweeps import runs
from savi.experiments import settings
with threads.using(1):
    s = settings.Settings(methods=("vae",), seeds=(0,), budget=("epochs", 5))
    runs.load("glyphs", s)
    began = time.process_time()
    row = json.loads(runs.run(("vae",), 0, 5, (5,), {}, "glyphs", s, pictures=False))[0]["row"]
    print(time.process_time() - began, row["cpu"])
"""


def nothing():
    """A run that does nothing."""
    return b"[{}]"


def children(code):
    """(processor seconds of a Python process that runs `code`, what it prints)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, printed


def overhead(repeats=3, runs=400):
    """Processor seconds, the least of `repeats`: of a worker's start; of judging and measuring, all that a run of `compare` does
    beside its training steps; and once, of a run that does nothing, driver and worker together, when the workers are there."""
    starts = {what: min(children(code)[0] for _ in range(repeats)) for what, code in STARTS.items()}
    whole, training = min([float(text) for text in children(RUN)[1].split()] for _ in range(repeats))

    def used(n):
        before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        with tempfile.TemporaryDirectory() as out:
            for _ in conduct(nothing, {(f"run={i}",): () for i in range(n)}, out, Local(2)):
                pass
        after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(a.ru_utime + a.ru_stime - b.ru_utime - b.ru_stime for a, b in zip(after, before))

    few, many = used(2), used(2 + runs)
    found = {
        "start of a worker": starts,
        "judging and measuring": whole - training,
        "an empty run": (many - few) / runs,
    }
    first = starts["and data"]
    found["training from which it is below 5 %"] = {
        "each run in a worker of its own": first * (1 - SHARE) / SHARE,
        "ten runs a worker": (first / 10 + found["an empty run"]) * (1 - SHARE) / SHARE,
        "a hundred runs a worker": (first / 100 + found["an empty run"]) * (1 - SHARE) / SHARE,
    }
    training = settings.Settings.budget[1]
    spent = training + found["judging and measuring"] + found["an empty run"]
    found["runs an hour on two cores"] = {
        "that do nothing, by processor seconds alone": 2 * 3600 / found["an empty run"],
        f"of compare's default, {training:g} seconds of training": 2 * 3600 / spent,
    }
    return found


def markdown(found):
    """The page's two tables."""
    rows = {
        "makespan over the ideal": lambda s: f"{s['makespan'] / s['ideal']:.3f}",
        "makespan, simulated hours": lambda s: f"{s['makespan'] / 3600:.2f}",
        "tries that ended with a death; runs lost": lambda s: f"{s['deaths']}; {s['lost']}",
        "the driver's processor seconds": lambda s: f"{s[CPU]:.0f}",
        "of a core, while it lasts (%)": lambda s: f"{100 * s[CPU] / s['makespan']:.1f}",
        "its wall seconds, the disk included": lambda s: f"{s[WALL]:.0f}",
        "messages a second": lambda s: f"{s['messages a second']:.1f}",
        "runs a second at which the driver is busy": lambda s: f"{s['runs a second at most']:.0f}",
    }
    simulated = found["simulated"]
    lines = [
        "| {runs:,} runs of about 130 s on {workers} workers | 1 % die | none dies |".format(**simulated[0]),
        "|---|---:|---:|",
    ]
    lines += [f"| {what} | {' | '.join(map(row, simulated))} |" for what, row in rows.items()]
    lines.append(f"| memory that the driver takes for their results (MB) | {simulated[0]['megabytes']:.0f} | |")
    overhead = found["overhead"]
    lines += ["", "| beside a run's training | processor seconds |", "|---|---:|"]
    lines += [f"| start of a worker: {what} | {value:.2f} |" for what, value in overhead["start of a worker"].items()]
    lines.append(f"| a run that does nothing, driver and worker | {overhead['an empty run']:.4f} |")
    lines.append(f"| judging and measuring a VAE of `compare` | {overhead['judging and measuring']:.1f} |")
    lines += ["", "| | below 5 % from so many seconds of work a run |", "|---|---:|"]
    below = overhead["training from which it is below 5 %"]
    lines += [f"| {what} | {value:.1f} |" for what, value in below.items()]
    lines += ["", "| runs an hour on two cores | |", "|---|---:|"]
    return "\n".join(
        lines + [f"| {what} | {value:,.0f} |" for what, value in overhead["runs an hour on two cores"].items()]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, help="fewer runs, on 10 workers; writes nothing")
    parser.add_argument(
        "--overhead", action="store_true", help="measure again what a run costs beside its work, and nothing else"
    )
    options = parser.parse_args()
    if options.runs:
        print(json.dumps(simulate(options.runs, 10, typical()), indent=1))
        return
    if options.overhead:
        with open(OUT) as file:
            found = json.load(file)
    else:
        found = {"seconds of a run, median": SECONDS, "part of tries that die": DEATHS}
        found["simulated"] = [simulate(10_000, 200, typical(), deaths) for deaths in (DEATHS, 0.0)]
    found["overhead"] = overhead()
    with replacing(OUT) as file:
        file.write(json.dumps(rounded(found, 4), indent=1).encode())
    print(json.dumps(rounded(found, 4), indent=1))


if __name__ == "__main__":
    main()
