"""Files are whole or absent: an error while writing leaves the old file, and nothing else; what savi reads again is what it
wrote, or is refused; a folder has one owner."""

import builtins
import contextlib
import errno
import json
import os
import pathlib
import resource
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi.engine import files
from savi.engine.files import Damaged, InputError, keep, kept, owned, reading, replacing, tidy, write_arrays

ERRORS = [ValueError, KeyboardInterrupt, SystemExit]


def write(path, content):
    with replacing(path) as file:
        file.write(content)


def test_a_new_file_has_what_was_written(tmp_path):
    write(tmp_path / "new.bin", b"all of it")
    assert (tmp_path / "new.bin").read_bytes() == b"all of it"
    assert os.listdir(tmp_path) == ["new.bin"]


def test_an_old_file_is_replaced_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "old.bin"
    path.write_bytes(b"old and longer")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old and longer"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("old", [b"old", None], ids=["replacing a file", "a new file"])
def test_an_error_leaves_the_old_file_and_no_part_of_the_new(tmp_path, old, error):
    path = tmp_path / "file.bin"
    if old:
        path.write_bytes(old)
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half of the n")
        raise error
    assert os.listdir(tmp_path) == (["file.bin"] if old else [])
    assert not old or path.read_bytes() == old


def test_a_failed_rename_leaves_no_part_either(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match=r"cannot write .*file.bin: no space left"):
        write(tmp_path / "file.bin", b"new")
    assert os.listdir(tmp_path) == []


def test_a_folder_in_the_place_of_the_file_gets_a_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        write(tmp_path, b"new")


def test_the_content_is_on_the_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("replace"), replace(*names)))
    write(tmp_path / "file.bin", b"new")
    assert order == ["fsync", "replace"]


def test_missing_folders_are_made(tmp_path):
    write(tmp_path / "a" / "b" / "file.bin", b"deep")
    assert (tmp_path / "a" / "b" / "file.bin").read_bytes() == b"deep"


@pytest.mark.parametrize("as_text", [str, os.fspath, lambda path: path])
def test_a_path_may_be_relative_and_of_any_type(tmp_path, monkeypatch, as_text):
    monkeypatch.chdir(tmp_path)
    write(as_text("file.bin"), b"here")
    assert (tmp_path / "file.bin").read_bytes() == b"here"


@pytest.mark.parametrize("below", ["file.bin", "folder/file.bin"])
def test_a_file_in_the_way_of_the_folder_is_an_input_error_that_names_the_path(tmp_path, below):
    (tmp_path / "in_the_way").write_bytes(b"a file")
    path = tmp_path / "in_the_way" / below
    with pytest.raises(InputError, match=r"cannot write .*file\.bin.*expected a folder you may write to") as caught:
        write(path, b"new")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert (tmp_path / "in_the_way").read_bytes() == b"a file"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_file_has_the_permissions_that_the_users_mask_gives_any_new_file(tmp_path, mask):
    old = os.umask(mask)
    try:
        write(tmp_path / "file.bin", b"new")
        assert os.umask(mask) == mask  # and the mask is as it was
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file.bin").stat().st_mode) == 0o666 & ~mask


def test_numpy_archives_can_be_written_through_it(tmp_path):
    with replacing(tmp_path / "a.npz") as file:
        write_arrays(file, a=np.arange(3), b=np.float32(2))
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["a"], np.arange(3))
        assert set(archive) == {"a", "b"} and archive["b"].dtype == np.float32 and archive["b"] == 2


@pytest.mark.parametrize("error, says", [
    (MemoryError(), "cannot read a.bin (MemoryError); expected it whole"),
    (ValueError("two\nlines"), "cannot read a.bin (two lines); expected it whole"),
])  # fmt: skip
def test_what_a_decoder_raises_is_said_with_a_reason(error, says):
    with pytest.raises(InputError) as caught, reading("a.bin", "it whole"):
        raise error
    assert str(caught.value) == says


# --- a disk that is full ----------------------------------------------------------------------------------------------------


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("verb", ["write", "flush", "close", "fsync", "replace"])
def test_a_full_disk_is_one_sentence_and_the_old_file_is_whole(tmp_path, monkeypatch, verb):
    path, opened = tmp_path / "file.bin", builtins.open
    path.write_bytes(b"old")
    if hasattr(os, verb) and verb in ("fsync", "replace"):
        monkeypatch.setattr(os, verb, full)
    else:
        monkeypatch.setattr(builtins, "open", lambda *a: Full(opened(*a), verb) if a[1] == "xb" else opened(*a))
    with pytest.raises(InputError) as caught:
        write(path, b"new")
    assert str(caught.value) == f"cannot write {path}: {os.strerror(errno.ENOSPC)}; expected room for it"
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file.bin"]


