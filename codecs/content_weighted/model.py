"""The network of content-weighted image compression.

M. Li, W. Zuo, S. Gu, D. Zhao, D. Zhang, "Learning convolutional networks for content-weighted image
compression", CVPR 2018, section 3 and figure 2, in the form in which the authors released it
(github.com/limuhit/ImageCompression, ``compress_v1_128_imp.prototxt``). With its default settings
`ContentWeightedNet` is that network. Three settings depart from it:

- ``width`` makes every layer narrower, so that a CPU can train it;
- ``points`` > 1 makes one network serve several rates: each operating point has a gain and a bias
  for each output of the encoder, a gain for each input of the decoder, and a bias of the
  importance;
- ``coefficients`` > 0 adds a linear path beside encoder and decoder. `start` sets it to a discrete
  cosine transform, so that training starts from a known codec instead of from noise. The encoder,
  network and linear path together, then yields that many real coefficients a site, and the code
  channels are their digits in balanced ternary (`Digits`). The importance branch sees the code too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import fold

from lic_bench.codecs.content_weighted.digits import Digits
from lic_bench.learned.pyramid import FRACTION_BITS, quantise
from lic_bench.learned.quantise import binarize, importance_level, importance_mask

STRIDE = 8
"""Pixels on a side of the block that one site of the code stands for."""
MEANS = 3
"""Of the coefficients, the first are the means of a block: Y, Cb, Cr."""


@dataclass(frozen=True)
class Settings:
    """What makes one network differ from another; the defaults are the paper's.

    Attributes
    ----------
    width
        Channels of the first layer; all other layers keep the paper's proportion to it.
    n
        Code channels, a multiple of `levels`.
    levels
        L, the number of levels of the importance map.
    points
        Number of operating points.
    coefficients
        Coefficients of the linear path beside encoder and decoder; 0: there is none.
    """

    width: int = 128
    n: int = 64
    levels: int = 16
    points: int = 1
    coefficients: int = 0

    @property
    def steered(self) -> bool:
        """Whether gains and biases set the operating point."""
        return self.points > 1 or self.coefficients > 0


class Residual(nn.Module):
    """ReLU(x + ReLU(conv(ReLU(conv(x))))): with a ReLU before the sum too, as released."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, inner, 3, padding=1)
        self.b = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Any B x channels x H x W to the same shape."""
        return torch.relu(x + torch.relu(self.b(torch.relu(self.a(x)))))


class Codes(NamedTuple):
    """What the encoder makes of a batch."""

    bits: Tensor
    """B(e), 0 or 1: B x n x H/8 x W/8."""
    p: Tensor
    """Importance in (0, 1): B x 1 x H/8 x W/8."""
    z: Tensor
    """What was quantised: coefficients in steps, B x M x H/8 x W/8, or features."""


class Windows(nn.Module):
    """Adds up 16x16 windows at a stride of 8: a transposed convolution from n to 3 channels.

    As a product and a sum, which on a CPU takes a third of the time of `nn.ConvTranspose2d`.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n, 3, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        """B x n x H x W to B x 3 x 8H x 8W."""
        size = (STRIDE * x.shape[2], STRIDE * x.shape[3])
        windows = self.weight.flatten(1).T @ x.flatten(2)
        return fold(windows, size, 16, padding=4, stride=STRIDE)


