"""Few examples: setups and problems, a trial's best stages, the split of a loss, and what tables say of rows."""

import numpy as np
import pytest

import savi
from savi.data import Dataset, binarize, synthetic
from savi.studies import cure_runs, cure_tables, cures, gaps_over_time
from savi.studies.cures import Setup, built

RNG = np.random.default_rng(0)
IMAGES = Dataset("noise", *(RNG.random((n, 784)).astype(np.float32) for n in (60, 20, 20)), prepare=binarize)


@pytest.fixture
def few(monkeypatch, tmp_path):
    """A Setup of few images of noise, a few processor milliseconds a run."""
    monkeypatch.setattr(cures, "_loaded", lambda name: IMAGES)
    return Setup("glyphs", 50, 0.05, str(tmp_path), 2, (8,), settled_at=(50, 0.05))


def test_the_folder_of_a_setup_is_another_one_where_anything_differs():
    one = Setup("glyphs", 50, 0.2, "runs")
    changes = [
        {"data": "mnist"}, {"train": None}, {"seconds": 1.0}, {"runs": "others"}, {"latent": 3}, {"hidden": (8, 8)},
        {"encoder": (32,)}, {"steps": 5},
    ]  # fmt: skip
    folders = [one.folder("a"), *(one._replace(**change).folder("a") for change in changes)]
    assert len(set(folders)) == len(folders)


def test_learning_rates_come_from_the_reference():
    one = Setup("mnist", 8000, 3, "runs", steps=5, settled_at=(1000, 12))
    assert one.reference() == Setup("glyphs", 1000, 12, "runs")
    assert one.reference().reference() == one.reference()


def test_a_problem_has_the_encoders_of_its_setup(few):
    problem = few._replace(hidden=(8, 12), encoder=(20, 16)).problem(0)
    sizes = {cure: encoder().size for cure, encoder in problem.encoders.items() if cure != "highway"}
    width = 2 * 2
    deep = 785 * 20 + 21 * 16 + 17 * width
    assert sizes["mlp"] == sizes["dropout"] == sizes["noise"] == sizes["decay"] == deep
    assert sizes["linear"] == 785 * width and sizes["small"] == 785 * 5 + 6 * width
    assert [problem.usual(cure) for cure in ("mlp", "linear", "dropout", "decay")] == ["mlp", "linear", "mlp", "mlp"]
    assert len(problem.dataset.train) == 50 and not len(problem.dataset.valid)
    assert set(np.unique(problem.test)) <= {0.0, 1.0}


def test_only_the_cure_decay_decays():
    assert [cures.decay(cure) for cure in ("mlp", "decay")] == [0.0, cures.DECAY]


@pytest.mark.parametrize(
    "name, kind, passes",
    [("vae", "VAE", 1), ("vae+svi", "VAESVI", 12), ("sa-vae", "SAVAE", 21), ("iterative", "Iterative", 2),
     ("error+data", "Iterative", 3)],
)  # fmt: skip
def test_methods_are_what_their_names_say(few, name, kind, passes):
    method = built(few, few.problem(0), name, "linear", 0.07)
    assert (type(method).__name__, method.passes) == (kind, passes)
    if name in cure_runs.LEARNING:
        assert (method.step_size, method.momentum, method.clip, method.steps) == (0.07, 0.5, 5.0, 10)


def test_a_ratio_makes_a_step_for_each_entry_of_lam(few):
    problem = few.problem(0)
    assert problem.step(0.1) == 0.1
    np.testing.assert_allclose(problem.step(0.1, 5), [0.1, 0.1, 0.5, 0.5], rtol=1e-6)


def test_svi_at_test_time_is_the_steps_written_out(few):
    problem = few.problem(0)
    theta = problem.model.init(np.random.default_rng(0))
    x, lam = problem.test[:3].astype(float), np.random.default_rng(1).standard_normal((3, 4))
    rng, v, expected = np.random.default_rng(2), 0.0, lam
    for _ in range(2):
        noise = problem.model.draw_noise(rng, 1, 3, lam.dtype)
        g = problem.model.objective(theta, x).gradient(expected, noise).d_lam
        g = g * np.minimum(1, problem.clip / np.linalg.norm(g, axis=1, keepdims=True))
        v = 0.5 * v - g
        expected = expected + 0.03 * v
    np.testing.assert_allclose(cure_runs.refined(problem, theta, lam, x, 0.03, steps=2), expected, rtol=1e-10)


@pytest.fixture
def searching(monkeypatch):
    """Runs whose loss is known, lowest at learning rate 0.008 and step size 0.02: [(setup, point, part), ...] as asked for."""
    asked = []

    def trained(setup, problem, name, cure, seed, point, part):
        asked.append((setup, point, part))
        off = abs(np.log(point["learning_rate"] / 0.008)) + abs(np.log(point.get("step_size", 0.02) / 0.02))
        assert (name, cure, seed) == ("sa-vae", "linear", cure_runs.TUNING_SEED) or name == "vae"
        return cure_runs.Run(None, point, [{name: 9, "vae-then-svi": 9}, {name: off, "vae-then-svi": off}], [])

    monkeypatch.setattr(cure_runs, "trained", trained)
    return asked


