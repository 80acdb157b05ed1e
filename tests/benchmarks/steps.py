"""How fast is savi? Its steps beside autograd's, PyTorch's and JAX's, and beside the time of their matrix products alone.

    python tests/benchmarks/steps.py                all settings (half an hour); writes figures/benchmark.json, .png and two
                                                tables on the page lessons/book/speed.md
    python tests/benchmarks/steps.py --quick        the smallest setting, few repeats; writes nothing
    python tests/benchmarks/steps.py --draw         draws the picture again from the JSON

Every side is a process of its own with the same number of threads, and gets the same inputs. First all must compute the
same: to 1e-8 in float64 (norm of the difference, relative), 1e-3 in float32; a disagreement is an error and nothing is
timed. Then the sides take turns, operation by operation: in each of 15 rounds each side has one turn of a tenth of a second
(or one call) after a few calls that are not counted; its time is the median of its rounds. What goes through autograd
and takes more than a second has 5 rounds. PyTorch and JAX take part where they are installed (`pip install -e .[bench]`),
autograd always, but for the importance-weighted estimate, whose cost is proportional to the examples: it has 20 of them.

Decoder 32-H-H-784 (tanh, Bernoulli), encoder 784-H-H-64, batch B, K = 20 inner steps with momentum, one noise sample. The
iterative inference model (beside autograd alone) encodes gradient and data in two layers of H units, 5 iterations.
"""

import argparse
import importlib
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from importlib import metadata

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OUT = os.path.join(ROOT, "figures", "benchmark")
PAGE = os.path.join(ROOT, "lessons", "book", "speed.md")
SIDES = {"savi": "savi", "autograd": "autograd", "torch": "PyTorch", "jax": "JAX"}
SETTINGS = [(H, B, dtype) for H, B in ((64, 50), (200, 50), (512, 50), (512, 128)) for dtype in ("float32", "float64")]
K, D, M, STEP_SIZE, MOMENTUM = 20, 32, 784, 0.02, 0.5
SAMPLES, EXAMPLES = 5000, 20  # of the importance-weighted estimate
ITERATIONS = 5  # of the iterative inference model
WARM_UP = 0.06  # seconds: another side's idle threads wait in a busy loop for up to 30 ms after their last product
TURN = 0.1  # seconds
TOLERANCE = {"float64": 1e-8, "float32": 1e-3}
LOOSE = {"savae_step_forward": 1e-4, "savae_step_central": 1e-6, "savae_step_finite": 1e-4}  # differences, in float64
OPERATIONS = {  # what each side calls the same thing; the first is the one that the ratios compare
    "loss_gradient": {name: ["loss_gradient"] for name in SIDES},
    "svi_run": {name: ["svi_run"] for name in SIDES},
    "vae_step": {name: ["vae_step"] for name in SIDES} | {"savi": ["vae_step", "vae_step_threads"]},
    "savae_step": {
        "savi": ["savae_step", "savae_step_threads", "savae_step_forward", "savae_step_central", "savae_step_complex",
                 "savae_step_autograd"],
        "autograd": ["savae_step"],
        "torch": ["savae_step", "savae_step_finite", "savae_step_byhand"],
        "jax": ["savae_step", "savae_step_byhand"],
    },
    "iterative_step": {name: ["iterative_step"] for name in ("savi", "autograd")},
    "importance": {name: ["importance"] for name in SIDES if name != "autograd"},
}  # fmt: skip
TITLES = {
    "savae_step": "SA-VAE step, K = 20",
    "vae_step": "VAE step",
    "svi_run": "SVI run, K = 20",
    "importance": "importance-weighted estimate",
    "loss_gradient": "one loss gradient",
    "iterative_step": "iterative inference, T = 5",
}


# --- a side: a process that computes and times what it is told ------------------------------------------------------------


def inputs(H, B, dtype):
    """{theta, phi, lam, x, noise}: random parameters of the usual size, an almost black binary batch, noise for K steps."""
    import numpy as np

    rng = np.random.default_rng([H, B])

    def net(*layers):
        parts = [(rng.uniform(-1, 1, (n, m)) * np.sqrt(6 / (n + m)), rng.uniform(-0.1, 0.1, m)) for n, m in layers]
        return np.concatenate([part.ravel() for layer in parts for part in layer])

    arrays = {
        "theta": net((D, H), (H, H), (H, M)),
        "phi": net((M, H), (H, H), (H, 2 * D)),
        "lam": 0.1 * rng.standard_normal((B, 2 * D)),
        "x": rng.random((B, M)) < 0.2,
        "noise": rng.standard_normal((K + 1, 1, B, D)),
        "samples": rng.standard_normal((200, 10, D)),
        "trunk": net((4 * D + M + 2 * D, H), (H, 2 * H), (H, 4 * D)),  # a highway layer has a gate beside each unit
    }
    return {name: array.astype(dtype) for name, array in arrays.items()}


