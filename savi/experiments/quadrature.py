"""Exact answers for one or two latent dimensions: log p(x), bounds without Monte Carlo noise, and the best Gaussian.

    log p(x) = log int N(z; 0, I) p(x | z) dz        the trapezoid rule, finer where an example needs it
    E_q[log p(x | z)]                                Gauss and Hermite's rule, exact for polynomials of degree 2n - 1
    lam* = argmin_lam f(lam)  over all diagonal Gaussians: a scan of means and scales on the grid's values, then polished

For a smooth integrand that vanishes at the borders the trapezoid rule converges faster than any power of the spacing: a
grid whose coarser half agrees with it is as good as exact. Latent coordinates are u = (z - mu_p) / sigma_p throughout.
"""

import numpy as np

from ..engine import given, threads
from ..engine.files import InputError
from ..models.gaussian import LOG_2PI, AnalyticKL, split

BATCH = CHUNK = 10  # examples and points that are evaluated at a time
DEPTH = 18.0  # nats below an integrand's peak: what lies deeper is left out
REACH = 6.0  # of the grid, in prior standard deviations: what lies outside has a probability of 4e-9


def log_marginal(model, theta, x, nodes=32, tolerance=0.05, most=256):
    """log p(x) (N,), nats, for a latent of one or two dimensions.

    A coarse grid (spacing 0.4) finds the box that holds the integrand down to DEPTH nats below its peak; there the
    integral on nodes + 1 points a dimension is compared with that on every other of them. Where the two differ by more
    than `tolerance`, nodes are doubled, up to `most`. The difference is the coarser half's error; the finer one's is far
    smaller (for sequences of the synthetic oracle below 0.001). Raises InputError on more than two dimensions.
    """
    x, nodes = _given(theta, x), given.whole("nodes", nodes, 2)
    tolerance = given.number("tolerance", tolerance, "(0, inf)")
    low, high = _boxes(model, theta, x)
    value, rows = np.empty(len(x)), np.arange(len(x))
    while len(rows):
        value[rows], coarse = _integrals(model, theta, x[rows], low[rows], high[rows], nodes)
        rows = rows[np.abs(value[rows] - coarse) > tolerance] if nodes < most else rows[:0]
        nodes *= 2
    return value


def _given(theta, x):
    """x as an array of examples; InputError where it is none, or theta no array of floats."""
    given.floats("theta", theta)
    return given.examples("x", x)


def grid(model, spacing):
    """(axis (G,), u (G^D, D)): the grid's coordinates along one dimension, and its points."""
    if model.latent_dim not in (1, 2):
        raise InputError(f"the model has {model.latent_dim} latent dimensions; quadrature is for 1 or 2")
    n = 2 * round(REACH / spacing / 2)  # even, so that every other point is a grid too
    axis = spacing * np.arange(-n, n + 1)
    return axis, np.stack(np.meshgrid(*[axis] * model.latent_dim, indexing="ij"), axis=-1).reshape(-1, model.latent_dim)


def log_likelihoods(model, theta, x, u):
    """log p(x_n | z_g) (N, G) at points u (G, D), or (G, N, D) for points of each example, in chunks."""
    mu, log_var = split(model.prior)
    z = (mu + np.exp(log_var / 2) * u).astype(theta.dtype)
    z = np.broadcast_to(z[:, None], (len(z), len(x), z.shape[1])) if z.ndim == 2 else z

    def part(rows):
        f = model.objective(theta, x[rows])
        pieces = [f.log_px(z[i : i + CHUNK, rows]) for i in range(0, len(z), CHUNK)]
        return np.concatenate(pieces).astype(float).T

    return np.concatenate(list(threads.run(part, [slice(i, i + BATCH) for i in range(0, len(x), BATCH)])))


def _boxes(model, theta, x):
    """(low, high) (N, D): the corners of a box around the points where the integrand is not far below its peak."""
    _, u = grid(model, 0.4)
    log_p = log_likelihoods(model, theta, x, u) - 0.5 * (u**2).sum(axis=1)
    near = (log_p > log_p.max(axis=1, keepdims=True) - DEPTH)[..., None]
    return np.where(near, u, np.inf).min(axis=1) - 0.4, np.where(near, u, -np.inf).max(axis=1) + 0.4


