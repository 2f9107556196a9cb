"""VIF in the pixel domain: how much of what an image tells is told by the distorted one.

H. R. Sheikh, A. C. Bovik, "Image information and visual quality", IEEE Transactions on Image
Processing, 2006; in the pixel domain as its authors released it afterwards (VIFp): four scales with
Gaussian windows of 17, 9, 5 and 3 samples (standard deviation a fifth of that), and noise of the
eye of variance 2. Usually 0 to 1, higher is better; above 1 where contrast was raised. Not
symmetric.

How far it is from piq 0.8.0 (of BT.601 luma): docs/metrics.md.
The JPEG AI common test conditions use it of `lic_bench.metrics.colour.jpeg_ai_luma`.
"""

from __future__ import annotations

import cv2
import numpy as np

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric
from lic_bench.metrics.colour import Plane, check_alike, luma, seen_by_jpeg_ai

SIDE = 41
"""The least side of an image that it is defined for."""

_WINDOWS = (17, 9, 5, 3)
_NOISE = 2.0
_LEAST = 1e-8  # variances below this are none


def vif(reference: Plane, distorted: Plane) -> float | None:
    """Return the VIF of a plane.

    Parameters
    ----------
    reference, distorted
        Float64, H x W, of 0 to 255.

    Returns
    -------
    At least 0; nothing where a side has less than `SIDE` samples.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    check_alike(reference, distorted)
    if min(reference.shape) < SIDE:
        return None
    told = known = 0.0
    x, y = reference, distorted
    for window in _WINDOWS:
        if window != _WINDOWS[0]:
            x, y = _means(x, window)[::2, ::2], _means(y, window)[::2, ::2]
        mean_x, mean_y = _means(x, window), _means(y, window)
        variance_x = np.maximum(_means(x * x, window) - mean_x * mean_x, 0)
        variance_y = np.maximum(_means(y * y, window) - mean_y * mean_y, 0)
        covariance = _means(x * y, window) - mean_x * mean_y
        # The distorted image as gain x reference + noise.
        gain = covariance / (variance_x + _LEAST)
        noise = variance_y - gain * covariance
        flat = variance_x < _LEAST
        gain[flat], noise[flat], variance_x[flat] = 0, variance_y[flat], 0
        lost = variance_y < _LEAST
        gain[lost], noise[lost] = 0, 0
        against = gain < 0
        gain[against], noise[against] = 0, variance_y[against]
        noise = np.maximum(noise, _LEAST)
        told += float(np.log1p(gain * gain * variance_x / (noise + _NOISE)).sum())
        known += float(np.log1p(variance_x / _NOISE).sum())
    least = _LEAST * float(np.log(10))
    return (told + least) / (known + least)


class Vif(Metric):
    """VIF of BT.601 luma."""

    name = "vif"
    label = "VIF"
    least_side = SIDE
    identical = 1.0

    def prepare(self, reference: Image) -> Compare:
        x = luma(reference)
        return lambda distorted: vif(x, luma(distorted))


class JpegAiVif(Metric):
    """VIF of the luma that JPEG AI takes."""

    name = "jpegai_vif"
    label = "VIF (JPEG AI)"
    least_side = SIDE
    identical = 1.0

    def prepare(self, reference: Image) -> Compare:
        x = seen_by_jpeg_ai(reference)
        return lambda distorted: vif(x, seen_by_jpeg_ai(distorted))


def _means(plane: Plane, window: int) -> Plane:
    """Gaussian means where the window lies inside the plane."""
    taps, border = cv2.getGaussianKernel(window, window / 5, cv2.CV_64F), window // 2
    filtered = cv2.sepFilter2D(plane, cv2.CV_64F, taps, taps)
    return np.asarray(filtered[border:-border, border:-border])
