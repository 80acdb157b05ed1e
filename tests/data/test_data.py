"""The data room: drawing and splitting glyphs, parsing IDX, zip and MATLAB files, fetching, caching. No network."""

import gzip
import hashlib
import http.client
import io
import itertools
import os
import subprocess
import sys
import tracemalloc
import unicodedata
import urllib.error
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi.data import glyphs, sources
from savi.data import images as data
from savi.data.images import load
from savi.data.sources import Source
from savi.engine.files import InputError

REAL = os.environ.get("SAVI_DATA", "")
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
PARTS = ("train", "valid", "test")


@pytest.fixture(scope="session")
def drawn_cache(tmp_path_factory):
    """A cache folder into which the glyphs have been drawn once, and the Dataset of that first time."""
    folder = tmp_path_factory.mktemp("glyphs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAVI_CACHE", str(folder))
        return folder, load("glyphs")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No test sees or writes the user's folders, or opens a connection."""
    monkeypatch.setenv("SAVI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAVI_DATA", raising=False)
    monkeypatch.setattr(sources, "_open", lambda url: pytest.fail(f"opened {url}"))


def real(*files):
    missing = [file for file in files if not os.path.isfile(os.path.join(REAL, file))]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} in the folder $SAVI_DATA")


def refuses(expected, call, *args):
    """The message of the InputError that the call raises; it has every expected part and is one line."""
    with pytest.raises(InputError) as caught:
        call(*args)
    for part in expected:
        assert str(part) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def publish(monkeypatch, name, files, folders=()):
    """Let the public files of the data set be these {file: bytes}."""
    published = tuple(Source(file, hashlib.sha256(content).hexdigest(), folders) for file, content in files.items())
    monkeypatch.setitem(sources.SOURCES, name, published)


def put(folder, files):
    folder.mkdir(exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return folder


def rows(images):
    return {image.tobytes() for image in images}


# --- scaling


@given(st.integers(1, 40), st.integers(1, 40))
def test_area_matrix_is_the_mean_over_equal_cells(n_out, n_in):
    x = np.random.default_rng(n_out * 41 + n_in).random(n_in)
    oracle = np.kron(x, np.ones(n_out)).reshape(n_out, n_in).mean(axis=1)
    matrix = glyphs.area_matrix(n_out, n_in)
    assert matrix.shape == (n_out, n_in)
    np.testing.assert_allclose(matrix @ x, oracle, rtol=1e-12)


def test_area_scaling_of_an_image_matches_brute_force_and_preserves_the_mean():
    x = np.random.default_rng(0).random((105, 105))
    oracle = np.kron(x, np.ones((28, 28))).reshape(28, 105, 28, 105).mean(axis=(1, 3))
    scale = glyphs.area_matrix(28, 105)
    np.testing.assert_allclose(scale @ x @ scale.T, oracle, rtol=1e-12)
    np.testing.assert_allclose((scale @ x @ scale.T).mean(), x.mean(), rtol=1e-12)


def test_area_matrix_of_a_window_counts_nothing_outside():
    np.testing.assert_allclose(glyphs.area_matrix(3, 2, -2, 4) @ [1.0, 1.0], [0, 1, 0])
    np.testing.assert_allclose(glyphs.area_matrix(2, 4, 0.5, 2.5), [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]])


def test_to_bytes_has_each_level_and_sends_halves_down():
    levels = np.arange(256)
    np.testing.assert_array_equal(glyphs.to_bytes(levels / 255), levels)
    np.testing.assert_array_equal(glyphs.to_bytes(np.array([0.5, 1.5, 254.5]) / 255), [0, 1, 254])


def test_fit_puts_ink_in_the_middle_of_the_box():
    image = glyphs.fit(np.full((44, 24), 255, np.uint8))
    assert image.shape == (28, 28) and image.dtype == np.uint8
    expected = np.zeros((28, 28), int)
    expected[3:25, 8:20] = 255
    np.testing.assert_array_equal(image, expected)


# --- glyphs


def test_glyphs_are_many_distinct_grey_images(drawn_cache):
    _, glyph_set = drawn_cache
    assert glyph_set.name == "glyphs" and glyph_set.shape == (28, 28)
    for images in glyph_set[1:4]:
        assert images.shape[1:] == (784,) and images.dtype == np.float32 and images.flags.c_contiguous
        assert images.min() == 0 and images.max() == 1
    images = np.concatenate(glyph_set[1:4])
    assert 15_000 < len(images) < 30_000
    assert len(rows(images)) == len(images)
    assert images.max(axis=1).min() > 0.5, "a letter is nearly invisible"


