"""JPEG: libjpeg-turbo through Pillow."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from lic_bench import MAXIMUM_PIXELS, BitstreamError, Point
from lic_bench.codecs.pillow_codec import PillowCodec

if TYPE_CHECKING:
    from lic_bench import Image

# What is between markers in the pixels' data: stuffed bytes and restart markers are part of it.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_SOF0, _SOS, _EOI = b"\xff\xc0", b"\xff\xda", b"\xff\xd9"

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]


class Jpeg(PillowCodec):
    """JPEG (libjpeg-turbo, baseline, default tables).

    Parameters
    ----------
    subsampling
        Of the chroma planes.
    """

    name = "jpeg"
    format = "JPEG"
    feature = "jpg"
    points = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95)
    point_unit = "quality"
    point_range = (1, 100)

    def __init__(self, subsampling: Subsampling = "4:2:0") -> None:
        self._subsampling = subsampling

    def versions(self) -> Mapping[str, str]:
        from PIL import features

        library = features.version("libjpeg_turbo") or features.version("jpg")
        return {**super().versions(), "libjpeg-turbo": str(library)}

    def settings(self, point: Point) -> dict[str, Any]:
        return {"quality": point, "subsampling": self._subsampling}

    def decode(self, stream: bytes) -> Image:
        _check_header(stream)
        return super().decode(stream)


def _check_header(stream: bytes) -> None:
    """Refuse what is no stream of ours: libjpeg would decode as many scans as a stream holds."""
    position, frame = 2, b""
    while (marker := stream[position : position + 2]) != _SOS:
        if marker[:1] != b"\xff" or len(stream) < position + 4:
            raise BitstreamError("the JPEG stream does not decode: it is none, or cut short")
        (length,) = struct.unpack_from(">H", stream, position + 2)
        if marker == _SOF0:
            frame = stream[position + 5 : position + 9]
        position += 2 + length
    end = _END_OF_SCAN.search(stream, position + 2)
    if len(frame) < 4 or (end is not None and end[0] != _EOI):
        raise BitstreamError("the JPEG stream is damaged, or not one scan of the baseline kind")
    height, width = struct.unpack(">HH", frame)
    if not 0 < height * width <= MAXIMUM_PIXELS:
        raise BitstreamError(f"the JPEG stream is damaged: it claims {width}x{height} pixels")
