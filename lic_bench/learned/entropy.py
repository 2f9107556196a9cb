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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import BitstreamError
from lic_bench.learned.waves import CHANNEL_STEP, DEPTH, NEAR, OWN, ROW_STEP

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

Bits = NDArray[np.uint8]
Floats = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Integers = NDArray[np.int64]

CLIP = 8
"""Hidden features of the context model are clipped to 0 .. CLIP."""
_WEIGHT_BITS = 12  # binary places of the weights, and so of the features
_FEATURE_BITS = 6  # binary places of the clipped features
_OUT_BITS = 8
_LOGIT_BITS = 6  # binary places of a logit when it is looked up
_LARGEST_LOGIT = 11
_EXACT = 1 << 24
_PROBABILITY_BITS = 16
_STATE_BITS = 64  # what the range decoder may make up at the end of a stream
_BORDER = 2  # sites, as far as a window reaches
_NO, _YES = 1, 2  # symbols as they are known; 0: not coded, or not yet
_ROWS = 4096  # symbols whose windows are gathered at a time; few enough for the cache


@dataclass(frozen=True)
class Gates:
    """Which channels are coded where.

    A bit of channel k is coded where its gate, an earlier channel, is 1; elsewhere it is 0.
    """

    of: tuple[int, ...]
    """The gate of each channel; -1: coded everywhere."""


