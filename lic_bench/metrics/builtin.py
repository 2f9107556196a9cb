"""How far a decoded image is from its original.

Everything is computed on 8-bit RGB, which is what a user gets. Luma is full-range and not rounded:
Y = 0.299 R + 0.587 G + 0.114 B (BT.601) or 0.2126 R + 0.7152 G + 0.0722 B (BT.709).

==============  ====================================================================================
mse_rgb         mean squared error over all samples of R, G and B, in squared 8-bit steps
psnr_rgb_db     10 log10(255² / mse_rgb), in dB; infinite where the images are equal
psnr_y_db       the same for the luma of BT.601
psnr_y709_db    the same for the luma of BT.709
ssim_rgb        SSIM, mean over R, G and B; in [-1, 1]
ssim_y          SSIM of the luma of BT.601
ms_ssim_rgb     MS-SSIM, mean over R, G and B; in [0, 1]
ms_ssim_y       MS-SSIM of the luma of BT.601
==============  ====================================================================================

SSIM: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
structural similarity", IEEE TIP 2004: eq. 13 with an 11x11 Gaussian window of 1.5 samples, K1 =
0.01, K2 = 0.03, population covariance, averaged over the positions where the window lies inside
the image. MS-SSIM: Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality
assessment", Asilomar 2003: eq. 7 with the five weights of section 3.2; between scales 2x2 means;
negative terms count as 0 (as in pytorch-msssim).

A metric that an image is too small for is missing (``None``): SSIM needs 11 samples a side, MS-SSIM
161.

The arithmetic is written once, against the array API standard, and runs on NumPy arrays and on
torch tensors of any device; but for the Gaussian filter, which is `lic_bench.metrics.gaussian`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import cv2
import numpy as np
from array_api_compat import array_namespace, device

from lic_bench.metrics.gaussian import WINDOW, local_means

METRICS = (
    "mse_rgb",
    "psnr_rgb_db",
    "psnr_y_db",
    "psnr_y709_db",
    "ssim_rgb",
    "ssim_y",
    "ms_ssim_rgb",
    "ms_ssim_y",
)
"""The names of the metrics, which are the names of their columns."""

VERSION = 1
"""Raised whenever a metric's value would change, so that stores compute it anew."""

AnyArray = Any
"""An array of any library that follows the array API standard."""

PerImage = np.ndarray[Any, np.dtype[np.float64]]
"""One figure for each image of a batch, on the host."""

_BT601 = (0.299, 0.587, 0.114)
_BT709 = (0.2126, 0.7152, 0.0722)
_PEAK = 255.0
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SSIM_SIDE = WINDOW
MS_SSIM_SIDE = (WINDOW - 1) * 2 ** (len(_SCALE_WEIGHTS) - 1) + 1

# Samples are centred on zero: float32 then keeps more of the products whose difference is sought.
CENTRE = 128.0

# Samples of a plane that are worked on at a time, so that a dozen arrays of them fit the cache of
# one core: several workers share the memory's bandwidth.
_STRIP = 1 << 17


class Reference:
    """The original images of a batch, and what the metrics need of them, computed once.

    Parameters
    ----------
    images
        uint8 array or tensor, N x H x W x 3, sRGB.
    """

    def __init__(self, images: AnyArray) -> None:
        self._shape, self._rgb = images.shape, _rgb(images)
        centred = [plane - CENTRE for plane in self._rgb]
        self._planes = [ReferencePlane(plane) for plane in [*centred, _luma(centred)]]

    def compare(self, decoded: AnyArray) -> list[dict[str, float | None]]:
        """Measure decoded images against the originals.

        Parameters
        ----------
        decoded
            uint8 array or tensor of the originals' shape and device.

        Returns
        -------
        One dictionary an image with the value of each name in `METRICS`.

        Raises
        ------
        ValueError
            Where the shapes differ.
        """
        if decoded.shape != self._shape:
            raise ValueError(
                f"decoded has shape {tuple(decoded.shape)}, the original {tuple(self._shape)}"
            )
        errors = _rgb(decoded)
        for error, plane in zip(errors, self._rgb, strict=True):
            error -= plane
        results = [_psnrs(moments) for moments in _moments(errors)]
        similarities = [
            plane.compare(error)
            for plane, error in zip(self._planes, [*errors, _luma(errors)], strict=True)
        ]
        for i, result in enumerate(results):
            for j, name in enumerate(("ssim", "ms_ssim")):
                *rgb, luma = (similarity[j][i] for similarity in similarities)
                present = [value for value in rgb if value is not None]
                result[f"{name}_rgb"] = sum(present) / 3 if present else None
                result[f"{name}_y"] = luma
        return results


