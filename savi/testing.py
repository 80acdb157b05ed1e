"""Tools for testing gradients, public: hypothesis strategies and three checks. People use them on their own code.

    check_gradient(f, point, gradient)         a gradient, against differences or the complex step
    check_hvp(gradient, point, v, product)     a Hessian-vector product, against differences of the gradient
    check_density(log_density, grid=... | support=...)   a density that integrates, or sums, to one

Closeness is norm-relative, |a - b| <= rtol |b| + atol in the Euclidean norm of the whole array, never entry by entry and
never absolute *or* relative. Shapes are compared before values. A failure names the worst entry and both its values.
"""

import numpy as np
from hypothesis import strategies as st

from .models.decoders import MLPDecoder
from .models.discrete import Multinomial, Poisson
from .models.gaussian import AnalyticKL, SampledKL
from .models.latent_gaussian import LatentGaussianModel
from .models.likelihoods import Bernoulli, Gaussian
from .nets.activations import ACTIVATIONS
from .nets.mlp import MLP

# --- checks -----------------------------------------------------------------------------------------------------------


def assert_close(actual, expected, rtol=1e-9, atol=0.0, name="result"):
    """AssertionError unless shapes agree and |actual - expected| <= rtol |expected| + atol (norms of whole arrays)."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{name} has shape {actual.shape}, expected {expected.shape}"
    if not actual.size:
        return
    difference = np.abs(actual - expected)
    error, allowed = np.linalg.norm(difference), rtol * np.linalg.norm(expected) + atol
    if not error <= allowed:  # NaN does not pass
        worst = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference)), difference.shape)
        index = ", ".join(str(int(i)) for i in worst)
        raise AssertionError(
            f"{name} is off by {error:.3g} in norm, {allowed:.3g} is allowed; worst entry [{index}]: "
            f"{actual[worst]:.12g}, expected {expected[worst]:.12g}"
        )


def numeric_gradient(f, point, method="central", r=None):
    """The gradient of sum(f(point)), entry by entry: f takes an array like `point`, of any shape.

    method: "central" (difference step r, default 6e-6 max(1, |entry|)) or "complex" (exact to rounding; f must take
    complex numbers and use no abs, maximum or comparison on what carries derivatives).
    """
    point = np.asarray(point, dtype=float)
    gradient = np.empty(point.shape)
    for index in np.ndindex(point.shape):
        if method == "complex":
            moved = point.astype(complex)
            moved[index] += 1e-20j
            gradient[index] = np.sum(f(moved)).imag / 1e-20
        elif method == "central":
            step = r or 6e-6 * max(1.0, abs(point[index]))
            plus, minus = point.copy(), point.copy()
            plus[index] += step
            minus[index] -= step
            gradient[index] = np.sum(np.asarray(f(plus)) - np.asarray(f(minus))) / (plus[index] - minus[index])
        else:
            raise ValueError(f"method is {method!r}; expected 'central' or 'complex'")
    return gradient


def check_gradient(f, point, gradient, method="central", rtol=None, atol=None):
    """AssertionError unless `gradient` is the gradient of sum(f(.)) at `point`.

    gradient: an array shaped like point, or a function of point. rtol defaults to 1e-6 for "central" and 1e-12 for
    "complex"; atol to 1e-9 (1e-14) times the largest |f| at point, the rounding that a difference cannot avoid.
    """
    gradient = gradient(point) if callable(gradient) else gradient
    expected = numeric_gradient(f, point, method)
    default_rtol, default_atol = {"central": (1e-6, 1e-9), "complex": (1e-12, 1e-14)}[method]
    scale = float(np.max(np.abs(f(np.asarray(point, dtype=float))), initial=0))
    assert_close(
        gradient,
        expected,
        default_rtol if rtol is None else rtol,
        default_atol * scale if atol is None else atol,
        name="the gradient",
    )


def check_hvp(gradient, point, v, product, method="central", rtol=None, atol=None):
    """AssertionError unless `product` is H v, the derivative of `gradient` along v; all are shaped like point.

    gradient: a function of point. method: "central" or "complex", as in check_gradient. product: an array, or a
    function (point, v) -> array; of a function, symmetry (u . H v = v . H u) is checked, too.
    """
    point, v = np.asarray(point, dtype=float), np.asarray(v, dtype=float)
    if method == "complex":
        expected = gradient(point + 1e-20j * v).imag / 1e-20
    else:
        r = 6e-6 * (1 + np.linalg.norm(point)) / max(np.linalg.norm(v), 1e-300)
        expected = (gradient(point + r * v) - gradient(point - r * v)) / (2 * r)
    default_rtol, default_atol = {"central": (1e-6, 1e-9), "complex": (1e-12, 1e-14)}[method]
    rtol, atol = default_rtol if rtol is None else rtol, default_atol * np.linalg.norm(v) if atol is None else atol
    actual = product(point, v) if callable(product) else product
    assert_close(actual, expected, rtol, atol, name="the Hessian-vector product")
    if callable(product):
        u = np.random.default_rng(0).standard_normal(point.shape)
        symmetric = np.sum(v * product(point, u))
        size = np.linalg.norm(u) * np.linalg.norm(actual)
        assert_close(np.sum(u * actual), symmetric, 0, rtol * size + atol, name="u . H v against v . H u")


def check_density(log_density, grid=None, support=None, rtol=1e-6):
    """AssertionError unless exp(log_density) integrates to one over `grid`, or sums to one over `support`.

    log_density: a function of points (n, d) -> (n,), nats. grid: d increasing 1-d arrays, on whose product the trapezoid
    rule integrates (take them wide and fine; practical for d <= 2). support: all points (n, d) of a discrete density.
    """
    if (grid is None) == (support is None):
        raise ValueError("give either a grid (a continuous density) or a support (a discrete one)")
    if support is not None:
        total = np.exp(log_density(np.asarray(support, dtype=float))).sum()
    else:
        points = np.stack([axis.ravel() for axis in np.meshgrid(*grid, indexing="ij")], axis=1)
        values = np.exp(log_density(points)).reshape([len(axis) for axis in grid])
        for axis in reversed(grid):
            values = np.trapezoid(values, axis) if hasattr(np, "trapezoid") else np.trapz(values, axis)  # noqa: NPY201
        total = float(values)
    word = "sums" if grid is None else "integrates"
    assert abs(total - 1) <= rtol, f"the density {word} to {total:.10g}; expected 1 within {rtol:g}"


# --- hypothesis strategies -----------------------------------------------------------------------------------------------

sizes = st.integers(1, 4)
"""A small dimension: batch, samples, latent or layer size."""

seeds = st.integers(0, 2**32 - 1)
"""Seeds for numpy.random.default_rng, where the values themselves need no shrinking."""


def arrays(shape, low=-3.0, high=3.0, extremes=()):
    """Float arrays (shape): seeded draws in [low, high], with some entries replaced by zeros or `extremes`."""

    def build(seed, special, fraction):
        rng = np.random.default_rng(seed)
        values = rng.uniform(low, high, shape)
        return np.where(rng.random(shape) < fraction, special, values)

    return st.builds(build, seeds, st.sampled_from([0.0, *extremes]), st.sampled_from([0.0, 0.0, 0.3, 1.0]))


def lams(batch, latent_dim, extreme=False):
    """Variational parameters (B, 2D) = [mu, log_var]; extreme: some log-variances (and means) of +-10."""
    return arrays((batch, 2 * latent_dim), extremes=(-10.0, 10.0) if extreme else ())


@st.composite
def mlps(draw, inputs=None, outputs=None, activations=tuple(ACTIVATIONS)):
    """An MLP with 0 to 2 hidden layers of 1 to 4 units."""
    hidden = draw(st.lists(sizes, max_size=2))
    first, last = inputs or draw(sizes), outputs or draw(sizes)
    return MLP([first, *hidden, last], draw(st.sampled_from(activations)))


likelihoods = st.sampled_from(
    [Bernoulli(), Multinomial(), Gaussian("global"), Gaussian("per_dimension"), Gaussian("from_z"), Poisson()]
)
"""Every likelihood."""


def observations(likelihood, batch, data_dim):
    """Data x (B, M) drawn from the likelihood itself, at random outputs; repeated rows too."""

    def build(seed, repeat):
        rng = np.random.default_rng(seed)
        out, eta = (
            rng.normal(0, 1.5, (batch, likelihood.outputs(data_dim))),
            rng.normal(0, 0.5, likelihood.size(data_dim)),
        )
        x = likelihood.sample(out, eta, rng)
        return np.repeat(x[:1], batch, axis=0) if repeat else x

    return st.builds(build, seeds, st.booleans())


class Problem:
    """A drawn model with a point to evaluate it at: model, lam (B, 2D), theta (P,), x (B, M), noise (S, B, D), beta."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def __repr__(self):
        shapes = {name: getattr(self, name).shape for name in ("lam", "theta", "x", "noise")}
        return f"Problem({self.model!r}, kl={self.model.kl.__name__}, beta={self.beta}, shapes {shapes})"

    def objective(self):
        """The model's objective at theta, x and beta."""
        return self.model.objective(self.theta, self.x, self.beta)


@st.composite
def problems(draw, likelihood=None, extreme=False, activations=tuple(ACTIVATIONS)):
    """A LatentGaussianModel of any likelihood, net, prior and KL form, and a point to evaluate it at.

    extreme: some means and log-variances of lam are +-10, so that samples reach +-1000 and units saturate.
    """
    B, S, D, M = (draw(sizes) for _ in range(4))
    likelihood = likelihood or draw(likelihoods)
    decoder = MLPDecoder(draw(mlps(D, likelihood.outputs(M), activations)), likelihood)
    prior = draw(st.none() | arrays((2 * D,), -1, 1))
    model = LatentGaussianModel(decoder, prior, draw(st.sampled_from([AnalyticKL, SampledKL])))
    return Problem(
        model=model,
        lam=draw(lams(B, D, extreme)),
        theta=draw(arrays((model.size,), -1.5, 1.5)),
        x=draw(observations(likelihood, B, M)),
        noise=draw(arrays((S, B, D))),
        beta=draw(st.sampled_from([1.0, 0.0, 0.3])),
    )
