"""HaarPSI: the similarity of Haar wavelet coefficients, weighted by their strength.

R. Reisenhofer, S. Bosse, G. Kutyniok, T. Wiegand, "A Haar wavelet-based perceptual similarity index
for image quality assessment", Signal Processing: Image Communication, 2018, equations 9 to 13, in
colour, with C = 30 and alpha = 4.2. 0 to 1, higher is better. Symmetric.

How far it is from piq 0.8.0: docs/metrics.md.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric
from lic_bench.metrics.colour import Plane, check_alike, yiq
from lic_bench.metrics.gmsd import halved

SIDE = 16
"""The least side of an image that it is defined for."""

_C = 30.0
_ALPHA = 4.2


def haarpsi(reference: Image, distorted: Image) -> float | None:
    """Return the HaarPSI of a distorted image.

    Parameters
    ----------
    reference, distorted
        uint8, H x W x 3, sRGB.

    Returns
    -------
    0 to 1; nothing where a side has less than `SIDE` samples.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    check_alike(reference, distorted)
    if min(reference.shape[:2]) < SIDE:
        return None
    first, second = ([halved(plane) for plane in yiq(image)] for image in (reference, distorted))
    similarities, weights = [], []
    for vertical in (False, True):
        x, y = (
            [_haar(planes[0], scale, vertical) for scale in (2, 4, 8)] for planes in (first, second)
        )
        similarities.append(_similarity(x[0], y[0]) + _similarity(x[1], y[1]))
        weights.append(np.maximum(x[2], y[2]))
    chroma = [_similarity(_means(x), _means(y)) for x, y in zip(first[1:], second[1:], strict=True)]
    similarities.append(chroma[0] + chroma[1])
    weights.append((weights[0] + weights[1]) / 2)
    pairs = list(zip(similarities, weights, strict=True))
    total = sum(float(weight.sum()) for weight in weights)
    if total == 0:  # both images are flat
        return float(np.mean([similarity.mean() / 2 for similarity in similarities]))
    share = (
        sum(float((weight / (1 + np.exp(-_ALPHA / 2 * s))).sum()) for s, weight in pairs) / total
    )
    return float((np.log(share / (1 - share)) / _ALPHA) ** 2)


class HaarPsi(Metric):
    """The similarity of Haar coefficients."""

    name = "haarpsi"
    label = "HaarPSI"
    least_side = SIDE
    identical = 1.0
    symmetric = True

    def prepare(self, reference: Image) -> Compare:
        return partial(haarpsi, reference)


def _haar(plane: Plane, size: int, vertical: bool) -> Plane:
    """The magnitudes of the coefficients of a Haar filter of size x size."""
    step, mean = np.repeat([1.0, -1.0], size // 2) / size, np.ones(size)
    along, across = (mean, step) if vertical else (step, mean)
    anchor, border = (size // 2 - 1, size // 2 - 1), cv2.BORDER_CONSTANT
    filtered = cv2.sepFilter2D(plane, cv2.CV_64F, along, across, anchor=anchor, borderType=border)
    return np.asarray(np.abs(filtered))


def _means(plane: Plane) -> Plane:
    """The magnitudes of the means of 2x2 samples, with zeros beyond the border."""
    taps, border = np.array([0.5, 0.5]), cv2.BORDER_CONSTANT
    filtered = cv2.sepFilter2D(plane, cv2.CV_64F, taps, taps, anchor=(0, 0), borderType=border)
    return np.asarray(np.abs(filtered))


def _similarity(x: Plane, y: Plane) -> Plane:
    return np.asarray((2 * x * y + _C) / (x * x + y * y + _C))
