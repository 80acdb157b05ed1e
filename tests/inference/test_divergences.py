"""Both losses on the four models against exact posteriors, by closed form, quadrature and enumeration written out here;
the three derivatives of the exclusive loss against each other; and mutations that these checks must catch."""

import inspect
import sys
from types import ModuleType

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import savi
from savi import MLP, InputError, divergences, programs
from savi.inference.divergences import exclusive, inclusive, leave_one_out, minimize, score_function
from savi.inference.optimizers import Adam, Momentum
from savi.inference.programs import Networks, log_density, sample
from savi.models.gaussian import AnalyticKL
from savi.testing import assert_close, check_gradient

NODES = np.linspace(-8, 8, 161)
WEIGHTS = (
    0.1 * np.exp(-0.5 * NODES**2) / np.sqrt(2 * np.pi)
)  # a weighted sum over NODES is a standard normal's expectation
Y = np.array([-2.5, 0.4, 3.0])
GRID = np.linspace(-14, 14, 1401)
STEP = GRID[1] - GRID[0]


def log_normal(x, mu, log_var):
    return -0.5 * (anp.log(2 * anp.pi) + log_var + (x - mu) ** 2 / anp.exp(log_var))


def at_nodes(loss):
    """(S, N) at the nodes -> its expectation, (N,)."""
    return anp.sum(WEIGHTS[:, None] * loss, axis=0)


def gradient_of(f, phi):
    return autograd.grad(lambda phi: anp.sum(f(phi)))(phi)


def rng():
    return np.random.default_rng(0)


# --- model 1: a normal and its noise ------------------------------------------------------------------------------------

MU0, LOG_S0, LOG_S = 1.0, np.log(2.0**2), np.log(1.0**2)
TRUE = np.array([0.8, 0.2, 0.5 * np.log(0.8)])  # a, b, log c of p(x|y) = N(a y + b, c^2)


def model_1(t):
    x = t.normal("x", MU0, LOG_S0)
    t.normal("y", x, LOG_S)


def linear(t, phi):
    a, b, log_c = phi
    t.normal("x", a * t["y"] + b, 2 * log_c)


def test_model_1_the_exclusive_loss_is_the_closed_form():
    def closed(phi):
        mu, var = TRUE[0] * Y + TRUE[1], anp.exp(2 * TRUE[2])
        q_mu, q_var = phi[0] * Y + phi[1], anp.exp(2 * phi[2])
        kl = 0.5 * (anp.log(var / q_var) + (q_var + (q_mu - mu) ** 2) / var - 1)
        return kl - log_normal(Y, MU0, np.log(5.0))

    def loss(phi):
        return at_nodes(exclusive(model_1, linear, phi, {"y": Y}, None, len(NODES), {"x": NODES[:, None]}))

    phi = np.array([0.5, -0.3, 0.4])
    assert_close(loss(phi), closed(phi), 1e-11)
    assert_close(autograd.jacobian(loss)(phi), autograd.jacobian(closed)(phi), 1e-11)
    lam = np.stack([phi[0] * Y + phi[1], np.full(3, 2 * phi[2])], axis=1)
    prior = np.stack([TRUE[0] * Y + TRUE[1], np.full(3, 2 * TRUE[2])], axis=1)
    assert_close(loss(phi) + log_normal(Y, MU0, np.log(5.0)), AnalyticKL.value(lam, prior), 1e-11)


def test_model_1_the_models_own_parameters_learn_by_the_exclusive_loss():
    """At the exact posterior its gradient is that of -log p(y), y ~ N(mu_0, s_0^2 + s^2) (Fisher's identity)."""

    def model(theta):
        return lambda t: t.normal("y", t.normal("x", theta[0], theta[1]), LOG_S)

    def loss(theta):
        return at_nodes(exclusive(model(theta), linear, TRUE, {"y": Y}, None, len(NODES), {"x": NODES[:, None]}))

    evidence = lambda theta: -log_normal(Y, theta[0], anp.log(anp.exp(theta[1]) + 1.0))  # noqa: E731
    theta = np.array([MU0, LOG_S0])
    assert_close(loss(theta), evidence(theta), 1e-12)
    assert_close(autograd.jacobian(loss)(theta), autograd.jacobian(evidence)(theta), 1e-11)


