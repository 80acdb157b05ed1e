"""The exercises are tested: what is right passes, what is nearly right fails and says why, and nothing else passes."""

import inspect
import json
import pathlib
import re
import runpy

import numpy as np
import pytest

from savi.__main__ import main
from savi.course import check, lessons
from savi.course.properties import Here, Property, holds, judge
from savi.models.discrete import Multinomial
from savi.models.gaussian import join, log_density, sample_backward, scaled_noise
from savi.nets.activations import sigmoid

EXERCISES = lessons.find("exercise")
PROPERTIES = {n: check.properties(path) for n, path in EXERCISES.items()}

# --- the reference solutions: savi's own functions, in the words of the exercises -------------------------------------


def solutions():
    """{n: {function: the solution's}} of the functions that the stubs ask for."""
    found = {}
    for n, path in EXERCISES.items():
        stub, names = (runpy.run_path(str(p)) for p in (path, path.parent / "solutions" / path.name))
        found[n] = {name: names[name] for name, value in stub.items() if inspect.isfunction(value)}
    return found


RIGHT = solutions()
log_joint, log_likelihood, _, elbo = RIGHT[1].values()
sample, kl, kl_gradient, reparameterized_gradient = RIGHT[2].values()
clipped, svi_step, svi_loop = RIGHT[3].values()
negative_elbo, best_lam, amortization_gap, encoder_gradient = RIGHT[4].values()
forward, _, _ = RIGHT[5].values()
forward_product, central_product, _, scaled_step = RIGHT[6].values()
encode, gated_update, gated_backward = RIGHT[8].values()
inclusive_loss, inclusive_gradient, exclusive_loss, exclusive_gradient = RIGHT[11].values()
difference, verdict_of, table, seeds_needed = RIGHT[7].values()
lstm_step, lstm_backward, token_error = RIGHT[10].values()
_, clipped_vjp, close, _, importance_bound = RIGHT[12].values()
document_cost, _, cell_backward = RIGHT[9].values()
level_error, prior_variance_gradient, upper_gradient = RIGHT[13].values()
counts_log_prob, multinomial_error, _ = RIGHT[14].values()
mask, convolved, backward_x, backward_W = RIGHT[15].values()
PLANTED = 12  # the exercise whose stub is no stub: its functions are wrong
EVERY = pytest.mark.parametrize("n", RIGHT)
EVERY_FUNCTION = pytest.mark.parametrize("n, name", [(n, name) for n in RIGHT for name in RIGHT[n]])


def failures(n, properties=None, **changed):
    """[(what should hold, why it does not)] of the reference solution with some functions changed."""
    properties = properties or PROPERTIES[n]
    verdicts = judge(Here(RIGHT[n] | changed, __file__), properties, examples=12, shrink=False)
    return [(p.says, v.why) for p, v in zip(properties, verdicts, strict=True) if v.status != "PASS"]


# --- right, unwritten and wrong ---------------------------------------------------------------------------------------


def test_the_lessons_that_have_an_exercise():
    assert sorted(EXERCISES) == list(range(1, 16)) == sorted(RIGHT)


@EVERY
def test_the_reference_solution_has_every_property(n):
    assert failures(n) == []


@EVERY
def test_the_stub_has_the_functions_and_each_says_what_it_returns(n):
    names = {}
    exec(EXERCISES[n].read_text(), names)
    stubs = {name: f for name, f in names.items() if inspect.isfunction(f)}
    assert set(stubs) == set(RIGHT[n]) and 2 <= len(stubs) <= 5
    for name, f in stubs.items():
        assert re.search(r"\([A-Z23].*\)", f.__doc__), f"{name} tells no shape"
        assert any(p.says.startswith(name + ":") for p in PROPERTIES[n]), f"{name} has no property"


@EVERY_FUNCTION
def test_a_function_times_1_001_fails_and_no_other_is_blamed(n, name):
    def scaled(*arguments):
        value = RIGHT[n][name](*arguments)
        return tuple(1.001 * v for v in value) if isinstance(value, tuple) else 1.001 * value

    found = failures(n, **{name: scaled})
    assert found
    for says, why in found:
        assert says.startswith(name + ":") and ("off by" in why or "should" in why)


@EVERY_FUNCTION
def test_a_result_with_an_axis_too_many_fails_by_its_shape(n, name):
    def deeper(*arguments):
        value = RIGHT[n][name](*arguments)
        return tuple(v[..., None] for v in value) if isinstance(value, tuple) else value[..., None]

    found = failures(n, [p for p in PROPERTIES[n] if p.says.startswith(name + ":")], **{name: deeper})
    assert any("shape" in why for _, why in found)


def halves(lam):
    return np.split(lam, 2, axis=-1)


def slope_of_gates(a):
    H = a.shape[1] // 4
    return np.concatenate(
        [sigmoid(a[:, : 3 * H].copy()) * sigmoid(-a[:, : 3 * H]), 1 - np.tanh(a[:, 3 * H :]) ** 2], axis=1
    )


def times(lam, a, b):
    """[a mu, b log_var]."""
    mu, log_var = halves(lam)
    return join(a * mu, b * log_var)


def norms(g):
    return np.maximum(np.linalg.norm(g, axis=1), 1e-9)


def wrong_walk(lam, v, g, alpha, gamma, clip):
    """The step of lam along the old v."""
    new = svi_step(lam, v, g, alpha, gamma, clip)[1]
    return lam + alpha * v, new