def _integrals(model, theta, x, low, high, nodes):
    """log p(x) (N,) by the trapezoid rule with nodes + 1 points a dimension in a box each, and by every other point."""
    D = model.latent_dim
    steps = np.stack(np.meshgrid(*[np.arange(nodes + 1)] * D, indexing="ij"), axis=-1).reshape(-1, 1, D)
    width = (high - low) / nodes
    u = low + width * steps
    log_p = log_likelihoods(model, theta, x, u) - 0.5 * (u**2).sum(axis=-1).T - 0.5 * D * LOG_2PI
    even, volume = np.all(steps[:, 0] % 2 == 0, axis=1), np.log(width).sum(axis=1)
    return _log_sum(log_p) + volume, _log_sum(log_p[:, even]) + volume + D * np.log(2)


def _log_sum(a):
    top = a.max(axis=1)
    return top + np.log(np.exp(a - top[:, None]).sum(axis=1))


def elbo_parts(model, theta, lam, x, nodes=20):
    """(reconstruction, KL), each (N,), as evaluation.elbo_parts, but E_q exact to `nodes` nodes a dimension."""
    x, (e, weights) = _given(theta, x), hermite(model.latent_dim, given.whole("nodes", nodes, 1))
    if given.floats("lam", lam).shape != (len(x), 2 * model.latent_dim):
        raise InputError(f"lam has shape {lam.shape}; expected ({len(x)}, {2 * model.latent_dim})")

    def part(i):
        f, l = model.objective(theta, x[i : i + BATCH]), lam[i : i + BATCH]
        mu, log_var = split(l)
        z = mu + np.exp(log_var / 2) * e.astype(lam.dtype)[:, None]
        log_px = np.concatenate([f.log_px(z[j : j + CHUNK]) for j in range(0, len(z), CHUNK)])
        return -weights @ log_px.astype(float), AnalyticKL.value(l, f.prior)

    if model.kl is not AnalyticKL:
        raise InputError("bounds by quadrature take the KL term in closed form; expected a model with AnalyticKL")
    reconstruction, kl = zip(*threads.run(part, range(0, len(x), BATCH)))
    return np.concatenate(reconstruction), np.concatenate(kl)


def hermite(D, nodes):
    """(e (nodes^D, D), weights (nodes^D,)): sum w g(e) is E[g(e)] under N(0, I) for polynomials up to 2 nodes - 1."""
    if D not in (1, 2):
        raise InputError(f"the model has {D} latent dimensions; quadrature is for 1 or 2")
    e, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    e = np.stack(np.meshgrid(*[e] * D, indexing="ij"), axis=-1).reshape(-1, D)
    return e, w if D == 1 else np.outer(w, w).ravel()


