"""Colour images of 256 levels: glyphs in random colours (made here), CIFAR-10 and SVHN (fetched and verified).

A row is an image, float32 levels k / 255, pixel by pixel with its red, green and blue: row.reshape(shape) is a picture (H, W, 3).
What a density is asked about is `dequantized`, (k + u) / 256 with u uniform: then -log2 p of a level is at most that of the
density, plus log2 256 = 8 bits for each dimension (Theis, van den Oord & Bethge 2016), which experiments/tasks.py adds.
"""

import tarfile

import numpy as np

from ..engine.files import InputError, reading
from .dataset import Dataset
from .sources import folders, found, verified

LEVELS, SIDE, NOISE = 256, 14, 0.03  # of coloured glyphs: the side in pixels, and the noise's standard deviation
CIFAR, SVHN = "cifar-10-binary.tar.gz", ("train_32x32.mat", "test_32x32.mat")
BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)]


def dequantized(x, rng):
    """(k + u) / 256 for levels x = k / 255 of any shape, u uniform in [0, 1): a density's data, drawn anew each time."""
    return ((x * (LEVELS - 1) + rng.random(x.shape, np.float32)) / LEVELS).astype(x.dtype)


def glyphs(images):
    """The Dataset of grey images in colour: each letter in a colour of its own on another, 14x14, with noise, in 256 levels.

    images: a Dataset of 28x28 grey images, savi.data.load("glyphs"). An image's colours are drawn by its part and its place.
    """
    parts = [_coloured(part, np.random.default_rng([7, i])) for i, part in enumerate(images[1:4])]
    return Dataset(f"coloured {images.name}", *parts, (SIDE, SIDE, 3))


def _coloured(grey, rng):
    """float32 (N, 14 * 14 * 3) of grey images (N, 784)."""
    small = np.asarray(grey).reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4))[..., None]
    ink, paper = rng.random((2, len(small), 1, 1, 3), np.float32)
    x = small * ink + (1 - small) * paper
    x += np.float32(NOISE) * rng.standard_normal(x.shape, np.float32)
    return _levels(np.rint(np.clip(x, 0, 1) * (LEVELS - 1)))


def _levels(values):
    """float32 (N, M) of whole numbers 0 .. 255, an image a row."""
    return np.divide(values, LEVELS - 1, dtype=np.float32).reshape(len(values), -1)


def cifar10(folder=None):
    """CIFAR-10 (Krizhevsky 2009): 45,000 / 5,000 / 10,000 images 32x32, in file order; all parts together take 0.7 GB."""
    present = found("cifar10", folder)
    if CIFAR not in present:
        raise _missing("cifar10", CIFAR, folder)
    path = verified(present[CIFAR])
    with reading(path, "an archive of CIFAR-10's binary batches"), tarfile.open(path) as archive:
        files = {member.name.rpartition("/")[2]: member for member in archive.getmembers() if member.isfile()}
        train, test = (
            np.concatenate([_batch(archive.extractfile(files[name]).read()) for name in names])
            for names in (BATCHES, ["test_batch.bin"])
        )
    return Dataset("cifar10", train[:-5000], train[-5000:], test, (32, 32, 3))


def _batch(data):
    """float32 (N, 3072) of records of a label and the 1024 reds, greens and blues of an image."""
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + 3072)
    return _levels(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def svhn(folder=None):
    """Street View House Numbers (Netzer et al. 2011), cropped digits: 68,257 / 5,000 / 26,032 images 32x32. Needs SciPy."""
    present = found("svhn", folder)
    for file in SVHN:
        if file not in present:
            raise _missing("svhn", file, folder)
    train, test = (_mat(verified(present[file])) for file in SVHN)
    return Dataset("svhn", train[:-5000], train[-5000:], test, (32, 32, 3))


def _mat(path):
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise InputError(f"reading {path} needs scipy; expected it installed: pip install scipy") from error
    with reading(path, "a MATLAB file of X (32, 32, 3, N), bytes"):
        X = loadmat(path, variable_names=["X"])["X"]
        if X.ndim != 4 or X.shape[:3] != (32, 32, 3) or X.dtype != np.uint8:
            raise ValueError(f"X is {X.dtype} {X.shape}")
    return _levels(X.transpose(3, 0, 1, 2))


def _missing(name, file, folder):
    return InputError(
        f"no {file} in {' or '.join(folders(folder))}; expected what python -m savi data fetch {name} brings"
    )
