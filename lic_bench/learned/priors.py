"""What latents cost while a network is trained: the factorised prior, and a Gaussian.

J. Ballé, D. Minnen, S. Singh, S. J. Hwang, N. Johnston, "Variational image compression with a scale
hyperprior", ICLR 2018: section 2 (noise for rounding, equation 5), section 3 (the Gaussian) and
appendix 6.1 (the factorised prior). When images are coded, both are tables: see
`lic_bench.learned.tables`.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

SCALES = 64
LEAST_SCALE, LARGEST_SCALE = 0.11, 256.0
"""The scales of the Gaussian's tables, evenly in their logarithms, as of tensorflow/compression."""
# Written out, because logarithms may differ in their last digit from machine to machine.
LEAST_LOG_SCALE, STEP = -2.2072749131897207, 0.12305479932808386
"""The logarithm of the least scale, and the step of the logarithms from table to table."""
LEAST_LOG_SIZE = -3.0
"""The same of the least mean size of `laplace_bits`; its tables are as many, as far apart."""
_LEAST_CHANCE = 1e-9
_FILTERS = (1, 3, 3, 3, 1)


def noisy(y: Tensor) -> Tensor:
    """Latents with uniform noise of one step in place of rounding: the gradient is 1."""
    return y + torch.rand_like(y) - 0.5


def rounded(y: Tensor) -> Tensor:
    """The nearest whole numbers, their gradient passed straight through."""
    return y + (y.round() - y).detach()


def stochastic(y: Tensor) -> Tensor:
    """One of the two nearest whole numbers, y in the mean; the gradient is 1.

    L. Theis, W. Shi, A. Cunningham, F. Huszár, ICLR 2017, section 2.1.
    """
    whole = y.detach().floor()
    return y + (whole + (torch.rand_like(y) < y.detach() - whole) - y).detach()


class _Floor(torch.autograd.Function):
    """max(x, floor); below it a gradient passes only where a descent along it raises x."""

    @staticmethod
    def forward(ctx, x, floor):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.floor = floor
        return x.clamp_min(floor)

    @staticmethod
    def backward(ctx, *gradients):  # type: ignore[no-untyped-def]
        (x,), (gradient,) = ctx.saved_tensors, gradients
        return gradient * ((x >= ctx.floor) | (gradient < 0)), None


def chance_bits(chance: Tensor) -> Tensor:
    """-log2 of a chance, floored, so that a gradient stays finite."""
    floored: Tensor = _Floor.apply(chance, _LEAST_CHANCE)  # type: ignore[no-untyped-call]
    return -torch.log2(floored)


def gaussian_bits(y: Tensor, log_scale: Tensor) -> Tensor:
    """The cost of latents under normal distributions of mean 0, each over one step: y's shape.

    Parameters
    ----------
    y
        Whole numbers, or such with noise.
    log_scale
        Natural logarithms of the standard deviations, of y's shape; taken for no less than that of
        `LEAST_SCALE`.
    """
    log_scale = _Floor.apply(log_scale, LEAST_LOG_SCALE)  # type: ignore[no-untyped-call]
    size, inverse = y.abs(), torch.exp(-log_scale) / math.sqrt(2)
    # Of the two tails the smaller, where differences keep their digits.
    chance = torch.erfc((size - 0.5) * inverse) - torch.erfc((size + 0.5) * inverse)
    return chance_bits(chance / 2)


def laplace_bits(y: Tensor, log_scale: Tensor) -> Tensor:
    """The same under Laplace distributions of mean 0: more 0, and more that is large.

    Parameters
    ----------
    y
        Whole numbers.
    log_scale
        Natural logarithms of the mean sizes, of y's shape; taken for what tables have.
    """
    log_scale = _Floor.apply(log_scale, LEAST_LOG_SIZE)  # type: ignore[no-untyped-call]
    size, inverse = y.abs(), torch.exp(-log_scale.clamp_max(LEAST_LOG_SIZE + SCALES * STEP))
    none = -torch.expm1(-inverse / 2)
    # Above a half, so that what is not taken has no infinite gradient.
    some = torch.exp((0.5 - size.clamp_min(0.5)) * inverse) * -torch.expm1(-inverse) / 2
    return chance_bits(torch.where(size < 0.5, none, some))


class FactorizedPrior(nn.Module):
    """A distribution of its own for each channel, and under each of some conditions.

    The cumulative function of each is a network of three hidden layers of three units: equations
    26 to 31 of appendix 6.1.

    Parameters
    ----------
    channels
        Of the latents.
    conditions
        How many tables there are: here one for each lambda that was trained.
    """

    unit: Tensor

    def __init__(self, channels: int, conditions: int = 1) -> None:
        super().__init__()
        self.channels, self.conditions = channels, conditions
        shape = (conditions, channels)
        self.matrices, self.biases, self.factors = (nn.ParameterList() for _ in range(3))
        start = 10.0 ** (1 / (len(_FILTERS) - 1))
        for inner, outer in pairwise(_FILTERS):
            weight = math.log(math.expm1(1 / start / outer))
            self.matrices.append(nn.Parameter(torch.full((*shape, outer, inner), weight)))
            self.biases.append(nn.Parameter(torch.rand(*shape, outer, 1) - 0.5))
            if outer > 1:
                self.factors.append(nn.Parameter(torch.zeros(*shape, outer, 1)))
        self.register_buffer("unit", torch.ones(shape))

    def set_units(self, deviations: Tensor) -> None:
        """Measure each latent in so many steps, so that a training begins with the right width.

        Parameters
        ----------
        deviations
            Conditions x channels, positive.
        """
        self.unit.copy_(deviations / 5)  # the function as it starts is some ten wide

    def _logits(self, y: Tensor, condition: Tensor) -> Tensor:
        """Of the cumulative function at any points: B x channels x K, for conditions B."""
        x = (y / self.unit[condition][:, :, None])[:, :, None]
        for layer, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = softplus(matrix[condition]) @ x + bias[condition]
            if layer < len(self.factors):
                x = x + torch.tanh(self.factors[layer][condition]) * torch.tanh(x)
        return x[:, :, 0]

    def bits(self, y: Tensor, condition: Tensor) -> Tensor:
        """The cost of latents, B x channels x H x W, each over one step: of the same shape.

        Parameters
        ----------
        y
            Whole numbers, or such with noise.
        condition
            Of each image: B, int64.
        """
        flat = y.flatten(2)
        low, high = (self._logits(flat + half, condition) for half in (-0.5, 0.5))
        # Both from the side where the function is small.
        sign = -torch.sign(low + high).detach()
        chance = (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()
        return chance_bits(chance).view_as(y)

    @torch.no_grad()
    def cumulative(self, y: Tensor) -> Tensor:
        """The chance of less than each of K points: conditions x channels x K, float64."""
        every = torch.arange(self.conditions, device=y.device)
        points = y.expand(self.conditions, self.channels, -1)
        return torch.sigmoid(self._logits(points, every).double())
