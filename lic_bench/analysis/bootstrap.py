"""Two codecs on the same images, and what their BD-rate owes to the choice of images.

A BD-rate is a figure of the images that it was measured on. Had they been 24 others of their kind,
it would be another; a bootstrap over the images (B. Efron, "Bootstrap methods: another look at the
jackknife", 1979) tells how much another. Images are drawn with replacement, the same ones for both
codecs, and the whole computation is made anew: averages, curves, BD-rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lic_bench.analysis.curves import Curve, bd_rate_percents
from lic_bench.analysis.interpolation import Method
from lic_bench.metric.quality import Array, Quality, metric_named
from lic_bench.store.table import spelled

_UNDEFINED = 0.01  # the share of resamples without a BD-rate above which there is no interval
_OUTLYING = 3.5


@dataclass(frozen=True)
class ImageCurves:
    """What a curve is averaged from: rate and quality of each image at each of its points."""

    metric: Quality
    images: tuple[str, ...]
    bpp: Array
    """Shape (images, points)."""
    quality: Array
    """The figure that is averaged, `Quality.images`; shape (images, points)."""
    weight: Array
    """How much an image counts; shape (images,)."""

    def averaged(self, counts: Array) -> tuple[Array, Array]:
        """Rate and metric of mean curves in which each image occurs so many times.

        Parameters
        ----------
        counts
            Shape (n, images).

        Returns
        -------
        Bits per pixel and quality, each of shape (n, points).
        """
        weights = counts * self.weight
        weights /= weights.sum(axis=1, keepdims=True)
        return weights @ self.bpp, self.metric.from_mean(weights @ self.quality)

    def alone(self) -> tuple[Array, Array]:
        """Rate and metric of each image by itself: two of shape (images, points)."""
        return self.bpp, self.metric.from_mean(self.quality)


def image_curves(measurements: pd.DataFrame, curve: Curve) -> ImageCurves:
    """Take apart a curve of these measurements again, into its images, in order of their names."""
    metric = metric_named(curve.metric)
    rows = measurements[
        (measurements["dataset"] == curve.dataset)
        & (measurements["codec"] == curve.codec)
        & measurements["error"].isna()
    ]
    rows = rows[rows["image"].notna()]
    place = pd.Index(curve.points).get_indexer(pd.Index(spelled(rows["point"]), dtype=object))
    rows, place = rows[place >= 0], place[place >= 0]
    numbers, images = pd.factorize(rows["image"], sort=True)

    def grid(values: pd.Series[float]) -> Array:
        # An average that was imported may have points that no image was measured at.
        table = np.full((len(images), len(curve.points)), np.nan)
        table[numbers, place] = values.to_numpy(np.float64, na_value=np.nan)
        return table

    quality = rows[metric.images]
    if metric.scale == "dB of an index":
        # The SSIM of a lossless image is 1 but for rounding, which dB would blow up.
        quality = quality.mask(rows["mse_rgb"] == 0, 1.0)
    weight = np.ones(len(images))
    if metric.pooled:
        sizes = (rows["width"] * rows["height"]).to_numpy(np.float64, na_value=np.nan)
        weight[numbers] = sizes
    return ImageCurves(metric, tuple(images), grid(rows["bpp"]), grid(quality), weight)


def resamples(images: int, number: int, seed: int) -> Array:
    """How often each image occurs in each of the bootstrap's samples; shape (number, images)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=number).astype(np.float64)


@dataclass(frozen=True)
class Bootstrapped:
    """A Bjøntegaard delta over the images: interval, and each image's own. NaN: undefined."""

    low: float
    """The ends of the confidence interval."""
    high: float
    images: Array
    """Each image's, shape (images,)."""


def bootstrap(
    anchor: ImageCurves,
    test: ImageCurves,
    counts: Array,
    level: float,
    delta: Callable[[Array, Array, Array, Array, Method, int], Array] = bd_rate_percents,
) -> Bootstrapped:
    """Find the confidence interval of a Bjøntegaard delta between two codecs on the same images.

    A percentile interval whose percentiles are moved outwards, so that they would be those of
    Student's t for a mean: without, it is too narrow for few images (T. Hesterberg, "What teachers
    should know about the bootstrap", The American Statistician, 2015, section 4.3.2). There is none
    for fewer than 3 images, nor where more than 1 % of the resamples have no delta.

    Parameters
    ----------
    counts
        From `resamples`.
    level
        0.95, say.
    delta
        `bd_rate_percents` or `bd_qualities`.
    """
    sign = test.metric.sign
    per_image = delta(*anchor.alone(), *test.alone(), "pchip", sign)
    replicates = delta(*anchor.averaged(counts), *test.averaged(counts), "pchip", sign)
    return Bootstrapped(*interval(replicates, len(test.images), level), per_image)


def interval(replicates: Array, images: int, level: float) -> tuple[float, float]:
    """The ends of the confidence interval of `bootstrap`, from the deltas of its resamples."""
    from scipy.special import ndtr, stdtrit  # type: ignore[import-untyped]

    defined = replicates[~np.isnan(replicates)]
    if images < 3 or len(defined) < (1 - _UNDEFINED) * len(replicates):
        return np.nan, np.nan
    tail = float(ndtr(sqrt(images / (images - 1)) * stdtrit(images - 1, (1 - level) / 2)))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def outliers(values: Array, least: float) -> NDArray[np.bool_]:
    """Which values lie apart from the others: by a modified z-score over 3.5, and by `least`.

    The score is 0.6745 |x - median| / MAD, where MAD is the median absolute deviation: B. Iglewicz
    and D. Hoaglin, "How to detect and handle outliers", 1993. NaN is none.
    """
    if np.isnan(values).all():
        return np.zeros(len(values), dtype=bool)
    away = np.abs(values - np.nanmedian(values))
    return np.asarray(away > max(least, _OUTLYING * np.nanmedian(away) / 0.6745))
