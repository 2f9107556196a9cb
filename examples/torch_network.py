"""The network of `torch_codec.py`, and its training.

python examples/torch_network.py PHOTOGRAPHS runs

What decides on the bits is exact: a table of counts for each channel, kept with the weights. No
probability is computed by a network, so that any machine decodes what another has encoded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import constriction
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pad

from lic_bench import BitstreamError, Image, UnavailableError, read_image

LAMBDAS = (0.05, 0.01, 0.002)
STRIDE = 8
CHANNELS = 32
LARGEST = 63  # of a latent, in magnitude
WIDTH = 32


class Network(nn.Module):
    """Analysis, rounding, synthesis; for each channel a table of how often a latent occurs."""

    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.analysis = nn.Sequential(
            nn.Conv2d(3, WIDTH, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(WIDTH, WIDTH, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(WIDTH, CHANNELS, 5, stride=2, padding=2),
        )
        self.synthesis = nn.Sequential(
            nn.ConvTranspose2d(CHANNELS, WIDTH, 6, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(WIDTH, WIDTH, 6, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(WIDTH, 3, 6, stride=2, padding=2),
        )
        self.log_gain = nn.Parameter(torch.tensor(2.5))
        self.log_scale = nn.Parameter(torch.zeros(CHANNELS))
        self.register_buffer("counts", torch.ones(CHANNELS, 2 * LARGEST + 1, dtype=torch.int32))

    def latents(self, x: Tensor) -> Tensor:
        """From samples, B x 3 x H x W, -1 to 1, to latents: B x C x H/8 x W/8, rounded up."""
        right, below = -x.shape[3] % STRIDE, -x.shape[2] % STRIDE
        y: Tensor = self.analysis(pad(x, (0, right, 0, below), mode="replicate"))
        return y * self.log_gain.exp()

    def samples(self, y: Tensor) -> Tensor:
        """From latents to samples, -1 to 1."""
        x: Tensor = self.synthesis(y / self.log_gain.exp())
        return x

    @torch.inference_mode()
    def compress(self, images: Image) -> list[bytes]:
        """Images, uint8, B x H x W x 3, to the payloads of their streams."""
        with _exact():
            y = self.latents(_to_samples(images).to(self.log_scale.device)).round()
        symbols = (y.clamp(-LARGEST, LARGEST) + LARGEST).cpu().numpy().astype(np.int32)
        return [self._code(symbols_of_image) for symbols_of_image in symbols]

    @torch.inference_mode()
    def decompress(self, payloads: Sequence[bytes], height: int, width: int) -> list[Image]:
        """Payloads of images of one size to images, uint8, height x width x 3."""
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        symbols = np.stack([self._read(payload, rows, columns) for payload in payloads])
        y = torch.from_numpy(symbols).float() - LARGEST
        with _exact():
            x = self.samples(y.to(self.log_scale.device))[..., :height, :width]
        pixels = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        return list(pixels.contiguous().cpu().numpy())

    def _tables(self) -> list[constriction.stream.model.Categorical]:
        counts = self.counts.cpu().numpy().astype(np.float64)
        return [
            constriction.stream.model.Categorical(row / row.sum(), perfect=False) for row in counts
        ]

    def _code(self, symbols: np.ndarray) -> bytes:
        encoder = constriction.stream.queue.RangeEncoder()
        for channel, table in zip(symbols, self._tables(), strict=True):
            encoder.encode(channel.ravel(), table)
        return encoder.get_compressed().astype("<u4").tobytes()

    def _read(self, payload: bytes, rows: int, columns: int) -> np.ndarray:
        if len(payload) % 4:
            raise BitstreamError("the payload is cut short")
        words = np.frombuffer(payload, "<u4").astype(np.uint32)
        decoder = constriction.stream.queue.RangeDecoder(words)
        try:
            channels = [decoder.decode(table, rows * columns) for table in self._tables()]
        except AssertionError as error:  # what constriction raises for words that cannot be
            raise BitstreamError("the payload makes no sense") from error
        return np.stack(channels).reshape(CHANNELS, rows, columns)


@lru_cache(maxsize=8)
def load(path: Path, digest: str, device: str) -> Network:
    """Load a checkpoint, once for as long as its digest stays.

    Raises
    ------
    UnavailableError
        Where it holds no such network.
    """
    network = Network()
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise UnavailableError(f"{path} holds no weights of tiny-net: {error}") from error
    return network.eval().to(device)


def _to_samples(images: Image) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def _exact() -> AbstractContextManager[None]:
    """On a GPU always the same algorithms, and no TF32."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def train(
    photographs: Sequence[Image],
    folder: Path,
    *,
    steps: int = 300,
    lambdas: Iterable[float] = LAMBDAS,
    seed: int = 0,
) -> None:
    """Train a checkpoint for each lambda, the highest first, each starting from the one before.

    Parameters
    ----------
    photographs
        uint8, H x W x 3; at least 64 pixels a side.
    folder
        Where ``lambda-0.01.safetensors`` and so on are written.
    """
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = Network()
    folder.mkdir(parents=True, exist_ok=True)
    values = sorted(lambdas, reverse=True)
    for before, value in pairwise([values[0], *values]):
        with torch.no_grad():  # the best step of quantisation goes with the root of lambda
            network.log_gain -= math.log(before / value) / 2
            network.log_scale -= math.log(before / value) / 2
        _fit(network, photographs, random, value, steps if value == values[0] else steps // 3)
        _count(network, photographs)
        save_file(network.state_dict(), folder / f"lambda-{value}.safetensors")


def _fit(
    network: Network,
    photographs: Sequence[Image],
    random: np.random.Generator,
    value: float,
    steps: int,
) -> None:
    """Lower bits per pixel + lambda x mean squared error; noise stands for rounding."""
    adam = torch.optim.Adam(network.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.MultiStepLR(adam, [steps * 3 // 4], 0.2)
    for _ in range(steps):
        x = _to_samples(_crops(photographs, random))
        y = network.latents(x)
        noisy = y + torch.rand_like(y) - 0.5
        bits = _bits(noisy, network.log_scale.exp()[:, None, None]).sum() / x[:, 0].numel()
        errors = (network.samples(noisy) - x).square().mean() * 127.5**2
        adam.zero_grad()
        (bits + value * errors).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        decay.step()


def _crops(photographs: Sequence[Image], random: np.random.Generator) -> Image:
    crops = []
    for _ in range(8):
        photograph = photographs[random.integers(len(photographs))]
        top, left = (random.integers(side - 63) for side in photograph.shape[:2])
        crops.append(photograph[top : top + 64, left : left + 64])
    return np.stack(crops)


def _bits(y: Tensor, scale: Tensor) -> Tensor:
    """What latents cost by a logistic distribution, one for each channel."""
    chance = torch.sigmoid((y + 0.5) / scale) - torch.sigmoid((y - 0.5) / scale)
    return -chance.clamp(min=1e-6).log2()


@torch.inference_mode()
def _count(network: Network, photographs: Sequence[Image]) -> None:
    """Fill the tables: every latent once, and as often as it occurs in the photographs."""
    counts = np.ones((CHANNELS, 2 * LARGEST + 1), np.int64)
    for photograph in photographs:
        y = network.latents(_to_samples(photograph[None])).round().clamp(-LARGEST, LARGEST)
        symbols = y[0].flatten(1).numpy().astype(np.int64) + LARGEST
        counts += np.stack([np.bincount(row, minlength=counts.shape[1]) for row in symbols])
    network.counts.copy_(torch.from_numpy(counts))


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    train([read_image(path) for path in sorted(source.glob("*.*"))], target)
