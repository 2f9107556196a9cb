"""Operating points, as people type them."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from lic_bench.codec.base import Codec, Point, point_text
from lic_bench.errors import SpecError


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
