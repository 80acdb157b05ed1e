"""Text in experiments: tasks with settings in their names, what training alone sees, runs of Table 2 in small."""

import json

import numpy as np
import pytest

import savi
from savi import VAE, InputError, LanguageDecoder, LatentGaussianModel, LSTMEncoder
from savi.data import text
from savi.data.ngrams import KneserNey
from savi.experiments import tables
from savi.experiments.catalogue import find
from savi.experiments.evaluation import active_units, evaluate, perplexity
from savi.experiments.examples import Examples
from savi.experiments.settings import Settings, settings_of
from savi.experiments.tasks import PERPLEXITY
from savi.experiments.texts import is_text, text_task
from savi.studies import text_runs
from savi.studies.text_runs import METHODS, Scale, counts, measured, run
from savi.sweeps.runs import prepared

SMALL = Scale(40, (30, 8, 8), 4, 2, seconds=0.05, shared=0.5, warmup=1.0, iw_samples=4)


pytestmark = pytest.mark.usefixtures("few_docs")


# --- tasks ----------------------------------------------------------------------------------------------------------------------


def test_a_texts_settings_stand_behind_a_question_mark():
    task = find("docs?vocabulary=12&longest=30&min_count=1")
    data = task.dataset()
    assert data.vocabulary == 12 and (data.train >= 0).sum(axis=1).max() <= 31
    assert data is task.dataset()  # it is read once
    settings = settings_of(task, {"latent": 3, "hidden": (5,)})
    model = task.model(settings)
    assert isinstance(model.decoder, LanguageDecoder) and model.decoder.lstm.hidden == 5 and model.latent_dim == 3
    for word in ("last", "mean"):
        assert task.encoder(settings, 6, word).state == word
    assert task.encoder(settings, 6, "bidirectional").bidirectional
    assert task.measures == (PERPLEXITY,) and "masks=True" in repr(data.disturb)


def test_hidden_has_a_width_for_each_layer_of_the_lstms_all_the_same():
    task = find("docs?vocabulary=12&longest=30&min_count=1")
    settings = settings_of(task, {"latent": 3, "hidden": (5, 5)})
    assert task.model(settings).decoder.lstm_layers == 2 and task.encoder(settings, 6, "mean").layers == 2
    with pytest.raises(InputError, match=r"hidden is \[5, 4\]; expected layers of as many units each"):
        task.model(settings_of(task, {"latent": 3, "hidden": (5, 4)}))


def test_a_file_of_ones_own_is_a_task(tmp_path):
    (tmp_path / "own.txt").write_text("a line of words .\n" * 30)
    assert len(find(f"text:{tmp_path / 'own.txt'}").dataset().train) == 24
    assert is_text("ptb?vocabulary=9") and not is_text("glyphs") and not is_text("docs.py:task")


def test_methods_are_compared_on_text_and_their_words_shown(tmp_path):
    savi.compare(
        text_task("docs?vocabulary=12&longest=30"), tmp_path, methods=["vae", "sa-vae"], latent=2, hidden=[4], budget=("epochs", 1),
        seeds=[0], steps=1, train_examples=20, test_examples=6, iw_samples=3, gap_examples=2, progress=False, jobs=1, tune="none",
    )  # fmt: skip
    results = json.loads((tmp_path / "results.json").read_text())
    (heading, unigram, trigram, *_), data = (
        tables.cells(results, (PERPLEXITY,)),
        text_task("docs?vocabulary=12&longest=30").load(),
    )
    x = prepared(
        data, np.asarray(data.test)[np.random.default_rng(0).permutation(len(data.test))[:6]], None, Settings()
    )
    nll = -KneserNey(data.train[:20], data.vocabulary, 3).log_prob(x)
    assert (
        unigram[0] == "unigram" and trigram[0] == "KN-3" and results["baselines"][0]["nll"] == pytest.approx(nll.mean())
    )
    at = heading.index("perplexity")
    assert (
        float(trigram[at]) == pytest.approx(perplexity(nll, text_runs.tokens(x)), abs=0.005) and float(unigram[at]) > 1
    )
    assert {row["method"] for row in results["rows"]} >= {"vae", "sa-vae"}
    shown = results["curves"][0]["texts"]
    assert set(shown) == {"documents", "reconstructions", "samples"} and all(
        len(texts) == 6 for texts in shown.values()
    )
    assert set(" ".join(shown["documents"]).split()) <= set(text_task("docs?vocabulary=12&longest=30").load().words)
    assert (tmp_path / "texts.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "name", ["docs?vocabulary", "docs?vocabulary=x", "docs?words=3", "docs?vocabulary=-3", "docs?min_count=2;longest=3"]
)
def test_a_setting_that_is_none_is_refused(name):
    with pytest.raises(InputError, match="vocabulary, min_count, shortest, longest"):
        text_task(name)


# --- what training alone sees, and where it starts --------------------------------------------------------------------------------


def test_training_sees_masks_and_judges_do_not():
    data = text_task("docs").load()
    model = LatentGaussianModel(LanguageDecoder(data.vocabulary, 3, 3, 2, 0.5))
    examples = Examples(model, data, None, np.float32, 5, None)
    seen = examples.in_training(np.arange(6), np.random.default_rng(0))
    assert seen.dtype == np.float32 and (seen[:, 0] < 0).all()
    np.testing.assert_array_equal(seen[:, 1:], text.trimmed(data.train[:6]))
    assert (examples.prepared(data.train[:6], np.random.default_rng(0))[:, 0] >= 0).all()
    assert "disturb" in examples.describe() and "by_length" in examples.describe()["order"]


