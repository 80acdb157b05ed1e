# %% [markdown]
# # 2. Gradients by hand, and a wrong sign in print
#
# **The question.** The bound of lesson 1 is to be climbed: over the variational parameters, and over the model's. What is
# its gradient, written out, and how do we know that what we wrote is right?
#
# [LI] derives it in its appendix A. One sign there is wrong. This lesson does the derivation, finds the sign, and shows
# what would happen to anyone who typed it in.

# %%
import pathlib
import sys

import autograd
import autograd.numpy as anp
import numpy as np

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import savi
from savi import plots, reference, testing
from savi.inference.svi import ascent
from savi.models import gaussian
from savi.studies.figures import lesson

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## The derivation
#
# $q(z) = N(\mu, \mathrm{diag}\, s^2)$ with $s^2 = e^{\text{log\_var}}$, and `lam` = [mu, log_var], (B, 2D). A sample is
# written as $z = \mu + s\,e$ with noise $e \sim N(0, I)$: now the noise does not depend on `lam`, and the gradient may go
# inside the expectation ([LI] A.2). This is the *reparameterization* (Kingma & Welling 2014; Rezende, Mohamed & Wierstra
# 2014). The bound has three terms ([LI] eq. 15):
#
# $$\text{ELBO} = E_e[\;\log p(x \mid z) \;+\; \log p(z) \;-\; \log q(z)\;].$$
#
# $J = \partial\, \text{outputs} / \partial z$ is the decoder's Jacobian (its outputs: a mean, or logits), and $\mu_p$,
# $s_p^2$ are the mean and the variance of the prior, here 0 and 1.
# Through $z$ each term passes $\partial z / \partial \mu = I$ and $\partial z / \partial s^2 = \mathrm{diag}(e / 2s)$:
#
# 1. $\log p(x \mid z)$ gives $J^T e_x$: the likelihood's error, sent back through the decoder ([LI] eq. 42, 54). For a
#    Bernoulli output with logits, $e_x = x - \mathrm{sigmoid}(\text{logits})$, [E8].
# 2. $\log p(z)$ gives $-e_z$ with $e_z = (z - \mu_p) / s_p^2$ ([LI] eq. 28).
# 3. $\log q(z) = -\tfrac12 \sum (\log 2\pi + \log s^2 + e^2)$, as $(z - \mu)/s$ is $e$ itself. Its gradient is 0 for
#    $\mu$ and $-1/(2 s^2)$ for $s^2$ ([LI] eq. 32 and 34).
#
# Together, [E11]:
#
# $$\nabla_\mu \text{ELBO} = E_e[J^T e_x - e_z], \qquad
# \nabla_{s^2} \text{ELBO} = E_e\!\left[(J^T e_x - e_z)\,\frac{e}{2 s}\right] + \frac{1}{2 s^2}.$$
#
# The last sign is +, because the bound *subtracts* $\log q$. It is the gradient of $q$'s entropy, and it widens $q$.

# %%
SIGN = +1  # line A. [LI] prints -1 in eq. 9, 57 and 59

rng = np.random.default_rng(0)
B, S, D, M = 3, 4, 2, 6
model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([D, 5, M]), savi.Bernoulli()), kl=savi.SampledKL)
theta, lam = rng.normal(size=model.size), rng.normal(size=(B, 2 * D))
x = (rng.random((B, M)) < 0.5).astype(float)
noise = rng.standard_normal((S, B, D))

evaluation = model.objective(theta, x).evaluate(lam, noise)  # savi: f = -ELBO, and its gradient
s = np.exp(gaussian.split(lam)[1] / 2)
e_z = gaussian.sample(lam, noise)  # the prior is N(0, I)
error = evaluation.d_z - e_z  # J^T e_x - e_z, (S, B, D); d_z is what the decoder sends back
d_mu = error.mean(axis=0)
d_s2 = (error * noise / (2 * s)).mean(axis=0) + SIGN / (2 * s**2)
by_hand = gaussian.join(d_mu, s**2 * d_s2)  # d ELBO / d log s^2 = s^2 d ELBO / d s^2

# %% [markdown]
# **A check that would fail.** Three derivations of one gradient: the two lines above, savi's closed form, and autograd
# on the loss as `reference.loss` writes it, which was never differentiated by hand. Break it: set `SIGN = -1` in line A.

# %%
by_autograd = autograd.grad(lambda lam: -anp.sum(reference.loss(model, lam, theta, x, noise)))(lam)
testing.assert_close(by_hand, by_autograd, rtol=1e-12, name="the gradient by hand")
testing.assert_close(-evaluation.d_lam, by_autograd, rtol=1e-12, name="savi's gradient")
testing.check_gradient(lambda lam: -model.loss(lam, theta, x, noise), lam, by_hand)  # and by differences
testing.assert_close(
    model.theta_gradient(lam, theta, x, noise),
    autograd.grad(lambda theta: anp.sum(reference.loss(model, lam, theta, x, noise)))(theta),
    rtol=1e-12,
    name="theta's gradient, [E13]",
)
print("by hand = closed form = autograd = differences")

