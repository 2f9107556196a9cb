"""WebP: libwebp's lossy coder through Pillow."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lic_bench import BitstreamError, Codec, Point, SpecError

if TYPE_CHECKING:
    from lic_bench import Image

# How a stream of ours begins: RIFF's header, then one VP8 chunk, in it a key frame's header (RFC
# 6386, 9.1): the frame's tag, the start code, width and height with two bits of scale above each.
_HEADER = struct.Struct("<4sI8sI3s3sHH")
_MAXIMUM_PIXELS = 1 << 27


class Webp(Codec):
    """WebP (libwebp, lossy).

    Parameters
    ----------
    method
        Effort, from 0 (fast) to 6 (small).
    """

    name = "webp"
    points = (0, 5, 10, 20, 35, 50, 65, 75, 85, 90)
    point_unit = "quality"
    point_range = (0, 100)

    def __init__(self, method: int = 4) -> None:
        if not 0 <= method <= 6:
            raise ValueError("method goes from 0 to 6")
        self._method = method

    @classmethod
    def unavailable(cls) -> str | None:
        from PIL import features

        if not features.check("webp"):
            return "this Pillow lacks WebP; install its wheel: pip install --force-reinstall pillow"
        return None

    def versions(self) -> Mapping[str, str]:
        import PIL
        from PIL import features

        return {"pillow": PIL.__version__, "libwebp": str(features.version("webp"))}

    def check_point(self, point: Point) -> None:
        if not isinstance(point, int) or not 0 <= point <= 100:
            raise SpecError(f"webp: {point!r} is no quality: a whole number from 0 to 100")

    def encode(self, image: Image, point: Point) -> bytes:
        from PIL import Image as PillowImage

        self.check_point(point)
        stream = io.BytesIO()
        PillowImage.fromarray(image).save(stream, "WEBP", quality=point, method=self._method)
        return stream.getvalue()

    def decode(self, stream: bytes) -> Image:
        from PIL import Image as PillowImage

        _check_header(stream)
        try:
            with PillowImage.open(io.BytesIO(stream), formats=["WEBP"]) as picture:
                return np.array(picture)
        except Exception as error:
            raise BitstreamError(f"the WebP stream does not decode: {error}") from error


def _check_header(stream: bytes) -> None:
    """Refuse what is no stream of ours: Pillow takes memory for the size before it decodes."""
    if len(stream) < _HEADER.size:
        raise BitstreamError("the WebP stream ends within its header")
    riff, _, kind, _, _, start, width, height = _HEADER.unpack_from(stream)
    if (riff, kind, start) != (b"RIFF", b"WEBPVP8 ", b"\x9d\x01\x2a"):
        raise BitstreamError("this is no WebP stream, or not the lossy kind without alpha")
    width, height = width & 0x3FFF, height & 0x3FFF
    if not 0 < width * height <= _MAXIMUM_PIXELS:
        raise BitstreamError(f"the WebP stream is damaged: it claims {width}x{height} pixels")
