"""Where lam_0 of an iterative inference model comes from, and what part of phi that is.  [LI] 4.2, B"""

import numpy as np

from ..engine import given
from ..engine.files import InputError


class Prior:
    """lam_0 is the prior's. size: of the part of phi that a start owns."""

    name, size = "prior", 0

    def init(self, rng, dtype):
        """Its part of phi at first (size,)."""
        return np.zeros(self.size, dtype)

    def lam(self, model, theta, phi, x):
        """(lam_0 (B, n), what `gradient` needs); phi (size,)."""
        return model.prior_lam(len(x), theta.dtype, theta), None

    def gradient(self, phi, record, d_lam):
        """d phi (size,) from the gradient of f at lam_0 (B, n)."""
        return np.zeros(0, phi.dtype)


class Learned(Prior):
    """lam_0 is a constant (n,) that is learned, zeros at first."""

    name = "learned"

    def __init__(self, lam_size):
        self.size = lam_size

    def lam(self, model, theta, phi, x):
        return np.tile(phi, (len(x), 1)), None

    def gradient(self, phi, record, d_lam):
        return d_lam.sum(axis=0)


class Proposed(Prior):
    """lam_0 = enc(x): the encoder learns as a VAE's does, by f at lam_0, and the model refines what it proposes."""

    def __init__(self, encoder):
        self.name = self.encoder = encoder
        self.size = encoder.size

    def init(self, rng, dtype):
        return self.encoder.init(rng, dtype)

    def lam(self, model, theta, phi, x):
        record = self.encoder.evaluate(phi, np.asarray(x).astype(phi.dtype, copy=False))
        return record.output.copy(), record

    def gradient(self, phi, record, d_lam):
        return self.encoder.gradient(phi, record, d_lam)


def find(start, lam_size):
    """The start of that name, or from an encoder. Raises InputError on anything else."""
    if isinstance(start, str):
        kinds = {"prior": Prior, "learned": lambda: Learned(lam_size)}
        return kinds[given.one_of("start", start, (*kinds, "an encoder"))]()
    if given.thing("encoder", start).outputs != lam_size:
        raise InputError(f"the encoder {start!r} gives {start.outputs} outputs; the update moves {lam_size}")
    if start.random:
        raise InputError(
            f"the encoder {start!r} draws masks in training; an iterative model starts from one that draws none"
        )
    return Proposed(start)
