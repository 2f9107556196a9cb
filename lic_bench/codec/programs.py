"""Codecs that come as two programs, described by a TOML file and no Python at all.

The keys of a file are those of `Description`:

.. code-block:: toml

    name = "cwebp"
    encode = "cwebp -quiet -q {point} {input} -o {output}"
    decode = ["dwebp", "-quiet", "{input}", "-ppm", "-o", "{output}"]
    points = [5, 20, 50, 80]
    reads = "ppm"
    writes = "ppm"

A command is a list of words, or a text that is split into words as a shell would; no shell runs it.
Its placeholders are ``{input}`` and ``{output}`` (absolute paths), ``{point}``, ``{width}`` and
``{height}`` (in pixels), and ``{folder}``, where the TOML file lies. A program whose name has a
slash is looked for from that folder, any other one on the PATH.

Each call runs in a temporary folder of its own and has nothing to read from standard input.

The decoder gets the stream alone. Where its command asks for the size or the operating point, or it
writes ``rgb24``, these stand before the payload, and count: width and height as little-endian
integers of 16 bits, the point as a text behind its length in one byte.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from lic_bench.codec.base import MAXIMUM_PIXELS, Codec, point_text
from lic_bench.errors import BitstreamError, CodecError, ImageError, SpecError
from lic_bench.plugins import programs
from lic_bench.plugins.programs import (
    OfPrograms,
    ProgramError,
    content,
    described,
    temporary_folder,
    words,
)
from lic_bench.plugins.toml import shortened

if TYPE_CHECKING:
    from lic_bench.codec.base import Point
    from lic_bench.images.image import Image

Format = Literal["png", "ppm", "bmp", "tiff", "rgb24"]
"""``rgb24`` is samples of 8 bits, R G B, row by row, and nothing else."""

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
_Number = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)] | float  # as float64 holds it
_SIZE = struct.Struct("<HH")


class Description(programs.Description, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a TOML file says of a codec."""

    encode: str | list[str]
    decode: str | list[str]
    points: list[_Number | _Text] = []  # noqa: RUF012 - msgspec copies it
    """From low rate to high: all numbers or all texts; none where there is only one."""
    point_range: tuple[_Number, _Number] | None = None
    """The lowest rate's point and the highest's, where all between them are possible."""
    point_unit: str = ""
    reads: Format = "png"
    """What the encoder is given."""
    writes: Format = "png"
    """What the decoder leaves."""
    stream_suffix: Annotated[str, msgspec.Meta(pattern=r"^(\.\w+)?$")] = ""
    """For programs that go by the name of the stream's file: ``.jp2``."""


