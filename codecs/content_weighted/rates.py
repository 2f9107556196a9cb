"""Operating points by their rate: which Lagrange multiplier leads to it, and what lies between.

One network serves all operating points; what steers it (`STEERING`) is learned at some of them, and
goes on between and beyond these by straight lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lic_bench.errors import SpecError

# Multipliers and the rates that they led to, in bpp: means over the 24 Kodak images, real bytes,
# of weights trained with them on MSE and MS-SSIM at a width of 32 (MODEL_CARD.md).
_RATES = (
    (3152.0, 0.0595), (1500.0, 0.0877), (850.0, 0.1230), (480.0, 0.1688), (270.0, 0.2289),
    (150.0, 0.3123), (85.0, 0.4067), (45.0, 0.5238), (24.0, 0.6350), (15.1, 0.7186),
)  # fmt: skip

MULTIPLIERS = tuple(multiplier for multiplier, _ in _RATES)
"""Of the usual operating points: MSE, in squared 8-bit steps, that one bit per pixel is worth."""

STEERING = ("gain", "bias", "code_gain", "importance_bias", "digits.threshold")
"""Parameters of the network with a row for each operating point."""
_GAINS = ("gain", "code_gain")


def multiplier_for(bpp: float) -> float:
    """The Lagrange multiplier that led to this rate on Kodak.

    Between the rates that were measured, and beyond them, by straight lines in logarithms.

    Raises
    ------
    SpecError
        Where the rate is far from all that were measured.
    """
    if not 0.05 <= bpp <= 2:
        raise SpecError(f"--target-bpp {bpp:g} is out of reach: 0.05 to 2")
    multipliers, rates = np.log(np.array(_RATES).T)
    upper = int(np.searchsorted(rates, np.log(bpp)).clip(1, len(rates) - 1))
    slope = (multipliers[upper] - multipliers[upper - 1]) / (rates[upper] - rates[upper - 1])
    return float(np.exp(multipliers[upper] + slope * (np.log(bpp) - rates[upper])))


def steered_to(
    net: Mapping[str, Tensor], found: Sequence[float], wanted: Sequence[float]
) -> dict[str, Tensor]:
    """The parameters of a network, by name, for other operating points.

    Those in `STEERING` are taken `between` theirs, gains in logarithms; all others stay. It is a
    beginning for a training, and no end: beyond the points that there were, quality falls off the
    curve.
    """
    steered = {key: between(net[key], found, wanted) for key in STEERING if key not in _GAINS}
    gains = {key: between(net[key].clamp_min(1e-3).log(), found, wanted).exp() for key in _GAINS}
    return {**net, **steered, **gains}


def between(rows: Tensor, found: Sequence[float], wanted: Sequence[float]) -> Tensor:
    """Continue rows, one for each operating point, to others by straight lines.

    Parameters
    ----------
    rows
        Points x anything.
    found, wanted
        Lagrange multipliers of the rows, falling, and of the result's. The lines are drawn over
        their logarithms, through the two nearest.
    """
    if len(found) == 1:
        return rows.expand(len(wanted), *rows.shape[1:]).clone()
    at, to = (-torch.tensor(x, dtype=torch.float64).log() for x in (found, wanted))
    upper = torch.searchsorted(at, to).clamp(1, len(at) - 1)
    share = (to - at[upper - 1]) / (at[upper] - at[upper - 1])
    share = share.view(-1, *[1] * (rows.ndim - 1)).to(rows.dtype)
    return rows[upper - 1] + share * (rows[upper] - rows[upper - 1])
