"""The encoder with masks against autograd at fixed masks; its masks' moments; in training only, in every method; the same
bits however a run was interrupted; and mutations, which these checks must catch."""

import inspect
import itertools
import textwrap

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from savi import (
    MLP,
    SAVAE,
    VAE,
    VAESVI,
    Bernoulli,
    DropoutMLP,
    InputError,
    Iterative,
    LatentGaussianModel,
    MLPDecoder,
    reference,
)
from savi import iterative as iterative_room
from savi.data import Dataset
from savi.engine import threads
from savi.experiments.training import fit
from savi.nets import dropout
from savi.testing import assert_close

METHODS = {
    "vae": lambda encoder: VAE(encoder),
    "vae+svi": lambda encoder: VAESVI(encoder, 2, 0.1),
    "vae+svi+kl": lambda encoder: VAESVI(encoder, 2, 0.1, kl=True),
    "sa-vae": lambda encoder: SAVAE(encoder, 2, 0.1, 0.5, clip=1.0),
}
EACH_METHOD = pytest.mark.parametrize("name", METHODS)
KINDS = [{"drop": 0.4, "noise": 0.3}, {"drop": 0.4}, {"noise": 0.3}, {}]


def judge(encoder, phi, x, masks):
    """The output (B, outputs) in autograd.numpy."""
    noise, *masks = masks
    h, start, sizes = x + noise, 0, encoder.net.sizes
    for l, (n, m) in enumerate(itertools.pairwise(sizes)):
        layer = anp.reshape(phi[start : start + (n + 1) * m], (n + 1, m))
        h, start = anp.dot(h, layer[:-1]) + layer[-1], start + (n + 1) * m
        if l < len(sizes) - 2:
            h = encoder.net.activation.reference(h) * (masks[l] if masks else 1)
    return h


def problem(activation="tanh", sizes=(5, 4, 3, 4), **kind):
    """(encoder, phi, x, masks, d_output) of six examples."""
    encoder, rng = DropoutMLP(sizes, activation, **kind), np.random.default_rng(0)
    phi, x = rng.normal(size=encoder.size), rng.normal(size=(6, sizes[0]))
    return encoder, phi, x, encoder.masks(rng, 6, np.float64), rng.normal(size=(6, sizes[-1]))


def check_passes(encoder, phi, x, masks, d_output, evaluate=None, gradient=None):
    """Both ways against autograd, at those masks."""
    record = (evaluate or DropoutMLP.evaluate)(encoder, phi, x, masks)
    assert_close(record.output, judge(encoder, phi, x, masks), 1e-12)
    d_phi = (gradient or DropoutMLP.gradient)(encoder, phi, record, d_output)
    expected = autograd.grad(lambda phi: anp.sum(d_output * judge(encoder, phi, x, masks)))(phi)
    assert_close(d_phi, expected, 1e-10)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("activation", ["tanh", "elu", "softplus"])
@pytest.mark.parametrize("sizes", [(5, 4), (5, 4, 4), (5, 4, 3, 4)], ids=str)
def test_both_ways_are_autograds_at_fixed_masks(activation, kind, sizes):
    check_passes(*problem(activation, sizes, **kind))


LINES = {
    "forward: the mask is dropped": ("evaluate", "a *= mask", "pass"),
    "forward: x 1.001": ("evaluate", "a *= mask", "a *= 1.001 * mask"),
    "forward: the noise is dropped": ("evaluate", "started(phi, x + noise)", "started(phi, x)"),
    "back: the mask is dropped": ("evaluate", "mask * self.net.activation.slope(a)", "self.net.activation.slope(a)"),
    "back: the slope is dropped": ("evaluate", "append(mask * self.net.activation.slope(a))", "append(mask)"),
    "back: the slope is taken behind the mask": ("evaluate", "slope(a)", "slope(a * mask)"),
    "back: x 1.001": ("gradient", "delta *= record", "delta *= 1.001 * record"),
}


@pytest.mark.parametrize("name", LINES)
def test_the_checks_catch_a_changed_line(name):
    verb, old, new = LINES[name]
    source = textwrap.dedent(inspect.getsource(getattr(DropoutMLP, verb)))
    assert source.count(old) == 1
    namespace = dict(vars(dropout))
    exec(source.replace(old, new), namespace)
    with pytest.raises(AssertionError, match="is off by"):
        check_passes(*problem("elu", drop=0.4, noise=0.3), **{verb: namespace[verb]})


# --- the masks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_keep_the_mean_of_a_unit_and_the_noise_has_its_standard_deviation(dtype):
    encoder, rows = DropoutMLP([7, 20, 30, 2], drop=0.3, noise=0.5), 2000
    noise, first, second = encoder.masks(np.random.default_rng(0), rows, dtype)
    assert (noise.shape, first.shape, second.shape) == ((rows, 7), (rows, 20), (rows, 30))
    assert {a.dtype for a in (noise, first, second)} == {np.dtype(dtype)}
    for mask in (first, second):
        np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.7], rtol=1e-6)
        assert abs(mask.mean() - 1) < 5 * np.sqrt(0.3 / 0.7 / mask.size)
    assert abs(noise.mean()) < 5 * 0.5 / np.sqrt(noise.size)
    assert abs(noise.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * noise.size)
    assert not np.array_equal(first[:, :20], second[:, :20])