def test_a_reference_searches_the_step_in_short_runs_then_the_learning_rate_in_whole_ones(few, searching):
    few = few.reference()
    found = cure_runs.settled(few, "sa-vae", "linear")
    assert found["point"] == {"learning_rate": 0.008, "step_size": 0.02}
    parts = [part for _, _, part in searching]
    assert parts == sorted(parts) and set(parts) == {cure_runs.TUNING, 1.0}
    assert all(point["step_size"] == 0.02 for _, point, part in searching if part == 1.0)
    assert len(found["curve"]) == len(searching) and cure_runs.settled(few, "vae", "mlp")["point"] == {
        "learning_rate": 0.008
    }


def test_another_size_searches_the_step_alone_and_other_data_nothing(few, searching):
    other = few._replace(train=30)
    found = cure_runs.settled(other, "sa-vae", "linear")
    assert found["point"] == {"learning_rate": 0.008, "step_size": 0.02}
    assert {part for setup, _, part in searching if setup == other} == {cure_runs.TUNING}
    assert {row["learning_rate"] for row in found["curve"]} == {0.008}
    assert cure_runs.settled(few._replace(data="mnist"), "sa-vae", "linear") == {"point": found["point"], "curve": []}
    assert cure_runs.settled(other, "vae", "linear")["curve"] == []


@pytest.fixture
def known_point(monkeypatch):
    """A learning rate and step that nobody searches."""
    point = {"learning_rate": 0.004, "step_size": 0.05}
    monkeypatch.setattr(cure_runs, "settled", lambda *names: {"point": point})
    return point


def test_a_trial_is_worth_its_best_stage_on_validation_examples(few, known_point):
    found = cure_runs.trial(few, "vae", "linear", 0)
    history = found["history"]
    assert set(found["readings"]) == {"vae", "vae-then-svi"} and found["point"] == known_point
    for reading, row in found["readings"].items():
        losses = [stage[reading] for stage in history]
        assert row["end"]["valid"] == min(losses)
        assert row["converged"] == (losses.index(min(losses)) < len(losses) - 1)
        early = [stage[reading] for stage in history if stage["cpu"] <= 1.05 * few.seconds / 4]
        assert row["quarter"]["valid"] == (min(early) if early else losses[0])
    assert (
        "step_size" not in found["readings"]["vae"]["end"] and "step_size" in found["readings"]["vae-then-svi"]["end"]
    )


@pytest.mark.parametrize(
    "losses, end, quarter, converged", [((5, 4, 3), 2, 0, False), ((5, 3, 4), 1, 0, True), ((1, 3, 4), 0, 0, True)]
)
def test_a_run_whose_last_stage_is_its_best_has_not_converged(
    few, known_point, monkeypatch, losses, end, quarter, converged
):
    history = [
        {"epoch": i, "cpu": few.seconds * s, "sa-vae": loss} for i, (s, loss) in enumerate(zip((0.26, 0.5, 1), losses))
    ]
    monkeypatch.setattr(cure_runs, "trained", lambda *arguments: cure_runs.Run(None, known_point, history, []))
    monkeypatch.setattr(cure_runs, "_measured", lambda problem, run, reading, stage, chosen=None: stage)
    found = cure_runs.trial(few, "sa-vae", "linear", 0)["readings"]["sa-vae"]
    assert found == {"converged": converged, "end": end, "quarter": quarter}


def test_what_is_done_is_not_done_again(few, known_point, monkeypatch):
    first = cure_runs.trial(few, "sa-vae", "linear", 0)
    monkeypatch.setattr(cure_runs, "fit_stopped", None)
    assert cure_runs.trial(few, "sa-vae", "linear", 0) == first


def test_the_split_of_a_decoder_that_ignores_z_is_known(few):
    """Then log p(x) = -784 log 2, the best Gaussian is the prior, and the guess is worse by its KL."""
    problem = few.problem(0)
    method = savi.VAE(problem.encoders["linear"]())
    theta, phi = np.zeros(problem.model.size), np.random.default_rng(0).normal(0, 0.02, method.size)
    x = problem.test[:5].astype(float)
    found = gaps_over_time.parts(problem, method, theta, phi, x, 0.05)
    lam = method.infer(problem.model, theta, phi, x, None)
    mu, log_var = lam[:, :2], lam[:, 2:]
    kl = 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1).mean()
    assert found["nll"] == pytest.approx(784 * np.log(2), abs=0.05)
    assert found["best"] - found["nll"] == pytest.approx(0, abs=0.1)
    assert found["guess"] - 784 * np.log(2) == pytest.approx(kl, rel=1e-6)
    assert found["guess"] > found["refined"] >= found["best"] - 1e-6


