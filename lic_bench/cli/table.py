"""`lic-bench table`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lic_bench.cli import console
from lic_bench.cli.options import (
    RESULTS,
    Anchor,
    Folders,
    Labels,
    MetricNames,
    OfDataset,
    OnlyCodecs,
    PointsOf,
    Quiet,
)
from lic_bench.errors import SpecError

_FORMATS = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}
"""Of a table, by the suffix of its file."""


def table(
    folders: Folders = [str(RESULTS)],
    anchor: Anchor = None,
    by_point: Annotated[
        bool, typer.Option("--by-point", help="Every operating point instead of BD-rates.")
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="RATES", help="Quality at these rates in bpp instead: 0.25,0.5,1."),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            metavar="bpp=RATE|METRIC=DB",
            help="Each image at the point that `run --match` found for this rate or quality.",
        ),
    ] = None,
    interval: Annotated[
        bool,
        typer.Option("--interval", help="With 95 % confidence intervals: -42.6 [-49.3, -33.7]."),
    ] = False,
    metric: MetricNames = ["psnr_rgb,ms_ssim_rgb"],
    codecs: OnlyCodecs = [],
    dataset: OfDataset = None,
    points: PointsOf = [],
    label: Labels = [],
    layout: Annotated[
        str | None,
        typer.Option("--format", "-f", help="markdown, latex, csv or json; as FILE's suffix says."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    quiet: Quiet = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help=".md, .tex, .csv or .json; - or nothing: the terminal.",
        ),
    ] = None,
) -> None:
    """Make a table for a paper: BD-rates, operating points, or quality at given rates.

    LaTeX needs the package booktabs.

    - `lic-bench table --anchor jpeg --metric psnr_rgb,ms_ssim_rgb`
    - `lic-bench table --by-point --metric all --out points.csv`
    - `lic-bench table results/mine -d kodak --at 0.25,0.5,1 --out rates.tex`
    - `lic-bench table ours=results/mine theirs=results/from-them -p jpeg=10:90`
    - `lic-bench table -d kodak --match bpp=0.25 --format latex`
    - `lic-bench table --interval --label content-weighted=Ours --out bd-rates.tex`
    """
    from lic_bench.cli.arguments import labelled, names, numbers
    from lic_bench.cli.reading import read
    from lic_bench.errors import check_known
    from lic_bench.metric.quality import qualities_with_figures
    from lic_bench.metric.targets import parse_target
    from lic_bench.reporting import tables

    layout = "json" if json else layout
    chosen = layout or _FORMATS.get(out.suffix if out and out != console.TERMINAL else ".md", "")
    if not chosen:
        raise SpecError(f"{out}: the name of a table ends in {', '.join(_FORMATS)}; or --format")
    check_known("format", chosen, tables.FORMATS)
    if sum((by_point, at is not None, match is not None, interval)) > 1:
        raise SpecError(
            "--by-point, --at, --match and --interval are of different tables: give one of them"
        )
    metrics = names(metric)
    of = [] if dataset is None else [dataset]
    found = read(folders, codecs=codecs, datasets=of, points=points, anchor=anchor)
    measurements = found.table
    shared: dict[str, Any] = {
        "metrics": [one.name for one in qualities_with_figures(measurements)]
        if metrics == ["all"]
        else metrics,
        "codecs": found.codecs,
        "labels": labelled(label),
    }
    if by_point:
        paper = tables.points_table(measurements, **shared)
    elif at is not None:
        paper = tables.rates_table(measurements, numbers("--at", at), **shared)
    elif match is not None:
        paper = tables.match_table(measurements, parse_target(match), anchor=found.anchor, **shared)
    else:
        paper = tables.bd_rate_table(measurements, found.any_anchor, intervals=interval, **shared)
    for note in paper.notes:
        console.note(note)
    console.give(tables.FORMATS[chosen](paper), out)
