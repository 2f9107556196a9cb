"""HEIF: HEVC intra in the container that phones write (HEIC), by libheif through pillow-heif."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from lic_bench import BitstreamError, Codec, Point, SpecError

if TYPE_CHECKING:
    from lic_bench import Image

_MAXIMUM_PIXELS = 1 << 27

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

    def __init__(
        self, subsampling: Subsampling = "4:4:4", tune: Tune = "psnr", preset: Preset = "slower"
    ) -> None:
        self._subsampling = subsampling
        self._tune = tune
        self._preset = preset

    @classmethod
    def unavailable(cls) -> str | None:
        if importlib.util.find_spec("pillow_heif") is None:
            return "pillow-heif is not installed; pip install 'lic-bench[heif]'"
        return None

    def versions(self) -> Mapping[str, str]:
        import pillow_heif

        info = pillow_heif.libheif_info()
        return {
            "pillow-heif": pillow_heif.__version__,
            "libheif": info["libheif"],
            "encoder": info["HEIF"],
            "decoder": ", ".join(info["decoders"].values()),
        }

    def check_point(self, point: Point) -> None:
        if not isinstance(point, int) or not 0 <= point <= 100:
            raise SpecError(f"heif: {point!r} is no quality: a whole number from 0 to 100")

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
        import pillow_heif

        try:
            picture = pillow_heif.open_heif(io.BytesIO(stream))
            width, height = picture.size
            if len(picture) != 1 or picture.mode != "RGB":
                raise BitstreamError(f"it holds {len(picture)} pictures, {picture.mode}")
            if width * height > _MAXIMUM_PIXELS:
                raise BitstreamError(f"it claims {width}x{height} pixels")
            return np.array(picture)
        except Exception as error:
            raise BitstreamError(f"the HEIF stream does not decode: {error}") from error
