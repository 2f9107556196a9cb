"""The commands `compare`, `table` and `time`: what they take, and how they show what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lic_bench.errors import SpecError

if TYPE_CHECKING:
    from lic_bench.analysis.comparison import Comparison, Delta
    from lic_bench.execution.timing import Timing

Store = Annotated[
    Path, typer.Option("--in", metavar="DIR", help="The store in which a bare SPEC is found.")
]
Metrics = Annotated[
    list[str],
    typer.Option(
        "--metric",
        "-m",
        metavar="NAMES",
        help="psnr_rgb, psnr_rgb_pooled, psnr_y, psnr_y709, ssim_rgb, ssim_y, ms_ssim_rgb or "
        "ms_ssim_y; several separated by commas.",
    ),
]
OnDataset = Annotated[
    str | None, typer.Option("--dataset", "-d", help="Needed where there are several.")
]
_RESULTS = Path("results/mine")


def compare(
    anchor: Annotated[
        str, typer.Argument(metavar="A", help="The anchor: DIR, DIR:SPEC, SPEC or published:NAME.")
    ],
    test: Annotated[str, typer.Argument(metavar="B", help="What is compared with it; likewise.")],
    folder: Store = _RESULTS,
    metric: Metrics = ["psnr_rgb,ms_ssim_rgb"],
    dataset: OnDataset = None,
    fail_if: Annotated[
        list[str],
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="End with exit code 1 if this holds for any codec, or is undefined: NAME < <= > "
            ">= NUMBER. Names: bd_rate_METRIC (%) and bd_METRIC (dB), METRIC as for --metric or "
            "psnr, ssim, ms_ssim for those of RGB; with _low, _high (of the interval), _mean, "
            "_worst (of the images), _akima.",
        ),
    ] = [],
    level: Annotated[
        float, typer.Option(min=50, max=99.9, help="Of the confidence intervals, in per cent.")
    ] = 95,
    resamples: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="How often images are drawn anew.")
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="A .json file, with every image."),
    ] = None,
) -> None:
    """Compare two codecs, or two stores, on the same images: B against A.

    BD-rates are of the mean curves, by PCHIP, with a confidence interval from a bootstrap over the
    images: positive is worse. Beside it: the mean of the images' own BD-rates, and Akima's method.
    Exit code 1: a condition of --fail-if holds. Exit code 2: nothing could be compared.

    - `lic-bench compare jpeg jpeg2000`
    - `lic-bench compare results/main results/branch --fail-if "bd_rate_psnr > 0.5"`
    - `lic-bench compare published:bpg_444_x265_ycbcr results/mine:hevc -m psnr_rgb`
    """
    from lic_bench.analysis import comparison
    from lic_bench.metrics.quality import metric_named

    conditions = [comparison.condition(text) for text in fail_if]
    names = [metric_named(name).name for name in _listed(metric)]
    names = list(dict.fromkeys([*names, *(one.metric for one in conditions)]))
    if out is not None and out.suffix != ".json":
        raise SpecError(f"{out}: a comparison is written as .json")
    pairs = comparison.pairs(comparison.sides(anchor, folder), comparison.sides(test, folder))
    made = [
        comparison.compare_sides(
            *pair, metric=name, dataset=dataset, level=level / 100, resamples=resamples, seed=seed
        )
        for pair in pairs
        for name in names
    ]
    _show_comparisons(made, level)
    if out is not None:
        _write_json(out, {"level": level, "seed": seed, "resamples": resamples,
                          "comparisons": [one.as_json() for one in made]})  # fmt: skip
        typer.echo(out)
    failed = comparison.failures(made, conditions)
    for line in failed:
        typer.echo(f"failed: {line}", err=True)
    if failed:
        raise typer.Exit(1)
    if conditions:
        typer.echo("passed: nowhere " + " nor ".join(one.text for one in conditions))


def _show_comparisons(made: Sequence[Comparison], level: float) -> None:
    console = _console()
    interval = f"{level:g} % interval"
    for pair in dict.fromkeys((one.anchor, one.test) for one in made):
        own = [one for one in made if (one.anchor, one.test) == pair]
        images = f"{own[0].images} images, paired" if own[0].images else "of averages"
        console.print(
            f"{own[0].test} against {own[0].anchor}: {own[0].dataset}, {images}", markup=False
        )
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("", "BD-rate %", interval, "images", "Akima", "BD dB", interval):
            table.add_column(name, justify="right" if name else "left", no_wrap=True)
        for one in own:
            table.add_row(
                one.metric,
                _signed(one.rate.value),
                _interval(one.rate),
                _signed(one.rate.mean) if one.images else "",
                _signed(one.rate.akima),
                _signed(one.quality.value),
                _interval(one.quality),
            )
        console.print(table)
        for note in dict.fromkeys(line for one in own for line in _notes(one)):
            console.print(note, markup=False)
    typer.echo(
        "BD-rate: of the mean curves, by PCHIP; images: the mean of the images' own; "
        "BD dB: the metric at equal rate (BD-PSNR)."
    )


def _notes(one: Comparison) -> list[str]:
    """What a reader of a comparison's row must know."""
    from lic_bench.analysis import comparison

    name = f"{one.test}, {one.metric}"
    lines = []
    if one.rate.reason is not None:
        lines.append(f"{name}: BD-rate undefined: {one.rate.reason}")
    elif one.overlap < comparison.OVERLAP:
        lines.append(
            f"Warning: {name}: the curves share only {100 * one.overlap:.0f} % of their range of "
            "quality: the BD-rate says nothing of the rest"
        )
    for what, delta in (("BD-rate", one.rate), ("BD-quality", one.quality)):
        if delta.disagrees:
            lines.append(
                f"Warning: {name}: PCHIP and Akima disagree on the {what}: {delta.value:+z.2f} and "
                f"{delta.akima:+z.2f} {delta.unit}, more than "
                f"{comparison.DISAGREEMENT[delta.unit]:g} apart: the points are too few or too far "
                "apart to tell"
            )
    if one.images and one.rate.reason is None and one.rate.low != one.rate.low:
        lines.append(
            f"{name}: no interval: there must be 3 images, and a BD-rate in 99 % of the resamples"
        )
    apart = one.per_image[one.per_image["outlier"]]
    if len(apart):
        median = one.per_image["bd_rate_percent"].median()
        listed = ", ".join(
            f"{row.image} {row.bd_rate_percent:+z.1f} %" for row in apart.itertuples()
        )
        lines.append(
            f"{name}: outliers: {listed}; the median is {median:+z.1f} % "
            "(modified z-score over 3.5)"
        )
    return [*lines, *one.notes]


