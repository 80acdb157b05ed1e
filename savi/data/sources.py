"""Where public data files come from, how they are recognised, and where they lie on this machine.

A file is looked for in the folder given, or else in $SAVI_DATA and then in the cache folder; its digest is checked
before it is read. `fetch` brings what is missing: whole and verified, or not at all.
"""

import contextlib
import hashlib
import io
import os
from typing import NamedTuple

import numpy as np

from ..engine import given
from ..engine.files import InputError, digest, reading, reason, replacing, write_arrays


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
_TORONTO = ("https://www.cs.toronto.edu/~kriz/",)
_STANFORD = ("http://ufldl.stanford.edu/housenumbers/",)
_MIKOLOV = ("https://www.fit.vutbr.cz/~imikolov/rnnlm/",)
_PTB = tuple(f"https://raw.githubusercontent.com/{user}/lstm/master/data/" for user in ("wojzaremba", "tomsercu"))
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
SOURCES = {
    "glyphs": (),
    "mnist": (
        Source(TRAIN + ".gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", _MNIST),
        Source(TEST + ".gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", _MNIST),
        Source(TRAIN, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        Source(TEST, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ),
    "omniglot": (
        Source("images_background.zip", "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640", _LAKE),
        Source("images_evaluation.zip", "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee", _LAKE),
        Source("images_background_small1.zip", "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4"),
        Source("images_background_small2.zip", "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f"),
        Source("chardata.mat", "md5:21ecaf34373511aa7691cf2e0802aa3d", _BURDA),
    ),
    "colour-glyphs": (),
    "cifar10": (Source("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530", _TORONTO),),
    "svhn": (
        Source("train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373", _STANFORD),
        Source("test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3", _STANFORD),
    ),
    "docs": (),
    "ptb": (
        Source("ptb.valid.txt", "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2", _PTB),
        Source("ptb.test.txt", "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0", _PTB),
        Source("simple-examples.tgz", "md5:30177ea32e27c525793142b6bf2c8e2d", _MIKOLOV),
    ),
}


def fetch(name, folder=None, progress=None):
    """Fetch the public files of the data set `name` into `folder` (None: the cache folder) and verify their digests.

    progress(file, done, total) is called as bytes arrive; total is None where the server does not say.
    Returns a list of (file, path, what happened). Raises InputError that says which file to put where by hand.
    """
    folder = cache_folder() if folder is None else os.fspath(folder)
    if not SOURCES[known(name)]:
        return [(name, None, "needs no download: it is made of what is installed")]
    return [_fetch(source, folder, progress or (lambda *_: None)) for source in SOURCES[name] if source.folders]


def cache_folder():
    """$SAVI_CACHE, or else savi in $XDG_CACHE_HOME or ~/.cache."""
    user = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("SAVI_CACHE") or os.path.join(user, "savi")


def cached(name, key, make, needs):
    """The dict of arrays that make() returns, those named in `needs` among them; kept in the cache folder if that works.

    A file that is not as it was written is made again: its arrays' digest stands in it.
    """
    path = os.path.join(cache_folder(), f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz")
    try:
        with np.load(path) as file:
            arrays = dict(file)
        if str(arrays.pop("digest")) == digest(*arrays.values()) and set(arrays) >= set(needs):
            return arrays
    except Exception:  # whatever is wrong with a cache, it can be made again
        pass
    arrays = make()
    with contextlib.suppress(OSError, InputError), replacing(path) as file:
        write_arrays(file, **arrays, digest=digest(*arrays.values()))
    return arrays


def _fetch(source, folder, progress):
    from http.client import HTTPException

    path, reasons = os.path.join(folder, source.file), []
    with contextlib.suppress(InputError):
        return source.file, verified(path), "already there"
    for url in (place + source.file for place in source.folders):
        try:
            data = _download(url, source, progress)
            with replacing(path) as file:
                file.write(data)
            return source.file, path, f"fetched from {url}"
        except (OSError, HTTPException) as error:
            reasons.append(f"{url}: {reason(error)}")
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
    data = b"".join(blocks)
    if (came := _digest(io.BytesIO(data), source)) != source.digest:
        raise OSError(f"{done} bytes came, with {_spelled(came)}")
    return data


def _open(url):
    from urllib.request import urlopen

    return urlopen(url, timeout=30)


def verified(path):
    """`path`, if the public file there is as published; or else InputError."""
    source = source_of(path)
    with reading(path, f"{source.file} as published"), open(path, "rb") as file:
        there = _digest(file, source)
    if there != source.digest:
        raise InputError(f"{path} has {_spelled(there)}; expected {_spelled(source.digest)}, as published")
    return path


def source_of(path):
    """The Source of the public file at `path`, by the file's name; StopIteration where no data set has one of that name."""
    return next(source for source in sum(SOURCES.values(), ()) if source.file == os.path.basename(path))


def _digest(file, source):
    """The digest of a binary file that is open, block by block, written as source.digest is."""
    if source.digest.startswith("md5:"):
        return "md5:" + hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return hashlib.file_digest(file, "sha256").hexdigest()


def _spelled(text):
    return text.replace("md5:", "MD5 ") if ":" in text else "SHA-256 " + text


def known(name):
    """`name`, if it is a data set's; or else InputError."""
    return given.one_of("the data set", name, SOURCES)


def folders(folder):
    """The folders that are looked through: `folder` alone, or where it is None those of this machine."""
    places = (os.environ.get("SAVI_DATA"), cache_folder()) if folder is None else (os.fspath(folder),)
    return [place for place in places if place]


def found(name, folder):
    """{file: path} of the public files that are there, in the order of SOURCES; the first folder that has one wins."""
    places = {source.file: [os.path.join(place, source.file) for place in folders(folder)] for source in SOURCES[name]}
    present = {file: list(filter(os.path.isfile, paths)) for file, paths in places.items()}
    return {file: paths[0] for file, paths in present.items() if paths}
