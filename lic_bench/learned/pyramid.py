"""Planes of means, coded from coarse to fine.

Where a plane is smooth, the mean of a block costs little if those on all sides are known. So a site
is predicted from four around it, of a grid twice as coarse, and what is left over is quantised: the
numbers that are coded. Sites of coarse grids stand for large areas, and have finer steps. A smooth
area takes a number here and there and shows no terraces; predicted from what is above and to the
left, each site would be off by up to half a step.

All is whole numbers of 2^-6 of a step, the same on every machine. Such hierarchical interpolation
goes back to P. Roos, M. A. Viergever, M. C. A. van Dijke and J. H. Peters, "Reversible intraframe
compression of medical images", IEEE Transactions on Medical Imaging 7, 1988.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lic_bench.learned.surroundings import LARGEST, TILE

FRACTION_BITS = 6
_UNIT = 1 << FRACTION_BITS
_SPACING = 16  # sites between those of the coarsest grid
_STEPS = (16, 16, 22, 26, 32, 38, 48, 64, 74)
"""Of each phase: of the coarsest grid, then twice for each finer one, in units."""
PHASES = len(_STEPS)
_FINE = 8  # larger numbers go in whole steps: where a plane jumps, precision is wasted
_DEAD = 0.55  # a remainder of so much of a step is rounded up

Sites = tuple[NDArray[np.intp], NDArray[np.intp]]
Steps = list[tuple[int, int]]


@lru_cache(maxsize=16)
def phases(height: int, width: int) -> NDArray[np.uint8]:
    """The phase of each site, in the order in which they are predicted: H x W."""
    found = np.zeros((height, width), np.uint8)
    for tile in tiles(height, width):
        part = found[tile]
        for visit in _visits(*part.shape):
            part[np.ix_(*visit.at)] = visit.phase
    return found


class Coded(NamedTuple):
    """What becomes of planes, all ... x H x W."""

    numbers: NDArray[np.int8]
    planes: NDArray[np.int32]
    """What the numbers stand for, in 2^-6 of a step."""
    predicted: NDArray[np.int32]
    """What is known of each site before its number, in the same."""
    steps: NDArray[np.int32]
    """Of the sites, H x W, in the same."""


def quantise(z: NDArray[np.floating[Any]]) -> Coded:
    """Code planes, ... x H x W, in steps."""
    steps = np.array(_STEPS, np.int32)[phases(*z.shape[-2:])]
    numbers = np.zeros(z.shape, np.int8)
    planes, before = np.zeros((2, *z.shape), np.int32)
    for tile in tiles(*z.shape[-2:]):
        here: Any = (..., *tile)
        planes[here] = _quantised(z[here], numbers[here], before[here])
    return Coded(numbers, planes, before, steps)


def rebuild(numbers: NDArray[np.int8]) -> NDArray[np.int32]:
    """The planes that numbers stand for, ... x H x W, in 2^-6 of a step."""
    planes = np.zeros(numbers.shape, np.int32)
    for tile in tiles(*numbers.shape[-2:]):
        here: Any = (..., *tile)
        planes[here] = _rebuilt(numbers[here])
    return planes


def tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """What is coded on its own, of planes of any size."""
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            yield (
                slice(top, min(top + TILE, height)),
                slice(left, min(left + TILE, width)),
            )


def _quantised(
    z: NDArray[np.floating[Any]], numbers: NDArray[np.int8], before: NDArray[np.int32]
) -> NDArray[np.int32]:
    """The planes; fills in numbers and predictions."""
    aim = z.astype(np.float64) * _UNIT

    def left_over(at: Sites, predicted: NDArray[np.int32], step: int) -> NDArray[np.int32]:
        here = _here(at)
        rest = aim[here] - predicted
        size = np.abs(rest)
        number = np.floor(size / step + 1 - _DEAD)
        beyond = _FINE + np.floor((size - _FINE * step) / _UNIT + 1 - _DEAD)
        number = np.where(number > _FINE, np.maximum(beyond, _FINE), number)
        found: NDArray[np.int32] = (np.sign(rest) * number.clip(0, LARGEST)).astype(np.int32)
        numbers[here], before[here] = found, predicted
        return found

    return _planes(z.shape, left_over)


def _rebuilt(numbers: NDArray[np.int8]) -> NDArray[np.int32]:
    def coded(at: Sites, predicted: NDArray[np.int32], step: int) -> NDArray[np.int32]:
        found: NDArray[np.int32] = numbers[_here(at)].astype(np.int32)
        return found

    return _planes(numbers.shape, coded)


def _planes(
    shape: tuple[int, ...], number_at: Callable[[Sites, NDArray[np.int32], int], NDArray[np.int32]]
) -> NDArray[np.int32]:
    plane = np.zeros(shape, np.int32)
    most = LARGEST * _UNIT
    for phase, at, around, count in _visits(*shape[-2:]):
        total = np.zeros((1, 1), np.int32)
        for neighbours, known in around:
            total = total + known * plane[_here(neighbours)]
        predicted = (2 * total + count) // (2 * count)
        number, step = number_at(at, predicted, _STEPS[phase]), _STEPS[phase]
        size = np.abs(number)
        moved = np.minimum(size, _FINE) * step + np.maximum(size - _FINE, 0) * _UNIT
        moved = (predicted + np.sign(number) * moved).clip(-most, most)
        plane[_here(at)] = moved
    return plane


def _here(at: Sites) -> Any:
    """The index of sites in any number of planes."""
    return (..., *np.ix_(*at))


class _Visit(NamedTuple):
    """Sites that are predicted together, and those that they are predicted from."""

    phase: int
    at: Sites
    around: list[tuple[Sites, NDArray[np.int32]]]
    """Neighbours, and 1 where there is one."""
    among: NDArray[np.int32]
    """How many there are; at least 1."""


@lru_cache(maxsize=16)
def _visits(height: int, width: int) -> list[_Visit]:
    found: list[_Visit] = []

    def add(phase: int, rows: NDArray[np.intp], columns: NDArray[np.intp], steps: Steps) -> None:
        around = []
        count = np.zeros((len(rows), len(columns)), np.int32)
        for down, right in steps:
            i, j = rows + down, columns + right
            known = ((i >= 0) & (i < height))[:, None] & ((j >= 0) & (j < width))
            around.append(((i.clip(0, height - 1), j.clip(0, width - 1)), known.astype(np.int32)))
            count += known
        found.append(_Visit(phase, (rows, columns), around, np.maximum(count, 1)))

    for i in range(0, height, _SPACING):
        for j in range(0, width, _SPACING):
            steps = [(-_SPACING, 0)] * (i > 0) + [(0, -_SPACING)] * (j > 0)
            add(0, np.array([i]), np.array([j]), steps)
    phase, half = 0, _SPACING // 2
    while half:
        cross = [(-half, 0), (half, 0), (0, -half), (0, half)]
        diagonal = [(down, right) for down in (-half, half) for right in (-half, half)]
        odd_rows, rows = np.arange(half, height, 2 * half), np.arange(0, height, 2 * half)
        odd_columns, columns = np.arange(half, width, 2 * half), np.arange(0, width, 2 * half)
        add(phase + 1, odd_rows, odd_columns, diagonal)
        add(phase + 2, odd_rows, columns, cross)
        add(phase + 2, rows, odd_columns, cross)
        phase, half = phase + 2, half // 2
    return found
