"""How fast is savi on images with a strong decoder? A Gated PixelCNN's steps beside PyTorch's and JAX's, by the rules of steps.py.

    python tests/benchmarks/pixels.py           some minutes; writes figures/benchmark_pixels.json
    python tests/benchmarks/pixels.py --quick   small sizes, seconds; writes nothing
    python tests/benchmarks/pixels.py --page    writes the tables of lessons/book/speed.md from the JSON

Four layers of 16 channels in two stacks, kernels 7, 3, 3, 3, four learned maps of each pixel, Bernoulli; 16 latent dimensions; z
enters late, in a gated head over the features of the pixels before, or at the input, as maps beside x (models/autoregressive.py).
The encoder is a residual network of two stages, 16 and 32 channels. K = 10 inner steps with momentum. A mask's zero taps are
not multiplied on any side: a vertical stack's kernel is as high as what it sees.
"""

from cases import Case, Family, drawn, main

K, STEP_SIZE, MOMENTUM = 10, 0.02, 0.5
STEPS = ("vae_step", "svi_run", "savae_step")


def sizes(z_at, side, batch, channels=16, layers=4, first=7, latent=16, maps=4, stages=(16, 32)):
    return {
        "z_at": z_at, "side": side, "B": batch, "C": channels, "layers": layers, "first": first, "D": latent, "maps": maps,
        "stages": stages,
    }  # fmt: skip


CASES = {
    f"z {z_at}, {side}x{side}, B = {batch}": Case(
        sizes(z_at, side, batch), STEPS, ("savae_step",) if side == 28 else ()
    )
    for z_at, side, batch in (("late", 14, 50), ("late", 28, 50), ("input", 14, 10), ("input", 28, 10))
}
QUICK = {
    f"z {z_at}, tiny": Case(sizes(z_at, 6, 3, 3, 2, 5, 2, 2, (3, 4)), STEPS, ("vae_step",) if z_at == "late" else ())
    for z_at in ("late", "input")
}
FAMILY = Family(
    "pixels",
    CASES,
    {"vae_step": "VAE step", "svi_run": "SVI run", "savae_step": "SA-VAE step"},
    {"savae_step": {name: ["savae_step", "savae_step_recomputed"] for name in ("torch", "jax")}},
    QUICK,
)


def affine(n, m):
    """The shapes of W and b."""
    return [(n, m), (m,)]


def layers(s):
    """[(kernel's half p, its own pixel seen 0 or 1, inputs, whether it is the last), ...] of the causal net."""
    found, inputs = [], 1 + s["maps"]
    for l in range(s["layers"]):
        found.append((s["first"] // 2 if l == 0 else 1, int(l > 0), inputs, l == s["layers"] - 1))
        inputs = s["C"]
    return found


def shapes(s):
    """(theta's, phi's) in savi's order: the maps; layer by layer the horizontal taps, what leaves a layer, the vertical taps, the
    way from one stack to the other; the way from the features to the head where z is late; the head. Stage by stage the encoder."""
    C, D, pixels, late = s["C"], s["D"], s["side"] ** 2, s["z_at"] == "late"
    theta = [(0 if late else D, pixels * s["maps"]), (pixels * s["maps"],)]
    for p, own, inputs, last in layers(s):
        theta += affine((p + own) * inputs, 2 * C) + affine(C, C if last else 2 * C)
        theta += [*affine((p + own) * (2 * p + 1) * inputs, 2 * C), (2 * C, 2 * C)]
    theta += [(C if late else 0, 2 * C), *affine(D if late else C, 2 * C), *affine(C, 1)]
    phi, inputs, side = [], 1, s["side"]
    for n in s["stages"]:
        phi, inputs, side = phi + affine(4 * inputs, n) + 2 * affine(9 * n, n), n, side // 2
    return theta, phi + affine(side * side * inputs, 2 * D)


def inputs(s):
    """{theta, phi, lam, x, noise}, float64."""
    import numpy as np

    rng = np.random.default_rng([s["side"], s["B"]])
    theta, phi = shapes(s)
    return {
        "theta": drawn(theta, rng),
        "phi": drawn(phi, rng),
        "lam": 0.1 * rng.standard_normal((s["B"], 2 * s["D"])),
        "x": (rng.random((s["B"], s["side"] ** 2)) < 0.2).astype(float),
        "noise": rng.standard_normal((K + 1, 1, s["B"], s["D"])),
    }


if __name__ == "__main__":
    main(FAMILY, __doc__)