def loop(wrong):
    """Algorithm 1's backward loop, with one thing wrong in it."""

    def backward(lams, d_lam, d_theta, lam_product, theta_product, alpha, gamma):
        lam_bar, theta_bar, v_bar = d_lam, d_theta, np.zeros_like(d_lam)
        for k in reversed(range(len(lams) - 1)):
            at = lams[k + 1 if wrong == "the next lam" else k]
            v_bar = v_bar + (1 if wrong == "no alpha" else alpha) * lam_bar
            if wrong == "momentum first":
                v_bar = gamma * v_bar
            h_lam, h_theta = lam_product(at, v_bar), theta_product(at, v_bar)
            lam_bar = lam_bar + h_lam if wrong == "sign" else lam_bar - h_lam
            theta_bar = d_theta - h_theta if wrong == "the last step alone" else theta_bar - h_theta
            if wrong not in ("no momentum", "momentum first"):
                v_bar = gamma * v_bar
        return lam_bar, theta_bar

    return backward


def test_the_loop_with_nothing_wrong_is_right():
    assert failures(5, backward=loop(None)) == []


def drop_slope(x, W1, b1, W2, b2, d_lam):
    h = np.tanh(x @ W1 + b1)
    d_h = d_lam @ W2.T
    return x.T @ d_h, d_h.sum(0), h.T @ d_lam, d_lam.sum(0)


def transposed_weights(*arguments):
    d_W1, d_b1, d_W2, d_b2 = encoder_gradient(*arguments)
    return d_W1.T, d_b1, d_W2.T, d_b2


def elementwise_clip(g, clip):
    return g if clip is None else np.clip(g, -clip, clip)


def clip_of_the_batch(g, clip):
    return g if clip is None else g * min(1, clip / max(np.linalg.norm(g), 1e-300))


def clip_to_the_length(g, clip):
    return g if clip is None else g * clip / norms(g)[:, None]


def svi_without_memory(gradient, lam, steps, alpha, gamma, clip):
    for _ in range(steps):
        lam, _ = svi_step(lam, np.zeros_like(lam), gradient(lam), alpha, gamma, clip)
    return lam


def plug_in_elbo(lam, x, w, log_s2):
    """E_q of the squared error taken as the squared error of the mean."""
    return negative_elbo(lam, x, w, log_s2) - w @ w * np.exp(lam[:, 1] - log_s2) / 2


def maximum_likelihood(x, w, log_s2):
    """The posterior without a prior."""
    size = max(w @ w, 1e-9)
    return join((x @ w / size)[:, None], np.full((len(x), 1), log_s2 - np.log(size)))


def shares(p):
    return np.exp(p) / np.exp(p).sum(axis=1, keepdims=True)


def top_of_the_batch(*mixture):
    p = log_joint(*mixture)
    return p.max() + np.log(np.exp(p - p.max()).sum(axis=1))


def uniform_where_all_underflow(*mixture):
    p = np.exp(log_joint(*mixture))
    total = p.sum(axis=1, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1), 1 / p.shape[1])


def moved(lam, v, alpha):
    return lam + alpha * v, v


def walk_along(way, lam, v, g, alpha, gamma, clip):
    return lam + alpha * way, svi_step(lam, v, g, alpha, gamma, clip)[1]


CLIPPING = ("clipped with v", "clipped at step 0 only", "v clipped again", "v clipped where lam moves")


def clipping_loop(wrong):
    """The loop of SVI, with one thing wrong in how it clips."""

    def svi_clipping(gradient, lam, steps, alpha, gamma, clip):
        v = np.zeros_like(lam)
        for k in range(steps):
            g = gradient(lam)
            if wrong == "clipped with v":
                v = clipped(gamma * v - g, clip)
            else:
                v = gamma * v - clipped(g, None if wrong == "clipped at step 0 only" and k else clip)
            if wrong == "v clipped again":
                v = clipped(v, clip)
            lam = lam + alpha * (clipped(v, clip) if wrong == "v clipped where lam moves" else v)
        return lam

    return svi_clipping


def unpaired(a, b):
    return np.array([(a - b).mean(), np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))])


def mean_over_the_batch(x, *others):
    d_x, d_h, d_c, d_W, d_b = lstm_backward(x, *others)
    return d_x, d_h, d_c, d_W / len(x), d_b / len(x)


def swap_gates(p):
    i, f, *rest = np.split(p, 4, axis=-1)
    return np.concatenate([f, i, *rest], axis=-1)


def planted():
    """The functions of exercise 12 as they are given out."""
    names = runpy.run_path(str(EXERCISES[PLANTED]))
    return {name: names[name] for name in RIGHT[PLANTED]}


