"""How do time and memory grow with the work? Inner steps, batch, tokens, importance samples, latent dimensions.

    python tests/benchmarks/scaling.py            some minutes; writes figures/scaling.json, .png and the table on the page
                                                  lessons/book/speed.md
    python tests/benchmarks/scaling.py --quick    savi alone, the two smallest sizes of each; writes nothing
    python tests/benchmarks/scaling.py --draw     draws the picture again from the JSON

One size is varied at a time. SA-VAE steps have a decoder 32-200-200-784, batch 50 and K = 20; sequences are those of
sequences.py, 1000 tokens and 100 units; an importance-weighted estimate has 20 examples. All in float32, on the sides of
steps.py that are installed, by its rules: the same inputs, results compared first, then turns. For each point a side is a new
process, so that its memory is that of this work alone: the peak of its resident size beyond what importing the package took.
"""

import argparse
import importlib.util
import json
import os
import sys
from typing import NamedTuple

import steps
from sequences import SequenceSide
from steps import ROOT, SIDES, Asked, Side, cores, machine, measure_operation

OUT = os.path.join(ROOT, "figures", "scaling")
DTYPE, H = "float32", 200


class Axis(NamedTuple):
    """One size: its letter, its name, its values, what is done, and on which kind of side."""

    letter: str
    name: str
    values: tuple
    operation: str
    title: str
    kind: type


class Vectors(Side):
    """A side of steps.py whose sizes are said."""

    def setup(self, letter, value):
        sizes = {"B": 50, "K": 20, "D": 32, "S": 1000} | {letter: value}
        steps.K, steps.D, self.samples, self.B = sizes["K"], sizes["D"], sizes["S"], sizes["B"]
        self.arrays = steps.inputs(H, sizes["B"], DTYPE)
        self.peer = self.peers.setup(H, steps.K, DTYPE, steps.STEP_SIZE, steps.MOMENTUM, D=steps.D)
        self.on_device = {name: self.peers.to_device(array) for name, array in self.arrays.items()}

    def call(self, operation):
        a = self.on_device
        if operation == "importance":
            examples = slice(steps.EXAMPLES)
            return self.peer.importance(a["theta"], a["lam"][examples], a["x"][examples], samples=self.samples)
        return super().call(operation)


class Sequences(SequenceSide):
    """A side of sequences.py with so many tokens a sequence."""

    def setup(self, letter, value):
        import sequences

        sequences.LENGTH = value
        super().setup(DTYPE)


AXES = (
    Axis("K", "inner steps K", (5, 10, 20, 40, 80), "savae_step", "SA-VAE step", Vectors),
    Axis("B", "batch B", (10, 30, 100, 300, 1000), "savae_step", "SA-VAE step", Vectors),
    Axis("T", "tokens T", (5, 10, 20, 40, 80), "sequence_step", "SA-VAE step on sequences", Sequences),
    Axis("S", "samples S", (1, 10, 100, 1000), "importance", "importance-weighted estimate", Vectors),
    Axis("D", "latent dimensions D", (2, 8, 32, 128, 512), "savae_step", "SA-VAE step", Vectors),
)
STYLES = {"savi": ("o-", "#0072B2"), "torch": ("s--", "#E69F00"), "jax": ("^:", "#444444")}
WHAT = {"ms": "time (ms)", "mb": "peak memory (MB)"}


def measure(axes, names, repeats, threads, say):
    """[{axis, value, side, ms, spread, mb}, ...]."""
    rows = []
    for axis in axes:
        for value in axis.values:
            sides = {name: Asked(name, threads, axis.kind) for name in names}
            for side in sides.values():
                side.setup(axis.letter, value)
            memory = {name: side.memory(axis.operation) / 1e6 for name, side in sides.items()}
            variants = [(name, axis.operation) for name in names]
            for row in measure_operation(sides, variants, DTYPE, repeats):
                found = {name: row[name] for name in ("side", "ms", "spread")}
                rows.append({"axis": axis.letter, "value": value, **found, "mb": memory[row["side"]]})
            for side in sides.values():
                side.close()
            say(f"{axis.letter} = {value:<5} {axis.title:<30}" + _line(rows[-len(names) :]))
    return rows


