"""What the scripts of figures/ share: the main program, where a lesson's pictures go, and the models of the sources."""

import ast
import importlib
import json
import pathlib
import re
import sys

import numpy as np
import pytest

import savi
from savi import plots
from savi.experiments import figures
from savi.inference.iterative import Data, Error, Gradient

ROOT = pathlib.Path(savi.__file__).parents[1]
SCRIPTS = sorted((ROOT / "figures").glob("*.py"))
sys.path.insert(0, str(ROOT / "figures"))


def draw(results):
    fig, axes = plots.figure()
    axes[0].plot(results["y"])
    return fig


def run(monkeypatch, path, compute, *arguments):
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    figures.script(str(path), compute, draw, lambda results: f"report of {results['y']}")


def test_a_script_computes_draws_and_reports_and_draws_again_from_its_json(tmp_path, monkeypatch, capsys):
    path, calls = tmp_path / "some_figure.py", []
    run(monkeypatch, path, lambda: calls.append(0) or {"y": [1, 2]})
    assert json.loads((tmp_path / "some_figure.json").read_text()) == {"y": [1, 2]}
    first = (tmp_path / "some_figure.png").read_bytes()
    run(monkeypatch, path, lambda: calls.append(0), "--draw")
    assert (tmp_path / "some_figure.png").read_bytes() == first and len(calls) == 1
    assert capsys.readouterr().out == 2 * "report of [1, 2]\n"


def test_a_script_has_two_sizes_where_compute_takes_one(tmp_path, monkeypatch):
    sizes = []

    def compute(full):
        sizes.append(full)
        return {"y": [0]}

    run(monkeypatch, tmp_path / "a.py", compute)
    run(monkeypatch, tmp_path / "a.py", compute, "--full", "--out", str(tmp_path / "b"))
    assert sizes == [False, True] and (tmp_path / "b.png").exists()
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path / "a.py", lambda: {"y": [0]}, "--full")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_imports_no_other_and_builds_objects(path):
    source = path.read_text()
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name for node in nodes for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]}
    assert names & {other.stem for other in SCRIPTS} == set() and "savi.experiments.compare" not in names
    assert re.search(r"^    script\(__file__, compute, draw", source, re.M)


CLAIMING = [path.stem for path in SCRIPTS if "\ndef claims(results):" in path.read_text()]


@pytest.mark.parametrize("name", CLAIMING)
def test_claims_are_rows_with_numbers_and_a_verdict(name):
    results = json.loads((ROOT / "figures" / f"{name}.json").read_text())
    found = importlib.import_module(name).claims(results)
    assert found and all(type(claim) is figures.Claim for claim in found)
    for claim in found:
        assert claim.verdict in figures.VERDICTS and claim.source.startswith("[")
        assert claim.claim and claim.scale and re.search(r"\d", claim.epochs + claim.seconds)
        assert not re.search(r"[|\n]|\bnan\b|\binf\b", " ".join(claim)), claim


def test_a_norm_falls_until_its_first_step_that_is_not_certain():
    import li_table1 as script

    rng = np.random.default_rng(0)
    values = np.array([100, 50, 30, 29, 29, 20]) + rng.normal(0, 0.1, (5, 1)) + rng.normal(0, 0.01, (5, 6))
    assert script.falls_until(values) == 3
    assert script.falls_until(-values) == 0 and script.falls_until(values[:, :3]) == 2
    np.testing.assert_allclose(script.improvement(np.array([[9.0, 8.0, 6.0]])), [[0, 25]])


@pytest.mark.parametrize("quick", ["", "1"])
def test_a_quick_lesson_spares_the_pictures_of_the_book(monkeypatch, quick):
    monkeypatch.setenv("SAVI_QUICK", quick)
    is_quick, pictures = figures.lesson()
    assert is_quick == bool(quick) and pictures.is_dir()
    assert (pictures == ROOT / "figures" / "lessons") == (not quick)


def test_the_models_of_images_have_the_sources_sizes():
    model = figures.image_model(3, [8, 8])
    vae = figures.highway_vae(model, [8, 8], samples=2)
    iterative = figures.iterative(model, [Error(), Data()], [8, 8], 4, 2)
    assert repr(model.decoder.net) == "MLP([3, 8, 8, 784], 'elu')" and vae.encoder.sizes[-1] == 6
    assert (vae.samples, vae.steps, iterative.samples, iterative.steps) == (2, 0, 2, 4)
    x = np.zeros((2, 784), np.float32)
    for method in (vae, iterative, figures.iterative(model, [Gradient()], [8, 8], 1)):
        theta, phi = (thing.init(np.random.default_rng(0), np.float32) for thing in (model, method))
        assert np.isfinite(method.gradient(model, theta, phi, x, np.random.default_rng(0))[0]).all()
