"""The container of a trained codec's bitstream: a header of 18 bytes, the payload, nothing else.

======  =====  =====================================================================================
offset  bytes  content (integers are little-endian)
======  =====  =====================================================================================
0       4      the codec's magic
4       1      version of the format
5       4      the start of the SHA-256 of the weights
9       2      width in pixels
11      2      height in pixels
13      1      index of the operating point
14      4      CRC-32 of all other bytes: header, then payload
18      ...    payload
======  =====  =====================================================================================
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from lic_bench.codec.base import MAXIMUM_PIXELS
from lic_bench.errors import BitstreamError, SpecError

_HEADER = struct.Struct("<4sB4sHHB")
_CRC = struct.Struct("<I")
MAX_SIDE = 0xFFFF
"""Longer ones are refused both ways, so that a header of a few bytes cannot exhaust memory."""


@dataclass(frozen=True)
class Format:
    """What a codec writes and accepts."""

    magic: bytes
    version: int
    weights: bytes
    """The first four bytes of the SHA-256 of the weights."""
    points: int
    """The number of operating points."""


@dataclass(frozen=True)
class Header:
    """What a stream says of its image."""

    width: int
    height: int
    point: int


def pack(form: Format, header: Header, payload: bytes) -> bytes:
    """Make a stream.

    Raises
    ------
    SpecError
        Where the image is too large for the format.
    """
    if not _fits(header.width, header.height):
        raise SpecError(
            f"{header.width}x{header.height} pixels are too many for this bitstream: at most "
            f"{MAX_SIDE} a side and {MAXIMUM_PIXELS} in all; cut the image into tiles"
        )
    head = _HEADER.pack(
        form.magic, form.version, form.weights, header.width, header.height, header.point
    )
    return head + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def unpack(form: Format, stream: bytes) -> tuple[Header, bytes]:
    """Take a stream apart.

    Raises
    ------
    BitstreamError
        Where it is of another codec, version or model, or is damaged or cut short.
    """
    if len(stream) < _HEADER.size + _CRC.size:
        raise BitstreamError(f"the stream is cut short: {len(stream)} bytes hold no header")
    head, rest = stream[: _HEADER.size], stream[_HEADER.size :]
    (crc,), payload = _CRC.unpack(rest[: _CRC.size]), rest[_CRC.size :]
    magic, version, weights, width, height, point = _HEADER.unpack(head)
    if magic != form.magic:
        raise BitstreamError(f"the stream begins with {magic!r}, not {form.magic!r}")
    if zlib.crc32(payload, zlib.crc32(head)) != crc:
        raise BitstreamError("the stream is damaged or cut short: its checksum does not match")
    if version != form.version:
        raise BitstreamError(f"the stream has format version {version}, not {form.version}")
    if weights != form.weights:
        raise BitstreamError(
            f"the stream was made with other weights: {weights.hex()}, not {form.weights.hex()}"
        )
    if point >= form.points or not _fits(width, height):
        raise BitstreamError(f"the header makes no sense: {width}x{height}, point {point}")
    return Header(width, height, point), payload


def _fits(width: int, height: int) -> bool:
    return 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAXIMUM_PIXELS
