"""`lic-bench plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lic_bench.cli import console
from lic_bench.cli.options import (
    RESULTS,
    Anchor,
    Folders,
    Labels,
    MetricName,
    OfDataset,
    OnlyCodecs,
    PointsOf,
    Published,
    Quiet,
)
from lic_bench.errors import SpecError, check_known

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lic_bench.cli.reading import Reading


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
    wide: Annotated[
        bool | None,
        typer.Option(
            "--wide/--column", help="Two columns wide, or one; by default as the figure needs."
        ),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic axis of bpp.")] = False,
    multiples: Annotated[
        bool, typer.Option("--multiples", help="The curves of each image, in axes of its own.")
    ] = False,
    images: Annotated[
        int, typer.Option(min=1, help="With --multiples: so many images, evenly chosen.")
    ] = 24,
    by_metric: Annotated[
        bool, typer.Option("--by-metric", help="Instead of curves: BD-rates, in every metric.")
    ] = False,
    by_image: Annotated[
        bool, typer.Option("--by-image", help="Instead of curves: the BD-rate of each image.")
    ] = False,
    by_quality: Annotated[
        bool,
        typer.Option("--by-quality", help="Instead of curves: the rate saved at each quality."),
    ] = False,
    by_complexity: Annotated[
        str | None,
        typer.Option(
            metavar="time|kmacs",
            help="Instead of curves: BD-rates against what codecs take, in time or in kMAC/pixel.",
        ),
    ] = None,
    times: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --by-complexity: what `lic-bench time --out FILE` wrote; by default the "
            "times of the run, which were not taken alone.",
        ),
    ] = None,
    anchor: Anchor = None,
    label: Labels = [],
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instead of data set, images, averaging.")
    ] = None,
    no_title: Annotated[bool, typer.Option("--no-title", help="Nothing above the axes.")] = False,
    quiet: Quiet = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help=".png, .pdf or .svg; DIR/METRIC.png by default."
        ),
    ] = None,
) -> None:
    """Draw rate-distortion curves, or what follows from them, fit for a paper.

    The --by-... figures set codecs against --anchor, on a logarithmic scale of the rate.

    - `lic-bench plot --metric ms_ssim_rgb`
    - `lic-bench plot results/mine -c jpeg,jpeg2000 -d kodak --xlim 0,1.5 -o figure.pdf`
    - `lic-bench plot -d kodak --published vtm,bpg_444_x265_ycbcr,webp@tfc`
    - `lic-bench plot results/mine theirs=results/from-them -p jpeg=10:90`
    - `lic-bench plot --label content-weighted=Ours --no-title -o figure.pdf`
    - `lic-bench plot -d kodak --multiples --images 12 --log`
    - `lic-bench plot -d kodak --by-metric --anchor jpeg2000 -o bd-rates.png`
    - `lic-bench plot -d kodak --by-image --anchor jpeg --column -o by-image.pdf`
    - `lic-bench plot -d kodak --by-complexity time --times speed.json -o complexity.pdf`
    """
    from lic_bench.cli.arguments import bounds, labelled, names
    from lic_bench.cli.reading import beside, read
    from lic_bench.metric.quality import metric_named
    from lic_bench.reporting import plots

    asked = {
        "--multiples": multiples,
        "--by-metric": by_metric,
        "--by-image": by_image,
        "--by-quality": by_quality,
        "--by-complexity": by_complexity is not None,
    }
    kind = _kind([name for name, wanted in asked.items() if wanted])
    given = {"--published": published, "--xlim": xlim, "--ylim": ylim, "--log": log}
    _check_fits(kind, [name for name, value in {**given, "--times": times}.items() if value])
    of = [] if dataset is None else [dataset]
    found = read(folders, codecs=codecs, datasets=of, points=points, anchor=anchor)
    name = metric_named(metric).name
    options: dict[str, Any] = {
        "metric": name,
        "codecs": found.codecs,
        "labels": labelled(label),
        "title": "" if no_title else title,
    }
    if wide is not None:
        options["width"] = "wide" if wide else "column"
    if kind in (_CURVES, "--multiples"):
        scale = "log" if log else "linear"
        limits = {"xlim": bounds("--xlim", xlim), "ylim": bounds("--ylim", ylim)}
        options |= {**limits, "xscale": scale}
    if kind == _CURVES:
        options["published"] = names(published)
    if kind == "--multiples":
        options["images"] = images
    with console.notes():
        if by_complexity is not None:
            drawn: Axes | Figure = _complexity(found, by_complexity, times, options)
        else:
            drawn = _drawn(kind, found, options)
    usual = {_CURVES: name, "--by-metric": "bd-rates"}.get(kind, f"{kind.strip('-')}-{name}")
    path = out or beside(folders) / f"{usual}.png"
    plots.save_plot(drawn, path)
    console.tell(path)


_CURVES = "curves"
_FITS = {
    "--published": (_CURVES,),
    **dict.fromkeys(("--xlim", "--ylim", "--log"), (_CURVES, "--multiples")),
    "--times": ("--by-complexity",),
}
"""Options that are not of every figure."""


def _kind(asked: list[str]) -> str:
    if len(asked) > 1:
        raise SpecError(f"{' and '.join(asked)} are of different figures: give one of them")
    return asked[0] if asked else _CURVES


def _check_fits(kind: str, given: list[str]) -> None:
    for option in given:
        if kind not in _FITS[option]:
            where = " and ".join(_FITS[option]).replace(_CURVES, "the figure of curves")
            raise SpecError(f"{option} is of {where}, not of {kind.replace(_CURVES, 'curves')}")


def _drawn(kind: str, found: Reading, options: dict[str, Any]) -> Axes | Figure:
    """Every figure but that of complexity."""
    if kind == _CURVES:
        from lic_bench.reporting.plots import plot as plot_curves

        return plot_curves(found.table, **options)
    if kind == "--multiples":
        from lic_bench.reporting.multiples import plot_multiples

        return plot_multiples(found.table, **options)
    if kind == "--by-image":
        from lic_bench.reporting.by_image import plot_by_image

        return plot_by_image(found.table, found.any_anchor, **options)
    if kind == "--by-quality":
        from lic_bench.reporting.by_quality import plot_by_quality

        return plot_by_quality(found.table, found.any_anchor, **options)
    from lic_bench.reporting.by_metric import plot_by_metric

    del options["metric"]  # it is of all
    return plot_by_metric(found.table, found.any_anchor, **options)


def _complexity(found: Reading, of: str, times: Path | None, options: dict[str, Any]) -> Figure:
    from lic_bench.reporting import complexity, timings

    check_known("cost of codecs", of, ("time", "kmacs"))
    costs = None
    if times is not None:
        costs = complexity.costs_timed(*timings.read(times), of)
    elif of != "time":
        raise SpecError(f"--by-complexity {of} needs --times FILE, as `lic-bench time` writes it")
    return complexity.plot_by_complexity(found.table, found.any_anchor, costs=costs, **options)
