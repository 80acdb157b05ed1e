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
from savi.inference.iterative import Data, Error, Gradient
from savi.studies import figures

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
    assert names & {other.stem for other in SCRIPTS} == set() and "savi.sweeps.compare" not in names
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


def test_every_figure_of_learning_to_infer_claims():
    assert {path.stem for path in SCRIPTS if path.stem.startswith("li_")} <= set(CLAIMING)


def made_up_panel(seed, walks, seconds):
    """A panel of li_fig6_10 whose walks {key: {step size: curve}} are the same on validation and test images."""
    walks = {key: {a: {"valid": c, "test": c} for a, c in walk.items()} for key, walk in walks.items()}
    return {"name": "gradient", "seed": seed, "walks": walks, "seconds": seconds}


def test_at_each_number_of_iterations_the_step_size_and_the_stop_are_those_of_validation_images():
    import li_fig6_10_optimizers as script

    n, shown = len(script.SHOWN), np.array(script.SHOWN)
    fast, slow = np.where(shown < 10, 200.0 - shown, 300.0), 200.0 - 0.5 * shown
    walk = {
        "0.1": {"valid": fast.tolist()},
        "0.01": {"valid": slow.tolist()},
        "9": {"valid": [200.0] + [None] * (n - 1)},
    }
    assert script.chosen(walk, 1) == ("0.1", 0)  # the first of three that are where they start
    assert script.chosen(walk, script.SHOWN.index(6) + 1) == ("0.1", script.SHOWN.index(6))
    assert script.chosen(walk, script.SHOWN.index(16) + 1) == ("0.1", script.SHOWN.index(8))  # it stops in time
    assert script.chosen(walk, n) == ("0.01", n - 1)
    for a, curve in walk.items():
        walk[a] = curve | {"test": [None if loss is None else loss + 7 for loss in curve["valid"]]}
    found = script.envelope({"walks": {"x": walk}}, "x")
    assert (found[script.SHOWN.index(16)], found[-1]) == (199.0, 57.0) and (np.diff(found) <= 0).all()


def test_a_search_of_step_sizes_goes_where_each_number_of_iterations_is_best():
    import li_fig6_10_optimizers as script

    asked = []

    def curve(part, step_size):
        asked.append((part, step_size))
        return [
            abs(np.log(step_size * (1 + t))) + 100 for t in script.SHOWN
        ]  # the best step for t iterations is 1 / (1 + t)

    walk = script._searched(curve)
    assert len(asked) == len(set(asked))
    assert all("test" in walk[script.chosen(walk, stop)[0]] for stop in range(1, len(script.SHOWN) + 1))
    assert script.chosen(walk, 2)[0] == "0.5"


def test_too_large_steps_that_all_stop_where_they_start_are_no_place_to_begin_a_search():
    import li_fig6_10_optimizers as script

    def curve(part, step_size):  # all from 0.005 on diverge
        return [100.0 if t == 0 else 100 - 1000 * step_size * t if step_size < 0.004 else None for t in script.SHOWN]

    walk = script._searched(curve)
    assert script.chosen(walk, len(script.SHOWN)) == ("0.002", len(script.SHOWN) - 1)


def test_a_walk_stays_only_where_its_change_is_certainly_small():
    import li_fig6_10_optimizers as script

    found = [script._stays(mean, error) for mean, error in ((0.2, 0.3), (0.2, 0.5), (25, 18), (25, 5))]
    assert found == ["holds", "not told apart", "not told apart", "not at this scale"]


def test_an_optimizer_leads_from_where_it_stays_below_the_iterative_model():
    import li_fig6_10_optimizers as script

    shown = np.array(script.SHOWN)
    iterative = np.where(shown < 5, 200.0, 150.0)
    found = [np.where(shown < 60, 160.0, 149.0), np.where(shown < 2, 250.0, 140.0), np.full(len(shown), 151.0)]
    panels = [
        made_up_panel(i, {"iterative": {"-": iterative.tolist()}, "x": {"0.1": c.tolist()}}, {})
        for i, c in enumerate(found)
    ]
    assert script.leads_from({"panels": panels}, "gradient", "x").tolist() == [60, 2, np.inf]


