"""A start from what is known: the linear path as a lapped orthogonal transform.

Of the products of two windows of `lic_bench.learned.lapped` and a principal component of colour,
192 for each block of 8x8, the 96 are kept that have the most energy in photographs. All are
orthonormal: an error in any of them is the same error in RGB.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from lic_bench.codecs.compressive_autoencoder.model import LATENTS, CompressiveAutoencoder
from lic_bench.learned.lapped import STRIDE, lapped, mirrored

_SMALL = 0.02  # of the last layer of each half, against a random start


def normalise(net: CompressiveAutoencoder, x: Tensor) -> None:
    """Set the fixed normalisation to what photographs have, B x 3 x H x W, 0 to 255."""
    net.mean.copy_(x.mean((0, 2, 3)))
    net.deviation.copy_(x.std((0, 2, 3)))


@torch.no_grad()
def start(net: CompressiveAutoencoder, x: Tensor, steps: Tensor) -> None:
    """Set a network with a linear path to a transform codec.

    Parameters
    ----------
    net
        Its normalisation is set.
    x
        Crops of photographs, B x 3 x H x W, 0 to 255: they tell what matters.
    steps
        The quantiser's step at each rate, in 8-bit steps of luma.
    """
    pixels = (x - net.mean[:, None, None]).movedim(1, 0).flatten(1).double()
    _, colour = torch.linalg.eigh(pixels @ pixels.T)
    windows = torch.from_numpy(np.einsum("ai,bj->abij", lapped(), lapped())).view(-1, 16, 16)
    products = torch.einsum("kij,cp->pkcij", windows, colour).reshape(-1, 3, 16, 16).float()
    energy = conv2d(mirrored(x - net.mean[:, None, None]), products, stride=STRIDE)
    energy = energy.square().mean((0, 2, 3))
    chosen = energy.argsort(descending=True)[:LATENTS]
    net.analysis.weight.copy_(products[chosen])
    net.synthesis.copy_(products[chosen])
    for half in (net.encoder, net.decoder):
        weight, bias = list(half.parameters())[-2:]
        weight.mul_(_SMALL)
        bias.zero_()
    # A grey of one 8-bit step has the length of the root of three in RGB.
    log_step = (steps * 3**0.5).log()
    net.log_scale.copy_(-log_step[:, None].expand(-1, LATENTS))
    net.log_step.copy_(steps.log())
    # The network sees no coefficient that is much larger than a step.
    deviation = energy[chosen].sqrt() * net.log_scale.exp()
    net.log_gain.copy_((2 / deviation).clamp_max(1).log())
