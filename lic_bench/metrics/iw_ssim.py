"""IW-SSIM: multi-scale SSIM whose places count by the information that they carry.

Z. Wang, Q. Li, "Information content weighting for perceptual image quality assessment", IEEE
Transactions on Image Processing, 2011, sections III and IV: a Laplacian pyramid of five levels,
contrast and structure at the first four, SSIM at the last, with the exponents of MS-SSIM; weights
from 3x3 neighbours, and from the next level but at the fourth, with noise of variance 0.4; the last
level is not weighted. 0 to 1, higher is better. Not symmetric.

How far it is from piq 0.8.0 (of BT.601 luma): docs/metrics.md.
The JPEG AI common test conditions use it of `lic_bench.metrics.colour.jpeg_ai_luma`.
"""

from __future__ import annotations

import cv2
import numpy as np

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric
from lic_bench.metrics.colour import Plane, check_alike, luma, seen_by_jpeg_ai
from lic_bench.metrics.gaussian import WINDOW, local_means

SIDE = 161
"""The least side of an image that it is defined for."""

_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_NOISE = 0.4
_LEAST = float(np.finfo(np.float64).eps)
_TAPS = np.array([1, 4, 6, 4, 1]) / 16 * np.sqrt(2)


def iw_ssim(reference: Plane, distorted: Plane) -> float | None:
    """Return the IW-SSIM of a plane.

    Parameters
    ----------
    reference, distorted
        Float64, H x W, of 0 to 255.

    Returns
    -------
    0 to 1; nothing where a side has less than `SIDE` samples.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    check_alike(reference, distorted)
    if min(reference.shape) < SIDE:
        return None
    first, second = _pyramid(reference), _pyramid(distorted)
    score = 1.0
    for level, (x, y, exponent) in enumerate(zip(first, second, _EXPONENTS, strict=True)):
        contrast_structure, luminance = _similarity(x, y)
        if level == len(first) - 1:
            similar = float((contrast_structure * luminance).mean())
        else:
            parent = first[level + 1] if level < len(first) - 2 else None
            # The weights are of all places with 3x3 neighbours, the similarity of fewer.
            cut = (WINDOW - 3) // 2
            weights = _information(x, y, parent)[cut:-cut, cut:-cut]
            if not weights.any():  # a flat image: no place tells more than another
                weights = np.ones_like(weights)
            similar = float((contrast_structure * weights).sum() / weights.sum())
        score *= abs(similar) ** (exponent / sum(_EXPONENTS))
    return score


class IwSsim(Metric):
    """IW-SSIM of BT.601 luma."""

    name = "iw_ssim"
    label = "IW-SSIM"
    least_side = SIDE
    identical = 1.0

    def prepare(self, reference: Image) -> Compare:
        x = luma(reference)
        return lambda distorted: iw_ssim(x, luma(distorted))


class JpegAiIwSsim(Metric):
    """IW-SSIM of the luma that JPEG AI takes."""

    name = "jpegai_iw_ssim"
    label = "IW-SSIM (JPEG AI)"
    least_side = SIDE
    identical = 1.0

    def prepare(self, reference: Image) -> Compare:
        x = seen_by_jpeg_ai(reference)
        return lambda distorted: iw_ssim(x, seen_by_jpeg_ai(distorted))


def _pyramid(plane: Plane) -> list[Plane]:
    """The details at four scales, and what is left."""
    levels = []
    for _ in _EXPONENTS[1:]:
        coarser = _smooth(plane)[::2, ::2]
        spread = np.zeros((2 * coarser.shape[0], 2 * coarser.shape[1]))
        spread[::2, ::2] = coarser
        levels.append(plane - _smooth(spread)[: plane.shape[0], : plane.shape[1]])
        plane = coarser
    return [*levels, plane]


def _smooth(plane: Plane) -> Plane:
    border = cv2.BORDER_REFLECT_101
    return np.asarray(cv2.sepFilter2D(plane, cv2.CV_64F, _TAPS, _TAPS, borderType=border))


def _similarity(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Contrast and structure, and luminance, as in SSIM."""
    mean_x, mean_y, xx, yy, xy = local_means(np.stack([x, y, x * x, y * y, x * y]))
    variances = np.maximum(xx - mean_x**2, 0) + np.maximum(yy - mean_y**2, 0)
    contrast_structure = (2 * (xy - mean_x * mean_y) + _C2) / (variances + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return contrast_structure, luminance


def _information(x: Plane, y: Plane, parent: Plane | None) -> Plane:
    """The information at each place that has 3x3 neighbours, in bits."""
    mean_x, mean_y = _box(x), _box(y)
    variance_x = np.maximum(_box(x * x) - mean_x**2, 0)
    variance_y = np.maximum(_box(y * y) - mean_y**2, 0)
    covariance = _box(x * y) - mean_x * mean_y
    # The distorted image as gain x reference + noise.
    gain = covariance / (variance_x + _LEAST)
    noise = variance_y - gain * covariance
    flat = variance_x < _LEAST
    gain[flat], noise[flat] = 0, variance_y[flat]
    lost = variance_y < _LEAST
    gain[lost], noise[lost] = 0, 0
    # What the reference holds around each place: its neighbours, and the parent.
    height, width = mean_x.shape
    around = [x[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    if parent is not None:
        enlarged = _enlarged(_enlarged(parent).T).T
        around.append(enlarged[1 : 1 + height, 1 : 1 + width])
    number = len(around)
    products = [[float(np.einsum("ij,ij->", a, b)) for b in around] for a in around]
    values, vectors = np.linalg.eigh(np.array(products) / (height * width))
    positive = values * (values > 0)
    if positive.sum() > 0:
        positive *= values.sum() / positive.sum()
    inverse = np.linalg.pinv(vectors @ np.diag(positive) @ vectors.T, hermitian=True)
    energy = np.zeros((height, width))
    for i, plane in enumerate(around):
        energy += plane * sum(inverse[i, j] * around[j] for j in range(number))
    energy /= number
    strength = (noise + (1 + gain * gain) * _NOISE) * energy
    bits = np.ones_like(energy)
    for value in positive:
        bits *= 1 + (strength * value + _NOISE * noise) / _NOISE**2
    information = np.log2(bits)
    information[information < _LEAST] = 0
    return np.asarray(information)


def _box(plane: Plane) -> Plane:
    """Means of 3x3 samples where these lie inside the plane."""
    return np.asarray(cv2.blur(plane, (3, 3))[1:-1, 1:-1])


def _enlarged(plane: Plane) -> Plane:
    """Twice as many rows: every other one of a fourfold bilinear enlargement, ends extrapolated."""
    rows = len(plane)
    fine = 4 * rows - 3
    at = np.maximum((np.arange(fine) + 0.5) * rows / fine - 0.5, 0)
    before = at.astype(int)
    share = (at - before)[:, None]
    inner = plane[before] * (1 - share) + plane[np.minimum(before + 1, rows - 1)] * share
    ends = 2 * inner[[0, -1]] - inner[[1, -2]]
    return np.asarray(np.concatenate([ends[:1], inner, ends[1:]])[::2])
