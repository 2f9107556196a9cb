"""WebP: libwebp's lossy coder through Pillow."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lic_bench import MAXIMUM_PIXELS, BitstreamError, Point
from lic_bench.codecs.pillow_codec import PillowCodec

if TYPE_CHECKING:
    from lic_bench import Image

# How a stream of ours begins: RIFF's header, then one VP8 chunk, in it a key frame's header (RFC
# 6386, 9.1): the frame's tag, the start code, width and height with two bits of scale above each.
_HEADER = struct.Struct("<4sI8sI3s3sHH")


class Webp(PillowCodec):
    """WebP (libwebp, lossy).

    Parameters
    ----------
    method
        Effort, from 0 (fast) to 6 (small).
    """

    name = "webp"
    format = "WEBP"
    feature = "webp"
    points = (0, 5, 10, 20, 35, 50, 65, 75, 85, 90)
    point_unit = "quality"
    point_range = (0, 100)

    def __init__(self, method: int = 4) -> None:
        if not 0 <= method <= 6:
            raise ValueError("method goes from 0 to 6")
        self._method = method

    def versions(self) -> Mapping[str, str]:
        from PIL import features

        return {**super().versions(), "libwebp": str(features.version("webp"))}

    def settings(self, point: Point) -> dict[str, Any]:
        return {"quality": point, "method": self._method}

    def decode(self, stream: bytes) -> Image:
        _check_header(stream)
        return super().decode(stream)


def _check_header(stream: bytes) -> None:
    """Refuse what is no stream of ours: Pillow takes memory for the size before it decodes."""
    if len(stream) < _HEADER.size:
        raise BitstreamError("the WebP stream ends within its header")
    riff, _, kind, _, _, start, width, height = _HEADER.unpack_from(stream)
    if (riff, kind, start) != (b"RIFF", b"WEBPVP8 ", b"\x9d\x01\x2a"):
        raise BitstreamError("this is no WebP stream, or not the lossy kind without alpha")
    width, height = width & 0x3FFF, height & 0x3FFF
    if not 0 < width * height <= MAXIMUM_PIXELS:
        raise BitstreamError(f"the WebP stream is damaged: it claims {width}x{height} pixels")
