"""Mean differences of interpolated curves, many pairs at a time.

A bootstrap asks for thousands of BD-rates. All functions here therefore take arrays of curves, one
in each row, and SciPy's interpolators, which take one set of knots each, are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lic_bench.errors import check_known
from lic_bench.metric.quality import Array

Method = Literal["pchip", "akima", "cubic"]
"""How a curve runs between its points: by PCHIP (F. N. Fritsch and J. Butland, "A method for
constructing local monotone piecewise cubic interpolants", 1984), by H. Akima's method ("A new
method of interpolation and smooth curve fitting", 1970), or on one cubic polynomial that is fitted
to all points, which is VCEG-M33's way."""


@dataclass(frozen=True)
class Pieces:
    """Curves of cubic pieces between their points, ready to be integrated; one in each row."""

    x: Array
    """Of the points, rising along each row; shape (n, points)."""
    coefficients: Array
    """Of each piece, by the distance from its first point, lowest power first; (4, n, pieces)."""
    areas: Array
    """The integral from a curve's first point to each; shape (n, points)."""

    @classmethod
    def through(cls, x: Array, y: Array, method: Method = "pchip") -> Pieces:
        """The curves through these points, with the slopes of PCHIP or of Akima's method."""
        h = np.diff(x)
        m = np.diff(y) / h
        d = (_pchip_slopes if method == "pchip" else _akima_slopes)(h, m)
        c = np.stack(
            [
                y[:, :-1],
                d[:, :-1],
                (3 * m - 2 * d[:, :-1] - d[:, 1:]) / h,
                (d[:, :-1] + d[:, 1:] - 2 * m) / h**2,
            ]
        )
        areas = np.zeros_like(x)
        np.cumsum(_integrated(c, h), axis=1, out=areas[:, 1:])
        return cls(x, c, areas)

    def area(self, end: Array) -> Array:
        """The integral from each curve's first point to an end within it; shape (n,)."""
        rows = np.arange(len(self.x))
        piece = (self.x[:, 1:-1] <= end[:, None]).sum(axis=1)
        beyond = end - self.x[rows, piece]
        within = _integrated(self.coefficients[:, rows, piece], beyond)
        return np.asarray(self.areas[rows, piece] + within)


def _integrated(c: Array, t: Array) -> Array:
    """The integral of pieces from their first point to a distance from it."""
    return np.asarray(t * (c[0] + t * (c[1] / 2 + t * (c[2] / 3 + t * (c[3] / 4)))))


def mean_difference_of(a: Pieces, b: Pieces) -> Array:
    """The mean of b less a over the interval that both cover: shape (n,), NaN where it is empty."""
    low = np.maximum(a.x[:, 0], b.x[:, 0])
    high = np.minimum(a.x[:, -1], b.x[:, -1])
    span = np.where(high > low, high - low, np.nan)
    return np.asarray((b.area(high) - b.area(low) - a.area(high) + a.area(low)) / span)


def mean_difference(x_a: Array, y_a: Array, x_b: Array, y_b: Array, method: Method) -> Array:
    """The mean of y_b - y_a over the interval of x that both curves cover.

    Parameters
    ----------
    x_a, y_a
        Curves, shape (n, points), at least three points, x rising along each row.
    x_b, y_b
        As many others, of as many points as these have.

    Returns
    -------
    Shape (n,); NaN where the two share no interval.

    Raises
    ------
    SpecError
        Where there is no such method.
    """
    check_known("method", method, get_args(Method))
    if method != "cubic":
        return mean_difference_of(
            Pieces.through(x_a, y_a, method), Pieces.through(x_b, y_b, method)
        )
    low = np.maximum(x_a[:, 0], x_b[:, 0])
    high = np.minimum(x_a[:, -1], x_b[:, -1])
    span = np.where(high > low, high - low, np.nan)
    a, b = (_fitted(x, y, low, high) for x, y in ((x_a, y_a), (x_b, y_b)))
    return np.asarray((b - a) / span)


def _fitted(x: Array, y: Array, low: Array, high: Array) -> Array:
    """The integral of the cubic polynomials that fit the points best (least squares)."""
    # On an axis from -1 to 1, where powers are well conditioned.
    middle, half = (x[:, -1] + x[:, 0]) / 2, (x[:, -1] - x[:, 0]) / 2
    powers = ((x - middle[:, None]) / half[:, None])[..., None] ** np.arange(4)
    coefficients = (np.linalg.pinv(powers) @ y[..., None])[..., 0]

    def area(end: Array) -> Array:
        t = ((end - middle) / half)[:, None] ** np.arange(1, 5)
        return np.asarray(half * (coefficients * t / np.arange(1, 5)).sum(axis=1))

    return area(high) - area(low)


def _pchip_slopes(h: Array, m: Array) -> Array:
    """Slopes at the points, from the widths and slopes of the pieces."""
    before, after = m[:, :-1], m[:, 1:]
    w_before, w_after = 2 * h[:, 1:] + h[:, :-1], h[:, 1:] + 2 * h[:, :-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (w_before + w_after) / (w_before / before + w_after / after)
    inner = np.where(before * after > 0, mean, 0.0)
    first = _pchip_end(h[:, 0], h[:, 1], m[:, 0], m[:, 1])
    last = _pchip_end(h[:, -1], h[:, -2], m[:, -1], m[:, -2])
    return np.column_stack([first, inner, last])


def _pchip_end(h0: Array, h1: Array, m0: Array, m1: Array) -> Array:
    """The slope at an end, from three points, such that the curve keeps its shape.

    C. Moler, "Numerical Computing with MATLAB", 2004, section 3.6.
    """
    d = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    d = np.where(np.sign(d) == np.sign(m0), d, 0.0)
    return np.where((np.sign(m0) != np.sign(m1)) & (np.abs(d) > 3 * np.abs(m0)), 3 * m0, d)


def _akima_slopes(h: Array, m: Array) -> Array:
    """Slopes at the points; two pieces are added at either end, as Akima does."""
    first, last = 2 * m[:, 0] - m[:, 1], 2 * m[:, -1] - m[:, -2]
    m = np.column_stack([2 * first - m[:, 0], first, m, last, 2 * last - m[:, -1]])
    change = np.abs(np.diff(m))
    before, after = change[:, :-2], change[:, 2:]
    total = before + after
    # Where nothing changes on either side the slope is not defined: a mean then stands for it.
    defined = total > 1e-9 * total.max(axis=1, keepdims=True)
    share = np.where(defined, before / np.where(defined, total, 1), 0.0)
    weighted = m[:, 1:-2] + share * (m[:, 2:-1] - m[:, 1:-2])
    return np.where(defined, weighted, (m[:, :-3] + m[:, 3:]) / 2)
