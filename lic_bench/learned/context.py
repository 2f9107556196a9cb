"""A learned context model for binary channels: the probability of each bit, given those before it.

The symbols are bits x_kij in C channels, some of them inactive (known to be 0, and not coded). As
in Li et al. (CVPR 2018, section 3.4) channels are coded one after the other and a bit is predicted
from a window of bits that are already known. There the window holds three channels before it and
half of its own, and each bit waits for its left neighbour. Here

- the window holds *all* channels before, with no half missing;
- inside a channel the bits are coded in two passes, the even sites of a checkerboard and then the
  odd ones, which also see the even ones around them. So all bits of a pass are predicted at once
  (D. He et al., "Checkerboard context model for efficient learned image compression", CVPR 2021,
  section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, softplus

LOG2_E = 1.4426950408889634


class ContextModel(nn.Module):
    """Logits of binary channels from the channels before and, on odd sites, the even neighbours.

    The logit of channel k is linear in the window plus, with ``hidden`` > 0, a sum over that many
    clipped linear features of the window, the channel's own.

    Parameters
    ----------
    channels
        C.
    points
        Number of operating points; each has a bias of its own for every channel.
    hidden
        Features a channel.
    window
        Sites on a side of the window, odd.
    """

    causal: Tensor

    def __init__(self, channels: int, points: int, hidden: int = 0, window: int = 3) -> None:
        super().__init__()
        self.channels, self.hidden, self.window = channels, hidden, window
        features = channels * (1 + hidden)
        self.weight = nn.Parameter(torch.zeros(features, channels, window, window))
        self.own = nn.Parameter(torch.zeros(features, 1, window, window))
        self.bias = nn.Parameter(torch.zeros(points, features))
        self.mix = nn.Parameter(torch.zeros(hidden, channels))
        with torch.no_grad():
            self.bias[:, :channels] = -2.0
            if hidden:
                self.weight[channels:].normal_(0, 0.05)
                self.mix.normal_(0, 0.1)
        k = torch.arange(channels)
        causal = (k[None, :] < k[:, None]).float().repeat(1 + hidden, 1)
        self.register_buffer("causal", causal[:, :, None, None], persistent=False)

    def forward(self, x: Tensor, point: Tensor) -> Tensor:
        """Logits of all bits at once, B x C x H x W, as a decoder would find them one by one.

        Parameters
        ----------
        x
            The bits, 0 or 1 in float, B x C x H x W; inactive ones 0.
        point
            Operating points: B, int64.
        """
        pad = self.window // 2
        features = conv2d(x, self.weight * self.causal, padding=pad)
        even = checkerboard(x)
        groups = self.channels
        anchors = x * even
        own = torch.cat(
            [
                conv2d(anchors, part, padding=pad, groups=groups)
                for part in torch.split(self.own, self.channels)
            ],
            1,
        )
        features = features + own * (1 - even) + self.bias[point][:, :, None, None]
        logits: Tensor
        logits, *hidden = torch.split(features, self.channels, 1)
        for feature, mix in zip(hidden, self.mix, strict=True):
            logits = logits + feature.clamp(0, 4) * mix[:, None, None]
        return logits


def checkerboard(x: Tensor) -> Tensor:
    """1 on the even sites of B x C x H x W, which are coded first, and 0 on the odd: H x W."""
    rows = torch.arange(x.shape[-2], device=x.device)[:, None]
    columns = torch.arange(x.shape[-1], device=x.device)[None]
    return ((rows + columns + 1) % 2).to(x.dtype)


def bits(logits: Tensor, x: Tensor, active: Tensor) -> Tensor:
    """The cost of the active bits of each image under the model, in bits: B.

    Differentiable in all three, each B x C x H x W; in `x`, a bit that costs much is drawn to its
    likelier value.
    """
    cost = softplus(logits.float()) - x * logits.float()
    return LOG2_E * (active * cost).sum((1, 2, 3))
