"""Rate-distortion plots for a paper: small, labelled, and still told apart when printed in grey."""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from lic_bench.analysis import published_curves
from lic_bench.analysis.curves import averages_of_curves, curve
from lic_bench.errors import SpecError, UndefinedError, check_known
from lic_bench.files import atomic_write
from lic_bench.metric.quality import metric_named, qualities_with_figures
from lic_bench.reporting.looks import LINES, MARKERS, look_of, short_names
from lic_bench.reporting.tables import counted as _counted
from lic_bench.store.selection import only_dataset
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
_ROW = 8.5  # points; from one line of it to the next
_MOST_ENDS = 9  # names at the ends of curves

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
    ax: Axes | None = None,
    labels: Mapping[str, str] | None = None,
    colors: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Axes:
    """Draw rate-distortion curves, one for each codec, ready for `save_plot`.

    The rate is in bits per pixel, the quality in its unit. A codec's colour, line and marker follow
    from its name: they are the same in every figure. Names stand at the ends of the curves where
    they fit, in a legend otherwise. Codecs that were imported have hollow markers.

    Parameters
    ----------
    measurements
        As `lic_bench.store.table.load` returns them.
    metric
        That of a quality.
    codecs
        By default all.
    dataset
        Needed where the measurements are of several.
    xlim, ylim
        What of the axes is shown; `None` for an end that follows from the curves.
    width
        A figure of one column or of two.
    published
        Curves of others beside them, in grey: see `lic_bench.analysis.published_curves.curve`.
        They are shown over the range of rates that was measured, or over `xlim`.
    ax
        Axes to draw in, which keep their figure, size and style. By default a figure of its own.
    labels
        What codecs are called, by spec; by default their specs, long ones shortened.
    colors
        Their colours, by spec, as matplotlib takes them.
    title
        By default data set, images and averaging; none where it is empty.

    Returns
    -------
    The axes, which more can be drawn in; `Axes.figure` is the whole.

    Warns
    -----
    UserWarning
        Where points are not on a curve (see `curves.curve`), or a published curve lacks the metric
        or lies outside the range: they are left out.

    Raises
    ------
    SpecError
        For an unknown metric, codec, data set or published curve, or where the data set is not
        named.
    UndefinedError
        Where no point is left to draw.
    """
    if measurements.empty:
        raise UndefinedError("There are no measurements to draw.")
    aggregated = averages_of_curves(measurements)
    dataset = only_dataset(aggregated, dataset)
    if published:
        published_curves.check_images(measurements, dataset)
    metric_ = metric_named(metric)
    metric = metric_.name
    measured = list(aggregated[aggregated["dataset"] == dataset]["codec"].unique())
    called = names_in_figures(measurements, labels)
    styles = styles_in_figures(measurements, colors)
    curves = [curve(aggregated, dataset, codec, metric) for codec in codecs or measured]
    left_out = ", ".join(
        f"{line.codec} ({'; '.join(line.left_out)})" for line in curves if line.left_out
    )
    curves = [line for line in curves if line.points]
    if not curves:
        others = [
            one.name
            for one in qualities_with_figures(measurements)
            if one.name != metric and np.isfinite(aggregated[one.value]).any()
        ]
        raise UndefinedError(
            f"There is nothing to draw on {dataset} in {metric}: left out were {left_out}."
            + (f" There are figures of {', '.join(others)}." if others else "")
        )
    if left_out:
        warnings.warn(f"Left out of the plot: {left_out}.", stacklevel=2)
    low, high = xlim or (None, None)
    span = (
        min(line.bpp[0] for line in curves) if low is None else low,
        max(line.bpp[-1] for line in curves) if high is None else high,
    )
    with drawing(ax, SIZES[width]) as (own, axes):
        for line in curves:
            axes.plot(line.bpp, line.value, label=called[line.codec], **styles[line.codec])
        drawn = [
            _add_published(axes, name, dataset, metric, span, index)
            for index, name in enumerate(dict.fromkeys(published))
        ]
        axes.set(xlabel="Rate [bpp]", ylabel=metric_.axis, xscale=xscale, xlim=xlim, ylim=ylim)
        of_dataset = aggregated[aggregated["dataset"] == dataset]
        lines = [f"{dataset}, {_counted(of_dataset)}, {metric_.rule}"] if title is None else [title]
        if sources := ", ".join(dict.fromkeys(filter(None, drawn))):
            lines.append(f"grey: published ({sources}), not measured here")
        axes.set_title("" if title == "" else title_text(lines, own), parse_math=False)
        if xscale == "log":
            log_axis(axes.xaxis)
        if own is None or not name_at_ends(own, axes):
            add_legend(own, axes)
    return axes