class Side:
    """The verbs that the other end of the pipe may ask for."""

    def __init__(self, name, threads):
        sys.path[:0] = [HERE, ROOT]
        self.name = name
        self.peers = importlib.import_module(f"peers_{name}")
        self.peers.set_threads(threads)
        self.imported = peak_memory()

    def setup(self, H, B, dtype):
        self.B, self.arrays = B, inputs(H, B, dtype)
        self.peer = self.peers.setup(H, K, dtype, STEP_SIZE, MOMENTUM)
        self.on_device = {name: self.peers.to_device(array) for name, array in self.arrays.items()}

    def call(self, operation):
        a, run = self.on_device, getattr(self.peer, operation, None)
        if operation == "importance":
            return run(a["theta"], a["lam"][:EXAMPLES], a["x"][:EXAMPLES], samples=SAMPLES)
        if operation == "importance of given noise":
            return self.peer.importance(a["theta"], a["lam"][:10], a["x"][:10], samples=200, noise=a["samples"])
        return run(*self.operands(operation))

    def operands(self, operation):
        """The arrays that an operation takes."""
        a = self.on_device
        if operation == "loss_gradient":
            return a["theta"], a["lam"], a["x"], a["noise"][0]
        if operation == "svi_run":
            return a["theta"], a["lam"], a["x"], a["noise"]
        if operation == "iterative_step":
            return a["theta"], a["trunk"], a["x"], a["noise"][: ITERATIONS + 1]
        return a["theta"], a["phi"], a["x"], a["noise"]

    def check(self, operation):
        """The results, as a tuple of arrays."""
        results = self.call("importance of given noise" if operation == "importance" else operation)
        results = results if isinstance(results, tuple) else (results,)
        return [self.peers.to_numpy(result) for result in results]

    def time(self, operation):
        return timed(lambda: self.call(operation))

    def prepare_floor(self, operation):
        self.floor_functions = self.peer.floors(operation, EXAMPLES if operation == "importance" else self.B, SAMPLES)

    def time_floor(self, which):
        return timed(self.floor_functions[which])

    def memory(self, operation):
        """Bytes at the peak of some calls beyond the peak of importing the package, in all processes together."""
        for _ in range(3):
            self.call(operation)
        others = getattr(self.peers, "memory_of_others", list)()
        return sum(peak - self.imported for peak in (peak_memory(), *others))


def timed(function):
    """Seconds per call, in a loop of TURN seconds after a loop of WARM_UP seconds; one call where a call takes longer."""
    for seconds in (WARM_UP, TURN):
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < seconds:
            function()
            calls += 1
        each = (time.perf_counter() - start) / calls
        if each > 0.5:
            return each
    return each


def peak_memory():
    """The largest resident size that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(pipe, kind, name, threads):
    """What a side's process does: answer until the pipe is closed."""
    side = kind(name, threads)
    while True:
        try:
            verb, *arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(side, verb)(*arguments))


class Asked:
    """A side, seen from here: asked.verb(...) is answered by its process."""

    def __init__(self, name, threads, kind=Side):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, kind, name, threads), daemon=True)
        self._process.start()
        other.close()

    def __getattr__(self, verb):
        def ask(*arguments):
            self._pipe.send((verb, *arguments))
            return self._pipe.recv()

        return ask

    def close(self):
        self._pipe.close()
        self._process.join()


# --- the benchmark --------------------------------------------------------------------------------------------------------


def measure(settings, operations, names, repeats, threads, say):
    """[{H, B, dtype, operation, side, variant, ms, error}, ...]; side "products" is the floor."""
    rows = []
    for dtype in sorted({dtype for _, _, dtype in settings}):
        sides = {name: Asked(name, threads) for name in names}
        for H, B, _ in (setting for setting in settings if setting[2] == dtype):
            for side in sides.values():
                side.setup(H, B, dtype)
            for operation in operations:
                variants = [(name, v) for name in sides for v in OPERATIONS[operation].get(name, ())]
                found = measure_operation(sides, variants, dtype, repeats, floor=operation)
                rows += [{"H": H, "B": B, "dtype": dtype, "operation": operation, **row} for row in found]
                say(f"{dtype} H={H:<4} B={B:<4} {operation:<14}" + line(found))
        for side in sides.values():
            side.close()
    return rows


