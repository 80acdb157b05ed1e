# %% [markdown]
# # 1. Latent variables and the bound
#
# **The question.** A model says how data come about: first something hidden, $z$, then what we see, $x$. To fit it by
# maximum likelihood we need $\log p(x)$, a sum (or an integral) over everything that $z$ could have been. What do we
# maximise when that sum is out of reach, and what does it cost us?
#
# First we look at one page of code, on which the answer stands. Then we take it apart where the sum is within reach, on
# purpose: a mixture of three Gaussians, where $z$ is the number of the component. So every claim can be checked against
# the exact answer.

# %%
import inspect
import pathlib
import sys

import autograd
import autograd.numpy as anp
import numpy as np

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import savi
from savi import plain, plots, reference, testing
from savi.inference.optimizers import SGD
from savi.inference.svi import ascent
from savi.models.gaussian import normal_log_density
from savi.studies.figures import lesson

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## The whole course on one page
#
# `savi/plain.py` says every algorithm of this course in bare NumPy, in 120 lines. Open it beside the lessons: it is where
# to look when you want to know what is computed. The rest of savi computes the same, only faster.
#
# Here $z$ is a vector of $D$ numbers, $p(z) = N(0, I)$, and $x$ is $M$ bits, with logits from a small network of $z$
# whose parameters are `theta`. `lam` $= [\mu, \log \sigma^2]$ is a guess at $z$, the distribution
# $q(z) = N(\mu, \sigma^2)$. A sample of it is $z = \mu + \sigma e$ with noise $e \sim N(0, I)$. The loss of one $x$ is
#
# $$f(\lambda, \theta, x) = KL(q(z) \,\|\, p(z)) - E_q[\log p(x \mid z)] = -\text{ELBO}. \qquad [E2]$$
#
# Where this formula comes from is the rest of this lesson; where its gradient comes from is lesson 2. Read it now.

# %%
for function in (plain.kl, plain.f, plain.grad_f):
    print((inspect.getcomments(function) or "") + inspect.getsource(function))

# %% [markdown]
# Every function is pure: noise is an argument, so the same call gives the same numbers. Two examples $x$ of four bits,
# one latent dimension, three samples:

# %%
rng = np.random.default_rng(1)
DECODER = (1, 3, 4)  # from D = 1 through three tanh units to M = 4 logits
net = savi.MLP(DECODER, "tanh")
theta = rng.normal(size=net.size)
x = np.array([[1.0, 0, 0, 1], [0, 1, 1, 1]])
noise = rng.standard_normal((3, 2, 1))  # (S, B, D)
lam = np.array([[0.5, -1.0], [0.0, 0.0]])  # (B, 2D); the second row is the prior itself

f, d_lam, d_theta = plain.grad_f(lam, theta, x, noise, DECODER)
print("-ELBO of the two examples, in nats:", f.round(3))
print("its gradient with respect to lam:  ", d_lam.round(3).tolist())

# %% [markdown]
# **A check that would fail.** Two others must get the same numbers: the fast code, whose gradients were derived by hand
# as well, and autograd, which was given nothing but the formula of the loss (`savi/models/reference.py`). Break it: multiply
# `d_lam` by 1.001.

# %%
model = savi.LatentGaussianModel(savi.MLPDecoder(net, savi.Bernoulli()))
fast = model.evaluate(lam, theta, x, noise)
testing.assert_close(f, fast.loss, rtol=1e-12, name="the loss, against the fast code")
testing.assert_close(d_lam, fast.d_lam, rtol=1e-12, name="d_lam, against the fast code")
testing.assert_close(
    d_theta, model.theta_gradient(lam, theta, x, noise), rtol=1e-12, name="d_theta, against the fast code"
)


def judge(lam, theta):
    return anp.sum(reference.loss(model, lam, theta, x, noise))


by_autograd = autograd.grad(judge, (0, 1))(lam, theta)
testing.assert_close(f.sum(), judge(lam, theta), rtol=1e-12, name="the loss, against the reference")
testing.assert_close(d_lam, by_autograd[0], rtol=1e-12, name="d_lam, against autograd")
testing.assert_close(d_theta, by_autograd[1], rtol=1e-12, name="d_theta, against autograd")
print("the page, the fast code and autograd agree to twelve digits")

