"""The main job and the command line: rows, files, resuming, and one clear sentence for every wrong input."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import savi
from savi import data
from savi.__main__ import main
from savi.data import Dataset, synthetic
from savi.engine.files import keep, kept
from savi.experiments import methods, tables
from savi.experiments.catalogue import TASKS
from savi.experiments.methods import STEP_SIZES, build
from savi.experiments.settings import Settings, settings_of
from savi.experiments.tasks import Task
from savi.sweeps import compare, needs, runs

SMALL = {
    "epochs": 2, "steps": 2, "latent": 2, "hidden": [8], "batch": 10, "train_examples": 40, "test_examples": 12,
    "iw_samples": 20, "gap_examples": 4, "seeds": [0],
}  # fmt: skip
FLAGS = [
    word
    for name, value in SMALL.items()
    for word in ("--" + name.replace("_", "-"), *map(str, value if isinstance(value, list) else [value]))
]
ROW = {
    "method", "seed", "neg_elbo", "reconstruction", "kl", "nll_iw", "amortization_gap", "ms_per_step", "train_seconds",
    "epochs", "cpu", "passes",
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
    """Random images in place of the glyphs, which take seconds to draw."""
    rng = np.random.default_rng(0)
    parts = [rng.random((n, 784), dtype=np.float32) ** 3 for n in (60, 20, 20)]
    original = data.load
    monkeypatch.setattr(
        data, "load", lambda name, *a: Dataset(name, *parts) if name == "glyphs" else original(name, *a)
    )


METHODS = list(Settings.methods)


def run(*arguments):
    return main(["compare", "--quiet", "--jobs", "1", *FLAGS, *map(str, arguments)])


def without_times(rows):
    return [{k: v for k, v in row.items() if k not in ("ms_per_step", "train_seconds", "cpu")} for row in rows]


def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A comparison of all methods over two seeds, run once: its folder."""
    return tmp_path_factory.mktemp("whole") / "out"


def test_every_method_gets_a_row_with_every_column_and_all_files_are_written(whole, capsys):
    assert run("--out", whole, "--seeds", 0, 1) == 0
    saved = results(whole)
    assert {"settings", "rows"} <= set(saved)
    assert [(row["method"], row["seed"]) for row in saved["rows"]] == [(m, s) for s in (0, 1) for m in METHODS]
    for row in saved["rows"]:
        assert set(row) >= ROW
        assert all(np.isfinite(row[key]) for key in ROW - {"method"})
        assert row["neg_elbo"] == pytest.approx(row["reconstruction"] + row["kl"])
    assert (whole / "results.csv").read_text().count("\n") == 1 + len(saved["rows"])
    assert {"compare.png", "reconstructions.png"} <= {path.name for path in whole.iterdir()}
    printed = capsys.readouterr().out
    assert all(name in printed for name in METHODS) and "±" in printed
    assert not list(whole.rglob("*.part"))


def test_an_interrupted_comparison_resumes_to_the_same_numbers(whole, tmp_path, monkeypatch):
    out, calls, gradient = tmp_path / "out", [0], savi.SAVAE.gradient

    def interrupted(self, *arguments, **options):
        calls[0] += 1
        if calls[0] == 6:
            raise KeyboardInterrupt
        return gradient(self, *arguments, **options)

    monkeypatch.setattr(savi.SAVAE, "gradient", interrupted)
    monkeypatch.setattr(needs, "needs", lambda *_: None)  # which takes steps, too
    assert run("--out", out, "--seeds", 0, 1) == 130
    assert (out / "sa-vae-seed0" / "last.npz").exists()
    assert run("--out", out, "--seeds", 0, 1, "--resume") == 0
    if not (whole / "results.json").exists():
        monkeypatch.setattr(savi.SAVAE, "gradient", gradient)
        run("--out", whole, "--seeds", 0, 1)
    assert without_times(results(out)["rows"]) == without_times(results(whole)["rows"])


def test_the_order_and_company_of_methods_change_no_number(tmp_path):
    assert run("--out", tmp_path / "a", "--methods", "vae", "svi") == 0
    assert run("--out", tmp_path / "b", "--methods", "svi") == 0
    assert without_times(results(tmp_path / "a")["rows"])[1:] == without_times(results(tmp_path / "b")["rows"])


