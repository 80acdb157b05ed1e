# %% [markdown]
# # 12. Bugs in the wild
#
# **The question.** A gradient check compares a gradient with differences of the function beside it. If it passes, is the
# program right? Here are four real mistakes, each from code that people use or learn from. In three of them the plain check
# passes; in one it is the check that is wrong. For each there is a property that catches it.
#
# | | the mistake | the plain check | the property |
# |---|---|---|---|
# | 1 | a sampler and its backward pass wrong in the same way | passes | the moments of the samples |
# | 2 | clipping that differs between forward and backward | passes where nothing is clipped | differences of the whole loop |
# | 3 | a tolerance that is absolute *or* relative | is what is wrong | one tolerance, relative to the norm |
# | 4 | a density that is not normalised | passes | its integral |

# %%
import pathlib
import sys

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from autograd.test_util import check_grads, scalar_close

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import savi
from savi import plots, testing
from savi.inference.semi_amortized import algorithm_1
from savi.inference.svi import ascend, clipped
from savi.models import gaussian
from savi.models.latent_gaussian import Product
from savi.studies.figures import lesson

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder


def passes(check, *arguments, **settings):
    """Whether a check raises no AssertionError; its message is printed."""
    try:
        check(*arguments, **settings)
    except AssertionError as error:
        print(f"  fails: {str(error).splitlines()[0][:110]}")
        return False
    print("  passes")
    return True


rng = np.random.default_rng(0)

# %% [markdown]
# ## 1. A sampler and its backward pass, wrong in the same way
#
# numpy-ml's variational autoencoder says that it samples from $N(\mu, e^{\text{log\_var}})$ and returns
# `noise * np.exp(t_log_var) + t_mean`. So the *standard deviation* is $e^{\text{log\_var}}$; the noise should be
# multiplied by $e^{\text{log\_var}/2}$. Its backward pass multiplies by `noise * np.exp(t_log_var)`: the exact gradient of
# the wrong sample. The two agree, and a gradient check asks no more.


# %%
def wrong_sample(lam, noise):
    mu, log_var = gaussian.split(lam)
    return mu + np.exp(log_var) * noise


def wrong_backward(lam, noise, d_z):
    return gaussian.join(d_z.sum(axis=0), (d_z * np.exp(gaussian.split(lam)[1]) * noise).sum(axis=0))


lam, noise = rng.normal(size=(3, 4)), rng.standard_normal((2, 3, 2))
print("plain check of numpy-ml's sampler, through a loss sum(sin z):")
assert passes(
    testing.check_gradient,
    lambda lam: np.sin(wrong_sample(lam, noise)),
    lam,
    wrong_backward(lam, noise, np.cos(wrong_sample(lam, noise))),
)

# %% [markdown]
# **The property.** Something outside must say what a sample is: samples of $N(\mu, s^2)$ have the mean $\mu$ and the
# variance $s^2$. An estimate from n samples is uncertain by its standard error; six of these are allowed, so that a right
# sampler fails once in $5 \cdot 10^8$ comparisons. Mind the point: at log_var = 0 both samplers are right, and zero is
# just where many tests look. (Break it: set `LOG_VAR = 0.0`, and the bug is not found.)

# %%
LOG_VAR = -1.0


def check_moments(sample, mu=0.5, log_var=LOG_VAR, n=20_000):
    z = sample(np.array([[mu, log_var]]), np.random.default_rng(1).standard_normal((n, 1, 1))).ravel()
    for name, rows, expected in (("mean", z, mu), ("variance", (z - mu) ** 2, np.exp(log_var))):
        allowed = 6 * rows.std() / np.sqrt(n)
        error = f"the {name} of {n} samples is {rows.mean():.4f}; expected {expected:.4f} within {allowed:.4f}"
        assert abs(rows.mean() - expected) <= allowed, error


print("moments of numpy-ml's sampler, and of savi's:")
assert not passes(check_moments, wrong_sample), "the moments do not see the bug"
assert passes(check_moments, gaussian.sample)

