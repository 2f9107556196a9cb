"""Whole numbers coded by tables of chances that a file of weights holds: the same everywhere.

A table is a row of cumulative frequencies, from 0 to 2^16. A number is found in its row by halving:
each decision, whether it lies in the lower half of what is left, goes to the range coder with the
chance that the row tells. The row's first and last entry stand for all beyond; by how much, a code
of Elias says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import BitstreamError
from lic_bench.learned.compiled import compiled
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

Integers = NDArray[np.int32]
WHOLE = 1 << PROBABILITY_BITS
LARGEST = (1 << 15) - 1
"""The largest number that can be coded, and less 1 the lowest's size."""
_HALF = WHOLE >> 1
_LONGEST = 16  # binary places of what lies beyond a row
_ROOM = 16  # bytes, more than a number takes
_TAIL = 2.0**-15  # what a row leaves to what is beyond it, at either end


class Tables(NamedTuple):
    """Rows of different lengths, one after the other."""

    frequencies: Integers
    """Cumulative: of each row one more than it has entries, 0 to `WHOLE`."""
    start: Integers
    """Where each row begins; one more than there are rows."""
    lowest: Integers
    """The number that the first entry of each row stands for."""


def tables_of(cumulative: NDArray[np.float64], lowest: int) -> Tables:
    """Tables of distributions, each as long as it needs to be.

    Parameters
    ----------
    cumulative
        The chance of less than ``lowest + k + 0.5``, rising: rows x K, k from 0.
    lowest
        The lowest number looked at.
    """
    frequencies, starts, firsts = [], [0], []
    for row in cumulative:
        # From the last of next to no chance below to the first of as little above.
        low = max(int(np.searchsorted(row, _TAIL)) - 1, 0)
        high = min(int(np.searchsorted(row, 1 - _TAIL)), len(row) - 1)
        inner = np.clip(row[low : high + 1], 0, 1)
        entries = len(inner) + 1
        # One unit for each entry, and the rest by their chances.
        whole = np.rint(np.maximum.accumulate(inner) * (WHOLE - entries)).astype(np.int32)
        own = np.concatenate([[0], whole + np.arange(1, entries, dtype=np.int32), [WHOLE]])
        frequencies.append(own.astype(np.int32))
        starts.append(starts[-1] + len(own))
        firsts.append(lowest + low)
    return Tables(
        np.concatenate(frequencies), np.array(starts, np.int32), np.array(firsts, np.int32)
    )


def stored(tables: Tables) -> dict[str, NDArray[Any]]:
    """Tables as a file holds them: in two bytes the frequency of each entry."""
    sizes = np.diff(tables.start) - 1
    steps = np.diff(tables.frequencies)
    kept = np.ones(len(steps), bool)
    kept[tables.start[1:-1] - 1] = False  # from the end of a row to the next
    return {
        "frequencies": steps[kept].astype(np.uint16),
        "sizes": sizes.astype(np.int32),
        "lowest": tables.lowest,
    }


