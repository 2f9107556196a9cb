"""RGB to 10-bit YCbCr and back, for codecs whose library takes YCbCr only.

BT.601 in full range, as JPEG has it (JFIF), with two bits more. Each step is one operation on whole
arrays: no library chooses an order of summation, and every machine gets the same samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lic_bench import Image

_R, _G, _B = np.float32(0.299), np.float32(0.587), np.float32(0.114)
_SCALE = np.float32(1023 / 255)
_MIDDLE = np.float32(512)


def from_rgb(image: Image) -> list[NDArray[np.float32]]:
    """Convert an image to Y, Cb and Cr.

    Parameters
    ----------
    image
        uint8, H x W x 3.

    Returns
    -------
    list
        Three float32 arrays, H x W, in units of a 10-bit sample: Y from 0 to 1023, Cb and Cr 511.5
        to either side of 512. They are not rounded.
    """
    r, g, b = (image[..., i] * _SCALE for i in range(3))
    y = r * _R + g * _G + b * _B
    cb = (b - y) * (np.float32(0.5) / (1 - _B)) + _MIDDLE
    cr = (r - y) * (np.float32(0.5) / (1 - _R)) + _MIDDLE
    return [y, cb, cr]


def to_rgb(y: NDArray[np.float32], cb: NDArray[np.float32], cr: NDArray[np.float32]) -> Image:
    """Convert Y, Cb and Cr, as `from_rgb` gives them, to an image: uint8, H x W x 3."""
    r = y + (cr - _MIDDLE) * (2 * (1 - _R))
    b = y + (cb - _MIDDLE) * (2 * (1 - _B))
    g = (y - r * _R - b * _B) / _G
    image = np.empty((*y.shape, 3), np.uint8)
    for i, plane in enumerate((r, g, b)):
        image[..., i] = np.clip(np.rint(plane / _SCALE), 0, 255)
    return image


def samples(plane: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round a plane to what a 10-bit codec takes: uint16, 0 to 1023."""
    return np.clip(np.rint(plane), 0, 1023).astype(np.uint16)


def halved(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Chroma in 4:2:0: each sample lies in the middle of four, and is their mean."""
    rows = plane[::2] + plane[1::2]
    mean: NDArray[np.float32] = (rows[:, ::2] + rows[:, 1::2]) / 4
    return mean


def doubled(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Back from `halved`, by linear interpolation between the middles."""
    for _ in range(2):  # first the rows, then, transposed, the columns
        rim = np.pad(plane, [(1, 1), (0, 0)], mode="edge")
        twice = np.empty((2 * plane.shape[0], plane.shape[1]), np.float32)
        twice[::2] = (3 * plane + rim[:-2]) / 4
        twice[1::2] = (3 * plane + rim[2:]) / 4
        plane = twice.T
    return plane
