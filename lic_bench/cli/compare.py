"""`lic-bench compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import RESULTS, MetricNames, OfDataset, PointsOf, Quiet
from lic_bench.errors import SpecError

if TYPE_CHECKING:
    from lic_bench.analysis.comparison import Comparison, Delta


def compare(
    anchor: Annotated[
        str, typer.Argument(metavar="A", help="The anchor: DIR, DIR:SPEC, SPEC or published:NAME.")
    ],
    test: Annotated[str, typer.Argument(metavar="B", help="What is compared with it; likewise.")],
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where a SPEC is looked for.")
    ] = RESULTS,
    metric: MetricNames = ["psnr_rgb,ms_ssim_rgb"],
    dataset: OfDataset = None,
    points: PointsOf = [],
    fail_if: Annotated[
        list[str],
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="End with exit code 1 if this holds for any codec, or is undefined: NAME < <= > "
            ">= NUMBER. Names: bd_rate_METRIC (%) and bd_METRIC (in its unit), METRIC as for "
            "--metric; with _low, _high (of the interval), _mean, _worst (of the images), _akima.",
        ),
    ] = [],
    level: Annotated[
        float, typer.Option(min=50, max=99.9, help="Of the confidence intervals, in per cent.")
    ] = 95,
    resamples: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="How often images are drawn anew.")
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    quiet: Quiet = False,
    json: Annotated[bool, typer.Option("--json", help="As --out -.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="A .json file, with every image; -: the terminal."
        ),
    ] = None,
) -> None:
    """Compare two codecs, or two stores, on the same images: B against A.

    BD-rates are of the mean curves, by PCHIP, with a confidence interval from a bootstrap over the
    images: positive is worse. Beside it: the mean of the images' own BD-rates, and Akima's method.
    Exit code 1: a condition of --fail-if holds. Exit code 2: nothing could be compared.

    - `lic-bench compare jpeg jpeg2000`
    - `lic-bench compare jpeg webp results/mine --points jpeg=10:90`
    - `lic-bench compare results/main results/branch --fail-if "bd_rate_psnr > 0.5"`
    - `lic-bench compare published:bpg_444_x265_ycbcr results/mine:hevc -m psnr_rgb`
    """
    from lic_bench.analysis import comparison
    from lic_bench.cli.arguments import names, points_by_spec
    from lic_bench.files import as_json
    from lic_bench.metric.quality import metric_named

    out = console.TERMINAL if json else out
    pairs = comparison.pairs(
        *(
            comparison.at_points(comparison.sides(text, folder), points_by_spec(points))
            for text in (anchor, test)
        )
    )
    conditions = [comparison.condition(text) for text in fail_if]
    metrics = [metric_named(name).name for name in names(metric)]
    metrics = list(dict.fromkeys([*metrics, *(condition.metric for condition in conditions)]))
    if out is not None and out != console.TERMINAL and out.suffix != ".json":
        raise SpecError(f"{out}: a comparison is written as .json")
    comparisons = [
        comparison.compare_sides(
            *pair, metric=name, dataset=dataset, level=level / 100, resamples=resamples, seed=seed
        )
        for pair in pairs
        for name in metrics
    ]
    if out != console.TERMINAL and not quiet:
        _show(comparisons, level)
    if out is not None:
        rows = [each.as_json() for each in comparisons]
        settings = {"level": level, "seed": seed, "resamples": resamples}
        console.give(as_json({**settings, "comparisons": rows}), out)
    failures = comparison.failures(comparisons, conditions)
    for line in failures:
        console.say(f"failed: {line}", err=True)
    if failures:
        raise typer.Exit(1)
    if conditions and not quiet:
        listed = " nor ".join(condition.text for condition in conditions)
        console.say(f"passed: nowhere {listed}", err=out == console.TERMINAL)


def _show(comparisons: Sequence[Comparison], level: float) -> None:
    output = console.output(console.WIDE)
    interval = f"{level:g} % interval"
    for pair in dict.fromkeys((each.anchor, each.test) for each in comparisons):
        rows = [each for each in comparisons if (each.anchor, each.test) == pair]
        images = max(row.images for row in rows)
        of = ""  # unknown where no metric has two curves
        if images:
            of = f", {images} image{'s'[: images > 1]}, paired"
        elif any(row.rate.reason is None or row.quality.reason is None for row in rows):
            of = ", of averages"
        output.print(
            f"{rows[0].test} against {rows[0].anchor}: {rows[0].dataset}{of}", markup=False
        )
        table = console.plain_table("", "BD-rate %", interval, "images", "Akima", "BD", interval)
        for row in rows:
            table.add_row(
                row.metric,
                _signed(row.rate.value),
                _interval(row.rate),
                _signed(row.rate.mean) if row.images else "",
                _signed(row.rate.akima),
                _signed(row.quality.value, row.quality.unit),
                _interval(row.quality),
            )
        output.print(table)
        for note in dict.fromkeys(line for row in rows for line in _notes(row)):
            output.print(note, markup=False)
    console.say(
        "BD-rate: of the mean curves, by PCHIP; images: the mean of the images' own; "
        "BD: the metric at equal rate, in its unit (BD-PSNR)."
    )


def _notes(comparison: Comparison) -> list[str]:
    """What a reader of a comparison's row must know."""
    from lic_bench.analysis.curves import little_shared

    name = f"{comparison.test}, {comparison.metric}"
    lines = []
    if comparison.rate.reason is not None:
        lines.append(f"{name}: BD-rate undefined: {comparison.rate.reason}")
    warnings = [] if comparison.rate.reason else [little_shared(comparison.overlap)]
    warnings += [comparison.rate.disagreement("BD-rate")]
    warnings += [comparison.quality.disagreement("BD-quality")]
    lines += [f"Warning: {name}: {warning}" for warning in warnings if warning]
    if (
        comparison.images
        and comparison.rate.reason is None
        and comparison.rate.low != comparison.rate.low
    ):
        lines.append(
            f"{name}: no interval: there must be 3 images, and a BD-rate in 99 % of the resamples"
        )
    apart = comparison.per_image[comparison.per_image["outlier"]]
    if len(apart):
        median = comparison.per_image["bd_rate_percent"].median()
        listed = ", ".join(
            f"{row.image} {row.bd_rate_percent:+z.1f} %" for row in apart.itertuples()
        )
        lines.append(
            f"{name}: outliers: {listed}; the median is {median:+z.1f} % "
            "(modified z-score over 3.5)"
        )
    return [*lines, *comparison.notes]


def _signed(value: float, unit: str = "%") -> str:
    digits = 2 if unit in ("%", "dB") else 4
    return f"{value:+z.{digits}f}" if value == value else "undefined"


def _interval(delta: Delta) -> str:
    if delta.low != delta.low:
        return ""
    return f"{_signed(delta.low, delta.unit)} to {_signed(delta.high, delta.unit)}"