def test_a_folder_with_results_is_not_overwritten(tmp_path, capsys):
    assert run("--out", tmp_path / "a", "--methods", "vae") == 0
    before = (tmp_path / "a" / "results.json").read_bytes()
    assert run("--out", tmp_path / "a", "--methods", "vae") == 2
    assert "--resume" in capsys.readouterr().err
    assert run("--out", tmp_path / "a", "--methods", "vae", "--resume", "--latent", 3) == 2
    assert "latent" in capsys.readouterr().err
    assert (tmp_path / "a" / "results.json").read_bytes() == before


def test_without_out_the_next_free_folder_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("--methods", "vae", "--epochs", 1) == 0
    assert run("--methods", "vae", "--epochs", 1, "--resume") == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["compare", "compare-2"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--methods", "vea"], ["vea", "sa-vae"]),
        (["--data", "cifar"], ["cifar", "glyphs", "synthetic"]),
        (["--epochs", "0"], ["epochs", ">= 1"]),
        (["--batch", "0"], ["batch"]),
        (["--latent", "0"], ["784, 8, 0", "expected a whole number >= 1"]),
        (["--hidden", "-3"], ["-3", "expected a whole number >= 1"]),
        (["--steps", "-1"], ["steps", "-1"]),
        (["--momentum", "1.5"], ["momentum", "1.5"]),
        (["--step-size", "-1"], ["--step-size is -1.0", ">= 0"]),
        (["--step-size", "nan", "--methods", "iterative"], ["--step-size is nan", "finite"]),
        (["--momentum", "1", "--methods", "iterative"], ["--momentum is 1.0", "[0, 1)"]),
        (["--inner-clip", "-1", "--methods", "em"], ["--inner-clip is -1.0"]),
        (["--iterations", "0", "--methods", "vae"], ["--iterations is 0"]),
        (["--warmup-epochs", "inf"], ["--warmup-epochs is inf", "finite"]),
        (["--phi-decay", "1e9", "--methods", "svi"], ["--phi-decay is 1000000000.0", "below 1 / --learning-rate"]),
        (["--latent", str(10**23)], ["theta", "B of memory", "of this machine"]),
        (["--latent", "999999999999"], ["theta", "B of memory", "of this machine"]),
        (["--samples", str(10**23), "--methods", "em"], ["em with", f"samples {10**23}", "B of memory"]),
        (["--steps", "99999999999", "--methods", "svi"], ["svi with", "steps 99999999999", "B of memory"]),
        (["--activation", "relu6"], ["relu6", "tanh"]),
        (["--methods", "vae", "vae"], ["twice"]),
        (["--samples", "0"], ["samples"]),
        (["--learning-rate", "0"], ["--learning-rate is 0"]),
        (["--seeds", "-1"], ["seed"]),
        (["--train-examples", "0"], ["--train-examples is 0", ">= 1"]),
        (["--train-examples", "-5"], ["--train-examples is -5", ">= 1"]),
        (["--methods", "em:adam+sgd"], ["em:adam+sgd", "one optimizer"]),
        (["--methods", "iterative:"], ["iterative:", "unknown", "gradient"]),
        (["--data", "synthetic", "--methods", "vae:highway"], ["highway", "sequences"]),
    ],
)
def test_a_wrong_setting_gets_one_sentence_and_exit_code_2(arguments, words, tmp_path, capsys):
    assert run("--out", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("savi: ") and error.count("\n") == 1
    assert all(word in error for word in words), error


def test_an_unwritable_folder_gets_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run("--out", tmp_path / "file" / "out") == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_diverging_run_names_method_and_step_and_keeps_what_is_there(tmp_path, capsys):
    with np.errstate(all="ignore"):
        assert run("--out", tmp_path / "out", "--methods", "vae", "svi", "--inner-clip", 0, "--step-size", 1e30) == 2
    error = capsys.readouterr().err
    assert "svi" in error and "step" in error and "finite" in error
    assert len(results(tmp_path / "out")["rows"]) == 1


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["data", "--help"]])
def test_help_is_there(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "savi" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["compare", "--no-such-flag"], ["compare", "--epochs", "many"], ["sing"]])
def test_a_wrong_flag_ends_with_exit_code_2(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_without_a_command_the_commands_are_shown(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert all(f"python -m savi {command}" in printed for command in ("compare", "data", "lesson", "check"))


def test_help_names_no_default_where_there_is_none(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    printed = capsys.readouterr().out
    assert "(default: None)" not in printed and "(default: 10)" in printed


def test_data_list_and_fetch_speak_plainly(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SAVI_CACHE", str(tmp_path))
    assert main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("glyphs", "mnist", "omniglot"))
    assert main(["data", "fetch", "cifar"]) == 2
    assert "cifar" in capsys.readouterr().err


def test_python_dash_m_savi_works():
    done = subprocess.run([sys.executable, "-m", "savi", "data", "list"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "glyphs" in done.stdout


SETTINGS = settings_of(TASKS["glyphs"], {"latent": 2, "hidden": [6, 6], "iterations": 3})


@pytest.mark.parametrize(
    "name, expected",
    [
        ("iterative", "encodings=(Gradient(0.1, 1e-05), Data())"),
        ("iterative:gradient", "encodings=(Gradient(0.1, 1e-05),)"),
        ("iterative:error+data", "encodings=(Error(), Data())"),
        ("iterative:error+residual+learned", "update=Residual(), start='learned'"),
        ("iterative:gradient+encoder+every", "start=MLP([784, 6, 6, 4], 'tanh'), theta_at='every'"),
        ("em", "VariationalEM(optimizer=Adam("),
        ("em:momentum", "VariationalEM(optimizer=Momentum("),
        ("vae:highway", "encoder=HighwayMLP([784, 6, 6, 4]"),
    ],
)
def test_words_behind_a_colon_choose_a_methods_parts(name, expected):
    model, method = build(name, TASKS["glyphs"], SETTINGS)
    assert expected in repr(method)
    x = np.zeros((2, 784), np.float32)
    theta, phi = (thing.init(np.random.default_rng(0), np.float32) for thing in (model, method))
    assert np.isfinite(method.gradient(model, theta, phi, x, np.random.default_rng(0))[0]).all()


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "iterative:momentum",
            "the 'momentum' of method iterative:momentum is unknown; expected gradient, error, data",
        ),
        ("em:newton", "expected sgd, momentum, rmsprop, adam"),
        ("vae:deep", "expected highway"),
        ("svi:fast", "expected no colon"),
        ("iterative:learned+encoder", "the start of an iterative model is learned and encoder; expected one"),
        ("pixelcnn", "method is 'pixelcnn'"),
    ],
)
def test_an_unknown_word_is_one_clear_sentence(name, message, tmp_path, capsys):
    assert run("--methods", name, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_iterative_methods_are_compared_like_any_other(tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--out", out, "--methods", "vae", "iterative:gradient", "iterative:error+data", "em:adam") == 0
    assert [row["method"] for row in results(out)["rows"]] == [
        "vae",
        "iterative:gradient",
        "iterative:error+data",
        "em:adam",
    ]
    assert (out / "iterative-gradient-seed0" / "last.npz").exists()
    assert (out / "compare.png").stat().st_size > 10_000


def test_every_method_is_compared_on_sequences(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(synthetic, "VOCABULARY", 9)
    monkeypatch.setattr(synthetic, "UNITS", 5)
    load = synthetic.load
    monkeypatch.setattr(synthetic, "load", lambda: load(0, examples=(60, 20, 20), vocabulary=9, units=5))
    out, names = tmp_path / "out", ["vae", "svi", "vae+svi", "vae+svi+kl", "sa-vae", "iterative", "em:adam"]
    assert run("--data", "synthetic", "--out", out, "--methods", *names) == 0
    rows = results(out)["rows"]
    assert [row["method"] for row in rows] == names
    assert all(np.isfinite(row[key]) for row in rows for key in ROW - {"method"})
    assert not (out / "reconstructions.png").exists() and "reconstructions" not in capsys.readouterr().out
    assert run("--data", "synthetic", "--out", tmp_path / "b", "--methods", "iterative:error") == 2
    assert "Gradient" in capsys.readouterr().err
    assert run("--data", "synthetic", "--out", tmp_path / "b", "--methods", "vae:highway") == 2


CHANGES = {
    "steps": 3, "iterations": 4, "step_size": 0.03, "momentum": 0.25, "inner_clip": 7.0, "samples": 2, "latent": 3,
    "hidden": [8, 6], "activation": "elu",
}  # fmt: skip
STEPS = {"samples": 2, "step_size": 0.03, "momentum": 0.25, "clip": 7.0}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("vae", STEPS | {"steps": 0, "encoder": "MLP([784, 6, 8, 6], 'elu')"}),
        ("svi", STEPS | {"steps": 3, "start": "prior"}),
        ("vae+svi", STEPS | {"steps": 3, "encoder": "MLP([784, 6, 8, 6], 'elu')", "kl": False}),
        ("vae+svi+kl", STEPS | {"steps": 3, "encoder": "MLP([784, 6, 8, 6], 'elu')", "kl": True}),
        ("sa-vae", STEPS | {"steps": 3, "encoder": "MLP([784, 6, 8, 6], 'elu')", "hvp": "exact"}),
        ("em:sgd", {"steps": 3, "samples": 2, "start": "prior", "optimizer": "SGD(step_size=0.03)"}),
    ],
)  # fmt: skip
def test_the_settings_reach_every_method(name, expected):
    model, method = build(name, TASKS["glyphs"], settings_of(TASKS["glyphs"], CHANGES))
    assert repr(model.decoder) == "MLPDecoder(MLP([3, 8, 6, 784], 'elu'), Bernoulli())" and model.latent_dim == 3
    found = {key: value if value == expected.get(key) else repr(value) for key, value in method.settings().items()}
    assert {key: found.get(key) for key in expected} == expected


def test_the_settings_reach_an_iterative_model():
    settings = settings_of(TASKS["glyphs"], CHANGES | {"hidden": [8, 8]})
    _, method = build("iterative", TASKS["glyphs"], settings)
    expected = "Iterative(steps=4, samples=2, net=HighwayMLP([802, 8, 8, 12], 'elu'), encodings=(Gradient(0.1, 1e-05), Data()), "
    assert repr(method) == expected + "update=Gated(), start='prior', theta_at='last')"


def test_the_test_examples_are_the_first_of_a_fixed_random_order_and_the_picture_shows_the_first_of_those():
    x = np.arange(30.0)[:, None]
    examples = Dataset("numbers", x, test=x)
    task = Task("numbers", "", lambda: examples, TASKS["glyphs"].decoder, TASKS["glyphs"].encoders)
    few, more = (runs.load(task, settings_of(task, {"test_examples": n, "dtype": "float64"}))[1] for n in (5, 12))
    assert len(set(more[:, 0])) == 12 and (np.diff(more[:, 0]) < 0).any() and more.dtype == np.float64
    np.testing.assert_array_equal(few, more[:5])


def test_the_picture_shows_the_first_test_examples(tmp_path):
    found = compare.compare("glyphs", str(tmp_path / "out"), progress=False, say=str, methods=["svi"], **SMALL)
    shown = np.array(found["curves"][0]["reconstructions"]["images"])
    _, x_test = runs.load("glyphs", settings_of(TASKS["glyphs"], SMALL | {"methods": ["svi"]}))
    np.testing.assert_array_equal(shown, np.rint(100 * x_test[: runs.SHOWN]))
    drawn = TASKS["glyphs"].draw(found).axes
    assert len(drawn) == 2 * runs.SHOWN and {ax.images[0].get_clim() for ax in drawn} == {(0, 100)}
    np.testing.assert_array_equal(drawn[1].images[0].get_array().ravel(), shown[1])


def test_a_comparison_that_goes_on_with_its_second_seed_alone_has_its_picture(tmp_path):
    out = tmp_path / "out"
    assert run("--out", out, "--methods", "vae", "--epochs", 1, "--seeds", 0, 1) == 0
    assert run("--out", out, "--methods", "vae", "--epochs", 1, "--seeds", 1, "--resume") == 0
    assert [row["seed"] for row in results(out)["rows"]] == [1]


# --- methods that read one training -----------------------------------------------------------------------------------------

PAIR = ["vae", "vae-then-svi"]


def paired(out, *methods, resume=False, **more):
    """(rows and curves without times by method, what is in each method's folder) of a comparison of these methods."""
    some = {**SMALL, "methods": methods or PAIR, **more}
    found = savi.compare("glyphs", str(out), resume=resume, progress=False, say=lambda text: None, jobs=1, **some)
    curves = json.loads(json.dumps(found["curves"]))
    for curve in curves:
        curve["history"] = [{k: v for k, v in row.items() if k != "seconds"} for row in without_times(curve["history"])]
    told = dict(zip([c["method"] for c in curves], zip(without_times(found["rows"]), curves)))
    return told, {name: (out / compare.folder_of(name, 0) / "result.json").read_bytes() for name in told}


def test_a_row_does_not_depend_on_which_methods_read_the_same_training(tmp_path):
    both, _ = paired(tmp_path / "both")
    alone = {name: paired(tmp_path / name, name)[0][name] for name in PAIR}
    assert both == alone and both["vae"][0]["neg_elbo"] != both["vae-then-svi"][0]["neg_elbo"]
    assert both["vae"][1]["history"] != both["vae-then-svi"][1]["history"]


def test_methods_that_differ_at_test_time_alone_are_trained_once(tmp_path, monkeypatch):
    trained, fit = [], runs.fit
    monkeypatch.setattr(
        runs, "fit", lambda model, method, *a, **k: trained.append(repr(method)) or fit(model, method, *a, **k)
    )
    paired(tmp_path / "out", "vae-then-svi", "svi", "vae:highway", "vae", "vae-then-svi:highway")
    assert len(trained) == 3
    rows = {row["method"]: row for row in results(tmp_path / "out")["rows"]}
    assert list(rows) == ["vae-then-svi", "svi", "vae:highway", "vae", "vae-then-svi:highway"]
    for words in ("", ":highway"):
        one, two = (rows[name + words] for name in PAIR)
        assert all(one[key] == two[key] for key in ("cpu", "train_seconds", "ms_per_step", "epochs", "passes"))


@pytest.mark.parametrize("words", ["", ":highway"])
def test_methods_that_read_one_training_have_the_same_gradient_to_the_last_bit(words):
    task, rng = TASKS["glyphs"], np.random.default_rng(0)
    settings = settings_of(task, {"latent": 2, "hidden": [6, 6], "samples": 2})
    (_, one), (model, two) = (build(name + words, task, settings) for name in PAIR)
    theta, phi = (thing.init(rng, np.float32) for thing in (model, one))
    x = (rng.random((5, 784)) < 0.3).astype(np.float32)
    a, b = (method.gradient(model, theta, phi, x, np.random.default_rng(1)) for method in (one, two))
    assert [part.tobytes() for part in a] == [part.tobytes() for part in b] and np.any(a[2])
    assert methods.trainings(["svi", "vae-then-svi" + words, "sa-vae", "vae" + words]) == [
        ("svi",), ("vae" + words, "vae-then-svi" + words), ("sa-vae",)
    ]  # fmt: skip


def test_a_method_that_is_added_later_leaves_the_row_of_the_other_as_it_was(tmp_path):
    first, kept_first = paired(tmp_path / "out", "vae", budget=["seconds", 0.02], epochs=None)
    both, kept_both = paired(tmp_path / "out", resume=True, budget=["seconds", 0.02], epochs=None)
    assert kept_both["vae"] == kept_first["vae"] and both["vae"] == first["vae"]
    epochs = {row["method"]: row["epochs"] for row in results(tmp_path / "out")["rows"]}
    assert epochs["vae-then-svi"] == epochs["vae"]
    (tmp_path / "out" / "vae-then-svi-seed0" / "result.json").write_text("{")
    again, kept_again = paired(tmp_path / "out", resume=True, budget=["seconds", 0.02], epochs=None)
    assert again == both and kept_again["vae"] == kept_first["vae"]


def test_an_interrupted_training_that_two_methods_read_resumes_to_the_same_numbers(tmp_path, monkeypatch):
    calls, gradient = [0], savi.VAE.gradient

    def interrupted(self, *arguments, **options):
        calls[0] += 1
        if calls[0] == 6:
            raise KeyboardInterrupt
        return gradient(self, *arguments, **options)

    monkeypatch.setattr(savi.VAE, "gradient", interrupted)
    monkeypatch.setattr(needs, "needs", lambda *_: None)  # which takes steps, too
    with pytest.raises(KeyboardInterrupt):
        paired(tmp_path / "out")
    assert (tmp_path / "out" / "vae+vae-then-svi-seed0" / "last.npz").exists()
    assert paired(tmp_path / "out", resume=True)[0] == paired(tmp_path / "whole")[0]


def test_a_training_that_fails_is_told_for_each_method_that_reads_it(tmp_path):
    with pytest.raises(savi.InputError, match="2 of 3 runs failed, the first of them vae-seed0: vae: the loss"):
        with np.errstate(all="ignore"):
            paired(tmp_path / "out", "svi", *PAIR, learning_rate=1e30, tune="none", dtype="float64")
    assert set(kept(tmp_path / "out" / "errors.json")) == {"vae-seed0", "vae-then-svi-seed0"}


# --- the inner step is chosen on validation examples ------------------------------------------------------------------------


def tuned(out, tune, **more):
    some = {**SMALL, "methods": ["vae", "vae-then-svi", "sa-vae"], "tune": tune, **more}
    return savi.compare("glyphs", str(out), progress=False, say=lambda text: None, jobs=1, **some)


def test_the_inner_step_of_the_test_time_is_chosen_on_validation_images_and_measured_on_test_images(tmp_path):
    plain, found = tuned(tmp_path / "a", "none"), tuned(tmp_path / "b", "test")
    for before, after in zip(plain["curves"], found["curves"]):
        inner = after["inner"]
        assert (
            inner["train"] == before["inner"]["train"] == before["inner"]["test"]
            and after["history"][1]["test_neg_elbo"]
        )
        if after["method"] == "vae":  # it has no inner step
            assert inner == {"train": {}, "test": {}, "curve": []}
            continue
        assert inner["test"] == {k: v for k, v in min(inner["curve"], key=lambda p: p["loss"]).items() if k != "loss"}
        assert len(inner["curve"]) > 5 and inner["curve"][0] | {"loss": 0} == inner["train"] | {"loss": 0}
    rows = {name: [row["neg_elbo"] for row in r["rows"]] for name, r in (("none", plain), ("test", found))}
    assert rows["none"][0] == rows["test"][0] and rows["none"][1] > rows["test"][1]


def test_tuning_all_chooses_the_inner_step_of_training_too_once_for_all_seeds(tmp_path):
    found = tuned(tmp_path / "out", "all", seeds=[0, 1])
    assert set(found["tuning"]) == {"sa-vae"} == set(kept(tmp_path / "out" / "tuning.json"))
    choice, curve = found["tuning"]["sa-vae"].values()
    assert choice == {k: v for k, v in min(curve, key=lambda p: p["loss"]).items() if k != "loss"}
    assert [c["inner"]["train"] for c in found["curves"] if c["method"] == "sa-vae"] == [choice] * 2
    other = {"sa-vae": {"choice": choice | {"step_size": 0.003}, "curve": curve}}
    keep(tmp_path / "out" / "tuning.json", other)  # a comparison that goes on does not choose again
    again = tuned(tmp_path / "out", "all", seeds=[0, 1, 2], resume=True)
    assert [c["inner"]["train"]["step_size"] for c in again["curves"] if c["method"] == "sa-vae"][2] == 0.003


def test_every_table_says_what_was_tuned(tmp_path):
    lines = tables.tuned(tuned(tmp_path / "none", "none")).splitlines()
    assert "in training each method's own; at test time as in training" in lines[0] and "sa-vae" in lines[2]
    said = tables.tuned(tuned(tmp_path / "set", "none", step_size=0.05))
    assert "in training as set, not tuned; at test time as in training" in said
    words = tables.tuned(tuned(tmp_path / "all", "all", seeds=[0]))
    assert "in training chosen on validation examples; at test time chosen" in words and "not tuned" in words


def test_the_methods_own_step_sizes_are_those_that_tuning_the_default_job_chose():
    path = pathlib.Path(savi.__file__).parents[1] / "figures" / "compare_tuning.json"
    chosen = kept(path)
    assert {"svi", "vae+svi", "vae+svi+kl", "sa-vae"} <= set(chosen)
    for name, found in chosen.items():
        assert found["choice"] == {
            "step_size": STEP_SIZES[name],
            "momentum": Settings.momentum,
            "clip": Settings.inner_clip,
        }
        at = min(found["curve"], key=lambda point: point["loss"])
        assert at["step_size"] == STEP_SIZES[name]
    _, method = build("svi", TASKS["glyphs"], Settings())
    assert method.step_size == STEP_SIZES["svi"]
    assert build("svi", TASKS["glyphs"], Settings(step_size=0.3))[1].step_size == 0.3