def test_at_equal_seconds_a_slower_optimizer_has_fewer_iterations():
    import li_fig6_10_optimizers as script

    falling = [500.0 - t for t in script.SHOWN]
    walks = {"iterative": {"-": falling}, "x": {"0.1": falling}}
    results = {"panels": [made_up_panel(0, walks, {"iterative": 1.0, "x": 2.0})]}
    assert script.at(results, "gradient", "x", 100).tolist() == [400]
    assert script.at_equal_seconds(results, "gradient", "x", 100).tolist() == [450]
    results["panels"][0]["seconds"]["x"] = 0.5  # it ends where its curve does
    assert script.at_equal_seconds(results, "gradient", "x", 300).tolist() == [200]


def test_a_refined_vae_is_a_row_of_the_vae():
    import li_fig5_samples_iterations as script

    rows = [
        {"name": "VAE", "samples": 5, "iterations": 5, "seed": seed, "neg_elbo at equal epochs": 90.0 + seed,
         "refined at equal epochs": 80.0 + seed} for seed in (1, 0)
    ]  # fmt: skip
    assert script.values({"rows": rows}, script.VAE, 5, 5, "epochs").tolist() == [90, 91]
    assert script.values({"rows": rows}, script.REFINED, 5, 5, "epochs").tolist() == [80, 81]


def test_a_walk_that_diverges_has_lost_the_most_that_counts():
    import li_ablation as script

    ends = (90.0, 102.0, float("nan"), float("inf"), 1e30)
    rows = [
        {"method": "a", "seed": i, "short at equal epochs": 100.0, "long at equal epochs": v}
        for i, v in enumerate(ends)
    ]
    assert script.lost({"rows": rows}, "a", "epochs").tolist() == [-10, 2, *3 * [script.CEILING]]


def test_a_norm_falls_until_its_first_step_that_is_not_certain():
    import li_table1 as script

    rng = np.random.default_rng(0)
    values = np.array([100, 50, 30, 29, 29, 20]) + rng.normal(0, 0.1, (5, 1)) + rng.normal(0, 0.01, (5, 6))
    assert script.falls_until(values) == 3
    assert script.falls_until(-values) == 0 and script.falls_until(values[:, :3]) == 2
    np.testing.assert_allclose(script.improvement(np.array([[9.0, 8.0, 6.0]])), [[0, 25]])


def levels_panel(depth, nll, kls, names=("vae-both",)):
    """A panel of li_two_levels with these -log p(x) of the seeds, and the KLs of each."""
    own = [{"neg_elbo": v + 5, "nll": v, "kls": list(k)} for v, k in zip(nll, kls)]
    stop = [{"own": at, "svi": at, "epochs": 3, "cpu": 2.5} for at in own]
    setup = {"levels": [8] if depth == "two" else []}
    trials = [{"method": n, "seed": i, "epochs": at, "seconds": at} for n in names for i, at in enumerate(stop)]
    return {"setup": setup, "trials": trials}


def test_two_levels_and_one_stand_side_by_side():
    import li_two_levels as script

    panels = {
        "one": levels_panel("one", [100.0, 104.0, 98.0], [[9.0]] * 3),
        "two": levels_panel("two", [98.0, 101.9, 96.1], [[9.0, 2.0], [9.0, 0.1], [9.0, 0.6]]),
    }
    both = script.side_by_side(panels)
    assert script.labels(both)[::2] == ["VAE, one level", "VAE, two levels"]
    key = script.trial_tables.key("nll", "seconds")
    mean, error, n, below = script.tables.paired(both, "VAE, two levels", "VAE, one level", key)
    assert np.isclose(mean, -2) and 0 < error < 0.1 and (n, below) == (3, 3)
    assert script.two_minus_one(panels, "VAE").startswith("equal seconds -2.00 ± 0.06 (lower in 3 of 3): better; equal")


def test_a_level_that_sleeps_is_said_to_have_collapsed():
    import li_two_levels as script

    found = script.table_rows(levels_panel("two", [98.0] * 3, [[9.0, 2.0], [9.0, 0.1], [9.0, 0.6]]))
    assert script.use(found, "VAE").startswith("KL of z^1 9.00 ± 0.00, of z^2 0.90 ± ")
    assert script.use(found, "VAE").endswith("z^2 collapsed in 1 of 3 seeds")
    awake = script.table_rows(levels_panel("two", [98.0] * 3, [[9.0, 2.0]] * 3))
    assert "collapsed" not in script.use(awake, "VAE")