def image_metrics(original: AnyArray, decoded: AnyArray) -> dict[str, float | None]:
    """Measure one decoded image against its original: both uint8, H x W x 3."""
    return Reference(original[None, ...]).compare(decoded[None, ...])[0]


def _moments(errors: Sequence[AnyArray]) -> AnyArray:
    """The mean products of the errors N x H x W in R, G and B: N x 3 x 3 float64 on the host.

    The mean squared error of every linear combination of R, G and B follows from them, and of R, G
    and B themselves exactly: all sums are of integers below 2^53.
    """
    n, height, width = errors[0].shape
    own = [_sum_of_squares(error) for error in errors]
    products = np.empty((n, 3, 3))
    for i, j in combinations_with_replacement(range(3), 2):
        apart = _sum_of_squares(errors[i] - errors[j]) if i != j else 0.0
        products[:, i, j] = products[:, j, i] = (own[i] + own[j] - apart) / 2
    return products / (height * width)


def _psnrs(moments: AnyArray) -> dict[str, float | None]:
    luma601, luma709 = np.asarray(_BT601), np.asarray(_BT709)
    mse = float(np.trace(moments)) / 3
    return {
        "mse_rgb": mse,
        "psnr_rgb_db": _psnr(mse),
        "psnr_y_db": _psnr(float(luma601 @ moments @ luma601)),
        "psnr_y709_db": _psnr(float(luma709 @ moments @ luma709)),
    }


def _psnr(mse: float) -> float:
    return 10 * math.log10(_PEAK**2 / mse) if mse > 0 else math.inf


def _rgb(images: AnyArray) -> list[AnyArray]:
    """R, G and B of uint8 N x H x W x 3: float32, N x H x W each."""
    xp = array_namespace(images)
    return [xp.astype(images[..., i], xp.float32) for i in range(3)]


def _luma(rgb: Sequence[AnyArray]) -> AnyArray:
    """Y (BT.601) of R, G and B, or its error of theirs."""
    return _BT601[0] * rgb[0] + _BT601[1] * rgb[1] + _BT601[2] * rgb[2]


@dataclass(frozen=True)
class _Scale:
    """What SSIM needs of a plane x of the originals at one scale; see `ReferencePlane`."""

    twice_x: AnyArray
    twice_mean_x: AnyArray
    s_of_x: AnyArray
    t_of_x: AnyArray | None
    """Of the first scale, whose SSIM is a figure, and the last, where MS-SSIM has luminance."""


class ReferencePlane:
    """One plane x of the originals, centred on zero, at each scale.

    The decoded plane y enters by its error d = y - x. With m for local means, v for variances and
    cov(x, y) = v(x) + cov(x, d), the two factors of SSIM become

        contrast and structure  1 - v(d) / (s + v(d))      s = 2 v(x) + C2 + 2 cov(x, d)
        luminance               1 - m(d)^2 / (t + m(d)^2)  t = 2 m(x)^2 + C1 + 2 m(x) m(d)

    so that nothing large is subtracted from anything large where the images are alike, and float32
    suffices. (In t, m(x) is the mean of x as it was, in s that of the centred x.)
    """

    def __init__(self, plane: AnyArray) -> None:
        side = min(plane.shape[-2:])
        if side < _SSIM_SIDE:
            scales = 0
        elif side < MS_SSIM_SIDE:
            scales = 1
        else:
            scales = len(_SCALE_WEIGHTS)
        self._scales: list[_Scale] = []
        for scale in range(scales):
            plane = _halve(plane, border=-CENTRE) if scale else plane
            mean, square = local_means(plane), local_means(plane * plane)
            s = 2 * (square - mean * mean) + _C2
            t = 2 * (mean + CENTRE) ** 2 + _C1 if scale in (0, scales - 1) else None
            self._scales.append(_Scale(2 * plane, 2 * mean, s, t))

    def compare(self, error: AnyArray) -> tuple[Sequence[float | None], Sequence[float | None]]:
        """SSIM and MS-SSIM of each image's plane, N of each, from the error of N x H x W."""
        missing = [None] * error.shape[0]
        if not self._scales:
            return missing, missing
        found = []  # N figures a scale, without luminance and with it
        for scale, of_x in enumerate(self._scales):
            error = _halve(error, border=0.0) if scale else error
            found.append(_similarity(of_x, error))
        ms_ssim = missing
        if len(self._scales) == len(_SCALE_WEIGHTS):
            terms = np.stack([*(cs for cs, _ in found[:-1]), found[-1][1]])
            weights = np.asarray(_SCALE_WEIGHTS)[:, None]
            ms_ssim = np.prod(np.maximum(terms, 0) ** weights, axis=0).tolist()
        return found[0][1].tolist(), ms_ssim


