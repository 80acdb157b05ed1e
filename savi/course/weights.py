"""Points for properties, from a TOML file: a function's name or a property's whole sentence, and what it is worth.

    clipped = 2                       # shared equally by the properties of clipped
    "svi: it clips, so that ..." = 1  # one property alone

Without a file every property is worth one point.
"""

import math
import tomllib

from ..engine.files import InputError


def read(path, says):
    """{sentence: its points} for the sentences `says` of an exercise. Raises InputError where the file names something else."""
    if path is None:
        return dict.fromkeys(says, 1.0)
    try:
        with open(path, "rb") as file:
            given = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the weights {path} cannot be read ({error}); expected a TOML file, NAME = points") from None
    functions = {sentence: sentence.split(":")[0] for sentence in says}
    for name, value in given.items():
        if name not in says and name not in functions.values():
            there = ", ".join(dict.fromkeys(functions.values()))
            raise InputError(f"{path} has points for {name!r}; expected a property's sentence or one of {there}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value >= 0):
            raise InputError(f"{path} has {name} = {value!r}; expected a number of points >= 0")
    shared = {name: [s for s in says if functions[s] == name and s not in given] for name in functions.values()}
    return {s: float(given.get(s, given.get(functions[s], 0) / max(len(shared[functions[s]]), 1))) for s in says}


def points(verdicts, worth):
    """The points of {sentence: {"status": ...}}: those of the properties that passed."""
    return float(sum(worth[sentence] for sentence, verdict in verdicts.items() if verdict["status"] == "PASS"))
