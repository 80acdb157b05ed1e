"""Notebooks as what they are: a kernel runs each in its quick setting, in a folder of its own, and its pictures are in it."""

import json
import os
import pathlib
import re

import pytest

from savi.course import lessons

nbformat = pytest.importorskip("nbformat", reason="needs the extra notebooks: pip install .[notebooks]")
nbclient = pytest.importorskip("nbclient", reason="needs the extra notebooks: pip install .[notebooks]")
pytest.importorskip("ipykernel", reason="needs the extra notebooks: pip install .[notebooks]")

ROOT = pathlib.Path(__file__).parents[2]
LESSONS = lessons.find("lesson")


def executed(book, folder, **environment):
    """The notebook (a dict) after its cells have run, in that folder."""
    node = nbformat.reads(json.dumps(book), as_version=4)
    nbformat.validate(node)
    client = nbclient.NotebookClient(
        node, timeout=600, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=os.environ | {"SAVI_QUICK": "1"} | environment)
    return node


def outputs(node, kind):
    """All outputs of that type."""
    return [out for cell in node.cells if cell.cell_type == "code" for out in cell.outputs if out.output_type == kind]


@pytest.mark.parametrize("n", LESSONS)
def test_a_notebook_runs_in_any_folder_where_savi_is_installed_and_shows_each_picture_once(n, tmp_path):
    source = LESSONS[n].read_text(encoding="utf-8")
    node = executed(lessons.notebook(LESSONS[n]), tmp_path, PYTHONPATH=str(ROOT))
    assert [f"{out.ename}: {out.evalue}" for out in outputs(node, "error")] == []
    images = [
        out for kind in ("display_data", "execute_result") for out in outputs(node, kind) if "image/png" in out.data
    ]
    assert len(images) == len(re.findall(r"^plots\.save\(", source, re.M)) >= 1
    assert [out.text for out in outputs(node, "stream") if out.name == "stderr" and "rror" in out.text] == []
    assert list(tmp_path.iterdir()) == [], "a notebook leaves nothing beside it"


def test_a_notebook_without_savi_says_how_to_get_it(tmp_path):
    book = lessons.notebook(LESSONS[2])
    hidden = {"cell_type": "code", "id": "first", "metadata": {}, "execution_count": None, "outputs": []}
    book["cells"].insert(0, hidden | {"source": "import sys\nsys.modules['savi'] = None"})
    (error, *_) = outputs(executed(book, tmp_path), "error")
    assert error.ename == "ModuleNotFoundError" and "pip install ." in error.evalue


def test_a_notebook_beside_its_lesson_finds_the_checkout(tmp_path):
    folder = tmp_path / "lessons"
    folder.mkdir()
    (tmp_path / "savi").mkdir()
    (tmp_path / "savi" / "__init__.py").write_text("here = True\n")
    book = lessons.notebook(LESSONS[2])
    book["cells"] = [cell for cell in book["cells"] if "".join(cell["source"]).startswith("import pathlib")][:1]
    book["cells"][0]["source"] += ["\nassert savi.here"]
    assert outputs(executed(book, folder, PYTHONPATH=str(ROOT)), "error") == []
