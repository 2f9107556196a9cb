"""The trained codec at work: images to bytes and back."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from lic_bench.codecs.cae_pca.exact import ExactDecoder
from lic_bench.codecs.cae_pca.model import PLANES, CaeNet, ycbcr
from lic_bench.codecs.cae_pca.weights import form, read_weights
from lic_bench.errors import BitstreamError
from lic_bench.learned.bitplanes import PlaneCoder
from lic_bench.learned.bitstream import Format, Header, pack, unpack
from lic_bench.learned.lapped import STRIDE
from lic_bench.learned.parts import cut
from lic_bench.learned.safe_weights import loading
from lic_bench.learned.tiles import tiles

if TYPE_CHECKING:
    from lic_bench.images.image import Image

MAGIC = b"LICp"
VERSION = 1

# Larger images go through the encoder in tiles of so many sites a side; a site sees 2 sites around.
_TILE = 64
_MARGIN = 4


class Model:
    """Network, coder and format of one file of weights, on one device."""

    def __init__(self, path: Path, device: str) -> None:
        net, chances, settings = read_weights(path)
        self.device, self.settings = torch.device(device), settings
        self.net = CaeNet(settings).eval()
        self.net.load_state_dict(net)
        self.net.to(self.device)
        self.coder = PlaneCoder(form(settings), chances)
        self.decoder = ExactDecoder(net, settings, self.device)
        weights = hashlib.sha256(path.read_bytes()).digest()[:4]
        # A point is the number of half planes.
        self.format = Format(MAGIC, VERSION, weights, self.coder.form.halves + 1)

    def encode(self, image: Image, point: int) -> bytes:
        """Encode an image, uint8, H x W x 3, with so many half planes."""
        header = Header(image.shape[1], image.shape[0], point)
        pack(self.format, header, b"")  # refuses what does not fit, before there is work
        return pack(self.format, header, self.coder.encode(latents(self.net, image), point))

    def decode(self, stream: bytes) -> Image:
        """Decode a stream to uint8, H x W x 3: the same everywhere."""
        header, payload = unpack(self.format, stream)
        if not header.point:  # a picture of any size, for no byte
            raise BitstreamError("the header makes no sense: no planes")
        rows, columns = -(-header.height // STRIDE), -(-header.width // STRIDE)
        v, unknown = self.coder.decode(payload, rows, columns, header.point)
        pixels = self.decoder.pixels(v, unknown, header.point)
        return np.ascontiguousarray(pixels[: header.height, : header.width])

    def truncate(self, stream: bytes, point: int) -> bytes:
        """The stream of a lower point: the beginning of the payload, under a new header."""
        header, payload = unpack(self.format, stream)
        part = cut(payload, point)
        return pack(self.format, Header(header.width, header.height, point), part)


def latents(net: CaeNet, image: Image) -> NDArray[np.int16]:
    """Rotated latents, rounded to B bits: 96 x H/8 x W/8, sides rounded up."""
    height, width, _ = image.shape
    device = net.rotation.device
    x = torch.tensor(image).permute(2, 0, 1)[None].float()
    x = pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
    planes = ycbcr(x)[0][:, None].to(device)
    rows, columns = planes.shape[-2] // STRIDE, planes.shape[-1] // STRIDE
    most = 2 ** (net.settings.bits - 1)
    found = np.empty((PLANES, net.rotation.shape[-1], rows, columns), np.int16)
    # Full float32 on a GPU too, and the same from run to run.
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        for plane in range(PLANES):
            for tile in tiles(rows, columns, _TILE, _MARGIN):
                part = planes[plane : plane + 1, :, *tile.outer(STRIDE)]
                y = net.encode(part, torch.tensor([plane], device=device))[0]
                y = (y * most).round().clamp(1 - most, most - 1).cpu()
                found[plane, :, *tile.own()] = y[:, *tile.within()].numpy()
    return found.reshape(-1, rows, columns)


@lru_cache(maxsize=2)
def load_model(path: Path, device: str) -> Model:
    """Load weights once.

    Raises
    ------
    UnavailableError
        Where the file does not hold a network of this codec.
    """
    with loading("cae-pca", path):
        return Model(path, device)