# %% [markdown]
# ## The KL term in closed form
#
# The last two terms together are $-\mathrm{KL}(q \| p)$. Between diagonal Gaussians the expectation needs no samples, as
# $E_q[(z - \mu_p)^2] = s^2 + (\mu - \mu_p)^2$ and $E_q[(z - \mu)^2] = s^2$, [E3]:
#
# $$\mathrm{KL}(q \| p) = E_q[\log q(z) - \log p(z)] = \tfrac12 \sum \Big(\log \frac{s_p^2}{s^2}
#   + \frac{s^2 + (\mu - \mu_p)^2}{s_p^2} - 1\Big),$$
#
# a sum over the dimensions, zero where $q$ is the prior. Differentiate it: $\nabla_\mu = (\mu - \mu_p) / s_p^2$, and
# $\nabla_{\log s^2} = \tfrac12 (s^2 / s_p^2 - 1)$, as $s^2$ is its own derivative with respect to $\log s^2$.

# %%
prior = rng.normal(size=(B, 2 * D))
(mu, log_var), (mu_p, log_var_p) = gaussian.split(lam), gaussian.split(prior)
kl = (log_var_p - log_var + (np.exp(log_var) + (mu - mu_p) ** 2) / np.exp(log_var_p) - 1).sum(axis=1) / 2
kl_gradient = gaussian.join((mu - mu_p) / np.exp(log_var_p), (np.exp(log_var - log_var_p) - 1) / 2)
testing.assert_close(kl, savi.AnalyticKL.value(lam, prior), rtol=1e-12, name="[E3]")
testing.check_gradient(lambda lam: savi.AnalyticKL.value(lam, prior), lam, kl_gradient)

# %% [markdown]
# So there are two forms of the KL term: `SampledKL` is the one derived at first, `AnalyticKL` (savi's default) has the
# expectations of $e_z$ and of the entropy in closed form. Both are right for every output. The table shows the relative
# difference of closed form and autograd.

# %%
print(f"{'output':24}{'KL term':14}{'lam':>10}{'theta':>10}")
for likelihood in (savi.Bernoulli(), savi.Multinomial(), savi.Gaussian("global"), savi.Gaussian("from_z")):
    for kl in (savi.SampledKL, savi.AnalyticKL):
        outputs = 2 * M if repr(likelihood) == "Gaussian('from_z')" else M
        other = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([D, 5, outputs]), likelihood), kl=kl)
        point = rng.normal(size=other.size)
        exact = autograd.grad(lambda l, t, m=other: anp.sum(reference.loss(m, l, t, x, noise)), (0, 1))(lam, point)
        closed = other.evaluate(lam, point, x, noise).d_lam, other.theta_gradient(lam, point, x, noise)
        wrong = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(closed, exact)]
        print(f"{likelihood!r:24}{kl.__name__:14}{wrong[0]:10.0e}{wrong[1]:10.0e}")
        assert max(wrong) < 1e-12

# %% [markdown]
# ## The story of the sign
#
# Appendix A takes the terms one by one, and each is right. Equation 34 is the gradient of $+\log q$: $-1/(2 s^2)$. Then
# A.5 puts "the gradient terms [...] together" and *adds* the three, where equation 15 subtracts the third. So eq. 57 and
# 59 end in $-1/(2 s^2)$, and so does eq. 9, in the paper's main part. The experiments need not have suffered: a program
# that differentiates the bound automatically never sees the formula. The paper does not say which was used.
#
# How large is the mistake? In $\log s^2$ the term is $s^2 \cdot 1/(2 s^2) = 1/2$, so the printed gradient is off by
# exactly 1 in every log-variance, whatever the model, the data and the noise:

# %%
printed = gaussian.join(d_mu, s**2 * ((error * noise / (2 * s)).mean(axis=0) - 1 / (2 * s**2)))
difference = gaussian.split(printed - by_autograd)
testing.assert_close(difference[0], np.zeros((B, D)), atol=1e-12)
testing.assert_close(difference[1], -np.ones((B, D)), rtol=1e-12)

# %% [markdown]
# ## What it would do
#
# A model where everything is known: $z \sim N(0, 1)$, $x \sim N(w z, s_x^2)$. The posterior is Gaussian, its precision
# $P = w^2 / s_x^2 + 1$, its mean $w x / (s_x^2 P)$. The integrand is quadratic in the noise, so the two noise values -1
# and +1, which have mean 0 and variance 1, give the expectation exactly.

# %%
W, LOG_VAR_X, X = 1.5, np.log(0.5), np.array([[1.0]])
line = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([1, 1]), savi.Gaussian()), kl=savi.SampledKL)
theta_line = np.array([W, 0.0, LOG_VAR_X])  # weight, bias, the output's log-variance
EXACT = np.array([[[-1.0]], [[1.0]]])  # (S, B, D)
P = W**2 / np.exp(LOG_VAR_X) + 1
posterior = np.array([[W * X[0, 0] / np.exp(LOG_VAR_X) / P, -np.log(P)]])
log_px = gaussian.log_density(X[0], np.array([0.0, np.log(W**2 + np.exp(LOG_VAR_X))]))

