"""Programs that make random draws at named sites, for a whole batch at once, branches included.  [KL]

A program is an ordinary function of a trace t; a model p and an amortized family q_phi are programs alike:

    def model(t):                                     def family(t, phi):
        z = t.discrete("z", log_pi)                       z = nets.discrete(t, phi, "z", t["y"])
        with t.when(z == 0):                              with t.when(z == 0):
            x = t.normal("x", -2.0, 0.0)                      nets.normal(t, phi, "x", t["y"])
        with t.when(z != 0):                              with t.when(z != 0):
            w = t.normal("w", 1.0, 0.0)                       nets.normal(t, phi, "w", t["y"])
        t.normal("y", x + w, -1.0)

`nets` holds a network per site (Networks, below). `with t.when(condition)` is the batch's `if`, and nests. A branch is
a mask: every example runs through every branch, but in one it does not take nothing is drawn and nothing is added to
its log density; such a draw reads 0 in the program (x + w is whichever was drawn) and NaN in the record of draws. Two
branches may draw at the same name. A site draws one number per example; a vector is several sites. Programs that are
differentiated use autograd.numpy. Everything is in nats.
"""

import contextlib

import autograd.numpy as np
import numpy
from autograd.tracer import getval

from ..engine.files import expect
from ..models.gaussian import LOG_2PI


