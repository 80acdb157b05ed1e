"""The pictures that more than one lesson, figure or command draws.

Colours are Okabe and Ito's, told apart by the colour-blind; each line has a marker and a dash of its own as well, so
that a grey print still tells them apart. matplotlib is imported here and nowhere below.
"""

import io
import sys

import matplotlib

matplotlib.use("agg", force=False)

import matplotlib.pyplot as plt
import numpy as np

from ..engine.files import replacing
from .tables import CERTAIN

STYLES = {  # method: (colour, marker, dash, label)
    "vae": ("#000000", "o", "-", "VAE"),
    "vae-then-svi": ("#7F7F7F", "o", "--", "VAE, then SVI"),
    "svi": ("#E69F00", "s", "--", "SVI"),
    "vae+svi": ("#0072B2", "^", "-.", "VAE+SVI"),
    "vae+svi+kl": ("#56B4E9", "v", ":", "VAE+SVI+KL"),
    "sa-vae": ("#D55E00", "D", "-", "SA-VAE"),
    "iterative": ("#009E73", "P", "-", "iterative"),
}
PANELS, POINTS = 6, 60  # of a picture at most; of a line that is a mean of curves
DIVERGED = 100  # a loss so many times its line's lowest above it is not drawn
OTHERS = (("#CC79A7", "X", "-."), ("#7F7F7F", "*", ":"), ("#0072B2", "p", "--"), ("#000000", "h", ":"))


def style(name, index=0):
    """Keyword arguments of a line for a method, or for the index-th of other things."""
    if name in STYLES:
        colour, marker, dash, label = STYLES[name]
    else:
        (colour, marker, dash), label = OTHERS[index % len(OTHERS)], name
    return {"color": colour, "marker": marker, "linestyle": dash, "label": label, "markersize": 5, "linewidth": 1.6}


