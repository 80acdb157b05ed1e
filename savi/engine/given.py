"""What comes from outside - numbers, arrays, generators, objects - is looked at once, at the public edge, and here alone.

Each function returns the value as the rooms inside rely on it, or raises InputError: its name, what it is, what was
expected. Inner loops call none of them.
"""

import numbers

import numpy as np

from .files import InputError


def number(name, value, interval="(-inf, inf)"):
    """A real number in an interval like "[0, 1)" or "(0, inf)", as a float."""
    low, high = interval[1:-1].split(", ")
    found = _real(value)
    above = found >= float(low) if interval[0] == "[" else found > float(low)
    below = found <= float(high) if interval[-1] == "]" else found < float(high)
    if high == "inf":
        interval = "" if low == "-inf" else f"{'>=' if interval[0] == '[' else '>'} {low}"
    else:
        interval = f"in {interval}"
    _expect(name, value, above and below, f"a finite number {interval}".rstrip())
    return found


def whole(name, value, least=0):
    """A whole number >= least, as an int."""
    found = _real(value)
    _expect(name, value, found >= least and found % 1 == 0, f"a whole number >= {least}")
    return int(value)


def digits(name, text, least=0):
    """A whole number >= least in the digits 0 to 9, as a variable of the environment has it."""
    found = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
    _expect(name, text, found is not None and found >= least, f"a whole number >= {least}")
    return found


def array(name, value):
    """Real numbers as an array of whatever type they have. A mask that hides something, and an imaginary part, are refused."""
    if np.ma.isMaskedArray(value) and np.ma.count_masked(value):
        raise InputError(
            f"{name} is a masked array that hides {np.ma.count_masked(value)} entries; expected all of them"
        )
    try:
        found = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{name} is no array ({error}); expected an array of real numbers") from error
    if found.dtype.kind not in "biuf":
        raise InputError(f"{name} is {_made_of(value)}; expected an array of real numbers")
    return found


def examples(name, value):
    """An `array` with a row for each of one or more examples."""
    found = array(name, value)
    if not (found.ndim and len(found)):
        raise InputError(f"{name} has shape {found.shape}; expected a row for each example, one at least")
    return found


def finite(name, value, shape, needed="expected"):
    """An `array` of finite numbers of that shape, as floats. needed: the words before the shape where it has another."""
    found = array(name, value).astype(float)
    if found.shape != shape:
        raise InputError(f"{name} has shape {found.shape}; {needed} {shape}")
    _expect(name, found, np.isfinite(found).all(), "finite numbers")
    return found


def floats(name, value, kinds="f"):
    """An array of floats, single or more precise: theta, phi, lam. kinds "fc": or of complex numbers, for closed forms."""
    plain = isinstance(value, np.ndarray) and not np.ma.isMaskedArray(value)
    if not (plain and value.dtype.kind in kinds and value.dtype.itemsize >= 4):
        raise InputError(f"{name} is {_made_of(value)}; expected an array of float32 or float64")
    return value


def precision(name, value):
    """The dtype float32 or float64, by any of its names."""
    try:
        found = np.dtype(value)
    except TypeError:
        found = None
    _expect(name, value, value is not None and found in (np.float32, np.float64), "float32 or float64")
    return found


def generator(name, value):
    """A numpy.random.Generator."""
    _expect(name, value, isinstance(value, np.random.Generator), "a numpy.random.Generator, as default_rng(0) makes")
    return value


KINDS = {  # of objects: what is asked of one, and what it might be
    "model": ("objective draw_noise init", "a model, as a LatentGaussianModel"),
    "method": ("infer gradient init", "a method, as a VAE"),
    "decoder": ("given latent_dim data_dim size work", "p(x | z), as an MLPDecoder"),
    "likelihood": ("log_prob error outputs", "p(x | out), as Bernoulli()"),
    "net": ("init forward complete inputs outputs shapes", "a net, as an MLP"),
    "trunk": ("init begin inputs outputs size", "a net, as an MLP"),
    "encoder": ("evaluate gradient size outputs random", "an encoder, as an MLP"),
    "encoding": ("contents size needs_gradient", "one, as Gradient()"),
    "update": ("apply backward heads", "Gated() or Residual()"),
    "optimizer": ("init update step_size", "an optimizer, as Adam()"),
    "loss": ("__call__", "a function"),
    "monitor": ("items", "{name: examples}"),
}


def thing(kind, value):
    """An object of one of KINDS, by what it offers."""
    words, expected = KINDS[kind]
    _expect(kind, value, not isinstance(value, type) and all(hasattr(value, word) for word in words.split()), expected)
    return value


def one_of(name, value, words):
    """One of these words."""
    _expect(name, value, isinstance(value, str) and value in words, f"one of {', '.join(words)}")
    return value


def listed(name, value, expected):
    """The items of a list, a tuple or an array, as a list."""
    _expect(name, value, isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim), expected)
    return list(value)


def _expect(name, value, holds, expected):
    if not holds:
        text = " ".join((f"{value}" if isinstance(value, numbers.Real) else repr(value)).split())
        raise InputError(f"{name} is {text if len(text) <= 80 else text[:77] + '...'}; expected {expected}")


def _real(value):
    """The value as a float; NaN where it is no real number."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return np.nan
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _made_of(value):
    """What an array is made of, or what it is that is none."""
    kind = "a masked array" if np.ma.isMaskedArray(value) else f"an array of {getattr(value, 'dtype', '')}"
    return kind if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