def test_the_setups_of_two_levels_differ_in_their_levels_alone():
    import li_two_levels as script

    for full in (False, True):
        found = script.setups(full)
        for data in script.DATA:
            one, two = found[data, "one"], found[data, "two"]
            assert one == two._replace(levels=()) and two.levels == (one.latent // 2,)
    assert found[data, "two"].model().dims == (64, 32)
    assert found[data, "two"].model().levels[0].net.sizes == (32, 256, 256, 128)


def test_a_panel_in_colour_is_a_picture_over_the_iterations(monkeypatch):
    import li_fig4_reconstructions as script

    rng = np.random.default_rng(0)
    parts = (rng.integers(0, 256, (n, 12)).astype(np.float32) / 255 for n in (40, 8, 8))
    images = savi.data.Dataset("tiny", *parts, (2, 2, 3))
    monkeypatch.setattr(script, "ITERATIONS", 2)
    monkeypatch.setitem(script.SIZES, False, ([4, 4], 1, 1))
    found = script.panel(images, True, False)
    assert np.shape(found["means"]) == (3, script.SHOWN, 12) and len(found["neg_elbo"]) == 3
    np.testing.assert_array_equal(found["images"], np.rint(100 * images.test[: script.SHOWN]))
    fig = script.draw({"iterations": 2, "panels": {"tiny": found}})
    assert script.explained(found | {"means": [found["images"]]}).tolist() == [1]
    flat = images.test[: script.SHOWN].reshape(-1, 4, 3).mean(axis=1, keepdims=True).repeat(4, axis=1)
    assert abs(script.explained(found | {"means": [100 * flat.reshape(-1, 12)]})[0]) < 1e-3
    (shown,) = fig.axes[3].images  # the data at the right of the first row
    np.testing.assert_allclose(shown.get_array(), images.test[0].reshape(2, 2, 3), atol=0.006)
    plots.plt.close(fig)


def test_recurrent_models_are_measured_after_each_number_of_iterations(tmp_path, monkeypatch):
    import li_recurrent as script

    from savi.studies import trials

    rng = np.random.default_rng(0)
    images = savi.data.Dataset("grey", *(rng.random((n, 784), dtype=np.float32) ** 4 for n in (40, 20, 30)))
    monkeypatch.setattr(script, "_images", lambda full: images)
    monkeypatch.setattr(script, "RUNS", tmp_path)
    monkeypatch.setitem(script.SCALES, False, {"latent": 2, "hidden": [5, 5], "train": 40, "epochs": 1, "seconds": 1})
    monkeypatch.setattr(trials, "spend", lambda train, seconds: train(2))  # no test asks the clock
    rows = [script.run(False, name, 0, 1e-3) for name in script.NAMES]
    for row, name in zip(rows, script.NAMES):
        for stop in ("epochs", "seconds"):
            losses = script.curve({"rows": rows}, name, stop)
            assert losses.shape == (len(script.SHOWN), 1) and (losses < script.CEILING).all()
            assert len(set(losses.ravel())) == len(script.SHOWN)  # each of another lam
            assert script.drift({"rows": rows}, name, stop) == losses[-1] - losses.min()
        assert row["epochs at equal seconds"] == 2
    assert [script.bounded(loss) for loss in (90.0, 1e9, np.nan, np.inf)] == [90, *3 * [script.CEILING]]
    phis = [script.method_of(name, figures.image_model(2, [5, 5]), [5, 5]) for name in script.NAMES]
    assert [getattr(method.net, "through_time", None) for method in phis] == [None, False, True]


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
    deep = figures.image_model(4, [8, 8], levels=(3, 2))
    assert deep.dims == (4, 3, 2) and [level.net.sizes for level in deep.levels] == [(3, 4, 4, 8), (2, 2, 2, 6)]
    x = np.zeros((2, 784), np.float32)
    for method in (vae, iterative, figures.iterative(model, [Gradient()], [8, 8], 1)):
        theta, phi = (thing.init(np.random.default_rng(0), np.float32) for thing in (model, method))
        assert np.isfinite(method.gradient(model, theta, phi, x, np.random.default_rng(0))[0]).all()


def test_numbers_of_a_json_value_are_rounded_and_nothing_else():
    value = {"a": [1.234567, 12345678, True], "b": {"c": "1.234567", "d": 123456.7}}
    assert figures.rounded(value) == {"a": [1.2346, 12345678, True], "b": {"c": "1.234567", "d": 123460.0}}
    assert figures.rounded(1.234567, 3) == 1.23
