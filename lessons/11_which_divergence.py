# %% [markdown]
# # 11. Which divergence to amortize
#
# **The question.** An inference network $q_\phi(x \mid y)$ shall answer every observation $y$ with a good guess of the
# posterior $p(x \mid y)$. *Good* needs a divergence, a divergence is not symmetric, and so there are two ways to train:
# pull $q$ to $p$, or $p$ to $q$. When does the choice matter, and what does each of the two get wrong?
#
# **The equations** ([KL], the note *Amortized inference* of 19 December 2017). The *exclusive* loss is the
# VAE's,
# $$\mathbb E_{p(y)}\big[\mathrm{KL}(q_\phi(\cdot \mid y) \,\|\, p(\cdot \mid y)) - \log p(y)\big]
#   = \mathbb E_{p(y)}\,\mathbb E_{q_\phi}[\log q_\phi(x \mid y) - \log p(x, y)]
#   = \mathbb E_{p(y)}[-\mathrm{ELBO}],$$
# and the *inclusive* loss turns the divergence round,
# $$\mathbb E_{p(y)}\,\mathrm{KL}(p(\cdot \mid y) \,\|\, q_\phi(\cdot \mid y))
#   = \mathbb E_{p(x, y)}[-\log q_\phi(x \mid y)] + \text{const}.$$
# The second needs nothing but draws of the joint: make up $x$, make up $y$ from it, and ask $q$ for $x$ back. The first
# needs a derivative *through* draws of $q$.
#
# savi has both for any program. A program is a function that draws at named sites of a trace `t`, for a whole batch at
# once; `t["y"]` is what was observed. The note's own numbers are lost; the ones here are ours.

# %%
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import autograd
import autograd.numpy as anp
import numpy as np

import savi
from savi import plots
from savi.inference.divergences import exclusive, inclusive, minimize, score_function
from savi.inference.optimizers import Adam
from savi.inference.programs import Networks, log_density, log_softmax, sample
from savi.studies.figures import lesson

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

EXACT = plots.style("vae") | {"label": "exact", "marker": "", "linewidth": 2.4, "alpha": 0.55}
LOOKS = {
    "inclusive": plots.style("vae+svi") | {"label": "inclusive", "linestyle": "--", "markevery": 0.12},
    "exclusive": plots.style("sa-vae") | {"label": "exclusive", "linestyle": "-.", "markevery": (0.06, 0.12)},
}


def train(model, family, phi, steps, batch, step_size, average=0.25):
    """The same start, the same number of steps and draws for both losses: {loss: (phi, losses)}."""
    losses = {
        "inclusive": lambda phi, rng: inclusive(family, phi, sample(model, (batch,), rng)),
        "exclusive": lambda phi, rng: exclusive(model, family, phi, {"y": sample(model, (batch,), rng)["y"]}, rng),
    }
    return {
        name: minimize(loss, phi, steps, np.random.default_rng(0), Adam(step_size), average)
        for name, loss in losses.items()
    }


def density(x, mu, log_var):
    return np.exp(-((x - mu) ** 2) / (2 * np.exp(log_var)) - (np.log(2 * np.pi) + log_var) / 2)


# %% [markdown]
# ## Model 1: where both are right
#
# $x \sim N(\mu_0, s_0^2)$, $y \sim N(x, s^2)$, and $q = N(ay + b, c^2)$: three numbers are all of $\phi$, and the exact
# posterior is one of these $q$, with $a = s_0^2 / (s_0^2 + s^2)$, $b = \mu_0 s^2 / (s_0^2 + s^2)$,
# $c^2 = s_0^2 s^2 / (s_0^2 + s^2)$. A divergence is zero only where both sides agree, whichever way round it is taken.

# %%
MU_0, S_0, S = 1.0, 2.0, 1.0


def model_1(t):
    x = t.normal("x", MU_0, np.log(S_0**2))
    t.normal("y", x, np.log(S**2))


def family_1(t, phi):
    a, b, log_c = phi
    t.normal("x", a * t["y"] + b, 2 * log_c)


