"""AVIF: AV1 by aom, through Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import numpy as np

from lic_bench import BitstreamError, Codec, Point, SpecError

if TYPE_CHECKING:
    from lic_bench import Image

_MAXIMUM_PIXELS = 1 << 27

Tune = Literal["psnr", "ssim", "iq"]
Subsampling = Literal["4:4:4", "4:2:0"]


class Avif(Codec):
    """AVIF (AV1 intra by aom; decoded by dav1d).

    Parameters
    ----------
    tune
        What aom optimises. Pillow's own default, ``iq``, costs PSNR.
    speed
        Of the encoder, from 0 (slow, small) to 10 (fast).
    subsampling
        Of the chroma planes.
    """

    name = "avif"
    points = (10, 20, 30, 40, 50, 60, 70, 80)
    point_unit = "quality"
    point_range = (0, 100)

    def __init__(
        self, tune: Tune = "psnr", speed: int = 4, subsampling: Subsampling = "4:4:4"
    ) -> None:
        if not 0 <= speed <= 10:
            raise ValueError("speed goes from 0 to 10")
        self._tune = tune
        self._speed = speed
        self._subsampling = subsampling

    @classmethod
    def unavailable(cls) -> str | None:
        from PIL import features

        if not features.check("avif"):
            return "this Pillow lacks AVIF; install its wheel: pip install --force-reinstall pillow"
        return None

    def versions(self) -> Mapping[str, str]:
        import PIL
        from PIL import AvifImagePlugin, features

        return {
            "pillow": PIL.__version__,
            "libavif": str(features.version("avif")),
            "aom": str(AvifImagePlugin.get_codec_version("aom")),
            "dav1d": str(AvifImagePlugin.get_codec_version("dav1d")),
        }

    def check_point(self, point: Point) -> None:
        if not isinstance(point, int) or not 0 <= point <= 100:
            raise SpecError(f"avif: {point!r} is no quality: a whole number from 0 to 100")

    def encode(self, image: Image, point: Point) -> bytes:
        from PIL import Image as PillowImage

        self.check_point(point)
        stream = io.BytesIO()
        PillowImage.fromarray(image).save(
            stream,
            "AVIF",
            codec="aom",
            quality=point,
            speed=self._speed,
            subsampling=self._subsampling,
            max_threads=1,
            autotiling=False,  # tiles cost rate, and serve threads only
            advanced={"tune": self._tune},
        )
        return stream.getvalue()

    def decode(self, stream: bytes) -> Image:
        from PIL import Image as PillowImage

        try:
            with (
                _one_thread(),
                PillowImage.open(io.BytesIO(stream), formats=["AVIF"]) as picture,
            ):
                width, height = picture.size
                if width * height > _MAXIMUM_PIXELS:
                    raise BitstreamError(f"it claims {width}x{height} pixels")
                if picture.mode != "RGB":
                    raise BitstreamError(f"it holds {picture.mode} samples, not RGB")
                return np.array(picture)
        except Exception as error:
            raise BitstreamError(f"the AVIF stream does not decode: {error}") from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Hold Pillow's decoder to one thread: it takes their number from its module only."""
    from PIL import AvifImagePlugin

    before = AvifImagePlugin.DEFAULT_MAX_THREADS
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    try:
        yield
    finally:
        AvifImagePlugin.DEFAULT_MAX_THREADS = before
