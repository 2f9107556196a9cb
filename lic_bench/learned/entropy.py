"""Coding binary channels with a learned context model and a range coder: exact on every machine.

The model is that of `lic_bench.learned.context`, which explains it, in integers. A bit is coded
with a probability that the decoder must find again to the last digit, on other hardware and with
other libraries. So the sums are sums of integers, below 2^24 in magnitude, which float32 represents
without rounding whatever the order of summation; they are computed by NumPy on the CPU, whose
matrix product never takes fewer bits. What follows the sums is integer arithmetic and a table.

The range coder is constriction's (R. Bamler, "Understanding entropy coding with asymmetric numeral
systems", 2022; the coder follows G. N. N. Martin, "Range encoding", 1979).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import BitstreamError

Bits = NDArray[np.uint8]
Floats = NDArray[np.float32]

_WEIGHT_BITS = 12  # binary places of the weights, and so of the features
_FEATURE_BITS = 6  # binary places of the clipped features
_MIX_BITS = 10
_LOGIT_BITS = 6  # binary places of a logit when it is looked up
_LARGEST_LOGIT = 11
_EXACT = 1 << 24
_PROBABILITY_BITS = 16
_STATE_BITS = 64  # what the range decoder may make up at the end of a stream
_CLIP = 4  # features are clipped to 0 .. 4, as in training
_ROWS = 4096  # sites whose windows are gathered at a time; bounds the memory


@dataclass(frozen=True)
class Gates:
    """Which channels are coded where.

    A bit of channel k is coded where its gate, an earlier channel, is 1; elsewhere it is 0.
    """

    of: tuple[int, ...]
    """The gate of each channel; -1: coded everywhere."""

    def groups(self) -> Iterator[tuple[int, int]]:
        """The runs of channels with one gate, first and last + 1; a gate ends before its run."""
        start = 0
        for k in range(1, len(self.of) + 1):
            if k == len(self.of) or self.of[k] != self.of[start]:
                yield start, k
                start = k


class BinaryCoder:
    """Encoder and decoder of one context model.

    Parameters
    ----------
    weight
        C (1 + hidden) x C x w x w: the window's weights for the logits of the C channels, then for
        each of the hidden features of the C channels; only those of earlier channels count.
    own
        C (1 + hidden) x 1 x w x w: those of the even neighbours in the channel itself.
    bias
        Points x C (1 + hidden).
    mix
        Hidden x C: what each feature adds to the logit.
    gates
        Where each channel is coded.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """

    def __init__(
        self,
        weight: NDArray[Any],
        own: NDArray[Any],
        bias: NDArray[Any],
        mix: NDArray[Any],
        gates: Gates,
    ) -> None:
        channels, self._window = weight.shape[1], weight.shape[2]
        self._channels, self._sets = channels, 1 + mix.shape[0]
        self._gates, self._groups = gates, list(gates.groups())
        causal = np.arange(channels)[None] < np.tile(np.arange(channels), self._sets)[:, None]
        integers = _rounded(weight, _WEIGHT_BITS) * causal[:, :, None, None]
        own_integers = _rounded(own, _WEIGHT_BITS)
        bias_integers = _rounded(bias, _WEIGHT_BITS)
        largest = (
            np.abs(integers).sum((1, 2, 3))
            + np.abs(own_integers).sum((1, 2, 3))
            + np.abs(bias_integers).max(0)
        )
        if largest.max() >= _EXACT:
            raise ValueError("the weights of the context model are too large to be exact")
        shape = (self._sets, channels)
        # (window, earlier channel, set, channel) and so on: as the products below take them.
        self._weight = integers.reshape(*shape, channels, -1).transpose(3, 2, 0, 1)
        self._own = own_integers.reshape(*shape, -1).transpose(2, 0, 1).astype(np.float32)
        self._bias = bias_integers.reshape(-1, *shape).astype(np.float32)
        self._mix = _rounded(mix, _MIX_BITS).astype(np.int32)
        self._blocks = [
            np.ascontiguousarray(self._weight[:, :stop, :, start:stop], np.float32)
            for start, stop in self._groups
        ]

    def encode(self, x: Bits, point: int) -> bytes:
        """Code the bits of C x H x W (0 or 1; 0 where the gate is 0) at an operating point."""
        import constriction  # type: ignore[import-untyped]

        symbols, chances = self._symbols(x, point)
        encoder = constriction.stream.queue.RangeEncoder()
        if len(symbols):
            encoder.encode(symbols.astype(np.int32), _bernoulli(), _probability(chances))
        words: NDArray[np.uint32] = encoder.get_compressed()
        return words.astype("<u4").tobytes()

    def cost(self, x: Bits, point: int) -> float:
        """What the bits should cost by the model's probabilities, in bits."""
        symbols, chances = self._symbols(x, point)
        return _bits(symbols, _probability(chances))

    def decode(self, stream: bytes, height: int, width: int, point: int) -> Bits:
        """Read the bits of `encode` back: uint8, C x H x W.

        Raises
        ------
        BitstreamError
            Where the stream is cut short or too long: as soon as that shows, since whoever makes
            streams up can claim any size. Other damage is for a checksum to find.
        """
        import constriction

        if len(stream) % 4:
            raise BitstreamError("the payload is cut short: it is not made of whole words")
        words = np.frombuffer(stream, "<u4").astype(np.uint32)
        decoder = constriction.stream.queue.RangeDecoder(words)
        model = _bernoulli()
        grid = _Grid(height, width, self._channels, self._window)
        left = 8.0 * len(stream) + _STATE_BITS
        for block, (start, stop) in zip(self._blocks, self._groups, strict=True):
            sites, even = grid.sites(self._gates.of[start])
            if not len(sites):
                continue
            features = self._features(grid, sites, block[:, :start], start, stop, point)
            for k in range(start, stop):
                here = k - start
                for odd, chosen in enumerate((slice(None, even), slice(even, None))):
                    if not len(sites[chosen]):
                        continue
                    feature = features[chosen, :, here]
                    if odd:
                        feature = feature + self._neighbours(grid, sites[chosen], k)
                    chances = self._chances(feature[:, :, None], k, k + 1)[:, 0]
                    p = _probability(chances)
                    try:
                        symbols = decoder.decode(model, p)
                    except AssertionError as error:  # that is how constriction calls it
                        raise BitstreamError("the payload is no code of symbols") from error
                    left -= _bits(symbols, p)
                    if left < 0:
                        raise BitstreamError("the payload ends before its last symbol")
                    grid.x[sites[chosen], k] = symbols
                if k + 1 < stop:
                    window = grid.x[sites[:, None] + grid.offsets, k].astype(np.float32)
                    later = block[:, k, :, here + 1 :]
                    product = window @ later.reshape(len(later), -1)
                    features[:, :, here + 1 :] += product.reshape(len(sites), self._sets, -1)
        if not decoder.maybe_exhausted():
            raise BitstreamError("the payload goes on after its last symbol")
        return grid.bits()

    def _symbols(self, x: Bits, point: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """All symbols in the order of coding, and the chance of each to be 1, in 2^-16."""
        _, height, width = x.shape
        grid = _Grid(height, width, self._channels, self._window)
        grid.fill(x)
        symbols: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)]
        chances: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        for block, (start, stop) in zip(self._blocks, self._groups, strict=True):
            sites, even = grid.sites(self._gates.of[start])
            if not len(sites):
                continue
            features = self._features(grid, sites, block, start, stop, point)
            for k in range(start, stop):
                features[even:, :, k - start] += self._neighbours(grid, sites[even:], k)
            # Channel by channel: the rows of a channel are even sites, then odd ones.
            symbols.append(grid.x[sites, start:stop].T.ravel())
            chances.append(self._chances(features, start, stop).T.ravel())
        return np.concatenate(symbols), np.concatenate(chances)

    def _features(
        self,
        grid: _Grid,
        sites: NDArray[np.int64],
        block: Floats,
        start: int,
        stop: int,
        point: int,
    ) -> Floats:
        """Logits and features without the channels' own neighbours: sites x sets x channels."""
        known = block.shape[1]
        matrix = block.reshape(-1, self._sets * (stop - start))
        result = np.empty((len(sites), matrix.shape[1]), np.float32)
        for row in range(0, len(sites), _ROWS):
            windows = grid.x[sites[row : row + _ROWS, None] + grid.offsets, :known]
            result[row : row + _ROWS] = (
                windows.reshape(len(windows), -1).astype(np.float32) @ matrix
            )
        return result.reshape(len(sites), self._sets, -1) + self._bias[point, :, start:stop]

    def _neighbours(self, grid: _Grid, sites: NDArray[np.int64], k: int) -> Floats:
        """What the even neighbours in channel k add on odd sites: sites x sets."""
        window = grid.x[sites[:, None] + grid.offsets, k] & grid.even[sites[:, None] + grid.offsets]
        product: Floats = window.astype(np.float32) @ self._own[:, :, k]
        return product

    def _chances(self, features: Floats, start: int, stop: int) -> NDArray[np.int64]:
        """From sites x sets x channels to the chance of a 1 in 2^-16: sites x channels."""
        logits = features[:, 0].astype(np.int64) << (_FEATURE_BITS + _MIX_BITS - _WEIGHT_BITS)
        for j, mix in enumerate(self._mix[:, start:stop], 1):
            feature = features[:, j].astype(np.int64) >> (_WEIGHT_BITS - _FEATURE_BITS)
            logits += feature.clip(0, _CLIP << _FEATURE_BITS) * mix
        index = logits >> (_FEATURE_BITS + _MIX_BITS - _LOGIT_BITS)
        bound = _LARGEST_LOGIT << _LOGIT_BITS
        chances: NDArray[np.int64] = _chance_table()[index.clip(-bound, bound) + bound]
        return chances


