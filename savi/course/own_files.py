"""The grader's own files: read once, verified, and looked at again when a student's process has ended.

    python -m savi.course.own_files          writes digests.json anew, after an exercise's properties were changed

A student's file can write wherever its user can. What it changes while it is graded shows in `changed`; what it changed
of the published properties before, in a run of its own perhaps, in their digests. No file is put back: it might be
somebody's work.
"""

import hashlib
import json
import pathlib

from ..engine.files import InputError, replacing
from . import lessons

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
DIGESTS = pathlib.Path(__file__).with_name("digests.json")


def folder():
    """Where the properties of all exercises lie."""
    return lessons.FOLDER / "exercises" / "properties"


def verified(path):
    """The bytes of an exercise's properties. Raises InputError where they are not the published ones of that name."""
    source = path.read_bytes()
    published = json.loads(DIGESTS.read_text()) if DIGESTS.is_file() else {}
    expected = published.get(path.name, _digest(source))  # an exercise of one's own has no digest
    if _digest(source) != expected:
        raise InputError(
            f"{path} is not as published (its SHA-256 is {_digest(source)[:12]}..., expected {expected[:12]}...): "
            f"git checkout {path} brings it back; python -m savi.course.own_files keeps a change of yours"
        )
    return source


def snapshot():
    """{path: digest} of all that grades: the properties, and the package."""
    return {path: _digest(path.read_bytes()) for path in (*folder().glob("*.py"), *PACKAGE.rglob("*.py"), *_there())}


def changed(before):
    """The paths that are not any more as they were."""
    return sorted(
        str(path) for path, digest in before.items() if not path.is_file() or _digest(path.read_bytes()) != digest
    )


def write_digests():
    """Take the properties that are there for the published ones."""
    found = {path.name: _digest(path.read_bytes()) for path in sorted(folder().glob("*.py"))}
    with replacing(DIGESTS) as file:
        file.write((json.dumps(found, indent=1) + "\n").encode())


def _there():
    return filter(pathlib.Path.is_file, [DIGESTS])


def _digest(data):
    """The SHA-256 of a text, whatever its lines end with: a checkout may choose that."""
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()


if __name__ == "__main__":
    write_digests()
