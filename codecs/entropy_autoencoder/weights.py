"""Files of weights: the pair in half precision, and the tables that numbers are coded by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from lic_bench.codecs.entropy_autoencoder.model import EntropyModels, Settings, table_of
from lic_bench.learned.prior_tables import REACH, factorised_tables, laplace_tables
from lic_bench.learned.priors import SCALES
from lic_bench.learned.safe_weights import described, read_tensors, shapes_alone
from lic_bench.learned.tables import Tables, read_tables, stored

METADATA = "entropy-autoencoder"
_NAMES = ("factorised", "side", "scaled")
_MOST_RATES, _MOST_WIDTH = 64, 1024


def counted(models: EntropyModels, batches: Iterable[tuple[Tensor, Tensor]]) -> NDArray[np.int64]:
    """How often each number came where each table was predicted: 64 x (2 `REACH` + 1).

    Parameters
    ----------
    models
        What predicts.
    batches
        Numbers, B x 96 x H x W, sides multiples of 4, and the rate of each image.
    """
    size = 2 * REACH + 1
    counts = torch.zeros(SCALES * size, dtype=torch.int64)
    with torch.inference_mode():
        for z, rate in batches:
            chosen = table_of(models.log_scales(models.analyse(z, rate).round(), rate)).long()
            at = chosen * size + z.clamp(-REACH, REACH).long() + REACH
            counts += torch.bincount(at.flatten().cpu(), minlength=len(counts))
    return counts.view(SCALES, size).numpy()


def weights_file(
    models: EntropyModels, counts: NDArray[np.int64], transform: str, metadata: Mapping[str, Any]
) -> bytes:
    """A safetensors file, with metadata in JSON.

    Parameters
    ----------
    models
        The learned coders.
    counts
        What `counted` found.
    transform
        The SHA-256, in hexadecimal digits, of the weights of the autoencoder that it belongs to.
    """
    state = models.state_dict().items()
    tensors = {f"net.{key}": x.half().cpu().contiguous() for key, x in state}
    tables = {
        "factorised": factorised_tables(models.factorised),
        "side": factorised_tables(models.side),
        "scaled": laplace_tables(counts),
    }
    for name, own in tables.items():
        for key, values in stored(own).items():
            tensors[f"{name}.{key}"] = torch.from_numpy(values)
    about = {**metadata, "settings": asdict(models.settings), "transform": transform}
    return to_safetensors(tensors, {METADATA: json.dumps(about, sort_keys=True)})


def _about(path: Path) -> tuple[Settings, str]:
    with described(path, METADATA) as about:
        settings, transform = Settings(**about["settings"]), about["transform"]
        for value, most in ((settings.rates, _MOST_RATES), (settings.width, _MOST_WIDTH)):
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError("settings out of range")
        if type(transform) is not str:
            raise TypeError("the name of the autoencoder is no text")
    return settings, transform


def read_models(path: Path) -> EntropyModels:
    """The models in a file, their parameters as half precision has them.

    Raises
    ------
    UnavailableError
        Where the file holds others than its settings say, or one is no number.
    """
    settings, _ = _about(path)
    with shapes_alone():
        state = EntropyModels(settings).state_dict()
    wanted = {f"net.{key}": tuple(x.shape) for key, x in state.items()}
    found = read_tensors(path, wanted, "net.")
    tensors = {key.removeprefix("net."): x.float() for key, x in found.items()}
    models = EntropyModels(settings).eval()
    models.load_state_dict(tensors)
    return models


def transform_of(path: Path) -> str:
    """The SHA-256 of the autoencoder's weights that a file belongs to.

    Raises
    ------
    UnavailableError
        Where it is no file of this codec's weights.
    """
    return _about(path)[1]


def read_all_tables(path: Path) -> dict[str, Tables]:
    """The tables of a file: ``factorised``, ``side`` and ``scaled``.

    Raises
    ------
    ValueError
        Where they are none.
    """
    with safe_open(path, "numpy") as file:
        return {
            name: read_tables(
                {x: file.get_tensor(f"{name}.{x}") for x in ("frequencies", "sizes", "lowest")}
            )
            for name in _NAMES
        }