class ProgramCodec(OfPrograms, Codec):
    """A codec made of two programs; `load` makes a subclass for each TOML file."""

    description: ClassVar[Description]

    def check_point(self, point: Point) -> None:
        super().check_point(point)
        if isinstance(point, str) and point not in self.points:  # it becomes a word of a command
            raise SpecError(f"{self.name}: {point!r} is none of {', '.join(map(str, self.points))}")

    def encode(self, image: Image, point: Point) -> bytes:
        from lic_bench.images.image import write_image

        self.check_point(point)
        height, width, _ = image.shape
        text = point_text(point)
        head = self._header((width, height), text)
        reads = self.description.reads
        with temporary_folder() as own:
            given = own / f"image.{reads}"
            if reads == "rgb24":
                given.write_bytes(image.tobytes())
            else:
                write_image(given, image)
            made = own / f"stream{self.description.stream_suffix}"
            try:
                self._run("encode", given, made, text, (width, height))
                return head + content(made)
            except ProgramError as error:
                raise CodecError(f"{self.name} did not encode: {error}") from error

    def decode(self, stream: bytes) -> Image:
        try:
            size, point, payload = self._unpack(stream)
        except (struct.error, IndexError, ValueError, SpecError) as error:
            raise BitstreamError(f"{self.name}: the header makes no sense: {error}") from error
        if not payload:
            raise BitstreamError(f"{self.name}: the stream is empty")
        with temporary_folder() as own:
            given = own / f"stream{self.description.stream_suffix}"
            given.write_bytes(payload)
            made = own / f"image.{self.description.writes}"
            try:
                self._run("decode", given, made, point, size)
                return self._picture(content(made), size)
            except (ProgramError, ImageError) as error:
                raise BitstreamError(f"{self.name} did not decode: {error}") from error

    def _run(
        self, what: str, given: Path, made: Path, point: str, size: tuple[int, int] | None
    ) -> None:
        width, height = size or ("", "")
        values = {"input": given, "output": made, "point": point, "width": width, "height": height}
        self.call(what, values, given.parent)

    @classmethod
    def _carries_size(cls) -> bool:
        """Whether the decoder needs the image's size, which then stands in the stream."""
        return cls.description.writes == "rgb24" or cls._asks("width") or cls._asks("height")

    @classmethod
    def _asks(cls, placeholder: str) -> bool:
        return any(f"{{{placeholder}}}" in word for word in cls.commands["decode"])

    def _header(self, size: tuple[int, int], point: str) -> bytes:
        head = b""
        if self._carries_size():
            if max(size) > 0xFFFF or math.prod(size) > MAXIMUM_PIXELS:
                raise CodecError(
                    f"{self.name}: {size[0]}x{size[1]} pixels are too many: at most {0xFFFF} a "
                    f"side and {MAXIMUM_PIXELS} in all; cut the image into tiles"
                )
            head += _SIZE.pack(*size)
        if self._asks("point"):
            text = point.encode()
            head += bytes([len(text)]) + text
        return head

    def _unpack(self, stream: bytes) -> tuple[tuple[int, int] | None, str, bytes]:
        """Size and point, as far as the stream has to hold them, and the payload."""
        size, point = None, ""
        if self._carries_size():
            size = _SIZE.unpack_from(stream)
            if not 0 < math.prod(size) <= MAXIMUM_PIXELS:
                raise ValueError(f"{size[0]}x{size[1]} pixels")
            stream = stream[_SIZE.size :]
        if self._asks("point"):
            end = 1 + stream[0]
            point, stream = stream[1:end].decode(), stream[end:]
            known = self.points[0]
            value = point if known is None else type(known)(point)
            self.check_point(value)
            if point_text(value) != point:  # " 5", "+5", "5_0": numbers to Python alone
                raise ValueError(f"{point!r} is no point as it is written")
        return size, point, stream

    def _picture(self, written: bytes, size: tuple[int, int] | None) -> Image:
        import numpy as np

        from lic_bench.images.image import read_image

        if self.description.writes != "rgb24":
            image = read_image(written, "the picture that it wrote")
        elif size is not None and len(written) == 3 * math.prod(size):
            image = np.frombuffer(written, np.uint8).reshape(*reversed(size), 3).copy()
        else:
            raise ProgramError(f"it wrote {len(written)} bytes, not 3 for each pixel")
        height, width, _ = image.shape
        if size not in (None, (width, height)):
            raise ProgramError(f"it wrote {width}x{height} pixels, not those of the header")
        return image


def load(path: Path) -> type[ProgramCodec]:
    """Make the class of the codec that a TOML file describes.

    Raises
    ------
    SpecError
        Where the file cannot be read, or a key is missing, unknown or wrong.
    """
    description = described(path, Description)
    try:
        points = _points(description)
        point_range = _point_range(description, points)
        commands = {
            key: _words(key, command, bool(points), path.parent)
            for key in ("encode", "decode", "version")
            if (command := getattr(description, key)) or key != "version"
        }
        attributes = {
            "__module__": __name__,
            "__doc__": f"The programs that {path.name} names.",
            "name": description.name,
            "points": points or (None,),
            "point_range": point_range,
            "point_unit": description.point_unit,
            "source": path,
            "description": description,
            "commands": commands,
        }
        return type(description.name, (ProgramCodec,), attributes)
    except ValueError as error:  # keys that are wrong, a name that is none
        raise SpecError(f"{path}: {shortened(error)}") from error
    return type(description.name, (ProgramCodec,), attributes)


def _points(description: Description) -> tuple[Point, ...]:
    points = description.points
    numbers = [float(point) for point in points if not isinstance(point, str)]
    if len(numbers) not in (0, len(points)) or not all(map(math.isfinite, numbers)):
        raise ValueError("points must be all finite numbers or all texts - at `$.points`")
    if len(set(points)) < len(points):
        raise ValueError("one is given twice - at `$.points`")
    return tuple(numbers if any(isinstance(point, float) for point in points) else points)


def _point_range(
    description: Description, points: tuple[Point, ...]
) -> tuple[int, int] | tuple[float, float] | None:
    """The range of points, in their type."""
    if description.point_range is None:
        return None
    low, high = description.point_range
    if not points or isinstance(points[0], str):
        raise ValueError("a range is of points that are numbers - at `$.point_range`")
    if low == high or not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("a range is two finite numbers that differ - at `$.point_range`")
    if isinstance(points[0], float):
        return float(low), float(high)
    if isinstance(low, float) or isinstance(high, float):
        raise ValueError("the points are integers, and so are its ends - at `$.point_range`")
    return low, high


def _words(key: str, command: str | list[str], points: bool, folder: Path) -> list[str]:
    """The words of a command, with the placeholders that it may have."""
    needed = {"input", "output"} if key != "version" else set()
    if key == "encode" and points:
        needed |= {"point"}
    possible = {"width", "height"} | ({"point"} if points else set()) if needed else set()
    return words(key, command, folder, needed, possible)
