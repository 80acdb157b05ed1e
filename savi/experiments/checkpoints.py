"""Checkpoints: everything that changes in training, in files that are whole or absent.

OUT/last.npz is the whole state, from which training goes on bit for bit; OUT/best.npz the best theta and phi alone.
Arrays are stored without pickle; the settings that a resumed run must share lie in last.npz as JSON.
"""

import json
import os
from typing import NamedTuple

import numpy as np

from ..engine import given
from ..engine.files import InputError, digest, expect, replacing, write_arrays

PARAMETERS = ("theta", "phi")
OPTIMIZERS = ("theta_state", "phi_state")


class Reading(NamedTuple):
    """What one way of inference makes of a training: the best parameters on its validation data, theta (P,) and phi (Q,), and
    a row for each judgement."""

    theta: np.ndarray
    phi: np.ndarray
    history: tuple = ()


class State(NamedTuple):
    """Everything that changes in training: replaced as a whole by each step, saved as it is. readings: a Reading for each
    method by which the training is judged, that which trains first."""

    theta: np.ndarray
    phi: np.ndarray
    theta_state: tuple
    phi_state: tuple
    readings: tuple
    epoch: int = 0
    step: int = 0  # steps done in this epoch
    loss: float = 0.0  # summed over the examples seen since the last judgement
    judged: int = 0  # examples that had been seen at that judgement

    @property
    def history(self):
        """The rows of the method that trains."""
        return self.readings[0].history


def save(out, state, cost, settings):
    """Write best.npz, the best parameters, and last.npz, the whole state, each replaced at once."""
    arrays = {name: getattr(state, name) for name in PARAMETERS}
    for name in OPTIMIZERS:
        arrays |= {f"{name}_{i}": np.asarray(part) for i, part in enumerate(getattr(state, name))}
    for i, reading in enumerate(state.readings):
        arrays |= {_best(name, i): getattr(reading, name) for name in PARAMETERS}
    rest = {name: getattr(state, name) for name in ("epoch", "step", "loss", "judged", "history")}
    others = [reading.history for reading in state.readings[1:]]
    meta = json.dumps({"settings": settings, "state": rest} | ({"histories": others} if others else {}))
    first = state.readings[0]
    _write(os.path.join(out, "best.npz"), {"theta": first.theta, "phi": first.phi})
    _write(os.path.join(out, "last.npz"), arrays | {"cost": np.reshape(cost, (-1, 2)), "meta": np.array(meta)})


def load(path, fresh, settings):
    """(state, (seconds, processor seconds) of each step) of a last.npz, shaped like the state `fresh`.

    Raises InputError when it is damaged or was made with other settings.
    """
    try:
        arrays = _read(path)
        meta = json.loads(str(arrays["meta"]))
        states = {name: tuple(arrays[f"{name}_{i}"] for i in range(len(getattr(fresh, name)))) for name in OPTIMIZERS}
        rest = meta["state"]
        histories = [rest.pop("history"), *meta.get("histories", ())]
        readings = tuple(
            Reading(*(arrays[_best(name, i)] for name in PARAMETERS), tuple(history))
            for i, history in enumerate(histories)
        )
        state, cost = (
            State(**{name: arrays[name] for name in PARAMETERS}, **states, readings=readings, **rest),
            [(seconds, cpu) for seconds, cpu in arrays["cost"].tolist()],
        )
    except Exception as error:  # zipfile, zlib, json and numpy each have errors of their own
        raise InputError(f"cannot resume from {path}: not a whole savi checkpoint ({error})") from error
    for name, here in json.loads(json.dumps(settings)).items():
        if meta["settings"].get(name) != here:
            raise InputError(
                f"cannot resume from {path}: its {name} is {meta['settings'].get(name)}, this run's is {here}"
            )
    return state, cost


def _best(name, i):
    """What the best `name` of the i-th reading is called in a file."""
    return f"best_{name}" + (f"_{i}" if i else "")


def load_checkpoint(path):
    """(theta, phi) of a last.npz or best.npz. Raises InputError when the file is missing or damaged."""
    try:
        arrays = _read(path)
        return arrays["theta"], arrays["phi"]
    except Exception as error:
        raise InputError(f"cannot read {path}: not a whole savi checkpoint ({error})") from error


def best(path):
    """(theta, phi) of a best.npz, or the best ones of a last.npz. Raises InputError when the file is missing or damaged."""
    try:
        arrays = _read(path)
        return tuple(arrays.get(f"best_{name}", arrays[name]) for name in ("theta", "phi"))
    except Exception as error:
        raise InputError(f"cannot start from {path}: not a whole savi checkpoint ({error})") from error


def starts(start_from):
    """(theta (P,), phi (Q,)) that training starts from, None for what is drawn. start_from: None, a checkpoint's path, or the two.

    Raises InputError on a damaged file, and on what are no vectors of finite numbers.
    """
    if start_from is None:
        return None, None
    if isinstance(start_from, str | os.PathLike):
        theta, phi = best(start_from)
        return theta, phi if len(phi) else None
    two = given.listed("start_from", start_from, "a checkpoint's path, or (theta, phi)")
    expect("start_from", f"{len(two)} arrays", len(two) == 2, "(theta, phi)")
    return tuple(
        None if at is None else given.finite(f"start_from, its {name},", at, (np.size(at),))
        for name, at in zip(("theta", "phi"), two)
    )


def _write(path, arrays):
    """The arrays as a file, with a digest of them."""
    with replacing(path) as file:
        write_arrays(file, **arrays, digest=np.array(_digest(arrays)))


def _read(path):
    """{name: array} of a file that `_write` made; ValueError where they are not what was written."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if str(arrays.pop("digest")) != _digest(arrays):
        raise ValueError("its digest is another")
    return arrays


def _digest(arrays):
    return digest(*(array for name, array in sorted(arrays.items())))


def write_json(path, value):
    """Write a JSON value to the file at `path`, whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())
