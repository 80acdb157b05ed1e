"""The plain page against the fast code and against autograd; its length and its imports; and mutations of every function,
which these checks must catch."""

import ast
import inspect
import types
from types import SimpleNamespace

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savi import (
    MLP,
    SAVAE,
    SVI,
    VAE,
    VAESVI,
    Bernoulli,
    Iterative,
    LatentGaussianModel,
    MLPDecoder,
    hvp,
    plain,
    reference,
)
from savi.inference.iterative import Gradient
from savi.models.gaussian import AnalyticKL
from savi.testing import arrays, assert_close, lams, observations, seeds, sizes

DIFFERENCE = 2e-9  # largest error of a product by difference, r v = 1e-5: its order r^2 = 1e-10 and some rounding


def problem(B, S, D, M, hidden, other_hidden, K, gamma, alpha, seed):
    """A model, its twin's layer sizes, and a point to evaluate both at."""
    rng = np.random.default_rng(seed)
    decoder, encoder, network = (D, *hidden, M), (M, *other_hidden, 2 * D), (6 * D, *other_hidden, 4 * D)
    net, enc, trunk = (MLP(widths, "tanh") for widths in (decoder, encoder, network))
    return SimpleNamespace(
        model=LatentGaussianModel(MLPDecoder(net, Bernoulli())), net=net, enc=enc, trunk=trunk,
        decoder=decoder, encoder=encoder, network=network, K=K, gamma=gamma, alpha=alpha,
        x=(rng.random((B, M)) < 0.5).astype(float), theta=rng.uniform(-1, 1, net.size), phi=rng.uniform(-1, 1, enc.size),
        psi=rng.uniform(-1, 1, trunk.size), noise=rng.standard_normal((K + 1, S, B, D)),
        lam=rng.uniform(-1.5, 1.5, (B, 2 * D)), lam_p=rng.uniform(-1.5, 1.5, (B, 2 * D)),
        v=rng.uniform(-1, 1, (B, 2 * D)), weights=rng.uniform(0, 2, B),
    )  # fmt: skip


@st.composite
def problems(draw):
    """Any shapes, 0 to 3 steps, with and without momentum; zero parameters, repeated rows and extremes among them."""
    B, S, D, M = (draw(sizes) for _ in range(4))
    hidden, other_hidden = draw(st.lists(sizes, max_size=2)), draw(st.lists(sizes, max_size=2))
    gamma, alpha = draw(st.sampled_from([0.0, 0.5, 0.9])), draw(st.sampled_from([0.05, 0.2]))
    p = problem(B, S, D, M, hidden, other_hidden, draw(st.integers(0, 3)), gamma, alpha, draw(seeds))
    p.x, p.theta = draw(observations(Bernoulli(), B, M)), draw(arrays(p.theta.shape, -1, 1))
    p.v = draw(arrays(p.v.shape)) * 10.0 ** draw(st.integers(-6, 2))
    return p


SMALL = problem(B=3, S=2, D=2, M=4, hidden=[3, 3], other_hidden=[3, 3], K=3, gamma=0.5, alpha=0.2, seed=0)


def assert_all_close(actual, expected, rtol=1e-9, atol=1e-12):
    assert len(actual) == len(expected)
    for i, (a, b) in enumerate(zip(actual, expected)):
        assert_close(a, b, rtol, atol, f"result {i}")


# --- the judges: the same quantities from the fast code, and by autograd -----------------------------------------------


def loss(p, lam, theta, noise):
    """f (B,) in autograd.numpy."""
    return reference.loss(p.model, lam, theta, p.x, noise)


def encode(p, phi):
    """enc(x; phi) in autograd.numpy."""
    return p.enc.reference(phi, p.x)


def steps(p, lam, theta):
    """lam_K in autograd.numpy."""
    v = 0.0
    for noise in p.noise[:-1]:
        v = p.gamma * v - autograd.elementwise_grad(lambda lam: loss(p, lam, theta, noise))(lam)  # noqa: B023
        lam = lam + p.alpha * v
    return lam


