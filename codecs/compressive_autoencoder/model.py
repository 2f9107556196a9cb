"""The network: a residual autoencoder with sub-pixel layers, and its Gaussian scale mixtures.

L. Theis, W. Shi, A. Cunningham, F. Huszár, "Lossy image compression with compressive autoencoders",
ICLR 2017 (arXiv 1703.00395), sections 2 and 3. With its default settings
`CompressiveAutoencoder` is the paper's. Two settings depart from it:

- ``linear`` adds a linear path beside encoder and decoder, which `start` sets to a lapped
  transform, pads each convolution with zeros, and lets the decoder's network see and give steps of
  the quantiser, so that all rates look alike to it;
- ``rates`` > 1 gives each rate scales of its own, all trained at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from lic_bench.learned.lapped import STRIDE, added_up, mirrored
from lic_bench.learned.priors import chance_bits
from lic_bench.learned.subpixel import SLOPE, Residual

LATENTS = 96
"""Coefficients of a block of 8x8."""
BLOCKS = 3
"""Residual blocks of each half."""
MIXED = 6
"""Gaussians of a mixture."""
STEPS = (113.0, 80.0, 56.6, 40.0, 28.3, 20.0, 14.1, 10.0)
"""Of the quantiser, in 8-bit steps of luma, at each rate: what a bit is worth follows from them."""
_WORTH = 0.13  # squared error that a bit a pixel is worth at a step of 1: ln 2 / 6, and a dead zone
_BEFORE, _AFTER = 34, 35  # pixels that convolutions without padding take off


@dataclass(frozen=True)
class Settings:
    """What makes one network differ from another; the defaults are the paper's.

    Attributes
    ----------
    width
        Channels of the residual blocks; the first layer and the last have half as many.
    linear
        Whether there is a linear path beside encoder and decoder.
    rates
        How many rates have scales of their own.
    """

    width: int = 128
    linear: bool = False
    rates: int = 1


class CompressiveAutoencoder(nn.Module):
    """Encoder, decoder, and the scales of each rate between them."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        wide, narrow = settings.width, settings.width // 2
        near, far = (1, 2) if settings.linear else (0, 0)
        self.encoder = nn.Sequential(
            nn.Conv2d(3, narrow, 5, stride=2, padding=far), nn.LeakyReLU(SLOPE),
            nn.Conv2d(narrow, wide, 5, stride=2, padding=far), nn.LeakyReLU(SLOPE),
            *(Residual(wide, near) for _ in range(BLOCKS)),
            nn.Conv2d(wide, LATENTS, 5, stride=2, padding=far),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(LATENTS, 4 * wide, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(SLOPE),
            *(Residual(wide, 1) for _ in range(BLOCKS)),
            nn.Conv2d(wide, 4 * narrow, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(SLOPE),
            nn.Conv2d(narrow, 12, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip
        # Of each channel of photographs, in 8-bit steps: the fixed normalisation.
        self.register_buffer("mean", torch.full((3,), 127.5))
        self.register_buffer("deviation", torch.full((3,), 64.0))
        self.log_scale = nn.Parameter(torch.zeros(settings.rates, LATENTS))
        if settings.linear:
            self.analysis = nn.Conv2d(3, LATENTS, 2 * STRIDE, stride=STRIDE, bias=False)
            self.synthesis = nn.Parameter(torch.zeros(LATENTS, 3, 2 * STRIDE, 2 * STRIDE))
            self.log_gain = nn.Parameter(torch.zeros(settings.rates, LATENTS))
            self.log_step = nn.Parameter(torch.zeros(settings.rates))

    def analyse(self, x: Tensor) -> Tensor:
        """Coefficients as they come, which scales of each rate then multiply.

        Parameters
        ----------
        x
            Images, B x 3 x H x W, 8-bit steps 0 to 255 in float; H and W multiples of 8.

        Returns
        -------
        B x 96 x H/8 x W/8.
        """
        centred = x - self.mean[:, None, None]
        seen = centred / self.deviation[:, None, None]
        y: Tensor = self.encoder(seen if self.settings.linear else reflected(seen))
        return y + self.analysis(mirrored(centred)) if self.settings.linear else y

    def scaled(self, y: Tensor, rate: Tensor) -> Tensor:
        """Coefficients in steps of the quantiser of each image's rate, not rounded.

        Parameters
        ----------
        rate
            Which rate each is coded at: B, int64.
        """
        return y * self.log_scale[rate].exp()[:, :, None, None]

    def encode(self, x: Tensor, rate: Tensor) -> Tensor:
        """Coefficients of images in steps: `analyse`, then `scaled`."""
        return self.scaled(self.analyse(x), rate)

    def quantised(self, z: Tensor, rate: Tensor, bits: Callable[[Tensor], Tensor]) -> Tensor:
        """Whole numbers for coefficients in steps.

        The nearest; beside a linear path, where an error in a coefficient is known to be one in the
        picture, the next towards 0 if what it saves in bits is worth more.

        Parameters
        ----------
        z
            What `encode` gives: B x 96 x H x W.
        rate
            B, int64.
        bits
            Tells what whole numbers cost, each, of z's shape.
        """
        whole = z.round()
        if not self.settings.linear:
            return whole
        less = whole - whole.sign()
        # Of orthonormal coefficients of RGB, in squared steps.
        worth = 3 * worth_of(rate)[:, None] * (2 * self.log_scale[rate]).exp()
        saved = (bits(whole) - bits(less)) * worth[:, :, None, None]
        return torch.where((z - less).square() - (z - whole).square() < saved, less, whole)

    def decode(self, z: Tensor, rate: Tensor) -> Tensor:
        """Images, B x 3 x 8H x 8W, 8-bit steps in float, not clipped, of rounded coefficients."""
        y = z * (-self.log_scale[rate]).exp()[:, :, None, None]
        mean = self.mean[:, None, None]
        if not self.settings.linear:
            x: Tensor = self.decoder(y)
            return x * self.deviation[:, None, None] + mean
        x = self.decoder(z * self.log_gain[rate].exp()[:, :, None, None])
        x = x * self.log_step[rate].exp()[:, None, None, None]
        return x + synthesised(y, self.synthesis) + mean


def worth_of(rate: Tensor) -> Tensor:
    """The squared error, in 8-bit steps, that a bit a pixel is worth at each rate: B."""
    return _WORTH * torch.tensor(STEPS, device=rate.device)[rate].square()


def synthesised(y: Tensor, windows: Tensor) -> Tensor:
    """Windows, 96 x 3 x 16 x 16, added up: B x 96 x H x W to B x 3 x 8H x 8W."""
    batch, _, rows, columns = y.shape
    parts = windows.flatten(1).T @ y.flatten(2)
    planes = added_up(parts.view(3 * batch, -1, rows * columns), rows, columns)
    return planes.view(batch, 3, *planes.shape[2:])


def reflected(x: Tensor) -> Tensor:
    """Images that go on as their mirror image, so far that the code is exactly an eighth.

    However small they are: B x C x H x W to B x C x (H + 69) x (W + 69).
    """
    for axis in (2, 3):
        side = x.shape[axis]
        place = torch.arange(-_BEFORE, side + _AFTER, device=x.device) % (2 * side)
        x = x.index_select(axis, torch.minimum(place, 2 * side - 1 - place))
    return x


class Mixtures(nn.Module):
    """Of each rate and channel a mixture of six Gaussians of mean 0: paper, section 2.2.

    Parameters
    ----------
    rates
        How many rates there are.
    """

    def __init__(self, rates: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rates, LATENTS, MIXED))
        self.log_deviation = nn.Parameter(torch.zeros(rates, LATENTS, MIXED))
        self.set_deviations(torch.ones(rates, LATENTS))

    @torch.no_grad()
    def set_deviations(self, deviation: Tensor) -> None:
        """Begin around deviations, rates x 96: from an eighth of each to four times as much."""
        octaves = torch.arange(MIXED) - 3.0
        self.log_deviation.copy_(deviation.clamp_min(0.05).log()[..., None] + octaves * math.log(2))

    def _parts(self, rate: Tensor, fixed: bool) -> tuple[Tensor, Tensor]:
        weight, deviation = self.weight[rate], self.log_deviation[rate]
        if fixed:
            weight, deviation = weight.detach(), deviation.detach()
        return log_softmax(weight, -1)[..., None], deviation.clamp_min(math.log(0.02))[..., None]

    def density_bits(self, v: Tensor, rate: Tensor, fixed: bool = False) -> Tensor:
        """-log2 q(v): with v = z + u, u uniform, the paper's bound on the bits of z.

        Parameters
        ----------
        v
            B x 96 x H x W.
        rate
            B, int64.
        fixed
            Whether no gradient shall reach the mixtures.
        """
        log_weight, log_deviation = self._parts(rate, fixed)
        x = v.flatten(2)[:, :, None]  # B x 96 x 1 x sites
        exponent = -0.5 * (x * (-log_deviation).exp()).square()
        density = log_weight - log_deviation - 0.5 * math.log(2 * math.pi) + exponent
        return (-torch.logsumexp(density, 2) / math.log(2)).view_as(v)

    def bits(self, v: Tensor, rate: Tensor) -> Tensor:
        """What a step around v costs, -log2 of its mass: as `density_bits`, without the bound."""
        log_weight, log_deviation = self._parts(rate, False)
        size, inverse = v.flatten(2).abs()[:, :, None], (-log_deviation).exp() / math.sqrt(2)
        # Of the two tails the smaller, where differences keep their digits.
        mass = torch.erfc((size - 0.5) * inverse) - torch.erfc((size + 0.5) * inverse)
        return chance_bits((log_weight.exp() * mass).sum(2) / 2).view_as(v)
