"""Rate-distortion plots for a paper: small, labelled, and still told apart when printed in grey."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lic_bench.analysis import published_curves
from lic_bench.analysis.curves import aggregate, curve
from lic_bench.errors import SpecError, UndefinedError, check_known
from lic_bench.files import atomic_write
from lic_bench.metric.quality import metric_named
from lic_bench.store.table import display_names

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 7,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.88",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.handlelength": 2.8,  # long enough to show a whole period of each line style
    "legend.columnspacing": 1.2,
    "legend.edgecolor": "none",
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "lines.markeredgewidth": 0,
    "pdf.fonttype": 42,  # TrueType, which IEEE and ACM ask for; the default, Type 3, they refuse
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lic-bench",  # the same plot gives the same file
}
SIZES = {"column": (3.5, 2.6), "wide": (7.16, 4.0)}  # inches; IEEE's and ACM's one and two columns

_LETTER = 3.9  # points; mean width of a letter of 7-point type

# The palette of M. Okabe and K. Ito, "Color Universal Design", 2008, without its yellow, which
# hardly shows on white. 7 colours, 4 lines and 11 markers have no common factor, so that no two
# of the first 28 codecs share both colour and line, and a marker comes back with others of both.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", (0, (4, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "d", "p")

# What others published is grey, thin and hollow, and lies behind what was measured.
_PUBLISHED: dict[str, Any] = {
    "color": "0.4",
    "linewidth": 0.7,
    "markerfacecolor": "white",
    "markeredgewidth": 0.6,
    "markersize": 3.5,
    "zorder": 1.5,
}
# What was imported has a colour as what was measured, and is hollow as what was published.
_IMPORTED: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.8}
_PUBLISHED_MARKERS = 8  # at most so many on a curve, which may have a hundred points

_UNDATED: dict[str, dict[str, None]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


def plot(
    measurements: pd.DataFrame,
    *,
    metric: str = "psnr_rgb",
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
    xlim: tuple[float | None, float | None] | None = None,
    ylim: tuple[float | None, float | None] | None = None,
    width: Literal["column", "wide"] = "column",
    xscale: Literal["linear", "log"] = "linear",
    published: Sequence[str] = (),
) -> Figure:
    """Draw rate-distortion curves, one for each codec, ready for `save_plot`.

    The rate is in bits per pixel, the quality in its unit. `metric` is that of a quality;
    without `codecs` all codecs are drawn; `dataset` must be named if there are several. A codec
    keeps its colour and marker whichever others are drawn from the same measurements.

    Codecs that were imported have hollow markers, and are called so.

    `published` names curves of others to set beside them, in grey and marked as published; see
    `published.curve`. They are shown over the range of rates that was measured, or over `xlim`.

    Points that are not on a curve (see `curves.curve`) are left out with a UserWarning that says
    why, and so are published curves that lack the metric or lie outside that range. Raises
    SpecError for an unknown metric, codec, data set or published curve, or when the data set is not
    named; UndefinedError if no point is left to draw.
    """
    if measurements.empty:
        raise UndefinedError("There are no measurements to draw.")
    aggregated = aggregate(measurements)
    datasets = aggregated["dataset"].unique()
    if dataset is None and len(datasets) > 1:
        raise SpecError(f"Name the data set to draw: {', '.join(datasets)}.")
    dataset = dataset or datasets[0]
    check_known("data set", dataset, datasets)
    if published:
        published_curves.check_images(measurements, dataset)
    metric_, everyone = metric_named(metric), list(aggregated["codec"].unique())
    metric = metric_.name
    measured = aggregated[aggregated["dataset"] == dataset]["codec"].unique()
    curves = [curve(aggregated, dataset, codec, metric) for codec in codecs or measured]
    left_out = ", ".join(
        f"{line.codec} ({'; '.join(line.left_out)})" for line in curves if line.left_out
    )
    curves = [line for line in curves if line.points]
    if not curves:
        raise UndefinedError(f"There is nothing to draw on {dataset}: left out were {left_out}.")
    if left_out:
        warnings.warn(f"Left out of the plot: {left_out}.", stacklevel=2)
    low, high = xlim or (None, None)
    span = (
        min(line.bpp[0] for line in curves) if low is None else low,
        max(line.bpp[-1] for line in curves) if high is None else high,
    )

    images = measurements[measurements["dataset"] == dataset]["image"].nunique()
    names = display_names(measurements)
    with mpl.rc_context(STYLE):
        figure = Figure(SIZES[width], layout="constrained")
        axes = figure.add_subplot()
        for line in curves:
            index = everyone.index(line.codec)
            axes.plot(
                line.bpp,
                line.value,
                label=names[line.codec],
                color=COLOURS[index % len(COLOURS)],
                linestyle=_LINES[index % len(_LINES)],
                marker=MARKERS[index % len(MARKERS)],
                **({} if names[line.codec] == line.codec else _IMPORTED),
            )
        drawn = [
            _add_published(axes, name, dataset, metric, span, index)
            for index, name in enumerate(dict.fromkeys(published))
        ]
        axes.set(xlabel="Rate [bpp]", ylabel=metric_.axis, xscale=xscale, xlim=xlim, ylim=ylim)
        what = f"{images} image{'s'[: images > 1]}" if images else "averages"
        title = f"{dataset}, {what}, {metric_.rule}"
        lines = [title]
        if sources := ", ".join(dict.fromkeys(filter(None, drawn))):
            lines.append(f"grey: published ({sources}), not measured here")
        letters = int(72 * figure.get_figwidth() / _LETTER)
        axes.set_title("\n".join(fill(line, letters) for line in lines), parse_math=False)
        if xscale == "log":
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        _add_legend(figure, axes)
    return figure


def _add_published(
    axes: Axes, name: str, dataset: str, metric: str, span: tuple[float, float], index: int
) -> str | None:
    """Draw the part of a published curve in a span of rates; return its source and year."""
    try:
        line = published_curves.curve(name, dataset, metric)
    except UndefinedError as error:
        warnings.warn(f"Left out of the plot: {error}", stacklevel=3)
        return None
    inside = (span[0] <= line.bpp) & (line.bpp <= span[1])
    ends = [rate for rate in span if line.bpp[0] < rate < line.bpp[-1] and rate not in line.bpp]
    rates = np.sort([*line.bpp[inside], *ends])
    if not rates.size:
        warnings.warn(
            f"Left out of the plot: {name} was published from {line.bpp[0]:.3f} to "
            f"{line.bpp[-1]:.3f} bpp, all outside of what is drawn.",
            stacklevel=3,
        )
        return None
    true = np.flatnonzero(np.isin(rates, line.bpp))
    axes.plot(
        rates,
        np.interp(rates, line.bpp, line.value),
        label=f"{name} (published)",
        linestyle=_LINES[(index + 1) % len(_LINES)],
        marker=MARKERS[index % len(MARKERS)],
        markevery=list(true[:: -(-len(true) // _PUBLISHED_MARKERS) or 1]),
        **_PUBLISHED,
    )
    return f"{line.source} {line.year}"


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Put a small legend in a free corner, and a large one below the axes, as high as it needs."""
    points, sample = 72 * figure.get_figwidth(), 34  # the piece of line before a name, and gaps
    handles, names = axes.get_legend_handles_labels()
    labels = [fill(name, int((points - sample) / _LETTER)) for name in names]
    columns = max(1, int(points / (sample + _LETTER * max(map(len, names)))))
    if len(names) <= 5 and columns > 1:
        legend = axes.legend(loc="best")
    else:
        rows = -(-sum(1 + label.count("\n") for label in labels) // columns)
        figure.set_figheight(figure.get_figheight() + (11 * rows + 6) / 72)
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)


def check_plot_name(path: Path) -> None:
    """Raise SpecError where the suffix of a name is none that a plot can have."""
    if path.suffix.lower() not in _UNDATED:
        raise SpecError(f"{path}: the name of a plot must end in {', '.join(_UNDATED)}.")


def save_plot(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a plot as PNG (300 dpi), PDF or SVG, as the suffix of `path` says.

    The file appears whole or not at all, and is the same, byte for byte, for the same plot. Raises
    SpecError for another suffix, OutputError if the file cannot be written.
    """
    path = Path(path)
    check_plot_name(path)
    kind = path.suffix.lower()
    with atomic_write(path) as part, mpl.rc_context(STYLE):
        figure.savefig(part, format=kind[1:], dpi=300, metadata=_UNDATED[kind])
