"""The network: a convolutional autoencoder of one colour plane, and the rotation of its latents.

Z. Cheng, H. Sun, M. Takeuchi, J. Katto, "Deep convolutional autoencoder-based lossy image
compression", PCS 2018 (arXiv 1804.09535), section II. Y, Cb and Cr each go through the same network
on their own; a plane becomes 32 feature maps of an eighth of its sides. These are rotated onto
their principal components and rounded to B bits.

With its default settings `CaeNet` is the paper's. Two settings depart from it:

- ``linear`` adds a linear path beside encoder and decoder, which `start` sets to a lapped
  transform;
- ``points`` > 0 gives each operating point a gain for each input of the decoder's network, whose
  output is then in steps of the point's quantiser, and tells where within their steps the latents
  lie in the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from lic_bench.learned.lapped import STRIDE, added_up, mirrored

LATENTS = 32
"""Feature maps of a plane."""
PLANES = 3
"""Y, Cb, Cr."""
SAMPLE = 2048 / 127.5
"""What a latent of 1 is in samples: beside the linear path latents count 2048 8-bit steps."""
_REACH = 1 / 8  # of an output of the encoder's network beside the linear path

# Rows: Y, Cb, Cr of JPEG (ITU-T T.871) from R, G, B.
_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclass(frozen=True)
class Settings:
    """What makes one network differ from another; the defaults are the paper's.

    Attributes
    ----------
    filters
        Of the encoder's six layers; the decoder mirrors them.
    bits
        B, of the quantiser.
    linear
        Whether there is a linear path beside encoder and decoder.
    points
        Operating points that have gains of their own; 0: there are no gains.
    finest
        The point of the highest rate, as `steps` counts them: 2 (B - 1) keeps all planes.
    """

    filters: tuple[int, ...] = (32, 32, 64, 64, 64, LATENTS)
    bits: int = 12
    linear: bool = False
    points: int = 0
    finest: int = 22


class Windows(nn.Module):
    """Adds up 16x16 windows at a stride of 8: the inverse of a lapped transform.

    At the border of the plane, what reaches over it is folded back, as if the picture went on as
    its own mirror image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(LATENTS, 1, 16, 16))

    def forward(self, y: Tensor) -> Tensor:
        """B x 32 x H x W to B x 1 x 8H x 8W."""
        return added_up(self.weight.flatten(1).T @ y.flatten(2), y.shape[2], y.shape[3])


