"""Training: minibatches, Adam, KL warm-up, checkpoints and a history; one loop for every model and method.

All randomness of step t of epoch e comes from the seeds (seed, e, t), so a run that was interrupted anywhere and resumed
gives, bit for bit, the numbers of an uninterrupted one: nothing but the parameters and Adam's state needs saving.
"""

import os
import re
import time
from typing import NamedTuple

import numpy as np

from ..engine import blas, given, helpers
from ..engine.files import PATIENCE, InputError, digest, expect, owned, tidy
from ..inference.optimizers import Adam, clip_norm
from . import checkpoints
from .checkpoints import Reading, State
from .evaluation import elbo_parts, infer
from .examples import Examples

SAVE = 5.0  # seconds after which the turn of an epoch that is not judged is saved
INIT, ORDER, PREPARE, NOISE, JUDGE = range(5)  # what a stream of random numbers is for


class NonFiniteLoss(InputError):
    """The training loss became NaN or infinite."""


class FitResult(NamedTuple):
    """theta (P,), phi (Q,): the best parameters on the validation data (the last where there are none).

    last: (theta, phi) after the last epoch. history: one dict per judged epoch, the first before training: epoch; what the
    training steps alone have cost so far, as seconds, processor seconds (cpu) and decoder passes of an example (passes);
    train_loss; and for "valid" and each monitor NAME_neg_elbo, NAME_reconstruction, NAME_kl, in nats. ms_per_step: the
    median. savi.plots.history(result.history) draws it. readings: (theta, phi, history) of the method itself and of each of
    fit's `readings`, in their order.
    """

    theta: np.ndarray
    phi: np.ndarray
    last: tuple
    history: list
    ms_per_step: float
    readings: tuple = ()


def fit(
    model, method, data, epochs=10, seed=0, *, out=None, resume=False, progress=None, batch=50, learning_rate=1e-3, decay=1.0,
    warmup_epochs=0, beta_start=0.1, clip=5.0, binarize=None, dtype=np.float32, valid_examples=500, monitor=None,
    judge_at=None, phi_decay=0.0, start_from=None, readings=(),
):  # fmt: skip
    """Train theta and phi by Adam on minibatches; returns a FitResult.

    data: a Dataset, or one array (N, M) to train on. epochs: a part of one may be asked for, too. batch: examples in a
    minibatch. learning_rate: Adam's step size, times
    `decay` for every epoch done. warmup_epochs: the KL weight beta rises linearly from beta_start to 1 over so many epochs
    [E4]. clip: largest norm of theta's and of phi's gradient (each a mean over the batch), or None. binarize: whether x in
    {0, 1} is drawn anew for each minibatch with probability = grey value; None does so when the model takes probabilities
    and the data are some, unless the Dataset has a `prepare` of its own, which is then called instead. valid_examples: how
    many of data.valid judge an epoch. monitor: {name: x}, more arrays whose -ELBO the history records; they choose nothing.
    judge_at: the epochs after which the run is judged, None for each; the end always is. phi_decay: weight decay of phi,
    decoupled from Adam as in AdamW (Loshchilov & Hutter 2019): each step also takes learning_rate * phi_decay * phi off phi.
    start_from: what training starts from instead of parameters drawn from the seed: a checkpoint (last.npz or best.npz), by its
    best parameters, or (theta (P,), phi (Q,)), None for either that is drawn. The decoder says how theta is taken
    (Decoder.adopt); an empty phi is none.
    readings: methods that train as this one does and differ in their inference at test time alone, as a VAE that SVI refines
    does from a VAE: each of them is judged as well, and has best parameters of its own.

    out: a folder for last.npz, best.npz and settings.json, which is this call's alone as long as it lasts; resume: go on from
    its last.npz where there is one. progress: None shows a bar on a terminal, False never.

    Raises InputError on unusable data, settings or checkpoints, NonFiniteLoss when the loss stops being finite (what is
    saved stays). Ctrl-C saves last.npz, where `out` is given, and then goes on as KeyboardInterrupt.
    """
    given.thing("model", model), given.thing("method", method)
    epochs, seed = given.number("epochs", epochs, "[0, inf)"), given.whole("seed", seed)
    batch, valid_examples = given.whole("batch", batch, 1), given.whole("valid_examples", valid_examples)
    optimizer = Adam(given.number("learning_rate", learning_rate, "(0, inf)"))
    decay, beta_start = given.number("decay", decay, "(0, 1]"), given.number("beta_start", beta_start, "[0, inf)")
    warmup = given.number("warmup_epochs", warmup_epochs, "[0, inf)"), beta_start
    clip = None if clip is None else given.number("clip", clip, "(0, inf)")
    phi_decay = given.number("phi_decay", phi_decay, "[0, inf)")
    expect("phi_decay", phi_decay, phi_decay * learning_rate < 1, "below 1 / learning_rate")
    if judge_at is not None:
        judge_at = {given.whole("judge_at", epoch) for epoch in given.listed("judge_at", judge_at, "a list of epochs")}
    methods = (method, *given.listed("readings", readings, "a list of methods"))
    for other in methods[1:]:
        of = f"of size {given.thing('method', other).size}"
        expect("phi of a reading", of, other.size == method.size, f"that of the method, {method.size}")
    examples = Examples(model, data, binarize, dtype, valid_examples, monitor)
    run = _Run(model, methods, examples, seed, batch, optimizer, decay, warmup, clip, phi_decay, start_from)
    if out is None:
        return _trained(run, epochs, None, False, progress, judge_at)
    with owned(out, PATIENCE):
        tidy(out, below=False)
        return _trained(run, epochs, out, resume, progress, judge_at)


