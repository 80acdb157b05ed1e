"""Data sets of 28x28 grey images: glyphs (drawn here), MNIST and OMNIGLOT (fetched from their publishers and verified).

`load` returns images; `fetch` brings the public files; `describe` lists what there is. A file is looked for in the
folder given, or else in $SAVI_DATA and then in the cache folder; its digest is checked before it is read.
"""

import contextlib
import gzip
import hashlib
import importlib.util
import math
import os
import struct
from typing import NamedTuple

import numpy as np

from savi import glyphs
from savi.files import InputError, replacing
from savi.glyphs import reading


class Dataset(NamedTuple):
    """Grey images, bright on black, in three parts.

    name says which files and which split; train, valid, test are float32 (N, 784) in [0, 1]: an image a row, its pixels
    in C order, so that train[0].reshape(shape) is a picture.
    """

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    shape: tuple = (28, 28)


class Source(NamedTuple):
    """A public file: its name; its SHA-256, or "md5:..." where only that is published; the folders it is fetched from.

    A file without folders is used where it is present and never fetched.
    """

    file: str
    digest: str
    folders: tuple = ()


_MNIST = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_LAKE = ("https://github.com/brendenlake/omniglot/raw/master/python/",)
_BURDA = ("https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/",)
_TRAIN, _TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
SOURCES = {
    "glyphs": (),
    "mnist": (
        Source(_TRAIN + ".gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", _MNIST),
        Source(_TEST + ".gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", _MNIST),
        Source(_TRAIN, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        Source(_TEST, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ),
    "omniglot": (
        Source("images_background.zip", "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640", _LAKE),
        Source("images_evaluation.zip", "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee", _LAKE),
        Source("images_background_small1.zip", "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4"),
        Source("images_background_small2.zip", "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f"),
        Source("chardata.mat", "md5:21ecaf34373511aa7691cf2e0802aa3d", _BURDA),
    ),
}
_ABOUT = {
    "glyphs": ("letters of many alphabets in 12 faces, split by letter", "about 19,200 / 2,500 / 2,000"),
    "mnist": ("handwritten digits", "50,000 / 10,000 / 10,000; from the t10k file alone 8,000 / 1,000 / 1,000"),
    "omniglot": ("handwritten characters of 50 alphabets", "23,000 / 1,345 / 8,070 (chardata.mat); 32,460 (zips)"),
}


def load(name, folder=None):
    """The Dataset `name`: "glyphs", "mnist" or "omniglot".

    glyphs    every letter of matplotlib's DejaVu fonts, about 80/10/10 by letter family (see savi.glyphs.families): no
              letter is in two parts, in any face. Takes a few seconds the first time, then it is cached.
    mnist     50,000 / 10,000 / 10,000 in file order; where only the 10,000 test images are: 8000/1000/1000 of those.
    omniglot  [Burda et al. 2016]'s chardata.mat where it and scipy are (the last 1,345 training images of a fixed
              shuffle validate); or else the drawings in the zips that are there, scaled by area: background 90/10 for
              training and validation, evaluation for testing; without one of these, 80/10/10. By character: none is in
              two parts. Either way in a fixed order that mixes alphabets.
    `folder` None means $SAVI_DATA, then the cache folder. Raises InputError when files are missing or damaged.
    """
    return {"glyphs": _glyphs, "mnist": _mnist, "omniglot": _omniglot}[_known(name)](folder)


def fetch(name, folder=None, progress=None):
    """Fetch the public files of the data set `name` into `folder` (None: the cache folder) and verify their digests.

    progress(file, done, total) is called as bytes arrive; total is None where the server does not say.
    Returns a list of (file, path, what happened). Raises InputError that says which file to put where by hand.
    """
    folder = cache_folder() if folder is None else os.fspath(folder)
    if not SOURCES[_known(name)]:
        return [(name, None, "needs no download: it is drawn from matplotlib's fonts")]
    return [_fetch(source, folder, progress or (lambda *_: None)) for source in SOURCES[name] if source.folders]


def describe(folder=None):
    """A row (name, what it is, numbers of images as train / valid / test, where its files are) for each data set."""
    return [(name, *_ABOUT[name], _where(name, folder)) for name in SOURCES]


def binarize(images, rng):
    """Samples in {0, 1} with P(1) = grey value (dynamic binarization); shape and dtype of images, floats in [0, 1]."""
    return (rng.random(images.shape, images.dtype) < images).astype(images.dtype)


def glyph_characters():
    """{"train": "...", "valid": "...", "test": "..."}: the letters whose images are in each part of glyphs."""
    drawn = _drawn_glyphs()
    part = _parts(drawn["letter_groups"])
    return {name: "".join(map(chr, drawn["letters"][part == i])) for i, name in enumerate(("train", "valid", "test"))}


def cache_folder():
    """$SAVI_CACHE, or else savi in $XDG_CACHE_HOME or ~/.cache."""
    user = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("SAVI_CACHE") or os.path.join(user, "savi")


def read_idx(path, dimensions):
    """The uint8 array in the IDX file at `path` (gzip if the name ends in .gz), which has this number of dimensions.

    Raises InputError unless the file is exactly that: mark, sizes, and as many bytes as the sizes say.
    """
    path = os.fspath(path)
    opener = gzip.open if path.endswith(".gz") else open
    with reading(path, "an IDX file, whole and readable"), opener(path, "rb") as file:
        data = file.read()
    mark, start = bytes([0, 0, 8, dimensions]), 4 + 4 * dimensions
    if data[:4] != mark or len(data) < start:
        raise InputError(f"{path} starts with {data[:start].hex() or 'nothing'}; expected {mark.hex()} and the sizes")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    if len(data) != start + math.prod(shape):
        raise InputError(f"{path} holds {len(data)} bytes; its sizes {shape} need {start + math.prod(shape)}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _glyphs(folder):
    drawn = _drawn_glyphs()
    return Dataset("glyphs", *_split(drawn["images"], _parts(drawn["groups"])))


def _drawn_glyphs():
    return _cached("glyphs", glyphs.fingerprint(), glyphs.draw)


def _mnist(folder):
    found = _found("mnist", folder)
    train, test = (found.get(file + ".gz") or found.get(file) for file in (_TRAIN, _TEST))
    if not test:
        raise _missing("mnist", _TEST + ".gz", folder)
    train, test = (path and _grey(read_idx(_verified(path), 3)) for path in (train, test))
    if train is None:
        return Dataset("mnist (10k file: 8000/1000/1000)", *np.split(test, [8000, 9000]))
    return Dataset("mnist", train[:-10000], train[-10000:], test)


def _omniglot(folder):
    found = _found("omniglot", folder)
    mat = found.pop("chardata.mat", None)
    if mat and (not found or importlib.util.find_spec("scipy")):
        return _chardata(_verified(mat))
    if not found:
        raise _missing("omniglot", "images_background.zip, images_evaluation.zip or chardata.mat", folder)
    name = f"omniglot ({', '.join(found)})"
    background, evaluation = (_drawings(found, kind) for kind in ("background", "evaluation"))
    if background and evaluation:
        train, valid, _ = _split(background["images"], _parts(background["groups"], (0.9, 1.0)))
        return Dataset(name, train, valid, _grey(evaluation["images"]))
    drawn = background or evaluation
    return Dataset(name, *_split(drawn["images"], _parts(drawn["groups"])))


def _drawings(found, kind):
    paths = [_verified(path) for file, path in found.items() if kind in file]
    key = " ".join([str(glyphs.RECIPE)] + [_source(path).digest for path in paths])
    return paths and _cached("omniglot", key, lambda: glyphs.read_drawings(paths))


def _chardata(path):
    if not importlib.util.find_spec("scipy"):
        raise InputError(f"reading {path} needs scipy; expected it installed: pip install scipy")
    from scipy.io import loadmat

    with reading(path, "a MATLAB file of data (784, N) and testdata (784, M), all in [0, 1]"):
        columns = loadmat(path, variable_names=["data", "testdata"])
        train, test = _upright(columns["data"]), _upright(columns["testdata"])
    train = train[glyphs.mixing_order(train)]
    return Dataset("omniglot (chardata.mat)", train[:-1345], train[-1345:], test)


def _upright(columns):
    """float32 (N, 784) in C order, of images that are the columns (784, N) of a matrix, in MATLAB's order."""
    if columns.ndim != 2 or len(columns) != 784 or not ((columns >= 0) & (columns <= 1)).all():
        raise ValueError(f"a matrix {columns.shape}, or values outside [0, 1]")
    return columns.T.reshape(-1, 28, 28).transpose(0, 2, 1).reshape(-1, 784).astype(np.float32)


def _grey(images):
    return np.divide(images.reshape(-1, 784), 255, dtype=np.float32)


def _split(images, parts):
    return [_grey(images[parts == i]) for i in range(3)]


def _parts(groups, edges=(0.8, 0.9)):
    """0, 1 or 2 for train, valid or test, of each group (N,) str: by a hash of its name alone, not order or seed."""
    names, index = np.unique(groups, return_inverse=True)
    hashes = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64 for name in names]
    return np.searchsorted(edges, hashes, side="right")[index]


def _cached(name, key, make):
    """The dict of arrays (images and groups among them) that make() returns; kept in the cache folder if that works."""
    path = os.path.join(cache_folder(), f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz")
    try:
        with np.load(path) as file:
            arrays = dict(file)
        if arrays["images"].shape == (len(arrays["groups"]), 784):
            return arrays
    except Exception:  # whatever is wrong with a cache, it can be made again
        pass
    arrays = make()
    with contextlib.suppress(OSError, InputError), replacing(path) as file:
        np.savez(file, **arrays)
    return arrays


def _fetch(source, folder, progress):
    from http.client import HTTPException

    path, reasons = os.path.join(folder, source.file), []
    with contextlib.suppress(InputError):
        return source.file, _verified(path), "already there"
    for url in (place + source.file for place in source.folders):
        try:
            data = _download(url, source, progress)
            with replacing(path) as file:
                file.write(data)
            return source.file, path, f"fetched from {url}"
        except (OSError, HTTPException) as error:
            reasons.append(f"{url}: {error or type(error).__name__}")
    raise InputError(
        f"cannot fetch {source.file} ({'; '.join(reasons)}); expected it from there or, put by hand, in {folder} "
        f"as {source.file} with {_spelled(source.digest)}"
    )


def _download(url, source, progress):
    """The bytes at `url`, all of them: OSError or HTTPException when they break off or have another digest."""
    blocks, done = [], 0
    with contextlib.closing(_open(url)) as reply:
        total = int(reply.headers.get("Content-Length") or 0) or None
        while block := reply.read(1 << 16):
            blocks.append(block)
            done += len(block)
            progress(source.file, done, total)
    if (digest := _digest(b"".join(blocks), source)) != source.digest:
        raise OSError(f"{done} bytes came, with {_spelled(digest)}")
    return b"".join(blocks)


def _open(url):
    from urllib.request import urlopen

    return urlopen(url, timeout=30)


def _verified(path):
    """`path`, if the public file there is as published; or else InputError."""
    source = _source(path)
    with reading(path, f"{source.file} as published"), open(path, "rb") as file:
        digest = _digest(file.read(), source)
    if digest != source.digest:
        raise InputError(f"{path} has {_spelled(digest)}; expected {_spelled(source.digest)}, as published")
    return path


def _source(path):
    return next(source for source in sum(SOURCES.values(), ()) if source.file == os.path.basename(path))


def _digest(data, source):
    """The digest of `data`, written as source.digest is."""
    if source.digest.startswith("md5:"):
        return "md5:" + hashlib.md5(data, usedforsecurity=False).hexdigest()
    return hashlib.sha256(data).hexdigest()


def _spelled(digest):
    return digest.replace("md5:", "MD5 ") if ":" in digest else "SHA-256 " + digest


def _known(name):
    if name not in SOURCES:
        raise InputError(f"no data set {name!r}; expected one of {', '.join(SOURCES)}")
    return name


def _folders(folder):
    places = (os.environ.get("SAVI_DATA"), cache_folder()) if folder is None else (os.fspath(folder),)
    return [place for place in places if place]


def _found(name, folder):
    """{file: path} of the public files that are there, in the order of SOURCES; the first folder that has one wins."""
    places = {source.file: [os.path.join(place, source.file) for place in _folders(folder)] for source in SOURCES[name]}
    present = {file: list(filter(os.path.isfile, paths)) for file, paths in places.items()}
    return {file: paths[0] for file, paths in present.items() if paths}


def _where(name, folder):
    if not SOURCES[name]:
        return f"drawn on first use, then cached in {cache_folder()}"
    return ", ".join(_found(name, folder).values()) or f"not in {' or '.join(_folders(folder))}"


def _missing(name, files, folder):
    return InputError(
        f"no {files} in {' or '.join(_folders(folder))}; expected what python -m savi data fetch {name} brings"
    )
