"""Encoders of a hierarchy's lam: bottom-up, top-down, and a ladder.  [LI] 4.3; Sonderby, Raiko, Maaloe & Winther 2016

    h_1 = phi(t_1(x)),  h_l = phi(t_l(h_{l-1}))                 features, from the bottom up, in all three
    bottom-up   lam^l = head_l(h_l): each level by itself, the standard inference net of [LI] 4.3
    top-down    lam^L = head_L(h_L);  lam^l = head_l([h_l, lam^{l+1}]): what the level above says is heard as well
    ladder      lam^L = head_L(h_L);  lam^l = head_l(h_l) and prior_l(mu^{l+1}), weighted by their precisions

A ladder of Sonderby et al. merges with the generative p(z^l | z^{l+1}) at a sample; an encoder knows phi alone, so that here a
net of phi stands in for it, at the mean. The merge, with w = sigmoid(log_var_p - log_var_h), the share of head_l's precision:

    log_var = -log(exp(-log_var_h) + exp(-log_var_p));   mu = w mu_h + (1 - w) mu_p
    d mu_h = w d_mu;   d log_var_h = w d_log_var - w (1 - w) (mu_h - mu_p) d_mu;   those of p with 1 - w, and the sign turned
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError
from ..engine.records import ParamSum
from .activations import sigmoid, softplus
from .base import Encoder
from .mlp import MLP


class BottomUpEncoder(Encoder):
    """lam (B, 2D) of x (B, inputs), each level by itself.

    hidden: the widths of each level's hidden layers, [[200, 200], [100]] for two levels. dims: (D_1, ..., D_L).
    phi: t_1, ..., t_L, then each level's head, and a ladder's prior_l behind it.
    """

    def __init__(self, inputs, hidden, dims, activation="tanh"):
        self.dims = tuple(given.whole("a level's dimensions", D, 1) for D in dims)
        self.hidden = [tuple(given.listed("hidden", widths, "a list of widths for each level")) for widths in hidden]
        if len(self.hidden) != len(self.dims) or not all(self.hidden):
            raise InputError(f"hidden is {hidden}; {len(self.dims)} levels need a list of widths for each, none empty")
        below = [inputs, *(widths[-1] for widths in self.hidden)]
        self.trunks = [MLP([n, *widths], activation) for n, widths in zip(below, self.hidden)]
        self.activation = self.trunks[0].activation
        self.heads = [self._head(l, widths[-1]) for l, widths in enumerate(self.hidden)]
        self.nets = [*self.trunks, *(net for nets in self.heads for net in nets)]
        self.inputs, self.outputs, self.size = inputs, 2 * sum(self.dims), sum(net.size for net in self.nets)

    def __repr__(self):
        return f"{type(self).__name__}({self.inputs}, {self.hidden}, {self.dims}, {self.activation.name!r})"

    def _head(self, l, width):
        """The nets that give level l's lam (l = 0 is the lowest)."""
        return [MLP([width, 2 * self.dims[l]], "identity")]

    def init(self, rng, dtype=np.float64):
        return np.concatenate([net.init(rng, dtype) for net in self.nets])

    def evaluate(self, phi, x):
        record, h = _Record(self.nets, phi), x
        for net in self.trunks:
            h = record.run(net, h).copy()
            self.activation.apply(h)
            record.features.append(h)
        above, lams = None, []
        for l in reversed(range(len(self.dims))):
            above = self._lam(l, record, record.features[l], above)
            lams.insert(0, above)
        record.lams = lams
        record.output = np.concatenate([_half(lam, i) for i in (0, 1) for lam in lams], axis=1)
        return record

    def gradient(self, phi, record, d_output):
        ends, D = np.cumsum([0, *self.dims]), sum(self.dims)
        d_lams = [
            np.concatenate([d_output[:, i:j], d_output[:, D + i : D + j]], axis=1)
            for i, j in zip(ends, ends[1:])  # noqa: RUF007
        ]
        d_features = []
        for l in range(len(self.dims)):  # a level's lam depends on those above
            d_h, d_above = self._lam_backward(l, record, d_lams[l])
            if d_above is not None:
                d_lams[l + 1] = d_lams[l + 1] + d_above
            d_features.append(d_h)
        d_below = 0
        for l in reversed(range(len(self.dims))):
            d = (d_features[l] + d_below) * self.activation.slope(record.features[l])
            d_below = record.back(self.trunks[l], d)
        return np.concatenate([record.gradients[id(net)] for net in self.nets])

    def _lam(self, l, record, h, above):
        """lam^l (B, 2 D_l); above: lam^{l+1}, or None at the top."""
        return record.run(self.heads[l][0], h).copy()

    def _lam_backward(self, l, record, d_lam):
        """(d h_l, d lam^{l+1} or None)."""
        return record.back(self.heads[l][0], d_lam), None

    def reference(self, phi, x):
        """lam (B, 2D) once more in autograd.numpy: the judge."""
        import autograd.numpy as anp

        starts = np.cumsum([0, *(net.size for net in self.nets)])
        params = {id(net): phi[start : start + net.size] for net, start in zip(self.nets, starts)}
        h, features, above, lams = x, [], None, []
        for net in self.trunks:
            h = self.activation.reference(net.reference(params[id(net)], h))
            features.append(h)
        for l in reversed(range(len(self.dims))):
            run = [lambda h, net=net: net.reference(params[id(net)], h) for net in self.heads[l]]
            above = self._lam_reference(run, features[l], above)
            lams.insert(0, above)
        return anp.concatenate([_half(lam, i) for i in (0, 1) for lam in lams], axis=1)

    def _lam_reference(self, run, h, above):
        return run[0](h)