LOOPS = ("sign", "no alpha", "no momentum", "momentum first", "the next lam", "the last step alone")
WRONG = {  # n: [(function, what is wrong, the function as it should not be)]
    1: [
        ("log_joint", "no weights", lambda x, a, m, s: log_density(x[:, None, None], join(m[:, None], s[:, None]))),
        ("log_joint", "log_var as log sigma", lambda x, a, m, s: log_joint(x, a, m, 2 * s)),
        ("log_joint", "transposed", lambda *a: log_joint(*a).T),
        ("log_joint", "no 2 pi", lambda *a: log_joint(*a) + 0.5 * np.log(2 * np.pi)),
        ("log_likelihood", "a mean for a sum", lambda *a: log_likelihood(*a) - np.log(len(a[1]))),
        ("log_likelihood", "underflow", lambda *a: np.log(np.exp(log_joint(*a)).sum(axis=1) + 1e-300)),
        ("log_likelihood", "the largest of the batch taken out", top_of_the_batch),
        ("responsibilities", "the largest of the batch taken out", lambda *a: shares(log_joint(*a) - log_joint(*a).max())),
        ("responsibilities", "uniform where all underflow", uniform_where_all_underflow),
        ("responsibilities", "over the wrong axis", lambda *a: np.exp(log_joint(*a)) / np.exp(log_joint(*a)).sum(axis=0)),
        ("elbo", "the entropy's sign", lambda q, *a: (q * (log_joint(*a) + np.log(np.where(q > 0, q, 1)))).sum(axis=1)),
        ("elbo", "no entropy", lambda q, *a: (q * log_joint(*a)).sum(axis=1)),
        ("elbo", "0 log 0", lambda q, *a: (q * (log_joint(*a) - np.log(q + 1e-6))).sum(axis=1)),
    ],
    2: [
        ("sample", "the variance as sigma", lambda lam, e: halves(lam)[0] + np.exp(halves(lam)[1]) * e),
        ("sample", "a sign", lambda lam, e: sample(lam, -e)),
        ("kl", "no 1/2", lambda q, p: 2 * kl(q, p)),
        ("kl", "the other way round", lambda q, p: kl(p, q)),
        ("kl", "summed over the batch", lambda q, p: np.full(len(q), kl(q, p).sum())),
        ("kl", "no -1", lambda q, p: kl(q, p) + q.shape[1] / 4),
        ("kl_gradient", "with respect to the variance", lambda q, p: times(kl_gradient(q, p), 1, np.exp(-halves(q)[1]))),
        ("kl_gradient", "the entropy's sign", lambda q, p: kl_gradient(q, p) + times(np.ones_like(q), 0, 1)),
        ("reparameterized_gradient", "a sum over samples", lambda lam, e, d: len(e) * reparameterized_gradient(lam, e, d)),
        ("reparameterized_gradient", "no 1/2", lambda lam, e, d: times(reparameterized_gradient(lam, e, d), 1, 2)),
        ("reparameterized_gradient", "no sigma", lambda lam, e, d: join(d.mean(0), (d * e).mean(0) / 2)),
    ],
    3: [
        ("clipped", "entry by entry", elementwise_clip),
        ("clipped", "the whole batch", clip_of_the_batch),
        ("clipped", "short rows made long", clip_to_the_length),
        ("svi_step", "uphill", lambda lam, v, g, *a: svi_step(lam, v, -g, *a)),
        ("svi_step", "not clipped", lambda lam, v, g, alpha, gamma, clip: svi_step(lam, v, g, alpha, gamma, None)),
        ("svi_step", "along the old v", wrong_walk),
        ("svi_step", "(1 - gamma) of the gradient", lambda lam, v, g, a, m, c: svi_step(lam, v, (1 - m) * g, a, m, c)),
        ("svi_step", "clipped with v", lambda lam, v, g, *a: moved(lam, clipped(a[1] * v - g, a[2]), a[0])),
        ("svi_step", "clipped from rest only", lambda lam, v, g, a, m, c: svi_step(lam, v, g, a, m, None if v.any() else c)),
        ("svi_step", "v clipped again", lambda *a: moved(a[0], clipped(svi_step(*a)[1], a[5]), a[3])),
        ("svi_step", "v clipped where lam moves", lambda *a: walk_along(clipped(svi_step(*a)[1], a[5]), *a)),
        *(("svi", wrong, clipping_loop(wrong)) for wrong in CLIPPING),
        ("svi", "a step too many", lambda f, lam, k, *a: svi_loop(f, lam, k + 1, *a)),
        ("svi", "v is forgotten", svi_without_memory),
        ("svi", "not clipped", lambda f, lam, k, a, m, c: svi_loop(f, lam, k, a, m, None)),
    ],
    4: [
        ("negative_elbo", "the ELBO", lambda *a: -negative_elbo(*a)),
        ("negative_elbo", "no KL", lambda lam, *a: negative_elbo(lam, *a) - kl(lam, np.zeros_like(lam))),
        ("negative_elbo", "no variance in the likelihood", plug_in_elbo),
        ("best_lam", "the variance for its logarithm", lambda *a: best_lam(*a) * [1, 0] + np.exp(best_lam(*a)) * [0, 1]),
        ("best_lam", "a little too wide", lambda x, w, s: best_lam(x, w, s) + [0, 0.01]),
        ("best_lam", "no prior", maximum_likelihood),
        ("amortization_gap", "a sign", lambda *a: -amortization_gap(*a)),
        ("amortization_gap", "to the prior", lambda lam, *a: negative_elbo(lam, *a) - negative_elbo(0 * lam, *a)),
        ("encoder_gradient", "no slope of tanh", drop_slope),
        ("encoder_gradient", "transposed", transposed_weights),
        ("encoder_gradient", "a mean over the batch", lambda x, *a: tuple(d / len(x) for d in encoder_gradient(x, *a))),
    ],
    5: [
        *(("backward", wrong, loop(wrong)) for wrong in LOOPS),
        ("forward", "uphill", lambda f, *a: forward(lambda lam: -f(lam), *a)),
        ("forward", "without lam_0", lambda *a: forward(*a)[1:]),
        ("clipped_vjp", "u clipped", lambda g, clip, u: clipped(u, clip)),
        ("clipped_vjp", "scaled alone", lambda g, clip, u: u * np.minimum(1, clip / norms(g))[:, None]),
    ],
    6: [
        ("forward_product", "a central difference", central_product),
        ("forward_product", "not divided by r", lambda f, lam, v, r: r * forward_product(f, lam, v, r)),
        ("forward_product", "a sign", lambda f, lam, v, r: -forward_product(f, lam, v, r)),
        ("central_product", "divided by r", lambda f, lam, v, r: 2 * central_product(f, lam, v, r)),
        ("central_product", "a forward difference", forward_product),
        ("complex_product", "the real part", lambda f, lam, v, h: f(lam + 1j * h * v).real / h),
        ("complex_product", "complex", lambda f, lam, v, h: (f(lam + 1j * h * v) - f(lam)) / (1j * h)),
        ("complex_product", "no v", lambda f, lam, v, h: f(lam + 1j * h).imag / h),
        ("scaled_step", "one length for all", lambda lam, v, r: scaled_step(lam, v, r).mean() + 0 * lam[:, 0]),
        ("scaled_step", "no 1", lambda lam, v, r: r * np.linalg.norm(lam, axis=1) / norms(v)),
    ],
    8: [
        ("encode", "no sign", lambda g, *a: np.abs(encode(g, *a))),
        ("encode", "no alpha", lambda g, alpha, eps: encode(g, 1.0, eps)),
        ("encode", "no eps", lambda g, alpha, eps: encode(g, alpha, 1e-12)),
        *(("encode", f"eps {e:g} for all", lambda g, alpha, eps, e=e: encode(g, alpha, e)) for e in (1e-5, 1e-3)),
        ("encode", "the halves exchanged", lambda *a: join(*halves(encode(*a))[::-1])),
        ("gated_update", "the gate the other way", lambda lam, o: gated_update(lam, o * np.repeat([1, -1], lam.shape[1]))),
        ("gated_update", "no gate", lambda lam, o: lam + halves(o)[0]),
        ("gated_update", "no sigmoid", lambda lam, o: halves(o)[1] * lam + (1 - halves(o)[1]) * halves(o)[0]),
        ("gated_backward", "a sign", lambda lam, o, d: gated_backward(lam, o, d) * np.repeat([1, -1], lam.shape[1])),
        ("gated_backward", "no lam - c", lambda lam, o, d: gated_backward(lam, o, d)[:, [*range(lam.shape[1])] * 2]),
        ("gated_backward", "the gate for 1 - gate", lambda lam, o, d: d[:, [*range(lam.shape[1])] * 2] - gated_backward(lam, o, d)),
    ],
    7: [
        ("difference", "not paired", unpaired),
        ("difference", "the standard deviation", lambda a, b: difference(a, b) * [1, len(a) ** 0.5]),
        ("difference", "ddof=0", lambda a, b: difference(a, b) * [1, (1 - 1 / len(a)) ** 0.5]),
        ("verdict", "the mean alone", lambda a, b: np.sign((a - b).mean())),
        ("verdict", "one standard error", lambda a, b: np.sign((a - b).mean()) * (abs(difference(a, b)[0]) > difference(a, b)[1])),
        ("verdict", "the wrong way round", lambda a, b: verdict_of(b, a)),
        ("table", "with the first only", lambda losses: np.array([[verdict_of(a, losses[0])] * len(losses) for a in losses])),
        ("table", "transposed", lambda losses: table(losses).T),
        ("seeds_needed", "one too few", lambda m, s: np.maximum(2, seeds_needed(m, s) - 1)),
        ("seeds_needed", "one standard error", lambda m, s: seeds_needed(m, s / 2)),
    ],
    10: [
        ("lstm_step", "i and f exchanged", lambda x, h, c, W, b: lstm_step(x, h, c, *(swap_gates(p) for p in (W, b)))),
        ("lstm_step", "no tanh of c", lambda x, h, c, W, b: (np.arctanh(lstm_step(x, h, c, W, b)[0]), lstm_step(x, h, c, W, b)[1])),
        ("lstm_step", "h of the old c", lambda x, h, c, W, b: (lstm_step(x, h, c, W, b)[0] * 0 + c, lstm_step(x, h, c, W, b)[1])),
        ("lstm_backward", "no d_c of h'", lambda *a: lstm_backward(*a[:5], 0 * a[5], a[6])),
        ("lstm_backward", "no d_c from outside", lambda *a: lstm_backward(*a[:6], 0 * a[6])),
        ("lstm_backward", "a mean over the batch", mean_over_the_batch),
        ("lstm_backward", "d_c without f", lambda *a: (*lstm_backward(*a)[:2], a[6], *lstm_backward(*a)[3:])),
        ("token_error", "a sign", lambda *a: -token_error(*a)),
        ("token_error", "no softmax", lambda logits, token: np.eye(logits.shape[1])[token]),
        ("token_error", "overflow", lambda a, token: np.eye(a.shape[1])[token] - np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)),
    ],
    12: [
        *((name, "as planted", wrong) for name, wrong in planted().items()),
        ("close", "atol alone", lambda a, b, rtol, atol: np.linalg.norm(a - b) <= atol),
        ("close", "the larger of the two", lambda a, b, r, t: np.linalg.norm(a - b) <= max(r * np.linalg.norm(b), t)),
        ("close", "not NaN", lambda a, b, r, t: ~(np.linalg.norm(a - b) > r * np.linalg.norm(b) + t)),
        ("importance_bound", "a sum", lambda w: np.logaddexp.reduce(w, axis=0)),
        ("importance_bound", "underflow", lambda w: np.log(np.exp(w).mean(axis=0) + 1e-300)),
    ],
    11: [
        ("inclusive_loss", "log q", lambda *a: -inclusive_loss(*a)),
        ("inclusive_loss", "no log c", lambda phi, x, y: inclusive_loss(phi, x, y) - phi[2]),
        ("inclusive_loss", "c^2 for c", lambda phi, x, y: inclusive_loss(phi * [1, 1, 2], x, y)),
        ("inclusive_loss", "the first y for all", lambda phi, x, y: inclusive_loss(phi, x, y[:1] + 0 * y)),
        ("inclusive_gradient", "with respect to c", lambda phi, *a: inclusive_gradient(phi, *a) * [1, 1, np.exp(-phi[2])]),
        ("inclusive_gradient", "a sum", lambda phi, x, y: len(x) * inclusive_gradient(phi, x, y)),
        ("inclusive_gradient", "no y in d a", lambda *a: inclusive_gradient(*a)[[1, 1, 2]]),
        ("exclusive_loss", "no entropy", lambda phi, *a: exclusive_loss(phi, *a) + phi[2]),
        ("exclusive_loss", "s for s_0", lambda phi, y, m: exclusive_loss(phi, y, m[[0, 2, 1]])),
        ("exclusive_gradient", "the entropy's sign", lambda *a: exclusive_gradient(*a) + [0, 0, 2]),
        ("exclusive_gradient", "log_var for log c", lambda *a: exclusive_gradient(*a) * [1, 1, 0.5]),
    ],
    9: [
        ("neg_elbo", "padding counts", lambda log_p, lengths, kl: kl - log_p.sum(axis=1)),
        ("neg_elbo", "a mean over tokens", lambda log_p, n, kl: document_cost(log_p, n, 0 * kl) / n + kl),
        ("neg_elbo", "a mean over the array", lambda log_p, n, kl: document_cost(log_p, n, 0 * kl) / log_p.shape[1] + kl),
        ("neg_elbo", "the end does not count", lambda log_p, n, kl: document_cost(log_p, n - 1, kl)),
        ("neg_elbo", "the KL at every token", lambda log_p, n, kl: document_cost(log_p, n, n * kl)),
        ("neg_elbo", "the batch's mean KL", lambda log_p, n, kl: document_cost(log_p, n, kl.mean() + 0 * kl)),
        ("perplexity", "the mean of the documents'", lambda nats, n: np.exp(nats / n).mean()),
        ("perplexity", "a document's nats", lambda nats, n: np.exp(nats.mean())),
        ("perplexity", "padding counts", lambda nats, n: np.exp(nats.sum() / (n.max() * len(n)))),
        ("cell_backward", "no d_c", lambda a, c, d_h, d_c: cell_backward(a, c, d_h, 0 * d_c)),
        ("cell_backward", "no d_h", lambda a, c, d_h, d_c: cell_backward(a, c, 0 * d_h, d_c)),
        ("cell_backward", "no slopes", lambda a, *d: (cell_backward(a, *d)[0] / slope_of_gates(a), cell_backward(a, *d)[1])),
        ("cell_backward", "f left out of d_c", lambda a, c, *d: (cell_backward(a, c, *d)[0], cell_backward(a + 99, c, *d)[1])),
    ],
    13: [
        ("level_error", "no precision", lambda z, p: z - halves(p)[0]),
        ("level_error", "the sign", lambda z, p: -level_error(z, p)),
        ("level_error", "the standard deviation", lambda z, p: (z - halves(p)[0]) * np.exp(-halves(p)[1] / 2)),
        ("prior_variance_gradient", "no constant", lambda z, p: prior_variance_gradient(z, p) + 0.5),
        ("prior_variance_gradient", "of s2", lambda z, p: prior_variance_gradient(z, p) * np.exp(-halves(p)[1])),
        ("upper_gradient", "bottom-up alone", lambda lam, n, e, W, p: sample_backward(scaled_noise(lam, n), e @ W.T) / len(n)),
        ("upper_gradient", "the loss's", lambda *a: -upper_gradient(*a)),
        ("upper_gradient", "as [LI] prints the entropy", lambda *a: upper_gradient(*a) - times(a[0] * 0 + 1, 0, 1)),
    ],
    14: [
        ("log_prob", "no normalizer", lambda a, x: (x * a).sum(axis=1)),
        ("log_prob", "overflows", lambda a, x: (x * (a - np.log(np.exp(a).sum(axis=1, keepdims=True)))).sum(axis=1)),
        ("log_prob", "one word", lambda a, x: counts_log_prob(a, x) / x.sum(axis=1)),
        ("error", "softmax without n", lambda a, x: x - Multinomial().mean(a)),
        ("error", "the sign", lambda a, x: -multinomial_error(a, x)),
        ("perplexity", "a mean of documents", lambda nats, x: np.exp((nats / x.sum(axis=1)).mean())),
        ("perplexity", "no exp", lambda nats, x: np.float64(nats.sum() / x.sum())),
    ],
    15: [
        ("mask", "the middle tap always", lambda k, center: mask(k, 1)),
        ("mask", "whole lines", lambda k, center: np.repeat(np.arange(k) <= k // 2, k).reshape(k, k) * 1.0),
        ("forward", "not masked", lambda x, W, center: convolved(x, W, center) + x * W[1, 1] * (1 - center)),
        ("forward", "the kernel turned", lambda x, W, center: convolved(x, W[::-1, ::-1], center)),
        ("forward", "the image turned", lambda x, W, center: convolved(x[::-1, ::-1], W, center)[::-1, ::-1]),
        ("backward_x", "forward again", lambda W, d_a, center: convolved(d_a, W, center)),
        ("backward_x", "transposed", lambda W, d_a, center: backward_x(W.T, d_a, center)),
        ("backward_W", "turned", lambda *a: backward_W(*a)[::-1, ::-1]),
        ("backward_W", "not masked", lambda x, d, k, c: backward_W(x, d, k, 1)),
        ("backward_W", "a mean", lambda x, d_a, *a: backward_W(x, d_a, *a) / (2 * x.size)),
    ],
}  # fmt: skip
EVERY_WRONG = pytest.mark.parametrize(
    "n, name, wrong",
    [pytest.param(n, name, f, id=f"{n:02}-{name}-{what}") for n in WRONG for name, what, f in WRONG[n]],
)


@EVERY_WRONG
def test_a_wrong_solution_fails_with_a_number_or_a_shape_and_no_other_function_is_blamed(n, name, wrong):
    found = failures(n, **{name: wrong})
    assert found
    for says, why in found:
        assert says.startswith(name + ":")
        assert re.search(r"off by|shape|is complex|was called|should|asked for", why), why


def test_the_clipping_loop_with_nothing_wrong_is_right():
    assert failures(3, svi=clipping_loop(None)) == []


def test_the_input_that_is_shown_is_the_one_that_the_function_received():
    received = []

    def wrong(q, *mixture):
        received.append(q)
        return elbo(q, *mixture) + 1

    (verdict,) = judge(
        Here(RIGHT[1] | {"elbo": wrong}), [p for p in PROPERTIES[1] if p.says.startswith("elbo: log p(x)")]
    )
    assert verdict.status == "FAIL" and np.array_equal(verdict.inputs["q"], received[-1])


def test_every_function_has_hints_that_are_not_its_solution():
    for n, path in EXERCISES.items():
        hints = lessons.hints(path)
        assert set(hints) == set(RIGHT[n]), n
        for texts in hints.values():
            assert 2 <= len(texts) <= 4 and all(20 < len(text) < 300 and "return" not in text for text in texts)


def test_every_exercise_has_four_wrong_solutions():
    assert set(WRONG) == set(RIGHT) and all(len(wrong) >= 4 for wrong in WRONG.values())


# --- the judge --------------------------------------------------------------------------------------------------------


@holds("f: twice x", x="B 2D")
def twice(student, x):
    assert np.all(student.f(x) == 2 * x), "it is not"


@holds("f: asks for the function g that it is given", x="2")
def through_g(student, x):
    assert student.f(x, lambda y: 3 * y).shape == (2,)


def one_verdict(f, p=twice):
    (verdict,) = judge(Here({"f": f}, __file__), [p])
    return verdict


def test_a_failing_input_is_shrunk_and_the_same_each_time():
    verdict = one_verdict(lambda x: np.abs(2 * x))
    assert verdict.status == "FAIL" and verdict.why.startswith("it is not")
    assert verdict.inputs["x"].tolist() == [[0.0, -0.25]]  # the smallest array of an odd entry below zero
    assert str(verdict) == str(one_verdict(lambda x: np.abs(2 * x)))


def test_what_a_function_raises_is_told_with_its_line():
    def f(x):
        return np.ones(4) @ x  # 4

    verdict = one_verdict(f)
    assert verdict.status == "FAIL" and "f raised ValueError: matmul" in verdict.why
    assert re.fullmatch(r"\d+: return np.ones\(4\) @ x  # 4", verdict.line)


def test_arguments_are_read_only():
    def f(x):
        x *= 2
        return x

    verdict = one_verdict(f)
    assert "read-only" in verdict.why and verdict.line.endswith("x *= 2")


def exits(x):
    raise SystemExit(0)


def skips(x):
    pytest.skip("not today")


@pytest.mark.parametrize("f, why", [(exits, "SystemExit: 0"), (skips, "Skipped: not today"), (None, "is not among")])
def test_to_exit_to_skip_or_not_to_be_there_is_to_fail(f, why):
    verdict = one_verdict(f)
    assert verdict.status == "FAIL" and why in verdict.why


@pytest.mark.parametrize("value", [None, "PASS", object(), [[1.0], [2.0, 3.0]]])
def test_a_result_that_is_no_array_fails(value):
    verdict = one_verdict(lambda x: value)
    assert verdict.status == "FAIL" and "f" in verdict.why


def test_not_implemented_is_to_do():
    def f(x):
        raise NotImplementedError

    assert one_verdict(f).status == "TODO"


def test_a_result_that_changes_from_call_to_call_fails():
    calls = []

    def f(x):
        calls.append(x)
        return x * (3 if len(calls) == 5 else 2)

    assert one_verdict(f).status == "FAIL"


def test_a_function_may_ask_for_functions_and_hears_what_they_raise():
    assert one_verdict(lambda x, g: g(x), through_g).status == "PASS"
    verdict = one_verdict(lambda x, g: g(), through_g)
    assert "f raised ValueError: TypeError" in verdict.why and "missing 1 required" in verdict.why


def test_a_property_that_tries_no_input_has_failed():
    from hypothesis import strategies as st

    nothing = Property("f: nothing", st.nothing(), twice.check)
    assert one_verdict(lambda x: x, nothing).status == "FAIL"


# --- the command: a file in a process of its own ----------------------------------------------------------------------

SOLUTION = '''"""A solution of exercise 02."""
import numpy as np
from savi.models.gaussian import AnalyticKL, sample, sample_backward, scaled_noise


def kl(lam, prior):
    return AnalyticKL.value(lam, prior)


def kl_gradient(lam, prior):
    return AnalyticKL.gradient(lam, prior)


def reparameterized_gradient(lam, noise, d_z):
    return sample_backward(scaled_noise(lam, noise), d_z) / len(noise)
'''


def run(capsys, tmp_path, source, number="02", seconds="10"):
    """(exit code, lines printed) of `check` on a file of that source."""
    path = tmp_path / "mine.py"
    path.write_text(source)
    code = main(["check", number, "--file", str(path), "--seconds", seconds])
    return code, capsys.readouterr().out.splitlines()


def counts(lines):
    return [sum(line.startswith(status) for line in lines) for status in ("PASS", "FAIL", "TODO")]


def test_a_solution_passes(capsys, tmp_path):
    code, lines = run(capsys, tmp_path, SOLUTION)
    assert code == 0 and counts(lines) == [7, 0, 0]
    assert lines[-1] == "7 of 7 properties hold, 0 FAIL, 0 TODO"


@EVERY
def test_a_stub_is_all_to_do(n, capsys):
    assert main(["check", f"{n:02}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    if n == PLANTED:
        assert {line[6:].split(":")[0] for line in lines if line.startswith("FAIL")} == set(RIGHT[n])
    else:
        assert counts(lines) == [0, 0, len(PROPERTIES[n])]


def test_a_wrong_sign_is_told_with_the_sentence_the_numbers_and_the_smallest_input(capsys, tmp_path):
    code, lines = run(
        capsys, tmp_path, SOLUTION.replace("AnalyticKL.gradient(lam, prior)", "-AnalyticKL.gradient(lam, prior)")
    )
    assert code == 1 and counts(lines) == [6, 1, 0]
    at = lines.index("FAIL  kl_gradient: the derivative of the KL with respect to mu and log_var")
    assert re.search(r"the gradient is off by .*; worst entry \[0, \d\]: .*, expected", lines[at + 1])
    assert lines[at + 2] == "      smallest failing input:"
    assert lines[at + 3].startswith("          lam = [[0.") and lines[at + 4].startswith("          prior = [[")


def test_the_line_that_raised_is_told(capsys, tmp_path):
    code, lines = run(
        capsys, tmp_path, SOLUTION.replace("return AnalyticKL.value(lam, prior)", "return np.ones(7) @ lam")
    )
    assert code == 1 and counts(lines) == [5, 2, 0]
    assert "      your line 7: return np.ones(7) @ lam" in lines


CHEATS = {
    "exits at import": SOLUTION + "\nimport sys; sys.exit(0)\n",
    "ends its process at import": SOLUTION + "\nimport os; os._exit(0)\n",
    "ends its process in a function": SOLUTION + "\n\ndef kl(lam, prior):\n    import os; os._exit(0)\n",
    "exits in a function": SOLUTION + "\n\ndef kl(lam, prior):\n    raise SystemExit\n",
    "deletes a function": SOLUTION + "\ndel kl\n",
    "skips": SOLUTION + "\nimport pytest\npytest.skip('no', allow_module_level=True)\n",
    "does not parse": SOLUTION + "\ndef f(:\n",
    "replaces the judge's tools": SOLUTION
    + """
import hypothesis, savi.testing, savi.course.properties, savi.course.check, numpy
hypothesis.given = lambda *a, **k: lambda f: lambda: None
savi.testing.assert_close = savi.testing.check_gradient = savi.course.check.report = lambda *a, **k: None
savi.course.properties.judge = savi.course.properties.verdict = lambda *a, **k: [savi.course.properties.Verdict("PASS")] * 7
numpy.linalg.norm = lambda *a, **k: 0.0


def kl(lam, prior):
    return 0
""",
    "prints verdicts": """
import os, sys
text = "PASS  kl: fine\\n7 of 7 properties hold\\n" * 3
print(text)
for fd in range(1, 20):
    try:
        os.write(fd, text.encode())
    except OSError:
        pass
sys.exit(0)
""",
    "answers before it is asked": SOLUTION
    + """
def kl(lam, prior):
    import gc, io, json
    for writer in gc.get_objects():
        if isinstance(writer, io.BufferedWriter):
            for number in range(1000):
                writer.write(json.dumps({"id": number, "value": True}).encode() + b"\\n")
            writer.flush()
    return 0
""",
}


@pytest.mark.parametrize("how", CHEATS)
def test_a_file_that_does_not_answer_does_not_pass(how, capsys, tmp_path):
    code, lines = run(capsys, tmp_path, CHEATS[how])
    assert code == 1
    assert counts(lines)[1] >= 2 and sum(counts(lines)) == 7, "every property has its verdict"


@pytest.mark.parametrize("where", ["at import", "in a function"])
def test_a_loop_that_does_not_end_is_ended(where, capsys, tmp_path):
    source = (
        "def kl(lam, prior):\n    while True:\n        print('PASS')\n"
        if where == "in a function"
        else "while True: pass\n"
    )
    code, lines = run(capsys, tmp_path, source, seconds="0.5")
    assert code == 1 and counts(lines)[0] == 0
    assert sum("is there a loop that does not end?" in line for line in lines) == (2 if where == "in a function" else 7)


def test_a_file_that_leaves_a_child_behind_does_not_hold_the_judge_up(capsys, tmp_path):
    source = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nos._exit(0)\n"
    assert run(capsys, tmp_path, source, seconds="0.5")[0] == 1


def test_what_the_file_prints_is_shown_apart(capsys, tmp_path):
    source = "print('PASS  kl: all is well')\n" + EXERCISES[2].read_text()
    code, lines = run(capsys, tmp_path, source)
    assert code == 1 and counts(lines)[0] == 0
    assert "  | PASS  kl: all is well" in lines


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["check", "16"], "there is no exercise 16"),
        (["check", "kl"], "there is no exercise kl"),
        (["check", "02", "--file", "nowhere.py"], "there is no file nowhere.py"),
        (["check", "02", "--seconds", "0"], "seconds is 0.0; expected between"),
        (["lesson", "77"], "there is no lesson 77"),
        (["lesson", "--notebook"], "--notebook needs to know which lesson"),
    ],
)
def test_bad_usage_is_one_sentence(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"savi: {sentence}") and error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["lesson"], ["check", "02"], ["lesson", "02", "--notebook"]])
def test_without_the_folder_one_sentence_says_so(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "FOLDER", tmp_path / "lessons")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "there is no folder" in error and "checkout" in error and error.count("\n") == 1


