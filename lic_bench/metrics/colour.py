"""Planes that metrics are defined on: luma in several habits, and YIQ. All of 0 to 255, float64."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from lic_bench.images.image import Image

Plane = NDArray[np.float64]
"""H x W."""

_BT601 = (0.299, 0.587, 0.114)
_BT709 = (0.2126, 0.7152, 0.0722)


def luma(image: Image) -> Plane:
    """Full-range luma of BT.601, not rounded."""
    return np.asarray(image @ np.array(_BT601))


def studio_luma(image: Image) -> Plane:
    """Luma of BT.601 as 8-bit video holds it: codes from 16 to 235, rounded."""
    return np.asarray(np.rint(16 + 219 / 255 * luma(image)))


def jpeg_ai_luma(image: Image) -> Plane:
    """Luma as the JPEG AI common test conditions take it: BT.709, full range, of 10 bit.

    R, G and B are rounded to 10 bit first, as the reference software does it.
    """
    rgb = np.rint(image / 255 * 1023)
    return np.asarray(np.rint(rgb @ np.array(_BT709)) * (255 / 1023))


def seen_by_jpeg_ai(image: Image) -> Plane:
    """`jpeg_ai_luma`, remembered for the last two images: several metrics of a pair ask for it.

    The bench gives metrics arrays that nobody writes to, another one for each picture.
    """
    for known, plane in _seen:
        if known is image:
            return plane
    plane = jpeg_ai_luma(image)
    if not image.flags.writeable:
        _seen.append((image, plane))
    return plane


_seen: deque[tuple[Image, Plane]] = deque(maxlen=2)


def yiq(image: Image) -> tuple[Plane, Plane, Plane]:
    """Y, I and Q of R'G'B', with the coefficients that FSIM, HaarPSI and GMSD are defined by."""
    matrix = np.array([_BT601, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    y, i, q = np.moveaxis(image @ matrix.T, -1, 0)
    return np.ascontiguousarray(y), np.ascontiguousarray(i), np.ascontiguousarray(q)


def check_alike(reference: NDArray[np.generic], distorted: NDArray[np.generic]) -> None:
    """Raise a ValueError where the shapes of two images or planes differ."""
    if reference.shape != distorted.shape:
        raise ValueError(f"distorted has shape {distorted.shape}, the reference {reference.shape}")