@helpers.kept()
def _trained(run, epochs, out, resume, progress, judge_at):
    """`fit`, whose arguments are checked and whose folder is this process's."""
    path = None if out is None else os.path.join(out, "last.npz")
    state = None
    if resume and path is not None and os.path.exists(path):
        state, run.cost = checkpoints.load(path, run.initial(), run.describe())
    elif out is not None:
        checkpoints.write_json(os.path.join(out, "settings.json"), run.describe())
    state = run.judged(run.initial()) if state is None else state
    last = round(epochs * run.steps)
    bar, saved = _progress_bar(run.method.name, last, run.done(state), progress), time.monotonic()
    try:
        while True:
            ended = run.done(state) >= last
            if state.step == run.steps or (ended and run.seen(state) > state.judged):
                before, state = state, run.turned(state, ended, judge_at)
                if out is not None and (len(state.history) > len(before.history) or time.monotonic() > saved + SAVE):
                    checkpoints.save(out, state, run.cost, run.describe())
                    saved = time.monotonic()
            elif ended:
                break
            else:
                with blas.one_thread():  # after the norm of a long vector the library's threads wait in a busy loop
                    state = run.step(state, path)
                run.show(bar, state)
    except KeyboardInterrupt:
        if out is not None:
            checkpoints.save(out, state, run.cost, run.describe())
        raise
    finally:
        bar.close()
    ms = 1e3 * float(np.median([seconds for seconds, _ in run.cost])) if run.cost else float("nan")
    readings = tuple(reading._replace(history=list(reading.history)) for reading in state.readings)
    theta, phi, history = readings[0]
    return FitResult(theta, phi, (state.theta, state.phi), history, ms, readings)


