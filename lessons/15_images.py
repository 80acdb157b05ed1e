# %% [markdown]
# # 15. Images with a strong decoder
#
# **The question.** A decoder that looks at $z$ alone has to be told everything by $z$. One that looks at the pixels before
# a pixel as well knows most of it already. How is such a decoder made, and what is left for $z$ to say?

# %%
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import numpy as np

import savi
from savi import plots
from savi.data import binarize
from savi.experiments.catalogue import scaled
from savi.nets.convolution import Convolution, Grid, causal, same
from savi.nets.pixelcnn import PixelCNN
from savi.studies.figures import lesson
from savi.testing import assert_close

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder
rng = np.random.default_rng(0)

# %% [markdown]
# ## A convolution is a sum of shifted products
#
# $$a_{i,j} = b + \sum_{(d, e)} x_{i + d,\, j + e}\, W_{d,e}, \qquad x = 0 \text{ outside the image}.$$
# Each tap $(d, e)$ takes the whole image, shifts it, and multiplies every pixel's channels with one small matrix. In NumPy:


# %%
def convolved(x, taps, W, b):
    """a (N, H, W, O) of images x (N, H, W, C); taps (d, e), W one matrix (C, O) for each."""
    N, H, width, C = x.shape
    p = max(abs(n) for tap in taps for n in tap)
    padded = np.zeros((N, H + 2 * p, width + 2 * p, C))
    padded[:, p : p + H, p : p + width] = x
    return b + sum(padded[:, p + d : p + d + H, p + e : p + e + width] @ w for (d, e), w in zip(taps, W))


# %% [markdown]
# `nets/convolution.py` does the same with the batch as one tall matrix, in which a shift is a shift of rows: a line of
# three taps then reads three rows that follow one another, which are one longer row already, so that nothing is copied.

# %%
grid = Grid(5, 6, 1)
net = Convolution(grid, same(3), 2, 4)
layer, x = rng.normal(size=net.shape), rng.normal(size=(3, 5, 6, 2))
taps = [(d, e) for d in (-1, 0, 1) for e in (-1, 0, 1)]
a = grid.pixels(net.forward(layer, grid.put(x), grid.empty(3, 4, float)))
assert_close(a, convolved(x, taps, layer[:-1].reshape(9, 2, 4), layer[-1]), 1e-12)

# %% [markdown]
# **The way back** is the adjoint $A^*$ of the linear map $A: x \mapsto a - b$, and one number checks it:
# $\langle A x, y \rangle = \langle x, A^* y \rangle$ for any $x$ and $y$. A tap that took from the left gives to the left,
# so $A^*$ is a convolution with the taps turned around the middle and $W$ transposed.

# %%
y = rng.normal(size=a.shape)
back = grid.pixels(net.backward(net.turned(layer), grid.put(y), grid.empty(3, 2, float)))
forward, adjoint = np.sum((a - layer[-1]) * y), np.sum(x * back)
print(f"<A x, y> = {forward:.12f}, <x, A* y> = {adjoint:.12f}")
assert_close(forward, adjoint, 1e-12)
turned = layer[:-1].reshape(9, 2, 4)[::-1].transpose(0, 2, 1)
assert_close(back, convolved(y, taps, turned, 0.0), 1e-12)

# %% [markdown]
# ## Masks, and what causality means
#
# A decoder that is **autoregressive** gives each pixel a distribution that depends on those before it, line by line:
# $$p(x | z) = \prod_i p(x_i | x_{<i}, z).$$
# So a feature of pixel $i$ may not see pixel $i$ or any after it. Mask "A" leaves those taps out; further layers read
# features, not pixels, and may use the feature at $i$ itself: mask "B". Taps that are left out are no parameters.

# %%
print(
    f"taps of a 5 x 5 kernel: {25}, mask A {sum(m for *_, m in causal(5, 'A'))}, mask B {sum(m for *_, m in causal(5, 'B'))}"
)
cnn = PixelCNN((14, 14), channels=8, layers=4, kernel=3, first=5)
params, image = cnn.init(rng), (rng.random((1, 196)) < 0.3).astype(float)
place = 6 * 14 + 5
other = image.copy()
other[:, place:] = 1 - other[:, place:]
features = cnn.over(params, image).forward().features
assert np.array_equal(features[:, place], cnn.over(params, other).forward().features[:, place])  # the same to the bit

# %% [markdown]
# One stack of such layers has a **blind spot**: what lies above to the right, behind the edge of each kernel, is never seen,
# as from the line above a kernel reaches no further right than from its own. Two stacks see all: a vertical one, for the
# lines above, hands what it has to a horizontal one. The picture asks for each pixel whether the features of one pixel
# move when it does.


# %%
def seen(net):
    """(14, 14): 1 where a pixel is seen by the features at `place`, 0.5 at that pixel itself."""
    params = net.init(np.random.default_rng(1))
    flipped = np.tile(image, (196, 1))
    np.fill_diagonal(flipped, 1 - flipped.diagonal())
    found = net.over(params, flipped).forward().features[:, place]
    moved = np.any(found != net.over(params, image).forward().features[0, place], axis=1).astype(float)
    moved[place] = 0.5
    return moved.reshape(14, 14)