def measure_operation(sides, variants, dtype, repeats, floor=None, slow=("autograd", 1.0)):
    """Rows {side, variant, ms, spread, error} of one operation; floor: its name, if its products are timed as well.

    slow: a turn of a side or variant with that in its name has 5 rounds where it takes more than so many seconds.
    """
    import numpy as np

    errors = agreement(sides, variants, dtype)
    turns = {key: lambda key=key: sides[key[0]].time(key[1]) for key in variants}
    if floor:
        sides["savi"].prepare_floor(floor)
        for which in (0, 1):
            turns["products", ("in parts", "whole")[which]] = lambda which=which: sides["savi"].time_floor(which)
    times = {key: [] for key in turns}
    for turn in turns.values():
        turn()  # not counted: compilers, caches
    for i in range(repeats):
        order = list(turns)
        for key in order[i % len(order) :] + order[: i % len(order)]:
            if i < 5 or slow[0] not in "".join(key) or times[key][-1] < slow[1]:
                times[key].append(turns[key]())
    return [
        {
            "side": side, "variant": variant, "ms": 1e3 * float(np.median(t)),
            "spread": [1e3 * float(q) for q in np.quantile(t, (0.25, 0.75))], "error": errors.get((side, variant)),
        }
        for (side, variant), t in times.items()
    ]  # fmt: skip


def agreement(sides, variants, dtype):
    """{(side, variant): relative distance of its results from savi's}; SystemExit where it is too large to compare times."""
    import numpy as np

    results = {key: sides[key[0]].check(key[1]) for key in variants}
    judge = results[next(key for key in results if key[0] == "savi")]
    errors = {}
    for key, arrays in results.items():
        distances = [np.linalg.norm(np.subtract(a, b, dtype=float)) / np.linalg.norm(b) for a, b in zip(arrays, judge)]
        errors[key] = float(max(distances))
        allowed = max(TOLERANCE[dtype], LOOSE.get(key[1], 0)) if dtype == "float64" or key[1] not in LOOSE else np.inf
        if not errors[key] <= allowed or len(arrays) != len(judge):
            sys.exit(f"{key[0]}'s {key[1]} differs from savi's by {errors[key]:.2g} in {dtype}; nothing to compare")
    return errors


def line(found):
    best = {}
    for row in found:
        best.setdefault(row["side"], row["ms"])
    if "products" in best:
        best["products"] = min(row["ms"] for row in found if row["side"] == "products")
    return "".join(f"  {SIDES.get(name, name)} {ms:8.2f}" for name, ms in best.items()) + "  ms"


def memory(names, threads, H=512, B=128):
    """{side: {dtype: MB}} at the peak of an SA-VAE step beyond the size after import, a new process each."""
    table = {}
    for name in names:
        for dtype in ("float32", "float64"):
            side = Asked(name, threads)
            side.setup(H, B, dtype)
            table.setdefault(name, {})[dtype] = side.memory("savae_step") / 1e6
            side.close()
    return table


def cold_start(names, threads, repeats):
    """{side: seconds} from starting Python to the first SA-VAE gradient at H = 200, B = 50, float32; and "import savi"."""
    import numpy as np

    commands = {name: [sys.executable, __file__, "--cold", name, "--threads", str(threads)] for name in names}
    commands |= {"python": [sys.executable, "-c", "pass"], "import savi": [sys.executable, "-c", "import savi"]}
    times = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, cwd=ROOT)
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


# --- the table and the picture --------------------------------------------------------------------------------------------


def ratios(results, operation):
    """[(H, B, dtype, fastest peer's time / savi's time, savi's time / products' time)]: speed and distance to the floor."""
    found = []
    for H, B, dtype in map(tuple, results["settings"]):
        rows = [r for r in results["rows"] if (r["H"], r["B"], r["dtype"], r["operation"]) == (H, B, dtype, operation)]
        if not rows:  # this operation was not asked for
            continue
        first = {}
        for row in rows:
            if row["side"] != "products":
                first.setdefault(row["side"], row["ms"])
        floor = min(row["ms"] for row in rows if row["side"] == "products")
        peers = [ms for side, ms in first.items() if side not in ("savi", "autograd")]
        if peers:
            found.append((H, B, dtype, min(peers) / first["savi"], first["savi"] / floor))
    return found


def fastest_first(results):
    """The results with each peer's fastest variant first, the one that `ratios` takes for the peer's time."""
    peers = ("torch", "jax")
    return results | {"rows": sorted(results["rows"], key=lambda row: row["ms"] if row["side"] in peers else 0)}


