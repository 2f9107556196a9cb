"""Measurements shown: `load`, `select`, averages, tables, comparisons, figures, `report`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lic_bench.analysis import curves
from lic_bench.analysis.anchor import USUAL, anchor_of_curves
from lic_bench.python.codecs import listed
from lic_bench.python.points import Points, as_numbers, as_texts, typed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lic_bench.analysis.comparison import Comparison
    from lic_bench.analysis.interpolation import Method
    from lic_bench.execution.timing import Timing
    from lic_bench.reporting.tables import PaperTable


def load(
    *folders: str | Path, codecs: str | Iterable[str] = (), **stores: str | Path
) -> pd.DataFrame:
    """Load measurements: of every data set and codec of a store, as the latest runs saw them.

    Parameters
    ----------
    folders
        What ``lic-bench run --out`` wrote. Several are one table, in which a codec that differs is
        called after its folder; or, given as ``ours="results/mine"``, after that name.
    codecs
        Only these, in any spelling; those such as ``"jpeg@1"`` are earlier states of a codec.

    Returns
    -------
    One row for each image, codec and operating point; `lic_bench.store.table` explains the columns.
    Points that are numbers are numbers.

    Raises
    ------
    StoreError
        Where there is no store, or it cannot be read.
    SpecError
        Where there is no such codec, or no such state of it.
    """
    from lic_bench.store.selection import select as select_texts
    from lic_bench.store.together import load_together, named

    texts = [*map(str, folders), *(f"{name}={path}" for name, path in stores.items())]
    wanted = listed(codecs)
    table = load_together(named(texts or ["results/mine"]), wanted)
    return as_numbers(select_texts(table, codecs=wanted))


def select(
    measurements: pd.DataFrame,
    *,
    codecs: str | Iterable[str] = (),
    datasets: str | Iterable[str] = (),
    images: str | Iterable[str] = (),
    points: Points | None = None,
) -> pd.DataFrame:
    """Select measurements by the names that people type; see `lic_bench.store.selection.select`."""
    from lic_bench.store.selection import select as select_texts

    chosen = select_texts(
        as_texts(measurements),
        codecs=listed(codecs),
        datasets=listed(datasets),
        images=listed(images),
        points=typed(points),
    )
    return as_numbers(chosen)


def export(measurements: pd.DataFrame, path: str | Path) -> None:
    """Write measurements to a ``.parquet`` or ``.csv`` file; see `lic_bench.store.table.export`."""
    from lic_bench.store.table import export as export_texts

    export_texts(as_texts(measurements), path)


def aggregate(measurements: pd.DataFrame) -> pd.DataFrame:
    """Average the images of each data set; see `lic_bench.analysis.curves.aggregate`."""
    return as_numbers(curves.aggregate(as_texts(measurements)))


def curve(
    measurements: pd.DataFrame, dataset: str, codec: str, metric: str = "psnr_rgb"
) -> curves.Curve:
    """One curve of measurements, or of their averages; see `lic_bench.analysis.curves.curve`."""
    return curves.curve(_averaged(measurements), dataset, codec, metric)


def bd_rates(
    measurements: pd.DataFrame,
    anchor: str = USUAL,
    metric: str = "psnr_rgb",
    method: Method = "pchip",
) -> pd.DataFrame:
    """Compare every codec with the anchor; see `lic_bench.analysis.curves.bd_rates`."""
    return curves.bd_rates(_averaged(measurements), anchor, metric, method)


def table(
    measurements: pd.DataFrame,
    *,
    anchor: str | None = None,
    metrics: str | Sequence[str] = ("psnr_rgb", "ms_ssim_rgb"),
    codecs: str | Sequence[str] = (),
    dataset: str | None = None,
    interval: bool = False,
    by_point: bool = False,
    at: Sequence[float] | None = None,
    match: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> PaperTable:
    """Make a table for a paper, as ``lic-bench table`` does: by default of BD-rates.

    Parameters
    ----------
    anchor
        By default jpeg, or else the first codec.
    interval
        95 % confidence intervals beside the BD-rates.
    by_point
        Every operating point instead.
    at
        Quality at these rates, in bits per pixel, instead.
    match
        Each image at the point that a search found for this target, instead.
    labels
        What codecs are called, by spec; by default their specs.

    Returns
    -------
    Its methods `markdown`, `latex` and `csv` give texts, its `frame` the figures.

    Raises
    ------
    LicBenchError
        Where something does not exist, or there is nothing to show.
    """
    from lic_bench.metric.targets import parse_target
    from lic_bench.reporting import tables

    rows, chosen = as_texts(measurements), list(listed(codecs)) or None
    options: dict[str, Any] = {"metrics": listed(metrics), "codecs": chosen, "dataset": dataset}
    options["labels"] = labels
    if by_point:
        return tables.points_table(rows, **options)
    if at is not None:
        return tables.rates_table(rows, list(at), **options)
    if match is not None:
        return tables.match_table(rows, parse_target(match), anchor=anchor, **options)
    return tables.bd_rate_table(
        rows, anchor or anchor_of_curves(rows), intervals=interval, **options
    )


def compare(
    measurements: pd.DataFrame | str | Path,
    anchor: str,
    test: str,
    *,
    metric: str = "psnr_rgb",
    dataset: str | None = None,
    level: float = 0.95,
) -> Comparison:
    """Compare two codecs on the same images, with confidence intervals: `test` against `anchor`.

    Parameters
    ----------
    measurements
        As `load` returns them, or a folder, of which ``"jpeg@1"`` is an earlier state of a codec. A
        codec may be ``published:NAME``, too.

    Returns
    -------
    Its `rate` and `quality` are the Bjøntegaard deltas, with `value`, `low` and `high`; `per_image`
    is a table of the images.

    Raises
    ------
    SpecError
        Where there is no such codec, metric or data set.
    UndefinedError
        Where the two have no image in common.
    """
    from lic_bench.analysis.comparison import PUBLISHED, Side, compare_sides
    from lic_bench.errors import SpecError, find_known
    from lic_bench.store.table import load as load_texts

    if not 0 < level < 1:
        raise SpecError(f"level={level!r} is no share: an interval of 95 % is level=0.95")
    if not isinstance(measurements, pd.DataFrame):
        measurements = load_texts(measurements, (anchor, test))
    rows, sides = as_texts(measurements), []
    for name in (anchor, test):
        if name.startswith(PUBLISHED):
            sides.append(Side(name, name.removeprefix(PUBLISHED)))
            continue
        codec = find_known("measured codec", name, rows["codec"].unique())
        sides.append(Side(codec, codec, rows[rows["codec"] == codec]))
    return compare_sides(*sides, metric=metric, dataset=dataset, level=level)


def plot(measurements: pd.DataFrame, **options: Any) -> Axes:
    """Draw rate-distortion curves; see `lic_bench.reporting.plots.plot` for the options.

    `save_plot` writes what it returns: axes that more can be drawn in.
    """
    from lic_bench.reporting import plots

    return plots.plot(as_texts(measurements), **_drawn(options))


def plot_multiples(measurements: pd.DataFrame, **options: Any) -> Figure:
    """Draw each image's curves; see `lic_bench.reporting.multiples.plot_multiples`."""
    from lic_bench.reporting import multiples

    return multiples.plot_multiples(as_texts(measurements), **_drawn(options))


