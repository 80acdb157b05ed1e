"""Files that are whole or absent, and the one error that a user's input can cause.

Every file savi writes goes to a temporary name in the same folder, is flushed to the disk and then renamed:
a reader sees the old file or the new one, never half of either. What a killed process left under such a name is removed
by the next one that writes the file, or that owns the folder.
"""

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import secrets
import time
import traceback
import zipfile

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

    Missing folders are made. Raises InputError where it cannot be written: no such folder, a full disk.
    """
    temporary = f"{os.path.abspath(path)}.{secrets.token_hex(4)}.part"
    try:  # from before the file is there, so that an interrupt never leaves it
        with writing(path), contextlib.ExitStack() as held:
            os.makedirs(os.path.dirname(temporary), exist_ok=True)
            _remove_parts(os.path.dirname(temporary), glob.escape(os.path.basename(path)))
            with _created(temporary) as file:
                if fcntl:  # its lock lasts until it has its name
                    held.callback(os.close, os.dup(file.fileno()))
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def tidy(folder, below=True):
    """Remove the parts of files that killed processes left in `folder`, and below it; those that are being written stay."""
    _remove_parts(folder, os.path.join("**", "*") if below else "*")


def _remove_parts(folder, of):
    for part in glob.glob(os.path.join(glob.escape(folder), of + ".*.part"), recursive=True):
        if re.search(r"\.[0-9a-f]{8}\.part$", part):
            with contextlib.suppress(OSError):  # it is held, or gone by now
                _remove(part)


def _remove(part):
    """Remove a part that no process holds."""
    if fcntl is None:  # Windows removes no file that is open
        os.unlink(part)
        return
    lock = os.open(part, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(part)
    finally:
        os.close(lock)


def write_arrays(file, **arrays):
    """Write what np.load reads as an .npz: on a full disk np.savez of NumPy 2.0 leaves an archive that it cannot close."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def keep(path, value, of=None):
    """Write a value of JSON's kinds to a file that savi itself reads again, with a digest of it, and of what it is `of`."""
    with replacing(path) as file:
        named = json.loads(json.dumps({"content": value} | ({} if of is None else {"of": of})))  # as it will be read
        file.write(json.dumps(named | {"sha256": _digest(_signed(named))}, indent=1).encode())


def _signed(named):
    """What a file's digest is of: its content, with what that is of where it says so."""
    return [named["content"], named["of"]] if "of" in named else named["content"]


def kept(path, of=None):
    """The value that `keep` wrote to `path`. Raises Damaged where the file is not there whole, as it was written; or where it
    is not `of` that, if that is told."""
    try:
        with open(path, "rb") as file:
            found = json.load(file)
        if _digest(_signed(found)) != found["sha256"]:
            why = "its digest is another"
        elif of not in (None, found.get("of")):
            why = f"it is of {found.get('of')}"
        else:
            return found["content"]
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        why = str(error) or type(error).__name__
    raise Damaged(f"cannot read {path} ({why}); expected the file as it was written")


def _digest(value):
    """Of a value that JSON gave."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digest(*arrays):
    """A short text that arrays share only if they have the same shapes, dtypes and values."""
    found = hashlib.blake2b(digest_size=16)
    for array in map(np.ascontiguousarray, arrays):
        found.update(f"{array.shape} {array.dtype.str} ".encode())
        found.update(array.reshape(-1).view(np.uint8) if array.size else b"")
    return found.hexdigest()


class Damaged(InputError):
    """A file of savi's own that is not as it was written."""


PATIENCE = 10.0  # seconds in which a process that was killed just now has ended


@contextlib.contextmanager
def owned(folder, patience=0.0):
    """A block in which `folder` is this caller's alone: made where it is missing, free again when the process ends, however.

    Raises InputError where another process, or another thread, has it for longer than `patience` seconds. On Windows, and on a
    file system where folders cannot be locked, it is only made.
    """
    with writing(folder):
        os.makedirs(folder, exist_ok=True)
        lock = None if fcntl is None else os.open(folder, os.O_RDONLY)
    if lock is None:
        yield
        return
    try:
        _lock(lock, folder, patience)
        yield
    finally:
        os.close(lock)


def _lock(lock, folder, patience):
    until = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise InputError(f"another process works in {folder}; expected a folder that is free") from error
            time.sleep(0.05)
        except OSError:  # a file system without locks
            return None


@contextlib.contextmanager
def reading(path, expected):
    """A block that decodes the file at `path`: whatever a decoder raises there becomes an InputError that says so."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise InputError(f"cannot read {path} ({reason(error)}); expected {expected}") from error


def reason(error):
    """What an exception says, in one line: its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def _created(temporary):
    """A new file under the temporary name, held by this process until it is closed."""
    while True:
        file = open(temporary, "xb")
        if fcntl is None:
            return file
        with contextlib.suppress(OSError):  # a file system that has no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # nobody has tidied it away before it was held
            return file
        file.close()


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def writing(path):
    """A block that writes to `path`, a file or a folder: what the system says against it becomes an InputError."""
    try:
        yield
    except OSError as error:
        expected = "room for it" if error.errno in NO_ROOM else "a folder you may write to"
        raise InputError(f"cannot write {path}: {error.strerror or error}; expected {expected}") from error