def draw(results):
    """One panel an operation, one bar a setting: how many times faster savi is than the faster of PyTorch and JAX."""
    import numpy as np

    from savi import plots

    shown = {operation: title for operation, title in TITLES.items() if ratios(results, operation)}
    fig, axes = plots.figure(columns=len(shown), width=2.9, height=3.9)
    for ax, (operation, title) in zip(axes, shown.items()):
        found = ratios(results, operation)
        speeds = np.array([speed for *_, speed, _ in found])
        highest = np.array([speed * floor for *_, speed, floor in found])
        y = np.arange(len(found))
        colours = ["#0072B2" if dtype == "float32" else "#E69F00" for _, _, dtype, *_ in found]
        hatches = ["" if dtype == "float32" else "//" for _, _, dtype, *_ in found]
        ax.barh(y, speeds, color=colours, hatch=hatches, edgecolor="white", height=0.7)
        ax.plot(highest, y, "|", color="black", markersize=11, markeredgewidth=1.6)
        ax.axvline(1, color="black", linewidth=1)
        ax.set(
            title=f"{title}\ngeometric mean {mean(speeds):.2f}", xlabel="times faster than the faster peer", yticks=y
        )
        ax.set_yticklabels([f"{H}, {B}" for H, B, *_ in found] if ax is axes[0] else [])
        ax.set_xlim(0, max(2.2, 1.05 * highest.max()))
        ax.invert_yaxis()
        for i, speed in enumerate(speeds):
            label = {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
            ax.text(0.05, i, f"{speed:.2f}", va="center", fontsize=8, bbox=label)
    axes[0].set_ylabel("hidden units H, batch B")
    handles = [
        plots.plt.Rectangle((0, 0), 1, 1, color="#0072B2", label="float32"),
        plots.plt.Rectangle((0, 0), 1, 1, facecolor="#E69F00", hatch="//", edgecolor="white", label="float64"),
        plots.plt.Line2D([], [], color="black", marker="|", linestyle="", markersize=11, label="matrix products alone"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return fig


def summary(results):
    """The ratios as text."""
    lines = [
        f"{'':<16}" + "".join(f"{f'{H},{B},{dtype[-2:]}':>11}" for H, B, dtype in results["settings"]) + "   geo. mean"
    ]
    for operation in OPERATIONS:
        found = ratios(results, operation)
        if found:
            total = mean([speed for *_, speed, _ in found])
            lines.append(f"{operation:<16}" + "".join(f"{speed:11.2f}" for *_, speed, _ in found) + f"{total:12.2f}")
            lines.append(f"{'  to products':<16}" + "".join(f"{floor:11.2f}" for *_, floor in found))
    return "\n".join(lines)


def markdown(results):
    """Two tables as lessons/book/speed.md shows them: ratios of times, medians; memory and cold start."""
    lines = [
        "| | times faster than the faster of PyTorch and JAX: geometric mean | in the eight settings | than the best of all their "
        "variants | its time, in times of its matrix products | times faster than autograd |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for operation, title in TITLES.items():
        found, own, slow = ratios(results, operation), {}, []
        for row in results["rows"]:
            setting = row["H"], row["B"], row["dtype"]
            if row["operation"] == operation and row["variant"] == operation:
                own.setdefault(setting, {})[row["side"]] = row["ms"]
        slow = [ms["autograd"] / ms["savi"] for ms in own.values() if "autograd" in ms]
        cells = [""] * 4
        if found:
            speeds, floors = [speed for *_, speed, _ in found], [floor for *_, floor in found]
            cells = [
                f"{mean(speeds):.2f}",
                f"{min(speeds):.2f}–{max(speeds):.2f}",
                f"{mean([speed for *_, speed, _ in ratios(fastest_first(results), operation)]):.2f}",
                f"{min(floors):.1f}–{max(floors):.1f}",
            ]
        cells.append(f"{min(slow):.0f}–{max(slow):.0f}" if slow else "")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    names = [name for name in SIDES if name in results["memory_mb"]]
    lines += ["", "| | " + " | ".join(SIDES[name] for name in names) + " |", "|---|" + "---:|" * len(names)]
    for dtype in ("float32", "float64"):
        cells = [f"{results['memory_mb'][name][dtype]:.0f}" for name in names]
        lines.append(f"| memory of an SA-VAE step, H = 512, B = 128, {dtype} (MB) | " + " | ".join(cells) + " |")
    cells = [f"{results['cold_start_s'][name]:.2f}" for name in names]
    lines.append("| from starting Python to the first SA-VAE gradient (s) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def opponents(results):
    """The page's table of the SA-VAE step: the peers that differentiate through the loop, and all variants."""
    lines = [
        "| SA-VAE step, K = 20 | times faster than peers that differentiate through the loop | times faster than the best of all "
        "variants |",
        "|---|---:|---:|",
    ]
    loop, best = (ratios(each, "savae_step") for each in (results, fastest_first(results)))
    lines += [
        f"| H = {H}, B = {B}, {dtype} | {a:.2f} | {b:.2f} |" for (H, B, dtype, a, _), (*_, b, _) in zip(loop, best)
    ]
    means = (f"{mean([speed for *_, speed, _ in each]):.2f}" for each in (loop, best))
    return "\n".join([*lines, f"| geometric mean | {' | '.join(means)} |"])


def write_page(name, text, path=PAGE):
    """The text between the page's markers <!-- NAME --> and <!-- /NAME -->."""
    with open(path, encoding="utf-8") as file:
        old = file.read()
    before, _, rest = old.partition(f"<!-- {name} -->\n")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}<!-- {name} -->\n{text}\n<!-- /{name} -->" + rest.partition(f"<!-- /{name} -->")[2])


def mean(ratios):
    """The geometric mean."""
    return math.prod(ratios) ** (1 / len(ratios))


def arguments():
    p = argparse.ArgumentParser(description="Time savi's steps beside autograd's, PyTorch's and JAX's.")
    p.add_argument("--quick", action="store_true", help="only H = 64, B = 50, three rounds; nothing is written")
    p.add_argument("--draw", action="store_true", help="draw figures/benchmark.png from figures/benchmark.json")
    p.add_argument("--threads", type=int, default=cores(), help="threads of each side (default: %(default)s)")
    p.add_argument("--repeats", type=int, default=15, help="rounds (default: %(default)s)")
    p.add_argument("--operations", nargs="+", choices=OPERATIONS, default=list(OPERATIONS), metavar="OPERATION")
    p.add_argument(
        "--sides", nargs="+", choices=list(SIDES)[1:], default=list(SIDES)[1:], help="peers (default: all installed)"
    )
    p.add_argument(
        "--only", nargs="+", metavar="H,B,DTYPE", help="measure these settings again; keep OUT.json's others"
    )
    p.add_argument("--out", default=OUT, help="writes OUT.json and OUT.png (default: figures/benchmark)")
    p.add_argument("--cold", choices=SIDES, help=argparse.SUPPRESS)
    return p.parse_args()


def main():
    options = arguments()
    sys.path.insert(0, ROOT)
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    if options.cold:
        side = Side(options.cold, options.threads)
        side.setup(200, 50, "float32")
        side.call("savae_step")
        return
    if not options.draw:
        results = again(options) if options.only else run(options)
        print(summary(results))
        if options.quick:
            return
        from savi.engine.files import replacing

        with replacing(options.out + ".json") as file:
            file.write(json.dumps(results, indent=1).encode())
    with open(options.out + ".json") as file:
        results = json.load(file)
    from savi import plots

    plots.save(draw(results), options.out + ".png")
    if options.out == OUT:
        write_page("speed", markdown(results))
        write_page("opponents", opponents(results))


def again(options):
    """The results in OUT.json with the rows of some settings measured anew."""
    with open(options.out + ".json") as file:
        results = json.load(file)
    chosen = [setting for setting in SETTINGS if ",".join(map(str, setting)) in options.only]
    names = ["savi", *(name for name in options.sides if importlib.util.find_spec(name))]
    say = lambda text: print(text, flush=True)  # noqa: E731
    rows = measure(chosen, options.operations, names, options.repeats, options.threads, say)
    old = [row for row in results["rows"] if (row["H"], row["B"], row["dtype"]) not in chosen]
    return results | {"rows": old + rows}


def run(options):
    names = ["savi", *(name for name in options.sides if importlib.util.find_spec(name))]
    settings = SETTINGS[:2] if options.quick else SETTINGS
    repeats = 3 if options.quick else options.repeats
    print(f"{', '.join(SIDES[name] for name in names)}; {options.threads} threads each", flush=True)
    return {
        "machine": machine(names, options.threads),
        "settings": settings,
        "repeats": repeats,
        "memory_mb": memory(names, options.threads),
        "cold_start_s": cold_start(names, options.threads, min(repeats, 5)),
        "rows": measure(
            settings, options.operations, names, repeats, options.threads, lambda line: print(line, flush=True)
        ),
    }


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def machine(names, threads):
    """{processor, threads, versions}, for the JSON."""
    versions = {name: metadata.version(name) for name in ["numpy", *names[1:]]}
    return {"processor": _processor(), "threads": threads, "python": platform.python_version()} | versions


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