def _similarity(of_x: _Scale, error: AnyArray) -> tuple[PerImage, PerImage]:
    """The means of contrast-and-structure and of SSIM over a plane; see `ReferencePlane`.

    Where the scale has no luminance, the two are the same.
    """
    _, height, width = of_x.twice_mean_x.shape
    lost_cs = lost_ssim = np.zeros(1)
    for top, bottom in _strips(of_x.twice_mean_x):
        d = error[:, top : bottom + WINDOW - 1, :]
        x = of_x.twice_x[:, top : bottom + WINDOW - 1, :]
        mean = local_means(d)
        mean_squared = mean * mean
        product = of_x.twice_mean_x[:, top:bottom, :] * mean
        variance = local_means(d * d) - mean_squared
        s = local_means(x * d) + of_x.s_of_x[:, top:bottom, :]
        s -= product
        s += variance
        variance /= s  # what contrast and structure lose
        lost_cs = lost_cs + _sum(variance)
        if of_x.t_of_x is None:
            continue
        t = 2 * CENTRE * mean
        t += product
        t += of_x.t_of_x[:, top:bottom, :]
        t += mean_squared
        mean_squared /= t  # what luminance loses
        lost_ssim = lost_ssim + _sum(mean_squared - mean_squared * variance)
    cs = 1 - lost_cs / (height * width)
    return cs, cs - lost_ssim / (height * width)


def _strips(plane: AnyArray) -> Iterator[tuple[int, int]]:
    """Rows from and to: on a CPU, as many at a time as its cache holds the arrays of."""
    _, height, width = plane.shape
    rows = height
    if str(device(plane)) == "cpu":
        rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _sum(maps: AnyArray) -> PerImage:
    """The sum of each of N x H x W maps."""
    if isinstance(maps, np.ndarray):
        return np.array([cv2.sumElems(one)[0] for one in maps])
    xp = array_namespace(maps)
    return np.asarray(xp.sum(maps, axis=(-2, -1), dtype=xp.float64).tolist())


def _sum_of_squares(maps: AnyArray) -> PerImage:
    """The sum of the squares of each of N x H x W maps of integers: an integer."""
    if isinstance(maps, np.ndarray):
        return np.rint([cv2.norm(one, cv2.NORM_L2SQR) for one in maps])
    xp = array_namespace(maps)
    return np.asarray(xp.sum(xp.astype(maps, xp.float64) ** 2, axis=(-2, -1)).tolist())


def _halve(plane: AnyArray, border: float) -> AnyArray:
    """2x2 means of N x H x W; an odd side is lengthened at its start by a sample of `border`."""
    xp = array_namespace(plane)
    for axis in (-2, -1):
        if plane.shape[axis] % 2:
            edge = plane[..., :1, :] if axis == -2 else plane[..., :1]
            plane = xp.concat([xp.full_like(edge, border), plane], axis=axis)
    if isinstance(plane, np.ndarray):
        half = plane.shape[-1] // 2, plane.shape[-2] // 2
        return np.stack([cv2.resize(one, half, interpolation=cv2.INTER_AREA) for one in plane])
    rows = plane[..., ::2, :] + plane[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4