def test_glyphs_fill_the_box_and_leave_the_margin(drawn_cache):
    images = np.concatenate(drawn_cache[1][1:4]).reshape(-1, 28, 28)
    inside = np.zeros((28, 28), bool)
    inside[3:25, 3:25] = True
    assert not images[:, ~inside].any()
    profiles = (images > 0).any(axis=1), (images > 0).any(axis=2)
    margins = np.array([(profile.argmax(axis=1), profile[:, ::-1].argmax(axis=1)) for profile in profiles])
    assert (margins.sum(axis=1).min(axis=0) <= 7).all(), "a letter does not fill the box"
    assert abs(margins[:, 0] - margins[:, 1]).max() <= 1, "a letter is off the middle"


def test_glyph_parts_share_no_character_and_no_image(drawn_cache, monkeypatch):
    folder, glyph_set = drawn_cache
    monkeypatch.setenv("SAVI_CACHE", str(folder))
    letters = data.glyph_characters()
    assert tuple(letters) == PARTS
    for (a, b), (part_a, part_b) in zip(
        itertools.combinations(glyph_set[1:4], 2), itertools.combinations(PARTS, 2), strict=True
    ):
        assert not rows(a) & rows(b)
        assert not set(letters[part_a]) & set(letters[part_b])
    count = sum(map(len, letters.values()))
    assert count > 3000 and all(unicodedata.category(c).startswith("L") for part in PARTS for c in letters[part])
    assert abs(len(letters["train"]) / count - 0.8) < 0.05
    assert abs(len(glyph_set.train) / len(np.concatenate(glyph_set[1:4])) - 0.8) < 0.05


def test_every_face_of_a_letter_is_in_the_part_of_the_letter(drawn_cache, monkeypatch):
    folder, glyph_set = drawn_cache
    monkeypatch.setenv("SAVI_CACHE", str(folder))
    part_of = {c: part for part, letters in data.glyph_characters().items() for c in letters}
    images = {part: rows(np.rint(getattr(glyph_set, part) * 255).astype(np.uint8)) for part in PARTS}
    for path in glyphs.fonts()[::4]:
        for code, ink in itertools.islice(glyphs.drawings(path), 0, None, 40):
            assert glyphs.fit(ink).tobytes() in images[part_of[chr(code)]], (path, chr(code))


def test_look_alikes_cases_and_accents_stay_together(drawn_cache, monkeypatch):
    monkeypatch.setenv("SAVI_CACHE", str(drawn_cache[0]))
    letters = data.glyph_characters()
    for family in ("AΑАaÁ", "OΟОoÖ", "cCсСĆ", "eEЕЁ", "kKК"):
        assert sum(family[0] in letters[part] for part in PARTS) == 1
        assert sum(set(family) <= set(letters[part]) for part in PARTS) == 1, family


def test_no_glyph_is_the_box_for_missing_ones(drawn_cache):
    from matplotlib import ft2font

    images = rows(np.rint(np.concatenate(drawn_cache[1][1:4]) * 255).astype(np.uint8))
    checked = 0
    for path in glyphs.fonts():
        font = ft2font.FT2Font(path)
        font.set_size(glyphs.EM, 72)
        box = glyphs._ink(font, font.load_glyph(0))
        if box.size:
            checked += 1
            assert glyphs.fit(box).tobytes() not in images
    assert checked


def test_drawing_again_gives_the_same_bits():
    path = glyphs.fonts()[0]
    first, again = (list(itertools.islice(glyphs.drawings(path), 200)) for _ in range(2))
    assert [(code, glyphs.fit(ink).tobytes()) for code, ink in first] == [
        (code, glyphs.fit(ink).tobytes()) for code, ink in again
    ]


