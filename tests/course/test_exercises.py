"""The exercises are tested: what is right passes, what is nearly right fails and says why, and nothing else passes."""

import inspect
import json
import pathlib
import re
from types import SimpleNamespace

import numpy as np
import pytest

from savi import hvp
from savi.__main__ import main
from savi.course import check, lessons
from savi.course.properties import Here, Property, holds, judge
from savi.experiments.evaluation import perplexity
from savi.inference import svi
from savi.inference.iterative import Gated
from savi.inference.iterative import Gradient as GradientEncoding
from savi.inference.optimizers import Momentum
from savi.inference.semi_amortized import algorithm_1
from savi.models import base
from savi.models.decoders import MLPDecoder
from savi.models.discrete import Multinomial
from savi.models.gaussian import AnalyticKL, SampledKL, join, log_density, sample, sample_backward, scaled_noise
from savi.models.latent_gaussian import LatentGaussianModel
from savi.models.levels import LevelTerm
from savi.models.likelihoods import Gaussian
from savi.nets import lstm_cell
from savi.nets.activations import sigmoid
from savi.nets.convolution import Convolution, Grid, causal
from savi.nets.mlp import MLP

EXERCISES = lessons.find("exercise")
PROPERTIES = {n: check.properties(path) for n, path in EXERCISES.items()}

# --- the reference solutions: savi's own functions, in the words of the exercises -------------------------------------


def log_joint(x, logits, mu, log_var):
    lam = join(mu[:, None], log_var[:, None])
    return logits - np.logaddexp.reduce(logits) + log_density(x[:, None, None], lam)


def log_likelihood(*mixture):
    return np.logaddexp.reduce(log_joint(*mixture), axis=1)


def responsibilities(*mixture):
    return np.exp(log_joint(*mixture) - log_likelihood(*mixture)[:, None])


def elbo(q, *mixture):
    return (q * (log_joint(*mixture) - np.log(np.where(q > 0, q, 1)))).sum(axis=1)


def kl(lam, prior):
    return AnalyticKL.value(lam, prior)


def kl_gradient(lam, prior):
    return AnalyticKL.gradient(lam, prior)


def reparameterized_gradient(lam, noise, d_z):
    return sample_backward(scaled_noise(lam, noise), d_z) / len(noise)


def svi_step(lam, v, d_lam, step_size, momentum, clip):
    (v,), step = Momentum(step_size, momentum).update((v,), svi.clipped(d_lam, clip))
    return lam + step, v


class Objective(base.Objective):
    """What `svi.ascend` and `hvp` need of an objective, from a gradient of lam alone."""

    supports = frozenset({"complex"})

    def __init__(self, gradient):
        self.of = gradient

    def gradient(self, lam, noise=None):
        return SimpleNamespace(lam=lam, noise=noise, d_lam=self.of(lam), terms=[])

    def imaginary(self, evaluation, moved, r):
        return base.Product(moved.d_lam.imag / r, [])


def svi_loop(gradient, lam, steps, step_size, momentum, clip):
    return svi.ascend(Objective(gradient), lam, range(steps), step_size, momentum, clip)


ANTITHETIC = np.array([1.0, -1.0])[:, None, None]  # two noise samples with the moments of N(0, 1)


def linear_model(w, log_s2, prior=None):
    """z one number, x ~ N(w z, s2): the model and its theta."""
    model = LatentGaussianModel(MLPDecoder(MLP([1, len(w)]), Gaussian("global")), prior)
    return model, np.concatenate([w, np.zeros(len(w)), [log_s2]])


def negative_elbo(lam, x, w, log_s2):
    model, theta = linear_model(w, log_s2)
    return model.loss(lam, theta, x, np.tile(ANTITHETIC, (1, len(x), 1)))


def best_lam(x, w, log_s2):
    precision = 1 + w @ w / np.exp(log_s2)
    return join((x @ w / np.exp(log_s2) / precision)[:, None], np.full((len(x), 1), -np.log(precision)))


def amortization_gap(lam, x, w, log_s2):
    return negative_elbo(lam, x, w, log_s2) - negative_elbo(best_lam(x, w, log_s2), x, w, log_s2)


