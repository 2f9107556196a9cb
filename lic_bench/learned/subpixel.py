"""Networks of 3x3 convolutions and sub-pixel layers, and the same in whole numbers.

In whole numbers they give the same on every machine, as a decoder must. Weights are half precision,
that is multiples of 2^-24. Activations are rounded to multiples of 2^-11 after each layer and held
below a bound. Then every product and sum of a convolution is a whole number below 2^53 of its unit,
which float64 holds without rounding, in whatever order it is added up. Sub-pixel layers only move
numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, unfold

SLOPE = 0.125
"""Of the leaky rectifier below 0: a power of two, which is exact."""
WEIGHT_BITS = 24
"""Binary places of weights."""
ACTIVATION_BITS = 11
"""Binary places of activations."""
MOST = 1 << 21
"""The largest size of an activation, in units."""
EXACT = 1 << 53


class Residual(nn.Module):
    """x + conv(relu(conv(x))), of 3x3; without padding 2 pixels smaller on each side."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=padding)
        self.second = nn.Conv2d(channels, channels, 3, padding=padding)
        self.lost = 2 * (1 - padding)

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W to the same, or to less."""
        y: Tensor = self.second(leaky_relu(self.first(x), SLOPE))
        lost = self.lost
        return y + (x[..., lost:-lost, lost:-lost] if lost else x)


class WholeLayers:
    """A sequence of padded 3x3 convolutions, residual blocks, rectifiers and sub-pixel layers.

    Parameters
    ----------
    layers
        Their parameters have half precision.
    device
        Where they run.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """

    def __init__(self, layers: nn.Sequential, device: torch.device) -> None:
        self._layers = [
            (part, {name: whole(x).to(device) for name, x in part.named_parameters()})
            for part in layers
        ]
        for _, weights in self._layers:
            for weight in weights.values():
                most = weight.abs().flatten(1).sum(1) if weight.ndim == 4 else weight.abs()
                if float(most.max()) * 2 * MOST >= EXACT:
                    raise ValueError("the weights of the decoder are too large to be exact")

    def __call__(self, x: Tensor) -> Tensor:
        """From whole numbers of units, 1 x C x H x W in float64, to such."""
        x = x.clamp(-MOST, MOST)
        for part, weights in self._layers:
            if isinstance(part, nn.Conv2d):
                x = _convolved(x, weights["weight"], weights["bias"])
            elif isinstance(part, Residual):
                y = _rectified(_convolved(x, weights["first.weight"], weights["first.bias"]))
                y = _convolved(y, weights["second.weight"], weights["second.bias"])
                x = (x + y).clamp(-MOST, MOST)
            else:
                x = _rectified(x) if isinstance(part, nn.LeakyReLU) else part(x)
        return x


def whole(x: Tensor) -> Tensor:
    """Parameters in units of 2^-24, in float64."""
    return (x.detach().double() * (1 << WEIGHT_BITS)).round()


def _convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution, rounded to units of an activation."""
    columns = unfold(x, 3, padding=1)
    sums = weight.flatten(1) @ columns[0] + bias[:, None] * (1 << ACTIVATION_BITS)
    y = (sums * 2.0**-WEIGHT_BITS).round().clamp(-MOST, MOST)
    return y.view(1, -1, *x.shape[2:])


def _rectified(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, (x * SLOPE).round())
