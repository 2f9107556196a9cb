"""The decoder in whole numbers: the same pixels on every machine, with any number of threads.

The network is that of `model`, its layers those of `lic_bench.learned.exact`, which explains them.
What looks at the code, which is nearly all 0, is added up in 32-bit integers, one digit after the
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from lic_bench.codecs.content_weighted.digits import HIGHEST
from lic_bench.codecs.content_weighted.model import MEANS, STRIDE, Settings
from lic_bench.learned.compiled import compiled
from lic_bench.learned.exact import MOST as _MOST
from lic_bench.learned.exact import UNIT_BITS as _UNIT_BITS
from lic_bench.learned.exact import exponentials, layer, proven, sums
from lic_bench.learned.pyramid import FRACTION_BITS, rebuild
from lic_bench.learned.tiles import tiles

_FIRST_BITS = 16  # binary places of the sums of the first layer
_PIXEL_BITS = 12  # and of those that make a pixel, in 8-bit steps
# Larger images are put together from tiles of so many sites a side. A margin wider than what a
# site can see (7.6 sites) makes the seams vanish.
_TILE = 128
_MARGIN = 10


class ExactDecoder:
    """The decoder of one network.

    Parameters
    ----------
    net
        The parameters of a `ContentWeightedNet` by name, of at most 12 binary digits each.
    settings
        Its settings.
    device
        Where the layers run. What looks at the code runs on the CPU.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """

    def __init__(self, net: Mapping[str, Tensor], settings: Settings, device: torch.device) -> None:
        self._net, self._settings, self._device = dict(net), settings, device
        if settings.coefficients:
            # The first channel of each coefficient, that of its highest digit.
            coefficient, place = (net[f"digits.{key}"].numpy() for key in ("coefficient", "place"))
            self._first = np.searchsorted(coefficient, np.arange(settings.coefficients))
            self._places = place[self._first] + 1
        else:
            self._first = np.arange(settings.n)
            self._places = np.ones(settings.n, np.int64)
        last = "decoder.13"
        self._layers = {
            name: layer(net[f"{name}.weight"], net[f"{name}.bias"], _UNIT_BITS, device)
            for name in (
                "decoder.2.a", "decoder.2.b", "decoder.3", "decoder.5.a", "decoder.5.b",
                "decoder.7", "decoder.9.a", "decoder.9.b", "decoder.11",
            )
        }  # fmt: skip
        weight, bias = (127.5 * net[f"{last}.{part}"].double() for part in ("weight", "bias"))
        self._layers[last] = layer(weight, bias + 127.5, _PIXEL_BITS, device)
        self._check_first()
        proven(device)

    def _check_first(self) -> None:
        """Refuse weights with which the sums over the code could exceed 32 bits."""
        net = self._net
        gain = torch.ones(1, self._settings.n, dtype=torch.float64)
        if self._settings.steered:
            gain = net["log_code_gain"].double().exp()
        if self._settings.coefficients:
            lowest = self._first[:MEANS] + 2 * (self._places[:MEANS] - 1)
            for sign in (0, 1):
                gain[:, lowest + sign] *= 1.5  # with the fraction
                gain[:, self._first + sign] *= HIGHEST
        first = self._most(net["decoder.0.weight"].double().abs().sum((2, 3)).T, gain)
        largest = (first + float(net["decoder.0.bias"].abs().max())) * (1 << _FIRST_BITS)
        if self._settings.coefficients:
            # Of the windows, four overlap.
            windows = self._most(net["synthesis.weight"].double().abs().flatten(1), gain)
            largest = max(largest, 4 * 127.5 * windows * (1 << _PIXEL_BITS))
        if not largest < 1.9 * (1 << 30):
            raise ValueError("the weights of the decoder are too large to be exact")

    def _most(self, sizes: Tensor, gain: Tensor) -> float:
        """The largest sum that a code can make: of n x anything, gains of points x n."""
        if self._settings.coefficients:
            # Of a digit's two channels, one is 0.
            sums = [(sizes * own[:, None]).unflatten(0, (-1, 2)).amax(1).sum(0) for own in gain]
        else:
            sums = [(sizes * own[:, None]).sum(0) for own in gain]
        return float(torch.stack(sums).max())

    def pixels(self, v: NDArray[np.int8], point: int) -> NDArray[np.uint8]:
        """From the numbers that are coded, M x H x W, at an operating point: 8H x 8W x 3."""
        _, rows, columns = v.shape
        v, fraction = np.ascontiguousarray(v), np.zeros((0, rows, columns), np.int32)
        if self._settings.coefficients:
            # Of means, the nearest whole numbers of steps.
            planes = rebuild(v[:MEANS])
            v = v.copy()
            v[:MEANS] = (planes + (1 << FRACTION_BITS >> 1)) >> FRACTION_BITS
            fraction = planes - (v[:MEANS].astype(np.int32) << FRACTION_BITS)
        image = np.empty((rows * STRIDE, columns * STRIDE, 3), np.uint8)
        for tile in tiles(rows, columns, _TILE, _MARGIN):
            part = (slice(None), *tile.outer())
            made = self._tile(v[part], fraction[part], point)
            image[tile.own(STRIDE)] = made[tile.within(STRIDE)]
        return image

    def _tile(
        self, v: NDArray[np.int8], fraction: NDArray[np.int32], point: int
    ) -> NDArray[np.uint8]:
        _, rows, columns = v.shape
        first, bias, windows, fine_first, fine_windows = self._looking_at_the_code(point)
        features = np.zeros(((rows + 2) * (columns + 2), first.shape[1]), np.int32)
        canvas = np.zeros((STRIDE * (rows + 1), STRIDE * (columns + 1), 3), np.int32)
        flat = canvas.reshape(len(canvas), -1)
        numbers, fractions = np.ascontiguousarray(v), np.ascontiguousarray(fraction)

        def add(rows: tuple[int, int]) -> None:
            _add_code(numbers, *rows, self._first, self._places, first, features, windows, flat)
            _add_fractions(fractions, *rows, fine_first, features, fine_windows, flat)

        # Strips of rows at once; those between them, which reach into both, afterwards.
        cuts = np.linspace(0, rows, max(min(torch.get_num_threads(), rows // 8), 1) + 1).astype(int)
        strips = [(int(a) + (a > 0), int(b) - (b < rows)) for a, b in pairwise(cuts)]
        if len(strips) > 1:
            with ThreadPoolExecutor(len(strips)) as pool:
                list(pool.map(add, strips))
        else:
            add(strips[0])
        for cut in cuts[1:-1]:
            add((int(cut) - 1, int(cut) + 1))
        shift = _FIRST_BITS - _UNIT_BITS
        inner = features.reshape(rows + 2, columns + 2, -1)[1:-1, 1:-1]
        x = torch.from_numpy(((inner + bias) >> shift).clip(0, _MOST).astype(np.float32))
        with torch.inference_mode():
            y = self._run(x.permute(2, 0, 1)[None].to(self._device))
            y = y.to(torch.int32).cpu()
        half = STRIDE // 2
        inside = canvas[half : half + STRIDE * rows, half : half + STRIDE * columns]
        inside += y[0].permute(1, 2, 0).numpy() + (1 << (_PIXEL_BITS - 1))
        inside >>= _PIXEL_BITS
        return inside.clip(0, 255).astype(np.uint8)

    def _run(self, x: Tensor) -> Tensor:
        """All but the first layer: 1 x C x H x W to 1 x 3 x 8H x 8W, in units of a pixel."""
        x = self._residual(x, "decoder.2")
        x = self._residual(self._rectified(x, "decoder.3"), "decoder.5")
        x = self._residual(self._rectified(pixel_shuffle(x, 2), "decoder.7"), "decoder.9")
        x = self._rectified(pixel_shuffle(x, 4), "decoder.11")
        return self._sums(x, "decoder.13").round_()

    def _residual(self, x: Tensor, name: str) -> Tensor:
        y = self._rectified(self._rectified(x, f"{name}.a"), f"{name}.b")
        return y.add_(x).clamp_max_(_MOST)

    def _rectified(self, x: Tensor, name: str) -> Tensor:
        return self._sums(x, name).round_().clamp_(0, _MOST)

    def _sums(self, x: Tensor, name: str) -> Tensor:
        """What a layer adds up, in units of its result, not rounded."""
        return sums(x, self._layers[name])

    @lru_cache(maxsize=32)  # noqa: B019 - a decoder lives as long as the process
    def _looking_at_the_code(self, point: int) -> tuple[NDArray[np.int32], ...]:
        """What a 1 of each code channel adds: to the first layer, 9 n x C, and to the pixels.

        The places of the first are those of the sites that it reaches; with the bias of the first
        layer. The windows of the second are 16 n x 48: 16 x 16 pixels of three samples. Then the
        same of 2^-6 of the lowest digits of means.
        """
        net, n = self._net, self._settings.n
        gain = np.ones(n)
        if self._settings.steered:
            gain = exponentials(net["log_code_gain"][point].double().numpy())
        weight = net["decoder.0.weight"].double().numpy() * gain[:, None, None]
        first = (weight[:, :, ::-1, ::-1] * (1 << _FIRST_BITS)).transpose(1, 2, 3, 0)
        first = first.reshape(n, 9, -1)
        bias = np.rint(net["decoder.0.bias"].double().numpy() * (1 << _FIRST_BITS))
        windows = np.zeros((n, 16, 48))
        if self._settings.coefficients:
            windows = net["synthesis.weight"].double().numpy() * gain[:, None, None, None]
            windows = (windows * (127.5 * (1 << _PIXEL_BITS))).transpose(0, 2, 3, 1)
            windows = windows.reshape(n, 16, 48)
        bias += 1 << (_FIRST_BITS - _UNIT_BITS - 1)
        lowest = self._first[:MEANS] + 2 * (self._places[:MEANS] - 1)
        fine = np.stack([lowest, lowest + 1], 1).reshape(-1)
        vectors = (
            first.reshape(9 * n, -1), bias, windows.reshape(16 * n, 48),
            first[fine].reshape(9 * len(fine), -1) / (1 << FRACTION_BITS),
            windows[fine].reshape(16 * len(fine), 48) / (1 << FRACTION_BITS),
        )  # fmt: skip
        return tuple(np.ascontiguousarray(np.rint(x), np.int32) for x in vectors)


@compiled
def _add_code(v, top, bottom, first, places, vectors, features, windows, canvas) -> Any:  # type: ignore[no-untyped-def]
    """Add what each digit of some rows of numbers adds to the first layer and to the pixels.

    Parameters
    ----------
    v
        M x H x W.
    top, bottom
        The first row, and the one after the last.
    first, places
        Of each number the first code channel, and how many digits it has.
    vectors, features
        9 n x C, and (H + 2) (W + 2) x C.
    windows, canvas
        16 n x 48, and 8 (H + 1) x 24 (W + 1).
    """
    width, across = v.shape[2], v.shape[2] + 2
    # Channel by channel: what one of them adds stays in the cache.
    for c in range(len(v)):
        for i in range(top, bottom):
            for j in range(width):
                rest = np.int64(v[c, i, j])
                channel = first[c] + 2 * places[c]
                while rest:
                    # Balanced ternary, the lowest digit first; the highest takes what is left.
                    channel -= 2
                    digit = rest if channel == first[c] else (rest + 1) % 3 - 1
                    rest = (rest - digit) // 3
                    if not digit:
                        continue
                    k = channel + (1 if digit < 0 else 0)
                    for place in range(9):
                        at = (i + place // 3) * across + j + place % 3
                        _add_row(features, at, vectors, 9 * k + place, np.int32(abs(digit)))
                    for y in range(16):
                        _add_line(
                            canvas, 8 * i + y, 24 * j, windows, 16 * k + y, np.int32(abs(digit))
                        )


@compiled
def _add_fractions(fractions, top, bottom, vectors, features, windows, canvas) -> Any:  # type: ignore[no-untyped-def]
    """Add what the fractions of some rows of means add, in the same way."""
    width, across = fractions.shape[2], fractions.shape[2] + 2
    for c in range(len(fractions)):
        for i in range(top, bottom):
            for j in range(width):
                fraction = fractions[c, i, j]
                if not fraction:
                    continue
                k, size = 2 * c + (1 if fraction < 0 else 0), np.int32(abs(fraction))
                for place in range(9):
                    at = (i + place // 3) * across + j + place % 3
                    _add_row(features, at, vectors, 9 * k + place, size)
                for y in range(16):
                    _add_line(canvas, 8 * i + y, 24 * j, windows, 16 * k + y, size)


@compiled
def _add_row(total, at, vectors, row, factor) -> None:  # type: ignore[no-untyped-def]
    for h in range(vectors.shape[1]):
        total[at, h] += factor * vectors[row, h]


@compiled
def _add_line(canvas, y, start, windows, row, factor) -> None:  # type: ignore[no-untyped-def]
    line = canvas[y, start : start + 48]
    for x in range(48):
        line[x] += factor * windows[row, x]