def gradients(loss, *params):
    """(loss (B,), its sum's gradient with respect to each of params)."""
    return loss(*params), *autograd.grad(lambda *params: anp.sum(loss(*params)), [*range(len(params))])(*params)


def exact(p):
    """The exact Hessian-vector product of the fast code, as `plain.sa_vae` asks for it."""

    def product(lam, theta, x, noise, decoder, v):
        f = p.model.objective(theta, x)
        h = hvp.exact(f, f.gradient(lam, noise), v)
        return h.lam, f.theta_sum().add(h).value()

    return product


# --- checks: `page` is plain, or a mutation of it ----------------------------------------------------------------------


def check_mlp(page, p):
    """Forward and backward, of rows (B, in) and of stacks of rows (S, B, in)."""
    rng = np.random.default_rng(1)
    for h in (p.noise[0], p.noise[0, 0]):
        d_a = rng.standard_normal((*h.shape[:-1], p.decoder[-1]))
        a, record = page.mlp(h, p.theta, p.decoder)
        d_h, d_theta = page.backward(d_a, record)
        assert_close(a, p.net(p.theta, h), 1e-9, 1e-12, "the output")
        total = lambda h, theta: anp.sum(p.net.reference(theta, h) * d_a)  # noqa: B023, E731
        expected = autograd.grad(total, (0, 1))(h, p.theta)
        assert_all_close((d_h, d_theta.reshape(-1, p.net.size).sum(axis=0)), expected)
        rows, d_rows = h.reshape(-1, h.shape[-1]), d_a.reshape(-1, d_a.shape[-1])
        for row, d_row, d_params in zip(rows, d_rows, d_theta.reshape(-1, p.net.size)):
            fast = p.net.gradient(p.theta, p.net.evaluate(p.theta, row[None]), d_row[None])
            assert_close(d_params, fast, 1e-9, 1e-12, "one row's parameter gradient")


def check_kl(page, p):
    value, gradient = page.kl(p.lam, p.lam_p)
    assert_all_close((value, gradient), p.model.posterior_kl(p.lam, p.lam_p))
    D = p.decoder[0]
    mu_p, log_var_p = p.lam_p[:, :D], p.lam_p[:, D:]

    def judge(lam):
        ratio = (anp.exp(lam[:, D:]) + (lam[:, :D] - mu_p) ** 2) / anp.exp(log_var_p)
        return 0.5 * anp.sum(log_var_p - lam[:, D:] + ratio - 1, axis=1)

    assert_all_close((value, gradient), gradients(judge, p.lam))


def check_f(page, p):
    actual = page.f(p.lam, p.theta, p.x, p.noise[0], p.decoder)
    assert_close(actual, p.model.loss(p.lam, p.theta, p.x, p.noise[0]), 1e-9, 1e-12, "the loss")
    assert_close(actual, loss(p, p.lam, p.theta, p.noise[0]), 1e-9, 1e-12, "the loss")


def check_grad_f(page, p):
    for weights in (1.0, p.weights):
        options = {} if np.isscalar(weights) else {"weights": weights}
        actual = page.grad_f(p.lam, p.theta, p.x, p.noise[0], p.decoder, **options)
        f = p.model.objective(p.theta, p.x)
        e = f.evaluate(p.lam, p.noise[0])
        assert_all_close(actual, (e.loss, e.d_lam, f.theta_sum().add(e, weights).value()))
        weighted = lambda theta: weights * loss(p, p.lam, theta, p.noise[0])  # noqa: B023, E731
        expected = *gradients(lambda lam: loss(p, lam, p.theta, p.noise[0]), p.lam), gradients(weighted, p.theta)[1]
        assert_all_close(actual, expected)


def check_hessian_product(page, p):
    actual = page.hessian_product(p.lam, p.theta, p.x, p.noise[0], p.decoder, p.v)
    fast = exact(p)(p.lam, p.theta, p.x, p.noise[0], p.decoder, p.v)
    judge = reference.hessian_products(lambda lam, theta: loss(p, lam, theta, p.noise[0]), p.lam, p.theta, p.v)
    size = DIFFERENCE * np.linalg.norm(p.v)
    assert_all_close(actual, fast, DIFFERENCE, size)
    assert_all_close(actual, judge, DIFFERENCE, size)


