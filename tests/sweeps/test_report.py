"""Reports: the numbers of any folder are what NumPy says of its files; what is not there, or damaged, is said in a sentence."""

import csv
import io
import json
import math
import os

import numpy as np
import pytest
from test_sweep import FUNCTIONS

import savi
from savi.__main__ import main
from savi.engine.files import InputError, keep, kept
from savi.experiments import tables
from savi.sweeps.collected import collect, groups
from savi.sweeps.paired import EQUAL, SECONDS
from savi.sweeps.plan import read
from savi.sweeps.report import number, report
from savi.sweeps.sweep import sweep

RNG = np.random.default_rng(0)
METHODS, STEPS, SEEDS = ("vae", "svi", "sa-vae"), (5, 20), (0, 1, 2, 3)
LOSS = {
    (method, steps, seed): 100 + 3 * i - math.log(steps) + seed + RNG.normal()
    for i, method in enumerate(METHODS)
    for steps in STEPS
    for seed in SEEDS
}
PACE = {"vae": 1.0, "svi": 2.0, "sa-vae": 4.0}  # seconds an epoch


def curve(method, steps, seed):
    """[epoch, seconds, test -ELBO]: a line that falls by ten nats an epoch to the loss at epoch 3."""
    loss = LOSS[method, steps, seed]
    return [(epoch, epoch * PACE[method] * (1 + 0.01 * seed), loss + 10 * (3 - epoch)) for epoch in range(4)]


def result(method, steps, seed):
    history = [{"epoch": e, "cpu": cpu, "test_neg_elbo": loss} for e, cpu, loss in curve(method, steps, seed)]
    loss = LOSS[method, steps, seed]
    row = {"method": method, "seed": seed, "kl": 20.0, "neg_elbo": loss, "gap_converged": True, "epochs": 3}
    return {"row": row | {"cpu": history[-1]["cpu"]}, "curve": {"history": history}, "data": "d"}


@pytest.fixture(autouse=True)
def pictures(request, monkeypatch):
    """Pictures are made where they are asked about."""
    if "pictures" not in request.function.__name__:
        monkeypatch.setattr("savi.sweeps.report._draw", lambda *arguments: None)


@pytest.fixture
def folder(tmp_path):
    """A sweep of three methods, two numbers of steps and four seeds, of which one failed and one has not ended."""
    grid = {"method": list(METHODS), "steps": list(STEPS), "seed": list(SEEDS)}
    plan = read({"settings": {"data": "glyphs"}, "grid": grid})
    keep(tmp_path / "sweep.json", {"function": None, "runs": plan.runs, "varied": plan.varied})
    for name, run in plan.runs.items():
        if name not in ("method=svi,steps=5,seed=1", "method=svi,steps=5,seed=2"):
            keep(tmp_path / name / "result.json", result(run["method"], run["steps"], run["seed"]))
    keep(tmp_path / "errors.json", {"method=svi,steps=5,seed=1": "worker w: ValueError: it | is bad"})
    return tmp_path


def seeds_of(method, steps):
    return [seed for seed in SEEDS if (method, steps) != ("svi", 5) or seed in (0, 3)]


def losses(method, steps, seeds=None):
    return np.array([LOSS[method, steps, seed] for seed in seeds or seeds_of(method, steps)])


def written(folder):
    return json.loads((folder / "report" / "report.json").read_text())


def test_means_standard_errors_and_how_many_are_those_of_the_files(folder):
    report(str(folder))
    found = written(folder)["groups"]
    assert [(g["settings"]["method"], g["settings"]["steps"]) for g in found] == [
        (m, s) for m in METHODS for s in STEPS
    ]
    for group in found:
        values = losses(*group["settings"].values())
        assert (group["n"], group["planned"]) == (len(values), 4)
        told = group["measures"]["neg_elbo"]
        np.testing.assert_allclose(told["mean"], values.mean(), rtol=1e-12)
        np.testing.assert_allclose(told["error"], values.std(ddof=1) / math.sqrt(len(values)), rtol=1e-12)


