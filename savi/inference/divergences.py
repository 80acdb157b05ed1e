"""Which divergence to amortize: two losses for any amortized family q_phi(x|y) that is a program.  [KL]

    inclusive    E_{p(x,y)}[-log q_phi(x|y)]                       = E_{p(y)} KL(p(.|y) || q_phi(.|y)) + const: covers
    exclusive    E_{p(y)} E_{q_phi}[log q_phi(x|y) - log p(x, y)]  = E_{p(y)}[-ELBO]: seeks a mode

x are all latents, discrete and continuous, in whatever branches; y is observed. Losses are minimised, nats, one value
per example (and sample), in autograd.numpy: differentiate their mean by phi. The inclusive loss needs draws of the
joint and q's density, nothing else. The exclusive loss needs a derivative through draws of q, and there are three:

    enumeration           sum_z q(z|y) (...) over the values of discrete draws     exact
    reparameterization    E_e[...] at x = mu + sigma e, for normal draws           little variance
    score function        E_q[(f - b) grad log q], f = log q - log p, any draw     much variance, less with a baseline b

A family that branches on a *continuous* draw has no reparameterized gradient, as its loss jumps where the branch
begins: use the inclusive loss there, or score_function(..., reparameterize=False).
"""

import autograd
import autograd.numpy as np
import numpy
from autograd.tracer import getval

from ..engine import given
from ..engine.files import InputError, expect
from .optimizers import Adam
from .programs import Trace, enumerate_paths, log_density, shape_of


def inclusive(family, phi, draws, observed=("y",)):
    """-log q_phi(x|y) at draws of the joint, (N,); the mean over draws = sample(model, (N,), rng) estimates the loss.

    draws: arrays (N,) by site, those named in `observed` are y. With a grid of points for draws, the mean weighted by
    p(x, y) is the exact loss.
    """
    missing = [name for name in observed if name not in draws]
    expect("draws", f"without {missing}", not missing, f"the observed {list(observed)} among its sites")
    latents = {name: value for name, value in draws.items() if name not in observed}
    return -log_density(lambda t: family(t, phi), latents, {name: draws[name] for name in observed})


def exclusive(model, family, phi, observed, rng, samples=1, noise=None):
    """-ELBO at each y, (S, N): enumerated over discrete draws, reparameterized at normal ones.

    observed: y, arrays (N,) by site, drawn from the model or of any other origin. noise: standard normals by site,
    broadcast to (S, N); those that it lacks rng draws, the same for all paths. A path is a way through the family's
    discrete draws and branches; all of them run side by side, on a first axis that is summed over. A model with
    parameters of its own learns by this loss as well, if it is differentiated by them.  Raises InputError at a mixture.
    """
    shape, noise = (samples, *shape_of(*observed.values())), dict(noise or {})
    path, n = enumerate_paths(lambda t: family(t, getval(phi)), shape, observed, rng, noise)
    t = Trace((n, *shape), observed=observed, rng=rng, noise=noise, path=path)
    family(t, phi)
    return np.sum(t.weight * (t.log_prob - log_density(model, t.values | observed)), axis=0)


def leave_one_out(f):
    """The mean of an example's other samples, (S, N): a baseline that does not know the sample itself."""
    expect("the number of samples", len(f), len(f) > 1, "at least 2 for a leave-one-out baseline")
    return (f.sum(axis=0) - f) / (len(f) - 1)


def score_function(model, family, phi, observed, rng, samples=2, baseline=leave_one_out, reparameterize=True):
    """-ELBO at each y by sampling every draw, (S, N); its derivative estimates the loss's by (f - b) grad log q.

    log q is that of discrete and mixture draws, and of normal ones too unless they are reparameterized (their part of
    the derivative is then grad f). baseline(f) -> b, from values f (S, N) to anything that broadcasts to them and does
    not know the sample's own draws; None is 0. The derivative's expectation is exact (Williams 1992; leave-one-out:
    Mnih & Rezende 2016); it is not the derivative of the value.
    """
    shape = (samples, *shape_of(*observed.values()))
    t = Trace(shape, observed=observed, rng=rng, reparameterize=reparameterize)
    family(t, phi)
    loss = t.log_prob - log_density(model, t.values | observed)
    f = getval(loss)
    b = 0.0 if baseline is None else baseline(f)
    # - 1 takes out the derivative of log q in the loss itself, whose mean is 0
    return loss + (f - b - 1) * (t.log_score - getval(t.log_score))


def minimize(loss, phi, steps, rng, optimizer=Adam(0.01), average=0.25):  # noqa: B008
    """(phi, losses (steps,)): descends the mean of loss(phi, rng), with step sizes that fall linearly to 0.

    phi is the mean over the last steps, a share `average` of all, in which sampling noise cancels (Polyak 1992).
    """
    steps, average = given.whole("steps", steps, 1), given.number("average", average, "[0, 1]")
    value_and_grad = autograd.value_and_grad(lambda phi: np.mean(loss(phi, rng)))
    state, losses, last = optimizer.init(phi), [], max(1, round(average * steps))
    total = numpy.zeros_like(phi)
    for t in range(steps):
        value, g = value_and_grad(phi)
        if not numpy.isfinite(value):
            raise InputError(f"the loss is {value} at step {t}; expected a finite one: try a smaller step size")
        state, step = optimizer._replace(step_size=optimizer.step_size * (1 - t / steps)).update(state, g)
        phi = phi + step
        losses.append(value)
        if t >= steps - last:
            total += phi / last
    return total, numpy.array(losses)
