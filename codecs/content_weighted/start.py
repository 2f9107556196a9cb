"""A start from what is known: the linear path as a discrete cosine transform.

The coefficients are those of the 8x8 DCT of Y, Cb and Cr, in steps that suit each operating point.
Which there are, with how many digits, and the order of the code channels are computed from
photographs: coefficients that are rarely other than 0 come last, because the importance map keeps
the first channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lic_bench.codecs.content_weighted.model import STRIDE, ContentWeightedNet

# Rows: Y, Cb, Cr of JPEG (ITU-T T.871) from R, G, B.
_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_RGB = np.linalg.inv(_YCBCR)
_FINEST_STEP = 24.0  # of orthonormal coefficients, in 8-bit steps: that of the highest rate
_CHROMA_STEP = 1.25  # chroma is coarser by this factor


def step_of(multiplier: float) -> float:
    """The step that suits a Lagrange multiplier (MSE in squared 8-bit steps per bit per pixel).

    At high rate a uniform quantiser of step s has the error s²/12 and, over three samples a pixel,
    the slope dMSE/dbpp = -2 ln 2 s²/36.
    """
    return float(np.sqrt(multiplier * 36 / (2 * np.log(2))))


def blocks(images: list[Tensor], count: int, seed: int) -> NDArray[np.float32]:
    """Orthonormal DCT coefficients of blocks at random places: count x 3 x 8 x 8 (Y, Cb, Cr)."""
    rng = np.random.default_rng((seed, 3))
    taken = []
    side = np.arange(STRIDE)
    shares = np.bincount(rng.integers(len(images), size=count), minlength=len(images))
    for image, share in zip(images, shares, strict=True):
        height, width, _ = image.shape
        top = rng.integers(height - STRIDE + 1, size=(share, 1, 1))
        left = rng.integers(width - STRIDE + 1, size=(share, 1, 1))
        taken.append(image.cpu().numpy()[top + side[:, None], left + side])
    colours = np.concatenate(taken) - np.float32(127.5)
    planes = colours @ _YCBCR.T.astype(np.float32)
    pixels = planes.transpose(0, 3, 1, 2).reshape(-1, STRIDE**2)
    both = np.kron(_dct(), _dct()).astype(np.float32)  # one product for rows and columns
    coefficients: NDArray[np.float32] = (pixels @ both.T).reshape(count, 3, STRIDE, STRIDE)
    return coefficients


def _dct() -> NDArray[np.float64]:
    k = np.arange(STRIDE)
    matrix: NDArray[np.float64] = np.cos((2 * k[None] + 1) * k[:, None] * np.pi / (2 * STRIDE)) / 2
    matrix[0] /= np.sqrt(2)
    return matrix


@dataclass(frozen=True)
class Layout:
    """The code channels of a DCT codec: for each its coefficient, place and sign."""

    coefficients: list[int]
    """Index into Y, Cb, Cr x 8 x 8 of each coefficient that there is."""
    channels: list[tuple[int, int, int]]
    """Position in `coefficients`, place and sign of each code channel."""


def layout(x: NDArray[np.float32], n: int) -> Layout:
    """Distribute n channels over coefficients, so that all saturate about equally often.

    Parameters
    ----------
    x
        DCT coefficients as of `blocks`.
    n
        Number of code channels, even; all are used.
    """
    flat = np.abs(x.reshape(len(x), -1)) / _FINEST_STEP
    flat[:, STRIDE**2 :] /= _CHROMA_STEP
    # Half of the blocks, those with more detail: the others would hide the need for digits.
    detail = (flat[:, 1 : STRIDE**2] ** 2).sum(1)
    flat = flat[detail >= np.median(detail)]
    reach = np.array([0.6, 1.6, 4.6, 13.6])  # of 0 to 3 places, in steps
    ordered = np.sort(flat, axis=0)
    for share in (*np.linspace(0.9999, 0.9, 1000), *np.linspace(0.9, 0, 200)):
        needed = ordered[int(share * (len(flat) - 1))]
        places = np.searchsorted(reach, needed)
        places[0] = len(reach)  # black to white
        if 2 * places.sum() <= n:
            break
    often = (flat > reach[0]).mean(0)
    often[0] = np.inf
    for most in range(1, len(reach) + 1):
        for index in np.argsort(-often):
            if 2 * places.sum() + 2 <= n:
                places[index] = max(places[index], most)
    # The means of a block come first: whatever else is cut off, its colour should be right.
    often[:: STRIDE**2] += 1
    coefficients = [int(i) for i in np.argsort(-often) if places[i]]
    channels = [
        (position, place, sign)
        for position, index in enumerate(coefficients)
        for place in reversed(range(places[index]))
        for sign in (1, -1)
    ]
    return Layout(coefficients, channels)


def start(net: ContentWeightedNet, multipliers: list[float], found: Layout) -> None:
    """Set a network with a linear path to a DCT codec, each operating point to its step."""
    dct = _dct()
    inside = slice(4, 12)
    analysis = np.zeros((len(found.coefficients), 3, 16, 16))
    for i, index in enumerate(found.coefficients):
        plane, row, column = np.unravel_index(index, (3, STRIDE, STRIDE))
        unit = _FINEST_STEP * (_CHROMA_STEP if plane else 1.0)
        basis = np.outer(dct[row], dct[column])
        analysis[i, :, inside, inside] = np.multiply.outer(_YCBCR[plane], basis) / unit
    synthesis = np.zeros((len(found.channels), 3, 16, 16))
    for k, (i, place, sign) in enumerate(found.channels):
        plane, row, column = np.unravel_index(found.coefficients[i], (3, STRIDE, STRIDE))
        unit = _FINEST_STEP * (_CHROMA_STEP if plane else 1.0) * sign * 3**place
        basis = np.outer(dct[row], dct[column])
        synthesis[k, :, inside, inside] = np.multiply.outer(_RGB[:, plane], basis) * unit
    ratio = torch.tensor([_FINEST_STEP / step_of(m) for m in multipliers]).clamp_max(1)
    digits = net.digits
    with torch.no_grad():
        net.analysis.weight.copy_(torch.from_numpy(analysis * 127.5))
        net.synthesis.weight.copy_(torch.from_numpy(synthesis / 127.5))
        net.log_gain.add_(ratio.log()[:, None])
        net.log_code_gain.sub_(ratio.log()[:, None])
        for buffer, values in zip(
            (digits.coefficient, digits.place, digits.sign),
            zip(*found.channels, strict=True),
            strict=True,
        ):
            buffer.copy_(torch.tensor(values))
        # A dead zone, except for the mean.
        digits.threshold.fill_(0.6)
        digits.threshold[..., found.coefficients.index(0)] = 0.5
        net.conv4.weight.mul_(0.02)
        list(net.decoder.parameters())[-2].mul_(0.02)  # the last weights; its bias is 0
