"""The examples of one training run: checked once, and given out as the model sees them."""

import functools

from ..data.dataset import as_dataset, binarize, shuffled, unchanged
from ..engine import given
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
        self.dtype, self.prepare = given.precision("dtype", dtype), data.prepare
        self.disturb, self._order = data.disturb, data.order
        self.train = given.array("the training data", data.train)
        if self.train.ndim < 2 or not len(self.train):
            raise InputError(f"the training data have shape {self.train.shape}; expected (N, M) with N >= 1")
        judges = {"valid": data.valid[:valid_examples]} if valid_examples and len(data.valid) else {}
        if monitor is not None:
            judges |= given.thing("monitor", monitor)
        self.judges = {name: given.examples(f"the data {name!r}", x) for name, x in judges.items()}
        for x in (self.train, *self.judges.values()):
            model.check(x)
        if binarized is None:
            grey = model.takes_probabilities and ((self.train > 0) & (self.train < 1)).any()
            binarized = grey and data.prepare is unchanged
        self.binarized = bool(binarized)

    def prepared(self, x, rng):
        """Rows x of the data as the model sees them, in the run's dtype; what is random of them is drawn from rng."""
        if self.binarized:
            return binarize(x.astype(self.dtype), rng, "float32")
        return self.prepare(x, rng).astype(self.dtype)

    def in_training(self, rows, rng):
        """The training examples `rows` as one minibatch of them is seen, and no other."""
        return self.disturb(self.prepared(self.train[rows], rng), rng).astype(self.dtype, copy=False)

    def order(self, batch, rng):
        """The order (N,) of an epoch's examples."""
        return self._order(self.train, batch, rng)

    def describe(self):
        """{name: JSON value} of what a checkpoint must share with the run that goes on from it."""
        prepare = None if self.prepare is unchanged else repr(self.prepare)
        described = {
            "examples": len(self.train),
            "binarize": self.binarized,
            "prepare": prepare,
            "dtype": self.dtype.name,
        }
        others = {"disturb": (self.disturb, unchanged), "order": (self._order, shuffled)}
        described |= {name: repr(own) for name, (own, usual) in others.items() if own is not usual}
        return described | {"digest of the data": self._digest}

    @functools.cached_property
    def _digest(self):
        return digest(self.train, *self.judges.values())
