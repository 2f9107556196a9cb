"""The network of the modulated autoencoder.

F. Yang, L. Herranz, J. van de Weijer, J. A. Iglesias Guitián, A. López, M. Mozerov, "Variable rate
deep image compression with modulated autoencoder", IEEE Signal Processing Letters 27, 2020; layers
as the authors' ``mae.py`` has them (github.com/FireFYF/modulatedautoencoder). With its default
settings `ModulatedAutoencoder` is that network: the autoencoder of J. Ballé, V. Laparra, E. P.
Simoncelli, "End-to-end optimized image compression", ICLR 2017, whose representations a modulation
network multiplies before each GDN, and a demodulation network after each inverse GDN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lic_bench.learned.gdn import GDN
from lic_bench.learned.modulation import Modulation
from lic_bench.learned.priors import FactorizedPrior

STRIDE = 16
"""Pixels on a side of what one site of the latents stands for."""
HYPER_STRIDE = 4
"""Sites of the latents on a side of what one of the hyper-latents stands for."""
TRADEOFFS = (64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)
"""Lambdas of the paper: what MSE, of samples in [0, 1], weighs against bits a pixel."""

Steering = Literal["modulation", "bottleneck", "none"]


@dataclass(frozen=True)
class Settings:
    """What makes one network differ from another; the defaults are the paper's.

    Attributes
    ----------
    filters
        N, channels of the layers.
    latents
        M, channels of the latents.
    hyper
        Channels of the scale hyperprior's layers; 0: the prior is factorised.
    steering
        ``modulation``; or, for comparison, ``bottleneck``: the latents alone are scaled; or
        ``none``: the network serves one lambda.
    """

    filters: int = 192
    latents: int = 192
    hyper: int = 0
    steering: Steering = "modulation"


class Hyperprior(nn.Module):
    """The scale hyperprior of Ballé et al., ICLR 2018, figure 4, for latents of any tradeoff.

    The hyper-synthesis yields logarithms of scales, as in the authors' later program
    (tensorflow/compression, ``models/bmshj2018.py``). They are those of one tradeoff; a modulation
    network scales them to the others, and the latents the other way round before they are analysed.
    """

    def __init__(self, latents: int, filters: int) -> None:
        super().__init__()
        self.analysis = nn.Sequential(
            nn.Conv2d(latents, filters, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 5, stride=2, padding=2),
        )
        self.synthesis = nn.Sequential(
            nn.ConvTranspose2d(filters, filters, 5, 2, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(filters, filters, 5, 2, 2, 1),
            nn.ReLU(),
            nn.Conv2d(filters, latents, 3, padding=1),
        )
        self.scale = Modulation(latents)
        self.prior = FactorizedPrior(filters, len(TRADEOFFS))

    def analyse(self, y: Tensor, tradeoff: Tensor) -> Tensor:
        """Hyper-latents, B x N' x H/4 x W/4, of latents, not rounded."""
        z: Tensor = self.analysis(y.abs() / self.scale(tradeoff))
        return z

    def log_scales(self, z: Tensor, tradeoff: Tensor) -> Tensor:
        """Logarithms of the latents' standard deviations, from rounded hyper-latents."""
        scales: Tensor = self.synthesis(z) + self.scale.log(tradeoff)[:, :, None, None]
        return scales


class ModulatedAutoencoder(nn.Module):
    """Analysis, synthesis, the networks that modulate them, and the priors."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        n, m = settings.filters, settings.latents
        self.analysis = nn.ModuleList(
            [
                nn.Conv2d(3, n, 9, stride=4, padding=4),
                nn.Conv2d(n, n, 5, stride=2, padding=2),
                nn.Conv2d(n, m, 5, stride=2, padding=2, bias=False),
            ]
        )
        self.norms = nn.ModuleList([GDN(n), GDN(n), GDN(m)])
        self.inverse_norms = nn.ModuleList([GDN(x, inverse=True) for x in (m, n, n)])
        self.synthesis = nn.ModuleList(
            [
                nn.ConvTranspose2d(m, n, 5, stride=2, padding=2, output_padding=1),
                nn.ConvTranspose2d(n, n, 5, stride=2, padding=2, output_padding=1),
                nn.ConvTranspose2d(n, 3, 9, stride=4, padding=4, output_padding=3),
            ]
        )
        modulated = {"modulation": (n, n, m), "bottleneck": (m,), "none": ()}[settings.steering]
        self.modulation = nn.ModuleList([Modulation(x) for x in modulated])
        self.demodulation = nn.ModuleList([Modulation(x) for x in reversed(modulated)])
        self.prior = FactorizedPrior(m, len(TRADEOFFS))
        self.hyperprior = Hyperprior(m, settings.hyper) if settings.hyper else None

    def encode(self, x: Tensor, tradeoff: Tensor) -> Tensor:
        """The latents, not rounded.

        Parameters
        ----------
        x
            Images, B x 3 x H x W, 8-bit steps 0 to 255 in float; H and W multiples of 16.
        tradeoff
            Lambda of each image: B.

        Returns
        -------
        B x M x H/16 x W/16.
        """
        y = x / 255
        for layer, (conv, norm) in enumerate(zip(self.analysis, self.norms, strict=True)):
            y = conv(y)
            if self.settings.steering == "modulation":
                y = self.modulation[layer](tradeoff) * y
            y = norm(y)
        if self.settings.steering == "bottleneck":
            y = self.modulation[0](tradeoff) * y
        return y

    def decode(self, y: Tensor, tradeoff: Tensor) -> Tensor:
        """Images, B x 3 x 16H x 16W, 8-bit steps in float, not clipped, of rounded latents."""
        x = y
        if self.settings.steering == "bottleneck":
            x = self.demodulation[0](tradeoff) * x
        for layer, (norm, conv) in enumerate(zip(self.inverse_norms, self.synthesis, strict=True)):
            x = norm(x)
            if self.settings.steering == "modulation":
                x = self.demodulation[layer](tradeoff) * x
            x = conv(x)
        return 255 * x


def nearest(tradeoff: Tensor) -> Tensor:
    """The index in `TRADEOFFS` of the nearest lambda, by its logarithm: whose tables are used."""
    found: Tensor = torch.log2(tradeoff / TRADEOFFS[0]).round().clamp(0, len(TRADEOFFS) - 1).long()
    return found