# %% [markdown]
# What the gradient is for: a step of `lam` against it lowers the loss, so the bound rises. That is all of inference; the
# other functions of the page differ in who takes the step.

# %%
lam_0, *_, lam_K = plain.svi(lam, theta, x, np.tile(noise, (21, 1, 1, 1)), DECODER, alpha=0.1)[3]
start, end = (plain.f(lam, theta, x, noise, DECODER) for lam in (lam_0, lam_K))
assert np.all(end < start), "twenty small steps against the gradient lower the loss of every example"
print("-ELBO before and after twenty steps:", start.round(3), end.round(3))

# %% [markdown]
# ## The model
#
# $$p(z = k) = \pi_k, \qquad p(x \mid z = k) = N(x; \mu_k, s_k^2), \qquad
# p(x) = \sum_k \pi_k\, N(x; \mu_k, s_k^2).$$
#
# The parameters are one flat vector, as everywhere in savi: `theta` = [logits of $\pi$, means, log-variances], 3K
# numbers. Logits and log-variances may be any real numbers, so that a gradient step never leaves the model.

# %%
K = 3
WEIGHTS, MEANS, SDS = np.array([0.3, 0.5, 0.2]), np.array([-2.0, 0.5, 3.0]), np.array([0.6, 0.8, 0.5])
TRUTH = np.concatenate([np.log(WEIGHTS), MEANS, 2 * np.log(SDS)])


def log_softmax(a):
    a = a - anp.max(a, axis=-1, keepdims=True)
    return a - anp.log(anp.sum(anp.exp(a), axis=-1, keepdims=True))


def log_joint(theta, x):
    """log p(x, z = k), (N, K), of data x (N, 1)."""
    logits, mu, log_var = theta[:K], theta[K : 2 * K, None], theta[2 * K :, None]
    return log_softmax(logits) + normal_log_density(x[:, None, :], mu, log_var)


def log_evidence(theta, x):
    """log p(x), (N,): the log of a sum of exponentials, the largest taken out first."""
    joint = log_joint(theta, x)
    top = anp.max(joint, axis=1)
    return top + anp.log(anp.sum(anp.exp(joint - top[:, None]), axis=1))


rng = np.random.default_rng(0)
N = 200 if QUICK else 500
z = rng.choice(K, N, p=WEIGHTS)
x = (MEANS[z] + SDS[z] * rng.standard_normal(N))[:, None]

testing.check_density(lambda points: log_evidence(TRUTH, points), grid=[np.linspace(-12, 12, 4001)])
print("p(x) integrates to one")

# %% [markdown]
# ## The bound
#
# Take any distribution $q(z)$ at all, one for each $x$. With Bayes' rule, $p(x) = p(x, z) / p(z \mid x)$ for every $z$,
# and so, averaging over $q$,
#
# $$\log p(x) = \underbrace{E_q[\log p(x, z) - \log q(z)]}_{\text{ELBO}}
#   + \underbrace{E_q[\log q(z) - \log p(z \mid x)]}_{KL(q(z) \,\|\, p(z \mid x)) \;\ge\; 0} \qquad [E1]$$
#
# ([LI] eq. 1 and 2; [SA] section 2). The left side does not know of $q$. So whatever $q$ is, the ELBO is a lower bound,
# and raising it over $q$ lowers the KL divergence by exactly as much.
#
# savi takes any loss written in `autograd.numpy` as an `AutogradModel`. Its loss is $f = -$ELBO, one value for each
# example, [E2]. The variational parameters `lam` (N, K) are the logits of $q(z)$; the expectation is a sum over K terms,
# so the noise is not used.


# %%
def loss(lam, theta, x, noise, beta):
    log_q = log_softmax(lam)
    return anp.sum(anp.exp(log_q) * (log_q - log_joint(theta, x)), axis=1)  # line A


mixture = savi.AutogradModel(loss, lam_size=K, theta_size=3 * K, noise_size=1)
NO_NOISE = np.zeros((1, N, 1))


