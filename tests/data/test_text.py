"""Text: sentences out of docstrings, documents, vocabularies, parts, caches, files of one's own. No network."""

import hashlib
import io
import os
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import savi
from savi.data import docstrings, images, sources, text
from savi.data.sources import Source
from savi.engine.files import InputError
from savi.nets.tokens import END, UNKNOWN

REAL = os.environ.get("SAVI_DATA", "")  # as it is before a test hides it

ALICE = "the quick brown fox sees the lazy dog .\na dog barks .\n\nwhat does the fox say ?\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAVI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAVI_DATA", raising=False)


def words(line):
    return tuple(line.split())


@pytest.mark.parametrize(
    "prose, found",
    [
        ("Return the shape of an array.", ["return the shape of an array ."]),
        ("Return the shape of `a`, please.", ["return the shape of <code> , please ."]),
        ("Return the first 12 of 3.5 items.", ["return the first N of N items ."]),
        (
            "Numbers like 1e-5 are small. They are few of them!",
            ["numbers like N are small .", "they are few of them !"],
        ),
        ("Call os.path.join(a, b) with two paths only.", ["call <code> with two paths only ."]),
        ("The user's snake_case name is kept as it is.", ["the user's <code> name is kept as it is ."]),
        ("lower case does not begin a sentence.", []),
        ("This one never ends", []),
        ("Too short.", []),
        ("The `a` and `b` and `c` are here.", []),  # more than a fifth is code
        (" ".join(["Very", *["long"] * 40]) + ".", []),
        (">>> print(1)\nAn example of how it works.", []),
        ("a  | b  | c\n=====\nSome words of a table.", []),
        (".. note:: This is a directive of a sort.", []),
        (":param x: The number of things to do.", []),
        (
            "A first paragraph is here.\n\nThen there is the second one.",
            ["a first paragraph is here .", "then there is the second one ."],
        ),
        ("Some things, e.g. a list, are kept.", ["some things , e.g. a list , are kept ."]),
    ],
)
def test_sentences_are_what_the_recipe_says(prose, found):
    assert docstrings.sentences(prose) == [words(line) for line in found]


def test_prose_is_found_where_it_stands_and_nothing_is_run(tmp_path):
    source = '''"""The module."""
import nothing_of_this_name
raise SystemExit
class C:
    """The class."""
    async def f(self):
        """The method."""
        "not a docstring"
add_newdoc("numpy", "abs", """
    The text that is added to a function of NumPy.
    """)
topics = {"if": "The text of a topic, long enough to be one of prose."}
other = {"if": "The text of another dictionary, long enough to be prose."}
'''
    assert docstrings.texts(source) == [
        "The module.", "The class.", "The text of a topic, long enough to be one of prose.", "The method.",
        "The text that is added to a function of NumPy.",
    ]  # fmt: skip
    for broken in ("def f(:", "x = '\0'", "", "(" * 500):
        assert docstrings.texts(broken) == []


def test_files_come_in_the_order_of_names_and_a_sentence_once(tmp_path, monkeypatch):
    found = []
    for name, prose in (
        ("b", "A sentence that two files have."),
        ("a", "A sentence that two files have."),
        ("c", "Nothing."),
    ):
        path = tmp_path / f"{name}.py"
        path.write_text(f'"""{prose}"""')
        found.append((f"{name}.py", str(path)))
    monkeypatch.setattr(docstrings, "sources", lambda: sorted(found))
    assert docstrings.read() == [("a.py", [words("a sentence that two files have .")])]


def test_the_files_are_python_of_the_library_and_of_packages_and_no_tests():
    names = [name for name, _ in docstrings.sources()]
    assert names == sorted(set(names))
    assert {
        "os.py",
        "json/__init__.py",
        "pydoc_data/topics.py",
        "numpy/__init__.pyi",
        "matplotlib/axes/_axes.py",
    } <= set(names)
    parts = {part for name in names for part in name.split("/")[:-1]}
    assert not parts & docstrings.LEFT_OUT and not any(name.startswith("scipy") for name in names)


