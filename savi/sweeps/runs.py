"""One training on a task for one seed, and every measure of it. A pure function of its settings, wherever it is worked out.

load     the examples that the settings ask for, and the test set that all methods share
run      training (with checkpoints, where it has a folder) and, for each method that reads it, the inner step of the test time
         and every measure: as bytes
call     a run that is a function of a user's own
seconds, epochs, tune    what is asked beforehand: the cost of a training step, and the inner step of the training
"""

import json

import numpy as np

from ..engine.files import InputError, digest, expect, running
from ..experiments.budget import costs, epochs_of
from ..experiments.catalogue import find, function, source
from ..experiments.evaluation import along, evaluate, infer, path
from ..experiments.methods import build
from ..experiments.training import fit
from ..experiments.tuning import at_test, in_training

REFINEMENT = (0, 1, 2, 5, 10, 20, 40)  # numbers of test-time steps in the right-hand picture
SHOWN, REFINED = 8, 100  # examples in the task's own picture, and in the right-hand one
VALID, TUNED_ON = 100, 100  # validation examples that judge an epoch, and that choose the inner step of the test time
TOLERANCE = 0.2  # nats, of the amortization gap: below its spread over seeds, at half the rounds that 0.05 takes


_latest = {}  # what was loaded last, which a process that works on several runs uses again


def load(task, settings, fresh=False):
    """(the Dataset, test examples): those that the settings ask for, of a task or of its name; fresh: not those loaded before."""
    return _loaded(task, settings, fresh)[:2]


def _loaded(task, settings, fresh=False):
    """(the Dataset, test examples, digest of the Dataset)."""
    text = source(task.rpartition(":")[0]) if isinstance(task, str) and ".py:" in task else None
    key = task, text, settings.train_examples, settings.test_examples, settings.dtype
    known, value = _latest.get("loaded", (None, None))
    if fresh or known != key:
        examples, x_test = _load(find(task), settings)
        value = examples, x_test, digest(examples.train, examples.valid, examples.test)
        _latest["loaded"] = key, value
    return value


def run(names, seed, epochs, judge_at, inner, task, settings, folder=None, resume=False, progress=False, pictures=True):
    """[{"row": what the table has of a method and seed, "curve": what the pictures have, "data": a digest}, ...], as JSON in bytes.

    names: of methods that read the same training (methods.trainings), which is done once; what is said of one does not depend
    on the others. epochs, judge_at: as in `fit`. inner: settings of the inner steps in training that differ from their own.
    task: a Task or its name. folder: for checkpoints, or None. pictures: whether the task's own picture needs something.
    """
    examples, x_test, data = _loaded(task, settings)
    task = find(task)
    model, _ = build(names[0], task, settings)
    methods = [build(name, task, settings)[1].with_inner(**inner) for name in names]
    monitor = {"test": examples.test[: len(x_test)]}
    flags = _training(settings) | {"progress": progress, "monitor": monitor, "judge_at": judge_at}
    result = fit(model, methods[0], examples, epochs, seed, out=folder, resume=resume, readings=methods[1:], **flags)
    cost = {key: result.history[-1][key] for key in ("seconds", "cpu", "passes")}
    cost = {"ms_per_step": result.ms_per_step, "epochs": epochs, "train_seconds": cost.pop("seconds"), **cost}
    found = []
    for name, method, (theta, phi, history) in zip(names, methods, result.readings):
        said = {"method": name, "seed": seed}
        summary, curve = _measured(model, method, theta, phi, examples, x_test, seed, task, settings, pictures)
        found.append({"row": said | summary | cost, "curve": said | {"history": history} | curve, "data": data})
    return json.dumps(found).encode()


def _measured(model, method, theta, phi, examples, x_test, seed, task, settings, pictures):
    """(a trained method's numbers for the table, those for the pictures)."""
    trained_with, searched = method.inner_settings, []
    if settings.tune != "none" and trained_with and len(examples.valid):
        valid = prepared(examples, np.asarray(examples.valid)[:TUNED_ON], np.random.default_rng(0), settings)
        method, searched = at_test(model, method, theta, phi, valid)
    trained = model, method, theta, phi
    how = {"iw_samples": settings.iw_samples, "gap_examples": settings.gap_examples, "tolerance": TOLERANCE}
    summary = evaluate(*trained, x_test, _rng(seed, 1), **how, measures=task.measures)
    curve = {"inner": {"train": trained_with, "test": method.inner_settings, "curve": searched}}
    curve["refinement"] = _refinement(*trained, x_test[:REFINED], _rng(seed, 2))
    if task.show and pictures:
        x = x_test[:SHOWN]
        curve[task.picture] = task.shown(model, theta, infer(*trained, x, _rng(seed, 3)), x)
    return summary, curve