def kl_to_posterior(lam, theta, x):
    """KL(q(z) || p(z|x)), (N,)."""
    log_q, log_posterior = log_softmax(lam), log_joint(theta, x) - log_evidence(theta, x)[:, None]
    return np.sum(np.exp(log_q) * (log_q - log_posterior), axis=1)


# %% [markdown]
# **A check that would fail.** At random $\theta$ and random $q$, ELBO + KL is $\log p(x)$ to twelve digits. Break it:
# in line A above leave out the entropy, `log_q -`.

# %%
for _ in range(5):
    theta, lam = rng.normal(size=3 * K), rng.normal(0, 2, (N, K))
    elbo, kl = -mixture.loss(lam, theta, x, NO_NOISE), kl_to_posterior(lam, theta, x)
    testing.assert_close(elbo + kl, log_evidence(theta, x), rtol=1e-12, name="ELBO + KL")
    assert np.all(kl >= -1e-12), "a KL divergence is never negative"
print("log p(x) = ELBO + KL, at five random models and q's")

# %% [markdown]
# ## Learning by the bound
#
# Maximum likelihood wants the gradient of $\log p(x)$. At $q(z) = p(z \mid x)$ the KL term is zero, its minimum, so its
# gradient with respect to $\theta$ (with $q$ held fixed) is zero as well, and
#
# $$\nabla_\theta \log p(x) = \nabla_\theta\, \text{ELBO} \quad\text{at } q(z) = p(z \mid x).$$
#
# This is why a good $q$ matters for learning: away from the posterior the bound's gradient is another one.

# %%
posterior = log_joint(theta, x)  # as logits: they need no normalising
direct = autograd.grad(lambda theta: anp.sum(log_evidence(theta, x)))(theta)
testing.assert_close(
    -mixture.theta_gradient(posterior, theta, x, NO_NOISE), direct, rtol=1e-10, name="the ELBO's gradient"
)
elsewhere = -mixture.theta_gradient(np.zeros((N, K)), theta, x, NO_NOISE)
print(f"at a uniform q the gradient is off by {np.linalg.norm(elsewhere - direct) / np.linalg.norm(direct):.0%}")

# %% [markdown]
# Now alternate, as variational EM does ([LI] section 2.2): a few steps of gradient ascent on `lam` (`savi.inference.svi.ascent`,
# the loop of lesson 3), then a few on `theta` with `lam` held fixed. The first kind of step leaves $\log p(x)$ where it
# is and closes the gap; the second raises the ELBO, and $\log p(x)$ must go where the bound pushes it.

# %%
ROUNDS, E_STEPS, M_STEPS = 24, 12, 20
START = np.concatenate([np.zeros(K), [-1.0, 0.5, 2.0], np.zeros(K)])


def learn(theta):
    """Rows (kind of step, mean log p(x), mean ELBO), the final theta and lam."""
    lam, optimizer, rows = np.zeros((N, K)), SGD(1.0), []

    def note(kind):
        elbo, evidence = -mixture.loss(lam, theta, x, NO_NOISE), log_evidence(theta, x)
        assert np.all(elbo <= evidence + 1e-9), "the ELBO is above log p(x)"
        rows.append((kind, evidence.mean(), elbo.mean()))

    note("E")
    for _ in range(ROUNDS):
        for moved in ascent(mixture.objective(theta, x), lam, [NO_NOISE] * E_STEPS, step_size=2.0):
            lam = moved
            note("E")
        for _ in range(M_STEPS):
            theta = theta + optimizer.update((), mixture.theta_gradient(lam, theta, x, NO_NOISE) / N)[1]
            note("M")
    return rows, theta, lam


rows, learned, lam = learn(START)
kinds, evidence, elbo = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows])
print(f"log p(x) per example: {evidence[0]:.3f} at the start, {evidence[-1]:.3f} learned, ", end="")
print(f"{log_evidence(TRUTH, x).mean():.3f} with the parameters that made the data")

# %% [markdown]
# Three things must hold of these curves: a step on `lam` does not move $\log p(x)$; no step of either kind lowers the
# ELBO, where step sizes are small enough, as here; and what we learned is more likely than the parameters that made the
# data, for those are not the ones that fit this sample best.