class _Run:
    """What stays fixed during one call of `fit`, and the steps that a State takes through it."""

    def __init__(self, model, methods, examples, seed, batch, optimizer, decay, warmup, clip, phi_decay, start_from):
        self.start = checkpoints.starts(start_from)
        self.model, self.methods, self.examples, self.seed, self.batch = model, methods, examples, seed, batch
        self.method = methods[0]  # the one that trains
        self.optimizer, self.decay, self.clip = optimizer, decay, clip
        (self.warmup_epochs, self.beta_start), self.phi_decay = warmup, phi_decay
        self.cost, self._drawn = [], None  # (seconds, processor seconds) of each step
        judges = enumerate(examples.judges.items())
        self.judges = {name: examples.prepared(x, self._rng(JUDGE, i)) for i, (name, x) in judges}
        self.steps = -(-len(examples.train) // batch)

    def describe(self):
        """The settings that a checkpoint must share with the run that resumes from it."""
        described = self.model.describe() | self.examples.describe() | {
            "method": repr(self.method), "seed": self.seed, "batch": self.batch, "optimizer": repr(self.optimizer),
            "decay": self.decay, "warmup_epochs": self.warmup_epochs, "beta_start": self.beta_start, "clip": self.clip,
            "phi_decay": self.phi_decay, "start_from": [at is not None and digest(at) for at in self.start],
            "readings": [repr(method) for method in self.methods[1:]] or None,
        }  # fmt: skip
        return {name: _without_addresses(value) for name, value in described.items()}

    def initial(self):
        """The state before any step."""
        theta = self.model.init(self._rng(INIT, 0), self.examples.dtype, self.examples.train)
        phi = self.method.init(self._rng(INIT, 1), self.examples.dtype)
        theta_there, phi_there = self.start
        if theta_there is not None:
            theta = self.model.adopt(theta_there.astype(theta.dtype), theta)
        if phi_there is not None and len(phi):
            size = f"of size {len(phi_there)}"
            expect("phi to start from", size, len(phi_there) == len(phi), f"that of the method, {len(phi)}")
            phi = phi_there.astype(phi.dtype)
        readings = (Reading(theta, phi),) * len(self.methods)
        return State(theta, phi, self.optimizer.init(theta), self.optimizer.init(phi), readings)

    def step(self, state, path):
        """One minibatch: the method's gradients, clipped means over the batch, one step of Adam each."""
        start = time.perf_counter(), helpers.processor_seconds()
        rows = self._order(state.epoch)[state.step * self.batch : (state.step + 1) * self.batch]
        x = self.examples.in_training(rows, self._rng(PREPARE, state.epoch, state.step))
        rng = self._rng(NOISE, state.epoch, state.step)
        loss, d_theta, d_phi = self.method.gradient(self.model, state.theta, state.phi, x, rng, self._beta(state))
        if not (np.isfinite(loss).all() and np.isfinite(d_theta).all() and np.isfinite(d_phi).all()):
            raise NonFiniteLoss(
                f"{self.method.name}: the loss or its gradient is not finite at epoch {state.epoch}, step {state.step}; "
                f"try a smaller step_size or learning_rate; last good checkpoint: {path if _exists(path) else 'none'}"
            )
        optimizer = self.optimizer._replace(step_size=self.optimizer.step_size * self.decay**state.epoch)
        theta_state, theta = self._moved(optimizer, state.theta_state, state.theta, d_theta / len(x))
        phi_state, phi = self._moved(optimizer, state.phi_state, state.phi, d_phi / len(x), self.phi_decay)
        self.cost.append((time.perf_counter() - start[0], helpers.processor_seconds() - start[1]))
        total = state.loss + float(loss.sum(dtype=float))
        return state._replace(
            theta=theta, phi=phi, theta_state=theta_state, phi_state=phi_state, step=state.step + 1, loss=total
        )

    def _order(self, epoch):
        """The order of this epoch's examples, (N,)."""
        if self._drawn != epoch:
            self._drawn, self._permutation = epoch, self.examples.order(self.batch, self._rng(ORDER, epoch))
        return self._permutation

    def _moved(self, optimizer, optimizer_state, params, g, weight_decay=0.0):
        optimizer_state, step = optimizer.update(optimizer_state, clip_norm(g, self.clip))
        if weight_decay:
            step -= optimizer.step_size * weight_decay * params
        return optimizer_state, np.add(params, step, out=step)

    def _beta(self, state):
        if not self.warmup_epochs:
            return 1.0
        done = (state.epoch + state.step / self.steps) / self.warmup_epochs
        return min(1.0, self.beta_start + (1 - self.beta_start) * done)

    def done(self, state):
        """Steps done in all."""
        return state.epoch * self.steps + state.step

    def seen(self, state):
        """Examples seen in all."""
        return state.epoch * len(self.examples.train) + min(state.step * self.batch, len(self.examples.train))

    def turned(self, state, ended, judge_at):
        """The state at the turn of an epoch, or at the end: with a new row of history where it is time for one."""
        if state.step == self.steps:
            state = state._replace(epoch=state.epoch + 1, step=0)
        return self.judged(state) if ended or judge_at is None or state.epoch in judge_at else state

    def judged(self, state):
        """The state with a new row of history for each reading."""
        seconds, cpu = np.sum(np.reshape(self.cost, (-1, 2)), axis=0)
        epoch = state.epoch + state.step / self.steps if state.step else state.epoch
        row = {"epoch": epoch, "seconds": float(seconds), "cpu": float(cpu)}
        row |= {"passes": self.seen(state) * self.method.passes, "train_loss": None}
        if self.done(state):
            row["train_loss"] = state.loss / (self.seen(state) - state.judged)
        readings = tuple(self._read(*each, state, row) for each in zip(self.methods, state.readings))
        return state._replace(loss=0.0, judged=self.seen(state), readings=readings)

    def _read(self, method, reading, state, row):
        """The Reading with a row more, and with new best parameters where the validation data say so."""
        for i, (name, x) in enumerate(self.judges.items()):
            rng = self._rng(JUDGE, i, 1)  # the same noise each epoch, and for each reading
            lam = infer(self.model, method, state.theta, state.phi, x, rng)
            reconstruction, kl = (part.mean(dtype=float) for part in elbo_parts(self.model, state.theta, lam, x, rng))
            total = reconstruction + np.nan_to_num(kl)
            row = row | {f"{name}_neg_elbo": total, f"{name}_reconstruction": reconstruction, f"{name}_kl": kl}
        best = min((old.get("valid_neg_elbo", np.inf) for old in reading.history), default=np.inf)
        better = row.get("valid_neg_elbo", -np.inf) < best
        theta, phi = (state.theta, state.phi) if better else (reading.theta, reading.phi)
        return Reading(theta, phi, (*reading.history, row))

    def _rng(self, *stream):
        return np.random.default_rng([self.seed, *stream])

    def show(self, bar, state):
        """One step further on the progress bar."""
        done = state.history[-1]
        bar.set_postfix(
            loss=f"{state.loss / (self.seen(state) - state.judged):.1f}",
            kl=f"{done.get('valid_kl', np.nan):.1f}",
            examples_per_s=f"{self.batch / np.median([seconds for seconds, _ in self.cost[-100:]]):.0f}",
            refresh=False,
        )
        bar.update()


def _progress_bar(name, total, done, progress):
    from tqdm import tqdm

    return tqdm(total=total, initial=done, desc=name, unit="step", disable=None if progress is None else not progress)


def _without_addresses(value):
    """Where in memory a thing is differs from run to run, and is left out of the text that describes it."""
    return re.sub(" at 0x[0-9a-f]+", "", value) if isinstance(value, str) else value


def _exists(path):
    return path is not None and os.path.exists(path)
