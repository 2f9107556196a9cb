"""A start from what is known: the linear path as a lapped orthogonal transform of Y, Cb and Cr.

Of the 64 products of its windows the 13 of luma are kept that have the most energy in photographs,
and of Cb and Cr the first. Steps are those that a uniform quantiser would have at each point, bent
so that four standard deviations fit into 15 levels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from lic_bench.codecs.nctu.model import CHANNELS, MAGNITUDES, MIDDLE, NctuNet
from lic_bench.learned.lapped import STRIDE, mirrored, products

STEPS = (128.0, 90.0, 64.0, 44.0, 30.0, 18.0)
"""Of the operating points, in 8-bit steps of an orthonormal transform."""
GROUPS = (0,) * 13 + (1, 2, 0)
"""Which plane each map stands for: Y, Cb, Cr; the last is what is left of the first."""
MEANS = (0, 13, 14, 15)
"""Maps of means of blocks."""
_KEPT = (13, 1, 1)
_WORTH = (1.0, 1.086, 0.825)  # what a squared error of Y, Cb, Cr adds to the mean of R, G, B
_DEVIATIONS = 4.0
_LARGEST_MEAN = 8 * MIDDLE  # of a block, in an orthonormal transform
# ITU-T T.871. Rows: Y, Cb, Cr from R, G, B; and what each adds to these.
_FORWARD = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_BACKWARD = ((1.0, 1.0, 1.0), (0.0, -0.344136, 1.772), (1.402, -0.714136, 0.0))


def start(net: NctuNet, x: Tensor) -> None:
    """Set a network with a linear path to a transform codec.

    Parameters
    ----------
    net
        One of as many points as `STEPS`.
    x
        Crops of photographs, B x 3 x H x W, 0 to 255.
    """
    windows = products()
    planes = torch.einsum("pc,bchw->bphw", x.new_tensor(_FORWARD), x - MIDDLE)
    analysis, synthesis, deviations = [], [], []
    for plane, count in enumerate(_KEPT):
        found = conv2d(mirrored(planes[:, plane : plane + 1]), windows, stride=STRIDE)
        energy = _WORTH[plane] * found.square().mean((0, 2, 3))
        chosen = energy.argsort(descending=True)[:count]
        analysis.append(windows[chosen] * x.new_tensor(_FORWARD[plane])[:, None, None])
        synthesis.append(windows[chosen] * x.new_tensor(_BACKWARD[plane])[:, None, None])
        deviations.append(energy[chosen].sqrt())
    deviation = torch.cat([*deviations, deviations[0][:1]])
    step = torch.tensor(STEPS)[:, None].repeat(1, CHANNELS)
    # The first map holds all means that there are; the last what lies between two of its levels.
    step[:, 0] = step[:, 0].clamp_min(_LARGEST_MEAN / MAGNITUDES)
    step[:, -1] = step[:, -1].clamp_min(_LARGEST_MEAN / MAGNITUDES**2)
    reach = _DEVIATIONS * deviation / step
    bend = (1 - MAGNITUDES / reach).clamp_min(0) / MAGNITUDES
    bend[:, 0], bend[:, -1] = 0, 0
    with torch.no_grad():
        net.analysis.weight.copy_(torch.cat([*analysis, analysis[0][:1]]))
        net.synthesis.copy_(torch.cat([*synthesis, synthesis[0][:1]]))
        net.log_step.copy_(step.log())
        net.bend.copy_(bend)
        net.scale.copy_(torch.tensor(STEPS))
        # To the network all points look alike.
        net.gain.copy_(0.5 * step / torch.tensor(STEPS)[:, None])
        net.gain.clamp_(max=1)
        for half in (net.encoder, net.decoder, net.importance_net):
            list(half.parameters())[-2].mul_(0.02)  # the last weights