def encoder_gradient(x, W1, b1, W2, b2, d_lam):
    net, phi = MLP([*W1.shape, 2], "tanh"), np.concatenate([p.ravel() for p in (W1, b1, W2, b2)])
    d_phi = net.gradient(phi, net.evaluate(phi, x), d_lam)
    cuts = np.cumsum([W1.size, b1.size, W2.size])
    return tuple(d.reshape(p.shape) for d, p in zip(np.split(d_phi, cuts), (W1, b1, W2, b2)))


def forward(gradient, lam_0, steps, step_size, momentum):
    return np.array([lam_0, *svi.ascent(Objective(gradient), lam_0, range(steps), step_size, momentum)])


class Recorded(base.Objective):
    """An objective that knows its gradients along one path, for algorithm_1: those that led from each lam to the next."""

    def __init__(self, lams, d_lam, d_theta, step_size, momentum):
        v = np.diff(lams, axis=0) / step_size
        before = np.concatenate([np.zeros_like(lams[:1]), v])[: len(v)]
        self.d_lams, self.d_lam, self.d_theta = iter(momentum * before - v), d_lam, d_theta

    def gradient(self, lam, noise):
        return SimpleNamespace(lam=lam, d_lam=next(self.d_lams))

    def evaluate(self, lam, noise):
        return SimpleNamespace(loss=None, d_lam=self.d_lam, theta=self.d_theta)

    def theta_sum(self):
        return Sum(0.0)


class Sum:
    def __init__(self, total):
        self.total = total

    def add(self, term, weight=1.0):
        self.total = self.total + weight * term.theta
        return self

    def value(self):
        return self.total


def backward(lams, d_lam, d_theta, lam_product, theta_product, step_size, momentum):
    def product(f, step, v):
        return SimpleNamespace(lam=lam_product(step.lam, v), theta=theta_product(step.lam, v))

    f = Recorded(lams, d_lam, d_theta, step_size, momentum)
    _, theta_bar, lam_bar = algorithm_1(f, lams[0], range(len(lams)), step_size, momentum, None, product)
    return lam_bar, theta_bar


def forward_product(gradient, lam, v, r):
    f = Objective(gradient)
    return hvp.forward_difference(f, f.gradient(lam), v, r).lam


def central_product(gradient, lam, v, r):
    return hvp.central_difference(Objective(gradient), SimpleNamespace(lam=lam, noise=None), v, r).lam


def complex_product(gradient, lam, v, h):
    return hvp.complex_step(Objective(gradient), Objective(np.zeros_like).gradient(lam), v, h).lam


def scaled_step(lam, v, r):
    return hvp.scaled_step(r)(lam, v)


def encode(g, alpha, eps):
    return GradientEncoding(alpha, eps).contents(None, SimpleNamespace(d_lam=-g))


def gated_update(lam, output):
    return Gated().apply(lam, output)


def gated_backward(lam, output, d_lam):
    return Gated().backward(lam, output, d_lam)


def document_cost(log_p, lengths, kl):
    return np.where(np.arange(log_p.shape[1]) < lengths[:, None], -log_p, 0).sum(axis=1) + kl


def token_perplexity(nats, lengths):
    return np.float64(perplexity(nats, lengths))


def cell_backward(a, c_before, d_h, d_c):
    H = c_before.shape[1]
    gates = np.concatenate([sigmoid(a[:, : 3 * H].copy()), np.tanh(a[:, 3 * H :])], axis=1)
    i, f, _, g = np.split(gates, 4, axis=1)
    tanh_c = np.tanh(f * c_before + i * g)
    record = SimpleNamespace(gates=gates[None], c=np.array([c_before, c_before]), tanh_c=tanh_c[None])
    p, q = lstm_cell.slopes(record)
    d = d_c + q[0] * d_h
    return lstm_cell.times(p[0], d_h, d, np.empty_like(a)), f * d


def family(phi, y):
    """lam (N, 2) of q(x | y), x one number."""
    return join((phi[0] * y + phi[1])[:, None], np.full((len(y), 1), 2 * phi[2]))


def inclusive_loss(phi, x, y):
    return -log_density(x[:, None], family(phi, y))


def inclusive_gradient(phi, x, y):
    e = (x - phi[0] * y - phi[1]) * np.exp(-2 * phi[2])
    return np.array([-(e * y).mean(), -e.mean(), (1 - e**2 * np.exp(2 * phi[2])).mean()])


def exclusive(phi, y, model):
    m, theta = linear_model(np.ones(1), 2 * model[2], prior=np.array([model[0], 2 * model[1]]))
    return m.evaluate(family(phi, y), theta, y[:, None], np.tile(ANTITHETIC, (1, len(y), 1)))