class Full:
    """A file one of whose verbs finds no room."""

    def __init__(self, file, verb):
        self.file = file
        setattr(self, verb, full)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.file.close()
        self.close()


def limited(size, code, *arguments):
    """Python's `code` in a process whose files may not be larger than `size` bytes."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip


def test_a_file_larger_than_the_system_allows_is_one_sentence(tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(b"old")
    code = """if True:
        import sys, numpy as np
        from savi.engine.files import InputError, replacing, write_arrays
        try:
            with replacing(sys.argv[1]) as file:
                write_arrays(file, a=np.zeros(100_000))
        except InputError as error:
            print(error)
    """
    done = limited(8192, code, path)
    assert done.stdout == f"cannot write {path}: {os.strerror(errno.EFBIG)}; expected room for it\n" and not done.stderr
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file.npz"]


def test_a_notebook_for_which_there_is_no_room_is_one_sentence(tmp_path):
    code = "import sys; from savi.__main__ import main; sys.exit(main(['lesson', '03', '--notebook', '--out', sys.argv[1]]))"
    done = limited(4096, code, tmp_path / "03.ipynb")
    assert (done.returncode, done.stdout) == (2, "") and os.listdir(tmp_path) == []
    assert done.stderr.startswith("savi: cannot write ") and done.stderr.count("\n") == 1


# --- what a killed process left ---------------------------------------------------------------------------------------------


def part_of_a_killed_process(path):
    """What is left beside `path` of a process that is killed while it writes it."""
    code = """if True:
        import os, signal, sys
        from savi.engine.files import replacing
        with replacing(sys.argv[1]) as file:
            file.write(b"half of the n")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    before = set(path.parent.rglob("*"))
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -signal.SIGKILL
    (left,) = set(path.parent.rglob("*")) - before
    return left


def test_the_next_one_who_writes_a_file_removes_what_a_killed_process_left_of_it(tmp_path):
    left, other = (part_of_a_killed_process(tmp_path / name) for name in ("a[1].npz", "b.npz"))
    (tmp_path / "a[1].npz.mine.part").write_bytes(b"nothing of savi's")
    write(tmp_path / "a[1].npz", b"new")
    assert not left.exists() and sorted(os.listdir(tmp_path)) == ["a[1].npz", "a[1].npz.mine.part", other.name]


def test_parts_that_are_being_written_stay(tmp_path):
    path = tmp_path / "a.npz"
    with replacing(path) as file:
        file.write(b"the slow one's")
        write(path, b"the quick one's")
        tidy(tmp_path)
        assert len(list(tmp_path.glob("*.part"))) == 1 and path.read_bytes() == b"the quick one's"
    assert path.read_bytes() == b"the slow one's"


def test_a_folder_is_tidied_alone_or_with_all_below(tmp_path):
    (tmp_path / "run").mkdir()
    paths = tmp_path / "last.npz", tmp_path / "run" / "last.npz"
    here, below = map(part_of_a_killed_process, paths)
    for path in paths:
        keep(path, {})
    here, below = map(part_of_a_killed_process, paths)
    (tmp_path / "film.part").write_bytes(b"nothing of savi's")
    (tmp_path / "x.01234567.part").mkdir()
    tidy(tmp_path, below=False)
    assert not here.exists() and below.exists()
    tidy(tmp_path)
    assert not below.exists()
    assert {path.name for path in tmp_path.rglob("*")} == {"run", "film.part", "x.01234567.part", "last.npz"}


def test_what_is_removed_before_it_is_held_is_made_again(tmp_path, monkeypatch):
    import fcntl

    flock, seen = fcntl.flock, []

    def late(handle, operation):  # another process tidies between the file's creation and its lock
        if not seen:
            seen.extend(tmp_path.glob("*.part"))
            seen[0].unlink()
        return flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    write(tmp_path / "a.npz", b"new")
    assert len(seen) == 1 and os.listdir(tmp_path) == ["a.npz"] and (tmp_path / "a.npz").read_bytes() == b"new"


