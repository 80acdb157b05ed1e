"""Stochastic variational inference: gradient ascent on the ELBO, one lam per example.  [SA] section 2, spec section 3

    lam_0 = the prior, zero or random
    for k = 0 .. K-1:
        v_{k+1} = gamma v_k - grad_lam f(lam_k; noise_k)
        lam_{k+1} = lam_k + alpha v_{k+1}
    theta follows grad_theta f(lam_K)

`ascend` is this loop. Every other method starts it elsewhere (amortized.py) or differentiates it (semi_amortized.py),
and every method is an object with two verbs: `infer` (x -> lam) and `gradient` (x -> loss, d_theta, d_phi).
"""

import numpy as np

from . import threads
from .files import InputError, expect


def clipped(g, clip):
    """g (B, n), each row scaled down to norm `clip` where it is longer; None leaves g as it is."""
    return g if clip is None else g * _shrink(g, clip)[0]


def clipped_vjp(g, clip, u):
    """J^T u for the Jacobian J of `clipped` at g (B, n): rows that were scaled lose their part along g, too."""
    if clip is None:
        return u
    shrink, norm = _shrink(g, clip)
    direction = g / norm
    along = np.where(shrink < 1, (direction * u).sum(axis=1, keepdims=True), 0)
    return shrink * (u - along * direction)


def _shrink(g, clip):
    norm = np.sqrt((g * g).sum(axis=1, keepdims=True))
    norm = np.where(norm > 0, norm, clip)  # a zero row is below every clip
    return np.minimum(1, clip / norm), norm


def ascend(f, lam, noise, step_size, momentum=0.0, clip=None, trace=None):
    """lam_K after one step of SVI for each entry of `noise`; f is an objective (model.objective).

    lam (B, n); noise: K arrays (S, B, D), an array (K, S, B, D) or a generator of such. step_size alpha: per example, a
    number or one per entry of lam (n,). momentum gamma. clip: largest norm of an example's gradient.
    trace: a list that receives each step's evaluation, for those who differentiate the loop.
    """
    v = np.zeros_like(lam)
    for noise_k in noise:
        step = f.gradient(lam, noise_k)
        v = momentum * v - clipped(step.d_lam, clip)
        lam = lam + step_size * v
        if trace is not None:
            trace.append(step)
    return lam


