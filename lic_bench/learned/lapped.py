"""A lapped orthogonal transform: blocks of 8x8, windows of 16x16, no edges between blocks.

H. S. Malvar, D. H. Staelin, "The LOT: transform coding without blocking effects", IEEE Transactions
on Acoustics, Speech, and Signal Processing 37 (4), 1989: windows of 16 samples at a stride of 8,
made of the discrete cosine transform and the principal components of what that leaves of a signal
of correlation 0.95.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import fold

STRIDE = 8
"""Pixels on a side of a block."""
OVERLAP = 4
"""Pixels by which a window reaches over each edge of its block."""
_CORRELATION = 0.95


def lapped() -> NDArray[np.float64]:
    """The windows of the transform: 8 x 16, orthonormal to each other and to their neighbours."""
    k, half = np.arange(STRIDE), STRIDE // 2
    dct = np.cos((2 * k[None] + 1) * k[:, None] * np.pi / (2 * STRIDE)) / 2
    dct[0] /= np.sqrt(2)
    even, odd = dct[::2], dct[1::2]
    difference, mirror = even - odd, (even - odd)[:, ::-1]
    first = np.block([[difference, mirror], [difference, -mirror]]) / 2
    distance = np.abs(np.subtract.outer(np.arange(16), np.arange(16)))
    covariance = first @ _CORRELATION**distance @ first.T
    windows = np.zeros((STRIDE, 2 * STRIDE))
    for rows, place in ((slice(0, half), 0), (slice(half, STRIDE), 1)):
        # Even windows and odd ones: between them there is no correlation.
        values, vectors = np.linalg.eigh(covariance[rows, rows])
        windows[place::2] = vectors[:, np.argsort(-values)].T @ first[rows]
    return windows


def mirrored(x: Tensor) -> Tensor:
    """Planes, B x C x H x W, with 4 pixels more on each side, their own mirror image."""
    m = OVERLAP
    x = torch.cat([x[..., :m].flip(3), x, x[..., -m:].flip(3)], 3)
    return torch.cat([x[..., :m, :].flip(2), x, x[..., -m:, :].flip(2)], 2)


def added_up(windows: Tensor, rows: int, columns: int) -> Tensor:
    """Windows, B x 256 x (rows columns), to a plane: B x 1 x 8 rows x 8 columns.

    At the border of the plane, what reaches over it is folded back, as if the picture went on as
    its own mirror image.
    """
    m = OVERLAP
    size = (STRIDE * rows + 2 * m, STRIDE * columns + 2 * m)
    x = fold(windows, size, 16, stride=STRIDE)
    for axis in (2, 3):
        x = x.transpose(axis, 3)
        inner = x[..., m:-m].clone()
        inner[..., :m] += x[..., :m].flip(3)
        inner[..., -m:] += x[..., -m:].flip(3)
        x = inner.transpose(axis, 3)
    return x
