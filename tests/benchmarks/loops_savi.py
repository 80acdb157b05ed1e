"""savi's side of any model: its methods, under the names that the other sides' steps have."""

import numpy as np

import savi
from savi.engine import threads
from savi.inference.svi import ascend


class Loop:
    """A model and its encoder (None for a model without latents), K inner steps of size alpha with momentum gamma."""

    def __init__(self, model, encoder, K, alpha, gamma):
        self.model, self.K, self.alpha, self.gamma = model, K, alpha, gamma
        if encoder:
            self.vae, self.vae_svi, self.savae = (
                savi.VAE(encoder), savi.VAESVI(encoder, K, alpha, gamma), savi.SAVAE(encoder, K, alpha, gamma)
            )  # fmt: skip
            self.recomputed = savi.SAVAE(encoder, K, alpha, gamma, recompute=True)

    def vae_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta, dL/dphi with K = 0 and the last noise."""
        return self.vae.gradient(self.model, theta, phi, x, noise=noise[-1:])

    def savae_step(self, theta, phi, x, noise):
        """The same for Algorithm 1."""
        return self.savae.gradient(self.model, theta, phi, x, noise=noise)

    def savae_step_recomputed(self, theta, phi, x, noise):
        """The same, each step computed again on the way back."""
        return self.recomputed.gradient(self.model, theta, phi, x, noise=noise)

    def vae_svi_step(self, theta, phi, x, noise):
        """Loss (B,) and dL/dtheta at lam_K, dL/dphi at lam_0."""
        return self.vae_svi.gradient(self.model, theta, phi, x, noise=noise)

    def model_step(self, theta, phi, x, noise):
        """Loss (B,), dL/dtheta of a model without latents."""
        return savi.SVI(0).gradient(self.model, theta, phi, x, noise=noise[-1:])[:2]

    def svi_run(self, theta, lam, x, noise):
        """lam_K: SVI.infer with given noise."""

        def part(rows):
            f = self.model.objective(theta, x[rows])
            return ascend(f, lam[rows], [e[:, rows] for e in noise[: self.K]], self.alpha, self.gamma)

        return np.concatenate(threads.side_by_side(part, threads.slices(len(x), self.model.work, self.model.chunk)))
