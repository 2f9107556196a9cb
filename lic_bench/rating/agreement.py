"""Which metric should you have believed? How often each chose as the people did.

- **Share**: of the answers that prefer a picture, how many prefer the one that the metric sets
  higher. Half counts where the metric sees no difference. The interval takes account of raters and
  images, as that of the scores does.
- **Rank correlation**: Spearman's, between the codecs' scores and their mean metric over the
  images. Its interval is a bootstrap: scores drawn from their normal distribution, images anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lic_bench.metric.base import Score
from lic_bench.metric.quality import known_scores
from lic_bench.rating.davidson import Array
from lic_bench.rating.judged import Judged
from lic_bench.rating.scores import Estimate, Scores

_DRAWS = 2000

Names = NDArray[Any]


@dataclass(frozen=True)
class Agreement:
    """How far one metric agrees with the people."""

    metric: str
    share: Estimate
    rank: Estimate
    """Spearman's correlation; NaN for fewer than three codecs."""
    answers: int
    """On which the share rests."""


def agreements(
    judged: Judged, scores: Scores, measurements: pd.DataFrame, *, seed: int = 0
) -> list[Agreement]:
    """How far each metric that was measured agrees with the people, the best first.

    Parameters
    ----------
    measurements
        Of the store, as `lic_bench.store.table.load` returns them.
    """
    # The error and its PSNR put any two pictures in the same order.
    scores_there = [score for column, score in known_scores().items() if column in measurements]
    values = _values(measurements, [score for score in scores_there if score.name != "mse_rgb"])
    found = [
        one
        for metric, of in values.items()
        if (one := _agreement(judged, scores, metric, of, seed)) is not None
    ]
    return sorted(found, key=lambda one: -one.share.value)


_PictureKey = tuple[str, str, str]


def _values(
    measurements: pd.DataFrame, metrics: list[Score]
) -> dict[str, dict[_PictureKey, float]]:
    """By metric: the value of each picture, by the key of its measurement; more is better."""
    rows = measurements[measurements["error"].isna() & measurements["image"].notna()]
    keys = list(zip(rows["image_sha256"], rows["identity"], rows["point"].fillna(""), strict=True))
    return {
        metric.name: dict(zip(keys, sign * rows[metric.column].astype(float), strict=True))
        for metric in metrics
        for sign in (1 if metric.better == "higher" else -1,)
    }


def _agreement(
    judged: Judged,
    scores: Scores,
    metric: str,
    values: Mapping[_PictureKey, float],
    seed: int,
) -> Agreement | None:
    study = judged.study
    of_picture = np.array(
        [
            values.get((study.images[p.image].key, p.identity, p.point), math.nan)
            for p in study.pictures
        ]
    )
    trials = judged.counted
    trials = trials[trials["answer"] != "same"]
    left, right = (of_picture[trials[f"{side}_number"].to_numpy(int)] for side in ("left", "right"))
    known = ~(np.isnan(left) | np.isnan(right))
    if not known.any():
        return None
    trials, left, right = trials[known], left[known], right[known]
    chosen = np.where(trials["answer"] == "left", left, right)
    other = np.where(trials["answer"] == "left", right, left)
    agrees = np.where(chosen > other, 1.0, np.where(chosen == other, 0.5, 0.0))
    share = two_way_mean(agrees, trials["rater"].to_numpy(), trials["image"].to_numpy())
    return Agreement(metric, share, _rank(judged, scores, of_picture, seed), len(agrees))


def two_way_mean(values: Array, raters: Names, images: Names) -> Estimate:
    """A mean, with an interval of 95 % that takes account of two clusterings of the values.

    The variances of `lic_bench.rating.scores`, of which a mean has a closed form.
    """
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    mean = float(values.mean())
    away = (values - mean) / len(values)
    single = float((away**2).sum())

    def clustered(names: Names) -> tuple[float, int]:
        sums = pd.Series(away).groupby(names).sum()
        size = len(sums)
        return (float((sums**2).sum()) * size / (size - 1), size) if size > 1 else (single, 1)

    (of_raters, a), (of_images, b) = clustered(raters), clustered(images)
    variance = max(of_raters + of_images - single, single, 1e-300)
    inverse = (
        of_raters * max(of_raters - single, 0) / max(a - 1, 1)
        + of_images * max(of_images - single, 0) / max(b - 1, 1)
    ) / variance**2
    reach = float(stdtrit(1 / max(inverse, 1e-6), 0.975)) * math.sqrt(variance)
    return Estimate(mean, max(mean - reach, 0.0), min(mean + reach, 1.0))


def _rank(judged: Judged, scores: Scores, of_picture: Array, seed: int) -> Estimate:
    nothing = Estimate(math.nan, math.nan, math.nan)
    codecs = scores.codecs
    if len(codecs) < 3:
        return nothing
    table = pd.DataFrame(
        {
            "codec": [p.codec for p in judged.study.pictures],
            "image": [p.image for p in judged.study.pictures],
            "value": of_picture,
        }
    )[[p.role == "codec" for p in judged.study.pictures]]
    grid = table.pivot_table(index="image", columns="codec", values="value")
    if not set(codecs) <= set(grid.columns):
        return nothing
    grid = grid[list(codecs)].dropna()
    if grid.empty:
        return nothing
    rng = np.random.default_rng(seed)
    jod = np.array([one.value for one in scores.jod])
    images = len(grid)
    weights = rng.multinomial(images, np.full(images, 1 / images), size=_DRAWS) / images
    # Eigenvalues below zero, which the difference of variances may have, are rounding or chance.
    size, axes = np.linalg.eigh(scores.covariance)
    normal = rng.standard_normal((_DRAWS, len(jod))) * np.sqrt(np.maximum(size, 0))
    drawn = spearman(jod + normal @ axes.T, weights @ grid.to_numpy())
    value = spearman(jod[None], grid.to_numpy().mean(axis=0)[None])[0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def spearman(a: Array, b: Array) -> Array:
    """Spearman's rank correlation of each row of one table with that of another."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    x, y = (rankdata(table, axis=1) for table in (a, b))
    x, y = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (x, y))
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.asarray((x * y).sum(axis=1) / np.maximum(scale, 1e-300))
