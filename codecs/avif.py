"""AVIF: AV1 by aom, through Pillow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from lic_bench import Point
from lic_bench.codecs.pillow_codec import PillowCodec

if TYPE_CHECKING:
    from lic_bench import Image

Tune = Literal["psnr", "ssim", "iq"]
Subsampling = Literal["4:4:4", "4:2:0"]


class Avif(PillowCodec):
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
    format = "AVIF"
    feature = "avif"
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

    def versions(self) -> Mapping[str, str]:
        from PIL import AvifImagePlugin, features

        return {
            **super().versions(),
            "libavif": str(features.version("avif")),
            "aom": str(AvifImagePlugin.get_codec_version("aom")),
            "dav1d": str(AvifImagePlugin.get_codec_version("dav1d")),
        }

    def settings(self, point: Point) -> dict[str, Any]:
        return {
            "codec": "aom",
            "quality": point,
            "speed": self._speed,
            "subsampling": self._subsampling,
            "max_threads": 1,
            "autotiling": False,  # tiles cost rate, and serve threads only
            "advanced": {"tune": self._tune},
        }

    def decode(self, stream: bytes) -> Image:
        with _one_thread():
            return super().decode(stream)


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
