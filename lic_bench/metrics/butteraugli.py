"""Butteraugli: how visible the worst difference of two images is, when they are seen in turn.

0 where images are equal; lower is better. About 1: just noticeable; the scale is that of the
distance that JPEG XL's encoders are asked for. Two figures of one map of differences: its maximum,
which one place decides, and a mean of its 3-, 6- and 12-norm, which follows opinions of whole
images better. Not symmetric: what is seen is masked by the reference.

Definition: J. Alakuijala and others (Google), as it is in libjxl 0.11.2 (github.com/libjxl/libjxl,
`lib/jxl/butteraugli/butteraugli.cc`, and `lib/extras/metrics.cc` for the norms), for white of
80 cd/m2, which is what its program `butteraugli_main` takes for sRGB. An early form was published:
J. Alakuijala, R. Obryk, O. Stoliarchuk, Z. Szabadka, L. Vandevenne, J. Wassenberg, "Guetzli:
perceptually guided JPEG encoder", arXiv:1703.04421, 2017. The arithmetic here is written anew, in
float32 as there; the constants are that file's: Copyright (c) the JPEG XL Project Authors,
BSD-3-Clause.

Both images become responses of three kinds of cones, which are adapted to the light around; of
these X (red less green), Y and B. Each is split into bands by blurs: low, middle, high and
ultra-high frequencies. In the upper bands of X and Y differences are summed along short lines in 16
directions, in all bands they are squared, and what was lost or exaggerated counts once more. The
sum is divided by what the reference masks. The same at half the size is added.

How far it is from the program: docs/metrics.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric, Score, Value
from lic_bench.metrics.colour import check_alike

SIDE = 8
"""The least side of an image that it is defined for."""

_Map = NDArray[np.float32]
"""H x W."""

_WHITE = 80
"""cd/m2."""

# Responses of the cones to linear R, G and B, and what is added: no response is less.
_CONES = np.array(
    [
        [0.29956550340058319, 0.63373087833825936, 0.077705617820981968],
        [0.22158691104574774, 0.69391388044116142, 0.0987313588422],
        [0.02, 0.02, 0.20480129041026129],
    ],
    np.float32,
)
_LEAST = np.array([1.7557483643287353, 1.7557483643287353, 12.226454707163354], np.float32)

_SIGMA_LIGHT, _SIGMA_LOW, _SIGMA_MIDDLE = 1.2, 7.15593339443, 3.22489901262
_SIGMA_HIGH, _SIGMA_MASK = 1.56416327805, 2.7


@dataclass
class _Bands:
    """An image as it is seen: X, Y and B of the lower bands, X and Y of the upper ones."""

    low: list[_Map]
    middle: list[_Map]
    high: list[_Map]
    ultra: list[_Map]
    activity: _Map
    """How much there is in the upper bands."""

    @cached_property
    def mask(self) -> _Map:
        """What differences from this image are masked by."""
        return _eroded(self.activity)


def butteraugli(reference: Image, distorted: Image) -> tuple[float, float] | None:
    """Return the maximum and the 3-norm of the differences that are seen.

    Parameters
    ----------
    reference, distorted
        uint8, H x W x 3, sRGB.

    Returns
    -------
    Both at least 0; nothing where a side has less than `SIDE` samples.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    check_alike(reference, distorted)
    if min(reference.shape[:2]) < SIDE:
        return None
    return _norms(_differences(_scales(reference), _scales(distorted)))


class Butteraugli(Metric):
    """Butteraugli's maximum and 3-norm, as libjxl computes them."""

    name = "butteraugli"
    label = "Butteraugli"
    scores = (
        Score("butteraugli", "Butteraugli", better="lower"),
        Score("butteraugli_3norm", "Butteraugli, 3-norm", better="lower"),
    )
    least_side = SIDE
    identical = 0.0

    def prepare(self, reference: Image) -> Compare:
        prepared = _scales(reference)

        def compare(distorted: Image) -> dict[str, Value]:
            largest, norm = _norms(_differences(prepared, _scales(distorted)))
            return {"butteraugli": largest, "butteraugli_3norm": norm}

        return compare


def _norms(differences: _Map) -> tuple[float, float]:
    cubes = differences.astype(np.float64) ** 3
    powers = [cubes, cubes**2, cubes**4]
    means = [float(power.mean()) ** (1 / (3 << i)) for i, power in enumerate(powers)]
    return float(differences.max()), sum(means) / 3


def _scales(image: Image) -> list[_Bands]:
    """The bands of an image, and of one of half the size if that is not too small."""
    linear = [_linear()[image[..., i]] for i in range(3)]
    scales = [_bands(linear)]
    if min(image.shape[:2]) >= 2 * SIDE - 1:
        scales.append(_bands([_halved(plane) for plane in linear]))
    return scales


