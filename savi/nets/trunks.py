"""Trunks: networks that are asked step by step, and learn from every step; one alone, or several side by side.  [LI] B.3"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..engine.records import ParamSum, Records


class Trunk:
    """A network at fixed parameters, asked step by step, and the sum of its parameter gradients.

    A feed-forward network remembers nothing from one step to the next; a recurrent one (inference/recurrent.py) has the same
    verbs, keeps a state per example, and goes back through time in `gradient`.
    """

    def __init__(self, net, params):
        self.net, self.layers = net, net.layers(params)
        self.transposed = net.transposed(self.layers)
        self.sum, self.records = ParamSum(net, params.dtype), Records(net.shapes, held=None)

    def output(self, inputs):
        """The output (B, outputs) for inputs (B, inputs)."""
        self._record = self.records.next(len(inputs), inputs.dtype)
        self._record.x[...] = inputs
        return self.net.forward(self.layers, self._record)

    def learn(self, d_output):
        """Add the gradient of the latest output's step."""
        self._record.output[...] = d_output
        self.net.complete(self.transposed(), self._record)
        self.sum.add(self._record)

    def gradient(self):
        """The sum (size,) of all that was learned."""
        return self.sum.value()


class SideBySide:
    """Nets side by side: net i takes the columns ins[i] of the inputs and gives the columns outs[i] of the outputs.

    Raises InputError where a net does not have as many, or an output has none or several.
    """

    def __init__(self, nets, ins, outs):
        self.nets, self.ins, self.outs = [given.thing("trunk", net) for net in nets], ins, outs
        self.inputs, self.outputs = 1 + max(map(max, ins)), sum(map(len, outs))
        self.size = sum(net.size for net in nets)
        if sorted(np.concatenate(outs)) != list(range(self.outputs)):
            raise InputError(f"the nets give the outputs {np.concatenate(outs).tolist()}; expected each once")
        for net, taken, given_out in zip(nets, ins, outs):
            if (net.inputs, net.outputs) != (len(taken), len(given_out)):
                raise InputError(f"{net!r} stands between {len(taken)} inputs and {len(given_out)} outputs")

    def __repr__(self):
        return f"SideBySide({self.nets})"

    def init(self, rng, dtype=np.float64):
        """Initial parameters (size,), net by net."""
        return np.concatenate([net.init(rng, dtype) for net in self.nets])

    def begin(self, params):
        """The trunks at fixed parameters."""
        ends = np.cumsum([net.size for net in self.nets])
        return _Trunks(self, [net.begin(part) for net, part in zip(self.nets, np.split(params, ends[:-1]))])


class _Trunks:
    """Trunks side by side, with the verbs of a Trunk."""

    def __init__(self, nets, trunks):
        self.nets, self.trunks = nets, trunks

    def output(self, inputs):
        out = np.empty((len(inputs), self.nets.outputs), inputs.dtype)
        for trunk, taken, places in zip(self.trunks, self.nets.ins, self.nets.outs):
            out[:, places] = trunk.output(inputs[:, taken])
        return out

    def learn(self, d_output):
        for trunk, places in zip(self.trunks, self.nets.outs):
            trunk.learn(d_output[:, places])

    def gradient(self):
        return np.concatenate([trunk.gradient() for trunk in self.trunks])
