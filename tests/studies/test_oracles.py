"""Sequences from an oracle: inner steps from one grid for all, and one run read at several epochs as if it had ended there."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

import savi
from savi import plots, synthetic
from savi.experiments.checkpoints import write_json
from savi.studies import figures, oracle_runs, sequences
from savi.studies.sequences import INNER_GRID, STARTS, best_inner

SIZES = {"examples": (40, 8, 6), "vocabulary": 9, "units": 5}
FORMER = ((0.02, 0.05), (0.05, 0.05), (0.05, 0.2), (0.1, 0.2), (0.1, 0.5), (0.2, 0.5), (0.2, 1.0))  # mu's, log_var's


def script(name):
    path = pathlib.Path(savi.__file__).parents[1] / "figures" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_under_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny(monkeypatch):
    """(data, model) of a small tanh oracle, as everything here loads it."""
    monkeypatch.setattr(synthetic, "UNITS", 5)
    monkeypatch.setattr(oracle_runs, "load", lambda seed, part: synthetic.load(seed, "tanh", **SIZES))
    data = oracle_runs.load(0, "tanh")
    return data, sequences.known_model(data)[0]


def test_a_refinement_has_a_step_size_for_means_and_one_for_variances(tiny):
    point, (data, model) = {"step_size": 0.1, "ratio": 5, "momentum": 0.5, "clip": 2.0}, tiny
    for encoder, kind in ((None, savi.SVI), (sequences.sequence_encoder(data), savi.VAE)):
        refined = sequences.refined(encoder, point, steps=3)
        assert type(refined) is kind and (refined.steps, refined.momentum, refined.clip) == (3, 0.5, 2.0)
        np.testing.assert_allclose(refined.step_size, [0.1, 0.1, 0.5, 0.5], rtol=1e-6)
    lam, theta = np.random.default_rng(0).uniform(-1, 1, (8, 4)).astype(np.float32), np.zeros(0, np.float32)
    loss, kl = sequences.bound(model, theta, lam, data.valid)
    np.testing.assert_allclose(kl, savi.AnalyticKL.value(lam, np.zeros(4)), rtol=1e-5)
    np.testing.assert_allclose(loss, sum(savi.quadrature.elbo_parts(model, theta, lam, data.valid, sequences.NODES)))


def test_the_grid_has_every_step_that_a_method_had_before():
    for mu, log_var in FORMER:
        assert mu in INNER_GRID["step_size"] and any(np.isclose(log_var, mu * r) for r in INNER_GRID["ratio"])
    for start in STARTS:
        assert set(start) == set(INNER_GRID) and all(start[axis] in INNER_GRID[axis] for axis in start)
    assert STARTS[0] == {"step_size": 0.002, "momentum": 0.5, "clip": None, "ratio": 1}  # SA-VAE's own in training


def test_the_search_keeps_the_better_of_its_two_ends_and_tells_all_it_tried():
    def valleys(point):  # one about each start; the second is the deeper
        where = np.log(point["step_size"] * point["ratio"])
        return min((where - np.log(0.002)) ** 2, (where - np.log(0.05)) ** 2 - 1) + (point["momentum"] - 0.5) ** 2

    best, curve = best_inner(valleys)
    assert np.isclose(best["step_size"] * best["ratio"], 0.05) and best["momentum"] == 0.5
    assert min(row[-1] for row in curve) == pytest.approx(-1) and list(STARTS[0].values()) == curve[0][:4]
    few, curve = best_inner(lambda p: np.nan if p["clip"] else p["step_size"] * p["ratio"], ("clip",))
    assert few == STARTS[0] and {row[-1] for row in curve} == {0.002, None} and {row[1] for row in curve} == {0.5}


def test_a_snapshot_is_the_run_that_ends_there(tiny, tmp_path):
    data, model = tiny
    method = savi.SAVAE(sequences.sequence_encoder(data), 2, **sequences.inner(STARTS[0]))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.npz").write_bytes(b"of a run that was stopped")
    early, late = sequences.train(model, method, data, 3, [1, 2.0], tmp_path / "run")
    assert not (tmp_path / "run").exists() and 0 < early.cpu < late.cpu
    for snapshot, epochs in ((early, 1), (late, 2)):
        alone = savi.fit(model, method, data, epochs, 3, **sequences.FIT)
        np.testing.assert_array_equal(snapshot.phi, alone.last[1])
        assert (snapshot.epochs, snapshot.passes) == (epochs, epochs * 40 * (1 + 2 * 2))


def test_an_estimate_is_the_methods_own_or_svi_from_its_encoder(tiny):
    data, model = tiny
    method, point, theta = savi.VAE(sequences.sequence_encoder(data)), STARTS[1], np.zeros(0, np.float32)
    phi = method.init(np.random.default_rng(0), np.float32)
    snapshot = sequences.Snapshot(1, 0.0, 0, theta, phi)

    def bound(method, steps):
        lam = method.infer(model, theta, phi, data.test, np.random.default_rng(1), steps)
        return sequences.bound(model, theta, lam, data.test)[0]

    own = sequences.estimate(model, method, snapshot, data.test)[0]
    np.testing.assert_array_equal(own, bound(method, 0))
    for choice, steps in (({"point": point}, sequences.K), ({"point": point, "steps": 3}, 3)):
        found = sequences.estimate(model, method, snapshot, data.test, **choice)[0]
        np.testing.assert_array_equal(found, bound(sequences.refined(method.encoder, point), steps))
        assert found.mean() < own.mean()
    from_prior = sequences.estimate(model, savi.SVI(), snapshot, data.test, point=point)[0]
    np.testing.assert_array_equal(from_prior, bound(sequences.refined(None, point), sequences.K))


# --- the runs of Table 1 ---------------------------------------------------------------------------------------------------


def test_a_run_is_judged_at_the_epochs_that_all_share_and_at_its_end():
    of = {"epochs": {"VAE": 90, "SA-VAE": 7, "forward difference": 5, "no second derivatives": 11}, "shared": 7}
    assert oracle_runs.points(of, "VAE") == [7, 11, 22, 33, 45, 56, 67, 78, 90]
    assert oracle_runs.points(of, "SA-VAE")[-1] == oracle_runs.points(of, "forward difference")[-1] == 7
    assert {7, 11} < set(oracle_runs.points(of, "no second derivatives")) and oracle_runs.points(of, "SVI") == [0]


def test_seconds_become_epochs_by_the_measured_cost_once(tiny, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        oracle_runs.budget, "costs", lambda methods, *_: asked.append(methods) or {n: 0.5 for n in methods}
    )
    for _ in range(2):
        of = oracle_runs.plan(tmp_path, 4.0, "tanh")  # 40 examples, a batch of 50: a step has 0.8 of a batch
    assert len(asked) == 1 and set(asked[0]) == {*oracle_runs.TRAINED["tanh"], *oracle_runs.ABLATION} - {"SVI"}
    assert set(of["epochs"].values()) == {10} and of["shared"] == 10


def test_one_run_is_read_at_equal_epochs_and_at_equal_seconds(tiny, monkeypatch, tmp_path):
    data, model = tiny
    of = {"epochs": {"VAE": 8}, "shared": 2}
    choices = [{}, {"point": STARTS[0]}, {"point": STARTS[1]}, {"point": STARTS[1], "steps": 4}]
    plain, early, late, many = ({"choice": choice} for choice in choices)
    chosen = {"training": STARTS[0], "VAE": {"epochs": plain, "seconds": plain}}
    chosen["VAE, then SVI"] = {"epochs": early, "seconds": late, "many": many}
    found = oracle_runs.judged("tanh", 0, "VAE", of, chosen, tmp_path / "run")
    method = savi.VAE(sequences.sequence_encoder(data))
    ends = sequences.train(model, method, data, 0, [1, 2, 3, 4, 5, 6, 7, 8], tmp_path / "again")

    def value(end, x, choice):
        return float(sequences.estimate(model, method, end, x, **choice)[0].mean())

    for reading, view, choice in (
        ("VAE", "epochs", {}), ("VAE", "seconds", {}),
        ("VAE, then SVI", "epochs", choices[1]), ("VAE, then SVI", "seconds", choices[2]),
    ):  # fmt: skip
        seen = ends[:2] if view == "epochs" else ends
        losses = [value(end, data.valid, choice) for end in seen]
        best, row = seen[int(np.argmin(losses))], found[reading][view]
        assert row["neg_elbo"] == value(best, data.test, choice) and row["epochs"] == best.epochs
        assert [point[3] for point in row["curve"]] == losses and row["passes"] == best.passes
    last = found["VAE, then SVI"]["seconds"]
    best = ends[last["epochs"] - 1]
    assert last["many"] == value(best, data.test, choices[3])
    assert last["by_steps"] == [value(best, data.test, choices[2] | {"steps": n}) for n in oracle_runs.TEST_STEPS]
    assert "by_steps" not in found["VAE"]["seconds"]


def test_a_run_of_the_plan_gives_the_same_bits_as_the_scripts_own(tiny, monkeypatch, tmp_path):
    of, choice = {"epochs": {"VAE": 2, "SA-VAE": 1}, "shared": 1}, {"choice": {"point": STARTS[0]}}
    refined = {view: choice for view in ("epochs", "seconds", "many")}
    tuned = {
        "tanh/VAE": {
            "training": STARTS[0],
            "VAE": {v: {"choice": {}} for v in oracle_runs.VIEWS},
            "VAE, then SVI": refined,
        },
        "tanh/SA-VAE": {"training": STARTS[1], "SA-VAE": refined},
    }
    for name, value in tuned.items():
        write_json(tmp_path / f"{name.replace('/', '-')}.json", value)
    write_json(tmp_path / "tanh-plan.json", of)
    (tmp_path / "sa_table1.json").write_text(json.dumps({"plans": {"tanh": of}, "tuned": tuned}))
    monkeypatch.setattr(oracle_runs, "K", 2)
    table = script("sa_table1")
    table.__file__ = str(tmp_path / "sa_table1.py")
    for name in ("VAE", "SA-VAE", "truth"):
        own = oracle_runs.run(tmp_path, 1.0, "tanh", 3, name)
        rows = {(row.pop("method"), row.pop("at")): row for row in table.again("tanh", name, 3)["rows"]}
        if name == "truth":
            assert {key: row["neg_elbo"] for key, row in rows.items()} == {
                (reading, f"equal {view}"): own[key]
                for reading, key in (("exact", "nll"), ("best Gaussian", "best"))
                for view in oracle_runs.VIEWS
            }
            continue
        assert set(rows) == {(reading, f"equal {view}") for reading in own for view in oracle_runs.VIEWS}
        for (reading, at), row in rows.items():
            expected = own[reading][at.removeprefix("equal ")]
            assert timeless(row) == timeless(expected) and row["neg_elbo"] == expected["neg_elbo"]


def timeless(row):
    """A row without its processor seconds."""
    curve = [[epochs, passes, loss] for epochs, _, passes, loss in row["curve"]]
    return {key: value for key, value in row.items() if key != "cpu"} | {"curve": curve}


@pytest.mark.parametrize("name", ["SVI", "VAE", "SA-VAE", "iterative"])
def test_what_is_tuned_is_tuned_on_another_oracles_validation_sequences(name, tiny, monkeypatch, tmp_path):
    seeds, axes = [], []

    def search(loss, along=("all",), starts=STARTS):
        axes.append((along, len(starts)))
        return min(starts, key=loss), [[loss(point)] for point in starts]

    monkeypatch.setattr(oracle_runs, "best_inner", search)
    monkeypatch.setattr(
        oracle_runs, "load", lambda seed, part: seeds.append(seed) or synthetic.load(seed, "tanh", **SIZES)
    )
    of = {"epochs": {"VAE": 3, "SA-VAE": 2, "iterative": 2}, "shared": 2, "costs": {}}
    monkeypatch.setattr(oracle_runs, "plan", lambda *_: of)
    found = oracle_runs.tune(tmp_path, 1.0, "tanh", name)
    assert set(seeds) == {oracle_runs.TUNING_SEED} and oracle_runs.tune(tmp_path, 1.0, "tanh", name) == found
    tested = [(("step_size", "ratio"), 1)]  # of each trial, from its own step in training
    training = [(("step_size", "clip"), 2)] + 4 * tested if name == "SA-VAE" else []
    searches = {"SVI": 2, "VAE": 3, "SA-VAE": 2, "iterative": 0}[name]  # the VAE has one more, at equal epochs
    assert axes == training + searches * [(("all",), 2)]
    if name == "iterative":
        curve = found[name]["seconds"]["curve"]
        assert [n for n, _ in curve] == list(oracle_runs.ITERATIONS)
        assert found[name]["seconds"]["choice"] == {"steps": min(curve, key=lambda row: row[1])[0]}
    else:
        reading = "VAE, then SVI" if name == "VAE" else name
        assert found[reading]["many"]["choice"]["steps"] == 100 and "steps" not in found[reading]["seconds"]["choice"]


def test_a_run_that_diverges_loses(tiny, monkeypatch, tmp_path):
    found = []
    monkeypatch.setattr(oracle_runs, "best_inner", lambda loss, *_: (found.append(loss(STARTS[0])) or STARTS[0], []))

    def diverges(*_):
        raise savi.experiments.training.NonFiniteLoss("no")

    monkeypatch.setattr(oracle_runs, "train", diverges)
    with pytest.raises(savi.InputError):
        oracle_runs.tuned("tanh", "SA-VAE", {"epochs": {"SA-VAE": 2}, "shared": 2}, tmp_path / "run")
    assert found == [np.inf]


def test_a_learned_generator_starts_with_large_weights_from_z_unless_it_is_to_collapse(tiny):
    data, _ = tiny
    spread = {}
    for name in ("VAE", "collapsed"):
        model, method = oracle_runs.built("learned", name, data)
        theta = model.init(np.random.default_rng(0), np.float32, data.train)
        spread[name] = np.abs(model.decoder.net.layers(model.decoder.split(theta)[2])[0][:-1]).max()
        assert type(method) is savi.VAE
    assert 2 < spread["VAE"] < 3 and spread["collapsed"] < 1
    H = oracle_runs.no_second_derivatives(None, None, np.ones((2, 4)))
    assert not H.lam.any() and len(H) == 2 and not H[1]


# --- what the table says -----------------------------------------------------------------------------------------------------


def results_of(script, shift):
    """Results in which SA-VAE is `shift` nats from every other method, on four oracles that differ by ten."""
    rng, runs = np.random.default_rng(0), {}
    for part, names in script.TRAINED.items():
        for seed in range(4):
            runs[f"{part}/{seed}/truth"] = {"nll": 10.0 * seed, "best": 10.0 * seed + 0.1, "unigram": 10.0 * seed + 9}
            for name in (*names, *(script.ABLATION if part == "tanh" else ())):
                readings = {}
                for reading in script.READINGS.get(name, (name,)):
                    loss = 10 * seed + 2 + 0.01 * rng.standard_normal() + shift * (reading == "SA-VAE")
                    row = {"neg_elbo": loss, "nll": loss - 1, "kl": 1.0, "many": loss - 0.5, "epochs": 3, "cpu": 2.0}
                    row |= {"by_steps": [loss] * 6, "curve": [[1, 1.0, 1, loss], [2, 2.0, 2, loss]]}
                    readings[reading] = {"epochs": row, "seconds": row}
                runs[f"{part}/{seed}/{name}"] = readings
    return {
        "runs": runs, "seeds": [0, 1, 2, 3], "seconds": dict.fromkeys(script.TRAINED, 1.0), "tuned": {},
        "plans": {part: {"shared": 2, "epochs": {}} for part in script.TRAINED},
    }  # fmt: skip


@pytest.mark.parametrize("shift, verdicts", [(-1.0, {"holds"}), (1.0, {"not at this scale"})])
def test_verdicts_of_the_table_are_computed_from_paired_differences(shift, verdicts, tmp_path):
    table1 = script("sa_table1")
    results = results_of(table1, shift)
    mean, error, n, below = table1.difference(results, "tanh", "SA-VAE", "VAE, then SVI")
    assert mean == pytest.approx(shift, abs=0.05) and error < 0.02 and (n, below) == (4, 4 * (shift < 0))
    found = {claim.claim: claim for claim in table1.claims(results)}
    assert {c.verdict for text, c in found.items() if "SA-VAE" in text or "steps" in text} == verdicts
    assert {claim.verdict for claim in found.values()} <= set(figures.VERDICTS)
    np.testing.assert_allclose(table1.values(results, "tanh", "SA-VAE", "gap"), 2 + shift, atol=0.05)
    assert "SA-VAE minus" in table1.report(results)
    plots.save(table1.draw(results), tmp_path / "table.png")


def test_the_surface_has_the_tables_inner_steps_and_its_claim_the_gaps(tiny, monkeypatch, tmp_path):
    surface = script("sa_fig1_surface")
    monkeypatch.setattr(surface, "load", oracle_runs.load)
    monkeypatch.setattr(surface, "cores", lambda: 1)
    monkeypatch.setattr(surface, "FOLDER", tmp_path)
    monkeypatch.setattr(surface, "TABLE", tmp_path / "table.json")
    step = STARTS[0] | {"step_size": 0.05}
    refined = {"seconds": {"choice": {"point": step}}}
    tuned = {f"tanh/{name}": {"training": STARTS[0], name: refined} for name in ("SVI", "SA-VAE")}
    tuned["tanh/VAE"] = {"training": STARTS[0], "VAE": {"seconds": {"choice": {}}}, "VAE, then SVI": refined}
    table = {"tuned": tuned, "plans": {"tanh": {"epochs": {"VAE": 2, "SA-VAE": 1}}}, "seconds": {"tanh": 1.0}}
    (tmp_path / "table.json").write_text(json.dumps(table))
    results = json.loads(json.dumps(surface.compute()))
    assert results["epochs"] == {"SA-VAE": 1, "SVI": 0, "VAE": 2} and len(results["paths"]["svi"]) == sequences.K + 1
    assert len(results["paths"]["vae"]) == 1 and results["paths"]["vae-then-svi"][0] == results["paths"]["vae"][0]
    assert min(map(min, results["gaps"].values())) > -0.01
    assert np.mean(results["gaps"]["vae"]) > np.mean(results["gaps"]["vae-then-svi"])
    plots.save(surface.draw(results), tmp_path / "surface.png")
    assert "sa-vae minus svi" in surface.report(results)
    for shifts, said in (
        ((1, 1, 1), "holds"),
        ((1, 1, 0), "weaker"),
        ((1, -1, 1), "refuted"),
        ((1, 0, 1), "not told apart"),
    ):
        rng, gaps = np.random.default_rng(0), {"sa-vae": np.ones(40)}
        for other, shift in zip(surface.OTHERS, shifts):
            noise = 0.1 * rng.standard_normal(40)
            gaps[other] = 1 + shift + noise - noise.mean()
        assert surface.claims(results | {"gaps": gaps})[0].verdict == said
