# %% [markdown]
# # 4. Amortized inference and its gap
#
# **The question.** SVI (lesson 3) searches for each image anew. A variational autoencoder asks a network instead: one
# pass, `lam = enc(x; phi)`, for every $x$ there may be. What does the convenience cost, and where is the cost paid?

# %%
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import savi
from savi import plots
from savi.experiments.evaluation import gaps, neg_elbo, optimum
from savi.inference.optimizers import Adam
from savi.models.gaussian import log_density
from savi.studies.figures import lesson
from savi.testing import assert_close

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## Two gaps
#
# Let $\lambda^*$ be the best member of the family of $q$'s for one $x$, found by optimizing to convergence. Then, [E6],
#
# $$\log p(x) - \text{ELBO}(\lambda) =
#   \underbrace{\log p(x) - \text{ELBO}(\lambda^*)}_{\text{approximation gap}} +
#   \underbrace{\text{ELBO}(\lambda^*) - \text{ELBO}(\lambda)}_{\text{amortization gap}}.$$
#
# The first is the family's fault: the posterior is no diagonal Gaussian. The second is the encoder's ([SA] sections 1
# and 2; [LI] section 3.1; Cremer et al. 2017). By [E1] the whole is $KL(q \,\|\, p(z \mid x))$.
#
# ## Where both are known
#
# A linear model, $x \sim N(A z, s_x^2 I)$ with $z \sim N(0, I)$ in two dimensions. The posterior is Gaussian with the
# precision matrix $P = A^T A / s_x^2 + I$, which has an off-diagonal entry. From a Gaussian $q$ of mean $\mu$ and variances
# $s_i^2$ to it, with its mean $m$,
#
# $$\mathrm{KL}(q \| p(z \mid x)) = \tfrac12 \Big(\sum_i P_{ii} s_i^2 + (\mu - m)^T P (\mu - m) - D - \sum_i \log s_i^2
#   - \log \det P\Big).$$
#
# It is least at $\mu = m$ and where $\partial / \partial s_i^2$, which is $\tfrac12 (P_{ii} - 1 / s_i^2)$, is zero: the best
# diagonal $q$ has the posterior's mean and the variances $1 / P_{ii}$. The first sum is then $D$, and for every $x$ there is left
#
# $$\text{approximation gap} = \tfrac12 \Big(\sum_i \log P_{ii} - \log \det P\Big).$$
#
# The best $\mu$ is an affine function of $x$ and the best variances are constants. So an encoder without hidden layers
# *can* be perfect: its amortization gap should vanish. One with a single hidden unit cannot be: two means then follow
# one number.

# %%
D, M, VAR_X = 2, 5, 0.5
rng = np.random.default_rng(0)
A = rng.normal(size=(M, D))
P = A.T @ A / VAR_X + np.eye(D)
EXACT_GAP = 0.5 * (np.log(np.diag(P)).sum() - np.linalg.slogdet(P)[1])  # line A

linear = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([D, M]), savi.Gaussian()))
theta_linear = np.concatenate([A.T.ravel(), np.zeros(M), [np.log(VAR_X)]])


def draw(rng, n):
    return rng.normal(size=(n, D)) @ A.T + np.sqrt(VAR_X) * rng.normal(size=(n, M))


def exact_log_px(x):
    """log N(x; 0, A A^T + s_x^2 I), (N,): independent Gaussians along the covariance's eigenvectors."""
    variances, vectors = np.linalg.eigh(A @ A.T + VAR_X * np.eye(M))
    return log_density(x @ vectors, np.concatenate([np.zeros(M), np.log(variances)]))


def train_encoder(model, method, theta, data, steps, seed, batch=50, step_size=5e-3):
    """phi of the method's encoder, theta held fixed: Adam on the bound, the step size falling to zero."""
    rng = np.random.default_rng(seed)
    phi = method.init(rng, theta.dtype)
    state = Adam().init(phi)
    for i in range(steps):
        x = data(rng, batch)
        d_phi = method.gradient(model, theta, phi, x, rng)[2]
        state, step = Adam(step_size * (1 - i / steps)).update(state, d_phi / batch)
        phi = phi + step
    return phi


# %% [markdown]
# `savi.experiments.evaluation.gaps` splits the gap for any model: $\lambda^*$ by optimization, $\log p(x)$ by the
# importance-weighted estimate [E5] with $\lambda^*$ as its proposal. Here its two estimates can be held against the exact values.
# They are estimates: a gap cannot be negative, yet one near 0 may be printed as -0.002, where the optimum that was found is
# off by as much as its `tolerance`.
#
# **A check that would fail.** Break it: in line A pretend that the posterior has no correlation, `EXACT_GAP = 0.0`; or
# in the cell below give the affine encoder one hidden unit, too.

