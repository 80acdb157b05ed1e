"""Encoders of hierarchies against autograd, what each level hears, and the ladder's merge as Bayes' rule."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi.engine.files import InputError
from savi.nets import level_encoders
from savi.nets.level_encoders import BottomUpEncoder, LadderEncoder, TopDownEncoder
from savi.testing import assert_close, seeds, sizes

KINDS = [BottomUpEncoder, TopDownEncoder, LadderEncoder]
EACH = pytest.mark.parametrize("kind", KINDS)


@st.composite
def cases(draw, kind):
    """(encoder, phi, x, d_output) of any depth."""
    L, B, rng = draw(st.integers(1, 3)), draw(sizes), np.random.default_rng(draw(seeds))
    hidden = [draw(st.lists(sizes, min_size=1, max_size=2)) for _ in range(L)]
    encoder = kind(
        draw(sizes), hidden, [draw(sizes) for _ in range(L)], draw(st.sampled_from(["tanh", "elu", "softplus"]))
    )
    return (
        encoder,
        rng.normal(0, 0.8, encoder.size),
        rng.normal(size=(B, encoder.inputs)),
        rng.normal(size=(B, encoder.outputs)),
    )


def check(encoder, phi, x, d, rtol=1e-9):
    """AssertionError unless the output and d phi are the reference's."""
    record = encoder.evaluate(phi, x)
    assert_close(record.output, encoder.reference(phi, x), rtol, name="lam")
    expected = autograd.grad(lambda phi: anp.sum(encoder.reference(phi, x) * d))(phi)
    assert_close(encoder.gradient(phi, record, d), expected, rtol, 1e-12, name="d phi")


@EACH
@given(data=st.data())
@settings(max_examples=30)
def test_output_and_gradient_are_the_references(kind, data):
    check(*data.draw(cases(kind)))


def small(kind, dtype=np.float64):
    rng = np.random.default_rng(0)
    encoder = kind(3, [[4, 4], [3]], [2, 1])
    return encoder, *(
        a.astype(dtype) for a in (rng.normal(size=encoder.size), rng.normal(size=(5, 3)), rng.normal(size=(5, 6)))
    )


@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_the_check_catches_a_changed_merge(name, monkeypatch):
    made = getattr(level_encoders, name)
    monkeypatch.setattr(level_encoders, name, lambda a: 1.001 * made(a))
    with pytest.raises(AssertionError, match="is off by"):
        check(*small(LadderEncoder))


@EACH
def test_the_level_below_hears_the_one_above_unless_the_encoder_is_bottom_up(kind):
    encoder, phi, x, _ = small(kind)
    moved, top = phi.copy(), encoder.heads[1][0]
    start = sum(net.size for net in encoder.nets[: encoder.nets.index(top)])
    moved[start : start + top.size] += 0.5  # the top's head
    before, after = encoder.evaluate(phi, x).output, encoder.evaluate(moved, x).output
    lower = [0, 1, 3, 4]
    assert np.array_equal(before[:, lower], after[:, lower]) == (kind is BottomUpEncoder)
    assert not np.array_equal(before[:, [2, 5]], after[:, [2, 5]])


def test_the_ladders_merge_is_bayes_rule_for_gaussians():
    lam, prior = np.array([[1.0, np.log(0.5)]]), np.array([[-2.0, np.log(2.0)]])
    precision = 1 / 0.5 + 1 / 2.0
    assert_close(
        level_encoders._merged(lam, prior), [[(1 / 0.5 - 2 / 2.0) / precision, -np.log(precision)]], rtol=1e-14
    )


@EACH
def test_dtype_in_is_dtype_out_and_extremes_stay_finite(kind):
    encoder, phi, x, d = small(kind, np.float32)
    record = encoder.evaluate(phi, 1e3 * x)
    assert record.output.dtype == np.float32 and np.isfinite(record.output).all()
    assert encoder.gradient(phi, record, d).dtype == np.float32
    assert encoder.init(np.random.default_rng(0), np.float32).shape == (encoder.size,)


def test_one_level_is_the_same_in_all_three():
    rng = np.random.default_rng(0)
    encoders = [kind(3, [[4]], [2]) for kind in KINDS]
    phi, x = rng.normal(size=encoders[0].size), rng.normal(size=(5, 3))
    first, *others = [encoder.evaluate(phi, x).output for encoder in encoders]
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("hidden, dims", [([[4]], [2, 1]), ([[4], []], [2, 1]), ([4, 3], [2, 1]), ([[4], [3]], [2, 0])])
def test_sizes_that_do_not_fit_get_their_sentence(hidden, dims):
    with pytest.raises(InputError, match=r"levels need|a list of widths|whole number >= 1"):
        BottomUpEncoder(3, hidden, dims)
