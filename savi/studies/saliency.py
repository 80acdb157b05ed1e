"""Which words a latent variable is about, on both sides of it: the saliency of a document's words.  [SA] Figure 3

    input side    | d |mu_K| / d e_t |,                  e_t the encoder's embedding of x_t, back through the K steps of SVI
    output side   | d log p(x_t | x_<t, z) / d z |       at z = mu_K

`pulled_back` is the backward loop of Algorithm 1 for any function of lam_K, where x and the noise stay as they are. `effects`
says what saliency goes with: regressed on several things at once, so that each is told from the others.
"""

import numpy as np

from ..inference.hvp import exact
from ..inference.svi import ascend, clipped_vjp

FUNCTION = frozenset(  # words of grammar, and marks; all others are content
    "a an the this that these those it its they them their he his she her we our you your i my one of to in on at by for from "
    "with without as into over under between through about after before than then and or but nor if when while where which who "
    "whose what how whether because so not no is are was were be been being am do does did done has have had having will would "
    "can could may might must shall should there here each any all some both either neither such same other also only just more "
    "most less least very too up down out off again , . ; : ! ? </s> <unk> <code> n".split()
)


def pulled_back(f, lam_0, noise, d_lam, step_size, momentum=0.0, clip=None):
    """(lam_K (B, n), lam_bar (B, n)): where SVI ends, and d sum_b g(lam_K) / d lam_0, d_lam(lam_K) being that at lam_K."""
    trace = []
    lam_K = ascend(f, lam_0, noise, step_size, momentum, clip, trace)
    lam_bar, v_bar = d_lam(lam_K), np.zeros_like(lam_0)
    while trace:
        step = trace.pop()
        v_bar = v_bar + step_size * lam_bar
        lam_bar = lam_bar - exact(f, step, clipped_vjp(step.d_lam, clip, v_bar)).lam
        v_bar = momentum * v_bar
    return lam_K, lam_bar


def size_of_mean(lam):
    """d |mu| / d lam (B, 2D) of each example."""
    mu, rest = np.split(lam, 2, axis=1)
    norm = np.sqrt((mu * mu).sum(axis=1, keepdims=True))
    return np.concatenate([mu / np.where(norm > 0, norm, 1), np.zeros_like(rest)], axis=1)


def of_inputs(encoder, phi, x, lam_bar):
    """[| d sum lam_bar lam_0 / d e_t | (T_b,), ...] of each document in x (B, T), without padding.

    A document's words are numbered by their places and each has an embedding of its own: so the encoder's gradient, which sums
    over all places of a word, is that of each place.
    """
    lstm, found = encoder.lstm, []
    embeddings, rest = phi[: lstm.words].reshape(-1, lstm.embedding), phi[lstm.words :]
    for row, bar in zip(x, lam_bar):
        words = row[row >= 0].astype(int)
        places = encoder.with_vocabulary(len(words))
        own = np.concatenate([embeddings[[*words, -1]].ravel(), rest])  # the last one is that of the start token
        record = places.evaluate(own, np.arange(len(words))[None])
        d_own = places.gradient(own, record, bar[None])
        found.append(np.linalg.norm(d_own[: words.size * lstm.embedding].reshape(len(words), -1), axis=1))
    return found


def of_outputs(decoder, theta, x, z):
    """[| d log p(x_t | x_<t, z) / d z | (T_b,), ...] of each document in x (B, T) at z (B, D), without padding.

    The gradient of a beginning's log p minus that of the beginning that is one word shorter.
    """
    found = []
    for row, z_b in zip(x, z):
        words = row[row >= 0]
        beginnings = np.where(np.tri(len(words), dtype=bool), words, -1)
        given = decoder.given(theta, beginnings)
        record = given.forward(np.repeat(z_b[None, None], len(words), axis=1))
        given.log_px(record)
        up_to = given.backward(record)[0]
        found.append(np.linalg.norm(np.diff(up_to, axis=0, prepend=0), axis=1))
    return found


def features(x, counts, spelled):
    """(T, 2) of a document's words x (T,): whether it is one of content, the log of its count in training."""
    content = [spelled[int(word)] not in FUNCTION for word in x]
    return np.stack([content, np.log1p(counts[x.astype(int)])], axis=1)


def effects(saliency, described, from_the_end):
    """(2,): what goes with the saliency of a word, all documents together: the effect of each feature at the same place and with
    the other feature held fixed, by least squares, in units of the document's mean saliency.

    Places are counted from a document's end or from its beginning, and each has an intercept of its own: what a state forgets is
    not linear in place.
    """
    y = np.concatenate([s / max(s.mean(), 1e-30) for s in saliency])
    places = np.concatenate([np.arange(len(s))[:: -1 if from_the_end else 1] for s in saliency])
    intercepts = (places[:, None] == np.unique(places)).astype(float)
    return np.linalg.lstsq(np.column_stack([np.concatenate(described), intercepts]), y, rcond=None)[0][:2]


def share_of_last(saliency, words):
    """The part of a document's saliency that its last so many words have, the mean over documents."""
    return float(np.mean([s[-words:].sum() / max(s.sum(), 1e-30) for s in saliency]))
