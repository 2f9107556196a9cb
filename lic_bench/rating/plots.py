"""The scores of a study as a figure: a forest plot, and the win matrix beside it."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lic_bench.printable import printable
from lic_bench.rating.scores import Scores
from lic_bench.reporting.looks import COLOURS
from lic_bench.reporting.plots import STYLE

_ROW, _FRAME = 0.26, 0.75  # inches


def plot(scores: Scores, title: str) -> Figure:
    """Draw the scores with their intervals, and how often one was preferred to another."""
    with mpl.rc_context(STYLE):
        number = len(scores.codecs)
        figure = Figure(figsize=(7.16, _FRAME + max(_ROW * number, 1.2)), layout="constrained")
        forest, matrix = figure.subplots(1, 2, width_ratios=(1.25, 1))
        _forest(forest, scores)
        _matrix(matrix, scores)
        figure.suptitle(printable(title), fontsize=8, x=0.01, ha="left").set_parse_math(False)
    return figure


def _forest(axes: Axes, scores: Scores) -> None:
    rows = np.arange(len(scores.codecs))
    values = np.array([[one.value, one.low, one.high] for one in scores.jod])
    axes.axvline(0, color="0.6", linewidth=0.6)
    axes.hlines(rows, values[:, 1], values[:, 2], color=COLOURS[0], linewidth=1.2)
    axes.plot(values[:, 0], rows, "o", color=COLOURS[0])
    axes.set_yticks(rows, [printable(name) for name in scores.codecs])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)  # a name may hold a $
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Score [JOD], with intervals of 95 %")


def _matrix(axes: Axes, scores: Scores) -> None:
    decided = scores.wins + scores.wins.T
    with np.errstate(invalid="ignore"):
        share = np.where(decided > 0, 100 * scores.wins / decided, np.nan)
    axes.imshow(share, cmap="RdBu", vmin=0, vmax=100, aspect="auto")
    for (i, j), value in np.ndenumerate(share):
        if not np.isnan(value):
            dark = abs(value - 50) > 35
            axes.text(
                j, i, f"{value:.0f}", ha="center", va="center", fontsize=7,
                color="white" if dark else "black",
            )  # fmt: skip
    rows = range(len(scores.codecs))
    axes.set_xticks(
        rows,
        [printable(name) for name in scores.codecs],
        rotation=30,
        ha="right",
        rotation_mode="anchor",
    )
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    axes.set_yticks(rows, [])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_title("Row preferred to column [% of those decided]", fontsize=7)