def check_svi(page, p):
    *actual, lam = page.svi(np.zeros_like(p.lam), p.theta, p.x, p.noise, p.decoder, p.alpha, p.gamma)
    method = SVI(p.K, p.alpha, p.gamma)
    fast_loss, d_theta, d_phi = method.gradient(p.model, p.theta, np.zeros(0), p.x, noise=p.noise)
    assert_all_close((actual[0], actual[2]), (fast_loss, d_theta))
    assert not d_phi.size
    path = [lam[0], *method.walk(p.model.objective(p.theta, p.x), None, lam[0], p.noise[:-1])]
    assert_all_close(lam, path)
    lam_K = steps(p, np.zeros_like(p.lam), p.theta)
    assert_close(lam[-1], lam_K, 1e-9, 1e-12, "lam_K")
    assert_all_close(actual, gradients(lambda lam, theta: loss(p, lam, theta, p.noise[-1]), lam_K, p.theta))


def check_vae(page, p):
    actual = page.vae(p.theta, p.phi, p.x, p.noise[:1], p.decoder, p.encoder)
    assert_all_close(actual, VAE(p.enc).gradient(p.model, p.theta, p.phi, p.x, noise=p.noise[:1]))
    assert_all_close(actual, gradients(lambda theta, phi: loss(p, encode(p, phi), theta, p.noise[0]), p.theta, p.phi))


def check_sa_vae(page, p):
    arguments = p.theta, p.phi, p.x, p.noise, p.decoder, p.encoder, p.alpha, p.gamma
    fast = SAVAE(p.enc, p.K, p.alpha, p.gamma).gradient(p.model, p.theta, p.phi, p.x, noise=p.noise)
    judge = gradients(lambda theta, phi: loss(p, steps(p, encode(p, phi), theta), theta, p.noise[-1]), p.theta, p.phi)
    for product, rtol, atol in (({"product": exact(p)}, 1e-9, 1e-12), ({}, DIFFERENCE, DIFFERENCE)):
        actual = page.sa_vae(*arguments, **product)
        assert_all_close(actual, fast, rtol, atol)
        assert_all_close(actual, judge, rtol, atol)


def check_vae_svi(page, p):
    lam_K = steps(p, encode(p, p.phi), p.theta)
    theta_judge = gradients(lambda theta: loss(p, lam_K, theta, p.noise[-1]), p.theta)
    phi_losses = {
        False: lambda phi: loss(p, encode(p, phi), p.theta, p.noise[0]),
        True: lambda phi: divergence(encode(p, phi), lam_K),
    }
    for with_kl, phi_loss in phi_losses.items():
        arguments = p.theta, p.phi, p.x, p.noise, p.decoder, p.encoder, p.alpha, p.gamma
        actual = page.vae_svi(*arguments, with_kl=True) if with_kl else page.vae_svi(*arguments)
        method = VAESVI(p.enc, p.K, p.alpha, p.gamma, kl=with_kl)
        assert_all_close(actual, method.gradient(p.model, p.theta, p.phi, p.x, noise=p.noise))
        assert_all_close(actual, (*theta_judge, gradients(phi_loss, p.phi)[1]))


def divergence(lam, lam_p):
    """KL(q(z; lam) || q(z; lam_p)) (B,) in autograd.numpy: between two normals it is an expectation of log ratios."""
    D = lam.shape[1] // 2
    mu, log_var, mu_p, log_var_p = lam[:, :D], lam[:, D:], lam_p[:, :D], lam_p[:, D:]
    square_p = (anp.exp(log_var) + (mu - mu_p) ** 2) / anp.exp(
        log_var_p
    )  # E_q of ((z - mu_p) / sigma_p)^2; of q's own, 1
    return 0.5 * anp.sum(log_var_p + square_p - log_var - 1, axis=1)


