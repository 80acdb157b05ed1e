"""What the README says is so: its examples run, its table is the committed run's, and every room is named."""

import importlib
import json
import pathlib
import re
import sys

import numpy as np
import pytest

import savi
from savi.data.images import Dataset
from savi.experiments.compare import cells

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def space():
    """One namespace for all examples, which build on each other from top to bottom."""
    return {}


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_runs(number, space, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    images = Dataset("glyphs", *(rng.random((n, 784), dtype=np.float32) for n in (150, 50, 150)))
    monkeypatch.setattr(savi.data, "load", lambda name: images)
    code = EXAMPLES[number].replace("epochs=10", "epochs=1").replace("iw_samples=1000", "iw_samples=20")
    exec(compile(code, f"README example {number + 1}", "exec"), space)
    if "lam = method.infer" in code:
        assert space["lam"].shape == (100, 64)


def test_the_table_is_the_committed_runs():
    results = json.loads((ROOT / "figures" / "compare.json").read_text())
    rows = re.search(r"<!-- table -->\n(.*?)<!-- /table -->", README, re.S).group(1)
    assert rows.strip() == markdown(results).strip()


def test_the_speed_tables_are_the_committed_benchmarks():
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    import steps

    results = json.loads((ROOT / "figures" / "benchmark.json").read_text())
    tables = re.search(r"<!-- speed -->\n(.*?)<!-- /speed -->", README, re.S).group(1)
    assert tables.strip() == steps.markdown(results).strip()


@pytest.mark.parametrize("name", re.findall(r"<!-- report (\w+) -->", README))
def test_a_figures_report_is_of_its_committed_numbers(name):
    sys.path.insert(0, str(ROOT / "figures"))
    script = importlib.import_module(name)
    report = script.report(json.loads((ROOT / "figures" / f"{name}.json").read_text()))
    shown = re.search(rf"<!-- report {name} -->\n```\n(.*?)\n```\n<!-- /report -->", README, re.S).group(1)
    assert [line.rstrip() for line in shown.splitlines()] == [line.rstrip() for line in report.splitlines()]


def markdown(results):
    """The table of a comparison as the README shows it."""
    lines = cells(results)
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def test_every_room_and_every_figure_is_named():
    for path in [*(ROOT / "savi").glob("[a-z]*.py"), *(ROOT / "figures").glob("*.py")]:
        if path.name != "__init__.py":
            assert path.name in README, path.name


def test_every_picture_and_file_it_shows_is_there():
    for name in re.findall(r"\((figures/[^)]+)\)|`(figures/[^`]+)`", README):
        assert (ROOT / (name[0] or name[1])).exists(), name


def test_every_public_name_is_importable():
    for name in savi.__all__:
        assert getattr(savi, name) is not None
