"""The interfaces of this wing: what a likelihood, a decoder, a model and its objective offer, and what of it is optional.

    Likelihood   p(x | out)                  what the outputs of a network say about x
    Decoder      p(x | z; theta)             given(theta, x) -> Given, the same as a function of z
    Model        p(x, z; theta), q(z; lam)   objective(theta, x, beta) -> Objective
    Objective    f(lam; noise) = -ELBO at fixed theta, x and beta; it leaves Evaluations and Products, and sums over theta

B examples, S noise samples, D latent dimensions, M data dimensions, O outputs, P parameters theta; lam (B, n), n = 2D for
Gaussians. What is optional is declared (`has_...`, `supports`), and raises InputError where it is asked for all the same.
Everything is in nats.
"""

from typing import NamedTuple

import numpy as np

from ..engine import given
from ..engine.files import InputError


class Likelihood:
    """p(x | out): out (..., O) are outputs of a network, x (B, M) broadcasts against them, eta (E,) are own parameters.

    takes_probabilities: whether data between 0 and 1 are probabilities, from which training draws x anew for each
    minibatch. has_residual: whether x - E[x | out] is an error in data space. vector: whether x has an axis of M dimensions;
    if not it is a number, as a token is, at each place of out's leading axes.
    """

    takes_probabilities, has_residual, vector = False, True, True

    def size(self, data_dim):
        """E, the number of own parameters for M data dimensions; they are the last entries of theta."""
        return 0

    def outputs(self, data_dim):
        """O, the outputs that M data dimensions need."""
        return data_dim

    def data_dim(self, outputs):
        """M, the data dimensions that O outputs give. Raises InputError where O does not fit."""
        return outputs

    def start(self, x):
        """(bias (O,) or None, eta (E,)): outputs and own parameters from which training on x (N, M) starts.

        None leaves the network's last bias at zero.
        """
        return None, np.zeros(self.size(x.shape[-1]))

    without_latents = "independent"

    def marginal(self, x, outputs):
        """(out (O,), eta (E,)) of the best model of the training data x (N, ...) that has no latent variable.

        It is called `without_latents`; O = outputs. What was never seen is given half an observation.
        """
        raise NotImplementedError

    def check(self, x):
        """Raises InputError unless x lies in the support."""
        raise NotImplementedError

    def log_prob(self, out, x, eta=None):
        """log p(x | out) (...,), summed over the M dimensions of x."""
        raise NotImplementedError

    def mean(self, out, eta=None):
        """E[x | out] (..., M)."""
        raise NotImplementedError

    def sample(self, out, eta, rng):
        """x (..., M) drawn from p(x | out)."""
        raise NotImplementedError

    def error(self, out, x, eta=None):
        """(d log_prob / d out (..., O), written over `out`; what `tangent` needs of this evaluation)."""
        raise NotImplementedError

    def log_prob_and_error(self, out, x, eta=None):
        """(log_prob (...,), the error, written over `out`, what `tangent` needs): here one after the other.

        A subclass whose two formulas share a part, as an exponential, computes it once.
        """
        return self.log_prob(out, x, eta), *self.error(out, x, eta)

    def tangent(self, error, kept, x, eta, out_dot):
        """R{error}: how the error moves when out moves along out_dot (..., O); written over `out_dot`."""
        raise NotImplementedError

    def residual(self, error, kept, eta):
        """x - E[x | out] (..., M), the error in data space with precisions left out."""
        return error

    def eta_error(self, error, eta):
        """d log_prob / d eta of each row (..., E)."""
        return np.zeros(error.shape[:-1] + (0,), error.dtype)

    def eta_tangent(self, error, error_dot, eta):
        """R{eta_error} (..., E)."""
        return np.zeros(error.shape[:-1] + (0,), error.dtype)

    def reference(self, out, x, eta):
        """log_prob once more in autograd.numpy, one formula a line: the judge of all the above."""
        raise NotImplementedError

    def __repr__(self):
        return f"{type(self).__name__}()"