def check_iterative(page, p):
    noise, lam, judge = p.noise if p.K else p.noise[[0, 0]], np.zeros_like(p.lam), 0.0
    T, (alpha, eps) = len(noise) - 1, (0.2, 1e-3)
    actual = page.iterative(p.theta, p.psi, p.x, noise, p.decoder, p.network, alpha, eps)
    method = Iterative(p.trunk, [Gradient(alpha, eps)], T, samples=noise.shape[1])
    assert_all_close(actual, method.gradient(p.model, p.theta, p.psi, p.x, noise=noise))

    def step(psi, lam, g):
        inputs = np.concatenate([alpha * np.log(np.abs(g) + eps), np.sign(g), lam], axis=1)
        c, logits = anp.split(p.trunk.reference(psi, inputs), 2, axis=1)
        gate = 1 / (1 + anp.exp(-logits))
        return gate * lam + (1 - gate) * c

    for t in range(T):  # each update is differentiated with its inputs held fixed
        g = -p.model.evaluate(lam, p.theta, p.x, noise[t]).d_lam
        _, d_psi = gradients(lambda psi: loss(p, step(psi, lam, g), p.theta, noise[t + 1]), p.psi)  # noqa: B023
        lam, judge = step(p.psi, lam, g), judge + d_psi / T
    assert_all_close(actual, (*gradients(lambda theta: loss(p, lam, theta, noise[-1]), p.theta), judge))


CHECKS = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_mlp, check_kl, check_f, check_grad_f, check_hessian_product, check_svi, check_vae, check_sa_vae,
        check_vae_svi, check_iterative,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
@given(p=problems())
def test_the_page_says_what_the_fast_code_computes_and_autograd_judges(name, p):
    CHECKS[name](plain, p)


@given(sizes, sizes, sizes, sizes, st.data())
def test_the_bound_and_its_gradient_hold_at_extremes_of_lam(B, S, D, M, data):
    p = problem(B, S, D, M, [3], [3], K=1, gamma=0.0, alpha=0.1, seed=data.draw(seeds))
    p.lam = data.draw(lams(B, D, extreme=True))
    check_f(plain, p)
    check_grad_f(plain, p)


def test_logits_of_ten_thousand_overflow_nothing():
    theta, lam = np.array([1e4, -1e4, 0.0, 0.0]), np.array([[1.0, -20.0]])
    results = plain.grad_f(lam, theta, np.array([[0.0, 0.0]]), np.zeros((1, 1, 1)), (1, 2))
    assert all(np.isfinite(r).all() for r in results)
    assert_close(results[0], 1e4 + AnalyticKL.value(lam, np.zeros(2)), 1e-12, name="the loss")


@given(problems(), st.integers(-300, 2))
def test_a_product_by_difference_is_good_to_its_order_whatever_the_length_of_v(p, exponent):
    p.v = p.v / max(np.abs(p.v).max(), 1e-300) * 10.0**exponent
    check_hessian_product(plain, p)


def test_a_product_with_zero_is_zero_and_examples_do_not_mix():
    p = problem(B=3, S=2, D=2, M=4, hidden=[3], other_hidden=[3], K=0, gamma=0.0, alpha=0.1, seed=1)
    p.v[1] = 0
    H_lam_v, _ = plain.hessian_product(p.lam, p.theta, p.x, p.noise[0], p.decoder, p.v)
    assert not H_lam_v[1].any() and H_lam_v[[0, 2]].all()
    assert not np.any(plain.hessian_product(p.lam, p.theta, p.x, p.noise[0], p.decoder, 0 * p.v)[1])


# --- the page itself ---------------------------------------------------------------------------------------------------


def test_the_page_is_a_page():
    lines = inspect.getsource(plain).splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120


def test_the_page_imports_numpy_alone():
    nodes = list(ast.walk(ast.parse(inspect.getsource(plain))))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import numpy as np"]
    assert not {"__import__", "import_module", "exec", "eval"} & {
        getattr(node, "id", getattr(node, "attr", None)) for node in nodes
    }


