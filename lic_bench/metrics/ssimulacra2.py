"""SSIMULACRA 2: how visible the difference of two images is, tuned on the opinions of people.

100: nothing is visible; 90: hardly, when both are seen in turn; 70: high quality; 50: medium; 30:
low; there is no lower bound. Higher is better. Not symmetric: an edge that the distorted image has
and the reference lacks counts otherwise than one that it lost.

Definition: J. Sneyers (Cloudinary), version 2.1 of April 2023, which is the program `ssimulacra2`
of libjxl since version 0.9 (github.com/libjxl/libjxl, `tools/ssimulacra2.cc`); there is no paper.
The arithmetic here is written anew; the constants are that program's: Copyright (c) the JPEG XL
Project Authors, BSD-3-Clause.

Both images become XYB, brought to about 0 to 1 each, at six scales that are halved in linear light.
In each plane at each scale there are three maps: the loss of structure (SSIM with no luminance
term but ``1 - (m1 - m2)^2``), edges that were added, and edges that were lost. The mean of each and
the fourth root of the mean of its fourth power are 108 figures, whose weighted sum is turned into
the score by a polynomial and a power.

The program computes in float32, and where an image is flat its score shows that: by as much as 1.5
points on the pairs that it was tested on (a sky, JPEG at quality 95). As scores are compared with
scores of the program, its rounding is followed here: the table of linear light, the cube root, and
the order of the operations are the program's; see `lic_bench.metrics.recursive_gaussian`.

Largest difference from the program of libjxl 0.11.2 over 48 pairs of Kodak images: 0.0001.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric
from lic_bench.metrics.colour import check_alike
from lic_bench.metrics.recursive_gaussian import Planes, fused, recursive, windowed

SIDE = 8
"""The least side of an image that it is defined for."""

_SCALES = 6
_C2 = 0.0009

# To linear responses of three cones from linear R, G, B, and what is added before the cube root.
_ONE = np.float32(1)
_CONES = np.array(
    [
        [0.3, _ONE - np.float32(0.078) - np.float32(0.3), 0.078],
        [0.23, _ONE - np.float32(0.078) - np.float32(0.23), 0.078],
        [0.24342268924547819, 0.20476744424496821, 0],
    ],
    np.float32,
)
_CONES[2, 2] = _ONE - _CONES[2, 0] - _CONES[2, 1]
_BIAS = np.float32(0.0037930732552754493)

# The curve of sRGB (IEC 61966-2-1) above its straight part, a quotient of polynomials: within
# 6e-6 of it.
_NUMERATOR = (2.200248328e-04, 1.043637593e-02, 1.624820318e-01, 7.961564959e-01, 8.210152774e-01)
_DENOMINATOR = (2.631846970e-01, 1.076976492, 4.987528350e-01, -5.512498495e-02, 6.521209011e-03)

# For X, Y and B - Y, scale by scale: structure, added and lost edges by their means, and again by
# their fourth powers.
# fmt: off
_WEIGHTS = np.array([
    0, 0.0007376606707406586, 0, 0, 0.0007793481682867309, 0,
    0, 0.0004371155730107379, 0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752,
    0, 0.0016406437456599754, 0, 1.8422455520539298, 11.441172603757666, 0,
    0.0007989109436015163, 0.000176816438078653, 0, 1.8787594979546387, 10.94906990605142, 0,
    0.0007289346991508072, 0.9677937080626833, 0,
    0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053,
    0.0004550992113792063, 0, 0, 0.0013648766163243398, 0, 0,

    0, 0, 0, 7.466890328078848, 0, 17.445833984131262,
    0.0006235601634041466, 0, 0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264,
    225.20515300849274, 0, 0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985,
    176.39317598450694, 0, 0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408,
    0, 0, 0, 34.77906344483772, 44.835625328877896, 0,
    0, 0, 0, 0, 0, 0,

    0, 0.0008680556573291698, 0, 0, 0, 0,
    0, 0.0005313191874358747, 0, 0.00016533814161379112, 0, 0,
    0, 0, 0, 0.0004179171803251336, 0.0017290828234722833, 0,
    0.0020827005846636437, 0, 0, 8.826982764996862, 23.19243343998926, 0,
    95.1080498811086, 0.9863978034400682, 0.9834382792465353,
    0.0012286405048278493, 171.2667255897307, 0.9807858872435379,
    0, 0, 0, 0.0005130064588990679, 0, 0.00010854057858411537,
])
# fmt: on


def ssimulacra2(reference: Image, distorted: Image) -> float | None:
    """Return the score of a distorted image.

    Parameters
    ----------
    reference, distorted
        uint8, H x W x 3, sRGB.

    Returns
    -------
    At most 100; nothing where a side has less than `SIDE` samples.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    check_alike(reference, distorted)
    # The planes of both images at each scale. The side is looked at before it is halved: at the
    # last scale it may be of four samples.
    pairs: list[tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]] = []
    linear = [_linear()[image.transpose(2, 0, 1)] for image in (reference, distorted)]
    while len(pairs) < _SCALES and min(linear[0].shape[1:]) >= SIDE:
        linear = [_halved(planes) for planes in linear] if pairs else linear
        pairs.append((_xyb(linear[0]), _xyb(linear[1])))
    if not pairs:
        return None
    # With fewer scales, the program takes its weights from the front of the list, one after
    # another: those of Y are then not those that were meant for Y. A score is what it says.
    weights = _WEIGHTS[: 18 * len(pairs)].reshape(3, len(pairs), 2, 3)
    total = 0.0
    for scale, planes in enumerate(pairs):
        for plane, (x, y) in enumerate(zip(*planes, strict=True)):
            total += _weighted(x, y, weights[plane, scale])
    total *= 0.9562382616834844
    error = 2.326765642916932 * total - 0.020884521182843837 * total**2
    error += 6.248496625763138e-05 * total**3
    return float(100 - 10 * max(error, 0) ** 0.6276336467831387)


