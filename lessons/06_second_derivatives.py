# %% [markdown]
# # 6. Second derivatives without a Hessian
#
# **The question.** The backward loop of lesson 5 needs $H v$ at every step: the Hessian of the loss times a vector. Nobody
# wants the Hessian itself. How is the product formed, how wrong is it, and what does it cost?

# %%
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import numpy as np

import savi
from savi import hvp, plots
from savi.engine.blas import one_thread
from savi.studies.figures import lesson
from savi.testing import assert_close, check_hvp

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## The equation
#
# $H v$ is the derivative of the gradient in the direction $v$:
# $$H_{\lambda,\lambda} f(\lambda)\, v = \frac{d}{dr} \nabla_\lambda f(\lambda + r v) \Big|_{r=0}, \qquad
# H_{\theta,\lambda} f(\lambda)\, v = \frac{d}{dr} \nabla_\theta f(\lambda + r v) \Big|_{r=0}.$$
# Five ways to take this derivative ([SA] section 3 uses the first, with $r = 10^{-5}$):
#
# 1. **forward difference**: $(\nabla f(\lambda + r v) - \nabla f(\lambda)) / r$, error $O(r) + O(\epsilon / r)$;
# 2. **central difference**: $(\nabla f(\lambda + r v) - \nabla f(\lambda - r v)) / 2r$, error $O(r^2) + O(\epsilon / r)$;
# 3. **complex step**: $\mathrm{Im}\, \nabla f(\lambda + i r v) / r$, error $O(r^2) + O(\epsilon)$: nothing is subtracted,
#    so $r = 10^{-20}$ is fine;
# 4. **exact**: the chain rule itself, every line of the gradient's code differentiated along $v$ (Pearlmutter's R-operator);
# 5. **autograd**: differentiate the loss twice.
#
# $\epsilon$ is the relative size of a rounding error, $10^{-16}$ in float64 and $6 \cdot 10^{-8}$ in float32.

# %%
TRAIN, EPOCHS, BATCH, STEPS = (500, 3, 10, 10) if QUICK else (3000, 5, 50, 20)
D = 16

glyphs = savi.data.load("glyphs")
model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([D, 100, 784]), savi.Bernoulli()))
encoder = savi.MLP([784, 100, 2 * D])
trained = savi.fit(
    model, savi.VAE(encoder), glyphs.train[:TRAIN], EPOCHS, learning_rate=3e-3, dtype=float, progress=False
)
theta, phi = trained.theta, trained.phi

rng = np.random.default_rng(0)
x = savi.data.binarize(glyphs.test[:BATCH].astype(float), rng)
noise = rng.standard_normal((STEPS + 1, 1, BATCH, D))
lam = encoder(phi, x)

# %% [markdown]
# ## The Hessian that nobody forms
#
# One product with each unit vector would give it, column by column. $H_{\lambda,\lambda}$ is block-diagonal, one block
# $(2D, 2D)$ per example, because each example's loss depends on its own $\lambda$ only; $H_{\theta,\lambda}$ has $2D$
# columns as long as $\theta$.

# %%
f = model.objective(theta, x)
evaluation = f.gradient(lam, noise[0])
columns = [hvp.product(f, evaluation, np.tile(unit, (BATCH, 1))).lam for unit in np.eye(2 * D)]
H = np.stack(columns, axis=2)  # (B, 2D, 2D)
print(
    f"H_lam,lam: {2 * D} products for {BATCH} blocks {H.shape[1:]}; H_theta,lam would be {(theta.size, 2 * D)} per example"
)

assert_close(H, H.transpose(0, 2, 1), rtol=1e-12, name="H against its transpose")
v = rng.standard_normal(lam.shape)
assert_close(hvp.product(f, evaluation, v).lam, np.einsum("bij,bj->bi", H, v), rtol=1e-12, name="H v")
curvature = np.linalg.eigvalsh(H)
print(f"eigenvalues of H from {curvature.min():.2f} to {curvature.max():.2f}: not every direction curves upwards")

