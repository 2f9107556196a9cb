"""The decoder in whole numbers: the same pixels on every machine (see `learned.subpixel`)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lic_bench.codecs.compressive_autoencoder.model import CompressiveAutoencoder, synthesised
from lic_bench.learned.exact import exponentials
from lic_bench.learned.subpixel import ACTIVATION_BITS, EXACT, WEIGHT_BITS, WholeLayers, whole

_COEFFICIENT = 8  # binary places of what the linear path sees, in 8-bit steps
_MOST_COEFFICIENT = 1 << 21  # and the most that it is, in units
_PIXEL = 12  # binary places of samples
_LARGEST_FACTOR = 1 << 10


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
        self._layers = WholeLayers(net.decoder, device)
        self._steps = _exponentials(-net.log_scale)
        self._mean = (net.mean.double() * (1 << _PIXEL)).round()[:, None, None].to(device)
        if self._linear:
            self._gain = _exponentials(net.log_gain)
            self._factor = _exponentials(net.log_step[:, None])
            self._windows = whole(net.synthesis).to(device)
            # A pixel is in up to four windows, and where these are folded back, in as many more.
            most = 16 * float(self._windows.abs().sum(0).max()) * _MOST_COEFFICIENT
        else:
            self._gain = self._steps
            self._factor = net.deviation.double().numpy()[None].repeat(len(self._gain), 0)
            most = float(np.abs(self._factor).max()) / _LARGEST_FACTOR * EXACT
        if most >= EXACT:
            raise ValueError("the weights of the decoder are too large to be exact")

    def pixels(self, z: NDArray[np.int32], rate: int) -> NDArray[np.uint8]:
        """An image, 8H x 8W x 3, of rounded coefficients at a rate, 96 x H x W."""
        numbers = torch.from_numpy(z).double()[None].to(self._device)
        with torch.inference_mode():
            x = (numbers * self._column(self._gain[rate]) * (1 << ACTIVATION_BITS)).round()
            x = self._layers(x) * (2.0 ** (_PIXEL - ACTIVATION_BITS))
            x = (x * self._column(self._factor[rate])).round() + self._mean
            if self._linear:
                y = (numbers * self._column(self._steps[rate]) * (1 << _COEFFICIENT)).round()
                y = y.clamp(-_MOST_COEFFICIENT, _MOST_COEFFICIENT)
                unit = 2.0 ** (_PIXEL - WEIGHT_BITS - _COEFFICIENT)
                x = x + (synthesised(y, self._windows) * unit).round()
            x = (x * 2.0**-_PIXEL + 0.5).floor().clamp(0, 255)
        image: NDArray[np.uint8] = x[0].permute(1, 2, 0).to(torch.uint8).cpu().numpy()
        return image

    def _column(self, x: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(x).to(self._device)[:, None, None]


def _exponentials(logs: Tensor) -> NDArray[np.float64]:
    """Exp of each, in multiples of 2^-20."""
    values = logs.detach().double().numpy()
    if float(values.max()) >= np.log(_LARGEST_FACTOR):
        raise ValueError("the scales of the decoder are too large to be exact")
    return exponentials(values.ravel()).reshape(values.shape)
