"""The network: a residual autoencoder, and the net that tells how many bits matter.

Section 2.1, figure 1: the autoencoder of F. Mentzer, E. Agustsson, M. Tschannen, R. Timofte, L. Van
Gool, "Conditional probability models for deep image compression", CVPR 2018, whose encoder ends in
16 feature maps of an eighth of the picture's sides. Section 2.3: the importance net makes of these
as many maps of the same sides.

With its default settings `NctuNet` is the paper's; how deep the importance net is, the paper does
not say. The setting ``linear`` departs from it:

- beside encoder and decoder there is a linear path, which `start` sets to a lapped transform;
- features are signed numbers, with 0 in the middle of their range, and coarser away from it;
- the last map is what the quantiser leaves of the first, the means of blocks;
- there are several operating points, each with steps of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lic_bench.codecs.nctu.quantiser import BITS, LEVELS, indices, signed
from lic_bench.learned.lapped import WINDOW, added_up, mirrored

CHANNELS = 16
"""Feature maps."""
MAGNITUDES = LEVELS // 2
"""Of signed numbers."""
MIDDLE = 127.5
"""What the linear path takes for 0, in 8-bit steps."""
_REACH = 16.0  # of an output of the encoder's network beside the linear path, in 8-bit steps
# Of R, G and B in ImageNet, as Mentzer et al. have them.
MEAN = (121.85369873, 113.58860779, 100.63715363)
VARIANCE = (4746.38623047, 4454.11328125, 4812.16162109)


@dataclass(frozen=True)
class Settings:
    """What makes one network differ from another; the defaults are the paper's.

    Attributes
    ----------
    filters
        Of the residual blocks; the layers of the finest grid have half as many.
    groups
        Groups of three residual blocks, in the encoder and in the decoder.
    importance
        Residual blocks of the importance net.
    normalised
        Whether there is a batch normalisation after each convolution.
    points
        Operating points.
    linear
        Whether there is a linear path, and what belongs to it.
    """

    filters: int = 128
    groups: int = 5
    importance: int = 3
    normalised: bool = True
    points: int = 1
    linear: bool = False

    @property
    def reach(self) -> int:
        """Sites around one that encoder or decoder depend on.

        A block's two convolutions see a site's 8 pixels around, the outer layers two.
        """
        return 2 + 3 * self.groups + 1


class Convolution(nn.Module):
    """A convolution, or one that doubles the sides, and its normalisation."""

    def __init__(
        self, settings: Settings, inputs: int, outputs: int, side: int, stride: int = 1,
        doubling: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        bias = not settings.normalised
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if doubling:
            self.conv = nn.ConvTranspose2d(
                inputs, outputs, side, 2, side // 2, output_padding=1, bias=bias
            )
        else:
            self.conv = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=bias)
        self.norm = nn.BatchNorm2d(outputs) if settings.normalised else None

    def forward(self, x: Tensor) -> Tensor:
        """B x inputs x H x W."""
        y: Tensor = self.conv(x)
        return y if self.norm is None else self.norm(y)


class Residual(nn.Module):
    """x + two convolutions of 3x3; between them a ReLU, but in the last block of all."""

    def __init__(self, settings: Settings, active: bool = True) -> None:
        super().__init__()
        n = settings.filters
        self.first, self.second = Convolution(settings, n, n, 3), Convolution(settings, n, n, 3)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """B x filters x H x W to the same."""
        y: Tensor = self.first(x)
        y = self.second(torch.relu(y) if self.active else y)
        return x + y


class Body(nn.Module):
    """Groups of three residual blocks, one block more, and a way around each and around all."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            nn.Sequential(*(Residual(settings) for _ in range(3))) for _ in range(settings.groups)
        )
        self.last = Residual(settings, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """B x filters x H x W to the same."""
        whole = x
        for group in self.groups:
            x = x + group(x)
        y: Tensor = self.last(x)
        return whole + y


def encoder(settings: Settings) -> nn.Sequential:
    """B x 3 x H x W to B x 16 x H/8 x W/8."""
    n = settings.filters
    return nn.Sequential(
        Convolution(settings, 3, n // 2, 5, stride=2), nn.ReLU(),
        Convolution(settings, n // 2, n, 5, stride=2), nn.ReLU(),
        Body(settings),
        Convolution(settings, n, CHANNELS, 5, stride=2),
    )  # fmt: skip


def decoder(settings: Settings) -> nn.Sequential:
    """B x 16 x H x W to B x 3 x 8H x 8W."""
    n = settings.filters
    return nn.Sequential(
        Convolution(settings, CHANNELS, n, 3, doubling=True), nn.ReLU(),
        Body(settings),
        Convolution(settings, n, n // 2, 5, doubling=True), nn.ReLU(),
        Convolution(settings, n // 2, 3, 5, doubling=True),
    )  # fmt: skip


def importance_net(settings: Settings) -> nn.Sequential:
    """B x 16 x H x W to the same."""
    n = settings.filters
    return nn.Sequential(
        Convolution(settings, CHANNELS, n, 3), nn.ReLU(),
        *(Residual(settings) for _ in range(settings.importance)),
        Convolution(settings, n, CHANNELS, 3),
    )  # fmt: skip


class NctuNet(nn.Module):
    """Encoder, importance net and decoder.

    Pictures are B x 3 x 8H x 8W, 8-bit samples from 0 to 255, features B x 16 x H x W.
    """

    bend: Tensor
    scale: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder, self.decoder = encoder(settings), decoder(settings)
        self.importance_net = importance_net(settings)
        if settings.linear:
            self.analysis = nn.Conv2d(3, CHANNELS, WINDOW, stride=8, bias=False)
            self.synthesis = nn.Parameter(torch.zeros(CHANNELS, 3, WINDOW, WINDOW))
            own = (settings.points, CHANNELS)
            # Of each point and map: the logarithm of the step; what magnitudes stand for, in steps;
            # what the network's inputs are multiplied by; how far all are from mattering.
            self.log_step = nn.Parameter(torch.zeros(own))
            self.levels = nn.Parameter((torch.arange(MAGNITUDES) + 0.5).repeat(*own, 1))
            self.gain = nn.Parameter(torch.ones(own))
            self.shift = nn.Parameter(torch.full(own, 3.0))
            # How much coarser steps become away from 0.
            self.register_buffer("bend", torch.zeros(own))
            # What the network's output is in, in 8-bit steps.
            self.register_buffer("scale", torch.ones(settings.points))

    def encode(self, x: Tensor, point: Tensor) -> Tensor:
        """Features from 0 to 1.

        Parameters
        ----------
        x
            Pictures.
        point
            The operating point of each, from 0: B, int64.
        """
        mean, deviation = _statistics(x)
        y: Tensor = self.encoder((x - mean) / deviation)
        if not self.settings.linear:
            return torch.sigmoid(y)
        y = _REACH * y + self.analysis(mirrored(x - MIDDLE))
        u = self._steps(y, point)
        # The last map holds what the quantiser leaves of the first.
        first = self.shown(self.numbers(0.5 + u / LEVELS), point)[:, :1]
        first = first + (u[:, :1] - u[:, :1].detach())
        rest = y[:, -1:] - self.values(torch.cat([first, u[:, 1:]], 1), point)[:, :1]
        y = torch.cat([y[:, :-1], rest], 1)
        return 0.5 + self._steps(y, point) / LEVELS

    def numbers(self, z: Tensor) -> Tensor:
        """The whole numbers that features are quantised to: indices; signed on a linear path."""
        # Weights from elsewhere may lead to what is no number.
        index = indices(z.detach().nan_to_num(0.5))
        return signed(index) if self.settings.linear else index

    def importance(self, z: Tensor, point: Tensor) -> Tensor:
        """How many bits matter of each feature, 1 to 4: not rounded."""
        y: Tensor = self.importance_net(z - 0.5)
        if not self.settings.linear:
            return 1 + (BITS - 1) * torch.sigmoid(y)
        p = 1 + (BITS - 1) * torch.sigmoid(y + self.shift[point][:, :, None, None])
        # The last map goes with the first as it is.
        return torch.cat([torch.full_like(p[:, :1], BITS), p[:, 1:]], 1)

    def shown(self, v: Tensor, point: Tensor) -> Tensor:
        """What the decoder is given for whole numbers: idx / 16; steps on a linear path."""
        if not self.settings.linear:
            return v / LEVELS
        b, c, h, w = v.shape
        table = self.levels[point]
        size = v.abs().long().movedim(1, 0).reshape(c, b, h * w).transpose(0, 1)
        return v.sign() * table.gather(2, size).view(b, c, h, w)

    def values(self, u: Tensor, point: Tensor) -> Tensor:
        """What steps are worth on the linear path, in 8-bit steps."""
        bend, step = (x[point][:, :, None, None] for x in (self.bend, self.log_step.exp()))
        return u / (1 - bend * u.abs()) * step

    def decode(self, u: Tensor, point: Tensor) -> Tensor:
        """Reconstruct pictures from what is `shown` of numbers: not clipped."""
        if not self.settings.linear:
            mean, deviation = _statistics(u)
            z: Tensor = self.decoder(u) * deviation + mean
            return z
        x: Tensor = self.decoder(u * self.gain[point][:, :, None, None])
        x = x * self.scale[point][:, None, None, None]
        y = self.values(u, point)
        windows = self.synthesis.flatten(1).T @ y.flatten(2)
        return MIDDLE + x + added_up(windows, *y.shape[2:])

    def _steps(self, y: Tensor, point: Tensor) -> Tensor:
        """The inverse of `values`, limited to what 16 levels hold."""
        bend, step = (x[point][:, :, None, None] for x in (self.bend, self.log_step.exp()))
        t = y / step
        most = MAGNITUDES - 1e-3
        return (t / (1 + bend * t.abs())).clamp(-most, most)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Means and deviations of R, G and B."""
    mean, variance = x.new_tensor(MEAN), x.new_tensor(VARIANCE)
    return mean[:, None, None], (variance + 1e-10).sqrt()[:, None, None]
