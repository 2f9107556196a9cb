"""The trained codec at work: images to bytes and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor
from torch.nn.functional import pad

from lic_bench.codecs.content_weighted.model import STRIDE, ContentWeightedNet, Settings
from lic_bench.errors import UnavailableError
from lic_bench.learned.bitstream import Format, Header, pack, unpack
from lic_bench.learned.context import ContextModel
from lic_bench.learned.entropy import BinaryCoder, map_and_code_gates
from lic_bench.learned.rate import RateModel
from lic_bench.learned.safe_weights import check_finite, check_shapes, read_header

if TYPE_CHECKING:
    from lic_bench.images.image import Image

MAGIC = b"LICw"
VERSION = 2
_METADATA = "content-weighted"

# Larger images go through the network in tiles of so many sites a side. A margin wider than what a
# site can see (7.6 sites in the decoder, 7.5 in the encoder) makes the seams vanish.
_TILE = 128
_MARGIN = 10


class Model:
    """Network, context model and format of one file of weights, on one device."""

    def __init__(self, path: Path, device: str) -> None:
        self.device = torch.device(device)
        self.settings = Settings(**stored_metadata(path)["settings"])
        check_shapes(path, read_header(path).shapes, _shapes(path, self.settings))
        net, context, _ = read_weights(path)
        self.net = ContentWeightedNet(self.settings).eval().to(self.device)
        self.net.load_state_dict(net)
        channels = self.settings.levels - 1 + self.settings.n
        shapes = ContextModel(channels, self.settings.points, context["local"].shape[1])
        shapes.load_state_dict(context)  # refuses what does not fit
        gates = map_and_code_gates(self.settings.levels, self.settings.n)
        self.coder = BinaryCoder({key: x.numpy() for key, x in context.items()}, gates)
        weights = hashlib.sha256(path.read_bytes()).digest()[:4]
        self.format = Format(MAGIC, VERSION, weights, self.settings.points)

    def encode(self, images: Sequence[Image], point: int) -> list[bytes]:
        """Encode images of one size, uint8, H x W x 3, at the operating point of an index."""
        height, width, _ = images[0].shape
        # Refuse what does not fit before there is work.
        pack(self.format, Header(width, height, point), b"")
        return [
            self.stream(symbols, height, width, point)
            for symbols in self.symbols(np.stack(images), point)
        ]

    def stream(self, symbols: NDArray[np.uint8], height: int, width: int, point: int) -> bytes:
        """The stream of an image's `symbols`."""
        payload = self.coder.encode(symbols, point)
        return pack(self.format, Header(width, height, point), payload)

    def decode(self, streams: Sequence[bytes]) -> list[Image]:
        """Decode streams of images of one size to uint8, H x W x 3."""
        codes, points = [], []
        for stream in streams:
            header, payload = unpack(self.format, stream)
            rows, columns = -(-header.height // STRIDE), -(-header.width // STRIDE)
            bits = self.coder.decode(payload, rows, columns, header.point)
            codes.append(bits[self.settings.levels - 1 :])
            points.append(header.point)
        pixels = self.reconstruct(np.stack(codes), points)
        return [np.ascontiguousarray(image[: header.height, : header.width]) for image in pixels]

    def reconstruct(self, code: NDArray[np.uint8], points: Sequence[int]) -> NDArray[np.uint8]:
        """From masked codes, B x n x H x W, to pixels: uint8, B x 8H x 8W x 3."""
        index = torch.tensor(points, device=self.device)

        def run(part: Tensor) -> Tensor:
            return self.net.decode(part.float(), index)

        x = _tiled(run, torch.from_numpy(code), 1, STRIDE, self.device)
        pixels: NDArray[np.uint8] = (
            x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        )
        return pixels

    def estimate(self, image: Image, point: int) -> float:
        """The payload by the context model's own probabilities, in bits."""
        return self.coder.cost(self.symbols(image[None], point)[0], point)

    def symbols(
        self, images: NDArray[np.uint8], point: int, with_map: bool = True
    ) -> NDArray[np.uint8]:
        """What is coded: L - 1 planes of the importance map, then n masked code channels.

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
        uint8, 0 or 1, B x (L - 1 + n) x H/8 x W/8, rounded up.
        """
        _, height, width, _ = images.shape
        x = torch.tensor(images).permute(0, 3, 1, 2).float()
        x = pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        index = torch.full((len(x),), point, device=self.device)

        def run(part: Tensor) -> Tensor:
            codes = self.net.encode(part, index)
            p = codes.p if with_map else torch.ones_like(codes.p)
            code = codes.bits * self.net.mask(p)
            return torch.cat([self.net.planes(p), code], 1).to(torch.uint8)

        symbols: NDArray[np.uint8] = _tiled(run, x, STRIDE, 1, self.device).numpy()
        return symbols

    def level(self, image: Image, point: int) -> NDArray[np.uint8]:
        """The importance map: 1 to L, H/8 x W/8, rounded up."""
        planes = self.symbols(image[None], point)[0, : self.settings.levels - 1]
        level: NDArray[np.uint8] = (1 + planes.sum(0)).astype(np.uint8)
        return level


def _shapes(path: Path, settings: Settings) -> dict[str, tuple[int, ...]]:
    """The shapes that a file of weights holds by these settings; nothing is made of them."""
    hidden = read_header(path).shapes["context.local"][1]
    channels = settings.levels - 1 + settings.n
    with torch.device("meta"):
        parts = {
            "net": ContentWeightedNet(settings).state_dict(),
            "context": ContextModel(channels, settings.points, hidden).state_dict(),
        }
    wanted = {
        f"{part}.{key}": tuple(x.shape) for part, own in parts.items() for key, x in own.items()
    }
    # Of the rate model: every pair of a channel and one before it has nine weights.
    return wanted | {
        "rate.weight": (9 * channels * (channels - 1) // 2,),
        "rate.own": (channels, 1, 3, 3),
        "rate.bias": (settings.points, channels),
    }


@lru_cache(maxsize=2)
def load_model(path: Path, device: str) -> Model:
    """Load weights once.

    Raises
    ------
    UnavailableError
        Where the file does not hold a network and a context model of this codec.
    """
    try:
        return Model(path, device)
    except UnavailableError:
        raise
    except Exception as error:  # of safetensors, of JSON, of shapes that do not fit
        raise UnavailableError(
            f"weights={path} hold no network of the codec content-weighted; "
            f"give a file that lic-bench train wrote ({' '.join(str(error).split())[:100]})"
        ) from error


def weights_file(
    net: ContentWeightedNet, context: ContextModel, rate: RateModel, metadata: Mapping[str, Any]
) -> bytes:
    """The weights in half precision as a safetensors file, with metadata in JSON.

    The rate model is there for a training that goes on from the file; no image is coded with it.
    """
    parts = {
        "net": net.state_dict(),
        "context": context.state_dict(),
        "rate": {**rate.state_dict(), "weight": rate.weight.detach()[_causal(rate)]},
    }
    tensors = {
        f"{part}.{key}": (x.half() if x.is_floating_point() else x).cpu().contiguous()
        for part, values in parts.items()
        for key, x in values.items()
    }
    # One entry, because safetensors writes several in an order that changes from run to run.
    text = json.dumps({**metadata, "settings": asdict(net.settings)}, sort_keys=True)
    return to_safetensors(tensors, {_METADATA: text})


def _causal(rate: RateModel) -> Tensor:
    return rate.causal.expand_as(rate.weight) > 0


def stored_metadata(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself: ``settings`` of the network, plan of the ``training``.

    Raises
    ------
    UnavailableError
        Where it is no file of this codec's weights.
    """
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if _METADATA not in metadata:
        raise UnavailableError(f"{path} holds no weights of the codec content-weighted")
    found: dict[str, Any] = json.loads(metadata[_METADATA])
    return found


def read_weights(path: Path) -> tuple[dict[str, Tensor], ...]:
    """Network, context model and rate model, float32, by the names in their state dictionaries.

    Raises
    ------
    UnavailableError
        Where they are of the format before, which had no rate model.
    """
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors = {key: x.float() if x.is_floating_point() else x for key, x in tensors.items()}
    check_finite(path, tensors)
    net, context, rate = (
        {key.removeprefix(part): x for key, x in tensors.items() if key.startswith(part)}
        for part in ("net.", "context.", "rate.")
    )
    if net and context and not rate:
        raise UnavailableError(
            f"{path} holds weights of an earlier format, without a rate model; train anew"
        )
    points, channels = rate["bias"].shape
    empty = RateModel(channels, points)
    weight = torch.zeros(empty.weight.shape)
    weight[_causal(empty)] = rate["weight"]
    return net, context, {**rate, "weight": weight}


def _tiled(
    run: Callable[[Tensor], Tensor], x: Tensor, taken: int, given: int, device: torch.device
) -> Tensor:
    """Apply a network tile by tile; the result is joined on the CPU.

    Parameters
    ----------
    run
        From B x C x (taken h) x (taken w) to B x C' x (given h) x (given w).
    x
        The whole input.
    taken, given
        Samples on a side of a site, in the input and in the result.
    device
        Where to run.
    """
    rows, columns = x.shape[-2] // taken, x.shape[-1] // taken
    joined: Tensor | None = None
    # Full float32 on a GPU too, and the same from run to run: others decode what is encoded here.
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        for top in range(0, rows, _TILE):
            for left in range(0, columns, _TILE):
                bottom, right = min(top + _TILE, rows), min(left + _TILE, columns)
                above, before = max(top - _MARGIN, 0), max(left - _MARGIN, 0)
                below, after = min(bottom + _MARGIN, rows), min(right + _MARGIN, columns)
                part = x[..., above * taken : below * taken, before * taken : after * taken]
                tile = run(part.to(device))
                if joined is None:
                    shape = (*tile.shape[:2], rows * given, columns * given)
                    joined = torch.empty(shape, dtype=tile.dtype)
                joined[..., top * given : bottom * given, left * given : right * given] = tile[
                    ...,
                    (top - above) * given : (bottom - above) * given,
                    (left - before) * given : (right - before) * given,
                ]
    if joined is None:
        raise ValueError("there is nothing to run on")
    return joined
