"""What a trained model is worth: -ELBO and its parts, the importance-weighted estimate, the two gaps.  [E1], [E5], [E6]

All values are in nats, one per example (N,), unless a name says otherwise; the caller takes the mean. Memory is bounded:
examples go through in batches, importance samples in chunks.
"""

import numpy as np

from ..engine import given, threads
from ..engine.files import InputError
from ..inference.optimizers import Adam

ROWS, INFERRED = 400, 20_000  # examples times samples that are evaluated, and whose lam is inferred, at a time


def infer(model, method, theta, phi, x, rng, steps=None, batch=500):
    """lam (N, n) of all examples x (N, M), at most `batch` of them at a time; steps as in method.infer."""
    x, batch = given.examples("x", x), given.whole("batch", batch, 1)
    given.thing("method", method)
    batch = at_a_time(method, batch)
    return np.concatenate(
        [method.infer(model, theta, phi, x[i : i + batch], rng, steps) for i in range(0, len(x), batch)]
    )


def at_a_time(method, most=500):
    """How many examples' lam a method infers at a time: fewer where it draws many samples for each."""
    return max(1, min(most, INFERRED // method.samples))


def path(model, method, theta, phi, x, rng, steps=None):
    """lam_0, lam_1, ..., (steps + 1, N, n), of all examples x (N, M), some at a time as in `infer`."""
    batch = at_a_time(method, len(x))
    parts = (method.path(model, theta, phi, x[i : i + batch], rng, steps) for i in range(0, len(x), batch))
    return np.concatenate(list(parts), axis=1)


def elbo_parts(model, theta, lam, x, rng, samples=10):
    """(reconstruction, KL), each (N,): -E_q[log p(x|z)] by `samples` noise samples, and KL(q || p); -ELBO is their sum."""
    reconstruction, kl = zip(*_over_batches("parts", model, theta, lam, x, rng, samples))
    return np.concatenate(reconstruction), np.concatenate(kl)


def level_kls(model, theta, lam, x, rng, samples=10):
    """[E_q KL(q(z^l) || p(z^l | z^{l+1})) for l = 1 .. L] of a hierarchy, means over the examples: a level near 0 is not used."""
    return np.concatenate(list(_over_batches("level_kls", model, theta, lam, x, rng, samples)), axis=1).mean(axis=1)


def neg_elbo(model, theta, lam, x, rng, samples=10):
    """-ELBO (N,), an upper bound of -log p(x) in expectation over the noise.  [E2]"""
    return np.concatenate(list(_over_batches("loss", model, theta, lam, x, rng, samples)))


def _given(model, theta, lam, x, rng, samples):
    """(x, samples) as the functions of this room work with them; InputError where anything is not what it should be."""
    given.thing("model", model)
    x, samples = given.examples("x", x), given.whole("samples", samples, 1)
    if given.floats("lam", lam).shape[:1] != (len(x),):
        raise InputError(f"lam has shape {lam.shape}; {len(x)} examples need ({len(x)}, n)")
    given.floats("theta", theta)
    given.generator("rng", rng)
    return x, samples


def _over_batches(verb, model, theta, lam, x, rng, samples):
    """model.verb(lam, theta, x, noise) of each batch of examples, with fresh noise, in order."""
    x, samples = _given(model, theta, lam, x, rng, samples)
    function = getattr(model, verb)
    items = (
        (lam[rows], theta, x[rows], model.draw_noise(rng, samples, len(x[rows]), theta.dtype))
        for rows in _batches(len(x), samples)
    )
    return threads.run(lambda arguments: function(*arguments), items, model.divisible)


def importance_weighted(model, theta, lam, x, rng, samples=5000):
    """The estimate of log p(x) (N,): log 1/S sum_s p(x, z_s) / q(z_s), z_s ~ q(lam), S = samples.  [E5]

    A lower bound of log p(x) in expectation that tightens with S. The sum streams: memory does not grow with S.
    """
    x, samples = _given(model, theta, lam, x, rng, samples)
    return np.concatenate(
        [_stream(model, theta, lam[rows], x[rows], rng, samples) for rows in _batches(len(x), min(samples, ROWS // 20))]
    )


def _stream(model, theta, lam, x, rng, samples):
    """Streaming log-mean-exp: `top` is the largest log weight so far, `total` the sum of exp(log weight - top)."""
    top, total = np.full(len(x), -np.inf), np.zeros(len(x))
    chunk = max(1, ROWS // len(x))
    sizes = (min(chunk, samples - start) for start in range(0, samples, chunk))
    noise = (model.draw_noise(rng, size, len(x), theta.dtype) for size in sizes)
    for log_w in threads.run(lambda e: model.log_weights(lam, theta, x, e).astype(float), noise, model.divisible):
        new_top = np.maximum(top, log_w.max(axis=0))
        total = total * np.exp(top - new_top) + np.exp(log_w - new_top).sum(axis=0)
        top = new_top
    return top + np.log(total / samples)


def optimum(model, theta, lam, x, rng, tolerance=0.05, samples=5, steps=50, max_rounds=12):
    """lam* (N, n): the best member of the variational family for each example, found from lam.  [E6]

    Rounds of `steps` Adam steps, fresh noise in each, the step size halved from round to round (0.1 at first); a round's
    result is the mean of its iterates. Converged when two rounds at step sizes below 0.02 each lower the mean -ELBO by
    less than a quarter of `tolerance` nats: lam* is a local optimum, in the basin of lam, to about that tolerance. An example
    that lam served better keeps lam. Returns (lam*, converged).
    """
    x, samples = _given(model, theta, lam, x, rng, samples)
    steps, max_rounds = given.whole("steps", steps, 1), given.whole("max_rounds", max_rounds, 1)
    tolerance = given.number("tolerance", tolerance, "(0, inf)")
    rows = _batches(len(x), 8 * samples)
    items = [(lam[r], x[r], child) for r, child in zip(rows, rng.spawn(len(rows)))]

    def part(item):
        return _optimum(model, theta, *item, tolerance, samples, steps, max_rounds)

    found = list(threads.run(part, items, model.divisible))
    return np.concatenate([best for best, _ in found]), all(converged for _, converged in found)


def _optimum(model, theta, lam_0, x, rng, tolerance, samples, steps, max_rounds):
    f = model.objective(theta, x)
    seed = rng.integers(2**63)  # every round is judged on the same noise

    def judge(lam):
        return neg_elbo(model, theta, lam, x, np.random.default_rng(seed), 20 * samples)

    lam, first = lam_0, judge(lam_0)
    loss, step_size, still = first, 0.1, 0
    for _ in range(max_rounds):
        lam = _adam_round(model, f, lam, rng, samples, steps, step_size)
        before, loss = loss, judge(lam)
        still = still + 1 if step_size < 0.02 and np.mean(before - loss) < tolerance / 4 else 0
        if still == 2:
            break
        step_size = max(step_size / 2, 0.002)
    return np.where((loss < first)[:, None], lam, lam_0), still == 2


def _adam_round(model, f, lam, rng, samples, steps, step_size):
    """The mean of the iterates of `steps` Adam steps from lam."""
    optimizer, mean = Adam(step_size), np.zeros_like(lam)
    state = optimizer.init(lam)
    for _ in range(steps):
        noise = model.draw_noise(rng, samples, len(lam), lam.dtype)
        state, step = optimizer.update(state, f.gradient(lam, noise).d_lam)
        lam = lam + step
        mean += lam / steps
    return mean


def gaps(model, theta, lam, x, rng, tolerance=0.05, samples=100, iw_samples=5000):
    """The total gap log p(x) - ELBO(lam) split in two, [E6]: a dict of arrays (N,), nats.

    approximation_gap = log p(x) - ELBO(lam*), amortization_gap = ELBO(lam*) - ELBO(lam), log_px the importance-weighted
    estimate with lam* as its proposal. Both ELBOs see the same fresh noise, `samples` per example. converged: whether
    the optimum was found to the tolerance.
    """
    best, converged, loss, best_loss = _against_optimum(model, theta, lam, x, rng, tolerance, samples)
    log_px = importance_weighted(model, theta, best, x, rng, iw_samples)
    return {
        "log_px": log_px,
        "approximation_gap": log_px + best_loss,
        "amortization_gap": loss - best_loss,
        "converged": converged,
    }


def _against_optimum(model, theta, lam, x, rng, tolerance=0.05, samples=100):
    """(lam*, converged, -ELBO(lam) (N,), -ELBO(lam*) (N,)), both with the same fresh noise."""
    best, converged = optimum(model, theta, lam, x, rng, tolerance)
    seed = rng.integers(2**63)
    loss, best_loss = (neg_elbo(model, theta, point, x, np.random.default_rng(seed), samples) for point in (lam, best))
    return best, converged, loss, best_loss


def along(model, theta, lams, x, rng, samples=10):
    """The mean -ELBO, nats, at each of lams, [number, ...]: along the iterations of an inference, or for more and more.

    lams: an iterable of lam (N, n), for example method.path(...). rng: a Generator that goes on from one to the next, or a
    seed, by which all see the same noise.
    """
    return [float(neg_elbo(model, theta, lam, x, np.random.default_rng(rng), samples).mean()) for lam in lams]


def bits_per_dim(nats, data_dim):
    """nats / (M ln 2), of a number or an array of nats and examples of M = data_dim dimensions."""
    return nats / (data_dim * np.log(2))


def perplexity(nats, tokens):
    """exp of the nats per token: nats (N,) for sequences of so many tokens, a number or (N,)."""
    return float(np.exp(np.sum(nats) / np.sum(np.broadcast_to(tokens, np.shape(nats)))))


def active_units(mu, threshold=0.01):
    """How many latent dimensions have means mu (N, D) whose variance over the examples is above the threshold.

    Burda, Grosse & Salakhutdinov 2016.
    """
    return int((np.var(mu, axis=0) > threshold).sum()) if len(mu) else 0


def evaluate(
    model, method, theta, phi, x, rng, steps=None, samples=10, iw_samples=0, gap_examples=0, measures=(), tolerance=0.05,
):  # fmt: skip
    """A summary of a method on x (N, M), as a dict of means over the examples, in nats.

    neg_elbo, reconstruction, kl: at lam = method.infer(..., steps) with `samples` noise samples. With iw_samples > 0:
    nll_iw, the importance-weighted estimate of -log p(x) with lam as its proposal, and what each of `measures` (a Task's)
    makes of it. Of a hierarchy: kl_1, kl_2, ..., the KL of each level.
    With gap_examples > 0: amortization_gap on the first so many examples, to about that tolerance, and gap_converged.
    """
    lam = infer(model, method, theta, phi, x, rng, steps)
    reconstruction, kl = elbo_parts(model, theta, lam, x, rng, samples)
    summary = {"reconstruction": reconstruction.mean(), "kl": kl.mean()}
    summary["neg_elbo"] = summary["reconstruction"] + (0 if np.isnan(summary["kl"]) else summary["kl"])
    if "levels" in model.supports:
        summary |= {f"kl_{l}": kl for l, kl in enumerate(level_kls(model, theta, lam, x, rng, samples), 1)}
    if given.whole("iw_samples", iw_samples):
        nll = -importance_weighted(model, theta, lam, x, rng, iw_samples)
        summary |= {"nll_iw": nll.mean()} | {measure.name: measure.value(nll, x) for measure in measures}
    if given.whole("gap_examples", gap_examples):
        few = slice(int(gap_examples))
        _, converged, loss, best_loss = _against_optimum(model, theta, lam[few], x[few], rng, tolerance)
        summary |= {"amortization_gap": loss.mean() - best_loss.mean(), "gap_converged": converged}
    return {name: value if isinstance(value, bool) else float(value) for name, value in summary.items()}


def _batches(n, samples):
    """Slices of 0..n with about ROWS rows each when every example takes `samples` rows."""
    size = max(1, ROWS // max(1, samples))
    return [slice(i, i + size) for i in range(0, n, size)]
