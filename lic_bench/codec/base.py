"""What a codec is: it turns an image into bytes, and the bytes alone back into an image.

A codec of your own is a subclass of `Codec` with a name and two methods. Its *options* are the
arguments of its constructor, and a *spec* names it together with them: ``jpeg`` or
``jpeg:subsampling=4:4:4``. A spec stands for one rate-distortion curve; the *operating points* are
the places on that curve, in the codec's own unit.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from types import NoneType
from typing import TYPE_CHECKING, ClassVar, Protocol, cast, runtime_checkable

from lic_bench.errors import SpecError
from lic_bench.plugins.base import Plugin

if TYPE_CHECKING:
    from lic_bench.images.image import Image

Point = int | float | str | None
"""An operating point: JPEG's quality, a compression ratio, a QP, a lambda."""

MAXIMUM_PIXELS = 1 << 27
"""The pixels of the largest picture that our decoders make, for a header may claim any number."""

_KINDS = {int: "a whole number", float: "a number", str: "a word", NoneType: "there is only one"}


def point_text(point: Point) -> str:
    """An operating point as people type it: ``40`` for 40.0 too, nothing for ``None``."""
    return "" if point is None else str(point).removesuffix(".0")


class Codec(Plugin):
    """An image codec.

    Everything that the decoder needs travels in the bitstream and counts: the size of the image,
    options, operating point, model. lic-bench decodes with a fresh instance.
    """

    kind = "codec"
    ours = ("lic_bench.codecs", "lic_bench.learned")

    points: Sequence[Point] = (None,)
    """The usual operating points, from low rate to high; ``None`` where there is only one."""

    point_unit: ClassVar[str] = ""
    """What the operating points are, in a word or two: ``quality``, ``compression ratio``."""

    point_range: tuple[int, int] | tuple[float, float] | None = None
    """The lowest rate's operating point and the highest's, for a search to try any between them.

    Between integers it tries integers. None: it is held to `points`.
    """

    batch_size: int = 1
    """How many images it is given at once; see `encode_batch`."""

    def check_point(self, point: Point) -> None:
        """Refuse an operating point that is not possible, before any work is done.

        Those in `point_range` are possible or, where there is none, those of the type of `points`.
        A run calls it for each of its points: a codec that looks for weights extends it.

        Raises
        ------
        SpecError
            With what is possible.
        UnavailableError
            Where what the point needs is not to be had, with the remedy.
        """
        known = self.point_range or self.points
        types = tuple(type(value) for value in known)
        if wrong := [one.__name__ for one in types if one not in _KINDS]:
            raise SpecError(
                f"{self.name}: its operating points are int, float or str, not {wrong[0]}"
            )
        kind = float if float in types else types[0]
        possible = isinstance(point, (*types, int) if kind is float else types)
        if isinstance(point, int | float):
            possible = possible and not isinstance(point, bool) and math.isfinite(point)
        those = _KINDS[kind]
        if self.point_range is not None:
            low, high = sorted(self.point_range)
            possible = possible and low <= cast(float, point) <= high
            those += f" from {point_text(low)} to {point_text(high)}"
        elif kind is not NoneType:
            those += f" such as {', '.join(map(point_text, known[:3]))}"
        if not possible:
            unit = self.point_unit or "operating point"
            raise SpecError(f"{self.name}: {point!r} is no {unit}: {those}")

    @abstractmethod
    def encode(self, image: Image, point: Point) -> bytes:
        """Encode an image.

        Parameters
        ----------
        image
            uint8, H x W x 3, sRGB; any size from 1x1.
        point
            The operating point, of the type of those in `points`.
        """

    @abstractmethod
    def decode(self, stream: bytes) -> Image:
        """Decode a bitstream into a uint8 array, H x W x 3, sRGB.

        Raises
        ------
        BitstreamError
            Where the stream is damaged, cut short or not of this codec.
        """

    def encode_batch(self, images: Sequence[Image], point: Point) -> list[bytes]:
        """Encode up to `batch_size` images of one size; the bench calls it where that is over 1.

        For networks on a GPU. Each bitstream must decode alone, too.
        """
        return [self.encode(image, point) for image in images]

    def decode_batch(self, streams: Sequence[bytes]) -> list[Image]:
        """Decode bitstreams of images of one size and one operating point."""
        return [self.decode(stream) for stream in streams]


@runtime_checkable
class ShowsImportance(Protocol):
    """What a codec may be, too: one that can show where its bits go."""

    def importance_map(self, image: Image, point: Point) -> Image:
        """Show where the bits of an image go: uint8, H x W x 3, of the image's size."""
