"""The oracle: its parameters, its sequences, and that its scale is the published one."""

import numpy as np
import pytest

from savi import InputError, LatentGaussianModel, LSTMDecoder, quadrature, synthetic
from savi.data import Dataset

SMALL = {"examples": (40, 20, 20), "vocabulary": 12, "units": 6}


def test_the_same_seed_gives_the_same_sequences_and_another_seed_others():
    a, b, c = (synthetic.load(seed, **SMALL) for seed in (0, 0, 1))
    assert np.array_equal(a.train, b.train) and np.array_equal(a.theta, b.theta)
    assert not np.array_equal(a.train, c.train) and not np.array_equal(a.theta, c.theta)
    assert [len(part) for part in a[1:4]] == [40, 20, 20] and a.train.shape[1] == 5
    assert a.train.min() >= 0 and a.train.max() < 12 and a.name == "synthetic-tanh-0"


def test_every_sequence_has_a_latent_of_its_own_from_the_prior(monkeypatch):
    latents, sample = [], LSTMDecoder.sample
    monkeypatch.setattr(
        LSTMDecoder, "sample", lambda self, theta, z, *a: latents.append(z) or sample(self, theta, z, *a)
    )
    zs = []
    for seed in (0, 1):
        data = synthetic.load(seed, examples=(1001, 3, 2), vocabulary=5, units=3)
        zs.append(np.concatenate(latents))
        latents.clear()
        assert [len(part) for part in data[1:4]] == [1001, 3, 2]
        embeddings = data.decoder.lstm.split(data.decoder.split(data.theta)[0])[0]
        assert not np.isin(zs[-1], embeddings).any()  # the data's random numbers are not the oracle's
    z = np.concatenate(zs)
    assert len(np.unique(z)) == z.size == 4 * 1006
    assert np.abs(z.mean(axis=0)).max() < 0.1 and np.abs(z.std(axis=0) - 1).max() < 0.1


def test_the_range_of_the_weights_from_z_is_a_setting_and_the_name_tells_the_oracle():
    for z_range in (5.0, 0.1):
        data = synthetic.load(3, "affine", z_range=z_range, **SMALL)
        from_z = data.decoder.net.layers(data.decoder.split(data.theta)[2])[0][:-1]
        assert -z_range <= from_z.min() < -0.7 * z_range and 0.7 * z_range < from_z.max() <= z_range
        assert data.name == "synthetic-affine-3"


@pytest.mark.parametrize("oracle, layers", [("tanh", 2), ("affine", 1)])
def test_parameters_are_drawn_in_the_published_ranges(oracle, layers):
    data = synthetic.load(0, oracle, (1, 1, 1))
    lstm, from_h, net = data.decoder.split(data.theta)
    embeddings, W = data.decoder.lstm.split(lstm)
    assert embeddings.shape == (1001, 100) and abs(embeddings.std() - 1) < 0.01
    net_layers = data.decoder.net.layers(net)
    ranges = [(W, 1), (from_h, 1), (net_layers[0][:-1], 5), (net_layers[0][-1], 1)]
    if layers == 2:
        ranges += [(net_layers[1][:-1], 0.6), (net_layers[1][-1], 1)]
    for array, limit in ranges:
        assert 0.95 * limit < array.max() <= limit and -limit <= array.min() < -0.95 * limit
    assert W[-1].all()  # biases too
    assert len(net_layers) == layers


def test_sequences_follow_the_oracle():
    """The mean exact -log p(x) of its own sequences is its entropy, which other sequences exceed."""
    data = synthetic.load(0, examples=(1, 1, 20))
    model = LatentGaussianModel(data.decoder)
    theta = data.theta.astype(np.float32)
    own = -quadrature.log_marginal(model, theta, data.test).mean()
    others = np.random.default_rng(0).integers(0, 1000, (10, 5))
    assert 16 < own < 23 and -quadrature.log_marginal(model, theta, others).mean() > own + 5


def test_a_posterior_under_the_affine_oracle_has_one_mode():
    data = synthetic.load(0, "affine", (1, 1, 5))
    model = LatentGaussianModel(data.decoder)
    axis, u = quadrature.grid(model, 0.2)
    tables = quadrature.log_likelihoods(model, data.theta, data.test, u).reshape(5, len(axis), len(axis))
    for a in (tables, tables.transpose(0, 2, 1)):
        assert np.all(np.diff(a, 2, axis=1) < 1e-6)  # concave along both axes


@pytest.mark.parametrize(
    "change", [{"oracle": "deep"}, {"length": 0}, {"examples": (1, 0, 1)}, {"vocabulary": 1.5}, {"units": 0}]
)
def test_bad_arguments_are_input_errors(change):
    with pytest.raises(InputError):
        synthetic.load(**({"examples": (1, 1, 1)} | change))


def test_sequences_are_a_dataset_that_keeps_its_oracle():
    data = synthetic.load(0, **SMALL)
    few = data._replace(train=data.train[:3])
    assert isinstance(few, Dataset) and len(few.train) == 3
    assert few.decoder is data.decoder and few.theta is data.theta and few.vocabulary == 12
    assert few.prepare(few.test, None) is few.test


@pytest.mark.parametrize("oracle", ["tanh", "affine"])
def test_every_part_of_a_draw_has_its_range_and_its_spread(oracle):
    data = synthetic.load(5, oracle, (1, 1, 1), z_range=3.0)
    lstm, from_h, net = data.decoder.split(data.theta)
    embeddings, W = data.decoder.lstm.split(lstm)
    first, *others = data.decoder.net.layers(net)
    parts = [(W[:-1], 1), (W[-1], 1), (from_h, 1), (first[:-1], 3), (first[-1], 1)]
    parts += [part for layer in others for part in ((layer[:-1], 0.6), (layer[-1], 1))]
    for part, limit in parts:
        assert -limit <= part.min() < -0.8 * limit and 0.8 * limit < part.max() <= limit
        error = 5 * limit / np.sqrt(part.size)
        assert abs(part.mean()) < error and abs(part.std() - limit / np.sqrt(3)) < error
        assert len(np.unique(part)) == part.size
    assert abs(embeddings.mean()) < 0.02 and abs(embeddings.std() - 1) < 0.01


def test_parameters_and_sequences_have_streams_of_their_own():
    data = synthetic.load(5, **SMALL)
    np.testing.assert_array_equal(data.theta, synthetic.draw(data.decoder, np.random.default_rng([5, 0])))
    rng = np.random.default_rng([5, 1])
    z = rng.standard_normal((40, 2))
    np.testing.assert_array_equal(data.train, data.decoder.sample(data.theta, z, rng, 5))