at_posterior = line.evaluate(posterior, theta_line, X, EXACT)
testing.assert_close(-at_posterior.loss, log_px[None], rtol=1e-12, name="the ELBO at the posterior")
testing.assert_close(at_posterior.d_lam, np.zeros((1, 2)), atol=1e-12, name="the gradient at the posterior")


class Printed:
    """f with the gradient as printed: +1 in each log-variance of f = -ELBO."""

    def __init__(self, f):
        self.f = f

    def gradient(self, lam, noise):
        step = self.f.gradient(lam, noise)
        gaussian.split(step.d_lam)[1][...] += 1
        return step


STEPS = 100 if QUICK else 400
f, paths = line.objective(theta_line, X), {}
for name, climbed in (("right sign, +", f), ("as printed, −", Printed(f))):
    start = line.prior_lam(1)
    paths[name] = np.array([start, *ascent(climbed, start, [EXACT] * STEPS, step_size=0.05)])[:, 0]
elbo = {name: [-f.evaluate(lam[None], EXACT).loss[0] for lam in path] for name, path in paths.items()}
for name, path in paths.items():
    print(f"{name}: log s² ends at {path[-1, 1]:8.3f}, ELBO at {elbo[name][-1]:8.3f} nats", end="; ")
    print(f"posterior {posterior[0, 1]:.3f}, log p(x) {log_px:.3f}")

# %% [markdown]
# With the right sign SVI ends at the exact posterior. As printed, the gradient of $\log s^2$ is
# $-\tfrac12(P s^2 + 1)$, negative everywhere: $q$ shrinks without end, towards a point mass at the mean, and the ELBO
# falls as far as one lets it. The mean is found all the same, and reconstructions from the mean look fine: one more
# reason why such a mistake can live long.

# %%
right, wrong = paths.values()
if not QUICK:
    testing.assert_close(right[-1:], posterior, rtol=1e-3)
assert np.all(np.diff(wrong[:, 1]) < 0), "the printed gradient shrinks q at every step"

fig, (left, middle, last) = plots.figure(columns=3)
looks = {name: plots.style(method) | {"label": name} for name, method in zip(paths, ("vae+svi", "sa-vae"))}
log_s2 = np.linspace(-5, 0.5, 200)
curve = [-f.evaluate(np.array([[posterior[0, 0], v]]), EXACT).loss[0] for v in log_s2]
left.plot(log_s2, curve, color="0", linewidth=1.6, label="ELBO at the posterior's mean")
left.axhline(log_px, color="0.5", linewidth=1, linestyle=":")
left.annotate("$\\log p(x)$", (-4.9, log_px), xytext=(0, 4), textcoords="offset points")
for i, v in enumerate((-3.5, -1.7, -0.2)):
    point = np.array([[posterior[0, 0], v]])
    value, slope = -f.evaluate(point, EXACT).loss[0], -f.evaluate(point, EXACT).d_lam[0, 1]
    for (name, look), g in zip(looks.items(), (slope, slope - 1)):
        ends = np.array([-0.5, 0.5]) / np.hypot(1, g / 2)
        look = look | {"marker": "", "linewidth": 2.2, "label": f"slope, {name}" if i == 0 else None}
        left.plot(v + ends, value + g * ends, **look)
left.set(xlabel="$\\log s^2$", ylabel="ELBO (nats)", title="the bound and its two slopes")
left.legend(frameon=False, fontsize=8, loc="lower center")
every = max(1, STEPS // 8)
for name, path in paths.items():
    middle.plot(path[:, 1], **looks[name], markevery=every)
    last.plot(elbo[name], **looks[name], markevery=every)
middle.axhline(posterior[0, 1], color="0.5", linewidth=1, linestyle=":", label="posterior")
middle.set(xlabel="SVI step", ylabel="$\\log s^2$", title="the variance of q")
last.axhline(log_px, color="0.5", linewidth=1, linestyle=":", label="$\\log p(x)$")
last.set(xlabel="SVI step", ylabel="ELBO (nats)", title="what it costs")
for ax in (middle, last):
    ax.legend(frameon=False, fontsize=8)
plots.save(fig, PICTURES / "02_gradients_by_hand.png")

# %% [markdown]
# ## What to try next
#
# - Which function does the printed gradient climb? (Not the bound: $E_q[\log p(x, z)] + E_q[\log q(z)]$. Draw it beside
#   the left panel; it has no maximum.)
# - Multiply `by_hand` by 1.001 and run the check again. A check that lets this pass is worth little; lesson 12 has one.
# - Derive the gradient for a Gaussian output whose variance depends on $z$, `savi.Gaussian("from_z")`, and compare.
# - Replace `EXACT` by a few random noise values and watch `SampledKL` and `AnalyticKL` at the posterior: at which of the
#   two is the gradient zero for each noise, and why?
