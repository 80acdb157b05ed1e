# %% [markdown]
# # 10. Sequences: when every number is exact
#
# **The question.** Semi-amortized inference trains an encoder *through* its refinement. On images (lesson 7) its bound was
# lower than the VAE's at equal epochs. Was that the training, or the refinement alone? And how far was either from the
# truth? [SA] 5.1 asks it on data whose truth is known: sequences drawn from an oracle, with a latent variable small enough
# to integrate out.

# %%
import pathlib
import sys

import numpy as np
from matplotlib.colors import BoundaryNorm

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import savi
from savi import plots, quadrature, synthetic
from savi.experiments.evaluation import importance_weighted, infer
from savi.studies.figures import lesson
from savi.studies.sequences import K, best_inner, refined

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## The oracle
#
# $$z \sim N(0, I_2), \qquad h_t = \mathrm{LSTM}(h_{t-1}, x_t), \qquad
#   x_{t+1} \sim \mathrm{softmax}(\mathrm{MLP}([h_t, z])).$$
#
# Its parameters are random and known. The source has 1000 tokens and 100 units; here it is smaller, so that the lesson
# ends in about a minute (`figures/sa_table1.py` runs the real size). The generator is not learned in this lesson: a
# `FixedDecoder` holds its parameters, and what is trained is inference alone.
#
# One step of an LSTM, with $u = [x_t, h_{t-1}]$ and $a = u W + b$ in four parts (Hochreiter & Schmidhuber 1997):
#
# $$i, f, o = \sigma(a_i), \sigma(a_f), \sigma(a_o), \quad g = \tanh(a_g), \qquad
#   c_t = f \odot c_{t-1} + i \odot g, \quad h_t = o \odot \tanh(c_t).$$
#
# Backwards: $c_t$ is used in $h_t$ as well as later, so $\bar c = \bar c_t + o\,(1 - \tanh^2 c_t)\,\bar h_t$; then
# $\bar a_i = g\, i (1 - i)\, \bar c$, $\bar a_f = c_{t-1} f (1 - f)\, \bar c$, $\bar a_o = \tanh(c_t)\, o (1 - o)\, \bar h_t$,
# $\bar a_g = i\,(1 - g^2)\,\bar c$, and $\bar c_{t-1} = f \bar c$, $\bar u = \bar a W^T$, $\bar W = u^T \bar a$. A token's log p is
# $\log \mathrm{softmax}(a)_x$, whose gradient is one at the token, minus softmax, [E10]. Exercise 10 asks for both.
#
# The LSTM's states depend on the tokens, not on $z$. So savi computes them once for all $K$ steps of an inner loop.

# %%
SIZES = {"vocabulary": 200, "units": 40, "examples": (500, 50, 30) if QUICK else (2000, 100, 150)}
data = {oracle: synthetic.load(0, oracle, **SIZES) for oracle in ("tanh", "affine")}
models = {
    oracle: savi.LatentGaussianModel(savi.FixedDecoder(d.decoder, d.theta.astype(np.float32)))
    for oracle, d in data.items()
}
theta = np.zeros(0, np.float32)  # nothing of the generator is learned
for oracle, d in data.items():
    print(oracle, "sequences:", *(" ".join(map(str, x)) for x in d.test[:3]), sep="\n  ")

# %% [markdown]
# ## log p(x), exactly
#
# Two dimensions can be integrated on a grid: $\log p(x) = \log \int N(z; 0, I)\, p(x \mid z)\, dz$. For a smooth
# integrand that vanishes at the borders, the trapezoid rule converges faster than any power of the spacing. So the
# gap $-\text{ELBO} + \log p(x) = KL(q \,\|\, p(z \mid x))$, [E1], is known for each sequence, and so is the part of
# it that no diagonal Gaussian can avoid: `quadrature.best_gaussian` searches all of them. (Importance sampling from
# that Gaussian, [E5], comes close from below: a Gaussian has thinner tails than these posteriors, so even thousands
# of samples see too little of them.)
#
# **A check that would fail.** $KL \ge 0$: no gap is negative, not even by a hair. Break it: replace line A by the estimate
# with 10 samples of the prior, `importance_weighted(model, theta, model.prior_lam(len(x), np.float32), x,
# np.random.default_rng(0), 10)`. It is a lower bound of $\log p(x)$ on average, so gaps look smaller than they are.

