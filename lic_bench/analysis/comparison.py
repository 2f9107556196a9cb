"""Two codecs, or two states of one, compared image by image; and conditions that a build must meet.

A side of a comparison is a store, a codec in a store, or a published curve. Of the first, the
anchor, to the second, the test, rate changes by the BD-rate: positive is worse.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TypeGuard

import numpy as np
import pandas as pd

from lic_bench.analysis import bootstrap as paired
from lic_bench.analysis import curves
from lic_bench.analysis import published_curves as published
from lic_bench.analysis.bootstrap import Bootstrapped
from lic_bench.analysis.curves import Curve
from lic_bench.errors import SpecError, UndefinedError, check_known, find_known
from lic_bench.metric.quality import Array, full_name, known_qualities, metric_named
from lic_bench.store.database import FILE_NAME
from lic_bench.store.selection import select
from lic_bench.store.table import display_names, load

PUBLISHED = "published:"
_APART = 0.5  # per cent of rate: images nearer to the median than this are no outliers


@dataclass(frozen=True)
class Side:
    """What is compared: the measurements of one codec, or a published curve.

    A curve that was imported as averages, and a published one of averages, is compared without
    images.
    """

    label: str
    codec: str
    """The spec, or the name of the published curve."""
    measurements: pd.DataFrame | None = field(default=None, repr=False)
    """Of this codec, on all data sets; nothing for a published curve: see `_with_images`."""


@dataclass(frozen=True)
class Delta:
    """A Bjøntegaard delta between two mean curves, and what stands beside it. NaN: undefined."""

    unit: str
    """``%`` of rate at equal quality, or that of the quality, at equal rate."""
    value: float
    """By PCHIP, of the mean curves: what is reported everywhere."""
    akima: float
    """The same by Akima's method."""
    low: float
    """The ends of the confidence interval, from a bootstrap over the images."""
    high: float
    mean: float
    """The mean of the images' own deltas."""
    worst: float
    """The worst of them."""
    overlap: tuple[float, float] | None
    """The interval over which it was integrated: of dB, or of bits per pixel."""
    reason: str | None = None
    """Why it is undefined."""

    def disagreement(self, what: str) -> str | None:
        """What to know where PCHIP and Akima are so far apart that the points cannot tell."""
        return curves.disagreement(what, self.value, self.akima, self.unit)