# %% [markdown]
# ## 2. Clipping that differs between forward and backward
#
# Algorithm 1 of [SA] (lesson 5) takes SVI steps, then differentiates them with Hessian-vector products, which the
# authors' code forms as differences: $H v \approx (g(\lambda + r v) - g(\lambda)) / r$ with $r = 10^{-5}$. The code also
# clips gradients. In the forward pass it clips the gradient of the means and the gradient of the log-variances, each by
# its own norm; in the backward pass it clips the moved gradients all together, those of $\theta$ as well, by their joint
# norm. Then it subtracts one from the other and divides by $10^{-5}$. Where clipping bites, that is the difference of two
# rules, a hundred thousand times enlarged, and no Hessian product. (The result is clipped once more, so that its size does
# not show.)
#
# `algorithm_1` takes any product, and any objective; so the mistake can be rebuilt in a few lines, here without $\theta$ and
# for one example, so that a norm over the batch and a norm per example are the same.


# %%
def by_halves(g, clip):
    """The forward rule: means and log-variances, each by its own norm."""
    return gaussian.join(*(clipped(half, clip) for half in gaussian.split(g)))


class Clipped:
    """An objective whose gradient is clipped by the forward rule."""

    def __init__(self, f, clip):
        self.f, self.clip = f, clip

    def gradient(self, lam, noise):
        step = self.f.gradient(lam, noise)
        step.d_lam = by_halves(step.d_lam, self.clip)
        return step

    def __getattr__(self, name):
        return getattr(self.f, name)


def quotient(f, step, v, r=1e-5):
    """The backward rule: a forward difference whose moved gradient is clipped by its joint norm."""
    moved = clipped(f.f.gradient(step.lam + r * v, step.noise).d_lam, f.clip)
    return Product((moved - step.d_lam) / r, [])  # theta's part is left out here


model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([2, 8, 6]), savi.Bernoulli()))
theta, x = 2 * model.init(rng), (rng.random((1, 6)) < 0.5).astype(float)
f, lam_0 = model.objective(theta, x), rng.normal(size=(1, 4))
STEPS, STEP_SIZE, MOMENTUM = 3, 0.2, 0.5
noise = rng.standard_normal((STEPS + 1, 1, 1, 2))


def authors(clip):
    """(the loss after the loop as a function of lam_0, its gradient at lam_0), clipped by two rules."""
    g = Clipped(f, clip)
    forward = lambda lam: f.evaluate(ascend(g, lam, noise[:-1], STEP_SIZE, MOMENTUM), noise[-1]).loss  # noqa: E731
    return forward, algorithm_1(g, lam_0, noise, STEP_SIZE, MOMENTUM, product=quotient)[2]


def savis(clip):
    """The same with savi's clipping, which the backward pass differentiates."""
    forward = lambda lam: f.evaluate(ascend(f, lam, noise[:-1], STEP_SIZE, MOMENTUM, clip), noise[-1]).loss  # noqa: E731
    return forward, algorithm_1(f, lam_0, noise, STEP_SIZE, MOMENTUM, clip)[2]


# %% [markdown]
# **The plain checks** look at each part: the inner gradient is right, and the quotient is a Hessian product, at a point
# where the clip is above the gradient's norm (the tolerance is that of a forward difference). Everything passes.
#
# **The property.** The backward pass differentiates the forward pass that ran, clipping included: compare the gradient of
# the *whole* loop with differences of the whole loop, at a clip that bites. (Break it: give `BITES` the value of `IDLE`.)

# %%
IDLE, BITES = 1e3, 0.5
print("plain checks: the inner gradient, the quotient, and the whole loop while no clip bites:")
evaluation = f.evaluate(lam_0, noise[0])
v = rng.normal(size=lam_0.shape)
assert passes(testing.check_gradient, lambda lam: f.evaluate(lam, noise[0]).loss, lam_0, evaluation.d_lam)
product = quotient(Clipped(f, IDLE), evaluation, v).lam
assert passes(testing.check_hvp, lambda lam: f.evaluate(lam, noise[0]).d_lam, lam_0, v, product, rtol=1e-3)
assert passes(testing.check_gradient, authors(IDLE)[0], lam_0, authors(IDLE)[1], rtol=1e-3)
print("the whole loop where the clip bites: two rules, and savi's:")
found = not passes(testing.check_gradient, authors(BITES)[0], lam_0, authors(BITES)[1], rtol=1e-3)
assert found, "differences of the loop do not see the bug"
assert passes(testing.check_gradient, savis(BITES)[0], lam_0, savis(BITES)[1])

