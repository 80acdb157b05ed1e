"""A default is a promise: what nobody says is what it was. The table (defaults.json) is written anew by

python tests/test_defaults.py
"""

import importlib
import inspect
import json
import pathlib

import pytest

import savi

TABLE = pathlib.Path(__file__).with_name("defaults.json")
FOLDER = pathlib.Path(savi.__file__).parent
WINGS = tuple("engine nets models inference data experiments sweeps studies course plain testing".split())


def rooms():
    """The names of all rooms of WINGS."""
    for path in sorted(FOLDER.rglob("*.py")):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        if parts[0] in WINGS and path.stem != "__init__":
            yield ".".join(parts)


def defaults(room):
    """{function: {argument: default, as text}} of what a room offers; constants of the room are shown by their values."""
    module = importlib.import_module(f"savi.{room}")
    found = {}
    for name, thing in vars(module).items():
        if not name.startswith("_") and callable(thing) and getattr(thing, "__module__", "") == module.__name__:
            if fields := getattr(thing, "_field_defaults", {}):
                found[name] = {field: shown(value) for field, value in fields.items()}
            members = inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else [("", thing)]
            for verb, function in members:
                if inspect.isfunction(function) and function.__module__ == module.__name__:
                    parameters = inspect.signature(function).parameters.values()
                    told = {p.name: shown(p.default) for p in parameters if p.default is not p.empty}
                    if told:
                        found[f"{name}.{verb}".rstrip(".")] = told
    return found


def shown(value):
    """A default as text that is the same everywhere."""
    return value.__name__ if isinstance(value, type) or inspect.isfunction(value) else repr(value)


def written():
    """The committed table."""
    return json.loads(TABLE.read_text())


@pytest.mark.parametrize("room", list(rooms()))
def test_defaults_are_those_of_the_table(room):
    here, there = defaults(room), written().get(room, {})
    for name, arguments in there.items():
        assert here.get(name, {}) | arguments == here.get(name, {}), f"{room}.{name}"


def test_the_table_knows_what_users_name():
    known = written()
    for name in savi.__all__:
        thing = getattr(savi, name)
        if inspect.isclass(thing) and "__init__" in vars(thing) and not issubclass(thing, Exception | tuple):
            room = thing.__module__.removeprefix("savi.")
            assert set(defaults(room).get(f"{name}.__init__", {})) <= set(known[room].get(f"{name}.__init__", {})), name
    for function in (savi.fit, savi.evaluate, savi.compare):
        room = function.__module__.removeprefix("savi.")
        assert known[room][function.__name__] == defaults(room)[function.__name__]


if __name__ == "__main__":
    table = {room: found for room in rooms() if (found := defaults(room))}
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
