"""CompressAI's networks at work: images to strings and back.

The transforms g_a and g_s take a batch of images. All between them, which decides on what the
entropy coder is told, runs image by image: a network may round otherwise in a batch, and a decoder
that is told otherwise than the encoder was decodes noise. So a stream made in a batch decodes
alone. It is CompressAI's own code that runs, `compress` and `decompress`, with those two taken out.
"""

from __future__ import annotations

import copy
import importlib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lic_bench import BitstreamError, UnavailableError
from lic_bench.plugins.torchvision import import_with_torchvision

if TYPE_CHECKING:
    from lic_bench import Image

STEPS = (10.0, 7.1715, 5.1832, 3.7211, 2.6833, 1.9305, 1.3897, 1.0)
"""The quantisation steps at which CompressAI evaluates its variable-rate models."""

_PADDED = 64
_STRIDE = 16  # pixels on a side of a latent
_TOTAL = 1 << 16  # of the frequencies of a channel's symbols
_STATE_BITS = 64  # what the entropy decoder may make up


class Model:
    """A network with one file of weights, on one device."""

    def __init__(self, path: Path, architecture: str, device: str) -> None:
        self.device = torch.device(device)
        self._net = _network(path, architecture).eval().to(self.device)
        self._variable = architecture.endswith("-vbr")
        self._level: int | None = None
        self._between = copy.copy(self._net)
        self._latents = _Latents()
        self._between._modules = {
            **self._net._modules,
            "g_a": nn.Identity(),
            "g_s": self._latents,
        }

    def compress(self, images: Sequence[Image], level: int) -> list[tuple[bytes, ...]]:
        """Compress images of one size.

        Parameters
        ----------
        images
            uint8, H x W x 3.
        level
            The index of the quantisation step, in models of variable rate.

        Returns
        -------
        The strings of each: one, or two where there is a hyperprior.
        """
        with _exact():
            options = self._options(level)
            x = torch.from_numpy(np.stack(images)).to(self.device).permute(0, 3, 1, 2)
            x = x.contiguous().float().div_(255)
            padding, _ = _compute_padding(*x.shape[-2:])
            latents = self._net.g_a(nn.functional.pad(x, padding))
            made = [self._between.compress(y[None], **options) for y in latents]
        return [tuple(string for [string] in one["strings"]) for one in made]

    def decompress(
        self, strings: Sequence[tuple[bytes, ...]], height: int, width: int, level: int
    ) -> list[Image]:
        """Decompress what `compress` gave into images, uint8, height x width x 3.

        Raises
        ------
        BitstreamError
            Where the strings are too short to hold as many latents.
        """
        (left, right, top, bottom), unpad = _compute_padding(height, width)
        factor = self._net.downsampling_factor
        shape = (height + top + bottom) // factor, (width + left + right) // factor
        with _exact():
            options = self._options(level)
            latents = []
            symbols = self._net.M * (height + top + bottom) * (width + left + right) // _STRIDE**2
            for one in strings:
                self._check_length(one[-1], math.prod(shape))
                padded = [[_padded(string, symbols)] for string in one]
                self._between.decompress(padded, shape, **options)
                latents.append(self._latents.held)
            x = nn.functional.pad(self._net.g_s(torch.cat(latents)), unpad)
            x = x.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
            pixels = x.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return list(pixels)

    def _check_length(self, string: bytes, sites: int) -> None:
        """Refuse a string that cannot hold what its size claims, before that costs memory."""
        # The likeliest symbol of each channel costs so much; a site has one of each.
        chances = self._net.entropy_bottleneck._quantized_cdf.diff().amax(1) / _TOTAL
        bits = sites * -float(chances.log2().sum())
        if 8.08 * len(string) + _STATE_BITS < bits:
            raise BitstreamError(
                f"the stream is damaged: {len(string)} bytes are too few for the size it claims"
            )

    def _options(self, level: int) -> dict[str, Any]:
        """What a model of variable rate is to be told, and made ready for."""
        if not self._variable:
            return {}
        scale = torch.tensor(1 / STEPS[level], device=self.device)
        if self._net.vr_entbttlnck and level != self._level:
            self._net.update(force=True, scale=scale)
            self._level = level
        return {"inputscale": scale}


def _padded(string: bytes, symbols: int) -> bytes:
    """A string with zeros behind it, for CompressAI's entropy decoder to read.

    It never looks where a string ends. One that was made up, or that belongs to a smaller image,
    would have it read on through whatever lies behind in memory, until the process dies.
    """
    # In zeros, a symbol takes a word of four bytes, and, as long as there is something left of what
    # the coder's state held, three more for a value that is spelled out. The length of such a value
    # is spelled out, too, in units of 15 for every four bits of ones, which one value may have to
    # the string's end: each of those units is then a word.
    ones = max(map(len, re.findall(rb"\xff+", string)), default=0)
    return string + bytes(16 * symbols + 120 * ones + 2048)


class _Latents(nn.Module):
    """In the place of g_s: keeps what it is given, which CompressAI then does not alter."""

    held: Tensor

    def forward(self, y: Tensor) -> Tensor:
        self.held = y
        return torch.zeros(1)


@lru_cache(maxsize=16)
def load_model(path: Path, digest: str, architecture: str, device: str) -> Model:
    """Load a file of weights once, for as long as its digest stays.

    Raises
    ------
    UnavailableError
        Where it does not hold weights of this architecture.
    """
    return Model(path, architecture, device)


def _network(path: Path, architecture: str) -> Any:
    compressai = import_compressai()
    state = compressai.zoo.load_state_dict(_state(path))
    cls = compressai.registry.MODELS[architecture]
    options: dict[str, Any] = {}
    if "gayn2zqstep.0.weight" in state:  # its tables depend on the step: there are none to load
        options["vr_entbttlnck"] = True
        for name in ("_offset", "_quantized_cdf", "_cdf_length"):
            state[f"entropy_bottleneck.{name}"] = torch.empty(0, dtype=torch.int32)
    try:
        net = cls.from_state_dict(state, **options)
    except Exception as error:
        raise UnavailableError(
            f"{path} holds no weights of {architecture}; "
            "name the architecture that they are of: compressai:model=...,checkpoint=..."
        ) from error
    net.update()  # makes the tables of the entropy coder, where the file has none
    return net


def _state(path: Path) -> dict[str, Tensor]:
    """The parameters in a file: by themselves, or among what a training saved."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnavailableError(
            f"{path} holds no weights, or more than weights, and is not read "
            "(torch.load(weights_only=True) refuses it); save the network's state_dict alone"
        ) from error
    for key in ("network", "state_dict", "model_state_dict"):
        if isinstance(saved, dict) and isinstance(saved.get(key), dict):
            saved = saved[key]
    if not isinstance(saved, dict) or not all(isinstance(x, Tensor) for x in saved.values()):
        raise UnavailableError(f"{path} holds no state_dict of a network")
    return saved


def _compute_padding(height: int, width: int) -> tuple[Any, Any]:
    """How CompressAI's evaluation pads, with zeros on all sides, and how it crops."""
    ops = importlib.import_module("compressai.ops")
    pad, unpad = ops.compute_padding(height, width, min_div=_PADDED)
    return pad, unpad


@contextmanager
def _exact() -> Iterator[None]:
    """On a GPU always the same algorithms, and no TF32: a decoder repeats its encoder's sums."""
    flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), flags:
        yield


def import_compressai() -> ModuleType:
    """Import CompressAI, also where torchvision was built for another torch than there is."""
    return import_with_torchvision("compressai")