# %% [markdown]
# ## 3. A tolerance that is absolute or relative
#
# autograd's own `check_grads` calls two numbers close if `abs(a - b) < 1e-6` *or* their relative difference is below
# 1e-6. Where all numbers are small the first always holds. Below is a function of size $10^{-8}$, the size of a loss that
# was averaged over a batch and over pixels, with a gradient that is 2.5 times too large.


# %%
def scaled_sine(scale, factor):
    """x -> scale * sum sin(x), whose gradient is wrong by `factor`."""
    f = primitive(lambda x: scale * anp.sum(anp.sin(x)))
    defvjp(f, lambda ans, x: lambda g: g * factor * scale * anp.cos(x))
    return f


point = rng.normal(size=5)
print("autograd's check of a gradient 2.5 times too large, at scale 1 and at scale 1e-8:")
assert not passes(check_grads(scaled_sine(1.0, 2.5), modes=["rev"], order=1), point)
assert passes(check_grads(scaled_sine(1e-8, 2.5), modes=["rev"], order=1), point)

# %% [markdown]
# **The property.** One tolerance, relative to the norm of the whole expected gradient, plus an absolute part that is
# scaled to the problem (the rounding of the differences): `|a - b| <= rtol |b| + atol`. The verdict must not depend on
# the units of the loss. And a check is a program too: test it, with a gradient that is wrong by 1.001.
# (Break it: pass `atol=1e-6` to the checks below.)

# %%
print("savi's check at scale 1e-8: 2.5 times too large, 1.001 times too large, and right:")
for factor in (2.5, 1.001, 1.0):
    tiny = scaled_sine(1e-8, factor)
    accepted = passes(testing.check_gradient, tiny, point, factor * 1e-8 * np.cos(point))
    assert accepted == (factor == 1.0), "the check does not see a wrong factor"

# %% [markdown]
# ## 4. A density that is not normalised
#
# The authors' code of [LI] guards a division: $\log N(z; \mu, s^2)$ is computed with $(z - \mu)^2 / (s^2 + 10^{-5})$, and
# $\log s^2$ beside it as it is. The gradient of this function is its gradient, whoever computes it. But it is the log of
# no density: it integrates to $\sqrt{(s^2 + 10^{-5}) / s^2}$, which is more than one, and grows without bound as
# $s \to 0$.


# %%
def wrong_log_density(z, lam):
    mu, log_var = gaussian.split(lam)
    return -0.5 * (gaussian.LOG_2PI + log_var + (z - mu) ** 2 / (np.exp(log_var) + 1e-5)).sum(axis=-1)


def wrong_density_gradient(z, lam):
    mu, log_var = gaussian.split(lam)
    guarded = np.exp(log_var) + 1e-5
    d_log_var = -0.5 * (1 - (z - mu) ** 2 * np.exp(log_var) / guarded**2)
    return gaussian.join((z - mu) / guarded, d_log_var)


NARROW = np.array([0.0, -10.0])  # mu and log s^2
z = 0.01 * rng.normal(size=1)
print("plain check of the guarded log density:")
assert passes(
    testing.check_gradient, lambda lam: wrong_log_density(z, lam), NARROW, lambda lam: wrong_density_gradient(z, lam)
)

# %% [markdown]
# **The property.** A density integrates to one; test it where it is narrow. (Break it: set `NARROW`'s log-variance to 3.
# The guard is then too small to see, and the bug is not found.)

# %%
s = np.exp(NARROW[1] / 2)
GRID = [np.linspace(-12 * s, 12 * s, 4001)]
print("the integral of the guarded density, and of savi's:")
found = not passes(testing.check_density, lambda z: wrong_log_density(z, NARROW), grid=GRID)
assert found, "the integral does not see the bug"
assert passes(testing.check_density, lambda z: gaussian.log_density(z, NARROW), grid=GRID)

# %% [markdown]
# What it does: fit the log-variance of data with a standard deviation of 0.001 by maximum likelihood. The true
# likelihood has its maximum at the data's variance. The guarded one has none: any smaller variance is better still.

