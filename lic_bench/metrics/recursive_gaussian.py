"""The Gaussian filter of libjxl, with its rounding.

A sum of three truncated cosines, after D. Charalampidis, "Recursive implementation of the Gaussian
filter using truncated cosine functions", IEEE Transactions on Signal Processing, 2016, whose
equations are named below. Of 1.5 samples, it is a window of nine, with zeros beyond the border:
`windowed` applies that.

libjxl computes it recursively, in float32. Each cosine is an oscillator that nothing damps, so that
errors of rounding go on to the end of a row and of a column. They are small, but where an image is
flat a variance is smaller still, and scores show them. `recursive` therefore does what libjxl does
on x86-64 with fused multiplications (AVX2 and later), operation by operation
(github.com/libjxl/libjxl, `tools/gauss_blur.cc`, version 0.11.2).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]
"""N x H x W."""

_SIGMA = 1.5
_LANES = 4  # samples of a row that libjxl computes at a time


def fused(a: Any, b: Any, c: Any) -> NDArray[np.float32]:
    """Return a b + c in float32, rounded once; a or b is an array, all are of float32.

    Their product is exact in float64. The sum is rounded there before it is in float32, which is
    another number once in a billion times.
    """
    product = np.multiply(a, b, dtype=np.float64)
    product += c
    return np.asarray(product, dtype=np.float32)


def windowed(planes: Planes) -> Planes:
    """Filter planes by the window of nine samples: nearly without errors of rounding, and fast."""
    taps = _window()
    return np.stack(
        [cv2.sepFilter2D(p, -1, taps, taps, borderType=cv2.BORDER_CONSTANT) for p in planes]
    )


def recursive(planes: Planes) -> Planes:
    """Filter planes as libjxl does: to the bit, but for what `fused` says."""
    number, height, width = planes.shape
    rows = _along_rows(planes.transpose(2, 0, 1).reshape(width, number * height))
    columns = rows.reshape(width, number, height).transpose(2, 1, 0).reshape(height, -1)
    return _along_columns(columns).reshape(height, number, width).transpose(1, 0, 2)


class _Cosines(NamedTuple):
    radius: int
    omega: NDArray[np.float64]
    beta: NDArray[np.float64]


@cache
def _cosines() -> _Cosines:
    """How far the window reaches, and the frequencies and weights of the three cosines."""
    radius = round(3.2795 * _SIGMA + 0.2546)  # (57)
    omega = np.array([1, 3, 5]) * np.pi / (2 * radius)  # table I
    p = np.array([1, -1, 1]) / np.tan(omega / 2)  # (37)
    r = np.array([1, -1, 1]) * p**2 / np.sin(omega)  # (44)
    rho = np.exp(-((_SIGMA * omega) ** 2) / 2) / radius  # (50)
    cross = np.cross(p, r)  # (52): of the second and third, third and first, first and second
    zeta = cross / cross[2]
    gamma = [1, radius**2 - _SIGMA**2, zeta @ rho]  # (55)
    return _Cosines(radius, omega, np.linalg.solve([p, r, zeta], gamma))  # (53)


@cache
def _window() -> NDArray[np.float64]:
    radius, omega, beta = _cosines()
    return np.asarray(np.cos(np.outer(np.arange(1 - radius, radius), omega)) @ beta)


class _Steps(NamedTuple):
    """Factors of each cosine (first axis) for each of the four samples that come of one step."""

    of_input: NDArray[np.float32]
    of_last: NDArray[np.float32]
    of_last_but_one: NDArray[np.float32]


@cache
def _steps() -> _Steps:
    """(33), and (35) applied up to four times."""
    radius, omega, beta = _cosines()
    n, d = -beta * np.cos(omega * (radius + 1)), -2 * np.cos(omega)
    of_last = [-d, d**2 - 1, 2 * d - d**3, d**4 - 3 * d**2 + 1]
    factors = (
        [n, -d * n, (d**2 - 1) * n, (2 * d - d**3) * n],
        of_last,
        [-np.ones(3), d, 1 - d**2, d**3 - 2 * d],
    )
    return _Steps(*(np.array(each, np.float32).T[..., None] for each in factors))


def _sums(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What enters the recursion at each place: the samples a radius before and behind, added.

    L x M samples along the first axis give L + radius - 1 sums: the first belong to places before
    the border.
    """
    radius, places = _cosines().radius, len(samples) + _cosines().radius - 1
    padded = np.pad(samples, ((2 * radius, radius), (0, 0)))
    return np.asarray(padded[:places] + padded[2 * radius : 2 * radius + places])


def _along_rows(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter L x M samples along the first axis, as libjxl filters a row: four at a time."""
    radius, length = _cosines().radius, len(samples)
    before = radius - 1
    sums = _sums(samples)
    of_input, of_last, of_last_but_one = _steps()
    last = last_but_one = np.zeros((3, samples.shape[1]), np.float32)
    filtered = np.empty_like(samples)
    place = -before
    while place < length:
        # One by one near the ends.
        lanes = _LANES if 2 * _LANES <= place <= length - radius - _LANES + 1 else 1
        entering = sums[place + before : place + before + lanes]
        steps = of_input[:, :lanes] * entering[0]
        for lane in range(1, lanes):
            steps[:, lane:] = fused(of_input[:, : lanes - lane], entering[lane], steps[:, lane:])
        steps = fused(of_last_but_one[:, :lanes], last_but_one[:, None], steps)
        steps = fused(of_last[:, :lanes], last[:, None], steps)
        last_but_one = steps[:, -2] if lanes > 1 else last
        last = steps[:, -1]
        if place >= 0:
            filtered[place : place + lanes] = steps[0] + (steps[1] + steps[2])
        place += lanes
    return filtered


def _along_columns(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter L x M samples along the first axis, as libjxl filters a column: one by one."""
    before = _cosines().radius - 1
    of_input, of_last = _steps().of_input[:, 0], _steps().of_last[:, 0]
    last = last_but_one = np.zeros((3, samples.shape[1]), np.float32)
    filtered = np.empty_like(samples)
    for place, entering in enumerate(_sums(samples), start=-before):
        step = fused(of_input, entering, fused(of_last, last, -last_but_one))
        last_but_one, last = last, step
        if place >= 0:
            filtered[place] = step[0] + (step[1] + step[2])
    return filtered
