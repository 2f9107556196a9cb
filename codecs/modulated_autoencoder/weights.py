"""Files of weights: the network in half precision, and the tables that numbers are coded by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from lic_bench.codecs.modulated_autoencoder.model import ModulatedAutoencoder, Settings
from lic_bench.learned.prior_tables import factorised_tables, gaussian_tables
from lic_bench.learned.safe_weights import described, read_tensors, shapes_alone
from lic_bench.learned.tables import Tables, read_tables, stored

METADATA = "modulated-autoencoder"


def weights_file(net: ModulatedAutoencoder, metadata: Mapping[str, Any]) -> bytes:
    """A safetensors file, with metadata in JSON."""
    tensors = {
        f"net.{key}": (x.half() if x.is_floating_point() else x).cpu().contiguous()
        for key, x in net.state_dict().items()
    }
    tables = {"prior": factorised_tables(net.prior)}
    if net.hyperprior is not None:
        tables |= {"hyper": factorised_tables(net.hyperprior.prior), "gauss": gaussian_tables()}
    for name, own in tables.items():
        for key, values in stored(own).items():
            tensors[f"{name}.{key}"] = torch.from_numpy(values)
    text = json.dumps({**metadata, "settings": asdict(net.settings)}, sort_keys=True)
    return to_safetensors(tensors, {METADATA: text})


def settings_of(path: Path) -> Settings:
    """The settings of the network in a file.

    Raises
    ------
    UnavailableError
        Where it is no file of this codec's weights.
    """
    with described(path, METADATA) as about:
        return Settings(**about["settings"])


def read_network(path: Path) -> dict[str, Tensor]:
    """The parameters of the network in a file, float32, by name.

    Raises
    ------
    UnavailableError
        Where the file holds others than its settings say, or one is no number.
    """
    with shapes_alone():
        state = ModulatedAutoencoder(settings_of(path)).state_dict()
    wanted = {f"net.{key}": tuple(x.shape) for key, x in state.items()}
    found = read_tensors(path, wanted, "net.")
    return {key.removeprefix("net."): x.float() for key, x in found.items()}


def read_all_tables(path: Path) -> dict[str, Tables]:
    """The tables of a file: ``prior``, and where there is a hyperprior ``hyper`` and ``gauss``.

    Raises
    ------
    ValueError
        Where they are none.
    """
    names = ("prior", "hyper", "gauss") if settings_of(path).hyper else ("prior",)
    with safe_open(path, "numpy") as file:
        return {
            name: read_tables(
                {x: file.get_tensor(f"{name}.{x}") for x in ("frequencies", "sizes", "lowest")}
            )
            for name in names
        }
