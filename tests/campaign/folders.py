"""Folders of runs: their processes killed and interrupted anywhere, their files damaged; then the run goes on."""

import json
import os
import shutil
import signal
import tempfile

import numpy as np
from small import answer, child, compared, flipped, pick, task

import savi
from savi.experiments.settings import settings_of


def kills(rng, count):
    """Runs that end in the middle, up to three times, and are gone on with: to the last bit what an undisturbed one gives."""
    jobs = [trained("vae"), trained("svi"), trained("sa-vae"), comparison]
    with tempfile.TemporaryDirectory() as folder:
        usual = {}
        for job in jobs:
            out = os.path.join(folder, f"usual-{len(usual)}")
            code, seconds = child(lambda: job(out, False))  # noqa: B023
            usual[job] = told(out), seconds
            yield f"{job.__name__} undisturbed", None if code == 0 else f"ended with {code}"
        for i in range(count):
            job, out = pick(rng, jobs), os.path.join(folder, str(i))
            ends = [pick(rng, ["kill", "interrupt"]) for _ in range(rng.integers(1, 4))]
            for end in ends:
                moment = rng.uniform(0.002, usual[job][1])
                code = child(lambda: ended(end, moment, job, out))[0]  # noqa: B023
                if code not in (0, 130, -signal.SIGPROF):
                    yield f"{job.__name__}, {end} after {moment:.3f} s", f"ended with {code}"
                    break
            code = child(lambda: job(out, True))[0]  # noqa: B023
            same = code == 0 and told(out) == usual[job][0]
            parts = [name for _, _, names in os.walk(out) for name in names if name.endswith(".part")]
            wrong = None if same else f"gone on with: exit code {code}, or another result"
            yield f"{job.__name__}, {', '.join(ends)}", wrong or (f"left {parts}" if parts else None)
            shutil.rmtree(out)


def ended(how, moment, job, out):
    """The job, gone on with where it had begun, ended after so many processor seconds."""
    if how == "interrupt":
        signal.signal(signal.SIGPROF, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_PROF, moment)  # whose signal ends a process as abruptly as a kill
    job(out, os.path.isdir(out))


def trained(name):
    """A job: `fit`, whose last state is written to OUT/told."""

    def job(out, resume):
        settings = settings_of(task(), {"latent": 2, "hidden": [4], "steps": 2})
        model, method = savi.experiments.methods.build(name, task(), settings)
        result = savi.fit(model, method, task().load(), 4, 0, out=out, resume=resume, progress=False, batch=5)
        arrays = [result.theta, result.phi, *result.last, np.array([row["valid_neg_elbo"] for row in result.history])]
        tell(out, [a.tobytes().hex() for a in arrays])

    job.__name__ = f"fit {name}"
    return job


def comparison(out, resume):
    """A job: `compare`."""
    tell(out, compared(out, resume))


def tell(out, value):
    """Write what a job found."""
    with open(os.path.join(out, "told"), "w") as file:
        json.dump(value, file)


def told(out):
    """What a job found, as text."""
    try:
        with open(os.path.join(out, "told")) as file:
            return file.read()
    except OSError:
        return None


# --- damage ---------------------------------------------------------------------------------------------------------------

READ = ("settings.json", "plan.json", "vae-seed0/result.json", "sa-vae-seed0/result.json", "vae-seed0/last.npz")


def damage(rng, count):
    """A finished comparison one of whose files is damaged, gone on with: the same numbers, or a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        whole, out = os.path.join(folder, "whole"), os.path.join(folder, "out")
        usual = compared(whole, False)
        for _ in range(count):
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(whole, out)
            name, (how, hurt) = pick(rng, READ), pick(rng, list(HURTS.items()))
            path = os.path.join(out, name)
            if name.endswith(".npz"):
                os.unlink(os.path.join(os.path.dirname(path), "result.json"))  # or nobody would look at the checkpoint
            hurt(path, rng)
            found, wrong = answer(compared, out, True)
            if found is not None and found != usual:
                wrong = "gave other numbers"
            yield f"{name}: {how}", wrong


def _rewritten(change):
    def hurt(path, rng):
        with open(path, "rb") as file:
            data = file.read()
        with open(path, "wb") as file:
            file.write(change(data, rng))

    return hurt


def _replaced_by_a_folder(path, rng):
    os.unlink(path)
    os.mkdir(path)


def _swapped(path, rng):
    """The file of the other run of that name, or of the job, takes its place."""
    out = os.path.dirname(os.path.dirname(path))
    other = path.replace("vae-seed0", "sa-vae-seed0") if "/sa-vae-" not in path else path.replace("/sa-vae-", "/vae-")
    here = other if other != path else os.path.join(os.path.dirname(path), "vae-seed0", "result.json")
    shutil.copy(here if os.path.exists(here) else os.path.join(out, "plan.json"), path)


HURTS = {
    "a bit": _rewritten(flipped),
    "two bits": _rewritten(lambda data, rng: flipped(flipped(data, rng), rng)),
    "cut": _rewritten(lambda data, rng: data[: int(rng.integers(len(data)))]),
    "empty": _rewritten(lambda data, rng: b""),
    "longer": _rewritten(lambda data, rng: data + rng.bytes(10)),
    "zeros": _rewritten(lambda data, rng: bytes(len(data))),
    "noise": _rewritten(lambda data, rng: rng.bytes(len(data))),
    "null": _rewritten(
        lambda data, rng: pick(rng, [b"null", b"[]", b"{}", b'{"content": {}}', b"NaN", b"1", b"[" * 9999])
    ),
    "gone": lambda path, rng: os.unlink(path),
    "a folder": _replaced_by_a_folder,
    "another's": _swapped,
}