def test_glyphs_come_from_the_cache_the_second_time(drawn_cache, monkeypatch):
    folder, first = drawn_cache
    monkeypatch.setenv("SAVI_CACHE", str(folder))
    monkeypatch.setattr(glyphs, "draw", lambda: pytest.fail("drawn again"))
    for one, other in zip(load("glyphs")[1:4], first[1:4], strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(glyphs, "fingerprint", lambda: "another matplotlib")
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        load("glyphs")


def test_fingerprint_knows_the_fonts(tmp_path, monkeypatch):
    before = glyphs.fingerprint()
    assert glyphs.fingerprint() == before
    (tmp_path / "DejaVuOther.ttf").write_bytes(b"other")
    monkeypatch.setattr(glyphs, "fonts", lambda: [str(tmp_path / "DejaVuOther.ttf")])
    assert glyphs.fingerprint() != before


def test_no_fonts_is_said(tmp_path, monkeypatch):
    import matplotlib

    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    refuses([tmp_path, "DejaVu"], glyphs.fonts)


@given(
    st.lists(st.sets(st.integers(0x41, 0x5F0).filter(lambda c: chr(c).isalpha()), min_size=1, max_size=4)), st.data()
)
def test_families_are_the_connected_letters_in_any_order(look_alikes, draw):
    family = glyphs.families(look_alikes)
    assert family == glyphs.families(draw.draw(st.permutations(look_alikes)))
    codes = set().union(*look_alikes)
    assert set(family) == codes
    for group in look_alikes:
        assert len({family[code] for code in group}) == 1
    pairs = [pair for group in look_alikes for pair in itertools.product(group, repeat=2)]
    pairs += [(a, b) for a in codes for b in codes if glyphs.base_letter(a) == glyphs.base_letter(b)]
    reached = {code: {code} for code in codes}  # brute force: grow each set until nothing can be added
    for _ in codes:
        for a, b in pairs:
            reached[a] |= reached[b]
    assert family == {code: f"U+{min(reached[code]):04X}" for code in codes}


def test_base_letter():
    assert [glyphs.base_letter(ord(c)) for c in "aAÁᴬΑ"] == ["a", "a", "a", "a", "α"]


@settings(max_examples=30)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=50), st.randoms())
def test_parts_depend_on_the_name_alone(names, random):
    parts = dict(zip(names, data._part_of(np.array(names)), strict=True))
    shuffled = random.sample(names, len(names))
    assert [parts[name] for name in shuffled] == list(data._part_of(np.array(shuffled)))


def test_parts_are_about_80_10_10():
    counts = np.bincount(data._part_of(np.array([f"name {i}" for i in range(20000)])), minlength=3)
    np.testing.assert_allclose(counts / 20000, [0.8, 0.1, 0.1], atol=0.01)


def test_a_part_is_a_share_of_the_hashes_to_the_last_bit():
    names = np.array([f"name {i}" for i in range(20000)])
    hashes = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") for name in names]
    for edges, tenths in (((0.8, 0.9), (8, 9)), ((0.9, 1.0), (9, 10))):
        expected = [sum(10 * number >= edge << 64 for edge in tenths) for number in hashes]
        np.testing.assert_array_equal(data._part_of(names, edges), expected)
    np.testing.assert_array_equal(data._part_of(names), data._part_of(names, (0.8, 0.9)))


def test_the_first_that_is_here_or_a_sentence(tmp_path, drawn_cache, monkeypatch):
    refuses(
        ["none of mnist, omniglot is here", tmp_path], lambda: data.first_present("mnist", "omniglot", folder=tmp_path)
    )
    monkeypatch.setenv("SAVI_CACHE", str(drawn_cache[0]))
    assert data.first_present("omniglot", "glyphs", folder=tmp_path).name == "glyphs"


# --- cache


def made(value=7):
    return {"images": np.full((3, 784), value, np.uint8), "groups": np.array(["a", "b", "c"])}


def cached_file(tmp_path):
    (file,) = (tmp_path / "cache").iterdir()
    return file


def test_cache_is_used_and_keyed(tmp_path):
    np.testing.assert_array_equal(data._cached("x", "key", made)["images"], made()["images"])
    again = data._cached("x", "key", lambda: pytest.fail("made again"))
    assert set(again) == {"images", "groups"}
    np.testing.assert_array_equal(again["images"], made()["images"])
    assert data._cached("x", "another key", lambda: made(8))["images"][0, 0] == 8


def _npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _rewritten(whole, **changed):
    """The file with other arrays in it, and valid checksums of its zip."""
    return _npz(**dict(np.load(io.BytesIO(whole))) | changed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"not a cache",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole.replace(bytes([7]) * 50, bytes([6]) * 50, 1),
        lambda whole: _npz(images=np.zeros((2, 784), np.uint8), groups=np.array(["a"])),
        lambda whole: _npz(images=np.zeros((3, 784), np.uint8), groups=np.array(["a", "b", "c"])),
        lambda whole: _rewritten(whole, images=np.zeros((3, 784), np.uint8)),
        lambda whole: _rewritten(whole, images=np.full((3, 784), np.nan)),
        lambda whole: _rewritten(whole, groups=np.array(["a", "b", "d"])),
        lambda whole: _rewritten(whole, digest=np.array("")),
        lambda whole: _npz(groups=np.array(["a"])),
        lambda whole: _npz(images=np.array([{}], object), groups=np.array(["a"])),
    ],
)
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    data._cached("x", "key", made)
    file = cached_file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    np.testing.assert_array_equal(data._cached("x", "key", made)["images"], made()["images"])
    data._cached("x", "key", lambda: pytest.fail("not repaired"))