class BinaryCoder:
    """Encoder and decoder of one context model.

    Parameters
    ----------
    context
        The parameters of a `lic_bench.learned.context.ContextModel` by name, float16 or wider.
    gates
        Where each channel is coded.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """

    def __init__(self, context: Mapping[str, NDArray[Any]], gates: Gates) -> None:
        table, local, channel, point = (
            _rounded(context[name], _WEIGHT_BITS) for name in ("table", "local", "channel", "point")
        )
        out = _rounded(context["out"], _OUT_BITS)
        bias = _rounded(context["bias"], _FEATURE_BITS + _OUT_BITS)
        features = np.abs(table).sum((0, 1)) + np.abs(local).sum(0)
        features += np.abs(channel).max(0) + np.abs(point).max(0)
        logits = (CLIP << _FEATURE_BITS) * np.abs(out).sum(1) + np.abs(bias).max(0)
        if max(features.max(), logits.max()) >= _EXACT:
            raise ValueError("the weights of the context model are too large to be exact")
        self._table, self._local, self._channel, self._point, self._out, self._bias = (
            values.astype(np.float32) for values in (table, local, channel, point, out, bias)
        )
        self._least = np.zeros((_ROWS, out.shape[1]), np.float32)
        self._most = self._least + (CLIP << _FEATURE_BITS)
        self._gates = gates

    def encode(self, x: Bits, point: int) -> bytes:
        """Code the bits of C x H x W (0 or 1; 0 where the gate is 0) at an operating point."""
        import constriction  # type: ignore[import-untyped]

        symbols, p = self._predicted(x, point)
        encoder = constriction.stream.queue.RangeEncoder()
        if len(symbols):
            encoder.encode(symbols.astype(np.int32), _bernoulli(), p)
        words: NDArray[np.uint32] = encoder.get_compressed()
        return words.astype("<u4").tobytes()

    def cost(self, x: Bits, point: int) -> float:
        """What the bits should cost by the model's probabilities, in bits."""
        return _bits(*self._predicted(x, point))

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
        left = 8.0 * len(stream) + _STATE_BITS

        def ask(p: Floats64, _wave: _Wave) -> Bits:
            nonlocal left
            try:
                symbols = decoder.decode(model, p)
            except AssertionError as error:  # that is how constriction calls it
                raise BitstreamError("the payload is no code of symbols") from error
            left -= _bits(symbols, p)
            if left < 0:
                raise BitstreamError("the payload ends before its last symbol")
            read: Bits = symbols.astype(np.uint8)
            return read

        grid = _Grid(height, width, self._gates)
        self._walk(grid, point, ask)
        if not decoder.maybe_exhausted():
            raise BitstreamError("the payload goes on after its last symbol")
        return grid.bits()

    def _predicted(self, x: Bits, point: int) -> tuple[Bits, Floats64]:
        """All symbols in the order of coding, and the chance of each to be 1."""
        symbols: list[Bits] = [np.empty(0, np.uint8)]
        chances: list[Floats64] = [np.empty(0)]
        grid = _Grid(x.shape[1], x.shape[2], self._gates)
        known = grid.spread(x)

        def look(p: Floats64, wave: _Wave) -> Bits:
            symbols.append(known[wave.at])
            chances.append(p)
            return symbols[-1]

        self._walk(grid, point, look)
        return np.concatenate(symbols), np.concatenate(chances)

    def _walk(self, grid: _Grid, point: int, ask: Callable[[Floats64, _Wave], Bits]) -> None:
        """Go from wave to wave: `ask` gives the symbols of a wave for their chances to be 1."""
        # What the symbols so far add to the features of each site.
        features = np.zeros((grid.sites, self._table.shape[2]), np.float32)
        own = self._channel + self._point[point]
        with _thread_pools().limit(limits=1, user_api="blas"):
            for wave in grid.waves():
                logits = self._bias[point].take(wave.channel)
                for start in range(0, len(logits), _ROWS):
                    part = slice(start, start + _ROWS)
                    site, channel = wave.site[part], wave.channel[part]
                    feature = self._local_features(grid.window(wave.at[part]))
                    feature += features.take(site, axis=0, mode="clip")
                    feature += own.take(channel, axis=0, mode="clip")
                    logits[part] += self._logits(feature, channel)
                symbols = ask(_probability(logits), wave)
                grid.put(wave, symbols)
                ones = np.flatnonzero(symbols)
                site = wave.site.take(ones)
                vectors = self._table.take(wave.channel.take(ones), axis=1)
                for places, offsets in grid.apart:
                    reached = (site - offsets[:, None]).ravel()
                    sums = features.take(reached, axis=0)
                    sums += vectors[places].reshape(sums.shape)
                    features[reached] = sums

    def _local_features(self, window: Bits) -> Floats:
        inputs = np.concatenate([window == _YES, window != 0], axis=1)
        features: Floats = inputs.view(np.uint8).astype(np.float32) @ self._local
        return features

    def _logits(self, feature: Floats, channels: Integers) -> Floats:
        """Logits without bias, in units of 2^-(_FEATURE_BITS + _OUT_BITS); takes `feature`."""
        feature *= np.float32(2.0 ** (_FEATURE_BITS - _WEIGHT_BITS))
        np.floor(feature, out=feature)
        # Arrays as bounds: with numbers, or by np.clip, NumPy takes three times as long.
        np.maximum(feature, self._least[: len(feature)], out=feature)
        np.minimum(feature, self._most[: len(feature)], out=feature)
        out = self._out.take(channels, axis=0, mode="clip")
        logits: Floats = np.einsum("nh,nh->n", feature, out)
        return logits


class _Wave(NamedTuple):
    """The symbols of a wave that are coded: all n long."""

    site: Integers
    channel: Integers
    at: Integers
    """Where the symbol lies among those that are known."""


