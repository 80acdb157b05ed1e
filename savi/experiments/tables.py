"""The table of a comparison: what is in it, and its forms - text, Markdown, LaTeX and CSV.

A task's measures are columns behind IW NLL: `measures` is Task.measures, wherever it stands. Over several seeds a cell is
the mean and the standard deviation; whether two methods differ is said by `differences`, which are paired by seed.
"""

import csv as csv_format
import io
import re

import numpy as np

COLUMNS = {  # key of a row, heading, decimals
    "neg_elbo": ("-ELBO", 2),
    "reconstruction": ("reconstr.", 2),
    "kl": ("KL", 2),
    "nll_iw": ("IW NLL", 2),
    "amortization_gap": ("amort. gap", 2),
    "at_equal_epochs": ("-ELBO at {} epochs", 2),
    "epochs": ("epochs", 0),
    "cpu": ("processor s", 1),
}
CERTAIN = 2  # a difference is one where it is more than so many standard errors


def columns(results, measures=()):
    """{key of a row: (heading, decimals)} in the table's order."""
    own = {measure.name: (measure.heading, measure.decimals) for measure in measures}
    found, shared = {}, equal_epochs(results)
    for key, (heading, decimals) in COLUMNS.items():
        if shared or key != "at_equal_epochs":
            beside = {"nll_iw": own, "kl": _level_columns(results)}
            found |= {key: (heading.format(shared), decimals)} | beside.get(key, {})
    return found


def _level_columns(results):
    """The KL of each level of a hierarchy: one that is near 0 is not used."""
    found = {key for row in results["rows"] for key in row if key.startswith("kl_") and key[3:].isdigit()}
    return {key: (f"KL of z^{key[3:]}", 2) for key in sorted(found)}


def equal_epochs(results):
    """The last whole number of epochs at which every run was judged, or 0; of a budget in epochs there is no such column."""
    if results["settings"]["budget"][0] != "seconds":
        return 0
    judged = [{row["epoch"] for row in curve["history"] if row["epoch"] % 1 == 0} for curve in results["curves"]]
    return int(max(set.intersection(*judged), default=0)) if judged else 0


def values(results, name, key):
    """A method's values of a column, one for each seed, in the order of the seeds (n,)."""
    if key != "at_equal_epochs":
        return np.array([row.get(key, np.nan) for row in results["rows"] if row["method"] == name])
    curves, shared = [c for c in results["curves"] if c["method"] == name], equal_epochs(results)
    return np.array([next(r["test_neg_elbo"] for r in c["history"] if r["epoch"] == shared) for c in curves])


def summarize(results, measures=()):
    """{method: {column: (mean, spread)}}: the spread is the standard deviation over seeds (0 for one seed)."""
    summary = {}
    for name in dict.fromkeys(row["method"] for row in results["rows"]):
        found = {key: values(results, name, key) for key in columns(results, measures)}
        summary[name] = {key: (v.mean(), v.std(ddof=1) if len(v) > 1 else 0.0) for key, v in found.items()}
    return summary


def cells(results, measures=()):
    """The table as lists of words: the headings, a line for each model without latents, and one for each method.

    A gap is marked with a star where the optimum that it is measured against was not found to the tolerance.
    """
    several, shown = len(results["settings"]["seeds"]) > 1, columns(results, measures)
    lines = [["method", *(heading for heading, _ in shown.values())]]
    for baseline in filter(None, (results["baseline"], *results.get("baselines", ()))):
        known = baseline | {
            "neg_elbo": baseline["nll"],
            "nll_iw": baseline["nll"],
        }  # without latents the bound is the likelihood
        lines.append(
            [baseline["method"], *(f"{known[key]:.{d}f}" if key in known else "" for key, (_, d) in shown.items())]
        )
    for name, summary in summarize(results, measures).items():
        line = [f"{summary[key][0]:.{d}f}" + several * f" ± {summary[key][1]:.{d}f}" for key, (_, d) in shown.items()]
        if not all(row.get("gap_converged", True) for row in results["rows"] if row["method"] == name):
            line[list(shown).index("amortization_gap")] += " *"
        lines.append([name, *line])
    return lines


def paired(results, name, other, key="neg_elbo"):
    """(mean, standard error, n, in how many of n it is below zero) of name minus other, paired by seed.

    The standard error is NaN for one seed.
    """
    return difference(values(results, name, key), values(results, other, key))


