"""An embedded coder of whole numbers: bit plane by bit plane, adaptive binary arithmetic coding.

After D. Taubman, "High performance scalable image compression with EBCOT", IEEE Transactions on
Image Processing 9 (7), 2000, in simple form. The planes of all maps are coded from the most
significant to the least. A number is *significant* once one of its bits was 1; what is coded is

- whether a map that was all 0 up to now still is, after this plane;
- where it is not, whether a block of 4x4 sites that was all 0 still is;
- for each number in the others whether it becomes significant, and then its sign;
- for each that was significant already its next bit, the *refinement*.

Each kind has contexts of its own in every map, of what is known around at that moment. A context
holds the chance of a 1. It starts where photographs had it on that plane, and follows the image.

A plane can be split in two halves, each to be decoded without the next: in the first half what had
something significant around it before the plane, in the second the rest. The code of some halves is
the beginning of the code of more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import BitstreamError
from lic_bench.learned.compiled import compiled
from lic_bench.learned.parts import joined, separated
from lic_bench.learned.rangecoder import (
    PROBABILITY_BITS,
    check_end,
    decoder,
    encoder,
    finish,
    past_the_end,
    put,
    take,
)

BLOCK = 4
"""Sites on a side of a block that has a flag."""
_ENCODE, _DECODE, _COUNT = 0, 1, 2
_AROUND, _SITE = (
    9,
    7,
)  # classes of what is around a number in its map, and at its site
_PLACES, _SPREADS = 13, 3  # classes of where a prediction lies, and of how sure it is
_BECOMES = 0
_REFINES = _BECOMES + _AROUND * _SITE
_SIGN = _REFINES + _PLACES * _SPREADS
_MAP = _SIGN + _PLACES
_BLOCK = _MAP + 1
CONTEXTS = _BLOCK + 6
"""Of each map."""
_FIRST, _LAST = 24, 160  # a chance moves by 1/(_FIRST + n) of the way, at least 1/_LAST
_LEAST = 24  # of a chance, in 2^-16
_ROOM = 8  # bytes, more than a number takes in a plane


@dataclass(frozen=True)
class Form:
    """What is coded.

    Attributes
    ----------
    groups
        The group of each map: maps of one group tell of each other at a site, and each group of
        the one after it.
    means
        Maps whose numbers resemble their neighbours.
    planes
        Bit planes of a magnitude, at most 14.
    signed
        Whether numbers can be negative.
    split
        Whether planes have two halves.
    """

    groups: tuple[int, ...]
    means: tuple[int, ...]
    planes: int
    signed: bool = True
    split: bool = True

    @property
    def halves(self) -> int:
        """Halves of planes; planes where these are not split."""
        return self.planes * (2 if self.split else 1)

    @property
    def chances(self) -> tuple[int, int, int]:
        """The shape of the chances that a coder starts with."""
        return self.planes, len(self.groups), CONTEXTS


class PlaneCoder:
    """Encoder and decoder.

    Parameters
    ----------
    form
        What is coded.
    start
        The chance of a 1 in each context at the beginning of each plane, in 2^-16: uint16, of the
        form's shape. None: one half everywhere.
    """

    def __init__(self, form: Form, start: NDArray[np.uint16] | None = None) -> None:
        self.form = form
        if start is None:
            start = np.full(form.chances, 1 << (PROBABILITY_BITS - 1), np.uint16)
        if start.shape != form.chances:
            raise ValueError(f"chances of shape {start.shape}, not {form.chances}")
        self._start = np.clip(start.astype(np.int32), _LEAST, (1 << PROBABILITY_BITS) - _LEAST)
        self._group = np.array(form.groups, np.int64)
        self._mean = np.isin(np.arange(len(form.groups)), form.means)

    def encode(self, v: NDArray[np.int16], halves: int) -> bytes:
        """Code the most significant halves of planes of maps, C x H x W."""
        run = _Run(self, v.shape, halves)
        run.show(v)
        parts = []
        for number in range(halves):
            state, buffer = encoder(), np.zeros(1 << 12, np.uint8)
            for channel in range(len(v)):
                needed = int(state[2]) + _ROOM * v[0].size + 64
                if len(buffer) < needed:
                    buffer = np.concatenate([buffer, np.zeros(needed, np.uint8)])
                run.code(_ENCODE, number, channel, state, buffer)
            parts.append(finish(state, buffer))
        return joined(parts)

    def decode(
        self, code: bytes, height: int, width: int, halves: int
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Read what `encode` wrote.

        Returns
        -------
        The numbers as far as they are known, the bits below 0; and how many bits of each are not
        known: C x H x W.

        Raises
        ------
        BitstreamError
            Where the code is none of so many halves.
        """
        run = _Run(self, (len(self._group), height, width), halves)
        for number, part in enumerate(separated(code, halves)):
            buffer = np.frombuffer(part, np.uint8).copy()
            state = decoder(buffer)
            for channel in range(len(self._group)):
                run.code(_DECODE, number, channel, state, buffer)
                if past_the_end(state, buffer):
                    raise BitstreamError("the payload ends before its last symbol")
            check_end(state, buffer)
        return run.numbers(), run.unknown()

    def count(self, v: NDArray[np.int16], counts: NDArray[np.int64]) -> float:
        """Count the decisions of maps in each context; returns what they cost, in bits.

        Parameters
        ----------
        counts
            Planes x C x contexts x 2: added to.
        """
        run = _Run(self, v.shape, self.form.halves)
        run.show(v)
        state, buffer = encoder(), np.zeros(1, np.uint8)
        run.counts = counts
        for number in range(self.form.halves):
            for channel in range(len(v)):
                run.code(_COUNT, number, channel, state, buffer)
        return float(run.cost[0])


