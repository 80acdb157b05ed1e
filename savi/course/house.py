"""The house, read off the import statements as the code is now: as a table, and as a picture for the book.

An arrow leads from a wing to one that it imports. The picture leaves out an arrow where a longer way says the same.
"""

import ast
import functools

from .pages import PACKAGE, WINGS

WIDE, HIGH, ACROSS, DOWN = 150, 38, 190, 66  # a box, and from one box to the next, in pixels


def rooms(wing):
    """The files of a wing's rooms."""
    return [path for path in sorted((PACKAGE / wing).glob("*.py")) if path.stem != "__init__"]


def imported(path):
    """The wings that a room imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 2:
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            found |= set(names) & set(WINGS)
    return found


@functools.cache
def arrows():
    """{wing: {a wing that it imports: in how many of its rooms}}."""
    found = {}
    for wing in WINGS:
        used = [imported(path) - {wing} for path in rooms(wing)]
        found[wing] = {other: n for other in WINGS if (n := sum(other in wings for wings in used))}
    return found


def table():
    """Which wings each wing imports, and in how many of its rooms, in Markdown."""
    lines = ["| wing | rooms | imports, and in how many rooms |", "|---|---:|---|"]
    for wing, used in arrows().items():
        told = ", ".join(f"{other} ({n})" for other, n in used.items())
        lines.append(f"| {wing} | {len(rooms(wing))} | {told or 'nothing of savi'} |")
    return "\n".join(lines) + "\n"


def below(wing, used):
    """All wings that a wing reaches by arrows."""
    return set(used[wing]).union(*(below(other, used) for other in used[wing]))


def drawn(used):
    """{wing: the wings to which its arrows are drawn}: those that no other of its arrows leads to."""
    return {
        wing: [one for one in others if not any(one in below(other, used) for other in others)]
        for wing, others in used.items()
    }


def places(used):
    """{wing: (x, y) of its box's middle}: what imports nothing lies lowest, a wing one row above all that it imports."""

    def height(wing):
        return 1 + max(map(height, used[wing]), default=-1)

    rows = {}
    for wing in used:
        rows.setdefault(height(wing), []).append(wing)
    middle = max(map(len, rows.values())) * ACROSS / 2
    return {
        wing: (middle + (i - (len(row) - 1) / 2) * ACROSS, (max(rows) - level) * DOWN + HIGH / 2 + 4)
        for level, row in rows.items()
        for i, wing in enumerate(row)
    }


def picture():
    """The house as an SVG."""
    used = arrows()
    at, shapes = places(used), []
    for wing, others in drawn(used).items():
        (x, y), start = at[wing], at[wing][1] + HIGH / 2
        for other in others:
            to_x, to_y = at[other][0], at[other][1] - HIGH / 2
            shapes.append(f'<path d="M{x:g} {start:g} L{to_x:g} {to_y:g}" stroke="black" marker-end="url(#head)"/>')
        box = f'x="{x - WIDE / 2:g}" y="{y - HIGH / 2:g}" width="{WIDE}" height="{HIGH}"'
        shapes.append(f'<rect {box} rx="5" fill="white" stroke="black"/>')
        shapes.append(f'<text x="{x:g}" y="{y + 5:g}" text-anchor="middle">{wing} ({len(rooms(wing))})</text>')
    wide, high = max(x for x, _ in at.values()) + WIDE / 2 + 20, max(y for _, y in at.values()) + HIGH / 2 + 4
    head = '<marker id="head" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="9" markerHeight="9" orient="auto">'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}" '
            'font-family="sans-serif" font-size="15">',
            f'<defs>{head}<path d="M0 0L10 5L0 10z"/></marker></defs><rect width="100%" height="100%" fill="white"/>',
            *shapes,
            "</svg>\n",
        ]
    )