def figure(columns=1, rows=1, width=4.6, height=3.6):
    """(figure, axes) with a light grid and no box."""
    fig, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat:
        ax.grid(True, color="0.9", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    return fig, axes[0] if rows == 1 else axes


def save(fig, path, dpi=130):
    """Write the figure as PNG, whole or not at all, show it where this is a notebook, and close it."""
    png = io.BytesIO()
    fig.savefig(png, format="png", dpi=dpi)
    plt.close(fig)
    with replacing(path) as file:
        file.write(png.getvalue())
    if notebook():
        sys.modules["IPython"].display.display(sys.modules["IPython"].display.Image(png.getvalue()))


def notebook():
    """Whether this process is a notebook's kernel, which can show pictures; a terminal cannot."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def history(rows, name="valid"):
    """-ELBO, reconstruction and KL against epochs, from the history of `fit`."""
    fig, (left, right) = figure(columns=2)
    epochs = [row["epoch"] for row in rows]
    left.plot(epochs, [row[f"{name}_neg_elbo"] for row in rows], **style("sa-vae") | {"label": f"{name} -ELBO"})
    trained = [row for row in rows if row["train_loss"] is not None]
    left.plot(
        [r["epoch"] for r in trained], [r["train_loss"] for r in trained], **style("vae") | {"label": "training loss"}
    )
    right.plot(epochs, [row[f"{name}_kl"] for row in rows], **style("vae+svi") | {"label": f"{name} KL"})
    for ax in (left, right):
        ax.set(xlabel="epoch", ylabel="nats per example")
        ax.legend(frameon=False)
    return fig


def comparison(results):
    """Left: test -ELBO against processor seconds of training. Right: test -ELBO against test-time steps ([SA] Figure 2).

    Points that diverged are not drawn, which is said.
    """
    fig, (left, right) = figure(columns=2, width=5.2, height=4)
    names, trained, refined = results["settings"]["methods"], {}, {}
    others = [name for name in names if name not in STYLES]
    for name in names:
        curves = [curve for curve in results["curves"] if curve["method"] == name]
        if not curves:
            continue
        seconds = np.mean([[row["cpu"] for row in c["history"][1:]] for c in curves], axis=0)
        loss = np.mean([[row["test_neg_elbo"] for row in c["history"][1:]] for c in curves], axis=0)
        look = style(name, others.index(name) if name in others else 0)
        trained[look["label"]] = _finite(loss)
        left.plot(seconds, trained[look["label"]], **look)
        steps, loss = np.mean([c["refinement"] for c in curves], axis=0).T
        refined[look["label"]] = _finite(loss)
        right.plot(steps, refined[look["label"]], **look)
    left.set(xlabel="processor seconds of training", ylabel="test −ELBO (nats per example)", title="while training")
    right.set(
        xlabel="inference steps at test time",
        ylabel="test −ELBO (nats per example)",
        title="refining the trained model",
    )
    right.set_xscale("symlog", linthresh=1)
    ticks = [int(k) for k, _ in results["curves"][0]["refinement"]]
    right.set_xticks(ticks, [str(k) for k in ticks])
    right.minorticks_off()
    right.set_ylim(*_useful_range(refined.values()))
    for line in right.lines:  # what comes from above the frame says from where
        highest = np.nanmax(line.get_ydata(), initial=-np.inf)
        if highest > right.get_ylim()[1]:
            line.set_label(f"{line.get_label()}, from {highest:.0f}")
    right.legend(frameon=False)
    for ax, lines in ((left, trained), (right, refined)):
        ax.text(0.02, 0.02, _not_drawn(lines), transform=ax.transAxes, fontsize="small", va="bottom")
    return fig


def against(panels, key, label):
    """A measure against a setting, with two standard errors: panels {title: {line: [(value, mean, error), ...]}}.

    Values that are not all numbers stand side by side. label: of the measure. The first PANELS are drawn.
    """
    fig, axes = _panels(panels)
    points = [point for lines in panels.values() for line in lines.values() for point in line]
    numbers = all(isinstance(value, int | float) for value, *_ in points)
    words = dict.fromkeys(str(value) for value, *_ in points)
    places = {word: float(word) if numbers else i for i, word in enumerate(words)}
    for ax, lines in zip(axes, panels.values()):
        for look, line in _looks(lines):
            x, (_, mean, error) = [places[str(value)] for value, *_ in line], zip(*line)
            look |= {} if numbers and len(line) > 1 else {"linestyle": ""}
            ax.errorbar(x, _finite(np.array(mean)), CERTAIN * np.nan_to_num(error), capsize=2, **look)
        ax.set(xlabel=key, ylabel=f"{label} (mean ± two standard errors)")
        if not numbers:
            ax.set_xticks(range(len(places)), places, rotation=30, ha="right")
        elif len(places) <= 8:
            ax.set_xticks(list(places.values()), places)
        if any(lines):
            ax.legend(frameon=False, fontsize=8)
    return fig


def training(panels):
    """Test -ELBO against processor seconds of training, with two standard errors: panels {title: {line: [curve, ...]}}.

    A curve is [seconds, loss], ...; the mean over curves is taken at equal seconds, as far as the shortest of a line goes.
    """
    fig, axes = _panels(panels)
    for ax, lines in zip(axes, panels.values()):
        shown = []
        for look, curves in _looks(lines):
            curves = [np.array(curve).T for curve in curves]
            seconds = np.linspace(max(c[0, 0] for c in curves), min(c[0, -1] for c in curves), POINTS)
            losses = np.stack([np.interp(seconds, *curve) for curve in curves])
            mean, error = _finite(losses.mean(axis=0)), losses.std(axis=0, ddof=min(1, len(losses) - 1))
            error *= CERTAIN / np.sqrt(len(losses))
            ax.plot(seconds, mean, markevery=6, **look)
            ax.fill_between(seconds, mean - error, mean + error, color=look["color"], alpha=0.2, linewidth=0)
            shown.append(mean)
        ax.set_ylim(*_useful_range(shown))
        ax.set(xlabel="processor seconds of training", ylabel="test −ELBO (nats per example)")
        ax.legend(frameon=False, fontsize=8)
    return fig


def _panels(panels):
    """(figure, axes) with the panels' titles; what is left out is said."""
    columns = min(len(panels), PANELS)
    rows = -(-columns // 3)
    fig, axes = figure(columns=min(columns, 3), rows=rows)
    axes = np.ravel(axes)
    for ax, title in zip(axes, panels):
        ax.set_title(title, fontsize=9)
    for ax in axes[columns:]:
        ax.set_visible(False)
    if len(panels) > columns:
        fig.suptitle(f"the first {columns} of {len(panels)} combinations of the other settings", fontsize=9)
    return fig, axes


def _looks(lines):
    """(keyword arguments, what is to be drawn) of each line by its name."""
    others = [name for name in lines if name not in STYLES]
    return [(style(name, others.index(name) if name in others else 0), line) for name, line in lines.items()]


def _finite(line):
    """The line with NaN for the points that diverged: not finite, or so far above its lowest that nothing else would be seen."""
    line = np.where(np.isfinite(line), line, np.nan)
    if np.isnan(line).all():
        return line
    low = np.nanmin(line)
    return np.where(line - low <= DIVERGED * max(abs(low), 1), line, np.nan)


def _not_drawn(lines):
    """What to say of points that are missing in lines {label: (n,)}; "" where none is."""
    missing = {label: (np.isnan(line).sum(), len(line)) for label, line in lines.items() if np.isnan(line).any()}
    return "\n".join(f"{label}: {k} of {n} points diverged, not drawn" for label, (k, n) in missing.items())


def _useful_range(lines):
    """Limits that show every line's better half: a few points far too high must not flatten the rest. NaN: what is not drawn."""
    lines = [line for line in lines if not np.isnan(line).all()] or [np.zeros(1)]
    low, high = min(np.nanmin(line) for line in lines), max(np.nanmedian(line) for line in lines)
    margin = max(0.05 * (high - low), 0.5)
    return low - margin, high + margin


def gallery(rows, most=1.0):
    """Pictures in lines: rows {name: pictures}, grey (n, H, W), white at 0 and black at `most`, or in colour (n, H, W, 3), of
    0 to `most`; a method by its label."""
    columns = len(next(iter(rows.values())))
    fig, axes = plt.subplots(len(rows), columns, figsize=(1.0 * columns + 1.2, 1.0 * len(rows)), squeeze=False)
    for line, (name, pictures) in zip(axes, rows.items()):
        for ax, picture in zip(line, pictures):
            shown = np.clip(picture / most, 0, 1) if picture.ndim == 3 else picture
            ax.imshow(shown, cmap="gray_r", vmin=0, vmax=most, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_color("0.8")
        label = STYLES[name][3] if name in STYLES else name
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=8)
    fig.subplots_adjust(left=1.2 / (columns + 1.2), right=0.995, top=0.99, bottom=0.01, wspace=0.06, hspace=0.06)
    return fig
