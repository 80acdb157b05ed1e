"""What a model declares is what it does: an optional verb is there where `supports` says so, and else raises InputError."""

import autograd.numpy as anp
import numpy as np
import pytest

from savi import (
    MLP,
    AutogradModel,
    Bernoulli,
    FixedDecoder,
    Gaussian,
    HighwayMLP,
    InputError,
    LatentGaussianModel,
    LSTMDecoder,
    MLPDecoder,
    PointMass,
    SampledKL,
    hvp,
)
from savi.inference.iterative import Error
from savi.models.base import Decoder, RecordTerm, VectorTerm
from savi.testing import assert_close

B, D = 3, 2
VERBS = {"parts", "posterior_kl", "log_weights", "log_px", "errors", "tangent", "complex"}


class WithoutTangent(MLP):
    has_tangent = False

    def tangent(self, layers, record, dot):
        raise AssertionError("a net that declares no tangent is asked for one")


class WithoutResidual(Bernoulli):
    has_residual = False

    def residual(self, error, kept, eta):
        raise AssertionError("a likelihood that declares no residual is asked for one")


def bernoulli(net):
    return MLPDecoder(net, Bernoulli())


def fixed(decoder):
    return FixedDecoder(decoder, decoder.init(np.random.default_rng(0)))


SEQUENCES = LSTMDecoder(5, 2, 3, D)
MODELS = {  # model: the verbs that it lacks
    "images": (LatentGaussianModel(bernoulli(MLP([D, 4, 5]))), ()),
    "highways": (LatentGaussianModel(bernoulli(HighwayMLP([D, 4, 4, 5])), kl=SampledKL), ()),
    "reals": (LatentGaussianModel(MLPDecoder(MLP([D, 10]), Gaussian("from_z"))), ()),
    "sequences": (LatentGaussianModel(SEQUENCES), ["errors"]),
    "a known decoder": (LatentGaussianModel(fixed(bernoulli(MLP([D, 4, 5])))), ()),
    "a known oracle": (LatentGaussianModel(fixed(SEQUENCES)), ["errors"]),
    "a net without tangents": (LatentGaussianModel(bernoulli(WithoutTangent([D, 4, 5]))), ["tangent"]),
    "the same, known": (LatentGaussianModel(fixed(bernoulli(WithoutTangent([D, 4, 5])))), ["tangent"]),
    "data without an error": (LatentGaussianModel(MLPDecoder(MLP([D, 5]), WithoutResidual())), ["errors"]),
    "a point mass": (LatentGaussianModel(bernoulli(MLP([D, 5])), kl=PointMass), ["log_weights", "posterior_kl"]),
    "a loss in autograd": (
        AutogradModel(lambda lam, theta, x, noise, beta: anp.sum(lam**2, axis=1) * theta[0], 2 * D, 1, D),
        VERBS - {"tangent"},
    ),
}


def verbs(model):
    rng = np.random.default_rng(0)
    theta, x = model.init(rng), np.ones((B, 5))
    lam, v, noise = rng.normal(size=(B, 2 * D)), rng.normal(size=(B, 2 * D)), rng.normal(size=(2, B, D))
    f = model.objective(theta, x)
    return {
        "posterior_kl": lambda: model.posterior_kl(lam, 2 * lam),
        "log_weights": lambda: model.log_weights(lam, theta, x, noise),
        "log_px": lambda: f.log_px(noise),
        "errors": lambda: f.errors(f.forward(lam, noise)),
        "tangent": lambda: hvp.exact(f, f.evaluate(lam, noise), v),
        "complex": lambda: hvp.complex_step(f, f.evaluate(lam, noise), v),
        "parts": lambda: f.parts(lam, noise),
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_model_supports_what_it_says_and_nothing_else(name):
    model, lacks = MODELS[name]
    assert model.supports == VERBS - set(lacks)
    for verb, call in verbs(model).items():
        if verb in model.supports:
            call()
        elif verb != "parts":  # without them the loss stands for the first, and the KL is NaN
            with pytest.raises(InputError):
                call()


@pytest.mark.parametrize("name", MODELS)
def test_errors_are_encoded_where_there_are_some(name):
    model, lacks = MODELS[name]
    if "errors" in lacks:
        with pytest.raises(InputError, match=r"Error\(\)"):
            Error().size(model)
    else:
        assert Error().size(model) == 5 + D


def test_a_known_oracle_is_sampled_as_the_oracle_is():
    known, theta, z = fixed(SEQUENCES), np.zeros(0), np.ones((4, D))
    x = known.sample(theta, z, np.random.default_rng(1), 6)
    assert x.shape == (4, 6)
    np.testing.assert_array_equal(x, SEQUENCES.sample(known.theta, z, np.random.default_rng(1), 6))
    for decoder in (known, SEQUENCES):
        with pytest.raises(InputError, match=r"no mean E\[x \| z\]"):
            decoder.mean(decoder.init(np.random.default_rng(0)), z)


def test_without_parts_the_loss_stands_for_the_first_and_kl_is_nan():
    reconstruction, kl = verbs(MODELS["a loss in autograd"][0])["parts"]()
    assert reconstruction.shape == (B,) and np.isnan(kl).all()


def test_where_there_is_no_tangent_the_fallback_is_called_auto():
    model, _ = MODELS["a net without tangents"]
    rng = np.random.default_rng(0)
    f = model.objective(model.init(rng), np.ones((B, 5)))
    e, v = f.evaluate(rng.normal(size=(B, 2 * D)), rng.normal(size=(2, B, D))), rng.normal(size=(B, 2 * D))
    assert_close(hvp.auto(f, e, v).lam, hvp.central_difference(f, e, v, hvp.scaled_step(1e-5)).lam, 0)
    with pytest.raises(InputError, match="no tangent"):
        f.hvp(e, v)


@pytest.mark.parametrize("decoder", [bernoulli(MLP([D, 5])), SEQUENCES, bernoulli(WithoutTangent([D, 5]))], ids=repr)
def test_a_known_decoder_declares_what_the_decoder_does(decoder):
    known = fixed(decoder)
    for name in ("latent_dim", "data_dim", "work", "has_tangent", "has_residual", "takes_probabilities"):
        assert getattr(known, name) == getattr(decoder, name), name
    assert known.size == 0


def test_what_a_decoder_of_ones_own_leaves_out_is_said():
    decoder = Decoder()
    with pytest.raises(InputError, match="no reference in autograd"):
        decoder.reference(None, None, None)
    assert not (decoder.has_tangent or decoder.has_residual or decoder.takes_probabilities)


@pytest.mark.parametrize("term", [RecordTerm("record"), VectorTerm(len)], ids=["record", "vector"])
def test_a_term_that_is_weighted_again_has_the_product_of_its_weights(term):
    again = term.times(2.0).times(np.array([3.0, -1.0]))
    np.testing.assert_array_equal(again.weight, [6.0, -2.0])
    assert again._replace(weight=1.0) == term
