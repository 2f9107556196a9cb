"""The two quantisers, of features and of importance, and what training puts in their place.

Section 2.2: a feature z of 0 to 1 becomes idx = floor(2^n z), n = 4 (equation 1). Section 2.3: an
importance P of 1 to n tells how many of its most significant bits are kept:
idx' = (idx >> (n - P)) << (n - P) (equation 3). In training both are soft: sums over all levels,
weighed by how near each is (equation 2, after E. Agustsson et al., "Soft-to-hard vector
quantization for end-to-end learning compressible representations", 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 4
"""n, of a feature."""
LEVELS = 1 << BITS
SHARPNESS = 1.0
"""Sigma of features, where the levels lie 1 apart."""
MAP_SHARPNESS = 3.0
"""Sigma of the importance."""


def indices(z: Tensor) -> Tensor:
    """Idx = floor(2^n z), at most 2^n - 1: whole numbers, of z's dtype."""
    return (z * LEVELS).floor().clamp(0, LEVELS - 1)


def signed(index: Tensor) -> Tensor:
    """An index as its first bit, the sign, and n - 1 bits of magnitude: -7 to 7.

    With the middle of the range as 0, the bits after the first are those of the distance from the
    middle: inverted where the first is 0. Cut off, they leave 0 in the middle rather than move it.
    Both 7 and 8 become 0.
    """
    half = LEVELS // 2
    return torch.where(index < half, index - (half - 1), index - half)


def kept(v: Tensor, importance: Tensor | int) -> Tensor:
    """What is kept of whole numbers with so many most significant bits, 1 to n.

    Of an index all n bits count; of a `signed` number the first is the sign, and stays.
    """
    unit = 2.0 ** (BITS - torch.as_tensor(importance))
    return v.sign() * (v.abs() / unit).floor() * unit


def nearness(x: Tensor, centres: Tensor, sharpness: float) -> Tensor:
    """softmax_l(-sigma (x - c_l)^2): levels x the shape of x."""
    c = centres.reshape(-1, *[1] * x.ndim)
    return torch.softmax(-sharpness * (x - c).square(), 0)


def soft_indices(z: Tensor) -> Tensor:
    """A stand-in of `indices` that has a slope, equation 2.

    The nearest level by distance is that which the floor gives, where distances are to the middle
    of each level's interval.
    """
    level = torch.arange(LEVELS, device=z.device, dtype=z.dtype)
    near = nearness(z * LEVELS, level + 0.5, SHARPNESS)
    return torch.einsum("l...,l->...", near, level)


def importance_nearness(p: Tensor) -> Tensor:
    """How near an importance is to 1, ... n bits: n x the shape of p."""
    bits = torch.arange(1, BITS + 1, device=p.device, dtype=p.dtype)
    return nearness(p, bits, MAP_SHARPNESS)
