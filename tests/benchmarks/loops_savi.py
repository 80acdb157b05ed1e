"""savi's side of any model: its methods, under the names that the other sides' steps have."""

import numpy as np
from peers_savi import Helped, end_all

import savi
from savi.engine import threads
from savi.inference.svi import ascend


class Loop:
    """A model and its encoder (None for a model without latents), K inner steps of size alpha with momentum gamma."""

    def __init__(self, model, encoder, K, alpha, gamma):
        end_all()
        self.model, self.K, self.svi = model, K, savi.SVI(K, alpha, gamma)
        without = self._gradient(savi.SVI(0))
        self.model_step = lambda *arguments: without(*arguments)[:2]  # loss (B,), dL/dtheta of a model without latents
        if encoder:
            self.vae = savi.VAE(encoder)
            self.vae_step = self._gradient(self.vae)
            self.vae_svi_step = self._gradient(savi.VAESVI(encoder, K, alpha, gamma))
            self.savae_step = self._gradient(savi.SAVAE(encoder, K, alpha, gamma))
            self.savae_step_recomputed = self._gradient(savi.SAVAE(encoder, K, alpha, gamma, recompute=True))

    def _gradient(self, method):
        """Loss (B,), dL/dtheta, dL/dphi of theta, phi, x and K + 1 draws of noise, as savi.fit computes them."""
        rows = slice(-method.training_steps - 1, None)
        step = Helped(lambda theta, phi, x, noise: method.gradient(self.model, theta, phi, x, noise=noise[rows]))
        step.passes = method.passes
        return step

    def svi_run(self, theta, lam, x, noise):
        """lam_K: SVI.infer with given noise."""

        def part(rows):
            f = self.model.objective(theta, x[rows])
            return ascend(f, lam[rows], [e[:, rows] for e in noise[: self.K]], self.svi.step_size, self.svi.momentum)

        return np.concatenate(threads.side_by_side(part, self.svi._slices(self.model, theta, x)))