class InferenceMethod:
    """What all methods share: the settings of the inner steps, where lam_0 comes from, and refinement at test time.

    steps K >= 0; step_size alpha, per example (the sources average their loss over a batch, so their step size 1 is
    1 / batch here); momentum gamma in [0, 1); clip: None or the largest norm of an example's inner gradient;
    samples S: noise samples in each evaluation of the loss.
    """

    name = "method"
    size = 0  # of phi
    divisible = True  # a batch may be cut in parts that are worked out side by side

    def __init__(self, steps, step_size, momentum, clip, samples):
        expect("steps", steps, steps >= 0 and steps % 1 == 0, "a whole number >= 0")
        expect("step_size", step_size, np.all(np.asarray(step_size) >= 0), ">= 0")
        expect("momentum", momentum, 0 <= momentum < 1, "in [0, 1)")
        expect("clip", clip, clip is None or clip > 0, "None or > 0")
        expect("samples", samples, samples >= 1 and samples % 1 == 0, "a whole number >= 1")
        self.steps, self.samples, self.momentum = int(steps), int(samples), float(momentum)
        self.step_size = float(step_size) if np.ndim(step_size) == 0 else np.asarray(step_size)
        self.clip = None if clip is None else float(clip)

    def __repr__(self):
        """Every setting, so that equal texts mean equal methods."""
        common = {name: getattr(self, name) for name in ("steps", "step_size", "momentum", "clip", "samples")}
        settings = ", ".join(f"{name}={_text(value)}" for name, value in (common | self._own_settings()).items())
        return f"{type(self).__name__}({settings})"

    @property
    def training_steps(self):
        """K in training."""
        return self.steps

    def _own_settings(self):
        """What a method has beside the common settings, {name: value}."""
        return {}

    def init(self, rng, dtype=np.float64):
        """Initial phi (Q,)."""
        return np.zeros(0, dtype)

    def start(self, model, theta, phi, x, rng):
        """lam_0 (B, n)."""
        raise NotImplementedError

    def infer(self, model, theta, phi, x, rng, steps=None):
        """lam (B, n) for x (B, M) after `steps` SVI steps from lam_0 (the method's own K when None); fresh noise each."""
        x = np.asarray(x)
        lam = self.start(model, theta, phi, x, rng)
        steps = self.steps if steps is None else steps
        noise = (model.draw_noise(rng, self.samples, len(x), theta.dtype) for _ in range(steps))

        def part(rows, noise):
            noise = (e[:, rows] for e in noise)
            return ascend(model.objective(theta, x[rows]), lam[rows], noise, *self.inner(lam))

        rows = self._parts(model, x)
        arguments = list(zip(rows, threads.tee(noise, len(rows))))
        return np.concatenate(threads.side_by_side(lambda a: part(*a), arguments))

    def inner(self, lam):
        """(step_size, momentum, clip) of the inner steps, in the precision of lam."""
        if np.isscalar(self.step_size):
            return self.step_size, self.momentum, self.clip
        if self.step_size.shape != lam.shape[1:]:
            raise InputError(f"step_size has shape {self.step_size.shape}; lam needs a number or {lam.shape[1:]}")
        return self.step_size.astype(lam.dtype), self.momentum, self.clip

    def gradient(self, model, theta, phi, x, rng=None, beta=1.0, noise=None):
        """loss f(lam_K) (B,), d_theta (P,), d_phi (Q,); the gradients are sums over the batch.

        noise: (K + 1, S, B, D), K inner steps and the final loss (K = 0 for the VAE), or None to draw it from rng.
        beta: the weight of the KL term [E4]. Raises InputError on a shape mismatch or an x outside the support.
        """
        x = np.asarray(x)
        noise = self._noise(model, theta, x, rng, noise)

        def part(rows):
            return self._gradient(model, theta, phi, x[rows], [e[:, rows] for e in noise], beta, rng)

        loss, d_theta, d_phi = zip(*threads.side_by_side(part, self._parts(model, x)))
        return np.concatenate(loss), _total(d_theta), _total(d_phi)

    def _parts(self, model, x):
        """The batch as slices for threads to work on."""
        if not (self.divisible and getattr(model, "divisible", False)):
            return [slice(None)]
        return threads.parts(len(x), model.size * self.samples)

    def _gradient(self, model, theta, phi, x, noise, beta, rng):
        """`gradient` of a part of the batch: the method itself."""
        raise NotImplementedError

    def _noise(self, model, theta, x, rng, noise):
        """The given noise (K + 1, S, B, D), checked, or a fresh draw."""
        if noise is None:
            return [model.draw_noise(rng, self.samples, len(x), theta.dtype) for _ in range(self.training_steps + 1)]
        if len(noise) != self.training_steps + 1 or any(np.ndim(e) != 3 or np.shape(e)[1] != len(x) for e in noise):
            raise InputError(
                f"noise has shape {np.shape(noise)}; {self.training_steps} inner steps, the final loss and a batch of "
                f"{len(x)} need ({self.training_steps + 1}, S, {len(x)}, D)"
            )
        return noise


def _total(vectors):
    """The sum of the parts' vectors, in the memory of the first."""
    for vector in vectors[1:]:
        vectors[0][...] += vector
    return vectors[0]


def _text(value):
    """A setting as text, arrays in full."""
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


class SVI(InferenceMethod):
    """SVI: K steps from the prior, from zero or from a random point; there is no phi.

    start: "prior" (the prior's lam), "zero", or "random" (0.1 * standard normal, as the sources' code draws it).
    """

    name = "svi"

    def __init__(self, steps=20, step_size=0.05, momentum=0.5, clip=None, samples=1, start="prior"):
        super().__init__(steps, step_size, momentum, clip, samples)
        if start not in ("prior", "zero", "random"):
            raise InputError(f"start is {start!r}; expected 'prior', 'zero' or 'random'")
        self.start_at, self.divisible = start, start != "random"  # one stream of random numbers draws all starts

    def _own_settings(self):
        return {"start": self.start_at}

    def start(self, model, theta, phi, x, rng):
        lam = model.prior_lam(len(x), theta.dtype)
        if self.start_at == "zero":
            lam[...] = 0
        if self.start_at == "random":
            lam = 0.1 * rng.standard_normal(lam.shape, dtype=theta.dtype)
        return lam

    def _gradient(self, model, theta, phi, x, noise, beta, rng):
        f = model.objective(theta, x, beta)
        lam_0 = self.start(model, theta, phi, x, rng)
        lam_K = ascend(f, lam_0, noise[:-1], *self.inner(lam_0))
        final = f.evaluate(lam_K, noise[-1])  # lam_K is held fixed
        return final.loss, f.theta_sum().add(final).value(), np.zeros(0, theta.dtype)