def best_gaussian(model, theta, x, spacing=0.2, rounds=6):
    """(lam* (N, 2D), its -ELBO (N,)): the global optimum over all diagonal Gaussians, two dimensions.

    E_q[log p(x | z)] is a sum over the grid's values, weighted by q: no network runs in the search. All means on a grid
    and scales from 0.08 to 1.6 are tried; the top of each hill is polished by `rounds` >= 1 finer scans around it, each by half.
    A sum on the grid is an integral for scales from about half its spacing: narrower posteriors need a smaller one.
    """
    if model.latent_dim != 2 or model.prior.any():
        raise InputError("best_gaussian takes models with two latent dimensions and a standard normal prior")
    rounds = given.whole("rounds", rounds, 1)
    x, (axis, u) = _given(theta, x), grid(model, spacing)
    rows = max(1, 2_000_000 // len(u))
    found = []
    for i in range(0, len(x), rows):
        tables = log_likelihoods(model, theta, x[i : i + rows], u).reshape(-1, len(axis), len(axis))
        found += list(threads.run(lambda table: _search(table, axis, rounds), tables))
    lam, loss = map(np.array, zip(*found))
    return lam.astype(theta.dtype), loss


def surface(table, axis, means, log_var):
    """-f (n, n) at means (m_1, m_2) of the grid means x means and fixed log_var (2,): the picture of [SA] Figure 1.

    table (G, G): log p(x | z) on the grid with that axis, as `log_likelihoods` gives it.
    """
    l_1, l_2 = np.asarray(log_var) / 2
    expected = _weights(axis, means, [l_1]) @ table @ _weights(axis, means, [l_2]).T
    return expected - _kl(means, [l_1])[:, None] - _kl(means, [l_2])


def modes(table, axis, depth=4.0):
    """[(z_1, z_2, log posterior below the highest)], the highest first: a posterior's local maxima down to `depth` nats.

    table (G, G): log p(x | z) on the grid with that axis, as `log_likelihoods` gives it; the prior is standard normal.
    """
    log_p = table - 0.5 * (axis[:, None] ** 2 + axis**2)
    inner = log_p[1:-1, 1:-1]
    around = [np.roll(log_p, (i, j), (0, 1))[1:-1, 1:-1] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    rows, columns = np.nonzero(np.all([inner > a for a in around], axis=0) & (inner > inner.max() - depth))
    points = [(axis[i + 1], axis[j + 1], inner[i, j] - inner.max()) for i, j in zip(rows, columns)]
    return sorted(points, key=lambda point: -point[2])


def _search(table, axis, rounds, depth=1.0):
    """Coordinates are m_1, l_1, m_2, l_2: a mean and a log scale each; a round tries 5^4 points around the best.

    Each hill whose top on the coarse grid is at most `depth` nats below the highest is polished: between its points a narrow
    one may be the higher.
    """
    means, logs = np.arange(-4, 4.01, 0.25), np.log(np.geomspace(0.08, 1.6, 9))
    width = np.array([0.25, logs[1] - logs[0]] * 2)
    found = [_polished(table, axis, top, width, rounds) for top in _tops(table, axis, means, logs, depth)]
    (m_1, l_1, m_2, l_2), loss = min(found, key=lambda one: one[1])
    return np.array([m_1, m_2, 2 * l_1, 2 * l_2]), loss


def _tops(table, axis, means, logs, depth):
    """The coarse grid's points that are the best for their means and better than those of the means around them."""
    n, k = len(means), len(logs)
    loss = _losses(table, axis, means, logs, means, logs).reshape(n, k, n, k).transpose(0, 2, 1, 3).reshape(n, n, k * k)
    least = np.pad(loss.min(axis=2), 1, constant_values=np.inf)
    around = [np.roll(least, (i, j), (0, 1))[1:-1, 1:-1] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    inner = least[1:-1, 1:-1]
    for i, j in zip(*np.nonzero(np.all([inner <= a for a in around], axis=0) & (inner <= inner.min() + depth))):
        l_1, l_2 = np.unravel_index(np.argmin(loss[i, j]), (k, k))
        yield np.array([means[i], logs[l_1], means[j], logs[l_2]])


def _polished(table, axis, best, width, rounds):
    """(a point, its -ELBO) after so many scans around a point, each half as wide as the one before."""
    for _ in range(rounds):
        ranges = [b + w * np.linspace(-1, 1, 5) for b, w in zip(best, width)]
        loss = _losses(table, axis, *ranges)
        i, j = np.unravel_index(np.argmin(loss), loss.shape)
        best = np.array([values[at] for values, at in zip(ranges, (i // 5, i % 5, j // 5, j % 5))])
        width = width / 2
    return best, loss[i, j]


def _losses(table, axis, m_1, l_1, m_2, l_2):
    """-ELBO (m_1 x l_1, m_2 x l_2) of all combinations: q factorizes, so two matrix products try all."""
    expected = _weights(axis, m_1, l_1) @ table @ _weights(axis, m_2, l_2).T
    return _kl(m_1, l_1)[:, None] + _kl(m_2, l_2) - expected


def _weights(axis, means, logs):
    """q's weights on the grid's axis, (means * logs, G), each row summing to one."""
    m, s = (a.reshape(-1, 1) for a in np.meshgrid(means, np.exp(logs), indexing="ij"))
    w = np.exp(-0.5 * ((axis - m) / s) ** 2)
    return w / w.sum(axis=1, keepdims=True)


def _kl(means, logs):
    m, l = (a.ravel() for a in np.meshgrid(means, logs, indexing="ij"))
    return 0.5 * (np.exp(2 * l) + m**2 - 1 - 2 * l)