class Trace:
    """One run of a program on a batch: the draws it makes and their log density.

    shape: (N,), (S, N) for S samples of each example, any. given: arrays by site that broadcast to shape, NaN for no
    draw; at other sites rng draws, and `noise` keeps the standard normals of each. observed: what t[name] reads.
    path: values of discrete draws by site, which broadcast to shape, 0 at sites it lacks; None samples the draws.
    reparameterize: whether derivatives flow through normal draws.
    The run leaves: values, arrays (shape) by site; log_prob (shape); log_score (shape), the part of log_prob from
    sampled draws through which no derivative flows; weight (shape), the probability of the path; taken, the path as
    far as the program went; siblings, the paths that turn off it.
    """

    def __init__(self, shape, given=None, observed=None, rng=None, noise=None, path=None, reparameterize=True):
        self.shape, self.given, self.observed, self.rng = shape, given or {}, observed or {}, rng
        self.noise, self.path, self.reparameterize = {} if noise is None else noise, path, reparameterize
        self.here = numpy.ones(shape, bool)  # the examples that take the present branch
        self.values, self.siblings, self.taken = {}, [], {}
        self.log_prob, self.log_score, self.weight = numpy.zeros(shape), numpy.zeros(shape), numpy.ones(shape)

    def __getitem__(self, name):
        """The observed value at a site."""
        expect("the observed site", repr(name), name in self.observed, f"one of {list(self.observed)}")
        return self.observed[name]

    @contextlib.contextmanager
    def when(self, condition):
        """A branch, for the examples where the condition (which broadcasts to shape) holds."""
        before = self.here
        self.here = before & getval(condition)
        try:
            yield
        finally:
            self.here = before

    def normal(self, name, mu, log_var):
        """x ~ N(mu, exp(log_var)), (shape): the reparameterized draw mu + sigma e."""
        mu, log_var = self._rows(mu), self._rows(log_var)

        def draw():
            if name not in self.noise:
                self.noise[name] = self.rng.standard_normal(self.shape)
            return mu + np.exp(log_var / 2) * self.noise[name]

        return self._site(name, draw, lambda x: normal_log_density(x, mu, log_var), smooth=True)

    def mixture(self, name, logits, mu, log_var):
        """x ~ sum_k softmax(logits)_k N(mu_k, exp(log_var_k)), (shape); k, the arguments' last axis, is summed out."""
        log_pi, mu, log_var = log_softmax(self._vectors(logits)), self._vectors(mu), self._vectors(log_var)

        def draw():
            chosen = self._pick(log_pi)[..., None] == numpy.arange(log_pi.shape[-1])
            e = self.rng.standard_normal((*self.shape, 1))
            return np.sum(chosen * (mu + np.exp(log_var / 2) * e), axis=-1)

        return self._site(name, draw, lambda x: log_sum_exp(log_pi + normal_log_density(x[..., None], mu, log_var)))

    def discrete(self, name, logits):
        """z ~ softmax(logits), whole numbers (shape) from 0; logits (..., K)."""
        log_pi = log_softmax(self._vectors(logits))
        K = log_pi.shape[-1]

        def log_density(z):
            chosen = z[..., None] == numpy.arange(K)
            expect(f"site {name!r}", "out of range", chosen.any(axis=-1).all(), f"whole numbers 0 .. {K - 1}")
            return np.sum(np.where(chosen, log_pi, 0.0), axis=-1)

        return self._site(name, lambda: self._pick(log_pi), log_density, options=K).astype(int)

    def _site(self, name, draw, log_density, smooth=False, options=None):
        """The value at a site, given, enumerated or drawn; 0 where the example does not come here."""
        expect(f"site {name!r}", "drawn", name not in self.observed, "a latent site: this one is observed")
        before = self.values.get(name, numpy.full(self.shape, numpy.nan))
        twice = self.here & ~numpy.isnan(getval(before))
        expect(f"site {name!r}", "drawn twice", not twice.any(), "one draw of an example at a name")
        self.values[name] = before
        if not self.here.any():
            return numpy.zeros(self.shape)
        enumerated = stopped = False
        if name in self.given:
            value = self._rows(self.given[name])
            missing = self.here & numpy.isnan(getval(value))
            expect(f"site {name!r}", "NaN where the program makes a draw", not missing.any(), "a number")
        else:
            enumerated = self.path is not None and not smooth
            known = enumerated or name in self.noise or self.rng is not None
            expect(f"site {name!r}", "without a value", known, "one for every draw that the program makes")
            stopped = not (smooth and self.reparameterize)
            value = self._choose(name, options) if enumerated else draw()
            value = self._rows(getval(value) if stopped else value)
        value = self._masked(value, 0.0)
        log_q = self._masked(log_density(value), 0.0)
        self.log_prob = self.log_prob + log_q
        if enumerated:  # an example that does not come here goes along the first of the paths, and no other
            self.weight = self.weight * self._masked(np.exp(log_q), self._rows(1.0 * (self.taken[name] == 0)))
        elif stopped:
            self.log_score = self.log_score + log_q
        self.values[name] = self._masked(value, before)
        return value

    def _choose(self, name, options):
        """The path's value at a site; where it has none 0, and the other values become siblings."""
        expect(f"site {name!r}", "a mixture", options, "a draw to enumerate or reparameterize: use score_function")
        expect(f"site {name!r}", "enumerated twice", name not in self.taken, "a name of its own in each branch")
        if name not in self.path:
            self.siblings += [self.taken | {name: k} for k in range(1, options)]
        self.taken[name] = self.path.get(name, 0)
        return self.taken[name]

    def _pick(self, log_pi):
        """Samples of a discrete distribution (shape), by inverting its distribution function."""
        steps = numpy.cumsum(numpy.exp(getval(log_pi)), axis=-1)[..., :-1]
        return numpy.sum(self.rng.random((*self.shape, 1)) > steps, axis=-1, dtype=float)

    def _masked(self, a, elsewhere):
        """a (shape) for the examples that are here."""
        return a if self.here.all() else np.where(self.here, a, elsewhere)

    def _rows(self, a):
        return _broadcast(a, self.shape)

    def _vectors(self, a):
        return _broadcast(a, (*self.shape, numpy.shape(getval(a))[-1]))


def _broadcast(a, shape):
    return a if numpy.shape(getval(a)) == shape else a + numpy.zeros(shape)


def normal_log_density(x, mu, log_var):
    """log N(x; mu, exp(log_var)) entry by entry, shapes broadcast; nats, differentiable."""
    return -0.5 * (LOG_2PI + log_var + (x - mu) ** 2 * np.exp(-log_var))


