"""Trials: one run measured at equal epochs and at equal processor seconds, what is kept of it, and what tables say of it."""

import json

import numpy as np
import pytest
from test_oracles import script

import savi
from savi.experiments import tables
from savi.experiments.evaluation import elbo_parts, neg_elbo
from savi.experiments.training import FitResult, NonFiniteLoss
from savi.studies import learning_to_infer, trial_tables, trials
from savi.studies.figures import VERDICTS
from savi.studies.learning_to_infer import METHODS, Setup


class Run:
    """A run that goes on from where it was: epochs in hundredths, each epoch `cost` processor seconds."""

    def __init__(self, cost):
        self.cost, self.done, self.asked = cost, 0.0, []

    def __call__(self, epochs):
        self.asked.append(epochs)
        self.done = max(self.done, round(epochs, 2))
        row = {"epoch": self.done, "cpu": self.done * self.cost, "passes": 7, "valid_neg_elbo": 100 - self.done}
        return FitResult(np.zeros(1), np.zeros(1), None, [row], 0.0)


@pytest.mark.parametrize("cost", [0.01, 0.3, 40.0])
def test_a_run_goes_on_until_its_seconds_are_spent(cost):
    result = trials.spend(Run(cost), 8.0)
    assert abs(result.history[-1]["cpu"] - 8) <= max(8 * trials.NEAR, 0.01 * cost)


def test_a_run_that_stands_still_ends():
    row = {"epoch": 3.0, "cpu": 1.0}
    assert trials.spend(lambda epochs: FitResult(None, None, None, [row], 0.0), 8.0).history[-1]["epoch"] == 3.0


@pytest.mark.parametrize("cost, order", [(0.5, ["epochs", "seconds"]), (2.0, ["seconds", "epochs"])])
def test_stops_come_in_the_order_of_the_run(cost, order):
    found = list(trials.stops(Run(cost), 6, 8.0))
    assert [name for name, _ in found] == order
    at = {name: result.history[-1] for name, result in found}
    assert at["epochs"]["epoch"] == 6 and abs(at["seconds"]["cpu"] - 8) < 0.2
    assert at["epochs"]["cpu"] == 6 * cost  # and nothing that came later


def test_both_measures_are_kept_with_their_cost_and_not_made_again(tmp_path):
    folder, run, measured = str(tmp_path / "run"), Run(0.5), []

    def measure(result):
        measured.append(result.history[-1]["epoch"])
        return {"loss": 3.0}

    def train(epochs, out):
        assert out.startswith(folder)
        (tmp_path / "run" / "state").mkdir(parents=True, exist_ok=True)
        return run(epochs)

    first = trials.at_both(folder, train, 6, 8.0, measure)
    assert first["epochs"] == {"loss": 3.0, "epochs": 6, "cpu": 3.0, "passes": 7}
    assert first["seconds"]["epochs"] == run.done == measured[-1] and len(measured) == 2
    assert not (tmp_path / "run" / "state").exists()
    assert trials.at_both(folder, None, 6, 8.0, None) == first


def test_a_stopped_trial_keeps_the_measure_it_has(tmp_path):
    (tmp_path / "state").mkdir()
    trials.kept(str(tmp_path / "epochs.json"), lambda: {"loss": 1.0})
    run = Run(0.5)
    found = trials.at_both(str(tmp_path), lambda epochs, out: run(epochs), 6, 8.0, lambda result: {"loss": 2.0})
    assert found["epochs"] == {"loss": 1.0} and found["seconds"]["loss"] == 2.0


def test_a_run_that_diverges_is_worth_what_it_was():
    def train(epochs, out):
        if epochs > 0:
            raise NonFiniteLoss("at epoch 0")
        return "the state that was saved"

    assert trials.surviving(train)(5, "folder") == "the state that was saved"