def read_tables(arrays: Mapping[str, NDArray[Any]]) -> Tables:
    """Tables from a file, which may be of anybody.

    Raises
    ------
    ValueError
        Where they are none.
    """
    steps, sizes, lowest = (arrays[x] for x in ("frequencies", "sizes", "lowest"))
    types = [str(array.dtype) for array in (steps, sizes, lowest)]
    sound = types == ["uint16", "int32", "int32"]
    sound = sound and all(array.ndim == 1 for array in (steps, sizes, lowest))
    sound = sound and len(sizes) == len(lowest) > 0
    sound = sound and bool((sizes >= 2).all()) and int(sizes.sum(dtype=np.int64)) == len(steps)
    sound = sound and bool((np.abs(lowest.astype(np.int64)) < LARGEST // 2).all())
    sound = sound and int(sizes.max()) < LARGEST // 2 and bool((steps > 0).all())
    if sound:
        ends = np.cumsum(sizes)
        total = np.concatenate([[0], np.cumsum(steps, dtype=np.int64)])
        sound = bool((total[ends] == WHOLE * np.arange(1, len(sizes) + 1)).all())
    if not sound:
        raise ValueError("these are no tables of frequencies")
    start = np.concatenate([[0], np.cumsum(sizes + 1)])
    row = np.repeat(np.arange(len(sizes)), sizes + 1)
    within = np.arange(start[-1]) - start[row]
    frequencies = total[np.concatenate([[0], ends])[row] + within] - WHOLE * row
    return Tables(frequencies.astype(np.int32), start.astype(np.int32), lowest.copy())


class TableEncoder:
    """Writes numbers, each by a row of tables, into one code."""

    def __init__(self) -> None:
        self._state, self._buffer = encoder(), np.zeros(1 << 16, np.uint8)

    def write(self, values: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables) -> None:
        """Write numbers of -`LARGEST` to `LARGEST`, by a row for each, of the same shape."""
        done, flat, by = 0, np.ravel(values), np.ravel(rows)
        while done < len(flat):
            done = _write(self._state, self._buffer, flat, by, done, *tables)
            if done < len(flat):
                self._buffer = np.concatenate([self._buffer, np.zeros_like(self._buffer)])

    def finish(self) -> bytes:
        """End the code."""
        room = np.concatenate([self._buffer, np.zeros(_ROOM, np.uint8)])
        return finish(self._state, room)


class TableDecoder:
    """Reads numbers back, in the order in which they were written."""

    def __init__(self, code: bytes) -> None:
        self._code = np.frombuffer(code, np.uint8).copy()  # numba tells what is read-only apart
        self._state = decoder(self._code)

    def read(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        """Read numbers by a row for each: int32, of the rows' shape.

        Raises
        ------
        BitstreamError
            Where the code ends before them: as soon as that shows.
        """
        values = np.zeros(rows.size, np.int32)
        if not _read(self._state, self._code, values, np.ravel(rows), *tables):
            raise BitstreamError("the payload ends before its last symbol, or is no code")
        return values.reshape(rows.shape)

    def check_end(self) -> None:
        """Make sure that all was read.

        Raises
        ------
        BitstreamError
            Otherwise.
        """
        check_end(self._state, self._code)


def cost(values: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables) -> float:
    """What numbers should take by the tables, in bits."""
    return float(_bits(values, rows, tables).sum())


def costs(tables: Tables, first: int, rows: int, reach: int) -> NDArray[np.float32]:
    """What each number from -reach to reach takes in some rows, in bits: rows x (2 reach + 1)."""
    values = np.arange(-reach, reach + 1, dtype=np.int32)[None].repeat(rows, 0)
    chosen = np.arange(first, first + rows, dtype=np.int32)[:, None].repeat(values.shape[1], 1)
    return _bits(values, chosen, tables).astype(np.float32)


def _bits(
    values: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables
) -> NDArray[np.float64]:
    last = tables.start[rows + 1] - tables.start[rows] - 2
    offset = values - tables.lowest[rows]
    entry = offset.clip(0, last)
    at = tables.start[rows] + entry
    share = (tables.frequencies[at + 1] - tables.frequencies[at]) / WHOLE
    outermost = (entry == 0) | (entry == last)
    escapes = 2 * np.floor(np.log2(np.abs(offset - entry) + 1)) + 1
    bits: NDArray[np.float64] = outermost * escapes - np.log2(share)
    return bits


@compiled
def _chance(frequencies, at, low, middle, high):  # type: ignore[no-untyped-def]
    """The chance of the lower part, in 2^-16, neither 0 nor 1."""
    below = np.int64(frequencies[at + middle] - frequencies[at + low])
    whole = np.int64(frequencies[at + high] - frequencies[at + low])
    return min(max(((below << 16) + (whole >> 1)) // whole, 1), 65535)


@compiled
def _write(state, buffer, values, rows, done, frequencies, start, lowest):  # type: ignore[no-untyped-def]
    """Write as many numbers as there is room for; returns how many are written by then."""
    for k in range(done, len(values)):
        if np.int64(state[2]) + 2 * _ROOM > len(buffer):
            return k
        row = rows[k]
        at, entries = start[row], start[row + 1] - start[row] - 1
        offset = values[k] - lowest[row]
        entry = min(max(offset, 0), entries - 1)
        low, high = 0, entries
        while high - low > 1:
            middle = (low + high) >> 1
            lower = entry < middle
            put(state, buffer, 1 if lower else 0, _chance(frequencies, at, low, middle, high))
            if lower:
                high = middle
            else:
                low = middle
        if entry == 0 or entry == entries - 1:
            beyond = -offset if entry == 0 else offset - entry
            beyond += 1
            places = 0
            while beyond >> (places + 1):
                places += 1
            for place in range(places + 1):
                # That there is no more is likely where rows are as long as they should be.
                put(state, buffer, 1 if place < places else 0, _HALF)
            for place in range(places - 1, -1, -1):
                put(state, buffer, (beyond >> place) & 1, _HALF)
    return len(values)


@compiled
def _read(state, code, values, rows, frequencies, start, lowest):  # type: ignore[no-untyped-def]
    for k in range(len(values)):
        row = rows[k]
        at, entries = start[row], start[row + 1] - start[row] - 1
        low, high = 0, entries
        while high - low > 1:
            middle = (low + high) >> 1
            if take(state, code, _chance(frequencies, at, low, middle, high)):
                high = middle
            else:
                low = middle
        offset = low
        if low == 0 or low == entries - 1:
            places = 0
            while take(state, code, _HALF):
                places += 1
                if places > _LONGEST:
                    return False
            beyond = 1
            for _ in range(places):
                beyond = 2 * beyond + take(state, code, _HALF)
            beyond -= 1
            offset = -beyond if low == 0 else low + beyond
        values[k] = lowest[row] + offset
        if past_the_end(state, code):
            return False
    return True
