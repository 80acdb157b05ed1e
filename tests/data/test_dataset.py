"""A data set: made of plain arrays, and drawn anew."""

import numpy as np
import pytest

import savi
from savi.data import Dataset, as_dataset, binarize


def test_a_data_set_is_itself_and_an_array_is_one_to_train_on():
    data = Dataset("mine", np.zeros((3, 2)))
    assert as_dataset(data) is data and len(data.valid) == len(data.test) == 0
    for x in (np.eye(3), np.eye(3).tolist(), np.eye(3, dtype=np.uint8)):
        made = as_dataset(x)
        np.testing.assert_array_equal(made.train, np.eye(3))
        assert len(made.valid) == 0 and made.shape is None and made.vocabulary is None


def test_what_is_not_drawn_anew_is_unchanged():
    x = np.arange(6).reshape(2, 3)
    assert as_dataset(x).prepare(x, None) is x


def test_the_precision_of_the_random_numbers_settles_what_a_seed_gives():
    grey = np.random.default_rng(0).random((50, 40))
    draws = [binarize(grey.astype(dtype), np.random.default_rng(1), np.float32) for dtype in (np.float32, np.float64)]
    assert [draw.dtype for draw in draws] == [np.float32, np.float64]
    np.testing.assert_array_equal(*draws)
    assert (binarize(grey, np.random.default_rng(1)) != draws[1]).any()


def test_what_is_seldom_needed_is_there_when_it_is_asked_for():
    assert all(callable(getattr(savi.data, name)) for name in savi.data.__all__)
    with pytest.raises(AttributeError, match=r"'savi\.data' has no attribute 'cifar'"):
        savi.data.cifar  # noqa: B018