# %% [markdown]
# ## A call of savi, five times
#
# `hvp.product(f, evaluation, v, method)` gives both products. The judge is autograd, which shares no line with the closed
# forms. $v$ is what Algorithm 1 has after its first line: $\alpha \nabla_\lambda f$.

# %%
STEP_SIZE = 0.005
R = 1e-5  # of the sources


def both(f, evaluation, v, method, **options):
    """[H_lam,lam v, H_theta,lam v] in one vector."""
    product = hvp.product(f, evaluation, v, method, **options)
    return np.concatenate([product.lam.ravel(), f.theta_sum().add(product).value()])


def relative_error(a, truth):
    return float(np.linalg.norm(a - truth) / np.linalg.norm(truth))


def setting(dtype):
    """(f, evaluation, v) in the precision of dtype, at the same point."""
    f = model.objective(theta.astype(dtype), x.astype(dtype))
    evaluation = f.gradient(lam.astype(dtype), noise[0].astype(dtype))
    return f, evaluation, (STEP_SIZE * f_direction).astype(dtype)


f_direction = evaluation.d_lam
truth = both(*setting("float64"), "autograd")
WITH_R = {"forward": {"r": R}, "central": {"r": R}, "complex": {}, "exact": {}}
errors = {
    dtype: {method: relative_error(both(*setting(dtype), method, **r), truth) for method, r in WITH_R.items()}
    for dtype in ("float64", "float32")
}
for method in WITH_R:
    print(f"{method:<8} float64 {errors['float64'][method]:.1e}   float32 {errors['float32'][method]:.1e}")

# %% [markdown]
# ## The check

# %%
assert errors["float64"]["exact"] < 1e-12 and errors["float64"]["complex"] < 1e-12
assert errors["float64"]["forward"] < 1e-4 and errors["float64"]["central"] < 1e-7
assert errors["float32"]["exact"] < 1e-5, "float32 itself is good to five digits"
assert errors["float32"]["forward"] > 1e-2, "this r should ruin float32"

# %% [markdown]
# **Break it.** Set `R = 1e-3` above: float32's forward difference becomes better and the last assert fails. With `R = 1e-12`
# the float64 asserts fail.
#
# Any gradient of your own can be checked like this: `savi.testing.check_hvp` compares a product with differences at a step
# chosen for float64, and tests that $u \cdot Hv = v \cdot Hu$.


# %%
def gradient(lam):
    return f.gradient(lam, noise[0]).d_lam


check_hvp(gradient, lam, v, lambda point, v: hvp.product(f, f.gradient(point, noise[0]), v).lam)

# %% [markdown]
# ## Why that r ruins float32
#
# $\lambda$ is of size 1, and near 1 the float32 numbers lie $6 \cdot 10^{-8}$ to $1.2 \cdot 10^{-7}$ apart. A step $r v$
# with $r = 10^{-5}$ and a small $v$ is a few such spacings, or less than one: then $\lambda + r v$ is rounded back to
# $\lambda$, and this entry of $v$ is not seen at all. What is left of the difference is divided by $r$, rounding and all.

# %%
f32, evaluation32, v32 = setting("float32")


def moved_badly(r):
    """The fraction of entries of lam that do not move by r v to within 10 percent, in float32."""
    moved = (evaluation32.lam + np.float32(r) * v32) - evaluation32.lam
    wanted = r * v32.astype(float)
    return float(np.mean(np.abs(moved - wanted) > 0.1 * np.abs(wanted)))


print(
    f"entries of lam that move by the wrong amount: {moved_badly(R):.0%} at r = {R:g}, {moved_badly(1e-2):.0%} at r = 0.01"
)

