"""BD-rates of many resamples at once, beside a plain loop over them by SciPy's interpolator."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from lic_bench.analysis.bootstrap import resamples
from lic_bench.analysis.curves import bd_rate_percents, bd_rate_percents_of, prepared
from lic_bench.metric.quality import Array


def curves(seed: int, points: int, images: int = 24) -> tuple[Array, Array]:
    """Rates and qualities of images, both rising from point to point."""
    rng = np.random.default_rng(seed)
    bpp = np.cumsum(rng.uniform(0.05, 0.5, (images, points)), axis=1)
    quality = rng.uniform(24, 27, (images, 1)) + np.cumsum(rng.uniform(0.3, 3, bpp.shape), axis=1)
    return bpp, quality


def one_bd_rate(anchor: tuple[Array, Array], test: tuple[Array, Array]) -> float:
    """By the definition, from the antiderivatives of SciPy's PCHIP."""
    low = max(quality[0] for _, quality in (anchor, test))
    high = min(quality[-1] for _, quality in (anchor, test))
    if low >= high:
        return float("nan")
    a, b = (
        float(PchipInterpolator(quality, np.log(bpp)).integrate(low, high))
        for bpp, quality in (anchor, test)
    )
    return 100 * (np.exp((b - a) / (high - low)) - 1)


@pytest.mark.parametrize("points", [(4, 9), (7, 5)])
def test_they_are_those_of_a_plain_loop(points: tuple[int, int]) -> None:
    counts = resamples(24, 60, seed=3)
    weights = counts / counts.sum(axis=1, keepdims=True)
    sides = [
        [weights @ figures for figures in curves(seed, own)] for seed, own in enumerate(points)
    ]
    sides[1][1][7] += 100  # shares no quality with the anchor's
    expected = [
        one_bd_rate(*((bpp[row], quality[row]) for bpp, quality in sides))  # type: ignore[misc]
        for row in range(len(counts))
    ]
    found = bd_rate_percents_of(*(prepared(*side) for side in sides))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert np.isnan(found).tolist() == [row == 7 for row in range(60)]
    np.testing.assert_array_equal(bd_rate_percents(*sides[0], *sides[1]), found)
    falling = (prepared(bpp, -quality, sign=-1) for bpp, quality in sides)
    np.testing.assert_array_equal(bd_rate_percents_of(*falling), found)


def test_what_is_no_curve_has_none_and_warns_of_nothing() -> None:
    bpp, quality = curves(0, 5)
    quality[2, 3], quality[4, 1], bpp[5, 0] = np.inf, np.nan, 0
    quality[6, 2] = quality[6, 1]
    good = prepared(*curves(1, 6))
    with np.errstate(all="raise"):
        found = bd_rate_percents_of(good, prepared(bpp, quality))
    assert sorted(np.flatnonzero(np.isnan(found))) == [2, 4, 5, 6]
    assert np.isnan(bd_rate_percents_of(good, prepared(bpp[:, :3], quality[:, :3]))).all()
