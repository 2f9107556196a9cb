"""The trained codec at work: images to bytes and back."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from lic_bench.codecs.nctu.exact import ExactDecoder
from lic_bench.codecs.nctu.model import CHANNELS, NctuNet
from lic_bench.codecs.nctu.quantiser import BITS, kept
from lic_bench.codecs.nctu.weights import form, read_weights
from lic_bench.errors import SpecError
from lic_bench.learned.bitplanes import PlaneCoder
from lic_bench.learned.bitstream import Format, Header, pack, unpack
from lic_bench.learned.lapped import STRIDE
from lic_bench.learned.safe_weights import loading
from lic_bench.learned.tiles import tiles

if TYPE_CHECKING:
    from lic_bench.images.image import Image

MAGIC = b"LICn"
VERSION = 1

# Larger images go through the encoder in tiles of so many sites a side.
_TILE = 64


class Model:
    """Network, coders and format of one file of weights, on one device."""

    def __init__(self, path: Path, device: str) -> None:
        net, chances, settings = read_weights(path)
        self.device, self.settings = torch.device(device), settings
        self.net = NctuNet(settings).eval()
        self.net.load_state_dict(net)
        self.net.to(self.device)
        self.form = form(settings)
        self.coders = [PlaneCoder(self.form, own) for own in chances]
        self.decoder = ExactDecoder(net, settings, self.device)
        weights = hashlib.sha256(path.read_bytes()).digest()[:4]
        self.format = Format(MAGIC, VERSION, weights, settings.points)

    def encode(self, image: Image, point: int) -> bytes:
        """Encode an image, uint8, H x W x 3, at a point that is counted from 0."""
        if point >= self.settings.points:
            raise SpecError(
                f"there is no point {point + 1} in these weights: 1 to {self.settings.points}"
            )
        header = Header(image.shape[1], image.shape[0], point)
        pack(self.format, header, b"")  # refuses what does not fit, before there is work
        v = numbers(self.net, features(self.net, image, point), point)
        return pack(self.format, header, self.coders[point].encode(v, self.form.halves))

    def decode(self, stream: bytes) -> Image:
        """Decode a stream to uint8, H x W x 3: the same everywhere."""
        header, payload = unpack(self.format, stream)
        rows, columns = -(-header.height // STRIDE), -(-header.width // STRIDE)
        coder = self.coders[header.point]
        v, _ = coder.decode(payload, rows, columns, self.form.halves)
        pixels = self.decoder.pixels(v, header.point)
        return np.ascontiguousarray(pixels[: header.height, : header.width])


@torch.inference_mode()
def features(net: NctuNet, image: Image, point: int) -> Tensor:
    """Features of an image, 1 x 16 x H/8 x W/8, sides rounded up: on the CPU."""
    height, width, _ = image.shape
    device = next(net.parameters()).device
    x = torch.tensor(image).permute(2, 0, 1)[None].float()
    x = pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate").to(device)
    rows, columns = x.shape[2] // STRIDE, x.shape[3] // STRIDE
    found = torch.empty(1, CHANNELS, rows, columns)
    which = torch.tensor([point], device=device)
    # Full float32 on a GPU too, and the same from run to run.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for tile in tiles(rows, columns, _TILE, net.settings.reach):
            z = net.encode(x[:, :, *tile.outer(STRIDE)], which)
            found[:, :, *tile.own()] = z[:, :, *tile.within()].cpu()
    return found


@torch.inference_mode()
def numbers(net: NctuNet, z: Tensor, point: int) -> NDArray[np.int16]:
    """What is coded of features: quantised, and cut to the bits that matter: 16 x H x W."""
    device = next(net.parameters()).device
    v, which = net.numbers(z), torch.tensor([point], device=device)
    importance, (_, _, rows, columns) = torch.empty_like(z), z.shape
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        # Two sites for the outer layers, two for each block.
        for tile in tiles(rows, columns, 2 * _TILE, 2 + 2 * net.settings.importance):
            p = net.importance(z[:, :, *tile.outer()].to(device), which)
            importance[:, :, *tile.own()] = p[:, :, *tile.within()].cpu()
    # Weights from elsewhere may lead to what is no number.
    found = kept(v, importance.nan_to_num(BITS).round())[0]
    whole: NDArray[np.int16] = found.to(torch.int16).numpy()
    return whole


@lru_cache(maxsize=2)
def load_model(path: Path, device: str) -> Model:
    """Load weights once.

    Raises
    ------
    UnavailableError
        Where the file does not hold a network of this codec.
    """
    with loading("nctu", path):
        return Model(path, device)