def test_model_1_the_inclusive_loss_is_the_closed_form():
    """E_{p(x,y)}[-log q] = log c + 1/2 log 2 pi + E[(x - a y - b)^2] / 2 c^2, a polynomial in the joint's normals."""
    e_x, e_y = np.meshgrid(NODES, NODES, indexing="ij")
    x = MU0 + 2 * e_x
    draws, weights = {"x": x, "y": x + e_y}, np.outer(WEIGHTS, WEIGHTS)

    def closed(phi):
        a, b, log_c = phi
        second = 4 * (1 - a) ** 2 + a**2 + (MU0 * (1 - a) - b) ** 2
        return log_c + 0.5 * anp.log(2 * anp.pi) + 0.5 * second / anp.exp(2 * log_c)

    def loss(phi):
        return anp.sum(weights * inclusive(linear, phi, draws))

    phi = np.array([0.5, -0.3, 0.4])
    assert_close(loss(phi), closed(phi), 1e-12)
    assert_close(autograd.grad(loss)(phi), autograd.grad(closed)(phi), 1e-12)
    assert np.linalg.norm(autograd.grad(loss)(TRUE)) < 1e-12


@pytest.mark.parametrize("divergence", ["inclusive", "exclusive"])
def test_model_1_both_losses_recover_a_b_c(divergence):
    def loss(phi, rng):
        draws = sample(model_1, (10000,), rng)
        if divergence == "inclusive":
            return inclusive(linear, phi, draws)
        return exclusive(model_1, linear, phi, {"y": draws["y"]}, rng)

    a, b, log_c = minimize(loss, np.zeros(3), 1200, rng(), Adam(0.02), average=0.5)[0]
    error = np.abs(np.array([a, b, np.exp(log_c)]) - [0.8, 0.2, np.sqrt(0.8)])
    assert error.max() < 1e-3, error


# --- model 2: a mixture and its noise, q a normal -----------------------------------------------------------------------

PI, MU, LOG_VAR, LOG_NOISE = np.array([0.4, 0.6]), np.array([-3.0, 3.0]), np.array([-0.5, 0.0]), np.log(3.0**2)


def model_2(t):
    x = t.mixture("x", np.log(PI), MU, LOG_VAR)
    t.normal("y", x, LOG_NOISE)


def table(t, phi):
    """A normal of its own for each y: what networks without limits could do."""
    mu, log_var = anp.reshape(phi, (2, -1))
    t.normal("x", mu, log_var)


def log_joint_2(x, y):
    prior = anp.logaddexp(*(anp.log(PI[k]) + log_normal(x, MU[k], LOG_VAR[k]) for k in (0, 1)))
    return prior + log_normal(y, x, LOG_NOISE)


PHI_2 = np.array([-0.5, 0.3, 1.0, 0.1, -0.4, -1.0])


def exclusive_2(phi):
    return at_nodes(exclusive(model_2, table, phi, {"y": Y}, None, len(NODES), {"x": NODES[:, None]}))


def quadrature_2(phi):
    """(N,) sum over a grid of q (log q - log p): nothing is reparameterized."""
    x, (mu, log_var) = GRID[:, None], anp.reshape(phi, (2, -1))
    log_q = log_normal(x, mu, log_var)
    return STEP * anp.sum(anp.exp(log_q) * (log_q - log_joint_2(x, Y)), axis=0)


def test_model_2_the_exclusive_loss_and_gradient_are_those_of_quadrature():
    assert_close(exclusive_2(PHI_2), quadrature_2(PHI_2), 1e-9)
    gradient, expected = gradient_of(exclusive_2, PHI_2), gradient_of(quadrature_2, PHI_2)
    assert_close(gradient, expected, 1e-9)
    with pytest.raises(AssertionError):
        assert_close(1.001 * gradient, expected, 1e-9)


def weighted_inclusive(model, family, phi, draws):
    """The exact inclusive loss of each y, posterior weights on the axis of draws."""
    log_p = log_density(model, draws)
    weights = np.exp(log_p - log_p.max(axis=0))
    return anp.sum(weights / weights.sum(axis=0) * inclusive(family, phi, draws), axis=0)


def test_model_2_the_inclusive_minimiser_has_the_posteriors_moments():
    draws = {"x": GRID[:, None], "y": Y}
    posterior = np.exp(log_joint_2(GRID[:, None], Y))
    posterior /= posterior.sum(axis=0)
    mean = (posterior * GRID[:, None]).sum(axis=0)
    var = (posterior * (GRID[:, None] - mean) ** 2).sum(axis=0)
    best = np.concatenate([mean, np.log(var)])
    loss = lambda phi, rng=None: weighted_inclusive(model_2, table, phi, draws)  # noqa: E731
    gradient = lambda phi: gradient_of(loss, phi)  # noqa: E731
    assert np.linalg.norm(gradient(best)) < 1e-12
    assert np.linalg.norm(gradient(1.001 * best)) > 1e-4
    check_gradient(loss, PHI_2, gradient, rtol=1e-7)
    assert_close(minimize(loss, PHI_2, 600, None, Adam(0.1))[0], best, 1e-5)


