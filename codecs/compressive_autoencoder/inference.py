"""The trained codec at work: images to bytes and back."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from lic_bench.codecs.compressive_autoencoder.exact import ExactDecoder
from lic_bench.codecs.compressive_autoencoder.model import LATENTS
from lic_bench.codecs.compressive_autoencoder.weights import read_histograms, read_network
from lic_bench.learned.bitstream import Format, Header, pack, unpack
from lic_bench.learned.lapped import STRIDE
from lic_bench.learned.safe_weights import loading
from lic_bench.learned.tables import TableDecoder, TableEncoder, cost, costs
from lic_bench.learned.tiles import Tile, tiles

if TYPE_CHECKING:
    from lic_bench.images.image import Image

MAGIC = b"CAEt"
VERSION = 1
LARGEST = 1 << 12
"""No coefficient is larger, in steps."""
_TILE, _MARGIN = 32, 6
"""A tile's sites on a side, and a margin wider than what a site can see, about five."""


class Transform:
    """Encoder and decoder of a file of weights, on one device: images to coefficients and back."""

    def __init__(self, path: Path, device: str) -> None:
        self.device, self.net = torch.device(device), read_network(path)
        self.tables = read_histograms(path)
        self.exact = ExactDecoder(self.net, self.device)
        self.rates = self.net.settings.rates
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.net.to(self.device)
        self._costs: dict[int, Tensor] = {}

    def coefficients(self, image: Image, rate: int) -> NDArray[np.int32]:
        """Rounded coefficients of an image, uint8, H x W x 3: 96 x H/8 x W/8, sides rounded up."""
        height, width, _ = image.shape
        x = torch.tensor(image).permute(2, 0, 1)[None].float()
        x = pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        rows, columns = (side // STRIDE for side in x.shape[2:])
        z = np.empty((LATENTS, rows, columns), np.int32)
        with torch.inference_mode(), _full_precision():
            for tile in tiles(rows, columns, _TILE, _MARGIN):
                made = self.chosen(x[..., *tile.outer(STRIDE)].to(self.device), rate)
                whole = made[0].to(torch.int32).cpu().numpy()
                z[:, *tile.own()] = whole[:, *tile.within()]
        return z

    def chosen(self, x: Tensor, rate: int) -> Tensor:
        """Whole numbers for an image, 1 x 3 x H x W, sides multiples of 8: 1 x 96 x H/8 x W/8."""
        if rate not in self._costs:
            known = costs(self.tables, rate * LATENTS, LATENTS, LARGEST)
            self._costs[rate] = torch.from_numpy(known).to(self.device)
        table, channel = self._costs[rate], torch.arange(LATENTS, device=self.device)[:, None, None]

        def bits(v: Tensor) -> Tensor:
            return table[channel, v[0].long() + LARGEST][None]

        own = torch.tensor([rate], device=self.device)
        z = self.net.encode(x, own).clamp(-LARGEST, LARGEST)
        return self.net.quantised(z, own, bits)

    def pixels(self, z: NDArray[np.int32], rate: int, height: int, width: int) -> Image:
        """The image that coefficients stand for: the same everywhere."""
        _, rows, columns = z.shape
        # What no encoder writes would not be exact.
        z = z.clip(-LARGEST, LARGEST)
        image = np.empty((rows * STRIDE, columns * STRIDE, 3), np.uint8)
        for tile in tiles(rows, columns, _TILE, _MARGIN):
            made = self.exact.pixels(np.ascontiguousarray(z[:, *tile.outer()]), rate)
            image[tile.own(STRIDE)] = made[tile.within(STRIDE)]
        return np.ascontiguousarray(image[:height, :width])


def pieces(rows: int, columns: int) -> list[Tile]:
    """What is coded in one piece, in order."""
    return list(tiles(rows, columns, _TILE, 0))


def channel_rows(shape: tuple[int, ...], rate: int) -> NDArray[np.int32]:
    """The row of each coefficient in tables of one row for each channel, rate after rate."""
    rows = rate * shape[0] + np.arange(shape[0], dtype=np.int32)
    return np.ascontiguousarray(np.broadcast_to(rows[:, None, None], shape))


class Model:
    """Transform, tables and format of one file of weights, on one device."""

    def __init__(self, path: Path, device: str) -> None:
        self.transform = Transform(path, device)
        self.tables = self.transform.tables
        weights = bytes.fromhex(self.transform.sha256)[:4]
        self.format = Format(MAGIC, VERSION, weights, self.transform.rates)

    def encode(self, image: Image, rate: int) -> bytes:
        """Encode an image, uint8, H x W x 3, at a rate."""
        height, width, _ = image.shape
        header = Header(width, height, rate)
        pack(self.format, header, b"")  # refuse what does not fit before there is work
        writer, z = TableEncoder(), self.transform.coefficients(image, rate)
        for tile in pieces(*z.shape[1:]):
            part = z[:, *tile.own()]
            writer.write(part, channel_rows(part.shape, rate), self.tables)
        return pack(self.format, header, writer.finish())

    def estimate(self, image: Image, rate: int) -> float:
        """What the tables say that the payload takes, in bits."""
        z = self.transform.coefficients(image, rate)
        return cost(z, channel_rows(z.shape, rate), self.tables)

    def decode(self, stream: bytes) -> Image:
        """Decode a stream to uint8, H x W x 3: the same everywhere."""
        header, payload = unpack(self.format, stream)
        rows, columns = -(-header.height // STRIDE), -(-header.width // STRIDE)
        z, reader = np.zeros((LATENTS, rows, columns), np.int32), TableDecoder(payload)
        for tile in pieces(rows, columns):
            part = z[:, *tile.own()]
            part[...] = reader.read(channel_rows(part.shape, header.point), self.tables)
        reader.check_end()
        return self.transform.pixels(z, header.point, header.height, header.width)


def _full_precision() -> AbstractContextManager[None]:
    """Full float32 on a GPU too, and the same from run to run."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return flags


@lru_cache(maxsize=2)
def load_model(path: Path, device: str) -> Model:
    """Load weights once.

    Raises
    ------
    UnavailableError
        Where the file does not hold a network of this codec.
    """
    with loading("compressive-autoencoder", path):
        return Model(path, device)
