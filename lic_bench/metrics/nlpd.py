"""NLPD: the distance of two images in a Laplacian pyramid whose contrast is normalised.

V. Laparra, J. Ballé, A. Berardino, E. P. Simoncelli, "Perceptual image quality assessment using a
normalized Laplacian pyramid", Human Vision and Electronic Imaging 2016, with its constants, as the
JPEG AI common test conditions take it: of luma in 0 to 1 (`jpeg_ai_luma`), six levels, between
which is bilinear interpolation; the root mean square of each level, and the mean of these.
0 where images are alike; lower is better. Symmetric.

How far it is from IQA-pytorch 0.1, which the JPEG AI reference software uses: docs/metrics.md.
plenoptic's NLPD (of the authors' laboratory) is up to 0.03 away.
"""

from __future__ import annotations

import cv2
import numpy as np

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric
from lic_bench.metrics.colour import Plane, check_alike, luma, seen_by_jpeg_ai

SIDE = 65
"""The least side of an image that it is defined for: the last level has two samples."""

_TAPS = np.array([0.05, 0.25, 0.4, 0.25, 0.05])
# A level's constant, and the weights of the neighbours above, to the left, to the right and below.
_LEVELS = (
    (0.0248, 0.1011, 0.1493, 0.1460, 0.1015),
    (0.0185, 0.0757, 0.1986, 0.1846, 0.0837),
    (0.0179, 0.0477, 0.2138, 0.2243, 0.0467),
    (0.0191, 0.0, 0.2503, 0.2616, 0.0),
    (0.0220, 0.0, 0.2598, 0.2552, 0.0),
    (0.2782, 0.0, 0.2215, 0.0717, 0.0),
)


def nlpd(reference: Plane, distorted: Plane) -> float | None:
    """Return the NLPD of a plane.

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
    pyramids = zip(_pyramid(reference / 255), _pyramid(distorted / 255), strict=True)
    return float(np.mean([np.sqrt(np.mean((x - y) ** 2)) for x, y in pyramids]))


class Nlpd(Metric):
    """NLPD of BT.601 luma."""

    name = "nlpd"
    label = "NLPD"
    least_side = SIDE
    better = "lower"
    identical = 0.0
    symmetric = True

    def prepare(self, reference: Image) -> Compare:
        x = luma(reference)
        return lambda distorted: nlpd(x, luma(distorted))


class JpegAiNlpd(Metric):
    """NLPD of the luma that JPEG AI takes."""

    name = "jpegai_nlpd"
    label = "NLPD (JPEG AI)"
    least_side = SIDE
    better = "lower"
    identical = 0.0
    symmetric = True

    def prepare(self, reference: Image) -> Compare:
        x = seen_by_jpeg_ai(reference)
        return lambda distorted: nlpd(x, seen_by_jpeg_ai(distorted))


def _pyramid(plane: Plane) -> list[Plane]:
    levels = []
    for constant, above, left, right, below in _LEVELS:
        coarser = _smooth(plane)[::2, ::2]
        height, width = plane.shape
        detail = plane - _smooth(_doubled(_doubled(coarser).T).T)[:height, :width]
        neighbours = np.array([[0, above, 0], [left, 0, right], [0, below, 0]])
        contrast = cv2.filter2D(
            np.abs(detail), cv2.CV_64F, neighbours, borderType=cv2.BORDER_REFLECT_101
        )
        levels.append(detail / (constant + contrast))
        plane = coarser
    return levels


def _smooth(plane: Plane) -> Plane:
    border = cv2.BORDER_REFLECT_101
    return np.asarray(cv2.sepFilter2D(plane, cv2.CV_64F, _TAPS, _TAPS, borderType=border))


def _doubled(plane: Plane) -> Plane:
    """Twice as many rows, interpolated linearly, with the first and the last where they were."""
    rows = len(plane)
    at = np.arange(2 * rows) * (rows - 1) / (2 * rows - 1)
    before = np.minimum(at.astype(int), rows - 2)
    share = (at - before)[:, None]
    return np.asarray(plane[before] * (1 - share) + plane[before + 1] * share)