def test_model_2_the_exclusive_minimiser_is_the_best_of_all_normals_and_sits_on_one_mode():
    phi, _ = minimize(lambda phi, rng: exclusive_2(phi), PHI_2, 600, None, Adam(0.1))
    mu, log_var = phi.reshape(2, -1)
    grid_mu, grid_log_var = np.meshgrid(np.linspace(-4, 4, 81), np.linspace(-2, 2, 41))
    for n in range(3):
        log_q = log_normal(GRID[:, None], grid_mu.ravel(), grid_log_var.ravel())
        values = STEP * np.sum(np.exp(log_q) * (log_q - log_joint_2(GRID, Y[n])[:, None]), axis=0)
        found = quadrature_2(phi)[n]
        assert found < values.min() + 1e-6
        best = np.argmin(values)
        assert abs(mu[n] - grid_mu.ravel()[best]) < 0.1 and abs(log_var[n] - grid_log_var.ravel()[best]) < 0.1
    posterior = np.exp(log_joint_2(GRID[:, None], Y))
    posterior /= posterior.sum(axis=0)
    sd = np.sqrt((posterior * (GRID[:, None] - (posterior * GRID[:, None]).sum(axis=0)) ** 2).sum(axis=0))
    assert (np.exp(log_var / 2) < 0.9 * sd)[1]  # narrower than the posterior where that has two modes


# --- model 3: a discrete latent and a normal one; the posterior is in the family ---------------------------------------------

PI_3, MU_3, LOG_VAR_3, LOG_NOISE_3 = (
    np.array([0.3, 0.5, 0.2]),
    np.array([-3.0, 0.0, 2.5]),
    np.array([-1.0, 0.0, -0.5]),
    0.3,
)


def model_3(t):
    z = t.discrete("z", np.log(PI_3))
    x = t.normal("x", MU_3[z], LOG_VAR_3[z])
    t.normal("y", x, LOG_NOISE_3)


def table_3(t, phi):
    """phi (3, 3, N): logits, means, log-variances; by z and y."""
    logits, mu, log_var = anp.reshape(phi, (3, 3, -1))
    z = t.discrete("z", logits.T)
    pick = lambda a: sum(anp.where(z == k, 1.0, 0.0) * a[k] for k in range(3))  # noqa: E731
    t.normal("x", pick(mu), pick(log_var))


def exact_3():
    """phi of the exact posterior, and log p(y): conjugate."""
    var = 1 / (np.exp(-LOG_VAR_3) + np.exp(-LOG_NOISE_3))[:, None]
    mu = var * ((MU_3 * np.exp(-LOG_VAR_3))[:, None] + Y * np.exp(-LOG_NOISE_3))
    log_joint = np.log(PI_3)[:, None] + log_normal(
        Y, MU_3[:, None], np.log(np.exp(LOG_VAR_3) + np.exp(LOG_NOISE_3))[:, None]
    )
    return np.stack([log_joint, mu, np.log(var) + 0 * Y]).ravel(), np.log(np.exp(log_joint).sum(axis=0))


def exclusive_3(phi):
    return at_nodes(exclusive(model_3, table_3, phi, {"y": Y}, None, len(NODES), {"x": NODES[:, None]}))


def brute_3(phi):
    """(N,) sum over z and a grid of x."""
    logits, mu, log_var = anp.reshape(phi, (3, 3, -1))
    log_pi, total = logits - anp.log(anp.sum(anp.exp(logits), axis=0)), 0.0
    for k in range(3):
        log_q = log_pi[k] + log_normal(GRID[:, None], mu[k], log_var[k])
        log_p = (
            np.log(PI_3[k])
            + log_normal(GRID[:, None], MU_3[k], LOG_VAR_3[k])
            + log_normal(Y, GRID[:, None], LOG_NOISE_3)
        )
        total = total + STEP * anp.sum(anp.exp(log_q) * (log_q - log_p), axis=0)
    return total


PHI_3 = np.random.default_rng(3).uniform(-1, 1, 27)


def test_model_3_the_exclusive_loss_and_gradient_are_those_of_brute_force():
    assert_close(exclusive_3(PHI_3), brute_3(PHI_3), 1e-10)
    expected = autograd.jacobian(brute_3)(PHI_3)
    gradient = autograd.jacobian(exclusive_3)(PHI_3)
    assert_close(gradient, expected, 1e-9)
    with pytest.raises(AssertionError):
        assert_close(1.001 * gradient, expected, 1e-9)
    check_gradient(exclusive_3, PHI_3, gradient.sum(axis=0))


