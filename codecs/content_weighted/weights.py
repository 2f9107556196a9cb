"""Files of weights, and what they say of the numbers that are coded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from lic_bench.codecs.content_weighted.digits import PLACES, reach_of
from lic_bench.codecs.content_weighted.model import MEANS, ContentWeightedNet, Settings
from lic_bench.errors import UnavailableError
from lic_bench.learned.rate import RateModel
from lic_bench.learned.safe_weights import check_finite, shapes_alone
from lic_bench.learned.surroundings import LEVELS, Structure

if TYPE_CHECKING:
    from lic_bench.learned.context import ContextModel

_METADATA = "content-weighted"
_WHOLE = frozenset(
    {"context.related", *(f"net.digits.{x}" for x in ("coefficient", "place", "sign"))}
)
"""What are whole numbers among the tensors; all others are real."""


def structure(net: Mapping[str, Tensor], settings: Settings) -> Structure:
    """The channels of the numbers that a network's code stands for, by its parameters.

    Their groups are those of the importance map: a number is in that of its first digit.
    """
    ends = settings.n * np.arange(1, LEVELS + 1) // LEVELS
    if not settings.coefficients:
        return Structure((1,) * settings.n, 0, tuple(int(x) for x in np.maximum(ends, 1)))
    coefficient = net["digits.coefficient"].cpu().numpy()
    if coefficient.min() < 0 or coefficient.max() >= settings.coefficients:
        raise ValueError("there is a digit of no coefficient")
    first = np.searchsorted(coefficient, np.arange(settings.coefficients))
    digits = np.bincount(coefficient, minlength=settings.coefficients) // 2
    _check_digits(net, digits)
    reach = tuple(reach_of(int(count)) for count in digits)
    bounds = tuple(int(x) for x in np.maximum(np.searchsorted(first, ends), MEANS))
    return Structure(reach, MEANS, bounds)


def _check_digits(net: Mapping[str, Tensor], digits: NDArray[np.intp]) -> None:
    """Refuse digits in another order than the decoder takes for granted.

    It would look up what lies beyond its tables.

    Parameters
    ----------
    digits
        How many each coefficient has.
    """
    if digits.min() < 1 or digits.max() > PLACES:
        raise ValueError(f"a coefficient has not 1 to {PLACES} digits")
    highest_first = [place for count in digits for place in reversed(range(count))]
    for name, wanted in (
        ("coefficient", np.repeat(np.arange(len(digits)), 2 * digits)),
        ("place", np.repeat(highest_first, 2)),
        ("sign", np.tile([1, -1], len(highest_first))),
    ):
        if not np.array_equal(net[f"digits.{name}"].cpu().numpy(), wanted):
            raise ValueError("the digits of the coefficients are not in their order")


def expected_shapes(settings: Settings, hidden: int) -> dict[str, tuple[int, ...]]:
    """What a file of weights holds by the settings; nothing is made of it.

    Parameters
    ----------
    hidden
        Hidden features of the context model.
    """
    from lic_bench.learned.context import ContextModel

    numbers = settings.coefficients or settings.n
    means = MEANS if settings.coefficients else 0
    form = Structure((1,) * numbers, means, (numbers,) * LEVELS)
    with shapes_alone():
        parts = {
            "net": ContentWeightedNet(settings).state_dict(),
            "context": ContextModel(form, settings.points, hidden).state_dict(),
        }
    channels = settings.levels - 1 + settings.n
    return {
        f"{part}.{key}": tuple(x.shape) for part, own in parts.items() for key, x in own.items()
    } | {
        # Every pair of a channel and one before it has nine weights.
        "rate.weight": (9 * channels * (channels - 1) // 2,),
        "rate.own": (channels, 1, 3, 3),
        "rate.bias": (settings.points, channels),
    }


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


def read_settings(path: Path) -> Settings:
    """The settings of the network in a file of weights.

    Raises
    ------
    UnavailableError
        Where it is no file of this codec's weights.
    ValueError, TypeError
        Where there is no such network, or it would have more channels than the file has bytes.
    """
    settings = Settings(**stored_metadata(path)["settings"])
    most = path.stat().st_size
    for name, value in asdict(settings).items():
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError(f"{name} is {value!r:.20}")
    return settings


def read_weights(path: Path) -> tuple[dict[str, Tensor], ...]:
    """Network, context model and rate model, float32, by the names in their state dictionaries.

    Raises
    ------
    UnavailableError
        Where one is no number, or of another type.
    """
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for key, x in tensors.items():
        if x.dtype != torch.int64 if key in _WHOLE else not x.is_floating_point():
            raise UnavailableError(f"{path} holds {key[:100]} as {x.dtype}")
    tensors = {key: x.float() if x.is_floating_point() else x for key, x in tensors.items()}
    check_finite(path, tensors)
    net, context, rate = (
        {key.removeprefix(part): x for key, x in tensors.items() if key.startswith(part)}
        for part in ("net.", "context.", "rate.")
    )
    points, channels = rate["bias"].shape
    empty = RateModel(channels, points)
    weight = torch.zeros(empty.weight.shape)
    weight[_causal(empty)] = rate["weight"]
    return net, context, {**rate, "weight": weight}
