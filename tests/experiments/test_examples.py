"""The examples of a training run are checked once, whatever they are for."""

import numpy as np
import pytest

from savi import MLP, Bernoulli, InputError, LatentGaussianModel, MLPDecoder
from savi.data import Dataset
from savi.experiments.examples import Examples

MODEL = LatentGaussianModel(MLPDecoder(MLP([2, 3]), Bernoulli()))
GOOD, BAD = np.full((4, 3), 0.5), np.full((4, 3), 2.0)


def made(train=GOOD, valid=GOOD, monitor=None, prepare=None, binarized=None, valid_examples=3):
    data = Dataset("data", train, valid) if prepare is None else Dataset("data", train, valid, prepare=prepare)
    return Examples(MODEL, data, binarized, np.float32, valid_examples, monitor)


@pytest.mark.parametrize("wrong", [{"train": BAD}, {"valid": BAD}, {"monitor": {"test": BAD}}], ids=str)
def test_every_part_must_lie_in_the_support(wrong):
    with pytest.raises(InputError, match="Bernoulli"):
        made(**wrong)


def test_an_epoch_is_judged_on_the_first_of_the_validation_part_and_on_what_is_monitored():
    judges = made(monitor={"test": GOOD[:2]}).judges
    assert {name: len(x) for name, x in judges.items()} == {"valid": 3, "test": 2}
    assert made(valid=()).judges == {}


def test_grey_values_are_probabilities_unless_the_data_prepare_themselves():
    assert made().binarized and not made(train=np.round(GOOD)).binarized and not made(binarized=False).binarized
    assert set(np.unique(made().prepared(GOOD, np.random.default_rng(0)))) == {0, 1}
    halved = made(prepare=lambda x, rng: x / 2)
    assert not halved.binarized
    x = halved.prepared(GOOD, None)
    assert x.dtype == np.float32 and np.all(x == 0.25)
