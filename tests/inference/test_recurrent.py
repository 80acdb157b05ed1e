"""Recurrent iterative models: cells against autograd, truncated and full gradients through time against autograd through the
steps, the feed-forward model as the case without a state, and mutations, which these checks must catch."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings

import savi
from savi import MLP, Bernoulli, InputError, Iterative, LatentGaussianModel, MLPDecoder, reference
from savi.inference.encodings import Data, Error, Gated, Gradient, Residual
from savi.inference.recurrent import Recurrent, RecurrentTrunk, recurrent_network
from savi.nets.cells import GRU, LSTMCell, Still
from savi.testing import assert_close, seeds, sizes

CELLS = [GRU, LSTMCell]
ENCODINGS = (Gradient(), Error(), Data())


@pytest.mark.parametrize("kind", [*CELLS, Still])
@given(inputs=sizes, hidden=sizes, B=sizes, seed=seeds)
@settings(max_examples=25)
def test_a_cells_step_and_its_way_back_are_autograds(kind, inputs, hidden, B, seed):
    rng, cell = np.random.default_rng(seed), kind(inputs) if kind is Still else kind(inputs, hidden)
    params, x, state = (
        rng.normal(0, 0.8, cell.size),
        rng.normal(size=(B, inputs)),
        rng.normal(size=(B, cell.state_size)),
    )
    d_h, d_state, total = rng.normal(size=(B, cell.hidden)), rng.normal(size=state.shape), np.zeros(cell.size)

    def judged(params, x, state):
        h, after = cell.reference(params, x, state)
        return anp.sum(h * d_h) + anp.sum(after * d_state)

    h, after, kept = cell.step(params, x, state)
    for ours, theirs in zip((h, after), cell.reference(params, x, state)):
        assert_close(ours, theirs, rtol=1e-12)
    with np.errstate(invalid="ignore"):
        expected = autograd.grad(judged, (0, 1, 2))(params, x, state)
    d_x, d_before = cell.backward(params, kept, d_h, d_state, total)
    for ours, theirs in zip((total, d_x, d_before), expected):
        assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def problem(cell=GRU, through_time=False, steps=3, update=Gated(), start="prior", dtype=np.float64):  # noqa: B008
    """(method, model, theta, phi, x, noise): two latent dimensions, four data dimensions, three examples."""
    rng, model = np.random.default_rng(0), LatentGaussianModel(MLPDecoder(MLP([2, 3, 4]), Bernoulli()))
    net = recurrent_network(model, ENCODINGS, (4,), 3, update, "tanh", cell, through_time)
    method = Iterative(net, ENCODINGS, steps, 2, update, start)
    arrays = [
        rng.normal(0, 0.5, model.size), rng.normal(0, 0.6, method.size), rng.integers(0, 2, (3, 4)),
        rng.normal(size=(steps + 1, 2, 3, 2)),
    ]  # fmt: skip
    return method, model, *(a.astype(dtype) for a in arrays)


def judge(method, model, theta, phi, x, noise, through_time):
    """d phi: the mean over the steps of each one's loss, differentiated through the state and its own update alone."""
    net, f, update = method.net, model.objective(theta, x, 0.7), method.update
    lam, state = model.prior_lam(len(x)), np.zeros((len(x), net.cell.state_size))
    lams, inputs, states = [], [], [state]
    for now in noise[:-1]:
        lams.append(lam)
        inputs.append(method.encode(f, f.gradient(lam, now)))
        output, state = net.reference(phi, inputs[-1], states[-1])
        states.append(state)
        lam = update.apply(lam, output)

    def loss(phi):
        total, state = 0.0, states[0]
        for t, (lam, seen) in enumerate(zip(lams, inputs)):
            output, state = net.reference(phi, seen, state if through_time else states[t])
            if update.heads == 1:
                moved = lam + output
            else:
                g = 0.5 * (1 + anp.tanh(0.5 * output[:, 4:]))
                moved = g * lam + (1 - g) * output[:, :4]
            total = total + anp.sum(reference.loss(model, moved, theta, x, noise[t + 1], 0.7))
        return total / len(lams)

    return f.loss(lam, noise[-1]), autograd.grad(loss)(phi)


def check(p, through_time, rtol=1e-9):
    """AssertionError unless the loss and d phi are the judge's."""
    method, model, theta, phi, x, noise = p
    loss, _, d_phi = method.gradient(model, theta, phi, x, beta=0.7, noise=noise)
    expected_loss, expected = judge(*p, through_time)
    assert_close(loss, expected_loss, rtol, name="loss")
    assert_close(d_phi, expected, rtol, name="d phi")


