"""Operating points as Python has them: numbers, where they are some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from lic_bench.codec.base import Point, point_text
from lic_bench.python.codecs import listed

Points = Mapping[str, Iterable[Point]] | Iterable[Point]
"""By codec, under ``""`` those of all others; or those of all."""


def as_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose column ``point`` holds numbers, where points are some.

    Of codecs whose points are words the words; an empty text for the point of a codec that has but
    one.
    """
    if "point" not in table:
        return table
    points = [_number(text) for text in table["point"]]
    kinds = {type(point) for point in points}
    column: pd.Series[Any] = pd.Series(points, table.index, dtype=object)
    if points and kinds <= {int, float}:
        column = column.astype("float64" if float in kinds else "int64")
    return table.assign(point=column)


def as_texts(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose points are texts again, as they are spelled on a command line."""
    if "point" not in table:
        return table
    return table.assign(point=table["point"].map(_text).astype(object))


def typed(points: Points | None) -> dict[str, Sequence[str]]:
    """Operating points as they are typed, by codec."""
    if points is None:
        return {}
    by_codec = points if isinstance(points, Mapping) else {"": points}
    listed(by_codec)  # each by its name
    return {codec: [_text(point) for point in _listed(own)] for codec, own in by_codec.items()}


def _listed(points: Any) -> list[Any]:
    return [points] if isinstance(points, str | int | float) else list(points)


def _text(point: Any) -> str:
    return "" if pd.isna(point) else point_text(point)


def _number(text: Any) -> Point:
    if not isinstance(text, str):
        return "" if pd.isna(text) else text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