# %%
log_px, best = {}, {}
for oracle, model in models.items():
    x = data[oracle].test
    log_px[oracle] = quadrature.log_marginal(model, theta, x)  # line A
    lam, loss = quadrature.best_gaussian(model, theta, x)
    best[oracle] = lam
    approximation = loss + log_px[oracle]
    print(f"{oracle:7} true NLL {-log_px[oracle].mean():.3f}, approximation gap {approximation.mean():.3f}")
    assert approximation.min() > -2e-3, "a bound above log p(x): one of the two is wrong"
    samples = importance_weighted(model, theta, lam, x, np.random.default_rng(0), 2000)
    print(f"        importance-weighted with 2000 samples of the best Gaussian: {-samples.mean():.3f}")
    assert -0.15 < samples.mean() - log_px[oracle].mean() < 0.02, (
        "importance sampling finds nearly the same, from below"
    )

# %% [markdown]
# ## Ways to a posterior
#
# A VAE's encoder; SVI from the prior; the VAE's encoder refined by 20 SVI steps, which it was not trained for; SA-VAE,
# whose encoder was trained through them (Algorithm 1, exact second derivatives). An epoch of SA-VAE costs as much as several
# of the VAE, so there is a second VAE, with four times the epochs. $E_q$ by Gauss and Hermite's rule: no bound below has
# Monte Carlo noise.
#
# Whoever refines does so at the inner step that is best on validation sequences: the step size of the means, its ratio to
# that of the log-variances, and the clipping, searched in one grid for all, which goes on where its end is best. SA-VAE has
# another one in training: 0.002, unclipped, the best of six on these validation sequences, each with its own best at test time.
#
# **A check that would fail.** Refinement must help the encoder that was trained for it. Break it: give SA-VAE in line B
# the step size 0.5.

# %%
EPOCHS = 3 if QUICK else 8
TRAINING = {"epochs": EPOCHS, "seed": 0, "batch": 50, "learning_rate": 2e-3, "progress": False}


def loss(oracle, method, phi, steps, part):
    """-ELBO of each sequence of a part of the data, and the lambda found."""
    x = getattr(data[oracle], part)
    lam = infer(models[oracle], method, theta, phi, x, np.random.default_rng(1), steps)
    return sum(quadrature.elbo_parts(models[oracle], theta, lam, x, nodes=12)), lam


def gap(oracle, method, phi, steps):
    """-ELBO + log p(x) of each test sequence."""
    value, lam = loss(oracle, method, phi, steps, "test")
    return value + log_px[oracle], lam


def encoder():
    return savi.LSTMEncoder(SIZES["vocabulary"], SIZES["units"], SIZES["units"], 4)


def tuned(oracle, start, phi, steps=K):
    """(the best refinement on validation sequences of what `start` proposes, or of the prior; its inner step)."""
    with np.errstate(all="ignore"):  # a step size that diverges loses
        point, _ = best_inner(
            lambda p: loss(oracle, refined(start, p), phi, steps, "valid")[0].mean(), ("step_size", "ratio", "clip")
        )
    return refined(start, point), point


