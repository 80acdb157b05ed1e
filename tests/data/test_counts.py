"""Word counts of documents: the recipe's steps one by one, what is refused, and a whole comparison on a small library."""

import collections
import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import savi
from savi import MLP, InputError, LSTMEncoder, Multinomial, Poisson
from savi.data import counts
from savi.experiments.catalogue import TASKS, documents
from savi.experiments.evaluation import perplexity
from savi.experiments.tasks import PERPLEXITY_OF_COUNTS
from savi.nets.dropout import DropoutMLP
from savi.nets.encoders import LogEncoder
from savi.testing import assert_close

WORDS = "array index value key file line error module object string number list class method".split()


@pytest.fixture(autouse=True)
def library(tmp_path, monkeypatch):
    """A library of 40 small modules, whose docstrings are words drawn at random, and an empty cache."""
    rng, root = np.random.default_rng(0), tmp_path / "lib"
    for i in range(40):
        (root / f"mod{i}").mkdir(parents=True)
        texts = [" ".join(rng.choice(WORDS, 12, p=rng.dirichlet(np.ones(len(WORDS))))) for _ in range(3)]
        code = f'"""{texts[0]}"""\n\ndef f():\n    "{texts[1]}"\n\nclass C:\n    "{texts[2]}"\n'
        (root / f"mod{i}" / "room.py").write_text(code)
    (root / "tests").mkdir()
    (root / "tests" / "t.py").write_text('"array array array"')
    (root / "broken.py").write_text("def")
    monkeypatch.setattr(counts.sysconfig, "get_paths", lambda: {"stdlib": str(root)})
    monkeypatch.setenv("SAVI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAVI_DATA", raising=False)
    monkeypatch.setattr(counts, "DF_MOST", 1.0)
    counts.load.cache_clear()
    yield root
    counts.load.cache_clear()


def test_docstrings_are_those_of_modules_classes_and_functions_and_nothing_else(tmp_path):
    path = tmp_path / "m.py"
    path.write_text(
        '"""Of the module."""\nx = "no docstring"\nclass C:\n    "Of C."\n    async def f(self):\n        "Of f."\n'
    )
    assert sorted(counts.docstrings(str(path))) == ["Of C.", "Of f.", "Of the module."]
    path.write_text("x = = 1")
    assert counts.docstrings(str(path)) == []


def test_words_are_runs_of_letters_in_lower_case():
    assert counts.words("Don't use x: `np.array`, 3rd_party e-mail!") == [
        "don",
        "use",
        "np",
        "array",
        "rd",
        "party",
        "mail",
    ]


def test_tests_and_broken_modules_are_left_out(library):
    found = dict(counts.modules())
    assert "tests" not in found and len(found) == 41
    assert counts.docstrings(found["broken"]) == []


def test_no_module_is_in_two_parts_and_they_are_about_80_10_10():
    parts = collections.Counter(counts.part_of(f"module{i}") for i in range(4000))
    for part, share in (("train", 0.8), ("valid", 0.1), ("test", 0.1)):
        assert abs(parts[part] / 4000 - share) < 0.02
    assert len({counts.part_of("json") for _ in range(3)}) == 1


def test_the_vocabulary_follows_the_cuts(monkeypatch):
    monkeypatch.setattr(counts, "DF_LEAST", 2)
    monkeypatch.setattr(counts, "DF_MOST", 0.6)
    seen = [["a", "b", "b"], ["a", "c", "b"], ["a", "c", "d"], ["a", "e", "e"], ["f", "e"]]
    assert counts.chosen_words(seen) == ["b", "e", "c"]  # a is in most documents, d and f are in one
    assert counts.chosen_words(seen, 1) == ["b"]


@given(st.lists(st.lists(st.sampled_from(WORDS[:6]), max_size=9), min_size=1, max_size=8))
@settings(max_examples=50)
def test_counts_are_brute_forces_without_short_documents_and_repetitions(texts):
    vocabulary, expected = WORDS[:4], []
    for text in texts:
        row = [text.count(word) for word in vocabulary]
        if sum(row) >= 2 and row not in expected:
            expected.append(row)
    if expected:
        assert counts.counts(texts, vocabulary, 2).tolist() == expected
    else:
        with pytest.raises(InputError, match="no document has 2 words of the vocabulary"):
            counts.counts(texts, vocabulary, 2)


def test_documentation_is_whole_counts_of_every_part_and_comes_from_the_cache_the_second_time(monkeypatch):
    d = counts.documentation()
    assert d.vocabulary == len(WORDS) and d.train.dtype == np.uint16
    assert (
        min(len(d.train), len(d.valid), len(d.test)) > 0 and 12 * (120 - 6) <= sum(p.sum() for p in d[1:4]) <= 12 * 120
    )
    assert all(part.sum(axis=1).min() >= counts.LEAST for part in d[1:4])
    monkeypatch.setattr(counts, "_documentation", lambda: pytest.fail("read again"))
    assert np.array_equal(counts.documentation().train, d.train)


# --- RCV1 --------------------------------------------------------------------------------------------------------------------


def token_file(n, first=1):
    rng = np.random.default_rng(first)
    return "".join(
        f".I {first + i}\n.W\n{' '.join(rng.choice(WORDS, 6))}\n{' '.join(rng.choice(WORDS, 3))}\n\n" for i in range(n)
    )