class TopDownEncoder(BottomUpEncoder):
    """lam of each level from its features and from the lam of the level above."""

    def _head(self, l, width):
        above = 2 * self.dims[l + 1] if l + 1 < len(self.dims) else 0
        return [MLP([width + above, 2 * self.dims[l]], "identity")]

    def _lam(self, l, record, h, above):
        return super()._lam(l, record, h if above is None else np.concatenate([h, above], axis=1), above)

    def _lam_backward(self, l, record, d_lam):
        d, _ = super()._lam_backward(l, record, d_lam)
        width = self.hidden[l][-1]
        return d[:, :width], d[:, width:] if l + 1 < len(self.dims) else None

    def _lam_reference(self, run, h, above):
        import autograd.numpy as anp

        return run[0](h if above is None else anp.concatenate([h, above], axis=1))


class LadderEncoder(BottomUpEncoder):
    """lam of each level from its features and from a prior at the mean of the level above, weighted by precision."""

    def _head(self, l, width):
        prior = [MLP([self.dims[l + 1], 2 * self.dims[l]], "identity")] if l + 1 < len(self.dims) else []
        return super()._head(l, width) + prior

    def _lam(self, l, record, h, above):
        lam = super()._lam(l, record, h, above)
        if above is None:
            return lam
        prior = record.run(self.heads[l][1], _half(above, 0)).copy()
        record.merged[l] = lam, prior
        return _merged(lam, prior)

    def _lam_backward(self, l, record, d_lam):
        if l not in record.merged:
            return super()._lam_backward(l, record, d_lam)
        (mu, log_var), (mu_p, log_var_p) = ([_half(a, i) for i in (0, 1)] for a in record.merged[l])
        d_mu, d_log_var = _half(d_lam, 0), _half(d_lam, 1)
        w = sigmoid(log_var_p - log_var)
        turned = w * (1 - w) * (mu - mu_p) * d_mu
        d_h, _ = super()._lam_backward(l, record, np.concatenate([w * d_mu, w * d_log_var - turned], axis=1))
        d_prior = np.concatenate([(1 - w) * d_mu, (1 - w) * d_log_var + turned], axis=1)
        d_mean = record.back(self.heads[l][1], d_prior)
        return d_h, np.concatenate([d_mean, np.zeros_like(d_mean)], axis=1)

    def _lam_reference(self, run, h, above):
        import autograd.numpy as anp

        if above is None:
            return run[0](h)
        (mu, log_var), (mu_p, log_var_p) = ([_half(a, i) for i in (0, 1)] for a in (run[0](h), run[1](_half(above, 0))))
        P, P_p = anp.exp(-log_var), anp.exp(-log_var_p)
        return anp.concatenate([(P * mu + P_p * mu_p) / (P + P_p), -anp.log(P + P_p)], axis=1)


def _merged(lam, prior):
    """The product of two Gaussians, [mu, log_var] (B, 2D)."""
    (mu, log_var), (mu_p, log_var_p) = ([_half(a, i) for i in (0, 1)] for a in (lam, prior))
    d = log_var_p - log_var
    w = sigmoid(d)
    return np.concatenate([w * mu + (1 - w) * mu_p, log_var_p - softplus(d)], axis=1)


def _half(a, i):
    D = a.shape[-1] // 2
    return a[..., i * D : (i + 1) * D]


class _Record:
    """A pass through several nets: their records, and on the way back their parameter gradients."""

    def __init__(self, nets, phi):
        starts = np.cumsum([0, *(net.size for net in nets)])
        self.params = {id(net): phi[start : start + net.size] for net, start in zip(nets, starts)}
        self.records, self.gradients, self.features, self.merged = {}, {}, [], {}

    def run(self, net, h):
        record = self.records[id(net)] = net.evaluate(self.params[id(net)], h)
        return record.output

    def back(self, net, d_output):
        """d input; the net's parameter gradient is kept."""
        record, params = self.records[id(net)], self.params[id(net)]
        record.output[...] = d_output
        d_input = net.backward(net.transposed(net.layers(params))(), record)
        self.gradients[id(net)] = ParamSum(net, params.dtype).add(record).value()
        return d_input