# %%
data = 1e-3 * rng.standard_normal((300, 1))
log_vars = np.linspace(-20, -6, 57)
lams = np.stack([np.zeros_like(log_vars), log_vars], axis=1)
true, guarded = ([density(data, lam).mean() for lam in lams] for density in (gaussian.log_density, wrong_log_density))
fitted = log_vars[np.argmax(true)]
log_var_of_data = np.log(np.mean(data**2))
print(f"fitted log s²: {fitted:.2f} (the data's is {log_var_of_data:.2f}); guarded: {log_vars[np.argmax(guarded)]:.2f}")
assert abs(fitted - log_var_of_data) < 0.25
assert np.argmax(guarded) == 0, "the guarded likelihood has its maximum inside the search"


# %% [markdown]
# ## The picture
#
# Each panel shows one bug by the property that sees it.


# %%
def relative_error(case, clip):
    forward, gradient = case(clip)
    expected = testing.numeric_gradient(forward, lam_0)
    return np.linalg.norm(gradient - expected) / np.linalg.norm(expected)


def by_autograd(scale, factor):
    """Whether autograd's rule calls the derivative along (1, 1, ...), times the factor, close to what it should be."""
    expected = scale * np.cos(point).sum()
    return scalar_close(expected, factor * expected)


def by_savi(scale, factor):
    try:
        testing.check_gradient(scaled_sine(scale, 1.0), point, factor * scale * np.cos(point))
    except AssertionError:
        return False
    return True


def largest_error(accepts, scale):
    """The largest relative error up to which a gradient is accepted."""
    errors = np.geomspace(1e-9, 1e3, 49)
    return errors[np.argmin([accepts(scale, 1 + error) for error in errors]) - 1]


fig, axes = plots.figure(columns=2, rows=2, width=5.0)
(first, second), (third, fourth) = axes
looks = {"wrong": plots.style("sa-vae"), "right": plots.style("vae+svi")}
noise_1 = np.random.default_rng(2).standard_normal((20_000, 1, 1))
log_var = np.linspace(-2, 2, 9)
for name, sample, look in (("numpy-ml", wrong_sample, "wrong"), ("savi", gaussian.sample, "right")):
    variance = [sample(np.array([[0.0, v]]), noise_1).var() for v in log_var]
    first.semilogy(log_var, variance, **looks[look] | {"label": name})
first.semilogy(log_var, np.exp(log_var), color="0", linewidth=1, linestyle=":", label="what log_var says")
first.set(xlabel="log_var", ylabel="variance of 20,000 samples", title="1. samples")
clips = np.geomspace(0.03, 100, 9 if QUICK else 21)
for name, case, look in (("two rules", authors, "wrong"), ("savi", savis, "right")):
    second.loglog(clips, [relative_error(case, clip) for clip in clips], **looks[look] | {"label": name})
second.set(xlabel="clip (norm of an inner gradient)", ylabel="relative error", title="2. gradient of the whole loop")
scales = np.geomspace(1e-8, 1, 5 if QUICK else 9)
for name, check, look in (("absolute or relative", by_autograd, "wrong"), ("relative to the norm", by_savi, "right")):
    third.loglog(scales, [largest_error(check, scale) for scale in scales], **looks[look] | {"label": name})
third.set(xlabel="scale of the loss", ylabel="largest relative error that passes", title="3. tolerances")
fourth.plot(log_vars, guarded, **looks["wrong"] | {"label": "+1e-5 in the division"}, markevery=8)
fourth.plot(log_vars, true, **looks["right"] | {"label": "savi"}, markevery=8)
fourth.axvline(log_var_of_data, color="0", linewidth=1, linestyle=":", label="variance of the data")
fourth.set(xlabel="$\\log s^2$", ylabel="mean log-likelihood (nats)", title="4. a likelihood without a maximum")
fourth.set_ylim(min(guarded) - 2, max(guarded) + 2)
for ax in axes.flat:
    ax.legend(frameon=False, fontsize=8)
plots.save(fig, PICTURES / "12_bugs_in_the_wild.png")

# %% [markdown]
# ## What to try next
#
# - The wrong sampler against its *own* density: if $\log q$ were written with the same mistake, would the moments still
#   find it? Would the integral?
# - Rewrite check 2 so that it catches a momentum that the backward pass forgets (`MOMENTUM` in one pass only).
# - In lesson 2, set the wrong sign. Which of the four properties would have found it?
# - Write a fifth: a KL divergence that silently assumes a standard-normal prior. What must be drawn at random for a test to
#   see it?
