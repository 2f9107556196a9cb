"""One curve from many checkpoints: which file belongs to which operating point.

An option of a codec names them, as a text:

==============================  ====================================================================
``runs/lambda-{point}.pth``     a pattern: what stands for ``{point}`` is the operating point
``runs``                        a folder: the names of its files, without suffix, are the points
``low.pth:middle.pth:high.pth`` a list, as in PATH: the points are 1, 2, 3
``best.pth``                    one file: a single operating point
==============================  ====================================================================

Points that are all numbers are numbers, and stand in their order; words stand in alphabetical
order, the numbers in them by their value. Where that is not from low rate to high, ``--points``
states another order.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lic_bench.codec.base import Point
from lic_bench.errors import SpecError
from lic_bench.plugins.identity import PLACE

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def find_checkpoints(text: str, suffixes: tuple[str, ...]) -> dict[Point, Path]:
    """Find the files that a text names, each with its operating point.

    Parameters
    ----------
    text
        A pattern, a folder, a list or a file; see the module.
    suffixes
        Of the files that count in a folder: ``(".safetensors",)``.

    Raises
    ------
    SpecError
        Where there are no such files, or two have the same point.
    """
    if PLACE in text:
        named = list(_matching(Path(text).expanduser().resolve()))
    elif os.pathsep in text:
        parts = text.split(os.pathsep)
        return {i: _existing(part) for i, part in enumerate(parts, 1)}
    elif (folder := Path(text).expanduser().resolve()).is_dir():
        named = list(_within(folder, suffixes))
    else:
        return {None: _existing(text)}
    if not named:
        raise SpecError(f"there are no checkpoints {text}")
    points = _points([point for point, _ in named])
    found: dict[Point, Path] = {}
    for point, (_, path) in zip(points, named, strict=True):
        if point in found:
            raise SpecError(f"{found[point]} and {path} have the same operating point, {point}")
        found[point] = path
    return {point: found[point] for point in sorted(found, key=_natural)}


def _existing(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise SpecError(f"there is no file {path}")
    return path


def _matching(pattern: Path) -> Iterator[tuple[str, Path]]:
    """The files of a pattern, with what stands in its place."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if PLACE in part)
    folder, rest = Path(*parts[:first]), "/".join(parts[first:])
    expression = re.escape(rest).replace(re.escape(PLACE), "(?P=point)")
    expression = expression.replace("(?P=point)", "(?P<point>[^/]+)", 1)
    for path in folder.glob(glob.escape(rest).replace(PLACE, "*")):
        match = re.fullmatch(expression, path.relative_to(folder).as_posix())
        if match is not None and path.is_file():
            yield match["point"], path


def _within(folder: Path, suffixes: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """The files of a folder, with their names less the suffix."""
    for path in folder.iterdir():
        ends = [suffix for suffix in suffixes if path.name.endswith(suffix)]
        if ends and path.is_file() and not path.name.startswith("."):
            yield path.name.removesuffix(max(ends, key=len)), path


def _points(texts: list[str]) -> list[Point]:
    """Texts as numbers, if all of them are."""
    if not all(map(_NUMBER.fullmatch, texts)):
        return list(texts)
    return [int(text) if all(map(str.isdigit, texts)) else float(text) for text in texts]


def _natural(point: Point) -> tuple[tuple[str, float], ...]:
    """A key by which words are in alphabetical order, and numbers in them in numerical order."""
    text = str(point)
    words = _NUMBER.split(text)
    numbers = [float(number) for number in _NUMBER.findall(text)]
    return tuple(zip(words, [*numbers, 0.0], strict=True))