def log_sum_exp(a):
    """log sum exp(a) over the last axis, without overflow, differentiable."""
    largest = numpy.max(getval(a), axis=-1)
    return largest + np.log(np.sum(np.exp(a - largest[..., None]), axis=-1))


def log_softmax(a):
    """Log probabilities of logits a (..., K), differentiable."""
    return a - log_sum_exp(a)[..., None]


def sample(program, shape, rng, observed=None):
    """Draws by site, arrays (shape): of a model its latents and y, of a family given `observed` its latents."""
    t = Trace(shape, observed=observed, rng=rng)
    program(t)
    return t.values


def enumerate_paths(program, shape, observed, rng, noise):
    """(path, n): all n ways through the program's discrete draws, a Trace's path of arrays (n, 1, ...) by site.

    A path is found by the one that it turns off, so that a draw in a branch multiplies the paths of that branch only.
    """
    paths, ahead = [], [{}]
    while ahead:
        t = Trace(shape, observed=observed, rng=rng, noise=noise, path=ahead.pop())
        program(t)
        paths.append(t.taken)
        ahead += t.siblings
    column = (len(paths), *[1] * len(shape))
    names = {name for path in paths for name in path}
    return {name: numpy.reshape([path.get(name, 0) for path in paths], column) for name in names}, len(paths)


def log_density(program, draws, observed=None):
    """log density of the draws, arrays by site that broadcast to one shape, NaN for no draw.  Returns (shape).

    Raises InputError where the program makes a draw that has no value, or makes no draw where there is a value.
    """
    t = Trace(shape_of(*draws.values(), *(observed or {}).values()), draws, observed)
    program(t)
    for name, value in draws.items():
        unmade = numpy.isnan(getval(t.values.get(name, numpy.nan))) & ~numpy.isnan(getval(value))
        expect(f"site {name!r}", "given where the program makes no draw", not unmade.any(), "NaN there, or a draw")
    return t.log_prob


def shape_of(*values):
    """The one shape that all values broadcast to."""
    return numpy.broadcast_shapes(*(numpy.shape(getval(value)) for value in values))


class Networks:
    """A network per draw site, by name: Networks(z=MLP([1, 20, 3]), x=MLP([2, 20, 2])); phi (size,) is all of them."""

    def __init__(self, **nets):
        self.nets, self.size, self.slices = nets, 0, {}
        for name, net in nets.items():
            self.slices[name] = slice(self.size, self.size + net.size)
            self.size += net.size

    def init(self, rng):
        """Initial phi (size,)."""
        return numpy.concatenate([net.init(rng) for net in self.nets.values()])

    def __call__(self, phi, name, *inputs):
        """The outputs (..., O) of a site's network; inputs: numbers or conditions (...), which broadcast."""
        expect("the site", repr(name), name in self.nets, f"one that has a network: {list(self.nets)}")
        net, shape = self.nets[name], numpy.shape(getval(phi))
        expect("phi", f"of shape {shape}", shape == (self.size,), f"({self.size},) for these networks")
        n = len(inputs)
        expect(f"the network of site {name!r}", f"given {n} inputs", n == net.inputs, f"{net.inputs} for {net!r}")
        zeros = numpy.zeros(shape_of(*inputs))
        return net.reference(phi[self.slices[name]], np.stack([a + zeros for a in inputs], axis=-1))

    def normal(self, t, phi, name, *inputs):
        """A normal draw at a site, [mu, log_var] from its network."""
        out = self._outputs(t, phi, name, inputs)
        return t.normal(name, out[..., 0], out[..., 1])

    def discrete(self, t, phi, name, *inputs):
        """A discrete draw at a site, logits from its network."""
        return t.discrete(name, self._outputs(t, phi, name, inputs))

    def _outputs(self, t, phi, name, inputs):
        """The outputs; zeros in a branch that no example takes, whose network need not run."""
        return self(phi, name, *inputs) if t.here.any() else numpy.zeros(self.nets[name].sizes[-1])