class Decoder:
    """p(x | z; theta).

    latent_dim: D. data_dim: M, or None where x is no vector with an error in data space (has_residual says the same).
    size: P. work: multiplications in a pass of one example, and turns: in how many stretches of products, one after the other,
    as over the tokens of a sequence; an MLP's pass is one. has_tangent: whether exact Hessian products are there.
    chunk: how many examples times samples are worked out at a time, where an evaluation of more takes memory and saves no
    time; None for all that there are.
    """

    latent_dim = size = work = 0
    turns = 1
    data_dim = chunk = None
    has_tangent = has_residual = takes_probabilities = False

    def init(self, rng, dtype=np.float64, x=None):
        """Initial theta (P,); x: the training data, from which a likelihood may read where to start."""
        raise NotImplementedError

    def adopt(self, theta, fresh):
        """Where training starts from another's theta: itself, where it has P entries.

        fresh (P,): what `init` drew, for what theta lacks: a decoder that can be trained without z first takes that theta too.
        Raises InputError on another size.
        """
        if theta.shape != fresh.shape:
            raise InputError(f"theta to start from has shape {theta.shape}; {self!r} needs {fresh.shape}")
        return theta

    def check_data(self, x):
        """Raises InputError unless the values of x lie in the support."""

    def check(self, theta, x):
        """Raises InputError unless theta is (P,), x has the shape of a batch and lies in the support."""
        raise NotImplementedError

    def given(self, theta, x):
        """p(x | z; theta) as a function of z: a Given."""
        raise NotImplementedError

    def mean(self, theta, z):
        """E[x | z] (..., M); z (..., D). Raises InputError where x is no vector."""
        raise InputError(f"{self!r} has no mean E[x | z]; a picture of means needs a decoder of vectors x (B, M)")

    def sample(self, theta, z, rng):
        """x (B, ...) drawn from p(x | z), z (B, D); where x are sequences, their length comes last."""
        raise NotImplementedError

    def picture(self, theta, z, rng):
        """What a picture shows of p(x | z), z (B, D): the mean (B, M); a sample, drawn with rng, where there is no mean."""
        return self.mean(theta, z)

    def baseline(self, train, x):
        """(name, log p(x) (N,)) of the best model of the training data without a latent variable, or None."""
        return None

    def reference(self, theta, z, x):
        """log p(x | z) (S, B) in autograd.numpy, z (S, B, D): the judge. Raises InputError where nobody wrote it."""
        raise InputError(f"{self!r} has no reference in autograd; a product by autograd needs it")


class Given:
    """p(x | z; theta) at fixed theta and x, as a function of z; what does not depend on z is done once, when it is made."""

    def reserve(self, held):
        """Room for so many evaluations that are held at a time; by itself it is made for one."""

    def forward(self, z):
        """A record of the evaluation at z (S, B, D)."""
        raise NotImplementedError

    def samples(self, record):
        """S."""
        raise NotImplementedError

    def log_px(self, record):
        """log p(x | z) (S, B), to be asked before `backward`."""
        raise NotImplementedError

    def log_px_and_error(self, record):
        """`log_px` for those who ask for `backward` next: what both need may be computed once."""
        return self.log_px(record)

    def backward(self, record):
        """d log p(x | z) / dz = J^T e_x, (S, B, D); completes the record.  [E11]"""
        raise NotImplementedError

    def residual(self, record):
        """x - E[x | z] (S, B, M): e_x in data space; instead of `backward`, or after it."""
        raise InputError(
            "this decoder has no error in data space; an iterative model of its data encodes Gradient() alone"
        )

    def tangent(self, record, z_dot):
        """(R{backward} (S, B, D) along z_dot (S, B, D), the tangent record that theta's Hessian product needs)."""
        raise InputError('this decoder has no tangent; expected hvp="auto", which then takes central differences')

    def imaginary(self, record, moved, r):
        """The tangent record along z_dot from `moved`, the record at z + i r z_dot; None where there are no such records."""
        return None

    def param_sum(self, dtype=None):
        """A sum of gradients of log p(x | z) with respect to theta (P,): add, add_tangent, value, as engine.records."""
        raise NotImplementedError


