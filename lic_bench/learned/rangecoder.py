"""A binary range coder, compiled: the one that all our codecs share.

A decision is coded with the chance, in 2^-16, that it is 1. After G. N. N. Martin, "Range encoding:
an algorithm for removing redundancy from a digitised message", 1979, with a carry that runs into
the bytes written already, so that no code is wasted. All is arithmetic of 64-bit integers, the same
on every machine.

The state of a coder is an array of uint64, which the functions below change:

======  ============================================================================
`LOW`   encoder: the low end of the interval; decoder: the code less the low end
`RANGE` its width, 2^40 to 2^48
`AT`    encoder: bytes written; decoder: bytes read
======  ============================================================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import BitstreamError
from lic_bench.learned.compiled import compiled

LOW, RANGE, AT = 0, 1, 2
PROBABILITY_BITS = 16
_WHOLE = 48  # binary places of the interval at its widest
_LEAST = np.uint64(1 << (_WHOLE - 8))
_BYTES = _WHOLE // 8
_MASK = np.uint64((1 << (_WHOLE - 8)) - 1)
_EIGHT, _SHIFT, _TOP = np.uint64(8), np.uint64(PROBABILITY_BITS), np.uint64(_WHOLE - 8)
_CARRY = np.uint64(1 << _WHOLE)

State = NDArray[np.uint64]
Bytes = NDArray[np.uint8]


@compiled
def put(state: State, buffer: Bytes, bit: int, chance: int) -> None:
    """Write a decision; `buffer` must have room for three bytes more."""
    part = (state[RANGE] >> _SHIFT) * np.uint64(chance)
    if bit:
        state[RANGE] = part
    else:
        state[LOW] += part
        state[RANGE] -= part
    while state[RANGE] < _LEAST:
        _shift_out(state, buffer)


@compiled
def _shift_out(state: State, buffer: Bytes) -> None:
    low, at = state[LOW], np.int64(state[AT])
    if low >= _CARRY:
        low -= _CARRY
        before = at - 1
        while buffer[before] == 255:
            buffer[before] = 0
            before -= 1
        buffer[before] += 1
    buffer[at] = low >> _TOP
    state[AT] = at + 1
    state[LOW] = (low & _MASK) << _EIGHT
    state[RANGE] <<= _EIGHT


@compiled
def take(state: State, code: Bytes, chance: int) -> int:
    """Read a decision. Beyond the end of the code there are zeros."""
    part = (state[RANGE] >> _SHIFT) * np.uint64(chance)
    if state[LOW] < part:
        state[RANGE] = part
        bit = 1
    else:
        state[LOW] -= part
        state[RANGE] -= part
        bit = 0
    while state[RANGE] < _LEAST:
        at = np.int64(state[AT])
        state[LOW] = (state[LOW] << _EIGHT) | np.uint64(code[at] if at < len(code) else 0)
        state[AT] = at + 1
        state[RANGE] <<= _EIGHT
    return bit


def encoder() -> State:
    """The state of an encoder that has written nothing."""
    return np.array([0, 1 << _WHOLE, 0], np.uint64)


def decoder(code: Bytes) -> State:
    """The state of a decoder that has read the first bytes of a code."""
    first = int.from_bytes(bytes(code[:_BYTES]).ljust(_BYTES, b"\0"), "big")
    return np.array([first, 1 << _WHOLE, _BYTES], np.uint64)


def finish(state: State, buffer: Bytes) -> bytes:
    """End a code: the shortest that stands for the interval, zeros at its end left out.

    `buffer` must have room for seven bytes more.
    """
    value = _shortest(int(state[LOW]), int(state[RANGE]))
    state[LOW], written = value, int(state[AT])
    for _ in range(_BYTES):
        state[RANGE] = 0
        _shift_out(state, buffer)
    end = int(state[AT])
    while end > written and not buffer[end - 1]:
        end -= 1
    return buffer[:end].tobytes()


def _shortest(low: int, width: int) -> int:
    """The number with the fewest binary places that lies in an interval."""
    for places in range(_WHOLE + 1):
        unit = 1 << (_WHOLE - places)
        value = -(-low // unit) * unit
        if value < low + width:
            break
    return value


def check_end(state: State, code: Bytes) -> None:
    """Make sure that a decoder has read its code to the end, and not beyond.

    Raises
    ------
    BitstreamError
        Otherwise.
    """
    needed = int(state[AT]) - _BYTES
    if len(code) < needed:
        raise BitstreamError("the payload ends before its last symbol")
    last = int.from_bytes(bytes(code[needed : needed + _BYTES]).ljust(_BYTES, b"\0"), "big")
    # From the code's distance to it follows the low end of the encoder's interval.
    distance = int(state[LOW])
    low = (last - distance) % (1 << _WHOLE)
    beyond = len(code) > needed + _BYTES or (len(code) > needed and not code[-1])
    if beyond or _shortest(low, int(state[RANGE])) != low + distance:
        raise BitstreamError("the payload ends otherwise than after its last symbol")


@compiled
def past_the_end(state: State, code: Bytes) -> bool:
    """Whether a decoder has read more than any encoder wrote."""
    return bool(np.int64(state[AT]) > len(code) + _BYTES)
