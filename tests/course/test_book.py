"""The book: what is gathered for it, what its pages say of the code, and the whole of it, built without running lessons."""

import ast
import hashlib
import importlib.util
import re

import pytest

from savi.__main__ import main
from savi.course import book, lessons, pages
from savi.engine.files import InputError

BOOK = lessons.FOLDER / "book"
ELSEWHERE = re.compile(r"""(?:src|href)=["']?(?:https?:)?//[^"'>]*|url\(["']?https?:[^)]*|@import[^;]*http[^;]*""")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The gathered sources."""
    folder = tmp_path_factory.mktemp("book") / "source"
    book.gather(folder)
    return folder


def test_lessons_are_in_the_book_as_they_are(source):
    for path in lessons.find("lesson").values():
        assert (source / "lessons" / path.name).read_bytes() == path.read_bytes()


def test_every_link_of_a_page_leads_to_a_file_of_the_book(source):
    for page in source.rglob("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path = target.partition("#")[0]
            assert not path or path.startswith("http") or (page.parent / path).exists(), (page, target)


def test_what_did_not_change_is_not_written_again_and_what_is_gone_goes(source):
    (source / "lessons" / "99_gone.py").write_text("")
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*") if path.is_file()}
    book.gather(source)
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*") if path.is_file()} == {
        path: time for path, time in before.items() if path.stem != "99_gone"
    }


def test_every_lesson_and_exercise_has_its_row_in_the_course():
    text = (BOOK / "course.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d) \| \[.*\]\(\.\./(\S+)\)[^|]*\| [^|]+\| (\d+) \| ([^|]*) \|$", text, re.M)
    assert {(int(n), name) for n, name, *_ in rows} == {(n, path.name) for n, path in lessons.find("lesson").items()}
    for n, _, minutes, exercise in rows:
        assert 10 <= int(minutes) <= 120
        assert (exercise == f"`python -m savi check {n}`") == (int(n) in lessons.find("exercise")), n


def test_three_written_questions_for_each_lesson():
    text = (BOOK / "teaching.md").read_text(encoding="utf-8")
    asked = re.findall(r"^\*\*(\d\d), ([abc])\.\*\* .+ \*.+\*$", text, re.M)  # the answer is in italics
    assert [(int(n), letter) for n, letter in asked] == [
        (n, letter) for n in lessons.find("lesson") for letter in "abc"
    ]


def test_the_api_has_every_public_thing_of_every_room_in_its_own_words():
    text = "".join(map(pages.api, pages.WINGS)) + pages.beside()
    for path in pages.PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and path.name != "__main__.py" and path.parent != pages.PACKAGE:
                assert f"### {node.name}\n" in text, f"{path}: {node.name}"
                assert (ast.get_docstring(node) or "") in text
    assert set(pages.WINGS) == {path.parent.name for path in pages.PACKAGE.glob("*/__init__.py")}
    assert "class MLP(sizes" in text and "gradient(self, " in text


def test_mathjax_is_the_published_one_and_asks_nobody(tmp_path, monkeypatch):
    assert hashlib.sha256(book.mathjax()).hexdigest() == book.MATHJAX
    assert (BOOK / "mathjax" / "tex-svg.js.xz").stat().st_size < 600_000
    monkeypatch.setattr(book, "MATHJAX", "0")
    with pytest.raises(InputError, match="is not MathJax"):
        book.mathjax()


def test_the_letters_of_the_equations_are_in_the_glossary():
    glossary, equations = ((BOOK / name).read_text(encoding="utf-8") for name in ("glossary.md", "equations.md"))
    for letter in re.findall(r"^\| ([^|]+) \|", equations.partition("## The equations")[0], re.M)[2:]:
        for word in re.findall(r"[a-zA-Z_]+", letter):
            assert re.search(rf"\b{word}\b", glossary), word


def test_without_the_extra_one_sentence_says_what_is_missing(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("furo", "myst_nb") else found(name))
    monkeypatch.setattr(book, "NEEDS", {"furo": "furo", "myst_nb": "myst-nb", "json": "json"})
    assert main(["book"]) == 2
    assert capsys.readouterr().err == (
        "savi: the book needs furo, myst-nb; expected the extra book: pip install .[book]\n"
    )


@pytest.mark.skipif(
    any(importlib.util.find_spec(module) is None for module in book.NEEDS),
    reason="needs the extra book: pip install .[book]",
)
def test_a_draft_is_built_without_a_warning_and_asks_no_other_host(tmp_path, capsys):
    assert main(["book", "--draft", "--out", str(tmp_path)]) == 0
    index = tmp_path / "html" / "index.html"
    assert capsys.readouterr().out.splitlines()[-1] == str(index) and index.exists()
    html = list((tmp_path / "html").rglob("*.html"))
    assert len(html) > 30 and (tmp_path / "html" / "_static" / "tex-svg.js").exists()
    for path in [*html, *(tmp_path / "html").rglob("*.css")]:
        for found in ELSEWHERE.findall(path.read_text(encoding="utf-8")):
            assert found.startswith("href="), f"{path}: {found}"
    for path in lessons.find("lesson").values():
        text = (tmp_path / "html" / "lessons" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert text.count("\\[") == path.read_text(encoding="utf-8").count("$$") / 2, (
            f"{path.stem}: a formula is not one"
        )
    page = (tmp_path / "html" / "lessons" / "book" / "surface.html").read_text(encoding="utf-8")
    assert '<canvas id="map"' in page and 'src="../../_static/surface.js"' in page and "_static/book.css" in page
    assert (tmp_path / "html" / "_static" / "surface.js").read_bytes().startswith(b'const DATA = {"spacing":0.2,')
    lesson = (tmp_path / "html" / "lessons" / "03_svi.html").read_text(encoding="utf-8")
    carrying_on = (tmp_path / "html" / "lessons" / "book" / "contributing.html").read_text(encoding="utf-8")
    assert re.search(r'<img alt="The wings as boxes[^>]*house\.svg"', carrying_on)
    assert "Minutes: about 45" in lesson and "savi.SVI" in lesson
    assert '<span class="pre">check</span> <span class="pre">03</span>' in lesson