def exclusive_loss(phi, y, model):
    return exclusive(phi, y, model).loss


def exclusive_gradient(phi, y, model):
    d_mu, d_log_var = exclusive(phi, y, model).d_lam.T
    return np.array([(d_mu * y).mean(), d_mu.mean(), 2 * d_log_var.mean()])


def convolution(kernel, center, height, width):
    """savi's causal convolution of one channel, its grid, and the places of its taps in the kernel."""
    grid, p = Grid(height, width, kernel // 2), kernel // 2
    net = Convolution(grid, causal(kernel, "AB"[center]), 1, 1)
    places = [(p + dy, p + dx + i) for dy, dx, m in net.taps for i in range(m)]
    return net, grid, tuple(np.array(places, int).reshape(-1, 2).T)


def mask(kernel, center):
    found = np.zeros((kernel, kernel))
    found[convolution(kernel, center, 1, 1)[2]] = 1
    return found


def masked_layer(W, places):
    """[W; b] (taps + 1, 1) of the kernel W, b zero."""
    return np.append(W[places], 0.0)[:, None]


def put(grid, image):
    return grid.put(np.asarray(image)[None, :, :, None])


def convolved(x, W, center):
    net, grid, places = convolution(len(W), center, *x.shape)
    return grid.pixels(net.forward(masked_layer(W, places), put(grid, x), grid.empty(1, 1, float)))[0, :, :, 0]


def backward_x(W, d_a, center):
    net, grid, places = convolution(len(W), center, *d_a.shape)
    turned = net.turned(masked_layer(W, places))
    return grid.pixels(net.backward(turned, put(grid, d_a), grid.empty(1, 1, float)))[0, :, :, 0]


def backward_W(x, d_a, kernel, center):
    net, grid, places = convolution(kernel, center, *x.shape)
    d_W = np.zeros((kernel, kernel))
    d_W[places] = net.gradient(put(grid, x), put(grid, d_a), np.zeros(net.shape))[:-1, 0]
    return d_W


def level_error(z, prior):
    return LevelTerm(SampledKL, prior[0], z, prior).e


def prior_variance_gradient(z, prior):
    return -LevelTerm(SampledKL, prior[0], z, prior).d_log_var_p


def upper_gradient(lam, noise, e, W, prior):
    d_z = e @ W.T
    return sample_backward(scaled_noise(lam, noise), d_z) / len(noise) - SampledKL.gradient(lam, prior, noise)


def multinomial_error(a, x):
    return Multinomial().error(a.copy(), x)[0]


def counts_perplexity(nats, x):
    return np.float64(perplexity(nats, x.sum(axis=1)))


def named(*functions, **others):
    return {f.__name__: f for f in functions} | others


RIGHT = {
    1: named(log_joint, log_likelihood, responsibilities, elbo),
    2: named(sample, kl, kl_gradient, reparameterized_gradient),
    3: named(svi.clipped, svi_step, svi=svi_loop),
    4: named(negative_elbo, best_lam, amortization_gap, encoder_gradient),
    5: named(forward, backward, svi.clipped_vjp),
    6: named(forward_product, central_product, complex_product, scaled_step),
    8: named(encode, gated_update, gated_backward),
    9: named(cell_backward, neg_elbo=document_cost, perplexity=token_perplexity),
    11: named(inclusive_loss, inclusive_gradient, exclusive_loss, exclusive_gradient),
    15: named(mask, backward_x, backward_W, forward=convolved),
    13: named(level_error, prior_variance_gradient, upper_gradient),
    14: {"log_prob": Multinomial().log_prob, "error": multinomial_error, "perplexity": counts_perplexity},
}
EVERY = pytest.mark.parametrize("n", RIGHT)
EVERY_FUNCTION = pytest.mark.parametrize("n, name", [(n, name) for n in RIGHT for name in RIGHT[n]])


def failures(n, properties=None, **changed):
    """[(what should hold, why it does not)] of the reference solution with some functions changed."""
    properties = properties or PROPERTIES[n]
    verdicts = judge(Here(RIGHT[n] | changed, __file__), properties, examples=12, shrink=False)
    return [(p.says, v.why) for p, v in zip(properties, verdicts, strict=True) if v.status != "PASS"]


# --- right, unwritten and wrong ---------------------------------------------------------------------------------------


def test_the_lessons_that_have_an_exercise():
    assert sorted(EXERCISES) == [1, 2, 3, 4, 5, 6, 8, 9, 11, 13, 14, 15] == sorted(RIGHT)


@EVERY
def test_the_reference_solution_has_every_property(n):
    assert failures(n) == []


@EVERY
def test_the_stub_has_the_functions_and_each_says_what_it_returns(n):
    names = {}
    exec(EXERCISES[n].read_text(), names)
    stubs = {name: f for name, f in names.items() if inspect.isfunction(f)}
    assert set(stubs) == set(RIGHT[n]) and 2 <= len(stubs) <= 4
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


def slope_of_gates(a):
    H = a.shape[1] // 4
    return np.concatenate(
        [sigmoid(a[:, : 3 * H].copy()) * sigmoid(-a[:, : 3 * H]), 1 - np.tanh(a[:, 3 * H :]) ** 2], axis=1
    )


def halves(lam):
    return np.split(lam, 2, axis=-1)


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


LOOPS = ("sign", "no alpha", "no momentum", "momentum first", "the next lam", "the last step alone")
WRONG = {  # n: [(function, what is wrong, the function as it should not be)]
    1: [
        ("log_joint", "no weights", lambda x, a, m, s: log_density(x[:, None, None], join(m[:, None], s[:, None]))),
        ("log_joint", "log_var as log sigma", lambda x, a, m, s: log_joint(x, a, m, 2 * s)),
        ("log_joint", "transposed", lambda *a: log_joint(*a).T),
        ("log_joint", "no 2 pi", lambda *a: log_joint(*a) + 0.5 * np.log(2 * np.pi)),
        ("log_likelihood", "a mean for a sum", lambda *a: log_likelihood(*a) - np.log(len(a[1]))),
        ("log_likelihood", "underflow", lambda *a: np.log(np.exp(log_joint(*a)).sum(axis=1) + 1e-300)),
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
        ("clipped_vjp", "u clipped", lambda g, clip, u: svi.clipped(u, clip)),
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
        ("encode", "the halves exchanged", lambda *a: join(*halves(encode(*a))[::-1])),
        ("gated_update", "the gate the other way", lambda lam, o: gated_update(lam, o * np.repeat([1, -1], lam.shape[1]))),
        ("gated_update", "no gate", lambda lam, o: lam + halves(o)[0]),
        ("gated_update", "no sigmoid", lambda lam, o: halves(o)[1] * lam + (1 - halves(o)[1]) * halves(o)[0]),
        ("gated_backward", "a sign", lambda lam, o, d: gated_backward(lam, o, d) * np.repeat([1, -1], lam.shape[1])),
        ("gated_backward", "no lam - c", lambda lam, o, d: gated_backward(lam, o, d)[:, [*range(lam.shape[1])] * 2]),
        ("gated_backward", "the gate for 1 - gate", lambda lam, o, d: d[:, [*range(lam.shape[1])] * 2] - gated_backward(lam, o, d)),
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
        ("log_prob", "one word", lambda a, x: Multinomial().log_prob(a, x) / x.sum(axis=1)),
        ("error", "softmax without n", lambda a, x: x - Multinomial().mean(a)),
        ("error", "the sign", lambda a, x: -multinomial_error(a, x)),
        ("perplexity", "a mean of documents", lambda nats, x: np.exp((nats / x.sum(axis=1)).mean())),
        ("perplexity", "no exp", lambda nats, x: np.float64(nats.sum() / x.sum())),
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
    assert counts(capsys.readouterr().out.splitlines()) == [0, 0, len(PROPERTIES[n])]


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
        (["check", "07"], "there is no exercise 07"),
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
    (tmp_path / "exercises" / "10_own.py").write_text('"""One\'s own."""\n')
    assert main(["check", "10"]) == 2
    (tmp_path / "exercises" / "properties" / "10_own.py").write_text("")
    assert main(["check", "10"]) == 2
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
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in book["cells"]] == [
        ("markdown", "# 3. SVI, step by step\n\nThe bound: $\\log p(x) \\ge$ ELBO.\n\n    indented"),
        ("code", f"# where the lesson lies, from where it finds savi\n__file__ = {str(folder / '03_svi.py')!r}"),
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
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), LESSONS[n].name, "exec")


@EVERY
def test_every_exercise_has_a_title_of_one_line(n):
    assert 20 < len(lessons.title(EXERCISES[n])) < 120