def _signed(value: float) -> str:
    return f"{value:+z.2f}" if value == value else "undefined"


def _interval(delta: Delta) -> str:
    if delta.low != delta.low:
        return ""
    return f"{_signed(delta.low)} to {_signed(delta.high)}"


def _console() -> Console:
    """A console wide enough for our tables, in the log of a build, too: no figure is cut."""
    return Console(highlight=False, soft_wrap=True, width=max(Console().width, 120))


def table(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder that `lic-bench run --out` wrote.")
    ] = _RESULTS,
    anchor: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="The anchor of the BD-rates; jpeg, or the first codec."),
    ] = None,
    points: Annotated[
        bool, typer.Option("--points", help="Every operating point instead of BD-rates.")
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
        bool, typer.Option("--interval", help="95 % confidence intervals beside the BD-rates.")
    ] = False,
    metric: Metrics = ["psnr_rgb,ms_ssim_rgb"],
    codecs: Annotated[
        list[str],
        typer.Option("--codecs", "-c", metavar="SPECS", help="Separated by commas; all."),
    ] = [],
    dataset: OnDataset = None,
    layout: Annotated[
        str | None,
        typer.Option("--format", "-f", help="markdown, latex or csv; as FILE's suffix says."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help=".md, .tex or .csv; the terminal."),
    ] = None,
) -> None:
    """Make a table for a paper: BD-rates, operating points, or quality at given rates.

    LaTeX needs the package booktabs.

    - `lic-bench table --anchor jpeg --metric psnr_rgb,ms_ssim_rgb`
    - `lic-bench table --points --metric all --out points.csv`
    - `lic-bench table results/mine -d kodak --at 0.25,0.5,1 --out rates.tex`
    - `lic-bench table -d kodak --match bpp=0.25 --format latex`
    """
    from lic_bench.codec.spec import split_specs
    from lic_bench.errors import check_known
    from lic_bench.files import atomic_write
    from lic_bench.metrics.quality import QUALITIES
    from lic_bench.metrics.targets import parse_target
    from lic_bench.reporting import tables
    from lic_bench.store.table import load

    chosen = layout or _FORMATS.get(out.suffix if out else ".md", "")
    if not chosen:
        raise SpecError(f"{out}: the name of a table ends in {', '.join(_FORMATS)}; or --format")
    check_known("format", chosen, tables.FORMATS)
    if sum((points, at is not None, match is not None, interval)) > 1:
        raise SpecError(
            "--points, --at, --match and --interval are of different tables: give one of them"
        )
    names = _listed(metric)
    specs = [spec for text in codecs for spec in split_specs(text)]
    measurements = load(folder, [*specs, anchor or ""])
    shared: dict[str, Any] = {
        "metrics": list(QUALITIES) if names == ["all"] else names,
        "codecs": specs or None,
        "dataset": dataset,
    }
    if points:
        made = tables.points_table(measurements, **shared)
    elif at is not None:
        made = tables.rates_table(measurements, _numbers("--at", at), **shared)
    elif match is not None:
        made = tables.match_table(measurements, parse_target(match), anchor=anchor, **shared)
    else:
        measured = list(measurements["codec"].unique())
        default = "jpeg" if "jpeg" in measured or not measured else measured[0]
        made = tables.bd_rate_table(measurements, anchor or default, intervals=interval, **shared)
    text = tables.FORMATS[chosen](made)
    for note in made.notes:
        typer.echo(f"Note: {note}", err=True)
    if out is None:
        typer.echo(text, nl=False)
        return
    with atomic_write(out) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    typer.echo(out)