@dataclass(frozen=True)
class Comparison:
    """Two codecs compared in one metric, on the images that both were measured on."""

    anchor: str
    test: str
    dataset: str
    metric: str
    images: int
    """How many; 0 beside a curve of averages, published or imported."""
    rate: Delta
    quality: Delta
    overlap: float
    """How much of the range of quality that either curve covers is covered by both, 0 to 1."""
    notes: tuple[str, ...]
    """What a reader should know: points left out, images without a pair."""
    per_image: pd.DataFrame = field(repr=False)
    """Columns image, bd_rate_percent, bd_quality, outlier; worst first."""

    def quantities(self) -> dict[str, float]:
        """What a condition can name: the figures by name, as ``bd_rate_psnr_rgb_low``."""
        named = {}
        for prefix, delta in (
            (f"bd_rate_{self.metric}", self.rate),
            (f"bd_{self.metric}", self.quality),
        ):
            named[prefix] = delta.value
            for part in _PARTS:
                named[f"{prefix}_{part}"] = float(getattr(delta, part))
        return named

    def __str__(self) -> str:
        rate = self.rate
        if rate.reason is not None:
            return f"{self.test} against {self.anchor}, {self.metric}: undefined: {rate.reason}"
        interval = "" if np.isnan(rate.low) else f" [{rate.low:+z.1f}, {rate.high:+z.1f}]"
        images = f"{self.images} image{'s'[: self.images > 1]}" if self.images else "averages"
        name = f"{self.test} against {self.anchor}, {self.metric}, {self.dataset} ({images})"
        return f"{name}: BD-rate {rate.value:+z.1f} %{interval}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """As a notebook shows it: the line, and the images."""
        line = html.escape(str(self))
        return f"<p>{line}</p>{self.per_image.to_html(index=False, float_format='{:+.2f}'.format)}"

    def as_json(self) -> dict[str, object]:
        """Everything, in a form that can be written as JSON; undefined is null."""
        everything = asdict(self) | {"per_image": self.per_image.to_dict("records")}
        return {key: _nulls(value) for key, value in everything.items()}


_PARTS = ("low", "high", "mean", "worst", "akima")


def sides(text: str, folder: Path) -> list[Side]:
    """Find what a word on the command line means; a store is every codec that it holds.

    Parameters
    ----------
    text
        ``DIR``, ``DIR:SPEC``, ``published:NAME``, or ``SPEC``.
    folder
        Where a bare spec is looked for.

    Raises
    ------
    SpecError
        Where there is no such codec.
    StoreError
        Where there is no store.
    """
    if text.startswith(PUBLISHED):
        return [Side(text, text.removeprefix(PUBLISHED))]
    where, codec = _split(text, folder)
    table = load(where, [codec] if codec else [])
    codecs = list(table["codec"].unique())
    if codec is not None:
        codec = find_known(f"codec measured in {where}", codec, codecs)
    names = display_names(table)
    return [
        Side(f"{where}:{names[name]}", name, table[table["codec"] == name])
        for name in codecs
        if codec in (None, name)
    ]


def at_points(sides: Sequence[Side], points: Mapping[str, Sequence[str]]) -> list[Side]:
    """The same at certain operating points; see `lic_bench.store.selection.select`.

    Raises
    ------
    SpecError
        Where one was not measured at any of them.
    """
    chosen = []
    for side in sides:
        texts = points.get(side.codec, points.get(""))
        table = side.measurements
        if texts is not None and table is not None:
            table = select(table, points={"": texts})
        chosen.append(replace(side, measurements=table))
    return chosen


def _split(text: str, folder: Path) -> tuple[Path, str | None]:
    """The store and the spec that a text names; a spec may hold colons, as may a path."""

    def is_store(path: Path) -> bool:
        return path.is_file() or (path / FILE_NAME).is_file()

    if is_store(Path(text)):
        return Path(text), None
    for colon in re.finditer(":", text):
        before, after = text[: colon.start()], text[colon.end() :]
        if before and after and is_store(Path(before)):
            return Path(before), after
    if "/" in text.partition(":")[0]:
        return Path(text), None  # opening it says that there is no store
    return folder, text


def pairs(anchors: Sequence[Side], tests: Sequence[Side]) -> list[tuple[Side, Side]]:
    """Match two stores by codec; a single codec goes with every codec of the other side.

    Raises
    ------
    SpecError
        Where two stores have no codec in common.
    """
    if len(anchors) == 1 or len(tests) == 1:
        return list(product(anchors, tests))
    by_codec = {side.codec: side for side in anchors}
    matched = [(by_codec[side.codec], side) for side in tests if side.codec in by_codec]
    if not matched:
        there, here = (", ".join(s.codec for s in some) for some in (anchors, tests))
        raise SpecError(
            f"the two have no codec in common ({there}; {here}); name one of each: DIR:SPEC"
        )
    return matched


def compare_codecs(
    measurements: pd.DataFrame,
    anchor: str,
    test: str,
    *,
    metric: str = "psnr_rgb",
    dataset: str | None = None,
    level: float = 0.95,
) -> Comparison:
    """Compare two codecs of one table of measurements; see `compare_sides`."""
    sides = (
        Side(name, name, measurements[measurements["codec"] == name]) for name in (anchor, test)
    )
    return compare_sides(*sides, metric=metric, dataset=dataset, level=level)


def compare_sides(
    anchor: Side,
    test: Side,
    *,
    metric: str = "psnr_rgb",
    dataset: str | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two codecs in one metric, on the images that both were measured on.

    Parameters
    ----------
    dataset
        Needed where both were measured on several.
    level
        Of the confidence intervals.
    resamples
        How often the bootstrap draws the images anew.
    seed
        Of the draws: the same seed gives the same intervals.

    Raises
    ------
    SpecError
        Where there is no such metric or data set, or none in common.
    UndefinedError
        Where the two have no image in common.
    """
    kind = metric_named(metric)
    metric = kind.name
    dataset = _dataset(anchor, test, dataset)
    for side, other in ((anchor, test), (test, anchor)):
        if side.measurements is None and other.measurements is not None:
            published.check_images(other.measurements, dataset)
    anchor, test = (_with_images(side, dataset, metric) for side in (anchor, test))
    tables, notes = _paired(anchor, test, dataset)
    mean_curves = [
        _curve(side, table, dataset, metric)
        for side, table in zip((anchor, test), tables, strict=True)
    ]
    a, b = mean_curves
    for side, curve in zip((anchor, test), mean_curves, strict=True):
        notes += [f"{side.label}: left out: {why}" for why in curve.left_out]
    images, of_rate, of_quality = _images(tables, mean_curves, level, resamples, seed)
    rate, rate_akima = curves.bd_rate(a, b, "pchip"), curves.bd_rate(a, b, "akima")
    quality, quality_akima = curves.bd_quality(a, b, "pchip"), curves.bd_quality(a, b, "akima")
    undefined = int(np.isnan(of_rate.images).sum())
    if undefined and rate.reason is None:
        notes.append(f"{test.label}: images without a BD-rate of their own: {undefined}")
    return Comparison(
        anchor.label,
        test.label,
        dataset,
        metric,
        len(images),
        _delta("%", rate.percent, rate_akima.percent, rate.overlap, rate.reason, of_rate),
        _delta(
            kind.unit,
            quality.value,
            quality_akima.value,
            quality.overlap,
            quality.reason,
            of_quality,
            kind.sign,
        ),
        curves.shared_quality(a, b),
        tuple(notes),
        _per_image(images, of_rate.images, of_quality.images),
    )