def plot_by_metric(measurements: pd.DataFrame, anchor: str | None = None, **options: Any) -> Axes:
    """Draw BD-rates, metric by metric; see `lic_bench.reporting.by_metric.plot_by_metric`."""
    from lic_bench.reporting import by_metric

    rows = as_texts(measurements)
    return by_metric.plot_by_metric(rows, anchor or anchor_of_curves(rows), **_drawn(options))


def plot_by_image(measurements: pd.DataFrame, anchor: str | None = None, **options: Any) -> Axes:
    """Draw the BD-rate of each image; see `lic_bench.reporting.by_image.plot_by_image`."""
    from lic_bench.reporting import by_image

    rows = as_texts(measurements)
    return by_image.plot_by_image(rows, anchor or anchor_of_curves(rows), **_drawn(options))


def plot_by_quality(measurements: pd.DataFrame, anchor: str | None = None, **options: Any) -> Axes:
    """Draw rates at each quality; see `lic_bench.reporting.by_quality.plot_by_quality`."""
    from lic_bench.reporting import by_quality

    rows = as_texts(measurements)
    return by_quality.plot_by_quality(rows, anchor or anchor_of_curves(rows), **_drawn(options))


def plot_by_complexity(
    measurements: pd.DataFrame,
    anchor: str | None = None,
    *,
    times: Timing | str | Path | None = None,
    of: str = "time",
    **options: Any,
) -> Figure:
    """Draw BD-rates over what codecs take.

    See `lic_bench.reporting.complexity.plot_by_complexity` for the options.

    Parameters
    ----------
    times
        What `time` returned, or the file that ``lic-bench time --out`` wrote. By default the times
        of the measurements, which were not taken alone.
    of
        ``time``; or ``kmacs``, multiplications with addition for each pixel, which `times` of
        networks have.
    """
    from lic_bench.errors import SpecError
    from lic_bench.reporting import complexity, timings

    costs = None
    if isinstance(times, str | Path):
        costs = complexity.costs_timed(*timings.read(Path(times)), of)
    elif times is not None:
        about = timings.how(times.summary, times.conditions)
        costs = complexity.costs_timed(times.summary, about, of)
    elif of != "time":
        raise SpecError(f"{of} of codecs are in no measurements: give times=")
    rows = as_texts(measurements)
    return complexity.plot_by_complexity(
        rows, anchor or anchor_of_curves(rows), costs=costs, **_drawn(options)
    )