class Model:
    """p(x, z; theta) with an approximate posterior q(z; lam).

    size: P, the length of theta. lam_size: n, the width of lam. latent_dim: D, or None where lam is no Gaussian's.
    data_dim: M, the width of the error e_x in data space, or None where there is none. work: multiplications in a pass of
    one example, by which threads cut a batch; divisible: whether they may; turns, chunk: as of a Decoder. takes_probabilities:
    as of a Likelihood.
    supports: which of the optional verbs there are: "parts", "posterior_kl", "log_weights", "log_px", "errors", "tangent"
    (exact Hessian products), "complex" (numbers that pass through every closed form) and "levels" (hierarchical.py).
    """

    size = lam_size = work = 0
    turns = 1
    latent_dim = data_dim = chunk = None
    divisible = takes_probabilities = False
    supports = frozenset()

    def init(self, rng, dtype=np.float64, x=None):
        """Initial theta (P,); x: the training data, where a model starts from what they say."""
        raise NotImplementedError

    def adopt(self, theta, fresh):
        """theta (P,) to start from, where another run's is given; fresh (P,): what `init` drew. InputError on a misfit."""
        if theta.shape != fresh.shape:
            raise InputError(f"theta to start from has shape {theta.shape}; {self!r} needs {fresh.shape}")
        return theta

    def prior_lam(self, batch, dtype=np.float64, theta=None):
        """lam of the prior, (B, n): where SVI starts. theta: what a prior that is learned may ask."""
        raise NotImplementedError

    def mean(self, theta, z):
        """E[x | z] (..., M); z (..., D). Raises InputError where x is no vector."""
        raise self.missing("mean", "a picture of means")

    def picture(self, theta, z, rng):
        """What a picture shows of p(x | z), z (B, D): the mean (B, M); a sample, drawn with rng, where there is no mean."""
        return self.mean(theta, z)

    def sample(self, theta, n, rng, dtype=np.float64):
        """(x (n, ...), z (n, D)) drawn from p(x, z; theta), ancestors first."""
        raise self.missing("sample", "drawing from the model")

    def draw_noise(self, rng, samples, batch, dtype=np.float64):
        """Noise (S, B, .) for one evaluation of f."""
        raise NotImplementedError

    def check(self, x):
        """Raises InputError where x lies outside the support; a model that knows no support takes everything."""

    def baseline(self, train, x):
        """(name, log p(x) (N,)) of the best model of the training data without a latent variable, or None."""
        return None

    def describe(self):
        """{name: JSON value} of what a checkpoint must share with the run that goes on from it."""
        return {"model": repr(self), "kl": "None", "prior": None}

    def objective(self, theta, x, beta=1.0):
        """f at fixed theta (P,), x (B, ...) and KL weight beta [E4]: an Objective.

        Raises InputError on a shape mismatch or an x outside the support.
        """
        raise NotImplementedError

    def loss(self, lam, theta, x, noise, beta=1.0):
        """-ELBO of each example (B,) (nats, lower is better), [E2]; [LI] eq. 3; the KL term times beta.

        lam (B, n); theta (P,); x (B, ...); noise (S, B, .). Raises InputError as `objective` does.
        """
        return self.objective(theta, x, beta).loss(*_point(lam, noise))

    def parts(self, lam, theta, x, noise):
        """(-E_q[log p(x|z)], KL), each (B,), nats: the loss is their sum."""
        return self.objective(theta, x).parts(*_point(lam, noise))

    def evaluate(self, lam, theta, x, noise, beta=1.0):
        """The Evaluation of f: .loss (B,), .d_lam (B, n)."""
        return self.objective(theta, x, beta).evaluate(*_point(lam, noise))

    def theta_gradient(self, lam, theta, x, noise, beta=1.0):
        """d f / d theta (P,), summed over the batch.  [E13]"""
        f = self.objective(theta, x, beta)
        return f.theta_sum().add(f.gradient(*_point(lam, noise))).value()

    def log_weights(self, lam, theta, x, noise):
        """log p(x, z_s) - log q(z_s) of each sample, (S, B), nats: the terms of the importance-weighted bound.  [E5]"""
        if "log_weights" not in self.supports:
            raise self.missing("log_weights", "the importance-weighted estimate")
        return self.objective(theta, x).log_weights(*_point(lam, noise))

    def posterior_kl(self, lam, target):
        """KL(q(z; lam) || q(z; target)) (B,) and its gradient with respect to lam (B, n), target held fixed.  [E3]"""
        raise self.missing("posterior_kl", "VAE+SVI+KL")

    def missing(self, verb, user):
        """The InputError that says which optional verb is not there."""
        return InputError(f"{self!r} has no {verb}; {user} needs it")


