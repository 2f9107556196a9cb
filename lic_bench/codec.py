"""What a codec is: it turns an image into bytes, and the bytes alone back into an image.

A codec of your own is a subclass of `Codec` with a name and two methods. Its *options* are the
arguments of its constructor, and a *spec* names it together with them: ``jpeg`` or
``jpeg:subsampling=4:4:4``. A spec stands for one rate-distortion curve; the *operating points* are
the places on that curve, in the codec's own unit.
"""

from __future__ import annotations

import inspect
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from lic_bench.errors import SpecError

if TYPE_CHECKING:
    from lic_bench.image import Image

Point = int | float | str | None
"""An operating point: JPEG's quality, a compression ratio, a QP, a lambda."""


def point_text(point: Point) -> str:
    """An operating point as people type it: ``40`` for 40.0 too, nothing for ``None``."""
    return "" if point is None else str(point).removesuffix(".0")


class Codec(ABC):
    """An image codec.

    Everything that the decoder needs travels in the bitstream and counts: the size of the image,
    options, operating point, model. lic-bench decodes with a fresh instance.

    Instances are made often, so that a constructor should cost nothing: what is expensive (weights,
    say) is loaded at first use and shared.
    """

    name: ClassVar[str]
    """How people call the codec: lower case, no ``:``, ``,`` or ``=``."""

    points: Sequence[Point] = (None,)
    """The usual operating points, from low rate to high; ``None`` where there is only one."""

    point_unit: ClassVar[str] = ""
    """What the operating points are, in a word or two: ``quality``, ``compression ratio``."""

    point_range: tuple[int, int] | tuple[float, float] | None = None
    """The lowest rate's operating point and the highest's, for a search to try any between them.

    Between integers it tries integers. None: it is held to `points`.
    """

    device: str = "cpu"
    """Where it runs: ``cpu``, ``cuda``, ``cuda:1``."""

    batch_size: int = 1
    """How many images it is given at once; see `encode_batch`."""

    options: Mapping[str, object] = {}
    """The constructor's arguments, defaults included; lic-bench fills it in."""

    @classmethod
    def unavailable(cls) -> str | None:
        """Why the codec cannot be used here, and the remedy; ``None`` where it can.

        Called for listings: it should be quick, and import nothing large.
        """
        return None

    def versions(self) -> Mapping[str, str]:
        """Name and version of everything outside this file that decides on bytes and pixels.

        That is libraries, and the hash of weights. A measurement is valid for these versions only.
        """
        return {}

    def check_point(self, point: Point) -> None:  # noqa: B027 - most codecs need none
        """Refuse an operating point that is out of range, before any work is done.

        A run calls it for each of its points: weights that are to be fetched are fetched here.

        Raises
        ------
        SpecError
            With what is in range.
        UnavailableError
            Where what the point needs is not to be had, with the remedy.
        """

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

    def importance_map(self, image: Image, point: Point) -> Image:
        """Show where the bits go, in colour and of the image's size, if the codec knows.

        Raises
        ------
        SpecError
            Where it does not.
        """
        raise SpecError(f"{self.name} has no importance map to show")


@dataclass(frozen=True)
class CodecSpec:
    """A codec's name with the options that were given for it."""

    text: str
    name: str
    options: tuple[tuple[str, str], ...] = ()


def parse_spec(text: str) -> CodecSpec:
    """Read one spec: ``name`` or ``name:option=value,option=value``."""
    name, colon, rest = text.partition(":")
    options: dict[str, str] = {}
    for item in rest.split(",") if colon else []:
        option, equals, value = item.partition("=")
        if not (option and equals and value):
            raise SpecError(
                f"codec spec {text!r}: {item!r} is no option=value; "
                "a spec looks like jpeg or jpeg:subsampling=4:4:4"
            )
        if option in options:
            raise SpecError(f"codec spec {text!r} gives the option {option!r} twice")
        options[option] = value
    if not name or "=" in name:
        raise SpecError(f"codec spec {text!r} has no name; it looks like jpeg:subsampling=4:4:4")
    return CodecSpec(text, name, tuple(options.items()))