def test_properties_that_are_not_there_are_an_error_and_no_pass(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "FOLDER", tmp_path)
    (tmp_path / "exercises" / "properties").mkdir(parents=True)
    (tmp_path / "exercises" / "09_own.py").write_text('"""One\'s own."""\n')
    assert main(["check", "09"]) == 2
    (tmp_path / "exercises" / "properties" / "09_own.py").write_text("")
    assert main(["check", "09"]) == 2
    assert "has no properties" in capsys.readouterr().err


# --- lessons ----------------------------------------------------------------------------------------------------------

LESSON = r"""# %% [markdown]
# # 3. SVI, step by step
#
# The bound: $\log p(x) \ge$ ELBO.
#
#     indented

# %%
import savi

x = 1  # %% is no marker here

# %% a title
if x:

    print(savi.__version__)
# %% [markdown] tags=["end"]
# ## Try next
# %%
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A lessons folder with one lesson and one exercise; the working folder is the one that holds it."""
    lesson = tmp_path / "lessons" / "03_svi.py"
    (lesson.parent / "exercises").mkdir(parents=True)
    lesson.write_text(LESSON)
    (lesson.parent / "exercises" / "03_svi.py").write_text('"""Steps with momentum.\n\nMore.\n"""\n')
    monkeypatch.setattr(lessons, "FOLDER", lesson.parent)
    monkeypatch.chdir(tmp_path)
    return lesson.parent