gaps, lams = {}, {}
for oracle, model in models.items():
    vae, longer = savi.VAE(encoder()), savi.VAE(encoder())
    sa = savi.SAVAE(encoder(), K, step_size=0.002, momentum=0.5)  # line B
    trained = {m: savi.fit(model, m, data[oracle], **TRAINING) for m in (vae, sa)}
    trained[longer] = savi.fit(model, longer, data[oracle], **TRAINING | {"epochs": 4 * EPOCHS})
    phi = {m: result.phi for m, result in trained.items()} | {None: None}
    gaps[oracle, "vae"], lams[oracle, "vae"] = gap(oracle, vae, phi[vae], 0)
    print(f"{oracle:7} vae          gap {gaps[oracle, 'vae'].mean():6.3f}")
    for name, m in (("svi", None), ("vae-then-svi", vae), ("longer", longer), ("sa-vae", sa)):
        method, point = tuned(oracle, m and m.encoder, phi[m])
        gaps[oracle, name], lams[oracle, name] = gap(oracle, method, phi[m], K)
        seconds = trained[m].history[-1]["seconds"] if m else 0
        print(
            f"{oracle:7} {name:12} gap {gaps[oracle, name].mean():6.3f}, {seconds:4.1f} s of training, refined by "
            f"{point['step_size']:g} and {point['ratio'] * point['step_size']:g}, clip {point['clip']}"
        )
        assert gaps[oracle, name].min() > -2e-3, "a bound above log p(x)"
    own, unrefined = (gap(oracle, sa, phi[sa], steps)[0].mean() for steps in (K, 0))
    print(f"{oracle:7} SA-VAE's encoder before its steps: {unrefined:.3f}, which is not what a VAE's encoder does")
    for name in ("vae-then-svi", "longer"):
        difference = gaps[oracle, "sa-vae"] - gaps[oracle, name]
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        print(f"{oracle:7} sa-vae minus {name}: {difference.mean():+.3f}, standard error over sequences {error:.3f}")
    assert own < unrefined, "the steps make it worse"
    assert gaps[oracle, "vae-then-svi"].mean() < gaps[oracle, "vae"].mean(), "refinement makes the VAE's guess worse"

# %% [markdown]
# Was it the training, or the refinement alone? Compare *vae-then-svi* with *sa-vae*: at equal epochs 0.60 against 0.58 nats
# with the tanh oracle, 0.21 against 0.21 with the affine one, not told apart over the sequences of one trained pair. At equal
# seconds, the *longer* VAE is level with the tanh oracle (0.575) and ahead with the affine one (0.14, by 0.07 with a standard
# error of 0.01). One pair says nothing about other seeds; `figures/sa_table1.py` has eight oracles of each kind at full size,
# every inner step tuned: SA-VAE is 0.03 ± 0.01 and 0.010 ± 0.002 nats better at equal epochs, 0.03 ± 0.01 and 0.05 ± 0.01 worse
# at equal processor seconds, and at 100 test steps the three that are refined differ by 0.02 at most. So the refinement brings
# all but hundredths of a nat, and those are cheaper to have from a longer training of the plain encoder.
#
# Two things make this look otherwise. An opponent that is not tuned: refined at (0.05, 0.1) and clipped at 2, the first VAE is
# left with 0.93 and 0.55. And one step size for all of lambda: the log-variances mostly want one that is 5 to 20 times as
# large as the means'. Both decide SVI as well: from the prior, with no training at all, 100 tuned steps come within 0.04 to
# 0.08 nats of the others in the table. SA-VAE is not spared: trained with a step size of 0.005 instead of 0.002 its gaps are
# 0.67 and 0.27.
#
# The encoder before its steps shows what learning through them does: it need not put its guess where the bound is high,
# only where 20 steps lead from. That is why an SA-VAE's unrefined encoder must never be reported as "the VAE".
#
# ## A posterior with two modes
#
# With the affine oracle $\log p(x \mid z)$ is concave in $z$ (a log-softmax of affine logits), so every posterior has one
# mode. With the hidden layer 34 of 150 have two or more, and a Gaussian must choose: [SA] Figure 1. The picture shows the
# sequence whose second mode, at least 1 away from the first, is the highest, with crosses at the modes of the posterior. Its
# surface is the ELBO over $\mu$, at the best Gaussian's variances: an average over so wide a Gaussian, in which the lower mode
# need not be a hill of its own. Of another oracle's sequences one has two hills: [a surface](book/surface.md) to move q on, in the
# book.

# %%
SPACING = 0.2 if QUICK else 0.1  # on a coarse grid a narrow ridge that runs askew can look like two modes


def posteriors(oracle):
    """(modes of each test sequence's posterior within 4 nats of the highest, tables of log p(x | z), the grid's axis)."""
    model, x = models[oracle], data[oracle].test
    axis, u = quadrature.grid(model, SPACING)
    tables = quadrature.log_likelihoods(model, theta, x, u).reshape(len(x), len(axis), len(axis))
    return [quadrature.modes(table, axis) for table in tables], tables, axis


