"""How fast is savi on hierarchies? SA-VAE's step and iterative inference beside PyTorch's and JAX's, by the rules of steps.py.

    python tests/benchmarks/hierarchies.py          some minutes; writes figures/benchmark_hierarchies.json
    python tests/benchmarks/hierarchies.py --quick  small sizes, seconds; writes nothing
    python tests/benchmarks/hierarchies.py --page   writes the tables of lessons/book/speed.md from the JSON

Two levels: p(z^1 | z^2) with means and variances from a net 32-256-256-128, p(x | z^1) 64-512-512-784 (ELU, Bernoulli); small:
8-64-64-32 and 16-128-128-784. One level has the decoder alone. One encoder for all levels, batch 50. SA-VAE: K = 20 steps with
momentum; iterative inference: gradient and data encoded by two layers as wide as the decoder's, T = 5 iterations from the
prior. The matrix products timed beside a step are those of all its nets: decoder, level, encoder or trunk.
"""

from cases import Case, Family, dense, drawn, main

K, STEP_SIZE, MOMENTUM, T, M, B = 20, 0.02, 0.5, 5, 784, 50
LARGE = {"dims": (64, 32), "hidden": (512, 256)}
SMALL = {"dims": (16, 8), "hidden": (128, 64)}
STEPS = ("vae_step", "savae_step", "iterative_step")


def sizes(of, levels, pixels=M, batch=B):
    """Of so many levels."""
    return {name: of[name][:levels] for name in ("dims", "hidden")} | {"M": pixels, "B": batch}


CASES = {
    f"{words} level{'s' * (n > 1)}, {name}": Case(sizes(of, n), STEPS, ("savae_step",) if n > 1 else ())
    for name, of in (("small", SMALL), ("large", LARGE))
    for words, n in (("one", 1), ("two", 2))
}
TINY = {"dims": (6, 3), "hidden": (8, 5)}
FAMILY = Family(
    "hierarchies",
    CASES,
    {"vae_step": "VAE step", "savae_step": "SA-VAE step", "iterative_step": "iterative step"},
    {"savae_step": {name: ["savae_step", "savae_step_recomputed"] for name in ("torch", "jax")}},
    {"two levels, tiny": Case(sizes(TINY, 2, 30, 7), STEPS, ("vae_step",))},
    dtypes=("float32", "float64"),
    floors=True,
)


def shapes(s):
    """(theta's nets from the decoder up, phi's, the trunk's): lists of shapes."""
    dims, hidden, total = s["dims"], s["hidden"], sum(s["dims"])
    nets = [dense(dims[0], hidden[0], hidden[0], s["M"])]
    nets += [dense(above, h, h, 2 * below) for below, above, h in zip(dims, dims[1:], hidden[1:])]
    H = hidden[0]
    trunk = [(4 * total + s["M"] + 2 * total, H), (H,), (H, 2 * H), (2 * H,), (H, 4 * total), (4 * total,)]
    return nets, dense(s["M"], H, H, 2 * total), trunk


def inputs(s):
    """{theta, phi, trunk, lam, x, noise}, float64."""
    import numpy as np

    rng, D = np.random.default_rng(s["dims"]), sum(s["dims"])
    nets, phi, trunk = shapes(s)
    return {
        "theta": np.concatenate([drawn(net, rng) for net in nets]),
        "phi": drawn(phi, rng),
        "trunk": drawn(trunk, rng),
        "lam": 0.1 * rng.standard_normal((s["B"], 2 * D)),
        "x": (rng.random((s["B"], s["M"])) < 0.2).astype(float),
        "noise": rng.standard_normal((K + 1, 1, s["B"], D)),
    }


if __name__ == "__main__":
    main(FAMILY, __doc__)
