"""The runs of Table 3 at a tiny size: each row is measured at both costs, and what is kept is not done again."""

import os

import numpy as np
import pytest

from savi.data.dataset import Dataset, binarize
from savi.studies import pixel_runs, trials
from savi.studies.pixel_runs import BARE, PLAIN, REFINED, Scale

TINY = Scale("bits", 5, 2, 2, (2,), 0.01, 0.01, 0.01, 0.3, 5, 5, 3, 4, 2)


@pytest.fixture(autouse=True)
def _few_images(monkeypatch):
    rng = np.random.default_rng(0)
    bits = Dataset("bits", *(rng.random((n, 25), dtype=np.float32) for n in (600, 10, 10)), (5, 5), prepare=binarize)
    monkeypatch.setattr(Scale, "load", lambda self: bits)


@pytest.mark.parametrize("name", [PLAIN, BARE, "VAE", "SVI, step 0.02", "SVI", "VAE+SVI+KL", "SA-VAE", "iterative"])
def test_a_row_is_measured_at_both_costs_and_kept(name, tmp_path, monkeypatch):
    found = pixel_runs.row(str(tmp_path), TINY, 0, name)
    assert list(found) == ([name, REFINED] if name == "VAE" else [name])
    for views in found.values():
        assert set(views) == {"seconds", "epochs"}
        assert all(np.isfinite(view["neg_elbo"]) and view["epochs"] > 0 and view["cpu"] > 0 for view in views.values())
    monkeypatch.setattr(trials, "fit", None)  # what is there is not done again
    assert pixel_runs.row(str(tmp_path), TINY, 0, name) == found


def test_a_method_is_trained_with_the_inner_step_that_validation_chose_and_starts_from_the_pretraining(
    tmp_path, monkeypatch
):
    seen, fit = [], trials.fit

    def noted(made, how, data, epochs, seed, **more):
        seen.append((how.inner_settings.get("step_size"), more.get("start_from")))
        return fit(made, how, data, epochs, seed, **more)

    monkeypatch.setattr(trials, "fit", noted)
    monkeypatch.setattr(pixel_runs, "tuned", lambda *_: {"point": {"step_size": 0.05}})
    row = pixel_runs.row(str(tmp_path), TINY, 3, "SA-VAE")["SA-VAE"]
    start = os.path.join(str(tmp_path), "3", "without-z", "pretraining", "best.npz")
    assert os.path.exists(start) and seen[-1] == (0.05, start)
    assert row["seconds"]["trained with"] == 0.05
    pixel_runs.row(str(tmp_path), TINY, 3, "SVI, step 0.02")
    assert seen[-1][0] == pixel_runs.SOURCE_STEP == 0.02


def test_the_inner_step_of_training_is_the_one_whose_runs_end_lowest(tmp_path, monkeypatch):
    def at_test(scale, made, how, result, data):
        return how, [{"loss": (how.step_size - 0.05) ** 2}, {"loss": 9.0}]

    monkeypatch.setattr(pixel_runs, "_at_test", at_test)
    found = pixel_runs.tuned(str(tmp_path), TINY, "VAE+SVI")
    assert found["point"] == {"step_size": 0.05} and [row["step_size"] for row in found["curve"]] == [0.1, 0.05, 0.02]