class _Grid:
    """The symbols known so far, site by site, with a border of unknown ones all around."""

    def __init__(self, height: int, width: int, gates: Gates) -> None:
        self._shape, self._channels = (height, width), len(gates.of)
        row = width + 2 * _BORDER
        self.sites = (height + 2 * _BORDER) * row
        self._deep = DEPTH + self._channels  # before the channels some that are never coded
        self._known: Bits = np.zeros(self.sites * self._deep, np.uint8)
        gate = np.array(gates.of)
        self._always, self._to_gate = gate < 0, gate - np.arange(self._channels)
        i, j = np.divmod(np.arange(height * width, dtype=np.int64), width)
        self._raster = (i + _BORDER) * row + j + _BORDER
        when = ROW_STEP * i + j
        self._order = self._raster[np.argsort(when, kind="stable")]
        self._start = np.concatenate([[0], np.cumsum(np.bincount(when))])
        near, own = ([down * row + right for down, right in places] for places in (NEAR, OWN))
        offsets = [offset * self._deep - back for back in range(DEPTH, 0, -1) for offset in near]
        self._offsets = np.array(offsets + [offset * self._deep for offset in own])
        self.apart = [(np.array(p), np.array([near[place] for place in p])) for p in _apart()]
        """Places in `NEAR`, and their offsets, by which no two symbols of a wave reach one site."""

    def waves(self) -> Iterator[_Wave]:
        """Wave by wave what is to be coded, as the symbols are `put`."""
        last = len(self._start) - 2
        for number in range(last + CHANNEL_STEP * (self._channels - 1) + 1):
            first = max(-(-(number - last) // CHANNEL_STEP), 0)
            channels = np.arange(first, min(number // CHANNEL_STEP, self._channels - 1) + 1)
            start = self._start[number - CHANNEL_STEP * channels]
            counts = self._start[number - CHANNEL_STEP * channels + 1] - start
            before = np.cumsum(counts) - counts
            index = np.arange(counts.sum()) + np.repeat(start - before, counts)
            site, channel = self._order.take(index), channels.repeat(counts)
            at = site * self._deep + DEPTH + channel
            coded = self._known.take(at + self._to_gate.take(channel)) == _YES
            coded |= self._always.take(channel)
            if coded.any():
                yield _Wave(site[coded], channel[coded], at[coded])

    def put(self, wave: _Wave, symbols: Bits) -> None:
        """Note the symbols of a wave."""
        self._known[wave.at] = _NO + symbols

    def window(self, at: Integers) -> Bits:
        """What is known around symbols, in the order of the model's inputs: n x 33."""
        known: Bits = self._known.take(at[:, None] + self._offsets, mode="clip")
        return known

    def spread(self, x: Bits) -> Bits:
        """The bits of C x H x W as they lie here."""
        result: Bits = np.zeros((self.sites, self._deep), np.uint8)
        result[self._raster, DEPTH:] = x.reshape(len(x), -1).T
        return result.reshape(-1)

    def bits(self) -> Bits:
        """All bits as C x H x W."""
        known = self._known.reshape(self.sites, self._deep)[self._raster, DEPTH:]
        return np.ascontiguousarray((known == _YES).T).astype(np.uint8).reshape(-1, *self._shape)


@lru_cache(maxsize=1)
def _apart() -> list[list[int]]:
    """The places in `NEAR` in groups, of which no two lead from symbols of a wave to one site.

    The sites of a wave have the same ROW_STEP i + j but for multiples of CHANNEL_STEP. So places
    meet only where theirs are alike, too.
    """
    groups: list[dict[int, int]] = []
    for place, (down, right) in enumerate(NEAR):
        residue = (ROW_STEP * down + right) % CHANNEL_STEP
        for group in groups:
            if residue not in group:
                group[residue] = place
                break
        else:
            groups.append({residue: place})
    return [list(group.values()) for group in groups]


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


def _probability(logits: Floats) -> Floats64:
    """The chance of a 1: exact in float64, and constriction's own 24 binary digits hold it too."""
    bound = _LARGEST_LOGIT << _LOGIT_BITS
    index = logits.astype(np.int64) >> (_FEATURE_BITS + _OUT_BITS - _LOGIT_BITS)
    index = index.clip(-bound, bound) + bound
    chances: Floats64 = _chance_table()[index] / float(1 << _PROBABILITY_BITS)
    return chances


def _bits(symbols: NDArray[Any], p: Floats64) -> float:
    """What symbols cost at least whose chances to be 1 are given."""
    return float(-np.log2(np.where(symbols == 1, p, 1 - p)).sum())


@lru_cache(maxsize=1)
def _thread_pools() -> ThreadpoolController:
    """For the products of a wave, which are small: threads would wait for each other longer."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


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
