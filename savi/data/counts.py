"""Documents as word counts: docstrings of the installed Python library, and RCV1 where its token files are.

A row is a document, a column a word: how often it stands there. `documentation` needs no download. Its recipe, in order:

    documents    the docstrings of each module of the standard library, its classes and its functions, read with `ast`
    words        runs of two or more letters, in lower case
    parts        by the name of the top-level module, about 80/10/10: no module is in two parts
    vocabulary   from the training part alone: words in at least DF_LEAST documents and at most a DF_MOST share of them; of
                 these the WORDS most frequent
    left out     documents with fewer than LEAST words of the vocabulary, and repetitions
"""

import ast
import functools
import gzip
import hashlib
import os
import re
import sys
import sysconfig

import numpy as np

from ..engine import given
from ..engine.files import InputError, reading
from .dataset import Dataset
from .sources import cached, folders

RECIPE = 1  # to be raised with every change of what is kept
WORDS, DF_LEAST, DF_MOST, LEAST = 2000, 5, 0.2, 8
LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "__pycache__", "idlelib", "lib2to3", "_vendor"}
RCV1 = ("lyrl2004_tokens_train.dat", *(f"lyrl2004_tokens_test_pt{i}.dat" for i in range(4)))


def documentation():
    """The Dataset of the standard library's docstrings, counts uint16 (N, V), V at most WORDS.

    Which documents there are depends on the version of Python, which the name says. Takes some seconds the first time, then it
    is cached.
    """
    python = sys.version.split()[0]
    key = f"recipe {RECIPE}, python {python}, {WORDS} {DF_LEAST} {DF_MOST} {LEAST}"
    made = cached("counts", key, _documentation, ("train", "valid", "test", "vocabulary"))
    return Dataset(
        f"docstrings of Python {python}", made["train"], made["valid"], made["test"], vocabulary=made["train"].shape[1]
    )


def _documentation():
    """{part: counts (N, V), "vocabulary": words (V,)}."""
    parts = {"train": [], "valid": [], "test": []}
    for module, path in modules():
        parts[part_of(module)] += [words(text) for text in docstrings(path)]
    vocabulary = chosen_words(parts["train"])
    kept = {name: counts(documents, vocabulary, LEAST) for name, documents in parts.items()}
    return kept | {"vocabulary": np.array(vocabulary)}


def modules():
    """(top-level name, path) of every module of the standard library, in order of the paths."""
    root = sysconfig.get_paths()["stdlib"]
    for folder, below, files in os.walk(root):
        below[:] = sorted(set(below) - LEFT_OUT)
        for file in sorted(files):
            if file.endswith(".py"):
                path = os.path.join(folder, file)
                yield os.path.relpath(path, root).split(os.sep)[0].removesuffix(".py"), path


def docstrings(path):
    """The docstrings of a module, its classes and its functions; none where the file is no Python of this version."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return []
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    return list(filter(None, (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))))


def words(text):
    """The words of a text: runs of two or more letters, in lower case."""
    return re.findall(r"[a-z]{2,}", text.lower())


def part_of(name, edges=(0.8, 0.9)):
    """ "train", "valid" or "test", by a hash of the name alone."""
    at = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return ("train", "valid", "test")[int(np.searchsorted(edges, at, side="right"))]


def chosen_words(documents, most=WORDS):
    """At most so many words of training documents, lists of words: by the cuts above, most frequent first, equals by the
    alphabet."""
    total, within = {}, {}
    for document in documents:
        for word in document:
            total[word] = total.get(word, 0) + 1
        for word in set(document):
            within[word] = within.get(word, 0) + 1
    kept = [word for word, df in within.items() if DF_LEAST <= df <= DF_MOST * len(documents)]
    return sorted(kept, key=lambda word: (-total[word], word))[:most]


def counts(documents, vocabulary, least=1):
    """uint16 (N, V): how often each word of the vocabulary stands in each document, a list of words.

    Documents with fewer than `least` >= 1 of them are left out, and repetitions. Raises InputError where none is left.
    """
    least, index = given.whole("least", least, 1), {word: i for i, word in enumerate(vocabulary)}
    rows = {}
    for document in documents:
        found = [index[word] for word in document if word in index]
        if len(found) >= least:
            row = np.bincount(found, minlength=len(index)).clip(max=2**16 - 1).astype(np.uint16)
            rows.setdefault(row.tobytes(), row)
    if not rows:
        raise InputError(f"no document has {least} words of the vocabulary ({len(index)} words); expected one at least")
    return np.array(list(rows.values()))


def rcv1(folder=None, documents=20_000):
    """RCV1-v2's tokens (Lewis et al. 2004) as counts: the training file's documents train and validate (90/10), part 0 tests.

    The stems are distributed as text, words stopped and in no order; no digest is published, so that nothing is fetched and
    what is read is checked as it is read. Vocabulary as above, 10,000 words at most as in [LI] D; documents: at most so many
    of each part. Raises InputError where the files lyrl2004_tokens_train.dat and ..._test_pt0.dat (or .gz) are missing.
    """
    train, test = (read_tokens(_present(file, folder), documents) for file in RCV1[:2])
    edge = len(train) * 9 // 10
    vocabulary = chosen_words(train[:edge], 10_000)
    parts = [counts(part, vocabulary) for part in (train[:edge], train[edge:], test)]
    return Dataset("rcv1", *parts, vocabulary=len(vocabulary))


def read_tokens(path, documents):
    """At most so many documents, lists of stems, of a token file: ".I number", ".W", lines of stems, and an empty line."""
    opener, found = gzip.open if path.endswith(".gz") else open, []
    with reading(path, "a token file of RCV1-v2"), opener(path, "rt", encoding="ascii") as file:
        for line in file:
            if line.startswith(".I"):
                if len(found) == documents:
                    break
                found.append([])
            elif not line.startswith(".W") and line.strip():
                if not found:
                    raise InputError(f"{path} starts with {line[:20]!r}; expected .I and a document's number")
                found[-1] += line.split()
    if not found:
        raise InputError(f"{path} holds no document; expected lines .I, .W and stems")
    return found


def _present(file, folder):
    places = [os.path.join(place, name) for place in folders(folder) for name in (file, file + ".gz")]
    for path in filter(os.path.isfile, places):
        return path
    raise InputError(f"no {file} in {' or '.join(folders(folder))}; expected RCV1-v2's token file there, put by hand")


@functools.cache
def load(name):
    """The Dataset "counts" (documentation) or "rcv1"."""
    return {"counts": documentation, "rcv1": rcv1}[given.one_of("the documents", name, ("counts", "rcv1"))]()