def test_the_list_has_a_line_for_each(folder, capsys):
    assert main(["lesson"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "03  lesson    SVI, step by step",
        "03  exercise  Steps with momentum.",
    ]


@pytest.mark.parametrize("number", ["03", "3", "03_svi"])
def test_a_lesson_is_described_by_its_commands(folder, capsys, number):
    assert main(["lesson", number]) == 0
    out = capsys.readouterr().out
    for part in ("SVI, step by step", "python lessons/03_svi.py", "check 03", "lesson 03 --notebook"):
        assert part in out


def check_notebook(book):
    """What nbformat 4.5 demands of a notebook of text and code."""
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert set(book) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name) for name in ids)
    for cell in book["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        assert set(cell) == keys | ({"execution_count", "outputs"} if cell["cell_type"] == "code" else set())
        assert cell["cell_type"] in ("markdown", "code") and all(isinstance(line, str) for line in cell["source"])
        assert all(line.endswith("\n") for line in cell["source"][:-1])


def test_a_notebook_has_the_lessons_cells(folder, capsys):
    assert main(["lesson", "03", "--notebook"]) == 0
    path = folder / "03_svi.ipynb"
    assert capsys.readouterr().out == f"written to {path}\n"
    book = json.loads(path.read_text())
    check_notebook(book)
    title = "# 3. SVI, step by step\n\nThe bound: $\\log p(x) \\ge$ ELBO.\n\n    indented\n"
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in book["cells"]] == [
        ("markdown", title + lessons.NEEDS_SAVI.rstrip()),
        ("code", lessons.FIND_SAVI.rstrip()),
        ("code", "import savi\n\nx = 1  # %% is no marker here"),
        ("code", "if x:\n\n    print(savi.__version__)"),
        ("markdown", "## Try next"),
    ]


