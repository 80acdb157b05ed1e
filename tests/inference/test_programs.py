"""Programs against densities written out by hand, moments, quadrature over every branch; masks; and what they refuse."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from savi import MLP, InputError
from savi.inference.programs import Networks, Trace, enumerate_paths, log_density, sample
from savi.testing import assert_close, check_density

N = 20000


def nested(t):
    """An `if` in an `if`: one draw, another one, or two of which the second depends on the first."""
    kind = t.discrete("kind", np.log([0.4, 0.6]))
    with t.when(kind == 0):
        a = t.normal("a", -3.0, 0.2)
    with t.when(kind == 1):
        side = t.discrete("side", np.log([0.3, 0.5, 0.2]))
        with t.when(side == 0):
            b = t.normal("b", 2.0, -1.0)
        with t.when(side > 0):
            c = t.normal("c", 0.5 * side, 0.0)
            d = t.normal("d", 2 * c + 1, -1.0)
    t.normal("y", a + b + d, -0.4)


def normal(x, mu, log_var):
    return np.exp(-0.5 * (x - mu) ** 2 / np.exp(log_var)) / np.sqrt(2 * np.pi * np.exp(log_var))


def by_hand(s):
    """The density of `nested` at draws of one example, with an ordinary if."""
    if s["kind"] == 0:
        return 0.4 * normal(s["a"], -3, 0.2) * normal(s["y"], s["a"], -0.4)
    p = 0.6 * [0.3, 0.5, 0.2][int(s["side"])]
    if s["side"] == 0:
        return p * normal(s["b"], 2, -1) * normal(s["y"], s["b"], -0.4)
    return p * normal(s["c"], 0.5 * s["side"], 0) * normal(s["d"], 2 * s["c"] + 1, -1) * normal(s["y"], s["d"], -0.4)


@pytest.fixture(scope="module")
def draws():
    return sample(nested, (N,), np.random.default_rng(0))


def test_the_density_of_a_branching_program_is_the_one_by_hand(draws):
    rows = [{name: value[i] for name, value in draws.items()} for i in range(50)]
    assert_close(log_density(nested, {k: v[:50] for k, v in draws.items()}), np.log([by_hand(s) for s in rows]), 1e-12)


def test_draws_that_were_not_made_are_nan_and_no_others(draws):
    kind, side = draws["kind"], draws["side"]
    made = {name: ~np.isnan(value) for name, value in draws.items()}
    assert made["kind"].all() and made["y"].all()
    for name, where in [("a", kind == 0), ("side", kind == 1), ("b", side == 0), ("c", side > 0), ("d", side > 0)]:
        assert (made[name] == where).all(), name
    assert set(draws) == {"kind", "a", "side", "b", "c", "d", "y"}
    assert {0.0, 1.0, 2.0} == set(np.unique(side[kind == 1]))


def test_draws_have_the_moments_of_their_distributions(draws):
    def within(value, mean, var):  # 4.5 standard errors
        assert abs(value.mean() - mean) < 4.5 * np.sqrt(var / len(value))

    kind, side = draws["kind"], draws["side"]
    within(kind, 0.6, 0.24)
    for k, p in enumerate([0.3, 0.5, 0.2]):
        within(side[kind == 1] == k, p, p * (1 - p))
    e = (draws["a"][kind == 0] + 3) / np.exp(0.1)
    within(e, 0, 1)
    within(e**2, 1, 2)
    e = (draws["d"] - 2 * draws["c"] - 1)[side > 0] / np.exp(-0.5)
    within(e, 0, 1)
    within(e**2, 1, 2)
    within(draws["c"][side == 2], 1, 1)
    mean = np.where(kind == 0, draws["a"], np.where(side == 0, draws["b"], draws["d"]))
    within((draws["y"] - mean) / np.exp(-0.2), 0, 1)


def test_a_branching_program_integrates_to_one():
    """Summed over its discrete draws and integrated over a grid of its continuous ones, y included."""
    nan, wide = np.array(np.nan), np.linspace(-13, 16, 291)
    h = wide[1] - wide[0]
    c, d, y = np.meshgrid(wide[::2], wide[::2], wide[::2], indexing="ij")
    u, v = np.meshgrid(wide, wide, indexing="ij")
    paths = [
        {"kind": 0, "a": u, "side": nan, "b": nan, "c": nan, "d": nan, "y": v},
        {"kind": 1, "a": nan, "side": 0, "b": u, "c": nan, "d": nan, "y": v},
        *({"kind": 1, "a": nan, "side": k, "b": nan, "c": c, "d": d, "y": y} for k in (1, 2)),
    ]
    masses = [
        np.exp(log_density(nested, path)).sum() * step for path, step in zip(paths, [h**2, h**2, 8 * h**3, 8 * h**3])
    ]
    assert_close(np.array(masses), np.array([0.4, 0.18, 0.3, 0.12]), 1e-6)


def test_a_mixture_is_a_density_and_its_draws_have_its_moments():
    pi, mu, log_var = np.array([0.2, 0.5, 0.3]), np.array([-3.0, 0.0, 2.0]), np.array([-1.0, 0.0, 0.5])
    program = lambda t: t.mixture("x", np.log(pi) + 7.0, mu, log_var)  # noqa: E731  logits have a free constant
    check_density(lambda x: log_density(program, {"x": x[:, 0]}), grid=[np.linspace(-15, 15, 3001)])
    x = sample(program, (N,), np.random.default_rng(1))["x"]
    mean, second = pi @ mu, pi @ (mu**2 + np.exp(log_var))
    assert abs(x.mean() - mean) < 4.5 * np.sqrt((second - mean**2) / N)
    assert abs((x**2).mean() - second) < 4.5 * (x**2).std() / np.sqrt(N)
    points = np.array([-2.0, 0.3])
    expected = np.log([sum(p * normal(z, m, v) for p, m, v in zip(pi, mu, log_var)) for z in points])
    assert_close(log_density(program, {"x": points}), expected, 1e-12)


def test_a_mixtures_draw_is_its_chosen_normals_to_the_last_bit():
    pi, mu, log_var = np.array([0.2, 0.5, 0.3]), np.array([-3.0, 0.0, 2.0]), np.array([-1.0, 0.0, 0.5])
    x = sample(lambda t: t.mixture("x", np.log(pi), mu, log_var), (1000,), np.random.default_rng(3))["x"]
    rng = np.random.default_rng(3)
    k = np.searchsorted(np.cumsum(pi)[:-1], rng.random((1000, 1))[:, 0])
    np.testing.assert_allclose(x, mu[k] + np.exp(log_var[k] / 2) * rng.standard_normal(1000), rtol=1e-13)
    assert set(k) == {0, 1, 2}


def test_two_branches_may_draw_at_one_name():
    def program(t):
        z = t.discrete("z", [0.0, 0.0])
        with t.when(z == 0):
            x = t.normal("x", -1.0, 0.0)
        with t.when(z == 1):
            x = x + t.normal("x", 1.0, 2.0)
        t.normal("y", x, 0.0)

    z, x, y = np.array([0.0, 1.0]), np.array([0.3, 0.4]), np.array([1.0, 2.0])
    expected = np.log(0.5) + np.log(normal(x, 2 * z - 1, 2 * z)) + np.log(normal(y, x, 0))
    assert_close(log_density(program, {"z": z, "x": x, "y": y}), expected, 1e-12)
    assert not np.isnan(sample(program, (100,), np.random.default_rng(0))["x"]).any()


def test_a_draw_in_a_branch_multiplies_the_paths_of_that_branch_only():
    path, n = enumerate_paths(nested, (5, 2), {}, np.random.default_rng(0), {})
    assert n == 4 and set(path) == {"kind", "side"} and path["kind"].shape == path["side"].shape == (4, 1, 1)
    assert set(zip(path["kind"].ravel(), path["side"].ravel())) == {(0, 0), (1, 0), (1, 1), (1, 2)}


def test_the_same_generator_gives_the_same_bits_and_shapes_broadcast(draws):
    again = sample(nested, (N,), np.random.default_rng(0))
    assert all(np.array_equal(again[name], draws[name], equal_nan=True) for name in draws)
    seen = sample(lambda t: t.normal("x", t["y"], 0.0), (5, 3), np.random.default_rng(0), {"y": np.arange(3.0)})
    assert seen["x"].shape == (5, 3)
    grid = log_density(lambda t: t.normal("y", t.normal("x", 0.0, 0.0), 0.0), {"x": np.ones((4, 1)), "y": np.ones(3)})
    assert grid.shape == (4, 3)


def test_a_draw_that_is_not_made_has_no_gradient_and_spoils_none():
    """Rows elsewhere have NaN for a draw; the gradient of the others is finite, and theirs is 0."""

    def program(t, phi):
        z = t.discrete("z", [0.0, 0.0])
        with t.when(z == 1):
            x = t.normal("x", phi, 0.5 * phi)
        with t.when(z == 0):
            t.normal("w", phi**2, 0.0)
        t.normal("v", x, phi)

    draws = {
        "z": np.array([1.0, 0.0]), "x": np.array([0.7, np.nan]), "w": np.array([np.nan, 0.2]), "v": np.array([1.0, -1.0])
    }  # fmt: skip
    phi = np.array([0.3, 0.4])

    def by_hand(phi):
        one = anp.log(normal_(0.7, phi[0], 0.5 * phi[0])) + anp.log(normal_(1.0, 0.7, phi[0]))
        return one + anp.log(normal_(0.2, phi[1] ** 2, 0.0)) + anp.log(normal_(-1.0, 0.0, phi[1]))

    def normal_(x, mu, log_var):
        return anp.exp(-0.5 * (x - mu) ** 2 / anp.exp(log_var)) / anp.sqrt(2 * anp.pi * anp.exp(log_var))

    gradient = autograd.grad(lambda phi: anp.sum(log_density(lambda t: program(t, phi), draws)))(phi)
    assert_close(gradient, autograd.grad(by_hand)(phi), 1e-12)


def test_networks_share_one_phi_and_answer_as_each_would_alone():
    nets = Networks(z=MLP([1, 4, 3]), x=MLP([2, 5, 2]))
    phi = nets.init(np.random.default_rng(0))
    z_net, x_net = MLP([1, 4, 3]), MLP([2, 5, 2])
    assert phi.shape == (nets.size,) == (z_net.size + x_net.size,)
    y, z = np.linspace(-1, 1, 6), np.arange(6) % 2 == 0
    assert_close(nets(phi, "z", y), z_net(phi[: z_net.size], y[:, None]), 1e-14)
    both = np.stack([np.tile(y, (3, 1)), np.tile(z, (3, 1))], axis=-1)
    assert_close(nets(phi, "x", np.tile(y, (3, 1)), z), x_net(phi[z_net.size :], both), 1e-14)
    t = Trace((6,), rng=np.random.default_rng(0))
    x = nets.normal(t, phi, "x", y, z)
    mu, log_var = nets(phi, "x", y, z).T
    assert_close(t.log_prob, np.log(normal(x, mu, log_var)), 1e-12)


def test_a_branch_that_nobody_takes_costs_no_network():
    class Forbidden(Networks):
        def __call__(self, phi, name, *inputs):
            raise AssertionError("asked")

    nets = Forbidden(x=MLP([1, 2]), z=MLP([1, 3]))
    t = Trace((4,), rng=np.random.default_rng(0))
    with t.when(np.zeros(4, bool)):
        assert (nets.normal(t, np.zeros(nets.size), "x", 1.0) == 0).all()
        assert (nets.discrete(t, np.zeros(nets.size), "z", 1.0) == 0).all()
    assert np.isnan(t.values["x"]).all() and (t.log_prob == 0).all()


def test_a_branch_ends_where_its_block_ends_even_by_an_error():
    t = Trace((2,), rng=np.random.default_rng(0))
    with pytest.raises(ZeroDivisionError), t.when(np.array([True, False])):
        raise ZeroDivisionError
    assert t.here.all()


def twice(t):
    t.normal("x", 0.0, 0.0)
    t.normal("x", 0.0, 0.0)


def half(t):
    z = t.discrete("z", [0.0, 0.0])
    with t.when(z == 0):
        t.normal("x", 0.0, 0.0)


def again(t):
    x = t.normal("x", 0.0, 0.0)
    for here in (x > 0, x <= 0):
        with t.when(here):
            t.discrete("z", [0.0, 0.0])


ONES = np.ones(2)


@pytest.mark.parametrize(
    "run, message",
    [
        (lambda: sample(twice, (2,), np.random.default_rng(0)), "site 'x' is drawn twice"),
        (lambda: log_density(half, {"z": 0 * ONES}), "site 'x' is without a value"),
        (lambda: log_density(half, {"z": 0 * ONES, "x": np.array([1.0, np.nan])}), "site 'x' is NaN where the program"),
        (lambda: log_density(half, {"z": ONES, "x": ONES}), "site 'x' is given where the program makes no draw"),
        (lambda: log_density(half, {"z": ONES, "v": ONES}), "site 'v' is given where the program makes no draw"),
        (lambda: log_density(half, {"z": 2 * ONES}), "site 'z' is out of range; expected whole numbers 0 .. 1"),
        (lambda: log_density(half, {"z": 0.5 * ONES}), "site 'z' is out of range"),
        (lambda: sample(lambda t: t["y"], (2,), np.random.default_rng(0)), r"observed site is 'y'; expected one of \[\]"),
        (lambda: sample(half, (2,), np.random.default_rng(0), {"z": ONES}), "site 'z' is drawn; expected a latent site"),
        (lambda: enumerate_paths(again, (9,), {}, np.random.default_rng(0), {}), "site 'z' is enumerated twice"),
        (lambda: Networks(x=MLP([1, 2]))(np.zeros(4), "w", 1.0), "the site is 'w'; expected one that has a network"),
        (lambda: Networks(x=MLP([1, 2]))(np.zeros(3), "x", 1.0), r"phi is of shape \(3,\); expected \(4,\)"),
        (lambda: Networks(x=MLP([1, 2]))(np.zeros(4), "x", 1.0, 2.0), "network of site 'x' is given 2 inputs; expected 1"),
    ],
)  # fmt: skip
def test_what_it_refuses(run, message):
    with pytest.raises(InputError, match=message):
        run()
