"""Who may import whom, and what `import savi` loads: a lower wing knows nothing of an upper one."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys
import tomllib
import types

import pytest

import savi

FOLDER = pathlib.Path(savi.__file__).parent
BELOW = {  # a wing, or a page beside the wings: what it may import beside itself
    "engine": "",
    "nets": "engine",
    "models": "engine nets",
    "inference": "engine nets models",
    "data": "engine nets models",
    "experiments": "engine nets models inference data",
    "sweeps": "engine nets models inference data experiments",
    "studies": "engine nets models inference data experiments sweeps",
    "course": "engine",
    "plain": "",
    "testing": "engine nets models",
    "__main__": "engine nets models inference data experiments sweeps studies course",
    "__init__": "engine nets models inference data experiments sweeps studies course plain testing",
}
LAZY = ["matplotlib", "autograd", "hypothesis", "tqdm"]  # what `import savi` leaves for later
HEAVY_AT_TOP = {
    "matplotlib": {"plots"},
    "autograd": {"reference", "autograd_model", "programs", "divergences"},
    "hypothesis": {"testing"},
    "tqdm": set(),
}


def wing_of(path):
    """The wing of a room, or the name of a page that lies beside the wings."""
    return path.relative_to(FOLDER).with_suffix("").parts[0]


def room_of(path):
    return ".".join(path.relative_to(FOLDER).with_suffix("").parts)


def imports(tree, package=("savi",)):
    """(dotted module, is inside a function) of every import, whole: `from . import x` as savi.WING.x."""
    inner = {
        id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f) if node is not f
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            names = [f"savi.{node.args[0].value.lstrip('.')}"] if isinstance(node.args[0], ast.Constant) else []
        else:
            continue
        yield from ((name, id(node) in inner) for name in names)


def upward(wing, source, package=None):
    """The wings, and pages beside them, that `source` in `wing` imports and may not."""
    names = (name.split(".") for name, _ in imports(ast.parse(source), package or ("savi", wing)))
    used = {name[1] for name in names if name[0] == "savi" and name[1:]}
    return sorted(used - {wing, "__version__", *BELOW[wing].split()})


def package_of(path):
    return ("savi", *path.relative_to(FOLDER).parts[:-1])


SOURCES = sorted(FOLDER.rglob("*.py"))
EVERY_ROOM = pytest.mark.parametrize("path", SOURCES, ids=room_of)


def test_savi_has_its_wings_and_few_pages_beside_them():
    assert {wing_of(path) for path in SOURCES} == set(BELOW)


@EVERY_ROOM
def test_a_room_imports_its_own_wing_and_lower_ones_only(path):
    if wing_of(path) != "__init__":  # the door shows everything
        assert upward(wing_of(path), path.read_text(), package_of(path)) == []


@EVERY_ROOM
def test_every_room_is_a_module_under_its_full_name(path):
    if path.stem != "__main__":
        name = ".".join(["savi", *path.relative_to(FOLDER).with_suffix("").parts]).removesuffix(".__init__")
        assert isinstance(importlib.import_module(name), types.ModuleType)
        scope = {}
        exec(f"import {name} as room", scope)
        assert isinstance(scope["room"], types.ModuleType), f"{name} is hidden by something of the same name"


@pytest.mark.parametrize("wing", [wing for wing in BELOW if (FOLDER / wing).is_dir()])
def test_a_wings_door_says_in_five_lines_what_lives_there_and_names_every_room(wing):
    text = (FOLDER / wing / "__init__.py").read_text()
    says = ast.get_docstring(ast.parse(text))
    assert len(says.splitlines()) <= 5
    rooms = {path.stem for path in (FOLDER / wing).glob("*.py")} - {"__init__"}
    assert [room for room in sorted(rooms) if room not in says] == []


@EVERY_ROOM
def test_heavy_packages_are_imported_at_the_top_of_their_own_room_only(path):
    at_top = {name.split(".")[0] for name, in_function in imports(ast.parse(path.read_text())) if not in_function}
    assert [name for name in LAZY if name in at_top and path.stem not in HEAVY_AT_TOP[name]] == []


@EVERY_ROOM
def test_rooms_need_numpy_and_the_standard_library_beside_those(path):
    found = imports(ast.parse(path.read_text()), package_of(path))
    at_top = {name.split(".")[0] for name, in_function in found if not in_function}
    assert at_top - set(sys.stdlib_module_names) <= {"savi", "numpy", *LAZY}


@pytest.mark.parametrize(
    "source, found",
    [
        ("from ..inference.svi import ascend", ["inference"]),
        ("from savi.inference.svi import ascend", ["inference"]),
        ("from ..inference import svi, hvp", ["inference"]),
        ("from .. import data, engine", ["data"]),
        ("from savi import data, engine", ["data"]),
        ("import savi.inference.svi", ["inference"]),
        ("import savi.inference.svi as s, numpy", ["inference"]),
        ("def f():\n    from ..inference.svi import ascend", ["inference"]),
        ("class C:\n    def f(self):\n        import savi.testing", ["testing"]),
        ("importlib.import_module('.inference.svi', __name__)", ["inference"]),
        ("from ..engine.files import InputError\nfrom .gaussian import split\nimport numpy", []),
    ],
)
def test_the_order_is_checked_for_every_form_of_import(source, found):
    assert upward("models", source) == found


def undocumented(module):
    """Names of public functions, classes and methods that have no docstring, not even that of a base class."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__ or not callable(thing):
            continue
        if not inspect.getdoc(thing):
            yield name
        if inspect.isclass(thing):
            for verb, member in vars(thing).items():
                function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
                says = inspect.getdoc(getattr(thing, verb)) if inspect.isfunction(function) else True
                if not verb.startswith("_") and not says:
                    yield f"{name}.{verb}"