def test_the_fingerprint_names_versions_and_the_recipe(monkeypatch):
    first = docstrings.fingerprint()
    assert f"numpy {np.__version__}" in first and "recipe" in first
    name = docstrings.cache_name()
    monkeypatch.setattr(docstrings, "RECIPE", docstrings.RECIPE + 1)
    assert docstrings.cache_name() != name


SENTENCES = [words(line) for line in ("a b c .", "d e .", "f g h i j k l .", "m .", "n o p .")]


def test_documents_are_neighbours_joined():
    assert list(text.documents(SENTENCES, 1, 100)) == SENTENCES
    assert list(text.documents(SENTENCES, 6, 8)) == [
        words("a b c . d e ."),
        words("f g h i j k l ."),
        words("m . n o p ."),
    ]
    assert list(text.documents(SENTENCES, 5, 7)) == [words("a b c . d e ."), words("m . n o p .")]


@given(st.lists(st.integers(1, 12), max_size=30), st.integers(1, 15), st.integers(0, 10))
def test_documents_have_the_lengths_asked_for_and_are_in_order(lengths, shortest, more):
    numbers = iter(range(1000))
    sentences = [tuple(str(next(numbers)) for _ in range(n)) for n in lengths]
    found = list(text.documents(sentences, shortest, shortest + more))
    assert all(shortest <= len(document) <= shortest + more for document in found)
    kept = [int(word) for document in found for word in document]
    assert kept == sorted(set(kept))
    for document in found:
        assert [int(word) for word in document] == list(range(int(document[0]), int(document[0]) + len(document)))


def test_a_vocabulary_has_the_commonest_words_and_no_rare_ones():
    documents = [words("b b b a a c c d <unk> <unk> <unk> <unk>")]
    assert text.vocabulary_of(documents, 100, 1) == (*text.MARKS, "b", "a", "c", "d")
    assert text.vocabulary_of(documents, 100, 2) == (*text.MARKS, "b", "a", "c")
    assert text.vocabulary_of(documents, 4, 1) == (*text.MARKS, "b", "a")


def test_a_document_ends_with_its_end_and_padding_follows():
    x = text.encoded([words("a q"), ("b",)], {"a": 2, "b": 3})
    np.testing.assert_array_equal(x, [[2, UNKNOWN, END], [3, END, -1]])


def test_a_file_of_ones_own_is_cut_by_lines_and_in_order(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("\n".join(f"Word {i % 3}, and the end." for i in range(50)) + "\n\n\n", encoding="utf-8")
    data = savi.data.load(f"text:{path}")
    assert [len(part) for part in (data.train, data.valid, data.test)] == [40, 5, 5]
    assert data.vocabulary == len(data.words) and data.words[:2] == text.MARKS
    assert {data.spelled(x) for x in data.train} == {f"word {i} , and the end ." for i in range(3)}
    assert data.train.dtype == np.int32 and (data.train == END).sum() == 40
    rare = text.load(f"text:{path}", min_count=100)
    assert rare.vocabulary == 2 and "100.0 % unknown" not in rare.name and rare.test.max() == UNKNOWN
    joined = text.load(f"text:{path}", shortest=10, longest=20)
    assert all(12 <= (x >= 0).sum() <= 21 for x in joined.train)


def test_a_folder_of_many_files_is_split_by_file(tmp_path):
    for i in range(60):
        (tmp_path / f"{i:02}.txt").write_text("\n".join([f"page {i} has a line ."] * 3))
    (tmp_path / ".hidden").write_bytes(b"\xff\xfe")
    (tmp_path / "folder").mkdir()
    data = text.load(f"text:{tmp_path}", min_count=1)
    sets = [{int(x[1]) for x in part} for part in (data.train, data.valid, data.test)]
    assert not sets[0] & (sets[1] | sets[2]) - {UNKNOWN} and len(data.train) + len(data.valid) + len(data.test) == 180
    assert len(data.train) > 100 and all(len(part) % 3 == 0 for part in (data.train, data.valid, data.test))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\xff\xfe\x00bad", "UTF-8"),
        (b"", "one at least"),
        (b"one line .\n", "one at least"),
        (b"\n\n \n", "one at least"),
    ],
)
def test_a_file_that_is_no_text_or_too_little_is_an_input_error(tmp_path, content, message):
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        text.load(f"text:{tmp_path / 'x.txt'}")


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("text:", {}, "docs, ptb, or text:PATH"),
        ("novels", {}, "docs, ptb, or text:PATH"),
        ("text:/no/such/file", {}, "cannot read"),
        ("docs", {"vocabulary": 2}, "vocabulary is 2"),
        ("docs", {"min_count": 0}, "min_count is 0"),
        ("docs", {"shortest": 9, "longest": 8}, "at most longest, 8"),
        ("ptb", {}, "data fetch ptb"),
    ],
)
def test_what_cannot_be_loaded_is_an_input_error(name, options, message):
    with pytest.raises(InputError, match=message):
        text.load(name, **options)


