# %% [markdown]
# # 3. Stochastic variational inference: step size and momentum
#
# **The question.** Given a model, one $x$, and the gradient of lesson 2: how do we find the best $q$? By steps uphill.
# How large may a step be, and what does momentum buy?

# %%
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import savi
from savi import plots, testing
from savi.experiments.evaluation import neg_elbo, optimum
from savi.inference.svi import ascend, ascent, clipped
from savi.studies.figures import lesson

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## The loop
#
# $f = -$ELBO, [E2]. From $\lambda_0$ (here the prior) and $v_0 = 0$, for $k = 0, \dots, K-1$:
#
# $$v_{k+1} = \gamma\, v_k - \nabla_\lambda f(\lambda_k), \qquad \lambda_{k+1} = \lambda_k + \alpha\, v_{k+1}$$
#
# ([SA] section 2, and the forward half of its Algorithm 1). $\alpha$ is the step size, $0 \le \gamma < 1$ the momentum.
# *Stochastic* meant in Hoffman et al. (2013), who coined the name, that each step sees a random part of the data. Here, as
# in [SA], each example has steps of its own, and what is random in a gradient is the noise of its samples. In savi this is
# `savi.inference.svi.ascent`; here it is once more by hand, on a small random model, to see that the two are the same.
#
# **A check that would fail.** Break it: put the other common form of momentum into line A,
# `v = gamma * v - (1 - gamma) * ...`. It is a fine algorithm, with another meaning of $\alpha$: a step size from a paper is
# worth nothing without its convention.

# %%
rng = np.random.default_rng(0)
small = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([2, 5, 6]), savi.Bernoulli()))
theta = small.init(rng)
f = small.objective(theta, (rng.random((3, 6)) < 0.5).astype(float))
noise, alpha, gamma = rng.standard_normal((5, 1, 3, 2)), 0.3, 0.5

lam = small.prior_lam(3)
v = np.zeros_like(lam)
for noise_k in noise:
    v = gamma * v - f.evaluate(lam, noise_k).d_lam  # line A
    lam = lam + alpha * v
testing.assert_close(lam, ascend(f, small.prior_lam(3), noise, alpha, gamma), rtol=1e-12, name="lam_5")

# %% [markdown]
# ## Clipping
#
# One huge gradient can throw an estimate far away. So the sources *clip*: the gradient of an example, a row $g$, is scaled
# down to the length $c$ where it is longer, and left alone where it is not,
#
# $$\mathrm{clip}_c(g) = g \, \min(1, c / |g|), \qquad v_{k+1} = \gamma v_k - \mathrm{clip}_c(\nabla_\lambda f(\lambda_k)).$$
#
# Its direction stays, unlike where every entry is cut off by itself; each example has its own length, unlike where the
# whole batch is measured; and what is clipped is each new gradient, never the momentum $v$, which may grow to $c / (1 - \gamma)$.

# %%
g = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])  # lengths 5, 0.5 and 0
testing.assert_close(clipped(g, 1.0), np.array([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]), rtol=1e-12)

# %% [markdown]
# ## A bowl, where everything is known
#
# A linear model, $x \sim N(A z, I)$, $z \sim N(0, I)$, and for $q$ a point mass at $\mu$: $f$ is a quadratic with the
# Hessian $H = A^T A + I$. Along an eigenvector with eigenvalue $h$ the error of the loop above obeys
#
# $$\epsilon_{k+1} = (1 + \gamma - \alpha h)\,\epsilon_k - \gamma\,\epsilon_{k-1},$$
#
# and both roots $\rho$ of $\rho^2 - (1 + \gamma - \alpha h)\rho + \gamma = 0$ lie inside the unit circle exactly when
# $0 < \alpha h < 2(1 + \gamma)$ (Polyak 1964). So the *largest* eigenvalue $h_{max}$ limits the step size, and the
# *smallest* then says how long it takes. With the best choice of each, the error shrinks per step by
#
# $$\frac{\kappa - 1}{\kappa + 1}\;\;(\gamma = 0), \qquad \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}\;\;
#   (\text{best } \gamma), \qquad \kappa = h_{max} / h_{min}.$$
#
# (At the best $\gamma$ the two roots $\rho$ coincide and the error falls as $k \rho^k$: for a while a little more slowly.)
# [The bowl](book/bowl.md) is a page of the book on which you choose curvatures, step size and momentum, and watch.

