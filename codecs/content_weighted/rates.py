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

# For a loss, multipliers and the rates that they led to, in bpp: means over the 24 Kodak images,
# real bytes, of the weights that come along (MODEL_CARD.md).
_RATES = {
    "mse": (
        (2400.0, 0.0337), (1450.0, 0.0517), (880.0, 0.0749), (530.0, 0.1077), (320.0, 0.1507),
        (195.0, 0.2079), (120.0, 0.2797), (72.0, 0.3699), (44.0, 0.4657), (28.0, 0.5683),
        (18.0, 0.6638),
    ),
    "mse+ms-ssim": (
        (3152.0, 0.0252), (1500.0, 0.0473), (850.0, 0.0720), (480.0, 0.1054), (270.0, 0.1490),
        (150.0, 0.2128), (85.0, 0.2919), (45.0, 0.4089), (24.0, 0.5410), (15.1, 0.6242),
        (11.6, 0.6706),
    ),
}  # fmt: skip
_OTHERS = "mse+ms-ssim"  # whose rates are taken for losses that were not measured

STEERING = ("log_gain", "bias", "log_code_gain", "importance_bias", "digits.threshold")
"""Parameters of the network with a row for each operating point."""


def usual_multipliers(loss: str) -> tuple[float, ...]:
    """Of the usual operating points: MSE, in squared 8-bit steps, that one bit a pixel is worth."""
    return tuple(multiplier for multiplier, _ in _RATES.get(loss, _RATES[_OTHERS]))


def multiplier_for(bpp: float, loss: str) -> float:
    """The Lagrange multiplier that led to this rate on Kodak, where this loss was minimised.

    Between the rates that were measured, and beyond them, by straight lines in logarithms.

    Raises
    ------
    SpecError
        Where the rate is far from all that were measured.
    """
    if not 0.03 <= bpp <= 2:
        raise SpecError(f"--target-bpp {bpp:g} is out of reach: 0.03 to 2")
    multipliers, rates = np.log(np.array(_RATES.get(loss, _RATES[_OTHERS])).T)
    upper = int(np.searchsorted(rates, np.log(bpp)).clip(1, len(rates) - 1))
    slope = (multipliers[upper] - multipliers[upper - 1]) / (rates[upper] - rates[upper - 1])
    return float(np.exp(multipliers[upper] + slope * (np.log(bpp) - rates[upper])))


def steered_to(
    net: Mapping[str, Tensor], found: Sequence[float], wanted: Sequence[float]
) -> dict[str, Tensor]:
    """The parameters of a network, by name, for other operating points.

    Those in `STEERING` are taken `between` theirs; all others stay. It is a beginning for a
    training, and no end: beyond the points that there were, quality falls off the curve.
    """
    return {**net, **{key: between(net[key], found, wanted) for key in STEERING}}


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
