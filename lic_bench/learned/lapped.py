"""Lapped orthogonal transforms, a start for linear paths beside a network.

H. S. Malvar, D. H. Staelin, "The LOT: transform coding without blocking effects", IEEE Transactions
on Acoustics, Speech, and Signal Processing 37 (4), 1989: windows of 2N samples at a stride of N,
made of the discrete cosine transform and the principal components of what that leaves of a signal
of correlation 0.95. At the border a plane goes on as its own mirror image.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import fold

STRIDE = 8
"""Pixels on a side of the block that one site stands for, where nothing else is said."""
WINDOW = 16
"""Pixels on a side of a window at that stride."""
OVERLAP = 4
"""Pixels by which a window reaches over each edge of its block, at that stride."""
_CORRELATION = 0.95


def lapped(stride: int = STRIDE) -> NDArray[np.float64]:
    """The windows of the transform: N x 2N, orthonormal to each other and to their neighbours.

    Parameters
    ----------
    stride
        N, even.
    """
    k, half = np.arange(stride), stride // 2
    dct = np.cos((2 * k[None] + 1) * k[:, None] * np.pi / (2 * stride)) * np.sqrt(2 / stride)
    dct[0] /= np.sqrt(2)
    even, odd = dct[::2], dct[1::2]
    difference, mirror = even - odd, (even - odd)[:, ::-1]
    first = np.block([[difference, mirror], [difference, -mirror]]) / 2
    distance = np.abs(np.subtract.outer(np.arange(2 * stride), np.arange(2 * stride)))
    covariance = first @ _CORRELATION**distance @ first.T
    windows = np.zeros((stride, 2 * stride))
    for rows, place in ((slice(0, half), 0), (slice(half, stride), 1)):
        # Even windows and odd ones: between them there is no correlation.
        values, vectors = np.linalg.eigh(covariance[rows, rows])
        windows[place::2] = vectors[:, np.argsort(-values)].T @ first[rows]
    return windows


def products() -> Tensor:
    """The 64 windows of a plane, products of two of `lapped`: float32, 64 x 1 x 16 x 16."""
    windows = lapped()
    both = np.einsum("ai,bj->abij", windows, windows)
    return torch.from_numpy(both).float().reshape(-1, 1, WINDOW, WINDOW)


def mirrored(x: Tensor, m: int = OVERLAP) -> Tensor:
    """Planes, B x C x H x W, with m pixels more on each side: their own mirror image."""
    x = torch.cat([x[..., :m].flip(3), x, x[..., -m:].flip(3)], 3)
    return torch.cat([x[..., :m, :].flip(2), x, x[..., -m:, :].flip(2)], 2)


def added_up(windows: Tensor, rows: int, columns: int, stride: int = STRIDE) -> Tensor:
    """Add up windows at a stride of N: the inverse of a lapped transform.

    At the border of the picture, what reaches over it is folded back, as if the picture went on as
    its own mirror image.

    Parameters
    ----------
    windows
        B x (4N² planes) x (rows columns).

    Returns
    -------
    B x planes x N rows x N columns.
    """
    m = stride // 2
    size = (stride * rows + 2 * m, stride * columns + 2 * m)
    x = fold(windows, size, 2 * stride, stride=stride)
    for axis in (2, 3):
        x = x.transpose(axis, 3)
        inner = x[..., m:-m].clone()
        inner[..., :m] += x[..., :m].flip(3)
        inner[..., -m:] += x[..., -m:].flip(3)
        x = inner.transpose(axis, 3)
    return x


def added_up_exactly(windows: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same of a plane at a stride of 8, in whole numbers below 2^53: any order of sums fits.

    Parameters
    ----------
    windows
        N x 256.
    y
        What each is multiplied by: N x H x W.

    Returns
    -------
    8H x 8W.
    """
    _, rows, columns = y.shape
    m = OVERLAP
    canvas = np.zeros((STRIDE * rows + 2 * m, STRIDE * columns + 2 * m))
    for row in range(rows):
        strip = windows.T @ y[:, row]  # row by row: 256 numbers for 64 pixels
        strip = strip.reshape(WINDOW, 2, STRIDE, columns).transpose(1, 0, 3, 2)
        own = canvas[STRIDE * row : STRIDE * row + WINDOW]
        for half, start in enumerate((0, STRIDE)):
            own[:, start : start + STRIDE * columns] += strip[half].reshape(WINDOW, -1)
    # What reaches over the border is folded back.
    for _ in range(2):
        canvas = canvas.T
        canvas[m : 2 * m] += canvas[m - 1 :: -1]
        canvas[-2 * m : -m] += canvas[: -m - 1 : -1]
        canvas = canvas[m:-m]
    return canvas
