"""FSIM and FSIMc: the similarity of phase congruency and of gradients, and of chroma for FSIMc.

L. Zhang, L. Zhang, X. Mou, D. Zhang, "FSIM: a feature similarity index for image quality
assessment", IEEE Transactions on Image Processing, 2011, section III, with its constants. Phase
congruency: P. Kovesi, "Image features from phase congruency", Videre, 1999: log-Gabor filters at
four scales and four orientations. 0 to 1, higher is better. Symmetric. What the JPEG AI common test
conditions call FSIM is FSIMc.

How far it is from piq 0.8.0: docs/metrics.md.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import scipy.fft  # type: ignore[import-untyped]
from numpy.typing import NDArray

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric, Score, Value
from lic_bench.metrics.colour import Plane, check_alike, yiq

SIDE = 8
"""The least side of an image that it is defined for."""

_SCALES = _ORIENTATIONS = 4
_T1, _T2, _T3, _T4 = 0.85, 160.0, 200.0, 200.0
_CHROMA = 0.03
_LEAST = float(np.finfo(np.float64).eps)


def fsim(reference: Image, distorted: Image) -> tuple[float, float] | None:
    """Return FSIM and FSIMc of a distorted image.

    Parameters
    ----------
    reference, distorted
        uint8, H x W x 3, sRGB.

    Returns
    -------
    Both 0 to 1; nothing where a side has less than `SIDE` samples.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    check_alike(reference, distorted)
    if min(reference.shape[:2]) < SIDE:
        return None
    size = max(1, round(min(reference.shape[:2]) / 256))
    first, second = (
        [_shrunk(plane, size) for plane in yiq(each)] for each in (reference, distorted)
    )
    x, y = _phase_congruency(first[0]), _phase_congruency(second[0])
    strongest = np.maximum(x, y)
    similar = _similarity(x, y, _T1) * strongest
    similar *= _similarity(_gradients(first[0]), _gradients(second[0]), _T2)
    chroma = _similarity(first[1], second[1], _T3) * _similarity(first[2], second[2], _T4)
    total = float(strongest.sum())
    in_colour = similar * np.abs(chroma) ** _CHROMA
    return float(similar.sum()) / total, float(in_colour.sum()) / total


class Fsim(Metric):
    """FSIM and FSIMc, which share their work; the second is what JPEG AI calls FSIM."""

    name = "fsim"
    label = "FSIM, FSIMc"
    scores = (Score("fsim", "FSIM"), Score("fsimc", "FSIMc"))
    least_side = SIDE
    identical = 1.0
    symmetric = True

    def prepare(self, reference: Image) -> Compare:
        def compare(distorted: Image) -> dict[str, Value]:
            both = fsim(reference, distorted) or (None, None)
            return dict(zip(("fsim", "fsimc"), both, strict=True))

        return compare


def _shrunk(plane: Plane, size: int) -> Plane:
    """Means of size x size samples; what is left over at the end is left out."""
    height, width = (side // size for side in plane.shape)
    whole = plane[: height * size, : width * size]
    return np.asarray(whole.reshape(height, size, width, size).mean(axis=(1, 3)))


def _similarity(x: Plane, y: Plane, constant: float) -> Plane:
    return np.asarray((2 * x * y + constant) / (x * x + y * y + constant))


def _gradients(plane: Plane) -> Plane:
    """The magnitudes of Scharr's gradients, with zeros beyond the border."""
    step, mean = np.array([-1.0, 0, 1]), np.array([3.0, 10, 3]) / 16
    border = cv2.BORDER_CONSTANT
    along = cv2.sepFilter2D(plane, cv2.CV_64F, step, mean, borderType=border)
    across = cv2.sepFilter2D(plane, cv2.CV_64F, mean, step, borderType=border)
    return np.asarray(np.hypot(along, across))


class _Filters(NamedTuple):
    """The log-Gabor filters of one orientation, and what noise does to them."""

    responses: NDArray[np.float64]
    """In the frequency domain, scales x H x W."""
    power: float
    """Of the finest."""
    noise: float
    """The energy, summed over the scales, that noise of unit power has, but for a factor of 2."""


@lru_cache(maxsize=2)
def _filters(height: int, width: int) -> list[_Filters]:
    rows, columns = (_frequencies(side) for side in (height, width))
    radius = np.fft.ifftshift(np.hypot(rows[:, None], columns))
    angle = np.fft.ifftshift(np.arctan2(-columns, rows[:, None]))
    lowpass = 1 / (1 + (radius / 0.45) ** 30)
    radius[0, 0] = 1
    bands = []
    for scale in range(_SCALES):
        band = np.exp(-(np.log(radius * 6 * 2**scale) ** 2) / (2 * math.log(0.55) ** 2)) * lowpass
        band[0, 0] = 0
        bands.append(band)
    filters = []
    for orientation in range(_ORIENTATIONS):
        away = angle - orientation * math.pi / _ORIENTATIONS
        away = np.abs(np.arctan2(np.sin(away), np.cos(away)))
        spread = np.exp(-(away**2) / (2 * (math.pi / _ORIENTATIONS / 1.2) ** 2))
        responses = np.stack([band * spread for band in bands])
        waves = scipy.fft.ifft2(responses).real * math.sqrt(height * width)
        squares = float((waves**2).sum())
        crossed = (float((waves.sum(axis=0) ** 2).sum()) - squares) / 2
        power = float((responses[0] ** 2).sum())
        filters.append(_Filters(responses, power, squares + 2 * crossed))
    return filters


def _frequencies(side: int) -> NDArray[np.float64]:
    """From -1/2 to 1/2, zero in the middle."""
    if side % 2:
        return np.arange(-(side - 1) / 2, side / 2) / max(side - 1, 1)
    return np.arange(-side / 2, side / 2) / side


def _phase_congruency(plane: Plane) -> Plane:
    spectrum = scipy.fft.fft2(plane)
    energies, amplitudes = np.zeros_like(plane), np.zeros_like(plane)
    for each in _filters(*plane.shape):
        waves = scipy.fft.ifft2(spectrum * each.responses)
        magnitude = np.abs(waves)
        total = waves.sum(axis=0)
        mean = total / (np.abs(total) + _LEAST)
        along = waves * mean.conj()
        energy = (along.real - np.abs(along.imag)).sum(axis=0)
        # The noise from the median of the finest scale, as Kovesi estimates it.
        median = np.partition((magnitude[0] ** 2).ravel(), (plane.size - 1) // 2)[
            (plane.size - 1) // 2
        ]
        noise = median / math.log(2) / each.power
        rayleigh = math.sqrt(noise * each.noise)
        threshold = rayleigh * (math.sqrt(math.pi / 2) + 2 * math.sqrt(2 - math.pi / 2)) / 1.7
        energies += np.maximum(energy - threshold, 0)
        amplitudes += magnitude.sum(axis=0)
    return np.asarray((energies + _LEAST) / (amplitudes + _LEAST))