class ContentWeightedNet(nn.Module):
    """Encoder, binarizer, importance map and decoder."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        w, n, m = settings.width, settings.n, settings.coefficients
        self.encoder = nn.Sequential(
            nn.Conv2d(3, w, 8, stride=4, padding=2),
            nn.ReLU(),
            Residual(w, w),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
            nn.ReLU(),
            Residual(2 * w, w),
            nn.Conv2d(2 * w, 2 * w, 3, padding=1),
            nn.ReLU(),
            Residual(2 * w, w),
        )
        self.conv4 = nn.Conv2d(2 * w, m or n, 1)
        self.importance = nn.Sequential(
            nn.Conv2d(2 * w + (n if m else 0), w, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(w, 1, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(n, 4 * w, 3, padding=1),
            nn.ReLU(),
            Residual(4 * w, w),
            nn.Conv2d(4 * w, 4 * w, 3, padding=1),
            nn.ReLU(),
            Residual(4 * w, w),
            nn.PixelShuffle(2),
            nn.Conv2d(w, 2 * w, 3, padding=1),
            nn.ReLU(),
            Residual(2 * w, w),
            nn.PixelShuffle(4),
            nn.Conv2d(w // 8, w // 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(w // 4, 3, 1),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias) if layer.bias is not None else None
        if m:
            # 16x16 windows at a stride of 8: blocks overlap, as in a lapped transform.
            self.analysis = nn.Conv2d(3, m, 16, stride=8, padding=4, bias=False)
            self.digits = Digits(n, settings.points, m)
            self.synthesis = Windows(n)
        if settings.steered:
            # Logarithms, so that a step of a training changes small and large gains alike.
            self.log_gain = nn.Parameter(torch.zeros(settings.points, m or n))
            self.bias = nn.Parameter(torch.zeros(settings.points, m or n))
            self.log_code_gain = nn.Parameter(torch.zeros(settings.points, n))
            self.importance_bias = nn.Parameter(torch.zeros(settings.points))

    def encode(self, x: Tensor, point: Tensor) -> Codes:
        """Compute the code before the mask.

        Parameters
        ----------
        x
            Images, B x 3 x H x W, 8-bit steps 0 to 255 in float; H and W are multiples of 8.
        point
            Index of the operating point of each image: B, int64.
        """
        x = (x - 127.5) / 127.5
        feature = self.encoder(x)
        z = self.conv4(feature)
        if self.settings.coefficients:
            z = z + _precisely(self.analysis, x)
        if self.settings.steered:
            gain, bias = self.log_gain[point].exp(), self.bias[point]
            z = z * gain[:, :, None, None] + bias[:, :, None, None]
        if self.settings.coefficients:
            bits = self.digits(z, point)
            feature = torch.cat([feature, bits], 1)
        else:
            bits = binarize(torch.sigmoid(z))
        importance = self.importance(feature)
        if self.settings.steered:
            importance = importance + self.importance_bias[point][:, None, None, None]
        return Codes(bits, torch.sigmoid(importance), z)

    def worths(self) -> Tensor:
        """What each code channel adds to each number that is coded: M x n."""
        if not self.settings.coefficients:
            return torch.eye(self.settings.n)
        digits = self.digits
        worth = torch.zeros(self.settings.coefficients, self.settings.n, device=digits.place.device)
        places = torch.arange(self.settings.n, device=worth.device)
        worth[digits.coefficient, places] = 3.0**digits.place * digits.sign
        return worth

    def unrounded(self, code: Tensor, z: Tensor) -> Tensor:
        """The numbers whose digits a masked code is; means in 2^-6 of a step: int16, B x M x H x W.

        The mask keeps high digits before low ones. So what it leaves are again the digits of a
        whole number.
        """
        values = torch.einsum("mn,bnhw->bmhw", self.worths().to(code), code)
        if self.settings.coefficients:
            fine, most = 1 << FRACTION_BITS, torch.iinfo(torch.int16).max
            values[:, :MEANS] = (z[:, :MEANS] * fine).round().clamp(-most, most)
        return values.to(torch.int16)

    def coded(self, values: Tensor) -> NDArray[np.int8]:
        """What is coded of the `unrounded` numbers of whole images."""
        found = values.cpu().numpy()
        numbers: NDArray[np.int8] = found.astype(np.int8)
        if self.settings.coefficients:
            means = found[:, :MEANS].astype(np.float64) / (1 << FRACTION_BITS)
            numbers[:, :MEANS] = quantise(means).numbers
        return numbers

    @property
    def mean_channels(self) -> int:
        """Code channels that are digits of means: the first ones."""
        if not self.settings.coefficients:
            return 0
        return int((self.digits.coefficient < MEANS).sum())

    def with_means(self, code: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """A code whose means are those that are coded, from coarse to fine.

        Parameters
        ----------
        code
            Masked or not, B x n x H x W.
        z
            Coefficients in steps: what was quantised. Gradients pass the rounding straight through.

        Returns
        -------
        The code, and what the means have left over from their predictions, in steps of each site:
        B x means x H x W.
        """
        if not self.settings.coefficients:
            return code, code[:, :0]
        z = z[:, :MEANS].float()
        unit = 1 << FRACTION_BITS
        coded = quantise(z.detach().cpu().numpy())
        planes, predicted, steps = (
            torch.from_numpy(x).to(z) / unit for x in (coded.planes, coded.predicted, coded.steps)
        )
        means = self.digits.of_real(z + (planes - z).detach())
        code = torch.cat([means.to(code.dtype), code[:, means.shape[1] :]], 1)
        return code, (z - predicted) / steps

    def mask(self, p: Tensor) -> Tensor:
        """The mask over the code channels of an importance: B x 1 x H x W to B x n x H x W."""
        return importance_mask(p, self.settings.n, self.settings.levels)

    def planes(self, p: Tensor) -> Tensor:
        """The importance map as L - 1 binary planes: plane l is 1 where the level exceeds l + 1.

        It is the mask of a code with one channel a level, less the first, which is always kept; so
        the gradient is that of the mask.
        """
        levels = self.settings.levels
        return importance_mask(p, levels, levels)[:, 1:]

    def level(self, p: Tensor) -> Tensor:
        """The importance map: B x 1 x H x W, 1 to L, int64."""
        return importance_level(p, self.settings.levels)

    def decode(self, code: Tensor, point: Tensor) -> Tensor:
        """Reconstruct images from masked codes.

        Parameters
        ----------
        code
            M ∘ B, B x n x H x W.
        point
            Operating points: B, int64.

        Returns
        -------
        B x 3 x 8H x 8W, 8-bit steps in float, not clipped.
        """
        if self.settings.steered:
            code = code * self.log_code_gain[point].exp()[:, :, None, None]
        x: Tensor = self.decoder(code)
        if self.settings.coefficients:
            x = x + _precisely(self.synthesis, code)
        return x * 127.5 + 127.5


def _precisely(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer in float32, even where a training computes in bfloat16 around it.

    The linear path carries coefficients of many steps and samples of 8 bits: more digits than
    bfloat16 has.
    """
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(x.float())
    return result
