"""English text as token sequences: documents of a few sentences, a vocabulary, padding.

    docs            the docstrings of this machine's Python (docstrings.py), split by source file
    ptb             the Penn Treebank (Marcus et al. 1993; Mikolov's version), a sentence a line
    text:PATH       any UTF-8 file, or all those of a folder

A corpus is [(group, sentences), ...]; neighbouring sentences of a group are joined until they are a document of SHORTEST to
LONGEST words, and each document ends with the token </s>, which counts as one. A word that is too rare is <unk>. With 20 groups or
more the parts are made by group, from a hash of its name: what is in two parts is then no template's twin.
"""

import contextlib
import hashlib
import os
import tarfile

import numpy as np

from ..engine import given
from ..engine.files import InputError, expect, reading, replacing
from ..nets.tokens import END, UNKNOWN, by_length, trimmed
from . import docstrings
from .dataset import Dataset
from .sources import cache_folder, folders, found, verified

MARKS = ("</s>", "<unk>")  # tokens END and UNKNOWN
PARTS, EDGES, GROUPS = ("train", "valid", "test"), (0.8, 0.9), 20
PTB_ARCHIVE, PTB_INSIDE, PTB_TRAIN = "simple-examples.tgz", "./simple-examples/data/ptb.{}.txt", 3000


class Text(Dataset):
    """Documents in three parts, int32 (N, T): tokens below `vocabulary`, the last one END, and -1 behind it.

    truth: the words by their tokens, a tuple of V texts.
    """

    __slots__ = ()

    @property
    def words(self):
        """The word of each token, (V,)."""
        return self.truth

    def spelled(self, x):
        """A sequence of tokens as text, up to its end."""
        tokens = [int(token) for token in x if token >= 0]
        return " ".join(self.words[token] for token in (tokens[: tokens.index(END)] if END in tokens else tokens))


def load(name, folder=None, *, vocabulary=None, min_count=3, shortest=None, longest=None):
    """The Text of a corpus: "docs", "ptb" or "text:PATH".

    vocabulary: how many tokens at most, </s> and <unk> among them (None: all; docs 1000); min_count: of a word in the training
    documents, rarer ones are <unk>; shortest, longest: words of a document (docs 24 and 40, others 1 and 100). What does not fit is
    left out. Raises InputError where there is no such text, or too little of it.
    """
    own = {"vocabulary": 1000, "shortest": 24, "longest": 40} if name == "docs" else {"shortest": 1, "longest": 100}
    most = given.whole("vocabulary", own.get("vocabulary", 1 << 23) if vocabulary is None else vocabulary, 3)
    shortest = given.whole("shortest", own["shortest"] if shortest is None else shortest, 1)
    longest = given.whole("longest", own["longest"] if longest is None else longest, 1)
    expect("shortest", shortest, shortest <= longest, f"at most longest, {longest}")
    return _text(name, folder, most, given.whole("min_count", min_count, 1), shortest, longest)


def _text(name, folder, most, min_count, shortest, longest):
    title, parts = _corpus(name, folder, lambda sentences: documents(sentences, shortest, longest))
    for part in PARTS:
        expect(
            f"the {part} part of {name}",
            f"{len(parts[part])} documents of {shortest} to {longest} words",
            parts[part],
            "one at least",
        )
    words = vocabulary_of(parts["train"], most, min_count)
    tokens = {word: token for token, word in enumerate(words)}
    arrays = [_mixed(encoded(parts[part], tokens)) for part in PARTS]
    unknown = [float((x == UNKNOWN).sum() / (x >= 0).sum()) for x in arrays]
    title += f": {len(words)} words, {100 * unknown[2]:.1f} % unknown in test"
    return Text(title, *arrays, vocabulary=len(words), prepare=trimmed, order=by_length, truth=words)


def documents(sentences, shortest, longest):
    """Neighbouring sentences (tuples of words) joined to documents of shortest to longest words."""
    current = ()
    for sentence in sentences:
        current = sentence if len(current) + len(sentence) > longest else current + sentence
        if shortest <= len(current) <= longest:
            yield current
        if len(current) >= shortest:
            current = ()


def vocabulary_of(documents, most, min_count):
    """The words by their tokens: MARKS, then those of min_count occurrences or more, the commonest first; at most `most`."""
    counts = {}
    for document in documents:
        for word in document:
            counts[word] = counts.get(word, 0) + 1
    kept = sorted((-n, word) for word, n in counts.items() if n >= min_count and word not in MARKS)
    return (*MARKS, *(word for _, word in kept[: most - len(MARKS)]))