def test_model_3_the_inclusive_gradient_is_that_of_brute_force():
    z, x = np.arange(3.0)[:, None, None], GRID[None, ::4, None]
    draws = {"z": z + 0 * x + 0 * Y, "x": x + 0 * z + 0 * Y, "y": Y + 0 * x + 0 * z}
    flat = {name: value.reshape(-1, 3) for name, value in draws.items()}
    loss = lambda phi: weighted_inclusive(model_3, table_3, phi, flat)  # noqa: E731

    def brute(phi):
        logits, mu, log_var = anp.reshape(phi, (3, 3, -1))
        log_pi, total, mass = logits - anp.log(anp.sum(anp.exp(logits), axis=0)), 0.0, 0.0
        for k in range(3):
            p = PI_3[k] * np.exp(log_normal(x[0], MU_3[k], LOG_VAR_3[k]) + log_normal(Y, x[0], LOG_NOISE_3))
            mass = mass + p.sum(axis=0)
            total = total - anp.sum(p * (log_pi[k] + log_normal(x[0], mu[k], log_var[k])), axis=0)
        return total / mass

    assert_close(loss(PHI_3), brute(PHI_3), 1e-10)
    gradient, expected = autograd.jacobian(loss)(PHI_3), autograd.jacobian(brute)(PHI_3)
    assert_close(gradient, expected, 1e-10)
    best, _ = exact_3()
    assert np.linalg.norm(autograd.jacobian(loss)(best)) < 1e-10


def test_model_3_at_the_exact_posterior_every_sample_of_the_exclusive_loss_is_the_evidence():
    best, log_p_y = exact_3()
    samples = exclusive(model_3, table_3, best, {"y": Y}, rng(), 5)
    assert_close(samples, np.tile(-log_p_y, (5, 1)), 1e-12)
    samples = score_function(model_3, table_3, best, {"y": Y}, rng(), 5)
    assert_close(samples, np.tile(-log_p_y, (5, 1)), 1e-12)


@pytest.mark.parametrize("divergence", ["inclusive", "exclusive"])
def test_model_3_networks_find_the_posterior_with_either_loss(divergence):
    nets = Networks(z=MLP([1, 8, 3]), x=MLP([4, 8, 2]))

    def family(t, phi):
        z = nets.discrete(t, phi, "z", t["y"])
        nets.normal(t, phi, "x", t["y"], *(z == k for k in range(3)))

    def loss(phi, rng):
        draws = sample(model_3, (100,), rng)
        if divergence == "inclusive":
            return inclusive(family, phi, draws)
        return exclusive(model_3, family, phi, {"y": draws["y"]}, rng)

    phi, _ = minimize(loss, nets.init(rng()), 500, rng(), Adam(0.05))
    _, log_p_y = exact_3()
    gap = exclusive(model_3, family, phi, {"y": Y}, rng(), 500).mean(axis=0) + log_p_y
    assert (np.abs(gap) < 0.1).all(), gap


# --- model 4: a branching program ------------------------------------------------------------------------------------------

P_KIND, P_SIDE, LOG_NOISE_4 = np.array([0.4, 0.6]), np.array([0.5, 0.5]), -0.4


def model_4(t):
    kind = t.discrete("kind", np.log(P_KIND))
    with t.when(kind == 0):
        a = t.normal("a", -3.0, 0.2)
    with t.when(kind == 1):
        side = t.discrete("side", np.log(P_SIDE))
        with t.when(side == 0):
            b = t.normal("b", 2.0, -1.0)
        with t.when(side == 1):
            c = t.normal("c", 0.0, 0.0)
            d = t.normal("d", 1 + c**2, -1.0)
    t.normal("y", a + b + d, LOG_NOISE_4)


def table_4(t, phi):
    """phi (12, N): for each y two logits of kind, two of side, and (mu, log_var) of a, b, c, d."""
    p = anp.reshape(phi, (13, -1))
    kind = t.discrete("kind", p[0:2].T)
    with t.when(kind == 0):
        t.normal("a", p[4], p[5])
    with t.when(kind == 1):
        side = t.discrete("side", p[2:4].T)
        with t.when(side == 0):
            t.normal("b", p[6], p[7])
        with t.when(side == 1):
            c = t.normal("c", p[8], p[9])
            t.normal("d", p[10] + p[11] * c, p[12])


PHI_4 = np.random.default_rng(4).uniform(-1, 1, 39)
LINE, AREA = np.arange(-13.5, 13.6, 0.15), 0.15**2
C, D = LINE[:, None, None], LINE[None, :, None]


def parts_4(y):
    """The three branches of p, each on its grid: log p(kind, side, ..., y)."""
    return [
        np.log(P_KIND[0]) + log_normal(GRID[:, None], -3.0, 0.2) + log_normal(y, GRID[:, None], LOG_NOISE_4),
        np.log(P_KIND[1] * P_SIDE[0])
        + log_normal(GRID[:, None], 2.0, -1.0)
        + log_normal(y, GRID[:, None], LOG_NOISE_4),
        np.log(P_KIND[1] * P_SIDE[1])
        + log_normal(C, 0.0, 0.0)
        + log_normal(D, 1 + C**2, -1.0)
        + log_normal(y, D, LOG_NOISE_4),
    ]