# --- what savi reads again --------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RESULT = {
    "row": {"method": "sa-vae", "neg_elbo": 123.4567890123, "seed": 0, "gap": None},
    "curve": [[0, 1.5], [1, -2e-300]],
}


@settings(max_examples=40)
@given(JSON)
def test_what_is_kept_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "kept.json"
    keep(path, value)
    assert kept(path) == value


def test_nan_is_kept_and_tuples_come_back_as_lists(tmp_path):
    keep(tmp_path / "a.json", {"x": float("nan"), "y": (1, 2)})
    found = kept(tmp_path / "a.json")
    assert found["x"] != found["x"] and found["y"] == [1, 2]


def test_every_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "kept.json"
    keep(path, RESULT)
    whole, harmless = path.read_bytes(), 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert kept(path) == RESULT
            harmless += 1
        except Damaged as error:
            assert str(path) in str(error) and "\n" not in str(error)
    assert harmless < 0.05 * 8 * len(whole)  # white space between values


@pytest.mark.parametrize("length", [0, 1, 30, -40, -1])
def test_a_part_of_a_kept_file_is_refused(tmp_path, length):
    path = tmp_path / "kept.json"
    keep(path, RESULT)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(Damaged, match="expected the file as it was written"):
        kept(path)


@pytest.mark.parametrize(
    "text", ["[1]", "3", "null", '{"content": 1}', '{"sha256": 1}', "[" * 100_000, '{"a": "\xff"}']
)
def test_other_json_is_no_kept_file(tmp_path, text):
    path = tmp_path / "kept.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Damaged, match=r"cannot read .*kept\.json"):
        kept(path)
    with pytest.raises(Damaged, match="No such file"):
        kept(tmp_path / "absent.json")


def test_a_number_that_is_a_little_larger_is_refused(tmp_path):
    path = tmp_path / "kept.json"
    keep(path, RESULT)
    found = json.loads(path.read_text())
    found["content"]["row"]["neg_elbo"] *= 1.001
    path.write_text(json.dumps(found))
    with pytest.raises(Damaged, match="its digest is another"):
        kept(path)


# --- whose a folder is ------------------------------------------------------------------------------------------------------

needs_locks = pytest.mark.skipif(files.fcntl is None, reason="folders cannot be locked on this system")


@needs_locks
def test_a_folder_has_one_owner_at_a_time_and_is_free_again_after_an_error(tmp_path):
    folder = tmp_path / "new" / "folder"
    with pytest.raises(ZeroDivisionError), owned(folder):
        assert folder.is_dir()
        with pytest.raises(InputError, match=r"another process works in .*folder; expected a folder that is free"):
            with owned(folder):
                raise AssertionError
        with owned(tmp_path / "another"):
            raise ZeroDivisionError
    with owned(folder):
        assert os.listdir(folder) == []  # nothing is left in it to say so


@needs_locks
def test_a_folder_of_a_process_that_was_killed_is_free(tmp_path):
    code = f"""
import os, signal
from savi.engine.files import owned
with owned({str(tmp_path)!r}):
    print("mine", flush=True)
    input()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    home = pathlib.Path(files.__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=home, **pipes) as other:
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(InputError, match="another process"), owned(tmp_path):
            raise AssertionError
        other.kill()
        other.wait()
        with owned(tmp_path):
            pass


def test_where_folders_cannot_be_locked_they_are_only_made(tmp_path, monkeypatch):
    class Locks:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(*_):
            raise OSError("Bad file descriptor")  # as a network file system may say

    for locks in (Locks, None):
        monkeypatch.setattr(files, "fcntl", locks)
        with owned(tmp_path / "a"), owned(tmp_path / "a"):
            assert (tmp_path / "a").is_dir()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"), owned(tmp_path / "file" / "out"):
        raise AssertionError


def test_a_kept_file_that_took_anothers_place_is_seen(tmp_path):
    path = tmp_path / "kept.json"
    keep(path, RESULT, "vae")
    assert kept(path, "vae") == kept(path) == RESULT
    with pytest.raises(Damaged, match=r"kept\.json \(it is of vae\); expected the file as it was written"):
        kept(path, "svi")
    path.write_text(path.read_text().replace('"of": "vae"', '"of": "svi"'))
    with pytest.raises(Damaged, match="its digest is another"):
        kept(path, "svi")
