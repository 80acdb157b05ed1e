# %% [markdown]
# # 8. Learning to infer
#
# **The question.** An optimizer looks at gradients and moves; an encoder looks at the image and jumps. Can a network look at
# the gradients and learn how to move? What should it be shown, how should it move, and does it beat the optimizers?

# %%
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import numpy as np
from matplotlib.colors import BoundaryNorm

import savi
from savi import optimizers, plots
from savi.experiments.evaluation import along, neg_elbo
from savi.inference.iterative import Data, Error, Gated, Gradient, Iterative, network
from savi.nets.activations import sigmoid
from savi.studies.figures import lesson
from savi.testing import assert_close

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## The equation
#
# An iterative inference model is a network that maps what can be seen at the current estimate to the next one
# ([LI] eq. 5), with a gate $\omega \in [0, 1]$ for every entry of $\lambda$ ([LI] B.2, eq. 62, where it is called $g$):
# $$\lambda_{t+1} = \omega_t \odot \lambda_t + (1 - \omega_t) \odot c_t, \qquad
# (c_t, \omega_t) = \text{network}(\text{encoding}_t, \lambda_t; \phi).$$
# What can be seen ([LI] 4.1, B.1), any combination of
#
# - *gradient*: $[\alpha \log(|g| + \epsilon), \mathrm{sign}(g)]$ for every entry $g$ of $\nabla_\lambda \mathrm{ELBO}$, because
#   gradients come in very different sizes;
# - *error*: $e_x = x - E[x|z]$ and $e_z = z - \mu_p$, the parts of the gradient that need no Jacobian of the decoder;
# - *data*: $x$ itself.
#
# Training ([LI] B.3): the losses after all $T$ steps count alike, and each step's gradient stops at its own inputs. So memory
# does not grow with $T$, and the model may be run for more steps than it was trained on.

# %% [markdown]
# ## A VAE is the one-step special case
#
# [LI] 4.2: let $\lambda_0$ be constant, encode errors, take one step, and let the noise be the same for all images (or average
# over very many samples). Then $e_z$ is a constant and $e_x = x - \text{constant}$, so that the first layer sees an affine
# map of $x$: an encoder with another bias. Here are both, with the same numbers; the plain encoder knows nothing of the
# decoder.

# %%
D, HIDDEN, SAMPLES = 8, 64, 5
ITERATIONS = 5 if QUICK else 8
decoder = savi.MLPDecoder(savi.MLP([D, HIDDEN, 784]), savi.Bernoulli())
model = savi.LatentGaussianModel(decoder)

glyphs = savi.data.load("glyphs")
rng = np.random.default_rng(0)
x = savi.data.binarize(glyphs.test[:40].astype(float), rng)
theta = model.init(rng)

error_model = Iterative(network(model, [Error()], [HIDDEN, HIDDEN]), [Error()], steps=1, samples=SAMPLES)
phi = error_model.init(rng)
noise = np.repeat(rng.standard_normal((SAMPLES, 1, D)), len(x), axis=1)  # the same for all images
f, prior = model.objective(theta, x), model.prior_lam(len(x))
one_step = next(error_model.walk(f, phi, prior, [noise]))

z = noise[:, 0]  # samples of the prior
mean_x, mean_z = decoder.mean(theta, z).mean(axis=0), z.mean(axis=0)
first = error_model.net.layers(phi)[0]  # rows for e_x (784), e_z (D), lam (2D) and the bias
W_x, W_z, bias = first[:784], first[784 : 784 + D], first[-1]
new_bias = bias - mean_x @ W_x + mean_z @ W_z  # lam_0 = 0 adds nothing
encoder = savi.HighwayMLP([784, *error_model.net.sizes[1:]])
encoder_phi = np.concatenate([W_x.ravel(), new_bias, phi[first.size :]])
jump = Gated().apply(prior, encoder(encoder_phi, x))
assert_close(jump, one_step, rtol=1e-12, name="the encoder's lambda")

