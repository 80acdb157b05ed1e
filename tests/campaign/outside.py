"""What comes from outside: command lines, plans, data files, students' files. Each is answered by a sentence or done."""

import contextlib
import gzip
import io
import os
import struct
import tempfile
import zipfile

import numpy as np
from small import FILE, answer, flipped, no_pictures, pick, silent

import savi
from savi.__main__ import main
from savi.course import check
from savi.data import glyphs, images
from savi.sweeps import needs, plan

TINY = (
    "compare --data task.py:task --methods vae --seeds 0 --epochs 1 --train-examples 40 --test-examples 6 --latent 2 "
    "--hidden 4 --steps 1 --iw-samples 5 --gap-examples 1 --batch 10 --tune none --jobs 1 --quiet"
).split()
NUMBERS = (
    "0 1 2 3 -1 -0 0.5 1e3 1e23 1e300 1e400 nan inf -inf 99999999999 999999999999999999999999 ² ½ 0x10 1_000 1e-300 + "
    "5000 100000"
).split()
WORDS = [
    "",
    " ",
    "x",
    "vae",
    "vae:",
    "vae:mlp",
    "sa-vae:x+y",
    "em:adam",
    "iterative:error",
    "a/b",
    "\x1b[2J",
    "é",
    "\ud800",
    "-",
]
FLAGS = (
    "--methods --budget --epochs --steps --iterations --step-size --momentum --inner-clip --tune --samples --latent --hidden "
    "--activation --batch --learning-rate --phi-decay --warmup-epochs --dtype --seeds --train-examples --test-examples "
    "--iw-samples --gap-examples --out --resume --data"
).split()
OTHERS = ["data list", "data fetch x", "data", "lesson", "lesson 99", "lesson ²", "lesson 03 --notebook --out /", "check 99",
          "check", "check 03 --seconds nan", "check 03 --seconds -1", "check 03 --file /", "sweep", "sweep /",
          "sweep x.toml --limit -1",
          "sweep task.py", "compare --resume --out typo", "-h x", "--", "compare compare"]  # fmt: skip
LONGEST = 2.0  # processor seconds that a job of this campaign may take


def commands(rng, count):
    """Command lines with one to three odd arguments: done, or one sentence and exit code 2."""
    with elsewhere(), no_pictures(), short():
        for line in OTHERS:
            yield line, told(line.split())
        for _ in range(count):
            line = list(TINY)
            for flag in rng.permutation(FLAGS)[: rng.integers(1, 4)]:
                value = pick(rng, NUMBERS if rng.random() < 0.75 else WORDS)
                line += [str(flag), *([value] if rng.random() < 0.9 else [value, pick(rng, NUMBERS)])]
            yield " ".join(line[len(TINY) :]).encode("ascii", "backslashreplace").decode(), told(line)


def told(line):
    """What is wrong with the answer to a command line."""
    with silent() as (_, err):
        try:
            code = main(line)
        except SystemExit as stop:
            code = "usage" if stop.code in (0, 2) else stop.code
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    text = err.getvalue()
    if code == 2:
        sentence = text.startswith("savi: ") and text.count("\n") == 1 and text[:-1].isprintable()
        return None if sentence else f"no sentence: {text!r:.300}"
    return None if code in (0, "usage") else f"ended with {code}: {text[-300:]}"


@contextlib.contextmanager
def elsewhere():
    """A block in an empty folder beside task.py."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with open("task.py", "w") as file:
                file.write(FILE)
            yield folder
        finally:
            os.chdir(before)


@contextlib.contextmanager
def short():
    """A block in which a comparison that would take long is refused, by the time that it says it needs."""
    before = needs.tell

    def tell(settings, found, jobs, say):
        before(settings, found, jobs, say)
        if sum(need.training + need.reading for need in found.values() if need) * len(settings.seeds) > LONGEST:
            raise savi.InputError("it takes long; expected a short one")

    needs.tell = tell
    try:
        yield
    finally:
        needs.tell = before


PLAN = b"""[settings]
data = "task.py:task"
train_examples = 40
hidden = [4]
step_size = 0.1
budget = ["epochs", 1]

