"""GMSD: how unevenly the strength of edges was changed.

W. Xue, L. Zhang, X. Mou, A. C. Bovik, "Gradient magnitude similarity deviation: a highly efficient
perceptual image quality index", IEEE Transactions on Image Processing, 2014, section II: luma,
2x2 means, Prewitt gradients, the standard deviation of their similarity. 0 where images are alike;
lower is better. Symmetric.

How far it is from piq 0.8.0: docs/metrics.md.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric
from lic_bench.metrics.colour import Plane, check_alike, luma

SIDE = 4
"""The least side of an image that it is defined for."""

_SMALL = 170.0


def gmsd(reference: Image, distorted: Image) -> float | None:
    """Return the GMSD of a distorted image.

    Parameters
    ----------
    reference, distorted
        uint8, H x W x 3, sRGB.

    Returns
    -------
    At least 0; nothing where a side has less than `SIDE` samples.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    check_alike(reference, distorted)
    if min(reference.shape[:2]) < SIDE:
        return None
    x, y = (_gradients(halved(luma(image))) for image in (reference, distorted))
    similarity = (2 * x * y + _SMALL) / (x * x + y * y + _SMALL)
    return float(similarity.std())


class Gmsd(Metric):
    """The deviation of the similarity of gradients."""

    name = "gmsd"
    label = "GMSD"
    better = "lower"
    least_side = SIDE
    identical = 0.0
    symmetric = True

    def prepare(self, reference: Image) -> Compare:
        return partial(gmsd, reference)


def halved(plane: Plane) -> Plane:
    """2x2 means; where a side is odd, a row and a column of zeros are added at the end."""
    if plane.shape[0] % 2 or plane.shape[1] % 2:
        plane = np.pad(plane, (0, 1))
        plane = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
    rows = plane[::2] + plane[1::2]
    return np.asarray((rows[:, ::2] + rows[:, 1::2]) / 4)


def _gradients(plane: Plane) -> Plane:
    """The magnitudes of the gradients, with zeros beyond the border."""
    step, mean = np.array([-1.0, 0, 1]), np.full(3, 1 / 3)
    border = cv2.BORDER_CONSTANT
    along = cv2.sepFilter2D(plane, cv2.CV_64F, step, mean, borderType=border)
    across = cv2.sepFilter2D(plane, cv2.CV_64F, mean, step, borderType=border)
    return np.asarray(np.hypot(along, across))
