"""What a comparison will need is about what it takes, and what cannot fit is refused before anything is begun."""

import dataclasses
import os

import numpy as np
import pytest

import savi
from savi.engine import machine, threads
from savi.experiments import evaluation
from savi.experiments.methods import METHODS, build
from savi.experiments.settings import settings_of
from savi.inference.base import InferenceMethod
from savi.sweeps import needs, runs

M = 300
X = (np.random.default_rng(0).random((300, M)) < 0.4).astype(float)
TASK = savi.Task(
    "bits", "bits", load=lambda: savi.data.Dataset("bits", X[:200], X[200:240], X[240:]),
    decoder=lambda s: savi.MLPDecoder(savi.MLP([s.latent, *s.hidden, M], s.activation), savi.Bernoulli()),
    encoders={"mlp": lambda s, outputs: savi.MLP([M, *s.hidden, outputs], s.activation)},
)  # fmt: skip
SMALL = {
    "latent": 3, "hidden": [30], "batch": 50, "epochs": 1, "seeds": [0], "test_examples": 10, "gap_examples": 1,
    "iw_samples": 5, "tune": "none",
}  # fmt: skip


def needed(name, **changes):
    settings = settings_of(TASK, SMALL | {"methods": [name]} | changes)
    return needs.needs(name, TASK, settings, *runs.load(TASK, settings)), settings


def taken(name, settings):
    """The bytes that a training step takes, and those of an inference of as many examples as are inferred at a time."""
    model, method = build(name, TASK, settings)
    rng = np.random.default_rng(0)
    theta, phi = model.init(rng, np.float32), method.init(rng, np.float32)
    few = X[:50].astype(np.float32)
    many = np.resize(few, (evaluation.at_a_time(method), M))
    with threads.using(1):
        return max(
            machine.peak(verb, model, theta, phi, x, rng) for verb, x in ((method.gradient, few), (method.infer, many))
        )


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "sizes", [{"samples": 300, "steps": 3}, {"samples": 100, "steps": 12, "iterations": 12}], ids=str
)
def test_the_memory_is_about_what_a_step_takes(name, sizes):
    found, settings = needed(name, **sizes)
    base, _ = needed(name, samples=1, steps=1, iterations=1)
    assert 0.9 < (found.bytes - needs.PROCESS) / taken(name, settings) < 1.3
    assert found.bytes > base.bytes > needs.PROCESS


def test_the_time_grows_with_what_takes_it(monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr(needs.time, "process_time", lambda: float(next(ticks)))  # each call that is timed takes 1 s
    once, _ = needed("vae")
    step = 1 / 50  # of an example, in training and in inference
    forward = needs.FORWARD * (5 * 10 + needs.GAP * 1)
    assert once[1:] == pytest.approx((200 * step, (10 + forward) * step))
    assert needed("vae", epochs=7)[0][1:] == pytest.approx((1400 * step, (10 + forward) * step))
    assert needed("vae", tune="test")[0][1:] == pytest.approx((200 * step, (10 + needs.SEARCHED + forward) * step))
    tuned = needed("vae", tune="all")[0]
    assert tuned[1:] == pytest.approx((200 * needs.TUNED * step, (10 + needs.SEARCHED + forward) * step))
    more = needed("vae", iw_samples=500)[0]
    assert more.reading - once.reading == pytest.approx(needs.FORWARD * 495 * 10 * step)
    timed = settings_of(
        TASK, {k: v for k, v in SMALL.items() if k != "epochs"} | {"methods": ["vae"], "budget": ("seconds", 9)}
    )
    found = needs.needs("vae", TASK, timed, *runs.load(TASK, timed))
    assert found[1:] == pytest.approx((9, (10 + forward) * step))


def test_a_step_that_fails_needs_nobody_knows_what():
    broken = dataclasses.replace(TASK, encoders={"mlp": lambda s, outputs: savi.MLP([M + 1, outputs])})
    settings = settings_of(broken, SMALL | {"methods": ["vae"]})
    assert needs.needs("vae", broken, settings, *runs.load(broken, settings)) is None
    said = []
    needs.tell(settings, {"vae": None}, 1, said.append)
    assert said == []


def test_what_is_needed_is_said_for_as_many_runs_as_work_at_a_time():
    said, settings = [], settings_of(TASK, SMALL | {"methods": ["vae", "svi"], "seeds": [0, 1]})
    found = {"vae": needs.Needs(1e9, 50.0, 10.0), "svi": needs.Needs(2e9, 30.0)}
    needs.tell(settings, found, 1, said.append)
    needs.tell(settings, found, 2, said.append)
    needs.tell(settings, found, 4, said.append)
    assert said == [
        "about 2.0 GB of memory, 3 min",
        "about 4.0 GB of memory, 2 min, 2 runs at a time",
        "about 8.0 GB of memory, 60 s, 4 runs at a time",
    ]


def test_a_training_that_two_methods_read_is_needed_once():
    said, settings = [], settings_of(TASK, SMALL | {"methods": ["vae", "vae-then-svi"], "seeds": [0, 1]})
    found = {"vae": needs.Needs(1e9, 50.0, 10.0), "vae-then-svi": needs.Needs(2e9, 50.0, 20.0)}
    for jobs in (1, 4):
        needs.tell(settings, found, jobs, said.append)
    assert [line.split(", ")[1] for line in said] == ["3 min", "80 s"]


def test_what_cannot_fit_is_refused_before_anything_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "machine", lambda: 300e6)
    small = SMALL | {"methods": ["em"]}
    with pytest.raises(savi.InputError, match=r"^em with batch 50, samples 30000, .*MB of this machine$"):
        savi.compare(TASK, tmp_path / "out", **small | {"samples": 30000})
    assert os.listdir(tmp_path / "out") == []
    savi.compare(TASK, tmp_path / "out", say=lambda text: None, progress=False, **small)


def test_theta_that_cannot_fit_is_refused_before_it_is_made():
    for latent in (10**12, 10**23, 10**300):
        with pytest.raises(savi.InputError, match=r"theta, \d+ numbers, needs about .* of memory"):
            build("svi", TASK, settings_of(TASK, SMALL | {"latent": latent}))


class Counted(InferenceMethod):
    """A method that remembers how many examples it was given at a time."""

    def __init__(self, samples):
        super().__init__(0, samples)
        self.seen = []

    def infer(self, model, theta, phi, x, rng, steps=None):
        self.seen.append(len(x))
        return np.zeros((len(x), 2))

    def path(self, model, theta, phi, x, rng, steps=None):
        self.seen.append(len(x))
        return np.arange(3.0)[:, None, None] + x[None]


def test_fewer_examples_at_a_time_where_a_method_draws_many_samples():
    for samples, seen in ((1, [500, 200]), (40, [500, 200]), (50, [400, 300]), (10**6, [1] * 700)):
        method = Counted(samples)
        assert evaluation.infer(None, method, None, None, np.zeros((700, 2)), None).shape == (700, 2)
        assert method.seen == seen
    method, x = Counted(100), np.random.default_rng(0).random((450, 2))
    np.testing.assert_array_equal(
        evaluation.path(None, method, None, None, x, None, 2), np.arange(3.0)[:, None, None] + x
    )
    assert method.seen == [200, 200, 50]