def _point(lam, noise):
    """lam and noise from outside, as an objective takes them."""
    return given.floats("lam", lam, "fc"), given.array("noise", noise)


class Objective:
    """f(lam; noise) = -ELBO (B,) at fixed theta, x and beta. lam (B, n); noise (S, B, .). The batch never mixes.

    model, theta (P,), x (B, ...) and beta are what it was made of; `model.supports` says which verbs below there are.
    """

    def __init__(self, model, theta, x, beta):
        self.model, self.theta, self.x, self.beta = model, theta, x, beta

    @property
    def supports(self):
        """The optional verbs that there are, those of the model."""
        return self.model.supports

    def reserve(self, held):
        """Room for so many evaluations that the caller will hold at a time: side by side they are summed at once."""

    def loss(self, lam, noise):
        """f (B,)."""
        raise NotImplementedError

    def evaluate(self, lam, noise):
        """f and its gradient: an evaluation with loss (B,), d_lam (B, n), and `terms` for `theta_sum`."""
        raise NotImplementedError

    def gradient(self, lam, noise):
        """`evaluate` for inner steps that never look at the loss, which may be None."""
        return self.evaluate(lam, noise)

    def forward(self, lam, noise):
        """`evaluate` for those who look at the `errors` alone: loss and d_lam may be None."""
        return self.evaluate(lam, noise)

    def hvp(self, evaluation, v):
        """(H_{lam,lam} v, H_{theta,lam} v) exactly, v (B, n): a Product.  "tangent" """
        raise self.model.missing("tangent", 'hvp="exact"')

    def imaginary(self, evaluation, moved, r):
        """The Product of `evaluation` along v from `moved`, the evaluation at lam + i r v.  "complex" """
        raise self.model.missing("complex", "the complex step")

    def theta_sum(self, dtype=None):
        """sum_i w_i (d f / d theta of evaluation i, or H_{theta,lam} v of product i): add(item, weight), value() (P,)."""
        raise NotImplementedError

    def reference(self, lam, theta, noise):
        """f (B,) as a function of lam and theta in autograd.numpy: the judge."""
        raise NotImplementedError

    def parts(self, lam, noise):
        """(-E_q[log p(x|z)], KL), each (B,).  "parts"; a loss that is known as a whole alone may say (f, NaN) instead."""
        raise self.model.missing("parts", "the split of the bound")

    def log_weights(self, lam, noise):
        """log p(x, z_s) - log q(z_s), (S, B).  "log_weights" """
        raise self.model.missing("log_weights", "the importance-weighted estimate")

    def log_px(self, z):
        """log p(x | z) (S, B) at z (S, B, D).  "log_px" """
        raise self.model.missing("log_px", "quadrature")

    def errors(self, evaluation):
        """(e_x (B, M), e_z (B, D)), means over the samples.  [LI] 4.1  "errors" """
        raise self.model.missing("errors", "the encoding Error()")


class Product(NamedTuple):
    """A Hessian-vector product: lam = H_{lam,lam} v (B, n); H_{theta,lam} v lies in its terms until it is summed."""

    lam: np.ndarray
    terms: list


class RecordTerm(NamedTuple):
    """weight times a record's theta-gradient, or where there is a tangent record `dot`, times R{that gradient}.

    weight: a number or one per example (B,).
    """

    record: object
    dot: object = None
    weight: object = 1.0

    def times(self, weight):
        """The same term, weighted once more."""
        return self._replace(weight=self.weight * weight)

    def add_to(self, theta_sum, weight):
        """Add weight times this term to a theta_sum."""
        theta_sum.add_record(self.record, self.dot, self.weight * weight)


class VectorTerm(NamedTuple):
    """A theta-gradient (P,) as a function of its weight, a number or one per example (B,)."""

    vector: object
    weight: object = 1.0

    def times(self, weight):
        """The same term, weighted once more."""
        return self._replace(weight=self.weight * weight)

    def add_to(self, theta_sum, weight):
        """Add weight times this term to a theta_sum."""
        theta_sum.add_vector(self.vector(self.weight * weight))
