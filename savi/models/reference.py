"""The same losses in plain autograd.numpy, one formula a line: the judge of the closed forms, which are tested against it.

Every formula of model.py, decoders.py, sequences.py, likelihoods.py and gaussian.py, once. Nothing here is fast and nothing
here is derived by hand.
"""

import autograd
import autograd.numpy as np
import numpy

from ..engine.files import InputError
from ..nets.highway import HighwayMLP
from ..nets.mlp import MLP
from .decoders import FixedDecoder
from .gaussian import AnalyticKL
from .latent_gaussian import Product
from .likelihoods import Bernoulli, Gaussian, Multinomial
from .sequence_decoders import LSTMDecoder

ACTIVATIONS = {
    "tanh": np.tanh,
    "elu": lambda a: np.where(a > 0, a, np.exp(np.where(a > 0, 0.0, a)) - 1),
    "softplus": lambda a: np.logaddexp(0.0, a),
    "identity": lambda a: a,
}


def mlp(net, params, h):
    """The output (..., out) of a net at h (..., in): layer by layer W (in, out), b (out)."""
    if isinstance(net, HighwayMLP):
        return highway(net, params, h)
    start = 0
    for n, m in zip(net.sizes[:-1], net.sizes[1:]):
        W = np.reshape(params[start : start + n * m], (n, m))
        b = params[start + n * m : start + (n + 1) * m]
        start += (n + 1) * m
        h = np.dot(h, W) + b
        if start < net.size:
            h = ACTIVATIONS[net.activation.name](h)
    return h


def highway(net, params, h):
    """The output of a HighwayMLP: between hidden layers h' = T c + (1 - T) h."""
    phi, start = ACTIVATIONS[net.activation.name], 0
    for l, (n, m) in enumerate(net.shapes):
        layer = np.reshape(params[start : start + n * m], (n, m))
        start += n * m
        a, H = np.dot(h, layer[:-1]) + layer[-1], m // 2
        if l == 0:
            h = phi(a)
        elif l < len(net.shapes) - 1:
            T = 0.5 * (1 + np.tanh(0.5 * a[..., H:]))
            h = T * phi(a[..., :H]) + (1 - T) * h
    return a


def normal_log_density(x, mu, log_var):
    """log N(x; mu, exp(log_var)), summed over the last axis."""
    return np.sum(-0.5 * np.log(2 * np.pi) - 0.5 * log_var - 0.5 * (x - mu) ** 2 / np.exp(log_var), axis=-1)


def log_prob(likelihood, out, x, eta):
    """log p(x | out), [E7]-[E9]."""
    if isinstance(likelihood, Bernoulli):
        return np.sum(x * out - np.logaddexp(0.0, out), axis=-1)
    if isinstance(likelihood, Multinomial):
        out = out - np.max(out, axis=-1, keepdims=True)
        return np.sum(x * (out - np.log(np.sum(np.exp(out), axis=-1, keepdims=True))), axis=-1)
    if isinstance(likelihood, Gaussian):
        M = np.shape(x)[-1]
        mu, log_var = (out[..., :M], out[..., M:]) if likelihood.variance == "from_z" else (out, eta)
        return normal_log_density(x, mu, log_var)
    raise InputError(f"the reference knows Bernoulli, Gaussian and Multinomial; got {likelihood!r}")


