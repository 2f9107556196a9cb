"""Lapped orthogonal transforms, as a start for networks.

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

_CORRELATION = 0.95


def lapped(stride: int) -> NDArray[np.float64]:
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


def mirrored(x: Tensor, m: int) -> Tensor:
    """Planes, B x C x H x W, with m samples more on each side: their own mirror image."""
    x = torch.cat([x[..., :m].flip(3), x, x[..., -m:].flip(3)], 3)
    return torch.cat([x[..., :m, :].flip(2), x, x[..., -m:, :].flip(2)], 2)


def added_up(windows: Tensor, rows: int, columns: int, stride: int) -> Tensor:
    """Windows, B x (C 4N²) x (rows columns), to planes: B x C x N rows x N columns.

    What reaches over the border is folded back.
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
