"""The picture of what a codec's time or arithmetic buys: BD-rate against what it takes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lic_bench.analysis.curves import bd_rates
from lic_bench.errors import UndefinedError, check_known
from lic_bench.metric.quality import measured_quality
from lic_bench.reporting.against import against, percent_axis
from lic_bench.reporting.plots import (
    SIZES,
    STYLE,
    add_legend,
    add_title,
    figure_of,
    log_axis,
    names_in_figures,
    styles_in_figures,
)
from lic_bench.reporting.tables import counted

_WIDE = 30  # the ratio of costs above which an axis has a mark for each factor of ten alone


@dataclass(frozen=True)
class Costs:
    """What codecs take to encode and decode."""

    table: pd.DataFrame
    """By codec; columns `encode` and `decode`, NaN where it is not known."""
    unit: str
    """``s/MP`` or ``kMAC/pixel``."""
    about: str
    """Where it was measured, and how: part of the title."""


def costs_timed(summary: pd.DataFrame, about: str, of: str = "time") -> Costs:
    """What `timing.time_codecs` found, in its summary; the mean where a codec has several points.

    Parameters
    ----------
    about
        How: of how many images, with how many threads, where.
    of
        ``time``, or ``kmacs``: multiplications with addition, which networks alone have.

    Raises
    ------
    SpecError
        For another word.
    """
    check_known("cost of codecs", of, _OF)
    columns = {
        what: 1 / summary[f"{what}_mp_s"] if of == "time" else summary[f"{what}_kmacs_per_pixel"]
        for what in _WHAT
    }
    table = pd.DataFrame(columns).groupby(summary["codec"], sort=False).mean()
    return Costs(table, _OF[of], f"timed: {about}")


def costs_measured(rows: pd.DataFrame) -> Costs:
    """The times of measurements: of all images and points of a codec; others ran beside them."""
    known = rows[rows["error"].isna() & rows["image"].notna()]
    if "searched" in known:
        known = known[~known["searched"]]
    megapixels = (known["width"] * known["height"]).astype("float64") / 1e6
    columns = {what: known[f"{what}_s"].astype("float64") / megapixels for what in _WHAT}
    table = pd.DataFrame(columns).groupby(known["codec"], sort=False).mean()
    return Costs(table, _OF["time"], "times of the run, which were not taken alone")


_OF = {"time": "s/MP", "kmacs": "kMAC/pixel"}
_WHAT = ("encode", "decode")


def front(costs: Sequence[float], saved: Sequence[float]) -> list[int]:
    """Which codecs no other outdoes: none costs as little and saves as much, and is better in one.

    In order of their costs, as positions in the arguments.
    """
    order = sorted(range(len(saved)), key=lambda i: (costs[i], -saved[i]))
    best: list[int] = []
    for i in order:
        if not best or saved[i] > saved[best[-1]]:
            best.append(i)
    return best


def plot_by_complexity(
    measurements: pd.DataFrame,
    anchor: str,
    *,
    costs: Costs | None = None,
    metric: str = "psnr_rgb",
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
    width: Literal["column", "wide"] = "wide",
    labels: Mapping[str, str] | None = None,
    colors: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw BD-rates against an anchor over what encoding and what decoding takes.

    A grey line joins the codecs that no other outdoes. The anchor stands at 0.

    Parameters
    ----------
    costs
        By default the times of the measurements; the title says that they were not taken alone.
    title
        By default data set, images, and where the costs are from.

    See `plots.plot` for the other parameters.

    Warns
    -----
    UserWarning
        Where a codec has no BD-rate or no cost: it is left out.

    Raises
    ------
    SpecError
        For what does not exist, or where the data set is not named.
    UndefinedError
        Where no codec beside the anchor has both.
    """
    of = against(measurements, anchor, codecs, dataset)
    kind = measured_quality(metric, of.averages)
    costs = costs or costs_measured(of.rows)
    rates = bd_rates(of.averages, anchor, kind.name).set_index("codec")["bd_rate_percent"]
    table = costs.table.reindex([anchor, *of.codecs]).assign(percent=rates)
    lost = [
        f"{codec} ({'no BD-rate' if np.isnan(row['percent']) else f'no {costs.unit}'})"
        for codec, row in table.iterrows()
        if row.isna().any()
    ]
    table = table.dropna()
    if table.empty or list(table.index) == [anchor]:
        raise UndefinedError(
            f"No codec beside {anchor} has both a BD-rate on {of.dataset} and a cost in "
            f"{costs.unit}: {', '.join(lost)}."
        )
    if lost:
        warnings.warn(f"Left out of the plot: {', '.join(lost)}.", stacklevel=2)
    called = names_in_figures(measurements, labels)
    styles = styles_in_figures(measurements, colors)
    with mpl.rc_context(STYLE):
        figure = figure_of((SIZES[width][0], 2.6))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, what in zip(panels, _WHAT, strict=True):
            percent_axis(axes, "y")
            own = list(table[what])
            best = table.iloc[front(own, list(-table["percent"]))]
            axes.plot(best[what], best["percent"], color="0.6", zorder=1)
            for codec, row in table.iterrows():
                style = styles[str(codec)] | {"linestyle": "none", "markersize": 6}
                axes.plot(row[what], row["percent"], **style, label=called[str(codec)])
            axes.set(xscale="log", xlabel=f"{what.capitalize()} [{costs.unit}]")
            axes.margins(x=0.15, y=0.12)
            log_axis(axes.xaxis, marks=(1,) if max(own) > _WIDE * min(own) else (1, 2, 5))
        rate = f"BD-rate against {called[anchor]} [%]"
        panels[0].set_ylabel(rate, parse_math=False)
        said = [f"{of.dataset}, {counted(of.averages)}, {kind.label}", costs.about]
        add_title(figure, panels[0], said if title is None else [title])
        add_legend(figure, panels[0], below=True)
    return figure