class _Grid:
    """The bits known so far, site by site, with a border of zeros all around."""

    def __init__(self, height: int, width: int, channels: int, window: int) -> None:
        pad = window // 2
        self._shape = (height, width)
        rows, self._row = height + 2 * pad, width + 2 * pad
        self.x: Bits = np.zeros((rows * self._row, channels), np.uint8)
        i, j = np.divmod(np.arange(height * width, dtype=np.int64), width)
        place = (i + pad) * self._row + j + pad
        is_even = (i + j) % 2 == 0
        self.even: Bits = np.zeros(len(self.x), np.uint8)
        self.even[place[is_even]] = 1
        self._raster = place
        self._order = np.concatenate([place[is_even], place[~is_even]])
        step = np.arange(-pad, pad + 1)
        self.offsets: NDArray[np.int64] = (step[:, None] * self._row + step[None]).ravel()

    def sites(self, gate: int) -> tuple[NDArray[np.int64], int]:
        """The sites where a gate is 1, even ones first, and how many are even."""
        order = self._order if gate < 0 else self._order[self.x[self._order, gate] == 1]
        return order, int(self.even[order].sum())

    def fill(self, x: Bits) -> None:
        """Set all bits from C x H x W."""
        self.x[self._raster] = x.reshape(len(x), -1).T

    def bits(self) -> Bits:
        """All bits as C x H x W."""
        return np.ascontiguousarray(self.x[self._raster].T).reshape(-1, *self._shape)