def _line(rows):
    return "".join(f"  {SIDES[row['side']]} {row['ms']:8.2f} ms {row['mb']:6.0f} MB" for row in rows)


def curve(results, letter, side, what):
    """(values, numbers) of a side along an axis."""
    rows = [row for row in results["rows"] if (row["axis"], row["side"]) == (letter, side)]
    return [row["value"] for row in rows], [row[what] for row in rows]


def slope(values, numbers):
    """The exponent of growth between the last three points, to two places: of a straight line through their logarithms."""
    import numpy as np

    return round(float(np.polyfit(np.log(values[-3:]), np.log(numbers[-3:]), 1)[0]), 2) + 0.0  # 0.0 and not -0.0


def names_of(results):
    """The sides that were measured."""
    return [name for name in SIDES if any(row["side"] == name for row in results["rows"])]


def markdown(results):
    """A table for lessons/book/speed.md: exponents of growth, time and memory, of each side."""
    names = names_of(results)
    heads = [f"{SIDES[name]}, {what}" for what in ("time", "memory") for name in names]
    lines = ["| | from, to | " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(heads)]
    for axis in AXES:
        values, _ = curve(results, axis.letter, names[0], "ms")
        cells = [f"{slope(*curve(results, axis.letter, name, what)):.2f}" for what in ("ms", "mb") for name in names]
        lines.append(f"| {axis.title}: {axis.name} | {values[-3]}, {values[-1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results):
    """Time above, memory below, one column a size; both axes logarithmic."""
    from matplotlib.ticker import LogLocator

    from savi import plots

    fig, panels = plots.figure(columns=len(AXES), rows=2, width=2.9, height=2.9)
    for what, row in zip(WHAT, panels):
        for axis, ax in zip(AXES, row):
            for name in names_of(results):
                values, numbers = curve(results, axis.letter, name, what)
                style, colour = STYLES[name]
                label = f"{SIDES[name]}: {slope(values, numbers):.2f}"
                ax.plot(values, numbers, style, color=colour, markersize=4, label=label)
            ax.set(xscale="log", yscale="log", xlabel=axis.name, title=axis.title if what == "ms" else "")
            ax.set_xticks(axis.values, [str(value) for value in axis.values])
            low, high = ax.get_ylim()
            ax.set_ylim(low, high * (high / low) ** 0.5)  # room for the legend
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
            ax.minorticks_off()
            ax.legend(frameon=False, fontsize=7, title="slope", title_fontsize=7, loc="upper left")
        row[0].set_ylabel(WHAT[what])
    return fig


def main():
    p = argparse.ArgumentParser(
        description="Time and memory of savi's steps as the work grows, beside PyTorch and JAX."
    )
    p.add_argument("--quick", action="store_true", help="savi alone, the two smallest sizes of each; writes nothing")
    p.add_argument("--draw", action="store_true", help="draw figures/scaling.png from figures/scaling.json")
    p.add_argument("--threads", type=int, default=cores(), help="threads of each side (default: %(default)s)")
    p.add_argument("--repeats", type=int, default=5, help="rounds (default: %(default)s)")
    p.add_argument("--out", default=OUT, help="writes OUT.json and OUT.png (default: figures/scaling)")
    options = p.parse_args()
    sys.path.insert(0, ROOT)
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    peers = [name for name in ("torch", "jax") if importlib.util.find_spec(name)]
    say = lambda text: print(text, flush=True)  # noqa: E731
    if options.quick:
        measure([axis._replace(values=axis.values[:2]) for axis in AXES], ["savi"], 1, options.threads, say)
        return
    from savi.engine.files import replacing

    if not options.draw:
        names = ["savi", *peers]
        rows = measure(AXES, names, options.repeats, options.threads, say)
        results = {"machine": machine(names, options.threads), "repeats": options.repeats, "rows": rows}
        with replacing(options.out + ".json") as file:
            file.write(json.dumps(results, indent=1).encode())
    with open(options.out + ".json") as file:
        results = json.load(file)
    from savi import plots

    plots.save(draw(results), options.out + ".png")
    print(markdown(results))
    if options.out == OUT:
        steps.write_page("scaling", markdown(results))


if __name__ == "__main__":
    main()
