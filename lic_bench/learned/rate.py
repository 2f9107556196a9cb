"""The rate of a code while its network is trained: a small model of binary channels, all at once.

The symbols are bits x_kij in C channels, some of them inactive (known to be 0, and not coded). The
logit of a bit is linear in the bits around it: of all channels before, and on every other site of a
checkerboard in the four neighbours of its own (D. He et al., "Checkerboard context model for
efficient learned image compression", CVPR 2021, section 3.2). What finally codes the bits, in
`lic_bench.learned.context`, sees more and needs a fifth less of them; this one costs a single
convolution, and tells what each bit, also an inactive one, would cost.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, softplus

LOG2_E = 1.4426950408889634


class RateModel(nn.Module):
    """Logits of binary channels from the channels before and, on odd sites, the even neighbours.

    Parameters
    ----------
    channels
        C.
    points
        Number of operating points; each has a bias of its own for every channel.
    """

    causal: Tensor

    def __init__(self, channels: int, points: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight = nn.Parameter(torch.zeros(channels, channels, 3, 3))
        self.own = nn.Parameter(torch.zeros(channels, 1, 3, 3))
        self.bias = nn.Parameter(torch.full((points, channels), -2.0))
        k = torch.arange(channels)
        causal = (k[None, :] < k[:, None]).float()
        self.register_buffer("causal", causal[:, :, None, None], persistent=False)

    def forward(self, x: Tensor, point: Tensor) -> Tensor:
        """Logits of all bits at once, B x C x H x W.

        Parameters
        ----------
        x
            The bits, 0 or 1 in float, B x C x H x W; inactive ones 0.
        point
            Operating points: B, int64.
        """
        even = _checkerboard(x)
        own = conv2d(x * even, self.own, padding=1, groups=self.channels)
        before = conv2d(x, self.weight * self.causal, padding=1)
        logits: Tensor = before + own * (1 - even) + self.bias[point][:, :, None, None]
        return logits


def _checkerboard(x: Tensor) -> Tensor:
    """1 on the even sites of B x C x H x W and 0 on the odd: H x W."""
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
