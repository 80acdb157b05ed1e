"""How fast is savi on sequences? The steps of the synthetic experiment beside PyTorch's and JAX's, by the rules of steps.py.

    python tests/benchmarks/sequences.py            a minute; writes figures/benchmark_sequences.json and the table on the page
                                                    lessons/book/speed.md

The sizes of the experiment: 1000 tokens, 5 a sequence, batch 50, embeddings, LSTM and hidden layer of 100 units, two
latent dimensions, K = 20 inner steps with momentum; encoder and generator are both learned.
"""

import argparse
import importlib.util
import json
import os
import sys

from steps import MOMENTUM, ROOT, SIDES, Asked, Side, cores, line, machine, measure_operation, write_page

OUT = os.path.join(ROOT, "figures", "benchmark_sequences.json")
VOCABULARY, LENGTH, BATCH, UNITS, D, K, STEP_SIZE = 1000, 5, 50, 100, 2, 20, 0.002
CELL = (2 * UNITS + 1, 4 * UNITS)
SHAPES = (
    [(VOCABULARY + 1, UNITS), CELL, (UNITS, UNITS), (D + 1, UNITS), (UNITS + 1, VOCABULARY)],
    [(VOCABULARY + 1, UNITS), CELL, (UNITS + 1, 2 * D)],
)
OPERATIONS = {"sequence_vae_step": "LSTM VAE step", "sequence_step": "LSTM SA-VAE step, K = 20"}


class SequenceSide(Side):
    def setup(self, dtype):
        import numpy as np

        rng = np.random.default_rng(0)
        flat = [
            np.concatenate([(rng.standard_normal(shape) / np.sqrt(shape[0] - 1)).ravel() for shape in shapes])
            for shapes in SHAPES
        ]
        arrays = {
            "theta": flat[0].astype(dtype),
            "phi": flat[1].astype(dtype),
            "x": rng.integers(0, VOCABULARY, (BATCH, LENGTH)),
            "noise": rng.standard_normal((K + 1, 1, BATCH, D)).astype(dtype),
        }
        self.peer = self.peers.setup_sequences(SHAPES, K, dtype, STEP_SIZE, MOMENTUM)
        self.on_device = {name: self.peers.to_device(array) for name, array in arrays.items()}


def markdown(results):
    """The page's table."""
    lines = [
        "| | savi, ms | PyTorch, ms | JAX, ms | times faster than the faster of the two |",
        "|---|---:|---:|---:|---:|",
    ]
    for dtype in ("float32", "float64"):
        for operation, title in OPERATIONS.items():
            rows = [row for row in results["rows"] if (row["dtype"], row["operation"]) == (dtype, operation)]
            ms = {row["side"]: row["ms"] for row in rows}
            cells = [f"{ms[name]:.3g}" for name in ("savi", "torch", "jax")] + [
                f"{min(ms['torch'], ms['jax']) / ms['savi']:.2f}"
            ]
            lines.append(f"| {title}, {dtype} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description="Time savi's steps on sequences beside PyTorch's and JAX's.")
    p.add_argument("--threads", type=int, default=cores(), help="threads of each side (default: %(default)s)")
    p.add_argument("--repeats", type=int, default=15, help="rounds (default: %(default)s)")
    p.add_argument("--out", default=OUT, help="the JSON (default: figures/benchmark_sequences.json)")
    options = p.parse_args()
    sys.path.insert(0, ROOT)
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    names = ["savi", *(name for name in ("torch", "jax") if importlib.util.find_spec(name))]
    print(f"{', '.join(SIDES[name] for name in names)}; {options.threads} threads each", flush=True)
    rows = []
    for dtype in ("float32", "float64"):
        sides = {name: Asked(name, options.threads, SequenceSide) for name in names}
        for side in sides.values():
            side.setup(dtype)
        for operation in OPERATIONS:
            found = measure_operation(sides, [(name, operation) for name in names], dtype, options.repeats)
            rows += [{"dtype": dtype, "operation": operation, **row} for row in found]
            print(f"{dtype} {operation:<18}" + line(found), flush=True)
        for side in sides.values():
            side.close()
    from savi.engine.files import replacing

    results = {"machine": machine(names, options.threads), "repeats": options.repeats, "rows": rows}
    with replacing(options.out) as file:
        file.write(json.dumps(results, indent=1).encode())
    if options.out == OUT:
        write_page("sequences", markdown(results))


if __name__ == "__main__":
    main()
