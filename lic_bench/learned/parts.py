"""A code in parts, each with its length before it, so that it can be cut after any of them."""

from __future__ import annotations

from collections.abc import Iterable

from lic_bench.errors import BitstreamError


def joined(parts: Iterable[bytes]) -> bytes:
    """The parts one after the other, each behind its length."""
    return b"".join(x for part in parts for x in (_length(len(part)), part))


def separated(code: bytes, count: int) -> list[bytes]:
    """The parts of a code.

    Raises
    ------
    BitstreamError
        Where it is not made of so many parts and nothing else.
    """
    rest, parts = memoryview(code), []
    for _ in range(count):
        size, used = _read_length(rest)
        if size > len(rest) - used:
            raise BitstreamError("the payload ends within a part")
        parts.append(bytes(rest[used : used + size]))
        rest = rest[used + size :]
    if len(rest):
        raise BitstreamError("the payload goes on after its last part")
    return parts


def cut(code: bytes, count: int) -> bytes:
    """The code of the first parts alone.

    Raises
    ------
    BitstreamError
        Where it has fewer.
    """
    rest, taken = memoryview(code), 0
    for _ in range(count):
        size, used = _read_length(rest[taken:])
        taken += used + size
        if taken > len(code):
            raise BitstreamError("the payload ends within a part")
    return code[:taken]


def _length(size: int) -> bytes:
    """A length, seven bits a byte, the lowest first."""
    out = bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return bytes(out)


def _read_length(code: memoryview) -> tuple[int, int]:
    """A length, and the bytes that it takes."""
    size = 0
    for used in range(min(len(code), 5)):
        size |= (code[used] & 127) << (7 * used)
        if code[used] < 128:
            if used and not code[used]:
                break
            return size, used + 1
    raise BitstreamError("the payload has no length for a part")
