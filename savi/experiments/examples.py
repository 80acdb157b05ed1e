"""The examples of one training run: checked once, and given out as the model sees them."""

import functools

import numpy as np

from ..data.dataset import as_dataset, binarize, unchanged
from ..engine.files import InputError, digest


class Examples:
    """A data set as one model is trained on it.

    data: a Dataset, or one array (N, M). binarize, valid_examples, monitor: as in `fit`. train (N, ...) is the training
    part as it is stored, judges {name: (N, ...)} what an epoch is judged on: "valid", and whatever is monitored.
    binarized: whether x in {0, 1} is drawn with probability = grey value. Raises InputError where there is nothing to train
    on, or the model does not support some of it.
    """

    def __init__(self, model, data, binarized, dtype, valid_examples, monitor):
        data = as_dataset(data)
        self.train, self.dtype, self.prepare = np.asarray(data.train), np.dtype(dtype), data.prepare
        if self.train.ndim < 2 or not len(self.train):
            raise InputError(f"the training data have shape {self.train.shape}; expected (N, M) with N >= 1")
        judges = {"valid": data.valid[:valid_examples]} if len(data.valid) else {}
        self.judges = {name: np.asarray(x) for name, x in (judges | (monitor or {})).items()}
        for x in (self.train, *self.judges.values()):
            model.check(x)
        if binarized is None:
            grey = model.takes_probabilities and ((self.train > 0) & (self.train < 1)).any()
            binarized = grey and data.prepare is unchanged
        self.binarized = bool(binarized)

    def prepared(self, x, rng):
        """Rows x of the data as the model sees them, in the run's dtype; what is random of them is drawn from rng."""
        if self.binarized:
            return binarize(x.astype(self.dtype), rng, np.float32)
        return self.prepare(x, rng).astype(self.dtype)

    def describe(self):
        """{name: JSON value} of what a checkpoint must share with the run that goes on from it."""
        prepare = None if self.prepare is unchanged else repr(self.prepare)
        described = {
            "examples": len(self.train),
            "binarize": self.binarized,
            "prepare": prepare,
            "dtype": self.dtype.name,
        }
        return described | {"digest of the data": self._digest}

    @functools.cached_property
    def _digest(self):
        return digest(self.train, *self.judges.values())
