"""The trained codec at work: images to bytes and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from lic_bench.codecs.recurrent.coder import BitCoder
from lic_bench.codecs.recurrent.context import Table
from lic_bench.codecs.recurrent.exact import PIXEL_BITS, ExactDecoder, Picture
from lic_bench.codecs.recurrent.model import STRIDE, RecurrentNet, ycbcr
from lic_bench.codecs.recurrent.weights import read_weights
from lic_bench.errors import BitstreamError
from lic_bench.learned.bitstream import Format, Header, pack, unpack
from lic_bench.learned.parts import cut, joined, separated
from lic_bench.learned.safe_weights import loading

if TYPE_CHECKING:
    from lic_bench.images.image import Image

MAGIC = b"LICr"
VERSION = 1
CAUTION = 1.15
"""What the encoder multiplies thresholds by: its gains grew beyond what bits are worth."""


class Model:
    """Network, coder and format of one file of weights, on one device."""

    def __init__(self, path: Path, device: str) -> None:
        net, context, settings = read_weights(path)
        self.device, self.settings = torch.device(device), settings
        self.net = RecurrentNet(settings).eval()
        self.net.load_state_dict(net)
        self.net.linear.threshold.mul_(CAUTION)  # the decoder has a table of its own
        self.net.to(self.device)
        table = Table.of(*(net[f"linear.{name}"] for name in ("chosen", "value", "threshold")))
        self.coder = BitCoder({key: x.numpy() for key, x in context.items()}, table)
        self.decoder = ExactDecoder(net, settings, self.device)
        weights = hashlib.sha256(path.read_bytes()).digest()[:4]
        # A point is the number of iterations.
        self.format = Format(MAGIC, VERSION, weights, settings.iterations + 1)

    def encode(self, image: Image, point: int) -> bytes:
        """Encode an image, uint8, H x W x 3, in so many iterations."""
        header = Header(image.shape[1], image.shape[0], point)
        pack(self.format, header, b"")  # refuses what does not fit, before there is work
        symbols = np.stack([own for own, _ in self.iterations(image, point)])
        return pack(self.format, header, joined(self.coder.encode(symbols)))

    def iterations(self, image: Image, count: int) -> Iterator[tuple[NDArray[np.int8], Picture]]:
        """Code an image: of each iteration its symbols, pairs x H/16 x W/16, and the picture."""
        x = torch.tensor(image).permute(2, 0, 1)[None].float()
        x = pad(x, (0, -x.shape[3] % STRIDE, 0, -x.shape[2] % STRIDE), mode="replicate")
        x = ycbcr(x).to(self.device)
        state, _ = self.net.begin(x)
        picture = self.decoder.begin(x.shape[2] // STRIDE, x.shape[3] // STRIDE)
        # Full float32 on a GPU too, and the same from run to run.
        exact = partial(
            torch.backends.cudnn.flags, enabled=True, deterministic=True, allow_tf32=False
        )
        for t in range(count):
            with torch.inference_mode(), exact():
                state.picture = (picture.units / (1 << PIXEL_BITS)).float()
                above, below = (self.net.encode(x, t, state)[0] > 0).to(torch.int8).chunk(2)
                found = (above - below).cpu().numpy()
            picture.add(found, t)
            yield found, picture

    def decode(self, stream: bytes) -> Image:
        """Decode a stream to uint8, H x W x 3: the same everywhere."""
        header, payload = unpack(self.format, stream)
        if not header.point:  # a picture of any size, for no byte
            raise BitstreamError("the header makes no sense: no iterations")
        rows, columns = -(-header.height // STRIDE), -(-header.width // STRIDE)
        symbols = self.coder.decode(separated(payload, header.point), rows, columns)
        picture = self.decoder.begin(rows, columns)
        for t, own in enumerate(symbols):
            picture.add(own, t)
        return np.ascontiguousarray(picture.pixels()[: header.height, : header.width])

    def truncate(self, stream: bytes, point: int) -> bytes:
        """The stream of fewer iterations: the beginning of the payload, under a new header."""
        header, payload = unpack(self.format, stream)
        part = cut(payload, point)
        return pack(self.format, Header(header.width, header.height, point), part)


@lru_cache(maxsize=2)
def load_model(path: Path, device: str) -> Model:
    """Load weights once.

    Raises
    ------
    UnavailableError
        Where the file does not hold a network of this codec.
    """
    with loading("recurrent", path):
        return Model(path, device)