def chances(counts: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The chances of what was counted; where little was, those of the other planes and maps.

    Parameters
    ----------
    counts
        Planes x C x contexts x 2.
    """
    counts = counts.astype(np.float64)
    wide = counts.sum((0, 1)) + 0.4
    own = wide / wide.sum(-1, keepdims=True)
    for seen in (counts.sum(0)[None], counts):
        own = (seen + 4 * own) / (seen.sum(-1, keepdims=True) + 4)
    scaled = np.rint(own[..., 1] * (1 << PROBABILITY_BITS))
    found: NDArray[np.uint16]
    found = np.clip(scaled, _LEAST, (1 << PROBABILITY_BITS) - _LEAST).astype(np.uint16)
    return found


class _Run:
    """The maps of one image, as far as they are coded."""

    def __init__(self, coder: PlaneCoder, shape: tuple[int, ...], halves: int) -> None:
        channels, height, width = shape
        form = coder.form
        if not 0 <= halves <= form.halves:
            raise ValueError(f"{halves} halves of planes; there are {form.halves}")
        self._coder, self._shape, self._halves = coder, (height, width), halves
        padded = (channels, (height + 2) * (width + 2))
        self._true = np.zeros((1, 1), np.int16)
        self._size = np.zeros(padded, np.int16)
        self._negative = np.zeros(padded, np.uint8)
        self._early = np.zeros(padded, np.uint8)
        self._site = np.zeros((max(form.groups) + 1, padded[1]), np.int32)
        blocks = -(-height // BLOCK) + 1, -(-width // BLOCK) + 1
        self._block = np.zeros((channels, *blocks), np.uint8)
        self._busy = np.zeros(channels, np.uint8)
        self._chance = np.zeros((channels, CONTEXTS), np.int32)
        self._seen = np.zeros((channels, CONTEXTS), np.int32)
        self.counts = np.zeros((1, 1, 1, 2), np.int64)
        self.cost = np.zeros(1)

    def show(self, v: NDArray[np.int16]) -> None:
        """Give an encoder the numbers."""
        most = (1 << self._coder.form.planes) - 1
        if np.abs(v.astype(np.int32)).max(initial=0) > most:
            raise ValueError(f"numbers beyond {most}")
        if not self._coder.form.signed and v.min(initial=0) < 0:
            raise ValueError("negative numbers")
        self._true = np.pad(v, ((0, 0), (1, 1), (1, 1))).reshape(len(v), -1)

    def code(
        self, mode: int, number: int, channel: int, state: NDArray[np.uint64],
        buffer: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Code a half of a plane of a map."""
        form = self._coder.form
        per_plane = 2 if form.split else 1
        plane = form.planes - 1 - number // per_plane
        late = number % per_plane == per_plane - 1
        if number % per_plane == 0 and channel == 0:
            _begin_plane(
                plane, *self._shape, form.split, self._coder._group, self._coder._mean, self._size,
                self._busy, self._early, self._site,
            )  # fmt: skip
            self._chance[:] = self._coder._start[plane]
            self._seen[:] = 0
        counts = self.counts[plane] if mode == _COUNT else self.counts[0]
        true = self._true[channel] if mode != _DECODE else self._true[0]
        _code_map(
            mode, plane, late, channel, *self._shape, form.signed, self._coder._mean[channel],
            self._coder._group[channel], true, self._size[channel], self._negative[channel],
            self._early[channel], self._site, self._block[channel], self._busy,
            self._chance[channel], self._seen[channel], state, buffer,
            counts[channel if mode == _COUNT else 0], self.cost,
        )  # fmt: skip

    def numbers(self) -> NDArray[np.int16]:
        """What is known of the numbers."""
        signed = np.where(self._negative, -self._size, self._size)
        return self._inner(signed).astype(np.int16)

    def unknown(self) -> NDArray[np.uint8]:
        """How many bits of each number are not known."""
        form = self._coder.form
        if not form.split:
            return np.full(self.numbers().shape, form.planes - self._halves, np.uint8)
        places = form.planes - -(-self._halves // 2)
        if self._halves % 2 == 0:
            return np.full(self.numbers().shape, places, np.uint8)
        return (places + 1 - self._inner(self._early)).astype(np.uint8)

    def _inner(self, x: NDArray[Any]) -> NDArray[Any]:
        height, width = self._shape
        return x.reshape(len(x), height + 2, width + 2)[:, 1:-1, 1:-1]


@compiled
def _begin_plane(  # type: ignore[no-untyped-def]
    plane, height, width, split, group, mean, size, busy, early, site
):
    """Note what has something significant around it, and how busy each site is."""
    across = width + 2
    site[:] = 0
    for c in range(len(size)):
        if not busy[c]:
            continue
        for i in range(1, height + 1):
            for j in range(1, width + 1):
                at = i * across + j
                if size[c, at] and not mean[c]:
                    site[group[c], at] += min(size[c, at] >> plane, 4)
                if split:
                    found = 0
                    for k in range(-across, across + 1, across):
                        found |= size[c, at + k - 1] | size[c, at + k] | size[c, at + k + 1]
                    early[c, at] = found > 0


@compiled
def _decide(mode, state, buffer, chance, seen, counts, cost, context, bit):  # type: ignore[no-untyped-def]
    """Code one decision, and follow it; returns it."""
    p = chance[context]
    if mode == _ENCODE:
        put(state, buffer, bit, p)
    elif mode == _DECODE:
        bit = take(state, buffer, p)
    else:
        counts[context, bit] += 1
        share = p / (1 << PROBABILITY_BITS)
        cost[0] -= np.log2(share if bit else 1 - share)
    n = min(seen[context] + _FIRST, _LAST)
    p += ((bit << PROBABILITY_BITS) - p) // n
    chance[context] = min(max(p, _LEAST), (1 << PROBABILITY_BITS) - _LEAST)
    seen[context] += 1
    return bit


@compiled
def _around_class(x):  # type: ignore[no-untyped-def]
    if x < 3:
        return x
    if x < 11:
        return 3 if x < 5 else (4 if x < 7 else 5)
    return 6 if x < 17 else (7 if x < 31 else 8)


@compiled
def _site_class(x):  # type: ignore[no-untyped-def]
    if x < 3:
        return x
    if x < 9:
        return 3 if x < 5 else 4
    return 5 if x < 15 else 6


@compiled
def _known(size, negative, at, plane):  # type: ignore[no-untyped-def]
    """A number as far as it is known, in the middle of what it can be; in quarters."""
    x = np.int64(size[at])
    if not x:
        return np.int64(0)
    x = 4 * x + (np.int64(2) << plane)
    return -x if negative[at] else x


@compiled
def _place(difference, plane):  # type: ignore[no-untyped-def]
    """The class of a difference in quarters: in quarters of a step, less finely far away."""
    x = difference >> plane
    far = np.int64(6)
    return min(max(x, -far), far) + far


@compiled
def _code_map(  # type: ignore[no-untyped-def]
    mode, plane, late, channel, height, width, signed, mean, group, true, size, negative, early,
    site, block, busy, chance, seen, state, buffer, counts, cost,
):  # fmt: skip
    """Code a half of a plane of a map; a decoder fills `size` and `negative`.

    Parameters
    ----------
    true, size, negative, early, site
        Padded by one on each side, flat: the numbers, what is known of their magnitudes and signs,
        which belong to the first half, and how busy sites are (groups x all).
    block
        Which blocks have something significant, after a row and a column of zeros.
    """
    across, step = width + 2, 1 << plane
    if not busy[channel]:
        if not late:
            return
        found = 0
        if mode != _DECODE:
            for at in range(len(true)):
                if abs(true[at]) >= step:
                    found = 1
                    break
        if not _decide(mode, state, buffer, chance, seen, counts, cost, _MAP, found):
            return
        busy[channel] = 1
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            bottom, right = min(top + BLOCK, height), min(left + BLOCK, width)
            y, x = top // BLOCK + 1, left // BLOCK + 1
            if not block[y, x] and late:
                found, around = 0, 0
                for i in range(top + 1, bottom + 1):
                    for j in range(left + 1, right + 1):
                        at = i * across + j
                        around += site[group, at]
                        if mode != _DECODE and abs(true[at]) >= step and not early[at]:
                            found = 1
                beside = block[y - 1, x] + block[y, x - 1]
                context = _BLOCK + beside + (3 if around > 4 else 0)
                found = _decide(mode, state, buffer, chance, seen, counts, cost, context, found)
                if not found:
                    continue
                block[y, x] = 1
            for i in range(top + 1, bottom + 1):
                for j in range(left + 1, right + 1):
                    at = i * across + j
                    if late == (early[at] > 0):
                        continue
                    _code_number(
                        mode, plane, at, across, signed, mean, group, true, size, negative, site,
                        chance, seen, state, buffer, counts, cost,
                    )  # fmt: skip
                    if size[at]:
                        block[y, x] = 1


@compiled
def _code_number(  # type: ignore[no-untyped-def]
    mode, plane, at, across, signed, mean, group, true, size, negative, site, chance, seen, state,
    buffer, counts, cost,
):  # fmt: skip
    """Code the bit of a number in a plane, and its sign after its first 1."""
    step = np.int64(1) << plane
    own = np.int64(size[at])
    north, south, west, east = at - across, at + across, at - 1, at + 1
    near = np.int64(size[north]) + size[south] + size[west] + size[east]
    far = np.int64(size[north - 1]) + size[north + 1] + size[south - 1] + size[south + 1]
    predicted, spread = np.int64(0), np.int64(0)
    if mean or (signed and not own):
        a, b = _known(size, negative, north, plane), _known(size, negative, south, plane)
        c, d = _known(size, negative, west, plane), _known(size, negative, east, plane)
        if mean:
            # What is not known yet, or lies outside, is no 0.
            n, total = np.int64(0), np.int64(0)
            low, high = np.int64(1) << 40, -(np.int64(1) << 40)
            for value in (a, b, c, d):
                if value:
                    n += 1
                    total += value
                    low, high = min(low, value), max(high, value)
            if n:
                predicted = total // n
                spread = high - low
            width = spread >> plane
            spread = np.int64(0 if width < 4 else (1 if width < 12 else 2))
        else:
            predicted = (a + b + c + d) // 4
    if own:
        if mean:
            toward = -predicted if negative[at] else predicted
            context = _REFINES + spread * _PLACES + _place(toward - 4 * (own + step), plane)
        else:
            first = own < 4 * step
            busy = _around_class((2 * near + far) >> plane)
            context = _REFINES + (busy if first else _AROUND)
    elif mean:
        context = _BECOMES + spread * _PLACES + _place(abs(predicted) - 4 * step, plane)
    else:
        total = site[group, at]
        if group:
            total += site[group - 1, at] >> 2
        around = _around_class((2 * near + far) >> plane)
        context = _BECOMES + around * _SITE + _site_class(total)
    bit = 0
    if mode != _DECODE:
        bit = (abs(np.int64(true[at])) >> plane) & 1
    bit = _decide(mode, state, buffer, chance, seen, counts, cost, context, bit)
    if not bit:
        return
    size[at] += step
    if own:
        return
    if not mean:
        site[group, at] += 1
    if signed:
        minus = 0
        if mode != _DECODE:
            minus = 1 if true[at] < 0 else 0
        context = _SIGN + _place(predicted, plane)
        negative[at] = _decide(mode, state, buffer, chance, seen, counts, cost, context, minus)