def test_docs_are_read_once_and_a_damaged_cache_is_made_again(tmp_path, monkeypatch):
    calls, line = [], words("a sentence of some words .")
    groups = [(f"{i}.py", [line, (*line[:-1], "N", ".")]) for i in range(40)]
    monkeypatch.setattr(docstrings, "read", lambda: calls.append(1) or groups)
    assert text._docs() == groups and text._docs() == groups and len(calls) == 1
    path = tmp_path / "cache" / docstrings.cache_name()
    for damage in (path.read_bytes()[:-5], b"", b"\xff", b"x\n"):
        path.write_bytes(damage)
        assert text._docs() == groups
    assert len(calls) == 5
    data = text.load("docs", shortest=6, longest=9, min_count=1)
    assert docstrings.cache_name()[5:13] in data.name and "unknown in test" in data.name


def test_the_penn_treebank_comes_from_its_archive_or_from_two_small_files(tmp_path, monkeypatch):
    lines = {part: f" {part} of it <unk> N \n" * n for part, n in (("train", 20), ("valid", 3100), ("test", 5))}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for part, content in lines.items():
            member = tarfile.TarInfo(text.PTB_INSIDE.format(part))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    content = {
        "ptb.valid.txt": lines["valid"].encode(),
        "ptb.test.txt": lines["test"].encode(),
        text.PTB_ARCHIVE: buffer.getvalue(),
    }
    published = tuple(Source(file, hashlib.sha256(data).hexdigest()) for file, data in content.items())
    monkeypatch.setitem(sources.SOURCES, "ptb", published)
    for file in ("ptb.valid.txt", "ptb.test.txt"):
        (tmp_path / file).write_bytes(content[file])
    small = text.load("ptb", tmp_path)
    assert [len(part) for part in (small.train, small.valid, small.test)] == [
        3000,
        100,
        5,
    ] and "two small" in small.name
    assert small.spelled(small.train[0]) == "valid of it <unk> N"
    (tmp_path / text.PTB_ARCHIVE).write_bytes(content[text.PTB_ARCHIVE])
    whole = images.load("ptb", tmp_path)
    assert [len(part) for part in (whole.train, whole.valid, whole.test)] == [20, 3100, 5]
    (tmp_path / text.PTB_ARCHIVE).write_bytes(b"damaged")
    with pytest.raises(InputError, match="as published"):
        text.load("ptb", tmp_path)


@pytest.mark.skipif(
    not os.path.isfile(os.path.join(REAL, "ptb.valid.txt")), reason="needs ptb.valid.txt in the folder $SAVI_DATA"
)
def test_the_real_small_files():
    data = text.load("ptb", REAL)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [3000, 370, 3761]


@given(st.text(max_size=400))
@settings(max_examples=200)
def test_any_prose_gives_sentences_of_the_recipe(prose):
    for sentence in docstrings.sentences(prose):
        assert 4 <= len(sentence) <= 40 and sentence.count("<code>") <= len(sentence) / 5
        assert all(word and " " not in word and "\n" not in word for word in sentence)