def _delta(
    unit: str,
    value: float | None,
    akima: float | None,
    overlap: tuple[float, float] | None,
    reason: str | None,
    images: Bootstrapped,
    sign: int = -1,
) -> Delta:
    known = images.images[~np.isnan(images.images)]
    worst = np.min if sign > 0 else np.max
    return Delta(
        unit,
        np.nan if value is None else value,
        np.nan if akima is None else akima,
        images.low,
        images.high,
        float(known.mean()) if len(known) else np.nan,
        float(worst(known)) if len(known) else np.nan,
        overlap,
        reason,
    )


def _with_images(side: Side, dataset: str, metric: str) -> Side:
    """A side with what was published of every image, where that is so."""
    if side.measurements is not None:
        return side
    return replace(side, measurements=published.image_figures(side.codec, dataset, metric))


def _dataset(anchor: Side, test: Side, wanted: str | None) -> str:
    measured = [
        [str(name) for name in side.measurements["dataset"].unique()]
        for side in (anchor, test)
        if side.measurements is not None
    ]
    if not measured:
        raise SpecError("of two published curves there is nothing to compare image by image")
    common = [name for name in measured[0] if all(name in names for names in measured)]
    if not common:
        first, second = (", ".join(names) for names in measured)
        raise SpecError(f"the two were measured on different data sets: {first}; {second}")
    if wanted is not None:
        check_known("data set on both sides", wanted, common)
        return wanted
    if len(common) > 1:
        raise SpecError(
            f"there are several data sets: name one with --dataset: {', '.join(common)}"
        )
    return common[0]


def _paired(anchor: Side, test: Side, dataset: str) -> tuple[list[pd.DataFrame | None], list[str]]:
    """The rows of the images that both sides have, their images named alike; and what is left."""
    tables = [
        None if side.measurements is None
        else side.measurements[side.measurements["dataset"] == dataset]
        for side in (anchor, test)
    ]  # fmt: skip
    measured = [table for table in tables if _of_images(table)]
    if not measured:
        return tables, []
    key = "image_sha256"
    if any(table[key].isna().any() or _ambiguous(table) for table in measured):
        key = "image"  # a table that has no sums of its images
    successes = [set(table.loc[table["error"].isna(), key]) for table in measured]
    common = set.intersection(*successes)
    if not common:
        raise UndefinedError(
            f"{anchor.label} and {test.label} have no image of {dataset} in common "
            "on which both succeeded; measure both on the same images"
        )
    notes = []
    for side, table in zip((anchor, test), tables, strict=True):
        if _of_images(table):
            extra = list(table.loc[~table[key].isin(common), "image"].unique())
            if extra:
                what = "1 image has" if len(extra) == 1 else f"{len(extra)} images have"
                notes.append(
                    f"{side.label}: {what} no pair and {'is' if len(extra) == 1 else 'are'} "
                    f"left out: {_some(extra)}"
                )
    names = dict(zip(measured[0][key], measured[0]["image"], strict=True))
    return [
        table if not _of_images(table)
        else table[table[key].isin(common)].assign(
            image=lambda rows: rows[key].map(names), dataset_images=len(common)
        )
        for table in tables
    ], notes  # fmt: skip


def _of_images(table: pd.DataFrame | None) -> TypeGuard[pd.DataFrame]:
    """Whether there are measurements of images, not averages alone."""
    return table is not None and bool(table["image"].notna().any())


def _ambiguous(table: pd.DataFrame) -> bool:
    return bool(table.duplicated(["image_sha256", "point"]).any())


def _some(images: Sequence[str], most: int = 3) -> str:
    more = f" and {len(images) - most} more" if len(images) > most else ""
    return ", ".join(images[:most]) + more


