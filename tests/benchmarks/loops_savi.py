"""savi's side of any model: its methods, under the names that the other sides' steps have."""

import functools

from peers_savi import GivenSVI, Helped, end_all

import savi


class Loop:
    """A model and its encoder (None for a model without latents), K inner steps of size alpha with momentum gamma."""

    def __init__(self, model, encoder, K, alpha, gamma):
        end_all()
        self.model = model
        self.svi_run = Helped(
            functools.partial(GivenSVI(K, alpha, gamma).run, model)
        )  # theta, lam_0, x, noise -> lam_K
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