def test_a_search_keeps_its_runs_and_leaves_out_those_of_no_use(tmp_path):
    tried = []

    def loss(point, out):
        tried.append(point["a"])
        assert out.endswith(f"a={point['a']:g}")
        if point["a"] > 2:
            raise NonFiniteLoss("at epoch 0")
        return (point["a"] - 1.9) ** 2

    for _ in range(2):
        found = trials.searched(str(tmp_path), loss, {"a": 1}, {"a": (1, 2, 4)})
        assert found["point"] == {"a": 2} and sorted(row["a"] for row in found["curve"]) == [0.5, 1, 2]
    assert sorted(tried) == [0.5, 1, 2, 4]


def test_a_rate_is_tuned_from_the_middle_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "spend", lambda train, seconds: train(seconds))
    asked = []

    def train(rate, epochs, out):
        asked.append((rate, epochs))
        row = {"valid_neg_elbo": abs(np.log2(rate / 32e-3))}
        return FitResult(None, None, None, [row], 0.0)

    for _ in range(2):
        found = trials.tuned_rate(str(tmp_path / "tuning"), train, 2.0)
        assert found["point"] == {"learning_rate": 32e-3}  # beyond the end of the grid
    assert [rate for rate, _ in asked] == [8e-3, 4e-3, 16e-3, 32e-3, 64e-3] and {e for _, e in asked} == {2.0}
    assert (tmp_path / "tuning.json").exists()


# --- the methods of [LI] ---------------------------------------------------------------------------------------------


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """A comparison of a few small grey images."""
    rng = np.random.default_rng(0)
    parts = [rng.random((n, 784), dtype=np.float32) ** 4 for n in (60, 20, 30)]
    images = savi.data.Dataset("grey", *parts)
    monkeypatch.setattr(learning_to_infer.data, "load", lambda name: images)
    monkeypatch.setattr(learning_to_infer, "TEST_STEPS", 4)
    monkeypatch.setattr(trials, "spend", lambda train, seconds: train(0.2))  # no test asks the clock
    monkeypatch.setattr(learning_to_infer, "spend", lambda train, seconds: train(0.1))
    learning_to_infer._images.cache_clear()
    yield Setup("grey", 40, 3, (6, 6), 0.1, 1.0, str(tmp_path), iw_samples=5)
    learning_to_infer._images.cache_clear()


@pytest.mark.parametrize("name", ["vae", "vae+svi", "iterative", "encoder-2-every"])
def test_a_method_is_tuned_trained_and_measured_at_both_stops(setup, name):
    found = learning_to_infer.tuned(setup, name)
    assert set(found["point"]) == set(METHODS[name].start) and len(found["curve"]) >= 3
    assert all(row["samples"] % 1 == 0 and row["layers"] in (0, 2) for row in found["curve"])
    more = learning_to_infer.trial(setup, name, 1, lambda model, method, result, x: {"images": len(x)})
    for stop in ("epochs", "seconds"):
        assert more[stop]["images"] == 30
        for svi in METHODS[name].svi:
            value = more[stop]["svi" if svi else "own"]
            assert 0 < value["neg_elbo"] < 784 and abs(value["nll"] - value["neg_elbo"]) < 50
            assert ("step_size" in value["chosen"]) == svi
            assert METHODS[name].iterates or value["chosen"]["iterations"] == 0
    assert learning_to_infer.trial(setup, name, 1) == more