def q_parts_4(phi):
    """The three branches of q on the same grids."""
    p = anp.reshape(phi, (13, -1))
    log_kind = p[0:2] - anp.logaddexp(p[0], p[1])
    log_side = p[2:4] - anp.logaddexp(p[2], p[3])
    return [
        log_kind[0] + log_normal(GRID[:, None], p[4], p[5]),
        log_kind[1] + log_side[0] + log_normal(GRID[:, None], p[6], p[7]),
        log_kind[1] + log_side[1] + log_normal(C, p[8], p[9]) + log_normal(D, p[10] + p[11] * C, p[12]),
    ]


def brute_4(phi):
    total = 0.0
    for log_q, log_p in zip(q_parts_4(phi), parts_4(Y)):
        h = STEP if log_q.ndim == 2 else AREA
        total = total + h * anp.sum(anp.exp(log_q) * (log_q - log_p), axis=tuple(range(log_q.ndim - 1)))
    return total


def exclusive_4(phi):
    n = len(NODES)
    first, second = np.repeat(NODES, n)[:, None], np.tile(NODES, n)[:, None]
    noise = {"a": first, "b": first, "c": first, "d": second}
    loss = exclusive(model_4, table_4, phi, {"y": Y}, None, n * n, noise)
    return anp.sum(np.outer(WEIGHTS, WEIGHTS).reshape(-1, 1) * loss, axis=0)


def check_4():
    assert_close(exclusive_4(PHI_4), brute_4(PHI_4), 1e-9)
    gradient, expected = gradient_of(exclusive_4, PHI_4), gradient_of(brute_4, PHI_4)
    assert_close(gradient, expected, 1e-8)
    with pytest.raises(AssertionError):
        assert_close(1.001 * gradient, expected, 1e-8)


def test_model_4_the_exclusive_loss_and_gradient_are_those_of_brute_force():
    check_4()


def test_model_4_the_inclusive_loss_and_gradient_are_those_of_brute_force():
    """Every branch's own sum over its grid, weighted by p: the loss of each y is their sum over p(y)."""
    nan = np.array(np.nan)
    u = {"y": Y, "a": nan, "side": nan, "b": nan, "c": nan, "d": nan}
    paths = [
        u | {"kind": 0, "a": GRID[:, None]},
        u | {"kind": 1, "side": 0, "b": GRID[:, None]},
        u | {"kind": 1, "side": 1, "c": C, "d": D},
    ]

    def loss(phi):
        total = mass = 0.0
        for path in paths:
            p = np.exp(log_density(model_4, path))
            axes, h = tuple(range(p.ndim - 1)), STEP if p.ndim == 2 else AREA
            total = total + h * anp.sum(p * inclusive(table_4, phi, path), axis=axes)
            mass = mass + h * p.sum(axis=axes)
        return total / mass

    def brute(phi):
        total = mass = 0.0
        for log_q, log_p in zip(q_parts_4(phi), parts_4(Y)):
            h, axes = STEP if log_q.ndim == 2 else AREA, tuple(range(log_q.ndim - 1))
            total = total - h * anp.sum(np.exp(log_p) * log_q, axis=axes)
            mass = mass + h * np.sum(np.exp(log_p), axis=axes)
        return total / mass

    assert_close(loss(PHI_4), brute(PHI_4), 1e-11)
    gradient = gradient_of(loss, PHI_4)
    assert_close(gradient, gradient_of(brute, PHI_4), 1e-11)
    v = rng().standard_normal(39)
    assert_close(gradient @ v, np.sum(loss(PHI_4 + 1e-5 * v) - loss(PHI_4 - 1e-5 * v)) / 2e-5, 1e-7)


# --- the three derivatives of the exclusive loss ---------------------------------------------------------------------------

GRIDDED = Networks(z=MLP([1, 3, 3]), w=MLP([2, 3, 2]))
MEANS = np.array([[-2.0, 0.5], [0.0, 1.0], [1.0, 3.0]])


def discrete_model(t):
    z = t.discrete("z", np.log([0.5, 0.3, 0.2]))
    w = t.discrete("w", [0.4, -0.2])
    t.normal("y", MEANS[z, w], 0.1)


def discrete_family(t, phi):
    z = GRIDDED.discrete(t, phi, "z", t["y"])
    GRIDDED.discrete(t, phi, "w", t["y"], z)


PHI_D = GRIDDED.init(np.random.default_rng(5))
Y_D = {"y": np.array([0.5])}