def _drawn(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a figure, in which one codec may stand for several, and none for all."""
    return {**options, "codecs": listed(options.get("codecs")) or None}


def report(
    *folders: str | Path,
    out: str | Path | None = None,
    codecs: str | Iterable[str] = (),
    datasets: str | Path | Iterable[str | Path] = (),
    points: Points | None = None,
    published: str | Iterable[str] = (),
    viewer: bool = True,
    images: int = 24,
    max_size_mb: float = 60,
) -> Path:
    """Make one HTML file of curves, BD-rates, images and pictures, as ``lic-bench report`` does.

    Parameters
    ----------
    folders
        What runs left; by default ``results/mine``. Several are one report, in which a codec that
        differs is called after its folder; or, given as ``"ours=results/mine"``, after that name.
    out
        The file; ``report.html`` in the (first) folder by default.
    datasets
        As they were given to the run; the originals of a folder are found by its path alone.
    viewer
        Whether pictures are put into it: of so many images of each data set, and up to so many MB.

    Returns
    -------
    The file.

    Raises
    ------
    LicBenchError
        Where something does not exist, or cannot be written.
    """
    from lic_bench.cli.reading import beside
    from lic_bench.cli.report import report as make

    texts = [str(folder) for folder in folders] or ["results/mine"]
    path = Path(out) if out is not None else beside(texts) / "report.html"
    make(
        texts,
        codecs=list(listed(codecs)),
        dataset=list(listed(datasets)),
        points=[f"{codec}={','.join(own)}".lstrip("=") for codec, own in typed(points).items()],
        published=list(listed(published)),
        viewer=viewer,
        images=images,
        max_size=max_size_mb,
        out=path,
    )
    return path


def _averaged(measurements: pd.DataFrame) -> pd.DataFrame:
    rows = as_texts(measurements)
    return curves.averages_of_curves(rows) if "image" in rows else rows
