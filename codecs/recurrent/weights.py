"""Files of weights: the network, and the context model of its bits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_safetensors
from torch import Tensor

from lic_bench.codecs.recurrent.context import ContextModel
from lic_bench.codecs.recurrent.model import COEFFICIENTS, RecurrentNet, Settings
from lic_bench.errors import UnavailableError
from lic_bench.learned.safe_weights import described, read_tensors, shapes_alone

_METADATA = "recurrent"
MOST_ITERATIONS = 254


def weights_file(
    net: RecurrentNet, context: ContextModel | None, metadata: Mapping[str, Any]
) -> bytes:
    """The weights in half precision as a safetensors file, with metadata in JSON."""
    parts = {"net": net.state_dict()} | ({"context": context.state_dict()} if context else {})
    tensors = {
        f"{part}.{key}": (x.half() if x.is_floating_point() else x).cpu().contiguous()
        for part, state in parts.items()
        for key, x in state.items()
    }
    text = json.dumps({**metadata, "settings": asdict(net.settings)}, sort_keys=True)
    return to_safetensors(tensors, {_METADATA: text})


def read_settings(path: Path) -> Settings:
    """The settings of the network in a file.

    Raises
    ------
    UnavailableError
        Where it is no file of weights that this codec can code with.
    """
    with described(path, _METADATA) as about:
        stored = about["settings"]
        sides = {key: tuple(stored[key]) for key in ("encoder", "decoder")}
        settings = Settings(**{**stored, **sides})
        numbers = [*settings.encoder, *settings.decoder, settings.bits, settings.iterations]
        if not all(type(x) is int and 0 < x <= 1024 for x in numbers):
            raise ValueError("settings out of range")
        if [len(x) for x in sides.values()] != [4, 5] or any(x % 4 for x in settings.decoder[1:]):
            raise ValueError(f"{sides}")
        if settings.unit not in ("gru", "lstm") or settings.iterations > MOST_ITERATIONS:
            raise ValueError(f"unit {settings.unit}, {settings.iterations} iterations")
        if type(settings.pairs) is not int or not 0 <= settings.pairs <= COEFFICIENTS:
            raise ValueError(f"{settings.pairs} pairs")
    if not settings.pairs or not settings.hard or settings.unit != "gru" or not settings.additive:
        raise UnavailableError(
            f"{path} holds a network without a linear path, which has no coder of its bits; give "
            "one that lic-bench train recurrent --recipe fast wrote"
        )
    return settings


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], Settings]:
    """Network and context model, by the names in their state dictionaries; settings.

    Raises
    ------
    UnavailableError
        Where the file holds other tensors than its settings say, or such as are no number.
    """
    settings = read_settings(path)
    with shapes_alone():
        states = {
            "net": RecurrentNet(settings).state_dict(),
            "context": ContextModel(settings.iterations, settings.pairs).state_dict(),
        }
    wanted = {
        f"{part}.{key}": tuple(x.shape)
        for part, state in states.items()
        for key, x in state.items()
    }
    tensors = read_tensors(path, wanted)
    net, context = (
        {
            key: x.float() if x.is_floating_point() else x
            for key in states[part]
            for x in (tensors[f"{part}.{key}"],)
        }
        for part in ("net", "context")
    )
    return net, context, settings
