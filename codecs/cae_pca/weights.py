"""Files of weights: the network, and the chances that the coder starts with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_safetensors
from torch import Tensor

from lic_bench.codecs.cae_pca.model import LATENTS, PLANES, CaeNet, Settings
from lic_bench.learned.bitplanes import Form
from lic_bench.learned.safe_weights import described, read_tensors, shapes_alone

_METADATA = "cae-pca"


def form(settings: Settings) -> Form:
    """What is coded: 32 maps each of Y, Cb and Cr, the first of which resembles the picture."""
    groups = np.repeat(np.arange(PLANES), LATENTS).tolist()
    means = tuple(range(0, PLANES * LATENTS, LATENTS))
    return Form(tuple(groups), means, settings.bits - 1)


def weights_file(net: CaeNet, chances: NDArray[np.uint16], metadata: Mapping[str, Any]) -> bytes:
    """The weights in half precision as a safetensors file, with metadata in JSON."""
    tensors = {f"net.{key}": x.half().cpu().contiguous() for key, x in net.state_dict().items()}
    tensors["chances"] = torch.from_numpy(chances.view(np.int16))
    text = json.dumps({**metadata, "settings": asdict(net.settings)}, sort_keys=True)
    return to_safetensors(tensors, {_METADATA: text})


def read_settings(path: Path) -> Settings:
    """The settings of the network in a file.

    Raises
    ------
    UnavailableError
        Where it is no file of this codec's weights.
    """
    with described(path, _METADATA) as about:
        stored = about["settings"]
        settings = Settings(**{**stored, "filters": tuple(stored["filters"])})
        small = [*settings.filters, settings.bits, settings.points, settings.finest]
        if len(settings.filters) != 6 or settings.filters[-1] != LATENTS:
            raise ValueError(f"filters {settings.filters}")
        if not all(type(x) is int and 0 <= x <= 1024 for x in small):
            raise ValueError("settings out of range")
        if not 2 <= settings.bits <= 12 or not 0 < settings.finest <= 2 * (settings.bits - 1):
            raise ValueError(f"{settings.bits} bits, point {settings.finest}")
    return settings


def read_weights(path: Path) -> tuple[dict[str, Tensor], NDArray[np.uint16], Settings]:
    """Network, by the names in its state dictionary, in float32; chances; settings.

    Raises
    ------
    UnavailableError
        Where the file holds other tensors than its settings say, or such as are no number.
    """
    settings = read_settings(path)
    with shapes_alone():
        wanted = {f"net.{k}": tuple(x.shape) for k, x in CaeNet(settings).state_dict().items()}
    wanted["chances"] = form(settings).chances
    tensors = read_tensors(path, wanted)
    chances = tensors.pop("chances").numpy().view(np.uint16)
    return {key.removeprefix("net."): x.float() for key, x in tensors.items()}, chances, settings