# %%
ENCODERS = {"affine": savi.MLP([M, 2 * D]), "one hidden unit": savi.MLP([M, 1, 2 * D])}
x_linear = draw(rng, 30 if QUICK else 100)
log_px = exact_log_px(x_linear)
split = {}
for name, encoder in ENCODERS.items():
    vae = savi.VAE(encoder, samples=5)
    phi = train_encoder(linear, vae, theta_linear, draw, 600 if QUICK else 2500, seed=1, step_size=0.02)
    lam = vae.infer(linear, theta_linear, phi, x_linear, rng)
    split[name] = gaps(linear, theta_linear, lam, x_linear, rng, tolerance=0.01, samples=400, iw_samples=1000)
    approximation, amortization = (split[name][f"{kind}_gap"].mean() for kind in ("approximation", "amortization"))
    print(f"{name:16} approximation gap {approximation:.3f} (exact: {EXACT_GAP:.3f}), amortization {amortization:.3f}")
    assert abs(split[name]["log_px"].mean() - log_px.mean()) < 0.02, "the estimate of log p(x)"
    assert abs(approximation - EXACT_GAP) < 0.05, "the approximation gap"
    total = log_px + neg_elbo(linear, theta_linear, lam, x_linear, np.random.default_rng(2), samples=400)
    assert abs(approximation + amortization - total.mean()) < 0.05, "the two gaps are the whole gap"
assert split["affine"]["amortization_gap"].mean() < 0.05, "an affine encoder can be perfect, and this one is not"
assert split["one hidden unit"]["amortization_gap"].mean() > 0.2, "one hidden unit cannot follow two means"

# %% [markdown]
# ## Images
#
# Now a VAE on letters: decoder and encoder learn together, [SA] section 2,
#
# $$\frac{dL}{d\phi} = \Big(\frac{d\lambda}{d\phi}\Big)^{\!T} \nabla_\lambda f(\lambda), \qquad
#   \lambda = \mathrm{enc}(x; \phi).$$
#
# With a hidden layer, $h = \tanh(x W_1 + b_1)$ and $\lambda = h W_2 + b_2$, the chain rule goes backwards line by line. Let
# $d_\lambda$ (B, 2D) be $\nabla_\lambda f$ of each example. A parameter serves all examples, so its gradient is a sum over them:
#
# $$d_{W_2} = h^T d_\lambda, \quad d_{b_2} = \sum_b d_\lambda, \quad d_a = (d_\lambda W_2^T) \odot (1 - h^2), \quad
#   d_{W_1} = x^T d_a, \quad d_{b_1} = \sum_b d_a,$$
#
# where $1 - h^2$ is the slope of tanh. In savi this is `MLP.gradient`.

# %%
net = savi.MLP([M, 3, 2 * D], "tanh")
phi_net, d_lam = rng.normal(size=net.size), rng.normal(size=(len(x_linear), 2 * D))
W_1, b_1, W_2, b_2 = (p.reshape(shape) for p, shape in zip(
    np.split(phi_net, np.cumsum([M * 3, 3, 3 * 2 * D])), ((M, 3), 3, (3, 2 * D), 2 * D)))  # fmt: skip
h = np.tanh(x_linear @ W_1 + b_1)
d_a = d_lam @ W_2.T * (1 - h**2)
d_by_hand = np.concatenate([d.ravel() for d in (x_linear.T @ d_a, d_a.sum(0), h.T @ d_lam, d_lam.sum(0))])
assert_close(d_by_hand, net.gradient(phi_net, net.evaluate(phi_net, x_linear), d_lam), rtol=1e-12, name="d phi")

# %%
IMAGES, EPOCHS, SEEN = (3000, 4, 20) if QUICK else (6000, 8, 100)
glyphs = savi.data.load("glyphs")
seen = glyphs.train[:IMAGES]
model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([16, 100, 784]), savi.Bernoulli()))
vae = savi.VAE(savi.MLP([784, 100, 32]), step_size=0.005, momentum=0.5)
trained = savi.fit(model, vae, glyphs._replace(train=seen), EPOCHS, seed=0, learning_rate=3e-3)
theta = trained.theta


class Part:
    """Some images, their lam*, and the amortization gap of other lam."""

    def __init__(self, images):
        self.x = savi.data.binarize(images, np.random.default_rng(1))
        lam = vae.infer(model, theta, trained.phi, self.x, np.random.default_rng(2), steps=0)
        self.best, self.converged = optimum(model, theta, lam, self.x, np.random.default_rng(3))
        self.floor = self.loss(self.best)

    def loss(self, lam):
        """-ELBO of each image, always at the same noise."""
        return neg_elbo(model, theta, lam, self.x, np.random.default_rng(4), samples=20)

    def gap(self, lam):
        return (self.loss(lam) - self.floor).mean()


parts = {"seen in training": Part(seen[:SEEN]), "new letters": Part(glyphs.test[:SEEN])}

# %% [markdown]
# How large must an encoder be? The decoder stays as it is; encoders of several sizes are trained for it, from scratch, on
# the same images, and judged on images they have seen and on new letters.

