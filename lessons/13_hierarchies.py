# %% [markdown]
# # 13. Hierarchies, and why the upper level sleeps
#
# **The question.** Let the prior of $z^1$ come from a second latent variable: $z^2 \to z^1 \to x$. What does the gradient at
# $z^2$ see, what do the methods need to change (nothing), and why can training leave $z^2$ unused?

# %%
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import itertools

import numpy as np

import savi
from savi import plots
from savi.experiments.evaluation import infer, level_kls, neg_elbo
from savi.studies.figures import lesson
from savi.testing import assert_close, check_gradient, check_hvp

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## The equation
#
# $p(x, z) = p(z^2)\, p(z^1 | z^2)\, p(x | z^1)$ with $p(z^1 | z^2) = N(\mu_p(z^2), \mathrm{diag}\, \sigma_p^2)$, and
# $q(z) = q(z^1)\, q(z^2)$ a diagonal Gaussian. With the errors $e^1 = (z^1 - \mu_p(z^2)) / \sigma_p^2$ and
# $e^2 = (z^2 - \mu_{p,2}) / \sigma_{p,2}^2$, the gradient at the upper level ([E12]; [LI] eq. 60) is
# $$\nabla_{\mu^2} \mathrm{ELBO} = E\left[ J^T e^1 - e^2 \right], \qquad J = \partial \mu_p / \partial z^2 :$$
# bottom-up, what comes back through the net of the level below, minus top-down, the pull of its own prior. $x$ is not in it:
# $z^2$ hears of the data through $z^1$ alone.

# %% [markdown]
# ## The call
#
# A `Level` is $p(z^1 | z^2)$: a net from the latents above to those below. Here its variance is the number 0.5. `lam` is one
# array, [mu of all levels, log_var of all levels], lowest first; every method takes the model as it takes one level.

# %%
B, rng = 3, np.random.default_rng(0)
linear = savi.MLP([2, 3], "identity")  # mu_p(z^2) = z^2 W + b
decoder = savi.MLPDecoder(savi.MLP([3, 6, 5]), savi.Bernoulli())
small = savi.HierarchicalModel(decoder, [savi.Level(linear, 0.5)], kl=savi.SampledKL)
theta, x = rng.normal(0, 0.5, small.size), (rng.random((B, 5)) < 0.5).astype(float)
lam, noise = rng.normal(size=(B, small.lam_size)), rng.normal(size=(4, B, small.latent_dim))
e = small.evaluate(lam, theta, x, noise)
print(f"levels of {small.dims} dimensions, lam {lam.shape}, losses {np.round(e.loss, 2)}")

# %% [markdown]
# ## The check
#
# Equation [E12] in its own letters, for the linear level; then all of lam's gradient by the complex step.

# %%
mu, log_var = np.split(lam, 2, axis=1)
z = mu + np.exp(log_var / 2) * noise
z_1, z_2 = z[..., :3], z[..., 3:]
(W,) = linear.layers(small.thetas(theta)[1])
e_1 = (z_1 - z_2 @ W[:-1] - W[-1]) / 0.5
e_2 = z_2 - 0  # the prior of z^2 is N(0, I)
bottom_up, top_down = e_1 @ W[:-1].T, e_2
assert_close(-e.d_lam[:, 3:5], (bottom_up - top_down).mean(axis=0), rtol=1e-12, name="the gradient at mu^2")
check_gradient(lambda lam: small.loss(lam, theta, x, noise), lam, e.d_lam, "complex")
f = small.objective(theta, x)
check_hvp(lambda lam: f.gradient(lam, noise).d_lam, lam, lam, f.hvp(e, lam).lam, "complex")

# %% [markdown]
# ## Sleep is a fixed point
#
# Let the level below not listen: $W = 0$. Then $J^T e^1 = 0$, and $q(z^2)$ runs into its prior, where its gradient is zero. And
# where $q(z^2)$ is the prior, $z^2$ is noise that knows nothing of $x$: the gradient of $W$, $E[z^2 e^{1T}]$, is zero as well, as
# the noise is as often above as below zero. So the point is stationary for lam and for theta: nothing wakes $z^2$ but chance.
# The mean over all noise vectors of $\pm 1$ is exact here, as $W = 0$ makes every term a quadratic.

