"""The picture of how the ranking of codecs depends on the metric: BD-rates, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lic_bench.analysis.curves import aggregate, bd_rates
from lic_bench.errors import SpecError, UndefinedError, check_known
from lic_bench.metric.quality import measured_quality, qualities_in
from lic_bench.reporting.looks import look_of
from lic_bench.reporting.plots import SIZES, STYLE, names_in_figures


def plot_by_metric(
    measurements: pd.DataFrame,
    anchor: str,
    *,
    metrics: Sequence[str] | None = None,
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
) -> Figure:
    """Draw the BD-rate of each codec against an anchor in each metric, ready for `save_plot`.

    Parameters
    ----------
    metrics
        By default all in which a BD-rate is defined. They stand in the order of how far they agree
        with the first: those whose BD-rates are most like its own come first.
    codecs
        By default all.
    dataset
        Needed where the measurements are of several.

    Raises
    ------
    SpecError
        For what does not exist, or where the data set is not named.
    UndefinedError
        Where no codec has a BD-rate.
    """
    averages = aggregate(measurements)
    datasets = list(averages["dataset"].unique())
    if not datasets:
        raise UndefinedError("there are no measurements")
    if dataset is None and len(datasets) > 1:
        raise SpecError(f"Name the data set with --dataset: {', '.join(datasets)}.")
    dataset = dataset or datasets[0]
    check_known("data set", dataset, datasets)
    averages = averages[averages["dataset"] == dataset]
    everyone = list(averages["codec"].unique())
    check_known(f"codec measured on {dataset}", anchor, everyone)
    shown = [codec for codec in codecs or everyone if codec != anchor]
    for codec in shown:
        check_known(f"codec measured on {dataset}", codec, everyone)
    kinds = [measured_quality(name, averages) for name in metrics or ()] or [
        kind for kind in qualities_in(measurements) if not kind.pooled
    ]
    columns = {
        kind.name: bd_rates(averages, anchor, kind.name)
        .set_index("codec")["bd_rate_percent"]
        .reindex(shown)
        for kind in kinds
    }
    table = pd.DataFrame(columns).dropna(axis=1, how="all").dropna(how="all")
    if table.empty:
        raise UndefinedError(f"no codec has a BD-rate against {anchor} on {dataset}")
    ratios = pd.DataFrame(np.log1p(table / 100), table.index, table.columns)
    apart = ratios.sub(ratios.iloc[:, 0], axis=0).abs().mean()
    table = table[list(apart.sort_values(kind="stable").index)]
    names, labels = names_in_figures(measurements), {kind.name: kind.label for kind in kinds}
    places = np.arange(table.shape[1])
    with mpl.rc_context(STYLE):
        width, height = SIZES["wide"]
        figure = Figure((width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0, color="0.4", linewidth=0.8)
        order = table.iloc[:, 0].sort_values(ascending=False, na_position="first").index
        for codec in order:
            axes.plot(
                places,
                ratios.loc[codec, table.columns],
                label=names[codec],
                **look_of(codec).style,
                linewidth=0.8,
            )
        axes.set_xticks(places, [labels[name] for name in table.columns], rotation=40, ha="right")
        for tick in axes.get_xticklabels():
            tick.set_parse_math(False)
        # Half the bits are as far from the anchor as twice the bits.
        low, high = (float(ratios.min().min()), float(ratios.max().max()))
        wanted = [
            -80,
            -70,
            -60,
            -50,
            -40,
            -30,
            -20,
            -10,
            0,
            10,
            25,
            50,
            75,
            100,
            150,
            200,
            400,
            900,
        ]
        ticks = [p for p in wanted if low - 0.05 <= np.log1p(p / 100) <= high + 0.05]
        axes.set_yticks(np.log1p(np.array(ticks) / 100), [f"{p:+d}" if p else "0" for p in ticks])
        axes.set_ylabel(f"BD-rate against {names[anchor]} [%]", parse_math=False)
        images = int(averages["images"].max())
        title = (
            f"{dataset}, {images} image{'s'[: images != 1]}; below 0: fewer bits at equal quality"
        )
        axes.set_title(title, parse_math=False)
        legend = figure.legend(loc="outside right upper")
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure
