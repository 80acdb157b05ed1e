"""The order of the rooms, and what `import savi` loads: a lower room knows nothing of an upper one."""

import ast
import pathlib
import subprocess
import sys

import pytest

import savi

FOLDER = pathlib.Path(savi.__file__).parent
ROOMS = """
    files memory blas threads gaussian likelihoods nets highway decoders lstm sequences model reference autograd_model
    hvp optimizers inference svi amortized semi_amortized iterative programs divergences evaluate quadrature checkpoints
    train glyphs sources data synthetic plots testing compare lessons student properties check __main__
""".split()  # lower rooms first
LAZY = ["matplotlib", "autograd", "hypothesis", "tqdm"]  # what `import savi` leaves for later
HEAVY_AT_TOP = {
    "matplotlib": {"plots"},
    "autograd": {"reference", "autograd_model", "programs", "divergences"},
    "hypothesis": {"testing"},
    "tqdm": set(),
}


def room_of(path):
    return path.stem


def imports(tree):
    """(dotted module, is inside a function) of every import, `from . import x` and `from savi import x` told apart."""
    inner = {
        id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f) if node is not f
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ("savi." if node.level else "") + (node.module or "")
            package = module.rstrip(".") == "savi"
            names = [f"savi.{alias.name}" for alias in node.names] if package else [module]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            names = [f"savi.{node.args[0].value.lstrip('.')}"] if isinstance(node.args[0], ast.Constant) else []
        else:
            continue
        yield from ((name, id(node) in inner) for name in names)


def upward(room, source):
    """The rooms above `room` that `source` imports."""
    used = {name.split(".")[1] for name, _ in imports(ast.parse(source)) if name.startswith("savi.")}
    return sorted(used - set(ROOMS[: ROOMS.index(room)]) - {room, "__version__"})


SOURCES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")
EVERY_ROOM = pytest.mark.parametrize("path", SOURCES, ids=room_of)


def test_every_room_has_its_place_in_the_order():
    assert {room_of(path) for path in SOURCES} <= set(ROOMS), "give a new room its place in ROOMS"


@EVERY_ROOM
def test_a_room_imports_lower_rooms_only(path):
    assert upward(room_of(path), path.read_text()) == []


@EVERY_ROOM
def test_heavy_packages_are_imported_at_the_top_of_their_own_room_only(path):
    at_top = {name.split(".")[0] for name, in_function in imports(ast.parse(path.read_text())) if not in_function}
    assert [name for name in LAZY if name in at_top and room_of(path) not in HEAVY_AT_TOP[name]] == []


@EVERY_ROOM
def test_rooms_need_numpy_and_the_standard_library_beside_those(path):
    at_top = {name.split(".")[0] for name, in_function in imports(ast.parse(path.read_text())) if not in_function}
    assert at_top - set(sys.stdlib_module_names) <= {"savi", "numpy", *LAZY}


@pytest.mark.parametrize(
    "source, found",
    [
        ("from .model import Product", ["model"]),
        ("from savi.model import Product", ["model"]),
        ("from . import model, files", ["model"]),
        ("from savi import model, files", ["model"]),
        ("import savi.model", ["model"]),
        ("import savi.model as m, numpy", ["model"]),
        ("def f():\n    from .model import Product", ["model"]),
        ("class C:\n    def f(self):\n        import savi.svi", ["svi"]),
        ("importlib.import_module('.model', __name__)", ["model"]),
        ("from .files import InputError\nfrom .gaussian import split\nimport numpy", []),
    ],
)
def test_the_order_is_checked_for_every_form_of_import(source, found):
    assert upward("decoders", source) == found


def loaded_by(statement):
    """The top-level packages in a fresh interpreter after `statement`."""
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_import_savi_loads_numpy_and_none_of_the_heavy_packages():
    loaded = loaded_by("import savi")
    assert loaded & set(LAZY) == set()
    assert {"savi", "numpy"} <= loaded


def test_asking_savi_for_its_autograd_model_loads_autograd_and_no_other_heavy_package():
    assert loaded_by("import savi; savi.AutogradModel") & set(LAZY) == {"autograd"}


def test_every_name_that_savi_promises_is_there():
    assert [name for name in savi.__all__ if not hasattr(savi, name)] == []


def test_a_name_that_savi_does_not_promise_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'savi' has no attribute 'pixelcnn'"):
        savi.pixelcnn  # noqa: B018