def _rounded(values: NDArray[Any], places: int) -> NDArray[np.int64]:
    """Whole multiples of 2^-places. The values have few binary digits: the products are exact."""
    rounded: NDArray[np.int64] = np.rint(values.astype(np.float64) * (1 << places)).astype(np.int64)
    return rounded


@lru_cache(maxsize=1)
def _chance_table() -> NDArray[np.int64]:
    """Logits to chances in 2^-16. `Decimal` rounds correctly, hence alike, on every machine."""
    scale, bound = Decimal(1 << _PROBABILITY_BITS), _LARGEST_LOGIT << _LOGIT_BITS
    values = [
        int((scale / (1 + (Decimal(-q) / (1 << _LOGIT_BITS)).exp())).to_integral_value())
        for q in range(-bound, bound + 1)
    ]
    return np.array(values, np.int64).clip(1, (1 << _PROBABILITY_BITS) - 1)


def _probability(chances: NDArray[np.int64]) -> NDArray[np.float64]:
    # Exact in float64, and constriction's own 24 binary digits hold it too.
    return chances / float(1 << _PROBABILITY_BITS)


def _bits(symbols: NDArray[Any], p: NDArray[np.float64]) -> float:
    """What symbols cost at least whose chances to be 1 are given."""
    return float(-np.log2(np.where(symbols == 1, p, 1 - p)).sum())


@lru_cache(maxsize=1)
def _bernoulli() -> Any:
    import constriction

    return constriction.stream.model.Bernoulli(perfect=False)


def map_and_code_gates(levels: int, n: int) -> Gates:
    """The gates of an importance map in L - 1 planes and the n code channels that it masks.

    Plane l says that the level exceeds l + 1: it is coded where the plane before it is 1. Code
    channel k is in group g = k // (n / L), which is kept where the level exceeds g.
    """
    group = n // levels
    planes: Sequence[int] = range(-1, levels - 2)
    return Gates((*planes, *(k // group - 1 for k in range(n))))