def test_rcv1_is_read_where_its_files_are_packed_or_not(tmp_path):
    (tmp_path / "lyrl2004_tokens_train.dat").write_text(token_file(40))
    with gzip.open(tmp_path / "lyrl2004_tokens_test_pt0.dat.gz", "wt") as file:
        file.write(token_file(20, 100))
    d = counts.rcv1(str(tmp_path))
    assert (len(d.train), len(d.valid), len(d.test)) == (36, 4, 20) and d.vocabulary == len(WORDS)
    assert all(part.sum() == 9 * len(part) for part in d[1:4])
    assert len(counts.rcv1(str(tmp_path), documents=10).train) == 9


@pytest.mark.parametrize(
    "text, message", [("stem stem\n", "starts with"), ("", "holds no document"), (".I 1\n.W\né\n", "token file")]
)
def test_a_file_that_is_no_token_file_gets_its_sentence(tmp_path, text, message):
    (tmp_path / "lyrl2004_tokens_train.dat").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        counts.rcv1(str(tmp_path))


def test_rcv1_that_is_not_here_gets_its_sentence(tmp_path):
    with pytest.raises(InputError, match=r"no lyrl2004_tokens_train.dat in .*; expected RCV1-v2's token file there"):
        counts.rcv1(str(tmp_path))


# --- the task ----------------------------------------------------------------------------------------------------------------


def test_perplexity_is_the_definition_of_li_eq_63_per_word():
    x, nats = np.array([[2, 0, 1], [0, 5, 0]]), np.array([6.0, 8.0])
    assert PERPLEXITY_OF_COUNTS.value(nats, x) == pytest.approx(np.exp(14 / 8)) == perplexity(nats, [3, 5])


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    x = np.random.default_rng(0).integers(1, 5, (20, 7)).astype(float)
    assert PERPLEXITY_OF_COUNTS.value(-Multinomial().log_prob(np.zeros((20, 7)), x), x) == pytest.approx(7)


@pytest.mark.parametrize("likelihood, best", [(Multinomial(), "unigram"), (Poisson(), "independent Poisson")])
def test_training_starts_at_the_best_model_without_latents(likelihood, best):
    x = np.random.default_rng(0).poisson(2.0 * np.arange(1, 6), (50, 5)).astype(float)
    decoder = savi.MLPDecoder(MLP([2, 3, 5]), likelihood)
    theta = decoder.init(np.random.default_rng(0), x=x)
    decoder.net.layers(theta)[-1][:-1] = 0
    name, log_px = decoder.baseline(x, x)
    assert name == best
    assert_close(
        decoder.given(theta, x).log_px(decoder.given(theta, x).forward(np.zeros((1, 50, 2))))[0], log_px, rtol=1e-12
    )


@pytest.mark.parametrize("inner", [MLP([5, 3, 4]), DropoutMLP([5, 3, 4], drop=0.2)])
def test_an_encoder_of_counts_is_its_encoder_at_log_one_plus_x(inner):
    rng, encoder = np.random.default_rng(0), LogEncoder(inner)
    phi, x, d = encoder.init(rng), rng.poisson(3, (6, 5)).astype(float), rng.normal(size=(6, 4))
    ours, theirs = encoder.evaluate(phi, x), inner.evaluate(phi, np.log1p(x))
    assert_close(ours.output, theirs.output, rtol=0)
    assert_close(encoder.gradient(phi, ours, d), inner.gradient(phi, theirs, d), rtol=0)
    with pytest.raises(InputError, match="counts >= 0"):
        encoder.evaluate(phi, -x)
    assert isinstance(LSTMEncoder(5, 2, 2, 4).size, int)


def test_a_comparison_of_counts_has_a_perplexity_below_the_unigrams(tmp_path):
    found = savi.compare(
        TASKS["counts"], tmp_path / "out", methods=["vae", "iterative", "svi"], epochs=20, steps=3, latent=2, hidden=[8],
        batch=10, test_examples=30, iw_samples=50, gap_examples=4, seeds=[0], say=lambda *_: None, learning_rate=0.01,
        tune="none", train_examples=None,
    )  # fmt: skip
    test = counts.load("counts").test[:30]
    for row in found["rows"]:
        assert 1 < row["perplexity"] < 1.02 * np.exp(found["baseline"]["nll"] * len(test) / test.sum()), row["method"]
    poisson = savi.compare(
        TASKS["counts-poisson"], tmp_path / "poisson", methods=["vae"], epochs=1, latent=2, hidden=[8], batch=10,
        test_examples=10, iw_samples=20, gap_examples=2, seeds=[0], say=lambda *_: None, tune="none", train_examples=None,
    )  # fmt: skip
    assert "perplexity" not in poisson["rows"][0] and poisson["baseline"]["method"] == "independent Poisson"


def test_counts_that_are_negative_or_fractional_get_their_sentence():
    for task in (documents("d", "", "counts", Multinomial()), documents("d", "", "counts", Poisson())):
        model = task.model(savi.experiments.settings.settings_of(task, {}))
        for bad in (-1.0, 0.5):
            with pytest.raises(InputError, match="whole counts >= 0"):
                model.check(np.full((1, len(WORDS)), bad))
