"""The qualities that a rate-distortion curve can show, each a figure averaged by a stated rule.

The figures of every run are known here. Of all other metrics a process learns the figures where it
makes the metric, or opens a store that has values of it (`learn`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import SpecError, check_known
from lic_bench.metric.base import Better, Score

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

DEFAULT_SCORES = (
    Score("mse_rgb", "MSE (RGB)", better="lower"),
    Score("psnr_rgb", "PSNR (RGB)", "dB"),
    Score("psnr_y", "PSNR (Y, BT.601)", "dB"),
    Score("psnr_y709", "PSNR (Y, BT.709)", "dB"),
    Score("ssim_rgb", "SSIM (RGB)"),
    Score("ssim_y", "SSIM (Y)"),
    Score("ms_ssim_rgb", "MS-SSIM (RGB)"),
    Score("ms_ssim_y", "MS-SSIM (Y)"),
)
"""The figures of every run."""


@dataclass(frozen=True)
class Quality:
    """A quality that a curve can show."""

    name: str
    label: str
    """As people read it, without the unit."""
    rule: str
    """How the images of a data set became one figure."""
    value: str
    """Column of the aggregate."""
    images: str
    """Column of the measurements that is averaged."""
    unit: str = "dB"
    better: Better = "higher"
    scale: Literal["as it is", "dB of an index", "dB of an error"] = "as it is"
    """What is done to the mean."""
    rate: str = "bpp"
    """Column of the aggregate."""

    @property
    def pooled(self) -> bool:
        """Whether an image counts as much as it has pixels."""
        return self.rate == "bpp_pooled"

    @property
    def axis(self) -> str:
        """The label with its unit."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label

    def digits(self, values: Iterable[float]) -> int:
        """How many digits behind the point such values are shown with."""
        known = [abs(value) for value in values if np.isfinite(value)]
        return 2 if self.unit == "dB" or max(known, default=0) >= 10 else 4

    @property
    def sign(self) -> int:
        """What values are multiplied by to rise with quality."""
        return 1 if self.better == "higher" else -1

    def from_mean(self, mean: Array) -> Array:
        """The quality, in its unit, from the mean of `images` over the images."""
        if self.scale == "as it is":
            return mean
        with np.errstate(divide="ignore"):
            loss = mean / 255**2 if self.scale == "dB of an error" else 1 - mean
            return np.asarray(-10 * np.log10(loss))


def _quality(score: Score) -> Quality:
    """The quality of a figure."""
    column, rule = score.column, f"mean of per-image {re.sub(r' [(].*', '', score.label)}"
    if "ssim" in score.name and score in DEFAULT_SCORES:
        rule = f"dB of the mean {score.label.partition(' ')[0]}"
        value = f"{column}_db"
        return Quality(score.name, score.label, rule, value, column, scale="dB of an index")
    return Quality(score.name, score.label, rule, column, column, score.unit, score.better)


_PSNR, *_OTHERS = (_quality(score) for score in DEFAULT_SCORES if score.name != "mse_rgb")
_POOLED = Quality(
    "psnr_rgb_pooled",
    _PSNR.label,
    "errors and bits pooled over all pixels",
    "psnr_rgb_pooled_db",
    "mse_rgb",
    scale="dB of an error",
    rate="bpp_pooled",  # the rule of CLIC 2018 pools both
)
QUALITIES = {quality.name: quality for quality in (_PSNR, _POOLED, *_OTHERS)}
"""Those of the figures of every run, by name."""

_learned: dict[str, Score] = {}
_SHORT = {"psnr": "psnr_rgb", "ssim": "ssim_rgb", "ms_ssim": "ms_ssim_rgb", "mse": "mse_rgb"}


def learn(score: Score) -> None:
    """Let a figure be known in this process; of two of one name, the later one.

    Raises
    ------
    SpecError
        Where it has the name of one of every run.
    """
    if score in DEFAULT_SCORES:
        return
    reserved = {*QUALITIES, *(quality.value for quality in QUALITIES.values())}
    reserved |= {name for own in DEFAULT_SCORES for name in (own.name, own.column)}
    if reserved & {score.name, score.column}:
        raise SpecError(f"{score.name} is a figure of every run; another needs another name")
    _learned[score.name] = score


def full_name(text: str) -> str:
    """The name of a figure, from what people type: ``psnr``, ``MS-SSIM``, ``psnr_rgb_db``.

    Where the field says no plane, it means RGB.
    """
    name = text.strip().lower().replace("-", "_")
    name = _SHORT.get(name, name)
    columns = {score.column: score.name for score in (*DEFAULT_SCORES, *_learned.values())}
    known = {*QUALITIES, *_learned}
    if name not in known and name.removesuffix("_db") in known:
        return name.removesuffix("_db")
    return name if name in known else columns.get(name, name)


def metrics_of_targets(texts: Iterable[str]) -> list[str]:
    """The metrics that targets such as ``ssimulacra2=70`` are given in, but those of every run."""
    named = [full_name(text.partition("=")[0]) for text in texts]
    return [name for name in named if name not in QUALITIES and name != "bpp"]


def known_scores() -> dict[str, Score]:
    """All figures that are known in this process, by column."""
    return {score.column: score for score in (*DEFAULT_SCORES, *_learned.values())}


def known_qualities() -> dict[str, Quality]:
    """All qualities that are known in this process, by name."""
    return {**QUALITIES, **{name: _quality(score) for name, score in _learned.items()}}


def qualities_in(columns: Iterable[object]) -> list[Quality]:
    """Those of the known qualities that a table of measurements has the columns of."""
    there = set(columns)
    return [quality for quality in known_qualities().values() if quality.images in there]


def qualities_with_figures(measurements: pd.DataFrame) -> list[Quality]:
    """Those that a table has figures of; where it has none at all, as `qualities_in`.

    A store that figures were imported into has columns of every metric that is known.
    """
    there = qualities_in(measurements)
    return [one for one in there if measurements[one.images].notna().any()] or there


def metric_named(name: str) -> Quality:
    """The quality of this name, or a SpecError that lists those that there are."""
    full, known = full_name(name), known_qualities()
    check_known("metric", full, known)
    return known[full]


def measured_quality(name: str, averages: Iterable[object]) -> Quality:
    """The quality of this name, which must be among the columns of averages.

    Raises
    ------
    SpecError
        Where there is none, or it was not measured.
    """
    quality = metric_named(name)
    if quality.value not in set(averages):
        raise SpecError(
            f"{quality.name} was not measured here; "
            f"lic-bench measure DIR --metrics {quality.name} computes it"
        )
    return quality