def test_an_unwritable_cache_folder_is_no_obstacle(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        np.testing.assert_array_equal(data._cached("x", "key", made)["images"], made()["images"])
    assert (tmp_path / "cache").is_file()


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("SAVI_CACHE", "/chosen")
    assert data.cache_folder() == "/chosen"
    monkeypatch.delenv("SAVI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert data.cache_folder() == os.path.join("/xdg", "savi")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/someone")
    assert data.cache_folder() == os.path.join("/someone", ".cache", "savi")


# --- IDX and MNIST


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4) for n in array.shape) + array.tobytes()


def digits(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans())
def test_idx_comes_back(tmp_path_factory, shape, packed):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path_factory.mktemp("idx") / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    back = data.read_idx(path, len(shape))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, array)


GOOD = idx(digits(2))


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("empty", b"", "nothing"),
        ("short", GOOD[:9], "00000803"),
        ("text", b"<html>not found</html>", "00000803"),
        ("labels", idx(np.zeros(2000, np.uint8)), "00000803"),
        ("floats", b"\0\0\x0d\3" + GOOD[4:], "00000803"),
        ("cut", GOOD[:-1], "(2, 28, 28)"),
        ("trailing", GOOD + b"\0", "(2, 28, 28)"),
        ("header", GOOD[:16], "1584"),
        ("packed", gzip.compress(GOOD), "1f8b"),
        ("plain.gz", GOOD, "IDX"),
        ("cut.gz", gzip.compress(GOOD)[:-20], "IDX"),
        ("tail.gz", gzip.compress(GOOD) + b"tail", "IDX"),
        ("flipped.gz", gzip.compress(GOOD)[:100] + b"\xff\xff\xff" + gzip.compress(GOOD)[103:], "IDX"),
        ("empty.gz", b"", "nothing"),
    ],
)
def test_a_bad_idx_file_is_named_with_what_was_expected(tmp_path, file, content, expected):
    (tmp_path / file).write_bytes(content)
    refuses([tmp_path / file, expected], data.read_idx, tmp_path / file, 3)


def test_no_more_of_an_idx_file_is_read_than_its_header_promises(tmp_path):
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        file.write(GOOD)
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        refuses([bomb, "holds more bytes; its sizes (2, 28, 28) need 1584"], data.read_idx, bomb, 3)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packed", [False, True])
def test_sizes_that_a_file_cannot_hold_are_refused_before_anything_is_read(tmp_path, packed):
    path = tmp_path / ("huge.gz" if packed else "huge")
    huge = bytes([0, 0, 8, 3]) + b"\xff\xff\xff\xff" * 3 + bytes(100)
    path.write_bytes(gzip.compress(huge) if packed else huge)
    refuses([path, "holds at most", "(4294967295, 4294967295, 4294967295)"], data.read_idx, path, 3)


def test_zeros_pack_as_well_as_anything_can_and_are_read(tmp_path):
    array = np.zeros((2000, 28, 28), np.uint8)
    (tmp_path / "zeros.gz").write_bytes(gzip.compress(idx(array)))
    np.testing.assert_array_equal(data.read_idx(tmp_path / "zeros.gz", 3), array)


def test_an_absent_idx_file(tmp_path):
    refuses([tmp_path / "absent"], data.read_idx, tmp_path / "absent", 3)


@pytest.mark.parametrize("ending", [".gz", ""])
def test_mnist_in_full(tmp_path, monkeypatch, ending):
    train, test = digits(10_050), digits(30, seed=1)
    pack = gzip.compress if ending else bytes
    files = {TRAIN + ending: pack(idx(train)), TEST + ending: pack(idx(test))}
    publish(monkeypatch, "mnist", files)
    mnist = load("mnist", put(tmp_path / "there", files))
    assert mnist.name == "mnist" and [len(images) for images in mnist[1:4]] == [50, 10_000, 30]
    assert mnist.train.dtype == np.float32 and mnist.train.max() <= 1
    np.testing.assert_array_equal(np.rint(mnist.train * 255), train[:50].reshape(50, 784))
    np.testing.assert_array_equal(np.rint(mnist.valid * 255), train[50:].reshape(-1, 784))
    np.testing.assert_array_equal(np.rint(mnist.test * 255), test.reshape(30, 784))


def test_mnist_from_the_test_file_alone(tmp_path, monkeypatch):
    images = digits(10_000)
    files = {TEST: idx(images)}
    publish(monkeypatch, "mnist", files)
    mnist = load("mnist", put(tmp_path / "there", files))
    assert mnist.name == "mnist (10k file: 8000/1000/1000)"
    assert [len(part) for part in mnist[1:4]] == [8000, 1000, 1000]
    np.testing.assert_array_equal(np.rint(np.concatenate(mnist[1:4]) * 255), images.reshape(-1, 784))


