# %% [markdown]
# # 5. Learning through the optimizer
#
# **The question.** An encoder guesses the posterior of an image, and $K$ steps of gradient ascent improve the guess. How
# should the encoder be trained, when what counts is not its guess but what the steps make of it?
#
# A semi-amortized VAE ([SA] section 3) takes the gradient of the *final* loss, through all the steps. Below it is derived
# (Algorithm 1), run, compared with an exact answer where there is one, and matched with automatic differentiation of the
# whole loop.

# %%
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import autograd
import autograd.numpy as anp
import numpy as np

import savi
from savi import hvp, plots, reference
from savi.inference.semi_amortized import algorithm_1
from savi.inference.svi import clipped, clipped_vjp
from savi.studies.figures import lesson
from savi.testing import assert_close, check_gradient

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## The equation
#
# Let $f(\lambda, \theta) = -\mathrm{ELBO}$ for one example, with its noise held fixed ([E2]). The encoder gives
# $\lambda_0 = \mathrm{enc}(x; \phi)$, $v_0 = 0$, and each step of SVI with momentum $\gamma$ and step size $\alpha$ does
# $$v_{k+1} = \gamma v_k - \nabla_\lambda f(\lambda_k, \theta), \qquad \lambda_{k+1} = \lambda_k + \alpha v_{k+1}.$$
# The loss is $L = f(\lambda_K, \theta)$. Write $\bar a$ for $dL/da$ and go backwards through one step, asking of each
# variable where it is used:
#
# - $v_{k+1}$ is used in $\lambda_{k+1}$, with factor $\alpha$ (and in the next step, counted already):
#   $\bar v_{k+1} \leftarrow \bar v_{k+1} + \alpha \bar\lambda_{k+1}$.
# - $\lambda_k$ is used in $\lambda_{k+1}$, with factor 1, and in $v_{k+1}$, through $-\nabla_\lambda f$:
#   $\bar\lambda_k = \bar\lambda_{k+1} - H_{\lambda,\lambda} f(\lambda_k)\, \bar v_{k+1}$.
# - $\theta$ is used in $v_{k+1}$, through $-\nabla_\lambda f$:
#   $\bar\theta \leftarrow \bar\theta - H_{\theta,\lambda} f(\lambda_k)\, \bar v_{k+1}$.
# - $v_k$ is used in $v_{k+1}$, with factor $\gamma$: $\bar v_k = \gamma \bar v_{k+1}$.
#
# These four lines are the backward loop of Algorithm 1. The chain rule asks for $H^\top \bar v$; the Hessian is symmetric,
# so a Hessian-vector product does. Without momentum one step is $\bar\lambda_0 = (I - \alpha H)\, \bar\lambda_1$, which is
# the equation in [SA] section 3. At the end $dL/d\theta = \bar\theta$ and
# $dL/d\phi = (d\lambda_0/d\phi)^\top \bar\lambda_0$.
#
# Where the inner gradients are clipped (lesson 3), the step that ran is $v_{k+1} = \gamma v_k - \mathrm{clip}_c(g)$, and the
# Jacobian of clipping stands between $v$ and $g$: every $\bar v_{k+1}$ in a product with $H$ becomes $J^\top \bar v_{k+1}$.
# A row that is not clipped has $J = I$. For one that is, differentiate $c\, g / |g|$:
# $$J = \frac{c}{|g|} \Big(I - \frac{g g^\top}{|g|^2}\Big),$$
# so that $J^\top u$ is $u$ without its part along $g$, scaled like $g$: its length is fixed, and only its direction can move.

# %%
rng = np.random.default_rng(3)
g, u = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
C = 1.0  # some rows are longer, some are not
assert set(np.linalg.norm(g, axis=1) > C) == {True, False}
check_gradient(lambda g: (u * clipped(g, C)).sum(axis=1), g, clipped_vjp(g, C, u))