def test_differences_are_paired_by_seed_with_the_best_other_of_the_same_settings(folder):
    report(str(folder))
    found = written(folder)["differences"]["neg_elbo"]
    assert len(found) == 6
    for pair in found:
        method, steps = pair["settings"].values()
        others = sorted((losses(m, steps).mean(), m) for m in METHODS if m != method)
        other = others[0][1]
        seeds = [seed for seed in seeds_of(method, steps) if seed in seeds_of(other, steps)]
        d = losses(method, steps, seeds) - losses(other, steps, seeds)
        error = d.std(ddof=1) / math.sqrt(len(d))
        assert (pair["minus"], pair["n"], pair["lower in"]) == (other, len(d), int((d < 0).sum()))
        np.testing.assert_allclose([pair["mean"], pair["error"]], [d.mean(), error], rtol=1e-9)
        expected = "not told apart" if abs(d.mean()) <= 2 * error else "better" if d.mean() < 0 else "worse"
        assert pair["verdict"] == expected


def test_at_equal_seconds_a_run_is_read_where_the_quickest_one_ends(folder):
    report(str(folder))
    last = 3 * PACE["vae"]
    for group in written(folder)["groups"]:
        method, steps = group["settings"].values()
        expected = []
        for seed in seeds_of(method, steps):
            epoch = last / (PACE[method] * (1 + 0.01 * seed))  # its loss falls by ten an epoch
            expected.append(LOSS[method, steps, seed] + 10 * (3 - epoch))
        assert group["measures"][SECONDS]["mean"] == pytest.approx(last)
        assert group["measures"][EQUAL]["mean"] == pytest.approx(np.mean(expected))
    assert set(written(folder)["differences"]) == {"neg_elbo", EQUAL}


def test_against_by_where_measure_and_higher_choose(folder):
    report(str(folder), against="vae", where={"steps": "20"}, measures=["kl", "neg_elbo"])
    found = written(folder)
    assert list(found["differences"]) == ["kl"] and [p["minus"] for p in found["differences"]["kl"]] == ["vae", "vae"]
    assert {g["settings"]["steps"] for g in found["groups"]} == {20} and len(found["groups"]) == 3
    assert list(found["groups"][0]["measures"]) == ["kl", "neg_elbo"]
    report(str(folder), by="steps", measures=["neg_elbo"], higher=True)
    for pair in written(folder)["differences"]["neg_elbo"]:
        assert pair["minus"] == str(25 - pair["settings"]["steps"])
        certain = abs(pair["mean"]) > 2 * pair["error"]
        assert pair["verdict"] == ("not told apart" if not certain else "better" if pair["mean"] > 0 else "worse")


def test_the_best_other_is_the_highest_where_higher_is_better(folder):
    report(str(folder), measures=["neg_elbo"], higher=True, where={"steps": "20"})
    assert {pair["minus"] for pair in written(folder)["differences"]["neg_elbo"]} == {"sa-vae", "svi"}


def test_every_run_is_a_row_of_the_csv_with_its_error(folder):
    printed = report(str(folder))
    rows = list(csv.DictReader(io.StringIO((folder / "report" / "rows.csv").read_text())))
    assert len(rows) == 24 and list(rows[0])[:4] == ["run", "method", "steps", "seed"]
    for row in rows:
        if row["error"]:
            assert row["neg_elbo"] == ""
        else:
            assert float(row["neg_elbo"]) == LOSS[row["method"], int(row["steps"]), int(row["seed"])]
    errors = {row["run"]: row["error"] for row in rows if row["error"]}
    assert errors["method=svi,steps=5,seed=1"] == "worker w: ValueError: it | is bad"
    assert errors["method=svi,steps=5,seed=2"] == "it has not ended" and written(folder)["errors"] == errors
    assert "2 runs without numbers, the first of them method=svi,steps=5,seed=1: worker w" in printed
    assert any(line.split()[:5] == ["svi", "5", "2", "of", "4"] for line in printed.splitlines())


def test_pictures_and_tables_are_there_and_do_not_change_when_they_are_made_again(folder):
    report(str(folder))
    names = ["against-steps.png", "report.json", "report.md", "report.tex", "rows.csv", "seconds.png"]
    assert sorted(os.listdir(folder / "report")) == names
    before = {name: (folder / "report" / name).read_bytes() for name in names}
    assert before["seconds.png"][:4] == before["against-steps.png"][:4] == b"\x89PNG"
    report(str(folder))
    assert before == {name: (folder / "report" / name).read_bytes() for name in names}
    text = before["report.tex"].decode()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    assert r"$\pm$" in text and "±" not in text.replace("% Mean ±", "")
    assert before["report.md"].decode().count("\n| --- | ---") == 3


