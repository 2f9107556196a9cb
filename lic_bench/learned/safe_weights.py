"""Files of weights that may come from anybody: looked at before anything is made of them.

A safetensors file runs nothing, but what it says of itself may ask for a network of any size. Its
header tells names, shapes and types; these are compared with what the network would have, which is
known without making one (on torch's ``meta`` device). Then the file holds every parameter, and the
network is no larger than the file.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lic_bench.errors import UnavailableError

if TYPE_CHECKING:
    from torch import Tensor

MOST_METADATA = 1 << 20
_LARGEST_HEADER = 1 << 24
_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Make networks whose parameters have shapes, and neither values nor memory.

    On torch's ``meta`` device. There some functions import torch's compiler, which takes longer
    than all else of a codec's start: those that the networks call at first tell the shape alone.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    def repeated(x: torch.Tensor, *times: int) -> torch.Tensor:
        sides = (1,) * (len(times) - x.ndim) + tuple(x.shape)
        return torch.empty([side * count for side, count in zip(sides, times, strict=True)])

    def both(x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor:
        other = y.shape if isinstance(y, torch.Tensor) else ()
        return torch.empty(np.broadcast_shapes(x.shape, other))

    known: dict[str, Callable[..., torch.Tensor]] = {
        "arange": torch.empty,
        "eye": lambda n: torch.empty(n, n),
        **dict.fromkeys(("rand", "randn"), torch.empty),
        "repeat": repeated,
        **dict.fromkeys(("add", "mul", "sub", "__rmul__"), both),
    }

    class Shapes(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return known.get(func.__name__, func)(*args, **(kwargs or {}))

    with torch.device("meta"), Shapes():
        yield


class Header(NamedTuple):
    """What a safetensors file says of itself."""

    shapes: dict[str, tuple[int, ...]]
    """Of each tensor."""
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """Read what a safetensors file holds, not the tensors themselves.

    Raises
    ------
    UnavailableError
        Where it is no such file, or says of itself what cannot be.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise ValueError(f"a header of {length} bytes")
            content = json.loads(file.read(length))
        metadata = content.pop("__metadata__", {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("metadata that are no texts")
        shapes = {name: _shape(about, size - 8 - length) for name, about in content.items()}
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnavailableError(f"{path} is no safetensors file ({reason})") from error
    return Header(shapes, metadata)


def _shape(about: Mapping[str, Any], room: int) -> tuple[int, ...]:
    """A tensor's shape, known to be that of the bytes that it has in the file."""
    begin, end = about["data_offsets"]
    shape = tuple(about["shape"])
    sides = (*shape, begin, end)
    if not all(type(side) is int and side >= 0 for side in sides) or not begin <= end <= room:
        raise ValueError(f"a tensor of {str(shape)[:50]}, which is not within the file")
    if math.prod(shape) * _SIZES[about["dtype"]] != end - begin:
        raise ValueError(f"a tensor of {shape} in {end - begin} bytes")
    return shape


def check_shapes(
    path: Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """Compare the tensors of a file with those of the network that its settings describe.

    Raises
    ------
    UnavailableError
        Where one is missing, too many, or of another shape.
    """
    for name in sorted({*found, *wanted}):
        if found.get(name) != wanted.get(name):
            here, there = found.get(name, "missing"), wanted.get(name, "not there")
            raise UnavailableError(
                f"{path} holds other weights than its settings say: {name[:100]} is {here}, "
                f"and would be {there}"
            )


def check_finite(path: Path, tensors: Mapping[str, Any]) -> None:
    """Refuse weights that are not finite: nothing can be computed with them.

    Parameters
    ----------
    tensors
        Of torch, by name.

    Raises
    ------
    UnavailableError
        Where there is one.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UnavailableError(f"{path} holds a weight that is no number, in {name[:100]}")


@contextmanager
def described(path: Path, codec: str) -> Iterator[dict[str, Any]]:
    """What a file of weights says of itself, while it is looked at.

    Whatever does not fit, here or in what is made of it, makes it no file of this codec.

    Raises
    ------
    UnavailableError
        Where a KeyError, TypeError, ValueError, OverflowError or RecursionError comes up.
    """
    header = read_header(path)
    try:
        yield json.loads(header.metadata[codec])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnavailableError(f"{path} holds no weights of the codec {codec}") from error


def read_tensors(
    path: Path, wanted: Mapping[str, tuple[int, ...]], prefix: str = ""
) -> dict[str, Tensor]:
    """Read the tensors of a file, where they are those that its settings describe.

    Parameters
    ----------
    wanted
        Their shapes.
    prefix
        What the names begin with that are looked at; others are left alone.

    Raises
    ------
    UnavailableError
        Where one is missing, too many, of another shape, or no number.
    """
    from safetensors import safe_open

    shapes = read_header(path).shapes
    check_shapes(path, {k: x for k, x in shapes.items() if k.startswith(prefix)}, wanted)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in wanted}
    check_finite(path, tensors)
    return tensors


@contextmanager
def loading(codec: str, *paths: Path) -> Iterator[None]:
    """Make one error of whatever goes wrong while the weights of a codec are loaded.

    Raises
    ------
    UnavailableError
        In place of any exception.
    """
    try:
        yield
    except UnavailableError:
        raise
    except Exception as error:  # of safetensors, of JSON, of sums that would not be exact
        raise UnavailableError(
            f"weights={' and '.join(map(str, paths))} hold no network of the codec {codec}; give "
            f"what lic-bench train wrote ({' '.join(str(error).split())[:100]})"
        ) from error
