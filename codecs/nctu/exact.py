"""The decoder in whole numbers: the same pixels everywhere, as `lic_bench.learned.exact` has it.

The linear path is sums of whole numbers in float64, below 2^53.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lic_bench.codecs.nctu.model import (
    CHANNELS,
    MAGNITUDES,
    MEAN,
    MIDDLE,
    VARIANCE,
    Convolution,
    Settings,
    decoder,
)
from lic_bench.codecs.nctu.quantiser import LEVELS
from lic_bench.learned.exact import MOST, UNIT_BITS, exponentials, layer, proven, sums
from lic_bench.learned.lapped import STRIDE, WINDOW, added_up_exactly
from lic_bench.learned.tiles import tiles

_VALUE_BITS = 8  # binary places of values on the linear path, in 8-bit steps
_MATRIX_BITS = 14  # of the windows
_PIXEL_BITS = 12  # of samples
# Larger images are put together from tiles of so many sites a side.
_TILE = 64

Numbers = NDArray[np.float64]


class _Exact(nn.Module):
    """A convolution and its normalisation in whole numbers: units of 2^-6 in, `bits` out."""

    def __init__(self, made: Convolution, bits: int, device: torch.device) -> None:
        super().__init__()
        weight, bias = folded(made)
        doubling = isinstance(made.conv, nn.ConvTranspose2d)
        self._layer = layer(weight, bias, bits, device, doubling)

    def forward(self, x: Tensor) -> Tensor:
        """Sums of what fits, as floats that are whole."""
        return sums(x.clamp(-MOST, MOST), self._layer).round_()


def folded(made: Convolution) -> tuple[Tensor, Tensor]:
    """Weights and biases of a convolution, its normalisation included: float64."""
    weight = made.conv.weight.detach().double()
    norm = made.norm
    if norm is None:
        return weight, cast(Tensor, made.conv.bias).detach().double()
    deviation = (cast(Tensor, norm.running_var).double() + norm.eps).sqrt()
    factor = norm.weight.detach().double() / deviation
    bias = norm.bias.detach().double() - cast(Tensor, norm.running_mean).double() * factor
    outputs = 1 if isinstance(made.conv, nn.ConvTranspose2d) else 0
    shape = [1, 1, 1, 1]
    shape[outputs] = -1
    return weight * factor.reshape(shape), bias


class ExactDecoder:
    """The decoder of one network.

    Parameters
    ----------
    net
        The parameters of a `NctuNet` by name, of half precision.
    settings
        Its settings.
    device
        Where the layers run.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """

    def __init__(self, net: Mapping[str, Tensor], settings: Settings, device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._layers = decoder(settings).eval()
        own = {k.removeprefix("decoder."): x for k, x in net.items() if k.startswith("decoder.")}
        self._layers.load_state_dict(own)
        *_, last = self._layers
        _replace(self._layers, device)
        self._layers[-1] = _Exact(cast(Convolution, last), _PIXEL_BITS, device)
        if settings.linear:
            self._tables(net)
        proven(device)

    def _tables(self, net: Mapping[str, Tensor]) -> None:
        """What numbers stand for at each point: inputs of the network, and on the linear path."""
        level, bend, gain = (net[x].double().numpy() for x in ("levels", "bend", "gain"))
        step = exponentials(net["log_step"].double().numpy().ravel()).reshape(bend.shape)
        room = 1 - bend[..., None] * np.abs(level)
        if not (room > 0.01).all():
            raise ValueError("levels beyond the bend of their steps")
        value = np.rint(level / room * step[..., None] * (1 << _VALUE_BITS))
        self._value = _mirrored(value)
        self._input = _mirrored(np.rint(level * gain[..., None] * (1 << UNIT_BITS)))
        self._scale = net["scale"].double().numpy()
        windows = net["synthesis"].double().numpy().reshape(CHANNELS, 3, WINDOW**2)
        self._windows = np.rint(windows * (1 << _MATRIX_BITS))
        most = np.abs(self._windows).sum((0, 2)).max() * np.abs(value).max()
        if not most < 2.0**50:
            raise ValueError("the weights of the decoder are too large to be exact")

    def pixels(self, v: NDArray[np.int16], point: int) -> NDArray[np.uint8]:
        """From the numbers that are coded, 16 x H x W, to 8H x 8W x 3."""
        if not self._settings.linear:
            total = self._network(v.astype(np.float32) * ((1 << UNIT_BITS) / LEVELS))
            total *= np.sqrt(np.array(VARIANCE) + 1e-10)[:, None, None]
            total += np.array(MEAN)[:, None, None] * (1 << _PIXEL_BITS)
        else:
            row, channel = v.astype(np.int64) + MAGNITUDES - 1, np.arange(CHANNELS)[:, None, None]
            total = self._network(self._input[point][channel, row].astype(np.float32))
            total *= self._scale[point]
            value = self._value[point][channel, row]
            for plane in range(3):
                total[plane] += self._linear(plane, value)
            total += MIDDLE * (1 << _PIXEL_BITS)
        # A picture may be large: nothing of it is held twice.
        total /= 1 << _PIXEL_BITS
        total += 0.5
        np.floor(total, out=total)
        np.clip(total, 0, 255, out=total)
        pixels: NDArray[np.uint8] = total.astype(np.uint8).transpose(1, 2, 0)
        return pixels

    def _linear(self, plane: int, value: Numbers) -> Numbers:
        """A plane of the linear path, in 2^-12 of an 8-bit step."""
        canvas = added_up_exactly(self._windows[:, plane], value)
        places = _MATRIX_BITS + _VALUE_BITS - _PIXEL_BITS
        whole: Numbers = np.floor(canvas / 2.0**places + 0.5)
        return whole

    def _network(self, x: NDArray[np.float32]) -> Numbers:
        """The network's part: 16 x H x W, in units, to 3 x 8H x 8W, in 2^-12."""
        _, rows, columns = x.shape
        image = np.zeros((3, STRIDE * rows, STRIDE * columns))
        inputs = torch.from_numpy(x)[None].clamp(-MOST, MOST)
        for tile in tiles(rows, columns, _TILE, self._settings.reach):
            with torch.inference_mode():
                part = self._layers(inputs[:, :, *tile.outer()].to(self._device))
            image[:, *tile.own(STRIDE)] = part[0][:, *tile.within(STRIDE)].cpu().numpy()
        return image


def _replace(module: nn.Module, device: torch.device) -> None:
    for name, child in module.named_children():
        if isinstance(child, Convolution):
            setattr(module, name, _Exact(child, UNIT_BITS, device))
        else:
            _replace(child, device)


def _mirrored(table: Numbers) -> Numbers:
    """A table of magnitudes as one of numbers from -7 to 7; 0 stays 0."""
    return np.concatenate([-table[..., :0:-1], np.zeros_like(table[..., :1]), table[..., 1:]], -1)
