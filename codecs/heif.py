"""HEIF: HEVC intra in the container that phones write (HEIC), by libheif through pillow-heif."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from lic_bench import MAXIMUM_PIXELS, BitstreamError, Codec, Point

if TYPE_CHECKING:
    from lic_bench import Image


Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
Tune = Literal["psnr", "ssim"]
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"]


class Heif(Codec):
    """HEIF (libheif: x265 intra, 8 bits; decoded by libde265).

    Parameters
    ----------
    subsampling
        Of the chroma planes.
    tune
        What x265 optimises. libheif's own default, ``ssim``, costs PSNR.
    preset
        x265's: from fast to small.
    """

    name = "heif"
    points = (8, 14, 20, 26, 32, 38, 44, 50, 56)
    point_unit = "quality"
    point_range = (0, 100)
    requires: ClassVar = {"pillow_heif": "pip install 'lic-bench[heif]'"}

    def __init__(
        self, subsampling: Subsampling = "4:4:4", tune: Tune = "psnr", preset: Preset = "slower"
    ) -> None:
        self._subsampling = subsampling
        self._tune = tune
        self._preset = preset

    def versions(self) -> Mapping[str, str]:
        import pillow_heif

        info = pillow_heif.libheif_info()
        return {
            "pillow-heif": pillow_heif.__version__,
            "libheif": info["libheif"],
            "encoder": info["HEIF"],
            "decoder": ", ".join(info["decoders"].values()),
        }

    def encode(self, image: Image, point: Point) -> bytes:
        import pillow_heif

        self.check_point(point)
        parameters = {  # a new dictionary each time: pillow-heif writes into it
            "preset": self._preset,
            "tune": self._tune,
            "x265:pools": "none",
            "x265:frame-threads": "1",
        }
        if self._tune == "psnr":
            # libheif's tune leaves these on: half a dB, most of it because x265 in 4:4:4 then
            # raises the QP of chroma by 6.
            parameters |= {"x265:psy-rd": "0", "x265:psy-rdoq": "0"}
        height, width, _ = image.shape
        stream = io.BytesIO()
        pillow_heif.encode(
            "RGB",
            (width, height),
            image.tobytes(),
            stream,
            quality=point,
            subsampling=self._subsampling,
            enc_params=parameters,
        )
        return stream.getvalue()

    def decode(self, stream: bytes) -> Image:
        import numpy as np
        import pillow_heif

        try:
            picture = pillow_heif.open_heif(io.BytesIO(stream))
            width, height = picture.size
            if len(picture) != 1 or picture.mode != "RGB":
                raise BitstreamError(f"it holds {len(picture)} pictures, {picture.mode}")
            if width * height > MAXIMUM_PIXELS:
                raise BitstreamError(f"it claims {width}x{height} pixels")
            return np.array(picture)
        except Exception as error:
            raise BitstreamError(f"the HEIF stream does not decode: {error}") from error