def test_sequences_keep_their_oracle_and_step_more_for_log_var(known_point, monkeypatch, tmp_path):
    monkeypatch.setattr(
        cures, "_oracle", lambda seed: synthetic.load(seed, "tanh", (30, 10, 10), 3, vocabulary=12, units=6)
    )
    setup = Setup("sequences", 20, 0.05, str(tmp_path), settled_at=(20, 0.05))
    problem = setup.problem(1)
    assert problem.exact and problem.model.size == 0 and len(problem.dataset.train) == 20
    method = built(setup, problem, "sa-vae", "small", 0.01)
    np.testing.assert_allclose(method.step_size, [0.01, 0.01, 0.025, 0.025], rtol=1e-6)
    end = cure_runs.trial(setup, "sa-vae", "small", 1)["readings"]["sa-vae"]["end"]
    assert {"step_size", "ratio", "neg_elbo"} <= end.keys() and "nll" not in end


# --- tables ------------------------------------------------------------------------------------------------------------------


def row(method, cure, seed, valid, neg_elbo, quarter=(0, 0), n=100):
    measured = [{"valid": v, "neg_elbo": t, "epochs": 1, "cpu": 1} for v, t in ((valid, neg_elbo), quarter)]
    return {
        "data": "glyphs", "n": n, "method": method, "cure": cure, "seed": seed, "converged": True,
        "end": measured[0], "quarter": measured[1],
    }  # fmt: skip


ROWS = [
    *(row("sa-vae", "mlp", s, 5, v) for s, v in enumerate((10, 11, 12))),
    *(
        row("sa-vae", "linear", s, 6, v) for s, v in enumerate((7, 8, 9))
    ),  # better on test, worse on validation examples
    *(row("vae", "mlp", s, 9, 20 + s, (3, 30)) for s in range(3)),
    *(row("vae", "linear", s, 8, 13 + 2 * s, (4, 29)) for s in (1, 0)),
    *(row("vae+svi", "mlp", s, 7, 50) for s in range(3)),
]


def test_validation_examples_choose_the_encoder_and_the_opponent():
    assert cure_tables.best_cure(ROWS, "glyphs", 100, "sa-vae") == "mlp"
    assert cure_tables.best_cure(ROWS, "glyphs", 100, "vae") == "linear"
    assert cure_tables.best_cure(ROWS, "glyphs", 100, "vae", "quarter") == "mlp"
    assert cure_tables.best_opponent(ROWS, "glyphs", 100, ("vae", "vae+svi")) == ("vae+svi", "mlp")


def test_differences_are_paired_over_the_seeds_that_both_have():
    found = cure_tables.paired(ROWS, "glyphs", 100, ("sa-vae", "mlp"), ("vae", "linear"))
    d = np.array([10 - 13, 11 - 15])
    assert found == pytest.approx((d.mean(), d.std(ddof=1) / np.sqrt(2), 2, 2))


def test_encoders_are_compared_alike_too():
    mlp, linear = cure_tables.alike(ROWS, "glyphs", 100, "sa-vae", ("vae",))
    assert "mlp: minus vae -10.00 ± 0.00 (lower in 3 of 3): better" in mlp
    assert "linear: minus vae -6.50 ± 0.50 (lower in 2 of 2): better" in linear


def test_the_spread_over_encoders_is_that_of_their_means():
    assert cure_tables.over_encoders(ROWS, "glyphs", 100, "sa-vae") == (8, 11)
    assert cure_tables.over_encoders(ROWS, "glyphs", 100, "vae") == (14, 21)
    assert cure_tables.robustness(ROWS, "glyphs", 100, ("sa-vae", "vae")).endswith("sa-vae 3.0, vae 7.0")


def test_rows_of_another_size_are_not_seen():
    more = [*ROWS, row("sa-vae", "mlp", 0, 0, 0, n=300)]
    assert cure_tables.mean(cure_tables.of(more, "glyphs", 100, "sa-vae", "mlp"), "neg_elbo") == 11
    assert cure_tables.mean(cure_tables.of(more, "glyphs", 300, "sa-vae", "mlp"), "neg_elbo") == 0


def test_a_table_marks_the_best_encoder_and_leaves_out_what_was_not_measured():
    lines = cure_tables.table(ROWS, "glyphs", 100, ("sa-vae",))
    assert "mlp*" in lines[1] and "11.00 ± 1.00" in lines[1] and "nan" not in "".join(lines)
    assert "linear " in lines[2] and "3 of 3" in lines[2]


def test_a_trial_gives_a_row_for_each_reading():
    trial = {"cure": "mlp", "seed": 3, "readings": {"vae": {"converged": True, "end": {"neg_elbo": 1}, "quarter": {}}}}
    (found,) = cure_tables.flat("mnist", 8000, trial)
    assert found["method"] == "vae" and found["end"] == {"neg_elbo": 1} and (found["n"], found["seed"]) == (8000, 3)
