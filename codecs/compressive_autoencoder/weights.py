"""Files of weights: the network in half precision, and the tables that numbers are coded by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from lic_bench.codecs.compressive_autoencoder.model import (
    LATENTS,
    CompressiveAutoencoder,
    Mixtures,
    Settings,
)
from lic_bench.learned.prior_tables import REACH
from lic_bench.learned.safe_weights import described, read_tensors, shapes_alone
from lic_bench.learned.tables import Tables, read_tables, stored, tables_of

METADATA = "compressive-autoencoder"
_MOST_RATES, _MOST_WIDTH = 64, 1024


def counted(
    net: CompressiveAutoencoder, mixtures: Mixtures, batches: Iterable[Tensor]
) -> NDArray[np.int64]:
    """How often each number is coded in images: (rates x 96) x (2 `REACH` + 1).

    Parameters
    ----------
    net
        Its settings tell the rates.
    mixtures
        What bits are estimated by where numbers are chosen.
    batches
        Images, B x 3 x H x W, 0 to 255, sides multiples of 8.
    """
    size, rates = 2 * REACH + 1, net.settings.rates
    counts = torch.zeros(rates * LATENTS * size, dtype=torch.int64)
    numbers = torch.arange(-REACH, REACH + 1).float().expand(1, LATENTS, 1, -1)
    channel = torch.arange(LATENTS)[:, None, None]
    with torch.inference_mode():
        known = [mixtures.bits(numbers, torch.tensor([k]))[0, :, 0] for k in range(rates)]

        def bits(v: Tensor, k: int) -> Tensor:
            return known[k][channel, v.clamp(-REACH, REACH).long() + REACH]

        for x in batches:
            y = net.analyse(x)
            for k in range(rates):
                rate = torch.full((len(x),), k)
                z = net.quantised(net.scaled(y, rate), rate, partial(bits, k=k))
                at = z.clamp(-REACH, REACH).long() + REACH + (channel + k * LATENTS) * size
                counts += torch.bincount(at.flatten(), minlength=len(counts))
    return counts.view(-1, size).numpy()


def histogram_tables(counts: NDArray[np.int64]) -> Tables:
    """Tables of histograms, one more than was counted for each number between the outermost.

    That is Laplace's rule. What is beyond has the chance of one number at each end.
    """
    rows = []
    for row in counts:
        seen = np.flatnonzero(row)
        first, last = (seen[0] - 1, seen[-1] + 1) if len(seen) else (REACH - 1, REACH + 1)
        own = row.astype(np.float64)
        own[max(first, 0) : last + 1] += 1
        rows.append(np.cumsum(own)[:-1] / own.sum())
    return tables_of(np.array(rows), -REACH)


def weights_file(
    net: CompressiveAutoencoder, counts: NDArray[np.int64], metadata: Mapping[str, Any]
) -> bytes:
    """A safetensors file, with metadata in JSON."""
    tensors = {f"net.{key}": x.half().cpu().contiguous() for key, x in net.state_dict().items()}
    for key, values in stored(histogram_tables(counts)).items():
        tensors[f"histogram.{key}"] = torch.from_numpy(values)
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
        settings = Settings(**about["settings"])
        for value, most in ((settings.rates, _MOST_RATES), (settings.width, _MOST_WIDTH)):
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError("settings out of range")
        if type(settings.linear) is not bool:
            raise ValueError("linear is neither true nor false")
    return settings


def read_network(path: Path) -> CompressiveAutoencoder:
    """The network in a file, its parameters as half precision has them.

    Raises
    ------
    UnavailableError
        Where the file holds others than its settings say, or one is no number.
    """
    settings = settings_of(path)
    with shapes_alone():
        state = CompressiveAutoencoder(settings).state_dict()
    wanted = {f"net.{key}": tuple(x.shape) for key, x in state.items()}
    found = read_tensors(path, wanted, "net.")
    tensors = {key.removeprefix("net."): x.float() for key, x in found.items()}
    net = CompressiveAutoencoder(settings).eval()
    net.load_state_dict(tensors)
    return net


def read_histograms(path: Path) -> Tables:
    """The tables of a file: one for each coefficient, of a rate one after the other.

    Raises
    ------
    ValueError
        Where they are none.
    """
    with safe_open(path, "numpy") as file:
        names = ("frequencies", "sizes", "lowest")
        tables = read_tables({name: file.get_tensor(f"histogram.{name}") for name in names})
    if len(tables.lowest) != settings_of(path).rates * LATENTS:
        raise ValueError("there are tables of other rates")
    return tables