# %% [markdown]
# ## A case with an exact answer
#
# Take $f(\lambda) = \tfrac12 \sum_i a_i \lambda_i^2$: every entry of $\lambda$ has its own curvature $a_i$ and its optimum
# at 0. A step multiplies the pair $(\lambda_i, v_i)$ by a matrix,
# $$M_i = \begin{pmatrix} 1 - \alpha a_i & \alpha\gamma \\ -a_i & \gamma \end{pmatrix}, \qquad
# \lambda_{K,i} = (M_i^K)_{11}\, \lambda_{0,i}, \qquad \frac{dL}{d\lambda_{0,i}} = (M_i^K)_{11}^2 \, a_i \lambda_{0,i}.$$
# Without any step it would be $a_i \lambda_{0,i}$. So the steps weigh each direction by $(M_i^K)_{11}^2$: an error that the
# optimizer will remove anyway costs the encoder nothing, an error in a flat direction costs as much as before. In the book,
# [the bowl](book/bowl.md) shows it for two directions of your choice.

# %%
ALPHA, GAMMA = 1.0, 0.5
curvature = np.linspace(0.02, 3.1, 78)  # of each entry of lam


def bowl(lam, theta, x, noise, beta):
    return anp.sum(0.5 * theta * lam**2, axis=1)  # (B,); the noise plays no part


def exact_weight(a, steps):
    """(M^K)_11^2 for the curvature a."""
    transition = np.array([[1 - ALPHA * a, ALPHA * GAMMA], [-a, GAMMA]])
    return np.linalg.matrix_power(transition, steps)[0, 0] ** 2


def savi_weight(steps):
    """dL / d lam_0 by Algorithm 1, divided by what it would be without steps."""
    model = savi.AutogradModel(bowl, lam_size=len(curvature), theta_size=len(curvature), noise_size=1)
    f = model.objective(curvature, np.zeros((1, 1)))
    noise = np.zeros((steps + 1, 1, 1, 1))
    _, _, lam_bar = algorithm_1(f, np.ones((1, len(curvature))), noise, ALPHA, GAMMA)
    return lam_bar[0] / curvature


stable = curvature < 2 * (1 + GAMMA)  # beyond, the steps themselves run away
for steps in (0, 1, 5, 20):
    exact = np.array([exact_weight(a, steps) for a in curvature])
    assert_close(savi_weight(steps)[stable], exact[stable], rtol=1e-8, name=f"the weight at K = {steps}")

# %% [markdown]
# **Break it.** In `exact_weight`, change `-a` into `a`, or leave the last argument `GAMMA` out of the call of
# `algorithm_1`: in both cases the check fails at K = 5. (One step knows no momentum, as $v_0 = 0$.)

# %%
fig, axes = plots.figure(width=6.4, height=4.0)
for i, steps in enumerate((1, 5, 20)):
    look = plots.style(("vae+svi", "svi", "sa-vae")[i]) | {"label": f"K = {steps}"}
    fine = np.linspace(0.02, 3.1, 500)
    axes[0].plot(ALPHA * fine, [exact_weight(a, steps) for a in fine], **look | {"marker": "", "label": None})
    axes[0].plot(ALPHA * curvature[::3], savi_weight(steps)[::3], **look | {"linestyle": ""})
axes[0].axhline(1, color="0.4", linewidth=1)
axes[0].text(0.9, 1.6, "K = 0: the weight of a plain VAE", fontsize=8, color="0.3")
axes[0].axvline(2 * (1 + GAMMA), color="0.4", linewidth=1, linestyle=":")
axes[0].text(3.02, 1e-4, "the steps diverge", fontsize=8, color="0.3", rotation=90, va="center")
axes[0].set(
    yscale="log", xlim=(-0.05, 3.2), ylim=(1e-7, 1e4), xlabel="curvature times step size, $\\alpha a$ (no unit)",
    ylabel="weight of an error of the encoder", title="lines: exact; markers: Algorithm 1",
)  # fmt: skip
axes[0].legend(frameon=False, loc="upper left", ncols=3)
plots.save(fig, PICTURES / "05_weights.png")

# %% [markdown]
# With 20 steps only errors along nearly flat directions ($\alpha a$ below about 0.05) are left for the encoder to care about. To
# the right of the dotted line the steps diverge, and the gradient with them: then a long loop gives a gradient that is
# correct and useless, which is why the sources clip inner gradients.

# %% [markdown]
# ## A call of savi: images
#
# A small decoder and encoder, trained for a moment as a VAE so that the gradients mean something. `SAVAE.gradient` is
# Algorithm 1 and the encoder's backward pass. The noise is an argument, $K + 1$ arrays: one for each step and one for the
# final loss. Both loops must see the same $f$, so it is drawn once.