def difference(a, b):
    """(mean, standard error, n, in how many of n it is below zero) of a - b, values over the same seeds (n,); NaN: one seed."""
    d = np.asarray(a) - np.asarray(b)
    error = d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else np.nan
    return float(d.mean()), float(error), len(d), int((d < 0).sum())


def verdict(mean, error):
    """ "better" or "worse" where a difference of losses is beyond two standard errors; else "not told apart"."""
    if np.isnan(mean):
        return "one of them diverged"
    if not abs(mean) > CERTAIN * error:
        return "not told apart"
    return "better" if mean < 0 else "worse"


def differences(results, key="neg_elbo", against=None):
    """A line for each method: its test -ELBO minus that of `against` (None: the best of the others), paired by seed."""
    names = list(dict.fromkeys(row["method"] for row in results["rows"]))
    means = {name: np.nan_to_num(values(results, name, key).mean(), nan=np.inf) for name in names}
    lines = []
    for name in names:
        others = [against] if against else sorted(set(names) - {name}, key=means.get)
        if not others or others[0] == name:
            continue
        mean, error, n, below = paired(results, name, others[0], key)
        spread = f"± {error:.2f} (standard error; lower in {below} of {n})" if n > 1 else "(one seed)"
        lines.append(f"{name} minus {others[0]}: {mean:+.2f} {spread}: {verdict(mean, error)}")
    return "\n".join(lines)


def tuned(results):
    """What was tuned: a line for each method with an inner step, its values in training and at test time."""
    chosen, settings = results.get("tuning", {}), results["settings"]
    own = "each method's own" if settings.get("step_size") is None else "as set, not tuned"
    train = "chosen on validation examples" if chosen else own
    test = "as in training" if settings["tune"] == "none" else "chosen on validation examples, for each seed"
    lines = [f"inner steps (step size, momentum, clip): in training {train}; at test time {test}"]
    for name in settings["methods"]:
        inner = [curve["inner"] for curve in results["curves"] if curve["method"] == name]
        if inner and inner[0]["test"]:
            trained = "" if name.startswith("vae-then") else f"in training {_point(inner[0]['train'])}; "
            tests = " | ".join(dict.fromkeys(_point(i["test"]) for i in inner))
            lines.append(f"  {name}: {trained}at test time {tests}")
    return "\n".join(lines + ["learning rate, nets and everything else: the same for all, not tuned"])


def _point(inner):
    return ", ".join("none" if value is None else f"{value:g}" for value in inner.values())


def table(results, measures=()):
    """The table as text, in columns."""
    return text(cells(results, measures))


def markdown(results, measures=()):
    """The table in Markdown, numbers to the right."""
    return in_markdown(cells(results, measures))


def text(lines, left=1):
    """Lists of words, the headings first, in columns; `left` of them words, which begin at the left."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    sides = [str.ljust] * left + [str.rjust] * (len(widths) - left)
    return "\n".join("  ".join(side(*cell) for side, cell in zip(sides, zip(line, widths))).rstrip() for line in lines)


def in_markdown(lines, left=1):
    """The same in Markdown."""
    rule = ["---"] * left + ["---:"] * (len(lines[0]) - left)
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [lines[0], rule, *lines[1:]]
    )


def in_latex(lines, left=1):
    """The same as a tabular of LaTeX, which needs no package."""
    rows = [" & ".join(map(_latex, line)) + r" \\" for line in lines]
    begin = rf"\begin{{tabular}}{{{'l' * left}{'r' * (len(lines[0]) - left)}}}"
    return "\n".join([begin, r"\hline", rows[0], r"\hline", *rows[1:], r"\hline", r"\end{tabular}"])


LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$"}


def _latex(cell):
    """A cell in which no letter means something else to LaTeX."""
    cell = "".join(LATEX.get(letter, "\\" + letter if letter in "&%$#_{}" else letter) for letter in cell)
    return re.sub(r"(?<![\w.)])-(?=\d)", "$-$", cell)


def csv(results):
    """Every row of the results as comma-separated values, all that is in the first one."""
    return in_csv(results["rows"], list(results["rows"][0]))


def in_csv(rows, names):
    """Rows {name: value} as comma-separated values of these names; "" where a row has none."""
    written = io.StringIO()
    writer = csv_format.DictWriter(written, fieldnames=names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()
