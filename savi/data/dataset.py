"""What a data set is: examples in three parts, and what is drawn anew for each minibatch of them."""

from typing import NamedTuple

import numpy as np

from ..engine import given
from ..engine.files import InputError


def unchanged(x, rng):
    """x itself: the `prepare` of data that are what they are."""
    return x


def shuffled(train, batch, rng):
    """The order (N,) in which an epoch goes through the training part: any is as likely as any other."""
    return rng.permutation(len(train))


def binarize(images, rng, precision=None):
    """Samples in {0, 1} with P(1) = grey value (dynamic binarization); shape and dtype of images, floats in [0, 1].

    precision: the dtype of the random numbers, which settles what a seed gives; None for that of images. Raises InputError
    on other values, as the grey values of bytes, and on NaN.
    """
    images = given.array("images", images)
    if precision is None and images.dtype not in (np.float32, np.float64):
        precision = np.float64
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise InputError(f"images has values from {images.min():g} to {images.max():g}; expected grey values in [0, 1]")
    given.generator("rng", rng)
    return (rng.random(images.shape, precision or images.dtype) < images).astype(images.dtype)


class Dataset(NamedTuple):
    """Examples in three parts, each (N, ...), an example a row; a part that is empty is ().

    name: says where they are from and how they were split. shape: of an example as a picture, for images, so that
    train[0].reshape(shape) is one; vocabulary: how many tokens there are, for sequences; None where there is no such thing.
    prepare(x, rng) -> the examples as the model sees them: what is drawn anew for each minibatch, and once for examples
    that judge; x are rows of a part as they are stored. truth: where data are made, what they were made from.
    disturb(x, rng) -> what training alone makes of prepared examples: words hidden, units dropped. order(train, batch, rng) -> the
    order (N,) of an epoch's examples, of which `batch` in a row are a minibatch.
    """

    name: str
    train: np.ndarray
    valid: np.ndarray = ()
    test: np.ndarray = ()
    shape: tuple | None = None
    vocabulary: int | None = None
    prepare: object = unchanged
    truth: object = None
    disturb: object = unchanged
    order: object = shuffled


def as_dataset(data):
    """The Dataset itself, or one whose training part is the array (N, M), or what NumPy makes one of."""
    return data if isinstance(data, Dataset) else Dataset("an array", given.array("the data", data))
