"""savi's side of hierarchies.py, and the floor: the time of all matrix products of a step alone."""

import numpy as np
from hierarchies import MOMENTUM, STEP_SIZE, K, T
from loops_savi import Loop
from peers_savi import Products

import savi
from savi.engine import threads
from savi.inference.iterative import Data, Gradient, Iterative, network
from savi.models.hierarchical import HierarchicalModel
from savi.models.levels import Level


def setup(sizes, dtype):
    return Hierarchy(sizes, np.dtype(dtype))


class Hierarchy(Loop):
    def __init__(self, s, dtype):
        dims, hidden, self.dtype = s["dims"], s["hidden"], dtype
        decoder = savi.MLPDecoder(savi.MLP([dims[0], hidden[0], hidden[0], s["M"]], "elu"), savi.Bernoulli())
        levels = [Level(savi.MLP([a, h, h, 2 * b], "elu")) for b, a, h in zip(dims, dims[1:], hidden[1:])]
        encoder = savi.MLP([s["M"], hidden[0], hidden[0], 2 * sum(dims)], "elu")
        super().__init__(HierarchicalModel(decoder, levels), encoder, K, STEP_SIZE, MOMENTUM)
        self.trunk = network(self.model, [Gradient(), Data()], (hidden[0], hidden[0]))
        self.iterative_step = self._gradient(Iterative(self.trunk, [Gradient(), Data()], T, 1))
        self.nets, self.encoder = [decoder.net, *(level.net for level in levels)], encoder

    def floors(self, operation, batch, samples=1):
        """Two functions that do the matrix products of one such operation alone: in savi's parts, and whole."""
        passes, stacked = {"vae_step": (1, 1), "savae_step": (2 * K + 1, 2 * K + 1), "iterative_step": (T + 1, 1)}[
            operation
        ]
        net, runs = (self.trunk, T) if operation == "iterative_step" else (self.encoder, 1)

        def products(rows):
            found = [Products(own, rows, passes, passes, stacked, self.dtype) for own in self.nets]
            found.append(Products(net, rows, runs, runs, runs, self.dtype, inputs=False))
            return lambda: [one() for one in found]

        parts = [products(rows.stop - rows.start) for rows in threads.slices(batch, self.model.work)]
        whole = products(batch)
        return lambda: threads.side_by_side(lambda part: part(), parts), whole
