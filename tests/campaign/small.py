"""What the campaign's attempts share: a small task, a child in which an attempt is made, and what counts as an answer."""

import contextlib
import io
import os
import resource
import signal
import traceback

import savi
from savi.experiments import plots
from savi.sweeps import compare

FILE = """
import numpy as np
import savi

x = (np.random.default_rng(0).random((100, 6)) < 0.4).astype(float)
task = savi.Task(
    "bits", "six bits", load=lambda: savi.data.Dataset("bits", x[:60], x[60:80], x[80:]),
    decoder=lambda s: savi.MLPDecoder(savi.MLP([s.latent, *s.hidden, 6], s.activation), savi.Bernoulli()),
    encoders={"mlp": lambda s, outputs: savi.MLP([6, *s.hidden, outputs], s.activation)},
)
"""
SETTINGS = {
    "methods": ["vae", "sa-vae"], "seeds": [0], "epochs": 3, "train_examples": 40, "test_examples": 6, "latent": 2,
    "hidden": [4], "steps": 2, "iw_samples": 5, "gap_examples": 1, "batch": 10, "tune": "none",
}  # fmt: skip
TIMES = ("ms_per_step", "train_seconds", "seconds", "cpu")
HANGS = 900  # seconds after which a child is ended


def task():
    """The small task itself."""
    names = {}
    exec(FILE, names)
    return names["task"]


@contextlib.contextmanager
def no_pictures():
    """A block in which a comparison draws nothing, which takes longer than all the rest of a small one."""
    before = plots.comparison, plots.save
    plots.comparison, plots.save = lambda results: None, lambda figure, path: None
    try:
        yield
    finally:
        plots.comparison, plots.save = before


def compared(out, resume, **changes):
    """The rows and curves of a small comparison, without times."""
    with no_pictures():
        results = compare.compare(task(), out, resume, progress=False, say=lambda text: None, **SETTINGS | changes)
    return timeless({"rows": results["rows"], "curves": results["curves"]})


def timeless(value):
    """JSON values without what a clock said."""
    if isinstance(value, dict):
        return {name: timeless(part) for name, part in value.items() if name not in TIMES}
    return [timeless(part) for part in value] if isinstance(value, list | tuple) else value


def child(work):
    """(how it ended, processor seconds) of work() in a forked child: 0, an exit code, or minus a signal; 130 of an interrupt."""
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            signal.alarm(HANGS)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            work()
            code = 0
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def answer(call, *arguments):
    """(what call(*arguments) gave, None), or (None, what is wrong with its answer); a sentence of savi's is (None, None)."""
    try:
        return call(*arguments), None
    except savi.InputError as error:
        return None, None if str(error).isprintable() and len(str(error)) < 2000 else f"no sentence: {error!r}"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return None, f"{type(error).__name__}: {error} ({os.path.basename(frame.filename)}:{frame.lineno})"


@contextlib.contextmanager
def silent():
    """A block whose standard output and error are kept: yields both."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def flipped(data, rng):
    """Bytes with one bit turned."""
    at = int(rng.integers(8 * len(data)))
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def pick(rng, values):
    """One of the values."""
    return values[int(rng.integers(len(values)))]
