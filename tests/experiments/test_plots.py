"""The picture of a comparison is drawn whatever the numbers are, and says what it leaves out."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from savi.experiments import plots, tables

NAN, INF = float("nan"), float("inf")


def results(refinement, loss=(9.0, 8.0)):
    """Results of as many methods as there are lines of refinement: -ELBO at 0, 1, 2, 5 test-time steps."""
    names = list(plots.STYLES)[: len(refinement)]
    history = [{"cpu": 0.0}] + [{"cpu": 1.0 + i, "test_neg_elbo": value} for i, value in enumerate(loss)]
    curves = [
        {"method": name, "seed": 0, "history": history, "refinement": [*zip((0, 1, 2, 5), line)]}
        for name, line in zip(names, refinement)
    ]
    rows = [{"method": name, "seed": 0, "neg_elbo": line[-1]} for name, line in zip(names, refinement)]
    return {"settings": {"methods": names, "seeds": [0]}, "curves": curves, "rows": rows}


def drawn(found):
    """(y values of each line, text) of each side of the picture, saved and closed."""
    fig = plots.comparison(found)
    sides = [([line.get_ydata() for line in ax.lines], ax.texts[0].get_text(), ax.get_ylim()) for ax in fig.axes]
    fig.savefig(io.BytesIO())
    plots.plt.close(fig)
    return sides


def test_numbers_that_are_all_finite_are_all_drawn_and_nothing_is_said():
    (left, said_left, _), (right, said, limits) = drawn(results([(9, 8, 7, 6), (100, 9, 8, 7)]))
    np.testing.assert_array_equal(left, [[9, 8], [9, 8]])
    np.testing.assert_array_equal(right, [[9, 8, 7, 6], [100, 9, 8, 7]])
    assert said == said_left == "" and limits == pytest.approx((5.5, 9.0))


def test_a_line_that_comes_from_above_the_frame_says_from_where():
    fig = plots.comparison(results([(9, 8, 7, 6), (100, 9, 8, 7)]))
    assert [text.get_text() for text in fig.axes[1].get_legend().get_texts()] == ["VAE", "VAE, then SVI, from 100"]
    plots.plt.close(fig)


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 1e30, 7 * 101 + 1.0])
def test_a_point_that_diverged_is_not_drawn_and_that_is_said(bad):
    (_, said_left, _), (right, said, limits) = drawn(results([(9, 8, 7, 6), (9, bad, 7, 8)]))
    np.testing.assert_array_equal(right, [[9, 8, 7, 6], [9, NAN, 7, 8]])
    assert said == "VAE, then SVI: 1 of 4 points diverged, not drawn" and said_left == ""
    assert limits == pytest.approx((5.5, 8.5))


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_picture_of_which_nothing_is_left_says_so(bad):
    (left, said_left, _), (_, said, limits) = drawn(results([(bad,) * 4], (bad, bad)))
    assert np.isnan(left).all() and np.isfinite(limits).all()
    assert said == "VAE: 4 of 4 points diverged, not drawn" and said_left == "VAE: 2 of 2 points diverged, not drawn"


def test_a_method_that_diverged_is_nobodys_best_opponent():
    found = results([(9, 8, 7, NAN), (9, 8, 7, 6), (9, 8, 7, 5)])
    lines = tables.differences(found).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "vae minus svi",
        "vae-then-svi minus svi",
        "svi minus vae-then-svi",
    ]
    assert "nan (one seed): one of them diverged" in lines[0]


@pytest.mark.parametrize("shell, times", [(SimpleNamespace(kernel=3), 1), (SimpleNamespace(), 0), (None, 0)],
                         ids=["a kernel", "a terminal", "no shell"])  # fmt: skip
def test_a_saved_picture_is_shown_once_where_this_is_a_notebook(shell, times, monkeypatch, tmp_path):
    shown = []
    tools = SimpleNamespace(display=shown.append, Image=lambda data: data)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=tools))
    fig, _ = plots.figure()
    plots.save(fig, tmp_path / "a.png")
    assert shown == [(tmp_path / "a.png").read_bytes()] * times
    assert fig.number not in plots.plt.get_fignums(), "a figure that is open would be shown again"
