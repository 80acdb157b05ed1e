# %% [markdown]
# # 14. Counts of words, and perplexity
#
# **The question.** A document is how often each word stands in it. What is its likelihood, how surprised is a model by a word,
# and does a latent variable help over knowing which words are frequent?

# %%
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(globals().get("__file__", "x.py")).resolve().parents[1]))

import numpy as np

import savi
from savi import plots
from savi.data import counts
from savi.experiments.evaluation import along, importance_weighted, infer, perplexity
from savi.inference.encodings import Gradient
from savi.inference.iterative import Iterative, network
from savi.nets.encoders import LogEncoder
from savi.studies.figures import lesson
from savi.testing import assert_close, check_gradient

QUICK, PICTURES = lesson()  # SAVI_QUICK=1 in the environment: small and fast, and pictures go to a temporary folder

# %% [markdown]
# ## The equation
#
# A decoder gives logits $a$ for the vocabulary; each of the $n = \sum_m x_m$ words is drawn from softmax$(a)$ ([E9]):
# $$\log p(x | z) = \sum_m x_m \log \mathrm{softmax}(a)_m, \qquad \partial / \partial a = x - n\, \mathrm{softmax}(a).$$
# The number of orders in which the words may stand, a constant, is left out. **Perplexity** ([LI] eq. 63) is
# $\exp(\sum -\log p(x) / \sum n)$: as uncertain as among so many equally likely words.

# %% [markdown]
# ## The call
#
# `savi.data.counts.load("counts")` reads the docstrings of the installed standard library: nothing is downloaded, and no module
# is in two parts. The first time it takes some seconds.

# %%
rng, multinomial = np.random.default_rng(0), savi.Multinomial()
documents = counts.load("counts")
V = documents.vocabulary
print(
    f"{documents.name}: {len(documents.train)} documents to train on, {V} words, {documents.train.sum(axis=1).mean():.0f} in each"
)

# %% [markdown]
# ## The check
#
# The log-probability is a sum over words, one by one; its error is the derivative; and a model that knows nothing has the
# perplexity of its vocabulary.

# %%
a, x = rng.normal(size=(2, 5)), np.array([[2.0, 0, 1, 0, 0], [0, 0, 0, 4, 1]])
softmax = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
by_word = [sum(np.log(p[m]) for m in range(5) for _ in range(int(row[m]))) for p, row in zip(softmax, x)]
assert_close(multinomial.log_prob(a, x), by_word, rtol=1e-12)
check_gradient(lambda a: multinomial.log_prob(a, x), a, multinomial.error(a.copy(), x)[0], "complex")
uniform = -multinomial.log_prob(np.zeros((2, 5)), x)
assert np.isclose(perplexity(uniform, x.sum(axis=1)), 5)

# %% [markdown]
# ## Without a latent variable
#
# The unigram knows how frequent each word is, and is the best model without latents. Training starts there: the decoder's last
# bias is its logarithm, so that $z$ has to explain what differs between documents alone.

# %%
test = documents.test.astype(np.float32)
n = test.sum(axis=1)
model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([10, 50, V], "elu"), multinomial))
name, log_px = model.baseline(documents.train, test)
print(f"perplexity of the {name}: {perplexity(-log_px, n):.1f}, of knowing nothing: {V}")

# %% [markdown]
# ## With one
#
# A VAE whose encoder sees $\log(1 + x)$, and an iterative model that sees gradients alone: 40 numbers, where the encoder sees
# 2000. Perplexity by importance weights of each one's own posterior.

# %%
EPOCHS = 1 if QUICK else 12
METHODS = {
    "VAE": savi.VAE(LogEncoder(savi.MLP([V, 50, model.lam_size], "elu"))),
    "iterative": Iterative(network(model, [Gradient()], (50, 50)), [Gradient()], 5, 1),
}
paths, found = {}, {}
for name, method in METHODS.items():
    result = savi.fit(model, method, documents, EPOCHS, 0, batch=100, progress=False)
    lam = infer(model, method, result.theta, result.phi, test, np.random.default_rng(0))
    log_px = importance_weighted(model, result.theta, lam, test, np.random.default_rng(0), 100)
    found[name] = perplexity(-log_px, n)
    refined = method.path(
        model, result.theta, result.phi, test[:100], np.random.default_rng(0), 16 if name == "iterative" else 0
    )
    paths[name] = along(model, result.theta, refined, test[:100], 1)
    print(f"perplexity of the {name}: {found[name]:.1f}")
assert all(1 < value < V for value in found.values())

# %% [markdown]
# ## The picture
#
# Where the iterative model's estimate is after each iteration ([LI] Figure 11b).

# %%
fig, axes = plots.figure(1, 1, 5.6, 3.2)
axes[0].plot(range(17), paths["iterative"], "o-", ms=3, label="iterative")
axes[0].axhline(paths["VAE"][0], color="0.5", ls="--", label="VAE (its own decoder)")
axes[0].set(xlabel="test-time iterations", ylabel="-ELBO, nats per document")
axes[0].legend()
plots.save(fig, PICTURES / "14_counts.png")

# %% [markdown]
# ## What to take away
#
# - Perplexity weighs documents by their words; with a bound for $\log p(x)$ it is an upper bound.
# - The unigram belongs in every table of counts: what a latent variable is worth is what it takes off that.
# - The numbers above are of one seed; `figures/li_counts.py` has three, and equal seconds.