# %%
asleep, signs = theta.copy(), np.array(list(itertools.product([-1.0, 1.0], repeat=small.latent_dim)))
linear.layers(small.thetas(asleep)[1])[0][:-1] = 0
at_prior = lam.copy()
at_prior[:, [3, 4, 8, 9]] = 0  # mu^2 and log_var^2
every = np.tile(signs[:, None], (1, B, 1))
still = small.evaluate(at_prior, asleep, x, every)
d_W = linear.layers(small.thetas(small.theta_gradient(at_prior, asleep, x, every))[1])[0][:-1]
assert_close(still.d_lam[:, [3, 4, 8, 9]], np.zeros((B, 4)), atol=1e-12, name="the gradient of q(z^2)")
assert_close(d_W, np.zeros((2, 3)), atol=1e-12, name="the gradient of W")
assert np.abs(still.d_lam).max() > 0.1, "z^1 is not at rest"

# %% [markdown]
# ## What training does, and what refinement does
#
# Two levels on glyphs, trained four ways: a VAE, the same with the KL term's weight rising from 0.1 (so that sleep costs more
# than it saves at first), VAE+SVI, and SA-VAE. Then the KL of each level: one near 0 is not used.

# %%
glyphs = savi.data.load("glyphs")
TRAIN, EPOCHS, STEPS = (100, 2, 2) if QUICK else (1000, 20, 5)
deep = savi.HierarchicalModel(
    savi.MLPDecoder(savi.MLP([16, 64, 784]), savi.Bernoulli()), [savi.Level(savi.MLP([8, 32, 32]))]
)
encoder = savi.BottomUpEncoder(784, [[64], [32]], deep.dims)
WAYS = {
    "VAE": (savi.VAE(encoder), 0),
    "VAE, warm-up": (savi.VAE(encoder), EPOCHS / 2),
    "VAE+SVI": (savi.VAESVI(encoder, STEPS, 0.05, clip=5.0), 0),
    "SA-VAE": (savi.SAVAE(encoder, STEPS, 0.05, clip=5.0), 0),
}
images = savi.data.binarize(glyphs.test[:100], np.random.default_rng(0))
found = {}
for name, (method, warmup) in WAYS.items():
    result = savi.fit(
        deep,
        method,
        glyphs._replace(train=glyphs.train[:TRAIN]),
        EPOCHS,
        0,
        batch=50,
        warmup_epochs=warmup,
        progress=False,
    )
    for steps in (0, STEPS) if name == "VAE" else (method.steps,):
        refined = savi.VAE(encoder, steps, 0.05, clip=5.0)
        rng = np.random.default_rng(0)
        posterior = infer(deep, refined, result.theta, result.phi, images, rng)
        kls = level_kls(deep, result.theta, posterior, images, rng)
        loss = neg_elbo(deep, result.theta, posterior, images, rng).mean()
        found[name + ", then SVI" * bool(steps and name == "VAE")] = (*kls, loss)
        print(f"{name:14} {steps} steps   -ELBO {loss:6.1f}   KL of z^1 {kls[0]:5.2f}, of z^2 {kls[1]:5.2f}")
for kl_1, kl_2, loss in found.values():
    assert np.isfinite([kl_1, kl_2, loss]).all() and kl_1 > 0

# %% [markdown]
# ## The picture
#
# How many nats each level says about an image.

# %%
fig, axes = plots.figure(1, 1, 6.4, 3.0)
for i, (kl_1, kl_2, _) in enumerate(found.values()):
    axes[0].barh(i, kl_1, color="0.75", label=None if i else "z^1")
    axes[0].barh(i, kl_2, left=kl_1, color="C0", label=None if i else "z^2")
axes[0].set(yticks=range(len(found)), yticklabels=list(found), xlabel="KL of each level, nats per image")
axes[0].invert_yaxis()
axes[0].legend()
plots.save(fig, PICTURES / "13_levels.png")

# %% [markdown]
# ## What to take away
#
# - The gradient at a level is bottom-up minus top-down; all methods take it as it is, as lam is one array.
# - A level that is not listened to is not used, and one that is not used is not listened to: the KL of each level belongs in
#   every table of a hierarchy.
# - Sleep is a danger, not a law: here, with one seed, a small net and 20 epochs, the upper level holds a quarter to a third of
#   the nats in each of the four ways, and refinement at test time alone leaves its share as it is.
# - With three seeds and 8000 images of MNIST, 8 processor seconds of training each, the upper level holds less: 1.93 ± 0.21
#   nats of a VAE's KL, 17.93 ± 0.29 being those of the lower one. SVI at test time leaves it there (+0.01 ± 0.01), and an
#   iterative model from the prior, which refines in training as well, has 0.86 ± 0.25 fewer. Nor is it missed: −log p(x) of the
#   VAE with two levels minus that with one is +0.27 ± 0.66, not told apart. The whole table, with glyphs beside MNIST, is that
#   of `figures/li_two_levels.py` in [the results](book/results.md#learning-to-infer).
