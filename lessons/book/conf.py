"""Sphinx's settings of the book. `python -m savi book` (savi/course/book.py) gathers the sources and says what is executed."""

import os
import re

project, author = "savi", "the authors of savi"
copyright = "the authors of savi, MIT license"
extensions = ["myst_nb"]
root_doc = "lessons/book/index"
exclude_patterns = ["conf.py", "savi", "_static"]
html_theme, html_title, html_static_path, html_css_files = "furo", "savi", ["_static"], ["book.css"]
html_show_sourcelink = False
html_copy_source = False

nb_custom_formats = {".py": "savi.course.book.read"}
nb_execution_mode = os.environ.get("SAVI_BOOK_RUN", "off")
nb_execution_cache_path = os.environ.get("SAVI_BOOK_CACHE", "")
nb_execution_raise_on_error = True
nb_execution_timeout = 1800
nb_ipywidgets_js = {}  # it would be fetched from another host
nb_merge_streams = True

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_dmath_double_inline = True  # $$...$$ in the middle of a paragraph, as notebooks have it
myst_heading_anchors = 4
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would load more from another host

COURSE = re.compile(r"^\| (\d\d) \| [^|]*\| ([^|]*)\| ([^|]*)\| ([^|]*)\|", re.M)


def told_beneath_the_title(app, name, source):
    """Each lesson says what comes before it, how long it takes, its exercise, and where the letters are explained."""
    number = name.removeprefix("lessons/")[:2]
    if not (name.startswith("lessons/") and number.isdigit()):
        return
    with open(os.path.join(app.srcdir, "lessons", "book", "course.md"), encoding="utf-8") as file:
        before, minutes, exercise = next(row[1:] for row in COURSE.findall(file.read()) if row[0] == number)
    line = f"# *Before it: {before.strip()}. Minutes: about {minutes.strip()}. Exercise: {exercise.strip()}. The letters are in\n"
    line += "# [the glossary](book/glossary.md), the papers in [the bibliography](book/bibliography.md).*\n#\n"
    source[0] = re.sub(r"\A(# %% \[markdown\]\n# # .*\n#\n)", lambda found: found[0] + line, source[0])


def setup(app):
    """Sphinx calls this."""
    app.connect("source-read", told_beneath_the_title)
