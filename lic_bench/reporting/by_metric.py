"""The picture of how the ranking of codecs depends on the metric: BD-rates, metric by metric."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lic_bench.analysis.curves import bd_rates
from lic_bench.errors import UndefinedError
from lic_bench.metric.quality import measured_quality, qualities_in
from lic_bench.reporting.against import against, percent_axis
from lic_bench.reporting.plots import (
    SIZES,
    add_legend,
    add_title,
    drawing,
    names_in_figures,
    styles_in_figures,
)
from lic_bench.reporting.tables import counted


def plot_by_metric(
    measurements: pd.DataFrame,
    anchor: str,
    *,
    metrics: Sequence[str] | None = None,
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
    width: Literal["column", "wide"] = "wide",
    ax: Axes | None = None,
    labels: Mapping[str, str] | None = None,
    colors: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the BD-rate of each codec against an anchor in each metric, ready for `save_plot`.

    Parameters
    ----------
    metrics
        By default all in which a BD-rate is defined. They stand in the order of how far they agree
        with the first: those whose BD-rates are most like its own come first.

    See `plots.plot` for the other parameters.

    Warns
    -----
    UserWarning
        Where a codec has no BD-rate in any metric: it is left out.

    Raises
    ------
    SpecError
        For what does not exist, or where the data set is not named.
    UndefinedError
        Where no codec has a BD-rate.
    """
    of = against(measurements, anchor, codecs, dataset)
    kinds = [measured_quality(name, of.averages) for name in metrics or ()] or [
        kind for kind in qualities_in(measurements) if not kind.pooled
    ]
    columns = {
        kind.name: bd_rates(of.averages, anchor, kind.name)
        .set_index("codec")["bd_rate_percent"]
        .reindex(of.codecs)
        for kind in kinds
    }
    every = pd.DataFrame(columns)
    table = every.dropna(axis=1, how="all").dropna(how="all")
    if table.empty:
        raise UndefinedError(f"no codec has a BD-rate against {anchor} on {of.dataset}")
    if lost := ", ".join(every.index.difference(table.index, sort=False)):
        warnings.warn(f"Left out of the plot: {lost} (no BD-rate).", stacklevel=2)
    ratios = pd.DataFrame(np.log1p(table / 100), table.index, table.columns)
    apart = ratios.sub(ratios.iloc[:, 0], axis=0).abs().mean()
    table = table[list(apart.sort_values(kind="stable").index)]
    called = names_in_figures(measurements, labels)
    styles = styles_in_figures(measurements, colors)
    names = {kind.name: kind.label for kind in kinds}
    places = np.arange(table.shape[1])
    with drawing(ax, SIZES[width]) as (own, axes):
        percent_axis(axes, "y")
        axes.axhline(0, color="0.4", linewidth=0.8, zorder=1)
        order = table.iloc[:, 0].sort_values(ascending=False, na_position="first").index
        for codec in order:
            style = styles[codec] | {"linewidth": 0.8}
            axes.plot(places, table.loc[codec], label=called[codec], **style)
        axes.set_xticks(places, [names[name] for name in table.columns], rotation=40, ha="right")
        for tick in axes.get_xticklabels():
            tick.set_parse_math(False)
        axes.set_ylabel(f"BD-rate against {called[anchor]} [%]", parse_math=False)
        said = f"{of.dataset}, {counted(of.averages)}; negative: fewer bits at equal quality"
        add_title(own, axes, [said if title is None else title])
        add_legend(own, axes, below=True)
    return axes