def lstm(net, params, tokens, extra=None, h=None):
    """The states h_1, h_2, ... (a list of (..., B, H)) of an LSTM over tokens (T, B); extra (S, B, X), h_0 (S, B, H)."""
    E, H = net.embedding, net.hidden
    embeddings = np.reshape(params[: net.words], (-1, E))
    W = np.reshape(params[net.words :], (-1, 4 * H))
    sigmoid = lambda a: 0.5 * (1 + np.tanh(0.5 * a))  # noqa: E731
    c, states = 0.0, []
    for t in range(len(tokens)):
        a = np.dot(embeddings[tokens[t]], W[:E]) + W[-1]
        if extra is not None:
            a = a + np.dot(extra, W[E : E + net.extra])
        if h is not None:
            a = a + np.dot(h, W[E + net.extra : -1])
        i, f, o, g = (a[..., k * H : (k + 1) * H] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return states


def sequence_log_px(decoder, theta, z, x):
    """log p(x | z) (S, B) of token sequences x (B, T) under an LSTMDecoder.  [E10]"""
    lstm_params, join, net = decoder.split(theta)
    tokens = numpy.asarray(x).T.astype(int)
    V = decoder.lstm.vocabulary
    inputs = numpy.concatenate([numpy.full_like(tokens[:1], V), numpy.where(tokens[:-1] < 0, V, tokens[:-1])])
    if decoder.z_at == "output":
        states, W = lstm(decoder.lstm, lstm_params, inputs), join
        first = decoder.net.sizes[1]
        total = 0.0
        for t, h in enumerate(states):
            # the MLP's first layer sees z, and h through W_h: [h, z] [W_h; W_z]
            D = decoder.latent_dim
            W_z = np.reshape(net[: D * first], (D, first))
            a = np.dot(z, W_z) + net[D * first : (D + 1) * first] + np.dot(h, W)
            if len(decoder.net.sizes) > 2:
                rest = MLP(decoder.net.sizes[1:], decoder.net.activation)
                a = mlp(rest, net[(D + 1) * first :], ACTIVATIONS[decoder.net.activation.name](a))
            total = total + _token_log_prob(a, tokens[t])
        return total
    h_0 = np.dot(z, join[:-1]) + join[-1]
    states = lstm(decoder.lstm, lstm_params, inputs, z if decoder.latent_dim else None, h_0)
    return sum(_token_log_prob(mlp(decoder.net, net, h), tokens[t]) for t, h in enumerate(states))


def _token_log_prob(out, x):
    """log softmax(out)_x (S, B), 0 where x is padding."""
    out = out - np.max(out, axis=-1, keepdims=True)
    chosen = np.sum(out * numpy.eye(out.shape[-1])[x], axis=-1)
    return (chosen - np.log(np.sum(np.exp(out), axis=-1))) * (x >= 0)


def _log_px(decoder, theta, z, x):
    """log p(x | z; theta) (S, B) for any of savi's decoders."""
    if isinstance(decoder, FixedDecoder):
        return _log_px(decoder.decoder, decoder.theta, z, x)
    if isinstance(decoder, LSTMDecoder):
        return sequence_log_px(decoder, theta, z, x)
    net = decoder.net
    return log_prob(decoder.likelihood, mlp(net, theta[: net.size], z), x, theta[net.size :])


def loss(model, lam, theta, x, noise, beta=1.0):
    """-ELBO (B,) of a LatentGaussianModel, [E2]-[E4], written for autograd."""
    D = model.latent_dim
    mu, log_var = lam[:, :D], lam[:, D:]
    mu_p, log_var_p = model.prior[:D], model.prior[D:]
    z = mu + np.exp(log_var / 2) * noise
    log_px = _log_px(model.decoder, theta, z, x)
    if model.kl is AnalyticKL:
        ratio = (np.exp(log_var) + (mu - mu_p) ** 2) / np.exp(log_var_p)
        kl = 0.5 * np.sum(log_var_p - log_var + ratio - 1, axis=-1)
    else:
        log_q, log_p = normal_log_density(z, mu, log_var), normal_log_density(z, mu_p, log_var_p)
        kl = np.mean(log_q - log_p, axis=0)
    return beta * kl - np.mean(log_px, axis=0)


def hessian_products(loss, lam, theta, v):
    """(H_{lam,lam} v, H_{theta,lam} v) of sum_b loss(lam, theta)_b, by differentiating twice."""

    def directional(lam, theta):
        return np.sum(autograd.elementwise_grad(loss)(lam, theta) * v)

    return autograd.grad(directional, (0, 1))(lam, theta)


def product_by(loss, lam, theta, v):
    """The Product by differentiating twice; weighting an example's H_{theta,lam} v is weighting its row of v."""
    h, h_theta = hessian_products(loss, lam, theta, v)

    def weighted(weight):
        if numpy.ndim(weight) == 0:
            return weight * h_theta
        return hessian_products(loss, lam, theta, v * numpy.reshape(weight, (-1, 1)))[1]

    return Product(h, [(weighted, None, 1.0)])
