"""Every lesson has the parts that a lesson has. That it runs is checked by running it (.ci/run)."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
CELL = re.compile(r"^# %%.*\n", re.M)
EVERY_LESSON = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def cells(source):
    """(is markdown, text) of every cell of a percent-format file."""
    markers = [m.group().strip() for m in CELL.finditer(source)]
    return [(marker.endswith("[markdown]"), text) for marker, text in zip(markers, CELL.split(source)[1:])]


def test_there_are_lessons():
    assert LESSONS


@EVERY_LESSON
def test_a_lesson_is_in_percent_format_and_begins_with_a_title(path):
    source = path.read_text(encoding="utf-8")
    assert CELL.split(source)[0] == "", "text before the first cell"
    assert {m.group() for m in CELL.finditer(source)} <= {"# %%\n", "# %% [markdown]\n"}
    markdown, first = cells(source)[0]
    assert markdown and re.match(r"# # \d+\. \S", first), "the first cell should be a markdown title, with the number"
    assert int(re.match(r"# # (\d+)", first).group(1)) == int(path.stem[:2])


@EVERY_LESSON
def test_markdown_cells_are_comments_and_code_cells_are_python(path):
    for markdown, text in cells(path.read_text(encoding="utf-8")):
        if markdown:
            assert all(line.startswith("#") for line in text.splitlines() if line), text
            assert text.count("$$") % 2 == 0 and text.replace("$$", "").count("$") % 2 == 0, (
                f"an open formula in\n{text}"
            )
        else:
            ast.parse(text)


@EVERY_LESSON
def test_a_lesson_uses_savi_checks_something_and_saves_its_picture(path):
    source = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(source)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert "savi" in imported
    assert any(isinstance(node, ast.Assert) for node in nodes), "no assert"
    assert "SAVI_QUICK" in source
    pictures = re.findall(r'plots\.save\(\w+, PICTURES / "([^"]+\.png)"\)', source)
    assert pictures and all(name.startswith(path.stem[:3]) for name in pictures)
    for name in pictures:
        picture = ROOT / "figures" / "lessons" / name
        assert picture.exists() and picture.stat().st_size < 200_000, f"{name}: missing, or not below 200 kB"


@EVERY_LESSON
def test_a_lesson_redefines_nothing_public_of_savi(path):
    import savi

    defined = {
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert defined & set(savi.__all__) == set()
