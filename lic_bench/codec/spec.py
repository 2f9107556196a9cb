"""Specs: a codec's name with its options, and its operating points, as people type them.

A spec such as ``jpeg`` or ``jpeg:subsampling=4:4:4`` stands for one rate-distortion curve. Options
are the arguments of the codec's constructor.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from lic_bench.codec.base import Codec, Point, point_text
from lic_bench.errors import SpecError


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
    kinds = _option_types(cls)
    arguments: dict[str, Any] = {name: p.default for name, p in parameters.items()}
    for option, value in spec.options:
        if option not in parameters:
            raise SpecError(f"{spec.name} has no option {option!r}; {_describe(cls, parameters)}")
        try:
            arguments[option] = msgspec.convert(value, kinds[option], strict=False, dec_hook=_path)
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
        return cls(**arguments)
    except ValueError as error:
        raise SpecError(f"{spec.text}: {error}") from error


def option_texts(cls: type[Codec]) -> list[str]:
    """A codec's options as people write them: ``subsampling=4:2:0 (or 4:2:2, 4:4:4)``."""
    if cls.__init__ is object.__init__:
        return []
    kinds = _option_types(cls)
    texts = []
    for name, parameter in inspect.signature(cls).parameters.items():
        hint = kinds[name]
        required = parameter.default is inspect.Parameter.empty
        choices = [str(c) for c in typing.get_args(hint) if c is not type(None)]
        kind = getattr(hint, "__name__", str(hint))
        if typing.get_origin(hint) is typing.Literal:
            others = [c for c in choices if required or c != str(parameter.default)]
            kind = "one of " + ", ".join(choices) if required else "or " + ", ".join(others)
        texts.append(f"{name} ({kind})" if required else f"{name}={parameter.default} ({kind})")
    return texts


def names_files(cls: type[Codec], spec: CodecSpec) -> list[str]:
    """Those of the options in a spec that may name a file, as ``weights=mine.pth``.

    That is all that are no numbers, and no words from a list of the codec's own.
    """
    kinds = {} if cls.__init__ is object.__init__ else _option_types(cls)
    closed = (bool, int, float)
    return [
        f"{option}={value}"
        for option, value in spec.options
        if (kind := kinds.get(option)) not in closed and typing.get_origin(kind) is not Literal
    ]


def _option_types(cls: type[Codec]) -> dict[str, Any]:
    """The types of a constructor's arguments: as annotated, or else those of the defaults."""
    hints = typing.get_type_hints(cls.__init__)
    untyped = (None, inspect.Parameter.empty)
    return {
        name: hints.get(name, str if parameter.default in untyped else type(parameter.default))
        for name, parameter in inspect.signature(cls).parameters.items()
    }


def _path(kind: type, value: str) -> Path:
    """The one type of options that msgspec does not know."""
    if not issubclass(kind, Path):
        raise NotImplementedError
    return kind(value)


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