@cache
def _linear() -> NDArray[np.float32]:
    """Linear light of each 8-bit code of sRGB (IEC 61966-2-1), in cd/m2."""
    code = np.arange(256) / 255
    light = np.where(code > 0.04045, ((code + 0.055) / 1.055) ** 2.4, code / 12.92)
    return (_WHITE * light).astype(np.float32)


def _halved(plane: _Map) -> _Map:
    """2x2 means; the last row or column of an odd side counts twice."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    rows = plane[::2] + plane[1::2]
    return np.asarray((rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25))


def _blurred(plane: _Map, sigma: float) -> _Map:
    """A Gaussian that is cut off at 2.25 sigma; at the border it is made of what there is."""
    reach = int(2.25 * sigma)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    if reach == 2:  # mirrored there
        return np.asarray(cv2.sepFilter2D(plane, -1, taps, taps, borderType=cv2.BORDER_REFLECT))
    blurred = cv2.sepFilter2D(plane, -1, taps, taps, borderType=cv2.BORDER_CONSTANT)
    for axis, side in enumerate(plane.shape):
        share = np.convolve(np.ones(side), taps)[reach : reach + side].astype(np.float32)
        blurred = blurred / (share[:, None] if axis == 0 else share)
    return np.asarray(blurred)


def _bands(linear: list[_Map]) -> _Bands:
    xyb = _xyb(linear)
    low = [_blurred(plane, _SIGMA_LOW) for plane in xyb]
    rest = [plane - blurred for plane, blurred in zip(xyb, low, strict=True)]
    middle = [_blurred(plane, _SIGMA_MIDDLE) for plane in rest]
    x, y = rest[0] - middle[0], rest[1] - middle[1]
    middle[0] = _shrunk(middle[0], 0.29)
    middle[1] = _stretched(middle[1], 0.1)
    # Where Y changes, a change of X is seen less.
    x *= 0.653020556257 + 0.346979443743 * 46 / (y * y + 46)
    high = [_blurred(x, _SIGMA_HIGH), _damped(_blurred(y, _SIGMA_HIGH), 28.4691806922)]
    ultra = [
        _shrunk(x - high[0], 0.04),
        _damped(y - high[1], 5.19175294647) * 2.69313763794,
    ]
    high[0] = _shrunk(high[0], 1.5)
    high[1] = _stretched(high[1] * 2.155, 0.132)
    low = [
        low[0] * 33.832837186260,
        low[1] * 14.458268100570,
        (low[2] - 0.362267051518 * low[1]) * 49.87984651440,
    ]
    energy = np.hypot(2.5 * (ultra[0] + high[0]), 0.4 * (ultra[1] + high[1]))
    bias = 6.19424080439 * 12.61050594197
    activity = np.sqrt(6.19424080439 * energy + bias) - math.sqrt(bias)
    return _Bands(low, middle, high, ultra, _blurred(activity, _SIGMA_MASK))


def _xyb(linear: list[_Map]) -> list[_Map]:
    """X, Y and B of R, G and B in cd/m2."""
    around = [_blurred(plane, _SIGMA_LIGHT) for plane in linear]
    seen = []
    for cone, least in zip(_CONES, _LEAST, strict=True):
        adapted = np.maximum(_response(cone, least, around), least)
        gain = 19.245013259874995 * np.log(adapted + 9.9710635769299145) - 23.16046239805755
        gain = np.maximum(gain / adapted, 1e-4)
        seen.append(np.maximum(_response(cone, least, linear) * gain, least))
    return [seen[0] - seen[1], seen[0] + seen[1], seen[2]]


def _response(cone: NDArray[np.float32], least: np.float32, light: list[_Map]) -> _Map:
    red, green, blue = light
    return np.asarray(cone[0] * red + (cone[1] * green + (cone[2] * blue + least)))


def _shrunk(plane: _Map, by: float) -> _Map:
    """Nearer to zero, which is not passed."""
    return np.asarray(plane - np.clip(plane, -by, by))


def _stretched(plane: _Map, by: float) -> _Map:
    """Farther from zero, but at most twice as far."""
    return np.asarray(plane + np.clip(plane, -by, by))


def _damped(plane: _Map, limit: float) -> _Map:
    """What is above the limit counts less."""
    inside = np.clip(plane, -limit, limit)
    return np.asarray(inside + (plane - inside) * 0.724216145665)


def _differences(reference: list[_Bands], distorted: list[_Bands]) -> _Map:
    """The map of differences."""
    maps = [_at_a_scale(*both) for both in zip(reference, distorted, strict=True)]
    whole = maps[0]
    if len(maps) > 1:
        height, width = whole.shape
        half = maps[1].repeat(2, axis=0)[:height].repeat(2, axis=1)[:, :width]
        whole = 0.85 * whole + 0.5 * half
    return whole


def _at_a_scale(a: _Bands, b: _Bands) -> _Map:
    upper = np.zeros_like(a.activity)
    for x, y, weight, norm in (
        (a.ultra[0], b.ultra[0], 173.5, 5),
        (a.ultra[1], b.ultra[1], 1.10039032555, 71.7800275169),
    ):
        _add_lines(_unlike(x, y, weight, norm) * np.float32(0.39905817637), _lines(), upper)
    for x, y, weight, norm in (
        (a.high[0], b.high[0], 6923.99476109, 8051.15833247),
        (a.high[1], b.high[1], 18.7237414387, 4498534.45232),
        (a.middle[0], b.middle[0], 8246.75321353, 1009002.70582),
        (a.middle[1], b.middle[1], 37.0819870399, 130262059.556),
    ):
        _add_lines(_unlike(x, y, weight, norm) * np.float32(0.611612573796), _dotted_lines(), upper)
    for which, weight in enumerate((400, 1.50815703118)):
        x, y = a.high[which], b.high[which]
        upper += 0.8 * weight * ((x - y) ** 2 + _outside(y, x, 0.4, 1) ** 2)
    for which, weight in enumerate((2150, 10.6195433239, 16.2176043152)):
        upper += weight * (a.middle[which] - b.middle[which]) ** 2
    upper += 10 * (a.activity - b.activity) ** 2
    lower = np.zeros_like(upper)
    for which, weight in enumerate((29.2353797994, 0.844626970982, 0.703646627719)):
        lower += weight * (a.low[which] - b.low[which]) ** 2
    lower *= _seen(a.mask, 0.505054525019, 3.87449418804, 0.20025578522)
    upper *= _seen(a.mask, 2.5485944793, 0.451936922203, 0.829591754942)
    return np.asarray(np.sqrt(lower + upper))


def _outside(y: _Map, x: _Map, least: float, most: float) -> _Map:
    """How far y is from the range of least x to most x: 0 inside of it."""
    one, other = least * x, most * x
    return np.asarray(np.clip(y, np.minimum(one, other), np.maximum(one, other)) - y)


def _unlike(x: _Map, y: _Map, weight: float, norm: float) -> _Map:
    """Differences with their sign: less where both are large; what is lost counts once more."""
    differing, losing = (math.sqrt(share * weight) / 8.5 * norm for share in (0.5, 0.33))
    unlike = differing * (x - y) + losing * _outside(y, x, 0.55, 1.05)
    return np.asarray(unlike / (norm + 0.5 * (np.abs(x) + np.abs(y))))


def _add_lines(plane: _Map, lines: list[_Map], total: _Map) -> None:
    """Add the squares of the sums along lines through each place."""
    for line in lines:
        summed = cv2.filter2D(plane, -1, line, borderType=cv2.BORDER_CONSTANT)
        cv2.accumulateSquare(summed, total)


@cache
def _lines() -> list[_Map]:
    """Lines of up to nine samples: 16, of which four are there twice."""
    along = _kernels([(1, 0), (2, 0), (3, 0), (4, 0)])
    steep = _kernels([(1, 0), (2, 1), (3, 1), (4, 1)])
    return [
        *along,
        *(kernel * np.float32(np.sqrt(2)) for kernel in steep),
        *_kernels([(1, 1), (2, 1), (3, 2)]),
        *_kernels([(1, 1), (2, 2), (3, 3)]),
    ]


@cache
def _dotted_lines() -> list[_Map]:
    """Lines of five samples with gaps between them: 16."""
    ends = [(2, 0), (4, 0)], [(2, 1), (4, 1)], [(2, 1), (3, 2)], [(2, 1), (4, 2)], [(2, 2), (3, 3)]
    return [kernel for end in ends for kernel in _kernels(end)]


def _kernels(end: list[tuple[int, int]]) -> list[_Map]:
    """The lines through the middle of 9x9 places that end so, turned and mirrored: 2 or 4."""
    line = np.zeros((9, 9), np.float32)
    line[4, 4] = 1
    for x, y in end:
        line[4 + y, 4 + x] = line[4 - y, 4 - x] = 1
    alike = [line, line.T, line[::-1], line.T[::-1]]
    return list({kernel.tobytes(): np.ascontiguousarray(kernel) for kernel in alike}.values())


def _eroded(plane: _Map) -> _Map:
    """A mean of the three least of a place and those three samples away from it."""
    height, width = plane.shape
    wide = np.pad(plane, 3, constant_values=np.inf)
    least = [plane, 2 * plane, 2 * plane]
    for dy in (0, 3, 6):
        for dx in (0, 3, 6):
            if (dy, dx) != (3, 3):
                rest = wide[dy : dy + height, dx : dx + width]
                for i, known in enumerate(least):
                    least[i], rest = np.minimum(known, rest), np.maximum(known, rest)
    return np.asarray(0.45 * least[0] + 0.3 * least[1] + 0.25 * least[2])


def _seen(mask: _Map, strength: float, slope: float, offset: float) -> _Map:
    """The share of a squared difference that is seen."""
    scale = 1 / (17.83 * 0.79079917404)
    return np.asarray((scale + scale * strength / (slope * mask + offset)) ** 2)