[grid]
method = ["vae", "svi"]
seed = [0, 1]
steps = [1, 2]
"""
ODD = [
    b"nan",
    b"-1",
    b"1e400",
    b"[]",
    b"{}",
    b'""',
    b"true",
    b"1979-05-27",
    b"[[1]]",
    b'"\\u0000"',
    b"99999999999999999999",
    b"\xff",
]


def plans(rng, count):
    """Plans with a bit turned, a part cut, or an odd value: read, or one sentence."""
    with elsewhere():
        for _ in range(count):
            text, lines = PLAN, PLAN.splitlines()
            kind = pick(rng, ["bit", "cut", "value", "line"])
            if kind == "bit":
                text = flipped(text, rng)
            elif kind == "cut":
                text = text[: rng.integers(len(text))]
            elif kind == "value":
                at = pick(rng, [i for i, line in enumerate(lines) if b"=" in line])
                lines[at] = lines[at].partition(b"=")[0] + b"= " + pick(rng, ODD)
                text = b"\n".join(lines)
            else:
                text = b"\n".join([*lines, pick(rng, lines)])
            with open("plan.toml", "wb") as file:
                file.write(text)
            yield f"{kind}: {text!r}", answer(plan.read, "plan.toml")[1]


# --- data -----------------------------------------------------------------------------------------------------------------


def data(rng, count):
    """Data files with turned bits, cut, too long, of other kinds, or that unpack to far too much: arrays, or one sentence."""
    pixels = rng.integers(0, 256, (3, 28, 28)).astype(np.uint8)
    idx = struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes()
    bomb = struct.pack(">4B3I", 0, 0, 8, 3, 2**16, 28, 28) + bytes(10**7)
    huge = struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(100)
    kinds = {
        "idx": idx, "idx.gz": gzip.compress(idx), "bomb.gz": gzip.compress(bomb), "huge": huge, "huge.gz": gzip.compress(huge),
        "zip": _zip(pixels), "npz": _npz(pixels), "text": b"P5 28 28 255\n" * 9, "nothing": b"",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            name, how = pick(rng, list(kinds)), pick(rng, ["whole", "bit", "bits", "cut", "longer"])
            content = kinds[name]
            if content and how in ("bit", "bits"):
                for _ in range(1 if how == "bit" else 20):
                    content = flipped(content, rng)
            content = content[: rng.integers(len(content) + 1)] if how == "cut" else content
            content = content + rng.bytes(50) if how == "longer" else content
            path = os.path.join(folder, f"{i}{'.gz' if name.endswith('gz') else ''}")
            with open(path, "wb") as file:
                file.write(content)
            reader = (
                (lambda path: glyphs.read_drawings([path]))
                if name in ("zip", "npz")
                else (lambda path: images.read_idx(path, 3))
            )
            found, wrong = answer(reader, path)
            if wrong is None and isinstance(found, np.ndarray) and not (found.dtype == np.uint8 and found.ndim == 3):
                wrong = f"gave {found.dtype} {found.shape}"
            if wrong is None and found is None and how == "whole" and name in ("idx", "idx.gz"):
                wrong = "a good file was refused"
            yield f"{name}, {how}", wrong
            os.unlink(path)


def _zip(pixels):
    from matplotlib.image import imsave

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i, image in enumerate(pixels):
            png = io.BytesIO()
            imsave(png, np.kron(image, np.ones((4, 4)))[:105, :105], cmap="gray", format="png")
            archive.writestr(f"images_background/Greek/character01/{i}.png", png.getvalue())
    return file.getvalue()


def _npz(pixels):
    file = io.BytesIO()
    np.savez(file, images=pixels)
    return file.getvalue()


# --- students -------------------------------------------------------------------------------------------------------------

HOSTILE = {
    "does not end": "while True: pass", "waits": "import time; time.sleep(1e6)", "leaves": "import os; os._exit(0)",
    "exits": "raise SystemExit(0)", "eats memory": "x = [0] * 10**12", "recurses": "def f(): f()\nf()",
    "closes its pipes": "import os\nfor i in range(3, 20):\n    try: os.close(i)\n    except OSError: pass",
    "says PASS": "print('PASS  all\\n6 of 6 properties hold, 0 FAIL, 0 TODO')",
    "paints": "print('\\x1b[2J\\x1b[HPASS')", "is no text": "\x00\x01", "is not Python": "def (",
    "kills itself": "import os; os.kill(os.getpid(), 9)", "kills its parent": "import os; os.kill(os.getppid(), 0); os.abort()",
    "forks": "import os\nif os.fork():\n    os._exit(0)", "raises an odd thing": "class E(BaseException): pass\nraise E('\\udc80')",
    "patches NumPy": "import numpy\nnumpy.array_equal = numpy.allclose = numpy.testing.assert_allclose = lambda *a, **k: True",
    "floods": "import sys\nfor i in range(10**5): print('x' * 100)",
    "answers by itself": "import os\nfor i in range(3, 10):\n    try: os.write(i, b'{\"id\": 1}\\n')\n    except OSError: pass",
    "is empty": "", "threads": "import threading\nthreading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
}  # fmt: skip


def students(rng, count):
    """Files that want a PASS without work, or never to end: none passes, and the check ends."""
    with tempfile.TemporaryDirectory() as folder:
        for name in list(rng.permutation(list(HOSTILE)))[:count]:
            path = os.path.join(folder, "file.py")
            with open(path, "w") as file:
                file.write(HOSTILE[name])
            with silent() as (out, _):
                code, wrong = answer(check.check, "03", path, 0.5, 2)
            passed = [line for line in out.getvalue().splitlines() if line.startswith("PASS")]
            painted = not all(line.isprintable() for line in out.getvalue().splitlines())
            odd = "it passed" if code == 0 or passed else "the terminal is painted" if painted else None
            yield f"a student's file that {name}", wrong or odd