# %% [markdown]
# **Break it.** Leave `- mean_x @ W_x` or `+ mean_z @ W_z` out of `new_bias`.
#
# ## Learning to infer, on a decoder that stays as it is
#
# To compare ways of inference, all of them should climb the same surface. So a decoder is trained first, as a VAE's, and
# then held fixed; `learn` trains a method's $\phi$ only. (`savi.fit` trains both, as the sources do.)

# %%
TRAIN, EPOCHS, BATCH = (500, 3, 50) if QUICK else (2000, 8, 50)


def train_decoder(model, latent):
    """theta and the VAE that it was trained with: (theta, method, phi)."""
    vae = savi.VAE(savi.MLP([784, HIDDEN, 2 * latent]))
    result = savi.fit(model, vae, glyphs.train[:TRAIN], 2 * EPOCHS, learning_rate=3e-3, progress=False)
    return result.theta, vae, result.phi


def learn(method, model, theta, epochs=EPOCHS):
    """phi after training the method with theta fixed: Adam on minibatches."""
    rng, adam = np.random.default_rng(0), optimizers.Adam(2e-3)
    phi = method.init(rng, np.float32)
    state = adam.init(phi)
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(TRAIN), TRAIN // BATCH):
            x = savi.data.binarize(glyphs.train[rows], rng)
            _, _, d_phi = method.gradient(model, theta, phi, x, rng)
            state, step = adam.update(state, optimizers.clip_norm(d_phi / len(x), 5.0))
            phi = phi + step
    return phi


theta, vae, vae_phi = train_decoder(model, D)
x = savi.data.binarize(glyphs.test[: 40 if QUICK else 100], np.random.default_rng(1))


def curve(method, phi, steps):
    """The mean -ELBO of the test images after 0, 1, ..., `steps` iterations."""
    path = method.path(model, theta, phi, x, np.random.default_rng(2), steps)
    return along(model, theta, path, x, 3)


# %% [markdown]
# ## Encodings
#
# Four models, alike but for what they see. The last one sees $x$ and its own estimate and never how good that estimate is.

# %%
ENCODINGS = {
    "gradient": [Gradient()],
    "error": [Error()],
    "gradient and data": [Gradient(), Data()],
    "data alone": [Data()],
}
LONG = 2 * ITERATIONS
methods, phis, curves = {}, {}, {}
for name, encodings in ENCODINGS.items():
    net = network(model, encodings, [HIDDEN, HIDDEN])
    methods[name] = Iterative(net, encodings, ITERATIONS, SAMPLES)
    phis[name] = learn(methods[name], model, theta)
    curves[name] = curve(methods[name], phis[name], LONG)
    print(
        f"{name:<18} {net.sizes[0]:>4} inputs   "
        + "  ".join(f"t={t}: {curves[name][t]:.2f}" for t in (1, 2, ITERATIONS, LONG))
    )
vae_loss = curve(vae, vae_phi, 0)[0]
print(f"{'VAE':<18}  784 inputs   {vae_loss:.2f}")

# %% [markdown]
# ## Gates
#
# $\omega$ near 1 keeps an entry of $\lambda$, $\omega$ near 0 replaces it. [LI] B.2 reports that means receive updates over many
# iterations, log-variances often one large update. Is it so here?


# %%
def look_inside(method, phi, steps):
    """Mean gate and mean |step| of mu and of log_var at each iteration: {"gate mu": [...], ...}."""
    rng, lam, f = np.random.default_rng(4), model.prior_lam(len(x), np.float32), model.objective(theta, x)
    seen = {"gate mu": [], "gate log_var": [], "step mu": [], "step log_var": []}
    for _ in range(steps):
        e = f.gradient(lam, model.draw_noise(rng, SAMPLES, len(x), np.float32))
        output = method.net(phi, method.encode(f, e))
        gate, moved = sigmoid(output[:, 2 * D :]), method.update.apply(lam, output)
        for part, columns in (("mu", slice(0, D)), ("log_var", slice(D, 2 * D))):
            seen["gate " + part].append(float(gate[:, columns].mean()))
            seen["step " + part].append(float(np.abs(moved - lam)[:, columns].mean()))
        lam = moved
    return seen


