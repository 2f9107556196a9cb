"""Fuzzed: whole files of weights for our trained codecs, loaded, coded and decoded with.

For content-weighted, of which files may be had from others most, a network made small for it; for
the other codecs those that come along.

The loops are compiled so that they tell of an index out of bounds, which else would read or write
whatever lies there.
"""

from __future__ import annotations

import json
import math
import os
import random
import struct
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_BOUNDSCHECK", "1")

import numpy as np
import torch
from inputs import changed, noise

from lic_bench import BitstreamError, Registry
from lic_bench.codecs.content_weighted.codec import ContentWeighted
from lic_bench.codecs.content_weighted.inference import load_model
from lic_bench.codecs.content_weighted.model import ContentWeightedNet, Settings
from lic_bench.codecs.content_weighted.start import blocks, layout, start
from lic_bench.codecs.content_weighted.weights import structure, weights_file
from lic_bench.learned.bitstream import pack, unpack
from lic_bench.learned.context import ContextModel
from lic_bench.learned.rate import RateModel
from lic_bench.learned.safe_weights import MOST_METADATA

_SIZES = (0, 1, -1, 3, 15, 17, 2**15, 2**31, 2**40, 2**70, 1e300, True, "8", None, [], float("nan"))
_WHOLE = (0, 1, -1, 2, 4, 5, 100, 127, -128, 2**31 - 1, 2**31, -(2**63), 2**63 - 1)
_REAL = (0.0, -1.0, 6e-8, 1e-3, 10.0, 300.0, 65504.0, -65504.0, math.inf, math.nan)
_TYPES = {8: ("I64", "F64", "U64"), 4: ("F32", "I32"), 2: ("F16", "BF16", "I16"), 1: ("U8", "BOOL")}
_KINDS = {
    "F16": np.float16,
    **{"I64": np.int64, "I32": np.int32, "I16": np.int16, "U16": np.uint16},
}
OTHERS = (
    *("cae_pca", "compressive_autoencoder", "entropy_autoencoder", "modulated_autoencoder"),
    *("nctu", "recurrent"),
)
"""The rooms in codecs/ of the other trained codecs."""


@cache
def good() -> tuple[dict[str, object], dict[str, tuple[str, list[int], bytes]]]:
    """Metadata and tensors of a small network that works: type, shape and content by name."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))]
    found = layout(blocks(images, 1000, 0), 64)
    net = ContentWeightedNet(Settings(8, 64, 16, 2, len(found.coefficients)))
    start(net, [300.0, 60.0], found)
    context = ContextModel(structure(net.state_dict(), net.settings), 2)
    content = weights_file(net, context, RateModel(15 + 64, 2), {"training": {}})
    metadata, tensors = _parts(content)
    return json.loads(metadata[ContentWeighted.name]), tensors


def _parts(
    content: bytes,
) -> tuple[dict[str, str], dict[str, tuple[str, list[int], bytes]]]:
    """Metadata and tensors of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    return header.pop("__metadata__"), {
        name: (about["dtype"], about["shape"], data[slice(*about["data_offsets"])])
        for name, about in header.items()
    }


@cache
def _shipped(room: str) -> tuple[str, str, dict[str, tuple[str, list[int], bytes]]]:
    """The codec's name, metadata and tensors of what a room of codecs/ holds."""
    content = import_module(f"lic_bench.codecs.{room}.codec").WEIGHTS.read_bytes()
    metadata, tensors = _parts(content)
    [(name, text)] = metadata.items()
    return name, text, tensors


@cache
def _picture() -> np.ndarray:
    rows, columns = np.mgrid[0:24, 0:40]
    planes = [5 * rows + columns, 3 * columns, 200 - 4 * rows]
    return np.ascontiguousarray(np.stack(planes, -1).clip(0, 255).astype(np.uint8))