found = {oracle: posteriors(oracle) for oracle in models}
for oracle, (modes, *_) in found.items():
    print(f"{oracle:7} posteriors by number of modes:", np.bincount([len(points) for points in modes])[1:].tolist())
assert all(len(points) == 1 for points in found["affine"][0]), "a concave log-likelihood and two modes: one is wrong"

modes, tables, axis = found["tanh"]


def second(points):
    """How far below the first mode, in nats, the highest of those that are at least 1 away from it is."""
    return max((p[2] for p in points[1:] if np.hypot(p[0] - points[0][0], p[1] - points[0][1]) >= 1), default=-np.inf)


chosen = int(np.argmax([second(points) for points in modes]))
places = np.array([point[:2] for point in modes[chosen]])
reach = max(3, np.abs(places).max() + 0.3)
means = np.linspace(-reach, reach, 61)
heights = quadrature.surface(tables[chosen], axis, means, best["tanh"][chosen, 2:])

fig, (left, right) = plots.figure(columns=2, width=5.2, height=4.2)
levels = [-30, -20, -15, -10, -7, -5, -3, -2, -1, -0.5, -0.2, 1e-6]
shades = BoundaryNorm(levels, 256, extend="min")
filled = left.contourf(
    means, means, heights.T - heights.max(), levels=levels, norm=shades, cmap="Greys_r", extend="min"
)
fig.colorbar(
    filled, cax=left.inset_axes([1.03, 0, 0.04, 1]), ticks=levels[:-1], label="ELBO, from its highest point (nats)"
)
left.plot(*places.T, "X", color="w", markersize=11, markeredgecolor="k", linestyle="", label="posterior's modes")
for name in ("vae", "svi", "vae-then-svi", "sa-vae"):
    look = plots.style(name)
    left.plot(*lams["tanh", name][chosen, :2], look["marker"], color=look["color"], markersize=8, markeredgecolor="w",
              label=look["label"])  # fmt: skip
left.plot(*best["tanh"][chosen, :2], "*", color="#F0E442", markersize=14, markeredgecolor="k", label="best Gaussian")
left.set(
    xlabel="$\\mu_1$",
    ylabel="$\\mu_2$",
    aspect="equal",
    title=f"test sequence {chosen}: a posterior of {len(modes[chosen])} modes",
)
left.legend(fontsize=8, loc="upper left")
left.grid(False)
for i, name in enumerate(("vae", "svi", "vae-then-svi", "sa-vae")):
    for oracle, shift, fill in (("tanh", -0.15, "full"), ("affine", 0.15, "none")):
        look, values = plots.style(name), gaps[oracle, name]
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        right.plot([i + shift] * 2, [low, high], color=look["color"], linewidth=2)
        right.plot(i + shift, values.mean(), look["marker"], color=look["color"], fillstyle=fill, markersize=8)
right.set_xticks(range(4), [plots.style(name)["label"] for name in ("vae", "svi", "vae-then-svi", "sa-vae")])
right.set(
    ylabel="−ELBO + log p(x) (nats)",
    yscale="log",
    title="gaps: tanh (full) and affine oracle (hollow);\nmeans, quartiles",
)
right.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
right.minorticks_off()
plots.save(fig, PICTURES / "10_sequences.png")

# %% [markdown]
# ## What to try next
#
# - More steps at test time than in training, tuned for so many: with `phi` and `vae` of the affine oracle, where the loop ends,
#   `gap("affine", tuned("affine", vae.encoder, phi[vae], 100)[0], phi[vae], 100)`, and the same with `sa`. Does either method
#   reach the best Gaussian?
# - `savi.hvp` inside SA-VAE: `SAVAE(..., hvp="forward")` in float32 trains with the source's r = 1e-5. How much worse?
# - `TRAINING | {"seed": 1}`, and `synthetic.load(1, ...)`: which of the signs stay? Lesson 7's rule: one seed ranks nothing close.
# - A learned generator: use `savi.LSTMDecoder(...)` without `FixedDecoder`, and watch the KL: is the latent used at all?
# - The table at its real size, eight oracles of each kind, at equal seconds: `python figures/sa_table1.py`.
