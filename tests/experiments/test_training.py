"""Training: every method learns; the same seed gives the same bits, however often it was interrupted; what is saved is
whole; what cannot be used is refused in one sentence."""

import functools
import itertools
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savi import (
    MLP,
    SAVAE,
    SVI,
    VAE,
    VAESVI,
    AutogradModel,
    Bernoulli,
    Gaussian,
    InputError,
    LatentGaussianModel,
    MLPDecoder,
    Multinomial,
    SampledKL,
    hvp,
)
from savi.data import Dataset, binarize
from savi.engine import blas
from savi.experiments import checkpoints
from savi.experiments import training as room
from savi.experiments.checkpoints import load_checkpoint
from savi.experiments.training import NonFiniteLoss, fit
from savi.inference.optimizers import Adam, clip_norm

METHODS = {
    "vae": lambda encoder: VAE(encoder),
    "svi": lambda encoder: SVI(4, 0.1),
    "vae+svi": lambda encoder: VAESVI(encoder, 2, 0.1),
    "vae+svi+kl": lambda encoder: VAESVI(encoder, 2, 0.1, kl=True),
    "sa-vae": lambda encoder: SAVAE(encoder, 2, 0.1, clip=1.0),
}
each_method = pytest.mark.parametrize("name", METHODS)

ERRORS = 5  # standard errors that a mean may be off: by chance once in two million comparisons


def striped(n, seed, grey=False):
    """Binary rows (n, 6) of two kinds, 000111 and 111000 with a tenth of the pixels wrong; or their probabilities."""
    rng = np.random.default_rng(seed)
    p = np.where((np.arange(6) < 3) == rng.integers(0, 2, (n, 1)), 0.9, 0.1)
    return p if grey else (rng.random((n, 6)) < p).astype(float)


DATA = Dataset("stripes", striped(40, 0), striped(20, 1))
GREY = Dataset("grey stripes", striped(40, 0, grey=True), striped(20, 1, grey=True))


def build(name="sa-vae"):
    """(model, method)."""
    return LatentGaussianModel(MLPDecoder(MLP([2, 5, 6]), Bernoulli())), METHODS[name](MLP([6, 3, 4]))


def short(method, model=None, data=DATA, epochs=3, **settings):
    """A run of three epochs of three minibatches, the last of which is short."""
    return fit(
        model or build()[0], method, data, epochs, progress=False, **{"batch": 16, "learning_rate": 0.01, **settings}
    )


class Spy:
    """The method itself, but for what act(n, verb, args, call) makes of the n-th call to one of its verbs."""

    def __init__(self, method, act):
        self.method, self.act, self.calls = method, act, 0

    def __getattr__(self, name):
        return getattr(self.method, name)

    def __repr__(self):
        return repr(self.method)

    def gradient(self, *args):
        return self._call("gradient", args)

    def infer(self, *args):
        return self._call("infer", args)

    def _call(self, verb, args):
        self.calls += 1
        return self.act(self.calls, verb, args, lambda: getattr(self.method, verb)(*args))


def seen(method, verb, **settings):
    """(x, beta or steps) of each call of a verb in a short run."""
    calls = []

    def act(n, called, args, call):
        if called == verb:
            calls.append((args[3], args[-1]))
        return call()

    short(Spy(method, act), **settings)
    return calls


def stop_at(calls, error=KeyboardInterrupt):
    """An act for Spy: raises at each of those calls."""

    def act(n, verb, args, call):
        if n in calls:
            raise error
        return call()

    return act


def without_seconds(history):
    return [{name: value for name, value in row.items() if name not in ("seconds", "cpu")} for row in history]


def assert_same(a, b):
    """Bit for bit, but for the time it took."""
    for x, y in zip((a.theta, a.phi, *a.last), (b.theta, b.phi, *b.last)):
        assert x.dtype == y.dtype and x.tobytes() == y.tobytes()
    assert without_seconds(a.history) == without_seconds(b.history)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


# --- learning -------------------------------------------------------------------------------------------------------


@each_method
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_method_learns(name, dtype):
    model, method = build(name)
    result = short(method, model, epochs=25, learning_rate=0.03, dtype=dtype)
    losses = [row["valid_neg_elbo"] for row in result.history]
    assert min(losses) < losses[0] - 0.4
    assert result.history[-1]["train_loss"] < result.history[1]["train_loss"] - 0.1
    assert {a.dtype for a in (result.theta, result.phi, *result.last)} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    "likelihood, outputs, make",
    [
        (Gaussian("per_dimension"), 6, lambda x: 3 * x - 1.5),
        (Gaussian("from_z"), 12, lambda x: 3 * x - 1.5),
        (Multinomial(), 6, lambda x: 4 * x),
    ],
    ids=lambda value: repr(value) if not callable(value) else "make",
)
def test_every_likelihood_learns(likelihood, outputs, make):
    model = LatentGaussianModel(MLPDecoder(MLP([2, 5, outputs]), likelihood))
    data = Dataset("made", make(DATA.train), make(DATA.valid))
    result = short(build()[1], model, data, epochs=20, learning_rate=0.03)
    assert result.history[-1]["valid_neg_elbo"] < result.history[0]["valid_neg_elbo"] - 0.4