def test_a_notebook_that_is_there_stays_unless_forced(folder, capsys):
    path = folder / "03_svi.ipynb"
    path.write_text("work")
    assert main(["lesson", "03", "--notebook"]) == 2
    assert path.read_text() == "work" and "--force" in capsys.readouterr().err
    assert main(["lesson", "03", "--notebook", "--out", "other.ipynb"]) == 0
    assert pathlib.Path("other.ipynb").exists() and path.read_text() == "work"
    assert main(["lesson", "03", "--notebook", "--force"]) == 0
    check_notebook(json.loads(path.read_text()))


LESSONS = lessons.find("lesson")


@pytest.mark.parametrize("n", LESSONS)
def test_every_lesson_has_a_title_and_makes_a_notebook_whose_code_compiles(n):
    book = lessons.notebook(LESSONS[n])
    check_notebook(book)
    assert lessons.title(LESSONS[n]) != LESSONS[n].stem
    assert "pip install" in "".join(book["cells"][0]["source"])
    assert str(lessons.FOLDER.parent) not in json.dumps(book) and "__file__" not in json.dumps(book)
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), LESSONS[n].name, "exec")


@EVERY
def test_every_exercise_has_a_title_of_one_line(n):
    assert 20 < len(lessons.title(EXERCISES[n])) < 120