@contextmanager
def drawing(ax: Axes | None, size: tuple[float, float]) -> Iterator[tuple[Figure | None, Axes]]:
    """Axes to draw in: given ones as they are; or those of a figure of their own, in our style."""
    if ax is not None:
        yield None, ax
        return
    with mpl.rc_context(STYLE):
        own = figure_of(size)
        yield own, own.add_subplot()


def title_text(lines: Iterable[str], own: Figure | None) -> str:
    """The lines of a title, folded to the width of a figure that is ours."""
    letters = int((72 * own.get_figwidth() if own is not None else 300) / _LETTER)
    return "\n".join(fill(line, letters) for line in lines if line)


def add_title(own: Figure | None, axes: Axes, lines: Iterable[str]) -> None:
    """Write a title over axes; over the whole figure, where it is ours."""
    text = title_text(lines, own)
    if own is None:
        axes.set_title(text, parse_math=False)
    elif text:
        own.suptitle(text, fontsize=7, parse_math=False)


def log_axis(axis: Axis, *, marks: Sequence[float] = (1, 2, 5)) -> None:
    """Mark a logarithmic axis with plain numbers, so many in each factor of ten."""
    axis.set_major_locator(LogLocator(subs=marks, numticks=12))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def figure_of(size: tuple[float, float]) -> Figure:
    """A figure; in a notebook one that pyplot knows, which shows it."""
    if "matplotlib.pyplot" in sys.modules and mpl.is_interactive():
        from matplotlib import pyplot

        return pyplot.figure(figsize=size, layout="constrained")
    return Figure(size, layout="constrained")


