"""Hierarchies in a comparison: every method and every word runs on two levels, and the table has the KL of each."""

import numpy as np
import pytest

import savi
from savi import InputError, MLPDecoder, Task
from savi.data import Dataset
from savi.experiments.catalogue import TASKS
from savi.experiments.methods import build
from savi.experiments.settings import settings_of
from savi.experiments.tables import cells
from savi.experiments.tasks import mlp_encoders


def draw():
    rng = np.random.default_rng(0)
    x = (rng.random((60, 9)) < rng.random((60, 1))).astype(float)
    return Dataset("bits", x[:30], x[30:40], x[40:])


BITS = Task(
    "bits", "nine bits that go together", draw,
    lambda s: MLPDecoder(savi.MLP([s.latent, *s.hidden, 9], s.activation), savi.Bernoulli()), mlp_encoders(9),
    encodings=("gradient", "error", "data"), default_encodings=("gradient", "data"),
)  # fmt: skip
SMALL = {
    "epochs": 1, "steps": 2, "latent": 3, "levels": [2], "hidden": [6, 6], "batch": 10, "test_examples": 12, "iw_samples": 20,
    "gap_examples": 4, "seeds": [0], "tune": "none",
}  # fmt: skip
EVERY = [
    "vae:bottom-up", "vae-then-svi:top-down", "sa-vae:ladder", "svi", "vae+svi", "vae+svi+kl", "iterative", "iterative:levels",
    "iterative:error+levels+residual", "iterative:gru", "iterative:lstm+through-time", "iterative:encoder", "em:adam",
]  # fmt: skip


def test_every_method_runs_on_two_levels_and_the_table_has_each_ones_kl(tmp_path):
    found = savi.compare(BITS, tmp_path / "out", methods=EVERY, say=lambda *_: None, **SMALL)
    heads, *lines = cells(found)
    assert [heads.index(name) for name in ("KL", "KL of z^1", "KL of z^2", "IW NLL")] == [3, 4, 5, 6]
    assert [line[0] for line in lines] == ["independent Bernoulli", *EVERY]
    for row in found["rows"]:
        assert np.isfinite([row["neg_elbo"], row["nll_iw"], row["kl_1"], row["kl_2"]]).all(), row["method"]


def test_one_levels_table_is_as_it_was(tmp_path):
    found = savi.compare(BITS, tmp_path / "out", methods=["vae"], say=lambda *_: None, **SMALL | {"levels": []})
    assert not [name for name in cells(found)[0] if "z^" in name]


@pytest.mark.parametrize("name", ["glyphs", "mnist", "omniglot", "synthetic", "colour-glyphs"])
def test_any_tasks_decoder_can_be_the_lowest_level(name):
    if name == "synthetic":
        model, _ = build("svi", TASKS[name], settings_of(TASKS[name], {"latent": 2, "levels": [2, 1], "hidden": [8]}))
    else:
        model, _ = build(
            "vae:top-down", TASKS[name], settings_of(TASKS[name], {"latent": 4, "levels": [2, 1], "hidden": [8, 8]})
        )
    assert model.dims[1:] == (2, 1) and [level.net.sizes[1] for level in model.levels] == [4, 2]


def test_the_same_encoder_of_all_levels_has_the_right_width():
    s = settings_of(BITS, {"latent": 3, "levels": [2], "hidden": [6]})
    widths = {word: BITS.encoder(s, 10, word).outputs for word in BITS.encoders}
    assert set(widths.values()) == {10}
    assert BITS.encoder(s, 10, "ladder").hidden == [(6,), (3,)]


@pytest.mark.parametrize(
    "changes, name, message",
    [
        ({"levels": [0]}, "vae", r"--levels is 0; expected a whole number >= 1"),
        ({"levels": []}, "iterative:levels", "has no levels; a network for each level needs it"),
        ({"levels": [2]}, "iterative:gru+lstm", "gru and lstm; expected one"),
        ({"levels": [2]}, "iterative:through-time", "expected gru or lstm"),
    ],
)
def test_what_does_not_go_together_gets_its_sentence(changes, name, message):
    with pytest.raises(InputError, match=message):
        build(name, BITS, settings_of(BITS, changes))


def test_a_comparison_goes_on_only_with_the_same_levels(tmp_path):
    quiet = {"say": lambda *_: None, "methods": ["vae"]}
    savi.compare(BITS, tmp_path / "out", **quiet, **SMALL)
    for levels in ([3], []):
        with pytest.raises(InputError, match="levels"):
            savi.compare(BITS, tmp_path / "out", resume=True, **quiet, **SMALL | {"levels": levels})
