"""Streams of our trained codecs that no encoder wrote, under a checksum that is right."""

import struct
import zlib

_FIELDS = ("magic", "version", "weights", "width", "height", "point")


def forged(stream: bytes, payload: bytes | None = None, **fields: object) -> bytes:
    """A stream with another payload, and other fields of its header (`learned.bitstream`)."""
    found = dict(zip(_FIELDS, struct.unpack_from("<4sB4sHHB", stream), strict=True))
    payload = stream[18:] if payload is None else payload
    head = struct.pack("<4sB4sHHB", *{**found, **fields}.values())
    return head + struct.pack("<I", zlib.crc32(head + payload)) + payload
