"""The pictures that raters see: decoded, compared with what was measured, kept without loss.

All are PNG files of the same make, and so tell nothing of where they come from: the bitstreams
themselves, which browsers could decode in part, would.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from lic_bench.errors import ImageError
from lic_bench.execution.requests import another_picture, checked_image, codec_of
from lic_bench.execution.runner import Request
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image


@dataclass(frozen=True)
class ShowOriginal(Request[bytes]):
    """The original, as PNG."""

    file: ImageFile

    def execute(self) -> bytes:
        return png(self.file.read())


@dataclass(frozen=True)
class ShowDecoded(Request[bytes]):
    """What a bitstream decodes to, as PNG; refused where it is not what was measured."""

    refusal = ImageError
    codec: str
    """The spec."""
    plugins: tuple[Path, ...]
    stream: bytes
    original: ImageFile
    mse: float
    """The mean squared error that was measured."""

    def execute(self) -> bytes:
        image = checked_image(codec_of(self.codec, self.plugins).decode(self.stream))
        if problem := another_picture(self.codec, image, self.original.read(), self.mse):
            raise ImageError(problem)
        return png(image)


def png(image: Image) -> bytes:
    """An image as PNG: its samples, and nothing else."""
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "PNG", compress_level=6)
    return stream.getvalue()