def test_enumeration_is_the_sum_over_all_values():
    def by_hand(phi):
        total = 0.0
        for z in range(3):
            for w in range(2):
                draws = {"z": np.array([float(z)]), "w": np.array([float(w)])}
                log_q = -inclusive(discrete_family, phi, draws | Y_D)
                total = total + anp.exp(log_q) * (log_q - log_density(discrete_model, draws | Y_D))
        return anp.sum(total)

    loss = lambda phi: anp.sum(exclusive(discrete_model, discrete_family, phi, Y_D, None))  # noqa: E731
    assert_close(loss(PHI_D), by_hand(PHI_D), 1e-13)
    assert_close(autograd.grad(loss)(PHI_D), autograd.grad(by_hand)(PHI_D), 1e-12)
    check_gradient(loss, PHI_D, autograd.grad(loss))


def check_score(baseline):
    """Exactly, not by sampling: the estimate at each of the six outcomes, weighted by its probability under q."""
    S = 400
    draws = sample(lambda t: discrete_family(t, PHI_D), (S, 1), rng(), Y_D)
    estimate = lambda phi: score_function(discrete_model, discrete_family, phi, Y_D, rng(), S, baseline)  # noqa: E731
    values, jacobian = estimate(PHI_D)[:, 0], autograd.jacobian(estimate)(PHI_D)[:, 0]
    q = np.exp(log_density(lambda t: discrete_family(t, PHI_D), draws, Y_D))[:, 0]
    _, first = np.unique(draws["z"] * 2 + draws["w"], return_index=True)
    assert len(first) == 6 and abs(q[first].sum() - 1) < 1e-12
    exact = lambda phi: anp.sum(exclusive(discrete_model, discrete_family, phi, Y_D, None))  # noqa: E731
    assert_close(q[first] @ values[first], exact(PHI_D), 1e-12)
    gradient, expected = q[first] @ jacobian[first], autograd.grad(exact)(PHI_D)
    assert_close(gradient, expected, 1e-11)
    with pytest.raises(AssertionError):
        assert_close(1.001 * gradient, expected, 1e-11)


@pytest.mark.parametrize("baseline", [None, lambda f: 3.7, lambda f: np.full((1,), -2.0)], ids=["none", "3.7", "by y"])
def test_the_expected_score_function_gradient_is_the_exact_one_whatever_the_baseline(baseline):
    check_score(baseline)


def gradients(model, family, phi, observed, runs=300, **options):
    """(runs, P) gradients of the mean score-function loss, each with its own draws."""
    generator = np.random.default_rng(7)
    loss = lambda phi: anp.mean(score_function(model, family, phi, observed, generator, **options))  # noqa: E731
    gradient = autograd.grad(loss)
    return np.array([gradient(phi) for _ in range(runs)])


def within_error(estimates, exact):
    error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    z = np.abs(estimates.mean(axis=0) - exact) / (error + 1e-12)
    assert (z < 4.5).all(), z.max()


def test_the_leave_one_out_gradient_is_unbiased_and_has_less_variance():
    exact = autograd.grad(lambda phi: anp.mean(exclusive(discrete_model, discrete_family, phi, Y_D, None)))(PHI_D)
    without = gradients(discrete_model, discrete_family, PHI_D, Y_D, samples=8, baseline=None)
    with_it = gradients(discrete_model, discrete_family, PHI_D, Y_D, samples=8)
    within_error(without, exact)
    within_error(with_it, exact)
    assert with_it.var(axis=0).sum() < 0.5 * without.var(axis=0).sum()


def test_leave_one_out_knows_the_others_only():
    f = np.random.default_rng(0).standard_normal((4, 3))
    b = leave_one_out(f)
    for s in range(4):
        assert_close(b[s], np.delete(f, s, axis=0).mean(axis=0), 1e-14)


@pytest.mark.parametrize("reparameterize", [True, False])
def test_the_score_function_gradient_is_unbiased_in_a_branching_program(reparameterize):
    """Discrete draws by their score; normal ones by reparameterization or by their score too."""
    exact = autograd.grad(lambda phi: anp.mean(exclusive_4(phi)))(PHI_4)
    options = {"samples": 40, "reparameterize": reparameterize}
    within_error(gradients(model_4, table_4, PHI_4, {"y": Y}, 200, **options), exact)