@EVERY_ROOM
def test_everything_public_has_a_docstring(path):
    name = ".".join(package_of(path) + (path.stem,)).removesuffix(".__init__")
    if wing_of(path) not in ("plain", "__main__"):  # the plain page's functions carry their box's headline above them
        assert list(undocumented(importlib.import_module(name))) == []


def loaded_by(statement):
    """The top-level packages in a fresh interpreter after `statement`."""
    code = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_import_savi_loads_nothing():
    assert loaded_by("import savi") - loaded_by("pass") == {"savi"}


def test_asking_savi_for_a_net_loads_numpy_and_none_of_the_heavy_packages():
    loaded = loaded_by("import savi; savi.MLP")
    assert loaded & set(LAZY) == set() and "numpy" in loaded


def test_asking_savi_for_its_autograd_model_loads_autograd_and_no_other_heavy_package():
    assert loaded_by("import savi; savi.AutogradModel") & set(LAZY) == {"autograd"}


def test_every_name_that_savi_promises_is_there():
    assert [name for name in savi.__all__ if not hasattr(savi, name)] == []
    assert set(savi.__all__) <= set(dir(savi))


def test_every_name_can_be_the_first_that_is_imported():
    loaded_by(
        "import savi\n"
        "for name in savi.__all__:\n"
        "    for room in [room for room in sys.modules if room.split('.')[0] == 'savi']: del sys.modules[room]\n"
        "    scope = {}\n"
        "    exec(f'from savi import {name}; import savi; assert savi.{name} is {name}', scope)\n"
    )


def test_all_names_can_be_imported_at_once():
    loaded_by(f"from savi import *; import savi; assert all(globals()[n] is getattr(savi, n) for n in {savi.__all__})")


def test_a_name_that_savi_does_not_promise_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'savi' has no attribute 'pixelcnn'"):
        savi.pixelcnn  # noqa: B018


def test_a_wheel_has_every_file_of_the_package():
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())
    named = project["tool"]["setuptools"]["package-data"].items()
    packed = {
        path
        for package, globs in named
        for glob in globs
        for path in (FOLDER.parent / package.replace(".", "/")).glob(glob)
    }
    assert {path for path in FOLDER.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")} == packed
