"""Specs: a name with options, as people type them: ``jpeg`` or ``jpeg:subsampling=4:4:4``.

Options are the arguments of the constructor. The spec of a codec stands for one rate-distortion
curve, that of a metric for one way to measure.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from lic_bench.errors import LicBenchError, SpecError
from lic_bench.plugins.base import Plugin
from lic_bench.plugins.files import aside, told

Made = TypeVar("Made", bound=Plugin)


@dataclass(frozen=True)
class Spec:
    """A name with the options that were given for it."""

    text: str
    name: str
    options: tuple[tuple[str, str], ...] = ()


def parse_spec(text: str) -> Spec:
    """Read one spec: ``name`` or ``name:option=value,option=value``."""
    name, colon, rest = text.partition(":")
    options: dict[str, str] = {}
    for item in rest.split(",") if colon else []:
        option, equals, value = item.partition("=")
        if not (option and equals and value):
            raise SpecError(
                f"spec {text!r}: {item!r} is no option=value; "
                "a spec looks like jpeg or jpeg:subsampling=4:4:4"
            )
        if option in options:
            raise SpecError(f"spec {text!r} gives the option {option!r} twice")
        options[option] = value
    if not name or "=" in name:
        raise SpecError(f"spec {text!r} has no name; it looks like jpeg:subsampling=4:4:4")
    return Spec(text, name, tuple(options.items()))


def split_specs(text: str) -> list[str]:
    """Split ``jpeg:subsampling=4:4:4,jpeg2000`` at the commas that separate specs.

    A comma separates options, not specs, where a bare ``option=value`` follows it.
    """
    specs: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        before, equals, _ = item.partition("=")
        if specs and equals and ":" not in before:
            specs[-1] += f",{item}"
        else:
            specs.append(item)
    return specs


def build(cls: type[Made], spec: Spec) -> Made:
    """Make what a spec asks for, its options checked against the constructor's types.

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
        with aside():
            return cls(**arguments)
    except ValueError as error:
        raise SpecError(f"{spec.text}: {error}") from error
    except (LicBenchError, MemoryError):
        raise
    except Exception as error:
        raise SpecError(f"{spec.text} cannot be made: {told(error)}") from error


def option_texts(cls: type[Plugin]) -> list[str]:
    """Its options as people write them: ``subsampling=4:2:0 (or 4:2:2, 4:4:4)``."""
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


def names_files(cls: type[Plugin], spec: Spec) -> list[str]:
    """Those of the options in a spec that may name a file, as ``weights=mine.pth``.

    That is all that are no numbers, and no words from a list of its own.
    """
    kinds = {} if cls.__init__ is object.__init__ else _option_types(cls)
    closed = (bool, int, float)
    return [
        f"{option}={value}"
        for option, value in spec.options
        if (kind := kinds.get(option)) not in closed and typing.get_origin(kind) is not Literal
    ]


def _option_types(cls: type[Plugin]) -> dict[str, Any]:
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


def _describe(cls: type[Plugin], parameters: Mapping[str, object]) -> str:
    return f"it has: {'; '.join(option_texts(cls))}" if parameters else "it has no options"
