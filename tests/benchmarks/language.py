"""How fast is savi on text? The steps of a language model and of an LSTM VAE beside PyTorch's and JAX's, by the rules of steps.py.

    python tests/benchmarks/language.py           some minutes; writes figures/benchmark_language.json
    python tests/benchmarks/language.py --quick   small sizes, seconds; writes nothing
    python tests/benchmarks/language.py --page    writes the tables of lessons/book/speed.md from the JSON

V words, embeddings and LSTM of H units, T words a sentence, batch 32; z (8 dimensions) stands beside every embedding and gives
h_0 and c_0; the encoder is an LSTM as wide. K = 10 inner steps with momentum, and memory for K = 5, 10, 20 and 40. The language
model is the decoder without z. VAE+SVI's encoder learns from the gradient at lam_0, its decoder from that at lam_K. In float64
all sides are checked at T = 12; longer sentences are the same programs.
"""

from cases import Case, Family, drawn, main

K, STEP_SIZE, MOMENTUM, D, B = 10, 0.05, 0.5, 8, 32
WITH_Z = ("vae_step", "vae_svi_step", "savae_step")


def sizes(V, H, T, latent=D, batch=B, steps=K):
    return {"V": V, "H": H, "T": T, "D": latent, "B": batch, "K": steps}


CASES, MEMORY = {}, {}
for V, H in ((1000, 48), (4000, 128)):
    for T in (12, 40):
        CASES[f"V = {V}, H = {H}, T = {T}, without z"] = Case(sizes(V, H, T, 0), ("model_step",))
        CASES[f"V = {V}, H = {H}, T = {T}"] = Case(sizes(V, H, T), WITH_Z)
for steps in (5, 10, 20, 40):
    MEMORY[f"V = 1000, H = 48, T = 40, K = {steps}"] = Case(sizes(1000, 48, 40, steps=steps), (), ("savae_step",))
QUICK = {
    "tiny, without z": Case(sizes(30, 6, 5, 0, 4), ("model_step",)),
    "tiny": Case(sizes(30, 6, 5, 3, 4, 3), WITH_Z, ("vae_step",)),
}
FAMILY = Family(
    "language",
    CASES | MEMORY,
    {"model_step": "LM step", "vae_step": "VAE step", "vae_svi_step": "VAE+SVI step", "savae_step": "SA-VAE step"},
    {"savae_step": {name: ["savae_step", "savae_step_recomputed"] for name in ("torch", "jax")}},
    QUICK,
    checked="T = 12",
)


def shapes(s):
    """(theta's, phi's): embeddings with the start token's, the LSTM's W and b; z's way to [h_0, c_0]; the output or lam."""
    V, H, latent = s["V"], s["H"], s["D"]
    theta = [(V + 1, H), (2 * H + latent, 4 * H), (4 * H,), (latent, 2 * H), (2 * H,), (H, V), (V,)]
    phi = [(V + 1, H), (2 * H, 4 * H), (4 * H,), (H, 2 * latent), (2 * latent,)]
    return theta, phi


def inputs(s):
    """{theta, phi, x, noise}, float64; x (B, T) whole numbers."""
    import numpy as np

    rng = np.random.default_rng([s["V"], s["T"]])
    theta, phi = shapes(s)
    arrays = {
        "theta": drawn(theta, rng),
        "phi": drawn(phi, rng) if s["D"] else np.zeros(0),
        "x": rng.integers(0, s["V"], (s["B"], s["T"])),
        "noise": rng.standard_normal((s["K"] + 1, 1, s["B"], s["D"])),
    }
    for name, width in (("theta", s["H"]), ("phi", s["H"])):
        arrays[name][: (s["V"] + 1) * width] *= (s["V"] + 1) ** 0.5  # embeddings of about unit variance
    return arrays


if __name__ == "__main__":
    main(FAMILY, __doc__)
