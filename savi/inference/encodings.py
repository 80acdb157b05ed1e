"""What an iterative inference model sees and what it does: encodings of an evaluation, and updates of lam.  [LI] 4.1, B

An encoding knows its own size and its own contents; an update knows how many heads it needs, its step and its way back.
"""

import numpy as np

from ..engine.files import InputError
from ..models.gaussian import join
from ..nets.activations import sigmoid


class Encoding:
    """What a network sees of an evaluation of f. needs_gradient: whether it looks at d_lam."""

    needs_gradient = False

    def size(self, model):
        """How many inputs it gives. Raises InputError where the model has nothing to encode."""
        raise NotImplementedError

    def contents(self, f, evaluation):
        """The inputs (B, size) at an evaluation of the objective f."""
        raise NotImplementedError

    def columns(self, model, l):
        """The indices of the inputs that level l = 1 .. L of a hierarchy sees: all, where they are no level's own."""
        return np.arange(self.size(model))

    def __repr__(self):
        return f"{type(self).__name__}()"


class Update:
    """lam_{t+1} from lam_t (B, n) and a network's output (B, heads * n)."""

    heads = 1

    def apply(self, lam, output):
        """lam_{t+1} (B, n)."""
        raise NotImplementedError

    def backward(self, lam, output, d_lam):
        """d output from the gradient with respect to lam_{t+1} (B, n), lam_t held fixed."""
        raise NotImplementedError

    def __repr__(self):
        return f"{type(self).__name__}()"


class Gradient(Encoding):
    """[alpha log(|g| + eps), sign(g)] for every entry g of grad_lam ELBO, (B, 4D).  [LI] B.1"""

    needs_gradient = True

    def __init__(self, alpha=0.1, eps=1e-5):
        self.alpha, self.eps = float(alpha), float(eps)

    def __repr__(self):
        return f"Gradient({self.alpha}, {self.eps})"

    def size(self, model):
        return 2 * model.lam_size

    def contents(self, f, evaluation):
        g = -evaluation.d_lam
        return np.concatenate([self.alpha * np.log(np.abs(g) + self.eps), np.sign(g)], axis=1)

    def columns(self, model, l):
        """The entries of its own lam, their logarithms and their signs."""
        own = Estimate().columns(model, l)
        return np.concatenate([own, model.lam_size + own])


class Error(Encoding):
    """[e_x, e_z] = [x - E[x|z], z - mu_p], means over the noise samples, (B, M + D); no decoder Jacobian.  [LI] 4.1, B.1"""

    def size(self, model):
        if "errors" not in model.supports:
            raise _no_vector(self)
        return model.data_dim + model.latent_dim

    def contents(self, f, evaluation):
        return np.concatenate(f.errors(evaluation), axis=1)

    def columns(self, model, l):
        """The error of the level below, which is e_x for the lowest, and its own: bottom-up and top-down.  [LI] A.6"""
        ends = np.cumsum([0, model.data_dim, *model.dims])
        return np.arange(ends[l - 1], ends[l + 1])


class Data(Encoding):
    """x (B, M)."""

    def size(self, model):
        if model.data_dim is None:
            raise _no_vector(self)
        return model.data_dim

    def contents(self, f, evaluation):
        return f.x


class Estimate(Encoding):
    """The current lam (B, 2D): always encoded, after the others."""

    def size(self, model):
        return model.lam_size

    def contents(self, f, evaluation):
        return evaluation.lam

    def columns(self, model, l):
        """Its own lam, means and log-variances."""
        own = model.of_level(np.arange(model.latent_dim), l)
        return np.concatenate([own, model.latent_dim + own])


ENCODINGS = {"gradient": Gradient, "error": Error, "data": Data}


def _no_vector(encoding):
    return InputError(
        f"the encoding {encoding!r} needs a decoder of vectors x (B, M); an AutogradModel or sequences have Gradient() alone"
    )


# --- updates: lam_{t+1} from lam_t and the network's output ---


class Gated(Update):
    """lam_{t+1} = g lam_t + (1 - g) c, output = [c, logits of g] (B, 4D): two heads for mu and log_var each.  [LI] eq. 62"""

    heads = 2

    def apply(self, lam, output):
        c, g = _heads(output)
        g = sigmoid(g)
        return g * lam + (1 - g) * c

    def backward(self, lam, output, d_lam):
        """d output (B, 4D) from the gradient with respect to lam_{t+1} (B, 2D), lam_t held fixed."""
        c, g = _heads(output)
        g = sigmoid(g)
        d_c = (1 - g) * d_lam
        return join(d_c, d_c * g * (lam - c))


class Residual(Update):
    """lam_{t+1} = lam_t + c, output = c (B, 2D): the update of Andrychowicz et al. 2016, the alternative of [LI] B.2."""

    heads = 1

    def apply(self, lam, output):
        return lam + output

    def backward(self, lam, output, d_lam):
        return d_lam


def _heads(output):
    n = output.shape[1] // 2
    return output[:, :n], output[:, n:]
