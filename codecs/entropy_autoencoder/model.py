"""The learned coders: a factorised model, and a pair of networks, side information and prediction.

A second encoder and decoder in the bottleneck: the encoder tells of the numbers' sizes in numbers
of its own, the side information, and the decoder predicts from these how likely each number is. So
nothing is lost. The pair is the scale hyperprior of J. Ballé, D. Minnen, S. Singh, S. J. Hwang, N.
Johnston, ICLR 2018, figure 4, with sub-pixel layers and Laplace distributions; the factorised model
that of its appendix 6.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lic_bench.codecs.compressive_autoencoder.model import LATENTS
from lic_bench.learned.priors import LEAST_LOG_SIZE, SCALES, STEP, FactorizedPrior
from lic_bench.learned.subpixel import SLOPE

HYPER_STRIDE = 4
"""Sites of the numbers on a side of what one site of the side information stands for."""

_SIZE = 0.7  # by how much the logarithm of a mean size is less than that of a deviation: sparse


@dataclass(frozen=True)
class Settings:
    """What makes one pair differ from another.

    Attributes
    ----------
    width
        Channels of the pair's layers, and of the side information.
    rates
        How many rates the numbers are of.
    """

    width: int = 64
    rates: int = 8


def table_of(log_scale: Tensor) -> Tensor:
    """Which of the tables numbers are coded by, from logarithms of their mean sizes."""
    return ((log_scale - LEAST_LOG_SIZE) / STEP).round().clamp(0, SCALES - 1)


class EntropyModels(nn.Module):
    """What tells how likely an autoencoder's numbers are, without and with side information."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        n = settings.width
        self.factorised = FactorizedPrior(LATENTS, settings.rates)
        self.log_scale = nn.Parameter(torch.zeros(settings.rates, LATENTS))
        self.analysis = nn.Sequential(
            nn.Conv2d(LATENTS, n, 3, padding=1), nn.LeakyReLU(SLOPE),
            nn.Conv2d(n, n, 5, stride=2, padding=2), nn.LeakyReLU(SLOPE),
            nn.Conv2d(n, n, 5, stride=2, padding=2),
        )  # fmt: skip
        self.synthesis = nn.Sequential(
            nn.Conv2d(n, 4 * n, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(SLOPE),
            nn.Conv2d(n, 4 * n, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(SLOPE),
            nn.Conv2d(n, LATENTS, 3, padding=1),
        )  # fmt: skip
        self.side = FactorizedPrior(n, settings.rates)

    @torch.no_grad()
    def set_deviations(self, deviation: Tensor) -> None:
        """Begin with the right widths: the numbers' standard deviations, rates x 96."""
        self.factorised.set_units(deviation.clamp_min(0.11))
        self.log_scale.copy_(deviation.clamp_min(0.11).log() - _SIZE)
        weight, bias = list(self.synthesis.parameters())[-2:]
        weight.mul_(0.1)
        bias.zero_()

    def analyse(self, z: Tensor, rate: Tensor) -> Tensor:
        """Side information, not rounded: B x N x H/4 x W/4.

        Parameters
        ----------
        z
            Whole numbers, B x 96 x H x W, sides multiples of 4.
        rate
            B, int64.
        """
        found: Tensor = self.analysis(torch.log2(1 + z.abs()))
        return found

    def log_scales(self, side: Tensor, rate: Tensor) -> Tensor:
        """Logarithms of the numbers' mean sizes, from rounded side information."""
        found: Tensor = self.synthesis(side) + self.log_scale[rate][:, :, None, None]
        return found