@pytest.mark.parametrize("values", [[1, 2], ["a", "b"], [[1, 2], [3]], [[1], None]])
def test_pictures_of_any_kind_of_setting(tmp_path, values):
    runs = {f"k={i}": {"k": value} for i, value in enumerate(values)}
    keep(tmp_path / "sweep.json", {"function": "f.py:f", "runs": runs, "varied": ["k"]})
    for i, name in enumerate(runs):
        keep(tmp_path / name / "result.json", {"loss": math.nan if i else 1.0})
    report(str(tmp_path))
    assert (tmp_path / "report" / "against-k.png").stat().st_size > 5000


def test_letters_that_mean_something_to_latex_or_markdown_do_not():
    assert tables.in_latex([["a_b", "-ELBO"], ["x\\y|z", "-1.5 ± 2"]]).splitlines()[4] == (
        r"x\textbackslash{}y|z & $-$1.5 $\pm$ 2 \\"
    )
    assert r"a\_b & -ELBO" in tables.in_latex([["a_b", "-ELBO"]])
    assert tables.in_markdown([["a"], ["b|c"]]).endswith("| b\\|c |")


@pytest.mark.parametrize(
    "mean, error, words",
    [
        (183.4567, 0.123, "183.46 ± 0.12"), (1234.5, 67.0, "1234 ± 67"), (0.5, 0.00123, "0.5000 ± 0.0012"),
        (12.0, 0.0, "12 ± 0"), (9.7, 1e-17, "9.7 ± 0"), (3.25, math.nan, "3.25"),
    ],
)  # fmt: skip
def test_a_number_is_shown_to_two_digits_of_its_error(mean, error, words):
    assert number(mean, error) == words


# --- other folders ----------------------------------------------------------------------------------------------------------


def test_a_comparison_has_the_rows_of_its_csv_and_pictures(tmp_path, capsys):
    n = np.random.default_rng(0).poisson(1.0, (60, 9))
    task = savi.Task(
        "beans", "beans", lambda: savi.data.Dataset("beans", n[:40], n[40:50], n[50:]),
        decoder=lambda s: savi.MLPDecoder(savi.MLP([s.latent, 9]), savi.Multinomial()),
        encoders={"mlp": lambda s, outputs: savi.MLP([9, outputs])},
        defaults={"latent": 2, "iw_samples": 20, "gap_examples": 3, "steps": 2, "batch": 10, "train_examples": None},
    )  # fmt: skip
    out = str(tmp_path / "out")
    found = savi.compare(task, out, say=lambda text: None, methods=["vae", "svi"], seeds=[0, 1], epochs=2, tune="none")
    assert main(["report", out]) == 0
    assert "\nwritten to " in capsys.readouterr().out
    told = written(tmp_path / "out")
    for group in told["groups"]:
        expected = tables.values(found, group["settings"]["method"], "neg_elbo")
        assert group["measures"]["neg_elbo"]["mean"] == expected.mean() and group["n"] == group["planned"] == 2
    mean, error, n, below = tables.paired(found, "vae", "svi")
    first = told["differences"]["neg_elbo"][0]
    assert [first[key] for key in ("minus", "mean", "error", "n", "lower in")] == ["svi", mean, error, n, below]


def test_a_plan_of_a_function_without_seeds(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "marks").mkdir()
    shared = {"folder": str(tmp_path / "marks"), "bad": [2]}
    plan = {"function": f"{tmp_path}/functions.py:square", "settings": shared, "grid": {"x": [1, 2, 3]}}
    with pytest.raises(InputError, match="2 is bad"):
        sweep(read(plan), str(tmp_path / "out"), jobs=1, say=lambda text: None)
    printed = report(str(tmp_path / "out"))
    assert [line.split() for line in printed.splitlines()[1:5]] == [
        ["x", "n", "y"], ["1", "1", "1"], ["2", "0", "of", "1"], ["3", "1", "9"],
    ]  # fmt: skip
    assert "ValueError: 2 is bad" in printed


