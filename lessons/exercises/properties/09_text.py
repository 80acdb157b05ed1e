"""What should hold of costs, of perplexity, and of an LSTM cell's backward step."""

import numpy as np
from hypothesis import strategies as st

from savi.course.properties import holds, parts
from savi.testing import assert_close

WORDS = st.sampled_from([2.0, 10.0, 1000.0])


def lengths_of(places, picks):
    """Whole numbers from 1 to so many places, from any numbers (B,)."""
    return 1 + np.abs(4 * picks).astype(int) % places


@holds("neg_elbo: one nat less for a token costs its document one nat, and nobody else", log_p="B T", picks="B", kl="B")
def a_token_costs_its_document(student, log_p, picks, kl):
    lengths = lengths_of(log_p.shape[1], picks)
    before = student.neg_elbo(log_p, lengths, kl)
    for b, t in np.ndindex(log_p.shape):
        changed = log_p.copy()
        changed[b, t] -= 1
        expected = np.zeros(len(log_p))
        expected[b] = t < lengths[b]
        assert_close(student.neg_elbo(changed, lengths, kl) - before, expected, 1e-9, 1e-12, name="the change")


@holds("neg_elbo: a document of sure words costs its KL", log_p="B T", picks="B", kl="B")
def sure_words_cost_the_kl(student, log_p, picks, kl):
    lengths = lengths_of(log_p.shape[1], picks)
    sure = np.where(np.arange(log_p.shape[1]) < lengths[:, None], 0.0, log_p)
    assert_close(student.neg_elbo(sure, lengths, kl), kl, 1e-9, 1e-12, name="-ELBO")


@holds(
    "perplexity: where every token is one of V equally likely words it is V, whatever the lengths",
    picks="B",
    words=WORDS,
)
def uniform_words(student, picks, words):
    lengths = lengths_of(9, picks)
    assert_close(student.perplexity(lengths * np.log(words), lengths), words, 1e-9, name="perplexity")


@holds("perplexity: documents put end to end have that of their tokens together", nats="B", picks="B")
def end_to_end(student, nats, picks):
    lengths = lengths_of(9, picks)
    value = student.perplexity(nats, lengths)
    joined = np.exp(nats.sum() / lengths.sum())
    assert_close(value, joined, 1e-9, name="perplexity")


def cell(a, c_before):
    """(h, c) of the step, for complex numbers too."""
    a_i, a_f, a_o, a_g = np.split(a, 4, axis=1)
    i, f, o = (0.5 * (1 + np.tanh(0.5 * part)) for part in (a_i, a_f, a_o))
    c = f * c_before + i * np.tanh(a_g)
    return o * np.tanh(c), c


@holds(
    "cell_backward: d_a . a_dot + d_c_before . c_dot is how fast d_h . h + d_c . c moves along any direction (a_dot, c_dot)",
    a="B 4H", c_before="B H", d_h="B H", d_c="B H",
)  # fmt: skip
def the_transpose_of_the_step(student, a, c_before, d_h, d_c):
    d_a, d_c_before = parts(student.cell_backward(a, c_before, d_h, d_c), 2, "cell_backward")
    r, found = 1e-20, [np.zeros_like(a), np.zeros_like(c_before)]
    for which, point in enumerate((a, c_before)):
        for index in np.ndindex(point.shape):
            moved = [a.astype(complex), c_before.astype(complex)]
            moved[which][index] += 1j * r
            h, c = cell(*moved)
            found[which][index] = (d_h * h + d_c * c).sum().imag / r
    assert_close(d_a, found[0], 1e-9, 1e-12, name="d_a")
    assert_close(d_c_before, found[1], 1e-9, 1e-12, name="d_c_before")