# %% [markdown]
# The best $r$ balances both errors: about $\sqrt\epsilon$ for the forward and $\epsilon^{1/3}$ for the central difference,
# for a $v$ of length about one. `hvp.scaled_step(r)` gives every example its own step, $r (1 + |\lambda|) / |v|$, so that
# the length of $v$ no longer matters. (In the backward loop $v$ has the size of $\alpha \nabla f$; it shrinks as the loop
# converges.) The loss here bends within much less than $|\lambda|$, so $r$ is smaller than $\epsilon^{1/3}$.

# %%
grid = 10.0 ** np.arange(-8, 0.1, 1.0 if QUICK else 0.5)
sweeps = {
    (method, dtype): [relative_error(both(*setting(dtype), method, r=r), truth) for r in grid]
    for method in ("forward", "central")
    for dtype in ("float64", "float32")
}
scaled = {
    dtype: relative_error(both(*setting(dtype), "central", r=hvp.scaled_step(r)), truth)
    for dtype, r in (("float64", 1e-6), ("float32", 5e-4))
}
print("central difference, scaled step: " + ", ".join(f"{dtype} {error:.1e}" for dtype, error in scaled.items()))

# %% [markdown]
# ## The whole gradient
#
# One product's error is one thing; Algorithm 1 adds up $K$ of them, each made from the last.


# %%
def whole_gradient(dtype, product):
    """[d theta, d phi] of SA-VAE with `product`, at the same point and noise."""
    method = savi.SAVAE(encoder, STEPS, STEP_SIZE, momentum=0.5, hvp=product)
    at = (theta.astype(dtype), phi.astype(dtype), x.astype(dtype))
    return np.concatenate(method.gradient(model, *at, noise=noise.astype(dtype))[1:])


def forward_with(r):
    return lambda f, evaluation, v: hvp.forward_difference(f, evaluation, v, r)


whole_truth = whole_gradient("float64", "exact")
whole = {
    dtype: [relative_error(whole_gradient(dtype, forward_with(r)), whole_truth) for r in grid]
    for dtype in ("float64", "float32")
}
at_R = {dtype: relative_error(whole_gradient(dtype, forward_with(R)), whole_truth) for dtype in whole}
whole_exact = relative_error(whole_gradient("float32", "exact"), whole_truth)
print(
    f"SA-VAE's gradient, K = {STEPS}, r = {R:g}: wrong by {at_R['float64']:.1e} in float64 and {at_R['float32']:.1e} in float32"
)
print(f"the exact product in float32: {whole_exact:.1e}")
assert at_R["float32"] > 1e-2 and at_R["float64"] < 1e-3 and whole_exact < 1e-3

# %% [markdown]
# ## What each one costs
#
# Counted in passes through the decoder. A gradient is one pass forward and one back; the exact product is one tangent pass
# forward and one back, with as many matrix products of the same size, and it reuses what the gradient left behind. A
# complex product does the work of about four real ones, a complex tanh of more. To see what is asked of $f$, put a counter
# in front of it.


# %%
class Counted:
    """An objective that counts the gradients and tangents that are asked of it."""

    def __init__(self, f):
        self.f, self.count = f, {"gradients": 0, "complex gradients": 0, "tangents": 0}

    def __getattr__(self, name):
        return getattr(self.f, name)

    def gradient(self, lam, noise):
        self.count["complex gradients" if np.iscomplexobj(lam) else "gradients"] += 1
        return self.f.gradient(lam, noise)

    def hvp(self, evaluation, v):
        self.count["tangents"] += 1
        return self.f.hvp(evaluation, v)


def median_seconds(call, repeats):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return np.median(seconds)


def seconds(method):
    """Of one product and its sum over theta; None: of one gradient, likewise."""
    at, repeats = setting("float64"), 3 if QUICK else 15
    with one_thread():  # two threads of a matrix library that wait for each other would be timed instead
        if method is None:
            return median_seconds(lambda: f.theta_sum().add(f.gradient(lam, noise[0])).value(), repeats)
        return median_seconds(lambda: both(*at, method), repeats)


