"""Semi-amortized inference: the encoder starts, SVI refines.  [SA] section 3 and Algorithm 1

Algorithm 1, f = -ELBO, step size alpha, momentum gamma:

    lam_0 = enc(x; phi);  v_0 = 0
    for k = 0 .. K-1:
        v_{k+1} = gamma v_k - grad_lam f(lam_k)
        lam_{k+1} = lam_k + alpha v_{k+1}
    L = f(lam_K)
    lam_bar = grad_lam f(lam_K);  theta_bar = grad_theta f(lam_K);  v_bar = 0
    for k = K-1 .. 0:
        v_bar = v_bar + alpha lam_bar
        lam_bar = lam_bar - H_{lam,lam} f(lam_k) v_bar
        theta_bar = theta_bar - H_{theta,lam} f(lam_k) v_bar
        v_bar = gamma v_bar
    dL/dtheta = theta_bar;  dL/dphi = (d lam_0 / d phi)^T lam_bar

The noise of step k is drawn once and kept, so that both loops see the same f. Where inner gradients are clipped, the
step that is differentiated is the clipped one. The way back needs the evaluation of f at each lam_k: it is kept from the way
there, or, where lam_k alone is kept (`Recomputed`), worked out once more, in memory that does not grow with K.
"""

import numpy as np

from .amortized import AmortizedMethod
from .hvp import METHODS, autograd, central_difference, exact, find
from .svi import ascend, clipped_vjp


def algorithm_1(f, lam_0, noise, step_size, momentum=0.0, clip=None, product=exact, recompute=False):
    """Algorithm 1 from lam_0 (B, n): (L (B,), theta_bar (P,), lam_bar (B, n)), the gradients of sum_b L_b.

    f: an objective; noise: K + 1 arrays (S, B, D), K steps and the final loss; product: one of hvp.METHODS' functions.
    theta_bar is summed by blocks of records: one matrix product per layer and block, no array of theta's size per step.
    recompute: whether the evaluations are worked out once more on the way back instead of kept.
    In plain NumPy, line by line: savi.plain.sa_vae.
    """
    f.reserve(1 if recompute else len(noise))
    trace = Recomputed(f) if recompute else []
    lam_K = ascend(f, lam_0, noise[:-1], step_size, momentum, clip, trace)
    final = f.evaluate(lam_K, noise[-1])
    lam_bar, theta_bar, v_bar = final.d_lam, f.theta_sum().add(final), np.zeros_like(lam_0)
    while trace:
        step = trace.pop()  # the evaluation of f at lam_k
        v_bar = v_bar + step_size * lam_bar
        h = product(f, step, clipped_vjp(step.d_lam, clip, v_bar))
        lam_bar = lam_bar - h.lam
        theta_bar.add(h, weight=-1.0)
        v_bar = momentum * v_bar
    return final.loss, theta_bar.value(), lam_bar


class Recomputed:
    """A trace of the inner loop that keeps each step's lam_k and noise alone; `pop` evaluates f there once more."""

    def __init__(self, f):
        self.f, self.points = f, []

    def __len__(self):
        return len(self.points)

    def append(self, step):
        """Keep where the evaluation `step` was made."""
        self.points.append((step.lam, step.noise))

    def pop(self):
        """The last step's evaluation, made anew: the same numbers."""
        return self.f.gradient(*self.points.pop())


class SAVAE(AmortizedMethod):
    """The semi-amortized VAE: the gradient of the final loss flows through all K steps to theta and phi.

    hvp: how H v is formed, a name in hvp.METHODS or a function of (f, evaluation, v). recompute: whether the inner steps are
    evaluated once more on the way back instead of kept, for a memory that does not grow with K. In plain NumPy:
    savi.plain.sa_vae.
    """

    name = "sa-vae"

    def __init__(
        self, encoder, steps=20, step_size=0.05, momentum=0.5, clip=None, samples=1, hvp="exact", recompute=False
    ):
        super().__init__(encoder, steps, step_size, momentum, clip, samples)
        self.product, self.recompute = find(hvp), bool(recompute)
        known = self.product in METHODS.values() and self.product is not autograd  # to bear threads
        self.divisible = self.divisible and known

    @property
    def passes(self):
        back = (2 if self.product is central_difference else 1) + self.recompute
        return super().passes + self.samples * self.steps * back

    def settings(self):
        return super().settings() | {
            "hvp": getattr(self.product, "__name__", self.product),
            "recompute": self.recompute,
        }

    def _gradient(self, model, theta, phi, x, noise, beta, rng):
        f = model.objective(theta, x, beta)
        lam_0, record = self.encode_in_training(model, phi, x, rng)
        loss, d_theta, lam_bar = algorithm_1(f, lam_0, noise, *self.inner(lam_0), self.product, self.recompute)
        return loss, d_theta, self.encoder.gradient(phi, record, lam_bar)


class VAESVI(AmortizedMethod):
    """VAE+SVI: the same forward pass, but nothing flows through the steps.

    theta follows f at lam_K. phi follows f at lam_0 (kl=False), or KL(q(z; lam_0) || q(z; lam_K)) with lam_K held fixed
    (kl=True, VAE+SVI+KL). In plain NumPy: savi.plain.vae_svi.
    """

    def __init__(self, encoder, steps=20, step_size=0.05, momentum=0.5, clip=None, samples=1, kl=False):
        super().__init__(encoder, steps, step_size, momentum, clip, samples)
        self.kl, self.name = kl, "vae+svi+kl" if kl else "vae+svi"

    @property
    def passes(self):
        return super().passes + (0 if self.kl else self.samples)  # f at lam_0, for phi

    def settings(self):
        return super().settings() | {"kl": self.kl}

    def _gradient(self, model, theta, phi, x, noise, beta, rng):
        f = model.objective(theta, x, beta)
        lam_0, record = self.encode_in_training(model, phi, x, rng)
        lam_K = ascend(f, lam_0, noise[:-1], *self.inner(lam_0))
        final = f.evaluate(lam_K, noise[-1])
        if self.kl:
            d_lam_0 = model.posterior_kl(lam_0, lam_K)[1]
        else:
            d_lam_0 = f.gradient(lam_0, noise[0]).d_lam
        return final.loss, f.theta_sum().add(final).value(), self.encoder.gradient(phi, record, d_lam_0)
