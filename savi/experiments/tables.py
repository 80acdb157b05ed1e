"""The table of a comparison: what is in it, and its forms - text, Markdown and CSV.

A task's measures are columns behind IW NLL: `measures` is Task.measures, wherever it stands.
"""

import csv as csv_format
import io

import numpy as np

COLUMNS = {  # key of a row, heading, decimals
    "neg_elbo": ("-ELBO", 2),
    "reconstruction": ("reconstr.", 2),
    "kl": ("KL", 2),
    "nll_iw": ("IW NLL", 2),
    "amortization_gap": ("amort. gap", 2),
    "ms_per_step": ("ms/step", 1),
    "train_seconds": ("training s", 1),
}


def columns(measures=()):
    """{key of a row: (heading, decimals)} in the table's order."""
    own = {measure.name: (measure.heading, measure.decimals) for measure in measures}
    found = {}
    for key, column in COLUMNS.items():
        found |= {key: column} | (own if key == "nll_iw" else {})
    return found


def summarize(results, measures=()):
    """{method: {column: (mean, spread)}}: the spread is the standard deviation over seeds (0 for one seed)."""
    summary = {}
    for name in results["settings"]["methods"]:
        rows = [row for row in results["rows"] if row["method"] == name]
        if rows:
            values = {key: np.array([row.get(key, np.nan) for row in rows]) for key in columns(measures)}
            summary[name] = {key: (v.mean(), v.std(ddof=1) if len(v) > 1 else 0.0) for key, v in values.items()}
    return summary


def cells(results, measures=()):
    """The table as lists of words: the headings, then a line per method; mean and, over several seeds, the spread."""
    several, shown = len(results["settings"]["seeds"]) > 1, columns(measures)
    lines = [["method", *(heading for heading, _ in shown.values())]]
    for name, values in summarize(results, measures).items():
        line = [f"{values[key][0]:.{d}f}" + several * f" ± {values[key][1]:.{d}f}" for key, (_, d) in shown.items()]
        lines.append([name, *line])
    return lines


def table(results, measures=()):
    """The table as text, in columns."""
    lines = cells(results, measures)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines)


def markdown(results, measures=()):
    """The table in Markdown, numbers to the right."""
    lines = cells(results, measures)
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def csv(results):
    """Every row of the results as comma-separated values, all that is in the first one."""
    text = io.StringIO()
    writer = csv_format.DictWriter(
        text, fieldnames=list(results["rows"][0]), extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(results["rows"])
    return text.getvalue()
