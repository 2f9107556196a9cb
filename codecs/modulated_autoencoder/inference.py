"""The trained codec at work: images to bytes and back."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from lic_bench.codecs.modulated_autoencoder.exact import (
    MOST_STEPS,
    STEPS,
    ExactDecoder,
    tradeoff_of,
)
from lic_bench.codecs.modulated_autoencoder.model import (
    HYPER_STRIDE,
    STRIDE,
    ModulatedAutoencoder,
)
from lic_bench.codecs.modulated_autoencoder.weights import (
    read_all_tables,
    read_network,
    settings_of,
)
from lic_bench.errors import UnavailableError
from lic_bench.learned.bitstream import Format, Header, pack, unpack
from lic_bench.learned.safe_weights import loading
from lic_bench.learned.tables import LARGEST, TableDecoder, TableEncoder, cost
from lic_bench.learned.tiles import tiles

if TYPE_CHECKING:
    from lic_bench.images.image import Image

Prior = Literal["hyperprior", "factorised"]
_MAGIC: dict[Prior, bytes] = {"hyperprior": b"MAEh", "factorised": b"MAEf"}
VERSION = 1
# A tile's sites on a side, and a margin wider than what a site can see (about two).
_TILE, _MARGIN = 32, 3
_HYPER_TILE, _HYPER_MARGIN = 8, 2
_LARGEST = min(LARGEST, 1 << 12)
"""No latent is larger, nor any hyper-latent."""


class Model:
    """Network, tables and format of one file of weights, on one device."""

    def __init__(self, path: Path, prior: Prior, device: str) -> None:
        self.device, self.settings = torch.device(device), settings_of(path)
        if prior == "hyperprior" and not self.settings.hyper:
            raise UnavailableError(f"{path} holds no hyperprior; add prior=factorised")
        net = read_network(path)
        self.net = ModulatedAutoencoder(self.settings).eval()
        self.net.load_state_dict(net)
        self.net.to(self.device)
        self.exact = ExactDecoder(net, self.device)
        self.tables = read_all_tables(path)
        self.hyper = prior == "hyperprior"
        weights = hashlib.sha256(path.read_bytes()).digest()[:4]
        self.format = Format(_MAGIC[prior], VERSION, weights, MOST_STEPS + 1)
        # Of what is coded in one piece, whole groups of pixels.
        self._stride = STRIDE * HYPER_STRIDE if self.hyper else STRIDE

    def encode(self, image: Image, step: int) -> bytes:
        """Encode an image, uint8, H x W x 3, at the lambda of a step."""
        height, width, _ = image.shape
        header = Header(width, height, step)
        pack(self.format, header, b"")  # refuse what does not fit before there is work
        writer = TableEncoder()
        for values, rows, name in self._parts(image, step):
            writer.write(values, rows, self.tables[name])
        return pack(self.format, header, writer.finish())

    def estimate(self, image: Image, step: int) -> float:
        """What the tables say that the payload takes, in bits."""
        return sum(cost(v, rows, self.tables[name]) for v, rows, name in self._parts(image, step))

    def decode(self, stream: bytes) -> Image:
        """Decode a stream to uint8, H x W x 3: the same everywhere."""
        header, payload = unpack(self.format, stream)
        step, reader = header.point, TableDecoder(payload)
        rows, columns = (
            -(-side // self._stride) * self._stride // STRIDE
            for side in (header.height, header.width)
        )
        m, n = self.settings.latents, self.settings.hyper
        y = np.zeros((m, rows, columns), np.int16)
        if self.hyper:
            shape = (n, rows // HYPER_STRIDE, columns // HYPER_STRIDE)
            z = _bounded(reader.read(self._channels(shape, step), self.tables["hyper"]))
            for tile in tiles(*shape[1:], _HYPER_TILE, _HYPER_MARGIN):
                chosen = self.exact.table_rows(z[:, *tile.outer()], step)
                chosen = chosen[:, *tile.within(HYPER_STRIDE)]
                y[:, *tile.own(HYPER_STRIDE)] = _bounded(reader.read(chosen, self.tables["gauss"]))
        else:
            for tile in tiles(rows, columns, _TILE, 0):
                part = y[:, *tile.own()]
                chosen = self._channels(part.shape, step)
                part[...] = _bounded(reader.read(chosen, self.tables["prior"]))
        reader.check_end()
        return self._pixels(y, header, step)

    def _pixels(self, y: NDArray[np.int16], header: Header, step: int) -> Image:
        _, rows, columns = y.shape
        image = np.empty((rows * STRIDE, columns * STRIDE, 3), np.uint8)
        for tile in tiles(rows, columns, _TILE, _MARGIN):
            made = self.exact.pixels(np.ascontiguousarray(y[:, *tile.outer()]), step)
            image[tile.own(STRIDE)] = made[tile.within(STRIDE)]
        return np.ascontiguousarray(image[: header.height, : header.width])

    def _parts(
        self, image: Image, step: int
    ) -> list[tuple[NDArray[np.int32], NDArray[np.int32], str]]:
        """What is coded, in order: numbers, their rows, and the tables that these are of."""
        height, width, _ = image.shape
        x = torch.tensor(image).permute(2, 0, 1)[None].float()
        x = pad(x, (0, -width % self._stride, 0, -height % self._stride), mode="replicate")
        y, tradeoff = self._latents(x, step)
        whole = _whole(y)
        if not self.hyper:
            grid = tiles(whole.shape[1], whole.shape[2], _TILE, 0)
            pieces = [whole[:, *tile.own()] for tile in grid]
            return [(piece, self._channels(piece.shape, step), "prior") for piece in pieces]
        z = _whole(self._hyper_latents(y, tradeoff))
        parts = [(z, self._channels(z.shape, step), "hyper")]
        for tile in tiles(z.shape[1], z.shape[2], _HYPER_TILE, _HYPER_MARGIN):
            chosen = self.exact.table_rows(np.ascontiguousarray(z[:, *tile.outer()]), step)
            chosen = chosen[:, *tile.within(HYPER_STRIDE)]
            parts.append((whole[:, *tile.own(HYPER_STRIDE)], chosen, "gauss"))
        return parts

    def _latents(self, x: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Latents, 1 x M x H/16 x W/16, on the CPU, not rounded; and the lambda."""
        tradeoff = torch.tensor([tradeoff_of(step)], device=self.device)
        rows, columns = (side // STRIDE for side in x.shape[2:])
        y = torch.empty(1, self.settings.latents, rows, columns)
        with torch.inference_mode(), _full_precision():
            for tile in tiles(rows, columns, _TILE, _MARGIN):
                made = self.net.encode(x[..., *tile.outer(STRIDE)].to(self.device), tradeoff)
                y[..., *tile.own()] = made[..., *tile.within()].cpu()
        return y, tradeoff

    def _hyper_latents(self, y: Tensor, tradeoff: Tensor) -> Tensor:
        assert self.net.hyperprior is not None  # noqa: S101
        rows, columns = (side // HYPER_STRIDE for side in y.shape[2:])
        z = torch.empty(1, self.settings.hyper, rows, columns)
        with torch.inference_mode(), _full_precision():
            for tile in tiles(rows, columns, _HYPER_TILE, _HYPER_MARGIN):
                part = y[..., *tile.outer(HYPER_STRIDE)].to(self.device)
                made = self.net.hyperprior.analyse(part, tradeoff)
                z[..., *tile.own()] = made[..., *tile.within()].cpu()
        return z

    def _channels(self, shape: tuple[int, ...], step: int) -> NDArray[np.int32]:
        """Rows of a factorised prior: its channels, under the condition nearest to a lambda."""
        condition = (step + STEPS // 2) // STEPS
        rows = condition * shape[0] + np.arange(shape[0], dtype=np.int32)
        return np.ascontiguousarray(np.broadcast_to(rows[:, None, None], shape))


def _whole(y: Tensor) -> NDArray[np.int32]:
    found: NDArray[np.int32] = (
        y[0].nan_to_num().round().clamp(-_LARGEST, _LARGEST).to(torch.int32).numpy()
    )
    return found


def _bounded(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """What no encoder writes would not be exact."""
    return values.clip(-_LARGEST, _LARGEST)


def _full_precision() -> AbstractContextManager[None]:
    """Full float32 on a GPU too, and the same from run to run."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return flags


@lru_cache(maxsize=2)
def load_model(path: Path, prior: Prior, device: str) -> Model:
    """Load weights once.

    Raises
    ------
    UnavailableError
        Where the file does not hold a network of this codec.
    """
    with loading("modulated-autoencoder", path):
        return Model(path, prior, device)