def test_images_are_described_as_they_were():
    data = savi.data.Dataset("x", np.zeros((4, 3)))
    model = LatentGaussianModel(savi.MLPDecoder(savi.MLP([2, 3]), savi.Bernoulli()))
    examples = Examples(model, data, None, np.float32, 0, None)
    assert not {"disturb", "order"} & set(examples.describe())
    order = examples.order(2, np.random.default_rng(3))
    np.testing.assert_array_equal(order, np.random.default_rng(3).permutation(4))


def _fit(data, **settings):
    model, method = (
        LatentGaussianModel(LanguageDecoder(data.vocabulary, 3, 3, 2)),
        VAE(LSTMEncoder(data.vocabulary, 3, 3, 4)),
    )
    return model, method, savi.fit(model, method, data, batch=10, progress=False, dtype=np.float64, **settings)


def test_training_starts_from_what_another_run_has_learned(tmp_path):
    data = text_task("docs").load()
    _, _, first = _fit(data, epochs=1)
    theta, phi = first.last
    *_, at_once = _fit(data, epochs=0, start_from=(theta, phi))
    np.testing.assert_array_equal(at_once.last[0], theta)
    np.testing.assert_array_equal(at_once.last[1], phi)
    *_, half = _fit(data, epochs=0, start_from=(None, phi))
    np.testing.assert_array_equal(half.last[1], phi)
    assert not np.array_equal(half.last[0], theta)
    _fit(data, epochs=1, out=str(tmp_path / "run"), start_from=(theta, phi))
    *_, again = _fit(data, epochs=1, out=str(tmp_path / "run"), resume=True, start_from=(theta, phi))
    assert len(again.history) == 2
    with pytest.raises(InputError, match="start_from"):
        _fit(data, epochs=1, out=str(tmp_path / "run"), resume=True, start_from=(theta, phi + 1))


@pytest.mark.parametrize("start", [3, (None,), (np.zeros(3), None), (None, np.full(3, np.nan)), ("x", None)])
def test_a_start_that_does_not_fit_is_an_input_error(start):
    with pytest.raises(InputError, match="start"):
        _fit(text_task("docs").load(), start_from=start)


# --- measures -----------------------------------------------------------------------------------------------------------------


def test_units_are_active_where_their_means_vary():
    mu = np.random.default_rng(0).standard_normal((500, 3)) * [1.0, 0.05, 0.2]
    assert active_units(mu) == 2 and active_units(mu, 0.001) == 3 and active_units(mu[:, :0]) == 0


def test_a_documents_end_counts_and_its_padding_does_not():
    """Of a model that gives every token 1 / V the perplexity is V, whatever the lengths."""
    data = text_task("docs?min_count=1").load()
    V, x = data.vocabulary, data.test
    assert len(set((x >= 0).sum(axis=1))) > 1 or x.min() == 0
    model = LatentGaussianModel(LanguageDecoder(V, 3, 3, 2))
    method = VAE(LSTMEncoder(V, 3, 3, 4))
    theta, phi = np.zeros(model.size), np.zeros(method.size)
    summary = evaluate(model, method, theta, phi, x, np.random.default_rng(0), iw_samples=3, measures=(PERPLEXITY,))
    assert abs(summary["perplexity"] / V - 1) < 1e-9
    found = measured(SMALL, model, method, theta, phi, x)["own"]
    assert abs(found["perplexity"] / V - 1) < 1e-4 and abs(found["kl"]) < 1e-12 and found["active"] == 0
    assert abs(perplexity(np.log(V) * text_runs.tokens(x), text_runs.tokens(x)) / V - 1) < 1e-12


# --- runs of Table 2 ------------------------------------------------------------------------------------------------------------


def test_what_counting_knows_is_measured():
    unigram, trigram = (counts(SMALL, name) for name in ("unigram", "KN-3"))
    assert unigram["neg_elbo"] > 20 and unigram["perplexity"] < 30 and trigram["perplexity"] < 30


@pytest.mark.parametrize("name", METHODS)
def test_a_run_is_read_at_equal_epochs_and_at_equal_seconds(name, tmp_path):
    found = run(SMALL, name, 0, str(tmp_path))
    assert set(found) == {"epochs", "seconds"} and not (tmp_path / "state").exists()
    assert abs(found["epochs"]["epochs"] - 0.5) < 0.3 and found["seconds"]["epochs"] > 0
    assert found["seconds"]["best"] <= found["seconds"]["epochs"]
    for reading in found.values():
        assert ("first" in reading) == (name != "LM") and np.isfinite(reading["own"]["neg_elbo"])
        assert np.isfinite(reading["own"]["iw_perplexity"])
    assert ("curve" in found["seconds"]) == (name in text_runs.CURVES)


def test_a_pretrained_encoder_begins_as_the_language_model(tmp_path):
    data, scale = text_runs.load(SMALL), SMALL
    method = METHODS["VAE+INIT"](scale, text_runs.encoder_of(scale, data.vocabulary))
    (theta, phi), cpu = text_runs._initial(scale, data, method, 0, str(tmp_path))
    assert theta is None and phi.shape == (method.size,) and cpu > 0
    fresh = method.init(np.random.default_rng([0, 7]), np.float32)
    size = method.encoder.lstm.size
    assert not np.array_equal(phi[:size], fresh[:size]) and np.array_equal(phi[size:], fresh[size:])
