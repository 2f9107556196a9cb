"""The container of the bitstream: what CompressAI's strings need beside them to be decoded.

=====  ===========================================================================================
bytes  content
=====  ===========================================================================================
4      ``CAI1``: the codec and the version of the format
4      CRC-32 of all that follows, little-endian
4      the start of the SHA-256 of the file of weights
1-3    width in pixels   } 7 bits a byte, the lowest first;
1-3    height in pixels  } the eighth says that more follow
1      index of the operating point
0-4    length in bytes of the first string, likewise, where there are two
...    the strings: the latent y and, in models with a hyperprior, the hyper-latent z
=====  ===========================================================================================

An image of 768x512 costs 17 bytes beside a single string, and 19 or 20 beside two. It is not the
container of `lic_bench.learned.bitstream`, because here each operating point has weights of its
own. The shape of the latents follows from the size.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import accumulate, pairwise

from lic_bench import MAXIMUM_PIXELS, BitstreamError, SpecError
from lic_bench.learned.bitstream import MAX_SIDE

_MAGIC = b"CAI1"
_CRC = 4
_WEIGHTS = 4


@dataclass(frozen=True)
class Stream:
    """What a bitstream holds."""

    weights: bytes
    """The first four bytes of the SHA-256 of the file of weights."""
    width: int
    height: int
    point: int
    """The index of the operating point."""
    strings: tuple[bytes, ...]
    """One or two."""


def check_size(height: int, width: int) -> None:
    """Refuse an image that is too large to be coded.

    Raises
    ------
    SpecError
        With the limit.
    """
    if not _fits(height, width):
        raise SpecError(
            f"{width}x{height} pixels are too many for this bitstream: at most "
            f"{MAX_SIDE} a side and {MAXIMUM_PIXELS} in all; cut the image into tiles"
        )


def pack(stream: Stream) -> bytes:
    """Make the bytes of a stream."""
    lengths = map(len, stream.strings[:-1])
    numbers = b"".join(map(_varint, (stream.width, stream.height, stream.point, *lengths)))
    rest = stream.weights + numbers + b"".join(stream.strings)
    return _MAGIC + zlib.crc32(rest).to_bytes(_CRC, "little") + rest


def unpack(data: bytes, strings: int) -> Stream:
    """Take bytes apart.

    Parameters
    ----------
    strings
        How many strings the model writes.

    Raises
    ------
    BitstreamError
        Where they are of another codec or format, damaged or cut short.
    """
    if data[: len(_MAGIC)] != _MAGIC:
        raise BitstreamError(f"the stream begins with {data[: len(_MAGIC)]!r}, not {_MAGIC!r}")
    start = len(_MAGIC) + _CRC
    if len(data) < start + _WEIGHTS:
        raise BitstreamError("the stream ends within its header")
    if zlib.crc32(data[start:]) != int.from_bytes(data[len(_MAGIC) : start], "little"):
        raise BitstreamError("the stream is damaged or cut short: its checksum does not match")
    weights, position = data[start : start + _WEIGHTS], start + _WEIGHTS
    numbers = []
    for _ in range(2 + strings):
        number, position = _read_varint(data, position)
        numbers.append(number)
    width, height, point, *lengths = numbers
    edges = [*accumulate(lengths, initial=position), len(data)]
    if not _fits(height, width) or edges[-2] > edges[-1]:
        raise BitstreamError(f"the header makes no sense: {width}x{height}, strings of {lengths}")
    return Stream(weights, width, height, point, tuple(data[a:b] for a, b in pairwise(edges)))


def _fits(height: int, width: int) -> bool:
    return 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAXIMUM_PIXELS


def _varint(value: int) -> bytes:
    high, low = divmod(value, 128)
    return bytes([low | 128]) + _varint(high) if high else bytes([low])


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A number, and the position behind it."""
    value = 0
    for shift in range(0, 35, 7):
        if position >= len(data):
            break
        byte, position = data[position], position + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise BitstreamError("the stream ends within its header")
