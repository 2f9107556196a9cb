"""Texts that come from outside: names, and what exceptions say. They may hold any character."""

from __future__ import annotations

import json
from unicodedata import category

# Controls (escape sequences among them), marks that turn the direction of writing and the like,
# bytes that are no text, and what ends a line or a paragraph.
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_REASON_LENGTH = 1000
_BYTE = 0xDC00  # Python keeps a byte of a file name that is no text as this and its value


def printable(text: str) -> str:
    r"""Write what would steer a terminal, or break a line, as an escape.

    >>> printable("a\x1b[2Jb\n")
    'a\\x1b[2Jb\\n'
    """
    if text.isprintable():
        return text
    return "".join(_escaped(c) if category(c) in _STEERING else c for c in text)


def printable_lines(text: str) -> str:
    """Text of several lines, each `printable`: of what steers, it keeps tabs and ends of lines."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else printable(c) for c in text)


def reason(error: BaseException) -> str:
    """What an exception says, in one line that can be shown and stored."""
    try:
        text = " ".join(str(error)[:_REASON_LENGTH].split())
    except BaseException:  # noqa: BLE001 - a plugin's own exception may raise another
        text = "what it says cannot be read"
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def printable_json(value: object) -> str:
    """A value as indented JSON that steers no terminal: what would is an escape of JSON's."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        json.dumps(c)[1:-1] if c != "\n" and category(c) in _STEERING else c for c in text
    )


def _escaped(character: str) -> str:
    byte = ord(character) - _BYTE
    if 0x80 <= byte <= 0xFF:
        return f"\\x{byte:02x}"
    return character.encode("unicode_escape").decode()