def encoded(documents, tokens):
    """Documents as tokens with END, int32 (N, T), -1 behind them."""
    x = np.full((len(documents), 1 + max(map(len, documents), default=0)), -1, np.int32)
    for row, document in zip(x, documents):
        row[: len(document) + 1] = [*(tokens.get(word, UNKNOWN) for word in document), END]
    return x


def _mixed(x):
    """Rows in a fixed order in which neighbours are of different groups."""
    return x[np.random.default_rng(0).permutation(len(x))]


def _corpus(name, folder, cut):
    """(what it is called, {part: its documents}); cut(sentences) -> documents."""
    if name == "docs":
        return f"docs {docstrings.cache_name()[5:13]}", _split(_docs(), cut)
    if name == "ptb":
        return _ptb(folder, cut)
    kind, _, path = name.partition(":")
    expect("the text", repr(name), kind == "text" and path, "docs, ptb, or text:PATH, a UTF-8 file or a folder of such")
    return name, _split(_files(path), cut)


def _split(groups, cut):
    """{part: documents}, of groups [(name, sentences), ...]: by name where there are many, else in order."""
    cuts = [(name, list(cut(sentences))) for name, sentences in groups]
    parts = {part: [] for part in PARTS}
    if len(cuts) >= GROUPS:
        for name, made in cuts:
            share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
            parts[PARTS[np.searchsorted(EDGES, share, side="right")]] += made
        return parts
    every = [document for _, made in cuts for document in made]
    ends = [0, *(round(edge * len(every)) for edge in EDGES), len(every)]
    return {part: every[a:b] for part, a, b in zip(PARTS, ends, ends[1:])}


def _docs():
    """The sentences of docstrings.read(), kept in the cache folder where that works: a file's name, then a sentence a line."""
    path = os.path.join(cache_folder(), docstrings.cache_name())
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(path, encoding="utf-8") as file:
            digest, text = file.read().split("\n", 1)
        if digest == hashlib.sha256(text.encode()).hexdigest():
            groups = [group.split("\n") for group in text.split("\n\n")]
            return [(name, [tuple(line.split(" ")) for line in lines]) for name, *lines in groups]
    groups = docstrings.read()
    text = "\n\n".join("\n".join([name, *map(" ".join, sentences)]) for name, sentences in groups)
    with contextlib.suppress(InputError), replacing(path) as file:
        file.write(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}".encode())
    return groups


def _ptb(folder, cut):
    present = found("ptb", folder)
    if PTB_ARCHIVE in present:
        path = verified(present[PTB_ARCHIVE])
        with reading(path, "Mikolov's archive, whole"), tarfile.open(path) as archive:
            texts = {part: archive.extractfile(PTB_INSIDE.format(part)).read().decode() for part in PARTS}
        return "ptb", {part: list(cut(_lines(text))) for part, text in texts.items()}
    if not {"ptb.valid.txt", "ptb.test.txt"} <= set(present):
        raise InputError(
            f"no {PTB_ARCHIVE}, or ptb.valid.txt and ptb.test.txt, in {' or '.join(folders(folder))}; expected what "
            "python -m savi data fetch ptb brings"
        )
    valid, test = (list(_lines(_read(verified(present[f"ptb.{part}.txt"])))) for part in PARTS[1:])
    sentences = valid[:PTB_TRAIN], valid[PTB_TRAIN:], test
    return "ptb (two small files: 3000 sentences to train on)", {p: list(cut(s)) for p, s in zip(PARTS, sentences)}


def _lines(text):
    """The sentences of a text that has one a line, its words between blanks."""
    return (tuple(line.split()) for line in text.split("\n") if line.split())


def _files(path):
    """[(name, sentences)] of a UTF-8 file, or of those of a folder, in the order of their names."""
    if not os.path.isdir(path):
        return [(os.path.basename(path), _sentences(_read(path)))]
    names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    paths = [os.path.join(path, name) for name in names]
    return [(os.path.basename(each), _sentences(_read(each))) for each in paths if os.path.isfile(each)]


def _read(path):
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); expected a file of UTF-8 text") from error


def _sentences(text):
    """Sentences of plain text: lines, cut behind . ! and ?, in lower case; empty ones are left out."""
    lines = (sentence for line in text.splitlines() for sentence in docstrings.ENDS.split(line.strip()))
    found = (tuple(docstrings.WORDS.findall(line.lower())) for line in lines)
    return [words for words in found if words]