def test_mnist_absent_or_without_its_test_file(tmp_path, monkeypatch):
    refuses([TEST, tmp_path, "data fetch mnist"], load, "mnist", tmp_path)
    files = {TRAIN: idx(digits(3))}
    publish(monkeypatch, "mnist", files)
    refuses([TEST, tmp_path], load, "mnist", put(tmp_path / "there", files))


def test_a_file_with_a_public_name_and_other_content_is_refused(tmp_path):
    put(tmp_path, {TEST + ".gz": gzip.compress(idx(digits(2)))})
    expected = next(source.digest for source in sources.SOURCES["mnist"] if source.file == TEST + ".gz")
    refuses([tmp_path / (TEST + ".gz"), "SHA-256", expected], load, "mnist", tmp_path)


def test_files_are_looked_for_in_savi_data_then_in_the_cache(tmp_path, monkeypatch):
    refuses([tmp_path / "cache"], load, "mnist")
    monkeypatch.setenv("SAVI_DATA", str(tmp_path / "mine"))
    refuses([tmp_path / "mine", tmp_path / "cache"], load, "mnist")
    files = {TRAIN: idx(digits(10_001)), TEST: idx(digits(5))}
    publish(monkeypatch, "mnist", files)
    put(tmp_path / "mine", {TEST: files[TEST]})
    put(tmp_path / "cache", {TRAIN: files[TRAIN], TEST: b"never read"})
    assert [len(images) for images in load("mnist")[1:4]] == [1, 10_000, 5]


@real(TEST + ".gz")
def test_the_real_mnist_test_file():
    mnist = load("mnist", REAL)
    first = mnist.train[0].reshape(mnist.shape)
    assert abs(np.concatenate(mnist[1:4]).mean() - 0.1325) < 1e-3 or "10k" not in mnist.name
    assert first.max() > 0.9 and first[:3].max() == 0


# --- OMNIGLOT


def png(ink):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(~ink).convert("1").save(file, "PNG")
    return file.getvalue()


def scribble(seed, size=105):
    return np.random.default_rng(seed).random((size, size)) < 0.2


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def alphabet(folder, name, characters, copies=2):
    return {
        f"{folder}/{name}/character{c:02}/{c:04}_{i:02}.png": png(scribble(zlib.crc32(f"{name} {c} {i}".encode())))
        for c in range(characters)
        for i in range(copies)
    }


def test_a_drawing_is_scaled_by_area_bright_on_black():
    ink = scribble(3)
    image = glyphs.read_drawing(png(ink))
    oracle = np.kron(ink, np.ones((28, 28))).reshape(28, 105, 28, 105).mean(axis=(1, 3)) * 255
    assert image.shape == (28, 28) and image.dtype == np.uint8
    assert abs(image - oracle).max() <= 0.5 + 1e-5
    assert glyphs.read_drawing(png(np.ones((105, 105), bool))).min() == 255


def test_omniglot_background_trains_and_evaluation_tests(tmp_path, monkeypatch):
    background, evaluation = alphabet("images_background", "Latin", 40), alphabet("images_evaluation", "Ge_ez", 7)
    files = {
        "images_background.zip": zipped(background),
        "images_evaluation.zip": zipped(evaluation),
        "images_background_small1.zip": zipped(dict(list(background.items())[:10])),
    }
    publish(monkeypatch, "omniglot", files)
    omniglot = load("omniglot", put(tmp_path / "there", files))
    assert omniglot.name.startswith("omniglot (images_background.zip, images_evaluation.zip")
    assert len(omniglot.test) == 14 and len(omniglot.train) + len(omniglot.valid) == 80
    assert 0 < len(omniglot.valid) < 20
    expected = {glyphs.read_drawing(image).tobytes() for image in evaluation.values()}
    assert rows(np.rint(omniglot.test * 255).astype(np.uint8)) == expected
    _assert_one_part_per_character(omniglot, background)


def test_omniglot_small_sets_are_split_by_character(tmp_path, monkeypatch):
    first, second = alphabet("small1", "Latin", 60, 3), alphabet("small2", "Greek", 60, 3)
    second |= dict(list(first.items())[:9])  # the two sets overlap
    extra = {"__MACOSX/small1/Latin/._x.png": b"no image", "small1/readme.txt": b"text", "small1/Latin/": b""}
    files = {
        "images_background_small1.zip": zipped(first | extra),
        "images_background_small2.zip": zipped(second),
    }
    publish(monkeypatch, "omniglot", files)
    folder = put(tmp_path / "there", files)
    omniglot = load("omniglot", folder)
    assert sum(map(len, omniglot[1:4])) == 360 and all(map(len, omniglot[1:4]))
    _assert_one_part_per_character(omniglot, first | second)
    monkeypatch.setattr(glyphs, "read_drawings", lambda paths: pytest.fail("read again"))
    for one, other in zip(load("omniglot", folder)[1:4], omniglot[1:4], strict=True):
        np.testing.assert_array_equal(one, other)


