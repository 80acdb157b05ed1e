"""Table 2 at convergence: when a learning rate falls and a run ends, which inner step it has, and the script on tiny data."""

import sys

import numpy as np
import pytest

import savi
from savi.studies import text_converged, text_runs
from savi.studies.text_converged import trained
from savi.studies.text_runs import Scale

TINY = Scale(30, (16, 8, 6), 3, latent=2, batch=8, warmup=1.0, steps=2, iw_samples=3)
sys.path.insert(0, f"{savi.__path__[0]}/../figures")


pytestmark = pytest.mark.usefixtures("few_docs")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(text_converged, "MOST", 2)


def following(losses, patience=2, warmup=0):
    return text_converged._until(patience, warmup)([{"valid": loss} for loss in losses])


def test_a_rate_stays_until_so_many_epochs_have_not_been_better(quick, monkeypatch):
    monkeypatch.setattr(text_converged, "MOST", 8)
    assert following([]) == 1 and following([3.0, 2, 2.5]) == 4
    assert following([3.0, 2, 2.5, 2.1]) is None
    assert (
        following([3.0, 2, 2.5, 2.1], warmup=3) == 5
    )  # the second epoch is as good as the third, where the warm-up ends
    assert following([3.0, 2, 2.5, 2.1, 2.2], warmup=3) is None
    assert following(list(range(8, 0, -1))) is None and following(list(range(8, 1, -1))) == 8


def test_the_best_epoch_of_all_rates_is_kept_and_the_next_rate_starts_there(monkeypatch):
    data = text_runs.load(TINY)
    model, method = text_converged._built(TINY, data, "VAE")
    losses, starts, given = iter([5.0, 4, 6, 7, 4.5, 4.6, 4.7, 3, 3.5, 3.6]), [], text_converged.fit_stopped

    def judge(*_):
        return lambda theta, phi: next(losses)

    def fit_stopped(*arguments, **settings):
        starts.append((settings["start_from"], settings["learning_rate"], settings["warmup_epochs"], arguments[4]))
        return given(*arguments, **settings)

    monkeypatch.setattr(text_converged, "PATIENCE", (2, 2, 2))
    monkeypatch.setattr(text_converged, "judge", judge)
    monkeypatch.setattr(text_converged, "fit_stopped", fit_stopped)
    found = trained(TINY, model, method, data, 3)
    assert found["curve"] == [[5, 4, 6, 7], [4.5, 4.6, 4.7], [3, 3.5, 3.6]]
    assert (found["valid"], found["valid_first"], found["best"], found["epochs"]) == (3, 4, 2 + 1, 10)
    assert [s[1] / TINY.learning_rate for s in starts] == list(text_converged.FALLS)
    assert [s[2] for s in starts] == [TINY.warmup, 0, 0] and len({s[3] for s in starts}) == 3
    assert starts[0][0] is None and starts[1][0] is starts[2][0] and starts[1][0][0].shape == (model.size,)


@pytest.mark.parametrize("name", ["LM", "VAE", "VAE+INIT", "VAE, words hidden", "SA-VAE"])
def test_a_run_says_what_it_is_worth_and_how_it_came_there(name, quick):
    found = text_converged.run(TINY, name, 0, 0.1 if name == "SA-VAE" else None)
    assert np.isfinite(found["own"]["neg_elbo"]) and ("first" in found) == (name != "LM") == ("at_test" in found)
    assert found["valid"] == min(map(min, found["curve"])) <= found["valid_first"] == min(found["curve"][0])
    epochs = sum(map(len, found["curve"]))
    assert found["best"] <= epochs <= found["epochs"] and (found["epochs"] > epochs) == (name == "VAE+INIT")
    assert not {"theta", "phi"} & set(found)


def test_an_inner_step_is_chosen_by_validation(quick, monkeypatch):
    monkeypatch.setattr(
        text_converged, "judge", lambda model, method, data: lambda theta, phi: (method.step_size - 1) ** 2
    )
    found = text_converged.tuned(TINY, "VAE+SVI", 0.5)
    assert found["step_size"] == 1 and [row["step_size"] for row in found["curve"]] == [0.3, 0.1, 1, 3]


def test_the_script_collects_every_size_that_is_there_and_goes_on(quick, monkeypatch, tmp_path):
    import sa_table2_converged as script

    monkeypatch.setattr(script, "RUNS", tmp_path)
    monkeypatch.setattr(script, "PILOT", 0.5)
    monkeypatch.setattr(script, "SEEDS", dict.fromkeys(("small", "full"), (0, 1)))
    monkeypatch.setattr(script, "cores", lambda: 1)
    monkeypatch.setattr(script, "SIZES", {"small": TINY, "full": TINY._replace(units=4)})
    monkeypatch.setattr(script, "METHODS", dict.fromkeys(("small", "full"), script.METHODS["full"]))
    first = script.compute(False)
    assert list(first["sizes"]) == ["small"] and len(first["sizes"]["small"]["runs"]) == 8
    monkeypatch.setattr(text_converged, "run", None)  # what is there is not done again
    assert script.compute(False) == first
    monkeypatch.setattr(script, "run_all", lambda *_: ())
    monkeypatch.setattr(script, "SEEDS", dict.fromkeys(("small", "full"), (0, 1, 2)))  # the last of which has no runs
    assert script.compute(True) == first
    report = script.report(first)
    assert all(row in report for row in script.rows(first, "small")) and "VAE, then SVI" in report
    assert [claim.source for claim in script.claims(first)] == 3 * ["[SA] Table 2"]
    script.draw(first).savefig(tmp_path / "drawn.png")
