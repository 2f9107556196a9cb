"""The options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lic_bench.cli.complete import (
    complete_codecs,
    complete_datasets,
    complete_metrics,
    complete_qualities,
)
from lic_bench.cli.console import QUIET

RESULTS = Path("results/mine")
"""Where results are kept unless a command says otherwise."""

_METRICS = (
    "psnr_rgb, psnr_rgb_pooled, psnr_y, psnr_y709, ssim_rgb, ssim_y, ms_ssim_rgb, ms_ssim_y, or "
    "another that was measured"
)

# Which codecs.
CodecSpec = Annotated[
    str,
    typer.Option(
        "--codec",
        "-c",
        metavar="SPEC",
        help="With its options: jpeg:subsampling=4:4:4.",
        autocompletion=complete_codecs,
    ),
]
Codecs = Annotated[
    list[str],
    typer.Option(
        "--codecs",
        "-c",
        metavar="SPECS",
        help="Separated by commas; or all.",
        autocompletion=complete_codecs,
    ),
]
PointsOf = Annotated[
    list[str],
    typer.Option(
        "--points",
        "-p",
        metavar="[SPEC=]POINTS",
        help="Only these operating points: 10,50 or 10:90 or :50, of all codecs or, after SPEC=, "
        "of one.",
    ),
]
OnlyCodecs = Annotated[
    list[str],
    typer.Option(
        "--codecs",
        "-c",
        metavar="SPECS",
        help="Only these codecs, separated by commas.",
        autocompletion=complete_codecs,
    ),
]
Points = Annotated[
    list[str],
    typer.Option(
        "--points",
        "-p",
        metavar="[SPEC=]POINTS",
        help="Operating points: 10,50,90 or 10:90:20, for all codecs or, after SPEC=, for one.",
    ),
]
Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugin", metavar="FILE", help="Further codecs and metrics, in a Python or TOML file."
    ),
]
Anchor = Annotated[
    str | None,
    typer.Option(metavar="SPEC", help="The anchor of the BD-rates; jpeg, or the first codec."),
]
Published = Annotated[
    list[str],
    typer.Option(
        metavar="NAMES", help="Curves that others published, separated by commas, beside ours."
    ),
]

# Which images.
_ON_DATASET = typer.Option(
    "--dataset",
    "-d",
    metavar="NAME|PATH",
    help="A known data set, or a folder of images.",
    autocompletion=complete_datasets,
)
OnDataset = Annotated[str, _ON_DATASET]
OnDatasets = Annotated[list[str], _ON_DATASET]
OriginalsOf = Annotated[
    list[str],
    typer.Option(
        "--dataset",
        "-d",
        metavar="NAME|PATH",
        help="Only these data sets, as they were given to the run. The originals of a folder "
        "are found by its path alone.",
        autocompletion=complete_datasets,
    ),
]
OfDataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        "-d",
        metavar="NAME",
        help="Needed where there are several.",
        autocompletion=complete_datasets,
    ),
]
OfDatasets = Annotated[
    list[str],
    typer.Option(
        "--dataset",
        "-d",
        metavar="NAME",
        help="Only these data sets.",
        autocompletion=complete_datasets,
    ),
]

# Which figures.
MetricName = Annotated[
    str,
    typer.Option(
        "--metric", "-m", metavar="NAME", help=f"{_METRICS}.", autocompletion=complete_qualities
    ),
]
MetricNames = Annotated[
    list[str],
    typer.Option(
        "--metric",
        "-m",
        metavar="NAMES",
        help=f"{_METRICS}; several separated by commas.",
        autocompletion=complete_qualities,
    ),
]

Metrics = Annotated[
    list[str],
    typer.Option(
        "--metrics",
        metavar="SPECS",
        help="Further metrics, separated by commas; `lic-bench metrics` lists what there is.",
        autocompletion=complete_metrics,
    ),
]

# Where results lie.
Folder = Annotated[
    Path, typer.Argument(metavar="[DIR]", help="The folder that `lic-bench run --out` wrote.")
]
Folders = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]DIR",
        help="What `lic-bench run --out` wrote; several folders are shown together.",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where results are kept.")]

Labels = Annotated[
    list[str],
    typer.Option(
        "--label", metavar="CODEC=NAME", help="What to call a codec; repeat it for others."
    ),
]

Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def _quiet(wanted: bool) -> bool:
    """Remember for all that the command calls."""
    QUIET.set(wanted)
    return wanted


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=_quiet, help="Show nothing but what went wrong."),
]

# How the work is done.
Device = Annotated[str, typer.Option(help="Where the metrics are computed: cpu, cuda, cuda:1.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, help="Worker processes; by default one for each core."),
]
Timeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        help="For one encode, decode or picture; what takes longer fails. 0: no limit.",
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        metavar="GB",
        min=0,
        help="For one process, on Linux; 0: no limit. By default most of the machine's, or no "
        "limit with a GPU.",
    ),
]


def _debug(context: typer.Context, wanted: bool) -> bool:
    """Remember for all of the command line, whichever command was given the option."""
    context.meta[DEBUG] = wanted or context.meta.get(DEBUG, False)
    return bool(context.meta[DEBUG])


DEBUG = "lic_bench.debug"
"""Under this key `Context.meta` says whether tracebacks are wanted."""
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        envvar="LIC_BENCH_DEBUG",
        callback=_debug,
        help="Show errors with their tracebacks.",
    ),
]
