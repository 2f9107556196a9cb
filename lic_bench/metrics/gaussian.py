"""The Gaussian filter of SSIM: where a measurement spends its time.

An 11x11 window with a standard deviation of 1.5 samples (Wang et al., IEEE TIP 2004, section
III.C), separable, only where it lies inside the plane. NumPy arrays are filtered by OpenCV, which
no array library comes near on a CPU; other arrays by matrix products, which suit a GPU.
"""

from __future__ import annotations

from functools import cache, singledispatch
from typing import Any

import cv2
import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

WINDOW = 11
"""Samples on a side of the window."""

_SIGMA = 1.5
_BORDER = WINDOW // 2

# With blocks of 32 the product with a banded matrix does four times the arithmetic of a loop over
# the taps, in a form that hardware likes best.
_BLOCK = 32


@singledispatch
def local_means(planes: Any) -> Any:
    """Take Gaussian-weighted means.

    Parameters
    ----------
    planes
        Floating-point array of any library, N x H x W, with H and W of at least `WINDOW`.

    Returns
    -------
    Array of the same kind, N x (H - 10) x (W - 10).
    """
    xp = array_namespace(planes)
    bands = xp.asarray(_banded_window(), dtype=planes.dtype, device=device(planes))
    for axis in (-2, -1):
        means = planes.shape[axis] - WINDOW + 1
        blocks = []
        for start in range(0, means, _BLOCK):
            size = min(_BLOCK, means - start)
            band = bands[:size, : size + WINDOW - 1]
            stop = start + size + WINDOW - 1
            if axis == -2:
                blocks.append(xp.matmul(band, planes[..., start:stop, :]))
            else:
                blocks.append(xp.matmul(planes[..., start:stop], band.T))
        planes = xp.concat(blocks, axis=axis)
    return planes


@local_means.register(np.ndarray)
def _(planes: NDArray[Any]) -> NDArray[Any]:
    filtered = [cv2.sepFilter2D(plane, -1, _window(), _window()) for plane in planes]
    inside = slice(_BORDER, -_BORDER)
    together = np.stack(filtered) if len(filtered) > 1 else filtered[0][None]
    return together[:, inside, inside]


@cache
def _window() -> NDArray[np.float64]:
    position = np.arange(WINDOW) - _BORDER
    taps: NDArray[np.float64] = np.exp(-(position**2) / (2 * _SIGMA**2))
    return taps / np.sum(taps)


@cache
def _banded_window() -> NDArray[np.float64]:
    """A matrix whose product with 42 samples is the 32 filtered ones: the window on each row."""
    matrix = np.zeros((_BLOCK, _BLOCK + WINDOW - 1))
    for row in range(_BLOCK):
        matrix[row, row : row + WINDOW] = _window()
    return matrix