def test_a_mixture_family_learns_by_its_score_and_by_the_inclusive_loss():
    def family(t, phi):
        t.mixture("x", phi[0:2], phi[2:4], phi[4:6])

    y, phi = {"y": Y[1:2]}, np.array([0.3, -0.2, -1.0, 1.5, 0.1, -0.3])

    def brute(phi):
        log_pi = phi[0:2] - anp.logaddexp(phi[0], phi[1])
        log_q = anp.logaddexp(*(log_pi[k] + log_normal(GRID, phi[2 + k], phi[4 + k]) for k in (0, 1)))
        return STEP * anp.sum(anp.exp(log_q) * (log_q - log_joint_2(GRID, Y[1])))

    within_error(gradients(model_2, family, phi, y, samples=100), autograd.grad(brute)(phi))
    draws = {"x": GRID[:, None], "y": Y[1:2]}
    loss = lambda phi, rng=None: weighted_inclusive(model_2, family, phi, draws)  # noqa: E731
    best, losses = minimize(loss, phi, 1500, None, Adam(0.05))
    log_p_y = np.log(STEP * np.exp(log_joint_2(GRID, Y[1])).sum())
    posterior = np.exp(log_joint_2(GRID, Y[1]) - log_p_y)
    entropy = -STEP * np.sum(posterior * np.log(posterior))
    assert abs(losses[-1] - entropy) < 1e-6  # the posterior is a mixture of two normals as well
    assert abs(brute(best) + log_p_y) < 1e-5


# --- a branch on a continuous draw -----------------------------------------------------------------------------------------


def edge_model(t):
    x = t.normal("x", 0.0, 0.0)
    with t.when(x > 0):
        w = t.normal("w", 2.0, 0.0)
    with t.when(x <= 0):
        w = w + t.normal("w", -2.0, -1.0)
    t.normal("y", w, 0.0)


def edge_family(t, phi):
    x = t.normal("x", phi[0], phi[1])
    with t.when(x > 0):
        t.normal("w", phi[2], phi[3])
    with t.when(x <= 0):
        t.normal("w", phi[4], phi[5])


PHI_E, Y_E = np.array([0.3, -0.2, 1.5, 0.1, -1.0, -0.5]), {"y": np.array([0.5])}


def edge_brute(phi):
    """Quadrature over x (a grid with a point's cell on either side of the edge) and w."""
    x, w, h = np.linspace(-7.995, 7.995, 1600), np.linspace(-9, 9, 361), 0.05
    log_q_x = log_normal(x, phi[0], phi[1])
    q_x, right = 0.01 * anp.exp(log_q_x), x > 0
    inner = []
    for side, mu, log_var, (p_mu, p_log_var) in [(right, phi[2], phi[3], (2, 0)), (~right, phi[4], phi[5], (-2, -1))]:
        log_q = log_normal(w, mu, log_var)
        log_p = log_normal(w, p_mu, p_log_var) + log_normal(0.5, w, 0.0)
        f = h * anp.sum(anp.exp(log_q) * (log_q - log_p))
        inner.append(anp.sum(side * q_x * (log_q_x - log_normal(x, 0.0, 0.0) + f)))
    return inner[0] + inner[1]


def test_a_branch_on_a_continuous_draw_needs_the_score():
    """The value is right in every form, the score's gradient too; reparameterization misses what crosses the edge."""
    exact = autograd.grad(edge_brute)(PHI_E)
    values = exclusive(edge_model, edge_family, PHI_E, Y_E, rng(), 40000)
    assert abs(values.mean() - edge_brute(PHI_E)) < 4.5 * values.std() / 200
    within_error(gradients(edge_model, edge_family, PHI_E, Y_E, samples=200, reparameterize=False), exact)
    wrong = gradients(edge_model, edge_family, PHI_E, Y_E, samples=200)
    error = wrong.std(axis=0) / np.sqrt(len(wrong))
    assert (np.abs(wrong.mean(axis=0) - exact) > 10 * error)[0]


def test_where_only_some_examples_reach_a_discrete_draw_the_weights_of_its_values_still_sum_to_one():
    check_weights()


def check_weights():
    def model(t):
        with t.when(t.normal("x", 0.0, 0.0) > 0):
            t.discrete("z", [0.0, 1.0, -1.0])
        t.normal("y", 0.0, 0.0)

    def family(t, phi):
        with t.when(t.normal("x", 0.0, 0.0) > 0):
            t.discrete("z", [0.0, 1.0, -1.0])

    loss = exclusive(model, family, None, {"y": Y}, rng(), 50)  # q is p: every path has f = -log p(y)
    assert_close(loss, np.tile(-log_normal(Y, 0.0, 0.0), (50, 1)), 1e-12)


# --- minimize, settings ----------------------------------------------------------------------------------------------------


def test_minimize_takes_the_optimizers_steps_with_a_falling_step_size():
    phi, losses = minimize(
        lambda phi, rng: 0.5 * phi**2, np.array([1.0, -2.0]), 4, None, Momentum(0.4, 0.5), average=0.5
    )
    expected, v, values = [np.array([1.0, -2.0])], 0.0, []
    for t in range(4):
        values.append(0.5 * np.mean(expected[t] ** 2))
        v = 0.5 * v - expected[t] / 2  # the mean of two
        expected.append(expected[t] + 0.4 * (1 - t / 4) * v)
    assert_close(phi, (expected[3] + expected[4]) / 2, 1e-14)
    assert_close(losses, np.array(values), 1e-14)


