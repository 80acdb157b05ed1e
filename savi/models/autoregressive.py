"""A Gated PixelCNN as p(x | z; theta) = prod_i p(x_i | x_<i, z): images with a strong decoder.  [SA] 5.3

    late     the causal net sees x alone and runs once for all steps of an inner loop; z joins its features f_i in a head,
             out_i = gate(f_i W_f + z W_z + b) V + c. Its gradients are added up and go back through the net once
    input    as in [SA]: maps of z, an affine function of z for each pixel, beside x in the first layer

"late" is not the paper's: it is what makes an inner step as cheap as a small MLP's. In both, maps of each pixel that are
learned stand beside x in the first layer, the position map; at the input it is the bias of z's maps. With latent size 0
either is the same net without z, the baseline.
"""

import numpy as np

from ..engine import given
from ..engine.files import InputError, expect
from ..nets.gated_head import GatedHead
from ..nets.pixelcnn import PixelCNN
from ..nets.pixelcnn_sampling import in_order
from .base import Decoder
from .likelihoods import Bernoulli
from .pixels_at import PLACES


class PixelCNNDecoder(Decoder):
    """shape: (H, W); latent: D; channels C, layers, kernel, first, stacks: as of a PixelCNN, whose head has C gated units.

    maps: learned numbers of each pixel beside x, 0 or position_map=False for none. z_at: "late" or "input". likelihood: of a
    pixel, without parameters of its own; outputs: what it needs for one (Categorical: how many values a pixel has).
    theta: the maps' [M; m] (D + 1, H W maps) ("late": m alone), the net's parameters, W_f (C, 2C) ("late"), the head's.
    """

    def __init__(
        self, shape, latent, channels=16, layers=4, kernel=3, first=7, maps=4, stacks=2, z_at="late", position_map=True,
        likelihood=None, outputs=1,
    ):  # fmt: skip
        self.place, self.z_at = PLACES[given.one_of("z_at", z_at, PLACES)], z_at
        self.latent_dim, self.position_map = given.whole("latent", latent), bool(position_map and maps)
        self.likelihood, self.outputs = likelihood or Bernoulli(), given.whole("outputs", outputs, 1)
        own = self.likelihood.size(1)
        expect("the likelihood of a pixel", repr(self.likelihood), not own, "one without parameters of its own")
        fits = not self.likelihood.vector or self.likelihood.data_dim(self.outputs) == 1
        expect("outputs", self.outputs, fits, f"as many as {self.likelihood!r} needs for one pixel")
        expect("maps", maps, maps or not self.place.map_inputs(self.latent_dim), "one at least, through which z enters")
        lines = self.place.map_inputs(self.latent_dim) + self.position_map
        self.trunk = PixelCNN(shape, channels, layers, kernel, first, given.whole("maps", maps) if lines else 0, stacks)
        self.head = GatedHead(self.place.head_inputs(self.latent_dim, channels), channels, self.outputs)
        self.shapes = (lines, self.trunk.pixels * self.trunk.maps), self.place.join_shape(channels)
        (a, b), (c, d) = self.shapes
        self.offsets = np.cumsum([a * b, self.trunk.size, c * d])
        self.size = int(self.offsets[-1]) + self.head.size
        self.work = self.place.work(self.trunk, self.head)
        self.turns = sum(self.trunk.kernels) * self.trunk.stacks  # rows of kernels
        self.chunk = max(1, self.place.rows // self.trunk.pixels)
        self.has_tangent, self.takes_probabilities = True, self.likelihood.takes_probabilities
        values = 2 if self.likelihood.vector else self.outputs
        self.step = 1 / max(1, values - 1)  # between two of a pixel's values, as the net reads them

    def __repr__(self):
        trunk = f"{self.trunk!r}, latent {self.latent_dim}, {self.z_at}"
        more = "" if self.position_map else ", no position map"
        return f"PixelCNNDecoder({trunk}{more}, {self.likelihood!r}, {self.outputs})"

    def split(self, theta):
        """(the maps' [M; m], the trunk's parameters, W_f, the head's), views."""
        maps, trunk, join, head = np.split(theta, self.offsets)
        return maps.reshape(self.shapes[0]), trunk, join.reshape(self.shapes[1]), head

    def init(self, rng, dtype=np.float64, x=None):
        """theta (P,): as the net and the head draw theirs; M uniform with variance 1 / D, W_f 1 / C, m zero."""
        theta = np.zeros(self.size, dtype)
        maps, trunk, join, head = self.split(theta)
        trunk[...], head[...] = self.trunk.init(rng, dtype), self.head.init(rng, dtype)
        for weights in (maps[: len(maps) - self.position_map], join):
            weights[...] = rng.uniform(-1, 1, weights.shape) * np.sqrt(3 / max(1, len(weights)))
        return theta

    def adopt(self, theta, fresh):
        """theta of this decoder, or of the one without z, otherwise alike: then z's weights are those of `fresh`."""
        z_at_head = self.place.head_inputs(self.latent_dim, 0)
        without_z = (
            self.size - self.place.map_inputs(self.latent_dim) * self.shapes[0][1] - z_at_head * 2 * self.head.units
        )
        if theta.shape == fresh.shape or theta.shape != (without_z,):
            return super().adopt(theta, fresh)
        found, own = fresh.copy(), np.ones(self.size, bool)
        maps, _, _, head = self.split(own)
        maps[: len(maps) - self.position_map] = False
        self.head.layers(head)[0][:z_at_head] = False
        found[own] = theta
        return found

    def check_data(self, x):
        self.likelihood.check(x)
        if not self.likelihood.vector and np.size(x):
            low, high = np.min(x), np.max(x)
            expect(
                "x", f"from {low:g} to {high:g}", 0 <= low <= high < self.outputs, f"values of 0 to {self.outputs - 1}"
            )

    def check(self, theta, x):
        """Raises InputError unless theta is (P,), x is (B, H W) and x lies in the likelihood's support."""
        if theta.shape != (self.size,):
            raise InputError(f"theta has shape {theta.shape}; {self!r} needs ({self.size},)")
        if x.ndim != 2 or x.shape[1] != self.trunk.pixels:
            raise InputError(f"x has shape {x.shape}; images of {self.trunk.shape} need (B, {self.trunk.pixels})")
        self.check_data(x)

    def given(self, theta, x):
        return self.place(self, theta, x)

    def picture(self, theta, z, rng):
        """x (B, H W) drawn from p(x | z): there is no closed form of the mean."""
        return self.sample(theta, z, rng)

    def sample(self, theta, z, rng):
        """x (B, H W) drawn from p(x | z), z (B, D), one pixel after the other."""
        maps, trunk, join, head = self.split(theta)
        head = self.head.over(head)

        def draw(features):
            out = head.at(self.place.at_pixel(head, z, features, join))
            return self.likelihood.sample(out, None, rng).reshape(len(z)) * self.step

        x = in_order(self.trunk, trunk, len(z), self.maps(maps, z[None])[0], draw, theta.dtype)
        return x if self.likelihood.vector else np.rint(x / self.step).astype(theta.dtype)

    def maps(self, weights, z):
        """(S, B, H, W, maps) of z (S, B, D); weights [M; m], or m alone."""
        D = len(weights) - self.position_map
        flat = z[..., :D] @ weights[:D] + (weights[D] if self.position_map else 0)
        return flat.reshape(*z.shape[:2], *self.trunk.shape, self.trunk.maps)

    def baseline(self, train, x):
        tokens = not self.likelihood.vector
        out, _ = self.likelihood.marginal(np.asarray(train, float), self.outputs if tokens else self.trunk.pixels)
        x = np.asarray(x, float)
        if tokens:
            out = np.broadcast_to(out, (*x.shape, self.outputs))
            return self.likelihood.without_latents, self.likelihood.log_prob(out, x.astype(int)).sum(axis=1)
        return self.likelihood.without_latents, self.likelihood.log_prob(out, x)

    def seen(self, x):
        """(what the net reads of x (B, H W), what the likelihood does: a vector, or a token at each place)."""
        return x.real * self.step, x if self.likelihood.vector else x.real.astype(int)

    def laid(self, out):
        """The head's outputs (N, O, H W), their memory in the order in which the likelihood reads them."""
        return out if self.likelihood.vector else np.ascontiguousarray(out.transpose(0, 2, 1)).transpose(0, 2, 1)

    def seen_outputs(self, out, batch):
        """What the likelihood reads of such outputs: those of a vector (S, B, O H W), or of each place (S, B, H W, O)."""
        if self.likelihood.vector:
            return out.reshape(-1, batch, out.shape[1] * out.shape[2])
        return out.transpose(0, 2, 1).reshape(-1, batch, out.shape[2], out.shape[1])

    def whole(self, log_p):
        """log p of images (S, B) from what the likelihood says of its vectors or places."""
        return log_p if self.likelihood.vector else log_p.sum(axis=-1)

    def reference(self, theta, z, x):
        import autograd.numpy as anp

        parts, start = [], 0
        (a, b), (c, d) = self.shapes
        for n in (a * b, self.trunk.size, c * d, self.head.size):
            parts.append(theta[start : start + n])
            start += n
        weights, join = (anp.reshape(part, shape) for part, shape in zip(parts[::2], self.shapes))
        images, pixels = self.seen(np.asarray(x))
        out = self.place.reference(self, weights, parts[1], join, parts[3], z, images)
        if self.likelihood.vector:
            return self.likelihood.reference(anp.reshape(anp.moveaxis(out, -1, -2), (*out.shape[:2], -1)), pixels, None)
        return anp.sum(self.likelihood.reference(out, pixels, None), axis=-1)