def time(
    codecs: Annotated[
        list[str],
        typer.Option(
            "--codecs", "-c", metavar="SPECS", help="Codecs, separated by commas; or all."
        ),
    ] = ["jpeg,jpeg2000"],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "-d", metavar="NAME|PATH", help="A known data set, or a folder of images."
        ),
    ] = "sample",
    points: Annotated[
        list[str],
        typer.Option(
            "--points",
            "-p",
            metavar="[SPEC=]POINTS",
            help="Operating points, as for run; for the other codecs --match holds.",
        ),
    ] = [],
    match: Annotated[
        str,
        typer.Option(metavar="METRIC=DB", help="Of each codec, the point nearest to this quality."),
    ] = "psnr_rgb=32",
    repeats: Annotated[int, typer.Option(min=1, help="How often each image.")] = 5,
    threads: Annotated[
        int, typer.Option(min=1, help="Of each codec: it is held to as many cores.")
    ] = 1,
    images: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the data set; all.")
    ] = None,
    plugin: Annotated[
        list[Path],
        typer.Option("--plugin", metavar="FILE", help="Further codecs, in a Python or TOML file."),
    ] = [],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help=".csv: the table; .json: with every measurement."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw rate saved against time: .png, .pdf or .svg."),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--in", metavar="DIR", help="The store of the BD-rates of --plot.")
    ] = _RESULTS,
    anchor: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Of these BD-rates; jpeg, or the first.")
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", "-m", help="Of these BD-rates; see compare.")
    ] = "psnr_rgb",
) -> None:
    """Measure speed: alone, warmed up, repeated, codecs in turns, threads stated.

    Each codec has a process and as many cores as it may have threads; images are given one by one.
    Leave the machine alone meanwhile.

    - `lic-bench time --codecs jpeg,jpeg2000 --dataset kodak --match psnr_rgb=32`
    - `lic-bench time -c jpeg -p 50,90 --threads 2 --out speed.csv`
    - `lic-bench time -c jpeg,jpeg2000 -d kodak --plot pareto.pdf --in results/mine`
    """
    from lic_bench.cli.specs import expand, points_by_spec
    from lic_bench.codec.registry import Registry
    from lic_bench.codec.spec import parse_points
    from lic_bench.execution import timing
    from lic_bench.images.dataset import load_dataset
    from lic_bench.metrics.quality import metric_named

    if out is not None and out.suffix not in (".csv", ".json"):
        raise SpecError(f"{out}: times are written as .csv or .json")
    name, equals, value = match.partition("=")
    if not equals:
        raise SpecError(f"--match {match}: a metric and its value are wanted, as in psnr_rgb=32")
    target = (metric_named(name).name, _numbers("--match", value)[0])
    registry = Registry(plugin)
    made = {spec: registry.codec(spec) for spec in expand(codecs, plugin)}
    texts = points_by_spec(points)
    for spec in texts:
        if spec and spec not in made:
            raise SpecError(f"points are given for {spec!r}, which is none of the codecs")
    chosen = {
        spec: parse_points(codec, given)
        for spec, codec in made.items()
        if (given := texts.get(spec, texts.get(""))) is not None
    }
    loaded = load_dataset(dataset)
    files = [image for image in loaded.images if image.error is None][:images]
    rates = None if plot is None else _bd_rates(folder, loaded.name, anchor, metric)
    load = timing.load_average()
    if load > timing.BUSY:
        typer.echo(
            f"Warning: the machine is busy (load average {load:.1f}): times will be too long. "
            "Let it come to rest, then repeat the command.",
            err=True,
        )
    with _bar() as report:
        found = timing.time_codecs(
            made,
            files,
            points=chosen,
            match=target,
            repeats=repeats,
            threads=threads,
            plugins=[path.resolve() for path in plugin],
            report=report,
        )
    what = f"{loaded.name}, {len(files)} image{'s'[: len(files) != 1]}"
    held = f"{threads} thread{'s'[: threads != 1]}, {repeats} repetition{'s'[: repeats != 1]}"
    _show_times(found, f"{what}; {held}; {found.conditions['processor']}")
    if out is not None:
        _write_times(found, out)
        typer.echo(out)
    if plot is not None and rates is not None:
        from lic_bench.reporting.pareto import plot_pareto
        from lic_bench.reporting.plots import save_plot

        label = metric_named(metric).label.removesuffix(" [dB]")
        against, by_codec = rates
        title = f"{what}; BD-rate against {against}; {held}; {found.conditions['processor']}"
        for spec in found.summary["codec"].unique():
            if spec not in by_codec:
                typer.echo(f"Note: {spec} has no BD-rate in {folder}: not drawn", err=True)
        save_plot(plot_pareto(found.summary, by_codec, title=title, metric=label), plot)
        typer.echo(plot)
    for problem in found.problems:
        typer.echo(f"failed: {problem}", err=True)
    if found.problems:
        raise typer.Exit(1)


