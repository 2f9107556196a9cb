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

import hashlib
import math
import os
import re
import select
import shlex
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, ClassVar, Literal, cast

import msgspec

from lic_bench.codec.base import MAXIMUM_PIXELS, Codec, point_text
from lic_bench.errors import BitstreamError, CodecError, ImageError, SpecError

if TYPE_CHECKING:
    from lic_bench.codec.base import Point
    from lic_bench.images.image import Image

Format = Literal["png", "ppm", "bmp", "tiff", "rgb24"]
"""``rgb24`` is samples of 8 bits, R G B, row by row, and nothing else."""

_SIZE = struct.Struct("<HH")
_MAXIMUM_BYTES = 1 << 30
"""Of a file that a program writes."""
_TAIL = 1 << 16
"""How much of what a program says is kept, in bytes."""
_PATIENCE_S = 0.05
_VERSION_S = 20
_VERSION_LENGTH = 200
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a TOML file says of a codec."""

    name: str
    encode: str | list[str]
    decode: str | list[str]
    points: list[int | float | Annotated[str, msgspec.Meta(min_length=1, max_length=60)]] = []
    """From low rate to high: all numbers or all texts; none where there is only one."""
    point_range: tuple[int | float, int | float] | None = None
    """The lowest rate's point and the highest's, where all between them are possible."""
    point_unit: str = ""
    reads: Format = "png"
    """What the encoder is given."""
    writes: Format = "png"
    """What the decoder leaves."""
    stream_suffix: Annotated[str, msgspec.Meta(pattern=r"^(\.\w+)?$")] = ""
    """For programs that go by the name of the stream's file: ``.jp2``."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 300
    """For one call."""
    version: str | list[str] = ""
    """A command whose output is part of the codec's identity; it must be the same at every call.

    Without it the identity has the SHA-256 of the programs, and of the files that the commands name
    by their whole path.
    """
    remedy: str = ""
    """What to do where a program is missing: ``apt install webp``."""


class ProgramCodec(Codec):
    """A codec made of two programs; `load` makes a subclass for each TOML file."""

    source: ClassVar[Path]
    """The TOML file."""
    description: ClassVar[Description]
    commands: ClassVar[Mapping[str, Sequence[str]]]
    """The words of ``encode``, ``decode`` and, where it is given, ``version``."""

    @classmethod
    def unavailable(cls) -> str | None:
        for program, *_ in cls.commands.values():
            if shutil.which(program) is None:
                remedy = cls.description.remedy or "install it, or mend the command"
                return f"there is no program {program!r}, which {cls.source.name} calls; {remedy}"
        return None

    def versions(self) -> Mapping[str, str]:
        return _versions(type(self))

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
        with _folder() as folder:
            given = folder / f"image.{reads}"
            if reads == "rgb24":
                given.write_bytes(image.tobytes())
            else:
                write_image(given, image)
            made = folder / f"stream{self.description.stream_suffix}"
            try:
                self._run("encode", given, made, text, (width, height))
                return head + _content(made)
            except _ProgramError as error:
                raise CodecError(f"{self.name} did not encode: {error}") from error

    def decode(self, stream: bytes) -> Image:
        try:
            size, point, payload = self._unpack(stream)
        except (struct.error, IndexError, ValueError, SpecError) as error:
            raise BitstreamError(f"{self.name}: the header makes no sense: {error}") from error
        if not payload:
            raise BitstreamError(f"{self.name}: the stream is empty")
        with _folder() as folder:
            given = folder / f"stream{self.description.stream_suffix}"
            given.write_bytes(payload)
            made = folder / f"image.{self.description.writes}"
            try:
                self._run("decode", given, made, point, size)
                return self._picture(_content(made), size)
            except (_ProgramError, ImageError) as error:
                raise BitstreamError(f"{self.name} did not decode: {error}") from error

    def _run(
        self, what: str, given: Path, made: Path, point: str, size: tuple[int, int] | None
    ) -> None:
        width, height = size or ("", "")
        values = {"input": given, "output": made, "point": point, "width": width, "height": height}
        words = [_filled(word, values) for word in self.commands[what]]
        _call(words, given.parent, self.description.timeout_s)

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

    def _picture(self, content: bytes, size: tuple[int, int] | None) -> Image:
        import numpy as np

        from lic_bench.images.image import read_image

        if self.description.writes != "rgb24":
            image = read_image(content, "the picture that it wrote")
        elif size is not None and len(content) == 3 * math.prod(size):
            image = np.frombuffer(content, np.uint8).reshape(*reversed(size), 3).copy()
        else:
            raise _ProgramError(f"it wrote {len(content)} bytes, not 3 for each pixel")
        height, width, _ = image.shape
        if size not in (None, (width, height)):
            raise _ProgramError(f"it wrote {width}x{height} pixels, not those of the header")
        return image


class _ProgramError(Exception):
    """A program failed; the text tells how."""


