"""`lic-bench plot`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import (
    RESULTS,
    Anchor,
    Folders,
    MetricName,
    OfDataset,
    OnlyCodecs,
    PointsOf,
    Published,
)


def plot(
    folders: Folders = [str(RESULTS)],
    metric: MetricName = "psnr_rgb",
    codecs: OnlyCodecs = [],
    dataset: OfDataset = None,
    points: PointsOf = [],
    xlim: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Range of bpp; 0,2 or 0, or ,2.")
    ] = None,
    ylim: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Range of the metric.")
    ] = None,
    published: Published = [],
    wide: Annotated[bool, typer.Option("--wide", help="Two columns wide instead of one.")] = False,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic axis of bpp.")] = False,
    by_metric: Annotated[
        bool,
        typer.Option(
            "--by-metric", help="BD-rates against --anchor, in every metric, instead of curves."
        ),
    ] = False,
    anchor: Anchor = None,
    label: Annotated[
        list[str],
        typer.Option(metavar="CODEC=NAME", help="What a codec is called in the figure; again."),
    ] = [],
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instead of data set, images, averaging.")
    ] = None,
    no_title: Annotated[bool, typer.Option("--no-title", help="Nothing above the axes.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help=".png, .pdf or .svg; DIR/METRIC.png."),
    ] = None,
) -> None:
    """Draw rate-distortion curves, fit for a paper.

    - `lic-bench plot --metric ms_ssim_rgb`
    - `lic-bench plot results/mine -c jpeg,jpeg2000 -d kodak --xlim 0,1.5 -o figure.pdf`
    - `lic-bench plot -d kodak --published vtm,bpg_444_x265_ycbcr,webp@tfc`
    - `lic-bench plot results/mine theirs=results/from-them -p jpeg=10:90`
    - `lic-bench plot --label content-weighted=Ours --no-title -o figure.pdf`
    - `lic-bench plot -d kodak --by-metric --anchor jpeg2000 -o bd-rates.png`
    """
    from lic_bench.cli.arguments import bounds, labelled, names
    from lic_bench.cli.reading import beside, read
    from lic_bench.metric.quality import full_name
    from lic_bench.reporting import plots

    of = [] if dataset is None else [dataset]
    found = read(folders, codecs=codecs, datasets=of, points=points, anchor=anchor)
    if by_metric:
        from lic_bench.reporting.by_metric import plot_by_metric

        figure = plot_by_metric(found.table, found.any_anchor, codecs=found.codecs)
        path = out or beside(folders) / "bd-rates.png"
        plots.save_plot(figure, path)
        console.say(path)
        return
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        axes = plots.plot(
            found.table,
            metric=metric,
            codecs=found.codecs,
            xlim=bounds("--xlim", xlim),
            ylim=bounds("--ylim", ylim),
            width="wide" if wide else "column",
            xscale="log" if log else "linear",
            published=names(published),
            labels=labelled(label),
            title="" if no_title else title,
        )
    for warning in notes:
        console.note(warning.message)
    path = out or beside(folders) / f"{full_name(metric)}.png"
    plots.save_plot(axes, path)
    console.say(path)