# %%
DIM = 2
U, V = (np.linalg.qr(rng.normal(size=(n, DIM)))[0] for n in (4, DIM))
A = U @ np.diag([1.0, np.sqrt(99.0)]) @ V.T  # H has the eigenvalues 2 and 100
bowl = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([DIM, 4]), savi.Gaussian()), kl=savi.PointMass)
theta_bowl = np.concatenate([A.T.ravel(), np.zeros(4), [0.0]])  # W (in, out), bias, the output's log-variance
x_bowl = rng.normal(size=(1, 4))
f = bowl.objective(theta_bowl, x_bowl)
ZERO = bowl.draw_noise(rng, 1, 1)  # a point mass has no noise

evaluation = f.evaluate(bowl.prior_lam(1), ZERO)
H = np.array([f.hvp(evaluation, e[None]).lam[0, :DIM] for e in np.eye(2 * DIM)[:DIM]])  # row by row: lesson 6
testing.assert_close(H, A.T @ A + np.eye(DIM), rtol=1e-12, name="the Hessian")
h_min, h_max = np.linalg.eigvalsh(H)
MODE = np.linalg.solve(H, A.T @ x_bowl[0])  # the mean of the exact posterior


def errors(step_size, momentum, steps):
    """|mu_k - posterior mean|, k = 0 .. steps."""
    walk = ascent(f, bowl.prior_lam(1), [ZERO] * steps, step_size, momentum)
    return np.linalg.norm([-MODE, *(lam[0, :DIM] - MODE for lam in walk)], axis=1)


# %% [markdown]
# **A check that would fail.** Two percent below the limit every run must converge, two percent above it every run must
# blow up. Break it: in line B forget what momentum does, `2 / h_max`.

# %%
for gamma in (0.0, 0.5, 0.9):
    limit = 2 * (1 + gamma) / h_max  # line B
    below, above = (errors(factor * limit, gamma, 400) for factor in (0.98, 1.02))
    print(f"momentum {gamma}: limit {limit:.4f}; error {below[-1]:.1e} just below, {above[-1]:.1e} just above")
    assert below[-1] < 0.01 * below[0], "a step size below the limit does not converge"
    assert above[-1] > 100 * above[0], "a step size above the limit does not diverge"

kappa = h_max / h_min
best = {"no momentum": (2 / (h_min + h_max), 0.0, (kappa - 1) / (kappa + 1))}
rate = (np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1)
best["best momentum"] = ((1 + rate) ** 2 / h_max, rate**2, rate)
bowls = {name: errors(step_size, gamma, 80) for name, (step_size, gamma, _) in best.items()}
for name, (_, gamma, expected) in best.items():
    measured = (bowls[name][60] / bowls[name][30]) ** (1 / 30)
    print(f"{name} ({gamma:.2f}): the error shrinks by {measured:.3f} per step; in theory {expected:.3f}")
    assert abs(measured - expected) < 0.04

# %% [markdown]
# ## Images
#
# The same loop on pictures of letters, where $f$ is no bowl and the gradients are noisy. First a decoder worth asking: a
# small VAE, trained for a few seconds (lesson 4). Then SVI, from the prior, on letters it has not seen. The gap is
# ELBO$(\lambda^*)$ - ELBO$(\lambda_k)$ in nats, $\lambda^*$ from `savi.experiments.evaluation.optimum`, the same noise for all.

# %%
IMAGES, EPOCHS, SEEN = (3000, 4, 30) if QUICK else (6000, 8, 100)
STEPS = 40
glyphs = savi.data.load("glyphs")
model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([16, 100, 784]), savi.Bernoulli()))
vae = savi.VAE(savi.MLP([784, 100, 32]))
trained = savi.fit(model, vae, glyphs._replace(train=glyphs.train[:IMAGES]), EPOCHS, seed=0, learning_rate=3e-3)
theta = trained.theta
x = savi.data.binarize(glyphs.test[:SEEN], np.random.default_rng(1))


def loss(lam):
    """-ELBO, the mean over the images, always at the same noise."""
    return neg_elbo(model, theta, lam, x, np.random.default_rng(2), samples=20).mean()


guess = vae.infer(model, theta, trained.phi, x, np.random.default_rng(3))
best_lam, converged = optimum(model, theta, guess, x, np.random.default_rng(4))
floor = loss(best_lam)
print(f"-ELBO: {loss(model.prior_lam(SEEN, theta.dtype)):.1f} nats at the prior, {floor:.1f} at lam* ({converged=})")


def gap_after(step_size, momentum, at):
    """The gap after each number of steps in `at`."""
    svi = savi.SVI(steps=STEPS, step_size=step_size, momentum=momentum)
    path = svi.path(model, theta, np.zeros(0), x, np.random.default_rng(5))
    return np.array([loss(path[k]) - floor for k in at])


