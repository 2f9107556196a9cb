"""A neural codec of one's own, complete: copy it, and put your network in.

    python examples/torch_network.py PHOTOGRAPHS runs
    lic-bench run --plugin examples/torch_codec.py --dataset kodak \
        --codecs 'tiny-net:weights=runs/lambda-{point}.safetensors'

One curve comes from many checkpoints, each trained for another trade of rate for quality. The
network is in `torch_network.py`, beside this file; it is imported, and torch with it, when the
first image is coded. Its weights are for show: some seconds of training, a simple entropy model.
"""

from __future__ import annotations

import struct
import zlib
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from lic_bench import (
    MAXIMUM_PIXELS,
    BitstreamError,
    Codec,
    SpecError,
    file_digest,
    find_checkpoints,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch_network import Network

    from lic_bench import Image, Point

# Magic, the start of the checkpoint's SHA-256, width, height; then a CRC-32 of all the rest.
_HEADER = struct.Struct("<4s4sHH")
_CRC = struct.Struct("<I")
_MAGIC = b"TNT1"


class TinyNet(Codec):
    """A small convolutional autoencoder with a range coder.

    Parameters
    ----------
    weights
        A checkpoint for each operating point, as ``runs/lambda-{point}.safetensors``; a folder, a
        list and a single file are possible, too.
    device
        Where the network runs: ``cpu``, ``cuda``.
    """

    name = "tiny-net"
    point_unit = "lambda"
    requires = dict.fromkeys(("torch", "constriction"), "pip install 'lic-bench[learned]'")

    def __init__(self, weights: str, device: str = "cpu") -> None:
        # A constructor costs nothing: files are looked for, not read.
        self.checkpoints = find_checkpoints(weights, (".safetensors",))
        self.points = tuple(self.checkpoints)  # numbers in their order: lambda rises with the rate
        self.device = device
        self.batch_size = 1 if device == "cpu" else 8

    def versions(self) -> Mapping[str, str]:
        # A measurement is valid for these: another torch may round otherwise.
        weights = " ".join(file_digest(path)[:8] for path in self.checkpoints.values())
        libraries = {name: version(name) for name in ("torch", "constriction")}
        return {**libraries, "weights": weights}

    def check_point(self, point: Point) -> None:
        if point not in self.checkpoints:
            raise SpecError(f"tiny-net: there is no checkpoint for {point!r}: {self.points}")

    def encode(self, image: Image, point: Point) -> bytes:
        return self.encode_batch([image], point)[0]

    def decode(self, stream: bytes) -> Image:
        return self.decode_batch([stream])[0]

    # On a GPU the bench gives up to `batch_size` images of one size at once. Every stream must
    # decode alone, too: it says all that the decoder needs.

    def encode_batch(self, images: Sequence[Image], point: Point) -> list[bytes]:
        self.check_point(point)
        path = self.checkpoints[point]
        height, width, _ = images[0].shape
        if max(height, width) > 0xFFFF or height * width > MAXIMUM_PIXELS:
            raise SpecError(f"tiny-net: {width}x{height} pixels are too many; cut it into tiles")
        header = _HEADER.pack(_MAGIC, _mark(path), width, height)
        payloads = self._network(path).compress(np.stack(images))
        return [header + _CRC.pack(zlib.crc32(header + payload)) + payload for payload in payloads]

    def decode_batch(self, streams: Sequence[bytes]) -> list[Image]:
        paths, sizes, payloads = zip(*map(self._unpack, streams), strict=True)
        return self._network(paths[0]).decompress(payloads, *sizes[0])

    def _unpack(self, stream: bytes) -> tuple[Path, tuple[int, int], bytes]:
        """The checkpoint that a stream was made with, the height and width, the payload."""
        start = _HEADER.size + _CRC.size
        if len(stream) < start or stream[:4] != _MAGIC:
            raise BitstreamError("this is no stream of tiny-net, or it ends within its header")
        header, payload = stream[: _HEADER.size], stream[start:]
        if _CRC.pack(zlib.crc32(header + payload)) != stream[_HEADER.size : start]:
            raise BitstreamError("the stream is damaged or cut short: its checksum does not match")
        _, mark, width, height = _HEADER.unpack(header)
        if not 0 < height * width <= MAXIMUM_PIXELS:
            raise BitstreamError(f"the header makes no sense: {width}x{height} pixels")
        for path in self.checkpoints.values():
            if _mark(path) == mark:
                return path, (height, width), payload
        raise BitstreamError(f"the stream was made with other weights: {mark.hex()}")

    def _network(self, path: Path) -> Network:
        from torch_network import load  # beside this file; in any process, once

        return load(path, file_digest(path), self.device)


def _mark(path: Path) -> bytes:
    """What a stream says of its checkpoint."""
    return bytes.fromhex(file_digest(path))[:4]