fields = {
    f"{n} stack{'s' * (n > 1)}": [seen(PixelCNN((14, 14), 4, k, 3, 3, stacks=n)) for k in (1, 2, 4, 8)] for n in (1, 2)
}
assert fields["2 stacks"][-1].ravel()[:place].all() and not fields["1 stack"][-1].ravel()[:place].all()
picture = plots.gallery(fields)
plots.save(picture, PICTURES / "15_receptive_fields.png")

# %% [markdown]
# ## Where $z$ enters
#
# In [SA] maps of $z$, a few numbers for each pixel, stand beside $x$ in the first layer: every step of an inner loop goes
# through the whole net. savi's own form is `late`: the net sees $x$ alone and runs **once** for all steps, and $z$ joins its
# features in a gated head,
# $$\mathrm{out}_i = \mathrm{gate}(f_i W_f + z W_z + b)\, V + c, \qquad \mathrm{gate}(a) = \tanh(a_1)\, \sigma(a_2).$$
# The gradients with respect to $f$ of all steps are added up, and go back through the net once. Both have exact
# Hessian-vector products, so that each method of lesson 7 runs on both.

# %%
SIDE, D, K, B = 14, 16, 10, 10 if QUICK else 50
batch = (rng.random((B, SIDE * SIDE)) < 0.3).astype(np.float32)
encoder = savi.ResNet((SIDE, SIDE), (8, 16), 2 * D)
phi = encoder.init(rng, np.float32)
for z_at in ("late", "input"):
    model = savi.LatentGaussianModel(savi.PixelCNNDecoder((SIDE, SIDE), D, 12, 3, 3, 5, z_at=z_at))
    theta, start = model.init(rng, np.float32), time.process_time()
    savi.SAVAE(encoder, K, 0.1).gradient(model, theta, phi, batch, rng)
    print(
        f"z at {z_at:5}: {1e3 * (time.process_time() - start):5.0f} processor ms for SA-VAE's gradient, K = {K}, {B} images"
    )

# %% [markdown]
# The probabilities of all images sum to one, whatever $z$ is; and an image is drawn pixel by pixel.

# %%
tiny = savi.PixelCNNDecoder((2, 3), 2, 4, 2, 3, 3)
every = np.array(np.meshgrid(*[[0.0, 1.0]] * 6)).reshape(6, -1).T
given = tiny.given(tiny.init(rng), every)
total = np.exp(given.log_px(given.forward(np.tile(rng.normal(size=2), (1, len(every), 1))))).sum()
print(f"the probabilities of all {len(every)} images of 2 x 3 pixels sum to {total:.12f}")
assert abs(total - 1) < 1e-12

# %% [markdown]
# ## What a strong decoder leaves to $z$
#
# The same VAE with two decoders, on letters of 14 x 14 pixels: an MLP, for which pixels are independent given $z$, and a
# PixelCNN. The KL is how many nats of an image $z$ speaks of.

# %%
TRAIN, EPOCHS, TEST = (300, 1, 50) if QUICK else (3000, 8, 300)
letters = scaled(savi.data.load("glyphs"), SIDE)
letters = letters._replace(train=letters.train[:TRAIN], prepare=binarize)
decoders = {
    "MLP": savi.MLPDecoder(savi.MLP([D, 100, SIDE * SIDE]), savi.Bernoulli()),
    "PixelCNN": savi.PixelCNNDecoder((SIDE, SIDE), D, 12, 3, 3, 5),
}
test = binarize(letters.test[:TEST], np.random.default_rng(1))
trained, found = {}, {}
for name, decoder in decoders.items():
    model, method = savi.LatentGaussianModel(decoder), savi.VAE(encoder)
    result = savi.fit(model, method, letters, EPOCHS, learning_rate=2e-3, warmup_epochs=2, progress=False)
    trained[name] = model, method, result
    found[name] = savi.evaluate(model, method, result.theta, result.phi, test, np.random.default_rng(2))
    print(f"{name:8} -ELBO {found[name]['neg_elbo']:6.2f}, KL {found[name]['kl']:5.2f} nats")
assert QUICK or found["PixelCNN"]["kl"] < found["MLP"]["kl"] / 2

# %% [markdown]
# What a picture can show of it: test images; what the MLP's decoder makes of their $\mu$; and for the PixelCNN, several
# samples with the same $z = \mu$. What the samples of a column share, $z$ has said; what differs, the pixels said to each other.

# %%
SHOWN = 10
rows = {"images": test[:SHOWN].reshape(-1, SIDE, SIDE)}
for name, (model, method, result) in trained.items():
    mu = method.infer(model, result.theta, result.phi, test[:SHOWN], rng)[:, :D]
    for i in range(1 if name == "MLP" else 3):
        shown = model.decoder.picture(result.theta, mu, np.random.default_rng(i))
        rows["MLP" if name == "MLP" else f"PixelCNN {i + 1}"] = shown.reshape(-1, SIDE, SIDE)
samples = plots.gallery(rows)
plots.save(samples, PICTURES / "15_samples.png")

# %% [markdown]
# ## Exercises
#
# 1. Turn the taps of `turned` back (leave out `[::-1]`) and see which of the checks above notices.
# 2. Train the PixelCNN's VAE with `maps=0`: the position map is gone. What happens to the bound, what to the KL?
# 3. Put `savi.SAVAE(encoder, 10, 0.1)` in the VAE's place. Does it use $z$ more? Is its bound lower at equal seconds?
# 4. `python -m savi compare --data glyphs14 --decoder pixelcnn` compares all methods with this decoder.