AT = np.array([0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40])
STEP_SIZES = (0.002, 0.005, 0.02, 0.03)
curves = {alpha: gap_after(alpha, 0.0, AT) for alpha in STEP_SIZES}

# %% [markdown]
# Where the step size is far below the limit, a momentum of $\gamma$ adds up about $1 / (1 - \gamma)$ gradients, so that
# what counts is the *effective* step size $\alpha / (1 - \gamma)$. Written with it the limit is
# $2 (1 + \gamma) / ((1 - \gamma) h_{max})$: three times as far out for $\gamma = 0.5$, nineteen times for 0.9. But
# momentum takes about $1 / (1 - \gamma)$ steps to build up and as many to forget, and of those there are only 40.

# %%
EFFECTIVE = np.geomspace(0.002, 0.08, 5 if QUICK else 9)
MOMENTA = (0.0, 0.5, 0.9)
ends = {gamma: np.array([gap_after(a * (1 - gamma), gamma, [STEPS])[0] for a in EFFECTIVE]) for gamma in MOMENTA}
print(f"gap after {STEPS} steps (nats), by effective step size")
print("momentum " + "".join(f"{a:9.3f}" for a in EFFECTIVE))
for gamma, gap in ends.items():
    print(f"{gamma:8} " + "".join(f"{g:9.3g}" for g in gap))

# %% [markdown]
# Without momentum and with $\gamma = 0.5$ the results are the same as long as both are stable, and the one with momentum
# stays so for longer. $\gamma = 0.9$ allows the largest steps of all, and gains nothing by them in so few.

# %%
assert np.all(np.diff(curves[STEP_SIZES[0]]) < 0), "a small step size goes down at every step"
few = EFFECTIVE < 0.015
assert np.all(np.abs(ends[0.0] - ends[0.5])[few] < 0.03 * curves[STEP_SIZES[0]][0]), (
    "the effective step size is what counts"
)
fig, (left, middle, right) = plots.figure(columns=3)
for (name, error), look in zip(bowls.items(), ("vae", "sa-vae")):
    left.semilogy(error, **plots.style(look) | {"label": f"{name}, γ = {best[name][1]:.2f}"}, markevery=10)
    steps = np.arange(81)
    left.semilogy(steps, error[0] * best[name][2] ** steps, color="0.6", linewidth=1, linestyle=":")
above = errors(1.02 * 2 / h_max, 0.0, 80)
left.semilogy(above, **plots.style("svi") | {"label": "2 % above the limit"}, markevery=10)
left.set(xlabel="step", ylabel="distance to the posterior mean", title="a bowl, κ = 50 (dotted: theory)")
left.set_ylim(1e-9, 1e3)
left.legend(frameon=False, fontsize=8)
for (alpha, gap), name in zip(curves.items(), ("vae", "svi", "vae+svi", "sa-vae")):
    middle.plot(AT, gap, **plots.style(name) | {"label": f"α = {alpha}"})
middle.set(xlabel="step", ylabel="gap to the best q (nats per image)", title="images, no momentum", yscale="log")
middle.legend(frameon=False, fontsize=8)
for (gamma, gap), name in zip(ends.items(), ("vae", "vae+svi", "sa-vae")):
    right.plot(EFFECTIVE, gap, **plots.style(name) | {"label": f"γ = {gamma}"})
right.set(
    xlabel="effective step size α / (1 − γ)", ylabel="gap to the best q (nats per image)", xscale="log", yscale="log"
)
right.set_title(f"images, after {STEPS} steps")
right.set_ylim(10, 1000)
right.set_xticks((0.002, 0.005, 0.01, 0.02, 0.05), ("0.002", "0.005", "0.01", "0.02", "0.05"))
right.minorticks_off()
right.legend(frameon=False, fontsize=8)
plots.save(fig, PICTURES / "03_svi.png")

# %% [markdown]
# ## What to try next
#
# - Clip the gradient, `savi.SVI(..., clip=5.0)`: what happens to the step sizes that were too large?
# - Start elsewhere: `start="random"`, or from the encoder (`savi.VAE(..., steps=20)`), and compare the first five steps.
# - Other optimizers: `savi.VariationalEM(savi.optimizers.Adam(0.1))`. [LI] tries four, on a grid of seven step sizes.
# - More noise samples in each gradient, `samples=10`: does the gap after many steps shrink? With a constant step size
#   the estimate never rests; `savi.experiments.evaluation.optimum` averages its iterates and halves the step for that reason.
