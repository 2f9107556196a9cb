"""Networks that adapt a representation to a rate-distortion tradeoff.

F. Yang, L. Herranz, J. van de Weijer, J. A. Iglesias Guitián, A. López, M. Mozerov, "Variable rate
deep image compression with modulated autoencoder", IEEE Signal Processing Letters 27, 2020, section
III, in the form of the authors' program (github.com/FireFYF/modulatedautoencoder, ``mae.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

SCALE = 2048.0
"""What a tradeoff is divided by before it enters the network."""
HIDDEN = 50


class Modulation(nn.Module):
    """m(lambda) = exp(W2 ReLU(W1 lambda / 2048 + b1) + b2): a factor for each channel.

    Parameters
    ----------
    channels
        Of the representation that is modulated.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(1, HIDDEN)
        self.out = nn.Linear(HIDDEN, channels)

    def log(self, tradeoff: Tensor) -> Tensor:
        """The logarithms of the factors: lambdas, B, to B x channels."""
        features = torch.relu(self.hidden(tradeoff[:, None] / SCALE))
        return linear(features, self.out.weight, self.out.bias)

    def forward(self, tradeoff: Tensor) -> Tensor:
        """The factors for lambdas, B: B x channels x 1 x 1."""
        return self.log(tradeoff).exp()[:, :, None, None]

    @torch.no_grad()
    def fit(self, tradeoffs: Tensor, logs: Tensor) -> None:
        """Set the network so that `log` is nearest to what is wanted at some lambdas.

        Its hidden units become corners between the least lambda and the greatest, evenly in their
        logarithms; between two of them a logarithm is a straight line.

        Parameters
        ----------
        tradeoffs
            Lambdas: K, rising.
        logs
            Wanted there: K x channels.
        """
        low, high = float(tradeoffs[0]) / SCALE, float(tradeoffs[-1]) / SCALE
        corners = torch.linspace(0, 1, HIDDEN + 1)[:-1]
        corners = low * (high / low) ** corners
        self.hidden.weight.copy_(corners[:, None].rsqrt())
        self.hidden.bias.copy_(-corners.sqrt())
        features = torch.relu(self.hidden(tradeoffs[:, None] / SCALE)).double()
        rows = torch.cat([features, torch.ones(len(features), 1).double()], 1)
        # A little damping keeps the weights small, which a half has digits for.
        normal = rows.T @ rows + 1e-6 * torch.eye(rows.shape[1])
        found = torch.linalg.solve(normal, rows.T @ logs.double())
        self.out.weight.copy_(found[:-1].T)
        self.out.bias.copy_(found[-1])
