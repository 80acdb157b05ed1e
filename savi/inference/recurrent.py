"""Recurrent iterative models: a trunk with a state per example, which remembers from one iteration to the next.  [LI] B.3

    s_0 = 0;  a_t = phi(body(encoding_t));  (h_t, s_{t+1}) = cell(a_t, s_t);  output_t = head(h_t)

The encodings are constants to phi, as in a feed-forward model; what phi's gradient sees beside them is the state.
    truncated             s_t is a constant, too: a step learns by itself, memory is constant in T
    through_time=True     a step's gradient goes on through s_t to all earlier steps; all T steps' records are kept, which is
                          about T (body and cell units) numbers an example
With the cell Still() there is no state, both are the same, and the model is feed-forward.
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..engine.records import ParamSum, Records
from ..nets.cells import GRU
from ..nets.mlp import MLP
from .encodings import Estimate, Gated


class Recurrent:
    """body (a net whose outputs get its activation), cell, and a linear head: what an Iterative takes as its `net`.

    phi: the body's, the cell's, then the head's. Raises InputError where their widths do not fit.
    """

    def __init__(self, body, cell, head, through_time=False):
        self.body, self.cell, self.head, self.through_time = given.thing("net", body), cell, head, bool(through_time)
        widths = [body.outputs, cell.inputs, cell.hidden, head.inputs]
        if widths[0] != widths[1] or widths[2] != widths[3]:
            raise InputError(f"{body!r}, {cell!r} and {head!r} do not fit: their widths are {widths}")
        self.inputs, self.outputs = body.inputs, head.outputs
        self.size = body.size + cell.size + head.size

    def __repr__(self):
        return f"Recurrent({self.body!r}, {self.cell!r}, {self.head!r}, through_time={self.through_time})"

    def init(self, rng, dtype=np.float64):
        """Initial phi (size,)."""
        return np.concatenate([part.init(rng, dtype) for part in (self.body, self.cell, self.head)])

    def split(self, params):
        """(the body's, the cell's, the head's), views."""
        n, m = self.body.size, self.body.size + self.cell.size
        return params[:n], params[n:m], params[m:]

    def begin(self, params):
        """This network at fixed parameters, before its first step."""
        return RecurrentTrunk(self, params)

    def reference(self, params, inputs, state):
        """(output, the new state) once more in autograd.numpy: the judge."""
        body, cell, head = self.split(params)
        a = self.body.activation.reference(self.body.reference(body, inputs))
        h, state = self.cell.reference(cell, a, state)
        return self.head.reference(head, h), state


def recurrent_network(
    model, encodings, hidden=(512,), units=512, update=Gated(), activation="elu", cell=GRU, through_time=False  # noqa: B008
):  # fmt: skip
    """A Recurrent from the encodings and the current estimate: an MLP, a cell of so many units, and the update's heads."""
    inputs = sum(encoding.size(model) for encoding in (*encodings, Estimate()))
    body, head = MLP([inputs, *hidden], activation), MLP([units, update.heads * model.lam_size], "identity")
    return Recurrent(body, cell(hidden[-1], units), head, through_time)


class RecurrentTrunk:
    """The verbs of a Trunk (nets/trunks.py); each step's output is asked for, and then learned from, once."""

    def __init__(self, net, params):
        self.net, (body, self.cell_params, head) = net, net.split(params)
        self.parts = [_Part(net.body, body), _Part(net.head, head)]
        self.d_cell, self.state, self.steps = np.zeros_like(self.cell_params), None, []

    def output(self, inputs):
        """The output (B, outputs) for inputs (B, inputs); the state moves on."""
        body, head = self.parts
        if self.state is None:
            self.state = np.zeros((len(inputs), self.net.cell.state_size), inputs.dtype)
        below, a = body.forward(inputs)
        self.net.body.activation.apply(a)
        h, self.state, kept = self.net.cell.step(self.cell_params, a, self.state)
        above, output = head.forward(h)
        self._step = below, a, kept, above
        return output

    def learn(self, d_output):
        """Take the gradient of the latest step's output: at once, or at the end where it goes back through time."""
        self.steps.append((*self._step, d_output))
        if not self.net.through_time:
            self._back()

    def _back(self):
        """Back through the steps that wait, the latest first."""
        body, head = self.parts
        d_state = np.zeros_like(self.state)
        while self.steps:
            below, a, kept, above, d_output = self.steps.pop()
            d_h = head.backward(above, d_output)
            d_a, d_state = self.net.cell.backward(self.cell_params, kept, d_h, d_state, self.d_cell)
            body.complete(below, d_a * self.net.body.activation.slope(a))

    def gradient(self):
        """The sum (size,) of all that was learned."""
        self._back()
        body, head = self.parts
        return np.concatenate([body.sum.value(), self.d_cell, head.sum.value()])


class _Part:
    """A net at fixed parameters with the sum of its gradients."""

    def __init__(self, net, params):
        self.net, self.layers = net, net.layers(params)
        self.transposed, self.sum = net.transposed(self.layers), ParamSum(net, params.dtype)
        self.records = Records(net.shapes, held=None)

    def forward(self, inputs):
        """(a record, a copy of its output)."""
        record = self.records.next(len(inputs), inputs.dtype)
        record.x[...] = inputs
        return record, self.net.forward(self.layers, record).copy()

    def complete(self, record, d_output):
        record.output[...] = d_output
        self.net.complete(self.transposed(), record)
        self.sum.add(record)

    def backward(self, record, d_output):
        """d inputs."""
        self.complete(record, d_output)
        return record.deltas[0] @ self.transposed()[0]