inside = look_inside(methods["gradient"], phis["gradient"], ITERATIONS)
for name, values in inside.items():
    print(f"{name:<13}" + " ".join(f"{value:6.2f}" for value in values))

# %% [markdown]
# ## Against the optimizers
#
# The opponents are the expectation steps of variational EM ([LI] 2.2, C.6): SGD, momentum, RMSProp and Adam, from the same
# start, with as many noise samples, each at the best step size of a grid, chosen on other images after as many iterations as
# the network was trained on. The strongest opponent starts from the VAE's guess and goes on by SVI, tuned alike.

# %%
FAR = 20 if QUICK else 60
STEP_SIZES = (1.0, 0.3, 0.01, 0.003) if QUICK else (2.0, 1.0, 0.5, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
valid = savi.data.binarize(glyphs.valid[:40], np.random.default_rng(5))
opponents = {
    name: (lambda a, optimizer=optimizer: savi.VariationalEM(optimizer(a), samples=SAMPLES), None)
    for name, optimizer in optimizers.OPTIMIZERS.items()
}
opponents["VAE + SVI"] = lambda a: savi.VAE(vae.encoder, FAR, a, momentum=0.5, samples=SAMPLES), vae_phi
chosen = {}
for name, (opponent, its_phi) in opponents.items():
    ends = []
    for step_size in STEP_SIZES:
        with np.errstate(all="ignore"):  # a step size that diverges loses
            lam = opponent(step_size).infer(model, theta, its_phi, valid, np.random.default_rng(6), ITERATIONS)
            ends.append(np.nan_to_num(neg_elbo(model, theta, lam, valid, np.random.default_rng(7)).mean(), nan=np.inf))
    best = STEP_SIZES[int(np.argmin(ends))]
    chosen[name] = best, curve(opponent(best), its_phi, FAR)
for name in ("gradient", "gradient and data"):
    chosen[name] = "learned", curve(methods[name], phis[name], FAR)
for name, (step_size, values) in chosen.items():
    print(
        f"{name:<18} step size {step_size!s:<8}" + "  ".join(f"t={t}: {values[t]:.2f}" for t in (1, 2, ITERATIONS, FAR))
    )

# %% [markdown]
# ## The check
#
# After as many iterations as it was trained on, the network that sees gradients alone, as the optimizers do, is ahead of
# each of the four that start from the prior as it does (not of the VAE's guess with SVI). And a model that sees how good
# its estimate is gains more from its further iterations than a blind one.

# %%
learned = chosen["gradient"][1]
for name in optimizers.OPTIMIZERS:
    assert learned[ITERATIONS] < chosen[name][1][ITERATIONS], f"{name} is ahead after {ITERATIONS} iterations"
gain = {name: values[1] - values[ITERATIONS] for name, values in curves.items()}  # by iterations 2, 3, ...
assert gain["gradient and data"] > 1.5 * gain["data alone"]
assert learned[ITERATIONS] < learned[1] < learned[0], "each of these iterations should help"

# %% [markdown]
# **Break it.** In `learn`, change `adam.update(state, ...)` into a step uphill: `phi = phi - step`.

# %%
LOOKS = {"gradient": "iterative", "error": "vae+svi", "gradient and data": "sa-vae", "data alone": "svi"}
OPTIMIZER_LOOKS = {
    "sgd": "vae", "momentum": "svi", "rmsprop": "vae+svi", "adam": "sa-vae",
    "VAE + SVI": "vae-then-svi", "gradient": "iterative", "gradient and data": "vae+svi+kl",
}  # fmt: skip
fig, (left, middle, right) = plots.figure(columns=3, width=4.3, height=3.8)
for name, values in curves.items():
    left.plot(range(len(values)), values, **plots.style(LOOKS[name]) | {"label": name, "markersize": 4})
left.axhline(vae_loss, color="0.3", linewidth=1)
left.text(LONG, vae_loss, "VAE", fontsize=8, color="0.3", ha="right", va="bottom")
left.axvline(ITERATIONS, color="0.6", linewidth=1, linestyle=":")
best = min(min(values) for values in curves.values())
left.set_xticks(range(0, LONG + 1, 2))
left.set(
    xlabel="iteration", ylabel="test −ELBO (nats per image)", title="encodings",
    ylim=(best - 1, vae_loss + 12),
)  # fmt: skip
for part, look in (("mu", "sa-vae"), ("log_var", "vae+svi")):
    label = {"mu": "$\\mu$", "log_var": "log-variance"}[part]
    steps = range(1, ITERATIONS + 1)
    middle.plot(steps, inside["gate " + part], **plots.style(look) | {"label": f"gate ω, {label}"})
    hollow = plots.style(look) | {"label": f"|step|, {label}", "linestyle": ":", "markerfacecolor": "white"}
    middle.plot(steps, inside["step " + part], **hollow)
middle.set(xlabel="iteration", ylabel="mean over images and dimensions", title="gates and steps", ylim=(0, None))
for name, (step_size, values) in chosen.items():
    label = f"learned: {name}" if step_size == "learned" else f"{name}, {step_size}"
    shown = sorted({*range(min(9, FAR)), *range(8, FAR + 1, 4)})
    right.plot(
        shown, [values[t] for t in shown], **plots.style(OPTIMIZER_LOOKS[name]) | {"label": label, "markersize": 4}
    )
right.axvline(ITERATIONS, color="0.6", linewidth=1, linestyle=":")
right.set(
    xlabel="iteration", ylabel="test −ELBO (nats per image)", title="against the optimizers",
    ylim=(best - 5, best + 150),
)  # fmt: skip
for ax in (left, middle, right):
    ax.legend(frameon=False, fontsize=8)
plots.save(fig, PICTURES / "08_learning_to_infer.png")

# %% [markdown]
# The dotted lines mark the number of iterations in training. What can be read off, of one decoder and one seed, at equal
# iterations:
#
# - The models that see $x$ are below the VAE's encoder after one or two iterations (unlike it they were trained on the
#   finished decoder). The gradient alone needs five, and ends a little above the blind model. Errors, or the gradient beside
#   $x$, end 1.6 nats below it: here seeing how good the estimate is pays, but so does $x$.
# - The log-variances make one large step, of 4.0 on average (their gates leave 4 percent of the old value), then small ones.
#   The means need several. [LI] B.2 reports the same.
# - Eight iterations from the prior, each optimizer at the step size that is best for eight: RMSProp, the first of them, is 18 nats
#   behind the gradient model. But eight steps of SVI from the VAE's guess are level with it (202.6 and 202.7), and 2.5 nats
#   behind the one that also sees $x$. What it cost to train the networks is not counted.
# - After sixty iterations, with the same step sizes, Adam is where the gradient model was after eight. The VAE's guess with
#   SVI goes up and down, 0.2 to 4 nats above the one that also sees $x$: its step is too large for so many.
# - Beyond the iterations of its training this gradient model drifts, and after sixty it is worse than it was after two. The one
#   that also sees $x$ stays where it is. [LI] 5.3 reports stability over hundreds of iterations for gradients alone. Which of
#   size, seed or length of training (320 minibatches here) makes the difference was not tried.
# - `figures/li_fig6_10_optimizers.py` has three models for each of two encodings, and a step size chosen anew for each number of
#   iterations. There the order is this one: the network is ahead of all that start from the prior up to its 16 iterations,
#   behind RMSProp and Adam from 100 on, and behind Adam from an encoder's guess at every number of iterations.
#
# ## Trajectories
#
# Two latent dimensions and a point-mass posterior ([LI] 3.1, 5.1, C.1): the surface is $\log p(x, z = \mu)$ and can be drawn.
# On it are the highest grid point, the VAE's estimate, gradient ascent and the iterative model's path, all on one decoder.

# %%
flat = savi.LatentGaussianModel(
    savi.MLPDecoder(savi.MLP([2, HIDDEN, HIDDEN, 784]), savi.Bernoulli()), kl=savi.PointMass
)
flat_theta, flat_vae, flat_phi = train_decoder(flat, 2)
seeing = [Gradient()]
walker = Iterative(network(flat, seeing, [HIDDEN, HIDDEN]), seeing, ITERATIONS, samples=1)
walker_phi = learn(walker, flat, flat_theta, 2 * EPOCHS)

axis = np.linspace(-1.5, 1.5, 121)
grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def height(image, mu):
    """log p(x, z = mu) of one image at points mu (n, 2)."""
    lam = np.concatenate([mu, np.zeros_like(mu)], axis=1).astype(np.float32)
    return -flat.loss(lam, flat_theta, np.repeat(image, len(mu), axis=0), np.zeros((1, *mu.shape), np.float32))


ascent = savi.VariationalEM(optimizers.SGD(0.001))
LEVELS, HEIGHTS = (
    [-300, -200, -150, -100, -60, -40, -20, -10, -5, -2, 0.1],
    "log p(x, z), from the highest point (nats)",
)
shades = BoundaryNorm(LEVELS, 256, extend="min")  # each of the levels is one step of grey
fig, axes = plots.figure(columns=2, width=5.6, height=4.4)
for ax, i in zip(axes, (3, 11)):
    image = x[[i]]
    surface = height(image, grid).reshape(len(axis), -1)
    below = surface - surface.max()
    filled = ax.contourf(axis, axis, below, levels=LEVELS, norm=shades, cmap="Greys_r", extend="min", alpha=0.85)
    fig.colorbar(filled, cax=ax.inset_axes([1.03, 0, 0.04, 1]), ticks=LEVELS[:-1], label=HEIGHTS)
    top = grid[[np.argmax(surface)]]
    paths = {
        "svi": ("gradient ascent, 40 steps", ascent.path(flat, flat_theta, None, image, np.random.default_rng(0), 40)),
        "iterative": (
            f"learned, {LONG} steps",
            walker.path(flat, flat_theta, walker_phi, image, np.random.default_rng(0), LONG),
        ),
    }
    for name, (label, path) in paths.items():
        ax.plot(*path[:, 0, :2].T, **plots.style(name) | {"label": label, "markersize": 4, "linewidth": 1.2})
    guess = flat_vae.infer(flat, flat_theta, flat_phi, image, np.random.default_rng(0))[:, :2]
    ax.plot(*guess.T, "o", color="#0072B2", markersize=8, markeredgecolor="w", label="VAE's estimate")
    ax.plot(*top.T, "*", markersize=11, markerfacecolor="none", markeredgecolor="k", label="highest grid point")
    ax.set(xlabel="$\\mu_1$", ylabel="$\\mu_2$", aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
    ax.grid(False)
    ends = {label: path[-1, :, :2] for label, path in paths.values()} | {
        "VAE's estimate": guess,
        "highest grid point": top,
    }
    print(f"image {i}: " + ", ".join(f"{label} {height(image, mu)[0]:.1f}" for label, mu in ends.items()))
axes[0].legend(fontsize=8, loc="upper left", framealpha=0.9)
plots.save(fig, PICTURES / "08_trajectories.png")

# %% [markdown]
# ## What to try next
#
# - `update=Residual()` for `Iterative`: [Andrychowicz et al. 2016] moved by $\lambda + c$. Is it as stable for 100 iterations?
#   (`figures/li_ablation.py`: it is not, though it is better after five.)
# - `SAMPLES = 1`: log and sign amplify the noise of a gradient. Who suffers more, the network or Adam?
# - `kl=savi.SampledKL` for the model: [LI] B.4 found a sizeable difference for iterative inference. Why more than for a VAE?
#   (`figures/li_ablation.py` could not tell the two apart at its small scale.)
# - `figures/li_fig6_10_optimizers.py` and `figures/li_fig1_3_surface.py` do this for more images; `--full` at the sources' sizes.