class Ssimulacra2(Metric):
    """SSIMULACRA 2, as libjxl computes it."""

    name = "ssimulacra2"
    label = "SSIMULACRA 2"
    least_side = SIDE
    identical = 100.0

    def prepare(self, reference: Image) -> Compare:
        return partial(ssimulacra2, reference)


@cache
def _linear() -> NDArray[np.float32]:
    """Linear light of each 8-bit code."""
    code = np.arange(256, dtype=np.float32) * (_ONE / np.float32(255))
    above, below = (np.full(256, terms[-1], np.float32) for terms in (_NUMERATOR, _DENOMINATOR))
    for i in (3, 2, 1, 0):
        above = fused(above, code, np.float32(_NUMERATOR[i]))
        below = fused(below, code, np.float32(_DENOMINATOR[i]))
    light = np.where(code > np.float32(0.04045), above / below, code * (_ONE / np.float32(12.92)))
    return light.astype(np.float32)


def _halved(planes: Planes) -> Planes:
    """2x2 means; the last row or column of an odd side counts twice."""
    height, width = planes.shape[1:]
    if height % 2 or width % 2:
        planes = np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    sums = planes[:, ::2, ::2] + planes[:, ::2, 1::2]
    sums += planes[:, 1::2, ::2]
    sums += planes[:, 1::2, 1::2]
    return sums * np.float32(0.25)


def _xyb(linear: Planes) -> list[NDArray[np.float32]]:
    """X, Y and B - Y, each brought to about 0 to 1, of linear R, G and B."""
    red, green, blue = linear
    long, medium, short = (
        _root(fused(r, red, fused(g, green, fused(b, blue, _BIAS)))) for r, g, b in _CONES
    )
    x, y = np.float32(0.5) * (long - medium), np.float32(0.5) * (long + medium)
    return [
        x * np.float32(14) + np.float32(0.42),
        y + np.float32(0.01),
        (short - y) + np.float32(0.55),
    ]


def _root(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cube root less that of the bias, by Newton's method for 1 / root, as libjxl does it."""
    third = np.float32(1 / 3)
    # A first guess: the exponent times -1/3, with the bits of a float taken for an integer.
    guess = np.int32(0x54800000) - (x.view(np.int32) >> 23) * np.int32(0x2AAAAA)
    inverse = guess.view(np.float32)
    for _ in range(3):
        square = inverse * inverse
        inverse = fused(-third * x, square * square, np.float32(4 / 3) * inverse)
    square = inverse * inverse
    inverse = fused(third, fused(-x, square * square, inverse), inverse)
    return fused(inverse * inverse, x, -np.cbrt(_BIAS))


def _weighted(
    x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float64]
) -> float:
    """The weighted figures of a plane x of the reference and y of the distorted image.

    `weights` of shape (2, 3): by the means and by the fourth powers, of structure, added and lost
    edges. What has no weight is not computed.
    """
    structure, added, lost = weights.any(axis=0)
    total = 0.0
    if structure:
        mean_x, mean_y, xx, yy, xy = recursive(np.stack([x, y, x * x, y * y, x * y]))
        difference = mean_x - mean_y
        covariance = xy - mean_x * mean_y
        variances = (xx - mean_x * mean_x) + (yy - mean_y * mean_y)
        similar = (1 - difference * difference) * (2 * covariance + _C2) / (variances + _C2)
        total += _norms(np.maximum(1 - similar, 0), weights[:, 0])
    elif added or lost:
        mean_x, mean_y = windowed(np.stack([x, y]))  # rounding does not show in edges
    if added or lost:
        edges = (1 + np.abs(y - mean_y)) / (1 + np.abs(x - mean_x)) - 1
        if added:
            total += _norms(np.maximum(edges, 0), weights[:, 1])
        if lost:
            total += _norms(np.maximum(-edges, 0), weights[:, 2])
    return total


def _norms(errors: NDArray[np.float32], weights: NDArray[np.float64]) -> float:
    """The mean, and the fourth root of the mean of the fourth powers, weighted."""
    mean = errors.mean(dtype=np.float64)
    fourth = np.square(np.square(errors, dtype=np.float64)).mean()
    return float(weights[0] * mean + weights[1] * fourth**0.25)
