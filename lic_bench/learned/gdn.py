"""Generalised divisive normalisation, and its approximate inverse.

J. Ballé, V. Laparra, E. P. Simoncelli, "End-to-end optimized image compression", ICLR 2017,
equations 2 and 6, with the exponents 2 and 1/2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

LEAST = 1e-6
"""That beta never falls below, so that the root has a slope."""


class GDN(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2); the inverse multiplies instead.

    Both are kept as their roots, so that they cannot become negative.

    Parameters
    ----------
    channels
        Of the input, and of the output.
    inverse
        IGDN.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_root = nn.Parameter(torch.ones(channels))
        # Beside the diagonal not quite 0, where the slope of a square is none.
        self.gamma_root = nn.Parameter(0.1**0.5 * torch.eye(channels) + 1e-3)

    @property
    def beta(self) -> Tensor:
        """Beta: channels, positive."""
        return self.beta_root.square() + LEAST

    @property
    def gamma(self) -> Tensor:
        """Gamma: channels x channels, not negative."""
        return self.gamma_root.square()

    def forward(self, x: Tensor) -> Tensor:
        """Any B x channels x H x W to the same shape."""
        norm = conv2d(x.square(), self.gamma[:, :, None, None], self.beta)
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())
