"""Files are whole or absent: an error while writing leaves the old file, and nothing else."""

import os
import stat

import numpy as np
import pytest

from savi.engine.files import InputError, reading, replacing

ERRORS = [ValueError, OSError, KeyboardInterrupt, SystemExit]


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
        np.savez(file, a=np.arange(3))
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["a"], np.arange(3))


@pytest.mark.parametrize("error, says", [
    (MemoryError(), "cannot read a.bin (MemoryError); expected it whole"),
    (ValueError("two\nlines"), "cannot read a.bin (two lines); expected it whole"),
])  # fmt: skip
def test_what_a_decoder_raises_is_said_with_a_reason(error, says):
    with pytest.raises(InputError) as caught, reading("a.bin", "it whole"):
        raise error
    assert str(caught.value) == says