# %%
STEPS, STEP_SIZE, MOMENTUM, SAMPLES = 5, 0.001, 0.5, 5
TRAIN, EPOCHS, BATCH = (500, 4, 10) if QUICK else (2000, 10, 40)

glyphs = savi.data.load("glyphs")
model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([8, 64, 784]), savi.Bernoulli()))
encoder = savi.MLP([784, 64, 16])  # 16 = 8 means and 8 log-variances
trained = savi.fit(
    model, savi.VAE(encoder), glyphs.train[:TRAIN], EPOCHS, learning_rate=3e-3, dtype=float, progress=False
)
theta, phi = trained.theta, trained.phi

rng = np.random.default_rng(0)
x = savi.data.binarize(glyphs.test[:BATCH].astype(float), rng)
noise = rng.standard_normal((STEPS + 1, SAMPLES, BATCH, 8))
method = savi.SAVAE(encoder, STEPS, STEP_SIZE, MOMENTUM, samples=SAMPLES)
loss, d_theta, d_phi = method.gradient(model, theta, phi, x, noise=noise)
print(f"final loss {loss.mean():.2f} nats per image; d theta {d_theta.shape}, d phi {d_phi.shape}")

# %% [markdown]
# ## The check: autograd through the loop
#
# The judge writes the loop down once more, forwards only, with `savi.reference`, in which every formula is plain
# `autograd.numpy`. Inside the loop autograd differentiates the loss; outside, it differentiates the loop. It knows nothing
# of Algorithm 1.


# %%
def unrolled(theta, phi):
    lam = encoder.reference(phi, x)
    v = np.zeros((BATCH, 16))
    for k in range(STEPS):
        g = autograd.elementwise_grad(reference.loss, 1)(model, lam, theta, x, noise[k])
        v = MOMENTUM * v - g
        lam = lam + STEP_SIZE * v
    return anp.sum(reference.loss(model, lam, theta, x, noise[STEPS]))


judge_theta, judge_phi = autograd.grad(unrolled, (0, 1))(theta, phi)
assert_close(d_theta, judge_theta, rtol=1e-9, name="d theta")
assert_close(d_phi, judge_phi, rtol=1e-9, name="d phi")

# %% [markdown]
# Autograd and Algorithm 1 could still share a wrong idea of the loss. Differences of the loss itself cannot: along a random
# direction $u$, $(L(\phi + r u) - L(\phi - r u)) / 2r$ must be $u \cdot dL/d\phi$, and the same for $\theta$.

# %%
R = 1e-5
u_theta, u_phi = rng.standard_normal(theta.shape), rng.standard_normal(phi.shape)


def final_loss(step):
    return method.gradient(model, theta + step * u_theta, phi + step * u_phi, x, noise=noise)[0].sum()


slope = (final_loss(R) - final_loss(-R)) / (2 * R)
assert_close(u_theta @ d_theta + u_phi @ d_phi, slope, rtol=1e-5, name="the slope along u")


# %% [markdown]
# ## What the second derivatives are worth
#
# What if the curvature is left out? With $H = 0$ the backward loop does nothing: $\bar\lambda_0 = \nabla_\lambda f(\lambda_K)$
# goes straight to the encoder. savi takes any function of $(f, \text{evaluation}, v)$ as a Hessian-vector product, so this
# "first-order" method is two lines. VAE+SVI and VAE+SVI+KL ([SA] Tables 2 and 3) avoid second derivatives in another way: they
# train the encoder on the loss at $\lambda_0$, or to come close to the $\lambda_K$ that was found.


# %%
def no_curvature(f, evaluation, v):
    return hvp.exact(f, evaluation, 0 * v)


def gradients(steps):
    """{name: d phi} of four ways to train the encoder, on the same noise."""
    inner = (encoder, steps, STEP_SIZE, MOMENTUM)
    ways = {
        "SA-VAE": savi.SAVAE(*inner, samples=SAMPLES),
        "first order": savi.SAVAE(*inner, samples=SAMPLES, hvp=no_curvature),
        "VAE+SVI": savi.VAESVI(*inner, samples=SAMPLES),
        "VAE+SVI+KL": savi.VAESVI(*inner, samples=SAMPLES, kl=True),
    }
    e = np.random.default_rng(1).standard_normal((steps + 1, SAMPLES, BATCH, 8))
    return {name: way.gradient(model, theta, phi, x, noise=e)[2] for name, way in ways.items()}


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


