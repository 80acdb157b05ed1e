"""The folder of a job's results: the one that the user names, or the first of a row that is free, made for this job alone."""

import contextlib
import itertools
import os

from .files import InputError, expect, writing


@contextlib.contextmanager
def for_results(named, default, resume=False):
    """A block that has the path of its folder: `named` (--out), or where that is None a new one of DEFAULT, DEFAULT-2, ...

    A new one is made here, so that no other process gets it, and is gone again where nothing came into it. With `resume` it is
    the last of the row. Raises InputError on a name that is empty, and with `resume` where there is no such folder.
    """
    expect("--out", repr(named), named is None or named.strip(), "a folder")
    if resume:
        yield existing(named or [default, *itertools.takewhile(os.path.isdir, _numbered(default))][-1])
    elif named:
        yield named
    else:
        made = _made(default)
        try:
            yield made
        finally:
            with contextlib.suppress(OSError):  # there is something in it
                os.rmdir(made)


def existing(folder):
    """The folder, where there is one to go on with; or else InputError."""
    if not os.path.isdir(folder):
        raise InputError(f"there is no folder {folder} to go on with; expected one, or no --resume")
    return folder


def _made(folder):
    with writing(folder):
        os.makedirs(os.path.dirname(os.path.abspath(folder)), exist_ok=True)
        for name in _numbered(folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name)
                return name


def _numbered(folder):
    return itertools.chain([folder], (f"{folder}-{n}" for n in itertools.count(2)))
