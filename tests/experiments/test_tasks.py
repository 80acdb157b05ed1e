"""Tasks: kinds of data that compare has never seen go through it as the known ones do, and what is wrong with a task is
said in one sentence."""

import json

import numpy as np
import pytest

import savi
from savi import LSTMDecoder, LSTMEncoder, MLPDecoder, Task
from savi.__main__ import main
from savi.data import Dataset, binarize
from savi.engine.files import kept
from savi.experiments.catalogue import TASKS, find, image_decoders, scaled
from savi.experiments.evaluation import bits_per_dim, perplexity
from savi.experiments.methods import build
from savi.experiments.settings import NAMES, Settings, settings_of
from savi.experiments.tables import cells, markdown
from savi.experiments.tasks import BITS_PER_DIM, DROP, NOISE, PERPLEXITY, Family, Measure, mlp_encoders
from savi.sweeps import needs

SMALL = {
    "epochs": 1, "steps": 2, "latent": 2, "hidden": [6], "batch": 10, "test_examples": 12, "iw_samples": 20, "gap_examples": 4,
    "seeds": [0],
}  # fmt: skip
EVERY = ["vae", "svi", "vae+svi", "vae+svi+kl", "sa-vae", "iterative", "em:adam"]


def dataset(name, x, **more):
    return Dataset(name, x[:30], x[30:40], x[40:], **more)


def draw_counts():
    rng = np.random.default_rng(0)
    return dataset("counts", rng.poisson(2 * rng.random((60, 9))))


COUNTS = Task(
    "counts", "how often each of nine things was seen", draw_counts,
    lambda s: MLPDecoder(savi.MLP([s.latent, *s.hidden, 9], s.activation), savi.Multinomial()), mlp_encoders(9),
    encodings=("gradient", "error", "data"), default_encodings=("gradient", "data"),
)  # fmt: skip


def draw_reals():
    rng = np.random.default_rng(1)
    return dataset("reals", rng.standard_normal((60, 2)) @ rng.standard_normal((2, 5)) + rng.standard_normal((60, 5)))


REALS = Task(
    "reals", "points near a plane", draw_reals,
    lambda s: MLPDecoder(savi.MLP([s.latent, *s.hidden, 5], s.activation), savi.Gaussian("per_dimension")),
    mlp_encoders(5), measures=(BITS_PER_DIM,), defaults={"latent": 3, "methods": ("svi", "vae"), "step_size": 0.01},
)  # fmt: skip


def draw_tokens():
    rng = np.random.default_rng(2)
    tokens, lengths = rng.integers(0, 7, (60, 6)), rng.integers(1, 7, (60, 1))
    return dataset("tokens", np.where(np.arange(6) < lengths, tokens, -1), vocabulary=7)


TOKENS = Task(
    "tokens", "words of seven letters, of any length", draw_tokens,
    lambda s: LSTMDecoder(7, 4, 5, s.latent, s.hidden, s.activation),
    {"lstm": lambda s, outputs: LSTMEncoder(7, 4, 5, outputs)}, measures=(PERPLEXITY,),
)  # fmt: skip

UNSEEN = pytest.mark.parametrize("task", [COUNTS, REALS, TOKENS], ids=lambda task: task.name)


def compared(task, out, **changes):
    return savi.compare(task=task, out=str(out), progress=False, say=lambda text: None, **SMALL | changes)


# --- kinds of data that compare has never seen ------------------------------------------------------------------------------


@UNSEEN
def test_every_method_is_compared_on_a_task_of_ones_own(task, tmp_path):
    more = [f"vae:{word}" for word in list(task.encoders)[1:]] + [f"iterative:{word}" for word in task.encodings[1:]]
    results = compared(task, tmp_path / "out", methods=EVERY + more)
    assert [row["method"] for row in results["rows"]] == EVERY + more
    assert results["settings"]["data"] == task.name and results["data"] == task.load().name
    for row in results["rows"]:
        assert all(np.isfinite(value) for key, value in row.items() if key != "method")
        assert {measure.name for measure in task.measures} <= set(row)
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    files = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert files == {"settings.json", "plan.json", "results.json", "errors.json", "results.csv", "compare.png"}


