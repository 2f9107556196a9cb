"""Codecs against an anchor on one data set: what figures of it begin with, and their axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from lic_bench.analysis.curves import averages_of_curves
from lic_bench.errors import UndefinedError, check_known
from lic_bench.store.selection import only_dataset


@dataclass(frozen=True)
class Against:
    """What is drawn against what."""

    rows: pd.DataFrame
    """The measurements on the data set."""
    averages: pd.DataFrame
    """See `curves.averages_of_curves`."""
    dataset: str
    anchor: str
    codecs: tuple[str, ...]
    """Without the anchor."""


def against(
    measurements: pd.DataFrame, anchor: str, codecs: Sequence[str] | None, dataset: str | None
) -> Against:
    """Find what is to be drawn; by default all codecs, on the one data set that there is.

    Raises
    ------
    SpecError
        For what does not exist, or where the data set is not named.
    UndefinedError
        Where there are no measurements, or of the anchor alone.
    """
    if measurements.empty:
        raise UndefinedError("There are no measurements to draw.")
    dataset = only_dataset(measurements, dataset)
    rows = measurements[measurements["dataset"] == dataset]
    averages = averages_of_curves(rows)
    everyone = list(averages["codec"].unique())
    for codec in (anchor, *(codecs or ())):
        check_known(f"codec measured on {dataset}", codec, everyone)
    shown = tuple(codec for codec in codecs or everyone if codec != anchor)
    if not shown:
        raise UndefinedError(f"There is no codec beside {anchor} on {dataset} to set against it.")
    return Against(rows, averages, dataset, anchor, shown)


# Differences of rate in per cent that a wide axis is marked at, from 0 on.
_LESS = (-10, -20, -30, -40, -50, -60, -70, -80, -90, -95)
_MORE = (10, 25, 50, 100, 200, 400, 900, 1900, 4900, 9900)
_NARROW = 60  # per cent: axes of less are marked at even steps
_ALL = -99.99  # no rate is less than nothing


def percent_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis one of differences of rate in per cent, on a logarithmic scale of the rate.

    Half the bits (-50 %) are as far from the anchor as twice the bits (+100 %).
    """
    scale: Any = {"functions": (_log_ratio, _percent)}
    axes.set(**{f"{which}scale": "linear"})
    (axes.set_xscale if which == "x" else axes.set_yscale)("function", **scale)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(_PercentLocator())
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda percent, _: percent_text(percent)))


def percent_text(percent: float) -> str:
    """A difference of rate as axes show it: ``+25``, ``−50``, ``0``."""
    return f"{percent:+g}".replace("-", "−") if percent else "0"


def _log_ratio(percent: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log1p(np.maximum(percent, _ALL) / 100))


def _percent(log_ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(100 * np.expm1(log_ratio))


class _PercentLocator(Locator):
    """Round differences of rate, at most some ten of them, with 0 where it is shown."""

    def __call__(self) -> Sequence[float]:
        low, high = self.axis.get_view_interval()  # type: ignore[union-attr]
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        low, high = sorted((max(vmin, _ALL), max(vmax, _ALL)))
        if high - low < _NARROW:
            steps = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
            return [float(step) for step in steps if low <= step <= high]
        least = np.log((100 + high) / (100 + low)) / 10
        marks = [0.0]
        for outwards in (_LESS, _MORE):
            last = 0.0
            for percent in outwards:
                if abs(np.log((100 + percent) / (100 + last))) >= least:
                    last = percent
                    marks.append(last)
        return [percent for percent in sorted(marks) if low <= percent <= high]