class CaeNet(nn.Module):
    """Encoder, decoder and the rotation between them.

    Samples of a plane are (8-bit value - 127.5) / 127.5; latents are within -1 to 1, as the
    quantiser takes them.
    """

    rotation: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        a, b, c, d, e, n = settings.filters
        self.encoder = nn.Sequential(
            nn.Conv2d(1, a, 3, padding=1), nn.PReLU(),
            nn.Conv2d(a, b, 3, stride=2, padding=1), nn.PReLU(),
            nn.Conv2d(b, c, 3, padding=1), nn.PReLU(),
            nn.Conv2d(c, d, 3, stride=2, padding=1), nn.PReLU(),
            nn.Conv2d(d, e, 3, padding=1), nn.PReLU(),
            nn.Conv2d(e, n, 3, stride=2, padding=1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(n, e, 4, stride=2, padding=1), nn.PReLU(),
            nn.Conv2d(e, d, 3, padding=1), nn.PReLU(),
            nn.ConvTranspose2d(d, c, 4, stride=2, padding=1), nn.PReLU(),
            nn.Conv2d(c, b, 3, padding=1), nn.PReLU(),
            nn.ConvTranspose2d(b, a, 4, stride=2, padding=1), nn.PReLU(),
            nn.Conv2d(a, 1, 3, padding=1),
        )  # fmt: skip
        if settings.linear:
            self.analysis = nn.Conv2d(1, n, 16, stride=STRIDE, bias=False)
            self.synthesis = Windows()
        if settings.points:
            self.log_gain = nn.Parameter(torch.zeros(settings.points, n))
            self.offset = nn.Parameter(torch.full((settings.points, n), 0.4))
        # Columns: the principal components of each plane's latents, by falling energy.
        self.register_buffer("rotation", torch.eye(n).repeat(PLANES, 1, 1))

    def encode(self, x: Tensor, plane: Tensor) -> Tensor:
        """Rotated latents: B x 1 x H x W to B x 32 x H/8 x W/8.

        Parameters
        ----------
        x
            Samples of planes; H and W are multiples of 8.
        plane
            Which plane each is: B, int64, 0 to 2.
        """
        y = self.encoder(x)
        if self.settings.linear:
            y = (_REACH * y + self.analysis(mirrored(x))) / SAMPLE
        return torch.einsum("bnhw,bnm->bmhw", y, self.rotation[plane])

    def decode(self, y: Tensor, plane: Tensor, point: Tensor) -> Tensor:
        """Reconstruct planes from rotated latents: the inverse of `encode`, not clipped.

        Parameters
        ----------
        point
            The operating point of each, as `steps` counts them: B, int64.
        """
        y = torch.einsum("bmhw,bnm->bnhw", y, self.rotation[plane])
        if not self.settings.points:
            z: Tensor = self.decoder(y)
        else:
            step = steps(point)[:, None, None, None]
            gain = self.log_gain[self.gain_row(point)].exp()[:, :, None, None]
            # In and out are steps, so that all rates look alike to the network.
            z = self.decoder(y / step * gain) * (step * SAMPLE)
        return z + SAMPLE * self.synthesis(y) if self.settings.linear else z

    def dequantised(self, whole: Tensor, step: Tensor, point: Tensor) -> Tensor:
        """Latents from what is `kept` of them: where planes were cut off, from within the step."""
        if self.settings.points:
            offset = self.offset[self.gain_row(point)][:, :, None, None]
        else:
            offset = torch.full_like(whole, 0.5)
        finest = 2.0 ** (1 - self.settings.bits)
        return (whole + whole.sign() * offset * (step > finest)) * step

    def gain_row(self, point: Tensor) -> Tensor:
        """The row of gains of an operating point; beyond those that have one, the nearest."""
        first = self.settings.finest - self.settings.points + 1
        return (point - first).clamp(0, self.settings.points - 1)


def steps(point: Tensor) -> Tensor:
    """The step of the quantiser at an operating point.

    A point counts half planes: 2 k keeps k of the B - 1 bit planes of the magnitudes; with one
    more, those of the next plane that are expected to matter.
    """
    return 2.0 ** -((point + 1) // 2)


def kept(y: Tensor, point: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Round latents to B bits, y' = [y 2^(B-1)], and cut the planes off that a point leaves.

    Parameters
    ----------
    y
        Rotated latents, B x 32 x H x W.
    point
        B, int64.

    Returns
    -------
    Whole numbers of steps, and the steps: of y's shape.
    """
    whole = (y * 2 ** (bits - 1)).round()
    whole = whole.clamp(1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    places = (bits - 1 - (point + 1) // 2)[:, None, None, None]
    coarse = (whole.abs() / 2.0 ** (places + 1)).floor()
    half = (point % 2 == 1)[:, None, None, None]
    # Of a plane the first half is what has something around it in the planes before.
    busy = max_pool2d(coarse, 3, 1, 1) > 0
    dropped = places + (half & ~busy).to(places.dtype)
    return whole.sign() * (whole.abs() / 2.0**dropped).floor(), 2.0 ** (dropped - bits + 1)


def ycbcr(rgb: Tensor) -> Tensor:
    """8-bit samples, B x 3 x H x W, 0 to 255, to Y, Cb, Cr as the network takes them."""
    matrix = rgb.new_tensor(_YCBCR)
    return torch.einsum("pc,bchw->bphw", matrix, rgb - 127.5) / 127.5
