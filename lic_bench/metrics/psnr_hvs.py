"""PSNR-HVS and PSNR-HVS-M: the error of 8x8 DCT coefficients, weighted as eyes see them.

PSNR-HVS: K. Egiazarian, J. Astola, N. Ponomarenko, V. Lukin, F. Battisti, M. Carli, "New
full-reference quality metrics based on HVS", VPQM 2006. PSNR-HVS-M, where what is masked by the
coefficients beside it counts less: N. Ponomarenko, F. Silvestri, K. Egiazarian, M. Carli, J.
Astola, V. Lukin, "On between-coefficient contrast masking of DCT basis functions", VPQM 2007,
equations 1 to 5. Both tables of weights there follow from JPEG's table of luma quantisers (ITU-T
T.81, table K.1): 25.73509 / Q, and the square of 10 / Q.

In dB, higher is better; infinite where nothing can be seen. The JPEG AI common test conditions use
PSNR-HVS of `lic_bench.metrics.colour.jpeg_ai_luma`. libvmaf's `psnr_hvs` is another metric (Xiph's:
other weights, masking, and overlapping blocks).

Largest difference from psnr-hvsm 0.3.0 over 48 pairs of Kodak images: 0.0001 dB for both.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric, Score, Value
from lic_bench.metrics.colour import Plane, check_alike, seen_by_jpeg_ai, studio_luma

_PEAK = 255.0
_QUANTISERS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_SEEN = 25.73509 / _QUANTISERS
_MASKS = (10 / _QUANTISERS) ** 2


def psnr_hvs(reference: Plane, distorted: Plane) -> tuple[float, float]:
    """Return PSNR-HVS and PSNR-HVS-M of a plane, in dB.

    Parameters
    ----------
    reference, distorted
        Float, H x W, of 0 to 255. Edges are repeated up to a multiple of 8.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    check_alike(reference, distorted)
    blocks = [_blocks(plane) for plane in (reference, distorted)]
    first, second = (_cosines(each) for each in blocks)
    error = np.abs(first - second)
    masking = [_masking(*each) for each in zip(blocks, (first, second), strict=True)]
    # What a coefficient of each place may differ by unseen.
    unseen = np.maximum(*masking)[:, None, None] / _MASKS
    unseen[:, 0, 0] = 0
    seen = np.maximum(error - unseen, 0)
    return _db(error * _SEEN), _db(seen * _SEEN)


class PsnrHvs(Metric):
    """PSNR-HVS and PSNR-HVS-M of BT.601 luma as 8-bit video has it."""

    name = "psnr_hvs"
    label = "PSNR-HVS, PSNR-HVS-M"
    scores = (Score("psnr_hvs", "PSNR-HVS", "dB"), Score("psnr_hvs_m", "PSNR-HVS-M", "dB"))
    identical = math.inf
    symmetric = True

    def prepare(self, reference: Image) -> Compare:
        x = studio_luma(reference)

        def compare(distorted: Image) -> dict[str, Value]:
            both = psnr_hvs(x, studio_luma(distorted))
            return dict(zip(("psnr_hvs", "psnr_hvs_m"), both, strict=True))

        return compare


class JpegAiPsnrHvs(Metric):
    """PSNR-HVS, without masking, of the luma that JPEG AI takes."""

    name = "jpegai_psnr_hvs"
    label = "PSNR-HVS (JPEG AI)"
    unit = "dB"
    identical = math.inf
    symmetric = True

    def prepare(self, reference: Image) -> Compare:
        x = seen_by_jpeg_ai(reference)
        return lambda distorted: psnr_hvs(x, seen_by_jpeg_ai(distorted))[0]


def _blocks(plane: Plane) -> NDArray[np.float64]:
    """Blocks of 8x8, N x 8 x 8."""
    height, width = plane.shape
    plane = np.pad(plane, ((0, -height % 8), (0, -width % 8)), mode="edge")
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    return plane.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)


def _cosines(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The orthonormal DCT of each block."""
    k, n = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    basis = np.cos(np.pi * k * (2 * n + 1) / 16) / 2
    basis[0] /= math.sqrt(2)
    return np.asarray(basis @ blocks @ basis.T)


def _masking(blocks: NDArray[np.float64], cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each block masks, shape (N,): less where an edge runs through it."""
    energy = (cosines**2 * _MASKS).sum(axis=(1, 2)) - cosines[:, 0, 0] ** 2 * _MASKS[0, 0]
    quarters = blocks.reshape(-1, 2, 4, 2, 4).var(axis=(2, 4)).sum(axis=(1, 2)) * 16
    whole = blocks.var(axis=(1, 2)) * 64
    evenness = np.divide(quarters, whole, out=np.zeros_like(whole), where=whole > 0)
    # The unbiased variances of the definition, whose factors 16/15 and 64/63 are left.
    return np.asarray(np.sqrt(energy * evenness * (16 / 15 * 63 / 64)) / 32)


def _db(error: NDArray[np.float64]) -> float:
    mean = float((error**2).mean())
    return 10 * math.log10(_PEAK**2 / mean) if mean > 0 else math.inf
