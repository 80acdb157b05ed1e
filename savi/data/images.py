"""Data sets of 28x28 grey images: glyphs (drawn here), MNIST and OMNIGLOT (fetched from their publishers and verified).

`load` returns images; `fetch` (sources.py) brings the public files; `describe` lists what there is.
"""

import gzip
import hashlib
import importlib.util
import math
import os
import struct

import numpy as np

from ..engine.files import InputError, reading
from . import colour, glyphs
from .dataset import Dataset, binarize
from .sources import SOURCES, TEST, TRAIN, cache_folder, cached, fetch, folders, found, known, source_of, verified

__all__ = [
    "Dataset",
    "binarize",
    "cache_folder",
    "describe",
    "fetch",
    "first_present",
    "glyph_characters",
    "load",
    "read_idx",
]


SHAPE = (28, 28)  # of an image: a row of a part holds its pixels in C order
DEFLATED = 1032  # bytes that a byte of a gzip file can stand for, at most

_ABOUT = {
    "glyphs": ("letters of many alphabets in 12 faces, split by letter", "about 19,200 / 2,500 / 2,000"),
    "mnist": ("handwritten digits", "50,000 / 10,000 / 10,000; from the t10k file alone 8,000 / 1,000 / 1,000"),
    "omniglot": ("handwritten characters of 50 alphabets", "23,000 / 1,345 / 8,070 (chardata.mat); 32,460 (zips)"),
    "colour-glyphs": ("the same letters, 14x14, in random colours on random colours, with noise", "as glyphs"),
    "cifar10": ("small colour photographs", "45,000 / 5,000 / 10,000"),
    "svhn": ("house numbers in colour", "68,257 / 5,000 / 26,032; read with SciPy"),
    "docs": ("English documents of 24 to 40 words out of docstrings, split by file", "about 10,000 / 900 / 950"),
    "ptb": (
        "English sentences of the Penn Treebank",
        "42,068 / 3,370 / 3,761; from two small files 3,000 / 370 / 3,761",
    ),
}


def load(name, folder=None):
    """The Dataset `name`: "docs", "ptb" or "text:PATH", as text.load gives it; "glyphs", "mnist" or "omniglot": grey images, bright
    on black, float32 (N, 784) in [0, 1]; "colour-glyphs", "cifar10" or "svhn": colour images in levels k / 255 (see colour.py).

    glyphs    every letter of matplotlib's DejaVu fonts, about 80/10/10 by letter family (see savi.data.glyphs.families): no
              letter is in two parts, in any face. Takes a few seconds the first time, then it is cached.
    mnist     50,000 / 10,000 / 10,000 in file order; where only the 10,000 test images are: 8000/1000/1000 of those.
    omniglot  [Burda et al. 2016]'s chardata.mat where it and scipy are (the last 1,345 training images of a fixed
              shuffle validate); or else the drawings in the zips that are there, scaled by area: background 90/10 for
              training and validation, evaluation for testing; without one of these, 80/10/10. By character: none is in
              two parts. Either way in a fixed order that mixes alphabets.
    `folder` None means $SAVI_DATA, then the cache folder. Raises InputError when files are missing or damaged.
    """
    if str(name).startswith("text:"):
        return _text(name, folder)
    return _LOADERS[known(name)](folder)


def first_present(*names, folder=None):
    """The Dataset of the first name whose files are here; glyphs always are. Raises InputError where none is."""
    for name in names:
        if not SOURCES[known(name)] or found(name, folder):
            return load(name, folder)
    raise InputError(f"none of {', '.join(names)} is here; expected their files in {' or '.join(folders(folder))}")


def describe(folder=None):
    """A row (name, what it is, numbers of examples as train / valid / test, where its files are) for each data set."""
    return [(name, *_ABOUT[name], _where(name, folder)) for name in SOURCES]


def glyph_characters():
    """{"train": "...", "valid": "...", "test": "..."}: the letters whose images are in each part of glyphs."""
    drawn = _drawn_glyphs()
    part = _part_of(drawn["letter_groups"])
    return {name: "".join(map(chr, drawn["letters"][part == i])) for i, name in enumerate(("train", "valid", "test"))}


