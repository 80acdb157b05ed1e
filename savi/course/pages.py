"""Pages of the book that are read off the code: the API, wing by wing, from its docstrings.

Sources are parsed, not imported: a docstring is shown as it is written, in its own lines.
"""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
WINGS = ("engine", "nets", "models", "inference", "data", "experiments", "sweeps", "studies", "course")


def api(wing):
    """A wing's page in Markdown: its door, then each room with its public functions and classes, in the order of the door."""
    folder = PACKAGE / wing
    lines = [f"# savi.{wing}", "", _text(ast.get_docstring(ast.parse((folder / "__init__.py").read_text())))]
    for path in sorted(folder.glob("[!_]*.py")):
        lines += room(path, f"savi.{wing}.{path.stem}")
    return "\n".join(lines) + "\n"


def beside():
    """The page of what lies beside the wings, in Markdown."""
    lines = ["# Beside the wings", ""]
    for name in ("plain", "testing"):
        lines += room(PACKAGE / f"{name}.py", f"savi.{name}")
    return "\n".join(lines) + "\n"


def room(path, name):
    """Lines on one room."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines = [f"## {name}", "", _text(ast.get_docstring(tree))]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            lines += _thing(node, "###")
            inner = node.body if isinstance(node, ast.ClassDef) else []
            shown = (n for n in inner if isinstance(n, ast.FunctionDef) and not n.name.startswith("_"))
            for method in shown:
                lines += _thing(method, "####") if ast.get_docstring(method) else []
    return lines


def _thing(node, level):
    """Lines on a function or a class: its name, its signature, its docstring."""
    if isinstance(node, ast.ClassDef):
        made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        arguments = ast.unparse(made.args).removeprefix("self").removeprefix(", ") if made else ""
        signature = f"class {node.name}({arguments})"
    else:
        signature = f"{node.name}({ast.unparse(node.args)})"
    doc = ast.get_docstring(node)
    return [f"{level} {node.name}", "", "```python", signature, "```", "", *([_text(doc)] if doc else [])]


def _text(doc):
    return f"````text\n{doc}\n````\n"