# %%
assert np.all(np.diff(evidence)[kinds[1:] == "E"] == 0)
assert np.all(np.diff(elbo) > -1e-9)
assert evidence[-1] > log_evidence(TRUTH, x).mean()

# %% [markdown]
# ## The picture
#
# Left: one $x$ between two components. $q$ slides from one to the other (the third keeps its exact share), and
# $\log p(x)$ stays put. Middle: the first five rounds of learning. Right: what was learned.

# %%
point = np.array([[-0.9]])
share = np.exp(log_joint(learned, point) - log_evidence(learned, point)[:, None])[0]  # p(z | x)
a, b = np.argsort(share)[-1:-3:-1]
t = np.linspace(0.001, 0.999, 200)
q = np.tile(share, (len(t), 1))
q[:, a], q[:, b] = (share[a] + share[b]) * t, (share[a] + share[b]) * (1 - t)
points = np.repeat(point, len(t), axis=0)
bound = -mixture.loss(np.log(q), learned, points, NO_NOISE[:, :1])
top = log_evidence(learned, points)
testing.assert_close(bound + kl_to_posterior(np.log(q), learned, points), top, rtol=1e-12)

fig, (left, middle, right) = plots.figure(columns=3)
line = {"marker": "", "linewidth": 1.8}
left.plot(t, top, **plots.style("vae") | line | {"label": "$\\log p(x)$"})
left.plot(t, bound, **plots.style("svi") | line | {"label": "ELBO"})
left.fill_between(t, bound, top, color="0.9", label="KL")
left.axvline(share[a] / (share[a] + share[b]), color="0.5", linewidth=1, linestyle=":")
left.annotate("posterior", (share[a] / (share[a] + share[b]), -3.1), xytext=(4, 0), textcoords="offset points")
left.set(xlabel="q of the nearer component (share)", ylabel="nats", title=f"one x = {point[0, 0]}, many q")
left.legend(frameon=False, loc="lower center")
steps = np.arange(len(rows))
middle.plot(steps, evidence, **plots.style("vae") | line | {"label": "mean $\\log p(x)$"})
middle.plot(steps, elbo, **plots.style("svi") | line | {"label": "mean ELBO"})
middle.fill_between(steps, elbo, evidence, color="0.9", label="mean KL")
middle.set(xlabel="gradient step", ylabel="nats per example", title=f"{E_STEPS} steps on q, {M_STEPS} on θ, in turns")
SHOWN = 5 * (E_STEPS + M_STEPS)
middle.set_xlim(0, SHOWN)
middle.set_ylim(evidence[0] - 0.05, evidence[SHOWN] + 0.02)
middle.legend(frameon=False, loc="lower right")
grid = np.linspace(-5, 6, 400)[:, None]
right.hist(x[:, 0], bins=40, density=True, color="0.85", label="data")
right.plot(grid, np.exp(log_evidence(learned, grid)), **plots.style("vae") | line | {"label": "p(x), learned"})
right.plot(grid, np.exp(log_evidence(START, grid)), **plots.style("vae") | line | {"label": "start", "linestyle": ":"})
for k, name in enumerate(("svi", "vae+svi", "sa-vae")):
    look = plots.style(name) | line | {"label": f"z = {k + 1}", "linewidth": 1.2}
    right.plot(grid, np.exp(log_joint(learned, grid)[:, k]), **look)
right.set(xlabel="x", ylabel="density", title="the mixture")
right.set_ylim(0, 0.42)
right.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
plots.save(fig, PICTURES / "01_latent_variables.png")

# %% [markdown]
# ## What to try next
#
# - Set `E_STEPS` to 1. The gap stays open while $\theta$ learns. Is the final $\log p(x)$ worse, or only later?
# - Replace `ascent` by the exact answer, `lam = log_joint(theta, x)`: the classical EM algorithm. The two curves then
#   touch at every round.
# - Forbid $q$ the third component (add -30 to its logit in `loss`). Now no $q$ in the family is the posterior. Which
#   $\theta$ does the bound prefer? Lesson 4 calls this the approximation gap.
# - With a continuous $z$ and a neural network for $p(x \mid z)$ the sum is out of reach and so is the posterior; the
#   bound is still there, and its gradient is lesson 2.