def load(path: Path) -> type[ProgramCodec]:
    """Make the class of the codec that a TOML file describes.

    Raises
    ------
    SpecError
        Where the file cannot be read, or a key is missing, unknown or wrong.
    """
    try:
        description = msgspec.toml.decode(path.read_bytes(), type=Description)
        points = _points(description)
        point_range = _point_range(description, points)
        commands = {
            key: _words(key, command, bool(points), path.parent)
            for key in ("encode", "decode", "version")
            if (command := getattr(description, key)) or key != "version"
        }
    except FileNotFoundError:
        raise SpecError(f"there is no plugin file {path}") from None
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # what is no TOML, and keys that are wrong
        raise SpecError(f"{path}: {error}") from error
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
    """Split a command into words, and see that its placeholders are those that it needs."""

    def wrong(what: str) -> ValueError:
        return ValueError(f"{what} - at `$.{key}`")

    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise wrong(f"no command: {error}") from None
    if not words or not words[0]:
        raise wrong("an empty command: it begins with the name of a program")
    asked = {name for word in words for name in _PLACEHOLDER.findall(word)}
    needed = {"input", "output"} if key != "version" else set()
    if key == "encode" and points:
        needed |= {"point"}
    possible = {"folder"} | needed
    if needed:
        possible |= {"width", "height"} | ({"point"} if points else set())
    if missing := needed - asked:
        raise wrong(f"{{{min(missing)}}} is missing")
    if unknown := asked - possible:
        raise wrong(
            f"{{{min(unknown)}}} is no placeholder here; there are "
            + ", ".join(f"{{{name}}}" for name in sorted(possible))
        )
    program, *others = (_filled(word, {"folder": folder}) for word in words)
    program = str(folder / program) if "/" in program else program
    found = shutil.which(program)
    return [str(Path(found).absolute()) if found else program, *others]


def _filled(word: str, values: Mapping[str, object]) -> str:
    return _PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), word)


@cache
def _versions(cls: type[ProgramCodec]) -> Mapping[str, str]:
    if "version" in cls.commands:
        with _folder() as folder:
            try:
                # Not every program calls it a success to tell its version.
                said = _call(cls.commands["version"], folder, _VERSION_S, check=False)
            except _ProgramError as error:
                raise SpecError(f"{cls.source}: {error} - at `$.version`") from error
        text = " ".join(said.split())
        if not text:
            raise SpecError(f"{cls.source}: the program says nothing - at `$.version`")
        if len(text) > _VERSION_LENGTH:  # some give their whole help
            digest = hashlib.sha256(said.encode()).hexdigest()[:16]
            text = f"{text[:_VERSION_LENGTH]} sha256:{digest}"
        return {Path(cls.commands["version"][0]).name: text}
    words = [word for command in cls.commands.values() for word in command]
    files: dict[str, list[str]] = defaultdict(list)
    for path in sorted({Path(word.rpartition("=")[2]) for word in words}):
        if path.is_absolute() and path.is_file():
            with path.open("rb") as file:
                files[path.name].append(hashlib.file_digest(file, "sha256").hexdigest()[:16])
    return {name: " ".join(digests) for name, digests in files.items()}


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lic-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _call(words: Sequence[str], folder: Path, timeout_s: float, check: bool = True) -> str:
    """Run a program to its end; return what it said last. It leaves no process behind.

    Raises
    ------
    _ProgramError
        Where it does not start, fails or takes too long.
    """
    program = Path(words[0]).name
    deadline = time.monotonic() + timeout_s
    try:
        process = subprocess.Popen(  # noqa: S603 - the words are the user's own
            words,
            cwd=folder,
            # Our own workers have it; a program in Python may want the modules beside it.
            env={name: text for name, text in os.environ.items() if name != "PYTHONSAFEPATH"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in a word
        raise _ProgramError(f"{program} does not start: {error}") from error
    with process:
        try:
            _limit_files(process.pid)
            said = _said(process, deadline)
            code = process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise _ProgramError(f"{program} was stopped after {timeout_s:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if check and code:
        how = f"ended with exit code {code}" if code > 0 else f"died of {_signal(-code)}"
        raise _ProgramError(f"{program} {how}{_last_lines(said)}")
    return said


def _said(process: subprocess.Popen[bytes], deadline: float) -> str:
    """Read what a program says until it ends, and keep the end of it."""
    pipe = cast("IO[bytes]", process.stdout)
    tail = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([pipe], [], [], min(left, _PATIENCE_S))[0]:
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                break
            tail = (tail + piece)[-_TAIL:]
        elif process.poll() is not None:
            break  # what it started still holds the pipe
    return tail.decode(errors="replace")


def _last_lines(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = "; ".join(lines[-3:])[-300:]
    return ": " + "".join(c if c.isprintable() else "?" for c in text) if text else ", silently"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _limit_files(pid: int) -> None:
    """Keep a program, misled by a damaged stream, from filling the disk."""
    if sys.platform == "linux":
        import resource

        with suppress(OSError):  # it has ended already
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (_MAXIMUM_BYTES, _MAXIMUM_BYTES))


def _content(path: Path) -> bytes:
    """Read the file that a program was to write."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise _ProgramError("no file was written to {output}") from None
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a link may lead anywhere
        raise _ProgramError("what was written to {output} is no regular file")
    if not 0 < status.st_size < _MAXIMUM_BYTES:
        raise _ProgramError(f"the file written to {{output}} has {status.st_size} bytes")
    try:
        return path.read_bytes()
    except OSError as error:
        raise _ProgramError(f"the file written to {{output}} cannot be read: {error}") from error
