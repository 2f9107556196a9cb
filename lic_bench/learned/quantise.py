"""The two quantisers of content-weighted compression, with gradients written by hand.

M. Li, W. Zuo, S. Gu, D. Zhao, D. Zhang, "Learning convolutional networks for content-weighted image
compression", CVPR 2018, sections 3.1 and 3.2, and the authors' released layers (``Round`` and
``ImpMap`` of github.com/limuhit/ImageCompression). Where paper and release differ, the release is
followed, since it produced the published figures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# The release adds it before it rounds down, so that p = l/L lands on level l despite float32.
_EPSILON = 1e-5


class _Binarizer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, e: Tensor) -> Tensor:
        ctx.save_for_backward(e)
        return (e > 0.5).to(e.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (e,), (gradient,) = ctx.saved_tensors, gradients
        # Outside [0, 1] a gradient passes only where a descent along it leads back inside.
        blocked = ((e < 0) & (gradient > 0)) | ((e > 1) & (gradient < 0))
        return gradient.masked_fill(blocked, 0)


def binarize(e: Tensor) -> Tensor:
    """B = 1 where e > 0.5, else 0; backwards the gradient of the proxy clip(e, 0, 1).

    Paper, section 3.1. Any shape; the dtype is kept. Outside [0, 1], which a sigmoid never leaves,
    the gradient passes only where gradient descent would lead back inside, as in the release.
    """
    return _Binarizer.apply(e)  # type: ignore[no-any-return,no-untyped-call]


def importance_level(p: Tensor, levels: int) -> Tensor:
    """The quantised importance: 1 to L, int64, of p in [0, 1].

    The paper's Q(p) is l - 1 for p in [(l-1)/L, l/L), so that it can keep nothing. The release
    keeps at least one group of channels, and so does this: floor(L p) + 1, at most L.
    """
    return (torch.floor(p.detach() * levels + _EPSILON) + 1).clamp(1, levels).long()


class _ImportanceMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, n: int, levels: int) -> Tensor:
        kept = importance_level(p, levels) * (n // levels)
        ctx.save_for_backward(kept)
        ctx.n, ctx.levels = n, levels
        channel = torch.arange(n, device=p.device).view(1, n, 1, 1)
        return (channel < kept).to(p.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (kept,), (gradient,) = ctx.saved_tensors, gradients
        group = ctx.n // ctx.levels
        channel = torch.arange(ctx.n, device=gradient.device).view(1, ctx.n, 1, 1)
        window = (channel >= kept - group) & (channel < kept + group)
        total = (gradient * window).sum(1, keepdim=True)
        return ctx.levels * total, None, None


def importance_mask(p: Tensor, n: int, levels: int) -> Tensor:
    """The mask m_kij: 1 for the first `importance_level` groups of n/L channels, else 0.

    Paper, section 3.2. Backwards, as in the release,
    dloss/dp = L * sum of dloss/dm_k over k in [K - n/L, K + n/L), where K channels are kept.

    Parameters
    ----------
    p
        Importance in [0, 1], B x 1 x H x W.
    n
        Number of code channels, a multiple of `levels`.
    levels
        L.

    Returns
    -------
    B x n x H x W, of p's dtype.
    """
    if n % levels:
        raise ValueError(f"{n} code channels do not divide into {levels} groups")
    return _ImportanceMask.apply(p, n, levels)  # type: ignore[no-any-return,no-untyped-call]
