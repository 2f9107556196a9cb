"""The decoder in whole numbers: the same pixels on every machine.

Weights are half precision, that is multiples of 2^-24. Activations are rounded to multiples of a
power of two after each layer and held below a bound. Then every product and sum of a convolution is
a whole number below 2^53 of its unit, which float64 holds without rounding, in whatever order it is
added up. Sub-pixel layers only move numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import unfold

from lic_bench.codecs.compressive_autoencoder.model import (
    SLOPE,
    CompressiveAutoencoder,
    Residual,
    synthesised,
)
from lic_bench.learned.exact import exponentials

_WEIGHT = 24  # binary places of weights
_ACTIVATION = 11  # of what a convolution sees
_MOST = 1 << 21  # and the most that it is, in units
_COEFFICIENT = 8  # of what the linear path sees, in 8-bit steps
_MOST_COEFFICIENT = 1 << 21
_PIXEL = 12  # of samples
_LARGEST_FACTOR = 1 << 10
_EXACT = 1 << 53


class ExactDecoder:
    """The decoder of one network.

    Parameters
    ----------
    net
        A network whose parameters have half precision.
    device
        Where the layers run.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """

    def __init__(self, net: CompressiveAutoencoder, device: torch.device) -> None:
        self._device, self._linear = device, net.settings.linear
        self._layers: list[tuple[nn.Module, dict[str, Tensor]]] = [
            (part, {name: self._whole(x) for name, x in part.named_parameters()})
            for part in net.decoder
        ]
        for _, weights in self._layers:
            for weight in weights.values():
                most = weight.abs().flatten(1).sum(1).max() if weight.ndim == 4 else weight.abs()
                if float(most.max()) * 2 * _MOST >= _EXACT:
                    raise ValueError("the weights of the decoder are too large to be exact")
        steps = _factors(-net.log_scale)
        self._mean = self._at_pixels(net.mean)
        if self._linear:
            self._gain, self._steps = _factors(net.log_gain), steps
            self._factor = _factors(net.log_step)[:, None]
            self._windows = self._whole(net.synthesis)
            most = 8 * float(self._windows.abs().sum(0).max()) * _MOST_COEFFICIENT
            if most >= _EXACT:
                raise ValueError("the windows of the decoder are too large to be exact")
        else:
            self._gain = steps
            self._factor = net.deviation.double().numpy()[None].repeat(len(steps), 0)
            if float(np.abs(self._factor).max()) >= _LARGEST_FACTOR:
                raise ValueError("the deviations of the decoder are too large to be exact")

    def pixels(self, z: NDArray[np.int32], rate: int) -> NDArray[np.uint8]:
        """An image, 8H x 8W x 3, of rounded coefficients at a rate, 96 x H x W."""
        whole = torch.from_numpy(z).double()[None].to(self._device)
        with torch.inference_mode():
            gain = self._column(self._gain[rate]) * 2.0**_ACTIVATION
            x = (whole * gain).round().clamp(-_MOST, _MOST)
            for part, weights in self._layers:
                x = self._run(part, weights, x)
            # The last layer has no bound: its units are finer than a sample's.
            x = (x * 2.0 ** (_PIXEL - _ACTIVATION)) * self._column(self._factor[rate])
            x = x.round() + self._mean[:, None, None]
            if self._linear:
                y = whole * self._column(self._steps[rate]) * 2.0**_COEFFICIENT
                y = y.round().clamp(-_MOST_COEFFICIENT, _MOST_COEFFICIENT)
                shift = 2.0 ** (_PIXEL - _WEIGHT - _COEFFICIENT)
                x = x + (synthesised(y, self._windows) * shift).round()
            x = (x * 2.0**-_PIXEL + 0.5).floor().clamp(0, 255)
        image: NDArray[np.uint8] = x[0].permute(1, 2, 0).to(torch.uint8).cpu().numpy()
        return image

    def _run(self, part: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        if isinstance(part, nn.Conv2d):
            return _convolved(x, weights["weight"], weights["bias"])
        if isinstance(part, Residual):
            y = _rectified(_convolved(x, weights["first.weight"], weights["first.bias"]))
            y = _convolved(y, weights["second.weight"], weights["second.bias"])
            return (x + y).clamp(-_MOST, _MOST)
        return _rectified(x) if isinstance(part, nn.LeakyReLU) else part(x)

    def _whole(self, x: Tensor) -> Tensor:
        return (x.detach().double() * (1 << _WEIGHT)).round().to(self._device)

    def _at_pixels(self, x: Tensor) -> Tensor:
        return (x.double() * (1 << _PIXEL)).round().to(self._device)

    def _column(self, x: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(x).to(self._device)[:, None, None]


def _convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution, rounded to units of an activation."""
    columns = unfold(x, 3, padding=1)
    sums = weight.flatten(1) @ columns[0] + bias[:, None] * (1 << _ACTIVATION)
    y = (sums * 2.0**-_WEIGHT).round().clamp(-_MOST, _MOST)
    return y.view(1, -1, *x.shape[2:])


def _rectified(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, (x * SLOPE).round())


def _factors(logs: Tensor) -> NDArray[np.float64]:
    """Exp, in multiples of 2^-20, row by row."""
    values = logs.detach().double().numpy()
    if values.max() >= np.log(_LARGEST_FACTOR):
        raise ValueError("the scales of the decoder are too large to be exact")
    return np.stack([exponentials(np.ravel(row)) for row in np.atleast_2d(values.T).T]).reshape(
        values.shape
    )
