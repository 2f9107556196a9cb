"""JPEG XL: libjxl through pillow-jxl-plugin, as a bare codestream."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lic_bench import MAXIMUM_PIXELS, BitstreamError, Codec, Point

if TYPE_CHECKING:
    from lic_bench import Image

# What the size's header may give instead of a width: the ratio to the height (ISO/IEC 18181-1).
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


class JpegXl(Codec):
    """JPEG XL (libjxl, lossy: VarDCT in XYB).

    Parameters
    ----------
    effort
        From 1 (fast) to 10 (small).
    """

    name = "jpegxl"
    points = (0, 10, 20, 35, 50, 65, 75, 85, 90)
    point_unit = "quality"
    point_range = (0, 99)
    requires: ClassVar = {"pillow_jxl": "pip install 'lic-bench[jpegxl]'"}

    def __init__(self, effort: int = 7) -> None:
        if not 1 <= effort <= 10:
            raise ValueError("effort goes from 1 to 10")
        self._effort = effort

    def versions(self) -> Mapping[str, str]:
        # Each version of the plugin holds one version of libjxl, of which it says nothing.
        return {"pillow-jxl-plugin": importlib.metadata.version("pillow-jxl-plugin")}

    def encode(self, image: Image, point: Point) -> bytes:
        from pillow_jxl import Encoder

        self.check_point(point)
        settings = {"mode": "RGB", "quality": point, "effort": self._effort, "num_threads": 0}
        encoder = Encoder(**settings)  # type: ignore[arg-type]
        height, width, _ = image.shape
        return bytes(encoder(image.tobytes(), width, height, jpeg_encode=False))

    def decode(self, stream: bytes) -> Image:
        import numpy as np
        from pillow_jxl import Decoder

        size = _size(stream)
        try:
            _, info, samples, *_ = Decoder(num_threads=0)(stream)
        except Exception as error:
            raise BitstreamError(f"the JPEG XL stream does not decode: {error}") from error
        if info.mode != "RGB" or (info.height, info.width) != size:
            raise BitstreamError(f"the JPEG XL stream holds {info.mode} samples, not RGB")
        return np.frombuffer(samples, np.uint8).reshape(*size, 3).copy()


def _size(stream: bytes) -> tuple[int, int]:
    """Height and width from the codestream's header, before the decoder takes memory for them."""
    if stream[:2] != b"\xff\x0a" or len(stream) < 12:
        raise BitstreamError("this is no bare JPEG XL codestream, or it ends within its header")
    bits = int.from_bytes(stream[2:12], "little")

    def read(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    small = read(1)

    def side() -> int:
        return 8 * (read(5) + 1) if small else read((9, 13, 18, 30)[read(2)]) + 1

    height, ratio = side(), read(3)
    if ratio:
        numerator, denominator = _RATIOS[ratio - 1]
        width = height * numerator // denominator
    else:
        width = side()
    # Our pictures have every property by default. Others may bring frames and channels without end.
    if not read(1):
        raise BitstreamError("the JPEG XL stream is no single picture of 8-bit RGB")
    if height * width > MAXIMUM_PIXELS:
        raise BitstreamError(f"the JPEG XL stream is damaged: it claims {width}x{height} pixels")
    return height, width