def test_without_masks_it_is_the_plain_mlp():
    encoder, phi, x, _, d_output = problem(drop=0.4, noise=0.3)
    plain = MLP([5, 4, 3, 4])
    a, b = encoder.evaluate(phi, x), plain.evaluate(phi, x)
    np.testing.assert_array_equal(a.output, b.output)
    np.testing.assert_array_equal(encoder.gradient(phi, a, d_output), plain.gradient(phi, b, d_output))
    assert (encoder.size, encoder.outputs) == (plain.size, plain.outputs)
    draws = [net.init(np.random.default_rng(3)) for net in (encoder, plain)]
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize("change", [{"drop": 1.0}, {"drop": -0.1}, {"noise": -1.0}, {"noise": np.inf}], ids=str)
def test_what_is_no_probability_and_no_standard_deviation_is_refused(change):
    with pytest.raises(InputError, match=f"{next(iter(change))} is .*; expected"):
        DropoutMLP([5, 4], **change)


def test_its_text_has_every_setting():
    assert repr(DropoutMLP([5, 4], "elu", 0.25, 0.5)) == "DropoutMLP([5, 4], 'elu', drop=0.25, noise=0.5)"


# --- in the methods --------------------------------------------------------------------------------------------------


def small(name, **kind):
    """(model, method, theta, phi, x) with float64 numbers."""
    rng = np.random.default_rng(1)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 4, 5]), Bernoulli()))
    method = METHODS[name](DropoutMLP([5, 4, 3, 4], **kind))
    return model, method, model.init(rng), method.init(rng), (rng.random((6, 5)) < 0.5).astype(float)


def test_the_vaes_gradient_is_autograds_through_the_masks():
    model, method, theta, phi, x = small("vae", drop=0.4, noise=0.3)
    noise = np.random.default_rng(2).standard_normal((1, 1, 6, 2))
    loss, d_theta, d_phi = method.gradient(model, theta, phi, x, np.random.default_rng(3), noise=noise)
    masks = method.encoder.masks(np.random.default_rng(3), 6, np.float64)

    def losses(theta, phi):
        return reference.loss(model, judge(method.encoder, phi, x, masks), theta, x, noise[0])

    expected = autograd.grad(lambda theta, phi: anp.sum(losses(theta, phi)), (0, 1))(theta, phi)
    assert_close(loss, losses(theta, phi), 1e-12)
    for actual, judged in zip((d_theta, d_phi), expected):
        assert_close(actual, judged, 1e-9)


@EACH_METHOD
def test_masks_are_drawn_in_training_and_not_at_test_time(name):
    model, method, theta, phi, x = small(name, drop=0.4, noise=0.3)
    plain = METHODS[name](MLP([5, 4, 3, 4]))
    infer = [m.infer(model, theta, phi, x, np.random.default_rng(5)) for m in (method, plain)]
    np.testing.assert_array_equal(*infer)
    noise = np.random.default_rng(2).standard_normal((method.training_steps + 1, 1, 6, 2))
    found = [
        m.gradient(model, theta, phi, x, np.random.default_rng(seed), noise=noise)[2]
        for m, seed in ((method, 3), (method, 3), (method, 4), (plain, 3))
    ]
    np.testing.assert_array_equal(found[0], found[1])  # a pure function, masks included
    assert min(np.abs(found[0] - other).max() for other in found[2:]) > 1e-3


@EACH_METHOD
def test_masks_need_random_numbers(name):
    model, method, theta, phi, x = small(name, drop=0.4)
    noise = np.zeros((method.training_steps + 1, 1, 6, 2))
    with pytest.raises(InputError, match=r"DropoutMLP.* draws masks in training; expected a numpy Generator"):
        method.gradient(model, theta, phi, x, noise=noise)


@EACH_METHOD
def test_a_batch_is_not_cut_into_parts_that_share_a_stream(name, monkeypatch):
    monkeypatch.setattr(threads, "slices", lambda rows, work: [slice(0, 2), slice(2, rows)])
    gradients = []
    for parts in (1, 2):
        model, method, theta, phi, x = small(name, drop=0.4)
        with threads.using(parts):
            gradients.append(method.gradient(model, theta, phi, x, np.random.default_rng(0)))
    for a, b in zip(*gradients):
        assert_close(a, b, 1e-12)
    assert not method.divisible and METHODS[name](MLP([5, 4])).divisible


def test_a_product_that_bears_no_threads_is_still_not_cut():
    assert not SAVAE(MLP([5, 4]), hvp="autograd").divisible


@EACH_METHOD
def test_a_resumed_run_is_an_uninterrupted_one(name, tmp_path):
    rng = np.random.default_rng(0)
    data = Dataset("pixels", *((rng.random((n, 5)) < 0.5).astype(float) for n in (30, 10)))
    model, method, *_ = small(name, drop=0.4, noise=0.3)
    settings = {"batch": 16, "learning_rate": 0.01, "progress": False}
    whole = fit(model, method, data, 3, **settings)
    fit(model, method, data, 1.5, out=tmp_path, **settings)
    resumed = fit(model, method, data, 3, out=tmp_path, resume=True, **settings)
    for a, b in zip(whole.last, resumed.last):
        assert a.tobytes() == b.tobytes()
    dry = fit(model, METHODS[name](DropoutMLP([5, 4, 3, 4])), data, 3, **settings)
    assert dry.last[1].tobytes() != whole.last[1].tobytes()


def test_an_iterative_model_starts_from_no_such_encoder():
    model = LatentGaussianModel(MLPDecoder(MLP([2, 4, 5]), Bernoulli()))
    encodings = [iterative_room.Gradient()]
    net = iterative_room.network(model, encodings, [4])
    with pytest.raises(InputError, match="draws masks in training; an iterative model starts from one that draws none"):
        Iterative(net, encodings, start=DropoutMLP([5, 3, 4], drop=0.2))
