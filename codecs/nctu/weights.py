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

from lic_bench.codecs.nctu.model import CHANNELS, NctuNet, Settings
from lic_bench.codecs.nctu.quantiser import BITS
from lic_bench.codecs.nctu.start import GROUPS, MEANS
from lic_bench.learned.bitplanes import Form
from lic_bench.learned.safe_weights import described, read_tensors, shapes_alone

_METADATA = "nctu"
_MOST = {"filters": 512, "groups": 16, "importance": 16, "points": 64}


def form(settings: Settings) -> Form:
    """What is coded: signed numbers, some of them means; indices without a linear path."""
    if settings.linear:
        return Form(GROUPS, MEANS, BITS - 1, signed=True, split=False)
    return Form((0,) * CHANNELS, (), BITS, signed=False, split=False)


def weights_file(net: NctuNet, chances: NDArray[np.uint16], metadata: Mapping[str, Any]) -> bytes:
    """The weights in half precision as a safetensors file, with metadata in JSON.

    Parameters
    ----------
    chances
        Of each point, those that its coder starts with.
    """
    tensors = {
        f"net.{key}": (x.half() if x.is_floating_point() else x).cpu().contiguous()
        for key, x in net.state_dict().items()
    }
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
        settings = Settings(**about["settings"])
        for name, most in _MOST.items():
            value = getattr(settings, name)
            if type(value) is not int or not (name in ("groups", "importance")) <= value <= most:
                raise ValueError(f"{name} {value}")
        if not all(type(x) is bool for x in (settings.normalised, settings.linear)):
            raise ValueError("settings that are neither true nor false")
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
        wanted = {f"net.{k}": tuple(x.shape) for k, x in NctuNet(settings).state_dict().items()}
    wanted["chances"] = (settings.points, *form(settings).chances)
    tensors = read_tensors(path, wanted)
    chances = tensors.pop("chances").numpy().view(np.uint16)
    return {key.removeprefix("net."): x.float() for key, x in tensors.items()}, chances, settings