def test_the_history_has_a_row_before_training_and_one_for_each_epoch():
    result = short(build()[1], monitor={"test": striped(10, 2)})
    assert [row["epoch"] for row in result.history] == [0, 1, 2, 3]
    assert result.history[0]["train_loss"] is None and result.history[0]["seconds"] == 0
    seconds = [row["seconds"] for row in result.history]
    assert seconds == sorted(seconds) and seconds[1] > 0
    for row in result.history:
        for name in ("valid", "test"):
            total = row[f"{name}_reconstruction"] + row[f"{name}_kl"]
            assert row[f"{name}_neg_elbo"] == pytest.approx(total, rel=1e-12)
    assert result.ms_per_step > 0


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_examples():
    losses = []

    def act(n, verb, args, call):
        result = call()
        if verb == "gradient":
            losses.append(result[0])
        return result

    result = short(Spy(build()[1], act), dtype=np.float64)
    for epoch in range(3):
        assert result.history[epoch + 1]["train_loss"] == pytest.approx(np.concatenate(losses[3 * epoch :][:3]).mean())


@pytest.mark.skipif(not blas.holds(), reason="needs NumPy's OpenBLAS")
def test_a_whole_step_holds_the_matrix_library_at_one_thread(monkeypatch):
    held = []

    def noted(g, norm):
        held.append(blas.one_thread().inside)
        return clip_norm(g, norm)

    monkeypatch.setattr(room, "clip_norm", noted)
    short(build()[1])
    assert held and set(held) == {1} and blas.one_thread().inside == 0


def test_each_epoch_sees_each_example_once_and_in_another_order():
    numbered = np.arange(40.0)[:, None] / 40 + np.zeros(6)
    model = LatentGaussianModel(MLPDecoder(MLP([2, 6]), Gaussian()))
    batches = [40 * x[:, 0] for x, _ in seen(VAE(MLP([6, 4])), "gradient", model=model, data=numbered, dtype=float)]
    assert [len(x) for x in batches] == 3 * [16, 16, 8]
    orders = [np.concatenate(batches[3 * epoch :][:3]) for epoch in range(3)]
    for order in orders:
        np.testing.assert_allclose(np.sort(order), np.arange(40))
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations([*orders, np.arange(40)], 2))


def test_monitored_arrays_choose_nothing():
    watched = short(build()[1], monitor={"test": striped(10, 2)})
    alone = short(build()[1])
    for a, b in zip((watched.theta, watched.phi, *watched.last), (alone.theta, alone.phi, *alone.last)):
        assert a.tobytes() == b.tobytes()
    assert [row["valid_neg_elbo"] for row in watched.history] == [row["valid_neg_elbo"] for row in alone.history]


def test_at_most_valid_examples_judge():
    assert {len(x) for x, _ in seen(build()[1], "infer", valid_examples=7)} == {7}


@pytest.mark.parametrize(
    "data", [DATA.train, DATA.train.astype(np.uint8), DATA.train.tolist()], ids=["floats", "bytes", "lists"]
)
def test_an_array_alone_is_trained_on_and_its_last_parameters_are_the_result(data):
    result = short(build()[1], data=data)
    assert set(result.history[-1]) == {"epoch", "seconds", "cpu", "passes", "train_loss"}
    assert result.theta.tobytes() == result.last[0].tobytes()
    assert result.last[0].tobytes() == short(build()[1]).last[0].tobytes()  # validation data change no step


# --- the steps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup, start", [(2, 0.1), (1.5, 0.0), (0, 0.1)])
def test_the_kl_weight_rises_linearly_from_its_start_to_one(warmup, start):
    betas = [beta for _, beta in seen(build()[1], "gradient", warmup_epochs=warmup, beta_start=start)]
    expected = [min(1, start + (1 - start) * step / (3 * warmup)) if warmup else 1 for step in range(9)]
    np.testing.assert_allclose(betas, expected, rtol=1e-12)
    assert betas[0] == (start if warmup else 1) and betas[-1] == 1


def test_every_step_has_noise_of_its_own():
    states = []

    def act(n, verb, args, call):
        if verb == "gradient":
            states.append(args[4].bit_generator.state["state"]["state"])
        return call()

    short(Spy(build()[1], act))
    assert len(set(states)) == 9


def first_step(tmp_path, clip):
    """(d_theta, d_phi), means over the 40 examples of a batch that is not full; Adam's means of them after that step."""
    taken = []

    def act(n, verb, args, call):
        result = call()
        if verb == "gradient":
            taken.extend(g / len(args[3]) for g in result[1:])
        return result

    short(Spy(build()[1], act), epochs=1, batch=64, clip=clip, dtype=np.float64, out=tmp_path)
    with np.load(tmp_path / "last.npz") as file:
        return taken, [file["theta_state_0"] / 0.1, file["phi_state_0"] / 0.1]


@pytest.mark.parametrize("clip", [0.01, 0.3, 1e3, None])
def test_gradients_of_theta_and_of_phi_are_clipped_each_on_its_own(tmp_path, clip):
    taken, used = first_step(tmp_path, clip)
    for g, m in zip(taken, used):
        length = np.linalg.norm(g)
        shrink = 1 if clip is None else min(1, clip / length)
        np.testing.assert_allclose(m, shrink * g, rtol=1e-12)
        np.testing.assert_allclose(clip_norm(g, clip), m, rtol=1e-12)
    lengths = [np.linalg.norm(g) for g in taken]
    assert max(lengths) > 0.3 and all(length > 0.01 for length in lengths)


@pytest.mark.parametrize("phi_decay", [0.5, 20.0])
def test_phi_decays_apart_from_adam_and_theta_does_not(phi_decay):
    """One step, and a second that begins where the first one ended: what AdamW takes off beside Adam's step."""
    settings = {"batch": 64, "learning_rate": 0.01, "dtype": np.float64, "decay": 0.5}
    before, plain, moved = (
        short(build()[1], epochs=epochs, phi_decay=number, **settings).last
        for epochs, number in ((0, phi_decay), (1, 0.0), (1, phi_decay))
    )
    np.testing.assert_array_equal(plain[0], moved[0])
    np.testing.assert_allclose(moved[1] - plain[1], -0.01 * phi_decay * before[1], rtol=1e-12, atol=1e-16)