def kept_function(tmp_path, *results):
    """The folder of a plan of a function, whose runs gave these results."""
    runs = {f"k={k}": {"k": 1, "seed": k} for k in range(len(results))}
    keep(tmp_path / "sweep.json", {"function": "f.py:f", "runs": runs, "varied": ["k", "seed"]})
    for name, found in zip(runs, results):
        keep(tmp_path / name / "result.json", found)
    return str(tmp_path)


def test_a_run_may_give_several_rows_whose_words_are_settings(tmp_path):
    results = [
        {
            "rows": [
                {"reading": word, "loss": base + seed, "cost": {"cpu": 2.0}} for word, base in (("a", 1.0), ("b", 5.0))
            ]
        }
        for seed in (0, 1, 2)
    ]
    folder = kept_function(tmp_path, *results)
    printed = report(folder, by="reading")
    found = written(tmp_path)
    assert [g["measures"]["loss"]["mean"] for g in found["groups"]] == [2.0, 6.0] and "cost.cpu" in printed
    assert [(p["mean"], p["verdict"]) for p in found["differences"]["loss"]] == [(-4.0, "better"), (4.0, "worse")]


def test_two_rows_of_a_run_that_nothing_tells_apart_are_refused(tmp_path):
    folder = kept_function(tmp_path, {"rows": [{"loss": 1.0}, {"loss": 2.0}]})
    with pytest.raises(InputError, match="two rows of run k=0 differ in no word"):
        report(folder)


def test_a_loss_that_is_not_finite_is_no_difference_and_valid_json(tmp_path):
    results = [{"rows": [{"m": "a", "loss": 1.0 + s}, {"m": "b", "loss": math.nan if s else 1.0}]} for s in (0, 1)]
    folder = kept_function(tmp_path, *results)
    report(folder, by="m")
    text = (tmp_path / "report" / "report.json").read_text()
    assert "NaN" not in text
    assert {pair["verdict"] for pair in json.loads(text)["differences"]["loss"]} == {"one of them diverged"}


def test_many_runs_are_read_in_one_pass(tmp_path, monkeypatch):
    folder = kept_function(tmp_path, *({"loss": float(i)} for i in range(200)))
    opened = []
    monkeypatch.setattr("savi.sweeps.collected.kept", lambda path: opened.append(path) or kept(path))
    found = groups(collect(folder))
    assert len(opened) == 201 and len(found) == 1 and len(found[0].seeds) == 200


# --- bad input --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--measure", "elbow"], ["--measure is elbow", "neg_elbo"]),
        (["--by", "size"], ["--by is size", "method, steps"]),
        (["--by", "seed"], ["--by is seed", "method, steps"]),
        (["--against", "em"], ["--against is em", "sa-vae, svi, vae"]),
        (["--where", "size=3"], ["--where is size", "method, steps, seed"]),
        (["--where", "steps"], ["--where is 'steps'", "KEY=VALUE"]),
        (["--where", "steps=3"], ["has numbers"]),
        (["--out", " "], ["--out", "a folder"]),
    ],
)
def test_a_wrong_flag_gets_one_sentence_and_exit_code_2(folder, capsys, arguments, words):
    assert main(["report", str(folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("savi: ") and error.count("\n") == 1 and all(word in error for word in words), error
    assert not (folder / "report").exists()


def test_a_folder_that_is_none_or_holds_nothing_gets_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    keep(tmp_path / "begun" / "sweep.json", {"function": "f.py:f", "runs": {"x=1": {"x": 1}}, "varied": ["x"]})
    for name, words in {
        "none": "is no folder; expected one that `compare` or `sweep` has written",
        "file": "is no folder",
        "empty": "has neither sweep.json nor settings.json; expected the folder of a sweep or compare",
        "begun": "has numbers; expected one that has ended (x=1: it has not ended)",
    }.items():
        assert main(["report", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("savi: ") and error.count("\n") == 1 and words in error, error


@pytest.mark.parametrize("name", ["sweep.json", "errors.json", "method=svi,steps=20,seed=0/result.json"])
@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: text.replace("seed", "sead")])
def test_a_damaged_file_is_named(folder, capsys, name, damage):
    path = folder / name
    path.write_text(damage(path.read_text()))
    if name == "errors.json":
        path.write_text("[]")
    assert main(["report", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("savi: ") and error.count("\n") == 1 and str(path) in error, error
