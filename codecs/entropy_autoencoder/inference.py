"""The trained codec at work: images to bytes and back, by each of the coders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from lic_bench.codecs.compressive_autoencoder.inference import (
    LARGEST,
    Transform,
    channel_rows,
    pieces,
)
from lic_bench.codecs.compressive_autoencoder.model import LATENTS
from lic_bench.codecs.entropy_autoencoder.model import HYPER_STRIDE, table_of
from lic_bench.codecs.entropy_autoencoder.weights import (
    read_all_tables,
    read_models,
    transform_of,
)
from lic_bench.errors import UnavailableError
from lic_bench.learned.bitstream import Format, Header, pack, unpack
from lic_bench.learned.lapped import STRIDE
from lic_bench.learned.safe_weights import loading
from lic_bench.learned.subpixel import ACTIVATION_BITS, WholeLayers
from lic_bench.learned.tables import TableDecoder, TableEncoder, cost
from lic_bench.learned.tiles import tiles

if TYPE_CHECKING:
    from lic_bench.images.image import Image

Coder = Literal["histogram", "factorised", "pair"]
_MAGIC: dict[Coder, bytes] = {"histogram": b"EAEh", "factorised": b"EAEf", "pair": b"EAEp"}
VERSION = 1
# Sites of the side information on a side of a tile, and a margin wider than what one can see.
_TILE, _MARGIN = 8, 2

Numbers = NDArray[np.int32]


class Model:
    """Autoencoder, coder and format, on one device."""

    def __init__(self, transform: Path, coders: Path, coder: Coder, device: str) -> None:
        self.transform = Transform(transform, device)
        if transform_of(coders) != self.transform.sha256:
            raise UnavailableError(
                f"{coders} belongs to other weights of compressive-autoencoder than {transform}"
            )
        self._device, self._coder = torch.device(device), coder
        self._models = read_models(coders)
        if self._models.settings.rates != self.transform.rates:
            raise UnavailableError(f"{coders} is of other rates than {transform}")
        self._tables = {"histogram": self.transform.tables, **read_all_tables(coders)}
        self._prediction = WholeLayers(self._models.synthesis, self._device)
        self._models.to(self._device)
        weights = hashlib.sha256(coders.read_bytes()).digest()[:4]
        self.format = Format(_MAGIC[coder], VERSION, weights, self.transform.rates)

    def encode(self, image: Image, rate: int) -> bytes:
        """Encode an image, uint8, H x W x 3, at a rate."""
        height, width, _ = image.shape
        header = Header(width, height, rate)
        pack(self.format, header, b"")  # refuse what does not fit before there is work
        writer = TableEncoder()
        for values, rows, name in self._parts(self.transform.coefficients(image, rate), rate):
            writer.write(values, rows, self._tables[name])
        return pack(self.format, header, writer.finish())

    def estimate(self, image: Image, rate: int) -> dict[str, float]:
        """What tables say that the payload takes, in bits, by what the tables are of."""
        found: dict[str, float] = {}
        for values, rows, name in self._parts(self.transform.coefficients(image, rate), rate):
            found[name] = found.get(name, 0.0) + cost(values, rows, self._tables[name])
        return found

    def decode(self, stream: bytes) -> Image:
        """Decode a stream to uint8, H x W x 3: the same everywhere, and by each coder."""
        header, payload = unpack(self.format, stream)
        rate, reader = header.point, TableDecoder(payload)
        rows, columns = -(-header.height // STRIDE), -(-header.width // STRIDE)
        z = np.zeros((LATENTS, rows, columns), np.int32)
        if self._coder == "pair":
            shape = self._side_shape(rows, columns)
            side = reader.read(channel_rows(shape, rate), self._tables["side"])
            for place, chosen in self._predicted(side, rate, rows, columns):
                z[:, *place] = reader.read(chosen, self._tables["scaled"])
        else:
            for tile in pieces(rows, columns):
                part = z[:, *tile.own()]
                part[...] = reader.read(channel_rows(part.shape, rate), self._tables[self._coder])
        reader.check_end()
        return self.transform.pixels(z, rate, header.height, header.width)

    def _parts(self, z: Numbers, rate: int) -> Iterator[tuple[Numbers, Numbers, str]]:
        """What is coded, in order: numbers, their rows, and the tables that these are of."""
        _, rows, columns = z.shape
        if self._coder != "pair":
            for tile in pieces(rows, columns):
                part = z[:, *tile.own()]
                yield part, channel_rows(part.shape, rate), self._coder
            return
        side = self._side(z, rate)
        yield side, channel_rows(side.shape, rate), "side"
        for place, chosen in self._predicted(side, rate, rows, columns):
            yield z[:, *place], chosen, "scaled"

    def _side_shape(self, rows: int, columns: int) -> tuple[int, int, int]:
        down, across = -(-rows // HYPER_STRIDE), -(-columns // HYPER_STRIDE)
        return self._models.settings.width, down, across

    def _side(self, z: Numbers, rate: int) -> Numbers:
        """Side information of the numbers: N x H/4 x W/4, sides rounded up."""
        _, rows, columns = z.shape
        x = torch.from_numpy(z)[None].float()
        x = pad(x, (0, -columns % HYPER_STRIDE, 0, -rows % HYPER_STRIDE))
        side, own = np.empty(self._side_shape(rows, columns), np.int32), torch.tensor([rate])
        with torch.inference_mode():
            for tile in tiles(side.shape[1], side.shape[2], _TILE, _MARGIN):
                part = x[..., *tile.outer(HYPER_STRIDE)].to(self._device)
                made = self._models.analyse(part, own.to(self._device))[0, :, *tile.within()]
                side[:, *tile.own()] = made.round().clamp(-LARGEST, LARGEST).int().cpu().numpy()
        return side

    def _predicted(
        self, side: Numbers, rate: int, rows: int, columns: int
    ) -> Iterator[tuple[tuple[slice, slice], Numbers]]:
        """Tile by tile where it is, and the table of each of its numbers."""
        whole = side.clip(-LARGEST, LARGEST)
        logs = self._models.log_scale[rate].detach().double()[:, None, None]
        for tile in tiles(side.shape[1], side.shape[2], _TILE, _MARGIN):
            x = torch.from_numpy(np.ascontiguousarray(whole[:, *tile.outer()])).double()[None]
            with torch.inference_mode():
                found = self._prediction(x.to(self._device) * (1 << ACTIVATION_BITS))[0]
                found = found[:, *tile.within(HYPER_STRIDE)] * 2.0**-ACTIVATION_BITS + logs
                chosen = table_of(found)
            down, across = tile.own(HYPER_STRIDE)
            place = (
                slice(down.start, min(down.stop, rows)),
                slice(across.start, min(across.stop, columns)),
            )
            inside = chosen[:, : place[0].stop - down.start, : place[1].stop - across.start]
            yield place, np.ascontiguousarray(inside.to(torch.int32).cpu().numpy())


@lru_cache(maxsize=3)
def load_model(transform: Path, coders: Path, coder: Coder, device: str) -> Model:
    """Load weights once.

    Raises
    ------
    UnavailableError
        Where a file does not hold what it should.
    """
    with loading("entropy-autoencoder", transform, coders):
        return Model(transform, coders, coder, device)
