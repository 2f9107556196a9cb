"""The decoder in whole numbers: the same pictures everywhere, as `lic_bench.learned.exact` has it.

What units see and keep is rounded to 2^-9 after each step, sigmoid and tanh are straight lines. The
linear path is sums of whole numbers in float64, below 2^53.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from lic_bench.codecs.recurrent.context import SIZE_BITS, Table
from lic_bench.codecs.recurrent.model import PRODUCTS, STRIDE, Decoder, Settings
from lic_bench.learned.exact import MOST, UNIT_BITS, Layer, exponentials, layer, proven, sums
from lic_bench.learned.lapped import added_up
from lic_bench.learned.tiles import tiles

PIXEL_BITS = 10
"""Binary places of a picture, in 8-bit steps."""
_STATE_BITS = 9  # of what units see and keep
_ONE = 1 << _STATE_BITS
_FINER = _STATE_BITS - UNIT_BITS  # more than `layer` counts
_OUT_BITS = 12  # of what the network adds, in units of the iteration's scale
_MATRIX_BITS = 14  # of the windows of the linear path
_COLOUR_BITS = 16  # of the matrix to RGB
_DETAIL = 4
_TILE = 256  # sites on a side of what a unit sees at once
_MARGIN = 2  # what a site of its state depends on: a gate, and what that sees
_LARGEST = 1 << (14 + PIXEL_BITS)  # of a picture, in units
# Columns: what Y, Cb and Cr add to R, G and B (ITU-T T.871).
_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])


class ExactDecoder:
    """The decoder of one network.

    Parameters
    ----------
    net
        The parameters of a `RecurrentNet` by name, in half precision or less.
    settings
        Its settings: with a linear path, additive, with hard GRUs.
    device
        Where the layers run.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """

    def __init__(self, net: Mapping[str, Tensor], settings: Settings, device: torch.device) -> None:
        self.device, self.settings = device, settings
        windows = net["linear.windows"].double().numpy()
        table = Table.of(net["linear.chosen"], net["linear.value"], net["linear.threshold"])
        self._chosen, self._value = table.chosen, table.value
        products = np.einsum("ai,bj->abij", windows, windows).reshape(PRODUCTS, -1)
        self._products = torch.from_numpy(np.rint(products * (1 << _MATRIX_BITS)))
        if float(self._products.abs().sum()) * float(table.value.max()) >= 2.0**50:
            raise ValueError("the linear path is too large to be exact")
        self._scale = net["linear.scale"].double().numpy()
        if not (np.frexp(self._scale)[0] == 0.5).all() or not self._scale.min() >= 1:
            raise ValueError("a scale is no power of two")
        self._seen = exponentials(net["linear.log_gain"].double().numpy()) / self._scale
        if not self._seen.max() * _LARGEST < 2.0**30:
            raise ValueError("a gain of the decoder is too large to be exact")
        self._first = self._layer(net, "decoder.first")
        self._last = self._layer(net, "decoder.last", _OUT_BITS)
        self._units = [
            [
                self._layer(net, f"decoder.units.{index}.{part}")
                for part in ("seen", "kept.0", "kept.1")
            ]
            for index in range(len(Decoder.HIDDEN))
        ]
        proven(device)

    def _layer(self, net: Mapping[str, Tensor], name: str, bits: int = _STATE_BITS) -> Layer:
        weight = net[f"{name}.weight"]
        bias = net.get(f"{name}.bias", torch.zeros(len(weight)))
        return layer(weight, bias * (1 << _FINER), bits - _FINER, self.device)

    def begin(self, rows: int, columns: int) -> Picture:
        """A picture of so many sites before its first iteration."""
        return Picture(self, rows, columns)

    def linear(self, symbols: NDArray[np.int8], iteration: int) -> Tensor:
        """What the symbols, pairs x H x W, add by the linear path: 3 x 16H x 16W, in units."""
        _, rows, columns = symbols.shape
        added = torch.zeros(3, rows * STRIDE, columns * STRIDE, dtype=torch.double)
        there = symbols.any((1, 2))
        for plane in range(3):
            own = np.flatnonzero(there & (self._chosen[iteration] // PRODUCTS == plane))
            if len(own):
                y = torch.from_numpy(symbols[own]).double().flatten(1)
                y *= torch.from_numpy(self._value[iteration][own, None])
                windows = self._products[self._chosen[iteration][own] % PRODUCTS].T @ y
                added[plane] = added_up(windows[None], rows, columns, STRIDE)[0, 0]
        return (added * 2.0 ** (PIXEL_BITS - SIZE_BITS - _MATRIX_BITS)).round_()

    def network(self, picture: Tensor, iteration: int, states: list[Tensor]) -> Tensor:
        """What the network adds to a picture, 1 x 3 x H x W, in units; the states are changed."""
        seen = (picture * float(self._seen[iteration] * 2.0 ** (_STATE_BITS - PIXEL_BITS))).round_()
        x = seen.clamp_(-MOST, MOST).float()
        y = _rounded(pixel_unshuffle(x, STRIDE), self._first).clamp_(-MOST, MOST)
        for index, (own, h) in enumerate(zip(self._units, states, strict=True)):
            if index == 2:
                y = torch.cat([y, pixel_unshuffle(x, _DETAIL)], 1)
            states[index] = _unit(y, h, own)
            y = pixel_shuffle(states[index], 2)
        out = sums(y, self._last).round_().double()
        return (out * float(self._scale[iteration] * 2.0 ** (PIXEL_BITS - _OUT_BITS))).round_()


class Picture:
    """A picture as it is decoded, iteration by iteration."""

    def __init__(self, decoder: ExactDecoder, rows: int, columns: int) -> None:
        self._decoder = decoder
        size = (1, 3, rows * STRIDE, columns * STRIDE)
        self.units = torch.zeros(size, dtype=torch.double, device=decoder.device)
        """Y, Cb and Cr less 127.5: 1 x 3 x H x W, in 2^-10 of an 8-bit step."""
        self._states = [
            torch.zeros(1, width, rows << index, columns << index, device=decoder.device)
            for index, width in enumerate(decoder.settings.decoder[1:])
        ]

    def add(self, symbols: NDArray[np.int8], iteration: int) -> None:
        """Add an iteration: its symbols, pairs x H/16 x W/16."""
        with torch.inference_mode():
            added = self._decoder.linear(symbols, iteration)
            self.units = (self.units + added.to(self.units.device)).clamp_(-_LARGEST, _LARGEST)
            more = self._decoder.network(self.units, iteration, self._states)
            self.units = (self.units + more).clamp_(-_LARGEST, _LARGEST)

    def pixels(self) -> NDArray[np.uint8]:
        """The picture as it is now: H x W x 3."""
        colour = np.rint(_RGB * (1 << _COLOUR_BITS)).astype(np.int64)
        planes = self.units[0].cpu().numpy().astype(np.int64)
        bits = _COLOUR_BITS + PIXEL_BITS
        total = np.zeros_like(planes) + (255 << bits >> 1) + (1 << bits >> 1)
        for k, p in zip(*np.nonzero(colour), strict=True):
            total[k] += colour[k, p] * planes[p]
        return (total >> bits).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def _rounded(x: Tensor, own: Layer) -> Tensor:
    return sums(x, own).round_()


def _unit(x: Tensor, h: Tensor, own: list[Layer]) -> Tensor:
    """The new state of a unit, tile by tile, which bounds the memory."""
    state = torch.empty_like(h)
    for tile in tiles(h.shape[2], h.shape[3], _TILE, _MARGIN):
        outer, (rows, columns) = (..., *tile.outer()), tile.own()
        state[..., rows, columns] = _gru(x[outer], h[outer], *own)[(..., *tile.within())]
    return state


def _gru(x: Tensor, h: Tensor, seen: Layer, gates: Layer, new: Layer) -> Tensor:
    """The new state of a hard GRU, in units of 2^-9."""
    z, r, candidate = _rounded(x, seen).chunk(3, 1)
    for_z, for_r = _rounded(h, gates).chunk(2, 1)
    z, r = (_sigmoid(z + for_z), _sigmoid(r + for_r))
    candidate = candidate + _rounded((r * h / _ONE).round_(), new)
    step = (_ONE - z) * (candidate.clamp_(-_ONE, _ONE) - h)
    state: Tensor = h + (step / _ONE).round_()
    return state


def _sigmoid(x: Tensor) -> Tensor:
    return (x / 4 + _ONE / 2).round_().clamp_(0, _ONE)