def test_the_decay_of_phi_follows_the_learning_rate():
    spy = Spy(build()[1], lambda n, verb, args, call: _still(args, call) if verb == "gradient" else call())
    settings = {"batch": 64, "learning_rate": 0.01, "dtype": np.float64, "decay": 0.5, "phi_decay": 20.0}
    start, end = (short(spy, epochs=epochs, **settings).last[1] for epochs in (0, 2))
    np.testing.assert_allclose(end, start * (1 - 0.2) * (1 - 0.1), rtol=1e-12)


def _still(args, call):
    """A gradient that moves nothing."""
    loss, d_theta, d_phi = call()
    return loss, 0 * d_theta, 0 * d_phi


@pytest.mark.parametrize("number", [np.float64, np.float32, float])
def test_settings_of_any_number_type_leave_the_precision_alone(number):
    settings = {
        "learning_rate": number(0.01),
        "clip": number(0.5),
        "warmup_epochs": number(2),
        "beta_start": number(0.25),
    }
    result = short(build()[1], **settings)
    assert {a.dtype for a in (*result.last, result.theta)} == {np.dtype(np.float32)}


# --- binarization ---------------------------------------------------------------------------------------------------


def test_grey_data_are_drawn_anew_for_each_minibatch_with_their_own_probabilities():
    grey = np.tile(np.linspace(0, 1, 6), (16, 1))
    draws = np.array([x for x, _ in seen(VAE(MLP([6, 4])), "gradient", data=grey, epochs=300)])
    assert draws.shape == (300, 16, 6)
    assert set(np.unique(draws)) == {0, 1}
    means, errors = draws.mean(axis=(0, 1)), np.sqrt(grey[0] * (1 - grey[0]) / (300 * 16))
    assert np.all(np.abs(means - grey[0]) <= ERRORS * errors)
    assert np.all(draws[..., 0] == 0) and np.all(draws[..., 5] == 1)
    of_epochs = draws[..., 1:5].reshape(300, -1)
    correlation = np.corrcoef(
        of_epochs[:-1].ravel() - np.tile(means[1:5], 299 * 16), of_epochs[1:].ravel() - np.tile(means[1:5], 299 * 16)
    )
    assert abs(correlation[0, 1]) < ERRORS / np.sqrt(299 * 64)  # one epoch's draws say nothing of the next's


def test_what_judges_is_drawn_once():
    judged = [x for x, _ in seen(build()[1], "infer", data=GREY)]
    assert len(judged) == 4 and set(np.unique(judged)) == {0, 1}
    for x in judged[1:]:
        np.testing.assert_array_equal(x, judged[0])


@pytest.mark.parametrize("data, binarize", [(DATA, None), (GREY, False), (DATA, True)])
def test_binary_data_and_data_that_shall_stay_grey_are_taken_as_they_are(data, binarize):
    batches = np.concatenate([x for x, _ in seen(build()[1], "gradient", data=data, binarize=binarize, epochs=1)])
    rows = lambda x: sorted(map(tuple, np.asarray(x, np.float32)))  # noqa: E731
    assert rows(batches) == rows(data.train)


def test_the_grey_values_of_a_gaussian_are_not_drawn():
    model = LatentGaussianModel(MLPDecoder(MLP([2, 6]), Gaussian()))
    batches = np.concatenate([x for x, _ in seen(build()[1], "gradient", model=model, data=GREY, epochs=1)])
    assert set(np.unique(batches)) == {np.float32(0.1), np.float32(0.9)}


def test_a_data_set_that_prepares_its_examples_is_not_binarized_beside_that():
    """Images that binarize themselves give, bit for bit, what grey ones give, which `fit` binarizes."""
    grey = GREY._replace(train=GREY.train.astype(np.float32), valid=GREY.valid.astype(np.float32))
    for dtype in (np.float32, np.float64):
        own = short(build()[1], data=grey._replace(prepare=binarize), dtype=dtype)
        assert_same(own, short(build()[1], data=grey, dtype=dtype))


def test_a_data_sets_own_preparation_is_new_for_each_minibatch_and_the_same_for_a_seed():
    def drop(x, rng):
        return np.where(rng.random(x.shape) < 0.5, x, 0.25)

    model, method = LatentGaussianModel(MLPDecoder(MLP([2, 6]), Gaussian())), VAE(MLP([6, 4]))
    data = Dataset("ones", np.ones((16, 6)), prepare=drop)
    runs = [np.array([x for x, _ in seen(method, "gradient", model=model, data=data)]) for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    assert set(np.unique(runs[0])) == {0.25, 1} and (runs[0][0] != runs[0][1]).any()


# --- the same bits --------------------------------------------------------------------------------------------------


@each_method
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name):
    runs = [short(build(name)[1], data=GREY, seed=seed) for seed in (3, 3, 4)]
    assert_same(runs[0], runs[1])
    assert runs[0].theta.tobytes() != runs[2].theta.tobytes()


@pytest.mark.parametrize("out", [False, True])
def test_saving_changes_nothing(tmp_path, out):
    assert_same(short(build()[1], out=tmp_path if out else None), short(build()[1]))


CALLS = 13  # of a short run: 9 gradients and 4 judgements, of which the first comes before any step


def interrupted(folder, calls, name="sa-vae", error=KeyboardInterrupt):
    """The result of a short run that is stopped at each of those calls (counted over all its parts) and resumed."""
    model, method = build(name)
    spy = Spy(method, stop_at(calls, error))
    while True:
        try:
            return short(spy, model, data=GREY, warmup_epochs=2, out=folder, resume=True)
        except error:
            pass