def test_perplexity_counts_no_padding_and_stands_behind_the_estimate_that_it_is_made_of(tmp_path):
    results = compared(TOKENS, tmp_path / "out", methods=["svi"], test_examples=100)
    (row,) = results["rows"]
    test = TOKENS.load().test
    assert (test < 0).any()
    expected = np.exp(row["nll_iw"] * len(test) / (test >= 0).sum())
    assert row["perplexity"] == pytest.approx(expected, rel=1e-6)
    headings, baseline, line = cells(results, TOKENS.measures)
    assert baseline[0] == "unigram" and baseline[headings.index("IW NLL")] == baseline[1]
    at = headings.index("perplexity")
    assert headings[at - 1] == "IW NLL" and line[at] == f"{expected:.2f}"
    assert (tmp_path / "out" / "results.csv").read_text().startswith("method,seed,")


def test_bits_per_dimension_are_those_of_the_estimate(tmp_path):
    results = compared(REALS, tmp_path / "out", methods=["vae"])
    (row,) = results["rows"]
    assert row["bits_per_dim"] == pytest.approx(row["nll_iw"] / (5 * np.log(2)), rel=1e-6)
    assert "bits/dim" in markdown(results, REALS.measures).splitlines()[0]


def test_the_two_measures_are_evaluations_functions():
    nats, x = np.array([3.0, 5.0]), np.array([[1, 2, -1], [0, -1, -1]])
    assert PERPLEXITY.function(nats, x) == perplexity(nats, [2, 1]) == pytest.approx(np.exp(8 / 3))
    assert BITS_PER_DIM.function(nats, x) == bits_per_dim(4.0, 3)


def test_a_tasks_defaults_stand_where_nothing_else_is_asked_for(tmp_path):
    small = {name: value for name, value in SMALL.items() if name not in ("latent", "seeds")}
    results = savi.compare(REALS, str(tmp_path / "out"), progress=False, say=lambda text: None, **small, seeds=[4])
    assert results["settings"] | {"latent": 3, "methods": ["svi", "vae"], "step_size": 0.01} == results["settings"]
    assert settings_of(REALS, {"latent": 7}).latent == 7 and settings_of(COUNTS, {}).latent == Settings.latent


def test_what_is_drawn_anew_is_drawn_for_each_minibatch_and_once_for_the_test_set(tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "needs", lambda *_: None)  # which draws some, too
    seen = []

    def prepare(x, rng):
        seen.append((len(x), x.dtype, rng.random()))
        return x

    load = lambda: dataset("reals", np.zeros((60, 5), np.float64), prepare=prepare)  # noqa: E731
    task = Task("still", "", load, REALS.decoder, REALS.encoders)
    compared(task, tmp_path / "out", methods=["vae", "svi"])
    lengths = [length for length, *_ in seen]
    assert lengths[0] == 12  # the test set, for all methods
    run = [10, 12, 10, 10, 10]  # two sets that judge, and three minibatches
    assert lengths[1:] == [*run, *run, 10]  # of either method, and what chooses the inner step of SVI
    assert {dtype for _, dtype, _ in seen} == {np.dtype(np.float64)}  # as they are stored
    assert len({number for *_, number in seen[:6]}) == 6
    assert seen[1:6] == seen[6:11]  # the same for both methods


def test_pictures_are_a_tasks_own(tmp_path, capsys):
    def draw(results):
        fig, axes = savi.plots.figure()
        for curve in results["curves"]:
            axes[0].plot(curve["means"], **savi.plots.style(curve["method"]))
        return fig

    show = lambda model, theta, lam, x: lam.mean(axis=0).tolist()  # noqa: E731
    task = Task("shown", "", draw_reals, REALS.decoder, REALS.encoders, show=show, draw=draw, picture="means")
    results = compared(task, tmp_path / "out", methods=["vae"])
    assert len(results["curves"][0]["means"]) == 4
    assert (tmp_path / "out" / "means.png").read_bytes().startswith(b"\x89PNG")