def split_specs(text: str) -> list[str]:
    """Split ``jpeg:subsampling=4:4:4,jpeg2000`` at the commas that separate codecs.

    A comma separates options, not codecs, where a bare ``option=value`` follows it.
    """
    specs: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        before, equals, _ = item.partition("=")
        if specs and equals and ":" not in before:
            specs[-1] += f",{item}"
        else:
            specs.append(item)
    return specs


def build(cls: type[Codec], spec: CodecSpec) -> Codec:
    """Make the codec that a spec asks for, its options checked against the constructor's types.

    Raises
    ------
    SpecError
        Where an option does not exist or its value has the wrong type or range.
    """
    parameters = {} if cls.__init__ is object.__init__ else dict(inspect.signature(cls).parameters)
    hints = typing.get_type_hints(cls.__init__)
    arguments: dict[str, Any] = {name: p.default for name, p in parameters.items()}
    for option, value in spec.options:
        if option not in parameters:
            raise SpecError(f"{spec.name} has no option {option!r}; {_describe(cls, parameters)}")
        try:
            arguments[option] = msgspec.convert(value, hints.get(option, str), strict=False)
        except msgspec.ValidationError as error:
            raise SpecError(
                f"{spec.name}: {option}={value} is not possible ({error}); "
                f"{_describe(cls, parameters)}"
            ) from None
    missing = [name for name, value in arguments.items() if value is inspect.Parameter.empty]
    if missing:
        raise SpecError(
            f"{spec.name} needs the option {missing[0]!r}; {_describe(cls, parameters)}"
        )
    try:
        codec = cls(**arguments)
    except ValueError as error:
        raise SpecError(f"{spec.text}: {error}") from error
    codec.options = arguments
    return codec


def option_texts(cls: type[Codec]) -> list[str]:
    """A codec's options as people write them: ``subsampling=4:2:0 (or 4:2:2, 4:4:4)``."""
    if cls.__init__ is object.__init__:
        return []
    hints = typing.get_type_hints(cls.__init__)
    texts = []
    for name, parameter in inspect.signature(cls).parameters.items():
        hint = hints.get(name, str)
        required = parameter.default is inspect.Parameter.empty
        choices = [str(c) for c in typing.get_args(hint) if c is not type(None)]
        kind = getattr(hint, "__name__", str(hint))
        if typing.get_origin(hint) is typing.Literal:
            others = [c for c in choices if required or c != str(parameter.default)]
            kind = "one of " + ", ".join(choices) if required else "or " + ", ".join(others)
        texts.append(f"{name} ({kind})" if required else f"{name}={parameter.default} ({kind})")
    return texts


def parse_points(codec: Codec, texts: Iterable[str]) -> list[Point]:
    """Read operating points as they are typed, in the type of the codec's own.

    ``10:90:20`` stands for 10, 30, 50, 70, 90.

    Raises
    ------
    SpecError
        Where one is of another type or out of range, or the codec has a single point.
    """
    kinds = {type(point) for point in codec.points}
    if kinds == {type(None)}:
        raise SpecError(f"{codec.name} has a single operating point: none can be chosen")
    points: list[Point] = []
    for text in texts:
        try:
            points += [msgspec.convert(t, _union(kinds), strict=False) for t in _expand(text)]
        except (msgspec.ValidationError, ValueError):
            example = ",".join(map(point_text, codec.points[:3]))
            raise SpecError(
                f"{codec.name}: {text!r} is no operating point; "
                f"they are {codec.point_unit or 'values'} such as {example}"
            ) from None
    for point in points:
        codec.check_point(point)
    return list(dict.fromkeys(points))


def _expand(text: str) -> list[str]:
    """``5:20:5`` as ``5``, ``10``, ``15``, ``20``; anything else as it is."""
    if text.count(":") != 2:
        return [text]
    start, stop, step = (int(part) for part in text.split(":"))
    return [str(value) for value in range(start, stop + (1 if step > 0 else -1), step)]


def _union(kinds: set[type]) -> Any:
    """The type that accepts what any of the codec's own points is; a number before a text."""
    if float in kinds:
        kinds = (kinds | {float}) - {int}
    return typing.Union[tuple(sorted(kinds - {type(None)}, key=lambda kind: kind is str))]  # noqa: UP007


def _describe(cls: type[Codec], parameters: Mapping[str, object]) -> str:
    return f"it has: {'; '.join(option_texts(cls))}" if parameters else "it has no options"
