"""Distortions to train on: MSE, SSIM and MS-SSIM of 8-bit RGB, differentiable.

`metrics.builtin` measures; these serve training, so that crops may be smaller than the metric
asks for: MS-SSIM takes as many of its five scales as fit, with the weights of those made to sum
to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIDE = 11
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of each image, in squared 8-bit steps: B x 3 x H x W to B."""
    return (x - y).square().mean((1, 2, 3))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of each image, mean over R, G and B: B x 3 x H x W (0..255) to B."""
    structure, luminance = _terms(x, y)
    return (structure * luminance).mean((1, 2, 3))


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """MS-SSIM of each image, mean over R, G and B, at the scales that fit: as `ssim`."""
    side = min(x.shape[-2:])
    scales = sum(side // 2**scale >= _SIDE for scale in range(len(_WEIGHTS)))
    if scales == 0:
        raise ValueError(f"MS-SSIM needs {_SIDE} pixels a side, not {side}")
    total = sum(_WEIGHTS[:scales])
    result = torch.ones(x.shape[:2], device=x.device)
    for scale, weight in enumerate(_WEIGHTS[:scales]):
        if scale:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
        structure, luminance = _terms(x, y)
        term = structure * luminance if scale == scales - 1 else structure
        # A negative mean has no root; a small floor keeps the gradient finite.
        result = result * term.mean((2, 3)).clamp_min(1e-4) ** (weight / total)
    return result.mean(1)


def _terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The contrast-structure term and the luminance term of SSIM at each position."""
    # Centred samples: float32 then keeps more of the products whose difference is sought.
    x, y = x.float() - 128, y.float() - 128
    stack = _blurred(torch.cat([x, y, x * x, y * y, x * y]))
    mean_x, mean_y, xx, yy, xy = stack.chunk(5)
    structure = (2 * (xy - mean_x * mean_y) + _C2) / (
        (xx - mean_x.square()) + (yy - mean_y.square()) + _C2
    )
    mean_x, mean_y = mean_x + 128, mean_y + 128
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    return structure, luminance


def _blurred(x: Tensor) -> Tensor:
    # A product with a banded matrix: on a CPU many times as fast as a convolution.
    rows, columns = (_window(side, x.dtype, x.device) for side in x.shape[-2:])
    return rows.T @ (x @ columns)


@lru_cache(maxsize=32)
def _window(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The Gaussian at each position where it fits: side x (side - 10)."""
    offset = torch.arange(side)[:, None] - torch.arange(side - _SIDE + 1)[None] - _SIDE // 2
    window = torch.exp(-offset.square() / (2 * 1.5**2)) * (offset.abs() <= _SIDE // 2)
    return (window / window.sum(0)).to(device, dtype)


# Weights of (MSE, 1 - SSIM, 1 - MS-SSIM) that give gradients of like size at medium rates.
_MIXES = {
    "mse": (1.0, 0.0, 0.0),
    "ssim": (0.0, 500.0, 0.0),
    "ms-ssim": (0.0, 0.0, 2000.0),
    "mse+ms-ssim": (0.3, 0.0, 900.0),
}
LOSSES = tuple(_MIXES)
"""What a training can minimise."""


def distortion(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The distortion of a name in `LOSSES`: B x 3 x H x W twice (0..255) to B.

    All are scaled so that at about 0.4 bpp they are of the order of the MSE in squared 8-bit steps;
    so one Lagrange multiplier asks of each for about the same rate.
    """
    a, b, c = _MIXES[name]

    def loss(x: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(x.shape[0], device=x.device)
        if a:
            total = total + a * mse(x, y)
        if b:
            total = total + b * (1 - ssim(x, y))
        if c:
            total = total + c * (1 - ms_ssim(x, y))
        return total

    return loss
