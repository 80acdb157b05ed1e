"""What the scripts of figures/ share: the main program, where a lesson's pictures go, and the models of the sources."""

import ast
import json
import pathlib
import re
import sys

import numpy as np
import pytest

import savi
from savi import plots, synthetic
from savi.experiments import figures
from savi.inference.iterative import Data, Error, Gradient

ROOT = pathlib.Path(savi.__file__).parents[1]
SCRIPTS = sorted((ROOT / "figures").glob("*.py"))


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


def test_step_sizes_of_test_time_svi_are_the_best_of_the_list(monkeypatch):
    monkeypatch.setattr(synthetic, "UNITS", 5)
    data = synthetic.load(0, examples=(4, 4, 4), vocabulary=9, units=5)
    model, theta = figures.known_model(data)
    chosen = figures.best_step_sizes(model, theta, None, None, data.valid)
    losses = {}
    for sizes in figures.STEP_SIZES:
        method = figures.refined(None, sizes)
        lam = method.infer(model, theta, None, data.valid, np.random.default_rng(0))
        losses[sizes] = figures.bound(model, theta, lam, data.valid)[0].mean()
    assert losses[chosen] < max(losses.values()) and figures.sequence_encoder(data).outputs == 4


def test_a_refinement_has_a_step_size_for_means_and_one_for_variances(monkeypatch):
    data = synthetic.load(0, examples=(4, 4, 4), vocabulary=9, units=5)
    vae = savi.VAE(savi.LSTMEncoder(9, 2, 3, 4))
    for method, kind in ((None, savi.SVI), (vae, savi.VAE)):
        refined = figures.refined(method, (0.1, 0.5), steps=3)
        assert type(refined) is kind and (refined.steps, refined.momentum, refined.clip) == (3, 0.5, figures.CLIP)
        np.testing.assert_allclose(refined.step_size, [0.1, 0.1, 0.5, 0.5], rtol=1e-6)
    model, theta = figures.known_model(data)
    lam = np.random.default_rng(0).uniform(-1, 1, (4, 4)).astype(np.float32)
    loss, kl = figures.bound(model, theta, lam, data.valid)
    np.testing.assert_allclose(kl, savi.AnalyticKL.value(lam, np.zeros(4)), rtol=1e-5)
    np.testing.assert_allclose(loss, sum(savi.quadrature.elbo_parts(model, theta, lam, data.valid, figures.NODES)))