def read_idx(path, dimensions):
    """The uint8 array in the IDX file at `path` (gzip if the name ends in .gz), which has this number of dimensions.

    Raises InputError unless the file is exactly that: mark, sizes, and as many bytes as the sizes say. More are not read,
    and none where the file is too small to hold them.
    """
    path = os.fspath(path)
    opener, ratio = (gzip.open, DEFLATED) if path.endswith(".gz") else (open, 1)
    mark, start = bytes([0, 0, 8, dimensions]), 4 + 4 * dimensions
    with reading(path, "an IDX file, whole and readable"), opener(path, "rb") as file:
        head = file.read(start)
        if head[:4] != mark or len(head) < start:
            raise InputError(f"{path} starts with {head.hex() or 'nothing'}; expected {mark.hex()} and the sizes")
        shape = struct.unpack(f">{dimensions}I", head[4:])
        size, most = math.prod(shape), ratio * os.path.getsize(path)
        data = file.read(size + 1) if size <= most else b""
    if len(data) != size:
        holds = f"at most {most}" if size > most else f"{start + len(data)}" if len(data) < size else "more"
        raise InputError(f"{path} holds {holds} bytes; its sizes {shape} need {start + size}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _text(name, folder):
    from . import text

    return text.load(name, folder)


def _glyphs(folder):
    drawn = _drawn_glyphs()
    return _images("glyphs", *_split(drawn["images"], _part_of(drawn["groups"])))


def _drawn_glyphs():
    return _cached("glyphs", glyphs.fingerprint(), glyphs.draw)


def _mnist(folder):
    present = found("mnist", folder)
    train, test = (present.get(file + ".gz") or present.get(file) for file in (TRAIN, TEST))
    if not test:
        raise _missing("mnist", TEST + ".gz", folder)
    train, test = (path and _grey(read_idx(verified(path), 3)) for path in (train, test))
    if train is None:
        return _images("mnist (10k file: 8000/1000/1000)", *np.split(test, [8000, 9000]))
    return _images("mnist", train[:-10000], train[-10000:], test)


def _omniglot(folder):
    present = found("omniglot", folder)
    mat = present.pop("chardata.mat", None)
    if mat and (not present or importlib.util.find_spec("scipy")):
        return _chardata(verified(mat))
    if not present:
        raise _missing("omniglot", "images_background.zip, images_evaluation.zip or chardata.mat", folder)
    name = f"omniglot ({', '.join(present)})"
    background, evaluation = (_drawings(present, kind) for kind in ("background", "evaluation"))
    if background and evaluation:
        train, valid, _ = _split(background["images"], _part_of(background["groups"], (0.9, 1.0)))
        return _images(name, train, valid, _grey(evaluation["images"]))
    drawn = background or evaluation
    return _images(name, *_split(drawn["images"], _part_of(drawn["groups"])))


def _drawings(present, kind):
    paths = [verified(path) for file, path in present.items() if kind in file]
    key = " ".join([str(glyphs.RECIPE)] + [source_of(path).digest for path in paths])
    return paths and _cached("omniglot", key, lambda: glyphs.read_drawings(paths))


def _chardata(path):
    if not importlib.util.find_spec("scipy"):
        raise InputError(f"reading {path} needs scipy; expected it installed: pip install scipy")
    from scipy.io import loadmat

    with reading(path, "a MATLAB file of data (784, N) and testdata (784, M), all in [0, 1]"):
        columns = loadmat(path, variable_names=["data", "testdata"])
        train, test = _upright(columns["data"]), _upright(columns["testdata"])
    train = train[glyphs.mixing_order(train)]
    return _images("omniglot (chardata.mat)", train[:-1345], train[-1345:], test)


def _upright(columns):
    """float32 (N, 784) in C order, of images that are the columns (784, N) of a matrix, in MATLAB's order."""
    if columns.ndim != 2 or len(columns) != 784 or not ((columns >= 0) & (columns <= 1)).all():
        raise ValueError(f"a matrix {columns.shape}, or values outside [0, 1]")
    return columns.T.reshape(-1, 28, 28).transpose(0, 2, 1).reshape(-1, 784).astype(np.float32)


def _images(name, train, valid, test):
    return Dataset(name, train, valid, test, SHAPE)


def _grey(images):
    return np.divide(images.reshape(-1, 784), 255, dtype=np.float32)


def _split(images, part):
    return [_grey(images[part == i]) for i in range(3)]


def _part_of(groups, edges=(0.8, 0.9)):
    """0, 1 or 2 for train, valid or test, of each group (N,) str: by a hash of its name alone, not order or seed."""
    names, index = np.unique(groups, return_inverse=True)
    hashes = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64 for name in names]
    return np.searchsorted(edges, hashes, side="right")[index]


def _cached(name, key, make):
    return cached(name, key, make, ("images", "groups"))


def _where(name, folder):
    if not SOURCES[name]:
        return f"made on first use, then cached in {cache_folder()}"
    return ", ".join(found(name, folder).values()) or f"not in {' or '.join(folders(folder))}"


def _missing(name, files, folder):
    return InputError(
        f"no {files} in {' or '.join(folders(folder))}; expected what python -m savi data fetch {name} brings"
    )


_LOADERS = {  # by name: what gives the Dataset, of a folder
    "glyphs": _glyphs,
    "mnist": _mnist,
    "omniglot": _omniglot,
    "colour-glyphs": lambda folder: colour.glyphs(_glyphs(folder)),
    "cifar10": colour.cifar10,
    "svhn": colour.svhn,
    "docs": lambda folder: _text("docs", folder),
    "ptb": lambda folder: _text("ptb", folder),
}
