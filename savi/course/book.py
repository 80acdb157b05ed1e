"""python -m savi book: lessons, pages and API as a book of HTML files that works offline.

The sources are gathered in OUT/source as they lie in the checkout, so that links between them hold; Sphinx, with the
extra `book`, makes OUT/html of them. A lesson's outputs are kept in OUT/outputs-KEY: KEY is a digest of savi's sources, so
that none is older than the code. Formulas are drawn by MathJax, which is part of the book.
"""

import hashlib
import importlib.util
import lzma
import os
import pathlib
import re

from ..engine.files import InputError, replacing
from . import house, lessons, pages

NEEDS = {"sphinx": "Sphinx", "myst_nb": "myst-nb", "jupytext": "jupytext", "furo": "furo"}
MATHJAX = (
    "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"  # SHA-256 of es5/tex-svg.js of mathjax 3.2.2
)
COPIED = ("savi/plain.py", "lessons/*.py", "lessons/book/*.md", "lessons/book/interactive/*.html", "figures/*.png")
INTERACTIVE = "lessons/book/interactive"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def build(out="runs/book", quick=False, run=True):
    """Build the book in the folder `out`; the path of its index.html.

    quick: lessons are executed in their quick setting; run False: they are not executed at all. Raises InputError where
    something of the extra `book` is missing, or the book has a fault.
    """
    missing = [name for module, name in NEEDS.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"the book needs {', '.join(missing)}; expected the extra book: pip install .[book]")
    from sphinx.cmd.build import main as sphinx

    out = pathlib.Path(out).resolve()
    source, html = out / "source", out / "html"
    gather(source)
    setting = "quick" if quick else "full"
    environment = {
        "SAVI_BOOK_RUN": "cache" if run else "off",
        "SAVI_BOOK_CACHE": str(out / f"outputs-{setting}-{_key()}"),
        "SAVI_QUICK": "1" if quick else "",
        "PYTHONPATH": os.pathsep.join([str(pages.PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        code = sphinx(["-q", "-W", "--keep-going", "-d", str(out / "doctrees"), str(source), str(html)])
    finally:
        os.environ.clear()
        os.environ.update(before)
    if code:
        raise InputError(f"the book has faults (above, from Sphinx); what was built is in {html}")
    _write(
        html / "index.html", b'<!doctype html><meta http-equiv="refresh" content="0; url=lessons/book/index.html">\n'
    )
    return html / "index.html"


def gather(source):
    """Put all that the book is made of into the folder `source`; what is as it was is not written anew."""
    root = lessons.FOLDER.parent
    if not lessons.FOLDER.is_dir():
        raise InputError(f"there is no folder {lessons.FOLDER}; the book comes with a checkout of savi, run it there")
    files = {
        path.relative_to(root).as_posix(): path.read_bytes() for glob in COPIED for path in sorted(root.glob(glob))
    }
    files["conf.py"] = (root / "lessons" / "book" / "conf.py").read_bytes()
    files |= {f"api/{wing}.md": pages.api(wing).encode() for wing in pages.WINGS}
    files["api/beside.md"] = pages.beside().encode()
    files |= {"api/house.txt": house.table().encode(), "api/house.svg": house.picture().encode()}
    files = {name: linked(name, data, files) if name.endswith(".md") else data for name, data in files.items()}
    files["_static/tex-svg.js"] = mathjax()
    files["_static/book.css"] = (root / "lessons" / "book" / "book.css").read_bytes()
    files |= {f"_static/{path.name}": interactive(path) for path in sorted((root / INTERACTIVE).glob("*.js"))}
    for name, data in files.items():
        _write(source / name, data)
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.relative_to(source).as_posix() not in files:
            path.unlink()


def read(text):
    """A lesson's notebook, for myst-nb: its percent file, as it is."""
    import jupytext

    book = jupytext.reads(text, fmt="py:percent")
    book.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    book.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return book


def linked(name, data, files):
    """A page whose links to files that are not of the book are their words alone."""
    folder = os.path.dirname(name)

    def link(found):
        words, target = found.groups()
        path = os.path.normpath(os.path.join(folder, target.partition("#")[0]))
        inside = not target.partition("#")[0] or path in files or target.startswith(("http:", "https:", "mailto:"))
        return found[0] if inside else words

    return LINK.sub(link, data.decode()).encode()


def interactive(path):
    """The script of an interactive page, in front of it its data, where there is a JSON of its name: no page fetches a file."""
    data = path.with_suffix(".json")
    numbers = b"const DATA = " + data.read_bytes().strip() + b";\n" if data.is_file() else b""
    return numbers + path.read_bytes()


def mathjax():
    """The bytes of MathJax's es5/tex-svg.js, which draws formulas and asks nobody for fonts."""
    data = lzma.decompress((lessons.FOLDER / "book" / "mathjax" / "tex-svg.js.xz").read_bytes())
    if hashlib.sha256(data).hexdigest() != MATHJAX:
        raise InputError("lessons/book/mathjax/tex-svg.js.xz is not MathJax 3.2.2; git checkout brings it back")
    return data


def _key():
    digest = hashlib.sha256()
    for path in sorted(pages.PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(pages.PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _write(path, data):
    if not (path.is_file() and path.read_bytes() == data):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(data)