# %%
HIDDEN = (5, 50) if QUICK else (5, 20, 100, 300)


def sample_seen(rng, n):
    return savi.data.binarize(seen[rng.integers(len(seen), size=n)], rng)


by_size = {name: [] for name in parts}
for hidden in HIDDEN:
    other = savi.VAE(savi.MLP([784, hidden, 32]))
    phi = train_encoder(model, other, theta, sample_seen, 150 if QUICK else 1000, seed=5)
    for name, part in parts.items():
        by_size[name].append(part.gap(other.infer(model, theta, phi, part.x, rng)))
for name, row in by_size.items():
    print(f"amortization gap, {name:16}: " + ", ".join(f"{g:.1f} ({h} units)" for g, h in zip(row, HIDDEN)), end="; ")
    print(f"{parts[name].gap(vae.infer(model, theta, trained.phi, parts[name].x, rng)):.1f} (trained with the decoder)")
assert by_size["new letters"][-1] < by_size["new letters"][0], "a larger encoder has the smaller gap"

# %% [markdown]
# The larger encoder follows $\lambda^*$ more closely, on images it has seen and on new ones, and the new ones always cost
# a little more. (That may end: a network large enough can learn its training images by heart.)
#
# And how many SVI steps is an encoder worth? From the encoder's guess and from the prior, the same steps on new letters:
# 0.005 with momentum 0.5, well below the limit that lesson 3 found. This is the idea of *semi*-amortized inference, [SA]:
# let the encoder begin and SVI finish. Lesson 5 then learns through the steps.
#
# In the full run the encoder's one pass is worth about eighty steps from the prior, and a few steps after it take away
# most of the gap that it leaves.

# %%
new = parts["new letters"]
STEPS = 20 if QUICK else 80
AT = [k for k in (0, 1, 2, 5, 10, 20, 40, 80) if k <= STEPS]
svi = savi.SVI(steps=STEPS, step_size=0.005, momentum=0.5)
refined = {}
for name, method, phi in (("from the encoder", vae, trained.phi), ("from the prior", svi, np.zeros(0))):
    path = method.path(model, theta, phi, new.x, np.random.default_rng(6), steps=STEPS)
    refined[name] = [new.gap(path[k]) for k in AT]
    print(f"gap {name:16}: " + ", ".join(f"{g:.1f} ({k} steps)" for g, k in zip(refined[name], AT)))

assert refined["from the encoder"][0] < refined["from the prior"][0], "the encoder knows more than the prior"
assert refined["from the encoder"][-1] < refined["from the encoder"][0], "SVI improves on the encoder's guess"

# %%
fig, (left, middle, right) = plots.figure(columns=3)
bars = [np.array([gap[f"{kind}_gap"].mean() for gap in split.values()]) for kind in ("approximation", "amortization")]
left.bar((0, 1), bars[0], 0.5, color="#0072B2", label="approximation")
left.bar((0, 1), bars[1], 0.5, bottom=bars[0], color="#E69F00", hatch="//", label="amortization")
left.axhline(EXACT_GAP, color="0", linewidth=1.2, linestyle="--", label="exact approximation gap")
left.set_xticks((0, 1), ["affine\nencoder", "encoder with\none hidden unit"])
left.set(ylabel="nats per example", title="a linear model")
for (name, row), look in zip(by_size.items(), ("vae", "sa-vae")):
    middle.plot(HIDDEN, row, **plots.style(look) | {"label": name})
middle.set(
    xlabel="hidden units of the encoder", ylabel="amortization gap (nats per image)", title="images, one decoder"
)
middle.set_xscale("log")
middle.set_xticks(HIDDEN, HIDDEN)
middle.minorticks_off()
middle.set_yscale("log")
for (name, row), look in zip(refined.items(), ("vae+svi", "svi")):
    right.plot(AT, row, **plots.style(look) | {"label": name})
right.set(xlabel="SVI steps", ylabel="amortization gap (nats per image)", title="new letters", yscale="log")
right.set_xscale("symlog", linthresh=1)
right.set_xlim(-0.1, 1.1 * STEPS)
right.set_xticks(AT, AT)
right.minorticks_off()
for ax in (left, middle, right):
    ax.legend(frameon=False, fontsize=8)
plots.save(fig, PICTURES / "04_amortized_inference.png")

# %% [markdown]
# ## What to try next
#
# - Which images have the largest gap? Sort `new.loss(lam) - new.floor` and look at the first few.
# - The encoder of 100 units that was trained together with the decoder has the larger gap than the fresh one of the same
#   size. It had a target that moved, and a step size that did not fall to zero: which of the two is it?
# - Train longer (`EPOCHS`): does the gap on new letters shrink or grow? And on those seen in training?
# - The decoder was trained together with its encoder, and so prefers posteriors that this encoder can hit. Train it by
#   `savi.SVI` instead and give it an encoder afterwards.
# - A richer family: write the loss with a full covariance as an `AutogradModel` and watch the first bar vanish.
