"""Convolutions in whole numbers: the same on every machine, with any number of threads.

Weights and activations are multiples of powers of two, so few and so small that every sum of
products is a whole number below 2^24 of its unit: float32 holds it without rounding, in whatever
order it is added up. After each layer it is rounded.

Convolutions that take a short cut (Winograd, FFT, TF32, bfloat16) would round. PyTorch's on a CPU
do not; `proven` makes sure. Elsewhere they are matrix products.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, unfold

from lic_bench.errors import UnavailableError

UNIT_BITS = 6
"""Binary places of an activation."""
MOST = (16 << UNIT_BITS) - 1
"""The largest size of an activation, in units."""
_EXACT = 1 << 24
_WEIGHT_UNITS = 4  # that the weights of a layer have in the mean, at least
_GAIN_BITS = 20


class Layer(NamedTuple):
    """A convolution in whole numbers, or a transposed one."""

    weights: list[Tensor]
    """For one part of the inputs after the other, each so few that sums are exact."""
    bias: Tensor
    scale: Tensor
    """Powers of two that turn its sums into units of the result."""
    padding: int
    doubling: bool
    """Whether it is a transposed convolution at a stride of 2."""


def layer(
    weight: Tensor, bias: Tensor, bits: int, device: torch.device, doubling: bool = False
) -> Layer:
    """A layer's weights in whole numbers, as fine as exact sums allow for each of its outputs.

    Parameters
    ----------
    weight, bias
        As torch has them.
    bits
        The binary places of the result.
    device
        Where it will run.
    doubling
        Whether it is a transposed convolution at a stride of 2 that doubles the sides, padded by
        half a kernel: with kernels of odd sides, one row and column more at the end.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """
    weight, bias = weight.double(), bias.double() * (1 << UNIT_BITS)
    if doubling:
        weight = weight.transpose(0, 1)
    mean = weight.abs().flatten(1).mean(1)
    for parts in range(1, weight.shape[1] + 1):
        pieces = list(weight.chunk(parts, 1))
        most = torch.stack([_largest_sum(piece, doubling) for piece in pieces]).amax(0)
        side = -(-weight.shape[-1] // 2) if doubling else weight.shape[-1]
        terms = pieces[0].shape[1] * side**2
        # Rounding adds up to half a unit to each weight.
        room = _EXACT - 1 - MOST * terms / 2
        fits = (room / (most * MOST + bias.abs() + 1e-9)).clamp_max(2.0**16)
        places = torch.tensor([int(np.frexp(float(x))[1]) - 1 for x in fits])
        if room > 0 and bool((2.0**places * mean >= _WEIGHT_UNITS * (mean > 0)).all()):
            break
    else:
        raise ValueError("the weights of the decoder are too large to be exact")
    scale = 2.0 ** places.double()
    whole = [(piece * scale[:, None, None, None]).round().float().to(device) for piece in pieces]
    return Layer(
        [piece.transpose(0, 1).contiguous() for piece in whole] if doubling else whole,
        (bias * scale).round().float().to(device),
        (2.0 ** (bits - UNIT_BITS) / scale).float().to(device)[:, None, None],
        (weight.shape[-1] - 1) // 2 if doubling else weight.shape[-1] // 2,
        doubling,
    )


def _largest_sum(weight: Tensor, doubling: bool) -> Tensor:
    """The sum of the sizes of the weights that meet at an output, for each map of outputs."""
    if not doubling:
        return weight.abs().flatten(1).sum(1)
    # Four outputs side by side see every other of the weights each.
    apart = [weight[..., i::2, j::2].abs().flatten(1).sum(1) for i in range(2) for j in range(2)]
    return torch.stack(apart).amax(0)


def sums(x: Tensor, own: Layer) -> Tensor:
    """What a layer adds up of whole numbers up to `MOST`, in units of its result, not rounded."""
    if len(own.weights) == 1:
        return _convolved(x, own, own.weights[0], own.bias).mul_(own.scale)
    taken, total = 0, torch.zeros((), dtype=torch.int64, device=x.device)
    for weight in own.weights:
        inputs = weight.shape[0 if own.doubling else 1]
        total = total + _convolved(x[:, taken : taken + inputs], own, weight, None).long()
        taken += inputs
    total = total + own.bias.long()[:, None, None]
    return (total.double() * own.scale.double()).float()


def _convolved(x: Tensor, own: Layer, weight: Tensor, bias: Tensor | None) -> Tensor:
    on_cpu = x.device.type == "cpu"
    if own.doubling:
        # On a GPU in float64, which no library computes otherwise than by adding up.
        if not on_cpu:
            x, weight = x.double(), weight.double()
            bias = None if bias is None else bias.double()
        last = weight.shape[-1] % 2
        return conv_transpose2d(x, weight, bias, 2, own.padding, output_padding=last).float()
    if on_cpu:
        return conv2d(x, weight, bias, padding=own.padding)
    side, (_, _, height, width) = weight.shape[-1], x.shape
    rows = unfold(x, side, padding=own.padding).double()
    product = weight.flatten(1).double() @ rows
    if bias is not None:
        product = product + bias.double()[:, None]
    return product.view(len(x), -1, height, width).float()


@lru_cache(maxsize=4)
def proven(device: torch.device) -> None:
    """Make sure that sums of whole numbers are exact here.

    Raises
    ------
    UnavailableError
        Where they are not.
    """
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(-MOST, MOST + 1, (1, 32, 20, 24)))
    one = torch.ones(1, 1, 1, device=device)
    shapes = ((False, (64, 32, 3, 3)), (True, (32, 64, 4, 4)), (True, (32, 64, 5, 5)))
    for doubling, shape in shapes:
        # 1023 x 56 x 288 < 2^24
        weight = torch.from_numpy(rng.integers(-56, 57, shape))
        padding = (shape[-1] - 1) // 2
        zeros = torch.zeros(64, device=device)
        own = Layer([weight.float().to(device)], zeros, one, padding, doubling)
        with torch.inference_mode():
            found = sums(x.float().to(device), own).cpu().long()
        if not torch.equal(found, _added_up(x, weight, doubling)):
            raise UnavailableError(
                "PyTorch rounds the sums of its convolutions on this machine, so that pictures "
                "would not be those of other machines"
            )


def _added_up(x: Tensor, weight: Tensor, doubling: bool) -> Tensor:
    """A convolution of whole numbers, place by place."""
    _, _, height, width = x.shape
    side = weight.shape[-1]
    edge = (side - 1) // 2
    if not doubling:
        total = torch.zeros(1, 64, height + 2 * edge, width + 2 * edge, dtype=torch.int64)
        for i in range(side):
            for j in range(side):
                part = torch.einsum("oi,bihw->bohw", weight[:, :, i, j], x)
                down, right = side - 1 - i, side - 1 - j
                total[..., down : down + height, right : right + width] += part
        return total[..., edge : edge + height, edge : edge + width]
    total = torch.zeros(1, 64, 2 * height + side, 2 * width + side, dtype=torch.int64)
    for i in range(side):
        for j in range(side):
            part = torch.einsum("io,bihw->bohw", weight[:, :, i, j], x)
            total[..., i : i + 2 * height : 2, j : j + 2 * width : 2] += part
    return total[..., edge : edge + 2 * height, edge : edge + 2 * width]


def exponentials(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp, in multiples of 2^-20. `Decimal` rounds correctly, hence alike, on every machine."""
    scale = 1 << _GAIN_BITS
    return np.array([int((Decimal(float(y)).exp() * scale).to_integral_value()) for y in x]) / scale
