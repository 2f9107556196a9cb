"""A start from what is known: the linear path as a lapped orthogonal transform.

H. S. Malvar, D. H. Staelin, "The LOT: transform coding without blocking effects", IEEE Transactions
on Acoustics, Speech, and Signal Processing 37 (4), 1989: windows of 16 samples at a stride of 8,
made of the discrete cosine transform and the principal components of what that leaves of a signal
of correlation 0.95. Of the 64 products of two windows the 32 are kept that have the most energy in
photographs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d

from lic_bench.codecs.cae_pca.model import LATENTS, SAMPLE, STRIDE, CaeNet, mirrored

_CORRELATION = 0.95


def lapped() -> NDArray[np.float64]:
    """The windows of the transform: 8 x 16, orthonormal to each other and to their neighbours."""
    k, half = np.arange(STRIDE), STRIDE // 2
    dct = np.cos((2 * k[None] + 1) * k[:, None] * np.pi / (2 * STRIDE)) / 2
    dct[0] /= np.sqrt(2)
    even, odd = dct[::2], dct[1::2]
    difference, mirror = even - odd, (even - odd)[:, ::-1]
    first = np.block([[difference, mirror], [difference, -mirror]]) / 2
    distance = np.abs(np.subtract.outer(np.arange(16), np.arange(16)))
    covariance = first @ _CORRELATION**distance @ first.T
    windows = np.zeros((STRIDE, 2 * STRIDE))
    for rows, place in ((slice(0, half), 0), (slice(half, STRIDE), 1)):
        # Even windows and odd ones: between them there is no correlation.
        values, vectors = np.linalg.eigh(covariance[rows, rows])
        windows[place::2] = vectors[:, np.argsort(-values)].T @ first[rows]
    return windows


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
