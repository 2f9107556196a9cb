"""TOML files that a user names, read against a type, within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from lic_bench.errors import SpecError

LARGEST = 1_000_000
"""Bytes: a description takes some hundred."""
_QUOTED = 400
Read = TypeVar("Read")


def read_toml(path: Path, kind: type[Read], what: str) -> Read:
    """Read a TOML file.

    Parameters
    ----------
    what
        It is, for errors.

    Raises
    ------
    SpecError
        Where it cannot be read, or a key is missing, unknown or wrong.
    """
    try:
        if not path.exists():
            raise SpecError(f"there is no {what} {path}")
        if not path.is_file():  # a pipe would be waited for
            raise SpecError(f"{path} is no file")
        if path.stat().st_size > LARGEST:
            raise SpecError(f"{path} has {path.stat().st_size:,} bytes; no {what} has so many")
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    return parse_toml(content, kind, str(path))


def parse_toml(content: bytes, kind: type[Read], name: str) -> Read:
    """The content of a TOML file, by what errors call it; see `read_toml`."""
    try:
        return msgspec.toml.decode(content, type=kind)
    except (ValueError, RecursionError) as error:  # what is no TOML, and keys that are wrong
        raise SpecError(f"{name}: {shortened(error)}") from error


def shortened(error: Exception) -> str:
    """What an error says, in a line, without the middle where it quotes much of a file."""
    text = " ".join(str(error).split())
    if len(text) <= _QUOTED:
        return text
    return f"{text[: _QUOTED // 2]} ... {text[-_QUOTED // 2 :]}"