def weights(rng: random.Random, folder: Path) -> None:
    """A file of weights."""
    metadata, tensors = good()
    metadata, tensors = json.loads(json.dumps(metadata)), dict(tensors)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        match rng.randrange(8):
            case 0:
                name = rng.choice(("width", "n", "levels", "points", "coefficients"))
                metadata.setdefault("settings", {})[name] = rng.choice(_SIZES)
            case 1:
                metadata = changed(rng, metadata)
                metadata = metadata if isinstance(metadata, dict) else {"settings": metadata}
                if not isinstance(metadata.get("settings", {}), dict):
                    break
            case _:
                _spoil(rng, tensors)
    content = _file(ContentWeighted.name, json.dumps(metadata), tensors)
    path = _written(rng, content, folder)
    load_model.cache_clear()
    _use(ContentWeighted(weights=str(path)), rng)


def shipped_weights(rng: random.Random, folder: Path) -> None:
    """A file of weights that another codec comes with, spoilt."""
    room = rng.choice(OTHERS)
    name, metadata, tensors = _shipped(room)
    tensors = dict(tensors)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        if rng.random() < 0.2:
            metadata = json.dumps(changed(rng, json.loads(metadata)))
        else:
            _spoil(rng, tensors)
    path = _written(rng, _file(name, metadata, tensors), folder)
    import_module(f"lic_bench.codecs.{room}.inference").load_model.cache_clear()
    _use(Registry().codec(f"{name}:weights={path}"), rng)


def compile_coders() -> None:
    """Have numba compile and keep what the targets run, while there is a right to write it."""
    for name in (ContentWeighted.name, *(_shipped(room)[0] for room in OTHERS)):
        _use(Registry().codec(name), random.Random(0))  # noqa: S311 - to be repeated


def _use(codec: Any, rng: random.Random) -> None:
    """Code and decode with a trained codec, also what no encoder wrote."""
    stream = codec.encode(_picture(), rng.choice(codec.points))
    assert codec.decode(stream).shape == _picture().shape
    form = codec._model().format
    header, _ = unpack(form, stream)
    header = replace(header, width=rng.choice((1, 17, 64)), height=rng.choice((1, 24)))
    with suppress(BitstreamError):
        codec.decode(pack(form, header, rng.randbytes(rng.choice((0, 8, 200, 2000)))))


def _written(rng: random.Random, content: bytes, folder: Path) -> Path:
    path = folder / "w.safetensors"
    path.write_bytes(noise(rng, content) if rng.random() < 0.1 else content)
    return path


def _spoil(rng: random.Random, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    """Change a tensor: its values, shape, type or name; those that are whole numbers often."""
    whole = [name for name, (kind, *_) in tensors.items() if kind != "F16"]
    name = rng.choice(whole if whole and rng.random() < 0.5 else list(tensors))
    kind, shape, data = tensors[name]
    match rng.randrange(9):
        case 0:
            del tensors[name]
        case 1:
            tensors[rng.choice(list(tensors))] = tensors[name]
        case 2:
            width = {"I64": 8, "F64": 8, "U64": 8, "F32": 4, "I32": 4, "U8": 1, "BOOL": 1}
            tensors[name] = (rng.choice(_TYPES[width.get(kind, 2)]), shape, data)
        case 3:
            other = [*shape]
            rng.shuffle(other)
            tensors[name] = (kind, rng.choice((other, [0, *other], [math.prod(shape)])), data)
        case 4:
            tensors[name] = (kind, shape, rng.randbytes(len(data)))
        case _:
            if kind not in _KINDS or not data:
                return
            values = np.frombuffer(data, _KINDS[kind]).copy()
            some = rng.choice((slice(None), slice(0, 1), slice(-1, None), slice(0, None, 7)))
            with np.errstate(over="ignore", invalid="ignore"):
                values[some] = np.array(rng.choice(_REAL if kind == "F16" else _WHOLE)).astype(
                    values.dtype
                )
            tensors[name] = (kind, shape, values.tobytes())


def _file(name: str, metadata: str, tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    header: dict[str, object] = {"__metadata__": {name: metadata[:MOST_METADATA]}}
    at = 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in tensors.values())
