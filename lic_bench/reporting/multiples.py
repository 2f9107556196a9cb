"""The picture of how images differ: the curves of each in small axes of its own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lic_bench.analysis.bootstrap import image_curves
from lic_bench.analysis.curves import averages_of_curves, curve
from lic_bench.errors import SpecError, UndefinedError, check_known
from lic_bench.metric.quality import measured_quality
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
from lic_bench.store.selection import only_dataset

_ACROSS = {"column": 4, "wide": 6}  # panels
_DOWN = 0.86  # inches: the height of a panel


def plot_multiples(
    measurements: pd.DataFrame,
    *,
    metric: str = "psnr_rgb",
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
    images: int = 24,
    xlim: tuple[float | None, float | None] | None = None,
    ylim: tuple[float | None, float | None] | None = None,
    width: Literal["column", "wide"] = "wide",
    xscale: Literal["linear", "log"] = "linear",
    labels: Mapping[str, str] | None = None,
    colors: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the rate-distortion curves of each image in small axes of its own, all on one scale.

    Parameters
    ----------
    images
        How many images, at even distances in the order of their names.

    See `plots.plot` for the other parameters.

    Warns
    -----
    UserWarning
        Where points of a codec are on no curve (see `curves.curve`).

    Raises
    ------
    SpecError
        For what does not exist, or where the data set is not named; for fewer than one image.
    UndefinedError
        Where no image has a curve.
    """
    if images < 1:
        raise SpecError(f"curves of {images} images: one at least is wanted")
    if measurements.empty:
        raise UndefinedError("There are no measurements to draw.")
    dataset = only_dataset(measurements, dataset)
    rows = measurements[measurements["dataset"] == dataset]
    averages = averages_of_curves(rows)
    kind = measured_quality(metric, averages)
    everyone = list(averages["codec"].unique())
    for codec in codecs or ():
        check_known(f"codec measured on {dataset}", codec, everyone)
    lines = [curve(averages, dataset, codec, kind.name) for codec in codecs or everyone]
    of_images = set(rows.loc[rows["image"].notna(), "codec"])
    lost = [
        f"{line.codec} ({'; '.join(line.left_out) or 'not measured image by image'})"
        for line in lines
        if line.left_out or line.codec not in of_images
    ]
    split = {
        line.codec: image_curves(rows, line)
        for line in lines
        if line.points and line.codec in of_images
    }
    if not split:
        raise UndefinedError(f"No image of {dataset} has a curve: left out were {', '.join(lost)}.")
    if lost:
        warnings.warn(f"Left out of the plot: {', '.join(lost)}.", stacklevel=2)
    names = sorted({name for one in split.values() for name in one.images})
    at = np.linspace(0, len(names) - 1, min(images, len(names))).round().astype(int)
    shown = [names[i] for i in at]
    called = names_in_figures(measurements, labels)
    styles = styles_in_figures(measurements, colors)
    across = min(_ACROSS[width], len(shown))
    down = -(-len(shown) // across)
    with mpl.rc_context(STYLE | {"xtick.labelsize": 6, "ytick.labelsize": 6}):
        figure = figure_of((SIZES[width][0], 0.85 + _DOWN * down))
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = list(grid.flat)
        for panel in panels[len(shown) :]:
            panel.remove()
        for panel, name in zip(panels, shown, strict=False):
            for codec, one in split.items():
                if name not in one.images:
                    continue
                bpp, values = (part[one.images.index(name)] for part in one.alone())
                style = styles[codec] | {"markersize": 2, "linewidth": 0.8}
                panel.plot(bpp, values, label=called[codec], **style)
            short = PurePath(name).stem
            panel.set_title(short, fontsize=6, pad=2, parse_math=False)
        panels[0].set(xscale=xscale, xlim=xlim, ylim=ylim)
        for column in range(across):
            # The lowest of each column, which may end above the last row.
            lowest = panels[column + across * ((len(shown) - 1 - column) // across)]
            lowest.tick_params(labelbottom=True)
            lowest.set_xlabel("Rate [bpp]", fontsize=6)
            if xscale == "log":
                log_axis(lowest.xaxis, marks=(1,))
            else:
                lowest.xaxis.set_major_locator(MaxNLocator(3))
        figure.supylabel(kind.axis, fontsize=8)
        number = f"{len(shown)} of {len(names)}" if len(shown) < len(names) else str(len(names))
        said = f"{dataset}, {number} image{'s'[: len(names) != 1]}, each by itself"
        add_title(figure, panels[0], [said if title is None else title])
        add_legend(figure, panels[0], below=True)
    return figure
