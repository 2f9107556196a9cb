"""The pictures of the viewer: decoded from the bitstreams that the store keeps.

Each picture is decoded anew, unless it was imported, and its error compared with the one that was
measured: a picture that is not the one measured is left out.

How pictures are stored:

- A bitstream that browsers decode (JPEG, WebP, AVIF, PNG) into the very pixels that were measured
  stands for its picture.
- Others, and originals, are compressed anew as WebP of quality 90 (38 to 43 dB on Kodak), or
  without loss where that is not within 36 dB of them.
- The error of each 4x4 pixels (root of the mean square over R, G and B) is that of the pixels
  themselves. It is kept as a grey image, in quarters of an 8-bit step up to 63.75, and compressed
  likewise, which costs about half a step.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import PIL.Image

from lic_bench.codec.base import Codec, ShowsImportance
from lic_bench.codec.points import parse_points
from lic_bench.errors import ImageError, SpecError
from lic_bench.execution.requests import another_picture, checked_image, codec_of
from lic_bench.execution.runner import Request
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image, read_image

QUALITY = 90
BLOCK = 4
STEPS = 4  # an error of one 8-bit step, as it is stored

_HARMLESS = 16.0  # mean squared error: a PSNR of 36 dB
_WEBP_SIDE = 16383
_BROWSERS = ("JPEG", "WEBP", "AVIF", "PNG")


Rate = float | str
"""What pictures are compared at: bits per pixel, or a target as text (``psnr_rgb=32``)."""


@dataclass(frozen=True)
class Picture:
    """A picture of the page, or why it is missing."""

    dataset: str
    image: str
    rate: Rate
    codec: str | None
    """None for the original."""
    point: str = ""
    bpp: float | None = None
    quality: Mapping[str, float | None] = field(default_factory=dict)
    problem: str | None = None
    exact: bool = False
    """Whether it is the very picture, without compression of ours."""
    data: bytes | None = field(default=None, repr=False)
    """In a format of `_BROWSERS`; so are the other two."""
    error: bytes | None = field(default=None, repr=False)
    """Grey, one sample for each block: its error in steps of 1 / `STEPS`."""
    importance: bytes | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """The bytes that it takes in the file, as base64."""
        parts = (self.data, self.error, self.importance)
        return sum(4 * math.ceil(len(part) / 3) + 100 for part in parts if part is not None)


@dataclass(frozen=True)
class ShowOriginal(Request[bytes]):
    """The original, for the eye."""

    file: ImageFile

    def execute(self) -> bytes:
        return for_display(_original(self.file))


@dataclass(frozen=True)
class ShowDecoded(Request[Picture]):
    """Decode a bitstream, and show the picture with its errors."""

    picture: Picture
    """Without its data."""
    stream: bytes
    mse: float
    """The mean squared error that was measured."""
    original: ImageFile | None
    """Where it is at hand."""
    codec: str
    """The spec."""
    plugins: tuple[Path, ...]

    def execute(self) -> Picture:
        codec = codec_of(self.codec, self.plugins)
        image = checked_image(codec.decode(self.stream))
        direct = _shown_by_browsers(self.stream, image)
        data = self.stream if direct else for_display(image)
        shown = replace(self.picture, data=data, exact=direct)
        original = _original_at_hand(self.original)
        shown = _compared(shown, self.mse, image, original)
        if original is None or shown.problem is not None:
            return shown
        return replace(shown, importance=_importance(codec, self.picture.point, original))


@dataclass(frozen=True)
class ShowImported(Request[Picture]):
    """Show a picture that came decoded: what is kept of it is an image file."""

    picture: Picture
    content: bytes
    mse: float
    original: ImageFile | None

    def execute(self) -> Picture:
        image = read_image(self.content, f"{self.picture.image} of {self.picture.codec}")
        shown = replace(self.picture, data=for_display(image))
        return _compared(shown, self.mse, image, _original_at_hand(self.original))


@lru_cache(maxsize=1)
def _original(file: ImageFile) -> Image:
    return file.read()


def _original_at_hand(file: ImageFile | None) -> Image | None:
    try:
        return None if file is None else _original(file)
    except ImageError:  # said where it is to be shown itself
        return None


def _importance(codec: Codec, point_text: str, original: Image) -> bytes | None:
    """Where the bits of a picture went, if the codec knows."""
    if not isinstance(codec, ShowsImportance):
        return None
    try:
        [point] = parse_points(codec, [point_text]) if point_text else codec.points
        return _webp(codec.importance_map(original, point), lossless=True)
    except SpecError:
        return None


def _compared(picture: Picture, measured: float, image: Image, original: Image | None) -> Picture:
    """The picture with its errors, or why it must not be shown."""
    if original is None:
        return picture
    if problem := another_picture(str(picture.codec), image, original, measured):
        return replace(picture, data=None, exact=False, problem=problem)
    squares = (image.astype(np.float32) - original) ** 2
    return replace(picture, error=_webp(_block_errors(squares), quality=QUALITY))


def _shown_by_browsers(stream: bytes, image: Image) -> bool:
    """Whether browsers decode the stream, into these very pixels."""
    try:
        with PIL.Image.open(io.BytesIO(stream), formats=_BROWSERS) as opened:
            return np.array_equal(np.asarray(opened.convert("RGB")), image)
    except Exception:  # noqa: BLE001 - it is no such stream
        return False


def _block_errors(squares: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Image:
    """The error of each block: uint8, blocks in height x blocks in width."""
    height, width, _ = squares.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    # Blocks that stick out are filled up with what is at the edge.
    padding = ((0, rows * BLOCK - height), (0, columns * BLOCK - width))
    whole = np.pad(squares.mean(axis=2), padding, mode="edge")
    blocks = whole.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3))
    steps: Image = np.minimum(np.rint(STEPS * np.sqrt(blocks)), 255).astype(np.uint8)
    return steps


def for_display(image: Image) -> bytes:
    """An image for the eye, H x W x 3: WebP of quality 90, or without loss where that harms it."""
    lossy = _webp(image, quality=QUALITY)
    with PIL.Image.open(io.BytesIO(lossy)) as opened:
        difference = np.asarray(opened.convert("RGB"), dtype=np.float32) - image
    faithful = float((difference**2).mean()) <= _HARMLESS
    return lossy if faithful else _webp(image, lossless=True)


def _webp(image: Image, **options: int) -> bytes:
    """An image in colour or grey as WebP, or as PNG if it is too large for that."""
    kind = "WEBP" if max(image.shape) <= _WEBP_SIDE else "PNG"
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()
