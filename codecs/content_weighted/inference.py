"""The trained codec at work: images to bytes and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from lic_bench.codecs.content_weighted.exact import ExactDecoder
from lic_bench.codecs.content_weighted.model import STRIDE, ContentWeightedNet
from lic_bench.codecs.content_weighted.weights import (
    expected_shapes,
    read_settings,
    read_weights,
    structure,
)
from lic_bench.learned.bitstream import Format, Header, pack, unpack
from lic_bench.learned.entropy import ValueCoder
from lic_bench.learned.safe_weights import check_shapes, loading, read_header
from lic_bench.learned.tiles import tiles

if TYPE_CHECKING:
    from lic_bench.images.image import Image

MAGIC = b"LICw"
VERSION = 4

# Larger images go through the encoder in tiles of so many sites a side. A margin wider than what a
# site can see (7.5 sites) makes the seams vanish.
_TILE = 128
_MARGIN = 10


class Model:
    """Network, context model and format of one file of weights, on one device."""

    def __init__(self, path: Path, device: str) -> None:
        self.device = torch.device(device)
        self.settings = read_settings(path)
        shapes = read_header(path).shapes
        check_shapes(path, shapes, expected_shapes(self.settings, shapes["context.out"][-1]))
        net, context, _ = read_weights(path)
        self.net = ContentWeightedNet(self.settings).eval().to(self.device)
        self.net.load_state_dict(net)
        form = structure(net, self.settings)
        self.coder = ValueCoder({key: x.numpy() for key, x in context.items()}, form)
        self.decoder = ExactDecoder(net, self.settings, self.device)
        weights = hashlib.sha256(path.read_bytes()).digest()[:4]
        self.format = Format(MAGIC, VERSION, weights, self.settings.points)

    def encode(self, images: Sequence[Image], point: int) -> list[bytes]:
        """Encode images of one size, uint8, H x W x 3, at the operating point of an index."""
        height, width, _ = images[0].shape
        # Refuse what does not fit before there is work.
        pack(self.format, Header(width, height, point), b"")
        return [
            self.stream(values, height, width, point)
            for values in self.values(np.stack(images), point)
        ]

    def stream(self, values: NDArray[np.int8], height: int, width: int, point: int) -> bytes:
        """The stream of an image's `values`."""
        payload = self.coder.encode(values, point)
        return pack(self.format, Header(width, height, point), payload)

    def decode(self, streams: Sequence[bytes]) -> list[Image]:
        """Decode streams to uint8, H x W x 3: the same everywhere, and in any company."""
        images = []
        for stream in streams:
            header, payload = unpack(self.format, stream)
            rows, columns = -(-header.height // STRIDE), -(-header.width // STRIDE)
            values = self.coder.decode(payload, rows, columns, header.point)
            pixels = self.decoder.pixels(values, header.point)
            images.append(np.ascontiguousarray(pixels[: header.height, : header.width]))
        return images

    def estimate(self, image: Image, point: int) -> float:
        """The payload by the context model's own probabilities, in bits."""
        return self.coder.cost(self.values(image[None], point)[0], point)

    def values(
        self, images: NDArray[np.uint8], point: int, with_map: bool = True
    ) -> NDArray[np.int8]:
        """What is coded.

        Parameters
        ----------
        images
            uint8, B x H x W x 3.
        point
            Index of the operating point.
        with_map
            Otherwise all channels are kept.

        Returns
        -------
        int8, B x M x H/8 x W/8, rounded up.
        """

        def run(part: Tensor, index: Tensor) -> Tensor:
            codes = self.net.encode(part, index)
            code = codes.bits * self.net.mask(codes.p) if with_map else codes.bits
            return self.net.unrounded(code, codes.z)

        return self.net.coded(self._seen(run, images, point))

    def level(self, image: Image, point: int) -> NDArray[np.uint8]:
        """The importance map: 1 to L, H/8 x W/8, rounded up."""

        def run(part: Tensor, index: Tensor) -> Tensor:
            return self.net.level(self.net.encode(part, index).p).to(torch.uint8)

        return self._seen(run, image[None], point)[0, 0].numpy()

    def _seen(
        self, run: Callable[[Tensor, Tensor], Tensor], images: NDArray[np.uint8], point: int
    ) -> Tensor:
        """Apply what goes through the encoder to images, tile by tile."""
        _, height, width, _ = images.shape
        x = torch.tensor(images).permute(0, 3, 1, 2).float()
        x = pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        index = torch.full((len(x),), point, device=self.device)
        return _tiled(lambda part: run(part, index), x, self.device)


@lru_cache(maxsize=2)
def load_model(path: Path, device: str) -> Model:
    """Load weights once.

    Raises
    ------
    UnavailableError
        Where the file does not hold a network and a context model of this codec.
    """
    with loading("content-weighted", path):
        return Model(path, device)


def _tiled(run: Callable[[Tensor], Tensor], x: Tensor, device: torch.device) -> Tensor:
    """Apply an encoder tile by tile; the result is joined on the CPU.

    Parameters
    ----------
    run
        From B x C x 8h x 8w to B x C' x h x w.
    x
        The whole input.
    device
        Where to run.
    """
    rows, columns = x.shape[-2] // STRIDE, x.shape[-1] // STRIDE
    joined: Tensor | None = None
    # Full float32 on a GPU too, and the same from run to run.
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        for tile in tiles(rows, columns, _TILE, _MARGIN):
            made = run(x[..., *tile.outer(STRIDE)].to(device))
            if joined is None:
                joined = torch.empty((*made.shape[:2], rows, columns), dtype=made.dtype)
            joined[..., *tile.own()] = made[..., *tile.within()]
    if joined is None:
        raise ValueError("there is nothing to run on")
    return joined
