"""`lic-bench time`: what is asked for, the measurement, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import (
    RESULTS,
    Anchor,
    Codecs,
    Json,
    MetricName,
    OnDataset,
    Plugins,
    Points,
    Quiet,
)
from lic_bench.errors import SpecError

if TYPE_CHECKING:
    from lic_bench.cli.reading import Reading
    from lic_bench.codec.base import Codec, Point
    from lic_bench.execution.timing import Timing
    from lic_bench.images.dataset import ImageFile


def time(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where --plot finds the BD-rates.")
    ] = RESULTS,
    codecs: Codecs = ["jpeg,jpeg2000"],
    dataset: OnDataset = "sample",
    points: Points = [],
    match: Annotated[
        str,
        typer.Option(
            metavar="METRIC=DB",
            help="Of each codec without --points, the operating point nearest to this quality.",
        ),
    ] = "psnr_rgb=32",
    repeats: Annotated[int, typer.Option(min=1, help="How often each image.")] = 5,
    threads: Annotated[
        int, typer.Option(min=1, help="Of each codec: it is held to as many cores.")
    ] = 1,
    images: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the data set; all.")
    ] = None,
    plugin: Plugins = [],
    quiet: Quiet = False,
    json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help=".csv: the table; .json: with every measurement."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw BD-rates, by the measurements of DIR, against time: .png, .pdf or .svg.",
        ),
    ] = None,
    anchor: Anchor = None,
    metric: MetricName = "psnr_rgb",
) -> None:
    """Measure speed: alone, warmed up, repeated, codecs in turns, threads stated.

    Each codec has a process and as many cores as it may have threads; images are given one by one.
    Leave the machine alone meanwhile.

    - `lic-bench time --codecs jpeg,jpeg2000 --dataset kodak --match psnr_rgb=32`
    - `lic-bench time -c jpeg -p 50,90 --threads 2 --out speed.csv`
    - `lic-bench time results/mine -c jpeg,jpeg2000 -d kodak --plot pareto.pdf`
    """
    from lic_bench.execution.timing import time_codecs
    from lic_bench.files import as_json
    from lic_bench.reporting.timings import write

    if out is not None and out.suffix not in (".csv", ".json"):
        raise SpecError(f"{out}: times are written as .csv or .json")
    if plot is None and folder != RESULTS:
        raise SpecError(f"{folder}: DIR is read for --plot alone; --dataset names the images")
    request = _request(codecs, dataset, points, match, images, plugin)
    rates = None if plot is None else _rates(folder, request.dataset, anchor, metric)
    _warn_if_busy()
    with console.bar("timing") as report:
        timing = time_codecs(
            request.codecs,
            request.images,
            points=request.points,
            match=request.target,
            repeats=repeats,
            threads=threads,
            plugins=request.plugins,
            report=report,
        )
    if json:
        console.give(as_json({**timing.conditions, "summary": timing.summary.to_dict("records")}))
    elif not quiet:
        _show(timing, request.dataset)
    if out is not None:
        write(timing, out)
        console.tell(out)
    if plot is not None and rates is not None:
        _draw(timing, rates, metric, request.dataset, plot)
    for problem in timing.problems:
        console.say(f"failed: {problem}", err=True)
    if timing.problems:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Request:
    """What is to be timed, read and checked."""

    codecs: Mapping[str, Codec]
    """By spec."""
    points: Mapping[str, Sequence[Point]]
    """By spec; the codecs without any are timed at the point nearest to the target."""
    target: tuple[str, float]
    """A metric and its value in dB."""
    dataset: str
    images: Sequence[ImageFile]
    plugins: Sequence[Path]


def _request(
    codecs: list[str],
    dataset: str,
    points: list[str],
    match: str,
    images: int | None,
    plugins: list[Path],
) -> _Request:
    from lic_bench.cli.arguments import expand, numbers, points_of
    from lic_bench.codec.registry import Registry
    from lic_bench.images.dataset import load_dataset
    from lic_bench.metric.quality import metric_named

    name, equals, value = match.partition("=")
    if not equals:
        raise SpecError(f"--match {match}: a metric and its value are wanted, as in psnr_rgb=32")
    registry = Registry(plugins)
    by_spec = {spec: registry.codec(spec) for spec in expand(codecs, plugins)}
    loaded = load_dataset(dataset)
    return _Request(
        by_spec,
        points_of(by_spec, points),
        (metric_named(name).name, numbers("--match", value)[0]),
        loaded.name,
        [image for image in loaded.images if image.error is None][:images],
        [path.resolve() for path in plugins],
    )


def _rates(folder: Path, dataset: str, anchor: str | None, metric: str) -> Reading:
    """What the times are to be drawn against, checked before anything is timed."""
    from lic_bench.cli.reading import read
    from lic_bench.metric.quality import metric_named

    found = read([str(folder)], datasets=[dataset], anchor=anchor)
    metric_named(metric)
    return found


def _draw(timing: Timing, rates: Reading, metric: str, dataset: str, path: Path) -> None:
    from lic_bench.reporting.complexity import costs_timed, plot_by_complexity
    from lic_bench.reporting.plots import save_plot
    from lic_bench.reporting.timings import how

    timed = list(timing.summary["codec"].unique())
    measured = set(rates.table["codec"])
    for spec in timed:
        if spec not in measured:
            console.note(f"{spec} was not measured: not drawn")
    with console.notes():
        figure = plot_by_complexity(
            rates.table,
            rates.any_anchor,
            costs=costs_timed(timing.summary, how(timing.summary, timing.conditions)),
            metric=metric,
            codecs=[spec for spec in timed if spec in measured],
            dataset=dataset,
        )
    save_plot(figure, path)
    console.tell(path)


def _warn_if_busy() -> None:
    from lic_bench.execution.timing import BUSY, load_average

    load = load_average()
    if load > BUSY:
        console.say(
            f"Warning: the machine is busy (load average {load:.1f}): times will be too long. "
            "Let it come to rest, then repeat the command.",
            err=True,
        )


def _show(timing: Timing, dataset: str) -> None:
    from rich.markup import escape

    from lic_bench.reporting.timings import title

    summary = timing.summary
    quality = summary.columns[3]
    counted = summary["encode_kmacs_per_pixel"].notna().any()
    columns = ("codec", "point", "bpp", quality.removesuffix("_db"), "encode", "MP/s")
    more = ("decode", "MP/s", "MB", *["kMAC/pixel"] * counted)
    table = console.plain_table(*columns, *more, title=escape(title(timing, dataset)))
    for row in summary.to_dict("records"):
        cells = [str(row["point"]), f"{row['bpp']:.3f}", f"{row[quality]:.2f}"]
        for what in ("encode", "decode"):
            spread = row[f"{what}_mad_percent"]
            about = "" if spread != spread else f" ±{spread:.0f}%"
            cells += [f"{_seconds(row[f'{what}_s'])}{about}", f"{row[f'{what}_mp_s']:.3g}"]
        memory = row["peak_memory_mb"]
        cells.append("" if memory != memory else f"{memory:.0f}")
        if counted:
            macs = row["encode_kmacs_per_pixel"], row["decode_kmacs_per_pixel"]
            cells.append("" if macs[0] != macs[0] else f"{macs[0]:.3g} + {macs[1]:.3g}")
        table.add_row(escape(row["codec"]), *cells)
    console.output(console.WIDE).print(table)
    console.say(
        "Of an image: the mean over the images of the median repetition, ± median deviation. "
        "MB: by how much the process grew at most."
    )


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
