"""What all inference methods share: two verbs, settings, noise, and the cutting of batches.

    method.infer(model, theta, phi, x, rng)       x -> lam, at test time: `start`, then as many steps of `walk` as asked for
    method.gradient(model, theta, phi, x, rng)    x -> loss (B,), d_theta (P,), d_phi (Q,), in training

A method says where lam_0 comes from (`start`), how lam moves (`walk`) and what its gradients are (`_gradient`). The rooms
above this one are the methods; training, evaluation, comparison and plots know nothing of them but these verbs.
"""

from collections import deque

import numpy as np

from ..engine import given, helpers, threads
from ..engine.files import InputError, expect

BYTES = 5.5  # of a number, for which threads.slices has its constant: threads gain less in float32, more in float64
HELD = 1 << 26  # bytes of noise that are drawn before helpers begin


class InferenceMethod:
    """The base of all methods. steps K >= 0 in training; samples S: noise samples in each evaluation of the loss."""

    name = "method"
    size = 0  # of phi
    divisible = True  # a batch may be cut in parts that are worked out side by side

    def __init__(self, steps, samples):
        self.steps, self.samples = given.whole("steps", steps), given.whole("samples", samples, 1)

    def __repr__(self):
        """Every setting, so that equal texts mean equal methods."""
        return (
            f"{type(self).__name__}({', '.join(f'{name}={_text(value)}' for name, value in self.settings().items())})"
        )

    def settings(self):
        """{name: value} of all that distinguishes this method from another of its kind."""
        return {"steps": self.steps, "samples": self.samples}

    @property
    def training_steps(self):
        """K in training."""
        return self.steps

    @property
    def passes(self):
        """Decoder passes of an example in one training step: forward and backward at one noise sample is one.

        A Hessian product counts as one more, a difference of two gradients as two.
        """
        return self.samples * (self.training_steps + 1)

    @property
    def inner_settings(self):
        """{name: value} of the settings of the inner steps, those that `with_inner` can change; {} where there are none."""
        return {}

    def with_inner(self, **inner):
        """This method with other settings of its inner steps; phi and everything else are shared."""
        expect("the inner steps", ", ".join(inner), not inner, f"no settings for {self.name}")
        return self

    def init(self, rng, dtype=np.float64):
        """Initial phi (Q,)."""
        return np.zeros(0, dtype)

    def start(self, model, theta, phi, x, rng):
        """lam_0 (B, n)."""
        raise NotImplementedError

    def walk(self, f, phi, lam, noise):
        """Yields lam_1, lam_2, ... from lam (B, n): a step for each entry (S, B, D) of noise; f is an objective."""
        raise NotImplementedError

    def infer(self, model, theta, phi, x, rng, steps=None):
        """lam (B, n) for x (B, M) after `steps` steps from lam_0 (the method's own K when None); fresh noise in each."""
        steps = self.steps if steps is None else steps
        x, lam, noise = self._begun(model, theta, phi, x, rng, steps)
        part, slices, arguments = self._part(model, rng), self._slices(model, theta, x), ("infer", theta, phi, x, lam)
        count = self._helpers(model, theta, x, steps) if helpers.there(self, model) else 1  # a gradient has forked them
        if count > 1 and steps * self.samples * lam.nbytes <= HELD:
            return self._helped(part, slices, count, model, *arguments, list(noise))[0]
        items = list(zip(slices, threads.tee(noise, len(slices))))
        return np.concatenate(threads.side_by_side(lambda item: part(item[:1], *arguments, item[1])[0], items))

    def path(self, model, theta, phi, x, rng, steps=None):
        """lam_0, lam_1, ..., (steps + 1, B, n): what `infer` goes through."""
        x, lam, noise = self._begun(model, theta, phi, x, rng, steps)
        return np.array([lam, *self.walk(model.objective(theta, x), phi, lam, noise)])

    def gradient(self, model, theta, phi, x, rng=None, beta=1.0, noise=None):
        """loss f(lam_K) (B,), d_theta (P,), d_phi (Q,); the gradients are sums over the batch.

        noise: (K + 1, S, B, D), K inner steps and the final loss (K = 0 for the VAE), or None to draw it from rng.
        beta: the weight of the KL term [E4]. Raises InputError on a shape mismatch or an x outside the support.
        """
        x = self._given(model, theta, phi, x)
        arguments = "gradient", theta, phi, x, beta, self._noise(model, theta, x, rng, noise)
        part, slices = self._part(model, rng), self._slices(model, theta, x)
        count = self._helpers(model, theta, x, self.passes / self.samples)
        if count > 1:
            return self._helped(part, slices, count, model, *arguments)
        return _joined(threads.side_by_side(lambda some: part(some, *arguments), _dealt(slices, threads.count())))

    def _part(self, model, rng):
        """part(slices, verb, theta, phi, x, and what the verb needs): the verb's work on a part of a batch."""

        def gradient(rows, theta, phi, x, beta, noise):
            return self._gradient(model, theta, phi, x[rows], [e[:, rows] for e in noise], beta, rng)

        def infer(rows, theta, phi, x, lam, noise):
            path = self.walk(model.objective(theta, x[rows]), phi, lam[rows], (e[:, rows] for e in noise))
            return (last(path, lam[rows]),)

        verbs = {"gradient": gradient, "infer": infer}
        return lambda slices, verb, *arguments: _joined(verbs[verb](rows, *arguments) for rows in slices)

    def _gradient(self, model, theta, phi, x, noise, beta, rng):
        """`gradient` of a part of the batch: the method itself."""
        raise NotImplementedError

    def _given(self, model, theta, phi, x):
        """x as an array of examples, and InputError where one of the others is not what a method works with."""
        given.thing("model", model)
        given.floats("theta", theta)
        if self.size:
            given.floats("phi", phi)
        return given.examples("x", x)

    def _begun(self, model, theta, phi, x, rng, steps):
        """(x, lam_0, the noise of each step), with which `infer` and `path` begin."""
        x, steps = self._given(model, theta, phi, x), given.whole("steps", self.steps if steps is None else steps)
        rng = given.generator("rng", rng) if steps else rng
        noise = (model.draw_noise(rng, self.samples, len(x), theta.dtype) for _ in range(steps))
        return x, self.start(model, theta, phi, x, rng), noise

    def _slices(self, model, theta, x):
        """The batch as slices for threads to work on, each as large as the model likes it."""
        if not (self.divisible and model.divisible):
            return [slice(None)]
        work = model.work / model.turns * self.samples * theta.itemsize / BYTES
        return threads.slices(len(x), work, self._most(model))

    def _most(self, model):
        """How many examples may be in a slice; None for any number."""
        return None if model.chunk is None else max(1, model.chunk // self.samples)

    def _helpers(self, model, theta, x, passes):
        """In how many parts a batch should go to helpers, 1 for none; passes: at one noise sample."""
        if not (self.divisible and model.divisible):
            return 1
        work = model.work * self.samples
        return helpers.parts(len(x), work, passes, theta.itemsize, model.turns, self._most(model))

    def _helped(self, part, slices, count, model, *arguments):
        """What `count` parts come to, one here and each other with a helper; the slices are cut anew where they are too few."""
        slices = slices if len(slices) >= count else threads.cut(slices[-1].stop, count)
        return _joined(helpers.side_by_side(part, _dealt(slices, count), arguments, owners=(self, model)))

    def _noise(self, model, theta, x, rng, noise):
        """The given noise (K + 1, S, B, D), checked, or a fresh draw."""
        if noise is None:
            given.generator("rng", rng)
            return [model.draw_noise(rng, self.samples, len(x), theta.dtype) for _ in range(self.training_steps + 1)]
        noise = given.array("noise", noise)
        if noise.ndim != 4 or (len(noise), noise.shape[2]) != (self.training_steps + 1, len(x)):
            raise InputError(
                f"noise has shape {noise.shape}; {self.training_steps} inner steps, the final loss and a batch of "
                f"{len(x)} need ({self.training_steps + 1}, S, {len(x)}, D)"
            )
        return noise


def last(items, default):
    """The last of items, or the default where there are none."""
    kept = deque(items, maxlen=1)
    return kept[0] if kept else default


def _dealt(slices, count):
    """Lists of neighbours among the slices, `count` of them or fewer."""
    return [slices[some] for some in threads.cut(len(slices), min(len(slices), count))]


def _joined(parts):
    """The first array of each part, one after the other, and the sums of the others, in the memory of the first part's."""
    rows, totals = [], ()
    for first, *vectors in parts:
        rows.append(first)
        for total, vector in zip(totals, vectors):
            total += vector
        totals = totals or vectors
    return np.concatenate(rows), *totals


def _text(value):
    """A setting as text, arrays in full."""
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)
