"""The picture of where a codec saves rate: the difference to an anchor at each quality."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lic_bench.analysis.curves import Curve, bd_rate, curve
from lic_bench.errors import UndefinedError
from lic_bench.metric.quality import Array, measured_quality
from lic_bench.reporting.against import against, percent_axis
from lic_bench.reporting.plots import (
    SIZES,
    add_legend,
    add_title,
    drawing,
    name_at_ends,
    names_in_figures,
    styles_in_figures,
)
from lic_bench.reporting.tables import counted

_STEPS = 200  # of quality, along the range that two curves share


def rate_differences(anchor: Curve, test: Curve, sign: int = 1) -> tuple[Array, Array]:
    """The difference of rate from anchor to test at each quality that both curves cover.

    Between its points the log rate of each curve is interpolated over quality by PCHIP, as for a
    BD-rate: the mean of the log of these ratios, over quality, is the BD-rate.

    Parameters
    ----------
    anchor, test
        Curves that have a BD-rate.
    sign
        -1 for a metric of which less is better.

    Returns
    -------
    Qualities, rising, the test's own points among them; and the differences in per cent.
    """
    from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]

    low, high = max(anchor.value.min(), test.value.min()), min(anchor.value.max(), test.value.max())
    own = test.value[(test.value >= low) & (test.value <= high)]
    quality = np.unique(np.concatenate([np.linspace(low, high, _STEPS), own]))
    logs = [
        PchipInterpolator(sign * line.value, np.log(line.bpp))(sign * quality)
        for line in (anchor, test)
    ]
    return quality, 100 * np.expm1(logs[1] - logs[0])


def plot_by_quality(
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
    """Draw the rate of each codec against an anchor, at each quality that both curves cover.

    The BD-rate is the mean of such a line (of its logarithm). Markers are a codec's own points.
    See `rate_differences`, and `plots.plot` for the parameters.

    Warns
    -----
    UserWarning
        Where a codec has no BD-rate: it is left out.

    Raises
    ------
    SpecError
        For what does not exist, or where the data set is not named.
    UndefinedError
        Where nothing is left to draw.
    """
    of = against(measurements, anchor, codecs, dataset)
    kind = measured_quality(metric, of.averages)
    base = curve(of.averages, of.dataset, anchor, kind.name)
    lines = [curve(of.averages, of.dataset, codec, kind.name) for codec in of.codecs]
    reasons = {line.codec: bd_rate(base, line).reason for line in lines}
    lost = ", ".join(f"{codec} ({why})" for codec, why in reasons.items() if why)
    lines = [line for line in lines if reasons[line.codec] is None]
    if not lines:
        raise UndefinedError(f"No codec has a BD-rate against {anchor} on {of.dataset}: {lost}.")
    if lost:
        warnings.warn(f"Left out of the plot: {lost}.", stacklevel=2)
    called = names_in_figures(measurements, labels)
    styles = styles_in_figures(measurements, colors)
    with drawing(ax, SIZES[width]) as (own, axes):
        percent_axis(axes, "y")
        axes.axhline(0, color="0.4", linewidth=0.8, zorder=1)
        for line in lines:
            quality, percents = rate_differences(base, line, kind.sign)
            marked = np.flatnonzero(np.isin(quality, line.value))
            axes.plot(
                quality,
                percents,
                label=called[line.codec],
                markevery=list(marked),
                **styles[line.codec],
            )
        axes.set_xlabel(kind.axis)
        axes.set_ylabel(f"Rate against {called[anchor]} [%]", parse_math=False)
        counts = f"{of.dataset}, {counted(of.averages)}, {kind.rule}"
        add_title(own, axes, [f"{counts}; negative: fewer bits" if title is None else title])
        if own is None or not name_at_ends(own, axes):
            add_legend(own, axes)
    return axes