shown = (1, 2, 5, 10, 20)
by_steps = {steps: gradients(steps) for steps in shown}
angles = {
    name: [cosine(by_steps[steps][name], by_steps[steps]["SA-VAE"]) for steps in shown]
    for name in ("first order", "VAE+SVI", "VAE+SVI+KL")
}
for name, values in angles.items():
    print(f"{name:<12} cosine with dL/dphi " + "  ".join(f"K={k}: {c:.2f}" for k, c in zip(shown, values)))

first_order = savi.SAVAE(encoder, STEPS, STEP_SIZE, MOMENTUM, samples=SAMPLES, hvp=no_curvature)
wrong = first_order.gradient(model, theta, phi, x, noise=noise)[2]
error = np.linalg.norm(wrong - judge_phi) / np.linalg.norm(judge_phi)
print(f"relative error of the first-order d phi at K = {STEPS}: {error:.2f}")
assert error > 0.1, "leaving out the curvature should be visible"

# %% [markdown]
# **Break it.** In `unrolled`, change `v = MOMENTUM * v - g` into `v = -g`: the check against autograd fails, while the slope
# along $u$ is still right. In `no_curvature`, change `0 * v` into `v`: the last check fails.
#
# A direction is good if it lowers the final loss. The right-hand picture walks along each of the four, all of length one.

# %%
TEN = 10
directions = by_steps[TEN]
walk_noise = np.random.default_rng(1).standard_normal((TEN + 1, SAMPLES, BATCH, 8))
ten_steps = savi.SAVAE(encoder, TEN, STEP_SIZE, MOMENTUM, samples=SAMPLES)
lengths = np.linspace(0, 0.1, 5 if QUICK else 11)


def loss_at(phi):
    return ten_steps.gradient(model, theta, phi, x, noise=walk_noise)[0].mean()


walks = {name: [loss_at(phi - t * d / np.linalg.norm(d)) for t in lengths] for name, d in directions.items()}
for name, values in walks.items():
    print(f"{name:<12} {values[0]:.2f} -> {min(values):.2f} nats")

LOOKS = {"SA-VAE": "sa-vae", "first order": "svi", "VAE+SVI": "vae+svi", "VAE+SVI+KL": "vae+svi+kl"}
fig, (left, right) = plots.figure(columns=2, width=5.0, height=3.8)
for name, look in LOOKS.items():
    if name in angles:
        left.plot(shown, angles[name], **plots.style(look) | {"label": name})
    right.plot(lengths, walks[name], **plots.style(look) | {"label": name})
left.set(
    xlabel="inner steps K", ylabel="cosine with $dL/d\\phi$", title="direction of the encoder's gradient", xscale="log"
)
left.set_xticks(shown, [str(k) for k in shown])
left.minorticks_off()
right.set(
    xlabel="length of the step in $\\phi$", ylabel="−ELBO after 10 steps (nats per image)",
    title="the loss along each direction",
)  # fmt: skip
left.legend(frameon=False)
right.legend(frameon=False)
plots.save(fig, PICTURES / "05_directions.png")

# %% [markdown]
# On this one trained model and batch the directions are close at K = 1 (cosines of 1.00, 0.99 and, with the KL term, 0.86),
# and those from the loss at $\lambda_0$ turn away with every further step. All four lead downhill; SA-VAE's is the steepest
# by construction, and it stays the lowest on the way, on the images and the noise that it was computed from. That is a
# statement about one gradient. Whether it makes a better model, for what it costs, is another question: lessons 7 and 10
# find that it need not.
#
# ## What to try next
#
# - `STEP_SIZE = 0.05`: the steps run away, as the largest curvature is of the order of 300 (lesson 6). Which of the checks
#   still holds, and what happens to the norm of `d_phi`?
# - `clip=1.0` for `method`: the step that runs is the clipped one, so its Jacobian belongs to the loop. Add the clipping to
#   `unrolled` and make the check pass again.
# - Derive the backward loop for Adam as the inner optimizer. Which new variables need a bar?
# - Lesson 6: what a Hessian-vector product costs, and how it goes wrong.
