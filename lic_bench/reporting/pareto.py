"""The picture of what a codec's time buys: rate saved against the time that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lic_bench.errors import UndefinedError
from lic_bench.reporting.looks import look_of
from lic_bench.reporting.plots import SIZES, STYLE


def front(seconds: Sequence[float], saved: Sequence[float]) -> list[int]:
    """Which codecs no other outdoes: none is as fast and saves as much, and is better in one.

    In order of their time, as positions in the arguments.
    """
    order = sorted(range(len(saved)), key=lambda i: (seconds[i], -saved[i]))
    best: list[int] = []
    for i in order:
        if not best or saved[i] > saved[best[-1]]:
            best.append(i)
    return best


def plot_pareto(
    summary: pd.DataFrame, bd_rates: Mapping[str, float], *, title: str, metric: str
) -> Figure:
    """Draw rate saved against time of encoding and of decoding, ready for `plots.save_plot`.

    Parameters
    ----------
    summary
        From `timing.time_codecs`. Where a codec was timed at several points, the mean of their
        times is drawn.
    bd_rates
        BD-rate in per cent by codec, from a store; codecs without one are left out.
    title
        What was measured, and where.
    metric
        Of the BD-rates, for the axis.

    Raises
    ------
    UndefinedError
        Where no codec has both a time and a BD-rate.
    """
    known = [
        codec for codec in summary["codec"].unique() if not np.isnan(bd_rates.get(codec, np.nan))
    ]
    if not known:
        raise UndefinedError("no codec that was timed has a BD-rate: nothing to draw")
    saved = [-bd_rates[codec] for codec in known]
    with mpl.rc_context(STYLE):
        width, height = SIZES["wide"]
        figure = Figure((width, 0.75 * height), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, what in zip(panels, ("encode", "decode"), strict=True):
            by_codec = (1 / summary[f"{what}_mp_s"]).groupby(summary["codec"]).mean()
            seconds = [float(by_codec[codec]) for codec in known]
            best = front(seconds, saved)
            axes.plot([seconds[i] for i in best], [saved[i] for i in best], color="0.6", zorder=1)
            for codec, x, y in zip(known, seconds, saved, strict=True):
                style = look_of(codec).style | {"linestyle": "none"}
                axes.plot(x, y, **style, markersize=6, label=codec)
            axes.set(xscale="log", xlabel=f"{what.capitalize()} [s/MP]")
            axes.margins(x=0.15, y=0.12)
            wide = max(seconds) > 30 * min(seconds)
            axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        panels[0].set_ylabel(f"Rate saved, {metric} [%]")
        figure.suptitle(title, fontsize=7, parse_math=False)
        _legend(figure, panels[0])
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(labels)), handlelength=1
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