TRUE = np.array([S_0**2, MU_0 * S**2, 0]) / (S_0**2 + S**2) + np.array([0, 0, S_0 * S / np.sqrt(S_0**2 + S**2)])
steps, batch = (300, 2000) if QUICK else (1200, 10000)
trained_1 = train(model_1, family_1, np.zeros(3), steps, batch, step_size=0.02, average=0.5)

print("            a        b        c")
print("exact    ", *(f"{value:8.4f}" for value in TRUE))
for name, (phi, _) in trained_1.items():
    found = np.array([phi[0], phi[1], np.exp(phi[2])])
    print(name, *(f"{value:8.4f}" for value in found))
    assert np.abs(found - TRUE).max() < (1e-2 if QUICK else 1e-3)  # the check: both losses find a, b and c

# %% [markdown]
# The loss itself has a floor that no $q$ gets below: the entropy of $p(x \mid y)$ for the inclusive loss, the entropy of
# $p(y)$ for the exclusive one. Both are known here, and both are reached.

# %%
x = np.linspace(-5, 7, 301)
fig, (left, right) = plots.figure(columns=2)
for y in (-2.0, 1.0, 4.0):
    left.plot(x, density(x, TRUE[0] * y + TRUE[1], 2 * np.log(TRUE[2])), **EXACT)
    left.text(TRUE[0] * y + TRUE[1], 0.455, f"y = {y:g}", ha="center")
    for name, (phi, _) in trained_1.items():
        left.plot(x, density(x, phi[0] * y + phi[1], 2 * phi[2]), **LOOKS[name])
left.set(xlabel="x", ylabel="density", ylim=(0, 0.6), title="model 1: p(x | y) and q(x | y)")
floors = {"inclusive": np.log(TRUE[2]), "exclusive": np.log(np.sqrt(S_0**2 + S**2))}
for name, (_, losses) in trained_1.items():
    floor = floors[name] + 0.5 * np.log(2 * np.pi * np.e)
    early = slice(0, max(100, steps // 10))
    right.plot(losses[early] - floor, **LOOKS[name])
    assert abs(np.mean(losses[-steps // 4 :]) - floor) < (0.02 if QUICK else 0.002)
right.set(xlabel="step", ylabel="loss − its floor (nats per example)", title="training, first steps")
left.legend(*(part[:3] for part in left.get_legend_handles_labels()), frameon=False, loc="upper left", fontsize=8)
right.legend(frameon=False)
plots.save(fig, PICTURES / "11_model_1.png")

# %% [markdown]
# ## Model 2: where they must differ
#
# $x \sim \sum_k \pi_k N(\mu_k, s_k^2)$ and much noise, $y \sim N(x, s^2)$: between the modes the posterior has two peaks,
# and $q = N(\eta^1(y), \eta^2(y)^2)$ has one. Now no $q$ is right, and the two losses err in their own ways.
#
# - Inclusive: where $p$ has mass and $q$ has none, $-\log q$ is huge. So $q$ *covers*: the best normal has the posterior's
#   mean and variance (set the derivative of $\mathbb E_p[-\log q]$ by either to zero).
# - Exclusive: where $q$ has mass and $p$ has none, $-\log p$ is huge. So $q$ *seeks one mode* and stays inside.
#
# Move the modes yourself: [two divergences](book/divergences.md), a page of the book.
#
# One network gives both numbers, the mean and the log-variance.
#
# In the picture below the exclusive network sits on the larger peak, and has one peak's width whatever $y$ is; at $y = 0$ it
# has to cross from one to the other, and as a network is continuous it is wide there for a moment.

# %%
PI, MU, LOG_VAR, LOG_NOISE = np.array([0.5, 0.5]), np.array([-2.5, 2.5]), np.log([0.8**2, 0.8**2]), np.log(2.5**2)


def model_2(t):
    x = t.mixture("x", np.log(PI), MU, LOG_VAR)
    t.normal("y", x, LOG_NOISE)


nets_2 = Networks(x=savi.MLP([1, 30, 2]))


def family_2(t, phi):
    nets_2.normal(t, phi, "x", t["y"])


steps, batch = (300, 200) if QUICK else (2000, 250)
trained_2 = train(model_2, family_2, nets_2.init(np.random.default_rng(1)), steps, batch, step_size=0.03)

# %% [markdown]
# The exact posterior is the joint density on a grid of $x$, made to sum to one: `log_density` takes draws that broadcast.

# %%
x, ys = np.linspace(-8, 8, 401), np.linspace(-6, 6, 121)
posterior = np.exp(log_density(model_2, {"x": x[:, None], "y": ys}))
posterior /= posterior.sum(axis=0) * (x[1] - x[0])  # (x, y)
mean = (x[:, None] * posterior).sum(axis=0) / posterior.sum(axis=0)
sd = np.sqrt(((x[:, None] - mean) ** 2 * posterior).sum(axis=0) / posterior.sum(axis=0))
outputs_2 = {name: nets_2(phi, "x", ys).T for name, (phi, _) in trained_2.items()}  # mean and log-variance, by y

covers, seeks = outputs_2["inclusive"], outputs_2["exclusive"]
usual = np.abs(ys) < 5  # nearly all of p(y)
print("inclusive: largest error of the mean ", np.abs(covers[0] - mean)[usual].max())
print("inclusive: largest error of the sd   ", np.abs(np.exp(covers[1] / 2) - sd)[usual].max())
decided = usual & (np.abs(ys) > 0.95)  # away from y = 0, where the two modes are alike and the network crosses over
print(
    "exclusive: its largest sd at |y| >= 1 ", np.exp(seeks[1] / 2)[decided].max(), "the posterior's:", sd[decided].max()
)
assert np.abs(covers[0] - mean)[usual].max() < (0.8 if QUICK else 0.25)  # moments of the posterior
assert np.abs(np.exp(covers[1] / 2) - sd)[usual].max() < (0.8 if QUICK else 0.25)
assert np.exp(seeks[1] / 2)[decided].max() < (1.8 if QUICK else 1.0) < 2 < sd[decided].max()  # one mode's width

# %%
fig, axes = plots.figure(columns=3, rows=2, width=3.6, height=3.0)
for ax, y in zip(axes.flat, (-4.0, -1.0, 1.0, 4.0)):
    i = np.argmin(np.abs(ys - y))
    ax.plot(x, posterior[:, i], **EXACT)
    for name, (mu, log_var) in outputs_2.items():
        ax.plot(x, density(x, mu[i], log_var[i]), **LOOKS[name])
    ax.set(xlabel="x", ylabel="density", title=f"model 2, y = {y:g}", ylim=(0, 0.62))
for ax, exact, values, label in [
    (axes[1, 1], mean, lambda lam: lam[0], "mean of x, $\\eta^1(y)$"),
    (axes[1, 2], sd, lambda lam: np.exp(lam[1] / 2), "sd of x, $\\eta^2(y)$"),
]:
    ax.plot(ys, exact, **EXACT)
    for name, lam in outputs_2.items():
        ax.plot(ys, values(lam), **LOOKS[name])
    ax.set(xlabel="observation y", ylabel=label, title="the network's outputs")
axes[0, 0].legend(frameon=False, loc="upper right")
plots.save(fig, PICTURES / "11_model_2.png")

# %% [markdown]
# ## Model 3: a discrete latent
#
# The same mixture with its component $z$ kept as a latent: $q(z \mid y)\, q(x \mid y, z)$ has a network for each, and
# enough freedom to hold the exact posterior again, in closed form for a given $z$. Draws of $z$ cannot be reparameterized.
# The inclusive loss does not care. The exclusive loss here *enumerates*: it tries every $z$ and weights the terms by
# $q(z \mid y)$.

# %%
PI_3, MU_3, LOG_VAR_3, LOG_NOISE_3 = (
    np.array([0.3, 0.4, 0.3]),
    np.array([-4.0, 0.0, 4.0]),
    np.log([1.0, 0.5, 1.0]),
    np.log(1.5**2),
)


def model_3(t):
    z = t.discrete("z", np.log(PI_3))
    x = t.normal("x", MU_3[z], LOG_VAR_3[z])
    t.normal("y", x, LOG_NOISE_3)


nets_3 = Networks(z=savi.MLP([1, 20, 3]), x=savi.MLP([4, 20, 2]))


def family_3(t, phi):
    z = nets_3.discrete(t, phi, "z", t["y"])
    nets_3.normal(t, phi, "x", t["y"], *(z == k for k in range(3)))


steps, batch = (150, 200) if QUICK else (1000, 250)
trained_3 = train(model_3, family_3, nets_3.init(np.random.default_rng(2)), steps, batch, step_size=0.03)

# %% [markdown]
# The check: $-\mathrm{ELBO} + \log p(y)$ is $\mathrm{KL}(q \,\|\, p(\cdot \mid y))$, zero for the exact posterior, and
# $p(y)$ is a sum over $z$ of integrals over a grid. In nats, averaged over $p(y)$:

# %%
ys = np.linspace(-8, 8, 81)
x = np.linspace(-9, 9, 301)
z = np.arange(3)[:, None, None]
joint_3 = np.exp(log_density(model_3, {"z": z, "x": x[:, None], "y": ys}))  # (z, x, y)
evidence = joint_3.sum(axis=(0, 1)) * (x[1] - x[0])


def divergence_from(model, family, phi, ys, evidence, samples=200):
    """KL(q || p(.|y)) averaged over p(y) on the grid ys, by the exclusive loss."""
    loss = np.mean(exclusive(model, family, phi, {"y": ys}, np.random.default_rng(3), samples), axis=0)
    return np.sum(evidence * (loss + np.log(evidence))) / np.sum(evidence)


for name, (phi, _) in trained_3.items():
    kl = divergence_from(model_3, family_3, phi, ys, evidence)
    print(f"model 3, {name}: KL(q || posterior) = {kl:.4f} nats")
    assert -0.01 < kl < (0.25 if QUICK else 0.03)

# %%
fig, axes = plots.figure(columns=3, rows=2, width=3.6, height=3.0)
for ax, y in zip(axes[0], (-2.5, 1.0, 6.0)):
    i = np.argmin(np.abs(ys - y))
    ax.plot(x, joint_3[:, :, i].sum(axis=0) / evidence[i], **EXACT)
    for name, (phi, _) in trained_3.items():
        draws = {"z": np.arange(3)[:, None], "x": x}
        q = np.exp(-inclusive(family_3, phi, draws | {"y": ys[i]}))  # (z, x)
        ax.plot(x, q.sum(axis=0), **LOOKS[name])
    ax.set(xlabel="x", ylabel="density", title=f"model 3, y = {y:g}", ylim=(0, 0.8))
precision = np.exp(-LOG_VAR_3) + np.exp(-LOG_NOISE_3)
for k in range(3):
    axes[1, 0].plot(ys, joint_3[k].sum(axis=0) * (x[1] - x[0]) / evidence, **EXACT)
    axes[1, 1].plot(ys, (MU_3[k] * np.exp(-LOG_VAR_3[k]) + ys * np.exp(-LOG_NOISE_3)) / precision[k], **EXACT)
    axes[1, 2].plot(ys, np.full(len(ys), precision[k] ** -0.5), **EXACT)
    for name, (phi, _) in trained_3.items():
        probability = np.exp(log_softmax(nets_3(phi, "z", ys)))
        mu, log_var = nets_3(phi, "x", ys, *(np.full(len(ys), j == k) for j in range(3))).T
        likely = probability[:, k] > 0.01  # elsewhere nothing asks what x would be
        axes[1, 0].plot(ys, probability[:, k], **LOOKS[name])
        axes[1, 1].plot(ys[likely], mu[likely], **LOOKS[name])
        axes[1, 2].plot(ys[likely], np.exp(log_var / 2)[likely], **LOOKS[name])
for ax, label in zip(axes[1], ["q(z | y), z = 0, 1, 2", "mean of x given z", "sd of x given z"]):
    ax.set(xlabel="observation y", ylabel=label, title="the networks' outputs")
axes[1, 2].set_ylim(0, 1.4)
axes[0, 0].legend(*axes[0, 0].get_legend_handles_labels(), frameon=False, loc="upper right")
plots.save(fig, PICTURES / "11_model_3.png")

# %% [markdown]
# ## Model 4: a program that branches
#
# How many latents there are depends on latents. `with t.when(...)` is an `if` for a whole batch, and nests; a draw that
# was not made reads 0. The family has the model's shape, and a network for each site, which sees $y$ and, where the model
# has a dependence, the draws before.


# %%
def model_4(t):
    kind = t.discrete("kind", np.log([0.4, 0.6]))
    with t.when(kind == 0):
        a = t.normal("a", -3.0, 0.0)
    with t.when(kind == 1):
        side = t.discrete("side", np.log([0.5, 0.5]))
        with t.when(side == 0):
            b = t.normal("b", 2.0, np.log(0.6**2))
        with t.when(side == 1):
            c = t.normal("c", 0.0, 0.0)
            d = t.normal("d", 1 + 1.5 * c, np.log(0.6**2))
    t.normal("y", a + b + d, np.log(0.7**2))  # one of the three was drawn


nets_4 = Networks(
    kind=savi.MLP([1, 15, 2]),
    side=savi.MLP([1, 15, 2]),
    a=savi.MLP([1, 15, 2]),
    b=savi.MLP([1, 15, 2]),
    c=savi.MLP([1, 15, 2]),
    d=savi.MLP([2, 15, 2]),
)


def family_4(t, phi):
    y = t["y"]
    kind = nets_4.discrete(t, phi, "kind", y)
    with t.when(kind == 0):
        nets_4.normal(t, phi, "a", y)
    with t.when(kind == 1):
        side = nets_4.discrete(t, phi, "side", y)
        with t.when(side == 0):
            nets_4.normal(t, phi, "b", y)
        with t.when(side == 1):
            c = nets_4.normal(t, phi, "c", y)
            nets_4.normal(t, phi, "d", y, c)


print({name: value.round(2) for name, value in sample(model_4, (4,), np.random.default_rng(4)).items()})  # NaN: no draw
steps, batch = (120, 200) if QUICK else (1000, 250)
trained_4 = train(model_4, family_4, nets_4.init(np.random.default_rng(5)), steps, batch, step_size=0.03)

# %% [markdown]
# Brute force knows the answer: three branches, each on a grid of its continuous draws (`nan`: no draw).

# %%
nan, h = np.array(np.nan), 0.2
ys, x = np.linspace(-6, 6, 41), np.arange(-8, 9, h)
none = {"a": nan, "side": nan, "b": nan, "c": nan, "d": nan, "y": ys}
BRANCHES = {
    "a": none | {"kind": 0, "a": x[:, None]},
    "b": none | {"kind": 1, "side": 0, "b": x[:, None]},
    "c, d": none | {"kind": 1, "side": 1, "c": x[:, None, None], "d": x[None, :, None]},
}


def masses(program_density):
    """The joint density of each branch on its grid -> {branch: (y,)} integrated."""
    return {
        name: p.sum(axis=tuple(range(p.ndim - 1))) * h ** (p.ndim - 1)
        for name, p in ((name, np.exp(program_density(draws))) for name, draws in BRANCHES.items())
    }


exact_4 = masses(lambda draws: log_density(model_4, draws))
evidence = sum(exact_4.values())
found_4 = {}
for name, (phi, _) in trained_4.items():
    kl = divergence_from(model_4, family_4, phi, ys, evidence)
    print(f"model 4, {name}: KL(q || posterior) = {kl:.4f} nats")
    assert -0.01 < kl < (0.5 if QUICK else 0.05)
    found_4[name] = masses(lambda draws, phi=phi: -inclusive(family_4, phi, draws))
    assert np.allclose(sum(found_4[name].values()), 1, atol=0.02)  # q is a distribution over all branches

# %%
fig, axes = plots.figure(columns=3, rows=2, width=3.6, height=3.0)
for ax, branch in zip(axes[0], BRANCHES):
    ax.plot(ys, exact_4[branch] / evidence, **EXACT)
    for name in trained_4:
        ax.plot(ys, found_4[name][branch], **LOOKS[name])
    ax.set(xlabel="observation y", ylabel=f"q(branch with {branch} | y)", ylim=(-0.03, 1.03))
for ax, y in zip(axes[1], (-1.5, 1.0, 4.0)):
    draws = BRANCHES["c, d"] | {"y": np.full((1, 1, 1), y)}
    joint = np.exp(log_density(model_4, draws))[:, :, 0]
    ax.plot(x, joint.sum(axis=1) * h / np.interp(y, ys, evidence), **EXACT)
    for name, (phi, _) in trained_4.items():
        joint = np.exp(-inclusive(family_4, phi, draws))[:, :, 0]
        ax.plot(x, joint.sum(axis=1) * h, **LOOKS[name])
    ax.set(xlabel="c", ylabel="q(branch with c, d; c | y)", title=f"model 4, y = {y:g}", xlim=(-4, 4))
axes[0, 0].legend(frameon=False, loc="upper right")
plots.save(fig, PICTURES / "11_model_4.png")

# %% [markdown]
# Both find the posterior, as it is in the family. Where they still differ, at $y$ beyond 4, there was little to learn from:
# training draws $y$ from $p(y)$, and an error where observations hardly ever come costs hardly anything, in either loss.
#
# ## When nothing can be enumerated
#
# With twenty binary draws there are a million paths. The score function needs one:
# $\nabla\, \mathbb E_q[f] = \mathbb E_q[(f - b)\, \nabla \log q]$ with $f = \log q - \log p$, for any baseline $b$ that does
# not know the draw, because $\mathbb E_q[\nabla \log q] = 0$ (Williams 1992). It is right on average, and noisy; a baseline,
# here the mean of the other samples of the same $y$, takes out some of the noise: how much, the numbers below say.

# %%
phi = trained_4["inclusive"][0]
y = {"y": np.array([-3.0, 0.0, 3.0])}
rng = np.random.default_rng(7)
runs = 50 if QUICK else 200


def estimates(loss):
    gradient = autograd.grad(lambda phi: anp.mean(loss(phi)))
    return np.array([gradient(phi) for _ in range(runs)])


gradients = {
    "enumeration": estimates(lambda phi: exclusive(model_4, family_4, phi, y, rng, 10)),
    "score, leave one out": estimates(lambda phi: score_function(model_4, family_4, phi, y, rng, 10)),
    "score, no baseline": estimates(lambda phi: score_function(model_4, family_4, phi, y, rng, 10, baseline=None)),
}
for name, g in gradients.items():
    print(
        f"{name:22s} norm of the mean gradient {np.linalg.norm(g.mean(0)):6.2f}, of its noise {np.sqrt(g.var(0).sum()):6.2f}"
    )
noise = {name: np.sqrt(g.var(axis=0).sum()) for name, g in gradients.items()}
assert noise["enumeration"] < noise["score, leave one out"] < noise["score, no baseline"]
difference = gradients["score, leave one out"].mean(axis=0) - gradients["enumeration"].mean(axis=0)
assert np.linalg.norm(difference) < 3 * (noise["enumeration"] + noise["score, leave one out"]) / np.sqrt(runs)

# %% [markdown]
# ## What to try next
#
# 1. Model 2: give the second mode less weight, `PI = np.array([0.7, 0.3])`. Where does the exclusive network switch modes?
#    Does the inclusive one ever switch?
# 2. Model 2 with a family that can hold the posterior: `t.mixture("x", logits, mu, log_var)` with six outputs of a network.
#    Train it by the inclusive loss. Then by `score_function`. Why does `exclusive` refuse it?
# 3. Model 3: start the exclusive loss from other seeds. A component that $q(z \mid y)$ has given up gets no gradient any
#    more; can you make it lose one?
# 4. Model 4: a third kind, with a draw that depends on both `kind` and `y`. Which lines of the family change?
# 5. Break a check: drop `with t.when(side == 1)` from the family but keep its draws. What does savi say, and when?
