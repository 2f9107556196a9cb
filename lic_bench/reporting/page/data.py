"""What the page shows of the measurements, as JSON.

The browser draws and sorts; all that it computes is an image's quality between two points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from lic_bench.analysis import published_curves
from lic_bench.analysis.bootstrap import ImageCurves, image_curves, interval, resamples
from lic_bench.analysis.curves import (
    Curve,
    aggregate,
    averages_of_curves,
    bd_rate,
    bd_rate_percents_of,
    curve,
    prepared,
)
from lic_bench.errors import SpecError, UndefinedError
from lic_bench.metric.quality import Quality, qualities_in, qualities_with_figures
from lic_bench.reporting.looks import look_of
from lic_bench.reporting.page.tags import tags
from lic_bench.store.table import display_names

Json = dict[str, Any]

_ONE_BY_ONE = 400  # images: a page with the figures of ten thousand would take minutes to open
_FAILURES = 1000
_RESAMPLES, _LEVEL = 500, 0.95  # of every pair in every metric
_OF_CURVES = ("curves", "bd", "bdRange")


def gather(
    measurements: pd.DataFrame, runs: Sequence[Mapping[str, object]], published: Sequence[str] = ()
) -> Json:
    """Gather what the page shows, the pictures aside.

    Parameters
    ----------
    measurements
        As `lic_bench.store.table.load` returns them.
    runs
        As `Store.runs` returns them.
    published
        Names of published curves that are shown on the data sets that have them; see
        `lic_bench.analysis.published_curves.curve`.

    Returns
    -------
    What can be written as JSON: no NaN, no infinity; `None` stands for what is not defined.

    Raises
    ------
    UndefinedError
        Where there are no measurements.
    SpecError
        Where a curve is published on none of the data sets, or a data set only has the name of the
        one that it is published on.
    """
    if measurements.empty:
        raise UndefinedError("There are no measurements to report.")
    aggregated = averages_of_curves(measurements)
    datasets = list(aggregated["dataset"].unique())
    for dataset in datasets if published else ():
        published_curves.check_images(measurements, dataset)
    for name in published:
        if not any(
            _published(name, dataset, one.name)
            for dataset in datasets
            for one in qualities_in(measurements)
        ):
            published_curves.curve(name, datasets[0])  # says why
    names = display_names(measurements)
    made_by = measurements["run"].value_counts()
    failed = measurements[measurements["error"].notna()]
    return {
        "metrics": [
            {
                "name": one.name,
                "label": one.axis,
                "title": one.label,
                "unit": one.unit,
                "digits": one.digits(aggregated[one.value]),
                "better": one.better,
                "rule": one.rule,
            }
            for one in qualities_with_figures(measurements)
        ],
        "codecs": [
            {
                "name": names[spec],
                "spec": spec,
                "imported": names[spec] != spec,
                "look": list(astuple(look_of(spec))),
            }
            for spec in aggregated["codec"].unique()
        ]
        + [{"name": f"{name} (published)", "published": True} for name in published],
        "datasets": [_dataset(measurements, aggregated, name, published) for name in datasets],
        "failed": len(failed),
        "failures": failed[["dataset", "image", "codec", "point", "error"]][:_FAILURES].to_dict(
            "records"
        ),
        "runs": [{**run, "measurements": int(made_by.get(run["run"], 0))} for run in runs],
    }


def _dataset(
    measurements: pd.DataFrame, aggregated: pd.DataFrame, name: str, published: Sequence[str]
) -> Json:
    rows = measurements[measurements["dataset"] == name]
    # The table goes codec by codec, and in each of its points by the images' order.
    images = rows[rows["image"].notna()].drop_duplicates("image")
    measured_images = len(images)
    if measured_images > _ONE_BY_ONE:
        chosen = np.linspace(0, measured_images - 1, _ONE_BY_ONE).astype(int)
        images = images.iloc[chosen]
    names = list(images["image"])
    shown = rows[rows["image"].isin(names)]
    codecs = list(aggregated["codec"].unique())
    of_images = set(rows.loc[rows["image"].notna(), "codec"])
    figures: Json = {name: {} for name in (*_OF_CURVES, "byImage", "bdByImage")}
    for one in qualities_in(measurements):
        drawn, split = _averaged(aggregated, shown, name, codecs, one, published)
        for what, value in drawn.items():
            figures[what][one.name] = value
        figures["byImage"][one.name] = [_by_image(line, names) for line in split]
        figures["bdByImage"][one.name] = _bd_by_image(split, names, one.sign)
    return {
        "name": name,
        "size": int(rows["dataset_images"].max()),
        "measured": measured_images,
        "averages": [
            i for i, codec in enumerate(codecs) if codec in set(rows["codec"]) - of_images
        ],
        "images": [
            {"name": row.image, "width": _number(row.width), "height": _number(row.height)}
            for row in images.itertuples()
        ],
        "tags": [
            _tagged(tag, rows[rows["image"].isin(some)], names, codecs)
            for tag, some in tags(rows).items()
        ],
        **figures,
    }


def _tagged(tag: str, rows: pd.DataFrame, names: Sequence[str], codecs: Sequence[str]) -> Json:
    """The averaged curves of the images with a tag, without published ones: they are of all images.

    `rows` are of these images alone, `names` of the images that the page shows.
    """
    images = set(rows["image"])
    shown = rows[rows["image"].isin(names)]
    aggregated = aggregate(rows)
    figures: Json = {what: {} for what in _OF_CURVES}
    for one in qualities_in(rows):
        drawn, _ = _averaged(aggregated, shown, rows["dataset"].iloc[0], codecs, one, ())
        for what, value in drawn.items():
            figures[what][one.name] = value
    return {
        "name": tag,
        "size": len(images),
        "images": [i for i, name in enumerate(names) if name in images],
        **figures,
    }


def _averaged(
    aggregated: pd.DataFrame,
    shown: pd.DataFrame,
    dataset: str,
    codecs: Sequence[str],
    quality: Quality,
    published: Sequence[str],
) -> tuple[Json, list[ImageCurves | None]]:
    """The curves of each codec and the BD-rates between them; and the images one by one."""
    metric, sign = quality.name, quality.sign
    measured = set(aggregated.loc[aggregated["dataset"] == dataset, "codec"])
    of_images = set(shown.loc[shown["image"].notna(), "codec"])
    curves = [curve(aggregated, dataset, c, metric) if c in measured else None for c in codecs]
    split = [
        image_curves(shown, line)
        if line is not None and line.points and line.codec in of_images
        else None
        for line in curves
    ]
    every = [*curves, *(_published(other, dataset, metric) for other in published)]
    figures: Json = {
        "curves": [_curve(line, aggregated) for line in every],
        "bd": _bds(every, sign),
        "bdRange": _ranges(split, len(every), sign),
    }
    return figures, split


def _published(name: str, dataset: str, metric: str) -> Curve | None:
    try:
        return published_curves.curve(name, dataset, metric)
    except (SpecError, UndefinedError):
        return None


def _curve(line: Curve | None, aggregated: pd.DataFrame) -> Json | None:
    if line is None:
        return None
    points = aggregated[
        (aggregated["dataset"] == line.dataset) & (aggregated["codec"] == line.codec)
    ].set_index("point")
    times: Json = {}
    for column in ("encode_s", "decode_s"):
        known = points[column]
        times[column] = [_number(known.get(point, np.nan), 4) for point in line.points]
    return {
        "points": list(line.points),
        "bpp": _numbers(line.bpp),
        "value": _numbers(line.value),
        **times,
        "leftOut": list(line.left_out),
    }


def _bds(lines: Sequence[Curve | None], sign: int) -> list[list[float | str | None]]:
    """Of each curve against each: in per cent, or why it is undefined."""
    ready = [
        None if line is None else prepared(line.bpp[None], line.value[None], sign) for line in lines
    ]

    def of_pair(i: int, j: int) -> float | str | None:
        anchor, test = ready[i], ready[j]
        percent = np.nan
        if anchor is not None and test is not None:
            [percent] = bd_rate_percents_of(anchor, test)
        return _bd(lines[i], lines[j]) if np.isnan(percent) else _number(percent, 5)

    return [[of_pair(i, j) for j in range(len(lines))] for i in range(len(lines))]


def _bd(anchor: Curve | None, test: Curve | None) -> float | str | None:
    """In per cent, or why it is undefined."""
    if anchor is None or test is None:
        return "not measured on this data set, or not in this metric"
    rate = bd_rate(anchor, test)
    return rate.reason if rate.percent is None else _number(rate.percent, 5)


def _paired(anchor: ImageCurves | None, test: ImageCurves | None) -> bool:
    return anchor is not None and test is not None and anchor.images == test.images


def _ranges(
    split: Sequence[ImageCurves | None], size: int, sign: int
) -> list[list[list[float] | None]]:
    """The ends of each BD-rate's confidence interval, in per cent; None where there is none.

    With anchor and test exchanged a ratio of rates is turned over, and so are its ends.
    """
    found: list[list[list[float] | None]] = [[None] * size for _ in range(size)]
    sizes = {len(one.images) for one in split if one is not None}
    counts = {size: resamples(size, _RESAMPLES, seed=0) for size in sizes}
    # Each codec's resamples are averaged and interpolated once, not once in each pair.
    drawn = [
        None if one is None else prepared(*one.averaged(counts[len(one.images)]), sign)
        for one in split
    ]
    for (i, anchor), (j, test) in combinations(enumerate(drawn), 2):
        images = split[j]
        if anchor is None or test is None or images is None or not _paired(split[i], images):
            continue
        replicates = bd_rate_percents_of(anchor, test)
        low, high = interval(replicates, len(images.images), _LEVEL)
        if not np.isnan(low):
            ends = np.array([low, high]) / 100 + 1
            found[i][j] = [float(f"{100 * (end - 1):.4g}") for end in ends]
            found[j][i] = [float(f"{100 * (1 / end - 1):.4g}") for end in ends[::-1]]
    return found


def at_rates(dataset: Json) -> Json:
    """The quality of each averaged curve at a data set's rates, by metric: as `tables.rates_table`.

    Parameters
    ----------
    dataset
        One of those that `gather` returns, or of its tags, with its `rates` in bits per pixel.

    Returns
    -------
    By metric, for each codec, a quality for each rate; None beyond what was measured.
    """
    from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]

    def values(line: Json | None) -> list[float | None] | None:
        if line is None or len(line["bpp"]) < 2 or not (np.diff(line["bpp"]) > 0).all():
            return None
        if not line["bpp"][0] > 0:
            return None
        spline = PchipInterpolator(np.log(line["bpp"]), line["value"], extrapolate=False)
        return _numbers(spline(np.log(dataset["rates"])))

    return {metric: [values(line) for line in lines] for metric, lines in dataset["curves"].items()}


def _by_image(curves: ImageCurves | None, names: Sequence[str]) -> list[Json | None] | None:
    """Rate and quality of each image at each point of the curve."""
    if curves is None:
        return None
    bpp, value = curves.alone()
    rows = {
        name: {"bpp": _numbers(bpp[i]), "value": _numbers(value[i])}
        for i, name in enumerate(curves.images)
    }
    return [rows.get(name) for name in names]


def _bd_by_image(
    split: Sequence[ImageCurves | None], names: Sequence[str], sign: int
) -> list[list[list[float | None] | None]]:
    """Each image's BD-rate of each codec against each, in per cent."""
    alone = [None if one is None else prepared(*one.alone(), sign) for one in split]

    def of_pair(i: int, j: int) -> list[float | None] | None:
        anchor, test, images = alone[i], alone[j], split[j]
        if anchor is None or test is None or images is None or not _paired(split[i], images):
            return None
        percents = _numbers(bd_rate_percents_of(anchor, test), 5)
        rows = dict(zip(images.images, percents, strict=True))
        return [rows.get(name) for name in names]

    return [[of_pair(i, j) for j in range(len(split))] for i in range(len(split))]


def _numbers(values: Any, digits: int = 6) -> list[float | None]:
    return [_number(value, digits) for value in values]


def _number(value: Any, digits: int = 6) -> float | None:
    """A number of so many digits; None for what JSON cannot write."""
    if pd.isna(value) or not np.isfinite(value):
        return None
    return float(f"{float(value):.{digits}g}")