def names_in_figures(
    measurements: pd.DataFrame, labels: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What figures call each codec: as asked, or by its spec, shortened, and marked if imported.

    Raises
    ------
    SpecError
        Where a codec that is called otherwise was not measured.
    """
    names = display_names(measurements)
    for codec in labels or ():
        check_known("measured codec", codec, names)
    short = short_names(names)
    shown = {spec: name.replace(spec, short[spec]) for spec, name in names.items()}
    return shown | dict(labels or {})


def styles_in_figures(
    measurements: pd.DataFrame, colors: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """How figures draw each codec, as matplotlib takes it: by its name, in a colour that is asked.

    Raises
    ------
    SpecError
        Where a codec that has a colour was not measured.
    """
    names = display_names(measurements)
    for codec in colors or ():
        check_known("measured codec", codec, names)
    return {
        codec: look_of(codec).style
        | ({} if name == codec else _IMPORTED)
        | ({"color": colors[codec]} if colors and codec in colors else {})
        for codec, name in names.items()
    }


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
        linestyle=LINES[(index + 1) % len(LINES)],
        marker=MARKERS[index % len(MARKERS)],
        markevery=list(true[:: -(-len(true) // _PUBLISHED_MARKERS) or 1]),
        **_PUBLISHED,
    )
    return f"{line.source} {line.year}"


def name_at_ends(figure: Figure, axes: Axes) -> bool:
    """Write each curve's name at its end, in its colour; not where one would not fit.

    None may take more than a third of the width, lie over another curve or far from its own, or
    stand on a light colour's strength alone.
    """
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    longest = max(len(str(line.get_label())) for line in lines)
    if longest * _LETTER > 72 * figure.get_figwidth() / 3 or len(lines) > _MOST_ENDS:
        return False
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    frame = axes.get_window_extent()
    ends, paths = [], []
    for line in lines:
        path = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
        inside = path[(path[:, 0] <= frame.x1 + 1) & (path[:, 1] <= frame.y1 + 1)]
        if not len(inside):
            return False
        x, y = inside[-1]
        if len(inside) < len(path):  # the curve goes on beyond the frame: it ends at its edge
            beyond = path[len(inside)]
            share = min(
                (frame.x1 - x) / max(beyond[0] - x, 1e-9), (frame.y1 - y) / max(beyond[1] - y, 1e-9)
            )
            x, y = (x, y) + min(max(share, 0), 1) * (beyond - (x, y))
        ends.append((x, y))
        steps = np.linspace(0, len(path) - 1, 20 * len(path))
        paths.append(
            np.column_stack([np.interp(steps, np.arange(len(path)), path[:, k]) for k in (0, 1)])
        )
    places = _apart([y for _, y in ends], _ROW / scale)
    for line, (x, y), place, index in zip(lines, ends, places, range(len(lines)), strict=True):
        width = len(str(line.get_label())) * _LETTER / scale
        left, right = x + 4 / scale, x + 8 / scale + width
        over = any(
            (
                (left < other[:, 0])
                & (other[:, 0] < right)
                & (abs(other[:, 1] - place) < _ROW / 2 / scale)
            ).any()
            for number, other in enumerate(paths)
            if number != index
        )
        if over or abs(place - y) > 1.6 * _ROW / scale or place > frame.y1 + 4 / scale:
            return False
    for line, (x, y), place in zip(lines, ends, places, strict=True):
        axes.annotate(
            str(line.get_label()),
            tuple(axes.transData.inverted().transform((x, y))),
            xytext=(5, (place - y) * scale),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=darker(str(line.get_color())),
            parse_math=False,
            annotation_clip=False,
        )
    return True


def _apart(places: Sequence[float], least: float) -> list[float]:
    """Places moved as little as need be, so that all are so far apart."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[tuple[list[int], float]] = []  # with the middle of each
    for i in order:
        groups.append(([i], places[i]))
        while len(groups) > 1:
            (low, below), (high, above) = groups[-2:]
            if above - below >= least * (len(low) + len(high)) / 2:
                break
            both = low + high
            groups[-2:] = [(both, sum(places[k] for k in both) / len(both))]
    moved = list(places)
    for members, middle in groups:
        for rank, i in enumerate(members):
            moved[i] = middle + least * (rank - (len(members) - 1) / 2)
    return moved


def darker(colour: str) -> tuple[float, float, float]:
    """A colour that can be read as text on white: a contrast of 4.5 to 1 at least."""
    rgb = np.array(to_rgb(colour))
    while 1.05 / (_luminance(rgb) + 0.05) < 4.5:
        rgb *= 0.95
    red, green, blue = map(float, rgb)
    return red, green, blue


def _luminance(rgb: NDArray[np.float64]) -> float:
    """Relative luminance: WCAG 2.2, section 1.4.3."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def add_legend(figure: Figure | None, axes: Axes, *, below: bool = False) -> None:
    """Put a small legend in a free corner, and a large one below the axes, as high as it needs.

    Parameters
    ----------
    figure
        Where its size may be altered.
    below
        Whether a small one stands there, too.
    """
    handles, names = axes.get_legend_handles_labels()
    if figure is None:  # whose size is not ours to alter
        legend = axes.legend(loc="best")
    else:
        points, sample = 72 * figure.get_figwidth(), 34  # the line before a name, and gaps
        texts = [fill(name, int((points - sample) / _LETTER)) for name in names]
        columns = max(1, int(points / (sample + _LETTER * max(map(len, names)))))
        if len(names) <= 5 and columns > 1 and not below:
            legend = axes.legend(loc="best")
        else:
            rows = -(-sum(1 + text.count("\n") for text in texts) // columns)
            figure.set_figheight(figure.get_figheight() + (11 * rows + 6) / 72)
            legend = figure.legend(handles, texts, loc="outside lower center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)


def check_plot_name(path: Path) -> None:
    """Raise SpecError where the suffix of a name is none that a plot can have."""
    if path.suffix.lower() not in _UNDATED:
        raise SpecError(f"{path}: the name of a plot must end in {', '.join(_UNDATED)}.")


def save_plot(figure: Figure | Axes, path: str | os.PathLike[str]) -> None:
    """Write a plot as PNG (300 dpi), PDF or SVG, as the suffix of `path` says.

    Of axes the whole figure is written. The file appears whole or not at all, and is the same, byte
    for byte, for the same plot. Raises SpecError for another suffix, OutputError if the file cannot
    be written.
    """
    path = Path(path)
    check_plot_name(path)
    whole = figure if isinstance(figure, Figure) else figure.get_figure(root=True)
    kind = path.suffix.lower()
    with atomic_write(path) as part, mpl.rc_context(STYLE):
        cast("Figure", whole).savefig(part, format=kind[1:], dpi=300, metadata=_UNDATED[kind])
