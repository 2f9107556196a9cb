"""What a process can be asked for with a codec: to encode, to decode.

A request names the codec by its spec, and by the files of plugins: it is made anew where it is
wanted. What a codec gives is checked there, before it goes anywhere.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from lic_bench.codec.base import Codec, Point, ShowsImportance
from lic_bench.codec.registry import Registry
from lic_bench.errors import BitstreamError, LicBenchError, SpecError
from lic_bench.execution.runner import Request
from lic_bench.images.image import Image

_LARGEST_STREAM = 999_000_000  # bytes; SQLite takes a little more in a row


class Encoded(NamedTuple):
    """A bitstream, and whether the codec wrote into the image that it was given."""

    stream: bytes
    altered: bool


@dataclass(frozen=True, eq=False)
class Encode(Request[Encoded]):
    """Encode an image with a fresh instance."""

    codec: str
    """The spec."""
    plugins: tuple[Path, ...]
    image: Image
    """uint8, H x W x 3."""
    point: Point

    def execute(self) -> Encoded:
        given = self.image.copy()
        stream = checked_stream(codec_of(self.codec, self.plugins).encode(given, self.point))
        return Encoded(stream, not np.array_equal(given, self.image))


@dataclass(frozen=True)
class Decode(Request[Image]):
    """Decode a bitstream with a fresh instance: uint8, H x W x 3."""

    refusal: ClassVar[type[LicBenchError]] = BitstreamError
    codec: str
    plugins: tuple[Path, ...]
    stream: bytes

    def execute(self) -> Image:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage, to no end
            return checked_image(codec_of(self.codec, self.plugins).decode(self.stream))


@dataclass(frozen=True, eq=False)
class MapImportance(Request[Image]):
    """Show where the bits of an image go, if the codec knows: uint8, H x W x 3."""

    codec: str
    plugins: tuple[Path, ...]
    image: Image
    point: Point

    def execute(self) -> Image:
        codec = codec_of(self.codec, self.plugins)
        if not isinstance(codec, ShowsImportance):
            raise SpecError(f"{codec.name} has no importance map to show")
        return codec.importance_map(self.image, self.point)


def another_picture(codec: str, picture: Image, original: Image, measured: float) -> str | None:
    """Say that a codec decodes another picture here than was measured.

    Parameters
    ----------
    measured
        The mean squared error; NaN where it was not, as of what comes from elsewhere.
    """
    if picture.shape != original.shape:
        (height, width, _), (tall, wide, _) = picture.shape, original.shape
        return f"{codec} here decodes a picture of {width}x{height}, not {wide}x{tall}"
    mse = float(((picture.astype(np.float32) - original) ** 2).mean(dtype=np.float64))
    if math.isnan(measured) or math.isclose(mse, measured, rel_tol=0.01, abs_tol=1e-3):
        return None
    return (
        f"{codec} here decodes another picture than was measured: a mean squared error of "
        f"{mse:.4g} instead of {measured:.4g}; repeat the run"
    )


def codec_of(spec: str, plugins: tuple[Path, ...]) -> Codec:
    """A fresh instance of a codec, in the process that is to use it."""
    return _registry(plugins).codec(spec)


@lru_cache(maxsize=1)
def _registry(plugins: tuple[Path, ...]) -> Registry:
    return Registry(plugins)


def checked_stream(stream: object) -> bytes:
    """What an encoder returned, known to be bytes that a store can keep.

    Raises
    ------
    TypeError, ValueError
        Where it is anything else.
    """
    if not isinstance(stream, bytes):
        raise TypeError(f"encode returned {type(stream).__name__}, not bytes")
    if not stream:
        raise ValueError("encode returned no bytes, and no decoder has anything else to go by")
    if len(stream) > _LARGEST_STREAM:
        raise ValueError(f"encode returned {len(stream)} bytes, of at most {_LARGEST_STREAM}")
    return stream if type(stream) is bytes else bytes(memoryview(stream))


def checked_image(image: object, shape: tuple[int, ...] | None = None) -> Image:
    """What a decoder returned, known to be an image, of a certain shape where that is known.

    Raises
    ------
    TypeError
        Where it is anything else.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"decode returned {type(image).__name__}, not a NumPy array")
    image = np.asarray(image)  # of a subclass that may do its sums otherwise
    wanted = f"{shape}" if shape else "H x W x 3"
    fits = image.shape == shape if shape else image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not fits:
        raise TypeError(
            f"decode returned {image.dtype} of shape {image.shape}, not uint8 of {wanted}"
        )
    return image
