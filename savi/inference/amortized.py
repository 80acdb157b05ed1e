"""Amortized inference, the VAE: lam = enc(x; phi), one network for all examples.  [SA] section 2

lam = enc(x; phi);  L = f(lam, theta, x)
d theta = grad_theta f;  d phi = (d lam / d phi)^T grad_lam f
"""

import numpy as np

from ..engine.files import InputError
from .svi import AscentMethod


class AmortizedMethod(AscentMethod):
    """What every method with an encoder shares: lam_0 = enc(x; phi). encoder: from x to lam's width (2D): an MLP, a
    DropoutMLP, or for sequences an LSTMEncoder."""

    def __init__(self, encoder, steps, step_size, momentum, clip, samples):
        super().__init__(steps, step_size, momentum, clip, samples)
        self.encoder, self.size = encoder, encoder.size
        self.divisible = not encoder.random  # one stream of random numbers draws all masks

    def settings(self):
        return super().settings() | {"encoder": self.encoder}

    def init(self, rng, dtype=np.float64):
        """Initial phi (Q,)."""
        return self.encoder.init(rng, dtype)

    def encode(self, model, phi, x, *masks):
        """lam_0 = enc(x; phi) (B, n), and the record from which `encoder.gradient` takes d phi; masks: an encoder's, or none."""
        if phi.shape != (self.size,) or self.encoder.outputs != model.lam_size:
            raise InputError(
                f"the encoder {self.encoder!r} has {self.size} parameters and {self.encoder.outputs} outputs; got phi of "
                f"shape {phi.shape} and lam of width {model.lam_size}"
            )
        record = self.encoder.evaluate(phi, np.asarray(x).astype(phi.dtype, copy=False), *masks)
        return record.output.copy(), record

    def encode_in_training(self, model, phi, x, rng):
        """`encode`, with masks drawn from rng where the encoder takes some. Raises InputError where it does and rng is None."""
        if not self.encoder.random:
            return self.encode(model, phi, x)
        if rng is None:
            raise InputError(f"{self.encoder!r} draws masks in training; expected a numpy Generator as rng, got None")
        return self.encode(model, phi, x, self.encoder.masks(rng, len(x), phi.dtype))

    def start(self, model, theta, phi, x, rng):
        return self.encode(model, phi, x)[0]


class VAE(AmortizedMethod):
    """The variational autoencoder; in plain NumPy: savi.plain.vae.

    steps, step_size, momentum, clip: for refinement at test time only (0 steps: none).
    """

    name = "vae"

    def __init__(self, encoder, steps=0, step_size=0.05, momentum=0.5, clip=None, samples=1):
        super().__init__(encoder, steps, step_size, momentum, clip, samples)

    training_steps = 0

    def _gradient(self, model, theta, phi, x, noise, beta, rng):
        f = model.objective(theta, x, beta)
        lam, record = self.encode_in_training(model, phi, x, rng)
        final = f.evaluate(lam, noise[0])
        return final.loss, f.theta_sum().add(final).value(), self.encoder.gradient(phi, record, final.d_lam)