@pytest.fixture(scope="module")
def uninterrupted():
    results = {}

    def run(name="sa-vae"):
        if name not in results:
            results[name] = short(build(name)[1], data=GREY, warmup_epochs=2)
        return results[name]

    return run


@pytest.mark.parametrize("call", range(1, CALLS + 1))
def test_a_run_that_was_interrupted_at_any_call_ends_with_the_same_bits(tmp_path, uninterrupted, call):
    assert_same(interrupted(tmp_path, {call}), uninterrupted())


@each_method
def test_every_method_can_be_interrupted(tmp_path, uninterrupted, name):
    assert_same(interrupted(tmp_path, {3, 6, 10}, name), uninterrupted(name))


@given(st.sets(st.integers(1, 2 * CALLS), max_size=8))
@settings(max_examples=8)
def test_a_run_that_was_interrupted_again_and_again_ends_with_the_same_bits(tmp_path_factory, uninterrupted, calls):
    assert_same(interrupted(tmp_path_factory.mktemp("run"), calls), uninterrupted())


@pytest.mark.parametrize("call", [2, 7, 12])
def test_a_run_that_crashed_goes_on_from_the_last_epoch_and_ends_with_the_same_bits(tmp_path, uninterrupted, call):
    assert_same(interrupted(tmp_path, {call}, error=MemoryError), uninterrupted())


@pytest.mark.parametrize("saving", range(1, 9))
def test_an_interrupt_while_a_file_is_written_leaves_whole_files_and_the_same_bits(
    tmp_path, uninterrupted, saving, monkeypatch
):
    writes, write = itertools.count(1), checkpoints.write_arrays

    def interrupt(file, **arrays):
        write(file, **arrays)
        if next(writes) == saving:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "write_arrays", interrupt)
    resumed = interrupted(tmp_path, set())
    assert_same(resumed, uninterrupted())
    assert sorted(os.listdir(tmp_path)) == ["best.npz", "last.npz", "settings.json"]
    for name, params in (("best.npz", resumed[:2]), ("last.npz", resumed.last)):
        for a, b in zip(load_checkpoint(tmp_path / name), params):
            assert a.tobytes() == b.tobytes()


def test_a_step_is_a_minibatchs_gradient_through_adam_and_every_number_of_it_has_its_stream():
    model, method = build()

    def rng(*stream):
        return np.random.default_rng([7, *stream])

    theta, phi = model.init(rng(0, 0), np.float32, DATA.train), method.init(rng(0, 1), np.float32)
    x = DATA.train[rng(1, 0).permutation(40)[:16]].astype(np.float32)
    _, d_theta, d_phi = method.gradient(model, theta, phi, x, rng(3, 0, 0))
    result = short(method, epochs=1 / 3, seed=7, clip=0.05)
    for params, d, stepped in zip((theta, phi), (d_theta, d_phi), result.last):
        step = Adam(0.01).update(Adam(0.01).init(params), clip_norm(d / 16, 0.05))[1]
        np.testing.assert_array_equal(stepped, params + step)
        assert np.abs(step).max() > 0.009


def test_what_is_drawn_anew_and_what_judges_have_streams_of_their_own():
    drawn = []

    def prepare(x, rng):
        drawn.append(rng.random())
        return x

    short(SVI(1), data=DATA._replace(prepare=prepare), epochs=1, seed=7, monitor={"more": DATA.train[:5]})
    streams = [(4, 0), (4, 1), (2, 0, 0), (2, 0, 1), (2, 0, 2)]  # the judges once, then each minibatch
    assert drawn == [np.random.default_rng([7, *stream]).random() for stream in streams]


def test_the_judges_noise_is_the_same_in_every_row():
    seen = []

    class Judged(SVI):
        def infer(self, model, theta, phi, x, rng, steps=None):
            seen.append(rng.random())
            return super().infer(model, theta, phi, x, rng, steps)

    short(Judged(1), epochs=2, seed=7, monitor={"more": DATA.train[:5]})
    assert seen == 3 * [np.random.default_rng([7, 4, i, 1]).random() for i in (0, 1)]


