"""Threads and forks: a gradient is the same in any thread and in any child, whatever was computed before."""

import os
import threading

import numpy as np
from small import child, pick

import savi
from savi.engine import threads


def forks(rng, count):
    """Gradients in several threads, in children and in children of children: the same bits, and none hangs."""
    model = savi.LatentGaussianModel(savi.MLPDecoder(savi.MLP([4, 100, 784]), savi.Bernoulli()))
    methods = [
        savi.VAE(savi.MLP([784, 8])),
        savi.SVI(2),
        savi.SAVAE(savi.MLP([784, 8]), 2),
        savi.SAVAE(savi.MLP([784, 8]), 1, hvp="central"),
    ]
    theta, x = model.init(np.random.default_rng(0)), (np.random.default_rng(1).random((96, 784)) < 0.5).astype(float)

    def gradient(method):
        phi = method.init(np.random.default_rng(2))
        return [a.tobytes() for a in method.gradient(model, theta, phi, x, np.random.default_rng(3))]

    for _ in range(count):
        method, how, number = pick(rng, methods), pick(rng, list(HOW)), int(rng.integers(2, 5))
        with threads.using(number):
            usual = gradient(method)
            wrong = HOW[how](lambda: gradient(method) == usual)  # noqa: B023
        yield f"{method.name} with {number} threads: {how}", wrong


def _fork(same):
    code = child(lambda: os._exit(0 if same() else 3))[0]
    return None if code == 0 else f"ended with {code}"


def _fork_of_a_fork(same):
    code = child(lambda: os._exit(3 if _fork(same) or not same() else 0))[0]
    return None if code == 0 else f"ended with {code}"


def _threads(same):
    found = []
    several = [threading.Thread(target=lambda: found.append(same())) for _ in range(3)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    return None if found == [True] * 3 else f"gave {found}"


def _again(same):
    return None if same() else "gave other numbers"


HOW = {"a fork": _fork, "a fork of a fork": _fork_of_a_fork, "three threads": _threads, "again": _again}