@pytest.mark.parametrize("update", [Gated(), Residual()], ids=["gated", "residual"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("through_time", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_is_autograds_through_the_state(cell, through_time, steps, update):
    check(problem(cell, through_time, steps, update), through_time)


@pytest.mark.parametrize("cell", CELLS)
def test_through_time_and_truncated_are_not_the_same_and_the_check_sees_it(cell):
    with pytest.raises(AssertionError, match="d phi is off by"):
        check(problem(cell, True), False)
    check(problem(cell, True, steps=1), False)


@pytest.mark.parametrize("through_time", [False, True])
def test_without_a_state_it_is_the_feed_forward_model(through_time):
    rng, model = np.random.default_rng(0), LatentGaussianModel(MLPDecoder(MLP([2, 3, 4]), Bernoulli()))
    inputs = sum(e.size(model) for e in ENCODINGS) + 4
    net = Recurrent(MLP([inputs, 5, 6]), Still(6), MLP([6, 8]), through_time)
    whole = MLP([inputs, 5, 6, 8])
    phi, x, noise = (
        rng.normal(0, 0.5, whole.size),
        rng.integers(0, 2, (3, 4)).astype(float),
        rng.normal(size=(4, 2, 3, 2)),
    )
    theta = rng.normal(0, 0.5, model.size)
    found = [Iterative(n, ENCODINGS, 3, 2).gradient(model, theta, phi, x, noise=noise) for n in (net, whole)]
    for ours, theirs in zip(*found):
        assert_close(ours, theirs, rtol=1e-12)


def test_the_state_is_remembered_from_step_to_step_and_begins_anew_with_each_inference():
    method, model, theta, phi, x, _ = problem()
    trunk, seen = method.net.begin(phi), np.ones((3, method.net.inputs))
    first, second = trunk.output(seen), trunk.output(seen)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(method.net.begin(phi).output(seen), first)
    lams = [method.infer(model, theta, phi, x, np.random.default_rng(0), 4) for _ in range(2)]
    np.testing.assert_array_equal(*lams)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("through_time", [False, True])
def test_training_lowers_the_loss_and_more_iterations_than_trained_stay_finite(through_time, cell):
    method, model, *_ = problem(cell, through_time)
    x = np.repeat(np.eye(4), 5, axis=0)
    result = savi.fit(model, method, x, epochs=60, seed=0, batch=10, dtype=float, progress=False, learning_rate=0.01)
    losses = [row["train_loss"] for row in result.history[1:]]
    assert losses[-1] < losses[0] - 0.1
    assert np.isfinite(method.infer(model, result.theta, result.phi, x, np.random.default_rng(0), 100)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_dtype_in_is_dtype_out(cell, dtype):
    method, model, theta, phi, x, noise = problem(cell, True, start="learned", dtype=dtype)
    assert method.init(np.random.default_rng(0), dtype).dtype == dtype
    assert {a.dtype for a in method.gradient(model, theta, phi, x, noise=noise)} == {np.dtype(dtype)}


def test_a_truncated_trunk_keeps_no_steps_and_one_through_time_keeps_all():
    for through_time in (False, True):
        method, _, _, phi, _, _ = problem(through_time=through_time)
        trunk = method.net.begin(phi)
        for _ in range(5):
            trunk.output(np.ones((3, method.net.inputs)))
            trunk.learn(np.ones((3, method.net.outputs)))
        assert len(trunk.steps) == (5 if through_time else 0)


MUTANTS = {
    "d state times 1.001": lambda d_x, d_state: (d_x, 1.001 * d_state),
    "no way back through the state": lambda d_x, d_state: (d_x, 0 * d_state),
    "d x times 1.001": lambda d_x, d_state: (1.001 * d_x, d_state),
}


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_check_catches_a_changed_way_back(cell, name, monkeypatch):
    made = cell.backward
    monkeypatch.setattr(cell, "backward", lambda self, *arguments: MUTANTS[name](*made(self, *arguments)))
    with pytest.raises(AssertionError, match="d phi is off by"):
        check(problem(cell, True), True)


def test_widths_that_do_not_fit_get_their_sentence():
    with pytest.raises(InputError, match=r"do not fit: their widths are \[3, 4, 5, 5\]"):
        Recurrent(MLP([2, 3]), GRU(4, 5), MLP([5, 1]))
    assert isinstance(Recurrent(MLP([2, 4]), GRU(4, 5), MLP([5, 1])).begin(np.zeros(181)), RecurrentTrunk)