def test_the_settings_of_a_run_lie_beside_it(tmp_path):
    short(SVI(2, 0.1), epochs=0, seed=3, out=tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["seed"] == 3 and settings["batch"] == 16 and settings["examples"] == 40
    assert settings["method"] == repr(SVI(2, 0.1)) and settings["model"] == repr(build()[0])


def test_ctrl_c_saves_the_steps_of_the_epoch_that_are_done(tmp_path):
    """Of 13 calls (0 a judgement, 1 a gradient): 0 111 0 111 0 111 0; the seventh is the second epoch's second step."""
    with pytest.raises(KeyboardInterrupt):
        short(Spy(build()[1], stop_at({7})), out=tmp_path)
    with np.load(tmp_path / "last.npz") as file:
        state = json.loads(str(file["meta"]))["state"]
    assert (state["epoch"], state["step"], len(state["history"])) == (1, 1, 2)


def test_more_epochs_go_on_from_where_fewer_ended(tmp_path):
    short(build()[1], epochs=1, out=tmp_path)
    assert_same(short(build()[1], epochs=3, out=tmp_path, resume=True), short(build()[1], epochs=3))


def test_turns_that_are_not_judged_are_saved_by_the_clock(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(room.checkpoints, "save", lambda out, state, *rest: saved.append(state.epoch))
    short(build()[1], epochs=6, out=tmp_path, judge_at=[2, 4])
    assert saved == [2, 4, 6]
    monkeypatch.setattr(room, "SAVE", -1.0)
    saved.clear()
    short(build()[1], epochs=6, out=tmp_path, judge_at=[2, 4])
    assert saved == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_is_returned_without_another_step(tmp_path):
    first = short(build()[1], out=tmp_path)
    spy = Spy(build()[1], stop_at(range(1, 100), AssertionError))
    again = short(spy, out=tmp_path, resume=True)
    assert_same(again, first)
    assert again.history == first.history and again.ms_per_step == first.ms_per_step


def test_without_resume_a_run_starts_anew(tmp_path):
    short(build()[1], out=tmp_path, seed=5)
    assert_same(short(build()[1], out=tmp_path), short(build()[1]))


HELD = """if True:
    import sys, numpy as np, savi

    class Waiting(savi.SVI):
        def gradient(self, *arguments):
            print("begun", flush=True)
            input()
            return super().gradient(*arguments)

    model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([2, 5, 6]), savi.Bernoulli()))
    savi.fit(model, Waiting(2), np.eye(6), epochs=1, batch=6, out=sys.argv[1], progress=False)
"""


@pytest.mark.parametrize("end", ["\n", None], ids=["ends", "is killed"])
def test_a_folder_belongs_to_one_process_at_a_time(tmp_path, monkeypatch, end):
    other = subprocess.Popen(
        [sys.executable, "-c", HELD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "begun\n"
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(room, "PATIENCE", 0)
    with pytest.raises(InputError, match=r"another process works in .*; expected a folder that is free"):
        short(build()[1], out=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    if end:
        other.communicate(end)
        assert other.returncode == 0 and (tmp_path / "last.npz").exists()
    else:
        other.kill()
        other.communicate()
    monkeypatch.undo()  # a process that was killed may need a moment to end
    assert_same(short(build()[1], out=tmp_path), short(build()[1]))


def test_a_folder_belongs_to_one_thread_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE", 0)
    errors = []

    def again(n, verb, args, call):
        if n == 1:
            thread = threading.Thread(target=lambda: errors.append(error_of(lambda: short(build()[1], out=tmp_path))))
            thread.start()
            thread.join()
        return call()

    assert_same(short(Spy(build()[1], again), out=tmp_path), short(build()[1]))
    assert [type(error) for error in errors] == [InputError]


def error_of(call):
    """What the call raises, or None."""
    try:
        call()
    except Exception as error:
        return error


def test_what_a_killed_process_left_of_a_runs_files_is_gone_and_nothing_else(tmp_path):
    (tmp_path / "below").mkdir()
    stay = [tmp_path / "film.part", tmp_path / "below" / "last.npz.01234567.part"]
    for path in (tmp_path / "last.npz.01234567.part", *stay):
        path.touch()
    short(build()[1], out=tmp_path)
    assert sorted(tmp_path.rglob("*.part")) == sorted(stay)


def test_resume_where_there_is_nothing_starts_anew(tmp_path):
    assert_same(short(build()[1], out=tmp_path / "new", resume=True), short(build()[1]))


# --- best and last --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("losses, best", [([9, 5, 7, 6], 1), ([9, 8, 7, 6], 3), ([5, 6, 7, 8], 0), ([5, 4, 4, 4], 1)])
def test_the_best_parameters_are_those_with_the_lowest_validation_loss(tmp_path, monkeypatch, losses, best):
    expected = short(build()[1], epochs=best).last
    given = iter(losses)
    monkeypatch.setattr(room, "elbo_parts", lambda *args: (np.array([float(next(given))]), np.zeros(1)))
    result = short(build()[1], out=tmp_path)
    saved = load_checkpoint(tmp_path / "best.npz")
    for a, b, c in zip(expected, (result.theta, result.phi), saved):
        assert a.tobytes() == b.tobytes() == c.tobytes()
    for a, b in zip(load_checkpoint(tmp_path / "last.npz"), result.last):
        assert a.tobytes() == b.tobytes()
    assert [row["valid_neg_elbo"] for row in result.history] == losses


# --- losses that are not finite -------------------------------------------------------------------------------------


def spoil(at, entry, value):
    def act(n, verb, args, call):
        result = [np.array(part) for part in call()] if verb == "gradient" else call()
        if n == at:
            result[entry][-1] = value
        return result

    return act


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("entry", [0, 1, 2], ids=["loss", "d_theta", "d_phi"])
def test_a_loss_that_is_not_finite_stops_training_and_leaves_what_is_saved(tmp_path, entry, value):
    short(build()[1], epochs=1, out=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(NonFiniteLoss) as caught:  # the second call of the resumed run: epoch 1, step 1
        short(Spy(build()[1], spoil(2, entry, value)), out=tmp_path, resume=True)
    assert contents(tmp_path) == before
    for part in ("sa-vae", "epoch 1, step 1", str(tmp_path / "last.npz")):
        assert part in str(caught.value)


def test_a_loss_that_is_not_finite_before_anything_is_saved_says_so(tmp_path):
    with pytest.raises(NonFiniteLoss, match=r"^vae: .* at epoch 0, step 0; .* last good checkpoint: none$"):
        short(Spy(build("vae")[1], spoil(2, 0, np.nan)), out=tmp_path)


def test_inner_steps_that_overflow_are_caught():
    """The real thing: steps so long that float32 cannot hold where they lead."""
    data = np.tile([1.0, -1.0, 1e4], (4, 1))
    model = LatentGaussianModel(MLPDecoder(MLP([1, 3]), Gaussian()))
    with np.errstate(all="ignore"), pytest.raises(NonFiniteLoss, match="smaller step_size"):
        short(SVI(20, 1e6), model, data)


# --- what cannot be used --------------------------------------------------------------------------------------------


def assert_refused(path, **changes):
    """Resuming is an InputError that names the file, which stays as it was."""
    before = path.read_bytes()
    arguments = {"method": build()[1], "out": path.parent, "resume": True, **changes}
    with pytest.raises(InputError) as caught:
        short(arguments.pop("method"), **arguments)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == before
    return str(caught.value)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    short(build()[1], epochs=1, out=folder)
    return (folder / "last.npz").read_bytes()


DAMAGE = {
    "empty": lambda whole: b"",
    "one byte": lambda whole: whole[:1],
    "half": lambda whole: whole[: len(whole) // 2],
    "all but the last byte": lambda whole: whole[:-1],
    "random bytes": lambda whole: np.random.default_rng(0).bytes(len(whole)),
    "zeros": lambda whole: bytes(len(whole)),
    "a changed byte": lambda whole: whole[:300] + bytes([whole[300] ^ 255]) + whole[301:],
    "text": lambda whole: b"not a checkpoint\n",
}


NONSENSE = {
    "another epoch": lambda a: a | {"meta": np.array(str(a["meta"]).replace('"epoch": 1', '"epoch": 99', 1))},
    "a NaN": lambda a: a | {"theta": np.full_like(a["theta"], np.nan)},
    "another precision": lambda a: a | {"theta": a["theta"].astype(float)},
    "a short state": lambda a: a | {"theta_state_0": a["theta_state_0"][:-1]},
    "no digest": lambda a: {name: array for name, array in a.items() if name != "digest"},
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_checkpoint_that_somebody_wrote_himself_is_refused(tmp_path, checkpoint, name):
    path = tmp_path / "last.npz"
    path.write_bytes(checkpoint)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **NONSENSE[name](arrays))
    assert "not a whole savi checkpoint" in assert_refused(path)


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_refused(tmp_path, checkpoint, name):
    path = tmp_path / "last.npz"
    path.write_bytes(DAMAGE[name](checkpoint))
    assert "not a whole savi checkpoint" in assert_refused(path)
    with pytest.raises(InputError, match=r"cannot read .*not a whole savi checkpoint"):
        load_checkpoint(path)


@given(share=st.floats(0, 0.999))
@settings(max_examples=20)
def test_a_checkpoint_cut_off_anywhere_is_refused(tmp_path_factory, checkpoint, share):
    path = tmp_path_factory.mktemp("cut") / "last.npz"
    path.write_bytes(checkpoint[: int(share * len(checkpoint))])
    assert_refused(path)


def test_an_archive_that_is_no_checkpoint_is_refused(tmp_path):
    np.savez(tmp_path / "last.npz", images=np.zeros(3))
    assert "not a whole savi checkpoint" in assert_refused(tmp_path / "last.npz")


def test_a_folder_in_the_place_of_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "last.npz").mkdir()
    with pytest.raises(InputError, match=r"cannot resume from .*last\.npz"):
        short(build()[1], out=tmp_path, resume=True)


def decoder():
    return build()[0].decoder


OTHER = {
    "seed": {"seed": 1},
    "batch": {"batch": 8},
    "optimizer": {"learning_rate": 0.02},
    "warmup_epochs": {"warmup_epochs": 1},
    "beta_start": {"beta_start": 0.2},
    "clip": {"clip": None},
    "phi_decay": {"phi_decay": 0.1},
    "dtype": {"dtype": np.float64},
    "binarize": {"data": GREY},
    "prepare": {"data": DATA._replace(prepare=binarize)},
    "examples": {"data": DATA.train[:30]},
    "digest of the data": {"data": DATA._replace(train=1 - DATA.train)},
    "digest of the data: others that judge": {"data": DATA._replace(valid=1 - DATA.valid)},
    "model": {"model": LatentGaussianModel(MLPDecoder(MLP([2, 6]), Bernoulli()))},
    "kl": {"model": LatentGaussianModel(decoder(), kl=SampledKL)},
    "prior": {"model": LatentGaussianModel(decoder(), prior=[0, 0, 0, 1])},
    "method: another": {"method": VAE(MLP([6, 3, 4]))},
    "method: more steps": {"method": SAVAE(MLP([6, 3, 4]), 3, 0.1, clip=1.0)},
    "method: no clip": {"method": SAVAE(MLP([6, 3, 4]), 2, 0.1)},
    "method: another encoder": {"method": SAVAE(MLP([6, 3, 4], "elu"), 2, 0.1, clip=1.0)},
}


@pytest.mark.parametrize("name", OTHER)
def test_a_checkpoint_of_another_run_is_refused_by_the_name_of_what_differs(tmp_path, checkpoint, name):
    path = tmp_path / "last.npz"
    path.write_bytes(checkpoint)
    assert f"its {name.split(':')[0]} is " in assert_refused(path, **OTHER[name])


def test_a_run_resumes_with_models_and_methods_that_were_built_anew(tmp_path):
    """Of a loss and an hvp that are functions, which are known by nothing but where they are in memory."""

    def built():
        model = AutogradModel(lambda lam, theta, x, noise, beta: (lam[:, 0] - theta[0]) ** 2, 2, 1, 1)
        return SAVAE(MLP([6, 2]), 2, 0.1, hvp=functools.partial(hvp.central_difference, r=hvp.scaled_step(1e-4))), model

    short(*built(), epochs=1, out=tmp_path, dtype=np.float64)
    resumed = short(*built(), epochs=2, out=tmp_path, resume=True, dtype=np.float64)
    assert resumed.last[0].tobytes() == short(*built(), epochs=2, dtype=np.float64).last[0].tobytes()


# --- one training, read in several ways -------------------------------------------------------------------------------------


def refined(steps=4):
    """The VAE of `build`, refined at test time."""
    return VAE(MLP([6, 3, 4]), steps, 0.3)


FEW = {"data": Dataset("few", striped(8, 0), striped(20, 1)), "epochs": 6, "batch": 4, "learning_rate": 0.1}


def parts(result):
    """[(theta, phi, history without times)] of each reading."""
    return [(r.theta.tobytes(), r.phi.tobytes(), without_seconds(r.history)) for r in result.readings]


def test_each_reading_of_a_training_is_what_a_run_of_its_own_gives():
    vae, longer = build("vae")[1], refined(9)
    result = short(vae, readings=[refined(), longer], monitor={"more": DATA.train}, **FEW)
    alone = [short(method, monitor={"more": DATA.train}, **FEW) for method in (vae, refined(), longer)]
    assert parts(result) == [parts(one)[0] for one in alone]
    assert_same(result, alone[0])
    best = [int(np.argmin([row["valid_neg_elbo"] for row in r.history])) for r in result.readings]
    assert len(set(best)) > 1  # each has best parameters of its own
    for reading, epoch in zip(result.readings, best):
        assert reading.theta.tobytes() == short(vae, **FEW | {"epochs": epoch}).last[0].tobytes()


@pytest.mark.parametrize("call", [1, 4, 9, 14, 18])
def test_a_training_with_readings_resumes_to_the_same_bits(tmp_path, call):
    whole = short(build("vae")[1], readings=[refined()], **FEW)
    spy = Spy(build("vae")[1], stop_at([call]))
    with pytest.raises(KeyboardInterrupt):
        short(spy, readings=[refined()], out=tmp_path, **FEW)
    resumed = short(build("vae")[1], readings=[refined()], out=tmp_path, resume=True, **FEW)
    assert parts(resumed) == parts(whole)
    theta, phi = load_checkpoint(tmp_path / "best.npz")
    assert (theta.tobytes(), phi.tobytes()) == parts(whole)[0][:2]


def test_a_training_goes_on_only_with_the_same_readings(tmp_path):
    settings = FEW | {"out": tmp_path, "resume": True}
    short(build("vae")[1], readings=[refined()], **settings)
    for readings in ([], [refined(5)], [refined(), refined(5)]):
        with pytest.raises(InputError, match="its readings is"):
            short(build("vae")[1], readings=readings, **settings)


@pytest.mark.parametrize(
    "readings, words",
    [
        (7, "readings is 7; expected a list of methods"),
        ([7], "method is 7; expected a method"),
        ([SVI(4)], "phi of a reading is of size 0; expected that of the method, 37"),
    ],
)
def test_what_is_no_reading_is_refused(readings, words):
    with pytest.raises(InputError, match=words):
        short(build("vae")[1], readings=readings)


# --- starting from another run's parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["last.npz", "best.npz"])
def test_a_run_starts_from_the_best_parameters_of_another(tmp_path, file):
    first = short(build()[1], epochs=2, out=tmp_path / "first")
    path = tmp_path / "first" / file
    started = short(build("vae")[1], epochs=0, start_from=path, seed=7)
    assert np.array_equal(started.theta, first.theta) and np.array_equal(started.phi, first.phi)
    assert started.history[0]["epoch"] == 0
    whole, out = short(build("vae")[1], start_from=path), tmp_path / "out"
    short(build("vae")[1], epochs=1, start_from=path, out=out)
    assert_same(whole, short(build("vae")[1], start_from=path, out=out, resume=True))


def test_what_a_checkpoint_has_no_part_of_is_drawn_as_ever(tmp_path):
    first = short(build("svi")[1], epochs=1, out=tmp_path)
    started = short(build("vae")[1], epochs=0, start_from=tmp_path / "best.npz", seed=3)
    assert np.array_equal(started.theta, first.theta)
    assert np.array_equal(started.phi, short(build("vae")[1], epochs=0, seed=3).phi)


def test_a_start_that_does_not_fit_or_is_not_there_is_told(tmp_path):
    short(build()[1], epochs=1, out=tmp_path)
    path = tmp_path / "best.npz"
    with pytest.raises(InputError, match=r"theta to start from has shape \(51,\); MLPDecoder.* needs \(18,\)"):
        short(build()[1], LatentGaussianModel(MLPDecoder(MLP([2, 6]), Bernoulli())), start_from=path)
    with pytest.raises(InputError, match="phi to start from is of size 37; expected that of the method, 28"):
        short(VAE(MLP([6, 4])), start_from=path)
    with pytest.raises(InputError, match="cannot start from"):
        short(build()[1], start_from=tmp_path / "missing.npz")


def test_a_run_goes_on_only_from_the_same_start(tmp_path):
    short(build()[1], epochs=1, out=tmp_path / "first")
    short(build()[1], epochs=1, out=tmp_path / "out", start_from=tmp_path / "first" / "best.npz")
    with pytest.raises(InputError, match="its start_from is"):
        short(build()[1], epochs=2, out=tmp_path / "out", resume=True)


def test_a_missing_checkpoint_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.npz"):
        load_checkpoint(tmp_path / "none.npz")


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_way_of_the_out_folder_is_refused(tmp_path, below):
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(InputError, match=r"cannot write .*file"):
        short(build()[1], out=tmp_path / "file" / below)
    assert (tmp_path / "file").read_bytes() == b"in the way"


def with_one(value):
    x = DATA.train.copy()
    x[3, 2] = value
    return x


BAD_DATA = {
    "a row": (DATA.train[0], "expected \\(N, M\\)"),
    "nothing": (DATA.train[:0], "expected \\(N, M\\) with N >= 1"),
    "too narrow": (DATA.train[:, :5], "has shape"),
    "too wide": (np.tile(DATA.train, (1, 2)), "has shape"),
    "pictures": (DATA.train.reshape(40, 2, 3), "has shape"),
    "NaN": (with_one(np.nan), "x has NaN; a Bernoulli likelihood needs"),
    "infinity": (with_one(np.inf), "a Bernoulli likelihood needs values in \\[0, 1\\]"),
    "two": (with_one(2), "values from 0 to 2"),
    "negative": (with_one(-1), "values from -1 to 1"),
}


@pytest.mark.parametrize("name", BAD_DATA)
@pytest.mark.parametrize("part", ["alone", "train", "valid"])
def test_data_that_the_model_cannot_use_are_an_input_error(name, part):
    x, message = BAD_DATA[name]
    if part == "valid" and name == "nothing":
        return  # no validation data are fine
    data = x if part == "alone" else DATA._replace(**{part: x})
    with pytest.raises(InputError, match=message if part != "valid" or "likelihood" in message else None):
        short(build("vae")[1], data=data)


@pytest.mark.parametrize(
    "likelihood, value", [(Gaussian(), np.nan), (Gaussian(), -np.inf), (Multinomial(), 0.5), (Multinomial(), -1)]
)
def test_one_value_outside_the_support_is_found_before_training(likelihood, value):
    model = LatentGaussianModel(MLPDecoder(MLP([2, 6]), likelihood))
    spy = Spy(build("vae")[1], stop_at(range(100), AssertionError))
    with pytest.raises(InputError, match=f"a {type(likelihood).__name__} likelihood needs"):
        short(spy, model, with_one(value))


BAD_SETTINGS = [
    *[("batch", value) for value in (0, -1, 2.5, np.nan)],
    *[("seed", value) for value in (-1, 0.5)],
    *[("learning_rate", value) for value in (0, -1e-3, np.nan)],
    *[("warmup_epochs", value) for value in (-1, np.nan)],
    *[("beta_start", value) for value in (-0.1, np.nan)],
    *[("clip", value) for value in (0, -5.0, np.nan)],
    *[("phi_decay", value) for value in (-0.1, 100.0, np.nan)],
]


@pytest.mark.parametrize("name, value", BAD_SETTINGS)
def test_a_bad_setting_is_an_input_error_that_names_it(name, value):
    with pytest.raises(InputError, match=f"^{name} is {value}; expected"):
        short(build()[1], **{name: value})


# --- progress -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress, shown", [(None, False), (False, False), (True, True)])
def test_progress_is_quiet_unless_stderr_is_a_terminal(capsys, progress, shown):
    fit(*build("vae"), DATA, 1, progress=progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert bool(err) is shown
    assert not shown or all(word in err for word in ("vae", "loss=", "kl=", "examples_per_s="))


def test_progress_is_shown_on_a_terminal(capsys, monkeypatch):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fit(*build("vae"), DATA, 1)
    assert "vae" in capsys.readouterr().err


# --- cost -----------------------------------------------------------------------------------------------------------------


def test_a_part_of_an_epoch_is_judged_and_goes_on_to_the_same_bits(tmp_path):
    """40 examples in batches of 16 are three steps: 1.34 epochs are four."""
    part = short(build()[1], epochs=4 / 3, out=tmp_path)
    assert [row["epoch"] for row in part.history] == [0, 1, 4 / 3]
    assert part.history[-1]["passes"] == (40 + 16) * build()[1].passes
    whole, resumed = short(build()[1]), short(build()[1], out=tmp_path, resume=True)
    assert np.array_equal(whole.last[0], resumed.last[0]) and np.array_equal(whole.last[1], resumed.last[1])
    first = [row["train_loss"] * 16 for row in part.history[2:]]
    rest = next(row for row in resumed.history if row["epoch"] == 2)["train_loss"] * 24
    assert first[0] + rest == pytest.approx(whole.history[2]["train_loss"] * 40)


@pytest.mark.parametrize("at, epochs, judged", [((2, 4), 5, [0, 2, 4, 5]), ((3,), 3, [0, 3]), ((), 2, [0, 2])])
def test_epochs_are_judged_where_that_is_asked_for(at, epochs, judged):
    result = short(build("vae")[1], epochs=epochs, judge_at=at)
    assert [row["epoch"] for row in result.history] == judged
    often = short(build("vae")[1], epochs=epochs)
    assert np.array_equal(result.last[0], often.last[0]), "judging changes nothing but what is recorded"


@pytest.mark.parametrize("name, passes", [("vae", 1), ("svi", 5), ("vae+svi", 4), ("vae+svi+kl", 3), ("sa-vae", 5)])
def test_the_history_counts_decoder_passes(name, passes):
    """SVI has 4 steps and a loss, the others 2: SA-VAE's products count, and VAE+SVI's gradient at lam_0."""
    assert short(build(name)[1], epochs=2).history[-1]["passes"] == 2 * 40 * passes


def test_a_central_difference_costs_two_gradients():
    encoder = MLP([6, 4])
    assert SAVAE(encoder, 3, hvp="central").passes == 4 + 6 and SAVAE(encoder, 3, samples=2).passes == 2 * (4 + 3)


def test_seconds_and_processor_seconds_grow_with_every_row():
    history = short(build()[1]).history
    for name in ("seconds", "cpu"):
        assert history[0][name] == 0 and np.all(np.diff([row[name] for row in history]) > 0)
