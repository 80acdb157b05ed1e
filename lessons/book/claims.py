"""The claims page, lessons/book/claims.md: what the sources claim, and what was measured of it, from the figures' JSON.

    python lessons/book/claims.py         writes the page
    python lessons/book/claims.py --check  exit code 1 where the page is not what the JSON says

Each figure's script has its claims(results); the verdicts are computed there. Nothing is measured here.
"""

import importlib.util
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from savi.engine.files import replacing

PAGE = pathlib.Path(__file__).resolve().with_suffix(".md")
FIGURES = PAGE.parents[2] / "figures"
SCRIPTS = (  # in the order of the page
    "sa_fig1_surface", "sa_table1", "sa_table2", "sa_table2_converged", "sa_fig3", "sa_table3", "where_it_pays",
    "where_it_pays_rows", "li_fig1_3_surface", "li_fig4_reconstructions", "li_table1", "li_two_levels", "li_encoder_start",
    "li_fig5_samples_iterations", "li_fig6_10_optimizers", "li_ablation", "li_recurrent", "li_counts",
)  # fmt: skip
NOT_YET = {  # tables and figures of the sources that no script redraws, or not at equal cost
    "[LI] Figure 4, SVHN and CIFAR-10": "reconstructions become sharper over the iterations (the script has both where they are)",
}
HEAD = """# Claims

What the sources claim, at the scale of a laptop. Written by `python lessons/book/claims.py` from the JSON of the figures, never by
hand. *holds*: beyond two standard errors of the paired difference, at equal seconds where there is such a comparison;
*weaker*: so, but by less, or only at equal epochs; *not told apart*: within two standard errors; *not at this scale*: not so
here, where the scale may be the reason; *refuted*: the contrary, beyond two standard errors.

| source | claim | our scale | at equal epochs | at equal processor seconds | verdict | script |
|---|---|---|---|---|---|---|
"""


def script(name):
    """The module of figures/NAME.py."""
    spec = importlib.util.spec_from_file_location(name, FIGURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page():
    """The page in Markdown."""
    lines = []
    for name in SCRIPTS:
        with open(FIGURES / f"{name}.json") as file:
            found = script(name).claims(json.load(file))
        lines += [
            f"| {' | '.join(' '.join(str(cell).split()) or ' ' for cell in claim)} | `{name}.py` |" for claim in found
        ]
    lines += [f"| {source} | {claim} | | | | not yet | |" for source, claim in NOT_YET.items()]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != page())
    with replacing(PAGE) as file:
        file.write(page().encode())