def _assert_one_part_per_character(omniglot, members):
    parts = [rows(np.rint(images * 255).astype(np.uint8)) for images in omniglot[1:4]]
    character = {}
    for name, content in members.items():
        image = glyphs.read_drawing(content).tobytes()
        (part,) = (i for i in range(3) if image in parts[i])
        assert character.setdefault(name.rpartition("/")[0].partition("/")[2], part) == part


GOOD_ZIP = zipped(alphabet("a", "b", 2))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\3\4 no zip",
        GOOD_ZIP[: len(GOOD_ZIP) // 2],
        GOOD_ZIP[:200] + bytes(50) + GOOD_ZIP[250:],
        zipped({"a/b/c/d.png": b"no image"}),
        zipped({"a/b/c/d.png": png(scribble(0))[:80]}),
        zipped({"a/b/c/d.png": png(scribble(0, size=28))}),
        zipped({"readme.txt": b"text"}),
        zipped({}),
    ],
)
def test_a_bad_zip_is_named(tmp_path, content):
    path = tmp_path / "drawings.zip"
    path.write_bytes(content)
    refuses([path, "expected"], glyphs.read_drawings, [str(path)])


def picture(kind):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(~scribble(0)).convert("L").save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("content", [
    picture("BMP"), picture("EPS"), picture("GIF"), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 105 105\n",
])  # fmt: skip
def test_a_drawing_is_a_png_whatever_its_name_says(tmp_path, content):
    (tmp_path / "drawings.zip").write_bytes(zipped({"a/b/c/d.png": content}))
    refuses(["drawings.zip", "cannot identify image"], glyphs.read_drawings, [str(tmp_path / "drawings.zip")])


def test_a_drawing_that_is_far_too_large_is_not_unpacked(tmp_path):
    (tmp_path / "drawings.zip").write_bytes(zipped({"a/b/c/d.png": bytes(1 << 24)}))
    tracemalloc.start()
    try:
        refuses(["d.png has 16777216 bytes"], glyphs.read_drawings, [str(tmp_path / "drawings.zip")])
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_omniglot_absent_or_damaged(tmp_path):
    refuses(["images_background.zip", "chardata.mat", tmp_path], load, "omniglot", tmp_path)
    (tmp_path / "images_background.zip").write_bytes(GOOD_ZIP[:100])
    refuses([tmp_path / "images_background.zip", "SHA-256", "ad41ab67"], load, "omniglot", tmp_path)


def mat(train, test, **more):
    savemat = pytest.importorskip("scipy.io", reason="chardata.mat needs scipy").savemat
    file = io.BytesIO()
    savemat(file, {"data": train, "testdata": test, **more})
    return file.getvalue()


def columns(images):
    """(784, N): the images as MATLAB stores them, columns first."""
    return np.stack([image.ravel(order="F") for image in images], axis=1)


def test_chardata_is_upright_and_its_last_1345_validate(tmp_path, monkeypatch):
    train, test = digits(1400) / 255, digits(20, seed=1) / 255
    files = {"chardata.mat": mat(columns(train), columns(test))}
    publish(monkeypatch, "omniglot", files)
    omniglot = load("omniglot", put(tmp_path / "there", files))
    assert omniglot.name == "omniglot (chardata.mat)" and omniglot.train.dtype == np.float32
    assert [len(part) for part in omniglot[1:4]] == [55, 1345, 20]
    np.testing.assert_array_equal(omniglot.test, test.reshape(20, 784).astype(np.float32))
    both = np.concatenate(omniglot[1:3])
    assert rows(both) == rows(train.reshape(1400, 784).astype(np.float32))
    assert glyphs.mixing_order(both) == list(range(1400)), "not in the order of the fixed shuffle"


def test_chardata_without_scipy(tmp_path, monkeypatch):
    files = {"images_background_small1.zip": zipped(alphabet("small1", "Latin", 30)), "chardata.mat": b"unread"}
    publish(monkeypatch, "omniglot", files)
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
    refuses(["pip install scipy"], load, "omniglot", put(tmp_path / "one", {"chardata.mat": b"unread"}))
    assert "small1" in load("omniglot", put(tmp_path / "two", files)).name