def test_every_function_of_the_page_is_checked():
    functions = {name for name, value in vars(plain).items() if isinstance(value, types.FunctionType)}
    assert functions == {*CHECKS, "backward"} == set(RESULTS)


# --- mutations: the named check must fail ------------------------------------------------------------------------------


MUTATIONS = {
    "mlp": [
        ("h = np.tanh(a)", "h = 1.001 * np.tanh(a)"),
        ("a = h @ W + b", "a = h @ W"),
        ("d_a = d_h * (1 - h**2)", "d_a = d_h"),
        ("d_a = d_h * (1 - h**2)", "d_a = d_h * (1 - 1.001 * h**2)"),
        ("W.size), d_a, *d_params]", "W.size), 1.001 * d_a, *d_params]"),
        ("d_h = d_a @ W.T", "d_h = 1.001 * d_a @ W.T"),
        ("d_W = h[..., :, None] * d_a[..., None, :]", "d_W = 1.001 * h[..., :, None] * d_a[..., None, :]"),
    ],
    "kl": [
        ("(s2 + (mu - mu_p) ** 2) / s2_p - 1)", "(s2 + (mu - mu_p) ** 2) / s2_p)"),
        ("0.5 * (log_var_p - log_var", "0.5 * (log_var"),
        ("[(mu - mu_p) / s2_p, ", "[mu - mu_p, "),
        ("0.5 * (s2 / s2_p - 1)", "0.5 * (s2 / s2_p)"),
        ("0.5 * (s2 / s2_p - 1)", "0.5005 * (s2 / s2_p - 1)"),
    ],
    "f": [
        ("np.exp(log_var / 2) * noise, theta", "np.exp(log_var) * noise, theta"),
        ("x * a - np.logaddexp(0, a)", "x * a - 1.001 * np.logaddexp(0, a)"),
        ("log_px.mean(axis=0)", "log_px.sum(axis=0)"),
        ("return kl(lam, 0 * lam)[0] - log_px", "return -log_px"),
    ],
    "grad_f": [
        ("sigma_e = np.exp(log_var / 2)", "sigma_e = np.exp(log_var)"),
        ("e_x = x - 0.5", "e_x = 1.001 * x - 0.5"),
        ("d_lam = kl(lam, 0 * lam)[1] - np", "d_lam = -np"),
        ("(d_z * sigma_e / 2)", "(d_z * sigma_e)"),
        ("(d_z * sigma_e / 2)", "(d_z * noise / 2)"),
        ("-(weights * d_theta", "-(1.001 * weights * d_theta"),
        ("-(weights * d_theta", "-(d_theta"),
    ],
    "hessian_product": [
        ("(lam_plus - lam_minus) * 0.5 / r", "(lam_plus - lam_minus) * 0.5005 / r"),
        ("grad_f(lam + r * v,", "grad_f(lam + 1.001 * r * v,"),
        ("grad_f(lam - r * v,", "grad_f(lam,"),
        ("theta_plus - theta_minus", "theta_plus"),
        ("r = 1e-5 /", "r = 1e-2 /"),
        ("r = 1e-5 /", "r = 1e-11 /"),
    ],
    "svi": [
        ("v = gamma * v - grad_f(lam[k]", "v = -grad_f(lam[k]"),
        ("v = gamma * v - grad_f(lam[k]", "v = gamma * v - 1.001 * grad_f(lam[k]"),
        ("noise[k], decoder)[1]", "noise[0], decoder)[1]"),
        ("lam.append(lam[k] + alpha * v)", "lam.append(lam[k] + v)"),
        ("grad_f(lam[K], theta", "grad_f(lam[0], theta"),
        ("return *grad_f(lam[K], theta, x, noise[K]", "return *grad_f(lam[K], theta, x, noise[0]"),
    ],
    "vae": [
        ("return loss, d_theta, backward(d_lam, record)[1]", "return loss, d_theta, 1.001 * backward(d_lam, record)[1]"),
        ("return loss, d_theta, backward(d_lam, record)[1]", "return loss, 1.001 * d_theta, backward(d_lam, record)[1]"),
    ],
    "sa_vae": [
        ("v_bar = v_bar + alpha * lam_bar", "v_bar = alpha * lam_bar"),
        ("v_bar = v_bar + alpha * lam_bar", "v_bar = v_bar + 1.001 * alpha * lam_bar"),
        ("lam_bar = lam_bar - H_lam_v", "pass"),
        ("lam_bar = lam_bar - H_lam_v", "lam_bar = lam_bar - 1.001 * H_lam_v"),
        ("theta_bar = theta_bar - H_theta_v", "pass"),
        ("theta_bar = theta_bar - H_theta_v", "theta_bar = theta_bar - 1.001 * H_theta_v"),
        ("v_bar = gamma * v_bar", "pass"),
        ("for k in reversed(range(K))", "for k in range(K)"),
        ("product(lam[k], theta, x, noise[k]", "product(lam[k], theta, x, noise[K]"),
        ("backward(lam_bar, record)[1]", "1.001 * backward(lam_bar, record)[1]"),
    ],
    "vae_svi": [
        ("kl(lam_0, lam[-1])[1] if", "kl(lam[-1], lam_0)[1] if"),
        ("kl(lam_0, lam[-1])[1] if", "1.001 * kl(lam_0, lam[-1])[1] if"),
        ("grad_f(lam_0, theta, x, noise[0]", "grad_f(lam[-1], theta, x, noise[0]"),
        ("grad_f(lam_0, theta, x, noise[0]", "grad_f(lam_0, theta, x, noise[-1]"),
        ("if with_kl else", "if not with_kl else"),
    ],
    "iterative": [
        ("np.sign(-d_lam)", "np.sign(d_lam)"),
        ("np.abs(d_lam) + eps", "np.abs(d_lam)"),
        ("[alpha * np.log", "[1.001 * alpha * np.log"),
        ("lam = g * lam_t + (1 - g) * c", "lam = g * c + (1 - g) * lam_t"),
        ("np.hstack([(1 - g) * d_lam", "np.hstack([d_lam"),
        ("(lam_t - c) * g * (1 - g) * d_lam", "(lam_t - c) * g * d_lam"),
        ("(lam_t - c) * g * (1 - g) * d_lam", "1.001 * (lam_t - c) * g * (1 - g) * d_lam"),
        ("d_phi = d_phi + backward", "d_phi = backward"),
        ("[1].sum(axis=0) / T", "[1].sum(axis=0)"),
        ("x, noise[t + 1], decoder", "x, noise[t], decoder"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "name, old, new", [(name, *change) for name, changes in MUTATIONS.items() for change in changes]
)
def test_the_checks_catch_a_changed_line(name, old, new):
    source = inspect.getsource(plain)
    assert source.count(old) == 1, f"{old!r} is not on the page once; the mutation needs to follow it"
    page = types.ModuleType("page")
    exec(source.replace(old, new), page.__dict__)
    CHECKS[name](plain, SMALL)
    with pytest.raises(AssertionError, match="is off by"):
        CHECKS[name](page, SMALL)


RESULTS = {"mlp": 1, "backward": 2, "kl": 2, "f": 1, "grad_f": 3, "hessian_product": 2, "svi": 3} | dict.fromkeys(
    ("vae", "sa_vae", "vae_svi", "iterative"), 3
)  # how many arrays a function returns first


@pytest.mark.parametrize("name, entry", [(name, entry) for name, number in RESULTS.items() for entry in range(number)])
def test_the_checks_catch_a_result_times_1001_thousandths(name, entry):
    def wrong(*args, **options):
        result = getattr(plain, name)(*args, **options)
        if name == "f":
            return 1.001 * result
        return tuple(1.001 * r if i == entry else r for i, r in enumerate(result))

    page = SimpleNamespace(**vars(plain) | {name: wrong})
    with pytest.raises(AssertionError, match="is off by"):
        CHECKS["mlp" if name == "backward" else name](page, SMALL)
