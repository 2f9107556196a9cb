"""Coefficients as code channels: whole numbers of steps, written in balanced ternary.

The binarizer of the paper asks one question of each feature. A coefficient, such as that of a
transform, has a size; its channels are the digits of the whole number nearest to it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PLACES = 4
"""Digits that a coefficient has at most."""
HIGHEST = 4
"""The highest digit goes so far."""
_LARGEST = (3 ** (PLACES + 1) - 1) // 2


def reach_of(places: int) -> int:
    """The largest number that so many digits can write."""
    return int(3 ** (places + 1) - 1) // 2


class Digits(nn.Module):
    """Code channels as the digits of coefficients, in balanced ternary.

    A coefficient is quantised to v whole steps, v the sum of d_j 3^j with d_j in {-1, 0, 1}. Each
    digit has two channels, one for 1 and one for -1. So a coefficient near 0 has channels of 0
    only, and a decoder that adds up what each channel stands for is linear. Of the rare large
    coefficient the highest digit takes what is left, up to 4: such a channel is 2, 3 or 4.

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
        """Coefficients in steps, B x coefficients x H x W, to their digits, B x n x H x W."""
        zero, other = self.threshold[point][..., None, None].unbind(1)
        return _Quantiser.apply(z, zero, other, self)  # type: ignore[no-any-return,no-untyped-call]

    def of(self, v: Tensor) -> Tensor:
        """The digits of whole numbers of steps; those out of reach become the nearest in reach.

        Of the first coefficients, B x any x H x W, the digits of these.
        """
        own = self.coefficient < v.shape[1]
        coefficient, place, sign = (x[own] for x in (self.coefficient, self.place, self.sign))
        places = place.new_zeros(v.shape[1]).index_add_(0, coefficient, (sign > 0).to(place.dtype))
        reach = ((3 ** (places + 1) - 1) // 2).to(v.dtype).view(-1, 1, 1)
        whole = torch.arange(-_LARGEST, _LARGEST + 1, device=v.device)
        # What is left when the digits below are taken away, and the lowest digit of that.
        unit = 3 ** place[:, None]
        rest = torch.div(whole + unit // 2, unit, rounding_mode="floor")
        highest = (place + 1 == places[coefficient])[:, None]
        digit = torch.where(highest, rest, (rest + 1) % 3 - 1)
        table = (digit * sign[:, None]).clamp_min(0).to(v.dtype)
        number = (v.clamp(-reach, reach) + _LARGEST).long()[:, coefficient]
        number += len(whole) * torch.arange(len(table), device=v.device).view(-1, 1, 1)
        return table.view(-1)[number]

    def of_real(self, v: Tensor) -> Tensor:
        """The same of numbers with a fraction: it is added to the lowest digit.

        The fraction is what the nearest whole number lacks; gradients are those of the fraction.
        """
        whole = v.detach().round()
        own = self.coefficient < v.shape[1]
        lowest = (self.sign * (self.place == 0))[own].view(-1, 1, 1)
        left = (v - whole)[:, self.coefficient[own]] * lowest
        return self.of(whole) + left.clamp_min(0)


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
