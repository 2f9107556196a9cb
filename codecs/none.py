"""No codec: the samples as they are, which measures the harness itself."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lic_bench import BitstreamError, Codec, Point

if TYPE_CHECKING:
    from lic_bench import Image

_SIZE = struct.Struct("<II")


class NoCodec(Codec):
    """No compression at all (24 bpp): what the harness adds, and a test of the metrics."""

    name = "none"

    def encode(self, image: Image, point: Point) -> bytes:
        height, width, _ = image.shape
        return _SIZE.pack(width, height) + image.tobytes()

    def decode(self, stream: bytes) -> Image:
        import numpy as np

        if len(stream) < _SIZE.size:
            raise BitstreamError("the stream of raw samples ends within its header")
        width, height = _SIZE.unpack_from(stream)
        if not width * height or len(stream) != _SIZE.size + 3 * width * height:
            raise BitstreamError(f"the stream of raw samples is not of {width}x{height} pixels")
        samples = np.frombuffer(stream, np.uint8, offset=_SIZE.size)
        return samples.reshape(height, width, 3).copy()