def _curve(side: Side, table: pd.DataFrame | None, dataset: str, metric: str) -> Curve:
    """The curve of a side, under its label."""
    if table is None:
        curve: Curve = published.curve(side.codec, dataset, metric)
    else:
        curve = curves.curve(curves.averages_of_curves(table), dataset, side.codec, metric)
    return replace(curve, codec=side.label)


def _images(
    tables: Sequence[pd.DataFrame | None],
    mean_curves: Sequence[Curve],
    level: float,
    resamples: int,
    seed: int,
) -> tuple[tuple[str, ...], Bootstrapped, Bootstrapped]:
    """The images; intervals and every image's own BD-rate; and the same of quality."""
    parts = [
        paired.image_curves(table, replace(curve, codec=table["codec"].iloc[0]))
        for table, curve in zip(tables, mean_curves, strict=True)
        if _of_images(table) and curve.points
    ]
    if len(parts) < 2:
        nothing = Bootstrapped(np.nan, np.nan, np.empty(0))
        return (), nothing, nothing
    counts = paired.resamples(len(parts[0].images), resamples, seed)
    rate, quality = (
        paired.bootstrap(parts[0], parts[1], counts, level, delta)
        for delta in (curves.bd_rate_percents, curves.bd_qualities)
    )
    return parts[0].images, rate, quality


def _per_image(images: Sequence[str], percents: Array, qualities: Array) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": images,
            "bd_rate_percent": percents,
            "bd_quality": qualities,
            "outlier": paired.outliers(percents, _APART),
        }
    ).sort_values("bd_rate_percent", ascending=False, ignore_index=True)


@dataclass(frozen=True)
class Condition:
    """What must not hold, such as ``bd_rate_psnr > 0.5``."""

    text: str
    name: str
    """As in `Comparison.quantities`."""
    metric: str
    operator: str
    number: float

    def holds(self, value: float) -> bool:
        """Whether it holds for this value; never for NaN."""
        return {
            "<": value < self.number,
            "<=": value <= self.number,
            ">": value > self.number,
            ">=": value >= self.number,
        }[self.operator]


_CONDITION = re.compile(
    r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*(?:%|[A-Za-z]+)?\s*"
)


def condition(text: str) -> Condition:
    """Read a condition: NAME, one of < <= > >=, and a number.

    The names are ``bd_rate_METRIC`` (per cent) and ``bd_METRIC`` (in its unit), and these followed
    by ``_low`` or ``_high`` (ends of the confidence interval), ``_mean`` or ``_worst`` (of the
    images) or ``_akima``. ``psnr``, ``ssim`` and ``ms_ssim`` stand for those of RGB.

    Raises
    ------
    SpecError
        Where it is none.
    """
    match = _CONDITION.fullmatch(text)
    try:
        name, operator, number = match.groups() if match else ("", "", "")
        threshold = float(number)
    except ValueError:
        raise SpecError(
            f"{text!r} is no condition: NAME < <= > or >= NUMBER is, as in 'bd_rate_psnr > 0.5'"
        ) from None
    metrics = known_qualities()
    parsed = re.fullmatch(rf"bd_(rate_)?(.+?)(_(?:{'|'.join(_PARTS)}))?", name)
    metric = full_name(parsed[2]) if parsed else ""
    if parsed is None or metric not in metrics:
        raise SpecError(
            f"there is nothing called {name!r} to set a condition on: there are bd_rate_METRIC and "
            f"bd_METRIC, both also with _{', _'.join(_PARTS)}; METRIC is {', '.join(metrics)}"
        )
    full = f"bd_{parsed[1] or ''}{metric}{parsed[3] or ''}"
    return Condition(text.strip(), full, metric, operator, threshold)


def failures(comparisons: Iterable[Comparison], conditions: Sequence[Condition]) -> list[str]:
    """Why a build fails: each condition that holds, and each that nothing can be said of."""
    lines = []
    for comparison in comparisons:
        quantities = comparison.quantities()
        for which in conditions:
            if which.metric != comparison.metric:
                continue
            value = quantities[which.name]
            of_rate = which.name.startswith("bd_rate_")
            delta = comparison.rate if of_rate else comparison.quality
            digits = 2 if delta.unit in curves.DISAGREEMENT else 4
            if np.isnan(value):
                why = delta.reason or "it is not defined for these measurements"
                lines.append(f"{comparison.test}: {which.text}: {which.name} is undefined: {why}")
            elif which.holds(value):
                found = f"{value:+.{digits}f} {delta.unit}".rstrip()
                lines.append(f"{comparison.test}: {which.text}: it is {found}")
    return lines


def _nulls(value: object) -> object:
    """The same, with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nulls(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value
