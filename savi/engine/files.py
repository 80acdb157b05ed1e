"""Files that are whole or absent, and the one error that a user's input can cause.

Every file savi writes goes to a temporary name in the same folder, is flushed to the disk and then renamed:
a reader sees the old file or the new one, never half of either.
"""

import contextlib
import hashlib
import json
import os
import secrets
import traceback

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one sentence: what, where, what was expected."""


def expect(name, value, holds, expected):
    """InputError "NAME is VALUE; expected EXPECTED" unless holds."""
    if not holds:
        raise InputError(f"{name} is {value}; expected {expected}")


@contextlib.contextmanager
def running(what):
    """A block that runs a user's own code, `what` by name: whatever that raises becomes an InputError with its line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)[2:]  # behind this one and the one that has the block
        at = f" ({os.path.basename(frames[0].filename)}, line {frames[0].lineno})" if frames else ""
        raise InputError(f"{what} raises {' '.join(words.split())}{at}") from error


@contextlib.contextmanager
def replacing(path):
    """A binary file to write to; it takes the name `path` when the block ends without an error.

    Missing folders are made. Raises InputError when the folder cannot be written.
    """
    temporary = f"{os.path.abspath(path)}.{secrets.token_hex(4)}.part"
    try:  # from before the file is there, so that an interrupt never leaves it
        with _created(temporary, path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def keep(path, value):
    """Write a value of JSON's kinds to a file that savi itself reads again, with a digest of what is in it."""
    with replacing(path) as file:
        file.write(json.dumps({"content": value, "sha256": _digest(value)}, indent=1).encode())


def kept(path):
    """The value that `keep` wrote to `path`. Raises Damaged where the file is not there whole, as it was written."""
    try:
        with open(path, "rb") as file:
            found = json.load(file)
        if _digest(found["content"]) == found["sha256"]:
            return found["content"]
        why = "its digest is another"
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        why = str(error) or type(error).__name__
    raise Damaged(f"cannot read {path} ({why}); expected the file as it was written")


def _digest(value):
    """Of a value as JSON would give it back."""
    text = json.dumps(json.loads(json.dumps(value)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest(*arrays):
    """A short text that arrays share only if they have the same shapes, dtypes and values."""
    found = hashlib.blake2b(digest_size=16)
    for array in map(np.ascontiguousarray, arrays):
        found.update(f"{array.shape} {array.dtype.str} ".encode())
        found.update(array.reshape(-1).view(np.uint8) if array.size else b"")
    return found.hexdigest()


class Damaged(InputError):
    """A file of savi's own that is not as it was written."""


@contextlib.contextmanager
def owned(folder):
    """A block in which `folder` is this process's alone: made where it is missing, free again when the process ends, however.

    Raises InputError where another process has it. On Windows, where folders cannot be locked, it is only made.
    """
    with _writing(folder):
        os.makedirs(folder, exist_ok=True)
    if fcntl is None:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another process works in {folder}; expected a folder that is free") from error
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def reading(path, expected):
    """A block that decodes the file at `path`: whatever a decoder raises there becomes an InputError that says so."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise InputError(f"cannot read {path} ({error or type(error).__name__}); expected {expected}") from error


def _created(temporary, path):
    """A new file under the temporary name, and the folders that it needs."""
    with _writing(path):
        os.makedirs(os.path.dirname(temporary), exist_ok=True)
        return open(temporary, "xb")


@contextlib.contextmanager
def _writing(path):
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; expected a folder you may write to"
        ) from error


def _rename(temporary, path):
    try:
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