@pytest.mark.parametrize(
    "content",
    [
        lambda: b"no MATLAB file",
        lambda: mat(np.zeros((784, 5)), np.zeros((784, 2)))[:200],
        lambda: mat(np.zeros((5, 784)), np.zeros((784, 2))),
        lambda: mat(np.full((784, 5), 255.0), np.zeros((784, 2))),
        lambda: mat(np.full((784, 5), np.nan), np.zeros((784, 2))),
        lambda: mat(np.zeros((784, 5)), np.zeros((784, 2))).replace(b"testdata", b"elsedata"),
    ],
)
def test_a_bad_chardata_is_named(tmp_path, monkeypatch, content):
    pytest.importorskip("scipy.io", reason="chardata.mat needs scipy")
    files = {"chardata.mat": content()}
    publish(monkeypatch, "omniglot", files)
    folder = put(tmp_path / "there", files)
    refuses([folder / "chardata.mat", "expected"], load, "omniglot", folder)


@real("images_background_small1.zip", "images_background_small2.zip")
def test_the_real_small_omniglot_sets():
    omniglot = load("omniglot", REAL)
    images = np.concatenate(omniglot[1:4])
    assert len(rows(images)) == len(images) and len(images) >= 4840
    assert 0 < images.mean() < 0.2 and images.max() == 1


# --- fetching


class Reply(io.BytesIO):
    """What urlopen returns, of `content`; reading past `breaks` bytes raises the error."""

    def __init__(self, content, breaks=None, error=None, headers=None):
        super().__init__(content[:breaks])
        self.error = error
        self.headers = {"Content-Length": str(len(content))} if headers is None else headers

    def read(self, size=-1):
        block = super().read(size)
        if not block and self.error:
            raise self.error
        return block


CONTENT = np.random.default_rng(0).bytes(200_000)
MIRRORS = ("https://one.example/", "https://two.example/")


@pytest.fixture
def web(monkeypatch):
    """A list of replies (or errors) that _open gives in turn, and the addresses it was asked for."""
    publish(monkeypatch, "mnist", {"digits.gz": CONTENT}, MIRRORS)
    replies, asked = [], []

    def answer(url):
        asked.append(url)
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    monkeypatch.setattr(sources, "_open", answer)
    return replies, asked


def test_fetch_brings_a_file_and_reports(tmp_path, web):
    replies, asked = web
    replies.append(Reply(CONTENT))
    seen = []
    ((file, path, happened),) = data.fetch("mnist", tmp_path / "new", lambda *args: seen.append(args))
    assert (file, path) == ("digits.gz", str(tmp_path / "new" / "digits.gz")) and "fetched" in happened
    assert (tmp_path / "new" / "digits.gz").read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new") == ["digits.gz"] and asked == ["https://one.example/digits.gz"]
    assert seen[-1] == ("digits.gz", len(CONTENT), len(CONTENT)) and len(seen) > 1


def test_fetch_goes_to_the_cache_folder_and_needs_no_length(tmp_path, web):
    web[0].append(Reply(CONTENT, headers={}))
    seen = []
    data.fetch("mnist", progress=lambda *args: seen.append(args))
    assert (tmp_path / "cache" / "digits.gz").read_bytes() == CONTENT and seen[-1][2] is None


def test_fetch_skips_what_is_there_and_replaces_what_is_wrong(tmp_path, web):
    replies, asked = web
    (tmp_path / "digits.gz").write_bytes(CONTENT)
    assert data.fetch("mnist", tmp_path) == [("digits.gz", str(tmp_path / "digits.gz"), "already there")]
    assert not asked
    (tmp_path / "digits.gz").write_bytes(CONTENT[:-1])
    replies.append(Reply(CONTENT))
    data.fetch("mnist", tmp_path)
    assert (tmp_path / "digits.gz").read_bytes() == CONTENT


BREAKS = {
    "offline": lambda: urllib.error.URLError("Name or service not known"),
    "not found": lambda: urllib.error.HTTPError("https://x", 404, "Not Found", {}, None),
    "timeout": lambda: TimeoutError("timed out"),
    "reset in the middle": lambda: Reply(CONTENT, 100_000, ConnectionResetError("reset")),
    "cut in the middle": lambda: Reply(CONTENT, 100_000),
    "incomplete": lambda: Reply(CONTENT, 100_000, http.client.IncompleteRead(b"", 100_000)),
    "other content": lambda: Reply(b"<html>sign in</html>"),
}


@pytest.mark.parametrize("cause", BREAKS)
def test_a_fetch_that_fails_leaves_nothing_and_says_what_to_do(tmp_path, web, cause):
    replies, asked = web
    replies += [BREAKS[cause](), BREAKS[cause]()]
    folder = tmp_path / "new"
    digest = hashlib.sha256(CONTENT).hexdigest()
    refuses(["digits.gz", folder, "SHA-256 " + digest, *asked, MIRRORS[0], MIRRORS[1]], data.fetch, "mnist", folder)
    assert not folder.exists() or not os.listdir(folder)
    put(folder, {"digits.gz": b"as it was"})
    replies += [BREAKS[cause](), BREAKS[cause]()]
    refuses(["digits.gz"], data.fetch, "mnist", folder)
    assert os.listdir(folder) == ["digits.gz"] and (folder / "digits.gz").read_bytes() == b"as it was"


