"""A start from what is known: the linear path as a lapped orthogonal transform.

Of the 64 products of two windows of `lic_bench.learned.lapped` the 32 are kept that have the most
energy in photographs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from lic_bench.codecs.cae_pca.model import LATENTS, SAMPLE, CaeNet
from lic_bench.learned.lapped import STRIDE, lapped, mirrored


def start(net: CaeNet, luma: Tensor) -> None:
    """Set a network with a linear path to a transform codec.

    Parameters
    ----------
    luma
        Crops of photographs, B x 1 x H x W, as the network takes them: they tell which products
        of windows matter, and how large they become.
    """
    windows = lapped()
    products = torch.from_numpy(np.einsum("ai,bj->abij", windows, windows)).float()
    found = conv2d(mirrored(luma), products.reshape(-1, 1, 16, 16), stride=STRIDE)
    energy = found.square().mean((0, 2, 3))
    chosen = energy.argsort(descending=True)[:LATENTS]
    basis = products.reshape(-1, 1, 16, 16)[chosen]
    with torch.no_grad():
        net.analysis.weight.copy_(basis)
        net.synthesis.weight.copy_(basis)
        for half in (net.encoder, net.decoder):
            list(half.parameters())[-2].mul_(0.02)  # the last weights
        if net.settings.points:
            # The network sees no latent that is much larger than a step of its point.
            deviation = energy[chosen].sqrt() / SAMPLE
            row = torch.arange(net.settings.points)
            point = row + net.settings.finest - net.settings.points + 1
            step = 2.0 ** -((point + 1) // 2)
            net.log_gain.copy_((2 * step[:, None] / deviation).clamp_max(1).log())