# --- a task in a file ---------------------------------------------------------------------------------------------------------

FILE = """
import numpy as np
import savi

x = np.random.default_rng(0).poisson(1.0, (60, 9))
task = savi.Task(
    "beans", "beans", lambda: savi.data.Dataset("beans", x[:40], x[40:50], x[50:]),
    decoder=lambda s: savi.MLPDecoder(savi.MLP([s.latent, *s.hidden, 9]), savi.Multinomial()),
    encoders={"mlp": lambda s, outputs: savi.MLP([9, *s.hidden, outputs])},
    defaults={"latent": 2, "hidden": [6], "epochs": 1, "iw_samples": 20},
)
"""


def run(path, name, *arguments):
    return main(["compare", "--quiet", "--data", f"{path}:{name}", *map(str, arguments)])


def test_the_command_line_takes_a_task_in_a_file_with_its_defaults(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(FILE)
    out = tmp_path / "out"
    assert run(tmp_path / "mine.py", "task", "--methods", *EVERY, "--epochs", 2, "--seeds", 0, "--out", out) == 0
    settings = kept(out / "settings.json")
    assert (settings["data"], settings["latent"], settings["batch"]) == ("beans", 2, 100)
    assert settings["budget"] == ["epochs", 2.0]
    printed = capsys.readouterr().out
    assert "beans: 40 for training, 10 for testing, 2 epochs a method" in printed and "compare.png" in printed
    assert (
        run(tmp_path / "mine.py", "task", "--methods", *EVERY, "--epochs", 2, "--seeds", 0, "--out", out, "--resume")
        == 0
    )
    again = savi.compare(
        f"{tmp_path / 'mine.py'}:task", out, resume=True, say=print, epochs=2, methods=EVERY, seeds=[0], jobs=1
    )
    assert [row["method"] for row in again["rows"]] == EVERY


def test_a_task_may_import_what_lies_beside_it(tmp_path):
    (tmp_path / "beside_the_task.py").write_text("NAME = 'beans and peas'")
    (tmp_path / "mine.py").write_text(
        FILE.replace("import savi\n", "import savi\nfrom beside_the_task import NAME\n").replace('"beans"', "NAME")
    )
    assert find(f"{tmp_path / 'mine.py'}:task").name == "beans and peas"


@pytest.mark.parametrize(
    "text, name, words",
    [
        (None, "task", ["cannot read", "mine.py", "No such file"]),
        ("x = 1", "task", ["mine.py defines no 'task'", "expected a savi.Task"]),
        ("task = 7", "task", ["task in", "mine.py is of type int; expected a savi.Task"]),
        ("import savi\ntask = savi.Task", "task", ["of type type"]),
        ("1 / 0", "task", ["mine.py raises ZeroDivisionError: division by zero"]),
        ("def", "task", ["mine.py raises SyntaxError", "line 1"]),
        ("raise SystemExit('done')", "task", ["mine.py raises SystemExit: done"]),
        ("raise ValueError('one\\ntwo')", "task", ["raises ValueError: one two"]),
        ("import nowhere_to_be_found", "task", ["ModuleNotFoundError"]),
        (
            FILE.replace("lambda: savi.data.Dataset", "savi.data.Dataset"),
            "task",
            ["mine.py: the load of task 'beans' is Dataset("],
        ),
        (FILE, "", ["defines no ''"]),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence_and_exit_code_2(tmp_path, capsys, text, name, words):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    assert run(tmp_path / "mine.py", name, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("savi: ") and error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["mine", "mine.py", "mine.txt:task", ":task", ""])
def test_what_is_neither_a_name_nor_a_file_names_what_there_is(name):
    known = ", ".join(TASKS)
    with pytest.raises(savi.InputError, match=rf"--data is .*; expected one of {known}, text:PATH, or FILE\.py:NAME"):
        find(name)


# --- families of decoders -----------------------------------------------------------------------------------------------------


def two_families():
    shallow = Family(lambda s: MLPDecoder(savi.MLP([s.latent, 5]), savi.Gaussian()), "linear")
    return Task("two", "", draw_reals, {"deep": REALS.decoder, "shallow": shallow}, mlp_encoders(5))


def test_a_setting_chooses_a_tasks_decoder_and_with_it_the_encoder():
    task = two_families()
    for word, sizes, layers in ((None, (2, 6, 5), 2), ("deep", (2, 6, 5), 2), ("shallow", (2, 5), 1)):
        model, method = build("vae", task, settings_of(task, {"decoder": word, "latent": 2, "hidden": [6]}))
        assert model.decoder.net.sizes == sizes and len(method.encoder.shapes) == layers
    model, method = build("vae:mlp", task, settings_of(task, {"decoder": "shallow", "latent": 2, "hidden": [6]}))
    assert len(method.encoder.shapes) == 2


def test_a_family_that_is_not_there_is_told():
    for task, words in ((two_families(), "deep, shallow"), (REALS, "decoder")):
        with pytest.raises(savi.InputError, match=f"--decoder of task '{task.name}' is 'pixelcnn'; expected {words}"):
            build("svi", task, settings_of(task, {"decoder": "pixelcnn"}))


@pytest.mark.parametrize("name", ["glyphs", "omniglot", "glyphs14", "omniglot14"])
@pytest.mark.parametrize("word, z_at", [("pixelcnn", "late"), ("pixelcnn-input", "input")])
def test_images_have_a_strong_decoder_and_a_residual_encoder(name, word, z_at):
    task = find(name)
    model, method = build("sa-vae", task, settings_of(task, {"decoder": word, "latent": 3}))
    side = 14 if "14" in name else 28
    assert model.decoder.trunk.shape == (side, side) and model.decoder.z_at == z_at and model.latent_dim == 3
    assert isinstance(method.encoder, savi.ResNet) and method.encoder.inputs == side * side
    assert build("vae", task, settings_of(task, {}))[0].decoder.net.outputs == side * side


def test_images_are_scaled_by_the_means_of_squares():
    x = np.arange(2 * 16.0).reshape(2, 16)
    small = scaled(Dataset("images", x, x[:0], x, (4, 4)), 2)
    assert small.shape == (2, 2) and small.train.tolist() == [[2.5, 4.5, 10.5, 12.5], [18.5, 20.5, 26.5, 28.5]]
    assert small.valid.shape == (0, 16) and small.train.dtype == np.float32


def pixels():
    rng = np.random.default_rng(0)
    return Dataset("pixels", rng.random((30, 16)), rng.random((10, 16)), rng.random((20, 16)), (4, 4), prepare=binarize)


STRONG = Task(
    "pixels", "images of 4 x 4", pixels, image_decoders(4),
    mlp_encoders(16) | {"resnet": lambda s, outputs: savi.ResNet((4, 4), (3,), outputs)},
    show=TASKS["glyphs"].show, draw=TASKS["glyphs"].draw, picture="reconstructions",
)  # fmt: skip


def test_a_comparison_with_a_strong_decoder_starts_from_one_that_was_trained_without_latents(tmp_path):
    alone = savi.PixelCNNDecoder((4, 4), 0)
    model = savi.LatentGaussianModel(alone)
    savi.fit(model, savi.SVI(0), pixels(), epochs=2, progress=False, out=str(tmp_path / "alone"))
    start = str(tmp_path / "alone" / "best.npz")
    methods = ["vae", "svi", "sa-vae", "vae+svi+kl:mlp"]
    results = compared(STRONG, tmp_path / "out", decoder="pixelcnn", start_from=start, methods=methods)
    assert [row["method"] for row in results["rows"]] == methods
    assert results["settings"]["start_from"] == start and (tmp_path / "out" / "reconstructions.png").exists()
    with pytest.raises(savi.InputError, match="theta to start from has shape"):
        compared(STRONG, tmp_path / "other", decoder="mlp", start_from=start, methods=["vae"])


# --- tasks with a wrong part --------------------------------------------------------------------------------------------------

GOOD = {
    "name": "good", "about": "nothing", "load": draw_reals, "decoder": REALS.decoder, "encoders": REALS.encoders,
}  # fmt: skip


@pytest.mark.parametrize(
    "part, value, words",
    [
        ("name", "", "a name"),
        ("name", 3, "a name"),
        ("about", None, "a line of text"),
        ("load", draw_reals(), r"a function load\(\)"),
        ("decoder", None, r"a function decoder\(settings\)"),
        ("decoder", {}, "at least one"),
        ("decoder", {"mlp": 3}, "at least one"),
        (
            "decoder",
            {"mlp": Family(REALS.decoder, "resnet")},
            "families with an encoder out of mlp, highway",
        ),
        ("encoders", {}, "at least one"),
        ("encoders", None, "at least one"),
        ("encoders", savi.MLP([5, 4]), "at least one"),
        ("encoders", {"mlp": savi.Bernoulli()}, "at least one"),
        ("encodings", ("momentum",), "gradient, error, data"),
        ("encodings", "gradient", "a tuple"),
        ("encodings", (), "a tuple"),
        ("default_encodings", ("data",), "out of gradient$"),
        ("measures", (perplexity,), "a tuple of Measures"),
        ("measures", PERPLEXITY, "a tuple of Measures"),
        ("measures", None, "a tuple of Measures"),
        ("measures", (PERPLEXITY, PERPLEXITY), "other names than"),
        ("baselines", (perplexity,), r"\{name: function\(train, x\)\}"),
        ("baselines", {"KN-3": 3}, r"\{name: function\(train, x\)\}"),
        ("measures", (Measure("kl", "KL", 2, max),), "other names than"),
        ("show", draw_reals, "another one as draw"),
        ("show", 3, "another one as draw"),
        ("picture", "history", "a word"),
        ("picture", "../out", "a word"),
        ("defaults", None, "{setting: value}"),
    ],
)
def test_a_task_with_a_wrong_part_is_refused_in_one_sentence(part, value, words):
    Task(**GOOD)
    with pytest.raises(savi.InputError, match=words) as caught:
        Task(**GOOD | {part: value})
    message = str(caught.value)
    assert "\n" not in message and f"the {part} of task" in message and len(message) < 300


def test_defaults_of_no_setting_or_out_of_range_are_refused_when_a_task_is_made():
    with pytest.raises(savi.InputError, match="there is no setting 'epoch'; expected one of methods, budget"):
        Task(**GOOD, defaults={"epoch": 3})
    with pytest.raises(savi.InputError, match="--epochs is 0; expected"):
        Task(**GOOD, defaults={"epochs": 0})


def assert_nothing():
    raise AssertionError


@pytest.mark.parametrize(
    "change, words",
    [
        ({"load": lambda: np.zeros((9, 5))}, ["load()", "ndarray", "savi.data.Dataset"]),
        ({"load": lambda: Dataset("all for training", np.zeros((9, 5)))}, ["the test part", "0 examples"]),
        ({"load": lambda: Dataset("none", np.zeros((0, 5)), (), np.zeros((9, 5)))}, ["the train part", "0 examples"]),
        ({"load": lambda: dataset("wide", np.zeros((60, 6)))}, ["x has shape (30, 6)", "needs (B, 5)"]),
        ({"load": lambda: dataset("nan", np.full((60, 5), np.nan))}, ["NaN", "Gaussian"]),
        ({"decoder": lambda s: None}, ["decoder(settings)", "NoneType", "MLPDecoder"]),
        ({"decoder": lambda s: savi.MLP([s.latent, 5])}, ["decoder(settings)", "a MLP"]),
        (
            {"decoder": lambda s: MLPDecoder(savi.MLP([s.latent + 1, 5]), savi.Gaussian())},
            ["latent_dim", "is 3; expected 2"],
        ),
        (
            {"decoder": lambda s: s.laten},
            ["decoder(settings) of task 'good' raises AttributeError", "(test_tasks.py, line "],
        ),
        ({"encoders": {"none": lambda s, n: None}}, ["the encoder 'none'", "a NoneType", "expected enc(x)"]),
        (
            {"encoders": {"odd": lambda s, n: savi.MLP([5, n + 1])}},
            ["the encoder 'odd'", "MLP([5, 5]", "expected 4 outputs"],
        ),
        ({"encoders": {"bad": lambda s: 3}}, ["the encoder 'bad' of task 'good' raises TypeError: "]),
        ({"load": lambda: {}["x"]}, ["load() of task 'good' raises KeyError: 'x' (test_tasks.py, line "]),
        ({"load": lambda: draw_reals()._replace(prepare=lambda x: x)}, ["prepare(x, rng)", "'reals' raises TypeError"]),
        (
            {"load": lambda: draw_reals()._replace(prepare=lambda x, rng: x[1:])},
            ["prepare(x, rng)", "11 examples", "12"],
        ),
        ({"load": lambda: draw_reals()._replace(prepare=lambda x, rng: [])}, ["prepare(x, rng)", "AttributeError"]),
        ({"measures": (Measure("m", "m", 1, lambda nats, x: nats),)}, ["the measure 'm' raises TypeError"]),
        ({"measures": (Measure("m", "m", 1, lambda nats, x: 1 / 0),)}, ["the measure 'm' raises ZeroDivisionError"]),
        ({"baselines": {"own": lambda train, x: 1 / 0}}, ["the baselines of task 'good' raises ZeroDivisionError"]),
        ({"baselines": {"own": lambda train, x: -1.0}}, ["log p(x) of the baseline 'own' is of shape (); expected"]),
        (
            {"show": lambda *_: np.zeros(2), "draw": max},
            ["what show(", "a ndarray", "JSON values (Object of type ndarray"],
        ),
        ({"show": lambda *_: assert_nothing(), "draw": max}, ["show(", "raises AssertionError (test_tasks.py, line "]),
        ({"show": lambda *_: 0, "draw": lambda results: None}, ["draw(results) of task 'good' raises AttributeError"]),
    ],
)
def test_what_a_tasks_functions_give_is_looked_at(tmp_path, change, words):
    with pytest.raises(savi.InputError) as caught:
        compared(Task(**GOOD | change), tmp_path / "out", methods=["vae"])
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "task, name, words",
    [
        (REALS, "iterative:data", "the 'data' of an iterative model is not for points near a plane; expected gradient"),
        (TOKENS, "sa-vae:highway", "is not for words of seven letters, of any length; expected lstm"),
        (COUNTS, "vae:lstm", "expected highway, linear, small, dropout, noise, bottom-up, top-down, ladder, mlp"),
        (
            COUNTS,
            "vae:deep",
            "the 'deep' of method vae:deep is unknown; expected highway, linear, small, dropout, noise, "
            "bottom-up, top-down, ladder, mlp",
        ),
        (COUNTS, "vae:mlp+highway", "one behind the colon"),
    ],
)
def test_words_that_do_not_suit_a_task_are_refused(tmp_path, task, name, words):
    with pytest.raises(savi.InputError, match=words):
        compared(task, tmp_path / "out", methods=[name])


def test_an_unknown_setting_is_refused(tmp_path):
    for name in ("epoch", "data"):
        with pytest.raises(savi.InputError, match=f"there is no setting '{name}'"):
            compared(COUNTS, tmp_path / "out", **{name: 3})


# --- those that are here --------------------------------------------------------------------------------------------------------


def test_the_known_tasks_are_found_by_name_and_a_task_is_itself():
    colour = [name + kind for name in ("colour-glyphs", "cifar10", "svhn") for kind in ("", "-gaussian")]
    text, small = ["docs", "ptb", "counts", "counts-poisson", "rcv1"], ["glyphs14", "omniglot14"]
    assert list(TASKS) == ["glyphs", "mnist", "omniglot", *colour, "synthetic", *text, *small]
    assert all(find(name) is task and task.name == name for name, task in TASKS.items())
    assert find(COUNTS) is COUNTS


def test_images_are_drawn_anew_and_sequences_have_a_perplexity():
    assert TASKS["synthetic"].measures == (PERPLEXITY,) and TASKS["glyphs"].measures == ()
    small = Dataset("glyphs", *(np.full((3, 784), 0.5, np.float32) for _ in range(3)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(savi.data, "load", lambda name: small)
        images = TASKS["glyphs"].dataset()
    assert set(np.unique(images.prepare(images.train, np.random.default_rng(0)))) == {0, 1}
    np.testing.assert_array_equal(images.train, small.train)


def test_settings_are_what_the_command_line_has_flags_for(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    printed = capsys.readouterr().out
    assert all("--" + name.replace("_", "-") in printed for name in NAMES)
    described = settings_of(TASKS["glyphs"], {}).describe()
    assert json.loads(json.dumps(described)) == described and tuple(described) == NAMES


@pytest.mark.parametrize(
    "change",
    [
        {"methods": "vae"}, {"seeds": 3}, {"methods": []}, {"methods": ["vae", "vae"]}, {"seeds": [0, 0]}, {"seeds": [-1]},
        {"seeds": [0.5]}, {"dtype": "float16"}, {"train_examples": 0}, {"train_examples": 1.5}, {"hidden": 200},
        {"epochs": 0}, *({name: value} for name in (
            "iterations", "batch", "test_examples", "iw_samples", "gap_examples", "samples"
        ) for value in (0, 1.5)),
    ],
    ids=str,
)  # fmt: skip
def test_settings_refuse_what_is_no_list_or_says_nothing(change):
    with pytest.raises(savi.InputError):
        Settings(**change)


def test_no_inner_clip_is_none():
    assert Settings(inner_clip=0).inner_clip is None and Settings().inner_clip == 5.0


def test_encoders_of_vectors_by_their_words():
    made = {
        word: make(settings_of(COUNTS, {"hidden": [8, 8], "latent": 3}), 6) for word, make in mlp_encoders(9).items()
    }
    assert {word: repr(encoder) for word, encoder in made.items()} == {
        "mlp": "MLP([9, 8, 8, 6], 'tanh')",
        "highway": "HighwayMLP([9, 8, 8, 6], 'tanh')",
        "linear": "MLP([9, 6], 'tanh')",
        "small": "MLP([9, 2, 6], 'tanh')",
        "dropout": f"DropoutMLP([9, 8, 8, 6], 'tanh', drop={DROP}, noise=0.0)",
        "noise": f"DropoutMLP([9, 8, 8, 6], 'tanh', drop=0.0, noise={NOISE})",
        "bottom-up": "BottomUpEncoder(9, [(8, 8)], (3,), 'tanh')",
        "top-down": "TopDownEncoder(9, [(8, 8)], (3,), 'tanh')",
        "ladder": "LadderEncoder(9, [(8, 8)], (3,), 'tanh')",
    }


def test_a_small_encoder_of_a_decoder_without_layers_is_affine():
    assert repr(mlp_encoders(9)["small"](settings_of(COUNTS, {"hidden": []}), 6)) == "MLP([9, 6], 'tanh')"


def test_the_decay_of_phi_reaches_the_training(tmp_path):
    results = [compared(COUNTS, tmp_path / str(d), methods=["vae", "svi"], phi_decay=d) for d in (0.0, 40.0)]
    losses = [[row["neg_elbo"] for row in r["rows"]] for r in results]
    assert losses[0][0] != losses[1][0] and losses[0][1] == losses[1][1]  # SVI has no phi
    assert kept(tmp_path / "40.0" / "settings.json")["phi_decay"] == 40.0
