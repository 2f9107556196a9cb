"""A learned context model for binary channels: the probability of each bit, given those before it.

The symbols are bits x_kij in C channels, some of them inactive (known to be 0, and not coded). In
Li et al. (CVPR 2018, section 3.4) a network predicts each bit from a window of 4 channels x 5 x 5
sites, of those that are coded before it: channel by channel, and in a channel line by line. That
decodes one bit at a time. Here they are coded in waves (`lic_bench.learned.waves`), hundreds of
bits at once, and the window takes in *all* channels before.

One hidden layer serves all channels. It is fed by

- every 1 among the bits coded before at the nine sites around: a vector for its channel and place
  (`table`);
- the three channels before at these sites, and the own channel at six sites before (`OWN`), each
  whether it was coded, and whether it was 1 (`local`); these by their distance from the channel,
  whichever it is;
- channel and operating point.

The channel also has output weights of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from lic_bench.learned.entropy import CLIP
from lic_bench.learned.waves import BEFORE, DEPTH, NEAR, OWN

_LOCAL = 2 * (DEPTH * len(NEAR) + len(OWN))
_LOG2_E = 1.4426950408889634
_REACH = 2  # sites, of `OWN`


class Predictions(NamedTuple):
    """What is predicted of the active symbols of some sites: all n long."""

    logits: Tensor
    x: Tensor
    """The symbols themselves."""
    site: Tensor
    """Index into the sites."""
    channel: Tensor

    @property
    def bits(self) -> Tensor:
        """The cost of each symbol, in bits."""
        return _LOG2_E * (softplus(self.logits) - self.x * self.logits)


class ContextModel(nn.Module):
    """Logits of binary channels from the bits before them.

    Parameters
    ----------
    channels
        C.
    points
        Number of operating points.
    hidden
        Width of the hidden layer.
    """

    def __init__(self, channels: int, points: int, hidden: int = 64) -> None:
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(len(NEAR), channels, hidden))
        self.local = nn.Parameter(torch.randn(_LOCAL, hidden) / _LOCAL**0.5)
        self.channel = nn.Parameter(0.1 * torch.randn(channels, hidden))
        self.point = nn.Parameter(torch.zeros(points, hidden))
        self.out = nn.Parameter(0.05 * torch.randn(channels, hidden))
        self.bias = nn.Parameter(torch.full((points, channels), -2.0))

    def forward(self, x: Tensor, active: Tensor, point: Tensor, sites: Tensor) -> Predictions:
        """Predict the active symbols of some sites, as a decoder would one wave after the other.

        Parameters
        ----------
        x
            The bits, 0 or 1, B x C x H x W; inactive ones 0.
        active
            1 where a bit is coded, of x's shape.
        point
            Operating points: B, int64.
        sites
            Image, row and column: S x 3, int64.
        """
        image, row, column = sites.T
        places = torch.tensor([*NEAR, *OWN[BEFORE:]], device=x.device)
        rows, columns = (
            start[:, None] + _REACH + step
            for start, step in zip((row, column), places.T, strict=True)
        )
        bit, known = (
            pad(values.float(), (_REACH,) * 4)[image[:, None], :, rows, columns]
            for values in (x, active)
        )  # S x 11 x C each
        site, channel = torch.nonzero(known[:, NEAR.index((0, 0))], as_tuple=True)

        earlier = torch.einsum("spc,pch->sch", bit[:, :BEFORE], self.table[:BEFORE])
        later = torch.einsum("spc,pch->sch", bit[:, BEFORE : len(NEAR)], self.table[BEFORE:])
        features = ((earlier + later).cumsum(1) - later)[site, channel]

        own = [*range(BEFORE), *range(len(NEAR), len(places))]
        local = []
        for values in (bit, known):
            shifted = pad(values[:, : len(NEAR)], (DEPTH, 0))
            local += [shifted[site, :, channel + back] for back in range(DEPTH)]
            local.append(values[:, own][site, :, channel])
        here = point[image[site]]
        features = features + torch.cat(local, 1) @ self.local
        features = features + self.channel[channel] + self.point[here]
        logits = (features.clamp(0, CLIP) * self.out[channel]).sum(1) + self.bias[here, channel]
        return Predictions(logits, bit[site, NEAR.index((0, 0)), channel], site, channel)


def all_sites(x: Tensor) -> Tensor:
    """The sites of B x C x H x W: image, row and column, B H W x 3."""
    batch, _, height, width = x.shape
    ranges = (torch.arange(n, device=x.device) for n in (batch, height, width))
    return torch.cartesian_prod(*ranges)
