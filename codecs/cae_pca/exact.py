"""The decoder in whole numbers: the same pixels everywhere, as `lic_bench.learned.exact` has it.

The rotation and the linear path are sums of whole numbers in float64, below 2^53.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lic_bench.codecs.cae_pca.model import LATENTS, PLANES, Settings
from lic_bench.learned.exact import MOST, UNIT_BITS, exponentials, layer, proven, sums
from lic_bench.learned.lapped import STRIDE, added_up_exactly
from lic_bench.learned.tiles import tiles

_VALUE_BITS = 8  # binary places of latents, in 8-bit steps
_MATRIX_BITS = 14  # of the rotation and of the windows
_PIXEL_BITS = 12  # of samples
_COLOUR_BITS = 16  # of the matrix to RGB
_PLAIN = 4  # without gains all in the network, latents of -1 to 1 first, is so many times as large
_SLOPE_BITS = 8
# Larger images are put together from tiles of so many sites a side. A margin wider than what a
# site can see (3 sites) makes the seams vanish.
_TILE = 64
_MARGIN = 4
# Columns: what Y, Cb and Cr add to R, G and B (ITU-T T.871).
_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])

Numbers = NDArray[np.float64]


class ExactDecoder:
    """The decoder of one network.

    Parameters
    ----------
    net
        The parameters of a `CaeNet` by name, in half precision or less.
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
        self._net, self._settings, self._device = net, settings, device
        self._rotation = _whole(net["rotation"])
        self._windows = np.zeros((LATENTS, 256))
        if settings.linear:
            self._windows = _whole(net["synthesis.weight"]).reshape(LATENTS, 256)
        most = np.abs(self._windows).sum() * np.abs(self._rotation).sum(2).max()
        if not most * 2.0 ** (11 + _VALUE_BITS - _MATRIX_BITS) < 2.0**50:
            raise ValueError("the weights of the decoder are too large to be exact")
        self._layers, self._slopes = [], []
        for index in range(0, 11, 2):
            weight, bias = net[f"decoder.{index}.weight"], net[f"decoder.{index}.bias"]
            bias = bias if settings.points else _PLAIN * bias
            bits = UNIT_BITS if index < 10 else _PIXEL_BITS
            self._layers.append(layer(weight, bias, bits, device, doubling=index % 4 == 0))
            if index < 10:
                slope = float(net[f"decoder.{index + 1}.weight"]) * (1 << _SLOPE_BITS)
                if abs(slope) > 1 << _SLOPE_BITS:
                    raise ValueError("a slope of the decoder is beyond 1")
                self._slopes.append(round(slope) / (1 << _SLOPE_BITS))
        proven(device)

    def pixels(
        self, v: NDArray[np.int16], unknown: NDArray[np.uint8], point: int
    ) -> NDArray[np.uint8]:
        """From the numbers that are coded to 8H x 8W x 3.

        Parameters
        ----------
        v, unknown
            What is known of the numbers, and how many bits are not: 96 x H x W.
        point
            The operating point.
        """
        rows, columns = v.shape[1:]
        colour = np.rint(_RGB * (1 << _COLOUR_BITS)).astype(np.int64)
        total = np.zeros((3, rows * STRIDE, columns * STRIDE), np.int64)
        for plane in range(PLANES):
            own = slice(plane * LATENTS, (plane + 1) * LATENTS)
            samples = self._plane(v[own], unknown[own], plane, point)
            for k in range(3):
                if colour[k, plane]:
                    total[k] += colour[k, plane] * samples
        bits = _COLOUR_BITS + _PIXEL_BITS
        total += (255 << bits >> 1) + (1 << bits >> 1)
        return (total >> bits).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)

    def _plane(
        self, v: NDArray[np.int16], unknown: NDArray[np.uint8], plane: int, point: int
    ) -> NDArray[np.int64]:
        """The samples of a plane, less 127.5."""
        net, settings = self._net, self._settings
        offset, gain = np.full(LATENTS, 0.5), np.full(LATENTS, _PLAIN / 2048)
        step = 2048.0 * 2.0 ** -((point + 1) // 2)
        if settings.points:
            row = min(max(point - settings.finest + settings.points - 1, 0), settings.points - 1)
            offset = net["offset"][row].double().numpy()
            gain = exponentials(net["log_gain"][row].double().numpy()) / step
        # In 2^-8 of an 8-bit step of an orthonormal latent.
        one = 2.0 ** (12 - settings.bits + _VALUE_BITS)
        inside = np.rint(offset[:, None, None] * 2.0**unknown * (unknown > 0) * one)
        y = v.astype(np.float64) * one + np.sign(v) * inside
        y = np.tensordot(self._rotation[plane], y, 1)
        y = np.floor(y / (1 << _MATRIX_BITS) + 0.5)
        scale = 2.0 ** (UNIT_BITS - _VALUE_BITS) * gain
        x = np.rint(y * scale[:, None, None]).clip(-MOST, MOST).astype(np.float32)
        samples = self._network(torch.from_numpy(x)[None])
        samples *= step if settings.points else 127.5 / _PLAIN
        whole: NDArray[np.int64] = np.rint(samples + self._linear(y)).astype(np.int64)
        return whole

    def _network(self, x: Tensor) -> Numbers:
        """The network's part: 1 x 32 x H x W, in units, to 8H x 8W, in 2^-12."""
        rows, columns = x.shape[2:]
        image = np.zeros((STRIDE * rows, STRIDE * columns))
        for tile in tiles(rows, columns, _TILE, _MARGIN):
            with torch.inference_mode():
                z = self._run(x[..., *tile.outer()].to(self._device)).cpu().numpy()[0, 0]
            image[tile.own(STRIDE)] = z[tile.within(STRIDE)]
        return image

    def _run(self, x: Tensor) -> Tensor:
        for own, slope in zip(self._layers, self._slopes, strict=False):
            x = sums(x, own).round_().clamp_(-MOST, MOST)
            x = torch.where(x > 0, x, (x * slope).round_())
        return sums(x, self._layers[-1]).round_()

    def _linear(self, y: Numbers) -> Numbers:
        """The linear path: latents, 32 x H x W, to 8H x 8W, in 2^-12 of an 8-bit step."""
        # Of the latents' places and the windows' to those of samples.
        canvas = added_up_exactly(self._windows, y)
        plane: Numbers = np.floor(canvas / 2.0 ** (_MATRIX_BITS + _VALUE_BITS - _PIXEL_BITS) + 0.5)
        return plane


def _whole(x: Tensor) -> Numbers:
    whole: Numbers = np.rint(x.double().numpy() * (1 << _MATRIX_BITS))
    return whole
