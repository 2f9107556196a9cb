"""The picture of what a BD-rate owes to its images: that of each, and the interval of them all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lic_bench.analysis.comparison import Comparison, compare_codecs
from lic_bench.errors import UndefinedError
from lic_bench.metric.quality import Array, measured_quality
from lic_bench.reporting.against import against, percent_axis
from lic_bench.reporting.plots import (
    SIZES,
    add_title,
    drawing,
    names_in_figures,
    styles_in_figures,
)
from lic_bench.reporting.tables import counted

_ROW = 0.36  # inches: the height of a codec
_AROUND = 1.0  # inches: what axes and title take
_DOT = 3  # points
_NAME = {"column": 16, "wide": 30}  # letters in a line of a codec's name


def plot_by_image(
    measurements: pd.DataFrame,
    anchor: str,
    *,
    metric: str = "psnr_rgb",
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
    width: Literal["column", "wide"] = "column",
    ax: Axes | None = None,
    labels: Mapping[str, str] | None = None,
    colors: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the BD-rate of each image against an anchor, a row for each codec.

    A dot is an image; dots that would cover each other stand one above the other. The line below
    them is the 95 % confidence interval of the BD-rate of the mean curves, which it is crossed at
    (`comparison.compare_sides`).
    Rows go by BD-rate, that of the fewest bits on top. The axis is in per cent, on a logarithmic
    scale of the rate.

    See `plots.plot` for the parameters.

    Warns
    -----
    UserWarning
        Where no image of a codec has a BD-rate: it is left out.

    Raises
    ------
    SpecError
        For what does not exist, or where the data set is not named.
    UndefinedError
        Where nothing is left to draw.
    """
    of = against(measurements, anchor, codecs, dataset)
    kind = measured_quality(metric, of.averages)
    found, lost = {}, []
    for codec in of.codecs:
        try:
            one = compare_codecs(of.rows, anchor, codec, metric=kind.name)
        except UndefinedError as error:
            lost.append(f"{codec} ({error})")
            continue
        if one.per_image["bd_rate_percent"].notna().any():
            found[codec] = one
        else:
            why = one.rate.reason or "no image has a BD-rate of its own"
            lost.append(f"{codec} ({why})")
    if not found:
        raise UndefinedError(f"No image has a BD-rate against {anchor}: {'; '.join(lost)}.")
    if lost:
        warnings.warn(f"Left out of the plot: {', '.join(lost)}.", stacklevel=2)
    called = names_in_figures(measurements, labels)
    styles = styles_in_figures(measurements, colors)
    order = sorted(found, key=lambda codec: _place(found[codec]))
    size = (SIZES[width][0], _AROUND + _ROW * len(order))
    with drawing(ax, size) as (own, axes):
        percent_axis(axes, "x")
        axes.axvline(0, color="0.4", linewidth=0.8, zorder=1)
        values = [found[codec].per_image["bd_rate_percent"].dropna().to_numpy() for codec in order]
        across = 72 * size[0] / (1.6 * _DOT)  # dots that stand side by side in the width
        reach = np.log1p(np.concatenate([*values, [0.0]]) / 100)
        step = max(float(reach.max() - reach.min()), 1e-9) / across
        for row, (codec, percents) in enumerate(zip(order, values, strict=True)):
            style = styles[codec] | {"linestyle": "none", "markersize": _DOT, "alpha": 0.65}
            axes.plot(percents, row + _aside(percents, step), label=called[codec], **style)
            _add_interval(axes, found[codec], row)
        axes.set_yticks(range(len(order)), [fill(called[codec], _NAME[width]) for codec in order])
        for tick in axes.get_yticklabels():
            tick.set_parse_math(False)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"BD-rate against {called[anchor]}, {kind.label} [%]", parse_math=False)
        said = f"{of.dataset}, {counted(of.averages)}; negative: fewer bits at equal quality"
        legend = "dots: images; lines: mean curves with 95 % interval"
        add_title(own, axes, [said, legend] if title is None else [title])
    return axes


def _place(one: Comparison) -> float:
    """What rows go by."""
    value = one.rate.value
    return value if value == value else float(one.per_image["bd_rate_percent"].median())


def _add_interval(axes: Axes, one: Comparison, row: int) -> None:
    if one.rate.value != one.rate.value:
        return
    black: dict[str, Any] = {
        "color": "black",
        "zorder": 3,
        "linewidth": 1.2,
        "solid_capstyle": "butt",
    }
    at = row + 0.32
    if one.rate.low == one.rate.low:
        axes.plot([one.rate.low, one.rate.high], [at, at], **black)
    axes.plot([one.rate.value] * 2, [at - 0.12, at + 0.12], **black)


def _aside(percents: Array, step: float) -> Array:
    """How far dots are moved off their row, so that those of about one BD-rate can be seen.

    Parameters
    ----------
    step
        The width of a dot, as a logarithm of the ratio of rates.
    """
    places = np.floor(np.log1p(percents / 100) / step).astype(int)
    offsets = np.zeros(len(percents))
    for place in np.unique(places):
        own = np.flatnonzero(places == place)
        own = own[np.argsort(percents[own], kind="stable")]
        offsets[own] = np.arange(len(own)) - (len(own) - 1) / 2
    return np.asarray(offsets * min(0.14, 0.56 / max(float(np.ptp(offsets)), 1.0)) - 0.1)