def _bd_rates(
    folder: Path, dataset: str, anchor: str | None, metric: str
) -> tuple[str, dict[str, float]]:
    """The anchor, and the defined BD-rates of a store by codec, in per cent."""
    from lic_bench.analysis.curves import aggregate, bd_rates
    from lic_bench.errors import check_known
    from lic_bench.store.table import load

    averages = aggregate(load(folder, [anchor or ""]))
    check_known(f"data set measured in {folder}", dataset, averages["dataset"].unique())
    averages = averages[averages["dataset"] == dataset]
    codecs = list(averages["codec"].unique())
    against = anchor or ("jpeg" if "jpeg" in codecs else codecs[0])
    found = bd_rates(averages, against, metric).dropna(subset="bd_rate_percent")
    return against, dict(zip(found["codec"], found["bd_rate_percent"], strict=True))


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of progress, where there is a terminal; it moves between measurements only."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, auto_refresh=False, disable=not console.is_terminal) as bars:
        bar = bars.add_task("timing", total=None)

        def report(done: int, planned: int) -> None:
            bars.update(bar, completed=done, total=planned, refresh=True)

        yield report


def _show_times(found: Timing, title: str) -> None:
    summary = found.summary
    quality = summary.columns[3]
    columns = [
        "point",
        "bpp",
        quality.removesuffix("_db"),
        "encode",
        "MP/s",
        "decode",
        "MP/s",
        "MB",
    ]
    counted = summary["encode_kmacs_per_pixel"].notna().any()
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", title=escape(title))
    table.add_column("codec", overflow="fold")
    for name in columns + ["kMAC/pixel"] * counted:
        table.add_column(name, justify="right", no_wrap=True)
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
    _console().print(table)
    typer.echo(
        "Of an image: the mean over the images of the median repetition, ± median deviation. "
        "MB: by how much the process grew at most."
    )


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def _write_times(found: Timing, path: Path) -> None:
    from lic_bench.files import atomic_write

    if path.suffix == ".csv":
        with atomic_write(path) as part:
            found.summary.to_csv(part, index=False)
        return
    frames = {"summary": found.summary, "samples": found.samples}
    rows = {
        name: [
            {key: None if value != value else value for key, value in row.items()}
            for row in frame.to_dict("records")
        ]
        for name, frame in frames.items()
    }
    _write_json(path, {**found.conditions, **rows, "problems": found.problems})


_FORMATS = {".md": "markdown", ".tex": "latex", ".csv": "csv"}


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SpecError(f"{option} {text}: numbers are wanted, as in 0.25,0.5,1") from None


def _listed(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _write_json(path: Path, value: object) -> None:
    import json

    from lic_bench.files import atomic_write

    with atomic_write(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