def call(named, values):
    """[what the function "FILE.py:NAME" gives of these values], a dict of JSON's kinds or NumPy's, as JSON in bytes."""
    made = function(named)
    with running(f"{made.__name__} in {named.rpartition(':')[0]}"):
        try:
            found = made(**values)
        except SystemExit as error:
            raise RuntimeError(f"SystemExit {error}") from error
    try:
        if isinstance(found, dict):
            return json.dumps([found], default=lambda value: value.tolist()).encode()
    except (TypeError, ValueError, AttributeError):
        pass
    raise InputError(f"{named} gives {_shortly(found)}; expected a dict of numbers, words and lists of them")


def _shortly(value):
    text = " ".join(repr(value).split())
    return text if len(text) < 80 else text[:77] + "..."


def seconds(names, task, settings):
    """{method: processor seconds of a training step} in this process."""
    examples, _ = load(task, settings)
    return costs({name: build(name, find(task), settings) for name in names}, examples, settings)


def epochs(name, task, settings):
    """How many epochs a method's budget gives, by what a step costs in this process."""
    if settings.budget[0] == "epochs":
        return settings.budget[1]
    return epochs_of(seconds([name], task, settings), load(task, settings)[0], settings)[name]


def tune(name, epochs, task, settings):
    """{"choice": the inner step that a method is trained with, "curve": the search}, in runs of so many epochs; None where its
    training has no inner step."""
    examples, _ = load(task, settings)
    model, method = build(name, find(task), settings)
    if not (method.training_steps and method.inner_settings):
        return None
    expect("the data to tune on", f"no validation examples in {examples.name!r}", len(examples.valid), "some")
    method, curve = in_training(model, method, examples, epochs, **_training(settings))
    return {"choice": method.inner_settings, "curve": curve}


def baselines(task, settings):
    """({"method": what it is called, "nll": its -log p(x), one for each measure} of the decoder's best model without latents, or
    None, [the same of each of the task's baselines])."""
    (examples, x_test), task = load(task, settings), find(task)

    def line(name, log_p):
        expect(
            f"log p(x) of the baseline {name!r}",
            f"of shape {np.shape(log_p)}",
            np.shape(log_p) == (len(x_test),),
            len(x_test),
        )
        measured = {measure.name: measure.value(-log_p, x_test) for measure in task.measures}
        return {"method": name, "nll": -float(log_p.mean())} | measured

    own = task.model(settings).baseline(examples.train, x_test)
    with running(f"the baselines of task {task.name!r}"):
        others = {name: log_prob(examples.train, x_test) for name, log_prob in task.baselines.items()}
    return own and line(*own), [line(*other) for other in others.items()]


def _load(task, settings):
    examples = task.dataset()
    if settings.train_examples is not None:
        examples = examples._replace(train=examples.train[: settings.train_examples])
    rng, test = np.random.default_rng(0), np.asarray(examples.test)
    x = test[rng.permutation(len(test))[: settings.test_examples]]  # the same for every method and seed
    return examples, prepared(examples, x, rng, settings)


def prepared(examples, x, rng, settings):
    """Examples x as the model sees them."""
    with running(f"prepare(x, rng) of the data {examples.name!r}"):
        prepared = examples.prepare(x, rng).astype(settings.dtype)
    expect(
        "what prepare(x, rng) gives", f"{len(prepared)} examples", len(prepared) == len(x), f"{len(x)}, as many as x"
    )
    return prepared


def _training(settings):
    """The settings of `fit` that all runs share."""
    names = ("batch", "learning_rate", "phi_decay", "warmup_epochs", "dtype", "start_from")
    return {name: getattr(settings, name) for name in names} | {"progress": False, "valid_examples": VALID}


def _rng(seed, stream):
    return np.random.default_rng([seed, stream])


def _refinement(model, method, theta, phi, x, rng):
    """[steps, -ELBO] after each number of test-time steps, SVI's or the method's own, along one inference."""
    lams = path(model, method, theta, phi, x, rng, max(REFINEMENT))[list(REFINEMENT)]
    return [[steps, loss] for steps, loss in zip(REFINEMENT, along(model, theta, lams, x, 0))]