@pytest.mark.parametrize("cause", BREAKS)
def test_fetch_tries_the_second_mirror(tmp_path, web, cause):
    replies, asked = web
    replies += [BREAKS[cause](), Reply(CONTENT)]
    data.fetch("mnist", tmp_path)
    assert asked == [mirror + "digits.gz" for mirror in MIRRORS]
    assert (tmp_path / "digits.gz").read_bytes() == CONTENT


def test_fetch_interrupted_leaves_nothing(tmp_path, web):
    web[0].append(Reply(CONTENT, 100_000, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        data.fetch("mnist", tmp_path)
    assert not [file for file in os.listdir(tmp_path) if "digits" in file]


def test_fetch_into_a_place_that_is_no_folder(tmp_path, web):
    web[0].append(Reply(CONTENT))
    (tmp_path / "file").write_text("a file")
    refuses([tmp_path / "file"], data.fetch, "mnist", tmp_path / "file")


def test_fetch_checks_an_md5_where_only_that_is_published(tmp_path, web, monkeypatch):
    md5 = hashlib.md5(CONTENT).hexdigest()
    monkeypatch.setitem(sources.SOURCES, "omniglot", (Source("drawings", "md5:" + md5, MIRRORS[:1]),))
    web[0].append(Reply(CONTENT[1:]))
    refuses(["MD5 " + md5], data.fetch, "omniglot", tmp_path)
    web[0].append(Reply(CONTENT))
    data.fetch("omniglot", tmp_path)
    assert (tmp_path / "drawings").read_bytes() == CONTENT


def test_glyphs_need_no_download():
    ((name, path, happened),) = data.fetch("glyphs")
    assert (name, path) == ("glyphs", None) and "no download" in happened


# --- the rest of the edge


@pytest.mark.parametrize("call", [load, data.fetch])
def test_an_unknown_name_lists_the_known(call):
    refuses(["'cifar'", "glyphs, mnist, omniglot"], call, "cifar")


def test_the_table_of_sources_is_well_formed():
    for listed in sources.SOURCES.values():
        for source in listed:
            algorithm, _, digest = source.digest.rpartition(":")
            assert len(digest) == {"": 64, "md5": 32}[algorithm] and int(digest, 16)
            assert all(
                folder.startswith(("https://", "http://ufldl.stanford.edu/")) and folder.endswith("/")
                for folder in source.folders
            )


def test_describe_says_what_there_is_and_where(tmp_path):
    put(tmp_path / "mine", {TEST + ".gz": b"present"})
    table = data.describe(tmp_path / "mine")
    colour = ["colour-glyphs", "cifar10", "svhn"]
    assert [row[0] for row in table] == ["glyphs", "mnist", "omniglot", *colour, "docs", "ptb"]
    assert all(len(row) == 4 and all(isinstance(cell, str) and cell for cell in row) for row in table)
    assert str(tmp_path / "cache") in table[0][3]
    assert table[1][3] == str(tmp_path / "mine" / (TEST + ".gz"))
    assert table[2][3] == f"not in {tmp_path / 'mine'}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binarize_samples_with_the_grey_value_as_probability(dtype):
    grey = np.linspace(0, 1, 11).astype(dtype)
    samples = data.binarize(np.tile(grey, (20_000, 1)), np.random.default_rng(0))
    assert samples.shape == (20_000, 11) and samples.dtype == dtype
    assert set(np.unique(samples)) == {0, 1}
    np.testing.assert_allclose(samples.mean(axis=0), grey, atol=5 * 0.5 / np.sqrt(20_000))
    assert not samples[:, 0].any() and samples[:, -1].all()
    again = data.binarize(np.tile(grey, (20_000, 1)), np.random.default_rng(0))
    np.testing.assert_array_equal(samples, again)


def test_binarize_never_inks_what_is_black():
    class Lowest(np.random.Generator):
        def random(self, shape, dtype):
            return np.zeros(shape, dtype)  # the smallest number a generator can draw

    lowest = Lowest(np.random.PCG64(0))
    np.testing.assert_array_equal(data.binarize(np.float32([0, 0.5, 1]), lowest), [0, 1, 1])


def test_importing_the_room_imports_no_matplotlib():
    code = "import sys, savi.data; print({'matplotlib', 'PIL', 'scipy', 'urllib.request'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