@pytest.mark.parametrize("name", ["vae-then-svi", "iterative"])
def test_a_run_of_the_plan_gives_the_same_bits_as_the_scripts_own(setup, name, tmp_path):
    point = METHODS[name].start | {"learning_rate": 1e-3}
    results = {"setup": setup._asdict(), "tuned": {name: {"point": point}}}
    (tmp_path / "li_table1.json").write_text(json.dumps(results))
    table = script("li_table1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "__file__", str(tmp_path / "li_table1.py"))
        rows = table.again(name, 1)["rows"]
    trials.kept(setup.folder(name, "tuned.json"), lambda: {"point": point})
    own = trial_tables.rows([learning_to_infer.trial(setup, name, 1)], METHODS)
    assert len(rows) == 2 * len(own)
    for row in rows:
        expected = next(other for other in own if other["method"] == row["method"])
        stop = row["at"].removeprefix("equal ")
        for measure in ("neg_elbo", "nll", "epochs"):
            assert row[measure] == expected[f"{measure} at equal {stop}"]


@pytest.mark.parametrize("name", ["vae-both", "iterative"])
def test_a_hierarchy_is_tuned_but_for_what_is_fixed_and_each_levels_kl_is_measured(setup, name):
    fixed = {"samples": 1, "layers": 2}
    one, setup = setup, setup._replace(levels=(2,), fixed=fixed)
    assert setup.model().dims == (3, 2) and setup.folder() != one.folder()
    found = learning_to_infer.tuned(setup, name)
    assert found["point"].items() >= fixed.items() and set(found["point"]) == set(METHODS[name].start)
    assert {tuple(row) for row in found["curve"]} == {("learning_rate", "loss")} and len(found["curve"]) >= 3
    trial = learning_to_infer.trial(setup, name, 1)
    (own, refined) = trial_tables.rows([trial], METHODS)
    for row, measured in ((own, "own"), (refined, "svi")):
        for stop in trial_tables.STOPS:
            kls = trial[stop][measured]["kls"]
            assert len(kls) == 2 and kls == [row[f"kl_{l} at equal {stop}"] for l in (1, 2)]


@pytest.mark.parametrize("levels", [(), (2,)])
def test_the_kls_of_the_levels_are_the_whole_kl(setup, levels):
    model, rng = setup._replace(levels=levels).model(), np.random.default_rng(0)
    theta, lam = model.init(rng), rng.normal(size=(4, model.lam_size))
    x = np.zeros((4, 784))
    found = learning_to_infer._kls(model, theta, lam, x, np.random.default_rng(1))
    _, kl = elbo_parts(model, theta, lam, x, np.random.default_rng(1), learning_to_infer.SAMPLES)
    assert len(found) == 1 + len(levels) and min(found) > 0.1
    np.testing.assert_allclose(sum(found), kl.mean(), rtol=1e-10)
    mu, log_var = np.split(model.lam_of(lam, 2) if levels else lam, 2, axis=1)  # of the level whose prior is N(0, I)
    np.testing.assert_allclose(found[-1], (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1).mean() / 2, rtol=1e-10)


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("name", METHODS)
def test_layers_between_x_and_lam_are_as_asked(name, layers):
    model = Setup("any", None, 3, (6, 6), 1, 1, "").model()
    point = METHODS[name].start | {"layers": layers, "samples": 2}
    method = METHODS[name].build(model, (6, 6), point)
    assert method.samples == 2
    reads_x = method.net if name == "iterative" else getattr(method, "encoder", None) or method.start_at
    assert len(reads_x.sizes) == 2 + layers and set(reads_x.sizes[1:-1]) <= {6}


def losses(*means, images=50):
    """-ELBO (iterations + 1, images) with these means; images differ by much, and by little from one iteration to the next."""
    rng = np.random.default_rng(0)
    small = rng.normal(0, 0.1, (len(means), images))
    return np.array(means)[:, None] + rng.normal(0, 20, images) + small - small.mean(axis=1, keepdims=True)


def test_iterations_are_enough_where_more_gain_nothing_that_is_certain():
    assert learning_to_infer.enough(losses(90, 80, 75, 74.99, 75.01, 74.98)) == 2
    assert learning_to_infer.enough(losses(90, 80, 75, 74)) == 3
    assert learning_to_infer.enough(losses(80, 90, 95)) == 0
    assert learning_to_infer.enough(losses(80)) == 0


@pytest.mark.parametrize("end", [np.nan, np.inf, 1e6, 60.0])
def test_a_walk_that_leaves_one_image_stops_before_it(end):
    found = losses(90, 80, 75, 70, 65)
    found[3, 7] = found[2, 7] + end  # the mean of the last falls all the same
    assert learning_to_infer.enough(found) == 2
    found[3, 7] = found[2, 7] + learning_to_infer.RISE / 2
    assert learning_to_infer.enough(found) == 4


def test_a_walk_that_leaves_slowly_stops_too():
    found = losses(90, 80, 75, 70, 65, 60)
    found[:, 7] = 70 + 0.6 * learning_to_infer.RISE * np.arange(6)
    assert learning_to_infer.enough(found) == 1


def test_the_iterations_of_a_method_are_judged_image_by_image(setup):
    model, x = setup.model(), np.random.default_rng(2).integers(0, 2, (30, 784)).astype(float)
    theta = model.init(np.random.default_rng(0))

    class Method:
        """A walk that is away from its third step on, for one image alone."""

        @staticmethod
        def path(model, theta, phi, x, rng, steps):
            lams = np.zeros((steps + 1, len(x), 6))
            lams[0, :, :3] = 2.0  # the mean moves to where the prior is
            lams[3:, 4, :3] = 1e200
            return lams

    result = FitResult(theta, None, None, [], 0.0)
    assert learning_to_infer._iterations(model, Method, result, x, 0) in (1, 2)


def test_svi_after_an_inference_starts_from_it(setup):
    model = setup.model()
    theta, x = model.init(np.random.default_rng(0)), np.zeros((2, 784))
    lam = np.random.default_rng(1).uniform(-1, 1, (2, 6))
    point = {"step_size": 0.0, "momentum": 0.5, "clip": None}
    np.testing.assert_array_equal(learning_to_infer.svi_from(model, theta, lam, x, 0, point), lam)
    best = learning_to_infer.tuned_svi(model, theta, lam, x, 0)
    refined = learning_to_infer.svi_from(model, theta, lam, x, 0, best)
    losses = [neg_elbo(model, theta, at, x, np.random.default_rng(0), 100).mean() for at in (lam, refined)]
    assert losses[1] < losses[0] - 1


def test_the_baseline_is_the_independent_bernoulli_of_the_images_that_are_seen(setup):
    found, images = learning_to_infer.baseline(setup), setup.images()
    x = savi.data.binarize(images.test, np.random.default_rng(0))
    _, log_px = setup.model().baseline(images.train, x)
    assert found == {"label": "independent Bernoulli", "nll": -float(log_px.mean())} and len(images.train) == 40


# --- tables ----------------------------------------------------------------------------------------------------------


def made_up(rng, better=0.0, seeds=4):
    """Trials of the VAE and of the iterative model, which is `better` by so much at equal seconds."""
    found = []
    for seed in range(seeds):
        shared = rng.normal(100, 5)
        for name in ("vae", "iterative"):
            at = {"neg_elbo": shared + rng.normal(0, 0.1), "nll": shared - 5}
            at = at | {"neg_elbo": at["neg_elbo"] - better} if name == "iterative" else at
            tests = {"svi" if svi else "own": at | {"neg_elbo": at["neg_elbo"] - svi} for svi in METHODS[name].svi}
            stop = tests | {"epochs": 5, "cpu": 2.5, "passes": 1}
            found.append({"method": name, "seed": seed, "epochs": stop, "seconds": stop})
    return {"rows": trial_tables.rows(found, METHODS)}


def test_rows_of_trials_are_paired_by_seed():
    found = made_up(np.random.default_rng(0))
    labels = list(dict.fromkeys(row["method"] for row in found["rows"]))
    assert labels == ["VAE", METHODS["iterative"].label, METHODS["iterative"].label + ", then SVI"]
    mean, error, n, below = tables.paired(found, labels[2], labels[1], trial_tables.key("neg_elbo", "epochs"))
    assert (n, below) == (4, 4) and np.isclose(mean, -1) and np.isclose(error, 0, atol=1e-12)
    a, b = (tables.values(found, label, trial_tables.key("neg_elbo", "seconds")) for label in labels[:2])
    np.testing.assert_allclose(
        tables.difference(a, b), tables.paired(found, *labels[:2], "neg_elbo at equal seconds"), rtol=1e-12
    )


@pytest.mark.parametrize("better, verdict", [(3.0, "holds"), (0.0, "not told apart"), (-3.0, "not at this scale")])
def test_a_claims_cells_have_numbers_and_a_verdict_that_follows_from_them(better, verdict):
    found, name = made_up(np.random.default_rng(1), better), METHODS["iterative"].label
    cells = trial_tables.claim_cells(found, name, "VAE")
    assert cells["verdict"] == verdict in VERDICTS
    mean = tables.paired(found, name, "VAE", trial_tables.key("neg_elbo", "seconds"))[0]
    assert f"{mean:+.2f} ± " in cells["seconds"] and "of 4)" in cells["epochs"]
    (line,) = trial_tables.differences(found, name, ["VAE"])
    assert line.startswith(f"{name} minus VAE: equal seconds {mean:+.2f}")


def test_seeds_that_diverge_are_counted_and_the_others_averaged():
    found, name = made_up(np.random.default_rng(1), better=3.0), METHODS["iterative"].label
    key = trial_tables.key("neg_elbo", "seconds")
    for row in found["rows"]:
        if row["method"] == name and row["seed"] in (0, 2):
            row[key] = np.nan
    left = [row[key] for row in found["rows"] if row["method"] == name and row["seed"] in (1, 3)]
    lines = trial_tables.table(found)
    assert f"{np.mean(left):.2f} ± {np.std(left, ddof=1):.2f} [2 of 4]" in "\n".join(lines) and "[n of m]" in lines[-1]
    cells = trial_tables.claim_cells(found, name, "VAE")
    assert cells["verdict"] == "not at this scale" and "diverged in 2 of 4 seeds" in cells["seconds"]
    (line,) = trial_tables.differences(found, name, ["VAE"])
    assert "equal seconds diverged in 2 of 4 seeds, in the others -" in line and "nan" not in line + "".join(lines)
    assert trial_tables.over_seeds([np.nan, np.nan]) == "diverged [0 of 2]"
    assert trial_tables.over_seeds([1.0, np.nan]) == "1.00 [1 of 2]"
    assert "[n of m]" not in trial_tables.table(made_up(np.random.default_rng(1)))[-1]


@pytest.mark.parametrize("away", [np.nan, np.inf, 3e8])
def test_a_mean_beyond_all_bounds_has_diverged_and_so_has_its_log_p(away):
    at = {"own": {"neg_elbo": away, "nll": 123.0}, "epochs": 5, "cpu": 2.5}
    trial = {"method": "vae", "seed": 0, "seconds": at, "epochs": at | {"own": {"neg_elbo": 100.0, "nll": 95.0}}}
    (row,) = trial_tables.rows([trial], METHODS)
    assert np.isnan([row["neg_elbo at equal seconds"], row["nll at equal seconds"]]).all()
    assert (row["neg_elbo at equal epochs"], row["nll at equal epochs"]) == (100, 95)


def test_verdicts_weigh_seconds_and_epochs():
    words = "better", "not told apart", "worse"
    found = {(s, e): trial_tables.verdict_of(seconds=s, epochs=e) for s in words for e in words}
    assert found["better", "better"] == "holds" and found["worse", "worse"] == "not at this scale"
    assert {found["better", e] for e in words[1:]} | {found["not told apart", "better"]} == {"weaker"}
    assert {found["not told apart", e] for e in words[1:]} == {"not told apart"}
    assert {found["worse", e] for e in words} == {"not at this scale"}  # whatever the epochs say
    assert trial_tables.worst(["holds", "not at this scale", "weaker"]) == "not at this scale"


@pytest.mark.parametrize("verdicts, says", [
    (["better", "better"], "holds"), (["better", "worse"], "weaker"), (["better", "not told apart"], "weaker"),
    (["worse", "not told apart"], "not at this scale"), (["not told apart"], "not told apart"),
])  # fmt: skip
def test_verdicts_of_several_cells_are_summed_up(verdicts, says):
    assert trial_tables.summed_up(iter(verdicts)) == says and says in VERDICTS


def test_the_table_has_a_line_for_each_method_and_the_baseline():
    found = made_up(np.random.default_rng(0))
    lines = trial_tables.table(found, {"label": "independent Bernoulli", "nll": 211.5})
    assert len(lines) == 2 + 1 + 3 and lines[2].count("211.50") == 4
    values = tables.values(found, "VAE", "neg_elbo at equal seconds")
    assert f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" in lines[3]
    assert max(map(len, lines)) <= 160
