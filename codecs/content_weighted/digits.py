"""Coefficients as code channels: whole numbers of steps, written in balanced ternary.

The binarizer of the paper asks one question of each feature. A coefficient, such as that of a
transform, has a size; its channels are the digits of the whole number nearest to it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PLACES = 4
"""Digits that a coefficient has at most: four reach 40 steps either way."""
_LARGEST = (3**PLACES - 1) // 2


class Digits(nn.Module):
    """Code channels as the digits of coefficients, in balanced ternary.

    A coefficient is quantised to v whole steps, v the sum of d_j 3^j with d_j in {-1, 0, 1}. Each
    digit has two channels, one for 1 and one for -1. So a coefficient near 0 has channels of 0
    only, and a decoder that adds up what each channel stands for is linear.

    Its buffers describe the n channels, in their order: `coefficient`, `place` and `sign`. A
    coefficient has all places below its highest, and both signs of each.

    Parameters
    ----------
    n
        Number of channels.
    points
        Number of operating points.
    coefficients
        Number of coefficients.

    Attributes
    ----------
    threshold
        points x 2 x coefficients. A coefficient of z steps becomes ±1 where abs(z) exceeds the
        first (a dead zone around 0 pays, since a 0 costs few bits), and goes from k to k + 1 where
        it exceeds k plus the second.
    """

    coefficient: Tensor
    place: Tensor
    sign: Tensor

    def __init__(self, n: int, points: int, coefficients: int) -> None:
        super().__init__()
        self.coefficients = coefficients
        for name in ("coefficient", "place", "sign"):
            self.register_buffer(name, torch.zeros(n, dtype=torch.int64))
        self.threshold = nn.Parameter(torch.full((points, 2, coefficients), 0.5))

    def forward(self, z: Tensor, point: Tensor) -> Tensor:
        """Coefficients in steps, B x coefficients x H x W, to bits, 0 or 1, B x n x H x W."""
        zero, other = self.threshold[point][..., None, None].unbind(1)
        return _Quantiser.apply(z, zero, other, self)  # type: ignore[no-any-return,no-untyped-call]

    def whole(self, z: Tensor, point: Tensor) -> Tensor:
        """Coefficients in steps as whole numbers of them, whether digits reach these or not."""
        zero, other = self.threshold[point][..., None, None].unbind(1)
        return _whole(z, zero, other)

    def of(self, v: Tensor) -> Tensor:
        """The bits of whole numbers of steps; those out of reach become the nearest in reach."""
        reach = v.new_zeros(self.coefficients)
        reach.index_add_(0, self.coefficient, (3**self.place * (self.sign > 0)).to(v.dtype))
        reach = reach.view(-1, 1, 1)
        # Balanced digits are those of v plus 11...1 in base 3, less 1.
        whole = torch.arange(2 * _LARGEST + 1, device=v.device)
        digit = (whole // 3 ** self.place[:, None]) % 3 - 1
        table = (digit == self.sign[:, None]).to(v.dtype)
        number = (v.clamp(-reach, reach) + _LARGEST).long()[:, self.coefficient]
        number += len(whole) * torch.arange(len(table), device=v.device).view(-1, 1, 1)
        return table.view(-1)[number]


def _whole(z: Tensor, zero: Tensor, other: Tensor) -> Tensor:
    size = z.abs()
    return z.sign() * torch.floor(size - other + 1).clamp_min(1) * (size > zero)


class _Quantiser(torch.autograd.Function):
    """Quantises, with a gradient written by hand: that of a smoothed loss.

    The loss jumps where a coefficient crosses a boundary between v and v + 1. Smoothed over one
    step to either side, by a triangle, it has as derivative by the coefficient the jumps at the
    boundaries next to it, each weighted by 1 less the distance; by the boundary, the same with the
    other sign. How high the jumps are is told, to the first order, by the gradient of the bits that
    change.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, zero: Tensor, other: Tensor, digits: Digits) -> Tensor:
        v = _whole(z, zero, other)
        ctx.save_for_backward(z, zero, other, v)
        ctx.digits = digits
        return digits.of(v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (z, zero, other, v), (gradient,), digits = ctx.saved_tensors, gradients, ctx.digits
        below, here, above = (digits.of(v + step) for step in (-1, 0, 1))
        slope = torch.zeros_like(z)
        by_zero, by_other = torch.zeros_like(z), torch.zeros_like(z)
        # Upwards, then downwards, where all is the same for -z and -v.
        for direction, change in ((1, above - here), (-1, here - below)):
            jump = torch.zeros_like(z).index_add_(1, digits.coefficient, gradient * change)
            towards = direction * v
            at_zero = (towards == 0) | (towards == -1)
            outwards = torch.where(towards >= 0, 1.0, -1.0)
            whole = torch.where(at_zero, 0.0, towards + (towards < 0))
            boundary = whole + outwards * torch.where(at_zero, zero, other)
            weighted = jump * (1 - (boundary - direction * z).abs()).clamp_min(0)
            slope += weighted
            moved = direction * outwards * weighted
            by_zero -= moved * at_zero
            by_other -= moved * ~at_zero
        total = (2, 3)
        return slope, by_zero.sum(total, True), by_other.sum(total, True), None