def test_the_same_generator_gives_the_same_training():
    loss = lambda phi, rng: inclusive(linear, phi, sample(model_1, (20,), rng))  # noqa: E731
    first, second = (minimize(loss, np.zeros(3), 20, rng())[0] for _ in range(2))
    assert np.array_equal(first, second)


def extra(t, phi):
    t.normal("x", 0.0, 0.0)
    t.normal("v", 0.0, 0.0)


@pytest.mark.parametrize(
    "run, message",
    [
        (lambda: exclusive(model_1, extra, None, {"y": Y}, rng()), "site 'v' is given where the program makes no draw"),
        (lambda: exclusive(model_1, lambda t, phi: None, None, {"y": Y}, rng()), "site 'x' is without a value"),
        (lambda: exclusive(model_2, lambda t, phi: model_2(t), None, {"y": Y}, rng()), "site 'x' is a mixture"),
        (lambda: exclusive(model_1, lambda t, phi: model_1(t), None, {"y": Y}, rng()), "expected a latent site"),
        (lambda: inclusive(extra, None, {"x": Y, "v": Y}), r"draws is without \['y'\]; expected the observed \['y'\]"),
        (lambda: inclusive(extra, None, {"x": Y, "y": Y}), "site 'v' is without a value"),
        (lambda: inclusive(lambda t, phi: None, None, {"x": Y, "y": Y}), "site 'x' is given where the program makes no"),
        (lambda: score_function(model_1, linear, np.zeros(3), {"y": Y}, rng(), 1), "number of samples is 1; expected at"),
        (lambda: minimize(lambda phi, rng: phi * np.nan, np.ones(2), 3, None), "the loss is nan at step 0"),
        (lambda: minimize(lambda phi, rng: phi, np.ones(2), 0, None), "steps is 0; expected a whole number >= 1"),
    ],
)  # fmt: skip
def test_what_it_refuses(run, message):
    with pytest.raises(InputError, match=message):
        run()


def test_both_rooms_are_savis():
    assert savi.divergences is divergences and savi.programs is programs


# --- mutations -------------------------------------------------------------------------------------------------------------

IN_PROGRAMS = {
    "weights have no derivative": ("_masked(np.exp(log_q)", "_masked(numpy.exp(getval(log_q))"),
    "the path's probability is left out": ("self.weight = self.weight *", "self.weight = self.weight + 0 *"),
    "the standard deviation is the variance": ("np.exp(log_var / 2) * self.noise", "np.exp(log_var) * self.noise"),
    "draws carry no derivative": ("stopped = not (smooth and self.reparameterize)", "stopped = True"),
    "the last of the values is forgotten": ("range(1, options)", "range(1, options - 1)"),
    "densities of other branches are added": ("self._masked(log_density(value), 0.0)", "log_density(value)"),
}
IN_DIVERGENCES = {
    "log q is left out": ("t.weight * (t.log_prob -", "t.weight * (-", check_4),
    "the score is left out": ("(f - b - 1) * (t.log", "-1 * (t.log", lambda: check_score(None)),
    "the score has the wrong sign": ("(f - b - 1) *", "(b - f - 1) *", lambda: check_score(None)),
    "the score counts twice": ("(f - b - 1) *", "(2 * f - b - 1) *", lambda: check_score(None)),
    "the score x 1.001": ("(f - b - 1) *", "1.001 * (f - b - 1) *", lambda: check_score(None)),
}
ELSEWHERE = "self._rows(1.0 * (self.taken[name] == 0))"
MUTATIONS = {
    "every path counts where it makes no choice": (programs, ELSEWHERE, "self._rows(1.0)", lambda: check_weights()),
    **{name: (programs, old, new, check_4) for name, (old, new) in IN_PROGRAMS.items()},
    **{name: (divergences, *mutation) for name, mutation in IN_DIVERGENCES.items()},
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_checks_catch(name, monkeypatch):
    room, old, new, check = MUTATIONS[name]
    source = inspect.getsource(room)
    assert source.count(old) == 1, f"{old!r} is not in {room.__name__} once; the mutation needs to follow the code"
    mutant = ModuleType(room.__name__)
    mutant.__dict__.update({"__package__": "savi.inference", "__file__": room.__file__})
    exec(compile(source.replace(old, new), room.__file__, "exec"), mutant.__dict__)
    if room is programs:
        monkeypatch.setattr(divergences, "Trace", mutant.Trace)
        monkeypatch.setattr(divergences, "enumerate_paths", mutant.enumerate_paths)
    else:
        for function in ("exclusive", "score_function"):
            monkeypatch.setattr(sys.modules[__name__], function, getattr(mutant, function))
    with pytest.raises(AssertionError, match="is off by"):
        check()