at, base = setting("float64"), seconds(None)
counts, ratios = {}, {}
for method in hvp.METHODS:
    counted = Counted(at[0])
    hvp.product(counted, at[1], at[2], method)
    counts[method] = {name: n for name, n in counted.count.items() if n}
    ratios[method] = seconds(method) / base
    print(
        f"{method:<8} {counts[method] or 'differentiates the reference loss'!s:<36} time: {ratios[method]:.1f} gradients"
    )

assert counts["forward"] == {"gradients": 1} and counts["central"] == {"gradients": 2}
assert counts["exact"] == {"tangents": 1} and counts["complex"] == {"complex gradients": 1}

# %% [markdown]
# The ratios are times and differ from machine to machine, so nothing is asserted about them; the counts are facts of the
# algorithms. The sum over the $K$ steps of $H_{\theta,\lambda} v$ needs no array of $\theta$'s size per step with any of the
# closed forms: the steps' layer inputs and deltas are kept, and one matrix product per layer sums them (`f.theta_sum()`).

# %%
LOOKS = {
    ("forward", "float64"): ("vae+svi", "-"),
    ("central", "float64"): ("vae", "-"),
    ("forward", "float32"): ("sa-vae", "--"),
    ("central", "float32"): ("svi", "--"),
}
fig, (left, middle, right) = plots.figure(columns=3, width=4.2, height=3.8)
for (method, dtype), (name, dash) in LOOKS.items():
    look = plots.style(name) | {"label": f"{method}, {dtype}", "linestyle": dash, "markersize": 4}
    left.plot(grid, sweeps[method, dtype], **look)
    if method == "forward":
        right.plot(grid, whole[dtype], **look)
for ax, exact in ((left, errors["float32"]["exact"]), (right, whole_exact)):
    ax.axhline(exact, color="0.35", linewidth=1.2, linestyle=":", label="exact, float32")
    ax.set(yscale="log", ylabel="relative error")
left.set_title("one product")
right.set_title(f"the whole gradient, K = {STEPS}")
middle.plot(grid, [moved_badly(r) for r in grid], **plots.style("sa-vae") | {"label": "float32", "linestyle": "--"})
middle.set(
    ylabel="fraction of the entries of $\\lambda$", title="entries that move by the wrong amount", ylim=(-0.03, 1.03)
)
for ax in (left, middle, right):
    ax.set(xscale="log", xlabel="difference step r")
    ax.axvline(R, color="0.5", linewidth=1)
middle.text(R * 1.3, 0.03, "r of the sources", rotation=90, fontsize=8, color="0.35")
left.legend(frameon=False, fontsize=8)
right.legend(frameon=False, fontsize=8)
plots.save(fig, PICTURES / "06_errors.png")

# %% [markdown]
# At $r = 10^{-5}$ in float32 seven of ten entries of $\lambda$ move by the wrong amount, one forward product is wrong by 8
# percent and the whole gradient by 20 percent; the exact product in float32 is right to six digits, for about the time of one
# more gradient. In float64 the same $r$ does no harm. The right-hand sides of the curves have slopes 1 and 2, the orders of
# the two differences; the left-hand sides have slope $-1$, rounding divided by $r$.
#
# ## What to try next
#
# - `STEP_SIZE = 0.0005`: $v$ is ten times shorter. Where does the minimum of each curve move, and why not with `scaled_step`?
# - Give the decoder the activation `"elu"`: its second derivative jumps at 0. Which products still agree with autograd to
#   $10^{-12}$, and what do differences say for a unit that crosses 0 between $\lambda$ and $\lambda + r v$?
# - `savi.SAVAE(..., hvp=my_product)`: train with a product of your own, for example the Gauss-Newton part of $H$.
# - `figures/hvp_accuracy.py` shows the same errors for a larger model, over several draws of the noise;
#   `figures/hvp_accuracy_text.py` those of an LSTM on text, where the encoder's gradient, hundreds of times shorter than the
#   decoder's, drowns in them.
