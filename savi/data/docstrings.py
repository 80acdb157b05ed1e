"""English sentences that every Python has: the docstrings of the standard library and of savi's dependencies.

Files are read with `ast` and never imported. What is prose: docstrings, the texts that NumPy adds to its functions, stubs
(.pyi), and pydoc's topics. The recipe, in the order in which it is applied:

    paragraphs      a text is cut at empty lines; a paragraph with >>>, a table, a directive or a list of fields is dropped
    codes           `x`, ``x``, :role:`x`, f(x), a.b, snake_case and CamelCase become <code>, numbers N
    sentences       those that begin with a capital or <code>, end in . ! or ?, and have at most a fifth of <code>
    words           in lower case, with , ; : . ! ? as words of their own; 4 to 40 of them, each sentence once

Which sentences there are depends on the versions installed: `fingerprint` names them.
"""

import ast
import hashlib
import importlib.util
import os
import re
import sys
import sysconfig
import warnings

RECIPE = 1  # to be raised with every change of what is kept
PACKAGES = ("numpy", "matplotlib", "autograd", "tqdm", "hypothesis", "pytest", "_pytest")
LEFT_OUT = {
    "test",
    "tests",
    "testing",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "lib2to3",
    "idlelib",
    "_vendor",
}
SHORT, LONG, CODE = 4, 40, "<code>"

_DROPPED = re.compile(r">>>|^\s*(\.\.|:\w[\w ]*:|[|+]|@\w)|[|+=~^-]{3}|\s{3,}\S+\s{3,}", re.MULTILINE)
_CODES = re.compile(
    r":[\w:+-]+:`[^`]*`_{0,2}|``.+?``|`[^`]+`_{0,2}|\*{1,2}[\w*.]+\*{1,2}|https?:\S+|<[^<>\s]+>|--?[a-z][\w-]+|"
    r"[A-Za-z_]\w*(?:\.\w+)*\([^()]*\)|\b(?!e\.g|i\.e)[A-Za-z_]\w*(?:\.\w+)+|\b\w*_\w+\b|\b[A-Z]?[a-z]+[A-Z]\w*|[\w.]*[=/\\{}\[\]#$%&@^|]+\S*",
    re.DOTALL,
)
_NUMBERS = re.compile(r"(?<![\w<])[-+]?\d[\d.,]*(?<![.,])(?:e[-+]?\d+)?(?!\w)")
ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z<N])")
WORDS = re.compile(r"<\w+>|(?:e\.g|i\.e)\.|\w+(?:['’-]\w+)*|[.,;:!?]")


def fingerprint():
    """A text that two machines share when they read the same: the recipe, and the versions of Python and the packages."""
    from importlib.metadata import PackageNotFoundError, version

    found = [f"recipe {RECIPE}", f"python {sys.version.split()[0]}"]
    for name in PACKAGES[:-1]:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} -")
    return ", ".join(found)


def sources():
    """[(name, path), ...] of the files that are read, by name: "os.py", "numpy/linalg/_linalg.pyi"; the order is that of names."""
    found = dict(_below(sysconfig.get_paths()["stdlib"], ""))
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            found |= dict(_below(folder, f"{package}/"))
    return sorted(found.items())


def _below(folder, prefix):
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        inside = os.path.relpath(place, folder).replace(os.sep, "/") + "/"
        for file in files:
            if file.endswith((".py", ".pyi")):
                yield prefix + ("" if inside == "./" else inside) + file, os.path.join(place, file)


def texts(source):
    """The prose of a Python file's text `source`, as a list of texts; none where it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(ast.get_docstring(node))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "").startswith("add_newdoc"):
            found += _strings(node)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "topics":
            found += _strings(node.value)
    return [text for text in found if text]


def _strings(node):
    """The long constants below a node, without their common indentation."""
    import inspect

    constants = (leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant))
    return [inspect.cleandoc(text) for text in constants if isinstance(text, str) and len(text) > 40]


def sentences(text):
    """The sentences of a text, each a tuple of words."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        if _DROPPED.search(paragraph):
            continue
        plain = _NUMBERS.sub("N", _CODES.sub(f" {CODE} ", paragraph))
        for sentence in ENDS.split(" ".join(plain.split())):
            words = tuple(word if word == "N" else word.lower() for word in WORDS.findall(sentence))
            starts, ends = re.match(r"[A-Z]|<code>", sentence), sentence.endswith((".", "!", "?"))
            if starts and ends and SHORT <= len(words) <= LONG and words.count(CODE) <= len(words) / 5:
                found.append(words)
    return found


def read():
    """[(name of the file, its sentences), ...] in the order of names; a sentence that two files share is the first one's."""
    seen, found = set(), []
    for name, path in sources():
        with open(path, encoding="utf-8", errors="replace") as file:
            every = [each for text in texts(file.read()) for each in sentences(text)]
        new = [each for each in dict.fromkeys(every) if each not in seen]
        seen.update(new)
        if new:
            found.append((name, new))
    return found


def cache_name():
    """The name of the file in which the sentences are kept: a digest of versions and recipe."""
    return f"docs-{hashlib.sha256(fingerprint().encode()).hexdigest()[:16]}.txt"
